/* reproduce.c: `boundarydpt reproduce` */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../study/reproduce.h"
#include "commands.h"
#include "common.h"

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * reproduce
 * ---------------------------------------------------------------------------------------------- */

/* Reads "3/16". */
static int read_shard(const char *text, study_options *o) {
  char *end;
  const long k = strtol(text, &end, 10), n = *end == '/' ? strtol(end + 1, &end, 10) : 0;
  o->shard = (int)k;
  o->shards = (int)n;
  return *end == 0 && k >= 1 && k <= n && n <= STUDY_MOST_SHARES;
}

int command_reproduce(int argc, char **argv) {
  static const cli_command c = {"reproduce", "reproduce [options]",
    "The study of the paper's claims on CIFAR-100 with DeiT-Tiny, in twenty parts (14 to 20\n"
    "run only when they are named): every figure as JSON lines and CSV. What it costs is\n"
    "printed first; Ctrl-C saves, the same command goes on. data/reproduce.recipe holds and\n"
    "explains every hyperparameter.",
    "reproduce --list\n"
    "reproduce --quick --part 1,2",
    "--quick", 0, 0};
  study_options o;
  bdpt_context ctx;
  const char *plain[1], *shard = NULL;
  int n, status;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", NULL, "CIFAR-100 binary (data/cifar-100-binary)"},
    {"--model", CLI_TEXT, &o.model, "FILE",
     "data/deit_tiny_patch16_224-a1311bcf.pth; data/dense.safetensors", "DeiT"},
    {"--recipe", CLI_TEXT, &o.recipe, "FILE",
     "data/reproduce.recipe; data/quick.recipe", "hyperparameters"},
    {"--out", CLI_TEXT, &o.out, "DIR", "build/reproduce; build/quick", "numbers and checkpoints"},
    {"--report", CLI_TEXT, &o.report, "FILE", "build/report.html; build/quick.html",
     "the page of plots"},
    {"--quick", CLI_FLAG, &o.quick, NULL, NULL,
     "generated images, data/quick.recipe: half a minute"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, NULL, "start again instead of going on"},
    {"What is done", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--list", CLI_FLAG, &o.list, NULL, NULL, "print the parts and what they cost; writes nothing"},
    {"--summary", CLI_FLAG, &o.summary, NULL, NULL,
     "print the record's headline figures, then end"},
    {"--part", CLI_LAYERS, &o.parts, "LIST", NULL, "only these parts, such as 3,5 (all to 13)"},
    {"--seeds", CLI_INT_1, &o.seeds, "N", NULL, "seeds, instead of the recipe's"},
    {"--shard", CLI_TEXT, &shard, "K/N", NULL,
     "only the cells of share K of N, to OUT/shard-K.jsonl"},
    {"--gather", CLI_FLAG, &o.gather, NULL, NULL,
     "compute no cell; take those of all shares in OUT"},
    {"--minutes", CLI_REAL, &o.minutes, "X", "0", "stop after so long, as Ctrl-C does; 0: never"},
    {"--print-held", CLI_FLAG, &o.print_held, NULL, NULL,
     "print the numbers of the held-out images"},
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common)
  };
  memset(&o, 0, sizeof o);
  o.table = options; o.rows = CLI_COUNT(options);
  command_defaults(&o.common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  for (n = 0; n < o.parts.count; n++)
    if (o.parts.layer[n] < 1 || o.parts.layer[n] > STUDY_PARTS)
      return cli_usage_error(&c, "--part wants 1 to %d", STUDY_PARTS);
  if (shard && !read_shard(shard, &o))
    return cli_usage_error(&c, "--shard wants K/N, 1 to N of at most %d, got '%s'",
                           STUDY_MOST_SHARES, shard);
  if ((o.shard != 0) + o.gather + o.summary + o.print_held > 1 ||
      (o.common.fresh && (o.shard || o.gather)))
    return cli_usage_error(&c, "--shard, --gather, --summary, --print-held and --fresh exclude "
                           "each other");
  if (!o.data && !o.quick) o.data = "data/cifar-100-binary";
  if (o.seeds < 0 || o.seeds > 100) return cli_usage_error(&c, "--seeds wants 1 to 100");
  status = command_open(&c, &o.common, &ctx);
  if (status == CLI_GO_ON && ctx.cluster.size > 1 && (o.shard || o.gather))
    status = cli_usage_error(&c, "a share is one process: --shard and --gather without mpirun");
  if (status == CLI_GO_ON) status = study_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
