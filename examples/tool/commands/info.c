/* =================================================================================================
 * info.c: a network drawn as a column of layers
 * =================================================================================================
 * One line for each block, from the input down to the output; on it the two halves of the block as
 * bars. A bar is as long as its half is work (multiply-accumulates, products of attention counted),
 * so what was removed, fused or fitted can be seen before it is read:
 *
 *     3  [===== 3 x 64 =====]   [======= 768, GELU =======]
 *     4   . removed: x + LN1(x) [======= 768, GELU =======]
 *     5  [===== 3 x 64 =====]   [==] fused
 */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../files/checkpoint.h"
#include "../input.h"
#include "commands.h"
#include "common.h"
#include "info.h"
#include "../words.h"

#include <stdio.h>
#include <string.h>

enum { INFO_BAR = 26 };

double info_macs(const bdpt_config *c, int l, int mlp) {
  const bdpt_block *b = &c->block[l];
  double tokens = bdpt_token_count(c), width = c->width;
  double inner = (double)b->heads * b->head_dim;
  if (mlp) return tokens * width * (b->mlp_state <= BDPT_MLP_LINEAR ? 2.0 * b->mlp : width);
  if (b->attention == BDPT_ATTENTION_FITTED) return tokens * width * width;
  return b->attention == BDPT_ATTENTION_KEPT
             ? 4 * tokens * width * inner + 2 * tokens * tokens * inner
             : 0;
}

static void info_label(const bdpt_config *c, int l, int mlp, char *out, size_t room) {
  static const char *const left[] = {"x + LN1(x)", "x", "2x"};
  static const char *const act[] = {"GELU", "tanh GELU", "QuickGELU", "ReLU"};
  const bdpt_block *b = &c->block[l];
  if (mlp && b->mlp_state == BDPT_MLP_FUSED) snprintf(out, room, "fused");
  else if (mlp && b->mlp_state == BDPT_MLP_FITTED) snprintf(out, room, "fitted");
  else if (mlp)
    snprintf(out, room, "%d, %s%s", b->mlp, b->mlp_state == BDPT_MLP_KEPT ? "" : "no ",
             act[c->act]);
  else if (b->attention == BDPT_ATTENTION_FITTED) snprintf(out, room, "fitted");
  else if (b->attention == BDPT_ATTENTION_REMOVED)
    snprintf(out, room, "removed: %s", left[c->attn_form]);
  else snprintf(out, room, "%d x %d", b->heads, b->head_dim);
}

void info_bar(int width, const char *label, char *out, size_t room) {
  int length = (int)strlen(label), before = (width - 4 - length) / 2, i;
  size_t n = 0;
  if (width == 0) {
    snprintf(out, room, " . %s", label);
    return;
  }
  if (before < 1) {
    snprintf(out, room, "[%.*s] %s", width - 2, "==========================", label);
    return;
  }
  out[n++] = '[';
  for (i = 0; i < width - 2; i++) {
    int at = i - before;
    char c = '=';
    if (at == 0 || at == length + 1) c = ' ';
    if (at > 0 && at <= length) c = label[at - 1];
    if (n + 2 < room) out[n++] = c;
  }
  out[n++] = ']';
  out[n] = 0;
}

static void info_draw(const bdpt_config *c, FILE *f) {
  static const char *const head[2][4] = { /* by what the head reads */
    {"norm, linear (class token)", "mean of the patches, norm, linear",
     "norm, mean of the patches, linear", "norm, linear (class token and mean of the patches)"},
    {"norm (class token)", "mean of the patches, norm", "norm, mean of the patches",
     "norm (class token and mean of the patches)"}};
  double most = 1;
  int l, mlp;
  char text[2][100], label[60];
  for (l = 0; l < 2 * c->depth; l++)
    if (info_macs(c, l / 2, l % 2) > most) most = info_macs(c, l / 2, l % 2);
  fprintf(f, "\n         %d x %d px, %d %s\n", c->image, bdpt_image_width(c), c->channels,
          words_of(c->channels, "channel", "channels"));
  fprintf(f, "         patches of %d: %d %s of width %d\n\n", c->patch, bdpt_token_count(c),
          words_of(bdpt_token_count(c), "token", "tokens"), c->width);
  fprintf(f, "  block  %-*s  %-*s  M MACs\n", INFO_BAR, "attention: heads x size", INFO_BAR,
          "MLP: hidden width");
  for (l = 0; l < c->depth; l++) {
    for (mlp = 0; mlp < 2; mlp++) {
      double macs = info_macs(c, l, mlp);
      int width = macs > 0 ? (int)((double)INFO_BAR * macs / most + 0.5) : 0;
      info_label(c, l, mlp, label, sizeof label);
      info_bar(macs > 0 && width < 3 ? 3 : width, label, text[mlp], sizeof text[mlp]);
    }
    fprintf(f, "  %5d  %-*s  %-*s  %6.4g\n", l, INFO_BAR, text[0], INFO_BAR, text[1],
            1e-6 * (info_macs(c, l, 0) + info_macs(c, l, 1)));
  }
  fprintf(f, "\n         %s\n         %d %s\n",
          c->distilled ? "norm, two linears (class and distillation token), their mean"
                       : head[c->headless][c->pool], c->classes,
          c->headless ? words_of(c->classes, "feature", "features")
                      : words_of(c->classes, "class", "classes"));
}

/* Writes "5.72 M", "86.6 M", "1.26 G". */
static void info_short(double v, char out[32]) {
  static const struct { double size; const char *name; } unit[] = {
    {1e9, " G"}, {1e6, " M"}, {1e3, " k"}, {1, ""}};
  int i = 0;
  while (i < 3 && v < unit[i].size) i++;
  snprintf(out, 32, "%.3g%s", v / unit[i].size, unit[i].name);
}

/* Writes "2 attention layers (0, 3)". */
static void info_list(const bdpt_config *c, int type, FILE *f) {
  int l, n = bdpt_removed(c, (bdpt_type)type), told = 0;
  fprintf(f, "%d %s", n, type == BDPT_ATTENTION
                             ? words_of(n, "attention layer", "attention layers")
                             : words_of(n, "activation", "activations"));
  for (l = 0; l < c->depth; l++) {
    int gone = type == BDPT_ATTENTION ? c->block[l].attention != BDPT_ATTENTION_KEPT
                                      : c->block[l].mlp_state != BDPT_MLP_KEPT;
    if (gone) fprintf(f, "%s%d", told++ ? ", " : " (", l);
  }
  if (told) fprintf(f, ")");
}

static void info_print(const bdpt_model *m, const char *path, const bdpt_cost_report *cost,
                       const char *hash, const char *dialect, FILE *f) {
  const bdpt_config *c = &m->config;
  char params[32], macs[32], fewer[32];
  const int piped = strcmp(path, "-") == 0;
  double size = piped ? 0 : cli_file_size(path);
  if (size < 0) {
    cli_fail(m->ctx, BDPT_E_IO, "%s: its size cannot be asked", path);
    return;
  }
  info_short((double)cost->params, params);
  info_short(cost->macs, macs);
  info_short(cost->macs_no_matmul, fewer);
  if (piped) fprintf(f, "standard input  (%s)", dialect);
  else fprintf(f, "%s  (%.4g MB, %s)", path, 1e-6 * size, dialect);
  fprintf(f, "\n\n  network      %d %s of width %d, %d %s%s\n", c->depth,
               words_of(c->depth, "block", "blocks"), c->width, c->classes,
               words_of(c->classes, "class", "classes"), c->distilled ? ", distilled" : "");
  fprintf(f, "  parameters   %s  (%zu)\n", params, cost->params);
  fprintf(f, "  MACs         %s per image; %s without Q K^T and A V, as some papers count\n", macs,
          fewer);
  if (bdpt_removed(c, BDPT_ATTENTION) + bdpt_removed(c, BDPT_ACTIVATION)) {
    fprintf(f, "  removed      ");
    info_list(c, BDPT_ATTENTION, f);
    fprintf(f, ", ");
    info_list(c, BDPT_ACTIVATION, f);
    fprintf(f, "\n");
  } else {
    fprintf(f, "  removed      nothing\n");
  }
  fprintf(f, "  weights      %s\n", hash);
  if (m->parent[0]) fprintf(f, "  parent       %s, the weights it was pruned from\n", m->parent);
  if (m->certificate[0]) fprintf(f, "  certificate  %s\n", m->certificate);
  if (m->preprocessing[0]) fprintf(f, "  images       %s\n", m->preprocessing);
  info_draw(c, f);
}

/* -------------------------------------------------------------------------------------------------
 * info
 * ---------------------------------------------------------------------------------------------- */

/* Writes "PyTorch zip, model, names of timm". */
static void describe_file(const checkpoint_report *r, char text[256]) {
  int top = r->network[0] == 0 || strcmp(r->network, ".") == 0;
  int own = strcmp(r->dialect, "boundarydpt") == 0;
  snprintf(text, 256, "%s, %s%snames of %s", r->form, top ? "" : r->network, top ? "" : ", ",
           own ? "timm, with boundarydpt's metadata" : r->dialect);
}

static bdpt_status print_info_json(const bdpt_model *m, const char *path,
                                   const checkpoint_report *r, const bdpt_cost_report *cost,
                                   const char *hash) {
  const bdpt_config *c = &m->config;
  int list[3][BDPT_MAX_DEPTH], n[3] = {0, 0, 0}, l;
  cli_json j = {NULL, 0, 0, 0, 0};
  for (l = 0; l < c->depth; l++) {
    if (c->block[l].attention != BDPT_ATTENTION_KEPT) list[0][n[0]++] = l;
    if (c->block[l].mlp_state != BDPT_MLP_KEPT) list[1][n[1]++] = l;
    if (c->block[l].mlp_state >= BDPT_MLP_FUSED) list[2][n[2]++] = l;
  }
  cli_json_open(&j, "info");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "file", path);
  cli_json_text(&j, "form", r->form);
  cli_json_text(&j, "dialect", r->dialect);
  cli_json_real(&j, "image", c->image);
  cli_json_real(&j, "image_width", bdpt_image_width(c));
  cli_json_real(&j, "patch", c->patch);
  cli_json_real(&j, "width", c->width);
  cli_json_real(&j, "depth", c->depth);
  cli_json_real(&j, "heads", c->heads);
  cli_json_real(&j, "classes", c->classes);
  cli_json_real(&j, "distilled", c->distilled);
  cli_json_real(&j, "params", (double)cost->params);
  cli_json_real(&j, "macs", cost->macs);
  cli_json_real(&j, "macs_no_matmul", cost->macs_no_matmul);
  cli_json_ints(&j, "attention_removed", list[0], n[0]);
  cli_json_ints(&j, "activation_removed", list[1], n[1]);
  cli_json_ints(&j, "activation_fused", list[2], n[2]);
  input_guessed(&j, r);
  cli_json_text(&j, "weights", hash);
  cli_json_text(&j, "parent", m->parent);
  cli_json_text(&j, "certificate", m->certificate);
  cli_json_close(&j);
  return cli_json_print(&j, m->ctx);
}

int command_info(int argc, char **argv) {
  static const cli_command c = {"info", "info MODEL [options]",
    "Prints what a checkpoint holds: parameters, multiply-accumulates in both conventions, parent\n"
    "and certificate, and the blocks drawn as bars, each as long as its half of a block is work.\n"
    "MODEL is a file, a folder with model.safetensors or its index, or - for standard input.\n\n"
    "A network from elsewhere (timm, DeiT, transformers; safetensors or .pth) is read by every\n"
    "command with the settings beside it, config.json and preprocessor_config.json. What nothing\n"
    "tells (heads, eps, mean and deviation) is told on stderr and with --json as \"guessed\". Not\n"
    "computed, and refused by name: pooling other than token and avg (timm's map); activations\n"
    "other than gelu, its tanh form, quick_gelu and relu; SwiGLU; norms behind the layers or of\n"
    "another kind (model_args block_fn, norm_layer and the like); relative positions; patches\n"
    "that are not square; crop_mode other than center and squash; filters other than Pillow's;\n"
    "do_pad, do_flip_channel_order, do_thumbnail, do_align_long_axis, rescale_offset and\n"
    "longest_edge; other families (model_type). A key that is not known here is told.",
    "info m.safetensors\n"
    "info deit_base.pth --heads 12 --json",
    NULL, 1, 1};
  cli_common common;
  bdpt_context ctx;
  bdpt_cost_report cost;
  bdpt_model *m;
  const char *path;
  checkpoint_report from;
  char hash[17], file[256];
  int n, merge = 0, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_MERGE(&merge),
    CLI_ELSEWHERE,
    CLI_EVERYWHERE,
    CLI_THREADS(&common),
    CLI_JSON(&common)
  };
  command_defaults(&common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = command_check_merge(&c, merge);
  if (status == CLI_GO_ON) status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  memset(&from, 0, sizeof from);
  m = input_model_report(&ctx, path, NULL, &from);
  describe_file(&from, file);
  if (m && bdpt_merging_cost(&ctx, &m->config, merge, &cost) == BDPT_OK) {
    bdpt_model_hash(m, hash);
    if (common.json) (void)print_info_json(m, path, &from, &cost, hash);
    else info_print(m, path, &cost, hash, file, stdout);
  }
  bdpt_model_free(m);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}
