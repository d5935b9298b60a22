/* The same with a writer in place of the first reader. */
#define READS(r) ((r) == 1)
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
