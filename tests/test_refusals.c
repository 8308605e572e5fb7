/* Calls that must be refused: each row is one wrong call, with the status and the words that it has
 * to answer with. After every refusal the network is as it was. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"
#include "fixture.h"
#include "world.h"

static bdpt_model *model;
static bdpt_run run;
static const bdpt_recipe brief = {0};

/* ---- Configurations ------------------------------------------------------------------------- */

typedef struct wrong_config {
  void (*spoil)(bdpt_config *c);
  const char *says;
} wrong_config;

static void c_image(bdpt_config *c) { c->image = 16385; }
static void c_negative(bdpt_config *c) { c->depth = -1; }
static void c_patch(bdpt_config *c) { c->patch = 5; }
static void c_heads(bdpt_config *c) { c->heads = 5; }
static void c_eps(bdpt_config *c) { c->eps = 1; }
static void c_nan(bdpt_config *c) { c->eps = (double)NAN; }
static void c_first(bdpt_config *c) { c->std[1] = c->std[2] = 1; }
static void c_second(bdpt_config *c) { c->std[0] = c->std[2] = 1; }
static void c_third(bdpt_config *c) { c->std[0] = c->std[1] = 1; }
static void c_class(bdpt_config *c) { c->no_class = 1; }
static void c_both(bdpt_config *c) { c->no_class = 1; c->pool = BDPT_POOL_BOTH; }
static void c_distilled(bdpt_config *c) { c->distilled = 1; c->pool = BDPT_POOL_MEAN; }
static void c_distilled_none(bdpt_config *c) {
  c->distilled = c->no_class = 1; c->pool = BDPT_POOL_MEAN;
}
static void c_block_heads(bdpt_config *c) { c->block[1].heads = 1025; }
static void c_block_state(bdpt_config *c) { c->block[2].mlp_state = (bdpt_mlp_state)9; }

TEST(configurations) {
  static const wrong_config wrong[] = {
    {c_image, "image is 16385, not between 1 and 16384"}, {c_negative, "depth is -1"},
    {c_patch, "patch 5 does not divide image 12"}, {c_heads, "5 heads do not divide width 12"},
    {c_eps, "eps 1 must be in (0,1)"}, {c_nan, "must be in (0,1)"}, {c_first, "std positive"},
    {c_second, "std positive"}, {c_third, "std positive"}, {c_class, "pool the patches"},
    {c_both, "pool the patches"}, {c_distilled, "pools nothing"},
    {c_distilled_none, "pools nothing"}, {c_block_heads, "block: heads is 1025"},
    {c_block_state, "block: mlp_state is 9"}};
  bdpt_config c;
  size_t i;
  for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    c = small_config(0);
    wrong[i].spoil(&c);
    CHECK(bdpt_model_create(&ctx, &c, 1) == NULL && ctx.status != BDPT_OK);
    CHECK(says(wrong[i].says));
  }
  c = small_config(0);
  c.std[0] = c.std[1] = c.std[2] = 0; c.mean[0] = 9; /* of neither means of both: ImageNet's */
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK);
  CHECK_CLOSE(c.mean[0], 0.485, 1e-15);
  CHECK_CLOSE(c.std[2], 0.225, 1e-15);
  c = small_config(0);
  c.std[0] = 0.5; c.std[1] = 0.25; c.std[2] = 1;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && c.std[0] == 0.5 && c.mean[0] == 0);
  c = small_config(0);
  c.headless = 1; c.pool = BDPT_POOL_BOTH;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && c.classes == 24);
  c = small_config(0);
  c.headless = 1;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && c.classes == 12);
  c = small_config(0);
  c.block[0].head_dim = 5; /* heads that fill no width are a block's own */
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK);
  CHECK_CLOSE(c.block[0].scale, 1 / sqrt(5.0), 1e-15);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static bdpt_real images[2 * 3 * 144], logits[2 * CLASSES];

static bdpt_status r_prune_low(void) { return bdpt_prune(model, BDPT_ATTENTION, -1); }
static bdpt_status r_prune_high(void) { return bdpt_prune(model, BDPT_ACTIVATION, 3); }
static bdpt_status r_restore_high(void) { return bdpt_restore(model, BDPT_ATTENTION, 3); }
static bdpt_status r_restore_kept(void) { return bdpt_restore(model, BDPT_ACTIVATION, 0); }
static bdpt_status r_linear_low(void) { return bdpt_prune_linear(model, -1, 1); }
static bdpt_status r_linear_1(void) { return bdpt_prune_linear(model, 0, 1); }
static bdpt_status r_linear_2(void) { return bdpt_prune_linear(model, 0, 2); }
static bdpt_status r_fuse_high(void) { return bdpt_fuse(model, 3); }
static bdpt_status r_fuse_kept(void) { return bdpt_fuse(model, 0); }

static bdpt_status remove_one(bdpt_type type, int block, bdpt_start start, const bdpt_subset *on) {
  bdpt_layers set = {{0, 0}};
  bdpt_layers_add(&set, type, block);
  return bdpt_remove(model, &set, start, on, NULL);
}
static bdpt_status r_remove_high(void) {
  return remove_one(BDPT_ATTENTION, 5, BDPT_START_SKIP, NULL);
}
static bdpt_status r_remove_fit_high(void) {
  return remove_one(BDPT_ACTIVATION, 5, BDPT_START_FIT, &train);
}
static bdpt_status r_remove_blind(void) {
  return remove_one(BDPT_ACTIVATION, 0, BDPT_START_FIT, NULL);
}
static bdpt_status r_remove_mixed(void) { /* two forms of attention cannot stand in one network */
  bdpt_status s = remove_one(BDPT_ATTENTION, 0, BDPT_START_PAPER, NULL);
  if (!s) s = remove_one(BDPT_ATTENTION, 1, BDPT_START_SKIP, NULL);
  return s;
}
static const bdpt_layers one_map = {{0, 1 << 0}}; /* the first activation */
static bdpt_status r_fit_few(void) {
  bdpt_subset one = train;
  one.count = 1;
  return bdpt_remove(model, &one_map, BDPT_START_FIT, &one, NULL);
}
static bdpt_status r_fit_removed(void) { /* the first of two is gone */
  bdpt_layers set = {{3, 0}};
  bdpt_status s = bdpt_prune(model, BDPT_ATTENTION, 0);
  return s ? s : bdpt_remove(model, &set, BDPT_START_FIT, &train, NULL);
}
static bdpt_config spoiled(void) {
  bdpt_config c = small_config(0);
  c.patch = 5;
  return c;
}
static bdpt_status r_cost_of_none(void) {
  bdpt_config c = spoiled();
  bdpt_cost_report cost;
  return bdpt_cost(&ctx, &c, &cost);
}
static bdpt_status r_reshape_to_none(void) {
  bdpt_config c = spoiled();
  CHECK(bdpt_model_reshape(model, &c) == NULL);
  return ctx.status;
}
static bdpt_status r_resize_model(void) { return bdpt_model_resize(model, 0, 0); }
static bdpt_status r_batch_of_none(void) {
  bdpt_subset none = train;
  none.count = 0;
  return bdpt_load_batch(&ctx, &model->config, &none, 0, 0, images, NULL);
}
static bdpt_status build_of(const char *name, int ndim) {
  bdpt_write_tensor t;
  bdpt_bytes out = {NULL, 0};
  memset(&t, 0, sizeof t);
  t.dtype = BDPT_REAL_DTYPE;
  t.name = name; t.ndim = ndim; t.data = images;
  return bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &out);
}
static bdpt_status r_build_nameless(void) { return build_of(NULL, 0); }
static bdpt_status r_build_axes(void) { return build_of("t", -1); }
static bdpt_status predict_on(bdpt_tape_mode mode) {
  bdpt_tape *t = bdpt_tape_create(&ctx, mode);
  bdpt_status s = bdpt_predict(model, t, 2, images, logits);
  bdpt_tape_free(t);
  return s;
}
static bdpt_status r_predict_record(void) { return predict_on(BDPT_TAPE_RECORD); }
static bdpt_status r_predict_nan(void) {
  bdpt_status s;
  images[3 * 144] = (bdpt_real)NAN;
  s = predict_on(BDPT_TAPE_COMPUTE);
  images[3 * 144] = 0;
  return s;
}
static bdpt_status forward_of(size_t channels, size_t height, size_t width, int ndim) {
  size_t shape[4];
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  shape[0] = 1; shape[1] = channels; shape[2] = height; shape[3] = width;
  CHECK(bdpt_forward(model, t, bdpt_input(t, ndim, shape, NULL, 0), NULL, NULL) == NULL);
  bdpt_tape_free(t);
  return ctx.status;
}
static bdpt_status r_forward_grey(void) { return forward_of(1, 12, 12, 4); }
static bdpt_status r_forward_high(void) { return forward_of(3, 16, 12, 4); }
static bdpt_status r_forward_wide(void) { return forward_of(3, 12, 16, 4); }
static bdpt_status r_forward_flat(void) { return forward_of(3, 12, 12, 3); }

static bdpt_status backward_on(bdpt_tape_mode mode, int wants, int none) {
  const size_t one = 1;
  bdpt_tape *t = bdpt_tape_create(&ctx, mode);
  bdpt_tensor *x = bdpt_input(t, 1, &one, NULL, wants);
  bdpt_status s = bdpt_backward(t, none ? NULL : bdpt_activate(t, x, BDPT_GELU), NULL);
  bdpt_tape_free(t);
  return s;
}
static bdpt_status r_backward_compute(void) { return backward_on(BDPT_TAPE_COMPUTE, 1, 0); }
static bdpt_status r_backward_unwanted(void) { return backward_on(BDPT_TAPE_RECORD, 0, 0); }
static bdpt_status r_backward_nothing(void) { return backward_on(BDPT_TAPE_RECORD, 1, 1); }

static bdpt_status input_of(int ndim) {
  const size_t shape[6] = {1, 1, 1, 1, 1, 1};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  CHECK(bdpt_input(t, ndim, shape, NULL, 0) == NULL);
  bdpt_tape_free(t);
  return ctx.status;
}
static bdpt_status r_input_none(void) { return input_of(0); }
static bdpt_status r_input_many(void) { return input_of(BDPT_MAX_DIMS + 1); }

static bdpt_status r_drop_rate(void) {
  const size_t shape[2] = {2, 2};
  bdpt_rng rng = {1};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  CHECK(bdpt_drop_path(t, bdpt_input(t, 2, shape, NULL, 1), 1, &rng) == NULL);
  bdpt_tape_free(t);
  return ctx.status;
}

/* ---- Data */

static unsigned char bytes[3 * 64];
static bdpt_status rgb_of(int height, int width) {
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real answers[64];
  bdpt_predict_rgb(model, t, bytes, height, width, answers);
  bdpt_tape_free(t);
  return ctx.status;
}
static bdpt_status r_resize_low(void) { return rgb_of(0, 8); }
static bdpt_status r_resize_narrow(void) { return rgb_of(8, -1); }
static bdpt_status r_resize_vast(void) { return rgb_of(1 << 20, 8); }
static bdpt_status r_judge_nothing(void) {
  bdpt_accuracy a;
  return bdpt_evaluate(model, NULL, &a);
}
static bdpt_status evaluate_with(bdpt_dataset *d) {
  bdpt_subset s = held;
  bdpt_accuracy a;
  s.data = d;
  return bdpt_evaluate(model, &s, &a);
}
static bdpt_status r_judge_blind(void) {
  bdpt_dataset d = data;
  d.pixels = NULL;
  return evaluate_with(&d);
}
static bdpt_status r_judge_classes(void) {
  bdpt_dataset d = data;
  d.classes = CLASSES + 1;
  return evaluate_with(&d);
}
static bdpt_status r_judge_count(void) {
  bdpt_dataset d = data;
  d.count = 3;
  return evaluate_with(&d);
}
static bdpt_status r_judge_grey(void) {
  bdpt_config c = small_config(0);
  bdpt_accuracy a;
  bdpt_model *m;
  bdpt_status s;
  c.channels = 1;
  m = bdpt_model_create(&ctx, &c, 1);
  s = bdpt_evaluate(m, &held, &a);
  bdpt_model_free(m);
  return s;
}
static bdpt_status batch_from(size_t first, size_t count) {
  static bdpt_real room[60 * 3 * 144];
  return bdpt_load_batch(&ctx, &model->config, &train, first, count, room, NULL);
}
static bdpt_status r_batch_behind(void) { return batch_from(51, 0); }
static bdpt_status r_batch_over(void) { return batch_from(49, 2); }

/* ---- The predictor and the method */

static const bdpt_map_point points[4] = {{1, 1, 80}, {0.5, 1, 70}, {1, 0.5, 75}, {0.5, 0.5, 60}};
static bdpt_status map_with(int degree, size_t count) {
  bdpt_map map;
  return bdpt_map_fit(&ctx, points, count, 1, degree, &map);
}
static bdpt_status r_map_negative(void) { return map_with(-1, 4); }
static bdpt_status r_map_high(void) { return map_with(5, 4); }
static bdpt_status r_map_few(void) { return map_with(0, 2); }
static bdpt_status map_point(double attention, double activation, double accuracy) {
  bdpt_map_point p[4];
  bdpt_map map;
  memcpy(p, points, sizeof p);
  p[2].attention = attention; p[2].activation = activation; p[2].accuracy = accuracy;
  return bdpt_map_fit(&ctx, p, 4, 1, 0, &map);
}
static bdpt_status r_point_low(void) { return map_point(-0.01, 1, 70); }
static bdpt_status r_point_high(void) { return map_point(1, 1.01, 70); }
static bdpt_status r_point_under(void) { return map_point(1, -0.01, 70); }
static bdpt_status r_point_over(void) { return map_point(1.01, 1, 70); }
static bdpt_status r_point_nan(void) { return map_point(1, 1, (double)NAN); }
static bdpt_status r_sets_differ(void) {
  bdpt_map_point p[8];
  bdpt_map map[2];
  memcpy(p, points, sizeof points); memcpy(p + 4, points, sizeof points);
  p[6].activation = 0.25;
  return bdpt_map_fit(&ctx, p, 4, 2, 0, map);
}
static bdpt_status split_of(int depth, int budget) {
  bdpt_map map;
  int a, g;
  double p;
  memset(&map, 0, sizeof map);
  return bdpt_map_split(&ctx, &map, depth, budget, &a, &g, &p);
}
static bdpt_status r_split_none(void) { return split_of(0, 0); }
static bdpt_status r_split_deep(void) { return split_of(BDPT_MAX_DEPTH + 1, 1); }
static bdpt_status r_split_negative(void) { return split_of(3, -1); }
static bdpt_status r_split_over(void) { return split_of(3, 7); }

static bdpt_status greedy_with(int layers, double budget) {
  bdpt_greedy_options o;
  static bdpt_greedy_result out;
  memset(&o, 0, sizeof o);
  o.layers = layers; o.budget = budget;
  return bdpt_greedy(model, &run, &o, &out);
}
static bdpt_status r_greedy_none(void) { return greedy_with(0, 0); }
static bdpt_status r_greedy_negative(void) { return greedy_with(-1, 1); }
static bdpt_status r_greedy_over(void) { return greedy_with(7, 0); }
static bdpt_status r_greedy_cost(void) { return greedy_with(1, -1); }

static bdpt_status recovery_with(int marks, int first, int second) {
  bdpt_recovery_options o;
  bdpt_recovery_row rows[6];
  memset(&o, 0, sizeof o);
  o.recipe = brief; o.marks = marks; o.mark[0] = first; o.mark[1] = second;
  return bdpt_recovery(model, &run, &o, rows);
}
static bdpt_status r_recovery_falls(void) { return recovery_with(2, 2, 1); }
static bdpt_status r_recovery_equal(void) { return recovery_with(2, 2, 2); }
static bdpt_status r_recovery_none(void) { return recovery_with(1, 0, 0); }
static bdpt_status r_recovery_many(void) { return recovery_with(BDPT_MAX_MARKS + 1, 1, 2); }
static bdpt_status r_recovery_negative(void) { return recovery_with(-1, 1, 2); }

static bdpt_status collect_with(int most, int rounds, int order, size_t room) {
  bdpt_map_collect_options o;
  static bdpt_map_point out[40];
  size_t count, i;
  memset(&o, 0, sizeof o);
  o.recipe = brief; o.most = most; o.rounds = rounds;
  o.use_order = order >= 0;
  for (i = 0; i < 6; i++) o.order[i % 2][i / 2] = (int)(i / 2);
  o.order[1][2] = order;
  return bdpt_map_collect(model, &run, &o, out, room, &count);
}
static bdpt_status r_collect_most(void) { return collect_with(4, 1, -1, 40); }
static bdpt_status r_collect_negative(void) { return collect_with(-1, 1, -1, 40); }
static bdpt_status r_collect_rounds(void) { return collect_with(1, 4, -1, 40); }
static bdpt_status r_collect_back(void) { return collect_with(1, -1, -1, 40); }
static bdpt_status r_collect_twice(void) { return collect_with(1, 1, 1, 40); }
static bdpt_status r_collect_unknown(void) { return collect_with(1, 1, 3, 40); }
static bdpt_status r_collect_room(void) { return collect_with(1, 1, -1, 1); }

static bdpt_status search_with(int attention, int activation, int stage) {
  bdpt_search_options o;
  static bdpt_search_result out;
  memset(&o, 0, sizeof o);
  o.recipe = brief; o.remove[0] = attention; o.remove[1] = activation; o.stage[0] = stage;
  return bdpt_search(model, &run, &o, &out);
}
static bdpt_status r_search_attention(void) { return search_with(4, 0, 1); }
static bdpt_status r_search_activation(void) { return search_with(0, 4, 1); }
static bdpt_status r_search_negative(void) { return search_with(-1, 1, 1); }
static bdpt_status r_search_less(void) { return search_with(1, -1, 1); }
static bdpt_status r_search_stage(void) { return search_with(1, 1, -1); }
static bdpt_status r_search_long(void) { return search_with(1, 1, 100001); }

/* ---- Training among processes that are not there */

static int no_reduce(void *user, void *values, size_t count, size_t size) {
  (void)user, (void)values, (void)count, (void)size;
  return 0;
}
static bdpt_status cluster_with(int rank, int batch, int reduce) {
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  r.batch = batch;
  memset(&ctx.cluster, 0, sizeof ctx.cluster);
  ctx.cluster.rank = rank; ctx.cluster.size = 2;
  ctx.cluster.reduce = reduce ? no_reduce : NULL;
  t = bdpt_trainer_create(model, NULL, &train, &r);
  CHECK(t == NULL);
  bdpt_trainer_free(t);
  memset(&ctx.cluster, 0, sizeof ctx.cluster);
  return ctx.status;
}
static bdpt_status r_rank_low(void) { return cluster_with(-1, 8, 1); }
static bdpt_status r_rank_high(void) { return cluster_with(2, 8, 1); }
static bdpt_status r_rank_batch(void) { return cluster_with(0, 10, 1); }
static bdpt_status r_rank_alone(void) { return cluster_with(0, 8, 0); }

typedef struct wrong_call {
  bdpt_status (*call)(void);
  bdpt_status status;
  const char *says;
} wrong_call;

static const wrong_call wrong[] = {
  {r_prune_low, BDPT_E_ARGUMENT, "prune"},
  {r_prune_high, BDPT_E_ARGUMENT, "prune"},
  {r_restore_high, BDPT_E_ARGUMENT, "restore"},
  {r_restore_kept, BDPT_E_STATE, "restore: the activation of block 0 is not removed"},
  {r_linear_low, BDPT_E_ARGUMENT, "prune linear"},
  {r_linear_1, BDPT_E_SHAPE, "fc2 [12,20] of block 0 need each other: without fc1 its fc2"},
  {r_linear_2, BDPT_E_SHAPE, "without fc2 the residual stream would get 20"},
  {r_fuse_high, BDPT_E_ARGUMENT, "fuse"},
  {r_fuse_kept, BDPT_E_SHAPE, "fuse: block 0 still has its GELU between fc1 [20,12]"},
  {r_remove_high, BDPT_E_ARGUMENT, "5"},
  {r_remove_fit_high, BDPT_E_ARGUMENT, "5"},
  {r_remove_blind, BDPT_E_ARGUMENT, "fit: no images"},
  {r_remove_mixed, BDPT_E_STATE, "are gone in another form"},
  {r_fit_few, BDPT_E_ARGUMENT, "fit"},
  {r_fit_removed, BDPT_E_STATE, "is already removed"},
  {r_cost_of_none, BDPT_E_SHAPE, "patch 5 does not divide"},
  {r_reshape_to_none, BDPT_E_SHAPE, "patch 5 does not divide"},
  {r_resize_model, BDPT_E_ARGUMENT, "image is"},
  {r_batch_of_none, BDPT_E_ARGUMENT, "empty"},
  {r_build_nameless, BDPT_E_ARGUMENT, "it has no name"},
  {r_build_axes, BDPT_E_ARGUMENT, "axes"},
  {r_predict_record, BDPT_E_ARGUMENT, "predict"},
  {r_predict_nan, BDPT_E_NUMERIC, "image 1"},
  {r_forward_grey, BDPT_E_SHAPE, "images[1,1,12,12], but the model wants [B,3,12,12]"},
  {r_forward_high, BDPT_E_SHAPE, "images[1,3,16,12], but the model wants"},
  {r_forward_wide, BDPT_E_SHAPE, "images[1,3,12,16], but the model wants"},
  {r_forward_flat, BDPT_E_SHAPE, "images[1,3,12], but the model wants"},
  {r_backward_compute, BDPT_E_STATE, "this tape does not record"},
  {r_backward_unwanted, BDPT_E_STATE, "wants a gradient"},
  {r_backward_nothing, BDPT_E_ARGUMENT, "no tensor to start from"},
  {r_input_none, BDPT_E_SHAPE, ""},
  {r_input_many, BDPT_E_SHAPE, ""},
  {r_drop_rate, BDPT_E_ARGUMENT, "drop path"},
  {r_resize_low, BDPT_E_ARGUMENT, "resize"},
  {r_resize_narrow, BDPT_E_ARGUMENT, "resize"},
  {r_resize_vast, BDPT_E_ARGUMENT, "resize"},
  {r_judge_nothing, BDPT_E_ARGUMENT, "no data set, or an empty one"},
  {r_judge_blind, BDPT_E_ARGUMENT, "neither pixels nor a fetch function"},
  {r_judge_classes, BDPT_E_SHAPE, "the data set has 6 classes, the network's head has 5"},
  {r_judge_count, BDPT_E_ARGUMENT, "3"},
  {r_judge_grey, BDPT_E_SHAPE, "the network reads 1"},
  {r_batch_behind, BDPT_E_ARGUMENT, "51"},
  {r_batch_over, BDPT_E_ARGUMENT, "49"},
  {r_map_negative, BDPT_E_ARGUMENT, "degree -1"},
  {r_map_high, BDPT_E_ARGUMENT, "degree 5"},
  {r_map_few, BDPT_E_ARGUMENT, "2 points"},
  {r_point_low, BDPT_E_ARGUMENT, "point 2"},
  {r_point_high, BDPT_E_ARGUMENT, "point 2"},
  {r_point_under, BDPT_E_ARGUMENT, "point 2"},
  {r_point_over, BDPT_E_ARGUMENT, "point 2"},
  {r_point_nan, BDPT_E_NUMERIC, "point 2"},
  {r_sets_differ, BDPT_E_ARGUMENT, "point"},
  {r_split_none, BDPT_E_ARGUMENT, "0 blocks"},
  {r_split_deep, BDPT_E_ARGUMENT, "65 blocks"},
  {r_split_negative, BDPT_E_ARGUMENT, "cannot remove -1 layers"},
  {r_split_over, BDPT_E_ARGUMENT, "cannot remove 7 layers of the 6 that 3 blocks have"},
  {r_greedy_none, BDPT_E_ARGUMENT, "greedy: 0 layers and a cost of 0"},
  {r_greedy_negative, BDPT_E_ARGUMENT, "greedy: -1 layers"},
  {r_greedy_over, BDPT_E_ARGUMENT, "greedy: 7 layers"},
  {r_greedy_cost, BDPT_E_ARGUMENT, "a cost of -1"},
  {r_recovery_falls, BDPT_E_ARGUMENT, "marks must be 1 to"},
  {r_recovery_equal, BDPT_E_ARGUMENT, "marks must be 1 to"},
  {r_recovery_none, BDPT_E_ARGUMENT, "marks must be 1 to"},
  {r_recovery_many, BDPT_E_ARGUMENT, "marks must be 1 to"},
  {r_recovery_negative, BDPT_E_ARGUMENT, "marks must be 1 to"},
  {r_collect_most, BDPT_E_ARGUMENT, "map"},
  {r_collect_negative, BDPT_E_ARGUMENT, "map"},
  {r_collect_rounds, BDPT_E_ARGUMENT, "map"},
  {r_collect_back, BDPT_E_ARGUMENT, "map"},
  {r_collect_twice, BDPT_E_ARGUMENT, "map"},
  {r_collect_unknown, BDPT_E_ARGUMENT, "map"},
  {r_collect_room, BDPT_E_ARGUMENT, "map"},
  {r_search_attention, BDPT_E_ARGUMENT, "search: attention: 4 to remove, 3 allowed"},
  {r_search_activation, BDPT_E_ARGUMENT, "activations: 4 to remove, 3 allowed"},
  {r_search_negative, BDPT_E_ARGUMENT, "search: attention: -1"},
  {r_search_less, BDPT_E_ARGUMENT, "activations: -1"},
  {r_search_stage, BDPT_E_ARGUMENT, "1 epoch to 100000"},
  {r_search_long, BDPT_E_ARGUMENT, "1 epoch to 100000"},
  {r_rank_low, BDPT_E_ARGUMENT, "process -1 of 2"},
  {r_rank_high, BDPT_E_ARGUMENT, "process 2 of 2"},
  {r_rank_batch, BDPT_E_ARGUMENT, "a batch of 10"},
  {r_rank_alone, BDPT_E_ARGUMENT, "reduce is missing"},
};

TEST(calls) {
  char before[17], after[17];
  size_t i;
  for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    bdpt_status s;
    model = small_model(0, 7);
    bdpt_model_hash(model, before);
    s = wrong[i].call();
    if (!CHECK(s == wrong[i].status && s == ctx.status && ctx.message[0])) {
      printf("  row %d: status %d, the context's %d: %s\n", (int)i, (int)s, (int)ctx.status,
             ctx.message);
    }
    CHECK(says(wrong[i].says));
    if (wrong[i].call != r_remove_mixed && wrong[i].call != r_fit_removed) { /* half is right */
      bdpt_model_hash(model, after);
      CHECK(strcmp(before, after) == 0);
    }
    bdpt_model_free(model);
  }
}

/* A teacher must read the student's images and know its classes; for features it must have the
 * student's build. */
TEST(teachers) {
  bdpt_config c;
  int k;
  model = small_model(0, 7);
  for (k = 0; k < 9; k++) {
    bdpt_recipe r = plain_recipe();
    bdpt_model *teacher;
    c = small_config(k == 8);
    r.distill = BDPT_DISTILL_SOFT;
    if (k > 4) r.distill_features = 1;
    if (k == 0) c.image = 16;
    if (k == 1) c.channels = 1;
    if (k == 2) c.classes = CLASSES + 1;
    if (k == 3 || k == 4) c.std[0] = c.std[1] = c.std[2] = 0.5;
    if (k == 3) c.mean[1] = 0.25;
    if (k == 5) c.width = 16;
    if (k == 6) c.depth = 2;
    if (k == 7) c.patch = 6;
    teacher = bdpt_model_create(&ctx, &c, 1);
    CHECK(bdpt_trainer_create(model, teacher, &train, &r) == NULL && ctx.status == BDPT_E_SHAPE);
    CHECK(says("train: the teacher takes"));
    bdpt_model_free(teacher);
  }
  bdpt_model_free(model);
}

/* Stage 2 asks a teacher unless it is told not to. */
TEST(no_distillation) {
  static const int wanted[3] = {BDPT_DISTILL_SOFT, BDPT_NONE, BDPT_DISTILL_NONE};
  bdpt_model *teacher = small_model(0, 9), *m;
  bdpt_recipe r;
  bdpt_stage2_result out;
  double loss[3];
  int k;
  for (k = 0; k < 3; k++) { /* without one, with one and BDPT_NONE, with one */
    memset(&r, 0, sizeof r);
    r.epochs = 1; r.batch = 10; r.lr = 1e-2; r.distill = wanted[k];
    m = small_model(0, 7);
    CHECK(bdpt_stage2(m, k ? teacher : NULL, &run, &r, NULL, &out) == BDPT_OK);
    loss[k] = out.recovered.loss;
    bdpt_model_free(m);
  }
  CHECK(loss[0] == loss[1] && loss[0] != loss[2]);
  bdpt_model_free(teacher);
}

/* What looks like too little is enough. */
TEST(at_the_edge) {
  bdpt_greedy_options o;
  static bdpt_greedy_result out;
  bdpt_map map;
  int l, a = -1, g = -1;
  memset(&o, 0, sizeof o);
  model = small_model(0, 7);
  for (l = 0; l < 3; l++) {
    CHECK(bdpt_prune(model, BDPT_ATTENTION, l) == BDPT_OK);
    CHECK(bdpt_prune(model, BDPT_ACTIVATION, l) == BDPT_OK);
  }
  o.start = BDPT_START_PAPER; o.budget = 1e12; /* no layer is left, and none has to go */
  CHECK(bdpt_greedy(model, &run, &o, &out) == BDPT_OK && out.removed == 0);
  bdpt_model_free(model);
  CHECK(bdpt_map_fit(&ctx, points, 3, 1, 1, &map) == BDPT_OK && map.degree == 1);
  CHECK(bdpt_map_split(&ctx, &map, 3, 0, &a, &g, NULL) == BDPT_OK && a == 0 && g == 0);
  CHECK(bdpt_map_split(&ctx, &map, 3, 6, &a, &g, NULL) == BDPT_OK && a == 3 && g == 3);
  CHECK(bdpt_map_split(&ctx, &map, BDPT_MAX_DEPTH, 1, &a, &g, NULL) == BDPT_OK);
}

int main(void) {
  world_begin();
  run.train = &train; run.held = &held;
  RUN(configurations);
  RUN(calls);
  RUN(at_the_edge);
  RUN(no_distillation);
  RUN(teachers);
  world_end();
  return TEST_END("refusals");
}
