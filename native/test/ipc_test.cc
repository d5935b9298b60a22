// send, receive, sendrec, rcvrqst and reply among processes of one node: the authors' own test
// programs (rs, rs2, rs3, sendrec, receive_T, rr_rply, unbind 1 to 5) and the codes of each call.
//
// Processes are threads here: the core keeps nothing per OS process but the signal flag.

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <thread>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

// A container with a server in slot 1 and a client.
struct Pair {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);
};

void check_message(const Message& received, const Process& source, int32_t type, uint64_t value) {
  CHECK_EQUAL(received.source, source.endpoint);
  CHECK_EQUAL(received.type, type);
  CHECK_EQUAL(value_of(received), value);
  CHECK(whole(received));
}

TEST("rs: a sender that comes first waits in the queue until it is received") {
  Pair p;
  std::thread sender(
      [&] { CHECK_EQUAL(send(p.client, p.server.endpoint, message(255, 123), kForever), 0); });
  until_state(p.client, State::kSending);
  Message received;
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, kForever), 0);
  check_message(received, p.client, 255, 123);
  CHECK(p.server.last_kind == MessageKind::kSend);
  sender.join();
  CHECK_EQUAL(damage(p.segment), "");
}

TEST("rs2: a receiver that comes first is woken by the sender") {
  Pair p;
  std::thread receiver([&] {
    Message received;
    CHECK_EQUAL(receive(p.server, kEndpointAny, &received, kForever), 0);
    check_message(received, p.client, 255, 123);
  });
  until_state(p.server, State::kAny);
  CHECK_EQUAL(send(p.client, p.server.endpoint, message(255, 123), kForever), 0);
  receiver.join();
  CHECK(state_in(p.client) == State::kIdle);
}

TEST("rs3: several messages of one sender come in their order") {
  Pair p;
  const uint64_t count = scaled(5000, 500);
  std::thread sender([&] {
    for (uint64_t i = 0; i < count; i++) {
      CHECK_EQUAL(send(p.client, p.server.endpoint, message(1, i), kForever), 0);
    }
  });
  for (uint64_t i = 0; i < count; i++) {
    Message received;
    const int32_t source = i % 3 == 0 ? p.client.endpoint : kEndpointAny;
    CHECK_EQUAL(receive(p.server, source, &received, kForever), 0);
    check_message(received, p.client, 1, i);
  }
  sender.join();
}

// A caller that has queued looks once more whether its server is open. By then the server may have
// taken the call and await the answer to a call of its own, which must be left alone. The caller is
// stepped through its instructions up to that look.
TEST("a server may call its client back before the client has looked at it again") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_server(segment, 2);
  const pid_t child = spawn([&] {
    CHECK_EQUAL(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), 0);
    raise(SIGSTOP);
    Message m = message(1, 1);
    CHECK_EQUAL(sendrec(client, server.endpoint, &m, kForever), 0);
    CHECK_EQUAL(value_of(m), 2);
    CHECK_EQUAL(reply(client, server.endpoint, message(3, 3)), 0);
  });
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  while (segment.senders(server.index).empty()) {
    CHECK_EQUAL(ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr), 0);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFSTOPPED(status));
  }
  Message m;
  CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 1);
  CHECK_EQUAL(start_sendrec(server, client.endpoint, message(2, 2)), kPending);
  CHECK_EQUAL(ptrace(PTRACE_DETACH, child, nullptr, nullptr), 0);
  CHECK_EQUAL(wait_for(server, kForever), 0);
  CHECK_EQUAL(value_of(server.operation.message), 3);
  join(child);
}

TEST("senders that wait are received first in, first out") {
  Pair p;
  constexpr int kSenders = 20;
  std::vector<Process*> senders;
  for (int i = 0; i < kSenders; i++) senders.push_back(&bind_client(p.segment));
  Random random(seed());
  std::shuffle(senders.begin(), senders.end(), random);
  for (Process* sender : senders) {
    CHECK_EQUAL(start_send(*sender, p.server.endpoint, message(2, sender->index)), kPending);
  }
  for (Process* sender : senders) {
    Message received;
    CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), 0);
    check_message(received, *sender, 2, sender->index);
    CHECK_EQUAL(step(*sender), 0);
  }
}

TEST("a receive from one source leaves the messages of others in the queue") {
  Pair p;
  Process& other = bind_client(p.segment);
  CHECK_EQUAL(start_send(other, p.server.endpoint, message(3, 1)), kPending);
  CHECK_EQUAL(start_receive(p.server, p.client.endpoint), kPending);
  CHECK(state_in(p.server) == State::kFrom);
  Process& third = bind_client(p.segment);
  CHECK_EQUAL(start_send(third, p.server.endpoint, message(3, 2)), kPending);
  CHECK_EQUAL(send(p.client, p.server.endpoint, message(3, 3), 0), 0);
  CHECK_EQUAL(step(p.server), 0);
  check_message(p.server.operation.message, p.client, 3, 3);
  Message received;
  CHECK_EQUAL(receive(p.server, third.endpoint, &received, 0), 0);
  check_message(received, third, 3, 2);
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), 0);
  check_message(received, other, 3, 1);
}

void sendrec_once(bool server_first) {
  Pair p;
  std::thread server([&] {
    if (!server_first) until_state(p.client, State::kCalling);
    Message request;
    CHECK_EQUAL(receive(p.server, kEndpointAny, &request, kForever), 0);
    check_message(request, p.client, 4, 10);
    CHECK(p.server.last_kind == MessageKind::kCall);
    CHECK(state_in(p.client) == State::kReply);
    CHECK_EQUAL(reply(p.server, request.source, message(5, 11)), 0);
  });
  if (server_first) until_state(p.server, State::kAny);
  Message request = message(4, 10);
  CHECK_EQUAL(sendrec(p.client, p.server.endpoint, &request, kForever), 0);
  check_message(request, p.server, 5, 11);
  server.join();
  CHECK(state_in(p.client) == State::kIdle);
}

TEST("sendrec: a client that comes first gets its reply") {
  sendrec_once(false);
}

TEST("sendrec2: a client that finds its server waiting gets its reply") {
  sendrec_once(true);
}

TEST("rr_rply: a server takes requests and answers them one by one") {
  Pair p;
  const uint64_t count = scaled(20'000, 1000);
  std::thread server([&] {
    Message m;
    CHECK_EQUAL(rcvrqst(p.server, &m, kForever), 0);
    for (uint64_t i = 0; i < count; i++) {
      check_message(m, p.client, 6, i);
      m = message(7, i + 1);
      if (i + 1 == count) {
        CHECK_EQUAL(reply(p.server, p.client.endpoint, m), 0);
      } else {
        CHECK_EQUAL(reply_receive(p.server, p.client.endpoint, &m, kForever), 0);
      }
    }
  });
  for (uint64_t i = 0; i < count; i++) {
    Message m = message(6, i);
    CHECK_EQUAL(sendrec(p.client, p.server.endpoint, &m, kForever), 0);
    check_message(m, p.server, 7, i + 1);
  }
  server.join();
}

TEST("rcvrqst takes sendrec only, and leaves plain messages and notifications for receive") {
  Pair p;
  Process& caller = bind_client(p.segment);
  CHECK_EQUAL(start_send(p.client, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(notify(p.client, p.server.endpoint), 0);
  CHECK_EQUAL(start_rcvrqst(p.server), kPending);
  CHECK(state_in(p.server) == State::kRequest);
  CHECK_EQUAL(start_sendrec(caller, p.server.endpoint, message(8, 2)), kPending);
  CHECK_EQUAL(step(p.server), 0);
  check_message(p.server.operation.message, caller, 8, 2);
  Message received;
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), 0);
  CHECK_EQUAL(received.type, static_cast<int32_t>(kNotifyType));
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), 0);
  check_message(received, p.client, 1, 1);
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("a server replies to one client while its next receive is under way") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(p.server, &request, 0), 0);
  CHECK_EQUAL(start_rcvrqst(p.server), kPending);
  CHECK_EQUAL(reply(p.server, request.source, message(2, 2)), 0);
  CHECK_EQUAL(step(p.client), 0);
  check_message(p.client.operation.message, p.server, 2, 2);
  CHECK_EQUAL(cancel(p.server, -EINTR), -EINTR);
}

TEST("the source of a message is its sender, whatever the sender writes") {
  Pair p;
  Process& victim = bind_client(p.segment);
  Message forged = message(1, 1);
  forged.source = victim.endpoint;
  CHECK_EQUAL(start_send(p.client, p.server.endpoint, forged), kPending);
  // A hostile sender has the segment mapped and writes its outbox itself.
  outbox_of(p.client.slot, p.client.sequence)->source = victim.endpoint;
  Message received;
  CHECK_EQUAL(receive(p.server, kEndpointAny, &received, 0), 0);
  CHECK_EQUAL(received.source, p.client.endpoint);
  CHECK_EQUAL(step(p.client), 0);
  CHECK_EQUAL(start_receive(p.server, kEndpointAny), kPending);
  CHECK_EQUAL(send(p.client, p.server.endpoint, forged, 0), 0);
  inbox_of(p.server.slot, p.server.sequence)->source = victim.endpoint;
  CHECK_EQUAL(step(p.server), 0);
  CHECK_EQUAL(p.server.operation.message.source, p.client.endpoint);
}

TEST("receive_T: a time-out of 0 gives EAGAIN at once, another ETIMEDOUT not too early") {
  Pair p;
  Message m = message(1, 1);
  const int32_t peer = p.client.endpoint;
  CHECK_EQUAL(receive(p.server, kEndpointAny, &m, 0), -EAGAIN);
  CHECK_EQUAL(receive(p.server, peer, &m, 0), -EAGAIN);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), -EAGAIN);
  CHECK_EQUAL(send(p.server, peer, m, 0), -EAGAIN);
  CHECK_EQUAL(sendrec(p.server, peer, &m, 0), -EAGAIN);
  for (int call = 0; call < 5; call++) {
    const int64_t start = now_ns();
    const int result = call == 0   ? receive(p.server, kEndpointAny, &m, 30)
                       : call == 1 ? receive(p.server, peer, &m, 30)
                       : call == 2 ? rcvrqst(p.server, &m, 30)
                       : call == 3 ? send(p.server, peer, m, 30)
                                   : sendrec(p.server, peer, &m, 30);
    CHECK_EQUAL(result, -ETIMEDOUT);
    CHECK(now_ns() - start >= 30'000'000);
    CHECK(state_in(p.server) == State::kIdle);
  }
  CHECK(p.segment.senders(p.client.index).empty());
}

TEST("a message whose sender gave up is never received") {
  Pair p;
  CHECK_EQUAL(send(p.client, p.server.endpoint, message(1, 1), 5), -ETIMEDOUT);
  Message m = message(1, 2);
  CHECK_EQUAL(sendrec(p.client, p.server.endpoint, &m, 5), -ETIMEDOUT);
  CHECK_EQUAL(receive(p.server, kEndpointAny, &m, 0), -EAGAIN);
}

TEST("a client that gave up its sendrec does not take the late reply, nor does its next call") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(p.server, &request, 0), 0);
  CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(reply(p.server, request.source, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 2)), kPending);
  CHECK_EQUAL(reply(p.server, request.source, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(rcvrqst(p.server, &request, 0), 0);
  CHECK_EQUAL(reply(p.server, request.source, message(2, 2)), 0);
  CHECK_EQUAL(step(p.client), 0);
  check_message(p.client.operation.message, p.server, 2, 2);
}

TEST("destinations that are none are refused with the code of their kind") {
  Pair p;
  Message m = message(1, 1);
  for (const int32_t bad : {kEndpointAny, kEndpointNone, -2, -36, 192, 1 << 15}) {
    CHECK_EQUAL(send(p.server, bad, m, 0), -ERANGE);
    CHECK_EQUAL(sendrec(p.server, bad, &m, 0), -ERANGE);
    CHECK_EQUAL(notify(p.server, bad), -ERANGE);
    CHECK_EQUAL(reply(p.server, bad, m), -ERANGE);
    if (bad != kEndpointAny) CHECK_EQUAL(start_receive(p.server, bad), -ERANGE);
  }
  for (const int32_t self : {p.server.endpoint, kEndpointSelf}) {
    CHECK_EQUAL(send(p.server, self, m, 0), -EDVSBADDEST);
    CHECK_EQUAL(sendrec(p.server, self, &m, 0), -EDVSENDPOINT);
    CHECK_EQUAL(notify(p.server, self), -EDVSENDPOINT);
    CHECK_EQUAL(reply(p.server, self, m), -EDVSENDPOINT);
    CHECK_EQUAL(start_receive(p.server, self), -EDVSENDPOINT);
  }
  CHECK_EQUAL(send(p.server, kEndpointKernel, m, 0), -EDVSBADDEST);
  CHECK_EQUAL(sendrec(p.server, kEndpointKernel, &m, 0), -EDVSBADDEST);
  CHECK_EQUAL(notify(p.server, kEndpointKernel), -EDVSBADDEST);
  CHECK_EQUAL(reply(p.server, kEndpointKernel, m), -EDVSBADDEST);
  CHECK_EQUAL(send(p.server, 2, m, 0), -EDEADSRCDST);
  CHECK_EQUAL(wakeup(p.segment, 2), -EDEADSRCDST);
}

TEST("the last slot is a destination and a source like others") {
  SegmentOptions options = small();
  options.node_id = 3;
  const Container container(options);
  Process& server = bind_server(container.segment, 63);
  Process* last = &bind_client(container.segment);
  while (last->index != 191) last = &bind_client(container.segment);
  CHECK_EQUAL(start_receive(server, last->endpoint), kPending);
  CHECK_EQUAL(send(*last, server.endpoint, message(1, 1), 0), 0);
  CHECK_EQUAL(step(server), 0);
}

TEST("users may not take requests nor reply, and a reply to who does not wait is refused") {
  Pair p;
  Message m = message(1, 1);
  CHECK_EQUAL(rcvrqst(p.client, &m, 0), -ETRAPDENIED);
  CHECK_EQUAL(reply(p.client, p.server.endpoint, m), -ETRAPDENIED);
  CHECK_EQUAL(reply_receive(p.client, p.server.endpoint, &m, 0), -ETRAPDENIED);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, m), -EDVSPROCSTS);
  CHECK_EQUAL(start_receive(p.client, p.server.endpoint), kPending);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, m), -EDVSPROCSTS);
  CHECK_EQUAL(cancel(p.client, -EINTR), -EINTR);
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, m), kPending);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, m), -EDVSPROCSTS);
  Process& other = bind_server(p.segment, 2);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  CHECK_EQUAL(reply(other, p.client.endpoint, m), -EDVSPROCSTS);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, m), 0);
}

TEST("a second call while one is under way is refused") {
  Pair p;
  CHECK_EQUAL(start_receive(p.server, kEndpointAny), kPending);
  CHECK_EQUAL(start_receive(p.server, kEndpointAny), -EBUSY);
  CHECK_EQUAL(start_rcvrqst(p.server), -EBUSY);
  CHECK_EQUAL(start_send(p.server, p.client.endpoint, message(1, 1)), -EBUSY);
  CHECK_EQUAL(start_sendrec(p.server, p.client.endpoint, message(1, 1)), -EBUSY);
  CHECK_EQUAL(vcopy(p.server, {p.server.endpoint, -1, 0}, {p.client.endpoint, 0, 0}, 1, 0), -EBUSY);
  CHECK_EQUAL(cancel(p.server, -EINTR), -EINTR);
  CHECK_EQUAL(cancel(p.server, -EINTR), -EINTR);
  CHECK_EQUAL(step(p.server), -EDVSPROCSTS);
}

TEST("unbind: a sender in the queue of who unbinds gets EDSTDIED") {
  Pair p;
  CHECK_EQUAL(start_send(p.client, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(p.server.unbind(), 0);
  CHECK_EQUAL(step(p.client), -EDSTDIED);
}

TEST("unbind2: a receive from who unbinds gets ESRCDIED") {
  Pair p;
  std::thread receiver([&] {
    Message received;
    CHECK_EQUAL(receive(p.server, p.client.endpoint, &received, kForever), -ESRCDIED);
  });
  until_state(p.server, State::kFrom);
  CHECK_EQUAL(p.client.unbind(), 0);
  receiver.join();
}

TEST("unbind3: a notification to who unbinds vanishes, and so does one of who unbinds") {
  Pair p;
  CHECK_EQUAL(notify(p.client, p.server.endpoint), 0);
  CHECK_EQUAL(p.server.unbind(), 0);
  Process& next = bind_server(p.segment, 1);
  Message received;
  CHECK_EQUAL(receive(next, kEndpointAny, &received, 0), -EAGAIN);
  CHECK_EQUAL(notify(p.client, next.endpoint), 0);
  CHECK_EQUAL(p.client.unbind(), 0);
  CHECK_EQUAL(receive(next, kEndpointAny, &received, 0), -EAGAIN);
  CHECK_EQUAL(damage(p.segment), "");
}

TEST("unbind4: a sendrec in the queue of who unbinds gets EDSTDIED") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(p.server.unbind(), 0);
  CHECK_EQUAL(step(p.client), -EDSTDIED);
}

TEST("unbind5: a client whose request was taken and not answered gets ESRCDIED") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(p.server, &request, 0), 0);
  CHECK_EQUAL(p.server.unbind(), 0);
  CHECK_EQUAL(step(p.client), -ESRCDIED);
  CHECK_EQUAL(damage(p.segment), "");
}

TEST("a process that unbinds during its own call is told so, and its slot is left alone") {
  Pair p;
  CHECK_EQUAL(start_receive(p.server, kEndpointAny), kPending);
  CHECK_EQUAL(p.server.unbind(), 0);
  Process& next = bind_server(p.segment, 1);
  CHECK_EQUAL(start_receive(next, kEndpointAny), kPending);
  CHECK_EQUAL(step(p.server), -EDVSNOTBOUND);
  CHECK(state_in(next) == State::kAny);
  CHECK_EQUAL(cancel(p.server, -EINTR), -EINTR);
  CHECK_EQUAL(send(p.client, next.endpoint, message(1, 1), 0), 0);
  CHECK_EQUAL(step(next), 0);
}

TEST("the end of the container ends every call, waiting or new") {
  Pair p;
  Process& sender = bind_client(p.segment);
  Process& from = bind_client(p.segment);
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message m;
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  CHECK_EQUAL(start_send(sender, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_receive(from, p.client.endpoint), kPending);
  CHECK_EQUAL(start_rcvrqst(p.server), kPending);
  end_container(p.segment);
  for (Process* process : {&p.client, &sender, &from, &p.server}) {
    CHECK_EQUAL(step(*process), -EDVSDCNOTRUN);
  }
  CHECK_EQUAL(send(p.client, p.server.endpoint, m, 0), -EDVSDCNOTRUN);
  CHECK_EQUAL(receive(p.server, kEndpointAny, &m, 0), -EDVSDCNOTRUN);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, m), -EDVSDCNOTRUN);
  CHECK_EQUAL(notify(p.server, p.client.endpoint), -EDVSDCNOTRUN);
}

TEST("a signal's flag ends blocking calls with EINTR") {
  Pair p;
  std::thread receiver([&] {
    Message received;
    CHECK_EQUAL(receive(p.server, kEndpointAny, &received, kForever), -EINTR);
  });
  until_state(p.server, State::kAny);
  interrupted.store(true);
  wakeup(p.segment, p.client.endpoint);
  futex_wake(&p.server.slot->rendezvous);
  receiver.join();
  interrupted.store(false);
}

TEST("counters show what was sent and received") {
  Pair p;
  CHECK_EQUAL(start_receive(p.server, kEndpointAny), kPending);
  CHECK_EQUAL(send(p.client, p.server.endpoint, message(1, 1), 0), 0);
  CHECK_EQUAL(step(p.server), 0);
  CHECK_EQUAL(notify(p.client, p.server.endpoint), 0);
  ProcessInfo info;
  CHECK_EQUAL(process_info(p.segment, p.client.index, &info), 0);
  CHECK_EQUAL(info.sent, 1);
  CHECK_EQUAL(info.notified, 1);
  CHECK_EQUAL(process_info(p.segment, p.server.index, &info), 0);
  CHECK_EQUAL(info.received, 1);
}

}  // namespace
}  // namespace dvk::test
