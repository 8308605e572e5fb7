/* A test harness in forty lines. A test program includes the library, names its tests with TEST,
 * runs them from main with RUN and returns TEST_END("name"). Each failed check prints one line with
 * its place; the last line counts the checks; the exit status is 1 if any failed. */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define TEST_UNUSED __attribute__((unused))
#else
#define TEST_UNUSED
#endif

static int test_passed, test_failed;

static int test_check(int ok, const char *what, const char *file, int line) {
  if (ok) test_passed++;
  else {
    test_failed++;
    printf("%s:%d: failed: %s\n", file, line, what);
  }
  return ok;
}

TEST_UNUSED static int test_close(double got, double want, double tolerance, const char *what,
                      const char *file, int line) {
  int ok = fabs(got - want) <= tolerance; /* false for NaN */
  if (!test_check(ok, what, file, line)) {
    printf("  got %.12g, want %.12g, allowed %.3g, off by %.3g\n", got, want, tolerance,
           fabs(got - want));
  }
  return ok;
}

#define TEST(name) static void name(void)
#define RUN(name) name()
#define CHECK(condition) test_check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define CHECK_CLOSE(got, want, tolerance) \
  test_close((double)(got), (double)(want), (double)(tolerance), #got, __FILE__, __LINE__)
/* A string that must contain another: for error sentences. */
#define CHECK_HAS(text, part) \
  (test_check(strstr((text), (part)) != NULL, "\"" part "\" in " #text, __FILE__, __LINE__) \
       ? 1 : (printf("  text: %s\n", (text)), 0))
#define TEST_END(name) \
  (printf("%s: %d passed, %d failed\n", name, test_passed, test_failed), test_failed != 0)

#endif
