// No memory left: a file system of segments that is full, and processes that may map no more.
// Method: a small tmpfs in a mount namespace of the test alone; RLIMIT_AS. Whoever touched a page
// that is not to be had would die of SIGBUS, and the test with it. Reference: fault row 9.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "../core/notify.h"
#include "../core/privilege.h"
#include "../core/trace.h"
#include "support.h"

namespace dvk::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

void write_text(const char* path, const std::string& text) {
  std::ofstream(path) << text;
}

// A tmpfs of so many bytes, which this test and its children see and nobody else does.
std::string small_file_system(uint64_t bytes) {
  const uid_t user = getuid();
  const bool root = user == 0;
  if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    skip_test(std::string("needs a mount namespace, ") + strerror(errno));
  }
  if (!root) write_text("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
  const std::string path = folder() + "/small";
  CHECK_EQUAL(mkdir(path.c_str(), 0700), 0);
  const std::string options = "size=" + std::to_string(bytes);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("none", path.c_str(), "tmpfs", 0, options.c_str()) != 0) {
    skip_test(std::string("needs to mount a tmpfs, ") + strerror(errno));
  }
  return path;
}

uint64_t free_bytes(const std::string& path) {
  struct statvfs status;
  CHECK_EQUAL(statvfs(path.c_str(), &status), 0);
  return status.f_bfree * status.f_bsize;
}

// A file that takes what is left.
std::string fill(const std::string& path) {
  const std::string file = path + "/filler";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  CHECK(fd >= 0);
  const std::vector<char> page(4096);
  while (write(fd, page.data(), page.size()) > 0) continue;
  CHECK_EQUAL(errno, ENOSPC);
  close(fd);
  CHECK_EQUAL(free_bytes(path), 0);
  return file;
}

Segment& segment_in(const std::string& path, const SegmentOptions& options) {
  const std::string file = path + "/segment";
  CHECK_EQUAL(Segment::create(file.c_str(), options), 0);
  Segment* segment = nullptr;
  std::string reason;
  CHECK_EQUAL(Segment::open(file.c_str(), &segment, &reason), 0);
  return *segment;
}

TEST("a segment whose tables find no memory is not made, and leaves nothing") {
  const std::string path = small_file_system(kMiB);
  const uint64_t before = free_bytes(path);
  const std::string file = path + "/segment";
  CHECK_EQUAL(Segment::create(file.c_str(), small()), -ENOSPC);
  CHECK(access(file.c_str(), F_OK) != 0);
  CHECK_EQUAL(free_bytes(path), before);
}

// Every table, by the calls that use it.
void use_tables(Segment& segment) {
  Process& server = bind_server(segment, 5);
  std::vector<Process*> clients;
  BindOptions options;
  Process* process = nullptr;
  while (Process::bind(segment, options, &process) == 0) clients.push_back(process);
  CHECK_EQUAL(clients.size(), 32);
  for (Process* client : clients) {
    CHECK_EQUAL(start_sendrec(*client, server.endpoint, message(1, 7)), kPending);
  }
  for (Process* client : clients) {
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
    CHECK_EQUAL(reply(server, m.source, m), 0);
    CHECK_EQUAL(step(*client), 0);
    CHECK_EQUAL(notify(*client, server.endpoint), 0);
    CHECK(senda(*client, server.endpoint, message(2, 8), 0) >= 0);
    CHECK(grant(*client, &server, 8, 1, kEndpointAny) >= 0);
  }
  CHECK_EQUAL(notify_kernel(segment, server.endpoint, 1), 0);
  Message m;
  for (size_t i = 0; i < 2 * clients.size() + 1; i++) {
    CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
  }
  for (uint32_t node = 1; node < segment.nodes(); node++) {
    CHECK_EQUAL(add_node(segment, node, "peer"), 0);
    CHECK_EQUAL(attach_proxy(segment, node, 0), 0);
    CHECK_EQUAL(link_up(segment, node, 1), 0);
    const int32_t far = static_cast<int32_t>(20 + node);
    CHECK_EQUAL(bind_remote(segment, far, node, ProcessLevel::kServer, "far"), 0);
    CHECK_EQUAL(start_send(*clients[node], far, message(1, 1)), kPending);
    Command command;
    std::vector<uint8_t> payload(kCopyChunkBytes);
    while (get2rmt(segment, node, &command, payload.data()) == 1) continue;
  }
}

TEST("in a full file system calls work, and nobody dies for want of a page") {
  const std::string path = small_file_system(8 * kMiB);
  Segment& segment = segment_in(path, small(0, 16 * kMiB));
  const std::string filler = fill(path);
  // There is no room for the events either.
  const int watcher = trace_start(segment);
  CHECK(watcher >= 0);
  use_tables(segment);
  CHECK_EQUAL(trace_stop(segment, static_cast<uint32_t>(watcher)), 0);
  CHECK_EQUAL(damage(segment), "");
  unlink(filler.c_str());
  CHECK_EQUAL(free_bytes(path) > kMiB, true);
}

TEST("arena memory that is not there is refused, to its owner and to who copies") {
  const std::string path = small_file_system(8 * kMiB);
  Segment& segment = segment_in(path, small(0, 16 * kMiB));
  Process& owner = bind_server(segment, 5);
  Process& copier = bind_server(segment, 6);
  const int64_t own = arena_allocate(owner, 8192);
  CHECK(own >= 0);
  uint8_t* memory = segment.arena() + own;
  memset(memory, 7, 8192);
  // It does not fit, and what it took of the file system goes back.
  const uint64_t before = free_bytes(path);
  CHECK_EQUAL(arena_allocate(owner, 16 * kMiB - 8192), -ENOMEM);
  CHECK_EQUAL(free_bytes(path), before);
  CHECK_EQUAL(arena_used(segment), 8192);

  const std::string filler = fill(path);
  CHECK_EQUAL(arena_allocate(owner, 4096), -ENOMEM);
  std::vector<uint8_t> here(8192);
  const CopyParty mine{kEndpointSelf, kByAddress, reinterpret_cast<uint64_t>(here.data())};
  const int32_t good = grant(owner, memory, 8192, 3, kEndpointAny);
  const int32_t bad = grant(owner, memory + 4 * kMiB, 8192, 3, kEndpointAny);
  CHECK_EQUAL(vcopy(copier, {owner.endpoint, good, 0}, mine, 8192, kForever), 8192);
  CHECK(here == std::vector<uint8_t>(8192, 7));
  CHECK_EQUAL(vcopy(copier, {owner.endpoint, bad, 0}, mine, 8192, kForever), -EFAULT);
  CHECK_EQUAL(vcopy(copier, mine, {owner.endpoint, bad, 0}, 8192, kForever), -EFAULT);

  unlink(filler.c_str());
  CHECK_EQUAL(vcopy(copier, mine, {owner.endpoint, bad, 0}, 8192, kForever), 8192);
  CHECK(arena_allocate(owner, kMiB) >= 0);
  CHECK_EQUAL(damage(segment), "");
}

TEST("a lender that finds no memory for its stage leaves the copy to the requester") {
  const std::string path = small_file_system(8 * kMiB);
  Segment& segment = segment_in(path, small());
  Process& server = bind_server(segment, 5);
  fill(path);
  constexpr uint64_t kBytes = 300'000;
  const pid_t child = spawn([&] {
    Process& client = bind_client(segment);
    std::vector<uint8_t> memory(kBytes, 3);
    Message m{};
    const uint64_t address = reinterpret_cast<uint64_t>(memory.data());
    memcpy(m.payload, &address, sizeof address);
    CHECK_EQUAL(sendrec(client, server.endpoint, &m, kForever), 0);
    CHECK(memory == std::vector<uint8_t>(kBytes, 4));
  });
  Message m;
  CHECK_EQUAL(rcvrqst(server, &m, kForever), 0);
  uint64_t address;
  memcpy(&address, m.payload, sizeof address);
  std::vector<uint8_t> own(kBytes);
  const CopyParty theirs{m.source, kByAddress, address};
  const CopyParty mine{kEndpointSelf, kByAddress, reinterpret_cast<uint64_t>(own.data())};
  for (int i = 0; i < 20; i++) {
    CHECK_EQUAL(vcopy(server, theirs, mine, kBytes, kForever), static_cast<int64_t>(kBytes));
  }
  CHECK(own == std::vector<uint8_t>(kBytes, 3));
  own.assign(kBytes, 4);
  CHECK_EQUAL(vcopy(server, mine, theirs, kBytes, kForever), static_cast<int64_t>(kBytes));
  CHECK_EQUAL(reply(server, m.source, m), 0);
  join(child);
}

void want_limits() {
  if (kSanitized) skip_test("a sanitizer maps more than any limit allows");
}

// Lets this process map `more` bytes beyond what it has.
void limit_memory(uint64_t more) {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const uint64_t bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + more;
  const rlimit limit{bytes, bytes};
  CHECK_EQUAL(setrlimit(RLIMIT_AS, &limit), 0);
}

TEST("a process that may map no more is refused a segment, and goes on with the one it has") {
  want_limits();
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 5);
  Process& client = bind_client(segment);
  limit_memory(kMiB);
  Segment* another = nullptr;
  std::string reason;
  CHECK_EQUAL(Segment::open(container.path.c_str(), &another, &reason), -ENOMEM);
  CHECK_EQUAL(Segment::create((folder() + "/other").c_str(), small()), -ENOMEM);
  CHECK(access((folder() + "/other").c_str(), F_OK) != 0);
  CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 7)), kPending);
  Message m;
  CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
  CHECK_EQUAL(reply(server, client.endpoint, m), 0);
  CHECK_EQUAL(step(client), 0);
  CHECK(arena_allocate(client, kMiB) >= 0);
}

// Whatever it is in the middle of, one that dies of it is dead for the others.
TEST("a process that runs out of memory in a call ends the waits for it") {
  want_limits();
  const Container container;
  Segment& segment = container.segment;
  Process& client = bind_client(segment);
  const pid_t child = spawn([&] {
    // The end by abort() says so on stderr, and would leave a core.
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    close(STDERR_FILENO);
    Process& server = bind_server(segment, 5);
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, kForever), 0);
    limit_memory(4 * kMiB);
    for (;;) {
      arena_allocate(server, 4096);
      new std::vector<uint8_t>(65536, 1);
    }
  });
  until("the server is bound", [&] { return lookup(segment, 5) >= 0; });
  Message m = message(1, 1);
  CHECK_EQUAL(sendrec(client, lookup(segment, 5), &m, 60'000), -ESRCDIED);
  join_killed(child);
  CHECK_EQUAL(lookup(segment, 5), -EDVSNOTBOUND);
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK_EQUAL(damage(segment), "");
}

}  // namespace
}  // namespace dvk::test
