// Nodes of a DC, and the proxy's side of the queue between them.

#include <cerrno>
#include <cstring>

#include "../core/link.h"
#include "arguments.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// The segment of a handle in which `node` is a node number, or the error.
Segment* segment_of(Environment* environment, int32_t handle, uint32_t node, int* error) {
  OpenSegment* open = environment->segments.find(handle);
  *error = open == nullptr ? -EBADF : node >= open->segment->nodes() ? -EDVSBADNODEID : 0;
  return *error == 0 ? open->segment.get() : nullptr;
}

napi_value js_add_node(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  const std::string name = a.text(2);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  if (segment == nullptr) return number(env, error);
  if (name.size() >= kNameBytes) return number(env, -EINVAL);
  return number(env, add_node(*segment, node, name.c_str()));
}

napi_value js_remove_node(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  return number(env, segment == nullptr ? error : remove_node(*segment, node));
}

napi_value js_attach_proxy(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), waker = a.int32(1);
  const uint32_t node = a.uint32(2);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  Waker* found = a.environment()->wakers.find(waker);
  if (segment == nullptr) return number(env, error);
  if (found == nullptr) return number(env, -EBADF);
  return number(env, attach_proxy(*segment, node, found->wake_id));
}

napi_value js_link_up(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1), session = a.uint32(2);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  return number(env, segment == nullptr ? error : link_up(*segment, node, session));
}

napi_value js_link_down(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  return number(env, segment == nullptr ? error : link_down(*segment, node));
}

napi_value range_error(napi_env env, const char* message) {
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return nullptr;
}

napi_value js_get2rmt(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  const Bytes out = a.bytes(2), payload = a.bytes(3);
  if (a.bad()) return nullptr;
  if (out.length < sizeof(Command)) return range_error(env, "a command has 176 bytes");
  if (payload.length < kCopyChunkBytes) {
    return range_error(env, "the payload buffer must have COPY_CHUNK_BYTES");
  }
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  if (segment == nullptr) return number(env, error);
  Command command{};
  const int result = get2rmt(*segment, node, &command, payload.data);
  if (result == 1) memcpy(out.data, &command, sizeof command);
  return number(env, result);
}

napi_value js_arm_proxy(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  if (a.bad()) return nullptr;
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  if (segment == nullptr) return number(env, error);
  return number(env, arm_proxy(*segment, node) ? 1 : 0);
}

napi_value js_put2lcl(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t node = a.uint32(1);
  const Bytes in = a.bytes(2), payload = a.bytes(3);
  if (a.bad()) return nullptr;
  if (in.length < sizeof(Command)) return number(env, -EDVSBADFRAME);
  int error = 0;
  Segment* segment = segment_of(a.environment(), handle, node, &error);
  if (segment == nullptr) return number(env, error);
  Command command;
  memcpy(&command, in.data, sizeof command);
  return number(env, put2lcl(*segment, node, command, payload.data, payload.length));
}

}  // namespace

bool register_links(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"addNode", js_add_node},
                    {"removeNode", js_remove_node},
                    {"attachProxy", js_attach_proxy},
                    {"linkUp", js_link_up},
                    {"linkDown", js_link_down},
                    {"get2rmt", js_get2rmt},
                    {"armProxy", js_arm_proxy},
                    {"put2lcl", js_put2lcl},
                });
}

}  // namespace dvk::binding
