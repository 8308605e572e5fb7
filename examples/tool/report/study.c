/* =================================================================================================
 * study.c: the sections of the page that only the study has (study/)
 * =================================================================================================
 * The kinds of lines are named at each section. Black
 * is what the study measured and has no type; grey is the paper's start of training. A sentence
 * or a row of which a number is missing is left out.
 */
#include "../../../boundarydpt.h"
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { REPORT_GROUPS = 24, REPORT_SEEDS = 16 };

/* Networks that share a text, such as a way of choosing layers, and their accuracies. */
typedef struct report_group {
  const char *name;
  double value[REPORT_SEEDS], mean;
  int count;
} report_group;

/* Returns the i-th number of a list, from the end if i is negative. */
static double report_nth(const report_line *line, const char *key, int i) {
  const report_field *field = report_get(line, key);
  if (!field) return (double)NAN;
  if (i < 0) i += field->count;
  return i >= 0 && i < field->count ? field->number[i] : (double)NAN;
}

/* Groups lines by the text of `key`; the value is the last number of `what`. */
static int report_groups(const report_run *run, const char *kind, const char *key,
                         const char *what, report_group *group) {
  const report_line *line = NULL;
  int count = 0, i;
  while ((line = report_next(run, line, kind)) != NULL) {
    const char *name = report_text(line, key);
    double v = report_nth(line, what, -1);
    for (i = 0; i < count && strcmp(group[i].name, name) != 0; i++) continue;
    if (i == REPORT_GROUPS || !isfinite(v)) continue;
    if (i == count) {
      memset(&group[count], 0, sizeof group[0]);
      group[count++].name = name;
    }
    if (group[i].count < REPORT_SEEDS) group[i].value[group[i].count++] = v;
  }
  for (i = 0; i < count; i++) {
    int k;
    for (k = 0; k < group[i].count; k++) group[i].mean += group[i].value[k] / group[i].count;
  }
  return count;
}

/* Draws one row per group: a dot per seed, the mean as a stroke with its number. */
static void report_rows(report_page *page, const char *title, const char *axis,
                        const report_group *group, int count) {
  double lo = (double)NAN, hi = (double)NAN;
  int i, k, bottom = 42 + 24 * count;
  report_axis x;
  for (i = 0; i < count; i++)
    for (k = 0; k < group[i].count; k++) report_widen(group[i].value[k], &lo, &hi);
  if (!isfinite(lo)) lo = hi = 0;
  x = report_make_axis(floor(lo - 0.5), ceil(hi + 0.5), 158, REPORT_W - 40, 0);
  report_svg(page, bottom + 34, title);
  report_axis_x(page, &x, 34, bottom, axis);
  for (i = 0; i < count; i++) {
    double y = 48 + 24 * i, mean = report_at(&x, group[i].mean);
    report_put(page, "<text class=\"s\" x=\"0\" y=\"%.1f\">", y + 4);
    report_escape(page, group[i].name);
    report_put(page, "</text><text class=\"s e\" x=\"%d\" y=\"%.1f\">%.1f</text>\n", REPORT_W,
               y + 4, group[i].mean);
    report_segment(page, "line", 'k', mean, y - 7, mean, y + 7);
    for (k = 0; k < group[i].count; k++)
      report_mark(page, "dot", 'k', report_at(&x, group[i].value[k]), y, 4, "%s: %.2f %%",
                  group[i].name, group[i].value[k]);
  }
  if (count == 0) report_why_empty(page, 40, "no network of this part has been measured yet");
  report_raw(page, "</svg>\n");
}

/* Says which group is the best and by how much; seed by seed, because two networks of one seed saw
 * the same images in the same order and were measured on the same ones. */
static void report_say_groups(report_page *page, const report_group *group, int count) {
  double lead, low = 1e9, high = -1e9;
  int i, best = 0, next, pairs, ahead = 0;
  if (count < 2) return;
  for (i = 1; i < count; i++)
    if (group[i].mean > group[best].mean) best = i;
  next = best == 0;
  for (i = 0; i < count; i++)
    if (i != best && group[i].mean > group[next].mean) next = i;
  pairs = group[best].count < group[next].count ? group[best].count : group[next].count;
  for (i = 0; i < pairs; i++) {
    lead = group[best].value[i] - group[next].value[i];
    low = fmin(low, lead); high = fmax(high, lead);
    ahead += lead > 0;
  }
  report_raw(page, "The best mean has <q>");
  report_escape(page, group[best].name);
  report_put(page, "</q>, %.2f&nbsp;%%, %.2f points above the next, <q>", group[best].mean,
             group[best].mean - group[next].mean);
  report_escape(page, group[next].name);
  if (pairs < 2) report_raw(page, "</q>; one seed does not tell whether that is chance. ");
  else
    report_put(page, "</q>. It is ahead with %d of %d %s, by %.2f to %.2f points. ", ahead,
               pairs, words_of(pairs, "seed", "seeds"), low, high);
}

/* ---- Where the gap between the gradients comes from ("gap") ---- */

/* Draws the mean square of f - r, layer by layer. */
static void report_change(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "change");
  double value[2][BDPT_MAX_DEPTH], layer[BDPT_MAX_DEPTH], lo = (double)NAN, hi = (double)NAN;
  report_axis x = report_make_axis(-0.5, run->depth - 0.5, 40, REPORT_W - 4, 0), y;
  int t, l;
  for (t = 0; t < 2; t++)
    for (l = 0; l < run->depth; l++) {
      layer[l] = l;
      value[t][l] = report_nth(line, report_type_name[t], l);
      if (value[t][l] > 0) report_widen(value[t][l], &lo, &hi);
    }
  if (!(lo > 0)) lo = hi = 1;
  y = report_make_axis(report_floor10(lo), 10 * report_floor10(hi), 144, 46, 1);
  report_svg(page, 196, "What removal takes away: E[(f &minus; r)&sup2;]");
  report_axis_y(page, &y, 40, REPORT_W - 4, "mean square");
  report_axis_layers(page, &x, run->depth, 162);
  for (t = 0; t < 2; t++) {
    report_polyline(page, "thin", report_type_class[t], &x, &y,
                    (report_series){layer, value[t], run->depth});
    for (l = 0; l < run->depth; l++)
      if (value[t][l] > 0)
        report_mark(page, "dot", report_type_class[t], report_at(&x, l),
                    report_at(&y, value[t][l]), 4, "%s %d: %.3g", report_type_name[t], l,
                    value[t][l]);
  }
  report_raw(page, "</svg>\n");
}

static void report_gap(report_page *page, const report_run *run) {
  static const struct { const char *key, *name; } part[5] = {
    {"raw", "measured gap"}, {"size", "root of F/D"}, {"variance", "variance of f &minus; r"},
    {"rest", "reach of the loss"}, {"adam", "left after AdamW"}};
  const report_line *gap = report_next(run, NULL, "gap");
  double lo = 0.5, hi = 500, raw = report_number(gap, "raw");
  report_axis x;
  int i;
  for (i = 0; i < 5; i++) report_widen(report_number(gap, part[i].key), &lo, &hi);
  if (!(lo > 0)) lo = 0.1;
  x = report_make_axis(report_floor10(lo), 10 * report_floor10(hi), 158, REPORT_W - 40, 1);
  report_raw(page, "<div class=\"panels\">");
  report_svg(page, 196, "Activation over attention, as factors");
  report_axis_x(page, &x, 34, 162, "times");
  report_mark(page, "ring", 'q', report_at(&x, 400), 48, 4, "paper, DeiT: about 400 times");
  for (i = 0; i < 5; i++) {
    double v = report_number(gap, part[i].key), y = 48 + 24 * i;
    if (!isfinite(v)) continue;
    report_put(page, "<text class=\"s\" x=\"0\" y=\"%.1f\">%s</text>"
               "<text class=\"s e\" x=\"%d\" y=\"%.1f\">%.2f</text>\n", y + 4, part[i].name,
               REPORT_W, y + 4, v);
    if (!(v > 0)) continue;
    report_segment(page, "bar", 'k', report_at(&x, 1), y, report_at(&x, v), y);
    report_mark(page, "dot", 'k', report_at(&x, v), y, 4, "%s: %.3g", part[i].key, v);
  }
  report_raw(page, "</svg>\n");
  report_change(page, run);
  report_raw(page, "</div><p class=\"cap\">The gap is a product: an activation sums over F "
             "numbers a token where attention sums over D (theorem 4); the variance of what a "
             "layer adds differs, GELU(z)&nbsp;&minus;&nbsp;z against MHSA(u)&nbsp;&minus;&nbsp;u; "
             "and the loss reaches them with different force. ");
  if (isfinite(raw))
    report_put(page, "Here the activations' gradients are %.2f times attention's; the paper's "
               "figure shows 409 times (geometric means over the layers). ", raw);
  if (raw > 1 && isfinite(report_number(gap, "adam")))
    report_put(page, "AdamW divides each scalar's gradient by its own size; in the learned scalars "
               "a factor of %.2f is left. ", report_number(gap, "adam"));
}

/* ---- Removing a linear ("mismatch") ---- */

/* Draws a column of numbers of some height at x, centred, and writes what it is called. */
static void report_column(report_page *page, double x, double height, const char *how,
                          const char *name) {
  report_put(page, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"%.1f\"/>"
             "<text class=\"m\" x=\"%.1f\" y=\"178\">%s</text>\n", how, x - 5, 98 - height / 2,
             height, x, name);
}

/* Draws a linear between two columns. */
static void report_linear(report_page *page, const char *how, double x1, double h1, double x2,
                          double h2, const char *name) {
  report_put(page, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1fV%.1fL%.1f %.1fZ\"/>"
             "<text class=\"m\" x=\"%.1f\" y=\"102\">%s</text>\n", how, x1 + 8, 98 - h1 / 2,
             x2 - 8, 98 - h2 / 2, 98 + h2 / 2, x1 + 8, 98 + h1 / 2, (x1 + x2) / 2, name);
}

static void report_mismatch(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "mismatch");
  double d = report_number(line, "width"), f = report_number(line, "hidden");
  double small = fmax(12, fmin(128 * d / f, 128));
  char wide[32], narrow[32];
  if (!(d > 0 && f > 0)) d = f = small = 0;
  snprintf(wide, sizeof wide, "F = %.0f", f);
  snprintf(narrow, sizeof narrow, "D = %.0f", d);
  report_raw(page, "<div class=\"panels\">");
  report_svg(page, 196, "Without fc1: the widths do not meet");
  report_column(page, 40, small, "box a", narrow);
  report_column(page, 186, 128, "box n", wide);
  report_column(page, 330, small, "box a", narrow);
  report_linear(page, "gone k", 40, small, 186, 128, "fc1 gone");
  report_linear(page, "line k", 186, 128, 330, small, "fc2");
  report_raw(page, "</svg>\n");
  report_svg(page, 196, "Without the GELU: two linears are one map");
  report_column(page, 40, small, "box a", narrow);
  report_column(page, 330, small, "box a", narrow);
  report_linear(page, "line g", 40, small, 330, small, "W2 W1, D x D");
  report_raw(page, "</svg></div><p class=\"cap\">The library refuses and says why: <q>");
  report_escape(page, report_text(line, "message"));
  report_raw(page, "</q>. ");
  if (isfinite(report_number(line, "asked") + report_number(line, "refused")))
    report_put(page, "All %.0f single linears of the network were tried, %.0f %s refused. ",
               report_number(line, "asked"), report_number(line, "refused"),
               words_of(report_number(line, "refused"), "was", "were"));
}

/* ---- The split, budget by budget and seed by seed ("split") ---- */

/* Draws how often the noise leaves the split where it is, by budget. */
static void report_stability(report_page *page, const report_run *run, double most) {
  const report_line *line = NULL;
  int shown = 0, moved = 0;
  report_axis x = report_make_axis(0, most + 1, 40, REPORT_W - 8, 0);
  report_axis y = report_make_axis(0, 100, 250, 46, 0);
  report_svg(page, 288, "Trials with noise that choose the same split");
  report_axis_y(page, &y, 40, REPORT_W - 8, "% of the trials");
  report_axis_x(page, &x, 46, 250, "layers to remove in all");
  if (most >= 8)
    report_mark(page, "ring", 'q', report_at(&x, 8), report_at(&y, 75), 5, "paper: 75.0 %%");
  while ((line = report_next(run, line, "split")) != NULL) {
    int paper = strcmp(report_text(line, "start"), "paper") == 0;
    double shift = paper ? 5 * (report_number(line, "seed") - report_number(run->setup, "seed"))
                         : -6;
    if (!isfinite(shift + report_number(line, "exact"))) continue;
    report_mark(page, "dot", paper ? 'k' : 'n',
                report_at(&x, report_number(line, "budget")) + shift,
                report_at(&y, report_number(line, "exact")), 4,
                "start %s, seed %.0f, %.0f %s: %.1f %%", report_text(line, "start"),
                report_number(line, "seed"), report_number(line, "budget"),
                words_of(report_number(line, "budget"), "layer", "layers"),
                report_number(line, "exact"));
    shown++;
    moved += report_number(line, "exact") < 100;
  }
  if (!shown) report_why_empty(page, 150, "no split was tried with noise yet");
  else if (!moved)
    report_why_empty(page, 150, "every dot is on the upper edge: no trial chose another");
  report_raw(page, "</svg>\n");
}

static void report_splits(report_page *page, const report_run *run) {
  const report_line *line = NULL;
  double most = 2, budget[REPORT_SEEDS], low[REPORT_SEEDS], high[REPORT_SEEDS], worst = 0;
  report_axis x, y;
  int n = 0, i, seeds = 0;
  while ((line = report_next(run, line, "split")) != NULL)
    most = fmax(most, report_number(line, "budget"));
  x = report_make_axis(0, most + 1, 40, REPORT_W - 8, 0);
  y = report_make_axis(0, most, 250, 46, 0);
  report_raw(page, "<div class=\"panels\">");
  report_svg(page, 288, "Attention layers in the chosen split");
  report_axis_y(page, &y, 40, REPORT_W - 8, "attention layers");
  report_axis_x(page, &x, 46, 250, "layers to remove in all");
  report_segment(page, "dash", 'q', report_at(&x, 0), report_at(&y, 0), report_at(&x, most),
                 report_at(&y, most / 2));
  if (most >= 8)
    report_mark(page, "ring", 'q', report_at(&x, 8), report_at(&y, 4), 5, "paper: 4 + 4 of 8");
  while ((line = report_next(run, line, "split")) != NULL) {
    double b = report_number(line, "budget"), a = report_number(line, "attentions");
    int paper = strcmp(report_text(line, "start"), "paper") == 0;
    double shift = paper ? 5 * (report_number(line, "seed") - report_number(run->setup, "seed"))
                         : -6;
    if (!isfinite(shift + a + b)) continue;
    report_mark(page, "dot", paper ? 'k' : 'n', report_at(&x, b) + shift, report_at(&y, a), 4,
                "start %s, seed %.0f: %.0f + %.0f of %.0f", report_text(line, "start"),
                report_number(line, "seed"), a, b - a, b);
    for (i = 0; i < n && budget[i] != b; i++) continue;
    if (!paper || i == REPORT_SEEDS) continue;
    if (i == n) {
      budget[n] = b;
      low[n] = high[n] = a;
      n++;
    }
    report_widen(a, &low[i], &high[i]);
    seeds += i == 0;
  }
  report_raw(page, "</svg>\n");
  report_stability(page, run, most);
  report_put(page, "</div><p class=\"cap\">Black: the paper's start, %d %s side by side; "
             "grey: the least-squares start. The dashed line halves the budget. ", seeds,
             words_of(seeds, "seed", "seeds"));
  for (i = 0; i < n; i++)
    if (high[i] - low[i] > worst) worst = high[i] - low[i];
  if (seeds > 1)
    report_put(page, "Between seeds the split moves by %s%.0f %s. ", worst > 0 ? "up to " : "",
               worst, words_of(worst, "layer", "layers"));
  line = report_next(run, NULL, "split");
  while (line && report_number(line, "budget") != (most >= 8 ? 8 : most))
    line = report_next(run, line, "split");
  if (isfinite(report_number(line, "exact") + report_number(line, "one") +
               report_number(line, "more") + report_number(line, "budget")))
    report_put(page, "With noise of the published size on the points of the first seed, "
               "%.1f&nbsp;%% of the trials choose the same split of %.0f %s, %.1f&nbsp;%% move "
               "one layer, %.1f&nbsp;%% more (published for 8: 75.0, 5.2, 19.8). ",
               report_number(line, "exact"), report_number(line, "budget"),
               words_of(report_number(line, "budget"), "layer", "layers"),
               report_number(line, "one"), report_number(line, "more"));
}

/* ---- The predictor's surface ("surface", "collected", "split") ---- */

/* Draws the first seed's networks and surfaces, from both starts of training. */
static void report_surfaces(report_page *page, const report_run *run) {
  static const char *const title[2] = {"From the paper's start", "From the least-squares start"};
  const report_line *line = NULL;
  report_map m;
  int k;
  report_raw(page, "<div class=\"panels\">");
  for (k = 0; k < 2; k++) {
    const report_line *split = NULL;
    memset(&m, 0, sizeof m);
    m.seed = report_number(run->setup, "seed");
    while ((line = report_next(run, line, "surface")) != NULL)
      if ((strcmp(report_text(line, "start"), "paper") == 0) == (k == 0) &&
          report_number(line, "seed") == m.seed) break;
    if (!line) continue;
    m.fit = line;
    m.start = report_text(line, "start");
    while ((split = report_map_next(run, &m, split, "split")) != NULL)
      if (report_number(split, "budget") >= 8) break;
    report_map_facts(run, split, &m);
    report_map_heat(page, run, &m, title[k]);
    line = NULL;
  }
  report_raw(
      page,
      "</div><p class=\"cap\">Networks that were pruned, trained and measured, and "
      "the polynomial through them. A white point stands where one was measured, on "
      "a disc of its colour: a disc that can be seen is a point that the surface "
      "misses. Small squares are extrapolation. The frame is the choice for 8 layers (dashed). ");
  for (line = NULL; (line = report_next(run, line, "surface")) != NULL;) {
    int degree = report_int(line, "degree", 1, 4, 0);
    double error = report_nth(line, "cv_rmse", degree - 1);
    if (degree == 0 || !isfinite(error + report_number(line, "seed"))) continue;
    report_raw(page, "Start <q>");
    report_escape(page, report_text(line, "start"));
    report_put(page, "</q>, seed %.0f: degree %d, leave-two-out error %.2f points. ",
               report_number(line, "seed"), degree, error);
  }
}

/* ---- Ways to choose, text against code, teachers ("ranking", "semantics", "distillation") ---- */

/* Returns 1 if the networks of two lines lost as many layers and were trained as long. */
static int report_same_request(const report_line *a, const report_line *b) {
  const char *const list[2] = {"attention", "activation"};
  int i;
  for (i = 0; i < 2; i++) {
    const report_field *x = report_get(a, list[i]), *y = report_get(b, list[i]);
    if (!x || !y || x->count != y->count) return 0;
  }
  return report_nth(a, "marks", -1) == report_nth(b, "marks", -1);
}

/* Adds the order by accuracy after recovery to the ways of part 6. It is none of them, but part 9
 * trained its networks: as many layers gone, as many epochs, in the paper's form. */
static int report_add_recovery_order(const report_run *run, const char *what, report_group *group,
                                     int count) {
  static const char *const name = "recovered accuracy";
  report_group other[REPORT_GROUPS];
  const report_line *line = report_next(run, NULL, "semantics");
  int n, i;
  for (i = 0; i < count; i++)
    if (strcmp(group[i].name, name) == 0) return count;
  if (count == REPORT_GROUPS || !report_same_request(line, report_next(run, NULL, "ranking")))
    return count;
  n = report_groups(run, "semantics", "variant", what, other);
  for (i = 0; i < n && strcmp(other[i].name, "x + LN1(x)") != 0; i++) continue;
  if (i == n) return count;
  group[count] = other[i];
  group[count].name = name;
  return count + 1;
}

static void report_one_row_figure(report_page *page, const report_run *run, const char *kind,
                                  const char *key, const char *title) {
  report_group group[REPORT_GROUPS], test[REPORT_GROUPS];
  int count = report_groups(run, kind, key, "accuracies", group);
  int tested = report_groups(run, kind, key, "test", test);
  if (strcmp(kind, "ranking") == 0) {
    count = report_add_recovery_order(run, "accuracies", group, count);
    tested = report_add_recovery_order(run, "test", test, tested);
  }
  double epochs = report_nth(report_next(run, NULL, kind), "marks", -1);
  report_raw(page, "<div class=\"panels\">");
  report_rows(page, title, "held-out accuracy, %", group, count);
  report_rows(page, "The same networks on the test images", "test accuracy, %", test, tested);
  report_raw(page, "</div><p class=\"cap\">One dot for each seed; the stroke is the mean. ");
  if (isfinite(epochs))
    report_put(page, "Trained for %.0f small %s. ", epochs, words_of(epochs, "epoch", "epochs"));
  report_say_groups(page, group, count);
}

static void report_ranking(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "ranking", "way",
                        "The same budget, layers chosen in several ways");
}

static void report_semantics(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "semantics", "variant", "What a removed layer leaves");
}

static void report_distillation(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "distillation", "teacher", "Taught by");
}

/* ---- Greedy choices and the whole recovery ("choice", "headline", "long", "frontier") ---- */

static void report_choice(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "choice", "row", "As many layers, chosen in three ways");
}

static void report_readings(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "reading", "row", "As many layers, chosen in other ways");
}

static void report_headline(report_page *page, const report_run *run) {
  const report_line *better = report_next(run, NULL, "better");
  report_one_row_figure(page, run, "headline", "row", "The recovery, piece by piece");
  if (better)
    report_put(page, "The dense network had been trained on: %.2f&nbsp;%% on the test images. ",
               report_number(better, "test"));
}

static void report_long(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "long", "row", "Ten passes over all images");
}

static void report_frontier(report_page *page, const report_run *run) {
  report_one_row_figure(page, run, "frontier", "row", "At the same multiply-accumulates");
}

/* ---- One type or both ("types", "timing", "control") ---- */

/* Returns the timing of a network of part 7. */
static const report_line *report_timing(const report_run *run, const report_line *types) {
  const report_line *line = NULL;
  const report_field *a = report_get(types, "attention"), *g = report_get(types, "activation");
  while ((line = report_next(run, line, "timing")) != NULL)
    if (strcmp(report_text(line, "model"), report_text(types, "type")) == 0 && a && g &&
        report_number(line, "attentions") == a->count &&
        report_number(line, "activations") == g->count) return line;
  return NULL;
}

static void report_types(report_page *page, const report_run *run) {
  static const char *const mix[3] = {"attention", "activation", "joint"};
  double dense = report_number(report_next(run, NULL, "dense"), "accuracy"), worst = 8, most = 1.7;
  const report_line *line = NULL;
  report_axis x, y;
  int base, t, n, timed = 0;
  while ((line = report_next(run, line, "types")) != NULL) {
    double loss = 100 * (1 - report_nth(line, "accuracies", -1) / dense);
    if (loss * 1.1 > worst) worst = loss * 1.1;
    if (report_number(report_timing(run, line), "speedup") > most)
      most = report_number(report_timing(run, line), "speedup") + 0.05;
  }
  x = report_make_axis(0.95, most, 40, REPORT_W - 8, 0);
  y = report_make_axis(-1, worst, 46, 266, 0);
  report_key(page, "agkp");
  report_raw(page, "<div class=\"panels\">");
  for (base = 0; base < 2; base++) {
    report_svg(page, 302, base ? "Beside the paper's DeiT-B" : "Beside the paper's DeiT-S");
    report_axis_y(page, &y, 40, REPORT_W - 8, "accuracy lost, % of the dense network's");
    report_axis_x(page, &x, 46, 266, "times as fast as dense");
    for (t = 0; t < 3; t++) {
      double speed[REPORT_SEEDS], loss[REPORT_SEEDS];
      char colour = t == 2 ? 'k' : report_type_class[t];
      report_faint_curve(page, &report_published[base][t], &x, &y);
      speed[0] = 1;
      loss[0] = 0;
      for (n = 1, line = NULL; n < REPORT_SEEDS && (line = report_next(run, line, "types"));) {
        if (strcmp(report_text(line, "type"), mix[t]) != 0) continue;
        speed[n] = report_number(report_timing(run, line), "speedup");
        loss[n] = 100 * (1 - report_nth(line, "accuracies", -1) / dense);
        if (!isfinite(report_number(line, "layers"))) continue;
        report_mark(page, "dot", colour, report_at(&x, speed[n]), report_at(&y, loss[n]), 4,
                    "%s, %.0f %s: %.2f times, %.2f %%", mix[t], report_number(line, "layers"),
                    words_of(report_number(line, "layers"), "layer", "layers"), speed[n],
                    report_nth(line, "accuracies", -1));
        timed += isfinite(speed[n]);
        n++;
      }
      report_polyline(page, "thin", colour, &x, &y, (report_series){speed, loss, n});
    }
    if (!timed) report_why_empty(page, 200, "no network of this part was timed yet");
    report_raw(page, "</svg>\n");
  }
  report_raw(page, "</div><p class=\"cap\">Each line is one rule: attention only, activations "
                   "only, or half of each. Solid is measured, fused and timed beside the dense "
                   "network on the machine named above; faint is the paper on ImageNet. ");
  line = report_next(run, NULL, "control");
  if (isfinite(report_nth(line, "accuracies", 0)))
    report_put(page, "The dense network, trained just as long with nothing removed, goes from "
               "%.2f to %.2f&nbsp;%%: that much of every loss is the training itself. ",
               report_nth(line, "accuracies", 0), report_nth(line, "accuracies", -1));
}

/* ---- Speed of the published networks ("timing" of DeiT) ---- */

/* Draws three rows: measured speed-up, or what the multiply-accumulates promise. */
static int report_speed_rows(report_page *page, const report_run *run, int promised) {
  static const struct { const char *name, *label; double published; } size[3] = {
    {"deit_tiny_patch16_224", "DeiT-Ti", 0}, {"deit_small_patch16_224", "DeiT-S", 1.39},
    {"deit_base_patch16_224", "DeiT-B", 1.58}};
  const report_line *line;
  report_axis x = report_make_axis(1, 1.8, 90, REPORT_W - 40, 0);
  int i, shown = 0;
  report_svg(page, 150, promised ? "Multiply-accumulates, dense over pruned"
                                 : "Measured, dense over pruned and fused");
  report_axis_x(page, &x, 34, 116, promised ? "times fewer" : "times as fast");
  for (i = 0; i < 3; i++) {
    double y = 50 + 26 * i, v;
    for (line = NULL; (line = report_next(run, line, "timing")) != NULL;)
      if (strcmp(report_text(line, "model"), size[i].name) == 0) break;
    v = promised ? report_number(line, "dense_macs") / report_number(line, "macs")
                 : report_number(line, "speedup");
    if (!isfinite(v + report_number(line, "attentions") + report_number(line, "activations")))
      continue;
    shown++;
    report_put(page, "<text class=\"s\" x=\"0\" y=\"%.1f\">%s %.0f+%.0f</text>"
               "<text class=\"s e\" x=\"%d\" y=\"%.1f\">%.2f</text>\n", y + 4, size[i].label,
               report_number(line, "attentions"), report_number(line, "activations"), REPORT_W,
               y + 4, v);
    if (!promised)
      report_segment(page, "bar", 'k', report_at(&x, report_number(line, "speedup_low")), y,
                     report_at(&x, report_number(line, "speedup_high")), y);
    report_mark(page, "dot", 'k', report_at(&x, v), y, 4.5, "%s: %.2f times", size[i].label, v);
    if (!promised && size[i].published > 0)
      report_mark(page, "ring", 'q', report_at(&x, size[i].published), y, 4,
                  "paper, %s: %.2f times", size[i].label, size[i].published);
  }
  if (!shown) report_why_empty(page, 76, "no published network was timed yet");
  report_raw(page, "</svg>\n");
  return shown;
}

static void report_speeds(report_page *page, const report_run *run) {
  int shown;
  report_raw(page, "<div class=\"panels\">");
  shown = report_speed_rows(page, run, 0);
  report_speed_rows(page, run, 1);
  report_put(page, "</div><p class=\"cap\">%d %s at the published number of removed layers "
             "(attention+activation). The stroke is the range that the quartiles of both times "
             "allow, the ring the paper's figure on a GPU. ", shown,
             words_of(shown, "network", "networks"));
}

/* ---- The start of training ("single", "recovery", "start") ---- */

/* Draws accuracy with one layer of a type replaced: identity grey, least squares in the type's
 * colour. */
static void report_single_panel(report_page *page, const report_run *run, int type) {
  const report_line *line = NULL;
  double identity[BDPT_MAX_DEPTH], fit[BDPT_MAX_DEPTH], hi = 1;
  report_axis x = report_make_axis(-0.5, run->depth - 0.5, 40, REPORT_W - 4, 0), y;
  int l;
  for (l = 0; l < run->depth; l++) identity[l] = fit[l] = (double)NAN;
  while ((line = report_next(run, line, "recovery")) != NULL) {
    l = report_int(line, "layer", 0, run->depth - 1, -1);
    if (l >= 0 && report_type(line) == type) identity[l] = report_number(line, "at_once");
  }
  for (line = NULL; (line = report_next(run, line, "single")) != NULL;) {
    l = report_int(line, "layer", 0, run->depth - 1, -1);
    if (l >= 0 && report_type(line) == type) fit[l] = report_number(line, "fit");
  }
  for (l = 0; l < run->depth; l++) hi = fmax(hi, fmax(fit[l], identity[l]));
  y = report_make_axis(0, ceil(hi / 10) * 10, 250, 46, 0);
  report_svg(page, 288, type ? "One activation replaced, no training"
                             : "One attention layer replaced, no training");
  report_axis_y(page, &y, 40, REPORT_W - 4, "held-out accuracy, %");
  report_axis_layers(page, &x, run->depth, 266);
  for (l = 0; l < run->depth; l++) {
    report_segment(page, "thin", report_type_class[type], report_at(&x, l),
                   report_at(&y, identity[l]), report_at(&x, l), report_at(&y, fit[l]));
    report_mark(page, "dot", 'n', report_at(&x, l), report_at(&y, identity[l]), 4,
                "layer %d, the paper's start: %.2f %%", l, identity[l]);
    report_mark(page, "dot", report_type_class[type], report_at(&x, l), report_at(&y, fit[l]), 4,
                "layer %d, least squares: %.2f %%", l, fit[l]);
  }
  report_raw(page, "</svg>\n");
}

/* Returns the mean over seeds of accuracy number `at` (from the end if negative) for a start and a
 * budget. */
static double report_start_mean(const report_run *run, const char *start, double budget, int at) {
  const report_line *line = NULL;
  double sum = 0;
  int n = 0;
  while ((line = report_next(run, line, "start")) != NULL)
    if (strcmp(report_text(line, "start"), start) == 0 &&
        report_number(line, "budget") == budget) {
      sum += report_nth(line, "accuracies", at);
      n++;
    }
  return n ? sum / n : (double)NAN;
}

/* Lists every budget that there are lines for, rising. */
static int report_budgets(const report_run *run, double out[REPORT_SEEDS]) {
  const report_line *line = NULL;
  int n = 0, i;
  while ((line = report_next(run, line, "start")) != NULL) {
    double b = report_number(line, "budget");
    if (!isfinite(b)) continue;
    for (i = 0; i < n && out[i] < b; i++) continue;
    if ((i < n && out[i] == b) || n == REPORT_SEEDS) continue;
    memmove(out + i + 1, out + i, (size_t)(n - i) * sizeof *out);
    out[i] = b;
    n++;
  }
  return n;
}

/* Draws all starts against the budget: at once, or after the last mark. */
static void report_start_panel(report_page *page, const report_run *run, const char *other,
                               int at) {
  double budget[REPORT_SEEDS], lo = (double)NAN, hi = (double)NAN, y2[2][REPORT_SEEDS];
  int n = report_budgets(run, budget), i, k;
  const report_line *line = NULL;
  report_axis x, y;
  while ((line = report_next(run, line, "start")) != NULL)
    report_widen(report_nth(line, "accuracies", at), &lo, &hi);
  if (n == 0 || !isfinite(lo)) return;
  x = report_make_axis(budget[0] - 1, budget[n - 1] + 1, 40, REPORT_W - 8, 0);
  y = report_make_axis(floor(lo / 5) * 5, ceil(hi / 5) * 5, 250, 46, 0);
  report_svg(page, 288, at == 0 ? "At once" : "After training");
  report_axis_y(page, &y, 40, REPORT_W - 8, "held-out accuracy, %");
  report_axis_x(page, &x, 46, 250, "layers removed, half of each type");
  for (k = 0; k < 2; k++) {
    for (i = 0; i < n; i++)
      y2[k][i] = report_start_mean(run, k ? other : "paper", budget[i], at);
    report_polyline(page, "line", k ? 'k' : 'n', &x, &y, (report_series){budget, y2[k], n});
  }
  while ((line = report_next(run, line, "start")) != NULL) {
    const char *start = report_text(line, "start");
    char colour = strcmp(start, "paper") == 0 ? 'n' : 'q';
    double b = report_number(line, "budget"), v = report_nth(line, "accuracies", at);
    if (strcmp(start, other) == 0) colour = 'k';
    if (!isfinite(report_number(line, "seed"))) continue;
    report_mark(page, "dot", colour, report_at(&x, b), report_at(&y, v), 4, "%s, %.0f %s, seed "
                "%.0f: %.2f %%", start, b, words_of(b, "layer", "layers"),
                report_number(line, "seed"), v);
  }
  report_raw(page, "</svg>\n");
}

static void report_starts(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "start");
  double budget[REPORT_SEEDS], gain, least = 1e9, most = -1e9;
  const char *other = "";
  int n = report_budgets(run, budget), i, at_once = 0;
  while (line && strcmp(report_text(line, "start"), "paper") == 0)
    line = report_next(run, line, "start");
  if (line) other = report_text(line, "start");
  report_raw(page, "<div class=\"panels\">");
  if (run->depth && report_next(run, NULL, "single")) {
    report_single_panel(page, run, 0);
    report_single_panel(page, run, 1);
  }
  report_start_panel(page, run, other, 0);
  report_start_panel(page, run, other, -1);
  report_raw(page, "</div><p class=\"cap\">Grey: the paper's start, where a removed layer leaves "
                   "the identity. Colour and black: a linear map fitted by least squares, ");
  report_escape(page, other);
  report_raw(page, " in the lower panels. ");
  for (i = 0; i < n; i++) {
    gain = report_start_mean(run, other, budget[i], -1) -
           report_start_mean(run, "paper", budget[i], -1);
    if (!isfinite(gain)) continue;
    least = fmin(least, gain);
    most = fmax(most, gain);
    at_once += report_start_mean(run, other, budget[i], 0) >
               report_start_mean(run, "paper", budget[i], -1);
  }
  if (least > most) return;
  report_put(page, "After the same training the fit is ahead by %.1f to %.1f points, budget by "
             "budget. ", least, most);
  if (at_once)
    report_put(page, "At %d of %d %s it starts above where the paper's start ends. ", at_once,
               n, words_of(n, "budget", "budgets"));
}

/* ---- Depth and width ("plus", "plus_timing") ---- */

/* The way a network was made: its name, its colour. */
static const struct { const char *name; char colour; } report_way[3] = {
  {"depth", 'a'}, {"width", 'n'}, {"both", 'k'}};

static int report_way_of(const report_line *line, const char *key) {
  int i = 2;
  while (i > 0 && strcmp(report_text(line, key), report_way[i].name) != 0) i--;
  return i;
}

/* Finds the timing that was made with a network of part 12. */
static const report_line *report_plus_timing(const report_run *run, const report_line *plus) {
  const report_line *line = NULL;
  while ((line = report_next(run, line, "plus_timing")) != NULL)
    if (report_number(line, "budget") == report_number(plus, "budget") &&
        strcmp(report_text(line, "model"), report_text(plus, "way")) == 0 &&
        (strcmp(report_text(plus, "start"), "-") == 0 ||
         strcmp(report_text(line, "start"), report_text(plus, "start")) == 0)) return line;
  return NULL;
}

/* Draws accuracy after training against fewer multiply-accumulates, or against measured speed. */
static void report_plus_panel(report_page *page, const report_run *run, int measured) {
  const report_line *line = NULL, *dense = report_next(run, NULL, "dense");
  double lo = report_number(dense, "accuracy"), hi = lo, least = 1, most = 1.1;
  report_axis x, y;
  int shown = 0;
  while ((line = report_next(run, line, "plus")) != NULL) {
    report_widen(report_nth(line, "accuracies", -1), &lo, &hi);
    report_widen(report_number(dense, "macs") / report_number(line, "macs"), &least, &most);
    report_widen(report_number(report_plus_timing(run, line), "speedup"), &least, &most);
  }
  if (!isfinite(lo + least + most)) return;
  x = report_make_axis(least - 0.1, most + 0.1, 40, REPORT_W - 8, 0);
  y = report_make_axis(floor(lo / 5) * 5, ceil(hi / 5) * 5, 250, 46, 0);
  report_svg(page, 288, measured ? "Against measured speed" : "Against multiply-accumulates");
  report_axis_y(page, &y, 40, REPORT_W - 8, "held-out accuracy, %");
  report_axis_x(page, &x, 46, 250, measured ? "times as fast as dense" : "times fewer than dense");
  report_mark(page, "dot", 'q', report_at(&x, 1), report_at(&y, report_number(dense, "accuracy")),
              4, "dense: %.2f %%", report_number(dense, "accuracy"));
  while ((line = report_next(run, line, "plus")) != NULL) {
    const int way = report_way_of(line, "way");
    const int paper = strcmp(report_text(line, "start"), "paper") == 0;
    const double at = measured ? report_number(report_plus_timing(run, line), "speedup")
                               : report_number(dense, "macs") / report_number(line, "macs");
    const double v = report_nth(line, "accuracies", -1);
    if (!isfinite(at + v)) continue;
    shown++;
    if (paper)
      report_square(page, report_way[way].colour, report_at(&x, at), report_at(&y, v), 3.5,
                    "%s, start paper: %.2f times, %.2f %%", report_way[way].name, at, v);
    else
      report_mark(page, "dot", report_way[way].colour, report_at(&x, at), report_at(&y, v), 4.5,
                  "%s, start %s: %.2f times, %.2f %%", report_way[way].name,
                  report_text(line, "start"), at, v);
  }
  if (!shown) report_why_empty(page, 150, "no network of this part was timed yet");
  report_raw(page, "</svg>\n");
}

static void report_plus(report_page *page, const report_run *run) {
  report_raw(page, "<div class=\"panels\">");
  report_plus_panel(page, run, 0);
  report_plus_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">Blue: layers gone; grey: every layer narrower; black: "
                   "both. Squares began as in the paper, dots from least squares, which width "
                   "alone has no use for. All were trained equally long. ");
}

/* ---- Fewer tokens ("tokens", "tokens_timing") ---- */

static void report_tokens_accuracy(report_page *page, const report_run *run) {
  static const char *const who[2] = {"dense", "pruned"};
  const report_line *line = NULL;
  double lo = (double)NAN, hi = (double)NAN, most = 1;
  report_axis x, y;
  int k, n;
  while ((line = report_next(run, line, "tokens")) != NULL) {
    report_widen(report_number(line, "accuracy"), &lo, &hi);
    most = fmax(most, report_number(line, "merge"));
  }
  if (!isfinite(lo)) return;
  x = report_make_axis(0, most, 40, REPORT_W - 8, 0);
  y = report_make_axis(floor(lo / 10) * 10, ceil(hi / 10) * 10, 250, 46, 0);
  report_svg(page, 288, "Accuracy, nothing trained");
  report_axis_y(page, &y, 40, REPORT_W - 8, "held-out accuracy, %");
  report_axis_x(page, &x, 46, 250, "tokens merged in each block");
  for (k = 0; k < 2; k++) {
    double r[REPORT_SEEDS], v[REPORT_SEEDS];
    for (n = 0, line = NULL; n < REPORT_SEEDS && (line = report_next(run, line, "tokens"));) {
      if (strcmp(report_text(line, "network"), who[k]) != 0) continue;
      r[n] = report_number(line, "merge");
      v[n] = report_number(line, "accuracy");
      if (!isfinite(r[n] + v[n])) continue;
      report_mark(page, "dot", k ? 'k' : 'n', report_at(&x, r[n]), report_at(&y, v[n]), 4,
                  "%s, r = %.0f: %.2f %%", who[k], r[n], v[n]);
      n++;
    }
    report_polyline(page, "line", k ? 'k' : 'n', &x, &y, (report_series){r, v, n});
  }
  report_raw(page, "</svg>\n");
}

/* Draws dots for what was measured and a line for what the multiply-accumulates promise. */
static void report_tokens_speed(report_page *page, const report_run *run) {
  const report_line *line = NULL;
  double r[REPORT_SEEDS], v[REPORT_SEEDS], macs[REPORT_SEEDS], most = 1.6, far = 1;
  report_axis x, y;
  int n = 0, i;
  while (n < REPORT_SEEDS && (line = report_next(run, line, "tokens_timing")) != NULL) {
    r[n] = report_number(line, "merge");
    v[n] = report_number(line, "speedup");
    macs[n] = report_number(line, "dense_macs") / report_number(line, "macs");
    if (!isfinite(r[n] + v[n] + macs[n])) continue;
    most = fmax(most, fmax(v[n], macs[n]));
    far = fmax(far, r[n++]);
  }
  if (n == 0) return;
  x = report_make_axis(0, far, 40, REPORT_W - 8, 0);
  y = report_make_axis(1, most + 0.1, 250, 46, 0);
  report_svg(page, 288, "Pruned over dense, both merging: DeiT-S, 224 px");
  report_axis_y(page, &y, 40, REPORT_W - 8, "times as fast");
  report_axis_x(page, &x, 46, 250, "tokens merged in each block");
  report_polyline(page, "line", 'n', &x, &y, (report_series){r, macs, n});
  for (i = 0; i < n; i++)
    report_mark(page, "dot", 'k', report_at(&x, r[i]), report_at(&y, v[i]), 4.5,
                "r = %.0f: %.2f times as fast, %.2f times fewer multiply-accumulates", r[i], v[i],
                macs[i]);
  report_raw(page, "</svg>\n");
}

/* Says what merging alone costs a network's accuracy. */
static void report_say_tokens(report_page *page, const report_run *run, const char *who) {
  const report_line *line = NULL;
  double whole = (double)NAN;
  int said = 0;
  while ((line = report_next(run, line, "tokens")) != NULL) {
    double r = report_number(line, "merge"), v = report_number(line, "accuracy");
    if (strcmp(report_text(line, "network"), who) != 0 || !isfinite(r + v)) continue;
    if (r == 0) whole = v;
    if (r == 0 || !isfinite(whole)) continue;
    if (said++ == 0) report_put(page, "Merging alone costs the %s network ", who);
    report_put(page, "%s%.1f points at %.0f a block", said > 1 ? ", " : "", whole - v, r);
  }
  if (said) report_raw(page, ". ");
}

static void report_tokens(report_page *page, const report_run *run) {
  report_raw(page, "<div class=\"panels\">");
  report_tokens_accuracy(page, run);
  report_tokens_speed(page, run);
  report_raw(page, "</div><p class=\"cap\">Left, grey: the dense network; black: the pruned one. "
                   "Right, dots: measured; the line: what the multiply-accumulates promise. ");
  report_say_tokens(page, run, "dense");
  report_say_tokens(page, run, "pruned");
}

int report_is_study(const report_run *run) {
  return report_next(run, NULL, "recipe") != NULL;
}

const report_part report_study_section[] = {
    {"Gradient disparity", "disparity", 1, report_disparity, 0},
    {"Where the gap comes from", "gap", 0, report_gap, 0},
    {"Recovery asymmetry: every single layer removed", "recovery", 1, report_recovery, 0},
    {"Dimension mismatch", "mismatch", 0, report_mismatch, 0},
    {"The predictor: what was measured, and the surface", "surface", 0, report_surfaces, 0},
    {"How many of each type: the split and its stability", "split", 0, report_splits, 0},
    {"Which layers: learned importance and simpler ways", "ranking", 0, report_ranking, 0},
    {"One type or both: accuracy against measured speed-up", "types", 0, report_types, 0},
    {"Measured speed of the published networks", "timing", 0, report_speeds, 0},
    {"The paper's text against the released code", "semantics", 0, report_semantics, 0},
    {"What training starts from", "start", 0, report_starts, 0},
    {"Self-distillation", "distillation", 0, report_distillation, 0},
    {"Depth, width, or both", "plus", 0, report_plus, 0},
    {"Fewer tokens", "tokens", 0, report_tokens, 0},
    {"Layers chosen greedily", "choice", 0, report_choice, 1},
    {"The recovery, piece by piece", "headline", 0, report_headline, 1},
    {"The whole recovery, long", "long", 0, report_long, 1},
    {"Depth, width, or both, with the whole recovery", "frontier", 0, report_frontier, 1},
    {"Every way to the same cost: accuracy and time", "rival", 0, report_rivals, 1},
    {"Learned importance read otherwise, and others' ways", "reading", 0, report_readings, 1},
    {NULL, NULL, 0, NULL, 0}};

void report_study_lead(report_page *page, const report_run *run) {
  const report_line *dense = report_next(run, NULL, "dense"), *line = NULL;
  const int networks = report_count(run, "network");
  double seconds = 0;
  int parts = 0;
  while ((line = report_next(run, line, "part")) != NULL) {
    if (!isfinite(report_number(line, "seconds"))) continue;
    seconds += report_number(line, "seconds");
    parts++;
  }
  if (isfinite(report_number(dense, "test")))
    report_put(page, ": %.2f&nbsp;%% on the test images while it is whole",
               report_number(dense, "test"));
  if (networks > 0)
    report_put(page, ". Without some of its layers it was trained again %d %s; each of these "
               "networks met the test images once", networks, words_of(networks, "time", "times"));
  report_put(page, ". %d of the study's parts took %.1f %s.</p>\n", parts,
             seconds < 3600 ? seconds / 60 : seconds / 3600, seconds < 3600 ? "minutes" : "hours");
}
