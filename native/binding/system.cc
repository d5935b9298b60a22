// Small system calls that Node lacks, and the checksum.

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "../core/copy_job.h"
#include "crc32c.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

int result_of(int64_t result) {
  return result < 0 ? -errno : static_cast<int>(result);
}

uint32_t js_crc32c(Bytes data, uint32_t seed) {
  return crc32c(data.data, data.length, seed);
}

uint32_t js_crc32c_table(Bytes data, uint32_t seed) {
  return crc32c_table(data.data, data.length, seed);
}

uint32_t js_crc32c_instruction(Bytes data, uint32_t seed) {
  return crc32c_instruction(data.data, data.length, seed);
}

int js_pidfd_open(int32_t pid) {
  return result_of(syscall(SYS_pidfd_open, pid, 0));  // Its descriptor is close-on-exec.
}

int js_close_fd(int32_t fd) {
  return result_of(close(fd));
}

// The main thread's, or a Worker's own; other threads stay where they are.
int js_enter_network(int32_t fd) {
  return result_of(setns(fd, CLONE_NEWNET));
}

int js_die_with_parent(int32_t signal, int32_t parent) {
  if (prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(signal), 0UL, 0UL, 0UL) != 0) {
    return -errno;
  }
  // A parent that ended before the prctl sends no signal any more.
  return getppid() == parent ? 0 : -ESRCH;
}

// Of one byte no dump is written to a file, nor handed to a program as a limit of 0 would let it
// (do_coredump in the kernel's fs/coredump.c; core(5)).
int js_leave_no_dump() {
  const rlimit limit{1, 1};
  return result_of(setrlimit(RLIMIT_CORE, &limit));
}

int js_set_affinity(Words cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t i = 0; i < cpus.length; i++) {
    if (cpus.data[i] < 0 || cpus.data[i] >= CPU_SETSIZE) return -EINVAL;
    CPU_SET(static_cast<size_t>(cpus.data[i]), &set);
  }
  return result_of(sched_setaffinity(0, sizeof set, &set));
}

int js_yield_cpu() {
  return result_of(sched_yield());
}

// struct sched_attr of linux/sched/types.h, as it was first; glibc has none before 2.41.
struct SchedAttr {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};
static_assert(sizeof(SchedAttr) == 48);

// Since Linux 6.12 the runtime of an ordinary thread is its slice; before, it is always told as 0.
int js_set_slice(int32_t microseconds) {
  SchedAttr attr{};
  if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) < 0) return -errno;
  if (attr.policy != SCHED_OTHER || attr.runtime == 0) return -EOPNOTSUPP;
  attr.size = sizeof attr;
  attr.runtime = static_cast<uint64_t>(microseconds) * 1000;
  return result_of(static_cast<int>(syscall(SYS_sched_setattr, 0, &attr, 0)));
}

void on_interrupt(int) {
  interrupted.store(true, std::memory_order_relaxed);
}

int js_interrupt_on(int32_t signal) {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;  // For everything but the futex, which never restarts.
  sigemptyset(&action.sa_mask);
  return result_of(sigaction(signal, &action, nullptr));
}

// As such a signal does.
int js_interrupt() {
  on_interrupt(0);
  return 0;
}

int js_clear_interrupt() {
  return interrupted.exchange(false) ? 1 : 0;
}

// Who connected a unix socket, as that was at connect(2): pid and uid (SO_PEERCRED, unix(7)).
int js_peer_credentials(int32_t fd, Words out) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (out.length < 2) return -EINVAL;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return -errno;
  out.data[0] = peer.pid;
  out.data[1] = static_cast<int32_t>(peer.uid);
  return 0;
}

bool js_process_alive(int32_t pid, Napi::BigInt start) {
  bool lossless = false;
  const uint64_t start_time = start.Uint64Value(&lossless);
  return lossless && process_alive(pid, start_time);
}

int js_lock_file(int32_t fd, bool shared) {
  return result_of(flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB));
}

int js_punch_hole(int32_t fd, double at, double bytes) {
  constexpr double kMost = 9e15;
  if (!(at >= 0 && at < kMost && bytes > 0 && bytes < kMost)) return -EINVAL;
  int64_t result;
  do {
    result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                       static_cast<off_t>(bytes));
  } while (result < 0 && errno == EINTR);
  return result_of(result);
}

}  // namespace

void register_system(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"crc32c", method<js_crc32c>},
             {"crc32cTable", method<js_crc32c_table>},
             {"crc32cInstruction", method<js_crc32c_instruction>},
             {"crc32cAccelerated", method<crc32c_accelerated>},
             {"pidfdOpen", method<js_pidfd_open>},
             {"closeFd", method<js_close_fd>},
             {"enterNetwork", method<js_enter_network>},
             {"dieWithParent", method<js_die_with_parent>},
             {"leaveNoDump", method<js_leave_no_dump>},
             {"setAffinity", method<js_set_affinity>},
             {"interruptOn", method<js_interrupt_on>},
             {"setSlice", method<js_set_slice>},
             {"yieldCpu", method<js_yield_cpu>},
             {"interrupt", method<js_interrupt>},
             {"clearInterrupt", method<js_clear_interrupt>},
             {"processStartTime", method<process_start_time>},
             {"processAlive", method<js_process_alive>},
             {"canLend", method<can_lend>},
             {"peerCredentials", method<js_peer_credentials>},
             {"lockFile", method<js_lock_file>},
             {"punchHole", method<js_punch_hole>},
         });
}

}  // namespace dvk::binding
