// Every kind of bind, and the end of a DC.

#include <errno.h>
#include <string.h>

#include <new>

#include "../core/migrate.h"
#include "../core/standby.h"
#include "handles.h"

namespace {

static_assert(DVK_BIND_PROCESS == static_cast<int>(dvk::BindKind::kProcess));
static_assert(DVK_BIND_THREAD == static_cast<int>(dvk::BindKind::kThread));
static_assert(DVK_BIND_REPLICA == static_cast<int>(dvk::BindKind::kReplica));
static_assert(DVK_BIND_BACKUP == static_cast<int>(dvk::BindKind::kBackup));
static_assert(DVK_UNBOUND == dvk::kUnbound && DVK_ENDED == dvk::kEnded);

bool is_name(const char* name) {
  return name != nullptr && strnlen(name, dvk::kNameBytes) < dvk::kNameBytes;
}

bool is_level(int level) {
  return level >= DVK_LEVEL_USER && level <= DVK_LEVEL_KERNEL;
}

// What the core is to be told, or an error.
int read_options(const dvk_bind_options* given, dvk::BindOptions* options) {
  if (given == nullptr || !is_name(given->name) || !is_level(given->level)) return -EINVAL;
  if (given->kind < DVK_BIND_PROCESS || given->kind > DVK_BIND_BACKUP) return -EINVAL;
  if (given->slot < -1) return -dvk::EDVSBADPROC;
  if (given->kind == DVK_BIND_BACKUP && given->node < 0) return -dvk::EDVSBADNODEID;
  options->kind = static_cast<dvk::BindKind>(given->kind);
  options->slot = given->slot;
  options->endpoint = given->endpoint;
  options->node = static_cast<uint32_t>(given->node);
  options->level = static_cast<dvk::ProcessLevel>(given->level);
  if ((given->flags & ~DVK_BOUND_NOMIGRATE) != 0) return -EINVAL;
  options->no_migrate = given->flags != 0;
  options->name = given->name;
  return 0;
}

// Makes the handle of what `bind` returns.
template <typename Bind>
int make_process(dvk_segment* segment, dvk_process** process, Bind bind) {
  std::unique_ptr<dvk_process> handle(new (std::nothrow) dvk_process{segment, nullptr});
  if (handle == nullptr) return -ENOMEM;
  dvk::Process* core = nullptr;
  const int error = bind(&core);
  if (error != 0) return error;
  handle->core.reset(core);
  segment->bound++;
  *process = handle.release();
  return 0;
}

}  // namespace

int dvk_bind(dvk_segment* segment, int slot, int level, const char* name, dvk_process** process) {
  const dvk_bind_options options = {DVK_BIND_PROCESS, slot, 0, 0, level, 0, name};
  return dvk_bind_as(segment, &options, process);
}

int dvk_bind_as(dvk_segment* segment, const dvk_bind_options* given, dvk_process** process) {
  if (segment == nullptr || process == nullptr) return -EINVAL;
  dvk::BindOptions options;
  const int error = read_options(given, &options);
  if (error != 0) return error;
  return make_process(segment, process, [&](dvk::Process** core) {
    return dvk::Process::bind(*segment->core, options, core);
  });
}

int32_t dvk_bind_for(dvk_segment* segment, int pid, const dvk_bind_options* given) {
  if (segment == nullptr || pid <= 0) return -EINVAL;
  dvk::BindOptions options;
  const int error = read_options(given, &options);
  if (error != 0) return error;
  options.pid = pid;
  return dvk::bind_for(*segment->core, options);
}

int dvk_unbind_for(dvk_segment* segment, int32_t endpoint, int64_t timeout_ms) {
  return segment == nullptr ? -EINVAL : dvk::unbind_for(*segment->core, endpoint, timeout_ms);
}

int dvk_set_warned(dvk_segment* segment, int32_t endpoint, uint32_t value) {
  return segment == nullptr ? -EINVAL : dvk::set_warned(*segment->core, endpoint, value);
}

int dvk_find_departure(const dvk_segment* segment, uint64_t number, dvk_departure* departure) {
  if (segment == nullptr || departure == nullptr) return -EINVAL;
  dvk::Departure found{};
  if (!dvk::find_departure(*segment->core, number, &found)) return 0;
  departure->number = found.number;
  departure->endpoint = found.endpoint;
  departure->pid = found.pid;
  departure->status = found.status;
  departure->level = static_cast<int32_t>(found.level);
  memcpy(departure->name, found.name, sizeof departure->name);
  return 1;
}

int dvk_adopt(dvk_segment* segment, int64_t timeout_ms, dvk_process** process) {
  if (segment == nullptr || process == nullptr) return -EINVAL;
  return make_process(segment, process, [&](dvk::Process** core) {
    return dvk::Process::adopt(*segment->core, timeout_ms, core);
  });
}

int dvk_bind_remote(dvk_segment* segment, int32_t endpoint, int node, int level, const char* name) {
  if (segment == nullptr || !is_name(name) || !is_level(level)) return -EINVAL;
  if (node < 0) return -dvk::EDVSBADNODEID;
  return dvk::bind_remote(*segment->core, endpoint, static_cast<uint32_t>(node),
                          static_cast<dvk::ProcessLevel>(level), name);
}

int dvk_unbind_remote(dvk_segment* segment, int32_t endpoint) {
  return segment == nullptr ? -EINVAL : dvk::unbind_remote(*segment->core, endpoint);
}

int dvk_promote(dvk_segment* segment, int32_t endpoint) {
  return segment == nullptr ? -EINVAL : dvk::promote(*segment->core, endpoint);
}

int dvk_migrate(dvk_segment* segment, int32_t endpoint, int node, int64_t timeout_ms) {
  if (segment == nullptr || timeout_ms < 0) return -EINVAL;
  if (node < 0) return -dvk::EDVSBADNODEID;
  return dvk::migrate(*segment->core, endpoint, static_cast<uint32_t>(node), timeout_ms);
}

int dvk_migrate_start(dvk_segment* segment, int32_t endpoint, int64_t timeout_ms) {
  if (segment == nullptr || timeout_ms < 0) return -EINVAL;
  return dvk::migrate_start(*segment->core, endpoint, timeout_ms);
}

int dvk_migrate_commit(dvk_segment* segment, int32_t endpoint, int node) {
  if (segment == nullptr) return -EINVAL;
  if (node < 0) return -dvk::EDVSBADNODEID;
  return dvk::migrate_commit(*segment->core, endpoint, static_cast<uint32_t>(node));
}

int dvk_migrate_rollback(dvk_segment* segment, int32_t endpoint) {
  return segment == nullptr ? -EINVAL : dvk::migrate_rollback(*segment->core, endpoint);
}

int dvk_end(dvk_segment* segment) {
  if (segment == nullptr) return -EINVAL;
  dvk::end_container(*segment->core);
  return 0;
}

int dvk_wait_unbound(dvk_segment* segment, int64_t timeout_ms) {
  return segment == nullptr ? -EINVAL : dvk::wait_none_bound(*segment->core, timeout_ms);
}
