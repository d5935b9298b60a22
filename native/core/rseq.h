// Restartable sequences, rseq(2): glibc registers an area for each thread, into which the kernel
// writes the CPU's number whenever the thread gets a CPU back. Two processes that hand one CPU to
// each other pay for that at every message.
#pragma once

namespace dvk {

// Takes the calling thread's area back from the kernel, once. For programs in which nothing uses it
// but sched_getcpu, which asks the vDSO then, as in Node.js. DVK_KEEP_RSEQ=1 in the environment
// keeps it, for a program with a library that needs it, such as an allocator with caches for each
// CPU.
void leave_rseq();

}  // namespace dvk
