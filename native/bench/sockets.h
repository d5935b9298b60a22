// Whole reads and writes, and connected sockets.
#pragma once

#include <stddef.h>

namespace bench {

void write_all(int fd, const void* data, size_t bytes);
void read_all(int fd, void* data, size_t bytes);
// Reads until `bytes` are there. Returns false at the end of the stream.
bool read_block(int fd, void* data, size_t bytes);
// Writes `bytes`. Returns false when the reader is gone.
bool write_block(int fd, const void* data, size_t bytes);
// Two ends of a TCP connection over loopback, without Nagle's delay.
void tcp_pair(int ends[2]);
// Two UDP sockets of loopback, connected to each other.
void udp_pair(int ends[2]);

}  // namespace bench
