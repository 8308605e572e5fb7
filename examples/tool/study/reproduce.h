/* reproduce.h: the study of the paper's claims (the `reproduce` command) */
#ifndef TOOL_STUDY_REPRODUCE_H
#define TOOL_STUDY_REPRODUCE_H

#include "../../../boundarydpt.h"
#include "../cli/options.h"

enum { STUDY_PLAIN = 13, STUDY_PARTS = 20, STUDY_NAME = 500 }; /* PLAIN: without being named */
enum { STUDY_MOST_SHARES = 256 };

typedef struct study_options {
  cli_common common;
  const char *data, *model, *out, *report, *recipe;
  cli_layers parts;
  int quick, list, print_held, seeds, summary;
  int shard, shards, gather; /* shard 1 to shards; 0 of 0: all of it */
  double minutes;
  const cli_option *table; /* the options, for the record */
  int rows;
} study_options;

/* Does the whole of it; returns the exit status. */
int study_command(bdpt_context *ctx, const study_options *options);

#endif /* TOOL_STUDY_REPRODUCE_H */
