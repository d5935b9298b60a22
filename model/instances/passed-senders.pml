/* Two senders and one receiver, which passes over one of them that stopped in the middle. */
#include "../words.pml"

#define PASSES

#define N 3
#define PROCESSES 3

inline program() {
  if
  :: number < 2 && turn == 1 -> op = STOP
  :: number < 2 && turn == 0 -> op = SEND; to = ENDPOINT(2, 0)
  :: number == 2 && turn == 2 -> op = STOP
  :: number == 2 && turn < 2 -> op = RECEIVE; to = ANY
  fi;
  timed = false
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Process(2, 2, 0)
}

#include "../rendezvous.pml"
