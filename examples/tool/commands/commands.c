/* commands.c: the table of commands, and how one is called */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "commands.h"

#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * main
 * ---------------------------------------------------------------------------------------------- */

static const struct command {
  const char *name;
  int (*call)(int argc, char **argv);
  const char *help;
} commands[] = {
  {"run", command_run, "the whole method on one page: probe, prune, recover, fuse, measure"},
  {"reproduce", command_reproduce, "the study of the paper's claims, in twenty parts"},
  {"info", command_info, "what a checkpoint holds, drawn"},
  {"train", command_train, "train a network from scratch or go on with one"},
  {"eval", command_eval, "accuracy on the test, held-out or training images"},
  {"probe", command_probe, "gradient disparity and recovery asymmetry as data"},
  {"prune", command_prune, "remove layers: named ones, or found by both stages"},
  {"plus", command_plus, "layers and widths together, to a budget of MACs or milliseconds"},
  {"fuse", command_fuse, "merge the linears of pruned MLPs, with a certificate"},
  {"classify", command_classify, "what is in a picture: the five most likely classes"},
  {"segment", command_segment, "what is where in pictures: masks, with any network"},
  {"export", command_export, "ONNX or safetensors for other programs"},
  {"table", command_table, "JSON lines as CSV, or as means over seeds in Markdown and LaTeX"},
  {"report", command_report, "draw a run's page of plots again"},
  {"selftest", command_selftest, "whether this machine computes what it should"}
};

static void print_help(FILE *f) {
  int i;
  fprintf(f, "usage: boundarydpt COMMAND [arguments] [options]\n\n"
             "Depth pruning of vision transformers: attention layers and GELUs are removed, the\n"
             "linears around a removed GELU are merged. Version %s.\n\n", bdpt_version());
  for (i = 0; i < CLI_COUNT(commands); i++)
    fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].help);
  fprintf(f, "\nboundarydpt help COMMAND explains a command. Exit status: 0 done, 1 failed,\n"
             "2 wrong usage, 130 stopped by Ctrl-C after saving.\n");
}

static const struct command *find_command(const char *name) {
  int i;
  for (i = 0; i < CLI_COUNT(commands); i++)
    if (strcmp(name, commands[i].name) == 0) return &commands[i];
  return NULL;
}

/* Complains about an unknown command, and names the one that was perhaps meant. */
static int no_command(const char *name) {
  int i, best = 6; /* more than two wrong letters are another word */
  const char *meant = NULL;
  for (i = 0; i < CLI_COUNT(commands); i++) { /* of two as near, the one that begins alike */
    int d = 2 * cli_distance(name, strlen(name), commands[i].name) + (*name != *commands[i].name);
    if (d >= best) continue;
    best = d;
    meant = commands[i].name;
  }
  fprintf(stderr, "boundarydpt: there is no command '%s'%s%s%s (boundarydpt --help lists them)\n",
          name, meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
  return CLI_USAGE;
}

static int call_command(int argc, char **argv) {
  static char explain[] = "--help";
  char *help[1] = {explain};
  const char *name = argc < 2 ? "" : argv[1];
  const struct command *c;
  if (argc < 2) { print_help(stderr); return CLI_USAGE; }
  if (strcmp(name, "help") == 0 && argc > 2) {
    c = find_command(argv[2]);
    return c ? c->call(1, help) : no_command(argv[2]);
  }
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
    print_help(stdout);
    return CLI_OK;
  }
  if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
    printf("boundarydpt %s\n", bdpt_version());
    return CLI_OK;
  }
  c = find_command(name);
  if (!c) return no_command(name);
  cli_calm_threads(argv);
  cli_catch_interrupt();
  return c->call(argc - 2, argv + 2);
}

/* Checks that what was printed has arrived: into a full disk nothing is a success. */
int command_main(int argc, char **argv) {
  int status;
  cli_binary_streams();
  status = call_command(argc, argv);
  if (fflush(stdout) == 0 && !ferror(stdout)) return status;
  fprintf(stderr, "boundarydpt: cannot write to stdout\n");
  return status ? status : CLI_FAILED;
}
