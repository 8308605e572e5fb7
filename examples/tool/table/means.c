/* means.c: a row for each line, or for each group of lines */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bdpt_status table_list(table *t) {
  char *used = (char *)calloc((size_t)t->c.columns + 1, 1), text[24];
  int i, k;
  if (!used) return cli_fail(t->c.ctx, BDPT_E_MEMORY, "out of memory");
  for (i = 0; i < t->rows; i++)
    for (k = 0; k < t->c.row[t->row[i]].count; k++)
      used[t->c.field[t->c.row[t->row[i]].first + k].column] = t->columns.count == 0;
  grid_add(&t->g, "record");
  grid_add(&t->g, "line");
  for (k = 0; k < t->c.columns; k++)
    if (used[k]) grid_add(&t->g, cells_key(&t->c, k));
  for (k = 0; k < t->columns.count; k++) grid_add(&t->g, t->columns.key[k].name);
  t->g.columns = (int)t->g.cells;
  for (i = 0; i < t->rows; i++) {
    snprintf(text, sizeof text, "%d", t->c.row[t->row[i]].line);
    grid_add(&t->g, t->c.row[t->row[i]].path);
    grid_add(&t->g, text);
    for (k = 0; k < t->c.columns; k++) {
      int field = used[k] ? cells_find(&t->c, t->row[i], k) : -1;
      if (used[k]) grid_add(&t->g, field < 0 ? "" : cells_text(&t->c, field));
    }
    for (k = 0; k < t->columns.count; k++) {
      const char *cell = table_look(t, t->row[i], &t->columns.key[k]);
      grid_add(&t->g, cell ? cell : "");
    }
  }
  free(used);
  return BDPT_OK;
}

/* -------------------------------------------------------------------------------------------------
 * Groups
 * ---------------------------------------------------------------------------------------------- */

typedef struct means {
  double mean, sd;        /* of a value in a group; the spread is that of a sample (n - 1) */
  int n;
} means;

static const table *sorted; /* whose rows are sorted: qsort hands nothing through */

static int in_order(const table *t, int a, int b) {
  int i, order = 0;
  for (i = 0; i < t->by.count && order == 0; i++)
    order = table_compare(table_look(t, a, &t->by.key[i]), table_look(t, b, &t->by.key[i]));
  return order;
}

static int rising(const void *a, const void *b) {
  const int x = *(const int *)a, y = *(const int *)b, order = in_order(sorted, x, y);
  return order ? order : (x > y) - (x < y);
}

/* Refuses a value that stands in lines of two kinds, where it means two things. */
static bdpt_status one_kind(const table *t, const table_key *value) {
  int i, first = -1;
  for (i = 0; i < t->rows; i++) {
    const int row = t->row[i];
    if (value->column < 0 || cells_find(&t->c, row, value->column) < 0) continue;
    if (first < 0) first = row;
    if (strcmp(cells_kind(&t->c, row), cells_kind(&t->c, first)) != 0)
      return cli_fail(t->c.ctx, BDPT_E_ARGUMENT, "%.60s stands in lines of kind %.40s (%.100s: "
                      "line %d) and %.40s (%.100s: line %d): --kind chooses", value->name,
                      cells_kind(&t->c, first), t->c.row[first].path, t->c.row[first].line,
                      cells_kind(&t->c, row), t->c.row[row].path, t->c.row[row].line);
  }
  if (first >= 0) return BDPT_OK;
  return cli_fail(t->c.ctx, BDPT_E_ARGUMENT, "none of the lines has a '%.100s'", value->name);
}

/* Refuses lines of one group with the same seed: a group holds repetitions of one measurement. */
static bdpt_status repetitions(const table *t, int from, int to, const table_key *value) {
  double v;
  int i, k;
  for (i = from; i < to; i++)
    for (k = from; k < i; k++) {
      const cells_row *a = &t->c.row[t->row[k]], *b = &t->c.row[t->row[i]];
      const char *x = table_look(t, t->row[k], &t->over), *y = table_look(t, t->row[i], &t->over);
      if (!x || !y || table_compare(x, y) != 0 || table_number(t, t->row[k], value, &v) <= 0 ||
          table_number(t, t->row[i], value, &v) <= 0) continue;
      return cli_fail(t->c.ctx, BDPT_E_ARGUMENT, "%.150s: line %d and %.150s: line %d have the "
                      "same %.40s %.40s in one group: more keys in --by, --kind or --where tell "
                      "them apart", a->path, a->line, b->path, b->line, t->over.name, x);
    }
  return BDPT_OK;
}

/* Computes mean and spread of a value over the rows from..to. */
static bdpt_status mean_of(const table *t, int from, int to, const table_key *value, means *out) {
  double sum = 0, squares = 0, v = 0;
  int i, n = 0;
  for (i = from; i < to; i++)
    if (table_number(t, t->row[i], value, &v) > 0) {
      sum += v;
      n++;
    }
  for (i = from; i < to; i++)
    if (table_number(t, t->row[i], value, &v) > 0) squares += (v - sum / n) * (v - sum / n);
  out->n = n;
  out->mean = n ? sum / n : 0;
  out->sd = n > 1 ? sqrt(squares / (n - 1)) : 0;
  if (out->sd < 1e-13 * fabs(out->mean)) out->sd = 0; /* equal numbers; the mean was rounded */
  return t->c.ctx->status;
}

/* Returns two digits of the largest spread of a column; -1: there is no spread. */
static int digits_of(const means *m, int groups, int step) {
  double most = 0;
  int i, digits;
  for (i = 0; i < groups; i++)
    if (m[i * step].sd > most) most = m[i * step].sd;
  if (!(most > 0)) return -1;
  digits = 1 - (int)floor(log10(most));
  if (digits < 0) return 0;
  return digits > 6 ? 6 : digits;
}

static void heading(table *t) {
  static const char *const part[] = {"mean", "sd", "n"};
  char text[300];
  int i, k;
  for (i = 0; i < t->by.count; i++) grid_add(&t->g, t->by.key[i].name);
  for (i = 0; i < t->value.count; i++) {
    if (t->g.form != GRID_CSV) grid_add(&t->g, t->value.key[i].name);
    for (k = 0; k < 3 && t->g.form == GRID_CSV; k++) {
      snprintf(text, sizeof text, "%.250s_%s", t->value.key[i].name, part[k]);
      grid_add(&t->g, text);
    }
  }
  if (t->g.form != GRID_CSV) grid_add(&t->g, "n");
  t->g.columns = (int)t->g.cells;
}

/* Writes the cells of one group, whose first row is `first`. */
static void group_row(table *t, int first, const means *m, const int *digits) {
  char text[24], all[300] = "";
  int i, same = 1;
  for (i = 0; i < t->by.count; i++) {
    const char *cell = table_look(t, first, &t->by.key[i]);
    grid_add(&t->g, cell ? cell : "-");
  }
  for (i = 0; i < t->value.count; i++) {
    grid_add_mean(&t->g, m[i].mean, m[i].sd, m[i].n, digits[i]);
    snprintf(text, sizeof text, "%d", m[i].n);
    if (t->g.form == GRID_CSV) grid_add(&t->g, text);
    same &= m[i].n == m[0].n;
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", text);
  }
  if (t->g.form != GRID_CSV) grid_add(&t->g, same ? text : all);
}

/* Finds the groups of sorted rows: their borders in `end`, their numbers in m. Returns how many. */
static int group_all(table *t, int *end, means *m) {
  int from, to, groups = 0, k;
  for (from = 0; from < t->rows && t->c.ctx->status == BDPT_OK; from = to) {
    for (to = from + 1; to < t->rows && in_order(t, t->row[from], t->row[to]) == 0; to++) { }
    for (k = 0; k < t->value.count; k++) {
      mean_of(t, from, to, &t->value.key[k], &m[groups * t->value.count + k]);
      repetitions(t, from, to, &t->value.key[k]);
    }
    end[groups++] = to;
  }
  return groups;
}

/* Keeps the rows that have one of the values. */
static void with_values(table *t) {
  int i, k, rows = 0;
  for (i = 0; i < t->rows; i++) {
    int has = 0;
    for (k = 0; k < t->value.count; k++)
      has |= t->value.key[k].column >= 0 &&
             cells_find(&t->c, t->row[i], t->value.key[k].column) >= 0;
    if (has && strcmp(cells_kind(&t->c, t->row[i]), "setup") != 0) t->row[rows++] = t->row[i];
  }
  t->rows = rows;
}

bdpt_status table_means(table *t) {
  int *end, digits[TABLE_KEYS], groups, i, k;
  means *m;
  with_values(t);
  for (k = 0; k < t->value.count; k++)
    if (one_kind(t, &t->value.key[k]) != BDPT_OK) return t->c.ctx->status;
  end = (int *)malloc((size_t)t->rows * sizeof *end);
  m = (means *)malloc((size_t)t->rows * (size_t)t->value.count * sizeof *m);
  sorted = t;
  qsort(t->row, (size_t)t->rows, sizeof *t->row, rising);
  heading(t);
  if (!end || !m) cli_fail(t->c.ctx, BDPT_E_MEMORY, "out of memory");
  groups = end && m ? group_all(t, end, m) : 0;
  for (k = 0; k < t->value.count; k++) {
    digits[k] = t->digits;
    if (t->digits < 0 && t->g.form != GRID_CSV)
      digits[k] = digits_of(m + k, groups, t->value.count);
  }
  for (i = 0; i < groups; i++)
    group_row(t, t->row[i ? end[i - 1] : 0], m + i * t->value.count, digits);
  free(end);
  free(m);
  return t->c.ctx->status;
}
