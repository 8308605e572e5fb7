/* Matrix products and attention against OpenBLAS.
 *
 * OpenBLAS is opened at run time, so nothing depends on it. Shapes are those of a DeiT: NT is
 * X W^T (forward), NN is dY W and TN dY^T X (backward). Attention's products are small: one head of
 * one image each, 65 tokens of 32 numbers or 197 of 64. */
#ifndef BENCH_PRODUCTS_H
#define BENCH_PRODUCTS_H

#include <dlfcn.h>

typedef void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);

static struct {
  sgemm multiply;           /* NULL: not installed */
  void (*threads)(int n);
} blas;

static void *blas_open(void) {
  static const char *const names[] = {
    "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0", "libopenblas.so.0"};
  size_t i;
  void *library = NULL;
  for (i = 0; i < sizeof names / sizeof *names && !library; i++) {
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library) note("OpenBLAS: %s", names[i]);
  }
  return library;
}

/* Opens OpenBLAS, once: fills `blas`, or leaves it zero with a note. */
static void blas_find(void) {
  static int looked;
  void *library, *f;
  if (looked++ || bench.no_peers) return;
  library = blas_open();
  f = library ? dlsym(library, "cblas_sgemm") : NULL;
  if (!f) {
    note("OpenBLAS: skipped, libopenblas.so.0 cannot be opened");
    return;
  }
  memcpy(&blas.multiply, &f, sizeof f);
  f = dlsym(library, "openblas_set_num_threads");
  memcpy(&blas.threads, &f, sizeof f);
  f = dlsym(library, "openblas_get_config");
  if (f) {
    char *(*config)(void);
    memcpy(&config, &f, sizeof f);
    note("OpenBLAS: %s", config());
  }
}

static void blas_set_threads(int n) {
  if (blas.threads) blas.threads(n);
}

/* 1  Operands: numbers in [-0.5, 0.5), enough for every shape */
static float *numbers(bdpt_context *ctx, size_t count) {
  float *x = (float *)bdpt_alloc(ctx, count * sizeof *x);
  bdpt_rng rng;
  size_t i;
  bdpt_rng_seed(&rng, 1, count);
  for (i = 0; x && i < count; i++) x[i] = (float)bdpt_uniform(&rng) - 0.5f;
  if (!x) complain("operands", ctx->message);
  return x;
}

/* 2  Large products */
typedef struct shape { const char *kind; size_t m, n, k; int quick; } shape;
static const shape shapes[] = {
  {"NT", 4160, 288, 96, 1}, {"NT", 4160, 96, 96, 0}, {"NT", 4160, 384, 96, 0},
  {"NT", 4160, 96, 384, 0}, {"NT", 1576, 1536, 384, 0}, {"NT", 1576, 3072, 768, 0},
  {"NT", 1576, 768, 3072, 0}, {"NT", 197, 3072, 768, 1}, {"TN", 384, 96, 4160, 1},
  {"NN", 4160, 96, 384, 1}, {"TN", 3072, 768, 1576, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct product {
  bdpt_context ctx;
  bdpti_gemm g;
  int ta, tb;
} product;

static int product_ours(void *with) {
  product *p = (product *)with;
  return bdpti_matmul(&p->ctx, &p->g) == BDPT_OK;
}

static int product_blas(void *with) {
  const product *p = (const product *)with;
  const bdpti_gemm *g = &p->g;
  blas.multiply(101, p->ta ? 112 : 111, p->tb ? 112 : 111, (int)g->m, (int)g->n, (int)g->k, 1.0f,
                g->a, (int)(p->ta ? g->m : g->k), g->b, (int)(p->tb ? g->k : g->n), 0.0f, g->c,
                (int)g->n);
  return 1;
}

static void product_set(product *p, const shape *s, int threads) {
  p->ctx.threads = threads;
  p->ta = s->kind[0] == 'T';
  p->tb = s->kind[1] == 'T';
  p->g.m = s->m; p->g.n = s->n; p->g.k = s->k;
  p->g.a_row = p->ta ? 1 : s->k; p->g.a_col = p->ta ? s->m : 1;
  p->g.b_row = p->tb ? 1 : s->n; p->g.b_col = p->tb ? s->k : 1;
  p->g.c_row = s->n;
}

/* Measures ours and OpenBLAS on one piece of work, as a row. Returns the ratio, 0 without
 * OpenBLAS. */
static double against_blas(const char *section, const char *label, int (*ours)(void *),
                           int (*theirs)(void *), void *with, int threads, double gflop) {
  static engine e[2];
  spread ratio;
  e[0] = engine_of("ours", ours, with, threads, gflop);
  e[1] = engine_of("OpenBLAS", theirs, with, threads, gflop);
  take_turns(e, blas.multiply ? 2 : 1, rounds_or(9), 0.03);
  ratio = ratio_of(&e[0], &e[1]);
  row_open(section, "GFLOP/s", label);
  row_cell("ours", rate_of(&e[0]));
  row_cell("OpenBLAS", rate_of(&e[1]));
  row_cell("ratio", ratio);
  row_close();
  return ratio.median;
}

static void products_at(product *p, int threads) {
  char label[80];
  mean m = {0, 0, 0};
  int i;
  blas_set_threads(threads);
  for (i = 0; i < SHAPES; i++) {
    const shape *s = &shapes[i];
    if (bench.quick && !s->quick) continue;
    product_set(p, s, threads);
    snprintf(label, sizeof label, "%s %u,%u,%u %dt", s->kind, (unsigned)s->m, (unsigned)s->n,
             (unsigned)s->k, threads);
    mean_add(&m, against_blas("matmul", label, product_ours, product_blas, p, threads,
                              2e-9 * (double)s->m * (double)s->n * (double)s->k));
  }
  if (m.count) note("  %d thread%s: geometric mean %.3f, worst %.3f", threads,
                    threads == 1 ? "" : "s", mean_of(&m), m.worst);
  summary("matmul_openblas_", threads == 1 ? "1t" : "2t", mean_of(&m));
}

static void section_matmul(void) {
  const size_t room = (size_t)3072 * 1576;
  static product p;
  float *a, *b;
  int threads;
  blas_find();
  p.ctx.isa_wanted = (bdpt_isa_choice)bench.isa;
  if (bdpt_init(&p.ctx) != BDPT_OK) return;
  a = numbers(&p.ctx, room);
  b = numbers(&p.ctx, room);
  p.g.c = numbers(&p.ctx, room);
  p.g.a = a;
  p.g.b = b;
  table_head("Matrix products M,N,K", "GFLOP/s", "ours|OpenBLAS|ratio", NULL);
  for (threads = 1; a && b && p.g.c && threads <= bench.threads && threads <= 2; threads++) {
    products_at(&p, threads);
  }
  bdpt_release(&p.ctx, a, room * sizeof *a);
  bdpt_release(&p.ctx, b, room * sizeof *b);
  bdpt_release(&p.ctx, p.g.c, room * sizeof *a);
  bdpt_finish(&p.ctx);
}

/* 3  Attention's products, as the attention kernel makes them: a task is one head of one image, its
 * operands are read where the qkv product left them, its rows of S stay in cache. Ours shares the
 * tasks among threads and packs the right factor where attention does. OpenBLAS is called head
 * after head and may use all its threads inside. */
typedef struct heads {
  bdpt_context ctx;
  size_t images, tokens, count, size; /* B N h d */
  int values;                         /* 0: S = Q K^T, 1: O = P V */
  const float *qkv;                   /* [B,N,3,h,d] */
  float *out;                         /* [B,N,h,d] */
  float *s;                           /* [threads][N, ld], rows padded to a multiple of 32 */
  float *work;                        /* [threads][packed factor] */
} heads;

static size_t padded(size_t n) { return (n + 31) / 32 * 32; }

/* Returns the strides of one head's product; its S (or P) is that of thread t. */
static bdpti_gemm head_product(const heads *h, size_t task, size_t t) {
  const size_t n = h->tokens, d = h->size, wide = h->count * d, row = 3 * wide, ld = padded(n);
  const float *q = h->qkv + task / h->count * n * row + task % h->count * d;
  float *s = h->s + t * n * ld;
  bdpti_gemm g;
  memset(&g, 0, sizeof g);
  g.isa = h->ctx.isa;
  g.m = n;
  if (h->values) {
    g.n = d; g.k = n;
    g.a = s; g.a_row = ld;
    g.b = q + 2 * wide; g.b_row = row; g.b_col = 1;
    g.c = h->out + task / h->count * n * wide + task % h->count * d; g.c_row = wide;
  } else {
    g.n = n; g.k = d;
    g.a = q; g.a_row = row;
    g.b = q + wide; g.b_row = 1; g.b_col = row;
    g.c = s; g.c_row = ld;
  }
  g.a_col = 1;
  return g;
}

static void head_ours(const heads *h, size_t task, size_t t) {
  const bdpti_isa *isa = h->ctx.isa;
  const bdpti_gemm g = head_product(h, task, t);
  const size_t wide = padded(h->tokens);
  float *work = h->work + t * wide * (wide + 64); /* the packed factor; a tile of the other */
  bdpti_block b;
  memset(&b, 0, sizeof b);
  b.pn = b.rows = g.k;
  b.jn = g.n;
  b.packed = NULL;
  if (!BDPTI_AS_IT_LIES(&g, isa->panel / 2)) b.packed = work;
  b.padded = !h->values;
  if (b.packed) bdpti_pack_block(&g, &b);
  bdpti_multiply(&g, &b, 0, BDPTI_TILES(g.m, isa->rows),
                 isa->by_lane ? work + wide * wide : NULL);
}

static int heads_ours(void *with) {
  const heads *h = (const heads *)with;
  const size_t tasks = h->images * h->count, team = (size_t)h->ctx.threads;
  int t;
  BDPTI_OMP(omp parallel for num_threads(h->ctx.threads) schedule(static, 1))
  for (t = 0; t < h->ctx.threads; t++) {
    size_t task = tasks * (size_t)t / team;
    for (; task < tasks * ((size_t)t + 1) / team; task++) head_ours(h, task, (size_t)t);
  }
  return 1;
}

static int heads_blas(void *with) {
  const heads *h = (const heads *)with;
  size_t task;
  for (task = 0; task < h->images * h->count; task++) {
    const bdpti_gemm g = head_product(h, task, 0);
    blas.multiply(101, 111, h->values ? 111 : 112, (int)g.m, (int)g.n, (int)g.k, 1, g.a,
                  (int)g.a_row, g.b, (int)(h->values ? g.b_row : g.b_col), 0, g.c, (int)g.c_row);
  }
  return 1;
}

/* Computes the whole of attention, softmax included, which is compared with OpenBLAS's two products
 * without it. */
static int attention_ours(void *with) {
  heads *h = (heads *)with;
  bdpti_heads all = {h->tokens, h->count, h->size, 1, 0.1f, h->qkv, h->out, NULL, NULL, NULL,
                     NULL, NULL};
  return bdpti_attention(&h->ctx, h->images, all) == BDPT_OK;
}

static int attention_blas(void *with) {
  heads *h = (heads *)with;
  for (h->values = 0; h->values < 2; h->values++) heads_blas(h);
  return 1;
}

/* Images, tokens, heads, head size. */
static const size_t head_shapes[][4] = {{32, 65, 3, 32}, {8, 197, 3, 64}};
enum { HEAD_SHAPES = 2 };

static int heads_make(heads *h, const size_t *sizes, int threads) {
  const size_t n = sizes[1], d = sizes[3], all = sizes[0] * n * sizes[2] * d, t = (size_t)threads;
  memset(h, 0, sizeof *h);
  h->ctx.threads = threads;
  h->ctx.isa_wanted = (bdpt_isa_choice)bench.isa;
  if (bdpt_init(&h->ctx) != BDPT_OK) return 0;
  h->images = sizes[0]; h->tokens = n; h->count = sizes[2]; h->size = d;
  h->qkv = numbers(&h->ctx, 3 * all);
  h->out = numbers(&h->ctx, all + 32);
  h->s = numbers(&h->ctx, t * n * padded(n) + 32);
  h->work = numbers(&h->ctx, t * padded(n) * (padded(n) + 64));
  return h->qkv && h->out && h->s && h->work;
}

static void heads_free(heads *h) {
  const size_t n = h->tokens, all = h->images * n * h->count * h->size;
  const size_t t = (size_t)h->ctx.threads;
  bdpt_release(&h->ctx, (void *)(uintptr_t)h->qkv, 3 * all * sizeof *h->s);
  bdpt_release(&h->ctx, h->out, (all + 32) * sizeof *h->s);
  bdpt_release(&h->ctx, h->s, (t * n * padded(n) + 32) * sizeof *h->s);
  bdpt_release(&h->ctx, h->work, t * padded(n) * (padded(n) + 64) * sizeof *h->s);
  bdpt_finish(&h->ctx);
}

static void heads_rows(heads *h, int threads, mean *m) {
  static const char *const names[] = {"QK^T", "PV"};
  const unsigned n = (unsigned)h->tokens, d = (unsigned)h->size;
  const double gflop = 2e-9 * (double)(h->images * h->count) * n * n * d;
  char label[80];
  int v;
  for (v = 0; v < 2; v++) {
    h->values = v;
    snprintf(label, sizeof label, "%s %u,%u,%u x %u %dt", names[v], n, v ? d : n, v ? n : d,
             (unsigned)(h->images * h->count), threads);
    mean_add(m, against_blas("attention", label, heads_ours, heads_blas, h, threads, gflop));
  }
  snprintf(label, sizeof label, "attention %u,%u,%u,%u %dt", (unsigned)h->images, n,
           (unsigned)h->count, d, threads);
  against_blas("attention", label, attention_ours, attention_blas, h, threads, 2 * gflop);
}

static void section_attention(void) {
  static heads h;
  int threads, i;
  blas_find();
  table_head("Attention's products M,N,K x heads, and the whole of it against its products alone",
             "GFLOP/s", "ours|OpenBLAS|ratio", NULL);
  for (threads = 1; threads <= bench.threads && threads <= 2; threads++) {
    mean m = {0, 0, 0};
    blas_set_threads(threads);
    for (i = 0; i < HEAD_SHAPES; i++) {
      if (heads_make(&h, head_shapes[i], threads)) heads_rows(&h, threads, &m);
      heads_free(&h);
    }
    summary("attention_products_", threads == 1 ? "1t" : "2t", mean_of(&m));
  }
}

#endif
