// What becomes of processes when the file of their segment is shortened.
//
// The kernel has SIGBUS for who touches a page of a mapping that its file has no longer. A member
// of a container that may write the file can shorten it, and so would end all the others. So
// whoever touches such a page first makes the file as long as it was, and ends the container: what
// was lost is zeros. Calls that wait fail with EDVSDCNOTRUN, and all others with that or with what
// the zeros say: EDVSNOTBOUND of a slot, ETRAPDENIED of a mask, EDSTDIED of a peer.
//
// A file that cannot be mended, as one whose file system is full, is left by the process that
// touches it: it goes on with a container of zeros, which nobody else sees.
#pragma once

#include <cstdint>

namespace dvk {

// Segments that a process has open at once and keeps when their files go.
inline constexpr uint32_t kGuardedMax = 64;

// From now on SIGBUS for an address in [base, base + bytes) ends the container there, and not the
// process; other ones have the handler of before. `fd` is the file of that mapping, and belongs to
// this from now on.
void guard_pages(void* base, uint64_t bytes, int fd);
// Ends that, before the mapping goes.
void leave_pages(void* base);

}  // namespace dvk
