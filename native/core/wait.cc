#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "copy_job.h"
#include "deadlock.h"
#include "ipc.h"
#include "rendezvous.h"
#include "standby.h"
#include "trace.h"
#include "yield.h"

namespace dvk {
namespace {

std::string fifo_path(const std::string& directory, uint64_t wake_id) {
  char name[32];
  snprintf(name, sizeof name, "/wake/%016lx", static_cast<unsigned long>(wake_id));
  return directory + name;
}

// Descriptors of peers' FIFOs, opened at the first wake. Emptied when full, so that dead peers do
// not add up.
constexpr size_t kOpenFifosMax = 256;
std::mutex fifos_mutex;
std::map<std::pair<std::string, uint64_t>, int>& open_fifos() {
  static auto* fifos = new std::map<std::pair<std::string, uint64_t>, int>();
  return *fifos;
}

}  // namespace

void futex_wait(uint32_t* word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns < 0 ? nullptr : &timeout, nullptr, 0);
}

void futex_wake(uint32_t* word, int waiters) {
  syscall(SYS_futex, word, FUTEX_WAKE, waiters, nullptr, nullptr, 0);
}

Deadline::Deadline(int64_t timeout_ms)
    : timeout_ms_(std::min(timeout_ms, kTimeoutMsMax)),
      end_ns_(timeout_ms < 0 ? 0 : now_ns() + timeout_ms_ * 1'000'000) {}

int Deadline::sleep(uint32_t* word, uint32_t expected, int64_t net_ms) {
  if (timeout_ms_ == 0) return -EAGAIN;
  if (interrupted.load(std::memory_order_relaxed)) return -EINTR;
  int64_t limit = net_ms * 1'000'000;
  if (timeout_ms_ > 0) {
    const int64_t left = end_ns_ - now_ns();
    if (left <= 0) return -ETIMEDOUT;
    limit = std::min(limit, left);
  }
  futex_wait(word, expected, limit);
  return abandoned != nullptr && abandoned() ? -EINTR : 0;
}

int64_t Deadline::left_ms() const {
  if (timeout_ms_ <= 0) return timeout_ms_;
  return std::max<int64_t>(1, (end_ns_ - now_ns()) / 1'000'000);
}

void wake(Segment& segment, ProcessSlot* slot) {
  const uint32_t sleeping = atomic(slot->sleeping).load();
  if (sleeping == kAwake) return;
  if (is_traced(segment)) [[unlikely]]
    trace_wake(segment, slot, sleeping);
  WakesPutOff* later = segment.wakes_put_off();
  if (later != nullptr && later->add(slot, sleeping)) return;
  switch (sleeping) {
    case kOnFutex:
      futex_wake(&slot->rendezvous);
      break;
    case kOnFifo:
      wake_fifo(segment.directory(), load(slot->wake_id));
      break;
    default:
      break;
  }
}

WakesPutOff::WakesPutOff(Segment& segment)
    : segment_(segment), cpu_(static_cast<uint32_t>(sched_getcpu()) + 1) {
  segment.put_off_wakes(this);
}

WakesPutOff::~WakesPutOff() {
  segment_.put_off_wakes(nullptr);
  DVK_CRASH_POINT("wakes.put_off");
  for (size_t i = 0; i < fifos_.count; i++) wake_fifo(segment_.directory(), fifos_.items[i]);
  for (size_t i = 0; i < words_.count; i++) futex_wake(words_.items[i]);
}

template <typename T>
bool WakesPutOff::Some<T>::add(T item) {
  if (std::find(items, items + count, item) != items + count) return true;
  if (count == std::size(items)) return false;
  items[count++] = item;
  return true;
}

bool WakesPutOff::add(ProcessSlot* slot, uint32_t sleeping) {
  if (sleeping == kOnFifo) return fifos_.add(load(slot->wake_id));
  return sleeping == kOnFutex && cpu_of(slot) == cpu_ && words_.add(&slot->rendezvous);
}

namespace {

template <typename Met>
bool spin_until(uint64_t ns, Met met) {
  // A quick answer comes before the clock is read at all.
  for (int64_t end = 0;;) {
    for (int i = 0; i < 64; i++) {
      if (met()) return true;
      relax();
    }
    const int64_t now = now_ns();
    if (end == 0) end = now + static_cast<int64_t>(ns);
    if (now > end) return false;
  }
}

}  // namespace

bool spin_while(ProcessSlot* slot, uint32_t expected, uint64_t ns) {
  return spin_until(
      ns, [=] { return atomic(slot->rendezvous).load(std::memory_order_acquire) != expected; });
}

bool on_other_cpu(const Process& process, uint32_t peer) {
  if (peer >= process.segment.processes()) return false;
  const uint32_t cpu = cpu_of(process.segment.slot(peer));
  return cpu != 0 && cpu != cpu_of(process.slot);
}

namespace {

// Whom the present call waits for; for a receive from anyone, the last one that came.
uint32_t likely_peer(const Process& process) {
  const int peer = process.segment.slot_of(process.operation.peer);
  return peer >= 0 ? static_cast<uint32_t>(peer) : process.last_peer;
}

}  // namespace

bool yield_for(Process& process) {
  if (!is_waiting(atomic(process.slot->rendezvous).load(std::memory_order_acquire))) return true;
  return process.yielding.yield_to(process, likely_peer(process));
}

bool spin_for(Process& process, uint64_t ns) {
  const uint32_t word = atomic(process.slot->rendezvous).load(std::memory_order_acquire);
  if (!is_waiting(word)) return true;
  if (!on_other_cpu(process, likely_peer(process))) return false;
  // Where spinning has not paid lately it is tried now and then only.
  if (process.spin_misses >= 4 && process.waits++ % 8 != 0) return false;
  const bool met = spin_until(ns, [&] {
    return atomic(process.slot->rendezvous).load(std::memory_order_acquire) != word ||
           has_copy_work(process);
  });
  if (met) {
    process.spin_misses = 0;
    return true;
  }
  process.spin_misses++;
  return false;
}

int wake_fifo_create(const std::string& directory, uint64_t wake_id) {
  mkdir((directory + "/wake").c_str(), 0700);
  const std::string path = fifo_path(directory, wake_id);
  if (mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) return -errno;
  const int fd = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

void wake_fifo_remove(const std::string& directory, uint64_t wake_id) {
  unlink(fifo_path(directory, wake_id).c_str());
}

bool wake_fifo(const std::string& directory, uint64_t wake_id) {
  if (wake_id == 0) return false;
  const std::lock_guard<std::mutex> guard(fifos_mutex);
  auto& fifos = open_fifos();
  const auto key = std::make_pair(directory, wake_id);
  auto found = fifos.find(key);
  if (found == fifos.end()) {
    // Read-write: with a reader of its own the FIFO never raises SIGPIPE, also when its owner is
    // gone.
    const int fd =
        ::open(fifo_path(directory, wake_id).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return false;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) {
      close(fd);
      return false;
    }
    if (fifos.size() >= kOpenFifosMax) {
      for (const auto& [name, old] : fifos) close(old);
      fifos.clear();
    }
    found = fifos.emplace(key, fd).first;
  }
  // A full FIFO wakes its reader already.
  const char one = 1;
  return write(found->second, &one, 1) == 1 || errno == EAGAIN;
}

void wake_every_fifo(const std::string& directory) {
  DIR* wakers = opendir((directory + "/wake").c_str());
  if (wakers == nullptr) return;
  while (const dirent* entry = readdir(wakers)) {
    wake_fifo(directory, strtoull(entry->d_name, nullptr, 16));
  }
  closedir(wakers);
}

bool arm(Process& process) {
  atomic(process.slot->sleeping).store(kOnFifo);
  if (process.operation.stage == Operation::Stage::kStandby) return standby_ready(process);
  if (!is_waiting(atomic(process.slot->rendezvous).load()) || has_copy_work(process) ||
      break_cycle(process)) {
    return true;
  }
  if (is_traced(process.segment)) [[unlikely]] {
    trace_sleep(process, kOnFifo);
  }
  return false;
}

void disarm(Process& process) {
  atomic(process.slot->sleeping).store(kAwake);
  if (process.trace.slept != 0) [[unlikely]] {
    trace_awake(process);
  }
}

}  // namespace dvk
