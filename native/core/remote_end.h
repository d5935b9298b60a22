// How calls of remote processes end on this node.
//
// The descriptor of a remote process has a rendezvous word as every slot has, and a call of that
// process ends in it as one of this node does: FULL with the answer in the inbox, FULL_NOTIFY with
// a relay, TAKEN, or ERROR. The proxy of its node has the part of the owner: it takes that from the
// word, makes a command of it, and leaves the word IDLE.
//
// So whoever ends a call changes one word, from its claim, and may stand still before it for any
// time: the proxy, who waits for nobody, has given the descriptor to the process's next call by
// then, or somebody has freed it, and the change fails. What a descriptor has for commands
// (command_kind and the fields with it) is written by its proxy alone.
#pragma once

#include "rendezvous.h"

namespace dvk {

// Whether the word of a descriptor says how the call of its process has ended.
inline bool has_ended(uint32_t word) {
  switch (state_of(word)) {
    case State::kFull:
    case State::kFullNotify:
    case State::kTaken:
    case State::kError:
      return true;
    default:
      return false;
  }
}

// Ends the call of the remote process in `descriptor`: its word becomes `ended`, and its proxy is
// told. Returns false when the word was not `word` any more.
bool end_remote(Segment& segment, uint32_t descriptor, uint32_t word, uint32_t ended);
// The second half of it, for whoever finds the first done: one may have died in between.
void tell_of_end(Segment& segment, uint32_t descriptor);
// The process in `index`, of this node or another, is to send its message anew, as its receiver is
// on another node now; its word is `word`. Returns false when that has changed.
bool send_anew(Segment& segment, uint32_t index, uint32_t word);
// For get2rmt: makes a command for `node` of the end of a call. `command` is addressed already.
// Returns false when there is none, or it is for another node, whose proxy is told then.
bool take_end(Segment& segment, uint32_t descriptor, uint32_t node, Command* command);
// Whether what waits in the slot of a process, of this node or another, takes a block of data with
// it.
bool takes_data(ProcessSlot* slot);
// With whom the command or the end of a call has to do that waits in the descriptor.
int32_t party_of(ProcessSlot* descriptor);

}  // namespace dvk
