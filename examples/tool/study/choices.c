/* choices.c: parts 5 and 6 of the study: how many, and which */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../record.h"
#include "../session.h"
#include "baselines.h"
#include "study.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 5  PARTS 5 AND 6: HOW MANY, AND WHICH
 * ============================================================================================== */

/* ---- 5  The model accuracy predictor ---- */

int study_collections(const study *s) { return s->recipe.seeds + (s->recipe.map_fit != 0); }

static const char *study_collection(const study *s, int k, size_t *seed) {
  *seed = s->o.common.seed + (size_t)(k < s->recipe.seeds ? k : 0);
  return study_starts[k < s->recipe.seeds ? STUDY_PAPER : STUDY_SKIP_FIT].name;
}

static bdpt_status study_collect(study *s, const char *start, size_t seed) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_map_collect_options o;
  cli_json *j = &s->base.record.text;
  int which = study_start(start);
  char name[60];
  bdpt_hooks hooks;
  bdpt_model *m;
  size_t n = 0, i;
  bdpt_status status;
  const double points = 2.0 * (s->recipe.map_most + s->recipe.map_rounds);
  snprintf(name, sizeof name, "map-%s-%zu", start, seed);
  if (!study_cell(s, name, study_find(s, "collected", "start", start, "seed", (double)seed).text
                             != NULL, points * s->recipe.map_epochs * (double)s->recipe.epoch,
                  points * (double)s->base.in.held.count))
    return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, s->recipe.map_epochs, seed);
  o.most = s->recipe.map_most;
  o.rounds = s->recipe.map_rounds;
  o.use_order = 1;
  o.start = study_starts[which].start;
  memcpy(o.order, s->order, sizeof o.order);
  m = bdpt_model_clone(s->dense);
  if (!m) return s->base.ctx->status;
  m->config.attn_form = (bdpt_attn_form)study_starts[which].form;
  hooks = session_hooks(&s->base, name);
  status = bdpt_map_collect(m, &(bdpt_run){&s->base.in.rest, &s->base.in.held, &hooks}, &o, point,
                            sizeof point / sizeof point[0], &n);
  bdpt_model_free(m);
  for (i = 0; i < n && status == BDPT_OK; i++) {
    cli_json_open(j, "collected");
    cli_json_text(j, "start", start);
    cli_json_real(j, "seed", (double)seed);
    cli_json_real(j, "attentions", point[i].attention);
    cli_json_real(j, "activations", point[i].activation);
    cli_json_real(j, "accuracy", point[i].accuracy);
    cli_json_close(j);
  }
  if (status == BDPT_OK) status = session_save(&s->base, name);
  return study_cell_end(s, status);
}

static size_t study_points(const study *s, const char *start, size_t seed, bdpt_map_point *point,
                           size_t room) {
  record_line line;
  size_t at = 0, n = 0;
  while ((line = study_next(s, &at)).text && n < room) {
    if (!record_is(line, "kind", "collected") || !record_is(line, "start", start) ||
        record_real(line, "seed", -1) != (double)seed) continue;
    point[n].attention = record_real(line, "attentions", NAN);
    point[n].activation = record_real(line, "activations", NAN);
    point[n++].accuracy = record_real(line, "accuracy", NAN);
  }
  return n;
}

static void study_record_surface(study *s, const char *start, size_t seed, const bdpt_map *map) {
  cli_json *j = &s->base.record.text;
  double power[2 * BDPT_MAP_TERMS];
  int k, a, g;
  for (k = 0; k < map->terms; k++) {
    bdpt_map_term(k, &a, &g);
    power[2 * k] = a;
    power[2 * k + 1] = g;
  }
  cli_json_open(j, "surface");
  cli_json_text(j, "start", start);
  cli_json_real(j, "seed", (double)seed);
  cli_json_real(j, "degree", map->degree);
  cli_json_reals(j, "terms", power, 2 * map->terms);
  cli_json_reals(j, "theta", map->theta, map->terms);
  cli_json_reals(j, "cv_rmse", map->cv_rmse + 1, 4);
  cli_json_real(j, "fit_rmse", map->fit_rmse);
  cli_json_close(j);
}

static bdpt_status study_noise(const study *s, const bdpt_map_point *point, size_t n, int budget,
                               bdpt_map_noise_report *out) {
  const study_recipe *r = &s->recipe;
  bdpt_map_noise_options o;
  memset(&o, 0, sizeof o);
  o.depth = s->base.depth; o.budget = budget; o.trials = r->map_trials;
  o.sd = r->map_noise; o.clip = r->map_clip; o.seed = 1;
  return bdpt_map_noise(s->base.ctx, point, n, &o, out);
}

/* Fits the surface of one collection and finds its splits and their noise. The noise study is the
 * published one: trials with clipped normal noise on the accuracies, the degree chosen anew in
 * each. */
static bdpt_status study_split(study *s, const char *start, size_t seed) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  const study_recipe *r = &s->recipe;
  cli_json *j = &s->base.record.text;
  size_t n = study_points(s, start, seed, point, sizeof point / sizeof point[0]);
  bdpt_map_noise_report noise;
  bdpt_map map;
  double predicted;
  int i, a, g;
  bdpt_status status = bdpt_map_fit(s->base.ctx, point, n, 1, 0, &map);
  if (status == BDPT_OK) study_record_surface(s, start, seed, &map);
  for (i = 0; i < r->map_budgets.count && status == BDPT_OK; i++) {
    int budget = r->map_budgets.layer[i];
    status = bdpt_map_split(s->base.ctx, &map, s->base.depth, budget, &a, &g, &predicted);
    if (status == BDPT_OK)
      status = study_noise(s, point, n, budget, &noise);
    if (status != BDPT_OK) break;
    cli_json_open(j, "split");
    cli_json_text(j, "start", start);
    cli_json_real(j, "seed", (double)seed);
    cli_json_real(j, "budget", budget);
    cli_json_real(j, "attentions", a);
    cli_json_real(j, "activations", g);
    cli_json_real(j, "predicted", predicted);
    cli_json_real(j, "exact", noise.exact);
    cli_json_real(j, "one", noise.one);
    cli_json_real(j, "more", noise.more);
    cli_json_close(j);
  }
  return status;
}

bdpt_status study_map(study *s) {
  bdpt_status status = BDPT_OK;
  size_t seed, before;
  int k;
  for (k = 0; k < study_collections(s) && status == BDPT_OK; k++) {
    const char *start = study_collection(s, k, &seed);
    status = study_collect(s, start, seed);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
  before = s->base.record.text.used;
  for (k = 0; k < study_collections(s) && status == BDPT_OK; k++) {
    const char *start = study_collection(s, k, &seed);
    if (!study_find(s, "split", "start", start, "seed", (double)seed).text)
      status = study_split(s, start, seed);
  }
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

void study_tell_map(study *s) {
  size_t seed, at;
  int k;
  record_line line;
  for (k = 0; k < study_collections(s); k++) {
    const char *start = study_collection(s, k, &seed);
    line = study_find(s, "surface", "start", start, "seed", (double)seed);
    session_say(&s->base, "   start %s, seed %zu: degree %d;", start, seed,
                record_int(line, "degree", 0));
    for (at = 0; (line = study_next(s, &at)).text;)
      if (record_is(line, "kind", "split") && record_is(line, "start", start) &&
          record_real(line, "seed", -1) == (double)seed)
        session_say(&s->base, " %d: %d+%d", record_int(line, "budget", 0),
                    record_int(line, "attentions", 0), record_int(line, "activations", 0));
    session_say(&s->base, "\n");
  }
  for (at = 0; (line = study_next(s, &at)).text;)
    if (record_is(line, "kind", "split") && record_is(line, "start", "paper") &&
        record_real(line, "seed", -1) == (double)s->o.common.seed)
      session_say(&s->base, "   noise on the points, budget %d: the same split in %.1f %% of the "
                  "trials, one layer off %.1f, more %.1f\n", record_int(line, "budget", 0),
                  record_real(line, "exact", NAN), record_real(line, "one", NAN),
                  record_real(line, "more", NAN));
  session_say(&s->base, "   (published, budget 8: 75.0, 5.2, 19.8)\n");
}

/* ---- 6  Which layers ---- */
static const char *const study_way[STUDY_WAYS] = {"learned", "transfer entropy", "cosine",
                                                  "immediate accuracy", "gradient across types",
                                                  "random"};

bdpt_status study_search(study *s, size_t seed) {
  const int *remove_counts = s->recipe.which_remove.layer;
  cli_json *j = &s->base.record.text;
  bdpt_search_options o;
  bdpt_search_result found;
  char name[40];
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status status;
  int i, t, layer[2][BDPT_MAX_DEPTH], n[2] = {0, 0};
  const double stages = remove_counts[0] + remove_counts[1];
  snprintf(name, sizeof name, "search-%zu", seed);
  if (!study_cell(s, name, study_find(s, "searched", NULL, NULL, "seed", (double)seed).text != NULL,
                  stages * s->recipe.which_stage * (double)s->recipe.epoch,
                  stages * (double)s->base.in.held.count))
    return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, 1, seed);
  o.start = BDPT_START_PAPER;
  for (t = 0; t < 2; t++) o.remove[t] = remove_counts[t];
  for (i = 0; i < o.remove[0] + o.remove[1]; i++) o.stage[i] = s->recipe.which_stage;
  m = bdpt_model_clone(s->dense);
  if (!m) return s->base.ctx->status;
  hooks = session_hooks(&s->base, name);
  status = bdpt_search(m, &(bdpt_run){&s->base.in.rest, &s->base.in.held, &hooks}, &o, &found);
  bdpt_model_free(m);
  if (status != BDPT_OK) return status;
  for (i = 0; i < found.removed; i++) {
    int type = (int)found.layer[i].type;
    layer[type][n[type]++] = found.layer[i].block;
  }
  cli_json_open(j, "searched");
  cli_json_real(j, "seed", (double)seed);
  for (t = 0; t < 2; t++) cli_json_ints(j, bdpt_type_name((bdpt_type)t), layer[t], n[t]);
  cli_json_close(j);
  return study_cell_end(s, session_save(&s->base, name));
}

/* Measures the transfer entropies once and keeps them as a line. */
static bdpt_status study_transfer(study *s) {
  double score[2][BDPT_MAX_DEPTH];
  bdpt_subset some;
  bdpt_status status;
  int t;
  if (!study_cell(s, "transfer", study_find(s, "transfer", NULL, NULL, NULL, 0).text != NULL, 0,
                  2.0 * s->base.depth * (double)s->recipe.which_images))
    return BDPT_OK;
  memset(&some, 0, sizeof some);
  status = study_sample(s, s->recipe.which_images, &some);
  if (status == BDPT_OK) status = baseline_transfer(s->dense, &some, score);
  bdpt_subset_free(s->base.ctx, &some);
  if (status != BDPT_OK) return status;
  cli_json_open(&s->base.record.text, "transfer");
  for (t = 0; t < 2; t++)
    cli_json_reals(&s->base.record.text, bdpt_type_name((bdpt_type)t), score[t], s->base.depth);
  cli_json_close(&s->base.record.text);
  return study_cell_end(s, record_save(&s->base.record));
}

void study_choose(study *s, int way, size_t seed, int which[2][BDPT_MAX_DEPTH]) {
  static const char *const kind[STUDY_WAYS] = {"searched", "transfer", "similarity", "", "", ""};
  double score[2][BDPT_MAX_DEPTH], list[BDPT_MAX_DEPTH];
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  int t, l, n, depth = s->base.depth;
  memset(which, 0, 2 * sizeof which[0]);
  memset(score, 0, sizeof score);
  memset(list, 0, sizeof list);
  study_rows(s, row);
  if (way == STUDY_GRADIENT) session_mean_gradients(&s->base, score);
  if (way == STUDY_RANDOM) baseline_random(seed, score);
  for (t = 0; t < 2; t++) {
    record_line line = study_find(s, kind[way], NULL, NULL, way == STUDY_LEARNED ? "seed" : NULL,
                                  (double)seed);
    n = record_reals(line, bdpt_type_name((bdpt_type)t), list, BDPT_MAX_DEPTH);
    for (l = 0; l < n && way == STUDY_LEARNED; l++) which[t][(int)list[l]] = 1;
    for (l = 0; l < depth; l++) {
      if (way == STUDY_TRANSFER) score[t][l] = list[l];
      if (way == STUDY_COSINE) score[t][l] = -list[l]; /* the most alike goes first */
      if (way == STUDY_AT_ONCE) score[t][l] = -row[t * depth + l].at_once;
    }
  }
  if (way != STUDY_LEARNED)
    baseline_take(score, depth, s->recipe.which_remove.layer, way == STUDY_GRADIENT, which);
}

bdpt_status study_which(study *s) {
  bdpt_status status = study_transfer(s);
  size_t before;
  int k, way, round;
  for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++)
    status = study_search(s, s->o.common.seed + (size_t)k);
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  before = s->base.record.text.used;
  for (round = 0; round < 2; round++) { /* first all networks, then all lines */
    for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++)
      for (way = 0; way < STUDY_WAYS && status == BDPT_OK; way++) {
        study_spec p = study_spec_of(s, STUDY_PAPER, &s->recipe.which_marks, k);
        study_choose(s, way, p.seed, p.which);
        if (round == 0) status = study_network(s, &p);
        if (round == 0 || study_find(s, "ranking", "way", study_way[way], "seed",
                                     (double)p.seed).text) continue;
        cli_json_open(&s->base.record.text, "ranking");
        cli_json_text(&s->base.record.text, "way", study_way[way]);
        study_tail(s, &p);
      }
    if (round == 0 && status == BDPT_OK && !study_completes(s)) return BDPT_OK;
    if (round == 0) before = s->base.record.text.used;
  }
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

void study_say_spread(study *s, const char *kind, const char *key, const char *text,
                      const char *number, double value) {
  double a[BDPT_MAX_MARKS + 1], sum = 0, square = 0, last;
  record_line line;
  size_t at = 0;
  int n = 0, count;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind) || !record_is(line, key, text) ||
        (number && record_real(line, number, NAN) != value)) continue;
    count = record_reals(line, "accuracies", a, BDPT_MAX_MARKS + 1);
    if (count == 0) continue;
    last = a[count - 1];
    sum += last;
    square += last * last;
    n++;
  }
  if (n == 0) return;
  square = n > 1 ? sqrt(fmax(0, (square - sum * sum / n) / (n - 1))) : 0;
  session_say(&s->base, "   %-24s %6.2f", text, sum / n);
  if (n > 1) session_say(&s->base, " +- %.2f", square);
  session_say(&s->base, "\n");
}

void study_tell_which(study *s) {
  int way;
  session_say(&s->base, "   %d + %d %s gone, held-out accuracy after training, deviation over "
              "seeds:\n", s->recipe.which_remove.layer[0], s->recipe.which_remove.layer[1],
              words_of(s->recipe.which_remove.layer[0] + s->recipe.which_remove.layer[1], "layer",
                       "layers"));
  for (way = 0; way < STUDY_WAYS; way++)
    study_say_spread(s, "ranking", "way", study_way[way], NULL, 0);
}
