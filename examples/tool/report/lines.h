/* lines.h: a run's JSON lines, read back */
#ifndef TOOL_REPORT_LINES_H
#define TOOL_REPORT_LINES_H

#include "../../../boundarydpt.h"
#include "../cli/messages.h"

#define REPORT_W 372 /* width of a panel */

enum { REPORT_DENSE, REPORT_PRUNED, REPORT_RECOVERED, REPORT_FUSED, REPORT_ROWS };

extern const char *const report_row_name[REPORT_ROWS];
extern const char *const report_type_name[2];
extern const char report_type_class[2];

typedef struct report_field {
  const char *key, *text; /* text "" when the value is no string */
  const double *number;   /* nested arrays are flattened; null is NaN, true is 1 */
  int count;
} report_field;

typedef struct report_line {
  const char *kind;
  const report_field *field;
  int fields;
  int replaced; /* a later line says the same thing anew: a resumed run repeats itself */
} report_line;

typedef struct report_run {
  report_line *line;
  int lines, depth;
  const report_line *setup, *row[REPORT_ROWS];
  int order[2][BDPT_MAX_DEPTH]; /* 1 for the layer removed first, ...; 0: kept */
  int removed[2];
  report_field *field; /* the pools: each is as long as the file could ever fill */
  double *number;
  char *text;
} report_run;

/* Records the first error of the context, as the library does. Returns the status. */
CLI_PRINTF(3, 4)
int report_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...);

/* Returns a field of a line by its key; NULL if the line is NULL or has none. */
const report_field *report_get(const report_line *line, const char *key);

/* Returns the first number of a field; NaN if there is none. */
double report_number(const report_line *line, const char *key);

/* Returns the text of a field; "" if there is none. */
const char *report_text(const report_line *line, const char *key);

/* Returns a whole number within [lo, hi], or `otherwise`: what indexes an array comes through
 * here. */
int report_int(const report_line *line, const char *key, int lo, int hi, int otherwise);

/* Returns 0 for attention, 1 for activation, -1 for anything else. */
int report_type(const report_line *line);

/* Returns the next line of a kind after `after` (NULL: the first). */
const report_line *report_next(const report_run *run, const report_line *after,
                               const char *kind);

/* Returns how many lines of a kind there are. */
int report_count(const report_run *run, const char *kind);

/* Returns 1 if two lines agree in a field. */
int report_same(const report_line *a, const report_line *b, const char *key);

/* Frees the lines. */
void report_free(report_run *run);

/* Parses a whole run; `name` is for messages. The pools cannot overflow: a text has two quotes in
 * the file and takes one terminator here, a number needs a separator, a field at least the four
 * bytes of "":0 and a comma. */
int report_load(bdpt_context *ctx, const char *bytes, size_t size, const char *name,
                report_run *run);

/* Reads and parses a file. */
int report_read(bdpt_context *ctx, const char *path, report_run *run);

#endif /* TOOL_REPORT_LINES_H */
