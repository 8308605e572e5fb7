/* page.h: growing text, and drawing on it: panels, axes, marks */
#ifndef TOOL_REPORT_PAGE_H
#define TOOL_REPORT_PAGE_H

#include "../cli/messages.h"

#include <stddef.h>
#include <math.h>

typedef struct report_page {
  char *text;
  size_t length, room;
  int failed; /* no memory: everything after it is ignored, and the file is not written */
} report_page;

/* Adds a text as it is: markup and style, where a per cent sign is a per cent sign. */
void report_raw(report_page *page, const char *text);

/* Adds a text of at most 4095 bytes, formatted. */
CLI_PRINTF(2, 3)
void report_put(report_page *page, const char *format, ...);

/* Adds a text out of the run file, whose markup characters are made harmless. */
void report_escape(report_page *page, const char *text);

/* Values lo..hi lie at the places from..to. */
typedef struct report_axis {
  double lo, hi, from, to;
  int log;
} report_axis;

/* Returns an axis; a logarithmic one needs positive ends. */
report_axis report_make_axis(double lo, double hi, double from, double to, int log_scale);

/* Returns the place of a value. */
double report_at(const report_axis *a, double v);

/* Draws the grid lines and numbers of the horizontal axis, whose name stands below at the right
 * end. */
void report_axis_x(report_page *page, const report_axis *a, double top, double bottom,
                   const char *name);

/* Draws the vertical axis; its name stands above, where it is read first. */
void report_axis_y(report_page *page, const report_axis *a, double left, double right,
                   const char *name);

/* Draws layer numbers along the bottom, thinned when there are many. */
void report_axis_layers(report_page *page, const report_axis *a, int depth, double y);

/* Begins a panel of this height; the title is for those who cannot see it. */
void report_svg(report_page *page, int height, const char *title);

/* Draws a mark with its text as a tooltip. `how` is c, d, o ...: its shape and filling. */
CLI_PRINTF(7, 8)
void report_mark(report_page *page, const char *how, char colour, double x, double y,
                 double r, const char *format, ...);

/* Draws the same as a filled square, for what a dot is compared with. Hollow means published and
 * nothing else. */
CLI_PRINTF(6, 7)
void report_square(report_page *page, char colour, double x, double y, double half,
                   const char *format, ...);

/* Writes a sentence in an empty panel: why nothing is drawn in it. */
void report_why_empty(report_page *page, double y, const char *why);

/* Draws a straight line. */
void report_segment(report_page *page, const char *how, char colour, double x1, double y1,
                    double x2, double y2);

/* Points in the units of two axes. */
typedef struct report_series { const double *x, *y; int count; } report_series;

/* Draws a line through points, with a gap where a value is missing. */
void report_polyline(report_page *page, const char *how, char colour, const report_axis *ax,
                     const report_axis *ay, report_series s);

/* Writes the key above a figure: letters choose the entries, in the order given. */
void report_key(report_page *page, const char *entries);

#endif /* TOOL_REPORT_PAGE_H */
