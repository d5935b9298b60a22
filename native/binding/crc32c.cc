#include "crc32c.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <array>
#include <cstring>

namespace dvk::binding {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;

using Slices = std::array<std::array<uint32_t, 256>, 8>;

constexpr Slices make_slices() {
  Slices slices{};
  for (uint32_t n = 0; n < 256; n++) {
    uint32_t crc = n;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ kPolynomial : crc >> 1;
    slices[0][n] = crc;
  }
  for (uint32_t n = 0; n < 256; n++) {
    for (size_t k = 1; k < 8; k++) {
      const uint32_t crc = slices[k - 1][n];
      slices[k][n] = slices[0][crc & 0xff] ^ crc >> 8;
    }
  }
  return slices;
}

constexpr Slices kSlices = make_slices();

uint64_t read64(const uint8_t* data) {
  uint64_t word;
  memcpy(&word, data, sizeof word);
  return word;
}

// Eight bytes a step ("slicing by 8"). Works on the raw register, without the inversions at both
// ends.
uint32_t raw_table(const uint8_t* data, size_t length, uint32_t crc) {
  for (; length >= 8; data += 8, length -= 8) {
    const uint64_t word = read64(data) ^ crc;
    crc = 0;
    for (size_t k = 0; k < 8; k++) crc ^= kSlices[7 - k][word >> 8 * k & 0xff];
  }
  for (; length > 0; data++, length--) crc = kSlices[0][(crc ^ *data) & 0xff] ^ crc >> 8;
  return crc;
}

}  // namespace

uint32_t crc32c_table(const uint8_t* data, size_t length, uint32_t seed) {
  return ~raw_table(data, length, ~seed);
}

#if defined(__x86_64__)

namespace {

// The instruction takes 3 cycles and one can start in each, so three blocks are done at a time.
// What the first block gave is then moved over the bytes of the second: that is linear in the
// register, hence four table look-ups.
constexpr size_t kLong = 4096, kShort = 256;

class Shift {
 public:
  explicit Shift(size_t bytes) {
    static const uint8_t zeros[kLong] = {};
    std::array<uint32_t, 32> bit{};
    for (size_t i = 0; i < 32; i++) bit[i] = raw_table(zeros, bytes, uint32_t{1} << i);
    for (size_t k = 0; k < 4; k++) {
      for (size_t n = 0; n < 256; n++) {
        uint32_t value = 0;
        for (size_t i = 0; i < 8; i++) value ^= n >> i & 1 ? bit[8 * k + i] : 0;
        table_[k][n] = value;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return table_[0][crc & 0xff] ^ table_[1][crc >> 8 & 0xff] ^ table_[2][crc >> 16 & 0xff] ^
           table_[3][crc >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> table_{};
};

__attribute__((target("sse4.2"))) uint64_t three_blocks(const uint8_t* data, size_t block,
                                                        uint64_t first, const Shift& shift) {
  uint64_t second = 0, third = 0;
  for (size_t i = 0; i < block; i += 8) {
    first = __builtin_ia32_crc32di(first, read64(data + i));
    second = __builtin_ia32_crc32di(second, read64(data + block + i));
    third = __builtin_ia32_crc32di(third, read64(data + 2 * block + i));
  }
  const uint32_t two = shift(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second);
  return shift(two) ^ static_cast<uint32_t>(third);
}

__attribute__((target("sse4.2"))) uint32_t raw_instruction(const uint8_t* data, size_t length,
                                                           uint32_t seed) {
  static const Shift over_long(kLong), over_short(kShort);
  uint64_t crc = seed;
  for (; length >= 3 * kLong; data += 3 * kLong, length -= 3 * kLong) {
    crc = three_blocks(data, kLong, crc, over_long);
  }
  for (; length >= 3 * kShort; data += 3 * kShort, length -= 3 * kShort) {
    crc = three_blocks(data, kShort, crc, over_short);
  }
  for (; length >= 8; data += 8, length -= 8) crc = __builtin_ia32_crc32di(crc, read64(data));
  uint32_t rest = static_cast<uint32_t>(crc);
  for (; length > 0; data++, length--) rest = __builtin_ia32_crc32qi(rest, *data);
  return rest;
}

// x^`power` modulo the polynomial, as a factor of a carry-less product of reflected numbers.
constexpr int64_t factor(int power) {
  uint32_t value = 0x80000000;  // x^0
  for (int i = 0; i < power; i++) value = value & 1 ? value >> 1 ^ kPolynomial : value >> 1;
  return int64_t{value} << 1;
}

// Where the CPU multiplies 64 bytes at once: what a register of 128 bits holds is as many bits
// further on in the message congruent to the sum of two products. So four accumulators go over the
// message, and what they hold at the end is a message of 256 bytes with the same remainder (Gopal
// et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009).
constexpr size_t kFolded = 256;
constexpr int kFoldedBits = 8 * kFolded;

__attribute__((target("avx512f,vpclmulqdq,sse4.2"))) uint32_t raw_folded(const uint8_t* data,
                                                                         size_t length,
                                                                         uint32_t seed) {
  constexpr int64_t kLow = factor(kFoldedBits + 32), kHigh = factor(kFoldedBits - 32);
  const __m512i factors = _mm512_set4_epi64(kHigh, kLow, kHigh, kLow);
  __m512i sums[4];
  for (size_t i = 0; i < 4; i++) sums[i] = _mm512_loadu_si512(data + 64 * i);
  const __m128i first = _mm_cvtsi32_si128(static_cast<int>(seed));
  sums[0] = _mm512_xor_si512(sums[0], _mm512_zextsi128_si512(first));
  for (data += kFolded, length -= kFolded; length >= kFolded; data += kFolded, length -= kFolded) {
    for (size_t i = 0; i < 4; i++) {
      const __m512i low = _mm512_clmulepi64_epi128(sums[i], factors, 0x00);
      const __m512i high = _mm512_clmulepi64_epi128(sums[i], factors, 0x11);
      const __m512i next = _mm512_loadu_si512(data + 64 * i);
      sums[i] = _mm512_ternarylogic_epi64(low, high, next, 0x96);
    }
  }
  alignas(64) uint8_t rest[kFolded];
  for (size_t i = 0; i < 4; i++) _mm512_store_si512(rest + 64 * i, sums[i]);
  return raw_instruction(data, length, raw_instruction(rest, kFolded, 0));
}

// Shorter data is done before the tail of the long way is.
constexpr size_t kFoldedMin = 1024;

bool can_fold() {
  static const bool can = __builtin_cpu_supports("avx512f") != 0 &&
                          __builtin_cpu_supports("vpclmulqdq") != 0 &&
                          __builtin_cpu_supports("sse4.2") != 0;
  return can;
}

}  // namespace

bool crc32c_accelerated() {
  static const bool has = __builtin_cpu_supports("sse4.2") != 0;
  return has;
}

uint32_t crc32c_instruction(const uint8_t* data, size_t length, uint32_t seed) {
  return crc32c_accelerated() ? ~raw_instruction(data, length, ~seed)
                              : crc32c_table(data, length, seed);
}

uint32_t crc32c(const uint8_t* data, size_t length, uint32_t seed) {
  if (length >= kFoldedMin && can_fold()) return ~raw_folded(data, length, ~seed);
  return crc32c_instruction(data, length, seed);
}

#else

bool crc32c_accelerated() {
  return false;
}

uint32_t crc32c_instruction(const uint8_t* data, size_t length, uint32_t seed) {
  return crc32c_table(data, length, seed);
}

uint32_t crc32c(const uint8_t* data, size_t length, uint32_t seed) {
  return crc32c_table(data, length, seed);
}

#endif

}  // namespace dvk::binding
