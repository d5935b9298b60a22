// Moves the time of day of one process: to be preloaded. DVK_TEST_CLOCK names a file of three words
// of 8 bytes, which hold at each moment: by how many nanoseconds the clock is ahead, how many times
// as fast it goes, and since when it does, in nanoseconds of the true time of day. Clocks that only
// go forward stay.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

struct shift {
  long long ahead, rate, since;
};

static volatile const struct shift* shift;

__attribute__((constructor)) static void attach(void) {
  const char* path = getenv("DVK_TEST_CLOCK");
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();
  void* at = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) abort();
  shift = at;
  close(fd);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  const int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result != 0 || shift == NULL) return result;
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return 0;
  const long long true_ns = now->tv_sec * SECOND + now->tv_nsec;
  const long long gained = (shift->rate - 1) * (true_ns - shift->since);
  const long long ns = true_ns + shift->ahead + gained;
  now->tv_sec = ns / SECOND;
  now->tv_nsec = ns % SECOND;
  return 0;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  (void)zone;
  struct timespec precise;
  const int result = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return result;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
