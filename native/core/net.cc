#include "net.h"

#include <pthread.h>
#include <signal.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "rendezvous.h"
#include "wait.h"

namespace dvk {
namespace {

// Who falls asleep this often within kNetMs sleeps often.
constexpr uint32_t kOften = 256;
constexpr uint32_t kRestsMax = 10;

}  // namespace

struct Net {
  std::mutex mutex;
  std::condition_variable change;
  std::vector<Sleeper*> sleepers;
  pthread_t thread{};
  bool running = false, stopping = false;

  static Net& of_process();
  // Makes `sleeper` a covered one, unless there can be no thread.
  void cover(Sleeper* sleeper);
  void leave(Sleeper* sleeper);

 private:
  bool start();
  void run();
  // Wakes who sleeps. Returns whether there is anybody to come back for.
  bool look_around();
};

namespace {

// Never freed: a process may end while the thread still runs.
Net* net_of_process = nullptr;

// A child has no thread of its parent's, and maybe a mutex that nobody will unlock.
void forget_net() {
  net_of_process = new Net();
}

}  // namespace

Net& Net::of_process() {
  static const bool made = [] {
    forget_net();
    pthread_atfork(nullptr, nullptr, forget_net);
    return true;
  }();
  static_cast<void>(made);
  return *net_of_process;
}

bool Net::start() {
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);  // That of a page which is lost is for who has touched it.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto body = [](void* net) -> void* {
    static_cast<Net*>(net)->run();
    return nullptr;
  };
  const bool started = pthread_create(&thread, nullptr, body, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void Net::cover(Sleeper* sleeper) {
  const std::lock_guard<std::mutex> guard(mutex);
  // One that is about to end is not joined; there will be another time.
  if (stopping) return;
  if (!running && !(running = start())) return;
  if (!sleeper->member_) sleepers.push_back(sleeper);
  sleeper->member_ = true;
  sleeper->rests_ = 0;
  sleeper->covered_.store(true);
  change.notify_one();
}

void Net::leave(Sleeper* sleeper) {
  std::unique_lock<std::mutex> guard(mutex);
  std::erase(sleepers, sleeper);
  if (!sleepers.empty() || !running || stopping) return;
  stopping = true;
  change.notify_one();
  guard.unlock();
  pthread_join(thread, nullptr);
  guard.lock();
  running = stopping = false;
}

bool Net::look_around() {
  bool more = false;
  for (Sleeper* sleeper : sleepers) {
    const bool covered = sleeper->covered_.load();
    if (covered) {
      const uint32_t sleeps = sleeper->sleeps_.load(std::memory_order_relaxed);
      sleeper->rests_ = sleeps == sleeper->seen_ ? sleeper->rests_ + 1 : 0;
      sleeper->seen_ = sleeps;
      sleeper->due_.store(true);
      if (sleeper->rests_ >= kRestsMax) sleeper->covered_.store(false);
    }
    // Who was let go may be about to sleep without a time-out: it is woken until it is awake.
    const bool asleep = sleeper->asleep_.load();
    if (asleep) {
      // Where the word was lost this brings it back (lost_pages.h), and the sleeper with it.
      load(*sleeper->word_);
      futex_wake(sleeper->word_);
    }
    more = more || covered || asleep;
  }
  return more;
}

void Net::run() {
  std::unique_lock<std::mutex> guard(mutex);
  while (!stopping) {
    if (look_around()) {
      change.wait_for(guard, std::chrono::milliseconds(kNetMs));
    } else {
      change.wait(guard);
    }
  }
}

Sleeper::~Sleeper() {
  if (member_) Net::of_process().leave(this);
}

void Sleeper::count_sleep() {
  // A sleep that goes on after the net had a look is the same one.
  if (woken_) {
    woken_ = false;
    return;
  }
  const uint32_t sleeps = sleeps_.load(std::memory_order_relaxed) + 1;
  sleeps_.store(sleeps, std::memory_order_relaxed);
  if (sleeps % kOften != 0 || covered_.load(std::memory_order_relaxed)) return;
  const int64_t now = now_ns();
  if (now - counted_from_ < kNetMs * 1'000'000) Net::of_process().cover(this);
  counted_from_ = now;
}

bool Sleeper::begin_sleep() {
  count_sleep();
  if (!covered_.load(std::memory_order_relaxed)) return false;
  // Of this and the net that lets go, one sees the other.
  asleep_.store(true);
  if (covered_.load()) return true;
  asleep_.store(false);
  return false;
}

bool Sleeper::is_due() {
  if (!due_.load(std::memory_order_relaxed)) return false;
  due_.store(false, std::memory_order_relaxed);
  woken_ = true;
  return true;
}

}  // namespace dvk
