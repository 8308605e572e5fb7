/* gates.h: readings of learned importance */
#ifndef TOOL_STUDY_GATES_H
#define TOOL_STUDY_GATES_H

#include "../../../boundarydpt.h"

/* What becomes of a layer's scalar after every step, g = dL/dm of its batch: AdamW's step, as
 * bdpt_search has it; minus the mean of g since the last removal; a step of plain gradient descent
 * at the rate of the weights; the mean of g^2 since the last removal. */
enum { GATE_ADAM, GATE_MEAN, GATE_DESCENT, GATE_SQUARE };

typedef struct gate_options {
  bdpt_recipe recipe; /* of the training meanwhile; epochs, restarts and importance are set */
  int remove[2];      /* how many attention, activation layers, in bdpt_search's order */
  int stage;          /* epochs before each removal */
  int at_once;        /* 1: all go after the last stage, under one cosine */
  int rule;           /* GATE_ADAM ... */
  int fitted;         /* 1: activations are mixed with the maps that fit them best, attention with
                         nothing, and that is what a removal leaves; 0: the paper's form */
  double gate;        /* 0: the mask is 1 and the scalar only learns; else the scalar is the mask,
                         starts at 1 and moves so many times as fast as a weight */
  double pull[2];     /* of such a mask, by type: what a term of sparsity adds to dL/dm */
} gate_options;

typedef struct gate_result {
  int removed;
  bdpt_layer layer[2 * BDPT_MAX_DEPTH]; /* in order */
  double score[2 * BDPT_MAX_DEPTH];     /* the scalar with which each went */
  double trained, looked;               /* images trained on; images that maps were fitted to */
  double seconds;                       /* of the processor, earlier runs included */
} gate_result;

/* Chooses layers as bdpt_search does, by the smallest scalar of the type whose turn it is, on a
 * copy of the network that trains on run->train. run->held is not looked at. After each removal the
 * state is saved in the hooks' file, from which the same call goes on, bit for bit. */
bdpt_status gate_search(const bdpt_model *m, bdpt_model *teacher, const bdpt_run *run,
                        const gate_options *o, gate_result *out);

/* Computes the mean entropy, in bits, of the signs of each MLP's hidden channels before the
 * activation: sign[l] of block l, over the tokens of these images. A block without its activation
 * has 2. */
bdpt_status gate_signs(const bdpt_model *m, const bdpt_subset *images,
                       double sign[BDPT_MAX_DEPTH]);

#endif /* TOOL_STUDY_GATES_H */
