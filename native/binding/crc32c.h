// CRC32C (Castagnoli, reflected polynomial 0x82f63b78).
#pragma once

#include <cstddef>
#include <cstdint>

namespace dvk::binding {

// The checksum of `length` bytes that follow bytes of checksum `seed` (0 for none); both in their
// final form.
uint32_t crc32c(const uint8_t* data, size_t length, uint32_t seed);

// The same by tables, for any CPU.
uint32_t crc32c_table(const uint8_t* data, size_t length, uint32_t seed);

// Whether `crc32c` uses the CPU's own instruction.
bool crc32c_accelerated();

}  // namespace dvk::binding
