// vcopy of private and arena memory, with the lender's part in it; grants.

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "scenario.h"

namespace dvk::crash {
namespace {

enum { kServer, kClient, kThird };

constexpr uint64_t kBytes = 1 << 20;
constexpr uint64_t kMargin = 4096;

// On one CPU the lender takes part in the copy whenever it is let.
void share_cpu() {
  cpu_set_t all, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

// Memory with a margin that no copy may touch.
class Memory {
 public:
  explicit Memory(uint8_t fill) : bytes_(kBytes + 2 * kMargin, 0x55) {
    memset(data(), fill, kBytes);
  }
  uint8_t* data() {
    return bytes_.data() + kMargin;
  }
  uint64_t address() {
    return reinterpret_cast<uint64_t>(data());
  }
  // Whether each byte is one of these, and the margins are as they were.
  bool holds(uint8_t one, uint8_t other) const {
    for (size_t i = 0; i < bytes_.size(); i++) {
      const bool inside = i >= kMargin && i < kMargin + kBytes;
      const uint8_t byte = bytes_[i];
      if (inside ? byte != one && byte != other : byte != 0x55) return false;
    }
    return true;
  }

 private:
  std::vector<uint8_t> bytes_;
};

// Errors of a copy with one that was killed; with one that gave up its call it is -EDVSGRANT.
const std::vector<int> kCopyDeaths = {-ESRCDIED, -EDSTDIED, -EDEADSRCDST, -EDVSGRANT, -EFAULT};

int64_t copy(Actor& a, const CopyParty& from, const CopyParty& to, const std::vector<If>& fates) {
  const int64_t copied = vcopy(a.me(), from, to, kBytes, kForever);
  a.expect("vcopy", copied, fates);
  a.require("a copy is whole", copied < 0 || copied == static_cast<int64_t>(kBytes));
  return copied;
}

// A sendrec whose message tells where the caller's memory is; it is filled with 7, and the server
// writes 9.
void lend(Actor& a, int server, int other) {
  Memory memory(7);
  Message m{};
  const uint64_t place = memory.address();
  m.type = a.self;
  memcpy(m.payload, &place, sizeof place);
  const int result = sendrec(a.me(), a.endpoint(server), &m, a.patience({server, a.self, other}));
  a.expect("sendrec", result, {{server, kCallDeaths}, {a.self, {}}, {other, {}}});
  a.require("nothing else was written", memory.holds(7, 9));
}

uint64_t place_in(const Message& m) {
  uint64_t place;
  memcpy(&place, m.payload, sizeof place);
  return place;
}

std::function<void(Actor&)> lender(int other = kServer) {
  return [=](Actor& a) {
    share_cpu();
    a.bind();
    a.start();
    a.meet_state(kServer, State::kRequest);
    a.arm();
    lend(a, kServer, other);
  };
}

SCENARIO({"copies of the caller's private memory",
          {{"server",
            [](Actor& a) {
              share_cpu();
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              Memory own(9);
              for (;;) {
                Message m;
                const bool last = a.others_done();
                const int result = rcvrqst(a.me(), &m, last ? 0 : kForever);
                if (result == -EDVSWOKENUP) continue;
                if (last && result == -EAGAIN) return;
                a.expect("rcvrqst", result);
                const CopyParty theirs{m.source, kByAddress, place_in(m)};
                const CopyParty mine{kEndpointSelf, kByAddress, own.address()};
                const std::vector<If> fates = {{m.type, kCopyDeaths},
                                               {a.self, {-EDVSGRANT, -EFAULT}}};
                for (int i = 0; i < 2; i++) {
                  memset(own.data(), 9, kBytes);
                  copy(a, mine, theirs, fates);
                  memset(own.data(), 1, kBytes);
                  const int64_t copied = copy(a, theirs, mine, fates);
                  a.require("what was written is read", copied < 0 || own.holds(9, 9));
                }
                const int replied = reply(a.me(), m.source, m);
                a.expect("reply", replied, {{m.type, kReplyDeaths}, {a.self, kReplyDeaths}});
              }
            },
            true},
           {"client", lender()}}});

SCENARIO(
    {"copies between two others",
     {{"server",
       [](Actor& a) {
         share_cpu();
         a.bind(ProcessLevel::kServer, 1);
         a.ready();
         Message first{}, second{};
         int result = rcvrqst(a.me(), &first, a.patience({kClient, kThird, a.self}));
         a.expect("rcvrqst", result, {{kClient, {}}, {kThird, {}}, {a.self, {}}}, {-EDVSWOKENUP});
         if (result != 0) return;
         result =
             rcvrqst(a.me(), &second,
                     a.aims_at(kClient) || a.aims_at(kThird) || a.aims_at(a.self) ? 300 : kForever);
         a.expect("rcvrqst", result,
                  {{kClient, {-ETIMEDOUT}}, {kThird, {-ETIMEDOUT}}, {a.self, {}}}, {-EDVSWOKENUP});
         if (result == 0) {
           copy(a, {first.source, kByAddress, place_in(first)},
                {second.source, kByAddress, place_in(second)},
                {{kClient, kCopyDeaths}, {kThird, kCopyDeaths}, {a.self, {-EDVSGRANT, -EFAULT}}});
         }
         const std::vector<If> fates = {
             {kClient, kReplyDeaths}, {kThird, kReplyDeaths}, {a.self, kReplyDeaths}};
         a.expect("reply", reply(a.me(), first.source, first), fates);
         if (result == 0) a.expect("reply", reply(a.me(), second.source, second), fates);
       },
       true},
      {"client", lender(kThird)},
      {"third", lender(kClient)}}});

// A caller that is stopped takes no part, and holds up nobody.
SCENARIO({"copies of a stopped caller's memory",
          {{"server",
            [](Actor& a) {
              share_cpu();
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              Message m;
              a.expect("rcvrqst", rcvrqst(a.me(), &m, kForever));
              a.meet({kClient}, [] { return false; });
              Memory own(9);
              const CopyParty theirs{m.source, kByAddress, place_in(m)};
              const CopyParty mine{kEndpointSelf, kByAddress, own.address()};
              copy(a, mine, theirs, {{kClient, kCopyDeaths}, {a.self, {-EDVSGRANT}}});
              copy(a, theirs, mine, {{kClient, kCopyDeaths}, {a.self, {-EDVSGRANT}}});
              a.expect("reply", reply(a.me(), m.source, m), {{a.self, kReplyDeaths}});
            }},
           {"client", [](Actor& a) {
              share_cpu();
              a.bind();
              a.start();
              a.meet_state(kServer, State::kRequest);
              a.plan("sleep.begun", Fault::kStop);
              lend(a, kServer, kServer);
            }}}});

// The owner grants arena memory to the middle one, which grants it to the last, which copies.
SCENARIO({"copies under grants",
          {{"owner",
            [](Actor& a) {
              a.bind();
              const int64_t place = arena_allocate(a.me(), kBytes);
              a.require("arena memory", place >= 0);
              memset(a.segment.arena() + place, 7, kBytes);
              a.start();
              a.arm();
              const int32_t id = grant(a.me(), a.segment.arena() + place, kBytes, 3, a.endpoint(1));
              a.expect("grant", id);
              a.board.words[0].store(static_cast<uint64_t>(id) + 1);
              a.meet({kThird}, [&] { return a.board.flags[0].load() > 0; });
              a.expect("revoke", revoke(a.me(), id));
              a.board.flags[1].store(1);
            }},
           {"middle",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 2);
              a.ready();
              a.meet({0}, [&] { return a.board.words[0].load() != 0; });
              if (a.board.words[0].load() == 0) return;
              const int32_t id = static_cast<int32_t>(a.board.words[0].load() - 1);
              const int32_t own = grant_indirect(a.me(), a.endpoint(0), id, 3, a.endpoint(kThird));
              a.expect(
                  "grant_indirect", own,
                  {{0, {-EDEADSRCDST}}, {kThird, {-EDVSGRANT}}, {a.self, {-EDVSGRANT, -EFAULT}}});
              if (own >= 0) a.board.words[1].store(static_cast<uint64_t>(own) + 1);
            }},
           {"last", [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              a.meet({0, 1}, [&] { return a.board.words[1].load() != 0; });
              if (a.board.words[1].load() == 0) return;
              Memory own(9);
              const CopyParty theirs{a.endpoint(1),
                                     static_cast<int32_t>(a.board.words[1].load() - 1), 0};
              const CopyParty mine{kEndpointSelf, kByAddress, own.address()};
              const std::vector<If> fates = {
                  {0, kCopyDeaths}, {1, kCopyDeaths}, {a.self, {-EDVSGRANT, -EFAULT}}};
              const int64_t copied = copy(a, theirs, mine, fates);
              a.require("what was granted is read", copied < 0 || own.holds(7, 7));
              a.board.flags[0].store(1);
              a.meet({0}, [&] { return a.board.flags[1].load() != 0; });
              const int64_t after = vcopy(a.me(), theirs, mine, kBytes, kForever);
              a.expect("vcopy", after, {{0, kCopyDeaths}, {1, kCopyDeaths}}, {-EDVSGRANT});
              a.require("a grant that was taken back is dead",
                        after < 0 || a.board.flags[1].load() == 0);
            }}}});

// Two elements of one call: in and out again.
SCENARIO({"a vector of copies",
          {{"owner",
            [](Actor& a) {
              a.bind();
              static Memory memory(7);
              const int32_t id = grant(a.me(), memory.data(), kBytes, 3, kEndpointAny);
              a.board.words[0].store(static_cast<uint64_t>(id));
              a.ready();
              receive_all(a);
              a.require("what was copied is whole", memory.holds(7, 9));
            },
            true},
           {"copier", [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              Memory in(1), out(9);
              const CopyParty theirs{a.endpoint(0), static_cast<int32_t>(a.board.words[0].load()),
                                     0};
              const CopyElement elements[2] = {
                  {theirs, {kEndpointSelf, kByAddress, in.address()}, kBytes},
                  {{kEndpointSelf, kByAddress, out.address()}, theirs, kBytes}};
              const int64_t copied = vcopy_vector(a.me(), elements, 2, kForever);
              a.expect("vcopy_vector", copied, {{0, kCopyDeaths}, {a.self, {}}});
              a.require("both are whole", copied < 0 || copied == 2 * static_cast<int64_t>(kBytes));
              a.require("what was copied is old or new", in.holds(1, 7) && out.holds(9, 9));
            }}}});

}  // namespace
}  // namespace dvk::crash
