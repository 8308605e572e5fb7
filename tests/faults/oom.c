/* Linked with -Wl,--wrap= of each function below. Every allocation of the program, from the
 * beginning of main on, is first told to whoever follows its system calls (inject.c), by a call that
 * Linux does not have: its answer 1 makes the allocation fail, 2 those that follow too. The clocks
 * go on by a hundredth of a second whenever they are read, so that a program that is held up between
 * two readings measures, and says, the same. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_clock_gettime(clockid_t which, struct timespec *out);
clock_t __wrap_clock(void);

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

enum { ALLOCATION = 1000 };

static int begun, on;
static long readings;

static int fails(void) {
  int kept = errno;
  long answer = begun && !on ? syscall(ALLOCATION) : 0;
  on |= answer == 2;
  errno = on || answer == 1 ? ENOMEM : kept;
  return on || answer == 1;
}

int __wrap_main(int argc, char **argv) {
  begun = 1;
  return __real_main(argc, argv);
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }

int __wrap_clock_gettime(clockid_t which, struct timespec *out) {
  (void)which;
  readings++;
  out->tv_sec = 1000 + readings / 100;
  out->tv_nsec = readings % 100 * 10000000;
  return 0;
}
clock_t __wrap_clock(void) { return (clock_t)(++readings * (CLOCKS_PER_SEC / 100)); }
