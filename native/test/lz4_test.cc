// Blocks of LZ4: what goes in comes out, in no more room than is given, and what is no block is
// refused. How they agree with the reference is in test/unit/dvk/lz4.test.ts.

#include "../core/lz4.h"

#include <errno.h>

#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

using Bytes = std::vector<uint8_t>;

// Of exactly that size, so that a sanitizer sees a byte too many.
Bytes packed(const Bytes& source) {
  Bytes room(source.size() + source.size() / 255 + 16);
  room.resize(lz4_pack(source.data(), source.size(), room.data(), room.size()));
  room.shrink_to_fit();
  return room;
}

int64_t unpack(const Bytes& block, Bytes* out) {
  return lz4_unpack(block.data(), block.size(), out->data(), out->size());
}

// From noise to long runs: words of a few letters, repeated as they come.
Bytes random_source(Random& random) {
  const uint64_t size = below(random, 4) == 0 ? below(random, 300'000) : below(random, 600);
  const uint64_t letters = uint64_t{1} << below(random, 9), repeats = below(random, 20);
  Bytes bytes;
  while (bytes.size() < size) {
    if (!bytes.empty() && below(random, 20) < repeats) {
      const uint64_t back = 1 + below(random, std::min<uint64_t>(bytes.size(), 70'000));
      const uint64_t count = 1 + below(random, below(random, 10) == 0 ? 3000 : 30);
      for (uint64_t i = 0; i < count; i++) bytes.push_back(bytes[bytes.size() - back]);
    } else {
      bytes.push_back(static_cast<uint8_t>(below(random, letters)));
    }
  }
  bytes.resize(size);
  return bytes;
}

TEST("what is packed is unpacked again, whatever it is") {
  Random random(seed());
  for (uint64_t i = 0; i < scaled(1000, 200); i++) {
    const Bytes source = random_source(random);
    const Bytes block = packed(source);
    CHECK_EQUAL(block.empty(), source.empty());
    if (source.empty()) continue;
    Bytes out(source.size());
    CHECK_EQUAL(unpack(block, &out), static_cast<int64_t>(source.size()));
    CHECK(out == source);
  }
}

TEST("packing takes no more room than there is, and all that it needs") {
  Random random(seed());
  for (uint64_t i = 0; i < scaled(300, 60); i++) {
    const Bytes source = random_source(random);
    if (source.empty()) continue;
    const Bytes block = packed(source);
    Bytes exact(block.size());
    CHECK_EQUAL(lz4_pack(source.data(), source.size(), exact.data(), exact.size()), block.size());
    CHECK(exact == block);
    Bytes tight(below(random, block.size()));
    CHECK_EQUAL(lz4_pack(source.data(), source.size(), tight.data(), tight.size()), 0);
  }
}

TEST("a block never unpacks to more than there is room for") {
  Random random(seed());
  for (uint64_t i = 0; i < scaled(300, 60); i++) {
    const Bytes source = random_source(random);
    if (source.empty()) continue;
    Bytes tight(below(random, source.size()));
    CHECK_EQUAL(unpack(packed(source), &tight), -EBADMSG);
  }
}

TEST("a block that was changed or cut is refused, or gives other bytes") {
  Random random(seed());
  for (uint64_t i = 0; i < scaled(800, 300); i++) {
    const Bytes source = random_source(random);
    Bytes block = packed(source);
    if (block.empty()) continue;
    for (uint64_t changes = below(random, 3); changes > 0; changes--) {
      block[below(random, block.size())] = static_cast<uint8_t>(below(random, 256));
    }
    if (below(random, 2) == 0) block.resize(below(random, block.size()));
    block.shrink_to_fit();
    Bytes out(source.size());
    const int64_t count = unpack(block, &out);
    CHECK(count == -EBADMSG || (count >= 0 && count <= static_cast<int64_t>(out.size())));
  }
}

TEST("impossible blocks are refused") {
  const Bytes blocks[] = {
      {},
      {0x00, 1, 0},                 // a match with nothing before it
      {0x10, 'a', 0, 0, 0x00},      // one that is 0 bytes back
      {0x10, 'a', 2, 0, 0x00},      // one from before the start
      {0x10, 'a', 1},               // half an offset
      {0x20, 'a'},                  // literals that are missing
      {0xf0, 255, 255},             // a number without an end
      {0x1f, 'a', 1, 0, 255, 255},  // the same of a match
      {0x10, 'a', 1, 0},            // a match at the end
  };
  for (const Bytes& block : blocks) {
    Bytes out(4096);
    CHECK_EQUAL(unpack(block, &out), -EBADMSG);
  }
  Bytes out(6);
  CHECK_EQUAL(unpack({0x10, 'a', 1, 0, 0x10, 'b'}, &out), 6);
  CHECK(out == Bytes({'a', 'a', 'a', 'a', 'a', 'b'}));
}

}  // namespace
}  // namespace dvk::test
