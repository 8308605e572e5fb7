/* learn.c: a network learns masks */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../pictures/generate.h"
#include "segment.h"
#include "../words.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 2  LEARNING                                                                          >>learning
 * =================================================================================================
 * The library's trainer moves the weights (AdamW, cosine, checkpoints); this chapter makes its
 * losses. Batch b of epoch e depends on (seed, e, b) alone, so a resumed run goes on with the same
 * bits.
 */

void segment_work_free(segment_work *w) {
  free(w->order);
  free(w->planes);
  free(w->images);
  free(w->label);
  free(w->failed);
}

bdpt_status segment_work_make(segment_work *w, bdpt_model *m, size_t batch) {
  size_t pixels = (size_t)m->config.image * (size_t)m->config.image;
  w->m = m;
  w->batch = batch;
  w->planes = (unsigned char *)malloc(batch * 3 * pixels);
  w->images = (bdpt_real *)malloc(batch * 3 * pixels * sizeof *w->images);
  w->label = (int *)malloc(batch * pixels * sizeof *w->label);
  w->failed = (char *)calloc(batch, 1);
  if (w->train) w->order = (size_t *)malloc((w->train->count + 1) * sizeof *w->order);
  if (w->planes && w->images && w->label && w->failed && (w->order || !w->train)) return BDPT_OK;
  return cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory for a batch of %lu %s",
                  (unsigned long)batch, words_of((double)batch, "picture", "pictures"));
}

/* Turns bytes into numbers, by the statistics of the network. */
static void segment_normalise(const bdpt_config *c, const unsigned char *planes, size_t pixels,
                              bdpt_real *out) {
  size_t i;
  int k;
  for (k = 0; k < 3; k++)
    for (i = 0; i < pixels; i++)
      *out++ = (bdpt_real)((*planes++ / 255.0 - c->mean[k]) / c->std[k]);
}

int segment_fill(segment_work *w, const segment_set *set, size_t k, size_t i, int random,
                 uint64_t draw, segment_shot *keep) {
  int side = w->m->config.image, ok;
  size_t pixels = (size_t)side * (size_t)side;
  char why[SEGMENT_WHY];
  segment_shot shot;
  segment_part part;
  if (!segment_read(set, i, &shot, why)) return 0;
  part = random ? segment_random(&shot, w->seed, draw) : segment_whole(&shot);
  ok = segment_cut(&shot, &part, side, w->planes + k * 3 * pixels, w->label + k * pixels);
  if (ok) segment_normalise(&w->m->config, w->planes + k * 3 * pixels, pixels,
                            w->images + k * 3 * pixels);
  if (ok && keep) *keep = shot;
  else segment_shot_free(&shot);
  return ok;
}

bdpt_status segment_explain(bdpt_context *ctx, const segment_set *set, size_t i) {
  char why[SEGMENT_WHY] = "out of memory";
  const char *end = why;
  segment_shot shot;
  if (segment_read(set, i, &shot, why)) segment_shot_free(&shot);
  if (strlen(why) > 390) end += strlen(why) - 390; /* the end of a path says more than its start */
  return cli_fail(ctx, BDPT_E_FORMAT, "%s%s", end > why ? "..." : "", end);
}

static void segment_shuffle(segment_work *w, size_t epoch) {
  size_t n = w->train->count, i;
  gen_rng r;
  if (w->ordered == epoch + 1) return;
  w->ordered = epoch + 1;
  r.state = gen_hash(w->seed ^ UINT64_C(0x0dde), epoch);
  for (i = 0; i < n; i++) w->order[i] = i;
  for (i = n; i > 1; i--) {
    size_t j = (size_t)gen_pick(&r, 0, (int)i - 1), other = w->order[j];
    w->order[j] = w->order[i - 1];
    w->order[i - 1] = other;
  }
}

/* Reads the pictures of a step. */
static bdpt_status segment_batch(segment_work *w, size_t step) {
  size_t at = step % w->per_epoch * w->batch;
  int k;
  segment_shuffle(w, step / w->per_epoch);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(w->m->ctx->threads)
#endif
  for (k = 0; k < (int)w->batch; k++) {
    size_t i = w->order[(at + (size_t)k) % w->train->count];
    w->failed[k] = !segment_fill(w, w->train, (size_t)k, i, 1,
                                 (uint64_t)step * w->batch + (uint64_t)k, NULL);
  }
  for (k = 0; k < (int)w->batch; k++)
    if (w->failed[k])
      return segment_explain(w->m->ctx, w->train, w->order[(at + (size_t)k) % w->train->count]);
  return BDPT_OK;
}

bdpt_tensor *segment_patches(bdpt_model *m, bdpt_tape *t, const bdpt_real *images,
                             size_t count, const bdpt_forward_options *o) {
  size_t shape[4] = {0, 3, 0, 0};
  shape[0] = count;
  shape[2] = shape[3] = (size_t)m->config.image;
  return bdpt_linear(t, bdpt_features(m, t, bdpt_input(t, 4, shape, images, 0), o),
                     &m->param[BDPT_SLOT_HEAD_W], &m->param[BDPT_SLOT_HEAD_B], NULL);
}

static bdpt_tensor *segment_lesson(bdpt_model *m, bdpt_tape *t, const bdpt_forward_options *o,
                                   size_t step, void *user) {
  segment_work *w = (segment_work *)user;
  size_t grid = (size_t)(m->config.image / m->config.patch), side = (size_t)m->config.image;
  bdpt_tensor *z;
  if (segment_batch(w, step) != BDPT_OK) return NULL;
  z = segment_patches(m, t, w->images, w->batch, o);
  return bdpt_pixel_loss(t, bdpt_upsample(t, z, grid, side, side), w->label, -1);
}

/* Fails: the trainer wants a data set, but ours is only a number of pictures, which are read
 * elsewhere. */
static int segment_no_fetch(void *user, size_t index, unsigned char *planes) {
  (void)user, (void)index, (void)planes;
  return 1;
}

static bdpt_status segment_tell(bdpt_context *ctx, const segment_run *r, size_t epoch, double loss,
                                double seconds) {
  cli_json j = {NULL, 0, 0, 0, 0};
  if (!r->json) {
    printf("epoch %3lu  loss %.4f  %.0f s\n", (unsigned long)epoch, loss, seconds);
    fflush(stdout);
    return BDPT_OK;
  }
  cli_json_open(&j, "epoch");
  cli_json_real(&j, "epoch", (double)epoch);
  cli_json_real(&j, "loss", loss);
  cli_json_real(&j, "seconds", seconds);
  cli_json_close(&j);
  return cli_json_print(&j, ctx);
}

/* Makes the steps from where the trainer stands to the end. */
static bdpt_status segment_steps(segment_work *w, bdpt_trainer *t, const segment_run *r) {
  size_t step = bdpt_trainer_steps_done(t), total = w->per_epoch * (size_t)r->recipe.epochs;
  double sum = 0, count = 0, loss = 0, began = cli_now();
  bdpt_status status = BDPT_OK;
  cli_progress progress;
  bdpt_hooks hooks;
  cli_progress_open(&progress, r->quiet);
  hooks = cli_hooks(&progress, NULL);
  for (; step < total && status == BDPT_OK; step++) {
    bdpt_progress now = {"train", "", 0, 0, "images", 0, 0};
    status = bdpt_trainer_step_on(t, segment_lesson, w, &loss);
    if (status != BDPT_OK) break;
    sum += loss; count++;
    now.done = (step + 1) * w->batch; now.total = total * w->batch;
    now.loss = sum / count; now.accuracy = NAN;
    if (hooks.progress(&now, hooks.user)) status = BDPT_CANCELLED;
    if ((step + 1) % w->per_epoch == 0) {
      cli_progress_clear(&progress);
      if (status == BDPT_OK)
        status = segment_tell(w->m->ctx, r, (step + 1) / w->per_epoch, sum / count,
                              cli_now() - began);
      sum = count = 0;
      if (status == BDPT_OK && step + 1 < total && r->checkpoint)
        status = cli_save_trainer(w->m->ctx, t, r->checkpoint);
    }
  }
  cli_progress_clear(&progress);
  if (status == BDPT_CANCELLED && r->checkpoint &&
      cli_save_trainer(w->m->ctx, t, r->checkpoint) != BDPT_OK)
    status = w->m->ctx->status;
  return status;
}

bdpt_status segment_train(bdpt_model *m, const segment_set *train, const segment_run *r) {
  bdpt_context *ctx = m->ctx;
  bdpt_dataset none;
  bdpt_subset all;
  segment_work w;
  bdpt_trainer *t = NULL;
  bdpt_status s;
  memset(&w, 0, sizeof w); memset(&none, 0, sizeof none); memset(&all, 0, sizeof all);
  w.train = train;
  w.seed = r->recipe.seed;
  none.count = train->count;
  none.classes = 1;
  none.height = none.width = m->config.image;
  none.fetch = segment_no_fetch;
  none.label = (unsigned short *)calloc(train->count, sizeof *none.label);
  if (!none.label) return cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  s = bdpt_subset_all(ctx, &none, &all);
  if (s == BDPT_OK && !(t = bdpt_trainer_create(m, NULL, &all, &r->recipe))) s = ctx->status;
  if (s == BDPT_OK && !r->fresh && r->checkpoint && cli_file_exists(r->checkpoint) != 0) {
    if (!r->quiet)
      fprintf(stderr, "   going on from %s (--fresh would start again)\n", r->checkpoint);
    s = cli_load_trainer(ctx, t, r->checkpoint);
  }
  if (s == BDPT_OK) {
    size_t epoch = r->recipe.epoch_images ? r->recipe.epoch_images : train->count;
    w.per_epoch = bdpt_trainer_steps_per_epoch(t);
    s = segment_work_make(&w, m, epoch < (size_t)r->recipe.batch ? epoch : (size_t)r->recipe.batch);
  }
  if (s == BDPT_OK) s = segment_steps(&w, t, r);
  bdpt_trainer_free(t);
  bdpt_subset_free(ctx, &all);
  segment_work_free(&w);
  free(none.label);
  return s;
}
