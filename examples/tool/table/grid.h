/* grid.h: rows and columns of text, printed as CSV, Markdown or LaTeX */
#ifndef TOOL_TABLE_GRID_H
#define TOOL_TABLE_GRID_H

#include "../cli/json.h"

#include <stdio.h>

enum { GRID_CSV, GRID_MARKDOWN, GRID_LATEX };

/* Filled cell by cell, the first row first, which is the heading. Begins zeroed but for `form`. */
typedef struct grid {
  int form, columns;
  cli_json text;          /* the cells, each with a zero behind it */
  size_t cells;
} grid;

/* Adds a text, with what the form wants escaped. */
void grid_add(grid *g, const char *text);

/* Adds a mean of n numbers and their spread with so many digits behind the point (-1: as few as
 * needed): one cell, in CSV two. Without a spread (n < 2) it adds the mean only. */
void grid_add_mean(grid *g, double mean, double sd, int n, int digits);

/* Prints all of it; 0 if there was not the memory for it. */
int grid_print(const grid *g, FILE *f);

/* Frees the cells. */
void grid_free(grid *g);

#endif /* TOOL_TABLE_GRID_H */
