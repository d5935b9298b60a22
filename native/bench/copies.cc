// vcopy: a server copies from the memory of a client that is blocked in a sendrec to it, as file
// servers do, and as the throughput of one-directional copies is counted by the authors of M3-IPC.
//
// This process is the server and measures. The client has a block of the pattern, in private memory
// or in the arena, and sends where it is. The target's first and last word are cleared before each
// copy and must have come back after it; the whole block is compared at the end.
#include <errno.h>
#include <string.h>

#include "../core/vcopy.h"
#include "container.h"
#include "measure.h"

namespace bench {
namespace {

using dvk::kForever;

constexpr int32_t kByAddress = -1;

struct Offer {
  uint64_t address;
  int32_t grant;
};

// The client: offers its block and waits until the server is done.
void offer_block(Container& container, const Options& options, bool arena) {
  const uint64_t bytes = options.bytes;
  dvk::Process& process = container.bind_client(dvk::ProcessLevel::kUser);
  uint8_t* block;
  Offer offer{0, kByAddress};
  if (arena) {
    const int64_t offset = must_code(dvk::arena_allocate(process, bytes), "arena_allocate");
    block = container.segment().arena() + offset;
    const uint32_t right = static_cast<uint32_t>(dvk::GrantRight::kRead);
    const int32_t id = dvk::grant(process, block, bytes, right, container.peer());
    offer.grant = static_cast<int32_t>(must_code(id, "grant"));
  } else {
    block = private_memory(bytes);
    offer.address = reinterpret_cast<uint64_t>(block);
  }
  fill_pattern(block, bytes);
  dvk::Message message{};
  memcpy(message.payload, &offer, sizeof offer);
  must_code(dvk::sendrec(process, container.peer(), &message, kForever), "sendrec");
  container.close();
}

class Copier {
 public:
  Copier(Container& container, const Options& options)
      : process_(container.bind_peer()), bytes_(options.bytes), target_(private_memory(bytes_)) {
    must_code(dvk::rcvrqst(process_, &message_, kForever), "rcvrqst");
    Offer offer;
    memcpy(&offer, message_.payload, sizeof offer);
    source_ = {message_.source, offer.grant, offer.address};
    own_ = {process_.endpoint, kByAddress, reinterpret_cast<uint64_t>(target_)};
    expected_ = private_memory(bytes_);
    fill_pattern(expected_, bytes_);
  }

  void finish() {
    memset(target_, 0, bytes_);
    copy_checked();
    if (memcmp(target_, expected_, bytes_) != 0) die("a copy has other contents", EPROTO);
    must_code(dvk::reply(process_, message_.source, message_), "reply");
  }

  void copy_checked() {
    const uint64_t last = bytes_ - sizeof(uint64_t);
    memset(target_, 0, sizeof(uint64_t));
    memset(target_ + last, 0, sizeof(uint64_t));
    must_code(dvk::vcopy(process_, source_, own_, bytes_, kForever), "vcopy");
    if (memcmp(target_, expected_, sizeof(uint64_t)) != 0 ||
        memcmp(target_ + last, expected_ + last, sizeof(uint64_t)) != 0) {
      die("a copy has other contents", EPROTO);
    }
  }

 private:
  dvk::Process& process_;
  uint64_t bytes_;
  uint8_t* target_;
  uint8_t* expected_ = nullptr;
  dvk::Message message_{};
  dvk::CopyParty source_{}, own_{};
};

Result run_copies(const Options& options, bool arena) {
  Container container;
  container.open(options);
  const pid_t client =
      start_peer(options.cpu_peer, [&] { offer_block(container, options, arena); });
  pin(options.cpu_client);
  Copier copier(container, options);
  const double bytes = static_cast<double>(options.bytes);
  const Result result = measure(options, client, bytes, [&] { copier.copy_checked(); });
  copier.finish();
  join_peer(client);
  container.close();
  return result;
}

Result run_private(const Options& options) {
  return run_copies(options, false);
}

Result run_arena(const Options& options) {
  return run_copies(options, true);
}

}  // namespace

const Case kCopyCases[] = {
    {"dvk-vcopy-private", run_private, create_container},
    {"dvk-vcopy-arena", run_arena, create_container},
    {nullptr, nullptr},
};

}  // namespace bench
