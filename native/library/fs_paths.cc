// Paths of a volume: how they are followed, and the calls that take one.

#include <errno.h>
#include <sys/stat.h>

#include "fs.h"

using dvk::files::Call;
using dvk::files::find;
using dvk::files::find_file;
using dvk::files::Found;
using dvk::files::put_names;

namespace dvk::files {
namespace {

constexpr int kLinksMax = 40;
constexpr size_t kPathBytesMax = 4096;

int look_up(dvk_fs* fs, const dvk_fs_attributes& parent, std::string_view name,
            dvk_fs_attributes* file) {
  dvk_fs_reading_request request = {};
  request.inode = parent.inode;
  request.generation = parent.generation;
  request.name_bytes = static_cast<uint32_t>(name.size());
  Call call;
  put_names(&request, &call, name);
  call.put_reading(DVK_FS_CALL_LOOKUP, request);
  const int64_t result = fs->perform(&call);
  if (result == 0) *file = call.attributes();
  return static_cast<int>(result);
}

int get_root(dvk_fs* fs, dvk_fs_attributes* root) {
  dvk_fs_reading_request request = {};
  request.inode = DVK_FS_ROOT_INODE;
  Call call;
  call.put_reading(DVK_FS_CALL_GETATTR, request);
  const int64_t result = fs->perform(&call);
  if (result == 0) *root = call.attributes();
  return static_cast<int>(result);
}

int64_t read_target(dvk_fs* fs, const dvk_fs_attributes& link, char* buffer, uint64_t bytes) {
  dvk_fs_reading_request request = {};
  request.inode = link.inode;
  request.generation = link.generation;
  request.grant_bytes = static_cast<uint32_t>(bytes);
  Call call;
  call.put_reading(DVK_FS_CALL_READLINK, request);
  call.lend(buffer, bytes, DVK_RIGHT_WRITE);
  const int64_t result = fs->perform(&call);
  return result > static_cast<int64_t>(bytes) ? -EIO : result;
}

// What is left of a path: the next name is taken from its front.
class Rest {
 public:
  explicit Rest(std::string_view path) : path_(path) {}

  bool take(std::string_view* name) {
    const size_t from = path_.find_first_not_of('/', at_);
    if (from == std::string::npos) return false;
    const size_t to = path_.find('/', from);
    at_ = to == std::string::npos ? path_.size() : to;
    *name = std::string_view(path_).substr(from, at_ - from);
    return true;
  }

  bool is_last() const {
    return path_.find_first_not_of('/', at_) == std::string::npos;
  }
  bool ends_with_slash() const {
    return at_ < path_.size();
  }

  // The target of a link takes the place of its name.
  int expand(std::string_view target) {
    std::string whole(target);
    whole.append(path_, at_);
    if (whole.size() > kPathBytesMax) return -ENAMETOOLONG;
    path_ = std::move(whole);
    at_ = 0;
    return 0;
  }

 private:
  std::string path_;
  size_t at_ = 0;
};

}  // namespace

bool is_directory(const dvk_fs_attributes& file) {
  return S_ISDIR(file.mode);
}

bool is_link(const dvk_fs_attributes& file) {
  return S_ISLNK(file.mode);
}

void fill_stat(const dvk_fs_attributes& from, dvk_fs_stat* stat) {
  const bool device = S_ISCHR(from.mode) || S_ISBLK(from.mode);
  stat->inode = from.inode;
  stat->generation = from.generation;
  stat->mode = from.mode;
  stat->links = from.links;
  stat->uid = from.uid;
  stat->gid = from.gid;
  stat->device = device ? static_cast<uint32_t>(from.size) : 0;
  stat->size = device ? 0 : from.size;
  stat->sectors = from.sectors;
  stat->accessed = unpack_time(from.accessed);
  stat->modified = unpack_time(from.modified);
  stat->changed = unpack_time(from.changed);
}

timespec unpack_time(uint64_t packed) {
  timespec time;
  const auto high = static_cast<uint32_t>(packed >> 32);
  const auto low = static_cast<int32_t>(static_cast<uint32_t>(packed));
  time.tv_sec = low + (static_cast<int64_t>(high & 3) << 32);
  time.tv_nsec = high >> 2 > 999999999 ? 999999999 : static_cast<long>(high >> 2);
  return time;
}

// 32 bits of seconds, 2 bits of epoch, 30 bits of nanoseconds.
uint64_t pack_time(const timespec& time) {
  const auto low = static_cast<int32_t>(time.tv_sec);
  const auto epoch = static_cast<uint32_t>((time.tv_sec - low) >> 32) & 3;
  const uint32_t high = static_cast<uint32_t>(time.tv_nsec) << 2 | epoch;
  return static_cast<uint64_t>(high) << 32 | static_cast<uint32_t>(low);
}

int find(dvk_fs* fs, std::string_view path, bool follow, Found* found) {
  if (path.empty()) return -ENOENT;
  if (path.size() >= kPathBytesMax) return -ENAMETOOLONG;
  dvk_fs_attributes root = {};
  int error = get_root(fs, &root);
  if (error != 0) return error;
  *found = {};
  found->parent = found->file = root;
  found->exists = true;
  found->only_directory = true;
  Rest rest(path);
  std::string_view name;
  int links = 0;
  while (rest.take(&name)) {
    const std::string own(name);
    const bool last = rest.is_last();
    const dvk_fs_attributes parent = found->file;
    if (!is_directory(parent)) return -ENOTDIR;
    if (own.size() > DVK_FS_NAME_BYTES_MAX) return -ENAMETOOLONG;
    *found = {};
    found->parent = parent;
    found->name = own;
    found->only_directory = last && (rest.ends_with_slash() || own == "." || own == "..");
    error = look_up(fs, parent, own, &found->file);
    found->exists = error == 0;
    if (error == -ENOENT && last) return 0;
    if (error != 0) return error;
    if (!is_link(found->file) || (last && !follow && !rest.ends_with_slash())) continue;
    if (++links > kLinksMax) return -ELOOP;
    char target[DVK_FS_TARGET_BYTES_MAX + 1];
    const int64_t bytes = read_target(fs, found->file, target, sizeof target);
    if (bytes <= 0) return bytes == 0 ? -ENOENT : static_cast<int>(bytes);
    error = rest.expand({target, static_cast<size_t>(bytes)});
    if (error != 0) return error;
    found->file = target[0] == '/' ? root : parent;
  }
  return found->only_directory && !is_directory(found->file) ? -ENOTDIR : 0;
}

int find_file(dvk_fs* fs, const char* path, bool follow, dvk_fs_attributes* file) {
  if (fs == nullptr || path == nullptr) return -EINVAL;
  Found found;
  const int error = find(fs, path, follow, &found);
  if (error != 0) return error;
  if (!found.exists) return -ENOENT;
  *file = found.file;
  return 0;
}

}  // namespace dvk::files

namespace {

// A name that is to be made: -EEXIST when it is there.
int find_new(dvk_fs* fs, const char* path, Found* found) {
  if (fs == nullptr || path == nullptr) return -EINVAL;
  const int error = find(fs, path, false, found);
  if (error == -ENOTDIR && found->exists) return -EEXIST;
  if (error != 0) return error;
  return found->exists ? -EEXIST : 0;
}

// A name that is to go or to move: it is there, and no dot.
int find_name(dvk_fs* fs, const char* path, Found* found) {
  if (fs == nullptr || path == nullptr) return -EINVAL;
  const int error = find(fs, path, false, found);
  if (error != 0) return error;
  if (!found->exists) return -ENOENT;
  if (found->name.empty()) return -EBUSY;
  if (found->name == "." || found->name == "..") return -EINVAL;
  return 0;
}

// A call that changes names in `directory`.
int perform_named(dvk_fs* fs, Call* call, const dvk_fs_attributes& directory) {
  const int64_t result = fs->perform(call);
  if (result == 0) fs->named(directory, *call);
  return static_cast<int>(result);
}

uint8_t length(const std::string& name) {
  return static_cast<uint8_t>(name.size());
}

int make(dvk_fs* fs, const char* path, int32_t type, uint32_t mode, uint32_t device) {
  Found found;
  const int error = find_new(fs, path, &found);
  if (error != 0) return error;
  if (found.only_directory && type != DVK_FS_CALL_MKDIR) return -ENOENT;
  dvk_fs_create_request request = {};
  fs->fill_new(&request, found.parent, mode);
  request.name_bytes = length(found.name);
  request.device = device;
  Call call;
  put_names(&request, &call, found.name);
  static_assert(sizeof(dvk_fs_mkdir_request) == sizeof request);
  static_assert(offsetof(dvk_fs_mkdir_request, mode) == offsetof(dvk_fs_create_request, mode));
  call.put(type, request, false);
  return perform_named(fs, &call, found.parent);
}

int link_to(dvk_fs* fs, uint32_t inode, uint32_t generation, const char* to) {
  Found found;
  const int error = find_new(fs, to, &found);
  if (error != 0) return error;
  dvk_fs_link_request request = {};
  request.inode = found.parent.inode;
  request.generation = found.parent.generation;
  request.name_bytes = length(found.name);
  request.other = inode;
  request.other_generation = generation;
  Call call;
  put_names(&request, &call, found.name);
  call.put(DVK_FS_CALL_LINK, request, false);
  return perform_named(fs, &call, found.parent);
}

int remove_name(dvk_fs* fs, const char* path, int32_t type) {
  Found found;
  const int error = find_name(fs, path, &found);
  if (error != 0) return error;
  dvk_fs_unlink_request request = {};
  request.inode = found.parent.inode;
  request.generation = found.parent.generation;
  request.name_bytes = length(found.name);
  Call call;
  put_names(&request, &call, found.name);
  call.put(type, request, false);
  return perform_named(fs, &call, found.parent);
}

int stat_of(dvk_fs* fs, const char* path, bool follow, dvk_fs_stat* stat) {
  if (stat == nullptr) return -EINVAL;
  dvk_fs_attributes file;
  const int error = find_file(fs, path, follow, &file);
  if (error == 0) dvk::files::fill_stat(file, stat);
  return error;
}

// Changes attributes of the file at `path`.
int set(dvk_fs* fs, const char* path, dvk_fs_setattr_request request) {
  dvk_fs_attributes file;
  const int error = find_file(fs, path, true, &file);
  if (error != 0) return error;
  request.inode = file.inode;
  request.generation = file.generation;
  Call call;
  call.put(DVK_FS_CALL_SETATTR, request, true);
  const int64_t result = fs->perform(&call);
  if (result == 0) fs->wrote(call);
  return static_cast<int>(result);
}

// GETXATTR or LISTXATTR.
int64_t read_xattr(dvk_fs* fs, const char* path, int32_t type, std::string_view name, void* value,
                   uint64_t bytes) {
  if (value == nullptr && bytes > 0) return -EINVAL;
  dvk_fs_attributes file;
  const int error = find_file(fs, path, true, &file);
  if (error != 0) return error;
  if (name.size() > DVK_FS_NAME_BYTES_MAX) return -ERANGE;
  dvk_fs_reading_request request = {};
  request.inode = file.inode;
  request.generation = file.generation;
  request.name_bytes = static_cast<uint32_t>(name.size());
  // A long name travels in the memory that the value comes back in.
  std::vector<char> memory(std::max<uint64_t>(bytes, DVK_FS_NAME_BYTES_MAX));
  const uint64_t room = std::min<uint64_t>(bytes, DVK_FS_VALUE_BYTES_MAX);
  request.grant_bytes = static_cast<uint32_t>(room);
  Call call;
  const bool is_long = name.size() > sizeof request.names;
  if (is_long)
    memcpy(memory.data(), name.data(), name.size());
  else
    memcpy(request.names, name.data(), name.size());
  call.put_reading(type, request);
  void* lent = is_long ? memory.data() : value;
  const uint64_t lent_bytes = is_long ? memory.size() : room;
  if (lent_bytes > 0) call.lend(lent, lent_bytes, DVK_RIGHT_READ | DVK_RIGHT_WRITE);
  const int64_t result = fs->perform(&call);
  if (is_long && result > 0 && bytes > 0 && static_cast<uint64_t>(result) <= bytes) {
    memcpy(value, memory.data(), static_cast<size_t>(result));
  }
  return result;
}

}  // namespace

int dvk_fs_stat_of(dvk_fs* fs, const char* path, dvk_fs_stat* stat) {
  return stat_of(fs, path, true, stat);
}

int dvk_fs_lstat(dvk_fs* fs, const char* path, dvk_fs_stat* stat) {
  return stat_of(fs, path, false, stat);
}

int dvk_fs_mkdir(dvk_fs* fs, const char* path, uint32_t mode) {
  return make(fs, path, DVK_FS_CALL_MKDIR, mode & 07777, 0);
}

int dvk_fs_mknod(dvk_fs* fs, const char* path, uint32_t mode, uint32_t device) {
  return make(fs, path, DVK_FS_CALL_CREATE, mode, device);
}

int dvk_fs_unlink(dvk_fs* fs, const char* path) {
  return remove_name(fs, path, DVK_FS_CALL_UNLINK);
}

int dvk_fs_rmdir(dvk_fs* fs, const char* path) {
  return remove_name(fs, path, DVK_FS_CALL_RMDIR);
}

int dvk_fs_rename(dvk_fs* fs, const char* from, const char* to, unsigned flags) {
  if (to == nullptr) return -EINVAL;
  Found source, target;
  int error = find_name(fs, from, &source);
  if (error == 0) error = find(fs, to, false, &target);
  if (error != 0) return error;
  if (target.name.empty()) return -EBUSY;
  if (target.only_directory && !dvk::files::is_directory(source.file)) return -ENOTDIR;
  dvk_fs_rename_request request = {};
  request.inode = source.parent.inode;
  request.generation = source.parent.generation;
  request.name_bytes = length(source.name);
  request.new_name_bytes = length(target.name);
  request.flags = static_cast<uint16_t>(flags > UINT16_MAX ? UINT16_MAX : flags);
  request.other = target.parent.inode;
  request.other_generation = target.parent.generation;
  Call call;
  put_names(&request, &call, source.name, target.name);
  call.put(DVK_FS_CALL_RENAME, request, false);
  const int result = perform_named(fs, &call, source.parent);
  if (result == 0) fs->named(target.parent, call);
  return result;
}

int dvk_fs_link(dvk_fs* fs, const char* from, const char* to) {
  dvk_fs_attributes file;
  const int error = find_file(fs, from, false, &file);
  return error != 0 ? error : link_to(fs, file.inode, file.generation, to);
}

int dvk_fs_link_file(dvk_fs_file* file, const char* to) {
  return file == nullptr ? -EINVAL : link_to(file->fs, file->inode, file->generation, to);
}

int dvk_fs_symlink(dvk_fs* fs, const char* target, const char* path) {
  if (target == nullptr) return -EINVAL;
  Found found;
  const int error = find_new(fs, path, &found);
  if (error != 0) return error;
  const size_t bytes = strlen(target);
  if (bytes > DVK_FS_TARGET_BYTES_MAX) return -ENAMETOOLONG;
  dvk_fs_symlink_request request = {};
  request.inode = found.parent.inode;
  request.generation = found.parent.generation;
  request.name_bytes = length(found.name);
  request.bytes = static_cast<uint16_t>(bytes);
  request.uid = fs->uid;
  request.gid = fs->gid;
  Call call;
  put_names(&request, &call, found.name);
  call.data = target;
  call.data_bytes = bytes;
  call.put(DVK_FS_CALL_SYMLINK, request, false);
  return perform_named(fs, &call, found.parent);
}

int64_t dvk_fs_readlink(dvk_fs* fs, const char* path, char* buffer, uint64_t bytes) {
  if (buffer == nullptr || bytes == 0) return -EINVAL;
  dvk_fs_attributes file;
  const int error = find_file(fs, path, false, &file);
  if (error != 0) return error;
  if (!dvk::files::is_link(file)) return -EINVAL;
  return dvk::files::read_target(fs, file, buffer, std::min<uint64_t>(bytes, 4096));
}

int dvk_fs_truncate(dvk_fs* fs, const char* path, uint64_t size) {
  if (fs == nullptr) return -EINVAL;
  dvk_fs_setattr_request request = {};
  request.flags = DVK_FS_ATTRIBUTE_SIZE;
  if (fs->uid != 0) request.flags |= DVK_FS_ATTRIBUTE_KILL_PRIVILEGES;
  request.size = size;
  return set(fs, path, request);
}

int dvk_fs_chmod(dvk_fs* fs, const char* path, uint32_t mode) {
  dvk_fs_setattr_request request = {};
  request.flags = DVK_FS_ATTRIBUTE_MODE;
  request.mode = static_cast<uint16_t>(mode & 07777);
  return set(fs, path, request);
}

int dvk_fs_chown(dvk_fs* fs, const char* path, uint32_t uid, uint32_t gid) {
  dvk_fs_setattr_request request = {};
  request.flags = DVK_FS_ATTRIBUTE_KILL_PRIVILEGES;
  if (uid != UINT32_MAX) request.flags |= DVK_FS_ATTRIBUTE_UID;
  if (gid != UINT32_MAX) request.flags |= DVK_FS_ATTRIBUTE_GID;
  request.uid = uid != UINT32_MAX ? uid : 0;
  request.gid = gid != UINT32_MAX ? gid : 0;
  return set(fs, path, request);
}

int dvk_fs_utimens(dvk_fs* fs, const char* path, const timespec times[2]) {
  if (times == nullptr) return -EINVAL;
  dvk_fs_setattr_request request = {};
  unsigned flags = 0;
  for (int i = 0; i < 2; i++) {
    const long nanoseconds = times[i].tv_nsec;
    if (nanoseconds == UTIME_OMIT) continue;
    if (nanoseconds == UTIME_NOW) {
      flags |= i == 0 ? DVK_FS_ATTRIBUTE_ACCESSED_NOW : DVK_FS_ATTRIBUTE_MODIFIED_NOW;
      continue;
    }
    if (nanoseconds < 0 || nanoseconds > 999999999) return -EINVAL;
    flags |= i == 0 ? DVK_FS_ATTRIBUTE_ACCESSED : DVK_FS_ATTRIBUTE_MODIFIED;
    (i == 0 ? request.accessed : request.modified) = dvk::files::pack_time(times[i]);
  }
  request.flags = static_cast<uint16_t>(flags);
  return set(fs, path, request);
}

int dvk_fs_statfs(dvk_fs* fs, dvk_fs_space* space) {
  if (fs == nullptr || space == nullptr) return -EINVAL;
  dvk_fs_reading_request request = {};
  request.inode = DVK_FS_ROOT_INODE;
  Call call;
  call.put_reading(DVK_FS_CALL_STATFS, request);
  const int64_t result = fs->perform(&call);
  if (result < 0) return static_cast<int>(result);
  const auto answer = call.answer<dvk_fs_statfs_answer>();
  *space = {answer.block_bytes,      answer.blocks, answer.blocks_free,
            answer.blocks_available, answer.inodes, answer.inodes_free};
  return 0;
}

int64_t dvk_fs_getxattr(dvk_fs* fs, const char* path, const char* name, void* value,
                        uint64_t bytes) {
  if (name == nullptr) return -EINVAL;
  return read_xattr(fs, path, DVK_FS_CALL_GETXATTR, name, value, bytes);
}

int64_t dvk_fs_listxattr(dvk_fs* fs, const char* path, char* list, uint64_t bytes) {
  return read_xattr(fs, path, DVK_FS_CALL_LISTXATTR, {}, list, bytes);
}

int dvk_fs_setxattr(dvk_fs* fs, const char* path, const char* name, const void* value,
                    uint64_t bytes, unsigned flags) {
  if (name == nullptr || (value == nullptr && bytes > 0)) return -EINVAL;
  if ((flags & ~unsigned{DVK_FS_XATTR_CREATE | DVK_FS_XATTR_REPLACE}) != 0) return -EINVAL;
  if (bytes > DVK_FS_VALUE_BYTES_MAX) return -E2BIG;
  const std::string_view own = name;
  if (own.size() > DVK_FS_NAME_BYTES_MAX) return -ERANGE;
  dvk_fs_attributes file;
  const int error = find_file(fs, path, true, &file);
  if (error != 0) return error;
  dvk_fs_setxattr_request request = {};
  request.inode = file.inode;
  request.generation = file.generation;
  request.name_bytes = static_cast<uint8_t>(own.size());
  request.flags = static_cast<uint16_t>(flags);
  request.bytes = static_cast<uint32_t>(bytes);
  Call call;
  put_names(&request, &call, own);
  call.data = value;
  call.data_bytes = bytes;
  call.put(DVK_FS_CALL_SETXATTR, request, flags == 0);
  return static_cast<int>(fs->perform(&call));
}

int dvk_fs_removexattr(dvk_fs* fs, const char* path, const char* name) {
  if (name == nullptr) return -EINVAL;
  const std::string_view own = name;
  if (own.size() > DVK_FS_NAME_BYTES_MAX) return -ERANGE;
  dvk_fs_attributes file;
  const int error = find_file(fs, path, true, &file);
  if (error != 0) return error;
  dvk_fs_removexattr_request request = {};
  request.inode = file.inode;
  request.generation = file.generation;
  request.name_bytes = static_cast<uint8_t>(own.size());
  Call call;
  put_names(&request, &call, own);
  call.put(DVK_FS_CALL_REMOVEXATTR, request, false);
  return static_cast<int>(fs->perform(&call));
}
