/* A server is killed at any step; who sends to it, calls it or waits for it is told. */
#include "../words.pml"

#define N 2
#define PROCESSES 3
#define MORTAL

inline program() {
  if
  :: number == 0 && turn == 1 -> op = STOP
  :: number == 0 && turn == 0 -> op = SEND; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 0 -> op = CALL; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 0 -> op = RECEIVE; to = ENDPOINT(1, 0)
  :: number == 1 && turn == 0 -> op = RECEIVE; to = ANY
  :: number == 1 && turn == 1 && asked != 0 -> op = ANSWER; to = client
  :: number == 1 && turn > 0 && asked == 0 -> op = STOP
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Killer(1);
  run Repairer(2, 1, 1)
}

#include "../rendezvous.pml"
