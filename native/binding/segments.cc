// Segments: made, opened, looked into, ended.

#include <cerrno>
#include <cstring>

#include "../core/check.h"
#include "../core/process.h"
#include "../core/rendezvous.h"
#include "../core/vcopy.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr double kSafeInteger = 9007199254740991.0;

// Names and numbers of segmentCreate's options.
class Options {
 public:
  explicit Options(Napi::Object object) : object_(object) {}
  double number_of(const char* name) {
    const Napi::Value value = object_.Get(name);
    const double result = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (result >= 0 && result <= kSafeInteger) return result;
    bad_ = true;
    return 0;
  }
  uint32_t uint32_of(const char* name) {
    const double result = number_of(name);
    if (result > UINT32_MAX) bad_ = true;
    return bad_ ? 0 : static_cast<uint32_t>(result);
  }
  // Longer names than a segment holds are refused rather than cut.
  std::string name_of(const char* name) {
    const Napi::Value value = object_.Get(name);
    const std::string result = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    if (!value.IsString() || result.size() >= kNameBytes || strlen(result.c_str()) != result.size())
      bad_ = true;
    return result;
  }
  bool bad() const {
    return bad_;
  }

 private:
  Napi::Object object_;
  bool bad_ = false;
};

int js_segment_create(std::string path, Napi::Object object) {
  Options given(object);
  const std::string dc_name = given.name_of("dcName");
  const std::string dvs_name = given.name_of("dvsName");
  SegmentOptions options;
  options.dc_id = given.uint32_of("dcId");
  options.node_id = given.uint32_of("nodeId");
  options.processes = given.uint32_of("processes");
  options.nodes = given.uint32_of("nodes");
  options.arena_bytes = static_cast<uint64_t>(given.number_of("arenaBytes"));
  options.first_generation = given.uint32_of("firstGeneration");
  options.mode = given.uint32_of("mode");
  options.dc_name = dc_name.c_str();
  options.dvs_name = dvs_name.c_str();
  return given.bad() ? -EINVAL : Segment::create(path.c_str(), options);
}

int js_segment_open(Environment& environment, std::string path) {
  Segment* segment = nullptr;
  environment.reason.clear();
  const int error = Segment::open(path.c_str(), &segment, &environment.reason);
  return error < 0 ? error : environment.segments.add(std::shared_ptr<Segment>(segment));
}

std::string js_segment_reason(Environment& environment) {
  return environment.reason;
}

int js_segment_close(Environment& environment, int32_t handle) {
  return environment.segments.remove(handle) == nullptr ? -EBADF : 0;
}

std::string name_of(const char (&shared)[kNameBytes]) {
  return {shared, strnlen(shared, kNameBytes - 1)};
}

Napi::Value js_segment_info(Environment& environment, Segment& segment) {
  SegmentHeader* header = segment.header();
  Napi::Object object = Napi::Object::New(environment.env);
  object.Set("directory", segment.directory());
  object.Set("dcName", name_of(header->dc_name));
  object.Set("dvsName", name_of(header->dvs_name));
  object.Set("dcId", segment.dc_id());
  object.Set("nodeId", segment.node_id());
  object.Set("processes", segment.processes());
  object.Set("nodes", segment.nodes());
  object.Set("arenaBytes", segment.arena_bytes());
  object.Set("bytes", segment.bytes());
  object.Set("incarnation", Napi::BigInt::New(environment.env, load(header->incarnation)));
  object.Set("abiVersion", load(header->abi_version));
  object.Set("state", load(header->state));
  return object;
}

// The ArrayBuffer keeps the mapping, so no view of the arena can outlive it.
Napi::Value js_segment_arena(Environment& environment, std::shared_ptr<Segment> segment) {
  if (segment->arena_bytes() == 0) return Napi::ArrayBuffer::New(environment.env, 0);
  return shared_buffer(environment.env, segment, segment->arena(), segment->arena_bytes());
}

Napi::Object describe(Napi::Env env, const ProcessInfo& process) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("endpoint", process.endpoint);
  object.Set("slot", process.slot);
  object.Set("node", process.node);
  object.Set("life", process.life);
  object.Set("level", process.level);
  object.Set("state", process.state);
  object.Set("pid", process.pid);
  object.Set("peer", process.peer);
  object.Set("cpu", static_cast<double>(process.cpu) - 1);
  object.Set("wakeupPending", process.wakeup != 0);
  object.Set("startTime", process.start_time);
  object.Set("thread", process.thread);
  object.Set("flags", process.flags);
  object.Set("name", process.name);
  object.Set("sent", process.sent);
  object.Set("received", process.received);
  object.Set("sentRemote", process.sent_remote);
  object.Set("notified", process.notified);
  object.Set("copiedBytes", process.copied_bytes);
  object.Set("waits", process.waits);
  object.Set("lentBytes", process.lent_bytes);
  return object;
}

Napi::Value js_segment_processes(Environment& environment, Segment& segment) {
  Napi::Array result = Napi::Array::New(environment.env);
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < segment.processes(); slot++) {
    ProcessInfo process{};
    if (process_info(segment, slot, &process) != 0) continue;
    result.Set(count++, describe(environment.env, process));
  }
  return result;
}

Napi::Value js_segment_process(Environment& environment, Segment& segment, uint32_t slot) {
  ProcessInfo process{};
  const int error = process_info(segment, slot, &process);
  if (error != 0) return Napi::Number::New(environment.env, error);
  return describe(environment.env, process);
}

Napi::Object describe(Napi::Env env, Segment& segment, uint32_t node) {
  LinkSlot* link = segment.link(node);
  uint32_t queued = 0;
  segment.link_queue(node).each_bit([&](uint32_t) { queued++; });
  Napi::Object object = Napi::Object::New(env);
  object.Set("node", node);
  object.Set("name", name_of(link->name));
  object.Set("state", load(link->state));
  object.Set("session", load(link->session));
  object.Set("proxyPid", load(link->proxy_pid));
  object.Set("sent", load(link->sent));
  object.Set("received", load(link->received));
  object.Set("sentBytes", load(link->sent_bytes));
  object.Set("receivedBytes", load(link->received_bytes));
  object.Set("dropped", load(link->dropped));
  object.Set("queued", queued);
  object.Set("queueLimit", segment.processes());
  return object;
}

Napi::Value js_segment_links(Environment& environment, Segment& segment) {
  Napi::Array result = Napi::Array::New(environment.env);
  uint32_t count = 0;
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    LinkSlot* link = segment.link(node);
    if (load(link->state) == static_cast<uint32_t>(LinkState::kAbsent)) continue;
    result.Set(count++, describe(environment.env, segment, node));
  }
  return result;
}

Napi::Value js_segment_link(Environment& environment, Segment& segment, uint32_t node) {
  if (node >= segment.nodes()) return Napi::Number::New(environment.env, -EDVSBADNODEID);
  LinkSlot* link = segment.link(node);
  if (load(link->state) == static_cast<uint32_t>(LinkState::kAbsent)) {
    return Napi::Number::New(environment.env, -EDVSNODCNODE);
  }
  return describe(environment.env, segment, node);
}

int js_segment_end(Segment& segment) {
  end_container(segment);
  return 0;
}

Napi::Value js_segment_check(Environment& environment, Segment& segment, uint32_t pause_ms) {
  Napi::Array result = Napi::Array::New(environment.env);
  uint32_t count = 0;
  for (const std::string& fault : check_segment(segment, pause_ms)) result.Set(count++, fault);
  return result;
}

int js_segment_sweep(Segment& segment) {
  return sweep(segment);
}

int64_t js_arena_used(Segment& segment) {
  return static_cast<int64_t>(arena_used(segment));
}

}  // namespace

void register_segments(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"segmentCreate", method<js_segment_create>},
             {"segmentOpen", method<js_segment_open>},
             {"segmentReason", method<js_segment_reason>},
             {"segmentClose", method<js_segment_close>},
             {"segmentInfo", method<js_segment_info>},
             {"segmentArena", method<js_segment_arena>},
             {"segmentProcesses", method<js_segment_processes>},
             {"segmentProcess", method<js_segment_process>},
             {"segmentLinks", method<js_segment_links>},
             {"segmentLink", method<js_segment_link>},
             {"segmentEnd", method<js_segment_end>},
             {"segmentCheck", method<js_segment_check>},
             {"segmentSweep", method<js_segment_sweep>},
             {"arenaUsed", method<js_arena_used>},
         });
}

}  // namespace dvk::binding
