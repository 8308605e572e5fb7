/* =================================================================================================
 * export.c: a network for other programs
 * =================================================================================================
 *   ONNX          one file, see onnx.c; the metadata say how its images are to be normalised
 *   safetensors   this library's own format (timm's names), or Hugging Face's names for a network
 *                 from which nothing was removed; in F32, F16 or BF16; with a config.json beside it
 *
 * config.json has the fields that Hugging Face's tools and readers look for, then ours: which
 * layers are gone. Its model_type is "vit" or "deit" only where transformers can really load the
 * file; otherwise transformers would fill what it misses with random numbers and go on, so there it
 * is "boundarydpt", which makes it stop.
 */
#include "../../../boundarydpt.h"
#include "../json_read.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/system.h"
#include "export.h"
#include "half.h"
#include "labels.h"
#include "onnx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 1  CONFIG.JSON                                                                      >>config-json
 * =================================================================================================
 */

/* The blocks in a state, by the names that the checkpoints use too. */
enum { EXPORT_LISTS = 5 };
static const char *const export_list_name[EXPORT_LISTS] = {
  "drop_attn_list", "drop_act_list", "fused_mlp_list", "fitted_attn_list", "fitted_mlp_list"};

static int export_list(const bdpt_config *c, int which, int list[BDPT_MAX_DEPTH]) {
  int l, n = 0;
  for (l = 0; l < c->depth; l++) {
    const bdpt_block *b = &c->block[l];
    int in[EXPORT_LISTS];
    in[0] = b->attention == BDPT_ATTENTION_REMOVED;
    in[1] = b->mlp_state != BDPT_MLP_KEPT;
    in[2] = b->mlp_state == BDPT_MLP_FUSED;
    in[3] = b->attention == BDPT_ATTENTION_FITTED;
    in[4] = b->mlp_state == BDPT_MLP_FITTED;
    if (in[which]) list[n++] = l;
  }
  return n;
}

/* Writes a size that may differ from block to block: one number if it does not. */
static void export_sizes(cli_json *j, const char *key, const int *size, int depth) {
  int l = 0;
  while (l < depth && size[l] == size[0]) l++;
  if (l == depth) cli_json_real(j, key, size[0]);
  else cli_json_ints(j, key, size, depth);
}

int export_is_plain(const bdpt_config *c) {
  int l;
  if (c->pool || c->no_class || c->registers || c->pre_norm || c->headless) return 0;
  for (l = 0; l < c->depth; l++) {
    const bdpt_block *b = &c->block[l];
    if (b->attention != BDPT_ATTENTION_KEPT || b->mlp_state != BDPT_MLP_KEPT ||
        b->mlp_state >= BDPT_MLP_FUSED || b->heads != c->block[0].heads ||
        b->heads * b->head_dim != c->width || b->mlp != c->block[0].mlp ||
        fabs(b->scale * sqrt((double)b->head_dim) - 1) > 1e-6)
      return 0;
  }
  return 1;
}

/* Prints one field a line: a line break and two blanks after each top-level bracket and comma. */
static void export_print_fields(cli_json *out, const char *text) {
  int depth = 0, quoted = 0, escaped = 0;
  for (; *text && *text != '\n'; text++) {
    if (*text == '"' && !escaped) quoted = !quoted;
    escaped = *text == '\\' && !escaped;
    if (!quoted && *text == '}' && depth == 1) cli_json_raw(out, "\n", 1);
    cli_json_raw(out, text, 1);
    if (quoted) continue;
    if (*text == '{' || *text == '[') depth++;
    if (*text == '}' || *text == ']') depth--;
    if (depth == 1 && (*text == '{' || *text == ',')) cli_json_raw(out, "\n  ", 3);
    if (depth == 1 && *text == ':') cli_json_raw(out, " ", 1);
  }
  cli_json_raw(out, "\n", 1);
}

/* Writes the fields that transformers reads. */
static void export_common_fields(cli_json *j, const bdpt_config *c, int names) {
  const char *type = c->distilled ? "deit" : "vit";
  int heads[BDPT_MAX_DEPTH], size[BDPT_MAX_DEPTH], mlp[BDPT_MAX_DEPTH], l;
  static const char *const act[] = {"gelu", "gelu_pytorch_tanh", "quick_gelu", "relu"};
  const int sides[2] = {c->image, c->image_width};
  for (l = 0; l < c->depth; l++) {
    heads[l] = c->block[l].heads;
    size[l] = c->block[l].head_dim;
    mlp[l] = c->block[l].mlp;
  }
  if (names == EXPORT_HF) {
    cli_json_key(j, "architectures");
    cli_json_raw(j, "[", 1);
    cli_json_quoted(j, c->distilled ? "DeiTForImageClassificationWithTeacher"
                                    : "ViTForImageClassification");
    cli_json_raw(j, "]", 1);
  }
  cli_json_text(j, "model_type", names == EXPORT_HF ? type : "boundarydpt");
  cli_json_real(j, "hidden_size", c->width);
  cli_json_real(j, "num_hidden_layers", c->depth);
  export_sizes(j, "num_attention_heads", heads, c->depth);
  export_sizes(j, "head_dim", size, c->depth);
  export_sizes(j, "intermediate_size", mlp, c->depth);
  cli_json_text(j, "hidden_act", act[c->act]);
  cli_json_real(j, "layer_norm_eps", c->eps);
  if (c->image_width) cli_json_ints(j, "image_size", sides, 2);
  else cli_json_real(j, "image_size", c->image);
  cli_json_real(j, "patch_size", c->patch);
  cli_json_real(j, "num_channels", c->channels);
  cli_json_key(j, "qkv_bias");
  cli_json_raw(j, c->no_qkv_bias ? "false" : "true", c->no_qkv_bias ? 5 : 4);
  cli_json_real(j, "num_labels", c->classes);
}

/* Writes what the classes are called, as the reader of the file wants it. */
static void export_labels(cli_json *j, const bdpt_model *m, int names) {
  const char **name = labels_read(m->labels, (size_t)m->config.classes);
  char number[24];
  int i;
  if (!name) return;
  cli_json_key(j, names == EXPORT_HF ? "id2label" : "label_names");
  if (names != EXPORT_HF) cli_json_raw(j, m->labels, strlen(m->labels));
  for (i = 0; i < m->config.classes && names == EXPORT_HF; i++) {
    snprintf(number, sizeof number, "%s\"%d\":", i ? "," : "{", i);
    cli_json_raw(j, number, strlen(number));
    cli_json_quoted(j, name[i]);
  }
  if (names == EXPORT_HF) cli_json_raw(j, "}", 1);
  free(name);
}

void export_config(cli_json *out, const bdpt_model *m, const char *weights, int names) {
  static const char *const form[] = {"ln", "skip", "double"}, *const gelu[] = {"none", "both",
                                                                               "always"};
  const bdpt_config *c = &m->config;
  int list[BDPT_MAX_DEPTH], i, n;
  cli_json j = {NULL, 0, 0, 0, 0};
  cli_json_open(&j, NULL);
  export_common_fields(&j, c, names);
  cli_json_text(&j, "weights_file", weights);
  cli_json_key(&j, "distilled");
  cli_json_raw(&j, c->distilled ? "true" : "false", c->distilled ? 4 : 5);
  cli_json_reals(&j, "image_mean", c->mean, 3);
  cli_json_reals(&j, "image_std", c->std, 3);
  for (i = 0; i < EXPORT_LISTS; i++) {
    n = export_list(c, i, list);
    cli_json_ints(&j, export_list_name[i], list, n);
  }
  cli_json_text(&j, "attn_form", form[c->attn_form]);
  cli_json_text(&j, "extra_gelu", gelu[c->extra_gelu]);
  if (m->preprocessing[0]) cli_json_text(&j, "preprocessing", m->preprocessing);
  if (m->labels) export_labels(&j, m, names);
  if (m->parent[0]) cli_json_text(&j, "parent", m->parent);
  if (m->certificate[0]) cli_json_text(&j, "certificate", m->certificate);
  cli_json_text(&j, "boundarydpt", bdpt_version());
  cli_json_close(&j);
  if (!j.failed) export_print_fields(out, j.text);
  out->failed |= j.failed;
  free(j.text);
}

int export_config_is_ours(const unsigned char *text, size_t size, const char *weights) {
  json_reader j;
  json_event e;
  char word[600] = "";
  int here = 0;
  json_init(&j, (const char *)text, size);
  while ((e = json_next(&j)) != JSON_END && e != JSON_ERROR) {
    if (e == JSON_STRING && here)
      return json_copy(&j, word, sizeof word) < sizeof word && strcmp(word, weights) == 0;
    here = e == JSON_KEY && j.depth == 1 && json_copy(&j, word, sizeof word) == 12 &&
           strcmp(word, "weights_file") == 0;
  }
  return 0;
}

/* Finds DIR/config.json of DIR/NAME, and NAME. An existing one is replaced only if it is NAME's. */
static bdpt_status export_config_path(bdpt_context *ctx, const char *file, char path[1024],
                                      const char **weights) {
  const char *slash = cli_last_slash(file);
  bdpt_bytes text;
  int ours;
  *weights = slash ? slash + 1 : file;
  if (snprintf(path, 1024, "%.*sconfig.json", (int)(*weights - file), file) >= 1024)
    return cli_fail(ctx, BDPT_E_ARGUMENT, "%.200s...: the path is too long", file);
  if (cli_file_exists(path) == 0) return BDPT_OK;
  if (bdpt_file_read(ctx, path, &text) != BDPT_OK) return ctx->status;
  ours = export_config_is_ours(text.data, text.size, *weights);
  bdpt_bytes_free(ctx, &text);
  if (ours) return BDPT_OK;
  return cli_fail(ctx, BDPT_E_STATE, "%s is there already and belongs to another network than "
                  "%s: export into a folder of its own", path, *weights);
}

/* =================================================================================================
 * 2  SAFETENSORS                                                             >>export-safetensors
 * =================================================================================================
 * Hugging Face's names, as they stand in the files of its hub (transformers 4; version 5 renames
 * while loading). Its query, key and value are three tensors, which lie one after another in ours.
 */
typedef struct export_table {
  bdpt_write_tensor list[16 * BDPT_MAX_DEPTH + 16];
  char name[16 * BDPT_MAX_DEPTH + 16][80];
  size_t count;
} export_table;

/* Writes rows first .. first + rows of a parameter under another name; rows 0: all of it. */
static void export_row(export_table *t, const bdpt_tensor *p, size_t first, size_t rows,
                       const char *name) {
  bdpt_write_tensor *w = &t->list[t->count];
  size_t each = p->shape[0] ? p->count / p->shape[0] : 0;
  memcpy(t->name[t->count], name, strlen(name) + 1);
  w->name = t->name[t->count++];
  w->dtype = BDPT_F32;
  w->ndim = p->ndim;
  memcpy(w->shape, p->shape, sizeof p->shape);
  if (rows) w->shape[0] = rows;
  w->data = p->data + first * each;
}

static void export_hf_block(export_table *t, const bdpt_model *m, int l, const char *prefix) {
  static const struct { int slot; const char *name; } row[] = {
    {BDPT_SLOT_NORM1_W, "layernorm_before"}, {BDPT_SLOT_PROJ_W, "attention.output.dense"},
    {BDPT_SLOT_NORM2_W, "layernorm_after"}, {BDPT_SLOT_FC1_W, "intermediate.dense"},
    {BDPT_SLOT_FC2_W, "output.dense"}};
  static const char *const qkv[] = {"query", "key", "value"}, *const part[] = {"weight", "bias"};
  size_t width = (size_t)m->config.width, k;
  char name[80];
  int i, p;
  for (p = 0; p < 2; p++) {
    for (i = 0; i < 5; i++) {
      snprintf(name, sizeof name, "%s.encoder.layer.%d.%s.%s", prefix, l, row[i].name, part[p]);
      export_row(t, &m->param[BDPT_SLOT(l, row[i].slot) + p], 0, 0, name);
    }
    for (k = 0; k < 3 && m->param[BDPT_SLOT(l, BDPT_SLOT_QKV_W) + p].data; k++) {
      snprintf(name, sizeof name, "%s.encoder.layer.%d.attention.attention.%s.%s", prefix, l,
               qkv[k], part[p]);
      export_row(t, &m->param[BDPT_SLOT(l, BDPT_SLOT_QKV_W) + p], k * width, width, name);
    }
  }
}

static void export_hf_rows(export_table *t, const bdpt_model *m) {
  static const struct { int slot; const char *name; } row[] = {
    {BDPT_SLOT_CLS, "embeddings.cls_token"}, {BDPT_SLOT_DIST, "embeddings.distillation_token"},
    {BDPT_SLOT_POS, "embeddings.position_embeddings"},
    {BDPT_SLOT_PATCH_W, "embeddings.patch_embeddings.projection.weight"},
    {BDPT_SLOT_PATCH_B, "embeddings.patch_embeddings.projection.bias"},
    {BDPT_SLOT_NORM_W, "layernorm.weight"}, {BDPT_SLOT_NORM_B, "layernorm.bias"}};
  const char *prefix = m->config.distilled ? "deit" : "vit";
  const char *head = m->config.distilled ? "cls_classifier" : "classifier";
  char name[80];
  int i, l;
  for (i = 0; i < 7; i++) {
    if (!m->param[row[i].slot].data) continue;
    snprintf(name, sizeof name, "%s.%s", prefix, row[i].name);
    export_row(t, &m->param[row[i].slot], 0, 0, name);
  }
  for (l = 0; l < m->config.depth; l++) export_hf_block(t, m, l, prefix);
  for (i = 0; i < 2 + 2 * m->config.distilled; i++) {
    snprintf(name, sizeof name, "%s.%s", i < 2 ? head : "distillation_classifier",
             i % 2 ? "bias" : "weight");
    export_row(t, &m->param[BDPT_SLOT_HEAD_W + i], 0, 0, name);
  }
}

/* Refuses numbers that the file's format cannot hold. */
static bdpt_status export_check_numbers(const bdpt_model *m, int dtype) {
  double most = ldexp(2 - ldexp(1, dtype == BDPT_BF16 ? -8 : -24), 127);
  size_t k;
  int i;
  if (dtype == BDPT_F16) most = 65520;
  for (i = 0; i < m->slots; i++)
    for (k = 0; bdpt_model_active(m, i) && k < m->param[i].count; k++)
      if (!(fabs((double)m->param[i].data[k]) < most))
        return cli_fail(m->ctx, BDPT_E_NUMERIC, "element %lu of %s is %g, not finite in this "
                        "file's format", (unsigned long)k, m->name[i],
                        (double)m->param[i].data[k]);
  return BDPT_OK;
}

static bdpt_status export_hf(const bdpt_model *m, bdpt_bytes *out) {
  static const char *const key[] = {"format"}, *const value[] = {"pt"};
  export_table *t = (export_table *)calloc(1, sizeof *t);
  bdpt_status s;
  if (!t) return cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  export_hf_rows(t, m);
  s = bdpt_safetensors_build(m->ctx, t->list, t->count, key, value, 1, out);
  free(t);
  return s;
}

/* Writes the weights, by way of a file in float. */
static bdpt_status export_weights(const bdpt_model *m, const export_options *o) {
  const bdpt_dtype dtype = (bdpt_dtype)o->dtype;
  bdpt_bytes whole = {NULL, 0}, half = {NULL, 0};
  const bdpt_bytes *file = dtype == BDPT_F32 ? &whole : &half;
  bdpt_status s = export_check_numbers(m, dtype);
  if (s == BDPT_OK)
    s = o->names == EXPORT_HF ? export_hf(m, &whole) : bdpt_model_build(m, &whole);
  if (s == BDPT_OK && dtype != BDPT_F32) s = half_file(m->ctx, &whole, dtype, &half);
  if (s == BDPT_OK) s = bdpt_file_write(m->ctx, o->safetensors, file->data, file->size);
  bdpt_bytes_free(m->ctx, &whole);
  bdpt_bytes_free(m->ctx, &half);
  return s;
}

bdpt_status export_safetensors(const bdpt_model *m, const export_options *o) {
  cli_json text = {NULL, 0, 0, 0, 0};
  char path[1024];
  const char *weights;
  bdpt_status s = BDPT_OK;
  if (o->names == EXPORT_HF && !export_is_plain(&m->config))
    return cli_fail(m->ctx, BDPT_E_STATE, "--names hf: transformers' ViT and DeiT have no removed "
                    "layers, unequal blocks, registers, mean of the patches or norm before the "
                    "blocks, and a class token and a classifier; they would fill the gaps with "
                    "random numbers. examples/load_pruned.py loads the file with timm's names");
  s = export_config_path(m->ctx, o->safetensors, path, &weights);
  if (s == BDPT_OK) s = export_weights(m, o);
  if (s != BDPT_OK) return s;
  export_config(&text, m, weights, o->names);
  if (text.failed) s = cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  else s = bdpt_file_write(m->ctx, path, text.text, text.used);
  free(text.text);
  return s;
}

/* =================================================================================================
 * 3  ONNX                                                                            >>export-onnx
 * =================================================================================================
 * The metadata of the file: how to normalise its input, what was removed, where it came from.
 */
typedef struct export_pairs {
  cli_json text[EXPORT_LISTS + 2];
  const char *key[EXPORT_LISTS + 5], *value[EXPORT_LISTS + 5];
  size_t count, texts;
} export_pairs;

/* Writes a list of numbers as a text; an object's key and braces are cut off. */
static void export_numbers(export_pairs *p, const char *key, const double *value, int count) {
  cli_json *j = &p->text[p->texts++];
  cli_json_open(j, NULL);
  j->used = 0;
  cli_json_reals(j, "", value, count);
  p->key[p->count] = key;
  p->value[p->count++] = j->failed ? "" : j->text + strlen("\"\":");
}

static void export_word(export_pairs *p, const char *key, const char *value) {
  if (!*value) return;
  p->key[p->count] = key;
  p->value[p->count++] = value;
}

bdpt_status export_onnx(const bdpt_model *m, const char *path) {
  export_pairs p;
  unsigned char *bytes = NULL;
  size_t size = 0, i;
  int list[BDPT_MAX_DEPTH], which, n, k, failed = 0;
  double value[BDPT_MAX_DEPTH];
  bdpt_status s = BDPT_OK;
  memset(&p, 0, sizeof p);
  export_numbers(&p, "image_mean", m->config.mean, 3);
  export_numbers(&p, "image_std", m->config.std, 3);
  for (which = 0; which < EXPORT_LISTS; which++) {
    n = export_list(&m->config, which, list);
    for (k = 0; k < n; k++) value[k] = list[k];
    export_numbers(&p, export_list_name[which], value, n);
  }
  export_word(&p, "preprocessing", m->preprocessing);
  export_word(&p, "parent", m->parent);
  export_word(&p, "certificate", m->certificate);
  for (i = 0; i < p.texts; i++) failed |= p.text[i].failed;
  if (failed) s = cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  if (s == BDPT_OK) s = onnx_build(m, p.key, p.value, p.count, &bytes, &size);
  if (s == BDPT_OK) s = bdpt_file_write(m->ctx, path, bytes, size);
  for (i = 0; i < p.texts; i++) free(p.text[i].text);
  free(bytes);
  return s;
}
