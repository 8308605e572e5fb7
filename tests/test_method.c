/* The method: the two observations, collecting, searching, fusing with a certificate, both stages.
 * Everything runs on a network of three blocks and images of 8 x 8, so each call can be repeated by
 * hand from the calls beneath it, and interrupted at many places. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"

#define IMAGES 60
#include "stripes.h"

#define DEPTH 3
#define STATE temporary("method")

static bdpt_context ctx;
static bdpt_model *make_model(uint64_t seed) {
  bdpt_config c;
  bdpt_model *m;
  int i;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.channels = 3; c.width = 16; c.depth = DEPTH; c.heads = 2; c.mlp = 24;
  c.classes = 5;
  m = bdpt_model_create(&ctx, &c, seed);
  /* Fresh weights of size 0.02 make every layer nearly nothing. Larger ones make it matter. */
  for (i = 0; m && i < m->slots; i++) {
    size_t k;
    if (!m->param[i].data || m->param[i].ndim < 2) continue;
    for (k = 0; k < m->param[i].count; k++) m->param[i].data[k] *= (bdpt_real)10;
  }
  return m;
}

/* Makes a model that is freed when the next one is asked for. */
static bdpt_model *subject_of(uint64_t seed) {
  static bdpt_model *last;
  bdpt_model_free(last);
  last = seed ? make_model(seed) : NULL;
  return last;
}

static bdpt_recipe make_recipe(int epochs) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = epochs;
  r.batch = 8;
  r.lr = 2e-3;
  r.seed = 3;
  return r;
}

static double score(bdpt_model *m) {
  bdpt_accuracy a;
  bdpt_evaluate(m, &held, &a);
  return a.top1;
}

/* A hook that stops at the n-th report, and checks that progress never goes back. */
static int reports, stop_at, disorder, copy_at;
static void copy_file(const char *from, const char *to) {
  bdpt_bytes bytes = {NULL, 0};
  if (bdpt_file_read(&ctx, from, &bytes) != BDPT_OK) return;
  bdpt_file_write(&ctx, to, bytes.data, bytes.size);
  bdpt_bytes_free(&ctx, &bytes);
}

static double last_done, last_total;
static char phase_seen[32];
static int on_progress(const bdpt_progress *p, void *user) {
  (void)user;
  reports++;
  if (strcmp(phase_seen, p->phase) != 0) {
    last_done = 0;
    snprintf(phase_seen, sizeof phase_seen, "%s", p->phase);
  }
  if ((double)p->done < last_done || p->done > p->total ||
      strcmp(p->unit, strcmp(p->phase, "greedy") ? "images" : "trials")) disorder++;
  last_done = (double)p->done;
  last_total = (double)p->total;
  if (reports == copy_at) copy_file(temporary("method.search"), temporary("method.copy"));
  return reports == stop_at;
}

static bdpt_hooks make_hooks(const char *path, int stop) {
  bdpt_hooks h;
  memset(&h, 0, sizeof h);
  h.progress = on_progress;
  h.checkpoint = path;
  reports = 0;
  stop_at = stop;
  last_done = 0;
  phase_seen[0] = 0;
  return h;
}

static void remove_states(void) {
  static const char *const ends[5] = {"disparity", "recovery", "map", "search", "stage2"};
  char end[40];
  int i;
  for (i = 0; i < 5; i++) {
    snprintf(end, sizeof end, "method.%s", ends[i]);
    remove(temporary(end));
  }
  remove(temporary("method.greedy"));
}

/* ---- the first observation ---- */

/* Block 1's attention returns its input exactly: one head as wide as the model, values and
 * projection the identity, and queries so large that each token attends to itself alone. Block 2's
 * activation sees only large positive numbers, where GELU is the identity. Both gradients vanish;
 * their neighbours' do not. */
TEST(known_gradients) {
  bdpt_config c;
  bdpt_model *m;
  bdpt_disparity_row row;
  bdpt_recipe r = make_recipe(1);
  bdpt_real *w;
  size_t i, count, d = 16;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 16; c.depth = DEPTH; c.heads = 1; c.classes = 5;
  m = bdpt_model_create(&ctx, &c, 4);
  r.lr = r.min_lr = 1e-9;
  r.weight_decay = BDPT_NONE;
  w = m->param[BDPT_SLOT(1, BDPT_SLOT_QKV_W)].data;
  memset(w, 0, 3 * d * d * sizeof *w);
  for (i = 0; i < d; i++) {
    w[i * d + i] = (bdpt_real)1000;
    w[(d + i) * d + i] = (bdpt_real)1000;
    w[(2 * d + i) * d + i] = (bdpt_real)1;
  }
  w = m->param[BDPT_SLOT(1, BDPT_SLOT_PROJ_W)].data;
  memset(w, 0, d * d * sizeof *w);
  for (i = 0; i < d; i++) w[i * d + i] = (bdpt_real)1;
  w = m->param[BDPT_SLOT(2, BDPT_SLOT_FC1_B)].data;
  for (i = 0; i < 4 * d; i++) w[i] = (bdpt_real)30;
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 5, &row, 1, &count) == BDPT_OK);
  CHECK(count == 1 && row.step == 5);
  CHECK(row.gradient[BDPT_ATTENTION][1] < 1e-6 * row.gradient[BDPT_ATTENTION][0]);
  CHECK(row.gradient[BDPT_ACTIVATION][2] < 1e-6 * row.gradient[BDPT_ACTIVATION][0]);
  CHECK(row.gradient[BDPT_ATTENTION][0] > 1e-7 && row.gradient[BDPT_ATTENTION][2] > 1e-7);
  CHECK(row.gradient[BDPT_ACTIVATION][0] > 1e-7 && row.gradient[BDPT_ACTIVATION][1] > 1e-7);
  bdpt_model_free(m);
}

/* Fades the last attention towards u by a little: b = (1-e) A + e u. With one qkv and one
 * projection that is no change of weights, but it is another forward pass of the block. */
static bdpt_tensor *fading(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                           const bdpt_forward_options *o, void *user) {
  const double e = *(const double *)user;
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *u, *f;
  f = bdpt_attention_half(m, t, l, x, o); /* x + A */
  u = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], m->config.eps);
  if (l == DEPTH - 1) {
    f = bdpt_add(t, bdpt_scale(t, f, 1 - e), bdpt_scale(t, bdpt_add(t, x, u), e));
  }
  return bdpt_mlp_half(m, t, l, f, o);
}

/* dL/dm predicts how the loss moves when a layer fades towards its removal: for the activation of
 * one block, GELU is scaled by hand through a finite difference of the mix operation. Here the sign
 * is what counts: descent lowers the scalar of a layer that hurts. */
TEST(importance_direction) {
  bdpt_model *m = make_model(2);
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_forward_options o;
  bdpt_tensor *loss, *x;
  bdpt_real images[8 * 3 * 64], target[8 * 5];
  size_t shape[4] = {8, 3, 8, 8}, i;
  int label[8];
  double g, before, after, e = 1e-2;
  memset(&o, 0, sizeof o);
  o.importance = 1;
  CHECK(bdpt_load_batch(&ctx, &m->config, &train, 0, 8, images, label) == BDPT_OK);
  memset(target, 0, sizeof target);
  for (i = 0; i < 8; i++) target[i * 5 + (size_t)label[i]] = 1;
  bdpt_model_train_mode(m);
  bdpt_model_zero_grad(m);
  x = bdpt_input(t, 4, shape, images, 0);
  loss = bdpt_cross_entropy(t, bdpt_forward(m, t, x, &o, NULL), target);
  CHECK(bdpt_backward(t, loss, NULL) == BDPT_OK);
  before = (double)loss->data[0];
  g = (double)*m->importance[BDPT_ATTENTION][DEPTH - 1].grad;
  CHECK(fabs(g) > 1e-6);
  m->block = fading; /* the loss at m = 1 - e */
  m->block_user = &e;
  bdpt_tape_reset(t);
  x = bdpt_input(t, 4, shape, images, 0);
  loss = bdpt_cross_entropy(t, bdpt_forward(m, t, x, NULL, NULL), target);
  after = loss ? (double)loss->data[0] : 0;
  CHECK_CLOSE((before - after) / e, g, 0.1 * fabs(g) + 1e-4);
  bdpt_tape_free(t);
  bdpt_model_free(m);
}

TEST(disparity_rows) {
  bdpt_model *m = make_model(1), *copy = bdpt_model_clone(m);
  bdpt_recipe r = make_recipe(2);
  bdpt_disparity_row rows[8];
  double mean[2][BDPT_MAX_DEPTH], loss, sum = 0;
  bdpt_trainer *t;
  size_t count = 0, i;
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 4, rows, 8, &count) == BDPT_OK);
  CHECK(count == 3); /* 10 steps: 4, 4 and the remaining 2 */
  CHECK(rows[0].step == 4 && rows[1].step == 8 && rows[2].step == 10);
  CHECK(same_weights(m, copy));
  r.importance = 1;
  t = bdpt_trainer_create(copy, NULL, &train, &r);
  for (i = 0; i < 8; i++) {
    if (i % 4 == 0) sum = 0;
    CHECK(bdpt_trainer_step(t, &loss) == BDPT_OK);
    sum += loss;
    if (i % 4 < 3) continue;
    CHECK(bdpt_trainer_importance(t, mean) == 4);
    CHECK(rows[i / 4].loss == sum / 4);
    CHECK(memcmp(rows[i / 4].gradient, mean, sizeof mean) == 0);
  }
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 4, rows, 2, &count) == BDPT_OK &&
        count == 2);
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 0, rows, 2, &count) ==
        BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  bdpt_trainer_free(t);
  bdpt_model_free(copy);
  bdpt_model_free(m);
}

/* ---- the second ---- */

TEST(recovery_rows) {
  bdpt_model *m = make_model(1), *copy;
  bdpt_recovery_options o;
  bdpt_recovery_row rows[2 * DEPTH], part[2 * DEPTH];
  bdpt_recipe r = make_recipe(2);
  bdpt_hooks h = make_hooks(NULL, 0);
  int i, bad = 0, e;
  char before[17], after[17];
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.recipe = make_recipe(7);
  o.marks = 2;
  o.mark[0] = 1;
  o.mark[1] = 2;
  bdpt_model_hash(m, before);
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, &h}, &o, rows) == BDPT_OK);
  bdpt_model_hash(m, after);
  CHECK(strcmp(before, after) == 0);
  CHECK(disorder == 0 && reports == 2 * DEPTH * (10 + 2));
  CHECK(last_done == last_total && last_total == 2 * 2 * DEPTH * (double)train.count);
  /* The same by hand: prune, evaluate, train one epoch of a two-epoch recipe, evaluate, again. */
  for (i = 0; i < 2 * DEPTH; i++) {
    bdpt_trainer *t;
    copy = bdpt_model_clone(m);
    bdpt_prune(copy, (bdpt_type)(i / DEPTH), i % DEPTH);
    bad += rows[i].layer.type != (bdpt_type)(i / DEPTH) || rows[i].layer.block != i % DEPTH;
    bad += rows[i].before != score(m) || rows[i].at_once != score(copy);
    t = bdpt_trainer_create(copy, NULL, &train, &r);
    for (e = 0; e < 2; e++) {
      while (bdpt_trainer_steps_done(t) < (size_t)(5 * (e + 1))) bdpt_trainer_step(t, NULL);
      bad += rows[i].after[e] != score(copy);
    }
    bad += rows[i].after[2] == rows[i].after[2]; /* NaN beyond the last mark */
    bdpt_trainer_free(t);
    bdpt_model_free(copy);
  }
  CHECK(bad == 0);

  /* One layer alone has the same row; the others stay blank. */
  bdpt_layers_add(&o.only, BDPT_ACTIVATION, 0);
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, NULL}, &o, part) == BDPT_OK);
  CHECK(memcmp(&part[DEPTH], &rows[DEPTH], sizeof part[0]) == 0);
  CHECK(part[0].at_once != part[0].at_once && part[0].before == rows[0].before);
  memset(&o.only, 0, sizeof o.only);

  /* A layer that is gone already stays blank. */
  bdpt_prune(m, BDPT_ACTIVATION, 1);
  o.marks = 0;
  o.recipe = make_recipe(1);
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, NULL}, &o, rows) == BDPT_OK);
  CHECK(rows[DEPTH + 1].before == rows[0].before);
  CHECK(rows[DEPTH + 1].at_once != rows[DEPTH + 1].at_once);
  CHECK(rows[DEPTH].after[0] == rows[DEPTH].after[0]);
  o.marks = 2;
  o.mark[0] = 3;
  o.mark[1] = 3;
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, NULL}, &o, rows) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

TEST(recovery_order) {
  bdpt_recovery_row rows[8];
  int order[BDPT_MAX_DEPTH], i;
  static const double a[4] = {70, 80, 75, 80}, g[4] = {1, 0, 2, 3};
  memset(rows, 0, sizeof rows);
  for (i = 0; i < 4; i++) {
    rows[i].after[1] = a[i];
    rows[4 + i].after[1] = i == 1 ? (double)NAN : g[i];
  }
  bdpt_recovery_order(rows, 4, 1, BDPT_ATTENTION, order);
  CHECK(order[0] == 1 && order[1] == 3 && order[2] == 2 && order[3] == 0);
  bdpt_recovery_order(rows, 4, 1, BDPT_ACTIVATION, order);
  CHECK(order[0] == 3 && order[1] == 2 && order[2] == 0 && order[3] == 1); /* NaN last */
}

/* ---- collecting ---- */

static bdpt_map_collect_options collect_options(void) {
  bdpt_map_collect_options o;
  int t, l;
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.recipe = make_recipe(1);
  o.most = 2;
  o.rounds = 1;
  o.use_order = 1;
  for (t = 0; t < 2; t++) {
    for (l = 0; l < DEPTH; l++) o.order[t][l] = t ? l : DEPTH - 1 - l;
  }
  return o;
}

TEST(collect_points) {
  static const int kept[6][2] = {{3, 3}, {2, 3}, {1, 3}, {3, 2}, {3, 1}, {2, 2}};
  bdpt_map_collect_options o = collect_options();
  bdpt_model *m = make_model(1), *copy = bdpt_model_clone(m);
  bdpt_map_point p[8];
  bdpt_recipe r;
  bdpt_hooks h = make_hooks(NULL, 0);
  size_t count, i;
  int bad = 0;
  CHECK(bdpt_map_collect(m, &(bdpt_run){&train, &held, &h}, &o, p, 8, &count) == BDPT_OK);
  CHECK(count == 6 && same_weights(m, copy) && disorder == 0);
  for (i = 0; i < 6; i++) {
    bad += p[i].attention != (double)(kept[i][0] / 3.0);
    bad += p[i].activation != (double)(kept[i][1] / 3.0);
  }
  CHECK(bad == 0);
  CHECK(p[0].accuracy == score(m));

  /* Points 1 and 2 by hand: the second network inherits the first one's weights. */
  for (i = 1; i <= 2; i++) {
    r = o.recipe;
    r.seed += i;
    bdpt_prune(copy, BDPT_ATTENTION, o.order[BDPT_ATTENTION][i - 1]);
    CHECK(bdpt_train(copy, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
    CHECK(p[i].accuracy == score(copy));
  }
  /* Point 5: the first of the activation axis, then one attention layer more. */
  bdpt_model_assign(copy, m);
  for (i = 0; i < 2; i++) {
    r = o.recipe;
    r.seed += i ? 5 : 3;
    bdpt_prune(copy, i ? BDPT_ATTENTION : BDPT_ACTIVATION, o.order[i ? 0 : 1][0]);
    bdpt_train(copy, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL);
  }
  CHECK(p[5].accuracy == score(copy));

  /* With averaged weights those are measured and inherited. */
  o.recipe.ema = 0.5;
  CHECK(bdpt_map_collect(m, &(bdpt_run){&train, &held, NULL}, &o, p, 8, &count) == BDPT_OK);
  bdpt_model_assign(copy, m);
  for (i = 1; i <= 2; i++) {
    r = o.recipe;
    r.seed += i;
    bdpt_prune(copy, BDPT_ATTENTION, o.order[BDPT_ATTENTION][i - 1]);
    CHECK(bdpt_train(copy, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
    CHECK(p[i].accuracy == score(copy));
  }

  CHECK(bdpt_map_collect(m, &(bdpt_run){&train, &held, NULL}, &o, p, 5, &count) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  o.order[0][1] = o.order[0][0];
  CHECK(bdpt_map_collect(m, &(bdpt_run){&train, &held, NULL}, &o, p, 8, &count) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "permutation");
  bdpt_clear_error(&ctx);
  o = collect_options();
  CHECK(bdpt_map_collect(copy, &(bdpt_run){&train, &held, NULL}, &o, p, 8, &count) == BDPT_E_STATE);
  bdpt_clear_error(&ctx);
  bdpt_model_free(copy);
  bdpt_model_free(m);
}

/* ---- searching ---- */

static bdpt_search_options search_options(void) {
  bdpt_search_options o;
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.recipe = make_recipe(0);
  o.recipe.epochs = 4;
  o.remove[BDPT_ATTENTION] = 1;
  o.remove[BDPT_ACTIVATION] = 2;
  o.stage[0] = o.stage[1] = o.stage[2] = 1;
  return o;
}

/* Importances set by hand and a learning rate that cannot move them make the order known. */
TEST(search_rigged) {
  bdpt_model *m = make_model(1);
  bdpt_search_options o = search_options();
  bdpt_search_result out;
  bdpt_hooks h = make_hooks(NULL, 0);
  static const double a[3] = {0.3, -0.5, 0.1}, g[3] = {7, 6, 5};
  int l;
  for (l = 0; l < DEPTH; l++) {
    *m->importance[BDPT_ATTENTION][l].data = (bdpt_real)a[l];
    *m->importance[BDPT_ACTIVATION][l].data = (bdpt_real)g[l];
  }
  o.recipe.lr = o.recipe.min_lr = 1e-7;
  CHECK(bdpt_search(m, &(bdpt_run){&train, &held, &h}, &o, &out) == BDPT_OK);
  CHECK(disorder == 0 && reports == 20); /* 4 epochs of 5 steps */
  CHECK(out.removed == 3);
  CHECK(out.layer[0].type == BDPT_ACTIVATION && out.layer[0].block == 2);
  CHECK(out.layer[1].type == BDPT_ATTENTION && out.layer[1].block == 1);
  CHECK(out.layer[2].type == BDPT_ACTIVATION && out.layer[2].block == 1);
  CHECK(m->config.block[2].mlp_state != BDPT_MLP_KEPT);
  CHECK(m->config.block[1].mlp_state != BDPT_MLP_KEPT);
  CHECK(m->config.block[1].attention == BDPT_ATTENTION_REMOVED);
  CHECK(bdpt_removed(&m->config, 0) == 1 && bdpt_removed(&m->config, 1) == 2);
  CHECK_CLOSE(out.importance[BDPT_ACTIVATION][0], 7, 1e-4);
  bdpt_model_free(m);
}

/* Candidates limit the choice; accuracies are those at the end of each stage; the scalars start at
 * zero and move; the schedule restarts at the removals. */
TEST(search_details) {
  bdpt_model *m = make_model(1), *copy = bdpt_model_clone(m);
  bdpt_search_options o = search_options();
  bdpt_search_result out;
  bdpt_recipe r = o.recipe;
  bdpt_trainer *t;
  int i, smallest = 0;
  for (i = 0; i < DEPTH; i++) { /* a single candidate, whatever its importance */
    memset(&o.candidates, 0, sizeof o.candidates);
    bdpt_layers_add(&o.candidates, BDPT_ATTENTION, i);
    bdpt_model_assign(m, copy);
    CHECK(bdpt_search(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK);
    CHECK(out.layer[1].type == BDPT_ATTENTION && out.layer[1].block == i);
  }
  CHECK(out.importance[0][0] != 0 && out.importance[1][0] != 0);

  /* The first stage by hand. */
  r.importance = 1;
  r.restarts = 3;
  for (i = 0; i < 3; i++) r.restart[i] = i + 1;
  t = bdpt_trainer_create(copy, NULL, &train, &r);
  for (i = 0; i < 5; i++) bdpt_trainer_step(t, NULL);
  CHECK(out.accuracy[0] == score(copy));
  for (i = 1; i < DEPTH; i++) {
    if (*copy->importance[1][i].data < *copy->importance[1][smallest].data) smallest = i;
  }
  CHECK(out.layer[0].block == smallest);
  bdpt_trainer_free(t);

  /* With nothing to remove a search is a training run with the scalars on, averaged weights too. */
  bdpt_model_assign(copy, subject_of(1));
  bdpt_model_assign(m, copy);
  memset(o.remove, 0, sizeof o.remove);
  o.recipe.ema = r.ema = 0.8;
  r.restarts = 0;
  CHECK(bdpt_search(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK && out.removed == 0);
  CHECK(bdpt_train(copy, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
  CHECK(same_weights(m, copy));
  o = search_options();
  bdpt_layers_add(&o.candidates, BDPT_ATTENTION, 2);

  o.remove[BDPT_ATTENTION] = 2;
  CHECK(bdpt_search(copy, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "attention: 2 to remove, 1 allowed");
  bdpt_clear_error(&ctx);
  bdpt_model_free(copy);
  bdpt_model_free(m);
}

/* ---- the choice without training ---- */

static bdpt_greedy_options greedy_options(int layers) {
  bdpt_greedy_options o;
  memset(&o, 0, sizeof o);
  o.layers = layers;
  o.images = 20;
  return o;
}

/* Returns the loss with the layers of the set gone and one more, by the calls that a user would
 * make. */
static double loss_without(const bdpt_model *dense, bdpt_layers gone, bdpt_layer more,
                           bdpt_start start) {
  bdpt_model *m = bdpt_model_clone(dense);
  bdpt_layers one = {{0, 0}};
  bdpt_subset chosen;
  bdpt_accuracy a;
  bdpt_layers_add(&one, more.type, more.block);
  if (start == BDPT_START_SKIP_FIT) m->config.attn_form = BDPT_ATTN_SKIP;
  CHECK(bdpt_remove(m, &gone, start, &train, NULL) == BDPT_OK);
  CHECK(bdpt_remove(m, &one, start, &train, NULL) == BDPT_OK);
  CHECK(bdpt_sample(&ctx, &held, 20, 1, &chosen) == BDPT_OK);
  CHECK(bdpt_evaluate(m, &chosen, &a) == BDPT_OK && a.count == 20);
  bdpt_subset_free(&ctx, &chosen);
  bdpt_model_free(m);
  return a.loss;
}

/* Each step removes the layer whose loss is smallest, the first of equals, and says what it is. */
TEST(greedy_by_hand) {
  static const bdpt_start starts[2] = {BDPT_START_SKIP_FIT, BDPT_START_PAPER};
  bdpt_model *dense = make_model(3), *m = bdpt_model_clone(dense), *same = bdpt_model_clone(dense);
  bdpt_greedy_result out;
  int k, n, i;
  for (k = 0; k < 2; k++) {
    bdpt_greedy_options o = greedy_options(4);
    bdpt_layers gone = {{0, 0}};
    o.start = starts[k];
    bdpt_model_assign(m, dense);
    CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK &&
          out.removed == 4);
    for (n = 0; n < out.removed; n++) {
      bdpt_layer best = {BDPT_ATTENTION, -1};
      double least = 1e300;
      for (i = 0; i < 2 * DEPTH; i++) {
        bdpt_layer at = {i % 2 ? BDPT_ACTIVATION : BDPT_ATTENTION, i / 2};
        double loss;
        if (bdpt_layers_has(&gone, at.type, at.block)) continue;
        loss = loss_without(dense, gone, at, o.start);
        if (loss < least) {
          least = loss;
          best = at;
        }
      }
      CHECK(out.layer[n].type == best.type && out.layer[n].block == best.block);
      CHECK(out.loss[n] == least);
      bdpt_layers_add(&gone, best.type, best.block);
    }
    bdpt_model_assign(same, dense);
    CHECK(bdpt_remove(same, &gone, o.start, &train, NULL) == BDPT_OK);
    CHECK(same_weights(m, same));
    CHECK(k ? out.images == 18 * 20 : out.images > 18 * 20);
  }
  bdpt_model_free(same);
  bdpt_model_free(m);
  bdpt_model_free(dense);
}

TEST(greedy_budgets) {
  bdpt_model *dense = make_model(3), *m = bdpt_model_clone(dense);
  bdpt_greedy_options o = greedy_options(0);
  bdpt_greedy_result all, out;
  bdpt_cost_report cost;
  const int layers[4] = {0, 7, -1, 0};
  int i;
  o.layers = 6; /* every layer */
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &all) == BDPT_OK && all.removed == 6);
  CHECK(bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK && all.cost[5] == cost.macs);
  for (i = 1; i < 6; i++) CHECK(all.cost[i] < all.cost[i - 1]);

  o = greedy_options(0);
  o.budget = all.cost[2]; /* reached by three, and not before */
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK && out.removed == 3);
  CHECK(memcmp(out.layer, all.layer, 3 * sizeof *out.layer) == 0);
  o.start = BDPT_START_PAPER; /* removed attention costs nothing, a fused pair one map */
  o.budget = 1;
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK && out.removed == 6);
  bdpt_fuse_all(m);
  CHECK(bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK && out.cost[5] == cost.macs);
  o.budget = 1e12; /* met by the network as it is */
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK && out.removed == 0);

  o = greedy_options(1);
  o.images = 0; /* all of them, where there are fewer than 1000 */
  o.start = BDPT_START_PAPER;
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK);
  CHECK(out.images == 6.0 * (double)held.count);

  o = greedy_options(3);
  o.most[BDPT_ACTIVATION] = -1;
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK && out.removed == 3);
  CHECK(bdpt_removed(&m->config, BDPT_ATTENTION) == 3);
  o.most[BDPT_ATTENTION] = 2;
  bdpt_model_assign(m, dense);
  CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "2 layers gone, and no other may go");
  CHECK(same_weights(m, dense));
  bdpt_clear_error(&ctx);
  for (i = 0; i < 4; i++) {
    o = greedy_options(layers[i]);
    if (i == 3) o.budget = -1;
    CHECK(bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_E_ARGUMENT);
    CHECK_HAS(ctx.message, "are no budget of 6");
    bdpt_clear_error(&ctx);
  }
  bdpt_model_free(m);
  bdpt_model_free(dense);
}

/* ---- fusing ---- */

TEST(certificate) {
  bdpt_model *m = make_model(1), *copy;
  bdpt_certificate c;
  CHECK(bdpt_fuse_certified(m, &held, &c) == BDPT_OK);
  CHECK(c.fused == 0 && c.difference == 0 && c.agree == 20 && c.images == 20 && c.near_ties == 0);
  bdpt_prune(m, BDPT_ACTIVATION, 0);
  bdpt_prune(m, BDPT_ACTIVATION, 2);
  copy = bdpt_model_clone(m);
  CHECK(bdpt_fuse_certified(m, &held, &c) == BDPT_OK);
  CHECK(c.fused == 2 && c.images == 20 && c.agree + c.near_ties == 20);
  CHECK(c.difference > 0 && c.difference < (sizeof(bdpt_real) == 8 ? 1e-12 : 1e-5));
  CHECK(m->config.block[0].mlp_state == BDPT_MLP_FUSED &&
        m->config.block[2].mlp_state == BDPT_MLP_FUSED);
  CHECK(m->config.block[1].mlp_state <= BDPT_MLP_LINEAR);
  CHECK_HAS(m->certificate, "2 MLPs fused");
  CHECK_HAS(m->certificate, "of 20 images");
  CHECK(score(m) == score(copy));
  CHECK(bdpt_fuse_certified(m, NULL, &c) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);

  bdpt_model_free(copy);
  bdpt_model_free(m);
}

/* ---- stages ---- */

TEST(stage2_by_hand) {
  bdpt_model *dense = make_model(1), *m = bdpt_model_clone(dense), *copy;
  bdpt_recipe r = make_recipe(2);
  bdpt_stage2_result out;
  bdpt_epoch log[2];
  bdpt_certificate c;
  bdpt_accuracy a;
  char hash[17];
  bdpt_prune(m, BDPT_ACTIVATION, 1);
  bdpt_prune(m, BDPT_ATTENTION, 2);
  copy = bdpt_model_clone(m);
  CHECK(bdpt_stage2(m, dense, &(bdpt_run){&train, &held, NULL}, &r, log, &out) == BDPT_OK);
  r.distill = BDPT_DISTILL_SOFT;
  bdpt_evaluate(copy, &held, &a);
  CHECK(out.at_once.top1 == a.top1 && out.at_once.loss == a.loss);
  bdpt_train(copy, dense, &(bdpt_run){&train, &held, NULL}, &r, NULL);
  bdpt_evaluate(copy, &held, &a);
  CHECK(out.recovered.loss == a.loss && log[1].held.loss == a.loss && log[1].epoch == 2);
  bdpt_fuse_certified(copy, &held, &c);
  CHECK(same_weights(copy, m) && out.certificate.fused == 1);
  CHECK_CLOSE(out.fused.loss, out.recovered.loss, 1e-4);
  bdpt_model_hash(dense, hash);
  CHECK(strcmp(m->parent, hash) == 0);
  bdpt_model_free(copy);

  /* Labels only, in both ways of saying so. */
  copy = bdpt_model_clone(dense);
  bdpt_model_assign(m, dense);
  r.distill = BDPT_DISTILL_OFF;
  CHECK(bdpt_stage2(m, dense, &(bdpt_run){&train, &held, NULL}, &r, NULL, &out) == BDPT_OK);
  r.distill = 0;
  CHECK(bdpt_stage2(copy, NULL, &(bdpt_run){&train, &held, NULL}, &r, NULL, &out) == BDPT_OK);
  CHECK(same_weights(copy, m));
  bdpt_model_free(copy);
  bdpt_model_free(m);
  bdpt_model_free(dense);
}

static bdpt_two_stage_options two_stage_options(void) {
  bdpt_two_stage_options o;
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.budget = 2;
  o.collect = collect_options();
  o.degree = 1;
  o.search = search_options();
  o.search.recipe.epochs = 0;
  o.finetune = make_recipe(2);
  return o;
}

TEST(two_stages) {
  bdpt_model *m = make_model(1), *dense = bdpt_model_clone(m), *copy = bdpt_model_clone(m);
  bdpt_two_stage_options o = two_stage_options();
  static bdpt_two_stage_result out;
  bdpt_search_result found;
  bdpt_stage2_result end;
  bdpt_map_point p[8];
  bdpt_map map;
  size_t count;
  int a, g, j;
  CHECK(bdpt_two_stage(m, &(bdpt_run){&train, &held, NULL}, &o, &out) == BDPT_OK);
  CHECK(out.point_count == 6 && out.attention + out.activation == 2 && out.search.removed == 2);
  CHECK(bdpt_removed(&m->config, BDPT_ATTENTION) == out.attention);
  CHECK(bdpt_removed(&m->config, BDPT_ACTIVATION) == out.activation);
  bdpt_map_collect(dense, &(bdpt_run){&train, &held, NULL}, &o.collect, p, 8, &count);
  CHECK(memcmp(p, out.points, count * sizeof *p) == 0);
  bdpt_map_fit(&ctx, p, count, 1, o.degree, &map);
  bdpt_map_split(&ctx, &map, DEPTH, 2, &a, &g, NULL);
  CHECK(a == out.attention && g == out.activation);
  o.search.remove[0] = a;
  o.search.remove[1] = g;
  bdpt_search(copy, &(bdpt_run){&train, &held, NULL}, &o.search, &found);
  CHECK(memcmp(&found, &out.search, sizeof found) == 0);
  bdpt_model_assign(copy, dense);
  for (j = 0; j < 2; j++) bdpt_prune(copy, found.layer[j].type, found.layer[j].block);
  bdpt_stage2(copy, dense, &(bdpt_run){&train, &held, NULL}, &o.finetune, NULL, &end);
  CHECK(same_weights(copy, m));
  CHECK(out.stage2.recovered.loss == end.recovered.loss);
  bdpt_model_free(copy);
  bdpt_model_free(dense);
  bdpt_model_free(m);
}

/* ---- interrupted and resumed ---- */

/* Calls `again` until it finishes; each call is stopped at its k-th report. Returns how often it
 * was cancelled, or -1 on any other status. The context's error state must stay clean. */
static int interrupt(bdpt_status (*again)(bdpt_hooks *), int k) {
  int i;
  remove_states();
  for (i = 0; i < 1000; i++) {
    bdpt_hooks h = make_hooks(STATE, k);
    bdpt_status status = again(&h);
    if (status == BDPT_OK) return i;
    if (status != BDPT_CANCELLED || ctx.status != BDPT_OK) {
      printf("  %s\n", ctx.message);
      return -1;
    }
  }
  return -1;
}

static bdpt_model *subject, *result;
static bdpt_disparity_row d_rows[4];
static bdpt_recovery_row r_rows[2 * DEPTH];
static bdpt_map_point points[8];
static size_t d_count, p_count;
static bdpt_search_result found;
static bdpt_stage2_result ended;
static bdpt_two_stage_result both;

static bdpt_status run_disparity(bdpt_hooks *h) {
  bdpt_recipe r = make_recipe(2);
  return bdpt_disparity(subject, &(bdpt_run){&train, NULL, h}, &r, 4, d_rows, 4, &d_count);
}

static bdpt_status run_recovery(bdpt_hooks *h) {
  bdpt_recovery_options o;
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.recipe = make_recipe(1);
  return bdpt_recovery(subject, &(bdpt_run){&train, &held, h}, &o, r_rows);
}

static bdpt_status run_collect(bdpt_hooks *h) {
  bdpt_map_collect_options o = collect_options();
  o.use_order = 0;
  return bdpt_map_collect(subject, &(bdpt_run){&train, &held, h}, &o, points, 8, &p_count);
}

static bdpt_status run_search(bdpt_hooks *h) {
  bdpt_search_options o = search_options();
  bdpt_status status;
  o.recipe.ema = 0.9;
  bdpt_model_assign(result, subject);
  status = bdpt_search(result, &(bdpt_run){&train, &held, h}, &o, &found);
  if (status != BDPT_OK) CHECK(same_weights(result, subject)); /* unchanged unless finished */
  return status;
}

static bdpt_greedy_result chosen;
static bdpt_status run_greedy(bdpt_hooks *h) {
  bdpt_greedy_options o = greedy_options(4);
  bdpt_status status;
  bdpt_model_assign(result, subject);
  status = bdpt_greedy(result, &(bdpt_run){&train, &held, h}, &o, &chosen);
  if (status != BDPT_OK) CHECK(same_weights(result, subject));
  return status;
}

static bdpt_status run_stage2(bdpt_hooks *h) {
  bdpt_recipe r = make_recipe(2);
  bdpt_model_assign(result, subject);
  bdpt_prune(result, BDPT_ACTIVATION, 1);
  return bdpt_stage2(result, subject, &(bdpt_run){&train, &held, h}, &r, NULL, &ended);
}

static bdpt_status run_both(bdpt_hooks *h) {
  bdpt_two_stage_options o = two_stage_options();
  bdpt_model_assign(result, subject);
  return bdpt_two_stage(result, &(bdpt_run){&train, &held, h}, &o, &both);
}

TEST(resumes) {
  static bdpt_disparity_row d[4];
  static bdpt_recovery_row r[2 * DEPTH];
  static bdpt_map_point p[8];
  static bdpt_search_result s;
  static bdpt_greedy_result g;
  static bdpt_stage2_result e;
  static bdpt_two_stage_result b;
  static const int stops[3] = {1, 3, 7};
  bdpt_model *first;
  int i, n;
  subject = make_model(1);
  result = bdpt_model_clone(subject);
  first = bdpt_model_clone(subject);

  CHECK(run_disparity(NULL) == BDPT_OK);
  memcpy(d, d_rows, sizeof d);
  for (i = 0; i < 3; i++) {
    memset(d_rows, 0, sizeof d_rows);
    CHECK(interrupt(run_disparity, stops[i]) == 10 / stops[i]);
    CHECK(d_count == 3 && memcmp(d, d_rows, 3 * sizeof *d) == 0);
  }
  /* Six reports per row: with fewer than six per call a row could never end. */
  CHECK(run_recovery(NULL) == BDPT_OK);
  memcpy(r, r_rows, sizeof r);
  for (i = 6; i < 16; i += 3) {
    memset(r_rows, 0, sizeof r_rows);
    n = interrupt(run_recovery, i);
    CHECK(n > 1 && memcmp(r, r_rows, sizeof r) == 0);
  }
  CHECK(run_collect(NULL) == BDPT_OK && p_count == 6);
  memcpy(p, points, sizeof p);
  for (i = 6; i < 16; i += 3) {
    memset(points, 0, sizeof points);
    n = interrupt(run_collect, i);
    CHECK(n > 1 && p_count == 6 && memcmp(p, points, 6 * sizeof *p) == 0);
  }
  CHECK(run_search(NULL) == BDPT_OK);
  s = found;
  bdpt_model_assign(first, result);
  for (i = 0; i < 3; i++) {
    CHECK(interrupt(run_search, stops[i]) == 20 / stops[i]);
    CHECK(memcmp(&s, &found, sizeof s) == 0 && same_weights(first, result));
  }
  /* A step that was stopped is tried again: with seven reports per call each can end. */
  CHECK(run_greedy(NULL) == BDPT_OK);
  g = chosen;
  bdpt_model_assign(first, result);
  for (i = 7; i < 18; i += 5) {
    CHECK(interrupt(run_greedy, i) == (i == 7 ? 3 : 1));
    CHECK(memcmp(&g, &chosen, sizeof g) == 0 && same_weights(first, result));
  }
  CHECK(run_stage2(NULL) == BDPT_OK);
  e = ended;
  bdpt_model_assign(first, result);
  /* The evaluation at the end of an epoch is one report and starts again: one report is too few. */
  for (i = 0; i < 3; i++) {
    CHECK(interrupt(run_stage2, stops[i] + 1) > 0);
    CHECK(memcmp(&e, &ended, sizeof e) == 0 && same_weights(first, result));
  }
  CHECK(run_both(NULL) == BDPT_OK);
  b = both;
  bdpt_model_assign(first, result);
  for (i = 8; i < 24; i += 7) {
    CHECK(interrupt(run_both, i) > 0);
    CHECK(b.stage2.recovered.loss == both.stage2.recovered.loss && same_weights(first, result));
    CHECK(memcmp(&b.search, &both.search, sizeof b.search) == 0);
    CHECK(memcmp(b.points, both.points, sizeof b.points) == 0);
  }
  CHECK(disorder == 0);
  bdpt_model_free(first);
}

/* A finished call's state answers at once; another network's or other options' state is refused. */
/* A network whose logits are not finite gets no certificate, no fit and no prediction. */
TEST(no_certificate_for_nonsense) {
  bdpt_model *m = make_model(1), *keep;
  const bdpt_layers activation = {{0, 1 << 1}};
  bdpt_certificate c;
  bdpt_fit_report r;
  size_t k;
  for (k = 0; k < m->param[BDPT_SLOT_HEAD_W].count; k++) {
    m->param[BDPT_SLOT_HEAD_W].data[k] = k % 2 ? (bdpt_real)3e38 : (bdpt_real)-3e38;
  }
  if (sizeof(bdpt_real) == 8) m->param[BDPT_SLOT_HEAD_W].data[0] = (bdpt_real)HUGE_VAL;
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 0) == BDPT_OK);
  keep = bdpt_model_clone(m);
  CHECK(bdpt_fuse_certified(m, &held, &c) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "a logit is not finite");
  CHECK(m->config.block[0].mlp_state == BDPT_MLP_LINEAR && m->certificate[0] == 0);
  CHECK(same_weights(m, keep));
  bdpt_clear_error(&ctx);
  m->param[BDPT_SLOT_PATCH_B].data[0] = (bdpt_real)HUGE_VAL;
  CHECK(bdpt_remove(m, &activation, BDPT_START_FIT, &train, &r) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "what the activation of block 1 reads or returns is not finite");
  bdpt_clear_error(&ctx);
  bdpt_model_free(keep);
  bdpt_model_free(m);
}

TEST(states_refused) {
  bdpt_hooks h;
  bdpt_model *other = make_model(9), *keep = subject;
  bdpt_recovery_options o;
  FILE *f;
  remove_states();
  h = make_hooks(STATE, 0);
  CHECK(run_recovery(&h) == BDPT_OK && reports > 0);
  h = make_hooks(STATE, 0);
  CHECK(run_recovery(&h) == BDPT_OK && reports == 0);
  subject = other;
  CHECK(run_recovery(&h) == BDPT_E_STATE);
  CHECK_HAS(ctx.message, "was saved by a recovery of another network");
  bdpt_clear_error(&ctx);
  subject = keep;
  memset(&o, 0, sizeof o);
  o.start = BDPT_START_PAPER;
  o.recipe = make_recipe(1);
  o.recipe.lr = 1e-3;
  CHECK(bdpt_recovery(subject, &(bdpt_run){&train, &held, &h}, &o, r_rows) == BDPT_E_STATE);
  bdpt_clear_error(&ctx);
  o.recipe = make_recipe(1);
  CHECK(bdpt_recovery(subject, &(bdpt_run){&held, &held, &h}, &o, r_rows) == BDPT_E_STATE);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_recovery(subject, &(bdpt_run){&train, &train, &h}, &o, r_rows) == BDPT_E_STATE);
  CHECK_HAS(ctx.message, "other images or other options");
  bdpt_clear_error(&ctx);
  f = fopen(temporary("method.recovery"), "wb");
  if (f) { fputs("not a state", f); fclose(f); }
  CHECK(run_recovery(&h) == BDPT_E_FORMAT);
  bdpt_clear_error(&ctx);
  remove_states();
  bdpt_model_free(other);
}

/* After a crash, what lay on the disk at report 8 is enough. */
TEST(saves_on_the_way) {
  bdpt_search_result s;
  bdpt_model *first = bdpt_model_clone(subject);
  bdpt_hooks h;
  CHECK(run_search(NULL) == BDPT_OK);
  s = found;
  bdpt_model_assign(first, result);
  remove_states();
  remove(temporary("method.copy"));
  h = make_hooks(STATE, 0);
  copy_at = 8;
  CHECK(run_search(&h) == BDPT_OK);
  copy_at = 0;
  CHECK(ctx.status == BDPT_OK); /* there was a file to copy */
  bdpt_clear_error(&ctx);
  copy_file(temporary("method.copy"), temporary("method.search"));
  h = make_hooks(STATE, 0);
  CHECK(run_search(&h) == BDPT_OK && reports == 15);
  CHECK(memcmp(&s, &found, sizeof s) == 0 && same_weights(first, result));
  remove(temporary("method.copy"));
  remove_states();
  bdpt_model_free(first);
}

/* Writes one word into the list of a saved state. */
static void tamper(const char *path, size_t at, double value) {
  bdpt_safetensors f;
  const bdpt_file_tensor *log;
  uint64_t word;
  bdpt_bytes file;
  if (bdpt_file_read(&ctx, path, &file) != BDPT_OK ||
      bdpt_safetensors_parse(&ctx, file.data, file.size, path, &f) != BDPT_OK) return;
  log = bdpt_safetensors_find(&f, "train.log");
  memcpy(&word, &value, 8);
  if (log && at < log->count / 8) memcpy(file.data + (log->bytes - file.data) + 8 * at, &word, 8);
  bdpt_file_write(&ctx, path, file.data, file.size);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &file);
}

/* A file with the right key and wrong contents gives an error, never a crash. */
TEST(states_tampered) {
  bdpt_hooks h = make_hooks(STATE, 8);
  remove_states();
  CHECK(run_recovery(&h) == BDPT_CANCELLED);
  tamper(temporary("method.recovery"), 1, 50); /* a training that was never reached */
  h = make_hooks(STATE, 0);
  CHECK(run_recovery(&h) == BDPT_E_FORMAT);
  bdpt_clear_error(&ctx);
  h = make_hooks(STATE, 7);
  CHECK(run_search(&h) == BDPT_CANCELLED);
  copy_file(temporary("method.search"), temporary("method.copy"));
  tamper(temporary("method.search"), 4, (double)NAN); /* the first layer */
  h = make_hooks(STATE, 0);
  CHECK(run_search(&h) == BDPT_E_FORMAT);
  bdpt_clear_error(&ctx);
  copy_file(temporary("method.copy"), temporary("method.search"));
  tamper(temporary("method.search"), 1, 9);
  CHECK(run_search(&h) == BDPT_E_FORMAT);
  bdpt_clear_error(&ctx);
  h = make_hooks(STATE, 7);
  CHECK(run_disparity(&h) == BDPT_CANCELLED);
  tamper(temporary("method.disparity"), 1, 2);
  CHECK(run_disparity(&h) == BDPT_E_FORMAT);
  bdpt_clear_error(&ctx);
  remove(temporary("method.copy"));
  remove_states();
}

/* Memory may fail anywhere: an error, nothing leaked, the network as it was. */
static size_t allowed;
static void *counted_alloc(void *user, size_t bytes) {
  (void)user;
  if (allowed == 0) return NULL;
  allowed--;
  return malloc(bytes);
}
static void counted_free(void *user, void *p, size_t bytes) { (void)user; (void)bytes; free(p); }

static bdpt_status search_little(bdpt_model *m) {
  bdpt_search_options o = search_options();
  bdpt_search_result out;
  o.recipe.epochs = 3;
  return bdpt_search(m, &(bdpt_run){&train, &held, NULL}, &o, &out);
}

static bdpt_status choose_little(bdpt_model *m) {
  bdpt_greedy_options o = greedy_options(2);
  bdpt_greedy_result out;
  return bdpt_greedy(m, &(bdpt_run){&train, &held, NULL}, &o, &out);
}

/* Does the work with ever more allocations until they are enough. Each time they are not there must
 * be an error, the network as it was, and nothing lost. */
static void with_little_memory(bdpt_status (*work)(bdpt_model *m)) {
  bdpt_model *m = make_model(1);
  size_t k, base;
  int ended_well = 0, failures = 0;
  char hash[17], now[17];
  bdpt_model_hash(m, hash);
  bdpt_finish(&ctx);
  base = ctx.bytes_now;
  for (k = 0; k < 100000 && !ended_well; k += 1 + k / 8) {
    allowed = k;
    bdpt_finish(&ctx);
    ended_well = work(m) == BDPT_OK;
    if (ended_well) break;
    failures++;
    CHECK(ctx.status == BDPT_E_MEMORY);
    bdpt_clear_error(&ctx);
    bdpt_model_hash(m, now);
    CHECK(strcmp(hash, now) == 0);
    bdpt_finish(&ctx);
    CHECK(ctx.bytes_now == base);
  }
  CHECK(ended_well && failures > 20);
  allowed = SIZE_MAX;
  bdpt_model_free(m);
}

TEST(memory_failures) {
  bdpt_context c, keep = ctx;
  bdpt_model *m;
  bdpt_certificate cert;
  size_t k;
  int ended_well;
  memset(&c, 0, sizeof c);
  c.allocator.alloc = counted_alloc;
  c.allocator.free = counted_free;
  c.threads = 1;
  allowed = SIZE_MAX;
  bdpt_init(&c);
  ctx = c; /* make_model uses ctx */
  with_little_memory(search_little);
  with_little_memory(choose_little);
  m = make_model(1);
  for (k = 0, ended_well = 0; k < 1000 && !ended_well; k++) {
    bdpt_model *copy;
    allowed = SIZE_MAX;
    copy = bdpt_model_clone(m);
    bdpt_finish(&ctx);
    allowed = k;
    ended_well = bdpt_fuse_certified(copy, &held, &cert) == BDPT_OK;
    CHECK(ended_well || ctx.status == BDPT_E_MEMORY);
    bdpt_clear_error(&ctx);
    CHECK(ended_well || same_weights(copy, m)); /* nothing fused */
    bdpt_model_free(copy);
  }
  CHECK(ended_well && k > 5);
  bdpt_model_free(m);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  ctx = keep;
}

/* A long call of one's own that forgets a part, or records more than it said, is told so. */
static void study_told(int step, const char *what) {
  static const int options = 7;
  const bdpt_run run = {&train, &held, NULL};
  bdpt_model *m = make_model(4);
  bdpt_recipe r = make_recipe(1);
  bdpt_study s;
  double x = 0;
  bdpt_recipe_resolve(&r);
  bdpt_study_open(&s, m, &run, "own", &options, sizeof options, 2);
  if (step == 0) bdpt_study_remove(&s, BDPT_ATTENTION, 0);
  if (step == 1) bdpt_study_measure(&s, &x);
  if (step == 2) bdpt_study_begin(&s, &r);
  if (step > 2) bdpt_study_copy(&s);
  if (step == 3) bdpt_study_train(&s, 1);
  if (step >= 4) bdpt_study_begin(&s, &r);
  if (step >= 4) bdpt_study_begin(&s, &r); /* ends the first: nothing leaks */
  if (step >= 4) bdpt_study_record(&s, &x);
  if (step >= 4) bdpt_study_record(&s, &x);
  CHECK(step < 4 || (s.status == BDPT_OK && s.count == s.room));
  if (step == 4) bdpt_study_record(&s, &x);
  CHECK(bdpt_study_close(&s) == (what ? BDPT_E_STATE : BDPT_OK));
  CHECK(strcmp(ctx.message, what ? what : "") == 0);
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

TEST(own_long_calls) {
  study_told(0, "own: bdpt_study_copy first");
  study_told(1, "own: bdpt_study_copy first");
  study_told(2, "own: bdpt_study_copy first");
  study_told(3, "own: bdpt_study_begin first");
  study_told(4, "own: bdpt_study_open with more room first");
  study_told(5, NULL);
}

int main(void) {
  memset(&ctx, 0, sizeof ctx);
  ctx.threads = 1; /* a team of threads only waits for itself at this size */
  bdpt_init(&ctx);
  make_stripes(&ctx, 5);
  RUN(own_long_calls);
  RUN(known_gradients);
  RUN(importance_direction);
  RUN(disparity_rows);
  RUN(recovery_rows);
  RUN(recovery_order);
  RUN(collect_points);
  RUN(search_rigged);
  RUN(search_details);
  RUN(greedy_by_hand);
  RUN(greedy_budgets);
  RUN(certificate);
  RUN(stage2_by_hand);
  RUN(two_stages);
  RUN(resumes);
  RUN(no_certificate_for_nonsense);
  RUN(states_refused);
  RUN(saves_on_the_way);
  RUN(states_tampered);
  RUN(memory_failures);
  remove_states();
  subject_of(0);
  bdpt_model_free(subject);
  bdpt_model_free(result);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("method");
}
