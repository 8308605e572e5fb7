/* Training: the schedule against timm, evaluation, and what a long run promises: the same bits for
 * any number of threads and after any interruption, no step on numbers that are not finite. The
 * parts of a step have their tests in test_inside.c.
 *
 * Bits are compared as the bytes of whole checkpoints: weights, moments, averages, counters. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"
#include "fixture.h"
#include "world.h"

static char path[300];

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
  fixture_close();
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
  CHECK(r.epochs == 1 && r.batch == 128 && r.lr == (double)5e-4 && r.min_lr == (double)5e-6);
  CHECK(r.weight_decay == (double)0.05 && r.beta1 == (double)0.9);
  CHECK(r.beta2 == (double)0.999 && r.adam_eps == (double)1e-8);
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
  CHECK(r.crop == 0 && r.flip == 0 && r.distill == 0 && r.beta1 == (double)0.9 && r.batch == 128);
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
  CHECK(says("an empty one"));
  m->param[BDPT_SLOT_HEAD_B].data[2] = (bdpt_real)(zero / zero);
  CHECK(bdpt_evaluate(m, &train, &b) == BDPT_E_NUMERIC);
  CHECK(says("a logit is not finite"));
  bdpt_tape_free(tape);
  bdpt_model_free(m);
}

TEST(teacher_refusals) {
  bdpt_model *m = small_model(0, 1), *teacher;
  bdpt_config c = small_config(0);
  bdpt_recipe r = plain_recipe();
  r.distill = BDPT_DISTILL_HARD;
  c.classes = CLASSES + 1;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("the teacher takes 3 channels of 12 x 12 pixels, normalised with mean 0.485"));
  bdpt_model_free(teacher);
  c = small_config(0);
  c.mean[0] = c.std[0] = c.std[1] = c.std[2] = 0.5;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("normalised with mean 0.5 and deviation 0.5, and knows 5 classes"));
  bdpt_model_free(teacher);
  r.distill_features = 1; /* streams are compared number by number */
  c = small_config(0);
  c.width *= 2;
  teacher = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_trainer_create(m, teacher, &train, &r) == NULL);
  CHECK(says("the model must agree; with features also in depth"));
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
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, &held, NULL}, &r, log) == BDPT_OK);
  CHECK(log[29].loss < 0.5 * log[0].loss && log[29].epoch == 30 && log[29].held.count == 10);
  CHECK(log[29].held.top1 >= 90);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK);
  CHECK(memcmp(&a, &log[29].held, sizeof a) == 0);
  CHECK_CLOSE(log[29].lr, bdpt_schedule(&r, 30 - 0.2), 1e-4);
  bdpt_model_free(m);
}

/* ---- Promises -------------------------------------------------------------------------------- */

static bdpt_status trainer_save(bdpt_trainer *t) {
  bdpt_bytes file;
  bdpt_status s = bdpt_trainer_build(t, &file);
  if (s == BDPT_OK) s = bdpt_file_write(&ctx, path, file.data, file.size);
  bdpt_bytes_free(&ctx, &file);
  return s;
}

static bdpt_status trainer_load(bdpt_trainer *t) {
  bdpt_bytes file;
  bdpt_status s = bdpt_file_read(&ctx, path, &file);
  if (s == BDPT_OK) s = bdpt_trainer_parse(t, file.data, file.size, path);
  bdpt_bytes_free(&ctx, &file);
  return s;
}

TEST(same_bits_for_any_threads) {
  bdpt_bytes first = {NULL, 0};
  int threads, keep = ctx.threads;
  for (threads = 1; threads <= 3; threads++) {
    bdpt_model *m, *teacher;
    bdpt_recipe r = full_recipe();
    bdpt_trainer *t;
    bdpt_bytes b;
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

TEST(resume_is_exact) {
  int at;
  bdpt_model *m = small_model(1, 6);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  bdpt_bytes whole, b;
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
    CHECK(trainer_save(t) == BDPT_OK);
    bdpt_trainer_free(t);
    bdpt_model_free(m);
    m = small_model(1, 77);
    t = bdpt_trainer_create(m, NULL, &train, &r);
    CHECK(trainer_load(t) == BDPT_OK);
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
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, &held, &hooks}, &r, want) == BDPT_OK);
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
    CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, &held, &hooks}, &r, got) == BDPT_CANCELLED);
    CHECK(s.calls == at && ctx.status == BDPT_OK);
    bdpt_model_free(m);
    m = small_model(0, 8);
    memset(&s, 0, sizeof s);
    memset(got, 0, sizeof got);
    CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, &held, &hooks}, &r, got) == BDPT_OK);
    bdpt_model_hash(m, again);
    CHECK(strcmp(hash, again) == 0);
    CHECK(memcmp(want, got, sizeof want) == 0);
    bdpt_model_free(m);
  }
    /* A finished checkpoint answers without a step. */
  m = small_model(0, 8);
  memset(&s, 0, sizeof s);
  memset(got, 0, sizeof got);
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, &held, &hooks}, &r, got) == BDPT_OK);
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
  return bdpt_train(m, NULL, &(bdpt_run){&train, &held, &hooks}, r, NULL);
}

static int hashes_to(const bdpt_model *m, const char *hash) {
  char own[17];
  bdpt_model_hash(m, own);
  return strcmp(own, hash) == 0;
}

/* A change of the caller's that draws: in a third of the images a random grey takes every place. */
static void grey(void *user, bdpt_rng *rng, unsigned char *planes) {
  const int value = (int)(256 * bdpt_uniform(rng));
  (void)user;
  if (bdpt_uniform(rng) < 1.0 / 3) memset(planes, value, 3 * SIDE * SIDE);
}

static void black(void *user, bdpt_rng *rng, unsigned char *planes) {
  (void)user;
  (void)rng;
  memset(planes, 0, 3 * SIDE * SIDE);
}

/* Training sees the changed copies, the images themselves stay, and evaluation sees those. */
TEST(own_augmentation) {
  bdpt_recipe r = full_recipe();
  bdpt_dataset plain = data, dark = data;
  unsigned char kept[3 * SIDE * SIDE];
  char hash[17], other[17];
  bdpt_accuracy a, b;
  bdpt_model *m;
  int at, threads = ctx.threads;
  memcpy(kept, data.pixels, sizeof kept);
  dark.pixels = (unsigned char *)calloc(IMAGES, sizeof kept);
  remove(path);
  m = small_model(0, 8); /* black images, and images that are blackened */
  data = dark;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
  bdpt_model_hash(m, hash);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK);
  bdpt_model_free(m);
  m = small_model(0, 8);
  data = plain;
  data.change = black;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
  CHECK(hashes_to(m, hash) && memcmp(kept, data.pixels, sizeof kept) == 0);
  CHECK(bdpt_evaluate(m, &held, &b) == BDPT_OK && a.loss != b.loss);
  bdpt_model_free(m);
  data.change = grey; /* one thread, three, and stopped after every few steps: the same bits */
  hash[0] = other[0] = 0;
  for (ctx.threads = 1; ctx.threads <= 3; ctx.threads += 2) {
    m = small_model(0, 8);
    CHECK(run_until(m, &r, 0) == BDPT_OK);
    bdpt_model_hash(m, ctx.threads == 1 ? hash : other);
    bdpt_model_free(m);
    remove(path);
  }
  CHECK(strcmp(hash, other) == 0);
  ctx.threads = threads;
  for (at = 3; at <= 9; at += 3) {
    m = small_model(0, 8);
    CHECK(run_until(m, &r, at) == BDPT_CANCELLED);
    bdpt_model_free(m);
    m = small_model(0, 8);
    CHECK(run_until(m, &r, 0) == BDPT_OK && hashes_to(m, hash));
    bdpt_model_free(m);
    remove(path);
  }
  m = small_model(0, 8);
  data.change = NULL;
  CHECK(run_until(m, &r, 0) == BDPT_OK && !hashes_to(m, hash));
  bdpt_model_free(m);
  remove(path);
  free(dark.pixels);
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

/* Puts a NaN into the weights after 50 images: with a checkpoint after every 20, a run that fails
 * there can go on from 40. */
static int poison(const bdpt_progress *p, void *user) {
  double zero = 0;
  if (p->done == 60) ((bdpt_model *)user)->param[BDPT_SLOT_CLS].data[0] = (bdpt_real)(zero / zero);
  return 0;
}

TEST(saves_by_epochs) {
  bdpt_recipe r = plain_recipe();
  bdpt_hooks hooks;
  bdpt_trainer *t;
  bdpt_model *m = small_model(0, 8);
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = poison;
  hooks.user = m;
  hooks.checkpoint = path;
  remove(path);
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, NULL, &hooks}, &r, NULL) == BDPT_E_NUMERIC);
  CHECK(says("epoch 2, step 7"));
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(trainer_load(t) == BDPT_OK && bdpt_trainer_steps_done(t) == 5);
  bdpt_trainer_free(t);
  hooks.progress = NULL;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, NULL, &hooks}, &r, NULL) == BDPT_OK);
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(trainer_load(t) == BDPT_OK && bdpt_trainer_steps_done(t) == 10);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  remove(path);
}

static void load_refused(bdpt_trainer *t, bdpt_status status, const char *what) {
  bdpt_bytes before = freeze(t), after;
  CHECK(trainer_load(t) == status);
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
  bdpt_bytes b;
  size_t cut;
  int failed = 0, tried = 0;
  CHECK(steps(t, 2) && trainer_save(t) == BDPT_OK);
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
  CHECK(bdpt_model_save(m, path) == BDPT_OK);
  load_refused(t, BDPT_E_FORMAT, "not a training checkpoint");
  remove(path);
  load_refused(t, BDPT_E_IO, path);
  b = freeze(t);
  for (cut = 0; cut < b.size; cut += b.size / 97 + 1, tried++) {
    if (bdpt_trainer_parse(t, b.data, cut, "cut") != BDPT_OK) failed++;
    bdpt_clear_error(&ctx);
  }
  CHECK(failed == tried);
  CHECK(bdpt_trainer_parse(t, b.data, b.size, "whole") == BDPT_OK);
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
  bdpt_bytes before, after;
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
  CHECK(trainer_save(t) == BDPT_E_NUMERIC);
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

/* Statistics of images that no picture can have make the images infinite. */
TEST(names_the_images) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  m->config.std[1] = 1e-320;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(t && bdpt_trainer_step(t, NULL) == BDPT_E_NUMERIC);
  CHECK(says("an image is not finite"));
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
    l = (i - m->slots) / 2; type = (i - m->slots) % 2;
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

/* The k-th allocation and all later ones are refused, for every k: an error, no leak, no crash. */
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
    status = bdpt_train(mine, teacher, &(bdpt_run){&train, &held, &hooks}, &r, NULL);
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
  CHECK(trainer_save(t) == BDPT_E_STATE);
  CHECK(says("swap back"));
  bdpt_trainer_swap_ema(t);
  CHECK(m->param[slot].data[7] == w && steps(t, 1));
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* The logged norm of an epoch of one step is that of the step's gradients, which stay behind. */
TEST(logs_the_gradient_norm) {
  bdpt_recipe r = plain_recipe();
  bdpt_model *a = small_model(0, 1), *b = small_model(0, 1);
  bdpt_trainer *t;
  bdpt_epoch log;
  double square = 0, g;
  int i;
  size_t k;
  r.epochs = 1;
  r.epoch_images = (size_t)r.batch;
  CHECK(bdpt_train(a, NULL, &(bdpt_run){&train, NULL, NULL}, &r, &log) == BDPT_OK);
  t = bdpt_trainer_create(b, NULL, &train, &r);
  CHECK(t && bdpt_trainer_step(t, NULL) == BDPT_OK);
  for (i = 0; i < b->slots; i++) {
    for (k = 0; b->param[i].grad && bdpt_model_active(b, i) && k < b->param[i].count; k++) {
      g = (double)b->param[i].grad[k];
      square += g * g;
    }
  }
  CHECK(square > 0);
  CHECK_CLOSE(log.grad_norm, sqrt(square), 1e-5 * sqrt(square));
  CHECK(log.epoch == 1 && log.held.count == 0);
  bdpt_trainer_free(t);
  bdpt_model_free(a);
  bdpt_model_free(b);
}

/* The cross-entropy that a recipe without augmentation asks for, made by the caller: the images of
 * this step, in the order of the epoch, with their labels. */
typedef struct own_images {
  const bdpt_subset *order;
  size_t calls;
} own_images;

static bdpt_tensor *own_loss(bdpt_model *m, bdpt_tape *tape, const bdpt_forward_options *options,
                             size_t step, void *user) {
  own_images *own = (own_images *)user;
  size_t batch = own->order->count, side = (size_t)m->config.image, i;
  size_t shape[4] = {0, 3, 0, 0}, classes = (size_t)m->config.classes;
  bdpt_real *images = (bdpt_real *)calloc(batch * 3 * side * side, sizeof *images);
  bdpt_real *targets = (bdpt_real *)calloc(batch * classes, sizeof *targets);
  int *labels = (int *)calloc(batch, sizeof *labels);
  bdpt_tensor *loss = NULL;
  shape[0] = batch;
  shape[2] = shape[3] = side;
  CHECK(own->calls++ == step && options->training == 1);
  if (!bdpt_load_batch(&ctx, &m->config, own->order, 0, batch, images, labels)) {
    for (i = 0; i < batch; i++) targets[i * classes + (size_t)labels[i]] = 1;
    loss = bdpt_forward(m, tape, bdpt_input(tape, 4, shape, images, 0), options, NULL);
    loss = bdpt_cross_entropy(tape, loss, targets);
  }
  free(images);
  free(targets);
  free(labels);
  return loss;
}

/* Steps on a loss of the caller's move the weights as steps on a data set do, gradient by gradient.
 * One epoch is one batch here; an image's place in it changes sums in their last digits only. */
TEST(trains_without_a_data_set) {
  bdpt_model *mine = small_model(0, 8), *theirs = small_model(0, 8);
  bdpt_recipe r = plain_recipe();
  bdpt_subset few;
  bdpt_trainer *t, *beside;
  own_images own;
  double loss = 0, same = 0, worst = 0;
  size_t k;
  int i, step;
  bdpt_bytes b;
  CHECK(bdpt_sample(&ctx, &train, 16, 3, &few) == BDPT_OK);
  memset(&own, 0, sizeof own);
  own.order = &few;
  r.batch = 16;
  beside = bdpt_trainer_create(theirs, NULL, &few, &r);
  t = bdpt_trainer_create(mine, NULL, NULL, &r);
  CHECK(t && beside && bdpt_trainer_steps_per_epoch(t) == 1);
  for (step = 0; step < 4; step++) {
    CHECK(bdpt_trainer_step_on(t, own_loss, &own, &loss) == BDPT_OK);
    CHECK(bdpt_trainer_step(beside, &same) == BDPT_OK);
    CHECK_CLOSE(loss, same, 1e-4 * same);
    for (i = 0; i < mine->slots && step == 0; i++) {
      for (k = 0; mine->param[i].grad && k < mine->param[i].count; k++) {
        worst = fmax(worst, fabs((double)(mine->param[i].grad[k] - theirs->param[i].grad[k])));
      }
    }
  }
  CHECK(worst > 0 && worst < 1e-5);
  CHECK(bdpt_trainer_steps_done(t) == 4);
  b = freeze(t);
  CHECK(bdpt_trainer_parse(t, b.data, b.size, "own") == BDPT_OK);
  drop(&b);
  CHECK(bdpt_trainer_step(t, NULL) == BDPT_E_STATE && says("no data set"));
  bdpt_clear_error(&ctx);
  bdpt_trainer_free(t);
  bdpt_trainer_free(beside);
  r.epoch_images = 64;
  t = bdpt_trainer_create(mine, NULL, NULL, &r);
  CHECK(t && bdpt_trainer_steps_per_epoch(t) == 4);
  bdpt_trainer_free(t);
  bdpt_subset_free(&ctx, &few);
  bdpt_model_free(mine);
  bdpt_model_free(theirs);
}

/* Checks that each long call, given no images, says so. */
static void long_calls_want_images(bdpt_model *m, const bdpt_run *none) {
  static bdpt_disparity_row rows[4];
  static bdpt_recovery_row recovered[2 * BDPT_MAX_DEPTH];
  static bdpt_map_point points[4 * BDPT_MAX_DEPTH + 1];
  static bdpt_two_stage_options stages;
  static bdpt_two_stage_result staged;
  bdpt_search_options search;
  bdpt_search_result searched;
  bdpt_greedy_options greedy;
  bdpt_greedy_result chosen;
  bdpt_recipe r = plain_recipe();
  const bdpt_run no_held = {&train, NULL, NULL};
  size_t count;
  int i;
  memset(&search, 0, sizeof search);
  memset(&greedy, 0, sizeof greedy);
  search.remove[BDPT_ATTENTION] = search.stage[0] = greedy.layers = 1;
  for (i = 0; i < 2; i++) {
    const bdpt_run *run = i ? &no_held : none;
    bdpt_status status[5];
    int k;
    status[0] = bdpt_recovery(m, run, NULL, recovered);
    CHECK(says("recovery: no data set"));
    bdpt_clear_error(&ctx);
    status[1] = bdpt_map_collect(m, run, NULL, points, 4 * BDPT_MAX_DEPTH + 1, &count);
    CHECK(says("map: no data set"));
    bdpt_clear_error(&ctx);
    status[2] = bdpt_search(m, run, &search, &searched);
    CHECK(says("search: no data set"));
    bdpt_clear_error(&ctx);
    status[3] = bdpt_greedy(m, run, &greedy, &chosen);
    CHECK(says("greedy: no data set"));
    bdpt_clear_error(&ctx);
    status[4] = bdpt_two_stage(m, run, &stages, &staged);
    CHECK(says("map: no data set"));
    bdpt_clear_error(&ctx);
    for (k = 0; k < 5; k++) CHECK(status[k] == BDPT_E_ARGUMENT);
  }
  CHECK(bdpt_disparity(m, none, &r, 1, rows, 4, &count) == BDPT_E_ARGUMENT);
  CHECK(says("disparity: no data set"));
  bdpt_clear_error(&ctx);
}

/* What needs images says so where it gets none. */
TEST(needs_a_data_set) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = plain_recipe();
  const bdpt_run none = {NULL, NULL, NULL};
  bdpt_accuracy a;
  CHECK(bdpt_train(m, NULL, &none, &r, NULL) == BDPT_E_STATE && says("no data set"));
  bdpt_clear_error(&ctx);
  CHECK(bdpt_evaluate(m, NULL, &a) == BDPT_E_ARGUMENT && says("no data set") && a.count == 0);
  bdpt_clear_error(&ctx);
  long_calls_want_images(m, &none);
  bdpt_model_free(m);
}

/* A teacher and a student that are freed before their trainer stay until it has gone, with the
 * weights that they get. */
TEST(freed_too_early) {
  bdpt_recipe r = plain_recipe();
  bdpt_model *m[2], *own[2];
  bdpt_trainer *t[2];
  double loss[2];
  int k;
  r.distill = BDPT_DISTILL_SOFT;
  for (k = 0; k < 2; k++) {
    m[k] = small_model(0, 1); own[k] = small_model(0, 2);
    t[k] = bdpt_trainer_create(m[k], own[k], &train, &r);
    if (!CHECK(t[k] != NULL)) return;
  }
  CHECK(bdpt_model_resize(own[1], 24, 0) == BDPT_OK && bdpt_model_resize(own[1], 12, 0) == BDPT_OK);
  bdpt_model_assign(own[1], own[0]); /* a changed model is still the trainer's */
  bdpt_model_free(own[1]);
  bdpt_model_free(m[1]);
  for (k = 0; k < 2; k++) CHECK(bdpt_trainer_step(t[k], &loss[k]) == BDPT_OK);
  CHECK(loss[0] == loss[1] && loss[0] > 0);
  bdpt_trainer_free(t[0]);
  bdpt_trainer_free(t[1]);
  bdpt_model_free(own[0]);
  bdpt_model_free(m[0]);
  own[0] = small_model(0, 1); own[1] = bdpt_model_clone(own[0]); /* a clone has users of its own */
  t[0] = bdpt_trainer_create(own[0], NULL, &train, &r);
  CHECK(t[0] == NULL && says("without a teacher")); /* and what could not be made keeps nothing */
  bdpt_model_free(own[0]);
  bdpt_model_free(own[1]); /* that all have gone, world_end checks */
}

int main(void) {
  world_begin();
  RUN(trains_without_a_data_set);
  RUN(needs_a_data_set);
  RUN(logs_the_gradient_norm);
  snprintf(path, sizeof path, "%s", temporary("train"));
  RUN(schedule);
  RUN(recipe_defaults);
  RUN(recipe_zeros);
  RUN(recipe_refusals);
  RUN(evaluation);
  RUN(teacher_refusals);
  RUN(freed_too_early);
  RUN(it_learns);
  RUN(same_bits_for_any_threads);
  RUN(resume_is_exact);
  RUN(run_resumes_anywhere);
  RUN(own_augmentation);
  RUN(checkpoints_know_the_network);
  RUN(saves_by_epochs);
  RUN(foreign_checkpoints);
  RUN(no_step_on_nan);
  RUN(names_the_images);
  RUN(names_the_culprit);
  RUN(out_of_memory);
  RUN(importance_moves);
  RUN(averaged_weights);
  world_end();
  return TEST_END("test_train");
}
