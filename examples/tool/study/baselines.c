/* =================================================================================================
 * baselines.c: simple ways to choose which layers go
 * =================================================================================================
 * What learned importance (chapter 6 of boundarydpt_studies.h) is compared with. Each gives every
 * layer a score; the smallest goes first. All of them look at the dense network once, none trains.
 *
 *   cosine     how alike the layer's output is to its input: attention x and x + MHSA(LN1(x)),
 *              activation z and GELU(z); the most alike goes first (LLM-Drop, arXiv 2406.15786)
 *   transfer   how much entropy the answer loses without the layer, each layer alone: NOSE's
 *              transfer entropy (arXiv 2404.05657), computed once instead of greedily
 *   random     a draw
 *
 * Two more need nothing of their own here: the accuracy right after a removal comes from a recovery
 * study, and the size of dL/dm from a disparity study; the latter compared across types is what the
 * paper warns of.
 *
 * The walk through the network that finds the cosines also finds the two variances of theorem 4:
 * the mean squares of MHSA(u) - u and of GELU(z) - z.
 */
#include "../../../boundarydpt.h"
#include "../cli/system.h"
#include "baselines.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BASELINE_BATCH = 16 };

/* Adds the cosine of each row of a and b, and the mean square of c - d over everything. */
static void baseline_compare(const bdpt_tensor *a, const bdpt_tensor *b, const bdpt_tensor *c,
                             const bdpt_tensor *d, double *cosine, double *change) {
  size_t width = a->shape[a->ndim - 1], rows = a->count / width, i, j;
  double square = 0;
  for (i = 0; i < rows; i++) {
    double ab = 0, aa = 0, bb = 0;
    for (j = i * width; j < (i + 1) * width; j++) {
      ab += (double)a->data[j] * (double)b->data[j];
      aa += (double)a->data[j] * (double)a->data[j];
      bb += (double)b->data[j] * (double)b->data[j];
    }
    *cosine += ab / (sqrt(aa * bb) + 1e-300) / (double)rows;
  }
  for (i = 0; i < c->count; i++)
    square += ((double)c->data[i] - (double)d->data[i]) * ((double)c->data[i] - (double)d->data[i]);
  *change += square / (double)c->count;
}

/* Computes one block of a complete network; its output goes back to x. */
static bdpt_status baseline_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_real *x,
                                  const size_t shape[3], baseline_walk *sum) {
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *in, *u, *a, *out, *v, *z, *s;
  const bdpt_block *b = &m->config.block[l];
  bdpt_tape_reset(t);
  in = bdpt_input(t, 3, shape, x, 0);
  u = bdpt_layernorm(t, in, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], m->config.eps);
  a = bdpt_linear(t, u, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B], NULL);
  a = bdpt_attention(t, a, NULL, b->heads, b->scale);
  a = bdpt_linear(t, a, &p[BDPT_SLOT_PROJ_W], &p[BDPT_SLOT_PROJ_B], NULL);
  out = bdpt_add(t, in, a);
  v = bdpt_layernorm(t, out, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
  z = bdpt_linear(t, v, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL);
  s = bdpt_activate(t, z, BDPT_GELU);
  v = bdpt_add(t, out, bdpt_linear(t, s, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B], NULL));
  if (!v) return m->ctx->status;
  baseline_compare(in, out, a, u, &sum->cosine[0][l], &sum->change[0][l]);
  baseline_compare(z, s, s, z, &sum->cosine[1][l], &sum->change[1][l]);
  memcpy(x, v->data, v->count * sizeof *x);
  return BDPT_OK;
}

/* Computes all blocks for a batch of images that lies in `images`; x has room for its tokens. */
static bdpt_status baseline_batch(bdpt_model *m, bdpt_tape *t, const bdpt_real *images, size_t n,
                                  bdpt_real *x, baseline_walk *sum) {
  size_t side = (size_t)m->config.image, shape[4], l;
  bdpt_tensor *p = m->param, *y;
  bdpt_status s = BDPT_OK;
  shape[0] = n; shape[1] = 3; shape[2] = shape[3] = side;
  bdpt_tape_reset(t);
  y = bdpt_input(t, 4, shape, images, 0);
  y = bdpt_patch_embed(t, y, &p[BDPT_SLOT_PATCH_W], &p[BDPT_SLOT_PATCH_B]);
  y = bdpt_tokens(t, y, &p[BDPT_SLOT_CLS], m->config.distilled ? &p[BDPT_SLOT_DIST] : NULL, NULL,
                  &p[BDPT_SLOT_POS]);
  if (!y) return m->ctx->status;
  memcpy(x, y->data, y->count * sizeof *x);
  shape[1] = y->shape[1];
  shape[2] = y->shape[2];
  for (l = 0; l < (size_t)m->config.depth && s == BDPT_OK; l++)
    s = baseline_block(m, t, (int)l, x, shape, sum);
  return s;
}

bdpt_status baseline_look(bdpt_model *m, const bdpt_subset *data, baseline_walk *out) {
  size_t pixels = 3 * (size_t)m->config.image * (size_t)m->config.image, at, n, i;
  size_t side = (size_t)(m->config.image / m->config.patch), tokens = side * side + 2;
  bdpt_real *images = (bdpt_real *)malloc(BASELINE_BATCH * pixels * sizeof *images);
  bdpt_real *x = (bdpt_real *)malloc(BASELINE_BATCH * tokens * (size_t)m->config.width *
                                     sizeof *x);
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = images && x && t ? BDPT_OK : BDPT_E_MEMORY;
  memset(out, 0, sizeof *out);
  for (at = 0; at < data->count && s == BDPT_OK; at += n) {
    baseline_walk sum;
    const double *from = (const double *)(const void *)&sum;
    double *to = (double *)(void *)out;
    memset(&sum, 0, sizeof sum);
    n = data->count - at < BASELINE_BATCH ? data->count - at : BASELINE_BATCH;
    s = bdpt_load_batch(m->ctx, &m->config, data, at, n, images, NULL);
    if (s == BDPT_OK) s = baseline_batch(m, t, images, n, x, &sum);
    for (i = 0; i < sizeof sum / sizeof *from; i++)
      to[i] += from[i] * (double)n / (double)data->count;
    if (cli_stop && s == BDPT_OK) s = BDPT_CANCELLED;
  }
  bdpt_tape_free(t);
  free(images);
  free(x);
  return s;
}

bdpt_status baseline_predict(bdpt_model *m, const bdpt_subset *data, baseline_answers each,
                             void *user) {
  size_t pixels = 3 * (size_t)m->config.image * (size_t)m->config.image, at, n;
  bdpt_real *images = (bdpt_real *)malloc(BASELINE_BATCH * pixels * sizeof *images);
  bdpt_real *z = (bdpt_real *)malloc(BASELINE_BATCH * (size_t)m->config.classes * sizeof *z);
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = images && z && t ? BDPT_OK : BDPT_E_MEMORY;
  for (at = 0; at < data->count && s == BDPT_OK; at += n) {
    n = data->count - at < BASELINE_BATCH ? data->count - at : BASELINE_BATCH;
    s = bdpt_load_batch(m->ctx, &m->config, data, at, n, images, NULL);
    if (s == BDPT_OK) s = bdpt_predict(m, t, n, images, z);
    if (s == BDPT_OK && each) each(z, n, user);
    if (cli_stop && s == BDPT_OK) s = BDPT_CANCELLED;
  }
  bdpt_tape_free(t);
  free(images);
  free(z);
  return s;
}

/* Sums and sums of squares of each logit: sum[2][classes]. */
typedef struct baseline_moments { double *sum; size_t classes; } baseline_moments;

static void baseline_add(const bdpt_real *z, size_t n, void *user) {
  const baseline_moments *m = (const baseline_moments *)user;
  size_t i;
  for (i = 0; i < n * m->classes; i++) {
    m->sum[i % m->classes] += (double)z[i];
    m->sum[m->classes + i % m->classes] += (double)z[i] * (double)z[i];
  }
}

bdpt_status baseline_entropy(bdpt_model *m, const bdpt_subset *data, double *out) {
  const double count = (double)data->count;
  baseline_moments all;
  bdpt_status s;
  size_t i;
  all.classes = (size_t)m->config.classes;
  all.sum = (double *)calloc(2 * all.classes, sizeof *all.sum);
  s = all.sum ? baseline_predict(m, data, baseline_add, &all) : BDPT_E_MEMORY;
  *out = 0;
  for (i = 0; i < all.classes && s == BDPT_OK; i++) {
    double mean = all.sum[i] / count, variance = all.sum[all.classes + i] / count - mean * mean;
    *out += 0.5 * log(variance > 1e-12 ? variance : 1e-12);
  }
  free(all.sum);
  return s;
}

bdpt_status baseline_transfer(const bdpt_model *m, const bdpt_subset *data,
                              double score[2][BDPT_MAX_DEPTH]) {
  bdpt_model *whole = bdpt_model_clone(m);
  double full = 0, without = 0;
  bdpt_status s = whole ? baseline_entropy(whole, data, &full) : m->ctx->status;
  int i;
  if (whole) whole->config.attn_form = BDPT_ATTN_SKIP;
  for (i = 0; i < 2 * m->config.depth && s == BDPT_OK; i++) {
    s = bdpt_prune(whole, (bdpt_type)(i % 2), i / 2);
    if (s == BDPT_OK) s = baseline_entropy(whole, data, &without);
    if (s == BDPT_OK) s = bdpt_restore(whole, (bdpt_type)(i % 2), i / 2);
    score[i % 2][i / 2] = full - without;
  }
  bdpt_model_free(whole);
  return s;
}

void baseline_random(size_t seed, double score[2][BDPT_MAX_DEPTH]) {
  uint64_t state = (uint64_t)seed * 0x9e3779b97f4a7c15u + 1;
  int i;
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) { /* xorshift, Marsaglia 2003 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    score[i % 2][i / 2] = (double)(state >> 11);
  }
}

void baseline_take(double score[2][BDPT_MAX_DEPTH], int depth, const int count[2],
                   int across, int which[2][BDPT_MAX_DEPTH]) {
  int left[2], n, i;
  memset(which, 0, 2 * sizeof which[0]);
  left[0] = count[0];
  left[1] = count[1];
  if (across) left[0] = left[1] = count[0] + count[1];
  for (n = count[0] + count[1]; n > 0; n--) {
    int best = -1;
    for (i = 0; i < 2 * depth; i++) {
      if (which[i % 2][i / 2] || left[i % 2] == 0) continue;
      if (best < 0 || score[i % 2][i / 2] < score[best % 2][best / 2]) best = i;
    }
    if (best < 0) return;
    which[best % 2][best / 2] = 1;
    left[best % 2]--;
  }
}
