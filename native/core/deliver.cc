// put2lcl: acts on commands that came from another node. Nothing in a command is trusted.

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "link.h"
#include "migrate.h"
#include "notify.h"
#include "rendezvous.h"
#include "search.h"
#include "senda.h"
#include "trace.h"
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

}  // namespace

int adopt_descriptor(Segment& segment, uint32_t node, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || node >= segment.nodes()) return -EDVSBADFRAME;
  ProcessSlot* process = segment.slot(static_cast<uint32_t>(index));
  if (load(process->life) == static_cast<uint32_t>(ProcessLife::kRemote) &&
      load(process->endpoint) == endpoint && load(process->node) == node) {
    return index;
  }
  const int error = bind_claimed(segment, node, endpoint, ProcessLevel::kUser, "rclient");
  return error != 0 ? error : index;
}

namespace {

// Makes a descriptor idle for a new call of its process, which has given up on the one before.
// Returns its sequence. After it no process of this node writes the descriptor until it is queued
// again.
uint32_t reset_descriptor(ProcessSlot* slot) {
  for (;;) {
    uint32_t word = atomic(slot->rendezvous).load();
    uint32_t sequence = sequence_of(word);
    if (word == pack(State::kIdle, sequence, 0)) return sequence;
    if (is_claimed(word)) {
      if (spin_while(slot, word, kClaimNs)) continue;
      sequence++;
    }
    const uint32_t idle = pack(State::kIdle, sequence, 0);
    if (atomic(slot->rendezvous).compare_exchange_strong(word, idle)) {
      return sequence & kSequenceMask;
    }
  }
}

// Looked at after the descriptor's word was set: who freed the slot before, as one that takes the
// node out of the DC does, has not seen it.
void leave_freed(ProcessSlot* slot, uint32_t sequence, int32_t endpoint) {
  const bool is_its = atomic(slot->life).load() == static_cast<uint32_t>(ProcessLife::kRemote) &&
                      atomic(slot->endpoint).load() == endpoint;
  uint32_t word = atomic(slot->rendezvous).load();
  if (is_its || sequence_of(word) != sequence) return;
  atomic(slot->rendezvous).compare_exchange_strong(word, pack(State::kIdle, sequence, 0));
}

int put_message(Segment& segment, uint32_t node, const Command& command, bool call) {
  const int descriptor = adopt_descriptor(segment, node, command.source);
  if (descriptor < 0) return descriptor;
  const uint32_t sender = static_cast<uint32_t>(descriptor);
  ProcessSlot* slot = segment.slot(sender);
  const uint32_t sequence = reset_descriptor(slot);
  const uint32_t kind = call ? kCommandSndrecMsg : kCommandSendMsg;
  // What the proxy has for the call before, if anything, comes too late.
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  store(slot->call_id, command.call_id);
  store(slot->remote_call, kind);
  store(slot->want_source, command.destination);
  DVK_CRASH_POINT("deliver.reset");
  const int target = local_slot(segment, command.destination);
  const bool denied = target >= 0 && !takes_from(segment, static_cast<uint32_t>(target), sender);
  if (target < 0 || denied) {
    const int error = denied ? -ECALLDENIED : absent_error(segment, command.destination);
    acknowledge(segment, sender, kind, command.destination, error);
    return 0;
  }
  Message message = command.message;
  message.source = command.source;
  switch (
      hand_over(segment, sender, sequence, command.destination, call, message, command.answers)) {
    case HandOver::kDead:
      acknowledge(segment, sender, kind, command.destination, -EDSTDIED);
      break;
    case HandOver::kMoved:
      acknowledge(segment, sender, kind, command.destination, -EDVSMIGRATING);
      break;
    case HandOver::kDone:
      if (!call) acknowledge(segment, sender, kind, command.destination, 0);
      break;
    case HandOver::kQueued:
      break;
  }
  leave_freed(slot, sequence, command.source);
  return 0;
}

// The call's own node has ended it. The message is taken back, or its answer will find nobody.
int put_withdrawal(Segment& segment, uint32_t node, const Command& command) {
  uint32_t index;
  if (check_endpoint(segment, command.source, &index) != 0) return 0;
  ProcessSlot* slot = segment.slot(index);
  if (is_local(segment, index) || load(slot->node) != node) return -EDVSBADFRAME;
  if (load(slot->call_id) == command.call_id) reset_descriptor(slot);
  return 0;
}

// Whether the process waits for the answer to its command `call_id`.
bool awaits_answer(ProcessSlot* slot, uint32_t call_id, uint32_t kind) {
  return load(slot->call_id) == call_id && load(slot->command_kind) == kind;
}

// Whether `node` is where the data of the copy that `slot` asked for goes.
bool receives_copy(Segment& segment, ProcessSlot* slot, uint32_t node) {
  const int destination = segment.slot_of(load(slot->destination_endpoint));
  return destination >= 0 && load(segment.slot(static_cast<uint32_t>(destination))->node) == node;
}

// Claims a caller of this node whose command `call_id` to `node` is under way; the answer to a
// three-party copy comes from the node of its destination. Returns false when it waits for that no
// more.
bool claim_caller(Segment& segment, ProcessSlot* slot, uint32_t node, uint32_t call_id,
                  uint32_t kind, uint32_t* claim) {
  uint32_t word = atomic(slot->rendezvous).load();
  if (state_of(word) != State::kRemote || !awaits_answer(slot, call_id, kind)) return false;
  if (peer_of(word) != node &&
      (kind != kCommandCopyrmtRqst || !receives_copy(segment, slot, node))) {
    return false;
  }
  *claim = with_state(word, State::kFilling, kProxyPeer);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, *claim)) return false;
  DVK_CRASH_POINT("deliver.claimed");
  if (awaits_answer(slot, call_id, kind)) return true;
  atomic(slot->rendezvous).compare_exchange_strong(*claim, word);
  return false;
}

void settle_caller(Segment& segment, ProcessSlot* slot, uint32_t claim, uint32_t word) {
  DVK_CRASH_POINT("deliver.settle");
  if (atomic(slot->rendezvous).compare_exchange_strong(claim, word)) wake(segment, slot);
}

// A reply, or a relay, which the caller itself acts on.
int put_reply(Segment& segment, uint32_t node, const Command& command) {
  const int index = local_slot(segment, command.destination);
  const int source = segment.slot_of(command.source);
  if (source < 0) return -EDVSBADFRAME;
  uint32_t claim;
  ProcessSlot* slot = index < 0 ? nullptr : segment.slot(static_cast<uint32_t>(index));
  if (slot == nullptr || load(slot->want_source) != command.source ||
      !claim_caller(segment, slot, node, command.call_id, kCommandSndrecMsg, &claim)) {
    // The server is told that its answer found nobody, unless its descriptor has other work.
    const int descriptor = adopt_descriptor(segment, node, command.source);
    if (descriptor < 0) return descriptor;
    ProcessSlot* server = segment.slot(static_cast<uint32_t>(descriptor));
    if (state_of(atomic(server->rendezvous).load()) == State::kIdle &&
        load(server->command_state) != static_cast<uint32_t>(CommandState::kQueued)) {
      acknowledge(segment, static_cast<uint32_t>(descriptor), kCommandReplyMsg, command.destination,
                  -EDVSPROCSTS);
    }
    return 0;
  }
  Message message = command.message;
  const bool relays = command.kind == kCommandRelayMsg;
  if (!relays) message.source = command.source;
  copy_in(inbox_of(slot, sequence_of(claim)), message);
  const State full = relays ? State::kFullNotify : State::kFull;
  settle_caller(segment, slot, claim, with_state(claim, full, static_cast<uint32_t>(source)));
  return 0;
}

// `node` does not know `endpoint`: a binding that says it has it is stale. Who waits for that one
// is told; the caller whose message was refused is claimed, and looks further itself.
void note_absent(Segment& segment, uint32_t node, int32_t endpoint) {
  uint32_t index;
  if (check_endpoint(segment, endpoint, &index) != 0) return;
  ProcessSlot* slot = segment.slot(index);
  const bool of_node =
      load(slot->life) == static_cast<uint32_t>(ProcessLife::kRemote) && load(slot->node) == node;
  if (of_node && !is_held(segment, index)) unbind_remote(segment, endpoint);
}

int put_ack(Segment& segment, uint32_t node, const Command& command) {
  const int index = local_slot(segment, command.destination);
  // An answer that came too late is nobody's fault.
  if (index < 0 || command.kind == (kCommandReplyMsg | kCommandAck)) return 0;
  if (command.kind == (kCommandSndrecMsg | kCommandAck) && command.result >= 0) {
    return -EDVSBADFRAME;
  }
  ProcessSlot* slot = segment.slot(static_cast<uint32_t>(index));
  uint32_t claim;
  const uint32_t kind = command.kind & ~uint32_t{kCommandAck};
  // Only where the data went can tell that it arrived.
  if (kind == kCommandCopyrmtRqst && command.result >= 0 && !receives_copy(segment, slot, node)) {
    return -EDVSBADFRAME;
  }
  if (!claim_caller(segment, slot, node, command.call_id, kind, &claim)) return 0;
  store(slot->command_result, command.result);
  if (command.result == -EDVSMIGRATING && load(slot->command_endpoint) == command.source) {
    note_moved(segment, node, command.source, command.copy_destination_node);
  }
  if (command.result == -EDEADSRCDST && load(slot->command_endpoint) == command.source) {
    note_absent(segment, node, command.source);
  }
  settle_caller(segment, slot, claim, with_state(claim, State::kTaken, kProxyPeer));
  return 0;
}

// Writes the data of a copy that `requester` asked for.
int64_t write_payload(Segment& segment, int32_t requester, const CopyParty& destination,
                      const Command& command, const uint8_t* payload) {
  return copy_end(proxy_copier(segment), {requester, destination, GrantRight::kWrite},
                  const_cast<uint8_t*>(payload), command.payload_bytes);
}

int put_copyout_data(Segment& segment, uint32_t node, const Command& command,
                     const uint8_t* payload) {
  const int index = local_slot(segment, command.destination);
  if (index < 0) return 0;
  const uint32_t segment_index = static_cast<uint32_t>(index);
  ProcessSlot* slot = segment.slot(segment_index);
  if (command.result >= 0 && static_cast<uint32_t>(command.result) != command.payload_bytes) {
    return -EDVSBADFRAME;
  }
  uint32_t claim;
  if (!claim_caller(segment, slot, node, command.call_id, kCommandCopyoutRqst, &claim)) return 0;
  int64_t result = command.result;
  CopyParts& parts = segment.copy_parts();
  if (result >= 0) {
    // Where the data goes is what the caller asked for, whatever the answer says.
    const uint64_t total = load(slot->copy_bytes);
    const uint64_t at = parts.at(segment_index, command.destination, command.call_id);
    const CopyParty destination{load(slot->destination_endpoint), load(slot->destination_grant),
                                load(slot->destination_at) + at};
    result = command.answers != at || at > total || command.payload_bytes > total - at
                 ? -EDVSBADFRAME
                 : write_payload(segment, command.destination, destination, command, payload);
    const uint64_t end = at + command.payload_bytes;
    const bool more = result > 0 && end < total;
    parts.set(segment_index, segment.processes(), command.destination, command.call_id,
              more ? end : 0);
    if (more) {
      unclaim(segment, slot, claim, with_state(claim, State::kRemote, node));
      return 0;
    }
    if (result >= 0) result = static_cast<int64_t>(end);
  }
  store(slot->command_result, static_cast<int32_t>(result));
  settle_caller(segment, slot, claim, with_state(claim, State::kTaken, kProxyPeer));
  return 0;
}

int64_t put_data(Segment& segment, const Command& command, const uint8_t* payload) {
  const CopyParty destination{command.copy_destination, command.copy_destination_grant,
                              command.copy_destination_at + command.answers};
  return write_payload(segment, command.requester, destination, command, payload);
}

// A part of a copy, not the only one, for which the descriptor of its requester is there.
void put_part(Segment& segment, uint32_t descriptor, const Command& command,
              const uint8_t* payload) {
  CopyParts& parts = segment.copy_parts();
  int64_t result = command.result;
  if (result >= 0) result = put_data(segment, command, payload);
  const uint64_t end = command.answers + uint64_t{command.payload_bytes};
  const bool more = result >= 0 && end < command.copy_bytes;
  parts.set(descriptor, segment.processes(), command.requester, command.call_id, more ? end : 0);
  if (more) return;
  acknowledge(segment, descriptor, kCommandCopyinData, command.copy_destination,
              static_cast<int>(result < 0 ? result : static_cast<int64_t>(end)));
}

// Whether a copy, the data that came of it and where that begins are as they may be.
bool is_in_copy(Segment& segment, uint32_t node, const Command& command) {
  const bool is_data = command.kind == kCommandCopyinData;
  const bool in_parts = (is_data || command.kind == kCommandCopyoutRqst) &&
                        load(segment.link(node)->copies_in_parts) != 0;
  if (command.copy_bytes > (in_parts ? kCopyWindowBytes : kCopyChunkBytes)) return false;
  if (!is_data && command.kind != kCommandCopyinRqst) return true;
  if (!in_parts) {
    return command.payload_bytes == command.copy_bytes && command.answers == 0 &&
           command.result >= 0;
  }
  if (command.answers > command.copy_bytes) return false;
  if (command.result < 0) return command.answers > 0 && command.payload_bytes == 0;
  if (command.payload_bytes == 0) return command.copy_bytes == 0;
  return command.payload_bytes <= command.copy_bytes - command.answers;
}

int64_t copy_here(Segment& segment, const Command& command) {
  const CopyParty source{command.copy_source, command.copy_source_grant, command.copy_source_at};
  const CopyParty destination{command.copy_destination, command.copy_destination_grant,
                              command.copy_destination_at};
  return copy_ends(proxy_copier(segment), {command.requester, source, GrantRight::kRead},
                   {command.requester, destination, GrantRight::kWrite}, command.copy_bytes);
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
  if (!is_in_copy(segment, node, command) || requester_node == segment.node_id())
    return -EDVSBADFRAME;
  if (!relayed && command.requester != command.source) return -EDVSBADFRAME;
  // Who asked gets the answer, so it must be of a node that this one serves in this DC.
  if (relayed && requester_node < segment.nodes() &&
      atomic(segment.link(requester_node)->state).load() != static_cast<uint32_t>(LinkState::kUp)) {
    return -EDVSNODCNODE;
  }
  const int adopted = adopt_descriptor(segment, requester_node, command.requester);
  if (adopted < 0) return adopted;
  const uint32_t descriptor = static_cast<uint32_t>(adopted);
  if (command.kind == kCommandCopyinData && command.answers > 0) {
    // Where it goes on is where the part before it ended, or that failed, or the call is over.
    const uint64_t at = segment.copy_parts().at(descriptor, command.requester, command.call_id);
    const bool awaited = load(segment.slot(descriptor)->call_id) == command.call_id;
    if (awaited && at == command.answers) put_part(segment, descriptor, command, payload);
    return 0;
  }
  // A message that the requester gave up on must not be acknowledged over this copy's answer.
  const uint32_t sequence = reset_descriptor(segment.slot(descriptor));
  store(segment.slot(descriptor)->call_id, command.call_id);
  segment.copy_parts().set(descriptor, segment.processes(), command.requester, 0, 0);
  switch (command.kind) {
    case kCommandCopyinData:
      put_part(segment, descriptor, command, payload);
      return 0;
    case kCommandCopyinRqst:
      acknowledge(segment, descriptor, kCommandCopyrmtRqst, command.copy_destination,
                  static_cast<int>(put_data(segment, command, payload)));
      return 0;
    case kCommandCopylclRqst:
      acknowledge(segment, descriptor, kCommandCopylclRqst, command.copy_source,
                  static_cast<int>(copy_here(segment, command)));
      return 0;
    case kCommandCopyoutRqst:
      hold_copy(segment, descriptor, command, kCommandCopyoutRqst | kCommandAck);
      queue_answer(segment, descriptor, node);
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
  // What the requester's proxy wrote there is for that of the destination.
  copy_in(outbox_of(segment.slot(descriptor), sequence), command.message);
  queue_answer(segment, descriptor, target);
  return 0;
}

int put_notice(Segment& segment, uint32_t node, const Command& command) {
  const int source = adopt_descriptor(segment, node, command.source);
  if (source < 0) return source;
  const int target = local_slot(segment, command.destination);
  const uint32_t slot = static_cast<uint32_t>(source);
  // Nobody waits to be told that a notification was refused.
  if (target < 0 || !takes_from(segment, static_cast<uint32_t>(target), slot)) return 0;
  uint32_t value;
  memcpy(&value, command.message.payload, sizeof value);
  deliver_notice(segment, slot, command.source, command.destination, value);
  return 0;
}

// The end of a slot's owner ends the owners before it too: of several ends one is told.
int put_unbinding(Segment& segment, uint32_t node, const Command& command) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(command.source));
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = load(slot->endpoint);
  if (load(slot->node) != node || endpoint == kEndpointNone) return 0;
  if (!is_older(command.source, endpoint) && !note_gone(segment, node, endpoint)) {
    unbind_remote(segment, endpoint);
  }
  return 0;
}

int put_binding(Segment& segment, uint32_t node, const Command& command) {
  const int index = segment.slot_of(command.source);
  if (index < 0) return -EDVSBADFRAME;
  if (command.kind == kCommandProcunbind) return put_unbinding(segment, node, command);
  const bool server = command.level != static_cast<uint32_t>(ProcessLevel::kUser);
  char name[kNameBytes];
  memcpy(name, command.name, sizeof name);
  name[kNameBytes - 1] = 0;
  const ProcessLevel level = server ? ProcessLevel::kServer : ProcessLevel::kUser;
  const int error = bind_claimed(segment, node, command.source, level, name);
  return error == -EDVSSLOTUSED && note_claim(segment, node, command.source) ? 0 : error;
}

int dispatch(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload) {
  const bool carries_data =
      command.kind == kCommandCopyinData || command.kind == kCommandCopyinRqst ||
      command.kind == (kCommandCopyoutRqst | kCommandAck) || command.kind == kCommandMigrate;
  if (!carries_data && command.payload_bytes != 0) return -EDVSBADFRAME;
  switch (command.kind) {
    case kCommandNone:
      return 0;
    case kCommandSendMsg:
      return put_message(segment, node, command, false);
    case kCommandSndrecMsg:
      return put_message(segment, node, command, true);
    case kCommandReplyMsg:
    case kCommandRelayMsg:
      return put_reply(segment, node, command);
    case kCommandWithdraw:
      return put_withdrawal(segment, node, command);
    case kCommandNtfyMsg:
      return put_notice(segment, node, command);
    case kCommandAsyncMsg: {
      const int descriptor = adopt_descriptor(segment, node, command.source);
      return descriptor < 0 ? descriptor
                            : put_async(segment, static_cast<uint32_t>(descriptor), command);
    }
    case kCommandAsyncMsg | kCommandAck:
      return put_async_ack(segment, node, command);
    case kCommandCopyinData:
    case kCommandCopyinRqst:
    case kCommandCopyoutRqst:
    case kCommandCopylclRqst:
    case kCommandCopyrmtRqst:
      return put_copy(segment, node, command, payload);
    case kCommandCopyoutRqst | kCommandAck:
      return put_copyout_data(segment, node, command, payload);
    case kCommandSendMsg | kCommandAck:
    case kCommandSndrecMsg | kCommandAck:
    case kCommandReplyMsg | kCommandAck:
    case kCommandCopyinData | kCommandAck:
    case kCommandCopylclRqst | kCommandAck:
    case kCommandCopyrmtRqst | kCommandAck:
      return put_ack(segment, node, command);
    case kCommandMigrstart:
    case kCommandMigrstart | kCommandAck:
    case kCommandMigrate:
    case kCommandMigrate | kCommandAck:
    case kCommandMigrend:
      return put_migration(segment, node, command, payload);
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
  const uint32_t node = peer_of(atomic(slot->rendezvous).load());
  uint32_t claim;
  if (!claim_caller(segment, slot, node, call_id, load(slot->command_kind), &claim)) return;
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
  if (is_traced(segment) && command.kind != kCommandNone) {
    trace_command(segment, TraceKind::kLinkIn, node, command, result);
  }
  return result;
}

}  // namespace dvk
