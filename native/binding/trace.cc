// The trace of a segment: who watches, and where the rings are. They are read from the file.

#include "../core/trace.h"

#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

int js_trace_sweep(Segment& segment) {
  trace_sweep(segment);
  return 0;
}

Napi::Value js_trace_places(Environment& environment, Segment& segment) {
  const auto place = [&](const void* table) {
    return static_cast<double>(static_cast<const uint8_t*>(table) - segment.base());
  };
  Napi::Array result = Napi::Array::New(environment.env, 2);
  result.Set(0u, place(segment.trace_ring(0)));
  result.Set(1u, place(segment.trace_events(0)));
  return result;
}

}  // namespace

void register_trace(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"traceStart", method<trace_start>},
             {"traceRenew", method<trace_renew>},
             {"traceStop", method<trace_stop>},
             {"traceSweep", method<js_trace_sweep>},
             {"tracePlaces", method<js_trace_places>},
         });
}

}  // namespace dvk::binding
