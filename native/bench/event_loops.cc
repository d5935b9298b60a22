// Round trips between two processes that sleep in epoll_wait, as the event loop of Node.js does, by
// each of the means to wake one. The letter is in shared memory; who fills a mailbox rings its bell
// only when the other side said that it sleeps.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "roundtrip.h"

namespace bench {
namespace {

enum : uint32_t { kEmpty, kFull, kAsleep };

// Sleeps until `fd` is readable.
class Poll {
 public:
  void wait(int fd) {
    if (epoll_ < 0) {
      epoll_ = static_cast<int>(must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
      epoll_event event{};
      event.events = EPOLLIN;
      must(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    }
    // An io_uring interrupts it to have its own work done.
    epoll_event event;
    while (epoll_wait(epoll_, &event, 1, -1) < 0) {
      if (errno != EINTR) die("epoll_wait", errno);
    }
  }

 private:
  int epoll_ = -1;
};

// What the core has: named, so a peer needs nothing but a path; see decision 6.
class FifoBell {
 public:
  void open(std::atomic<uint32_t>*) {
    const std::string directory = make_scratch();
    const std::string path = directory + "/bell";
    must(mkfifo(path.c_str(), 0600), "mkfifo");
    fd_ = static_cast<int>(must(::open(path.c_str(), O_RDWR | O_NONBLOCK), "open"));
    remove_scratch(directory);
  }
  void ring() {
    const char one = 1;
    must(write(fd_, &one, 1), "write");
  }
  void sleep() {
    poll_.wait(fd_);
    char bytes[64];
    must(read(fd_, bytes, sizeof bytes), "read");
  }

 private:
  Poll poll_;
  int fd_ = -1;
};

class EventFdBell {
 public:
  void open(std::atomic<uint32_t>*) {
    fd_ = static_cast<int>(must(eventfd(0, EFD_NONBLOCK), "eventfd"));
  }
  void ring() {
    const uint64_t one = 1;
    must(write(fd_, &one, sizeof one), "write");
  }
  void sleep() {
    poll_.wait(fd_);
    uint64_t count;
    must(read(fd_, &count, sizeof count), "read");
  }

 private:
  Poll poll_;
  int fd_ = -1;
};

// A futex that an io_uring waits for: nothing but the word is shared, and only the sleeper has a
// descriptor, its ring. Linux 6.7; the numbers are those of include/uapi/linux/io_uring.h there.
class RingBell {
 public:
  void open(std::atomic<uint32_t>* word) {
    word_ = word;
  }
  void ring() {
    must(syscall(SYS_futex, word_, FUTEX_WAKE, 1, nullptr, nullptr, 0), "FUTEX_WAKE");
  }
  void sleep() {
    if (fd_ < 0) set_up();
    io_uring_sqe& order = orders_[*tail_ & mask_];
    order = {};
    order.opcode = kFutexWait;
    order.fd = kFutex32;
    order.addr = reinterpret_cast<uint64_t>(word_);
    order.addr2 = kAsleep;
    order.addr3 = kAnyBit;
    std::atomic_ref<uint32_t>(*tail_).store(*tail_ + 1);
    must(syscall(SYS_io_uring_enter, fd_, 1, 0, 0, nullptr, 0), "io_uring_enter");
    while (*done_head_ == std::atomic_ref<uint32_t>(*done_tail_).load()) poll_.wait(fd_);
    const int result = results_[*done_head_ & done_mask_].res;
    std::atomic_ref<uint32_t>(*done_head_).store(*done_head_ + 1);
    if (result < 0 && result != -EAGAIN) die("IORING_OP_FUTEX_WAIT", -result);
  }

 private:
  static constexpr uint8_t kFutexWait = 51;
  static constexpr int kFutex32 = 2;  // FUTEX2_SIZE_U32, of another address space too
  static constexpr uint64_t kAnyBit = 0xffffffff;

  void set_up() {
    io_uring_params params{};
    fd_ = static_cast<int>(must(syscall(SYS_io_uring_setup, 4, &params), "io_uring_setup"));
    const auto map = [this](size_t bytes, int64_t offset) {
      void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, offset);
      if (mapped == MAP_FAILED) die("mmap", errno);
      return static_cast<char*>(mapped);
    };
    char* queue =
        map(params.sq_off.array + params.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
    char* done =
        map(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    orders_ = reinterpret_cast<io_uring_sqe*>(
        map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    const auto word = [](char* base, uint32_t at) {
      return reinterpret_cast<uint32_t*>(base + at);
    };
    tail_ = word(queue, params.sq_off.tail);
    mask_ = *word(queue, params.sq_off.ring_mask);
    for (uint32_t i = 0; i < params.sq_entries; i++) word(queue, params.sq_off.array)[i] = i;
    done_head_ = word(done, params.cq_off.head);
    done_tail_ = word(done, params.cq_off.tail);
    done_mask_ = *word(done, params.cq_off.ring_mask);
    results_ = reinterpret_cast<io_uring_cqe*>(done + params.cq_off.cqes);
  }

  Poll poll_;
  std::atomic<uint32_t>* word_ = nullptr;
  int fd_ = -1;
  io_uring_sqe* orders_ = nullptr;
  io_uring_cqe* results_ = nullptr;
  uint32_t *tail_ = nullptr, *done_head_ = nullptr, *done_tail_ = nullptr;
  uint32_t mask_ = 0, done_mask_ = 0;
};

struct alignas(64) Mailbox {
  std::atomic<uint32_t> full;
  alignas(64) Letter letter;
};

template <typename Bell>
class Loops {
 public:
  void open(const Options&) {
    boxes_ = static_cast<Mailbox*>(shared_memory(2 * sizeof(Mailbox)));
    for (int side = 0; side < 2; side++) bells_[side].open(&boxes_[side].full);
  }
  void connect() {}
  void attach() {}
  void close() {}
  void call(Letter& letter) {
    put(0, letter);
    get(1, letter);
  }
  void receive(Letter& letter) {
    get(0, letter);
  }
  void answer(const Letter& letter) {
    put(1, letter);
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  void put(int side, const Letter& letter) {
    boxes_[side].letter = letter;
    if (boxes_[side].full.exchange(kFull) == kAsleep) bells_[side].ring();
  }
  void get(int side, Letter& letter) {
    std::atomic<uint32_t>& full = boxes_[side].full;
    uint32_t empty = kEmpty;
    if (full.compare_exchange_strong(empty, kAsleep)) {
      do {
        bells_[side].sleep();
      } while (full.load() == kAsleep);
    }
    letter = boxes_[side].letter;
    full.store(kEmpty, std::memory_order_relaxed);
  }

  Mailbox* boxes_ = nullptr;
  Bell bells_[2];
};

}  // namespace

const Case kLoopCases[] = {
    {"loop-fifo", round_trips<Loops<FifoBell>>},
    {"loop-eventfd", round_trips<Loops<EventFdBell>>},
    {"loop-io-uring", round_trips<Loops<RingBell>>},
    {nullptr, nullptr},
};

}  // namespace bench
