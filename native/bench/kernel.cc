// Round trips of the kernel's own calls between two C++ processes.
#include <errno.h>
#include <string.h>

#include "../core/senda.h"
#include "../core/vcopy.h"
#include "container.h"
#include "one_way.h"

namespace bench {
namespace {

using dvk::kForever;

// A letter's first and last word, in the message's payload.
struct Carried {
  uint64_t first;
  uint64_t middle[5];
  uint64_t last;
};
static_assert(sizeof(Carried) == sizeof(dvk::Message{}.payload));

void pack(const Letter& letter, dvk::Message& message) {
  const Carried carried{letter.words[0], {}, letter.words[7]};
  memcpy(message.payload, &carried, sizeof carried);
}

void unpack(const dvk::Message& message, Letter& letter) {
  Carried carried;
  memcpy(&carried, message.payload, sizeof carried);
  letter.words[0] = carried.first;
  letter.words[7] = carried.last;
}

class SendReceive {
 public:
  void open(const Options& options) {
    container_.open(options);
  }
  void connect() {
    process_ = &container_.bind_peer();
  }
  void attach() {
    process_ = &container_.bind_client(dvk::ProcessLevel::kUser);
  }
  void close() {
    container_.close();
  }
  void call(Letter& letter) {
    dvk::Message message{};
    pack(letter, message);
    must_code(dvk::sendrec(*process_, container_.peer(), &message, kForever), "sendrec");
    unpack(message, letter);
  }
  void receive(Letter& letter) {
    must_code(dvk::rcvrqst(*process_, &message_, kForever), "rcvrqst");
    unpack(message_, letter);
  }
  void answer(const Letter& letter) {
    pack(letter, message_);
    must_code(dvk::reply(*process_, message_.source, message_), "reply");
  }
  void answer_receive(Letter& letter) {
    pack(letter, message_);
    must_code(dvk::reply_receive(*process_, message_.source, &message_, kForever), "reply");
    unpack(message_, letter);
  }

 private:
  Container container_;
  dvk::Process* process_ = nullptr;
  dvk::Message message_{};
};

// Messages one way, each taken before the next is sent.
class Send {
 public:
  void open(const Options& options) {
    container_.open(options);
  }
  void connect() {
    process_ = &container_.bind_peer();
  }
  void attach() {
    process_ = &container_.bind_client(dvk::ProcessLevel::kUser);
  }
  void close() {
    container_.close();
  }
  void post(const Letter& letter) {
    dvk::Message message{};
    pack(letter, message);
    must_code(dvk::send(*process_, container_.peer(), message, kForever), "send");
  }
  void receive(Letter& letter) {
    dvk::Message message;
    must_code(dvk::receive(*process_, container_.client(), &message, kForever), "receive");
    unpack(message, letter);
  }

 protected:
  Container container_;
  dvk::Process* process_ = nullptr;
};

// The same without waiting for each: half a table of messages under way, then the last one's
// notice.
class SendAsync : public Send {
 public:
  void post(const Letter& letter) {
    dvk::Message message{};
    pack(letter, message);
    const bool last = ++posted_ % kWindow == 0 || letter.words[0] == kStop;
    const dvk::AsyncFlag flag = last ? dvk::AsyncFlag::kNotify : dvk::AsyncFlag::kForget;
    const int32_t destination = container_.peer();
    const int32_t id = dvk::senda(*process_, destination, message, static_cast<uint32_t>(flag));
    must_code(id, "senda");
    if (last) await_done(id);
  }

 private:
  static constexpr uint64_t kWindow = dvk::kAsyncs / 2;

  void await_done(int32_t id) {
    dvk::Message notice;
    must_code(dvk::receive(*process_, dvk::kEndpointAny, &notice, kForever), "receive");
    if (process_->last_kind != dvk::MessageKind::kNotify || dvk::senda_status(*process_, id) != 0) {
      die("a message was not taken", EPROTO);
    }
  }

  uint64_t posted_ = 0;
};

// A notification carries nothing, so client and peer count for themselves and the source is
// checked. The last one would look like any other: shared memory tells the peer to stop.
class Notify {
 public:
  void open(const Options& options) {
    container_.open(options);
    stop_ = static_cast<volatile uint64_t*>(shared_memory(sizeof(uint64_t)));
  }
  void connect() {
    process_ = &container_.bind_peer();
  }
  void attach() {
    process_ = &container_.bind_client(dvk::ProcessLevel::kUser);
  }
  void close() {
    container_.close();
  }
  void call(Letter& letter) {
    if (letter.words[0] == kStop) *stop_ = 1;
    must_code(dvk::notify(*process_, container_.peer()), "notify");
    await(container_.peer());
    letter.words[0]++;
    letter.words[7]--;
  }
  void receive(Letter& letter) {
    await(container_.client());
    letter.words[0] = *stop_ != 0 ? kStop : 0;
  }
  void answer(const Letter&) {
    must_code(dvk::notify(*process_, container_.client()), "notify");
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  void await(int32_t source) {
    dvk::Message message;
    must_code(dvk::receive(*process_, source, &message, kForever), "receive");
    if (process_->last_kind != dvk::MessageKind::kNotify || message.source != source) {
      die("something else than the notification came", EPROTO);
    }
  }

  Container container_;
  dvk::Process* process_ = nullptr;
  volatile uint64_t* stop_ = nullptr;
};

// What the letters of a mix are: of 16 in turn, 8 go by sendrec, 3 by send and are answered by
// send, 3 are notifications answered by one, and 2 are a sendrec whose server copies a block of 16
// KiB out of the arena before it answers. The same in bench/peers/mix.ts.
enum class Exchange : uint32_t { kCall = 1, kSend, kNotify, kBlock };
constexpr Exchange kC = Exchange::kCall, kS = Exchange::kSend, kN = Exchange::kNotify,
                   kB = Exchange::kBlock;
constexpr Exchange kMix[] = {kC, kC, kS, kC, kN, kC, kB, kC, kC, kS, kC, kN, kC, kB, kS, kN};
constexpr uint64_t kMixBlockBytes = 16 << 10;

class Mix {
 public:
  void open(const Options& options) {
    container_.open(options);
  }
  void connect() {
    process_ = &container_.bind_peer();
    block_ = private_memory(kMixBlockBytes);
  }
  void attach() {
    process_ = &container_.bind_client(dvk::ProcessLevel::kUser);
    const int64_t offset = dvk::arena_allocate(*process_, kMixBlockBytes);
    block_ = container_.segment().arena() + must_code(offset, "arena_allocate");
    const uint32_t right = static_cast<uint32_t>(dvk::GrantRight::kRead);
    const int32_t id = dvk::grant(*process_, block_, kMixBlockBytes, right, container_.peer());
    grant_ = static_cast<int32_t>(must_code(id, "grant"));
  }
  void close() {
    container_.close();
  }

  void call(Letter& letter) {
    const bool stop = letter.words[0] == kStop;
    const Exchange exchange = stop ? Exchange::kCall : kMix[letter.words[0] % std::size(kMix)];
    if (exchange == Exchange::kNotify) return notify_and_await(letter);
    dvk::Message message{};
    message.type = static_cast<int32_t>(exchange);
    pack(letter, message);
    if (exchange == Exchange::kBlock) offer_block(letter, message);
    if (exchange == Exchange::kSend) {
      must_code(dvk::send(*process_, container_.peer(), message, kForever), "send");
      must_code(dvk::receive(*process_, container_.peer(), &message, kForever), "receive");
      expect(dvk::MessageKind::kSend);
    } else {
      must_code(dvk::sendrec(*process_, container_.peer(), &message, kForever), "sendrec");
    }
    unpack(message, letter);
  }

  void receive(Letter& letter) {
    must_code(dvk::receive(*process_, dvk::kEndpointAny, &message_, kForever), "receive");
    kind_ = process_->last_kind;
    if (kind_ == dvk::MessageKind::kNotify) {
      letter = {};
      return;
    }
    unpack(message_, letter);
    if (message_.type == static_cast<int32_t>(Exchange::kBlock)) fetch_block(letter);
  }
  void answer(const Letter& letter) {
    const int32_t client = container_.client();
    if (kind_ == dvk::MessageKind::kNotify) {
      must_code(dvk::notify(*process_, client), "notify");
      return;
    }
    pack(letter, message_);
    if (kind_ == dvk::MessageKind::kSend) {
      must_code(dvk::send(*process_, client, message_, kForever), "send");
    } else {
      must_code(dvk::reply(*process_, client, message_), "reply");
    }
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  static constexpr uint64_t kLast = kMixBlockBytes - sizeof(uint64_t);

  void expect(dvk::MessageKind kind) {
    if (process_->last_kind != kind) die("an answer came by another call", EPROTO);
  }
  void notify_and_await(Letter& letter) {
    dvk::Message message;
    must_code(dvk::notify(*process_, container_.peer()), "notify");
    must_code(dvk::receive(*process_, container_.peer(), &message, kForever), "receive");
    expect(dvk::MessageKind::kNotify);
    letter.words[0]++;
    letter.words[7]--;
  }
  void offer_block(const Letter& letter, dvk::Message& message) {
    memcpy(block_, &letter.words[0], sizeof letter.words[0]);
    memcpy(block_ + kLast, &letter.words[0], sizeof letter.words[0]);
    memcpy(message.payload + sizeof letter.words[0], &grant_, sizeof grant_);
  }
  void fetch_block(const Letter& letter) {
    int32_t id;
    memcpy(&id, message_.payload + sizeof letter.words[0], sizeof id);
    const dvk::CopyParty source{message_.source, id, 0};
    const dvk::CopyParty own{process_->endpoint, -1, reinterpret_cast<uint64_t>(block_)};
    must_code(dvk::vcopy(*process_, source, own, kMixBlockBytes, kForever), "vcopy");
    if (memcmp(block_, &letter.words[0], sizeof letter.words[0]) != 0 ||
        memcmp(block_ + kLast, &letter.words[0], sizeof letter.words[0]) != 0) {
      die("a block has other contents", EPROTO);
    }
  }

  Container container_;
  dvk::Process* process_ = nullptr;
  dvk::Message message_{};
  dvk::MessageKind kind_ = dvk::MessageKind::kCall;
  uint8_t* block_ = nullptr;
  int32_t grant_ = -1;
};

}  // namespace

const Case kKernelCases[] = {
    {"dvk-c-sendrec", round_trips<SendReceive>, create_container},
    {"dvk-c-notify", round_trips<Notify>, create_container},
    {"dvk-c-mix", round_trips<Mix>, create_container},
    {nullptr, nullptr},
};

const Case kTracedCases[] = {
    {"dvk-c-sendrec-traced", round_trips<SendReceive>, create_traced_container},
    {nullptr, nullptr},
};

const Case kKernelOneWayCases[] = {
    {"dvk-c-send", one_way<Send>, create_container},
    {"dvk-c-senda", one_way<SendAsync>, create_container},
    {nullptr, nullptr},
};

}  // namespace bench
