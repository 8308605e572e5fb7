/* Training: schedule, optimiser, clipping and averaging against timm and PyTorch, mixing, accuracy,
 * one step against the same step built by hand, and what a long run promises: the same bits for any
 * number of threads and after any interruption, no allocation in the loop, no step on numbers that
 * are not finite.
 *
 * Bits are compared as the bytes of whole checkpoints: weights, moments, averages, counters. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "test.h"
#include "kernels.h"
#include "fixture.h"

static bdpt_context ctx;
static const char *const path = "test_train.tmp";

/* An allocator that counts, and refuses when told to. */
static long allocations, refuse_at = -1;
static void *count_alloc(void *user, size_t bytes) {
  (void)user;
  if (refuse_at >= 0 && allocations >= refuse_at) return NULL;
  allocations++;
  return malloc(bytes);
}
static void count_free(void *user, void *p, size_t bytes) {
  (void)user;
  (void)bytes;
  free(p);
}

/* Whether the recorded sentence contains `part`; forgets the error. */
static int says(const char *part) {
  int found = strstr(ctx.message, part) != NULL;
  if (!found) printf("  sentence: %s\n  wanted:   %s\n", ctx.message, part);
  bdpt_clear_error(&ctx);
  return found;
}

/* ---- A small world: 60 images of 8 x 8 in 5 classes, two networks ---------------------------- */

enum { IMAGES = 60, CLASSES = 5, SIDE = 8 };
static bdpt_dataset data;
static bdpt_subset train, held;

/* A class is a bright quarter or the whole; noise on top. Learnable in a few steps. */
static void world_make(void) {
  size_t i, k;
  memset(&data, 0, sizeof data);
  data.count = IMAGES;
  data.classes = CLASSES;
  data.height = data.width = SIDE;
  data.pixels = (unsigned char *)bdpti_alloc(&ctx, (size_t)IMAGES * 3 * SIDE * SIDE);
  data.label = (unsigned short *)bdpti_alloc(&ctx, IMAGES * sizeof *data.label);
  for (i = 0; i < IMAGES; i++) {
    data.label[i] = (unsigned short)(i % CLASSES);
    for (k = 0; k < 3 * SIDE * SIDE; k++) {
      size_t y = k / SIDE % SIDE, x = k % SIDE, quarter = (y >= SIDE / 2) * 2u + (x >= SIDE / 2);
      int bright = i % CLASSES == 4 || i % CLASSES == quarter;
      data.pixels[i * 3 * SIDE * SIDE + k] =
          (unsigned char)((bright ? 160 : 40) + (int)(fixture_bits("world", i * 192 + k) >> 58));
    }
  }
  CHECK(bdpt_split(&ctx, &data, 2, 1, &train, &held) == BDPT_OK);
  CHECK(train.count == 50 && held.count == 10);
}

static void world_free(void) {
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_dataset_free(&ctx, &data);
}

static bdpt_config small_config(int distilled) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 12;
  c.patch = 4;
  c.width = 12;
  c.depth = 3;
  c.heads = 2;
  c.mlp = 20;
  c.classes = CLASSES;
  c.distilled = distilled;
  return c;
}

static bdpt_model *small_model(int distilled, uint64_t seed) {
  bdpt_config c = small_config(distilled);
  bdpt_model *m = bdpt_model_create(&ctx, &c, seed);
  CHECK(m != NULL);
  return m;
}

/* Everything on. */
static bdpt_recipe full_recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 2;
  r.batch = 7;
  r.lr = 3e-3;
  r.warmup = 0.5;
  r.clip = 1;
  r.ema = 0.9;
  r.smoothing = 0.1;
  r.mixup = 0.8;
  r.cutmix = 1;
  r.crop = 1;
  r.flip = 1;
  r.erase = 0.25;
  r.repeats = 2;
  r.drop_path = 0.1;
  r.importance = 1;
  r.seed = 99;
  return r;
}

static bdpt_recipe plain_recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 2;
  r.batch = 10;
  r.lr = 1e-3;
  r.seed = 3;
  return r;
}

typedef struct blob { unsigned char *bytes; size_t size; } blob;

static blob freeze(bdpt_trainer *t) {
  blob b = {NULL, 0};
  CHECK(bdpt_trainer_build(t, &b.bytes, &b.size) == BDPT_OK);
  return b;
}
static int same(blob a, blob b) {
  return a.bytes && b.bytes && a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}
static void drop(blob *b) {
  bdpt_release(&ctx, b->bytes, b->size);
  b->bytes = NULL;
}

static int steps(bdpt_trainer *t, int n) {
  bdpt_status s = BDPT_OK;
  while (n-- > 0 && s == BDPT_OK) s = bdpt_trainer_step(t, NULL);
  return s == BDPT_OK;
}

/* ---- 9.7 ------------------------------------------------------------------------------------- */

static void against_timm(const char *name, double lr, int epochs, double warmup, double least) {
  bdpt_recipe r;
  size_t n = 0, i;
  double *want = fixture_doubles("cosine.", name, &n), worst = 0;
  memset(&r, 0, sizeof r);
  r.lr = lr;
  r.epochs = epochs;
  r.warmup = warmup;
  r.min_lr = least > 0 ? least : -1;
  bdpt_recipe_resolve(&r);
  for (i = 0; i < n; i++) {
    double off = fabs(bdpt_schedule(&r, (double)i) - want[i]);
    if (!(off <= worst)) worst = off;
  }
  CHECK(n > 10);
  CHECK_CLOSE(worst, 0, 1e-18);
  free(want);
}

TEST(schedule) {
  bdpt_recipe r;
  if (!fixture_open(&ctx, "tests/fixtures/schedule.safetensors")) return;
  against_timm("deit30", 5e-4, 30, 5, 1e-5);
  against_timm("paper400", 4e-4, 400, 10, 1e-5);
  against_timm("plain4", 1e-3, 4, 0, 0);
  bdpt_safetensors_close(&fixture_file);
  memset(&r, 0, sizeof r);
  r.epochs = 10;
  r.lr = 1;
  r.min_lr = 0.25;
  r.restarts = 2;
  r.restart[0] = 4;
  r.restart[1] = 6;
  bdpt_recipe_resolve(&r);
  CHECK_CLOSE(bdpt_schedule(&r, 0), 1, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 2), 0.625, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 3.999999), 0.25, 1e-9);
  CHECK_CLOSE(bdpt_schedule(&r, 4), 1, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 5), 0.625, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 6), 1, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 8), 0.625, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 10), 0.25, 1e-15);
  CHECK_CLOSE(bdpt_schedule(&r, 11), 0.25, 1e-15);
}

TEST(recipe_defaults) {
  bdpt_recipe r, twice;
  memset(&r, 0, sizeof r);
  bdpt_recipe_resolve(&r);
  CHECK(r.epochs == 1 && r.batch == 128 && r.lr == 5e-4 && r.min_lr == 5e-6);
  CHECK(r.weight_decay == 0.05 && r.beta1 == 0.9 && r.beta2 == 0.999 && r.adam_eps == 1e-8);
  CHECK(r.switch_prob == 0.5 && r.mix_prob == 1 && r.repeats == 1 && r.distill_alpha == 0.5);
  twice = r;
  bdpt_recipe_resolve(&twice);
  CHECK(memcmp(&r, &twice, sizeof r) == 0);
}

/* Where 0 asks for the default, BDPT_NONE asks for zero; resolving twice changes nothing. */
TEST(recipe_zeros) {
  bdpt_recipe r, twice;
  bdpt_model *m = small_model(0, 1), *before = bdpt_model_clone(m);
  bdpt_trainer *t;
  int i;
  memset(&r, 0, sizeof r);
  r.lr = r.min_lr = r.warmup_lr = r.weight_decay = r.mix_prob = BDPT_NONE;
  r.distill_alpha = r.switch_prob = r.clip = r.ema = BDPT_NONE;
  r.crop = r.flip = r.distill = BDPT_NONE;
  bdpt_recipe_resolve(&r);
  CHECK(r.lr == 0 && r.min_lr == 0 && r.warmup_lr == 0 && r.weight_decay == 0 && r.mix_prob == 0);
  CHECK(r.distill_alpha == 0 && r.switch_prob == 0 && r.clip == 0 && r.ema == 0);
  CHECK(r.crop == 0 && r.flip == 0 && r.distill == 0 && r.beta1 == 0.9 && r.batch == 128);
  twice = r;
  bdpt_recipe_resolve(&twice);
  CHECK(memcmp(&r, &twice, sizeof r) == 0);
  r.lr = 1;
  bdpt_recipe_resolve(&r);
  CHECK(r.lr == 1 && r.min_lr == 0);

  r = plain_recipe();
  r.lr = BDPT_NONE;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(t && steps(t, 2));
  for (i = 0; i < BDPT_SLOT(m->config.depth, 0); i++) {
    size_t bytes = m->param[i].count * sizeof(bdpt_real);
    CHECK(bytes == 0 || memcmp(m->param[i].data, before->param[i].data, bytes) == 0);
  }
  bdpt_trainer_free(t);
  bdpt_model_free(before);
  bdpt_model_free(m);
}

static void refused(bdpt_recipe r, const char *what) {
  bdpt_model *m = small_model(0, 1);
  CHECK(bdpt_trainer_create(m, NULL, &train, &r) == NULL);
  CHECK(ctx.status == BDPT_E_ARGUMENT);
  CHECK(says(what));
  bdpt_model_free(m);
}

TEST(recipe_refusals) {
  bdpt_recipe r = plain_recipe();
  double zero = 0;
  r.lr = zero / zero;
  refused(r, "recipe: lr is nan");
  r = plain_recipe();
  r.weight_decay = -2;
  refused(r, "recipe: weight_decay is -2, not between 0");
  r = plain_recipe();
  r.distill_tau = BDPT_NONE;
  r.distill = BDPT_DISTILL_SOFT;
  refused(r, "recipe: distill_tau is 0");
  r = plain_recipe();
  r.batch = -3;
  refused(r, "recipe: batch is -3");
  r = plain_recipe();
  r.smoothing = 1.5;
  refused(r, "recipe: smoothing is 1.5, not between 0 and 1");
  r = plain_recipe();
  r.beta2 = 1;
  refused(r, "recipe: beta2");
  r = plain_recipe();
  r.distill = BDPT_DISTILL_SOFT;
  refused(r, "the recipe distills without a teacher");
  r = plain_recipe();
  r.restarts = 2;
  r.restart[0] = 1.5;
  r.restart[1] = 1.5;
  refused(r, "recipe: restart 1 at epoch 1.5");
  r.restarts = 41;
  refused(r, "recipe: restarts is 41");
}

/* ---- 9.8 ------------------------------------------------------------------------------------- */

/* Seven steps through the optimiser's kernel with the recipe's own constants. */
static void seven_steps(const char *group, int decays) {
  char name[60];
  size_t n = 0, k;
  int s;
  double *lr = fixture_doubles("adamw.lr", "", NULL), *start, *grad, *wd, number[6];
  bdpt_real p[8], g[8], m[8], v[8];
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  memset(m, 0, sizeof m);
  memset(v, 0, sizeof v);
  bdpt_recipe_resolve(&r);
  wd = fixture_doubles("adamw.weight_decay", "", NULL);
  snprintf(name, sizeof name, "adamw.%s.", group);
  start = fixture_doubles(name, "start", &n);
  CHECK(fixture_number("adamw.eps", "") == r.adam_eps && n <= 8);
  for (k = 0; k < n; k++) p[k] = (bdpt_real)start[k];
  for (s = 0; s < 7; s++) {
    snprintf(name, sizeof name, "adamw.%s.grad.%d", group, s);
    grad = fixture_doubles(name, "", NULL);
    for (k = 0; k < n; k++) g[k] = (bdpt_real)grad[k];
    free(grad);
    number[0] = lr[s], number[1] = r.beta1, number[2] = r.beta2, number[3] = r.adam_eps;
    number[4] = decays ? wd[s] : 0.0, number[5] = s + 1;
    run_adamw(&ctx, n, number, p, g, m, v);
    snprintf(name, sizeof name, "adamw.%s.after.%d", group, s);
    fixture_check(p, n, name, "");
  }
  snprintf(name, sizeof name, "adamw.%s.", group);
  fixture_check(m, n, name, "m");
  fixture_check(v, n, name, "v");
  free(lr);
  free(wd);
  free(start);
}

TEST(optimiser_as_pytorch) {
  char name[40];
  int i, j;
  size_t k;
  if (!fixture_open(&ctx, "tests/fixtures/optim.safetensors")) return;
  seven_steps("decayed", 1);
  seven_steps("plain", 0);
  for (i = 0; i < 3; i++) {
    double sum = 0, limit, factor;
    bdpt_real g[3][12];
    size_t n[3];
    for (j = 0; j < 3; j++) {
      double *v;
      snprintf(name, sizeof name, "clip.%d.grad.%d", i, j);
      v = fixture_doubles(name, "", &n[j]);
      for (k = 0; k < n[j]; k++) g[j][k] = (bdpt_real)v[k];
      sum += bdpti_sum_squares(&ctx, n[j], g[j]);
      free(v);
    }
    snprintf(name, sizeof name, "clip.%d.", i);
    limit = fixture_number(name, "max_norm");
    CHECK_CLOSE(sqrt(sum), fixture_number(name, "norm"), FIXTURE_TOLERANCE * (1 + sqrt(sum)));
    factor = bdpti_clip_factor(sqrt(sum), limit);
    for (j = 0; j < 3; j++) {
      if (factor < 1) bdpti_axpby(&ctx, n[j], (bdpt_real)factor, g[j], 0, NULL, g[j]);
      snprintf(name, sizeof name, "clip.%d.clipped.%d", i, j);
      fixture_check(g[j], n[j], name, "");
    }
  }
  CHECK(bdpti_clip_factor(5, 0) == 1 && bdpti_clip_factor(5, 10) == 1);
  {
    double *start = fixture_doubles("ema.start", "", NULL), decay = fixture_number("ema.decay", "");
    bdpt_real average[6], w[6];
    for (k = 0; k < 6; k++) average[k] = (bdpt_real)start[k];
    for (i = 0; i < 5; i++) {
      double *v;
      snprintf(name, sizeof name, "ema.weight.%d", i);
      v = fixture_doubles(name, "", NULL);
      for (k = 0; k < 6; k++) w[k] = (bdpt_real)v[k];
      bdpti_axpby(&ctx, 6, (bdpt_real)decay, average, (bdpt_real)(1 - decay), w, average);
      snprintf(name, sizeof name, "ema.after.%d", i);
      fixture_check(average, 6, name, "");
      free(v);
    }
    free(start);
  }
  bdpt_safetensors_close(&fixture_file);
}

/* ---- 9.5 ------------------------------------------------------------------------------------- */

TEST(mixing_as_timm) {
  size_t n = 0, i, rows;
  double *box, *in, *want, worst = 0;
  bdpt_real images[4 * 90];
  bdpti_mixing m;
  int bad = 0;
  if (!fixture_open(&ctx, "tests/fixtures/schedule.safetensors")) return;
  box = fixture_doubles("cutmix.boxes", "", &n);
  rows = n / 15;
  CHECK(rows == 84);
  for (i = 0; i < rows; i++) {
    const double *b = box + 15 * i;
    memset(&m, 0, sizeof m);
    bdpti_cut_box((int)b[0], (int)b[1], b[2], (int)b[3], (int)b[4], &m);
    bad += m.y0 != b[5] || m.y1 != b[6] || m.x0 != b[7] || m.x1 != b[8];
    bad += fabs(m.lam - b[9]) > 1e-15;
  }
  CHECK(bad == 0);
  in = fixture_doubles("mix.input", "", &n);
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  memset(&m, 0, sizeof m);
  m.lam = fixture_number("mix.lam", "");
  bdpti_mix_images(&m, 2, 4, 6, 5, images);
  fixture_check(images, n, "mix.mixup", "");
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  want = fixture_doubles("mix.box", "", NULL);
  m.cut = 1;
  m.y0 = (int)want[0]; m.y1 = (int)want[1]; m.x0 = (int)want[2]; m.x1 = (int)want[3];
  free(want);
  bdpti_mix_images(&m, 2, 4, 6, 5, images);
  want = fixture_doubles("mix.cutmix", "", NULL);
  for (i = 0; i < n; i++) worst = fmax(worst, fabs((double)images[i] - want[i]));
  CHECK(worst == 0);
    /* Three images: the middle one stays. */
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  m.cut = 0;
  bdpti_mix_images(&m, 1, 3, 6, 5, images);
  CHECK((double)images[90] == in[90] && (double)images[179] == in[179]);
  CHECK_CLOSE(images[0], in[0] * m.lam + in[180] * (1 - m.lam), 1e-6);
  free(want);
  free(in);
  free(box);
  bdpt_safetensors_close(&fixture_file);
}

TEST(mixed_targets) {
  static const int labels[3] = {0, 2, 3};
  bdpt_real t[12];
  double sum = 0;
  int i;
  bdpti_mix_targets(labels, 3, 4, 0.75, 0.2, t);
  CHECK_CLOSE(t[0], 0.75 * 0.85 + 0.25 * 0.05, 1e-7); /* its own class */
  CHECK_CLOSE(t[3], 0.25 * 0.85 + 0.75 * 0.05, 1e-7); /* its partner's */
  CHECK_CLOSE(t[1], 0.05, 1e-7);
  CHECK_CLOSE(t[4 + 2], 0.85, 1e-7);                  /* the middle one is its own partner */
  CHECK_CLOSE(t[8 + 3], 0.75 * 0.85 + 0.25 * 0.05, 1e-7);
  for (i = 0; i < 12; i++) sum += (double)t[i];
  CHECK_CLOSE(sum, 3, 1e-6);
}

TEST(mixing_draws) {
  bdpt_recipe r = plain_recipe();
  int i, mixed = 0, cut = 0, n = 4000, odd = 0;
  double lam = 0, square = 0;
  bdpt_recipe_resolve(&r);
  for (i = 0; i < 10; i++) {
    bdpt_rng rng = bdpti_draws(1, BDPTI_DRAW_MIX, 0, (size_t)i);
    if (bdpti_mix_draw(&r, 12, &rng).lam != 1) odd++;
  }
  CHECK(odd == 0);
  r.mixup = 0.8;
  r.cutmix = 1;
  r.switch_prob = 0.25;
  r.mix_prob = 0.8;
  for (i = 0; i < n; i++) {
    bdpt_rng rng = bdpti_draws(1, BDPTI_DRAW_MIX, 0, (size_t)i);
    bdpti_mixing m = bdpti_mix_draw(&r, 12, &rng);
    if (m.lam == 1 && !m.cut) continue;
    mixed++;
    if (m.cut) {
      cut++;
      if (fabs(m.lam - (1 - (m.y1 - m.y0) * (m.x1 - m.x0) / 144.0)) > 1e-12) odd++;
    } else {
      lam += m.lam;
      square += m.lam * m.lam;
    }
  }
  CHECK(odd == 0);
  CHECK_CLOSE(mixed / (double)n, 0.8, 5 * sqrt(0.16 / n));
  CHECK_CLOSE(cut / (double)mixed, 0.25, 5 * sqrt(0.1875 / mixed));
    /* Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)). */
  lam /= mixed - cut;
  square = square / (mixed - cut) - lam * lam;
  CHECK_CLOSE(lam, 0.5, 5 * sqrt(0.0962 / (mixed - cut)));
  CHECK_CLOSE(square, 0.25 / 2.6, 0.01);
}

/* ---- 9.6 ------------------------------------------------------------------------------------- */

TEST(accuracy_by_hand) {
  static const bdpt_real z[8] = {1, 3, 2, 3, 0, -1, 5, 3}, flat[8] = {2, 2, 2, 2, 2, 2, 2, 2};
  bdpt_real bad[8];
  double zero = 0, total = 0;
  bdpt_accuracy a;
  int k;
  memset(&a, 0, sizeof a);
  for (k = 0; k < 8; k++) total += exp((double)z[k]);
  CHECK(bdpti_judge_row(z, 8, 6, &a) && a.top1 == 1 && a.top5 == 1);
  CHECK_CLOSE(a.loss, log(total) - 5, 1e-12);
  CHECK(bdpti_judge_row(z, 8, 1, &a) && a.top1 == 1 && a.top5 == 2); /* rank 1 */
  CHECK(bdpti_judge_row(z, 8, 7, &a) && a.top5 == 3);                /* rank 3: ties go by index */
  CHECK(bdpti_judge_row(z, 8, 0, &a) && a.top5 == 3);                /* rank 5 */
  for (memset(&a, 0, sizeof a), k = 0; k < 8; k++) CHECK(bdpti_judge_row(flat, 8, k, &a));
  CHECK(a.top1 == 1 && a.top5 == 5);
  for (k = 0; k < 8; k++) bad[k] = z[k];
  bad[3] = (bdpt_real)(zero / zero);
  CHECK(!bdpti_judge_row(bad, 8, 6, &a));
  bad[3] = (bdpt_real)(1 / zero);
  CHECK(!bdpti_judge_row(bad, 8, 6, &a));
}

TEST(evaluation) {
  bdpt_model *m = small_model(1, 4);
  bdpt_accuracy a, b;
  bdpt_subset none;
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  static bdpt_real images[50 * 3 * 144], logits[50 * CLASSES];
  int labels[50], right = 0, keep = ctx.threads, i, k;
  double zero = 0;
  CHECK(bdpt_evaluate(m, &train, &a) == BDPT_OK);
  CHECK(bdpt_load_batch(&ctx, &m->config, &train, 0, 50, images, labels) == BDPT_OK);
  CHECK(bdpt_predict(m, tape, 50, images, logits) == BDPT_OK);
  for (i = 0; i < 50; i++) {
    int best = 0;
    for (k = 1; k < CLASSES; k++) {
      if (logits[i * CLASSES + k] > logits[i * CLASSES + best]) best = k;
    }
    right += best == labels[i];
  }
  CHECK(a.count == 50);
  CHECK_CLOSE(a.top1, 2.0 * right, 1e-9);
  CHECK_CLOSE(a.top5, 100, 1e-9);
  ctx.threads = 3;
  CHECK(bdpt_evaluate(m, &train, &b) == BDPT_OK && memcmp(&a, &b, sizeof a) == 0);
  ctx.threads = keep;
  none = train;
  none.count = 0;
  CHECK(bdpt_evaluate(m, &none, &b) == BDPT_E_ARGUMENT);
  CHECK(says("empty"));
  m->param[BDPT_SLOT_HEAD_B].data[2] = (bdpt_real)(zero / zero);
  CHECK(bdpt_evaluate(m, &train, &b) == BDPT_E_NUMERIC);
  CHECK(says("a logit is not finite"));
  bdpt_tape_free(tape);
  bdpt_model_free(m);
}

/* ---- 9.9, 9.10 ------------------------------------------------------------------------------- */

TEST(order_of_images) {
  bdpt_model *m = small_model(0, 1);
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  int seen[IMAGES], i, k, bad = 0;
  size_t first[10];
  r.batch = 7;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 7 && bdpt_trainer_steps_done(t) == 0);
    /* Without repeats an epoch shows no image twice, and only images of the subset. */
  memset(seen, 0, sizeof seen);
  for (i = 0; i < 7; i++) {
    bdpti_trainer_pick(t, 0, (size_t)i * 7);
    for (k = 0; k < 7; k++) bad += seen[t->picked[k]]++;
  }
  for (i = 0; i < (int)held.count; i++) bad += seen[held.index[i]];
  CHECK(bad == 0);
  bdpti_trainer_pick(t, 0, 0);
  memcpy(first, t->picked, 7 * sizeof *first);
  bdpti_trainer_pick(t, 1, 0);
  CHECK(memcmp(first, t->picked, 7 * sizeof *first) != 0);
  bdpti_trainer_pick(t, 0, 0);
  CHECK(memcmp(first, t->picked, 7 * sizeof *first) == 0);
  bdpt_trainer_free(t);
    /* Three repeats: runs of three, across batch borders too. */
  r.repeats = 3;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  bdpti_trainer_pick(t, 0, 0);
  CHECK(t->picked[0] == first[0] && t->picked[2] == first[0] && t->picked[3] == first[1]);
  CHECK(t->picked[6] == first[2]);
  bdpti_trainer_pick(t, 0, 7);
  CHECK(t->picked[0] == first[2] && t->picked[1] == first[2] && t->picked[2] == first[3]);
  bdpt_trainer_free(t);
    /* A short epoch, and a batch larger than the epoch. */
  r.epoch_images = 30;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 4);
  bdpt_trainer_free(t);
  r.batch = 64;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 1 && t->batch == 30);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* One step of the trainer against the same step built from public calls and the formulas. */
static void step_by_hand(int distilled, int distill, double features) {
  bdpt_model *m = small_model(distilled, 21), *mine, *teacher = small_model(1, 22);
  bdpt_recipe r = plain_recipe();
  bdpt_forward_options o;
  bdpt_trainer *t;
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tensor *images, *logits, *second = NULL, *loss, *stream[64], *theirs[64];
  static bdpt_real targets[10 * CLASSES];
  double value = 0, worst = 0, norm = 0, moved = 0, lr;
  size_t shape[4] = {10, 3, 12, 12}, k;
  int i;
  r.batch = 10;
  r.smoothing = 0.1;
  r.clip = 0.05;
  r.weight_decay = 0.3;
  r.lr = 0.01;
  r.distill = distill;
  r.distill_alpha = 0.3;
  r.distill_tau = 2;
  r.distill_features = features;
  mine = bdpt_model_clone(m);
  t = bdpt_trainer_create(m, teacher, &train, &r);
  t->now.step = 2; /* 0.4 epochs from the start: the rate has begun to fall */
  lr = bdpt_schedule(&t->recipe, 0.4);
  CHECK(lr < 0.0099 && lr > 0.005);
  CHECK(bdpt_trainer_step(t, &value) == BDPT_OK);
  CHECK_CLOSE(bdpti_trainer_norm(t), 0.05, 1e-6); /* gradients are clipped where they are */
    /* The trainer's images are the input here too: what loads them has tests of its own. */
  bdpt_model_train_mode(mine);
  memset(&o, 0, sizeof o);
  o.training = 1;
  o.blocks = stream;
  images = bdpt_input(tape, 4, shape, t->images, 0);
  logits = bdpt_forward(mine, tape, images, &o, &second);
  CHECK((second != NULL) == distilled);
  for (k = 0; k < 10 * CLASSES; k++) {
    targets[k] = (bdpt_real)(t->labels[k / CLASSES] == (int)(k % CLASSES) ? 0.92 : 0.02);
  }
  if (distill == BDPT_DISTILL_NONE) {
    if (distilled) logits = bdpt_scale(tape, bdpt_add(tape, logits, second), 0.5);
    loss = bdpt_cross_entropy(tape, logits, targets);
  } else {
    static bdpt_real answer[10 * CLASSES];
    bdpt_tape *quiet = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
    bdpt_tensor *student = distilled ? second : logits;
    CHECK(bdpt_predict(teacher, quiet, 10, t->images, answer) == BDPT_OK);
    bdpt_tape_free(quiet);
    loss = bdpt_scale(tape, bdpt_cross_entropy(tape, logits, targets), 0.7);
    if (distill == BDPT_DISTILL_HARD) {
      for (i = 0; i < 10; i++) {
        int c, best = 0;
        for (c = 1; c < CLASSES; c++) {
          if (answer[i * CLASSES + c] > answer[i * CLASSES + best]) best = c;
        }
        for (c = 0; c < CLASSES; c++) answer[i * CLASSES + c] = (bdpt_real)(c == best);
      }
      student = bdpt_cross_entropy(tape, student, answer);
    } else {
      student = bdpt_distill_soft(tape, student, answer, 2);
    }
    loss = bdpt_add(tape, loss, bdpt_scale(tape, student, 0.3));
    o.training = 0; /* the teacher's streams, here from a tape that keeps everything */
    o.blocks = theirs;
    if (features > 0) CHECK(bdpt_forward(teacher, tape, images, &o, NULL) != NULL);
    for (i = 0; i < mine->config.depth && features > 0; i++) {
      student = bdpt_match(tape, stream[i], theirs[i]);
      loss = bdpt_add(tape, loss, bdpt_scale(tape, student, features / mine->config.depth));
    }
  }
  CHECK(bdpt_backward(tape, loss) == BDPT_OK);
  CHECK_CLOSE(value, loss->data[0], 1e-6);
  for (i = 0; i < mine->slots; i++) {
    for (k = 0; mine->param[i].data && k < mine->param[i].count; k++) {
      norm += (double)mine->param[i].grad[k] * (double)mine->param[i].grad[k];
    }
  }
  CHECK((norm = sqrt(norm)) > 0.05);
  for (i = 0; i < mine->slots; i++) {
    bdpt_tensor *p = &mine->param[i];
    double decay = bdpt_model_decays(mine, i) ? 0.3 : 0;
    for (k = 0; p->data && k < p->count; k++) {
      double w = (double)p->data[k], g = (double)p->grad[k] * 0.05 / (norm + 1e-6), off;
        /* At t = 1 both corrected moments are g and g^2. Where |g| is near eps its rounding decides
           the step, so such weights only need to stay within lr. */
      double want = w * (1 - lr * decay) - lr * g / (fabs(g) + 1e-8);
      off = fabs((double)m->param[i].data[k] - want);
      if (fabs(g) < 1e-5) off = fabs((double)m->param[i].data[k] - w) > 0.0201 ? 1 : 0;
      if (!(off <= worst)) worst = off;
      moved += (double)m->param[i].data[k] != w;
    }
  }
  CHECK(moved > 1000);
  CHECK_CLOSE(worst, 0, sizeof(bdpt_real) == 8 ? 1e-9 : 1e-4);
  bdpt_tape_free(tape);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  bdpt_model_free(mine);
  bdpt_model_free(teacher);
}

TEST(teacher_refusals) {
  bdpt_model *m = small_model(0, 1), *teacher;
  bdpt_config c = small_config(0);
  bdpt_recipe r = plain_recipe();
  r.distill = BDPT_DISTILL_HARD;
  c.classes = CLASSES + 1;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("the teacher takes 3 channels of 12 pixels and knows 6 classes"));
  bdpt_model_free(teacher);
  c = small_config(0);
  c.mean[0] = c.std[0] = c.std[1] = c.std[2] = 0.5;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("knows 5 classes, its images normalised with mean 0.5"));
  bdpt_model_free(teacher);
  r.distill_features = 1; /* streams are compared number by number */
  c = small_config(0);
  c.width *= 2;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("features of a teacher of"));
  r.distill = BDPT_DISTILL_NONE;
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("the recipe distills features, but not the answers"));
  bdpt_model_free(teacher);
  bdpt_model_free(m);
}

TEST(it_learns) {
  bdpt_model *m = small_model(0, 5);
  bdpt_recipe r = plain_recipe();
  bdpt_epoch log[30];
  bdpt_accuracy a;
  r.epochs = 30;
  r.batch = 10;
  r.lr = 5e-3;
  CHECK(bdpt_train(m, NULL, &train, &held, &r, NULL, log) == BDPT_OK);
  CHECK(log[29].loss < 0.5 * log[0].loss && log[29].epoch == 30 && log[29].held.count == 10);
  CHECK(log[29].held.top1 >= 90);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK);
  CHECK(memcmp(&a, &log[29].held, sizeof a) == 0);
  CHECK_CLOSE(log[29].lr, bdpt_schedule(&r, 30 - 0.2), 1e-4);
  bdpt_model_free(m);
}

/* ---- Promises -------------------------------------------------------------------------------- */

TEST(same_bits_for_any_threads) {
  blob first = {NULL, 0};
  int threads, keep = ctx.threads;
  for (threads = 1; threads <= 3; threads++) {
    bdpt_model *m, *teacher;
    bdpt_recipe r = full_recipe();
    bdpt_trainer *t;
    blob b;
    ctx.threads = threads;
    m = small_model(1, 6);
    teacher = small_model(1, 7);
    r.distill = BDPT_DISTILL_HARD;
    t = bdpt_trainer_create(m, teacher, &train, &r);
    CHECK(steps(t, 20));
    b = freeze(t);
    if (threads == 1) first = b;
    else {
      CHECK(same(first, b));
      drop(&b);
    }
    bdpt_trainer_free(t);
    bdpt_model_free(m);
    bdpt_model_free(teacher);
  }
  drop(&first);
  ctx.threads = keep;
}

/* Hidden activations that are made again are the same ones. */
TEST(recomputing_changes_no_bit) {
  char digest[2][17];
  size_t bytes[2];
  int again;
  for (again = 0; again < 2; again++) {
    bdpt_model *m = small_model(1, 6);
    bdpt_recipe r;
    bdpt_trainer *t;
    memset(&r, 0, sizeof r);
    r.batch = 16;
    r.recompute = again;
    t = bdpt_trainer_create(m, NULL, &train, &r);
    CHECK(steps(t, 3));
    bdpt_model_hash(m, digest[again]);
    bytes[again] = bdpt_tape_bytes(t->tape);
    bdpt_trainer_free(t);
    bdpt_model_free(m);
  }
  CHECK(strcmp(digest[0], digest[1]) == 0);
  CHECK(bytes[1] < bytes[0]);
}

TEST(resume_is_exact) {
  int at;
  bdpt_model *m = small_model(1, 6);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  blob whole, b;
  CHECK(steps(t, 14));
  whole = freeze(t);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
    /* Interrupted at an epoch's end (7 steps) and inside one. The second trainer starts from other
       weights, which the checkpoint must replace. */
  for (at = 3; at <= 11; at += 4) {
    m = small_model(1, 6);
    t = bdpt_trainer_create(m, NULL, &train, &r);
    CHECK(steps(t, at));
    CHECK(bdpt_trainer_save(t, path) == BDPT_OK);
    bdpt_trainer_free(t);
    bdpt_model_free(m);
    m = small_model(1, 77);
    t = bdpt_trainer_create(m, NULL, &train, &r);
    CHECK(bdpt_trainer_load(t, path) == BDPT_OK);
    CHECK(bdpt_trainer_steps_done(t) == (size_t)at);
    CHECK(steps(t, 14 - at));
    b = freeze(t);
    CHECK(same(whole, b));
    drop(&b);
    bdpt_trainer_free(t);
    bdpt_model_free(m);
  }
  drop(&whole);
  remove(path);
}

typedef struct stop { int calls, at, evaluations; size_t last_done, total; int ordered; } stop;
static int stop_hook(const bdpt_progress *p, void *user) {
  stop *s = (stop *)user;
  s->calls++;
  if (strcmp(p->phase, "evaluate") == 0) s->evaluations++;
  else {
    if (p->done <= s->last_done || p->done > p->total) s->ordered = 0;
    s->last_done = p->done;
    s->total = p->total;
  }
  return s->calls == s->at;
}

TEST(run_resumes_anywhere) {
  bdpt_recipe r = full_recipe();
  bdpt_hooks hooks;
  bdpt_epoch want[2], got[2];
  bdpt_accuracy a;
  char hash[17], again[17];
  stop s;
  int at;
  bdpt_model *m = small_model(0, 8);
  memset(&hooks, 0, sizeof hooks);
  memset(&s, 0, sizeof s);
  s.ordered = 1;
  hooks.progress = stop_hook;
  hooks.user = &s;
  CHECK(bdpt_train(m, NULL, &train, &held, &r, &hooks, want) == BDPT_OK);
  CHECK(s.calls == 16 && s.evaluations == 2 && s.ordered && s.last_done == 98 && s.total == 98);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK); /* the averaged weights stand in the model */
  CHECK(memcmp(&a, &want[1].held, sizeof a) == 0);
  bdpt_model_hash(m, hash);
  bdpt_model_free(m);
  hooks.checkpoint = path;
    /* Call 8 comes from the evaluation after epoch 1, call 16 from the one after epoch 2. */
  for (at = 1; at <= 16; at += at == 7 ? 1 : 3) {
    remove(path);
    m = small_model(0, 8);
    memset(&s, 0, sizeof s);
    s.at = at;
    CHECK(bdpt_train(m, NULL, &train, &held, &r, &hooks, got) == BDPT_CANCELLED);
    CHECK(s.calls == at && ctx.status == BDPT_OK);
    bdpt_model_free(m);
    m = small_model(0, 8);
    memset(&s, 0, sizeof s);
    memset(got, 0, sizeof got);
    CHECK(bdpt_train(m, NULL, &train, &held, &r, &hooks, got) == BDPT_OK);
    bdpt_model_hash(m, again);
    CHECK(strcmp(hash, again) == 0);
    CHECK(memcmp(want, got, sizeof want) == 0);
    bdpt_model_free(m);
  }
    /* A finished checkpoint answers without a step. */
  m = small_model(0, 8);
  memset(&s, 0, sizeof s);
  memset(got, 0, sizeof got);
  CHECK(bdpt_train(m, NULL, &train, &held, &r, &hooks, got) == BDPT_OK);
  bdpt_model_hash(m, again);
  CHECK(s.calls == 0 && strcmp(hash, again) == 0 && memcmp(want, got, sizeof want) == 0);
  bdpt_model_free(m);
  remove(path);
}

/* Stops `m` after so many reports, or never (0), with a checkpoint. */
static bdpt_status run_until(bdpt_model *m, const bdpt_recipe *r, int at) {
  bdpt_hooks hooks;
  stop s;
  memset(&hooks, 0, sizeof hooks);
  memset(&s, 0, sizeof s);
  s.at = at;
  hooks.progress = stop_hook;
  hooks.user = &s;
  hooks.checkpoint = path;
  return bdpt_train(m, NULL, &train, &held, r, &hooks, NULL);
}

static int hashes_to(const bdpt_model *m, const char *hash) {
  char own[17];
  bdpt_model_hash(m, own);
  return strcmp(own, hash) == 0;
}

/* A run goes on with the network it began with, or with the one that was saved, and no other. */
TEST(checkpoints_know_the_network) {
  bdpt_recipe r = full_recipe();
  bdpt_model *m = small_model(0, 8), *other;
  char whole[17], hash[17];
  int at;
  r.ema = 0; /* so that the weights of a finished run are those that its file has */
  remove(path);
  CHECK(run_until(m, &r, 0) == BDPT_OK);
  bdpt_model_hash(m, whole);
  CHECK(run_until(m, &r, 0) == BDPT_OK && hashes_to(m, whole)); /* finished: as it was saved */
  bdpt_model_free(m);
  for (at = 0; at < 2; at++) { /* a file from the end of the run, then one from its third step */
    if (at) remove(path);
    m = small_model(0, 8);
    CHECK(!at || run_until(m, &r, 3) == BDPT_CANCELLED);
    other = small_model(0, 9);
    bdpt_model_hash(other, hash);
    CHECK(run_until(other, &r, 0) == BDPT_E_STATE);
    CHECK(says("belongs to a run with other initial weights; remove the file to start over"));
    CHECK(hashes_to(other, hash));
    bdpt_model_free(other);
    other = small_model(0, 8);
    other->importance_data[0][BDPT_ACTIVATION][2] += (bdpt_real)0.5; /* a scalar trains too */
    CHECK(run_until(other, &r, 0) == BDPT_E_STATE);
    CHECK(says("other initial weights"));
    bdpt_model_free(other);
    CHECK(run_until(m, &r, 0) == BDPT_OK && hashes_to(m, whole)); /* began or was cancelled here */
    bdpt_model_free(m);
  }
    /* Without importance the scalars do not train and do not matter. */
  r.importance = 0;
  remove(path);
  m = small_model(0, 8);
  CHECK(run_until(m, &r, 3) == BDPT_CANCELLED);
  m->importance_data[0][0][0] = 2;
  CHECK(run_until(m, &r, 0) == BDPT_OK);
  bdpt_model_free(m);
  remove(path);
}

/* A checkpoint after every 20 images: a run that fails after 50 can go on from 40. */
static int poison(const bdpt_progress *p, void *user) {
  double zero = 0;
  if (p->done == 50) ((bdpt_model *)user)->param[BDPT_SLOT_CLS].data[0] = (bdpt_real)(zero / zero);
  return 0;
}

TEST(saves_by_images) {
  bdpt_recipe r = plain_recipe();
  bdpt_hooks hooks;
  bdpt_trainer *t;
  bdpt_model *m = small_model(0, 8);
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = poison;
  hooks.user = m;
  hooks.checkpoint = path;
  hooks.checkpoint_images = 20;
  remove(path);
  CHECK(bdpt_train(m, NULL, &train, NULL, &r, &hooks, NULL) == BDPT_E_NUMERIC);
  CHECK(says("epoch 2, step 6"));
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_load(t, path) == BDPT_OK && bdpt_trainer_steps_done(t) == 4);
  bdpt_trainer_free(t);
  hooks.progress = NULL;
  CHECK(bdpt_train(m, NULL, &train, NULL, &r, &hooks, NULL) == BDPT_OK);
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_load(t, path) == BDPT_OK && bdpt_trainer_steps_done(t) == 10);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  remove(path);
}

static void load_refused(bdpt_trainer *t, bdpt_status status, const char *what) {
  blob before = freeze(t), after;
  CHECK(bdpt_trainer_load(t, path) == status);
  CHECK(says(what));
  after = freeze(t);
  CHECK(same(before, after));
  drop(&before);
  drop(&after);
}

TEST(foreign_checkpoints) {
  bdpt_model *m = small_model(0, 8), *wide;
  bdpt_recipe r = full_recipe(), other = full_recipe();
  bdpt_config c = small_config(0);
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r), *u;
  blob b;
  size_t cut;
  int failed = 0, tried = 0;
  CHECK(steps(t, 2) && bdpt_trainer_save(t, path) == BDPT_OK);
  other.lr *= 2;
  u = bdpt_trainer_create(m, NULL, &train, &other);
  load_refused(u, BDPT_E_STATE, "belongs to a run with another recipe");
  bdpt_trainer_free(u);
  other = r;
  other.seed++;
  u = bdpt_trainer_create(m, NULL, &train, &other);
  load_refused(u, BDPT_E_STATE, "another recipe");
  bdpt_trainer_free(u);
  u = bdpt_trainer_create(m, NULL, &train, &r);
  for (cut = 0; data.label[held.index[cut]] != data.label[train.index[3]]; cut++) { }
  train.index[3] = held.index[cut]; /* of the same class */
  load_refused(u, BDPT_E_STATE, "another training subset");
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  CHECK(bdpt_split(&ctx, &data, 2, 1, &train, &held) == BDPT_OK);
  bdpt_trainer_free(u);
  c.mlp = 24;
  wide = bdpt_model_create(&ctx, &c, 1);
  u = bdpt_trainer_create(wide, NULL, &train, &r);
  load_refused(u, BDPT_E_STATE, "a network of another structure");
  bdpt_trainer_free(u);
  bdpt_model_free(wide);
    /* A model file, no file, and every kind of cut. */
  CHECK(bdpt_model_save(m, path, BDPT_F32) == BDPT_OK);
  load_refused(t, BDPT_E_FORMAT, "not a training checkpoint");
  remove(path);
  load_refused(t, BDPT_E_IO, path);
  b = freeze(t);
  for (cut = 0; cut < b.size; cut += b.size / 97 + 1, tried++) {
    if (bdpt_trainer_parse(t, b.bytes, cut, "cut") != BDPT_OK) failed++;
    bdpt_clear_error(&ctx);
  }
  CHECK(failed == tried);
  CHECK(bdpt_trainer_parse(t, b.bytes, b.size, "whole") == BDPT_OK);
  drop(&b);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

TEST(no_step_on_nan) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  bdpt_real *w = m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_W)].data, keep;
  double zero = 0;
  char hash[17], again[17];
  blob before, after;
  CHECK(steps(t, 8));
  before = freeze(t);
  keep = w[5];
  w[5] = (bdpt_real)(zero / zero);
  bdpt_model_hash(m, hash);
  CHECK(bdpt_trainer_step(t, NULL) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "epoch 2, step 9: the loss is nan, the norm of the gradient nan; the ");
  CHECK_HAS(ctx.message, "the value of blocks.1.mlp.fc1.weight");
  CHECK(says("the weights were not changed"));
  bdpt_model_hash(m, again);
  CHECK(strcmp(hash, again) == 0);
    /* Nor is such a network saved, and the healthy state can go on. */
  CHECK(bdpt_trainer_save(t, path) == BDPT_E_NUMERIC);
  CHECK(says("blocks.1.mlp.fc1.weight is not finite; nothing was saved"));
  w[5] = keep;
  after = freeze(t);
  CHECK(same(before, after));
  drop(&before);
  drop(&after);
  CHECK(steps(t, 1));
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

TEST(names_the_gradient) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  double zero = 0;
  CHECK(steps(t, 1));
  m->param[BDPT_SLOT(2, BDPT_SLOT_PROJ_B)].grad[1] = (bdpt_real)(1 / zero);
  CHECK(bdpti_trainer_finish(t, 1.0) == BDPT_E_NUMERIC);
  CHECK(says("the gradient of blocks.2.attn.proj.bias is not finite"));
  m->param[BDPT_SLOT(2, BDPT_SLOT_PROJ_B)].grad[1] = 0;
  *m->importance[BDPT_ACTIVATION][1].grad = (bdpt_real)(zero / zero);
  CHECK(bdpti_trainer_finish(t, 1.0) == BDPT_E_NUMERIC);
  CHECK(says("the gradient of blocks.1.mlp.importance is not finite"));
  *m->importance[BDPT_ACTIVATION][1].grad = 0;
  CHECK(bdpti_trainer_finish(t, 1 / zero) == BDPT_E_NUMERIC);
  CHECK(says("the loss is inf"));
  CHECK(bdpt_trainer_steps_done(t) == 1);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* A NaN in any parameter, one after another, is called by that parameter's name; the weights stay.
 * With clean parameters it is the operation where numbers leave the range. */
TEST(names_the_culprit) {
  bdpt_model *m = small_model(1, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  double zero = 0;
  char want[160];
  int i, l, type, named = 0, tried = 0;
  CHECK(steps(t, 1));
  for (i = 0; i < m->slots + 2 * m->config.depth; i++) {
    bdpt_tensor *p = i < m->slots ? &m->param[i] : NULL;
    bdpt_real keep;
    l = (i - m->slots) / 2, type = (i - m->slots) % 2;
    if (!p) p = &m->importance[type][l];
    if (!p->data || (i < m->slots && !bdpt_model_active(m, i))) continue;
    if (i < m->slots) snprintf(want, sizeof want, "the value of %s is not finite", m->name[i]);
    else snprintf(want, sizeof want, "the value of blocks.%d.%s.importance is not finite", l,
                  type ? "mlp" : "attn");
    keep = p->data[p->count - 1];
    p->data[p->count - 1] = (bdpt_real)(zero / zero);
    tried++;
    CHECK(bdpt_trainer_step(t, NULL) == BDPT_E_NUMERIC);
    named += strstr(ctx.message, want) != NULL && strstr(ctx.message, "epoch 1, step 2:") != NULL;
    bdpt_clear_error(&ctx);
    p->data[p->count - 1] = keep;
  }
  CHECK(named == tried && tried > 40);
  printf("TRUST nan_named %.0f\n", 100.0 * named / tried);
  for (i = 0; i < (int)m->param[BDPT_SLOT(1, BDPT_SLOT_FC2_W)].count; i++) {
    m->param[BDPT_SLOT(1, BDPT_SLOT_FC2_W)].data[i] = (bdpt_real)3e38; /* finite: sums are not */
  }
  if (sizeof(bdpt_real) == 4) {
    CHECK(bdpt_trainer_step(t, NULL) == BDPT_E_NUMERIC);
    CHECK_HAS(ctx.message, "the output of layernorm at blocks.2.norm1"); /* squares overflow */
  }
  bdpt_clear_error(&ctx);
  CHECK(bdpt_trainer_steps_done(t) == 1);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* All that a step needs is there when the first one is over, the blocks of the tapes joined. */
TEST(nothing_allocated_in_the_loop) {
  bdpt_model *m = small_model(1, 8), *teacher = small_model(1, 9);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t;
  long before, first;
  size_t bytes;
  r.distill = BDPT_DISTILL_SOFT;
  r.distill_features = 1;
  r.batch = 25; /* more than one block of the tape, and several epochs of two steps */
  bdpt_finish(&ctx);
  t = bdpt_trainer_create(m, teacher, &train, &r);
  first = allocations;
  CHECK(steps(t, 1));
  before = allocations;
  bytes = ctx.bytes_now;
  CHECK(t->tape->arena.first->bytes > BDPTI_CHUNK_LEAST && !t->tape->arena.first->next);
  CHECK(before - first > 4); /* workspace, the teacher's tape, blocks of the tape and their sum */
  CHECK(steps(t, 13));
  CHECK(allocations == before && ctx.bytes_now == bytes);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  bdpt_model_free(teacher);
}

/* Refuses the k-th allocation and all later ones, for every k: an error, no leak, no crash. */
TEST(out_of_memory) {
  bdpt_model *m = small_model(1, 8), *teacher = small_model(1, 9), *mine;
  size_t before = ctx.bytes_now, leaks = 0, wrong = 0;
  long k, used = 0, refused_runs = 0;
  bdpt_recipe r = full_recipe();
  bdpt_hooks hooks;
  r.epochs = 1;
  r.epoch_images = 14;
  r.distill = BDPT_DISTILL_HARD;
  memset(&hooks, 0, sizeof hooks);
  hooks.checkpoint = path;
  for (k = 0; k < 2000; k++) {
    bdpt_status status;
    bdpt_finish(&ctx);
    remove(path);
    mine = bdpt_model_clone(m);
    allocations = 0;
    refuse_at = k;
    status = bdpt_train(mine, teacher, &train, &held, &r, &hooks, NULL);
    refuse_at = -1;
    used = allocations;
    bdpt_model_free(mine);
    bdpt_finish(&ctx);
    if (ctx.bytes_now > before) leaks++;
    before = ctx.bytes_now;
    if (status == BDPT_OK) break;
    refused_runs++;
    if (status != BDPT_E_MEMORY || ctx.status != BDPT_E_MEMORY) wrong++;
    bdpt_clear_error(&ctx);
  }
  CHECK(leaks == 0 && wrong == 0);
  CHECK(refused_runs == used && used > 20);
  bdpt_model_free(m);
  bdpt_model_free(teacher);
  remove(path);
}

TEST(layers_come_and_go) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  int qkv = BDPT_SLOT(1, BDPT_SLOT_QKV_W), fc1 = BDPT_SLOT(2, BDPT_SLOT_FC1_W);
  int fused = BDPT_SLOT(2, BDPT_SLOT_FUSED_W);
  bdpt_real old[400], bias[12], score;
  double longest = 0, means[2][BDPT_MAX_DEPTH];
  size_t count = m->param[qkv].count, k;
  CHECK(steps(t, 3));
  CHECK(bdpt_trainer_importance(t, means) == 3 && means[0][1] > 0 && means[1][2] > 0);
  CHECK(means[0][3] == 0 && bdpt_trainer_importance(t, means) == 0 && means[0][1] == 0);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(count > 300);
  memcpy(old, m->param[qkv].data, 400 * sizeof *old);
  score = *m->importance[BDPT_ATTENTION][1].data;
  CHECK(steps(t, 2));
  CHECK(memcmp(old, m->param[qkv].data, 400 * sizeof *old) == 0);
  CHECK(score == *m->importance[BDPT_ATTENTION][1].data);
  CHECK(t->now.age[qkv] == 3 && t->now.age[fc1] == 5);
  CHECK(bdpt_trainer_importance(t, means) == 2 && means[0][1] == 0 && means[0][0] > 0);
  CHECK(bdpt_restore(m, BDPT_ATTENTION, 1) == BDPT_OK && steps(t, 1));
  CHECK(t->now.age[qkv] == 4 && memcmp(old, m->param[qkv].data, 400 * sizeof *old) != 0);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 2) == BDPT_OK && bdpt_fuse(m, 2) == BDPT_OK);
  CHECK(m->param[fused].count == 144);
  memcpy(old, m->param[fused].data, 144 * sizeof *old);
  memcpy(bias, m->param[fused + 1].data, sizeof bias);
  CHECK(steps(t, 1));
  CHECK(t->now.age[fused] == 1 && t->now.age[fc1] == 0 && t->moments[fc1].m == NULL);
  CHECK(memcmp(old, m->param[fused].data, 144 * sizeof *old) != 0);
    /* The first step of a new parameter is a first step: as long as the rate at any age.
       The schedule says what the rate was; a bias does not decay. */
  for (k = 0; k < 12; k++) {
    double step = fabs((double)m->param[fused + 1].data[k] - (double)bias[k]);
    if (step > longest) longest = step;
  }
  CHECK_CLOSE(longest / bdpt_schedule(&t->recipe, 6 / 7.0), 1, 1e-2);
    /* And a checkpoint of that state continues exactly. */
  {
    blob b = freeze(t), c;
    bdpt_model *copy = bdpt_model_clone(m);
    bdpt_trainer *u = bdpt_trainer_create(copy, NULL, &train, &r);
    CHECK(bdpt_trainer_parse(u, b.bytes, b.size, "b") == BDPT_OK);
    drop(&b);
    CHECK(steps(t, 2) && steps(u, 2));
    b = freeze(t);
    c = freeze(u);
    CHECK(same(b, c));
    drop(&b);
    drop(&c);
    bdpt_trainer_free(u);
    bdpt_model_free(copy);
  }
  CHECK(bdpt_model_resize(m, 24) == BDPT_OK && bdpt_trainer_step(t, NULL) == BDPT_E_STATE);
  CHECK(says("the model changed to 24 pixels"));
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* The importance scalars move by AdamW without decay, by lr in the first step. */
TEST(importance_moves) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  int l;
  r.importance = 1;
  r.weight_decay = 10;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  for (l = 0; l < 3; l++) m->importance_data[0][0][l] = 1;
  CHECK(steps(t, 1));
  for (l = 0; l < 3; l++) {
    double g = (double)m->importance_data[1][0][l];
    double want = 1 - 1e-3 * g / (fabs(g) + 1e-8);
    CHECK_CLOSE(m->importance_data[0][0][l], want, 1e-6);
  }
  CHECK(m->importance_data[0][0][3] == 0);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

TEST(averaged_weights) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  int slot = BDPT_SLOT_HEAD_W;
  double average, w0;
  bdpt_real w;
  r.ema = 0.75;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  w0 = average = (double)m->param[slot].data[7];
  CHECK(steps(t, 1));
  average = 0.75 * average + 0.25 * (double)m->param[slot].data[7];
  CHECK(steps(t, 1));
  average = 0.75 * average + 0.25 * (double)m->param[slot].data[7];
  w = m->param[slot].data[7];
  bdpt_trainer_swap_ema(t);
  CHECK_CLOSE(m->param[slot].data[7], average, 1e-7);
  CHECK((double)w != w0 && m->param[slot].data[7] != w);
  CHECK(bdpt_trainer_step(t, NULL) == BDPT_E_STATE);
  CHECK(says("swap back"));
  CHECK(bdpt_trainer_save(t, path) == BDPT_E_STATE);
  CHECK(says("swap back"));
  bdpt_trainer_swap_ema(t);
  CHECK(m->param[slot].data[7] == w && steps(t, 1));
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

int main(void) {
  ctx.allocator.alloc = count_alloc;
  ctx.allocator.free = count_free;
  ctx.threads = 1; /* more where threads are the point: a team costs time on so small a network */
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  world_make();
  RUN(schedule);
  RUN(recipe_defaults);
  RUN(recipe_zeros);
  RUN(recipe_refusals);
  RUN(optimiser_as_pytorch);
  RUN(mixing_as_timm);
  RUN(mixed_targets);
  RUN(mixing_draws);
  RUN(accuracy_by_hand);
  RUN(evaluation);
  RUN(order_of_images);
  step_by_hand(0, BDPT_DISTILL_NONE, 0);
  step_by_hand(1, BDPT_DISTILL_NONE, 0);
  step_by_hand(0, BDPT_DISTILL_HARD, 0);
  step_by_hand(1, BDPT_DISTILL_HARD, 0);
  step_by_hand(1, BDPT_DISTILL_SOFT, 0);
  step_by_hand(1, BDPT_DISTILL_SOFT, 2.5);
  step_by_hand(1, BDPT_DISTILL_HARD, 0.5);
  RUN(teacher_refusals);
  RUN(it_learns);
  RUN(same_bits_for_any_threads);
  RUN(recomputing_changes_no_bit);
  RUN(resume_is_exact);
  RUN(run_resumes_anywhere);
  RUN(checkpoints_know_the_network);
  RUN(saves_by_images);
  RUN(foreign_checkpoints);
  RUN(no_step_on_nan);
  RUN(names_the_gradient);
  RUN(names_the_culprit);
  RUN(nothing_allocated_in_the_loop);
  RUN(out_of_memory);
  RUN(layers_come_and_go);
  RUN(importance_moves);
  RUN(averaged_weights);
  world_free();
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("test_train");
}
