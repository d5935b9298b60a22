// Sizes and offsets of the shared structs as this compiler sees them.
//
// The other half of the generator's assertions: a test compares these with the constants that
// TypeScript uses.

#include <cstddef>

#include "arguments.h"
#include "objects.h"
#include "registers.h"

#define DVK_FIELD(name) object.set(#name, static_cast<double>(offsetof(Struct, name)))

namespace dvk::binding {
namespace {

napi_value describe_segment_header(napi_env env) {
  using Struct = SegmentHeader;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
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
  DVK_FIELD(table_lock);
  DVK_FIELD(monitor_wake);
  DVK_FIELD(ticket);
  return object.value();
}

napi_value describe_process_slot(napi_env env) {
  using Struct = ProcessSlot;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
  DVK_FIELD(life);
  DVK_FIELD(generation);
  DVK_FIELD(endpoint);
  DVK_FIELD(pid);
  DVK_FIELD(start_time);
  DVK_FIELD(node);
  DVK_FIELD(level);
  DVK_FIELD(cpu);
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
  DVK_FIELD(sent);
  DVK_FIELD(received);
  DVK_FIELD(sent_remote);
  DVK_FIELD(notified);
  DVK_FIELD(copied_bytes);
  DVK_FIELD(waits);
  return object.value();
}

napi_value describe_grant_slot(napi_env env) {
  using Struct = GrantSlot;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
  DVK_FIELD(state);
  DVK_FIELD(grantee);
  DVK_FIELD(address);
  DVK_FIELD(bytes);
  DVK_FIELD(place);
  return object.value();
}

napi_value describe_link_slot(napi_env env) {
  using Struct = LinkSlot;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
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
  return object.value();
}

napi_value describe_extent(napi_env env) {
  using Struct = Extent;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
  DVK_FIELD(pages);
  DVK_FIELD(first_page);
  DVK_FIELD(owner);
  return object.value();
}

napi_value describe_command(napi_env env) {
  using Struct = Command;
  Object object(env);
  object.set("BYTES", static_cast<double>(sizeof(Struct)));
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
  DVK_FIELD(message);
  return object.value();
}

napi_value js_abi_layout(napi_env env, napi_callback_info) {
  Object object(env);
  object.set("SegmentHeader", describe_segment_header(env));
  object.set("ProcessSlot", describe_process_slot(env));
  object.set("GrantSlot", describe_grant_slot(env));
  object.set("LinkSlot", describe_link_slot(env));
  object.set("Extent", describe_extent(env));
  object.set("Command", describe_command(env));
  return object.value();
}

}  // namespace

bool register_layout(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment, {{"abiLayout", js_abi_layout}});
}

}  // namespace dvk::binding
