/* Reading tests/fixtures: files of reference values, and the generator of their inputs (both are
 * described in tests/fixtures/README.md). Include after test.h and boundarydpt.h. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <stdlib.h>

static uint64_t fixture_bits(const char *name, uint64_t i) {
  uint64_t z = UINT64_C(0xcbf29ce484222325);
  while (*name) z = (z ^ (unsigned char)*name++) * UINT64_C(0x100000001b3);
  z += (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

TEST_UNUSED static double fixture_value(const char *name, uint64_t i, double scale, double offset) {
  return ((double)(fixture_bits(name, i) >> 44) - 524288.0) / 524288.0 * scale + offset;
}

static bdpt_safetensors fixture_file;
static bdpt_bytes fixture_bytes; /* of it */

TEST_UNUSED static int fixture_open(bdpt_context *ctx, const char *path) {
  if (bdpt_file_read(ctx, path, &fixture_bytes) == BDPT_OK &&
      bdpt_safetensors_parse(ctx, fixture_bytes.data, fixture_bytes.size, path, &fixture_file) ==
      BDPT_OK) return 1;
  printf("%s\n", ctx->message);
  FAIL("fixture file can be read");
  return 0;
}

TEST_UNUSED static void fixture_close(void) {
  if (fixture_file.ctx) bdpt_bytes_free(fixture_file.ctx, &fixture_bytes);
  bdpt_safetensors_close(&fixture_file);
}

static const bdpt_file_tensor *fixture_find(const char *a, const char *b) {
  char name[200];
  snprintf(name, sizeof name, "%s%s", a, b);
  return bdpt_safetensors_find(&fixture_file, name);
}

/* Returns the tensor's numbers as double, in malloc'd memory; *count may be NULL. */
static double *fixture_doubles(const char *a, const char *b, size_t *count) {
  const bdpt_file_tensor *t = fixture_find(a, b);
  double *out;
  size_t i, k;
  if (!t) {
    printf("fixture %s%s is missing\n", a, b);
    FAIL("fixture is there");
    return NULL;
  }
  out = (double *)malloc((t->count + 1) * sizeof *out);
  for (i = 0; out && i < t->count; i++) {
    uint64_t word = 0;
    for (k = 8; k-- > 0;) word = word << 8 | t->bytes[8 * i + k]; /* in any machine's order */
    memcpy(out + i, &word, 8);
  }
  if (count) *count = t->count;
  return out;
}

TEST_UNUSED static double fixture_number(const char *a, const char *b) {
  double *v = fixture_doubles(a, b, NULL), x = v ? v[0] : NAN;
  free(v);
  return x;
}

/* Makes a tape input with the fixture's shape and numbers. */
TEST_UNUSED static bdpt_tensor *fixture_input(bdpt_tape *t, const char *a, const char *b) {
  const bdpt_file_tensor *f = fixture_find(a, b);
  double *v = fixture_doubles(a, b, NULL);
  bdpt_tensor *x = f && v && f->ndim <= 4 ? bdpt_input(t, f->ndim, f->shape, NULL, 1) : NULL;
  size_t i;
  for (i = 0; x && i < x->count; i++) x->data[i] = (bdpt_real)v[i];
  free(v);
  return x;
}

/* Returns max |got - want| / max(1e-3, max |want|). */
static double fixture_error(const bdpt_real *got, const double *want, size_t count) {
  double worst = 0, scale = 1e-3;
  size_t i;
  if (!got || !want) return INFINITY;
  for (i = 0; i < count; i++) {
    if (fabs(want[i]) > scale) scale = fabs(want[i]);
    if (!(fabs((double)got[i] - want[i]) <= worst)) worst = fabs((double)got[i] - want[i]);
    if (worst != worst) return INFINITY;
  }
  return worst / scale;
}

/* Tolerance of a comparison with values computed in double. */
#define FIXTURE_TOLERANCE (sizeof(bdpt_real) == 8 ? 1e-10 : 1e-5)

TEST_UNUSED static void fixture_check(const bdpt_real *got, size_t count, const char *a,
                                      const char *b) {
  size_t n = 0;
  double *want = fixture_doubles(a, b, &n), error;
  char what[240];
  if (!want) return;
  error = n == count ? fixture_error(got, want, n) : INFINITY;
  snprintf(what, sizeof what, "%s%s within tolerance", a, b);
  if (!test_check(error <= FIXTURE_TOLERANCE, what, __FILE__, __LINE__)) {
    printf("  error %.3g, allowed %.3g\n", error, FIXTURE_TOLERANCE);
  }
  free(want);
}

#endif
