// Packets that are sealed and opened: whatever is done to them and whatever the arguments are, what
// opens is what was sealed, under that secret and that number, and nothing else is touched.
// Reference: S4 and S12 of the fault matrix.
//
// An input is a list of steps: packets are sealed into a queue, where they are changed, cut, made
// to change places and to come twice, and opened, by what they are or by their place in the queue;
// either end goes on to another secret at any time, and secrets are forgotten. There are more of
// them than the cipher keeps ready. Memory of a call ends where a page ends that is the last one,
// since the cipher's own code is in assembly and no sanitizer sees what it reads.

#include <errno.h>
#include <sys/mman.h>

#include <cmath>
#include <map>
#include <utility>

#include "../binding/aead.h"
#include "fuzz.h"

namespace dvk::fuzz {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kSecrets = 40, kQueueMost = 64, kHeadMost = 64, kBodyMost = 2048;
constexpr int kLimitBits = 53;

// Room whose last byte is the last one before a page that nobody may touch.
class Room {
 public:
  Room() {
    void* const pages =
        mmap(nullptr, kBytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED, "mmap");
    base_ = static_cast<uint8_t*>(pages);
    must(mprotect(base_ + kBytes, kPage, PROT_NONE) == 0, "mprotect");
    put({});
  }

  std::span<uint8_t> put(const Bytes& bytes) {
    must(bytes.size() + kBefore <= kBytes, "room for it");
    const std::span<uint8_t> place(base_ + kBytes - bytes.size(), bytes.size());
    std::fill_n(place.data() - kBefore, kBefore, kMark);
    std::copy(bytes.begin(), bytes.end(), place.begin());
    used_ = bytes.size();
    return place;
  }

  bool is_whole() const {
    const uint8_t* const place = base_ + kBytes - used_;
    return std::all_of(place - kBefore, place, [](uint8_t byte) { return byte == kMark; });
  }

 private:
  static constexpr size_t kPage = 1 << 16, kBytes = kPage, kBefore = 64;
  static constexpr uint8_t kMark = 0xa5;

  uint8_t* base_ = nullptr;
  size_t used_ = 0;
};

struct Packet {
  size_t secret = 0;
  double number = 0;
  uint32_t head_bytes = 0;
  Bytes bytes;
};

struct Sealed {
  Packet packet;
  Bytes body;
};

// As many with long keys as with short ones. From the first one of its kind each differs in a bit,
// of the key or of the iv.
Bytes make_secret(size_t index) {
  Bytes secret(binding::kIvBytes + (index % 2 == 0 ? binding::kKeyBytes : binding::kShortKeyBytes));
  for (size_t i = 0; i < secret.size(); i++) secret[i] = static_cast<uint8_t>(i * 0x9d);
  const size_t bit = index / 2 * 19;
  if (bit > 0) secret[bit / 8 % secret.size()] ^= static_cast<uint8_t>(1 << bit % 8);
  return secret;
}

class World {
 public:
  World() {
    for (size_t i = 0; i < kSecrets; i++) secrets_.push_back(make_secret(i));
  }

  void run(Input input) {
    for (const Bytes& secret : secrets_) must(binding::aead_forget(secret) == 0, "forget");
    sealed_.clear();
    queue_.clear();
    next_.assign(kSecrets, 0);
    expected_.assign(kSecrets, 0);
    sender_ = receiver_ = 0;
    while (!input.empty()) step(input);
    for (const Packet& packet : queue_) open(packet, true);
  }

 private:
  void step(Input& input) {
    const uint8_t kind = input.take<uint8_t>();
    const bool flag = (kind & 0x80) != 0;
    switch (kind & 15) {
      case 0:
        sender_ = (sender_ + 1) % kSecrets;
        break;
      case 1:
        if (flag) binding::aead_forget(secrets_[receiver_]);
        receiver_ = (receiver_ + 1) % kSecrets;
        break;
      case 2:
        binding::aead_forget(secrets_[input.take<uint8_t>() % kSecrets]);
        break;
      case 3:
        skip(input);
        break;
      case 4:
        impossible(input);
        break;
      case 5:
        open_raw(input, flag);
        break;
      case 6:
        receive(flag);
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
        if (!queue_.empty()) damage(input, kind);
        break;
      default:
        seal(input, flag);
    }
  }

  // A number is used once with a secret.
  void skip(Input& input) {
    const uint64_t by = input.take<uint64_t>() & ((uint64_t{1} << kLimitBits) - 1);
    next_[sender_] = std::min(next_[sender_] + static_cast<double>(by), binding::kNumberLimit);
  }

  void seal(Input& input, bool elsewhere) {
    Packet packet{sender_, next_[sender_], input.take<uint8_t>() % uint32_t{kHeadMost}, {}};
    Bytes body(input.take<uint16_t>() % kBodyMost);
    uint8_t fill = input.take<uint8_t>();
    packet.bytes.assign(packet.head_bytes + body.size() + binding::kTagBytes, fill);
    for (uint8_t& byte : body) byte = fill += 7;
    if (!elsewhere) std::copy(body.begin(), body.end(), packet.bytes.begin() + packet.head_bytes);
    const auto secret = secret_.put(secrets_[sender_]);
    const auto place = packet_.put(packet.bytes);
    const auto source = body_.put(body);
    const int result =
        elsewhere ? binding::aead_seal_from(secret, place, packet.head_bytes, packet.number, source)
                  : binding::aead_seal(secret, place, packet.head_bytes, packet.number);
    must_be_whole();
    must(std::equal(source.begin(), source.end(), body.begin()), "what is sealed was changed");
    must(std::equal(place.begin(), place.begin() + packet.head_bytes, packet.bytes.begin()),
         "a head was changed");
    if (packet.number >= binding::kNumberLimit) {
      must(result == -EINVAL, "a number was used that is none");
      return;
    }
    must(result == 0, "it was not sealed");
    packet.bytes.assign(place.begin(), place.end());
    next_[sender_]++;
    sealed_[{packet.secret, packet.number}] = {packet, body};
    if (queue_.size() < kQueueMost) queue_.push_back(std::move(packet));
  }

  void damage(Input& input, uint8_t kind) {
    const size_t index = input.take<uint8_t>() % queue_.size();
    Packet& packet = queue_[index];
    Bytes& bytes = packet.bytes;
    const uint16_t choice = input.take<uint16_t>();
    switch (kind & 15) {
      case 7:
        if (!bytes.empty()) bytes[choice % bytes.size()] ^= input.take<uint8_t>();
        break;
      case 8:
        bytes.resize(kind & 0x80 ? bytes.size() + choice % 64 : choice % (bytes.size() + 1));
        break;
      case 9:
        std::swap(packet, queue_[choice % queue_.size()]);
        break;
      case 10: {
        const Packet again = packet;
        if (queue_.size() < kQueueMost) queue_.insert(at(choice % (queue_.size() + 1)), again);
        break;
      }
      default:
        lie(input, packet, choice);
    }
  }

  // The packet says of itself what is not so, or is lost.
  void lie(Input& input, Packet& packet, uint16_t choice) {
    switch (choice % 4) {
      case 0:
        packet.secret = input.take<uint8_t>() % kSecrets;
        break;
      case 1:
        packet.number += std::ldexp(1, input.take<uint8_t>() % kLimitBits);
        break;
      case 2:
        packet.head_bytes = input.take<uint8_t>();
        break;
      default:
        queue_.erase(at(static_cast<size_t>(&packet - queue_.data())));
    }
  }

  // Everything in the queue, each as if it were the next one of the receiver's secret. What is
  // refused counts as a number or not, as lanes and datagrams do.
  void receive(bool refused_count) {
    for (Packet& packet : queue_) {
      packet.secret = receiver_;
      packet.number = expected_[receiver_];
      if (open(packet, refused_count) || refused_count) expected_[receiver_]++;
    }
    queue_.clear();
  }

  // Anything at all, of anything.
  void open_raw(Input& input, bool elsewhere) {
    Packet packet{
        input.take<uint8_t>() % kSecrets, input.take<double>(), input.take<uint8_t>(), {}};
    packet.bytes.resize(input.take<uint8_t>());
    input.take(packet.bytes.data(), packet.bytes.size());
    open(packet, elsewhere);
  }

  // Arguments that cannot be.
  void impossible(Input& input) {
    Bytes secret(input.take<uint8_t>() % 64), bytes(input.take<uint8_t>());
    const Bytes body(input.take<uint8_t>());
    const uint32_t head_bytes = input.take<uint32_t>();
    const double number = input.take<double>();
    if (may_be(secret.size(), bytes.size(), head_bytes, number)) {
      if (bytes.size() - head_bytes - binding::kTagBytes == body.size()) return;
    } else {
      must(binding::aead_seal(secret, packet_.put(bytes), head_bytes, number) == -EINVAL, "sealed");
      must(binding::aead_open(secret, packet_.put(bytes), head_bytes, number) == -EINVAL, "opened");
    }
    const auto place = packet_.put(bytes);
    const auto target = body_.put(body);
    must(binding::aead_seal_from(secret, place, head_bytes, number, target) == -EINVAL, "sealed");
    must(binding::aead_open_into(secret, place, head_bytes, number, target) == -EINVAL, "opened");
    must(std::equal(place.begin(), place.end(), bytes.begin()), "a refused packet was changed");
    must(std::equal(target.begin(), target.end(), body.begin()), "a refused body was changed");
    must_be_whole();
  }

  static bool may_be(size_t secret_bytes, size_t bytes, uint32_t head_bytes, double number) {
    if (secret_bytes != 28 && secret_bytes != 44) return false;
    if (bytes < binding::kTagBytes || bytes - binding::kTagBytes < head_bytes) return false;
    return number >= 0 && number < binding::kNumberLimit && std::trunc(number) == number;
  }

  // Whether it opened; then it is what was sealed, and it does when it is that.
  bool open(const Packet& packet, bool elsewhere) {
    const Bytes& bytes = packet.bytes;
    const auto secret = secret_.put(secrets_[packet.secret]);
    const auto place = packet_.put(bytes);
    const bool is_sensible = may_be(secret.size(), bytes.size(), packet.head_bytes, packet.number);
    const size_t around = packet.head_bytes + binding::kTagBytes;
    const Bytes room(is_sensible && elsewhere ? bytes.size() - around : 0);
    std::span<uint8_t> body = body_.put(room);
    // As JavaScript gives what is empty.
    if (room.empty()) body = {};
    const int result =
        elsewhere ? binding::aead_open_into(secret, place, packet.head_bytes, packet.number, body)
                  : binding::aead_open(secret, place, packet.head_bytes, packet.number);
    must_be_whole();
    if (!is_sensible) {
      must(result == -EINVAL, "a packet was opened that cannot be");
      must(std::equal(place.begin(), place.end(), bytes.begin()), "and changed");
      return false;
    }
    const size_t head = packet.head_bytes, tag = bytes.size() - binding::kTagBytes;
    if (!elsewhere) body = place.subspan(head, bytes.size() - around);
    must(std::equal(place.begin(), place.begin() + static_cast<ptrdiff_t>(elsewhere ? tag : head),
                    bytes.begin()),
         "what is only read was changed");
    must(memcmp(place.data() + tag, bytes.data() + tag, binding::kTagBytes) == 0, "a tag changed");
    const Sealed* const own = find(packet);
    must(result == (own != nullptr ? 0 : -EBADMSG),
         own != nullptr ? "what was sealed did not open" : "what was not sealed was opened");
    if (own == nullptr) return false;
    must(std::equal(body.begin(), body.end(), own->body.begin(), own->body.end()),
         "another body came out");
    return true;
  }

  // What was sealed, if the packet is that.
  const Sealed* find(const Packet& packet) const {
    const auto found = sealed_.find({packet.secret, packet.number});
    if (found == sealed_.end()) return nullptr;
    const Packet& own = found->second.packet;
    const bool is_same = own.head_bytes == packet.head_bytes && own.bytes == packet.bytes;
    return is_same ? &found->second : nullptr;
  }

  void must_be_whole() const {
    must(secret_.is_whole() && packet_.is_whole() && body_.is_whole(),
         "memory before what was given was written");
  }

  std::vector<Packet>::iterator at(size_t index) {
    return queue_.begin() + static_cast<ptrdiff_t>(index);
  }

  std::vector<Bytes> secrets_;
  Room secret_, packet_, body_;
  std::map<std::pair<size_t, double>, Sealed> sealed_;
  std::vector<Packet> queue_;
  // By secret: the number of the next packet that is sealed, and of the next that is received.
  std::vector<double> next_, expected_;
  size_t sender_ = 0, receiver_ = 0;
};

}  // namespace
}  // namespace dvk::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static dvk::fuzz::World world;
  world.run(dvk::fuzz::Input(data, size));
  return 0;
}
