// Blocks of LZ4 for JavaScript; see core/lz4.h.

#include <algorithm>

#include "../core/lz4.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// Returns the bytes of the block, or 0 when it does not fit into `target`.
uint32_t js_lz4_pack(Bytes source, Bytes target) {
  return static_cast<uint32_t>(lz4_pack(source.data, source.length, target.data, target.length));
}

// Returns how many bytes came out, or -EBADMSG.
int32_t js_lz4_unpack(Bytes source, Bytes target) {
  const size_t room = std::min<size_t>(target.length, kLz4SourceMax);
  return static_cast<int32_t>(lz4_unpack(source.data, source.length, target.data, room));
}

}  // namespace

void register_compression(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {{"lz4Pack", method<js_lz4_pack>}, {"lz4Unpack", method<js_lz4_unpack>}});
}

}  // namespace dvk::binding
