/* Linked with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc: the OOM_AT-th allocation of the
 * program fails, and with a + behind the number all that follow too. OOM_COUNT names a file that
 * gets the number of allocations. */
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static long calls, at = -1;
static int on;

static void tell(void) {
  long total = calls;
  const char *path = getenv("OOM_COUNT");
  FILE *f = path ? fopen(path, "w") : NULL;
  if (f) fprintf(f, "%ld\n", total), fclose(f);
}

static int fails(void) {
  if (at < 0) {
    const char *text = getenv("OOM_AT");
    char *end;
    at = 0;
    if (text) at = strtol(text, &end, 10), on = *end == '+';
    else if (getenv("OOM_COUNT")) atexit(tell);
  }
  calls++;
  return at > 0 && (on ? calls >= at : calls == at);
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) { return fails() ? NULL : __real_realloc(old, size); }
