/* The container ends in the middle of whatever its processes do. */
#include "../words.pml"

#define N 3
#define PROCESSES 3

inline program() {
  if
  :: number < 2 && turn == 1 -> op = STOP
  :: number == 0 && turn == 0 -> op = SEND; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 0 -> op = CALL; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 0 -> op = RECEIVE; to = ANY
  :: number == 1 && turn == 0 -> op = RECEIVE; to = ENDPOINT(0, 0)
  :: number == 1 && turn == 0 -> op = RECEIVE_REQUEST
  :: number == 1 && turn == 0 -> op = SEND; to = ENDPOINT(0, 0)
  :: number == 2 && turn == 0 -> op = END_DC
  :: number == 2 && turn == 1 -> op = STOP
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Process(2, 2, 0)
}

#include "../rendezvous.pml"
