// Runs of frames for JavaScript; see frame_runs.h.

#include <cerrno>

#include "frame_runs.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// takeFrames: see src/dvk/native.ts.
int js_take_frames(Segment& segment, uint32_t node, Bytes out, uint32_t at, uint32_t session,
                   uint32_t sequence, double data_sequence, uint32_t most, bool short_only) {
  const FrameRun run{at, session, sequence, most};
  return take_frames(segment, node, out.data, out.length, run, data_sequence, short_only);
}

// putFrames: see src/dvk/native.ts.
int js_put_frames(Segment& segment, uint32_t node, Bytes in, uint32_t at, uint32_t end,
                  uint32_t session, uint32_t sequence, uint32_t most, Words last) {
  if (end > in.length || last.length == 0) return -ERANGE;
  const FrameRun run{at, session, sequence, most};
  return put_frames(segment, node, in.data, end, run, last.data);
}

}  // namespace

void register_frames(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"takeFrames", method<js_take_frames>},
             {"putFrames", method<js_put_frames>},
         });
}

}  // namespace dvk::binding
