// Grants, the arena, and vcopy: moving a block between two processes.
#pragma once

#include "ipc.h"

namespace dvk {

// One side of a copy: memory of `endpoint`, named by a grant of it and an offset in that grant, or
// (grant -1) by an address. An address is allowed for the requester's own memory, and for that of a
// process blocked in a sendrec to the requester.
struct CopyParty {
  int32_t endpoint;
  int32_t grant;
  uint64_t at;
};

// Copies `bytes` (0 to kCopyBytesMax), in chunks between nodes. Servers may name any party; others
// must be one of them. Returns the bytes copied, all of them, or a negative error: -ERANGE,
// -EDVSENDPOINT (source is destination), -EDEADSRCDST, -EDVSGRANT, -EFAULT, -ESRCDIED, -EDSTDIED,
// -EPERM, -EDVSNOPROXY, -ENOTCONN, -ETIMEDOUT.
int64_t vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes, int64_t timeout_ms);

// Lets `grantee` (or ANY) use [address, address + bytes) of the caller. Returns the grant's id (>=
// 0), -EINVAL, or -ENOSPC when all kGrants are in use.
int32_t grant(Process& process, const void* address, uint64_t bytes, uint32_t rights,
              int32_t grantee);
int revoke(Process& process, int32_t grant);

// Arena memory, in pages, owned by `process` and given back when it dies. Returns an offset or
// -ENOMEM / -ENOSPC / -EINVAL.
int64_t arena_allocate(Process& process, uint64_t bytes);
int arena_free(Process& process, uint64_t offset);
uint64_t arena_used(const Segment& segment);
void arena_release_all(Segment& segment, int32_t owner);  // Preconditions: the table lock is held.

// Where a party's memory is, after every check. For use by vcopy and the proxy queue.
struct Region {
  uint8_t* arena = nullptr;  // mapped here, when in the arena
  int pid = 0;               // else private memory of this process
  uint64_t address = 0;
};
int resolve(Segment& segment, int32_t requester, const CopyParty& party, uint64_t bytes,
            uint32_t right, Region* region);
// Copies between resolved regions, or one and memory of this process, by process_vm_readv/writev or
// memcpy. Returns the bytes or a negative error.
int64_t copy_regions(const Region& source, const Region& destination, uint64_t bytes);
int64_t copy_from(const Region& source, uint8_t* target, uint64_t bytes);
int64_t copy_to(const Region& destination, const uint8_t* data, uint64_t bytes);

}  // namespace dvk
