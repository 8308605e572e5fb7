/* headline.c: parts 14 and 15 of the study, and the headline figures of a record (--summary)
 *
 *   14 headline  layers chosen greedily (bdpt_greedy), against other choices at the same training;
 *                and the recovery piece by piece: teacher, learning rate, features
 *   15 long      the whole recovery on ten passes over the training images
 *
 * One half of the held-out images chooses layers. As in parts 12 and 13 nothing else depends on the
 * values of this recipe, and the names of the jobs hold them.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Every second held-out image of each class. */
static bdpt_status study_half(study *s, bdpt_subset *out) {
  const bdpt_subset *held = &s->base.in.held;
  unsigned char *odd = (unsigned char *)calloc((size_t)held->data->classes, 1);
  bdpt_status status = odd ? bdpt_sample(s->base.ctx, held, held->count, 1, out) : BDPT_E_MEMORY;
  size_t i, n = 0;
  for (i = 0; i < held->count && status == BDPT_OK; i++) {
    unsigned char *flag = &odd[held->data->label[held->index[i]]];
    *flag ^= 1;
    if (*flag) out->index[n++] = held->index[i];
  }
  out->count = n;
  free(odd);
  return status;
}

double study_greedy_images(const study *s) {
  int n = s->recipe.headline_layers, all = 2 * s->base.depth;
  double fit = 64.0 * s->dense->config.width, tokens = s->dense->config.image /
                                                       s->dense->config.patch;
  return (n * all - n * (n - 1) / 2.0) *
         ((double)s->recipe.headline_images + fit / (tokens * tokens + 1));
}

/* The greedy choice, once, as a "greedy" line. */
static bdpt_status study_greedy(study *s) {
  cli_json *j = &s->base.record.text;
  bdpt_greedy_options o;
  bdpt_greedy_result found;
  bdpt_subset half;
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status status;
  double list[2][2 * BDPT_MAX_DEPTH];
  clock_t began;
  int i;
  if (study_find(s, "greedy", NULL, NULL, "layers", s->recipe.headline_layers).text) return BDPT_OK;
  memset(&half, 0, sizeof half);
  memset(&o, 0, sizeof o);
  status = study_half(s, &half);
  m = bdpt_model_clone(s->dense);
  if (status == BDPT_OK && !m) status = s->base.ctx->status;
  o.layers = s->recipe.headline_layers;
  o.images = s->recipe.headline_images < half.count ? s->recipe.headline_images : half.count;
  hooks = session_hooks(&s->base, "greedy");
  began = clock();
  if (status == BDPT_OK) status = bdpt_greedy(m, &s->base.in.rest, &half, &o, &hooks, &found);
  bdpt_model_free(m);
  bdpt_subset_free(s->base.ctx, &half);
  if (status != BDPT_OK) return status;
  for (i = 0; i < found.removed; i++) {
    list[0][i] = found.layer[i].type;
    list[1][i] = found.layer[i].block;
  }
  cli_json_open(j, "greedy");
  cli_json_real(j, "layers", found.removed);
  cli_json_reals(j, "type", list[0], found.removed);
  cli_json_reals(j, "block", list[1], found.removed);
  cli_json_reals(j, "loss", found.loss, found.removed);
  cli_json_reals(j, "accuracy", found.accuracy, found.removed);
  cli_json_reals(j, "macs", found.cost, found.removed);
  cli_json_real(j, "images", found.images);
  cli_json_real(j, "processor_seconds", (double)(clock() - began) / CLOCKS_PER_SEC);
  cli_json_close(j);
  return session_save(&s->base, "greedy");
}

/* The first n layers of the greedy choice. */
static void study_take(const study *s, int n, study_spec *p) {
  record_line line = study_find(s, "greedy", NULL, NULL, "layers", s->recipe.headline_layers);
  double type[2 * BDPT_MAX_DEPTH], block[2 * BDPT_MAX_DEPTH];
  int i, have = record_reals(line, "type", type, 2 * BDPT_MAX_DEPTH);
  memset(p->which, 0, sizeof p->which);
  if (record_reals(line, "block", block, 2 * BDPT_MAX_DEPTH) != have) return;
  for (i = 0; i < n && i < have; i++)
    if (block[i] >= 0 && block[i] < s->base.depth) p->which[type[i] > 0][(int)block[i]] = 1;
}

/* ---- The recovery, piece by piece ---- */

/* removed: 0 nothing, 1 the greedy layers, 2 as many in the order of part 3, half of each type. */
static const struct { const char *row; int removed, teacher, rate, features; } study_pieces[] = {
  {"dense, as before", 0, STUDY_ALONE, 0, 0}, {"dense, all of it", 0, STUDY_SOFT, 1, 1},
  {"as before", 1, STUDY_ALONE, 0, 0},        {"and a teacher", 1, STUDY_SOFT, 0, 0},
  {"and the rate", 1, STUDY_SOFT, 1, 0},      {"and features: all of it", 1, STUDY_SOFT, 1, 1},
  {"all of it, order of part 3", 2, STUDY_SOFT, 1, 1}};

static study_spec study_piece(const study *s, int i, int seed, const cli_layers *marks) {
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, marks, seed);
  int n = s->recipe.headline_layers;
  if (study_pieces[i].removed == 1) study_take(s, n, &p);
  if (study_pieces[i].removed == 2) study_first(s, n / 2, n - n / 2, &p);
  p.teacher = study_pieces[i].teacher;
  if (study_pieces[i].rate) p.lr = s->recipe.headline_lr;
  if (study_pieces[i].features) p.features = s->recipe.headline_features;
  return p;
}

/* ---- The choice: as many layers as part 6 removes, everything else equal ---- */

static const char *const study_pick[] = {"greedy", "learned", "best recovered"};

static study_spec study_picked(study *s, int i, int seed) {
  const int *n = s->recipe.which_remove.layer;
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, &s->recipe.which_marks, seed);
  if (i == 0) study_take(s, n[0] + n[1], &p);
  if (i == 1) study_choose(s, STUDY_LEARNED, p.seed, p.which);
  if (i == 2) study_first(s, n[0], n[1], &p);
  return p;
}

/* Job k of part 14 for a seed, and the kind and row of its line. */
static study_spec study_job(study *s, int k, int seed, const char **kind, const char **row) {
  *kind = k < STUDY_PIECES ? "headline" : "choice";
  *row = k < STUDY_PIECES ? study_pieces[k].row : study_pick[k - STUDY_PIECES];
  return k < STUDY_PIECES ? study_piece(s, k, seed, &s->recipe.headline_marks)
                          : study_picked(s, k - STUDY_PIECES, seed);
}

bdpt_status study_headline(study *s) {
  const int jobs = STUDY_PIECES + STUDY_PICKS;
  const char *kind, *row;
  bdpt_status status = study_greedy(s);
  int i;
  for (i = 0; i < jobs * s->recipe.seeds && status == BDPT_OK; i++) {
    study_spec p = study_job(s, i % jobs, i / jobs, &kind, &row);
    status = study_network(s, &p);
    if (status != BDPT_OK || study_find(s, kind, "row", row, "seed", (double)p.seed).text) continue;
    cli_json_open(&s->base.record.text, kind);
    cli_json_text(&s->base.record.text, "row", row);
    study_tail(s, &p);
    status = record_save(&s->base.record);
  }
  return status;
}

void study_tell_headline(study *s) {
  record_line line = study_find(s, "greedy", NULL, NULL, "layers", s->recipe.headline_layers);
  double type[2 * BDPT_MAX_DEPTH], block[2 * BDPT_MAX_DEPTH], loss[2 * BDPT_MAX_DEPTH];
  int n = record_reals(line, "type", type, 2 * BDPT_MAX_DEPTH), i;
  record_reals(line, "block", block, 2 * BDPT_MAX_DEPTH);
  record_reals(line, "loss", loss, 2 * BDPT_MAX_DEPTH);
  for (i = 0; i < n; i++)
    session_say(&s->base, "   %2d %-10s %2.0f   loss %.4f\n", i + 1, bdpt_type_name(type[i] > 0),
                block[i], loss[i]);
  for (i = 0; i < STUDY_PIECES; i++)
    study_say_spread(s, "headline", "row", study_pieces[i].row, NULL, 0);
  for (i = 0; i < STUDY_PICKS; i++)
    study_say_spread(s, "choice", "row", study_pick[i], NULL, 0);
}

/* ---- 15  Ten passes ---- */

bdpt_status study_long(study *s) {
  bdpt_status status = study_greedy(s);
  int k;
  for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++) {
    study_spec p = study_piece(s, STUDY_WHOLE, k, &s->recipe.headline_long);
    status = study_network(s, &p);
    if (status != BDPT_OK || study_find(s, "long", NULL, NULL, "seed", (double)p.seed).text)
      continue;
    cli_json_open(&s->base.record.text, "long");
    cli_json_text(&s->base.record.text, "row", study_pieces[STUDY_WHOLE].row);
    study_tail(s, &p);
    status = record_save(&s->base.record);
  }
  return status;
}

void study_tell_long(study *s) {
  study_say_spread(s, "long", "row", study_pieces[STUDY_WHOLE].row, NULL, 0);
}

/* ---- The headline figures ---- */

/* Mean over the lines of a kind whose `key` is this text: of the test accuracy, or of the last mark
 * of the held-out images. NAN without a line. */
static double study_mean(const study *s, const char *kind, const char *key, const char *text,
                         int test) {
  record_line line;
  char own[STUDY_NAME];
  double sum = 0, mark[BDPT_MAX_MARKS + 1];
  size_t at = 0;
  int n = 0;
  while ((line = study_next(s, &at)).text) {
    int marks;
    if (!record_is(line, "kind", kind)) continue;
    record_text(line, key, own, sizeof own);
    if (strcmp(own, text) != 0) continue;
    marks = record_reals(line, "accuracy", mark, BDPT_MAX_MARKS + 1);
    if (!test && marks < 1) continue;
    sum += test ? record_real(line, "test", NAN) : mark[marks - 1];
    n++;
  }
  return n ? sum / n : NAN;
}

/* Of one budget of part 12 the best depth row less the width row, test images. */
static double study_lead(const study *s, double budget) {
  double depth = NAN, width = NAN;
  record_line line;
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    double test = record_real(line, "test", NAN);
    if (!record_is(line, "kind", "plus") || record_real(line, "budget", -1) != budget) continue;
    if (record_is(line, "way", "width")) width = test;
    if (record_is(line, "way", "depth") && !(test < depth)) depth = test;
  }
  return depth - width;
}

/* 1 if two lines are results of the same cell, for whatever seeds. */
static int study_same_cell(record_line a, record_line b) {
  static const char *const text[] = {"kind", "way",     "row",  "label",
                                     "start", "teacher", "type", "variant"};
  static const char *const number[] = {"budget", "layers"};
  char x[STUDY_NAME], y[STUDY_NAME];
  size_t i;
  for (i = 0; i < sizeof text / sizeof text[0]; i++) {
    record_text(a, text[i], x, sizeof x);
    record_text(b, text[i], y, sizeof y);
    if (strcmp(x, y) != 0) return 0;
  }
  for (i = 0; i < sizeof number / sizeof number[0]; i++)
    if (record_real(a, number[i], -1) != record_real(b, number[i], -1)) return 0;
  return 1;
}

/* The fewest seeds of any cell of the parts that compare trained networks; 0: there is none. */
static int study_fewest(const study *s) {
  static const char *const kinds[] = {"ranking", "types", "semantics", "start", "distillation",
                                      "plus", "headline", "choice", "long"};
  record_line line, other;
  int fewest = 0;
  size_t at = 0, from, i;
  while ((line = study_next(s, &at)).text) {
    int seeds = 0;
    for (i = 0; i < sizeof kinds / sizeof kinds[0] && !record_is(line, "kind", kinds[i]); i++) { }
    if (i == sizeof kinds / sizeof kinds[0]) continue;
    for (from = 0; (other = study_next(s, &from)).text;) seeds += study_same_cell(line, other);
    if (!fewest || seeds < fewest) fewest = seeds;
  }
  return fewest;
}

/* One figure; a figure that the record does not have is not printed. */
static void study_figure(const char *name, double value) {
  if (isfinite(value)) printf("STUDY %s %.2f\n", name, value);
}

static void study_summary(study *s) {
  double dense = record_real(study_find(s, "dense", NULL, NULL, NULL, 0), "test", NAN);
  const char *whole = study_pieces[STUDY_WHOLE].row;
  study_figure("dense_test", dense);
  study_figure("gap_short",
               study_mean(s, "headline", "row", study_pieces[STUDY_CONTROL].row, 1) -
                   study_mean(s, "headline", "row", whole, 1));
  study_figure("gap_long", dense - study_mean(s, "long", "row", whole, 1));
  study_figure("greedy_8", study_mean(s, "choice", "row", study_pick[0], 0));
  study_figure("learned_8", study_mean(s, "choice", "row", study_pick[1], 0));
  study_figure("best_recovered_8", study_mean(s, "choice", "row", study_pick[2], 0));
  study_figure("depth_minus_width_1_6", study_lead(s, 0));
  study_figure("depth_minus_width_2_5", study_lead(s, 1));
  printf("STUDY seeds_min %d\n", study_fewest(s));
}

bdpt_status study_summarise(study *s) {
  bdpt_status status;
  if (!cli_file_exists(session_path(&s->base, "reproduce.jsonl"))) s->base.out = "data";
  status = session_load(&s->base, "reproduce.jsonl");
  if (status == BDPT_OK) study_summary(s);
  return status;
}
