/* Checkpoints from elsewhere: PyTorch's two forms, transformers' names, and what is no checkpoint.
 *
 * The fixtures were written by PyTorch 2.13 and 1.13, transformers and safetensors, and the logits
 * computed by timm (tests/fixtures_checkpoint.py). Hostile files are built here, so that each can
 * be read beside the sentence it must provoke. Every allocation of the readers and of the library
 * passes through one counter, which finds leaks, measures the peak, and can say no. */
#define _POSIX_C_SOURCE 200809L
#include "../boundarydpt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t mem_now, mem_peak, mem_blocks, mem_requests, mem_fail_at;
typedef union mem_head { size_t bytes; double align[2]; } mem_head;
static void *mem_take(void *user, size_t bytes) {
  mem_head *h;
  (void)user;
  if (++mem_requests >= mem_fail_at && mem_fail_at) return NULL;
  if (bytes > SIZE_MAX / 2 || (h = (mem_head *)malloc(sizeof *h + bytes)) == NULL) return NULL;
  h->bytes = bytes;
  mem_blocks++;
  mem_now += bytes;
  if (mem_now > mem_peak) mem_peak = mem_now;
  return h + 1;
}
static void mem_give(void *user, void *p, size_t bytes) {
  (void)user;
  (void)bytes;
  if (!p) return;
  mem_blocks--;
  mem_now -= ((mem_head *)p - 1)->bytes;
  free((mem_head *)p - 1);
}
static void *mem_malloc(size_t bytes) { return mem_take(NULL, bytes); }
static void *mem_calloc(size_t count, size_t each) {
  void *p = count && each > SIZE_MAX / count ? NULL : mem_take(NULL, count * each);
  return p ? memset(p, 0, count * each) : NULL;
}
static void mem_free(void *p) { mem_give(NULL, p, 0); }
static void *mem_realloc(void *old, size_t bytes) {
  void *p = mem_take(NULL, bytes);
  size_t had = old ? ((mem_head *)old - 1)->bytes : 0;
  if (!p) return NULL;
  if (old) memcpy(p, old, had < bytes ? had : bytes);
  mem_give(NULL, old, 0);
  return p;
}
#define malloc mem_malloc
#define calloc mem_calloc
#define realloc mem_realloc
#define free mem_free
#include "../examples/tool/cli/json.c"
#include "../examples/tool/files/labels.c"
#include "../examples/tool/files/shards.c"
#include "../examples/tool/files/pickle.c"
#include "../examples/tool/files/zip.c"
#include "../examples/tool/files/pth.c"
#include "../examples/tool/files/config.c"
#include "../examples/tool/files/names.c"
#include "../examples/tool/files/checkpoint.c"
#undef malloc
#undef calloc
#undef realloc
#undef free
#include "../examples/tool/files/half.h"
#include "test.h"
#include "fixture.h"

#define FOLDER "tests/fixtures/checkpoint/"

static bdpt_context fresh(void) {
  bdpt_context ctx;
  memset(&ctx, 0, sizeof ctx);
  ctx.allocator.alloc = mem_take;
  ctx.allocator.free = mem_give;
  ctx.threads = 1;
  bdpt_init(&ctx);
  mem_requests = mem_fail_at = 0;
  mem_peak = mem_now;
  return ctx;
}

static checkpoint_report report;
/* Returns the texts as the files beside a checkpoint; NULL: there is none. */
static const checkpoint_texts *sides(const char *config, const char *images) {
  static checkpoint_texts both;
  both.config.text = config;
  both.config.size = config ? strlen(config) : 0;
  both.images.text = images;
  both.images.size = images ? strlen(images) : 0;
  return &both;
}

/* ------------------------------------------------------------------------- the same network --- */

/* Computes the logits of the fixture's two images, which are F32. */
static void predict(bdpt_context *ctx, bdpt_model *m, const char *network, bdpt_real *out) {
  const bdpt_file_tensor *t = fixture_find(network, ".images");
  bdpt_tape *tape = bdpt_tape_create(ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *x = (bdpt_real *)malloc(t->count * sizeof *x);
  CHECK(bdpt_safetensors_read(ctx, t, x, t->count) == BDPT_OK);
  CHECK(bdpt_predict(m, tape, 2, x, out) == BDPT_OK);
  bdpt_tape_free(tape);
  free(x);
}

/* Loads a file of the folder; its logits must be those of `logits` in expected.safetensors. `keep`,
 * if given, receives them. Returns the bits of the weights as a hash, "" on failure. */
static const char *loads(const char *file, const char *key, int heads, const char *network,
                         const char *logits, bdpt_real *keep) {
  static char hash[17];
  char path[200];
  bdpt_context ctx = fresh();
  checkpoint_options o = {key, heads};
  bdpt_model *m;
  bdpt_real out[16];
  snprintf(path, sizeof path, FOLDER "%s", file);
  m = checkpoint_load(&ctx, path, &o, &report);
  hash[0] = 0;
  if (!CHECK(m != NULL)) {
    printf("  %s\n", ctx.message);
  } else {
    predict(&ctx, m, network, out);
    fixture_check(out, (size_t)(2 * m->config.classes), network, logits);
    if (keep) memcpy(keep, out, (size_t)(2 * m->config.classes) * sizeof *out);
    bdpt_model_hash(m, hash);
  }
  bdpt_model_free(m);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return hash;
}

TEST(one_network_in_many_forms) {
  static const struct { const char *file, *form, *dialect; int heads; } deit[] = {
    {"deit.timm.safetensors", "safetensors", "timm", 3},
    {"deit.hf4/model.safetensors", "safetensors", "transformers 4", 0},
    {"deit.hf5/model.safetensors", "safetensors", "transformers 5", 0},
    {"train.zip.pth", "PyTorch zip", "timm", 3}, {"train.legacy.pth", "PyTorch legacy", "timm", 3},
    {"old.zip.pth", "PyTorch zip", "timm", 3}, {"old.legacy.pth", "PyTorch legacy", "timm", 3},
    {"awkward.zip.pth", "PyTorch zip", "timm", 3}};
  static const struct { const char *file, *form, *dialect; int heads; } vit[] = {
    {"vit.timm.safetensors", "safetensors", "timm", 2},
    {"vit.hf4/model.safetensors", "safetensors", "transformers 4", 0},
    {"vit.hf5/model.safetensors", "safetensors", "transformers 5", 0},
    {"double.zip.pth", "PyTorch zip", "timm", 2}, {"lightning.zip.pth", "PyTorch zip", "timm", 2}};
  bdpt_real first[16], other[16];
  char hash[17];
  size_t i;
  memset(first, 0, sizeof first);
  strcpy(hash, loads(deit[0].file, NULL, 3, "deit", ".logits.1e-06", first));
  for (i = 0; i < sizeof deit / sizeof *deit; i++) {
    memset(other, 0, sizeof other);
    CHECK(strcmp(loads(deit[i].file, NULL, deit[i].heads, "deit", ".logits.1e-06", other),
                 hash) == 0);
    if (!CHECK(memcmp(first, other, 10 * sizeof *first) == 0)) printf("  %s\n", deit[i].file);
    CHECK(strcmp(report.form, deit[i].form) == 0 && strcmp(report.dialect, deit[i].dialect) == 0);
  }
  strcpy(hash, loads(vit[0].file, NULL, 2, "vit", ".logits.1e-06", first));
  for (i = 0; i < sizeof vit / sizeof *vit; i++) {
    CHECK(strcmp(loads(vit[i].file, NULL, vit[i].heads, "vit", ".logits.1e-06", other),
                 hash) == 0);
    if (!CHECK(memcmp(first, other, 6 * sizeof *first) == 0)) printf("  %s\n", vit[i].file);
    CHECK(strcmp(report.form, vit[i].form) == 0 && strcmp(report.dialect, vit[i].dialect) == 0);
  }
  strcpy(hash, loads("mini.zip.pth", NULL, 1, "mini", ".logits.1e-06", NULL));
  CHECK(strcmp(hash, loads("mini.legacy.pth", NULL, 1, "mini", ".logits.1e-06", NULL)) == 0);
  CHECK(strcmp(hash, loads("mini.hf4.safetensors", NULL, 1, "mini", ".logits.1e-12", NULL)) == 0);
  loads("wide.hf4/model.safetensors", NULL, 0, "wide", ".logits.1e-06", NULL);
  loads("tall.timm/model.safetensors", NULL, 0, "tall", ".logits.1e-06", NULL);
  CHECK(!report.guessed[0]);
  CHECK(strcmp(report.pictures, "pictures: shortest 13x8 bicubic crop 12x8") == 0);
  loads("half.zip.pth", NULL, 3, "deit", ".logits.half", NULL);
  loads("bfloat16.legacy.pth", NULL, 3, "deit", ".logits.bfloat16", NULL);
  CHECK(mem_blocks == 0);
}

TEST(which_network) {
  loads("train.zip.pth", NULL, 3, "deit", ".logits.1e-06", NULL);
  CHECK_HAS(report.note, "it holds 2 networks, model, model_ema; 'model' was taken (--key");
  CHECK_HAS(report.note, "not read: epoch, args, seen, scaler, optimizer");
  CHECK(strcmp(report.network, "model") == 0);
  loads("train.legacy.pth", "model_ema", 3, "deit", ".logits.ema", NULL);
  CHECK(strcmp(report.network, "model_ema") == 0 && !strstr(report.note, "holds 2 networks"));
  loads("lightning.zip.pth", NULL, 2, "vit", ".logits.1e-06", NULL);
  CHECK_HAS(report.note, "networks, state_dict.model, state_dict.model_ema.module; "
                         "'state_dict.model' was taken");
  CHECK_HAS(report.note, "not part of the network and left out: criterion.weight");
  CHECK_HAS(report.note, "not read: global_step, hyper_parameters");
  loads("lightning.zip.pth", "state_dict.model_ema.module", 2, "vit", ".logits.ema", NULL);
  loads("awkward.zip.pth", ".", 3, "deit", ".logits.1e-06", NULL);
  CHECK_HAS(report.note, "'blocks.0.bn.num_batches_tracked' was left out: a counter");
  CHECK_HAS(report.note, "not part of the network and left out: note");
}

/* The order of preference does not depend on the order in the file. */
TEST(preference) {
  static const char *const better[] = {"model", "a.state_dict", ".", "module", "net",
                                       "model_ema", "state_dict_ema", "teacher"};
  static const int rank[] = {0, 1, 2, 3, 3, 13, 13, 13};
  size_t i;
  for (i = 0; i < sizeof rank / sizeof *rank; i++) CHECK(checkpoint_rank(better[i]) == rank[i]);
  CHECK(checkpoint_rank("model_ema.state_dict") == 11);
}

/* ------------------------------------------------------------------------- names and shapes --- */

/* A safetensors file made from another by a few changes. */
enum { MOST = 120 };
typedef struct edit {
  bdpt_safetensors from;
  bdpt_bytes file;
  bdpt_write_tensor list[MOST];
  char name[MOST][100];
  size_t count;
  unsigned char *bytes;
} edit;

static edit *edit_open(bdpt_context *ctx, const char *file) {
  edit *e = (edit *)calloc(1, sizeof *e);
  char path[200];
  size_t i;
  snprintf(path, sizeof path, FOLDER "%s", file);
  if (!CHECK(bdpt_file_read(ctx, path, &e->file) == BDPT_OK &&
             bdpt_safetensors_parse(ctx, e->file.data, e->file.size, path, &e->from) == BDPT_OK))
    printf("%s\n", ctx->message);
  for (i = 0; i < e->from.count; i++) {
    const bdpt_file_tensor *t = &e->from.tensor[i];
    bdpt_write_tensor *w = &e->list[e->count];
    snprintf(e->name[e->count], sizeof e->name[0], "%s", t->name);
    w->name = e->name[e->count++];
    w->dtype = t->dtype;
    w->ndim = t->ndim;
    memcpy(w->shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
    w->data = t->bytes;
    w->raw = 1;
  }
  return e;
}
static void edit_close(edit *e) {
  if (e->from.ctx) bdpt_bytes_free(e->from.ctx, &e->file);
  bdpt_safetensors_close(&e->from);
  free(e);
}
/* Drops every tensor whose name contains `part`. */
static void edit_drop(edit *e, const char *part) {
  size_t i, n = 0;
  for (i = 0; i < e->count; i++) {
    if (strstr(e->list[i].name, part)) continue;
    e->list[n] = e->list[i];
    memmove(e->name[n], e->name[i], sizeof e->name[0]);
    e->list[n].name = e->name[n];
    n++;
  }
  CHECK(n < e->count);
  e->count = n;
}
/* Adds a tensor of n float ones. */
static void edit_add(edit *e, const char *name, size_t n) {
  static unsigned char ones[64 * 4];
  bdpt_write_tensor *w = &e->list[e->count];
  size_t i;
  for (i = 0; i < 64; i++) put_bytes(ones + 4 * i, 4, 0x3f800000);
  memset(w, 0, sizeof *w);
  snprintf(e->name[e->count], sizeof e->name[0], "%s", name);
  w->name = e->name[e->count++];
  w->dtype = BDPT_F32;
  w->ndim = 1;
  w->shape[0] = n;
  w->data = ones;
  w->raw = 1;
}
/* Replaces the beginning of every name that has it. */
static void edit_prefix(edit *e, const char *old, const char *new_one) {
  size_t i, n = strlen(old);
  char name[100];
  for (i = 0; i < e->count; i++) {
    if (strncmp(e->name[i], old, n) != 0) continue;
    snprintf(name, sizeof name, "%.20s%.70s", new_one, e->name[i] + n);
    memcpy(e->name[i], name, sizeof name);
  }
}
static bdpt_model *edit_load(bdpt_context *ctx, edit *e, const char *config, int heads) {
  bdpt_bytes bytes;
  unsigned char *copy;
  checkpoint_options o = {NULL, heads};
  bdpt_model *m;
  CHECK(bdpt_safetensors_build(ctx, e->list, e->count, NULL, NULL, 0, &bytes) == BDPT_OK);
  copy = exact(bytes.data, bytes.size);
  m = checkpoint_parse(ctx, copy, bytes.size, "m", sides(config, NULL), &o, &report);
  bdpt_bytes_free(ctx, &bytes);
  free(copy);
  return m;
}

#define DEIT_CONFIG "{\"hidden_size\":12,\"num_hidden_layers\":2,\"num_attention_heads\":3," \
                    "\"intermediate_size\":20,\"image_size\":12,\"patch_size\":4," \
                    "\"num_channels\":3,\"layer_norm_eps\":1e-6"

/* The edited file must load as the same network; `note`, if given, must be in the report. */
static void edit_same(bdpt_context *ctx, edit *e, const char *config, const char *note) {
  char hash[17] = "", want[17];
  bdpt_model *m;
  strcpy(want, loads("deit.timm.safetensors", NULL, 3, "deit", ".logits.1e-06", NULL));
  m = edit_load(ctx, e, config, config ? 0 : 3);
  if (!CHECK(m != NULL)) printf("  %s\n", ctx->message);
  else bdpt_model_hash(m, hash);
  CHECK(strcmp(hash, want) == 0);
  if (note && !CHECK(strstr(report.note, note) != NULL)) printf("  %s (%s)\n", report.note, note);
  bdpt_model_free(m);
  edit_close(e);
}

/* The edited file must be refused with a sentence. */
static void edit_wrong(bdpt_context *ctx, edit *e, const char *config, bdpt_status want,
                       const char *phrase) {
  bdpt_model *m = edit_load(ctx, e, config, config ? 0 : 3);
  CHECK(m == NULL && ctx->status == want);
  if (!CHECK(strstr(ctx->message, phrase) != NULL)) printf("  %s (%s)\n", ctx->message, phrase);
  bdpt_model_free(m);
  bdpt_clear_error(ctx);
  edit_close(e);
}

static edit *edit_of(bdpt_context *ctx, const char *file, const char *drop) {
  edit *e = edit_open(ctx, file);
  if (drop) edit_drop(e, drop);
  return e;
}

TEST(dialects) {
  static const char hf4[] = "deit.hf4/model.safetensors", hf5[] = "deit.hf5/model.safetensors";
  bdpt_context ctx = fresh();
  edit *e;
  e = edit_open(&ctx, hf4);
  edit_prefix(e, "deit.", "");
  edit_same(&ctx, e, DEIT_CONFIG "}", NULL);
  e = edit_open(&ctx, hf5);
  edit_prefix(e, "deit.", "vit.");
  edit_same(&ctx, e, DEIT_CONFIG "}", NULL);
  e = edit_open(&ctx, hf4);
  edit_prefix(e, "", "module.");
  edit_same(&ctx, e, DEIT_CONFIG "}", NULL);
  CHECK(strcmp(report.network, "module") == 0);
  e = edit_open(&ctx, hf4);
  edit_add(e, "deit.pooler.dense.weight", 4);
  edit_add(e, "deit.embeddings.mask_token", 4);
  edit_add(e, "deit.embeddings.position_ids", 4);
  edit_same(&ctx, e, DEIT_CONFIG "}", "'deit.pooler.dense.weight' was left out: the classifier");
  CHECK_HAS(report.note, "'deit.embeddings.mask_token' was left out: for masked training only");
  CHECK_HAS(report.note, "'deit.embeddings.position_ids' was left out: a constant");
  e = edit_open(&ctx, "deit.timm.safetensors");
  edit_prefix(e, "", "_orig_mod.module.");
  edit_same(&ctx, e, NULL, NULL);
  e = edit_open(&ctx, hf4);
  edit_same(&ctx, e, NULL, "nothing tells, so these were taken: eps of the layer norms 1e-12;");
  CHECK(ctx.status == BDPT_OK && ctx.bytes_now == 0);
}

/* LayerScale goes into the weights behind it: ones change nothing, others multiply the rows. */
TEST(layer_scale) {
  static const float gamma[12] = {1, 2, 3, -4, 5, 6, 7, 0.5f, 9, 10, 0, 12};
  bdpt_context ctx = fresh();
  edit *e = edit_open(&ctx, "deit.timm.safetensors");
  bdpt_model *plain = edit_load(&ctx, e, NULL, 3), *m;
  char name[40];
  int i, k, same = 1;
  edit_add(e, "blocks.0.ls1.gamma", 12);
  e->list[e->count - 1].data = gamma;
  edit_add(e, "blocks.1.ls2.gamma", 12);
  e->list[e->count - 1].data = gamma;
  m = edit_load(&ctx, e, NULL, 3);
  if (!CHECK(m && plain)) return;
  for (i = 0; i < m->slots; i++) {
    const bdpt_tensor *a = &plain->param[i], *b = &m->param[i];
    int scaled = i == BDPT_SLOT(0, BDPT_SLOT_PROJ_W) || i == BDPT_SLOT(0, BDPT_SLOT_PROJ_B) ||
                 i == BDPT_SLOT(1, BDPT_SLOT_FC2_W) || i == BDPT_SLOT(1, BDPT_SLOT_FC2_B);
    for (k = 0; k < (int)a->count; k++) {
      bdpt_real factor = scaled ? (bdpt_real)gamma[k / (int)(a->count / 12)] : 1;
      same &= b->data[k] == a->data[k] * factor;
    }
  }
  CHECK(same);
  bdpt_model_free(plain);
  bdpt_model_free(m);
  edit_close(e);
  e = edit_open(&ctx, "deit.timm.safetensors");
  for (i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "blocks.%d.ls%d.gamma", i / 2, i % 2 + 1);
    edit_add(e, name, 12);
  }
  edit_prefix(e, "", "module.");
  edit_same(&ctx, e, NULL, NULL);
  e = edit_open(&ctx, "deit.timm.safetensors");
  edit_add(e, "blocks.1.ls2.gamma", 11);
  edit_prefix(e, "", "module.");
  edit_wrong(&ctx, e, NULL, BDPT_E_FORMAT, "blocks.1.ls2.gamma");
  CHECK(ctx.status == BDPT_OK && ctx.bytes_now == 0);
}

TEST(missing_and_unknown) {
  static const char hf4[] = "deit.hf4/model.safetensors", hf5[] = "deit.hf5/model.safetensors";
  bdpt_context ctx = fresh();
  edit *e;
  edit_wrong(&ctx, edit_of(&ctx, hf4, "layer.1.output.dense.bias"), DEIT_CONFIG "}", BDPT_E_FORMAT,
             "1 tensor is missing: encoder.layer.1.output.dense.bias");
  edit_wrong(&ctx, edit_of(&ctx, hf4, "layer.0.attention.attention.key"), DEIT_CONFIG "}",
             BDPT_E_FORMAT, "2 tensors are missing: encoder.layer.0.attention.attention.key.weight"
             ", encoder.layer.0.attention.attention.key.bias");
  edit_wrong(&ctx, edit_of(&ctx, hf5, "layers.0.attention.o_proj"), DEIT_CONFIG "}", BDPT_E_FORMAT,
             "2 tensors are missing: layers.0.attention.o_proj.weight, layers.0.attention.o_proj");
  edit_wrong(&ctx, edit_of(&ctx, hf4, "distillation_classifier"), DEIT_CONFIG "}", BDPT_E_FORMAT,
             "2 tensors are missing: distillation_classifier.weight, distillation_classifier.bias");
  edit_wrong(&ctx, edit_of(&ctx, hf4, "cls_classifier"), DEIT_CONFIG "}", BDPT_E_FORMAT,
             "2 tensors are missing: cls_classifier.weight, cls_classifier.bias");
  edit_wrong(&ctx, edit_of(&ctx, "vit.hf4/model.safetensors", "classifier.weight"), NULL,
             BDPT_E_FORMAT, "1 tensor is missing: classifier.weight");
  edit_wrong(&ctx, edit_of(&ctx, "deit.timm.safetensors", "blocks.1.norm2"), NULL, BDPT_E_FORMAT,
             "2 tensors are missing: blocks.1.norm2.weight, blocks.1.norm2.bias");
  edit_wrong(&ctx, edit_of(&ctx, "deit.timm.safetensors", "blocks.1.mlp"), NULL, BDPT_E_FORMAT,
             "4 tensors are missing: blocks.1.mlp.fc1.weight");
  edit_wrong(&ctx, edit_of(&ctx, hf4, "deit."), DEIT_CONFIG "}", BDPT_E_FORMAT,
             "no vision transformer in it");
  e = edit_open(&ctx, hf4);
  edit_drop(e, "layer.1.");
  edit_drop(e, "layernorm.");
  edit_wrong(&ctx, e, "{}", BDPT_E_FORMAT, "2 tensors are missing: layernorm.weight, layernorm");
  e = edit_open(&ctx, "deit.timm.safetensors");
  edit_add(e, "blocks.0.attn.extra.weight", 12);
  edit_add(e, "another.latent", 12);
  edit_add(e, "blocks.01.norm1.bias", 12);
  edit_add(e, "blocks.64.norm1.bias", 12);
  edit_add(e, "blocks.1", 12);
  edit_wrong(&ctx, e, NULL, BDPT_E_FORMAT, "5 tensors are no part of a vision transformer that can "
             "be computed here: another.latent, blocks.0.attn.extra.weight, blocks.01.norm1.bias"
             ", blocks.1, blocks.64.norm1.bias");
  e = edit_open(&ctx, hf4);
  edit_add(e, "deit.layers.0.attention.q_proj.weight", 12);
  edit_wrong(&ctx, e, DEIT_CONFIG "}", BDPT_E_FORMAT, "are the same part of the network");
  e = edit_open(&ctx, hf4);
  edit_drop(e, "layer.0.attention.attention.key.bias");
  edit_add(e, "deit.encoder.layer.0.attention.attention.key.bias", 13);
  edit_wrong(&ctx, e, DEIT_CONFIG "}", BDPT_E_SHAPE, "query.bias' and the two that belong to it");
  e = edit_open(&ctx, "deit.timm.safetensors");
  edit_drop(e, "pos_embed");
  edit_add(e, "pos_embed", 13);
  edit_wrong(&ctx, e, NULL, BDPT_E_SHAPE,
             "'pos_embed': [1,1,13] in the file, but the network needs [");
  e = edit_open(&ctx, "vit.timm.safetensors");
  edit_wrong(&ctx, e, "{}", BDPT_E_ARGUMENT, "nothing tells the number of attention heads (width");
  CHECK(ctx.bytes_now == 0);
}

/* Unknown names are listed as far as a message goes, and the rest is counted. */
/* Networks that are no plain vision transformers, by the names that timm gives their tensors. */
TEST(strangers) {
  static const struct { const char *tensor, *says; } v[] = {
    {"layers.0.blocks.0.attn.qkv.weight", "a Swin transformer"},
    {"blocks.0.attn.relative_position_bias_table", "relative positions, such as Swin or BEiT"},
    {"patch_embed.backbone.conv.weight", "a hybrid of a convolutional network and"},
    {"blocks_token_only.0.gamma_1", "a CaiT"}, {"blocks.0.attn.q_bias", "an EVA or a BEiT"},
    {"blocks.0.mlp.fc1_g.weight", "an EVA, whose MLP has a gate"},
    {"blocks.0.attn.q_norm.weight", "normalises queries and keys"},
    {"attn_pool.latent", "a pooling head of its own (MAP)"},
    {"blocks.0.mlp.w12.weight", "whose MLP has a gate (SwiGLU)"}};
  bdpt_context ctx = fresh();
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    edit *e = edit_open(&ctx, "deit.timm.safetensors");
    edit_add(e, v[i].tensor, 12);
    edit_wrong(&ctx, e, NULL, BDPT_E_ARGUMENT, v[i].says);
  }
}

/* Checks what the network's classes are called, or "". */
static void labels_are(const char *file, const char *config, const char *want) {
  bdpt_context ctx = fresh();
  edit *e = edit_open(&ctx, file);
  bdpt_model *m = edit_load(&ctx, e, config, 3);
  if (!CHECK(m != NULL)) printf("  %s\n", ctx.message);
  else if (!CHECK(strcmp(m->labels ? m->labels : "", want) == 0)) printf("  %s\n", m->labels);
  bdpt_model_free(m);
  edit_close(e);
  CHECK(mem_blocks == 0);
}

TEST(names_of_classes) {
  static const char hf4[] = "deit.hf4/model.safetensors", timm[] = "deit.timm.safetensors";
#define TIMM "{\"architecture\":\"deit_tiny\",\"model_args\":{\"num_heads\":3},"
  labels_are(hf4, DEIT_CONFIG ",\"id2label\":{\"4\":\"e\",\"1\":\"a \\\"b\\\"\",\"0\":\"x\","
             "\"3\":\"d\",\"2\":\"\\u00e9\"}}", "[\"x\",\"a \\\"b\\\"\",\"\xc3\xa9\",\"d\",\"e\"]");
  labels_are(hf4, DEIT_CONFIG ",\"id2label\":{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\","
             "\"2\":\"LABEL_2\",\"3\":\"LABEL_3\",\"4\":\"LABEL_4\"}}", "");
  labels_are(timm, TIMM "\"label_names\":[\"n0\",\"n1\",\"n2\",\"n3\",\"n4\"],"
             "\"label_descriptions\":{\"n1\":\"one\",\"n0\":\"zero\",\"n4\":\"four\"}}",
             "[\"zero\",\"one\",\"n2\",\"n3\",\"four\"]");
  labels_are(timm, TIMM "\"pretrained_cfg\":{\"label_names\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}}",
             "[\"a\",\"b\",\"c\",\"d\",\"e\"]");
  labels_are(timm, TIMM "\"label_names\":[\"a\",\"b\"]}", "");
  labels_are(timm, "{\"architecture\":\"resnet50\",\"label_names\":[\"a\",\"b\",\"c\",\"d\",\"e\"],"
             "\"model_args\":{\"num_heads\":3}}", "");
}

/* Loads a network cut into two files, the tensors from `cut` on in the second, and a text as
 * index. */
static bdpt_model *sharded(bdpt_context *ctx, const char *index) {
  edit *e = edit_open(ctx, "deit.timm.safetensors");
  checkpoint_options o = {NULL, 3};
  bdpt_bytes bytes;
  bdpt_model *m;
  size_t half = e->count / 2, i;
  char text[12000] = "";
  for (i = 0; i < 2; i++) {
    CHECK(bdpt_safetensors_build(ctx, e->list + i * half, i ? e->count - half : half, NULL, NULL, 0,
                                 &bytes) == BDPT_OK);
    CHECK(bdpt_file_write(ctx, temporary(i ? "two" : "one"), bytes.data, bytes.size) == BDPT_OK);
    bdpt_bytes_free(ctx, &bytes);
  }
  strcpy(text, "{\"metadata\":{\"total_size\":1},\n\"weight_map\":{");
  for (i = 0; i < e->count; i++) {
    const char *file = strrchr(temporary(i < half ? "one" : "two"), '/');
    sprintf(text + strlen(text), "%s\"%s\":\"%.100s\"", i ? "," : "", e->name[i], file + 1);
  }
  strcat(text, "}}");
  if (!index) index = text;
  CHECK(bdpt_file_write(ctx, temporary("index.json"), index, strlen(index)) == BDPT_OK);
  m = checkpoint_load(ctx, temporary("index.json"), &o, &report);
  edit_close(e);
  return m;
}

TEST(shards_and_folders) {
  static const struct { const char *index, *says; } v[] = {
    {"{\"weight_map\":{\"cls_token\":\"../one\"}}", "a file that cannot lie beside it, '../one'"},
    {"{\"weight_map\":{\"cls_token\":\"nowhere.saf\"}}", "nowhere.saf: cannot be opened"},
    {"{\"weight_map\":{}}", "it has no 'weight_map'"}, {"{\"a\":1}", "it has no 'weight_map'"},
    {"{\"weight_map\":", "not valid JSON"}};
  bdpt_context ctx = fresh();
  checkpoint_options o = {NULL, 0};
  char hash[17] = "", want[17];
  bdpt_model *m;
  size_t i;
  strcpy(want, loads("deit.timm.safetensors", NULL, 3, "deit", ".logits.1e-06", NULL));
  m = sharded(&ctx, NULL);
  if (CHECK(m != NULL)) bdpt_model_hash(m, hash);
  else printf("  %s\n", ctx.message);
  CHECK(strcmp(hash, want) == 0);
  bdpt_model_free(m);
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    CHECK(sharded(&ctx, v[i].index) == NULL);
    if (!CHECK(strstr(ctx.message, v[i].says) != NULL)) printf("  %s\n", ctx.message);
    bdpt_clear_error(&ctx);
  }
  m = checkpoint_load(&ctx, FOLDER "deit.hf4", &o, &report);
  if (CHECK(m != NULL)) bdpt_model_hash(m, hash);
  CHECK(strcmp(hash, want) == 0);
  bdpt_model_free(m);
  CHECK(checkpoint_load(&ctx, "tests/corpus", &o, &report) == NULL);
  CHECK_HAS(ctx.message, "a folder without a network in it");
  CHECK(mem_blocks == 0);
}

TEST(long_lists) {
  bdpt_context ctx = fresh();
  edit *e = edit_open(&ctx, "vit.timm.safetensors");
  char name[100];
  int i;
  for (i = 0; i < 50; i++) {
    snprintf(name, sizeof name, "extra.%02d.%s", i, i ? "w" : "a name that is longer than a line "
             "of a message should be, \x1b[31m and coloured");
    edit_add(e, name, 1);
  }
  edit_wrong(&ctx, e, NULL, BDPT_E_FORMAT, "50 tensors are no part");
  e = edit_open(&ctx, "vit.timm.safetensors");
  for (i = 0; i < 50; i++) {
    snprintf(name, sizeof name, "extra.%02d.w", i);
    edit_add(e, name, 1);
  }
  edit_wrong(&ctx, e, NULL, BDPT_E_FORMAT, "extra.18.w, and 31 more");
  CHECK(ctx.bytes_now == 0);
}

/* timm and transformers can leave out the bias of q, k and v; timm's names can leave out attention
 * that was pruned away. */
TEST(networks_with_less) {
  bdpt_context ctx = fresh();
  edit *e = edit_of(&ctx, "deit.timm.safetensors", "qkv.bias");
  bdpt_model *m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && m->config.no_qkv_bias && !m->param[BDPT_SLOT(1, BDPT_SLOT_QKV_B)].data);
  bdpt_model_free(m);
  edit_close(e);
  e = edit_open(&ctx, "deit.hf5/model.safetensors");
  edit_drop(e, "q_proj.bias");
  edit_drop(e, "k_proj.bias");
  edit_wrong(&ctx, e, DEIT_CONFIG "}", BDPT_E_FORMAT, "4 tensors are missing: layers.0.attention");
  e = edit_open(&ctx, "deit.hf5/model.safetensors");
  edit_drop(e, "q_proj.bias");
  edit_drop(e, "k_proj.bias");
  edit_drop(e, "v_proj.bias");
  m = edit_load(&ctx, e, DEIT_CONFIG ",\"qkv_bias\":false}", 0);
  CHECK(m && m->config.no_qkv_bias && !m->param[BDPT_SLOT(0, BDPT_SLOT_QKV_B)].data);
  bdpt_model_free(m);
  edit_wrong(&ctx, e, DEIT_CONFIG ",\"qkv_bias\":true}", BDPT_E_FORMAT, "6 tensors are missing");
  e = edit_of(&ctx, "deit.timm.safetensors", "blocks.1.attn");
  m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && m->config.block[1].attention == BDPT_ATTENTION_REMOVED &&
        m->config.block[0].attention == 0);
  CHECK_HAS(report.note, "blocks without attention: 1; which activations were removed");
  bdpt_model_free(m);
  edit_drop(e, "blocks.0.attn");
  m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && bdpt_removed(&m->config, BDPT_ATTENTION) == 2 && !strstr(report.note, "zeros"));
  bdpt_model_free(m);
  edit_close(e);
  CHECK(ctx.bytes_now == 0);
}

/* A file of our own goes straight to the library, metadata and all. */
TEST(our_own_files) {
  bdpt_context ctx = fresh();
  checkpoint_options o = {NULL, 0};
  bdpt_config c;
  bdpt_model *m, *n;
  bdpt_bytes bytes;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 12; c.depth = 2; c.heads = 3; c.classes = 4; c.mlp = 8;
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  c.block[0].mlp_state = BDPT_MLP_LINEAR;
  m = bdpt_model_create(&ctx, &c, 1);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  n = checkpoint_parse(&ctx, bytes.data, bytes.size, "m", sides("{bad", NULL), NULL,
                       &report);
  CHECK(n && n->config.block[0].mlp_state != BDPT_MLP_KEPT && n->config.heads == 3);
  CHECK(strcmp(report.dialect, "boundarydpt") == 0 && !report.note[0]);
  bdpt_model_free(n);
  o.key = ".";
  n = checkpoint_parse(&ctx, bytes.data, bytes.size, "m", NULL, &o, &report);
  CHECK(n != NULL);
  bdpt_model_free(n);
  o.key = "model";
  CHECK(!checkpoint_parse(&ctx, bytes.data, bytes.size, "m", NULL, &o, &report));
  CHECK_HAS(ctx.message, "m: it holds no network 'model'; there is .");
  bdpt_clear_error(&ctx);
  o.key = NULL;
  o.heads = 5;
  CHECK(!checkpoint_parse(&ctx, bytes.data, bytes.size, "m", NULL, &o, &report));
  CHECK_HAS(ctx.message, "its metadata say that it has 3 attention heads, not 5");
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  CHECK(ctx.bytes_now == 0 && mem_blocks == 0);
}

/* What a file is instead is said truly: a later protocol of torch.save's, a tensor alone. */
TEST(pickles_of_other_protocols) {
  static const unsigned char later[2][40] = {
    {0x80, 3, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'},
    {0x80, 4, 0x95, 13, 0, 0, 0, 0, 0, 0, 0, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a,
     0xa8, 0x50, 0x19, '.'}};
  static const unsigned char stranger[20] = {0x80, 4, '}', '.'};
  bdpt_context ctx = fresh();
  int i;
  for (i = 0; i < 2; i++) {
    CHECK(!checkpoint_parse(&ctx, later[i], 40, "m", NULL, NULL, &report));
    CHECK_HAS(ctx.message, i ? "older form, with pickles of protocol 4" : "pickles of protocol 3");
    bdpt_clear_error(&ctx);
  }
  CHECK(!checkpoint_parse(&ctx, stranger, 20, "m", NULL, NULL, &report));
  CHECK_HAS(ctx.message, "protocol 4), but not from torch.save");
  bdpt_clear_error(&ctx);
}

/* ------------------------------------------------------------------------------ config.json --- */

TEST(configurations) {
  static const struct { const char *config; bdpt_status want; const char *phrase; } v[] = {
    {"[1]", BDPT_E_FORMAT, "m: config.json: no JSON object"},
    {"", BDPT_E_FORMAT, "config.json: not valid JSON: a value is missing, at byte 0"},
    {"{\"hidden_size\":", BDPT_E_FORMAT, "config.json: not valid JSON"},
    {"{\"hidden_size\":12.5}", BDPT_E_FORMAT, "'hidden_size' is 12.5, no whole number"},
    {"{\"hidden_size\":-12}", BDPT_E_FORMAT, "'hidden_size' is -12, no whole number"},
    {"{\"hidden_size\":1e99}", BDPT_E_FORMAT, "'hidden_size' is 1e+99, no whole number"},
    {DEIT_CONFIG ",\"image_size\":[12,16]}", BDPT_E_SHAPE, "but the network needs [1,14,12]"},
    {DEIT_CONFIG ",\"image_size\":[12,12,12]}", BDPT_E_FORMAT, "'image_size' has more values"},
    {DEIT_CONFIG ",\"num_channels\":[3,1]}", BDPT_E_FORMAT, "'num_channels' has more values"},
    {DEIT_CONFIG ",\"patch_size\":[4,2]}", BDPT_E_ARGUMENT, "patches of 4 x 2 pixels cannot"},
    {"{\"layer_norm_eps\":0}", BDPT_E_FORMAT, "'layer_norm_eps' is 0, not between 0 and 1"},
    {"{\"layer_norm_eps\":-1e-6}", BDPT_E_FORMAT, "'layer_norm_eps' is -1e-06"},
    {"{\"layer_norm_eps\":1e999}", BDPT_E_FORMAT, "'layer_norm_eps' is inf"},
    {"{\"image_std\":[-1,1,1]}", BDPT_E_FORMAT, "'image_std' holds -1"},
    {DEIT_CONFIG ",\"hidden_act\":\"silu\"}", BDPT_E_ARGUMENT, "the activation 'silu' cannot"},
    {DEIT_CONFIG ",\"hidden_size\":24}", BDPT_E_SHAPE, "says hidden_size 24, but the tensors are"},
    {DEIT_CONFIG ",\"num_hidden_layers\":12}", BDPT_E_SHAPE, "num_hidden_layers 12"},
    {DEIT_CONFIG ",\"intermediate_size\":48}", BDPT_E_SHAPE, "intermediate_size 48"},
    {DEIT_CONFIG ",\"image_size\":224}", BDPT_E_SHAPE, "image_size 224"},
    {DEIT_CONFIG ",\"patch_size\":16}", BDPT_E_SHAPE, "patch_size 16"},
    {DEIT_CONFIG ",\"num_channels\":1}", BDPT_E_SHAPE, "num_channels 1"},
    {DEIT_CONFIG ",\"num_labels\":1000}", BDPT_E_SHAPE, "num_labels 1000, but the tensors are "
     "those of a network with 5"},
    {DEIT_CONFIG ",\"id2label\":{\"0\":\"cat\",\"1\":\"dog\"}}", BDPT_E_SHAPE, "num_labels 2"},
    {DEIT_CONFIG ",\"num_attention_heads\":5}", BDPT_E_FORMAT, "width, 12, is no multiple of "},
    {DEIT_CONFIG ",\"do_pad\":true}", BDPT_E_ARGUMENT, "config.json: 'do_pad' cannot be computed"},
    {DEIT_CONFIG ",\"use_swiglu_ffn\":true}", BDPT_E_ARGUMENT, "SwiGLU cannot be computed"},
    {DEIT_CONFIG ",\"model_type\":\"ijepa\"}", BDPT_E_ARGUMENT, "model_type 'ijepa' cannot be"},
    {DEIT_CONFIG ",\"size\":{\"longest_edge\":12}}", BDPT_E_ARGUMENT, "'size.longest_edge' cannot"},
    {DEIT_CONFIG ",\"resample\":\"bicubic\"}", BDPT_E_FORMAT, "value of 'resample' is not underst"},
    {DEIT_CONFIG ",\"do_resize\":1}", BDPT_E_FORMAT, "the value of 'do_resize' is not understood"},
    {"{}", BDPT_E_ARGUMENT, "nothing tells the number of attention heads (width 12"}};
  bdpt_context ctx = fresh();
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    edit *e = edit_open(&ctx, "deit.hf4/model.safetensors");
    bdpt_model *m = edit_load(&ctx, e, v[i].config, 0);
    CHECK(m == NULL && ctx.status == v[i].want);
    if (!CHECK(strstr(ctx.message, v[i].phrase) != NULL)) {
      printf("  %s: %s (%s)\n", v[i].config, ctx.message, v[i].phrase);
    }
    bdpt_model_free(m);
    bdpt_clear_error(&ctx);
    edit_close(e);
  }
  CHECK(ctx.bytes_now == 0);
}

TEST(configurations_that_fit) {
  static const char *const good[] = {
    DEIT_CONFIG "}", DEIT_CONFIG ",\"hidden_act\":\"gelu\",\"qkv_bias\":true,\"num_labels\":5}",
    DEIT_CONFIG ",\"image_size\":[12,12],\"patch_size\":[4,4],\"hidden_act\":\"gelu_python\"}",
    DEIT_CONFIG ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\",\"3\":\"d\",\"4\":\"e\"},"
    "\"x\":{\"hidden_size\":7,\"y\":[[1],{\"z\":[3]}]},\"n\":null,\"s\":\"\",\"l\":[7,[8]]}"};
  bdpt_context ctx = fresh();
  edit *e;
  bdpt_model *m;
  checkpoint_options o = {NULL, 4};
  bdpt_bytes bytes;
  size_t i;
  for (i = 0; i < sizeof good / sizeof *good; i++) {
    edit_same(&ctx, edit_open(&ctx, "deit.hf4/model.safetensors"), good[i], NULL);
    if (i == 3) CHECK_HAS(report.note, "'x.hidden_size' is not known here and was left aside");
    CHECK(strcmp(report.guessed, "mean std") == 0);
    CHECK_HAS(report.note, "mean and deviation of the images, ImageNet's; they decide");
  }
  /* eps and image statistics arrive; --heads wins over num_attention_heads, and says so */
  e = edit_open(&ctx, "deit.hf4/model.safetensors");
  CHECK(bdpt_safetensors_build(&ctx, e->list, e->count, NULL, NULL, 0, &bytes) == BDPT_OK);
  m = checkpoint_parse(&ctx, bytes.data, bytes.size, "m",
                       sides(DEIT_CONFIG ",\"layer_norm_eps\":1e-5}",
                             "{\"image_mean\":[0.5,0.25,0.125],\"image_std\":[1,2,4],"
                             "\"size\":{\"height\":12}}"), &o, &report);
  if (CHECK(m != NULL)) {
    CHECK(m->config.eps == (double)1e-5 && m->config.mean[1] == 0.25 && m->config.std[2] == 4);
    CHECK(m->config.heads == 4);
  }
  CHECK_HAS(report.note, "config.json says num_attention_heads 3; the network was read with 4");
  bdpt_model_free(m);
  bdpt_bytes_free(&ctx, &bytes);
  edit_close(e);
  /* Beside timm's names: timm's own, one that describes the network, and strangers */
  edit_same(&ctx, edit_open(&ctx, "deit.timm.safetensors"), DEIT_CONFIG "}", NULL);
  CHECK(strcmp(report.guessed, "mean std") == 0);
  e = edit_open(&ctx, "deit.timm.safetensors");
  m = edit_load(&ctx, e, "{\"architecture\":\"deit_x\",\"num_classes\":9,\"pretrained_cfg\":{\"mean"
                "\":[0.5,0.5,0.5],\"std\":[0.25,0.25,0.25],\"tags\":[[1,2]]}}", 3);
  CHECK(m && m->config.mean[0] == 0.5 && m->config.std[2] == 0.25 && m->config.eps == (double)1e-6);
  CHECK_HAS(report.note, "config.json says num_labels 9; the network was read with 5");
  bdpt_model_free(m);
  m = edit_load(&ctx, e, "{\"architecture\":\"vit_base_patch16_gap_224\",\"pretrained_cfg\":{"
                "\"mean\":0.5,\"std\":[0.25,0.25,0.25],\"tag\":\"t\",\"new_key\":1},"
                "\"model_args\":{\"do_it\":true,\"num_heads\":3}}", 0);
  CHECK(m && m->config.mean[2] == 0.5 && m->config.eps == (double)1e-6 && m->config.heads == 3);
  CHECK(!report.guessed[0] && !strstr(report.note, "tag"));
  CHECK_HAS(report.note, "'pretrained_cfg.new_key' is not known here and was left aside");
  CHECK_HAS(report.note, "'model_args.do_it' is not known here and was left aside");
  bdpt_model_free(m);
  m = edit_load(&ctx, e, "{\"architecture\":\"vit_base_patch16_clip_224\"}", 3);
  CHECK(m && m->config.eps == (double)1e-5 && strcmp(report.guessed, "mean std") == 0);
  bdpt_model_free(m);
  m = edit_load(&ctx, e, "{\"architecture\":\"test_vit3\"}", 0);
  CHECK(m && m->config.heads == 3 && m->config.eps == (double)1e-6);
  bdpt_model_free(m);
  /* Refused beside timm's names too, wherever the key stands */
  CHECK(!edit_load(&ctx, e, "{\"model_args\":{\"block_fn\":\"x\"},\"architecture\":\"vit_t\"}", 3));
  CHECK_HAS(ctx.message, "config.json: 'model_args.block_fn' cannot be computed here");
  bdpt_clear_error(&ctx);
  CHECK(!edit_load(&ctx, e, "{\"architecture\":\"vit_base_patch16_rpn_224\"}", 3));
  CHECK_HAS(ctx.message, "its norms stand behind the layers");
  bdpt_clear_error(&ctx);
  CHECK(!edit_load(&ctx, e, "{\"architecture\":\"vit_\",\"pretrained_cfg\":{\"crop_pct\":-1}}", 3));
  CHECK_HAS(ctx.message, "'pretrained_cfg.crop_pct' is -1");
  bdpt_clear_error(&ctx);
  m = edit_load(&ctx, e, "{\"architecture\":\"resnet\",\"pretrained_cfg\":{\"mean\":[0,0,0]}}", 3);
  CHECK(m && m->config.mean[0] == (double)0.485);
  CHECK_HAS(report.note, "config.json beside it was not used: it describes another network");
  bdpt_model_free(m);
  m = edit_load(&ctx, e, "{\"hidden_size\":768,\"layer_norm_eps\":0.5}", 3);
  CHECK(m && m->config.eps == (double)1e-6 && strstr(report.note, "describes another network"));
  bdpt_model_free(m);
  m = edit_load(&ctx, e, "{\"hidden_size\":", 3);
  CHECK(m && ctx.status == BDPT_OK && strstr(report.note, "was not used: m: config.json: not val"));
  bdpt_model_free(m);
  edit_close(e);
  CHECK(ctx.bytes_now == 0);
}

/* Nine positions beside a class token may be 3 x 3 patches or an image that is not square. */
TEST(positions_in_doubt) {
  bdpt_context ctx = fresh();
  edit *e = edit_open(&ctx, "deit.timm.safetensors");
  bdpt_model *m;
  size_t i;
  m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && !strstr(report.note, "positions are taken"));
  bdpt_model_free(m);
  for (i = 0; i < e->count; i++) { /* a class token without axes of one, as CLIP's */
    if (strcmp(e->name[i], "cls_token") != 0) continue;
    e->list[i].ndim = 1;
    e->list[i].shape[0] = 12;
  }
  m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && m->config.image == 12 && !strstr(report.note, "positions are taken"));
  bdpt_model_free(m);
  for (i = 0; i < e->count; i++) {
    if (strcmp(e->name[i], "pos_embed") == 0) e->list[i].shape[1] = 9;
  }
  m = edit_load(&ctx, e, NULL, 3);
  CHECK(m && m->config.image == 12);
  CHECK_HAS(report.note, "its 9 positions are taken for a square of patches, and none for");
  bdpt_model_free(m);
  m = edit_load(&ctx, e, DEIT_CONFIG "}", 3);
  CHECK(m && !strstr(report.note, "positions are taken"));
  bdpt_model_free(m);
  edit_close(e);
  CHECK(ctx.bytes_now == 0);
}

/* ------------------------------------------------------------------------------- building --- */

/* Bytes that grow: a pickle, a zip archive. */
typedef struct buffer { unsigned char *p; size_t n, room; } buffer;
static void raw(buffer *b, const void *p, size_t n) {
  if (b->n + n > b->room) {
    b->room = 2 * (b->n + n) + 64;
    b->p = (unsigned char *)realloc(b->p, b->room);
  }
  if (n) memcpy(b->p + b->n, p, n);
  b->n += n;
}
static void number(buffer *b, uint64_t v, int bytes) {
  unsigned char p[8];
  put_bytes(p, bytes, v);
  raw(b, p, (size_t)bytes);
}
/* Appends opcodes as text; a zero byte cannot be one of them. */
static void op(buffer *b, const char *s) { raw(b, s, strlen(s)); }
static void word(buffer *b, const char *s) {
  op(b, "X");
  number(b, strlen(s), 4);
  raw(b, s, strlen(s));
}
static void integer(buffer *b, uint64_t v) { /* LONG1, eight bytes */
  op(b, "\x8a\x08");
  number(b, v, 8);
}
static void storage(buffer *b, const char *type, const char *key, uint64_t numel) {
  op(b, "(");
  word(b, "storage");
  op(b, "ctorch\n");
  op(b, type);
  op(b, "\n");
  word(b, key);
  word(b, "cpu");
  integer(b, numel);
  op(b, "tQ");
}
/* Appends _rebuild_tensor_v2 with `axes` sizes and strides. */
static void tensor(buffer *b, const char *type, const char *key, uint64_t numel, uint64_t offset,
                   int axes, const uint64_t *size, const uint64_t *stride) {
  int i;
  op(b, "ctorch._utils\n_rebuild_tensor_v2\n(");
  storage(b, type, key, numel);
  integer(b, offset);
  op(b, "(");
  for (i = 0; i < axes; i++) integer(b, size[i]);
  op(b, "t(");
  for (i = 0; i < axes; i++) integer(b, stride[i]);
  op(b, "t\x89" "ccollections\nOrderedDict\n)RtR");
}

/* A zip archive as PyTorch writes them, but for the padding. */
typedef struct zip { buffer all, directory; size_t count; } zip;
static void zip_add(zip *z, const char *name, const void *data, size_t size, unsigned method) {
  size_t at = z->all.n, n = strlen(name);
  op(&z->all, "PK\3\4");
  number(&z->all, 20, 2); number(&z->all, 0, 2); number(&z->all, method, 2);
  number(&z->all, 0, 4); number(&z->all, 0, 4); /* time, checksum */
  number(&z->all, size, 4); number(&z->all, size, 4); number(&z->all, n, 2);
  number(&z->all, 0, 2);
  raw(&z->all, name, n);
  raw(&z->all, data, size);
  op(&z->directory, "PK\1\2");
  number(&z->directory, 20, 2); number(&z->directory, 20, 2); number(&z->directory, 0, 2);
  number(&z->directory, method, 2); number(&z->directory, 0, 4); number(&z->directory, 0, 4);
  number(&z->directory, size, 4); number(&z->directory, size, 4); number(&z->directory, n, 2);
  number(&z->directory, 0, 8); number(&z->directory, 0, 4); /* extra, comment, disk, attributes */
  number(&z->directory, at, 4);
  raw(&z->directory, name, n);
  z->count++;
}
static buffer zip_end(zip *z) {
  size_t at = z->all.n, size = z->directory.n;
  raw(&z->all, z->directory.p, size);
  op(&z->all, "PK\5\6");
  number(&z->all, 0, 4); number(&z->all, z->count, 2); number(&z->all, z->count, 2);
  number(&z->all, size, 4); number(&z->all, at, 4); number(&z->all, 0, 2);
  free(z->directory.p);
  return z->all;
}
static buffer zip_of(const buffer *pickle, size_t bytes) {
  static const unsigned char data[4096] = {0};
  zip z;
  memset(&z, 0, sizeof z);
  zip_add(&z, "a/data.pkl", pickle->p, pickle->n, 0);
  zip_add(&z, "a/data/0", data, bytes, 0);
  zip_add(&z, "a/byteorder", "little", 6, 0);
  return zip_end(&z);
}

/* `test_checkpoint dump DIR` writes every hostile file of up to 8 KB, as seeds for the fuzzers. */
static const char *dump_folder;
static void dump(const buffer *file) {
  static int count;
  char path[400];
  FILE *f;
  if (!dump_folder || file->n > 8192) return;
  snprintf(path, sizeof path, "%s/%03d", dump_folder, count++);
  f = fopen(path, "wb");
  if (!f) return;
  fwrite(file->p, 1, file->n, f);
  fclose(f);
}

/* The file must be refused, with the phrase; it is freed. */
static void refused(buffer file, bdpt_status want, const char *phrase) {
  bdpt_context ctx = fresh();
  unsigned char *copy = exact(file.p, file.n);
  bdpt_model *m = checkpoint_parse(&ctx, copy, file.n, "x.pth", NULL, NULL, &report);
  CHECK(m == NULL && ctx.status == want && strncmp(ctx.message, "x.pth: ", 7) == 0);
  if (!CHECK(strstr(ctx.message, phrase) != NULL)) printf("  %s (%s)\n", ctx.message, phrase);
  bdpt_model_free(m);
  CHECK(mem_blocks == 0);
  dump(&file);
  free(copy);
  free(file.p);
}

/* ------------------------------------------------------------------------- hostile pickles --- */

#define OPS(s) {s, sizeof(s) - 1}
TEST(pickles_that_are_refused) {
  static const struct { struct { const char *p; size_t n; } ops; const char *phrase; } v[] = {
    {OPS(""), "no pickle begins"}, {OPS("}."), "no pickle begins"},
    {OPS("\x80\2"), "the pickle ends after 2 bytes without a STOP"},
    {OPS("\x80\2}"), "the pickle ends after 3 bytes without a STOP"},
    {OPS("\x80\4}."), "pickle protocol 4; 2 and 3 can be read"},
    {OPS("\x80\3}X\1\0\0\0aC\3b\0csX\1\0\0\0bB\2\0\0\0\xff.s."),
     "no vision transformer in it (no patch_embed.proj.weight, no embeddings.patch_embeddings.pro"
     "jection.weight); it holds a, b"},
    {OPS("\x80\3}X\1\0\0\0aB\xff\xff\xff\xff" "bs."), "without a STOP"},
    {OPS("\x80\2}.x"), "1 byte follows the end of its pickle"},
    {OPS("\x80\2."), "opcode 0x2e at byte 2 does not fit"},
    {OPS("\x80\2(."), "opcode 0x2e at byte 3 does not fit"},
    {OPS("\x80\2}}."), "opcode 0x2e at byte 4 does not fit"},
    {OPS("\x80\2" "0."), "opcode 0x30 at byte 2 builds something other than plain data"}, /* POP */
    {OPS("\x80\2i__main__\nx\n."), "opcode 0x69"}, {OPS("\x80\2o."), "opcode 0x6f"}, /* INST OBJ */
    {OPS("\x80\2\x93."), "opcode 0x93"}, {OPS("\x80\2\x82\1."), "opcode 0x82"}, /* STACK_G., EXT1 */
    {OPS("\x80\2P0\n."), "opcode 0x50"}, {OPS("\x80\2I1\n."), "opcode 0x49"}, /* PERSID INT */
    {OPS("\x80\2X\xff\xff\xff\xff" "abc."), "without a STOP"},
    {OPS("\x80\2U\4ab."), "without a STOP"}, {OPS("\x80\2\x8a\xff."), "without a STOP"},
    {OPS("\x80\2" "cos\nsystem."), "without a STOP"}, {OPS("\x80\2G1234567"), "without a STOP"},
    {OPS("\x80\2R."), "opcode 0x52 at byte 2 does not fit"}, {OPS("\x80\2)R."), "opcode 0x52"},
    {OPS("\x80\2()R."), "opcode 0x52"}, {OPS("\x80\2t."), "opcode 0x74"},
    {OPS("\x80\2\x85."), "opcode 0x85"}, {OPS("\x80\2NN\x87."), "opcode 0x87"},
    {OPS("\x80\2(\x85."), "opcode 0x85"}, {OPS("\x80\2Q."), "opcode 0x51"},
    {OPS("\x80\2" "a."), "opcode 0x61"}, {OPS("\x80\2Na."), "opcode 0x61"},
    {OPS("\x80\2NNa."), "opcode 0x61 at byte 4"}, {OPS("\x80\2}Na."), "opcode 0x61"},
    {OPS("\x80\2]NNs."), "opcode 0x73"}, {OPS("\x80\2)NNs."), "opcode 0x73"},
    {OPS("\x80\2NNs."), "opcode 0x73"}, {OPS("\x80\2(NNs."), "opcode 0x73"},
    {OPS("\x80\2}NNu."), "opcode 0x75"}, {OPS("\x80\2}(Nu."), "opcode 0x75 at byte 5"},
    {OPS("\x80\2(u."), "opcode 0x75"}, {OPS("\x80\2((u."), "opcode 0x75"},
    {OPS("\x80\2Ne."), "opcode 0x65"}, {OPS("\x80\2](N}e."), NULL},
    {OPS("\x80\2" "b."), "opcode 0x62"}, {OPS("\x80\2Nb."), "opcode 0x62"},
    {OPS("\x80\2(Nb."), "opcode 0x62"}, {OPS("\x80\2N(b."), "opcode 0x62"},
    {OPS("\x80\2h\0."), "opcode 0x68 at byte 2"}, {OPS("\x80\2}q\1h\0."), "opcode 0x71"},
    {OPS("\x80\2}q\0j\1\0\0\0."), "opcode 0x6a"}, {OPS("\x80\2(q\0."), "opcode 0x71"},
    {OPS("\x80\2q\0."), "builds 0 objects and notes 1"},
    {OPS("\x80\2}r\xff\xff\xff\xff."), "opcode 0x72"},
    {OPS("\x80\2}q\0h\0h\1."), "opcode 0x68"}, {OPS("\x80\2}q\0h\1q\1."), "opcode 0x68 at b"},
    {OPS("\x80\2N."), "a PyTorch file, but no dictionary"},
    {OPS("\x80\2]."), "a PyTorch file, but no dictionary"},
    {OPS("\x80\2cos\nsystem\nX\4\0\0\0trueq\0\x85R."), "it holds a Python object, os.system, whi"},
    {OPS("\x80\2" "cos\nsystem\n(lp0\n."), "opcode 0x6c"}, /* LIST */
    {OPS("\x80\2c\0\n\xff\n)R."), "it holds a Python object, ?.?, which"},
    {OPS("\x80\2" "NN\x81."), "it holds a Python object, something without a name"},
    {OPS("\x80\2}."), "no vision transformer in it (no patch_embed.proj.weight, no embeddings"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer p = {NULL, 0, 0};
    raw(&p, v[i].ops.p, v[i].ops.n);
    refused(zip_of(&p, 4), BDPT_E_FORMAT, v[i].phrase ? v[i].phrase : "no dictionary");
    free(p.p);
  }
}

/* What would run, in Python's pickle, leaves a node here: the network beside it is read. */
TEST(inert_objects) {
  static const char *const extra[] = {
    "cos\nsystem\nX\5\1\1\1", /* placeholder, replaced below */
    "cargparse\nNamespace\n)\x81}b", "cbuiltins\neval\n(ctorch\nload\ntR", "c__main__\nNet\n)R]b",
    "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\nNtR", "ccollections\nOrderedDict\n)R(NNNNu",
    "cos\nsystem\n)R(NNe", "]](NN]ea", "}(NNNNu}NNsb", "NQ", "\x8f", "\x8a\1\x80",
    "((tN\x88\x89KaMbbJcccct"};
  bdpt_context ctx = fresh();
  pth_file from;
  bdpt_bytes bytes;
  size_t i, count;
  char hash[17], got[17];
  pth_item item[64];
  CHECK(bdpt_file_read(&ctx, FOLDER "mini.zip.pth", &bytes) == BDPT_OK);
  CHECK(pth_open(&ctx, bytes.data, bytes.size, "mini", &from) == BDPT_OK);
  CHECK(pth_items(&from, NULL) <= 64);
  count = pth_items(&from, item);
  strcpy(hash, loads("mini.zip.pth", NULL, 1, "mini", ".logits.1e-06", NULL));
  for (i = 0; i < sizeof extra / sizeof *extra; i++) {
    buffer p = {NULL, 0, 0}, file;
    zip z;
    size_t k, n = 0;
    checkpoint_options o = {NULL, 1};
    bdpt_model *m;
    memset(&z, 0, sizeof z);
    op(&p, "\x80\2}");
    word(&p, "extra");
    if (i == 0) {
      op(&p, "cos\nsystem\n");
      word(&p, "touch build/a_pickle_ran");
      op(&p, "\x85R");
    } else {
      op(&p, extra[i]);
    }
    op(&p, "s(");
    for (k = 0; k < count; k++) { /* the same tensors, each from a storage of its own */
      pth_tensor t;
      uint64_t one[PTH_AXES], step[PTH_AXES];
      char name[200], key[20];
      int a;
      if (!item[k].tensor) continue;
      CHECK(pth_find(&from, item[k].value, "t", &t) == BDPT_OK && t.packed);
      snprintf(name, sizeof name, "%.*s", (int)item[k].length, item[k].name);
      snprintf(key, sizeof key, "%d", (int)n++);
      for (a = 0; a < t.ndim; a++) {
        one[a] = t.shape[a];
        step[a] = t.stride[a];
      }
      word(&p, name);
      tensor(&p, "FloatStorage", key, t.count, 0, t.ndim, one, step);
      snprintf(name, sizeof name, "x/data/%s", key);
      zip_add(&z, name, t.bytes, t.count * 4, 0);
    }
    op(&p, "u.");
    zip_add(&z, "x/data.pkl", p.p, p.n, 0);
    file = zip_end(&z);
    m = checkpoint_parse(&ctx, file.p, file.n, "x", NULL, &o, &report);
    if (!CHECK(m != NULL)) printf("  %d: %s\n", (int)i, ctx.message);
    if (m) bdpt_model_hash(m, got);
    CHECK(m && strcmp(hash, got) == 0);
    bdpt_model_free(m);
    bdpt_clear_error(&ctx);
    free(p.p);
    free(file.p);
  }
  pth_close(&from);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(mem_blocks == 0 && fopen("build/a_pickle_ran", "rb") == NULL);
}

/* Makes a pickle with one tensor under the anchor's name. */
static buffer one_tensor(const char *type, uint64_t numel, uint64_t offset, int axes,
                         const uint64_t *size, const uint64_t *stride, size_t bytes) {
  buffer p = {NULL, 0, 0}, file;
  op(&p, "\x80\2}");
  word(&p, "patch_embed.proj.weight");
  tensor(&p, type, "0", numel, offset, axes, size, stride);
  op(&p, "s.");
  file = zip_of(&p, bytes);
  free(p.p);
  return file;
}

TEST(hostile_tensors) {
#define TOP UINT64_MAX
#define BIG ((uint64_t)1 << 63)
#define HALF ((uint64_t)1 << 32)
  static const struct { const char *type; uint64_t numel, offset; int axes; uint64_t size[9],
                        stride[9]; size_t bytes; const char *phrase; } v[] = {
    {"FloatStorage", 4, 0, 1, {4}, {1}, 12, "should have 4 x 4 bytes, but has 12"},
    {"FloatStorage", 4, 0, 1, {4}, {1}, 20, "should have 4 x 4 bytes, but has 20"},
    {"FloatStorage", (uint64_t)1 << 62, 0, 1, {4}, {1}, 0, "should have 4611686018427387904 x 4"},
    {"FloatStorage", BIG >> 1, 0, 1, {4}, {1}, 16, "should have"}, /* bytes wrap to 0 */
    {"FloatStorage", TOP, 0, 1, {4}, {1}, 16, "its storage is described in a way"}, /* -1 */
    {"FloatStorage", 4, 1, 1, {4}, {1}, 16, "beyond the 4 elements of its storage"},
    {"FloatStorage", 4, 4, 1, {1}, {1}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, BIG - 1, 1, {2}, {1}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, TOP, 1, {2}, {1}, 16, "its sizes and strides are not tuples"},
    {"FloatStorage", 4, 0, 1, {5}, {1}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, 0, 1, {2}, {4}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, 0, 1, {40}, {0}, 16, "tensors are missing"}, /* one, expanded */
    {"FloatStorage", 4, 0, 1, {1000}, {0}, 16, "1000 elements of 4 bytes, more than the whole"},
    {"FloatStorage", 4, 0, 2, {1 << 15, 1 << 14}, {0, 0}, 16, "more than the whole file has"},
    {"FloatStorage", 4, 0, 2, {HALF, HALF}, {0, 0}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, 0, 2, {HALF, HALF + 1}, {0, 0}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, 0, 2, {BIG - 1, 2}, {0, 0}, 16, "more than the whole"},
    {"FloatStorage", 4, 0, 2, {3, 3}, {(uint64_t)3 << 61, (uint64_t)1 << 61}, 16, "beyond the 4"},
    {"FloatStorage", 4, 0, 2, {2, 2}, {BIG - 1, 1}, 16, "beyond the 4 elements"},
    {"FloatStorage", 4, 2, 2, {2, 2}, {BIG - 1, BIG - 1}, 16, "beyond the 4 elem"}, /* wraps to 0 */
    {"FloatStorage", 4, 0, 1, {TOP}, {1}, 16, "its sizes and strides are not tuples of at most 8"},
    {"FloatStorage", 4, 0, 1, {2}, {TOP}, 16, "its sizes and strides are not tuples"}, /* -1 */
    {"FloatStorage", 4, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1}, 16, "tuples of at most 8 whole"},
    {"FloatStorage", 4, 0, 5, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, 16, "5 axes, more than any tensor"},
    {"FloatStorage", 0, 0, 3, {0, HALF, HALF}, {1, 1, 1}, 0, "are missing"},
    {"FloatStorage", 0, 9, 1, {0}, {1}, 0, "are missing"},
    {"CharStorage", 4, 0, 1, {4}, {1}, 4, "numbers of a torch.CharStorage cannot be read"},
    {"ComplexFloatStorage", 4, 0, 1, {4}, {1}, 32, "numbers of a torch.ComplexFloatStorage"},
    {"Float8_e4m3fnStorage", 4, 0, 1, {4}, {1}, 4, "numbers of a torch.Float8_e4m3fnStorage"},
    {"FloatStorages", 4, 0, 1, {4}, {1}, 16, "numbers of a torch.FloatStorages"}};
  size_t i, k;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    const char *phrase = v[i].phrase;
    uint64_t most = v[i].numel | v[i].offset;
    for (k = 0; k < 9; k++) most |= v[i].size[k] | v[i].stride[k];
    if (most > SIZE_MAX) phrase = ": its s"; /* storage or sizes: no numbers of this machine */
    refused(one_tensor(v[i].type, v[i].numel, v[i].offset, v[i].axes, v[i].size, v[i].stride,
                       v[i].bytes), BDPT_E_FORMAT + (v[i].axes == 5 ? 3 : 0), phrase);
  }
}
#undef TOP
#undef BIG
#undef HALF

/* What is no plain tensor is refused where one is needed. Each text stands for the tensor. */
TEST(other_tensors) {
#define CALL(f) "ctorch._utils\n" f "\n"
  static const struct { const char *ops, *phrase; } v[] = {
    {CALL("_rebuild_qtensor") ")R", "'patch_embed.proj.weight': a tensor made by torch._utils._r"},
    {CALL("_rebuild_tensor_v2") ")R", "its storage is described in a way that cannot be read"},
    {CALL("_rebuild_tensor_v2") "NR", "its storage is described in a way"},
    {CALL("_rebuild_tensor_v2") "(NNNNtR", "its storage is described in a way"},
    {CALL("_rebuild_tensor_v2") "((tQNNNtR", "its storage is described in a way"},
    {CALL("_rebuild_tensor_v2") "(NQNNNtR", "its storage is described in a way"},
    {CALL("_rebuild_parameter") ")R", "a tensor made by something without a name"},
    {CALL("_rebuild_parameter") "N\x85R", "a tensor made by something without a name"},
    {CALL("_rebuild_parameter") "}\x85R", "a tensor made by something without a name"},
    {CALL("_rebuild_parameter") "cos\nsystem\n)R\x85R", "a tensor made by os.system cannot be re"},
    {CALL("_rebuild_parameter") CALL("_rebuild_parameter") CALL("_rebuild_parameter")
     CALL("_rebuild_parameter") CALL("_rebuild_parameter") "N\x85R\x85R\x85R\x85R\x85R",
     "a tensor made by torch._utils._rebuild_parameter cannot"},
    {"ctorch._tensor\n_rebuild_from_type_v2\n)R", "a tensor made by torch._tensor._rebuild_from"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer p = {NULL, 0, 0};
    op(&p, "\x80\2}");
    word(&p, "patch_embed.proj.weight");
    op(&p, v[i].ops);
    op(&p, "s.");
    refused(zip_of(&p, 16), BDPT_E_FORMAT, v[i].phrase);
    free(p.p);
  }
}

/* Offset, sizes and strides that are no whole numbers from 0 on, or no tuples of them, are
 * refused. */
TEST(numbers_of_tensors) {
#define LONG9 "\x8a\x09\1\1\1\1\1\1\1\1\1"
  static const char bad[] = "its sizes and strides are not tuples of at most 8 whole numbers";
  static const struct { const char *ops, *phrase; } v[] = {
    {"K\1(K\2t(K\1t", "tensors are missing"}, {"M\1\2(K\2t(K\1t", "beyond the 4 elements"},
    {"J\xff\xff\xff\xff(K\2t(K\1t", bad}, {"K\1(J\xff\xff\xff\xfft(K\1t", bad},
    {"K\1(K\2t(J\xff\xff\xff\xfft", bad}, {"K\1(\x8a\1\xfft(K\1t", bad},
    {"K\1(\x8a\1\x7ft(K\1t", "beyond the 4 elements"}, {LONG9 "(K\2t(K\1t", bad},
    {"K\1(" LONG9 "t(K\1t", bad}, {"N(K\2t(K\1t", bad}, {"}(K\2t(K\1t", bad},
    {"K\1(Nt(K\1t", bad}, {"K\1(K\2t(Nt", bad}, {"K\1N(K\1t", bad},
    {"K\1(K\2tN", bad}, {"K\1](K\2e(K\1t", bad}, {"K\1(K\2t(t", bad}, {"K\1(t(K\1t", bad},
    {"K\1(K\2K\1t(K\1t", bad}, {"G@@@@@@@@(K\2t(K\1t", bad}, {"\x88(K\2t(K\1t", bad}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer p = {NULL, 0, 0};
    op(&p, "\x80\2}");
    word(&p, "patch_embed.proj.weight");
    op(&p, "ctorch._utils\n_rebuild_tensor_v2\n(");
    storage(&p, "FloatStorage", "0", 4);
    op(&p, v[i].ops);
    op(&p, "\x89NtRs.");
    refused(zip_of(&p, 16), BDPT_E_FORMAT, v[i].phrase);
    free(p.p);
  }
#undef LONG9
}

/* Nothing recurses: nesting may be as deep as the file is long, in every container. */
TEST(deep_nesting) {
  static const struct { const char *open, *close; } v[] = {
    {"(", "t"}, {"]", "a"}, {"}N", "s"}, {"", "\x85"}, {"N", "R"}, {"N", "Q\x86"}, {"}", "b"}};
  size_t i, k, n = 100000;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer p = {NULL, 0, 0};
    op(&p, "\x80\2");
    for (k = 0; k < n; k++) op(&p, v[i].open);
    op(&p, "}");
    for (k = 0; k < n; k++) op(&p, v[i].close);
    op(&p, ".");
    refused(zip_of(&p, 0), BDPT_E_FORMAT, "");
    free(p.p);
  }
}
#undef CALL

/* Dictionaries may contain each other, and one may contain itself. */
TEST(knots) {
  buffer p = {NULL, 0, 0};
  op(&p, "\x80\2}q");
  number(&p, 0, 1);
  word(&p, "self");
  op(&p, "h");
  number(&p, 0, 1);
  op(&p, "s");
  word(&p, "next");
  op(&p, "}q\1");
  word(&p, "back");
  op(&p, "h");
  number(&p, 0, 1);
  op(&p, "ss.");
  refused(zip_of(&p, 0), BDPT_E_FORMAT, "it holds next");
  free(p.p);
}

/* ----------------------------------------------------------------------------- hostile zips --- */

/* The name of a network is the way to it. And pth_open alone: what fails owns nothing. */
TEST(paths_and_failures) {
  static const uint64_t four = 4, one = 1;
  bdpt_context ctx = fresh();
  checkpoint_options o = {"nobody", 1};
  buffer p = {NULL, 0, 0}, z;
  pth_file f;
  int i;
  op(&p, "\x80\2}");
  for (i = 0; i < 2; i++) {
    word(&p, i ? "swa" : "runs");
    op(&p, "}K\7}");
    word(&p, "module.patch_embed.proj.weight");
    tensor(&p, "FloatStorage", "0", 4, 0, 1, &four, &one);
    op(&p, "sss");
  }
  op(&p, ".");
  z = zip_of(&p, 16);
  CHECK(!checkpoint_parse(&ctx, z.p, z.n, "x", NULL, &o, &report));
  CHECK_HAS(ctx.message, "it holds no network 'nobody'; there are runs.7.module, swa.7.module");
  bdpt_clear_error(&ctx);
  CHECK(pth_open(&ctx, z.p, z.n - 1, "x", &f) == BDPT_E_FORMAT && !f.entry && !f.dict);
  bdpt_clear_error(&ctx);
  z.p[z.n - 23] ^= 1; /* the last letter of the last name in the directory */
  CHECK(pth_open(&ctx, z.p, z.n, "x", &f) == BDPT_E_FORMAT && mem_blocks == 0);
  bdpt_clear_error(&ctx);
  CHECK(pth_open(&ctx, "hello", 5, "x", &f) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "x: no PyTorch file");
  free(p.p);
  free(z.p);
}

/* Makes a good small archive to change: one entry of 20 bytes behind a local header of 34. */
static buffer small_zip(void) {
  zip z;
  memset(&z, 0, sizeof z);
  zip_add(&z, "a/data.pkl", "\x80\2}.", 4, 0);
  return zip_end(&z);
}

TEST(hostile_zips) {
  /* the local header stands at 0, its data at 40, the directory at 44, the end record at 100 */
  static const struct { size_t at; int bytes; uint64_t value; const char *phrase; } v[] = {
    {0, 1, 'P', "no vision transformer"}, /* nothing changed */
    {110, 2, 2, "its directory has no room for its entries"},
    {110, 2, 0, "its directory is damaged"},
    {112, 4, 55, "its directory does not lie before"}, {112, 4, 0xFFFFFFFFu, "does not lie before"},
    {116, 4, 43, "does not lie before"}, {116, 4, 0xFFFFFFF0u, "does not lie before"},
    {120, 2, 1, "its directory, which is at the end, is missing"},
    {44, 1, 'p', "its directory is damaged"}, {72, 2, 11, "its directory is damaged"},
    {72, 2, 9, "its two headers of 'a/data.pk' disagree"},
    {74, 2, 1, "its directory is damaged"}, {76, 2, 1, "its directory is damaged"},
    {72, 2, 0xFFFF, "its directory is damaged"}, {90, 1, 'b', "its two headers of 'b/data.pkl'"},
    {86, 4, 1, "lies outside of it"}, {86, 4, 44, "lies outside of it"},
    {86, 4, 0xFFFFFFFEu, "lies outside of it"}, {86, 4, 0xFFFFFFFFu, "its directory is damaged"},
    {64, 4, 5, "lies outside of it"}, {64, 4, 0xFFFFFFFEu, "lies outside of it"},
    {64, 4, 0xFFFFFFFFu, "its directory is damaged"}, {68, 4, 3, "two headers of 'a/data.pkl' dis"},
    {52, 2, 1, "'a/data.pkl' is encrypted"}, {54, 2, 8, "is compressed (method 8); PyTorch stores"},
    {26, 2, 9, "its two headers of 'a/data.pkl' disagree"}, {26, 2, 0xFFFF, "lies outside of it"},
    {28, 2, 1, "lies outside of it"}, {0, 4, 0, "no PyTorch"}, {30, 1, 'c', "its two headers"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer z = small_zip();
    CHECK(z.n == 122 && memcmp(z.p + 44, "PK\1\2", 4) == 0);
    put_bytes(z.p + v[i].at, v[i].bytes, v[i].value);
    if (v[i].at == 0 && v[i].bytes == 4) memcpy(z.p, "PK\5\6", 4); /* not a local header */
    refused(z, BDPT_E_FORMAT, v[i].at == 0 && v[i].bytes == 4 ? "lies outside" : v[i].phrase);
  }
}

/* Makes a 64-bit end record, put between directory and end record. */
static buffer zip64(uint64_t count, uint64_t size, uint64_t at, uint64_t where, uint64_t length,
                    unsigned small) {
  buffer z = small_zip(), out = {NULL, 0, 0};
  raw(&out, z.p, 100);
  op(&out, "PK\6\6");
  number(&out, length, 8); number(&out, 0x002D002D, 4); number(&out, 0, 8);
  number(&out, count, 8); number(&out, count, 8); number(&out, size, 8); number(&out, at, 8);
  op(&out, "PK\6\7");
  number(&out, 0, 4); number(&out, where, 8); number(&out, 1, 4);
  raw(&out, z.p + 100, 22);
  if (small) memset(out.p + 186, 0xff, 10); /* the old fields leave it to the new */
  free(z.p);
  return out;
}

TEST(zip64_records) {
  refused(zip64(1, 56, 44, 100, 44, 1), BDPT_E_FORMAT, "no vision transformer");
  refused(zip64(1, 56, 44, 100, 44, 0), BDPT_E_FORMAT, "no vision transformer");
  refused(zip64(2, 56, 44, 100, 44, 0), BDPT_E_FORMAT, "its two end records disagree");
  refused(zip64(1, 55, 44, 100, 44, 0), BDPT_E_FORMAT, "its two end records disagree");
  refused(zip64(2, 56, 44, 100, 44, 1), BDPT_E_FORMAT, "has no room for its entries");
  refused(zip64(UINT64_MAX, 56, 44, 100, 44, 1), BDPT_E_FORMAT, "its two end records disagree");
  refused(zip64(1, 12, UINT64_MAX - 11, 100, 44, 1), BDPT_E_FORMAT, "two end records disagree");
  refused(zip64(1, 56, 44, 99, 44, 1), BDPT_E_FORMAT, "not where its locator says");
  refused(zip64(1, 56, 44, UINT64_MAX, 44, 1), BDPT_E_FORMAT, "not where its locator says");
  refused(zip64(1, 56, 44, 100, 43, 1), BDPT_E_FORMAT, "64-bit end record has a wrong length");
  refused(zip64(1, 56, 44, 100, UINT64_MAX, 1), BDPT_E_FORMAT, "has a wrong length");
  refused(zip64(1, 57, 44, 100, 44, 1), BDPT_E_FORMAT, "its directory does not lie before");
}

/* Makes entries whose sizes stand in the extra field: `count` numbers under a tag. With one number
 * it is the offset alone. */
static buffer zip_wide(size_t count, uint64_t a, uint64_t b, uint64_t c, unsigned tag) {
  buffer z = small_zip(), out = {NULL, 0, 0};
  const uint64_t value[3] = {a, b, c};
  size_t i, n = 4 + 8 * count;
  raw(&out, z.p, 100);
  if (count > 1) memset(out.p + 64, 0xff, 8); /* both sizes */
  memset(out.p + 86, 0xff, 4); /* the offset */
  put_bytes(out.p + 74, 2, n);
  number(&out, tag, 2);
  number(&out, 8 * count, 2);
  for (i = 0; i < count; i++) number(&out, value[i], 8);
  raw(&out, z.p + 100, 22);
  put_bytes(out.p + out.n - 10, 4, 56 + n);
  free(z.p);
  return out;
}

TEST(zip64_sizes) {
  buffer z;
  refused(zip_wide(3, 4, 4, 0, 1), BDPT_E_FORMAT, "no vision transformer");
  refused(zip_wide(1, 0, 0, 0, 1), BDPT_E_FORMAT, "no vision transformer");
  refused(zip_wide(1, 1, 0, 0, 1), BDPT_E_FORMAT, "lies outside of it");
  refused(zip_wide(3, 4, 4, UINT64_MAX, 1), BDPT_E_FORMAT, "lies outside of it");
  refused(zip_wide(3, UINT64_MAX, UINT64_MAX, 0, 1), BDPT_E_FORMAT, "lies outside of it");
  refused(zip_wide(3, UINT64_MAX - 39, UINT64_MAX - 39, 0, 1), BDPT_E_FORMAT, "lies outside of it");
  refused(zip_wide(2, 4, 4, 0, 1), BDPT_E_FORMAT, "its directory is damaged");
  refused(zip_wide(3, 4, 4, 0, 2), BDPT_E_FORMAT, "its directory is damaged");
  z = zip_wide(3, 4, 4, 0, 2);
  z.p[102] = 25; /* one byte more than there is */
  refused(z, BDPT_E_FORMAT, "its directory is damaged");
}

TEST(other_zips) {
  static const struct { const char *name[3]; const char *phrase; } v[] = {
    {{"xl/workbook.xml", "data.pkl", NULL}, "no PyTorch checkpoint: 2 entries, no data.pkl; the f"},
    {{"a/data.pkl", "b/data.pkl", NULL}, "no PyTorch checkpoint: 2 entries, several data.pkl"},
    {{"a/data.pkl", "a/data.pkl", NULL}, "'a/data.pkl' occurs twice"},
    {{"a/b/data.pkl", "/data.pkl", NULL}, "no data.pkl; the first is /data.pkl"},
    {{"a/data.pkl", "a/constants.pkl", NULL}, "one with a TorchScript program; save the network's"},
    {{"a/data.pkl", "a/byteorder", NULL}, "its numbers are not little-endian"},
    {{NULL, NULL, NULL}, "no PyTorch checkpoint: 0 entries, no data.pkl; the first is missing"}};
  size_t i, k;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    zip z;
    memset(&z, 0, sizeof z);
    for (k = 0; k < 3 && v[i].name[k]; k++) zip_add(&z, v[i].name[k], "big\0\0", 5, 0);
    refused(zip_end(&z), BDPT_E_FORMAT, v[i].phrase);
  }
  { /* two entries in one place */
    zip z;
    buffer b;
    memset(&z, 0, sizeof z);
    zip_add(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    zip_add(&z, "a/data.pkm", "\x80\2}.", 4, 0);
    b = zip_end(&z);
    put_bytes(b.p + b.n - 22 - 56 + 42, 4, 0);
    memcpy(b.p + b.n - 22 - 10, "a/data.pkl", 10);
    refused(b, BDPT_E_FORMAT, "overlaps the entry before it");
  }
  { /* an entry inside another one's data */
    zip z;
    buffer b;
    memset(&z, 0, sizeof z);
    zip_add(&z, "a/data/0", "\0\0\0\0", 4, 0);
    b = z.all; /* a local header and its data, to be the data of an entry */
    z.all.p = NULL;
    z.all.n = z.all.room = 0;
    zip_add(&z, "a/data/1", b.p, b.n, 0);
    put_bytes(z.directory.p + 42, 4, 38); /* where the first one is now */
    zip_add(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    free(b.p);
    refused(zip_end(&z), BDPT_E_FORMAT, "'a/data/0' overlaps the entry before it");
  }
  { /* names that are longer than any of ours */
    static const uint64_t four = 4, one = 1;
    buffer p = {NULL, 0, 0};
    char name[60000];
    zip z;
    size_t n;
    op(&p, "\x80\2}");
    word(&p, "patch_embed.proj.weight");
    tensor(&p, "FloatStorage", "7", 4, 0, 1, &four, &one);
    op(&p, "s.");
    for (n = 250; n < 60000; n = n < 260 ? n + 1 : n + 59000) {
      memset(&z, 0, sizeof z);
      memset(name, 'n', n);
      strcpy(name + n, "/data.pkl");
      zip_add(&z, name, p.p, p.n, 0);
      refused(zip_end(&z), BDPT_E_FORMAT, n < 256 ? "its storage '7' is not in" : "over 255 b");
    }
    free(p.p);
  }
  { /* data of an entry that the pickle asks for are not there */
    static const uint64_t four = 4, one = 1;
    buffer p = {NULL, 0, 0};
    op(&p, "\x80\2}");
    word(&p, "patch_embed.proj.weight");
    tensor(&p, "FloatStorage", "7", 4, 0, 1, &four, &one);
    op(&p, "s.");
    refused(zip_of(&p, 16), BDPT_E_FORMAT, "its storage '7' is not in the file");
    free(p.p);
  }
}

/* --------------------------------------------------------------------------- the older form --- */

#define MAGIC "\x80\2\x8a\nl\xfc\x9c" "F\xf9 j\xa8P\x19."
/* Begins a file of the older form: magic, version, system, and the object's dictionary. */
static buffer legacy_front(const char *version, const char *system) {
  buffer b = {NULL, 0, 0};
  raw(&b, MAGIC, sizeof MAGIC - 1);
  op(&b, version);
  op(&b, "\x80\2}");
  word(&b, "little_endian");
  op(&b, system);
  op(&b, "s.\x80\2}");
  return b;
}

/* Makes a file of the older form: magic, version, system, a bare dictionary with one tensor of 4
 * floats, keys, storages. */
static buffer legacy(const char *version, const char *system, const char *keys, uint64_t numel,
                     size_t bytes) {
  static const uint64_t four = 4, one = 1;
  static const unsigned char data[64] = {0};
  buffer b = legacy_front(version, system);
  word(&b, "patch_embed.proj.weight");
  tensor(&b, "FloatStorage", "0", 4, 0, 1, &four, &one);
  op(&b, "s.");
  op(&b, "\x80\2");
  op(&b, keys);
  op(&b, ".");
  number(&b, numel, 8);
  raw(&b, data, bytes);
  return b;
}

static const char head[] = "\x80\2M\xe9\3."; /* version 1001 */

/* Begins a file with tensors "a" and "b" of storage '0', which b says has `numel` elements, a 4. */
static buffer two_tensors(uint64_t numel) {
  static const uint64_t four = 4, one = 1;
  buffer b = legacy_front(head, "\x88");
  word(&b, "a");
  tensor(&b, "FloatStorage", "0", 4, 0, 1, &four, &one);
  op(&b, "s");
  word(&b, "b");
  tensor(&b, "FloatStorage", "0", numel, 0, 1, &four, &one);
  return b;
}

TEST(hostile_legacy) {
  static const char key[] = "](U\1" "0e";
  refused(legacy(head, "\x88", key, 4, 16), BDPT_E_FORMAT, "tensors are missing: cls_token");
  refused(legacy("\x80\2M\xe8\3.", "\x88", key, 4, 16), BDPT_E_FORMAT, "but not of version 1001");
  refused(legacy(head, "\x89", key, 4, 16), BDPT_E_FORMAT, "its numbers are not little-endian");
  refused(legacy(head, "N", key, 4, 16), BDPT_E_FORMAT, "its numbers are not little-endian");
  refused(legacy(head, "NN", key, 4, 16), BDPT_E_FORMAT, "does not fit what the stack");
  refused(legacy(head, "\x88", key, 5, 16), BDPT_E_FORMAT, "storage '0' should have 4 elements");
  refused(legacy(head, "\x88", key, 4, 15), BDPT_E_FORMAT, "was the file cut off?");
  refused(legacy(head, "\x88", key, UINT64_MAX, 16), BDPT_E_FORMAT, "should have 4 elements");
  refused(legacy(head, "\x88", key, 4, 17), BDPT_E_FORMAT, "1 byte belongs to no storage");
  refused(legacy(head, "\x88", "]", 4, 16), BDPT_E_FORMAT, "24 bytes belong to no storage");
  refused(legacy(head, "\x88", "N", 4, 16), BDPT_E_FORMAT, "24 bytes belong to no storage");
  refused(legacy(head, "\x88", "](U\1" "0U\1" "0e", 4, 16), BDPT_E_FORMAT, "list of storages twic");
  refused(legacy(head, "\x88", "](U\1" "1e", 4, 16), BDPT_E_FORMAT, "'1' stands in the list of sto"
          "rages but nothing uses it");
  refused(legacy(head, "\x88", "](Ne", 4, 16), BDPT_E_FORMAT, "but nothing uses it");
  { /* one key, two descriptions */
    buffer b = two_tensors(5);
    op(&b, "s.");
    refused(b, BDPT_E_FORMAT, "storage '0' is described in two ways");
  }
  { /* one storage, described twice in the same way: two tensors share it */
    buffer b = two_tensors(4);
    op(&b, "s.\x80\2](U\1" "0e.");
    number(&b, 4, 8);
    raw(&b, "0123456789abcdef", 16);
    refused(b, BDPT_E_FORMAT, "no vision transformer in it");
  }
  { /* a storage of unknown size in between */
    static const uint64_t four = 4, one = 1;
    buffer b = legacy_front(head, "\x88");
    word(&b, "a");
    tensor(&b, "Float4Storage", "0", 4, 0, 1, &four, &one);
    op(&b, "s.\x80\2](U\1" "0e.");
    refused(b, BDPT_E_FORMAT, "storage '0' is a torch.Float4Storage, whose size is unknown");
  }
}

/* ------------------------------------------------------------------------ what it really is --- */

TEST(what_it_really_is) {
  static const struct { const char *bytes; size_t size; const char *phrase; } v[] = {
    {"<!DOCTYPE html><html>", 21, "it is an HTML or XML page"},
    {"version https://git-lfs.github.com/spec/v1\n", 43, "a git-lfs pointer"},
    {"\x1f\x8b\10\0\0\0\0\0\0\0", 10, "compressed with gzip"},
    {"GGUF\3\0\0\0\0\0\0\0", 12, "a GGUF file"}, {"\x93NUMPY\1\0v\0", 10, "a NumPy array"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file"}, {"", 0, "the file is empty"},
    {"PK\3\4\24\0\0\0\0\0", 10, "its directory, which is at the end, is missing; was the download"},
    {"PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22, "no PyTorch checkpoint: 0 entries"},
    {"\x80\4\x95\0\0\0\0\0\0\0\0.", 12, "a Python pickle (protocol 4), but not from torch.save"},
    {"\x80\2}q\0.", 6, "a Python pickle (protocol 2), but not from torch.save"},
    {"\x80\2\x8a\nl\xfc", 6, "PyTorch's older form, but not of version 1001"},
    {"\xff\xd8\xff\xe0\0\x10JFIF", 10, "a JPEG image"}, {"\x89PNG\r\n\x1a\n", 8, "a PNG image"},
    {"\375" "7zXZ\0\0\4", 8, "compressed with xz"}, {"BZh91AY&SY", 10, "compressed with bzip2"},
    {"\x28\xb5\x2f\xfd\4\x58\1\0", 8, "compressed with zstd"}, {"{}", 2, "JSON text"},
    {"\n  <html>", 9, "an HTML or XML page"}, {"<h1>", 4, "an HTML or XML page"},
    {"Entry not found", 15, "no safetensors file begins 'Entry not found'"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    buffer b = {NULL, 0, 0};
    raw(&b, v[i].bytes, v[i].size);
    refused(b, BDPT_E_FORMAT, v[i].phrase);
  }
}

static void file_refused(const char *file, const char *phrase) {
  bdpt_context ctx = fresh();
  char path[200];
  snprintf(path, sizeof path, FOLDER "%s", file);
  CHECK(checkpoint_load(&ctx, path, NULL, &report) == NULL);
  if (!CHECK(strstr(ctx.message, phrase) != NULL)) printf("  %s (%s)\n", ctx.message, phrase);
  CHECK(mem_blocks == 0);
}

TEST(files_that_are_refused) {
  file_refused("module.zip.pth", "torch.nn.modules.linear.Linear, which nothing but its own prog");
  file_refused("protocol4.pth", "pickle protocol 4");
  file_refused("expected.safetensors", "no vision transformer in it");
  file_refused("none.pth", "cannot be opened");
  file_refused("mini.zip.pth", "nothing tells the number of attention heads (width 4 is no multip");
}

/* ------------------------------------------------------------------- cut off and changed --- */

/* Loads whatever it is; nothing may be left, and a failure must have a sentence. Returns 1 if it
 * loads. */
static int survives(const unsigned char *bytes, size_t size, const char *config) {
  bdpt_context ctx = fresh();
  checkpoint_options o = {NULL, 1};
  bdpt_model *m = checkpoint_parse(&ctx, bytes, size, "x", sides(config, NULL), &o, &report);
  int good = (m != NULL) == (ctx.status == BDPT_OK) && (m != NULL) == (ctx.message[0] == 0);
  int loaded = m != NULL;
  bdpt_model_free(m);
  if (!good || mem_blocks) FAIL("a failure without a sentence, or a leak");
  return loaded;
}

TEST(cut_and_changed) {
  static const char *const file[] = {"mini.zip.pth", "mini.legacy.pth", "mini.hf4.safetensors"};
  static const char config[] = "{\"hidden_size\":4,\"layer_norm_eps\":1e-6,\"x\":[1,{\"y\":2}]}";
  const size_t every = test_every();
  size_t i, n, at;
  for (i = 0; i < 3; i++) {
    bdpt_context ctx = fresh();
    char path[200];
    bdpt_bytes bytes;
    unsigned char *copy;
    size_t size, loaded = 0;
    snprintf(path, sizeof path, FOLDER "%s", file[i]);
    CHECK(bdpt_file_read(&ctx, path, &bytes) == BDPT_OK);
    size = bytes.size;
    copy = exact(bytes.data, size);
    bdpt_bytes_free(&ctx, &bytes);
    CHECK(survives(copy, size, NULL));
    for (n = 0; n < size; n += every) {
      unsigned char *cut = exact(copy, n);
      loaded += (size_t)survives(cut, n, NULL);
      free(cut);
    }
    CHECK(loaded == 0);
    for (at = 0; at < size; at += every) {
      for (n = 0; n < 8; n++) {
        copy[at] = (unsigned char)(copy[at] ^ (1u << n));
        survives(copy, size, NULL);
        copy[at] = (unsigned char)(copy[at] ^ (1u << n));
      }
    }
    for (n = 0; n <= strlen(config); n += every) { /* the same for the text beside it */
      char text[sizeof config];
      snprintf(text, n + 1, "%s", config);
      survives(copy, size, text);
      for (at = 0; at < 8 && n < strlen(config); at++) {
        memcpy(text, config, sizeof text);
        text[n] = (char)(text[n] ^ (1 << at));
        survives(copy, size, text);
      }
    }
    free(copy);
  }
}

/* ----------------------------------------------------------------------------------- memory --- */

/* Memory runs out at the k-th request, for every k. */
TEST(out_of_memory) {
  static const struct { const char *file; int heads; } v[] = {
    {"train.zip.pth", 3}, {"train.legacy.pth", 3}, {"deit.hf4/model.safetensors", 0},
    {"awkward.zip.pth", 3}};
  size_t i, k;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    for (k = 1; k < 1000; k++) {
      bdpt_context ctx = fresh();
      checkpoint_options o = {NULL, v[i].heads};
      char path[200];
      bdpt_model *m;
      snprintf(path, sizeof path, FOLDER "%s", v[i].file);
      mem_fail_at = k;
      m = checkpoint_load(&ctx, path, &o, &report);
      mem_fail_at = 0;
      if (m) { bdpt_model_free(m); break; }
      CHECK(ctx.status == BDPT_E_MEMORY && mem_blocks == 0);
      if (!CHECK(strstr(ctx.message, "out of memory") != NULL)) printf("  %s\n", ctx.message);
    }
    CHECK(k > 20 && k < 1000);
  }
}

/* Reads ten megabytes of pickle, in several ways: they are refused, in memory bounded by the size
 * of the file. */
static void big_pickle(const char *front, const char *unit, const char *back, const char *phrase) {
  size_t room = 10 << 20;
  buffer p = {NULL, 0, 0}, file;
  op(&p, "\x80\2");
  op(&p, front);
  while (p.n < room) op(&p, unit);
  op(&p, back);
  file = zip_of(&p, 0);
  free(p.p);
  room = file.n;
  refused(file, BDPT_E_FORMAT, phrase);
  if (!CHECK(mem_peak < 2 * room)) printf("  %zu of %zu bytes\n", mem_peak, room);
}

TEST(big_pickles) {
  big_pickle("", "]", ".", "at most 6");
  big_pickle("(", "N", "t.", "at most 6");
  big_pickle("}q\1", "h\1h\1s", ".", "at most 6");
  big_pickle("", "q\1", ".", "builds 0 objects and notes 5242879; at most 6");
  big_pickle("}", "X\1\1\1\1" "abc", ".", "without a STOP");
  big_pickle("", "(((((((((((", ".", "at most 6");
  big_pickle("}", "cx\ny\n", ".", "at most 6");
}

/* Many names for one storage cannot make a network that is many times as large as the file. */
TEST(shared_storage) {
  static const char *const names[] = {"patch_embed.proj.weight", "patch_embed.proj.bias",
    "cls_token", "pos_embed", "norm.weight", "norm.bias", "head.weight", "head.bias"};
  static const uint64_t all[2] = {1000, 1}, step[2] = {1, 1};
  buffer p = {NULL, 0, 0};
  size_t i;
  op(&p, "\x80\2}(");
  for (i = 0; i < 8; i++) {
    word(&p, names[i]);
    tensor(&p, "FloatStorage", "0", 1000, 0, 2, all, step);
  }
  op(&p, "u.");
  { /* a width of 1000 features needs --heads before anything else is looked at */
    bdpt_context ctx = fresh();
    checkpoint_options o = {NULL, 1};
    buffer z = zip_of(&p, 4000);
    CHECK(!checkpoint_parse(&ctx, z.p, z.n, "x", NULL, &o, &report));
    CHECK_HAS(ctx.message, "its tensors overlap: together they are 32000 bytes of a file of");
    free(z.p);
  }
  free(p.p);
}

/* -------------------------------------------------------------------------- small floats --- */

static double from_bits32(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return (double)f;
}

TEST(half_rounding) {
  static const struct { uint32_t f; unsigned h, b; } torch[] = {
    {0x00000000u, 0x0000, 0x0000}, {0x80000000u, 0x8000, 0x8000}, {0x3f800000u, 0x3c00, 0x3f80},
    {0xbfc00000u, 0xbe00, 0xbfc0}, {0x3eaaaaabu, 0x3555, 0x3eab}, {0x3dcccccdu, 0x2e66, 0x3dcd},
    {0x477fe000u, 0x7bff, 0x4780}, {0x477fef00u, 0x7bff, 0x4780}, {0x477fefffu, 0x7bff, 0x4780},
    {0x477ff000u, 0x7c00, 0x4780}, {0x47800000u, 0x7c00, 0x4780}, {0x3727c5acu, 0x00a8, 0x3728},
    {0x38800000u, 0x0400, 0x3880}, {0x387fc000u, 0x03ff, 0x3880}, {0x33800000u, 0x0001, 0x3380},
    {0x33000000u, 0x0000, 0x3300}, {0x33000001u, 0x0001, 0x3300}, {0x33c00000u, 0x0002, 0x33c0},
    {0x34200000u, 0x0002, 0x3420}, {0x45000000u, 0x6800, 0x4500}, {0x45001000u, 0x6800, 0x4500},
    {0x45003000u, 0x6802, 0x4500}, {0x45801000u, 0x6c00, 0x4580}, {0x7f800000u, 0x7c00, 0x7f80},
    {0xff800000u, 0xfc00, 0xff80}, {0x7f7fffffu, 0x7c00, 0x7f80}, {0x7f7f0000u, 0x7c00, 0x7f7f},
    {0x7f7f7fffu, 0x7c00, 0x7f7f}, {0x7f7f8000u, 0x7c00, 0x7f80}, {0x00800000u, 0x0000, 0x0080},
    {0x007f0000u, 0x0000, 0x007f}, {0x000116c2u, 0x0000, 0x0001}, {0x00010000u, 0x0000, 0x0001},
    {0x00008000u, 0x0000, 0x0000}, {0x00000001u, 0x0000, 0x0000}, {0x3f808000u, 0x3c04, 0x3f80},
    {0x3f818000u, 0x3c0c, 0x3f82}, {0x43808000u, 0x5c04, 0x4380}, {0x43818000u, 0x5c0c, 0x4382},
    {0xc77ff000u, 0xfc00, 0xc780}, {0xb3d6bf95u, 0x8002, 0xb3d7}, {0x40490fdbu, 0x4248, 0x4049}};
  size_t i;
  for (i = 0; i < sizeof torch / sizeof *torch; i++) {
    double v = from_bits32(torch[i].f);
    CHECK(half_pack(v, 5, 10) == torch[i].h);
    CHECK(half_pack(v, 8, 7) == torch[i].b);
  }
  CHECK((half_pack(from_bits32(0x7fc00000u), 5, 10) & 0x7e00) == 0x7e00);
  CHECK((half_pack(from_bits32(0xffc00000u), 8, 7) & 0xffc0) == 0xffc0);
    /* rounding once: through float this double would become 1 + 2^-8 and then tie to 1 */
  CHECK(half_pack(1.00390625 + 1e-12, 8, 7) == 0x3f81);
  CHECK(half_pack(1e300, 8, 7) == 0x7f80 && half_pack(-1e300, 5, 10) == 0xfc00);
  CHECK(half_pack(5e-324, 8, 7) == 0 && half_pack(-5e-324, 5, 10) == 0x8000);
}

/* A NaN of another width stays a quiet NaN of its sign. F16: 7e00 fe00, as PyTorch. BF16: 7fc0
 * ffc0; PyTorch drops the sign and writes 7fc0 twice. */
TEST(half_nan) {
  CHECK(half_pack(from_bits32(0x7f812345u), 5, 10) == 0x7e00);
  CHECK(half_pack(from_bits32(0xff812345u), 5, 10) == 0xfe00);
  CHECK(half_pack(from_bits32(0x7f812345u), 8, 7) == 0x7fc0);
  CHECK(half_pack(from_bits32(0xff812345u), 8, 7) == 0xffc0);
}

/* Every number of 16 bits comes back as it was. */
TEST(half_patterns) {
  unsigned bits, wrong = 0;
  for (bits = 0; bits < 65536; bits++) {
    const int e = (int)(bits >> 10 & 31), m = (int)(bits & 1023);
    const double v = from_bits32((uint32_t)bits << 16);
    const double h = (bits >> 15 ? -1 : 1) * (e > 0 ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
    wrong += v == v && half_pack(v, 8, 7) != bits;
    wrong += e < 31 && half_pack(h, 5, 10) != bits;
  }
  CHECK(wrong == 0);
}

int main(int argc, char **argv) {
  bdpt_context ctx = fresh();
  if (argc == 3 && strcmp(argv[1], "dump") == 0) dump_folder = argv[2];
  if (!fixture_open(&ctx, FOLDER "expected.safetensors")) return TEST_END("checkpoint");
  mem_blocks = mem_now = 0; /* what stays open until the end is not counted */
  RUN(one_network_in_many_forms);
  RUN(which_network);
  RUN(preference);
  RUN(dialects);
  RUN(layer_scale);
  RUN(half_rounding);
  RUN(half_nan);
  RUN(half_patterns);
  RUN(missing_and_unknown);
  RUN(strangers);
  RUN(names_of_classes);
  RUN(shards_and_folders);
  RUN(long_lists);
  RUN(networks_with_less);
  RUN(our_own_files);
  RUN(pickles_of_other_protocols);
  RUN(configurations);
  RUN(configurations_that_fit);
  RUN(positions_in_doubt);
  RUN(pickles_that_are_refused);
  RUN(inert_objects);
  RUN(hostile_tensors);
  RUN(other_tensors);
  RUN(numbers_of_tensors);
  RUN(deep_nesting);
  RUN(knots);
  RUN(paths_and_failures);
  RUN(hostile_zips);
  RUN(zip64_records);
  RUN(zip64_sizes);
  RUN(other_zips);
  RUN(hostile_legacy);
  RUN(what_it_really_is);
  RUN(files_that_are_refused);
  RUN(cut_and_changed);
  RUN(out_of_memory);
  RUN(big_pickles);
  RUN(shared_storage);
  fixture_close();
  return TEST_END("checkpoint");
}
