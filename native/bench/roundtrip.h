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

#include "measure.h"

namespace bench {

struct Letter {
  uint64_t words[8];
};
static_assert(sizeof(Letter) == 64);

inline constexpr uint64_t kStop = ~uint64_t{0};

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
  uint64_t counter = 0;
  const Result result = measure(options, peer, 1, [&] { round_trip(transport, ++counter); });
  Letter last{};
  last.words[0] = kStop;
  transport.call(last);
  join_peer(peer);
  transport.close();
  return result;
}

}  // namespace bench
