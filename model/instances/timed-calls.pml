/* A client calls twice and may give up on either call at any moment. */
#include "../words.pml"

#define N 2
#define PROCESSES 2
#define PER_PROCESS 4

inline program() {
  if
  :: number == 0 && turn == 2 -> op = STOP
  :: number == 0 && turn < 2 -> op = CALL; to = ENDPOINT(1, 0)
  :: number == 1 && turn == 4 -> op = STOP
  :: number == 1 && asked == 0 && turn < 4 -> op = RECEIVE_REQUEST
  :: number == 1 && asked != 0 && turn < 4 -> op = ANSWER; to = client
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
