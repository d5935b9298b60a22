// Announcements: what a node tells another one beside the commands of calls. Which processes are
// bound and which are gone; and for a process of the other node its notifications, and messages of
// senda with their acks. A set of slots for each node says of whom there is something to tell.

#include <string.h>

#include "link.h"
#include "migrate.h"
#include "notify.h"
#include "remote_end.h"
#include "rendezvous.h"
#include "senda.h"

namespace dvk {

void announce_for(Segment& segment, uint32_t descriptor) {
  const uint32_t node = load(segment.slot(descriptor)->node);
  if (node >= segment.nodes()) return;
  segment.announcements(node).add(descriptor);
  DVK_CRASH_POINT("announce.added");
  tell_proxy(segment, node);
}

void announce(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const bool local = life_is(slot, ProcessLife::kLocal) || life_is(slot, ProcessLife::kArriving);
  // A client makes itself known by its first call; its end is told to all.
  if (local && load(slot->level) == static_cast<uint32_t>(ProcessLevel::kUser)) return;
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    if (!link_is(segment.link(node), LinkState::kUp)) continue;
    segment.announcements(node).add(index);
    tell_proxy(segment, node);
  }
}

namespace {

// The first notification for a process of the other node. Returns false when there is none.
bool take_remote_notice(Segment& segment, uint32_t node, uint32_t target, Command* command) {
  SlotSet notices = segment.notices(target);
  const bool found = notices.each([&](uint32_t source) {
    notices.remove(source);
    const int32_t endpoint = load(segment.slot(source)->endpoint);
    if (endpoint == kEndpointNone) return false;
    address_command(segment, node, command);
    command->kind = kCommandNtfyMsg;
    command->source = endpoint;
    command->destination = load(segment.slot(target)->endpoint);
    const uint32_t value = take_notice_value(segment, target, command->destination, source);
    memcpy(command->message.payload, &value, sizeof value);
    return true;
  });
  // There may be more, and messages of senda behind it, which were announced by the same bit.
  if (found || !notices.empty()) segment.announcements(node).add(target);
  return found;
}

// Whether the process in `index` is one of `node`.
bool is_of(Segment& segment, uint32_t index, uint32_t node) {
  ProcessSlot* slot = segment.slot(index);
  return life_is(slot, ProcessLife::kRemote) && load(slot->node) == node;
}

// Whether an answer of a former owner of the slot in `index` waits for `node`. Were the news of its
// end to come before it, who waits for the answer would be told that there will be none. Data of a
// copy goes in a lane of its own.
bool owes_answers(Segment& segment, uint32_t node, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const int32_t owner = life_is(slot, ProcessLife::kLocal) ? load(slot->endpoint) : kEndpointNone;
  const auto is_former = [&](int32_t endpoint) {
    return segment.slot_of(endpoint) == static_cast<int>(index) && endpoint != owner;
  };
  bool found = false;
  segment.link_queue(node).each_bit([&](uint32_t i) {
    ProcessSlot* queued = segment.slot(i);
    if (life_is(queued, ProcessLife::kRemote) && !takes_data(queued) &&
        is_former(party_of(queued))) {
      found = true;
    }
  });
  segment.announcements(node).each_bit([&](uint32_t i) {
    if (is_of(segment, i, node) && has_async_ack(segment, i, index, owner)) found = true;
  });
  return found;
}

}  // namespace

bool take_announcement(Segment& segment, uint32_t node, Command* command) {
  SlotSet announcements = segment.announcements(node);
  return announcements.each([&](uint32_t index) {
    // Who arrives is told of once it is here.
    if (life_is(segment.slot(index), ProcessLife::kArriving)) return false;
    const bool binding = !life_is(segment.slot(index), ProcessLife::kRemote);
    if (binding && owes_answers(segment, node, index)) return false;
    announcements.remove(index);
    DVK_CRASH_POINT("proxy.announced");
    ProcessSlot* slot = segment.slot(index);
    if (life_is(slot, ProcessLife::kRemote)) {
      if (load(slot->node) != node) return false;
      const bool held = is_held(segment, index);
      if (!held && take_remote_notice(segment, node, index, command)) return true;
      address_command(segment, node, command);
      return take_remote_async(segment, index, held, command);
    }
    address_command(segment, node, command);
    const uint32_t level = load(slot->level);
    if (life_is(slot, ProcessLife::kLocal) && level != static_cast<uint32_t>(ProcessLevel::kUser)) {
      command->kind = kCommandProcbind;
      command->source = load(slot->endpoint);
      command->level = level;
      get_name(command->name, slot->name);
      return true;
    }
    // The slot's last owner is gone, whoever has it now.
    const uint32_t before = load(slot->generation) + static_cast<uint32_t>(kGenerationMax);
    command->kind = kCommandProcunbind;
    command->source = make_endpoint(index, before);
    return true;
  });
}

}  // namespace dvk
