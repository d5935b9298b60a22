#include "privilege.h"

#include <errno.h>

#include "lock.h"

namespace dvk {
namespace {

constexpr uint32_t bit(CallRight right) {
  return static_cast<uint32_t>(right);
}

constexpr uint32_t kUserRights = bit(CallRight::kSend) | bit(CallRight::kReceive) |
                                 bit(CallRight::kSendrec) | bit(CallRight::kNotify) |
                                 bit(CallRight::kVcopy) | bit(CallRight::kWaitBind) |
                                 bit(CallRight::kToDynamic) | bit(CallRight::kFromDynamic);
constexpr uint32_t kServerRights = kRightsMax & ~bit(CallRight::kNotifyKernel);

bool is_remote(const Segment& segment, uint32_t slot) {
  return load(segment.slot(slot)->life) == static_cast<uint32_t>(ProcessLife::kRemote);
}

int check_local(const Segment& segment, int32_t endpoint, uint32_t* slot) {
  const int error = check_endpoint(segment, endpoint, slot);
  if (error != 0) return error;
  return is_remote(segment, *slot) ? -EDVSRMTPROC : 0;
}

bool within(const Privileges& less, const Privileges& more) {
  return (less.rights & ~more.rights) == 0 && (less.ipc_to & ~more.ipc_to) == 0 &&
         (less.ipc_from & ~more.ipc_from) == 0;
}

// Whether the rights are kept from the owner; see migrate.h.
bool is_mark(uint32_t held) {
  return (held & static_cast<uint32_t>(kHeldRights)) != 0;
}

Privileges load_privileges(const Segment& segment, uint32_t index) {
  PrivilegeSlot* slot = segment.privilege(index);
  const uint32_t held = load(slot->held);
  const uint32_t rights = is_mark(held) ? held : load(slot->rights);
  return {rights & kRightsMax, load(slot->ipc_to), load(slot->ipc_from)};
}

}  // namespace

Privileges default_privileges(ProcessLevel level) {
  const uint32_t rights = level == ProcessLevel::kUser     ? kUserRights
                          : level == ProcessLevel::kServer ? kServerRights
                                                           : kRightsMax;
  return {rights, ~uint64_t{0}, ~uint64_t{0}};
}

void store_privileges(Segment& segment, uint32_t index, const Privileges& privileges) {
  PrivilegeSlot* slot = segment.privilege(index);
  store(slot->ipc_to, privileges.ipc_to);
  store(slot->ipc_from, privileges.ipc_from);
  DVK_CRASH_POINT("privileges.peers");
  store(slot->rights, privileges.rights);
}

int get_privileges(const Segment& segment, int32_t endpoint, Privileges* privileges) {
  uint32_t slot;
  const int error = check_local(segment, endpoint, &slot);
  if (error == 0) *privileges = load_privileges(segment, slot);
  return error;
}

int set_privileges(Segment& segment, int32_t endpoint, const Privileges& privileges) {
  if ((privileges.rights & ~kRightsMax) != 0) return -EINVAL;
  // With the lock, so that the next owner of the slot is not meant.
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  uint32_t slot;
  const int error = check_local(segment, endpoint, &slot);
  if (error != 0) return error;
  PrivilegeSlot* own = segment.privilege(slot);
  const bool held = is_mark(load(own->held));
  const uint32_t rights = held ? load(own->rights) : privileges.rights;
  store_privileges(segment, slot, {rights, privileges.ipc_to, privileges.ipc_from});
  if (held) store(own->held, privileges.rights | static_cast<uint32_t>(kHeldRights));
  return 0;
}

int set_privileges(Process& process, int32_t endpoint, const Privileges& privileges) {
  int error = check_caller(process, CallRight::kPrivileges);
  if (error != 0) return error;
  if (endpoint == kEndpointSelf) endpoint = process.endpoint;
  uint32_t slot;
  error = check_local(process.segment, endpoint, &slot);
  if (error != 0) return error;
  if (process.level != ProcessLevel::kKernel) {
    const bool user =
        load(process.segment.slot(slot)->level) == static_cast<uint32_t>(ProcessLevel::kUser);
    if (!user && endpoint != process.endpoint) return -EPERM;
    if (!within(privileges, load_privileges(process.segment, process.index))) return -EPERM;
  }
  return set_privileges(process.segment, endpoint, privileges);
}

int check_peer(const Process& process, int32_t peer, int self_error, uint32_t source,
               uint32_t* slot) {
  const Segment& segment = process.segment;
  if (peer == kEndpointKernel) return -EDVSBADDEST;
  const int index = segment.slot_of(peer);
  if (index < 0) return peer == kEndpointSelf ? self_error : -ERANGE;
  if (peer == process.endpoint) return self_error;
  if (!may_send(segment, process.index, static_cast<uint32_t>(index))) return -ECALLDENIED;
  const int error = check_endpoint(segment, peer, slot);
  if (error != 0) return error;
  return source == kProxyPeer || takes_from(segment, *slot, source) ? 0 : -ECALLDENIED;
}

}  // namespace dvk
