#include "scenario.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

namespace dvk::crash {
namespace {

// Longer than the net below lost death notices, so that a call with this time-out has been through
// it.
constexpr int64_t kStopPatienceMs = 150;
constexpr int64_t kMeetNs = 60'000'000'000;

bool is_death(int64_t result) {
  return result == -EDSTDIED || result == -ESRCDIED || result == -EDEADSRCDST;
}

std::vector<Scenario>& list() {
  static auto* all = new std::vector<Scenario>();
  return *all;
}

}  // namespace

bool add(const Scenario& scenario) {
  list().push_back(scenario);
  return true;
}

const std::vector<Scenario>& scenarios() {
  return list();
}

Process& Actor::bind(ProcessLevel level, int slot, uint32_t at_node) {
  BindOptions options;
  options.level = level;
  options.slot = slot;
  options.name = "role";
  const int error = Process::bind(node(at_node), options, &own);
  if (error != 0) test::fail_test(__FILE__, __LINE__, "bind: " + std::to_string(error));
  board.desks[self].endpoint.store(own->endpoint);
  board.desks[self].node.store(at_node);
  return *own;
}

void Actor::start() {
  board.desks[self].ready.store(1);
  test::until("all are ready", [&] {
    for (size_t i = 0; i < shots_.size(); i++) {
      if (board.desks[i].ready.load() == 0) return false;
    }
    return true;
  });
}

void Actor::ready() {
  start();
  arm();
}

void Actor::arm() {
  arm_process(shots_[static_cast<size_t>(self)], &board.desks[self].hits);
}

void Actor::disarm() {
  disarm_process();
}

void Actor::plan(const char* label, Fault fault) {
  board.desks[self].planned.store(1);
  for (uint32_t point = 0; point < point_count(); point++) {
    if (strcmp(point_label(point), label) != 0) continue;
    arm_process({point, 1, fault}, &board.desks[self].hits);
    return;
  }
  test::fail_test(__FILE__, __LINE__, std::string("no label ") + label);
}

bool Actor::aims_at(int role) const {
  return shots_[static_cast<size_t>(role)].fault != Fault::kNone;
}

int64_t Actor::patience(std::initializer_list<int> roles) const {
  for (const int role : roles) {
    if (shots_[static_cast<size_t>(role)].fault == Fault::kStop) return kStopPatienceMs;
  }
  return kForever;
}

bool Actor::hurries() const {
  return std::any_of(shots_.begin(), shots_.end(),
                     [](const Shot& shot) { return shot.fault == Fault::kStop; });
}

bool Actor::gone(int role) const {
  const Desk& desk = board.desks[role];
  return desk.dead.load() != 0 || desk.stopped.load() != 0;
}

bool Actor::others_done() const {
  return board.closing.load() != 0;
}

void Actor::meet(std::initializer_list<int> roles, const std::function<bool()>& met) const {
  const int64_t begun = now_ns();
  const auto over = [&](int role) { return gone(role) || board.desks[role].done.load() != 0; };
  while (!met() && !std::any_of(roles.begin(), roles.end(), over)) {
    const int64_t waited = now_ns() - begun;
    if (waited > kMeetNs) test::fail_test(__FILE__, __LINE__, "the others do not come");
    usleep(waited < 2'000'000 ? 50 : waited < 100'000'000 ? 500 : 1000);
  }
}

void Actor::meet_state(int role, State state) const {
  Segment& its = node(board.desks[role].node.load());
  const uint32_t index = static_cast<uint32_t>(its.slot_of(endpoint(role)));
  meet({role}, [&] { return test::state_in(its, index) == state; });
}

void Actor::meet_end(int role) const {
  meet({role}, [] { return false; });
}

void Actor::expect(const char* call, int64_t result, const std::vector<If>& fates,
                   std::initializer_list<int> usual) const {
  if (result >= 0 || std::find(usual.begin(), usual.end(), result) != usual.end()) return;
  for (const If& fate : fates) {
    const Fault fault = shots_[static_cast<size_t>(fate.role)].fault;
    const bool listed =
        std::find(fate.errors.begin(), fate.errors.end(), result) != fate.errors.end();
    // Who is stopped is not dead, but may come late. Where a stop was to be, time-outs are short;
    // and it may have the table lock, also before it is killed.
    const bool stops = fault == Fault::kStop || fault == Fault::kStopKill;
    if (stops && result == -ETIMEDOUT) return;
    if (fault == Fault::kStop && listed && !is_death(result)) return;
    const bool killed = fault == Fault::kKill || fault == Fault::kStopKill;
    if (killed && listed && board.desks[fate.role].hits.fired.load() != 0) return;
  }
  if (several() && excused(result)) return;
  test::fail_test(
      __FILE__, __LINE__,
      "role " + std::to_string(self) + ": " + call + " gives " + std::to_string(result));
}

bool Actor::several() const {
  return std::count_if(shots_.begin(), shots_.end(),
                       [](const Shot& shot) { return shot.fault != Fault::kNone; }) > 1;
}

// With several faults one of them may be felt by way of another role.
bool Actor::excused(int64_t result) const {
  for (size_t role = 0; role < shots_.size(); role++) {
    const Fault fault = shots_[role].fault;
    const bool stops = fault == Fault::kStop || fault == Fault::kStopKill;
    if (stops && result == -ETIMEDOUT) return true;
    if (fault == Fault::kNone || board.desks[role].hits.fired.load() == 0) continue;
    const bool given_up = result == -EDVSPROCSTS || result == -EDVSGRANT || result == -EFAULT;
    if (given_up || (fault != Fault::kStop && is_death(result))) return true;
  }
  return false;
}

void Actor::require(const char* what, bool holds) const {
  if (holds) return;
  test::fail_test(__FILE__, __LINE__, "role " + std::to_string(self) + ": not so: " + what);
}

Message Actor::note() const {
  // Whoever is killed from here on may have sent it.
  board.desks[self].most.fetch_add(1);
  return test::message(1, static_cast<uint64_t>(self));
}

void Actor::sent(int64_t result) const {
  if (result == 0) {
    board.desks[self].least.fetch_add(1);
  } else {
    board.desks[self].most.fetch_sub(1);
  }
}

void Actor::called(int64_t result) const {
  if (result == 0) board.desks[self].least.fetch_add(1);
}

void Actor::count(const Message& message) const {
  require("a message is whole", test::whole(message));
  const uint64_t sender = test::value_of(message);
  require("a message is of a role", sender < kRolesMax);
  require("a message has its sender for a source",
          message.source == endpoint(static_cast<int>(sender)));
  board.desks[sender].received.fetch_add(1);
}

int Actor::role_of(int32_t wanted) const {
  for (uint32_t role = 0; role < shots_.size(); role++) {
    if (board.desks[role].endpoint.load() == wanted) return static_cast<int>(role);
  }
  return -1;
}

void serve(Actor& actor, const std::function<void(const Message&)>& work) {
  for (;;) {
    Message request;
    const bool last = actor.others_done();
    const int result = rcvrqst(actor.me(), &request, last ? 0 : kForever);
    if (result == -EDVSWOKENUP) continue;
    if (last && result == -EAGAIN) return;
    actor.expect("rcvrqst", result);
    actor.count(request);
    if (work) work(request);
    const int client = static_cast<int>(test::value_of(request));
    const int replied =
        reply(actor.me(), request.source, test::message(2, test::value_of(request)));
    // A client that was stopped, or whose server was, may have given up.
    actor.expect("reply", replied, {{client, kReplyDeaths}, {actor.self, kReplyDeaths}},
                 {actor.hurries() ? -EDVSPROCSTS : 0});
  }
}

void receive_all(Actor& actor) {
  for (;;) {
    Message m;
    const bool last = actor.others_done();
    const int result = receive(actor.me(), kEndpointAny, &m, last ? 0 : kForever);
    if (result == -EDVSWOKENUP) continue;
    if (last && result == -EAGAIN) return;
    actor.expect("receive", result);
    if (actor.me().last_kind != MessageKind::kNotify) {
      actor.count(m);
      continue;
    }
    const int source = m.source == kEndpointKernel ? actor.self : actor.role_of(m.source);
    actor.require("a notification is of a role", source >= 0);
    actor.board.desks[source].received.fetch_add(1);
  }
}

void call(Actor& actor, int server, std::initializer_list<If> helpers) {
  std::vector<If> fates = {{server, kCallDeaths}, {actor.self, {}}};
  fates.insert(fates.end(), helpers.begin(), helpers.end());
  int64_t patience = actor.patience({server, actor.self});
  for (const If& helper : helpers) {
    if (patience == kForever) patience = actor.patience({helper.role});
  }
  Message m = actor.note();
  const int result = sendrec(actor.me(), actor.endpoint(server), &m, patience);
  actor.expect("sendrec", result, fates);
  actor.called(result);
  const uint64_t wanted = static_cast<uint64_t>(actor.self);
  const bool right = m.type == 2 && test::whole(m) && test::value_of(m) == wanted;
  actor.require("the reply is to this call", result != 0 || right);
}

void send_to(Actor& actor, int receiver) {
  const int64_t patience = actor.patience({receiver, actor.self});
  const int result = send(actor.me(), actor.endpoint(receiver), actor.note(), patience);
  actor.expect("send", result, {{receiver, kSendDeaths}, {actor.self, {}}});
  actor.sent(result);
}

}  // namespace dvk::crash
