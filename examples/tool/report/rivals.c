/* rivals.c: accuracy against measured time, every way to the same cost in one picture
 *
 * Lines "rival" (a row, its seeds, their test accuracy), "rival_merged" (the dense network with
 * merged tokens, which trains nothing) and "rival_timing" (a row's speed beside the dense network).
 */
#include "../../../boundarydpt.h"
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <string.h>

enum { REPORT_RIVALS = 16, REPORT_TALL = 330 };

/* A way: its accuracies, and its time as a share of the dense network's. */
typedef struct report_rival {
  const char *name;
  double low, mean, high, time[3]; /* test accuracy over seeds; time: median, low, high */
  int seeds;
} report_rival;

/* Reads the time of a row; the dense network is the measure. */
static void report_rival_time(const report_run *run, report_rival *r) {
  const report_line *line = NULL;
  r->time[0] = r->time[1] = r->time[2] = strcmp(r->name, "dense") == 0 ? 1 : (double)NAN;
  while ((line = report_next(run, line, "rival_timing")) != NULL) {
    if (strcmp(report_text(line, "model"), r->name) != 0) continue;
    r->time[0] = 1 / report_number(line, "speedup");
    r->time[1] = 1 / report_number(line, "speedup_high");
    r->time[2] = 1 / report_number(line, "speedup_low");
  }
}

/* Adds the dense network with merged tokens. Returns how many ways there are then. */
static int report_rival_merged(const report_run *run, report_rival out[REPORT_RIVALS], int n) {
  const report_line *line = report_next(run, NULL, "rival_merged");
  const double v = line ? report_number(line, "test") : (double)NAN;
  if (!isfinite(v) || n == REPORT_RIVALS) return n;
  memset(&out[n], 0, sizeof out[n]);
  out[n].name = "merged tokens";
  out[n].low = out[n].mean = out[n].high = v;
  report_rival_time(run, &out[n]);
  return n + 1;
}

/* Returns how many ways there are; those without a time have NaN there. */
static int report_rival_read(const report_run *run, report_rival out[REPORT_RIVALS]) {
  const report_line *line = NULL;
  int n = 0, i;
  while ((line = report_next(run, line, "rival")) != NULL) {
    const char *name = report_text(line, "row");
    const double v = report_number(line, "test");
    for (i = 0; i < n && strcmp(out[i].name, name) != 0; i++) continue;
    if (!isfinite(v) || i == REPORT_RIVALS) continue;
    if (i == n) {
      memset(&out[n], 0, sizeof out[n]);
      out[n].name = name;
      out[n].low = out[n].high = v;
      report_rival_time(run, &out[n++]);
    }
    out[i].low = fmin(out[i].low, v);
    out[i].high = fmax(out[i].high, v);
    out[i].mean += (v - out[i].mean) / ++out[i].seeds;
  }
  return report_rival_merged(run, out, n);
}

/* Draws the ways that no other beats in both, from the fastest on, as a line. */
static void report_rival_front(report_page *page, const report_rival *r, int n,
                               const report_axis *x, const report_axis *y) {
  double at[REPORT_RIVALS], v[REPORT_RIVALS], best = -1;
  int count = 0, i, k, next;
  for (k = 0; k < n; k++) { /* by time; a way that is slower and no better is left out */
    for (next = -1, i = 0; i < n; i++) {
      if (!isfinite(r[i].time[0]) || (count && r[i].time[0] <= at[count - 1])) continue;
      if (r[i].mean > best && (next < 0 || r[i].time[0] < r[next].time[0])) next = i;
    }
    if (next < 0) break;
    at[count] = r[next].time[0];
    v[count++] = best = r[next].mean;
  }
  report_polyline(page, "thin", 'k', x, y, (report_series){at, v, count});
}

/* Draws a way as a dot with its spread, named beside it. */
static void report_rival_dot(report_page *page, const report_rival *r, const report_axis *x,
                             const report_axis *y, double label) {
  const double at = report_at(x, r->time[0]), v = report_at(y, r->mean);
  const int ours = strcmp(r->name, "ours") == 0, left = ours || at > REPORT_W * 0.6;
  char colour = ours ? 'k' : 'n';
  if (strcmp(r->name, "dense") == 0) colour = 'q';
  report_segment(page, "line", colour, at, report_at(y, r->low), at, report_at(y, r->high));
  report_segment(page, "line", colour, report_at(x, r->time[1]), v, report_at(x, r->time[2]), v);
  if (r->seeds)
    report_mark(page, "dot", colour, at, v, 4.5, "%s: %.2f %% (%.2f to %.2f, %d %s), %.2f of "
                "the dense network's time", r->name, r->mean, r->low, r->high, r->seeds,
                words_of(r->seeds, "seed", "seeds"), r->time[0]);
  else
    report_mark(page, "dot", colour, at, v, 4.5, "%s: %.2f %%, nothing trained, %.2f of the dense "
                "network's time", r->name, r->mean, r->time[0]);
  if (label > v + 1) /* the name gave way to another: a stroke leads to it */
    report_segment(page, "thin", colour, at, v, at + (left ? -6 : 6), label);
  report_put(page, "<text class=\"s%s\" x=\"%.1f\" y=\"%.1f\">", left ? " e" : "",
             at + (left ? -8 : 8), label + 4);
  report_escape(page, r->name);
  report_raw(page, "</text>\n");
}

/* Returns a label's height: beside its dot, or below the labels that were written there before. */
static double report_rival_label(const double *used, int count, double y) {
  int i;
  for (i = 0; i < count; i++)
    if (fabs(used[i] - y) < 12) {
      y = used[i] + 12;
      i = -1;
    }
  return y;
}

void report_rivals(report_page *page, const report_run *run) {
  report_rival r[REPORT_RIVALS];
  double lo = 1e9, hi = -1e9, fast = 1, slow = 1, used[REPORT_RIVALS];
  report_axis x, y;
  int n = report_rival_read(run, r), i, timed = 0;
  for (i = 0; i < n; i++) {
    if (!isfinite(r[i].time[0])) continue;
    lo = fmin(lo, r[i].low);
    hi = fmax(hi, r[i].high);
    fast = fmin(fast, r[i].time[1]);
    slow = fmax(slow, r[i].time[2]);
    timed++;
  }
  report_raw(page, "<div class=\"panels\">");
  if (timed < 2) { lo = 0; hi = 100; }
  x = report_make_axis(fmax(0, floor(10 * fast - 0.5) / 10), ceil(10 * slow + 0.5) / 10, 40,
                       REPORT_W - 8, 0);
  y = report_make_axis(floor(lo / 2) * 2, ceil(hi / 2) * 2, REPORT_TALL - 40, 46, 0);
  report_svg(page, REPORT_TALL, "Accuracy against measured time");
  report_axis_y(page, &y, 40, REPORT_W - 8, "test accuracy, %");
  report_axis_x(page, &x, 46, REPORT_TALL - 40, "time per image, dense = 1");
  if (timed < 2) report_why_empty(page, 150, "these networks are not timed yet");
  else report_rival_front(page, r, n, &x, &y);
  for (i = timed = 0; i < n; i++) {
    if (!isfinite(r[i].time[0])) continue;
    used[timed] = report_rival_label(used, timed, report_at(&y, r[i].mean));
    report_rival_dot(page, &r[i], &x, &y, used[timed]);
    timed++;
  }
  report_raw(page, "</svg></div><p class=\"cap\">All begin with the same dense network and train "
                   "on the same images, but merged tokens, which train nothing; strokes are the "
                   "range over seeds and the quartiles of the time. The thin line joins those that "
                   "no other beats in both. ");
}
