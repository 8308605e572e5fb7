/* cells.c: JSON lines of any kind as rows of named cells */
#include "../json_read.h"
#include "../cli/messages.h"
#include "../cli/system.h"
#include "../jsonl.h"
#include "../record.h"
#include "cells.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS_KEY = 200 }; /* bytes of the longest key */

const char *cells_key(const cells *c, int column) { return c->text.text + c->column[column]; }

const char *cells_text(const cells *c, int field) { return c->text.text + c->field[field].at; }

int cells_column(const cells *c, const char *key) {
  int i;
  for (i = 0; i < c->columns; i++)
    if (strcmp(cells_key(c, i), key) == 0) return i;
  return -1;
}

int cells_find(const cells *c, int row, int column) {
  const cells_row *r = &c->row[row];
  int i;
  for (i = r->first; i < r->first + r->count; i++)
    if (c->field[i].column == column) return i;
  return -1;
}

const char *cells_kind(const cells *c, int row) {
  return c->row[row].kind < 0 ? "" : cells_text(c, c->row[row].kind);
}

void cells_free(cells *c) {
  free(c->text.text);
  free(c->field);
  free(c->row);
  free(c->column);
  memset(c, 0, sizeof *c);
}

/* Makes room for one more element of `size` bytes; returns the old list if there is no memory. */
static void *cells_grow(cells *c, void *list, int which, int count, size_t size) {
  void *more;
  if (count < c->room[which]) return list;
  more = count > 1 << 28 ? NULL : realloc(list, (size_t)(2 * count + 64) * size);
  if (!more) {
    cli_fail(c->ctx, BDPT_E_MEMORY, "out of memory");
    return list;
  }
  c->room[which] = 2 * count + 64;
  return more;
}

/* Returns the column of a key, which it adds if it is new. */
static int cells_add_column(cells *c, const char *key) {
  int column = cells_column(c, key);
  if (column >= 0) return column;
  c->column = (size_t *)cells_grow(c, c->column, 2, c->columns, sizeof *c->column);
  if (c->ctx->status != BDPT_OK) return 0;
  c->column[c->columns] = c->text.used;
  cli_json_raw(&c->text, key, strlen(key) + 1);
  return c->columns++;
}

/* Adds one value that is no list to the text. */
static void cells_copy(cells *c, const json_reader *j, json_event e) {
  const size_t n = json_copy(j, NULL, 0);
  char *text;
  if (e == JSON_NUMBER) cli_json_raw(&c->text, j->text + j->start, j->length);
  if (e == JSON_TRUE) cli_json_raw(&c->text, "true", 4);
  if (e == JSON_FALSE) cli_json_raw(&c->text, "false", 5);
  if (e != JSON_STRING) return;
  text = (char *)malloc(n + 1);
  if (text) {
    json_copy(j, text, n + 1);
    cli_json_raw(&c->text, text, n);
  } else {
    c->text.failed = 1;
  }
  free(text);
}

/* Adds the elements of a list, of lists in it too. Returns what is wrong, or NULL. */
static const char *cells_list(cells *c, jsonl_walk *w) {
  int depth = 1, elements = 0;
  while (depth > 0) {
    json_event e = jsonl_event(w);
    if (e == JSON_ERROR || e == JSON_END) return w->error ? w->error : "no end";
    if (e == JSON_OBJECT) return "an object in a list has no place in a table";
    depth += (e == JSON_ARRAY) - (e == JSON_ARRAY_END);
    if (e == JSON_ARRAY || e == JSON_ARRAY_END) continue;
    if (elements++) cli_json_raw(&c->text, ";", 1);
    cells_copy(c, &w->json, e);
  }
  return NULL;
}

/* Adds the field whose value has just begun with e. Returns what is wrong, or NULL. */
static const char *cells_field_of(cells *c, jsonl_walk *w, json_event e, const char *key) {
  const int column = cells_add_column(c, key);
  const char *wrong = NULL;
  cells_row *row = &c->row[c->rows - 1];
  cells_field *f;
  c->field = (cells_field *)cells_grow(c, c->field, 0, c->fields, sizeof *c->field);
  if (c->ctx->status != BDPT_OK) return "out of memory";
  if (cells_find(c, c->rows - 1, column) >= 0) return "a key stands there twice";
  f = &c->field[c->fields];
  f->column = column;
  f->at = c->text.used;
  f->type = CELL_TEXT;
  if (e == JSON_NULL) f->type = CELL_NULL;
  if (e == JSON_NUMBER) f->type = CELL_NUMBER;
  if (e == JSON_ARRAY) f->type = CELL_LIST;
  if (e == JSON_ARRAY) wrong = cells_list(c, w);
  else cells_copy(c, &w->json, e);
  cli_json_raw(&c->text, "", 1);
  if (strcmp(key, "kind") == 0) row->kind = c->fields;
  c->fields++;
  row->count++;
  return wrong;
}

/* Adds the fields of a line to the last row. Returns what is wrong, or NULL. */
static const char *cells_line(cells *c, jsonl_walk *w) {
  char key[CELLS_KEY + 2];
  size_t end[JSON_DEPTH + 1], n; /* bytes of the keys of the objects that are open */
  int depth = 0;
  const char *wrong = NULL;
  json_event e;
  end[0] = 0;
  while (!wrong && (e = jsonl_event(w)) != JSON_END) {
    if (e == JSON_ERROR) break;
    if (e == JSON_OBJECT_END) { depth--; continue; }
    n = end[depth] + json_copy(&w->json, key + end[depth], CELLS_KEY - end[depth]);
    if (n + 1 >= CELLS_KEY) return "a key is too long";
    e = jsonl_event(w);
    if (e == JSON_ERROR) break;
    if (e == JSON_OBJECT) {
      key[n] = '.';
      end[++depth] = n + 1;
    } else {
      wrong = cells_field_of(c, w, e, key);
    }
  }
  return wrong ? wrong : w->error;
}

static bdpt_status cells_add_row(cells *c, const char *path, jsonl_line line, int number,
                                 int *setup) {
  jsonl_walk w;
  const char *wrong;
  cells_row *r;
  c->row = (cells_row *)cells_grow(c, c->row, 1, c->rows, sizeof *c->row);
  if (c->ctx->status != BDPT_OK) return c->ctx->status;
  r = &c->row[c->rows++];
  r->path = path;
  r->line = number;
  r->first = c->fields;
  r->count = 0;
  r->kind = -1;
  r->setup = *setup;
  jsonl_begin(&w, line);
  w.inside = 1;
  wrong = cells_line(c, &w);
  if (wrong)
    return cli_fail(c->ctx, BDPT_E_FORMAT, "%.200s: line %d: byte %lu: %s", path, number,
                    (unsigned long)w.json.at + 1, wrong);
  if (c->text.failed) return cli_fail(c->ctx, BDPT_E_MEMORY, "out of memory");
  if (strcmp(cells_kind(c, c->rows - 1), "setup") == 0) *setup = c->rows - 1;
  return BDPT_OK;
}

bdpt_status cells_read(cells *c, const char *path) {
  const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
  jsonl_reader reader = {NULL, 0, 0, 0};
  jsonl_line line;
  record r;
  int setup = -1;
  bdpt_status s;
  if (strcmp(path, "-") != 0 && cli_file_exists(path) == 0)
    return cli_fail(c->ctx, BDPT_E_IO, "%.300s: there is no such file", path);
  s = record_load(&r, c->ctx, path);
  reader.text = r.text.text;
  reader.size = r.text.used;
  while (s == BDPT_OK && (line = jsonl_next(&reader)).text)
    s = cells_add_row(c, name, line, reader.number, &setup);
  record_free(&r);
  return s;
}
