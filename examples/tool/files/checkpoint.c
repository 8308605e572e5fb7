/* =================================================================================================
 * checkpoint.c: networks from elsewhere
 * =================================================================================================
 * The library reads one kind of file: safetensors with timm's names. This is the front door for the
 * other kinds. It looks at the first bytes, not at the file's name:
 *
 *     safetensors                     by the library
 *     PyTorch .pth, .pt, .bin         by pth.c, both forms, nothing executed
 *     a folder, an index of shards    by shards.c, which makes one safetensors file of them
 *     anything else                   an error that says what the file really is
 *
 * then finds the network among what else a training program saved (an average of the weights, the
 * optimiser, options), and translates its names:
 *
 *     timm, DeiT                      transformers 4                           transformers 5
 *     cls_token, dist_token           embeddings.{cls,distillation}_token      the same
 *     pos_embed                       embeddings.position_embeddings           the same
 *     patch_embed.proj                embeddings.patch_embeddings.projection   the same
 *     blocks.N.norm1, norm2           encoder.layer.N.layernorm_before, _after layers.N...
 *     blocks.N.attn.qkv  [3hd,D]      ...attention.attention.{query,key,value} {q,k,v}_proj [hd,D]
 *     blocks.N.attn.proj              ...attention.output.dense                o_proj
 *     blocks.N.mlp.fc1, fc2           ...intermediate.dense, output.dense      mlp.fc1, mlp.fc2
 *     norm, head, head_dist           layernorm, [cls_]classifier, distillation_classifier
 *
 * The second and third have vit. or deit. in front of all but the classifiers, or nothing. What
 * comes out is a safetensors file in memory under timm's names with the bytes as they were, and a
 * configuration, with which the library then reads it like any other: so every form of the same
 * weights gives the same network, bit for bit, and nothing that a file claims is believed without
 * the library's own checks.
 *
 * The configuration's sizes come from the shapes. What these cannot tell comes from config.json
 * beside the file, if there is one: the layer norm's eps, the number of heads, and for images
 * preprocessor_config.json. The sizes that shapes do tell are compared with it. eps matters: timm's
 * networks use 1e-6, transformers' own default is 1e-12.
 *
 * Two things are computed. LayerScale, x + gamma * f(x), is no layer: gamma is multiplied into the
 * rows of proj and fc2. And a position that is missing, because only patches have one (timm's
 * no_embed_class) or the registers have none, is a row of zeros.
 *
 * Nothing is skipped silently. Tensors of the network that are missing, and tensors that are no
 * part of it, are errors which list them; the few that are left out on purpose, and everything that
 * had to be guessed, is said in report.note.
 *
 *   source    timm/models/vision_transformer.py, deit.py; transformers/models/{vit,deit}
 *   check     tests/test_checkpoint.c, tests/fuzz_config.c
 *
 * Chapters: 1 report, 3 which network, 5 assembling, 6 loading; 2 config.json is in config.c,
 * 4 names in names.c.
 */
#include "../../../boundarydpt.h"
#include "../cli/system.h"
#include "../words.h"
#include "checkpoint.h"
#include "checkpoint_parts.h"
#include "pth.h"
#include "shards.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 1  THE REPORT                                                                            >>report
 * =================================================================================================
 */
bdpt_status checkpoint_fail(const checkpoint_work *c, bdpt_status status, const char *format,
                            ...) {
  va_list args;
  int n;
  if (c->ctx->status != BDPT_OK) return status;
  c->ctx->status = status;
  n = snprintf(c->ctx->message, sizeof c->ctx->message, "%.160s: ", c->name);
  va_start(args, format);
  vsnprintf(c->ctx->message + n, sizeof c->ctx->message - (size_t)n, format, args);
  va_end(args);
  return status;
}

static void *checkpoint_alloc(const checkpoint_work *c, size_t count, size_t each) {
  void *p = calloc(count ? count : 1, each);
  if (!p) checkpoint_fail(c, BDPT_E_MEMORY, "out of memory for %zu x %zu bytes", count, each);
  return p;
}

void checkpoint_note(checkpoint_work *c, const char *format, ...) {
  size_t used = strlen(c->report->note), room = sizeof c->report->note;
  va_list args;
  if (used + 2 >= room) return;
  if (used) c->report->note[used++] = '\n';
  va_start(args, format);
  vsnprintf(c->report->note + used, room - used, format, args);
  va_end(args);
}

void checkpoint_list_add(checkpoint_list *l, const char *name, size_t length) {
  char shown[72];
  size_t n;
  pth_show(name, length, shown);
  n = strlen(shown);
  l->count++;
  if (l->left_out || l->used + n + 24 > l->room) { /* 24: ", and 123456789 more" */
    l->left_out++;
    return;
  }
  snprintf(l->text + l->used, l->room - l->used, "%s%s", l->used ? ", " : "", shown);
  l->used += strlen(l->text + l->used);
}

const char *checkpoint_list_text(checkpoint_list *l) {
  if (l->left_out) {
    snprintf(l->text + l->used, l->room - l->used, ", and %zu more", l->left_out);
  }
  return l->text;
}

/* =================================================================================================
 * 3  WHICH NETWORK                                                                        >>network
 * =================================================================================================
 * A vision transformer is recognised by the weight of its patch embedding. Whatever stands before
 * that name, in the dictionary's own keys and in the name itself, says which network it is:
 *
 *     {"model": {"patch_embed.proj.weight": ...}, "model_ema": {...}}       model, model_ema
 *     {"state_dict": {"module.patch_embed.proj.weight": ...}}               state_dict.module
 *     {"state_dict": {"model.patch_embed...": ..., "ema.patch_embed...}}    state_dict.model, .ema
 */
int checkpoint_ends(const char *name, size_t length, const char *tail) {
  size_t n = strlen(tail);
  return length >= n && memcmp(name + length - n, tail, n) == 0;
}

int checkpoint_rank(const char *name) {
  const char *last = strrchr(name, '.');
  int late = strstr(name, "ema") || strstr(name, "teacher") ? 10 : 0;
  last = last && last[1] ? last + 1 : name;
  if (strcmp(last, "model") == 0) return late;
  if (strcmp(last, "state_dict") == 0) return late + 1;
  return strcmp(name, ".") == 0 ? late + 2 : late + 3;
}

/* Returns how much of an anchor's name stands before the network; -1 if it is no anchor. */
static int checkpoint_anchor(const char *name, size_t length) {
  static const char *const tail[3] = {"patch_embed.proj.weight",
                                      "embeddings.patch_embeddings.projection.weight",
                                      "embeddings.patch_embedding.weight"};
  static const char *const family[5] = {"vit.", "deit.", "dinov2.", "dinov2_with_registers.",
                                        "vision_model."};
  size_t left;
  int i, k;
  for (i = 0; i < 3; i++) {
    if (!checkpoint_ends(name, length, tail[i])) continue;
    left = length - strlen(tail[i]);
    if (left > CHECKPOINT_PREFIX || (left > 0 && name[left - 1] != '.')) continue;
    for (k = 0; i && k < 5; k++) {
      if (checkpoint_ends(name, left, family[k]) &&
          (left == strlen(family[k]) || name[left - strlen(family[k]) - 1] == '.')) {
        left -= strlen(family[k]);
        break;
      }
    }
    if (left == 0 || name[left - 1] == '.') return (int)left;
  }
  return -1;
}

/* Writes the name of a network: "model" + "module." is "model.module"; an empty name is ".". */
static void checkpoint_network_name(const checkpoint_work *c, checkpoint_network *n) {
  char shown[72];
  n->name[0] = 0;
  if (c->is_pth) pth_path(&c->pth, n->dict, n->name, sizeof n->name - 72);
  if (n->name[0] && n->length) pth_append(n->name, sizeof n->name, ".");
  if (n->length) pth_append(n->name, sizeof n->name, pth_show(n->prefix, n->length - 1, shown));
  if (!n->name[0]) pth_append(n->name, sizeof n->name, ".");
  n->rank = checkpoint_rank(n->name);
}

static bdpt_status checkpoint_networks(checkpoint_work *c) {
  size_t i;
  int k;
  for (i = 0; i < c->items; i++) {
    const pth_item *item = &c->item[i];
    int before = item->tensor ? checkpoint_anchor(item->name, item->length) : -1;
    checkpoint_network *n;
    if (before < 0) continue;
    for (k = 0; k < c->networks; k++) { /* an anchor of each family in one place is one network */
      if (c->network[k].dict == item->dict && c->network[k].length == (size_t)before &&
          memcmp(c->network[k].prefix, item->name, (size_t)before) == 0) break;
    }
    if (k < c->networks) continue;
    if (k == CHECKPOINT_NETWORKS) {
      return checkpoint_fail(c, BDPT_E_FORMAT, "it holds more than %d networks",
                             CHECKPOINT_NETWORKS);
    }
    n = &c->network[k];
    n->dict = item->dict;
    n->prefix = item->name;
    n->length = (size_t)before;
    checkpoint_network_name(c, n);
    c->networks++;
  }
  return BDPT_OK;
}

int checkpoint_owner(const checkpoint_work *c, const pth_item *item) {
  int i, best = -1;
  for (i = 0; i < c->networks; i++) {
    const checkpoint_network *n = &c->network[i];
    if (n->dict != item->dict || n->length > item->length) continue;
    if (n->length && memcmp(n->prefix, item->name, n->length) != 0) continue;
    if (best < 0 || n->length > c->network[best].length) best = i;
  }
  return best;
}

/* Names what the file holds at its top, when no network was found in it. */
static bdpt_status checkpoint_no_network(const checkpoint_work *c) {
  char text[220] = "";
  checkpoint_list l = {text, sizeof text, 0, 0, 0};
  size_t i, n;
  for (i = 0; i < c->items; i++) {
    if (c->item[i].dict == 0) checkpoint_list_add(&l, c->item[i].name, c->item[i].length);
  }
  for (i = 1; c->is_pth && i < c->pth.dicts; i++) {
    const char *key = pth_text(&c->pth.pickle, c->pth.dict[i].key, &n);
    if (c->pth.dict[i].parent == 0 && key) checkpoint_list_add(&l, key, n);
  }
  checkpoint_list_text(&l);
  return checkpoint_fail(c, BDPT_E_FORMAT, "no vision transformer in it (no patch_embed.proj.weight"
                         ", no embeddings.patch_embeddings.projection.weight); it holds %s",
                         text[0] ? text : "nothing");
}

/* Names what stands at the top of the file beside the networks and is not read. */
static void checkpoint_tell_rest(checkpoint_work *c) {
  char text[300] = "";
  checkpoint_list l = {text, sizeof text, 0, 0, 0};
  size_t i, n;
  if (!c->is_pth || c->network[c->chosen].dict == 0) return;
  for (i = 0; i < c->items; i++) {
    if (c->item[i].dict == 0) checkpoint_list_add(&l, c->item[i].name, c->item[i].length);
  }
  for (i = 1; i < c->pth.dicts; i++) {
    const char *key = pth_text(&c->pth.pickle, c->pth.dict[i].key, &n);
    int k = 0, used = 0;
    for (; k < c->networks; k++) {
      uint32_t d = c->network[k].dict;
      while (d != i && d != 0) d = c->pth.dict[d].parent;
      used |= d == i;
    }
    if (c->pth.dict[i].parent == 0 && key && !used) checkpoint_list_add(&l, key, n);
  }
  if (l.count) checkpoint_note(c, "not read: %s", checkpoint_list_text(&l));
}

static bdpt_status checkpoint_choose(checkpoint_work *c, const char *key) {
  char text[240] = "";
  checkpoint_list l = {text, sizeof text, 0, 0, 0};
  int i, best = -1;
  bdpt_status s = checkpoint_networks(c);
  if (s) return s;
  if (c->networks == 0) return checkpoint_no_network(c);
  for (i = 0; i < c->networks; i++) {
    const checkpoint_network *n = &c->network[i];
    checkpoint_list_add(&l, n->name, strlen(n->name));
    if (key ? strcmp(n->name, key) == 0 : best < 0 || n->rank < c->network[best].rank) best = i;
  }
  checkpoint_list_text(&l);
  if (best < 0) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "it holds no network '%.60s'; there %s %s", key,
                           c->networks > 1 ? "are" : "is", text);
  }
  c->chosen = best;
  snprintf(c->report->network, sizeof c->report->network, "%s", c->network[best].name);
  if (c->networks > 1 && !key) {
    checkpoint_note(c, "it holds %d networks, %s; '%s' was taken (--key chooses)", c->networks,
                    text, c->network[best].name);
  }
  checkpoint_tell_rest(c);
  return BDPT_OK;
}

/* =================================================================================================
 * 5  ASSEMBLING                                                                          >>assemble
 * =================================================================================================
 */
/* Reads the tensor of an item, from either form, with at most the library's number of axes. */
static bdpt_status checkpoint_tensor(const checkpoint_work *c, uint32_t item, pth_tensor *t) {
  const pth_item *it = &c->item[item];
  const bdpt_file_tensor *f;
  char shown[72];
  bdpt_status s = BDPT_OK;
  pth_show(it->name, it->length, shown);
  if (c->is_pth) s = pth_find(&c->pth, it->value, shown, t);
  else {
    f = &c->st.tensor[it->value];
    memset(t, 0, sizeof *t);
    if (f->dtype == BDPT_OTHER) {
      return checkpoint_fail(c, BDPT_E_FORMAT, "'%s': numbers of dtype %s cannot be read", shown,
                             f->dtype_name);
    }
    t->dtype = (int)f->dtype;
    t->ndim = f->ndim;
    t->count = f->count;
    t->bytes = f->bytes;
    t->width = t->wide = f->count ? f->size / f->count : 1;
    t->packed = 1;
    if (f->ndim <= BDPT_MAX_DIMS && f->ndim) {
      memcpy(t->shape, f->shape, (size_t)f->ndim * sizeof *f->shape);
    }
  }
  if (!s && t->ndim > BDPT_MAX_DIMS) {
    s = checkpoint_fail(c, BDPT_E_SHAPE, "'%s': %d axes, more than any tensor of the network",
                        shown, t->ndim);
  }
  return s;
}

/* Returns where the next bytes of the block go in which a tensor of several parts, or one that is
 * not packed, is gathered. A first walk, without the block, only measures its size. */
static unsigned char *checkpoint_room(checkpoint_work *c, size_t bytes) {
  unsigned char *p = c->room ? c->room + c->room_used : NULL;
  c->room_used += bytes;
  return p;
}

/* Returns 1 for the bias of a projection that has none (CLIP): zeros stand for it. */
static int checkpoint_is_zero(const checkpoint_work *c, int slot) {
  return slot == BDPT_SLOT_HEAD_B && c->is_hf && !checkpoint_there(c, slot);
}

/* Puts rows of zeros behind the first `at` rows of the positions, for tokens that have none. */
static void checkpoint_put_positions(checkpoint_work *c, const pth_tensor *t, size_t at,
                                     size_t rows, bdpt_write_tensor *w) {
  size_t row = w->shape[2] * t->wide, extra = rows * row, whole = t->count * t->wide;
  unsigned char *p;
  c->total += whole + extra;
  w->shape[1] += rows;
  w->data = p = checkpoint_room(c, whole + extra);
  if (!p) return;
  if (t->packed) memcpy(p + extra, t->bytes, whole);
  else pth_copy(t, p + extra);
  memmove(p, p + extra, at * row);
  memset(p + at * row, 0, extra);
}

/* Returns how many positions are missing: those of all tokens in front of the patches, or of the
 * registers behind the first of these, *at = 1. More registers than a network can have are left for
 * the library to refuse. */
static size_t checkpoint_positions(const checkpoint_work *c, const bdpt_write_tensor *w,
                                   size_t *at) {
  size_t front = (size_t)bdpt_prefix_count(&c->net), regs = (size_t)c->net.registers;
  size_t all;
  if (w->ndim != 3 || w->shape[1] == 0 || regs > 1024 || c->net.image == 0) return 0;
  all = (size_t)bdpt_token_count(&c->net);
  *at = 0;
  if (w->shape[1] == all - front) return front;
  *at = 1;
  return c->is_hf && !c->register_rows && w->shape[1] == all - regs ? regs : 0;
}

/* Writes one tensor under timm's name. The sizes cannot overflow: pth_find and the library's
 * reader have bounded each tensor by bytes of the file, and there are at most three parts. */
static bdpt_status checkpoint_put(checkpoint_work *c, int slot, char name[48],
                                  bdpt_write_tensor *w) {
  int i, zero = checkpoint_is_zero(c, slot), from = zero ? slot - 1 : slot; /* its weight */
  int parts = c->pick[from][1] != PTH_NOTHING ? 3 : 1;
  bdpt_status status = BDPT_OK;
  pth_tensor t[3];
  unsigned char *p;
  size_t bytes, rows, at;
  char shown[72];
  for (i = 0; i < parts && !status; i++) status = checkpoint_tensor(c, c->pick[from][i], &t[i]);
  if (status) return status;
  for (i = 1; i < parts; i++) {
    const pth_item *item = &c->item[c->pick[from][0]];
    if (t[i].dtype == t[0].dtype && t[i].ndim == t[0].ndim && t[0].ndim > 0 &&
        memcmp(t[i].shape, t[0].shape, sizeof t[0].shape) == 0) continue;
    return checkpoint_fail(c, BDPT_E_SHAPE, "'%s' and the two that belong to it differ in shape or "
                           "type", pth_show(item->name, item->length, shown));
  }
  checkpoint_timm_name(slot, name);
  memset(w, 0, sizeof *w);
  w->name = name;
  w->dtype = (bdpt_dtype)t[0].dtype;
  w->ndim = zero && t[0].ndim ? 1 : t[0].ndim;
  memcpy(w->shape, t[0].shape, sizeof w->shape);
  if (parts == 3) w->shape[0] *= 3;
  if (slot <= BDPT_SLOT_POS || slot == BDPT_SLOT_REG) {
    for (; w->ndim > 0 && w->ndim < 3; w->ndim++) { /* [D] and [N,D] become [1,N,D] */
      memmove(w->shape + 1, w->shape, (size_t)w->ndim * sizeof *w->shape);
      w->shape[0] = 1;
    }
  }
  w->raw = 1;
  w->data = t[0].bytes;
  bytes = t[0].count * t[0].wide;
  if (zero && t[0].ndim) bytes = t[0].count ? t[0].shape[0] * t[0].wide : 0;
  if (slot == BDPT_SLOT_POS && (rows = checkpoint_positions(c, w, &at)) > 0) {
    checkpoint_put_positions(c, &t[0], at, rows, w);
    return BDPT_OK;
  }
  c->total += bytes * (size_t)parts;
  if (parts == 1 && t[0].packed && !zero) return BDPT_OK;
  w->data = p = checkpoint_room(c, bytes * (size_t)parts);
  for (i = 0; i < parts && p; i++, p += bytes) {
    if (zero) memset(p, 0, bytes);
    else if (t[i].packed) memcpy(p, t[i].bytes, bytes);
    else pth_copy(&t[i], p);
  }
  return BDPT_OK;
}

/* Reads a LayerScale; `at` counts both halves of the blocks. */
static bdpt_status checkpoint_read_scale(checkpoint_work *c, int at) {
  const pth_item *item = &c->item[c->scale[at]];
  bdpt_file_tensor f;
  unsigned char *copy;
  char shown[72];
  pth_tensor t;
  bdpt_status s = checkpoint_tensor(c, c->scale[at], &t);
  if (s) return s;
  pth_show(item->name, item->length, shown);
  if (t.count != (size_t)c->net.width) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "'%s': not the factors of a linear of the network",
                           shown);
  }
  c->gamma[at] = (bdpt_real *)checkpoint_alloc(c, t.count, sizeof **c->gamma);
  copy = (unsigned char *)checkpoint_alloc(c, t.count, t.wide);
  if (!c->gamma[at] || !copy) s = BDPT_E_MEMORY;
  else if (t.packed) memcpy(copy, t.bytes, t.count * t.wide);
  else pth_copy(&t, copy);
  memset(&f, 0, sizeof f);
  f.name = f.dtype_name = shown;
  f.dtype = (bdpt_dtype)t.dtype;
  f.count = t.count; f.bytes = copy;
  if (!s) s = bdpt_safetensors_read(c->ctx, &f, c->gamma[at], t.count);
  free(copy);
  return s;
}

/* Makes x + gamma * (W f + b) x + (gamma W) f + gamma b: gamma[o] goes into row o of proj or
 * fc2. */
static bdpt_status checkpoint_fold(const checkpoint_work *c, bdpt_model *m) {
  size_t d = (size_t)m->config.width, o, k, in;
  int at;
  for (at = 0; at < 2 * m->config.depth; at++) {
    bdpt_tensor *w = &m->param[BDPT_SLOT(at / 2, at % 2 ? BDPT_SLOT_FC2_W : BDPT_SLOT_PROJ_W)];
    if (!c->gamma[at]) continue;
    if (!w->data) {
      return checkpoint_fail(c, BDPT_E_FORMAT, "block %d has a LayerScale, but not the layer that "
                             "it belongs to", at / 2);
    }
    in = w->count / d;
    for (o = 0; o < d; o++) {
      for (k = 0; k < in; k++) w->data[o * in + k] *= c->gamma[at][o];
      w[1].data[o] *= c->gamma[at][o]; /* the bias stands behind its weight */
    }
  }
  return BDPT_OK;
}

/* Writes all tensors of the network as a safetensors file in memory. */
static bdpt_status checkpoint_assemble(checkpoint_work *c) {
  int turn, slot, slots = BDPT_SLOT(c->depth, 0);
  bdpt_write_tensor *list = (bdpt_write_tensor *)checkpoint_alloc(c, (size_t)slots, sizeof *list);
  char (*name)[48] = (char (*)[48])checkpoint_alloc(c, (size_t)slots, sizeof *name);
  size_t count = 0;
  bdpt_status s = list && name ? BDPT_OK : BDPT_E_MEMORY;
  for (turn = 0; turn < 2 && !s; turn++) {
    for (slot = 0, count = 0, c->room_used = c->total = 0; slot < slots && !s; slot++) {
      if (!checkpoint_needs(c, slot)) continue;
      s = checkpoint_put(c, slot, name[count], &list[count]);
      count++;
    }
    if (s || turn == 1) continue;
    /* Names may share a storage, and Int becomes twice as wide; more than that is an attack. */
    if (c->total / 2 > c->file_bytes) {
      s = checkpoint_fail(c, BDPT_E_FORMAT, "its tensors overlap: together they are %zu bytes of a "
                          "file of %zu", c->total, c->file_bytes);
    } else if ((c->room = (unsigned char *)checkpoint_alloc(c, c->room_used, 1)) == NULL) {
      s = BDPT_E_MEMORY;
    }
  }
  if (!s) s = bdpt_safetensors_build(c->ctx, list, count, NULL, NULL, 0, &c->image);
  for (slot = 0; slot < 2 * c->depth && !s; slot++) {
    if (c->scale[slot] != PTH_NOTHING) s = checkpoint_read_scale(c, slot);
  }
  free(list);
  free(name);
  return s;
}

/* =================================================================================================
 * 6  LOADING                                                                                 >>load
 * =================================================================================================
 */
/* Says what a file is that only bears the name of a network, or returns NULL. What begins with a
 * sensible length and an opening brace is left to the library. */
static const char *checkpoint_stranger_file(const char *bytes, size_t size) {
  static const struct { const char *start; size_t n; const char *what; } table[] = {
    {"<", 1, "an HTML or XML page, perhaps the error page of a download"},
    {"version https://git-lfs", 23, "a git-lfs pointer; run 'git lfs pull' to get the file itself"},
    {"\x1F\x8B", 2, "compressed with gzip"}, {"\xFD" "7zXZ", 5, "compressed with xz"},
    {"BZh", 3, "compressed with bzip2"}, {"\x28\xB5\x2F\xFD", 4, "compressed with zstd"},
    {"GGUF", 4, "a GGUF file"}, {"\x93NUMPY", 6, "a NumPy array"},
    {"\x89HDF", 4, "an HDF5 file"}, {"\x89PNG", 4, "a PNG image"},
    {"\xFF\xD8\xFF", 3, "a JPEG image"},
    {"{", 1, "JSON text, perhaps a config.json"}};
  size_t blank = 0, i;
  if (size > 8 && !bytes[4] && !bytes[5] && !bytes[6] && !bytes[7] && bytes[8] &&
      strchr("{ \t\r\n", bytes[8]))
    return NULL;
  while (blank < size && bytes[blank] && strchr(" \t\r\n", bytes[blank])) blank++;
  for (i = 0; i < sizeof table / sizeof *table; i++)
    if (size - blank >= table[i].n && !memcmp(bytes + blank, table[i].start, table[i].n))
      return table[i].what;
  return NULL;
}

/* Lists the items of the file. */
static bdpt_status checkpoint_open(checkpoint_work *c, const void *bytes, size_t size) {
  const char *form = "safetensors";
  const char *what = checkpoint_stranger_file((const char *)bytes, size);
  size_t i;
  bdpt_status s;
  c->is_pth = pth_sniff(bytes, size) != 0;
  if (what) return checkpoint_fail(c, BDPT_E_FORMAT, "not a safetensors file: it is %s", what);
  if (c->is_pth) s = pth_open(c->ctx, bytes, size, c->name, &c->pth);
  else s = bdpt_safetensors_parse(c->ctx, bytes, size, c->name, &c->st);
  if (s) return s;
  if (c->is_pth) form = c->pth.legacy ? "PyTorch legacy" : "PyTorch zip";
  snprintf(c->report->form, sizeof c->report->form, "%s", form);
  c->items = c->is_pth ? pth_items(&c->pth, NULL) : c->st.count;
  c->item = (pth_item *)checkpoint_alloc(c, c->items, sizeof *c->item);
  if (!c->item) return BDPT_E_MEMORY;
  if (c->is_pth) pth_items(&c->pth, c->item);
  for (i = 0; i < c->items && !c->is_pth; i++) {
    c->item[i].name = c->st.tensor[i].name;
    c->item[i].length = strlen(c->st.tensor[i].name);
    c->item[i].value = (uint32_t)i; /* a header of 100 MB has no more than 32 bits of tensors */
    c->item[i].tensor = 1;
  }
  return BDPT_OK;
}

/* Finds which of the two families the names are of, and which generation of the second. */
static void checkpoint_dialect(checkpoint_work *c) {
  const checkpoint_network *n = &c->network[c->chosen];
  const char *dialect = "timm";
  size_t i;
  for (i = 0; i < c->items; i++) {
    const pth_item *item = &c->item[i];
    if (item->dict != n->dict || checkpoint_owner(c, item) != c->chosen) continue;
    if (checkpoint_ends(item->name, item->length,
                        "embeddings.patch_embeddings.projection.weight") ||
        checkpoint_ends(item->name, item->length, "embeddings.patch_embedding.weight")) {
      c->is_hf = 1;
    }
  }
  if (c->is_hf) dialect = "transformers 4";
  for (i = 0; i < c->items && c->is_hf; i++) {
    const pth_item *item = &c->item[i];
    if (item->dict != n->dict || checkpoint_owner(c, item) != c->chosen) continue;
    if (checkpoint_ends(item->name, item->length, ".attention.q_proj.weight")) {
      dialect = "transformers 5";
    }
  }
  snprintf(c->report->dialect, sizeof c->report->dialect, "%s", dialect);
}

/* Settles heads, eps, mean and deviation: as the caller or the settings say. What nothing tells is
 * taken from the published networks of such names and sizes, and the report says so. */
static bdpt_status checkpoint_guess(checkpoint_work *c, int heads, size_t width) {
  static const size_t wide[] = {1152, 1280, 1408, 1664}; /* all of 16 heads */
  const int pre = checkpoint_there(c, BDPT_SLOT_PRE_W);
  checkpoint_config *k = &c->config;
  bdpt_config *h = &c->net; /* of the network */
  char told[3][80] = {"", "", ""}, *list = c->report->guessed;
  size_t i;
  h->heads = heads ? heads : k->heads;
  h->eps = k->eps;
  if (!h->heads) {
    if (width % 64 != 0)
      return checkpoint_fail(c, BDPT_E_ARGUMENT, "nothing tells the number of attention heads "
                             "(width %zu is no multiple of 64, and no config.json says it); name "
                             "it: --heads N", width);
    h->heads = (int)(width / 64);
    for (i = 0; i < 4; i++)
      if (width == wide[i]) h->heads = 16;
    snprintf(told[0], sizeof told[0], " heads %d (--heads N);", h->heads);
    pth_append(list, sizeof c->report->guessed, "heads");
  }
  if (h->eps == 0) {
    h->eps = 1e-6;
    if (c->is_hf) h->eps = pre ? 1e-5 : 1e-12; /* the defaults of transformers */
    else if (pre) h->eps = 1e-5;
    snprintf(told[1], sizeof told[1], " eps of the layer norms %g;", h->eps);
    pth_append(list, sizeof c->report->guessed, list[0] ? " eps" : "eps");
  }
  if (k->std[0] > 0 && k->std[1] > 0 && k->std[2] > 0) {
    memcpy(h->mean, k->mean, sizeof k->mean);
    memcpy(h->std, k->std, sizeof k->std);
  } else {
    snprintf(told[2], sizeof told[2], " mean and deviation of the images, ImageNet's;");
    pth_append(list, sizeof c->report->guessed, list[0] ? " mean std" : "mean std");
  }
  if (list[0])
    checkpoint_note(c, "nothing tells, so these were taken:%s%s%s they decide its answers", told[0],
                    told[1], told[2]);
  return BDPT_OK;
}

static int checkpoint_is_square(size_t n) {
  size_t side = 0;
  while (side * side < n) side++;
  return side * side == n;
}

/* Returns the side of a square of patches in pixels, the largest that there can be for more. */
static int checkpoint_pixels(size_t patches, size_t pixels) {
  size_t side = 0;
  while (side < 1 << 10 && (side + 1) * (side + 1) <= patches) side++;
  return pixels < 1 << 15 ? (int)(side * pixels) : 1 << 15;
}

/* Returns how many rows the tensor in a slot has, [1,rows,D], [rows,D] or [D]; 0 if there is
 * none. */
static size_t checkpoint_rows(checkpoint_work *c, int slot) {
  pth_tensor t;
  if (!checkpoint_there(c, slot) || checkpoint_tensor(c, c->pick[slot][0], &t) != BDPT_OK) return 0;
  return t.ndim > 1 ? t.shape[t.ndim - 2] : 1;
}

/* Finds how high and wide the input is. timm's img_size and transformers' image_size tell; timm's
 * input_size may be that of another network of this name, so it must fit the positions. Otherwise
 * the patches form a square. A square number of positions beside a class token is then read as
 * no_embed_class, though it might as well be that of an input that is no square. */
static bdpt_status checkpoint_sides(checkpoint_work *c, const pth_tensor *patch) {
  const int *size = c->config.image[0] ? c->config.image : c->config.input + 1;
  size_t p = patch->ndim == 4 ? patch->shape[3] : 0, n, rows = checkpoint_rows(c, BDPT_SLOT_POS);
  size_t some = checkpoint_rows(c, BDPT_SLOT_CLS) + checkpoint_rows(c, BDPT_SLOT_DIST);
  size_t all = some + checkpoint_rows(c, BDPT_SLOT_REG);
  if (p && patch->shape[2] != p)
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "its patches are %lu x %lu pixels; only square ones "
                           "can be computed", (unsigned long)patch->shape[2], (unsigned long)p);
  if (!p || rows < all || c->ctx->status != BDPT_OK) return c->ctx->status;
  n = (size_t)size[0] / p * ((size_t)size[1] / p);
  if (size[0] != size[1] &&
      (size == c->config.image || rows == n || rows == n + some || rows == n + all)) {
    c->net.image = size[0];
    c->net.image_width = size[1];
    return BDPT_OK;
  }
  n = rows - (c->is_hf && !c->register_rows ? some : all); /* those of patches, or all are */
  if (!checkpoint_is_square(n) && checkpoint_is_square(rows)) n = rows;
  c->net.image = checkpoint_pixels(n, p);
  if (!checkpoint_is_square(rows) && !checkpoint_is_square(rows - some) &&
             !checkpoint_is_square(rows - all)) {
    return checkpoint_fail(c, BDPT_E_SHAPE, "its %lu positions are no square of patches; a "
                           "config.json beside it must tell the input's height and width, such as "
                           "\"image_size\": [64, 96] or timm's \"input_size\": [3, 64, 96]",
                           (unsigned long)rows);
  } else if (!size[0] && some && checkpoint_is_square(rows)) {
    checkpoint_note(c, "nothing tells the image size: its %lu %s taken for a square of patches, "
                    "and none for the class token", (unsigned long)rows,
                    words_of((double)rows, "position is", "positions are"));
  }
  return BDPT_OK;
}

/* Returns the size of an axis of what is in a slot, as far as it can be that of a network, which
 * has at most 2^20; 0 if there is no such axis. */
static int checkpoint_axis(const checkpoint_work *c, int slot, int axis) {
  pth_tensor t;
  if (c->pick[slot][0] == PTH_NOTHING || checkpoint_tensor(c, c->pick[slot][0], &t) != BDPT_OK ||
      axis >= t.ndim) return 0;
  return t.shape[axis] < (size_t)1 << 20 ? (int)t.shape[axis] : (1 << 20) + 1;
}

/* Reads the sizes and the states of layers off the shapes and names. The first tensor that tells a
 * size decides; those that disagree are named later, when the library compares shapes. */
static bdpt_status checkpoint_sizes(checkpoint_work *c) {
  bdpt_config *n = &c->net;
  int l, head = checkpoint_there(c, BDPT_SLOT_HEAD_W) ? BDPT_SLOT_HEAD_W : BDPT_SLOT_HEAD2_W;
  n->width = checkpoint_axis(c, BDPT_SLOT_PATCH_W, 0);
  n->channels = checkpoint_axis(c, BDPT_SLOT_PATCH_W, 1);
  n->patch = checkpoint_axis(c, BDPT_SLOT_PATCH_W, 3);
  n->classes = checkpoint_axis(c, head, 0);
  n->depth = c->depth;
  n->distilled = checkpoint_needs(c, BDPT_SLOT_DIST);
  n->registers = (int)checkpoint_rows(c, BDPT_SLOT_REG);
  n->pre_norm = checkpoint_there(c, BDPT_SLOT_PRE_W);
  if (checkpoint_there(c, BDPT_SLOT_FC_NORM_W)) n->pool = BDPT_POOL_MEAN;
  for (l = 0; l < c->depth; l++) {
    bdpt_block *b = &n->block[l];
    int inner = checkpoint_axis(c, BDPT_SLOT(l, BDPT_SLOT_PROJ_W), 1); /* of all heads */
    b->attention = BDPT_ATTENTION_REMOVED;
    if (checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_AFIT_W))) b->attention = BDPT_ATTENTION_FITTED;
    if (checkpoint_needs(c, BDPT_SLOT(l, BDPT_SLOT_PROJ_W))) b->attention = BDPT_ATTENTION_KEPT;
    if (checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_FUSED_W))) b->mlp_state = BDPT_MLP_FUSED;
    b->mlp = checkpoint_axis(c, BDPT_SLOT(l, BDPT_SLOT_FC1_W), 0);
    if (inner == 0) inner = n->width;
    b->heads = b->attention == BDPT_ATTENTION_KEPT ? n->heads : 1;
    b->head_dim = inner / b->heads;
    if (inner % b->heads == 0) continue;
    return checkpoint_fail(c, BDPT_E_FORMAT, "block %d: attention's width, %d, is no multiple of "
                           "the heads, %d", l, inner, n->heads);
  }
  return c->ctx->status;
}

/* Goes from the list of items to c->image. */
static bdpt_status checkpoint_convert(checkpoint_work *c, const checkpoint_texts *beside,
                                      const checkpoint_options *o) {
  size_t width = 0;
  pth_tensor patch;
  bdpt_status s = checkpoint_choose(c, o->key);
  if (s) return s;
  checkpoint_dialect(c);
  c->pick = (uint32_t (*)[3])checkpoint_alloc(c, BDPT_MAX_SLOTS, sizeof *c->pick);
  if (!c->pick) return BDPT_E_MEMORY;
  memset(c->pick, 0xff, BDPT_MAX_SLOTS * sizeof *c->pick);
  memset(c->scale, 0xff, sizeof c->scale);
  s = checkpoint_sort(c);
  if (!s) s = checkpoint_tensor(c, c->pick[BDPT_SLOT_PATCH_W][0], &patch); /* it is the anchor */
  if (!s && patch.ndim) width = patch.shape[0];
  if (!s) s = checkpoint_config_use(c, beside, width);
  if (!s) s = checkpoint_forms(c);
  if (!s) s = checkpoint_complete(c);
  if (!s) s = checkpoint_guess(c, o->heads, width);
  if (!s) s = checkpoint_sides(c, &patch);
  if (!s) s = checkpoint_sizes(c);
  return s ? s : checkpoint_assemble(c);
}

/* Does the first half: reads what is needed of the bytes. A file of our own needs no
 * translation. */
static bdpt_status checkpoint_begin(checkpoint_work *c, const void *bytes, size_t size,
                                    const checkpoint_texts *beside,
                                    const checkpoint_options *options) {
  static const checkpoint_options none = {NULL, 0};
  static const checkpoint_texts alone = {{NULL, 0}, {NULL, 0}};
  const checkpoint_options *o = options ? options : &none;
  bdpt_status s;
  memset(c->report, 0, sizeof *c->report);
  c->file_bytes = size;
  s = checkpoint_open(c, bytes, size);
  if (s || c->is_pth || !bdpt_safetensors_get(&c->st, "boundarydpt")) {
    return s ? s : checkpoint_convert(c, beside ? beside : &alone, o);
  }
  snprintf(c->report->dialect, sizeof c->report->dialect, "boundarydpt");
  if (o->key) s = checkpoint_choose(c, o->key);
  if (!s) c->model = bdpt_model_parse(c->ctx, bytes, size, c->name, NULL);
  if (c->model && o->heads && o->heads != c->model->config.heads) {
    checkpoint_fail(c, BDPT_E_ARGUMENT, "its metadata say that it has %d attention heads, not %d",
                    c->model->config.heads, o->heads);
    bdpt_model_free(c->model);
    c->model = NULL;
  }
  return c->ctx->status;
}

bdpt_model *checkpoint_end(checkpoint_work *c, bdpt_status s) {
  bdpt_model *m = c->model;
  char *names = NULL;
  int i;
  bdpt_safetensors_close(&c->st);
  pth_close(&c->pth);
  free(c->item);
  free(c->pick);
  free(c->room);
  if (!s && c->image.data)
    m = bdpt_model_parse(c->ctx, c->image.data, c->image.size, c->name, &c->net);
  if (m && c->image.data && (checkpoint_fold(c, m) != BDPT_OK ||
                             checkpoint_config_compare(c, &m->config) != BDPT_OK)) {
    bdpt_model_free(m);
    m = NULL;
  }
  if (m && c->image.data) {
    snprintf(m->preprocessing, sizeof m->preprocessing, "%s", c->report->pictures);
  }
  if (m && c->image.data) names = labels_json(&c->labels, (size_t)m->config.classes);
  if (names && bdpt_model_label(m, names) != BDPT_OK) {
    bdpt_model_free(m);
    m = NULL;
  }
  free(names);
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) free(c->gamma[i]);
  labels_free(&c->labels);
  bdpt_bytes_free(c->ctx, &c->image);
  free(c);
  return m;
}

checkpoint_work *checkpoint_new(bdpt_context *ctx, const char *name,
                                checkpoint_report *report) {
  checkpoint_work fresh, *c = (checkpoint_work *)calloc(1, sizeof *c);
  memset(&fresh, 0, sizeof fresh);
  fresh.ctx = ctx;
  fresh.name = name;
  fresh.report = report;
  if (!c) checkpoint_fail(&fresh, BDPT_E_MEMORY, "out of memory");
  else *c = fresh;
  return c;
}

bdpt_model *checkpoint_parse(bdpt_context *ctx, const void *bytes, size_t size, const char *name,
                             const checkpoint_texts *beside, const checkpoint_options *options,
                             checkpoint_report *report) {
  checkpoint_work *c = checkpoint_new(ctx, name, report);
  return c ? checkpoint_end(c, checkpoint_begin(c, bytes, size, beside, options)) : NULL;
}

/* Reads the text of `file` in the folder of `path`, which is empty if there is no such file. One
 * that is there and cannot be read is an error: its settings would be guessed. */
static bdpt_status checkpoint_beside(const checkpoint_work *c, const char *file,
                                     bdpt_bytes *text) {
  const char *slash = cli_last_slash(c->name);
  size_t folder = slash ? (size_t)(slash - c->name) + 1 : 0, n = strlen(file);
  char *name = (char *)checkpoint_alloc(c, folder + n + 1, 1);
  bdpt_status s = BDPT_OK;
  text->data = NULL;
  text->size = 0;
  if (!name) return BDPT_E_MEMORY;
  memcpy(name, c->name, folder);
  memcpy(name + folder, file, n);
  if (cli_file_exists(name) != 0) s = bdpt_file_read(c->ctx, name, text);
  free(name);
  return s;
}

bdpt_model *checkpoint_load(bdpt_context *ctx, const char *path,
                            const checkpoint_options *options, checkpoint_report *report) {
  bdpt_bytes bytes = {NULL, 0}, text[2] = {{NULL, 0}, {NULL, 0}};
  checkpoint_texts beside;
  char file[1100];
  checkpoint_work *c = checkpoint_new(ctx, path, report);
  bdpt_status s;
  int i;
  if (!c) return NULL;
  memset(report, 0, sizeof *report);
  s = shards_find(ctx, path, file);
  c->name = file;
  if (!s) s = bdpt_file_read(ctx, file, &bytes);
  if (!s && shards_is_index(bytes.data, bytes.size)) {
    bdpt_bytes index = bytes;
    s = shards_read(ctx, file, &index, &bytes);
    bdpt_bytes_free(ctx, &index);
  }
  if (!s) s = checkpoint_beside(c, "config.json", &text[0]);
  if (!s) s = checkpoint_beside(c, "preprocessor_config.json", &text[1]);
  beside.config.text = (const char *)text[0].data;
  beside.config.size = text[0].size;
  beside.images.text = (const char *)text[1].data;
  beside.images.size = text[1].size;
  if (!s) s = checkpoint_begin(c, bytes.data, bytes.size, &beside, options);
  for (i = 0; i < 2; i++) bdpt_bytes_free(ctx, &text[i]);
  bdpt_bytes_free(ctx, &bytes);
  return checkpoint_end(c, s);
}
