/*
 * The calls of native/core as steps: one access to the segment is one step, and any process may run
 * between two of them. Names are those of the core; see README.md for what is left out.
 *
 * An instance defines N, IDS, `program` and `start`, and includes this file. A fault is a macro
 * FAULT_...; with it the model is broken on purpose, and spin must find out.
 */

#ifndef PER_PROCESS
#define PER_PROCESS 2 /* calls at most */
#endif
#ifndef SENDER
#define SENDER(message) (((message) - 1) / PER_PROCESS) /* its slot */
#endif
#ifndef GENERATION
#define GENERATION(message) 0 /* of its sender */
#endif
#ifndef ON_LOOP
#define ON_LOOP(number) false /* whether the process waits in an event loop */
#endif

/* ---- the segment ---- */

short word[N];
byte sleeping[N];
byte life[N];
byte endpoint[N];
byte want[N];
byte ticket[N];
byte owner[N]; /* the process by its number, in place of pid and start time */
bool wakeup[N];
byte call_id[N]; /* number of the present call; here that of its message */
byte senders[N], notices[N]; /* slot sets, as bits */
byte inbox[2 * N], outbox[2 * N];
byte next_ticket;
bool ended;
byte lock = NOBODY;

/* ---- the kernel: who sleeps in it, and who is dead ---- */

bool parked[N]; /* in FUTEX_WAIT */
bool fifo[N];   /* a byte lies in the FIFO */
bool dead[PROCESSES];

/* ---- what the properties speak of; no process decides by it ---- */

int received, accepted, refused; /* sets of messages */
byte aimed[ID(PROCESSES, 0)];    /* endpoint that a message is for */
byte fresh[N];                   /* whose notification the slot has not received yet */
bool idle[PROCESSES];            /* ended its program */
byte calling[N];                 /* whom its call under way waits for, or NOBODY */
bool quiet;

/* ---- steps ---- */

inline cas(slot, old, new) {
  d_step {
    ok = word[slot] == (old);
    if
    :: ok -> word[slot] = new
    :: else
    fi
  }
}

/* Futex or FIFO; `how` is what was seen in `sleeping`. */
inline wake_by(slot, how) {
  if
  :: how == ON_FUTEX -> parked[slot] = false
  :: how == ON_FIFO -> fifo[slot] = true
  :: else
  fi
}

inline wake(slot) {
  atomic {
    how = sleeping[slot];
    wake_by(slot, how);
    how = AWAKE
  }
}

inline kick(slot, seen) {
  cas(slot, seen, WORD(KICK, SEQUENCE(seen), 0));
  if
  :: ok -> wake(slot)
  :: else
  fi
}

inline unclaim(slot, claim, seen) {
  if
  :: STATE(seen) == REPLY -> cas(slot, claim, seen)
  :: else -> kick(slot, claim)
  fi
}

/* Writing takes two steps, so a reader in between sees TORN. */
inline copy_in(buffer, message) {
  buffer = TORN;
  buffer = message
}

inline buffer_changes(slot) {
#ifndef FAULT_SAME_BUFFER
  sequence = (sequence + 1) & 3
#else
  skip
#endif
}

/* Whether the queue holds a message that `me` may take: the one with the lowest ticket, or NOBODY. */
inline oldest_sender() {
  d_step { snapshot = senders[me]; best = NOBODY; lowest = 255 }
  do
  :: atomic {
       snapshot == 0 -> lowest = 0; w = 0; i = 0;
       break
     }
  :: atomic {
       snapshot != 0 ->
       i = (snapshot & 1 -> 0 : (snapshot & 2 -> 1 : 2));
       snapshot = snapshot & ~BIT(i);
       w = word[i];
       if
       :: QUEUED(w, me) -> queued = true
       :: else -> queued = false
       fi
     };
     if
     :: queued
     :: else ->
        senders[me] = senders[me] & ~BIT(i);
#ifndef FAULT_NO_REQUEUE
        atomic {
          if
          :: QUEUED(word[i], me)
          :: else -> queued = true; w = 0
          fi
        };
        if
        :: queued
        :: else ->
           senders[me] = senders[me] | BIT(i);
           w = word[i]
        fi
#else
        w = 0
#endif
     fi;
     atomic {
       queued = false;
       if
       :: w != 0 && !(request && STATE(w) != CALLING) && want[i] == mine &&
          (source == ANY || endpoint[i] == source) && (ticket[i] < lowest || best == NOBODY) ->
          lowest = ticket[i]; best = i
       :: else
       fi;
       w = 0
     }
  od
}

/* ---- repair ---- */

inline death_error() {
  if
  :: (STATE(w) == OPEN_FROM || STATE(w) == REPLY) && PEER(w) == victim -> error = SOURCE_DIED
  :: STATE(w) == FILLING && PEER(w) == victim && SLOT(want[i]) == victim && want[i] != ANY ->
     error = SOURCE_DIED
  :: STATE(w) >= SENDING && STATE(w) <= TAKING && PEER(w) == victim -> error = DESTINATION_DIED
  :: else -> error = OK
  fi
}

inline fail_waiters() {
  i = 0;
  do
  :: i == N -> break
  :: i < N && (i == victim || life[i] == FREE) -> i++
  :: i < N && i != victim && life[i] != FREE ->
     do
     :: w = word[i];
        death_error();
        if
        :: error != OK ->
           cas(i, w, WORD(ERROR, SEQUENCE(w), error));
           if
           :: ok -> wake(i); break
           :: else
           fi
        :: error == OK && STATE(w) == FILLING && PEER(w) == victim ->
           cas(i, w, WORD(KICK, SEQUENCE(w), 0));
           if
           :: ok -> wake(i); break
           :: else
           fi
        :: else ->
#ifndef FAULT_NO_REPAIR_WAKE
           if
           :: !WAITING(w) -> wake(i)
           :: else
           fi;
#endif
           break
        fi
     od;
     notices[i] = notices[i] & ~BIT(victim);
     d_step { senders[i] = senders[i] & ~BIT(victim); fresh[i] = fresh[i] & ~BIT(victim); i++ }
  od;
  atomic { i = 0; w = 0; error = OK }
}

/* Frees the slot `victim`. The table lock is held. */
inline release_slot() {
  d_step {
    old = endpoint[victim];
    if
    :: old == NOBODY && life[victim] == DYING -> old = want[victim]
    :: else
    fi
  }
  want[victim] = old;
  life[victim] = DYING;
#ifndef FAULT_ENDPOINT_LAST
  endpoint[victim] = NOBODY;
#endif
  w = word[victim];
  word[victim] = WORD(IDLE, SEQUENCE(w), 0);
  fail_waiters();
#ifdef FAULT_ENDPOINT_LAST
  endpoint[victim] = NOBODY;
#endif
  d_step { owner[victim] = NOBODY; fresh[victim] = 0; old = 0 }
  life[victim] = FREE
}

/* A dead owner loses the lock. */
inline take_lock() {
  atomic {
    lock == NOBODY || dead[lock] -> lock = number
  }
}
inline drop_lock() {
  d_step {
    if
    :: lock == number -> lock = NOBODY
    :: else
    fi
  }
}

/* Frees the slot of a process that died, as the node daemon or a waiter does. */
proctype Repairer(byte number; byte victim; byte after) {
  short w;
  byte i, error, old, how;
  bool ok;
  {
    dead[victim] && dead[after];
    take_lock();
    if
    :: (life[victim] == LOCAL && dead[owner[victim]]) || life[victim] == DYING ||
       life[victim] == BINDING -> release_slot()
    :: else
    fi;
    drop_lock();
    idle[number] = true
  } unless {
    atomic {
      dead[number] -> w = 0; i = 0; error = OK; old = 0; how = 0; ok = false
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

/* ---- a process and its calls ---- */

/* A process between two calls, or a dead one: what it had in mind plays no part any more. */
inline forget() {
  op = STOP; to = NOBODY; source = 0; timed = false; result = OK; error = TIMED_OUT;
  w = 0; claim = 0; own = 0; peer = 0; best = 0; how = 0; kind = 0; ok = false; i = 0;
  expired = false; request = false; call = false; message = 0; queued = false; snapshot = 0;
  lowest = 0; old = 0; victim = 0
}

proctype Process(byte number; byte me; byte generation) {
  short w, claim, own;
  byte op, to, turn, source;
  byte mine, sequence, peer, message, result, error, lowest, best, i, snapshot, how;
  byte client, asked, victim, old, kind;
  bool ok, timed, expired, request, call, queued;
#ifdef PASSES
  bool passed;
#endif
  {
    mine = ENDPOINT(me, generation);
    if
    :: generation == 0
    :: else ->
       dead[me]; /* the slot's first owner */
       take_lock();
       if
       :: life[me] != FREE -> victim = me; release_slot()
       :: else
       fi;
       life[me] = BINDING;
       w = word[me];
       sequence = (SEQUENCE(w) + 1) & 3;
       word[me] = WORD(IDLE, sequence, 0);
       d_step { sleeping[me] = AWAKE; parked[me] = false }
       want[me] = NOBODY;
       d_step { wakeup[me] = false; senders[me] = 0; notices[me] = 0; fresh[me] = 0 }
       endpoint[me] = mine;
       d_step { owner[me] = number; w = 0; victim = 0 }
       life[me] = LOCAL;
       drop_lock()
    fi;

  next:
    atomic {
      forget();
      program();
      turn++;
      if
      :: op == STOP -> idle[number] = true; turn = 0; asked = 0; client = 0; goto done
      :: op == SEND || op == CALL ->
         peer = SLOT(to); call = op == CALL; message = ID(number, turn - 1); aimed[message] = to;
         goto send
      :: op == RECEIVE || op == RECEIVE_REQUEST ->
         request = op == RECEIVE_REQUEST; source = (request -> ANY : to); goto receive
      :: op == ANSWER -> peer = SLOT(to); goto answer
      :: op == NOTIFY -> peer = SLOT(to); goto notify
      :: op == WAKE_UP -> peer = SLOT(to); goto wake_up
      :: op == UNBIND -> goto unbind
      :: op == END_DC -> goto end_dc
      fi
    };

    /* ---- start_send, start_sendrec: hand_over ---- */

  send:
    atomic {
      if
      :: ended -> result = DC_ENDED; goto finish
      :: else
      fi
    };
    atomic {
      if
      :: life[peer] != LOCAL || endpoint[peer] != to -> result = NOT_BOUND; goto finish
      :: else
      fi
    };
    want[me] = to;
    atomic {
      own = WORD(IDLE, sequence, 0);
      if
      :: call -> call_id[me] = message
      :: else
      fi
    };

  offer:
    atomic {
      w = word[peer];
      if
      :: !ACCEPTS(w, me, call) -> goto queue
      :: else
      fi
    };
    atomic {
      claim = WORD(FILLING, SEQUENCE(w), me);
      cas(peer, w, claim);
      if
      :: !ok -> goto offer
      :: else
      fi
    };
#ifndef FAULT_NO_LOOK_IN_CLAIM
    if
    :: endpoint[peer] != to ->
       unclaim(peer, claim, w);
       word[me] = WORD(IDLE, sequence, 0);
       result = DESTINATION_DIED;
       goto finish
    :: else
    fi;
#endif
    if
    :: call && own != WORD(REPLY, sequence, peer) ->
       d_step { own = WORD(REPLY, sequence, peer); word[me] = own }
    :: else
    fi;
    copy_in(inbox[2 * peer + (SEQUENCE(w) & 1)], message);
#ifdef FAULT_SLEEPING_FIRST
    how = sleeping[peer];
#endif
    atomic {
      cas(peer, claim, WORD((call -> FULL_CALL : FULL), SEQUENCE(w), me));
      if
      :: !ok -> goto offer
      :: else
      fi
    };
#ifdef FAULT_SLEEPING_FIRST
    wake_by(peer, how);
#else
    wake(peer);
#endif
    if
    :: !call -> result = OK; goto finish
    :: else -> goto started
    fi;

  queue:
    copy_in(outbox[2 * me + (sequence & 1)], message);
    d_step { ticket[me] = next_ticket; next_ticket++ }
#ifdef FAULT_QUEUE_FIRST
    senders[peer] = senders[peer] | BIT(me);
#endif
    atomic {
      claim = WORD((call -> CALLING : SENDING), sequence, peer);
      cas(me, own, claim);
      if
      :: !ok -> goto started
      :: else
      fi
    };
#ifndef FAULT_QUEUE_FIRST
    senders[peer] = senders[peer] | BIT(me);
#endif
#ifndef FAULT_NO_KICK
    w = word[peer];
    if
#ifdef FAULT_KICK_IN_REPLY
    :: ACCEPTS(w, me, call) -> kick(peer, w)
#else
    :: ACCEPTS(w, me, call) && STATE(w) != REPLY -> kick(peer, w)
#endif
    :: else
    fi;
#endif
#ifndef FAULT_NO_LOOK_AFTER_QUEUE
    if
    :: endpoint[peer] != to ->
       cas(me, claim, WORD(IDLE, sequence, 0));
       if
       :: ok ->
          senders[peer] = senders[peer] & ~BIT(me);
          result = DESTINATION_DIED;
          goto finish
       :: else
       fi
    :: else
    fi;
#endif

  started:
    atomic {
      calling[me] = to;
      if
      :: ended -> error = DC_ENDED; goto cancel
      :: else -> goto step
      fi
    };

    /* ---- start_receive, start_rcvrqst: scan ---- */

  receive:
    atomic {
      if
      :: ended -> result = DC_ENDED; goto finish
      :: else
      fi
    };
    atomic {
      if
      :: source != ANY && (life[SLOT(source)] != LOCAL || endpoint[SLOT(source)] != source) -> result = NOT_BOUND; goto finish
      :: else
      fi
    };
    want[me] = source;

  scan:
    atomic {
      if
      :: wakeup[me] -> wakeup[me] = false; result = WOKEN_UP; goto finish
      :: else
      fi
    };
    if
    :: !request ->
       d_step { snapshot = notices[me]; i = 0 }
       do
       :: i == N -> break
       :: i < N && !(snapshot & BIT(i)) -> i++
       :: i < N && (snapshot & BIT(i)) && source != ANY && endpoint[i] != source -> i++
       :: else ->
          d_step {
            notices[me] = notices[me] & ~BIT(i); fresh[me] = fresh[me] & ~BIT(i);
            message = NOTICE; kind = FULL_NOTIFY; peer = i; result = OK; snapshot = 0; i = 0
          }
          goto finish
       od;
       atomic { snapshot = 0; i = 0 }
    :: else
    fi;

  take_queued:
    oldest_sender();
    atomic {
      if
      :: best == NOBODY -> goto open
      :: else
      fi
    };
    w = word[best];
#ifdef FAULT_COPY_BEFORE_CLAIM
    message = outbox[2 * best + (SEQUENCE(w) & 1)];
#endif
    atomic {
      if
      :: !QUEUED(w, me) || (request && STATE(w) != CALLING) -> goto take_queued
      :: else
      fi
    };
    atomic {
      claim = WORD(TAKING, SEQUENCE(w), me);
      cas(best, w, claim);
      if
      :: !ok -> goto take_queued
      :: else
      fi
    };
#ifndef FAULT_COPY_BEFORE_CLAIM
    message = outbox[2 * best + (SEQUENCE(w) & 1)];
#endif
    senders[me] = senders[me] & ~BIT(best);
#ifndef FAULT_NO_REQUEUE
    if
    :: QUEUED(word[best], me) -> senders[me] = senders[me] | BIT(best)
    :: else
    fi;
#endif
    kind = (STATE(w) == CALLING -> FULL_CALL : FULL);
    atomic {
      cas(best, claim, WORD((kind == FULL_CALL -> REPLY : TAKEN), SEQUENCE(w), me));
      if
      :: !ok -> goto take_queued
      :: else
      fi
    };
    peer = best;
    if
    :: kind == FULL -> wake(best)
    :: else
    fi;
    result = OK;
    goto finish;

  open:
    claim = WORD((request -> REQUEST : (source == ANY -> OPEN_ANY : OPEN_FROM)), sequence,
                 (source == ANY -> 0 : SLOT(source)));
    word[me] = claim;
#ifdef FAULT_NO_SECOND_LOOK
    goto opened;
#endif
    atomic {
      if
      :: source != ANY && (life[SLOT(source)] != LOCAL || endpoint[SLOT(source)] != source) -> result = SOURCE_DIED; goto reopen
      :: else
      fi
    };
    atomic {
      if
      :: ended -> result = DC_ENDED; goto reopen
      :: else
      fi
    };
    atomic {
      if
      :: wakeup[me] -> goto reopen
      :: else
      fi
    };
    if
    :: !request && notices[me] != 0 ->
       d_step { snapshot = notices[me]; i = 0 }
       do
       :: i == N -> break
       :: i < N && (!(snapshot & BIT(i)) || (source != ANY && endpoint[i] != source)) -> i++
       :: else -> snapshot = 0; i = 0; goto reopen
       od;
       atomic { snapshot = 0; i = 0 }
    :: else
    fi;
    oldest_sender();
    if
    :: best != NOBODY -> goto reopen
    :: else -> goto opened
    fi;

  opened:
    atomic {
      result = OK; best = 0;
      calling[me] = source;
      goto step
    };

  reopen:
    atomic {
      if
      :: word[me] == claim ->
         word[me] = WORD(IDLE, sequence, 0);
         if
         :: result != OK -> goto finish
         :: else -> goto scan
         fi
      :: else -> goto opened
      fi
    };

    /* ---- wait_for and step ---- */

  step:
    w = word[me];
  seen:
    if
    :: STATE(w) >= FULL && STATE(w) <= FULL_NOTIFY ->
       message = inbox[2 * me + (SEQUENCE(w) & 1)];
       d_step {
         kind = STATE(w); peer = PEER(w);
         word[me] = WORD(IDLE, sequence, 0);
         if
         :: kind == FULL_NOTIFY -> fresh[me] = fresh[me] & ~BIT(peer)
         :: else
         fi;
         result = OK
       }
       goto finish
    :: STATE(w) == ERROR ->
       d_step { word[me] = WORD(IDLE, sequence, 0); result = PEER(w) }
       goto finish
    :: STATE(w) == TAKEN ->
       d_step { assert(op == SEND); word[me] = WORD(IDLE, sequence, 0); result = OK }
       goto finish
    :: STATE(w) == KICK ->
       d_step {
         assert(op == RECEIVE || op == RECEIVE_REQUEST);
         word[me] = WORD(IDLE, sequence, 0);
         calling[me] = NOBODY
       }
       goto scan
    :: WAITING(w)
    :: else -> assert(false)
    fi;
    if
#ifdef PASSES
    :: STATE(w) == FILLING && source == ANY && !passed ->
       /* pass_claimant, once: there are two buffers */
       d_step {
         if
         :: word[me] == w ->
            passed = true;
            buffer_changes(me);
            word[me] = WORD(IDLE, sequence, 0);
            calling[me] = NOBODY
         :: else
         fi
       }
       w = word[me];
       if
       :: STATE(w) == IDLE -> goto scan
       :: else -> goto step
       fi
#endif
    :: timed -> goto cancel
    :: !expired && !ON_LOOP(number) ->
       /* sleep_on */
       w = word[me];
       if
       :: !WAITING(w) -> goto step
       :: else
       fi;
       sleeping[me] = ON_FUTEX;
#ifdef FAULT_SLEEP_UNSEEN
       parked[me] = true;
#else
       d_step { parked[me] = word[me] == w }
#endif
       if
       :: !parked[me]
       :: timed && parked[me] -> d_step { parked[me] = false; expired = true }
       fi;
       sleeping[me] = AWAKE;
       goto step
    :: !expired && ON_LOOP(number) ->
       /* arm */
       sleeping[me] = ON_FIFO;
#ifndef FAULT_ARM_UNSEEN
       w = word[me];
       if
       :: !WAITING(w) -> goto step
       :: else
       fi;
#endif
       if
       :: fifo[me] -> fifo[me] = false
       :: timed -> expired = true
       fi;
       goto step
    fi;

  cancel:
    w = word[me];
    if
    :: STATE(w) == IDLE -> result = error; goto finish
    :: STATE(w) == FILLING || STATE(w) == TAKING ->
       /* outwait_claimant: it ends within its time, or is taken for stopped */
       if
       :: word[me] != w
       :: true ->
          d_step {
            if
            :: word[me] == w -> buffer_changes(me); word[me] = WORD(IDLE, sequence, 0)
            :: else
            fi
          }
       fi;
       goto cancel
    :: (STATE(w) >= FULL && STATE(w) <= FULL_NOTIFY) || STATE(w) == TAKEN || STATE(w) == ERROR ->
       goto seen
    :: else ->
       atomic {
         cas(me, w, WORD(IDLE, sequence, 0));
         if
         :: !ok -> goto cancel
         :: else
         fi
       };
       if
       :: STATE(w) == SENDING || STATE(w) == CALLING ->
          senders[PEER(w)] = senders[PEER(w)] & ~BIT(me)
       :: else
       fi;
       result = error;
       goto finish
    fi;

    /* ---- reply ---- */

  answer:
    atomic {
      if
      :: life[peer] != LOCAL || endpoint[peer] != to -> result = NOT_BOUND; goto finish
      :: else
      fi
    };
    atomic {
      w = word[peer];
      if
      :: STATE(w) != REPLY || PEER(w) != me -> result = NOT_WAITING; goto finish
      :: else
      fi
    };
    atomic {
      claim = WORD(FILLING, SEQUENCE(w), me);
      cas(peer, w, claim);
      if
      :: !ok -> result = NOT_WAITING; goto finish
      :: else
      fi
    };
    if
    :: endpoint[peer] != to -> unclaim(peer, claim, w); result = NOT_BOUND; goto finish
    :: else
    fi;
#ifndef FAULT_NO_CALL_NUMBER
    if
    :: call_id[peer] != asked -> unclaim(peer, claim, w); result = NOT_WAITING; goto finish
    :: else
    fi;
#endif
    copy_in(inbox[2 * peer + (SEQUENCE(w) & 1)], asked + ANSWERED);
    atomic {
      cas(peer, claim, WORD(FULL, SEQUENCE(w), me));
      if
      :: !ok -> result = NOT_WAITING; goto finish
      :: else
      fi
    };
    wake(peer);
    result = OK;
    goto finish;

    /* ---- notify: deliver_notice ---- */

  notify:
    atomic {
      if
      :: life[peer] != LOCAL || endpoint[peer] != to -> result = NOT_BOUND; goto finish
      :: else -> fresh[peer] = fresh[peer] | BIT(me)
      fi
    };
    w = word[peer];
    if
    :: ACCEPTS_NOTICE(w, me) ->
       claim = WORD(FILLING, SEQUENCE(w), me);
       cas(peer, w, claim);
       if
       :: ok ->
          if
          :: endpoint[peer] != to ->
             fresh[peer] = fresh[peer] & ~BIT(me);
             unclaim(peer, claim, w);
             goto finish
          :: else
          fi;
          copy_in(inbox[2 * peer + (SEQUENCE(w) & 1)], NOTICE);
          cas(peer, claim, WORD(FULL_NOTIFY, SEQUENCE(w), me));
          if
          :: ok -> wake(peer); goto finish
          :: else
          fi
       :: else
       fi
    :: else
    fi;
    notices[peer] = notices[peer] | BIT(me);
    if
    :: endpoint[peer] != to ->
       d_step { notices[peer] = notices[peer] & ~BIT(me); fresh[peer] = fresh[peer] & ~BIT(me) }
    :: else
    fi;
#ifndef FAULT_NO_NOTICE_KICK
    w = word[peer];
    if
    :: ACCEPTS_NOTICE(w, me) -> kick(peer, w)
    :: else
    fi;
#endif
    goto finish;

    /* ---- wakeup, unbind, end_container ---- */

  wake_up:
    atomic {
      if
      :: life[peer] != LOCAL || endpoint[peer] != to -> result = NOT_BOUND; goto finish
      :: else
      fi
    };
    wakeup[peer] = true;
    w = word[peer];
    if
    :: STATE(w) == OPEN_ANY || STATE(w) == OPEN_FROM || STATE(w) == REQUEST -> kick(peer, w)
    :: else
    fi;
    goto finish;

  unbind:
    take_lock();
    victim = me;
    release_slot();
    drop_lock();
    idle[number] = true;
    goto done;

  end_dc:
    ended = true;
    i = 0;
    do
    :: i == N -> break
    :: i < N ->
       if
       :: life[i] == LOCAL ->
          do
          :: w = word[i];
             if
             :: !WAITING(w) -> break
             :: else -> cas(i, w, WORD(ERROR, SEQUENCE(w), DC_ENDED))
             fi;
             if
             :: ok -> wake(i); break
             :: else
             fi
          od
       :: else
       fi;
       i++
    od;
    i = 0;
    goto finish;

    /* ---- the end of a call: what must hold ---- */

  finish:
    atomic {
      calling[me] = NOBODY;
      sleeping[me] = AWAKE;
      if
      :: op == SEND && result == OK -> accepted = accepted | BIT(message)
      :: op == SEND && result != OK ->
         /* what failed is not received */
         assert(!(received & BIT(message)));
         refused = refused | BIT(message)
      :: op == CALL && result == OK ->
         assert(message != 0 && message != TORN && message != NOTICE);
         assert(peer == SLOT(to));
         if
         :: message > ANSWERED ->
            assert(!(received & BIT(message)));
            received = received | BIT(message);
            assert(message == ID(number, turn - 1) + ANSWERED)
         :: else -> goto got
         fi
      :: (op == RECEIVE || op == RECEIVE_REQUEST) && result == OK && kind == FULL_NOTIFY ->
         assert(message == NOTICE && !request);
         assert(source == ANY || SLOT(source) == peer)
      :: (op == RECEIVE || op == RECEIVE_REQUEST) && result == OK && kind != FULL_NOTIFY ->
         assert(source == ANY || SLOT(source) == peer);
       got:
         assert(message != 0 && message <= ANSWERED);
         assert(aimed[message] == mine);
         assert(SENDER(message) == peer);
         assert(!(received & BIT(message)));
         assert(!(refused & BIT(message)));
         received = received | BIT(message);
         if
         :: kind == FULL_CALL && asked == 0 ->
            asked = message; client = ENDPOINT(peer, GENERATION(message))
         :: kind == FULL_CALL && asked != 0
         :: else -> assert(!request)
         fi
      :: op == ANSWER -> asked = 0
      :: else
      fi;
      goto next
    };

  done:
    skip
  }
#ifdef MORTAL
  unless {
    atomic {
      dead[number] -> forget(); turn = 0; asked = 0; client = 0; mine = 0; sequence = 0
    }
  }
#endif
}

/* ---- when nobody can go on ---- */

/*
 * Every process has ended its program, is dead, or waits for something that has not come: it is not
 * asleep with an answer, and no two of them could go on with each other.
 */
inline all_is_well() {
  i = 0;
  do
  :: i == N -> break
  :: i < N ->
     w = word[i];
     if
     :: life[i] == FREE ->
        assert(endpoint[i] == NOBODY && STATE(w) == IDLE)
     :: else ->
        assert(life[i] == LOCAL && !dead[owner[i]]);
        assert(endpoint[i] != NOBODY);
        if
        :: idle[owner[i]] -> assert(STATE(w) == IDLE)
        :: else -> assert(WAITING(w) && STATE(w) != FILLING && STATE(w) != TAKING);
        fi;
        assert(!(ended && WAITING(w)));
        if
        :: STATE(w) == SENDING || STATE(w) == CALLING ->
           assert(senders[PEER(w)] & BIT(i));
           assert(!ACCEPTS(word[PEER(w)], i, STATE(w) == CALLING))
        :: else
        fi;
        if
        :: STATE(w) == OPEN_FROM || STATE(w) == REPLY || STATE(w) == SENDING ||
           STATE(w) == CALLING ->
           assert(life[PEER(w)] == LOCAL && endpoint[PEER(w)] == want[i])
        :: else
        fi;
        if
        :: STATE(w) == OPEN_ANY || STATE(w) == OPEN_FROM || STATE(w) == REQUEST ->
           assert(!wakeup[i])
        :: else
        fi;
        j = 0;
        do
        :: j == N -> break
        :: j < N ->
           assert(!(notices[i] & BIT(j)) || !ACCEPTS_NOTICE(w, j));
           assert(!(fresh[i] & BIT(j)) || (notices[i] & BIT(j)));
           j++
        od
     fi;
     i++
  od;
  assert(lock == NOBODY);
  i = 1;
  do
  :: i == ID(PROCESSES, 0) -> break
  :: i < ID(PROCESSES, 0) ->
     assert(!(accepted & BIT(i)) || (received & BIT(i)) || aimed[i] != endpoint[SLOT(aimed[i])]);
     i++
  od
}

proctype Monitor() {
  short w;
  byte i, j;
  timeout ->
  d_step {
    all_is_well();
    i = 0; j = 0; w = 0;
    quiet = true
  }
}

init {
  d_step {
    byte k = 0;
    do
    :: k == N -> break
    :: k < N ->
       life[k] = LOCAL; endpoint[k] = ENDPOINT(k, 0); owner[k] = k; want[k] = NOBODY;
       calling[k] = NOBODY;
       k++
    od;
    k = 0
  }
  atomic {
    start();
    run Monitor()
  }
}

/* Every run ends: no two processes keep each other busy for ever. */
ltl ends { <> quiet }
/* Whoever has an answer goes on. */
ltl answered { [] ((calling[0] != NOBODY && !WAITING(word[0])) -> <> (calling[0] == NOBODY)) }
