/* choose.c: parts 4 to 6: how many, which ones, and winning back */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../record.h"
#include "../session.h"
#include "parts.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * 4  How many of each: the model accuracy predictor
 * ---------------------------------------------------------------------------------------------- */

bdpt_status run_collect(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_map_collect_options o;
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_hooks hooks;
  bdpt_status s;
  size_t n = 0, i;
  int t;
  if (record_has(&r->base.record, "map_point")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.map_images);
  o.most = o.rounds = r->o.most;
  o.use_order = 1;
  o.start = r->start;
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, r->base.depth, 0, (bdpt_type)t, o.order[t]);
  hooks = session_hooks(&r->base, "map");
  s = bdpt_map_collect(r->model[RUN_DENSE], &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks},
                       &o, point, sizeof point / sizeof point[0], &n);
  if (s != BDPT_OK) return s;
  for (i = 0; i < n; i++) {
    cli_json_open(&r->base.record.text, "map_point");
    cli_json_real(&r->base.record.text, "attentions", point[i].attention);
    cli_json_real(&r->base.record.text, "activations", point[i].activation);
    cli_json_real(&r->base.record.text, "accuracy", point[i].accuracy);
    cli_json_close(&r->base.record.text);
  }
  return session_save(&r->base, "map");
}

size_t run_points(const run *r, bdpt_map_point *point, size_t room) {
  size_t n = (size_t)record_count(&r->base.record, "map_point"), i;
  for (i = 0; i < n && i < room; i++) {
    record_line l = record_get(&r->base.record, "map_point", (int)i);
    point[i].attention = record_real(l, "attentions", 0);
    point[i].activation = record_real(l, "activations", 0);
    point[i].accuracy = record_real(l, "accuracy", 0);
  }
  return i;
}

/* Returns the best split of the budget with at least `least` of each kind. The predictor's own
 * best may lie outside of what was measured, where a polynomial is a guess; both are recorded. */
static double run_restricted(const run *r, const bdpt_map *map, int *attention) {
  double best = -1e300;
  int a;
  for (a = r->o.least; a <= r->o.budget - r->o.least; a++) {
    double p = bdpt_map_predict(map, 1.0 - (double)a / r->base.depth,
                                1.0 - (double)(r->o.budget - a) / r->base.depth);
    if (p > best) { best = p; *attention = a; }
  }
  return best;
}

static void run_record_map(run *r, const bdpt_map *map, int free_attention, int attention,
                           double predicted) {
  cli_json *j = &r->base.record.text;
  int k;
  cli_json_open(j, "map");
  cli_json_real(j, "degree", map->degree);
  cli_json_key(j, "terms");
  cli_json_raw(j, "[", 1);
  for (k = 0; k < map->terms; k++) {
    char pair[40];
    int a, g;
    bdpt_map_term(k, &a, &g);
    snprintf(pair, sizeof pair, "%s%d,%d", k ? "," : "", a, g);
    cli_json_raw(j, pair, strlen(pair));
  }
  cli_json_raw(j, "]", 1);
  cli_json_reals(j, "theta", map->theta, map->terms);
  cli_json_reals(j, "cv_rmse", map->cv_rmse + 1, 4);
  cli_json_real(j, "fit_rmse", map->fit_rmse);
  cli_json_real(j, "depth", r->base.depth);
  cli_json_real(j, "budget", r->o.budget);
  cli_json_real(j, "attentions", attention);
  cli_json_real(j, "activations", r->o.budget - attention);
  cli_json_real(j, "predicted", predicted);
  cli_json_real(j, "least", r->o.least);
  cli_json_real(j, "free_attention", free_attention);
  cli_json_close(j);
}

bdpt_status run_map(run *r) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_map map;
  size_t n;
  int a, g, chosen = r->o.least;
  double predicted;
  bdpt_status s;
  if (record_has(&r->base.record, "map")) return BDPT_OK;
  n = run_points(r, point, sizeof point / sizeof point[0]);
  s = bdpt_map_fit(r->base.ctx, point, n, 1, 0, &map);
  if (s == BDPT_OK)
    s = bdpt_map_split(r->base.ctx, &map, r->base.depth, r->o.budget, &a, &g, &predicted);
  if (s != BDPT_OK) return s;
  predicted = run_restricted(r, &map, &chosen);
  run_record_map(r, &map, a, chosen, predicted);
  return session_save(&r->base, NULL);
}

/* Evaluates the recorded polynomial. */
static double run_predict(record_line l, double attention, double activation) {
  double theta[BDPT_MAP_TERMS], power[2 * BDPT_MAP_TERMS], sum = 0;
  int n = record_reals(l, "theta", theta, BDPT_MAP_TERMS), k;
  if (record_reals(l, "terms", power, 2 * n) != 2 * n) return NAN;
  for (k = 0; k < n; k++)
    sum += theta[k] * pow(attention, power[2 * k]) * pow(activation, power[2 * k + 1]);
  return sum;
}

void run_tell_map(run *r) {
  record_line l = record_get(&r->base.record, "map", 0);
  int budget = record_int(l, "budget", 0), best = record_int(l, "attentions", 0), a;
  int wild = record_int(l, "free_attention", 0), least = record_int(l, "least", 0);
  double cv[4] = {0, 0, 0, 0};
  int degree = record_int(l, "degree", 1), points = record_count(&r->base.record, "map_point");
  record_reals(l, "cv_rmse", cv, 4);
  session_title(&r->base, "4  How many of each kind? The model accuracy predictor (MAP)");
  session_say(&r->base,
      "   %d %s measured, each pruned a little further and trained on %zu %s.\n"
      "   Accuracy as polynomial of the shares kept: degree %d by leave-two-out, error %.2f.\n",
      points, words_of(points, "network", "networks"), r->o.map_images,
      words_of((double)r->o.map_images, "image", "images"), degree, degree >= 1 &&
      degree <= 4 ? cv[degree - 1] : NAN);
  session_say(&r->base, "   Predicted accuracy for %d %s in all, as attention + GELU:\n  ",
              budget, words_of(budget, "layer", "layers"));
  for (a = 0; a <= budget; a++)
    session_say(&r->base, "%s %d+%d %.1f", a ? "," : "", a, budget - a,
                run_predict(l, 1.0 - (double)a / r->base.depth,
                            1.0 - (double)(budget - a) / r->base.depth));
  if (wild == best) session_say(&r->base, ". The best is %d+%d.\n", best, budget - best);
  else
    session_say(&r->base,
        ".\n   The best is %d+%d, but this run removes at least %d of each kind (--least),\n"
        "   because far from what was measured a polynomial only guesses: %d+%d.\n", wild,
        budget - wild, least, best, budget - best);
}

/* -------------------------------------------------------------------------------------------------
 * 5  Which ones: greedy, or learned importance
 * ---------------------------------------------------------------------------------------------- */

/* Lists which layers may go, two thirds of each kind: those that recovered best in part 3. (The
 * released code of the paper has such lists too, written down by hand.) */
static int run_candidates(const run *r, bdpt_search_options *o) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  int order[BDPT_MAX_DEPTH], some = (2 * r->base.depth + 2) / 3, t, i;
  for (t = 0; t < 2; t++)
    if (some < o->remove[t]) some = o->remove[t];
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) {
    bdpt_recovery_order(row, r->base.depth, 0, (bdpt_type)t, order);
    for (i = 0; i < some; i++) bdpt_layers_add(&o->candidates, (bdpt_type)t, order[i]);
  }
  return some;
}

static void run_record_choice(run *r, bdpt_layer layer, double accuracy) {
  cli_json_open(&r->base.record.text, "search");
  cli_json_text(&r->base.record.text, "type", bdpt_type_name(layer.type));
  cli_json_real(&r->base.record.text, "layer", layer.block);
  cli_json_real(&r->base.record.text, "accuracy", accuracy);
  cli_json_close(&r->base.record.text);
}

bdpt_status run_greedy(run *r) {
  bdpt_greedy_options o;
  bdpt_greedy_result found;
  bdpt_hooks hooks = session_hooks(&r->base, "search");
  bdpt_model *copy;
  bdpt_status s;
  int i;
  if (record_has(&r->base.record, "greedy")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.layers = r->o.budget;
  o.start = (bdpt_start)r->start;
  copy = bdpt_model_clone(r->model[RUN_DENSE]);
  if (!copy) return r->base.ctx->status;
  s = bdpt_greedy(copy, &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks}, &o, &found);
  bdpt_model_free(copy);
  if (s != BDPT_OK) return s;
  for (i = 0; i < found.removed; i++) run_record_choice(r, found.layer[i], found.accuracy[i]);
  cli_json_open(&r->base.record.text, "greedy");
  cli_json_reals(&r->base.record.text, "losses", found.loss, found.removed);
  cli_json_real(&r->base.record.text, "images", found.images);
  cli_json_close(&r->base.record.text);
  return session_save(&r->base, "search");
}

bdpt_status run_search(run *r) {
  bdpt_search_options o;
  bdpt_search_result found;
  bdpt_hooks hooks;
  bdpt_model *copy;
  bdpt_status s;
  int i, some;
  if (r->greedy) return run_greedy(r);
  if (record_has(&r->base.record, "importance")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.search_images);
  o.start = r->start;
  o.remove[0] = record_int(record_get(&r->base.record, "map", 0), "attentions", 0);
  o.remove[1] = record_int(record_get(&r->base.record, "map", 0), "activations", 0);
  for (i = 0; i < o.remove[0] + o.remove[1]; i++) o.stage[i] = 1;
  some = run_candidates(r, &o);
  copy = bdpt_model_clone(r->model[RUN_DENSE]);
  if (!copy) return r->base.ctx->status;
  hooks = session_hooks(&r->base, "search");
  s = bdpt_search(copy, &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks}, &o, &found);
  bdpt_model_free(copy);
  if (s != BDPT_OK) return s;
  for (i = 0; i < found.removed; i++) run_record_choice(r, found.layer[i], found.accuracy[i]);
  cli_json_open(&r->base.record.text, "importance");
  for (i = 0; i < 2; i++)
    cli_json_reals(&r->base.record.text, bdpt_type_name((bdpt_type)i), found.importance[i],
                   r->base.depth);
  cli_json_real(&r->base.record.text, "candidates", some);
  cli_json_close(&r->base.record.text);
  return session_save(&r->base, "search");
}

void run_tell_search(run *r) {
  int n = record_count(&r->base.record, "search"), i;
  session_title(&r->base, r->greedy ? "5  Which ones? Trying each"
                : "5  Which ones? Learned importance");
  if (r->greedy)
    session_say(&r->base,
                "   Each layer that is left, of both kinds, is tried with what takes its place;\n"
                "   the one without which the held-out loss is smallest goes. Nothing is trained;\n"
                "   %.0f images went through the network:\n  ",
                record_real(record_get(&r->base.record, "greedy", 0), "images", 0));
  else session_say(&r->base,
      "   A copy is trained with one importance per layer. Every %zu %s the least\n"
      "   important goes, the kinds in turn, out of the %d of each that recovered best:\n  ",
      r->o.search_images, words_of((double)r->o.search_images, "image", "images"),
      record_int(record_get(&r->base.record, "importance", 0), "candidates", r->base.depth));
  for (i = 0; i < n; i++) {
    record_line l = record_get(&r->base.record, "search", i);
    session_say(&r->base, "%s %s %d", i ? "," : "",
                record_is(l, "type", bdpt_type_name(BDPT_ACTIVATION)) ? "GELU" : "attention",
                record_int(l, "layer", 0));
  }
  session_say(&r->base, ".\n");
}

/* -------------------------------------------------------------------------------------------------
 * 6  Fine-tuning with the dense network as teacher
 * ---------------------------------------------------------------------------------------------- */

bdpt_status run_prune(run *r) {
  bdpt_model *m = bdpt_model_clone(r->model[RUN_DENSE]);
  int n = record_count(&r->base.record, "search"), i;
  bdpt_layers gone = {{0, 0}};
  bdpt_status s;
  if (!m) return r->base.ctx->status;
  r->model[RUN_PRUNED] = m;
  for (i = 0; i < n; i++) {
    record_line l = record_get(&r->base.record, "search", i);
    int t = record_is(l, "type", bdpt_type_name(BDPT_ACTIVATION));
    r->layer[t][r->count[t]++] = record_int(l, "layer", 0);
    bdpt_layers_add(&gone, (bdpt_type)t, record_int(l, "layer", 0));
  }
  s = bdpt_remove(m, &gone, r->start, &r->base.in.rest, NULL);
  if (s == BDPT_OK && !m->parent[0]) bdpt_model_hash(r->model[RUN_DENSE], m->parent);
  return s;
}

bdpt_status run_tune(run *r) {
  bdpt_recipe p = run_recipe(r, r->o.tune_lr, r->o.tune_epochs, r->o.tune_images);
  bdpt_epoch log[1000];
  bdpt_accuracy once, after;
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status s;
  if (record_has(&r->base.record, "tune")) {
    m = bdpt_model_load(r->base.ctx, session_path(&r->base, "recovered.safetensors"), NULL);
    r->model[RUN_RECOVERED] = m;
    return m ? BDPT_OK : r->base.ctx->status;
  }
  m = r->model[RUN_RECOVERED] = bdpt_model_clone(r->model[RUN_PRUNED]);
  if (!m) return r->base.ctx->status;
  memset(log, 0, sizeof log);
  p.distill = BDPT_DISTILL_SOFT;
  p.distill_alpha = 0.5;
  if (r->start != BDPT_START_PAPER) p.distill_features = 10; /* as the paper has none */
  p.warmup = 0.2;
  s = bdpt_evaluate(m, &r->base.in.held, &once);
  hooks = session_hooks(&r->base, "tune");
  cli_epochs_train(&r->epochs, "recover", &p, NULL, r->base.in.rest.count);
  if (s == BDPT_OK)
    s = bdpt_train(m, r->model[RUN_DENSE], &(bdpt_run){&r->base.in.rest, &r->base.in.held, &hooks},
                   &p, log);
  if (s == BDPT_OK) cli_epochs_rest(&r->epochs, log, r->o.tune_epochs);
  if (s == BDPT_OK) s = bdpt_evaluate(m, &r->base.in.held, &after);
  if (s == BDPT_OK) s = bdpt_model_save(m, session_path(&r->base, "recovered.safetensors"));
  if (s != BDPT_OK) return s;
  session_record_epochs(&r->base, "recover", log, r->o.tune_epochs);
  cli_json_open(&r->base.record.text, "tune");
  cli_json_real(&r->base.record.text, "at_once", once.top1);
  cli_json_real(&r->base.record.text, "accuracy", after.top1);
  cli_json_real(&r->base.record.text, "epochs", r->o.tune_epochs);
  cli_json_real(&r->base.record.text, "images", (double)(p.epoch_images ? p.epoch_images
                                                                    : r->base.in.rest.count));
  cli_json_close(&r->base.record.text);
  return session_save(&r->base, "tune");
}

void run_tell_tune(run *r) {
  record_line l = record_get(&r->base.record, "tune", 0);
  int n = record_count(&r->base.record, "epoch"), i;
  session_title(&r->base,
                "6  Removing them from the dense network, and winning back what that cost");
  session_say(&r->base,
              "   %d %s of %.0f %s, taught by the labels and by the dense network.\n"
              "   Held-out accuracy: at once %.1f;", record_int(l, "epochs", 0),
              words_of(record_int(l, "epochs", 0), "epoch", "epochs"), record_real(l, "images", 0),
              words_of(record_real(l, "images", 0), "image", "images"),
              record_real(l, "at_once", 0));
  for (i = 0; i < n; i++) {
    record_line e = record_get(&r->base.record, "epoch", i);
    if (record_is(e, "phase", "recover")) session_say(&r->base, " %.1f", record_real(e, "accuracy",
                                                                                     NAN));
  }
  session_say(&r->base, "  (dense %.1f)\n", record_real(record_get(&r->base.record, "dense", 0),
                                                        "accuracy", 0));
}
