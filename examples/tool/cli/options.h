/* options.h: the command line
 *
 * A command describes its options in a table of (name, kind, where to put it, what to call the
 * value, what it is when nothing is said, help). The same table parses the command line, sets the
 * values that nobody named and prints the help, so none of them can forget what the others know.
 */
#ifndef TOOL_CLI_OPTIONS_H
#define TOOL_CLI_OPTIONS_H

#include "messages.h"

#include <stddef.h>

#define CLI_COUNT(a) ((int)(sizeof(a) / sizeof((a)[0]))) /* elements of a table */

/* How to read a network that another program saved; for every command that names one. */
typedef struct cli_elsewhere { const char *key; int heads; } cli_elsewhere;
extern cli_elsewhere cli_choice;

/* Says what a value may be. The numbers are 0 or more; those of the next row are more than 0, so
 * that 0 can stand for "nothing was said". CLI_SAID is a real number for the library, where a
 * zero that was said is BDPT_NONE. CLI_CONFIG is a text: a file with more values (settings.h).
 * CLI_SIDES is the size of an input, "64" or "64x96": int[2], height and width, whose width is 0
 * in a square. */
enum { CLI_FLAG, CLI_INT, CLI_SIZE, CLI_REAL, CLI_SAID, CLI_TEXT, CLI_LAYERS, CLI_TITLE,
       CLI_INT_1, CLI_SIZE_1, CLI_REAL_UP, CLI_CONFIG, CLI_SIDES };
enum { CLI_MOST = 96 };   /* rows of the longest table */
enum { CLI_LONGEST = 500 }; /* bytes of a text or a path on the command line; longer is refused */

/* A list of layer numbers, as in "3,7,11" or "3-5". */
typedef struct cli_layers { int count, layer[64]; } cli_layers;

typedef struct cli_option {
  const char *name;       /* "--batch"; for CLI_TITLE a heading of the help */
  int kind;
  void *value;            /* int, size_t (CLI_SIZE), double, const char *, cli_layers, int[2] */
  const char *argument;   /* "N" */
  const char *initial;    /* "64", as it would be typed; "64; 128": the second where the command's
                           * `second` is said; NULL: the command sets it, and the help says how */
  const char *help;
} cli_option;

typedef struct cli_command {
  const char *name;       /* "eval" */
  const char *synopsis;   /* "eval MODEL [options]" */
  const char *story;      /* one paragraph for --help */
  const char *examples;   /* one or two lines for its end, each without "boundarydpt " */
  const char *second;     /* "--data": the option that brings the second initial values; or NULL */
  int least, most;        /* how many arguments that are not options */
} cli_command;

/* What all commands share. */
typedef struct cli_common {
  int threads, json, quiet, fresh, bf16;
  size_t seed;
  const char *isa, *config;
} cli_common;

/* Rows that several tables have; a command lists those that it uses. */
#define CLI_ELSEWHERE \
  {"A network from elsewhere (info --help: what is refused)", CLI_TITLE, NULL, NULL, NULL, NULL}, \
  {"--key", CLI_TEXT, &cli_choice.key, "NAME", NULL, \
     "which of several in a .pth file: model_ema"}, \
  {"--heads", CLI_INT_1, &cli_choice.heads, "N", NULL, \
   "attention heads, if no file tells them (train: 2)"}
#define CLI_IMAGE(sides, initial) \
  {"--image", CLI_SIDES, (sides), "N", NULL, \
   "input size in pixels, or HxW, height first (" initial ")"}
#define CLI_EVERYWHERE {"Everywhere", CLI_TITLE, NULL, NULL, NULL, NULL}
#define CLI_JSON(c) \
  {"--json", CLI_FLAG, &(c)->json, NULL, NULL, \
   "results as JSON lines, which data/records.json describes"}
#define CLI_QUIET(c) {"--quiet", CLI_FLAG, &(c)->quiet, NULL, NULL, "no progress on stderr"}
#define CLI_THREADS(c) \
  {"--threads", CLI_INT, &(c)->threads, "N", "0", "threads; 0: all there are"}
#define CLI_MACHINE(c) \
  CLI_THREADS(c), \
  {"--isa", CLI_TEXT, &(c)->isa, "NAME", "best", "best, portable, avx2 or avx512"}, \
  {"--bf16", CLI_FLAG, &(c)->bf16, NULL, NULL, "products of bf16 factors: faster, rounded"}
#define CLI_SEED(c) {"--seed", CLI_SIZE, &(c)->seed, "N", "1", "of everything random"}
#define CLI_SETTINGS(c) \
  {"--config", CLI_CONFIG, &(c)->config, "FILE", NULL, \
   "options as lines NAME = VALUE; the command line wins"}

/* What every command that draws at random lists last; --config goes behind it. */
#define CLI_SHARED(c) \
  CLI_EVERYWHERE, CLI_MACHINE(c), CLI_SEED(c), CLI_JSON(c), CLI_QUIET(c)

/* Says what is wrong with the command line, on stderr. Returns CLI_USAGE. */
CLI_PRINTF(2, 3)
int cli_usage_error(const cli_command *c, const char *format, ...);

/* Counts the letters that must be put in, taken out, changed or swapped to turn a[n] into b;
 * returns CLI_NEAR if one of them is longer than that. */
enum { CLI_NEAR = 40 };
int cli_distance(const char *a, size_t n, const char *b);

/* Returns the option that is perhaps meant by a[n], without the first `skip` letters of each name;
 * NULL: none looks like it. */
const cli_option *cli_meant(const cli_option *options, int count, size_t skip, const char *a,
                            size_t n);

/* Stores one value; returns what was expected if the text is something else, else NULL. */
const char *cli_store(const cli_option *o, const char *text);

/* Returns CLI_GO_ON, or the exit status after --help or a mistake. `plain` receives the arguments
 * that are not options: behind "--" all of them. "--name value" and "--name=value" are the same.
 * What the command line leaves open is taken from the file of --config, then from `initial`. */
int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
              char **argv, const char **plain, int *plain_count);

#endif /* TOOL_CLI_OPTIONS_H */
