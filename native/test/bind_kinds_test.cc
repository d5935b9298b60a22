// Every kind of bind: for a thread, for another program, as a replica, as a backup that is
// promoted; and the end of all that is bound. Reference: sections 5.1 and 5.7 of the M3-IPC notes.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <span>
#include <thread>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "../core/privilege.h"
#include "../core/search.h"
#include "../core/senda.h"
#include "../core/slots.h"
#include "../core/standby.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr int32_t kEndpoint = 9;

BindOptions options_of(BindKind kind, int32_t endpoint = kEndpoint, uint32_t node = 0) {
  BindOptions options;
  options.kind = kind;
  options.level = ProcessLevel::kServer;
  options.name = "bound";
  options.endpoint = endpoint;
  options.node = node;
  return options;
}

Process& bind_as(Segment& segment, const BindOptions& options) {
  Process* process = nullptr;
  CHECK_EQUAL(Process::bind(segment, options, &process), 0);
  return *process;
}

ProcessInfo info_of(Segment& segment, uint32_t slot) {
  ProcessInfo info{};
  CHECK_EQUAL(process_info(segment, slot, &info), 0);
  return info;
}

TEST("a slot of a thread is freed when the thread has ended, and one of the program is not") {
  const Container container;
  Segment& segment = container.segment;
  Process* of_thread = nullptr;
  Process* of_program = nullptr;
  std::thread([&] {
    of_thread = &bind_as(segment, options_of(BindKind::kThread));
    of_program = &bind_client(segment);
    CHECK_EQUAL(info_of(segment, of_thread->index).thread, gettid());
    CHECK_EQUAL(reap(segment, of_thread->index, of_thread->endpoint), 0);
  }).join();
  CHECK_EQUAL(reap(segment, of_program->index, of_program->endpoint), 0);
  CHECK_EQUAL(reap(segment, of_thread->index, of_thread->endpoint), 1);
  CHECK_EQUAL(lookup(segment, of_thread->index), -EDVSNOTBOUND);
  CHECK_EQUAL(damage(segment), "");
}

TEST("who waits for a process of a thread that has ended finds that out by itself") {
  const Container container;
  Segment& segment = container.segment;
  Process& waiter = bind_client(segment);
  Process* gone = nullptr;
  std::thread([&] { gone = &bind_as(segment, options_of(BindKind::kThread)); }).join();
  Message received;
  CHECK_EQUAL(receive(waiter, gone->endpoint, &received, 10'000), -ESRCDIED);
  CHECK_EQUAL(send(waiter, gone->endpoint, message(1, 1), 10'000), -EDEADSRCDST);
}

TEST("a thread can be bound by itself alone") {
  const Container container;
  const pid_t child = spawn([] { pause(); });
  BindOptions options = options_of(BindKind::kThread);
  options.pid = child;
  CHECK_EQUAL(bind_error(container.segment, options), -EINVAL);
  CHECK_EQUAL(bind_for(container.segment, options), -EINVAL);
  kill(child, SIGKILL);
  join_killed(child);
}

TEST("another program takes the slot that was bound for it, and what was sent there meanwhile") {
  const Container container;
  Segment& segment = container.segment;
  Process& parent = bind_server(segment, 1);
  const int32_t reply_to = parent.endpoint;
  const pid_t child = spawn([&] {
    Process* own = nullptr;
    CHECK_EQUAL(Process::adopt(segment, 10'000, &own), 0);
    CHECK_EQUAL(own->pid, getpid());
    CHECK_EQUAL(info_of(segment, own->index).flags, 0);
    Message received;
    CHECK_EQUAL(receive(*own, kEndpointAny, &received, 10'000), 0);
    CHECK_EQUAL(send(*own, reply_to, received, 10'000), 0);
    CHECK_EQUAL(Process::adopt(segment, 0, &own), -EAGAIN);
    CHECK_EQUAL(own->unbind(), 0);
  });
  BindOptions options = options_of(BindKind::kProcess);
  options.slot = 7;
  options.pid = child;
  const int32_t endpoint = bind_for(segment, options);
  CHECK_EQUAL(segment.slot_of(endpoint), 7);
  CHECK_EQUAL(bind_for(segment, options), -EDVSSLOTUSED);
  CHECK_EQUAL(send(parent, endpoint, message(3, 33), 10'000), 0);
  Message received;
  CHECK_EQUAL(receive(parent, endpoint, &received, 10'000), 0);
  CHECK_EQUAL(value_of(received), 33);
  join(child);
  CHECK_EQUAL(damage(segment), "");
}

TEST("a slot whose program dies before it took it is freed, and one of a dead program not bound") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t child = spawn([] { pause(); });
  BindOptions options = options_of(BindKind::kProcess);
  options.pid = child;
  const int32_t endpoint = bind_for(segment, options);
  const uint32_t slot = static_cast<uint32_t>(segment.slot_of(endpoint));
  CHECK_EQUAL(info_of(segment, slot).pid, child);
  CHECK_EQUAL(info_of(segment, slot).flags, static_cast<uint32_t>(BindFlag::kHanded));
  CHECK_EQUAL(find_pid(segment, child, 0), endpoint);
  Process* none = nullptr;
  CHECK_EQUAL(Process::adopt(segment, 0, &none), -EAGAIN);
  CHECK_EQUAL(Process::adopt(segment, 1, &none), -ETIMEDOUT);
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(reap(segment, slot, endpoint), 1);
  CHECK_EQUAL(bind_for(segment, options), -ESRCH);
  end_container(segment);
  CHECK_EQUAL(Process::adopt(segment, kForever, &none), -EDVSDCNOTRUN);
  CHECK_EQUAL(bind_for(segment, options), -EDVSDCNOTRUN);
}

TEST("a replica has the endpoint that it was given, and is shown as one") {
  const Container container;
  Segment& segment = container.segment;
  const int32_t endpoint = make_endpoint(9, 5);
  Process& replica = bind_as(segment, options_of(BindKind::kReplica, endpoint));
  CHECK_EQUAL(replica.endpoint, endpoint);
  CHECK_EQUAL(info_of(segment, 9).flags, static_cast<uint32_t>(BindFlag::kReplica));
  CHECK_EQUAL(info_of(segment, 9).life, static_cast<uint32_t>(ProcessLife::kLocal));
  CHECK_EQUAL(bind_error(segment, options_of(BindKind::kReplica, endpoint)), -EDVSSLOTUSED);
  CHECK_EQUAL(bind_error(segment, options_of(BindKind::kReplica, 64)), -EDVSBADPROC);
  CHECK_EQUAL(bind_error(segment, options_of(BindKind::kReplica, kEndpointAny)), -EDVSBADPROC);
  Process& client = bind_client(segment);
  CHECK_EQUAL(start_receive(replica, kEndpointAny), kPending);
  CHECK_EQUAL(send(client, endpoint, message(1, 1), 1000), 0);
  CHECK_EQUAL(step(replica), 0);
  CHECK_EQUAL(replica.unbind(), 0);
  CHECK_EQUAL(generation_of(bind_server(segment, 9).endpoint), 6);
}

TEST("replicas of two nodes keep their own, and a third node calls one of them") {
  Network network(3);
  Process& here = bind_as(network[0], options_of(BindKind::kReplica));
  Process& there = bind_as(network[1], options_of(BindKind::kReplica));
  for (uint32_t from = 0; from < 2; from++) {
    for (uint32_t to = 0; to < 3; to++) {
      Command command;
      if (from == to || !network.take(from, to, &command)) continue;
      const bool other_replica = to < 2;
      const int brought = network.bring(to, command);
      CHECK(brought == 0 || brought == -EDVSSLOTUSED);
      if (other_replica) CHECK_EQUAL(brought, -EDVSSLOTUSED);
    }
  }
  CHECK_EQUAL(here.endpoint, there.endpoint);
  CHECK_EQUAL(info_of(network[2], 9).node, 0);
  Process& client = bind_client(network[2]);
  CHECK_EQUAL(start_receive(here, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(client, here.endpoint, message(1, 5)), kPending);
  network.pump();
  CHECK_EQUAL(step(client), 0);
  CHECK_EQUAL(step(here), 0);
}

// A primary on node 0, its backup on node 1, and a client on node 1.
struct Pair {
  Pair() {
    network.pump();
    primary = &bind_server(network[0], 9, "primary");
    network.pump();
    CHECK_EQUAL(primary->endpoint, kEndpoint);
    backup = &bind_as(network[1], options_of(BindKind::kBackup));
    network.pump();
  }
  Network network{3};
  Process* primary = nullptr;
  Process* backup = nullptr;
  Process& client = bind_client(network[1]);
  Segment& here() {
    return network[1];
  }
};

TEST("a backup is shown with its program, and its endpoint reaches the primary") {
  Pair p;
  const ProcessInfo info = info_of(p.here(), 9);
  CHECK_EQUAL(info.flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(info.life, static_cast<uint32_t>(ProcessLife::kRemote));
  CHECK_EQUAL(info.node, 0);
  CHECK_EQUAL(info.pid, getpid());
  CHECK_EQUAL(info.state, kStateStandsBy);
  CHECK_EQUAL(p.backup->endpoint, p.primary->endpoint);
  CHECK_EQUAL(start_receive(*p.primary, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(p.client, kEndpoint, message(1, 7)), kPending);
  p.network.pump();
  CHECK_EQUAL(step(*p.primary), 0);
  CHECK_EQUAL(value_of(p.primary->operation.message), 7);
  CHECK_EQUAL(step(p.client), 0);
}

TEST("a backup is refused where there can be none") {
  Pair p;
  Segment& here = p.here();
  const auto error = [&](int32_t endpoint, uint32_t node) {
    return bind_error(here, options_of(BindKind::kBackup, endpoint, node));
  };
  CHECK_EQUAL(error(64, 0), -EDVSBADPROC);
  CHECK_EQUAL(error(10, 4), -EDVSBADNODEID);
  CHECK_EQUAL(error(10, 1), -EDVSLCLPROC);
  CHECK_EQUAL(error(10, 3), -EDVSNODCNODE);
  CHECK_EQUAL(add_node(here, 3, "n3"), 0);
  CHECK_EQUAL(error(10, 3), -EDVSNOPROXY);
  CHECK_EQUAL(error(kEndpoint, 0), -EDVSSLOTUSED);
  CHECK_EQUAL(error(kEndpoint, 2), -EDVSSLOTUSED);
  CHECK_EQUAL(error(make_endpoint(9, 1), 0), -EDVSSLOTUSED);
  bind_server(here, 10);
  CHECK_EQUAL(error(10, 0), -EDVSSLOTUSED);
  CHECK_EQUAL(promote(here, p.client.endpoint), -EDVSPROCSTS);
  CHECK_EQUAL(promote(here, 77), -EDEADSRCDST);
  CHECK_EQUAL(promote(here, kEndpointAny), -ERANGE);
}

TEST("calls of a backup that wait are bounded by their time, and the others fail") {
  Pair p;
  Process& backup = *p.backup;
  Message received;
  CHECK_EQUAL(receive(backup, kEndpointAny, &received, 0), -EAGAIN);
  CHECK_EQUAL(rcvrqst(backup, &received, 1), -ETIMEDOUT);
  CHECK_EQUAL(send(backup, p.client.endpoint, message(1, 1), 1), -ETIMEDOUT);
  CHECK_EQUAL(sendrec(backup, p.client.endpoint, &received, 1), -ETIMEDOUT);
  CHECK_EQUAL(wait_bind(backup, 3, 1), -ETIMEDOUT);
  CHECK_EQUAL(wait_unbind(backup, p.client.endpoint, 1), -ETIMEDOUT);
  CHECK_EQUAL(notify(backup, p.client.endpoint), -EDVSSTANDBY);
  CHECK_EQUAL(reply(backup, p.client.endpoint, message(1, 1)), -EDVSSTANDBY);
  CHECK_EQUAL(senda(backup, p.client.endpoint, message(1, 1), 0), -EDVSSTANDBY);
  CHECK_EQUAL(grant(backup, &received, 8, 1, kEndpointAny), -EDVSSTANDBY);
  CHECK_EQUAL(arena_allocate(backup, 1), -EDVSSTANDBY);
  CHECK_EQUAL(start_receive(backup, kEndpointAny), kPending);
  CHECK_EQUAL(start_receive(backup, kEndpointAny), -EBUSY);
  CHECK_EQUAL(step(backup), kPending);
  CHECK_EQUAL(cancel(backup, -ECANCELED), -ECANCELED);
  CHECK_EQUAL(start_receive(backup, kEndpointAny), kPending);
  end_container(p.here());
  CHECK_EQUAL(step(backup), -EDVSDCNOTRUN);
}

TEST("a promoted backup begins the call that waited, and serves who calls from then on") {
  Pair p;
  Message received;
  std::thread waits([&] {
    CHECK_EQUAL(rcvrqst(*p.backup, &received, 20'000), 0);
    CHECK_EQUAL(value_of(received), 5);
    CHECK_EQUAL(reply(*p.backup, received.source, message(2, 6)), 0);
  });
  link_down(p.here(), 0);
  CHECK_EQUAL(promote(p.here(), kEndpoint), 0);
  Message request = message(1, 5);
  CHECK_EQUAL(sendrec(p.client, kEndpoint, &request, 20'000), 0);
  CHECK_EQUAL(request.source, kEndpoint);
  CHECK_EQUAL(value_of(request), 6);
  waits.join();
  const ProcessInfo info = info_of(p.here(), 9);
  CHECK_EQUAL(info.life, static_cast<uint32_t>(ProcessLife::kLocal));
  CHECK_EQUAL(info.node, 1);
  CHECK_EQUAL(info.flags, 0);
  CHECK_EQUAL(promote(p.here(), kEndpoint), -EDVSPROCSTS);
  Privileges rights{};
  CHECK_EQUAL(get_privileges(p.here(), kEndpoint, &rights), 0);
  CHECK_EQUAL(rights.rights, default_privileges(ProcessLevel::kServer).rights);
  CHECK_EQUAL(p.backup->unbind(), 0);
  CHECK_EQUAL(damage(p.here()), "");
}

TEST(
    "calls that are under way to the primary end at the promotion, and late answers reach nobody") {
  Pair p;
  Segment& here = p.here();
  Process& queued = bind_client(here);
  Process& taken = bind_client(here);
  Process& answered = bind_client(here);
  Process& receives = bind_client(here);
  CHECK_EQUAL(start_sendrec(answered, kEndpoint, message(1, 1)), kPending);
  p.network.pump();
  CHECK_EQUAL(start_rcvrqst(*p.primary), 0);
  CHECK_EQUAL(start_send(taken, kEndpoint, message(1, 2)), kPending);
  Command on_its_way;
  CHECK(p.network.take(1, 0, &on_its_way));
  CHECK_EQUAL(start_sendrec(queued, kEndpoint, message(1, 3)), kPending);
  CHECK_EQUAL(start_receive(receives, kEndpoint), kPending);
  CHECK_EQUAL(promote(here, kEndpoint), 0);
  for (Process* waiter : {&queued, &taken, &answered, &receives}) {
    const int result = step(*waiter);
    CHECK(result == -ESRCDIED || result == -EDSTDIED);
  }
  // The former primary goes on for a while.
  CHECK_EQUAL(reply(*p.primary, answered.endpoint, message(2, 9)), 0);
  CHECK_EQUAL(p.network.bring(0, on_its_way), 0);
  Command late;
  while (p.network.take(0, 1, &late)) p.network.bring(1, late);
  CHECK(!p.network.take(1, 0, &late) || late.kind == kCommandProcbind);
  Message request = message(1, 4);
  std::thread serves([&] {
    Message received;
    CHECK_EQUAL(rcvrqst(*p.backup, &received, 20'000), 0);
    CHECK_EQUAL(value_of(received), 4);
    CHECK_EQUAL(reply(*p.backup, received.source, message(2, 8)), 0);
  });
  CHECK_EQUAL(sendrec(answered, kEndpoint, &request, 20'000), 0);
  serves.join();
  CHECK_EQUAL(value_of(request), 8);
  CHECK_EQUAL(damage(here), "");
}

TEST("the other nodes find the new owner once they lost the primary's node, or it unbound") {
  Pair p;
  Process& client = bind_client(p.network[2]);
  CHECK_EQUAL(info_of(p.network[2], 9).node, 0);
  CHECK_EQUAL(p.primary->unbind(), 0);
  p.network.pump();
  CHECK_EQUAL(lookup(p.network[2], 9), -EDVSNOTBOUND);
  CHECK_EQUAL(info_of(p.here(), 9).flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(promote(p.here(), kEndpoint), 0);
  p.network.pump();
  CHECK_EQUAL(info_of(p.network[2], 9).node, 1);
  CHECK_EQUAL(start_receive(*p.backup, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(client, kEndpoint, message(1, 2)), kPending);
  p.network.pump();
  CHECK_EQUAL(step(client), 0);
  CHECK_EQUAL(step(*p.backup), 0);
}

// Nearly all of a promotion.
void place_backup(Segment& segment) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(kEndpoint));
  quiet_descriptor(segment, index);
  renew(segment, index);
  store(segment.privilege(index)->held,
        default_privileges(ProcessLevel::kServer).rights | static_cast<uint32_t>(kHeldRights));
}

// A promotion whose process is killed: at its first change, or when it has `placed` the backup.
void promote_halfway(Segment& segment, bool placed) {
  const pid_t child = spawn([&] {
    const TableLock lock(segment);
    const uint32_t index = static_cast<uint32_t>(segment.slot_of(kEndpoint));
    ProcessSlot* slot = segment.slot(index);
    set_life(slot, ProcessLife::kArriving);
    if (placed) {
      place_backup(segment);
      store(slot->node, segment.node_id());
    }
    kill(getpid(), SIGKILL);
  });
  join_killed(child);
}

// The backup has the endpoint, and answers who calls it.
void check_served(Pair& p) {
  CHECK_EQUAL(start_sendrec(p.client, kEndpoint, message(1, 5)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(*p.backup, &request, 0), 0);
  CHECK_EQUAL(reply(*p.backup, request.source, message(2, 6)), 0);
  CHECK_EQUAL(step(p.client), 0);
  CHECK_EQUAL(value_of(p.client.operation.message), 6);
  CHECK_EQUAL(damage(p.here()), "");
}

TEST("a promotion that is killed is undone, and the next one is whole") {
  Pair p;
  promote_halfway(p.here(), false);
  CHECK_EQUAL(lookup(p.here(), 9), kEndpoint);
  CHECK(damage(p.here()) != "");
  CHECK_EQUAL(sweep(p.here()), 0);
  CHECK_EQUAL(damage(p.here()), "");
  CHECK_EQUAL(info_of(p.here(), 9).life, static_cast<uint32_t>(ProcessLife::kRemote));
  CHECK_EQUAL(info_of(p.here(), 9).flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(info_of(p.here(), 9).node, 0);
  CHECK_EQUAL(promote(p.here(), kEndpoint), 0);
  check_served(p);
}

TEST("a promotion that is killed when the backup is placed is finished, and told of") {
  Pair p;
  link_down(p.here(), 0);
  link_down(p.network[2], 0);
  promote_halfway(p.here(), true);
  CHECK_EQUAL(promote(p.here(), kEndpoint), -EDVSPROCSTS);
  check_served(p);
  p.network.pump();
  CHECK_EQUAL(info_of(p.network[2], 9).node, 1);
}

TEST("a call finds a promotion that was killed, and mends it") {
  Pair p;
  promote_halfway(p.here(), true);
  check_served(p);
}

TEST("calls wait while a promotion stands still, and no answer says that anybody died") {
  Pair p;
  Segment& here = p.here();
  Process& sender = bind_client(here);
  Process& receiver = bind_client(here);
  Process& watcher = bind_client(here);
  Process& other = bind_server(here, 3);
  Message m;
  {
    const TableLock lock(here);
    set_life(p.backup->slot, ProcessLife::kArriving);
    place_backup(here);
    CHECK_EQUAL(start_send(sender, kEndpoint, message(1, 1)), kPending);
    CHECK_EQUAL(start_receive(receiver, kEndpoint), kPending);
    CHECK_EQUAL(start_wait_unbind(watcher, kEndpoint), kPending);
    CHECK_EQUAL(sendrec(p.client, kEndpoint, &m, 0), -EAGAIN);
    CHECK_EQUAL(sendrec(p.client, kEndpoint, &m, 1), -ETIMEDOUT);
    CHECK_EQUAL(notify(other, kEndpoint), 0);
    const int32_t posted = senda(other, kEndpoint, message(1, 2), 0);
    CHECK(posted >= 0);
    CHECK_EQUAL(reply(other, kEndpoint, message(1, 1)), -EDVSMIGRATING);
    Privileges rights{};
    CHECK_EQUAL(get_privileges(here, kEndpoint, &rights), -EDVSMIGRATING);
    CHECK_EQUAL(step(sender), kPending);
    CHECK_EQUAL(step(receiver), kPending);
    Search found[4];
    CHECK_EQUAL(detach_tracker(here), -EDVSNOPROXY);
    end_orphans(here);
    for (const Search& search : std::span(found, searches(here, 0, found, 4))) {
      CHECK(!end_search(here, search.seeker, search.call_id, EDEADSRCDST));
    }
    end_arrival(here, p.backup->index);
  }
  CHECK_EQUAL(step(watcher), kPending);
  CHECK_EQUAL(step(sender), kPending);
  CHECK_EQUAL(receive(*p.backup, sender.endpoint, &m, 0), 0);
  CHECK_EQUAL(step(sender), 0);
  CHECK_EQUAL(receive(*p.backup, other.endpoint, &m, 0), 0);
  CHECK_EQUAL(m.type, static_cast<int32_t>(kNotifyType));
  CHECK_EQUAL(receive(*p.backup, other.endpoint, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 2);
  CHECK_EQUAL(step(receiver), kPending);
  CHECK_EQUAL(send(*p.backup, receiver.endpoint, message(1, 3), 0), 0);
  CHECK_EQUAL(step(receiver), 0);
  check_served(p);
}

TEST("when the primary goes, who waits for it is told, and the backup stays") {
  Pair p;
  CHECK_EQUAL(start_receive(p.client, kEndpoint), kPending);
  CHECK_EQUAL(start_receive(*p.backup, kEndpointAny), kPending);
  CHECK_EQUAL(p.primary->unbind(), 0);
  p.network.pump();
  CHECK_EQUAL(step(p.client), -ESRCDIED);
  CHECK_EQUAL(step(*p.backup), kPending);
  Message request = message(1, 1);
  CHECK_EQUAL(p.network.during([&] { return sendrec(p.client, kEndpoint, &request, 10'000); }),
              -EDEADSRCDST);
  // The link comes back after a loss: what was known of the node is forgotten, but for the backup.
  CHECK_EQUAL(link_up(p.here(), 0, 2), 0);
  CHECK_EQUAL(info_of(p.here(), 9).flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(remove_node(p.here(), 0), 0);
  CHECK_EQUAL(info_of(p.here(), 9).flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(step(*p.backup), kPending);
}

TEST("when the backup ends, or dies, the endpoint is the primary's alone") {
  Pair p;
  CHECK_EQUAL(start_receive(*p.backup, kEndpointAny), kPending);
  CHECK_EQUAL(p.backup->unbind(), 0);
  CHECK_EQUAL(p.backup->unbind(), -EDVSNOTBOUND);
  CHECK_EQUAL(step(*p.backup), -EDVSNOTBOUND);
  ProcessInfo info = info_of(p.here(), 9);
  CHECK_EQUAL(info.life, static_cast<uint32_t>(ProcessLife::kRemote));
  CHECK_EQUAL(info.flags, 0);
  CHECK_EQUAL(info.pid, 0);
  const pid_t child = spawn([] { pause(); });
  BindOptions options = options_of(BindKind::kBackup);
  options.pid = child;
  CHECK_EQUAL(bind_for(p.here(), options), kEndpoint);
  CHECK_EQUAL(reap(p.here(), 9, kEndpoint), 0);
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(promote(p.here(), kEndpoint), -ESRCH);
  CHECK_EQUAL(info_of(p.here(), 9).flags, 0);
  CHECK_EQUAL(start_receive(*p.primary, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(p.client, kEndpoint, message(1, 3)), kPending);
  p.network.pump();
  CHECK_EQUAL(step(*p.primary), 0);
  CHECK_EQUAL(step(p.client), 0);
}

TEST("a dead backup is found when its slot is looked after, and another one may stand by") {
  Pair p;
  CHECK_EQUAL(p.backup->unbind(), 0);
  const pid_t child = spawn([&] { bind_as(p.here(), options_of(BindKind::kBackup)); });
  join(child);
  CHECK_EQUAL(info_of(p.here(), 9).flags, static_cast<uint32_t>(BindFlag::kBackup));
  CHECK_EQUAL(reap(p.here(), 9, kEndpoint), 1);
  CHECK_EQUAL(reap(p.here(), 9, kEndpoint), 0);
  CHECK_EQUAL(info_of(p.here(), 9).flags, 0);
  bind_as(p.here(), options_of(BindKind::kBackup));
}

TEST("a next owner of the primary's slot ends the backup of the one before") {
  Pair p;
  CHECK_EQUAL(start_receive(*p.backup, kEndpointAny), kPending);
  CHECK_EQUAL(p.primary->unbind(), 0);
  const Process& next = bind_server(p.network[0], 9);
  p.network.pump();
  CHECK_EQUAL(lookup(p.here(), 9), next.endpoint);
  CHECK_EQUAL(step(*p.backup), -EDVSNOTBOUND);
  CHECK_EQUAL(p.backup->unbind(), -EDVSNOTBOUND);
}

TEST("the end of a container waits until its processes are gone, and frees the dead") {
  const Container container;
  Segment& segment = container.segment;
  Process& last = bind_client(segment);
  const pid_t child = spawn([&] { bind_client(segment); });
  join(child);
  end_container(segment);
  CHECK_EQUAL(wait_none_bound(segment, 0), -EAGAIN);
  CHECK_EQUAL(count_bound(segment), 1);
  CHECK_EQUAL(wait_none_bound(segment, 1), -ETIMEDOUT);
  std::thread unbinds([&] { CHECK_EQUAL(last.unbind(), 0); });
  CHECK_EQUAL(wait_none_bound(segment, 20'000), 0);
  unbinds.join();
}

TEST("one program at a time is the proxy for a node") {
  const Container container;
  Segment& segment = container.segment;
  CHECK_EQUAL(detach_proxy(segment, 1), -EDVSNODCNODE);
  CHECK_EQUAL(add_node(segment, 1, "n1"), 0);
  CHECK_EQUAL(detach_proxy(segment, 1), -EDVSNOPROXY);
  CHECK_EQUAL(detach_proxy(segment, 0), -EDVSBADNODEID);
  const pid_t child = spawn([&] {
    CHECK_EQUAL(attach_proxy(segment, 1, 0), 0);
    CHECK_EQUAL(link_up(segment, 1, 1), 0);
    pause();
  });
  until("the link is up", [&] { return check_link(segment, 1) == 0; });
  CHECK_EQUAL(attach_proxy(segment, 1, 0), -EDVSPROXYRUN);
  CHECK_EQUAL(detach_proxy(segment, 1), -EDVSNOPROXY);
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(attach_proxy(segment, 1, 0), 0);
  CHECK_EQUAL(attach_proxy(segment, 1, 0), 0);
  CHECK_EQUAL(detach_proxy(segment, 1), 0);
  CHECK_EQUAL(check_link(segment, 1), -EDVSNOPROXY);
}

}  // namespace
}  // namespace dvk::test
