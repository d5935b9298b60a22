// The net below a lost death notice, for those who sleep without a timer. No test of it has another
// one who would wake the sleeper.

#include "../core/net.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>

#include <memory>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

constexpr int kTriesMax = 10'000'000;

struct Bed {
  uint32_t word = 0;
  Sleeper sleeper{&word};
};

// Falls asleep and wakes so often that the net covers the sleeper.
void tire(Sleeper& sleeper) {
  for (int i = 0; i < kTriesMax; i++) {
    if (!sleeper.begin_sleep()) continue;
    sleeper.end_sleep();
    return;
  }
  fail_test(__FILE__, __LINE__, "the net does not cover who sleeps often");
}

// A sleep that only the net ends. Returns whether it was without a time-out.
bool sleep_once(Bed& bed) {
  if (!bed.sleeper.begin_sleep()) return false;
  while (!bed.sleeper.is_due()) futex_wait(&bed.word, 0, -1);
  bed.sleeper.end_sleep();
  return true;
}

size_t threads() {
  DIR* tasks = opendir("/proc/self/task");
  size_t count = 0;
  while (readdir(tasks) != nullptr) count++;
  closedir(tasks);
  return count;
}

TEST("who sleeps now and then has no net but its timer") {
  Bed bed;
  CHECK(!bed.sleeper.begin_sleep());
  CHECK(!bed.sleeper.is_due());
}

TEST("the net wakes who sleeps often, and lets go of who rests") {
  Bed bed;
  tire(bed.sleeper);
  CHECK(sleep_once(bed));
  int rests = 1;
  while (sleep_once(bed)) rests++;
  CHECK(rests <= 20);
  tire(bed.sleeper);
  CHECK(sleep_once(bed));
}

TEST("the net wakes all who sleep, and ends with the last of them") {
  const size_t before = threads();
  std::vector<std::unique_ptr<Bed>> beds;
  for (int i = 0; i < 8; i++) beds.push_back(std::make_unique<Bed>());
  for (const auto& bed : beds) tire(bed->sleeper);
  // A sanitizer has threads of its own.
  if (!kSanitized) CHECK_EQUAL(threads(), before + 1);
  for (const auto& bed : beds) CHECK(sleep_once(*bed));
  beds.clear();
  // A thread that was joined is still listed for a moment.
  until("the net's thread has gone", [&] { return kSanitized || threads() == before; });
  Bed another;
  tire(another.sleeper);
  CHECK(sleep_once(another));
}

// ThreadSanitizer has no threads in a child of a program with threads.
#if !defined(__SANITIZE_THREAD__)
TEST("a child has a net of its own") {
  Bed bed;
  tire(bed.sleeper);
  join(spawn([] {
    Bed own;
    tire(own.sleeper);
    CHECK(sleep_once(own));
  }));
  CHECK(sleep_once(bed));
}
#endif

TEST("who sleeps often learns of a death that nobody tells") {
  Container container;
  Process& client = bind_client(container.segment);
  const pid_t child = spawn([&] {
    Process& server = bind_server(reopen(container), 1);
    Message request;
    CHECK_EQUAL(rcvrqst(server, &request, kForever), 0);
    for (;;) {
      if (request.type == 1) raise(SIGKILL);
      reply_receive(server, client.endpoint, &request, kForever);
    }
  });
  until("the server is bound", [&] { return lookup(container.segment, 1) >= 0; });
  const int32_t server = lookup(container.segment, 1);
  tire(client.sleeper);
  Message call = message(0, 7);
  CHECK_EQUAL(sendrec(client, server, &call, kForever), 0);
  call = message(1, 8);
  CHECK_EQUAL(sendrec(client, server, &call, kForever), -ESRCDIED);
  join_killed(child);
}

}  // namespace
}  // namespace dvk::test
