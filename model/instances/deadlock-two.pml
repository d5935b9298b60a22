/* Two processes with several calls each, which time out at any moment. */
#define N 2
#define CALLS 3
#define TIMED true

inline start() {
  run Process(0);
  run Process(1)
}

#include "../deadlock.pml"
