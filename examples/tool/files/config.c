/* config.c: what config.json says, and whether the file agrees */
#include "../../../boundarydpt.h"
#include "../json_read.h"
#include "checkpoint_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 2  CONFIG.JSON                                                                           >>config
 * =================================================================================================
 * Both tools call it so: transformers describes the architecture in it, timm names the architecture
 * and the image statistics (pretrained_cfg). Keys that are not in the table are other matters.
 */
/* Remembers what is wrong with a file. Reading goes on, for whether it is about this network at all
 * may stand further down. */
CLI_PRINTF(3, 4)
static void checkpoint_problem(checkpoint_work *c, bdpt_status status, const char *format, ...) {
  va_list args;
  if (c->config.wrong[0]) return;
  c->config.wrong_status = status;
  va_start(args, format);
  vsnprintf(c->config.wrong, sizeof c->config.wrong, format, args);
  va_end(args);
}

static void checkpoint_config_int(checkpoint_work *c, const char *file, const char *key, double v,
                                  int *to) {
  if (v >= 0 && v <= 1e6 && v == (double)(int)v) *to = (int)v;
  else
    checkpoint_problem(c, BDPT_E_FORMAT, "%s: '%s' is %g, no whole number from 0 to 1000000", file,
                       key, v);
}

/* One thing that the file says: "size.height" for {"size": {"height": 224}}; `i` counts the numbers
 * of an array. 0 after an error. */
typedef struct checkpoint_said {
  const char *file, *path;
  json_event e;
  double v;           /* a number, or 0 and 1 for false and true */
  char text[100];
  int i;
} checkpoint_said;

/* Reads a number; 1 if the key is known. */
static int checkpoint_say_number(checkpoint_work *c, const checkpoint_said *s) {
  checkpoint_config *k = &c->config;
  const struct { const char *path; int *to; } whole[] = {
    {"hidden_size", &k->width}, {"num_hidden_layers", &k->depth},
    {"num_attention_heads", &k->heads}, {"intermediate_size", &k->mlp}, {"image_size", k->image},
    {"patch_size", k->patch}, {"num_channels", &k->channels}, {"num_labels", &k->classes},
    {"num_classes", &k->classes}, {"model_args.num_heads", &k->heads},
    {"model_args.img_size", k->image}, {"model_args.patch_size", k->patch},
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
  int two;
  for (n = 0; n < sizeof triple / sizeof *triple; n++) {
    int i = s->i < 0 ? 0 : s->i; /* one number is all three */
    if (strcmp(s->path, triple[n].path) != 0 || i > 2) continue;
    if (!(s->v >= 0 && s->v <= 1e3))
      checkpoint_problem(c, BDPT_E_FORMAT, "%s: '%s' holds %g", s->file, s->path, s->v);
    for (; i < (s->i < 0 ? 3 : s->i + 1); i++) triple[n].to[i] = s->v;
    return 1;
  }
  if (strcmp(s->path, "pretrained_cfg.input_size") == 0 && s->i >= 0 && s->i < 3) {
    checkpoint_config_int(c, s->file, s->path, s->v, &k->input[s->i]);
    return 1;
  }
  for (n = 0; n < sizeof whole / sizeof *whole; n++) {
    if (strcmp(s->path, whole[n].path) != 0) continue;
    two = whole[n].to == k->image || whole[n].to == k->patch; /* 64 is [64, 64] */
    if (s->i > two && (two || s->v != (double)*whole[n].to)) /* elsewhere too [3, 3] is 3 */
      checkpoint_problem(c, BDPT_E_FORMAT, "%s: '%s' has more values than it can have", s->file,
                         s->path);
    checkpoint_config_int(c, s->file, s->path, s->v, whole[n].to + (s->i > 0 && two));
    if (two && s->i < 1) whole[n].to[1] = whole[n].to[0];
    return 1;
  }
  for (n = 0; n < sizeof real / sizeof *real; n++) {
    if (strcmp(s->path, real[n].path) != 0) continue;
    *real[n].to = s->v;
    if (!(s->v > 0 && s->v < real[n].most))
      checkpoint_problem(c, BDPT_E_FORMAT, "%s: '%s' is %g, not between 0 and %g", s->file, s->path,
                         s->v, real[n].most);
    return 1;
  }
  return 0;
}

/* Reads a switch or a text; 1 if it is known. */
static int checkpoint_say_word(checkpoint_work *c, const checkpoint_said *s) {
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
    {"preprocessing", k->preprocessing, sizeof k->preprocessing},
    {"pretrained_cfg.interpolation", k->interpolation, sizeof k->interpolation},
    {"pretrained_cfg.crop_mode", k->crop_mode, sizeof k->crop_mode},
    {"image_processor_type", k->processor, sizeof k->processor},
    {"feature_extractor_type", k->processor, sizeof k->processor}};
  size_t n;
  for (n = 0; n < sizeof sw / sizeof *sw && s->e != JSON_STRING; n++) {
    if (strcmp(s->path, sw[n].path) != 0) continue;
    *sw[n].to = s->v != 0;
    return 1;
  }
  for (n = 0; n < sizeof text / sizeof *text && s->e == JSON_STRING; n++) {
    if (strcmp(s->path, text[n].path) != 0) continue;
    snprintf(text[n].to, text[n].room, "%s", s->text);
    return 1;
  }
  return 0;
}

/* Returns 1 for a key that changes nothing that is computed here. The tensors tell the network's
 * sizes and forms; settings of training, names and notes of other programs are of no use
 * afterwards. A key that ends with a point stands for everything below it. */
static int checkpoint_irrelevant(const char *path) {
  static const char *const key[] = {
      /* transformers: config.json */
      "architectures", "attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout",
      "dropout", "drop_path_rate", "initializer_range", "initializer_factor", "dtype",
      "torch_dtype", "encoder_stride", "id2label.", "label2id.", "transformers_version",
      "_name_or_path", "pooler_act", "pooler_output_size", "problem_type", "return_dict",
      "finetuning_task", "out_features", "out_indices", "stage_names", "apply_layernorm",
      "reshape_hidden_states", "layerscale_value", "mlp_ratio", "use_mask_token",
      "num_register_tokens", "projection_dim", "vision_use_head", "output_attentions",
      "output_hidden_states", "tie_word_embeddings", "_attn_implementation_autoset",
      "gradient_checkpointing", "text_config.", "logit_scale_init_value", "use_cache",
      /* transformers: preprocessor_config.json */
      "do_convert_rgb", "default_to_square", "data_format", "input_data_format", "device",
      "return_tensors", "processor_class", "pad_size", "disable_grouping", "size_divisor",
      /* ours, of a network from which nothing was removed */
      "weights_file", "head_dim", "distilled", "attn_form", "extra_gelu", "parent", "certificate",
      "boundarydpt",
      /* timm */
      "num_features", "label_names", "label_descriptions", "label_descriptions.",
      "pretrained_cfg.tag", "pretrained_cfg.custom_load", "pretrained_cfg.fixed_input_size",
      "pretrained_cfg.min_input_size", "pretrained_cfg.num_classes", "pretrained_cfg.pool_size",
      "pretrained_cfg.first_conv", "pretrained_cfg.classifier", "pretrained_cfg.license",
      "pretrained_cfg.url", "pretrained_cfg.file", "pretrained_cfg.source", "pretrained_cfg.notes",
      "pretrained_cfg.hf_hub_id", "pretrained_cfg.hf_hub_filename", "pretrained_cfg.origin_url",
      "pretrained_cfg.paper_ids", "pretrained_cfg.paper_name", "pretrained_cfg.architecture",
      "pretrained_cfg.label_offset", "pretrained_cfg.label_names", "pretrained_cfg.state_dict.",
      "pretrained_cfg.label_descriptions", "pretrained_cfg.test_input_size",
      "pretrained_cfg.test_crop_pct", "model_args.in_chans", "model_args.mlp_ratio",
      "model_args.class_token", "model_args.no_embed_class", "model_args.reg_tokens",
      "model_args.pre_norm", "model_args.fc_norm", "model_args.init_values", "model_args.proj_bias",
      "model_args.qk_norm", "model_args.drop_rate", "model_args.pos_drop_rate",
      "model_args.patch_drop_rate", "model_args.proj_drop_rate", "model_args.attn_drop_rate",
      "model_args.drop_path_rate", "model_args.weight_init", "model_args.fix_init",
      "model_args.final_norm", "model_args.dynamic_img_size", "model_args.dynamic_img_pad",
      "model_args.representation_size"};
  size_t n, length;
  for (n = 0; n < sizeof key / sizeof *key; n++) {
    length = strlen(key[n]);
    if (key[n][length - 1] == '.' ? strncmp(path, key[n], length) == 0 : strcmp(path, key[n]) == 0)
      return 1;
  }
  return 0;
}

/* Returns what a key asks for that cannot be computed here, or NULL. Each such key is refused
 * unless it has the value beside it; "" is false, 0 or an empty text. */
static const char *checkpoint_refused(const checkpoint_said *s) {
  static const struct { const char *path, *fine; } key[] = {
    {"do_pad", ""}, {"do_flip_channel_order", ""}, {"do_thumbnail", ""},
    {"do_align_long_axis", ""}, {"rescale_offset", ""}, {"crop_pct", ""}, {"patch_norm", ""},
    {"use_mean_pooling", ""}, {"use_relative_position_bias", ""}, {"size.longest_edge", ""},
    {"size.max_height", ""}, {"size.max_width", ""},
    {"model_args.block_fn", ""}, {"model_args.mlp_layer", ""}, {"model_args.attn_layer", ""},
    {"model_args.embed_layer", ""}, {"model_args.embed_norm_layer", ""},
    {"model_args.norm_layer", "layernorm"}, {"model_args.pos_embed", "learn"},
    {"model_args.pool_include_prefix", ""},
    {"model_args.scale_attn_norm", ""}, {"model_args.scale_mlp_norm", ""},
    {"model_args.patch_drop_dim", ""}};
  const char *end = strrchr(s->path, '_');
  size_t n;
  if (end && strcmp(end, "_list") == 0 && s->i >= 0) return s->path; /* layers that we removed */
  for (n = 0; n < sizeof key / sizeof *key; n++) {
    int empty = s->e == JSON_STRING ? s->text[0] == 0 : s->v == 0;
    if (strcmp(s->path, key[n].path) != 0) continue;
    return empty || (s->text[0] && strcmp(s->text, key[n].fine) == 0) ? NULL : key[n].path;
  }
  return NULL;
}

/* Returns 1 for a key that is understood but has a value of another kind: skipping it would be a
 * guess. */
static int checkpoint_expected(const char *path) {
  static const char *const key[] = {
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size",
    "patch_size", "num_channels", "layer_norm_eps", "qkv_bias", "hidden_act", "size", "crop_size",
    "resample", "rescale_factor", "image_mean", "image_std", "do_resize", "do_center_crop",
    "do_rescale", "do_normalize", "size.height", "size.width", "size.shortest_edge",
    "crop_size.height", "crop_size.width", "global_pool", "model_args.global_pool",
    "model_args.act_layer", "model_args.qkv_bias", "model_args.num_heads", "model_args.img_size",
    "model_args.patch_size", "pretrained_cfg.mean", "pretrained_cfg.std",
    "pretrained_cfg.input_size", "pretrained_cfg.crop_pct", "pretrained_cfg.crop_mode",
    "pretrained_cfg.interpolation"};
  size_t n;
  for (n = 0; n < sizeof key / sizeof *key; n++)
    if (strcmp(path, key[n]) == 0) return 1;
  return 0;
}

static void checkpoint_say(checkpoint_work *c, const checkpoint_said *s) {
  const char *refused = checkpoint_refused(s);
  int known;
  if (s->e == JSON_NULL) return;
  if (refused)
    checkpoint_problem(c, BDPT_E_ARGUMENT, "%s: '%s' cannot be computed here", s->file, refused);
  known = s->e == JSON_NUMBER ? checkpoint_say_number(c, s) : checkpoint_say_word(c, s);
  if (known || refused || checkpoint_irrelevant(s->path) || s->i > 0) return;
  if (checkpoint_expected(s->path))
    checkpoint_problem(c, BDPT_E_FORMAT, "%s: the value of '%s' is not understood", s->file,
                       s->path);
  else checkpoint_note(c, "%s: '%s' is not known here and was left aside", s->file, s->path);
}

/* Takes names of classes, from either tool. */
static void checkpoint_label(checkpoint_work *c, const checkpoint_said *s, const char *key,
                             const json_reader *j) {
  int fine = 1;
  if (strncmp(s->path, "id2label.", 9) == 0)
    fine = labels_put(&c->labels, j, (size_t)strtoul(key, NULL, 10));
  else if (strcmp(s->path, "label_names") == 0 ||
           strcmp(s->path, "pretrained_cfg.label_names") == 0)
    fine = s->i < 0 || labels_put(&c->labels, j, (size_t)s->i);
  else if (strncmp(s->path, "label_descriptions.", 19) == 0)
    fine = labels_describe(&c->labels, key, j);
  if (!fine) checkpoint_problem(c, BDPT_E_MEMORY, "%s: out of memory", s->file);
}

/* Reads one of the two files: every value with the path of keys that leads to it. */
static bdpt_status checkpoint_config_read(checkpoint_work *c, const char *file,
                                          checkpoint_side side) {
  char key[2][40] = {"", ""}, path[84];
  int count[4] = {0, 0, 0, 0}; /* of the array that is open at this depth */
  json_reader j;
  json_event e;
  checkpoint_said said;
  json_init(&j, side.text, side.size);
  e = json_next(&j);
  if (e != JSON_OBJECT && e != JSON_ERROR) {
    return checkpoint_fail(c, BDPT_E_FORMAT, "%s: no JSON object", file);
  }
  while (e != JSON_END && e != JSON_ERROR) {
    int depth = j.depth, array = depth > 0 && depth < 5 && j.stack[depth - 1] == '[';
    int keys = array ? depth - 1 : depth; /* how many keys lead here */
    if (e == JSON_ARRAY && depth <= 4) count[depth - 1] = 0;
    if (e == JSON_KEY && depth <= 2) {
      json_copy(&j, key[depth - 1], sizeof key[0]);
      c->config.labels += depth == 2 && strcmp(key[0], "id2label") == 0;
    }
    if (e >= JSON_STRING && keys >= 1 && keys <= 2 && (keys == 1 || j.stack[1] == '{')) {
      snprintf(path, sizeof path, keys == 1 ? "%s" : "%s.%s", key[0], key[1]);
      if (keys == 2 && strcmp(key[0], "vision_config") == 0) /* the half that is of use here */
        snprintf(path, sizeof path, "%s", key[1]);
      memset(&said, 0, sizeof said);
      said.file = file; said.path = path; said.e = e;
      said.i = array ? count[depth - 1]++ : -1;
      if (e == JSON_NUMBER) said.v = json_number(&j);
      else said.v = e == JSON_TRUE;
      if (e == JSON_STRING) json_copy(&j, said.text, sizeof said.text);
      checkpoint_say(c, &said);
      if (e == JSON_STRING) checkpoint_label(c, &said, key[1], &j);
    }
    e = json_next(&j);
  }
  if (e == JSON_END) return BDPT_OK;
  return checkpoint_fail(c, BDPT_E_FORMAT, "%s: not valid JSON: %s, at byte %zu", file, j.error,
                         j.at);
}

/* Clears the settings, before anything was said. */
static void checkpoint_config_clear(checkpoint_config *k) {
  memset(k, 0, sizeof *k);
  k->qkv_bias = k->filter = k->do_resize = k->do_crop = k->do_rescale = k->do_normalize = -1;
}

/* Takes the activation by its name in either tool, or by timm's name of the architecture. */
static bdpt_status checkpoint_act(checkpoint_work *c) {
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
    c->net.act = (bdpt_act)known[n].act;
    return BDPT_OK;
  }
  if (!act[0]) return BDPT_OK;
  return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: the activation '%s' cannot be computed, "
                         "only gelu, its tanh form, quick_gelu and relu", act);
}

/* Writes "224", or "64x96", height first. */
static void checkpoint_size(char out[32], int high, int wide) {
  snprintf(out, 32, "%d", high);
  if (wide != high) snprintf(out, 32, "%dx%d", high, wide);
}

/* Turns the picture settings (>>pictures) into a text for model->preprocessing. The two switches
 * and the factor of transformers go into mean and deviation: (f x - m) / s of a byte x is what the
 * library makes of it with m / (255 f) and s / (255 f). */
static bdpt_status checkpoint_pictures(checkpoint_work *c) {
  static const char *const filter[6] = {"nearest", "lanczos", "bilinear", "bicubic", "box",
                                        "hamming"};
  checkpoint_config *k = &c->config;
  const char *name = k->interpolation;
  double f = k->rescale > 0 ? 255 * k->rescale : 1;
  char size[32], cut[32];
  int i, squash = strcmp(k->crop_mode, "squash") == 0;
  if (k->do_rescale == 0) f = 255;
  for (i = 0; i < 3 && (k->std[i] > 0 || k->do_normalize == 0); i++) {
    k->mean[i] = k->do_normalize == 0 ? 0 : k->mean[i] / f;
    k->std[i] = (k->do_normalize == 0 ? 1 : k->std[i]) / f;
  }
  snprintf(c->report->pictures, sizeof c->report->pictures, "%s", k->preprocessing);
  if (k->resize_w == 0) k->resize_w = k->resize_h;
  if (k->crop_w == 0) k->crop_w = k->crop_h;
  if (k->crop_mode[0] && !squash && strcmp(k->crop_mode, "center") != 0) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: crop_mode '%s' cannot be computed, "
                           "only 'center' and 'squash'", k->crop_mode);
  }
  if (k->filter > 5) {
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "preprocessor_config.json: resample %d is no filter "
                           "of Pillow's", k->filter);
  }
  if (k->input[1] && k->input[2] && (k->crop_pct > 0 || name[0])) { /* timm */
    double part = k->crop_pct > 0 ? k->crop_pct : 0.875;
    if (!name[0]) name = "bicubic";
    for (i = 0; i < 6 && strcmp(filter[i], name) != 0; i++) { }
    if (i == 6) {
      return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: interpolation '%s' cannot be "
                             "computed, only Pillow's filters", name);
    }
    checkpoint_size(size, (int)floor(k->input[1] / part), (int)floor(k->input[2] / part));
    checkpoint_size(cut, k->input[1], k->input[2]);
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: %s %.12s %s crop %.12s",
             squash ? "squash" : "shortest", size, name, cut);
    return BDPT_OK;
  }
  if (k->filter < 0 && !k->resize_h && !k->shortest && k->do_resize < 0) return BDPT_OK;
  if (k->do_resize == 0) {
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: as is");
  } else {
    int whole = k->resize_h > 0 || strstr(k->processor, "ViT") || strstr(k->processor, "DeiT");
    int short_side = k->shortest ? k->shortest : 224;
    int crops = k->crop_h && (k->do_crop == 1 || (k->do_crop < 0 && !strstr(k->processor, "ViTI")));
    if (k->resize_h) checkpoint_size(size, k->resize_h, k->resize_w);
    else checkpoint_size(size, short_side, short_side);
    snprintf(cut, sizeof cut, "%s", size);
    if (crops) checkpoint_size(cut, k->crop_h, k->crop_w);
    else if (!whole) checkpoint_size(cut, k->image[0], k->image[1]);
    snprintf(c->report->pictures, sizeof c->report->pictures, "pictures: %s %.12s %s crop %.12s",
             whole ? "squash" : "shortest", size, filter[k->filter < 0 ? 2 : k->filter], cut);
  }
  return BDPT_OK;
}

bdpt_status checkpoint_config_compare(checkpoint_work *c, const bdpt_config *m) {
  const checkpoint_config *k = &c->config;
  const struct { const char *key; int says, is; } row[] = {
    {"hidden_size", k->width, m->width}, {"num_hidden_layers", k->depth, m->depth},
    {"num_attention_heads", k->heads, m->heads}, {"intermediate_size", k->mlp, m->block[0].mlp},
    {"image_size", k->image[0], m->image}, {"image_size (width)", k->image[1], bdpt_image_width(m)},
    {"patch_size", k->patch[0], m->patch},
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

/* Tells whether it describes the network at hand, for a file that need not have come with it. */
static int checkpoint_config_fits(const checkpoint_work *c, size_t width) {
  static const char *const family[] = {"deit", "vit_", "flexivit_", "test_vit"};
  const checkpoint_config *k = &c->config;
  size_t i;
  if (k->width) return (size_t)k->width == width && (k->depth == 0 || k->depth == c->depth);
  for (i = 0; i < sizeof family / sizeof *family; i++)
    if (strncmp(k->architecture, family[i], strlen(family[i])) == 0) return 1;
  return 0;
}

/* Checks the family by its name: tensors of another one may have the same names and another
 * meaning. */
static bdpt_status checkpoint_family(checkpoint_work *c) {
  static const char *const known[] = {"vit", "deit", "dinov2", "dinov2_with_registers", "clip",
                                      "clip_vision_model", "siglip", "siglip_vision_model",
                                      "vit_msn", "boundarydpt"};
  const char *type = c->config.model_type, *name = c->config.architecture;
  size_t i;
  for (i = 0; i < sizeof known / sizeof *known && strcmp(type, known[i]) != 0; i++) { }
  if (type[0] && i == sizeof known / sizeof *known)
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: model_type '%s' cannot be computed, "
                           "only vit, deit, dinov2, and the vision parts of clip and siglip", type);
  if (strstr(name, "_rpn_"))
    return checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: architecture '%s': its norms stand "
                           "behind the layers, which cannot be computed", name);
  return BDPT_OK;
}

/* Takes what else timm's name of an architecture says: heads that are not of 64 features, eps. */
static void checkpoint_architecture(checkpoint_work *c, size_t width) {
  static const struct { const char *begins; int heads; } known[] = {
    {"vit_huge", 16}, {"vit_giant", 16}, {"vit_gigantic", 16}, {"vit_so400m", 16},
    {"vit_base_patch16_gap", 16}, {"test_vit3", 3}, {"test_vit4", 3}, {"test_vit", 2}};
  checkpoint_config *k = &c->config;
  size_t i;
  if (!k->architecture[0]) return;
  for (i = 0; i < sizeof known / sizeof *known && !k->heads; i++)
    if (strncmp(k->architecture, known[i].begins, strlen(known[i].begins)) == 0)
      k->heads = known[i].heads;
  if (!k->heads && width % 64 == 0) k->heads = (int)(width / 64);
  if (k->eps == 0) k->eps = strstr(k->architecture, "_clip_") ? 1e-5 : 1e-6;
}

bdpt_status checkpoint_config_use(checkpoint_work *c, const checkpoint_texts *beside,
                                  size_t width) {
  const checkpoint_side config = beside->config, images = beside->images;
  checkpoint_config *k = &c->config;
  bdpt_status s = BDPT_OK;
  char why[sizeof c->ctx->message] = "it describes another network";
  int ours;
  checkpoint_config_clear(k);
  if (config.text) s = checkpoint_config_read(c, "config.json", config);
  if (!s && images.text && (c->is_hf || config.text))
    s = checkpoint_config_read(c, "preprocessor_config.json", images);
  ours = c->is_hf || (!s && config.text && checkpoint_config_fits(c, width));
  if (!s && ours && k->wrong[0]) s = checkpoint_fail(c, k->wrong_status, "%s", k->wrong);
  if (!s && ours) s = checkpoint_family(c);
  if (!s && c->is_hf && k->swiglu == 1)
    s = checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: use_swiglu_ffn: SwiGLU cannot be "
                        "computed");
  if (!s && c->is_hf && k->eps == 0) { /* transformers' own defaults */
    if (strncmp(k->model_type, "clip", 4) == 0) k->eps = 1e-5;
    if (strncmp(k->model_type, "siglip", 6) == 0) k->eps = 1e-6;
    if (strncmp(k->model_type, "dinov2", 6) == 0) k->eps = 1e-6;
    if (strncmp(k->model_type, "vit", 3) == 0 || strcmp(k->model_type, "deit") == 0) k->eps = 1e-12;
  }
  if (!s && ours) s = checkpoint_act(c);
  if (!s && ours && k->patch[0] != k->patch[1])
    s = checkpoint_fail(c, BDPT_E_ARGUMENT, "config.json: patches of %d x %d pixels cannot be "
                        "computed, only square ones", k->patch[0], k->patch[1]);
  if (!s && ours) s = checkpoint_pictures(c);
  if (!s && ours && !c->is_hf) checkpoint_architecture(c, width);
  if (ours) return s;
  if (!s && !config.text && images.text)
    checkpoint_note(c, "the preprocessor_config.json beside it was not used: no config.json says "
                    "that it belongs to this network");
  if (!s && !config.text) return s;
  if (s) snprintf(why, sizeof why, "%s", c->ctx->message);
  if (s) bdpt_clear_error(c->ctx);
  checkpoint_config_clear(k);
  labels_free(&c->labels);
  checkpoint_note(c, "the config.json beside it was not used: %s", why);
  return BDPT_OK;
}
