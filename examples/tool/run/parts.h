/* parts.h: the parts of a run
 *
 * Each part looks into the record first and computes only what is not there.
 */
#ifndef TOOL_RUN_PARTS_H
#define TOOL_RUN_PARTS_H

#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/epochs.h"
#include "../session.h"
#include "run.h"

enum { RUN_DENSE, RUN_PRUNED, RUN_RECOVERED, RUN_FUSED, RUN_NETWORKS };

extern const char *const run_network[RUN_NETWORKS];

typedef struct run {
  run_options o;
  session base;                  /* images, record, progress */
  bdpt_model *model[RUN_NETWORKS];
  cli_epochs epochs;             /* --csv */
  int new_head;
  bdpt_start start;
  int greedy;                    /* 1: part 5 tries layers, 0: it learns importance */
  int count[2], layer[2][BDPT_MAX_DEPTH]; /* what part 5 chose */
  bdpt_status told;              /* whether the table of the results could be printed */
} run;

/* Returns the recipe of a long training of this run. */
bdpt_recipe run_recipe(const run *r, double lr, int epochs, size_t images);

/* Returns the recipe of a short training: one pass over a thousand images or so, in small batches,
 * so that it is more than a few steps. */
bdpt_recipe run_short(const run *r, size_t images);

/* Returns 1 if a removed activation leaves a fitted map. */
int run_fits(const run *r);

/* Does part 1: trains the dense network where that was asked for, and measures it. */
bdpt_status run_dense(run *r);

/* Tells part 1 from the record, as each of these does for its part. */
void run_tell_dense(run *r);

/* Does part 2: gradient disparity. */
bdpt_status run_disparity(run *r);

/* Tells part 2. */
void run_tell_disparity(run *r);

/* Does part 3: removes each single layer, measures, trains, measures. */
bdpt_status run_recovery(run *r);

/* Reads the lines back as the library's rows, for bdpt_recovery_order. */
void run_recovery_rows(const run *r, bdpt_recovery_row *row);

/* Tells part 3. */
void run_tell_recovery(run *r);

/* Does the first half of part 4: measures networks for the predictor. */
bdpt_status run_collect(run *r);

/* Reads the networks of part 4 from the record; returns how many. */
size_t run_points(const run *r, bdpt_map_point *point, size_t room);

/* Does the second half of part 4: fits the predictor and splits the budget. */
bdpt_status run_map(run *r);

/* Tells part 4. */
void run_tell_map(run *r);

/* Chooses as many layers as the budget says, of whatever type: the predictor's split is not
 * asked. */
bdpt_status run_greedy(run *r);

/* Does part 5: learned importance. */
bdpt_status run_search(run *r);

/* Tells part 5. */
void run_tell_search(run *r);

/* Makes the dense network without the layers found in part 5. */
bdpt_status run_prune(run *r);

/* Does part 6: fine-tuning with the dense network as teacher. */
bdpt_status run_tune(run *r);

/* Tells part 6. */
void run_tell_tune(run *r);

/* Measures accuracy against speed for every network of part 4: the structure is rebuilt, fused and
 * timed beside the dense one; its accuracy is the one measured after its short training. */
bdpt_status run_pareto(run *r);

/* Does the only part that sees the test images. All of its lines are recorded together. */
bdpt_status run_final(run *r);

/* Tells parts 7 and 8. */
void run_tell_final(run *r);

#endif /* TOOL_RUN_PARTS_H */
