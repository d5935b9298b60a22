/* Two processes: every program of two calls each. */
#include "../words.pml"

#define N 2
#define PROCESSES 2

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
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0)
}

#include "../rendezvous.pml"
