/* timing.h: networks timed in turn */
#ifndef TOOL_TIMING_H
#define TOOL_TIMING_H

#include "../../boundarydpt.h"

/* Images of one timed batch; the most rounds, and the most networks that are timed together. */
enum { TIMING_BATCH = 16, TIMING_ROUNDS = 101, TIMING_NETWORKS = 4 };

typedef struct timing { double ms, low, high; } timing; /* median, quartiles; ms per batch */

/* Times several networks in turn, round after round, so that a disturbance meets all of them. Each
 * measurement repeats a batch of these images until it lasts about 20 ms. Ctrl-C ends it with
 * BDPT_CANCELLED. Fills out[count]. */
bdpt_status timing_measure(const bdpt_subset *images, bdpt_model *const *models, int count,
                           int rounds, timing *out);

#endif /* TOOL_TIMING_H */
