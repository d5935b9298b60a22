// What a connection has of its server, so that it can take it back from one that was started again,
// and learns what was lost. The rules are those of src/vos/client/held-files.ts and
// changed-names.ts: the time of a file's last change tells whether a change outlived the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace dvk::files {

// Directories whose changes are known, at most.
inline constexpr size_t kDirectoriesMax = 4096;

struct Range {
  uint16_t type = 0;
  uint64_t start = 0, end = 0;  // first and last byte
};

// A file that is held open.
struct Held {
  uint32_t generation = 0;
  uint32_t count = 0;
  // Its packed time of change by the last change that was not synced; 0: there is none.
  uint64_t unsynced = 0;
  // What was written, or a lock, is lost, and nobody was told.
  bool lost = false;
};

struct Lock {
  uint32_t inode = 0, generation = 0;
  uint8_t kind = 0;
  uint64_t owner = 0;
  Range range;
};

struct Directory {
  uint32_t inode = 0, generation = 0;
  uint64_t changed = 0;  // packed; not after what the last change made it
  uint64_t order = 0;    // of the change, among all
};

// Whether a file that was last changed at `changed` has what was changed at `written`. Volumes with
// small inodes keep whole seconds, which tell nothing.
bool has_change(uint64_t changed, uint64_t written);

// Without locking of its own.
class Kept {
 public:
  bool is_empty() const {
    return held_.empty();
  }
  const std::map<uint32_t, Held>& held() const {
    return held_;
  }
  std::vector<Lock> locks() const;
  std::vector<Directory> directories() const;

  void hold(uint32_t inode, uint32_t generation);
  // One hold less; with the last one locks end.
  void let_go(uint32_t inode);
  // The file was changed; `lost`: by a server that is gone.
  void wrote(uint32_t inode, uint64_t changed, bool lost);
  void lose(uint32_t inode);
  // A new server has this time of change for a file that is held; 0: it cannot tell.
  void settle(uint32_t inode, uint64_t changed);
  void lock(const Lock& lock);

  // Names of a directory were changed.
  void named(uint32_t inode, uint32_t generation, uint64_t changed, bool lost);
  // The same for a directory that was asked about.
  void settle(const Directory& directory, uint64_t changed);
  // It has no such directory: it was removed, or is lost as a name of the one that it was in.
  void gone(const Directory& directory);

  // What is to be synced, taken before; and after it was, whether a change was lost before.
  struct Mark {
    uint64_t unsynced = 0, order = 0;
  };
  Mark mark(uint32_t inode) const;
  void synced_names(const Mark& mark);
  bool synced(uint32_t inode, const Mark& mark);

 private:
  using Owner = std::tuple<uint32_t, uint8_t, uint64_t>;  // inode, kind, owner

  bool forget(const Directory& directory);

  std::map<uint32_t, Held> held_;
  std::map<Owner, std::pair<uint32_t, std::vector<Range>>> locks_;  // generation, ranges
  std::map<uint32_t, Directory> directories_;
  std::map<uint64_t, uint32_t> by_order_;
  std::set<uint32_t> lost_;
  uint64_t changes_ = 0;
};

}  // namespace dvk::files
