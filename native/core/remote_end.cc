#include "remote_end.h"

#include "link.h"
#include "migrate.h"

namespace dvk {

bool end_remote(Segment& segment, uint32_t descriptor, uint32_t word, uint32_t ended) {
  ProcessSlot* slot = segment.slot(descriptor);
  store(slot->ticket, segment.next_ticket());
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, ended)) return false;
  DVK_CRASH_POINT("far.ended");
  tell_of_end(segment, descriptor);
  return true;
}

void tell_of_end(Segment& segment, uint32_t descriptor) {
  const uint32_t node = load(segment.slot(descriptor)->node);
  if (node >= segment.nodes()) return;
  segment.link_queue(node).add(descriptor);
  DVK_CRASH_POINT("far.queued");
  tell_proxy(segment, node);
}

bool send_anew(Segment& segment, uint32_t index, uint32_t word) {
  ProcessSlot* sender = segment.slot(index);
  // Nobody takes from the queue of a process that has stopped.
  if (!life_is(sender, ProcessLife::kRemote)) return kick(segment, sender, word);
  return end_remote(segment, index, word, with_state(word, State::kError, EDVSMIGRATING));
}

bool take_end(Segment& segment, uint32_t descriptor, uint32_t node, Command* command) {
  ProcessSlot* slot = segment.slot(descriptor);
  uint32_t word = atomic(slot->rendezvous).load();
  if (!has_ended(word)) return false;
  if (load(slot->node) != node) {
    // It has moved since.
    tell_of_end(segment, descriptor);
    return false;
  }
  command->source = load(slot->want_source);
  command->destination = load(slot->endpoint);
  command->call_id = load(slot->call_id);
  command->kind = load(slot->remote_call) | kCommandAck;
  switch (state_of(word)) {
    case State::kFull:
    case State::kFullNotify: {
      const bool relays = state_of(word) == State::kFullNotify;
      command->kind = static_cast<uint32_t>(relays ? kCommandRelayMsg : kCommandReplyMsg);
      copy_out(&command->message, inbox_of(slot, sequence_of(word)));
      // Of a relay it is the next server.
      if (!relays) command->message.source = command->source;
      break;
    }
    case State::kError:
      command->result = -static_cast<int32_t>(peer_of(word));
      if (command->result == -EDVSMIGRATING) {
        command->copy_destination_node = place_told(segment, command->source);
      }
      break;
    default:
      break;
  }
  return atomic(slot->rendezvous)
      .compare_exchange_strong(word, pack(State::kIdle, sequence_of(word), 0));
}

bool takes_data(ProcessSlot* slot) {
  if (!is_bulky(load(slot->command_kind))) return false;
  return life_is(slot, ProcessLife::kLocal) || !has_ended(atomic(slot->rendezvous).load());
}

int32_t party_of(ProcessSlot* descriptor) {
  const bool ended = has_ended(atomic(descriptor->rendezvous).load());
  return ended ? load(descriptor->want_source) : load(descriptor->command_endpoint);
}

}  // namespace dvk
