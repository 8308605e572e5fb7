/* Dense prediction: bilinear resizing, the cross-entropy of pixels, the patches' features and a
 * whole decoder against PyTorch (tests/fixtures/segment) and central differences, and a trainer on
 * a loss of the caller's. What segment/ makes of them is tested in test_masks.c.
 *
 * Tolerances as in fixture.h and test_ops.c. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "networks.h"

static bdpt_context ctx;
static bdpt_tape *tape;

static bdpt_tensor *stream(const char *label, const char *what, int ndim, const size_t *shape,
                           double scale, int wants) {
  bdpt_tensor *x = bdpt_input(tape, ndim, shape, NULL, wants);
  char name[120];
  size_t i;
  snprintf(name, sizeof name, "segment/%s%s", label, what);
  for (i = 0; x && i < x->count; i++) x->data[i] = (bdpt_real)fixture_value(name, i, scale, 0);
  return x;
}

/* Draws whole numbers below `classes`, and -1 for `ignored` of 8: as the script makes them. */
static int *labels_of(const char *label, size_t count, int classes, int ignored) {
  int *t = (int *)malloc((count + 1) * sizeof *t);
  char name[80], gone[80];
  size_t i;
  snprintf(name, sizeof name, "segment/%slabels", label);
  snprintf(gone, sizeof gone, "segment/%slabels/ignored", label);
  for (i = 0; i < count; i++) {
    t[i] = (int)floor((fixture_value(name, i, 1, 0) + 1) / 2 * classes);
    if (floor((fixture_value(gone, i, 1, 0) + 1) / 2 * 8) < ignored) t[i] = -1;
  }
  return t;
}

TEST(torch_upsample) {
  char label[40];
  int i;
  for (i = 0; i < 6; i++) {
    double *v;
    size_t shape[3], out[3];
    bdpt_tensor *x, *y, *dy;
    snprintf(label, sizeof label, "upsample.%d.", i);
    v = fixture_doubles(label, "size", NULL); /* B h w K H W */
    if (!CHECK(v != NULL)) return;
    bdpt_tape_reset(tape);
    shape[0] = out[0] = (size_t)v[0];
    shape[1] = (size_t)(v[1] * v[2]); out[1] = (size_t)(v[4] * v[5]);
    shape[2] = out[2] = (size_t)v[3];
    x = stream(label, "x", 3, shape, 1, 1);
    dy = stream(label, "dy", 3, out, 1, 0);
    y = bdpt_upsample(tape, x, (size_t)v[1], (size_t)v[4], (size_t)v[5]);
    if (!CHECK(y && dy && y->count == dy->count)) continue;
    fixture_check(y->data, y->count, label, "y");
    CHECK(bdpt_backward(tape, y, dy->data) == BDPT_OK);
    fixture_check(x->grad, x->count, label, "dx");
    free(v);
  }
}

TEST(torch_pixel_loss) {
  char label[40];
  int i;
  for (i = 0; i < 4; i++) {
    size_t shape[2];
    int *t;
    double *v;
    bdpt_tensor *x, *y;
    snprintf(label, sizeof label, "pixel_loss.%d.", i);
    v = fixture_doubles(label, "shape", NULL);
    if (!CHECK(v != NULL)) return;
    bdpt_tape_reset(tape);
    shape[0] = (size_t)v[0]; shape[1] = (size_t)v[1];
    t = labels_of(label, shape[0], (int)v[1], (int)v[2]);
    x = stream(label, "x", 2, shape, 4, 1);
    y = bdpt_pixel_loss(tape, x, t, -1);
    if (CHECK(y && y->count == 1) && CHECK(bdpt_backward(tape, y, NULL) == BDPT_OK)) {
      fixture_check(y->data, 1, label, "y");
      fixture_check(x->grad, x->count, label, "dx");
    }
    free(t);
    free(v);
  }
}

/* ---- A whole network, patches to pixels ------------------------------------------------------ */

static bdpt_model *mask_model(int distilled) {
  const bdpt_config c = small_config(distilled);
  return small_model(&ctx, &c);
}

static bdpt_tensor *decode(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x) {
  x = bdpt_linear(t, x, &m->param[BDPT_SLOT_HEAD_W], &m->param[BDPT_SLOT_HEAD_B], NULL);
  return bdpt_upsample(t, x, 7, 28, 28);
}

TEST(torch_whole_network) {
  static const char *const grads[] = {"head.weight", "norm.weight", "blocks.1.attn.qkv.bias",
                                      "blocks.3.mlp.fc1.bias", "cls_token", "pos_embed"};
  const size_t shape[4] = {2, 3, 28, 28};
  int distilled, i, g;
  for (distilled = 0; distilled < 2; distilled++) {
    bdpt_model *m = mask_model(distilled);
    bdpt_tensor *x, *loss;
    char label[40], name[80];
    int *t;
    snprintf(label, sizeof label, "whole.%d.", distilled);
    t = labels_of(label, 2 * 28 * 28, 5, 2);
    if (!CHECK(m && bdpt_model_train_mode(m) == BDPT_OK)) return;
    bdpt_tape_reset(tape);
    x = bdpt_features(m, tape, stream(label, "images", 4, shape, 2, 0), NULL);
    if (!CHECK(x && x->shape[1] == 49 && x->shape[2] == 24)) return;
    fixture_check(x->data, 49 * 24, label, "features");
    loss = bdpt_pixel_loss(tape, decode(m, tape, x), t, -1);
    bdpt_model_zero_grad(m);
    CHECK(loss && bdpt_backward(tape, loss, NULL) == BDPT_OK);
    fixture_check(loss->data, 1, label, "loss");
    for (i = 0; i < m->slots; i++) {
      for (g = 0; g < 6; g++) {
        if (strcmp(m->name[i], grads[g]) != 0) continue;
        snprintf(name, sizeof name, "grad.%s", grads[g]);
        fixture_check(m->param[i].grad, m->param[i].count, label, name);
      }
    }
    bdpt_model_free(m);
    free(t);
  }
}

/* ---- Central differences --------------------------------------------------------------------- */

typedef struct recipe { size_t h, H, W; int kind; } recipe; /* kind: which operation */
static const int some_labels[6] = {2, -7, 0, 1, -7, 2};

static bdpt_tensor *build(bdpt_tape *t, bdpt_tensor *const *x, void *user) {
  const recipe *r = (const recipe *)user;
  bdpt_tensor *y = NULL;
  if (r->kind == 0) y = bdpt_upsample(t, x[0], r->h, r->H, r->W);
  if (r->kind == 1) y = bdpt_pixel_loss(t, x[0], some_labels, -7);
  if (r->kind == 2) y = bdpt_tail(t, x[0], r->h);
  if (r->kind == 1) return y; /* else it is used twice */
  return bdpt_add(t, bdpt_scale(t, y, 0.5), bdpt_activate(t, y, BDPT_GELU));
}

static void difference(int kind, size_t b, size_t n, size_t k, size_t h, size_t H, size_t W) {
  recipe r = {h, H, W, 0};
  bdpt_tensor x, *list[1];
  bdpt_rng rng;
  double error = 1;
  size_t i;
  r.kind = kind;
  memset(&x, 0, sizeof x);
  x.ndim = 3; x.shape[0] = b; x.shape[1] = n; x.shape[2] = k; x.count = b * n * k;
  x.data = (bdpt_real *)malloc(x.count * sizeof *x.data);
  bdpt_rng_seed(&rng, n, 3);
  for (i = 0; i < x.count; i++) x.data[i] = (bdpt_real)bdpt_normal(&rng);
  list[0] = &x;
  CHECK(bdpt_gradcheck(&ctx, build, &r, list, 1, &error) == BDPT_OK);
  if (!CHECK(sizeof(bdpt_real) != 8 || error < 1e-7)) printf("  kind %d error %g\n", kind, error);
  free(x.data);
}

TEST(gradients) {
  difference(0, 1, 1, 2, 1, 3, 4);
  difference(0, 2, 6, 3, 2, 5, 7);
  difference(0, 2, 12, 2, 4, 3, 2); /* smaller: pixels are skipped */
  difference(0, 1, 9, 1, 3, 3, 3);
  difference(1, 2, 3, 3, 0, 0, 0);
  difference(1, 1, 6, 4, 0, 0, 0);
  difference(2, 2, 5, 3, 0, 0, 0);
  difference(2, 3, 5, 2, 2, 0, 0);
  difference(2, 1, 4, 1, 3, 0, 0);
}

/* ---- Threads, refusals ----------------------------------------------------------------------- */

TEST(threads_change_no_bit) {
  enum { B = 5, H = 96, K = 9 };
  static int label[B * H * H];
  static bdpt_real first[B * H * H * K];
  const size_t shape[3] = {B, 144, K};
  bdpt_real one = 1, dx[B * 144 * K], loss = 0;
  int threads = ctx.threads;
  size_t i;
  for (i = 0; i < B * H * H; i++) label[i] = (int)(i * 7 % 11) - 1; /* -1, and 9: ignored */
  for (i = 0; i < B * H * H; i++) if (label[i] == 9) label[i] = -1;
  for (ctx.threads = 1; ctx.threads < 5; ctx.threads++) {
    bdpt_tensor *x, *y, *z;
    bdpt_tape_reset(tape);
    x = stream("threads.", "x", 3, shape, 1, 1);
    y = bdpt_upsample(tape, x, 12, H, H);
    z = bdpt_pixel_loss(tape, y, label, -1);
    if (!CHECK(z && bdpt_backward(tape, z, &one) == BDPT_OK)) break;
    if (ctx.threads == 1) {
      memcpy(first, y->data, sizeof first);
      memcpy(dx, x->grad, sizeof dx);
      loss = z->data[0];
    }
    CHECK(memcmp(first, y->data, sizeof first) == 0 && memcmp(dx, x->grad, sizeof dx) == 0);
    CHECK(loss == z->data[0]);
  }
  ctx.threads = threads;
}

static void refused(const bdpt_tensor *y, bdpt_status status, const char *part) {
  CHECK(y == NULL && ctx.status == status);
  if (!test_check(strstr(ctx.message, part) != NULL, part, __FILE__, __LINE__)) {
    printf("  text: %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
}

TEST(refusals_and_edges) {
  const size_t three[3] = {2, 6, 3}, four[4] = {1, 3, 28, 28};
  const int good[12] = {0, 1, 2, 0, 1, 2, 9, 9, 9, 9, 9, 9};
  const int three_in_it[12] = {0, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
  const int none[12] = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
  bdpt_merging merging = {0, NULL, NULL, 0, NULL, NULL, 0, 0};
  bdpt_model *m = mask_model(1);
  bdpt_tensor *x, *y;
  bdpt_tape_reset(tape);
  x = stream("edges.", "x", 3, three, 1, 1);
  refused(bdpt_upsample(tape, x, 4, 8, 8), BDPT_E_SHAPE, "x[2,6,3] is no grid of height 4");
  refused(bdpt_upsample(tape, x, 0, 8, 8), BDPT_E_SHAPE, "height 0 ");
  refused(bdpt_upsample(tape, x, 2, 0, 8), BDPT_E_SHAPE, "0 x 8");
  refused(bdpt_tail(tape, x, 6), BDPT_E_SHAPE, "x[2,6,3] has no token 6");
  refused(bdpt_pixel_loss(tape, x, good, 8), BDPT_E_ARGUMENT, "label 9 of row 6 is not below 3");
  refused(bdpt_pixel_loss(tape, x, good, 0), BDPT_E_ARGUMENT, "label 9");
  refused(bdpt_pixel_loss(tape, x, three_in_it, 9), BDPT_E_ARGUMENT, "label 3 of row 1");
  CHECK(bdpt_upsample(tape, NULL, 1, 1, 1) == NULL && bdpt_pixel_loss(tape, NULL, good, 0) == NULL);
  CHECK(bdpt_tail(tape, NULL, 0) == NULL && ctx.status == BDPT_OK);
  y = bdpt_pixel_loss(tape, x, none, 9); /* nothing is left: no loss and no gradient */
  CHECK(y && y->data[0] == 0 && bdpt_backward(tape, y, NULL) == BDPT_OK);
  CHECK(x->grad && x->grad[0] == 0 && x->grad[35] == 0);
  CHECK(bdpt_merge(m, 2, &merging) == BDPT_OK);
  bdpt_tape_free(tape);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE); /* evaluation: merging is allowed else */
  x = stream("edges.", "i", 4, four, 1, 0);
  refused(bdpt_features(m, tape, x, NULL), BDPT_E_STATE, "left 41 of 51 tokens");
  CHECK(bdpt_forward(m, tape, x, NULL, NULL) != NULL);
  bdpt_model_free(m);
  bdpt_merging_free(&merging);
}

/* ---- A trainer on a loss of the caller's ---------------------------------------------------- */

static int fetch_never(void *user, size_t index, unsigned char *planes) {
  (void)user, (void)index, (void)planes;
  return 1;
}

typedef struct lesson_state { int *label; size_t calls; uint64_t seed[20]; int fail; } lesson_state;

static bdpt_tensor *lesson(bdpt_model *m, bdpt_tape *t, const bdpt_forward_options *o, size_t step,
                           void *user) {
  lesson_state *s = (lesson_state *)user;
  const size_t shape[4] = {2, 3, 28, 28};
  bdpt_tensor *x;
  size_t i;
  if (s->fail) return NULL;
  CHECK(o->training == 1 && o->drop_path == (double)0.1);
  s->seed[step] = o->seed;
  s->calls++;
  x = bdpt_input(t, 4, shape, NULL, 0);
  for (i = 0; x && i < x->count; i++) x->data[i] = (bdpt_real)fixture_value("lesson", i, 1, 0);
  return bdpt_pixel_loss(t, decode(m, t, bdpt_features(m, t, x, o)), s->label, -1);
}

/* Ten steps lower the loss; a stop after four, saved and taken up again, gives the same bits. */
TEST(trainer_on_a_lesson) {
  static unsigned short zero[64];
  bdpt_dataset data = {64, 1, 28, 28, NULL, zero, fetch_never, NULL, NULL};
  bdpt_recipe r;
  bdpt_subset all;
  lesson_state s;
  char hash[2][17];
  double loss[10];
  int run, step;
  memset(&s, 0, sizeof s); memset(&r, 0, sizeof r);
  s.label = labels_of("whole.0.", 2 * 28 * 28, 5, 2);
  for (step = 0; step < 2 * 28 * 28; step++) { /* left and right: positions can tell them apart */
    if (s.label[step] >= 0) s.label[step] = step % 28 < 12;
  }
  r.batch = 2; r.epochs = 1; r.lr = 1e-2; r.drop_path = 0.1; r.seed = 5;
  CHECK(bdpt_subset_all(&ctx, &data, &all) == BDPT_OK);
  for (run = 0; run < 2; run++) {
    bdpt_model *m = mask_model(0);
    bdpt_trainer *t = bdpt_trainer_create(m, NULL, &all, &r), *second;
    bdpt_bytes bytes = {NULL, 0};
    size_t before = 0;
    for (step = 0; CHECK(t != NULL) && step < 10; step++) {
      if (run == 1 && step == 4) {
        CHECK(bdpt_trainer_build(t, &bytes) == BDPT_OK);
        bdpt_trainer_free(t);
        bdpt_model_free(m);
        m = mask_model(0);
        t = second = bdpt_trainer_create(m, NULL, &all, &r);
        CHECK(second && bdpt_trainer_parse(t, bytes.data, bytes.size, "memory") == BDPT_OK);
        bdpt_bytes_free(&ctx, &bytes);
      }
      CHECK(bdpt_trainer_step_on(t, lesson, &s, &loss[step]) == BDPT_OK);
      if (step == 1) before = ctx.bytes_peak = ctx.bytes_now;
    }
    if (run == 0) CHECK(ctx.bytes_peak == before); /* after the first steps nothing is allocated */
    CHECK(loss[9] < 0.8 * loss[0] && s.seed[0] != s.seed[1]);
    CHECK(bdpt_trainer_steps_done(t) == 10);
    bdpt_model_hash(m, hash[run]);
    s.fail = 1;
    CHECK(bdpt_trainer_step_on(t, lesson, &s, NULL) == BDPT_E_STATE);
    CHECK_HAS(ctx.message, "step 10: the lesson made no loss");
    bdpt_clear_error(&ctx);
    s.fail = 0;
    bdpt_trainer_free(t);
    bdpt_model_free(m);
  }
  CHECK(strcmp(hash[0], hash[1]) == 0);
  bdpt_subset_free(&ctx, &all);
  free(s.label);
}

int main(void) {
  if (bdpt_init(&ctx) != BDPT_OK || !(tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD))) return 1;
  if (fixture_open(&ctx, "tests/fixtures/segment.safetensors")) {
    RUN(torch_upsample);
    RUN(torch_pixel_loss);
    RUN(torch_whole_network);
    RUN(trainer_on_a_lesson);
    fixture_close();
  }
  RUN(gradients);
  RUN(threads_change_no_bit);
  RUN(refusals_and_edges);
  bdpt_tape_free(tape);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("segment");
}
