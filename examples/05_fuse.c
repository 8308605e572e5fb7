/* Lesson 5: removing and fusing                                                       (see >>prune)
 *
 * You learn the trick that makes depth pruning free of new shapes. The MLP of a block is two
 * linears with a GELU between them. A linear cannot be removed alone: the next one would get
 * numbers of the wrong width. But without the GELU the two are one linear, so they can be
 * multiplied into one matrix, and the network computes the same function with less work. The
 * weights here are random, because fusing does not care. It takes no time and prints
 *
 *   dense              214218 parameters   3.69 million multiply-accumulates
 *   fusing now: fuse: block 1 still has its GELU between fc1 [256,64] and fc2 [64,256], so ...
 *   one linear alone: dimension mismatch: fc1 [256,64] and fc2 [64,256] of block 1 need each ...
 *   two GELUs removed  214218 parameters   3.69 million multiply-accumulates
 *   removing changed the logits by 33 %
 *   fused              156362 parameters   2.71 million multiply-accumulates
 *   fusing changed the logits by less than 0.00001: yes
 *   restoring: restore: the MLP of block 1 is fused; its two linears are gone
 *   attention removed  139722 parameters   2.40 million multiply-accumulates
 *
 * Try next: depth 6 and all GELUs removed; attn_form = BDPT_ATTN_SKIP, with which the norm of a
 * removed attention goes too.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_STUDIES_IMPLEMENTATION
#include "plus/boundarydpt_studies.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { IMAGES = 4, SIDE = 32, CLASSES = 10 };

/* Prints the reason of a refusal, and accepts it. */
static void refused(bdpt_context *ctx, const char *what) {
  printf("%s: %s\n", what, ctx->message);
  bdpt_clear_error(ctx);
}

static void row(const bdpt_model *model, const char *what) {
  bdpt_cost_report cost;
  if (bdpt_cost(model->ctx, &model->config, &cost) != BDPT_OK) return;
  printf("%-18s %6u parameters %6.2f million multiply-accumulates\n", what, (unsigned)cost.params,
         cost.macs / 1e6);
}

/* Returns the largest difference of two rows of numbers, relative to the largest number. */
static double difference(const bdpt_real *a, const bdpt_real *b, int n) {
  double most = 0, largest = 0;
  int i;
  for (i = 0; i < n; i++) {
    double gap = fabs((double)(a[i] - b[i])), size = fabs((double)b[i]);
    if (gap > most) most = gap;
    if (size > largest) largest = size;
  }
  return most / largest;
}

static bdpt_status lesson(bdpt_context *ctx, bdpt_model *model, bdpt_tape *tape) {
  static bdpt_real image[IMAGES * 3 * SIDE * SIDE];
  bdpt_real dense[IMAGES * CLASSES], pruned[IMAGES * CLASSES], fused[IMAGES * CLASSES];
  int i;
  for (i = 0; i < IMAGES * 3 * SIDE * SIDE; i++) image[i] = (bdpt_real)sin(i * 0.7);
  row(model, "dense");
  if (bdpt_predict(model, tape, IMAGES, image, dense) != BDPT_OK) return ctx->status;

  /* What cannot be done is refused, and the network stays as it was. */
  if (bdpt_fuse(model, 1) != BDPT_OK) refused(ctx, "fusing now");
  if (bdpt_prune_linear(model, 1, 1) != BDPT_OK) refused(ctx, "one linear alone");

  /* Removing an activation changes the function but not one number of the cost: no weight, no
   * multiplication is gone yet. Removing attention takes both. */
  if (bdpt_prune(model, BDPT_ACTIVATION, 1) != BDPT_OK) return ctx->status;
  if (bdpt_prune(model, BDPT_ACTIVATION, 2) != BDPT_OK) return ctx->status;
  row(model, "two GELUs removed");
  if (bdpt_predict(model, tape, IMAGES, image, pruned) != BDPT_OK) return ctx->status;
  printf("removing changed the logits by %.0f %%\n",
         100 * difference(pruned, dense, IMAGES * CLASSES));

  /* Fusing takes the work and leaves the function. */
  if (bdpt_fuse_all(model) != BDPT_OK) return ctx->status;
  row(model, "fused");
  if (bdpt_predict(model, tape, IMAGES, image, fused) != BDPT_OK) return ctx->status;
  printf("fusing changed the logits by less than 0.00001: %s\n",
         difference(fused, pruned, IMAGES * CLASSES) < 1e-5 ? "yes" : "NO");

  /* A product of two matrices does not remember its factors. */
  if (bdpt_restore(model, BDPT_ACTIVATION, 1) != BDPT_OK) refused(ctx, "restoring");
  if (bdpt_prune(model, BDPT_ATTENTION, 0) != BDPT_OK) return ctx->status;
  row(model, "attention removed");
  return BDPT_OK;
}

int main(void) {
  static bdpt_context ctx;
  static bdpt_config config;
  bdpt_model *model = NULL;
  bdpt_tape *tape = NULL;
  bdpt_status status = bdpt_init(&ctx);
  config.image = SIDE;
  config.patch = 8;
  config.width = 64;
  config.depth = 4;
  config.heads = 4;
  config.classes = CLASSES;
  if (status == BDPT_OK) model = bdpt_model_create(&ctx, &config, 1);
  if (model) tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  status = tape ? lesson(&ctx, model, tape) : ctx.status;
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  bdpt_tape_free(tape);
  bdpt_model_free(model);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
