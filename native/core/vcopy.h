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
inline constexpr int32_t kByAddress = -1;

// Copies `bytes` (0 to kCopyBytesMax), in chunks between nodes. Servers may name any party; others
// must be one of them. Returns the bytes copied, all of them, or a negative error: -ERANGE,
// -EDVSENDPOINT (source is destination, or one is ANY or NONE), -EDEADSRCDST, -EDVSGRANT, -EFAULT,
// -ESRCDIED, -EDSTDIED, -EPERM, -EDVSNOPROXY, -ENOTCONN, -ETIMEDOUT.
int64_t vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes, int64_t timeout_ms);

// One part of a scattered copy.
struct CopyElement {
  CopyParty source, destination;
  uint64_t bytes;
};
inline constexpr uint32_t kCopyElementsMax = 64;  // SCPVEC_NR of MINIX

// Copies the elements in order, each as by vcopy, up to the first error. Returns the sum of bytes,
// at most kCopyElementsMax times kCopyBytesMax. After either, process.copied tells the bytes that
// are where they belong: whole chunks of kCopyChunkBytes, and whole elements.
int64_t vcopy_vector(Process& process, const CopyElement* elements, uint32_t count,
                     int64_t timeout_ms);

// Lets `grantee` (or ANY) use [address, address + bytes) of the caller. Returns the grant's id (>=
// 0), -EINVAL, or -ENOSPC when all kGrants are in use.
int32_t grant(Process& process, const void* address, uint64_t bytes, uint32_t rights,
              int32_t grantee);
// Lets `grantee` use, with `rights` at most, what grant `id` of `granter` lets the caller use; it
// ends with that one (CPF_INDIRECT of MINIX, safecopies.h). The grants of a chain are processes of
// one node, five at most. Returns as above, or -EDVSGRANT, -EDEADSRCDST, -EDVSRMTPROC.
int32_t grant_indirect(Process& process, int32_t granter, int32_t id, uint32_t rights,
                       int32_t grantee);
// Ends a grant. A copy that is under way under it has ended when this returns.
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
  uint32_t slot = 0;         // else private memory of this slot's owner,
  int pid = 0;               // which is this process
  uint64_t address = 0;
};
// `party` with the caller's endpoint for SELF, and its own arena memory by offset.
CopyParty own_party(Process& process, const CopyParty& party, uint64_t bytes);
int resolve(Segment& segment, int32_t requester, const CopyParty& party, uint64_t bytes,
            uint32_t right, Region* region);
// Copies between resolved regions, or one and memory of this process, by process_vm_readv/writev or
// memcpy. Returns the bytes or a negative error.
int64_t copy_regions(const Region& source, const Region& destination, uint64_t bytes);
int64_t copy_from(const Region& source, uint8_t* target, uint64_t bytes);
int64_t copy_to(const Region& destination, const uint8_t* data, uint64_t bytes);

}  // namespace dvk
