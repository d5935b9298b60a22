// A segment's file with anything in it: opened, looked through, and its tables read as the tools
// do. Reference: S11.
//
// An input is a length for the file, then places and words: each is written into a good segment, or
// made different by a bit. Where the words of the tables and of the header are is known, so most
// inputs reach beyond the first check.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/bindings.h"
#include "../core/check.h"
#include "../core/link.h"
#include "../core/privilege.h"
#include "../core/trace.h"
#include "fuzz.h"

namespace dvk::fuzz {
namespace {

class File {
 public:
  File() : path_(new_path()) {
    SegmentOptions options;
    options.processes = 128;
    options.nodes = 2;
    options.arena_bytes = 1 << 16;
    options.dc_name = "fuzz";
    must(Segment::create(path_.c_str(), options) == 0, "create");
    {
      Segment* segment = open();
      must(segment != nullptr, "a new segment opens");
      for (int i = 0; i < 3; i++) {
        BindOptions bind;
        bind.slot = i == 0 ? 3 : -1;
        bind.level = i == 0 ? ProcessLevel::kServer : ProcessLevel::kUser;
        must(Process::bind(*segment, bind, &bound_[i]) == 0, "bind");
      }
      must(add_node(*segment, 1, "peer") == 0, "add_node");
      good_.resize(static_cast<size_t>(segment->arena() - segment->base()));
      delete segment;
    }
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    struct stat status{};
    must(fd_ >= 0 && fstat(fd_, &status) == 0, "stat");
    bytes_ = static_cast<uint64_t>(status.st_size);
    must(read_all(), "pread");
  }

  ~File() {
    unlink(path_.c_str());
    rmdir(path_.substr(0, path_.rfind('/')).c_str());
  }

  Segment* open() const {
    Segment* segment = nullptr;
    std::string reason;
    const int error = Segment::open(path_.c_str(), &segment, &reason);
    must((error == 0) == (segment != nullptr), "open says one thing and does another");
    return segment;
  }

  // Fills the file from the input.
  void fill(Input& input) {
    must(write_all(), "pwrite");
    const uint16_t cut = input.take<uint16_t>();
    const uint64_t bytes = bytes_ - (cut % 4 == 3 ? cut * uint64_t{64} % bytes_ : 0);
    must(ftruncate(fd_, static_cast<off_t>(bytes)) == 0, "ftruncate");
    while (!input.empty()) {
      const uint32_t place = input.take<uint32_t>();
      uint64_t value = input.take<uint64_t>();
      // Half of the places are in the header and the first slots.
      const uint64_t reach = place & 1 ? 64 * 1024 : good_.size();
      const uint64_t at = (place >> 1) % std::min(reach, bytes) & ~uint64_t{7};
      if (at + sizeof value > bytes) continue;
      uint64_t before = 0;
      must(pread(fd_, &before, sizeof before, static_cast<off_t>(at)) == 8, "pread");
      if ((value & 0xff) == 0x5a) value = before ^ uint64_t{1} << (value >> 8 & 63);
      must(pwrite(fd_, &value, sizeof value, static_cast<off_t>(at)) == 8, "pwrite");
    }
  }

 private:
  bool read_all() {
    return pread(fd_, good_.data(), good_.size(), 0) == static_cast<ssize_t>(good_.size());
  }
  bool write_all() {
    return pwrite(fd_, good_.data(), good_.size(), 0) == static_cast<ssize_t>(good_.size());
  }

  std::string path_;
  Process* bound_[3] = {};  // of a mapping that is gone: not to be used
  int fd_ = -1;
  uint64_t bytes_ = 0;         // of the file
  std::vector<uint8_t> good_;  // its tables; what follows is empty
};

void look_through(Segment& segment) {
  for (const std::string& fault : check_segment(segment)) must(!fault.empty(), "a fault is named");
  for (uint32_t slot = 0; slot < segment.processes() + 2; slot++) {
    ProcessInfo info{};
    if (process_info(segment, slot, &info) != 0) continue;
    must(strnlen(info.name, sizeof info.name) < sizeof info.name, "a name ends");
    lookup(segment, slot);
  }
  for (uint32_t node = 0; node < segment.nodes() + 1; node++) check_link(segment, node);
  must(arena_used(segment) <= segment.arena_bytes() * kExtents, "the arena is bounded");
  uint64_t queued = 0;
  segment.link_queue(0).each_bit([&](uint32_t) { queued++; });
  must(queued <= segment.processes(), "a queue is bounded");
}

}  // namespace
}  // namespace dvk::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static dvk::fuzz::File file;
  dvk::fuzz::Input input(data, size);
  file.fill(input);
  dvk::Segment* segment = file.open();
  if (segment == nullptr) return 0;
  dvk::fuzz::look_through(*segment);
  delete segment;
  return 0;
}
