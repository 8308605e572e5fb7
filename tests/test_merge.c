/* Token merging: the matching and averaging and the attention with counts against loops in double;
 * whole networks, plain and pruned, against PyTorch (tests/fixtures/merge); the published MACs; and
 * what must not change a bit: the batch, the threads, the workspace.
 *
 * Tolerances as in fixture.h. Decisions are compared exactly: the inputs have no close ones. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "networks.h"

static bdpt_context ctx;
static const bdpt_merging none; /* zeros */
static const int is_double = sizeof(bdpt_real) == 8;

static bdpt_real *normals(size_t n, uint64_t seed) {
  bdpt_real *x = (bdpt_real *)malloc((n + 1) * sizeof *x);
  bdpt_rng rng;
  size_t i;
  bdpt_rng_seed(&rng, seed, 8);
  for (i = 0; i < n; i++) x[i] = (bdpt_real)bdpt_normal(&rng);
  return x;
}

/* ---- Attention with counts ------------------------------------------------------------------- */

/* Computes one row of the answer, in double, by the definition: log c added to the scores. */
static void attend_row(const bdpt_real *qkv, const bdpt_real *count, size_t n, size_t heads,
                       size_t d, size_t head, size_t i, double scale, double *y) {
  const size_t row = 3 * heads * d;
  const bdpt_real *q = qkv + i * row + head * d;
  double total = 0;
  size_t j, k;
  for (k = 0; k < d; k++) y[k] = 0;
  for (j = 0; j < n; j++) {
    const bdpt_real *key = qkv + j * row + heads * d + head * d;
    double s = 0, w;
    for (k = 0; k < d; k++) s += (double)q[k] * (double)key[k];
    w = exp(s * scale + log((double)count[j]));
    total += w;
    for (k = 0; k < d; k++) y[k] += w * (double)key[heads * d + k];
  }
  for (k = 0; k < d; k++) y[k] /= total;
}

/* Runs attention on qkv[B,N,3,h,d] with count[B,room]. */
static bdpt_tensor *counted(bdpt_tape *t, const size_t shape[3], int heads, double scale,
                            const bdpt_real *qkv, bdpt_real *count, size_t room) {
  bdpt_merging g;
  memset(&g, 0, sizeof g);
  g.count = count; g.room = room; g.joined = 1;
  return bdptp_attend(t, bdpt_input(t, 3, shape, qkv, 0), heads, scale, &g);
}

static void attention_case(size_t images, size_t n, size_t heads, size_t d, size_t room) {
  const size_t shape[3] = {images, n, 3 * heads * d};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *qkv = normals(images * n * 3 * heads * d, n + d), *count = normals(images * room, 5);
  double want[64], worst = 0, scale = 1 / sqrt((double)d);
  bdpt_tensor *y, *whole;
  size_t b, h, i, k;
  for (i = 0; i < images * room; i++) count[i] = (bdpt_real)(1 + floor(fabs(9 * (double)count[i])));
  y = counted(t, shape, (int)heads, scale, qkv, count, room);
  for (b = 0; CHECK(y && y->count == images * n * heads * d) && b < images; b++) {
    for (h = 0; h < heads; h++) {
      for (i = 0; i < n; i++) {
        attend_row(qkv + b * n * 3 * heads * d, count + b * room, n, heads, d, h, i, scale, want);
        for (k = 0; k < d; k++) {
          double got = (double)y->data[(b * n + i) * heads * d + h * d + k];
          worst = fmax(worst, fabs(got - want[k]));
        }
      }
    }
  }
  CHECK(worst < (is_double ? 1e-12 : 2e-6));
  for (i = 0; i < images * room; i++) count[i] = 1; /* then the bits are those of plain attention */
  y = counted(t, shape, (int)heads, scale, qkv, count, room);
  whole = bdpt_attention(t, bdpt_input(t, 3, shape, qkv, 0), NULL, (int)heads, scale);
  CHECK(y && whole && memcmp(y->data, whole->data, y->count * sizeof *y->data) == 0);
  free(qkv); free(count);
  bdpt_tape_free(t);
}

TEST(attention_counts_keys) {
  attention_case(1, 1, 1, 1, 1);
  attention_case(2, 7, 2, 5, 9);
  attention_case(1, 65, 3, 32, 65);
  attention_case(3, 40, 1, 17, 50);
  attention_case(1, 197, 2, 64, 200);
}

/* ---- Matching and averaging ------------------------------------------------------------------ */

typedef struct reference { /* of one image: tokens in groups, in their new order */
  size_t tokens;
  double *x, *count;       /* [N,D] [N] */
} reference;

static double cosine(const bdpt_real *a, const bdpt_real *b, size_t heads, size_t d) {
  double ab = 0, aa = 0, bb = 0;
  size_t h, k;
  for (k = 0; k < d; k++) {
    double u = 0, v = 0;
    for (h = 0; h < heads; h++) {
      u += (double)a[h * d + k];
      v += (double)b[h * d + k];
    }
    ab += u * v; aa += u * u; bb += v * v;
  }
  return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* Computes the group of token i: weighted sums over everything that points to it. */
static void reference_group(reference *r, const bdpt_real *x, const bdpt_real *count, size_t n,
                            size_t width, const size_t *joins, size_t i) {
  size_t t, k, at = r->tokens++;
  r->count[at] = 0;
  for (k = 0; k < width; k++) r->x[at * width + k] = 0;
  for (t = 0; t < n; t++) {
    if (joins[t] != i) continue;
    r->count[at] += (double)count[t];
    for (k = 0; k < width; k++) r->x[at * width + k] += (double)count[t] * (double)x[t * width + k];
  }
  for (k = 0; k < width; k++) r->x[at * width + k] /= r->count[at];
}

/* Puts the tokens in order: what stays of the even tokens, then the odd ones; class and
 * distillation token first. */
static void reference_order(reference *r, const bdpt_real *x, const bdpt_real *count, size_t n,
                            size_t width, size_t fixed, const size_t *joins) {
  size_t i;
  reference_group(r, x, count, n, width, joins, 0);
  if (fixed == 2) reference_group(r, x, count, n, width, joins, 1);
  for (i = 2; i < n; i += 2) {
    if (joins[i] == i) reference_group(r, x, count, n, width, joins, i);
  }
  for (i = fixed == 2 ? 3 : 1; i < n; i += 2) reference_group(r, x, count, n, width, joins, i);
}

/* Merges by the description: every even token but the class token looks for its most similar odd
 * one; the r most similar ones join it. joins[i] == i: token i stays. */
static void reference_merge(reference *r, const bdpt_real *x, const bdpt_real *count,
                            const bdpt_real *keys, size_t row, size_t heads, size_t d, size_t n,
                            size_t width, size_t fixed, size_t most) {
  size_t *best = (size_t *)malloc(n * sizeof *best), *joins = (size_t *)malloc(n * sizeof *joins);
  double *score = (double *)malloc(n * sizeof *score);
  size_t i, j, k, merge = (n - fixed) / 2 < most ? (n - fixed) / 2 : most;
  r->tokens = 0;
  for (i = 0; i < n; i++) joins[i] = i;
  for (i = 2; i < n; i += 2) {
    score[i] = -9;
    for (j = fixed == 2 ? 3 : 1; j < n; j += 2) {
      double c = cosine(keys + i * row, keys + j * row, heads, d);
      if (c > score[i]) {
        score[i] = c;
        best[i] = j;
      }
    }
  }
  for (k = 0; k < merge; k++) {
    size_t top = 0;
    for (i = 2; i < n; i += 2) {
      if (joins[i] == i && (top == 0 || score[i] > score[top])) top = i;
    }
    joins[top] = best[top];
  }
  for (i = 0; merge == 0 && i < n; i++) reference_group(r, x, count, n, width, joins, i);
  if (merge > 0) reference_order(r, x, count, n, width, fixed, joins);
  free(best); free(joins); free(score);
}

typedef struct merging_shape {
  size_t images, n, room, width, heads, d, fixed, most;
} merging_shape;

/* Begins with counts of `room` tokens an image, all 1. */
static int begin(bdpt_merging *g, int tokens, size_t images, size_t room) {
  bdpt_tensor x;
  memset(g, 0, sizeof *g); memset(&x, 0, sizeof x);
  g->ctx = &ctx; g->tokens = tokens;
  x.shape[0] = images; x.shape[1] = room; x.shape[2] = 1;
  x.count = images * room;
  return bdptp_merging_begin(g, &x);
}

static void merging_case(const merging_shape *c) {
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  size_t shape[3], row = c->heads * c->d + 3, b, i, k, left = c->n; /* 3: keys may be far apart */
  bdpt_real *data = normals(c->images * c->n * c->width, c->n), *keys, *count;
  double worst = 0, worst_count = 0;
  reference r;
  bdpt_merging g;
  bdptp_pairing p;
  bdpt_tensor *x, *y;
  memset(&p, 0, sizeof p);
  keys = normals(c->images * c->n * row, c->n + 1);
  count = normals(c->images * c->room, 3);
  for (i = 0; i < c->images * c->room; i++) {
    count[i] = (bdpt_real)(1 + (int)(fabs((double)count[i]) * 3));
  }
  shape[0] = c->images; shape[1] = c->n; shape[2] = c->width;
  x = bdpt_input(t, 3, shape, data, 0);
  if (!CHECK(begin(&g, (int)c->most, c->images, c->room))) return;
  memcpy(g.count, count, c->images * c->room * sizeof *g.count);
  p.g = &g; p.x = keys; p.row = row; p.heads = c->heads; p.size = c->d;
  y = bdptp_merge(t, x, &p, c->fixed);
  r.x = (double *)malloc(c->n * c->width * sizeof *r.x);
  r.count = (double *)malloc(c->n * sizeof *r.count);
  for (b = 0; CHECK(y != NULL) && b < c->images; b++) {
    reference_merge(&r, data + b * c->n * c->width, count + b * c->room, keys + b * c->n * row, row,
                    c->heads, c->d, c->n, c->width, c->fixed, c->most);
    left = r.tokens;
    if (!CHECK(y->shape[1] == left && y->count == c->images * left * c->width)) break;
    for (i = 0; i < left; i++) {
      worst_count = fmax(worst_count, fabs(r.count[i] - (double)g.count[b * c->room + i]));
      for (k = 0; k < c->width; k++) {
        double got = (double)y->data[(b * left + i) * c->width + k];
        worst = fmax(worst, fabs(got - r.x[i * c->width + k]));
      }
    }
  }
  if (!CHECK(worst_count == 0)) printf("  n %zu fixed %zu most %zu\n", c->n, c->fixed, c->most);
  CHECK(worst < (is_double ? 1e-14 : 2e-6));
  CHECK(left == c->n ? y == x : y != x);
  free(data); free(keys); free(count); free(r.x); free(r.count);
  bdpt_merging_free(&g);
  bdpt_tape_free(t);
}

TEST(merging_is_its_description) {
  static const merging_shape cases[] = {
    {1, 1, 1, 4, 1, 4, 1, 3}, {2, 2, 2, 5, 1, 5, 1, 1}, {1, 3, 3, 1, 2, 3, 1, 1},
    {1, 4, 4, 3, 1, 2, 2, 9}, {1, 3, 3, 3, 1, 2, 2, 9}, {3, 5, 8, 7, 3, 5, 1, 1},
    {2, 10, 10, 6, 2, 33, 1, 0}, {2, 10, 10, 6, 2, 33, 2, 4}, {1, 50, 50, 24, 3, 8, 1, 24},
    {2, 51, 60, 24, 3, 8, 2, 7}, {1, 197, 197, 192, 3, 64, 1, 16}, {1, 198, 198, 64, 1, 64, 2, 98},
    {2, 130, 197, 40, 12, 16, 1, 13}, {1, 66, 66, 400, 1, 400, 2, 20}};
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) merging_case(&cases[i]);
}

/* Keys may be all alike, zero or not numbers: the first come first, and nothing is lost. */
TEST(ties_zeros_and_nan) {
  static const double what[] = {1, 0, NAN};
  size_t n, i, fixed, shape[3] = {1, 0, 1}, kind;
  for (kind = 0; kind < 3; kind++) {
    for (n = 11; n <= 12; n++) {
      bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
      bdpt_real keys[24], *count, stream[12];
      bdpt_merging g;
      bdptp_pairing p;
      bdpt_tensor *y;
      double sum = 0;
      fixed = n - 10;
      memset(&p, 0, sizeof p);
      for (i = 0; i < 24; i++) keys[i] = (bdpt_real)what[kind];
      for (i = 0; i < 12; i++) stream[i] = (bdpt_real)i;
      if (!CHECK(begin(&g, 3, 1, 12))) continue;
      count = g.count;
      p.g = &g; p.x = keys; p.row = p.size = 2; p.heads = 1;
      shape[1] = n;
      y = bdptp_merge(t, bdpt_input(t, 3, shape, stream, 0), &p, fixed);
      if (!CHECK(y && y->shape[1] == n - 3)) continue;
      for (i = 0; i < n - 3; i++) sum += (double)count[i];
      CHECK(sum == (double)n && y->data[0] == 0 && count[0] == 1); /* the class token */
      if (fixed == 2) CHECK(y->data[1] == 1 && count[1] == 1);     /* the distillation token */
      CHECK(y->data[fixed] == 8 && y->data[fixed + 1] == 10);      /* 2, 4, 6 went first ... */
      if (kind == 2) CHECK(count[n - 4] == 4);
      else CHECK_CLOSE(y->data[fixed + 2], (2 + 4 + 6 + (fixed == 1 ? 1 : 3)) / 4.0, 1e-6);
      bdpt_merging_free(&g);
      bdpt_tape_free(t); /* ... into the first token of B that may be joined, or the last for NaN */
    }
  }
}

/* ---- Whole networks -------------------------------------------------------------------------- */

typedef struct network_case {
  const char *name;
  int r, distilled, form, state, block[2], gelu[2]; /* -1: none */
} network_case;

static void torch_case(const network_case *n) {
  bdpt_config c = small_config(n->distilled);
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_tensor *x, *y;
  bdpt_merging g = none;
  bdpt_model *m;
  char stream[80], label[40];
  size_t shape[4] = {3, 3, 28, 28}, i;
  int l, left = 50 + n->distilled, half;
  c.attn_form = (bdpt_attn_form)n->form;
  for (i = 0; i < 2; i++) {
    if (n->block[i] >= 0) c.block[n->block[i]].attention = (bdpt_attention_state)n->state;
    if (n->gelu[i] >= 0) c.block[n->gelu[i]].mlp_state = BDPT_MLP_LINEAR;
  }
  m = small_model(&ctx, &c);
  if (!CHECK(m && t)) return;
  snprintf(label, sizeof label, "%s.", n->name);
  snprintf(stream, sizeof stream, "merge/%s.%d", n->name, (int)fixture_number(label, "stream"));
  x = bdpt_input(t, 4, shape, NULL, 0);
  for (i = 0; i < x->count; i++) x->data[i] = (bdpt_real)fixture_value(stream, i, 2, 0);
  CHECK(bdpt_merge(m, n->r, &g) == BDPT_OK);
  y = bdpt_forward(m, t, x, NULL, NULL);
  if (CHECK(y != NULL)) fixture_check(y->data, y->count, label, "logits");
  for (l = 0; l < 5; l++) {
    half = (left - 1 - n->distilled) / 2;
    left -= half < n->r ? half : n->r;
  }
  CHECK(left == (int)fixture_number(label, "tokens"));
  bdpt_model_free(m);
  bdpt_merging_free(&g);
  bdpt_tape_free(t);
}

TEST(networks_are_pytorchs) {
  static const network_case cases[] = {
    {"r0", 0, 0, 0, 0, {-1, -1}, {-1, -1}}, {"r3", 3, 0, 0, 0, {-1, -1}, {-1, -1}},
    {"r8", 8, 0, 0, 0, {-1, -1}, {-1, -1}}, {"r11", 11, 0, 0, 0, {-1, -1}, {-1, -1}},
    {"r40", 40, 0, 0, 0, {-1, -1}, {-1, -1}}, {"dist_r0", 0, 1, 0, 0, {-1, -1}, {-1, -1}},
    {"dist_r4", 4, 1, 0, 0, {-1, -1}, {-1, -1}}, {"dist_r9", 9, 1, 0, 0, {-1, -1}, {-1, -1}},
    {"dist_r40", 40, 1, 0, 0, {-1, -1}, {-1, -1}},
    {"ln", 6, 0, BDPT_ATTN_NORM, BDPT_ATTENTION_REMOVED, {0, 2}, {-1, -1}},
    {"skip", 6, 0, BDPT_ATTN_SKIP, BDPT_ATTENTION_REMOVED, {0, 2}, {-1, -1}},
    {"double", 6, 0, BDPT_ATTN_DOUBLE, BDPT_ATTENTION_REMOVED, {0, 2}, {-1, -1}},
    {"fitted", 6, 0, 0, BDPT_ATTENTION_FITTED, {1, 3}, {-1, -1}},
    {"both", 7, 1, BDPT_ATTN_NORM, BDPT_ATTENTION_REMOVED, {1, 3}, {2, 3}}};
  size_t i;
  if (!fixture_open(&ctx, "tests/fixtures/merge.safetensors")) return;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) torch_case(&cases[i]);
  CHECK(fixture_file.count == 3 * (sizeof cases / sizeof cases[0]));
  fixture_close();
}

/* ---- What must not change a bit -------------------------------------------------------------- */

enum { SEVEN = 7, PIXELS = 3 * 28 * 28 };

TEST(batches_and_threads) {
  bdpt_config c = small_config(1);
  bdpt_model *m;
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *images = normals(SEVEN * PIXELS, 4), want[SEVEN * 5], got[SEVEN * 5], all[SEVEN * 5];
  bdpt_merging g = none;
  int i, threads = ctx.threads;
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  m = small_model(&ctx, &c);
  bdpt_predict(m, t, SEVEN, images, all);
  CHECK(bdpt_merge(m, 6, &g) == BDPT_OK);
  CHECK(bdpt_predict(m, t, SEVEN, images, want) == BDPT_OK);
  CHECK(memcmp(want, all, sizeof all) != 0);
  for (i = 0; i < SEVEN; i++) bdpt_predict(m, t, 1, images + i * PIXELS, got + i * 5);
  CHECK(memcmp(want, got, sizeof got) == 0);
  for (ctx.threads = 1; ctx.threads < 5; ctx.threads++) {
    memset(got, 0, sizeof got);
    CHECK(bdpt_predict(m, t, SEVEN, images, got) == BDPT_OK);
    CHECK(memcmp(want, got, sizeof got) == 0);
  }
  ctx.threads = threads;
  CHECK(bdpt_merge(m, 0, &g) == BDPT_OK);
  bdpt_predict(m, t, SEVEN, images, got);
  CHECK(memcmp(all, got, sizeof got) == 0);
  free(images);
  bdpt_tape_free(t);
  bdpt_model_free(m);
  bdpt_merging_free(&g);
}

/* Threads share out images only above some size: here several do. */
TEST(threads_share_images) {
  enum { IMAGES = 6, N = 197, D = 64 };
  static bdpt_real out[5][IMAGES * N * D];
  bdpt_real *stream = normals(IMAGES * N * D, 1), *keys = normals(IMAGES * N * D, 2);
  size_t shape[3] = {IMAGES, N, D};
  int threads = ctx.threads;
  for (ctx.threads = 1; ctx.threads < 5; ctx.threads++) {
    bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
    bdpt_merging g;
    bdptp_pairing p;
    bdpt_tensor *y;
    memset(&p, 0, sizeof p);
    if (!CHECK(begin(&g, 16, IMAGES, N))) continue;
    p.g = &g; p.x = keys; p.row = p.size = D; p.heads = 1;
    y = bdptp_merge(t, bdpt_input(t, 3, shape, stream, 0), &p, 1);
    if (CHECK(y && y->count == IMAGES * (N - 16) * D)) {
      memcpy(out[ctx.threads], y->data, y->count * sizeof(bdpt_real));
    }
    CHECK(ctx.threads == 1 || memcmp(out[1], out[ctx.threads], sizeof out[1]) == 0);
    bdpt_merging_free(&g);
    bdpt_tape_free(t);
  }
  ctx.threads = threads;
  free(stream); free(keys);
}

/* What the blocks return has the shape that is left, in all its fields. */
static void blocks_case(bdpt_model *m, bdpt_tape *t) {
  const size_t shape[3] = {2, 50, 24};
  bdpt_forward_options options;
  bdpt_tensor *x;
  memset(&options, 0, sizeof options);
  bdpt_tape_reset(t);
  x = bdpti_blocks(m, t, bdpt_input(t, 3, shape, NULL, 0), 2, &options);
  CHECK(x && x->shape[0] == 2 && x->shape[1] == 36 && x->shape[2] == 24 && x->count == 2 * 36 * 24);
}

/* The workspace is one block's, whatever the depth, and the second prediction allocates nothing. */
TEST(workspace_of_one_block) {
  size_t bytes[2], now;
  int i;
  for (i = 0; i < 2; i++) {
    bdpt_config c = small_config(0);
    bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
    bdpt_real *images = normals(SEVEN * PIXELS, 4), logits[SEVEN * 5];
    bdpt_merging g = none;
    bdpt_model *m;
    c.depth = i ? 12 : 2;
    m = small_model(&ctx, &c);
    CHECK(bdpt_merge(m, 3, &g) == BDPT_OK);
    CHECK(bdpt_predict(m, t, SEVEN, images, logits) == BDPT_OK);
    bdpt_predict(m, t, SEVEN, images, logits); /* the tape makes one block of its several */
    bytes[i] = t->arena.first->bytes;
    now = ctx.bytes_now;
    ctx.bytes_peak = now;
    bdpt_predict(m, t, SEVEN, images, logits);
    CHECK(ctx.bytes_now == now && ctx.bytes_peak == now);
    CHECK(bdpt_merge(m, 7, &g) == BDPT_OK);
    blocks_case(m, t);
    bdpt_model_free(m);
    bdpt_merging_free(&g);
    bdpt_tape_free(t);
    free(images);
  }
  CHECK(bytes[0] == bytes[1]);
}

static bdpt_tensor *another_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  (void)user;
  return bdpt_mlp_half(m, t, l, x, o);
}

TEST(training_keeps_all_tokens) {
  bdpt_config c = small_config(1);
  bdpt_model *m = small_model(&ctx, &c);
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_real *images = normals(2 * PIXELS, 4), first[10];
  size_t shape[4] = {2, 3, 28, 28};
  bdpt_forward_options training = {1, 0, 0, 0, NULL};
  bdpt_merging g = none;
  bdpt_tensor *y;
  bdpt_model_train_mode(m);
  y = bdpt_forward(m, t, bdpt_input(t, 4, shape, images, 0), &training, NULL);
  memcpy(first, y->data, sizeof first);
  CHECK(bdpt_merge(m, 5, &g) == BDPT_OK);
  bdpt_tape_reset(t);
  y = bdpt_forward(m, t, bdpt_input(t, 4, shape, images, 0), &training, NULL);
  CHECK(y && memcmp(first, y->data, sizeof first) == 0);
  y = bdpt_forward(m, t, bdpt_input(t, 4, shape, images, 0), NULL, NULL);
  CHECK(y == NULL && ctx.status == BDPT_E_STATE);
  CHECK_HAS(ctx.message, "merging tokens: it has no backward pass");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_merge(m, -1, &g) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "merge: tokens: -1");
  bdpt_clear_error(&ctx);
  m->config.registers = 2;
  CHECK(bdpt_merge(m, 3, &g) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "before the patches nothing else");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_merge(m, 0, &g) == BDPT_OK && m->block == NULL);
  m->block = another_block;
  CHECK(bdpt_merge(m, 0, &g) == BDPT_E_STATE && m->block == another_block);
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
  bdpt_merging_free(&g);
  bdpt_tape_free(t);
  free(images);
}

/* The k-th allocation fails: an error, and nothing is lost. */
static int allow;
static void *some(void *user, size_t bytes) {
  (void)user;
  return allow-- > 0 ? malloc(bytes) : NULL;
}
static void give(void *user, void *p, size_t bytes) { (void)user; (void)bytes; free(p); }

TEST(failing_allocations) {
  int k, failed = 0, ok = 0;
  size_t lost = 0;
  bdpt_real *images = normals(2 * PIXELS, 4), logits[10];
  for (k = 0; k < 400 && !ok; k++) {
    bdpt_context own;
    bdpt_config c = small_config(1);
    bdpt_merging g = none;
    bdpt_model *m;
    bdpt_tape *t;
    memset(&own, 0, sizeof own);
    own.allocator.alloc = some; own.allocator.free = give;
    own.threads = 2;
    allow = k;
    bdpt_init(&own);
    m = bdpt_model_create(&own, &c, 1);
    t = m ? bdpt_tape_create(&own, BDPT_TAPE_COMPUTE) : NULL;
    if (t) bdpt_merge(m, 5, &g);
    ok = t && bdpt_predict(m, t, 2, images, logits) == BDPT_OK;
    if (!ok) failed += own.status == BDPT_E_MEMORY;
    bdpt_merging_free(&g);
    bdpt_tape_free(t);
    bdpt_model_free(m);
    bdpt_finish(&own);
    lost += own.bytes_now;
  }
  CHECK(ok && failed == k - 1 && lost == 0);
  free(images);
}

/* ---- What it costs --------------------------------------------------------------------------- */

static double gmacs(const char *name, int merge) {
  bdpt_config c;
  bdpt_cost_report r;
  CHECK(bdpt_config_named(&ctx, name, &c) == BDPT_OK);
  CHECK(bdpt_merging_cost(&ctx, &c, merge, &r) == BDPT_OK);
  return r.macs * 1e-9;
}

TEST(published_costs) {
  bdpt_config c = small_config(0);
  bdpt_cost_report whole, merged;
  double want;
  CHECK_CLOSE(gmacs("deit_small_patch16_224", 8), 3.4, 0.05);
  CHECK_CLOSE(gmacs("deit_small_patch16_224", 13), 2.7, 0.05);
  CHECK_CLOSE(gmacs("deit_small_patch16_224", 16), 2.3, 0.05);
  CHECK_CLOSE(gmacs("deit_tiny_patch16_224", 8), 0.9, 0.05);
  CHECK_CLOSE(gmacs("deit_tiny_patch16_224", 12), 0.8, 0.05);
  CHECK_CLOSE(gmacs("deit_tiny_patch16_224", 16), 0.6, 0.05);
  /* Two blocks by hand: 50 tokens, 40 after the first merging, 30 after the second. */
  c.depth = 2;
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  bdpt_cost(&ctx, &c, &whole);
  bdpt_merging_cost(&ctx, &c, 10, &merged);
  want = 48 * 24 * 49 + 24 * 5; /* patches, head */
  want += 4 * 50 * 24 * 24 + 2 * 50 * 50 * 24 + 25 * 25 * 8 + 2 * 40 * 24 * 40;
  want += 20 * 20 * 24 + 2 * 30 * 24 * 40;
  CHECK(merged.macs == want && merged.params == whole.params);
  CHECK(merged.macs - merged.macs_no_matmul == 2 * 50 * 50 * 24 + 25 * 25 * 8 + 20 * 20 * 24);
}

int main(void) {
  if (bdpt_init(&ctx) != BDPT_OK) return 1;
  RUN(attention_counts_keys);
  RUN(merging_is_its_description);
  RUN(ties_zeros_and_nan);
  RUN(networks_are_pytorchs);
  RUN(batches_and_threads);
  RUN(threads_share_images);
  RUN(workspace_of_one_block);
  RUN(training_keeps_all_tokens);
  RUN(failing_allocations);
  RUN(published_costs);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("merge");
}
