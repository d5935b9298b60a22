/* Who repairs is killed in the middle of it, and another one goes on. */
#include "../words.pml"

#define N 2
#define PROCESSES 4
#define MORTAL

inline program() {
  if
  :: turn == 1 || number == 1 -> op = STOP
  :: turn == 0 && number == 0 -> op = CALL; to = ENDPOINT(1, 0)
  :: turn == 0 && number == 0 -> op = RECEIVE; to = ENDPOINT(1, 0)
  fi
}

inline start() {
  run Process(0, 0, 0);
  run Process(1, 1, 0);
  run Killer(1);
  run Killer(2);
  run Repairer(2, 1, 1);
  run Repairer(3, 1, 2)
}

#include "../rendezvous.pml"
