// The kernel's FUSE device for TypeScript: mount, unmount, and the read and writev of requests and
// replies.
//
// The protocol itself lives in src/vos/fuse; this file moves bytes. No libfuse: as root mount(2) is
// called directly, otherwise the setuid helper fusermount3 mounts and hands the descriptor over.

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "descriptor.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr const char* kHelper = "fusermount3";
constexpr const char* kFileSystemType = "fuse.dvk";
constexpr const char* kSubtype = "dvk";
constexpr unsigned long kFlagsAllowed = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
// The helper's side of the socket and the number told to it in _FUSE_COMMFD.
constexpr int kHelperSocket = 3;
// Descriptors meant for the helper are moved up here first, so that installing its 0 to 3
// overwrites none of them.
constexpr int kFirstSpareDescriptor = 16;
// A helper works for some milliseconds. The event loop stands still meanwhile, so a helper that
// would wait for this very gateway must be ended rather than waited for.
constexpr auto kHelperTimeMax = std::chrono::seconds(10);

struct MountRequest {
  std::string mountpoint;
  std::string source;
  std::string data;
  unsigned long flags = 0;
};

// Mounts without a helper. Returns the device's descriptor or -errno.
int mount_directly(const MountRequest& request) {
  Descriptor device(open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (device.get() < 0) return -errno;
  std::string data = "fd=" + std::to_string(device.get()) +
                     ",rootmode=40000,user_id=" + std::to_string(geteuid()) +
                     ",group_id=" + std::to_string(getegid());
  if (!request.data.empty()) data += "," + request.data;
  if (mount(request.source.c_str(), request.mountpoint.c_str(), kFileSystemType, request.flags,
            data.c_str()) != 0) {
    return -errno;
  }
  return device.release();
}

// Takes the descriptor that the helper sends as ancillary data; -1 when the message carries none.
int receive_descriptor(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (bytes <= 0) return -1;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len < CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int fd = -1;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

// The environment of this process with the helper's socket named in it.
std::vector<char*> helper_environment(std::string& socket_variable) {
  std::vector<char*> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; entry++) {
    if (strncmp(*entry, "_FUSE_COMMFD=", 13) != 0) variables.push_back(*entry);
  }
  socket_variable = "_FUSE_COMMFD=" + std::to_string(kHelperSocket);
  variables.push_back(socket_variable.data());
  variables.push_back(nullptr);
  return variables;
}

// Starts the helper with `errors` as its standard error and `socket` as descriptor 3. Returns 0 or
// -errno.
int spawn_helper(const std::vector<std::string>& arguments, int errors, int socket, pid_t* pid) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::string socket_variable;
  std::vector<char*> variables = helper_environment(socket_variable);
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return -error;
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&actions, socket, kHelperSocket);
  error = posix_spawnp(pid, kHelper, &actions, nullptr, argv.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  return -error;
}

// Collects what the helper sends until it closed both channels or its time is over.
// Returns 0, or -ETIMEDOUT.
int listen_to_helper(int errors, int socket, Descriptor& received, std::string& complaint) {
  const auto deadline = std::chrono::steady_clock::now() + kHelperTimeMax;
  pollfd channels[2] = {{errors, POLLIN, 0}, {socket, POLLIN, 0}};
  while (channels[0].fd >= 0 || channels[1].fd >= 0) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return -ETIMEDOUT;
    int ready = poll(channels, 2, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return -errno;
    if (ready <= 0) continue;
    if (channels[0].revents != 0) {
      char text[512];
      ssize_t bytes = read(errors, text, sizeof(text));
      if (bytes > 0 && complaint.size() < 4096) complaint.append(text, static_cast<size_t>(bytes));
      if (bytes <= 0) channels[0].fd = -1;
    }
    if (channels[1].revents != 0) {
      int fd = receive_descriptor(socket);
      if (fd >= 0) received.reset(fd);
      if (fd < 0) channels[1].fd = -1;
    }
  }
  return 0;
}

// Waits for the helper's end; after `result` < 0 it is killed first. Returns 0 when it succeeded,
// or -errno.
int reap_helper(pid_t pid, int result) {
  if (result < 0) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  if (result < 0) return result;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

// Runs the setuid helper. A descriptor that it passes back ends up in `received`. Returns 0 or
// -errno.
int run_helper(const std::vector<std::string>& arguments, Descriptor& received,
               std::string& complaint) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -errno;
  Descriptor ours(pair[0]);
  Descriptor low_theirs(pair[1]);
  if (pipe2(pair, O_CLOEXEC) != 0) return -errno;
  Descriptor errors(pair[0]);
  Descriptor low_errors(pair[1]);
  Descriptor theirs(fcntl(low_theirs.get(), F_DUPFD_CLOEXEC, kFirstSpareDescriptor));
  Descriptor their_errors(fcntl(low_errors.get(), F_DUPFD_CLOEXEC, kFirstSpareDescriptor));
  if (theirs.get() < 0 || their_errors.get() < 0) return -errno;
  pid_t pid = 0;
  int result = spawn_helper(arguments, their_errors.get(), theirs.get(), &pid);
  if (result < 0) return result;
  // Only the helper may hold the far ends, or their closing would not be seen.
  low_theirs.reset();
  theirs.reset();
  low_errors.reset();
  their_errors.reset();
  return reap_helper(pid, listen_to_helper(errors.get(), ours.get(), received, complaint));
}

int mount_by_helper(const MountRequest& request, std::string& complaint) {
  std::string options = "fsname=" + request.source + ",subtype=" + kSubtype;
  options += request.flags & MS_RDONLY ? ",ro" : ",rw";
  // The helper adds nosuid and nodev for ordinary users in any case.
  if (request.flags & MS_NOSUID) options += ",nosuid";
  if (request.flags & MS_NODEV) options += ",nodev";
  if (request.flags & MS_NOEXEC) options += ",noexec";
  if (!request.data.empty()) options += "," + request.data;
  Descriptor device;
  int result = run_helper({kHelper, "-o", options, "--", request.mountpoint}, device, complaint);
  if (result < 0) return result;
  if (device.get() < 0) return -EPROTO;
  int flags = fcntl(device.get(), F_GETFL);
  if (flags < 0 || fcntl(device.get(), F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  return device.release();
}

bool get_string(const Napi::Object& options, const char* name, std::string& out) {
  const Napi::Value value = options.Get(name);
  if (!value.IsString()) return false;
  out = value.As<Napi::String>();
  return out.find('\0') == std::string::npos;
}

bool get_mount_options(const Napi::Object& options, MountRequest& request) {
  if (!get_string(options, "source", request.source)) return false;
  if (request.source.find_first_of(", \t\n\\") != std::string::npos) return false;
  if (!get_string(options, "data", request.data)) return false;
  const Napi::Value flags = options.Get("flags");
  if (!flags.IsNumber()) return false;
  request.flags = flags.As<Napi::Number>().Uint32Value();
  return (request.flags & ~kFlagsAllowed) == 0;
}

int type_error(const Environment& environment, const char* message) {
  napi_throw_type_error(environment.env, "ERR_INVALID_ARG_TYPE", message);
  return 0;
}

// fuseMount(mountpoint, {source, data, flags}, diagnostics) -> a non-blocking descriptor
//   source       what /proc/self/mountinfo shows; no comma, no white space
//   data         options for the kernel, comma separated ("default_permissions,max_read=1048576")
//   flags        MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC of mount(2), or-ed
//   diagnostics  the helper's complaint is written there, zero terminated
int js_fuse_mount(Environment& environment, std::string mountpoint, Napi::Object options,
                  Napi::Object diagnostics) {
  MountRequest request;
  request.mountpoint = std::move(mountpoint);
  if (!get_mount_options(options, request)) {
    return type_error(environment, "fuseMount: expects source, data and flags");
  }
  // Looked at only now, since a getter among the options could have detached its memory.
  if (!diagnostics.IsTypedArray() ||
      diagnostics.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      diagnostics.As<Napi::TypedArray>().ElementLength() == 0) {
    return type_error(environment, "fuseMount: diagnostics must be a Uint8Array, not empty");
  }
  Napi::Uint8Array room = diagnostics.As<Napi::Uint8Array>();
  std::string complaint;
  const int result = geteuid() == 0 ? mount_directly(request) : mount_by_helper(request, complaint);
  const size_t bytes = std::min(complaint.size(), room.ElementLength() - 1);
  memcpy(room.Data(), complaint.data(), bytes);
  room.Data()[bytes] = 0;
  return result;
}

int js_fuse_unmount(std::string mountpoint, bool lazy) {
  if (geteuid() == 0) {
    const int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
    return umount2(mountpoint.c_str(), flags) == 0 ? 0 : -errno;
  }
  std::vector<std::string> arguments = {kHelper, "-u", "-q"};
  if (lazy) arguments.emplace_back("-z");
  arguments.insert(arguments.end(), {"--", mountpoint});
  Descriptor none;
  std::string complaint;
  return run_helper(arguments, none, complaint);
}

// -> bytes of one request
int64_t js_fuse_read(FileDescriptor device, Bytes buffer) {
  const ssize_t bytes = read(device.fd, buffer.data, buffer.length);
  return bytes >= 0 ? bytes : -errno;
}

// -> bytes written; the payload goes out from where it lies.
int64_t js_fuse_write(Environment& environment, FileDescriptor device, Bytes head,
                      uint32_t head_bytes, std::optional<Bytes> payload) {
  if (head_bytes > head.length) return type_error(environment, "fuseWrite: the head is shorter");
  const Bytes rest = payload.value_or(Bytes{});
  iovec parts[2] = {{head.data, head_bytes}, {rest.data, rest.length}};
  const ssize_t bytes = writev(device.fd, parts, rest.length > 0 ? 2 : 1);
  return bytes >= 0 ? bytes : -errno;
}

int js_fuse_close(FileDescriptor device) {
  return close(device.fd) == 0 ? 0 : -errno;
}

}  // namespace

void register_fuse_device(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"fuseMount", method<js_fuse_mount>},
             {"fuseUnmount", method<js_fuse_unmount>},
             {"fuseRead", method<js_fuse_read>},
             {"fuseWrite", method<js_fuse_write>},
             {"fuseClose", method<js_fuse_close>},
         });
}

}  // namespace dvk::binding
