/* =================================================================================================
 * glue.c: the header as a WebAssembly module for the page
 * =================================================================================================
 * Everything that the page asks of boundarydpt.h goes through this file, and nothing else in the
 * page knows the header's names. A browser can hand over whole numbers, addresses and doubles; so
 * networks are known by small numbers ("handles", 0 is none), longer answers are left in `answer`,
 * and a call that fails returns 0 or -1 and leaves the library's sentence for page_error.
 *
 * One context, one thread: the worker that owns the module makes one call at a time. The library is
 * used through its public interface only. Images: the test images are embedded in the page; those
 * that train, fit and choose are drawn on demand by generate.c, and split as the tool splits them,
 * so `boundarydpt prune --start fit` and the page fit the same maps to the same images.
 */
#define BDPT_STATIC
#define BDPT_NO_STDIO
#define BOUNDARYDPT_IMPLEMENTATION
#include "../../../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../../plus/boundarydpt_plus.h"
#define IMAGE_NO_STB
#include "../pictures/images.c"
#include "../pictures/shapes.c"
#include "../pictures/families.c"
#include "../pictures/generate.c"

#define PAGE_CALL(name) __attribute__((export_name(#name)))

enum {
  PAGE_MODELS = 128,        /* handles */
  PAGE_TRAINERS = 2,        /* the race runs two at once */
  PAGE_SEED = 1,            /* of the drawn images and of their split, as in the tool */
  PAGE_DRAWN = 50000,       /* training images that the generator stands for */
  PAGE_HELD = 50,           /* of each class held out of them, as in the tool */
  PAGE_CHOOSERS = 300,      /* of the held-out images that choose and certify */
  PAGE_CACHE = 512,         /* drawn images that are kept */
  PAGE_ANSWER = 4096        /* doubles */
};
#define PAGE_SIGHT ((size_t)64 << 20) /* most bytes of attention maps: of larger ones nothing */

static bdpt_context ctx;
static bdpt_model *model[PAGE_MODELS];
static bdpt_tape *tape;                     /* computes only; workspace of every look and timing */
static double answer[PAGE_ANSWER];
static bdpt_dataset tests, drawn;           /* embedded; drawn on demand */
static bdpt_subset tested, rest, held, choosers;
static bdpt_trainer *trainer[PAGE_TRAINERS];
static bdpt_map surface;
static bdpt_real *batch, *batch_logits;     /* what is timed */
static size_t batch_bytes;

/* Returns the library's first error as text; afterwards the context works again. */
PAGE_CALL(page_error) const char *page_error(void) {
  static char sentence[sizeof ctx.message];
  memcpy(sentence, ctx.message, sizeof sentence);
  bdpt_clear_error(&ctx);
  return sentence;
}

PAGE_CALL(page_answer) double *page_answer(void) { return answer; }
PAGE_CALL(page_alloc) void *page_alloc(size_t bytes) { return malloc(bytes); }
PAGE_CALL(page_free) void page_free(void *p) { free(p); }
PAGE_CALL(page_version) const char *page_version(void) { return bdpt_version(); }
PAGE_CALL(page_class) const char *page_class(int k) { return gen_fine_name(k); }

/* =================================================================================================
 * 1  IMAGES
 * ============================================================================================== */

/* Draws a training image (bdpt_dataset.fetch). Fits ask for the same few hundred again and again,
 * so some are kept. */
static int fetch(void *user, size_t index, unsigned char *planes) {
  static unsigned char kept[PAGE_CACHE][3 * GEN_PLANE], record[GEN_RECORD];
  static size_t owner[PAGE_CACHE];          /* index + 1 */
  size_t place = (index * 2654435761u >> 7) % PAGE_CACHE;
  (void)user;
  if (owner[place] != index + 1) {
    gen_image(PAGE_SEED, index, record);
    memcpy(kept[place], record + 2, sizeof kept[place]);
    owner[place] = index + 1;
  }
  memcpy(planes, kept[place], sizeof kept[place]);
  return 0;
}

/* Draws the training images and their two sides when they are first wanted. */
static int drawn_ready(void) {
  size_t i;
  bdpt_status s = BDPT_OK;
  if (drawn.count) return 1;
  drawn.classes = GEN_FINE;
  drawn.height = drawn.width = GEN_SIZE;
  drawn.fetch = fetch;
  drawn.label = (unsigned short *)malloc(PAGE_DRAWN * sizeof *drawn.label);
  if (!drawn.label) return 0;
  for (i = 0; i < PAGE_DRAWN; i++) drawn.label[i] = (unsigned short)gen_label(PAGE_SEED, i);
  drawn.count = PAGE_DRAWN;
  s = bdpt_split(&ctx, &drawn, PAGE_HELD, PAGE_SEED, &rest, &held);
  if (s == BDPT_OK) s = bdpt_sample(&ctx, &held, PAGE_CHOOSERS, PAGE_SEED, &choosers);
  if (s != BDPT_OK) drawn.count = 0;
  return s == BDPT_OK;
}

/* Takes bytes[size], the embedded test images in CIFAR-100's format. Returns how many there are. */
PAGE_CALL(page_start) int page_start(const unsigned char *bytes, size_t size) {
  if (bdpt_init(&ctx) != BDPT_OK) return -1;
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  if (!tape || bdpt_cifar100_parse(&ctx, bytes, size, "the embedded images", &tests) != BDPT_OK)
    return -1;
  return bdpt_subset_all(&ctx, &tests, &tested) == BDPT_OK ? (int)tests.count : -1;
}

/* Returns where the pixels of test image i lie, planes[3][32][32]; its label is in answer[0]. */
PAGE_CALL(page_image) const unsigned char *page_image(int i) {
  answer[0] = tests.label[i];
  return tests.pixels + (size_t)i * 3 * GEN_PLANE;
}

/* Makes a picture from the visitor's computer, rgba[height][width][4], fit a square of `side` as
 * `boundarydpt classify` does: planes[3][side][side], to be freed; NULL if it cannot be. */
PAGE_CALL(page_own) unsigned char *page_own(const unsigned char *rgba, int width, int height,
                                            int side, int crop) {
  picture p;
  size_t n = (size_t)width * (size_t)height, i;
  unsigned char *out = (unsigned char *)malloc((size_t)side * (size_t)side * 3);
  int c, ok;
  p.width = width;
  p.height = height;
  p.planes = (unsigned char *)malloc(3 * n);
  for (c = 0; c < 3 && p.planes; c++)
    for (i = 0; i < n; i++) p.planes[(size_t)c * n + i] = rgba[4 * i + (size_t)c];
  ok = out && p.planes &&
       image_fit(&p, side, crop ? IMAGE_CROP : IMAGE_WHOLE, out, ctx.message);
  free(p.planes);
  if (ok) return out;
  free(out);
  return NULL;
}

/* =================================================================================================
 * 2  NETWORKS
 * ============================================================================================== */

static int keep(bdpt_model *m) {
  int h;
  if (!m) return 0;
  for (h = 1; h < PAGE_MODELS; h++) {
    if (model[h]) continue;
    model[h] = m;
    return h;
  }
  bdpt_model_free(m);
  return 0;
}

PAGE_CALL(page_parse) int page_parse(const void *bytes, size_t size) {
  bdpt_model *m = bdpt_model_parse(&ctx, bytes, size, "the file", NULL);
  if (m && m->config.image_width) {
    bdpt_fail(&ctx, BDPT_E_SHAPE, "it reads %d x %d pixels; this page draws squares",
              m->config.image, m->config.image_width);
    bdpt_model_free(m);
    m = NULL;
  }
  return keep(m);
}

PAGE_CALL(page_clone) int page_clone(int h) { return keep(bdpt_model_clone(model[h])); }

PAGE_CALL(page_drop) void page_drop(int h) {
  bdpt_model_free(model[h]);
  model[h] = NULL;
}

/* Returns the bytes of a safetensors file, to be given back to page_built; their number is in
 * answer[0]. */
PAGE_CALL(page_build) unsigned char *page_build(int h) {
  bdpt_bytes bytes = {NULL, 0};
  if (bdpt_model_build(model[h], &bytes) != BDPT_OK) return NULL;
  answer[0] = (double)bytes.size;
  return bytes.data;
}
PAGE_CALL(page_built) void page_built(unsigned char *data, size_t size) {
  bdpt_bytes bytes = {data, size};
  bdpt_bytes_free(&ctx, &bytes);
}

/* Answers with what JavaScript wants to know of a configuration: 13 numbers, then five of each
 * block. */
PAGE_CALL(page_config) int page_config(int h) {
  const bdpt_config *c = &model[h]->config;
  double *a = answer;
  int l;
  *a++ = c->depth, *a++ = c->width, *a++ = c->heads, *a++ = c->mlp, *a++ = c->image;
  *a++ = c->patch, *a++ = c->classes, *a++ = c->distilled, *a++ = c->attn_form;
  *a++ = bdpt_removed(c, BDPT_ATTENTION), *a++ = bdpt_removed(c, BDPT_ACTIVATION);
  *a++ = bdpt_prefix_count(c), *a++ = !c->no_class;
  for (l = 0; l < c->depth; l++) {
    const bdpt_block *b = &c->block[l];
    *a++ = b->heads, *a++ = b->head_dim, *a++ = b->mlp, *a++ = b->attention, *a++ = b->mlp_state;
  }
  return (int)(a - answer);
}

PAGE_CALL(page_certificate) const char *page_certificate(int h) { return model[h]->certificate; }
PAGE_CALL(page_preprocessing) const char *page_preprocessing(int h) {
  return model[h]->preprocessing;
}
PAGE_CALL(page_form) void page_form(int h, int form) {
  model[h]->config.attn_form = (bdpt_attn_form)form;
}

static int told(bdpt_status s) { return s == BDPT_OK; }

PAGE_CALL(page_prune) int page_prune(int h, int type, int layer) {
  return told(bdpt_prune(model[h], (bdpt_type)type, layer));
}
PAGE_CALL(page_restore) int page_restore(int h, int type, int layer) {
  return told(bdpt_restore(model[h], (bdpt_type)type, layer));
}
PAGE_CALL(page_fuse) int page_fuse(int h, int layer) { return told(bdpt_fuse(model[h], layer)); }
PAGE_CALL(page_linear) int page_linear(int h, int layer, int which) {
  return told(bdpt_prune_linear(model[h], layer, which));
}

/* Fits a map in the place of each layer of pairs[count][2], its type and block. answer: layers,
 * images, tokens, lambda, relative error of the worst on images that fitted nothing. */
PAGE_CALL(page_fit) int page_fit(int h, const int *pairs, int count) {
  bdpt_layers set = {{0, 0}};
  bdpt_fit_report r;
  int i;
  for (i = 0; i < count; i++)
    bdpt_layers_add(&set, (bdpt_type)pairs[2 * i], pairs[2 * i + 1]);
  if (!drawn_ready() || bdpt_remove(model[h], &set, BDPT_START_FIT, &rest, &r) != BDPT_OK) return 0;
  answer[0] = r.layers; answer[1] = (double)r.images; answer[2] = (double)r.tokens;
  answer[3] = BDPT_RIDGE; answer[4] = r.error;
  return 1;
}

/* Fuses all that can be, and compares before and after. answer: fused, images, largest relative
 * difference of a logit, equal arg-maxes, near ties. */
PAGE_CALL(page_certify) int page_certify(int h) {
  bdpt_certificate c;
  if (!drawn_ready() || bdpt_fuse_certified(model[h], &choosers, &c) != BDPT_OK) return 0;
  answer[0] = c.fused; answer[1] = (double)c.images; answer[2] = c.difference;
  answer[3] = (double)c.agree; answer[4] = (double)c.near_ties;
  return 1;
}

/* Answers with parameters and MACs, with and without the products of attention. */
static int cost_of(const bdpt_config *c, double out[3]) {
  bdpt_cost_report r;
  if (bdpt_cost(&ctx, c, &r) != BDPT_OK) return 0;
  out[0] = (double)r.params; out[1] = r.macs; out[2] = r.macs_no_matmul;
  return 1;
}
PAGE_CALL(page_cost) int page_cost(int h) { return cost_of(&model[h]->config, answer); }

/* Answers with what a layer costs: the whole network's cost less that of a network without it, an
 * MLP fused. */
PAGE_CALL(page_layer_cost) int page_layer_cost(int h, int type, int layer) {
  bdpt_config c = model[h]->config;
  double with[3], without[3];
  int i;
  if (!cost_of(&c, with)) return 0;
  if (type == BDPT_ATTENTION) c.block[layer].attention = BDPT_ATTENTION_REMOVED;
  else c.block[layer].mlp_state = BDPT_MLP_FUSED;
  if (!cost_of(&c, without)) return 0;
  for (i = 0; i < 3; i++) answer[i] = with[i] - without[i];
  return 1;
}

/* =================================================================================================
 * 3  MEASURING
 * ============================================================================================== */

/* Evaluates a network on `count` images from `first` on, of set 0, the embedded test images, or 1,
 * the held-out ones that choose. answer: how many there were, right, right among five, the sum of
 * their losses. */
PAGE_CALL(page_evaluate) int page_evaluate(int h, int set, int first, int count) {
  bdpt_subset part;
  bdpt_accuracy a;
  if (set == 1 && !drawn_ready()) return 0;
  part = set ? choosers : tested;
  if ((size_t)first >= part.count) return 0;
  if ((size_t)count > part.count - (size_t)first) count = (int)(part.count - (size_t)first);
  part.index += first;
  part.count = (size_t)count;
  if (bdpt_evaluate(model[h], &part, &a) != BDPT_OK) return 0;
  answer[0] = (double)a.count;
  answer[1] = floor(a.top1 * (double)a.count / 100 + 0.5);
  answer[2] = floor(a.top5 * (double)a.count / 100 + 0.5);
  answer[3] = a.loss * (double)a.count;
  return 1;
}

/* Loads `count` test images for the network's size, to be timed by page_run. */
PAGE_CALL(page_batch) int page_batch(int h, int count) {
  const bdpt_config *c = &model[h]->config;
  size_t side = (size_t)c->image, n = (size_t)count;
  size_t bytes = n * (3 * side * side + (size_t)c->classes) * sizeof *batch;
  if (bytes > batch_bytes) {
    free(batch);
    batch = (bdpt_real *)malloc(bytes);
    batch_bytes = batch ? bytes : 0;
  }
  if (!batch) return 0;
  batch_logits = batch + n * 3 * side * side;
  return told(bdpt_load_batch(&ctx, c, &tested, 0, n, batch, NULL));
}
PAGE_CALL(page_run) int page_run(int h, int count) {
  return told(bdpt_predict(model[h], tape, (size_t)count, batch, batch_logits));
}

/* =================================================================================================
 * 4  LOOKING INTO A NETWORK
 * =================================================================================================
 * One image goes through the network, whose blocks are replaced by one that looks. It sees:
 *
 *   maps      of each head of each block, [h][N][N]: row i says where token i looks
 *   stream    the tokens before the first half of a block and after each half, [2 L + 1][N][D]
 *   lens      what the head would say if the network ended after block l, [L + 1][K]
 *
 * The last row of the lens is the network's answer.
 */
typedef struct sight {
  size_t tokens, width, classes;
  bdpt_real *maps, *stream, *lens;
  size_t map_at[BDPT_MAX_DEPTH + 1]; /* where a block's maps begin; equal ends: it has none */
} sight;
static sight seen;

/* Computes qkv[N][3][h][d] of one image -> maps[h][N][N]: softmax(scale q k^T), row by row. */
static void attention_maps(const bdpt_real *qkv, size_t n, const bdpt_block *b, bdpt_real *maps) {
  size_t h = (size_t)b->heads, d = (size_t)b->head_dim, row = 3 * h * d, k, i, j, c;
  double scale = b->scale > 0 ? b->scale : 1 / sqrt((double)d);
  for (k = 0; k < h; k++)
    for (i = 0; i < n; i++, maps += n) {
      const bdpt_real *q = qkv + i * row + k * d;
      double most = -HUGE_VAL, sum = 0;
      for (j = 0; j < n; j++) {
        const bdpt_real *key = qkv + j * row + h * d + k * d;
        double s = 0;
        for (c = 0; c < d; c++) s += (double)q[c] * (double)key[c];
        maps[j] = (bdpt_real)(s * scale);
        if (maps[j] > most) most = (double)maps[j];
      }
      for (j = 0; j < n; j++) sum += maps[j] = (bdpt_real)exp((double)maps[j] - most);
      for (j = 0; j < n; j++) maps[j] = (bdpt_real)((double)maps[j] / sum);
    }
}

static bdpt_tensor *linear(bdpt_model *m, int slot, bdpt_tensor *x) {
  bdpt_tensor *bias = &m->param[slot + 1];
  return bdpt_linear(tape, x, &m->param[slot], bias->data ? bias : NULL, NULL);
}

static bdpt_tensor *norm(bdpt_model *m, int slot, bdpt_tensor *x) {
  return bdpt_layernorm(tape, x, &m->param[slot], &m->param[slot + 1], m->config.eps);
}

/* Asks the class head what it would say of the tokens as they stand: lens[K]. */
static int look_through(bdpt_model *m, bdpt_tensor *x, bdpt_real *lens) {
  const bdpt_config *c = &m->config;
  size_t first = (size_t)bdpt_prefix_count(c);
  bdpt_tensor *y;
  if (c->pool == BDPT_POOL_CLASS) y = norm(m, BDPT_SLOT_NORM_W, bdpt_pool(tape, x, 0, 1, 0));
  else if (c->pool == BDPT_POOL_MEAN)
    y = norm(m, BDPT_SLOT_FC_NORM_W, bdpt_pool(tape, x, first, 0, 0));
  else y = bdpt_pool(tape, norm(m, BDPT_SLOT_NORM_W, x), first, 0, c->pool == BDPT_POOL_BOTH);
  if (!c->headless) y = linear(m, BDPT_SLOT_HEAD_W, y);
  if (y) memcpy(lens, y->data, y->count * sizeof *lens);
  return y != NULL;
}

/* Makes room for everything that will be seen; 0 if there is no memory or it would be too much. */
static int sight_make(const bdpt_config *c, size_t tokens) {
  size_t depth = (size_t)c->depth, bytes, l;
  free(seen.maps); free(seen.stream); free(seen.lens);
  memset(&seen, 0, sizeof seen);
  seen.tokens = tokens;
  seen.width = (size_t)c->width;
  seen.classes = (size_t)c->classes;
  for (l = 0; l < depth; l++) {
    size_t heads = c->block[l].attention == BDPT_ATTENTION_KEPT ? (size_t)c->block[l].heads : 0;
    seen.map_at[l + 1] = seen.map_at[l] + heads * tokens * tokens;
  }
  bytes = (seen.map_at[depth] + 1) * sizeof *seen.maps;
  if (bytes > PAGE_SIGHT) return 0;
  seen.maps = (bdpt_real *)malloc(bytes);
  seen.stream = (bdpt_real *)malloc((2 * depth + 1) * tokens * seen.width * sizeof *seen.stream);
  seen.lens = (bdpt_real *)malloc((depth + 1) * seen.classes * sizeof *seen.lens);
  return seen.maps && seen.stream && seen.lens;
}

static void keep_stream(int half, const bdpt_tensor *x) {
  memcpy(seen.stream + (size_t)half * x->count, x->data, x->count * sizeof *x->data);
}

/* Computes the standard block, half by half, and copies what passes. */
static bdpt_tensor *watched_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                  const bdpt_forward_options *o, void *user) {
  const bdpt_block *b = &m->config.block[l];
  bdpt_real *lens;
  (void)user;
  if (l == 0) {
    if (!sight_make(&m->config, x->shape[1]) || !look_through(m, x, seen.lens)) return NULL;
    keep_stream(0, x);
  }
  if (b->attention == BDPT_ATTENTION_KEPT) {
    bdpt_tensor *qkv = linear(m, BDPT_SLOT(l, BDPT_SLOT_QKV_W),
                              norm(m, BDPT_SLOT(l, BDPT_SLOT_NORM1_W), x));
    if (!qkv) return NULL;
    attention_maps(qkv->data, x->shape[1], b, seen.maps + seen.map_at[l]);
  }
  x = bdpt_attention_half(m, t, l, x, o);
  if (!x) return NULL;
  keep_stream(2 * l + 1, x);
  x = bdpt_mlp_half(m, t, l, x, o);
  if (!x) return NULL;
  keep_stream(2 * l + 2, x);
  lens = seen.lens + (size_t)(l + 1) * seen.classes;
  return look_through(m, x, lens) ? x : NULL;
}

/* Walks through all blocks; the last row of the lens is the network's own answer. */
static int look(bdpt_model *m, bdpt_tensor *images) {
  bdpt_tensor *y;
  m->block = watched_block;
  y = bdpt_forward(m, tape, images, NULL, NULL);
  m->block = NULL;
  if (y) memcpy(seen.lens + (size_t)m->config.depth * seen.classes, y->data,
                seen.classes * sizeof *seen.lens);
  return y != NULL;
}

/* Sends planes[3][side][side] through the network. answer: tokens, width, classes, the addresses of
 * maps, stream and lens, and from 6 on where each block's maps begin, depth + 1 numbers. */
PAGE_CALL(page_look) int page_look(int h, unsigned char *planes, int side) {
  bdpt_model *m = model[h];
  unsigned short label = 0;
  bdpt_dataset one;
  bdpt_subset only;
  size_t index = 0, shape[4], n = (size_t)m->config.image, l;
  bdpt_tensor *x;
  memset(&one, 0, sizeof one);
  one.count = 1; one.classes = 1;
  one.height = one.width = side;
  one.pixels = planes; one.label = &label;
  only.data = &one; only.index = &index; only.count = 1;
  shape[0] = 1; shape[1] = 3; shape[2] = shape[3] = n;
  bdpt_tape_reset(tape);
  x = bdpt_input(tape, 4, shape, NULL, 0);
  if (!x || bdpt_load_batch(&ctx, &m->config, &only, 0, 1, x->data, NULL) != BDPT_OK) return 0;
  if (!look(m, x)) return 0;
  answer[0] = (double)seen.tokens; answer[1] = (double)seen.width;
  answer[2] = (double)seen.classes; answer[3] = (double)(uintptr_t)seen.maps;
  answer[4] = (double)(uintptr_t)seen.stream; answer[5] = (double)(uintptr_t)seen.lens;
  for (l = 0; l <= (size_t)m->config.depth; l++) answer[6 + l] = (double)seen.map_at[l];
  return 1;
}

/* Returns the address of the logits of the same image by bdpt_predict. The test compares. */
PAGE_CALL(page_predict) bdpt_real *page_predict(int h, int image) {
  if (!page_batch(h, 1)) return NULL;
  if (bdpt_load_batch(&ctx, &model[h]->config, &tested, (size_t)image, 1, batch, NULL) != BDPT_OK)
    return NULL;
  return page_run(h, 1) ? batch_logits : NULL;
}

/* =================================================================================================
 * 5  TRAINING AND CHOOSING
 * ============================================================================================== */

/* Trains network h in place, from step 0 of `steps`; teacher 0: labels alone. importance 1: the
 * gradients of the masks are kept. */
PAGE_CALL(page_train) int page_train(int t, int h, int teacher, int steps, int size, double lr,
                                     int importance) {
  bdpt_recipe r;
  if (!drawn_ready()) return 0;
  memset(&r, 0, sizeof r);
  r.epochs = 1;
  r.batch = size;
  r.epoch_images = (size_t)steps * (size_t)size;
  r.lr = lr;
  r.clip = 1;
  r.flip = 1;
  r.crop = 4;
  r.smoothing = 0.1;
  r.distill = teacher ? BDPT_DISTILL_SOFT : BDPT_DISTILL_NONE;
  r.importance = importance;
  r.seed = PAGE_SEED;
  bdpt_trainer_free(trainer[t]);
  trainer[t] = bdpt_trainer_create(model[h], teacher ? model[teacher] : NULL, &rest, &r);
  return trainer[t] != NULL;
}

/* Makes a training step and returns its loss, or NaN after an error. */
PAGE_CALL(page_step) double page_step(int t) {
  double loss;
  return bdpt_trainer_step(trainer[t], &loss) == BDPT_OK ? loss : NAN;
}

PAGE_CALL(page_train_end) void page_train_end(int t) {
  bdpt_trainer_free(trainer[t]);
  trainer[t] = NULL;
}

/* Answers with the mean |dL/dm| of each layer since the last call, [2][64]; returns the count of
 * steps. */
PAGE_CALL(page_gradients) int page_gradients(int t) {
  double g[2][BDPT_MAX_DEPTH];
  size_t steps = bdpt_trainer_importance(trainer[t], g);
  memcpy(answer, g, sizeof g);
  return (int)steps;
}

/* Makes the library's own greedy step on the same images; the test compares it with the page's.
 * answer: type, block and loss of the layer that goes. */
PAGE_CALL(page_greedy) int page_greedy(int h, int count) {
  bdpt_greedy_options o;
  bdpt_greedy_result r;
  bdpt_subset chosen;
  bdpt_model *copy = drawn_ready() ? bdpt_model_clone(model[h]) : NULL;
  int ok;
  memset(&o, 0, sizeof o);
  o.layers = 1;
  o.images = (size_t)count;
  o.start = BDPT_START_FIT;
  chosen = choosers;
  chosen.count = (size_t)count;
  ok = copy && bdpt_greedy(copy, &(bdpt_run){&rest, &chosen, NULL}, &o, &r) == BDPT_OK;
  if (ok) {
    answer[0] = r.layer[0].type;
    answer[1] = r.layer[0].block;
    answer[2] = r.loss[0];
  }
  bdpt_model_free(copy);
  return ok;
}

/* =================================================================================================
 * 6  THE PREDICTOR
 * ============================================================================================== */

/* Fits the predictor to points[count][3]: retained shares of attention and activations, accuracy
 * in per cent. answer: degree, terms, error in sample, then the leave-two-out errors of degree 1
 * to 4. */
PAGE_CALL(page_map) int page_map(const double *points, int count, int degree) {
  bdpt_map_point *p = (bdpt_map_point *)malloc((size_t)count * sizeof *p);
  bdpt_status s;
  int i;
  if (!p) return 0;
  for (i = 0; i < count; i++) {
    p[i].attention = points[3 * i];
    p[i].activation = points[3 * i + 1];
    p[i].accuracy = points[3 * i + 2];
  }
  s = bdpt_map_fit(&ctx, p, (size_t)count, 1, degree, &surface);
  free(p);
  if (s != BDPT_OK) return 0;
  answer[0] = surface.degree; answer[1] = surface.terms; answer[2] = surface.fit_rmse;
  for (i = 1; i <= 4; i++) answer[2 + i] = surface.cv_rmse[i];
  return 1;
}

PAGE_CALL(page_map_at) double page_map_at(double attention, double activation) {
  return bdpt_map_predict(&surface, attention, activation);
}

/* Splits a budget by the fitted predictor. answer: attention layers and activations to remove, and
 * the accuracy predicted. */
PAGE_CALL(page_split) int page_split(int depth, int budget) {
  int a, g;
  double accuracy;
  if (bdpt_map_split(&ctx, &surface, depth, budget, &a, &g, &accuracy) != BDPT_OK) return 0;
  answer[0] = a; answer[1] = g; answer[2] = accuracy;
  return 1;
}
