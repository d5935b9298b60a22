// Round trips over what the host offers: pipe, FIFO, AF_UNIX, TCP, POSIX queue, eventfd, futex, and
// the limits: a spin on shared memory on two cores, and on one core the same where who waits gives
// the core away, which is a system call and a switch each way.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "one_way.h"
#include "sockets.h"

namespace bench {
namespace {

// Two descriptors each way; both processes hold all of them, and each uses its own.
class Descriptors {
 public:
  void connect() {}
  void attach() {}
  void close() {}

  void post(const Letter& letter) {
    write_all(client_out_, &letter, sizeof letter);
  }
  void call(Letter& letter) {
    post(letter);
    read_all(client_in_, &letter, sizeof letter);
  }
  void receive(Letter& letter) {
    read_all(peer_in_, &letter, sizeof letter);
  }
  void answer(const Letter& letter) {
    write_all(peer_out_, &letter, sizeof letter);
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 protected:
  int client_out_ = -1, client_in_ = -1, peer_out_ = -1, peer_in_ = -1;
};

class Pipe : public Descriptors {
 public:
  void open(const Options&) {
    int request[2], reply[2];
    must(pipe(request), "pipe");
    must(pipe(reply), "pipe");
    peer_in_ = request[0];
    client_out_ = request[1];
    client_in_ = reply[0];
    peer_out_ = reply[1];
  }
};

class Fifo : public Descriptors {
 public:
  void open(const Options&) {
    const std::string directory = make_scratch();
    peer_in_ = client_out_ = open_fifo(directory + "/request");
    client_in_ = peer_out_ = open_fifo(directory + "/reply");
    remove_scratch(directory);
  }

 private:
  static int open_fifo(const std::string& path) {
    must(mkfifo(path.c_str(), 0600), "mkfifo");
    return static_cast<int>(must(::open(path.c_str(), O_RDWR), "open"));
  }
};

template <int kType>
class UnixSocket : public Descriptors {
 public:
  void open(const Options&) {
    int ends[2];
    must(socketpair(AF_UNIX, kType, 0, ends), "socketpair");
    client_in_ = client_out_ = ends[0];
    peer_in_ = peer_out_ = ends[1];
  }
};

class Tcp : public Descriptors {
 public:
  void open(const Options&) {
    int ends[2];
    tcp_pair(ends);
    client_in_ = client_out_ = ends[0];
    peer_in_ = peer_out_ = ends[1];
  }
};

// Each letter is a datagram; nothing is lost on loopback while one is under way.
class Udp : public Descriptors {
 public:
  void open(const Options&) {
    int ends[2];
    udp_pair(ends);
    client_in_ = client_out_ = ends[0];
    peer_in_ = peer_out_ = ends[1];
  }
};

class PosixQueue {
 public:
  void open(const Options&) {
    request_ = open_queue("request");
    reply_ = open_queue("reply");
  }
  void connect() {}
  void attach() {}
  void close() {}
  void post(const Letter& letter) {
    put(request_, letter);
  }
  void call(Letter& letter) {
    post(letter);
    get(reply_, letter);
  }
  void receive(Letter& letter) {
    get(request_, letter);
  }
  void answer(const Letter& letter) {
    put(reply_, letter);
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  static mqd_t open_queue(const char* role) {
    const std::string name = "/dvk-bench-" + std::to_string(getpid()) + '-' + role;
    mq_attr attributes{};
    attributes.mq_maxmsg = 4;
    attributes.mq_msgsize = sizeof(Letter);
    const mqd_t queue = mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
    must(queue, "mq_open");
    mq_unlink(name.c_str());
    return queue;
  }
  static void put(mqd_t queue, const Letter& letter) {
    must(mq_send(queue, reinterpret_cast<const char*>(&letter), sizeof letter, 0), "mq_send");
  }
  static void get(mqd_t queue, Letter& letter) {
    const ssize_t n = mq_receive(queue, reinterpret_cast<char*>(&letter), sizeof letter, nullptr);
    must(n, "mq_receive");
  }

  mqd_t request_ = -1, reply_ = -1;
};

// A letter in shared memory, and a word beside it that says whose turn it is.
struct alignas(64) Mailbox {
  std::atomic<uint32_t> full;
  alignas(64) Letter letter;
};

struct Mailboxes {
  Mailbox request, reply;
};

class EventFd {
 public:
  void open(const Options&) {
    boxes_ = static_cast<Mailboxes*>(shared_memory(sizeof(Mailboxes)));
    request_ = static_cast<int>(must(eventfd(0, 0), "eventfd"));
    reply_ = static_cast<int>(must(eventfd(0, 0), "eventfd"));
  }
  void connect() {}
  void attach() {}
  void close() {}
  void call(Letter& letter) {
    put(request_, boxes_->request, letter);
    get(reply_, boxes_->reply, letter);
  }
  void receive(Letter& letter) {
    get(request_, boxes_->request, letter);
  }
  void answer(const Letter& letter) {
    put(reply_, boxes_->reply, letter);
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  static void put(int fd, Mailbox& box, const Letter& letter) {
    box.letter = letter;
    const uint64_t one = 1;
    write_all(fd, &one, sizeof one);
  }
  static void get(int fd, const Mailbox& box, Letter& letter) {
    uint64_t count;
    read_all(fd, &count, sizeof count);
    letter = box.letter;
  }

  Mailboxes* boxes_ = nullptr;
  int request_ = -1, reply_ = -1;
};

// Two mailboxes; `Word` knows how to fill one and how to wait for it.
template <typename Word>
class SharedWords {
 public:
  void open(const Options&) {
    boxes_ = static_cast<Mailboxes*>(shared_memory(sizeof(Mailboxes)));
  }
  void connect() {}
  void attach() {}
  void close() {}
  void call(Letter& letter) {
    put(boxes_->request, letter);
    get(boxes_->reply, letter);
  }
  void receive(Letter& letter) {
    get(boxes_->request, letter);
  }
  void answer(const Letter& letter) {
    put(boxes_->reply, letter);
  }
  void answer_receive(Letter& letter) {
    answer(letter);
    receive(letter);
  }

 private:
  static void put(Mailbox& box, const Letter& letter) {
    box.letter = letter;
    Word::fill(box.full);
  }
  static void get(Mailbox& box, Letter& letter) {
    Word::await(box.full);
    letter = box.letter;
    // The other side writes the next letter only after it has the answer to this one.
    box.full.store(0, std::memory_order_relaxed);
  }

  Mailboxes* boxes_ = nullptr;
};

struct Spin {
  static void fill(std::atomic<uint32_t>& word) {
    word.store(1, std::memory_order_release);
  }
  static void await(const std::atomic<uint32_t>& word) {
    while (word.load(std::memory_order_acquire) == 0) relax();
  }
};

struct Yield : Spin {
  static void await(const std::atomic<uint32_t>& word) {
    while (word.load(std::memory_order_acquire) == 0) sched_yield();
  }
};

// The plain futex path: a waiter says so in the word and sleeps at once, without a time-out; nobody
// is woken who does not sleep.
struct Futex {
  static constexpr uint32_t kFull = 1, kAsleep = 2;

  static void fill(std::atomic<uint32_t>& word) {
    if (word.exchange(kFull) == kAsleep) must(futex(word, FUTEX_WAKE, 1), "FUTEX_WAKE");
  }
  static void await(std::atomic<uint32_t>& word) {
    uint32_t empty = 0;
    if (!word.compare_exchange_strong(empty, kAsleep)) return;
    while (word.load() == kAsleep) futex(word, FUTEX_WAIT, kAsleep);
  }

 private:
  static long futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
    return syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
  }
};

}  // namespace

const Case kTransportCases[] = {
    {"pipe", round_trips<Pipe>},
    {"fifo", round_trips<Fifo>},
    {"unix-stream", round_trips<UnixSocket<SOCK_STREAM>>},
    {"unix-seqpacket", round_trips<UnixSocket<SOCK_SEQPACKET>>},
    {"tcp", round_trips<Tcp>},
    {"udp", round_trips<Udp>},
    {"posix-mq", round_trips<PosixQueue>},
    {"eventfd", round_trips<EventFd>},
    {"futex", round_trips<SharedWords<Futex>>},
    {"pure-spin", round_trips<SharedWords<Spin>>},
    {"pure-yield", round_trips<SharedWords<Yield>>},
    {nullptr, nullptr},
};

const Case kOneWayCases[] = {
    {"pipe", one_way<Pipe>},
    {"unix-stream", one_way<UnixSocket<SOCK_STREAM>>},
    {"unix-seqpacket", one_way<UnixSocket<SOCK_SEQPACKET>>},
    {"tcp", one_way<Tcp>},
    {"posix-mq", one_way<PosixQueue>},
    {nullptr, nullptr},
};

}  // namespace bench
