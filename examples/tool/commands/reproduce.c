/* reproduce.c: `boundarydpt reproduce` */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../study/reproduce.h"
#include "commands.h"
#include "common.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * reproduce
 * ---------------------------------------------------------------------------------------------- */

int command_reproduce(int argc, char **argv) {
  static const cli_command c = {"reproduce", "reproduce [options]",
    "The study of the paper's claims on CIFAR-100 with DeiT-Tiny, in fifteen parts (14 and 15\n"
    "run only when they are named): every\n"
    "figure as JSON lines and CSV. What it costs is printed first; Ctrl-C saves, the same\n"
    "command goes on. data/reproduce.recipe holds and explains every hyperparameter.",
    0, 0};
  study_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", "CIFAR-100 binary (data/cifar-100-binary)"},
    {"--model", CLI_TEXT, &o.model, "FILE", "DeiT (data/deit_tiny_patch16_224-a1311bcf.pth)"},
    {"--recipe", CLI_TEXT, &o.recipe, "FILE", "hyperparameters (data/reproduce.recipe)"},
    {"--out", CLI_TEXT, &o.out, "DIR", "numbers and checkpoints (build/reproduce)"},
    {"--report", CLI_TEXT, &o.report, "FILE", "the page of plots (build/report.html)"},
    {"--quick", CLI_FLAG, &o.quick, NULL, "generated images, data/quick.recipe: half a minute"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "start again instead of going on"},
    {"What is done", CLI_TITLE, NULL, NULL, NULL},
    {"--list", CLI_FLAG, &o.list, NULL, "print the parts and what they cost; writes nothing"},
    {"--summary", CLI_FLAG, &o.summary, NULL, "print the record's headline figures, then end"},
    {"--part", CLI_LAYERS, &o.parts, "LIST", "only these parts, such as 3,5 (all to 13)"},
    {"--seeds", CLI_INT_1, &o.seeds, "N", "seeds, instead of the recipe's"},
    {"--minutes", CLI_REAL, &o.minutes, "X", "stop after so long, as Ctrl-C does (0: never)"},
    {"--print-held", CLI_FLAG, &o.print_held, NULL, "print the numbers of the held-out images"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  for (n = 0; n < o.parts.count; n++)
    if (o.parts.layer[n] < 1 || o.parts.layer[n] > STUDY_PARTS)
      return cli_usage_error(&c, "--part wants 1 to %d", STUDY_PARTS);
  if (o.seeds < 0 || o.seeds > 100) return cli_usage_error(&c, "--seeds wants 1 to 100");
  status = command_open(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) status = study_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
