/* calls NAME: makes the public calls of one kind in a small world, prints what they found, and ends
 * with status 0; or, after the first failure, prints the context's sentence and ends with 1. It
 * ends by abort() if a failure had another status than memory, file or format, if it had no
 * sentence, or if anything stayed allocated. --list prints the names. Made for inject.c. */
#include "../../boundarydpt.h"
#include "../../examples/plus/boundarydpt_plus.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, IMAGES = 24, CLASSES = 3, DEPTH = 2 };

static bdpt_context ctx;
static bdpt_dataset data;
static bdpt_subset train, held;
static bdpt_model *model, *other;
static bdpt_tape *tape;
static bdpt_merging merging;
static double sum; /* of everything that the calls found */

#define DO(call) do { bdpt_status s_ = (call); if (s_ != BDPT_OK) return s_; } while (0)
#define MADE(pointer) do { bdpt_status s_ = has((pointer) ? 1 : 0); if (s_) return s_; } while (0)

/* Returns the status behind a call that gives out an object, which it must not after an error. */
static bdpt_status has(int object) {
  if (object && ctx.status != BDPT_OK) {
    fprintf(stderr, "given out in spite of: %s\n", ctx.message);
    abort();
  }
  if (object) return BDPT_OK;
  return ctx.status ? ctx.status : (bdpt_status)1;
}

static bdpt_config config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = SIDE; c.patch = 4; c.width = 8; c.depth = DEPTH; c.heads = 2; c.mlp = 12;
  c.classes = CLASSES;
  return c;
}

static bdpt_status make_data(void) {
  size_t i, k, pixels = 3 * SIDE * SIDE;
  data.count = IMAGES; data.classes = CLASSES; data.height = data.width = SIDE;
  data.pixels = (unsigned char *)bdpt_alloc(&ctx, IMAGES * pixels);
  data.label = (unsigned short *)bdpt_alloc(&ctx, IMAGES * sizeof *data.label);
  MADE(data.pixels && data.label);
  for (i = 0; i < IMAGES; i++) {
    data.label[i] = (unsigned short)(i % CLASSES);
    for (k = 0; k < pixels; k++) {
      data.pixels[i * pixels + k] = (unsigned char)((i % CLASSES * 80 + i * 7 + k * 13) % 256);
    }
  }
  return bdpt_split(&ctx, &data, 2, 1, &train, &held);
}

static bdpt_status world(void) {
  bdpt_config c = config();
  DO(make_data());
  model = bdpt_model_create(&ctx, &c, 1);
  MADE(model);
  return BDPT_OK;
}

static bdpt_recipe recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 2; r.batch = 6; r.epoch_images = 12; r.seed = 3; r.ema = 0.9; r.clip = 1;
  return r;
}

static bdpt_hooks hooks(const char *checkpoint) {
  bdpt_hooks h;
  memset(&h, 0, sizeof h);
  h.checkpoint = checkpoint;
  return h;
}

static void add(bdpt_tensor *x) {
  size_t i;
  for (i = 0; x && i < x->count; i++) sum += (double)x->data[i] * (double)(1 + i % 7);
}

/* ---- The tape -------------------------------------------------------------------------------- */

static bdpt_tensor *input(size_t a, size_t b, size_t c) {
  const size_t shape[3] = {a, b, c};
  bdpt_tensor *x = bdpt_input(tape, 3, shape, NULL, 1);
  size_t i;
  for (i = 0; x && i < x->count; i++) x->data[i] = (bdpt_real)sin((double)i + (double)c);
  return x;
}

static bdpt_tensor *flat(int ndim, size_t a, size_t b) {
  const size_t shape[2] = {a, b};
  bdpt_tensor *x = bdpt_input(tape, ndim, shape, NULL, 1);
  size_t i;
  for (i = 0; x && i < x->count; i++) x->data[i] = (bdpt_real)cos((double)i + (double)a);
  return x;
}

static bdpt_status back(bdpt_tensor *y) {
  size_t i;
  bdpt_real *seed;
  if (!y) return has(0);
  DO(ctx.status); /* an optional input may be what there was no memory for */
  add(y);
  if (y->count == 1) return bdpt_backward(tape, y, NULL);
  seed = (bdpt_real *)bdpt_alloc(&ctx, y->count * sizeof *seed);
  MADE(seed);
  for (i = 0; i < y->count; i++) seed[i] = 1;
  {
    bdpt_status s = bdpt_backward(tape, y, seed);
    bdpt_release(&ctx, seed, y->count * sizeof *seed);
    return s;
  }
}

static bdpt_status ops(void) {
  bdpt_tensor *x, *w[6];
  static const bdpt_real target[6] = {1, 0, 0, 0, 1, 0};
  bdpt_rng rng;
  bdpt_rng_seed(&rng, 1, 2);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  MADE(tape);
  x = input(2, 5, 8);
  DO(back(bdpt_linear(tape, x, flat(2, 3, 8), flat(1, 3, 0), NULL)));
  DO(back(bdpt_linear(tape, x, flat(2, 8, 8), flat(1, 8, 0), input(2, 5, 8))));
  w[0] = flat(1, 8, 0); w[1] = flat(1, 8, 0); w[2] = flat(2, 12, 8); w[3] = flat(1, 12, 0);
  w[4] = flat(2, 8, 12); w[5] = flat(1, 8, 0);
  DO(back(bdpt_mlp(tape, x, w, 1e-6, BDPT_GELU)));
  DO(back(bdpt_layernorm(tape, x, w[0], w[1], 1e-6)));
  DO(back(bdpt_activate(tape, x, BDPT_GELU)));
  DO(back(bdpt_activate(tape, x, BDPT_QUICK_GELU)));
  DO(back(bdpt_attention(tape, input(2, 5, 24), NULL, 2, 0.5)));
  DO(back(bdpt_pool(tape, x, 1, 1, 0)));
  DO(back(bdpt_pool(tape, x, 1, 0, 1)));
  DO(back(bdpt_add(tape, x, bdpt_scale(tape, x, 2))));
  DO(back(bdpt_drop_path(tape, x, 0.5, &rng)));
  DO(back(bdpt_mix(tape, x, input(2, 5, 8), flat(1, 1, 0), BDPT_NONE)));
  DO(back(bdpt_cross_entropy(tape, flat(2, 2, 3), target)));
  DO(back(bdpt_distill_soft(tape, flat(2, 2, 3), target, 2)));
  DO(back(bdpt_match(tape, x, input(2, 5, 8))));
  DO(back(bdpt_tail(tape, x, 2)));
  DO(back(bdpt_upsample(tape, input(2, 4, 8), 2, 3, 3)));
  {
    static const int label[10] = {0, 1, 2, 3, 4, 5, 6, 7, -1, 0};
    DO(back(bdpt_pixel_loss(tape, x, label, -1)));
  }
  return BDPT_OK;
}

static bdpt_tensor *graph(bdpt_tape *t, bdpt_tensor *const *in, void *user) {
  (void)user;
  return bdpt_activate(t, in[0], BDPT_GELU);
}

static bdpt_status gradcheck(void) {
  const size_t shape[1] = {6};
  bdpt_tensor *x;
  double error;
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECOMPUTE);
  MADE(tape);
  x = bdpt_input(tape, 1, shape, NULL, 1);
  MADE(x);
  return bdpt_gradcheck(&ctx, graph, NULL, &x, 1, &error);
}

/* ---- Models ---------------------------------------------------------------------------------- */

static bdpt_status models(void) {
  bdpt_config c = config();
  char hash[17];
  DO(world());
  DO(bdpt_model_train_mode(model));
  other = bdpt_model_clone(model);
  MADE(other);
  DO(bdpt_model_assign(other, model));
  DO(bdpt_model_new_head(other, 5, 2));
  DO(bdpt_model_resize(other, 16, 0));
  DO(bdpt_model_pack(other));
  bdpt_model_unpack(other);
  bdpt_model_free(other);
  c.mlp = 10;
  other = bdpt_model_reshape(model, &c);
  MADE(other);
  bdpt_model_hash(other, hash);
  sum += hash[0] + hash[15];
  return BDPT_OK;
}

static bdpt_status forward(void) {
  static bdpt_real images[2 * 3 * SIDE * SIDE], logits[2 * CLASSES];
  const size_t shape[4] = {2, 3, SIDE, SIDE};
  bdpt_tensor *x;
  DO(world());
  DO(bdpt_load_batch(&ctx, &model->config, &train, 0, 2, images, NULL));
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  MADE(tape);
  DO(bdpt_predict(model, tape, 2, images, logits));
  sum += (double)logits[0];
  x = bdpt_input(tape, 4, shape, images, 0);
  MADE(x);
  add(bdpt_forward(model, tape, x, NULL, NULL));
  add(bdpt_features(model, tape, x, NULL));
  MADE(bdpt_trunk(model, tape, x, NULL));
  DO(bdpt_merge(model, 1, &merging));
  return bdpt_predict(model, tape, 2, images, logits);
}

static bdpt_status removing(void) {
  bdpt_cost_report cost;
  bdpt_certificate certificate;
  DO(world());
  DO(bdpt_prune(model, BDPT_ATTENTION, 0));
  DO(bdpt_restore(model, BDPT_ATTENTION, 0));
  DO(bdpt_prune(model, BDPT_ACTIVATION, 0));
  DO(bdpt_fuse(model, 0));
  DO(bdpt_prune(model, BDPT_ACTIVATION, 1));
  DO(bdpt_fuse_certified(model, &held, &certificate));
  DO(bdpt_fuse_all(model));
  DO(bdpt_cost(&ctx, &model->config, &cost));
  sum += (double)cost.params + certificate.difference;
  return BDPT_OK;
}

static bdpt_status fitting(void) {
  const bdpt_layers activation = {{0, 1 << 0}};
  bdpt_fit_report report;
  bdpt_layers set;
  DO(world());
  DO(bdpt_remove(model, &activation, BDPT_START_FIT, &train, &report));
  memset(&set, 0, sizeof set);
  bdpt_layers_add(&set, BDPT_ATTENTION, 1);
  bdpt_layers_add(&set, BDPT_ACTIVATION, 1);
  DO(bdpt_remove(model, &set, BDPT_START_FIT, &train, NULL));
  sum += report.error;
  return BDPT_OK;
}

/* ---- Data ------------------------------------------------------------------------------------ */

static bdpt_status sets(void) {
  bdpt_subset all, some;
  bdpt_accuracy a;
  bdpt_status s;
  DO(world());
  DO(bdpt_subset_all(&ctx, &data, &all));
  s = bdpt_sample(&ctx, &all, 7, 1, &some);
  if (!s) bdpt_subset_free(&ctx, &some);
  bdpt_subset_free(&ctx, &all);
  DO(s);
  DO(bdpt_evaluate(model, &held, &a));
  sum += a.loss;
  return BDPT_OK;
}

static bdpt_status cifar(void) {
  static unsigned char bytes[2 * 3074];
  bdpt_dataset set;
  DO(bdpt_cifar100_parse(&ctx, bytes, sizeof bytes, "two", &set));
  bdpt_dataset_free(&ctx, &set);
  DO(bdpt_file_write(&ctx, "two.bin", bytes, sizeof bytes));
  DO(bdpt_cifar100_load(&ctx, "two.bin", &set));
  sum += (double)set.count;
  bdpt_dataset_free(&ctx, &set);
  return BDPT_OK;
}

/* ---- Training -------------------------------------------------------------------------------- */

static bdpt_trainer *trainer;

static bdpt_status stepping(void) {
  bdpt_recipe r = recipe();
  bdpt_bytes bytes;
  double loss, mean[2][BDPT_MAX_DEPTH];
  bdpt_status s;
  DO(world());
  r.importance = 1;
  trainer = bdpt_trainer_create(model, NULL, &train, &r);
  MADE(trainer);
  DO(bdpt_trainer_step(trainer, &loss));
  sum += loss + (double)bdpt_trainer_importance(trainer, mean);
  bdpt_trainer_swap_ema(trainer);
  bdpt_trainer_swap_ema(trainer);
  DO(bdpt_trainer_build(trainer, &bytes));
  s = bdpt_trainer_parse(trainer, bytes.data, bytes.size, "bytes");
  bdpt_bytes_free(&ctx, &bytes);
  return s;
}

static bdpt_status training(void) {
  bdpt_recipe r = recipe();
  bdpt_hooks h = hooks("run.ckpt");
  bdpt_epoch log[2];
  DO(world());
  other = bdpt_model_clone(model);
  MADE(other);
  r.distill = BDPT_DISTILL_SOFT;
  DO(bdpt_train(model, other, &(bdpt_run){&train, &held, &h}, &r, log));
  sum += log[1].loss;
  return BDPT_OK;
}

static bdpt_status disparity(void) {
  bdpt_recipe r = recipe();
  bdpt_hooks h = hooks("run.ckpt");
  bdpt_disparity_row rows[2];
  size_t count;
  DO(world());
  DO(bdpt_disparity(model, &(bdpt_run){&train, NULL, &h}, &r, 2, rows, 2, &count));
  sum += rows[0].loss;
  return BDPT_OK;
}

static bdpt_status recovery(void) {
  bdpt_recovery_options o;
  bdpt_hooks h = hooks("run.ckpt");
  bdpt_recovery_row rows[2 * DEPTH];
  DO(world());
  memset(&o, 0, sizeof o);
  o.recipe = recipe(); o.recipe.epochs = 1;
  DO(bdpt_recovery(model, &(bdpt_run){&train, &held, &h}, &o, rows));
  sum += rows[3].at_once;
  return BDPT_OK;
}

static bdpt_status predictor(void) {
  static const bdpt_map_point points[6] = {
    {1, 1, 80}, {0.5, 1, 70}, {1, 0.5, 75}, {0.5, 0.5, 60}, {0, 1, 40}, {1, 0, 50}};
  bdpt_map map;
  bdpt_map_noise_options trials = {4, 2, 5, 0.1, 0.5, 1, 0};
  bdpt_map_noise_report noise;
  int a, g;
  double p;
  DO(bdpt_map_fit(&ctx, points, 6, 1, 0, &map));
  DO(bdpt_map_split(&ctx, &map, 4, 2, &a, &g, &p));
  sum += p;
  return bdpt_map_noise(&ctx, points, 6, &trials, &noise);
}

static bdpt_status greedy(void) {
  bdpt_greedy_options o;
  bdpt_greedy_result out;
  bdpt_hooks h = hooks("run.ckpt");
  DO(world());
  memset(&o, 0, sizeof o);
  o.layers = 2;
  DO(bdpt_greedy(model, &(bdpt_run){&train, &held, &h}, &o, &out));
  sum += out.loss[1];
  return BDPT_OK;
}

static bdpt_two_stage_options stages(void) {
  bdpt_two_stage_options o;
  memset(&o, 0, sizeof o);
  o.budget = 2; o.collect.most = 1; o.collect.rounds = 1;
  o.collect.recipe = recipe(); o.collect.recipe.epochs = 1;
  o.search.recipe = recipe(); o.search.stage[0] = o.search.stage[1] = 1;
  o.finetune = recipe(); o.finetune.epochs = 1;
  return o;
}

static bdpt_status two_stage(void) {
  static bdpt_two_stage_result out;
  bdpt_two_stage_options o = stages();
  bdpt_hooks h = hooks("run.ckpt");
  DO(world());
  DO(bdpt_two_stage(model, &(bdpt_run){&train, &held, &h}, &o, &out));
  sum += out.stage2.recovered.loss;
  return BDPT_OK;
}

static bdpt_status width(void) {
  bdpt_width_options o;
  DO(world());
  memset(&o, 0, sizeof o);
  o.ratio[BDPT_HIDDEN] = 0.5; o.multiple = 2; o.images = 6;
  return bdpt_width_prune(model, &train, &o, NULL, NULL);
}

static bdpt_status plus(void) {
  static bdpt_plus_result out;
  bdpt_plus_options o;
  bdpt_hooks h = hooks("run.ckpt");
  DO(world());
  memset(&o, 0, sizeof o);
  bdpt_layers_add(&o.layers, BDPT_ACTIVATION, 0);
  o.width.ratio[BDPT_HIDDEN] = 0.5; o.width.multiple = 2; o.width.images = 6;
  o.depth = stages();
  o.between = recipe(); o.between.epochs = 1;
  DO(bdpt_plus(model, &(bdpt_run){&train, &held, &h}, &o, &out));
  sum += out.step[0].recovery.recovered.loss;
  return BDPT_OK;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bdpt_status files(void) {
  bdpt_bytes bytes;
  size_t i;
  DO(bdpt_file_write(&ctx, "new", "some bytes", 10));
  DO(bdpt_file_read(&ctx, "new", &bytes));
  for (i = 0; i < bytes.size; i++) sum += bytes.data[i];
  bdpt_bytes_free(&ctx, &bytes);
  return BDPT_OK;
}

static bdpt_status model_files(void) {
  bdpt_bytes bytes;
  bdpt_safetensors f;
  bdpt_status s;
  bdpt_real numbers[8];
  const bdpt_file_tensor *norm;
  DO(world());
  DO(bdpt_model_build(model, &bytes));
  other = bdpt_model_parse(&ctx, bytes.data, bytes.size, "bytes", NULL);
  bdpt_bytes_free(&ctx, &bytes);
  MADE(other);
  bdpt_model_free(other); other = NULL;
  DO(bdpt_model_save(model, "model.st"));
  DO(bdpt_file_read(&ctx, "model.st", &bytes));
  s = bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, "model.st", &f);
  norm = bdpt_safetensors_find(&f, "norm.weight");
  if (norm) {
    s = bdpt_safetensors_read(&ctx, norm, numbers, 8);
    sum += (double)f.count + (double)numbers[7] + (s == BDPT_OK);
  }
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  DO(s);
  other = bdpt_model_load(&ctx, "model.st", NULL);
  MADE(other);
  return BDPT_OK;
}

typedef struct named { const char *name; bdpt_status (*run)(void); } named;

static const named calls[] = {
  {"ops", ops}, {"gradcheck", gradcheck}, {"models", models}, {"forward", forward},
  {"removing", removing}, {"fitting", fitting}, {"sets", sets}, {"cifar", cifar},
  {"stepping", stepping}, {"training", training}, {"disparity", disparity},
  {"recovery", recovery}, {"predictor", predictor}, {"greedy", greedy},
  {"two_stage", two_stage}, {"width", width}, {"plus", plus}, {"files", files},
  {"model_files", model_files}};

static void finish(void) {
  bdpt_merging_free(&merging);
  bdpt_trainer_free(trainer);
  bdpt_tape_free(tape);
  bdpt_model_free(model);
  bdpt_model_free(other);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_dataset_free(&ctx, &data);
  bdpt_finish(&ctx);
  if (ctx.bytes_now != 0) abort();
  trainer = NULL; tape = NULL; model = other = NULL;
}

/* Makes the calls of one kind; 1 after a failure, 0 if there was none. */
static int made(const named *c) {
  bdpt_status s;
  ctx.threads = 1;
  sum = 0;
  s = bdpt_init(&ctx);
  if (!s) s = c->run();
  if (s != BDPT_OK) {
    int expected = s == BDPT_E_MEMORY || s == BDPT_E_IO;
    if (!expected || s != ctx.status || !ctx.message[0]) {
      fprintf(stderr, "status %d, the context's %d: %s\n", (int)s, (int)ctx.status, ctx.message);
      abort();
    }
  }
  finish();
  if (s == BDPT_OK && ctx.status != BDPT_OK) abort(); /* a success that carries an error */
  return s != BDPT_OK;
}

int main(int argc, char **argv) {
  size_t i;
  for (i = 0; i < sizeof calls / sizeof *calls; i++) {
    if (argc > 1 && strcmp(argv[1], "--list") == 0) printf("%s\n", calls[i].name);
    else if (argc > 1 && strcmp(argv[1], calls[i].name) == 0) break;
  }
  if (i == sizeof calls / sizeof *calls) return argc > 1 ? 0 : 2;
  if (made(&calls[i])) {
    fprintf(stderr, "%s\n", ctx.message);
    return 1;
  }
  if (printf("%.9g\n", sum) > 0 && fflush(stdout) == 0) return 0;
  perror("the output");
  return 1;
}
