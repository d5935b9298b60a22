// Notifications one way: a sender that never waits, and a receiver that counts what it takes.
//
// Notifications that were not yet taken merge, so only those taken count. That none is lost shows
// in two ways: the sender counts each one in shared memory before it sends it, so that every one
// taken must find a count that did not fall; and after the last one the receiver must wake and find
// the count complete, or the run never ends.
#include <errno.h>
#include <sys/eventfd.h>

#include <atomic>

#include "container.h"
#include "measure.h"
#include "sockets.h"

namespace bench {
namespace {

struct alignas(64) Progress {
  std::atomic<uint64_t> sent;
  std::atomic<bool> ended;
  alignas(64) std::atomic<bool> stop;
};

class KernelNotify {
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
  void raise() {
    must_code(dvk::notify(*process_, container_.client()), "notify");
  }
  void await() {
    dvk::Message message;
    const int32_t peer = container_.peer();
    must_code(dvk::receive(*process_, peer, &message, dvk::kForever), "receive");
    if (process_->last_kind != dvk::MessageKind::kNotify || message.source != peer) {
      die("something else than the notification came", EPROTO);
    }
  }

 private:
  Container container_;
  dvk::Process* process_ = nullptr;
};

class EventFdNotify {
 public:
  void open(const Options&) {
    fd_ = static_cast<int>(must(eventfd(0, 0), "eventfd"));
  }
  void connect() {}
  void attach() {}
  void close() {}
  void raise() {
    const uint64_t one = 1;
    write_all(fd_, &one, sizeof one);
  }
  void await() {
    uint64_t count;
    read_all(fd_, &count, sizeof count);
  }

 private:
  int fd_ = -1;
};

template <typename Signal>
void raise_until_stopped(Signal& signal, Progress& progress) {
  uint64_t sent = 0;
  while (!progress.stop.load(std::memory_order_relaxed)) {
    progress.sent.store(++sent, std::memory_order_release);
    signal.raise();
  }
  progress.sent.store(++sent, std::memory_order_release);
  progress.ended.store(true, std::memory_order_release);
  signal.raise();
}

template <typename Signal>
Result stream(const Options& options) {
  Progress& progress = *static_cast<Progress*>(shared_memory(sizeof(Progress)));
  Signal signal;
  signal.open(options);
  const pid_t peer = start_peer(options.cpu_peer, [&] {
    signal.connect();
    raise_until_stopped(signal, progress);
    while (progress.stop.load()) usleep(100);
    signal.close();
  });
  pin(options.cpu_client);
  signal.attach();
  uint64_t seen = 0;
  const auto take = [&] {
    signal.await();
    const uint64_t sent = progress.sent.load(std::memory_order_acquire);
    if (sent == 0 || sent < seen) die("a notification came before it was sent", EPROTO);
    seen = sent;
  };
  const Result result = measure(options, peer, 1, take);
  progress.stop = true;
  while (!progress.ended.load(std::memory_order_acquire)) take();
  progress.stop = false;
  join_peer(peer);
  signal.close();
  if (result.checked > seen) die("more notifications came than were sent", EPROTO);
  return result;
}

}  // namespace

const Case kStreamCases[] = {
    {"dvk-c-notify-stream", stream<KernelNotify>, create_container},
    {"eventfd-stream", stream<EventFdNotify>},
    {nullptr, nullptr},
};

}  // namespace bench
