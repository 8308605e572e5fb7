/* observations.c: parts 1 to 4 of the study */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../input.h"
#include "../numbers.h"
#include "../record.h"
#include "../report/report.h"
#include "../session.h"
#include "baselines.h"
#include "study.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 4  PARTS 1 TO 4: THE DENSE NETWORK AND THE TWO OBSERVATIONS
 * ============================================================================================== */

/* ---- 1  The dense network ---- */

/* Returns the images in an epoch of its training. */
static size_t study_dense_images(const study *s) {
  return s->recipe.dense_images ? s->recipe.dense_images : s->base.in.rest.count;
}

static bdpt_recipe study_dense_recipe(const study *s) {
  const study_recipe *r = &s->recipe;
  bdpt_recipe p = study_training(s, r->dense_epochs, s->o.common.seed);
  p.batch = r->dense_batch;
  p.epoch_images = r->dense_images < s->base.in.rest.count ? r->dense_images : 0;
  p.lr = r->dense_lr;
  p.warmup = r->dense_warmup;
  p.mixup = r->dense_mixup;
  p.cutmix = r->dense_cutmix;
  p.mix_prob = r->dense_mix_prob;
  p.erase = r->dense_erase;
  p.drop_path = r->dense_drop_path;
  return p;
}

bdpt_status study_dense(study *s) {
  cli_json *j = &s->base.record.text;
  bdpt_accuracy held, test;
  bdpt_cost_report cost;
  study_root r = {"dense", "the dense network of this study", NULL, NULL, NULL,
                  study_dense_recipe(s), 0, 0};
  bdpt_status status;
  int fresh;
  r.model = &s->dense;
  r.hash = s->hash;
  r.trained = r.recipe.epochs * (double)study_dense_images(s);
  r.evaluated = (r.recipe.epochs + 1) * (double)s->base.in.held.count;
  status = study_root_make(s, &r, &fresh);
  if (status != BDPT_OK || !fresh) return status;
  status = bdpt_evaluate(s->dense, &s->base.in.held, &held);
  if (status == BDPT_OK) status = bdpt_evaluate(s->dense, &s->base.in.tested, &test);
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &s->dense->config, &cost);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "dense");
  cli_json_text(j, "hash", s->hash);
  cli_json_real(j, "epochs", s->recipe.dense_epochs);
  cli_json_real(j, "accuracy", held.top1);
  cli_json_real(j, "top5", held.top5);
  cli_json_real(j, "loss", held.loss);
  cli_json_real(j, "images", (double)held.count);
  cli_json_real(j, "test", test.top1);
  cli_json_real(j, "test_top5", test.top5);
  cli_json_real(j, "test_images", (double)test.count);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_close(j);
  return study_cell_end(s, session_save(&s->base, "dense"));
}

double study_dense_accuracy(const study *s, const char *key) {
  return record_real(study_find(s, "dense", NULL, NULL, NULL, 0), key, NAN);
}

void study_tell_dense(study *s) {
  const int epochs = record_int(study_find(s, "dense", NULL, NULL, NULL, 0), "epochs", 0);
  session_say(&s->base, "   %d %s; held-out %.2f %%, test %.2f %% (top 5: %.2f %%), hash %s\n",
              epochs, words_of(epochs, "epoch", "epochs"),
              study_dense_accuracy(s, "accuracy"), study_dense_accuracy(s, "test"),
              study_dense_accuracy(s, "test_top5"), s->hash);
}

/* ---- 2  Gradient disparity ---- */

/* Returns the geometric mean; values that are not positive are left out. */
static double study_middle(const double *v, int n) {
  double sum = 0;
  int i, used = 0;
  for (i = 0; i < n; i++)
    if (v[i] > 0) {
      sum += log(v[i]);
      used++;
    }
  return used ? exp(sum / used) : NAN;
}

/* Trains a copy with the scalars on; writes a line per window, and leaves the scalars at the
 * end. */
static bdpt_status study_gradient_rows(study *s, double importance[2][BDPT_MAX_DEPTH]) {
  bdpt_recipe p = study_training(s, s->recipe.gradient_epochs, s->o.common.seed);
  bdpt_model *m = bdpt_model_clone(s->dense);
  cli_json *j = &s->base.record.text;
  bdpt_trainer *t = NULL;
  size_t step, end = 0, window = (size_t)s->recipe.gradient_window;
  bdpt_status status = BDPT_OK;
  int i;
  p.importance = 1;
  if (m) t = bdpt_trainer_create(m, NULL, &s->base.in.rest, &p);
  if (t) end = bdpt_trainer_steps_per_epoch(t) * (size_t)p.epochs;
  else status = s->base.ctx->status;
  for (step = window; step <= end && status == BDPT_OK; step += window) {
    double g[2][BDPT_MAX_DEPTH];
    status = study_steps(s, t, step, end, "gradients", NULL);
    if (status != BDPT_OK) break;
    bdpt_trainer_importance(t, g);
    cli_json_open(j, "disparity");
    cli_json_real(j, "step", (double)step);
    for (i = 0; i < 2; i++) cli_json_reals(j, bdpt_type_name((bdpt_type)i), g[i], s->base.depth);
    cli_json_close(j);
  }
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++)
    importance[i % 2][i / 2] = (double)*m->importance[i % 2][i / 2].data;
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  return status;
}

/* Writes the gap between the types and what it is made of: root of F/D (theorem 4: the activation
 * sums over F numbers a token, attention over D), the root of the ratio of E[(f - r)^2], and the
 * rest, which is how strongly the loss reaches each. `adam` is what is left of the gap in the
 * learned scalars. */
static void study_record_gap(study *s, const baseline_walk *walk,
                             double importance[2][BDPT_MAX_DEPTH]) {
  cli_json *j = &s->base.record.text;
  const bdpt_block *b = &s->dense->config.block[0];
  double g[2][BDPT_MAX_DEPTH], mean[2], change[2], raw, size, variance, learned[2] = {0, 0};
  int t, l;
  session_mean_gradients(&s->base, g);
  for (t = 0; t < 2; t++) {
    mean[t] = study_middle(g[t], s->base.depth);
    change[t] = study_middle(walk->change[t], s->base.depth);
    for (l = 0; l < s->base.depth; l++) learned[t] += fabs(importance[t][l]) / s->base.depth;
  }
  raw = mean[1] / mean[0];
  size = sqrt((double)b->mlp / s->dense->config.width);
  variance = sqrt(change[1] / change[0]);
  cli_json_open(j, "learned");
  for (t = 0; t < 2; t++) cli_json_reals(j, bdpt_type_name((bdpt_type)t), importance[t],
                                         s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "change");
  for (t = 0; t < 2; t++) cli_json_reals(j, bdpt_type_name((bdpt_type)t), walk->change[t],
                                         s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "similarity");
  for (t = 0; t < 2; t++) cli_json_reals(j, bdpt_type_name((bdpt_type)t), walk->cosine[t],
                                         s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "gap");
  cli_json_real(j, "raw", raw);
  cli_json_real(j, "size", size);
  cli_json_real(j, "variance", variance);
  cli_json_real(j, "rest", raw / size / variance);
  cli_json_real(j, "adam", learned[1] / learned[0]);
  cli_json_close(j);
}

bdpt_status study_sample(study *s, size_t count, bdpt_subset *out) {
  if (count == 0 || count > s->base.in.rest.count) count = s->base.in.rest.count;
  return bdpt_sample(s->base.ctx, &s->base.in.rest, count, INPUT_SPLIT_SEED, out);
}

bdpt_status study_gradients(study *s) {
  double importance[2][BDPT_MAX_DEPTH];
  baseline_walk walk;
  size_t before;
  bdpt_subset some;
  bdpt_status status;
  if (!study_cell(s, "gradients", study_find(s, "gap", NULL, NULL, NULL, 0).text != NULL,
                  s->recipe.gradient_epochs * (double)s->recipe.epoch, 0))
    return BDPT_OK;
  before = s->base.record.text.used;
  memset(&some, 0, sizeof some);
  status = study_gradient_rows(s, importance);
  if (status == BDPT_OK) status = study_sample(s, s->recipe.gradient_images, &some);
  if (status == BDPT_OK) status = baseline_look(s->dense, &some, &walk);
  bdpt_subset_free(s->base.ctx, &some);
  if (status == BDPT_OK) study_record_gap(s, &walk, importance);
  else s->base.record.text.used = before;
  return study_cell_end(s, status);
}

void study_tell_gradients(study *s) {
  record_line l = study_find(s, "gap", NULL, NULL, NULL, 0);
  double published[2], g[2][BDPT_MAX_DEPTH], raw = record_real(l, "raw", NAN);
  int t;
  session_mean_gradients(&s->base, g);
  session_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    session_say_layers(&s->base, bdpt_type_name((bdpt_type)t), g[t], " %5.2g");
    published[t] = study_middle(report_paper_gradient[t], 12);
  }
  session_say(&s->base,
      "   Activation over attention: %.2f (published %.0f). Of that, the number of "
      "features\n   makes %.2f, the variance of f - r %.2f, the reach of the loss %.2f. AdamW "
      "leaves %.2f\n   in the learned scalars.\n", raw, published[1] / published[0],
      record_real(l, "size", NAN), record_real(l, "variance", NAN), record_real(l, "rest", NAN),
      record_real(l, "adam", NAN));
}

/* ---- 3  Recovery asymmetry ---- */

/* Writes the rows of some layers, as lines; `name` is their checkpoint's. */
static bdpt_status study_recover(study *s, const char *name, const bdpt_layers *only) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  const cli_layers *marks = &s->recipe.recovery_marks;
  cli_json *j = &s->base.record.text;
  bdpt_recovery_options o;
  bdpt_hooks hooks = session_hooks(&s->base, name);
  bdpt_status status;
  double mark[BDPT_MAX_MARKS];
  int i;
  memset(&o, 0, sizeof o);
  o.only = *only;
  o.start = BDPT_START_PAPER;
  o.recipe = study_training(s, 1, s->o.common.seed);
  for (o.marks = 0; o.marks < marks->count; o.marks++)
    mark[o.marks] = o.mark[o.marks] = marks->layer[o.marks];
  status =
      bdpt_recovery(s->dense, &(bdpt_run){&s->base.in.rest, &s->base.in.held, &hooks}, &o, row);
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++) {
    if (name[8] && !bdpt_layers_has(only, row[i].layer.type, row[i].layer.block)) continue;
    cli_json_open(j, "recovery");
    cli_json_text(j, "type", bdpt_type_name(row[i].layer.type));
    cli_json_real(j, "layer", row[i].layer.block);
    cli_json_real(j, "before", row[i].before);
    cli_json_real(j, "at_once", row[i].at_once);
    cli_json_reals(j, "marks", mark, o.marks);
    cli_json_reals(j, "after", row[i].after, o.marks);
    cli_json_real(j, "images", (double)s->recipe.epoch);
    cli_json_close(j);
  }
  return status == BDPT_OK ? session_save(&s->base, name) : status;
}

/* Does part 3: one program measures all layers in one call; shares take one layer each. */
bdpt_status study_recovery(study *s) {
  bdpt_layers only = {{0, 0}};
  bdpt_status status = BDPT_OK;
  const double held = (double)s->base.in.held.count;
  const cli_layers *marks = &s->recipe.recovery_marks;
  int i;
  if (s->share.mode == STUDY_ALL) { /* its lines are written together, before that of the part */
    if (!record_get(&s->base.record, "recovery", 2 * s->base.depth - 1).text)
      return study_recover(s, "recovery", &only);
    return session_save(&s->base, "recovery");
  }
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++) {
    const bdpt_type type = i < s->base.depth ? BDPT_ATTENTION : BDPT_ACTIVATION;
    const int layer = i % s->base.depth;
    char name[60];
    int known = 0, n = 0;
    record_line line;
    for (; (line = record_get(&s->base.record, "recovery", n)).text; n++)
      known |= record_is(line, "type", bdpt_type_name(type)) &&
               record_int(line, "layer", -1) == layer;
    snprintf(name, sizeof name, "recovery-%s-%d", bdpt_type_name(type), layer);
    if (!study_cell(s, name, known, marks->layer[marks->count - 1] * (double)s->recipe.epoch,
                    (marks->count + 2) * held))
      continue;
    memset(&only, 0, sizeof only);
    bdpt_layers_add(&only, type, layer);
    status = study_cell_end(s, study_recover(s, name, &only));
  }
  return status;
}

int study_rows(study *s, bdpt_recovery_row *row) {
  int i, t, mark = s->recipe.recovery_marks.count - 1;
  memset(row, 0, 2 * (size_t)s->base.depth * sizeof row[0]);
  for (i = 0; i < 2 * s->base.depth; i++) { /* shares may leave the lines in any order */
    record_line l = record_get(&s->base.record, "recovery", i);
    bdpt_recovery_row *r = row;
    bdpt_layer layer;
    layer.type = record_is(l, "type", bdpt_type_name(BDPT_ACTIVATION)) ? BDPT_ACTIVATION
                                                                       : BDPT_ATTENTION;
    layer.block = record_int(l, "layer", 0);
    if (layer.block < 0 || layer.block >= s->base.depth) continue;
    r += (layer.type == BDPT_ACTIVATION ? s->base.depth : 0) + layer.block;
    r->layer = layer;
    r->before = record_real(l, "before", NAN);
    r->at_once = record_real(l, "at_once", NAN);
    record_reals(l, "after", r->after, BDPT_MAX_MARKS);
  }
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, s->base.depth, mark, (bdpt_type)t, s->order[t]);
  return mark;
}

void study_tell_recovery(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double value[BDPT_MAX_DEPTH], once[BDPT_MAX_DEPTH];
  int last = study_rows(s, row), depth = s->base.depth, t, k, l;
  session_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    for (k = -1; k <= last; k++) {
      char label[40];
      for (l = 0; l < depth; l++) {
        const bdpt_recovery_row *r = &row[t * depth + l];
        value[l] = k < 0 ? r->at_once : r->after[k];
        if (k < 0) once[l] = value[l];
      }
      if (k < 0) snprintf(label, sizeof label, "no %s, at once", t ? "GELU" : "attention");
      else snprintf(label, sizeof label, "  after %d", s->recipe.recovery_marks.layer[k]);
      session_say_layers(&s->base, label, value, "%6.1f");
    }
    session_say(&s->base, "   rank correlation of the first and the last line: %.2f\n",
                numbers_rank_correlation(once, value, depth));
  }
}

/* ---- 4  Dimension mismatch ---- */

bdpt_status study_mismatch(study *s) {
  cli_json *j = &s->base.record.text;
  bdpt_model *m;
  int i, refused = 0;
  char first[2][400];
  if (record_has(&s->base.record, "mismatch")) return BDPT_OK;
  m = bdpt_model_clone(s->dense);
  if (!m) return s->base.ctx->status;
  for (i = 0; i < 2 * s->base.depth; i++) {
    refused += bdpt_prune_linear(m, i / 2, 1 + i % 2) == BDPT_E_SHAPE;
    if (i < 2) snprintf(first[i], sizeof first[i], "%s", s->base.ctx->message);
    bdpt_clear_error(s->base.ctx);
  }
  bdpt_model_free(m);
  for (i = 0; i < 2; i++) {
    cli_json_open(j, "mismatch");
    cli_json_text(j, "linear", i ? "fc2" : "fc1");
    cli_json_text(j, "message", first[i]);
    cli_json_real(j, "width", s->dense->config.width);
    cli_json_real(j, "hidden", s->dense->config.block[0].mlp);
    cli_json_real(j, "asked", 2 * s->base.depth);
    cli_json_real(j, "refused", refused);
    cli_json_close(j);
  }
  return BDPT_OK;
}

void study_tell_mismatch(study *s) {
  char text[400];
  int i;
  for (i = 0; i < 2; i++) {
    record_line l = study_find(s, "mismatch", "linear", i ? "fc2" : "fc1", NULL, 0);
    record_text(l, "message", text, sizeof text);
    session_say(&s->base, "   %s: %s\n", i ? "fc2" : "fc1", text);
    if (i == 0) continue;
    session_say(&s->base, "   %d of %d single linears %s refused.\n", record_int(l, "refused", 0),
                record_int(l, "asked", 0), words_of(record_int(l, "refused", 0), "is", "are"));
  }
}
