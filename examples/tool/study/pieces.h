/* pieces.h: ways of removing layers that part 16 of the study compares */
#ifndef TOOL_STUDY_PIECES_H
#define TOOL_STUDY_PIECES_H

#include "../../../boundarydpt.h"

/* A gate that closes: where a layer has gone from a network, its parent's is still there with a
 * weight of 1 at first, 0 once `end` steps of the trainer are done, and what stands in its place
 * has the rest. The parent's weights stay as they are. */
typedef struct piece_gate {
  bdpt_model *parent;
  const bdpt_trainer *trainer; /* NULL: nothing is trained yet */
  double end;
} piece_gate;

/* Gives the network such a block, which borrows the gate; m->block = NULL takes it away. */
void piece_close(bdpt_model *m, piece_gate *gate);

/* Streams held together behind some blocks only: the teacher's block keeps its stream, and the
 * gradient of weight * |x - y|^2 / |y|^2, the mean over these blocks, is added to the student's. A
 * step of a trainer sends the images through the teacher first, as it must be here. */
typedef struct piece_twin {
  uint64_t blocks; /* bit l: behind block l */
  double weight;
  struct piece_stream {
    bdpt_real *y;  /* the teacher's [count] */
    size_t count, room;
    double factor; /* 2 weight / blocks / |y|^2 */
    bdpt_op draw;
  } stream[BDPT_MAX_DEPTH];
} piece_twin;

/* Gives both networks such blocks, which borrow the twin. Afterwards the student's draws a gradient
 * only from what the teacher's has kept. */
void piece_twins(bdpt_model *student, bdpt_model *teacher, piece_twin *twin);

/* Takes the blocks away and frees what was kept. */
void piece_part(bdpt_model *student, bdpt_model *teacher, piece_twin *twin);

/* Solves what is left again, without training: in the order of the forward pass the last linear of
 * each kept layer, so that the stream behind it is nearest to that of the parent, by least squares
 * with a ridge that holds the weights where they are. */
bdpt_status piece_repair(bdpt_model *m, const bdpt_model *parent, const bdpt_subset *images);

/* Takes activations from a network and puts maps in their place as bdpt_remove does, but fitted to
 * these images with an error of the class token that counts `weight` times as much. */
bdpt_status piece_class_fit(bdpt_model *m, const bdpt_layers *activations, double weight,
                            const bdpt_subset *images);

#endif /* TOOL_STUDY_PIECES_H */
