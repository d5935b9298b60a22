// Blocks from one process to another through the host's streams, and memcpy, the limit.
//
// The peer writes blocks as fast as it can; this process reads whole blocks into one buffer. Each
// block carries its number in its first and last word. Variants: `default` leaves buffers as the
// host makes them, `big` asks for the largest that it allows.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"
#include "sockets.h"

namespace bench {
namespace {

constexpr int kBigSocketBytes = 4 << 20;
constexpr int kBigPipeBytes = 1 << 20;

bool is_big(const Options& options) {
  return options.variant == "big";
}

void number(uint8_t* block, uint64_t bytes, uint64_t value) {
  memcpy(block, &value, sizeof value);
  memcpy(block + bytes - sizeof value, &value, sizeof value);
}

void check_number(const uint8_t* block, uint64_t bytes, uint64_t value) {
  uint64_t first, last;
  memcpy(&first, block, sizeof first);
  memcpy(&last, block + bytes - sizeof last, sizeof last);
  if (first != value || last != value) die("a block came with other contents", EPROTO);
}

// After the last block: all between the numbers must be the pattern.
void check_block(uint8_t* block, uint64_t bytes) {
  uint8_t* expected = private_memory(bytes);
  fill_pattern(expected, bytes);
  number(expected, bytes, 0);
  number(block, bytes, 0);
  if (checksum(block, bytes) != checksum(expected, bytes)) die("the last block", EPROTO);
}

void grow_socket(int fd) {
  for (const auto& [forced, plain] :
       {std::pair{SO_SNDBUFFORCE, SO_SNDBUF}, std::pair{SO_RCVBUFFORCE, SO_RCVBUF}}) {
    if (setsockopt(fd, SOL_SOCKET, forced, &kBigSocketBytes, sizeof kBigSocketBytes) == 0) continue;
    must(setsockopt(fd, SOL_SOCKET, plain, &kBigSocketBytes, sizeof kBigSocketBytes), "SO_SNDBUF");
  }
}

void grow_pipe(int fd) {
  // An ordinary user may be refused; then the pipe stays as it is.
  fcntl(fd, F_SETPIPE_SZ, kBigPipeBytes);
}

void write_blocks(int fd, uint64_t bytes) {
  signal(SIGPIPE, SIG_IGN);
  uint8_t* block = private_memory(bytes);
  fill_pattern(block, bytes);
  for (uint64_t i = 0;; i++) {
    number(block, bytes, i);
    if (!write_block(fd, block, bytes)) return;
  }
}

Result read_stream(const Options& options, int in, int out) {
  const pid_t peer = start_peer(options.cpu_peer, [&] {
    close(in);
    write_blocks(out, options.bytes);
  });
  close(out);
  pin(options.cpu_client);
  uint8_t* block = private_memory(options.bytes);
  uint64_t next = 0;
  const Result result = measure(options, peer, static_cast<double>(options.bytes), [&] {
    if (!read_block(in, block, options.bytes)) die("the writer ended", EPIPE);
    check_number(block, options.bytes, next++);
  });
  check_block(block, options.bytes);
  close(in);
  join_peer(peer);
  return result;
}

Result run_pipe(const Options& options) {
  int ends[2];
  must(pipe(ends), "pipe");
  if (is_big(options)) grow_pipe(ends[0]);
  return read_stream(options, ends[0], ends[1]);
}

Result run_unix(const Options& options) {
  int ends[2];
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
  for (int i = 0; is_big(options) && i < 2; i++) grow_socket(ends[i]);
  return read_stream(options, ends[0], ends[1]);
}

Result run_tcp(const Options& options) {
  int ends[2];
  tcp_pair(ends);
  for (int i = 0; is_big(options) && i < 2; i++) grow_socket(ends[i]);
  return read_stream(options, ends[0], ends[1]);
}

Result run_memcpy(const Options& options) {
  pin(options.cpu_client);
  uint8_t* source = private_memory(options.bytes);
  uint8_t* target = private_memory(options.bytes);
  fill_pattern(source, options.bytes);
  uint64_t next = 0;
  const Result result = measure(options, 0, static_cast<double>(options.bytes), [&] {
    number(source, options.bytes, next);
    memcpy(target, source, options.bytes);
    asm volatile("" : : "r"(target) : "memory");
    check_number(target, options.bytes, next++);
  });
  check_block(target, options.bytes);
  return result;
}

}  // namespace

const Case kBulkCases[] = {
    {"memcpy", run_memcpy}, {"pipe", run_pipe}, {"unix-stream", run_unix},
    {"tcp", run_tcp},       {nullptr, nullptr},
};

}  // namespace bench
