#include "fuse_device.h"

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
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

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

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    reset();
  }
  int get() const {
    return fd_;
  }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

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

napi_value type_error(napi_env env, const char* message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return nullptr;
}

napi_value to_js(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

// Reads a string; false when it is none, or holds a NUL, which would cut it short in C.
bool get_string(napi_env env, napi_value value, std::string& out) {
  size_t bytes = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &bytes) != napi_ok) return false;
  out.resize(bytes);
  if (napi_get_value_string_utf8(env, value, out.data(), bytes + 1, &bytes) != napi_ok)
    return false;
  return out.find('\0') == std::string::npos;
}

bool get_property(napi_env env, napi_value object, const char* name, std::string& out) {
  napi_value value = nullptr;
  return napi_get_named_property(env, object, name, &value) == napi_ok &&
         get_string(env, value, out);
}

struct Bytes {
  uint8_t* data = nullptr;
  size_t count = 0;
};

bool get_bytes(napi_env env, napi_value value, Bytes& out) {
  napi_typedarray_type type = napi_int8_array;
  bool typed = false;
  void* data = nullptr;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  if (napi_get_typedarray_info(env, value, &type, &out.count, &data, nullptr, nullptr) != napi_ok) {
    return false;
  }
  out.data = static_cast<uint8_t*>(data);
  return type == napi_uint8_array;
}

bool get_fd(napi_env env, napi_value value, int32_t& fd) {
  return napi_get_value_int32(env, value, &fd) == napi_ok && fd >= 0;
}

bool get_mount_request(napi_env env, napi_value* arguments, MountRequest& request) {
  napi_value flags = nullptr;
  uint32_t bits = 0;
  napi_valuetype type = napi_undefined;
  if (!get_string(env, arguments[0], request.mountpoint)) return false;
  if (napi_typeof(env, arguments[1], &type) != napi_ok || type != napi_object) return false;
  if (!get_property(env, arguments[1], "source", request.source)) return false;
  if (request.source.find_first_of(", \t\n\\") != std::string::npos) return false;
  if (!get_property(env, arguments[1], "data", request.data)) return false;
  if (napi_get_named_property(env, arguments[1], "flags", &flags) != napi_ok) return false;
  if (napi_get_value_uint32(env, flags, &bits) != napi_ok || (bits & ~kFlagsAllowed) != 0) {
    return false;
  }
  request.flags = bits;
  return true;
}

napi_value js_fuse_mount(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  MountRequest request;
  Bytes diagnostics;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 3 || !get_mount_request(env, arguments, request)) {
    return type_error(env, "fuseMount: expects (mountpoint, {source, data, flags}, diagnostics)");
  }
  if (!get_bytes(env, arguments[2], diagnostics) || diagnostics.count == 0) {
    return type_error(env, "fuseMount: diagnostics must be a Uint8Array that is not empty");
  }
  std::string complaint;
  int result = geteuid() == 0 ? mount_directly(request) : mount_by_helper(request, complaint);
  size_t bytes = std::min(complaint.size(), diagnostics.count - 1);
  memcpy(diagnostics.data, complaint.data(), bytes);
  diagnostics.data[bytes] = 0;
  return to_js(env, result);
}

napi_value js_fuse_unmount(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  std::string mountpoint;
  bool lazy = false;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 2 || !get_string(env, arguments[0], mountpoint) ||
      napi_get_value_bool(env, arguments[1], &lazy) != napi_ok) {
    return type_error(env, "fuseUnmount: expects (mountpoint, lazy)");
  }
  if (geteuid() == 0) {
    int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
    return to_js(env, umount2(mountpoint.c_str(), flags) == 0 ? 0 : -errno);
  }
  std::vector<std::string> arguments_of_helper = {kHelper, "-u", "-q"};
  if (lazy) arguments_of_helper.emplace_back("-z");
  arguments_of_helper.insert(arguments_of_helper.end(), {"--", mountpoint});
  Descriptor none;
  std::string complaint;
  return to_js(env, run_helper(arguments_of_helper, none, complaint));
}

napi_value js_fuse_read(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t fd = -1;
  Bytes buffer;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 2 || !get_fd(env, arguments[0], fd) || !get_bytes(env, arguments[1], buffer)) {
    return type_error(env, "fuseRead: expects (fd, Uint8Array)");
  }
  ssize_t bytes = read(fd, buffer.data, buffer.count);
  return to_js(env, bytes >= 0 ? bytes : -errno);
}

napi_value js_fuse_write(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4];
  int32_t fd = -1;
  uint32_t head_bytes = 0;
  Bytes head;
  Bytes payload;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 3 || !get_fd(env, arguments[0], fd) || !get_bytes(env, arguments[1], head) ||
      napi_get_value_uint32(env, arguments[2], &head_bytes) != napi_ok || head_bytes > head.count) {
    return type_error(env, "fuseWrite: expects (fd, Uint8Array, bytes of it, Uint8Array?)");
  }
  napi_valuetype type = napi_undefined;
  if (count > 3) napi_typeof(env, arguments[3], &type);
  if (type != napi_undefined && !get_bytes(env, arguments[3], payload)) {
    return type_error(env, "fuseWrite: the payload must be a Uint8Array");
  }
  iovec parts[2] = {{head.data, head_bytes}, {payload.data, payload.count}};
  ssize_t bytes = writev(fd, parts, payload.count > 0 ? 2 : 1);
  return to_js(env, bytes >= 0 ? bytes : -errno);
}

napi_value js_fuse_close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || !get_fd(env, argument, fd)) return type_error(env, "fuseClose: expects (fd)");
  return to_js(env, close(fd) == 0 ? 0 : -errno);
}

}  // namespace

napi_value register_fuse_device(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"fuseMount", nullptr, js_fuse_mount, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"fuseUnmount", nullptr, js_fuse_unmount, nullptr, nullptr, nullptr, napi_enumerable,
       nullptr},
      {"fuseRead", nullptr, js_fuse_read, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"fuseWrite", nullptr, js_fuse_write, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"fuseClose", nullptr, js_fuse_close, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  if (napi_define_properties(env, exports, std::size(functions), functions) != napi_ok) {
    return nullptr;
  }
  return exports;
}

}  // namespace dvk::binding
