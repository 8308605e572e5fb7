/* Fuzz target: sequences of calls. Each byte chooses a call and what it gets: tensors of a pool in
 * which some are NULL and most do not fit, layers that may be gone, options that may be wrong. A
 * call may fail, with a sentence; nothing may crash, leak, or change what it should not. Ends with
 * "api_calls N" on stderr.
 * longest: 150 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "fuzz.h"

enum { POOL = 12, SIDE = 4, PICTURES = 6, KINDS = 3 };

static unsigned long long api_calls;
static void tell(void) { fprintf(stderr, "api_calls %llu\n", api_calls); }

typedef struct world {
  bdpt_context ctx;
  const uint8_t *data;
  size_t size, at;
  bdpt_tape *tape;
  bdpt_tensor *pool[POOL];
  bdpt_dataset set;
  bdpt_subset all;
  bdpt_model *model, *other;
  bdpt_trainer *trainer;
  bdpt_merging merging; /* of both models */
} world;

static unsigned next(world *w) { return w->at < w->size ? w->data[w->at++] : 0; }
static bdpt_tensor *any(world *w) { return w->pool[next(w) % POOL]; }
static void keep(world *w, bdpt_tensor *x) { w->pool[next(w) % POOL] = x; }

static void make_input(world *w) {
  static const size_t sizes[8] = {1, 2, 3, 4, 8, 12, 0, SIZE_MAX / 2};
  size_t shape[BDPT_MAX_DIMS];
  int ndim = (int)(next(w) % 6), i;
  for (i = 0; i < BDPT_MAX_DIMS; i++) {
    unsigned v = next(w);
    shape[i] = sizes[v < 240 ? v % 6 : v % 8];
  }
  keep(w, bdpt_input(w->tape, ndim, shape, NULL, (int)(next(w) & 1)));
}

static void operate(world *w) {
  static const int labels[4096] = {0, 1, 2, -1};
  static const bdpt_real target[4096] = {1};
  bdpt_tape *t = w->tape;
  bdpt_tensor *a = any(w), *b = any(w), *c = any(w), *list[6];
  bdpt_rng rng = {7};
  int i;
  double v = (double)next(w) / 64 - 1;
  switch (next(w) % 20) {
    case 0: keep(w, bdpt_linear(t, a, b, c, NULL)); break;
    case 1: keep(w, bdpt_linear(t, a, b, c, any(w))); break;
    case 2: keep(w, bdpt_layernorm(t, a, b, c, v)); break;
    case 3: keep(w, bdpt_activate(t, a, BDPT_GELU)); break;
    case 4: keep(w, bdpt_activate(t, a, (bdpt_act)(next(w) % 5))); break;
    case 5: keep(w, bdpt_match(t, a, b)); break;
    case 6: keep(w, bdpt_attention(t, a, NULL, (int)(next(w) % 5), v)); break;
    case 7: keep(w, bdpt_patch_embed(t, a, b, c)); break;
    case 8: keep(w, bdpt_pool(t, a, next(w) % 4, 1, 0)); break;
    case 9: keep(w, bdpt_pool(t, a, next(w) % 3, 0, (int)(next(w) & 1))); break;
    case 10: keep(w, bdpt_add(t, a, b)); break;
    case 11: keep(w, bdpt_scale(t, a, v)); break;
    case 12: keep(w, bdpt_drop_path(t, a, v, &rng)); break;
    case 13: keep(w, bdpt_mix(t, a, b, c, (double)(int)(next(w) % 3) - 1)); break;
    case 14: if (a && a->count <= 4096) keep(w, bdpt_cross_entropy(t, a, target)); break;
    case 15: if (a && a->count <= 4096) keep(w, bdpt_distill_soft(t, a, target, v)); break;
    case 16: keep(w, bdpt_match(t, a, b)); break;
    case 17: keep(w, bdpt_tail(t, a, next(w) % 4)); break;
    case 18: if (a && a->count <= 4096) keep(w, bdpt_pixel_loss(t, a, labels, -1)); break;
    default:
      for (i = 0; i < 6; i++) list[i] = any(w);
      keep(w, bdpt_mlp(t, a, list, 1e-6, BDPT_GELU));
  }
}

static void change(world *w) {
  const bdpt_type type = (bdpt_type)(next(w) & 1);
  const int layer = (int)(next(w) % 4) - 1;
  bdpt_layers set;
  bdpt_cost_report cost;
  switch (next(w) % 10) {
    case 0: bdpt_prune(w->model, type, layer); break;
    case 1: bdpt_restore(w->model, type, layer); break;
    case 2: bdpt_fuse(w->model, layer); break;
    case 3: bdpt_fuse_all(w->model); break;
    case 4: bdpt_prune_linear(w->model, layer, (int)(next(w) % 3)); break;
    case 5: case 6:
      memset(&set, 0, sizeof set);
      set.blocks[0] = next(w) & 15; set.blocks[1] = next(w) & 15;
      if (layer > 0) bdpt_remove(w->model, &set, BDPT_START_FIT, &w->all, NULL);
      else
        bdpt_remove(w->model, &set, (bdpt_start)(next(w) % 7), next(w) & 1 ? &w->all : NULL, NULL);
      break;
    case 7: bdpt_model_assign(w->model, w->other); break;
    case 8: bdpt_merge(w->model, (int)(next(w) % 5) - 1, &w->merging); break;
    default: bdpt_cost(&w->ctx, &w->model->config, &cost);
  }
}

static void use(world *w) {
  static bdpt_real images[2 * 3 * 64 * 64], logits[2 * 64];
  bdpt_accuracy a;
  bdpt_bytes bytes = {NULL, 0};
  bdpt_model *m;
  bdpt_tape *t;
  switch (next(w) % 7) {
    case 0:
      t = bdpt_tape_create(&w->ctx, BDPT_TAPE_COMPUTE);
      bdpt_predict(w->model, t, 1 + next(w) % 2, images, logits);
      bdpt_tape_free(t);
      break;
    case 1: bdpt_evaluate(w->model, &w->all, &a); break;
    case 2:
      m = bdpt_model_clone(w->model);
      bdpt_model_free(w->other);
      w->other = m;
      break;
    case 3:
      if (bdpt_model_build(w->model, &bytes) != BDPT_OK) break;
      if (next(w) & 1) bytes.data[next(w) * bytes.size / 256] ^= (unsigned char)(1 + next(w));
      m = bdpt_model_parse(&w->ctx, bytes.data, bytes.size, "bytes", NULL);
      bdpt_bytes_free(&w->ctx, &bytes);
      bdpt_model_free(m);
      break;
    case 4: bdpt_model_resize(w->model, (int)(next(w) % 5) * 2, (int)(next(w) % 4) * 2); break;
    case 5: bdpt_model_new_head(w->model, (int)(next(w) % 5), 1); break;
    default: keep(w, bdpt_forward(w->model, w->tape, any(w), NULL, NULL));
  }
}

static void train(world *w) {
  bdpt_recipe r;
  if (!w->trainer) {
    memset(&r, 0, sizeof r);
    r.epochs = (int)(next(w) % 3); r.batch = (int)(next(w) % 8); r.lr = (double)next(w) / 2000;
    r.ema = (double)(next(w) % 3) / 2; r.mixup = (double)(next(w) % 3); r.importance = next(w) & 1;
    w->trainer = bdpt_trainer_create(w->model, next(w) & 1 ? w->other : NULL, &w->all, &r);
  } else if (next(w) % 4) {
    bdpt_trainer_step(w->trainer, NULL);
  } else {
    bdpt_trainer_free(w->trainer);
    w->trainer = NULL;
  }
}

static void call(world *w) {
  const unsigned which = next(w) % 16;
  api_calls++;
  if (which < 5) make_input(w);
  else if (which < 10) operate(w);
  else if (w->trainer || which == 10) train(w); /* the model is the trainer's while there is one */
  else if (which < 13) change(w);
  else if (which < 14) use(w);
  else if (which < 15) bdpt_backward(w->tape, any(w), NULL);
  else {
    memset(w->pool, 0, sizeof w->pool);
    bdpt_tape_reset(w->tape);
  }
  FUZZ_CHECK((w->ctx.status != BDPT_OK) == (w->ctx.message[0] != 0));
  bdpt_clear_error(&w->ctx);
}

static int build(world *w) {
  static unsigned char pixels[PICTURES * 3 * SIDE * SIDE];
  static unsigned short label[PICTURES];
  bdpt_config c;
  size_t i;
  for (i = 0; i < sizeof pixels; i++) pixels[i] = (unsigned char)(i * 37);
  for (i = 0; i < PICTURES; i++) label[i] = (unsigned short)(i % KINDS);
  w->set.count = PICTURES; w->set.classes = KINDS; w->set.height = w->set.width = SIDE;
  w->set.pixels = pixels; w->set.label = label;
  memset(&c, 0, sizeof c);
  c.image = SIDE; c.patch = 2; c.width = 4; c.heads = 2; c.mlp = 6; c.depth = 2; c.classes = KINDS;
  w->tape = bdpt_tape_create(&w->ctx, BDPT_TAPE_RECORD);
  w->model = bdpt_model_create(&w->ctx, &c, 1);
  w->other = bdpt_model_create(&w->ctx, &c, 2);
  return bdpt_subset_all(&w->ctx, &w->set, &w->all) == BDPT_OK && w->tape && w->model && w->other;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int told;
  static world w;
  if (!told++) atexit(tell);
  memset(&w, 0, sizeof w);
  w.ctx = fuzz_context();
  w.data = data; w.size = size < 1024 ? size : 1024;
  FUZZ_CHECK(build(&w));
  while (w.at < w.size) call(&w);
  bdpt_trainer_free(w.trainer);
  bdpt_tape_free(w.tape);
  bdpt_model_free(w.model);
  bdpt_model_free(w.other);
  bdpt_merging_free(&w.merging);
  bdpt_subset_free(&w.ctx, &w.all);
  fuzz_end(&w.ctx, 0);
  return 0;
}
