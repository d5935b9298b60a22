// Counts letters of 64 bytes that go one way, and checks every one.
//
// The peer sends as fast as it can; this process receives. A letter carries its number in its first
// word and the complement in its last, and must be the next one: none is lost, none overtakes. The
// last one carries how many there were.
//
// A transport is one of roundtrip.h that has `post` for the sender, besides `receive`.
#pragma once

#include <errno.h>

#include <atomic>

#include "roundtrip.h"

namespace bench {

struct OneWay {
  std::atomic<bool> stop;      // set by the receiver: send no more
  std::atomic<bool> complete;  // set by the receiver: it has all, the sender may go
};

template <typename Transport>
void post_until_stopped(Transport& transport, const OneWay& state) {
  Letter letter{};
  uint64_t sent = 0;
  while (!state.stop.load(std::memory_order_relaxed)) {
    letter.words[0] = ++sent;
    letter.words[7] = ~sent;
    transport.post(letter);
  }
  letter.words[0] = kStop;
  letter.words[7] = sent;
  transport.post(letter);
}

template <typename Transport>
Result one_way(const Options& options) {
  OneWay& state = *static_cast<OneWay*>(shared_memory(sizeof(OneWay)));
  Transport transport;
  transport.open(options);
  const pid_t sender = start_peer(options.cpu_peer, [&] {
    transport.attach();
    post_until_stopped(transport, state);
    while (!state.complete.load()) usleep(100);
    transport.close();
  });
  pin(options.cpu_client);
  transport.connect();
  uint64_t received = 0;
  Letter letter;
  const auto take = [&] {
    transport.receive(letter);
    received++;
    if (letter.words[0] != received || letter.words[7] != ~received) {
      die("a letter was lost, or came with other contents", EPROTO);
    }
  };
  const Result result = measure(options, sender, 1, take);
  state.stop = true;
  for (transport.receive(letter); letter.words[0] != kStop; transport.receive(letter)) received++;
  if (letter.words[7] != received) die("letters were lost", EPROTO);
  state.complete = true;
  join_peer(sender);
  transport.close();
  return result;
}

}  // namespace bench
