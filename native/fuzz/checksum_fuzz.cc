// CRC32C of bytes that come from a network: all ways to it agree at every alignment, and in pieces
// as in one.

#include "../binding/crc32c.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using dvk::binding::crc32c;
  using dvk::binding::crc32c_instruction;
  using dvk::binding::crc32c_table;
  dvk::fuzz::Input input(data, size);
  const uint32_t seed = input.take<uint32_t>();
  const size_t skip = input.take<uint8_t>() % 9, cut = input.take<uint16_t>();
  std::vector<uint8_t> bytes(skip + input.left());
  input.take(bytes.data() + skip, bytes.size() - skip);
  const uint8_t* from = bytes.data() + skip;
  const size_t length = bytes.size() - skip, first = cut % (length + 1);
  const uint32_t whole = crc32c(from, length, seed);
  dvk::fuzz::must(whole == crc32c_table(from, length, seed), "the ways differ");
  dvk::fuzz::must(whole == crc32c_instruction(from, length, seed), "the ways differ");
  const uint32_t pieces = crc32c(from + first, length - first, crc32c(from, first, seed));
  dvk::fuzz::must(whole == pieces, "pieces differ from the whole");
  return 0;
}
