// The queue between the calls of a node and its proxy: get2rmt and put2lcl of M3-IPC.
//
// Commands wait in the slots of their processes; the queue is a set of slots ordered by ticket, so
// it is bounded by construction. A remote process's descriptor holds the acks and replies that go
// back to it.
#pragma once

#include "vcopy.h"

namespace dvk {

inline bool link_is(LinkSlot* link, LinkState state) {
  return atomic(link->state).load() == static_cast<uint32_t>(state);
}

// Makes `node` a member of the DC as seen from this node. The link starts down. Returns 0,
// -EDVSBADNODEID, -EEXIST.
int add_node(Segment& segment, uint32_t node, const char* name);
// Ends the membership, and every call to the node's processes. Returns 0, -EDVSBADNODEID,
// -EDVSNODCNODE, or -ETIMEDOUT when the table was locked for long: to be called again.
int remove_node(Segment& segment, uint32_t node);
// Forgets the processes of a node, but for backups here. Preconditions: the table lock is held.
void forget_descriptors(Segment& segment, uint32_t node);

// Of a proxy that begins: it is awake, whatever one before it left there.
void reset_sleeping(LinkSlot* link);
// The proxy's side. `wake_id` names the FIFO that tells it of work. Returns 0, -EDVSBADNODEID,
// -EDVSNODCNODE, -EDVSPROXYRUN when another program that lives is the proxy for that node.
int attach_proxy(Segment& segment, uint32_t node, uint64_t wake_id);
// The caller is the proxy for `node` no more; the link is down. Also -EDVSNOPROXY: it was not.
int detach_proxy(Segment& segment, uint32_t node);
// The link is up with a new session: announces this node's bound servers. `parts`: the peer takes
// copies in parts, see copy_parts.h.
int link_up(Segment& segment, uint32_t node, uint32_t session, bool parts = false);
// The link is down: every call waiting for that node ends with -ENOTCONN; descriptors of that node
// fall idle.
int link_down(Segment& segment, uint32_t node);

// Takes the oldest command for `node`. Data of a copy goes to `payload` (kCopyChunkBytes long).
// Returns 1 with `command` filled, 0 when nothing waits. Commands whose data cannot be read end
// with an error at their caller, and the next is taken. `short_only` leaves those with data in the
// queue.
int get2rmt(Segment& segment, uint32_t node, Command* command, uint8_t* payload,
            bool short_only = false);
// Tells the proxy by FIFO when the next command is queued. Returns true when one waits already, of
// those that get2rmt would take.
bool arm_proxy(Segment& segment, uint32_t node, bool short_only = false);
// Acts on a command from `node`. `command` and `payload` are untrusted. Returns 0, or a negative
// error when it was dropped
// (-EDVSBADFRAME, -EDVSNODCNODE, ...); errors of the call itself go back to its caller as an ack.
// That a COPYIN_RQST was asked for by its requester_node is for the proxy to make sure of.
int put2lcl(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload,
            uint64_t payload_bytes);

// 0 when commands for `node` can be queued, else -EDVSBADNODEID, -EDVSNODCNODE, -EDVSNOPROXY,
// -ENOTCONN.
int check_link(Segment& segment, uint32_t node);

// For the calls. The process's command_* fields name the command; its rendezvous word says REMOTE
// until an answer comes.
int start_remote(Process& process, uint32_t node);
// Ends what was queued before, so that no proxy takes the new call's fields for the old command.
void void_command(ProcessSlot* slot);
void withdraw_command(Segment& segment, uint32_t slot, uint32_t node);
// See `answer`; `word` is the rendezvous word of the client's descriptor.
int answer_remote(Process& process, int32_t client, uint32_t word, uint32_t call_id,
                  const Message& message, bool relays);
int notify_remote(Segment& segment, uint32_t source, int32_t target, uint32_t value);

// Ends a call to another node with `result`, unless its caller gave up on `call_id`.
void finish_remote(Segment& segment, uint32_t slot, uint32_t call_id, int result);
// Wakes the proxy for `node`.
void tell_proxy(Segment& segment, uint32_t node);
// For the calls: queues `process`'s command_* fields for the proxy of `node`.
void queue_command(Segment& segment, uint32_t slot, uint32_t node);
// For proxies: the same of those of a descriptor.
void queue_answer(Segment& segment, uint32_t descriptor, uint32_t node);
// Tells the proxy that there is something for the remote process in `descriptor` beside a command:
// a notification, messages of senda or their acks.
void announce_for(Segment& segment, uint32_t descriptor);
// The descriptor of a process of `node`, bound now when it was not: clients are not announced.
// Returns its slot or a negative error. Preconditions: the table lock is not held.
int adopt_descriptor(Segment& segment, uint32_t node, int32_t endpoint);
// For bind, unbind and reap: tells every connected node.
void announce(Segment& segment, uint32_t slot);

// ---- For get2rmt ----

// Whether a command takes a block of data with it.
inline bool is_bulky(uint32_t kind) {
  return kind == kCommandCopyinData || kind == kCommandCopyinRqst ||
         kind == (kCommandCopyoutRqst | kCommandAck);
}
// Empties a command, and says between which nodes it goes.
void address_command(Segment& segment, uint32_t node, Command* command);
// Takes what is announced to `node`. Returns whether there was anything.
bool take_announcement(Segment& segment, uint32_t node, Command* command);

}  // namespace dvk
