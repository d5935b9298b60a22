// Calls between nodes, with one process as the proxies of all: what goes over the link for each
// call, errors that come back as acks, links that go down, announcements, and late answers.
// Reference: the authors' test_proxy3 to 6, _s, _r, _sr and _n.

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "../core/yield.h"
#include "network.h"

namespace dvk::test {
namespace {

using Kinds = std::vector<uint32_t>;

// A server on node 0, known on node 1, and a client on node 1.
struct Remote {
  explicit Remote(uint32_t nodes = 2) : network(nodes) {
    network.pump();
    network.kinds.clear();
  }
  Network network;
  Process& server = bind_server(network[0], 1);
  Process& client = bind_client(network[1]);
  void settle() {
    network.pump();
    network.kinds.clear();
  }
};

void check_from(const Process& receiver, int32_t source, int32_t type, uint64_t value) {
  const Message& m = receiver.operation.message;
  CHECK_EQUAL(m.source, source);
  CHECK_EQUAL(m.type, type);
  CHECK_EQUAL(value_of(m), value);
  CHECK(whole(m));
}

TEST("servers are announced to connected nodes with name and level, clients are not") {
  Remote r;
  r.network.pump();
  CHECK(r.network.kinds == Kinds{} || r.network.kinds == Kinds{kCommandProcbind});
  ProcessInfo info;
  CHECK_EQUAL(process_info(r.network[1], 1, &info), 0);
  CHECK_EQUAL(info.endpoint, r.server.endpoint);
  CHECK_EQUAL(info.node, 0);
  CHECK_EQUAL(info.life, static_cast<uint32_t>(ProcessLife::kRemote));
  CHECK_EQUAL(info.level, static_cast<uint32_t>(ProcessLevel::kServer));
  CHECK_EQUAL(std::string(info.name), "server");
  CHECK_EQUAL(lookup(r.network[0], r.client.index), -EDVSNOTBOUND);
}

TEST("a remote send ends when the message was received, and not before") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 10)), kPending);
  r.network.pump();
  CHECK_EQUAL(step(r.client), kPending);
  CHECK_EQUAL(start_receive(r.server, kEndpointAny), 0);
  check_from(r.server, r.client.endpoint, 1, 10);
  r.network.pump();
  CHECK_EQUAL(step(r.client), 0);
  CHECK(r.network.kinds == Kinds({kCommandSendMsg, kCommandSendMsg | kCommandAck}));
}

TEST("a remote send to a process that waits ends at once") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_receive(r.server, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 11)), kPending);
  r.network.pump();
  CHECK_EQUAL(step(r.server), 0);
  check_from(r.server, r.client.endpoint, 1, 11);
  CHECK_EQUAL(step(r.client), 0);
}

TEST("a remote sendrec is answered by the reply, with no ack between") {
  for (const bool server_first : {false, true}) {
    Remote r;
    r.settle();
    if (server_first) CHECK_EQUAL(start_rcvrqst(r.server), kPending);
    CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(2, 12)), kPending);
    r.network.pump();
    CHECK_EQUAL(server_first ? step(r.server) : start_rcvrqst(r.server), 0);
    check_from(r.server, r.client.endpoint, 2, 12);
    CHECK(r.server.last_kind == MessageKind::kCall);
    CHECK_EQUAL(reply(r.server, r.client.endpoint, message(3, 13)), 0);
    CHECK_EQUAL(reply(r.server, r.client.endpoint, message(3, 14)), -EDVSPROCSTS);
    r.network.pump();
    CHECK_EQUAL(step(r.client), 0);
    check_from(r.client, r.server.endpoint, 3, 13);
    CHECK(r.network.kinds == Kinds({kCommandSndrecMsg, kCommandReplyMsg}));
  }
}

TEST("remote notifications arrive, merge and keep to the source filter") {
  Remote r;
  r.settle();
  Process& local = bind_client(r.network[0]);
  CHECK_EQUAL(notify(r.client, r.server.endpoint), 0);
  CHECK_EQUAL(notify(r.client, r.server.endpoint), 0);
  r.network.pump();
  CHECK(r.network.kinds == Kinds({kCommandNtfyMsg}));
  Message m;
  CHECK_EQUAL(receive(r.server, local.endpoint, &m, 0), -EAGAIN);
  CHECK_EQUAL(receive(r.server, kEndpointAny, &m, 0), 0);
  CHECK(r.server.last_kind == MessageKind::kNotify);
  CHECK_EQUAL(m.source, r.client.endpoint);
  CHECK_EQUAL(start_receive(r.server, r.client.endpoint), kPending);
  CHECK_EQUAL(notify(r.client, r.server.endpoint), 0);
  r.network.pump();
  CHECK_EQUAL(step(r.server), 0);
}

TEST("errors come back as acks with the call's number") {
  Remote r;
  r.settle();
  CHECK_EQUAL(r.server.unbind(), 0);
  // Node 1 has not heard of it yet.
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  CHECK(r.network.move(1, 0));
  Command ack;
  while (r.network.take(0, 1, &ack) && ack.kind != (kCommandSendMsg | kCommandAck)) continue;
  CHECK_EQUAL(ack.kind, kCommandSendMsg | kCommandAck);
  CHECK_EQUAL(ack.result, -EDEADSRCDST);
  CHECK_EQUAL(ack.call_id, load(r.client.slot->call_id));
  CHECK_EQUAL(r.network.bring(1, ack), 0);
  CHECK_EQUAL(step(r.client), -EDEADSRCDST);
}

TEST("the end of a process ends remote calls to it, before and after the hand-over") {
  for (int kind = 0; kind < 3; kind++) {
    Remote r;
    r.settle();
    const int started = kind == 0 ? start_send(r.client, r.server.endpoint, message(1, 1))
                                  : start_sendrec(r.client, r.server.endpoint, message(1, 1));
    CHECK_EQUAL(started, kPending);
    r.network.pump();
    if (kind == 2) CHECK_EQUAL(start_rcvrqst(r.server), 0);
    CHECK_EQUAL(r.server.unbind(), 0);
    r.network.pump();
    const int result = step(r.client);
    CHECK(result == -EDSTDIED || result == -ESRCDIED);
    CHECK_EQUAL(lookup(r.network[1], 1), -EDVSNOTBOUND);
    CHECK_EQUAL(send(r.client, r.server.endpoint, message(1, 1), 0), -EDEADSRCDST);
    CHECK_EQUAL(damage(r.network[0]), "");
  }
}

TEST("what a process has received and answered is told before its end is, and the next owner") {
  for (const bool rebinds : {false, true}) {
    Remote r;
    // In slots in front of the server's and behind it, as announcements are looked at in turn.
    Process& early = bind_server(r.network[1], 0);
    Process& sender = bind_client(r.network[1]);
    r.settle();
    const int32_t first = senda(early, r.server.endpoint, message(5, 1), 0);
    const int32_t second = senda(r.client, r.server.endpoint, message(5, 2), 0);
    CHECK(first >= 0 && second >= 0);
    CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(2, 12)), kPending);
    CHECK_EQUAL(start_send(sender, r.server.endpoint, message(1, 3)), kPending);
    r.network.pump();
    Message m;
    for (int i = 0; i < 4; i++) {
      CHECK_EQUAL(receive(r.server, kEndpointAny, &m, 0), 0);
      if (r.server.last_kind != MessageKind::kCall) continue;
      CHECK_EQUAL(reply(r.server, r.client.endpoint, message(3, 13)), 0);
    }
    CHECK_EQUAL(r.server.unbind(), 0);
    if (rebinds) bind_server(r.network[0], 1);
    r.network.pump();
    CHECK_EQUAL(step(r.client), 0);
    check_from(r.client, r.server.endpoint, 3, 13);
    CHECK_EQUAL(step(sender), 0);
    CHECK_EQUAL(senda_status(early, first), 0);
    CHECK_EQUAL(senda_status(r.client, second), 0);
    CHECK_EQUAL(lookup(r.network[1], 1) >= 0, rebinds);
    CHECK(lookup(r.network[1], 1) != r.server.endpoint);
  }
}

TEST("a server killed while it takes a remote request or writes its reply ends the call") {
  for (const State state : {State::kTaking, State::kFilling}) {
    Remote r;
    r.settle();
    const pid_t child = spawn([&] {
      bind_server(r.network[0], 2);
      pause();
    });
    int32_t endpoint = -1;
    until("the child is known on node 1", [&] {
      r.network.pump();
      endpoint = lookup(r.network[1], 2);
      return endpoint >= 0;
    });
    CHECK_EQUAL(start_sendrec(r.client, endpoint, message(1, 1)), kPending);
    r.network.pump();
    const auto word = atomic(r.network[0].slot(r.client.index)->rendezvous);
    CHECK(state_of(word.load()) == State::kCalling);
    word.store(with_state(word.load(), state, 2));
    if (state == State::kFilling) store(r.network[0].slot(r.client.index)->want_source, endpoint);
    CHECK_EQUAL(kill_and_reap(r.network[0], child), 1);
    r.network.pump();
    const int result = step(r.client);
    CHECK(result == -EDSTDIED || result == -ESRCDIED);
  }
}

TEST("a remote unbind wakes who receives from that process") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_receive(r.client, r.server.endpoint), kPending);
  CHECK_EQUAL(r.server.unbind(), 0);
  r.network.pump();
  CHECK_EQUAL(step(r.client), -ESRCDIED);
}

TEST("of several ends of a slot's owners one announcement is enough") {
  Remote r;
  r.settle();
  Process& watcher = bind_server(r.network[0], 3);
  r.network.pump();
  CHECK_EQUAL(start_send(r.client, watcher.endpoint, message(1, 1)), kPending);
  r.network.pump();
  CHECK_EQUAL(start_receive(watcher, kEndpointAny), 0);
  r.network.pump();
  CHECK_EQUAL(step(r.client), 0);
  // The client ends, its slot is used and freed again, and only then does the proxy come.
  CHECK_EQUAL(start_receive(watcher, r.client.endpoint), kPending);
  const uint32_t slot = r.client.index;
  CHECK_EQUAL(r.client.unbind(), 0);
  BindOptions options;
  while (true) {
    Process* next = nullptr;
    CHECK_EQUAL(Process::bind(r.network[1], options, &next), 0);
    CHECK_EQUAL(next->unbind(), 0);
    if (next->index == slot) break;
  }
  r.network.pump();
  CHECK_EQUAL(step(watcher), -ESRCDIED);
}

TEST("calls need a member node, a proxy and a link that is up") {
  const Container container;
  Segment& segment = container.segment;
  Process& client = bind_client(segment);
  CHECK_EQUAL(bind_remote(segment, 1, 1, ProcessLevel::kServer, "far"), -EDVSNODCNODE);
  CHECK_EQUAL(bind_remote(segment, 1, 9, ProcessLevel::kServer, "far"), -EDVSBADNODEID);
  CHECK_EQUAL(bind_remote(segment, 1, 0, ProcessLevel::kServer, "far"), -EDVSLCLPROC);
  CHECK_EQUAL(add_node(segment, 0, "self"), -EDVSBADNODEID);
  CHECK_EQUAL(add_node(segment, 1, "far"), 0);
  CHECK_EQUAL(add_node(segment, 1, "far"), -EEXIST);
  CHECK_EQUAL(bind_remote(segment, 1, 1, ProcessLevel::kServer, "far"), 0);
  CHECK_EQUAL(bind_remote(segment, client.endpoint, 1, ProcessLevel::kServer, "far"),
              -EDVSSLOTUSED);
  CHECK_EQUAL(send(client, 1, message(1, 1), 0), -EDVSNOPROXY);
  CHECK_EQUAL(attach_proxy(segment, 2, 0), -EDVSNODCNODE);
  CHECK_EQUAL(attach_proxy(segment, 1, 0), 0);
  CHECK_EQUAL(send(client, 1, message(1, 1), 0), -ENOTCONN);
  CHECK_EQUAL(notify(client, 1), -ENOTCONN);
  CHECK_EQUAL(wakeup(segment, 1), -EDVSRMTPROC);
  CHECK_EQUAL(unbind_remote(segment, client.endpoint), -EDVSNOTBOUND);
  CHECK_EQUAL(unbind_remote(segment, 1), 0);
  CHECK_EQUAL(remove_node(segment, 1), 0);
  CHECK_EQUAL(remove_node(segment, 1), -EDVSNODCNODE);
}

TEST("a link that goes down ends every call that waits for its node, and no other") {
  Remote r(3);
  r.settle();
  Process& other = bind_server(r.network[2], 5);
  r.network.pump();
  Process& queued = bind_client(r.network[1]);
  Process& receiving = bind_client(r.network[1]);
  Process& elsewhere = bind_client(r.network[1]);
  Process& open = bind_client(r.network[1]);
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 1)), kPending);
  r.network.pump();
  CHECK_EQUAL(start_send(queued, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_receive(receiving, r.server.endpoint), kPending);
  CHECK_EQUAL(start_send(elsewhere, other.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_receive(open, kEndpointAny), kPending);
  CHECK_EQUAL(link_down(r.network[1], 0), 0);
  for (Process* process : {&r.client, &queued, &receiving}) CHECK_EQUAL(step(*process), -ENOTCONN);
  CHECK_EQUAL(step(elsewhere), kPending);
  CHECK_EQUAL(step(open), kPending);
  CHECK_EQUAL(send(r.client, r.server.endpoint, message(1, 1), 0), -ENOTCONN);
}

TEST("after a link comes back calls work with no restart, and old sessions leave no trace") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 1)), kPending);
  r.network.pump();
  for (const uint32_t node : {0u, 1u}) CHECK_EQUAL(link_down(r.network[node], 1 - node), 0);
  CHECK_EQUAL(step(r.client), -ENOTCONN);
  Message m;
  CHECK_EQUAL(rcvrqst(r.server, &m, 0), -EAGAIN);
  for (const uint32_t node : {0u, 1u}) CHECK_EQUAL(link_up(r.network[node], 1 - node, 2), 0);
  r.network.pump();
  CHECK_EQUAL(lookup(r.network[1], 1), r.server.endpoint);
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 2)), kPending);
  r.network.pump();
  CHECK_EQUAL(rcvrqst(r.server, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 2);
  CHECK_EQUAL(reply(r.server, r.client.endpoint, message(2, 3)), 0);
  r.network.pump();
  CHECK_EQUAL(step(r.client), 0);
}

TEST("a proxy that was killed and comes back ends the calls of its old session") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 1)), kPending);
  Command lost;
  CHECK(r.network.take(1, 0, &lost));
  Process& queued = bind_client(r.network[1]);
  CHECK_EQUAL(start_send(queued, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(link_up(r.network[1], 0, 2), 0);
  CHECK_EQUAL(step(r.client), -ENOTCONN);
  CHECK_EQUAL(step(queued), -ENOTCONN);
}

TEST("a client that gave up does not take a late reply or ack, and its next call gets its own") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 1)), kPending);
  r.network.pump();
  Message m;
  CHECK_EQUAL(rcvrqst(r.server, &m, 0), 0);
  CHECK_EQUAL(cancel(r.client, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(reply(r.server, r.client.endpoint, message(2, 1)), 0);
  Command late;
  CHECK(r.network.take(0, 1, &late));
  CHECK_EQUAL(start_sendrec(r.client, r.server.endpoint, message(1, 2)), kPending);
  CHECK_EQUAL(r.network.bring(1, late), 0);
  CHECK_EQUAL(step(r.client), kPending);
  Command ack = command_of(r.network, 0, 1, kCommandSndrecMsg | kCommandAck, r.server.endpoint,
                           r.client.endpoint);
  ack.result = -EDSTDIED;
  ack.call_id = late.call_id;
  CHECK_EQUAL(r.network.bring(1, ack), 0);
  CHECK_EQUAL(step(r.client), kPending);
  r.network.pump();
  CHECK_EQUAL(rcvrqst(r.server, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 2);
  CHECK_EQUAL(reply(r.server, r.client.endpoint, message(2, 2)), 0);
  r.network.pump();
  CHECK_EQUAL(step(r.client), 0);
  CHECK_EQUAL(value_of(r.client.operation.message), 2);
}

TEST("a call that is withdrawn before the proxy comes sends nothing") {
  Remote r;
  r.settle();
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(cancel(r.client, -EINTR), -EINTR);
  CHECK_EQUAL(r.network.pump(), 0);
  CHECK_EQUAL(send(r.client, r.server.endpoint, message(1, 1), 5), -ETIMEDOUT);
  CHECK_EQUAL(r.network.pump(), 0);
}

TEST("a proxy is told of the first command by its FIFO") {
  Remote r;
  r.settle();
  const int fd = wake_fifo_create(r.network[1].directory(), 55);
  CHECK(fd >= 0);
  CHECK_EQUAL(attach_proxy(r.network[1], 0, 55), 0);
  CHECK(!arm_proxy(r.network[1], 0));
  pollfd entry{fd, POLLIN, 0};
  CHECK_EQUAL(poll(&entry, 1, 0), 0);
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(poll(&entry, 1, 0), 1);
  CHECK(arm_proxy(r.network[1], 0));
  r.network.pump();
  CHECK(!arm_proxy(r.network[1], 0));
}

// How many bytes wait in a FIFO; takes them.
ssize_t rings(int fd) {
  char bytes[64];
  return std::max<ssize_t>(0, read(fd, bytes, sizeof bytes));
}

TEST("a proxy that sleeps is told once of many commands, and again when it sleeps again") {
  Remote r;
  r.settle();
  Process& second = bind_client(r.network[1]);
  Process& third = bind_client(r.network[1]);
  const int fd = wake_fifo_create(r.network[1].directory(), 56);
  CHECK_EQUAL(attach_proxy(r.network[1], 0, 56), 0);
  CHECK(!arm_proxy(r.network[1], 0));
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_send(second, r.server.endpoint, message(1, 2)), kPending);
  CHECK_EQUAL(rings(fd), 1);

  Command command{};
  CHECK(r.network.take(1, 0, &command));
  CHECK_EQUAL(start_send(third, r.server.endpoint, message(1, 3)), kPending);
  CHECK_EQUAL(rings(fd), 0);
  CHECK(arm_proxy(r.network[1], 0));
  r.network.pump();
  CHECK(!arm_proxy(r.network[1], 0));
  notify(second, r.server.endpoint);
  CHECK_EQUAL(rings(fd), 1);

  // One that begins anew does not rely on what was told to the one before.
  CHECK_EQUAL(attach_proxy(r.network[1], 0, 56), 0);
  CHECK(arm_proxy(r.network[1], 0));
  notify(third, r.server.endpoint);
  CHECK_EQUAL(rings(fd), 1);
}

TEST("wakes that are put off come at the end, one for each event loop") {
  Remote r;
  r.settle();
  Segment& here = r.network[1];
  const int fd = wake_fifo_create(here.directory(), 57);
  BindOptions options;
  options.wake_id = 57;
  Process* callers[2];
  for (Process*& caller : callers) {
    CHECK_EQUAL(Process::bind(here, options, &caller), 0);
    CHECK_EQUAL(start_send(*caller, r.server.endpoint, message(1, 1)), kPending);
    CHECK(!arm(*caller));
  }
  {
    const WakesPutOff put_off(here);
    CHECK_EQUAL(link_down(here, 0), 0);
    for (const Process* caller : callers) CHECK(!is_waiting(load(caller->slot->rendezvous)));
    CHECK_EQUAL(rings(fd), 0);
    CHECK(!put_off.has_neighbours());
  }
  CHECK_EQUAL(rings(fd), 1);
  for (Process* caller : callers) CHECK_EQUAL(step(*caller), -ENOTCONN);
}

// Keeps this thread where it is for as long as it exists.
struct OnOneCpu {
  OnOneCpu() {
    sched_getaffinity(0, sizeof before, &before);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &here);
    sched_setaffinity(0, sizeof here, &here);
  }
  ~OnOneCpu() {
    sched_setaffinity(0, sizeof before, &before);
  }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;
  cpu_set_t before;
};

TEST("a proxy knows whether it will wake somebody who sleeps on its own CPU") {
  Remote r;
  r.settle();
  Segment& here = r.network[1];
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  store(r.client.slot->sleeping, static_cast<uint32_t>(kOnFutex));
  const OnOneCpu pinned;
  publish_cpu(r.client);

  const WakesPutOff put_off(here);
  CHECK(!put_off.has_neighbours());
  CHECK_EQUAL(link_down(here, 0), 0);
  CHECK(put_off.has_neighbours());
}

TEST("short commands can be taken while those with data are left where they are") {
  Remote r;
  r.settle();
  Process& second = bind_client(r.network[1]);
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 1)), kPending);
  store(r.network[1].slot(r.client.index)->command_kind, static_cast<uint32_t>(kCommandCopyinData));
  Command command{};
  std::vector<uint8_t> payload(kCopyChunkBytes);
  CHECK_EQUAL(get2rmt(r.network[1], 0, &command, payload.data(), true), 0);
  CHECK(!arm_proxy(r.network[1], 0, true));
  CHECK(arm_proxy(r.network[1], 0));

  CHECK_EQUAL(start_send(second, r.server.endpoint, message(1, 2)), kPending);
  CHECK(arm_proxy(r.network[1], 0, true));
  CHECK_EQUAL(get2rmt(r.network[1], 0, &command, payload.data(), true), 1);
  CHECK_EQUAL(command.source, second.endpoint);
  CHECK_EQUAL(get2rmt(r.network[1], 0, &command, payload.data(), true), 0);
}

TEST("messages of many remote senders are received first in, first out") {
  Remote r;
  r.settle();
  std::vector<Process*> senders;
  for (int i = 0; i < 12; i++) senders.push_back(&bind_client(r.network[1]));
  for (Process* sender : senders) {
    CHECK_EQUAL(start_send(*sender, r.server.endpoint, message(1, sender->index)), kPending);
  }
  r.network.pump();
  for (Process* sender : senders) {
    Message m;
    CHECK_EQUAL(receive(r.server, kEndpointAny, &m, 0), 0);
    CHECK_EQUAL(m.source, sender->endpoint);
  }
  r.network.pump();
  for (Process* sender : senders) CHECK_EQUAL(step(*sender), 0);
}

}  // namespace
}  // namespace dvk::test
