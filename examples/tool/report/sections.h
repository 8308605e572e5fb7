/* sections.h: the sections of the page, and what several of them need */
#ifndef TOOL_REPORT_SECTIONS_H
#define TOOL_REPORT_SECTIONS_H

#include "lines.h"
#include "page.h"

#include <stdio.h>

/* Returns the median of the numbers that are finite; NaN if none is. */
double report_median(const double *value, int count);

/* Compares times by their spreads: +1 faster than dense, -1 slower, 0 the spreads overlap, -2 they
 * cannot be compared. `ratio` gets the speed-up and the range that the two spreads allow. */
int report_speed(const report_run *run, int which, double ratio[3]);

/* Returns half of the 95 % interval, in points, of the difference of two networks' accuracies on
 * the same images: paired, from how many images only one of them has right. */
double report_difference(const report_line *from, const report_line *to);

/* Returns the accuracy lost between two rows in points; *told is 1 if the test images can tell it
 * from 0. */
double report_lost(const report_line *from, const report_line *to, int *told);

/* Prints the table in plain text, at most 100 columns wide, as a run does at its end. */
void report_print(const report_run *run, FILE *out);

/* Says in one sentence what speed may be claimed for a row. */
void report_say_speed(report_page *page, const report_run *run, int which);

/* Draws the four networks of a run: a panel, the table, the sentences. */
void report_result(report_page *page, const report_run *run);

/* Draws the network before and after, block by block. */
void report_network(report_page *page, const report_run *run);

/* Makes lo..hi hold a value too. */
void report_widen(double value, double *lo, double *hi);

/* Returns the power of ten below. */
double report_floor10(double v);

/* Draws gradient disparity, layer by layer and over the steps. */
void report_disparity(report_page *page, const report_run *run);

/* Draws recovery asymmetry: each single layer removed. */
void report_recovery(report_page *page, const report_run *run);

/* Returns the value of the fitted polynomial at retained ratios; terms and theta come from the run
 * file. */
double report_predict(const report_line *map, double attention, double activation);

/* Everything the map's panels share: the fit, the split, the range of ratios and of colours. A
 * study has several, each with a start and a seed; a run has one, whose start is NULL. */
typedef struct report_map {
  const report_line *fit;
  const char *start;
  double seed;
  int depth, budget, split[2], points, first; /* first: fewest retained layers shown */
  double error, lo, hi;                       /* cross-validated error of the chosen degree */
} report_map;

/* Returns the next line of this kind that belongs to the map. */
const report_line *report_map_next(const report_run *run, const report_map *m,
                                   const report_line *line, const char *kind);

/* Reads the map's fit, ranges and colours from the run; `split` has the budget and the choice. */
void report_map_facts(const report_run *run, const report_line *split, report_map *m);

/* Draws predicted accuracy by cell; the measured points carry their measured colour in the same
 * scale, so that a point which stands out from its cell is a point that the surface misses. */
void report_map_heat(report_page *page, const report_run *run, const report_map *m,
                     const char *title);

/* Draws the predictor's surface and the split that it chose. */
void report_map_section(report_page *page, const report_run *run);

/* Published curves: speed-up, top-1; from 0 layers on, each to be
 * read against its own first point. */
typedef struct report_curve {
  const char *name;
  int type, count; /* type 2: joint */
  double at[7][2];
} report_curve;

extern const report_curve report_published[2][3];

/* Draws a published curve, cut where it leaves the panel. */
void report_faint_curve(report_page *page, const report_curve *c, const report_axis *x,
                        const report_axis *y);

/* Draws accuracy against speed-up, with the published curves. */
void report_pareto(report_page *page, const report_run *run);

/* Draws accuracy by epoch, and the order of removal. */
void report_training(report_page *page, const report_run *run);

/* The sections in the order of the page. A section is drawn if the run has lines of its kind; one
 * without says so, unless its part of a study runs only when it is named (by_name). */
typedef struct report_part {
  const char *title, *kind;
  int needs_depth;
  void (*draw)(report_page *page, const report_run *run);
  int by_name;
} report_part;

extern const report_part report_section[];

/* Writes the whole page in memory; free page->text, whether it failed or not. */
void report_render(report_page *page, const report_run *run);

/* Returns 1 if the record is a study's: only the study writes down its recipe. */
int report_is_study(const report_run *run);

extern const report_part report_study_section[];

/* Writes the end of the page's first sentence, and what the study took. */
void report_study_lead(report_page *page, const report_run *run);

/* Draws accuracy against measured time of every way to the same cost. */
void report_rivals(report_page *page, const report_run *run);

/* Returns 1 for a record that has masks and nothing else: no run was begun. */
int report_only_masks(const report_run *run);

/* Draws the networks on pictures with masks, if the run has any. */
void report_masks(report_page *page, const report_run *run);

#endif /* TOOL_REPORT_SECTIONS_H */
