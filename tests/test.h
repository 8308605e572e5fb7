/* A test harness in forty lines. A test program includes the library, names its tests with TEST,
 * runs them from main with RUN and returns TEST_END("name"). Each failed check prints one line with
 * its place; the last line counts the checks; the exit status is 1 if any failed. */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#include <process.h>
#define TEST_PROCESS ((unsigned long)_getpid())
#elif defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#define TEST_PROCESS ((unsigned long)getpid())
#else
#define TEST_PROCESS 0ul
#endif

#if defined(__GNUC__)
#define TEST_UNUSED __attribute__((unused))
#else
#define TEST_UNUSED
#endif

/* x87 keeps more digits, and a wider range, than the types have: what is exact elsewhere is not. */
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#define TEST_X87 1
#else
#define TEST_X87 0
#endif

static int test_passed, test_failed;

static int test_check(int ok, const char *what, const char *file, int line) {
  if (ok) test_passed++;
  else {
    test_failed++;
    printf("%s:%d: failed: %s\n", file, line, what);
#ifdef TEST_STOP
    exit(EXIT_FAILURE); /* for mutate.py the first is enough */
#endif
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

/* Returns 64 bits that depend on the three numbers alone (the finisher of splitmix64, three
 * times). */
TEST_UNUSED static uint64_t test_hash(uint64_t seed, uint64_t stream, uint64_t index) {
  uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
  int i;
  for (i = 0; i < 3; i++) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    if (i == 0) z ^= stream * UINT64_C(0xd1342543de82ef95) + 1;
    if (i == 1) z += index * UINT64_C(0x9e3779b97f4a7c15);
  }
  return z;
}

/* Returns the name of a temporary file that no other process uses: the same for the same `end`,
 * also in the children of the process that asked first. */
TEST_UNUSED static const char *temporary(const char *end) {
  static char name[40][300];
  static size_t used, start;
  const char *place = getenv("TMPDIR");
  size_t i;
#if defined(__unix__) || defined(__APPLE__)
  if (!place) place = "/tmp";
#endif
  if (!start) {
    start = (size_t)snprintf(name[0], sizeof name[0], "%s/bdpt-test-%lu-", place ? place : ".",
                             TEST_PROCESS);
  }
  for (i = 0; i < used && strcmp(name[i] + start, end) != 0; i++) { }
  if (i == used) {
    if (used == sizeof name / sizeof name[0]) exit(EXIT_FAILURE);
    memcpy(name[i], name[0], start);
    snprintf(name[i] + start, sizeof name[0] - start, "%s", end);
    used++;
  }
  return name[i];
}

/* Writes the lowest n bytes of v, least first, as files have them. */
TEST_UNUSED static void put_bytes(unsigned char *to, int n, uint64_t v) {
  int i;
  for (i = 0; i < n; i++) to[i] = (unsigned char)(v >> 8 * i);
}

/* Copies exactly n bytes into a block of their own, so that a sanitizer sees the first byte read
 * too many. */
TEST_UNUSED static unsigned char *exact(const void *p, size_t n) {
  unsigned char *q = (unsigned char *)malloc(n ? n : 1);
  if (n) memcpy(q, p, n);
  return q;
}

TEST_UNUSED static int test_has(const char *text, const char *part, const char *what,
                                const char *file, int line) {
  int ok = test_check(strstr(text, part) != NULL, what, file, line);
  if (!ok) printf("  got \"%s\"\n  without \"%s\"\n", text, part);
  return ok;
}

/* Returns 1 if a part of a program is to run: TEST_PART=NAME runs that part alone, TEST_SKIP="NAME
 * NAME" all others. */
TEST_UNUSED static int test_wanted(const char *name) {
  const char *only = getenv("TEST_PART"), *skip = getenv("TEST_SKIP");
  const size_t n = strlen(name);
  for (; skip && *skip; skip += strcspn(skip, " ")) {
    skip += strspn(skip, " ");
    if (strcspn(skip, " ") == n && memcmp(skip, name, n) == 0) return 0;
  }
  return !only || strcmp(only, name) == 0;
}

/* Long series take one place in TEST_EVERY, as make cross asks under qemu; else every one. */
TEST_UNUSED static size_t test_every(void) {
  const char *text = getenv("TEST_EVERY");
  const int n = text ? atoi(text) : 1;
  return n > 0 ? (size_t)n : 1;
}

#define TEST(name) static void name(void)
/* The copy of the header that mutate.py makes writes down what was passed before, in and after each
 * part. */
#ifdef TEST_STOP
void bdpt_mutant_part(const char *name);
#else
#define bdpt_mutant_part(name) ((void)0)
#endif
#define RUN(name) \
  do { \
    bdpt_mutant_part(""); \
    if (test_wanted(#name)) { \
      name(); \
      bdpt_mutant_part(#name); \
    } \
  } while (0)
#define CHECK(condition) test_check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define FAIL(what) test_check(0, what, __FILE__, __LINE__)
#define CHECK_CLOSE(got, want, tolerance) \
  test_close((double)(got), (double)(want), (double)(tolerance), #got, __FILE__, __LINE__)
/* A string that must contain another: for error sentences. */
#define CHECK_HAS(text, part) test_has(text, part, #text, __FILE__, __LINE__)
#define TEST_END(name) \
  (printf("%s: %d passed, %d failed\n", name, test_passed, test_failed), test_failed != 0)

#endif
