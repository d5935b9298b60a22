/* Two clients call a server, which takes a request, then any message, and answers both. */
#include "../words.pml"

#define N 3
#define PROCESSES 3
#define PER_PROCESS 4

inline program() {
  if
  :: number < 2 && turn == 1 -> op = STOP
  :: number < 2 && turn == 0 -> op = CALL; to = ENDPOINT(2, 0)
  :: number == 2 && turn == 4 -> op = STOP
  :: number == 2 && turn == 0 -> op = RECEIVE_REQUEST
  :: number == 2 && turn == 2 -> op = RECEIVE; to = ANY
  :: number == 2 && (turn & 1) == 1 -> op = ANSWER; to = client
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Process(2, 2, 0)
}

#include "../rendezvous.pml"
