// Runs a fuzzer without libFuzzer: over a kept corpus, then over mutations of it from a seed.
//
// Usage: TARGET CORPUS [MUTATIONS [SEED]]. A corpus is a text file: an input a line, in
// hexadecimal;
// `#` begins a comment. It prints `ok NAME` as the native tests do. What breaks ends the program,
// which then says which input it was, to be kept as a line of the corpus.

#include <fstream>
#include <random>

#include "fuzz.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kBytesMax = 4096;

const Bytes* current;  // null when no input runs

void tell_input() {
  if (current == nullptr) return;
  fprintf(stderr, "input: ");
  for (const uint8_t byte : *current) fprintf(stderr, "%02x", byte);
  fprintf(stderr, "\n");
}

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

void run(const Bytes& input) {
  current = &input;
  // A copy of exactly this size, so that a read beyond it is noticed.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  current = nullptr;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::vector<Bytes> read_corpus(const char* path) {
  std::vector<Bytes> inputs;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    Bytes bytes;
    for (size_t i = 0; i + 1 < line.size() && digit(line[i]) >= 0; i += 2) {
      bytes.push_back(static_cast<uint8_t>(digit(line[i]) << 4 | digit(line[i + 1])));
    }
    if (!bytes.empty()) inputs.push_back(std::move(bytes));
  }
  return inputs;
}

class Mutator {
 public:
  Mutator(const std::vector<Bytes>& corpus, uint64_t seed) : corpus_(corpus), random_(seed) {}

  Bytes next() {
    Bytes bytes = any();
    for (uint64_t count = 1 + below(6); count > 0; count--) change(bytes);
    if (bytes.size() > kBytesMax) bytes.resize(kBytesMax);
    return bytes;
  }

 private:
  uint64_t below(uint64_t bound) {
    return random_() % bound;
  }
  const Bytes& any() {
    return corpus_[below(corpus_.size())];
  }
  uint8_t strange() {
    constexpr uint8_t kEdges[] = {0, 1, 0x7f, 0x80, 0xff};
    return below(2) == 0 ? kEdges[below(sizeof kEdges)] : static_cast<uint8_t>(random_());
  }
  void change(Bytes& bytes) {
    if (bytes.empty()) bytes.push_back(strange());
    const size_t at = below(bytes.size());
    const auto place = bytes.begin() + static_cast<ptrdiff_t>(at);
    switch (below(6)) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1 << below(8));
        break;
      case 1:
        for (size_t i = at; i < std::min(at + 4, bytes.size()); i++) bytes[i] = strange();
        break;
      case 2:
        bytes[at] = strange();
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(place, 1 + below(8), strange());
        break;
      default: {
        const Bytes& other = any();
        const size_t from = below(other.size());
        bytes.insert(bytes.end(), other.begin() + static_cast<ptrdiff_t>(from), other.end());
      }
    }
  }

  const std::vector<Bytes>& corpus_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s CORPUS [MUTATIONS [SEED]]\n", argv[0]);
    return 2;
  }
  const uint64_t mutations = argc > 2 ? strtoull(argv[2], nullptr, 10) : 0;
  const uint64_t seed = argc > 3 ? strtoull(argv[3], nullptr, 10) : 1;
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell_input);
  const std::string path = argv[0];
  const std::string name = path.substr(path.rfind('/') + 1);
  const std::vector<Bytes> corpus = read_corpus(argv[1]);
  if (corpus.empty()) {
    printf("not ok %s: no corpus in %s\n0 passed, 1 failed\n", name.c_str(), argv[1]);
    return 1;
  }
  for (const Bytes& input : corpus) run(input);
  printf("ok %s: %zu kept inputs\n", name.c_str(), corpus.size());
  Mutator mutator(corpus, seed);
  for (uint64_t i = 0; i < mutations; i++) run(mutator.next());
  printf("ok %s: %llu mutations, seed %llu\n2 passed, 0 failed\n", name.c_str(),
         static_cast<unsigned long long>(mutations), static_cast<unsigned long long>(seed));
  return 0;
}
