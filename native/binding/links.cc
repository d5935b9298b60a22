// Nodes of a DC, and the proxy's side of the queue between them.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "../core/link.h"
#include "../core/probe.h"
#include "../core/search.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

int js_add_node(Segment& segment, uint32_t node, std::string name) {
  return name.size() >= kNameBytes ? -EINVAL : add_node(segment, node, name.c_str());
}

int js_attach_proxy(Segment& segment, Waker& waker, uint32_t node) {
  return attach_proxy(segment, node, waker.wake_id);
}

int range_error(Napi::Env env, const char* message) {
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return 0;
}

int js_get2rmt(Environment& environment, Segment& segment, uint32_t node, Bytes out, Bytes payload,
               bool short_only) {
  if (out.length < sizeof(Command)) return range_error(environment.env, "a command has 176 bytes");
  if (payload.length < kCopyChunkBytes) {
    return range_error(environment.env, "the payload buffer must have COPY_CHUNK_BYTES");
  }
  Command command{};
  const int result = get2rmt(segment, node, &command, payload.data, short_only);
  if (result == 1) memcpy(out.data, &command, sizeof command);
  return result;
}

int js_arm_proxy(Segment& segment, uint32_t node, bool short_only) {
  if (node >= segment.nodes()) return -EDVSBADNODEID;
  return arm_proxy(segment, node, short_only) ? 1 : 0;
}

int js_put2lcl(Segment& segment, uint32_t node, Bytes in, Bytes payload) {
  if (in.length < sizeof(Command)) return -EDVSBADFRAME;
  Command command;
  memcpy(&command, in.data, sizeof command);
  return put2lcl(segment, node, command, payload.data, payload.length);
}

// Waits go to JavaScript as the bytes of RemoteWait.
constexpr size_t kWaitsAtOnce = 64;

int js_remote_waits(Segment& segment, uint32_t first, Bytes out) {
  RemoteWait waits[kWaitsAtOnce];
  const size_t capacity = std::min(kWaitsAtOnce, out.length / sizeof(RemoteWait));
  const size_t count = remote_waits(segment, first, waits, capacity);
  memcpy(out.data, waits, count * sizeof(RemoteWait));
  return static_cast<int>(count);
}

int js_remote_wait(Segment& segment, int32_t waiter, Bytes out) {
  RemoteWait wait;
  if (out.length < sizeof wait || !remote_wait(segment, waiter, &wait)) return 0;
  memcpy(out.data, &wait, sizeof wait);
  return 1;
}

int js_follow_waits(Segment& segment, uint32_t node, int32_t source, int32_t target, uint32_t call,
                    uint32_t call_id, Bytes out) {
  RemoteWait wait;
  const WaitEdge edge{node, source, target, call, call_id};
  if (out.length < sizeof wait || !follow_waits(segment, edge, &wait)) return 0;
  memcpy(out.data, &wait, sizeof wait);
  return 1;
}

int js_lock_wait(Segment& segment, int32_t waiter, Napi::BigInt ticket) {
  bool lossless = false;
  const uint64_t value = ticket.Uint64Value(&lossless);
  return lossless && lock_wait(segment, waiter, value) ? 1 : 0;
}

int js_attach_tracker(Segment& segment, Waker& waker) {
  return attach_tracker(segment, waker.wake_id);
}

// Searches go to JavaScript as the bytes of Search.
constexpr size_t kSearchesAtOnce = 64;

int js_searches(Segment& segment, uint32_t first, Bytes out) {
  Search found[kSearchesAtOnce];
  const size_t capacity = std::min(kSearchesAtOnce, out.length / sizeof(Search));
  const size_t count = searches(segment, first, found, capacity);
  memcpy(out.data, found, count * sizeof(Search));
  return static_cast<int>(count);
}

int js_bind_claimed(Segment& segment, uint32_t node, int32_t endpoint, uint32_t level,
                    std::string name) {
  if (name.size() >= kNameBytes) return -EDVSBADFRAME;
  const bool server = level != static_cast<uint32_t>(ProcessLevel::kUser);
  return bind_claimed(segment, node, endpoint, server ? ProcessLevel::kServer : ProcessLevel::kUser,
                      name.c_str());
}

}  // namespace

void register_links(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"addNode", method<js_add_node>},
             {"removeNode", method<remove_node>},
             {"attachProxy", method<js_attach_proxy>},
             {"detachProxy", method<detach_proxy>},
             {"linkUp", method<link_up>},
             {"linkDown", method<link_down>},
             {"get2rmt", method<js_get2rmt>},
             {"armProxy", method<js_arm_proxy>},
             {"put2lcl", method<js_put2lcl>},
             {"remoteWaits", method<js_remote_waits>},
             {"remoteWait", method<js_remote_wait>},
             {"followWaits", method<js_follow_waits>},
             {"lockWait", method<js_lock_wait>},
             {"attachTracker", method<js_attach_tracker>},
             {"detachTracker", method<detach_tracker>},
             {"hasNewSearches", method<has_new_searches>},
             {"searches", method<js_searches>},
             {"endSearch", method<end_search>},
             {"bindClaimed", method<js_bind_claimed>},
         });
}

}  // namespace dvk::binding
