#include "departures.h"

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "call.h"
#include "notify.h"
#include "process.h"
#include "rendezvous.h"

namespace dvk {
namespace {

uint64_t departures(const Segment& segment) {
  return atomic(segment.header()->departures).load();
}

DepartureSlot* record_of(const Segment& segment, uint64_t number) {
  return segment.departure((number - 1) % kDepartures);
}

// Writes the next record. Whoever dies in here leaves one that the next one overwrites.
void record(Segment& segment, uint32_t index, int32_t endpoint, int32_t status) {
  ProcessSlot* slot = segment.slot(index);
  const uint64_t number = departures(segment) + 1;
  DepartureSlot* departure = record_of(segment, number);
  atomic(departure->number).store(0);
  store(departure->endpoint, endpoint);
  store(departure->pid, load(slot->pid));
  store(departure->status, status);
  store(departure->level, load(slot->level));
  uint64_t words[2];
  char name[kNameBytes];
  get_name(name, slot->name);
  memcpy(words, name, sizeof words);
  uint64_t* shared = reinterpret_cast<uint64_t*>(departure->name);
  store(shared[0], words[0]);
  store(shared[1], words[1]);
  atomic(departure->number).store(number);
  atomic(segment.header()->departures).store(number);
}

// Whether there is a record of the endpoint. One that was not counted is counted now.
bool has_record(Segment& segment, int32_t endpoint) {
  const uint64_t count = departures(segment);
  for (uint64_t i = 0; i < kDepartures; i++) {
    DepartureSlot* departure = segment.departure(i);
    const uint64_t number = load(departure->number);
    if (number == 0 || load(departure->endpoint) != endpoint) continue;
    if (number == count + 1) atomic(segment.header()->departures).store(number);
    return true;
  }
  return false;
}

}  // namespace

void note_departure(Segment& segment, uint32_t index, int32_t endpoint, int32_t status,
                    bool again) {
  if (!again || !has_record(segment, endpoint)) record(segment, index, endpoint, status);
  SegmentHeader* header = segment.header();
  const int32_t warned = load(header->warned);
  if (warned != kEndpointNone) notify_kernel(segment, warned, load(header->warning));
}

int set_warned(Segment& segment, int32_t endpoint, uint32_t value) {
  SegmentHeader* header = segment.header();
  if (endpoint != kEndpointNone) {
    uint32_t index;
    const int error = check_endpoint(segment, endpoint, &index);
    if (error != 0) return error;
    if (is_remote(segment, index)) return -EDVSRMTPROC;
  }
  store(header->warning, value);
  atomic(header->warned).store(endpoint);
  return 0;
}

bool find_departure(const Segment& segment, uint64_t number, Departure* departure) {
  const uint64_t count = departures(segment);
  const uint64_t oldest = count > kDepartures ? count - kDepartures + 1 : 1;
  for (uint64_t at = std::max(number, oldest); at <= count && at >= oldest; at++) {
    DepartureSlot* found = record_of(segment, at);
    if (atomic(found->number).load() != at) continue;
    *departure = {.number = at,
                  .endpoint = load(found->endpoint),
                  .pid = load(found->pid),
                  .status = load(found->status),
                  .level = load(found->level),
                  .name = {}};
    get_name(departure->name, found->name);
    // Another one may have taken its place meanwhile.
    if (atomic(found->number).load() == at) return true;
  }
  return false;
}

}  // namespace dvk
