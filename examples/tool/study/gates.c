/* gates.c: readings of learned importance
 *
 * The library's search (bdpt_search) gives each layer a scalar that takes the gradient of the
 * layer's mask and never enters the forward pass. Here the same training goes on with other ideas
 * of what the scalar does with that gradient, of what the mask mixes the layer with, and with a
 * mask that is the scalar itself. They need nothing but the library's public names: between two
 * steps of a trainer the scalars (bdpt_model.importance) belong to the caller, and their gradients
 * are those of the last step; a block of the caller's own mixes as it likes.
 */
#include "../../../boundarydpt.h"
#include "../cli/system.h"
#include "baselines.h"
#include "gates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- The block ---- */

/* What the block needs to know; and the maps, [D][D] and then [D], NULL where there is none. */
typedef struct gate_block {
  const gate_options *o;
  bdpt_real *map[BDPT_MAX_DEPTH];
  bdpt_tensor part[BDPT_MAX_DEPTH][2]; /* the weight and the bias in them */
  bdpt_op pull[2];                     /* by type */
} gate_block;

static bdpt_status gate_pull(const bdpt_op_run *r) {
  r->out->data[0] = r->in[0]->data[0];
  return BDPT_OK;
}

/* Adds the gradient of pull * m to the loss's own. */
static bdpt_status gate_pull_back(const bdpt_op_run *r) {
  const double *pull = (const double *)r->user;
  if (r->dx[0]) r->dx[0][0] += r->dy[0] + (bdpt_real)*pull;
  return BDPT_OK;
}

/* Mixes a layer's f with r: at 1, with a gradient that goes to the scalar, or by the scalar. */
static bdpt_tensor *gate_mix(bdpt_tape *t, bdpt_tensor *s, int type, gate_block *g, bdpt_tensor *f,
                             bdpt_tensor *r) {
  if (g->o->gate == 0) return bdpt_mix(t, f, r, s, 1);
  s = bdpt_scale(t, s, g->o->gate);
  if (s && g->o->pull[type] != 0)
    s = bdpt_tape_op(t, &g->pull[type], &s, 1, s->ndim, s->shape);
  return bdpt_mix(t, f, r, s, BDPT_NONE);
}

/* Computes x + m MHSA(u) + (1 - m) r, u = LN1(x), for r = u or nothing. */
static bdpt_tensor *gate_attention(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                   gate_block *g) {
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *u, *f, *r;
  const bdpt_block *b = &m->config.block[l];
  r = u = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], m->config.eps);
  f = bdpt_linear(t, u, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B], NULL);
  f = bdpt_attention(t, f, NULL, b->heads, b->scale);
  f = bdpt_linear(t, f, &p[BDPT_SLOT_PROJ_W], &p[BDPT_SLOT_PROJ_B], NULL);
  if (m->config.attn_form == BDPT_ATTN_SKIP && f) r = bdpt_input(t, f->ndim, f->shape, NULL, 0);
  return bdpt_add(t, x, gate_mix(t, &m->importance[BDPT_ATTENTION][l], BDPT_ATTENTION, g, f, r));
}

/* Computes x + W2 (m GELU(z) + (1 - m) z) + b2, or, with a map, x + m MLP(v) + (1 - m) (W v +
 * b). */
static bdpt_tensor *gate_mlp(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x, gate_block *g) {
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *v, *z, *s;
  v = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
  z = bdpt_linear(t, v, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL);
  s = bdpt_activate(t, z, (bdpt_act)m->config.act);
  if (!g->map[l]) {
    s = gate_mix(t, &m->importance[BDPT_ACTIVATION][l], BDPT_ACTIVATION, g, s, z);
    return bdpt_linear(t, s, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B], x);
  }
  s = bdpt_linear(t, s, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B], NULL);
  z = bdpt_linear(t, v, &g->part[l][0], &g->part[l][1], NULL);
  s = gate_mix(t, &m->importance[BDPT_ACTIVATION][l], BDPT_ACTIVATION, g, s, z);
  return bdpt_add(t, x, s);
}

static bdpt_tensor *gate_forward(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                 const bdpt_forward_options *o, void *user) {
  gate_block *g = (gate_block *)user;
  const bdpt_block *b = &m->config.block[l];
  if (b->attention == BDPT_ATTENTION_KEPT) x = gate_attention(m, t, l, x, g);
  else x = bdpt_attention_half(m, t, l, x, o);
  if (b->mlp_state == BDPT_MLP_KEPT) return gate_mlp(m, t, l, x, g);
  return bdpt_mlp_half(m, t, l, x, o);
}

/* Fits a map to each MLP that is left, every one in the network as it is. */
static bdpt_status gate_fit(const bdpt_model *m, const bdpt_subset *images, gate_block *g,
                            gate_result *out) {
  const size_t d = (size_t)m->config.width, bytes = d * d * sizeof(bdpt_real);
  bdpt_status status = BDPT_OK;
  bdpt_fit_report said;
  int l;
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++) {
    bdpt_tensor *w = &g->part[l][0], *b = &g->part[l][1];
    bdpt_layers place = {{0, 0}};
    bdpt_model *one;
    if (m->config.block[l].mlp_state != BDPT_MLP_KEPT) continue;
    if (!g->map[l]) g->map[l] = (bdpt_real *)malloc(bytes + d * sizeof(bdpt_real));
    one = g->map[l] ? bdpt_model_clone(m) : NULL;
    if (!one) return g->map[l] ? m->ctx->status : BDPT_E_MEMORY;
    one->block = NULL;
    bdpt_layers_add(&place, BDPT_ACTIVATION, l);
    status = bdpt_remove(one, &place, BDPT_START_FIT, images, &said);
    if (status == BDPT_OK) {
      memcpy(g->map[l], one->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_W)].data, bytes);
      memcpy(g->map[l] + d * d, one->param[BDPT_SLOT(l, BDPT_SLOT_FUSED_B)].data,
             d * sizeof(bdpt_real));
      out->looked += (double)(said.images + said.held);
    }
    memset(g->part[l], 0, sizeof g->part[l]);
    w->ndim = 2; w->shape[0] = w->shape[1] = d; w->count = d * d; w->data = g->map[l];
    b->ndim = 1; b->shape[0] = b->count = d; b->data = g->map[l] + d * d;
    bdpt_model_free(one);
  }
  return status;
}

/* ---- The search ---- */

/* A search under way. What a file holds: `out`, then what the trainer saves. */
typedef struct gate_run {
  const gate_options *o;
  const bdpt_run *run;
  bdpt_model *m;        /* trains and loses layers */
  bdpt_trainer *t;
  gate_block block;
  gate_result out;
  int events;           /* removals in all */
} gate_run;

/* Chooses the type of removal j as bdpt_search does: the types take turns, the one with more to
 * lose first. */
static int gate_turn(const int remove[2], int j) {
  const int first = remove[0] > remove[1] ? 0 : 1;
  return j < 2 * remove[!first] && j % 2 ? !first : first;
}

static int gate_kept(const bdpt_model *m, int type, int l) {
  const bdpt_block *b = &m->config.block[l];
  return type ? b->mlp_state == BDPT_MLP_KEPT : b->attention == BDPT_ATTENTION_KEPT;
}

/* Removes a layer. What takes its place must only have the right shape before a file is loaded. */
static bdpt_status gate_remove(gate_run *r, bdpt_layer layer) {
  bdpt_layers one = {{0, 0}};
  bdpt_status status;
  bdpt_layers_add(&one, layer.type, layer.block);
  r->m->block = NULL;
  status = bdpt_remove(r->m, &one, r->o->fitted ? BDPT_START_SKIP_FIT : BDPT_START_PAPER,
                       r->run->train, NULL);
  r->m->block = gate_forward;
  return status;
}

/* Removes the kept layer of smallest scalar; among equal ones the first layer goes. */
static bdpt_status gate_event(gate_run *r) {
  const int type = gate_turn(r->o->remove, r->out.removed);
  gate_result *out = &r->out;
  bdpt_layer *layer = &out->layer[out->removed];
  int l, best = -1, t;
  for (l = 0; l < r->m->config.depth; l++)
    if (gate_kept(r->m, type, l) &&
        (best < 0 || *r->m->importance[type][l].data < *r->m->importance[type][best].data))
      best = l;
  layer->type = (bdpt_type)type;
  layer->block = best;
  out->score[out->removed++] = (double)*r->m->importance[type][best].data;
  for (t = 0; t < 2 && (r->o->rule == GATE_MEAN || r->o->rule == GATE_SQUARE); t++)
    for (l = 0; l < r->m->config.depth; l++) *r->m->importance[t][l].data = 0;
  return gate_remove(r, *layer);
}

/* Makes a step, and what the rule makes of its gradients. */
static bdpt_status gate_step(gate_run *r, const bdpt_recipe *recipe, double *loss) {
  bdpt_real before[2][BDPT_MAX_DEPTH];
  const double each = (double)bdpt_trainer_steps_per_epoch(r->t), window = each * r->o->stage;
  const double lr = bdpt_schedule(recipe, (double)bdpt_trainer_steps_done(r->t) / each);
  bdpt_status status;
  int i;
  for (i = 0; i < 2 * r->m->config.depth; i++)
    before[i % 2][i / 2] = *r->m->importance[i % 2][i / 2].data;
  status = bdpt_trainer_step(r->t, loss);
  if (status != BDPT_OK || r->o->rule == GATE_ADAM) return status;
  for (i = 0; i < 2 * r->m->config.depth; i++) {
    const bdpt_tensor *s = &r->m->importance[i % 2][i / 2];
    const double g = (double)*s->grad;
    double more = -lr * g;
    if (r->o->rule == GATE_MEAN) more = -g / window;
    if (r->o->rule == GATE_SQUARE) more = g * g / window;
    if (gate_kept(r->m, i % 2, i / 2)) *s->data = (bdpt_real)((double)before[i % 2][i / 2] + more);
  }
  return BDPT_OK;
}

static int gate_hooked(const gate_run *r, size_t done, size_t total, double loss) {
  const bdpt_hooks *hooks = r->run->hooks;
  bdpt_progress now;
  if (!hooks || !hooks->progress) return 0;
  memset(&now, 0, sizeof now);
  now.phase = "train";
  now.detail = "importance";
  now.unit = "images";
  now.done = done; now.total = total;
  now.loss = loss; now.accuracy = NAN;
  return hooks->progress(&now, hooks->user);
}

static const char *gate_path(const gate_run *r) {
  return r->run->hooks ? r->run->hooks->checkpoint : NULL;
}

static bdpt_status gate_save(gate_run *r) {
  const bdpt_context *ctx = r->m->ctx;
  bdpt_bytes trainer = {NULL, 0};
  bdpt_status status = gate_path(r) ? bdpt_trainer_build(r->t, &trainer) : BDPT_OK;
  unsigned char *all = trainer.data ? (unsigned char *)malloc(sizeof r->out + trainer.size) : NULL;
  if (status == BDPT_OK && trainer.data) {
    if (all) memcpy(all, &r->out, sizeof r->out);
    if (all) memcpy(all + sizeof r->out, trainer.data, trainer.size);
    status = all ? BDPT_OK : BDPT_E_MEMORY;
    if (all && ctx->cluster.rank == 0)
      status = bdpt_file_write(r->m->ctx, gate_path(r), all, sizeof r->out + trainer.size);
  }
  bdpt_bytes_free(r->m->ctx, &trainer);
  free(all);
  return status;
}

/* Takes the removals of a file, so that the trainer finds the structure that it was saved with. */
static bdpt_status gate_recall(gate_run *r, const bdpt_bytes *file) {
  gate_result *out = &r->out;
  bdpt_status status = BDPT_OK;
  int i;
  if (file->size <= sizeof *out) return bdpt_fail(r->m->ctx, BDPT_E_FORMAT, "%s: too short",
                                                  gate_path(r));
  memcpy(out, file->data, sizeof *out);
  if (out->removed < 0 || out->removed > r->events) out->removed = r->events + 1;
  for (i = 0; i < out->removed && status == BDPT_OK; i++) {
    if (i == r->events || (unsigned)out->layer[i].type > 1)
      return bdpt_fail(r->m->ctx, BDPT_E_FORMAT, "%s: layers that cannot be", gate_path(r));
    status = gate_remove(r, out->layer[i]);
  }
  return status;
}

/* Returns the recipe as bdpt_search would have it. */
static bdpt_recipe gate_recipe(const gate_options *o, int events) {
  bdpt_recipe p = o->recipe;
  int j;
  p.importance = 1;
  p.epochs = events * o->stage;
  p.restarts = 0;
  for (j = 1; j < events && !o->at_once; j++) p.restart[p.restarts++] = j * o->stage;
  bdpt_recipe_resolve(&p);
  return p;
}

static bdpt_status gate_begin(gate_run *r, bdpt_model *teacher, const bdpt_recipe *recipe) {
  bdpt_bytes file = {NULL, 0};
  bdpt_status status = BDPT_OK;
  int i;
  if (gate_path(r) && cli_file_exists(gate_path(r)) != 0) {
    status = bdpt_file_read(r->m->ctx, gate_path(r), &file);
    if (status == BDPT_OK) status = gate_recall(r, &file);
  }
  for (i = 0; i < 2 * r->m->config.depth && r->o->gate != 0; i++)
    *r->m->importance[i % 2][i / 2].data = (bdpt_real)(1 / r->o->gate);
  if (status == BDPT_OK) {
    r->t = bdpt_trainer_create(r->m, teacher, r->run->train, recipe);
    status = r->t ? BDPT_OK : r->m->ctx->status;
  }
  if (status == BDPT_OK && file.data)
    status = bdpt_trainer_parse(r->t, file.data + sizeof r->out, file.size - sizeof r->out,
                                gate_path(r));
  bdpt_bytes_free(r->m->ctx, &file);
  return status;
}

/* Trains to the end of a stage. */
static bdpt_status gate_stage(gate_run *r, const bdpt_recipe *recipe, size_t end, size_t total) {
  bdpt_status status = BDPT_OK;
  double loss = 0;
  while (status == BDPT_OK && bdpt_trainer_steps_done(r->t) < end) {
    status = gate_step(r, recipe, &loss);
    r->out.trained += recipe->batch;
    if (gate_hooked(r, bdpt_trainer_steps_done(r->t) * (size_t)recipe->batch,
                    total * (size_t)recipe->batch, loss) && status == BDPT_OK)
      status = BDPT_CANCELLED;
  }
  return status;
}

bdpt_status gate_search(const bdpt_model *m, bdpt_model *teacher, const bdpt_run *run,
                        const gate_options *o, gate_result *out) {
  const int events = o->remove[0] + o->remove[1];
  const bdpt_recipe recipe = gate_recipe(o, events);
  gate_run *r = (gate_run *)calloc(1, sizeof *r);
  clock_t from = clock();
  bdpt_status status = BDPT_OK;
  size_t each;
  int l;
  if (!r) return BDPT_E_MEMORY;
  r->o = r->block.o = o; r->run = run; r->events = events;
  for (l = 0; l < 2; l++) {
    const bdpt_op op = {"the pull of sparsity", gate_pull, gate_pull_back, 0, NULL};
    r->block.pull[l] = op;
    r->block.pull[l].user = (void *)(size_t)&o->pull[l];
  }
  r->m = bdpt_model_clone(m);
  if (!r->m) status = m->ctx->status;
  else {
    r->m->block = gate_forward;
    r->m->block_user = &r->block;
  }
  if (r->m && o->fitted) r->m->config.attn_form = BDPT_ATTN_SKIP;
  if (status == BDPT_OK) status = gate_begin(r, teacher, &recipe);
  each = r->t ? bdpt_trainer_steps_per_epoch(r->t) * (size_t)o->stage : 1;
  while (status == BDPT_OK && r->out.removed < events) {
    const size_t end = each * (size_t)(o->at_once ? events : r->out.removed + 1);
    if (o->fitted) status = gate_fit(r->m, run->train, &r->block, &r->out);
    if (status == BDPT_OK) status = gate_stage(r, &recipe, end, each * (size_t)events);
    if (status == BDPT_OK) status = gate_event(r);
    r->out.seconds += (double)(clock() - from) / CLOCKS_PER_SEC;
    from = clock();
    if (status == BDPT_OK && r->out.removed < events && !o->at_once) status = gate_save(r);
  }
  if (status == BDPT_OK) *out = r->out;
  bdpt_trainer_free(r->t);
  bdpt_model_free(r->m);
  for (l = 0; l < BDPT_MAX_DEPTH; l++) free(r->block.map[l]);
  free(r);
  return status;
}

/* ---- Entropy of signs ---- */

typedef struct gate_counts {
  double *positive[BDPT_MAX_DEPTH]; /* [hidden] */
  double tokens;
} gate_counts;

static bdpt_tensor *gate_watch(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                               const bdpt_forward_options *o, void *user) {
  gate_counts *s = (gate_counts *)user;
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *z;
  size_t i, hidden;
  x = bdpt_attention_half(m, t, l, x, o);
  if (s->positive[l]) {
    z = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
    z = bdpt_linear(t, z, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL);
    if (!z) return NULL;
    hidden = z->shape[z->ndim - 1];
    for (i = 0; i < z->count; i++) s->positive[l][i % hidden] += z->data[i] > 0;
  }
  if (l == 0 && x) s->tokens += (double)(x->count / x->shape[x->ndim - 1]);
  return bdpt_mlp_half(m, t, l, x, o);
}

static double gate_entropy(double p) {
  return p > 0 && p < 1 ? -(p * log2(p) + (1 - p) * log2(1 - p)) : 0;
}

bdpt_status gate_signs(const bdpt_model *m, const bdpt_subset *images,
                       double sign[BDPT_MAX_DEPTH]) {
  bdpt_model *copy = bdpt_model_clone(m);
  bdpt_status status = copy ? BDPT_OK : m->ctx->status;
  gate_counts s;
  int l, c;
  memset(&s, 0, sizeof s);
  for (l = 0; l < m->config.depth && status == BDPT_OK; l++) {
    if (m->config.block[l].mlp_state != BDPT_MLP_KEPT) continue;
    s.positive[l] = (double *)calloc((size_t)m->config.block[l].mlp, sizeof(double));
    if (!s.positive[l]) status = BDPT_E_MEMORY;
  }
  if (status == BDPT_OK) {
    copy->block = gate_watch;
    copy->block_user = &s;
    status = baseline_predict(copy, images, NULL, NULL);
  }
  for (l = 0; l < m->config.depth; l++) {
    const int hidden = m->config.block[l].mlp;
    sign[l] = s.positive[l] ? 0 : 2;
    for (c = 0; s.positive[l] && c < hidden; c++)
      sign[l] += gate_entropy(s.positive[l][c] / s.tokens) / hidden;
    free(s.positive[l]);
  }
  bdpt_model_free(copy);
  return status;
}
