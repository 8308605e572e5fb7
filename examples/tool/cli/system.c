/* system.c: the few things that C leaves to the operating system */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64 /* 32-bit systems too know every file and folder entry */
#include "system.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <direct.h>
#include <fcntl.h>
#include <io.h>
#else
#include <unistd.h>
#endif

/* =================================================================================================
 * 1  SYSTEM                                                                               >>system
 * =================================================================================================
 * The few things that C leaves to the operating system: a clock with fractions of a second, whether
 * a stream is a terminal, and making a folder.
 */
double cli_now(void) {
#if defined(_WIN32)
  LARGE_INTEGER ticks, second;
  if (QueryPerformanceFrequency(&second) && QueryPerformanceCounter(&ticks))
    return (double)ticks.QuadPart / (double)second.QuadPart;
#elif defined(CLOCK_MONOTONIC)
  struct timespec t;
  if (clock_gettime(CLOCK_MONOTONIC, &t) == 0) return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#endif
  return (double)clock() / CLOCKS_PER_SEC;
}

int cli_is_terminal(FILE *f) {
  const char *term = getenv("TERM");
  if (term && strcmp(term, "dumb") == 0) return 0;
#ifdef _WIN32
  return _isatty(_fileno(f));
#else
  return isatty(fileno(f));
#endif
}

int cli_wants_colour(FILE *f) {
  const char *no = getenv("NO_COLOR");
  return cli_is_terminal(f) && !(no && *no && strcmp(no, "0") != 0);
}

const char *cli_last_slash(const char *path) {
  const char *slash = strrchr(path, '/');
#ifdef _WIN32
  const char *back = strrchr(path, '\\');
  if (back && (!slash || back > slash)) slash = back;
#endif
  return slash;
}

void cli_binary_streams(void) {
#ifdef _WIN32
  _setmode(_fileno(stdin), _O_BINARY);
  _setmode(_fileno(stdout), _O_BINARY);
#endif
}

int cli_make_folder(const char *path) {
  char part[1024];
  size_t i, n = strlen(path);
  struct stat s;
  if (n == 0 || n >= sizeof part) return 0;
  memset(part, 0, sizeof part);
  for (i = 0; i <= n; i++) {
    part[i] = path[i];
    if (i == 0 || (path[i] != 0 && cli_last_slash(part) != part + i)) continue;
    part[i] = 0;
#ifdef _WIN32
    _mkdir(part);
#else
    mkdir(part, 0777);
#endif
    part[i] = path[i];
  }
  return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int cli_file_exists(const char *path) {
  struct stat s;
  if (stat(path, &s) == 0) return 1;
  return errno == ENOENT ? 0 : -1;
}

int cli_is_folder(const char *path) {
  struct stat s;
  if (stat(path, &s) == 0) return S_ISDIR(s.st_mode) != 0;
  return errno == ENOENT ? 0 : -1;
}

double cli_file_size(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (double)s.st_size : -1.0;
}

volatile sig_atomic_t cli_stop;

static void cli_on_signal(int number) {
  cli_stop = 1;
  signal(number, SIG_DFL);
}

void cli_catch_interrupt(void) {
  signal(SIGINT, cli_on_signal);
  signal(SIGTERM, cli_on_signal);
}

void cli_calm_threads(char **argv) {
#if defined(_OPENMP) && !defined(_WIN32)
  if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
  if (setenv("GOMP_SPINCOUNT", "5000", 1) == 0) execvp(argv[0], argv);
#else
  (void)argv;
#endif
}

static const char *const suffix[] = {"", ".disparity", ".recovery", ".map", ".search",
                                     ".greedy", ".stage2"};

int cli_has_checkpoint(const char *path) {
  char name[1100];
  size_t i;
  int there = 0;
  for (i = 0; i < sizeof suffix / sizeof suffix[0] && path && !there; i++) {
    snprintf(name, sizeof name, "%s%s", path, suffix[i]);
    there = cli_file_exists(name) == 1;
  }
  return there;
}

void cli_forget_checkpoint(const char *path) {
  char name[1100];
  size_t i;
  if (!path) return;
  for (i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
    snprintf(name, sizeof name, "%s%s", path, suffix[i]);
    remove(name);
  }
}
