/* report.h: a run's JSON lines become one HTML page, and a table for the terminal */
#ifndef TOOL_REPORT_REPORT_H
#define TOOL_REPORT_REPORT_H

#include "../../../boundarydpt.h"

#include <stdio.h>

/* Magnitudes read from the paper's figure, DeiT, layer 0 to 11. */
extern const double report_paper_gradient[2][12];

/* Reads the run file and writes the page, whole or not at all. Returns a bdpt_status; the sentence
 * of a failure is in the context, with the line number if a line is bad. */
int report_write(bdpt_context *ctx, const char *jsonl_path, const char *html_path);

/* Does the same from lines in memory; `name` is for messages. */
int report_write_lines(bdpt_context *ctx, const char *lines, size_t size, const char *name,
                       const char *html_path);

/* Prints the same table for the terminal, from the same file, so that the two cannot disagree. */
int report_table(bdpt_context *ctx, const char *jsonl_path, FILE *out);

#endif /* TOOL_REPORT_REPORT_H */
