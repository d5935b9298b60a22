// The parts of the addon: each adds its functions, declared in src/dvk/native.ts, to `exports`; an
// exception is pending when that fails.
#pragma once

#include "environment.h"

namespace dvk::binding {

void register_segments(Napi::Object exports, Environment* environment);
void register_processes(Napi::Object exports, Environment* environment);
void register_process_calls(Napi::Object exports, Environment* environment);
void register_awaited_calls(Napi::Object exports, Environment* environment);
void register_privileges(Napi::Object exports, Environment* environment);
void register_wakers(Napi::Object exports, Environment* environment);
void register_memory(Napi::Object exports, Environment* environment);
void register_links(Napi::Object exports, Environment* environment);
void register_frames(Napi::Object exports, Environment* environment);
void register_system(Napi::Object exports, Environment* environment);
void register_layout(Napi::Object exports, Environment* environment);
void register_poll(Napi::Object exports, Environment* environment);
void register_fuse_device(Napi::Object exports, Environment* environment);
void register_trace(Napi::Object exports, Environment* environment);
void register_datagram(Napi::Object exports, Environment* environment);
void register_aead(Napi::Object exports, Environment* environment);
void register_packet_socket(Napi::Object exports, Environment* environment);
void register_udp_socket(Napi::Object exports, Environment* environment);
void register_tcp_info(Napi::Object exports, Environment* environment);
void register_compression(Napi::Object exports, Environment* environment);

// Notes beside a message that was received how it came. Returns `result`.
int received(BoundProcess& bound, int result);
// Empties the FIFO of a waker.
void drain(const Waker& waker);
// Makes it readable.
void wake_self(const Waker& waker);
// Has the kernel buffer up to so many bytes each way, as far as this user may. Returns 0 or -errno.
int set_socket_buffers(int fd, uint32_t buffer_bytes);

}  // namespace dvk::binding
