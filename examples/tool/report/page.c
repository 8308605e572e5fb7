/* page.c: growing text, and drawing on it */
#include "lines.h"
#include "page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * Growing text
 * ---------------------------------------------------------------------------------------------- */

static int report_room(report_page *page, size_t more) {
  size_t room = page->room ? page->room : 65536;
  char *text;
  if (page->failed) return 0;
  while (room - page->length <= more) room *= 2;
  if (room == page->room) return 1;
  text = (char *)realloc(page->text, room);
  if (!text) return !(page->failed = 1);
  page->text = text;
  page->room = room;
  return 1;
}

void report_raw(report_page *page, const char *text) {
  size_t length = strlen(text);
  if (!report_room(page, length)) return;
  memcpy(page->text + page->length, text, length + 1);
  page->length += length;
}
void report_put(report_page *page, const char *format, ...) {
  va_list list;
  int length;
  if (!report_room(page, 4096)) return;
  va_start(list, format);
  length = vsnprintf(page->text + page->length, 4096, format, list);
  va_end(list);
  if (length < 0 || length >= 4096) page->failed = 1;
  else page->length += (size_t)length;
}

void report_escape(report_page *page, const char *text) {
  char one[2] = {0, 0};
  for (; *text; text++) {
    one[0] = *text;
    switch (*text) {
      case '<': report_raw(page, "&lt;"); break;
      case '>': report_raw(page, "&gt;"); break;
      case '&': report_raw(page, "&amp;"); break;
      case '"': report_raw(page, "&quot;"); break;
      default: report_raw(page, one);
    }
  }
}

/* -------------------------------------------------------------------------------------------------
 * Drawing: an SVG panel, axes, marks
 * ---------------------------------------------------------------------------------------------- */

report_axis report_make_axis(double lo, double hi, double from, double to, int log_scale) {
  report_axis axis;
  axis.lo = lo;
  axis.hi = hi;
  if (!(hi > lo)) axis.hi = log_scale ? 10 * lo : lo + 1;
  axis.from = from;
  axis.to = to;
  axis.log = log_scale;
  return axis;
}

double report_at(const report_axis *a, double v) {
  double part = a->log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
  return a->from + part * (a->to - a->from);
}

/* Chooses round places for ticks: decades on a log axis, else steps of 1, 2 or 5. At most 12. */
static int report_ticks(const report_axis *a, double tick[12]) {
  double step, v, slack = 1e-9 * (a->hi - a->lo);
  int count = 0;
  if (a->log) {
    for (v = pow(10, ceil(log10(a->lo) - 1e-9)); v <= a->hi * (1 + 1e-9) && count < 12; v *= 10)
      tick[count++] = v;
    return count;
  }
  step = pow(10, floor(log10((a->hi - a->lo) / 4)));
  while ((a->hi - a->lo) / step > 6.5) step *= (a->hi - a->lo) / step > 14 ? 5 : 2;
  for (v = ceil(a->lo / step - 1e-9) * step; v <= a->hi + slack && count < 12; v += step)
    tick[count++] = fabs(v) < step / 1e6 ? 0 : v;
  return count;
}

static void report_tick_text(report_page *page, const report_axis *a, double v) {
  if (a->log) {
    report_put(page, "10<tspan dy=\"-4\" font-size=\"8\">%s%.0f</tspan></text>",
               v < 0.99 ? "&minus;" : "", fabs(log10(v)));
  } else report_put(page, "%s%g</text>", v < 0 ? "&minus;" : "", fabs(v));
}

void report_axis_x(report_page *page, const report_axis *a, double top, double bottom,
                   const char *name) {
  double tick[12];
  int i, count = report_ticks(a, tick);
  for (i = 0; i < count; i++) {
    double x = report_at(a, tick[i]);
    report_put(page, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", x, top, bottom);
    report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">", x, bottom + 14);
    report_tick_text(page, a, tick[i]);
  }
  report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">%s</text>", a->to > a->from ? a->to
                 : a->from, bottom + 29, name);
}

void report_axis_y(report_page *page, const report_axis *a, double left, double right,
                   const char *name) {
  double tick[12];
  int i, count = report_ticks(a, tick);
  for (i = 0; i < count; i++) {
    double y = report_at(a, tick[i]);
    report_put(page, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", left, y, right);
    report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">", left - 6, y + 4);
    report_tick_text(page, a, tick[i]);
  }
  report_put(page, "<text x=\"0\" y=\"%.1f\">%s</text>", (a->to < a->from ? a->to : a->from) - 10,
             name);
}

void report_axis_layers(report_page *page, const report_axis *a, int depth, double y) {
  int l, every = depth > 16 ? 4 : 1;
  if (depth > 32) every = 8;
  for (l = 0; l < depth; l += every)
    report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%d</text>", report_at(a, l), y, l);
  report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">layer</text>", a->to, y + 15);
}

void report_svg(report_page *page, int height, const char *title) {
  report_put(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", REPORT_W, height,
             title);
  report_put(page, "<text class=\"h\" x=\"0\" y=\"13\">%s</text>\n", title);
}
void report_mark(report_page *page, const char *how, char colour, double x, double y,
                 double r, const char *format, ...) {
  char text[200];
  va_list list;
  if (!isfinite(x) || !isfinite(y)) return;
  va_start(list, format);
  (void)vsnprintf(text, sizeof text, format, list);
  va_end(list);
  report_put(page, "<circle class=\"%s %c\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>", how,
             colour, x, y, r);
  report_escape(page, text);
  report_raw(page, "</title></circle>\n");
}

void report_square(report_page *page, char colour, double x, double y, double half,
                   const char *format, ...) {
  char text[200];
  va_list list;
  if (!isfinite(x) || !isfinite(y)) return;
  va_start(list, format);
  (void)vsnprintf(text, sizeof text, format, list);
  va_end(list);
  report_put(page,
             "<rect class=\"box %c\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
             colour, x - half, y - half, 2 * half, 2 * half);
  report_escape(page, text);
  report_raw(page, "</title></rect>\n");
}

void report_why_empty(report_page *page, double y, const char *why) {
  report_put(page, "<text class=\"m\" x=\"%d\" y=\"%.1f\">%s</text>\n", REPORT_W / 2, y, why);
}

void report_segment(report_page *page, const char *how, char colour, double x1, double y1,
                    double x2, double y2) {
  if (!isfinite(x1) || !isfinite(y1) || !isfinite(x2) || !isfinite(y2)) return;
  report_put(page, "<path class=\"%s %c\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", how, colour, x1, y1, x2,
             y2);
}

void report_polyline(report_page *page, const char *how, char colour, const report_axis *ax,
                     const report_axis *ay, report_series s) {
  int i, pen = 0;
  report_put(page, "<path class=\"%s %c\" d=\"", how, colour);
  for (i = 0; i < s.count; i++) {
    if (!isfinite(s.x[i]) || !isfinite(s.y[i]) || (ay->log && s.y[i] <= 0)) {
      pen = 0;
      continue;
    }
    report_put(page, "%c%.1f %.1f", pen++ ? 'L' : 'M', report_at(ax, s.x[i]),
               report_at(ay, s.y[i]));
  }
  report_raw(page, "\"/>\n");
}

void report_key(report_page *page, const char *entries) {
  static const struct { char entry, circle[8]; int radius; const char *text; } key[] = {
    {'a', "dot a", 5, "attention"}, {'g', "dot g", 5, "activation"}, {'k', "dot k", 5, "both"},
    {'p', "ring q", 4, "hollow or faint: published"}};
  size_t i;
  report_raw(page, "<div class=\"key\">");
  for (; *entries; entries++)
    for (i = 0; i < sizeof key / sizeof *key; i++)
      if (key[i].entry == *entries)
        report_put(page, "<span><svg class=\"dotkey\" viewBox=\"0 0 12 12\"><circle class=\"%s\" "
                         "cx=\"6\" cy=\"6\" r=\"%d\"/></svg>%s</span>", key[i].circle,
                   key[i].radius, key[i].text);
  report_raw(page, "</div>\n");
}
