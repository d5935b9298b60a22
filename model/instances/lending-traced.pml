/* One reads and one writes; both may trace the lender, so either of two sides moves the bytes. */
#define READS(r) ((r) == 0)
#define TRACES(r) true

inline start() {
  run Requester(0);
  run Requester(1);
  run Lender()
}

#include "../lending.pml"
