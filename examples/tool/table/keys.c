/* keys.c: which keys and lines the table is made of */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int table_split(table_keys *k, const char *text) {
  char *at = k->text;
  k->count = 0;
  if (!text) return 1;
  if (strlen(text) >= sizeof k->text) return 0;
  memcpy(k->text, text, strlen(text) + 1);
  while (at) {
    char *comma = strchr(at, ',');
    if (comma) *comma = 0;
    if (!*at || k->count == TABLE_KEYS) return 0;
    k->key[k->count++].name = at;
    at = comma ? comma + 1 : NULL;
  }
  return 1;
}

int table_split_where(table *t, const char *text) {
  int i;
  if (!table_split(&t->where, text)) return 0;
  for (i = 0; i < t->where.count; i++) {
    char *equals = strchr((char *)t->where.key[i].name, '=');
    if (!equals) return 0;
    *equals = 0;
    t->equals.key[i].name = equals + 1;
  }
  return 1;
}

/* Complains about a key that no line has, and names the one that was perhaps meant. */
static bdpt_status unknown(const table *t, const char *name) {
  int i, best = 3, meant = -1; /* more than two wrong letters are another word */
  for (i = 0; i < t->c.columns; i++) {
    const char *key = cells_key(&t->c, i);
    int d = cli_distance(name, strlen(name), strncmp(key, "settings.", 9) ? key : key + 9);
    if (d >= best) continue;
    best = d;
    meant = i;
  }
  return cli_fail(t->c.ctx, BDPT_E_ARGUMENT, "no line has the key '%.100s'%s%.100s%s", name,
                  meant < 0 ? "" : "; did you mean ", meant < 0 ? "" : cells_key(&t->c, meant),
                  meant < 0 ? "" : "?");
}

/* Finds the columns of a key; 0 if no line has it. */
static int resolve(const table *t, table_key *k) {
  char text[1100];
  char *dot;
  snprintf(text, sizeof text, "settings.%s", k->name);
  k->element = -1;
  k->column = cells_column(&t->c, k->name);
  k->setting = cells_column(&t->c, text);
  dot = strrchr(text + 9, '.');
  if (k->column < 0 && dot && dot[1] >= '0' && dot[1] <= '9') {
    k->element = atoi(dot + 1);
    *dot = 0;
    k->column = cells_column(&t->c, text + 9);
  }
  return k->column >= 0 || k->setting >= 0;
}

static bdpt_status resolve_all(const table *t, table_keys *k) {
  int i;
  for (i = 0; i < k->count; i++)
    if (!resolve(t, &k->key[i]) || (k != &t->value && k->key[i].element >= 0))
      return unknown(t, k->key[i].name); /* one of a list can only be a value */
  return BDPT_OK;
}

const char *table_look(const table *t, int row, const table_key *k) {
  const int setup = t->c.row[row].setup;
  int field = k->column < 0 ? -1 : cells_find(&t->c, row, k->column);
  if (field < 0 && setup >= 0 && k->setting >= 0) field = cells_find(&t->c, setup, k->setting);
  if (field < 0 && setup >= 0 && k->column >= 0) field = cells_find(&t->c, setup, k->column);
  return field < 0 || t->c.field[field].type == CELL_NULL ? NULL : cells_text(&t->c, field);
}

int table_compare(const char *a, const char *b) {
  char *end[2];
  double x, y;
  if (!a || !b) return (a != NULL) - (b != NULL);
  x = strtod(a, &end[0]);
  y = strtod(b, &end[1]);
  if (*a && *b && !*end[0] && !*end[1]) return (x > y) - (x < y);
  return strcmp(a, b);
}

int table_number(const table *t, int row, const table_key *k, double *out) {
  const cells_row *r = &t->c.row[row];
  int field = k->column < 0 ? -1 : cells_find(&t->c, row, k->column), i;
  const char *text;
  char *end;
  if (field < 0 || t->c.field[field].type == CELL_NULL) return 0;
  text = cells_text(&t->c, field);
  for (i = 0; i < k->element && *text; i++) {
    text += strcspn(text, ";");
    text += *text == ';';
  }
  if (k->element >= 0 && !*text) return 0; /* a shorter list */
  *out = strtod(text, &end);
  if (end > text && (*end == 0 || (k->element >= 0 && *end == ';'))) return 1;
  cli_fail(t->c.ctx, BDPT_E_FORMAT, "%.200s: line %d: %.60s is no number but '%.60s'%s", r->path,
           r->line, k->name, text, t->c.field[field].type == CELL_LIST && k->element < 0
           ? ": name one of the list, from .0 on" : "");
  return -1;
}

/* Returns 1 if --kind and --where want the row. */
static int wanted(const table *t, int row) {
  int i, kind = t->kinds.count == 0;
  for (i = 0; i < t->kinds.count; i++)
    kind |= strcmp(t->kinds.key[i].name, cells_kind(&t->c, row)) == 0;
  for (i = 0; i < t->where.count && kind; i++) {
    const char *text = table_look(t, row, &t->where.key[i]);
    kind = text && table_compare(text, t->equals.key[i].name) == 0;
  }
  return kind;
}

static bdpt_status choose_rows(table *t) {
  int i;
  t->row = (int *)malloc(((size_t)t->c.rows + 1) * sizeof *t->row);
  if (!t->row) return cli_fail(t->c.ctx, BDPT_E_MEMORY, "out of memory");
  for (i = 0; i < t->c.rows; i++)
    if (wanted(t, i)) t->row[t->rows++] = i;
  return t->rows ? BDPT_OK : cli_fail(t->c.ctx, BDPT_E_ARGUMENT, "there is no such line");
}

bdpt_status table_resolve(table *t) {
  table_keys *const all[] = {&t->by, &t->value, &t->columns, &t->where};
  bdpt_status s = BDPT_OK;
  size_t i;
  for (i = 0; i < sizeof all / sizeof all[0] && s == BDPT_OK; i++) s = resolve_all(t, all[i]);
  resolve(t, &t->over); /* where nothing has a seed, nothing can be compared */
  return s == BDPT_OK ? choose_rows(t) : s;
}
