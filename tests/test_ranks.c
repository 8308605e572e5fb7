/* Several processes that train one network (chapter 12.6), played by threads: each has a context, a
 * model and a trainer of its own, and `reduce` is a sum over a table that they share. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200112L
#endif
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"

#include <pthread.h>

enum { MOST = 4, STEPS = 50, IMAGES = 96, CLASSES = 4 };

typedef struct meeting { /* where the processes add up */
  pthread_mutex_t lock;
  pthread_cond_t all;
  int size, came, round, fail_at, calls;
  void *values[MOST];
  size_t count, pieces, doubles; /* doubles: numbers in exchanges of several doubles */
} meeting;

typedef struct process {
  meeting *place;
  int rank, stop_at, reports;
  size_t good, fetched; /* images until one cannot be read, if good is not 0; those read so far */
  bdpt_status status;
  double loss[STEPS], fitted, importance, chosen[2], point[8];
  int gone[2];
  size_t points, exchanged; /* exchanged: doubles in the sums of a fit */
  bdpt_accuracy held;
  char hash[17], message[400];
  const char *checkpoint;
} process;

static bdpt_dataset data;
static bdpt_subset train, held;
static size_t good; /* images that process `fails` can read; 0: all */
static int fails, lessons; /* 1: the processes train on a loss of their own */

/* Adds all up in the order of the ranks, which the last to come does, and gives everybody the
 * sums. */
static void add_up(meeting *m, size_t count, size_t bytes) {
  size_t i;
  int k;
  for (i = 0; i < count; i++) {
    double sum = 0;
    for (k = 0; k < m->size; k++) {
      sum += bytes == 8 ? ((double *)m->values[k])[i] : (double)((float *)m->values[k])[i];
    }
    for (k = 0; k < m->size; k++) {
      if (bytes == 8) ((double *)m->values[k])[i] = sum;
      else ((float *)m->values[k])[i] = (float)sum;
    }
  }
}

static int reduce(void *user, void *values, size_t count, size_t bytes) {
  process *p = (process *)user;
  meeting *m = p->place;
  int round, failed;
  pthread_mutex_lock(&m->lock);
  round = m->round;
  m->values[p->rank] = values;
  if (m->came == 0) m->count = count;
  CHECK(m->count == count);
  if (++m->came == m->size) {
    add_up(m, count, bytes);
    m->came = 0;
    m->round++;
    m->calls++;
    m->pieces += count > 100;
    if (bytes == 8 && count > 1) m->doubles += count;
    pthread_cond_broadcast(&m->all);
  }
  while (m->round == round) pthread_cond_wait(&m->all, &m->lock);
  failed = m->fail_at && m->calls >= m->fail_at;
  pthread_mutex_unlock(&m->lock);
  return failed ? 7 : 0;
}

static int on_progress(const bdpt_progress *now, void *user) {
  process *p = (process *)user;
  (void)now;
  return ++p->reports == p->stop_at;
}

/* Makes a picture; one of them cannot be read, in one process only. */
static int fetch(void *user, size_t index, unsigned char *planes) {
  process *p = (process *)user;
  memcpy(planes, data.pixels + index * 192, 192);
  return p->good && ++p->fetched > p->good;
}

static bdpt_recipe make_recipe(int epochs) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = epochs; r.batch = 16; r.lr = 1e-3; r.warmup = 0.5; r.clip = 1; r.ema = 0.9;
  r.smoothing = 0.1; r.mixup = 0.8; r.cutmix = 1; r.crop = 1; r.flip = 1; r.erase = 0.25;
  r.drop_path = 0.2; r.importance = 1; r.distill = BDPT_DISTILL_SOFT; r.seed = 5;
  return r;
}

static bdpt_config make_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 16; c.heads = 2; c.depth = 3; c.classes = CLASSES;
  return c;
}

/* Chooses layers greedily, and collects points of the predictor's surface. */
static bdpt_status choose(process *p, bdpt_model *m) {
  bdpt_greedy_options g;
  bdpt_greedy_result chosen;
  bdpt_map_collect_options o;
  bdpt_map_point point[8];
  bdpt_model *copy = bdpt_model_clone(m);
  bdpt_status s;
  size_t i;
  memset(&g, 0, sizeof g);
  memset(&o, 0, sizeof o);
  o.recipe = make_recipe(1);
  o.recipe.distill = BDPT_DISTILL_NONE; o.recipe.importance = 0;
  o.most = o.rounds = 1;
  s = bdpt_map_collect(m, &(bdpt_run){&train, &held, NULL}, &o, point, 8, &p->points);
  for (i = 0; i < p->points && !s; i++) p->point[i] = point[i].accuracy;
  g.layers = 2; g.start = BDPT_START_SKIP_FIT;
  if (!s) s = bdpt_greedy(copy, &(bdpt_run){&train, &held, NULL}, &g, &chosen);
  for (i = 0; i < 2 && !s; i++) {
    p->chosen[i] = chosen.loss[i];
    p->gone[i] = 2 * chosen.layer[i].block + (int)chosen.layer[i].type;
  }
  bdpt_model_free(copy);
  return s;
}

static bdpt_status work(process *p, bdpt_context *ctx) {
  bdpt_config c = make_config();
  bdpt_recipe r = make_recipe(13);
  bdpt_model *teacher = bdpt_model_create(ctx, &c, 2), *m = bdpt_model_create(ctx, &c, 1);
  bdpt_trainer *t = bdpt_trainer_create(m, teacher, &train, &r);
  double mean[2][BDPT_MAX_DEPTH];
  const bdpt_layers activation = {{0, 1 << 1}};
  bdpt_fit_report fit;
  bdpt_status s = t ? BDPT_OK : ctx->status;
  int i;
  for (i = 0; i < STEPS && !s; i++) s = bdpt_trainer_step(t, &p->loss[i]);
  if (!s) bdpt_trainer_importance(t, mean);
  if (!s) p->importance = mean[1][0];
  bdpt_trainer_free(t);
  if (!s) s = bdpt_evaluate(m, &held, &p->held);
  if (!s) s = choose(p, m);
  p->exchanged = p->place->doubles; /* nobody meets before this process does */
  if (!s) s = bdpt_remove(m, &activation, BDPT_START_FIT, &train, &fit);
  if (!s) p->fitted = fit.error;
  p->exchanged = p->place->doubles - p->exchanged;
  if (!s) bdpt_model_hash(m, p->hash);
  bdpt_model_free(m);
  bdpt_model_free(teacher);
  return s;
}

/* Does the same through bdpt_train, with a checkpoint and a stop. */
static bdpt_status run(process *p, bdpt_context *ctx) {
  bdpt_config c = make_config();
  bdpt_recipe r = make_recipe(2);
  bdpt_model *m = bdpt_model_create(ctx, &c, 1);
  bdpt_dataset pictures = data;
  bdpt_subset own = train;
  bdpt_epoch log[2];
  bdpt_hooks hooks;
  bdpt_status s;
  memset(&hooks, 0, sizeof hooks);
  r.distill = BDPT_DISTILL_NONE;
  hooks.progress = on_progress; hooks.user = p; hooks.checkpoint = p->checkpoint;
  pictures.pixels = NULL; pictures.fetch = fetch; pictures.user = p;
  own.data = &pictures;
  s = bdpt_train(m, NULL, &(bdpt_run){&own, &held, &hooks}, &r, log);
  p->loss[0] = log[1].loss; p->held = log[1].held;
  bdpt_model_hash(m, p->hash);
  bdpt_model_free(m);
  return s;
}

/* Computes a caller's own loss, on an image that is another one in each process. */
static bdpt_tensor *lesson(bdpt_model *m, bdpt_tape *tape, const bdpt_forward_options *o,
                           size_t step, void *user) {
  static const bdpt_real target[CLASSES] = {0, 1, 0, 0};
  const size_t shape[4] = {1, 3, 8, 8};
  bdpt_tensor *x = bdpt_input(tape, 4, shape, NULL, 0);
  size_t i;
  for (i = 0; x && i < x->count; i++) {
    x->data[i] = (bdpt_real)((double)((i + step) % 7) - ((process *)user)->rank);
  }
  return bdpt_cross_entropy(tape, bdpt_forward(m, tape, x, o, NULL), target);
}

static bdpt_status teach(process *p, bdpt_context *ctx) {
  bdpt_config c = make_config();
  bdpt_recipe r = make_recipe(2);
  bdpt_model *m = bdpt_model_create(ctx, &c, 1);
  bdpt_trainer *t;
  bdpt_status s = BDPT_OK;
  int i;
  r.distill = BDPT_DISTILL_NONE;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  for (i = 0; i < 3 && !s; i++) s = bdpt_trainer_step_on(t, lesson, p, &p->loss[i]);
  bdpt_model_hash(m, p->hash);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  return s;
}

static void *begin(void *user) {
  process *p = (process *)user;
  bdpt_context ctx;
  memset(&ctx, 0, sizeof ctx);
  ctx.threads = 1;
  ctx.cluster.rank = p->rank; ctx.cluster.size = p->place->size;
  ctx.cluster.reduce = reduce; ctx.cluster.user = p;
  bdpt_init(&ctx);
  if (lessons) p->status = teach(p, &ctx);
  else p->status = p->checkpoint ? run(p, &ctx) : work(p, &ctx);
  memcpy(p->message, ctx.message, sizeof p->message);
  bdpt_finish(&ctx);
  return NULL;
}

static meeting together(process *p, int size, const char *checkpoint, int stop_at, int fail_at) {
  pthread_t thread[MOST];
  static meeting m;
  int i;
  memset(&m, 0, sizeof m);
  memset(p, 0, MOST * sizeof *p);
  pthread_mutex_init(&m.lock, NULL);
  pthread_cond_init(&m.all, NULL);
  m.size = size; m.fail_at = fail_at;
  for (i = 0; i < size; i++) {
    p[i].place = &m; p[i].rank = i; p[i].checkpoint = checkpoint;
    p[i].good = i == fails ? good : 0;
    if (i == size - 1) p[i].stop_at = stop_at; /* one of them stops all */
    pthread_create(&thread[i], NULL, begin, &p[i]);
  }
  for (i = 0; i < size; i++) pthread_join(thread[i], NULL);
  return m;
}

static const double bound = sizeof(bdpt_real) == sizeof(double) ? 1e-12 : 1e-5;

TEST(many_train_as_one) {
  process one[MOST], many[MOST], again[MOST];
  int size, i, k;
  together(one, 1, NULL, 0, 0);
  CHECK(one->status == BDPT_OK && one->held.count == (size_t)held.count);
  for (size = 2; size <= 4; size += 2) {
    meeting m = together(many, size, NULL, 0, 0);
    together(again, size, NULL, 0, 0);
    CHECK(m.pieces >= STEPS && m.pieces < 2 * STEPS); /* all gradients of a step together */
    for (k = 0; k < size; k++) {
      CHECK(many[k].status == BDPT_OK && many[k].held.count == one->held.count);
      CHECK(strcmp(many[k].hash, many[0].hash) == 0); /* the same network everywhere */
      CHECK(strcmp(many[k].hash, again[k].hash) == 0); /* and in every run */
      for (i = 0; i < STEPS; i++) {
        CHECK_CLOSE(many[k].loss[i], one->loss[i], bound * one->loss[i]);
      }
      CHECK_CLOSE(many[k].held.loss, one->held.loss, 10 * bound);
      CHECK_CLOSE(many[k].fitted, one->fitted, 1000 * bound);
      CHECK(many[k].exchanged == 2 * (2 * 16 + 1) * (16 + 2)); /* two sums of [2 D + 1][D + 2] */
      CHECK_CLOSE(many[k].importance, one->importance, 100 * bound * one->importance);
      CHECK(many[k].points == one->points && one->points >= 4);
      for (i = 0; i < (int)one->points; i++) CHECK(many[k].point[i] == one->point[i]);
      for (i = 0; i < 2; i++) {
        CHECK(many[k].gone[i] == one->gone[i]);
        CHECK_CLOSE(many[k].chosen[i], one->chosen[i], 100 * bound);
      }
    }
  }
}

/* A run that one of two stops at its seventh report, and that goes on by four, then by one, ends
 * the same. */
TEST(stops_and_resumes) {
  const char *file = temporary("ranks.state");
  process whole[MOST], part[MOST];
  int size, k;
  remove(file);
  together(whole, 2, file, 0, 0);
  for (size = 1; size <= 4; size *= 2) {
    remove(file);
    together(part, 2, file, 7, 0);
    for (k = 0; k < 2; k++) CHECK(part[k].status == BDPT_CANCELLED && part[k].reports == 7);
    together(part, size, file, 0, 0);
    CHECK(part[0].status == BDPT_OK && part[0].reports < whole[0].reports);
    CHECK_CLOSE(part[0].loss[0], whole[0].loss[0], 10 * bound);
    CHECK(size != 2 || strcmp(part[0].hash, whole[0].hash) == 0); /* as many: the same bits */
  }
  remove(file);
}

/* One of two cannot read an image in the second epoch: it says so, the other is told to stop, and
 * the checkpoint that both leave goes on to the same end. */
TEST(one_fails) {
  const char *file = temporary("ranks.state");
  process whole[MOST], part[MOST];
  int bad, k;
  remove(file);
  together(whole, 2, file, 0, 0);
  for (bad = 0; bad < 2; bad++) {
    remove(file);
    fails = bad; good = 52;
    together(part, 2, file, 0, 0);
    good = 0;
    CHECK(part[bad].status == BDPT_E_IO && part[1 - bad].status == BDPT_CANCELLED);
    CHECK_HAS(part[bad].message, "image");
    together(part, 2, file, 0, 0);
    for (k = 0; k < 2; k++) CHECK(part[k].status == BDPT_OK);
    CHECK(part[0].reports < whole[0].reports - 4); /* it went on from the second epoch */
    CHECK(strcmp(part[0].hash, whole[0].hash) == 0);
  }
  remove(file);
}

/* All gradients of a caller's own graph are exchanged, so the networks stay equal. */
TEST(own_loss) {
  process p[MOST];
  int k;
  lessons = 1;
  together(p, 2, NULL, 0, 0);
  lessons = 0;
  for (k = 0; k < 2; k++) CHECK(p[k].status == BDPT_OK && p[k].loss[2] == p[0].loss[2]);
  CHECK(p[0].loss[2] > 0 && strcmp(p[0].hash, p[1].hash) == 0);
}

TEST(errors) {
  process p[MOST];
  int k;
  together(p, 3, NULL, 0, 0);
  for (k = 0; k < 3; k++) CHECK(p[k].status == BDPT_E_ARGUMENT);
  CHECK_HAS(p[1].message, "process 1 of 3: a batch of 16 is no multiple of twice the processes");
  together(p, 2, NULL, 0, 20);
  for (k = 0; k < 2; k++) CHECK(p[k].status == BDPT_E_IO);
  CHECK_HAS(p[1].message, "process 1 of 2: the reduction failed with 7");
}

int main(void) {
  bdpt_context ctx;
  bdpt_rng r;
  size_t i;
  static unsigned char pixels[IMAGES * 3 * 64];
  static unsigned short label[IMAGES];
  memset(&ctx, 0, sizeof ctx);
  bdpt_init(&ctx);
  bdpt_rng_seed(&r, 3, 0);
  for (i = 0; i < IMAGES; i++) label[i] = (unsigned short)(i % CLASSES);
  for (i = 0; i < sizeof pixels; i++) {
    pixels[i] = (unsigned char)((int)(128 * bdpt_uniform(&r)) + 32 * label[i / 192]);
  }
  data.count = IMAGES; data.classes = CLASSES;
  data.height = data.width = 8; data.pixels = pixels; data.label = label;
  bdpt_split(&ctx, &data, 6, 1, &train, &held);
  RUN(many_train_as_one);
  RUN(stops_and_resumes);
  RUN(one_fails);
  RUN(own_loss);
  RUN(errors);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_finish(&ctx);
  return TEST_END("ranks");
}
