/* grid.c: rows and columns of text, printed as CSV, Markdown or LaTeX */
#include "grid.h"

#include <stdlib.h>
#include <string.h>

static void grid_raw(grid *g, const char *text) {
  cli_json_raw(&g->text, text, strlen(text));
}

static void grid_end(grid *g) {
  cli_json_raw(&g->text, "", 1);
  g->cells++;
}

/* Writes CSV's quotes: around a text with a comma, a quote or an end of line in it. */
static void grid_csv(grid *g, const char *text) {
  const int quote = text[strcspn(text, ",\"\r\n")] != 0;
  if (quote) grid_raw(g, "\"");
  for (; *text; text++) {
    if (*text == '"') grid_raw(g, "\"");
    cli_json_raw(&g->text, text, 1);
  }
  if (quote) grid_raw(g, "\"");
}

static void grid_latex(grid *g, const char *text) {
  for (; *text; text++) {
    if (*text == '\\') grid_raw(g, "\\textbackslash{}");
    else if (*text == '~') grid_raw(g, "\\textasciitilde{}");
    else if (*text == '^') grid_raw(g, "\\textasciicircum{}");
    else {
      if (strchr("&%$#_{}", *text)) grid_raw(g, "\\");
      cli_json_raw(&g->text, *text == '\n' ? " " : text, 1);
    }
  }
}

static void grid_markdown(grid *g, const char *text) {
  for (; *text; text++) {
    if (strchr("|\\*`<", *text)) grid_raw(g, "\\");
    cli_json_raw(&g->text, *text == '\n' ? " " : text, 1);
  }
}

void grid_add(grid *g, const char *text) {
  if (g->form == GRID_CSV) grid_csv(g, text);
  if (g->form == GRID_MARKDOWN) grid_markdown(g, text);
  if (g->form == GRID_LATEX) grid_latex(g, text);
  grid_end(g);
}

static void grid_number(char out[40], double v, int digits) {
  if (digits < 0) snprintf(out, 40, "%.10g", v);
  else snprintf(out, 40, "%.*f", digits, v);
}

void grid_add_mean(grid *g, double mean, double sd, int n, int digits) {
  const int csv = g->form == GRID_CSV, latex = g->form == GRID_LATEX;
  char text[40];
  if (latex) grid_raw(g, "$");
  if (n > 0) {
    grid_number(text, mean, digits);
    grid_raw(g, text);
  }
  if (csv) grid_end(g);
  if (n > 1) {
    grid_number(text, sd, digits);
    if (!csv) grid_raw(g, latex ? " \\pm " : " \302\261 ");
    grid_raw(g, text);
  }
  if (latex) grid_raw(g, "$");
  grid_end(g);
}

/* Counts the characters of a UTF-8 text. */
static size_t grid_width(const char *text) {
  size_t n = 0;
  for (; *text; text++) n += (*text & 0xc0) != 0x80;
  return n;
}

/* Finds the widest cell of each column, so that Markdown and LaTeX can be read as they stand. */
static void grid_widths(const grid *g, size_t *width) {
  const char *cell = g->text.text;
  size_t i;
  for (i = 0; i < g->cells; i++, cell += strlen(cell) + 1) {
    size_t *w = &width[i % (size_t)g->columns], n = grid_width(cell);
    if (n > *w) *w = n;
  }
}

static void grid_row(const grid *g, const char **cell, const size_t *width, FILE *f) {
  static const char *const left[] = {"", "| ", ""}, *const between[] = {",", " | ", " & "};
  static const char *const right[] = {"\n", " |\n", " \\\\\n"};
  int k;
  fputs(left[g->form], f);
  for (k = 0; k < g->columns; k++, *cell += strlen(*cell) + 1) {
    size_t pad = g->form == GRID_CSV ? 0 : width[k] - grid_width(*cell);
    if (k) fputs(between[g->form], f);
    fputs(*cell, f);
    while (pad-- > 0) fputc(' ', f);
  }
  fputs(right[g->form], f);
}

/* Prints what stands under the heading. */
static void grid_rule(const grid *g, const size_t *width, FILE *f) {
  int k;
  size_t i;
  if (g->form == GRID_LATEX) fputs("\\hline\n", f);
  if (g->form != GRID_MARKDOWN) return;
  for (k = 0; k < g->columns; k++) {
    fputs(k ? "-|-" : "|-", f);
    for (i = 0; i < width[k]; i++) fputc('-', f);
  }
  fputs("-|\n", f);
}

int grid_print(const grid *g, FILE *f) {
  size_t *width = (size_t *)calloc((size_t)g->columns + 1, sizeof *width), i;
  const char *cell = g->text.text;
  int k;
  if (!width || g->text.failed) {
    free(width);
    return 0;
  }
  grid_widths(g, width);
  if (g->form == GRID_LATEX) {
    fputs("\\begin{tabular}{", f);
    for (k = 0; k < g->columns; k++) fputc('l', f);
    fputs("}\n\\hline\n", f);
  }
  for (i = 0; i < g->cells / (size_t)g->columns; i++) {
    grid_row(g, &cell, width, f);
    if (i == 0) grid_rule(g, width, f);
  }
  if (g->form == GRID_LATEX) fputs("\\hline\n\\end{tabular}\n", f);
  free(width);
  return 1;
}

void grid_free(grid *g) { free(g->text.text); }
