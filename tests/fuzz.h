/* What the fuzz targets share. A target is one function that gets bytes and must survive them:
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
 *
 * With -DFUZZ_LIBFUZZER clang's libFuzzer calls it with inputs that it invents (`make fuzz`).
 * Without it the same source is a program that calls it with the files named on the command line,
 * which is how a finding is replayed and how coverage of the corpus is measured (tests/coverage).
 *
 * Memory comes from an allocator of its own that counts, so that what a target leaves behind is a
 * finding at once, in the run that did it. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#if defined(__GNUC__)
#define FUZZ_UNUSED __attribute__((unused))
#else
#define FUZZ_UNUSED
#endif
#define FUZZ_CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      abort(); \
    } \
  } while (0)

static size_t fuzz_out; /* bytes that were handed out and not given back */

static void *fuzz_alloc(void *user, size_t bytes) {
  void *p = bytes < (size_t)1 << 30 ? malloc(bytes) : NULL; /* a gigabyte is out of memory */
  (void)user;
  if (p) fuzz_out += bytes;
  return p;
}
static void fuzz_free(void *user, void *p, size_t bytes) {
  (void)user;
  if (p) fuzz_out -= bytes;
  free(p);
}

/* Makes a context in the state behind bdpt_init, which is called once: it tries the kernels out. */
FUZZ_UNUSED static bdpt_context fuzz_context(void) {
  static bdpt_context ready;
  if (ready.threads) return ready;
  ready.allocator.alloc = fuzz_alloc;
  ready.allocator.free = fuzz_free;
  ready.threads = 1;
  FUZZ_CHECK(bdpt_init(&ready) == BDPT_OK && ready.bytes_now == 0);
  return ready;
}

/* Checks that a call has failed exactly when there is a sentence, and that memory is as it was. */
FUZZ_UNUSED static void fuzz_end(bdpt_context *ctx, int failed) {
  bdpt_finish(ctx);
  FUZZ_CHECK((ctx->status != BDPT_OK) == (failed != 0));
  FUZZ_CHECK((ctx->message[0] != 0) == (failed != 0));
  FUZZ_CHECK(memchr(ctx->message, 0, sizeof ctx->message) != NULL);
  FUZZ_CHECK(ctx->bytes_now == 0 && fuzz_out == 0);
}

#ifndef FUZZ_LIBFUZZER
int main(int argc, char **argv) {
  int i;
  for (i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    uint8_t *data;
    size_t size = 0, room = 1 << 16;
    if (!f || !(data = (uint8_t *)malloc(room))) { perror(argv[i]); return 1; }
    while (!feof(f) && !ferror(f)) {
      if (size == room && !(data = (uint8_t *)realloc(data, room *= 2))) return 1;
      size += fread(data + size, 1, room - size, f);
    }
    fclose(f);
    {
      uint8_t *exact = (uint8_t *)malloc(size ? size : 1); /* so that reading on is seen */
      if (!exact) return 1;
      memcpy(exact, data, size);
      LLVMFuzzerTestOneInput(exact, size);
      free(exact);
    }
    free(data);
  }
  printf("%d files\n", argc - 1);
  return 0;
}
#endif
#endif
