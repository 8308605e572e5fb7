/* report.c: `boundarydpt report` */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/system.h"
#include "../report/report.h"
#include "commands.h"
#include "common.h"

/* -------------------------------------------------------------------------------------------------
 * report
 * ---------------------------------------------------------------------------------------------- */

int command_report(int argc, char **argv) {
  static const cli_command c = {"report", "report RUN.JSONL PAGE.HTML",
    "Draws the page of plots again from the numbers of a run.", 2, 2};
  cli_common common;
  bdpt_context ctx;
  cli_files files = {{NULL}, {NULL}};
  const char *plain[2], *page;
  int n, status;
  const cli_option options[] = {CLI_COMMON(&common)};
  command_defaults(&common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON) status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  files.in[0] = plain[0];
  files.out[0] = page = cli_out_path(plain[1]);
  if (cli_check_files(&ctx, &files) == BDPT_OK && report_write(&ctx, plain[0], page) != 0 &&
      ctx.status == BDPT_OK) ctx.status = BDPT_E_IO;
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}
