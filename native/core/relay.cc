// relay: a server hands a request that it has not answered on to another server, whose reply goes
// to the first client.
//
// The client itself carries the request on. The relaying server puts the request, with the next
// server in place of the source, where its reply would be, and marks it as a relay; the client's
// next step sends it there, within the same sendrec and its time-out. So there is no third party
// whose death could leave the request between two servers, no slot that anyone but its owner
// queues, and nothing that depends on which of the three are on one node: a relay to another node's
// client travels as a reply does (RELAY_MSG).

#include "call.h"
#include "privilege.h"

namespace dvk {
namespace {

int check_relay(Process& process, int32_t client, int32_t destination) {
  int error = check_caller(process, CallRight::kRelay);
  if (error == 0) error = check_client(process, client);
  if (error != 0) return error;
  if (destination == client) return -EDVSENDPOINT;
  uint32_t target;
  return check_peer(process, destination, -EDVSENDPOINT,
                    static_cast<uint32_t>(process.segment.slot_of(client)), &target);
}

int hand_on(Process& process, int32_t client, uint32_t call_id, int32_t destination,
            const Message& message) {
  Message out = message;
  out.source = destination;
  return answer(process, client, call_id, out, true);
}

}  // namespace

int relay_to(Process& process, int32_t client, uint32_t call_id, int32_t destination,
             const Message& message) {
  const TracedCall traced(process, TraceCall::kRelay, client);
  int result = check_relay(process, client, destination);
  if (result == 0) result = hand_on(process, client, call_id, destination, message);
  return traced.end(result, message.type, call_id);
}

int relay(Process& process, int32_t client, int32_t destination, const Message& message) {
  const TracedCall traced(process, TraceCall::kRelay, client);
  int result = check_relay(process, client, destination);
  uint32_t call_id = 0;
  if (result == 0) result = find_request(process, client, &call_id);
  if (result == 0) result = hand_on(process, client, call_id, destination, message);
  return traced.end(result, message.type, call_id);
}

}  // namespace dvk
