// CRC32C (Castagnoli, reflected polynomial 0x82f63b78).
#pragma once

#include <cstddef>
#include <cstdint>

namespace dvk::binding {

// The checksum of `length` bytes that follow bytes of checksum `seed` (0 for none); both in their
// final form.
uint32_t crc32c(const uint8_t* data, size_t length, uint32_t seed);

// The same by tables, for any CPU; and by the CPU's own instruction, where it has one.
uint32_t crc32c_table(const uint8_t* data, size_t length, uint32_t seed);
uint32_t crc32c_instruction(const uint8_t* data, size_t length, uint32_t seed);

// Whether the CPU has that instruction.
bool crc32c_accelerated();

}  // namespace dvk::binding
