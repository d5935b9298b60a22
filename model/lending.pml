/*
 * Copy jobs as steps: copy_chunk.cc and copy_job.cc (requesters), lend.cc (the lender, and repair).
 * See README.md for what is a step. Two requesters copy a region each of the memory of one lender,
 * whose call may end at any moment, and which then uses its memory itself.
 *
 * An instance defines READS(r), else the requester writes; TRACES(r), whether it may trace the
 * lender; and `start`. A fault is a macro FAULT_..., as in rendezvous.pml.
 */

#define CHUNKS 2
#define RING 1 /* chunks in the stage */
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* claims of a requester at most */
#endif
#ifndef PLAIN
#define PLAIN true /* the lender may touch the memory without a question */
#endif
#ifndef HASTY
#define HASTY(r) true /* whether it may give the lender up while that has only lost its CPU */
#endif
#ifndef OFFERS
#define OFFERS(r) true /* whether it offers before it tries alone */
#endif
#ifndef CALLS
#define CALLS 1 /* of the lender; what it lends is under a grant, which ends with the last */
#endif
#ifndef REGION
#define REGION(r) ((r) * CHUNKS)
#endif
#define LENDER 2

/* ---- the job word: | next: 2 | sequence: 4 | requester: 1 | state: 3 | ---- */

#define FREE 0
#define SETTING 1
#define OFFERED 2
#define ACTIVE 3
#define BUSY 4
#define ALONE 5
#define ABANDONED 6
#define LEFT 7

#define STATE(w) ((w) & 7)
#define REQUESTER(w) (((w) >> 3) & 1)
#define IDENTITY(w) ((w) & 248)
#define NEXT(w) ((w) >> 8)
#define WITH_STATE(w, state) (((w) & ~7) + (state))
#define RENEWED(w, requester) ((((w) + 16) & 240) + ((requester) << 3))
#define MINE(w) (IDENTITY(w) == identity && STATE(w) != FREE && STATE(w) != ABANDONED && \
                 STATE(w) != LEFT)

#define WRITTEN(r, number) (8 * ((r) + 1) + (number)) /* by a requester into its region */

/* ---- the segment ---- */

short job;
bool partner[2];
short order_identity; /* its seal */
short order_error;    /* identity of an order that was given back */
bool order_insists;
byte order_base, order_chunks, order_moved;
bool order_reads;
byte stage[RING];
bool awaits = true; /* what is asked before a copy: the lender's call, or its grant */

/* ---- what no other process sees ---- */

byte memory[2 * CHUNKS];
bool lent = true; /* the call has not returned */
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

/* The requester moves one chunk by a system call. */
inline transfer(number) {
  d_step {
    if
    :: READS(r) -> own[number] = memory[REGION(r) + number]
    :: else ->
       assert(lent || dead[LENDER]);
       memory[REGION(r) + number] = WRITTEN(r, number)
    fi
  }
}

/* All bytes are where they belong. */
inline check_bytes() {
  d_step {
    i = 0;
    do
    :: i == CHUNKS -> break
    :: i < CHUNKS ->
       if
       :: READS(r) -> assert(own[i] == REGION(r) + i + 1)
       :: else ->
          assert(!lent || memory[REGION(r) + i] == WRITTEN(r, i) || dead[LENDER])
       fi;
       i++
    od;
    i = 0
  }
}

inline write_order(insists) {
  d_step {
    order_insists = insists;
    order_base = REGION(r) + first;
    order_chunks = CHUNKS - first;
    order_reads = READS(r);
    order_identity = identity
  }
}

/* The requester's end of an accepted job, whose first chunk is `first` of its own. */
inline stream() {
  moved = done - first;
  begun = moved;
  do
  :: w = job;
     if
     :: !MINE(w) || STATE(w) == ALONE -> break
     :: else
     fi;
     if
     :: READS(r) && moved == CHUNKS - first -> break
     :: !READS(r) && NEXT(w) == CHUNKS - first -> break
     :: READS(r) && moved < CHUNKS - first && moved < NEXT(w) ->
        own[first + moved] = stage[moved % RING];
        moved++;
        order_moved = moved
     :: !READS(r) && NEXT(w) < CHUNKS - first && moved < CHUNKS - first && moved - NEXT(w) < RING ->
        stage[moved % RING] = WRITTEN(r, first + moved);
        moved++;
        order_moved = moved
     :: else ->
        if
        :: job != w
        :: STATE(w) == ACTIVE && HASTY(r) ->
           cas(w, WITH_STATE(w, ALONE));
           if
           :: ok -> break
           :: else
           fi
        :: STATE(w) == BUSY && HASTY(r) && (READS(r) || dead[LENDER]) ->
           cas(w, WITH_STATE(w, ABANDONED));
           if
           :: ok -> break
           :: else
           fi
        fi
     fi
  od;
  w = job;
  atomic {
    if
    :: READS(r) -> done = first + moved
    :: !READS(r) && IDENTITY(w) == identity -> done = first + NEXT(w)
    :: else -> done = first + begun
    fi;
    moved = 0; begun = 0
  }
}

proctype Requester(byte r) {
  short w, identity;
  byte done, first, moved, begun, attempts, i;
  byte own[CHUNKS];
  bool ok;
  {
    own[0] = 0;

  again:
    atomic {
      if
      :: !awaits || attempts == ATTEMPTS -> goto ended
      :: else -> attempts++
      fi
    };

    /* the claim; another requester's is waited for */
    w = job;
    atomic {
      if
      :: STATE(w) != FREE ->
         if
         :: STATE(job) == FREE -> attempts--; goto again
         :: goto ended
         fi
      :: else
      fi
    };
    partner[r] = true;
    cas(w, RENEWED(w, r) + SETTING);
    if
    :: !ok -> partner[r] = false; attempts--; goto again
    :: else -> identity = RENEWED(w, r)
    fi;
#ifndef FAULT_CLAIM_UNCHECKED
    if
    :: !awaits -> goto end
    :: else
    fi;
#endif
    first = done;
    if
    :: attempts == 1 && OFFERS(r) -> goto offer
    :: TRACES(r) -> goto alone
    :: !TRACES(r) -> goto insist
    fi;

    /* offer(): parts alone, until the lender comes */
  offer:
    write_order(false);
  offer_again:
    order_moved = done - first;
    w = job;
    if
    :: !MINE(w) -> goto left
    :: else -> cas(w, identity + OFFERED + ((done - first) << 8))
    fi;
    if
    :: !ok -> goto left
    :: else -> w = identity + OFFERED + ((done - first) << 8)
    fi;
    if
    :: job != w -> goto streams
    :: true -> cas(w, WITH_STATE(w, ALONE))
    fi;
    if
    :: !ok -> goto streams
    :: ok && !TRACES(r) -> goto insist
    :: ok && TRACES(r) -> transfer(done); done++
    fi;
    if
    :: done < CHUNKS -> goto offer_again
    :: else -> goto end
    fi;
  streams:
    stream();
    atomic {
      if
      :: done == CHUNKS -> goto end
      :: done < CHUNKS && !MINE(job) -> goto left
      :: done < CHUNKS && MINE(job) && TRACES(r) -> goto alone
      :: else -> goto insist
      fi
    };

    /* the rest by a system call: the lender waits while the word is SETTING or ALONE */
  alone:
    do
    :: done == CHUNKS -> break
    :: done < CHUNKS -> transfer(done); done++
    od;
    goto end;

    /* insist(): the lender or nobody */
  insist:
    first = done;
    w = job;
    if
    :: !MINE(w) -> goto left
    :: else
    fi;
#ifndef FAULT_SAME_IDENTITY
    cas(w, RENEWED(w, r) + SETTING);
    if
    :: !ok -> goto left
    :: else -> identity = RENEWED(w, r)
    fi;
#endif
    write_order(true);
  insist_again:
    order_moved = done - first;
    w = job;
    if
    :: !MINE(w) -> goto left
    :: else -> cas(w, identity + OFFERED + ((done - first) << 8))
    fi;
    if
    :: !ok -> goto left
    :: else -> w = identity + OFFERED + ((done - first) << 8)
    fi;
    if
    :: job != w
    :: HASTY(r) ->
       /* it came into no call in time */
       cas(w, WITH_STATE(w, ALONE));
       if
       :: ok -> attempts = ATTEMPTS; goto end
       :: else
       fi
    fi;
    stream();
    atomic {
      if
      :: done == CHUNKS || !MINE(job) -> goto end
      :: else ->
         /* refusal(): this lender has no reason for one */
#ifdef FAULT_ERROR_UNTIED
         assert(STATE(job) != ALONE || order_error == 0);
#else
         assert(STATE(job) != ALONE || order_error != identity);
#endif
         goto insist_again
      fi
    };

    /* The lender left, or another one's job is in the word. */
  left:
#ifdef FAULT_GO_ON
    do
    :: done == CHUNKS || !TRACES(r) -> break
    :: done < CHUNKS && TRACES(r) -> transfer(done); done++
    od;
#endif
    skip;

  end:
    w = job;
    atomic {
      if
      :: IDENTITY(w) == identity && STATE(w) == LEFT -> cas(w, WITH_STATE(w, FREE))
      :: MINE(w) ->
         if
         :: done == CHUNKS && job == w -> check_bytes()
         :: else
         fi;
         cas(w, WITH_STATE(w, FREE));
         if
         :: ok && done == CHUNKS -> partner[r] = false; goto ended
         :: ok && done < CHUNKS
         :: !ok -> goto end
         fi
      :: else
      fi
    };
    partner[r] = false;
    atomic {
      /* What came is whole if it still may be copied. */
      if
      :: awaits && done == CHUNKS -> check_bytes(); goto ended
      :: awaits && done < CHUNKS -> goto again
      :: else -> goto ended
      fi
    };

  ended:
    idle[r] = true
  } unless {
    atomic {
      dead[r] -> w = 0; identity = 0; done = 0; first = 0; moved = 0; begun = 0; attempts = 0;
      own[0] = 0; own[1] = 0; ok = false; i = 0
    }
  }
}

proctype Lender() {
  short w, identity;
  byte base, chunks, next, value, calls;
  bool ok, reads;
  {
    value = 0;

  wait:
    w = job;
    if
    :: STATE(w) == OFFERED ->
       /* answer_offer */
       d_step {
         base = order_base; chunks = order_chunks; reads = order_reads;
         identity = order_identity; ok = PLAIN || order_insists
       }
       if
       :: identity == IDENTITY(w) && ok -> cas(w, WITH_STATE(w, ACTIVE))
       :: else -> order_error = IDENTITY(w); identity = 0; cas(w, WITH_STATE(w, ALONE))
       fi;
       goto wait
    :: STATE(w) == ACTIVE && identity == IDENTITY(w) && NEXT(w) < chunks ->
       /* move_chunk */
       next = NEXT(w);
       value = order_moved;
       if
       :: (reads && next - value >= RING) || (!reads && next >= value) ->
          if
          :: order_moved != value || job != w -> goto wait
          :: goto leave
          fi
       :: else -> cas(w, WITH_STATE(w, BUSY))
       fi;
       if
       :: !ok -> goto wait
       :: ok && reads -> value = memory[base + next]; stage[next % RING] = value
       :: ok && !reads -> value = stage[next % RING]; memory[base + next] = value
       fi;
       w = WITH_STATE(w, BUSY);
       cas(w, WITH_STATE(w, ACTIVE) + 256);
       if
       :: ok
       :: !ok && job == WITH_STATE(w, ABANDONED) ->
          cas(WITH_STATE(w, ABANDONED), WITH_STATE(w, FREE))
       :: else
       fi;
       goto wait
    :: else ->
       if
       :: job != w -> goto wait
       :: goto leave
       fi
    fi;

    /* The call ends, for any reason: wait_for_copies. */
  leave:
    atomic {
      calls++;
      if
      :: calls == CALLS -> awaits = false
      :: else
      fi
    };
#ifndef FAULT_NO_LEAVE
  leave_again:
    w = job;
    if
    :: STATE(w) == FREE
    :: (STATE(w) == SETTING || STATE(w) == ALONE) && partner[REQUESTER(w)] &&
       !dead[REQUESTER(w)] ->
       (job != w || dead[REQUESTER(w)] || !partner[REQUESTER(w)]);
       goto leave_again
    :: STATE(w) == LEFT && partner[REQUESTER(w)]
    :: else ->
#ifdef FAULT_LEFT_FREE
       cas(w, WITH_STATE(w, FREE));
#else
       cas(w, WITH_STATE(w, (partner[REQUESTER(w)] && !dead[REQUESTER(w)] -> LEFT : FREE)));
#endif
       if
       :: !ok -> goto leave_again
       :: else
       fi
    fi;
#endif
    if
    :: calls < CALLS -> goto wait
    :: else
    fi;
    d_step {
      lent = false; calls = 0;
      memory[0] = 0; memory[1] = 0; memory[2] = 0; memory[3] = 0;
      w = 0; identity = 0; base = 0; chunks = 0; next = 0; value = 0; ok = false; reads = false;
      idle[LENDER] = true
    }
  } unless {
    atomic {
      dead[LENDER] -> w = 0; identity = 0; base = 0; chunks = 0; next = 0; value = 0; calls = 0;
      ok = false; reads = false
    }
  }
}

/* Kills a process before any of its steps, or not at all. */
proctype Killer(byte victim) {
  if
  :: dead[victim] = true
  :: skip
  fi
}

/* drop_copy_job of a dead requester; clear_copy_job of a dead lender. */
proctype Repairer(byte victim) {
  short w;
  bool ok;
  dead[victim];
  if
  :: victim == LENDER ->
     awaits = false;
     w = job;
     job = RENEWED(w, 0)
  :: else ->
     d_step { ok = partner[victim]; partner[victim] = false }
     do
     :: !ok -> break
     :: else ->
        w = job;
        if
        :: STATE(w) == FREE || STATE(w) == ABANDONED || REQUESTER(w) != victim -> break
        :: else ->
#ifdef FAULT_BUSY_FREED
           cas(w, WITH_STATE(w, FREE));
#else
           cas(w, WITH_STATE(w, (STATE(w) == BUSY -> ABANDONED : FREE)));
#endif
           if
           :: ok -> break
           :: else -> ok = true
           fi
        fi
     od
  fi;
  w = 0
}

/* When nobody can go on: all are done, and the lender's memory is its own. */
proctype Monitor() {
  timeout ->
  d_step {
    assert(idle[0] || dead[0]);
    assert(idle[1] || dead[1]);
    assert(idle[LENDER] || dead[LENDER]);
    assert(dead[LENDER] || (memory[0] == 0 && memory[1] == 0 && memory[2] == 0 && memory[3] == 0));
    assert(dead[LENDER] || STATE(job) == FREE)
  }
}

init {
  d_step { memory[0] = 1; memory[1] = 2; memory[2] = 3; memory[3] = 4 }
  atomic {
    start();
    run Monitor()
  }
}
