/* run.h: the whole method on one page (the `run` command) */
#ifndef TOOL_RUN_RUN_H
#define TOOL_RUN_RUN_H

#include "../../../boundarydpt.h"
#include "../cli/options.h"

/* The knobs, as the table of options sets them. An image[0] of 0 is the network's, dense_epochs -1
 * is 3 for a new classifier and else 0. */
typedef struct run_options {
  cli_common common;
  const char *data, *model, *out, *report, *start, *choose, *csv;
  int holdout;            /* pictures of each class to test on; -1: not said */
  int image[2], budget, least, most, dense_epochs, tune_epochs, batch, short_batch, repeats;
  size_t held, test, dense_images, probe_steps, recovery_images, map_images, search_images;
  size_t tune_images, skip_bad;
  double dense_lr, short_lr, tune_lr;
  const cli_option *table; /* the options, for the record */
  int rows;
} run_options;

/* Does the whole of it; returns the exit status. */
int run_command(bdpt_context *ctx, const run_options *options);

#endif /* TOOL_RUN_RUN_H */
