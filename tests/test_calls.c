/* The groups of calls of faults/calls.c, in one process: each of their allocations fails once, and
 * then it and all that follow; and so does each call of C's file functions. What fails says so with
 * a status and a sentence, leaves nothing allocated, and a success has found what it finds without
 * a fault. A group has a fifth of a second for all its points, or for some that are evenly spread;
 * TEST_SECONDS gives more, TEST_ALL=1 tries all. */
#if defined(_WIN32) || defined(__wasi__)
#include <stdio.h>
/* It needs the folders and links of POSIX. */
int main(void) { return printf("calls: 0 passed, 0 failed\n") < 0; }
#else
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* or readdir fails of 64-bit positions, as of an emulator's host */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct faults { long calls, at, on; } faults; /* the `at`-th fails; on: all after it */
static faults memory, disk;

static int fails(faults *f) {
  f->calls++;
  return f->at > 0 && (f->on ? f->calls >= f->at : f->calls == f->at);
}
/* Returns 1 if a file function is to fail, with EIO. */
static int bad(void) {
  const int f = fails(&disk);
  if (f) errno = EIO;
  return f;
}
static int unreadable; /* what ferror says of a file that could not be read to its end */
static FILE *shim_fopen(const char *path, const char *mode) {
  unreadable = 0;
  return bad() ? NULL : fopen(path, mode);
}
static FILE *shim_fdopen(int file, const char *mode) { return bad() ? NULL : fdopen(file, mode); }
static int shim_open(const char *path, int flags, unsigned mode) {
  return bad() ? -1 : open(path, flags, (mode_t)mode);
}
static int shim_stat(const char *path, struct stat *s) { return bad() ? -1 : stat(path, s); }
static ssize_t shim_readlink(const char *path, char *to, size_t room) {
  return bad() ? -1 : readlink(path, to, room);
}
char *(realpath)(const char *, char *); /* not among what glibc shows then */
static char *shim_realpath(const char *path, char *out) {
  return bad() ? NULL : realpath(path, out);
}
static int shim_fclose(FILE *f) { return fclose(f) != 0 || bad() ? EOF : 0; }
static int shim_fflush(FILE *f) { return bad() ? EOF : fflush(f); }
static int shim_fsync(int file) { return bad() || file < 0 ? -1 : 0; } /* waits for no disk */
static int shim_fseek(FILE *f, long to, int from) { return bad() ? -1 : fseek(f, to, from); }
static long shim_ftell(FILE *f) { return bad() ? -1 : ftell(f); }
static int shim_rename(const char *from, const char *to) { return bad() ? -1 : rename(from, to); }
static size_t shim_fwrite(const void *p, size_t size, size_t count, FILE *f) {
  return bad() ? count / 2 : fwrite(p, size, count, f);
}
/* Reads half where it is to fail: alone that looks like a file that shrinks, among other failures
 * like an error. */
static size_t shim_fread(void *p, size_t size, size_t count, FILE *f) {
  if (!bad()) return fread(p, size, count, f);
  unreadable = disk.on != 0;
  return fread(p, size, count / 2, f);
}
static int shim_ferror(FILE *f) { return unreadable || ferror(f); }
#undef ferror
#define ferror(f) shim_ferror(f)
#define fopen(path, mode) shim_fopen(path, mode)
#define fdopen(file, mode) shim_fdopen(file, mode)
#define open(path, flags, mode) shim_open(path, flags, mode)
#define stat(path, s) shim_stat(path, s)
#define readlink(path, to, room) shim_readlink(path, to, room)
#define realpath(path, out) shim_realpath(path, out)
#define fclose(f) shim_fclose(f)
#define fflush(f) shim_fflush(f)
#define fsync(file) shim_fsync(file)
#define fseek(f, to, from) shim_fseek(f, to, from)
#define ftell(f) shim_ftell(f)
#define rename(from, to) shim_rename(from, to)
#define fwrite(p, size, count, f) shim_fwrite(p, size, count, f)
#define fread(p, size, count, f) shim_fread(p, size, count, f)
/* An arena of the library takes 256 KB at a time, which is more than most groups need; here every
 * piece of it is an allocation of its own, that can fail, also between fences (tests/fences.h). */
#undef BDPTI_FENCE
#undef BDPTI_GUARD
#undef BDPTI_CHUNK_LEAST
#define BDPTI_FENCE ((size_t)0)
#define BDPTI_GUARD(p, bytes, all) ((void)0)
#define BDPTI_CHUNK_LEAST ((size_t)1)
#define BOUNDARYDPT_IMPLEMENTATION
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#define main calls_main
#include "faults/calls.c"
#undef main
#include "test.h"

static size_t handed_out;
static void *take(void *user, size_t bytes) {
  void *p = fails(&memory) ? NULL : malloc(bytes);
  (void)user;
  if (p) handed_out += bytes;
  return p;
}
static void give(void *user, void *p, size_t bytes) {
  (void)user;
  if (p) handed_out -= bytes;
  free(p);
}

/* Removes what the calls wrote. */
static void clean(void) {
  DIR *d = opendir(".");
  struct dirent *e;
  while (d && (e = readdir(d)) != NULL) {
    if (e->d_name[0] != '.') remove(e->d_name);
  }
  if (d) closedir(d);
}

/* Makes the calls with a fault; returns 1 after a failure. */
static int with(const named *c, faults *f, long at, long on) {
  memset(&ctx, 0, sizeof ctx);
  memset(&data, 0, sizeof data);
  ctx.allocator.alloc = take; ctx.allocator.free = give;
  memset(&memory, 0, sizeof memory); memset(&disk, 0, sizeof disk);
  f->at = at; f->on = on;
  clean();
  return made(c);
}

static long tried;

static void all_points(const named *c, faults *f) {
  const char *text = getenv("TEST_SECONDS");
  const clock_t begin = clock();
  double found, seconds;
  long at, on, count, step, wrong = 0;
  if (!CHECK(!with(c, f, 0, 0))) return;
  found = sum; count = f->calls;
  seconds = 2 * (double)count * (double)(clock() - begin) / CLOCKS_PER_SEC;
  step = getenv("TEST_ALL") ? 1 : 1 + (long)(seconds / (text ? atof(text) : 0.2));
  for (at = 1; at <= count; at += step) {
    for (on = 0; on < 2; on++, tried++) {
      int failed = with(c, f, at, on);
      if (handed_out || (!failed && sum != found)) wrong++;
    }
  }
  if (!CHECK(wrong == 0)) printf("  %s: %ld points of %ld are wrong\n", c->name, wrong, count);
}

TEST(every_allocation) {
  size_t i;
  for (i = 0; i < sizeof calls / sizeof *calls; i++) all_points(&calls[i], &memory);
}

TEST(every_file_call) {
  size_t i;
  for (i = 0; i < sizeof calls / sizeof *calls; i++) all_points(&calls[i], &disk);
}

int main(void) {
  char place[] = "build/calls-XXXXXX"; /* the calls write by names alone */
  if (!CHECK(mkdtemp(place) && chdir(place) == 0)) return TEST_END("calls");
  RUN(every_allocation);
  printf("TRUST oom_points_inside %ld\n", tried);
  RUN(every_file_call);
  clean();
  CHECK(chdir("../..") == 0 && rmdir(place) == 0);
  return TEST_END("calls");
}
#endif
