/* Two readers; the lender leaves in between, and what it granted is still to be had. */
#define READS(r) true
#define TRACES(r) false
#define OFFERS(r) false
#define ATTEMPTS 1
#define HASTY(r) false
#define CALLS 2

inline start() {
  run Requester(0);
  run Requester(1);
  run Lender()
}

#include "../lending.pml"
