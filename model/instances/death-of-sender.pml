/* A sender, caller or notifier is killed at any step; the receiver goes on. */
#include "../words.pml"

#define N 2
#define PROCESSES 3
#define MORTAL

inline program() {
  if
  :: turn == 1 -> op = STOP
  :: number == 0 && turn == 0 -> op = RECEIVE; to = ANY
  :: number == 0 && turn == 0 -> op = RECEIVE; to = ENDPOINT(1, 0)
  :: number == 1 && turn == 0 -> op = SEND; to = ENDPOINT(0, 0)
  :: number == 1 && turn == 0 -> op = CALL; to = ENDPOINT(0, 0)
  :: number == 1 && turn == 0 -> op = NOTIFY; to = ENDPOINT(0, 0)
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Killer(1);
  run Repairer(2, 1, 1)
}

#include "../rendezvous.pml"
