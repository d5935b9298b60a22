// Commands that no honest proxy sends: each is refused or answered with an error, and takes nothing
// that is another's.

#include <errno.h>

#include <vector>

#include "network.h"

namespace dvk::test {
namespace {

struct Remote {
  explicit Remote(uint32_t nodes = 2) : network(nodes) {
    network.pump();
  }
  Network network;
  Process& server = bind_server(network[0], 1);
  Process& client = bind_client(network[1]);
  Command from_client(uint32_t kind) {
    return command_of(network, 1, 0, kind, client.endpoint, server.endpoint);
  }
};

TEST("a command of another DC, node, size or kind is refused and counted") {
  Remote r;
  const Command good = r.from_client(kCommandSendMsg);
  const uint64_t before = load(r.network[0].link(1)->dropped);
  Command bad = good;
  bad.dc_id++;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADDCID);
  bad = good;
  bad.destination_node = 2;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  bad = good;
  bad.payload_bytes = 8;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  CHECK_EQUAL(r.network.bring(0, bad, std::vector<uint8_t>(8)), -EDVSBADFRAME);
  for (const uint32_t kind :
       {kCommandHello + 0u, kCommandShutdown + 0u, 14u | kCommandAck, 99u, ~0u}) {
    bad = good;
    bad.kind = kind;
    CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  }
  CHECK_EQUAL(load(r.network[0].link(1)->dropped), before + 9);
  const std::vector<uint8_t> none;
  CHECK_EQUAL(put2lcl(r.network[0], 0, good, none.data(), 0), -EDVSBADNODEID);
  CHECK_EQUAL(put2lcl(r.network[0], 9, good, none.data(), 0), -EDVSBADNODEID);
  CHECK_EQUAL(put2lcl(r.network[0], 2, good, none.data(), 0), -ENOTCONN);
  CHECK_EQUAL(r.network.bring(0, r.from_client(kCommandNone)), 0);
}

TEST("a source that is not of the sending node is refused") {
  Remote r(3);
  for (const int32_t source : {r.server.endpoint, 100000, -5, kEndpointAny, 191}) {
    Command bad = r.from_client(kCommandSendMsg);
    bad.source = source;
    CHECK(r.network.bring(0, bad) < 0);
    bad.kind = kCommandNtfyMsg;
    CHECK(r.network.bring(0, bad) < 0);
    bad.kind = kCommandProcbind;
    CHECK(r.network.bring(0, bad) < 0);
  }
  CHECK_EQUAL(lookup(r.network[0], 1), r.server.endpoint);
}

TEST("a node cannot take over, end or speak for a server of a third node") {
  Remote r(3);
  Process& third = bind_server(r.network[2], 5);
  r.network.pump();
  CHECK_EQUAL(lookup(r.network[0], 5), third.endpoint);
  const int32_t other = make_endpoint(5, 7);
  for (const int32_t source : {third.endpoint, other}) {
    for (const uint32_t kind :
         {kCommandSendMsg, kCommandSndrecMsg, kCommandNtfyMsg, kCommandProcbind}) {
      Command bad = r.from_client(kind);
      bad.source = source;
      CHECK_EQUAL(r.network.bring(0, bad), -EDVSSLOTUSED);
    }
    Command end = r.from_client(kCommandProcunbind);
    end.source = source;
    CHECK_EQUAL(r.network.bring(0, end), 0);
    CHECK_EQUAL(lookup(r.network[0], 5), third.endpoint);
  }
}

TEST("an answer is taken from the node that was asked, of the kind and number that was asked") {
  Remote r(3);
  Process& caller = bind_client(r.network[0]);
  bind_server(r.network[1], 6);
  r.network.pump();
  const int32_t target = lookup(r.network[0], 6);
  CHECK_EQUAL(start_send(caller, target, message(1, 1)), kPending);
  Command sent;
  CHECK(r.network.take(0, 1, &sent));
  Command ack = command_of(r.network, 1, 0, kCommandSendMsg | kCommandAck, target, caller.endpoint);
  ack.call_id = sent.call_id;
  Command bad = ack;
  bad.call_id++;
  CHECK_EQUAL(r.network.bring(0, bad), 0);
  bad = ack;
  bad.kind = kCommandSndrecMsg | kCommandAck;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  bad.result = -EDSTDIED;
  CHECK_EQUAL(r.network.bring(0, bad), 0);
  bad = ack;
  bad.source_node = 2;
  CHECK_EQUAL(r.network.bring(0, bad), 0);
  CHECK_EQUAL(step(caller), kPending);
  CHECK_EQUAL(r.network.bring(0, ack), 0);
  CHECK_EQUAL(step(caller), 0);
  CHECK_EQUAL(r.network.bring(0, ack), 0);
}

TEST("a reply that nobody awaits is told to its server's node and changes nothing") {
  Remote r;
  Process& local = bind_client(r.network[0]);
  Command stray = r.from_client(kCommandReplyMsg);
  stray.destination = local.endpoint;
  CHECK_EQUAL(start_receive(local, kEndpointAny), kPending);
  CHECK_EQUAL(r.network.bring(0, stray), 0);
  CHECK_EQUAL(step(local), kPending);
  Command ack;
  bool told = false;
  while (r.network.take(0, 1, &ack)) {
    told = told || (ack.kind == (kCommandReplyMsg | kCommandAck) && ack.result == -EDVSPROCSTS);
  }
  CHECK(told);
}

TEST("copies beyond the chunk, of foreign requesters or without their data are refused") {
  Remote r;
  Command bad = r.from_client(kCommandCopyoutRqst);
  bad.requester = r.client.endpoint;
  bad.requester_node = 1;
  bad.copy_bytes = kCopyChunkBytes + 1;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  bad.copy_bytes = 8;
  bad.requester = r.server.endpoint;
  CHECK_EQUAL(r.network.bring(0, bad), -EDVSBADFRAME);
  Command relayed = r.from_client(kCommandCopyinRqst);
  relayed.requester = r.server.endpoint;
  relayed.requester_node = 0;
  CHECK_EQUAL(r.network.bring(0, relayed), -EDVSBADFRAME);
  relayed.requester_node = 77;
  CHECK_EQUAL(r.network.bring(0, relayed), -EDVSBADFRAME);
}

TEST("a copy into memory without a grant is answered with the error") {
  Remote r;
  std::vector<uint8_t> memory(64, 1);
  Command copy = r.from_client(kCommandCopyinData);
  copy.requester = r.client.endpoint;
  copy.requester_node = 1;
  copy.copy_destination = r.server.endpoint;
  copy.copy_destination_at = reinterpret_cast<uint64_t>(memory.data());
  copy.copy_bytes = copy.payload_bytes = 64;
  for (const int32_t id : {-1, -2, 0, 31}) {
    copy.copy_destination_grant = id;
    CHECK_EQUAL(r.network.bring(0, copy, std::vector<uint8_t>(64, 9)), 0);
    Command ack;
    bool answered = false;
    while (r.network.take(0, 1, &ack)) {
      answered = answered || (ack.kind == (kCommandCopyinData | kCommandAck) && ack.result < 0);
    }
    CHECK(answered);
  }
  CHECK(memory == std::vector<uint8_t>(64, 1));
}

}  // namespace
}  // namespace dvk::test
