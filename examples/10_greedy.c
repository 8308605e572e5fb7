/* Lesson 10: the greedy choice                                                      (see >>greedy)
 *
 * You learn the plainest way to choose layers: try each one. Every layer that is left is taken out,
 * the best linear map of 9.3 takes the place of an activation and a skip that of attention, and the
 * layer goes without which the loss on held-out pictures is smallest. Then the same again. The
 * search of lesson 7 learns its choice while it trains; this one does not train at all, and pays
 * with one pass over the pictures for each trial. Because the pictures that choose flatter the
 * result, new ones judge it. Four seconds on one core. It prints, with other numbers and layers on
 * other machines,
 *
 *   dense: new pictures 95 %, 0.66 million multiply-accumulates
 *   goes  what            held out   million MACs
 *   1     activation 1         95 %           0.60
 *   2     activation 0         95 %           0.55
 *   3     activation 2         92 %           0.50
 *   4     attention  2         88 %           0.41
 *   4 layers gone, nothing trained: new pictures 90 %
 *   one epoch later: new pictures 94 %
 *
 * Try next: .most[BDPT_ACTIVATION] = 2, so that attention must give something too; a budget in MACs
 * in place of a number of layers; BDPT_START_PAPER, to see what the maps are worth.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "compass.h"

static double judged(bdpt_model *m, const compass *fresh) {
  bdpt_accuracy a;
  return bdpt_evaluate(m, &fresh->held, &a) == BDPT_OK ? a.top1 : -1;
}

static bdpt_status lesson(bdpt_context *ctx, const compass *c, const compass *fresh) {
  static bdpt_greedy_options options;
  static bdpt_greedy_result found;
  const bdpt_run run = {&c->train, &c->held, NULL};
  bdpt_model *m = compass_network(ctx, c);
  bdpt_config config;
  bdpt_recipe recipe;
  bdpt_cost_report cost;
  int i;
  if (!m) return ctx->status;
  bdpt_cost(ctx, &m->config, &cost);
  printf("dense: new pictures %.0f %%, %.2f million multiply-accumulates\n", judged(m, fresh),
         cost.macs / 1e6);

  options.layers = 4;   /* all other fields are zero: the defaults */
  options.images = 400; /* every held-out picture */
  if (bdpt_greedy(m, &run, &options, &found) == BDPT_OK) {
    printf("goes  what            held out   million MACs\n");
    for (i = 0; i < found.removed; i++) {
      printf("%-5d %-10s %d %10.0f %% %14.2f\n", i + 1, bdpt_type_name(found.layer[i].type),
             found.layer[i].block, found.accuracy[i], found.cost[i] / 1e6);
    }
    printf("%d layers gone, nothing trained: new pictures %.0f %%\n", found.removed,
           judged(m, fresh));
    compass_setup(&config, &recipe);
    recipe.epochs = 1;
    recipe.lr = 1e-3;
    recipe.warmup = 0;
    if (bdpt_train(m, NULL, &run, &recipe, NULL) == BDPT_OK) {
      printf("one epoch later: new pictures %.0f %%\n", judged(m, fresh));
    }
  }
  bdpt_model_free(m);
  return ctx->status;
}

int main(void) {
  static bdpt_context ctx;
  static compass c, fresh;
  bdpt_status status;
  ctx.threads = 1; /* a network as small as this one gains nothing from more */
  status = bdpt_init(&ctx);
  if (status == BDPT_OK) status = compass_open(&ctx, &c, 0);
  if (status == BDPT_OK) status = compass_open(&ctx, &fresh, COMPASS_COUNT);
  if (status == BDPT_OK) status = lesson(&ctx, &c, &fresh);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  compass_close(&ctx, &c);
  compass_close(&ctx, &fresh);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
