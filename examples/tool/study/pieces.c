/* pieces.c: ways of removing layers that part 16 of the study compares
 *
 * Closing a gate is what VanillaNet (arXiv 2305.12972), Layer Folding (2106.09309) and
 * DepthShrinker (2206.00843) do to activations, towards the identity; here it closes towards the
 * fitted map. Maps and repairs are fitted by blocks of the caller's own that watch the tokens pass.
 */
#include "pieces.h"
#include "baselines.h"
#include "squares.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- A gate that closes ---- */

/* Computes open f + (1 - open) r. */
static bdpt_tensor *piece_mix(bdpt_tape *t, bdpt_tensor *f, bdpt_tensor *r, double open) {
  const size_t one = 1;
  const bdpt_real value = (bdpt_real)open;
  return bdpt_mix(t, f, r, bdpt_input(t, 1, &one, &value, 0), BDPT_NONE);
}

static bdpt_tensor *piece_closing(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  const piece_gate *g = (const piece_gate *)user;
  const bdpt_block *b = &m->config.block[l], *whole = &g->parent->config.block[l];
  const double done = g->trainer ? (double)bdpt_trainer_steps_done(g->trainer) : 0;
  const double open = done < g->end ? 1 - done / g->end : 0;
  bdpt_tensor *y = bdpt_attention_half(m, t, l, x, o);
  if (open > 0 && b->attention != whole->attention)
    y = piece_mix(t, bdpt_attention_half(g->parent, t, l, x, o), y, open);
  x = bdpt_mlp_half(m, t, l, y, o);
  if (open > 0 && b->mlp_state != whole->mlp_state)
    x = piece_mix(t, bdpt_mlp_half(g->parent, t, l, y, o), x, open);
  return x;
}

void piece_close(bdpt_model *m, piece_gate *gate) {
  m->block = piece_closing;
  m->block_user = gate;
}

/* ---- Streams held together behind some blocks ---- */

static bdpt_tensor *piece_whole(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                const bdpt_forward_options *o) {
  return bdpt_mlp_half(m, t, l, bdpt_attention_half(m, t, l, x, o), o);
}

static bdpt_tensor *piece_teacher(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  piece_twin *twin = (piece_twin *)user;
  struct piece_stream *s = &twin->stream[l];
  bdpt_tensor *y = piece_whole(m, t, l, x, o);
  double size = 0, blocks = 0;
  size_t i;
  if (!y || !(twin->blocks >> l & 1)) return y;
  if (y->count > s->room) {
    bdpt_real *more = (bdpt_real *)realloc(s->y, y->count * sizeof *more);
    if (!more) {
      bdpt_fail(m->ctx, BDPT_E_MEMORY, "out of memory: the stream of block %d", l);
      return NULL;
    }
    s->y = more;
    s->room = y->count;
  }
  for (i = 0; i < 64; i++) blocks += (double)(twin->blocks >> i & 1);
  for (i = 0; i < y->count; i++) size += (double)y->data[i] * (double)y->data[i];
  memcpy(s->y, y->data, y->count * sizeof *y->data);
  s->count = y->count;
  s->factor = size > 0 ? 2 * twin->weight / blocks / size : 0;
  return y;
}

static bdpt_status piece_same(const bdpt_op_run *r) {
  memcpy(r->out->data, r->in[0]->data, r->out->count * sizeof *r->out->data);
  return BDPT_OK;
}

static bdpt_status piece_draw(const bdpt_op_run *r) {
  const struct piece_stream *s = (const struct piece_stream *)r->user;
  size_t i;
  if (s->count != r->out->count)
    return bdpt_fail(r->ctx, BDPT_E_STATE, "the teacher's stream has %zu numbers, not %zu",
                     s->count, r->out->count);
  for (i = 0; r->dx[0] && i < s->count; i++)
    r->dx[0][i] += r->dy[i] + (bdpt_real)s->factor * (r->in[0]->data[i] - s->y[i]);
  return BDPT_OK;
}

static bdpt_tensor *piece_student(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  piece_twin *twin = (piece_twin *)user;
  bdpt_tensor *y = piece_whole(m, t, l, x, o);
  if (!y || !(twin->blocks >> l & 1)) return y;
  return bdpt_tape_op(t, &twin->stream[l].draw, &y, 1, y->ndim, y->shape);
}

void piece_twins(bdpt_model *student, bdpt_model *teacher, piece_twin *twin) {
  const bdpt_op draw = {"draw", piece_same, piece_draw, 0, NULL};
  int l;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) {
    twin->stream[l].draw = draw;
    twin->stream[l].draw.user = &twin->stream[l];
  }
  student->block = piece_student;
  teacher->block = piece_teacher;
  student->block_user = teacher->block_user = twin;
}

void piece_part(bdpt_model *student, bdpt_model *teacher, piece_twin *twin) {
  int l;
  student->block = teacher->block = NULL;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) free(twin->stream[l].y);
  memset(twin->stream, 0, sizeof twin->stream);
}

/* ---- Maps and repairs, fitted ---- */

/* What is looked at: one half of one block; the parent's streams behind it, and the sums. */
typedef struct piece_view {
  int type, block;
  bdpt_real *stream; /* [tokens][D] of all images */
  size_t at;         /* numbers written or read */
  double first;      /* weight of the class token */
  squares sums;
} piece_view;

/* Keeps the stream behind the half. */
static bdpt_tensor *piece_keep(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                               const bdpt_forward_options *o, void *user) {
  piece_view *v = (piece_view *)user;
  bdpt_tensor *a = bdpt_attention_half(m, t, l, x, o), *y = bdpt_mlp_half(m, t, l, a, o);
  const bdpt_tensor *from = v->type ? y : a;
  if (!y || l != v->block) return y;
  memcpy(v->stream + v->at, from->data, from->count * sizeof *from->data);
  v->at += from->count;
  return y;
}

/* Returns what the last linear of a half reads: the heads' answers, or the hidden channels. */
static bdpt_tensor *piece_inside(bdpt_model *m, bdpt_tape *t, int type, int l, bdpt_tensor *x) {
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)];
  const bdpt_block *b = &m->config.block[l];
  bdpt_tensor *v;
  if (type == BDPT_ATTENTION) {
    v = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], m->config.eps);
    v = bdpt_linear(t, v, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B], NULL);
    return bdpt_attention(t, v, NULL, b->heads, b->scale);
  }
  v = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
  v = bdpt_linear(t, v, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL);
  return bdpt_activate(t, v, (bdpt_act)m->config.act);
}

/* Sums what the last linear reads and what is missing behind it. */
static bdpt_tensor *piece_miss(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                               const bdpt_forward_options *o, void *user) {
  piece_view *v = (piece_view *)user;
  bdpt_tensor *a = bdpt_attention_half(m, t, l, x, o), *y = bdpt_mlp_half(m, t, l, a, o);
  const bdpt_tensor *to = v->type ? y : a;
  bdpt_tensor *in, *missing;
  size_t i;
  if (!y || l != v->block) return y;
  in = piece_inside(m, t, v->type, l, v->type ? a : x);
  missing = bdpt_input(t, to->ndim, to->shape, v->stream + v->at, 0);
  if (!in || !missing) return NULL;
  for (i = 0; i < missing->count; i++) missing->data[i] -= to->data[i];
  v->at += missing->count;
  for (i = 0; i < missing->count / v->sums.d; i++)
    squares_add(&v->sums, in->data + i * v->sums.k, missing->data + i * v->sums.d, 1);
  return y;
}

/* Sums what the map of an MLP reads and what the MLP adds to the stream. */
static bdpt_tensor *piece_map(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                              const bdpt_forward_options *o, void *user) {
  piece_view *v = (piece_view *)user;
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *in, *more;
  bdpt_tensor *a = bdpt_attention_half(m, t, l, x, o), *y = bdpt_mlp_half(m, t, l, a, o);
  size_t i, tokens;
  if (!y || l != v->block) return y;
  in = bdpt_layernorm(t, a, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
  more = bdpt_add(t, y, bdpt_scale(t, a, -1));
  if (!in || !more) return NULL;
  tokens = y->shape[1];
  for (i = 0; i < more->count / v->sums.d; i++)
    squares_add(&v->sums, in->data + i * v->sums.k, more->data + i * v->sums.d,
                i % tokens ? 1 : v->first);
  return y;
}

/* Sends the images through a copy of a network with a block that watches. */
static bdpt_status piece_watch(const bdpt_model *m, bdpt_block_forward block, piece_view *v,
                               const bdpt_subset *images) {
  bdpt_model *copy = bdpt_model_clone(m);
  bdpt_status status;
  if (!copy) return m->ctx->status;
  copy->block = block;
  copy->block_user = v;
  v->at = 0;
  status = baseline_predict(copy, images, NULL, NULL);
  bdpt_model_free(copy);
  return status;
}

/* Adds the solution of the sums to a weight and its bias, or writes it over them. */
static bdpt_status piece_write(const squares *s, double ridge, int adds, bdpt_tensor *w,
                               bdpt_tensor *b) {
  double *found = (double *)malloc((s->k + 1) * s->d * sizeof *found);
  bdpt_status status = found ? squares_solve(s, ridge, found, found + s->k * s->d) : BDPT_E_MEMORY;
  size_t i;
  for (i = 0; i < (s->k + 1) * s->d && status == BDPT_OK; i++) {
    bdpt_real *to = i < s->k * s->d ? &w->data[i] : &b->data[i - s->k * s->d];
    *to = (bdpt_real)((adds ? (double)*to : 0) + found[i]);
  }
  free(found);
  return status;
}

static bdpt_status piece_repair_half(bdpt_model *m, const bdpt_model *parent, piece_view *v,
                                     const bdpt_subset *images) {
  const int slot = BDPT_SLOT(v->block, v->type ? BDPT_SLOT_FC2_W : BDPT_SLOT_PROJ_W);
  bdpt_tensor *w = &m->param[slot];
  bdpt_status status = squares_open(&v->sums, w->shape[1], w->shape[0]);
  if (status == BDPT_OK) status = piece_watch(parent, piece_keep, v, images);
  if (status == BDPT_OK) status = piece_watch(m, piece_miss, v, images);
  if (status == BDPT_OK) status = piece_write(&v->sums, 1e-2, 1, w, &m->param[slot + 1]);
  squares_close(&v->sums);
  return status;
}

bdpt_status piece_repair(bdpt_model *m, const bdpt_model *parent, const bdpt_subset *images) {
  const bdpt_config *c = &m->config;
  const size_t side = (size_t)(c->image / c->patch);
  const size_t tokens = side * side + (size_t)bdpt_prefix_count(c);
  bdpt_status status = BDPT_OK;
  piece_view v;
  int i;
  memset(&v, 0, sizeof v);
  v.stream = (bdpt_real *)malloc(images->count * tokens * (size_t)c->width * sizeof *v.stream);
  if (!v.stream) status = BDPT_E_MEMORY;
  for (i = 0; i < 2 * c->depth && status == BDPT_OK; i++) {
    const bdpt_block *b = &c->block[i / 2];
    v.type = i % 2;
    v.block = i / 2;
    if (v.type ? b->mlp_state == BDPT_MLP_KEPT : b->attention == BDPT_ATTENTION_KEPT)
      status = piece_repair_half(m, parent, &v, images);
  }
  free(v.stream);
  return status;
}

bdpt_status piece_class_fit(bdpt_model *m, const bdpt_layers *activations, double weight,
                            const bdpt_subset *images) {
  const size_t d = (size_t)m->config.width;
  bdpt_status status = BDPT_OK;
  piece_view v;
  int l;
  memset(&v, 0, sizeof v);
  v.first = weight;
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++) {
    bdpt_config c = m->config;
    bdpt_model *without;
    if (!bdpt_layers_has(activations, BDPT_ACTIVATION, l)) continue;
    c.block[l].mlp_state = BDPT_MLP_FITTED;
    v.block = l;
    without = bdpt_model_reshape(m, &c);
    status = without ? squares_open(&v.sums, d, d) : m->ctx->status;
    if (status == BDPT_OK) status = piece_watch(m, piece_map, &v, images);
    if (status == BDPT_OK)
      status = piece_write(&v.sums, 1e-3, 0, &without->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_W)],
                           &without->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_B)]);
    if (status == BDPT_OK) status = bdpt_model_assign(m, without);
    squares_close(&v.sums);
    bdpt_model_free(without);
  }
  return status;
}
