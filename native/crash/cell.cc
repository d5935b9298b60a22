#include "cell.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "../core/check.h"
#include "../core/standby.h"

namespace dvk::crash {
namespace {

using test::kSanitized;

// Nobody waits for longer for one that was killed or stopped.
constexpr int64_t kLateMs = kSanitized ? 10'000 : 2'000;
// Whoever has not come to an end by then never will, however busy the machine is.
constexpr int64_t kHangMs = 90'000;
// How long one is stopped before it is killed: longer than a waiter needs to look after it.
constexpr int64_t kStoppedMs = 150;

class Play {
 public:
  Play(const Scenario& scenario, const std::vector<Shot>& shots, Board& board)
      : scenario_(scenario), shots_(shots), board_(board) {
    for (uint32_t n = 0; n < scenario.nodes; n++) {
      const test::Container container(test::small(n));
      segments_.push_back(&container.segment);
      paths_.push_back(container.path);
    }
  }
  ~Play() {
    for (const pid_t pid : pids_) {
      if (pid > 0 && kill(pid, SIGKILL) == 0) waitpid(pid, nullptr, 0);
    }
    for (const std::string& path : paths_) unlink(path.c_str());
    for (Segment* segment : segments_) delete segment;
  }

  std::string run() {
    for (size_t i = 0; i < scenario_.roles.size(); i++) start(static_cast<int>(i));
    std::string wrong = watch();
    if (wrong.empty()) wrong = check_messages();
    if (wrong.empty()) wrong = check_rebind();
    if (wrong.empty()) wrong = check_tables("with the survivors");
    if (wrong.empty()) wrong = leave();
    if (wrong.empty()) wrong = check_empty();
    return wrong.empty() && !late_.empty() ? "late:" + late_ : wrong;
  }

 private:
  Desk& desk(size_t role) const {
    return board_.desks[role];
  }
  size_t roles() const {
    return scenario_.roles.size();
  }
  std::string name(size_t role) const {
    return scenario_.roles[role].name;
  }

  void start(int role);
  std::string watch();
  std::string unfinished() const;
  std::string look(int64_t now);
  std::string note_end(size_t role, int status, int64_t now);
  bool all_done(bool serving, bool stopped) const;
  void close_services();
  void sweep();
  std::string check_messages() const;
  std::string check_rebind();
  std::string check_tables(const char* when) const;
  std::string check_empty() const;
  std::string leave();

  const Scenario& scenario_;
  const std::vector<Shot>& shots_;
  Board& board_;
  std::vector<Segment*> segments_;
  std::vector<std::string> paths_;
  std::vector<pid_t> pids_;
  int64_t fault_at_ = 0;    // of the last fault, or the end of a stop
  std::string late_;        // who went on for too long after that
  int64_t stopped_at_ = 0;  // of the first process that is stopped
  bool swept_ = true;       // all slots of the dead were freed
};

void Play::start(int role) {
  const pid_t child = fork();
  if (child < 0) test::fail_test(__FILE__, __LINE__, "fork");
  if (child == 0) {
    Actor actor(segments_, board_, role, shots_);
    scenario_.roles[static_cast<size_t>(role)].play(actor);
    actor.disarm();
    board_.desks[role].done.store(1);
    while (board_.leaving.load() == 0) usleep(500);
    if (actor.own != nullptr) actor.own->unbind();
    _exit(0);
  }
  pids_.push_back(child);
}

// The part of the node daemon: it frees the slots of the dead, at once.
void Play::sweep() {
  swept_ = true;
  for (Segment* segment : segments_) {
    for (uint32_t i = 0; i < segment->processes(); i++) {
      ProcessSlot* slot = segment->slot(i);
      const bool bound =
          load(slot->life) == static_cast<uint32_t>(ProcessLife::kLocal) || is_backup(slot);
      const bool dead = bound && !process_alive(load(slot->pid), load(slot->start_time));
      if (dead && reap(*segment, i, load(slot->endpoint), kRepairLockMs) == 0) swept_ = false;
    }
    dvk::sweep(*segment);
    // And it ends the calls to other nodes when their proxy is gone.
    for (uint32_t n = 0; n < segment->nodes(); n++) {
      LinkSlot* link = segment->link(n);
      if (load(link->proxy_pid) == 0) continue;
      if (!process_alive(load(link->proxy_pid), load(link->proxy_start_time))) {
        link_down(*segment, n);
      }
    }
  }
}

std::string Play::note_end(size_t role, int status, int64_t now) {
  pid_t& pid = pids_[role];
  if (WIFSTOPPED(status)) {
    desk(role).stopped.store(1);
    fault_at_ = now;
    if (stopped_at_ == 0) stopped_at_ = now;
    return "";
  }
  pid = 0;
  const bool shot = WIFSIGNALED(status) && desk(role).hits.fired.load() != 0;
  const bool left = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!shot && !left) return name(role) + " ended with status " + std::to_string(status);
  if (shot) fault_at_ = now;
  desk(role).dead.store(1);
  // Once a repairer was stopped the runner repairs, as the next one.
  if (!scenario_.roles[role].unwatched) sweep();
  return "";
}

// Whether all have done their part, of those that serve or of the others; the dead have.
bool Play::all_done(bool serving, bool stopped) const {
  for (size_t i = 0; i < roles(); i++) {
    if (scenario_.roles[i].serves != serving || desk(i).dead.load() != 0) continue;
    if (desk(i).stopped.load() != 0 && stopped) continue;
    if (desk(i).done.load() == 0) return false;
  }
  return true;
}

void Play::close_services() {
  board_.closing.store(1);
  for (size_t i = 0; i < roles(); i++) {
    if (!scenario_.roles[i].serves || desk(i).done.load() != 0) continue;
    for (Segment* segment : segments_) wakeup(*segment, desk(i).endpoint.load());
  }
}

std::string Play::look(int64_t now) {
  for (size_t i = 0; i < roles(); i++) {
    int status = 0;
    if (pids_[i] <= 0 || waitpid(pids_[i], &status, WNOHANG | WUNTRACED) != pids_[i]) continue;
    const std::string wrong = note_end(i, status, now);
    if (!wrong.empty()) return wrong;
  }
  for (size_t i = 0; i < roles(); i++) {
    if (desk(i).stopped.load() == 0 || pids_[i] <= 0) continue;
    if (shots_[i].fault == Fault::kStopKill) {
      if (now - stopped_at_ > kStoppedMs * 1'000'000) kill(pids_[i], SIGKILL);
    } else if (all_done(false, true)) {
      desk(i).stopped.store(0);
      fault_at_ = now;
      kill(pids_[i], SIGCONT);
    }
  }
  return "";
}

// The names of those that are neither done nor dead nor stopped.
std::string Play::unfinished() const {
  std::string who;
  for (size_t i = 0; i < roles(); i++) {
    const bool over = desk(i).done.load() != 0 || desk(i).dead.load() != 0;
    if (!over && desk(i).stopped.load() == 0) who += " " + name(i);
  }
  return who;
}

std::string Play::watch() {
  const int64_t begun = now_ns();
  for (;;) {
    const int64_t now = now_ns();
    const std::string wrong = look(now);
    if (!swept_) sweep();
    if (board_.failed.load() != 0) return board_.reason;
    if (!wrong.empty()) return wrong;
    if (all_done(false, false)) close_services();
    if (all_done(false, false) && all_done(true, false)) return "";
    if (fault_at_ != 0 && now > fault_at_ + kLateMs * 1'000'000 && late_.empty()) {
      late_ = unfinished();
    }
    if (now > std::max(begun, fault_at_) + kHangMs * 1'000'000) return "hangs:" + unfinished();
    usleep(fault_at_ == 0 ? 100 : 300);
  }
}

// Each message that was sent has come once, and one whose sender or receiver died once at most.
std::string Play::check_messages() const {
  bool killed = false;
  for (size_t i = 0; i < roles(); i++) killed = killed || desk(i).dead.load() != 0;
  for (size_t i = 0; i < roles(); i++) {
    const uint32_t received = desk(i).received.load();
    const bool lost = !killed && received < desk(i).least.load();
    if (!lost && received <= desk(i).most.load()) continue;
    return std::to_string(received) + " messages of " + name(i) + " came, " +
           std::to_string(desk(i).least.load()) + " to " + std::to_string(desk(i).most.load()) +
           " were sent";
  }
  return "";
}

// The slots of the dead are given out again, to work; nobody is reached by the old endpoint.
std::string Play::check_rebind() {
  sweep();
  for (size_t i = 0; i < roles() && !scenario_.ends; i++) {
    const int32_t old = desk(i).endpoint.load();
    if (desk(i).dead.load() == 0) continue;
    Segment& segment = *segments_[desk(i).node.load()];
    int index = old == 0 ? -1 : segment.slot_of(old);
    if (index >= 0 && lookup(segment, static_cast<uint32_t>(index)) >= 0) index = -1;  // given out
    BindOptions options;
    options.level = ProcessLevel::kServer;
    options.slot = index >= 0 && index < static_cast<int>(kSystemProcesses) ? index : -1;
    Process *server = nullptr, *client = nullptr;
    const int error = Process::bind(segment, options, &server);
    if (error != 0) return "a new process is not bound: " + std::to_string(error);
    const std::unique_ptr<Process> guard(server);
    if (Process::bind(segment, BindOptions{}, &client) != 0) return "a client is not bound";
    const std::unique_ptr<Process> client_guard(client);
    if (server->endpoint == old) return "the endpoint of the dead is given out again";
    // One that has moved to another node lives there.
    uint32_t slot;
    const bool gone = check_endpoint(segment, old, &slot) != 0;
    const int stale =
        old == 0 || !gone ? -EDEADSRCDST : start_send(*client, old, test::message(1, 1));
    if (stale != -EDEADSRCDST) return "a stale endpoint gives " + std::to_string(stale);
    Message request;
    bool works = start_sendrec(*client, server->endpoint, test::message(3, 5)) == kPending &&
                 rcvrqst(*server, &request, 0) == 0 && test::value_of(request) == 5;
    works = works && reply(*server, client->endpoint, test::message(4, 6)) == 0 &&
            step(*client) == 0 && test::value_of(client->operation.message) == 6;
    if (!works) return "the next owner of a slot cannot be called";
    if (client->unbind() != 0 || server->unbind() != 0) return "the next owner is not unbound";
  }
  return "";
}

std::string Play::check_tables(const char* when) const {
  for (Segment* segment : segments_) {
    const std::vector<std::string> faults = check_segment(*segment);
    if (!faults.empty()) return std::string("tables ") + when + ": " + faults[0];
  }
  return "";
}

std::string Play::leave() {
  board_.leaving.store(1);
  for (pid_t& pid : pids_) {
    int status = 0;
    if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0)) {
      return "a survivor does not leave: " + std::to_string(status);
    }
    pid = 0;
  }
  sweep();
  return "";
}

std::string Play::check_empty() const {
  for (Segment* segment : segments_) {
    for (uint32_t n = 0; n < segment->nodes(); n++) {
      if (n != segment->node_id()) remove_node(*segment, n);
    }
    const std::string wrong = check_tables("at the end");
    if (!wrong.empty()) return wrong;
    for (uint32_t i = 0; i < segment->processes(); i++) {
      if (load(segment->slot(i)->life) != static_cast<uint32_t>(ProcessLife::kFree)) {
        return "slot " + std::to_string(i) + " is not free at the end";
      }
    }
    if (arena_used(*segment) != 0) return "arena memory is lost";
  }
  return "";
}

}  // namespace

std::string play(const Scenario& scenario, const std::vector<Shot>& shots, Board& board) {
  memset(static_cast<void*>(&board), 0, sizeof board);
  return Play(scenario, shots, board).run();
}

}  // namespace dvk::crash
