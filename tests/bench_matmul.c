/* The matrix product on the shapes of a vision transformer, against OpenBLAS when it is installed.
 *
 *   cc -O2 -fopenmp tests/bench_matmul.c -o build/bench_matmul -lm -ldl
 *   build/bench_matmul [rounds [isa]]        isa: 0 best, 1 portable, 2 AVX2, 3 AVX-512
 *
 * OpenBLAS is opened at run time (libopenblas.so.0), so nothing depends on it. Both sides run in
 * turn within each round, because the clock of a shared machine drifts; a line shows the median
 * GFLOP/s of each and the ratio of the medians. NT is X W^T, NN is dY W, TN is dY^T X. `attention`
 * is our whole attention, softmax included, against the two products alone. The geometric means
 * follow as `RATIO name value`. */
#define _POSIX_C_SOURCE 200809L
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

typedef void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*set_threads)(int threads);

typedef struct shape { const char *kind; size_t m, n, k; int small; } shape;
static const shape shapes[] = {
  {"NT", 4160, 288, 96, 0}, {"NT", 4160, 96, 96, 0}, {"NT", 4160, 384, 96, 0},
  {"NT", 4160, 96, 384, 0}, {"NT", 1576, 1536, 384, 0}, {"NT", 1576, 3072, 768, 0},
  {"NT", 1576, 768, 3072, 0}, {"NT", 197, 3072, 768, 0}, {"TN", 384, 96, 4160, 0},
  {"NN", 4160, 96, 384, 0}, {"TN", 3072, 768, 1576, 0}, {"NT", 65, 65, 32, 1},
  {"NN", 65, 32, 65, 1}, {"NT", 197, 197, 64, 1}, {"NN", 197, 64, 197, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes, MOST = 101 };

/* One thread is timed by its own processor time, which a busy machine disturbs least. */
static clockid_t used_clock;

static double seconds(void) {
  struct timespec t;
  clock_gettime(used_clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, by_size);
  return x[n / 2];
}

/* Images, tokens, heads, head size. */
static const size_t attentions[][4] = {{32, 65, 3, 32}, {8, 197, 3, 64}, {2, 197, 12, 64}};
enum { ATTENTIONS = 3 };

typedef struct bench {
  bdpti_gemm g;
  int ta, tb, lda, ldb;
  sgemm blas;
  bdpt_context *ctx;
  const size_t *a; /* the attention in question */
} bench;

static void ours(bench *b) { bdpti_matmul(b->ctx, &b->g); }

static void our_attention(bench *b) {
  const size_t *a = b->a;
  bdpti_attention_fwd(b->ctx, a[0], a[1], a[2], a[3], 0.1f, b->g.a, b->g.c, NULL);
}

/* One thread per head, as we do; OpenBLAS then works on one thread inside. */
static void their_products(bench *b) {
  const size_t n = b->a[1], h = b->a[2], d = b->a[3], row = 3 * h * d;
  const int ld = (int)row, tasks = (int)(b->a[0] * h);
  int t;
  BDPTI_OMP(omp parallel for num_threads(b->ctx->threads) schedule(static))
  for (t = 0; t < tasks; t++) {
    const size_t image = (size_t)t / h, head = (size_t)t % h;
    const float *q = b->g.a + image * n * row + head * d;
    float *s = b->g.c + (size_t)4160 * 2080 + (size_t)t * n * n;
    float *out = b->g.c + image * n * h * d + head * d;
    b->blas(101, 111, 112, (int)n, (int)n, (int)d, 0.1f, q, ld, q + h * d, ld, 0, s, (int)n);
    b->blas(101, 111, 111, (int)n, (int)d, (int)n, 1, s, (int)n, q + 2 * h * d, ld, 0, out,
            (int)(h * d));
  }
}

static void theirs(bench *b) {
  b->blas(101, b->ta ? 112 : 111, b->tb ? 112 : 111, (int)b->g.m, (int)b->g.n, (int)b->g.k, 1.0f,
          b->g.a, b->lda, b->g.b, b->ldb, 0.0f, b->g.c, (int)b->g.n);
}

/* Enough repetitions for a few milliseconds, so that the clock is fine enough. */
static double rate(void (*run)(bench *b), bench *b, double flop) {
  const int reps = 1 + (int)(2e8 / flop);
  double start = seconds();
  int i;
  for (i = 0; i < reps; i++) run(b);
  return flop * reps / (seconds() - start) / 1e9;
}

/* Medians of both sides in turn, and the logarithm of their ratio. */
static double compare(bench *b, void (*us)(bench *b), void (*them)(bench *b), double flop,
                      int rounds) {
  static double x[MOST], y[MOST];
  double mine, other;
  int r;
  us(b);
  if (b->blas) them(b);
  for (r = 0; r < rounds; r++) {
    x[r] = rate(us, b, flop);
    y[r] = b->blas ? rate(them, b, flop) : 0;
  }
  mine = median(x, rounds);
  other = median(y, rounds);
  printf("  %7.1f", mine);
  if (b->blas) printf("  OpenBLAS %7.1f  ratio %.2f", other, mine / other);
  printf("\n");
  fflush(stdout);
  return b->blas ? log(mine / other) : 0;
}

static double one_shape(bench *b, const shape *s, int rounds) {
  b->ta = s->kind[0] == 'T';
  b->tb = s->kind[1] == 'T';
  b->lda = (int)(b->ta ? s->m : s->k);
  b->ldb = (int)(b->tb ? s->k : s->n);
  b->g.m = s->m; b->g.n = s->n; b->g.k = s->k;
  b->g.a_row = b->ta ? 1 : s->k; b->g.a_col = b->ta ? s->m : 1;
  b->g.b_row = b->tb ? 1 : s->n; b->g.b_col = b->tb ? s->k : 1;
  b->g.c_row = s->n;
  printf("%dt %s %4u,%4u,%4u", b->ctx->threads, s->kind, (unsigned)s->m, (unsigned)s->n,
         (unsigned)s->k);
  return compare(b, ours, theirs, 2.0 * (double)s->m * (double)s->n * (double)s->k, rounds);
}

static double one_attention(bench *b, const size_t *a, int rounds) {
  const double n = (double)a[1];
  b->a = a;
  printf("%dt attention %2u,%3u,%2u,%2u", b->ctx->threads, (unsigned)a[0], (unsigned)a[1],
         (unsigned)a[2], (unsigned)a[3]);
  return compare(b, our_attention, their_products,
                 4.0 * (double)(a[0] * a[2] * a[3]) * n * n, rounds);
}

static void all_shapes(bench *b, int rounds) {
  static const char *const names[3] = {"matmul", "attention_products", "attention"};
  double sum[3] = {0, 0, 0};
  int count[3] = {0, 0, ATTENTIONS}, i;
  for (i = 0; i < SHAPES; i++) {
    sum[shapes[i].small] += one_shape(b, &shapes[i], rounds);
    count[shapes[i].small]++;
  }
  for (i = 0; i < ATTENTIONS; i++) sum[2] += one_attention(b, attentions[i], rounds);
  for (i = 0; i < 3; i++) {
    printf("RATIO %s_openblas_%dt ", names[i], b->ctx->threads);
    if (b->blas) printf("%.3f\n", exp(sum[i] / count[i]));
    else printf("skipped\n");
  }
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 && atoi(argv[1]) > 0 && atoi(argv[1]) <= MOST ? atoi(argv[1]) : 11;
  const size_t room = (size_t)4160 * 4160;
  void *library = dlopen("libopenblas.so.0", RTLD_NOW);
  set_threads blas_threads = NULL;
  bdpt_context ctx;
  bench b;
  bdpt_rng rng;
  float *a, *w;
  size_t i;
  int threads;
  memset(&b, 0, sizeof b);
  memset(&ctx, 0, sizeof ctx);
  ctx.isa_wanted = argc > 2 ? atoi(argv[2]) : 0;
  bdpt_init(&ctx);
  if (library) {
    void *f = dlsym(library, "cblas_sgemm"), *t = dlsym(library, "openblas_set_num_threads");
    memcpy(&b.blas, &f, sizeof f);
    memcpy(&blas_threads, &t, sizeof t);
  } else printf("OpenBLAS is not installed: our figures only\n");
  a = (float *)bdpti_alloc(&ctx, room * sizeof *a);
  w = (float *)bdpti_alloc(&ctx, room * sizeof *w);
  b.g.c = (float *)bdpti_alloc(&ctx, room * sizeof *a);
  if (!a || !w || !b.g.c) return 1;
  bdpti_rng_seed(&rng, 1, 1);
  for (i = 0; i < room; i++) {
    a[i] = (float)bdpti_uniform(&rng) - 0.5f;
    w[i] = (float)bdpti_uniform(&rng) - 0.5f;
  }
  b.g.a = a;
  b.g.b = w;
  b.ctx = &ctx;
  printf("%s, median of %d rounds, GFLOP/s\n", bdpt_isa_name(&ctx), rounds);
  for (threads = 1; threads <= 2; threads++) {
    ctx.threads = threads;
    used_clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    if (blas_threads) blas_threads(threads);
    all_shapes(&b, rounds);
  }
  bdpti_free(&ctx, a, room * sizeof *a);
  bdpti_free(&ctx, w, room * sizeof *w);
  bdpti_free(&ctx, b.g.c, room * sizeof *a);
  bdpt_finish(&ctx);
  return 0;
}
