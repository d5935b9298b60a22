// Privileges: which call is allowed to whom, who may send to whom, and who may change that; in the
// order of checks of section 5.2 of the M3-IPC notes.

#include <errno.h>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "../core/senda.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr uint32_t right(CallRight call) {
  return static_cast<uint32_t>(call);
}

struct Bench {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& other = bind_server(segment, 2);
  Process& client = bind_client(segment);
  Process& kernel = *bind_kernel();

  Process* bind_kernel() {
    BindOptions options;
    options.slot = 3;
    options.level = ProcessLevel::kKernel;
    Process* process = nullptr;
    CHECK_EQUAL(Process::bind(segment, options, &process), 0);
    return process;
  }
};

Privileges privileges_of(const Process& process) {
  Privileges found{};
  CHECK_EQUAL(get_privileges(process.segment, process.endpoint, &found), 0);
  return found;
}

void change(Process& process, uint32_t rights, uint64_t ipc_to, uint64_t ipc_from) {
  CHECK_EQUAL(set_privileges(process.segment, process.endpoint, {rights, ipc_to, ipc_from}), 0);
}

void deny_call(Process& process, CallRight call) {
  Privileges now = privileges_of(process);
  change(process, now.rights & ~right(call), now.ipc_to, now.ipc_from);
}

// Every call of a process, tried at `peer` without waiting.
struct Call {
  CallRight needs;
  int (*attempt)(Process& process, int32_t peer);
};

constexpr Call kCalls[] = {
    {CallRight::kSend, [](Process& p, int32_t peer) { return send(p, peer, message(1, 1), 0); }},
    {CallRight::kSend, [](Process& p, int32_t peer) { return senda(p, peer, message(1, 1), 0); }},
    {CallRight::kReceive,
     [](Process& p, int32_t peer) {
       Message m;
       return receive(p, peer, &m, 0);
     }},
    {CallRight::kSendrec,
     [](Process& p, int32_t peer) {
       Message m = message(1, 1);
       return sendrec(p, peer, &m, 0);
     }},
    {CallRight::kNotify, [](Process& p, int32_t peer) { return notify(p, peer); }},
    {CallRight::kRcvrqst,
     [](Process& p, int32_t) {
       Message m;
       return rcvrqst(p, &m, 0);
     }},
    {CallRight::kReply, [](Process& p, int32_t peer) { return reply(p, peer, message(1, 1)); }},
    {CallRight::kRelay, [](Process& p, int32_t peer) { return relay(p, peer, 2, message(1, 1)); }},
    {CallRight::kVcopy,
     [](Process& p, int32_t peer) {
       return static_cast<int>(vcopy(p, {p.endpoint, 0, 0}, {peer, 0, 0}, 0, 0));
     }},
    {CallRight::kWaitBind, [](Process& p, int32_t) { return wait_bind(p, 60, 0); }},
    {CallRight::kNotifySource, [](Process& p, int32_t peer) { return notify_from(p, peer, 2, 0); }},
    {CallRight::kNotifyKernel,
     [](Process& p, int32_t peer) { return notify_from(p, peer, kEndpointKernel, 0); }},
    {CallRight::kPrivileges,
     [](Process& p, int32_t peer) { return set_privileges(p, peer, privileges_of(p)); }},
};

TEST("priv: a copy asks ipc_to for parties in fixed slots, and nothing for users") {
  Bench b;
  uint8_t memory[64] = {};
  const CopyParty here{kEndpointSelf, -1, reinterpret_cast<uint64_t>(memory)};
  uint8_t lent[64] = {};
  const auto granted = [&](Process& owner) {
    return CopyParty{owner.endpoint, grant(owner, lent, sizeof lent, 3, kEndpointAny), 0};
  };
  const CopyParty other = granted(b.other), client = granted(b.client), kernel = granted(b.kernel);
  CHECK_EQUAL(vcopy(b.server, other, here, 8, 0), 8);
  Privileges now = privileges_of(b.server);
  change(b.server, now.rights & ~right(CallRight::kToDynamic), ~(uint64_t{1} << 2), now.ipc_from);
  CHECK_EQUAL(vcopy(b.server, other, here, 8, 0), -ECALLDENIED);
  CHECK_EQUAL(vcopy(b.server, here, other, 8, 0), -ECALLDENIED);
  CHECK_EQUAL(vcopy(b.server, client, here, 8, 0), 8);
  CHECK_EQUAL(vcopy(b.server, client, kernel, 8, 0), 8);
  CHECK_EQUAL(vcopy(b.server, client, other, 8, 0), -ECALLDENIED);
  CHECK_EQUAL(vcopy(b.server, other, client, 8, 0), -ECALLDENIED);
  CHECK_EQUAL(b.other.unbind(), 0);
  CHECK_EQUAL(vcopy(b.server, other, here, 8, 0), -ECALLDENIED);
  change(b.server, now.rights, now.ipc_to, now.ipc_from);
  CHECK_EQUAL(vcopy(b.server, other, here, 8, 0), -EDEADSRCDST);
}

TEST("priv: a level's calls are allowed, and each call that was taken away is refused") {
  for (const ProcessLevel level :
       {ProcessLevel::kUser, ProcessLevel::kServer, ProcessLevel::kKernel}) {
    Bench b;
    Process& subject = level == ProcessLevel::kUser     ? b.client
                       : level == ProcessLevel::kServer ? b.server
                                                        : b.kernel;
    const Privileges given = default_privileges(level);
    CHECK_EQUAL(privileges_of(subject).rights, given.rights);
    for (const Call& call : kCalls) {
      const bool allowed = (given.rights & right(call.needs)) != 0;
      CHECK_EQUAL(call.attempt(subject, b.other.endpoint) == -ETRAPDENIED, !allowed);
      deny_call(subject, call.needs);
      CHECK_EQUAL(call.attempt(subject, b.other.endpoint), -ETRAPDENIED);
      change(subject, given.rights, given.ipc_to, given.ipc_from);
    }
  }
}

TEST("priv: users may not take requests, and may when they are given the right") {
  Bench b;
  Message m;
  CHECK_EQUAL(rcvrqst(b.client, &m, 0), -ETRAPDENIED);
  const Privileges now = privileges_of(b.client);
  change(b.client, now.rights | right(CallRight::kRcvrqst) | right(CallRight::kReply), now.ipc_to,
         now.ipc_from);
  CHECK_EQUAL(start_sendrec(b.server, b.client.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(rcvrqst(b.client, &m, 0), 0);
  CHECK_EQUAL(reply(b.client, m.source, message(2, 2)), 0);
  CHECK_EQUAL(step(b.server), 0);
}

TEST("ipc_to: a process sends only to slots of its mask, whoever is bound there") {
  Bench b;
  Message m = message(1, 1);
  const uint32_t rights = privileges_of(b.client).rights & ~right(CallRight::kToDynamic);
  change(b.client, rights, uint64_t{1} << 2, ~uint64_t{0});
  CHECK_EQUAL(send(b.client, b.server.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(senda(b.client, b.server.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(sendrec(b.client, b.server.endpoint, &m, 0), -ECALLDENIED);
  CHECK_EQUAL(notify(b.client, b.server.endpoint), -ECALLDENIED);
  CHECK_EQUAL(send(b.client, b.other.endpoint, m, 0), -EAGAIN);
  Process& another = bind_client(b.segment);
  CHECK_EQUAL(send(b.client, another.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(b.other.unbind(), 0);
  CHECK_EQUAL(send(b.client, bind_server(b.segment, 2).endpoint, m, 0), -EAGAIN);
  change(b.client, rights | right(CallRight::kToDynamic), 0, ~uint64_t{0});
  CHECK_EQUAL(send(b.client, another.endpoint, m, 0), -EAGAIN);
  CHECK_EQUAL(send(b.client, 2, m, 0), -ECALLDENIED);
}

TEST("ipc_from: a process takes messages only of slots of its mask, and replies of its server") {
  Bench b;
  Message m = message(1, 1);
  const uint32_t rights = privileges_of(b.other).rights & ~right(CallRight::kFromDynamic);
  change(b.other, rights, ~uint64_t{0}, uint64_t{1} << 1);
  CHECK_EQUAL(send(b.client, b.other.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(senda(b.client, b.other.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(sendrec(b.client, b.other.endpoint, &m, 0), -ECALLDENIED);
  CHECK_EQUAL(notify(b.client, b.other.endpoint), -ECALLDENIED);
  CHECK_EQUAL(send(b.kernel, b.other.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(send(b.server, b.other.endpoint, m, 0), -EAGAIN);
  CHECK_EQUAL(notify_from(b.server, b.other.endpoint, b.kernel.endpoint, 0), -ECALLDENIED);
  CHECK_EQUAL(notify_from(b.kernel, b.other.endpoint, b.server.endpoint, 0), 0);
  CHECK_EQUAL(notify_from(b.kernel, b.other.endpoint, kEndpointKernel, 0), 0);

  change(b.other, rights, ~uint64_t{0}, 0);
  CHECK_EQUAL(start_sendrec(b.other, b.server.endpoint, m), kPending);
  CHECK_EQUAL(rcvrqst(b.server, &m, 0), 0);
  CHECK_EQUAL(notify(b.server, b.other.endpoint), -ECALLDENIED);
  CHECK_EQUAL(reply(b.server, m.source, m), 0);
  CHECK_EQUAL(step(b.other), 0);
}

// Each destination has all faults from its own on, so the first of them is what is found.
TEST("the checks of a call come in their order") {
  Bench b;
  Message m = message(1, 1);
  const Privileges all = privileges_of(b.server);
  change(b.other, 0, 0, 0);  // Takes from nobody.
  CHECK_EQUAL(send(b.server, b.other.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(send(b.server, make_endpoint(2, 9), m, 0), -EDEADSRCDST);
  change(b.server, all.rights, 0, all.ipc_from);
  CHECK_EQUAL(send(b.server, make_endpoint(2, 9), m, 0), -ECALLDENIED);
  CHECK_EQUAL(send(b.server, b.server.endpoint, m, 0), -EDVSBADDEST);
  CHECK_EQUAL(sendrec(b.server, b.server.endpoint, &m, 0), -EDVSENDPOINT);
  CHECK_EQUAL(send(b.server, kEndpointNone, m, 0), -ERANGE);
  CHECK_EQUAL(send(b.server, kEndpointKernel, m, 0), -EDVSBADDEST);
  CHECK_EQUAL(start_receive(b.server, kEndpointAny), kPending);
  CHECK_EQUAL(send(b.server, kEndpointKernel, m, 0), -EBUSY);
  CHECK_EQUAL(cancel(b.server, -EINTR), -EINTR);
  end_container(b.segment);
  CHECK_EQUAL(send(b.server, kEndpointKernel, m, 0), -EDVSDCNOTRUN);
  deny_call(b.server, CallRight::kSend);
  CHECK_EQUAL(send(b.server, kEndpointKernel, m, 0), -ETRAPDENIED);
  CHECK_EQUAL(b.server.unbind(), 0);
  CHECK_EQUAL(send(b.server, kEndpointKernel, m, 0), -EDVSNOTBOUND);
}

TEST("setpriv: a server changes users and itself, and gives nothing that it has not") {
  Bench b;
  const Privileges user = privileges_of(b.client), server = privileges_of(b.server);
  Privileges more = user;
  more.rights |= right(CallRight::kRcvrqst);
  CHECK_EQUAL(set_privileges(b.server, b.client.endpoint, more), 0);
  CHECK_EQUAL(privileges_of(b.client).rights, more.rights);
  CHECK_EQUAL(set_privileges(b.client, kEndpointSelf, user), -ETRAPDENIED);
  CHECK_EQUAL(set_privileges(b.server, b.other.endpoint, server), -EPERM);
  CHECK_EQUAL(set_privileges(b.server, b.kernel.endpoint, server), -EPERM);
  more.rights = right(CallRight::kNotifyKernel);
  CHECK_EQUAL(set_privileges(b.server, b.client.endpoint, more), -EPERM);

  Privileges less = server;
  less.ipc_to = 0xf0;
  CHECK_EQUAL(set_privileges(b.server, kEndpointSelf, less), 0);
  CHECK_EQUAL(set_privileges(b.server, b.server.endpoint, server), -EPERM);
  CHECK_EQUAL(set_privileges(b.server, b.client.endpoint, user), -EPERM);
  Privileges same = user;
  same.ipc_to = 0x30;
  CHECK_EQUAL(set_privileges(b.server, b.client.endpoint, same), 0);
  CHECK_EQUAL(set_privileges(b.kernel, b.server.endpoint, server), 0);
  CHECK_EQUAL(set_privileges(b.kernel, b.client.endpoint, server), 0);
}

TEST("setpriv and getpriv refuse who is not there") {
  Bench b;
  Privileges found{};
  const Privileges user = privileges_of(b.client);
  CHECK_EQUAL(add_node(b.segment, 1, "far"), 0);
  CHECK_EQUAL(bind_remote(b.segment, 20, 1, ProcessLevel::kUser, "far"), 0);
  for (const auto& [endpoint, error] :
       {std::pair{20, -EDVSRMTPROC}, std::pair{21, -EDEADSRCDST}, std::pair{-1, -ERANGE}}) {
    CHECK_EQUAL(get_privileges(b.segment, endpoint, &found), error);
    CHECK_EQUAL(set_privileges(b.segment, endpoint, user), error);
    CHECK_EQUAL(set_privileges(b.kernel, endpoint, user), error);
  }
  CHECK_EQUAL(set_privileges(b.segment, b.client.endpoint, {1u << 31, 0, 0}), -EINVAL);
  CHECK_EQUAL(set_privileges(b.kernel, b.client.endpoint, {1u << 12, 0, 0}), -EINVAL);
}

TEST("a slot's next owner has the privileges of its level again") {
  Bench b;
  change(b.other, 0, 0, 0);
  CHECK_EQUAL(b.other.unbind(), 0);
  const Privileges next = privileges_of(bind_server(b.segment, 2));
  CHECK_EQUAL(next.rights, default_privileges(ProcessLevel::kServer).rights);
  CHECK_EQUAL(next.ipc_to, ~uint64_t{0});
  CHECK_EQUAL(next.ipc_from, ~uint64_t{0});
}

TEST("masks hold between nodes: the sender's there, the receiver's here") {
  Network n(2);
  Process& server = bind_server(n[1], 1);
  Process& far = bind_server(n[0], 5);
  Process& client = bind_client(n[0]);
  n.pump();
  const Privileges all = privileges_of(server);
  change(server, all.rights & ~right(CallRight::kFromDynamic), ~uint64_t{0}, uint64_t{1} << 5);
  Message m = message(1, 1);
  CHECK_EQUAL(n.during([&] { return send(client, server.endpoint, m, kForever); }), -ECALLDENIED);
  CHECK_EQUAL(n.during([&] { return sendrec(client, server.endpoint, &m, kForever); }),
              -ECALLDENIED);
  const int32_t refused = senda(client, server.endpoint, m, 0);
  CHECK(refused >= 0);
  n.pump();
  CHECK_EQUAL(senda_status(client, refused), -ECALLDENIED);
  CHECK_EQUAL(notify(client, server.endpoint), 0);
  CHECK_EQUAL(notify(far, server.endpoint), 0);
  n.pump();
  CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, far.endpoint);
  CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), -EAGAIN);
  CHECK_EQUAL(start_send(far, server.endpoint, message(1, 1)), kPending);
  n.pump();
  CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);

  const int32_t taken = senda(far, server.endpoint, message(1, 1), 0);
  n.pump();
  CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
  CHECK(server.last_kind == MessageKind::kAsync);
  n.pump();
  CHECK_EQUAL(senda_status(far, taken), 0);

  change(client, privileges_of(client).rights, 0, 0);
  CHECK_EQUAL(senda(client, server.endpoint, m, 0), -ECALLDENIED);
  CHECK_EQUAL(send(client, server.endpoint, m, 0), -ECALLDENIED);
}

}  // namespace
}  // namespace dvk::test
