/* table.c: `boundarydpt table` */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../table/table.h"
#include "commands.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * table
 * ---------------------------------------------------------------------------------------------- */

enum { TABLE_FILES = 1024 };

static bdpt_status table_make(table *t, const char *const *path, int count) {
  bdpt_status s = BDPT_OK;
  int i;
  for (i = 0; i < count && s == BDPT_OK; i++) s = cells_read(&t->c, path[i]);
  if (s == BDPT_OK) s = table_resolve(t);
  if (s == BDPT_OK) s = t->value.count ? table_means(t) : table_list(t);
  if (s == BDPT_OK && !grid_print(&t->g, stdout))
    s = cli_fail(t->c.ctx, BDPT_E_MEMORY, "out of memory");
  grid_free(&t->g);
  cells_free(&t->c);
  free(t->row);
  return s;
}

int command_table(int argc, char **argv) {
  static const cli_command c = {"table", "table FILE.JSONL... [options]",
    "Makes tables of JSON lines: of what any command printed with --json, of a run's or a study's\n"
    "record; - is standard input. Without --value every line is a row, as CSV. With --value lines\n"
    "that share the keys of --by are a group, and a group is a row: mean, standard deviation and\n"
    "number of each value. A key that a line lacks is that of the setup line above it, so that\n"
    "eval's lines can be grouped by what prune was told. Lines of a group that have the same\n"
    "seed, and values that stand in lines of two kinds, are refused. marks.2 is the third of a\n"
    "list.\n\n"
    "  for seed in 1 2 3; do for n in 4 6 8; do\n"
    "    boundarydpt prune m.safetensors --budget $n --seed $seed --generated \\\n"
    "      --out p.safetensors --json >> sweep.jsonl\n"
    "  done; done\n"
    "  boundarydpt table sweep.jsonl --by budget,start --value at_once,fused",
    "table run.jsonl --kind epoch --columns phase,epoch,loss\n"
    "table a.jsonl b.jsonl --kind row --by name --value accuracy,ms --as latex",
    NULL, 1, TABLE_FILES};
  static const char *const forms[] = {"csv", "md", "latex"};
  const char *by = NULL, *value = NULL, *columns = NULL, *kind = NULL, *where = NULL, *as = NULL;
  const char *path[TABLE_FILES];
  bdpt_context ctx;
  static table t;
  int n, status;
  const cli_option options[] = {
    {"Which lines", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--kind", CLI_TEXT, &kind, "LIST", NULL, "only lines of these kinds, such as row,eval"},
    {"--where", CLI_TEXT, &where, "LIST", NULL,
     "only lines with these values: set=test,start=fit"},
    {"Means", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--by", CLI_TEXT, &by, "LIST", NULL, "keys that make a group, such as budget,start"},
    {"--value", CLI_TEXT, &value, "LIST", NULL, "keys whose mean is taken, such as accuracy,test"},
    {"--over", CLI_TEXT, &t.over.name, "KEY", "seed", "in what lines of a group must differ"},
    {"--digits", CLI_INT, &t.digits, "N", NULL, "behind the point (two of the largest spread)"},
    {"How", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--columns", CLI_TEXT, &columns, "LIST", NULL, "without --value: only these keys"},
    {"--as", CLI_TEXT, &as, "NAME", NULL, "csv, md or latex (md; without --value csv)"}};
  memset(&t, 0, sizeof t);
  memset(&ctx, 0, sizeof ctx);
  t.digits = -1;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, path, &n);
  if (status != CLI_GO_ON) return status;
  t.g.form = value ? GRID_MARKDOWN : GRID_CSV;
  if (as)
    for (t.g.form = 0; t.g.form < 3 && strcmp(as, forms[t.g.form]) != 0; t.g.form++) { }
  if (t.g.form == 3) return cli_usage_error(&c, "--as wants csv, md or latex, got '%s'", as);
  if (!table_split(&t.by, by) || !table_split(&t.value, value) || !table_split(&t.kinds, kind) ||
      !table_split(&t.columns, columns))
    return cli_usage_error(&c, "a list is at most %d names such as budget,start", TABLE_KEYS);
  if (!table_split_where(&t, where))
    return cli_usage_error(&c, "--where wants values such as set=test,start=fit, got '%s'", where);
  if (by && !value) return cli_usage_error(&c, "--by wants --value: the mean of what?");
  if (columns && value) return cli_usage_error(&c, "--columns and --value exclude each other");
  if (t.digits > 15) return cli_usage_error(&c, "--digits wants 0 to 15, got '%d'", t.digits);
  t.c.ctx = &ctx;
  status = bdpt_init(&ctx) == BDPT_OK ? table_make(&t, path, n) : ctx.status;
  status = cli_finish(c.name, &ctx, (bdpt_status)status, NULL);
  bdpt_finish(&ctx);
  return status;
}
