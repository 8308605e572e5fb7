/* predictor.c: the accuracy predictor */
#include "../../../boundarydpt.h"
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * Section: the model accuracy predictor
 * ---------------------------------------------------------------------------------------------- */

double report_predict(const report_line *map, double attention, double activation) {
  const report_field *term = report_get(map, "terms"), *theta = report_get(map, "theta");
  double sum = 0;
  int k;
  if (!term || !theta || theta->count < 1 || term->count < 2 * theta->count) return (double)NAN;
  for (k = 0; k < theta->count; k++)
    sum += theta->number[k] * pow(attention, term->number[2 * k]) *
           pow(activation, term->number[2 * k + 1]);
  return sum;
}

/* Returns dark blue to pale yellow: even in lightness, safe for every kind of colour vision. */
static void report_ramp(double t, char out[8]) {
  static const double stop[5][3] = {
      {20, 41, 78}, {54, 84, 124}, {110, 130, 138}, {184, 175, 125}, {250, 228, 110}};
  double at = 4 * (t >= 0 ? t > 1 ? 1 : t : 0), part; /* not a number: the lowest */
  int i = at >= 4 ? 3 : (int)at, c, rgb[3];
  part = at - i;
  for (c = 0; c < 3; c++)
    rgb[c] = (int)(stop[i][c] + part * (stop[i + 1][c] - stop[i][c]) + 0.5) & 255;
  snprintf(out, 8, "#%02x%02x%02x", (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2]);
}

const report_line *report_map_next(const report_run *run, const report_map *m,
                                   const report_line *line, const char *kind) {
  while ((line = report_next(run, line, kind)) != NULL)
    if (!m->start || (strcmp(report_text(line, "start"), m->start) == 0 &&
                      report_number(line, "seed") == m->seed)) break;
  return line;
}

static const report_line *report_map_point(const report_run *run, const report_map *m,
                                           const report_line *line) {
  return report_map_next(run, m, line, m->start ? "collected" : "map_point");
}

/* Returns 1 if something at least as far pruned in both types was measured: no extrapolation
 * there. */
static int report_supported(const report_run *run, const report_map *m, double attention,
                            double activation) {
  const report_line *p = NULL;
  while ((p = report_map_point(run, m, p)) != NULL)
    if (report_number(p, "attentions") < attention + 1e-6 &&
        report_number(p, "activations") < activation + 1e-6) return 1;
  return 0;
}

void report_map_facts(const report_run *run, const report_line *split, report_map *m) {
  const report_line *p = NULL;
  const report_field *cv;
  double least = 1;
  int degree;
  m->depth = report_int(m->fit, "depth", 1, BDPT_MAX_DEPTH, run->depth);
  m->budget = report_int(split, "budget", 0, 2 * m->depth, 0);
  m->split[0] = report_int(split, "attentions", 0, m->depth, -1);
  m->split[1] = report_int(split, "activations", 0, m->depth, -1);
  cv = report_get(m->fit, "cv_rmse");
  degree = report_int(m->fit, "degree", 1, 4, 0);
  m->error = cv && degree >= 1 && degree <= cv->count ? cv->number[degree - 1] : (double)NAN;
  m->lo = m->hi = (double)NAN;
  while ((p = report_map_point(run, m, p)) != NULL) {
    double a = report_number(p, "attentions"), g = report_number(p, "activations");
    report_widen(report_number(p, "accuracy"), &m->lo, &m->hi);
    if (a < least) least = a;
    if (g < least) least = g;
    m->points++;
  }
  m->first = (int)floor(least * m->depth + 1e-6) - 1;
  if (m->first > m->depth - m->budget) m->first = m->depth - m->budget;
  if (m->first < 0) m->first = 0;
  if (!isfinite(m->lo)) { /* nothing was measured */
    m->lo = 0;
    m->hi = 100;
  }
}

static void report_map_colours(report_page *page, const report_map *m) {
  char colour[8];
  int i;
  for (i = 0; i < 40; i++) {
    report_ramp((i + 0.5) / 40, colour);
    report_put(page, "<rect x=\"340\" y=\"%d\" width=\"10\" height=\"5\" fill=\"%s\"/>",
               226 - 4 * i, colour);
  }
  report_put(page, "<text class=\"m\" x=\"346\" y=\"62\">%.0f %%</text><text class=\"m\" x=\"346\" "
                   "y=\"245\">&le;%.0f %%</text>\n", m->hi, m->lo);
}

void report_map_heat(report_page *page, const report_run *run, const report_map *m,
                     const char *title) {
  double size = 286.0 / (m->depth - m->first + 1), d = m->depth, at[2];
  int a, g, every = m->depth - m->first > 16 ? 4 : 1;
  char colour[8];
  const report_line *p = NULL;
  report_axis x = report_make_axis(m->first - 0.5, d + 0.5, 40, 326, 0);
  report_axis y = report_make_axis(m->first - 0.5, d + 0.5, 336, 50, 0);
  report_svg(page, 372, title);
  report_put(page, "<text x=\"0\" y=\"38\">activations kept</text>");
  for (a = m->first; a <= m->depth; a++) {
    if ((m->depth - a) % every == 0)
      report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"350\">%d</text><text class=\"e\" x=\"34\" "
                       "y=\"%.1f\">%d</text>", report_at(&x, a), a, report_at(&y, a) + 4, a);
    for (g = m->first; g <= m->depth; g++) {
      double half = report_supported(run, m, a / d, g / d) ? 0.51 : 0.22;
      report_ramp((report_predict(m->fit, a / d, g / d) - m->lo) / (m->hi - m->lo), colour);
      report_put(page, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n",
                 report_at(&x, a - half), report_at(&y, g + half), 2 * half * size,
                 2 * half * size, colour);
    }
  }
  report_put(page, "<text class=\"e\" x=\"326\" y=\"365\">attention layers kept</text>");
  at[0] = d - m->budget > m->first - 0.5 ? d - m->budget : m->first - 0.5; /* the line's end */
  report_segment(page, "dash", 'k', report_at(&x, d), report_at(&y, d - m->budget),
                 report_at(&x, at[0]), report_at(&y, 2 * d - m->budget - at[0]));
  while ((p = report_map_point(run, m, p)) != NULL) {
    at[0] = report_at(&x, report_number(p, "attentions") * d);
    at[1] = report_at(&y, report_number(p, "activations") * d);
    report_ramp((report_number(p, "accuracy") - m->lo) / (m->hi - m->lo), colour);
    if (isfinite(at[0]) && isfinite(at[1]) && isfinite(report_number(p, "accuracy")))
      report_put(page,
                 "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"%s\"><title>measured %.2f"
                 "</title></circle><circle class=\"pt\" cx=\"%.1f\" cy=\"%.1f\" r=\"1.4\"/>\n",
                 at[0], at[1], colour, report_number(p, "accuracy"), at[0], at[1]);
  }
  if (m->split[0] >= 0 && m->split[1] >= 0)
    report_put(page,
               "<path class=\"pick\" d=\"M%.1f %.1fh20v20h-20z\"/><path class=\"pick in\" d=\""
               "M%.1f %.1fh20v20h-20z\"/>\n",
               report_at(&x, d - m->split[0]) - 10, report_at(&y, d - m->split[1]) - 10,
               report_at(&x, d - m->split[0]) - 10, report_at(&y, d - m->split[1]) - 10);
  report_map_colours(page, m);
  report_raw(page, "</svg>\n");
}

/* Draws the predictions along the budget line, with the cross-validated error as a whisker.
 * Returns how far the chosen split lies above the best of the others; negative if another is
 * better. */
static double report_map_line(report_page *page, const report_map *m) {
  double value[BDPT_MAX_DEPTH + 1], lo = (double)NAN, hi = (double)NAN, other, d = m->depth;
  int a, from = m->budget > m->depth ? m->budget - m->depth : 0;
  int to = m->budget < m->depth ? m->budget : m->depth, every = to - from > 12 ? 4 : 1;
  report_axis x = report_make_axis(from - 0.5, to + 0.5, 40, REPORT_W - 8, 0), y;
  other = -HUGE_VAL;
  for (a = from; a <= to; a++) {
    value[a] = report_predict(m->fit, (d - a) / d, (d - m->budget + a) / d);
    report_widen(value[a] - (isfinite(m->error) ? m->error : 0), &lo, &hi);
    report_widen(value[a] + (isfinite(m->error) ? m->error : 0), &lo, &hi);
    if (a != m->split[0] && value[a] > other) other = value[a];
  }
  report_svg(page, 372, "Along the budget line");
  if (isfinite(lo)) {
    y = report_make_axis(lo - 0.1 * (hi - lo) - 0.1, hi + 0.1 * (hi - lo) + 0.1, 336, 50, 0);
    report_axis_y(page, &y, 40, REPORT_W - 4, "predicted accuracy, %, with the error of "
                                              "prediction");
    for (a = from; a <= to; a++) {
      int chosen = a == m->split[0];
      double at = report_at(&x, a);
      report_segment(page, "bar", chosen ? 'k' : 'q', at, report_at(&y, value[a] - m->error), at,
                     report_at(&y, value[a] + m->error));
      report_mark(page, "dot", chosen ? 'k' : 'q', at, report_at(&y, value[a]), chosen ? 6 : 4.5,
                  "%d attention + %d activation: %.2f %%", a, m->budget - a, value[a]);
      if ((a - from) % every == 0)
        report_put(page, "<text class=\"m%s\" x=\"%.1f\" y=\"350\">%d + %d</text>\n",
                   chosen ? " s" : "", at, a, m->budget - a);
    }
    report_put(page, "<text class=\"e\" x=\"%d\" y=\"365\">attention + activation removed</text>",
               REPORT_W - 8);
  }
  report_raw(page, "</svg>\n");
  return m->split[0] >= from && m->split[0] <= to ? value[m->split[0]] - other : (double)NAN;
}

static void report_map_table(report_page *page, const report_map *m) {
  const report_field *cv = report_get(m->fit, "cv_rmse");
  int k, degree = report_int(m->fit, "degree", 0, 99, 0);
  if (!cv || cv->count < 1) return;
  report_raw(page, "<div class=\"wide\"><table class=\"small\"><tbody><tr><th "
                   "scope=\"row\">degree</th>");
  for (k = 0; k < cv->count && k < 8; k++)
    report_put(page, k + 1 == degree ? "<td><b>%d</b></td>" : "<td>%d</td>", k + 1);
  report_raw(page, "</tr><tr><th scope=\"row\">leave-two-out error, points</th>");
  for (k = 0; k < cv->count && k < 8; k++) {
    if (!isfinite(cv->number[k])) report_raw(page, "<td>&ndash;</td>");
    else report_put(page, k + 1 == degree ? "<td><b>%.2f</b></td>" : "<td>%.2f</td>",
                    cv->number[k]);
  }
  report_raw(page, "</tr></tbody></table></div>\n");
}

void report_map_section(report_page *page, const report_run *run) {
  report_map m;
  double gap, d, predicted;
  memset(&m, 0, sizeof m);
  m.fit = report_next(run, NULL, "map");
  report_map_facts(run, m.fit, &m);
  d = m.depth;
  predicted = report_number(m.fit, "predicted");
  report_raw(page, "<div class=\"panels\">");
  report_map_heat(page, run, &m, "Predicted accuracy; measured points");
  gap = report_map_line(page, &m);
  report_raw(page, "</div>");
  report_map_table(page, &m);
  report_put(page,
             "<p class=\"cap\">A polynomial of degree %d through %d measured %s. A "
             "white point stands where one was measured, on a disc of its colour: a disc "
             "that can be seen is a point that the surface misses. The frame is the choice. Small "
             "squares are extrapolation, where nothing "
             "pruned as far was measured. ",
             report_int(m.fit, "degree", 0, 99, 0), m.points,
             words_of(m.points, "network", "networks"));
  if (m.split[0] >= 0 && m.split[1] >= 0 && isfinite(predicted)) {
    report_put(page, "For a budget of %d %s (dashed) it chooses %d attention and %d "
                     "activation, predicted %.1f&nbsp;%%. ", m.budget,
               words_of(m.budget, "layer", "layers"), m.split[0], m.split[1], predicted);
    if (!report_supported(run, &m, (d - m.split[0]) / d, (d - m.split[1]) / d))
      report_raw(page, "That split lies outside what was measured. ");
    if (isfinite(gap) && gap < 0) {
      report_put(page, "The surface itself is highest elsewhere on the line, by %.2f points", -gap);
      if (report_int(m.fit, "least", 1, m.depth, 0))
        report_put(page, "; the run asks for at least %d of each type",
                   report_int(m.fit, "least", 1, m.depth, 0));
      report_raw(page, ". ");
    } else if (isfinite(gap) && isfinite(m.error))
      report_put(page, "The next best split is %.2f points lower, %s the cross-validated error of "
                       "%.2f: the choice is %s. ", gap, gap < m.error ? "less than" : "more than",
                 m.error, gap < m.error ? "inside the noise of the predictor" : "a clear one");
  }
  report_raw(page, "The paper's example has degree 2; least squares on its "
                   "22 published points picks 2 + 6 at budget 8, not the published 4 + 4. ");
}
