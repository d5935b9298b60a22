// vcopy between nodes: the four exchanges of two and three nodes, in chunks, with their errors.
// Reference: the authors' test_proxy_vcopy1 to 4.

#include <errno.h>
#include <string.h>

#include <thread>
#include <vector>

#include "network.h"

namespace dvk::test {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes pattern(uint64_t bytes, uint64_t key) {
  Bytes data(bytes);
  for (uint64_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>((i * 2654435761 + key) >> 8);
  return data;
}

uint64_t address(const Bytes& data) {
  return reinterpret_cast<uint64_t>(data.data());
}

std::vector<uint64_t> sizes() {
  return {0, 1, 4097, kCopyChunkBytes, kCopyChunkBytes + 1, 3 * kCopyChunkBytes + 5};
}

// A requester on node 0 and two processes with granted memory, on the nodes given.
struct Copies {
  Copies(uint32_t first, uint32_t second)
      : network(4),
        requester(bind_server(network[0], 1)),
        one(bind_server(network[first], 10)),
        two(bind_server(network[second], 11)) {
    network.pump();
    network.kinds.clear();
  }
  int32_t granted(Process& process, const Bytes& data) {
    const int32_t id = grant(process, data.data(), data.size(), 3, kEndpointAny);
    CHECK(id >= 0);
    return id;
  }
  int64_t copy(const CopyParty& from, const CopyParty& to, uint64_t bytes) {
    return network.during([&] { return vcopy(requester, from, to, bytes, 20'000); });
  }
  CopyParty own(const Bytes& data) {
    return {kEndpointSelf, -1, address(data)};
  }
  Network network;
  Process& requester;
  Process& one;
  Process& two;
};

void check_kinds(const Network& network, uint64_t bytes, const std::vector<uint32_t>& round) {
  const uint64_t chunks = std::max<uint64_t>(1, (bytes + kCopyChunkBytes - 1) / kCopyChunkBytes);
  CHECK_EQUAL(network.kinds.size(), chunks * round.size());
  for (size_t i = 0; i < network.kinds.size(); i++) {
    CHECK_EQUAL(network.kinds[i], round[i % round.size()]);
  }
}

TEST("COPYIN: data goes to another node with the command") {
  for (const uint64_t bytes : sizes()) {
    Copies c(1, 2);
    const Bytes source = pattern(bytes, 1);
    Bytes target(bytes);
    const int32_t id = c.granted(c.one, target);
    CHECK_EQUAL(c.copy(c.own(source), {c.one.endpoint, id, 0}, bytes), static_cast<int64_t>(bytes));
    CHECK(source == target);
    check_kinds(c.network, bytes, {kCommandCopyinData, kCommandCopyinData | kCommandAck});
  }
}

TEST("COPYOUT: data comes from another node with the answer") {
  for (const uint64_t bytes : sizes()) {
    Copies c(1, 2);
    const Bytes source = pattern(bytes, 2);
    Bytes target(bytes);
    const int32_t id = c.granted(c.one, source);
    CHECK_EQUAL(c.copy({c.one.endpoint, id, 0}, c.own(target), bytes), static_cast<int64_t>(bytes));
    CHECK(source == target);
    check_kinds(c.network, bytes, {kCommandCopyoutRqst, kCommandCopyoutRqst | kCommandAck});
  }
}

TEST("COPYLCL: two processes of another node, and no data on the link") {
  for (const uint64_t bytes : sizes()) {
    Copies c(1, 1);
    const Bytes source = pattern(bytes, 3);
    Bytes target(bytes);
    const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
    CHECK_EQUAL(c.copy({c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, bytes),
                static_cast<int64_t>(bytes));
    CHECK(source == target);
    check_kinds(c.network, bytes, {kCommandCopylclRqst, kCommandCopylclRqst | kCommandAck});
    for (const Command& command : c.network.log) {
      if (command.kind == kCommandCopylclRqst) CHECK_EQUAL(command.payload_bytes, 0);
    }
  }
}

TEST("COPYRMT: from one node to another, for a requester on a third") {
  for (const uint64_t bytes : sizes()) {
    Copies c(1, 2);
    const Bytes source = pattern(bytes, 4);
    Bytes target(bytes);
    const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
    CHECK_EQUAL(c.copy({c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, bytes),
                static_cast<int64_t>(bytes));
    CHECK(source == target);
    check_kinds(c.network, bytes,
                {kCommandCopyrmtRqst, kCommandCopyinRqst, kCommandCopyrmtRqst | kCommandAck});
  }
}

// What a copy between nodes 1 and 2 that node 0 asks for comes to in `timeout_ms`, when node `by`
// tells it `result`.
int64_t copy_answered(uint32_t by, int32_t result, int64_t timeout_ms) {
  Copies c(1, 2);
  Bytes source = pattern(64, 8), target(64);
  const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
  int64_t copied = 0;
  std::thread caller([&] {
    copied = vcopy(c.requester, {c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, 64, timeout_ms);
  });
  Command request;
  until("it asks node 1", [&] { return c.network.take(0, 1, &request); });
  Command ack = command_of(c.network, by, 0, kCommandCopyrmtRqst | kCommandAck, c.two.endpoint,
                           c.requester.endpoint);
  ack.call_id = request.call_id;
  ack.result = result;
  c.network.bring(0, ack);
  caller.join();
  return copied;
}

TEST("COPYRMT_ACK is taken from the node of the destination, errors from that of the source too") {
  constexpr int64_t kLongMs = 500;
  CHECK_EQUAL(copy_answered(2, 64, kForever), 64);
  CHECK_EQUAL(copy_answered(2, -EDVSGRANT, kForever), -EDVSGRANT);
  CHECK_EQUAL(copy_answered(1, -EDVSGRANT, kForever), -EDVSGRANT);
  CHECK_EQUAL(copy_answered(1, 64, kLongMs), -ETIMEDOUT);
  CHECK_EQUAL(copy_answered(3, 64, kLongMs), -ETIMEDOUT);
  CHECK_EQUAL(copy_answered(3, -EDVSGRANT, kLongMs), -ETIMEDOUT);
}

TEST("the second leg of COPYRMT carries what came in the message of the first") {
  Copies c(1, 2);
  Bytes source = pattern(64, 8), target(64);
  const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
  std::thread caller(
      [&] { vcopy(c.requester, {c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, 64, 20'000); });
  until_state(c.requester, State::kRemote);
  Command request, relayed;
  CHECK(c.network.take(0, 1, &request));
  memset(&request.message, 0x5a, sizeof request.message);
  CHECK_EQUAL(c.network.bring(1, request), 0);
  CHECK(c.network.take(1, 2, &relayed));
  CHECK_EQUAL(relayed.kind, kCommandCopyinRqst);
  CHECK(memcmp(&relayed.message, &request.message, sizeof request.message) == 0);
  CHECK_EQUAL(link_down(c.network[0], 2), 0);
  caller.join();
}

TEST("a copy between two other nodes fails at once when no link leads to the destination") {
  Copies c(1, 2);
  Bytes source = pattern(64, 8), target(64);
  const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
  CHECK_EQUAL(link_down(c.network[0], 2), 0);
  CHECK_EQUAL(vcopy(c.requester, {c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, 64, 20'000),
              -ENOTCONN);
}

TEST("a server copies with a remote client that awaits it, by address") {
  Copies c(1, 2);
  Process& client = bind_client(c.network[1]);
  Bytes memory = pattern(5000, 5), target(5000);
  CHECK_EQUAL(start_sendrec(client, c.requester.endpoint, message(1, address(memory))), kPending);
  c.network.pump();
  Message m;
  CHECK_EQUAL(rcvrqst(c.requester, &m, 0), 0);
  const CopyParty theirs{m.source, -1, value_of(m)};
  CHECK_EQUAL(c.copy(theirs, c.own(target), 5000), 5000);
  CHECK(memory == target);
  const Bytes answer = pattern(5000, 6);
  CHECK_EQUAL(c.copy(c.own(answer), theirs, 5000), 5000);
  CHECK(memory == answer);
  CHECK_EQUAL(reply(c.requester, m.source, m), 0);
  c.network.pump();
  CHECK_EQUAL(step(client), 0);
  CHECK_EQUAL(c.copy(theirs, c.own(target), 8), -EDVSGRANT);
}

TEST("errors of the other node come back to the requester, whichever way the data goes") {
  Copies c(1, 2);
  const Bytes far = pattern(100, 7);
  Bytes near(200);
  const int32_t id = c.granted(c.one, far);
  const CopyParty there{c.one.endpoint, id, 0}, bad{c.one.endpoint, id + 1, 0};
  const CopyParty two_bad{c.two.endpoint, 5, 0};
  CHECK_EQUAL(c.copy(there, c.own(near), 101), -EDVSGRANT);
  CHECK_EQUAL(c.copy(c.own(near), there, 101), -EDVSGRANT);
  CHECK_EQUAL(c.copy(bad, c.own(near), 10), -EDVSGRANT);
  CHECK_EQUAL(c.copy(c.own(near), bad, 10), -EDVSGRANT);
  CHECK_EQUAL(c.copy(bad, two_bad, 10), -EDVSGRANT);
  CHECK_EQUAL(c.copy(there, two_bad, 10), -EDVSGRANT);
  CHECK_EQUAL(c.copy({kEndpointSelf, -1, 64}, there, 10), -EFAULT);
  CHECK_EQUAL(c.copy(there, {kEndpointSelf, -1, 64}, 10), -EFAULT);
  CHECK_EQUAL(c.copy(there, c.own(near), 100), 100);
}

TEST("a copy ends with ENOTCONN when a link that it needs goes down") {
  for (int kind = 0; kind < 3; kind++) {
    Copies c(1, 2);
    Bytes source = pattern(64, 8), target(64);
    const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
    int64_t result = 1;
    std::thread caller([&] {
      result = vcopy(c.requester, {c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, 64, 20'000);
    });
    until_state(c.requester, State::kRemote);
    if (kind == 0) {
      CHECK_EQUAL(link_down(c.network[0], 1), 0);
    } else if (kind == 1) {
      CHECK_EQUAL(link_down(c.network[0], 2), 0);
    } else {
      // The second leg: the source node loses its link to the destination.
      CHECK_EQUAL(link_down(c.network[1], 2), 0);
      while (c.network.pump() == 0) continue;
      c.network.pump();
    }
    caller.join();
    CHECK_EQUAL(result, -ENOTCONN);
  }
}

TEST("the second leg of a copy that is queued when its link goes down is answered") {
  Copies c(1, 2);
  Bytes source = pattern(64, 9), target(64);
  const int32_t from = c.granted(c.one, source), to = c.granted(c.two, target);
  int64_t result = 1;
  std::thread caller([&] {
    result = vcopy(c.requester, {c.one.endpoint, from, 0}, {c.two.endpoint, to, 0}, 64, 20'000);
  });
  until("the request is on its way", [&] { return c.network.move(0, 1); });
  CHECK_EQUAL(link_down(c.network[1], 2), 0);
  CHECK(c.network.move(1, 0));
  caller.join();
  CHECK_EQUAL(result, -ENOTCONN);
}

TEST("a copy that timed out writes nothing after") {
  Copies c(1, 2);
  const Bytes source = pattern(64, 10);
  Bytes target(64);
  const int32_t id = c.granted(c.one, source);
  CHECK_EQUAL(vcopy(c.requester, {c.one.endpoint, id, 0}, c.own(target), 64, 0), -EAGAIN);
  int64_t result = 1;
  std::thread caller(
      [&] { result = vcopy(c.requester, {c.one.endpoint, id, 0}, c.own(target), 64, 100); });
  until("the request is on its way", [&] { return c.network.move(0, 1); });
  caller.join();
  CHECK_EQUAL(result, -ETIMEDOUT);
  c.network.pump();
  CHECK(target == Bytes(64));
}

TEST("a message that its remote sender gave up on does not end that sender's next copy") {
  Copies c(1, 2);
  Process& remote = bind_server(c.network[1], 12);
  c.network.pump();
  const Bytes source = pattern(64, 11);
  Bytes target(64);
  const int32_t id = c.granted(c.requester, source);
  CHECK_EQUAL(start_send(remote, c.requester.endpoint, message(1, 1)), kPending);
  c.network.pump();
  CHECK_EQUAL(cancel(remote, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(c.network.during([&] {
    return vcopy(remote, {c.requester.endpoint, id, 0}, {kEndpointSelf, -1, address(target)}, 64,
                 20'000);
  }),
              64);
  CHECK(source == target);
}

}  // namespace
}  // namespace dvk::test
