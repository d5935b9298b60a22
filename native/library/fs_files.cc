// Open files and directories.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "fs.h"

using dvk::files::Call;
using dvk::files::Found;
using dvk::files::Range;

namespace {

constexpr uint64_t kListBytes = 32 * 1024;
constexpr int64_t kLockPauseMsMin = 2, kLockPauseMsMax = 100;
// More tries than names can come and go while one is opened.
constexpr int kTries = 8;

// Tells the server, if it is `*server` or that is -1, that a file is held open once more, or no
// more. `*server` is then who was told.
template <typename Request>
int tell(dvk_fs* fs, int32_t type, uint32_t inode, uint32_t generation, int32_t* server) {
  Request request = {};
  request.inode = inode;
  request.generation = generation;
  request.client = fs->identity();
  request.count = 1;
  Call call;
  call.put(type, request, false);
  call.only_for = *server;
  const int64_t result = fs->perform(&call);
  *server = call.server;
  return static_cast<int>(result);
}

// Makes the file that `found` is not, held open. -EEXIST when somebody was faster.
int create(dvk_fs* fs, const Found& found, uint32_t mode, dvk_fs_attributes* file,
           int32_t* server) {
  if (found.only_directory) return -EISDIR;
  dvk_fs_create_request request = {};
  fs->fill_new(&request, found.parent, S_IFREG | (mode & 07777));
  request.name_bytes = static_cast<uint8_t>(found.name.size());
  request.flags = DVK_FS_CREATE_HOLD;
  request.client = fs->identity();
  Call call;
  dvk::files::put_names(&request, &call, found.name);
  call.put(DVK_FS_CALL_CREATE, request, false);
  const int64_t result = fs->perform(&call);
  if (result != 0) return static_cast<int>(result);
  *file = call.attributes();
  *server = call.server;
  fs->named(found.parent, call);
  return 0;
}

// Makes a file without a name in the directory at `path`, held open.
int create_nameless(dvk_fs* fs, const char* path, uint32_t mode, dvk_fs_attributes* file,
                    int32_t* server) {
  dvk_fs_attributes parent;
  const int error = dvk::files::find_file(fs, path, true, &parent);
  if (error != 0) return error;
  if (!dvk::files::is_directory(parent)) return -ENOTDIR;
  dvk_fs_tmpfile_request request = {};
  fs->fill_new(&request, parent, S_IFREG | (mode & 07777));
  request.client = fs->identity();
  Call call;
  call.put(DVK_FS_CALL_TMPFILE, request, false);
  const int64_t result = fs->perform(&call);
  if (result != 0) return static_cast<int>(result);
  *file = call.attributes();
  *server = call.server;
  return 0;
}

// Whether a file may be opened with these flags.
int check_open(const dvk_fs_attributes& file, int flags) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
  if (dvk::files::is_link(file)) return -ELOOP;
  if (dvk::files::is_directory(file)) return writes ? -EISDIR : 0;
  if ((flags & O_DIRECTORY) != 0) return -ENOTDIR;
  return S_ISREG(file.mode) ? 0 : -ENXIO;
}

// The file at `path`, held open, as `*server` knows.
int hold(dvk_fs* fs, const char* path, int flags, uint32_t mode, dvk_fs_attributes* file,
         int32_t* server) {
  if ((flags & O_TMPFILE) == O_TMPFILE) {
    const bool writes = (flags & O_ACCMODE) != O_RDONLY;
    return writes ? create_nameless(fs, path, mode, file, server) : -EINVAL;
  }
  const bool creates = (flags & O_CREAT) != 0;
  const bool exclusive = creates && (flags & O_EXCL) != 0;
  const bool follow = (flags & O_NOFOLLOW) == 0 && !exclusive;
  for (int tries = 0;; tries++) {
    Found found;
    int error = dvk::files::find(fs, path, follow, &found);
    if (error != 0) return error;
    if (!found.exists) {
      if (!creates) return -ENOENT;
      error = create(fs, found, mode, file, server);
      if (error != -EEXIST || exclusive || tries == kTries) return error;
      continue;
    }
    if (exclusive) return -EEXIST;
    if (creates && dvk::files::is_directory(found.file)) return -EISDIR;
    error = check_open(found.file, flags);
    if (error == 0) {
      *server = -1;
      error = tell<dvk_fs_open_request>(fs, DVK_FS_CALL_OPEN, found.file.inode,
                                        found.file.generation, server);
    }
    // It was removed since it was found.
    if (error == -ESTALE && tries < kTries) continue;
    *file = found.file;
    return error;
  }
}

int set_size(dvk_fs_file* file, uint64_t size) {
  dvk_fs_setattr_request request = {};
  request.inode = file->inode;
  request.generation = file->generation;
  request.flags = DVK_FS_ATTRIBUTE_SIZE;
  if (file->fs->uid != 0) request.flags |= DVK_FS_ATTRIBUTE_KILL_PRIVILEGES;
  request.size = size;
  Call call;
  call.put(DVK_FS_CALL_SETATTR, request, true);
  const int64_t result = file->fs->perform(&call);
  if (result == 0) file->fs->wrote(call);
  return static_cast<int>(result);
}

int64_t read_part(dvk_fs_file* file, uint8_t* buffer, uint64_t bytes, uint64_t offset) {
  dvk_fs_reading_request request = {};
  request.inode = file->inode;
  request.generation = file->generation;
  request.offset = offset;
  request.grant_bytes = static_cast<uint32_t>(bytes);
  Call call;
  call.put_reading(DVK_FS_CALL_READ, request);
  call.lend(buffer, bytes, DVK_RIGHT_WRITE);
  return file->fs->perform(&call);
}

int64_t write_part(dvk_fs_file* file, const uint8_t* buffer, uint64_t bytes, uint64_t offset,
                   uint64_t* size) {
  dvk_fs_write_request request = {};
  request.inode = file->inode;
  request.generation = file->generation;
  request.bytes = static_cast<uint32_t>(bytes);
  request.offset = file->appends ? 0 : offset;
  request.uid = file->fs->uid;
  request.gid = file->fs->gid;
  if (file->appends) request.flags |= DVK_FS_WRITE_APPEND;
  if (file->syncs) request.flags |= DVK_FS_WRITE_SYNC;
  if (file->fs->uid != 0) request.flags |= DVK_FS_WRITE_KILL_PRIVILEGES;
  Call call;
  call.put(DVK_FS_CALL_WRITE, request, !file->appends);
  // The server reads it only.
  call.lend(const_cast<uint8_t*>(buffer), bytes, DVK_RIGHT_READ);
  const int64_t result = file->fs->perform(&call);
  if (result >= 0) *size = call.attributes().size;
  if (result >= 0 && !file->syncs) file->fs->wrote(call);
  return result;
}

// Moves all of it, in parts as the protocol has them.
template <typename Move>
int64_t move_parts(uint64_t bytes, Move move) {
  uint64_t done = 0;
  while (done < bytes) {
    const uint64_t part = std::min<uint64_t>(bytes - done, DVK_FS_TRANSFER_BYTES_MAX);
    const int64_t moved = move(done, part);
    if (moved < 0) return done > 0 ? static_cast<int64_t>(done) : moved;
    if (static_cast<uint64_t>(moved) > part) return -EIO;
    done += static_cast<uint64_t>(moved);
    if (static_cast<uint64_t>(moved) < part) break;
  }
  return static_cast<int64_t>(done);
}

int64_t write_at(dvk_fs_file* file, const void* buffer, uint64_t bytes, uint64_t offset,
                 uint64_t* size) {
  return move_parts(bytes, [&](uint64_t done, uint64_t part) {
    return write_part(file, static_cast<const uint8_t*>(buffer) + done, part, offset + done, size);
  });
}

int set_lock(dvk_fs_file* file, int kind, int type, int command, uint64_t start, uint64_t end) {
  const Range range = {static_cast<uint16_t>(type), start, end};
  const auto request = dvk::files::lock_request(*file, command, kind, range);
  Call call;
  call.put(DVK_FS_CALL_LOCK, request, true);
  const int64_t result = file->fs->perform(&call);
  if (result == 0) {
    file->fs->locked({file->inode, file->generation, request.lock_kind, file->owner, range});
  }
  return static_cast<int>(result);
}

bool is_moved(const dvk_fs_file* file, const void* buffer, uint64_t bytes) {
  return file != nullptr && (buffer != nullptr || bytes == 0) && bytes <= INT64_MAX;
}

}  // namespace

dvk_fs_lock_request dvk::files::lock_request(const dvk_fs_file& file, int command, int kind,
                                             const Range& range) {
  dvk_fs_lock_request request = {};
  request.inode = file.inode;
  request.generation = file.generation;
  request.lock_command = static_cast<uint8_t>(command);
  request.lock_kind = static_cast<uint8_t>(kind);
  request.lock_type = range.type;
  request.client = file.fs->identity();
  request.pid = static_cast<uint32_t>(getpid());
  request.owner = file.owner;
  request.start = range.start;
  request.end = range.end;
  return request;
}

int dvk_fs_open(dvk_fs* fs, const char* path, int flags, uint32_t mode, dvk_fs_file** file) {
  if (fs == nullptr || path == nullptr || file == nullptr) return -EINVAL;
  if ((flags & O_ACCMODE) == O_ACCMODE) return -EINVAL;
  std::unique_ptr<dvk_fs_file> made(new (std::nothrow) dvk_fs_file);
  if (made == nullptr) return -ENOMEM;
  dvk_fs_attributes held = {};
  int32_t told = -1;
  int error = hold(fs, path, flags, mode, &held, &told);
  // The server that was told may be gone by now.
  while (error == 0 && !fs->hold(held, told)) {
    told = -1;
    error = tell<dvk_fs_open_request>(fs, DVK_FS_CALL_OPEN, held.inode, held.generation, &told);
  }
  if (error != 0) return error;
  made->fs = fs;
  made->inode = held.inode;
  made->generation = held.generation;
  made->directory = dvk::files::is_directory(held);
  made->reads = (flags & O_ACCMODE) != O_WRONLY;
  made->writes = (flags & O_ACCMODE) != O_RDONLY;
  made->appends = (flags & O_APPEND) != 0;
  made->syncs = (flags & (O_SYNC | O_DSYNC)) != 0;
  {
    std::lock_guard<std::mutex> guard(fs->lock);
    fs->open_handles++;
    made->owner = fs->next_owner++;
  }
  if ((flags & O_TRUNC) != 0 && held.size > 0) {
    const int cut = set_size(made.get(), 0);
    if (cut != 0) {
      dvk_fs_close(made.release());
      return cut;
    }
  }
  *file = made.release();
  return 0;
}

int dvk_fs_close(dvk_fs_file* file) {
  if (file == nullptr) return -EINVAL;
  dvk_fs* fs = file->fs;
  for (int kind = 0; kind < 2; kind++) {
    if (!file->locked[kind]) continue;
    set_lock(file, kind, DVK_FS_LOCK_TYPE_UNLOCK, DVK_FS_LOCK_SET, 0, UINT64_MAX);
  }
  // Another server is told what is left.
  int32_t server = fs->let_go(file->inode);
  const int result =
      tell<dvk_fs_release_request>(fs, DVK_FS_CALL_RELEASE, file->inode, file->generation, &server);
  delete file;
  std::lock_guard<std::mutex> guard(fs->lock);
  fs->open_handles--;
  return result;
}

int64_t dvk_fs_pread(dvk_fs_file* file, void* buffer, uint64_t bytes, uint64_t offset) {
  if (!is_moved(file, buffer, bytes)) return -EINVAL;
  if (!file->reads) return -EBADF;
  if (file->directory) return -EISDIR;
  return move_parts(bytes, [&](uint64_t done, uint64_t part) {
    return read_part(file, static_cast<uint8_t*>(buffer) + done, part, offset + done);
  });
}

int64_t dvk_fs_pwrite(dvk_fs_file* file, const void* buffer, uint64_t bytes, uint64_t offset) {
  if (!is_moved(file, buffer, bytes)) return -EINVAL;
  if (!file->writes) return -EBADF;
  uint64_t size = 0;
  return write_at(file, buffer, bytes, offset, &size);
}

int64_t dvk_fs_read(dvk_fs_file* file, void* buffer, uint64_t bytes) {
  if (file == nullptr) return -EINVAL;
  std::lock_guard<std::mutex> guard(file->lock);
  const int64_t result = dvk_fs_pread(file, buffer, bytes, file->position);
  if (result > 0) file->position += static_cast<uint64_t>(result);
  return result;
}

int64_t dvk_fs_write(dvk_fs_file* file, const void* buffer, uint64_t bytes) {
  if (!is_moved(file, buffer, bytes)) return -EINVAL;
  if (!file->writes) return -EBADF;
  std::lock_guard<std::mutex> guard(file->lock);
  uint64_t size = 0;
  const int64_t result = write_at(file, buffer, bytes, file->position, &size);
  if (result > 0 && file->appends)
    file->position = size;
  else if (result > 0)
    file->position += static_cast<uint64_t>(result);
  return result;
}

int64_t dvk_fs_lseek(dvk_fs_file* file, int64_t offset, int whence) {
  if (file == nullptr) return -EINVAL;
  std::lock_guard<std::mutex> guard(file->lock);
  int64_t base = 0;
  if (whence == SEEK_CUR) {
    base = static_cast<int64_t>(file->position);
  } else if (whence == SEEK_END) {
    dvk_fs_stat stat;
    const int error = dvk_fs_fstat(file, &stat);
    if (error != 0) return error;
    base = static_cast<int64_t>(stat.size);
  } else if (whence == DVK_FS_SEEK_DATA || whence == DVK_FS_SEEK_HOLE) {
    if (offset < 0) return -ENXIO;
    dvk_fs_seek_request request = {};
    request.inode = file->inode;
    request.generation = file->generation;
    request.flags = static_cast<uint32_t>(whence);
    request.offset = static_cast<uint64_t>(offset);
    Call call;
    call.put(DVK_FS_CALL_SEEK, request, true);
    const int64_t result = file->fs->perform(&call);
    if (result < 0) return result;
    base = static_cast<int64_t>(call.answer<dvk_fs_seek_answer>().offset);
    offset = 0;
  } else if (whence != SEEK_SET) {
    return -EINVAL;
  }
  int64_t position = 0;
  if (__builtin_add_overflow(base, offset, &position) || position < 0) return -EINVAL;
  file->position = static_cast<uint64_t>(position);
  return position;
}

int dvk_fs_fsync(dvk_fs_file* file, int data_only) {
  if (file == nullptr) return -EINVAL;
  return file->fs->sync(file->inode, file->generation, data_only != 0 ? DVK_FS_SYNC_DATA_ONLY : 0);
}

int dvk_fs_sync(dvk_fs* fs) {
  return fs == nullptr ? -EINVAL : fs->sync(DVK_FS_ROOT_INODE, 0, DVK_FS_SYNC_VOLUME);
}

int dvk_fs_fstat(dvk_fs_file* file, dvk_fs_stat* stat) {
  if (file == nullptr || stat == nullptr) return -EINVAL;
  dvk_fs_reading_request request = {};
  request.inode = file->inode;
  request.generation = file->generation;
  Call call;
  call.put_reading(DVK_FS_CALL_GETATTR, request);
  const int64_t result = file->fs->perform(&call);
  if (result == 0) dvk::files::fill_stat(call.attributes(), stat);
  return static_cast<int>(result);
}

int dvk_fs_ftruncate(dvk_fs_file* file, uint64_t size) {
  if (file == nullptr) return -EINVAL;
  return file->writes ? set_size(file, size) : -EBADF;
}

int dvk_fs_fallocate(dvk_fs_file* file, int mode, uint64_t offset, uint64_t bytes) {
  if (file == nullptr) return -EINVAL;
  if (!file->writes) return -EBADF;
  dvk_fs_fallocate_request request = {};
  request.inode = file->inode;
  request.generation = file->generation;
  request.mode = static_cast<uint32_t>(mode);
  request.uid = file->fs->uid;
  request.gid = file->fs->gid;
  request.offset = offset;
  request.size = bytes;
  Call call;
  // Ranges that are taken out or put in move what is behind them.
  const bool moves = (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0;
  call.put(DVK_FS_CALL_FALLOCATE, request, !moves);
  const int64_t result = file->fs->perform(&call);
  if (result == 0) file->fs->wrote(call);
  return static_cast<int>(result);
}

int64_t dvk_fs_copy_range(dvk_fs_file* from, uint64_t from_offset, dvk_fs_file* to,
                          uint64_t to_offset, uint64_t bytes) {
  if (from == nullptr || to == nullptr || from->fs != to->fs) return -EINVAL;
  if (!from->reads || !to->writes || to->appends) return -EBADF;
  dvk_fs_copy_range_request request = {};
  request.inode = from->inode;
  request.generation = from->generation;
  request.bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, DVK_FS_COPY_BYTES_MAX));
  request.other = to->inode;
  request.other_generation = to->generation;
  request.uid = from->fs->uid;
  request.offset = from_offset;
  request.other_offset = to_offset;
  Call call;
  call.put(DVK_FS_CALL_COPY_RANGE, request, true);
  const int64_t result = from->fs->perform(&call);
  if (result >= 0) to->fs->wrote(call);
  return result;
}

int dvk_fs_lock(dvk_fs_file* file, int kind, int type, uint64_t start, uint64_t end,
                int64_t timeout_ms) {
  if (file == nullptr || kind < 0 || kind > 1 || start > end) return -EINVAL;
  if (type < DVK_FS_LOCK_TYPE_READ || type > DVK_FS_LOCK_TYPE_UNLOCK) return -EINVAL;
  {
    std::lock_guard<std::mutex> guard(file->lock);
    file->locked[kind] = true;
  }
  const int command = timeout_ms == 0 ? DVK_FS_LOCK_SET : DVK_FS_LOCK_WAIT;
  int64_t waited = 0;
  // Nobody waits in the server: who has to wait asks again.
  for (int64_t pause = kLockPauseMsMin;; pause = std::min(pause * 2, kLockPauseMsMax)) {
    const int result = set_lock(file, kind, type, command, start, end);
    // A new server gives no locks before those that the old one gave are taken back.
    const bool early = result == -EINPROGRESS;
    if (!early && (result != -EAGAIN || timeout_ms == 0)) return result;
    if (!early && timeout_ms > 0 && waited >= timeout_ms) return -ETIMEDOUT;
    const timespec time = {0, static_cast<long>(pause) * 1000000};
    nanosleep(&time, nullptr);
    waited += pause;
  }
}

int dvk_fs_opendir(dvk_fs* fs, const char* path, dvk_fs_dir** directory) {
  if (directory == nullptr) return -EINVAL;
  dvk_fs_attributes file;
  const int error = dvk::files::find_file(fs, path, true, &file);
  if (error != 0) return error;
  if (!dvk::files::is_directory(file)) return -ENOTDIR;
  auto* made = new (std::nothrow) dvk_fs_dir;
  if (made == nullptr) return -ENOMEM;
  made->fs = fs;
  made->inode = file.inode;
  made->generation = file.generation;
  made->buffer.resize(kListBytes);
  std::lock_guard<std::mutex> guard(fs->lock);
  fs->open_handles++;
  *directory = made;
  return 0;
}

namespace {

// Gets the next part of the list. Returns its bytes, 0 at the end.
int64_t fill(dvk_fs_dir* directory) {
  dvk_fs_reading_request request = {};
  request.inode = directory->inode;
  request.generation = directory->generation;
  request.offset = directory->cookie;
  request.grant_bytes = static_cast<uint32_t>(directory->buffer.size());
  Call call;
  call.put_reading(DVK_FS_CALL_READDIR, request);
  call.lend(directory->buffer.data(), directory->buffer.size(), DVK_RIGHT_WRITE);
  const int64_t result = directory->fs->perform(&call);
  if (result > static_cast<int64_t>(directory->buffer.size())) return -EIO;
  directory->at = 0;
  directory->filled = result > 0 ? static_cast<uint64_t>(result) : 0;
  return result;
}

}  // namespace

int dvk_fs_readdir(dvk_fs_dir* directory, dvk_fs_entry* entry) {
  if (directory == nullptr || entry == nullptr) return -EINVAL;
  if (directory->at == directory->filled) {
    const int64_t got = fill(directory);
    if (got <= 0) return static_cast<int>(got);
  }
  dvk_fs_entry_head head;
  dvk_fs_attributes file;
  const uint64_t left = directory->filled - directory->at;
  const uint8_t* bytes = directory->buffer.data() + directory->at;
  if (left < sizeof head + sizeof file) return -EIO;
  memcpy(&head, bytes, sizeof head);
  memcpy(&file, bytes + sizeof head, sizeof file);
  const uint64_t used = sizeof head + sizeof file + head.name_bytes;
  if (head.name_bytes == 0 || head.entry_bytes < used || head.entry_bytes > left) return -EIO;
  memset(entry, 0, sizeof *entry);
  memcpy(entry->name, bytes + sizeof head + sizeof file, head.name_bytes);
  entry->type = head.type;
  dvk::files::fill_stat(file, &entry->stat);
  directory->at += head.entry_bytes;
  directory->cookie = head.next_cookie;
  return 1;
}

int dvk_fs_closedir(dvk_fs_dir* directory) {
  if (directory == nullptr) return -EINVAL;
  dvk_fs* fs = directory->fs;
  delete directory;
  std::lock_guard<std::mutex> guard(fs->lock);
  fs->open_handles--;
  return 0;
}
