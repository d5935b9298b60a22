#include "ipc.h"

#include <errno.h>

#include <algorithm>

#include "call.h"
#include "copy_job.h"
#include "deadlock.h"
#include "link.h"
#include "migrate.h"
#include "notify.h"
#include "privilege.h"
#include "rendezvous.h"
#include "search.h"
#include "senda.h"
#include "standby.h"
#include "trace.h"
#include "wait.h"

namespace dvk {

void note_received(Process& process, MessageKind kind, uint32_t peer, uint32_t call_id) {
  process.last_kind = kind;
  process.last_peer = peer;
  process.trace.received = call_id;
  count(process.slot->received);
  if (kind != MessageKind::kCall) return;
  process.last_call = call_id;
  const int32_t client = process.operation.message.source;
  const int slot = process.segment.slot_of(client);
  if (slot >= 0) process.owed.add(static_cast<uint32_t>(slot), client, call_id);
}

namespace {

using Stage = Operation::Stage;
using Kind = Operation::Kind;

// Takes the message out of the inbox.
int take_inbox(Process& process, uint32_t word) {
  Message& message = process.operation.message;
  copy_out(&message, inbox_of(process.slot, sequence_of(word)));
  DVK_CRASH_POINT("receive.copied");
  const uint32_t peer = peer_of(word);
  const State state = state_of(word);
  const uint32_t call_id = load(inbox_call_of(process.slot, sequence_of(word)));
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  DVK_CRASH_POINT("receive.idle");
  settle_source(process.segment, peer, &message);
  note_received(process,
                state == State::kFullCall     ? MessageKind::kCall
                : state == State::kFullNotify ? MessageKind::kNotify
                                              : MessageKind::kSend,
                peer, call_id);
  return finish(process, 0);
}

// What is already there for a receive: 0 delivered, kPending nothing, or -EDVSWOKENUP.
int take_waiting(Process& process) {
  Operation& operation = process.operation;
  const bool request = operation.kind == Kind::kRequest;
  if (load(process.slot->wakeup) != 0 && atomic(process.slot->wakeup).exchange(0) != 0) {
    return -EDVSWOKENUP;
  }
  if (!request && (take_notice(process) || take_async(process))) return 0;
  Taken taken;
  if (!take_queued(process.segment, process.index, operation.peer, request, active_filter(process),
                   &operation.message, &taken)) {
    return kPending;
  }
  note_received(process, taken.call ? MessageKind::kCall : MessageKind::kSend, taken.sender,
                taken.call_id);
  return 0;
}

uint32_t open_word(const Process& process) {
  const Operation& operation = process.operation;
  const uint32_t filtered = active_filter(process) != nullptr ? kFiltered : 0;
  if (operation.kind == Kind::kRequest) return pack(State::kRequest, process.sequence, filtered);
  if (operation.peer == kEndpointAny) return pack(State::kAny, process.sequence, filtered);
  // KERNEL has no slot; its notifications know it by this.
  const int peer = operation.peer == kEndpointKernel ? static_cast<int>(kProxyPeer)
                                                     : process.segment.slot_of(operation.peer);
  return pack(State::kFrom, process.sequence, static_cast<uint32_t>(peer));
}

// Whether the source wanted is a process that is gone.
bool source_dead(const Process& process) {
  const int32_t peer = process.operation.peer;
  uint32_t slot;
  return peer != kEndpointAny && peer != kEndpointKernel &&
         find_endpoint(process.segment, peer, &slot) == -EDEADSRCDST;
}

bool has_candidate(Process& process) {
  const Operation& operation = process.operation;
  const bool request = operation.kind == Kind::kRequest;
  return atomic(process.slot->wakeup).load() != 0 ||
         (!request && (has_notice(process) || has_async(process))) ||
         has_queued(process.segment, process.index, operation.peer, request,
                    active_filter(process));
}

// The error may have come in the place of a claim (unbind_for.cc), whose claimant writes on when it
// was stopped: the message buffers change.
int take_error(Process& process, uint32_t word) {
  process.sequence = (process.sequence + 1) & kSequenceMask;
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  const int error = static_cast<int>(peer_of(word));
  if (error == EDVSMIGRATING) note_told(process);
  return finish(process, error == 0 ? -EINVAL : -error);
}

// Ends a call whose word cannot be: somebody scribbled on the segment, or it is lost.
int take_nonsense(Process& process) {
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  return finish(process, process.segment.running() ? -EDVSPROCSTS : -EDVSDCNOTRUN);
}

// Takes what is there, else opens, and looks once more: a sender that came in between saw a closed
// word and queued.
int scan(Process& process) {
  Operation& operation = process.operation;
  const auto rendezvous = atomic(process.slot->rendezvous);
  store(process.slot->want_source, operation.peer);
  for (;;) {
    const int taken = take_waiting(process);
    if (taken != kPending) return finish(process, taken);
    const uint32_t open = open_word(process);
    begin_wait(process.slot);
    process.claim = 0;
    rendezvous.exchange(open);
    DVK_CRASH_POINT("receive.open");
    operation.stage = Stage::kReceiving;
    const bool dead = source_dead(process);
    const bool ended = !process.segment.running();
    if (!dead && !ended && !has_candidate(process)) return kPending;
    uint32_t word = open;
    if (rendezvous.compare_exchange_strong(word, idle_word(process))) {
      if (ended) return finish(process, -EDVSDCNOTRUN);
      if (dead) return finish(process, -ESRCDIED);
      continue;
    }
    switch (state_of(word)) {
      case State::kFull:
      case State::kFullCall:
      case State::kFullNotify:
        return take_inbox(process, word);
      case State::kFilling:
        return kPending;
      case State::kError:
        return take_error(process, word);
      case State::kKick:
        rendezvous.store(idle_word(process));
        continue;
      default:
        return take_nonsense(process);
    }
  }
}

int step_receiving(Process& process) {
  const uint32_t word = atomic(process.slot->rendezvous).load(std::memory_order_acquire);
  switch (state_of(word)) {
    case State::kFull:
    case State::kFullCall:
    case State::kFullNotify:
      return take_inbox(process, word);
    case State::kError:
      return take_error(process, word);
    case State::kKick:
      // Nobody but the owner changes this state.
      atomic(process.slot->rendezvous).store(idle_word(process));
      return scan(process);
    case State::kFilling:
      return pass_claimant(process, word) ? scan(process) : kPending;
    default:
      return is_waiting(word) ? kPending : take_nonsense(process);
  }
}

// A process has one call under way at a time.
int check_idle_caller(Process& process, CallRight right) {
  const int error = check_caller(process, right);
  return error == 0 && process.operation.stage != Stage::kNone ? -EBUSY : error;
}

int start_remote_message(Process& process, uint32_t kind) {
  ProcessSlot* slot = process.slot;
  void_command(slot);
  note_launch(process, load(slot->call_id) + 1);
  copy_in(outbox_of(slot, process.sequence), process.operation.message);
  store(slot->command_kind, kind);
  store(slot->command_endpoint, process.operation.peer);
  store(slot->destination_endpoint, kEndpointNone);
  count(slot->sent_remote);
  return start_remote(process, process.sent_to);
}

int relaunch(Process& process);

// Sends operation.message to its peer, whose slot is `target`.
int launch(Process& process, uint32_t target) {
  Operation& operation = process.operation;
  const bool call = operation.kind == Kind::kCall;
  operation.message.source = process.endpoint;
  store(process.slot->want_source, operation.peer);
  if (is_remote(process.segment, target)) {
    const uint32_t kind = call ? kCommandSndrecMsg : kCommandSendMsg;
    process.sent_to = load(process.segment.slot(target)->node);
    // Where it has arrived here meanwhile, that is no other node.
    if (!is_remote(process.segment, target)) return relaunch(process);
    const int result = start_remote_message(process, kind);
    return result < 0 ? finish(process, result) : result;
  }
  if (load(process.slot->async_busy) != 0) tidy_asyncs(process);
  begin_wait(process.slot);
  // Before the word: who answers this call finds its number. A relay makes it another call.
  const uint32_t number = load(process.slot->call_id) + 1;
  if (call || is_traced(process.segment)) store(process.slot->call_id, number);
  note_launch(process, number);
  switch (hand_over(process.segment, process.index, process.sequence, operation.peer, call,
                    operation.message)) {
    case HandOver::kDead:
      return finish(process, -EDSTDIED);
    case HandOver::kMoved:
      return launch(process, target);
    case HandOver::kDone:
      if (!call) {
        count(process.slot->sent);
        return finish(process, 0);
      }
      [[fallthrough]];
    case HandOver::kQueued:
      operation.stage = Stage::kSending;
      // Who ended the container before the word was set has not seen this call.
      return process.segment.running() ? kPending : cancel(process, -EDVSDCNOTRUN);
  }
  return -EINVAL;
}

int start_message(Process& process, int32_t destination, const Message& message, bool call) {
  int error = check_idle_caller(process, call ? CallRight::kSendrec : CallRight::kSend);
  if (error == -EDVSSTANDBY) {
    return start_standby(process, call ? Kind::kCall : Kind::kSend, destination, &message);
  }
  const int self_error = call ? -EDVSENDPOINT : -EDVSBADDEST;
  uint32_t target;
  if (error == 0) error = check_peer(process, destination, self_error, process.index, &target);
  const bool unknown = can_await(process.segment, destination, error);
  if (error != 0 && !unknown) {
    return refuse(process, call ? TraceCall::kSendrec : TraceCall::kSend, destination, error);
  }
  publish_cpu(process);
  process.operation.kind = call ? Kind::kCall : Kind::kSend;
  process.operation.peer = destination;
  process.operation.message = message;
  process.searched = false;
  process.returns = 0;
  return unknown ? start_search(process) : launch(process, target);
}

// The server that had the request hands it on to the one in the message's source. That is a sendrec
// to it but for its checks: the server was asked whether it may send there.
int follow_relay(Process& process, uint32_t word) {
  Operation& operation = process.operation;
  copy_out(&operation.message, inbox_of(process.slot, sequence_of(word)));
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  DVK_CRASH_POINT("relay.followed");
  operation.peer = operation.message.source;
  uint32_t target;
  const int error = operation.peer == process.endpoint
                        ? -EDVSENDPOINT
                        : check_endpoint(process.segment, operation.peer, &target);
  if (can_await(process.segment, operation.peer, error)) return start_search(process);
  if (error != 0) return finish(process, error == -ERANGE ? -EDVSENDPOINT : error);
  if (!takes_from(process.segment, target, process.index)) {
    return finish(process, -ECALLDENIED);
  }
  return launch(process, target);
}

// Sends the message of the call again: its receiver moves, or has moved, to another node.
int relaunch(Process& process) {
  void_command(process.slot);
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  uint32_t target;
  const int error = check_endpoint(process.segment, process.operation.peer, &target);
  if (error == -EDVSMIGRATING) return start_search(process);
  return error == 0 ? launch(process, target) : finish(process, -EDSTDIED);
}

// Whether a message that node `before` gave back goes anywhere else, or waits for its receiver's
// move.
bool moves_on(const Process& process, uint32_t before) {
  uint32_t target;
  if (check_endpoint(process.segment, process.operation.peer, &target) != 0) return true;
  return !is_remote(process.segment, target) || is_held(process.segment, target) ||
         load(process.segment.slot(target)->node) != before;
}

// A message that comes back so often, and has nowhere else to go, is not sent again.
constexpr uint32_t kReturnsMax = 8;

// What the proxy brought in place of a message.
int take_result(Process& process) {
  const int result = load(process.slot->command_result);
  if (result == -EDVSMIGRATING && process.operation.kind != Kind::kCopy) {
    // While this process did not run, the receiver may have moved there and back.
    const bool again = moves_on(process, process.sent_to) || process.returns < kReturnsMax;
    process.returns++;
    if (again) return relaunch(process);
  }
  atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
  if (is_stale(process, result)) return start_search(process);
  return finish(process, result < 0 ? result : 0);
}

// The send half, and for a sendrec the wait for the reply.
int step_sending(Process& process) {
  const uint32_t word = atomic(process.slot->rendezvous).load(std::memory_order_acquire);
  switch (state_of(word)) {
    case State::kTaken:
      if (process.operation.stage == Stage::kRemote) return take_result(process);
      atomic(process.slot->rendezvous).store(idle_word(process), std::memory_order_release);
      count(process.slot->sent);
      return finish(process, 0);
    case State::kFull:
    case State::kFullCall:
    case State::kFullNotify:
      // A message to another node was counted when it was queued for the proxy.
      if (process.operation.stage == Stage::kSending) count(process.slot->sent);
      if (state_of(word) != State::kFullNotify) return take_inbox(process, word);
      return process.operation.kind == Kind::kCall ? follow_relay(process, word)
                                                   : take_nonsense(process);
    case State::kKick:
      return relaunch(process);
    case State::kError:
      // A call that failed here may have its command under way still.
      if (process.operation.stage == Stage::kRemote) void_command(process.slot);
      return take_error(process, word);
    default:
      return is_waiting(word) ? kPending : take_nonsense(process);
  }
}

int start_receiving(Process& process, Kind kind, int32_t source) {
  publish_cpu(process);
  process.operation.kind = kind;
  process.operation.peer = source;
  if (is_traced(process.segment)) [[unlikely]] {
    trace_begin(process, kind == Kind::kRequest ? TraceCall::kRcvrqst : TraceCall::kReceive, 0, 0);
  }
  return scan(process);
}

// Ends a wait that nobody has answered. Returns false when the word changed meanwhile.
bool withdraw(Process& process, uint32_t word) {
  if (!atomic(process.slot->rendezvous).compare_exchange_strong(word, idle_word(process))) {
    return false;
  }
  DVK_CRASH_POINT("withdraw.word");
  Segment& segment = process.segment;
  if (process.operation.kind == Kind::kBind) leave_bind_waiters(process);
  if (process.operation.stage == Stage::kSearching) leave_search(process);
  const uint32_t peer = peer_of(word);
  if (state_of(word) == State::kSending || state_of(word) == State::kCalling) {
    if (peer < segment.processes()) segment.senders(peer).remove(process.index);
  } else if (state_of(word) == State::kRemote) {
    withdraw_command(segment, process.index, peer);
  } else if (state_of(word) == State::kKick && process.operation.stage == Stage::kRemote) {
    void_command(process.slot);
  }
  return true;
}

}  // namespace

int start_send(Process& process, int32_t destination, const Message& message) {
  return start_message(process, destination, message, false);
}

int start_sendrec(Process& process, int32_t destination, const Message& message) {
  return start_message(process, destination, message, true);
}

int start_receive(Process& process, int32_t source) {
  int error = check_idle_caller(process, CallRight::kReceive);
  if (error == -EDVSSTANDBY) return start_standby(process, Kind::kReceive, source, nullptr);
  if (error == 0 && source != kEndpointAny && source != kEndpointKernel) {
    uint32_t slot;
    const bool own = source == process.endpoint || source == kEndpointSelf;
    error = own ? -EDVSENDPOINT : check_endpoint(process.segment, source, &slot);
  }
  if (can_await(process.segment, source, error)) {
    process.operation.kind = Kind::kReceive;
    process.operation.peer = source;
    return start_search(process);
  }
  return error != 0 ? refuse(process, TraceCall::kReceive, source, error)
                    : start_receiving(process, Kind::kReceive, source);
}

int start_rcvrqst(Process& process) {
  const int error = check_idle_caller(process, CallRight::kRcvrqst);
  if (error == -EDVSSTANDBY) return start_standby(process, Kind::kRequest, kEndpointAny, nullptr);
  return error != 0 ? refuse(process, TraceCall::kRcvrqst, kEndpointAny, error)
                    : start_receiving(process, Kind::kRequest, kEndpointAny);
}

int resume(Process& process) {
  switch (process.operation.kind) {
    case Kind::kReceive:
      return start_receiving(process, Kind::kReceive, process.operation.peer);
    case Kind::kUnbind:
      return watch_unbind(process);
    case Kind::kCopy:
      return finish(process, 0);
    default:
      break;
  }
  uint32_t target;
  const int error = check_endpoint(process.segment, process.operation.peer, &target);
  if (error == -EDVSMIGRATING) return start_search(process);
  if (error != 0) return finish(process, error);
  if (!takes_from(process.segment, target, process.index)) return finish(process, -ECALLDENIED);
  return launch(process, target);
}

int step(Process& process) {
  // The slot is not this process's any more once it is unbound.
  if (load(process.slot->endpoint) != process.endpoint) return finish_unbound(process);
  switch (process.operation.stage) {
    case Stage::kSending:
    case Stage::kRemote:
      return step_sending(process);
    case Stage::kReceiving:
      return step_receiving(process);
    case Stage::kBinding:
      return step_binding(process);
    case Stage::kDone:
      return finish(process, process.operation.result);
    case Stage::kStandby:
      return step_standby(process);
    case Stage::kSearching:
      return step_search(process);
    default:
      return -EDVSPROCSTS;
  }
}

void postpone(Process& process, int result) {
  process.operation.stage = Stage::kDone;
  process.operation.result = result;
}

int cancel(Process& process, int error) {
  if (process.operation.stage == Stage::kNone) return error;
  if (process.operation.stage == Stage::kDone) return step(process);
  if (process.operation.stage == Stage::kStandby) {
    note_stopped(process, false);
    return finish(process, error);
  }
  for (;;) {
    if (load(process.slot->endpoint) != process.endpoint) return finish_unbound(process);
    const uint32_t word = atomic(process.slot->rendezvous).load();
    switch (state_of(word)) {
      case State::kIdle:
        return finish(process, error);
      case State::kFilling:
      case State::kTaking:
        outwait_claimant(process, word);
        break;
      case State::kFull:
      case State::kFullCall:
      case State::kFullNotify:
      case State::kTaken:
      case State::kError: {
        const int result = step(process);
        if (result != kPending) return result;
        break;
      }
      default:
        if (withdraw(process, word)) return finish(process, error);
    }
  }
}

int send(Process& process, int32_t destination, const Message& message, int64_t timeout_ms) {
  const int result = start_send(process, destination, message);
  return result == kPending ? wait_for(process, timeout_ms) : result;
}

int receive(Process& process, int32_t source, Message* message, int64_t timeout_ms) {
  int result = start_receive(process, source);
  if (result == kPending) result = wait_for(process, timeout_ms);
  if (result == 0) *message = process.operation.message;
  return result;
}

int sendrec(Process& process, int32_t destination, Message* message, int64_t timeout_ms) {
  int result = start_sendrec(process, destination, *message);
  if (result == kPending) result = wait_for(process, timeout_ms);
  if (result == 0) *message = process.operation.message;
  return result;
}

int rcvrqst(Process& process, Message* message, int64_t timeout_ms) {
  int result = start_rcvrqst(process);
  if (result == kPending) result = wait_for(process, timeout_ms);
  if (result == 0) *message = process.operation.message;
  return result;
}

int find_request(const Process& process, int32_t client, uint32_t* call_id) {
  const uint32_t slot = static_cast<uint32_t>(process.segment.slot_of(client));
  return process.owed.find(slot, client, call_id) ? 0 : -EDVSPROCSTS;
}

int answer(Process& process, int32_t client, uint32_t call_id, const Message& message,
           bool relays) {
  const uint32_t target = static_cast<uint32_t>(process.segment.slot_of(client));
  process.owed.settle(target, client);
  ProcessSlot* slot = process.segment.slot(target);
  fetch_to_fill(slot);
  uint32_t word = atomic(slot->rendezvous).load(std::memory_order_acquire);
  if (state_of(word) != State::kReply || peer_of(word) != process.index) return -EDVSPROCSTS;
  if (is_remote(process.segment, target)) {
    return answer_remote(process, client, word, call_id, message, relays);
  }
  uint32_t claim = with_state(word, State::kFilling, process.index);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, claim)) return -EDVSPROCSTS;
  DVK_CRASH_POINT("reply.claimed");
  // The word does not tell one call from the next, but while it is claimed no other one begins.
  const int error = load(slot->endpoint) != client   ? -EDEADSRCDST
                    : load(slot->call_id) != call_id ? -EDVSPROCSTS
                                                     : 0;
  if (error != 0) {
    unclaim(process.segment, slot, claim, word);
    return error;
  }
  copy_in(inbox_of(slot, sequence_of(word)), message);
  DVK_CRASH_POINT("reply.copied");
  const uint32_t full = with_state(word, relays ? State::kFullNotify : State::kFull, process.index);
  if (!atomic(slot->rendezvous).compare_exchange_strong(claim, full)) return -EDVSPROCSTS;
  DVK_CRASH_POINT("reply.full");
  wake(process.segment, slot);
  count(process.slot->sent);
  return 0;
}

namespace {

// A reply may be given during another call of the process: it is done at once.
int check_reply(Process& process, int32_t client) {
  const int error = check_caller(process, CallRight::kReply);
  return error != 0 ? error : check_client(process, client);
}

int give_reply(Process& process, int32_t client, uint32_t call_id, const Message& message) {
  Message out = message;
  out.source = process.endpoint;
  return answer(process, client, call_id, out, false);
}

}  // namespace

int reply_to(Process& process, int32_t destination, uint32_t call_id, const Message& message) {
  const TracedCall traced(process, TraceCall::kReply, destination);
  int error = check_reply(process, destination);
  if (error == 0) error = give_reply(process, destination, call_id, message);
  return traced.end(error, message.type, call_id);
}

int reply(Process& process, int32_t destination, const Message& message) {
  const TracedCall traced(process, TraceCall::kReply, destination);
  int error = check_reply(process, destination);
  uint32_t call_id = 0;
  if (error == 0) error = find_request(process, destination, &call_id);
  if (error == 0) error = give_reply(process, destination, call_id, message);
  return traced.end(error, message.type, call_id);
}

int start_reply_receive(Process& process, int32_t destination, const Message& message) {
  const int replied = reply(process, destination, message);
  if (replied == -ETRAPDENIED || replied == -EDVSDCNOTRUN || replied == -EDVSNOTBOUND) {
    return replied;
  }
  return start_rcvrqst(process);
}

int reply_receive(Process& process, int32_t destination, Message* message, int64_t timeout_ms) {
  int result = start_reply_receive(process, destination, *message);
  if (result == kPending) result = wait_for(process, timeout_ms);
  if (result == 0) *message = process.operation.message;
  return result;
}

}  // namespace dvk
