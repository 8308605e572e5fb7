/* names.c: the names that others give to the parts of a network */
#include "../../../boundarydpt.h"
#include "checkpoint_parts.h"
#include "pth.h"
#include "../words.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 4  NAMES                                                                                  >>names
 * =================================================================================================
 */
typedef struct checkpoint_spelling { const char *name; int slot, part; } checkpoint_spelling;

static const checkpoint_spelling checkpoint_timm[] = {
  {"cls_token", BDPT_SLOT_CLS, -1}, {"dist_token", BDPT_SLOT_DIST, -1},
  {"pos_embed", BDPT_SLOT_POS, -1}, {"patch_embed.proj.weight", BDPT_SLOT_PATCH_W, -1},
  {"patch_embed.proj.bias", BDPT_SLOT_PATCH_B, -1}, {"norm.weight", BDPT_SLOT_NORM_W, -1},
  {"norm.bias", BDPT_SLOT_NORM_B, -1}, {"head.weight", BDPT_SLOT_HEAD_W, -1},
  {"head.bias", BDPT_SLOT_HEAD_B, -1}, {"head_dist.weight", BDPT_SLOT_HEAD2_W, -1},
  {"head_dist.bias", BDPT_SLOT_HEAD2_B, -1}, {"reg_token", BDPT_SLOT_REG, -1},
  {"norm_pre.weight", BDPT_SLOT_PRE_W, -1}, {"norm_pre.bias", BDPT_SLOT_PRE_B, -1},
  {"fc_norm.weight", BDPT_SLOT_FC_NORM_W, -1}, {"fc_norm.bias", BDPT_SLOT_FC_NORM_B, -1},
  {NULL, 0, 0}};
enum { CHECKPOINT_SCALE = 1000 }; /* and 1001: LayerScale, no slot of its own */
static const checkpoint_spelling checkpoint_timm_block[] = {
  {"norm1.weight", BDPT_SLOT_NORM1_W, -1}, {"norm1.bias", BDPT_SLOT_NORM1_B, -1},
  {"attn.qkv.weight", BDPT_SLOT_QKV_W, -1}, {"attn.qkv.bias", BDPT_SLOT_QKV_B, -1},
  {"attn.proj.weight", BDPT_SLOT_PROJ_W, -1}, {"attn.proj.bias", BDPT_SLOT_PROJ_B, -1},
  {"attn.fitted.weight", BDPT_SLOT_AFIT_W, -1}, {"attn.fitted.bias", BDPT_SLOT_AFIT_B, -1},
  {"norm2.weight", BDPT_SLOT_NORM2_W, -1}, {"norm2.bias", BDPT_SLOT_NORM2_B, -1},
  {"mlp.fc1.weight", BDPT_SLOT_FC1_W, -1}, {"mlp.fc1.bias", BDPT_SLOT_FC1_B, -1},
  {"mlp.fc2.weight", BDPT_SLOT_FC2_W, -1}, {"mlp.fc2.bias", BDPT_SLOT_FC2_B, -1},
  {"mlp.fused.weight", BDPT_SLOT_FUSED_W, -1}, {"mlp.fused.bias", BDPT_SLOT_FUSED_B, -1},
  {"ls1.gamma", CHECKPOINT_SCALE, -1}, {"ls2.gamma", CHECKPOINT_SCALE + 1, -1}, {NULL, 0, 0}};
static const checkpoint_spelling checkpoint_hf[] = {
  {"embeddings.cls_token", BDPT_SLOT_CLS, -1},
  {"embeddings.distillation_token", BDPT_SLOT_DIST, -1},
  {"embeddings.position_embeddings", BDPT_SLOT_POS, -1},
  {"embeddings.patch_embeddings.projection.weight", BDPT_SLOT_PATCH_W, -1},
  {"embeddings.patch_embeddings.projection.bias", BDPT_SLOT_PATCH_B, -1},
  {"layernorm.weight", BDPT_SLOT_NORM_W, -1}, {"layernorm.bias", BDPT_SLOT_NORM_B, -1},
  {"classifier.weight", BDPT_SLOT_HEAD_W, -1}, {"classifier.bias", BDPT_SLOT_HEAD_B, -1},
  {"cls_classifier.weight", BDPT_SLOT_HEAD_W, -1}, {"cls_classifier.bias", BDPT_SLOT_HEAD_B, -1},
  {"distillation_classifier.weight", BDPT_SLOT_HEAD2_W, -1},
  {"distillation_classifier.bias", BDPT_SLOT_HEAD2_B, -1},
  {"embeddings.register_tokens", BDPT_SLOT_REG, -1},
  {"embeddings.class_embedding", BDPT_SLOT_CLS, -1},
  {"embeddings.patch_embedding.weight", BDPT_SLOT_PATCH_W, -1},
  {"embeddings.patch_embedding.bias", BDPT_SLOT_PATCH_B, -1},
  {"embeddings.position_embedding.weight", BDPT_SLOT_POS, -1},
  {"pre_layrnorm.weight", BDPT_SLOT_PRE_W, -1}, {"pre_layrnorm.bias", BDPT_SLOT_PRE_B, -1},
  {"post_layernorm.weight", BDPT_SLOT_NORM_W, -1}, {"post_layernorm.bias", BDPT_SLOT_NORM_B, -1},
  {"visual_projection.weight", BDPT_SLOT_HEAD_W, -1}, {NULL, 0, 0}};
static const checkpoint_spelling checkpoint_hf4_block[] = {
  {"layernorm_before.weight", BDPT_SLOT_NORM1_W, -1},
  {"layernorm_before.bias", BDPT_SLOT_NORM1_B, -1},
  {"attention.attention.query.weight", BDPT_SLOT_QKV_W, 0},
  {"attention.attention.key.weight", BDPT_SLOT_QKV_W, 1},
  {"attention.attention.value.weight", BDPT_SLOT_QKV_W, 2},
  {"attention.attention.query.bias", BDPT_SLOT_QKV_B, 0},
  {"attention.attention.key.bias", BDPT_SLOT_QKV_B, 1},
  {"attention.attention.value.bias", BDPT_SLOT_QKV_B, 2},
  {"attention.output.dense.weight", BDPT_SLOT_PROJ_W, -1},
  {"attention.output.dense.bias", BDPT_SLOT_PROJ_B, -1},
  {"layernorm_after.weight", BDPT_SLOT_NORM2_W, -1},
  {"layernorm_after.bias", BDPT_SLOT_NORM2_B, -1},
  {"intermediate.dense.weight", BDPT_SLOT_FC1_W, -1},
  {"intermediate.dense.bias", BDPT_SLOT_FC1_B, -1},
  {"output.dense.weight", BDPT_SLOT_FC2_W, -1}, {"output.dense.bias", BDPT_SLOT_FC2_B, -1},
  {"norm1.weight", BDPT_SLOT_NORM1_W, -1}, {"norm1.bias", BDPT_SLOT_NORM1_B, -1}, /* DINOv2 */
  {"norm2.weight", BDPT_SLOT_NORM2_W, -1}, {"norm2.bias", BDPT_SLOT_NORM2_B, -1},
  {"mlp.fc1.weight", BDPT_SLOT_FC1_W, -1}, {"mlp.fc1.bias", BDPT_SLOT_FC1_B, -1},
  {"mlp.fc2.weight", BDPT_SLOT_FC2_W, -1}, {"mlp.fc2.bias", BDPT_SLOT_FC2_B, -1},
  {"layer_scale1.lambda1", CHECKPOINT_SCALE, -1},
  {"layer_scale2.lambda1", CHECKPOINT_SCALE + 1, -1}, {NULL, 0, 0}};
static const checkpoint_spelling checkpoint_hf5_block[] = {
  {"layernorm_before.weight", BDPT_SLOT_NORM1_W, -1},
  {"layernorm_before.bias", BDPT_SLOT_NORM1_B, -1},
  {"attention.q_proj.weight", BDPT_SLOT_QKV_W, 0}, {"attention.q_proj.bias", BDPT_SLOT_QKV_B, 0},
  {"attention.k_proj.weight", BDPT_SLOT_QKV_W, 1}, {"attention.k_proj.bias", BDPT_SLOT_QKV_B, 1},
  {"attention.v_proj.weight", BDPT_SLOT_QKV_W, 2}, {"attention.v_proj.bias", BDPT_SLOT_QKV_B, 2},
  {"attention.o_proj.weight", BDPT_SLOT_PROJ_W, -1},
  {"attention.o_proj.bias", BDPT_SLOT_PROJ_B, -1},
  {"layernorm_after.weight", BDPT_SLOT_NORM2_W, -1},
  {"layernorm_after.bias", BDPT_SLOT_NORM2_B, -1},
  {"mlp.fc1.weight", BDPT_SLOT_FC1_W, -1}, {"mlp.fc1.bias", BDPT_SLOT_FC1_B, -1},
  {"mlp.fc2.weight", BDPT_SLOT_FC2_W, -1}, {"mlp.fc2.bias", BDPT_SLOT_FC2_B, -1},
  {"norm1.weight", BDPT_SLOT_NORM1_W, -1}, {"norm1.bias", BDPT_SLOT_NORM1_B, -1}, /* DINOv2 */
  {"norm2.weight", BDPT_SLOT_NORM2_W, -1}, {"norm2.bias", BDPT_SLOT_NORM2_B, -1},
  {"layer_scale1.lambda1", CHECKPOINT_SCALE, -1},
  {"layer_scale2.lambda1", CHECKPOINT_SCALE + 1, -1},
  {"layer_norm1.weight", BDPT_SLOT_NORM1_W, -1}, {"layer_norm1.bias", BDPT_SLOT_NORM1_B, -1},
  {"layer_norm2.weight", BDPT_SLOT_NORM2_W, -1}, {"layer_norm2.bias", BDPT_SLOT_NORM2_B, -1},
  {"self_attn.q_proj.weight", BDPT_SLOT_QKV_W, 0}, {"self_attn.q_proj.bias", BDPT_SLOT_QKV_B, 0},
  {"self_attn.k_proj.weight", BDPT_SLOT_QKV_W, 1}, {"self_attn.k_proj.bias", BDPT_SLOT_QKV_B, 1},
  {"self_attn.v_proj.weight", BDPT_SLOT_QKV_W, 2}, {"self_attn.v_proj.bias", BDPT_SLOT_QKV_B, 2},
  {"self_attn.out_proj.weight", BDPT_SLOT_PROJ_W, -1},
  {"self_attn.out_proj.bias", BDPT_SLOT_PROJ_B, -1}, {NULL, 0, 0}};

static const checkpoint_spelling *checkpoint_lookup(const checkpoint_spelling *table,
                                                    const char *name, size_t length) {
  for (; table->name; table++) {
    if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
  }
  return NULL;
}

/* Drops `word` from the front of a name; 1 if it was there. */
static int checkpoint_drop(const char **name, size_t *length, const char *word) {
  size_t n = strlen(word);
  if (*length < n || memcmp(*name, word, n) != 0) return 0;
  *name += n;
  *length -= n;
  return 1;
}

/* Returns the spellings of transformers: of a block's slots in dialect 4 or 5, or of the others. */
static const checkpoint_spelling *checkpoint_hf_table(int block, int five) {
  if (!block) return checkpoint_hf;
  return five ? checkpoint_hf5_block : checkpoint_hf4_block;
}

/* Returns the place of a name without its prefix; 0 when it is none of the network's. */
static int checkpoint_locate(const checkpoint_work *c, const char *name, size_t length,
                             checkpoint_place *out) {
  const checkpoint_spelling *found, *table;
  size_t digits = 0;
  int block = 0, five = 0, l = 0;
  if (c->is_hf && !checkpoint_drop(&name, &length, "vit.") &&
      !checkpoint_drop(&name, &length, "deit.") && !checkpoint_drop(&name, &length, "dinov2.") &&
      !checkpoint_drop(&name, &length, "dinov2_with_registers.")) {
    checkpoint_drop(&name, &length, "vision_model.");
  }
  if (c->is_hf) {
    five = checkpoint_drop(&name, &length, "layers.") ||
           checkpoint_drop(&name, &length, "encoder.layers.");
    block = five || checkpoint_drop(&name, &length, "encoder.layer.");
  } else {
    block = checkpoint_drop(&name, &length, "blocks.");
  }
  if (block) {
    for (; digits < length && name[digits] >= '0' && name[digits] <= '9' && l < 1000; digits++) {
      l = 10 * l + (name[digits] - '0');
    }
    if (digits == 0 || (digits > 1 && name[0] == '0') || l >= BDPT_MAX_DEPTH) return 0;
    if (digits >= length || name[digits] != '.') return 0;
    name += digits + 1;
    length -= digits + 1;
  }
  if (c->is_hf) table = checkpoint_hf_table(block, five);
  else table = block ? checkpoint_timm_block : checkpoint_timm;
  found = checkpoint_lookup(table, name, length);
  if (!found) return 0;
  out->slot = block ? BDPT_SLOT(l, found->slot) : found->slot;
  if (found->slot >= CHECKPOINT_SCALE) out->slot = -1 - 2 * l - (found->slot - CHECKPOINT_SCALE);
  out->part = found->part;
  return 1;
}

/* Says why a tensor may be left out, or returns NULL: it takes no part in computing the logits. */
static const char *checkpoint_excuse(const checkpoint_work *c, const char *name, size_t length) {
  if (checkpoint_ends(name, length, "num_batches_tracked")) return "a counter of batch norm";
  if (checkpoint_ends(name, length, "position_ids")) return "a constant";
  if (!c->is_hf) return NULL;
  if (checkpoint_ends(name, length, "pooler.dense.weight") ||
      checkpoint_ends(name, length, "pooler.dense.bias")) return "the classifier does not use it";
  if (checkpoint_ends(name, length, "embeddings.mask_token")) return "for masked training only";
  return NULL;
}

/* Says what kind of network has a tensor of such a name: those that are no plain vision
 * transformer. */
static const char *checkpoint_stranger(const char *name, size_t length) {
  static const struct { const char *part, *kind; } known[] = {
    {"layers.0.blocks.", "a Swin transformer"},
    {"relative_position_bias_table", "a network with relative positions, such as Swin or BEiT"},
    {"patch_embed.backbone.", "a hybrid of a convolutional network and a vision transformer"},
    {"patch_embed.conv", "a network whose patches are made by several convolutions"},
    {"blocks_token_only.", "a CaiT"}, {"attn.proj_l.", "a CaiT"},
    {"attn.q_bias", "an EVA or a BEiT"},
    {"attn.rope", "an EVA"}, {"rope.", "a network with rotary positions, such as EVA"},
    {"attn.q_proj.", "an EVA"}, {"mlp.fc1_g.", "an EVA, whose MLP has a gate"},
    {"mlp.w12.", "a network whose MLP has a gate (SwiGLU)"},
    {"weights_in.", "a DINOv2 whose MLP has a gate (SwiGLU)"},
    {"attn.q_norm.", "a network that normalises queries and keys"},
    {"attn_pool.", "a network with a pooling head of its own (MAP)"},
    {"vision_model.head.", "a SigLIP with its pooling head; without it (vision_use_head=False) it "
                           "can be read"},
    {"head.probe", "a SigLIP with its pooling head; without it (vision_use_head=False) it can be "
                   "read"}};
  size_t i, k, n;
  for (i = 0; i < sizeof known / sizeof *known; i++)
    for (k = 0, n = strlen(known[i].part); k + n <= length; k++)
      if (memcmp(name + k, known[i].part, n) == 0) return known[i].kind;
  return NULL;
}

bdpt_status checkpoint_sort(checkpoint_work *c) {
  const checkpoint_network *network = &c->network[c->chosen];
  char text[250] = "", aside[900] = "";
  checkpoint_list unknown = {text, sizeof text, 0, 0, 0}, out = {aside, sizeof aside, 0, 0, 0};
  const char *stranger = NULL;
  size_t i;
  for (i = 0; i < c->items; i++) {
    const pth_item *item = &c->item[i];
    int owner = checkpoint_owner(c, item);
    const char *name = item->name, *excuse;
    size_t length = item->length;
    checkpoint_place place;
    uint32_t *at;
    if (item->dict != network->dict || (owner >= 0 && owner != c->chosen)) continue;
    if (owner == c->chosen) {
      name += network->length;
      length -= network->length;
    }
    if (owner != c->chosen || !item->tensor) {
      checkpoint_list_add(&out, item->name, item->length);
    } else if (checkpoint_locate(c, name, length, &place)) {
      at = place.slot < 0 ? &c->scale[-1 - place.slot]
                          : &c->pick[place.slot][place.part < 0 ? 0 : place.part];
      if (*at != PTH_NOTHING) {
        char one[72], two[72];
        return checkpoint_fail(c, BDPT_E_FORMAT, "'%s' and '%s' are the same part of the network",
                               pth_show(c->item[*at].name, c->item[*at].length, one),
                               pth_show(item->name, item->length, two));
      }
      *at = (uint32_t)i;
      if (place.slot >= BDPT_SLOTS_FIXED) {
        int l = (place.slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
        if (l >= c->depth) c->depth = l + 1;
      }
    } else if ((excuse = checkpoint_excuse(c, name, length)) != NULL) {
      char shown[72];
      checkpoint_note(c, "'%s' was left out: %s", pth_show(item->name, item->length, shown),
                      excuse);
    } else {
      checkpoint_list_add(&unknown, item->name, item->length);
      if (!stranger) stranger = checkpoint_stranger(name, length);
    }
  }
  if (stranger) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "it is %s, which cannot be computed here (%zu "
                           "tensors: %s)", stranger, unknown.count, checkpoint_list_text(&unknown));
  }
  if (unknown.count) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "%zu %s no part of a vision transformer that "
                           "can be computed here: %s", unknown.count,
                           words_of((double)unknown.count, "tensor is", "tensors are"),
                           checkpoint_list_text(&unknown));
  }
  if (out.count) {
    checkpoint_note(c, "not part of the network and left out: %s", checkpoint_list_text(&out));
  }
  return BDPT_OK;
}

void checkpoint_timm_name(int slot, char out[48]) {
  const checkpoint_spelling *t = slot < BDPT_SLOTS_FIXED ? checkpoint_timm : checkpoint_timm_block;
  int l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  int s = slot < BDPT_SLOTS_FIXED ? slot : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
  while (t->name && t->slot != s) t++;
  if (slot < BDPT_SLOTS_FIXED) snprintf(out, 48, "%s", t->name);
  else snprintf(out, 48, "blocks.%d.%s", l, t->name);
}

/* Writes the name that the file's dialect has for a place, for messages. */
static void checkpoint_own_name(const checkpoint_work *c, int slot, int part, char out[96]) {
  int fixed = slot < BDPT_SLOTS_FIXED, l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  int s = fixed ? slot : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
  int five = strcmp(c->report->dialect, "transformers 5") == 0;
  int two = c->pick[BDPT_SLOT_DIST][0] != PTH_NOTHING; /* heads: cls_classifier, not classifier */
  const checkpoint_spelling *t = checkpoint_hf_table(!fixed, five);
  if (!c->is_hf) {
    checkpoint_timm_name(slot, out);
    return;
  }
  while (t->slot != s || t->part != part || (two && strncmp(t->name, "classifier", 10) == 0)) t++;
  if (fixed) snprintf(out, 96, "%s", t->name);
  else snprintf(out, 96, five ? "layers.%d.%s" : "encoder.layer.%d.%s", l, t->name);
}

int checkpoint_there(const checkpoint_work *c, int slot) {
  return c->pick[slot][0] != PTH_NOTHING || c->pick[slot][1] != PTH_NOTHING ||
         c->pick[slot][2] != PTH_NOTHING;
}

/* Returns 1 when block l has its attention: only our own files and timm's names can leave one
 * out. */
static int checkpoint_attends(const checkpoint_work *c, int l) {
  return c->is_hf || checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_QKV_W)) ||
         checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_PROJ_W));
}

int checkpoint_needs(const checkpoint_work *c, int slot) {
  int l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  if (slot == BDPT_SLOT_DIST || slot == BDPT_SLOT_HEAD2_W || slot == BDPT_SLOT_HEAD2_B) {
    return checkpoint_there(c, BDPT_SLOT_DIST) || checkpoint_there(c, BDPT_SLOT_HEAD2_W);
  }
  switch (slot) {
    case BDPT_SLOT_CLS: return !c->net.no_class;
    case BDPT_SLOT_REG: return checkpoint_there(c, BDPT_SLOT_REG);
    case BDPT_SLOT_PRE_W: case BDPT_SLOT_PRE_B: return checkpoint_there(c, BDPT_SLOT_PRE_W);
    case BDPT_SLOT_PATCH_B: return !checkpoint_there(c, BDPT_SLOT_PRE_W);
    case BDPT_SLOT_FC_NORM_W: case BDPT_SLOT_FC_NORM_B:
      return checkpoint_there(c, BDPT_SLOT_FC_NORM_W);
    case BDPT_SLOT_NORM_W: case BDPT_SLOT_NORM_B: return !checkpoint_there(c, BDPT_SLOT_FC_NORM_W);
    case BDPT_SLOT_HEAD_W: case BDPT_SLOT_HEAD_B: return !c->net.headless;
    default: if (slot < BDPT_SLOTS_FIXED) return 1;
  }
  switch ((slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK) {
    case BDPT_SLOT_QKV_B: return checkpoint_attends(c, l) && !c->net.no_qkv_bias;
    case BDPT_SLOT_QKV_W: case BDPT_SLOT_PROJ_W: case BDPT_SLOT_PROJ_B:
      return checkpoint_attends(c, l);
    case BDPT_SLOT_AFIT_W: case BDPT_SLOT_AFIT_B:
      return checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_AFIT_W));
    case BDPT_SLOT_FC1_W: case BDPT_SLOT_FC1_B: case BDPT_SLOT_FC2_W: case BDPT_SLOT_FC2_B:
      return !checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_FUSED_W));
    case BDPT_SLOT_FUSED_W: case BDPT_SLOT_FUSED_B:
      return checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_FUSED_W));
    default: return 1;
  }
}

/* Returns 1 when no block has a bias of q, k and v: a network made without them, not a damaged
 * file. */
static int checkpoint_without_bias(const checkpoint_work *c) {
  int l, any = 0;
  for (l = 0; l < c->depth; l++) any |= checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_QKV_B));
  return !any && c->config.qkv_bias != 1;
}

bdpt_status checkpoint_forms(checkpoint_work *c) {
  const checkpoint_config *k = &c->config;
  const char *pool = k->pool;
  int head = checkpoint_there(c, BDPT_SLOT_HEAD_W) || checkpoint_there(c, BDPT_SLOT_HEAD_B);
  const uint32_t at = c->pick[BDPT_SLOT_HEAD_W][0];
  int two = at != PTH_NOTHING && /* of a network with a head for each token */
            checkpoint_ends(c->item[at].name, c->item[at].length, "cls_classifier.weight");
  bdpt_config *h = &c->net;
  if (c->is_hf && checkpoint_there(c, BDPT_SLOT_DIST) && !checkpoint_there(c, BDPT_SLOT_HEAD2_W) &&
      !two) {
    c->pick[BDPT_SLOT_REG][0] = c->pick[BDPT_SLOT_DIST][0]; /* a token that no head reads */
    c->pick[BDPT_SLOT_DIST][0] = PTH_NOTHING;
    c->register_rows = 1; /* it has a position */
  }
  if (strcmp(pool, "avg") == 0 && !checkpoint_there(c, BDPT_SLOT_FC_NORM_W)) {
    h->pool = BDPT_POOL_NORMED;
  }
  if (c->is_hf && strncmp(k->model_type, "siglip", 6) == 0) h->pool = BDPT_POOL_NORMED;
  if (c->is_hf && strncmp(k->model_type, "dinov2", 6) == 0 && head) h->pool = BDPT_POOL_BOTH;
  if (pool[0] && strcmp(pool, "avg") != 0 && strcmp(pool, "token") != 0) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: global_pool '%s' cannot be computed, "
                           "only 'token' and 'avg'", pool);
  }
  h->no_class = !checkpoint_there(c, BDPT_SLOT_CLS) &&
                (h->pool == BDPT_POOL_NORMED || checkpoint_there(c, BDPT_SLOT_FC_NORM_W));
  h->no_qkv_bias = c->depth > 0 && checkpoint_without_bias(c);
  if (!head && !checkpoint_there(c, BDPT_SLOT_HEAD2_W) && !checkpoint_there(c, BDPT_SLOT_HEAD2_B)) {
    h->headless = 1;
    checkpoint_note(c, "it has no classifier; its features stand where logits would");
  }
  return BDPT_OK;
}

bdpt_status checkpoint_complete(checkpoint_work *c) {
  char text[250] = "", blocks[200] = "", name[96];
  checkpoint_list missing = {text, sizeof text, 0, 0, 0}, bare = {blocks, sizeof blocks, 0, 0, 0};
  int slot, part, clip = checkpoint_there(c, BDPT_SLOT_PRE_W);
  for (slot = 0; slot < BDPT_SLOT(c->depth, 0); slot++) {
    int s = slot < BDPT_SLOTS_FIXED ? -1 : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
    int split = c->is_hf && (s == BDPT_SLOT_QKV_W || s == BDPT_SLOT_QKV_B);
    if (!checkpoint_needs(c, slot) || (slot == BDPT_SLOT_HEAD_B && c->is_hf && clip)) continue;
    for (part = 0; part < (split ? 3 : 1); part++) {
      if (c->pick[slot][part] != PTH_NOTHING) continue;
      checkpoint_own_name(c, slot, split ? part : -1, name);
      checkpoint_list_add(&missing, name, strlen(name));
    }
  }
  if (missing.count) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "%zu %s missing: %s", missing.count,
                           words_of((double)missing.count, "tensor is", "tensors are"),
                           checkpoint_list_text(&missing));
  }
  for (slot = 0; slot < c->depth; slot++) {
    snprintf(name, sizeof name, "%d", slot);
    if (!checkpoint_attends(c, slot)) checkpoint_list_add(&bare, name, strlen(name));
  }
  if (bare.count) {
    checkpoint_note(c, "blocks without attention: %s; which activations were removed, shapes do "
                    "not tell, and all are computed unless fused", checkpoint_list_text(&bare));
  }
  return BDPT_OK;
}
