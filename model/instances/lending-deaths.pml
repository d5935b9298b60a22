/* A writer that may be killed at any step, and one that writes to the same memory after it. */
#define READS(r) false
#define TRACES(r) ((r) == 1)
#define OFFERS(r) false
#define REGION(r) 0
#define ATTEMPTS 1

inline start() {
  run Requester(0);
  run Requester(1);
  run Lender();
  run Killer(0);
  run Repairer(0)
}

#include "../lending.pml"
