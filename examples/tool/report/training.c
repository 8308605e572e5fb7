/* training.c: training, and the order of removal */
#include "lines.h"
#include "page.h"
#include "sections.h"

#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * Section: training and the order of removal
 * ---------------------------------------------------------------------------------------------- */

/* Draws the accuracy epoch by epoch through the phases of the run, in the order of the file. */
static void report_epochs(report_page *page, const report_run *run) {
  const report_line *line;
  const char *phase = "";
  int count = report_count(run, "epoch"), i = 0;
  double lo = (double)NAN, hi = (double)NAN, px = 0, py = 0, v;
  report_axis x = report_make_axis(0.5, count + 0.5, 40, REPORT_W - 8, 0), y;
  for (line = report_next(run, NULL, "epoch"); line; line = report_next(run, line, "epoch"))
    report_widen(report_number(line, "accuracy"), &lo, &hi);
  report_svg(page, 318, "Accuracy by epoch, %");
  if (isfinite(lo)) {
    y = report_make_axis(floor(lo / 10) * 10, ceil((hi + 0.5) / 10) * 10, 276, 52, 0);
    report_axis_y(page, &y, 40, REPORT_W - 8, "");
    report_axis_x(page, &x, 276, 276, "epoch of the run");
    for (line = report_next(run, NULL, "epoch"); line; line = report_next(run, line, "epoch")) {
      double at = report_at(&x, ++i);
      v = report_number(line, "accuracy");
      if (strcmp(phase, report_text(line, "phase")) != 0) {
        phase = report_text(line, "phase");
        report_put(page, "<path class=\"dash q\" d=\"M%.1f 36V276\"/><text x=\"%.1f\" y=\"44\">",
                   report_at(&x, i - 0.5), report_at(&x, i - 0.5) + 4);
        report_escape(page, phase);
        report_raw(page, "</text>\n");
      } else report_segment(page, "line", 'k', px, py, at, report_at(&y, v));
      px = at;
      py = report_at(&y, v);
      report_mark(page, "dot", 'k', px, py, count > 60 ? 1.5 : 3, "epoch %d: %.1f %%", i, v);
    }
  }
  report_raw(page, "</svg>\n");
}

/* Draws the learned scalars, one strip per type because they are never compared across types. A
 * removed layer is large and carries the number of its turn. */
static void report_importance(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "importance");
  report_axis x = report_make_axis(-0.5, run->depth - 0.5, 52, REPORT_W - 4, 0), y;
  int type, l;
  report_svg(page, 318, "Importance, and the turn at which a layer went");
  for (type = 0; type < 2; type++) {
    const report_field *list = report_get(line, report_type_name[type]);
    double lo = 0, hi = 0, top = 44 + 128 * type;
    int count = list ? list->count < run->depth ? list->count : run->depth : 0;
    for (l = 0; l < count; l++) report_widen(list->number[l], &lo, &hi);
    y = report_make_axis(lo - 0.2 * (hi - lo), hi + 0.25 * (hi - lo), top + 98, top + 8, 0);
    report_axis_y(page, &y, 52, REPORT_W - 4, report_type_name[type]);
    for (l = 0; l < count; l++) {
      double at = report_at(&y, list->number[l]), mid = report_at(&x, l);
      int turn = run->order[type][l];
      report_segment(page, "thin", report_type_class[type], mid, report_at(&y, 0), mid, at);
      report_mark(page, "dot", report_type_class[type], mid, at, turn ? 5 : 2.5,
                  "%s %d: %.3g", report_type_name[type], l, list->number[l]);
      if (turn)
        report_put(page, "<text class=\"s m\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", mid,
                   list->number[l] < 0 ? at + 17 : at - 9, turn);
    }
  }
  report_axis_layers(page, &x, run->depth, 290);
  report_raw(page, "</svg>\n");
}

/* Finds first, last and best accuracy of a phase; returns its number of epochs. */
static int report_phase(const report_run *run, const char *phase, double out[3]) {
  const report_line *line = NULL;
  int count = 0;
  out[0] = out[1] = out[2] = (double)NAN;
  while ((line = report_next(run, line, "epoch")) != NULL) {
    double v = report_number(line, "accuracy");
    if (strcmp(report_text(line, "phase"), phase) != 0 || !isfinite(v)) continue;
    if (count++ == 0) out[0] = out[2] = v;
    out[1] = v;
    if (v > out[2]) out[2] = v;
  }
  return count;
}

void report_training(report_page *page, const report_run *run) {
  const report_line *line = NULL;
  double v[3];
  int count, said = 0;
  if (report_next(run, NULL, "importance")) report_key(page, "ag");
  report_raw(page, "<div class=\"panels\">");
  report_epochs(page, run);
  if (report_next(run, NULL, "importance")) report_importance(page, run);
  report_raw(page, "</div><p class=\"cap\">");
  count = report_phase(run, "recover", v);
  if (count > 0)
    report_put(page, "Recovery went from %.1f&nbsp;%% after its first epoch to %.1f&nbsp;%% after "
                     "its last "
                     "(%d); %s. ", v[0], v[1], count, v[2] > v[1] + 0.05
                     ? "an earlier epoch was higher" : "no earlier epoch was higher");
  else report_raw(page, "The run wrote no epochs of recovery. ");
  while ((line = report_next(run, line, "search")) != NULL && report_type(line) >= 0) {
    report_put(page, "%s%s %d", said++ ? ", then " : "The choice was ",
               report_type_name[report_type(line)], report_int(line, "layer", 0, run->depth, 0));
  }
  if (said && report_next(run, NULL, "greedy"))
    report_raw(page, ". Each time every layer that was left was tried, of both types, with "
                     "what takes its place; the one without which the held-out loss was "
                     "smallest went. ");
  else if (said)
    report_raw(page, ". The rule takes the smallest scalar of the type whose turn it is, and never "
                     "weighs one type against the other. ");
}
