/* standins.h: what rivals put in the place of layers */
#ifndef TOOL_STUDY_STANDINS_H
#define TOOL_STUDY_STANDINS_H

#include "../../../boundarydpt.h"

/* Replaces whole blocks of a network by x + W LN2(x) + b, one map each, fitted by least squares to
 * what the block returns for the tokens of these images. Blocks are fitted in the order of the
 * forward pass, each to the answers to what the maps before it make. which[depth]: 1 where a block
 * goes. After "TOAST", arXiv 2410.04941, whose map reads x itself; here it reads the norm, as every
 * fused MLP does. */
bdpt_status standin_blocks(bdpt_model *m, const int *which, const bdpt_subset *images);

/* Chooses blocks one by one, each time the one whose map leaves the smallest loss on `held`, fits
 * all maps again, and goes on until `count` are gone. Fills block[count] and loss[count]; more
 * blocks than the network has are refused before anything is written. */
bdpt_status standin_choose(bdpt_model *m, int count, const bdpt_subset *images,
                           const bdpt_subset *held, int *block, double *loss);

/* Hidden channels that do without their activation: each is a z + b, the line that fits its
 * activation best. After "RePaViT", arXiv 2505.21847, which leaves z itself and takes any channels;
 * these are those whose lines err least, weighted by what the second linear makes of them. */
typedef struct standin_idle {
  int hidden[BDPT_MAX_DEPTH];            /* channels of each block */
  unsigned char *idle[BDPT_MAX_DEPTH];   /* [hidden]: 1 if linear */
  bdpt_real *line[BDPT_MAX_DEPTH];       /* [2][hidden]: a, then b */
  bdpt_real *map[BDPT_MAX_DEPTH];        /* once merged: [D][D] of the idle ones, then [D] */
} standin_idle;

/* Makes a share of every MLP's channels linear: the network gets a block of its own, which borrows
 * `out`. It trains like any other. */
bdpt_status standin_idle_open(bdpt_model *m, double share, const bdpt_subset *images,
                              standin_idle *out);

/* Merges the linear channels of each block into one map, exactly: a network whose MLPs have the
 * other channels only, beside that map. It borrows `idle` too. NULL on failure. */
bdpt_model *standin_idle_merge(const bdpt_model *m, standin_idle *idle);

/* Corrects what bdpt_cost says of such a network, merged or to be merged: its maps are counted, its
 * idle channels are not. Other networks stay as they are. */
void standin_cost(const bdpt_model *m, bdpt_cost_report *cost);
void standin_idle_close(standin_idle *idle);

#endif /* TOOL_STUDY_STANDINS_H */
