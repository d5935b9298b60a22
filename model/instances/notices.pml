/* Notifications against receives of anyone and of one source, and against a message. */
#include "../words.pml"

#define N 3
#define PROCESSES 3

inline program() {
  if
  :: number == 0 && turn == 1 -> op = STOP
  :: number == 0 && turn < 1 -> op = NOTIFY; to = ENDPOINT(2, 0)
  :: number == 1 && turn == 1 -> op = STOP
  :: number == 1 && turn == 0 -> op = SEND; to = ENDPOINT(2, 0)
  :: number == 2 && turn == 2 -> op = STOP
  :: number == 2 && turn < 2 -> op = RECEIVE; to = ANY
  :: number == 2 && turn < 2 -> op = RECEIVE; to = ENDPOINT(0, 0)
  fi;
  timed = false
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Process(2, 2, 0)
}

#include "../rendezvous.pml"
