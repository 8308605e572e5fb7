/* Lesson 3: gradient disparity                                                    (see >>disparity)
 *
 * You learn why attention layers and activations must not stand in one ranking. Every layer that
 * can be removed gets a mask m: 1 keeps it, 0 removes it. dL/dm says how the loss moves when m
 * moves, and its mean size over many steps looks like a measure of importance. The lesson trains a
 * network and measures it over one more epoch, by type and layer. Four seconds on one core. It
 * prints, with other decimals on other machines,
 *
 *   mean |dL/dm|    layer 0   layer 1   layer 2   layer 3      all
 *   attention        0.2685    0.1756    0.1302    0.1226   0.1742
 *   activation       0.0228    0.0202    0.0635    0.0731   0.0449
 *   the largest activation is below the smallest attention layer
 *
 * In a common ranking every activation would go before the first attention layer. Nothing about the
 * problem says so: the size of dL/dm follows from the sizes of the things that m multiplies. In the
 * paper's DeiT-Base it is the other way round, by a factor of hundreds, and the attention layers
 * would go first. So importance is compared within a type only, and lesson 4 looks at what is left
 * of the ranking when the network may recover.
 *
 * Try next: attn_form = BDPT_ATTN_SKIP in compass_setup: then r is 0, and the picture changes.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_STUDIES_IMPLEMENTATION
#include "plus/boundarydpt_studies.h"
#include "compass.h"

static bdpt_status lesson(bdpt_context *ctx, const compass *c) {
  static const char *const type_name[2] = {"attention", "activation"};
  static bdpt_disparity_row row;
  const bdpt_run run = {&c->train, NULL, NULL};
  bdpt_model *model = compass_network(ctx, c);
  bdpt_config config;
  bdpt_recipe recipe;
  bdpt_status s;
  double low[2], high[2], mean;
  size_t steps, count;
  int type, l;
  if (!model) return ctx->status;

  /* One row per `window` steps; here the window is the epoch. The library trains a copy. */
  compass_setup(&config, &recipe);
  recipe.epochs = 1;
  recipe.lr = 4e-4;
  steps = c->train.count / (size_t)recipe.batch;
  s = bdpt_disparity(model, &run, &recipe, steps, &row, 1, &count);
  bdpt_model_free(model);
  if (s != BDPT_OK) return s;

  printf("mean |dL/dm|    layer 0   layer 1   layer 2   layer 3      all\n");
  for (type = 0; type < 2; type++) {
    printf("%-14s", type_name[type]);
    low[type] = high[type] = row.gradient[type][0];
    for (l = 0, mean = 0; l < config.depth; l++) {
      double g = row.gradient[type][l];
      printf("%9.4f ", g);
      if (g < low[type]) low[type] = g;
      if (g > high[type]) high[type] = g;
      mean += g / config.depth;
    }
    printf("%8.4f\n", mean);
  }
  printf("the largest activation is %s the smallest attention layer\n",
         high[BDPT_ACTIVATION] < low[BDPT_ATTENTION] ? "below" : "NOT BELOW");
  return BDPT_OK;
}

int main(void) { return compass_lesson(lesson); }
