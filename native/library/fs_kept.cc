// What a connection has of its server.

#include "fs_kept.h"

#include <algorithm>

#include "dvk_fs_protocol.gen.h"

namespace dvk::files {
namespace {

// Seconds and nanoseconds of a packed time.
std::pair<int64_t, uint32_t> unpack(uint64_t packed) {
  const auto high = static_cast<uint32_t>(packed >> 32);
  const auto low = static_cast<int32_t>(static_cast<uint32_t>(packed));
  return {low + (static_cast<int64_t>(high & 3) << 32), high >> 2};
}

uint64_t later(uint64_t a, uint64_t b) {
  return a != 0 && unpack(b) < unpack(a) ? a : b;
}

// The ranges of one owner after a call, as fcntl(2) changes them.
std::vector<Range> with_range(const std::vector<Range>& ranges, const Range& range) {
  Range joined = range;
  std::vector<Range> after;
  for (const Range& one : ranges) {
    const bool same = one.type == range.type;
    // Neighbours of one type join.
    const bool before =
        one.end < range.start && !(same && one.end + 1 == range.start && one.end + 1 != 0);
    const bool behind =
        one.start > range.end && !(same && range.end + 1 == one.start && range.end + 1 != 0);
    if (before || behind) {
      after.push_back(one);
    } else if (same) {
      joined.start = std::min(joined.start, one.start);
      joined.end = std::max(joined.end, one.end);
    } else {
      if (one.start < range.start) after.push_back({one.type, one.start, range.start - 1});
      if (one.end > range.end) after.push_back({one.type, range.end + 1, one.end});
    }
  }
  if (range.type != DVK_FS_LOCK_TYPE_UNLOCK) after.push_back(joined);
  return after;
}

}  // namespace

bool has_change(uint64_t changed, uint64_t written) {
  // Volumes with small inodes keep whole seconds, which tell nothing.
  const bool tells = unpack(written).second != 0 || unpack(changed).second != 0;
  return tells && unpack(written) <= unpack(changed);
}

std::vector<Lock> Kept::locks() const {
  std::vector<Lock> all;
  for (const auto& [key, owned] : locks_) {
    const auto& [inode, kind, owner] = key;
    for (const Range& range : owned.second) all.push_back({inode, owned.first, kind, owner, range});
  }
  return all;
}

std::vector<Directory> Kept::directories() const {
  std::vector<Directory> all;
  for (const auto& [inode, directory] : directories_) all.push_back(directory);
  return all;
}

void Kept::hold(uint32_t inode, uint32_t generation) {
  Held& one = held_[inode];
  one.generation = generation;
  one.count++;
}

void Kept::let_go(uint32_t inode) {
  const auto found = held_.find(inode);
  if (found == held_.end() || --found->second.count > 0) return;
  held_.erase(found);
  std::erase_if(locks_, [inode](const auto& one) { return std::get<0>(one.first) == inode; });
}

void Kept::wrote(uint32_t inode, uint64_t changed, bool lost) {
  const auto found = held_.find(inode);
  if (found == held_.end()) return;
  found->second.unsynced = later(found->second.unsynced, changed);
  if (lost) found->second.lost = true;
}

void Kept::lose(uint32_t inode) {
  const auto found = held_.find(inode);
  if (found != held_.end()) found->second.lost = true;
}

void Kept::settle(uint32_t inode, uint64_t changed) {
  const auto found = held_.find(inode);
  if (found == held_.end() || found->second.unsynced == 0) return;
  if (!has_change(changed, found->second.unsynced)) found->second.lost = true;
  found->second.unsynced = 0;
}

void Kept::lock(const Lock& lock) {
  const Owner key = {lock.inode, lock.kind, lock.owner};
  auto& [generation, ranges] = locks_[key];
  generation = lock.generation;
  ranges = with_range(ranges, lock.range);
  if (ranges.empty()) locks_.erase(key);
}

void Kept::named(uint32_t inode, uint32_t generation, uint64_t changed, bool lost) {
  const auto before = directories_.find(inode);
  if (before != directories_.end()) {
    if (before->second.generation == generation) changed = later(before->second.changed, changed);
    by_order_.erase(before->second.order);
  }
  directories_[inode] = {inode, generation, changed, ++changes_};
  by_order_[changes_] = inode;
  if (directories_.size() > kDirectoriesMax) {
    directories_.erase(by_order_.begin()->second);
    by_order_.erase(by_order_.begin());
  }
  if (lost && lost_.size() < kDirectoriesMax) lost_.insert(inode);
}

void Kept::settle(const Directory& directory, uint64_t changed) {
  const bool lost = forget(directory) && !has_change(changed, directory.changed);
  if (lost && lost_.size() < kDirectoriesMax) lost_.insert(directory.inode);
}

void Kept::gone(const Directory& directory) {
  forget(directory);
}

// False: its names have changed meanwhile.
bool Kept::forget(const Directory& directory) {
  const auto now = directories_.find(directory.inode);
  if (now == directories_.end() || now->second.order != directory.order) return false;
  by_order_.erase(directory.order);
  directories_.erase(now);
  return true;
}

Kept::Mark Kept::mark(uint32_t inode) const {
  const auto found = held_.find(inode);
  return {found == held_.end() ? 0 : found->second.unsynced, changes_};
}

void Kept::synced_names(const Mark& mark) {
  while (!by_order_.empty() && by_order_.begin()->first <= mark.order) {
    directories_.erase(by_order_.begin()->second);
    by_order_.erase(by_order_.begin());
  }
}

bool Kept::synced(uint32_t inode, const Mark& mark) {
  bool lost = lost_.erase(inode) > 0;
  const auto found = held_.find(inode);
  if (found == held_.end()) return lost;
  if (found->second.unsynced == mark.unsynced) found->second.unsynced = 0;
  lost = lost || found->second.lost;
  found->second.lost = false;
  return lost;
}

}  // namespace dvk::files
