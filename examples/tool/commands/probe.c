/* probe.c: `boundarydpt probe` */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/progress.h"
#include "../input.h"
#include "commands.h"
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * probe
 * ---------------------------------------------------------------------------------------------- */

typedef struct probe_options {
  cli_common common;
  input_source from;
  const char *what;
  size_t steps, window, images, held;
  bdpt_recipe recipe;
  int image[2];
} probe_options;

static bdpt_status print_disparity(bdpt_context *ctx, const bdpt_disparity_row *row,
                                   size_t n, int depth, int json) {
  bdpt_status s = BDPT_OK;
  size_t i;
  int l;
  if (!json) printf("mean |dL/dm| over steps\n   step  block    attention   activation\n");
  for (i = 0; i < n && s == BDPT_OK; i++) {
    cli_json j = {NULL, 0, 0, 0, 0};
    for (l = 0; l < depth && !json; l++)
      printf("%7zu  %5d  %11.4e  %11.4e\n", row[i].step, l, row[i].gradient[0][l],
             row[i].gradient[1][l]);
    if (!json) continue;
    cli_json_open(&j, "disparity");
    cli_json_real(&j, "step", (double)row[i].step);
    cli_json_real(&j, "loss", row[i].loss);
    cli_json_reals(&j, "attention", row[i].gradient[0], depth);
    cli_json_reals(&j, "activation", row[i].gradient[1], depth);
    cli_json_close(&j);
    s = cli_json_print(&j, ctx);
  }
  return s;
}

static bdpt_status probe_disparity(bdpt_context *ctx, const bdpt_model *m, const input *in,
                                   const probe_options *o, cli_progress *progress) {
  size_t rows = o->window ? o->steps / o->window : 0, n = 0;
  bdpt_recipe p = o->recipe;
  bdpt_hooks hooks = cli_hooks(progress, NULL);
  bdpt_disparity_row *row = (bdpt_disparity_row *)calloc(rows + 1, sizeof *row);
  bdpt_status s;
  if (!row) return BDPT_E_MEMORY;
  p.epochs = 1;
  p.epoch_images = rows * o->window * (size_t)p.batch;
  s = bdpt_disparity(m, &(bdpt_run){&in->rest, NULL, &hooks}, &p, o->window, row, rows, &n);
  cli_progress_clear(progress);
  if (s == BDPT_OK) s = print_disparity(ctx, row, n, m->config.depth, o->common.json);
  free(row);
  return s;
}

static bdpt_status print_recovery(bdpt_context *ctx, const bdpt_recovery_row *row, int rows,
                                  int json) {
  bdpt_status s = BDPT_OK;
  int i;
  if (!json) printf("type        block   before  at once    after\n");
  for (i = 0; i < rows && s == BDPT_OK; i++) {
    cli_json j = {NULL, 0, 0, 0, 0};
    if (!json) {
      printf("%-10s  %5d  %7.2f  %7.2f  %7.2f\n", bdpt_type_name(row[i].layer.type),
             row[i].layer.block, row[i].before, row[i].at_once, row[i].after[0]);
      continue;
    }
    cli_json_open(&j, "recovery");
    cli_json_text(&j, "type", bdpt_type_name(row[i].layer.type));
    cli_json_real(&j, "layer", row[i].layer.block);
    cli_json_real(&j, "before", row[i].before);
    cli_json_real(&j, "at_once", row[i].at_once);
    cli_json_reals(&j, "after", row[i].after, 1);
    cli_json_close(&j);
    s = cli_json_print(&j, ctx);
  }
  return s;
}

static bdpt_status probe_recovery(const bdpt_model *m, const input *in, const probe_options *o,
                                  cli_progress *progress) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_recovery_options options;
  bdpt_hooks hooks = cli_hooks(progress, NULL);
  bdpt_status s;
  memset(&options, 0, sizeof options);
  options.recipe = o->recipe;
  options.recipe.epoch_images = o->images;
  options.start = BDPT_START_PAPER;
  s = bdpt_recovery(m, &(bdpt_run){&in->rest, &in->held, &hooks}, &options, row);
  cli_progress_clear(progress);
  if (s == BDPT_OK) s = print_recovery(m->ctx, row, 2 * m->config.depth, o->common.json);
  return s;
}

static int probe(const cli_command *c, bdpt_context *ctx, const char *path, probe_options *o) {
  cli_progress progress;
  input in;
  bdpt_model *m;
  bdpt_status s;
  cli_progress_open(&progress, o->common.quiet);
  memset(&in, 0, sizeof in);
  m = input_model(ctx, path, o->image);
  s = m ? input_open(&in, ctx, &o->from, INPUT_TRAIN) : ctx->status;
  if (s == BDPT_OK) input_fit(&in, m);
  if (s == BDPT_OK) s = command_check_classes(m, &in.train, path);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK && strcmp(o->what, "recovery") != 0)
    s = probe_disparity(ctx, m, &in, o, &progress);
  if (s == BDPT_OK && strcmp(o->what, "disparity") != 0) s = probe_recovery(m, &in, o, &progress);
  bdpt_model_free(m);
  input_close(&in);
  return cli_finish(c->name, ctx, s, NULL);
}

int command_probe(int argc, char **argv) {
  static const cli_command c = {"probe", "probe MODEL [options]",
    "The two observations behind the method, as data. Disparity: the mean size of dL/dm for each\n"
    "layer during a short training. Recovery: every layer removed alone, accuracy at once and\n"
    "after a short training. The network itself is not changed.",
    "probe m.safetensors --generated --what recovery\n"
    "probe m.safetensors --generated --steps 200 --json",
    NULL, 1, 1};
  probe_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_SOURCE(&o.from),
    {"--what", CLI_TEXT, &o.what, "NAME", "both", "disparity, recovery or both"},
    {"--steps", CLI_SIZE_1, &o.steps, "N", "60", "training steps for disparity"},
    {"--window", CLI_SIZE_1, &o.window, "N", "20", "steps per line of output"},
    {"--images", CLI_SIZE, &o.images, "N", "1280", "images after each removal; 0: all"},
    {"--epochs", CLI_INT_1, &o.recipe.epochs, "N", "1", "epochs of so many images"},
    {"--held", CLI_SIZE, &o.held, "N", "2000", "held-out images that measure; 0: all"},
    {"--batch", CLI_INT_1, &o.recipe.batch, "N", "64", "batch size"},
    {"--lr", CLI_SAID, &o.recipe.lr, "X", "3e-4", "learning rate"},
    CLI_IMAGE(o.image, "the network's"),
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  command_no_source(&o.from);
  o.recipe.clip = 1;
  o.recipe.crop = 4; o.recipe.flip = 1; o.recipe.smoothing = 0.1;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = command_check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  if (strcmp(o.what, "both") != 0 && strcmp(o.what, "disparity") != 0 &&
      strcmp(o.what, "recovery") != 0)
    return cli_usage_error(&c, "--what wants disparity, recovery or both, got '%s'", o.what);
  if (o.window < 1 || o.steps < o.window || o.recipe.batch < 1 || o.recipe.epochs < 1)
    return cli_usage_error(&c, "--steps must be at least --window, and all counts 1 or more");
  o.recipe.seed = o.common.seed;
  status = command_begin(&c, &o.common, &ctx, options, CLI_COUNT(options), path);
  if (status != CLI_GO_ON) return status;
  status = probe(&c, &ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}
