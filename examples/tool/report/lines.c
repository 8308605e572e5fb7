/* lines.c: a run's JSON lines, read back */
#include "../../../boundarydpt.h"
#include "../json_read.h"
#include "../jsonl.h"
#include "lines.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const report_row_name[REPORT_ROWS] = {"dense", "pruned", "recovered", "fused"};
const char *const report_type_name[2] = {"attention", "activation"};
const char report_type_class[2] = {'a', 'g'};

/* -------------------------------------------------------------------------------------------------
 * The run file
 * ---------------------------------------------------------------------------------------------- */

/* What makes two lines of a kind the same statement. Kinds not listed may repeat. */
static const char *const report_identity[][3] = {
    {"setup", NULL, NULL},          {"disparity", "step", NULL},
    {"recovery", "type", "layer"},  {"map", NULL, NULL},         {"search", "type", "layer"},
    {"importance", NULL, NULL},     {"row", "name", NULL},       {"certificate", NULL, NULL},
    {"pareto", "name", NULL},       {"done", NULL, NULL}};
int report_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list list;
  if (ctx->status == BDPT_OK) {
    ctx->status = status;
    va_start(list, format);
    (void)vsnprintf(ctx->message, sizeof ctx->message, format, list);
    va_end(list);
  }
  return (int)status;
}

const report_field *report_get(const report_line *line, const char *key) {
  int i;
  for (i = 0; line && i < line->fields; i++)
    if (strcmp(line->field[i].key, key) == 0) return &line->field[i];
  return NULL;
}

double report_number(const report_line *line, const char *key) {
  const report_field *field = report_get(line, key);
  return field && field->count > 0 ? field->number[0] : (double)NAN;
}

const char *report_text(const report_line *line, const char *key) {
  const report_field *field = report_get(line, key);
  return field ? field->text : "";
}

int report_int(const report_line *line, const char *key, int lo, int hi, int otherwise) {
  double value = report_number(line, key);
  return value >= lo && value <= hi ? (int)value : otherwise;
}

int report_type(const report_line *line) {
  const char *text = report_text(line, "type");
  if (strcmp(text, "attention") == 0) return 0;
  return strcmp(text, "activation") == 0 ? 1 : -1;
}

const report_line *report_next(const report_run *run, const report_line *after,
                               const char *kind) {
  int i = after ? (int)(after - run->line) + 1 : 0;
  for (; i < run->lines; i++)
    if (!run->line[i].replaced && strcmp(run->line[i].kind, kind) == 0) return &run->line[i];
  return NULL;
}

int report_count(const report_run *run, const char *kind) {
  const report_line *line = NULL;
  int count = 0;
  while ((line = report_next(run, line, kind)) != NULL) count++;
  return count;
}

int report_same(const report_line *a, const report_line *b, const char *key) {
  const report_field *x = report_get(a, key), *y = report_get(b, key);
  if (!x || !y) return x == y;
  if (x->count > 0 && y->count > 0) return !(x->number[0] < y->number[0]) &&
                                           !(x->number[0] > y->number[0]);
  return strcmp(x->text, y->text) == 0;
}

/* Marks the earlier lines that the last line replaces. */
static void report_replace(report_run *run) {
  report_line *last = &run->line[run->lines - 1];
  size_t k;
  int i;
  for (k = 0; k < sizeof report_identity / sizeof report_identity[0]; k++) {
    const char *const *id = report_identity[k];
    if (strcmp(id[0], last->kind) != 0) continue;
    for (i = 0; i < run->lines - 1; i++) {
      report_line *line = &run->line[i];
      if (!line->replaced && strcmp(line->kind, last->kind) == 0 &&
          (!id[1] || report_same(line, last, id[1])) && (!id[2] || report_same(line, last, id[2])))
        line->replaced = 1;
    }
  }
}

void report_free(report_run *run) {
  free(run->line);
  free(run->field);
  free(run->number);
  free(run->text);
  memset(run, 0, sizeof *run);
}

/* The pools that a line's parts are taken from. */
typedef struct report_pool {
  report_field *field;
  double *number;
  char *text;
} report_pool;

static void report_push(report_pool *pool, report_field *field, double value) {
  if (!field) return;
  if (!(fabs(value) <= 1e15)) value = (double)NAN; /* nothing measured here is as large */
  if (field->count == 0) field->number = pool->number;
  *pool->number++ = value;
  field->count++;
}

/* Parses one line. Returns NULL, or what is wrong with it. */
static const char *report_parse(jsonl_line text, report_line *line, report_pool *pool,
                                size_t *at) {
  jsonl_walk w;
  json_event event;
  report_field *field = NULL;
  jsonl_begin(&w, text);
  memset(line, 0, sizeof *line);
  line->field = pool->field;
  line->kind = "";
  while ((event = jsonl_event(&w)) != JSON_END && event != JSON_ERROR) {
    if (event == JSON_KEY || event == JSON_STRING) {
      size_t length = json_copy(&w.json, pool->text, w.json.length + 1);
      if (event == JSON_KEY) {
        field = pool->field++;
        line->fields++;
        memset(field, 0, sizeof *field);
        field->key = pool->text;
        field->text = "";
      } else if (field) field->text = pool->text;
      pool->text += length + 1;
    } else if (event == JSON_NUMBER) report_push(pool, field, json_number(&w.json));
    else if (event == JSON_NULL) report_push(pool, field, (double)NAN);
    else if (event == JSON_TRUE || event == JSON_FALSE)
      report_push(pool, field, event == JSON_TRUE ? 1 : 0);
  }
  *at = w.json.at;
  if (event == JSON_ERROR) return w.error;
  line->kind = report_text(line, "kind");
  return line->kind[0] ? NULL : "the object has no \"kind\"";
}

/* Finds the facts that several sections share: depth, the four rows, what was removed and when. */
static void report_digest(report_run *run) {
  const report_line *line = NULL;
  const report_field *list;
  int type, layer, k, when = 0;
  run->setup = report_next(run, NULL, "setup");
  run->depth = report_int(run->setup, "depth", 1, BDPT_MAX_DEPTH, 0);
  if (run->depth == 0 && (list = report_get(report_next(run, NULL, "disparity"), "attention")))
    run->depth = list->count < BDPT_MAX_DEPTH ? list->count : BDPT_MAX_DEPTH;
  while ((line = report_next(run, line, "row")) != NULL)
    for (k = 0; k < REPORT_ROWS; k++)
      if (strcmp(report_text(line, "name"), report_row_name[k]) == 0) run->row[k] = line;
  while ((line = report_next(run, line, "search")) != NULL) {
    type = report_type(line);
    layer = report_int(line, "layer", 0, run->depth - 1, -1);
    if (type < 0 || layer < 0) continue;
    run->order[type][layer] = ++when;
    run->removed[type]++;
  }
}

int report_load(bdpt_context *ctx, const char *bytes, size_t size, const char *name,
                report_run *run) {
  jsonl_reader reader = {bytes, size, 0, 0};
  size_t at, where = 0, lines = 1;
  int status = BDPT_OK;
  jsonl_line text;
  report_pool pool;
  memset(run, 0, sizeof *run);
  if (size > ((size_t)1 << 26))
    return report_fail(ctx, BDPT_E_FORMAT, "%s: larger than 64 MiB, so it is no run file", name);
  for (at = 0; at < size; at++) lines += bytes[at] == '\n';
  run->line = (report_line *)calloc(lines, sizeof *run->line);
  run->field = pool.field = (report_field *)calloc(size / 5 + 1, sizeof *run->field);
  run->number = pool.number = (double *)calloc(size / 2 + 1, sizeof *run->number);
  run->text = pool.text = (char *)calloc(size + 1, 1);
  if (!run->line || !run->field || !run->number || !run->text)
    status = report_fail(ctx, BDPT_E_MEMORY, "%s: no memory to hold its lines", name);
  while (status == BDPT_OK && (text = jsonl_next(&reader)).text) {
    const char *what = report_parse(text, &run->line[run->lines], &pool, &where);
    run->lines++;
    if (what)
      status = report_fail(ctx, BDPT_E_FORMAT, "%s: line %d, byte %lu: %s", name, reader.number,
                           (unsigned long)where, what);
    else report_replace(run);
  }
  if (status == BDPT_OK) report_digest(run);
  else report_free(run);
  return status;
}

int report_read(bdpt_context *ctx, const char *path, report_run *run) {
  bdpt_bytes bytes = {NULL, 0};
  int status = (int)bdpt_file_read(ctx, path, &bytes);
  if (status != BDPT_OK) return status;
  status = report_load(ctx, (const char *)bytes.data, bytes.size, path, run);
  bdpt_bytes_free(ctx, &bytes);
  return status;
}
