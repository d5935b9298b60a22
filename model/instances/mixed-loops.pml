/* Every program of two calls each, one process waiting in an event loop. */
#include "../words.pml"

#define N 2
#define PROCESSES 2
#define ON_LOOP(number) (number == 0)

inline program() {
  if
  :: turn == 2 -> op = STOP
  :: turn < 2 -> op = SEND; to = ENDPOINT(1 - me, 0)
  :: turn < 2 -> op = CALL; to = ENDPOINT(1 - me, 0)
  :: turn < 2 -> op = RECEIVE; to = ANY
  :: turn < 2 -> op = RECEIVE; to = ENDPOINT(1 - me, 0)
  :: turn < 2 -> op = RECEIVE_REQUEST
  :: turn < 2 -> op = NOTIFY; to = ENDPOINT(1 - me, 0)
  :: turn < 2 && asked != 0 -> op = ANSWER; to = client
  fi;
  timed = false
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0)
}

#include "../rendezvous.pml"
