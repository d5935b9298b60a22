/* Two sends and two receives, each with a time-out or without. */
#include "../words.pml"

#define N 2
#define PROCESSES 2

inline program() {
  if
  :: turn == 2 -> op = STOP
  :: turn < 2 && number == 0 -> op = SEND; to = ENDPOINT(1, 0)
  :: turn < 2 && number == 1 -> op = RECEIVE; to = ANY
  :: turn < 2 && number == 1 -> op = RECEIVE; to = ENDPOINT(0, 0)
  fi;
  if
  :: timed = true
  :: timed = false
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0)
}

#include "../rendezvous.pml"
