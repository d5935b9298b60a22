// Commands as frames, short ones many at once: the same as src/proxies/frame.ts does one by one.
//
// A call crosses four proxies, and what each does for it in JavaScript takes longer than all the
// rest. So commands without data are taken from the core, made frames of, looked at and acted on
// here, a run of them in one call. The data of a copy is made a frame of here too, one a call.
// Whatever is out of the ordinary is left to JavaScript: a frame that came and is not whole, is at
// fault or has data, and all kinds that the proxy itself has a part in.
//
// Nothing of Node.js is in here: frames.cc has what JavaScript calls, and fuzz/frames_fuzz.cc gives
// this any bytes.
#pragma once

#include "../core/link.h"

namespace dvk::binding {

// A frame is a header of 32 bytes, a command, and the data of a copy, if it has any.
constexpr size_t kFrameHeadBytes = 32 + sizeof(Command);

// Above the number of frames: behind them lies a command that is no frame yet, or one with data
// that is.
constexpr int kUnsealedFrame = 1 << 16, kDataFrame = 1 << 17;

// Where frames lie and what they are: the first at `at`, `most` of them or fewer, of one session,
// with sequence numbers that count up.
struct FrameRun {
  size_t at;
  uint32_t session;
  uint32_t sequence;
  uint32_t most;
};

// Makes the frame of `command` at `place`. Its data, if there is any, lies behind it already.
void write_frame(uint8_t* place, const Command& command, uint32_t session, uint32_t sequence);

// Whether a frame that is right, next and plain lies at `place`, of kFrameHeadBytes. Where the
// command says that it comes from is for put2lcl to look at, with all else in it.
bool read_frame(const uint8_t* place, uint32_t session, uint32_t sequence, Command* command);

// Takes commands for `node` from the core and makes frames of them in the `bytes` at `out`. Returns
// how many, with kUnsealedFrame or kDataFrame, or the error of get2rmt. `data_sequence` is the
// number of a frame with data, or negative when it is the next one.
int take_frames(Segment& segment, uint32_t node, uint8_t* out, size_t bytes, const FrameRun& run,
                double data_sequence, bool short_only);

// Acts on the frames of `node` that lie before `end`, up to the first one that is out of the
// ordinary or that the core refuses. Returns how many it acted on; `last` is the last one's result,
// and `wakes_neighbours` whether they woke somebody who sleeps on this CPU.
int put_frames(Segment& segment, uint32_t node, const uint8_t* in, size_t end, const FrameRun& run,
               int32_t* last, bool* wakes_neighbours);

}  // namespace dvk::binding
