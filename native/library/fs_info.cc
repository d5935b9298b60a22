// What the attributes of files and the space of the volume do not tell: flags, the time of birth,
// who has a lock, and the quota.

#include <errno.h>
#include <unistd.h>

#include "fs.h"

using dvk::files::Call;
using dvk::files::Range;

namespace {

template <typename Request>
int ask(dvk_fs* fs, const char* path, int32_t type, Request request, Call* call) {
  dvk_fs_attributes file;
  const int error = dvk::files::find_file(fs, path, true, &file);
  if (error != 0) return error;
  request.inode = file.inode;
  request.generation = file.generation;
  call->put(type, request, true);
  return static_cast<int>(fs->perform(call));
}

}  // namespace

int dvk_fs_get_info(dvk_fs* fs, const char* path, dvk_fs_info* info) {
  if (info == nullptr) return -EINVAL;
  Call call;
  const int error = ask(fs, path, DVK_FS_CALL_INFO, dvk_fs_info_request{}, &call);
  if (error != 0) return error;
  const auto answer = call.answer<dvk_fs_info_answer>();
  *info = {answer.flags, answer.has_born, dvk::files::unpack_time(answer.born)};
  return 0;
}

int dvk_fs_set_flags(dvk_fs* fs, const char* path, uint32_t flags, uint32_t mask) {
  dvk_fs_set_flags_request request = {};
  request.flags = flags;
  request.mask = mask;
  Call call;
  return ask(fs, path, DVK_FS_CALL_SET_FLAGS, request, &call);
}

int dvk_fs_get_lock(dvk_fs_file* file, int kind, int type, uint64_t start, uint64_t end,
                    dvk_fs_lock_info* lock) {
  if (file == nullptr || lock == nullptr || kind < 0 || kind > 1 || start > end) return -EINVAL;
  if (type != DVK_FS_LOCK_TYPE_READ && type != DVK_FS_LOCK_TYPE_WRITE) return -EINVAL;
  const Range range = {static_cast<uint16_t>(type), start, end};
  Call call;
  call.put(DVK_FS_CALL_LOCK, dvk::files::lock_request(*file, DVK_FS_LOCK_GET, kind, range), true);
  const int64_t result = file->fs->perform(&call);
  if (result != 0) return static_cast<int>(result);
  const auto answer = call.answer<dvk_fs_lock_answer>();
  *lock = {answer.lock_type, answer.pid, answer.start, answer.end};
  return 0;
}

int dvk_fs_get_quota(dvk_fs* fs, dvk_fs_quota* quota) {
  if (fs == nullptr || quota == nullptr) return -EINVAL;
  Call call;
  call.put_reading(DVK_FS_CALL_QUOTA, {});
  const int64_t result = fs->perform(&call);
  if (result != 0) return static_cast<int>(result);
  const auto answer = call.answer<dvk_fs_quota_answer>();
  const bool has_bytes = (answer.limits & DVK_FS_QUOTA_BYTES) != 0;
  const bool has_inodes = (answer.limits & DVK_FS_QUOTA_INODES) != 0;
  *quota = {has_bytes ? answer.bytes : UINT64_MAX, answer.bytes_used,
            has_inodes ? answer.inodes : UINT64_MAX, answer.inodes_used};
  return 0;
}
