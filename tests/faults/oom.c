/* Linked with -Wl,--wrap=main,--wrap=malloc,--wrap=calloc,--wrap=realloc: the OOM_AT-th allocation
 * of the program fails, counted from the beginning of main, and with a + behind the number all that
 * follow too. OOM_COUNT names a file that gets the number of allocations. */
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

static long calls, at;
static int on, begun;

static void tell(void) {
  long total = calls;
  const char *path = getenv("OOM_COUNT");
  FILE *f = path ? fopen(path, "w") : NULL;
  if (f) {
    fprintf(f, "%ld\n", total);
    fclose(f);
  }
}

static int fails(void) {
  calls += begun;
  return begun && at > 0 && (on ? calls >= at : calls == at);
}

int __wrap_main(int argc, char **argv) {
  const char *text = getenv("OOM_AT");
  char *end;
  if (text) {
    at = strtol(text, &end, 10);
    on = *end == '+';
  } else if (getenv("OOM_COUNT")) atexit(tell);
  begun = 1;
  return __real_main(argc, argv);
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }
