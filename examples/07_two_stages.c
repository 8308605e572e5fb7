/* Lesson 7: the two stages                                                        (see >>two-stage)
 *
 * You learn the whole method in one call: three of a network's eight layers go, two types of four
 * each. Stage 1 measures networks with some layers removed, fits the surface of lesson 6, splits
 * the budget, and trains an importance for each layer to choose which ones. Stage 2 removes those
 * from the dense network, trains on with the dense network as teacher, and fuses. Ten seconds on
 * one core. It prints, with other numbers and perhaps other layers on other machines,
 *
 *   dense  36648 parameters  0.66 million MACs  held out 96 %  new pictures 95 %
 *   kept: attention   activation   accuracy
 *             100 %        100 %       96 %
 *              75 %        100 %       80 %
 *              50 %        100 %       86 %
 *              25 %        100 %       68 %
 *             100 %         75 %       93 %
 *             100 %         50 %       91 %
 *             100 %         25 %       89 %
 *              75 %         75 %       82 %
 *              75 %         50 %       85 %
 *              50 %         50 %       84 %
 *   surface of degree 1, best split of 3: 0 attention + 3 activation
 *   search removes activation 0
 *   search removes activation 2
 *   search removes activation 1
 *   pruned 72 %, recovered 97 %, fused 97 %
 *   3 MLPs fused: logits differ by 3e-07 of the largest, arg-max equal on 400 of 400 images
 *   fused  27240 parameters  0.50 million MACs  held out 97 %  new pictures 95 %
 *
 * The held-out pictures made every choice, so the last column is the one to believe: pictures that
 * neither training nor choosing has seen.
 *
 * Try next: a budget of 5; options.start = BDPT_START_PAPER and BDPT_START_SKIP_FIT side by side.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_STUDIES_IMPLEMENTATION
#include "plus/boundarydpt_studies.h"
#include "compass.h"

enum { BUDGET = 3 };

static const char *const type_name[2] = {"attention", "activation"};

static void describe(const bdpt_two_stage_result *r) {
  size_t i;
  int j;
  printf("kept: attention   activation   accuracy\n");
  for (i = 0; i < r->point_count; i++) {
    const bdpt_map_point *p = &r->points[i];
    printf("%13.0f %% %10.0f %% %8.0f %%\n", 100 * p->attention, 100 * p->activation, p->accuracy);
  }
  printf("surface of degree %d, best split of %d: %d attention + %d activation\n", r->map.degree,
         BUDGET, r->attention, r->activation);
  for (j = 0; j < r->search.removed; j++) {
    printf("search removes %s %d\n", type_name[r->search.layer[j].type],
           r->search.layer[j].block);
  }
  printf("pruned %.0f %%, recovered %.0f %%, fused %.0f %%\n", r->stage2.at_once.top1,
         r->stage2.recovered.top1, r->stage2.fused.top1);
}

/* One line of the final table. */
static bdpt_status row(bdpt_model *model, const char *what, const compass *c, const compass *test) {
  bdpt_cost_report cost;
  bdpt_accuracy held, fresh;
  bdpt_status s = bdpt_cost(model->ctx, &model->config, &cost);
  if (s == BDPT_OK) s = bdpt_evaluate(model, &c->held, &held);
  if (s == BDPT_OK) s = bdpt_evaluate(model, &test->held, &fresh);
  if (s != BDPT_OK) return s;
  printf("%-5s  %u parameters  %.2f million MACs  held out %.0f %%  new pictures %.0f %%\n", what,
         (unsigned)cost.params, cost.macs / 1e6, held.top1, fresh.top1);
  return BDPT_OK;
}

static bdpt_status lesson(bdpt_context *ctx, const compass *c, const compass *test) {
  static bdpt_two_stage_options options;
  static bdpt_two_stage_result result;
  const bdpt_run run = {&c->train, &c->held, NULL};
  bdpt_config config;
  bdpt_model *model = compass_network(ctx, c);
  bdpt_status s;
  int i;
  if (!model) return ctx->status;
  s = row(model, "dense", c, test);

  /* Many short trainings choose, one long training recovers. */
  options.start = BDPT_START_PAPER; /* a removed layer leaves the identity */
  options.budget = BUDGET;
  compass_setup(&config, &options.finetune);
  options.finetune.lr = 2e-3;
  options.finetune.warmup = 0;
  options.finetune.epochs = 4;
  options.collect.recipe = options.finetune;
  options.collect.recipe.epochs = 1;
  options.collect.recipe.epoch_images = 2000;
  options.search.recipe = options.collect.recipe;
  for (i = 0; i < BUDGET; i++) options.search.stage[i] = 1; /* one epoch before each removal */
  if (s == BDPT_OK) s = bdpt_two_stage(model, &run, &options, &result);
  if (s == BDPT_OK) describe(&result);
  if (s == BDPT_OK) {
    const bdpt_certificate *k = &result.stage2.certificate;
    printf("%d MLPs fused: logits differ by %.0e of the largest, ", k->fused, k->difference);
    printf("arg-max equal on %d of %d images\n", (int)k->agree, (int)k->images);
  }
  if (s == BDPT_OK) s = row(model, "fused", c, test);
  bdpt_model_free(model);
  return s;
}

int main(void) {
  static bdpt_context ctx;
  static compass c, test;
  bdpt_status status;
  ctx.threads = 1; /* a network as small as this one gains nothing from more */
  status = bdpt_init(&ctx);
  if (status == BDPT_OK) status = compass_open(&ctx, &c, 0);
  if (status == BDPT_OK) status = compass_open(&ctx, &test, 80000); /* pictures nobody has seen */
  if (status == BDPT_OK) status = lesson(&ctx, &c, &test);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  compass_close(&ctx, &c);
  compass_close(&ctx, &test);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
