// A small test framework: each test runs in a process of its own, so a crash or a hang is that
// test's failure and no other's.
//
// Tests register themselves; `main.cc` runs them. A failed check ends the process it is in, at
// once; a test that forks joins its children, and their failure is its own.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>

namespace dvk::test {

struct Test {
  const char* name;
  void (*run)();
};

bool add(const Test& test);

// Ends the test: keeps the first reason, and exits.
[[noreturn]] void fail_test(const char* file, int line, const std::string& reason);

// Ends the test, which cannot run here; the reason is printed.
[[noreturn]] void skip_test(const std::string& reason);

// The seed of this run; the same for every test, and printed.
uint64_t seed();
// A folder of this test alone, removed by the runner.
const std::string& folder();

// How much work a test does: 1, or a small part under a sanitizer, which is ten times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
inline constexpr uint64_t scaled(uint64_t full, uint64_t sanitized) {
  return kSanitized ? sanitized : full;
}
// The same for tests that have a long form, which `npm run test:soak` runs (DVK_SOAK).
uint64_t at_length(uint64_t whole, uint64_t brief);

template <typename A, typename B>
void check_equal(const char* file, int line, const char* text, const A& actual, const B& wanted) {
  if (actual == static_cast<A>(wanted)) return;
  std::ostringstream reason;
  reason << text << " is " << actual << ", not " << wanted;
  fail_test(file, line, reason.str());
}

}  // namespace dvk::test

#define DVK_TEST_JOIN2(a, b) a##b
#define DVK_TEST_JOIN(a, b) DVK_TEST_JOIN2(a, b)
#define DVK_TEST(id, name)                                                                     \
  static void id();                                                                            \
  [[maybe_unused]] static const bool DVK_TEST_JOIN(id, _added) = ::dvk::test::add({name, id}); \
  static void id()

#define TEST(name) DVK_TEST(DVK_TEST_JOIN(test_at_line_, __LINE__), name)

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) ::dvk::test::fail_test(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQUAL(actual, wanted) \
  ::dvk::test::check_equal(__FILE__, __LINE__, #actual, (actual), (wanted))
