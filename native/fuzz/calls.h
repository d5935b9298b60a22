// What processes of this node do while a fuzzer has the link, so that there is somebody to answer.
#pragma once

#include <errno.h>

#include "../core/ipc.h"
#include "../core/notify.h"
#include "../core/senda.h"

namespace dvk::fuzz {

// Begins one of the calls of messages with `peer`, as `kind` says. What was under way before ends
// with EINTR.
inline void begin_call(Process& process, int32_t peer, uint8_t kind) {
  if (process.operation.stage != Operation::Stage::kNone) cancel(process, -EINTR);
  Message message{};
  message.type = kind;
  switch (kind % 6) {
    case 0:
      start_sendrec(process, peer, message);
      break;
    case 1:
      start_receive(process, peer);
      break;
    case 2:
      start_rcvrqst(process);
      break;
    case 3:
      notify(process, peer);
      break;
    case 4:
      reply(process, peer, message);
      break;
    default:
      senda(process, peer, message, 0);
  }
}

}  // namespace dvk::fuzz
