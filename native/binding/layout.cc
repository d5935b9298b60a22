// Sizes and offsets of the shared structs as this compiler sees them.
//
// The other half of the generator's assertions: a test compares these with the constants that
// TypeScript uses.

#include <cstddef>

#include "method.h"
#include "registers.h"

#define DVK_FIELD(name) object.Set(#name, offsetof(Struct, name))

namespace dvk::binding {
namespace {

Napi::Object describe_segment_header(Napi::Env env) {
  using Struct = SegmentHeader;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(magic);
  DVK_FIELD(abi_version);
  DVK_FIELD(byte_order);
  DVK_FIELD(segment_bytes);
  DVK_FIELD(incarnation);
  DVK_FIELD(dc_id);
  DVK_FIELD(node_id);
  DVK_FIELD(processes);
  DVK_FIELD(nodes);
  DVK_FIELD(arena_bytes);
  DVK_FIELD(dc_name);
  DVK_FIELD(dvs_name);
  DVK_FIELD(state);
  DVK_FIELD(trace);
  DVK_FIELD(table_lock);
  DVK_FIELD(monitor_wake);
  DVK_FIELD(handed);
  DVK_FIELD(proxy_partner);
  DVK_FIELD(migrating);
  DVK_FIELD(ticket);
  DVK_FIELD(departures);
  DVK_FIELD(warned);
  DVK_FIELD(warning);
  return object;
}

Napi::Object describe_process_slot(Napi::Env env) {
  using Struct = ProcessSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(life);
  DVK_FIELD(generation);
  DVK_FIELD(endpoint);
  DVK_FIELD(pid);
  DVK_FIELD(start_time);
  DVK_FIELD(node);
  DVK_FIELD(level);
  DVK_FIELD(cpu);
  DVK_FIELD(copy_partner);
  DVK_FIELD(name);
  DVK_FIELD(wake_id);
  DVK_FIELD(rendezvous);
  DVK_FIELD(sleeping);
  DVK_FIELD(want_source);
  DVK_FIELD(call_id);
  DVK_FIELD(ticket);
  DVK_FIELD(command_state);
  DVK_FIELD(remote_call);
  DVK_FIELD(wakeup);
  DVK_FIELD(lends);
  DVK_FIELD(copy_job);
  DVK_FIELD(inbox_call0);
  DVK_FIELD(inbox_call1);
  DVK_FIELD(async_busy);
  DVK_FIELD(thread);
  DVK_FIELD(inbox0);
  DVK_FIELD(inbox1);
  DVK_FIELD(outbox0);
  DVK_FIELD(outbox1);
  DVK_FIELD(command_kind);
  DVK_FIELD(command_result);
  DVK_FIELD(command_endpoint);
  DVK_FIELD(command_requester);
  DVK_FIELD(source_endpoint);
  DVK_FIELD(source_grant);
  DVK_FIELD(source_at);
  DVK_FIELD(destination_endpoint);
  DVK_FIELD(destination_grant);
  DVK_FIELD(destination_at);
  DVK_FIELD(copy_bytes);
  DVK_FIELD(command_call_id);
  DVK_FIELD(bind_flags);
  DVK_FIELD(sent);
  DVK_FIELD(received);
  DVK_FIELD(sent_remote);
  DVK_FIELD(notified);
  DVK_FIELD(copied_bytes);
  DVK_FIELD(waits);
  DVK_FIELD(lent_bytes);
  DVK_FIELD(wait_ticket);
  return object;
}

Napi::Object describe_privilege_slot(Napi::Env env) {
  using Struct = PrivilegeSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(rights);
  DVK_FIELD(held);
  DVK_FIELD(ipc_to);
  DVK_FIELD(ipc_from);
  return object;
}

Napi::Object describe_grant_slot(Napi::Env env) {
  using Struct = GrantSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(state);
  DVK_FIELD(grantee);
  DVK_FIELD(address);
  DVK_FIELD(bytes);
  DVK_FIELD(place);
  return object;
}

Napi::Object describe_async_slot(Napi::Env env) {
  using Struct = AsyncSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(word);
  DVK_FIELD(destination);
  DVK_FIELD(flags);
  DVK_FIELD(ticket);
  DVK_FIELD(call_id);
  DVK_FIELD(message);
  return object;
}

Napi::Object describe_copy_order(Napi::Env env) {
  using Struct = CopyOrder;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(address);
  DVK_FIELD(bytes);
  DVK_FIELD(direction);
  DVK_FIELD(error);
  DVK_FIELD(seal);
  DVK_FIELD(moved);
  return object;
}

Napi::Object describe_link_slot(Napi::Env env) {
  using Struct = LinkSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(state);
  DVK_FIELD(sleeping);
  DVK_FIELD(wake_id);
  DVK_FIELD(proxy_pid);
  DVK_FIELD(session);
  DVK_FIELD(proxy_start_time);
  DVK_FIELD(name);
  DVK_FIELD(sent);
  DVK_FIELD(received);
  DVK_FIELD(sent_bytes);
  DVK_FIELD(received_bytes);
  DVK_FIELD(dropped);
  DVK_FIELD(copies_in_parts);
  return object;
}

Napi::Object describe_extent(Napi::Env env) {
  using Struct = Extent;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(pages);
  DVK_FIELD(first_page);
  DVK_FIELD(owner);
  return object;
}

Napi::Object describe_command(Napi::Env env) {
  using Struct = Command;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(kind);
  DVK_FIELD(dc_id);
  DVK_FIELD(source);
  DVK_FIELD(destination);
  DVK_FIELD(source_node);
  DVK_FIELD(destination_node);
  DVK_FIELD(result);
  DVK_FIELD(call_id);
  DVK_FIELD(payload_bytes);
  DVK_FIELD(level);
  DVK_FIELD(requester);
  DVK_FIELD(requester_node);
  DVK_FIELD(copy_source);
  DVK_FIELD(copy_source_grant);
  DVK_FIELD(copy_source_at);
  DVK_FIELD(copy_destination);
  DVK_FIELD(copy_destination_grant);
  DVK_FIELD(copy_destination_at);
  DVK_FIELD(copy_bytes);
  DVK_FIELD(name);
  DVK_FIELD(copy_destination_node);
  DVK_FIELD(answers);
  DVK_FIELD(message);
  return object;
}

Napi::Object describe_trace_header(Napi::Env env) {
  using Struct = TraceHeader;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(session);
  DVK_FIELD(dirty);
  DVK_FIELD(lease);
  return object;
}

Napi::Object describe_trace_watcher(Napi::Env env) {
  using Struct = TraceWatcher;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(lease);
  return object;
}

Napi::Object describe_trace_ring(Napi::Env env) {
  using Struct = TraceRing;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(written);
  DVK_FIELD(session);
  DVK_FIELD(refused);
  return object;
}

Napi::Object describe_trace_event(Napi::Env env) {
  using Struct = TraceEvent;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(sequence);
  DVK_FIELD(check);
  DVK_FIELD(time);
  DVK_FIELD(duration);
  DVK_FIELD(bytes);
  DVK_FIELD(kind);
  DVK_FIELD(call);
  DVK_FIELD(flags);
  DVK_FIELD(how);
  DVK_FIELD(cpu);
  DVK_FIELD(endpoint);
  DVK_FIELD(peer);
  DVK_FIELD(type);
  DVK_FIELD(number);
  DVK_FIELD(result);
  DVK_FIELD(node);
  return object;
}

Napi::Object describe_probe(Napi::Env env) {
  using Struct = Probe;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(initiator);
  DVK_FIELD(initiator_node);
  DVK_FIELD(initiator_level);
  DVK_FIELD(stage);
  DVK_FIELD(call);
  DVK_FIELD(hops);
  DVK_FIELD(waits);
  DVK_FIELD(sends);
  DVK_FIELD(nonce);
  DVK_FIELD(digest);
  DVK_FIELD(ticket);
  return object;
}

Napi::Object describe_departure_slot(Napi::Env env) {
  using Struct = DepartureSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(number);
  DVK_FIELD(endpoint);
  DVK_FIELD(pid);
  DVK_FIELD(status);
  DVK_FIELD(level);
  DVK_FIELD(name);
  return object;
}

Napi::Object describe_migration_slot(Napi::Env env) {
  using Struct = MigrationSlot;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(state);
  DVK_FIELD(serial);
  DVK_FIELD(endpoint);
  DVK_FIELD(node);
  DVK_FIELD(deadline);
  DVK_FIELD(ticket);
  DVK_FIELD(end_ticket);
  DVK_FIELD(stopped);
  DVK_FIELD(result);
  DVK_FIELD(notices);
  DVK_FIELD(answer);
  DVK_FIELD(answer_to);
  DVK_FIELD(answer_serial);
  DVK_FIELD(answer_result);
  DVK_FIELD(claimed);
  DVK_FIELD(answer_ticket);
  DVK_FIELD(untold);
  DVK_FIELD(unanswered);
  DVK_FIELD(ended);
  return object;
}

Napi::Object describe_migrant(Napi::Env env) {
  using Struct = Migrant;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(rights);
  DVK_FIELD(ipc_to);
  DVK_FIELD(ipc_from);
  return object;
}

Napi::Object describe_migrant_notice(Napi::Env env) {
  using Struct = MigrantNotice;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(source);
  DVK_FIELD(node);
  DVK_FIELD(value);
  return object;
}

Napi::Object describe_remote_wait(Napi::Env env) {
  using Struct = RemoteWait;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(waiter);
  DVK_FIELD(target);
  DVK_FIELD(node);
  DVK_FIELD(call);
  DVK_FIELD(call_id);
  DVK_FIELD(level);
  DVK_FIELD(ticket);
  DVK_FIELD(waits);
  DVK_FIELD(sends);
  DVK_FIELD(digest);
  return object;
}

Napi::Object describe_search(Napi::Env env) {
  using Struct = Search;
  Napi::Object object = Napi::Object::New(env);
  object.Set("BYTES", sizeof(Struct));
  DVK_FIELD(seeker);
  DVK_FIELD(call_id);
  DVK_FIELD(slot);
  DVK_FIELD(endpoint);
  DVK_FIELD(home);
  return object;
}

Napi::Value js_abi_layout(Environment& environment) {
  const Napi::Env env = environment.env;
  Napi::Object object = Napi::Object::New(env);
  object.Set("SegmentHeader", describe_segment_header(env));
  object.Set("ProcessSlot", describe_process_slot(env));
  object.Set("PrivilegeSlot", describe_privilege_slot(env));
  object.Set("GrantSlot", describe_grant_slot(env));
  object.Set("AsyncSlot", describe_async_slot(env));
  object.Set("CopyOrder", describe_copy_order(env));
  object.Set("LinkSlot", describe_link_slot(env));
  object.Set("Extent", describe_extent(env));
  object.Set("Command", describe_command(env));
  object.Set("TraceHeader", describe_trace_header(env));
  object.Set("TraceWatcher", describe_trace_watcher(env));
  object.Set("TraceRing", describe_trace_ring(env));
  object.Set("TraceEvent", describe_trace_event(env));
  object.Set("DepartureSlot", describe_departure_slot(env));
  object.Set("MigrationSlot", describe_migration_slot(env));
  object.Set("Migrant", describe_migrant(env));
  object.Set("MigrantNotice", describe_migrant_notice(env));
  object.Set("Probe", describe_probe(env));
  object.Set("RemoteWait", describe_remote_wait(env));
  object.Set("Search", describe_search(env));
  return object;
}

}  // namespace

void register_layout(Napi::Object exports, Environment* environment) {
  define(exports, environment, {{"abiLayout", method<js_abi_layout>}});
}

}  // namespace dvk::binding
