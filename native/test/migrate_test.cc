// Moves of a process between nodes: start, commit, rollback, and what becomes of everything that
// was on its way. Reference: section 10.1 of the M3-IPC notes.

#include <errno.h>
#include <sched.h>
#include <string.h>

#include <atomic>
#include <thread>

#include "../core/notify.h"
#include "moves.h"

namespace dvk::test {
namespace {

TEST("a process moves to its backup's node, with its endpoint, and the old one stands by for it") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.move();
  CHECK_EQUAL(m.seen(1).life, static_cast<uint32_t>(ProcessLife::kLocal));
  CHECK_EQUAL(m.seen(1).endpoint, m.endpoint());
  CHECK_EQUAL(m.seen(0).life, static_cast<uint32_t>(ProcessLife::kRemote));
  CHECK_EQUAL(m.seen(0).flags, static_cast<uint32_t>(BindFlag::kBackup));
  for (uint32_t node = 0; node < 3; node++) CHECK_EQUAL(m.seen(node).node, 1);
  CHECK_EQUAL(step(*m.backup), kPending);
  for (uint32_t node = 0; node < 3; node++) {
    Process& client = bind_client(m.network[node]);
    CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, node)), kPending);
    m.serve(*m.backup, node);
    check_answer(client, node + 1);
    CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  }
  CHECK_EQUAL(step(*m.server), kPending);
  CHECK_EQUAL(reply(*m.server, m.endpoint(), message(1, 1)), -EDVSSTANDBY);
  m.whole();
}

TEST("calls that are made during a move wait, and are answered once, at the new place") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process* clients[4];
  for (uint32_t i = 0; i < 4; i++) {
    clients[i] = &bind_client(m.network[i % 3]);
    if (i == 3) CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
    CHECK_EQUAL(start_sendrec(*clients[i], m.endpoint(), message(1, i)), kPending);
    if (i != 3) m.network.pump();
  }
  CHECK_EQUAL(step(*m.server), kPending);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  int answers[4] = {};
  for (int served = 0; served < 4;) {
    for (Process* client : clients) {
      if (client->operation.stage != Operation::Stage::kNone) CHECK_EQUAL(step(*client), kPending);
    }
    m.network.pump();
    Message request;
    if (rcvrqst(*m.backup, &request, 0) != 0) continue;
    const uint64_t value = value_of(request);
    CHECK_EQUAL(request.source, clients[value]->endpoint);
    CHECK_EQUAL(reply(*m.backup, request.source, message(2, value + 1)), 0);
    m.network.pump();
    check_answer(*clients[value], value + 1);
    answers[value]++;
    served++;
  }
  for (const int count : answers) CHECK_EQUAL(count, 1);
  m.whole();
}

TEST("what was on its way to the old place when the move was committed comes back and goes on") {
  Move m;
  Process& far = bind_client(m.network[2]);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_receive(*m.backup, kEndpointAny), kPending);
  CHECK_EQUAL(migrate_start(m.network[0], m.endpoint(), kLong), 0);
  CHECK_EQUAL(step(*m.server), -EDVSMIGRATING);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  // Before node 2 hears of it.
  CHECK_EQUAL(start_send(far, m.endpoint(), message(1, 5)), kPending);
  const int32_t first = senda(far, m.endpoint(), message(1, 6), 0);
  CHECK(first >= 0);
  CHECK(m.network.move(2, 0));
  CHECK(m.network.move(2, 0));
  const int32_t second = senda(far, m.endpoint(), message(1, 7), 0);
  m.network.pump();
  CHECK_EQUAL(step(far), kPending);
  CHECK_EQUAL(senda_status(far, first), kPending);
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(step(far), kPending);
  for (const uint64_t value : {6, 7, 5}) {
    m.network.pump();
    if (m.backup->operation.stage == Operation::Stage::kNone) {
      CHECK_EQUAL(receive(*m.backup, kEndpointAny, &m.backup->operation.message, 0), 0);
    } else {
      CHECK_EQUAL(step(*m.backup), 0);
    }
    CHECK_EQUAL(value_of(m.backup->operation.message), value);
  }
  m.network.pump();
  CHECK_EQUAL(step(far), 0);
  CHECK_EQUAL(senda_status(far, first), 0);
  CHECK_EQUAL(senda_status(far, second), 0);
  m.whole();
}

TEST("notifications that wait go with the process, each once, with their values") {
  Move m;
  Process& here = bind_server(m.network[0], 3, "near");
  Process& there = bind_server(m.network[1], 4, "there");
  Process& far = bind_server(m.network[2], 5, "far");
  m.network.pump();
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(notify_from(here, m.endpoint(), kEndpointSelf, 0x10), 0);
  CHECK_EQUAL(notify_from(there, m.endpoint(), kEndpointSelf, 0x20), 0);
  CHECK_EQUAL(notify_from(far, m.endpoint(), kEndpointSelf, 0x40), 0);
  CHECK_EQUAL(notify_kernel(m.network[0], m.endpoint(), 0x80), 0);
  m.network.pump();
  m.start();
  // These are kept back at their nodes.
  CHECK_EQUAL(notify_from(far, m.endpoint(), kEndpointSelf, 0x400), 0);
  CHECK_EQUAL(notify_from(there, m.endpoint(), kEndpointSelf, 0x200), 0);
  m.network.pump();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  CHECK_EQUAL(notify_from(here, m.endpoint(), kEndpointSelf, 0x100), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  uint32_t values[4] = {};
  Message received;
  for (int left = 4; left > 0; left--) {
    CHECK_EQUAL(receive(*m.backup, kEndpointAny, &received, 0), 0);
    CHECK(m.backup->last_kind == MessageKind::kNotify);
    uint32_t value;
    memcpy(&value, received.payload, sizeof value);
    const int32_t source = received.source;
    values[source == kEndpointKernel  ? 3
           : source == here.endpoint  ? 0
           : source == there.endpoint ? 1
                                      : 2] |= value;
  }
  CHECK_EQUAL(receive(*m.backup, kEndpointAny, &received, 0), -EAGAIN);
  CHECK_EQUAL(values[0], 0x110);
  CHECK_EQUAL(values[1], 0x220);
  CHECK_EQUAL(values[2], 0x440);
  CHECK_EQUAL(values[3], 0x80);
  m.whole();
}

TEST("a rollback lets the process and its callers go on where they are") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process* clients[3];
  for (uint32_t node = 0; node < 3; node++) {
    clients[node] = &bind_client(m.network[node]);
    CHECK_EQUAL(start_sendrec(*clients[node], m.endpoint(), message(1, node)), kPending);
  }
  m.network.pump();
  CHECK_EQUAL(step(*m.server), kPending);
  CHECK_EQUAL(migrate_rollback(m.network[0], m.endpoint()), 0);
  CHECK_EQUAL(migrate_rollback(m.network[0], m.endpoint()), -EDVSPROCSTS);
  CHECK_EQUAL(m.outcome(), -ECANCELED);
  for (int round = 0; round < 3; round++) {
    m.network.pump();
    Message request;
    if (round == 0) {
      CHECK_EQUAL(step(*m.server), 0);
      request = m.server->operation.message;
    } else {
      CHECK_EQUAL(rcvrqst(*m.server, &request, 0), 0);
    }
    const uint64_t value = value_of(request);
    CHECK_EQUAL(reply(*m.server, request.source, message(2, value + 1)), 0);
    m.network.pump();
    check_answer(*clients[value], value + 1);
  }
  CHECK_EQUAL(m.seen(1).state, kStateStandsBy);
  m.whole();
}

TEST("a process moves there and back, many times, with its privileges") {
  Move m;
  Privileges privileges = default_privileges(ProcessLevel::kServer);
  privileges.ipc_to = 0xff;
  privileges.rights &= ~static_cast<uint32_t>(CallRight::kRelay);
  CHECK_EQUAL(set_privileges(m.network[0], m.endpoint(), privileges), 0);
  Process* at[2] = {m.server, m.backup};
  CHECK_EQUAL(start_rcvrqst(*at[0]), kPending);
  CHECK_EQUAL(start_rcvrqst(*at[1]), kPending);
  Process& client = bind_client(m.network[2]);
  for (uint32_t round = 0; round < 10; round++) {
    const uint32_t from = round % 2, to = 1 - from;
    CHECK_EQUAL(migrate_start(m.network[from], m.endpoint(), kLong), 0);
    CHECK_EQUAL(step(*at[from]), -EDVSMIGRATING);
    CHECK_EQUAL(start_rcvrqst(*at[from]), kPending);
    m.network.pump();
    CHECK_EQUAL(migrate_commit(m.network[from], m.endpoint(), to), 0);
    m.network.pump();
    CHECK_EQUAL(step(*at[to]), kPending);
    CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, round)), kPending);
    m.serve(*at[to], round);
    check_answer(client, round + 1);
    CHECK_EQUAL(start_rcvrqst(*at[to]), kPending);
    Privileges now;
    CHECK_EQUAL(get_privileges(m.network[to], m.endpoint(), &now), 0);
    CHECK_EQUAL(now.ipc_to, privileges.ipc_to);
    CHECK_EQUAL(now.rights, privileges.rights);
  }
  m.whole();
}

TEST("a process that has just arrived may be sent on before it has taken over, or stay") {
  Move m;
  Process& client = bind_client(m.network[2]);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.start();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(migrate_start(m.network[1], m.endpoint(), kLong), 0);
  CHECK_EQUAL(migrate_rollback(m.network[1], m.endpoint()), 0);
  CHECK_EQUAL(migrate_start(m.network[1], m.endpoint(), kLong), 0);
  CHECK_EQUAL(step(*m.backup), -EDVSMIGRATING);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.network.pump();
  CHECK_EQUAL(migrate_rollback(m.network[1], m.endpoint()), 0);
  m.network.pump();
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 1)), kPending);
  m.serve(*m.backup, 1);
  check_answer(client, 2);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  CHECK_EQUAL(migrate_start(m.network[1], m.endpoint(), kLong), 0);
  CHECK_EQUAL(step(*m.backup), -EDVSMIGRATING);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.network.pump();
  CHECK_EQUAL(migrate_commit(m.network[1], m.endpoint(), 0), 0);
  m.network.pump();
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 5)), kPending);
  m.serve(*m.server, 5);
  check_answer(client, 6);
  m.whole();
}

TEST("a process that owes a reply, or has grants, arena memory or messages, does not move yet") {
  Move m;
  Process& client = bind_client(m.network[2]);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 1)), kPending);
  m.network.pump();
  CHECK_EQUAL(step(*m.server), 0);
  CHECK_EQUAL(migrate_start(m.network[0], m.endpoint(), kLong), 0);
  m.network.pump();
  const auto commit = [&] { return migrate_commit(m.network[0], m.endpoint(), 1); };
  CHECK_EQUAL(commit(), -EAGAIN);
  CHECK_EQUAL(start_rcvrqst(*m.server), -EDVSMIGRATING);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(commit(), -EDVSPROCSTS);
  CHECK_EQUAL(reply(*m.server, client.endpoint, message(2, 2)), 0);
  m.network.pump();
  check_answer(client, 2);
  uint64_t words[2] = {};
  const int32_t id = grant(*m.server, words, sizeof words, 1, kEndpointAny);
  CHECK_EQUAL(commit(), -EDVSPROCSTS);
  CHECK_EQUAL(revoke(*m.server, id), 0);
  const int64_t page = arena_allocate(*m.server, 4096);
  CHECK_EQUAL(commit(), -EDVSPROCSTS);
  CHECK_EQUAL(arena_free(*m.server, static_cast<uint64_t>(page)), 0);
  const int32_t letter = senda(*m.server, client.endpoint, message(1, 1), 0);
  CHECK_EQUAL(commit(), -EDVSPROCSTS);
  m.network.pump();
  Message received;
  CHECK_EQUAL(receive(client, kEndpointAny, &received, 0), 0);
  m.network.pump();
  CHECK_EQUAL(senda_status(*m.server, letter), 0);
  CHECK_EQUAL(commit(), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  m.whole();
}

TEST("a server that waits for another one goes on until it would receive") {
  Move m;
  Process& other = bind_server(m.network[2], 5, "other");
  Process& client = bind_client(m.network[2]);
  m.network.pump();
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_rcvrqst(other), kPending);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 1)), kPending);
  m.network.pump();
  CHECK_EQUAL(step(*m.server), 0);
  CHECK_EQUAL(start_sendrec(*m.server, other.endpoint, message(1, 8)), kPending);
  m.network.pump();
  CHECK_EQUAL(step(other), 0);
  CHECK_EQUAL(migrate_start(m.network[0], m.endpoint(), kLong), 0);
  m.network.pump();
  // As the answer, a plain send; it is not kept back.
  CHECK_EQUAL(start_send(other, m.endpoint(), message(1, 9)), kPending);
  m.network.pump();
  CHECK_EQUAL(step(other), 0);
  check_answer(*m.server, 9);
  CHECK_EQUAL(reply(*m.server, client.endpoint, message(2, 2)), 0);
  m.network.pump();
  check_answer(client, 2);
  CHECK_EQUAL(start_rcvrqst(*m.server), -EDVSMIGRATING);
  m.whole();
}

TEST("who may not move is refused") {
  Move m;
  Segment& home = m.network[0];
  Process& client = bind_client(home);
  CHECK_EQUAL(migrate_start(home, client.endpoint, kLong), -EDVSBADPROC);
  CHECK_EQUAL(migrate_start(home, make_endpoint(20, 1), kLong), -EDEADSRCDST);
  CHECK_EQUAL(migrate_start(home, kEndpointAny, kLong), -ERANGE);
  CHECK_EQUAL(migrate_start(m.network[1], m.endpoint(), kLong), -EDVSRMTPROC);
  CHECK_EQUAL(migrate_commit(home, m.endpoint(), 1), -EDVSPROCSTS);
  CHECK_EQUAL(migrate(home, m.endpoint(), 0, kLong), -EDVSLCLPROC);
  CHECK_EQUAL(migrate(home, m.endpoint(), 3, kLong), -EDVSNODCNODE);
  CHECK_EQUAL(migrate(home, m.endpoint(), 99, kLong), -EDVSBADNODEID);
  BindOptions options;
  options.slot = 11;
  options.level = ProcessLevel::kServer;
  options.no_migrate = true;
  Process* rooted = nullptr;
  CHECK_EQUAL(Process::bind(home, options, &rooted), 0);
  CHECK_EQUAL(migrate_start(home, rooted->endpoint, kLong), -EDVSPROCSTS);
  options.kind = BindKind::kReplica;
  options.no_migrate = false;
  options.endpoint = make_endpoint(12, 0);
  CHECK_EQUAL(Process::bind(home, options, &rooted), 0);
  CHECK_EQUAL(migrate_start(home, rooted->endpoint, kLong), -EDVSPROCSTS);
  CHECK_EQUAL(migrate_start(home, m.endpoint(), kLong), 0);
  CHECK_EQUAL(migrate_start(home, m.endpoint(), kLong), -EDVSMIGRATING);
  CHECK_EQUAL(migrate_commit(home, m.endpoint(), 1), -EAGAIN);
  end_container(home);
  CHECK_EQUAL(migrate_rollback(home, m.endpoint()), -EDVSDCNOTRUN);
}

TEST("a move that nobody commits ends by itself when its time is over") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(migrate_start(m.network[0], m.endpoint(), 0), 0);
  CHECK_EQUAL(step(*m.server), -EDVSMIGRATING);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(m.outcome(), -ETIMEDOUT);
  CHECK_EQUAL(migrate_start(m.network[0], m.endpoint(), 0), 0);
  // Its own next step may see to that, too; or the node daemon.
  CHECK_EQUAL(sweep(m.network[0]), 0);
  CHECK_EQUAL(m.outcome(), -ETIMEDOUT);
  m.network.pump();
  Process& client = bind_client(m.network[1]);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 3)), kPending);
  m.serve(*m.server, 3);
  check_answer(client, 4);
  m.whole();
}

TEST("a call waits for a process that arrives at its node") {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);
  const auto set = [&](ProcessLife life) {
    atomic(server.slot->life).store(static_cast<uint32_t>(life));
  };
  for (int i = 0; i < 100; i++) {
    set(ProcessLife::kArriving);
    std::atomic<bool> begins{false};
    std::thread proxy([&] {
      while (!begins.load()) sched_yield();
      set(ProcessLife::kLocal);
    });
    begins.store(true);
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 1)), kPending);
    proxy.join();
    CHECK_EQUAL(cancel(client, -ETIMEDOUT), -ETIMEDOUT);
  }
}

}  // namespace
}  // namespace dvk::test
