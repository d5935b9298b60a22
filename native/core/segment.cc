#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "lost_pages.h"

namespace dvk {
namespace {

constexpr uint64_t kMagic = 0x004745532d4b5644;  // "DVK-SEG\0"
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kArenaBytesMax = uint64_t{1} << 40;
// What of the arena is given its memory at a time, and remembered to have it.
constexpr uint64_t kBlockBytes = 65536;

// Where each table begins; a function of the limits alone, so that no offset is read from the file.
struct Geometry {
  uint64_t slots, grants, senders, notices, asyncs, async_senders, links, link_queues,
      announcements, extents, orders, privileges, notice_values, trace, migrations, departures,
      arena, stages, trace_events, bytes, set_bytes;
};

uint64_t page_up(uint64_t bytes) {
  return (bytes + kPageBytes - 1) & ~(kPageBytes - 1);
}

Geometry geometry(uint64_t processes, uint64_t nodes, uint64_t arena_bytes) {
  Geometry g{};
  g.set_bytes = SlotSet::bytes(static_cast<uint32_t>(processes));
  uint64_t at = kPageBytes;
  const auto place = [&at](uint64_t bytes) {
    const uint64_t start = at;
    at = page_up(at + bytes);
    return start;
  };
  g.slots = place(processes * sizeof(ProcessSlot));
  g.grants = place(processes * kGrants * sizeof(GrantSlot));
  g.senders = place(processes * g.set_bytes);
  g.notices = place(processes * g.set_bytes);
  g.asyncs = place(processes * kAsyncs * sizeof(AsyncSlot));
  g.async_senders = place(processes * g.set_bytes);
  g.links = place(nodes * sizeof(LinkSlot));
  g.link_queues = place(nodes * g.set_bytes);
  g.announcements = place(nodes * g.set_bytes);
  g.extents = place(kExtents * sizeof(Extent));
  g.orders = place(processes * sizeof(CopyOrder));
  g.privileges = place(processes * sizeof(PrivilegeSlot));
  g.notice_values = place(processes * kNoticeSources * sizeof(uint64_t));
  const uint64_t rings = processes + 1;
  g.trace = place(sizeof(TraceHeader) + kTraceWatchers * sizeof(TraceWatcher) +
                  rings * sizeof(TraceRing));
  g.migrations = place(kSystemProcesses * sizeof(MigrationSlot));
  g.departures = place(kDepartures * sizeof(DepartureSlot));
  g.arena = place(arena_bytes);
  g.stages = place(processes * kStageBytes);
  g.trace_events = place(rings * kTraceEvents * sizeof(TraceEvent));
  g.bytes = at;
  return g;
}

// Why the limits cannot be used, or null.
const char* bad_limits(uint64_t processes, uint64_t nodes, uint64_t arena_bytes) {
  if (processes % 64 != 0 || processes < kSystemProcesses + 64 || processes > kProcessesMax) {
    return "the number of process slots is out of range";
  }
  if (nodes < 1 || nodes > kNodesMax) return "the number of nodes is out of range";
  if (arena_bytes % kPageBytes != 0 || arena_bytes > kArenaBytesMax) {
    return "the arena's size is out of range";
  }
  return nullptr;
}

void copy_name(char (&target)[kNameBytes], const char* name) {
  memset(target, 0, sizeof target);
  memcpy(target, name, std::min(strlen(name), sizeof target - 1));
}

// Gives the file its size, and its tables their memory: where there is none left, the creation
// fails, and nobody who touches a table later dies of SIGBUS. The arena, the stages and the rings
// of the trace get theirs when they are used, from who can say that there is none.
int reserve(int fd, const Geometry& g) {
  if (ftruncate(fd, static_cast<off_t>(g.bytes)) != 0) return -errno;
  int error;
  do {
    error = posix_fallocate(fd, 0, static_cast<off_t>(g.arena));
  } while (error == EINTR);
  return -error;
}

int fill(uint8_t* base, const Geometry& g, const SegmentOptions& options) {
  SegmentHeader* header = reinterpret_cast<SegmentHeader*>(base);
  header->abi_version = kAbiVersion;
  header->byte_order = kByteOrder;
  header->segment_bytes = g.bytes;
  if (getrandom(&header->incarnation, sizeof header->incarnation, 0) < 0) return -errno;
  header->dc_id = options.dc_id;
  header->node_id = options.node_id;
  header->processes = options.processes;
  header->nodes = options.nodes;
  header->arena_bytes = options.arena_bytes;
  copy_name(header->dc_name, options.dc_name);
  copy_name(header->dvs_name, options.dvs_name);
  header->state = 1;
  header->ticket = 1;
  header->warned = kEndpointNone;
  ProcessSlot* slots = reinterpret_cast<ProcessSlot*>(base + g.slots);
  for (uint32_t i = 0; i < options.processes; i++) {
    slots[i].endpoint = kEndpointNone;
    slots[i].want_source = kEndpointNone;
    slots[i].generation = options.first_generation % (kGenerationMax + 1);
  }
  LinkSlot* links = reinterpret_cast<LinkSlot*>(base + g.links);
  links[options.node_id].state = static_cast<uint32_t>(LinkState::kLocal);
  // The magic comes last: a file without it was not finished.
  DVK_CRASH_POINT("create.filled");
  atomic(header->magic).store(kMagic, std::memory_order_release);
  return 0;
}

}  // namespace

uint64_t SlotSet::bytes(uint32_t slots) {
  const uint64_t words = slots / 64;
  return ((words + (words + 63) / 64) * 8 + 63) & ~uint64_t{63};
}

void SlotSet::add(uint32_t slot) {
  const uint32_t w = slot / 64;
  word(w).fetch_or(uint64_t{1} << slot % 64);
  DVK_CRASH_POINT("set.added");
  summary(w / 64).fetch_or(uint64_t{1} << w % 64);
}

void SlotSet::remove(uint32_t slot) {
  word(slot / 64).fetch_and(~(uint64_t{1} << slot % 64));
}

uint64_t SlotSet::prune(uint32_t index) const {
  const uint64_t bit = uint64_t{1} << index % 64;
  summary(index / 64).fetch_and(~bit);
  DVK_CRASH_POINT("set.pruned");
  const uint64_t members = word(index).load();
  if (members != 0) summary(index / 64).fetch_or(bit);
  return members;
}

bool SlotSet::empty() const {
  return !each([](uint32_t) { return true; });
}

int Segment::create(const char* path, const SegmentOptions& options) {
  if (bad_limits(options.processes, options.nodes, options.arena_bytes) != nullptr ||
      options.node_id >= options.nodes) {
    return -EINVAL;
  }
  const Geometry g = geometry(options.processes, options.nodes, options.arena_bytes);
  const int fd = ::open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, options.mode);
  if (fd < 0) return -errno;
  int result = fchmod(fd, options.mode) == 0 ? reserve(fd, g) : -errno;
  if (result == 0) {
    void* base = mmap(nullptr, g.arena, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
      result = -errno;
    } else {
      result = fill(static_cast<uint8_t*>(base), g, options);
      munmap(base, g.arena);
    }
  }
  close(fd);
  if (result != 0) unlink(path);
  return result;
}

int Segment::open(const char* path, Segment** segment, std::string* reason) {
  const auto bad = [reason](const char* why) {
    *reason = why;
    return -EDVSBADSEGMENT;
  };
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat status;
  SegmentHeader header;
  if (fstat(fd, &status) != 0 || pread(fd, &header, sizeof header, 0) != sizeof header) {
    close(fd);
    return bad("the file is too short to be a segment");
  }
  const char* limits = bad_limits(header.processes, header.nodes, header.arena_bytes);
  const char* why = nullptr;
  if (header.magic != kMagic) {
    why = "the file is no segment, or its creation was cut short";
  } else if (header.byte_order != kByteOrder) {
    why = "the segment was made on a machine of another byte order";
  } else if (header.abi_version != kAbiVersion) {
    why = "the segment was made by another version of dvk; restart its node";
  } else if (limits != nullptr) {
    why = limits;
  } else if (header.node_id >= header.nodes) {
    why = "the segment names a node beyond its own table";
  }
  if (why != nullptr) {
    close(fd);
    return bad(why);
  }
  const Geometry g = geometry(header.processes, header.nodes, header.arena_bytes);
  if (header.segment_bytes != g.bytes || static_cast<uint64_t>(status.st_size) != g.bytes) {
    close(fd);
    return bad("the file's size does not fit its tables");
  }
  void* base = mmap(nullptr, g.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return -error;
  }
  guard_pages(base, g.bytes, fd);

  Segment* s = new Segment();
  s->base_ = static_cast<uint8_t*>(base);
  s->bytes_ = g.bytes;
  s->processes_ = header.processes;
  s->nodes_ = header.nodes;
  s->node_id_ = header.node_id;
  s->dc_id_ = header.dc_id;
  s->arena_bytes_ = header.arena_bytes;
  s->set_bytes_ = g.set_bytes;
  s->slots_ = reinterpret_cast<ProcessSlot*>(s->base_ + g.slots);
  s->grants_ = reinterpret_cast<GrantSlot*>(s->base_ + g.grants);
  s->senders_ = s->base_ + g.senders;
  s->notices_ = s->base_ + g.notices;
  s->asyncs_ = reinterpret_cast<AsyncSlot*>(s->base_ + g.asyncs);
  s->async_senders_ = s->base_ + g.async_senders;
  s->links_ = reinterpret_cast<LinkSlot*>(s->base_ + g.links);
  s->link_queues_ = s->base_ + g.link_queues;
  s->announcements_ = s->base_ + g.announcements;
  s->extents_ = reinterpret_cast<Extent*>(s->base_ + g.extents);
  s->orders_ = reinterpret_cast<CopyOrder*>(s->base_ + g.orders);
  s->privileges_ = reinterpret_cast<PrivilegeSlot*>(s->base_ + g.privileges);
  s->notice_values_ = reinterpret_cast<uint64_t*>(s->base_ + g.notice_values);
  s->migrations_ = reinterpret_cast<MigrationSlot*>(s->base_ + g.migrations);
  s->departures_ = reinterpret_cast<DepartureSlot*>(s->base_ + g.departures);
  s->trace_ = reinterpret_cast<TraceHeader*>(s->base_ + g.trace);
  s->trace_events_ = reinterpret_cast<TraceEvent*>(s->base_ + g.trace_events);
  s->arena_ = s->base_ + g.arena;
  s->arena_backed_ = std::vector<std::atomic<uint64_t>>(header.arena_bytes / kBlockBytes / 64 + 1);
  s->stages_ = s->base_ + g.stages;
  s->owner_only_ = (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  const std::string name(path);
  const size_t slash = name.rfind('/');
  s->directory_ = slash == std::string::npos ? "." : name.substr(0, slash);
  *segment = s;
  return 0;
}

Segment::~Segment() {
  if (base_ == nullptr) return;
  leave_pages(base_);
  munmap(base_, bytes_);
}

int populate(void* pages, uint64_t bytes) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which older headers lack
  if (madvise(pages, bytes, kPopulateWrite) == 0) return 0;
  return errno == EINVAL ? -EINVAL : -ENOMEM;
}

bool Segment::back_arena(uint64_t offset, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  for (uint64_t at = offset / kBlockBytes * kBlockBytes; at < end; at += kBlockBytes) {
    std::atomic<uint64_t>& word = arena_backed_[at / kBlockBytes / 64];
    const uint64_t bit = uint64_t{1} << at / kBlockBytes % 64;
    if ((word.load(std::memory_order_relaxed) & bit) != 0) continue;
    const uint64_t next = std::min(at + kBlockBytes, arena_bytes_);
    if (populate(arena_ + at, next - at) != -ENOMEM) {
      word.fetch_or(bit, std::memory_order_relaxed);
      continue;
    }
    // There is no memory for all of it; what is asked for may have its own.
    const uint64_t first = std::max(at, offset) & ~(kPageBytes - 1);
    if (populate(arena_ + first, page_up(std::min(next, end)) - first) != 0) return false;
  }
  return true;
}

bool Segment::running() const {
  // Sequentially consistent: a call looks here after it set its rendezvous word.
  return atomic(header()->state).load() == 1;
}

int Segment::slot_of(int32_t endpoint) const {
  if (endpoint < 0 || static_cast<uint64_t>(endpoint >> 16) > kGenerationMax) return -1;
  const uint32_t index = static_cast<uint32_t>(endpoint) & 0xffff;
  return index < processes_ ? static_cast<int>(index) : -1;
}

void Segment::slot_range(uint32_t node, uint32_t* first, uint32_t* last) const {
  // Shared out among all node slots of the DC: a slot has one owner, so endpoints are unique
  // without asking anyone.
  const uint32_t share = static_cast<uint32_t>((processes_ - kSystemProcesses) / nodes_);
  *first = static_cast<uint32_t>(kSystemProcesses) + node * share;
  // Slot 0xffff stands for the proxy in rendezvous words.
  *last = std::min(*first + share, 0xffffu);
}

uint64_t Segment::next_ticket() const {
  return atomic(header()->ticket).fetch_add(1, std::memory_order_relaxed);
}

}  // namespace dvk
