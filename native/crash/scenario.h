// A scenario of the crash matrix: processes that call one another, and what each of them may be
// told when one of them is killed or stopped in the middle.
//
// Every role of a scenario is a process of its own. It sets itself up, says that it is ready, and
// then plays its part, during which it may be stopped. What a call returns is judged at once, by
// `expect`: 0 is right always, and an error only where it is said whose death or stop it comes
// from.
#pragma once

#include <atomic>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "../test/support.h"
#include "points.h"

namespace dvk::crash {

inline constexpr uint32_t kRolesMax = 5;

// A role's part of the board.
struct Desk {
  std::atomic<int32_t> endpoint;
  std::atomic<uint32_t> ready, done;
  std::atomic<uint32_t> dead, stopped;  // as the runner has seen
  std::atomic<uint32_t> node;
  std::atomic<uint32_t> planned;  // the scenario itself stops it
  // Messages that its receiver has had, and how many there must be and may be.
  std::atomic<uint32_t> received, least, most;
  Hits hits;
};

// What the processes of a scenario and their runner share.
struct Board {
  Desk desks[kRolesMax];
  std::atomic<uint32_t> closing;  // who serves shall end
  std::atomic<uint32_t> leaving;  // all shall unbind and exit
  std::atomic<uint32_t> flags[8];
  std::atomic<uint64_t> words[8];
  std::atomic<uint32_t> failed;
  char reason[400];
};

// The errors that are right when the process of `role` was killed. Was it stopped, -ETIMEDOUT is.
struct If {
  int role;
  std::vector<int> errors;
};

// The usual ones: of who has the present call with the dead, or calls it after.
inline const std::vector<int> kSendDeaths = {-EDSTDIED, -EDEADSRCDST};
inline const std::vector<int> kReceiveDeaths = {-ESRCDIED, -EDEADSRCDST};
inline const std::vector<int> kCallDeaths = {-EDSTDIED, -ESRCDIED, -EDEADSRCDST};
inline const std::vector<int> kReplyDeaths = {-EDEADSRCDST, -EDVSPROCSTS};

class Actor {
 public:
  Actor(const std::vector<Segment*>& segments, Board& shared, int role,
        const std::vector<Shot>& shots)
      : segment(*segments[0]), board(shared), self(role), segments_(segments), shots_(shots) {}

  Segment& segment;  // of node 0
  Segment& node(uint32_t number) const {
    return *segments_[number];
  }
  Board& board;
  const int self;
  Process* own = nullptr;

  Process& bind(ProcessLevel level = ProcessLevel::kUser, int slot = -1, uint32_t at_node = 0);
  // Waits for all others, then lets the shot come.
  void ready();
  // The same in two steps, for who sets up more when the others are there.
  void start();
  void arm();
  void disarm();
  // Part of the scenario and not of the matrix: the process is killed or stopped at this label.
  void plan(const char* label, Fault fault);
  // The time-out of a call that waits for these: short when one of them is to be stopped.
  int64_t patience(std::initializer_list<int> roles) const;
  bool aims_at(int role) const;
  // Whether somebody is to be stopped: then clients have time-outs, and on a busy machine one may
  // give up before anybody has come to its call.
  bool hurries() const;
  // Whether the process of `role` was killed or stopped.
  bool gone(int role) const;
  bool others_done() const;
  // Waits until `met`, or one of `roles` is gone, or done.
  void meet(std::initializer_list<int> roles, const std::function<bool()>& met) const;
  // Waits until the rendezvous word of `role` has `state`, or as above.
  void meet_state(int role, State state) const;
  void meet_end(int role) const;

  int32_t endpoint(int role) const {
    return board.desks[role].endpoint.load();
  }
  Process& me() const {
    return *own;
  }
  // Judges what a call returned; ends the scenario when that is wrong. `usual` are errors that are
  // right whatever has happened.
  void expect(const char* call, int64_t result, const std::vector<If>& fates = {},
              std::initializer_list<int> usual = {}) const;
  void require(const char* what, bool holds) const;

  // A message that counts: `receive_counted` adds it to its sender's desk.
  Message note() const;
  // What a send, or a call, of a note has come to.
  void sent(int64_t result) const;
  void called(int64_t result) const;
  // A whole note of one of the roles came.
  void count(const Message& message) const;
  // The role whose endpoint that is, or -1.
  int role_of(int32_t endpoint) const;

 private:
  bool several() const;
  bool excused(int64_t result) const;

  const std::vector<Segment*>& segments_;
  const std::vector<Shot>& shots_;
};

struct Role {
  const char* name;
  std::function<void(Actor&)> play;
  // It plays until the others are done, and is woken for that.
  bool serves = false;
  // It ends by the scenario, and the runner leaves it to the other roles to notice.
  bool unwatched = false;
};

struct Scenario {
  const char* name;
  std::vector<Role> roles;
  uint32_t nodes = 1;
  bool ends = false;  // the DC is ended
};

bool add(const Scenario& scenario);
const std::vector<Scenario>& scenarios();

// Serves requests until the others are done: counts them, does `work`, and replies.
void serve(Actor& actor, const std::function<void(const Message&)>& work = {});
// Takes messages, or notifications, of anybody until the others are done.
void receive_all(Actor& actor);
// A sendrec of a note to `server`, whose work needs those in `helpers` too.
void call(Actor& actor, int server, std::initializer_list<If> helpers = {});
void send_to(Actor& actor, int receiver);

}  // namespace dvk::crash

#define SCENARIO_JOIN2(a, b) a##b
#define SCENARIO_JOIN(a, b) SCENARIO_JOIN2(a, b)
#define SCENARIO \
  [[maybe_unused]] static const bool SCENARIO_JOIN(scenario_, __LINE__) = ::dvk::crash::add
