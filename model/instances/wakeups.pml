/* Wakeups against receives and a sender. */
#include "../words.pml"

#define N 3
#define PROCESSES 3

inline program() {
  if
  :: number == 0 && turn == 2 -> op = STOP
  :: number == 0 && turn < 2 -> op = WAKE_UP; to = ENDPOINT(2, 0)
  :: number == 1 && turn == 1 -> op = STOP
  :: number == 1 && turn == 0 -> op = SEND; to = ENDPOINT(2, 0)
  :: number == 1 && turn == 0 -> op = CALL; to = ENDPOINT(2, 0)
  :: number == 2 && turn == 2 -> op = STOP
  :: number == 2 && turn < 2 -> op = RECEIVE; to = ANY
  :: number == 2 && turn < 2 -> op = RECEIVE_REQUEST
  :: number == 2 && turn < 2 -> op = RECEIVE; to = ENDPOINT(1, 0)
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Process(2, 2, 0)
}

#include "../rendezvous.pml"
