/* A client gives up on a call and calls again; the server takes both and answers the first. */
#include "../words.pml"

#define N 2
#define PROCESSES 2
#define PER_PROCESS 4

inline program() {
  if
  :: number == 0 && turn == 2 -> op = STOP
  :: number == 0 && turn < 2 -> op = CALL; to = ENDPOINT(1, 0)
  :: number == 1 && turn == 3 -> op = STOP
  :: number == 1 && turn < 2 -> op = RECEIVE_REQUEST
  :: number == 1 && turn == 2 && asked != 0 -> op = ANSWER; to = client
  :: number == 1 && turn == 2 && asked == 0 -> op = STOP
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
