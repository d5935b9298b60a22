// The unbind of another program: unbind with an endpoint of M3-IPC. The core frees no slot of a
// process that lives, since that goes on using it; it asks the program to end, and waits.
//
// Slots are shared memory, so the pid in one is only a hint, and a signal goes to nobody but the
// program that can have bound it: one with the slot's start time that has this segment mapped. A
// member that lies can name another member, and no stranger.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "call.h"
#include "slots.h"
#include "wait.h"

namespace dvk {
namespace {

// An unbind tells nobody who waits without being bound.
constexpr int64_t kPauseMs = 5;

// Device and inode of the file that a line of maps (proc(5)) is about, as it has them.
std::string mapped_file(const char* line) {
  char device[32];
  unsigned long inode;
  if (sscanf(line, "%*s %*s %*s %31s %lu", device, &inode) != 2 || inode == 0) return "";
  return std::string(device) + " " + std::to_string(inode);
}

// Calls visit(line) for the mappings of a program until it returns true. Returns 1 when it did, 0
// when not, -ESRCH of a program that has ended or lost its memory on the way there, -EPERM when
// this process may not look.
template <typename Visit>
int each_mapping(int pid, Visit visit) {
  FILE* file = fopen(("/proc/" + std::to_string(pid) + "/maps").c_str(), "re");
  if (file == nullptr) return errno == ENOENT || errno == ESRCH ? -ESRCH : -EPERM;
  char* line = nullptr;
  size_t room = 0;
  int found = -ESRCH;
  while (found != 1 && getline(&line, &room, file) >= 0) found = visit(line) ? 1 : 0;
  free(line);
  fclose(file);
  return found;
}

// Whether the program has the segment mapped, or an error of each_mapping. What stat(2) says of a
// file is not what maps says on every file system, so the mapping of this process is looked for
// there, too.
int has_mapped(const Segment& segment, int pid) {
  const uint64_t base = reinterpret_cast<uint64_t>(segment.base());
  std::string own;
  const int seen = each_mapping(getpid(), [&](const char* line) {
    uint64_t first = 0, end = 0;
    const bool covers = sscanf(line, "%lx-%lx", &first, &end) == 2 && first <= base && base < end;
    if (covers) own = mapped_file(line);
    return covers;
  });
  if (seen <= 0 || own.empty()) return -EPERM;
  const auto look = [&] {
    return each_mapping(pid, [&](const char* line) { return mapped_file(line) == own; });
  };
  const int found = look();
  // Of one that ended meanwhile a part was seen, and nothing is now.
  return found == 0 ? look() : found;
}

// A program that is held by a handle of the kernel, which names no other one when the pid does.
class Program {
 public:
  explicit Program(int pid) : handle_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}
  ~Program() {
    if (handle_ >= 0) close(handle_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool held() const {
    return handle_ >= 0;
  }
  int ask_to_end() const {
    return syscall(SYS_pidfd_send_signal, handle_, SIGTERM, nullptr, 0) == 0 ? 0 : -errno;
  }

 private:
  const int handle_;
};

// Asks the owner of a slot to end. Returns 0, also when it has just ended; -EPERM.
int signal_owner(const Segment& segment, ProcessSlot* slot, int32_t endpoint) {
  const int pid = load(slot->pid);
  const int thread = load(slot->thread);
  const uint64_t start_time = load(slot->start_time);
  const auto has_left = [&] { return atomic(slot->endpoint).load() != endpoint; };
  if (pid <= 0) return has_left() ? 0 : -EPERM;
  const Program program(pid);
  if (!program.held()) return errno == ESRCH ? 0 : -errno;
  const auto now = thread == 0 ? find_start_time(pid) : find_start_time(pid, thread);
  if (!now.has_value()) return -EMFILE;
  if (*now == 0 || *now != start_time) return 0;
  const int mapped = has_mapped(segment, pid);
  DVK_CRASH_POINT("unbind.found");
  // It may have unbound and closed the segment just now, and the pid be that of who has the slot
  // next, whom nobody asks.
  if (has_left() || mapped == -ESRCH) return 0;
  if (mapped <= 0) return mapped < 0 ? mapped : -EPERM;
  const int error = program.ask_to_end();
  DVK_CRASH_POINT("unbind.asked");
  return error == -ESRCH ? 0 : error;
}

bool is_handed(ProcessSlot* slot) {
  return (load(slot->bind_flags) & static_cast<uint32_t>(BindFlag::kHanded)) != 0;
}

// Whether the slot is the process's still. Preconditions: the table lock is held.
bool has_slot(const Segment& segment, uint32_t index, int32_t endpoint) {
  return is(life_of(segment, index), ProcessLife::kLocal) &&
         load(segment.slot(index)->endpoint) == endpoint;
}

// Frees a slot that nobody has taken. Returns 1 when that is done, 0 when its program has taken it
// just now, or an error.
int free_handed(Segment& segment, uint32_t index, int32_t endpoint) {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  if (!has_slot(segment, index, endpoint)) return 1;
  if (!is_handed(segment.slot(index))) return 0;
  release_slot(segment, index, kUnbound);
  DVK_CRASH_POINT("unbind.freed");
  return 1;
}

// Ends the call in which the process waits. Who is in the middle of a hand-over with it is waited
// for, as it would be by the process itself: a message comes or does not, and a copy that has ended
// writes nothing.
int end_call(Segment& segment, uint32_t index, int32_t endpoint) {
  ProcessSlot* slot = segment.slot(index);
  for (;;) {
    const uint32_t word = atomic(slot->rendezvous).load();
    const bool copies =
        peer_of(word) == kProxyPeer && load(slot->command_kind) == kCommandCopyoutRqst;
    if (is_claimed(word) && spin_while(slot, word, copies ? kCopyClaimNs : kClaimNs)) continue;
    const TableLock lock(segment);
    if (lock.error() != 0) return lock.error();
    if (!has_slot(segment, index, endpoint) || !is_waiting(word)) return 0;
    if (!fail(segment, index, word, EDVSSHUTDOWN)) continue;
    DVK_CRASH_POINT("unbind.ended");
    return 0;
  }
}

}  // namespace

int ask_to_unbind(Segment& segment, int32_t endpoint) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  uint32_t index;
  int error = check_endpoint(segment, endpoint, &index);
  if (error != 0) return error;
  ProcessSlot* slot = segment.slot(index);
  if (!is(life_of(segment, index), ProcessLife::kLocal)) return -EDVSRMTPROC;
  if (load(slot->pid) == getpid()) return -EDVSENDPOINT;
  DVK_CRASH_POINT("unbind.begun");
  if (is_handed(slot)) {
    DVK_CRASH_POINT("unbind.handed");
    const int freed = free_handed(segment, index, endpoint);
    if (freed != 0) return freed < 0 ? freed : 0;
  }
  error = signal_owner(segment, slot, endpoint);
  return error == 0 ? end_call(segment, index, endpoint) : error;
}

bool has_unbound(Segment& segment, int32_t endpoint) {
  uint32_t index;
  const int error = check_endpoint(segment, endpoint, &index);
  if (error != 0) return error != -EDVSMIGRATING;
  return !owner_alive(segment.slot(index)) && reap(segment, index, endpoint, kRepairLockMs) != 0;
}

int unbind_for(Segment& segment, int32_t endpoint, int64_t timeout_ms) {
  Deadline deadline(timeout_ms);
  const int asked = ask_to_unbind(segment, endpoint);
  if (asked != 0) return asked;
  DVK_CRASH_POINT("unbind.waits");
  uint32_t never = 0;
  while (!has_unbound(segment, endpoint)) {
    const int error = deadline.sleep(&never, 0, kPauseMs);
    if (error != 0) return error;
  }
  return 0;
}

}  // namespace dvk
