/* pareto.c: accuracy against speed-up */
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * Section: accuracy against speed-up
 * ---------------------------------------------------------------------------------------------- */
const report_curve report_published[2][3] = {
    {{"attention", 0, 6, {{1, 80.1}, {1.077, 80.1}, {1.172, 79.8}, {1.287, 76}, {1.423, 70.3},
                          {1.599, 54.27}, {0, 0}}},
     {"activation", 1, 7, {{1, 80.1}, {1.07, 80.1}, {1.157, 80.1}, {1.257, 78.9}, {1.378, 76.3},
                           {1.527, 72.75}, {1.617, 61.4}}},
     {"joint", 2, 6, {{1, 80.3}, {1.104, 80.3}, {1.208, 80.3}, {1.312, 80.3}, {1.465, 79.6},
                      {1.640, 76.8}, {0, 0}}}},
    {{"attention", 0, 6, {{1, 81.8}, {1.067, 81.8}, {1.151, 81.8}, {1.244, 81.5}, {1.365, 79.4},
                          {1.508, 72.8}, {0, 0}}},
     {"activation", 1, 6, {{1, 81.8}, {1.08, 81.8}, {1.174, 81.8}, {1.294, 81}, {1.445, 79.14},
                           {1.639, 77.9}, {0, 0}}},
     {"joint", 2, 6, {{1, 82.1}, {1.087, 82.1}, {1.174, 82.1}, {1.278, 82.1}, {1.411, 82.1},
                      {1.585, 81.8}, {0, 0}}}}};

static double report_curve_loss(const report_curve *c, int i) {
  return 100 * (1 - c->at[i][1] / c->at[0][1]);
}

/* Returns the published loss at a speed-up, between two points; NaN beyond the curve. */
static double report_curve_at(const report_curve *c, double speed) {
  int i;
  for (i = 1; i < c->count; i++) {
    double part = (speed - c->at[i - 1][0]) / (c->at[i][0] - c->at[i - 1][0]);
    if (part >= 0 && part <= 1)
      return report_curve_loss(c, i - 1) * (1 - part) + report_curve_loss(c, i) * part;
  }
  return (double)NAN;
}

/* Our networks as speed-up (with its range) and relative loss of accuracy, per cent. The two of
 * stage 2 were measured on the test part. The others are by-products of the collection for the
 * predictor: short training, held-out images, so they are read against the dense network there. */
typedef struct report_spot {
  const char *name;
  char colour; /* a, g: one type only; k: both */
  int small;
  double speed[3], loss;
} report_spot;
enum { REPORT_SPOTS = 80 };

/* Returns the dense network's accuracy on the held-out images. */
static double report_held_dense(const report_run *run) {
  const report_line *p = NULL;
  while ((p = report_next(run, p, "map_point")) != NULL)
    if (report_number(p, "attentions") >= 1 && report_number(p, "activations") >= 1)
      return report_number(p, "accuracy");
  return report_number(report_next(run, NULL, "recovery"), "before");
}

static int report_spots(const report_run *run, report_spot *spot) {
  const report_line *line = NULL;
  double dense = report_number(run->row[REPORT_DENSE], "accuracy"), held = report_held_dense(run);
  int count = 0, k;
  for (k = REPORT_RECOVERED; k <= REPORT_FUSED; k++) {
    report_spot *s = &spot[count];
    if (report_speed(run, k, s->speed) == -2) continue;
    s->name = k == REPORT_FUSED ? "fused" : "not fused";
    s->colour = 'k';
    s->small = 0;
    s->loss = 100 * (1 - report_number(run->row[k], "accuracy") / dense);
    count += isfinite(s->loss);
  }
  while ((line = report_next(run, line, "pareto")) != NULL && count < REPORT_SPOTS) {
    report_spot *s = &spot[count];
    double low = report_number(line, "speedup_low"), high = report_number(line, "speedup_high");
    s->name = report_text(line, "name");
    s->colour = report_number(line, "attentions") <= 0 ? 'g' : 'k';
    if (report_number(line, "activations") <= 0) s->colour = 'a';
    s->small = 1;
    s->speed[0] = report_number(line, "speedup");
    s->speed[1] = isfinite(low) ? low : s->speed[0];
    s->speed[2] = isfinite(high) ? high : s->speed[0];
    s->loss = 100 * (1 - report_number(line, "accuracy") / held);
    count += isfinite(s->loss) && isfinite(s->speed[0]) && strcmp(s->name, "dense") != 0;
  }
  return count;
}

void report_faint_curve(report_page *page, const report_curve *c, const report_axis *x,
                        const report_axis *y) {
  char colour = c->type == 2 ? 'k' : report_type_class[c->type];
  double before = 0, px = 0, py = 0;
  int i;
  for (i = 0; i < c->count; i++) {
    double loss = report_curve_loss(c, i), speed = c->at[i][0], part = 1;
    if (i > 0 && loss > y->hi) part = (y->hi - before) / (loss - before);
    if (part < 1) {
      speed = c->at[i - 1][0] + part * (speed - c->at[i - 1][0]);
      loss = y->hi;
    }
    if (i > 0)
      report_segment(page, "line faint", colour, px, py, report_at(x, speed), report_at(y, loss));
    px = report_at(x, speed);
    py = report_at(y, loss);
    before = loss;
    if (part < 1) break;
    report_mark(page, "ring faint", colour, px, py, 2.5, "paper, %s: %.2f times, %.1f %%", c->name,
                speed, c->at[i][1]);
  }
}

static void report_speed_panel(report_page *page, const report_run *run, int base) {
  report_spot spot[REPORT_SPOTS];
  int i, k, count = report_spots(run, spot);
  double most = 1.7, least = 1, worst = 8;
  report_axis x, y;
  for (i = 0; i < count; i++) {
    if (spot[i].speed[2] > most) most = spot[i].speed[2] + 0.05;
    if (spot[i].speed[1] < least) least = spot[i].speed[1] - 0.05;
    if (spot[i].loss * 1.15 > worst) worst = spot[i].loss * 1.15;
  }
  x = report_make_axis(least, most, 40, REPORT_W - 8, 0);
  y = report_make_axis(-1, worst, 46, 266, 0); /* nothing lost is at the top */
  for (i = 0; i < count; i++)
    if (spot[i].loss < y.lo) y.lo = spot[i].loss * 1.15;
  report_svg(page, 302, base ? "Ours beside the paper's DeiT-B" : "Ours beside the paper's DeiT-S");
  report_axis_y(page, &y, 40, REPORT_W - 8, "accuracy lost, % of the dense network's");
  report_axis_x(page, &x, 46, 266, "times as fast as dense");
  for (k = 0; k < 3; k++) report_faint_curve(page, &report_published[base][k], &x, &y);
  report_mark(page, "dot", 'k', report_at(&x, 1), report_at(&y, 0), 5, "dense");
  for (k = 0; k < 2 * count; k++) { /* the small ones first: nothing may lie on a name */
    double at, right;
    i = k % count;
    if (spot[i].small != (k < count)) continue;
    at = report_at(&y, spot[i].loss);
    right = report_at(&x, spot[i].speed[0]);
    report_segment(page, "bar", spot[i].colour, report_at(&x, spot[i].speed[1]), at,
                   report_at(&x, spot[i].speed[2]), at);
    report_mark(page, "dot", spot[i].colour, right, at, spot[i].small ? 3.5 : 5,
                "%s: %.2f times, %.1f %% lost", spot[i].name, spot[i].speed[0], spot[i].loss);
    if (!spot[i].small) /* the fused network's name above, the other's below: they are neighbours */
      report_put(page, "<text class=\"s m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", right,
                 strcmp(spot[i].name, "fused") ? at + 17 : at - 9, spot[i].name);
  }
  report_raw(page, "</svg>\n");
}

void report_pareto(report_page *page, const report_run *run) {
  report_spot spot[REPORT_SPOTS];
  int i, k, small = 0, count = report_spots(run, spot);
  double ratio[3], loss;
  for (i = 0; i < count; i++) small += spot[i].small;
  report_key(page, "agkp");
  report_raw(page, "<div class=\"panels\">");
  report_speed_panel(page, run, 0);
  report_speed_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">Solid: this run, measured times against measured "
                   "accuracy. Faint: the paper's curves for removing attention alone, activation "
                   "alone, and both (ImageNet, GPU), each against its own unpruned point. ");
  if (small)
    report_put(page, "%s of the predictor's collection: short training, held-out images. ",
               words_of(small, "The small dot is a by-product", "The small dots are by-products"));
  report_say_speed(page, run, REPORT_FUSED);
  if (report_speed(run, REPORT_FUSED, ratio) != 1) return;
  for (i = 0; i < count; i++) {
    if (strcmp(spot[i].name, "fused") != 0) continue;
    report_put(page, "It gives up %.1f&nbsp;%% of the dense accuracy", spot[i].loss);
    for (k = 0; k < 2; k++) {
      loss = report_curve_at(&report_published[k][2], ratio[0]);
      if (isfinite(loss))
        report_put(page, "%s %.1f&nbsp;%% for DeiT-%c", k ? " and" : "; at that speed-up the "
                                                                     "paper's "
                                                                "joint "
                   "removal gives up", loss, k ? 'B' : 'S');
    }
    report_raw(page, ". ");
    break;
  }
}
