// Grants, the arena, and vcopy: moving a block between two processes.
#pragma once

#include "copy_job.h"
#include "ipc.h"

namespace dvk {

inline constexpr int32_t kByAddress = -1;

// Copies `bytes` (0 to kCopyBytesMax), in chunks of kCopyChunkBytes; several at once to and from
// another node that knows parts (copy_parts.h). Servers may name any party;
// others must be one of them. Returns the bytes copied, all of them, or a negative error, looked
// for in this order: those of every caller (privilege.h), -EBUSY (a call is under way), -ERANGE
// (`bytes`), -EDVSENDPOINT (source is destination, or one is ANY or NONE), -EPERM (a user as third
// party); for the source, then the destination, unless it is the caller: -ERANGE (no endpoint),
// -ECALLDENIED (a fixed slot that is not in the caller's ipc_to); for both -EDEADSRCDST; then for
// each chunk: the link to another node (-EDVSNOPROXY, -ENOTCONN), -EDEADSRCDST, -EPERM (a user, an
// address), -EDVSGRANT, -EFAULT. In the middle also -ESRCDIED, -EDSTDIED, -ETIMEDOUT, and -EPERM:
// the memory is private, this process may not trace its owner, and that came into no call within a
// second, so that it could help; memory of the arena needs neither.
int64_t vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes, int64_t timeout_ms);

// The same in steps, for callers that may not block: start_vcopy returns kMore, or an error; then
// step_vcopy moves a chunk and returns kMore, 0 when that was the last, or an error. It returns
// kPending where another node has the word: once that call has ended with a result, which is asked
// for as for any call, end_step says what step_vcopy would have said. `cancel` ends the copy
// between chunks, and the call of one. Where only the memory's owner can do it a step waits for it
// for kStepPatienceNs.
inline constexpr int kMore = 2;
inline constexpr int64_t kStepPatienceNs = 1'000'000;
int start_vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
                uint64_t bytes);
int step_vcopy(Process& process);
int end_step(Process& process, int result);

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

// A party of a copy, as `requester`, of this node or another, named it, and what is done there.
struct End {
  int32_t requester;
  CopyParty party;
  GrantRight right;
  End from(uint64_t at) const {
    return {requester, {party.endpoint, party.grant, party.at + at}, right};
  }
};
// The proxy of this node, that carries everybody's calls, waits for lenders for a moment only.
inline constexpr int64_t kProxyPatienceNs = 100'000'000;
inline Copier proxy_copier(Segment& segment) {
  return {segment, nullptr, kProxyPatienceNs};
}
// One chunk, at most kCopyChunkBytes, between `end`, of a process of this node, and memory of the
// caller: from there when it is read, to there when it is written. Returns the bytes or a negative
// error.
int64_t copy_end(const Copier& copier, const End& end, uint8_t* own, uint64_t bytes);
// The same between two processes of this node.
int64_t copy_ends(const Copier& copier, const End& source, const End& destination, uint64_t bytes);

}  // namespace dvk
