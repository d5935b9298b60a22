#include "far.h"

#include <errno.h>
#include <unistd.h>

namespace dvk::crash {

Carrier::Carrier(Actor& a, bool parts) : a_(a), payload_(kCopyChunkBytes), parts_(parts) {}

void Carrier::start() {
  for (uint32_t here = 0; here < 2; here++) {
    a_.expect("add_node", add_node(a_.node(here), 1 - here, "peer"));
  }
  attach();
}

void Carrier::attach() {
  for (uint32_t here = 0; here < 2; here++) {
    a_.expect("attach_proxy", attach_proxy(a_.node(here), 1 - here, 0));
    a_.expect("link_up", link_up(a_.node(here), 1 - here, 1, parts_));
  }
}

bool Carrier::carry(uint32_t here) {
  bool moved = false;
  Command command;
  const WakesPutOff put_off(a_.node(1 - here));
  while (get2rmt(a_.node(here), 1 - here, &command, payload_.data()) == 1) {
    put2lcl(a_.node(1 - here), here, command, payload_.data(), command.payload_bytes);
    moved = true;
  }
  return moved;
}

bool Carrier::move() {
  const bool moved = carry(0);
  return carry(1) || moved;
}

void carry_by(Actor& a, bool parts) {
  Carrier carrier(a, parts);
  carrier.start();
  a.ready();
  while (!a.others_done()) {
    if (!carrier.move()) usleep(50);
  }
  while (carrier.move()) {
  }
}

bool meet_server(Actor& a) {
  const auto known = [&] {
    uint32_t slot;
    return check_endpoint(a.segment, a.endpoint(kServer), &slot) == 0;
  };
  a.meet({kProxy, kServer}, known);
  return known();
}

void meet_waiting_message(Actor& a) {
  const uint32_t index = static_cast<uint32_t>(a.segment.slot_of(a.endpoint(kClient)));
  a.meet({kProxy, kClient}, [&] { return test::state_in(a.node(1), index) == State::kSending; });
}

int64_t far_patience(const Actor& a) {
  return a.patience({kProxy, kServer, a.self});
}

std::vector<If> far_fates(const Actor& a, const std::vector<int>& deaths) {
  std::vector<int> all = kLinkDeaths;
  all.insert(all.end(), deaths.begin(), deaths.end());
  return {{kProxy, all}, {kServer, all}, {a.self, {}}};
}

Role far_server(const std::function<void(Actor&)>& work) {
  return {"server",
          [=](Actor& a) {
            a.bind(ProcessLevel::kServer, 1, 1);
            a.ready();
            work(a);
          },
          true};
}

Role far_client(const char* name, const std::function<void(Actor&)>& work) {
  return {name, [=](Actor& a) {
            a.bind();
            a.start();
            if (!meet_server(a)) return;
            a.arm();
            work(a);
          }};
}

}  // namespace dvk::crash
