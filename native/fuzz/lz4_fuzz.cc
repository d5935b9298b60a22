// Blocks of LZ4. Any bytes are unpacked into room of any size, and nothing outside of it is
// touched; what they unpack to, and the bytes themselves, are packed and come back.

#include "../core/lz4.h"
#include "fuzz.h"

namespace {

using Bytes = std::vector<uint8_t>;

void must_come_back(const Bytes& source) {
  if (source.empty()) return;
  Bytes block(source.size() + source.size() / 255 + 16);
  const size_t size = dvk::lz4_pack(source.data(), source.size(), block.data(), block.size());
  dvk::fuzz::must(size > 0, "there was room for the block");
  block.resize(size);
  block.shrink_to_fit();
  Bytes out(source.size());
  const int64_t count = dvk::lz4_unpack(block.data(), size, out.data(), out.size());
  dvk::fuzz::must(count == static_cast<int64_t>(source.size()) && out == source,
                  "what was packed did not come back");
  Bytes tight(size - 1);
  const size_t none = dvk::lz4_pack(source.data(), source.size(), tight.data(), tight.size());
  dvk::fuzz::must(none == 0, "it fits into less");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dvk::fuzz::Input input(data, size);
  // A third of the inputs has room for much, and so on.
  const size_t room = input.take<uint16_t>() * size_t{1 + input.take<uint8_t>() % 3u * 16u};
  Bytes block(input.left());
  input.take(block.data(), block.size());
  Bytes out(room);
  const int64_t count = dvk::lz4_unpack(block.data(), block.size(), out.data(), out.size());
  dvk::fuzz::must(count <= static_cast<int64_t>(room), "more came out than there is room");
  must_come_back(block);
  if (count <= 0) return 0;
  out.resize(static_cast<size_t>(count));
  must_come_back(out);
  return 0;
}
