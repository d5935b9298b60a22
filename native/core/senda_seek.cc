// Messages of senda, and notifications, whose receiver no binding here names; see search.h.

#include <errno.h>
#include <string.h>

#include "async_entry.h"
#include "link.h"
#include "migrate.h"
#include "notify.h"
#include "privilege.h"
#include "search.h"

namespace dvk {
namespace {

// What a search for the receiver of an entry goes by; calls have their own numbers.
constexpr uint32_t kSought = 1u << 31;

uint32_t search_id(uint32_t index, uint32_t sequence) {
  return static_cast<uint32_t>(id_of(index, sequence)) | kSought;
}

// Its receiver is bound, in `target`. A crash in the middle leaves it to be done again: to be in a
// set twice is nothing, and notifications merge.
void send_on(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& word,
             uint32_t target) {
  const int32_t destination = load(entry->destination);
  const bool remote = is_remote(segment, target);
  const int reachable = remote ? check_link(segment, load(segment.slot(target)->node)) : 0;
  const bool denied = !remote && !takes_from(segment, target, sender);
  if (reachable != 0 || denied) {
    end_async(segment, sender, entry, word, denied ? ECALLDENIED : -reachable);
  } else if (is_notice(entry)) {
    Message notice;
    copy_out(&notice, &entry->message);
    uint32_t value;
    memcpy(&value, notice.payload, sizeof value);
    leave_notice(segment, sender, destination, target, value);
    end_async(segment, sender, entry, word, 0);
  } else if (!remote) {
    offer(segment, sender, entry, word, destination);
  } else {
    segment.async_senders(target).add(sender);
    announce_for(segment, target);
  }
}

}  // namespace

int32_t post_sought(Process& process, int32_t destination, const Message& message, uint32_t flags) {
  Segment& segment = process.segment;
  Posted posted;
  const int error = post_entry(process, destination, message, flags, &posted);
  if (error != 0) return error;
  segment.bind_waiters().add(process.index);
  // Who bound the receiver meanwhile did not see it.
  Search search;
  if (seek_asyncs(segment, process.index, &search)) call_tracker(segment);
  return posted.id;
}

int post_notice(Process& process, int32_t destination, uint32_t value) {
  Message message{};
  memcpy(message.payload, &value, sizeof value);
  const uint32_t flags = flag(AsyncFlag::kForget) | kAsyncNotice;
  const int32_t id = post_sought(process, destination, message, flags);
  return id < 0 ? id : 0;
}

bool seek_asyncs(Segment& segment, uint32_t sender, Search* search) {
  if (is_descriptor(segment, sender)) return false;
  return each_busy(segment, sender, [&](uint32_t index, AsyncSlot* entry) {
    const AsyncWord word = word_of(entry);
    if (word.state != AsyncState::kWaiting) return false;
    const int32_t destination = load(entry->destination);
    uint32_t target;
    const int error = find_endpoint(segment, destination, &target);
    if (error == 0) {
      const bool sent = !is_notice(entry) && segment.async_senders(target).has(sender);
      if (!sent) send_on(segment, sender, entry, word, target);
      return false;
    }
    if (error != -EDVSMIGRATING && !can_search(segment, destination)) {
      end_async(segment, sender, entry, word, -absent_error(segment, destination));
      return false;
    }
    const uint32_t slot = static_cast<uint32_t>(segment.slot_of(destination));
    *search = {.seeker = load(segment.slot(sender)->endpoint),
               .call_id = search_id(index, word.sequence),
               .slot = slot,
               .endpoint = destination,
               .home = home_of(segment, slot)};
    return true;
  });
}

bool end_sought(Segment& segment, uint32_t sender, uint32_t call_id, int error) {
  const bool found = each_busy(segment, sender, [&](uint32_t index, AsyncSlot* entry) {
    const AsyncWord word = word_of(entry);
    if (search_id(index, word.sequence) != call_id || word.state != AsyncState::kWaiting) {
      return false;
    }
    uint32_t target;
    // Found after all, by somebody else.
    const bool bound = find_endpoint(segment, load(entry->destination), &target) != -EDEADSRCDST;
    return !bound && end_async(segment, sender, entry, word, error);
  });
  Search more;
  if (found && seek_asyncs(segment, sender, &more)) call_tracker(segment);
  return found;
}

void fail_sought(Segment& segment, uint32_t sender, int error) {
  each_busy(segment, sender, [&](uint32_t, AsyncSlot* entry) {
    const AsyncWord word = word_of(entry);
    uint32_t target;
    const bool looks = word.state == AsyncState::kWaiting &&
                       find_endpoint(segment, load(entry->destination), &target) == -EDEADSRCDST;
    if (looks) end_async(segment, sender, entry, word, error);
    return false;
  });
}

}  // namespace dvk
