// What the files of the file system library share: a connection, its channels, and calls.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "dvk_fs.h"
#include "fs_kept.h"

namespace dvk::files {

// A process of the DC that makes one call at a time, and memory of the arena for what a call sends
// besides the caller's own: names too long for a message, and values behind them.
struct Channel {
  dvk_process* process = nullptr;
  uint8_t* scratch = nullptr;
  int32_t grant = -1;
  int32_t grantee = -1;
  uint32_t sequence = 0;

  // The next call has another number, and none has 0.
  void count_on() {
    if (++sequence == 0) sequence = 1;
  }
};

inline constexpr uint64_t kScratchBytes = 17 * 4096;
static_assert(kScratchBytes >= 2 * DVK_FS_NAME_BYTES_MAX + DVK_FS_VALUE_BYTES_MAX);

// A call, and after it its answer. The request is one of the structs of dvk_fs_protocol.gen.h.
struct Call {
  alignas(8) dvk_message message = {};
  // What the server reads from or writes to: the caller's memory, or else `lead` and `data`, which
  // are put into the channel's.
  void* memory = nullptr;
  uint64_t bytes = 0;
  unsigned rights = 0;
  std::string lead;
  const void* data = nullptr;
  uint64_t data_bytes = 0;
  // Whether it changes something; such a call has a number. `repeatable`: it may be done twice.
  bool changes = false;
  bool repeatable = true;
  // The server that it is for: another one was told otherwise. -1: whichever is there.
  int32_t only_for = -1;
  // The server that answered.
  int32_t server = -1;

  // `type` is the number of the call. Requests that change something have their number and their
  // grant in the same place, those that read have a grant in another one.
  template <typename Request>
  void put(int32_t type, Request request, bool may_repeat) {
    static_assert(sizeof(Request) == sizeof message);
    static_assert(offsetof(Request, grant) == offsetof(dvk_fs_write_request, grant));
    static_assert(offsetof(Request, sequence) == offsetof(dvk_fs_write_request, sequence));
    request.type = type;
    request.grant = -1;
    memcpy(&message, &request, sizeof message);
    changes = true;
    repeatable = may_repeat;
  }

  void put_reading(int32_t type, dvk_fs_reading_request request) {
    request.type = type;
    request.grant = -1;
    memcpy(&message, &request, sizeof message);
  }

  void lend(void* at, uint64_t size, unsigned right) {
    memory = at;
    bytes = size;
    rights = right;
  }

  template <typename Answer>
  Answer answer() const {
    Answer result;
    static_assert(sizeof result <= sizeof message);
    memcpy(&result, &message, sizeof result);
    return result;
  }

  dvk_fs_attributes attributes() const {
    dvk_fs_attributes result;
    memcpy(&result, message.payload, sizeof result);
    return result;
  }
};

// Puts names into the message, or, when they do not fit together, in front of the data.
template <typename Request>
void put_names(Request* request, Call* call, std::string_view first, std::string_view second = {}) {
  if (first.size() + second.size() <= sizeof request->names) {
    memcpy(request->names, first.data(), first.size());
    if (!second.empty()) memcpy(request->names + first.size(), second.data(), second.size());
    return;
  }
  call->lead.append(first).append(second);
}

// A file, found or not, by its place in a directory.
struct Found {
  dvk_fs_attributes parent = {};
  std::string name;
  dvk_fs_attributes file = {};
  bool exists = false;
  // The path ends with a slash or a dot: only a directory will do.
  bool only_directory = false;
};

bool is_directory(const dvk_fs_attributes& file);
bool is_link(const dvk_fs_attributes& file);
void fill_stat(const dvk_fs_attributes& from, dvk_fs_stat* stat);
uint64_t pack_time(const timespec& time);
timespec unpack_time(uint64_t packed);

// Follows `path` from the root. A missing last name is no error. Returns 0 or an error.
int find(dvk_fs* fs, std::string_view path, bool follow, Found* found);
// The same for a file that must be there.
int find_file(dvk_fs* fs, const char* path, bool follow, dvk_fs_attributes* file);

}  // namespace dvk::files

struct dvk_fs {
  dvk_segment* segment = nullptr;
  int32_t server_slot = 0;
  int32_t outage_ms = 0;
  uint32_t uid = 0, gid = 0, umask = 0;

  // Guards what follows, up to `meeting`.
  std::mutex lock;
  std::condition_variable freed;
  std::vector<dvk::files::Channel> channels;
  std::vector<dvk::files::Channel*> idle;
  dvk::files::Kept kept;
  int32_t server = -1;    // the one that was met last
  int32_t meets = -1;     // the one that is or was met last
  uint64_t answered = 0;  // calls
  int64_t outage_since_ms = -1;
  uint32_t open_handles = 0;
  uint64_t next_owner = 1;
  // Looks for a new server while something is held; see `watch`.
  bool watches = false, watching = false, ends = false;
  std::condition_variable ended;
  pthread_t watcher = {};
  // Held while a new server is told what is open; taken before `lock`.
  std::mutex meeting;

  // Makes a call. Returns its result: 0 or more, or an error.
  int64_t perform(dvk::files::Call* call);
  // Who this client is for the server.
  int32_t identity() const;

  // One hold more, of which the server `told` knows. False: there may be another one by now.
  bool hold(const dvk_fs_attributes& file, int32_t told);
  // One hold less. Returns the server that knows of it.
  int32_t let_go(uint32_t inode);
  // What `call` was answered: a file was changed, names in a directory were, a lock was set.
  void wrote(const dvk::files::Call& call);
  void named(const dvk_fs_attributes& directory, const dvk::files::Call& call);
  void locked(const dvk::files::Lock& lock);
  // Fills the part that all requests which make a file have in common: where, what, and for whom.
  template <typename Request>
  void fill_new(Request* request, const dvk_fs_attributes& parent, uint32_t mode) const {
    request->inode = parent.inode;
    request->generation = parent.generation;
    request->mode = static_cast<uint16_t>(mode);
    request->uid = uid;
    request->gid = gid;
    request->umask = static_cast<uint16_t>(umask);
  }
  // fsync of a file; -EIO once when something of it was lost with a server.
  int sync(uint32_t inode, uint32_t generation, uint32_t flags);
  // Ends the watcher.
  void unwatch();

 private:
  using Told = std::map<uint32_t, uint32_t>;  // holds of files

  uint64_t answered_calls();
  int64_t perform_once(dvk::files::Call* call);
  int64_t perform_on(dvk::files::Channel* channel, dvk::files::Call* call);
  int attempt(dvk::files::Channel* channel, dvk::files::Call* call, int32_t target);
  int meet(dvk::files::Channel* channel, int32_t target);
  int rejoin(dvk::files::Channel* channel, int32_t target);
  int tell(dvk::files::Channel* channel, dvk::files::Call* call, int32_t target);
  int tell_holds(dvk::files::Channel* channel, int32_t target, Told* told, bool last);
  uint32_t untold(const Told& told) const;
  int ask_names(dvk::files::Channel* channel, int32_t target);
  static void* watch(void* self);
  int grant(dvk::files::Channel* channel, const dvk::files::Call& call, int32_t target,
            int32_t* id);
};

struct dvk_fs_file {
  dvk_fs* fs = nullptr;
  uint32_t inode = 0, generation = 0;
  bool directory = false;
  bool reads = false, writes = false, appends = false, syncs = false;
  uint64_t owner = 0;  // of its locks
  std::mutex lock;     // guards what follows
  uint64_t position = 0;
  bool locked[2] = {false, false};  // whether it ever took a lock, by kind
};

struct dvk_fs_dir {
  dvk_fs* fs = nullptr;
  uint32_t inode = 0, generation = 0;
  uint64_t cookie = 0;
  uint64_t at = 0, filled = 0;
  std::vector<uint8_t> buffer;
};

namespace dvk::files {

// What asks for a lock of an open file, or who has one: `command` is DVK_FS_LOCK_*.
dvk_fs_lock_request lock_request(const dvk_fs_file& file, int command, int kind,
                                 const Range& range);

}  // namespace dvk::files
