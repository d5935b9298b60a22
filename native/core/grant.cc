// Grants: who may touch which memory, and what a party of a copy names.

#include <errno.h>

#include "bindings.h"
#include "copy_job.h"
#include "link.h"
#include "rendezvous.h"
#include "standby.h"
#include "vcopy.h"

namespace dvk {
namespace {

// A grant id: sequence above, index in the low five bits.
constexpr uint32_t kIndexBits = 5;
static_assert(kGrants == 1u << kIndexBits);
// Names the requester's own memory by arena offset.
constexpr int32_t kOwnArena = -2;
constexpr uint32_t kPlacePrivate = 0, kPlaceArena = 1, kPlaceIndirect = 2;
// Grants of grants, as in MINIX (MAX_INDIRECT_DEPTH, safecopies.h).
constexpr int kGrantDepthMax = 5;

uint32_t grant_index(int32_t id) {
  return static_cast<uint32_t>(id) & ((1u << kIndexBits) - 1);
}

uint32_t grant_sequence(int32_t id) {
  return static_cast<uint32_t>(id) >> kIndexBits;
}

int arena_region(Segment& segment, uint64_t offset, uint64_t bytes, Region* region) {
  if (offset > segment.arena_bytes() || bytes > segment.arena_bytes() - offset) return -EFAULT;
  // What nobody has allocated may have no memory.
  if (!segment.back_arena(offset, bytes)) return -EFAULT;
  region->arena = segment.arena() + offset;
  return 0;
}

bool arena_offset(const Segment& segment, uint64_t address, uint64_t bytes, uint64_t* offset) {
  const uint64_t base = reinterpret_cast<uint64_t>(segment.arena());
  if (address < base || address - base > segment.arena_bytes()) return false;
  *offset = address - base;
  return bytes <= segment.arena_bytes() - *offset;
}

// A grant as it stood at one moment.
struct GrantView {
  uint32_t slot, place;
  int32_t owner;
  uint64_t address, bytes;
};

// Reads grant `id` of `endpoint` for `requester`. Returns 0, -EDEADSRCDST, -EDVSRMTPROC,
// -EDVSGRANT.
int read_grant(Segment& segment, int32_t endpoint, int32_t id, uint32_t right, int32_t requester,
               GrantView* view) {
  const int error = check_endpoint(segment, endpoint, &view->slot);
  if (error != 0) return error;
  if (load(segment.slot(view->slot)->life) != static_cast<uint32_t>(ProcessLife::kLocal)) {
    return -EDVSRMTPROC;
  }
  if (id < 0) return -EDVSGRANT;
  GrantSlot* grant = segment.grant(view->slot, grant_index(id));
  const uint32_t state = atomic(grant->state).load(std::memory_order_acquire);
  // Acquired one by one, so that the second look at the state comes after them.
  const int32_t grantee = atomic(grant->grantee).load(std::memory_order_acquire);
  view->address = atomic(grant->address).load(std::memory_order_acquire);
  view->bytes = atomic(grant->bytes).load(std::memory_order_acquire);
  view->place = atomic(grant->place).load(std::memory_order_acquire);
  view->owner = endpoint;
  if (atomic(grant->state).load(std::memory_order_relaxed) != state) return -EDVSGRANT;
  if ((state & 0xff & right) != right || state >> 8 != grant_sequence(id)) return -EDVSGRANT;
  return grantee == requester || grantee == kEndpointAny ? 0 : -EDVSGRANT;
}

int granted_region(Segment& segment, const CopyParty& party, uint64_t bytes, uint32_t right,
                   int32_t requester, Region* region) {
  int32_t endpoint = party.endpoint, id = party.grant;
  for (int depth = 0; depth < kGrantDepthMax; depth++) {
    GrantView view;
    const int error = read_grant(segment, endpoint, id, right, requester, &view);
    if (error != 0) return error;
    if (view.place == kPlaceIndirect) {
      // Its owner has it from another one, as that one's grantee.
      requester = view.owner;
      endpoint = static_cast<int32_t>(view.address >> 32);
      id = static_cast<int32_t>(view.address);
      continue;
    }
    if (party.at > view.bytes || bytes > view.bytes - party.at) return -EDVSGRANT;
    if (view.place == kPlaceArena) {
      return arena_region(segment, view.address + party.at, bytes, region);
    }
    region->slot = view.slot;
    region->pid = load(segment.slot(view.slot)->pid);
    region->address = view.address + party.at;
    return 0;
  }
  return -EDVSGRANT;
}

// Whether the process in `slot` is blocked in a sendrec to `requester`, so that its memory holds
// still.
bool awaits(Segment& segment, uint32_t slot, int32_t requester) {
  ProcessSlot* process = segment.slot(slot);
  if (load(process->want_source) != requester) return false;
  const uint32_t word = atomic(process->rendezvous).load();
  const State state = state_of(word);
  if (state == State::kReply) return true;
  return state == State::kRemote && peer_of(word) != kTablePeer &&
         load(process->command_kind) == kCommandSndrecMsg;
}

// Fills a free grant of the caller. Returns its id or -ENOSPC.
int32_t make_grant(Process& process, const GrantView& view, uint32_t rights, int32_t grantee) {
  for (uint32_t i = 0; i < kGrants; i++) {
    GrantSlot* grant = process.segment.grant(process.index, i);
    const uint32_t state = load(grant->state);
    if ((state & 0xff) != 0) continue;
    // An id is never negative, so the sequence has 31 - kIndexBits bits, of which the state
    // keeps 24.
    const uint32_t sequence = ((state >> 8) + 1) & 0xffffff;
    const bool lends = view.place == kPlacePrivate;
    store(grant->grantee, grantee);
    store(grant->address, view.address);
    store(grant->bytes, view.bytes);
    store(grant->place, view.place);
    process.lent[i] = lends ? Lent{view.address, view.bytes, rights} : Lent{};
    DVK_CRASH_POINT("grant.filled");
    atomic(grant->state).store(sequence << 8 | rights, std::memory_order_release);
    DVK_CRASH_POINT("grant.made");
    return static_cast<int32_t>(sequence << kIndexBits | i);
  }
  return -ENOSPC;
}

}  // namespace

int resolve(Segment& segment, int32_t requester, const CopyParty& party, uint64_t bytes,
            uint32_t right, Region* region) {
  uint32_t slot;
  const int error = check_endpoint(segment, party.endpoint, &slot);
  if (error != 0) return error;
  if (load(segment.slot(slot)->life) != static_cast<uint32_t>(ProcessLife::kLocal)) {
    return -EDVSRMTPROC;
  }
  if (party.grant >= 0) {
    return granted_region(segment, party, bytes, right, requester, region);
  }
  if (party.endpoint == requester) {
    if (party.grant == kOwnArena) return arena_region(segment, party.at, bytes, region);
  } else {
    const int index = segment.slot_of(requester);
    if (index < 0 || load(segment.slot(static_cast<uint32_t>(index))->level) ==
                         static_cast<uint32_t>(ProcessLevel::kUser)) {
      return -EPERM;
    }
    if (party.grant != kByAddress || !awaits(segment, slot, requester)) return -EDVSGRANT;
  }
  region->slot = slot;
  region->pid = load(segment.slot(slot)->pid);
  region->address = party.at;
  return 0;
}

CopyParty own_party(Process& process, const CopyParty& party, uint64_t bytes) {
  CopyParty own = party;
  if (own.endpoint == kEndpointSelf) own.endpoint = process.endpoint;
  uint64_t offset;
  if (own.endpoint == process.endpoint && own.grant == kByAddress &&
      arena_offset(process.segment, own.at, bytes, &offset)) {
    own.grant = kOwnArena;
    own.at = offset;
  }
  return own;
}

int32_t grant(Process& process, const void* address, uint64_t bytes, uint32_t rights,
              int32_t grantee) {
  if (rights == 0 || rights > 3 || bytes > kCopyBytesMax) return -EINVAL;
  if (reinterpret_cast<uint64_t>(address) > ~uint64_t{0} - bytes) return -EINVAL;
  if (stands_by(process)) return -EDVSSTANDBY;
  uint64_t at = reinterpret_cast<uint64_t>(address);
  const bool in_arena = arena_offset(process.segment, at, bytes, &at);
  const uint32_t place = in_arena ? kPlaceArena : kPlacePrivate;
  return make_grant(process, {process.index, place, process.endpoint, at, bytes}, rights, grantee);
}

int32_t grant_indirect(Process& process, int32_t granter, int32_t id, uint32_t rights,
                       int32_t grantee) {
  if (rights == 0 || rights > 3 || id < 0) return -EINVAL;
  if (stands_by(process)) return -EDVSSTANDBY;
  GrantView view;
  const int error = read_grant(process.segment, granter, id, rights, process.endpoint, &view);
  if (error != 0) return error;
  const uint64_t origin =
      static_cast<uint64_t>(static_cast<uint32_t>(granter)) << 32 | static_cast<uint32_t>(id);
  return make_grant(process, {process.index, kPlaceIndirect, process.endpoint, origin, view.bytes},
                    rights, grantee);
}

int revoke(Process& process, int32_t id) {
  if (id < 0) return -EDVSGRANT;
  GrantSlot* grant = process.segment.grant(process.index, grant_index(id));
  const uint32_t state = load(grant->state);
  if ((state & 0xff) == 0 || state >> 8 != grant_sequence(id)) return -EDVSGRANT;
  atomic(grant->state).store(state & ~0xffu);
  DVK_CRASH_POINT("revoke.ended");
  process.lent[grant_index(id)] = {};
  leave_copy_job(process);  // none goes on under it
  return 0;
}

}  // namespace dvk
