/*
 * The mark that shows that something is to be done for a slot: SegmentHeader::migrating, with
 * migrating.h and migrate_link.cc. Who begins a move shows it, and whoever looks after moves looks
 * where it is shown. The proxy takes the mark back when nothing is to be done any more. Each access
 * to the segment is a step, and movers and the proxy may be killed before any of theirs.
 *
 * An instance defines MOVES and DEATHS, how many of each there are at most.
 */

#define NOBODY 255

bool mark;
bool busy; /* the state, the answer and the nodes to be told, in one */
byte lock = NOBODY;
bool killed[4];
byte moves = MOVES;
byte deaths = DEATHS;

/* A dead owner loses it. */
inline take_lock() {
  atomic { lock == NOBODY || killed[lock] -> lock = me }
}

inline let_go() {
  atomic {
    if
    :: lock == me -> lock = NOBODY
    :: else
    fi
  }
}

active [2] proctype Mover() {
  byte me = _pid;
  {
    do
    :: moves > 0 ->
       take_lock();
       if
       :: busy || moves == 0
       :: else ->
          moves--;
#ifdef FAULT_MARK_LAST
          busy = true;
          mark = true
#else
          mark = true;
          busy = true
#endif
       fi;
       let_go()
    :: moves == 0 -> break
    od
  } unless { killed[me] }
}

/* Ends what it sees. */
active proctype Sweep() {
  byte me = _pid;
end:
  do
  :: mark && busy ->
     take_lock();
     busy = false;
     let_go()
  od
}

active proctype Proxy() {
  byte me = _pid;
  {
end:
    do
    :: mark && !busy ->
#ifndef FAULT_SETTLE_UNLOCKED
       take_lock();
#endif
       if
       :: !busy -> mark = false
       :: else
       fi;
       let_go()
    od
  } unless { killed[me] }
}

active proctype Death() {
end:
  do
  :: atomic { deaths > 0 && !killed[0] -> deaths--; killed[0] = true }
  :: atomic { deaths > 0 && !killed[1] -> deaths--; killed[1] = true }
  :: atomic { deaths > 0 && !killed[3] -> deaths--; killed[3] = true }
  od
}

active proctype Watch() {
end:
  do
  :: busy && !mark -> assert(false)
  /* When nobody can go on every move has come to its end. */
  :: timeout ->
     assert(!busy);
     assert(!mark || killed[3]);
     break
  od
}
