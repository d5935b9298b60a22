// Segments: made, opened, looked into, ended.

#include <cerrno>
#include <cstring>

#include "../core/rendezvous.h"
#include "../core/vcopy.h"
#include "arguments.h"
#include "objects.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr double kSafeInteger = 9007199254740991.0;

// Names and numbers of segmentCreate's options.
class Options {
 public:
  Options(napi_env env, napi_value object) : env_(env), object_(object) {}
  double number_of(const char* name) {
    napi_value value = nullptr;
    double result = 0;
    if (napi_get_named_property(env_, object_, name, &value) != napi_ok ||
        napi_get_value_double(env_, value, &result) != napi_ok || !(result >= 0) ||
        result > kSafeInteger) {
      bad_ = true;
      return 0;
    }
    return result;
  }
  uint32_t uint32_of(const char* name) {
    const double result = number_of(name);
    if (result > UINT32_MAX) bad_ = true;
    return bad_ ? 0 : static_cast<uint32_t>(result);
  }
  // Longer names than a segment holds are refused rather than cut.
  void name_of(const char* name, char (&text)[kNameBytes]) {
    napi_value value = nullptr;
    char buffer[kNameBytes + 4] = {};
    size_t length = 0;
    if (napi_get_named_property(env_, object_, name, &value) != napi_ok ||
        napi_get_value_string_utf8(env_, value, buffer, sizeof buffer, &length) != napi_ok ||
        length >= kNameBytes || strlen(buffer) != length) {
      bad_ = true;
      return;
    }
    memcpy(text, buffer, kNameBytes);
  }
  bool bad() const {
    return bad_;
  }

 private:
  napi_env env_;
  napi_value object_;
  bool bad_ = false;
};

napi_value js_segment_create(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const std::string path = a.text(0);
  if (a.bad()) return nullptr;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, a.value(1), &type) != napi_ok || type != napi_object) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "the options must be an object");
    return nullptr;
  }
  Options given(env, a.value(1));
  char dc_name[kNameBytes] = {};
  char dvs_name[kNameBytes] = {};
  SegmentOptions options;
  options.dc_id = given.uint32_of("dcId");
  options.node_id = given.uint32_of("nodeId");
  options.processes = given.uint32_of("processes");
  options.nodes = given.uint32_of("nodes");
  options.arena_bytes = static_cast<uint64_t>(given.number_of("arenaBytes"));
  options.first_generation = given.uint32_of("firstGeneration");
  options.mode = given.uint32_of("mode");
  given.name_of("dcName", dc_name);
  given.name_of("dvsName", dvs_name);
  options.dc_name = dc_name;
  options.dvs_name = dvs_name;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return nullptr;
  if (given.bad()) return number(env, -EINVAL);
  return number(env, Segment::create(path.c_str(), options));
}

napi_value js_segment_open(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const std::string path = a.text(0);
  if (a.bad()) return nullptr;
  Segment* segment = nullptr;
  a.environment()->reason.clear();
  const int error = Segment::open(path.c_str(), &segment, &a.environment()->reason);
  if (error < 0) return number(env, error);
  auto open = std::make_shared<OpenSegment>();
  open->segment.reset(segment);
  return number(env, a.environment()->segments.add(std::move(open)));
}

napi_value js_segment_reason(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  napi_value result = nullptr;
  const std::string& reason = a.environment()->reason;
  napi_create_string_utf8(env, reason.data(), reason.size(), &result);
  return result;
}

napi_value js_segment_close(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  return number(env, a.environment()->segments.remove(handle) == nullptr ? -EBADF : 0);
}

void set_name(Object& object, const char* name, const char (&shared)[kNameBytes]) {
  char text[kNameBytes];
  memcpy(text, shared, sizeof text);
  text[kNameBytes - 1] = 0;
  object.set(name, text);
}

napi_value js_segment_info(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  Segment& segment = *open->segment;
  SegmentHeader* header = segment.header();
  Object object(env);
  object.set("directory", segment.directory().c_str());
  set_name(object, "dcName", header->dc_name);
  set_name(object, "dvsName", header->dvs_name);
  object.set("dcId", segment.dc_id());
  object.set("nodeId", segment.node_id());
  object.set("processes", segment.processes());
  object.set("nodes", segment.nodes());
  object.set_count("arenaBytes", segment.arena_bytes());
  object.set_count("bytes", segment.bytes());
  object.set_big("incarnation", load(header->incarnation));
  object.set("abiVersion", load(header->abi_version));
  object.set("state", load(header->state));
  return object.value();
}

// The ArrayBuffer keeps the mapping, so no view of the arena can outlive it.
napi_value js_segment_arena(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  const std::shared_ptr<OpenSegment> open = a.environment()->segments.share(handle);
  if (open == nullptr) return number(env, -EBADF);
  napi_value result = nullptr;
  if (open->segment->arena_bytes() == 0) {
    napi_create_arraybuffer(env, 0, nullptr, &result);
    return result;
  }
  auto* kept = new std::shared_ptr<OpenSegment>(open);
  const auto release = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<OpenSegment>*>(hint);
  };
  if (napi_create_external_arraybuffer(env, open->segment->arena(), open->segment->arena_bytes(),
                                       release, kept, &result) != napi_ok) {
    delete kept;
    napi_throw_error(env, nullptr, "dvk: this Node.js has no external buffers");
    return nullptr;
  }
  return result;
}

napi_value describe(napi_env env, const ProcessInfo& process) {
  Object object(env);
  object.set("endpoint", process.endpoint);
  object.set("slot", process.slot);
  object.set("node", process.node);
  object.set("life", process.life);
  object.set("level", process.level);
  object.set("state", process.state);
  object.set("pid", process.pid);
  object.set("peer", process.peer);
  object.set("name", process.name);
  object.set_count("sent", process.sent);
  object.set_count("received", process.received);
  object.set_count("sentRemote", process.sent_remote);
  object.set_count("notified", process.notified);
  object.set_count("copiedBytes", process.copied_bytes);
  object.set_count("waits", process.waits);
  return object.value();
}

napi_value js_segment_processes(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  napi_value result = nullptr;
  napi_create_array(env, &result);
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < open->segment->processes(); slot++) {
    ProcessInfo process{};
    if (process_info(*open->segment, slot, &process) != 0) continue;
    napi_set_element(env, result, count++, describe(env, process));
  }
  return result;
}

napi_value describe(napi_env env, uint32_t node, LinkSlot* link) {
  Object object(env);
  object.set("node", node);
  set_name(object, "name", link->name);
  object.set("state", load(link->state));
  object.set("session", load(link->session));
  object.set("proxyPid", load(link->proxy_pid));
  object.set_count("sent", load(link->sent));
  object.set_count("received", load(link->received));
  object.set_count("sentBytes", load(link->sent_bytes));
  object.set_count("receivedBytes", load(link->received_bytes));
  object.set_count("dropped", load(link->dropped));
  return object.value();
}

napi_value js_segment_links(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  napi_value result = nullptr;
  napi_create_array(env, &result);
  uint32_t count = 0;
  for (uint32_t node = 0; node < open->segment->nodes(); node++) {
    LinkSlot* link = open->segment->link(node);
    if (load(link->state) == static_cast<uint32_t>(LinkState::kAbsent)) continue;
    napi_set_element(env, result, count++, describe(env, node, link));
  }
  return result;
}

napi_value js_segment_end(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  end_container(*open->segment);
  return number(env, 0);
}

napi_value js_arena_used(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(arena_used(*open->segment)), &result);
  return result;
}

}  // namespace

bool register_segments(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"segmentCreate", js_segment_create},
                    {"segmentOpen", js_segment_open},
                    {"segmentReason", js_segment_reason},
                    {"segmentClose", js_segment_close},
                    {"segmentInfo", js_segment_info},
                    {"segmentArena", js_segment_arena},
                    {"segmentProcesses", js_segment_processes},
                    {"segmentLinks", js_segment_links},
                    {"segmentEnd", js_segment_end},
                    {"arenaUsed", js_arena_used},
                });
}

}  // namespace dvk::binding
