// Deadlocks of processes of one node: who waits for whom, found by walking.
//
// Each process waits for one other at most: for the destination while its message waits there, for
// the source that it receives from, for the server that has its request. So the walk from a waiter
// follows one path, and a cycle is a path that comes back. The rules are MINIX's (kernel/proc.c,
// deadlock): a receive from ANY waits for nobody, and of two processes the one may send while the
// other receives from it, since they meet.
//
// A process first waits, that is its rendezvous word says so, then takes a ticket, then walks. The
// one with the highest ticket therefore sees the others' waits, and it is the one that gives up: so
// of several that close a cycle at once one gets ELOCKED and no other. Who finds that another one
// is to give up wakes it, so that it looks again.
//
// A ticket belongs to one wait: it is taken back before the next wait begins. Two walks with the
// same words and tickets prove that all of these waits held in the moment between them.
//
// A wait for a process of another node is not followed here: it is noted, and the proxies send a
// probe after it when it lasts; see probe.h.
#pragma once

#include "process.h"
#include "rendezvous.h"

namespace dvk {

// Whether the owner of `word` waits until its message is taken.
inline bool sends(uint32_t word) {
  return state_of(word) == State::kSending || state_of(word) == State::kCalling;
}
// The slot that the owner of `word` waits for, or one that there is not. Who is being served waits
// no more.
inline uint32_t awaited(uint32_t word) {
  const State state = state_of(word);
  const bool waits = sends(word) || state == State::kFrom || state == State::kReply;
  return waits ? peer_of(word) : ~0u;
}

// A wait of `process` begins, before its word says so.
void begin_wait(ProcessSlot* slot);
// For a waiter that is about to sleep. Ends its call with ELOCKED when it closes a cycle; its next
// step says so. Returns whether the call may be stepped at once.
bool break_cycle(Process& process);

}  // namespace dvk
