/* checkpoint.h: networks from elsewhere: safetensors, .pth, the names of timm and transformers */
#ifndef TOOL_FILES_CHECKPOINT_H
#define TOOL_FILES_CHECKPOINT_H

#include "../../../boundarydpt.h"

typedef struct checkpoint_options {
  const char *key;    /* which network of several: "model_ema"; NULL: the preferred one */
  int heads;          /* attention heads; 0: as the file says, or 64 features each */
} checkpoint_options;

typedef struct checkpoint_report {
  char form[40];      /* "safetensors", "PyTorch zip", "PyTorch legacy" */
  char dialect[40];   /* "boundarydpt", "timm", "transformers 4", "transformers 5" */
  char network[140];  /* where in the file it was: "model", "." for the top */
  char note[3000];    /* what the user should know, one sentence per line; "" when nothing */
  char guessed[40];   /* of "heads eps mean std", what nothing told */
  char pictures[100]; /* how they become input (>>pictures); "" when nothing says it */
} checkpoint_report;

/* Reads a network from a file of any of the forms above, from an index of several, or from a
 * folder. The file's bytes are given back before the network's memory is taken. NULL: see
 * ctx->message. */
bdpt_model *checkpoint_load(bdpt_context *ctx, const char *path,
                            const checkpoint_options *options, checkpoint_report *report);

#endif /* TOOL_FILES_CHECKPOINT_H */
