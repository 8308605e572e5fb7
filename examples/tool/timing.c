/* timing.c: networks timed in turn */
#include "timing.h"
#include "cli/system.h"
#include "numbers.h"

#include <stdlib.h>

bdpt_status timing_measure(const bdpt_subset *images, bdpt_model *const *models, int count,
                           int rounds, timing *out) {
  static double taken[TIMING_NETWORKS][TIMING_ROUNDS];
  bdpt_context *ctx = models[0]->ctx;
  const bdpt_config *c = &models[0]->config;
  size_t pixels = (size_t)TIMING_BATCH * bdpt_image_numbers(c);
  bdpt_real *batch = (bdpt_real *)malloc(pixels * sizeof *batch);
  bdpt_real *logits = (bdpt_real *)malloc(TIMING_BATCH * (size_t)c->classes * sizeof *logits);
  bdpt_tape *tape = bdpt_tape_create(ctx, BDPT_TAPE_COMPUTE);
  int i, k, m, inner = 1;
  bdpt_status s = batch && logits && tape ? BDPT_OK : BDPT_E_MEMORY;
  if (rounds > TIMING_ROUNDS) rounds = TIMING_ROUNDS;
  if (s == BDPT_OK) s = bdpt_load_batch(ctx, c, images, 0, TIMING_BATCH, batch, NULL);
  for (i = -2; i < rounds && s == BDPT_OK; i++) { /* two rounds to warm up */
    if (cli_stop) s = BDPT_CANCELLED;
    for (m = 0; m < count && s == BDPT_OK; m++) {
      double t = cli_now();
      for (k = 0; k < inner && s == BDPT_OK; k++)
        s = bdpt_predict(models[m], tape, TIMING_BATCH, batch, logits);
      t = cli_now() - t;
      if (i >= 0) taken[m][i] = 1000 * t / inner;
      else if (i == -1 && m == 0) inner = t < 0.01 ? (int)(0.02 / (t + 1e-6)) + 1 : 1;
    }
  }
  for (m = 0; m < count && s == BDPT_OK; m++) {
    qsort(taken[m], (size_t)rounds, sizeof taken[m][0], numbers_rising);
    out[m].ms = numbers_quantile(taken[m], rounds, 0.5);
    out[m].low = numbers_quantile(taken[m], rounds, 0.25);
    out[m].high = numbers_quantile(taken[m], rounds, 0.75);
  }
  bdpt_tape_free(tape);
  free(batch);
  free(logits);
  return s;
}
