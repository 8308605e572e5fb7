/* =================================================================================================
 * checkpoint.h: networks from elsewhere
 * =================================================================================================
 * The library reads one kind of file: safetensors with timm's names. This is the front door for the
 * other kinds. It looks at the first bytes, not at the file's name:
 *
 *     safetensors                     by the library
 *     PyTorch .pth, .pt, .bin         by pth.h, both forms, nothing executed
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
 * comes out is a safetensors file in memory under timm's names with the bytes as they were, which
 * the library then reads like any other: so every form of the same weights gives the same network,
 * bit for bit, and nothing that a file claims is believed without the library's own checks.
 *
 * What shapes cannot tell comes from config.json beside the file, if there is one: the layer norm's
 * eps, the number of heads, and for images preprocessor_config.json. The sizes that shapes do tell
 * are compared with it. eps matters: timm's networks use 1e-6, transformers' own default is 1e-12.
 *
 * Nothing is skipped silently. Tensors of the network that are missing, and tensors that are no
 * part of it, are errors which list them; the few that are left out on purpose, and everything that
 * had to be guessed, is said in report.note.
 *
 *   source    timm/models/vision_transformer.py, deit.py; transformers/models/{vit,deit}
 *   check     tests/test_checkpoint.c, tests/fuzz_config.c
 *
 * Chapters: 1 report, 2 config.json, 3 which network, 4 names, 5 assembling, 6 loading.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "pth.h"

typedef struct checkpoint_options {
  const char *key;    /* which network of several: "model_ema"; NULL: the preferred one */
  int heads;          /* attention heads; 0: as the file says, or 64 features each */
} checkpoint_options;

typedef struct checkpoint_report {
  char form[40];      /* "safetensors", "PyTorch zip", "PyTorch legacy" */
  char dialect[40];   /* "boundarydpt", "timm", "transformers 4", "transformers 5" */
  char network[140];  /* where in the file it was: "model", "." for the top */
  char note[3000];    /* what the user should know, one sentence per line; "" when nothing */
  char pictures[100]; /* how they become input (>>pictures); "" when nothing says it */
} checkpoint_report;

/* The text of a file beside the checkpoint. */
typedef struct checkpoint_side { const char *text; size_t size; } checkpoint_side;

/* What config.json and preprocessor_config.json say; 0 (-1 for qkv_bias): nothing. */
typedef struct checkpoint_config {
  int width, depth, heads, mlp, image, patch, channels, labels, classes, qkv_bias;
  double eps, mean[3], std[3];
  char act[40], architecture[60], pool[40], model_type[40];
  /* How pictures become input. Switches: -1: nothing is said. */
  int input[3], resize_h, resize_w, shortest, crop_h, crop_w, filter;
  int do_resize, do_crop, do_rescale, do_normalize, swiglu;
  double crop_pct, rescale;
  char interpolation[40], crop_mode[40], processor[60];
} checkpoint_config;

enum { CHECKPOINT_NETWORKS = 32, CHECKPOINT_PREFIX = 200 };

/* One network of a file: the items of one dictionary whose names begin with `prefix`. */
typedef struct checkpoint_network {
  uint32_t dict;
  const char *prefix;
  size_t length;      /* of the prefix, its dot included */
  int rank;           /* the smallest is preferred */
  char name[140];
} checkpoint_network;

/* Where a tensor goes: a slot of the model; of qkv only a third when `part` is 0, 1 or 2. A slot
 * below 0 is LayerScale: -1 - 2 l for the attention of block l, -2 - 2 l for its MLP. */
typedef struct checkpoint_place { int slot, part; } checkpoint_place;

typedef struct checkpoint_work {
  bdpt_context *ctx;
  const char *name;
  checkpoint_report *report;
  checkpoint_config config;
  size_t file_bytes;
  bdpt_safetensors st;  /* the file, one or the other */
  pth_file pth;
  int is_pth, is_hf;
  pth_item *item;
  size_t items;
  checkpoint_network network[CHECKPOINT_NETWORKS];
  int networks, chosen, depth, register_rows; /* 1: registers have rows in the positions */
  uint32_t (*pick)[3];  /* [slot][part]: the item that goes there, or PTH_NOTHING */
  uint32_t scale[2 * BDPT_MAX_DEPTH]; /* LayerScale of attention and MLP of each block, likewise */
  unsigned char *room;  /* for what must be gathered */
  size_t room_used, total;
  bdpt_config hint;
  unsigned char *image; /* what comes out: the network under timm's names ... */
  size_t image_size;
  bdpt_model *model;    /* ... or, from a file that needs no translation, the network itself */
} checkpoint_work;

/* =================================================================================================
 * 1  THE REPORT                                                                            >>report
 * =================================================================================================
 */
PTH_PRINTF(3, 4)
PTH_FN bdpt_status checkpoint_fail(const checkpoint_work *c, bdpt_status status, const char *format,
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

PTH_FN void *checkpoint_alloc(const checkpoint_work *c, size_t count, size_t each) {
  void *p = calloc(count ? count : 1, each);
  if (!p) checkpoint_fail(c, BDPT_E_MEMORY, "out of memory for %zu rows of %zu bytes", count, each);
  return p;
}

/* One more sentence for the user. */
PTH_PRINTF(2, 3)
PTH_FN void checkpoint_note(checkpoint_work *c, const char *format, ...) {
  size_t used = strlen(c->report->note), room = sizeof c->report->note;
  va_list args;
  if (used + 2 >= room) return;
  if (used) c->report->note[used++] = '\n';
  va_start(args, format);
  vsnprintf(c->report->note + used, room - used, format, args);
  va_end(args);
}

/* A list of names, as many as fit and a count of the rest. */
typedef struct checkpoint_list { char *text; size_t room, used, count, left_out; } checkpoint_list;

PTH_FN void checkpoint_list_add(checkpoint_list *l, const char *name, size_t length) {
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

PTH_FN const char *checkpoint_list_text(checkpoint_list *l) {
  if (l->left_out) {
    snprintf(l->text + l->used, l->room - l->used, ", and %zu more", l->left_out);
  }
  return l->text;
}

/* =================================================================================================
 * 2  CONFIG.JSON                                                                           >>config
 * =================================================================================================
 * Both tools call it so: transformers describes the architecture in it, timm names the architecture
 * and the image statistics (pretrained_cfg). Keys that are not in the table are other matters.
 */
PTH_FN int checkpoint_config_int(checkpoint_work *c, const char *file, const char *key, double v,
                                 int *to) {
  if (v >= 0 && v <= 1e6 && v == (double)(int)v) { *to = (int)v; return 1; }
  checkpoint_fail(c, BDPT_E_FORMAT, "%s: '%s' is %g, no whole number from 0 to 1000000", file, key,
                  v);
  return 0;
}

/* One thing that the file says: "size.height" for {"size": {"height": 224}}; `i` counts the numbers
 * of an array. 0 after an error. */
typedef struct checkpoint_said {
  const char *file, *path;
  bdpt_json_event e;
  double v;           /* a number, or 0 and 1 for false and true */
  char text[64];
  int i;
} checkpoint_said;

PTH_FN int checkpoint_say_number(checkpoint_work *c, const checkpoint_said *s, int *known) {
  checkpoint_config *k = &c->config;
  const struct { const char *path; int *to; } whole[] = {
    {"hidden_size", &k->width}, {"num_hidden_layers", &k->depth},
    {"num_attention_heads", &k->heads}, {"intermediate_size", &k->mlp}, {"image_size", &k->image},
    {"patch_size", &k->patch}, {"num_channels", &k->channels}, {"num_labels", &k->classes},
    {"num_classes", &k->classes}, {"model_args.num_heads", &k->heads},
    {"model_args.img_size", &k->image}, {"model_args.patch_size", &k->patch},
    {"model_args.embed_dim", &k->width}, {"model_args.depth", &k->depth},
    {"model_args.num_classes", &k->classes}, {"size", &k->shortest}, {"resample", &k->filter},
    {"size.height", &k->resize_h}, {"size.width", &k->resize_w},
    {"size.shortest_edge", &k->shortest}, {"crop_size.height", &k->crop_h},
    {"crop_size.width", &k->crop_w}, {"crop_size", &k->crop_h}};
  const struct { const char *path; double *to; double most; } real[] = {
    {"layer_norm_eps", &k->eps, 1}, {"pretrained_cfg.crop_pct", &k->crop_pct, 4},
    {"rescale_factor", &k->rescale, 1e6}};
  const struct { const char *path; double *to; } triple[] = {
    {"pretrained_cfg.mean", k->mean}, {"pretrained_cfg.std", k->std}, {"image_mean", k->mean},
    {"image_std", k->std}};
  size_t n;
  *known = 1;
  for (n = 0; n < sizeof triple / sizeof *triple; n++) {
    if (strcmp(s->path, triple[n].path) != 0 || s->i < 0 || s->i > 2) continue;
    triple[n].to[s->i] = s->v;
    if (s->v >= 0 && s->v <= 1e3) return 1;
    checkpoint_fail(c, BDPT_E_FORMAT, "%s: '%s' holds %g", s->file, s->path, s->v);
    return 0;
  }
  if (strcmp(s->path, "pretrained_cfg.input_size") == 0 && s->i >= 0 && s->i < 3) {
    return checkpoint_config_int(c, s->file, s->path, s->v, &k->input[s->i]);
  }
  for (n = 0; n < sizeof whole / sizeof *whole; n++) {
    if (strcmp(s->path, whole[n].path) != 0) continue;
    if (s->i > 0 && s->v != (double)*whole[n].to) { /* [224, 224] is 224 */
      checkpoint_fail(c, BDPT_E_FORMAT, "%s: '%s' has two values; images are square here", s->file,
                      s->path);
      return 0;
    }
    return checkpoint_config_int(c, s->file, s->path, s->v, whole[n].to);
  }
  for (n = 0; n < sizeof real / sizeof *real; n++) {
    if (strcmp(s->path, real[n].path) != 0) continue;
    *real[n].to = s->v;
    if (s->v > 0 && s->v < real[n].most) return 1;
    checkpoint_fail(c, BDPT_E_FORMAT, "%s: '%s' is %g, not between 0 and %g", s->file, s->path,
                    s->v, real[n].most);
    return 0;
  }
  *known = 0;
  return 1;
}

/* A switch or a text; 1 if it is known. */
PTH_FN int checkpoint_say_word(checkpoint_work *c, const checkpoint_said *s) {
  checkpoint_config *k = &c->config;
  const struct { const char *path; int *to; } sw[] = {
    {"qkv_bias", &k->qkv_bias}, {"model_args.qkv_bias", &k->qkv_bias},
    {"do_resize", &k->do_resize}, {"do_center_crop", &k->do_crop}, {"do_rescale", &k->do_rescale},
    {"do_normalize", &k->do_normalize}, {"use_swiglu_ffn", &k->swiglu}};
  const struct { const char *path; char *to; size_t room; } text[] = {
    {"hidden_act", k->act, sizeof k->act}, {"model_args.act_layer", k->act, sizeof k->act},
    {"architecture", k->architecture, sizeof k->architecture},
    {"global_pool", k->pool, sizeof k->pool}, {"model_args.global_pool", k->pool, sizeof k->pool},
    {"model_type", k->model_type, sizeof k->model_type},
    {"pretrained_cfg.interpolation", k->interpolation, sizeof k->interpolation},
    {"pretrained_cfg.crop_mode", k->crop_mode, sizeof k->crop_mode},
    {"image_processor_type", k->processor, sizeof k->processor},
    {"feature_extractor_type", k->processor, sizeof k->processor}};
  size_t n;
  for (n = 0; n < sizeof sw / sizeof *sw && s->e != BDPT_JSON_STRING; n++) {
    if (strcmp(s->path, sw[n].path) != 0) continue;
    *sw[n].to = s->v != 0;
    return 1;
  }
  for (n = 0; n < sizeof text / sizeof *text && s->e == BDPT_JSON_STRING; n++) {
    if (strcmp(s->path, text[n].path) != 0) continue;
    snprintf(text[n].to, text[n].room, "%.39s", s->text);
    return 1;
  }
  return 0;
}

/* Keys that change nothing that is computed here: the network's sizes and names are in its tensors,
 * training's settings and other programs' notes are of no use afterwards. */
PTH_FN int checkpoint_irrelevant(const char *path) {
  static const char *const key[] = {
    "architectures", "attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout",
    "dropout", "drop_path_rate", "initializer_range", "initializer_factor", "dtype", "torch_dtype",
    "encoder_stride", "id2label", "label2id", "label_names", "label_descriptions",
    "transformers_version", "_name_or_path", "pooler_act", "pooler_output_size", "num_features",
    "problem_type", "return_dict", "finetuning_task", "out_features", "out_indices",
    "stage_names", "apply_layernorm", "reshape_hidden_states", "layerscale_value", "mlp_ratio",
    "use_mask_token", "num_register_tokens", "projection_dim", "vision_use_head", "do_convert_rgb",
    "default_to_square", "data_format", "input_data_format", "device", "return_tensors",
    "processor_class", "pretrained_cfg", "model_args", "size", "crop_size", "norm",
    "output_attentions", "output_hidden_states", "pad_size", "do_pad", "disable_grouping",
    "image_mean", "image_std", "resample", "size_divisor"};
  size_t n, length = strcspn(path, ".");
  for (n = 0; n < sizeof key / sizeof *key; n++) {
    if (strlen(key[n]) == length && strncmp(path, key[n], length) == 0) return 1;
  }
  return 0;
}

PTH_FN int checkpoint_say(checkpoint_work *c, const checkpoint_said *s) {
  int known = 0, good = 1;
  if (s->e == BDPT_JSON_NULL) return 1;
  if (s->e == BDPT_JSON_NUMBER) good = checkpoint_say_number(c, s, &known);
  else known = checkpoint_say_word(c, s);
  if (!known && !checkpoint_irrelevant(s->path) && s->i < 1) {
    checkpoint_note(c, "%s: '%s' is not known here and was left aside", s->file, s->path);
  }
  return good;
}

/* Reads one of the two files: every value with the path of keys that leads to it. */
PTH_FN bdpt_status checkpoint_config_read(checkpoint_work *c, const char *file,
                                          checkpoint_side side) {
  char key[2][40] = {"", ""}, path[84];
  int count[4] = {0, 0, 0, 0}; /* of the array that is open at this depth */
  bdpt_json j;
  bdpt_json_event e;
  checkpoint_said said;
  bdpt_json_init(&j, side.text, side.size);
  e = bdpt_json_next(&j);
  if (e != BDPT_JSON_OBJECT && e != BDPT_JSON_ERROR) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "%s: no JSON object", file);
  }
  while (e != BDPT_JSON_END && e != BDPT_JSON_ERROR) {
    int depth = j.depth, array = depth > 0 && depth < 5 && j.stack[depth - 1] == '[';
    int keys = array ? depth - 1 : depth; /* how many keys lead here */
    if (e == BDPT_JSON_ARRAY && depth <= 4) count[depth - 1] = 0;
    if (e == BDPT_JSON_KEY && depth <= 2) {
      bdpt_json_copy(&j, key[depth - 1], sizeof key[0]);
      c->config.labels += depth == 2 && strcmp(key[0], "id2label") == 0;
    }
    if (e >= BDPT_JSON_STRING && keys >= 1 && keys <= 2 && (keys == 1 || j.stack[1] == '{')) {
      snprintf(path, sizeof path, keys == 1 ? "%s" : "%s.%s", key[0], key[1]);
      memset(&said, 0, sizeof said);
      said.file = file, said.path = path, said.e = e;
      said.i = array ? count[depth - 1]++ : -1;
      if (e == BDPT_JSON_NUMBER) said.v = bdpt_json_number(&j);
      else said.v = e == BDPT_JSON_TRUE;
      if (e == BDPT_JSON_STRING) bdpt_json_copy(&j, said.text, sizeof said.text);
      if (!checkpoint_say(c, &said)) return c->ctx->status;
    }
    e = bdpt_json_next(&j);
  }
  if (e == BDPT_JSON_END) return BDPT_OK;
  return checkpoint_fail(c, BDPT_E_FORMAT, "%s: not valid JSON: %s, at byte %zu", file, j.error,
                         j.at);
}

/* Before anything was said. */
PTH_FN void checkpoint_config_clear(checkpoint_config *k) {
  memset(k, 0, sizeof *k);
  k->qkv_bias = k->filter = k->do_resize = k->do_crop = k->do_rescale = k->do_normalize = -1;
}

/* The activation by its name in either tool, or by timm's name of the architecture. */
PTH_FN bdpt_status checkpoint_act(checkpoint_work *c) {
  static const struct { const char *name; int act; } known[] = {
    {"gelu", BDPT_GELU}, {"gelu_python", BDPT_GELU}, {"gelu_new", BDPT_GELU_TANH},
    {"gelu_pytorch_tanh", BDPT_GELU_TANH}, {"gelu_tanh", BDPT_GELU_TANH},
    {"gelu_fast", BDPT_GELU_TANH}, {"quick_gelu", BDPT_QUICK_GELU}, {"relu", BDPT_RELU}};
  const char *act = c->config.act, *name = c->config.architecture;
  size_t n;
  if (!act[0] && strstr(name, "quickgelu")) act = "quick_gelu";
  if (!act[0] && (strstr(name, "siglip2") || strstr(name, "so400m"))) act = "gelu_tanh";
  for (n = 0; n < sizeof known / sizeof *known && act[0]; n++) {
    if (strcmp(act, known[n].name) != 0) continue;
    c->hint.act = known[n].act;
    return BDPT_OK;
  }
  if (!act[0]) return BDPT_OK;
  return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: the activation '%s' cannot be computed, "
                         "only gelu, its tanh form, quick_gelu and relu", act);
}

/* What the picture settings come to (>>pictures): a text for model->preprocessing. The two switches
 * and the factor of transformers go into mean and deviation: (f x - m) / s of a byte x is what the
 * library makes of it with m / (255 f) and s / (255 f). */
PTH_FN bdpt_status checkpoint_pictures(checkpoint_work *c) {
  static const char *const filter[6] = {"nearest", "lanczos", "bilinear", "bicubic", "box",
                                        "hamming"};
  checkpoint_config *k = &c->config;
  const char *name = k->interpolation;
  double f = 255 * (k->do_rescale == 0 ? 1 : k->rescale > 0 ? k->rescale : 1 / 255.0);
  int i, square = k->input[1], squash = strcmp(k->crop_mode, "squash") == 0;
  for (i = 0; i < 3 && (k->std[i] > 0 || k->do_normalize == 0); i++) {
    k->mean[i] = k->do_normalize == 0 ? 0 : k->mean[i] / f;
    k->std[i] = (k->do_normalize == 0 ? 1 : k->std[i]) / f;
  }
  if (k->resize_w == 0) k->resize_w = k->resize_h;
  if (k->input[1] != k->input[2] || k->resize_h != k->resize_w ||
      (k->crop_w && k->crop_h != k->crop_w)) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "its pictures are no squares (%d x %d); only square "
                           "ones can be computed", k->input[1] ? k->input[1] : k->resize_h,
                           k->input[1] ? k->input[2] : k->resize_w);
  }
  if (k->crop_mode[0] && !squash && strcmp(k->crop_mode, "center") != 0) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: crop_mode '%s' cannot be computed, "
                           "only 'center' and 'squash'", k->crop_mode);
  }
  if (k->filter > 5) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "preprocessor_config.json: resample %d is no filter "
                           "of Pillow's", k->filter);
  }
  if (square && (k->crop_pct > 0 || name[0])) { /* timm */
    if (!name[0]) name = "bicubic";
    for (i = 0; i < 6 && strcmp(filter[i], name) != 0; i++) { }
    if (i == 6) {
      return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: interpolation '%s' cannot be "
                             "computed, only Pillow's filters", name);
    }
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: %s %d %s crop %d",
             squash ? "squash" : "shortest",
             (int)floor(square / (k->crop_pct > 0 ? k->crop_pct : 0.875)), name, square);
    return BDPT_OK;
  }
  if (k->filter < 0 && !k->resize_h && !k->shortest && k->do_resize < 0) return BDPT_OK;
  if (k->do_resize == 0) {
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: as is");
  } else {
    int whole = k->resize_h > 0 || strstr(k->processor, "ViT") || strstr(k->processor, "DeiT");
    int size = k->resize_h ? k->resize_h : k->shortest ? k->shortest : 224;
    int crop = k->do_crop == 1 && k->crop_h ? k->crop_h : 0;
    if (k->do_crop < 0 && k->crop_h && !strstr(k->processor, "ViTI")) crop = k->crop_h;
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: %s %d %s crop %d",
             whole ? "squash" : "shortest", size, filter[k->filter < 0 ? 2 : k->filter],
             crop ? crop : whole ? size : k->image);
  }
  return BDPT_OK;
}

/* What the network turned out to be against what config.json says of it. A file in transformers'
 * names is at odds with its own description; of others only a note is made. */
PTH_FN bdpt_status checkpoint_config_compare(checkpoint_work *c, const bdpt_config *m) {
  const checkpoint_config *k = &c->config;
  const struct { const char *key; int says, is; } row[] = {
    {"hidden_size", k->width, m->width}, {"num_hidden_layers", k->depth, m->depth},
    {"num_attention_heads", k->heads, m->heads}, {"intermediate_size", k->mlp, m->block[0].mlp},
    {"image_size", k->image, m->image}, {"patch_size", k->patch, m->patch},
    {"num_channels", k->channels, m->channels},
    {"num_labels", k->classes ? k->classes : k->labels, m->classes}};
  size_t i;
  for (i = 0; i < sizeof row / sizeof *row; i++) {
    if (row[i].says == 0 || row[i].says == row[i].is) continue;
    if (m->headless && strcmp(row[i].key, "num_labels") == 0) continue;
    if (!c->is_hf || strcmp(row[i].key, "num_attention_heads") == 0) { /* --heads has its way */
      checkpoint_note(c, "config.json says %s %d; the network was read with %d", row[i].key,
                      row[i].says, row[i].is);
      continue;
    }
    return checkpoint_fail(c, BDPT_E_SHAPE, "config.json says %s %d, but the tensors are those of "
                           "a network with %d", row[i].key, row[i].says, row[i].is);
  }
  return BDPT_OK;
}

/* Whether it describes the network at hand, for a file that need not have come with it. */
PTH_FN int checkpoint_config_fits(const checkpoint_work *c, size_t width) {
  const checkpoint_config *k = &c->config;
  if (k->width) return (size_t)k->width == width && (k->depth == 0 || k->depth == c->depth);
  return strncmp(k->architecture, "deit", 4) == 0 || strncmp(k->architecture, "vit_", 4) == 0;
}

/* Reads the two files and checks what cannot be computed. A file in transformers' names comes with
 * its config.json; beside others one may lie by chance, and that is no reason to fail. */
PTH_FN bdpt_status checkpoint_config_use(checkpoint_work *c, checkpoint_side config,
                                         checkpoint_side images, size_t width) {
  checkpoint_config *k = &c->config;
  bdpt_status s = BDPT_OK;
  char why[sizeof c->ctx->message] = "it describes another network";
  checkpoint_config_clear(k);
  if (config.text) s = checkpoint_config_read(c, "config.json", config);
  if (!s && images.text) s = checkpoint_config_read(c, "preprocessor_config.json", images);
  if (c->is_hf) {
    if (!s && k->swiglu == 1) {
      s = checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: use_swiglu_ffn: SwiGLU cannot be "
                          "computed");
    }
    if (!s) s = checkpoint_act(c);
    return s ? s : checkpoint_pictures(c);
  }
  if (!s && !config.text) return s;
  if (!s && checkpoint_config_fits(c, width)) {
    s = checkpoint_act(c);
    return s ? s : checkpoint_pictures(c);
  }
  if (s) snprintf(why, sizeof why, "%s", c->ctx->message);
  if (s) bdpt_clear_error(c->ctx);
  checkpoint_config_clear(k);
  checkpoint_note(c, "the config.json beside it was not used: %s", why);
  return BDPT_OK;
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
PTH_FN int checkpoint_ends(const char *name, size_t length, const char *tail) {
  size_t n = strlen(tail);
  return length >= n && memcmp(name + length - n, tail, n) == 0;
}

/* Preferred are the weights that were trained, under the names that training programs use; averages
 * (ema) and teachers come last. */
PTH_FN int checkpoint_rank(const char *name) {
  const char *last = strrchr(name, '.');
  int late = strstr(name, "ema") || strstr(name, "teacher") ? 10 : 0;
  last = last && last[1] ? last + 1 : name;
  if (strcmp(last, "model") == 0) return late;
  if (strcmp(last, "state_dict") == 0) return late + 1;
  return strcmp(name, ".") == 0 ? late + 2 : late + 3;
}

/* How much of an anchor's name stands before the network; -1 if it is no anchor. */
PTH_FN int checkpoint_anchor(const char *name, size_t length) {
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

/* "model" + "module." is "model.module"; nothing at all is ".". */
PTH_FN void checkpoint_network_name(const checkpoint_work *c, checkpoint_network *n) {
  char shown[72];
  n->name[0] = 0;
  if (c->is_pth) pth_path(&c->pth, n->dict, n->name, sizeof n->name - 72);
  if (n->name[0] && n->length) pth_append(n->name, sizeof n->name, ".");
  if (n->length) pth_append(n->name, sizeof n->name, pth_show(n->prefix, n->length - 1, shown));
  if (!n->name[0]) pth_append(n->name, sizeof n->name, ".");
  n->rank = checkpoint_rank(n->name);
}

PTH_FN bdpt_status checkpoint_networks(checkpoint_work *c) {
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

/* The network that an item belongs to: the one with the longest prefix. -1: none. */
PTH_FN int checkpoint_owner(const checkpoint_work *c, const pth_item *item) {
  int i, best = -1;
  for (i = 0; i < c->networks; i++) {
    const checkpoint_network *n = &c->network[i];
    if (n->dict != item->dict || n->length > item->length) continue;
    if (n->length && memcmp(n->prefix, item->name, n->length) != 0) continue;
    if (best < 0 || n->length > c->network[best].length) best = i;
  }
  return best;
}

/* What the file holds at its top, when no network was found in it. */
PTH_FN bdpt_status checkpoint_no_network(const checkpoint_work *c) {
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

/* What stands at the top of the file beside the networks and is not read. */
PTH_FN void checkpoint_tell_rest(checkpoint_work *c) {
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

PTH_FN bdpt_status checkpoint_choose(checkpoint_work *c, const char *key) {
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

PTH_FN const checkpoint_spelling *checkpoint_lookup(const checkpoint_spelling *table,
                                                    const char *name, size_t length) {
  for (; table->name; table++) {
    if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
  }
  return NULL;
}

/* Drops `word` from the front of a name; 1 if it was there. */
PTH_FN int checkpoint_drop(const char **name, size_t *length, const char *word) {
  size_t n = strlen(word);
  if (*length < n || memcmp(*name, word, n) != 0) return 0;
  *name += n;
  *length -= n;
  return 1;
}

/* The place of a name without its prefix; 0 when it is none of the network's. */
PTH_FN int checkpoint_locate(const checkpoint_work *c, const char *name, size_t length,
                             checkpoint_place *out) {
  const checkpoint_spelling *found;
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
  found = checkpoint_lookup(!c->is_hf ? block ? checkpoint_timm_block : checkpoint_timm
                            : !block ? checkpoint_hf
                            : five ? checkpoint_hf5_block : checkpoint_hf4_block, name, length);
  if (!found) return 0;
  out->slot = block ? BDPT_SLOT(l, found->slot) : found->slot;
  if (found->slot >= CHECKPOINT_SCALE) out->slot = -1 - 2 * l - (found->slot - CHECKPOINT_SCALE);
  out->part = found->part;
  return 1;
}

/* Why a tensor may be left out, or NULL: it takes no part in computing the logits. */
PTH_FN const char *checkpoint_excuse(const checkpoint_work *c, const char *name, size_t length) {
  if (checkpoint_ends(name, length, "num_batches_tracked")) return "a counter of batch norm";
  if (checkpoint_ends(name, length, "position_ids")) return "a constant";
  if (!c->is_hf) return NULL;
  if (checkpoint_ends(name, length, "pooler.dense.weight") ||
      checkpoint_ends(name, length, "pooler.dense.bias")) return "the classifier does not use it";
  if (checkpoint_ends(name, length, "embeddings.mask_token")) return "for masked training only";
  return NULL;
}

/* Sorts the chosen network's items into their places. */
PTH_FN bdpt_status checkpoint_sort(checkpoint_work *c) {
  const checkpoint_network *network = &c->network[c->chosen];
  char text[250] = "", aside[900] = "";
  checkpoint_list unknown = {text, sizeof text, 0, 0, 0}, out = {aside, sizeof aside, 0, 0, 0};
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
    }
  }
  if (unknown.count) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "%zu tensors are no part of a vision transformer that "
                           "can be computed here: %s", unknown.count,
                           checkpoint_list_text(&unknown));
  }
  if (out.count) {
    checkpoint_note(c, "not part of the network and left out: %s", checkpoint_list_text(&out));
  }
  return BDPT_OK;
}

/* timm's name of a slot. */
PTH_FN void checkpoint_timm_name(int slot, char out[48]) {
  const checkpoint_spelling *t = slot < BDPT_SLOTS_FIXED ? checkpoint_timm : checkpoint_timm_block;
  int l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  int s = slot < BDPT_SLOTS_FIXED ? slot : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
  while (t->name && t->slot != s) t++;
  if (slot < BDPT_SLOTS_FIXED) snprintf(out, 48, "%s", t->name);
  else snprintf(out, 48, "blocks.%d.%s", l, t->name);
}

/* The name that the file's dialect has for a place, for messages. */
PTH_FN void checkpoint_own_name(const checkpoint_work *c, int slot, int part, char out[96]) {
  int fixed = slot < BDPT_SLOTS_FIXED, l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  int s = fixed ? slot : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
  int five = strcmp(c->report->dialect, "transformers 5") == 0;
  int two = c->pick[BDPT_SLOT_DIST][0] != PTH_NOTHING; /* heads: cls_classifier, not classifier */
  const checkpoint_spelling *t = fixed ? checkpoint_hf
                               : five ? checkpoint_hf5_block : checkpoint_hf4_block;
  if (!c->is_hf) {
    checkpoint_timm_name(slot, out);
    return;
  }
  while (t->slot != s || t->part != part || (two && strncmp(t->name, "classifier", 10) == 0)) t++;
  if (fixed) snprintf(out, 96, "%s", t->name);
  else snprintf(out, 96, five ? "layers.%d.%s" : "encoder.layer.%d.%s", l, t->name);
}

PTH_FN int checkpoint_there(const checkpoint_work *c, int slot) {
  return c->pick[slot][0] != PTH_NOTHING || c->pick[slot][1] != PTH_NOTHING ||
         c->pick[slot][2] != PTH_NOTHING;
}

/* 1 when block l has its attention: only our own files and timm's names can leave one out. */
PTH_FN int checkpoint_attends(const checkpoint_work *c, int l) {
  return c->is_hf || checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_QKV_W)) ||
         checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_PROJ_W));
}

/* 1 when the network needs what belongs into a slot. */
PTH_FN int checkpoint_needs(const checkpoint_work *c, int slot) {
  int l = (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK;
  if (slot == BDPT_SLOT_DIST || slot == BDPT_SLOT_HEAD2_W || slot == BDPT_SLOT_HEAD2_B) {
    return checkpoint_there(c, BDPT_SLOT_DIST) || checkpoint_there(c, BDPT_SLOT_HEAD2_W);
  }
  switch (slot) {
    case BDPT_SLOT_CLS: return !c->hint.no_class;
    case BDPT_SLOT_REG: return checkpoint_there(c, BDPT_SLOT_REG);
    case BDPT_SLOT_PRE_W: case BDPT_SLOT_PRE_B: return checkpoint_there(c, BDPT_SLOT_PRE_W);
    case BDPT_SLOT_PATCH_B: return !checkpoint_there(c, BDPT_SLOT_PRE_W);
    case BDPT_SLOT_FC_NORM_W: case BDPT_SLOT_FC_NORM_B:
      return checkpoint_there(c, BDPT_SLOT_FC_NORM_W);
    case BDPT_SLOT_NORM_W: case BDPT_SLOT_NORM_B: return !checkpoint_there(c, BDPT_SLOT_FC_NORM_W);
    case BDPT_SLOT_HEAD_W: case BDPT_SLOT_HEAD_B: return !c->hint.headless;
    default: if (slot < BDPT_SLOTS_FIXED) return 1;
  }
  switch ((slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK) {
    case BDPT_SLOT_QKV_B: return checkpoint_attends(c, l) && !c->hint.no_qkv_bias;
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

/* 1 when no block has a bias of q, k and v: a network made without them, not a damaged file. */
PTH_FN int checkpoint_without_bias(const checkpoint_work *c) {
  int l, any = 0;
  for (l = 0; l < c->depth; l++) any |= checkpoint_there(c, BDPT_SLOT(l, BDPT_SLOT_QKV_B));
  return !any && c->config.qkv_bias != 1;
}

/* What the tensors and config.json say together of the network's form (bdpt_config). */
PTH_FN bdpt_status checkpoint_forms(checkpoint_work *c) {
  const checkpoint_config *k = &c->config;
  const char *pool = k->pool;
  int head = checkpoint_there(c, BDPT_SLOT_HEAD_W) || checkpoint_there(c, BDPT_SLOT_HEAD_B);
  const uint32_t at = c->pick[BDPT_SLOT_HEAD_W][0];
  int two = at != PTH_NOTHING && /* of a network with a head for each token */
            checkpoint_ends(c->item[at].name, c->item[at].length, "cls_classifier.weight");
  bdpt_config *h = &c->hint;
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

/* Names everything that is missing. */
PTH_FN bdpt_status checkpoint_complete(checkpoint_work *c) {
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
    return checkpoint_fail(c, BDPT_E_FORMAT, "%zu tensors are missing: %s", missing.count,
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

/* =================================================================================================
 * 5  ASSEMBLING                                                                          >>assemble
 * =================================================================================================
 */
/* The tensor of an item, from either form, with at most the library's number of axes. */
PTH_FN bdpt_status checkpoint_tensor(const checkpoint_work *c, uint32_t item, pth_tensor *t) {
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
    t->dtype = f->dtype;
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

/* Several parts of a network, or one that is not packed, are gathered in a block of memory whose
 * size is measured by a first walk; in that walk, without the block, nothing is copied. */
PTH_FN unsigned char *checkpoint_room(checkpoint_work *c, size_t bytes) {
  unsigned char *p = c->room ? c->room + c->room_used : NULL;
  c->room_used += bytes;
  return p;
}

/* 1 for the bias of a projection that has none (CLIP): zeros stand for it. */
PTH_FN int checkpoint_is_zero(const checkpoint_work *c, int slot) {
  return slot == BDPT_SLOT_HEAD_B && c->is_hf && !checkpoint_there(c, slot);
}

/* Positions of a network whose registers have none: rows of zeros stand behind the first row. */
PTH_FN bdpt_status checkpoint_put_positions(checkpoint_work *c, const pth_tensor *t,
                                            bdpt_write_tensor *w) {
  size_t row = w->shape[2] * t->wide, extra, whole = t->count * t->wide;
  unsigned char *p;
  pth_tensor reg;
  bdpt_status s = checkpoint_tensor(c, c->pick[BDPT_SLOT_REG][0], &reg);
  if (s) return s;
  if (reg.ndim != 3 || reg.shape[2] != w->shape[2] || whole < row || reg.shape[1] > 1024) {
    return checkpoint_fail(c, BDPT_E_SHAPE, "the registers and the positions differ in width");
  }
  extra = reg.shape[1] * row;
  c->total += whole + extra;
  w->shape[1] += reg.shape[1];
  w->data = p = checkpoint_room(c, whole + extra);
  if (!p) return BDPT_OK;
  if (t->packed) memcpy(p + extra, t->bytes, whole);
  else pth_copy(t, p + extra);
  memcpy(p, p + extra, row);
  memset(p + row, 0, extra);
  return BDPT_OK;
}

/* One tensor under timm's name. The sizes cannot overflow: pth_find and the library's reader have
 * bounded each tensor by bytes of the file, and there are at most three parts. */
PTH_FN bdpt_status checkpoint_put(checkpoint_work *c, int slot, char name[48],
                                  bdpt_write_tensor *w) {
  int i, zero = checkpoint_is_zero(c, slot), from = zero ? slot - 1 : slot; /* its weight */
  int parts = c->pick[from][1] != PTH_NOTHING ? 3 : 1;
  bdpt_status status = BDPT_OK;
  pth_tensor t[3];
  unsigned char *p;
  size_t bytes;
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
  w->dtype = t[0].dtype;
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
  if (slot == BDPT_SLOT_POS && c->is_hf && checkpoint_there(c, BDPT_SLOT_REG) &&
      !c->register_rows && w->ndim == 3) {
    return checkpoint_put_positions(c, &t[0], w);
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

/* LayerScale under timm's name, for the library to fold: `at` counts both halves of the blocks. */
PTH_FN bdpt_status checkpoint_put_scale(checkpoint_work *c, int at, char name[48],
                                        bdpt_write_tensor *w) {
  pth_tensor t;
  unsigned char *p;
  bdpt_status s = checkpoint_tensor(c, c->scale[at], &t);
  if (s) return s;
  snprintf(name, 48, "blocks.%d.ls%d.gamma", at / 2, at % 2 + 1);
  memset(w, 0, sizeof *w);
  w->name = name;
  w->dtype = t.dtype;
  w->ndim = t.ndim;
  memcpy(w->shape, t.shape, sizeof w->shape);
  w->raw = 1;
  w->data = t.bytes;
  c->total += t.count * t.wide;
  if (t.packed) return BDPT_OK;
  w->data = p = checkpoint_room(c, t.count * t.wide);
  if (p) pth_copy(&t, p);
  return BDPT_OK;
}

/* All tensors of the network as a safetensors file in memory. */
PTH_FN bdpt_status checkpoint_assemble(checkpoint_work *c) {
  int turn, slot, slots = BDPT_SLOT(c->depth, 0), most = slots + 2 * c->depth;
  bdpt_write_tensor *list = (bdpt_write_tensor *)checkpoint_alloc(c, (size_t)most, sizeof *list);
  char (*name)[48] = (char (*)[48])checkpoint_alloc(c, (size_t)most, sizeof *name);
  size_t count = 0;
  bdpt_status s = list && name ? BDPT_OK : BDPT_E_MEMORY;
  for (turn = 0; turn < 2 && !s; turn++) {
    for (slot = 0, count = 0, c->room_used = c->total = 0; slot < slots && !s; slot++) {
      if (!checkpoint_needs(c, slot)) continue;
      s = checkpoint_put(c, slot, name[count], &list[count]);
      count++;
    }
    for (slot = 0; slot < 2 * c->depth && !s; slot++) {
      if (c->scale[slot] == PTH_NOTHING) continue;
      s = checkpoint_put_scale(c, slot, name[count], &list[count]);
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
  if (!s) {
    s = bdpt_safetensors_build(c->ctx, list, count, NULL, NULL, 0, &c->image, &c->image_size);
  }
  free(list);
  free(name);
  return s;
}

/* =================================================================================================
 * 6  LOADING                                                                                 >>load
 * =================================================================================================
 */
/* Lists the items of the file. */
PTH_FN bdpt_status checkpoint_open(checkpoint_work *c, const void *bytes, size_t size) {
  size_t i;
  bdpt_status s;
  c->is_pth = pth_sniff(bytes, size) != 0;
  if (c->is_pth) s = pth_open(c->ctx, bytes, size, c->name, &c->pth);
  else s = bdpt_safetensors_parse(c->ctx, bytes, size, c->name, &c->st);
  if (s) return s;
  snprintf(c->report->form, sizeof c->report->form, "%s", !c->is_pth ? "safetensors"
           : c->pth.legacy ? "PyTorch legacy" : "PyTorch zip");
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

/* Which of the two families the names are of, and which generation of the second. */
PTH_FN void checkpoint_dialect(checkpoint_work *c) {
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

/* The heads: as the caller says, as config.json says, or 64 features each. */
PTH_FN bdpt_status checkpoint_heads(checkpoint_work *c, int heads, size_t width) {
  c->hint.heads = heads ? heads : c->config.heads;
  if (c->hint.heads) return BDPT_OK;
  if (width % 64 != 0) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "nothing tells the number of attention heads (width "
                           "%zu is no multiple of 64, and no config.json says it); name it: "
                           "--heads N", width);
  }
  if (width != 192 && width != 384 && width != 768) { /* DeiT's own sizes need no word */
    checkpoint_note(c, "%zu attention heads of 64 features assumed; --heads names another number",
                    width / 64);
  }
  return BDPT_OK;
}

/* From the list of items to c->image. */
PTH_FN bdpt_status checkpoint_convert(checkpoint_work *c, checkpoint_side config,
                                      checkpoint_side images, const checkpoint_options *o) {
  checkpoint_config *k = &c->config;
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
  if (!s) s = checkpoint_config_use(c, config, images, width);
  if (!s) s = checkpoint_forms(c);
  if (!s) s = checkpoint_complete(c);
  if (!s) s = checkpoint_heads(c, o->heads, width);
  if (s) return s;
  c->hint.eps = k->eps;
  if (k->eps == 0 && c->is_hf) {
    c->hint.eps = 1e-12;
    checkpoint_note(c, "no config.json says the eps of the layer norms; 1e-12 was taken, which is "
                    "transformers' default (timm trains with 1e-6)");
  }
  if (k->std[0] > 0 && k->std[1] > 0 && k->std[2] > 0) {
    memcpy(c->hint.mean, k->mean, sizeof k->mean);
    memcpy(c->hint.std, k->std, sizeof k->std);
  }
  return checkpoint_assemble(c);
}

/* The first half: reads what is needed of the bytes. A file of our own needs no translation. */
PTH_FN bdpt_status checkpoint_begin(checkpoint_work *c, const void *bytes, size_t size,
                                    checkpoint_side config, checkpoint_side images,
                                    const checkpoint_options *options) {
  static const checkpoint_options none = {NULL, 0};
  const checkpoint_options *o = options ? options : &none;
  bdpt_status s;
  memset(c->report, 0, sizeof *c->report);
  c->file_bytes = size;
  s = checkpoint_open(c, bytes, size);
  if (s || c->is_pth || !bdpt_safetensors_get(&c->st, "boundarydpt")) {
    return s ? s : checkpoint_convert(c, config, images, o);
  }
  snprintf(c->report->dialect, sizeof c->report->dialect, "boundarydpt");
  if (o->key) s = checkpoint_choose(c, o->key);
  c->hint.heads = o->heads;
  if (!s) c->model = bdpt_model_parse(c->ctx, bytes, size, c->name, &c->hint);
  return c->ctx->status;
}

/* The second half, for which the bytes of the file may be gone already; frees `c`. */
PTH_FN bdpt_model *checkpoint_end(checkpoint_work *c, bdpt_status s) {
  bdpt_model *m = c->model;
  bdpt_safetensors_close(&c->st);
  pth_close(&c->pth);
  free(c->item);
  free(c->pick);
  free(c->room);
  if (!s && c->image) m = bdpt_model_parse(c->ctx, c->image, c->image_size, c->name, &c->hint);
  if (m && c->image && checkpoint_config_compare(c, &m->config) != BDPT_OK) {
    bdpt_model_free(m);
    m = NULL;
  }
  if (m && c->image) {
    snprintf(m->preprocessing, sizeof m->preprocessing, "%s", c->report->pictures);
  }
  bdpt_release(c->ctx, c->image, c->image_size);
  free(c);
  return m;
}

PTH_FN checkpoint_work *checkpoint_new(bdpt_context *ctx, const char *name,
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

/* A network from a file in memory. `config` and `images` are the texts of config.json and
 * preprocessor_config.json, {NULL, 0} when there are none; options may be NULL. NULL: see
 * ctx->message. */
PTH_FN bdpt_model *checkpoint_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                    const char *name, checkpoint_side config,
                                    checkpoint_side images, const checkpoint_options *options,
                                    checkpoint_report *report) {
  checkpoint_work *c = checkpoint_new(ctx, name, report);
  return c ? checkpoint_end(c, checkpoint_begin(c, bytes, size, config, images, options)) : NULL;
}

/* The text of `file` in the folder of `path`; {NULL, 0} if there is no such file. */
PTH_FN bdpt_status checkpoint_beside(const checkpoint_work *c, const char *file,
                                     unsigned char **text, size_t *size) {
  const char *slash = strrchr(c->name, '/');
  size_t folder = slash ? (size_t)(slash - c->name) + 1 : 0, n = strlen(file);
  char *name = (char *)checkpoint_alloc(c, folder + n + 1, 1);
  bdpt_status s = BDPT_OK;
  FILE *f;
  *text = NULL;
  *size = 0;
  if (!name) return BDPT_E_MEMORY;
  memcpy(name, c->name, folder);
  memcpy(name + folder, file, n);
  f = fopen(name, "rb");
  if (f) {
    fclose(f);
    s = bdpt_file_read(c->ctx, name, text, size);
  }
  free(name);
  return s;
}

/* A network from a file of any of the forms above. The file's bytes are given back before the
 * network's memory is taken. NULL: see ctx->message. */
PTH_FN bdpt_model *checkpoint_load(bdpt_context *ctx, const char *path,
                                   const checkpoint_options *options, checkpoint_report *report) {
  unsigned char *bytes = NULL, *text[2] = {NULL, NULL};
  size_t size = 0, length[2] = {0, 0};
  checkpoint_side side[2];
  checkpoint_work *c = checkpoint_new(ctx, path, report);
  bdpt_status s;
  int i;
  if (!c) return NULL;
  memset(report, 0, sizeof *report);
  s = bdpt_file_read(ctx, path, &bytes, &size);
  if (!s) s = checkpoint_beside(c, "config.json", &text[0], &length[0]);
  if (!s) s = checkpoint_beside(c, "preprocessor_config.json", &text[1], &length[1]);
  for (i = 0; i < 2; i++) {
    side[i].text = (const char *)text[i];
    side[i].size = length[i];
  }
  if (!s) s = checkpoint_begin(c, bytes, size, side[0], side[1], options);
  for (i = 0; i < 2; i++) bdpt_release(ctx, text[i], length[i] + 1);
  bdpt_release(ctx, bytes, size + 1);
  return checkpoint_end(c, s);
}

#endif /* CHECKPOINT_H */
