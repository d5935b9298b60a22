/* Three processes, one of which may be killed at any step. */
#define N 3
#define CALLS 1
#define TIMED false

inline start() {
  run Process(0);
  run Process(1);
  run Process(2);
  run Killer(0);
  run Repairer(0)
}

#include "../deadlock.pml"
