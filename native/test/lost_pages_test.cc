// The file of a segment is shortened while processes call one another in it: none dies of it, none
// hangs, and each call fails from then on. Reference: promise S11; SIGBUS in section 6 of the
// reliability notes.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "../core/bindings.h"
#include "support.h"

namespace dvk::test {
namespace {

struct Progress {
  std::atomic<uint64_t> calls{0};
};

void serve(Segment& segment) {
  Process& server = bind_server(segment, 1);
  Message m;
  int result = rcvrqst(server, &m, kForever);
  while (result == 0) result = reply_receive(server, m.source, &m, kForever);
  CHECK(result < 0);
  CHECK(rcvrqst(server, &m, kForever) < 0);
}

void call(Segment& segment, Progress& progress) {
  Process& client = bind_client(segment);
  const int32_t server = wait_bind(client, 1, kForever);
  Message m = message(1, 1);
  int result;
  while ((result = sendrec(client, server, &m, kForever)) == 0) progress.calls.fetch_add(1);
  CHECK(result < 0);
  CHECK(sendrec(client, server, &m, kForever) < 0);
  CHECK(notify(client, server) < 0);
}

// One is called without end, and one waits for anyone without a time-out.
struct Shortened {
  explicit Shortened(off_t bytes) : length(bytes) {
    sleeper = spawn([&] {
      Process& process = bind_server(container.segment, 2);
      Message m;
      CHECK_EQUAL(receive(process, kEndpointAny, &m, kForever), -EDVSDCNOTRUN);
    });
    server = spawn([&] { serve(container.segment); });
    client = spawn([&] { call(container.segment, progress); });
    until("it waits", [&] { return state_in(container.segment, 2) == State::kAny; });
    until("they call", [&] { return progress.calls.load() > 100; });
  }

  const off_t length;
  const Container container;
  Progress& progress = *shared<Progress>();
  pid_t sleeper, server, client;
};

TEST("who is in a segment whose file is shortened lives on, and its calls fail") {
  Shortened all[] = {Shortened(0), Shortened(1), Shortened(4096), Shortened(65536)};
  for (const Shortened& one : all) {
    CHECK_EQUAL(truncate(one.container.path.c_str(), one.length), 0);
  }
  for (const Shortened& one : all) {
    join(one.client);
    join(one.server);
    join(one.sleeper);
    // This process has it mapped, too.
    one.container.segment.touch_tables();
    CHECK(!one.container.segment.running());
    CHECK_EQUAL(bind_error(one.container.segment, BindOptions()), -EDVSDCNOTRUN);
  }
}

// Touches a page that a file of its own has no longer.
void touch_lost_page() {
  const std::string path = folder() + "/other";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK_EQUAL(ftruncate(fd, 4096), 0);
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(page != MAP_FAILED);
  CHECK_EQUAL(ftruncate(fd, 0), 0);
  *static_cast<volatile char*>(page) = 1;
}

TEST("SIGBUS for memory of no segment ends a process as ever") {
  // A sanitizer has a handler of its own.
  signal(SIGBUS, SIG_DFL);
  const Container container;
  join_killed(spawn([&] { touch_lost_page(); }));
}

TEST("SIGBUS for memory of no segment goes to the handler that was there before") {
  signal(SIGBUS, [](int) { _exit(0); });
  const Container container;
  join(spawn([&] {
    touch_lost_page();
    CHECK(false);
  }));
}

}  // namespace
}  // namespace dvk::test
