// Moves of a process that lose their node, their link, their backup or their process in the middle:
// there is one owner, and nothing waits for ever.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "../core/notify.h"
#include "../core/slots.h"
#include "moves.h"

namespace dvk::test {
namespace {

TEST("a node without a living backup refuses, and the process goes on where it was") {
  Move m;
  CHECK_EQUAL(m.backup->unbind(), 0);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(notify_kernel(m.network[0], m.endpoint(), 3), 0);
  m.start();
  Process* clients[3];
  for (uint32_t node = 0; node < 3; node++) {
    clients[node] = &bind_client(m.network[node]);
    CHECK_EQUAL(start_sendrec(*clients[node], m.endpoint(), message(1, node)), kPending);
  }
  m.network.pump();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), -ESRCH);
  CHECK_EQUAL(m.seen(0).life, static_cast<uint32_t>(ProcessLife::kLocal));
  for (Process* client : clients) CHECK_EQUAL(step(*client), kPending);
  m.network.pump();
  for (int round = 0; round < 3; round++) {
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
  Message received;
  CHECK_EQUAL(receive(*m.server, kEndpointKernel, &received, 0), 0);
  CHECK_EQUAL(received.payload[0], 3);
  m.whole();
}

// Cuts the link between two nodes, and joins it again.
void cut(Network& network, uint32_t one, uint32_t other) {
  CHECK_EQUAL(link_down(network[one], other), 0);
  CHECK_EQUAL(link_down(network[other], one), 0);
}
void join_up(Network& network, uint32_t one, uint32_t other) {
  static uint32_t session = 100;
  session++;
  CHECK_EQUAL(link_up(network[one], other, session), 0);
  CHECK_EQUAL(link_up(network[other], one, session), 0);
}

// A commit whose command, or whose answer, is lost with the link.
void lose(bool answer) {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process& near = bind_client(m.network[0]);
  Process& far = bind_client(m.network[2]);
  CHECK_EQUAL(start_sendrec(near, m.endpoint(), message(1, 1)), kPending);
  CHECK_EQUAL(start_sendrec(far, m.endpoint(), message(1, 2)), kPending);
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  Command lost;
  CHECK(m.network.take(0, 1, &lost));
  CHECK_EQUAL(lost.kind, kCommandMigrate);
  if (answer) {
    CHECK_EQUAL(m.network.bring(1, lost, std::vector<uint8_t>(lost.payload_bytes)), 0);
  }
  cut(m.network, 0, 1);
  // Who is sure of nothing is told so at once.
  CHECK_EQUAL(step(near), -ENOTCONN);
  CHECK_EQUAL(migrate_rollback(m.network[0], m.endpoint()), -EDVSMIGRATING);
  CHECK_EQUAL(promote(m.network[0], m.endpoint()), -EDVSMIGRATING);
  const bool owners[2] = {m.seen(0).life == static_cast<uint32_t>(ProcessLife::kLocal),
                          m.seen(1).life == static_cast<uint32_t>(ProcessLife::kLocal)};
  CHECK(!owners[0]);
  CHECK_EQUAL(owners[1], answer);
  join_up(m.network, 0, 1);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(step(far), kPending);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.serve(*m.backup, 2);
  check_answer(far, 3);
  m.whole();
}

TEST("a commit that is lost with the link is made good over the next one") {
  lose(false);
}

TEST("a commit whose answer is lost with the link stands") {
  lose(true);
}

TEST("a node that was started anew has no backup, so the process goes on where it was") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  cut(m.network, 0, 1);
  CHECK_EQUAL(m.backup->unbind(), 0);
  join_up(m.network, 0, 1);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), -ESRCH);
  Process& client = bind_client(m.network[2]);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 3)), kPending);
  m.serve(*m.server, 3);
  check_answer(client, 4);
  m.whole();
}

TEST("a node that leaves the DC before it has answered gives the process back") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  CHECK_EQUAL(remove_node(m.network[0], 1), 0);
  CHECK_EQUAL(m.outcome(), -EDVSNODCNODE);
  CHECK_EQUAL(m.seen(0).life, static_cast<uint32_t>(ProcessLife::kLocal));
}

TEST("a process that dies before the commit is gone for everyone; its backup stands by still") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process* clients[3];
  for (uint32_t node = 0; node < 3; node++) {
    clients[node] = &bind_client(m.network[node]);
    CHECK_EQUAL(start_sendrec(*clients[node], m.endpoint(), message(1, node)), kPending);
  }
  m.network.pump();
  CHECK_EQUAL(m.server->unbind(), 0);
  m.network.pump();
  for (Process* client : clients) CHECK_EQUAL(step(*client), -EDSTDIED);
  CHECK_EQUAL(migrate_commit(m.network[0], m.backup->endpoint, 1), -EDEADSRCDST);
  CHECK_EQUAL(promote(m.network[1], m.backup->endpoint), 0);
  m.network.pump();
  for (uint32_t node = 0; node < 3; node++) CHECK_EQUAL(m.seen(node).node, 1);
  m.whole();
}

TEST("a backup that is promoted before its node hears of the end is known to all in the end") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  CHECK_EQUAL(m.server->unbind(), 0);
  CHECK_EQUAL(promote(m.network[1], m.backup->endpoint), 0);
  // Node 2 hears of the new place first.
  while (m.network.move(1, 2)) continue;
  CHECK_EQUAL(m.seen(2).node, 0);
  m.network.pump();
  CHECK_EQUAL(m.seen(2).node, 1);
  m.whole();
  // It may move again, by its own node.
  CHECK_EQUAL(migrate_start(m.network[1], m.endpoint(), kLong), 0);
  CHECK_EQUAL(migrate_rollback(m.network[1], m.endpoint()), 0);
}

TEST("the link to the owner is lost during a move: who waits for it is told") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process& far = bind_client(m.network[2]);
  CHECK_EQUAL(start_sendrec(far, m.endpoint(), message(1, 1)), kPending);
  m.network.pump();
  cut(m.network, 0, 2);
  CHECK_EQUAL(step(far), -ENOTCONN);
  // It is asked no more, and learns where the process is from the new place.
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(m.seen(2).node, 1);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  CHECK_EQUAL(start_sendrec(far, m.endpoint(), message(1, 2)), kPending);
  m.serve(*m.backup, 2);
  check_answer(far, 3);
  m.whole();
}

TEST(
    "the owner is lost when the process has moved, before it tells so: the new place's word "
    "counts") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process& far = bind_client(m.network[2]);
  CHECK_EQUAL(start_sendrec(far, m.endpoint(), message(1, 1)), kPending);
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  while (m.network.move(0, 1)) continue;
  while (m.network.move(1, 2)) continue;
  CHECK_EQUAL(m.seen(2).node, 0);
  cut(m.network, 0, 1);
  cut(m.network, 0, 2);
  CHECK_EQUAL(m.seen(2).node, 1);
  const int first = step(far);
  CHECK(first == kPending || first == -ENOTCONN);
  if (first != kPending) {
    CHECK_EQUAL(start_sendrec(far, m.endpoint(), message(1, 1)), kPending);
  }
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.serve(*m.backup, 1);
  check_answer(far, 2);
  join_up(m.network, 0, 1);
  join_up(m.network, 0, 2);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  for (uint32_t node = 0; node < 3; node++) CHECK_EQUAL(m.seen(node).node, 1);
  m.whole();
}

TEST("a node that joins during a move is asked too, and one that does not answer delays it") {
  Move m;
  cut(m.network, 0, 2);
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  join_up(m.network, 0, 2);
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), -EAGAIN);
  m.network.pump();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(m.seen(2).node, 1);
  m.whole();
}

TEST("a caller gives up during a move as at any time, and its message is gone with it") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Process* clients[3];
  for (uint32_t node = 0; node < 3; node++) {
    clients[node] = &bind_client(m.network[node]);
    CHECK_EQUAL(start_sendrec(*clients[node], m.endpoint(), message(1, node)), kPending);
  }
  CHECK_EQUAL(cancel(*clients[0], -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(cancel(*clients[2], -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(cancel(*clients[1], -ETIMEDOUT), -ETIMEDOUT);
  Message request;
  CHECK_EQUAL(rcvrqst(*m.backup, &request, 0), -EAGAIN);
  m.whole();
}

TEST("a forged command of a migration changes nothing for those of other nodes") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  const auto forged = [&](uint32_t to, uint32_t kind, int32_t endpoint) {
    Command command = command_of(m.network, 2, to, kind, endpoint, endpoint);
    command.copy_destination_node = 2;
    return command;
  };
  for (const uint32_t kind :
       {uint32_t{kCommandMigrstart}, uint32_t{kCommandMigrate}, uint32_t{kCommandMigrend},
        kCommandMigrstart | kCommandAck, kCommandMigrate | kCommandAck}) {
    for (const uint32_t to : {0u, 1u}) {
      CHECK_EQUAL(m.network.bring(to, forged(to, kind, m.endpoint())), 0);
    }
    CHECK_EQUAL(m.network.bring(0, forged(0, kind, make_endpoint(70, 0))), -EDVSBADFRAME);
    CHECK_EQUAL(m.network.bring(0, forged(0, kind, kEndpointAny)), -EDVSBADFRAME);
    Command crossed = forged(0, kind, m.endpoint());
    crossed.destination = 3;
    CHECK_EQUAL(m.network.bring(0, crossed), -EDVSBADFRAME);
  }
  Command ragged = forged(1, kCommandMigrate, m.endpoint());
  ragged.payload_bytes = 17;
  CHECK_EQUAL(m.network.bring(1, ragged, std::vector<uint8_t>(17)), -EDVSBADFRAME);
  m.network.pump();
  CHECK_EQUAL(m.seen(0).life, static_cast<uint32_t>(ProcessLife::kLocal));
  CHECK_EQUAL(m.seen(1).state, kStateStandsBy);
  Process& client = bind_client(m.network[1]);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 3)), kPending);
  m.serve(*m.server, 3);
  check_answer(client, 4);
  m.whole();
}

TEST("a move whose taker is killed halfway is undone, and asked for again over the next link") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  CHECK_EQUAL(start_rcvrqst(*m.backup), kPending);
  m.start();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  Command gift;
  while (m.network.take(0, 1, &gift) && gift.kind != kCommandMigrate) m.network.bring(1, gift);
  CHECK_EQUAL(gift.kind, kCommandMigrate);
  const pid_t taker = spawn([&] {
    const TableLock lock(m.network[1]);
    set_life(m.backup->slot, ProcessLife::kArriving);
    kill(getpid(), SIGKILL);
  });
  join_killed(taker);
  cut(m.network, 0, 1);
  join_up(m.network, 0, 1);
  CHECK_EQUAL(m.seen(1).life, static_cast<uint32_t>(ProcessLife::kRemote));
  m.network.pump();
  CHECK_EQUAL(m.outcome(), 0);
  CHECK_EQUAL(m.seen(1).life, static_cast<uint32_t>(ProcessLife::kLocal));
  Process& client = bind_client(m.network[2]);
  CHECK_EQUAL(start_sendrec(client, m.endpoint(), message(1, 7)), kPending);
  m.serve(*m.backup, 7);
  check_answer(client, 8);
  m.whole();
}

}  // namespace
}  // namespace dvk::test
