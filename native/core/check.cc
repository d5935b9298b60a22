#include "check.h"

#include <time.h>

#include <algorithm>

#include "bindings.h"
#include "clock.h"
#include "copy_job.h"
#include "link.h"
#include "lock.h"
#include "migrating.h"
#include "notify.h"
#include "privilege.h"
#include "remote_end.h"
#include "rendezvous.h"
#include "search.h"
#include "senda.h"
#include "vcopy.h"

namespace dvk {
namespace {

// A fault, and a number that any progress of the processes it tells of changes.
struct Fault {
  std::string what;
  uint64_t state;
  bool operator==(const Fault&) const = default;
};

// A move whose time is over is ended within this, by the node daemon at the latest.
constexpr uint64_t kOverdueNs = 5'000'000'000;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0xff51afd7ed558ccd;
  return hash ^ hash >> 32;
}

std::string number(int64_t value) {
  return std::to_string(value);
}

class Checker {
 public:
  explicit Checker(Segment& segment) : segment_(segment) {}

  std::vector<Fault> look() {
    check_header();
    for (uint32_t i = 0; i < segment_.processes(); i++) check_slot(i);
    for (uint32_t n = 0; n < segment_.nodes(); n++) check_link_slot(n);
    for (uint32_t i = 0; i < kSystemProcesses; i++) check_migration(i);
    check_arena();
    return std::move(faults_);
  }

 private:
  ProcessSlot* slot(uint32_t index) const {
    return segment_.slot(index);
  }
  bool life_is(uint32_t index, ProcessLife life) const {
    return load(slot(index)->life) == static_cast<uint32_t>(life);
  }
  bool bound(uint32_t index) const {
    return life_is(index, ProcessLife::kLocal) || life_is(index, ProcessLife::kRemote);
  }
  // Whether `endpoint` is of a process that is bound now.
  bool lives(int32_t endpoint) const {
    uint32_t index;
    return check_endpoint(segment_, endpoint, &index) == 0;
  }
  bool is_member(uint32_t node) const {
    return node < segment_.nodes() && node != segment_.node_id() &&
           load(segment_.link(node)->state) != static_cast<uint32_t>(LinkState::kAbsent);
  }
  bool link_is_up(uint32_t node) const {
    return node < segment_.nodes() &&
           load(segment_.link(node)->state) == static_cast<uint32_t>(LinkState::kUp);
  }

  // All that changes in a slot when its owner, or a call with it, goes on.
  uint64_t state_at(uint32_t index) const {
    if (index >= segment_.processes()) return 0;
    ProcessSlot* at = slot(index);
    uint64_t hash = index + 1;
    for (const uint64_t value :
         {uint64_t{atomic(at->rendezvous).load()}, uint64_t{load(at->life)},
          uint64_t{load(at->generation)}, static_cast<uint64_t>(load(at->endpoint)),
          uint64_t{load(at->call_id)}, load(at->ticket), load(at->copy_job), load(at->sent),
          load(at->received), load(at->sent_remote), load(at->notified), load(at->copied_bytes),
          load(at->waits), uint64_t{load(at->command_state)}, uint64_t{load(at->async_busy)}}) {
      hash = mix(hash, value);
    }
    return hash;
  }
  void fault(const std::string& what, uint64_t state) {
    faults_.push_back({what, state});
  }
  std::string name_of(uint32_t index) const {
    char name[kNameBytes];
    get_name(name, slot(index)->name);
    std::string text = "slot " + number(index);
    if (bound(index) && name[0] != 0) text += " (" + std::string(name) + ")";
    return text;
  }
  void at(uint32_t index, const std::string& what) {
    fault(name_of(index) + ": " + what, state_at(index));
  }
  // Of two slots.
  void at(uint32_t index, uint32_t other, const std::string& what) {
    fault(name_of(index) + ": " + what, mix(state_at(index), state_at(other)));
  }

  // Of the move of its process.
  void moves(uint32_t index, const std::string& what) {
    fault(name_of(index) + ": " + what, migration_state(index));
  }
  uint64_t migration_state(uint32_t index) const;

  void check_header();
  void check_slot(uint32_t index);
  void check_free(uint32_t index);
  void check_local(uint32_t index);
  void check_remote(uint32_t index);
  void check_wait(uint32_t index);
  void check_peer_wait(uint32_t index, uint32_t word);
  void check_command(uint32_t index, uint32_t word);
  void check_missed(uint32_t receiver, uint32_t sender, const char* what);
  void check_notices(uint32_t index);
  void check_asyncs(uint32_t index);
  void check_async(uint32_t index, AsyncSlot* entry, bool busy);
  void check_copy(uint32_t index);
  void check_grants(uint32_t index);
  void check_link_slot(uint32_t node);
  void check_migration(uint32_t index);
  void check_mover(uint32_t index, MigrationState state);
  void check_told(uint32_t index);
  void check_arena();

  Segment& segment_;
  std::vector<Fault> faults_;
};

void Checker::check_header() {
  SegmentHeader* header = segment_.header();
  const uint32_t state = load(header->state);
  if (state != 1 && state != 2) fault("the state of the DC is " + number(state), state);
  const uint64_t owner = atomic(header->table_lock).load();
  if (owner != 0 && !lock_owner_alive(owner)) {
    fault("the table lock is held by process " + number(owner & 0xffffffff) + ", which is dead",
          owner);
  }
}

void Checker::check_slot(uint32_t index) {
  ProcessSlot* own = slot(index);
  const uint32_t life = load(own->life);
  if (load(own->generation) > kGenerationMax) at(index, "its generation is out of range");
  switch (static_cast<ProcessLife>(life)) {
    case ProcessLife::kFree:
      check_free(index);
      return;
    case ProcessLife::kBinding:
    case ProcessLife::kDying:
    case ProcessLife::kArriving:
      // Under the lock; where it goes on its owner is alive.
      if (const uint64_t owner = atomic(segment_.header()->table_lock).load();
          owner == 0 || !lock_owner_alive(owner)) {
        at(index, life == static_cast<uint32_t>(ProcessLife::kBinding) ? "a bind was cut short"
                  : life == static_cast<uint32_t>(ProcessLife::kDying)
                      ? "the end of its process was cut short"
                      : "the arrival of its process was cut short");
      }
      return;
    case ProcessLife::kLocal:
    case ProcessLife::kRemote:
      break;
    default:
      at(index, "its life is " + number(life));
      return;
  }
  if (segment_.slot_of(load(own->endpoint)) != static_cast<int>(index)) {
    at(index, "it has the endpoint " + number(load(own->endpoint)));
    return;
  }
  if ((load(segment_.privilege(index)->rights) & ~kRightsMax) != 0) {
    at(index, "its privileges have rights that there are not");
  }
  if (life_is(index, ProcessLife::kLocal)) {
    check_local(index);
  } else {
    check_remote(index);
  }
  check_wait(index);
  check_asyncs(index);
}

void Checker::check_free(uint32_t index) {
  ProcessSlot* own = slot(index);
  if (load(own->endpoint) != kEndpointNone) at(index, "free, and has an endpoint");
  if (state_of(atomic(own->rendezvous).load()) != State::kIdle) at(index, "free, and not idle");
  if (load(own->pid) != 0) at(index, "free, and has a process");
  if (load(own->command_state) != static_cast<uint32_t>(CommandState::kNone)) {
    at(index, "free, and has a command for a proxy");
  }
  if (load(own->async_busy) != 0) at(index, "free, and has messages of senda");
  if ((load(own->copy_job) & 0xff) != 0) at(index, "free, and has a copy job");
  if (load(own->copy_partner) != 0) at(index, "free, and holds a copy job");
  for (uint32_t i = 0; i < kGrants; i++) {
    if ((load(segment_.grant(index, i)->state) & 0xff) != 0) {
      at(index, "free, and has grant " + number(i));
    }
  }
}

void Checker::check_local(uint32_t index) {
  ProcessSlot* own = slot(index);
  const uint32_t node = load(own->node);
  if (node != segment_.node_id()) at(index, "bound here, but of node " + number(node));
  if (load(own->generation) != generation_of(load(own->endpoint))) {
    at(index, "its generation is not that of its endpoint");
  }
  if (!process_alive(load(own->pid), load(own->start_time))) {
    at(index, "its process " + number(load(own->pid)) + " is dead");
  }
  check_copy(index);
  check_grants(index);
  check_notices(index);
  const State state = state_of(atomic(own->rendezvous).load());
  const bool open = state == State::kAny || state == State::kFrom || state == State::kRequest;
  if (open && atomic(own->wakeup).load() != 0) at(index, "waits, and was told to wake up");
}

void Checker::check_remote(uint32_t index) {
  const uint32_t node = load(slot(index)->node);
  if (!is_member(node)) {
    at(index, "of node " + number(node) + ", which is none of this DC's others");
  }
}

// A wait ends by what its peer does or by its death; so there must be one.
void Checker::check_wait(uint32_t index) {
  const uint32_t word = atomic(slot(index)->rendezvous).load();
  switch (state_of(word)) {
    case State::kFrom:
    case State::kReply:
    case State::kFilling:
    case State::kSending:
    case State::kCalling:
    case State::kTaking:
      check_peer_wait(index, word);
      break;
    default:
      break;
  }
  check_command(index, word);
}

void Checker::check_peer_wait(uint32_t index, uint32_t word) {
  const uint32_t peer = peer_of(word);
  const State state = state_of(word);
  // KERNEL, which never ends, or the proxy at work on a caller.
  if (peer == kProxyPeer) return;
  if (peer >= segment_.processes()) {
    at(index, "waits for slot " + number(peer) + ", which there is not");
    return;
  }
  if (!bound(peer)) {
    if (life_is(peer, ProcessLife::kFree)) {
      at(index, peer, "waits for slot " + number(peer) + ", which is free");
    }
    return;
  }
  const bool names_peer = life_is(index, ProcessLife::kLocal) && !is_claimed(word);
  if (names_peer && load(slot(index)->want_source) != load(slot(peer)->endpoint)) {
    at(index, peer,
       "waits for endpoint " + number(load(slot(index)->want_source)) + ", whose slot has another");
  }
  const bool queued = state == State::kSending || state == State::kCalling;
  if (!queued) return;
  if (!segment_.senders(peer).has(index)) {
    at(index, peer, "its message waits for " + name_of(peer) + ", which does not know of it");
  }
  const uint32_t its = atomic(slot(peer)->rendezvous).load();
  if (state_of(its) == State::kRequest && !is_filtered(its) && state == State::kCalling) {
    at(peer, index, "waits, and so does the request of " + name_of(index) + " for it");
  }
  check_missed(peer, index, "the message of ");
}

void Checker::check_command(uint32_t index, uint32_t word) {
  ProcessSlot* own = slot(index);
  bool queued = load(own->command_state) == static_cast<uint32_t>(CommandState::kQueued);
  uint32_t node = load(own->node);
  if (life_is(index, ProcessLife::kLocal)) {
    if (state_of(word) != State::kRemote || peer_of(word) == kTablePeer) {
      const bool searches = load(own->command_kind) == kCommandProcinfo;
      const bool binds = load(own->want_source) == kEndpointNone;
      if (state_of(word) == State::kRemote && (binds || searches) &&
          !segment_.bind_waiters().has(index)) {
        at(index, binds ? "waits for a bind, and nobody knows of it"
                        : "looks for a process, and nobody knows of it");
      }
      return;
    }
    node = peer_of(word);
    if (!link_is_up(node)) at(index, "waits for node " + number(node) + ", to which no link is up");
  } else if (has_ended(word)) {
    queued = true;
  } else if (load(own->command_kind) == kCommandCopyinRqst) {
    return;  // The second leg of a copy, which goes to a third node.
  }
  if (queued && link_is_up(node) && !segment_.link_queue(node).has(index)) {
    at(index, "its command for node " + number(node) + " is in no queue");
  }
}

// What waits for a process that waits for it. One with a filter knows best itself.
void Checker::check_missed(uint32_t receiver, uint32_t sender, const char* what) {
  const uint32_t word = atomic(slot(receiver)->rendezvous).load();
  if (is_filtered(word) || !concerns_notice(word, sender)) return;
  at(receiver, sender, "waits, and so does " + std::string(what) + name_of(sender) + " for it");
}

void Checker::check_notices(uint32_t index) {
  segment_.notices(index).each_bit([&](uint32_t source) {
    if (source >= segment_.processes()) return;
    if (life_is(source, ProcessLife::kFree)) {
      at(index, source, "has a notification of slot " + number(source) + ", which is free");
    } else if (segment_.notices(index).has(source)) {
      check_missed(index, source, "a notification of ");
    }
  });
}

void Checker::check_asyncs(uint32_t index) {
  const uint32_t busy = atomic(slot(index)->async_busy).load();
  for (uint32_t i = 0; i < kAsyncs; i++) {
    check_async(index, segment_.async(index, i), (busy >> i & 1) != 0);
  }
}

void Checker::check_async(uint32_t index, AsyncSlot* entry, bool busy) {
  const AsyncWord word = word_of(entry);
  if (word.state != AsyncState::kWaiting && word.state != AsyncState::kTaking) return;
  // Nobody sees one whose sender was stopped before it showed it.
  if (!busy) return;
  const int32_t destination = load(entry->destination);
  uint32_t target;
  if (check_endpoint(segment_, destination, &target) != 0) {
    if (segment_.bind_waiters().has(index) && can_search(segment_, destination)) return;
    at(index, "a message by senda is for endpoint " + number(destination) + ", which is gone");
    return;
  }
  const uint32_t node = load(slot(target)->node);
  if (life_is(target, ProcessLife::kRemote) && !link_is_up(node)) {
    at(index, target, "a message by senda is for node " + number(node) + ", with no link up");
  }
  if (word.state == AsyncState::kWaiting) {
    const bool notice = (load(entry->flags) & kAsyncNotice) != 0;
    if (notice || !segment_.async_senders(target).has(index)) {
      at(index, target, "a message by senda is for " + name_of(target) + ", which knows of none");
    }
    check_missed(target, index, "a message by senda of ");
    return;
  }
  const bool proxy = word.peer == kProxyPeer && life_is(target, ProcessLife::kRemote);
  if (word.peer != target && !proxy) {
    at(index, target,
       "a message by senda is taken by slot " + number(word.peer) + ", which it is not for");
  }
}

void Checker::check_copy(uint32_t index) {
  ProcessSlot* own = slot(index);
  const uint64_t job = load(own->copy_job);
  const uint32_t requester = requester_of(job);
  const bool to_proxy =
      requester == kProxyPeer && load(segment_.header()->proxy_partner) == index + 1;
  if ((job & 0xff) != 0 && !to_proxy && (requester >= segment_.processes() || !bound(requester))) {
    at(index, "its memory is lent to slot " + number(requester) + ", where there is nobody");
  }
  const uint32_t partner = load(own->copy_partner);
  if (partner == 0) return;
  const bool holds =
      partner <= segment_.processes() && requester_of(load(slot(partner - 1)->copy_job)) == index;
  if (!holds) at(index, "holds a copy job that is not its own");
}

void Checker::check_grants(uint32_t index) {
  for (uint32_t i = 0; i < kGrants; i++) {
    GrantSlot* grant = segment_.grant(index, i);
    const uint32_t state = atomic(grant->state).load();
    if ((state & 0xff) == 0) continue;
    const std::string which = "grant " + number(i);
    if ((state & 0xff) > 3) at(index, which + " gives rights that there are not");
    if (load(grant->place) > 2) at(index, which + " is of no known place");
    const uint64_t first = load(grant->address), bytes = load(grant->bytes);
    if (load(grant->place) == 1 &&
        (first > segment_.arena_bytes() || bytes > segment_.arena_bytes() - first)) {
      at(index, which + " reaches beyond the arena");
    }
  }
}

void Checker::check_link_slot(uint32_t node) {
  LinkSlot* link = segment_.link(node);
  const uint32_t state = load(link->state);
  const std::string name = "link to node " + number(node);
  const bool own = state == static_cast<uint32_t>(LinkState::kLocal);
  if (state > static_cast<uint32_t>(LinkState::kLocal) || own != (node == segment_.node_id())) {
    fault(name + ": its state is " + number(state), state);
    return;
  }
  if (state == static_cast<uint32_t>(LinkState::kUp) &&
      !process_alive(load(link->proxy_pid), load(link->proxy_start_time))) {
    fault(name + ": up, but its proxy is dead", load(link->session));
  }
}

// All that changes in a move, and in the slot of who moves.
uint64_t Checker::migration_state(uint32_t index) const {
  MigrationSlot* migration = segment_.migration(index);
  uint64_t hash = state_at(index);
  for (const uint64_t value :
       {uint64_t{atomic(migration->state).load()}, uint64_t{load(migration->serial)},
        uint64_t{load(migration->node)}, uint64_t{load(migration->stopped)},
        uint64_t{load(migration->answer)}, load(migration->ticket), load(migration->end_ticket),
        load(migration->answer_ticket), load(migration->deadline)}) {
    hash = mix(hash, value);
  }
  return hash;
}

void Checker::check_migration(uint32_t index) {
  MigrationSlot* migration = segment_.migration(index);
  const uint32_t number_of_state = atomic(migration->state).load();
  if (number_of_state > static_cast<uint32_t>(MigrationState::kHeld)) {
    moves(index, "the state of its move is " + number(number_of_state));
    return;
  }
  const MigrationState state = static_cast<MigrationState>(number_of_state);
  const uint32_t answer = load(migration->answer);
  const bool shown = (atomic(segment_.header()->migrating).load() >> index & 1) != 0;
  if (!is_settled(migration) && !shown) moves(index, "it moves, and nobody looks after it");
  if (answer != 0 && answer != kCommandMigrstart && answer != kCommandMigrate) {
    moves(index, "command " + number(answer) + " of its move awaits an answer");
  } else if (answer != 0 && !is_member(load(migration->answer_to))) {
    moves(index, "node " + number(load(migration->answer_to)) +
                     " awaits an answer about its move, and is none of this DC's others");
  }
  if (shown) check_told(index);
  if (state != MigrationState::kNone) check_mover(index, state);
}

// Who moves is bound as the state of the move says, and its move ends.
void Checker::check_mover(uint32_t index, MigrationState state) {
  MigrationSlot* migration = segment_.migration(index);
  ProcessSlot* own = slot(index);
  const int32_t endpoint = load(migration->endpoint);
  const uint32_t node = load(migration->node);
  if (!bound(index) || load(own->endpoint) != endpoint) {
    moves(index, "its move is of endpoint " + number(endpoint) + ", which is gone");
    return;
  }
  if (load(migration->notices) > kNoticesMax) {
    moves(index, number(load(migration->notices)) + " notifications move with it");
  }
  if (state == MigrationState::kStarted) {
    if (!life_is(index, ProcessLife::kLocal)) moves(index, "it moves away, and is not here");
    const uint64_t now = static_cast<uint64_t>(now_ns());
    const uint64_t deadline = load(migration->deadline);
    if (now > deadline && now - deadline > kOverdueNs) {
      moves(index, "the time of its move is over, and nobody has ended it");
    }
    return;
  }
  if (!is_member(node)) {
    moves(index, "its move is with node " + number(node) + ", which is none of this DC's others");
    return;
  }
  if (state == MigrationState::kGiving) return;
  if (!life_is(index, ProcessLife::kRemote) || load(own->node) != node) {
    moves(index, "its move says that it is on node " + number(node));
  }
  if (state == MigrationState::kHeld && !link_is_up(node)) {
    moves(index, "it is kept back for node " + number(node) + ", to which no link is up");
  }
}

// The nodes that are to hear of it, or to answer, are such of this DC.
void Checker::check_told(uint32_t index) {
  MigrationSlot* migration = segment_.migration(index);
  for (auto* bytes : {&migration->untold, &migration->unanswered, &migration->ended}) {
    const NodeBits nodes(*bytes);
    if (nodes.empty()) continue;
    for (uint32_t node = 0; node < kNodesMax; node++) {
      if (!nodes.has(node) || is_member(node)) continue;
      moves(index, "node " + number(node) + " is to be told of its move, and is none of this DC's");
      return;
    }
  }
}

void Checker::check_arena() {
  struct Range {
    uint64_t first, last;
    uint32_t index;
  };
  std::vector<Range> ranges;
  const uint64_t total = segment_.arena_bytes() / 4096;
  for (uint32_t i = 0; i < kExtents; i++) {
    Extent* extent = segment_.extent(i);
    const uint64_t pages = load(extent->pages), first = load(extent->first_page);
    const int32_t owner = load(extent->owner);
    if (pages == 0) continue;
    const uint64_t state = mix(mix(pages, first), static_cast<uint32_t>(owner));
    const std::string what =
        "arena: extent " + number(i) + " of " + number(static_cast<int64_t>(pages)) + " pages";
    if (first > total || pages > total - first) fault(what + " reaches beyond the arena", state);
    if (!lives(owner)) fault(what + " is of endpoint " + number(owner) + ", which is gone", state);
    ranges.push_back({first, first + pages, i});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  for (size_t i = 1; i < ranges.size(); i++) {
    if (ranges[i].first < ranges[i - 1].last) {
      fault("arena: extents " + number(ranges[i - 1].index) + " and " + number(ranges[i].index) +
                " overlap",
            mix(ranges[i].first, ranges[i - 1].last));
    }
  }
}

}  // namespace

std::vector<std::string> check_segment(Segment& segment, int64_t pause_ms) {
  std::vector<Fault> faults = Checker(segment).look();
  if (pause_ms > 0 && !faults.empty()) {
    const timespec pause{pause_ms / 1000, pause_ms % 1000 * 1'000'000};
    nanosleep(&pause, nullptr);
    const std::vector<Fault> again = Checker(segment).look();
    std::erase_if(faults, [&](const Fault& fault) {
      return std::find(again.begin(), again.end(), fault) == again.end();
    });
  }
  std::vector<std::string> texts;
  for (const Fault& fault : faults) texts.push_back(fault.what);
  return texts;
}

}  // namespace dvk
