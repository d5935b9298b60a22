// Counts round trips of 64-byte letters over a transport, and checks every one.
//
// A letter carries a counter in its first and last word. The peer answers with both changed, so an
// answer that was not made from this very letter is noticed.
//
// A transport is a class with `open(options)` before the fork, `connect()` in the peer and `attach`
// in the client after it, `call` for the client, `receive`, `answer` and `answer_receive` for the
// peer.
#pragma once

#include <errno.h>

#include <algorithm>

#include "bench.h"

namespace bench {

struct Letter {
  uint64_t words[8];
};
static_assert(sizeof(Letter) == 64);

inline constexpr uint64_t kStop = ~uint64_t{0};
// A clock is read once in a batch. Batches grow until they take this long, so that neither the
// clock disturbs a fast transport nor a slow one overruns.
inline constexpr int64_t kBatchNs = 50'000;
inline constexpr uint64_t kBatchMax = 256;

template <typename Transport>
void round_trip(Transport& transport, uint64_t counter) {
  Letter letter{};
  letter.words[0] = counter;
  letter.words[7] = ~counter;
  transport.call(letter);
  if (letter.words[0] != counter + 1 || letter.words[7] != ~counter - 1) {
    die("a letter came back with other contents than it should", EPROTO);
  }
}

// Round trips for `ns`; returns how many, and the time they took.
template <typename Transport>
uint64_t trips_for(Transport& transport, int64_t ns, uint64_t* counter, int64_t* took) {
  uint64_t done = 0, batch = 1;
  const int64_t start = now_ns();
  int64_t now = start;
  while (now - start < ns) {
    for (uint64_t i = 0; i < batch; i++) round_trip(transport, (*counter)++);
    done += batch;
    const int64_t before = now;
    now = now_ns();
    if (now - before < kBatchNs && batch < kBatchMax) batch *= 2;
    if (now - before > 8 * kBatchNs && batch > 1) batch /= 2;
  }
  *took = now - start;
  return done;
}

template <typename Transport>
void answer_letters(Transport& transport) {
  Letter letter;
  transport.receive(letter);
  while (letter.words[0] != kStop) {
    letter.words[0]++;
    letter.words[7]--;
    transport.answer_receive(letter);
  }
  transport.answer(letter);
}

// Warm-up, throughput, then latency apart, since reading the clock twice a trip would slow it.
template <typename Transport>
Result round_trips(const Options& options) {
  Transport transport;
  transport.open(options);
  const pid_t peer = start_peer(options.cpu_peer, [&] {
    transport.connect();
    answer_letters(transport);
  });
  pin(options.cpu_client);
  transport.attach();

  Result result;
  uint64_t counter = 1;
  int64_t took;
  trips_for(transport, options.run_ns / 8, &counter, &took);
  const uint64_t done = trips_for(transport, options.run_ns, &counter, &took);
  result.per_second = static_cast<double>(done) * 1e9 / static_cast<double>(took);

  result.has_latency = true;
  const int64_t start = now_ns();
  for (int64_t now = start; now - start < options.run_ns / 4;) {
    round_trip(transport, counter++);
    const int64_t after = now_ns();
    result.latency.add(after - now);
    now = after;
  }
  result.checked = counter - 1;

  Letter last{};
  last.words[0] = kStop;
  transport.call(last);
  join_peer(peer);
  transport.close();
  return result;
}

}  // namespace bench
