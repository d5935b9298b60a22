// What the scenarios with two nodes share: the proxies between them, and the roles at both ends.
#pragma once

#include "scenario.h"

namespace dvk::crash {

enum { kProxy, kServer, kClient, kOther };

// What a lost link gives to who has a call under way, and to who begins one.
inline const std::vector<int> kLinkDeaths = {-ENOTCONN, -EDEADSRCDST, -EDVSNOPROXY};

// The proxies of both nodes in one process; `parts`: they carry copies in parts.
class Carrier {
 public:
  explicit Carrier(Actor& a, bool parts = false);
  // Makes each node known to the other one, and takes the links up.
  void start();
  // Takes the links up.
  void attach();
  // Carries what waits at node `here`. Returns whether there was anything.
  bool carry(uint32_t here);
  // Of both nodes.
  bool move();

 private:
  Actor& a_;
  std::vector<uint8_t> payload_;
  const bool parts_;
};

// Carries commands until the others are done, then until there is none.
void carry_by(Actor& a, bool parts);
inline const Role kCarrier = {"proxy", [](Actor& a) { carry_by(a, false); }, true};

// Waits until the server of node 1 is known at node 0. Returns whether it is.
bool meet_server(Actor& a);
// Waits until the message of the client waits in its descriptor at node 1.
void meet_waiting_message(Actor& a);
// The time-out of a call that goes through the proxy, and the errors that it may have.
int64_t far_patience(const Actor& a);
std::vector<If> far_fates(const Actor& a, const std::vector<int>& deaths);

// A process of node 1, which serves.
Role far_server(const std::function<void(Actor&)>& work);
// One of node 0 that begins when it knows the server.
Role far_client(const char* name, const std::function<void(Actor&)>& work);

}  // namespace dvk::crash
