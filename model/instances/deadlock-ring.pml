/* Three processes in a ring, which receive from one another. */
#define N 3
#define CALLS 1
#define TIMED false
#define PICK peer = (me + 1) % 3
#define RECEIVES true
#define SENDS false
#define ANSWERS false

inline start() {
  run Process(0);
  run Process(1);
  run Process(2)
}

#include "../deadlock.pml"
