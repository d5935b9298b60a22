// How a connection takes back from a new server what it had of the old one, and learns what was
// lost; as src/vos/client/rejoin.ts, and src/servers/fs/survivors.ts for the other side.
//
// Calls wait meanwhile. Answers of the old server may still be on their way through other threads,
// so what they add is told before the new one is taken for met.

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <chrono>

#include "fs.h"

using dvk::files::Call;
using dvk::files::Channel;
using dvk::files::Directory;
using dvk::files::Held;
using dvk::files::Lock;

namespace {

// Much less than a new server waits.
constexpr std::chrono::milliseconds kWatchPause{500};
constexpr timespec kClaimPause = {0, 20 * 1000 * 1000};

Call open_call(int32_t client, uint32_t inode, uint32_t generation, uint32_t count,
               uint32_t flags) {
  dvk_fs_open_request request = {};
  request.inode = inode;
  request.generation = generation;
  request.count = count;
  request.client = client;
  request.flags = flags;
  Call call;
  call.put(DVK_FS_CALL_OPEN, request, true);
  return call;
}

Call release_call(int32_t client, uint32_t inode, uint32_t count) {
  dvk_fs_release_request request = {};
  request.inode = inode;
  request.client = client;
  request.count = count;
  Call call;
  call.put(DVK_FS_CALL_RELEASE, request, true);
  return call;
}

// The lock as it was, to be taken back.
Call lock_call(int32_t client, const Lock& lock) {
  dvk_fs_lock_request request = {};
  request.inode = lock.inode;
  request.generation = lock.generation;
  request.lock_command = DVK_FS_LOCK_RECLAIM;
  request.lock_kind = lock.kind;
  request.lock_type = lock.range.type;
  request.client = client;
  request.pid = static_cast<uint32_t>(getpid());
  request.owner = lock.owner;
  request.start = lock.range.start;
  request.end = lock.range.end;
  Call call;
  call.put(DVK_FS_CALL_LOCK, request, true);
  return call;
}

}  // namespace

// A server that was started again is told first what this client has.
int dvk_fs::meet(Channel* channel, int32_t target) {
  {
    std::lock_guard<std::mutex> guard(lock);
    if (server == target) return 0;
  }
  std::lock_guard<std::mutex> one_at_a_time(meeting);
  {
    std::lock_guard<std::mutex> guard(lock);
    if (server == target) return 0;
    meets = target;
  }
  const int error = rejoin(channel, target);
  // The caller's own request is another one.
  channel->count_on();
  return error;
}

int dvk_fs::rejoin(Channel* channel, int32_t target) {
  Told told;
  int error = ask_names(channel, target);
  if (error == 0) error = tell_holds(channel, target, &told, false);
  std::vector<Lock> locks;
  if (error == 0) {
    std::lock_guard<std::mutex> guard(lock);
    locks = kept.locks();
  }
  for (Lock one : locks) {
    if (error != 0) return error;
    Call call = lock_call(identity(), one);
    error = tell(channel, &call, target);
    if (error != 0 || call.message.type >= 0) continue;
    // Somebody else may have it now.
    std::lock_guard<std::mutex> guard(lock);
    one.range.type = DVK_FS_LOCK_TYPE_UNLOCK;
    kept.lock(one);
    kept.lose(one.inode);
  }
  if (error != 0) return error;
  dvk_fs_rejoined_request request = {};
  request.client = identity();
  Call call;
  call.put(DVK_FS_CALL_REJOINED, request, true);
  error = tell(channel, &call, target);
  return error == 0 ? tell_holds(channel, target, &told, true) : error;
}

int dvk_fs::tell(Channel* channel, Call* call, int32_t target) {
  const dvk_message request = call->message;
  for (;;) {
    channel->count_on();
    call->message = request;
    const int error = attempt(channel, call, target);
    if (error != 0 || call->message.type != -EALREADY) return error;
    nanosleep(&kClaimPause, nullptr);
  }
}

// Goes on until `told`, the holds of each file that the server knows of, is what there is. `last`:
// then it is met.
int dvk_fs::tell_holds(Channel* channel, int32_t target, Told* told, bool last) {
  for (;;) {
    uint32_t inode = 0;
    Held file;
    {
      std::lock_guard<std::mutex> guard(lock);
      inode = untold(*told);
      if (inode == 0) {
        if (last) server = target;
        return 0;
      }
      const auto found = kept.held().find(inode);
      if (found != kept.held().end()) file = found->second;
    }
    Call call = file.count > 0
                    ? open_call(identity(), inode, file.generation, file.count, DVK_FS_OPEN_RECLAIM)
                    : release_call(identity(), inode, (*told)[inode]);
    const int error = tell(channel, &call, target);
    if (error != 0) return error;
    if (file.count == 0) {
      told->erase(inode);
      continue;
    }
    (*told)[inode] = file.count;
    const int32_t result = call.message.type;
    std::lock_guard<std::mutex> guard(lock);
    if (result < 0) kept.lose(inode);
    // 1: nothing outlives this server for certain.
    if (result >= 0) kept.settle(inode, result == 0 ? call.attributes().changed : 0);
  }
}

// A file of which the server has been told something else than what there is; 0: there is none.
uint32_t dvk_fs::untold(const Told& told) const {
  for (const auto& [inode, held] : kept.held()) {
    const auto before = told.find(inode);
    if (before == told.end() || before->second != held.count) return inode;
  }
  for (const auto& [inode, count] : told) {
    if (kept.held().count(inode) == 0) return inode;
  }
  return 0;
}

// Whether directories have the names that they were given.
int dvk_fs::ask_names(Channel* channel, int32_t target) {
  std::vector<Directory> directories;
  {
    std::lock_guard<std::mutex> guard(lock);
    directories = kept.directories();
  }
  for (const Directory& one : directories) {
    Call call = open_call(identity(), one.inode, one.generation, 0, DVK_FS_OPEN_LOOK);
    const int error = tell(channel, &call, target);
    if (error != 0) return error;
    std::lock_guard<std::mutex> guard(lock);
    const int32_t result = call.message.type;
    if (result == -ESTALE) {
      kept.gone(one);
    } else {
      kept.settle(one, result == 0 ? call.attributes().changed : 0);
    }
  }
  return 0;
}

bool dvk_fs::hold(const dvk_fs_attributes& file, int32_t told) {
  std::lock_guard<std::mutex> guard(lock);
  if (told != meets) return false;
  kept.hold(file.inode, file.generation);
  if (watches) return true;
  // The program's signals are for its own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  watches = pthread_create(&watcher, nullptr, watch, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return true;
}

int32_t dvk_fs::let_go(uint32_t inode) {
  std::lock_guard<std::mutex> guard(lock);
  kept.let_go(inode);
  return server;
}

void dvk_fs::wrote(const Call& call) {
  const dvk_fs_attributes file = call.attributes();
  std::lock_guard<std::mutex> guard(lock);
  kept.wrote(file.inode, file.changed, call.server != meets);
}

void dvk_fs::named(const dvk_fs_attributes& directory, const Call& call) {
  std::lock_guard<std::mutex> guard(lock);
  const uint64_t changed = call.attributes().changed;
  kept.named(directory.inode, directory.generation, changed, call.server != meets);
}

void dvk_fs::locked(const Lock& one) {
  std::lock_guard<std::mutex> guard(lock);
  kept.lock(one);
}

int dvk_fs::sync(uint32_t inode, uint32_t generation, uint32_t flags) {
  dvk::files::Kept::Mark mark;
  {
    std::lock_guard<std::mutex> guard(lock);
    mark = kept.mark(inode);
  }
  dvk_fs_fsync_request request = {};
  request.inode = inode;
  request.generation = generation;
  request.flags = flags;
  Call call;
  call.put(DVK_FS_CALL_FSYNC, request, true);
  const int64_t result = perform(&call);
  if (result < 0) return static_cast<int>(result);
  std::lock_guard<std::mutex> guard(lock);
  kept.synced_names(mark);
  if ((flags & DVK_FS_SYNC_VOLUME) != 0) return 0;
  return kept.synced(inode, mark) ? -EIO : 0;
}

// A program that makes no calls does not miss a new server, which waits for it only so long.
void* dvk_fs::watch(void* self) {
  auto* fs = static_cast<dvk_fs*>(self);
  std::unique_lock<std::mutex> guard(fs->lock);
  while (!fs->ends) {
    fs->ended.wait_for(guard, kWatchPause);
    const int32_t target = dvk_lookup(fs->segment, fs->server_slot);
    // Who has the last channel meets the server.
    if (fs->ends || target < 0 || target == fs->server) continue;
    if (fs->kept.is_empty() || fs->idle.empty()) continue;
    Channel* channel = fs->idle.back();
    fs->idle.pop_back();
    fs->watching = true;
    guard.unlock();
    fs->meet(channel, target);
    guard.lock();
    fs->watching = false;
    fs->idle.push_back(channel);
    fs->freed.notify_one();
  }
  return nullptr;
}

void dvk_fs::unwatch() {
  {
    std::lock_guard<std::mutex> guard(lock);
    if (!watches) return;
    ends = true;
  }
  ended.notify_one();
  pthread_join(watcher, nullptr);
}
