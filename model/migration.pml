/*
 * Moves of a process between two nodes as steps: migrate.cc and migrate_link.cc. A step is what is
 * done under the table lock of one node: a command that came, a commit, a rollback. Links bring
 * commands in order, and lose those under way when they are cut. Processes die at any time.
 *
 * An instance defines MOVES, CUTS and DEATHS, how many of each there are at most.
 */

mtype = { START, READY, GIFT, TAKEN, REFUSED };

byte moves = MOVES;
byte cuts = CUTS;
byte deaths = DEATHS;

bool up = true;
chan to[2] = [6] of { mtype, byte };

bool own[2];     /* its slot is LOCAL */
bool standby[2]; /* its process is a backup */
bool started[2];
bool given[2];
bool waits[2]; /* for the answer to START */
byte serial[2];

#define OTHER (1 - me)

inline tell(node, what, number) {
  if
  :: up -> to[node]!what(number)
  :: else -> skip
  fi
}

inline clear(node) {
  do
  :: len(to[node]) > 0 -> to[node]?_,_
  :: else -> break
  od
}

inline commit() {
  started[me] = false;
  given[me] = true;
#ifndef FAULT_KEEP
  own[me] = false;
  standby[me] = true;
#endif
  tell(OTHER, GIFT, serial[me])
}

inline take(number) {
  if
  :: own[me] -> tell(OTHER, TAKEN, number)
  :: !own[me] && standby[me] ->
     /* What this node has given away is not given back before its answer is there. */
     assert(!given[me]);
     own[me] = true;
     standby[me] = false;
     tell(OTHER, TAKEN, number)
  :: else -> tell(OTHER, REFUSED, number)
  fi
}

inline settle(taken) {
  given[me] = false;
  if
  :: taken == 1 -> own[me] = false
  :: taken == 0 && standby[me] -> own[me] = true; standby[me] = false
  :: else -> skip
  fi
}

active [2] proctype Node() {
  byte me = _pid;
  byte number;
end:
  do
  :: atomic { own[me] && !started[me] && !given[me] && moves > 0 && up ->
       moves--;
       serial[me]++;
       started[me] = true;
       waits[me] = true;
       tell(OTHER, START, serial[me])
     }
  :: atomic { started[me] && !waits[me] && up -> commit() }
  :: atomic { started[me] -> started[me] = false; waits[me] = false }
  :: atomic { to[me]?START(number) ->
       if
#ifndef FAULT_ANSWER_ALL
       :: given[me] /* the answer to that is still to come */
#endif
       :: else -> tell(OTHER, READY, number)
       fi
     }
  :: atomic { to[me]?READY(number) ->
       if
       :: started[me] && number == serial[me] -> waits[me] = false
       :: else -> skip
       fi
     }
  :: atomic { to[me]?GIFT(number) -> take(number) }
  :: atomic { to[me]?TAKEN(number) ->
       if
       :: given[me] && number == serial[me] -> settle(1)
       :: else -> skip
       fi
     }
  :: atomic { to[me]?REFUSED(number) ->
       if
       :: given[me] && number == serial[me] -> settle(0)
       :: else -> skip
       fi
     }
  od
}

inline ask(node) {
  if
  :: started[node] -> waits[node] = true; to[1 - node]!START(serial[node])
#ifndef FAULT_ASK_ONCE
  :: given[node] -> to[1 - node]!GIFT(serial[node])
#endif
  :: else -> skip
  fi
}

inline doubt(node) {
#ifdef FAULT_TAKE_BACK
  if
  :: given[node] && standby[node] -> given[node] = false; own[node] = true; standby[node] = false
  :: else -> skip
  fi
#else
  skip
#endif
}

active proctype Link() {
end:
  do
  :: atomic { up && cuts > 0 ->
       cuts--;
       up = false;
       clear(0);
       clear(1);
       waits[0] = false;
       waits[1] = false;
       doubt(0);
       doubt(1)
     }
  :: atomic { !up -> up = true; ask(0); ask(1) }
  od
}

inline die(node) {
  own[node] = false;
  standby[node] = false;
  started[node] = false;
  waits[node] = false
}

active proctype Death() {
end:
  do
  :: atomic { deaths > 0 && (own[0] || standby[0]) -> deaths--; die(0) }
  :: atomic { deaths > 0 && (own[1] || standby[1]) -> deaths--; die(1) }
  od
}

active proctype Watch() {
end:
  do
  :: own[0] && own[1] -> assert(false)
  /* When nobody can go on: nothing is in doubt, and the process lives unless it has died. */
  :: timeout ->
     assert(!given[0] && !given[1]);
     assert(deaths < DEATHS || own[0] != own[1]);
     break
  od
}

init {
  own[0] = true;
  standby[1] = true
}
