// What waits for a proxy: commands of calls, and answers at descriptors. Announcements are in
// announce.cc, the other direction in deliver.cc.

#include "link.h"

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "copy_job.h"
#include "deadlock.h"
#include "lock.h"
#include "migrating.h"
#include "notify.h"
#include "remote_end.h"
#include "rendezvous.h"
#include "senda.h"
#include "trace.h"
#include "wait.h"

namespace dvk {
namespace {

uint64_t ticket_of(Segment& segment, int index) {
  return index < 0 ? ~uint64_t{0} : load(segment.slot(static_cast<uint32_t>(index))->ticket);
}

bool migrates(const Segment& segment) {
  return atomic(segment.header()->migrating).load() != 0;
}

// The lower bits of LinkSlot::sleeping; above them is how often the proxy was armed.
// kRung: its FIFO has a byte for it.
constexpr uint32_t kSleepMask = 3, kRung = 3;

// One write wakes the proxy for all that is queued until it looks. That of a caller which stood
// still in between is not taken for one of a later sleep, since that has another number.
void wake_proxy(Segment& segment, LinkSlot* link) {
  const auto sleeping = atomic(link->sleeping);
  uint32_t seen = sleeping.load();
  if ((seen & kSleepMask) != kOnFifo) return;
  if (!wake_fifo(segment.directory(), load(link->wake_id))) return;
  sleeping.compare_exchange_strong(seen, seen | kRung);
}

// The proxy looks at its queue, or it is about to sleep.
void set_sleeping(LinkSlot* link, uint32_t state) {
  const uint32_t seen = load(link->sleeping);
  if ((seen & kSleepMask) == kAwake && state == kAwake) return;
  const uint32_t next = (seen & ~kSleepMask) + (state == kAwake ? 0 : kSleepMask + 1);
  atomic(link->sleeping).store(next | state);
}

void add(uint64_t& counter, uint64_t amount) {
  atomic(counter).fetch_add(amount, std::memory_order_relaxed);
}

uint32_t node_of(Segment& segment, int32_t endpoint) {
  const int slot = segment.slot_of(endpoint);
  return slot < 0 ? ~0u : load(segment.slot(static_cast<uint32_t>(slot))->node);
}

void clear(SlotSet set) {
  set.each([&](uint32_t slot) {
    set.remove(slot);
    return false;
  });
}

}  // namespace

void reset_sleeping(LinkSlot* link) {
  set_sleeping(link, kOnFifo);
  set_sleeping(link, kAwake);
}

void tell_proxy(Segment& segment, uint32_t node) {
  if (node < segment.nodes()) wake_proxy(segment, segment.link(node));
}

int link_up(Segment& segment, uint32_t node, uint32_t session, bool parts) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (link_is(link, LinkState::kAbsent)) return -EDVSNODCNODE;
  // What was known of the node's processes, and every call to them, belongs to the old session; it
  // announces the living ones anew. A proxy that was killed did not take its link down.
  link_down(segment, node);
  {
    // Where the table is locked for long they stay: the other node answers for who is gone.
    const TableLock lock(segment);
    if (lock.error() == 0) forget_descriptors(segment, node);
  }
  SlotSet announcements = segment.announcements(node);
  clear(announcements);
  store(link->session, session);
  store(link->copies_in_parts, uint32_t{parts});
  DVK_CRASH_POINT("link.forgotten");
  atomic(link->state).store(static_cast<uint32_t>(LinkState::kUp));
  if (is_traced(segment)) trace_link(segment, TraceKind::kLinkUp, node);
  DVK_CRASH_POINT("link.up");
  for (uint32_t i = 0; i < kSystemProcesses; i++) {
    if (life_is(segment.slot(i), ProcessLife::kLocal)) announcements.add(i);
  }
  migrations_up(segment, node);
  wake_proxy(segment, link);
  return 0;
}

namespace {

bool is_descriptor(Segment& segment, uint32_t index, uint32_t node) {
  return index < segment.processes() && life_is(segment.slot(index), ProcessLife::kRemote) &&
         load(segment.slot(index)->node) == node;
}

// Ends what the process in `index` awaits of `node`. A proxy that is dead may have died in the
// middle of a hand-over, or before it woke the process.
void disconnect(Segment& segment, uint32_t index, uint32_t node, bool proxy_dead) {
  ProcessSlot* slot = segment.slot(index);
  for (;;) {
    const uint32_t word = atomic(slot->rendezvous).load();
    const uint32_t peer = peer_of(word);
    const bool waits_for_node = node_of(segment, load(slot->want_source)) == node;
    const bool copies_to_node = node_of(segment, load(slot->destination_endpoint)) == node;
    bool lost = false, claimed = false;
    switch (state_of(word)) {
      case State::kRemote:
        // Who looks for a process does not know where it is.
        if (load(slot->command_kind) == kCommandProcinfo) break;
        lost = peer == node || waits_for_node || copies_to_node;
        break;
      case State::kFilling:
        claimed = proxy_dead && is_descriptor(segment, peer, node);
        lost = peer == kProxyPeer ? waits_for_node || copies_to_node : claimed && waits_for_node;
        break;
      case State::kFrom:
        lost = waits_for_node;
        break;
      default:
        break;
    }
    if (!lost && !claimed) {
      if (!is_waiting(word)) wake(segment, slot);
      return;
    }
    if (lost ? fail(segment, index, word, ENOTCONN) : kick(segment, slot, word)) return;
  }
}

// A descriptor of the lost node forgets what its process had under way.
void idle_descriptor(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  uint32_t word = atomic(slot->rendezvous).load();
  while (state_of(word) == State::kSending || state_of(word) == State::kCalling ||
         state_of(word) == State::kReply || has_ended(word)) {
    const uint32_t idle = pack(State::kIdle, sequence_of(word), 0);
    if (atomic(slot->rendezvous).compare_exchange_strong(word, idle)) break;
  }
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  drop_asyncs(segment, index);
}

}  // namespace

int link_down(Segment& segment, uint32_t node) {
  if (node >= segment.nodes() || node == segment.node_id()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  if (link_is(link, LinkState::kAbsent)) return -EDVSNODCNODE;
  if (is_traced(segment) && link_is(link, LinkState::kUp)) {
    trace_link(segment, TraceKind::kLinkDown, node);
  }
  atomic(link->state).store(static_cast<uint32_t>(LinkState::kDown));
  migrations_down(segment, node);
  DVK_CRASH_POINT("link.down");
  // Copies that were to pass through this node end with an error at who asked for them.
  segment.link_queue(node).each([&](uint32_t index) {
    ProcessSlot* slot = segment.slot(index);
    if (life_is(slot, ProcessLife::kRemote) && load(slot->command_kind) == kCommandCopyinRqst &&
        load(slot->node) != node) {
      acknowledge(segment, index, kCommandCopyrmtRqst, load(slot->destination_endpoint), -ENOTCONN);
    }
    return false;
  });
  // The queue is cleared before the words are looked at: a call that queues later either is found
  // by its word or finds the link down.
  clear(segment.link_queue(node));
  DVK_CRASH_POINT("link.cleared");
  const bool proxy_dead = !process_alive(load(link->proxy_pid), load(link->proxy_start_time));
  if (proxy_dead) drop_proxy_copy_job(segment);
  for (uint32_t i = 0; i < segment.processes(); i++) {
    ProcessSlot* slot = segment.slot(i);
    if (life_is(slot, ProcessLife::kLocal)) {
      disconnect(segment, i, node, proxy_dead);
      disconnect_asyncs(segment, i, node);
    } else if (life_is(slot, ProcessLife::kRemote) && load(slot->node) == node) {
      idle_descriptor(segment, i);
    }
  }
  return 0;
}

void queue_command(Segment& segment, uint32_t index, uint32_t node) {
  if (node >= segment.nodes()) return;
  ProcessSlot* slot = segment.slot(index);
  store(slot->ticket, segment.next_ticket());
  atomic(slot->command_state).store(static_cast<uint32_t>(CommandState::kQueued));
  DVK_CRASH_POINT("command.word");
  segment.link_queue(node).add(index);
  DVK_CRASH_POINT("command.queued");
  wake_proxy(segment, segment.link(node));
}

void queue_answer(Segment& segment, uint32_t descriptor, uint32_t node) {
  queue_command(segment, descriptor, node);
  // Looked at after it was queued: who freed the slot before has not seen it.
  ProcessSlot* slot = segment.slot(descriptor);
  if (atomic(slot->life).load() != static_cast<uint32_t>(ProcessLife::kRemote)) {
    store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  }
}

int start_remote(Process& process, uint32_t node) {
  const int error = check_link(process.segment, node);
  if (error != 0) return error;
  ProcessSlot* slot = process.slot;
  const uint32_t call_id = load(slot->call_id) + 1;
  store(slot->call_id, call_id);
  store(slot->command_call_id, call_id);
  begin_wait(slot);
  const uint32_t word = pack(State::kRemote, process.sequence, node);
  atomic(slot->rendezvous).store(word);
  process.operation.stage = Operation::Stage::kRemote;
  DVK_CRASH_POINT("remote.word");
  queue_command(process.segment, process.index, node);
  // A link that went down before the word was set has not seen this call.
  if (!link_is(process.segment.link(node), LinkState::kUp)) return cancel(process, -ENOTCONN);
  return process.segment.running() ? kPending : cancel(process, -EDVSDCNOTRUN);
}

void void_command(ProcessSlot* slot) {
  store(slot->call_id, load(slot->call_id) + 1);
  atomic(slot->command_state).store(static_cast<uint32_t>(CommandState::kNone));
}

void withdraw_command(Segment& segment, uint32_t index, uint32_t node) {
  void_command(segment.slot(index));
  if (node < segment.nodes()) segment.link_queue(node).remove(index);
}

int answer_remote(Process& process, int32_t client, uint32_t word, uint32_t call_id,
                  const Message& message, bool relays) {
  Segment& segment = process.segment;
  const uint32_t target = static_cast<uint32_t>(segment.slot_of(client));
  ProcessSlot* slot = segment.slot(target);
  const uint32_t node = load(slot->node);
  uint32_t claim = with_state(word, State::kFilling, process.index);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, claim)) return -EDVSPROCSTS;
  if (load(slot->call_id) != call_id) {
    // The client's next call, which goes on.
    unclaim(segment, slot, claim, word);
    return -EDVSPROCSTS;
  }
  DVK_CRASH_POINT("answer.claimed");
  const int error = load(slot->endpoint) == client ? check_link(segment, node) : -EDEADSRCDST;
  if (error != 0) {
    const uint32_t idle = pack(State::kIdle, sequence_of(word), 0);
    return atomic(slot->rendezvous).compare_exchange_strong(claim, idle) ? error : -EDVSPROCSTS;
  }
  copy_in(inbox_of(slot, sequence_of(word)), message);
  DVK_CRASH_POINT("answer.copied");
  const State answered = relays ? State::kFullNotify : State::kFull;
  if (!end_remote(segment, target, claim, with_state(claim, answered, process.index))) {
    return -EDVSPROCSTS;
  }
  store(process.slot->sent_remote, load(process.slot->sent_remote) + 1);
  return 0;
}

int notify_remote(Segment& segment, uint32_t source, int32_t target, uint32_t value) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(target));
  const uint32_t node = load(segment.slot(index)->node);
  const int error = check_link(segment, node);
  if (error != 0) return error;
  keep_notice(segment, source, target, index, value);
  announce_for(segment, index);
  return 0;
}

void acknowledge(Segment& segment, uint32_t descriptor, uint32_t kind, int32_t party, int result) {
  ProcessSlot* slot = segment.slot(descriptor);
  store(slot->command_kind, kind | kCommandAck);
  store(slot->command_endpoint, party);
  store(slot->command_result, result);
  store(slot->command_call_id, load(slot->call_id));
  queue_answer(segment, descriptor, load(slot->node));
}

void address_command(Segment& segment, uint32_t node, Command* command) {
  memset(command, 0, sizeof *command);
  command->dc_id = segment.dc_id();
  command->source_node = segment.node_id();
  command->destination_node = node;
}

namespace {

// The call of the remote process `client` whose request the process in `server` has not answered, 0
// for none. As between processes of one node, a message to such a client is the answer.
uint32_t unanswered_call(Segment& segment, uint32_t server, int32_t client) {
  uint32_t index;
  if (check_endpoint(segment, client, &index) != 0) return 0;
  ProcessSlot* slot = segment.slot(index);
  const uint32_t word = atomic(slot->rendezvous).load();
  const bool served = state_of(word) == State::kReply && peer_of(word) == server;
  return served ? load(slot->call_id) : 0;
}

// Whether the message of the process in `index` is kept back, since its receiver is to move. What
// the receiver waits for before it can move is not.
bool is_kept_back(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t kind = load(slot->command_kind);
  if (kind != kCommandSendMsg && kind != kCommandSndrecMsg) return false;
  if (!life_is(slot, ProcessLife::kLocal)) return false;
  const int32_t receiver = load(slot->command_endpoint);
  const int target = segment.slot_of(receiver);
  return target >= 0 && is_held(segment, static_cast<uint32_t>(target)) &&
         unanswered_call(segment, index, receiver) == 0;
}

int oldest_command(Segment& segment, uint32_t node, bool short_only) {
  SlotSet queue = segment.link_queue(node);
  const bool migrating = migrates(segment);
  int found = -1;
  uint64_t lowest = 0;
  queue.each([&](uint32_t index) {
    if (short_only && takes_data(segment.slot(index))) return false;
    if (migrating && is_kept_back(segment, index)) return false;
    const uint64_t ticket = load(segment.slot(index)->ticket);
    if (found < 0 || ticket < lowest) {
      lowest = ticket;
      found = static_cast<int>(index);
    }
    return false;
  });
  return found;
}

void copy_fields(ProcessSlot* slot, Command* command) {
  command->copy_source = load(slot->source_endpoint);
  command->copy_source_grant = load(slot->source_grant);
  command->copy_source_at = load(slot->source_at);
  command->copy_destination = load(slot->destination_endpoint);
  command->copy_destination_grant = load(slot->destination_grant);
  command->copy_destination_at = load(slot->destination_at);
  command->copy_bytes = load(slot->copy_bytes);
}

// A command of a process of this node. Returns false when it ended with an error here.
bool fill_from_local(Segment& segment, uint32_t index, Command* command, uint8_t* payload) {
  ProcessSlot* slot = segment.slot(index);
  command->source = load(slot->endpoint);
  command->destination = load(slot->command_endpoint);
  switch (command->kind) {
    case kCommandSendMsg:
    case kCommandSndrecMsg: {
      const uint32_t word = atomic(slot->rendezvous).load();
      copy_out(&command->message, outbox_of(slot, sequence_of(word)));
      command->message.source = command->source;
      command->answers = unanswered_call(segment, index, command->destination);
      return true;
    }
    case kCommandCopyinData:
    case kCommandCopyoutRqst:
    case kCommandCopylclRqst:
    case kCommandCopyrmtRqst:
      copy_fields(slot, command);
      command->requester = command->source;
      command->requester_node = segment.node_id();
      command->copy_destination_node = node_of(segment, command->copy_destination);
      if (command->kind == kCommandCopyinData) {
        const int64_t bytes = read_part(segment, index, command->source, command, payload);
        if (bytes < 0 && command->answers == 0) {
          finish_remote(segment, index, command->call_id, static_cast<int>(bytes));
          return false;
        }
        // Where parts are under way the other node ends it, when it has come to them.
        if (bytes < 0) command->result = static_cast<int32_t>(bytes);
      }
      return true;
    default:
      finish_remote(segment, index, command->call_id, -EDVSBADFRAME);
      return false;
  }
}

// An ack, or a leg of a copy, that a descriptor holds. Returns false when it became something else.
bool fill_from_descriptor(Segment& segment, uint32_t index, Command* command, uint8_t* payload) {
  ProcessSlot* slot = segment.slot(index);
  command->source = load(slot->command_endpoint);
  command->destination = load(slot->endpoint);
  command->result = load(slot->command_result);
  if (command->kind == (kCommandCopyoutRqst | kCommandAck)) {
    copy_fields(slot, command);
    if (command->result >= 0) {
      const int64_t bytes = read_part(segment, index, command->destination, command, payload);
      command->result = static_cast<int32_t>(bytes);
    }
  } else if (command->result == -EDVSMIGRATING) {
    command->copy_destination_node = place_told(segment, command->source);
  } else if (command->kind == kCommandCopyinRqst) {
    copy_fields(slot, command);
    command->requester = load(slot->endpoint);
    command->requester_node = load(slot->node);
    command->destination = command->copy_destination;
    const uint32_t word = atomic(slot->rendezvous).load();
    copy_out(&command->message, outbox_of(slot, sequence_of(word)));
    const int64_t bytes =
        read_payload(segment, command->requester, *command, 0, command->copy_bytes, payload);
    if (bytes < 0) {
      acknowledge(segment, index, kCommandCopyrmtRqst, command->copy_destination,
                  static_cast<int>(bytes));
      return false;
    }
    command->payload_bytes = static_cast<uint32_t>(bytes);
  }
  return true;
}

void note_taken(Segment& segment, uint32_t node, const Command& command) {
  LinkSlot* link = segment.link(node);
  add(link->sent, 1);
  add(link->sent_bytes, command.payload_bytes);
  if (is_traced(segment)) trace_command(segment, TraceKind::kLinkOut, node, command, 0);
}

}  // namespace

int get2rmt(Segment& segment, uint32_t node, Command* command, uint8_t* payload, bool short_only) {
  if (node >= segment.nodes()) return -EDVSBADNODEID;
  LinkSlot* link = segment.link(node);
  set_sleeping(link, kAwake);
  if (!link_is(link, LinkState::kUp)) return 0;
  for (bool again = false;;) {
    if (take_announcement(segment, node, command)) {
      note_taken(segment, node, *command);
      return 1;
    }
    const int found = oldest_command(segment, node, short_only);
    address_command(segment, node, command);
    if (migrates(segment) && take_migration_command(segment, node, ticket_of(segment, found),
                                                    short_only, command, payload)) {
      note_taken(segment, node, *command);
      return 1;
    }
    if (found < 0) return 0;
    const uint32_t index = static_cast<uint32_t>(found);
    ProcessSlot* slot = segment.slot(index);
    const bool remote = life_is(slot, ProcessLife::kRemote);
    // It may have sent by senda after that was looked for, and queued its command after that.
    if (!again && !remote && async_waits(segment, index, load(slot->command_endpoint))) {
      again = true;
      continue;
    }
    segment.link_queue(node).remove(index);
    DVK_CRASH_POINT("proxy.unqueued");
    if (remote && take_end(segment, index, node, command)) {
      DVK_CRASH_POINT("proxy.ended");
      note_taken(segment, node, *command);
      return 1;
    }
    uint32_t queued = static_cast<uint32_t>(CommandState::kQueued);
    if (!atomic(slot->command_state)
             .compare_exchange_strong(queued, static_cast<uint32_t>(CommandState::kTaken))) {
      continue;
    }
    DVK_CRASH_POINT("proxy.taken");
    address_command(segment, node, command);
    command->kind = load(slot->command_kind);
    command->call_id = load(slot->command_call_id);
    const bool filled = remote ? fill_from_descriptor(segment, index, command, payload)
                               : fill_from_local(segment, index, command, payload);
    // A caller that withdrew while its fields were read has changed this number.
    if (!filled || load(slot->command_call_id) != command->call_id) continue;
    if (life_is(slot, ProcessLife::kLocal) && load(slot->call_id) != command->call_id) continue;
    DVK_CRASH_POINT("proxy.filled");
    if (is_bulky(command->kind) &&
        segment.copy_parts().at(index, load(slot->endpoint), command->call_id) > 0) {
      queue_rest(segment, index, node);
    }
    note_taken(segment, node, *command);
    return 1;
  }
}

bool arm_proxy(Segment& segment, uint32_t node, bool short_only) {
  if (node >= segment.nodes()) return false;
  set_sleeping(segment.link(node), kOnFifo);
  // What waits for a link that is down is not to be taken.
  if (!link_is(segment.link(node), LinkState::kUp)) return false;
  if (!segment.announcements(node).empty()) return true;
  const bool migrating = migrates(segment);
  if (migrating && has_migration_command(segment, node, ~uint64_t{0}, short_only)) return true;
  if (short_only || migrating) return oldest_command(segment, node, short_only) >= 0;
  return !segment.link_queue(node).empty();
}

}  // namespace dvk
