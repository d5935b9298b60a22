// Bind, unbind, generations, limits of slots, the table lock, and who counts as alive.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <vector>

#include "../core/lock.h"
#include "../core/own_pid.h"
#include "support.h"

namespace dvk::test {
namespace {

TEST("a bound process is found by its slot and shown with its name and level") {
  const Container container;
  Segment& segment = container.segment;
  const Process& process = bind_server(segment, 3, "a server of a long name");
  CHECK_EQUAL(process.index, 3);
  CHECK_EQUAL(lookup(segment, 3), process.endpoint);
  ProcessInfo info;
  CHECK_EQUAL(process_info(segment, 3, &info), 0);
  CHECK_EQUAL(std::string(info.name), "a server of a l");
  CHECK_EQUAL(info.pid, getpid());
  CHECK_EQUAL(info.level, static_cast<uint32_t>(ProcessLevel::kServer));
  CHECK_EQUAL(info.life, static_cast<uint32_t>(ProcessLife::kLocal));
  CHECK_EQUAL(lookup(segment, 4), -EDVSNOTBOUND);
  CHECK_EQUAL(process_info(segment, 4, &info), -EDVSNOTBOUND);
  CHECK_EQUAL(lookup(segment, 192), -EDVSBADPROC);
  CHECK_EQUAL(process_info(segment, 192, &info), -EDVSBADPROC);
}

TEST("a program knows its own pid, and so do its children") {
  CHECK_EQUAL(own_pid(), getpid());
  const int parent = own_pid();
  join(spawn([=] {
    CHECK_EQUAL(own_pid(), getpid());
    CHECK(own_pid() != parent);
    join(spawn([] { CHECK_EQUAL(own_pid(), getpid()); }));
  }));
  CHECK_EQUAL(own_pid(), parent);
}

TEST("bind refuses used slots, slots that are not fixed, dead processes and an ended container") {
  const Container container;
  Segment& segment = container.segment;
  bind_server(segment, 1);
  BindOptions options;
  options.slot = 1;
  CHECK_EQUAL(bind_error(segment, options), -EDVSSLOTUSED);
  options.slot = 64;
  CHECK_EQUAL(bind_error(segment, options), -EDVSBADPROC);
  options.slot = 1 << 20;
  CHECK_EQUAL(bind_error(segment, options), -EDVSBADPROC);
  options.slot = 2;
  const pid_t child = spawn([] {});
  join(child);
  options.pid = child;
  CHECK_EQUAL(bind_error(segment, options), -ESRCH);
  options.pid = 0;
  end_container(segment);
  CHECK_EQUAL(bind_error(segment, options), -EDVSDCNOTRUN);
}

TEST("a node's share of slots can be used up and is whole again after") {
  const Container container;
  Segment& segment = container.segment;
  std::vector<Process*> processes;
  for (int i = 0; i < 32; i++) processes.push_back(&bind_client(segment));
  CHECK_EQUAL(bind_error(segment, {}), -EDVSNOSLOT);
  for (Process* process : processes) CHECK_EQUAL(process->unbind(), 0);
  for (int i = 0; i < 32; i++) bind_client(segment);
  CHECK_EQUAL(bind_error(segment, {}), -EDVSNOSLOT);
  CHECK_EQUAL(damage(segment), "");
}

TEST("the next owner of a slot has another endpoint, and the old one reaches nobody") {
  const Container container;
  Segment& segment = container.segment;
  Process& first = bind_server(segment, 5);
  Process& sender = bind_client(segment);
  const int32_t stale = first.endpoint;
  CHECK_EQUAL(first.unbind(), 0);
  CHECK_EQUAL(first.unbind(), -EDVSNOTBOUND);
  Process& second = bind_server(segment, 5);
  CHECK(second.endpoint != stale);
  CHECK_EQUAL(segment.slot_of(second.endpoint), 5);
  CHECK_EQUAL(send(sender, stale, message(1, 1), 0), -EDEADSRCDST);
  CHECK_EQUAL(notify(sender, stale), -EDEADSRCDST);
  CHECK_EQUAL(start_receive(sender, stale), -EDEADSRCDST);
  CHECK_EQUAL(send(first, sender.endpoint, message(1, 1), 0), -EDVSNOTBOUND);
  CHECK_EQUAL(start_receive(first, kEndpointAny), -EDVSNOTBOUND);
}

TEST("generations of a slot run through their range and wrap to none") {
  SegmentOptions options = small();
  options.first_generation = kGenerationMax - 1;
  const Container container(options);
  for (const uint32_t wanted : {32765u, 32766u, 0u, 1u}) {
    Process& process = bind_server(container.segment, 9);
    CHECK_EQUAL(generation_of(process.endpoint), wanted);
    CHECK_EQUAL(process.unbind(), 0);
  }
}

TEST("a dynamic slot is given out again only when the others were used as often") {
  const Container container;
  std::vector<uint32_t> slots;
  for (int i = 0; i < 32; i++) {
    Process& process = bind_client(container.segment);
    for (const uint32_t used : slots) CHECK(used != process.index);
    slots.push_back(process.index);
    process.unbind();
  }
}

TEST("many threads that bind and unbind at once get slots of their own") {
  const Container container;
  Segment& segment = container.segment;
  std::vector<std::atomic<int>> owners(192);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < scaled(150, 30); i++) {
        Process& process = bind_client(segment);
        CHECK_EQUAL(owners[process.index].fetch_add(1), 0);
        CHECK_EQUAL(lookup(segment, process.index), process.endpoint);
        owners[process.index].fetch_sub(1);
        CHECK_EQUAL(process.unbind(), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(damage(segment), "");
}

TEST("a process of the same number with another start time is another process") {
  const uint64_t start = process_start_time(getpid());
  CHECK(start != 0);
  CHECK(process_alive(getpid(), start));
  CHECK(!process_alive(getpid(), start + 1));
  CHECK(!process_alive(0, start));
  CHECK(!process_alive(-1, start));
}

// The kernel gives out pids in turn, and in a namespace of pids the test says which one is next.
// Reference: fault row 10.
pid_t spawn_as(pid_t pid, const std::function<void()>& work) {
  std::ofstream("/proc/sys/kernel/ns_last_pid") << pid - 1;
  const pid_t child = spawn(work);
  CHECK_EQUAL(child, pid);
  return child;
}

void meet_the_next_with_a_pid(Segment& segment) {
  constexpr pid_t kPid = 77;
  Process& waiter = bind_client(segment);
  auto* locked = shared<std::atomic<int>>();
  const pid_t first = spawn_as(kPid, [&] {
    bind_server(segment, 2);
    const TableLock lock(segment);
    locked->store(1);
    pause();
  });
  until("the first has the lock", [&] { return locked->load() != 0; });
  const int32_t endpoint = lookup(segment, 2);
  const uint64_t start = process_start_time(first);
  CHECK_EQUAL(start_receive(waiter, endpoint), kPending);
  kill(first, SIGKILL);
  join_killed(first);
  // Start times are in hundredths of a second.
  pid_t next = 0;
  until("the next one has another start time", [&] {
    if (next != 0) kill(next, SIGKILL), join_killed(next);
    next = spawn_as(kPid, [] { pause(); });
    return process_start_time(next) != start;
  });
  CHECK(!process_alive(first, start));
  {
    const TableLock lock(segment);
    CHECK_EQUAL(lock.error(), 0);
  }
  CHECK_EQUAL(reap(segment, 2, endpoint), 1);
  CHECK_EQUAL(step(waiter), -ESRCDIED);
  CHECK_EQUAL(find_pid(segment, kPid, 0), -EDVSNOTBOUND);
  kill(next, SIGKILL);
  join_killed(next);
  CHECK_EQUAL(waiter.unbind(), 0);
  CHECK_EQUAL(damage(segment), "");
}

TEST("the next process with a dead one's pid is not taken for it") {
  if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
    skip_test(std::string("needs namespaces of pids and mounts, ") + strerror(errno));
  }
  const Container container;
  const pid_t init = spawn([&] {
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", "/proc", "proc", 0, nullptr) != 0) {
      skip_test(std::string("needs to mount proc, ") + strerror(errno));
    }
    meet_the_next_with_a_pid(container.segment);
  });
  join(init);
}

TEST("a zombie is dead") {
  const pid_t child = spawn([] { pause(); });
  const uint64_t start = process_start_time(child);
  CHECK(process_alive(child, start));
  kill(child, SIGKILL);
  until("the child is a zombie", [&] { return process_start_time(child) == 0; });
  CHECK(!process_alive(child, start));
  join_killed(child);
}

TEST("a process without free descriptors does not take the living for dead") {
  const Container container;
  Process& process = bind_client(container.segment);
  const uint64_t start = process_start_time(getpid());
  const rlimit limit{16, 16};
  CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
  while (::open("/dev/null", O_RDONLY) >= 0) continue;
  CHECK_EQUAL(errno, EMFILE);
  CHECK(process_alive(getpid(), start));
  CHECK_EQUAL(reap(container.segment, process.index, process.endpoint), 0);
}

TEST("reap frees the slot of the dead only, and only of the one named") {
  const Container container;
  Segment& segment = container.segment;
  Process& living = bind_client(segment);
  CHECK_EQUAL(reap(segment, living.index, living.endpoint), 0);
  CHECK_EQUAL(reap(segment, 191, 191), 0);
  CHECK_EQUAL(reap(segment, 192, 192), 0);
  int32_t* endpoint = shared<int32_t>();
  const pid_t child = spawn([&] {
    *endpoint = bind_server(segment, 2).endpoint;
    _exit(0);
  });
  join(child);
  CHECK_EQUAL(reap(segment, 2, make_endpoint(2, 9)), 0);
  CHECK_EQUAL(reap(segment, 2, *endpoint), 1);
  CHECK_EQUAL(reap(segment, 2, *endpoint), 0);
  CHECK_EQUAL(damage(segment), "");
}

TEST("bind takes over the slot of a dead process") {
  const Container container;
  Segment& segment = container.segment;
  int32_t* endpoint = shared<int32_t>();
  join(spawn([&] {
    *endpoint = bind_server(segment, 2).endpoint;
    _exit(0);
  }));
  const Process& next = bind_server(segment, 2);
  CHECK(next.endpoint != *endpoint);
  CHECK_EQUAL(damage(segment), "");
}

TEST("a table lock whose owner was killed goes to the next taker") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t child = spawn([&] {
    const TableLock lock(segment);
    pause();
  });
  until("the child has the lock", [&] { return atomic(segment.header()->table_lock).load() != 0; });
  kill(child, SIGKILL);
  join_killed(child);
  const int64_t start = now_ns();
  const TableLock lock(segment);
  CHECK_EQUAL(lock.error(), 0);
  CHECK(now_ns() - start < 1'000'000'000);
}

TEST("a table lock whose owner is stopped is not taken from it") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t child = spawn([&] {
    {
      const TableLock lock(segment);
      raise(SIGSTOP);
    }
    const TableLock again(segment);
    CHECK_EQUAL(again.error(), 0);
  });
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, WUNTRACED), child);
  CHECK(WIFSTOPPED(status));
  const uint64_t owner = atomic(segment.header()->table_lock).load();
  CHECK_EQUAL(static_cast<pid_t>(owner & 0xffffffff), child);
  {
    const TableLock lock(segment, 100);
    CHECK_EQUAL(lock.error(), -ETIMEDOUT);
  }
  CHECK_EQUAL(atomic(segment.header()->table_lock).load(), owner);
  kill(child, SIGCONT);
  join(child);
  CHECK_EQUAL(atomic(segment.header()->table_lock).load(), 0);
}

TEST("the repair of a slot whose repairer died goes on where it stood") {
  const Container container;
  Segment& segment = container.segment;
  Process& waiter = bind_client(segment);
  int32_t* endpoint = shared<int32_t>();
  const pid_t child = spawn([&] {
    Process& dying = bind_server(segment, 2);
    CHECK(arena_allocate(dying, 8192) >= 0);
    CHECK(grant(dying, &dying, 8, 1, kEndpointAny) >= 0);
    *endpoint = dying.endpoint;
    _exit(0);
  });
  join(child);
  CHECK_EQUAL(start_receive(waiter, *endpoint), kPending);
  // As release_slot leaves it when it is killed after its first steps.
  ProcessSlot* slot = segment.slot(2);
  store(slot->want_source, *endpoint);
  atomic(slot->life).store(static_cast<uint32_t>(ProcessLife::kDying));
  atomic(slot->endpoint).store(kEndpointNone);
  CHECK_EQUAL(reap(segment, 2, *endpoint), 1);
  CHECK_EQUAL(step(waiter), -ESRCDIED);
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK(bind_server(segment, 2).endpoint != *endpoint);
  CHECK_EQUAL(damage(segment), "");
}

}  // namespace
}  // namespace dvk::test
