// What tcp(7) has of a TCP connection and Node.js no call for: TCP_INFO, TCP_CONGESTION, and a send
// that tells what was sent.

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr double kUsEachMs = 1000;

// Fills `out` with doubles, in the order of TcpInfo in src/dvk/tcp-info.ts. What an older kernel
// does not tell is 0. Returns 0, -EINVAL when `out` is short, or the error of getsockopt.
int js_tcp_info(int32_t fd, Bytes out) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
  const double values[] = {
      info.tcpi_rtt / kUsEachMs,
      info.tcpi_rttvar / kUsEachMs,
      info.tcpi_min_rtt / kUsEachMs,
      static_cast<double>(info.tcpi_snd_mss),
      static_cast<double>(info.tcpi_snd_cwnd) * info.tcpi_snd_mss,
      static_cast<double>(info.tcpi_segs_out),
      static_cast<double>(info.tcpi_segs_in),
      static_cast<double>(info.tcpi_total_retrans),
      static_cast<double>(info.tcpi_delivery_rate),
      static_cast<double>(info.tcpi_delivery_rate_app_limited),
  };
  if (out.length < sizeof values) return -EINVAL;
  memcpy(out.data, values, sizeof values);
  return 0;
}

// What the kernel takes of `bytes` at once: how many, or an error, also -EAGAIN.
int64_t js_send_at_once(int32_t fd, Bytes bytes) {
  const ssize_t sent = ::send(fd, bytes.data, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? -errno : sent;
}

// Returns 0 or the error of setsockopt.
int js_tcp_congestion(int32_t fd, std::string name) {
  const socklen_t length = static_cast<socklen_t>(name.size());
  return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), length) == 0 ? 0 : -errno;
}

}  // namespace

void register_tcp_info(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {{"tcpInfo", method<js_tcp_info>},
          {"tcpCongestion", method<js_tcp_congestion>},
          {"sendAtOnce", method<js_send_at_once>}});
}

}  // namespace dvk::binding
