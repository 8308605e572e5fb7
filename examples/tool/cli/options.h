/* options.h: the command line
 *
 * A command describes its options in a table of (name, kind, where to put it, what to call the
 * value, help). The same table parses the command line and prints the help, so neither can forget
 * an option that the other knows.
 */
#ifndef TOOL_CLI_OPTIONS_H
#define TOOL_CLI_OPTIONS_H

#include "messages.h"

#include <stddef.h>

#define CLI_COUNT(a) ((int)(sizeof(a) / sizeof((a)[0]))) /* elements of a table */

/* How to read a network that another program saved; for every command that names one. */
typedef struct cli_elsewhere { const char *key; int heads; } cli_elsewhere;
extern cli_elsewhere cli_choice;

/* What a value may be. The numbers are 0 or more; those of the next row are more than 0, so that 0
 * can stand for "nothing was said". CLI_SAID is a real number for the library, where a zero that
 * was said is BDPT_NONE. */
enum { CLI_FLAG, CLI_INT, CLI_SIZE, CLI_REAL, CLI_SAID, CLI_TEXT, CLI_LAYERS, CLI_TITLE,
       CLI_INT_1, CLI_SIZE_1, CLI_REAL_UP };

/* A list of layer numbers, as in "3,7,11" or "3-5". */
typedef struct cli_layers { int count, layer[64]; } cli_layers;

typedef struct cli_option {
  const char *name;       /* "--batch"; for CLI_TITLE a heading of the help */
  int kind;
  void *value;            /* int, size_t (CLI_SIZE), double, const char *, cli_layers */
  const char *argument;   /* "N" */
  const char *help;
} cli_option;

typedef struct cli_command {
  const char *name;       /* "eval" */
  const char *synopsis;   /* "eval MODEL [options]" */
  const char *story;      /* one paragraph for --help */
  int least, most;        /* how many arguments that are not options */
} cli_command;

/* What all commands share. */
typedef struct cli_common {
  int threads, json, quiet, fresh, bf16;
  size_t seed;
  const char *isa;
} cli_common;

#define CLI_COMMON(c) \
  {"A network from elsewhere (info --help: what is refused)", CLI_TITLE, NULL, NULL, NULL}, \
  {"--key", CLI_TEXT, &cli_choice.key, "NAME", "which of several in a .pth file: model_ema"}, \
  {"--heads", CLI_INT_1, &cli_choice.heads, "N", "attention heads, if no file tells them (2)"}, \
  {"Everywhere", CLI_TITLE, NULL, NULL, NULL}, \
  {"--threads", CLI_INT, &(c)->threads, "N", "threads; 0: all there are (default)"}, \
  {"--isa", CLI_TEXT, &(c)->isa, "NAME", "best (default), portable, avx2 or avx512"}, \
  {"--bf16", CLI_FLAG, &(c)->bf16, NULL, "products of bf16 factors: faster, rounded"}, \
  {"--seed", CLI_SIZE, &(c)->seed, "N", "of everything random (default 1)"}, \
  {"--json", CLI_FLAG, &(c)->json, NULL, "results as JSON lines instead of text"}, \
  {"--quiet", CLI_FLAG, &(c)->quiet, NULL, "no progress on stderr"}

/* Says what is wrong with the command line, on stderr. Returns CLI_USAGE. */
CLI_PRINTF(2, 3)
int cli_usage_error(const cli_command *c, const char *format, ...);

/* How many letters must be put in, taken out or changed to turn a[n] into b; CLI_NEAR if one of
 * them is longer than that. */
enum { CLI_NEAR = 40 };
int cli_distance(const char *a, size_t n, const char *b);

/* Stores one value; returns what was expected if the text is something else, else NULL. */
const char *cli_store(const cli_option *o, const char *text);

/* Returns CLI_GO_ON, or the exit status after --help or a mistake. `plain` receives the arguments
 * that are not options: behind "--" all of them. "--name value" and "--name=value" are the same. */
int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
              char **argv, const char **plain, int *plain_count);

#endif /* TOOL_CLI_OPTIONS_H */
