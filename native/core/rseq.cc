#include "rseq.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

// Of glibc since 2.35, sys/rseq.h: where the area lies beside the thread pointer, and its size, 0
// when none is registered.
extern "C" {
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace dvk {
namespace {

// linux/rseq.h: the flag, the length that glibc registers, and the signature that it gives.
constexpr int kUnregister = 1;
constexpr uint32_t kAreaBytes = 32;
#if defined(__x86_64__)
constexpr uint32_t kSignature = 0x53053053;
#elif defined(__aarch64__)
constexpr uint32_t kSignature = 0xd428bc00;
#else
constexpr uint32_t kSignature = 0;
#endif

}  // namespace

void leave_rseq() {
  static thread_local bool asked = false;
  if (asked) return;
  asked = true;
  const char* keep = getenv("DVK_KEEP_RSEQ");
  if (keep != nullptr && keep[0] == '1') return;
  if (kSignature == 0 || &__rseq_size == nullptr || __rseq_size == 0) return;
  uint8_t* area = static_cast<uint8_t*>(__builtin_thread_pointer()) + __rseq_offset;
  // Fails, and changes nothing, where the area was registered otherwise.
  syscall(SYS_rseq, area, kAreaBytes, kUnregister, kSignature);
}

}  // namespace dvk
