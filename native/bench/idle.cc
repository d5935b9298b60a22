// Processes that do one thing for ever: wait in a call, or keep a CPU busy.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "../core/ipc.h"
#include "bench.h"

namespace bench {
namespace {

void say(const std::string& line) {
  must(write(STDOUT_FILENO, (line + '\n').data(), line.size() + 1), "write");
}

}  // namespace

void hog(int cpu) {
  follow(getppid());
  pin(cpu);
  say("busy");
  for (;;) asm volatile("" : : : "memory");
}

void wait_for_calls(const char* path) {
  follow(getppid());
  dvk::Segment* segment;
  std::string reason;
  must_code(dvk::Segment::open(path, &segment, &reason), "segment.open");
  dvk::BindOptions options;
  options.level = dvk::ProcessLevel::kServer;
  options.name = "waiter";
  dvk::Process* process;
  must_code(dvk::Process::bind(*segment, options, &process), "bind");
  say(std::to_string(process->endpoint));
  dvk::Message message;
  must_code(dvk::rcvrqst(*process, &message, dvk::kForever), "rcvrqst");
  for (;;) {
    uint64_t counter;
    memcpy(&counter, message.payload, sizeof counter);
    counter++;
    memcpy(message.payload, &counter, sizeof counter);
    const int32_t client = message.source;
    must_code(dvk::reply_receive(*process, client, &message, dvk::kForever), "reply_receive");
  }
}

}  // namespace bench
