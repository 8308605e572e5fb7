/* observe.c: parts 1 to 3 of a run: the dense network and the two observations */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../numbers.h"
#include "../record.h"
#include "../session.h"
#include "parts.h"
#include "../words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * 1  The dense network
 * ---------------------------------------------------------------------------------------------- */

bdpt_status run_dense(run *r) {
  bdpt_model *m = r->model[RUN_DENSE];
  bdpt_epoch log[1000];
  bdpt_accuracy a;
  bdpt_status s = BDPT_OK;
  int epochs = r->o.dense_epochs < 1000 ? r->o.dense_epochs : 1000;
  if (record_has(&r->base.record, "dense")) {
    if (epochs == 0) return BDPT_OK;
    bdpt_model_free(m);
    r->model[RUN_DENSE] = bdpt_model_load(r->base.ctx, session_path(&r->base, "dense.safetensors"),
                                          NULL);
    return r->model[RUN_DENSE] ? BDPT_OK : r->base.ctx->status;
  }
  if (epochs > 0) {
    bdpt_recipe p = run_recipe(r, r->o.dense_lr, epochs, r->o.dense_images);
    bdpt_hooks hooks = session_hooks(&r->base, "dense");
    memset(log, 0, sizeof log);
    p.warmup = 0.3;
    cli_epochs_train(&r->epochs, "dense", &p, NULL, r->base.in.rest.count);
    s = bdpt_train(m, NULL, &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks}, &p, log);
    if (s == BDPT_OK) cli_epochs_rest(&r->epochs, log, epochs);
    if (s == BDPT_OK) s = bdpt_model_save(m, session_path(&r->base, "dense.safetensors"));
    if (s != BDPT_OK) return s;
    session_record_epochs(&r->base, "dense", log, epochs);
  }
  s = bdpt_evaluate(m, &r->base.in.held, &a);
  if (s != BDPT_OK) return s;
  cli_json_open(&r->base.record.text, "dense");
  cli_json_real(&r->base.record.text, "accuracy", a.top1);
  cli_json_real(&r->base.record.text, "top5", a.top5);
  cli_json_real(&r->base.record.text, "loss", a.loss);
  cli_json_real(&r->base.record.text, "images", (double)a.count);
  cli_json_real(&r->base.record.text, "epochs", epochs);
  cli_json_real(&r->base.record.text, "new_head", r->new_head);
  cli_json_close(&r->base.record.text);
  return session_save(&r->base, "dense");
}

void run_tell_dense(run *r) {
  record_line l = record_get(&r->base.record, "dense", 0);
  int epochs = record_int(l, "epochs", 0);
  session_title(&r->base, "1  The dense network");
  if (epochs > 0)
    session_say(&r->base, "   %s, trained for %d %s on the training images.\n",
                record_int(l, "new_head", 0) ? "With a new classifier for these classes"
                : "As loaded", epochs, words_of(epochs, "epoch", "epochs"));
  session_say(&r->base, "   Accuracy on the %.0f held-out images: %.1f %% (top 5: %.1f %%).\n",
              record_real(l, "images", 0), record_real(l, "accuracy", 0), record_real(l, "top5",
                                                                                      0));
}

/* -------------------------------------------------------------------------------------------------
 * 2  Gradient disparity
 * ---------------------------------------------------------------------------------------------- */

enum { RUN_WINDOWS = 6 };

bdpt_status run_disparity(run *r) {
  bdpt_disparity_row row[RUN_WINDOWS];
  size_t window = r->o.probe_steps / RUN_WINDOWS > 0 ? r->o.probe_steps / RUN_WINDOWS : 1, n = 0, i;
  bdpt_recipe p = run_short(r, window * RUN_WINDOWS * (size_t)r->o.short_batch);
  bdpt_hooks hooks;
  bdpt_status s;
  if (record_has(&r->base.record, "disparity")) return BDPT_OK;
  hooks = session_hooks(&r->base, "disparity");
  s = bdpt_disparity(r->model[RUN_DENSE], &(bdpt_run){&r->base.in.rest, NULL, &hooks}, &p, window,
                     row, RUN_WINDOWS, &n);
  if (s != BDPT_OK) return s;
  for (i = 0; i < n; i++) {
    cli_json *j = &r->base.record.text;
    cli_json_open(j, "disparity");
    cli_json_real(j, "step", (double)row[i].step);
    cli_json_real(j, "loss", row[i].loss);
    cli_json_reals(j, bdpt_type_name(BDPT_ATTENTION), row[i].gradient[0], r->base.depth);
    cli_json_reals(j, bdpt_type_name(BDPT_ACTIVATION), row[i].gradient[1], r->base.depth);
    cli_json_close(j);
  }
  return session_save(&r->base, "disparity");
}

void run_tell_disparity(run *r) {
  double g[2][BDPT_MAX_DEPTH], mean[2], all[2 * BDPT_MAX_DEPTH], ratio, scale = 1000;
  int t, l, lowest = 0;
  session_mean_gradients(&r->base, g);
  for (t = 0; t < 2; t++) /* three digits before the point at most */
    for (l = 0; l < r->base.depth; l++)
      while (g[t][l] * scale > 999 && scale > 1e-6) scale /= 10;
  session_title(&r->base, "2  Gradients: can the two kinds of layer be ranked together?");
  session_say(&r->base,
              "   m is a layer's importance: 1 keeps it, 0 removes it. Mean |dL/dm| times %g:\n",
              scale);
  session_say_numbers(&r->base);
  for (t = 0; t < 2; t++) {
    double scaled[BDPT_MAX_DEPTH];
    for (l = 0; l < r->base.depth; l++) all[t * r->base.depth + l] = g[t][l];
    for (l = 0; l < r->base.depth; l++) scaled[l] = scale * g[t][l];
    session_say_layers(&r->base, bdpt_type_name((bdpt_type)t), scaled, "%6.3g");
    mean[t] = numbers_mean(g[t], r->base.depth);
  }
  qsort(all, (size_t)(2 * r->base.depth), sizeof all[0], numbers_rising);
  for (l = 0; l < r->base.depth; l++) lowest += g[BDPT_ACTIVATION][l] <= all[r->o.budget - 1];
  ratio = mean[0] > mean[1] ? mean[0] / mean[1] : mean[1] / mean[0];
  session_say(&r->base,
      "   Mean of %s %.1f times that of %s; of the %d smallest of all, %d %s and\n"
      "   %d %s. One ranking would mix two scales, so each kind is ranked alone.\n",
      bdpt_type_name(mean[0] > mean[1] ? 0 : 1), ratio, bdpt_type_name(mean[0] > mean[1] ? 1 : 0),
      r->o.budget, lowest, words_of(lowest, "is a GELU", "are GELUs"), r->o.budget - lowest,
      words_of(r->o.budget - lowest, "an attention layer", "attention layers"));
}

/* -------------------------------------------------------------------------------------------------
 * 3  Recovery asymmetry
 * ---------------------------------------------------------------------------------------------- */

bdpt_status run_recovery(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_recovery_options o;
  bdpt_hooks hooks;
  bdpt_status s;
  int i;
  if (record_has(&r->base.record, "recovery")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.recovery_images);
  o.start = BDPT_START_PAPER; /* the paper's observation is of what it removes */
  hooks = session_hooks(&r->base, "recovery");
  s = bdpt_recovery(r->model[RUN_DENSE], &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks},
                    &o, row);
  if (s != BDPT_OK) return s;
  for (i = 0; i < 2 * r->base.depth; i++) {
    cli_json *j = &r->base.record.text;
    double mark = 1;
    cli_json_open(j, "recovery");
    cli_json_text(j, "type", bdpt_type_name(row[i].layer.type));
    cli_json_real(j, "layer", row[i].layer.block);
    cli_json_real(j, "before", row[i].before);
    cli_json_real(j, "at_once", row[i].at_once);
    cli_json_reals(j, "marks", &mark, 1);
    cli_json_reals(j, "after", row[i].after, 1);
    cli_json_real(j, "images", (double)r->o.recovery_images);
    cli_json_close(j);
  }
  return session_save(&r->base, "recovery");
}

void run_recovery_rows(const run *r, bdpt_recovery_row *row) {
  int i;
  memset(row, 0, 2 * (size_t)r->base.depth * sizeof row[0]);
  for (i = 0; i < 2 * r->base.depth; i++) {
    record_line l = record_get(&r->base.record, "recovery", i);
    row[i].layer.type = record_is(l, "type", bdpt_type_name(BDPT_ACTIVATION)) ? BDPT_ACTIVATION
        : BDPT_ATTENTION;
    row[i].layer.block = record_int(l, "layer", 0);
    row[i].before = record_real(l, "before", 0);
    row[i].at_once = record_real(l, "at_once", 0);
    record_reals(l, "after", row[i].after, 1);
  }
}

void run_tell_recovery(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double once[2][BDPT_MAX_DEPTH], after[2][BDPT_MAX_DEPTH], same[2];
  int i, t;
  run_recovery_rows(r, row);
  for (i = 0; i < 2 * r->base.depth; i++) {
    once[row[i].layer.type][row[i].layer.block] = row[i].at_once;
    after[row[i].layer.type][row[i].layer.block] = row[i].after[0];
  }
  session_title(&r->base, "3  Recovery: what does each single layer cost?");
  session_say(&r->base,
      "   Each of the %d layers is removed alone from the dense network (%.1f %%), and the\n"
      "   rest is trained on %zu %s. Accuracy at once, and after that training:\n",
      2 * r->base.depth, row[0].before, r->o.recovery_images,
      words_of((double)r->o.recovery_images, "image", "images"));
  session_say_numbers(&r->base);
  for (t = 0; t < 2; t++) {
    session_say_layers(&r->base, t ? "no GELU, at once" : "no attention, at once", once[t],
                       "%6.1f");
    session_say_layers(&r->base, "  after training", after[t], "%6.1f");
  }
  for (t = 0; t < 2; t++)
    session_say(&r->base,
                "   Without %s the accuracy changes by %+.1f points on average at once, by %+.1f "
                "after training.\n",
                t ? "a GELU" : "an attention layer",
                numbers_mean(once[t], r->base.depth) - row[0].before,
                numbers_mean(after[t], r->base.depth) - row[0].before);
  for (t = 0; t < 2; t++) same[t] = numbers_rank_correlation(once[t], after[t], r->base.depth);
  session_say(&r->base, "   The order of the layers at once %s the order after training (rank\n"
      "   correlation %.2f for attention, %.2f for GELUs). The later one counts from now on.\n",
      same[0] > 0.9 && same[1] > 0.9 ? "is here almost" : "is not", same[0], same[1]);
}
