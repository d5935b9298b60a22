/* A server notifies its client in the middle of a call. */
#include "../words.pml"

#define N 2
#define PROCESSES 2
#define PER_PROCESS 4

inline program() {
  if
  :: number == 0 && turn == 0 -> op = CALL; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 1 -> op = RECEIVE; to = ANY
  :: number == 0 && turn == 2 -> op = STOP
  :: number == 1 && turn == 0 -> op = RECEIVE_REQUEST
  :: number == 1 && turn == 1 -> op = NOTIFY; to = ENDPOINT(0, 0)
  :: number == 1 && turn == 2 -> op = ANSWER; to = client
  :: number == 1 && turn == 3 -> op = STOP
  fi;
  if
  :: number == 0 -> timed = true
  :: timed = false
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0)
}

#include "../rendezvous.pml"
