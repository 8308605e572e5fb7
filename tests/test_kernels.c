/* The vector kernels against plain loops in double: every instruction set of this processor, shapes
 * from nothing to odd, and the same bits from one, two and three threads. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "test.h"
#include "kernels.h"

#define IS_FLOAT (sizeof(bdpt_real) == 4)
/* From 1 to the next number: a rounding is at most half of it. Every bound is a multiple, whose
 * reason stands beside it; on x86-64 the largest errors are a twentieth to nine tenths of it. */
static const double eps = sizeof(bdpt_real) == 4 ? 1.1920929e-7 : 2.220446e-16;
/* The reference is made in double: when that is what we test, it is no better than the kernels, and
 * its one running sum is worse than their many. */
static const double slack = sizeof(bdpt_real) == 4 ? 1 : 4;
static bdpt_context ctx;
static bdpt_rng rng;

static void use(int isa, int threads) {
  bdpt_finish(&ctx);
  memset(&ctx, 0, sizeof ctx);
  ctx.isa_wanted = (bdpt_isa_choice)isa;
  ctx.threads = threads;
  bdpt_init(&ctx);
}

/* Allocates exactly n numbers on the heap, so that a sanitizer sees the first step beyond. */
static bdpt_real *numbers(size_t n, double low, double high) {
  bdpt_real *p = (bdpt_real *)malloc(n ? n * sizeof *p : 1);
  size_t i;
  for (i = 0; p && i < n; i++) p[i] = (bdpt_real)(low + (high - low) * bdpt_uniform(&rng));
  return p;
}

static bdpt_real *copy_of(const bdpt_real *x, size_t n) {
  bdpt_real *p = (bdpt_real *)malloc(n ? n * sizeof *p : 1);
  if (p && n) memcpy(p, x, n * sizeof *p);
  return p;
}

/* Returns the largest |x - y| / (1 + |y|); NaN counts as huge. */
static double distance(const bdpt_real *x, const double *y, size_t n) {
  double worst = 0;
  size_t i;
  for (i = 0; i < n; i++) {
    double d = fabs((double)x[i] - y[i]) / (1 + fabs(y[i]));
    if (!(d <= worst)) worst = d == d ? d : 1e300;
  }
  return worst;
}

static double distance_real(const bdpt_real *x, const bdpt_real *y, size_t n) {
  double worst = 0;
  size_t i;
  for (i = 0; i < n; i++) {
    double want = (double)y[i];
    worst = fmax(worst, distance(x + i, &want, 1));
  }
  return worst;
}

static double *zeros(size_t n) { return (double *)calloc(n + 1, sizeof(double)); }

static double *doubles(const bdpt_real *x, size_t n) {
  double *y = zeros(n);
  while (n-- > 0) y[n] = (double)x[n];
  return y;
}

/* Computes what a product computes, its epilogue included: three loops, in double. */
static void matmul_naive(const bdpti_gemm *g) {
  size_t i, j, p;
  for (i = 0; i < g->m; i++) {   /* row of C */
    for (j = 0; j < g->n; j++) { /* column of C */
      bdpt_real *c = g->c + i * g->c_row + j;
      double t = 0;
      for (p = 0; p < g->k; p++) { /* in double */
        t += (double)g->a[i * g->a_row + p * g->a_col] * (double)g->b[p * g->b_row + j * g->b_col];
      }
      if (g->bias) t += (double)g->bias[j];
      if (g->dgelu) t *= bdpti_gelu_slope_plain((double)g->dgelu[i * g->c_row + j]);
      if (g->add) t += (double)g->add[i * g->c_row + j];
      *c = (bdpt_real)t;
      if (g->dgelu) t = (double)g->dgelu[i * g->c_row + j];
      if (g->gelu) g->gelu[i * g->c_row + j] = (bdpt_real)bdpti_gelu_plain(t);
    }
  }
}

/* ---- exp, GELU ------------------------------------------------------------------------------- */

/* The way back through a softmax makes exp(x - lse) of a row again; here lse is 0, and dP too. */
static void run_exp(const bdpt_real *x, bdpt_real *y, size_t n) { /* y has room for 32 more */
  const bdpt_real lse = 0;
  bdpt_real *ds = numbers(n + 32, 0, 0);
  bdpti_heads h;
  memset(&h, 0, sizeof h);
  h.tokens = n;
  h.heads = 1;
  h.scale = 1;
  h.out = ds;
  h.dout = ds;
  h.lse = (bdpt_real *)(uintptr_t)&lse; /* read only */
  memcpy(y, x, n * sizeof *y);
  ctx.isa->softmax_back(&h, 0, 0, 1, y, ds, 0);
  free(ds);
}

TEST(test_exp) {
  enum { N = 200001 };
  bdpt_real *x = numbers(N, 0, 0), *y = numbers(N + 32, 0, 0), edge[4], got[36];
  const double infinite = HUGE_VAL;
  double worst = 0;
  size_t i;
  for (i = 0; i < N; i++) x[i] = (bdpt_real)(-87.33 + (double)i * (88.72 + 87.33) / (N - 1));
  run_exp(x, y, N);
  for (i = 0; i < N; i++) {
    double want = exp((double)x[i]), unit = ldexp(eps, (int)floor(log2(want)));
    worst = fmax(worst, fabs((double)y[i] - want) / unit);
  }
  printf("  %-8s exp: largest error %.3f ulp\n", ctx.isa->name, worst);
  CHECK(worst <= 1.0);
  if (!IS_FLOAT) { free(x); free(y); return; }
  edge[0] = (bdpt_real)-87.4; edge[1] = -1000; edge[2] = (bdpt_real)-infinite;
  edge[3] = 0;
  run_exp(edge, got, 4);
  CHECK(got[0] == 0 && got[1] == 0 && got[2] == 0 && got[3] == 1);
  free(x);
  free(y);
}

TEST(test_gelu) {
  enum { N = 160001 };
  bdpt_real *z = numbers(N, 0, 0), *y = numbers(N, 0, 0), *dz = numbers(N, 0, 0);
  bdpt_real *dy = numbers(N, 1, 1), *sum = numbers(N, 1, 1);
  double worst = 0, slope = 0, tail = 0;
  size_t i;
  for (i = 0; i < N; i++) z[i] = (bdpt_real)(-20.0 + (double)i * 40.0 / (N - 1));
  bdpti_act(&ctx, BDPT_GELU, N, z, NULL, y, 0);
  bdpti_act(&ctx, BDPT_GELU, N, z, dy, dz, 0);
  bdpti_act(&ctx, BDPT_GELU, N, z, dy, sum, 1);
  for (i = 0; i < N; i++) {
    double t = (double)z[i], want = bdpti_gelu_plain(t), d = fabs((double)y[i] - want);
    worst = fmax(worst, d / fmax(1.0, fabs(t)));
    slope = fmax(slope, fabs((double)dz[i] - bdpti_gelu_slope_plain(t)));
    slope = fmax(slope, fabs((double)sum[i] - 1 - bdpti_gelu_slope_plain(t)));
    if (t < 0 && t > -13.0) tail = fmax(tail, d / fabs(want));
  }
  printf("  %-8s GELU: error %.2g, slope %.2g, relative in the tail to -13: %.2g\n",
         ctx.isa->name, worst, slope, tail);
  CHECK(worst <= 1.0 * eps);
  CHECK(slope <= 3.0 * eps); /* a sum of two products */
  /* exp(-z * z / 2): at -13, half an eps of 84 is in the exponent. x87 knows what is wanted better
   * than the kernels, whose own code it is in double elsewhere. */
  CHECK(tail <= (TEST_X87 ? 160 : 80) * eps);
  CHECK((y[0] == 0 || !IS_FLOAT) && y[N - 1] == z[N - 1]);
  for (i = 0; i <= 40; i++) { /* every length, in place and from one element on */
    bdpt_real *part = copy_of(z + 80000, i);
    bdpti_act(&ctx, BDPT_GELU, i, part, NULL, part, 0);
    CHECK(distance_real(part, y + 80000, i) == 0);
    free(part);
  }
  free(z); free(y); free(dz); free(dy); free(sum);
}

/* Computes the other activations and their slopes, by libm. */
static double act_exact(bdpt_act act, double z, double *slope) {
  double p = act == BDPT_GELU_TANH ? 2 * sqrt(2 / acos(-1)) : 1.702, q = p * 0.044715, e;
  if (act == BDPT_RELU) *slope = z > 0;
  if (act == BDPT_RELU) return z > 0 ? z : 0;
  if (act == BDPT_QUICK_GELU) q = 0;
  e = exp(-z * (p + q * z * z));
  *slope = 1 / (1 + e) + (e < 1e300 ? z * (p + 3 * q * z * z) * e / ((1 + e) * (1 + e)) : 0);
  return z / (1 + e);
}

TEST(test_gate) {
  enum { N = 40001 };
  bdpt_real *z = numbers(N, 0, 0), *y = numbers(N, 0, 0), *dz = numbers(N, 0, 0);
  bdpt_real *dy = numbers(N, 2, 2), *sum = numbers(N, 1, 1);
  double worst = 0, slope = 0, tail = 0, s, huge[4] = {-1e30, 1e30, 0, 0};
  bdpt_real more[4], wide[4], flat[4];
  int k, act;
  size_t i;
  for (i = 0; i < N; i++) z[i] = (bdpt_real)(-20.0 + (double)i * 40.0 / (N - 1));
  for (act = BDPT_GELU_TANH; act <= BDPT_RELU; act++) {
    bdpti_act(&ctx, (bdpt_act)act, N, z, NULL, y, 0);
    bdpti_act(&ctx, (bdpt_act)act, N, z, dy, dz, 0);
    for (i = 0; i < N; i++) sum[i] = 1;
    bdpti_act(&ctx, (bdpt_act)act, N, z, dy, sum, 1);
    for (i = 0; i < N; i++) {
      double want = act_exact((bdpt_act)act, (double)z[i], &s), d = fabs((double)y[i] - want);
      worst = fmax(worst, d / fmax(1.0, fabs((double)z[i])));
      if (z[i] > -5 && z[i] < 0 && want != 0) tail = fmax(tail, d / fabs(want));
      slope = fmax(slope, fabs((double)dz[i] - 2 * s));
      slope = fmax(slope, fabs((double)sum[i] - 1 - 2 * s));
    }
    for (k = 0; k < 4; k++) more[k] = (bdpt_real)huge[k];
    more[3] = (bdpt_real)NAN;
    bdpti_act(&ctx, (bdpt_act)act, 4, more, NULL, wide, 0);
    bdpti_act(&ctx, (bdpt_act)act, 3, more, dy, flat, 0);
    CHECK(fabs((double)wide[0]) < 1e-32 && wide[1] == more[1] && wide[2] == 0);
    CHECK(wide[3] != wide[3]); /* NaN stays */
    CHECK(fabs((double)flat[0]) < 1e-28 && flat[1] == 2 && flat[2] == (act == BDPT_RELU ? 0 : 1));
  }
  printf("  %-8s other activations: error %.2g, slope %.2g, relative to -5: %.2g\n",
         ctx.isa->name, worst, slope, tail);
  CHECK(worst <= 2.0 * eps);
  CHECK(slope <= 4.0 * eps); /* twice that of one, as dy is 2 */
  CHECK(tail <= 20 * eps);   /* half an eps of an exponent of 17, and what follows */
  for (i = 0; i <= 40; i++) { /* every length, in place */
    bdpt_real *part = copy_of(z + 20000, i);
    bdpti_act(&ctx, BDPT_QUICK_GELU, N, z, NULL, y, 0);
    bdpti_act(&ctx, BDPT_QUICK_GELU, i, part, NULL, part, 0);
    CHECK(distance_real(part, y + 20000, i) == 0);
    free(part);
  }
  free(z); free(y); free(dz); free(dy); free(sum);
}

/* ---- matrix product -------------------------------------------------------------------------- */

typedef struct problem {
  bdpti_gemm g;
  size_t a_size, b_size, c_size;
  bdpt_real *a, *b, *c, *bias, *gelu, *add, *z;
} problem;

static size_t one_of(size_t a, size_t b, int which) { return which ? a : b; }

/* Makes a random product: strides of either order with gaps, and each epilogue step or not by a
 * bit. */
static problem make_problem(size_t m, size_t n, size_t k, unsigned bits) {
  problem p;
  const size_t gap = bdpti_below(&rng, 3), c_row = n + bdpti_below(&rng, 4);
  memset(&p, 0, sizeof p);
  p.g.m = m; p.g.n = n; p.g.k = k;
  p.g.a_row = one_of(1, k + gap, bits & 1); p.g.a_col = one_of(m + gap, 1, bits & 1);
  p.g.b_row = one_of(1, n + gap, bits & 2); p.g.b_col = one_of(k + gap, 1, bits & 2);
  if ((bits & 3) == 3 && m + n < 40) { /* neither stride is 1 */
    p.g.a_row = 2;
    p.g.a_col = 2 * m;
    p.g.b_row *= 2;
    p.g.b_col *= 2;
  }
  p.a_size = m && k ? (m - 1) * p.g.a_row + (k - 1) * p.g.a_col + 1 : 0;
  p.b_size = n && k ? (k - 1) * p.g.b_row + (n - 1) * p.g.b_col + 1 : 0;
  p.c_size = m && n ? (m - 1) * c_row + n : 0;
  p.g.a = p.a = numbers(p.a_size, -1, 1);
  p.g.b = p.b = numbers(p.b_size, -1, 1);
  p.g.c = p.c = numbers(p.c_size, -1, 1);
  p.g.c_row = c_row;
  p.bias = numbers(n, -1, 1);
  p.gelu = numbers(p.c_size, 0, 0);
  p.add = numbers(p.c_size, -1, 1);
  p.z = numbers(p.c_size, -3, 3);
  if (bits & 4) p.g.bias = p.bias;
  if (bits & 8) p.g.gelu = p.gelu;
  if (bits & 16) p.g.add = bits & 32 ? p.c : p.add;
  if (bits & 64) p.g.dgelu = p.z;
  if ((bits & (8 + 16 + 128)) == 8 + 128) p.g.gelu = p.c; /* in place */
  return p;
}

static void free_problem(problem *p) {
  free(p->a); free(p->b); free(p->c); free(p->bias);
  free(p->gelu); free(p->add); free(p->z);
}

static void check_product(size_t m, size_t n, size_t k, unsigned bits) {
  problem p = make_problem(m, n, k, bits);
  /* k products below 1 are added, and the epilogue does a few things more: half a rounding each */
  const double limit = eps * (8 + (double)k / 2);
  bdpt_real *c = copy_of(p.c, p.c_size), *gelu = copy_of(p.gelu, p.c_size);
  bdpti_gemm g = p.g;
  if (g.add == g.c) g.add = c;
  if (g.gelu) g.gelu = g.gelu == g.c ? c : gelu;
  g.c = c;
  matmul_naive(&g);
  bdpt_finish(&ctx); /* a fresh workspace, so that a sanitizer sees its end */
  CHECK(bdpti_matmul(&ctx, &p.g) == BDPT_OK);
  if (!(CHECK(distance_real(p.c, c, p.c_size) <= limit) &&
        CHECK(distance_real(p.gelu, gelu, p.c_size) <= limit))) {
    printf("  %s: m %u n %u k %u, options %u\n", ctx.isa->name, (unsigned)m, (unsigned)n,
           (unsigned)k, bits);
  }
  free(c); free(gelu);
  free_problem(&p);
}

TEST(test_matmul) {
  static const size_t odd[12][3] = {{0, 5, 5}, {5, 0, 5}, {5, 5, 0}, {1, 1, 1}, {1, 100, 64},
    {12, 32, 16}, {13, 33, 17}, {197, 17, 65}, {65, 65, 32}, {24, 800, 20}, {30, 40, 1200},
    {400, 16, 33}};
  unsigned i, bits;
  for (i = 0; i < 12; i++) {
    for (bits = 0; bits < 256; bits += 1 + (unsigned)bdpti_below(&rng, 30)) {
      check_product(odd[i][0], odd[i][1], odd[i][2], bits);
    }
  }
  for (i = 0; i < 400; i++) {
    check_product(bdpti_below(&rng, 50), bdpti_below(&rng, 80), bdpti_below(&rng, 60),
                  (unsigned)bdpti_below(&rng, 256));
  }
}

/* Rounds to bf16 by hand: the nearest number with 8 bits of precision, ties to even. */
static double to_bf16(double x) {
  int e;
  if (x == 0 || x - x != 0) return x;
  frexp(x, &e);
  return ldexp(rint(ldexp(x, 8 - e)), e - 8);
}

static void round_all(bdpt_real *x, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) x[i] = (bdpt_real)to_bf16((double)x[i]);
}

/* Checks that the product with factors rounded on request equals that of factors rounded before;
 * packing B ahead, and any number of threads, change no bit of either. */
static void check_bf16(size_t m, size_t n, size_t k, unsigned bits, int bf16) {
  problem p = make_problem(m, n, k, bits);
  const double limit = eps * (8 + (double)k / 2); /* as above */
  bdpt_real *c = copy_of(p.c, p.c_size), *again = copy_of(p.c, p.c_size), *packed;
  bdpt_real *a = copy_of(p.a, p.a_size), *b = copy_of(p.b, p.b_size);
  const int threads = ctx.threads;
  size_t size;
  bdpti_gemm g = p.g;
  ctx.bf16 = bf16;
  size = bdpti_prepack(&ctx, &p.g, NULL);
  packed = numbers(size, 0, 0);
  CHECK(bdpti_prepack(&ctx, &p.g, packed) == size);
  CHECK(bdpti_matmul(&ctx, &p.g) == BDPT_OK);
  g.c = again;
  if (g.add == p.c) g.add = again;
  if (p.g.a_col == 1) g.packed = packed;
  ctx.threads = 3 - threads % 2;
  CHECK(bdpti_matmul(&ctx, &g) == BDPT_OK);
  CHECK(p.c_size == 0 || memcmp(p.c, again, p.c_size * sizeof *c) == 0);
  ctx.threads = threads;
  ctx.bf16 = 0;
  g = p.g;
  if (p.g.a_row != 1 && p.g.a_col != 1) bf16 = 0; /* such an A is multiplied as it is */
  if (bf16) { round_all(a, p.a_size); round_all(b, p.b_size); }
  g.a = a;
  g.b = b;
  g.c = c;
  if (g.add == p.c) g.add = c;
  matmul_naive(&g);
  if (!CHECK(distance_real(p.c, c, p.c_size) <= limit)) {
    printf("  %s: m %u n %u k %u, options %u, bf16 %d\n", ctx.isa->name, (unsigned)m, (unsigned)n,
           (unsigned)k, bits, bf16);
  }
  free(a); free(b); free(c); free(again); free(packed);
  free_problem(&p);
}

TEST(test_packed_and_bf16) {
  static const size_t odd[10][3] = {{1, 1, 1}, {5, 5, 0}, {13, 33, 17}, {197, 48, 33}, {12, 32, 64},
    {65, 64, 31}, {24, 100, 1600}, {30, 40, 1200}, {400, 16, 80}, {7, 16, 95}};
  const int most = IS_FLOAT ? 1 : 0; /* bf16 is for float */
  unsigned i, bits;
  for (i = 0; i < 10; i++) {
    for (bits = 0; bits < 8; bits++) { /* strides and bias; bits 16 and 32: C added to */
      check_bf16(odd[i][0], odd[i][1], odd[i][2], bits | (bits & 4 ? 48u : 0u), 0);
      check_bf16(odd[i][0], odd[i][1], odd[i][2], bits | (bits & 4 ? 48u : 0u), most);
    }
  }
  for (i = 0; i < 100; i++) {
    check_bf16(1 + bdpti_below(&rng, 50), 1 + bdpti_below(&rng, 80), bdpti_below(&rng, 150), i % 8,
               most);
  }
}

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct heads { size_t images, n, h, d; double scale; } heads;

/* Copies a column of heads [N,d] out of rows of `row` numbers, in double; below, back into its
 * place. */
static double *head_of(const bdpt_real *x, size_t n, size_t d, size_t row) {
  double *out = zeros(n * d);
  size_t i;
  for (i = 0; i < n * d; i++) out[i] = (double)x[i / d * row + i % d];
  return out;
}

static void head_to(double *to, const double *x, size_t n, size_t d, size_t row) {
  size_t i;
  for (i = 0; i < n * d; i++) to[i / d * row + i % d] = x[i];
}

/* Computes one head by the plain forms: out, lse, and the gradients of q, k and v. */
static void plain_head(const heads *a, const bdpt_real *q, double *out, double *lse,
                       const bdpt_real *dout, double *dq) {
  const size_t row = 3 * a->h * a->d, wide = a->h * a->d, n = a->n, d = a->d;
  const double *qkv[3];
  double *in[3], *grad[3], *p = zeros(n * n), *o = zeros(n * d), *room = zeros(2 * n);
  double *go = head_of(dout, n, d, wide);
  size_t size[2], i, j, e;
  size[0] = n; size[1] = d;
  for (i = 0; i < 3; i++) {
    qkv[i] = in[i] = head_of(q + i * wide, n, d, row);
    grad[i] = zeros(n * d);
  }
  bdpti_attention_plain(n, d, a->scale, qkv, p, o);
  head_to(out, o, n, d, wide);
  bdpti_attention_plain_back(size, a->scale, qkv, p, go, room, grad);
  for (i = 0; i < 3; i++) head_to(dq + i * wide, grad[i], n, d, row);
  for (i = 0; i < n; i++) {
    for (j = 0; j < n; j++) {
      for (e = 0, room[j] = 0; e < d; e++)
        room[j] += a->scale * in[0][i * d + e] * in[1][j * d + e];
    }
    lse[i] = bdpti_softmax_plain(n, room, room + n);
  }
  for (i = 0; i < 3; i++) {
    free(in[i]);
    free(grad[i]);
  }
  free(p); free(o); free(room); free(go);
}

static void check_attention(size_t images, size_t n, size_t h, size_t d, double scale) {
  const size_t size = images * n * h * d, sizes[4] = {images, n, h, d};
  /* the rounding of a logit is magnified by the exponential: logits grow with scale and d */
  const double loss = eps * (8 + fabs(scale) * (double)d);
  heads a;
  bdpt_real *qkv = numbers(3 * size, -2, 2), *out = numbers(size, 9, 9);
  bdpt_real *lse = numbers(images * h * n, 9, 9), *dout = numbers(size, -1, 1);
  bdpt_real *dqkv = numbers(3 * size, 9, 9), *plain = numbers(size, 9, 9);
  double *want = zeros(size), *want_lse = zeros(images * h * n), *want_d = zeros(3 * size);
  size_t b, i;
  a.images = images; a.n = n; a.h = h; a.d = d; a.scale = scale;
  bdpt_finish(&ctx);
  CHECK(bdpti_attention(&ctx, images, heads_args(sizes, scale, qkv, out, lse)) == BDPT_OK);
  CHECK(bdpti_attention(&ctx, images, heads_args(sizes, scale, qkv, plain, NULL)) == BDPT_OK);
  bdpt_finish(&ctx);
  CHECK(run_attention_back(&ctx, images, heads_args(sizes, scale, qkv, out, lse), dout, dqkv) ==
        BDPT_OK);
  for (b = 0; b < images; b++) {
    for (i = 0; i < h; i++) {
      size_t at = b * n * h * d + i * d;
      size_t start = 3 * b * n * h * d + i * d;
      plain_head(&a, qkv + start, want + at, want_lse + (b * h + i) * n, dout + at,
                 want_d + start);
    }
  }
  if (!(CHECK(distance(out, want, size) <= 2 * loss) &&
        CHECK(distance_real(plain, out, size) == 0) &&
        CHECK(distance(lse, want_lse, images * h * n) <= 4 * eps) &&
        CHECK(distance(dqkv, want_d, 3 * size) <= loss * (1 + fabs(scale))))) {
    printf("  %s: %u images, %u tokens, %u heads of %u\n", ctx.isa->name, (unsigned)images,
           (unsigned)n, (unsigned)h, (unsigned)d);
    printf("  %g %g %g\n", distance(out, want, size), distance(lse, want_lse, images * h * n),
           distance(dqkv, want_d, 3 * size));
  }
  free(qkv); free(out); free(lse); free(dout); free(dqkv); free(plain);
  free(want); free(want_lse); free(want_d);
}

TEST(test_attention) {
  check_attention(0, 5, 2, 8, 1);
  check_attention(1, 1, 1, 1, 1);
  check_attention(2, 65, 3, 32, 0.1767767);
  check_attention(1, 197, 1, 64, 0.125);
  check_attention(1, 33, 2, 7, -0.5);
  check_attention(2, 16, 2, 16, 3.0);
  check_attention(1, 17, 3, 33, 0.2);
  check_attention(3, 5, 1, 48, 0.3);
  check_attention(1, 80, 1, 5, 0.3);
  check_attention(1, 40, 1, 20, 60.0); /* nearly one-hot: the maximum must be subtracted */
}

/* The linear's plain forms agree with the matrix product, whose own check is above. */
TEST(plain_linear) {
  const size_t size[3] = {7, 13, 5}; /* R, I, O */
  double *x = zeros(7 * 13), *w = zeros(5 * 13), *b = zeros(5), *y = zeros(35), *dy = zeros(35);
  double *dx = zeros(7 * 13), *dw = zeros(5 * 13), *dw_b = zeros(5), sum = 0, moved = 0, h = 1e-5;
  size_t i;
  for (i = 0; i < 7 * 13; i++) x[i] = sin((double)i);
  for (i = 0; i < 5 * 13; i++) w[i] = cos(3.0 * (double)i);
  for (i = 0; i < 5; i++) b[i] = (double)i;
  for (i = 0; i < 35; i++) dy[i] = sin(5.0 * (double)i);
  bdpti_linear_plain(size, x, w, b, y);
  CHECK_CLOSE(y[0], b[0] + x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3] + x[4] * w[4] +
                        x[5] * w[5] + x[6] * w[6] + x[7] * w[7] + x[8] * w[8] + x[9] * w[9] +
                        x[10] * w[10] + x[11] * w[11] + x[12] * w[12], 1e-14);
  bdpti_linear_plain_back(size, x, w, dy, dx, dw, dw_b);
  for (i = 0; i < 35; i++) sum += dy[i] * y[i];
  for (i = 0; i < 3; i++) { /* a weight, an input, a bias: against differences */
    double *const at[3] = {&w[17], &x[40], &b[3]}, slope[3] = {dw[17], dx[40], dw_b[3]};
    size_t k;
    *at[i] += h;
    bdpti_linear_plain(size, x, w, b, y);
    *at[i] -= h;
    for (k = 0, moved = 0; k < 35; k++) moved += dy[k] * y[k];
    CHECK_CLOSE((moved - sum) / h, slope[i], 1e-7);
  }
  free(x); free(w); free(b); free(y); free(dy); free(dx); free(dw); free(dw_b);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void check_layernorm(size_t rows, size_t n, double mean) {
  const size_t size = rows * n;
  bdpt_real *x = numbers(size, mean - 1, mean + 1), *gamma = numbers(n, 0.5, 1.5);
  bdpt_real *beta = numbers(n, -1, 1), *y = numbers(size, 9, 9), *mu = numbers(rows, 0, 0);
  bdpt_real *r = numbers(rows, 0, 0), *dy = numbers(size, -1, 1), *dx = numbers(size, 1, 1);
  bdpt_real *dgamma = numbers(n, 1, 1), *dbeta = numbers(n, 1, 1), *only = numbers(n, 0, 0);
  double *wy = zeros(size), *wdx = zeros(size), *wg = zeros(n), *wb = zeros(n), *xh = zeros(n);
  double *dx_ = doubles(x, size), *dg = doubles(gamma, n), *db = doubles(beta, n);
  double *ddy = doubles(dy, size);
  const double e = 1e-6;
  /* a row of nearly equal numbers magnifies rounding by its r */
  double loss = eps * slack * (8 + fabs(mean));
  /* one lane adds a row's numbers to one sum, which grows with n; vectors have many short ones */
  const double bound = ctx.isa->panel > 2 ? 2 : 8;
  size_t i, j;
  for (j = 0; j < n; j++) wg[j] = wb[j] = 1;
  for (j = 0; j < size; j++) wdx[j] = 1;
  for (i = 0; i < rows; i++) {
    double *const grad[3] = {wdx + i * n, wg, wb};
    const double rs = bdpti_layernorm_plain(n, dx_ + i * n, dg, db, e, xh, wy + i * n);
    loss = fmax(loss, eps * slack * (8 + fabs(mean)) * rs);
    bdpti_layernorm_plain_back(n, xh, rs, dg, ddy + i * n, grad);
  }
  run_layernorm(&ctx, rows, n, x, gamma, beta, e, y, mu, r);
  CHECK(distance(y, wy, size) <= bound * loss);
  CHECK(run_layernorm_back(&ctx, rows, norm_args(n, x, gamma, mu, r), dy, dx, 1, dgamma, dbeta) ==
        BDPT_OK);
  CHECK(distance(dgamma, wg, n) <= bound * loss);
  CHECK(distance(dbeta, wb, n) <= 30 * eps); /* at most 91 rows are added */
  CHECK(distance(dx, wdx, size) <= loss / 2 * fmax(1, loss / eps / slack / 8)); /* r again */
  run_layernorm_back(&ctx, rows, norm_args(n, x, gamma, mu, r), dy, dx, 0, NULL, only);
  for (j = 0; j < size; j++) wdx[j] -= 1;
  for (j = 0; j < n; j++) wb[j] -= 1;
  CHECK(distance(dx, wdx, size) <= loss / 2 * fmax(1, loss / eps / slack / 8));
  CHECK(distance(only, wb, n) <= 30 * eps);
  run_layernorm(&ctx, rows, n, x, gamma, beta, e, x, NULL, NULL); /* in place */
  CHECK(distance_real(x, y, size) == 0);
  free(x); free(gamma); free(beta); free(y); free(mu); free(r); free(dy); free(dx); free(dgamma);
  free(dbeta); free(only); free(wy); free(wdx); free(wg); free(wb); free(xh); free(dx_); free(dg);
  free(db); free(ddy);
}

TEST(test_layernorm) {
  static const size_t widths[8] = {1, 2, 5, 16, 31, 96, 97, 192};
  int i;
  for (i = 0; i < 8; i++) check_layernorm((size_t)i * 13, widths[i], 0.3);
  check_layernorm(3, 384, 1000); /* E[x^2] - E[x]^2 would have no digit left */
}

/* Compares the log-sum-exp with that of the plain form, whose shares sum to one. */
static void check_softmax(size_t rows, size_t n, double spread, double middle) {
  bdpt_real *x = numbers(rows * n, middle - spread, middle + spread);
  double *y = zeros(n), *wx = doubles(x, rows * n);
  size_t i, j;
  for (i = 0; i < rows; i++) {
    double lse = bdpti_softmax_plain(n, wx + i * n, y), sum = 0;
    CHECK(fabs(bdpti_log_sum_exp(x + i * n, n, 1) - lse) <= 1e-12 * (1 + fabs(lse)));
    for (j = 0; j < n; j++) sum += y[j];
    CHECK_CLOSE(sum, 1, 1e-12);
  }
  free(x); free(y); free(wx);
}

TEST(test_softmax) {
  static const size_t widths[8] = {1, 2, 5, 16, 31, 65, 100, 197};
  int i;
  for (i = 0; i < 8; i++) {
    check_softmax((size_t)i * 9 + 1, widths[i], 5, 0);
    check_softmax(3, widths[i], 5, -500); /* a maximum of 0 would leave nothing */
  }
  check_softmax(20, 50, 3000, 0); /* far apart: no overflow, exact zeros */
}

/* ---- elements and reductions ----------------------------------------------------------------- */

static void check_elements(size_t n) {
  bdpt_real *x = numbers(n, -2, 2), *y = numbers(n, -2, 2), *u = numbers(n, 9, 9);
  bdpt_real *z = numbers(n, -2, 2), *one = copy_of(y, n);
  double *w = zeros(n), square = 0, difference = 0, size = 1;
  size_t i;
  for (i = 0; i < n; i++) {
    double a = (double)x[i], b = (double)y[i], c = (double)z[i];
    square += a * a; difference += a * (b - c);
    size += 4;
  }
  CHECK_CLOSE(bdpti_dot(&ctx, n, x, x, NULL), square, 4 * eps * slack * size);
  CHECK_CLOSE(bdpti_dot(&ctx, n, x, y, z), difference, 4 * eps * slack * size);
  for (i = 0; i < n; i++) w[i] = 0.25 * (double)x[i] - 3 * (double)y[i];
  bdpti_axpby(&ctx, n, (bdpt_real)0.25, x, -3, y, u);
  CHECK(distance(u, w, n) <= 2 * eps);
  bdpti_axpby(&ctx, n, (bdpt_real)0.25, x, -3, NULL, u);
  for (i = 0; i < n; i++) w[i] = 0.25 * (double)x[i];
  CHECK(distance(u, w, n) <= eps);
  bdpti_axpby(&ctx, n, 4, u, 0, NULL, u); /* in place */
  CHECK(distance_real(u, x, n) == 0);
  bdpti_axpby(&ctx, n, 1, x, 1, one, one);
  for (i = 0; i < n; i++) w[i] = (double)x[i] + (double)y[i];
  CHECK(distance(one, w, n) <= eps);
  bdpti_axpby(&ctx, n, (bdpt_real)0.3, x, 1 - (bdpt_real)0.3, y, u);
  for (i = 0; i < n; i++) w[i] = 0.3 * (double)x[i] + 0.7 * (double)y[i];
  CHECK(distance(u, w, n) <= 4 * eps);
  bdpti_axpby(&ctx, n, 1, x, 1 - 1, y, u);
  CHECK(distance_real(u, x, n) == 0);
  CHECK(bdpti_all_finite(&ctx, n, x));
  if (n > 0) {
    const bdpt_real kept = x[n - 1];
    x[n - 1] = (bdpt_real)HUGE_VAL;
    CHECK(!bdpti_all_finite(&ctx, n, x));
    x[n - 1] = x[n - 1] - x[n - 1];
    CHECK(!bdpti_all_finite(&ctx, n, x));
    x[n - 1] = kept;
    x[n / 2] = -(bdpt_real)HUGE_VAL;
    CHECK(!bdpti_all_finite(&ctx, n, x));
  }
  free(x); free(y); free(u); free(z); free(one); free(w);
}

static void check_rows(size_t rows, size_t n) {
  const size_t size = rows * n;
  bdpt_real *x = numbers(size, -1, 1), *sums = numbers(n, 1, 1);
  double *ws = zeros(n);
  size_t i, j;
  for (j = 0; j < n; j++) ws[j] = 1;
  for (i = 0; i < size; i++) ws[i % n] += (double)x[i];
  CHECK(run_column_sum(&ctx, rows, n, x, sums) == BDPT_OK);
  /* a sum of so many numbers of either sign is about as large as the root of their count */
  CHECK(distance(sums, ws, n) <= eps * slack * (10 + sqrt((double)rows)));
  free(x); free(sums); free(ws);
}

TEST(test_elements) {
  static const size_t lengths[10] = {0, 1, 2, 7, 16, 33, 1023, 1025, 5000, 70001};
  int i;
  for (i = 0; i < 10; i++) check_elements(lengths[i]);
  check_rows(0, 5);
  check_rows(5, 0);
  for (i = 1; i < 6; i++) check_rows((size_t)(i * i * i * 9), (size_t)(i * 17 - 16));
}

TEST(test_adamw) {
  static const size_t lengths[4] = {0, 1, 33, 4100};
  int c, step;
  for (c = 0; c < 4; c++) {
    const size_t n = lengths[c];
    bdpt_real *p = numbers(n, -1, 1), *m = numbers(n, 0, 0), *v = numbers(n, 0, 0);
    double *wp = zeros(n), *wm = zeros(n), *wv = zeros(n);
    size_t i;
    for (i = 0; i < n; i++) wp[i] = (double)p[i];
    for (step = 1; step <= 4; step++) {
      bdpt_real *g = numbers(n, -1, 1);
      for (i = 0; i < n; i++) { /* gradients of every size, and none at all */
        g[i] *= (bdpt_real)pow(10.0, (double)(i % 16) - 12.0);
        if (i % 7 == 3) g[i] = 0;
      }
      const double number[6] = {1e-3, 0.9, 0.999, 1e-8, 0.05, (double)step};
      run_adamw(&ctx, n, number, p, g, m, v);
      for (i = 0; i < n; i++) {
        double d = (double)g[i];
        wp[i] *= 1 - 1e-3 * 0.05;
        wm[i] = 0.9 * wm[i] + 0.1 * d;
        wv[i] = 0.999 * wv[i] + 0.001 * d * d;
        wp[i] -= 1e-3 / (1 - pow(0.9, step)) * wm[i] /
                 (sqrt(wv[i]) / sqrt(1 - pow(0.999, step)) + 1e-8);
      }
      CHECK(distance(p, wp, n) <= 4 * eps);
      for (i = 0; i < n; i++) {
        if (wv[i] < 1e-30) continue;
        /* the root is about the largest gradient; each of four steps rounds twice or four times */
        CHECK(fabs((double)m[i] - wm[i]) <= 2 * eps * sqrt(wv[i] * 1000));
        CHECK(fabs((double)v[i] - wv[i]) <= 16 * eps * wv[i]);
      }
      free(g);
    }
    free(p); free(m); free(v); free(wp); free(wm); free(wv);
  }
}

/* ---- threads --------------------------------------------------------------------------------- */

static uint64_t add_hash(uint64_t h, const void *data, size_t bytes) {
  const unsigned char *p = (const unsigned char *)data;
  size_t i;
  for (i = 0; i < bytes; i++) h = (h ^ p[i]) * UINT64_C(1099511628211);
  return h;
}

/* Runs every threaded kernel on sizes that are shared out, folded into one number. */
static uint64_t everything(void) {
  const double adam[6] = {1e-3, 0.9, 0.99, 1e-8, 0.1, 1};
  const size_t rows = 300, n = 203, size = rows * n, heads_d = 2 * 3 * 130 * 24;
  uint64_t h = UINT64_C(14695981039346656037);
  bdpt_real *x, *y, *u, *v, *q, *o, *l;
  double sums[3];
  unsigned i;
  bdpt_rng_seed(&rng, 5, 6);
  x = numbers(size, -1, 1); y = numbers(size, -1, 1); u = numbers(size, 0, 0);
  v = numbers(size, 0, 1);
  q = numbers(3 * heads_d, -1, 1); o = numbers(heads_d, 0, 0); l = numbers(4 * heads_d, 0, 0);
  for (i = 0; i < 8; i++) {
    static const size_t shape[8][3] = {{197, 300, 150}, {700, 33, 70}, {130, 70, 900},
      {13, 900, 100},
      {50, 1600, 40}, {1000, 16, 100}, {65, 65, 400}, {2, 2000, 400}};
    problem p = make_problem(shape[i][0], shape[i][1], shape[i][2], i * 91);
    bdpti_matmul(&ctx, &p.g);
    h = add_hash(add_hash(h, p.c, p.c_size * sizeof *p.c), p.gelu, p.c_size * sizeof *p.c);
    free_problem(&p);
  }
  for (i = 0; i < 2; i++) { /* six heads, then one: its queries are cut into pieces */
    const size_t sizes[4] = {i ? 1 : 2, i ? 390 : 130, i ? 1 : 3, i ? 48 : 24};
    bdpti_attention(&ctx, sizes[0], heads_args(sizes, 1, q, o, l));
    h = add_hash(add_hash(h, o, heads_d * sizeof *o), l, heads_d * sizeof *l);
    run_attention_back(&ctx, sizes[0], heads_args(sizes, 1, q, o, l), q, l + heads_d);
    h = add_hash(h, l, heads_d * sizeof *l);
  }
  sums[0] = bdpti_dot(&ctx, size, x, x, NULL);
  sums[1] = bdpti_dot(&ctx, size, x, y, u);
  sums[2] = bdpti_all_finite(&ctx, size, x);
  h = add_hash(h, sums, sizeof sums);
  bdpti_act(&ctx, BDPT_GELU, size, x, NULL, u, 0); h = add_hash(h, u, size * sizeof *u);
  bdpti_act(&ctx, BDPT_GELU, size, x, y, u, 1); h = add_hash(h, u, size * sizeof *u);
  run_layernorm(&ctx, rows, n, x, q, q + n, 1e-6, u, l, l + rows);
  h = add_hash(h, u, size * sizeof *u);
  run_layernorm_back(&ctx, rows, norm_args(n, x, q, l, l + rows), y, u, 0, o, o + n);
  h = add_hash(add_hash(h, u, size * sizeof *u), o, 2 * n * sizeof *o);
  run_column_sum(&ctx, rows, n, x, o); h = add_hash(h, o, n * sizeof *o);
  run_adamw(&ctx, size, adam, u, x, y, v);
  h = add_hash(add_hash(h, u, size * sizeof *u), y, size * sizeof *y);
  free(x); free(y); free(u); free(v); free(q); free(o); free(l);
  return h;
}

TEST(test_threads) {
  const int isa = (int)ctx.isa_wanted;
  uint64_t one, more;
  int t;
  use(isa, 1);
  one = everything();
  for (t = 2; t <= 5; t++) {
    use(isa, t);
    more = everything();
    CHECK(one == more);
  }
  use(isa, 1);
  more = everything();
  CHECK(one == more); /* and the same again */
}

/* Refuses: a product must say so when its workspace cannot be had. */
static void *refuse(void *user, size_t bytes) {
  (void)user;
  (void)bytes;
  return NULL;
}

TEST(test_failures) {
  problem p = make_problem(20, 21, 20, 2); /* such a B is packed on every processor */
  const size_t sizes[4] = {1, 4, 1, 4};
  bdpt_context poor;
  memset(&poor, 0, sizeof poor);
  poor.allocator.alloc = refuse;
  poor.threads = 1;
  bdpt_init(&poor);
  CHECK(bdpti_matmul(&poor, &p.g) == BDPT_E_MEMORY);
  CHECK_HAS(poor.message, "memory");
  CHECK(bdpti_attention(&poor, 1, heads_args(sizes, 1, p.a, p.c, NULL)) == BDPT_E_MEMORY);
  CHECK(run_column_sum(&poor, 4, 4, p.a, p.c) == BDPT_E_MEMORY);
  CHECK(bdpti_attention_work((size_t)-1 / 2, 64) == (size_t)-1);
  free_problem(&p);
}

int main(void) {
  const bdpti_isa *previous = NULL;
  int isa;
  CHECK(bdpti_isa_select(0) == bdpti_isa_select(BDPT_ISA_AVX512));
  CHECK(strcmp(bdpti_isa_select(BDPT_ISA_PORTABLE)->name, "portable") == 0);
  for (isa = BDPT_ISA_PORTABLE; isa <= BDPT_ISA_AVX512; isa++) {
    bdpt_rng_seed(&rng, 1, (uint64_t)isa);
    use(isa, 2);
    if (ctx.isa == previous) continue; /* this processor has no more */
    previous = ctx.isa;
    RUN(test_exp);
    RUN(test_gelu);
    RUN(test_gate);
    RUN(test_matmul);
    RUN(test_packed_and_bf16);
    RUN(test_attention);
    RUN(test_layernorm);
    RUN(test_elements);
    RUN(test_adamw);
    RUN(test_threads);
  }
  RUN(plain_linear);
  RUN(test_softmax);
  RUN(test_failures);
  bdpt_finish(&ctx);
  return TEST_END("kernels");
}
