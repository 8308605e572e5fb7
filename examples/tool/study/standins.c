/* standins.c: what rivals put in the place of layers
 *
 * Both work on the library's public names: a block of the caller's own (bdpt_model.block) watches
 * the tokens that pass, and stands in for the standard one afterwards. */
#include "standins.h"
#include "baselines.h"
#include "squares.h"
#include "../words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STANDIN_RIDGE 1e-3 /* of the mean of the diagonal, as bdpt_remove takes it */

/* ---- One map for a block ---- */

/* What the maps of blocks are fitted to. */
typedef struct standin_sums {
  size_t d;
  squares block[BDPT_MAX_DEPTH]; /* sum NULL: nobody wants this block's */
} standin_sums;

/* Adds every token of x[..,D] and what the map is to make of it. */
static void standin_add(squares *s, const bdpt_tensor *x, const bdpt_tensor *y) {
  size_t t;
  for (t = 0; t < x->count; t += s->k) squares_add(s, x->data + t, y->data + t, 1);
}

/* Computes the standard block and watches it. */
static bdpt_tensor *standin_watch(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  standin_sums *s = (standin_sums *)user;
  bdpt_tensor *y = bdpt_mlp_half(m, t, l, bdpt_attention_half(m, t, l, x, o), o);
  if (y && s->block[l].sum) {
    bdpt_tensor *n = bdpt_layernorm(t, x, &m->param[BDPT_SLOT(l, BDPT_SLOT_NORM2_W)],
                                    &m->param[BDPT_SLOT(l, BDPT_SLOT_NORM2_B)], m->config.eps);
    bdpt_tensor *more = bdpt_add(t, y, bdpt_scale(t, x, -1)); /* what the block adds */
    if (!n || !more) return NULL;
    standin_add(&s->block[l], n, more);
  }
  return y;
}

/* Writes the map of some sums as block l of a network that has lost both layers there. */
static bdpt_status standin_put(bdpt_model *m, int l, const standin_sums *s, double *work) {
  const size_t d = s->d;
  bdpt_real *w = m->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_W)].data;
  bdpt_real *b = m->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_B)].data;
  const bdpt_status status = squares_solve(&s->block[l], STANDIN_RIDGE, work, work + d * d);
  size_t i;
  for (i = 0; i < d * d && status == BDPT_OK; i++) w[i] = (bdpt_real)work[i];
  for (i = 0; i < d && status == BDPT_OK; i++) b[i] = (bdpt_real)work[d * d + i];
  return status;
}

/* Makes a copy of a network without the layers of block l, whose map is zero. */
static bdpt_model *standin_without(const bdpt_model *m, int l) {
  bdpt_config c = m->config;
  c.attn_form = BDPT_ATTN_SKIP;
  c.block[l].attention = BDPT_ATTENTION_REMOVED;
  c.block[l].mlp_state = BDPT_MLP_FITTED;
  return bdpt_model_reshape(m, &c);
}

static bdpt_status standin_sums_open(standin_sums *s, const bdpt_model *m, const int *which) {
  bdpt_status status = BDPT_OK;
  int l;
  memset(s, 0, sizeof *s);
  s->d = (size_t)m->config.width;
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++)
    if (which[l]) status = squares_open(&s->block[l], s->d, s->d);
  return status;
}

static void standin_sums_close(standin_sums *s) {
  int l;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) squares_close(&s->block[l]);
}

/* Collects the sums of the blocks that are set, of a copy of the network. */
static bdpt_status standin_measure(const bdpt_model *m, const bdpt_subset *images,
                                   standin_sums *s) {
  bdpt_model *copy = bdpt_model_clone(m);
  bdpt_status status = copy ? BDPT_OK : m->ctx->status;
  if (copy) {
    copy->block = standin_watch;
    copy->block_user = s;
    status = baseline_predict(copy, images, NULL, NULL);
  }
  bdpt_model_free(copy);
  return status;
}

/* Replaces one block in place. */
static bdpt_status standin_block(bdpt_model *m, int l, const bdpt_subset *images) {
  int which[BDPT_MAX_DEPTH] = {0};
  const size_t d = (size_t)m->config.width;
  double *work = (double *)malloc((d + 1) * d * sizeof *work);
  bdpt_model *without = NULL;
  standin_sums s;
  bdpt_status status;
  which[l] = 1;
  status = standin_sums_open(&s, m, which);
  if (!work) status = BDPT_E_MEMORY;
  if (status == BDPT_OK) status = standin_measure(m, images, &s);
  if (status == BDPT_OK && !(without = standin_without(m, l))) status = m->ctx->status;
  if (status == BDPT_OK) status = standin_put(without, l, &s, work);
  if (status == BDPT_OK) status = bdpt_model_assign(m, without);
  bdpt_model_free(without);
  standin_sums_close(&s);
  free(work);
  return status;
}

bdpt_status standin_blocks(bdpt_model *m, const int *which, const bdpt_subset *images) {
  bdpt_status status = BDPT_OK;
  int l;
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++)
    if (which[l]) status = standin_block(m, l, images);
  return status;
}

/* Measures the loss with each block that is left replaced, one at a time; the best goes to
 * *best. */
static bdpt_status standin_try(const bdpt_model *m, const int *left, const bdpt_subset *images,
                               const bdpt_subset *held, int *best, double *loss) {
  const size_t d = (size_t)m->config.width;
  double *work = (double *)malloc((d + 1) * d * sizeof *work);
  int l;
  bdpt_accuracy a;
  standin_sums s;
  bdpt_status status;
  status = standin_sums_open(&s, m, left);
  if (!work) status = BDPT_E_MEMORY;
  if (status == BDPT_OK) status = standin_measure(m, images, &s);
  for (l = 0, *best = -1; l < m->config.depth && status == BDPT_OK; l++) {
    bdpt_model *without;
    if (!left[l]) continue;
    without = standin_without(m, l);
    status = without ? standin_put(without, l, &s, work) : m->ctx->status;
    if (status == BDPT_OK) status = bdpt_evaluate(without, held, &a);
    bdpt_model_free(without);
    if (status == BDPT_OK && (*best < 0 || a.loss < *loss)) {
      *best = l;
      *loss = a.loss;
    }
  }
  standin_sums_close(&s);
  free(work);
  return status;
}

bdpt_status standin_choose(bdpt_model *m, int count, const bdpt_subset *images,
                           const bdpt_subset *held, int *block, double *loss) {
  int left[BDPT_MAX_DEPTH] = {0}, gone[BDPT_MAX_DEPTH] = {0}, i;
  bdpt_status status = BDPT_OK;
  if (count > m->config.depth)
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "%d %s to replace of %d", count,
                     words_of(count, "block", "blocks"), m->config.depth);
  for (i = 0; i < m->config.depth; i++) left[i] = 1;
  for (i = 0; i < count && status == BDPT_OK; i++) {
    bdpt_model *now = bdpt_model_clone(m);
    status = now ? standin_blocks(now, gone, images) : m->ctx->status;
    if (status == BDPT_OK) status = standin_try(now, left, images, held, &block[i], &loss[i]);
    bdpt_model_free(now);
    if (status == BDPT_OK) {
      left[block[i]] = 0;
      gone[block[i]] = 1;
    }
  }
  return status;
}

/* ---- Hidden channels without an activation ---- */

/* Computes z = fc1(LN2(x)), before the activation. */
static bdpt_tensor *standin_hidden(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *norm) {
  return bdpt_linear(t, norm, &m->param[BDPT_SLOT(l, BDPT_SLOT_FC1_W)],
                     &m->param[BDPT_SLOT(l, BDPT_SLOT_FC1_B)], NULL);
}

static bdpt_tensor *standin_norm(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x) {
  return bdpt_layernorm(t, x, &m->param[BDPT_SLOT(l, BDPT_SLOT_NORM2_W)],
                        &m->param[BDPT_SLOT(l, BDPT_SLOT_NORM2_B)], m->config.eps);
}

static bdpt_tensor *standin_out(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *h,
                                bdpt_tensor *x) {
  return bdpt_linear(t, h, &m->param[BDPT_SLOT(l, BDPT_SLOT_FC2_W)],
                         &m->param[BDPT_SLOT(l, BDPT_SLOT_FC2_B)], x);
}

/* Sums over tokens of 1, z, g, z z, z g, g g for every channel. */
typedef struct standin_lines { double *sum[BDPT_MAX_DEPTH], count; } standin_lines;

static bdpt_tensor *standin_watch_lines(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                        const bdpt_forward_options *o, void *user) {
  standin_lines *s = (standin_lines *)user;
  bdpt_tensor *y = bdpt_attention_half(m, t, l, x, o);
  bdpt_tensor *z = standin_hidden(m, t, l, standin_norm(m, t, l, y));
  bdpt_tensor *g = bdpt_activate(t, z, (bdpt_act)m->config.act);
  size_t i, hidden;
  if (!g) return NULL;
  hidden = g->shape[g->ndim - 1];
  for (i = 0; i < g->count; i++) {
    double *sum = s->sum[l] + 5 * (i % hidden), a = (double)z->data[i], b = (double)g->data[i];
    sum[0] += a;
    sum[1] += b;
    sum[2] += a * a;
    sum[3] += a * b;
    sum[4] += b * b;
  }
  if (l == 0) s->count += (double)(g->count / hidden);
  return standin_out(m, t, l, g, y);
}

/* Finds the line of a channel; returns its square error, weighted. */
static double standin_line(const bdpt_model *m, int l, int c, const standin_lines *s,
                           standin_idle *out) {
  const bdpt_tensor *w = &m->param[BDPT_SLOT(l, BDPT_SLOT_FC2_W)];
  const double *sum = s->sum[l] + 5 * (size_t)c, n = s->count;
  const double zz = sum[2] - sum[0] * sum[0] / n, zg = sum[3] - sum[0] * sum[1] / n;
  const double gg = sum[4] - sum[1] * sum[1] / n, a = zz > 0 ? zg / zz : 0;
  const size_t hidden = (size_t)out->hidden[l];
  double weight = 0;
  size_t i;
  out->line[l][c] = (bdpt_real)a;
  out->line[l][hidden + (size_t)c] = (bdpt_real)((sum[1] - a * sum[0]) / n);
  for (i = 0; i < w->shape[0]; i++) {
    const double v = (double)w->data[i * hidden + (size_t)c];
    weight += v * v;
  }
  return weight * (gg - a * zg);
}

/* Marks the channels of block l that lose least, one after another. */
static bdpt_status standin_mark(const bdpt_model *m, int l, double share, const standin_lines *s,
                                standin_idle *out) {
  const int hidden = out->hidden[l], wanted = (int)(share * hidden + 0.5);
  double *error = (double *)malloc((size_t)hidden * sizeof *error);
  int c, i;
  if (!error) return BDPT_E_MEMORY;
  for (c = 0; c < hidden; c++) error[c] = standin_line(m, l, c, s, out);
  for (i = 0; i < wanted; i++) {
    int best = -1;
    for (c = 0; c < hidden; c++)
      if (!out->idle[l][c] && (best < 0 || error[c] < error[best])) best = c;
    if (best >= 0) out->idle[l][best] = 1;
  }
  free(error);
  return BDPT_OK;
}

/* out = a z + b where a channel is idle, g elsewhere; in[0] z, in[1] g. */
typedef struct standin_channels { const unsigned char *idle; const bdpt_real *line; size_t hidden; }
standin_channels;

static bdpt_status standin_select(const bdpt_op_run *r) {
  const standin_channels *s = (const standin_channels *)r->user;
  size_t i;
  for (i = 0; i < r->out->count; i++) {
    const size_t c = i % s->hidden;
    r->out->data[i] = s->idle[c] ? s->line[c] * r->in[0]->data[i] + s->line[s->hidden + c]
                                 : r->in[1]->data[i];
  }
  return BDPT_OK;
}

static bdpt_status standin_select_back(const bdpt_op_run *r) {
  const standin_channels *s = (const standin_channels *)r->user;
  size_t i;
  for (i = 0; i < r->out->count; i++) {
    const size_t c = i % s->hidden;
    if (s->idle[c] && r->dx[0]) r->dx[0][i] += s->line[c] * r->dy[i];
    if (!s->idle[c] && r->dx[1]) r->dx[1][i] += r->dy[i];
  }
  return BDPT_OK;
}

static bdpt_tensor *standin_idle_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                       const bdpt_forward_options *o, void *user) {
  static standin_channels channels[BDPT_MAX_DEPTH]; /* borrowed until the tape is reset */
  static bdpt_op ops[BDPT_MAX_DEPTH];
  const standin_idle *s = (const standin_idle *)user;
  bdpt_tensor *in[2];
  x = bdpt_attention_half(m, t, l, x, o);
  in[0] = standin_hidden(m, t, l, standin_norm(m, t, l, x));
  in[1] = bdpt_activate(t, in[0], (bdpt_act)m->config.act);
  if (!in[1]) return NULL;
  channels[l].idle = s->idle[l];
  channels[l].line = s->line[l];
  channels[l].hidden = (size_t)s->hidden[l];
  ops[l].name = "idle channels";
  ops[l].forward = standin_select;
  ops[l].backward = standin_select_back;
  ops[l].user = &channels[l];
  return standin_out(m, t, l, bdpt_tape_op(t, &ops[l], in, 2, in[1]->ndim, in[1]->shape), x);
}

bdpt_status standin_idle_open(bdpt_model *m, double share, const bdpt_subset *images,
                              standin_idle *out) {
  standin_lines s;
  bdpt_status status = BDPT_OK;
  int l;
  memset(&s, 0, sizeof s);
  memset(out, 0, sizeof *out);
  for (l = 0; l < m->config.depth; l++) {
    const size_t hidden = m->param[BDPT_SLOT(l, BDPT_SLOT_FC1_W)].shape[0];
    out->hidden[l] = (int)hidden;
    out->idle[l] = (unsigned char *)calloc(hidden, 1);
    out->line[l] = (bdpt_real *)calloc(2 * hidden, sizeof(bdpt_real));
    s.sum[l] = (double *)calloc(5 * hidden, sizeof(double));
    if (!out->idle[l] || !out->line[l] || !s.sum[l])
      status = bdpt_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  }
  m->block = standin_watch_lines;
  m->block_user = &s;
  if (status == BDPT_OK) status = baseline_predict(m, images, NULL, NULL);
  m->block = NULL;
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++)
    status = standin_mark(m, l, share, &s, out);
  for (l = 0; l < m->config.depth; l++) free(s.sum[l]);
  m->block = standin_idle_block;
  m->block_user = out;
  return status;
}

void standin_idle_close(standin_idle *idle) {
  int l;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) {
    free(idle->idle[l]);
    free(idle->line[l]);
    free(idle->map[l]);
  }
  memset(idle, 0, sizeof *idle);
}

/* ---- The idle channels merged ---- */

static bdpt_tensor *standin_merged_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                         const bdpt_forward_options *o, void *user) {
  static bdpt_tensor map[BDPT_MAX_DEPTH][2]; /* borrowed like the operations above */
  const standin_idle *s = (const standin_idle *)user;
  const size_t d = (size_t)m->config.width;
  bdpt_tensor *norm, *y = bdpt_attention_half(m, t, l, x, o), *w = &map[l][0], *b = &map[l][1];
  memset(map[l], 0, sizeof map[l]);
  w->ndim = 2;
  w->shape[0] = w->shape[1] = b->shape[0] = b->count = d;
  w->count = d * d;
  w->data = s->map[l];
  b->ndim = 1;
  b->data = s->map[l] + d * d;
  norm = standin_norm(m, t, l, y);
  x = standin_out(m, t, l, bdpt_activate(t, standin_hidden(m, t, l, norm),
                                         (bdpt_act)m->config.act), y);
  return bdpt_linear(t, norm, w, b, x);
}

/* Moves the idle channels of block l into its map, and the others into the narrower MLP of `to`. */
static void standin_merge_block(const bdpt_model *m, int l, standin_idle *s, bdpt_model *to) {
  const size_t d = (size_t)m->config.width, hidden = (size_t)s->hidden[l];
  const bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)];
  bdpt_tensor *q = &to->param[BDPT_SLOT(l, 0)];
  const size_t kept = q[BDPT_SLOT_FC1_W].shape[0];
  bdpt_real *w = s->map[l], *b = w + d * d;
  size_t c, i, j, k = 0;
  for (c = 0; c < hidden; c++) {
    const bdpt_real *in = p[BDPT_SLOT_FC1_W].data + c * d, a = s->line[l][c];
    const bdpt_real z0 = p[BDPT_SLOT_FC1_B].data[c];
    const bdpt_real *out = p[BDPT_SLOT_FC2_W].data + c; /* a column */
    if (!s->idle[l][c]) {
      memcpy(q[BDPT_SLOT_FC1_W].data + k * d, in, d * sizeof *in);
      q[BDPT_SLOT_FC1_B].data[k] = z0;
      for (i = 0; i < d; i++) q[BDPT_SLOT_FC2_W].data[i * kept + k] = out[i * hidden];
      k++;
      continue;
    }
    for (i = 0; i < d; i++) {
      const bdpt_real v = out[i * hidden];
      for (j = 0; j < d; j++) w[i * d + j] += v * a * in[j];
      b[i] += v * (a * z0 + s->line[l][hidden + c]);
    }
  }
}

bdpt_model *standin_idle_merge(const bdpt_model *m, standin_idle *idle) {
  const size_t d = (size_t)m->config.width;
  bdpt_config c = m->config;
  bdpt_model *to;
  int l, i, ok = 1;
  for (l = 0; l < c.depth; l++) {
    int kept = 0;
    for (i = 0; i < idle->hidden[l]; i++) kept += !idle->idle[l][i];
    c.block[l].mlp = kept;
    free(idle->map[l]);
    idle->map[l] = (bdpt_real *)calloc(d * d + d, sizeof(bdpt_real));
    ok = ok && idle->map[l];
  }
  to = ok ? bdpt_model_reshape(m, &c) : NULL;
  for (l = 0; l < c.depth && to; l++) standin_merge_block(m, l, idle, to);
  if (to) {
    for (l = 0; l < c.depth; l++) /* the rest of the block is the same, its bias too */
      memcpy(to->param[BDPT_SLOT(l, BDPT_SLOT_FC2_B)].data,
             m->param[BDPT_SLOT(l, BDPT_SLOT_FC2_B)].data, d * sizeof(bdpt_real));
    to->block = standin_merged_block;
    to->block_user = idle;
  }
  return to;
}

void standin_cost(const bdpt_model *m, bdpt_cost_report *cost) {
  const standin_idle *s = (const standin_idle *)m->block_user;
  const double d = m->config.width, side = m->config.image / m->config.patch;
  const double tokens = side * side + bdpt_prefix_count(&m->config);
  int l, c;
  if (m->block != standin_idle_block && m->block != standin_merged_block) return;
  for (l = 0; l < m->config.depth; l++) {
    double idle = 0, more = d * d; /* the map's, of a token */
    if (m->block == standin_idle_block)
      for (c = 0; c < s->hidden[l]; c++) idle += s->idle[l][c];
    more -= 2 * d * idle;
    cost->macs += more * tokens;
    cost->macs_no_matmul += more * tokens;
    cost->params = (size_t)((double)cost->params + more + d - idle);
  }
}
