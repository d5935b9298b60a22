// Round trips of the kernel's own calls between two C++ processes.
#include <errno.h>
#include <string.h>

#include "container.h"
#include "roundtrip.h"

namespace bench {
namespace {

using dvk::kForever;

// The arena is not used; one page of it is the least there may be.
constexpr uint64_t kArenaBytes = 4096;

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
  void open(const Options&) {
    container_.open(kArenaBytes);
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

// A notification carries nothing, so client and peer count for themselves and the source is
// checked. The last one would look like any other: shared memory tells the peer to stop.
class Notify {
 public:
  void open(const Options&) {
    container_.open(kArenaBytes);
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

}  // namespace

const Case kKernelCases[] = {
    {"dvk-c-sendrec", round_trips<SendReceive>},
    {"dvk-c-notify", round_trips<Notify>},
    {nullptr, nullptr},
};

}  // namespace bench
