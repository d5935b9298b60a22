/*
 * The refusal of cycles as steps: deadlock.cc, and of the calls as much as makes and ends waits. See
 * README.md for what is a step. Processes wait for one another; each that is about to sleep looks
 * whether it closes a cycle.
 *
 * An instance defines N, `start`, and for each process `me` CALLS, TIMED, PICK (sets `peer`), RECEIVES
 * and SENDS (its waits), ANSWERS (it may answer its peer before it waits). A fault is a macro FAULT_..., as in
 * rendezvous.pml.
 */

#define NOBODY 7

/* ---- the word: | peer: 3 | state: 3 | ---- */

#define IDLE 0
#define FROM 1    /* receives from the peer, or awaits its reply */
#define SENDING 2 /* its message waits for the peer */
#define DONE 3
#define ERROR 4  /* the peer died */
#define LOCKED 5 /* ELOCKED */

#define WORD(state, peer) ((state) + ((peer) << 3))
#define STATE(w) ((w) & 7)
#define PEER(w) ((w) >> 3)
#define WAITS(w) (STATE(w) == FROM || STATE(w) == SENDING)
#define BIT(i) (1 << (i))

byte word[N];
byte ticket[N]; /* 0: none yet */
byte next_ticket = 1;
bool parked[N];
bool dead[N];
bool repaired[N];
bool idle[N];

/* ---- what the properties speak of ---- */

short broken[2]; /* cycles that were broken last, as sets of tickets */

inline cas(slot, old, new) {
  d_step {
    ok = word[slot] == (old);
    if
    :: ok -> word[slot] = new
    :: else
    fi
  }
}

/* A word as a walk notes it: whether it sends, receives or waits for nobody, and for whom. */
#define NOTED(w) (WAITS(w) -> STATE(w) + (PEER(w) << 2) : 0)

/* Walks from `me`; notes words and tickets as numbers in base 16. `round`: it came back. */
inline walk() {
  at = me; steps = 0; round = false; words = 0; tickets = 0;
  do
  :: steps == N -> break
  :: steps < N ->
     steps++;
     w = word[at];
     t = ticket[at];
     atomic {
       words = words * 16 + NOTED(w); tickets = tickets * 16 + t;
       if
       :: !WAITS(w) || t == 0 -> break
       :: else -> at = PEER(w)
       fi;
       if
       :: at == me -> round = true; break
       :: else
       fi
     }
  od;
  atomic { w = 0; t = 0; at = 0 }
}

/* Whether the waits at this moment make a cycle of living processes through `me`. */
inline look_at_truth() {
  d_step {
    at = me; steps = 0; truth = false;
    do
    :: steps == N || dead[at] || !WAITS(word[at]) -> break
    :: else ->
       steps++; at = PEER(word[at]);
       if
       :: at == me -> truth = true; break
       :: else
       fi
    od;
    if
    :: truth && steps == 2 && STATE(word[me]) != STATE(word[PEER(word[me])]) -> truth = false
    :: else
    fi;
    at = 0; steps = 0
  }
}

/* Whether `me` has the highest ticket of the waits noted; else wakes the one that has. */
inline judge() {
  d_step {
    i = 0; at = me; last = me; highest = ticket[me]; marks = 0;
    w = 0;
    do
    :: i == steps -> break
    :: i < steps ->
       t = (tickets >> (4 * (steps - 1 - i))) & 15;
       marks = marks | BIT(t);
       if
       :: t > highest -> highest = t; last = at
       :: else
       fi;
       at = (words >> (4 * (steps - 1 - i) + 2)) & 3;
       i++
    od;
    if
#ifndef FAULT_NO_WAKE
    :: last != me -> parked[last] = false
#endif
    :: else
    fi;
    i = 0; at = 0; w = 0; t = 0; highest = 0
  }
}

proctype Process(byte me) {
  byte w, t, own, peer, calls, at, steps, last, i, highest, members;
  short words, tickets, first_words, first_tickets, marks;
  bool ok, round, truth;
  {
    own = 0;

  next:
    atomic {
      words = 0; tickets = 0; first_words = 0; first_tickets = 0; steps = 0; last = 0; marks = 0;
      members = 0; ok = false; round = false; truth = false; own = 0; peer = 0
    }
    atomic {
      if
      :: calls == CALLS -> goto ended
      :: calls < CALLS -> PICK
      fi;
      calls++;
      if
      :: repaired[peer] -> goto next
      :: else
      fi
    };
    /* one that waits for this one is answered first, or not */
    if
    :: atomic {
         ANSWERS && STATE(word[peer]) == SENDING && PEER(word[peer]) == me -> w = word[peer]
       };
       cas(peer, w, WORD(FROM, me))
    :: atomic { ANSWERS && WAITS(word[peer]) && PEER(word[peer]) == me -> w = word[peer] };
       atomic {
         cas(peer, w, WORD(DONE, 0));
         if
         :: ok -> parked[peer] = false
         :: else
         fi
       }
    :: true
    fi;
    w = 0;

    /* the wait begins */
#ifdef FAULT_TICKET_FIRST
    d_step { ticket[me] = next_ticket; next_ticket++ }
#else
#ifndef FAULT_OLD_TICKET
    ticket[me] = 0;
#endif
#endif
    if
    :: RECEIVES -> own = WORD(FROM, peer)
    :: SENDS -> own = WORD(SENDING, peer)
    fi;
    word[me] = own;
    /* of two one sends and the other receives: the hand-over, in one step */
    d_step {
      if
      :: WAITS(word[peer]) && PEER(word[peer]) == me && STATE(word[peer]) != STATE(own) &&
         word[me] == own ->
         word[peer] = WORD(DONE, 0); word[me] = WORD(DONE, 0); parked[peer] = false
      :: else
      fi
    }
    if
    :: repaired[peer] -> cas(me, own, WORD(ERROR, 0))
    :: else
    fi;

  step:
    own = word[me];
    atomic {
      if
      :: !WAITS(own) -> word[me] = WORD(IDLE, 0); goto next
      :: else
      fi
    };
    if
    :: TIMED ->
       atomic {
         cas(me, own, WORD(IDLE, 0));
         if
         :: ok -> goto next
         :: else -> goto step
         fi
       }
    :: true
    fi;

    /* break_cycle */
    if
    :: ticket[me] == 0 -> d_step { ticket[me] = next_ticket; next_ticket++ }
    :: else
    fi;
    walk();
    atomic {
      if
      :: !round -> goto sleep
      :: else
      fi
    };
    walk();
    atomic {
      first_words = words; first_tickets = tickets;
      if
      :: round && steps == 2 && (words & 3) != ((words >> 4) & 3) -> round = false
      :: else
      fi;
      if
      :: !round -> goto sleep
      :: else
      fi
    };
    members = steps;
    look_at_truth();
    steps = members;
#ifndef FAULT_ONE_WALK
    walk();
    atomic {
      if
      :: !round || words != first_words || tickets != first_tickets -> goto sleep
      :: else
      fi
    };
#endif
#ifndef FAULT_DEAD_TOO
    i = 0; at = me;
    do
    :: atomic {
         i == steps -> i = 0; at = 0;
         break
       }
    :: atomic {
         i < steps ->
         if
         :: dead[at] -> i = 0; at = 0; goto sleep
         :: else -> at = (words >> (4 * (steps - 1 - i) + 2)) & 3; i++
         fi
       }
    od;
#endif
    atomic {
      judge();
      if
#ifdef FAULT_ANYONE
      :: true ->
#else
      :: last == me ->
#endif
         cas(me, own, WORD(LOCKED, 0));
         if
         :: ok ->
            /* no phantom, and one of a cycle gives up */
            assert(truth);
            assert(broken[0] != marks && broken[1] != marks);
            broken[1] = broken[0]; broken[0] = marks; marks = 0;
            goto step
         :: else -> goto step
         fi
      :: else
      fi
    };

  sleep:
    atomic { parked[me] = word[me] == own }
    if
    :: !parked[me]
    :: TIMED && parked[me] -> parked[me] = false
    fi;
    goto step;

  ended:
    idle[me] = true
  } unless { dead[me] }
}

/* Kills a process before any of its steps, or not at all. */
proctype Killer(byte victim) {
  if
  :: dead[victim] = true
  :: skip
  fi
}

proctype Repairer(byte victim) {
  byte i, w;
  bool ok;
  dead[victim];
  repaired[victim] = true;
  word[victim] = WORD(IDLE, 0);
  do
  :: i == N -> break
  :: i < N ->
     w = word[i];
     if
     :: WAITS(w) && PEER(w) == victim ->
        atomic {
          cas(i, w, WORD(ERROR, 0));
          if
          :: ok -> parked[i] = false; i++
          :: else
          fi
        }
     :: else -> i++
     fi
  od;
  i = 0; w = 0; ok = false
}

/* When nobody can go on: no cycle of waits is left, and nobody waits for a dead process. */
proctype Monitor() {
  byte i, at, steps;
  timeout ->
  d_step {
    do
    :: i == N -> break
    :: i < N ->
       at = i; steps = 0;
       do
       :: steps > N -> break
       :: dead[at] || !WAITS(word[at]) -> break
       :: else -> steps++; at = PEER(word[at])
       od;
       assert(steps <= N);
       assert(dead[i] || !WAITS(word[i]) || !dead[PEER(word[i])]);
       i++
    od
  }
}

init {
  atomic {
    start();
    run Monitor()
  }
}
