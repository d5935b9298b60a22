// What a segment tells about itself, its processes and its nodes, and what processes may do.

#include <errno.h>
#include <string.h>

#include "../core/privilege.h"
#include "../core/vcopy.h"
#include "handles.h"

namespace {

using dvk::load;

static_assert(DVK_CALL_SEND == static_cast<int>(dvk::CallRight::kSend));
static_assert(DVK_BOUND_BACKUP == static_cast<int>(dvk::BindFlag::kBackup));
static_assert(DVK_CALL_FROM_DYNAMIC == static_cast<int>(dvk::CallRight::kFromDynamic));

// By number; see rendezvous.h and ProcessInfo.
constexpr const char* kStates[] = {"running",
                                   "receiving any",
                                   "receiving from",
                                   "awaiting reply",
                                   "receiving request",
                                   "filling",
                                   "full",
                                   "full",
                                   "full",
                                   "sending",
                                   "calling",
                                   "taking",
                                   "taken",
                                   "remote",
                                   "error",
                                   "kicked",
                                   "awaiting bind",
                                   "awaiting unbind",
                                   "standing by",
                                   "searching"};
static_assert(sizeof kStates / sizeof *kStates == dvk::kStateSearches + 1);

dvk::Privileges core_privileges(const dvk_privileges* privileges) {
  return {privileges->rights, privileges->ipc_to, privileges->ipc_from};
}

}  // namespace

int dvk_dc_info_get(const dvk_segment* segment, dvk_dc_info* info) {
  if (segment == nullptr || info == nullptr) return -EINVAL;
  const dvk::Segment& core = *segment->core;
  dvk::SegmentHeader* header = core.header();
  *info = {};
  info->dc_id = static_cast<int>(core.dc_id());
  info->node_id = static_cast<int>(core.node_id());
  info->slots = static_cast<int>(core.processes());
  info->nodes = static_cast<int>(core.nodes());
  info->running = core.running();
  info->arena_bytes = core.arena_bytes();
  info->arena_used = dvk::arena_used(core);
  info->incarnation = load(header->incarnation);
  dvk::get_name(info->dc_name, header->dc_name);
  dvk::get_name(info->dvs_name, header->dvs_name);
  return 0;
}

int dvk_node_info_get(const dvk_segment* segment, int node, dvk_node_info* info) {
  if (segment == nullptr || info == nullptr) return -EINVAL;
  const dvk::Segment& core = *segment->core;
  if (node < 0 || static_cast<uint32_t>(node) >= core.nodes()) return -dvk::EDVSBADNODEID;
  dvk::LinkSlot* link = core.link(static_cast<uint32_t>(node));
  const uint32_t state = load(link->state);
  if (state == static_cast<uint32_t>(dvk::LinkState::kAbsent)) return -dvk::EDVSNODCNODE;
  *info = {};
  info->node = node;
  info->state = static_cast<int>(state);
  info->proxy_pid = load(link->proxy_pid);
  info->session = load(link->session);
  dvk::get_name(info->name, link->name);
  info->sent = load(link->sent);
  info->received = load(link->received);
  info->sent_bytes = load(link->sent_bytes);
  info->received_bytes = load(link->received_bytes);
  info->dropped = load(link->dropped);
  return 0;
}

int dvk_process_info_get(const dvk_segment* segment, int slot, dvk_process_info* info) {
  if (segment == nullptr || info == nullptr) return -EINVAL;
  if (slot < 0) return -dvk::EDVSBADPROC;
  dvk::ProcessInfo found{};
  const int error = dvk::process_info(*segment->core, static_cast<uint32_t>(slot), &found);
  if (error != 0) return error;
  *info = {};
  info->endpoint = found.endpoint;
  info->slot = slot;
  info->node = static_cast<int>(found.node);
  info->life = static_cast<int>(found.life);
  info->level = static_cast<int>(found.level);
  info->state = static_cast<int>(found.state);
  info->pid = found.pid;
  info->peer = found.peer;
  info->cpu = static_cast<int>(found.cpu) - 1;
  info->wakeup_pending = found.wakeup != 0;
  info->start_time = found.start_time;
  info->thread = found.thread;
  info->flags = found.flags;
  memcpy(info->name, found.name, sizeof info->name);
  info->sent = found.sent;
  info->received = found.received;
  info->sent_remote = found.sent_remote;
  info->notified = found.notified;
  info->copied_bytes = found.copied_bytes;
  info->waits = found.waits;
  return 0;
}

const char* dvk_state_name(int state) {
  const size_t count = sizeof kStates / sizeof *kStates;
  return state < 0 || static_cast<size_t>(state) >= count ? "unknown" : kStates[state];
}

int32_t dvk_find_pid(const dvk_segment* segment, int pid, int first_slot) {
  if (segment == nullptr || first_slot < 0) return -EINVAL;
  return dvk::find_pid(*segment->core, pid, static_cast<uint32_t>(first_slot));
}

int dvk_get_privileges(const dvk_segment* segment, int32_t endpoint, dvk_privileges* privileges) {
  if (segment == nullptr || privileges == nullptr) return -EINVAL;
  dvk::Privileges found{};
  const int error = dvk::get_privileges(*segment->core, endpoint, &found);
  if (error == 0) *privileges = {found.rights, 0, found.ipc_to, found.ipc_from};
  return error;
}

int dvk_set_privileges(dvk_process* process, int32_t endpoint, const dvk_privileges* privileges) {
  if (process == nullptr || privileges == nullptr || privileges->reserved != 0) return -EINVAL;
  return dvk::set_privileges(*process->core, endpoint, core_privileges(privileges));
}

int dvk_administer_privileges(dvk_segment* segment, int32_t endpoint,
                              const dvk_privileges* privileges) {
  if (segment == nullptr || privileges == nullptr || privileges->reserved != 0) return -EINVAL;
  return dvk::set_privileges(*segment->core, endpoint, core_privileges(privileges));
}
