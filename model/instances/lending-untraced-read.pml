/* A reader that may not trace the lender, whose call ends and begins again. */
#define READS(r) true
#define TRACES(r) false
#define CALLS 2

inline start() {
  idle[1] = true;
  run Requester(0);
  run Lender()
}

#include "../lending.pml"
