// One run of one native bench: prints one line of JSON.
//
//   dvk_bench ipc|wake|notify|senda|trace|vcopy CASE [--cpu-a N,...] [--cpu-b N,...] [--pairs N]
//             [--ms N] [--bytes N] [--variant NAME]
//   dvk_bench files CASE --dir DIRECTORY [--pairs N] [--ms N] [--bytes N] [--total N]
//             [--files N]
//   dvk_bench hog CPU         keeps a CPU busy until it is killed
//   dvk_bench wait SEGMENT    waits for calls until it is killed
//   dvk_bench cpu PID...      prints the CPU time of each process in ns
//
// CPU a is the measuring process's, b the peer's, one for each pair; left out, they run where they
// like. The harness in bench/ runs it several times, in turn with other cases.
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

struct Group {
  const char* name;
  const Case* tables[3];
};
const Group kGroups[] = {
    {"ipc", {bench::kTransportCases, bench::kKernelCases, nullptr}},
    {"wake", {bench::kLoopCases, nullptr}},
    {"notify", {bench::kStreamCases, nullptr}},
    {"trace", {bench::kTracedCases, nullptr}},
    {"senda", {bench::kOneWayCases, bench::kKernelOneWayCases, nullptr}},
    {"vcopy", {bench::kBulkCases, bench::kCopyCases, nullptr}},
    {"files", {bench::kFileCases, nullptr}},
};

const Case* find_case(const char* group, const char* name) {
  for (const Group& candidate : kGroups) {
    if (strcmp(group, candidate.name) != 0) continue;
    for (const Case* const* table = candidate.tables; *table != nullptr; table++) {
      const Case* found = find(*table, name);
      if (found != nullptr) return found;
    }
  }
  return nullptr;
}

bool parse_number(const char* text, long long* number) {
  char* end;
  *number = strtoll(text, &end, 10);
  return *end == '\0' && end != text;
}

bool parse_cpus(const char* text, std::vector<int>* cpus) {
  for (const char* at = text;;) {
    char* end;
    const long cpu = strtol(at, &end, 10);
    if (end == at || cpu < 0) return false;
    cpus->push_back(static_cast<int>(cpu));
    if (*end == '\0') return true;
    if (*end != ',') return false;
    at = end + 1;
  }
}

bool parse(const char* name, const char* value, Options* options) {
  if (strcmp(name, "--variant") == 0) {
    options->variant = value;
    return true;
  }
  if (strcmp(name, "--dir") == 0) {
    options->directory = value;
    return true;
  }
  if (strcmp(name, "--cpu-a") == 0) return parse_cpus(value, &options->cpus_client);
  if (strcmp(name, "--cpu-b") == 0) return parse_cpus(value, &options->cpus_peer);
  long long number;
  if (!parse_number(value, &number)) return false;
  if (strcmp(name, "--pairs") == 0 && number > 0 && number <= bench::kPairsMax) {
    options->pairs = static_cast<uint32_t>(number);
  } else if (strcmp(name, "--ms") == 0 && number > 0) {
    options->run_ns = number * 1'000'000;
  } else if (strcmp(name, "--bytes") == 0 && number >= 16 && number <= (1 << 30)) {
    options->bytes = static_cast<uint64_t>(number);
  } else if (strcmp(name, "--total") == 0 && number >= (1 << 20) && number <= (1LL << 32)) {
    options->total = static_cast<uint64_t>(number);
  } else if (strcmp(name, "--files") == 0 && number > 0 && number <= 1'000'000) {
    options->files = static_cast<uint32_t>(number);
  } else {
    return false;
  }
  return true;
}

int usage() {
  fprintf(stderr,
          "usage: dvk_bench ipc|wake|notify|senda|trace|vcopy CASE [--cpu-a N,...]\n"
          "                 [--cpu-b N,...] [--pairs N] [--ms N] [--bytes N] [--variant NAME]\n"
          "       dvk_bench files CASE --dir DIRECTORY [--pairs N] [--ms N] [--bytes N]\n"
          "                 [--total N] [--files N]\n"
          "       dvk_bench hog CPU | wait SEGMENT | cpu PID...\n");
  return 2;
}

int print_cpu_times(int count, char** pids) {
  const char* separator = "[";
  for (int i = 0; i < count; i++) {
    long long pid;
    if (!parse_number(pids[i], &pid)) return usage();
    printf("%s%lld", separator, static_cast<long long>(bench::cpu_ns(static_cast<pid_t>(pid))));
    separator = ",";
  }
  printf("]\n");
  return 0;
}

void print(const Result& result) {
  printf("{\"perSecond\":%.3f,\"checked\":%llu", result.per_second,
         static_cast<unsigned long long>(result.checked));
  if (result.counted > 0) {
    printf(",\"cpu\":{\"ns\":%lld,\"trips\":%llu}", static_cast<long long>(result.cpu_ns),
           static_cast<unsigned long long>(result.counted));
  }
  if (!result.latency.empty()) printf(",\"latency\":%s", result.latency.json().c_str());
  printf("}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return usage();
  const char* const group = argv[1];
  if (strcmp(group, "cpu") == 0) return print_cpu_times(argc - 2, argv + 2);
  if (strcmp(group, "wait") == 0) bench::wait_for_calls(argv[2]);
  if (strcmp(group, "hog") == 0) {
    long long cpu;
    if (!parse_number(argv[2], &cpu)) return usage();
    bench::hog(static_cast<int>(cpu));
  }
  const Case* chosen = find_case(group, argv[2]);
  if (chosen == nullptr || argc % 2 == 0) return usage();
  Options options;
  for (int i = 3; i < argc; i += 2) {
    if (!parse(argv[i], argv[i + 1], &options)) return usage();
  }
  print(bench::run_pairs(*chosen, options));
  return 0;
}
