/* Two processes with calls of all kinds; the waits of one time out at any moment. */
#define N 2
#define CALLS (me == 0 -> 2 : 1)
#define TIMED (me == 0)
#define PICK peer = 1 - me
#define RECEIVES true
#define SENDS true
#define ANSWERS true

inline start() {
  run Process(0);
  run Process(1)
}

#include "../deadlock.pml"
