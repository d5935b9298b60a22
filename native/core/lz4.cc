#include "lz4.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace dvk {
namespace {

static_assert(std::endian::native == std::endian::little, "offsets and words are little-endian");

constexpr size_t kMatchMin = 4, kOffsetMax = 65535;
// The last match begins so far from the end at least, and ends so far from it.
constexpr size_t kStartMargin = 12, kEndMargin = 5;
constexpr size_t kNibbleMax = 15, kByteMax = 255;
// 16 KiB of table: it stays in the first level of the CPU's cache.
constexpr unsigned kTableBits = 12;
// After so many positions without a match each step is one longer.
constexpr unsigned kPatienceBits = 6;
constexpr size_t kStep = 16;

template <typename Word>
Word load(const uint8_t* at) {
  Word word;
  memcpy(&word, at, sizeof word);
  return word;
}

// Of five bytes, times 2^64 over the golden ratio. Eight are read.
uint32_t place_of(const uint8_t* at) {
  return static_cast<uint32_t>((load<uint64_t>(at) << 24) * 0x9e3779b97f4a7c15u >>
                               (64 - kTableBits));
}

// How many bytes agree from `one` and `other` on, `one` being read to below `end`.
size_t common(const uint8_t* one, const uint8_t* other, const uint8_t* end) {
  const uint8_t* const start = one;
  for (; one + sizeof(uint64_t) <= end; one += 8, other += 8) {
    const uint64_t difference = load<uint64_t>(one) ^ load<uint64_t>(other);
    if (difference == 0) continue;
    return static_cast<size_t>(one - start) + static_cast<size_t>(std::countr_zero(difference)) / 8;
  }
  for (; one < end && *one == *other; one++) other++;
  return static_cast<size_t>(one - start);
}

class Writer {
 public:
  Writer(uint8_t* target, size_t room) : start_(target), at_(target), end_(target + room) {}

  // Literals, then a match unless its length is 0. Returns whether there was room.
  bool sequence(const uint8_t* literals, size_t count, size_t offset, size_t length) {
    const size_t most = 1 + count + count / kByteMax + 1 + 2 + length / kByteMax + 1;
    if (most > static_cast<size_t>(end_ - at_) && needed(count, length) > left()) return false;
    const size_t match = length == 0 ? 0 : length - kMatchMin;
    *at_++ = static_cast<uint8_t>(std::min(count, kNibbleMax) << 4 | std::min(match, kNibbleMax));
    rest(count);
    memcpy(at_, literals, count);
    at_ += count;
    if (length == 0) return true;
    const uint16_t back = static_cast<uint16_t>(offset);
    memcpy(at_, &back, sizeof back);
    at_ += sizeof back;
    rest(match);
    return true;
  }

  size_t size() const {
    return static_cast<size_t>(at_ - start_);
  }

 private:
  size_t left() const {
    return static_cast<size_t>(end_ - at_);
  }
  static size_t rest_bytes(size_t number) {
    return number < kNibbleMax ? 0 : (number - kNibbleMax) / kByteMax + 1;
  }
  static size_t needed(size_t count, size_t length) {
    const size_t literals = 1 + rest_bytes(count) + count;
    return length == 0 ? literals : literals + 2 + rest_bytes(length - kMatchMin);
  }
  // What a nibble has no room for.
  void rest(size_t number) {
    if (number < kNibbleMax) return;
    size_t left = number - kNibbleMax;
    for (; left >= kByteMax; left -= kByteMax) *at_++ = static_cast<uint8_t>(kByteMax);
    *at_++ = static_cast<uint8_t>(left);
  }

  uint8_t* const start_;
  uint8_t* at_;
  uint8_t* const end_;
};

// The part of a number behind its nibble. Returns whether all of it was there.
bool read_rest(const uint8_t*& at, const uint8_t* end, size_t* number) {
  uint8_t more = 0;
  do {
    if (at == end) return false;
    more = *at++;
    *number += more;
  } while (more == kByteMax);
  return true;
}

// A match that may overlap what it makes.
void copy_match(uint8_t* to, size_t offset, size_t length) {
  const uint8_t* const from = to - offset;
  // The distance doubles, so that each piece lies apart from its source.
  for (size_t done = 0; done < length;) {
    const size_t piece = std::min(offset + done, length - done);
    memcpy(to + done, from, piece);
    done += piece;
  }
}

}  // namespace

size_t lz4_pack(const uint8_t* source, size_t size, uint8_t* target, size_t room) {
  if (size == 0 || size > kLz4SourceMax) return 0;
  Writer writer(target, room);
  const uint8_t* const end = source + size;
  const uint8_t* anchor = source;
  if (size > kStartMargin) {
    const uint8_t* const last_start = end - kStartMargin;
    uint32_t table[1 << kTableBits] = {};
    const uint8_t* at = source + 1;
    for (size_t misses = 0; at <= last_start;) {
      uint32_t& entry = table[place_of(at)];
      const uint8_t* match = source + entry;
      entry = static_cast<uint32_t>(at - source);
      if (load<uint32_t>(match) != load<uint32_t>(at) ||
          static_cast<size_t>(at - match) > kOffsetMax) {
        at += 1 + (misses++ >> kPatienceBits);
        continue;
      }
      while (at > anchor && match > source && at[-1] == match[-1]) at--, match--;
      const size_t length = kMatchMin + common(at + kMatchMin, match + kMatchMin, end - kEndMargin);
      const size_t count = static_cast<size_t>(at - anchor);
      if (!writer.sequence(anchor, count, static_cast<size_t>(at - match), length)) return 0;
      at += length;
      anchor = at;
      misses = 0;
      if (at <= last_start) table[place_of(at - 2)] = static_cast<uint32_t>(at - 2 - source);
    }
  }
  const size_t left = static_cast<size_t>(end - anchor);
  return writer.sequence(anchor, left, 0, 0) ? writer.size() : 0;
}

int64_t lz4_unpack(const uint8_t* source, size_t size, uint8_t* target, size_t room) {
  const uint8_t* in = source;
  const uint8_t* const in_end = source + size;
  uint8_t* out = target;
  uint8_t* const out_end = target + room;
  while (in < in_end) {
    const uint8_t token = *in++;
    size_t count = token >> 4;
    if (count == kNibbleMax && !read_rest(in, in_end, &count)) return -EBADMSG;
    const size_t in_left = static_cast<size_t>(in_end - in);
    const size_t out_left = static_cast<size_t>(out_end - out);
    if (count > in_left || count > out_left) return -EBADMSG;
    if (count <= kStep && in_left >= kStep && out_left >= kStep) {
      memcpy(out, in, kStep);
    } else if (count > 0) {
      memcpy(out, in, count);
    }
    in += count;
    out += count;
    if (in == in_end) return out - target;
    if (in_end - in < 2) return -EBADMSG;
    const size_t offset = load<uint16_t>(in);
    in += 2;
    size_t length = token & kNibbleMax;
    if (length == kNibbleMax && !read_rest(in, in_end, &length)) return -EBADMSG;
    length += kMatchMin;
    const size_t left = static_cast<size_t>(out_end - out);
    if (offset == 0 || offset > static_cast<size_t>(out - target) || length > left) {
      return -EBADMSG;
    }
    if (offset >= kStep && length + kStep <= left) {
      // Whole steps, which may go beyond the match: what comes next overwrites that.
      for (size_t done = 0; done < length; done += kStep) {
        memcpy(out + done, out + done - offset, kStep);
      }
    } else {
      copy_match(out, offset, length);
    }
    out += length;
  }
  // Where a match ends a block its literals are missing; an empty one is none.
  return -EBADMSG;
}

}  // namespace dvk
