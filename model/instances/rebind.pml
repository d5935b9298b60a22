/* The slot of a killed server has a new owner, while a client uses the old endpoint. */
#include "../words.pml"

#define N 2
#define PROCESSES 4
#define MORTAL
#define SUCCESSOR 2 /* after process 1, in its slot */
#define SENDER(message) (((message) - 1) / PER_PROCESS == 0 -> 0 : 1)
#define GENERATION(message) ((message - 1) / PER_PROCESS == SUCCESSOR)

inline program() {
  if
  :: turn == 1 || number == 1 -> op = STOP
  :: number == 0 && turn == 0 -> op = SEND; to = ENDPOINT(1, 0)
  :: number == 0 && turn == 0 -> op = NOTIFY; to = ENDPOINT(1, 0)
  :: number == 2 && turn == 0 -> op = RECEIVE; to = ANY
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Killer(1);
  run Repairer(3, 1, 1);
  run Process(2, 1, 1)
}

#include "../rendezvous.pml"
