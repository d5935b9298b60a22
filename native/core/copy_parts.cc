// The sender's side of copies in parts. The receiver's is in deliver.cc.

#include "copy_parts.h"

#include <errno.h>

#include <algorithm>

#include "link.h"
#include "rendezvous.h"

namespace dvk {

int64_t read_payload(Segment& segment, int32_t requester, const Command& command, uint64_t at,
                     uint64_t bytes, uint8_t* payload) {
  if (bytes > kCopyChunkBytes) return -ERANGE;
  const CopyParty source{command.copy_source, command.copy_source_grant,
                         command.copy_source_at + at};
  return copy_end(proxy_copier(segment), {requester, source, GrantRight::kRead}, payload, bytes);
}

int64_t read_part(Segment& segment, uint32_t index, int32_t endpoint, Command* command,
                  uint8_t* payload) {
  CopyParts& parts = segment.copy_parts();
  const uint64_t total = command->copy_bytes;
  if (total > kCopyWindowBytes) return -ERANGE;
  uint64_t at = parts.at(index, endpoint, command->call_id);
  if (at >= total) at = 0;
  const bool cuts = load(segment.link(command->destination_node)->copies_in_parts) != 0;
  const uint64_t rest = total - at;
  const uint64_t wanted = cuts ? std::min(rest, part_bytes(total)) : rest;
  const int64_t bytes = read_payload(segment, endpoint, *command, at, wanted, payload);
  const bool more = bytes >= 0 && wanted < rest;
  parts.set(index, segment.processes(), endpoint, command->call_id, more ? at + wanted : 0);
  command->answers = static_cast<uint32_t>(at);
  command->payload_bytes = bytes < 0 ? 0 : static_cast<uint32_t>(bytes);
  return bytes;
}

void queue_rest(Segment& segment, uint32_t index, uint32_t node) {
  ProcessSlot* slot = segment.slot(index);
  uint32_t taken = static_cast<uint32_t>(CommandState::kTaken);
  store(slot->ticket, segment.next_ticket());
  if (!atomic(slot->command_state)
           .compare_exchange_strong(taken, static_cast<uint32_t>(CommandState::kQueued))) {
    return;
  }
  DVK_CRASH_POINT("proxy.part");
  segment.link_queue(node).add(index);
}

}  // namespace dvk
