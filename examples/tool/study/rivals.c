/* rivals.c: part 19 of the study: other ways to the multiply-accumulates of part 16
 *
 * All start from the network of part 15 and train as part 16 does, as far as their shapes allow: a
 * smaller input has other tokens than its teacher would, so it learns from labels alone. Each way
 * is timed beside the dense network. What stands in for layers is made in standins.c; the dense
 * network with merged tokens, which trains nothing, is in smaller.c.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"
#include "standins.h"
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const study_rival_name[STUDY_RIVAL_ROWS] = {
  "dense", "ours", "the paper's way", "narrower", "blocks as maps", "idle channels",
  "smaller input"};

/* ---- Blocks as maps ---- */

/* Returns the line of the choice. */
static record_line study_maps_line(const study *s) {
  return study_find(s, "block_maps", "parent", s->better_hash, "wanted", s->recipe.headline_layers);
}

/* Returns how many blocks the budget of part 16 asks for. */
static int study_maps_wanted(study *s, double macs) {
  bdpt_config c = s->better->config;
  bdpt_cost_report cost;
  int n;
  for (n = 0; n < c.depth; n++) {
    if (bdpt_cost(s->base.ctx, &c, &cost) == BDPT_OK && cost.macs <= macs) break;
    c.block[n].attention = BDPT_ATTENTION_REMOVED;
    c.block[n].mlp_state = BDPT_MLP_FUSED;
  }
  return n;
}

/* Chooses n blocks by the 1,000 images of half the held-out ones that choose, as for the greedy
 * choice. */
static bdpt_status study_maps_search(study *s, int n, int *block, double *loss) {
  bdpt_subset half, few;
  bdpt_status status;
  memset(&half, 0, sizeof half);
  memset(&few, 0, sizeof few);
  status = study_half(s, &half);
  if (status == BDPT_OK && half.count > s->recipe.headline_images)
    half.count = s->recipe.headline_images;
  if (status == BDPT_OK) status = study_sample(s, s->recipe.which_images, &few);
  if (status == BDPT_OK) status = standin_choose(s->better, n, &few, &half, block, loss);
  bdpt_subset_free(s->base.ctx, &half);
  bdpt_subset_free(s->base.ctx, &few);
  return status;
}

static bdpt_status study_maps_choose(study *s) {
  cli_json *j = &s->base.record.text;
  const double macs = study_budget(s, s->recipe.headline_layers / 2);
  double loss[BDPT_MAX_DEPTH];
  int block[BDPT_MAX_DEPTH], n;
  const clock_t began = clock();
  bdpt_status status;
  if (!study_cell(s, "block maps", study_maps_line(s).text != NULL, 0,
                  s->base.depth * (double)s->recipe.headline_images * s->recipe.headline_layers))
    return BDPT_OK;
  n = study_maps_wanted(s, macs);
  status = study_maps_search(s, n, block, loss);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "block_maps");
  cli_json_text(j, "parent", s->better_hash);
  cli_json_real(j, "wanted", s->recipe.headline_layers);
  cli_json_ints(j, "block", block, n);
  cli_json_reals(j, "losses", loss, n);
  cli_json_real(j, "processor_seconds", (double)(clock() - began) / CLOCKS_PER_SEC);
  cli_json_close(j);
  return study_cell_end(s, record_save(&s->base.record));
}

static void study_maps_take(const study *s, study_spec *p) {
  double block[BDPT_MAX_DEPTH];
  int i, n = record_reals(study_maps_line(s), "block", block, BDPT_MAX_DEPTH);
  memset(p->which, 0, sizeof p->which);
  for (i = 0; i < n; i++)
    if (block[i] >= 0 && block[i] < s->base.depth)
      p->which[0][(int)block[i]] = p->which[1][(int)block[i]] = 1;
}

/* ---- Networks ---- */

/* Returns the share of hidden channels without which, merged, as many multiply-accumulates are left
 * as in part 16: each block spares 2 D of them a channel and token, and its map costs D^2. */
static double study_idle_share(study *s) {
  const bdpt_config *c = &s->better->config;
  const double d = c->width, side = c->image / c->patch;
  const double tokens = side * side + bdpt_prefix_count(c);
  const double gone = study_budget(s, 0) - study_budget(s, s->recipe.headline_layers / 2);
  return (gone / (tokens * c->depth) + d * d) / (2 * d) / c->block[0].mlp;
}

/* Returns three quarters of the input, in whole patches. */
static int study_smaller_input(const study *s) {
  const bdpt_config *c = &s->dense->config;
  const int patches = c->image / c->patch * 3 / 4;
  return c->patch * (patches > 0 ? patches : 1);
}

bdpt_status study_stand_in(study *s, bdpt_model *m, const study_spec *p) {
  bdpt_subset few;
  bdpt_status status = BDPT_OK;
  if (p->rival >= STUDY_IN_STEPS) return study_take_out(s, m, p);
  memset(&few, 0, sizeof few);
  if (p->rival == STUDY_SMALLER_INPUT) return bdpt_model_resize(m, study_smaller_input(s), 0);
  status = study_sample(s, s->recipe.which_images, &few);
  if (status == BDPT_OK && p->rival == STUDY_BLOCK_MAPS)
    status = standin_blocks(m, p->which[0], &few);
  if (status == BDPT_OK && p->rival == STUDY_IDLE_CHANNELS) {
    if (s->idle) standin_idle_close(s->idle);
    else s->idle = (standin_idle *)calloc(1, sizeof *s->idle);
    status = s->idle ? standin_idle_open(m, study_idle_share(s), &few, s->idle) : BDPT_E_MEMORY;
  }
  bdpt_subset_free(s->base.ctx, &few);
  return status;
}

bdpt_status study_fused_cost(study *s, const bdpt_model *m, bdpt_cost_report *out) {
  bdpt_model *fused = bdpt_model_clone(m);
  bdpt_status status = fused ? bdpt_fuse_all(fused) : s->base.ctx->status;
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &fused->config, out);
  if (status == BDPT_OK) standin_cost(m, out);
  bdpt_model_free(fused);
  return status;
}

static study_spec study_rival_job(study *s, int row, int seed) {
  const int n = s->recipe.headline_layers / 2;
  study_spec p = study_headline_spec(s, row == 1, seed);
  if (row == 2) {
    p.start = STUDY_PAPER;
    p.form = study_starts[STUDY_PAPER].form;
    study_first(s, n, n, &p);
  }
  if (row == 3) p.macs = study_budget(s, n);
  if (row == 4) p.rival = STUDY_BLOCK_MAPS;
  if (row == 4) study_maps_take(s, &p);
  if (row == 5) p.rival = STUDY_IDLE_CHANNELS;
  if (row == 6) p.rival = STUDY_SMALLER_INPUT;
  if (row == 6) p.teacher = STUDY_ALONE;
  if (row == 3 || row == 6) { /* streams of other shapes cannot be compared */
    p.features = 0;
    p.lr = s->recipe.headline_narrow_lr;
  }
  return p;
}

/* Times a way's network beside the dense one: one "rival_timing" line. */
static bdpt_status study_rival_time(study *s, int row) {
  study_spec p = study_rival_job(s, row, 0);
  cli_json *j = &s->base.record.text;
  bdpt_model *m, *merged = NULL;
  bdpt_status status = BDPT_OK;
  const size_t before = j->used;
  if (study_find(s, "rival_timing", "model", study_rival_name[row], NULL, 0).text) return BDPT_OK;
  m = study_pruned(s, &p);
  if (!m) return s->base.ctx->status;
  if (p.rival == STUDY_IDLE_CHANNELS) merged = standin_idle_merge(m, s->idle);
  if (p.rival == STUDY_IDLE_CHANNELS && !merged) status = BDPT_E_MEMORY;
  cli_json_open(j, "rival_timing");
  cli_json_text(j, "model", study_rival_name[row]);
  cli_json_real(j, "image", m->config.image);
  if (status == BDPT_OK)
    status = study_time(s, s->better, merged ? merged : m, s->recipe.types_repeats, NULL);
  bdpt_model_free(merged);
  bdpt_model_free(m);
  if (status == BDPT_OK) return record_save(&s->base.record);
  j->used = before;
  return status;
}

bdpt_status study_rivals(study *s) {
  bdpt_status status = study_better(s);
  int i;
  if (status == BDPT_OK) status = study_headline_choice(s);
  if (status == BDPT_OK) status = study_maps_choose(s);
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (i = 0; i < STUDY_RIVAL_ROWS * s->recipe.seeds && status == BDPT_OK; i++) {
    const int row = i % STUDY_RIVAL_ROWS;
    study_spec p = study_rival_job(s, row, i / STUDY_RIVAL_ROWS);
    status = study_row_of(s, "rival", study_rival_name[row], &p);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
  for (i = 1; i < STUDY_RIVAL_ROWS && status == BDPT_OK; i++) status = study_rival_time(s, i);
  return status == BDPT_OK ? study_rival_merged(s) : status;
}

static void study_tell_rival_time(study *s, const char *row) {
  record_line time = study_find(s, "rival_timing", "model", row, NULL, 0);
  if (time.text)
    session_say(&s->base, "      %.2f times as fast (%.2f-%.2f), %.2f times fewer MACs\n",
                record_real(time, "speedup", NAN), record_real(time, "speedup_low", NAN),
                record_real(time, "speedup_high", NAN),
                record_real(time, "dense_macs", NAN) / record_real(time, "macs", NAN));
}

void study_tell_rivals(study *s) {
  record_line merged = study_find(s, "rival_merged", NULL, NULL, NULL, 0);
  int i;
  for (i = 0; i < STUDY_RIVAL_ROWS; i++) {
    study_say_spread(s, "rival", "row", study_rival_name[i], NULL, 0);
    study_tell_rival_time(s, study_rival_name[i]);
  }
  if (!merged.text) return;
  session_say(&s->base, "   merged tokens, nothing trained: held-out %.2f, test %.2f\n",
              record_real(merged, "accuracy", NAN), record_real(merged, "test", NAN));
  study_tell_rival_time(s, "merged tokens");
}
