/* A writer whose lender may be killed at any step. */
#define READS(r) false
#define TRACES(r) true

inline start() {
  idle[1] = true;
  run Requester(0);
  run Lender();
  run Killer(2);
  run Repairer(2)
}

#include "../lending.pml"
