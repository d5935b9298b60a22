// What Node.js cannot set on a datagram socket.

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

bool set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// No datagram is cut into fragments, by this host or on its way, and the kernel's own idea of the
// path's MTU does not hold one back: what RFC 8899, section 3, asks for. IPv4 options are set for
// IPv6 sockets too, which may carry it.
bool forbid_fragments(int fd) {
  const bool v4 = set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  const bool v6 = set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  return v4 || v6;
}

int js_tune_datagram_socket(int32_t fd, uint32_t buffer_bytes) {
  const int result = set_socket_buffers(fd, buffer_bytes);
  if (result != 0) return result;
  return forbid_fragments(fd) ? 0 : -errno;
}

}  // namespace

// The forcing forms need CAP_NET_ADMIN; the others are capped by net.core.rmem_max and wmem_max.
int set_socket_buffers(int fd, uint32_t buffer_bytes) {
  const int bytes = static_cast<int>(buffer_bytes & 0x3fffffff);
  if (!set(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) && !set(fd, SOL_SOCKET, SO_RCVBUF, bytes)) {
    return -errno;
  }
  if (!set(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes) && !set(fd, SOL_SOCKET, SO_SNDBUF, bytes)) {
    return -errno;
  }
  return 0;
}

void register_datagram(Napi::Object exports, Environment* environment) {
  define(exports, environment, {{"tuneDatagramSocket", method<js_tune_datagram_socket>}});
}

}  // namespace dvk::binding
