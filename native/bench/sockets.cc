#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

namespace bench {

bool write_block(int fd, const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = write(fd, at, bytes);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return false;
    if (n < 0 && errno == EINTR) continue;
    must(n, "write");
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool read_block(int fd, void* data, size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = read(fd, at, bytes);
    if (n == 0) return false;
    if (n < 0 && errno == EINTR) continue;
    must(n, "read");
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

void write_all(int fd, const void* data, size_t bytes) {
  if (!write_block(fd, data, bytes)) die("write", EPIPE);
}

void read_all(int fd, void* data, size_t bytes) {
  if (!read_block(fd, data, bytes)) die("read", EPIPE);
}

void tcp_pair(int ends[2]) {
  const int listener = static_cast<int>(must(socket(AF_INET, SOCK_STREAM, 0), "socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  must(bind(listener, name, length), "bind");
  must(listen(listener, 1), "listen");
  must(getsockname(listener, name, &length), "getsockname");
  ends[0] = static_cast<int>(must(socket(AF_INET, SOCK_STREAM, 0), "socket"));
  must(connect(ends[0], name, length), "connect");
  ends[1] = static_cast<int>(must(accept(listener, nullptr, nullptr), "accept"));
  close(listener);
  const int on = 1;
  for (int i = 0; i < 2; i++) {
    must(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  }
}

void udp_pair(int ends[2]) {
  sockaddr_in addresses[2]{};
  for (int i = 0; i < 2; i++) {
    ends[i] = static_cast<int>(must(socket(AF_INET, SOCK_DGRAM, 0), "socket"));
    addresses[i].sin_family = AF_INET;
    addresses[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr* const name = reinterpret_cast<sockaddr*>(&addresses[i]);
    socklen_t length = sizeof addresses[i];
    must(bind(ends[i], name, length), "bind");
    must(getsockname(ends[i], name, &length), "getsockname");
  }
  for (int i = 0; i < 2; i++) {
    const sockaddr* const other = reinterpret_cast<const sockaddr*>(&addresses[1 - i]);
    must(connect(ends[i], other, sizeof addresses[1 - i]), "connect");
  }
}

}  // namespace bench
