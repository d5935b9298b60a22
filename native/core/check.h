// Looks for what may not be in a segment: waits that nobody will end, messages that nobody will
// see, memory and grants of nobody, locks without a living owner.
//
// It only reads, takes no lock, and trusts nothing that it finds. Calls leave the tables in passing
// states for a moment, so one look is for a segment in which nothing moves. Of a system that runs,
// what two looks find with all words that tell of it the same is not in passing.
#pragma once

#include <string>
#include <vector>

#include "segment.h"

namespace dvk {

// What is wrong, one sentence each, by rising slot; none when the tables are whole. With
// `pause_ms` over 0 that is what a second look, so long after the first, finds again: a process
// that was stopped for the whole pause, as by a debugger, may still be told of.
std::vector<std::string> check_segment(Segment& segment, int64_t pause_ms = 0);

}  // namespace dvk
