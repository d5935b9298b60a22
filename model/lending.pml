/*
 * Copy jobs of native/core: copy_job.cc (requesters), lend.cc (the lender), copy_chunk.cc (who asks
 * again), and what repair does for the dead. See README.md for what is a step.
 *
 * Process 0 and 1 are requesters, each with a region of the lender's memory; process 2 is the lender,
 * whose call may end at any moment. An instance defines what each requester does.
 *
 *   READS(r)   it reads its region; else it writes it
 *   TRACES(r)  it may trace the lender; else the lender does it, or nobody
 */

#define CHUNKS 2
#ifndef RING
#define RING 1 /* chunks in the stage */
#endif
#define LENDER 2
#define ATTEMPTS 2 /* claims of a requester, at most */

#define FREE 0
#define SETTING 1
#define OFFERED 2
#define ACTIVE 3
#define BUSY 4
#define ALONE 5
#define ABANDONED 6

/* | next: 2 | sequence: 4 | requester: 1 | state: 3 | */
#define WORD(state, identity, next) ((state) + (identity) + ((next) << 8))
#define STATE(w) ((w) & 7)
#define IDENTITY(w) ((w) & 248)
#define NEXT(w) ((w) >> 8)
#define NEW_IDENTITY(w, r) ((((w) & 240) + 16 & 240) + ((r) << 3))
#define REQUESTER(w) (((w) >> 3) & 1)
#define MINE(w) (IDENTITY(w) == identity && STATE(w) != FREE && STATE(w) != ABANDONED)

#define REGION(r) ((r) * CHUNKS)
#define WRITTEN 8 /* added to what a requester writes */

short job;
bool partner[2];
byte order_base, order_moved;
bool order_reads;
byte stage[RING];
byte memory[2 * CHUNKS];
bool lending = true; /* the call is under way */
bool dead[3];
bool idle[3];

inline cas(old, new) {
  d_step {
    ok = job == (old);
    if
    :: ok -> job = new
    :: else
    fi
  }
}

proctype Requester(byte r) {
  short w, identity;
  byte done, base, moved, attempts, value, first;
  byte own[CHUNKS];
  bool ok, offers, came;
  {
    base = REGION(r);

  claim:
    atomic {
      attempts == ATTEMPTS -> goto failed
      :: else -> attempts++
    }
  } unless { dead[r] }
}
