// put2lcl: acts on commands that came from another node. Nothing in a command is trusted.

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "link.h"
#include "rendezvous.h"
#include "wait.h"

namespace dvk {
namespace {

// A descriptor is freed from a claimant of this node within this time, or taken from it.
constexpr uint64_t kClaimNs = 2'000'000;

bool is_local(Segment& segment, uint32_t slot) {
  return load(segment.slot(slot)->life) == static_cast<uint32_t>(ProcessLife::kLocal);
}

// The slot of a living process of this node, or -1.
int local_slot(Segment& segment, int32_t endpoint) {
  uint32_t slot;
  if (check_endpoint(segment, endpoint, &slot) != 0 || !is_local(segment, slot)) return -1;
  return static_cast<int>(slot);
}

// The descriptor of a process of `node`, bound now when it was not: clients are not announced.
int adopt(Segment& segment, uint32_t node, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || node >= segment.nodes()) return -EDVSBADFRAME;
  const uint32_t slot = static_cast<uint32_t>(index);
  ProcessSlot* process = segment.slot(slot);
  if (load(process->life) == static_cast<uint32_t>(ProcessLife::kRemote) &&
      load(process->endpoint) == endpoint && load(process->node) == node) {
    return index;
  }
  if (slot >= kSystemProcesses) {
    uint32_t first, last;
    segment.slot_range(node, &first, &last);
    if (slot < first || slot >= last) return -EDVSBADFRAME;
  }
  const int error = bind_remote(segment, endpoint, node, ProcessLevel::kUser, "rclient");
  return error != 0 ? error : index;
}

// Makes a descriptor idle for a new call of its process, which has given up on the one before.
// Returns its sequence.
uint32_t reset_descriptor(ProcessSlot* slot) {
  for (;;) {
    uint32_t word = atomic(slot->rendezvous).load();
    uint32_t sequence = sequence_of(word);
    if (word == pack(State::kIdle, sequence, 0)) return sequence;
    if (state_of(word) == State::kFilling || state_of(word) == State::kTaking) {
      if (spin_while(slot, word, kClaimNs)) continue;
      sequence++;
    }
    const uint32_t idle = pack(State::kIdle, sequence, 0);
    if (atomic(slot->rendezvous).compare_exchange_strong(word, idle)) {
      return sequence & kSequenceMask;
    }
  }
}

int put_message(Segment& segment, uint32_t node, const Command& command, bool call) {
  const int descriptor = adopt(segment, node, command.source);
  if (descriptor < 0) return descriptor;
  const uint32_t sender = static_cast<uint32_t>(descriptor);
  ProcessSlot* slot = segment.slot(sender);
  const uint32_t sequence = reset_descriptor(slot);
  store(slot->call_id, command.call_id);
  store(slot->want_source, command.destination);
  const uint32_t kind = call ? kCommandSndrecMsg : kCommandSendMsg;
  if (local_slot(segment, command.destination) < 0) {
    acknowledge(segment, sender, kind, command.destination, -EDEADSRCDST);
    return 0;
  }
  Message message = command.message;
  message.source = command.source;
  switch (hand_over(segment, sender, sequence, command.destination, call, message)) {
    case HandOver::kDead:
      acknowledge(segment, sender, kind, command.destination, -EDSTDIED);
      break;
    case HandOver::kDone:
      if (!call) acknowledge(segment, sender, kind, command.destination, 0);
      break;
    case HandOver::kQueued:
      break;
  }
  return 0;
}

// Claims a caller of this node whose command `call_id` is under way. Returns false when it waits
// for that no more.
bool claim_caller(ProcessSlot* slot, uint32_t call_id, uint32_t kind, uint32_t* claim) {
  uint32_t word = atomic(slot->rendezvous).load();
  if (state_of(word) != State::kRemote) return false;
  *claim = with_state(word, State::kFilling, kProxyPeer);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, *claim)) return false;
  if (load(slot->call_id) == call_id && load(slot->command_kind) == kind) return true;
  atomic(slot->rendezvous).compare_exchange_strong(*claim, word);
  return false;
}

void settle_caller(Segment& segment, ProcessSlot* slot, uint32_t claim, uint32_t word) {
  if (atomic(slot->rendezvous).compare_exchange_strong(claim, word)) wake(segment, slot);
}

int put_reply(Segment& segment, uint32_t node, const Command& command) {
  const int index = local_slot(segment, command.destination);
  const int source = segment.slot_of(command.source);
  if (source < 0) return -EDVSBADFRAME;
  uint32_t claim;
  ProcessSlot* slot = index < 0 ? nullptr : segment.slot(static_cast<uint32_t>(index));
  if (slot == nullptr || load(slot->want_source) != command.source ||
      !claim_caller(slot, command.call_id, kCommandSndrecMsg, &claim)) {
    // The server is told that its answer found nobody.
    const int descriptor = adopt(segment, node, command.source);
    if (descriptor < 0) return descriptor;
    ProcessSlot* server = segment.slot(static_cast<uint32_t>(descriptor));
    if (load(server->command_state) != static_cast<uint32_t>(CommandState::kQueued)) {
      acknowledge(segment, static_cast<uint32_t>(descriptor), kCommandReplyMsg, command.destination,
                  -EDVSPROCSTS);
    }
    return 0;
  }
  Message message = command.message;
  message.source = command.source;
  copy_in(inbox_of(slot, sequence_of(claim)), message);
  settle_caller(segment, slot, claim,
                with_state(claim, State::kFull, static_cast<uint32_t>(source)));
  return 0;
}

int put_ack(Segment& segment, const Command& command) {
  const int index = local_slot(segment, command.destination);
  // An answer that came too late is nobody's fault.
  if (index < 0 || command.kind == (kCommandReplyMsg | kCommandAck)) return 0;
  if (command.kind == (kCommandSndrecMsg | kCommandAck) && command.result >= 0) {
    return -EDVSBADFRAME;
  }
  ProcessSlot* slot = segment.slot(static_cast<uint32_t>(index));
  uint32_t claim;
  if (!claim_caller(slot, command.call_id, command.kind & ~uint32_t{kCommandAck}, &claim)) {
    return 0;
  }
  store(slot->command_result, command.result);
  settle_caller(segment, slot, claim, with_state(claim, State::kTaken, kProxyPeer));
  return 0;
}

int put_copyout_data(Segment& segment, const Command& command, const uint8_t* payload) {
  const int index = local_slot(segment, command.destination);
  if (index < 0) return 0;
  ProcessSlot* slot = segment.slot(static_cast<uint32_t>(index));
  if (command.result >= 0 && static_cast<uint32_t>(command.result) != command.payload_bytes) {
    return -EDVSBADFRAME;
  }
  uint32_t claim;
  if (!claim_caller(slot, command.call_id, kCommandCopyoutRqst, &claim)) return 0;
  int64_t result = command.result;
  if (result >= 0) {
    // Where the data goes is what the caller asked for, whatever the answer says.
    const CopyParty destination{load(slot->destination_endpoint), load(slot->destination_grant),
                                load(slot->destination_at)};
    Region region;
    if (command.payload_bytes > load(slot->copy_bytes)) {
      result = -EDVSBADFRAME;
    } else {
      result =
          resolve(segment, command.destination, destination, command.payload_bytes, 2, &region);
      if (result == 0) result = copy_to(region, payload, command.payload_bytes);
    }
  }
  store(slot->command_result, static_cast<int32_t>(result));
  settle_caller(segment, slot, claim, with_state(claim, State::kTaken, kProxyPeer));
  return 0;
}

int64_t put_data(Segment& segment, const Command& command, const uint8_t* payload) {
  if (command.payload_bytes != command.copy_bytes) return -EDVSBADFRAME;
  const CopyParty destination{command.copy_destination, command.copy_destination_grant,
                              command.copy_destination_at};
  Region region;
  const int error =
      resolve(segment, command.requester, destination, command.payload_bytes, 2, &region);
  return error != 0 ? error : copy_to(region, payload, command.payload_bytes);
}

int64_t copy_here(Segment& segment, const Command& command) {
  const CopyParty source{command.copy_source, command.copy_source_grant, command.copy_source_at};
  const CopyParty destination{command.copy_destination, command.copy_destination_grant,
                              command.copy_destination_at};
  Region from, to;
  int error = resolve(segment, command.requester, source, command.copy_bytes, 1, &from);
  if (error == 0) {
    error = resolve(segment, command.requester, destination, command.copy_bytes, 2, &to);
  }
  return error != 0 ? error : copy_regions(from, to, command.copy_bytes);
}

// Keeps a copy's fields at the requester's descriptor until the proxy comes for them.
void hold_copy(Segment& segment, uint32_t descriptor, const Command& command, uint32_t kind) {
  ProcessSlot* slot = segment.slot(descriptor);
  store(slot->command_kind, kind);
  store(slot->command_endpoint, command.copy_source);
  store(slot->command_result, 0);
  store(slot->command_call_id, command.call_id);
  store(slot->source_endpoint, command.copy_source);
  store(slot->source_grant, command.copy_source_grant);
  store(slot->source_at, command.copy_source_at);
  store(slot->destination_endpoint, command.copy_destination);
  store(slot->destination_grant, command.copy_destination_grant);
  store(slot->destination_at, command.copy_destination_at);
  store(slot->copy_bytes, command.copy_bytes);
}

int put_copy(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload) {
  const bool relayed = command.kind == kCommandCopyinRqst;
  const uint32_t requester_node = relayed ? command.requester_node : node;
  if (command.copy_bytes > kCopyChunkBytes || requester_node == segment.node_id()) {
    return -EDVSBADFRAME;
  }
  if (!relayed && command.requester != command.source) return -EDVSBADFRAME;
  const int adopted = adopt(segment, requester_node, command.requester);
  if (adopted < 0) return adopted;
  const uint32_t descriptor = static_cast<uint32_t>(adopted);
  store(segment.slot(descriptor)->call_id, command.call_id);
  switch (command.kind) {
    case kCommandCopyinData:
    case kCommandCopyinRqst:
      acknowledge(segment, descriptor, relayed ? kCommandCopyrmtRqst : kCommandCopyinData,
                  command.copy_destination, static_cast<int>(put_data(segment, command, payload)));
      return 0;
    case kCommandCopylclRqst:
      acknowledge(segment, descriptor, kCommandCopylclRqst, command.copy_source,
                  static_cast<int>(copy_here(segment, command)));
      return 0;
    case kCommandCopyoutRqst:
      hold_copy(segment, descriptor, command, kCommandCopyoutRqst | kCommandAck);
      queue_command(segment, descriptor, node);
      return 0;
    default:
      break;
  }
  const uint32_t target = command.copy_destination_node;
  const bool reachable =
      target < segment.nodes() && target != segment.node_id() &&
      atomic(segment.link(target)->state).load() == static_cast<uint32_t>(LinkState::kUp);
  if (!reachable) {
    acknowledge(segment, descriptor, kCommandCopyrmtRqst, command.copy_destination, -ENOTCONN);
    return 0;
  }
  hold_copy(segment, descriptor, command, kCommandCopyinRqst);
  queue_command(segment, descriptor, target);
  return 0;
}

int put_notice(Segment& segment, uint32_t node, const Command& command) {
  const int source = adopt(segment, node, command.source);
  if (source < 0) return source;
  const int target = local_slot(segment, command.destination);
  if (target < 0) return 0;
  deliver_notice(segment, static_cast<uint32_t>(source), command.source,
                 static_cast<uint32_t>(target));
  return 0;
}

int put_binding(Segment& segment, uint32_t node, const Command& command) {
  const int index = segment.slot_of(command.source);
  if (index < 0) return -EDVSBADFRAME;
  if (command.kind == kCommandProcunbind) {
    ProcessSlot* slot = segment.slot(static_cast<uint32_t>(index));
    if (load(slot->node) != node) return 0;
    unbind_remote(segment, command.source);
    return 0;
  }
  if (static_cast<uint64_t>(index) >= kSystemProcesses) {
    uint32_t first, last;
    segment.slot_range(node, &first, &last);
    if (static_cast<uint32_t>(index) < first || static_cast<uint32_t>(index) >= last) {
      return -EDVSBADFRAME;
    }
  }
  // A living server of a third node keeps its slot; its own node would have told that it is gone.
  ProcessSlot* slot = segment.slot(static_cast<uint32_t>(index));
  if (load(slot->life) == static_cast<uint32_t>(ProcessLife::kRemote) && load(slot->node) != node &&
      atomic(segment.link(std::min(load(slot->node), segment.nodes() - 1))->state).load() ==
          static_cast<uint32_t>(LinkState::kUp)) {
    return -EDVSSLOTUSED;
  }
  const bool server = command.level != static_cast<uint32_t>(ProcessLevel::kUser);
  char name[kNameBytes];
  memcpy(name, command.name, sizeof name);
  name[kNameBytes - 1] = 0;
  return bind_remote(segment, command.source, node,
                     server ? ProcessLevel::kServer : ProcessLevel::kUser, name);
}

int dispatch(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload) {
  const bool carries_data = command.kind == kCommandCopyinData ||
                            command.kind == kCommandCopyinRqst ||
                            command.kind == (kCommandCopyoutRqst | kCommandAck);
  if (!carries_data && command.payload_bytes != 0) return -EDVSBADFRAME;
  switch (command.kind) {
    case kCommandNone:
      return 0;
    case kCommandSendMsg:
      return put_message(segment, node, command, false);
    case kCommandSndrecMsg:
      return put_message(segment, node, command, true);
    case kCommandReplyMsg:
      return put_reply(segment, node, command);
    case kCommandNtfyMsg:
      return put_notice(segment, node, command);
    case kCommandCopyinData:
    case kCommandCopyinRqst:
    case kCommandCopyoutRqst:
    case kCommandCopylclRqst:
    case kCommandCopyrmtRqst:
      return put_copy(segment, node, command, payload);
    case kCommandCopyoutRqst | kCommandAck:
      return put_copyout_data(segment, command, payload);
    case kCommandSendMsg | kCommandAck:
    case kCommandSndrecMsg | kCommandAck:
    case kCommandReplyMsg | kCommandAck:
    case kCommandCopyinData | kCommandAck:
    case kCommandCopylclRqst | kCommandAck:
    case kCommandCopyrmtRqst | kCommandAck:
      return put_ack(segment, command);
    case kCommandProcbind:
    case kCommandProcunbind:
      return put_binding(segment, node, command);
    default:
      return -EDVSBADFRAME;
  }
}

}  // namespace

void finish_remote(Segment& segment, uint32_t index, uint32_t call_id, int result) {
  ProcessSlot* slot = segment.slot(index);
  uint32_t claim;
  if (!claim_caller(slot, call_id, load(slot->command_kind), &claim)) return;
  store(slot->command_result, result);
  settle_caller(segment, slot, claim, with_state(claim, State::kTaken, kProxyPeer));
}

int put2lcl(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload,
            uint64_t payload_bytes) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  int result = 0;
  if (atomic(link->state).load() != static_cast<uint32_t>(LinkState::kUp)) {
    result = -ENOTCONN;
  } else if (!segment.running()) {
    result = -EDVSDCNOTRUN;
  } else if (command.dc_id != segment.dc_id()) {
    result = -EDVSBADDCID;
  } else if (command.source_node != node || command.destination_node != segment.node_id() ||
             command.payload_bytes != payload_bytes || payload_bytes > kCopyChunkBytes) {
    result = -EDVSBADFRAME;
  } else {
    result = dispatch(segment, node, command, payload);
  }
  if (result == 0) {
    atomic(link->received).fetch_add(1, std::memory_order_relaxed);
    atomic(link->received_bytes).fetch_add(payload_bytes, std::memory_order_relaxed);
  } else {
    atomic(link->dropped).fetch_add(1, std::memory_order_relaxed);
  }
  return result;
}

}  // namespace dvk
