/* report.c: `boundarydpt report` */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/system.h"
#include "../join.h"
#include "../report/report.h"
#include "commands.h"
#include "common.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * report
 * ---------------------------------------------------------------------------------------------- */

enum { REPORT_FILES = 256 };

static int ends_in(const char *path, const char *ending) {
  const size_t n = strlen(path), k = strlen(ending);
  return n >= k && strcmp(path + n - k, ending) == 0;
}

/* Draws the page of the records, which are joined if there are several. */
static bdpt_status draw(bdpt_context *ctx, const char *const *path, int count, const char *page) {
  cli_json all = {NULL, 0, 0, 0, 0};
  bdpt_status status = BDPT_OK;
  const char *name = "the joined records";
  record one;
  int i;
  for (i = 0; i < count && status == BDPT_OK; i++) {
    cli_files files = {{NULL}, {NULL}};
    files.in[0] = path[i];
    files.out[0] = page;
    status = cli_check_files(ctx, &files);
  }
  if (status == BDPT_OK && count == 1 && strcmp(path[0], "-") != 0)
    return (bdpt_status)report_write(ctx, path[0], page);
  if (status == BDPT_OK && count == 1) {
    name = "standard input";
    status = record_load(&one, ctx, path[0]);
    all = one.text;
  } else if (status == BDPT_OK) {
    status = join_read(ctx, path, count, &all);
  }
  if (status == BDPT_OK)
    status = (bdpt_status)report_write_lines(ctx, all.text, all.used, name, page);
  free(all.text);
  return status;
}

int command_report(int argc, char **argv) {
  static const cli_command c = {"report", "report RUN.JSONL.. --out PAGE.HTML",
    "Draws the page of plots again from the numbers of a run (- is standard input), or of\n"
    "programs that shared a study out: lines of another recipe, data or dense network are\n"
    "refused. `report RUN.JSONL PAGE` works where PAGE ends in .html.",
    "report build/run/run.jsonl --out page.html\n"
    "report - --out page.html < build/run/run.jsonl",
    NULL, 1, REPORT_FILES};
  cli_common common;
  bdpt_context ctx;
  const char *plain[REPORT_FILES], *page = NULL;
  int n, status;
  const cli_option options[] = {
    {"--out", CLI_TEXT, &page, "FILE", NULL, "the page, if its name does not come second"}};
  command_defaults(&common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  if (!page && n == 2 && (ends_in(plain[1], ".html") || strcmp(plain[1], "-") == 0))
    page = plain[--n];
  if (!page) return cli_usage_error(&c, "--out PAGE.html is needed: what is drawn");
  if (ends_in(page, ".jsonl"))
    return cli_usage_error(&c, "--out %s: a page, not a record, which would be overwritten", page);
  status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  if (draw(&ctx, plain, n, cli_out_path(page)) != BDPT_OK && ctx.status == BDPT_OK)
    ctx.status = BDPT_E_IO;
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}
