/* Lesson 6: the model accuracy predictor                                                (see >>map)
 *
 * You learn how the budget is split. If eight layers are to go, is it better to remove four of each
 * type, or two attention layers and six activations? The paper measures a few networks, draws a
 * polynomial surface through their accuracies, and takes the highest point of the line on which
 * eight layers are gone. Here are its own 22 measurements of DeiT-Base, fitted again. The published
 * answer for eight is 4 + 4; the published data give 2 + 6 (PAPER_NOTES.md, MAP, says what follows
 * from that). It takes no time and prints
 *
 *   degree 1   error on points left out 2.01
 *   degree 2   error on points left out 0.59   <- chosen
 *   degree 3   error on points left out 0.74
 *   degree 4   error on points left out 1.07
 *   P(a,t) = +14.5 a^0 t^0 +99.9 a^1 t^0 +29.5 a^0 t^1 -45.8 a^2 t^0 -14.0 a^1 t^1 -2.4 a^0 t^2
 *   remove  4: 2 attention + 2 activation, predicted 79.1 %
 *   remove  6: 2 attention + 4 activation, predicted 76.7 %
 *   remove  8: 2 attention + 6 activation, predicted 74.2 %
 *   remove 10: 2 attention + 8 activation, predicted 71.6 %
 *   with noise of 0.1: the same split in 100 % of the trials
 *
 * The last line comes from the second header, plus/boundarydpt_plus.h (see >>noise there).
 *
 * Try next: a degree of 1 in bdpt_map_fit, whose split is all of one type; your own points here.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "plus/boundarydpt_plus.h" /* for the noise */
#include <stdio.h>

/* Layers kept of twelve (attention, activation), and ImageNet accuracy in per cent. */
static const double measured[22][3] = {
  {12, 12, 81.80}, {11, 12, 81.31}, {10, 12, 80.90}, {9, 12, 80.20},  {8, 12, 78.10},
  {7, 12, 77.40},  {6, 12, 72.69},  {5, 12, 69.44},  {4, 12, 64.84},  {12, 11, 81.07},
  {12, 10, 80.40}, {12, 9, 78.90},  {12, 8, 77.80},  {12, 7, 76.70},  {12, 6, 75.20},
  {12, 5, 74.50},  {12, 4, 73.90},  {11, 11, 80.34}, {11, 10, 80.03}, {10, 10, 78.88},
  {10, 9, 78.08},  {9, 9, 76.52}
};

static bdpt_status lesson(bdpt_context *ctx) {
  bdpt_map_point point[22];
  bdpt_map_noise_options trials = {12, 8, 100, 0.1, 0.5, 1, 0};
  bdpt_map_noise_report noise;
  bdpt_map map;
  int i, k, p, q, attention, activation;
  double accuracy;
  for (i = 0; i < 22; i++) {
    point[i].attention = measured[i][0] / 12;  /* exact fractions: 11/12, not 0.92 */
    point[i].activation = measured[i][1] / 12;
    point[i].accuracy = measured[i][2];
  }

  /* Every pair of points is left out once and predicted from the other twenty. A low degree misses
   * the shape, a high one follows the noise; the error in between is the smallest. */
  if (bdpt_map_fit(ctx, point, 22, 1, 0, &map) != BDPT_OK) return ctx->status;
  for (i = 1; i <= 4; i++) {
    printf("degree %d   error on points left out %.2f%s\n", i, map.cv_rmse[i],
           i == map.degree ? "   <- chosen" : "");
  }
  printf("P(a,t) =");
  for (k = 0; k < map.terms; k++) {
    bdpt_map_term(k, &p, &q);
    printf(" %+.1f a^%d t^%d", map.theta[k], p, q);
  }
  printf("\n");

  /* The split is an exhaustive search: there are at most thirteen candidates. */
  for (k = 4; k <= 10; k += 2) {
    if (bdpt_map_split(ctx, &map, 12, k, &attention, &activation, &accuracy) != BDPT_OK) {
      return ctx->status;
    }
    printf("remove %2d: %d attention + %d activation, predicted %.1f %%\n", k, attention,
           activation, accuracy);
  }

  /* Would the same split come out if the accuracies were off by a tenth of a per cent? */
  if (bdpt_map_noise(ctx, point, 22, &trials, &noise) != BDPT_OK) return ctx->status;
  printf("with noise of 0.1: the same split in %.0f %% of the trials\n", noise.exact);
  return BDPT_OK;
}

int main(void) {
  static bdpt_context ctx;
  bdpt_status status = bdpt_init(&ctx);
  if (status == BDPT_OK) status = lesson(&ctx);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
