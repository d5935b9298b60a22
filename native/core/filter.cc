#include "filter.h"

#include <errno.h>

#include "ipc.h"

namespace dvk {

int set_filter(Process& process, bool allow, const FilterRule* rules, size_t count) {
  Filter filter;
  if (!filter.set(allow, rules, count)) return -EINVAL;
  if (process.operation.stage != Operation::Stage::kNone) return -EBUSY;
  process.filter = filter;
  return 0;
}

int clear_filter(Process& process) {
  if (process.operation.stage != Operation::Stage::kNone) return -EBUSY;
  process.filter.clear();
  return 0;
}

}  // namespace dvk
