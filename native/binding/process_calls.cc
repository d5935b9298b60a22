// The calls of a bound process: the hot path. Ints cross, and the message lies in the process's
// window.

#include <cerrno>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "../core/senda.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

int js_send(BoundProcess& bound, int32_t destination, Timeout timeout) {
  return send(*bound.process, destination, bound.window->message, timeout.ms);
}

int js_receive(BoundProcess& bound, int32_t source, Timeout timeout) {
  return received(bound, receive(*bound.process, source, &bound.window->message, timeout.ms));
}

int js_sendrec(BoundProcess& bound, int32_t destination, Timeout timeout) {
  return received(bound, sendrec(*bound.process, destination, &bound.window->message, timeout.ms));
}

int js_rcvrqst(BoundProcess& bound, Timeout timeout) {
  return received(bound, rcvrqst(*bound.process, &bound.window->message, timeout.ms));
}

int js_reply(BoundProcess& bound, int32_t destination) {
  return reply(*bound.process, destination, bound.window->message);
}

int js_reply_to(BoundProcess& bound, int32_t destination, uint32_t call) {
  return reply_to(*bound.process, destination, call, bound.window->message);
}

int js_reply_receive(BoundProcess& bound, int32_t destination, Timeout timeout) {
  Message* message = &bound.window->message;
  return received(bound, reply_receive(*bound.process, destination, message, timeout.ms));
}

int js_senda(BoundProcess& bound, int32_t destination, uint32_t flags) {
  return senda(*bound.process, destination, bound.window->message, flags);
}

// setFilter(process, allow, [match, source, type, ...])
int js_set_filter(Process& process, bool allow, Words words) {
  constexpr size_t kWords = 3;
  if (words.length % kWords != 0 || words.length > kFilterRules * kWords) return -EINVAL;
  FilterRule rules[kFilterRules];
  const size_t count = words.length / kWords;
  for (size_t i = 0; i < count; i++) {
    const int32_t* rule = words.data + i * kWords;
    rules[i] = {static_cast<uint32_t>(rule[0]), rule[1], rule[2]};
  }
  return set_filter(process, allow, rules, count);
}

int js_relay(BoundProcess& bound, int32_t client, int32_t destination) {
  return relay(*bound.process, client, destination, bound.window->message);
}

int32_t js_wait_bind(Process& process, uint32_t slot, Timeout timeout) {
  return wait_bind(process, slot, timeout.ms);
}

int js_wait_unbind(Process& process, int32_t endpoint, Timeout timeout) {
  return wait_unbind(process, endpoint, timeout.ms);
}

// Whom the last wait for a bind found.
int32_t js_bound_endpoint(Process& process) {
  return process.operation.message.source;
}

}  // namespace

int received(BoundProcess& bound, int result) {
  if (result == 0) {
    bound.window->kind = static_cast<uint32_t>(bound.process->last_kind);
    bound.window->call = bound.process->last_call;
  }
  return result;
}

void register_process_calls(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"send", method<js_send>},
             {"receive", method<js_receive>},
             {"sendrec", method<js_sendrec>},
             {"rcvrqst", method<js_rcvrqst>},
             {"reply", method<js_reply>},
             {"replyTo", method<js_reply_to>},
             {"replyReceive", method<js_reply_receive>},
             {"relay", method<js_relay>},
             {"notify", method<notify>},
             {"senda", method<js_senda>},
             {"sendaStatus", method<senda_status>},
             {"sendaCancel", method<senda_cancel>},
             {"setFilter", method<js_set_filter>},
             {"clearFilter", method<clear_filter>},
             {"notifyFrom", method<notify_from>},
             {"waitBind", method<js_wait_bind>},
             {"waitUnbind", method<js_wait_unbind>},
             {"boundEndpoint", method<js_bound_endpoint>},
         });
}

}  // namespace dvk::binding
