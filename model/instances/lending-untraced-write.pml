/* A writer that may not trace the lender, whose call ends and begins again.
   The lender wants to be the only one before it touches the memory. */
#define READS(r) false
#define TRACES(r) false
#define PLAIN false
#define CALLS 2

inline start() {
  idle[1] = true;
  run Requester(0);
  run Lender()
}

#include "../lending.pml"
