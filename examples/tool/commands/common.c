/* common.c: what the commands share */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/settings.h"
#include "../cli/system.h"
#include "../input.h"
#include "common.h"
#include "../words.h"

#include <stdio.h>
#include <string.h>

void (*command_join)(bdpt_context *ctx);

/* -------------------------------------------------------------------------------------------------
 * What the commands share
 * ---------------------------------------------------------------------------------------------- */

int command_open(const cli_command *c, const cli_common *common, bdpt_context *ctx) {
  static const char *const name[] = {"best", "portable", "avx2", "avx512"};
  int i;
  memset(ctx, 0, sizeof *ctx);
  for (i = 0; i < CLI_COUNT(name); i++)
    if (common->isa && strcmp(common->isa, name[i]) == 0) break;
  if (common->isa && i == CLI_COUNT(name))
    return cli_usage_error(c, "--isa wants best, portable, avx2 or avx512, got '%s'", common->isa);
  ctx->isa_wanted = common->isa ? (bdpt_isa_choice)i : BDPT_ISA_BEST;
  if (common->threads > 1024)
    return cli_usage_error(c, "--threads wants 0 to 1024, got '%d'", common->threads);
  ctx->threads = common->threads;
  ctx->bf16 = common->bf16;
  if (command_join) command_join(ctx);
  if (bdpt_init(ctx) != BDPT_OK) return cli_finish(c->name, ctx, ctx->status, NULL);
  if (!common->quiet) cli_note_bf16(ctx);
  return CLI_GO_ON;
}

void command_defaults(cli_common *common) {
  memset(common, 0, sizeof *common);
  common->seed = 1;
}

void command_resumes(const char *checkpoint) {
  if (checkpoint)
    fprintf(stderr, "   going on from %s (--fresh would start again)\n", checkpoint);
}

int command_begin(const cli_command *c, const cli_common *common, bdpt_context *ctx,
                  const cli_option *options, int count, const char *model) {
  cli_json j = {NULL, 0, 0, 0, 0};
  int status = command_open(c, common, ctx);
  if (status != CLI_GO_ON || !common->json) return status;
  cli_json_open(&j, "setup");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "command", c->name);
  if (model) cli_json_text(&j, "model", model);
  cli_settings_write(&j, options, count);
  cli_json_close(&j);
  if (cli_json_print(&j, ctx) == BDPT_OK) return CLI_GO_ON;
  status = cli_finish(c->name, ctx, ctx->status, NULL);
  bdpt_finish(ctx);
  return status;
}

bdpt_recipe command_recipe(int epochs, int batch, double lr, size_t seed) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = epochs;
  r.batch = batch;
  r.lr = lr;
  r.clip = r.flip = 1;
  r.crop = 4;
  r.smoothing = 0.1;
  r.seed = seed;
  return r;
}

bdpt_status command_layers(const bdpt_model *m, const cli_layers list[2], bdpt_layers *out) {
  int t, i;
  for (t = 0; t < 2; t++)
    for (i = 0; i < list[t].count; i++) {
      const int l = list[t].layer[i];
      if (l >= m->config.depth)
        return cli_fail(m->ctx, BDPT_E_ARGUMENT, "layer %d, but the network has layers 0 to %d", l,
                        m->config.depth - 1);
      bdpt_layers_add(out, (bdpt_type)t, l);
    }
  return BDPT_OK;
}

int command_check_merge(const cli_command *c, int r) {
  if (r <= 1 << 20) return CLI_GO_ON;
  return cli_usage_error(c, "--merge wants 0 to 1048576 tokens per block, got '%d'", r);
}

void command_no_source(input_source *s) {
  memset(s, 0, sizeof *s);
  s->holdout = -1;
}

int command_check_source(const cli_command *c, const cli_common *common, input_source *s) {
  s->quiet = common->quiet;
  if (s->data && s->generated)
    return cli_usage_error(c, "--data and --generated exclude each other");
  if (s->holdout >= 0 && !s->data)
    return cli_usage_error(c, "--holdout wants 0 or more, and --data DIR");
  return CLI_GO_ON;
}

int command_check_ways(const cli_command *c, const char *start, const char *choose) {
  if (input_start(start) < 0)
    return cli_usage_error(c, "--start wants " INPUT_STARTS ", got '%s'", start);
  if (input_choose(choose, start) < 0)
    return cli_usage_error(c, "--choose wants " INPUT_CHOICES ", got '%s'", choose);
  return CLI_GO_ON;
}

bdpt_status command_check_classes(const bdpt_model *m, const bdpt_dataset *data, const char *path) {
  if (m->config.classes == data->classes) return BDPT_OK;
  snprintf(m->ctx->message, sizeof m->ctx->message,
           "%s names %d %s, the images have %d: train --from %s gives it a new classifier",
           path, m->config.classes, words_of(m->config.classes, "class", "classes"), data->classes,
           path);
  return m->ctx->status = BDPT_E_SHAPE;
}

bdpt_status command_print_saved(const char *what, const bdpt_model *m, const char *out, int json) {
  const int gone[2] = {bdpt_removed(&m->config, 0), bdpt_removed(&m->config, 1)};
  bdpt_cost_report cost;
  cli_json j = {NULL, 0, 0, 0, 0};
  if (bdpt_cost(m->ctx, &m->config, &cost) != BDPT_OK) return m->ctx->status;
  if (!json) {
    printf("%s: %d attention %s and %d %s removed, %zu parameters, %.6g M MACs\n",
           cli_out_name(out), gone[0], words_of(gone[0], "layer", "layers"), gone[1],
           words_of(gone[1], "activation", "activations"), cost.params, 1e-6 * cost.macs);
    if (m->certificate[0]) printf("%s\n", m->certificate);
    return BDPT_OK;
  }
  cli_json_open(&j, what);
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "file", cli_out_name(out));
  cli_json_real(&j, "attentions", bdpt_removed(&m->config, 0));
  cli_json_real(&j, "activations", bdpt_removed(&m->config, 1));
  cli_json_real(&j, "params", (double)cost.params);
  cli_json_real(&j, "macs", cost.macs);
  cli_json_real(&j, "macs_no_matmul", cost.macs_no_matmul);
  cli_json_text(&j, "parent", m->parent);
  cli_json_text(&j, "certificate", m->certificate);
  cli_json_close(&j);
  return cli_json_print(&j, m->ctx);
}
