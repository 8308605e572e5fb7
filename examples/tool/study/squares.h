/* squares.h: linear maps by least squares */
#ifndef TOOL_STUDY_SQUARES_H
#define TOOL_STUDY_SQUARES_H

#include "../../../boundarydpt.h"

/* Sums over tokens of z (1, x), z = (x, y): what the map reads is x[k], what it is to return y[d].
 * Of rows i < k only the first 2 + i columns are used, the others are their mirror image. */
typedef struct squares {
  size_t k, d;
  double *sum;  /* [k + d][1 + k] */
  double count; /* of tokens, or the sum of their weights */
} squares;

bdpt_status squares_open(squares *s, size_t k, size_t d);
void squares_add(squares *s, const bdpt_real *x, const bdpt_real *y, double weight);

/* Finds w[d][k] and b[d] that err least, sum |y - w x - b|^2 + r |w|^2, r = ridge times the mean
 * variance sum of an x. */
bdpt_status squares_solve(const squares *s, double ridge, double *w, double *b);
void squares_close(squares *s); /* or one that was never opened, all zeros */

#endif /* TOOL_STUDY_SQUARES_H */
