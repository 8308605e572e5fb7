/* fuse.c: `boundarydpt fuse` */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/system.h"
#include "../input.h"
#include "commands.h"
#include "common.h"

#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * fuse
 * ---------------------------------------------------------------------------------------------- */

int command_fuse(int argc, char **argv) {
  static const cli_command c = {"fuse", "fuse MODEL --out NEW [options]",
    "Multiplies out the two linears of every MLP whose activation is removed, and compares the\n"
    "network before and after on held-out images, or on any folder of pictures (--data DIR),\n"
    "which need no labels. The comparison is stored in the file.",
    "fuse p.safetensors --generated --out f.safetensors\n"
    "fuse p.safetensors --data photos --images 0 --out f.safetensors",
    NULL, 1, 1};
  cli_common common;
  input_source from;
  const char *path, *out = NULL;
  size_t count;
  int n, status;
  bdpt_context ctx;
  bdpt_certificate certificate;
  cli_files files = {{NULL}, {NULL}};
  char data[2][700];
  bdpt_model *m;
  input in;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_SOURCE(&from),
    {"--out", CLI_TEXT, &out, "NEW", NULL, "where the fused network is saved"},
    {"--images", CLI_SIZE, &count, "N", "1000", "held-out images compared; 0: all"},
    CLI_ELSEWHERE,
    CLI_EVERYWHERE,
    CLI_MACHINE(&common),
    CLI_JSON(&common),
    CLI_QUIET(&common)
  };
  command_defaults(&common);
  command_no_source(&from);
  memset(&in, 0, sizeof in);
  from.any = 1;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = command_check_source(&c, &common, &from);
  if (status != CLI_GO_ON) return status;
  if (!out) return cli_usage_error(&c, "--out NEW is needed: where the fused network is saved");
  if (out) out = cli_out_path(out);
  status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  files.in[0] = path;
  files.out[0] = out;
  input_files(&from, data, &files);
  m = cli_check_files(&ctx, &files) == BDPT_OK ? input_model(&ctx, path, NULL) : NULL;
  if (m && bdpt_removed(&m->config, BDPT_ACTIVATION) == 0) {
    snprintf(ctx.message, sizeof ctx.message,
             "%s: no activation is removed, so there is nothing to fuse (a GELU stands between the "
             "linears; prune --activation first)", path);
    ctx.status = BDPT_E_STATE;
  }
  if (m && ctx.status == BDPT_OK && input_open(&in, &ctx, &from, INPUT_TRAIN) == BDPT_OK)
    input_fit(&in, m);
  if (m && ctx.status == BDPT_OK && input_keep(&ctx, &in.held, count) == BDPT_OK &&
      bdpt_fuse_certified(m, &in.held, &certificate) == BDPT_OK &&
      bdpt_model_save(m, out) == BDPT_OK)
    (void)command_print_saved("fuse", m, out, common.json);
  bdpt_model_free(m);
  input_close(&in);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}
