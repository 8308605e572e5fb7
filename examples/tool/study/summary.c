/* summary.c: the headline figures of a record (reproduce --summary) */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Returns the mean over the lines of a kind whose `key` is this text: of the test accuracy, or of
 * the last mark of the held-out images. NAN without a line. */
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
    marks = record_reals(line, "accuracies", mark, BDPT_MAX_MARKS + 1);
    if (!test && marks < 1) continue;
    sum += test ? record_real(line, "test", NAN) : mark[marks - 1];
    n++;
  }
  return n ? sum / n : NAN;
}

/* Returns, of one budget of part 18, the depth row less the width row, test images. */
static double study_lead(const study *s, int budget) {
  char depth[40], width[40];
  snprintf(depth, sizeof depth, "depth, budget %d", budget);
  snprintf(width, sizeof width, "width, budget %d", budget);
  return study_mean(s, "frontier", "row", depth, 1) - study_mean(s, "frontier", "row", width, 1);
}

/* Returns 1 if two lines are results of the same cell, for whatever seeds. */
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

/* Returns the fewest seeds of any cell of the parts that compare trained networks; 0: there is
 * none. */
static int study_fewest(const study *s) {
  static const char *const kinds[] = {"ranking", "types", "semantics", "start", "distillation",
                                      "plus", "headline", "choice", "long",
                                      "frontier", "rival", "reading"};
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

/* Prints one figure; a figure that the record does not have is not printed. */
static void study_figure(const char *name, double value) {
  if (isfinite(value)) printf("STUDY %s %.2f\n", name, value);
}

static void study_summary(study *s) {
  double dense = record_real(study_find(s, "better", NULL, NULL, NULL, 0), "test", NAN);
  study_figure("dense_test", dense);
  study_figure("gap_short", study_mean(s, "headline", "row", study_control, 1) -
                                study_mean(s, "headline", "row", study_whole, 1));
  study_figure("gap_long", dense - study_mean(s, "long", "row", study_whole, 1));
  study_figure("greedy_8", study_mean(s, "choice", "row", study_pick[0], 0));
  study_figure("learned_8", study_mean(s, "choice", "row", study_pick[1], 0));
  study_figure("best_recovered_8", study_mean(s, "choice", "row", study_pick[2], 0));
  study_figure("depth_minus_width_1_6", study_lead(s, 0));
  study_figure("depth_minus_width_2_5", study_lead(s, 1));
  printf("STUDY seeds_min %d\n", study_fewest(s));
}

bdpt_status study_summarise(study *s) {
  bdpt_status status;
  if (cli_file_exists(session_path(&s->base, "reproduce.jsonl")) == 0) s->base.out = "data";
  status = session_load(&s->base, "reproduce.jsonl");
  if (status == BDPT_OK) study_summary(s);
  return status;
}
