/* Three processes that wait for one another in any way, one call each. */
#define N 3
#define CALLS 1
#define TIMED false

inline start() {
  run Process(0);
  run Process(1);
  run Process(2)
}

#include "../deadlock.pml"
