// What programs do with files in a directory of some file system, by one client or several at once.
//
// Each client has a directory of its own, `c0` and so on below the given one, which keeps its
// prepared files from run to run. Contents are verified: every block tells where it belongs and how
// often it was written, and is read back from the file system after its pages left the page cache;
// what was created is listed, and what was removed is gone.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench.h"
#include "measure.h"

namespace bench {
namespace {

constexpr uint64_t kSmallBytes = 4096, kPieceBytes = 1 << 20;
constexpr uint32_t kBatch = 64;

void make_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) die(path.c_str(), errno);
}

// The client's own directory.
std::string home(const Options& options) {
  const std::string path = options.directory + "/c" + std::to_string(options.pair);
  make_directory(path);
  return path;
}

std::string numbered(const std::string& directory, uint64_t number) {
  return directory + "/f" + std::to_string(number);
}

void create_file(const std::string& path) {
  const int fd = static_cast<int>(
      must(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644), path.c_str()));
  must(close(fd), "close");
}

uint64_t count_entries(const char* path) {
  DIR* directory = opendir(path);
  if (directory == nullptr) die(path, errno);
  uint64_t count = 0;
  errno = 0;
  for (const dirent* entry = readdir(directory); entry != nullptr; entry = readdir(directory)) {
    if (entry->d_name[0] != '.') count++;
  }
  if (errno != 0) die("readdir", errno);
  closedir(directory);
  return count;
}

// A directory of options.files empty files.
std::string prepared(const Options& options) {
  const std::string path = home(options) + "/many";
  make_directory(path);
  if (count_entries(path.c_str()) == options.files) return path;
  for (uint32_t i = 0; i < options.files; i++) create_file(numbered(path, i));
  return path;
}

// The times of the client are those of nobody who works for it, so they would mislead.
Result without_cpu(Result result) {
  result.cpu_ns = 0;
  result.counted = 0;
  return result;
}

Result run_create(const Options& options) {
  const std::string directory = home(options) + "/new";
  make_directory(directory);
  uint64_t made = 0;
  const Result result = measure(options, 0, 1, [&] { create_file(numbered(directory, made++)); });
  if (count_entries(directory.c_str()) != made) die("a file that was created is missing", EPROTO);
  for (uint64_t i = 0; i < made; i++) must(unlink(numbered(directory, i).c_str()), "unlink");
  must(rmdir(directory.c_str()), "rmdir");
  return without_cpu(result);
}

Result run_unlink(const Options& options) {
  const std::string directory = home(options) + "/old";
  make_directory(directory);
  meet(options);
  Result result;
  int64_t took = 0;
  while (took < options.run_ns) {
    for (uint32_t i = 0; i < kBatch; i++) create_file(numbered(directory, i));
    int64_t before = now_ns();
    for (uint32_t i = 0; i < kBatch; i++) {
      must(unlink(numbered(directory, i).c_str()), "unlink");
      const int64_t after = now_ns();
      result.latency.add(after - before);
      took += after - before;
      before = after;
    }
    if (count_entries(directory.c_str()) != 0) die("a file that was removed is there", EPROTO);
    result.checked += kBatch;
  }
  must(rmdir(directory.c_str()), "rmdir");
  result.per_second = static_cast<double>(result.checked) * 1e9 / static_cast<double>(took);
  return result;
}

void stat_one(const std::string& directory, uint64_t number) {
  struct stat status;
  must(stat(numbered(directory, number).c_str(), &status), "stat");
  if (!S_ISREG(status.st_mode)) die("stat tells of another file", EPROTO);
}

Result run_stat(const Options& options) {
  const std::string directory = prepared(options);
  uint64_t next = 0;
  for (; next < options.files; next++) stat_one(directory, next);
  const auto look = [&] { stat_one(directory, next++ % options.files); };
  return without_cpu(measure(options, 0, 1, look));
}

// What the kernel keeps of names and inodes is dropped before each round, of all file systems.
void drop_names() {
  const int fd = static_cast<int>(
      must(open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC), "/proc/sys/vm/drop_caches"));
  must(write(fd, "2", 1), "drop_caches");
  close(fd);
}

// Makes the directory that others look at.
Result run_prepare(const Options& options) {
  prepared(options);
  Result result;
  result.checked = options.files;
  return result;
}

// Looks at each file once, and adds the time to `took`.
void stat_all(const std::string& directory, uint32_t files, Result& result, int64_t& took) {
  drop_names();
  int64_t before = now_ns();
  for (uint32_t i = 0; i < files; i++) {
    stat_one(directory, i);
    const int64_t after = now_ns();
    result.latency.add(after - before);
    took += after - before;
    before = after;
  }
  result.checked += files;
  result.per_second = static_cast<double>(result.checked) * 1e9 / static_cast<double>(took);
}

// Once, of a directory that was prepared: whoever looks twice may be answered from some cache.
Result run_stat_cold(const Options& options) {
  const std::string directory = home(options) + "/many";
  meet(options);
  Result result;
  int64_t took = 0;
  stat_all(directory, options.files, result, took);
  return result;
}

Result run_stat_dropped(const Options& options) {
  const std::string directory = prepared(options);
  meet(options);
  Result result;
  int64_t took = 0;
  while (took < options.run_ns) stat_all(directory, options.files, result, took);
  return result;
}

Result run_list(const Options& options) {
  const std::string directory = prepared(options);
  return without_cpu(measure(options, 0, options.files, [&] {
    if (count_entries(directory.c_str()) != options.files) die("an entry is missing", EPROTO);
  }));
}

// Pages of the file in the page cache. A file system without one cannot be mapped: then none.
uint64_t cached_pages(int fd, uint64_t bytes) {
  void* map = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return 0;
  std::vector<unsigned char> present((bytes + kSmallBytes - 1) / kSmallBytes);
  must(mincore(map, bytes, present.data()), "mincore");
  munmap(map, bytes);
  uint64_t count = 0;
  for (const unsigned char page : present) count += page & 1;
  return count;
}

// A file of blocks that each say their number and their version, in the first and last words.
class Blocks {
 public:
  Blocks(std::string path, uint64_t total, uint64_t block)
      : path_(std::move(path)),
        bytes_(block),
        count_(total / block),
        buffer_(private_memory(block)),
        versions_(count_) {
    fd_ = static_cast<int>(
        must(open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644), path_.c_str()));
  }
  ~Blocks() {
    close(fd_);
    munmap(buffer_, bytes_);
  }
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  uint64_t count() const {
    return count_;
  }
  // Writes the file whole when it is not yet, else learns its versions.
  void prepare() {
    struct stat status;
    must(fstat(fd_, &status), "fstat");
    if (static_cast<uint64_t>(status.st_size) == count_ * bytes_) {
      drop();
      for (uint64_t i = 0; i < count_; i++) versions_[i] = read_words(i);
      return;
    }
    write_all();
    flush();
  }
  void empty() {
    must(ftruncate(fd_, 0), "ftruncate");
  }
  void write_block(uint64_t number) {
    put(buffer_, number, ++versions_[number]);
    if (pwrite(fd_, buffer_, bytes_, static_cast<off_t>(number * bytes_)) !=
        static_cast<ssize_t>(bytes_)) {
      die("a block was not written", errno);
    }
  }
  void read_block(uint64_t number) {
    if (read_words(number) != versions_[number]) die("a block has other contents", EPROTO);
  }
  void flush() {
    must(fsync(fd_), "fsync");
  }
  // Lets the pages leave the page cache.
  void drop() {
    flush();
    const int error = posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    if (error != 0) die("posix_fadvise", error);
    if (cached_pages(fd_, count_ * bytes_) != 0) die("the file is still in the page cache", EBUSY);
  }
  void read_at_random() {
    const int error = posix_fadvise(fd_, 0, 0, POSIX_FADV_RANDOM);
    if (error != 0) die("posix_fadvise", error);
  }
  // Reads all from the file system.
  void verify() {
    drop();
    for (uint64_t i = 0; i < count_; i++) read_block(i);
  }

 private:
  // In long pieces, since short ones would take some file systems minutes.
  void write_all() {
    const uint64_t together = std::max<uint64_t>(1, kPieceBytes / bytes_);
    std::vector<uint8_t> piece(together * bytes_, 1);
    for (uint64_t first = 0; first < count_; first += together) {
      const uint64_t blocks = std::min(together, count_ - first);
      for (uint64_t i = 0; i < blocks; i++) {
        put(piece.data() + i * bytes_, first + i, ++versions_[first + i]);
      }
      if (pwrite(fd_, piece.data(), blocks * bytes_, static_cast<off_t>(first * bytes_)) !=
          static_cast<ssize_t>(blocks * bytes_)) {
        die("a piece was not written", errno);
      }
    }
  }
  void put(uint8_t* block, uint64_t number, uint64_t version) const {
    const uint64_t words[2] = {number, version};
    memcpy(block, words, sizeof words);
    memcpy(block + bytes_ - sizeof words, words, sizeof words);
  }
  uint64_t read_words(uint64_t number) {
    if (pread(fd_, buffer_, bytes_, static_cast<off_t>(number * bytes_)) !=
        static_cast<ssize_t>(bytes_)) {
      die("a block was not read", errno);
    }
    uint64_t first[2], last[2];
    memcpy(first, buffer_, sizeof first);
    memcpy(last, buffer_ + bytes_ - sizeof last, sizeof last);
    if (first[0] != number || memcmp(first, last, sizeof first) != 0) {
      die("a block has other contents", EPROTO);
    }
    return first[1];
  }

  const std::string path_;
  const uint64_t bytes_, count_;
  uint8_t* const buffer_;
  std::vector<uint64_t> versions_;
  int fd_;
};

// Numbers that look random and are the same in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  uint64_t below(uint64_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % limit;
  }

 private:
  uint64_t state_;
};

// All of the file is written once and flushed; both count.
Result run_write(const Options& options) {
  Blocks file(home(options) + "/written", options.total, options.bytes);
  file.empty();
  meet(options);
  Result result;
  const int64_t start = now_ns();
  for (uint64_t i = 0; i < file.count(); i++) file.write_block(i);
  file.flush();
  const int64_t took = now_ns() - start;
  file.verify();
  result.checked = file.count();
  result.per_second = static_cast<double>(options.total) * 1e9 / static_cast<double>(took);
  file.empty();
  return result;
}

Result run_read(const Options& options) {
  Blocks file(home(options) + "/whole", options.total, options.bytes);
  file.prepare();
  file.drop();
  meet(options);
  Result result;
  const int64_t start = now_ns();
  for (uint64_t i = 0; i < file.count(); i++) file.read_block(i);
  const int64_t took = now_ns() - start;
  result.checked = file.count();
  result.per_second = static_cast<double>(options.total) * 1e9 / static_cast<double>(took);
  return result;
}

Result run_read_random(const Options& options) {
  Blocks file(home(options) + "/random", options.total, kSmallBytes);
  file.prepare();
  file.drop();
  file.read_at_random();
  Random random(options.pair + 1);
  return without_cpu(measure(options, 0, 1, [&] { file.read_block(random.below(file.count())); }));
}

// What it takes until the blocks are safe counts too.
Result run_write_random(const Options& options) {
  Blocks file(home(options) + "/random", options.total, kSmallBytes);
  file.prepare();
  Random random(options.pair + 1);
  meet(options);
  Result result;
  const int64_t start = now_ns();
  int64_t took = 0;
  for (; took < options.run_ns; took = now_ns() - start) {
    file.write_block(random.below(file.count()));
    result.checked++;
  }
  file.flush();
  took = now_ns() - start;
  file.verify();
  result.per_second = static_cast<double>(result.checked) * 1e9 / static_cast<double>(took);
  return result;
}

}  // namespace

const Case kFileCases[] = {
    {"read", run_read},
    {"write", run_write},
    {"read-random", run_read_random},
    {"write-random", run_write_random},
    {"create", run_create},
    {"stat", run_stat},
    {"prepare", run_prepare},
    {"stat-cold", run_stat_cold},
    {"stat-dropped", run_stat_dropped},
    {"list", run_list},
    {"unlink", run_unlink},
    {},
};

}  // namespace bench
