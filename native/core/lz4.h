// Blocks of LZ4: what links between nodes carry when that is shorter (decision 46).
//
// The format is the block format of LZ4 (doc/lz4_Block_format.md of its project), without frames,
// dictionaries or state from one block to the next. A block is a row of sequences:
//
//   token   4 bits of literals, 4 bits of match, 15 being the first part of a longer number
//   bytes   that add to the number of literals, 255 each but for the last
//   literals
//   offset  16 bits, little-endian: how far back the match begins, 1 to 65535
//   bytes   that add to the length of the match, which is 4 more than it says
//
// The last one ends after its literals.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dvk {

// Longest source that is packed: positions have 32 bits, and a bit less is enough for any caller.
constexpr size_t kLz4SourceMax = size_t{1} << 30;

// Packs `size` bytes into at most `room` bytes. Returns how many those are, or 0 when they are not
// enough or there is nothing to pack. Source and target are apart.
size_t lz4_pack(const uint8_t* source, size_t size, uint8_t* target, size_t room);

// Unpacks a block into at most `room` bytes; nothing in it is trusted, and nothing outside of the
// two ranges is read or written. Returns how many came out, or -EBADMSG when it is no block, or
// more would come out. What was written until then is worth nothing.
int64_t lz4_unpack(const uint8_t* source, size_t size, uint8_t* target, size_t room);

}  // namespace dvk
