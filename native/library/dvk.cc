// The C interface: checks arguments and forwards to the core. Contracts are in dvk.h.
//
// Nothing here throws: code is compiled without exceptions, and allocations of the handles are
// checked.

#include "dvk.h"

#include <errno.h>
#include <string.h>

#include <new>
#include <string>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "../core/senda.h"
#include "../core/vcopy.h"
#include "handles.h"

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
#define HAS_STRERRORNAME
#endif
#endif

namespace {

using dvk::Message;

static_assert(sizeof(dvk_message) == sizeof(Message));
static_assert(DVK_KIND_SEND == static_cast<int>(dvk::MessageKind::kSend));
static_assert(DVK_KIND_CALL == static_cast<int>(dvk::MessageKind::kCall));
static_assert(DVK_KIND_NOTIFY == static_cast<int>(dvk::MessageKind::kNotify));
static_assert(DVK_KIND_ASYNC == static_cast<int>(dvk::MessageKind::kAsync));
static_assert(DVK_PENDING == dvk::kPending);
static_assert(DVK_FILTER_RULES == dvk::kFilterRules);
static_assert(DVK_MATCH_SOURCE == dvk::FilterRule::kSource);
static_assert(DVK_MATCH_TYPE == dvk::FilterRule::kType);
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets one");

// Grants below this name memory in ways that are the core's own.
constexpr int32_t kByAddress = -1;
constexpr size_t kReasonBytes = 128;

thread_local char open_reason[kReasonBytes] = "";

// A caller's message may lie at any address, the core's are aligned.
Message read_message(const dvk_message* message) {
  Message result;
  memcpy(&result, message, sizeof result);
  return result;
}

int write_message(dvk_message* message, const Message& from, int result) {
  if (result == 0) memcpy(message, &from, sizeof from);
  return result;
}

// A party may be null memory of the caller only when nothing is copied.
bool is_party(const dvk_process* process, const dvk_party* party, uint64_t bytes) {
  if (party == nullptr || party->grant < kByAddress) return false;
  const bool own = party->endpoint == DVK_SELF || party->endpoint == process->core->endpoint;
  return !own || party->grant != kByAddress || party->at != 0 || bytes == 0;
}

dvk::CopyParty core_party(const dvk_party* party) {
  return {party->endpoint, party->grant, party->at};
}

struct ErrorRow {
  int number;
  const char* name;
  const char* sentence;
};

constexpr ErrorRow kErrors[] = {
#define DVK_ROW(name, number, sentence) {number, #name, sentence},
    DVK_ERRORS(DVK_ROW)
#undef DVK_ROW
};

const ErrorRow* find_error(int64_t number) {
  for (const ErrorRow& row : kErrors) {
    if (row.number == number) return &row;
  }
  return nullptr;
}

// What the C library calls an error of errno.h; null when it knows none.
const char* posix_name(int number) {
#ifdef HAS_STRERRORNAME
  return strerrorname_np(number);
#else
  static_cast<void>(number);
  return nullptr;
#endif
}

// Unlike strerror, strerrordesc_np is safe in threads and speaks English only.
const char* posix_sentence(int number) {
#ifdef HAS_STRERRORNAME
  return strerrordesc_np(number);
#else
  return strerror(number);
#endif
}

// POSIX errors are below 200, and ours above.
bool is_posix(int64_t number) {
  return number > 0 && number < 200;
}

int64_t magnitude(int64_t error) {
  return error < 0 && error != INT64_MIN ? -error : error;
}

}  // namespace

uint32_t dvk_abi_version(void) {
  return dvk::kAbiVersion;
}

const char* dvk_strerror(int64_t error) {
  if (error == 0) return "no error";
  const int64_t number = magnitude(error);
  const ErrorRow* row = find_error(number);
  if (row != nullptr) return row->sentence;
  const char* sentence = is_posix(number) ? posix_sentence(static_cast<int>(number)) : nullptr;
  return sentence == nullptr ? "unknown error" : sentence;
}

const char* dvk_error_name(int64_t error) {
  const int64_t number = magnitude(error);
  const ErrorRow* row = find_error(number);
  if (row != nullptr) return row->name;
  const char* name = is_posix(number) ? posix_name(static_cast<int>(number)) : nullptr;
  return name == nullptr ? "" : name;
}

int dvk_open(const char* path, dvk_segment** segment) {
  open_reason[0] = 0;
  if (path == nullptr || segment == nullptr) return -EINVAL;
  std::string reason;
  dvk::Segment* core = nullptr;
  const int error = dvk::Segment::open(path, &core, &reason);
  strncpy(open_reason, reason.c_str(), kReasonBytes - 1);
  if (error != 0) return error;
  std::unique_ptr<dvk::Segment> owned(core);
  auto* handle = new (std::nothrow) dvk_segment;
  if (handle == nullptr) return -ENOMEM;
  handle->core = std::move(owned);
  *segment = handle;
  return 0;
}

const char* dvk_open_reason(void) {
  return open_reason;
}

int dvk_close(dvk_segment* segment) {
  if (segment == nullptr) return -EINVAL;
  if (segment->bound.load() != 0) return -EBUSY;
  delete segment;
  return 0;
}

int dvk_node_id(const dvk_segment* segment) {
  return segment == nullptr ? -EINVAL : static_cast<int>(segment->core->node_id());
}

int dvk_dc_id(const dvk_segment* segment) {
  return segment == nullptr ? -EINVAL : static_cast<int>(segment->core->dc_id());
}

int dvk_slots(const dvk_segment* segment) {
  return segment == nullptr ? -EINVAL : static_cast<int>(segment->core->processes());
}

int32_t dvk_lookup(const dvk_segment* segment, int slot) {
  if (segment == nullptr) return -EINVAL;
  if (slot < 0) return -dvk::EDVSBADPROC;
  return dvk::lookup(*segment->core, static_cast<uint32_t>(slot));
}

int dvk_check_endpoint(const dvk_segment* segment, int32_t endpoint) {
  if (segment == nullptr) return -EINVAL;
  uint32_t slot = 0;
  return dvk::check_endpoint(*segment->core, endpoint, &slot);
}

int dvk_wakeup(dvk_segment* segment, int32_t endpoint) {
  return segment == nullptr ? -EINVAL : dvk::wakeup(*segment->core, endpoint);
}

void* dvk_arena_at(const dvk_segment* segment, uint64_t offset, uint64_t bytes) {
  if (segment == nullptr) return nullptr;
  const uint64_t size = segment->core->arena_bytes();
  if (offset > size || bytes > size - offset) return nullptr;
  return segment->core->arena() + offset;
}

int dvk_unbind(dvk_process* process) {
  if (process == nullptr) return -EINVAL;
  const int result = process->core->unbind();
  if (result != 0 && result != -dvk::EDVSNOTBOUND) return result;
  dvk_segment* owner = process->owner;
  delete process;
  owner->bound--;
  return result;
}

int32_t dvk_endpoint(const dvk_process* process) {
  return process == nullptr ? -EINVAL : process->core->endpoint;
}

int dvk_last_kind(const dvk_process* process) {
  return process == nullptr ? -EINVAL : static_cast<int>(process->core->last_kind);
}

int dvk_send(dvk_process* process, int32_t destination, const dvk_message* message,
             int64_t timeout_ms) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::send(*process->core, destination, read_message(message), timeout_ms);
}

int dvk_receive(dvk_process* process, int32_t source, dvk_message* message, int64_t timeout_ms) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  Message received;
  const int result = dvk::receive(*process->core, source, &received, timeout_ms);
  return write_message(message, received, result);
}

int dvk_sendrec(dvk_process* process, int32_t destination, dvk_message* message,
                int64_t timeout_ms) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  Message exchanged = read_message(message);
  const int result = dvk::sendrec(*process->core, destination, &exchanged, timeout_ms);
  return write_message(message, exchanged, result);
}

int dvk_rcvrqst(dvk_process* process, dvk_message* message, int64_t timeout_ms) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  Message received;
  const int result = dvk::rcvrqst(*process->core, &received, timeout_ms);
  return write_message(message, received, result);
}

int dvk_reply(dvk_process* process, int32_t destination, const dvk_message* message) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::reply(*process->core, destination, read_message(message));
}

uint32_t dvk_last_call(const dvk_process* process) {
  return process == nullptr ? 0 : process->core->last_call;
}

int dvk_reply_to(dvk_process* process, int32_t destination, uint32_t call,
                 const dvk_message* message) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::reply_to(*process->core, destination, call, read_message(message));
}

int dvk_reply_receive(dvk_process* process, int32_t destination, dvk_message* message,
                      int64_t timeout_ms) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  Message exchanged = read_message(message);
  const int result = dvk::reply_receive(*process->core, destination, &exchanged, timeout_ms);
  return write_message(message, exchanged, result);
}

int dvk_notify(dvk_process* process, int32_t destination) {
  return process == nullptr ? -EINVAL : dvk::notify(*process->core, destination);
}

int32_t dvk_senda(dvk_process* process, int32_t destination, const dvk_message* message,
                  unsigned flags) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::senda(*process->core, destination, read_message(message), flags);
}

int dvk_senda_status(dvk_process* process, int32_t id) {
  return process == nullptr ? -EINVAL : dvk::senda_status(*process->core, id);
}

int dvk_senda_cancel(dvk_process* process, int32_t id) {
  return process == nullptr ? -EINVAL : dvk::senda_cancel(*process->core, id);
}

int dvk_set_filter(dvk_process* process, int allow, const dvk_filter_rule* rules, uint32_t count) {
  if (process == nullptr || count > DVK_FILTER_RULES || (count > 0 && rules == nullptr)) {
    return -EINVAL;
  }
  dvk::FilterRule core[DVK_FILTER_RULES];
  for (uint32_t i = 0; i < count; i++) core[i] = {rules[i].match, rules[i].source, rules[i].type};
  return dvk::set_filter(*process->core, allow != 0, core, count);
}

int dvk_clear_filter(dvk_process* process) {
  return process == nullptr ? -EINVAL : dvk::clear_filter(*process->core);
}

int dvk_notify_from(dvk_process* process, int32_t destination, int32_t source, uint32_t value) {
  return process == nullptr ? -EINVAL
                            : dvk::notify_from(*process->core, destination, source, value);
}

int dvk_notify_kernel(dvk_segment* segment, int32_t destination, uint32_t value) {
  return segment == nullptr ? -EINVAL : dvk::notify_kernel(*segment->core, destination, value);
}

uint32_t dvk_notify_value(const dvk_message* message) {
  uint32_t value = 0;
  if (message != nullptr) memcpy(&value, message->payload, sizeof value);
  return value;
}

int dvk_relay(dvk_process* process, int32_t client, int32_t destination,
              const dvk_message* message) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::relay(*process->core, client, destination, read_message(message));
}

int dvk_relay_to(dvk_process* process, int32_t client, uint32_t call, int32_t destination,
                 const dvk_message* message) {
  if (process == nullptr || message == nullptr) return -EINVAL;
  return dvk::relay_to(*process->core, client, call, destination, read_message(message));
}

int32_t dvk_wait_bind(dvk_process* process, int slot, int64_t timeout_ms) {
  if (process == nullptr) return -EINVAL;
  if (slot < 0) return -dvk::EDVSBADPROC;
  return dvk::wait_bind(*process->core, static_cast<uint32_t>(slot), timeout_ms);
}

int dvk_wait_unbind(dvk_process* process, int32_t endpoint, int64_t timeout_ms) {
  return process == nullptr ? -EINVAL : dvk::wait_unbind(*process->core, endpoint, timeout_ms);
}

void dvk_interrupt(void) {
  dvk::interrupted.store(true);
}

int dvk_clear_interrupt(void) {
  return dvk::interrupted.exchange(false) ? 1 : 0;
}

int64_t dvk_arena_allocate(dvk_process* process, uint64_t bytes, void** address) {
  if (process == nullptr || address == nullptr) return -EINVAL;
  const int64_t offset = dvk::arena_allocate(*process->core, bytes);
  if (offset >= 0) *address = process->owner->core->arena() + offset;
  return offset;
}

int dvk_arena_free(dvk_process* process, uint64_t offset) {
  return process == nullptr ? -EINVAL : dvk::arena_free(*process->core, offset);
}

int32_t dvk_grant(dvk_process* process, void* address, uint64_t bytes, unsigned rights,
                  int32_t grantee) {
  if (process == nullptr || address == nullptr) return -EINVAL;
  return dvk::grant(*process->core, address, bytes, rights, grantee);
}

int32_t dvk_grant_indirect(dvk_process* process, int32_t granter, int32_t grant, unsigned rights,
                           int32_t grantee) {
  if (process == nullptr) return -EINVAL;
  return dvk::grant_indirect(*process->core, granter, grant, rights, grantee);
}

int dvk_revoke(dvk_process* process, int32_t grant) {
  return process == nullptr ? -EINVAL : dvk::revoke(*process->core, grant);
}

int64_t dvk_vcopy(dvk_process* process, const dvk_party* source, const dvk_party* destination,
                  uint64_t bytes, int64_t timeout_ms) {
  if (process == nullptr || !is_party(process, source, bytes) ||
      !is_party(process, destination, bytes)) {
    return -EINVAL;
  }
  return dvk::vcopy(*process->core, core_party(source), core_party(destination), bytes, timeout_ms);
}

int64_t dvk_vcopy_vector(dvk_process* process, const dvk_copy_element* elements, uint32_t count,
                         int64_t timeout_ms) {
  if (process == nullptr || (elements == nullptr && count != 0)) return -EINVAL;
  if (count > dvk::kCopyElementsMax) return -ERANGE;
  dvk::CopyElement core[dvk::kCopyElementsMax];
  for (uint32_t i = 0; i < count; i++) {
    const dvk_copy_element& each = elements[i];
    if (!is_party(process, &each.source, each.bytes) ||
        !is_party(process, &each.destination, each.bytes)) {
      return -EINVAL;
    }
    core[i] = {core_party(&each.source), core_party(&each.destination), each.bytes};
  }
  return dvk::vcopy_vector(*process->core, core, count, timeout_ms);
}

uint64_t dvk_copied(const dvk_process* process) {
  return process == nullptr ? 0 : process->core->copied;
}
