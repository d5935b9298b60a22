// Which way a copy goes is measured: the quicker one, with a look at the other now and then.
#include "../core/copy_pace.h"

#include "support.h"

namespace dvk::test {
namespace {

// Offers among `copies` of 64 KiB, when one takes so long with the lender and so long without.
int offers_of(CopyPace& pace, int copies, int64_t offered_ns, int64_t alone_ns) {
  int offers = 0;
  for (int i = 0; i < copies; i++) {
    const bool offered = pace.offers();
    offers += offered ? 1 : 0;
    pace.note(offered, 65536, offered ? offered_ns : alone_ns);
  }
  return offers;
}

TEST("both ways are tried, then the quicker is taken") {
  CopyPace slow_kernel, quick_kernel;
  CHECK(offers_of(slow_kernel, 1000, 5'000, 9'000) > 980);
  const int offers = offers_of(quick_kernel, 1000, 9'000, 2'500);
  CHECK(offers > 2 && offers < 20);
}

TEST("a way that becomes the quicker one is found") {
  CopyPace pace;
  offers_of(pace, 100, 9'000, 2'500);
  CHECK(offers_of(pace, 1000, 1'000, 2'500) > 700);
}

TEST("a copy that lost its CPU in the middle changes little") {
  CopyPace pace;
  offers_of(pace, 20, 5'000, 9'000);
  pace.note(true, 65536, 4'000'000);
  CHECK(offers_of(pace, 100, 5'000, 9'000) > 90);
}

TEST("sizes and CPUs are measured apart") {
  CopyPaces paces;
  CHECK(&paces.of(true, 65536) != &paces.of(false, 65536));
  CHECK(&paces.of(false, 65536) != &paces.of(false, 131072));
  CHECK(&paces.of(false, 65536) == &paces.of(false, 100'000));
  CHECK(&paces.of(false, 16384) != &paces.of(false, 32768));
  CHECK(&paces.of(false, 1 << 20) == &paces.of(false, uint64_t{1} << 40));
  CHECK(&paces.of(false, 1) == &paces.of(false, 16384));
}

}  // namespace
}  // namespace dvk::test
