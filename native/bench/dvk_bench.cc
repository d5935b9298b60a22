// One run of one native bench: prints one line of JSON.
//
//   dvk_bench ipc|vcopy CASE [--cpu-a N] [--cpu-b N] [--ms N] [--bytes N] [--variant NAME]
//   dvk_bench read FILE [--cpu-a N] [--bytes N] [--variant drop]
//
// CPU a is the measuring process's, b the peer's; left out, they run where they like. The harness
// in bench/ runs it several times, in turn with other cases.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

namespace {

using bench::Case;
using bench::Options;
using bench::Result;

const Case* find(const Case* table, const char* name) {
  for (; table->name != nullptr; table++) {
    if (strcmp(table->name, name) == 0) return table;
  }
  return nullptr;
}

const Case* find_case(const char* group, const char* name) {
  const bool ipc = strcmp(group, "ipc") == 0;
  if (!ipc && strcmp(group, "vcopy") != 0) return nullptr;
  const Case* found = find(ipc ? bench::kTransportCases : bench::kBulkCases, name);
  return found != nullptr ? found : find(ipc ? bench::kKernelCases : bench::kCopyCases, name);
}

bool parse(const char* name, const char* value, Options* options) {
  if (strcmp(name, "--variant") == 0) {
    options->variant = value;
    return true;
  }
  char* end;
  const long long number = strtoll(value, &end, 10);
  if (*end != '\0' || end == value) return false;
  if (strcmp(name, "--cpu-a") == 0) {
    options->cpu_client = static_cast<int>(number);
  } else if (strcmp(name, "--cpu-b") == 0) {
    options->cpu_peer = static_cast<int>(number);
  } else if (strcmp(name, "--ms") == 0 && number > 0) {
    options->run_ns = number * 1'000'000;
  } else if (strcmp(name, "--bytes") == 0 && number >= 16 && number <= (1 << 30)) {
    options->bytes = static_cast<uint64_t>(number);
  } else {
    return false;
  }
  return true;
}

int usage() {
  fprintf(stderr,
          "usage: dvk_bench ipc|vcopy|read CASE|FILE [--cpu-a N] [--cpu-b N] [--ms N] "
          "[--bytes N] [--variant NAME]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) return usage();
  const bool reads = strcmp(argv[1], "read") == 0;
  const Case* chosen = reads ? nullptr : find_case(argv[1], argv[2]);
  if (chosen == nullptr && !reads) return usage();
  Options options;
  for (int i = 3; i < argc; i += 2) {
    if (!parse(argv[i], argv[i + 1], &options)) return usage();
  }
  const Result result = reads ? bench::read_file(argv[2], options) : chosen->run(options);
  printf("{\"perSecond\":%.3f,\"checked\":%llu", result.per_second,
         static_cast<unsigned long long>(result.checked));
  if (result.has_latency) printf(",\"latency\":%s", result.latency.json().c_str());
  printf("}\n");
  return 0;
}
