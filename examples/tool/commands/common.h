/* common.h: what the commands share */
#ifndef TOOL_COMMANDS_COMMON_H
#define TOOL_COMMANDS_COMMON_H

#include "../../../boundarydpt.h"
#include "../cli/options.h"
#include "../input.h"

/* Is called with each context that the tool makes, where the tool runs on several processes
 * (examples/mpi), so that they work together. NULL: one process. */
extern void (*command_join)(bdpt_context *ctx);

/* Applies --threads, --isa and --bf16. Returns CLI_GO_ON, or the exit status after a complaint. */
int command_open(const cli_command *c, const cli_common *common, bdpt_context *ctx);

/* Does the same; then with --json prints a line of kind "setup", with the version and the value of
 * every option. `model` is the network that the command reads, or NULL. */
int command_begin(const cli_command *c, const cli_common *common, bdpt_context *ctx,
                  const cli_option *options, int count, const char *model);

/* Sets what the options that all commands share are before the table's values. */
void command_defaults(cli_common *common);

/* Says that a command goes on from a checkpoint; NULL: it does not. */
void command_resumes(const char *checkpoint);

/* Returns a training as all commands begin one: random crops and flips, smoothed labels,
 * clipped. */
bdpt_recipe command_recipe(int epochs, int batch, double lr, size_t seed);

/* Adds the blocks that --attention and --activation name; an error names one that is not there. */
bdpt_status command_layers(const bdpt_model *m, const cli_layers list[2], bdpt_layers *out);

/* --merge R: how many tokens each block may merge; no file holds it. */
#define COMMAND_MERGE(r) \
  {"--merge", CLI_INT, r, "R", "0", "tokens that each block merges away"}

/* Returns CLI_GO_ON, or the exit status after a complaint. */
int command_check_merge(const cli_command *c, int r);

/* Where the images are; the generated ones when nothing is said. */
#define COMMAND_SOURCE(s) \
  {"--data", CLI_TEXT, &(s)->data, "DIR", NULL, \
     "train.bin, test.bin (CIFAR-100) or class folders"}, \
  {"--holdout", CLI_INT, &(s)->holdout, "N", NULL, "of DIR/CLASS/..: of each class, to test on"}, \
  {"--skip-bad", CLI_SIZE, &(s)->skip_bad, "N", "0", "leave out at most N bad pictures, listed"}, \
  {"--generated", CLI_FLAG, &(s)->generated, NULL, NULL, "the generated images, as without --data"}

/* Sets the source that nobody has named: the generated images. */
void command_no_source(input_source *s);

/* Returns CLI_GO_ON, or the exit status after a complaint. */
int command_check_source(const cli_command *c, const cli_common *common, input_source *s);

/* Checks the names of --start and --choose, where NULL leaves the choice open. Returns CLI_GO_ON,
 * or the exit status after a complaint. */
int command_check_ways(const cli_command *c, const char *start, const char *choose);

/* Checks that the classifier fits the images, before any work is done. */
bdpt_status command_check_classes(const bdpt_model *m, const bdpt_dataset *data, const char *path);

/* Tells what was saved: a sentence, or a JSON line of this kind. */
bdpt_status command_print_saved(const char *what, const bdpt_model *m, const char *out, int json);

#endif /* TOOL_COMMANDS_COMMON_H */
