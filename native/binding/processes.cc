// Binding and unbinding of processes, of this node and of others.

#include <cerrno>

#include "../core/migrate.h"
#include "../core/notify.h"
#include "../core/rseq.h"
#include "../core/standby.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

bool is_level(uint32_t level) {
  return level <= static_cast<uint32_t>(ProcessLevel::kKernel);
}

// The numbers of a bind: slot or -1, level, BindKind, endpoint, node, 1 for NOMIGRATE.
int read_options(Words numbers, const std::string& name, BindOptions* options) {
  if (numbers.length != 6 || name.size() >= kNameBytes) return -EINVAL;
  const uint32_t level = static_cast<uint32_t>(numbers.data[1]);
  const uint32_t kind = static_cast<uint32_t>(numbers.data[2]);
  if (!is_level(level) || kind > static_cast<uint32_t>(BindKind::kBackup)) return -EINVAL;
  if (numbers.data[0] < -1) return -EDVSBADPROC;
  options->slot = numbers.data[0];
  options->level = static_cast<ProcessLevel>(level);
  options->kind = static_cast<BindKind>(kind);
  options->endpoint = numbers.data[3];
  options->node = static_cast<uint32_t>(numbers.data[4]);
  options->no_migrate = numbers.data[5] != 0;
  options->name = name.c_str();
  return 0;
}

int add_process(Environment& environment, std::shared_ptr<Segment> segment, Process* process) {
  auto bound = std::make_shared<BoundProcess>();
  bound->owner = std::move(segment);
  bound->process.reset(process);
  bound->window = std::make_shared<Window>();
  bound->handle = environment.processes.add(bound);
  const int32_t handle = bound->handle;
  if (handle < 0) unbind_process(*bound);
  leave_rseq();
  return handle;
}

// bind(segment, numbers, name, pid or 0) -> process
int js_bind(Environment& environment, std::shared_ptr<Segment> segment, Words numbers,
            std::string name, int32_t pid) {
  BindOptions options;
  options.pid = pid;
  Process* process = nullptr;
  int error = pid < 0 ? -EINVAL : read_options(numbers, name, &options);
  if (error == 0) error = Process::bind(*segment, options, &process);
  return error < 0 ? error : add_process(environment, std::move(segment), process);
}

int32_t js_bind_for(Segment& segment, int32_t pid, Words numbers, std::string name) {
  if (pid <= 0) return -EINVAL;
  BindOptions options;
  const int error = read_options(numbers, name, &options);
  options.pid = pid;
  return error < 0 ? error : bind_for(segment, options);
}

int js_adopt(Environment& environment, std::shared_ptr<Segment> segment, Timeout timeout) {
  Process* process = nullptr;
  const int error = Process::adopt(*segment, timeout.ms, &process);
  return error < 0 ? error : add_process(environment, std::move(segment), process);
}

int js_count_bound(Segment& segment) {
  return static_cast<int>(count_bound(segment));
}

int js_unbind(Environment& environment, BoundProcess& given) {
  const std::shared_ptr<BoundProcess> bound = environment.processes.remove(given.handle);
  Waker* waker = environment.wakers.find(bound->waker);
  if (waker != nullptr) std::erase(waker->pending, bound->handle);
  return unbind_process(*bound);
}

int32_t js_process_endpoint(Process& process) {
  return process.endpoint;
}

// The window is referenced by its ArrayBuffer and by the process, so either may end first.
Napi::Value js_process_window(Environment& environment, BoundProcess& bound) {
  return shared_buffer(environment.env, bound.window, bound.window.get(), sizeof(Window));
}

int js_bind_remote(Segment& segment, int32_t endpoint, uint32_t node, uint32_t level,
                   std::string name) {
  if (!is_level(level) || name.size() >= kNameBytes) return -EINVAL;
  return bind_remote(segment, endpoint, node, static_cast<ProcessLevel>(level), name.c_str());
}

int js_check_endpoint(Segment& segment, int32_t endpoint) {
  uint32_t slot = 0;
  return check_endpoint(segment, endpoint, &slot);
}

int js_reap(Segment& segment, uint32_t slot, int32_t endpoint) {
  return reap(segment, slot, endpoint, kRepairLockMs);
}

int js_migrate_start(Segment& segment, int32_t endpoint, Timeout timeout) {
  return timeout.ms < 0 ? -EINVAL : migrate_start(segment, endpoint, timeout.ms);
}

int js_has_unbound(Segment& segment, int32_t endpoint) {
  return has_unbound(segment, endpoint) ? 1 : 0;
}

Napi::Value js_find_departure(Environment& environment, Segment& segment, double number) {
  Departure departure{};
  if (!(number >= 0 && number < 0x1p53) ||
      !find_departure(segment, static_cast<uint64_t>(number), &departure)) {
    return environment.env.Undefined();
  }
  Napi::Object object = Napi::Object::New(environment.env);
  object.Set("number", static_cast<double>(departure.number));
  object.Set("endpoint", departure.endpoint);
  object.Set("pid", departure.pid);
  object.Set("status", departure.status);
  object.Set("level", departure.level);
  object.Set("name", std::string(departure.name));
  return object;
}

Napi::Value js_migration(Environment& environment, Segment& segment, int32_t endpoint) {
  MigrationInfo migration{};
  const int error = migration_info(segment, endpoint, &migration);
  if (error != 0) return Napi::Number::New(environment.env, error);
  Napi::Object object = Napi::Object::New(environment.env);
  object.Set("state", migration.state);
  object.Set("serial", migration.serial);
  object.Set("node", migration.node);
  object.Set("result", migration.result);
  return object;
}

}  // namespace

void register_processes(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"bind", method<js_bind>},
             {"bindFor", method<js_bind_for>},
             {"askToUnbind", method<ask_to_unbind>},
             {"hasUnbound", method<js_has_unbound>},
             {"setWarned", method<set_warned>},
             {"findDeparture", method<js_find_departure>},
             {"adopt", method<js_adopt>},
             {"promote", method<promote>},
             {"countBound", method<js_count_bound>},
             {"unbind", method<js_unbind>},
             {"processEndpoint", method<js_process_endpoint>},
             {"processWindow", method<js_process_window>},
             {"bindRemote", method<js_bind_remote>},
             {"unbindRemote", method<unbind_remote>},
             {"lookup", method<lookup>},
             {"findPid", method<find_pid>},
             {"checkEndpoint", method<js_check_endpoint>},
             {"reap", method<js_reap>},
             {"migrateStart", method<js_migrate_start>},
             {"migrateCommit", method<migrate_commit>},
             {"migrateRollback", method<migrate_rollback>},
             {"migration", method<js_migration>},
             {"wakeup", method<wakeup>},
             {"notifyKernel", method<notify_kernel>},
         });
}

}  // namespace dvk::binding
