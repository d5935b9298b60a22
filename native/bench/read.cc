// Reads a whole file once, in blocks, as `dd` would, and tells how fast.
//
// With the variant `drop` the file's pages leave the page cache first, and the read fails unless
// they are all gone: what is measured then comes from the file system, and not from memory it
// filled before.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "bench.h"

namespace bench {
namespace {

constexpr uint64_t kPageBytes = 4096;

// Pages of the file in the page cache. A file system without one cannot be mapped: then none.
uint64_t cached_pages(int fd, uint64_t bytes) {
  void* map = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return 0;
  std::vector<unsigned char> present((bytes + kPageBytes - 1) / kPageBytes);
  must(mincore(map, bytes, present.data()), "mincore");
  munmap(map, bytes);
  uint64_t count = 0;
  for (const unsigned char page : present) count += page & 1;
  return count;
}

void drop_cache(int fd, uint64_t bytes) {
  const int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (error != 0) die("posix_fadvise", error);
  if (cached_pages(fd, bytes) != 0) die("the file is still in the page cache", EBUSY);
}

}  // namespace

Result read_file(const char* path, const Options& options) {
  if (!options.cpus_client.empty()) pin(options.cpus_client[0]);
  const int fd = static_cast<int>(must(open(path, O_RDONLY | O_CLOEXEC), path));
  struct stat status;
  must(fstat(fd, &status), path);
  const uint64_t bytes = static_cast<uint64_t>(status.st_size);
  if (options.variant == "drop" && bytes > 0) drop_cache(fd, bytes);

  uint8_t* block = private_memory(options.bytes);
  Result result;
  const int64_t start = now_ns();
  for (;;) {
    const ssize_t n = read(fd, block, options.bytes);
    if (n == 0) break;
    result.checked += static_cast<uint64_t>(must(n, "read"));
  }
  const int64_t took = now_ns() - start;
  if (result.checked != bytes) die("the file ended early", EIO);
  result.per_second = static_cast<double>(bytes) * 1e9 / static_cast<double>(took);
  close(fd);
  return result;
}

}  // namespace bench
