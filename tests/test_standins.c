/* What rivals of the study put in the place of layers (study/standins.c): a block that is a linear
 * map is found again, idle channels merge without a change, their gradients are differences. And
 * its readings of learned importance (study/gates.c): the first is the library's search, layers
 * that do nothing are found, and a search that is stopped ends like one that is not. And its ways
 * of removing (study/pieces.c): gates close from one network to the other, repairs come nearer. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "../examples/tool/study/gates.h"
#include "../examples/tool/study/pieces.h"
#include "../examples/tool/study/standins.h"
#include "test.h"

#include <math.h>
#include <string.h>

static bdpt_context ctx;
static bdpt_dataset data;
static bdpt_subset images;
enum { IMAGES = 64, SIDE = 16 };

static bdpt_model *small_network(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = SIDE;
  c.patch = 4;
  c.width = 16;
  c.depth = 3;
  c.heads = 2;
  c.classes = 5;
  return bdpt_model_create(&ctx, &c, 3);
}

/* Multiplies the weights, so that every block matters. */
static void louder(bdpt_model *m, double factor) {
  int i;
  size_t k;
  for (i = BDPT_SLOT(0, 0); i < m->slots; i++)
    for (k = 0; m->param[i].ndim == 2 && k < m->param[i].count; k++)
      m->param[i].data[k] *= (bdpt_real)factor;
}

static void logits_of(bdpt_model *m, bdpt_real *out) {
  static bdpt_real batch[IMAGES * 3 * SIDE * SIDE];
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  CHECK(bdpt_load_batch(&ctx, &m->config, &images, 0, IMAGES, batch, NULL) == BDPT_OK);
  CHECK(bdpt_predict(m, t, IMAGES, batch, out) == BDPT_OK);
  bdpt_tape_free(t);
}

static double distance(const bdpt_real *a, const bdpt_real *b) {
  double most = 0, size = 1e-9, d;
  int i;
  for (i = 0; i < IMAGES * 5; i++) { /* gcc 12 for aarch64 dies of fmax here */
    d = fabs((double)a[i] - (double)b[i]);
    if (d > most) most = d;
    if (fabs((double)a[i]) > size) size = fabs((double)a[i]);
  }
  return most / size;
}

/* Without an activation, and without attention's answer, block 1 is a map of LN2(x). */
TEST(a_linear_block_is_found_again) {
  bdpt_model *m = small_network();
  bdpt_real a[IMAGES * 5], b[IMAGES * 5];
  int which[BDPT_MAX_DEPTH] = {0, 1, 0};
  bdpt_tensor *proj = &m->param[BDPT_SLOT(1, BDPT_SLOT_PROJ_W)];
  louder(m, 10);
  memset(proj->data, 0, proj->count * sizeof *proj->data);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK);
  logits_of(m, a);
  CHECK(standin_blocks(m, which, &images) == BDPT_OK);
  CHECK(m->config.block[1].attention == BDPT_ATTENTION_REMOVED);
  CHECK(m->config.block[1].mlp_state == BDPT_MLP_FITTED);
  logits_of(m, b);
  CHECK(distance(a, b) < 0.02); /* the ridge takes a thousandth */
  CHECK(distance(a, b) > 0);
  bdpt_model_free(m);
}

/* The block whose map does no harm goes first. */
TEST(the_harmless_block_is_chosen) {
  bdpt_model *m = small_network();
  bdpt_tensor *proj = &m->param[BDPT_SLOT(1, BDPT_SLOT_PROJ_W)];
  int block[2];
  double loss[2];
  bdpt_accuracy whole;
  louder(m, 10);
  memset(proj->data, 0, proj->count * sizeof *proj->data);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK);
  CHECK(bdpt_evaluate(m, &images, &whole) == BDPT_OK);
  CHECK(standin_choose(m, 1, &images, &images, block, loss) == BDPT_OK);
  CHECK(fabs(loss[0] - whole.loss) < 0.05 * whole.loss);
  block[0] = -2;
  CHECK(standin_choose(m, 4, &images, &images, block, loss) == BDPT_E_ARGUMENT);
  CHECK(block[0] == -2);
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

TEST(idle_channels_merge_exactly) {
  bdpt_model *m = small_network(), *merged;
  bdpt_real whole[IMAGES * 5], none[IMAGES * 5], a[IMAGES * 5], b[IMAGES * 5];
  standin_idle idle;
  bdpt_cost_report cost, narrow;
  louder(m, 10);
  logits_of(m, whole);
  CHECK(standin_idle_open(m, 0, &images, &idle) == BDPT_OK);
  logits_of(m, none);
  CHECK(distance(whole, none) == 0); /* no channel is idle */
  m->block = NULL;
  standin_idle_close(&idle);
  CHECK(standin_idle_open(m, 0.75, &images, &idle) == BDPT_OK);
  logits_of(m, a);
  CHECK(distance(whole, a) > 1e-4);
  CHECK(bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK);
  standin_cost(m, &cost);
  merged = standin_idle_merge(m, &idle);
  if (CHECK(merged != NULL)) {
    logits_of(merged, b);
    CHECK(distance(a, b) < 2e-5);
    CHECK(bdpt_cost(&ctx, &merged->config, &narrow) == BDPT_OK);
    standin_cost(merged, &narrow);
    CHECK(narrow.macs == cost.macs && narrow.params == cost.params);
  }
  bdpt_model_free(merged);
  bdpt_model_free(m);
  standin_idle_close(&idle);
}

/* Computes the loss of one batch, and the gradient of one weight of block 1. */
static double loss_of(bdpt_model *m, bdpt_real *gradient) {
  static bdpt_real batch[IMAGES * 3 * SIDE * SIDE], targets[IMAGES * 5];
  const size_t shape[4] = {IMAGES, 3, SIDE, SIDE};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tensor *loss;
  double value;
  int i;
  for (i = 0; i < IMAGES; i++) targets[5 * i + i % 5] = 1;
  CHECK(bdpt_load_batch(&ctx, &m->config, &images, 0, IMAGES, batch, NULL) == BDPT_OK);
  bdpt_model_zero_grad(m);
  loss = bdpt_forward(m, t, bdpt_input(t, 4, shape, batch, 0), NULL, NULL);
  loss = bdpt_cross_entropy(t, loss, targets);
  CHECK(loss && bdpt_backward(t, loss, NULL) == BDPT_OK);
  value = (double)loss->data[0];
  *gradient = m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_W)].grad[7];
  bdpt_tape_free(t);
  return value;
}

TEST(idle_channels_have_gradients) {
  bdpt_model *m = small_network();
  bdpt_real *w = &m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_W)].data[7], gradient, unused, before;
  standin_idle idle;
  double up, down, step = 0.02;
  int channel;
  louder(m, 10);
  CHECK(standin_idle_open(m, 0.5, &images, &idle) == BDPT_OK);
  CHECK(bdpt_model_train_mode(m) == BDPT_OK);
  for (channel = 0; channel < 2; channel++) { /* weight 7 belongs to channel 0: idle, then not */
    idle.idle[1][0] = (unsigned char)channel;
    loss_of(m, &gradient);
    before = *w;
    *w = before + (bdpt_real)step;
    up = loss_of(m, &unused);
    *w = before - (bdpt_real)step;
    down = loss_of(m, &unused);
    *w = before;
    CHECK(fabs((up - down) / (2 * step) - (double)gradient) <
          0.02 * fabs((double)gradient) + 2e-5);
    CHECK(gradient != 0);
  }
  bdpt_model_free(m);
  standin_idle_close(&idle);
}

/* Returns the options of four stages of one epoch, four steps each. */
static gate_options four_layers(int rule) {
  gate_options o;
  memset(&o, 0, sizeof o);
  o.recipe.epochs = 1;
  o.recipe.batch = 16;
  o.recipe.lr = 1e-3;
  o.recipe.seed = 7;
  o.remove[0] = o.remove[1] = 2;
  o.stage = 1;
  o.rule = rule;
  return o;
}

TEST(the_first_reading_is_the_search) {
  bdpt_model *m = small_network(), *searched = small_network();
  const bdpt_run run = {&images, &images, NULL};
  const gate_options o = four_layers(GATE_ADAM);
  bdpt_search_options s;
  bdpt_search_result wanted;
  gate_result found;
  int i;
  louder(m, 10);
  louder(searched, 10);
  memset(&s, 0, sizeof s);
  s.recipe = o.recipe;
  for (i = 0; i < 4; i++) s.stage[i] = 1;
  s.remove[0] = s.remove[1] = 2;
  s.start = BDPT_START_PAPER;
  CHECK(bdpt_search(searched, &run, &s, &wanted) == BDPT_OK);
  CHECK(gate_search(m, NULL, &run, &o, &found) == BDPT_OK);
  CHECK(found.removed == 4 && found.trained == 256);
  for (i = 0; i < 4; i++) {
    CHECK(found.layer[i].type == wanted.layer[i].type);
    CHECK(found.layer[i].block == wanted.layer[i].block);
    CHECK(found.score[i] == wanted.importance[found.layer[i].type][found.layer[i].block]);
  }
  CHECK(bdpt_removed(&m->config, BDPT_ATTENTION) == 0); /* a copy was searched */
  bdpt_model_free(searched);
  bdpt_model_free(m);
}

/* The scores of the first two removals are those that the gradients of a trainer's steps give. */
TEST(rules_are_what_they_say) {
  const bdpt_run run = {&images, NULL, NULL};
  int rule, step, l, k;
  for (rule = GATE_MEAN; rule <= GATE_SQUARE; rule++) {
    bdpt_model *m = small_network();
    gate_options o = four_layers(rule);
    bdpt_recipe r = o.recipe;
    bdpt_trainer *t;
    gate_result found;
    double sum[2][3] = {{0, 0, 0}, {0, 0, 0}}; /* [type][block] */
    o.remove[0] = o.remove[1] = 1;
    louder(m, 10);
    CHECK(gate_search(m, NULL, &run, &o, &found) == BDPT_OK);
    r.importance = 1;
    r.epochs = 2;
    r.restart[r.restarts++] = 1;
    bdpt_recipe_resolve(&r);
    t = bdpt_trainer_create(m, NULL, &images, &r);
    for (step = 0; step < 8; step++) {
      const double lr = bdpt_schedule(&r, step / 4.0);
      if (step == 4) {
        CHECK(found.layer[0].type == BDPT_ACTIVATION);
        CHECK(fabs(sum[1][found.layer[0].block] - found.score[0]) < 1e-6);
        for (l = 0; l < 3; l++) CHECK(sum[1][l] >= sum[1][found.layer[0].block] - 1e-6);
        CHECK(bdpt_prune(m, BDPT_ACTIVATION, found.layer[0].block) == BDPT_OK);
        if (rule != GATE_DESCENT) memset(sum, 0, sizeof sum);
      }
      CHECK(bdpt_trainer_step(t, NULL) == BDPT_OK);
      for (k = 0; k < 6; k++) {
        const double g = (double)*m->importance[k % 2][k / 2].grad;
        if (rule == GATE_MEAN) sum[k % 2][k / 2] -= g / 4;
        if (rule == GATE_SQUARE) sum[k % 2][k / 2] += g * g / 4;
        if (rule == GATE_DESCENT) sum[k % 2][k / 2] -= lr * g;
      }
    }
    CHECK(fabs(sum[0][found.layer[1].block] - found.score[1]) < 1e-6);
    for (l = 0; l < 3; l++) CHECK(sum[0][l] >= sum[0][found.layer[1].block] - 1e-6);
    bdpt_trainer_free(t);
    bdpt_model_free(m);
  }
}

/* Makes a network with an attention that adds nothing, and an activation that sees positive numbers
 * only. */
static bdpt_model *half_idle_network(void) {
  bdpt_model *m = small_network();
  bdpt_tensor *proj = &m->param[BDPT_SLOT(1, BDPT_SLOT_PROJ_W)];
  bdpt_tensor *bias = &m->param[BDPT_SLOT(2, BDPT_SLOT_FC1_B)];
  size_t i;
  louder(m, 4);
  memset(proj->data, 0, proj->count * sizeof *proj->data);
  for (i = 0; i < bias->count; i++) bias->data[i] = 20;
  return m;
}

TEST(idle_layers_are_found) {
  bdpt_model *m = half_idle_network();
  const bdpt_run run = {&images, NULL, NULL};
  gate_options o = four_layers(GATE_SQUARE);
  double sign[BDPT_MAX_DEPTH];
  gate_result found;
  o.recipe.lr = 1e-6;
  o.fitted = 1;
  o.remove[0] = o.remove[1] = 1;
  CHECK(gate_search(m, NULL, &run, &o, &found) == BDPT_OK);
  CHECK(found.layer[0].type == BDPT_ACTIVATION && found.layer[0].block == 2);
  CHECK(found.layer[1].type == BDPT_ATTENTION && found.layer[1].block == 1);
  CHECK(found.looked > 0);
  CHECK(gate_signs(m, &images, sign) == BDPT_OK);
  CHECK(sign[2] == 0 && sign[0] > 0.1 && sign[0] <= 1 && sign[1] > 0.1);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 0) == BDPT_OK);
  CHECK(gate_signs(m, &images, sign) == BDPT_OK && sign[0] == 2);
  bdpt_model_free(m);
}

/* A mask that is pulled moves, and one that is not stays. */
TEST(masks_move_with_their_pull) {
  bdpt_model *m = half_idle_network();
  const bdpt_run run = {&images, NULL, NULL};
  gate_options o = four_layers(GATE_ADAM);
  gate_result free, pulled;
  o.gate = 5;
  o.at_once = 1;
  CHECK(gate_search(m, NULL, &run, &o, &free) == BDPT_OK);
  o.pull[0] = o.pull[1] = 1000;
  CHECK(gate_search(m, NULL, &run, &o, &pulled) == BDPT_OK);
  CHECK(free.removed == 4 && pulled.removed == 4);
  CHECK(free.score[0] * o.gate < 1 + 16 * o.gate * o.recipe.lr); /* a step is at most gate lr */
  CHECK(pulled.score[0] < free.score[0]);
  /* against such a pull the loss weighs nothing: all go down together */
  CHECK(fabs(pulled.score[0] - pulled.score[1]) < 1e-5);
  bdpt_model_free(m);
}

/* Makes the network without attention 0 and activations 1 and 2. */
static bdpt_model *pruned_network(const bdpt_model *m) {
  bdpt_model *p = bdpt_model_clone(m);
  bdpt_layers gone = {{1, 6}};
  CHECK(bdpt_remove(p, &gone, BDPT_START_SKIP_FIT, &images, NULL) == BDPT_OK);
  return p;
}

TEST(a_gate_closes) {
  bdpt_model *m = small_network(), *p;
  bdpt_real whole[IMAGES * 5], pruned[IMAGES * 5], gated[IMAGES * 5];
  bdpt_recipe recipe = four_layers(0).recipe;
  piece_gate gate = {m, NULL, 4};
  bdpt_trainer *t;
  int i;
  louder(m, 10);
  p = pruned_network(m);
  logits_of(m, whole);
  logits_of(p, pruned);
  CHECK(distance(whole, pruned) > 1e-3);
  piece_close(p, &gate);
  logits_of(p, gated);
  CHECK(distance(whole, gated) < 1e-6); /* open */
  gate.end = 0;
  logits_of(p, gated);
  CHECK(distance(pruned, gated) == 0); /* closed */
  gate.end = 4;
  recipe.lr = 1e-7; /* only the gate moves */
  recipe.min_lr = 1e-7;
  t = bdpt_trainer_create(p, NULL, &images, &recipe);
  gate.trainer = t;
  for (i = 0; i < 4; i++) {
    double far[2];
    CHECK(bdpt_trainer_step(t, NULL) == BDPT_OK);
    logits_of(p, gated);
    far[0] = distance(whole, gated); far[1] = distance(pruned, gated);
    if (i < 3) CHECK(far[0] > 1e-4 && far[1] > 1e-4);
    else CHECK(far[1] < 1e-4 && far[0] > 1e-3);
  }
  bdpt_trainer_free(t);
  bdpt_model_free(p);
  bdpt_model_free(m);
}

TEST(repairs_come_nearer) {
  bdpt_model *m = small_network(), *p, *q;
  bdpt_layers last = {{0, 4}};
  bdpt_real whole[IMAGES * 5], before[IMAGES * 5], after[IMAGES * 5];
  louder(m, 10);
  p = pruned_network(m);
  logits_of(m, whole);
  logits_of(p, before);
  CHECK(piece_repair(p, m, &images) == BDPT_OK);
  logits_of(p, after);
  CHECK(distance(whole, after) < 0.7 * distance(whole, before));
  q = bdpt_model_clone(m);
  CHECK(piece_repair(q, m, &images) == BDPT_OK); /* nothing is missing */
  logits_of(q, after);
  CHECK(distance(whole, after) < 1e-5);
  /* in the last block nothing but the class token is read */
  bdpt_model_free(p);
  p = bdpt_model_clone(m);
  CHECK(piece_class_fit(p, &last, 1, &images) == BDPT_OK);
  CHECK(piece_class_fit(q, &last, 1000, &images) == BDPT_OK);
  CHECK(p->config.block[2].mlp_state == BDPT_MLP_FITTED);
  logits_of(p, before);
  logits_of(q, after);
  CHECK(distance(whole, after) < 0.7 * distance(whole, before));
  bdpt_model_free(q);
  bdpt_model_free(p);
  bdpt_model_free(m);
}

/* Held together behind every block the streams draw as recipe.distill_features does. */
TEST(streams_are_held_together) {
  bdpt_model *m = small_network(), *p[3];
  bdpt_recipe recipe = {0};
  bdpt_real out[3][IMAGES * 5];
  piece_twin twin;
  int i, k;
  louder(m, 10);
  recipe.lr = 0.03;
  recipe.adam_eps = 1; /* so a step is nearly as long as its gradient */
  recipe.batch = 16;
  recipe.distill = BDPT_DISTILL_SOFT;
  for (i = 0; i < 3; i++) { /* the core's, these, none */
    bdpt_trainer *t;
    p[i] = pruned_network(m);
    memset(&twin, 0, sizeof twin);
    twin.blocks = 7;
    twin.weight = 20;
    recipe.distill_features = i == 0 ? 20 : 0;
    if (i == 1) piece_twins(p[i], m, &twin);
    t = bdpt_trainer_create(p[i], m, &images, &recipe);
    for (k = 0; k < 4; k++) CHECK(bdpt_trainer_step(t, NULL) == BDPT_OK);
    bdpt_trainer_free(t);
    if (i == 1) piece_part(p[i], m, &twin);
    logits_of(p[i], out[i]);
    bdpt_model_free(p[i]);
  }
  CHECK(distance(out[0], out[2]) > 1e-2);
  CHECK(distance(out[0], out[1]) < 1e-4);
  bdpt_model_free(m);
}

static int steps_left;
static int stops(const bdpt_progress *now, void *user) {
  (void)now;
  (void)user;
  return steps_left-- == 0;
}

TEST(a_stopped_search_goes_on) {
  static const char *const file = "build/test_standins.ckpt";
  static const int at[3] = {2, 9, 1 << 30};
  bdpt_model *m = half_idle_network();
  bdpt_hooks hooks;
  bdpt_run run = {&images, NULL, NULL};
  int rule, i;
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = stops;
  hooks.checkpoint = file;
  for (rule = GATE_ADAM; rule <= GATE_SQUARE; rule++) {
    gate_options o = four_layers(rule);
    gate_result whole, pieces;
    o.fitted = rule % 2;
    o.gate = rule == GATE_ADAM ? 3 : 0;
    run.hooks = NULL;
    CHECK(gate_search(m, NULL, &run, &o, &whole) == BDPT_OK);
    run.hooks = &hooks;
    remove(file);
    for (i = 0; i < 3; i++) {
      steps_left = at[i];
      CHECK(gate_search(m, NULL, &run, &o, &pieces) == (i < 2 ? BDPT_CANCELLED : BDPT_OK));
      bdpt_clear_error(&ctx);
    }
    CHECK((1 << 30) - steps_left == 8); /* the last piece began behind the second removal */
    CHECK(memcmp(whole.layer, pieces.layer, sizeof whole.layer) == 0);
    CHECK(memcmp(whole.score, pieces.score, sizeof whole.score) == 0);
    CHECK(whole.trained == pieces.trained && whole.looked == pieces.looked);
  }
  CHECK(bdpt_file_write(&ctx, file, "nothing", 7) == BDPT_OK);
  {
    const gate_options o = four_layers(GATE_ADAM);
    gate_result found;
    CHECK(gate_search(m, NULL, &run, &o, &found) == BDPT_E_FORMAT);
    CHECK_HAS(ctx.message, "test_standins.ckpt: too short");
    bdpt_clear_error(&ctx);
  }
  remove(file);
  bdpt_model_free(m);
}

int main(void) {
  static unsigned char pixels[IMAGES * 3 * SIDE * SIDE];
  static unsigned short labels[IMAGES];
  size_t i;
  uint32_t state = 1;
  ctx.threads = 1;
  if (bdpt_init(&ctx) != BDPT_OK) return 1;
  for (i = 0; i < sizeof pixels; i++) {
    state = state * 1664525u + 1013904223u;
    pixels[i] = (unsigned char)(state >> 24);
  }
  for (i = 0; i < IMAGES; i++) labels[i] = (unsigned short)(i % 5);
  data.count = IMAGES;
  data.classes = 5;
  data.height = data.width = SIDE;
  data.pixels = pixels;
  data.label = labels;
  if (bdpt_subset_all(&ctx, &data, &images) != BDPT_OK) return 1;
  RUN(a_linear_block_is_found_again);
  RUN(the_harmless_block_is_chosen);
  RUN(idle_channels_merge_exactly);
  RUN(idle_channels_have_gradients);
  RUN(the_first_reading_is_the_search);
  RUN(rules_are_what_they_say);
  RUN(idle_layers_are_found);
  RUN(masks_move_with_their_pull);
  RUN(a_gate_closes);
  RUN(repairs_come_nearer);
  RUN(streams_are_held_together);
  RUN(a_stopped_search_goes_on);
  bdpt_subset_free(&ctx, &images);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("standins");
}
