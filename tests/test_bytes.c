/* The safetensors reader and writer without a network: a file makes the whole way from numbers to
 * the disk and back. The implementation is part of this program, so what lies below the reader is
 * tested here too: decimal numbers, small floats, a disk that fails. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

/* Every call of the C library that a save makes can be made to fail, one after another. */
static int io_calls, io_fail_at; /* fail the io_fail_at-th call, counted from 1; 0: none */
static int io_fails(void) {
  if (++io_calls != io_fail_at) return 0;
  errno = ENOSPC;
  return 1;
}
static FILE *io_open(const char *p, const char *m) { return io_fails() ? NULL : fopen(p, m); }
#if defined(__unix__) || defined(__APPLE__)
static FILE *io_fdopen(int d, const char *m) { return io_fails() ? NULL : fdopen(d, m); }
static int io_sync(int fd) { (void)fd; return io_fails() ? -1 : 0; }
#define fdopen io_fdopen
#define fsync io_sync
#endif
static size_t io_write(const void *p, size_t s, size_t n, FILE *f) {
  return io_fails() ? fwrite(p, s, n / 2, f) : fwrite(p, s, n, f);
}
static int io_flush(FILE *f) { return io_fails() ? EOF : fflush(f); }
static int io_close(FILE *f) { int r = fclose(f); return io_fails() ? EOF : r; }
#if !defined(_WIN32)
static int io_rename(const char *a, const char *b) { return io_fails() ? -1 : rename(a, b); }
#define rename io_rename
#endif
#define fopen io_open
#define fwrite io_write
#define fflush io_flush
#define fclose io_close
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#undef fopen
#undef fdopen
#undef fwrite
#undef fflush
#undef fsync
#undef fclose
#undef rename
#include "test.h"
#include "disk.h"

#define PLACE temporary("bytes")

TEST(there_and_back) {
  static const bdpt_real numbers[6] = {1, -2, (bdpt_real)0.5, 0, 3, 4};
  static const char *const key[1] = {"format"}, *const value[1] = {"pt"};
  bdpt_real back[6] = {0};
  bdpt_context ctx;
  bdpt_write_tensor t;
  bdpt_safetensors f;
  const bdpt_file_tensor *x;
  bdpt_bytes bytes;
  memset(&ctx, 0, sizeof ctx);
  memset(&t, 0, sizeof t);
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  t.name = "x";
  t.dtype = BDPT_REAL_DTYPE;
  t.ndim = 2;
  t.shape[0] = 2;
  t.shape[1] = 3;
  t.data = numbers;
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, key, value, 1, &bytes) == BDPT_OK);
  CHECK(bdpt_file_write(&ctx, PLACE, bytes.data, bytes.size) == BDPT_OK);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bdpt_file_read(&ctx, PLACE, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, PLACE, &f) == BDPT_OK);
  x = bdpt_safetensors_find(&f, "x");
  CHECK(x && bdpt_safetensors_read(&ctx, x, back, 6) == BDPT_OK);
  CHECK(memcmp(numbers, back, sizeof back) == 0);
  CHECK(strcmp(bdpt_safetensors_get(&f, "format"), "pt") == 0);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bdpt_safetensors_parse(&ctx, "GGUF\3\0\0\0\0\0\0\0", 12, "x", &f) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "no safetensors file begins 'GGUF????");
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  remove(PLACE);
}

/* -------------------------------------------------------------------------- decimal numbers --- */

static int same(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }
static double read_number(const char *s) {
  bdpti_scan scan;
  double v;
  scan.text = s; scan.size = strlen(s); scan.at = 0;
  return bdpti_scan_number(&scan, &v) && scan.at == scan.size ? v : -7; /* of no text here */
}
static const char *written(double v) {
  static char out[64];
  bdpti_text t;
  t.out = out; t.room = sizeof out; t.used = 0;
  bdpti_put_number(&t, v, 17, 16);
  out[t.used] = 0;
  return out;
}

TEST(decimal_reading) {
  static const char *const hard[] = {
    "0", "-0", "1", "0.1", "1e23", "9007199254740993", "9007199254740992.999", "6.02214076e23",
    "2.2250738585072014e-308", "1.7976931348623157e308", "1.7976931348623158e308", "1e308", "1e309",
    "1.7976931348623159e308", "-1e400", "1e-400", "1e-99999999999", "1e99999999999", "5e-324",
    "0.000000000000000000000000000000000000000000000001e48", "1e-7", "-2.5E+2",
        "1000000000000000000",
    "9223372036854775807", "18446744073709551615", "123456789012345678901234567890e-20",
    "0.0000001e-300", "0.30000000000000004", "1.00000000000000011102", "4.35",
    "1234567890123456789012345678901234567890123456789",
    "0.1234567890123456789012345678901234567890123", "2.675", "1e22"};
  char text[72];
  bdpti_scan scan;
  double v;
  size_t i;
  for (i = 0; i < sizeof hard / sizeof *hard; i++) {
    if (!CHECK(same(read_number(hard[i]), strtod(hard[i], NULL)))) printf("  %s\n", hard[i]);
  }
  memset(text, '1', sizeof text);
  scan.text = text; scan.size = 64; scan.at = 0;
  text[64] = 0;
  CHECK(bdpti_scan_number(&scan, &v) && same(v, strtod(text, NULL)));
  text[64] = '1';
  text[65] = 0;
  scan.size = 65; scan.at = 0;
  CHECK(!bdpti_scan_number(&scan, &v)); /* too long, and not cut in silence */
}

TEST(decimal_round_trip) {
  int i, bad = 0, other = 0;
  for (i = 0; i < 20000; i++) {
    uint64_t bits = test_hash(7, 1, (uint64_t)i);
    double v;
    char text[40];
    memcpy(&v, &bits, sizeof v);
    if (v - v != 0 || fabs(v) < 2.3e-308) continue;
    bad += !same(read_number(written(v)), v) || !same(strtod(written(v), NULL), v);
    snprintf(text, sizeof text, "%.*e", i % 20, v);
    other += !same(read_number(text), strtod(text, NULL));
  }
  CHECK(bad == 0);
  CHECK(other == 0);
  CHECK(strcmp(written(1e-6), "1e-6") == 0);
  CHECK(strcmp(written(0.485), "0.485") == 0);
  CHECK(strcmp(written(-0.125), "-0.125") == 0);
  CHECK(strcmp(written(224), "224") == 0);
  CHECK(strcmp(written(1e21), "1e21") == 0);
  CHECK(strcmp(written(0.0001), "0.0001") == 0);
  CHECK(strcmp(written(9.995), "9.995") == 0);
  CHECK(strcmp(written(5e-324), "7e-324") == 0); /* the largest of one digit that reads back */
  CHECK(strcmp(written(1.7976931348623157e308), "1.7976931348623158e308") == 0);
  CHECK(strcmp(written(-0.0), "-0") == 0);
  CHECK(strcmp(written(HUGE_VAL), "inf") == 0 && strcmp(written(-HUGE_VAL), "-inf") == 0);
}

/* -------------------------------------------------------------------------- small floats --- */

static double from_bits32(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return (double)f;
}

TEST(half_every_pattern) {
  unsigned bits, value16 = 0, value_bf = 0;
  for (bits = 0; bits < 65536; bits++) {
    double h = bdpti_unpack(bits, 5, 10), b = bdpti_unpack(bits, 8, 7);
    int e = (int)(bits >> 10 & 31), m = (int)(bits & 1023);
    double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    if (e == 31) want = m ? h : HUGE_VAL;
    value16 += !(e == 31 && m ? h != h : fabs(h) == want && (signbit(h) != 0) == (bits >> 15 != 0));
    value_bf += memcmp(&b, &b, 1) != 0 || (b == b && !same(b, from_bits32((uint32_t)bits << 16)));
  }
  CHECK(value16 == 0 && value_bf == 0);
}

/* -------------------------------------------------------------------------- the disk --- */

/* Each call of a save fails in turn: the old file stays, and no temporary file is left. */
TEST(failing_disk) {
  bdpt_context ctx;
  size_t before;
  int k, calls;
  memset(&ctx, 0, sizeof ctx);
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  before = ctx.bytes_now;
  put_file(PLACE, "the old file");
  io_calls = io_fail_at = 0;
  CHECK(bdpt_file_write(&ctx, PLACE, "the new file", 12) == BDPT_OK);
  calls = io_calls;
  CHECK(holds(PLACE, "the new file"));
#if defined(__unix__) || defined(__APPLE__)
  CHECK(calls == 6); /* open, write, flush, sync, close, rename */
#elif !defined(_WIN32)
  CHECK(calls-- == 5); /* no sync, and the last one is tried again without the old file */
#endif
  for (k = 1; k <= calls; k++) {
    put_file(PLACE, "the old file");
    io_calls = 0;
    io_fail_at = k;
    CHECK(bdpt_file_write(&ctx, PLACE, "the new file", 12) == BDPT_E_IO);
    io_fail_at = 0;
    CHECK_HAS(ctx.message, PLACE);
    CHECK(strchr(ctx.message, '(') != NULL);
    CHECK(holds(PLACE, "the old file"));
    CHECK(!left_over(PLACE));
    CHECK(ctx.bytes_now == before);
    bdpt_clear_error(&ctx);
  }
  remove(PLACE);
}

#if defined(__unix__) || defined(__APPLE__)
TEST(pipe_has_no_size) {
  FILE *pipe = popen("head -c 100000 /dev/zero", "r");
  bdpt_bytes bytes = {NULL, 0};
  bdpt_context ctx;
  memset(&ctx, 0, sizeof ctx);
  bdpt_init(&ctx);
  CHECK(pipe && bdpti_file_fill(&ctx, "pipe", pipe, &bytes) == BDPT_OK);
  CHECK(bytes.size == 100000 && ctx.bytes_now == bytes.size + 1);
  bdpt_bytes_free(&ctx, &bytes);
  if (pipe) pclose(pipe);
}
#endif

int main(void) {
  RUN(there_and_back);
  RUN(decimal_reading);
  RUN(decimal_round_trip);
  RUN(half_every_pattern);
  RUN(failing_disk);
#if defined(__unix__) || defined(__APPLE__)
  RUN(pipe_has_no_size);
#endif
  return TEST_END("bytes");
}
