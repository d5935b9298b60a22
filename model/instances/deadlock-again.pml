/* Three processes; one has a second call, the others wait for ever. */
#define N 3
#define CALLS (me == 0 -> 2 : 1)
#define TIMED (me == 0)

inline start() {
  run Process(0);
  run Process(1);
  run Process(2)
}

#include "../deadlock.pml"
