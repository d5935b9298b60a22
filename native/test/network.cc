#include "network.h"

#include <thread>

namespace dvk::test {

Network::Network(uint32_t nodes, bool parts) : payload_(kCopyChunkBytes) {
  for (uint32_t n = 0; n < nodes; n++) containers_.push_back(new Container(small(n)));
  for (uint32_t n = 0; n < nodes; n++) {
    for (uint32_t m = 0; m < nodes; m++) {
      if (n == m) continue;
      CHECK_EQUAL(add_node((*this)[n], m, "peer"), 0);
      CHECK_EQUAL(attach_proxy((*this)[n], m, 0), 0);
      CHECK_EQUAL(link_up((*this)[n], m, 1, parts), 0);
    }
  }
}

bool Network::take(uint32_t from, uint32_t to, Command* command) {
  const int taken = get2rmt((*this)[from], to, command, payload_.data());
  CHECK(taken == 0 || taken == 1);
  if (taken == 0) return false;
  CHECK_EQUAL(command->source_node, from);
  CHECK_EQUAL(command->destination_node, to);
  kinds.push_back(command->kind);
  log.push_back(*command);
  return true;
}

bool Network::move(uint32_t from, uint32_t to) {
  Command command;
  if (!take(from, to, &command)) return false;
  CHECK_EQUAL(put2lcl((*this)[to], from, command, payload_.data(), command.payload_bytes), 0);
  return true;
}

int Network::pump() {
  int moved = 0;
  for (bool more = true; more;) {
    more = false;
    for (uint32_t n = 0; n < containers_.size(); n++) {
      for (uint32_t m = 0; m < containers_.size(); m++) {
        while (n != m && move(n, m)) {
          moved++;
          more = true;
        }
      }
    }
  }
  return moved;
}

int Network::bring(uint32_t to, const Command& command) {
  return bring(to, command, {});
}

int Network::bring(uint32_t to, const Command& command, const std::vector<uint8_t>& data) {
  return put2lcl((*this)[to], command.source_node, command, data.data(), data.size());
}

int64_t Network::during(const std::function<int64_t()>& call) {
  std::atomic<bool> done{false};
  int64_t result = 0;
  std::thread caller([&] {
    result = call();
    done.store(true);
  });
  while (!done.load()) {
    if (pump() == 0) std::this_thread::yield();
  }
  caller.join();
  return result;
}

Command command_of(Network& network, uint32_t from, uint32_t to, uint32_t kind, int32_t source,
                   int32_t destination) {
  Command command{};
  command.kind = kind;
  command.dc_id = network[from].dc_id();
  command.source_node = from;
  command.destination_node = to;
  command.source = source;
  command.destination = destination;
  return command;
}

}  // namespace dvk::test
