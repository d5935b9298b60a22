// Whom a yield gives the CPU to: the peer, or a stranger that keeps it.

#include "../core/yield.h"

#include <sched.h>
#include <signal.h>

#include "../core/clock.h"
#include "support.h"

namespace dvk::test {
namespace {

constexpr int kCallsMax = 1'000'000;

// The first CPU that this program may use.
void run_on_one_cpu() {
  cpu_set_t all, one;
  CPU_ZERO(&one);
  CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  }
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

// An echo server and, if wanted, a stranger, in children on the CPU of the caller.
struct Bed {
  explicit Bed(bool crowded) {
    run_on_one_cpu();
    auto* endpoint = shared<int32_t>();
    server = spawn([this, endpoint] {
      Process& process = bind_server(reopen(container), 10);
      std::atomic_ref<int32_t>(*endpoint).store(process.endpoint);
      Message m;
      for (int error = rcvrqst(process, &m, -1); error == 0;) {
        error = reply_receive(process, m.source, &m, -1);
      }
    });
    until("the server is bound",
          [&] { return (target = std::atomic_ref<int32_t>(*endpoint).load()) != 0; });
    if (!crowded) return;
    stranger = spawn([] {
      for (;;) asm volatile("");
    });
  }
  ~Bed() {
    end_stranger();
    kill(server, SIGKILL);
    join_killed(server);
  }
  void end_stranger() {
    if (stranger == 0) return;
    kill(stranger, SIGKILL);
    join_killed(stranger);
    stranger = 0;
  }
  void call() {
    Message m = message(1, 1);
    CHECK_EQUAL(sendrec(client, target, &m, -1), 0);
  }

  Container container;
  Process& client = bind_client(container.segment);
  pid_t server = 0, stranger = 0;
  int32_t target = 0;
};

TEST("who meets a busy stranger on its CPU yields no more, and its peers know") {
  Bed bed(true);
  ProcessSlot* own = bed.client.slot;
  ProcessSlot* other = bed.container.segment.slot(10);
  int calls = 0;
  do {
    bed.call();
  } while (cpu_of(own) == cpu_of(other) && share_cpu(own, other) && ++calls < kCallsMax);
  CHECK(calls < kCallsMax);
  CHECK_EQUAL(cpu_of(own), cpu_of(other));
  ProcessInfo info;
  CHECK(process_info(bed.container.segment, 10, &info) == 0);
  CHECK_EQUAL(info.cpu, cpu_of(other));
}

TEST("who met a stranger yields again when it is gone") {
  Bed bed(true);
  ProcessSlot* own = bed.client.slot;
  ProcessSlot* other = bed.container.segment.slot(10);
  int calls = 0;
  do {
    bed.call();
  } while (share_cpu(own, other) && ++calls < kCallsMax);
  bed.end_stranger();
  do {
    bed.call();
  } while (!share_cpu(own, other) && ++calls < kCallsMax);
  CHECK(calls < kCallsMax);
}

TEST("the CPU time of another program is read, and of one that is not there is not") {
  const pid_t child = spawn([] {
    for (;;) asm volatile("");
  });
  until("the child used some time", [&] { return cpu_time_ns(child) > 1'000'000; });
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(cpu_time_ns(child), -1);
  CHECK(cpu_time_ns(0) > 0);
}

TEST("ticks go on as the clock does") {
  run_on_one_cpu();
  const uint64_t slice = ticks_in(1'000'000);
  CHECK(slice > 1'000);
  const int64_t begun = now_ns();
  const uint64_t first = ticks();
  while (now_ns() < begun + 1'000'000) relax();
  CHECK(ticks() - first >= slice * 9 / 10);
}

}  // namespace
}  // namespace dvk::test
