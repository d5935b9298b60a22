// A DC's segment: one memory-backed file per (node, DC), mapped by every process of the DC on that
// node.
//
//   | header | process slots | grants | senders | notices | asyncs | async senders | links |
//   link queues | announcements | extents | copy orders | privileges | notice values | trace |
//   migrations | arena | stages | trace events |
//
// The file may be scribbled on by any member. The geometry is read once, checked against the file's
// size and kept in private memory; every index read later is checked against it, so a bad segment
// makes calls fail and cannot make this process touch memory outside the mapping.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi.gen.h"
#include "copy_parts.h"
#include "crash_point.h"

namespace dvk {

// Whose notifications have a value: processes in fixed slots, and KERNEL. A row is whole cache
// lines.
inline constexpr uint32_t kKernelSource = static_cast<uint32_t>(kSystemProcesses);
inline constexpr uint32_t kNoticeSources = kKernelSource + 8;

struct SegmentOptions {
  uint32_t dc_id = 0;
  uint32_t node_id = 0;
  uint32_t processes = kProcessesDefault;  // multiple of 64, kSystemProcesses + 64 to kProcessesMax
  uint32_t nodes = kNodesDefault;          // 1 to kNodesMax
  uint64_t arena_bytes = kArenaBytesDefault;
  const char* dc_name = "";
  const char* dvs_name = "";
  uint32_t first_generation =
      0;  // of every slot; random where a node may come back under the same name
  // Who may write the file is a member of the DC, and can do to the others what the owner can.
  uint32_t mode = 0600;
};

// A set of slots that many processes add to and one process takes from: a bitmap with a summary
// above it.
//
// A member sets the slot's bit, then the bit of that word in the summary. Anyone may remove a
// member, but only the taker clears summary bits, when it finds an empty word, and it looks at the
// word again after. Were others to do that, one stopped in between would hide members from a taker
// about to sleep. The set holds no pointers: any content is a valid set.
class SlotSet {
 public:
  SlotSet(uint64_t* words, uint32_t slots) : words_(words), slots_(slots) {}
  static uint64_t bytes(uint32_t slots);
  void add(uint32_t slot);
  void remove(uint32_t slot);
  // Whether the taker sees the member; `has_bit` is true also of one that is just being added.
  bool has(uint32_t slot) const {
    return has_bit(slot) && (summary(slot / 4096).load() >> slot / 64 % 64 & 1) != 0;
  }
  bool has_bit(uint32_t slot) const {
    return (word(slot / 64).load() >> slot % 64 & 1) != 0;
  }
  // Calls visit(slot) for each bit that is set; changes nothing.
  template <typename Visit>
  void each_bit(Visit visit) const;
  // For the taker only, like `each`.
  bool empty() const;
  // Calls visit(slot) for each member in rising order until it returns true; returns whether it
  // did. For the taker only.
  template <typename Visit>
  bool each(Visit visit) const;

 private:
  uint32_t word_count() const {
    return slots_ / 64;
  }
  SharedField<uint64_t> summary(uint32_t index) const {
    return SharedField<uint64_t>(words_[index]);
  }
  SharedField<uint64_t> word(uint32_t index) const {
    return SharedField<uint64_t>(words_[summary_words() + index]);
  }
  uint32_t summary_words() const {
    return (word_count() + 63) / 64;
  }
  // Clears the summary bit of an empty word. Returns the word's members that came meanwhile.
  uint64_t prune(uint32_t index) const;

  uint64_t* words_;
  uint32_t slots_;
};

class WakesPutOff;

// Gives pages of a segment their memory, so that touching them cannot fail later. Returns 0,
// -EINVAL (Linux before 5.14, which cannot say), or -ENOMEM.
int populate(void* pages, uint64_t bytes);

class Segment {
 public:
  // Creates the file, which must not exist, and fills in the tables. They get their memory at once,
  // some 7 MiB with 1024 slots. Returns 0 or -errno; -ENOSPC when the file system is full.
  static int create(const char* path, const SegmentOptions& options);
  // Maps an existing segment. Returns 0, -errno, or -EDVSBADSEGMENT with `reason` naming what is
  // wrong.
  static int open(const char* path, Segment** segment, std::string* reason);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  uint32_t processes() const {
    return processes_;
  }
  uint32_t nodes() const {
    return nodes_;
  }
  uint32_t node_id() const {
    return node_id_;
  }
  uint32_t dc_id() const {
    return dc_id_;
  }
  uint64_t arena_bytes() const {
    return arena_bytes_;
  }
  uint64_t bytes() const {
    return bytes_;
  }
  const std::string& directory() const {
    return directory_;
  }  // where the wake FIFOs are

  SegmentHeader* header() const {
    return reinterpret_cast<SegmentHeader*>(base_);
  }
  // Preconditions of the accessors: index < processes(), nodes(), kGrants or kExtents.
  ProcessSlot* slot(uint32_t index) const {
    return slots_ + index;
  }
  GrantSlot* grant(uint32_t slot_index, uint32_t index) const {
    return grants_ + slot_index * kGrants + index;
  }
  SlotSet senders(uint32_t index) const {
    return set(senders_, index);
  }
  SlotSet notices(uint32_t index) const {
    return set(notices_, index);
  }
  // The messages of senda of a process, and the set of slots that have some for it.
  AsyncSlot* async(uint32_t slot_index, uint32_t index) const {
    return asyncs_ + slot_index * kAsyncs + index;
  }
  SlotSet async_senders(uint32_t index) const {
    return set(async_senders_, index);
  }
  LinkSlot* link(uint32_t node) const {
    return links_ + node;
  }
  SlotSet link_queue(uint32_t node) const {
    return set(link_queues_, node);
  }
  SlotSet announcements(uint32_t node) const {
    return set(announcements_, node);
  }
  Extent* extent(uint32_t index) const {
    return extents_ + index;
  }
  CopyOrder* copy_order(uint32_t index) const {
    return orders_ + index;
  }
  // kStageBytes through which the process of a slot moves its memory.
  uint8_t* stage(uint32_t index) const {
    return stages_ + uint64_t{index} * kStageBytes;
  }
  // Whether nobody but its owner may write the file.
  bool owner_only() const {
    return owner_only_;
  }
  PrivilegeSlot* privilege(uint32_t index) const {
    return privileges_ + index;
  }
  // Processes of this node that wait for a bind: the row of announcements that this node's own
  // number has, since a node announces nothing to itself.
  SlotSet bind_waiters() const {
    return announcements(node_id_);
  }
  // Processes of this node that sleep until one of another node answers or sends: the row of link
  // queues that this node's own number has. Some wait no more; the proxy takes those out.
  SlotSet remote_waiters() const {
    return link_queue(node_id_);
  }
  // The value of the notification that `source`, a fixed slot or kKernelSource, left with
  // `receiver`; see notify.h.
  uint64_t& notice_value(uint32_t receiver, uint32_t source) const {
    return notice_values_[receiver * kNoticeSources + source];
  }
  // See migrate.h. Preconditions: index < kSystemProcesses.
  MigrationSlot* migration(uint32_t index) const {
    return migrations_ + index;
  }
  // See departures.h. Preconditions: index < kDepartures.
  DepartureSlot* departure(uint64_t index) const {
    return departures_ + index;
  }
  // See trace.h. `ring` is a slot, or processes() for the links.
  TraceHeader* trace() const {
    return trace_;
  }
  TraceWatcher* trace_watcher(uint32_t index) const {
    return reinterpret_cast<TraceWatcher*>(trace_ + 1) + index;
  }
  TraceRing* trace_ring(uint32_t ring) const {
    return reinterpret_cast<TraceRing*>(trace_watcher(kTraceWatchers)) + ring;
  }
  TraceEvent* trace_events(uint32_t ring) const {
    return trace_events_ + uint64_t{ring} * kTraceEvents;
  }
  uint8_t* arena() const {
    return arena_;
  }
  uint8_t* base() const {
    return base_;
  }

  // Whether [offset, offset + bytes) of the arena may be touched: gives pages that have none yet
  // their memory. False where there is no more, and a touch would end this process with SIGBUS.
  // Preconditions: the range is in the arena.
  bool back_arena(uint64_t offset, uint64_t bytes);

  // Of the proxy, when this process is that.
  CopyParts& copy_parts() {
    return copy_parts_;
  }

  // Of this process; see wait.h.
  WakesPutOff* wakes_put_off() const {
    return wakes_put_off_;
  }
  void put_off_wakes(WakesPutOff* wakes) {
    wakes_put_off_ = wakes;
  }

  bool running() const;
  // Touches the last of the tables: where the file has them no longer, they end now (lost_pages.h).
  void touch_tables() const {
    (void)*static_cast<const volatile uint8_t*>(arena_ - 1);
  }
  // The slot of `endpoint` when it is in range, else -1; says nothing about who owns it.
  int slot_of(int32_t endpoint) const;
  // Dynamic slots that belong to `node`: [first, last).
  void slot_range(uint32_t node, uint32_t* first, uint32_t* last) const;
  uint64_t next_ticket() const;

 private:
  Segment() = default;
  SlotSet set(uint8_t* table, uint32_t index) const {
    return SlotSet(reinterpret_cast<uint64_t*>(table + index * set_bytes_), processes_);
  }

  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  uint32_t processes_ = 0, nodes_ = 0, node_id_ = 0, dc_id_ = 0;
  uint64_t arena_bytes_ = 0, set_bytes_ = 0;
  ProcessSlot* slots_ = nullptr;
  GrantSlot* grants_ = nullptr;
  uint8_t *senders_ = nullptr, *notices_ = nullptr, *link_queues_ = nullptr,
          *announcements_ = nullptr, *async_senders_ = nullptr;
  AsyncSlot* asyncs_ = nullptr;
  LinkSlot* links_ = nullptr;
  Extent* extents_ = nullptr;
  CopyOrder* orders_ = nullptr;
  PrivilegeSlot* privileges_ = nullptr;
  uint64_t* notice_values_ = nullptr;
  MigrationSlot* migrations_ = nullptr;
  DepartureSlot* departures_ = nullptr;
  TraceHeader* trace_ = nullptr;
  TraceEvent* trace_events_ = nullptr;
  uint8_t *arena_ = nullptr, *stages_ = nullptr;
  std::vector<std::atomic<uint64_t>> arena_backed_;  // a bit for each block that has its memory
  bool owner_only_ = false;
  std::string directory_;
  CopyParts copy_parts_;
  WakesPutOff* wakes_put_off_ = nullptr;
};

template <typename Visit>
bool SlotSet::each(Visit visit) const {
  for (uint32_t s = 0; s < summary_words(); s++) {
    // Sequentially consistent, since a taker looks here after it opened its rendezvous word.
    for (uint64_t outer = summary(s).load(); outer; outer &= outer - 1) {
      const uint32_t w = s * 64 + static_cast<uint32_t>(__builtin_ctzll(outer));
      if (w >= word_count()) break;
      uint64_t inner = word(w).load();
      if (inner == 0) inner = prune(w);
      for (; inner; inner &= inner - 1) {
        if (visit(w * 64 + static_cast<uint32_t>(__builtin_ctzll(inner)))) return true;
      }
    }
  }
  return false;
}

template <typename Visit>
void SlotSet::each_bit(Visit visit) const {
  for (uint32_t w = 0; w < word_count(); w++) {
    for (uint64_t members = word(w).load(); members; members &= members - 1) {
      visit(w * 64 + static_cast<uint32_t>(__builtin_ctzll(members)));
    }
  }
}

// Endpoint = slot in the low 16 bits, generation in the 15 above, as in MINIX's endpoint.h: a
// slot's next owner has another generation, so an endpoint kept too long reaches nobody. Generation
// 0 makes endpoint and slot equal.
inline int32_t make_endpoint(uint32_t slot, uint32_t generation) {
  return static_cast<int32_t>((generation % (kGenerationMax + 1)) << 16 | slot);
}

inline uint32_t generation_of(int32_t endpoint) {
  return static_cast<uint32_t>(endpoint) >> 16;
}

template <typename T>
SharedField<T> atomic(T& field) {
  return SharedField<T>(field);
}

}  // namespace dvk
