// Several nodes in one process, which plays all their proxies: get2rmt here, put2lcl there.
#pragma once

#include <vector>

#include "support.h"

namespace dvk::test {

class Network {
 public:
  // `parts`: copies cross links in parts.
  explicit Network(uint32_t nodes, bool parts = false);
  Segment& operator[](uint32_t node) {
    return containers_[node]->segment;
  }
  // Moves one command from `from` to `to`. Returns whether there was one.
  bool move(uint32_t from, uint32_t to);
  // Moves commands until nothing waits anywhere. Returns how many moved.
  int pump();
  // Takes the next command of `from` for `to` without bringing it.
  bool take(uint32_t from, uint32_t to, Command* command);
  // Brings a command to `to` as if its node had sent it.
  int bring(uint32_t to, const Command& command);
  int bring(uint32_t to, const Command& command, const std::vector<uint8_t>& data);
  // Runs a blocking call in a thread of its own while commands move.
  int64_t during(const std::function<int64_t()>& call);

  // Kinds of the commands moved, in their order.
  std::vector<uint32_t> kinds;
  std::vector<Command> log;

 private:
  std::vector<Container*> containers_;
  std::vector<uint8_t> payload_;
};

// A command as the proxy of node `from` would hand it on.
Command command_of(Network& network, uint32_t from, uint32_t to, uint32_t kind, int32_t source,
                   int32_t destination);

}  // namespace dvk::test
