/* finer.c: a teacher for part 15 that sees more
 *
 * At 64 px DeiT-Tiny reads an image as 16 patches. The same pretrained network can read it as 64 of
 * half the side, which is what it would see of an image twice as large; it answers better and costs
 * four times as much. The dense network of part 15 learns from it. Both take the same pixels, so
 * a trainer can ask it about every augmented and mixed batch.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../input.h"
#include "../record.h"
#include "../session.h"
#include "study.h"

/* Sums 2 x 2 weights at a time: a patch that is stretched to twice its side, each pixel four times,
 * has the same product with the whole kernel as the patch has with these sums. */
static void finer_kernel(const bdpt_tensor *from, bdpt_tensor *to) {
  const size_t side = to->shape[3], whole = 2 * side;
  size_t i;
  for (i = 0; i < to->count; i++) {
    const size_t x = i % side, y = i / side % side, k = i / (side * side);
    const bdpt_real *w = from->data + (k * whole + 2 * y) * whole + 2 * x;
    to->data[i] = w[0] + w[1] + w[whole] + w[whole + 1];
  }
}

/* Reads the study's pretrained network at twice the size, and halves its patches and images. */
static bdpt_model *finer_network(study *s) {
  const int twice[2] = {2 * s->dense->config.image, 0}, classes = s->dense->config.classes;
  bdpt_model *large = input_model(s->base.ctx, s->o.model, twice), *m = NULL;
  bdpt_config c;
  bdpt_status status = large ? BDPT_OK : s->base.ctx->status;
  if (large && large->config.patch % 2)
    status = cli_fail(s->base.ctx, BDPT_E_SHAPE, "%.200s: patches of %d pixels have no half",
                      s->o.model, large->config.patch);
  if (status == BDPT_OK && large->config.classes != classes)
    status = bdpt_model_new_head(large, classes, s->o.common.seed);
  if (status == BDPT_OK) {
    c = large->config;
    c.image /= 2;
    c.patch /= 2;
    m = bdpt_model_reshape(large, &c);
  }
  if (m) finer_kernel(&large->param[BDPT_SLOT_PATCH_W], &m->param[BDPT_SLOT_PATCH_W]);
  bdpt_model_free(large);
  return m;
}

bdpt_status study_finer(study *s) {
  const study_recipe *p = &s->recipe;
  cli_json *j = &s->base.record.text;
  bdpt_accuracy held, test;
  study_root r = {"finer", "the teacher of part 15", NULL, NULL, NULL, study_better_recipe(s), 0,
                  0};
  bdpt_status status;
  int fresh;
  if (s->finer || p->finer_epochs == 0) return BDPT_OK;
  s->finer = finer_network(s);
  if (!s->finer) return s->base.ctx->status;
  r.model = &s->finer;
  r.hash = s->finer_hash;
  r.recipe.epochs = p->finer_epochs;
  r.recipe.lr = p->finer_lr;
  r.recipe.warmup = p->finer_warmup;
  r.recipe.mix_prob = p->finer_mix_prob;
  r.recipe.ema = p->finer_ema;
  r.recipe.distill = BDPT_DISTILL_NONE;
  r.trained = STUDY_FINER_COST * r.recipe.epochs * (double)s->base.in.rest.count;
  r.evaluated = STUDY_FINER_COST * (r.recipe.epochs + 1) * (double)s->base.in.held.count;
  status = study_root_make(s, &r, &fresh);
  if (status != BDPT_OK || !fresh) return status;
  status = bdpt_evaluate(s->finer, &s->base.in.held, &held);
  if (status == BDPT_OK) status = bdpt_evaluate(s->finer, &s->base.in.tested, &test);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "finer");
  cli_json_text(j, "hash", s->finer_hash);
  cli_json_real(j, "patch", s->finer->config.patch);
  cli_json_real(j, "epochs", p->finer_epochs);
  cli_json_real(j, "lr", p->finer_lr);
  cli_json_real(j, "mix_prob", p->finer_mix_prob);
  cli_json_real(j, "ema", p->finer_ema);
  cli_json_real(j, "accuracy", held.top1);
  cli_json_real(j, "test", test.top1);
  cli_json_close(j);
  return study_cell_end(s, session_save(&s->base, "finer"));
}
