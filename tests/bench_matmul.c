/* The matrix product on the shapes of a vision transformer, against OpenBLAS when it is installed.
 *
 *   cc -O2 -fopenmp tests/bench_matmul.c -o build/bench_matmul -lm -ldl
 *   build/bench_matmul [rounds [isa]]        isa: 0 best, 1 portable, 2 AVX2, 3 AVX-512
 *
 * OpenBLAS is opened at run time (libopenblas.so.0), so nothing depends on it. Both sides run in turn
 * within each round, because the clock of a shared machine drifts; a line shows the median GFLOP/s of
 * each and the ratio of the medians. NT is X W^T, NN is dY W, TN is dY^T X. The last lines are the
 * geometric means, `RATIO name value`. */
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

typedef struct bench { bdpti_gemm g; int ta, tb, lda, ldb; sgemm blas; bdpt_context *ctx; } bench;

static void ours(bench *b) { bdpti_matmul(b->ctx, &b->g); }

static void theirs(bench *b) {
  b->blas(101, b->ta ? 112 : 111, b->tb ? 112 : 111, (int)b->g.m, (int)b->g.n, (int)b->g.k, 1.0f,
          b->g.a, b->lda, b->g.b, b->ldb, 0.0f, b->g.c, (int)b->g.n);
}

/* Enough repetitions for a few milliseconds, so that the clock is fine enough. */
static double rate(void (*run)(bench *b), bench *b, int reps) {
  const double flop = 2.0 * (double)b->g.m * (double)b->g.n * (double)b->g.k * reps;
  double start = seconds();
  int i;
  for (i = 0; i < reps; i++) run(b);
  return flop / (seconds() - start) / 1e9;
}

static void one_shape(bench *b, const shape *s, int rounds, double *mine, double *other) {
  static double x[MOST], y[MOST];
  const int reps = 1 + (int)(2e8 / (2.0 * (double)s->m * (double)s->n * (double)s->k));
  int r;
  b->ta = s->kind[0] == 'T';
  b->tb = s->kind[1] == 'T';
  b->lda = (int)(b->ta ? s->m : s->k);
  b->ldb = (int)(b->tb ? s->k : s->n);
  b->g.m = s->m; b->g.n = s->n; b->g.k = s->k;
  b->g.a_row = b->ta ? 1 : s->k; b->g.a_col = b->ta ? s->m : 1;
  b->g.b_row = b->tb ? 1 : s->n; b->g.b_col = b->tb ? s->k : 1;
  b->g.c_row = s->n;
  rate(ours, b, 1);
  if (b->blas) rate(theirs, b, 1);
  for (r = 0; r < rounds; r++) {
    x[r] = rate(ours, b, reps);
    y[r] = b->blas ? rate(theirs, b, reps) : 0;
  }
  *mine = median(x, rounds);
  *other = median(y, rounds);
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
    double log_sum[2] = {0, 0};
    int count[2] = {0, 0}, s;
    ctx.threads = threads;
    used_clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    if (blas_threads) blas_threads(threads);
    for (s = 0; s < SHAPES; s++) {
      double mine, other;
      one_shape(&b, &shapes[s], rounds, &mine, &other);
      printf("%dt %s %4u,%4u,%4u  %7.1f", threads, shapes[s].kind, (unsigned)shapes[s].m,
             (unsigned)shapes[s].n, (unsigned)shapes[s].k, mine);
      if (b.blas) {
        printf("  OpenBLAS %7.1f  ratio %.2f", other, mine / other);
        log_sum[shapes[s].small] += log(mine / other);
        count[shapes[s].small]++;
      }
      printf("\n");
      fflush(stdout);
    }
    for (s = 0; s < 2; s++) {
      printf("RATIO %s_openblas_%dt ", s ? "attention_products" : "matmul", threads);
      if (count[s]) printf("%.3f\n", exp(log_sum[s] / count[s]));
      else printf("skipped\n");
    }
  }
  bdpti_free(&ctx, a, room * sizeof *a);
  bdpti_free(&ctx, w, room * sizeof *w);
  bdpti_free(&ctx, b.g.c, room * sizeof *a);
  bdpt_finish(&ctx);
  return 0;
}
