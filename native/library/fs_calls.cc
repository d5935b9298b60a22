// Connections to a file system server: channels, and what happens while the server is away.
//
// The rules are those of src/vos/client/channels.ts: a call whose answer was lost is made again
// with its number, which the same server knows; a server that was started again does not, so there
// only calls that may be done twice are made again.

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "fs.h"

using dvk::files::Call;
using dvk::files::Channel;
using dvk::files::kScratchBytes;

namespace {

constexpr int kChannels = 4, kChannelsMax = 16;
constexpr int kOutageMs = 8000, kOutageRetryMs = 200, kRetryPauseMs = 20;
constexpr int kBusyPauseMsMin = 1, kBusyPauseMsMax = 20;
// Longer than the link's own time-out for a dead peer, which ends calls sooner.
constexpr int64_t kCallTimeoutMs = 7000;
// A server that is slow is not away.
constexpr int64_t kSlowMs = 60000, kStallMs = 1000;
constexpr size_t kNameBytes = DVK_NAME_BYTES - 4;

int64_t now_ms() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

void sleep_ms(int ms) {
  const timespec time = {0, ms * 1000000L};
  nanosleep(&time, nullptr);
}

// The server, or the way to it, is gone; it may come back.
bool is_outage(int error) {
  switch (-error) {
    case DVK_EDEADSRCDST:
    case DVK_EDSTDIED:
    case DVK_ESRCDIED:
    case DVK_EDVSNOPROXY:
    case DVK_EDVSNODCNODE:
    case ENOTCONN:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

// Those that come before the server has taken the request.
bool is_untaken(int error) {
  return error == -DVK_EDEADSRCDST || error == -DVK_EDSTDIED || error == -DVK_EDVSNOPROXY ||
         error == -DVK_EDVSNODCNODE;
}

void set_field(dvk_message* message, size_t at, const void* value) {
  memcpy(reinterpret_cast<uint8_t*>(message) + at, value, sizeof(uint32_t));
}

void release(Channel* channel) {
  if (channel->process != nullptr) dvk_unbind(channel->process);
}

int open_channel(dvk_segment* segment, const std::string& name, Channel* channel) {
  const int error = dvk_bind(segment, -1, DVK_LEVEL_USER, name.c_str(), &channel->process);
  if (error != 0) return error;
  void* address = nullptr;
  const int64_t offset = dvk_arena_allocate(channel->process, kScratchBytes, &address);
  channel->scratch = static_cast<uint8_t*>(address);
  return offset < 0 ? static_cast<int>(offset) : 0;
}

bool are_sound(const dvk_fs_options* options) {
  if (options == nullptr || options->server_slot < 0 || options->outage_ms < 0) return false;
  if (options->channels < 0 || options->channels > kChannelsMax) return false;
  const char* name = options->name;
  return name == nullptr || (name[0] != 0 && strnlen(name, kNameBytes + 1) <= kNameBytes);
}

}  // namespace

int dvk_fs_connect(dvk_segment* segment, const dvk_fs_options* options, dvk_fs** fs) {
  if (segment == nullptr || fs == nullptr || !are_sound(options)) return -EINVAL;
  std::unique_ptr<dvk_fs> made(new (std::nothrow) dvk_fs);
  if (made == nullptr) return -ENOMEM;
  made->segment = segment;
  made->server_slot = options->server_slot;
  made->outage_ms = options->outage_ms == 0 ? kOutageMs : options->outage_ms;
  made->uid = options->uid;
  made->gid = options->gid;
  made->umask = options->umask & 0777;
  const std::string name = options->name == nullptr ? "fs-client" : options->name;
  made->channels.resize(
      static_cast<size_t>(options->channels == 0 ? kChannels : options->channels));
  for (size_t i = 0; i < made->channels.size(); i++) {
    const std::string own = i == 0 ? name : name + "." + std::to_string(i);
    const int error = open_channel(segment, own, &made->channels[i]);
    if (error == 0) continue;
    for (Channel& channel : made->channels) release(&channel);
    return error;
  }
  // The first one is used most.
  for (size_t i = made->channels.size(); i > 0; i--) made->idle.push_back(&made->channels[i - 1]);
  *fs = made.release();
  return 0;
}

int dvk_fs_disconnect(dvk_fs* fs) {
  if (fs == nullptr) return -EINVAL;
  {
    std::lock_guard<std::mutex> guard(fs->lock);
    const size_t used = fs->channels.size() - fs->idle.size();
    if (fs->open_handles != 0 || used > (fs->watching ? 1 : 0)) return -EBUSY;
  }
  fs->unwatch();
  for (Channel& channel : fs->channels) release(&channel);
  delete fs;
  return 0;
}

uint64_t dvk_fs::answered_calls() {
  std::lock_guard<std::mutex> guard(lock);
  return answered;
}

int32_t dvk_fs::identity() const {
  return dvk_endpoint(channels[0].process);
}

// What somebody else is in the way of (EALREADY) was not done, and is asked for again.
int64_t dvk_fs::perform(Call* call) {
  const dvk_message request = call->message;
  const int64_t end = now_ms() + outage_ms;
  for (int pause = kBusyPauseMsMin;; pause = std::min(pause * 2, kBusyPauseMsMax)) {
    const int64_t result = perform_once(call);
    if (result != -EALREADY) return result;
    if (now_ms() > end) return -EIO;
    sleep_ms(pause);
    call->message = request;
  }
}

int64_t dvk_fs::perform_once(Call* call) {
  Channel* channel = nullptr;
  {
    std::unique_lock<std::mutex> guard(lock);
    freed.wait(guard, [this] { return !idle.empty(); });
    channel = idle.back();
    idle.pop_back();
  }
  const int64_t result = perform_on(channel, call);
  {
    std::lock_guard<std::mutex> guard(lock);
    idle.push_back(channel);
  }
  freed.notify_one();
  return result;
}

int64_t dvk_fs::perform_on(Channel* channel, Call* call) {
  const int64_t begun = now_ms();
  const dvk_message request = call->message;
  int32_t sent_to = -1;
  channel->count_on();
  for (;;) {
    const int64_t tried = now_ms();
    const uint64_t answered_before = answered_calls();
    const int32_t target = dvk_lookup(segment, server_slot);
    const bool once = !call->repeatable && call->only_for < 0;
    if (sent_to >= 0 && target >= 0 && target != sent_to && once) return -EIO;
    int error = target < 0 ? -DVK_EDEADSRCDST : meet(channel, target);
    if (error == 0 && call->only_for >= 0 && call->only_for != target) return 0;
    if (error == 0) {
      call->message = request;
      error = attempt(channel, call, target);
      if (error == 0) {
        std::lock_guard<std::mutex> guard(lock);
        outage_since_ms = -1;
        answered++;
        return call->message.type;
      }
      if (!is_untaken(error)) sent_to = target;
    }
    if (!is_outage(error)) return error;
    const int64_t now = now_ms();
    // There was not enough time: it answers others, or this program itself stood still.
    const bool slow =
        answered_calls() != answered_before || now - tried > kCallTimeoutMs + kStallMs;
    if (error == -ETIMEDOUT && slow && now < begun + kSlowMs) continue;
    int64_t since;
    {
      std::lock_guard<std::mutex> guard(lock);
      if (outage_since_ms < 0) outage_since_ms = begun;
      since = outage_since_ms;
    }
    if (now > std::max(since + outage_ms, begun + kOutageRetryMs)) return -EIO;
    sleep_ms(kRetryPauseMs);
  }
}

// Sends the request once; the answer is in the call. Returns 0, or what failed on the way.
int dvk_fs::attempt(Channel* channel, Call* call, int32_t target) {
  int32_t id = -1;
  int error = grant(channel, *call, target, &id);
  if (error != 0) return error;
  if (call->changes) {
    set_field(&call->message, offsetof(dvk_fs_write_request, grant), &id);
    set_field(&call->message, offsetof(dvk_fs_write_request, sequence), &channel->sequence);
  } else {
    set_field(&call->message, offsetof(dvk_fs_reading_request, grant), &id);
  }
  error = dvk_sendrec(channel->process, target, &call->message, kCallTimeoutMs);
  call->server = target;
  // The caller's memory is lent for the time of the call.
  if (call->memory != nullptr) dvk_revoke(channel->process, id);
  return error;
}

int dvk_fs::grant(Channel* channel, const Call& call, int32_t target, int32_t* id) {
  if (call.memory != nullptr) {
    *id = dvk_grant(channel->process, call.memory, call.bytes, call.rights, target);
    return *id < 0 ? *id : 0;
  }
  const uint64_t bytes = call.lead.size() + call.data_bytes;
  if (bytes == 0) return 0;
  if (bytes > kScratchBytes) return -EINVAL;
  memcpy(channel->scratch, call.lead.data(), call.lead.size());
  if (call.data_bytes > 0) {
    memcpy(channel->scratch + call.lead.size(), call.data, call.data_bytes);
  }
  if (channel->grant >= 0 && channel->grantee != target) {
    dvk_revoke(channel->process, channel->grant);
    channel->grant = -1;
  }
  if (channel->grant < 0) {
    const int32_t made =
        dvk_grant(channel->process, channel->scratch, kScratchBytes, DVK_RIGHT_READ, target);
    if (made < 0) return made;
    channel->grant = made;
    channel->grantee = target;
  }
  *id = channel->grant;
  return 0;
}
