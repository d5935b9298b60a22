/* Two processes, one of which may be killed at any step. */
#define N 2
#define CALLS 2
#define TIMED false
#define PICK peer = 1 - me
#define RECEIVES true
#define SENDS false
#define ANSWERS false

inline start() {
  run Process(0);
  run Process(1);
  run Killer(0);
  run Repairer(0)
}

#include "../deadlock.pml"
