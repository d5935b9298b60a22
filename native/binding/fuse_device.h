// The kernel's FUSE device for TypeScript: mount, unmount, and the read and writev of requests and
// replies.
//
// The protocol itself lives in src/vos/fuse; this file moves bytes. No libfuse: as root mount(2) is
// called directly, otherwise the setuid helper fusermount3 mounts and hands the descriptor over.
#pragma once

#include <node_api.h>

namespace dvk::binding {

// Adds to `exports` (all results are 0 or more, or -errno; a wrong argument throws TypeError):
//
//   fuseMount(mountpoint, {source, data, flags}, diagnostics) -> a non-blocking descriptor
//       source       what /proc/self/mountinfo shows; no comma, no white space
//       data         options for the kernel, comma separated
//       ("default_permissions,max_read=1048576") flags        MS_RDONLY, MS_NOSUID, MS_NODEV,
//       MS_NOEXEC of mount(2), or-ed diagnostics  Uint8Array; the helper's complaint is written
//       there, zero terminated
//   fuseUnmount(mountpoint, lazy)
//   fuseRead(fd, buffer) -> bytes of one request
//   fuseWrite(fd, head, headBytes, payload?) -> bytes written; the payload goes out from where it
//   lies fuseClose(fd)
//
// Returns `exports`, or null with an exception pending.
napi_value register_fuse_device(napi_env env, napi_value exports);

}  // namespace dvk::binding
