/* report.h: a run's JSON lines become one HTML page, and the same table for the terminal.
 *
 * The tool's run command writes one JSON object per line (build/run/run.jsonl); this file reads the
 * lines back and draws. The page is one file: inline style, inline SVG, no script, nothing fetched.
 * Three rules hold it together.
 *
 *   1. The reader knows no schema. A line is a list of fields, a field is a key with a text or some
 *      numbers. Sections ask for the kinds that they need, so a new kind needs no new reader, and a
 *      kind that is missing costs its section and nothing else.
 *   2. Every sentence is computed. A caption first asks what the numbers show, then chooses its
 *      words. Times whose spreads overlap are never called faster.
 *   3. Published numbers are hollow or faint, measured ones are solid, everywhere.
 *
 * Published values come from the paper's figures and the authors' answers to reviewers; see
 * PAPER_NOTES.md. The panels are 372 units wide because two of them fill a page and one fills a
 * telephone, both at about the size at which the lettering was chosen. */
#ifndef BDPT_REPORT_H
#define BDPT_REPORT_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define REPORT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define REPORT_PRINTF(f, a)
#endif

#define REPORT_W 372 /* width of a panel */
enum { REPORT_DENSE, REPORT_PRUNED, REPORT_RECOVERED, REPORT_FUSED, REPORT_ROWS };
static const char *const report_row_name[REPORT_ROWS] = {"dense", "pruned", "recovered", "fused"};
static const char *const report_type_name[2] = {"attention", "activation"};
static const char report_type_class[2] = {'a', 'g'};

/* -------------------------------------------------------------------------------------------------
 * The run file
 * ---------------------------------------------------------------------------------------------- */

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

/* What makes two lines of a kind the same statement. Kinds not listed may repeat. */
static const char *const report_identity[][3] = {
    {"setup", NULL, NULL},          {"disparity", "step", NULL},
    {"recovery", "type", "layer"},  {"map", NULL, NULL},         {"search", "type", "layer"},
    {"importance", NULL, NULL},     {"row", "name", NULL},       {"certificate", NULL, NULL},
    {"pareto", "name", NULL},       {"done", NULL, NULL}};

/* Records the first error of the context, as the library does. */
static int report_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...)
    REPORT_PRINTF(3, 4);
static int report_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list list;
  if (ctx->status == BDPT_OK) {
    ctx->status = status;
    va_start(list, format);
    (void)vsnprintf(ctx->message, sizeof ctx->message, format, list);
    va_end(list);
  }
  return (int)status;
}

static const report_field *report_get(const report_line *line, const char *key) {
  int i;
  for (i = 0; line && i < line->fields; i++)
    if (strcmp(line->field[i].key, key) == 0) return &line->field[i];
  return NULL;
}

static double report_number(const report_line *line, const char *key) {
  const report_field *field = report_get(line, key);
  return field && field->count > 0 ? field->number[0] : (double)NAN;
}

static const char *report_text(const report_line *line, const char *key) {
  const report_field *field = report_get(line, key);
  return field ? field->text : "";
}

/* A whole number within [lo, hi], or `otherwise`: what indexes an array comes through here. */
static int report_int(const report_line *line, const char *key, int lo, int hi, int otherwise) {
  double value = report_number(line, key);
  return value >= lo && value <= hi ? (int)value : otherwise;
}

static int report_type(const report_line *line) {
  const char *text = report_text(line, "type");
  return strcmp(text, "attention") == 0 ? 0 : strcmp(text, "activation") == 0 ? 1 : -1;
}

/* The next line of a kind after `after` (NULL: the first). */
static const report_line *report_next(const report_run *run, const report_line *after,
                                      const char *kind) {
  int i = after ? (int)(after - run->line) + 1 : 0;
  for (; i < run->lines; i++)
    if (!run->line[i].replaced && strcmp(run->line[i].kind, kind) == 0) return &run->line[i];
  return NULL;
}

static int report_count(const report_run *run, const char *kind) {
  const report_line *line = NULL;
  int count = 0;
  while ((line = report_next(run, line, kind)) != NULL) count++;
  return count;
}

static int report_same(const report_line *a, const report_line *b, const char *key) {
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

static void report_free(report_run *run) {
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

/* One line. Returns NULL, or what is wrong with it. Objects inside the object are passed over. */
static const char *report_parse(const char *text, size_t size, report_line *line,
                                report_pool *pool, size_t *at) {
  bdpt_json json;
  bdpt_json_event event;
  report_field *field = NULL;
  int objects = 0;
  *at = 0;
  bdpt_json_init(&json, text, size);
  memset(line, 0, sizeof *line);
  line->field = pool->field;
  line->kind = "";
  while ((event = bdpt_json_next(&json)) != BDPT_JSON_END) {
    *at = json.at;
    if (event == BDPT_JSON_ERROR) return json.error ? json.error : "not JSON";
    if (event == BDPT_JSON_OBJECT) objects++;
    else if (event == BDPT_JSON_OBJECT_END) objects--;
    else if (objects == 0) return "a line must be one object";
    else if (objects > 1) continue;
    else if (event == BDPT_JSON_KEY || event == BDPT_JSON_STRING) {
      size_t length = bdpt_json_copy(&json, pool->text, json.length + 1);
      if (event == BDPT_JSON_KEY) {
        field = pool->field++;
        line->fields++;
        memset(field, 0, sizeof *field);
        field->key = pool->text;
        field->text = "";
      } else if (field) field->text = pool->text;
      pool->text += length + 1;
    } else if (event == BDPT_JSON_NUMBER) report_push(pool, field, bdpt_json_number(&json));
    else if (event == BDPT_JSON_NULL) report_push(pool, field, (double)NAN);
    else if (event == BDPT_JSON_TRUE || event == BDPT_JSON_FALSE)
      report_push(pool, field, event == BDPT_JSON_TRUE ? 1 : 0);
  }
  line->kind = report_text(line, "kind");
  return line->kind[0] ? NULL : "the object has no \"kind\"";
}

/* The facts that several sections share: depth, the four rows, what was removed and when. */
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

/* Parses a whole run; `name` is for messages. The pools cannot overflow: a text has two quotes in
 * the file and takes one terminator here, a number needs a separator, a field at least the four
 * bytes of "":0 and a comma. */
static int report_load(bdpt_context *ctx, const char *bytes, size_t size, const char *name,
                       report_run *run) {
  size_t at, end, where = 0, lines = 1;
  int number = 0, status = BDPT_OK;
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
  for (at = 0; status == BDPT_OK && at < size; at = end + 1) {
    const char *what;
    size_t blank = at;
    for (end = at; end < size && bytes[end] != '\n'; end++) continue;
    number++;
    while (blank < end && bytes[blank] != 0 && strchr(" \t\r", bytes[blank])) blank++;
    if (blank == end) continue;
    what = report_parse(bytes + at, end - at, &run->line[run->lines], &pool, &where);
    run->lines++;
    if (what)
      status = report_fail(ctx, BDPT_E_FORMAT, "%s: line %d, byte %lu: %s", name, number,
                           (unsigned long)where, what);
    else report_replace(run);
  }
  if (status == BDPT_OK) report_digest(run);
  else report_free(run);
  return status;
}

static int report_read(bdpt_context *ctx, const char *path, report_run *run) {
  unsigned char *bytes = NULL;
  size_t size = 0;
  int status = (int)bdpt_file_read(ctx, path, &bytes, &size);
  if (status != BDPT_OK) return status;
  status = report_load(ctx, (const char *)bytes, size, path, run);
  bdpt_release(ctx, bytes, size + 1);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * Growing text
 * ---------------------------------------------------------------------------------------------- */

typedef struct report_page {
  char *text;
  size_t length, room;
  int failed; /* no memory: everything after it is ignored, and the file is not written */
} report_page;

static int report_room(report_page *page, size_t more) {
  size_t room = page->room ? page->room : 65536;
  char *text;
  if (page->failed) return 0;
  while (room - page->length <= more) room *= 2;
  if (room == page->room) return 1;
  text = (char *)realloc(page->text, room);
  if (!text) return !(page->failed = 1);
  page->text = text;
  page->room = room;
  return 1;
}

/* Text as it is: markup and style, where a per cent sign is a per cent sign. */
static void report_raw(report_page *page, const char *text) {
  size_t length = strlen(text);
  if (!report_room(page, length)) return;
  memcpy(page->text + page->length, text, length + 1);
  page->length += length;
}

static void report_put(report_page *page, const char *format, ...) REPORT_PRINTF(2, 3);
static void report_put(report_page *page, const char *format, ...) {
  va_list list;
  int length;
  if (!report_room(page, 4096)) return;
  va_start(list, format);
  length = vsnprintf(page->text + page->length, 4096, format, list);
  va_end(list);
  if (length < 0 || length >= 4096) page->failed = 1;
  else page->length += (size_t)length;
}

/* Text out of the run file: markup characters are made harmless. */
static void report_escape(report_page *page, const char *text) {
  char one[2] = {0, 0};
  for (; *text; text++) {
    one[0] = *text;
    report_raw(page, *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;"
                   : *text == '"' ? "&quot;" : one);
  }
}

/* -------------------------------------------------------------------------------------------------
 * A little statistics
 * ---------------------------------------------------------------------------------------------- */

static double report_median(const double *value, int count) {
  double sorted[2 * BDPT_MAX_DEPTH];
  int i, j, n = 0;
  for (i = 0; i < count && n < 2 * BDPT_MAX_DEPTH; i++) {
    if (!isfinite(value[i])) continue;
    for (j = n++; j > 0 && sorted[j - 1] > value[i]; j--) sorted[j] = sorted[j - 1];
    sorted[j] = value[i];
  }
  return n == 0 ? (double)NAN : 0.5 * (sorted[n / 2] + sorted[(n - 1) / 2]);
}

/* Half the width of the 95 % interval of an accuracy in per cent on n images; NaN if unknown. */
static double report_interval(const report_line *row) {
  double p = report_number(row, "accuracy") / 100, n = report_number(row, "images");
  return n >= 1 && p >= 0 && p <= 1 ? 196 * sqrt(p * (1 - p) / n) : (double)NAN;
}

/* Times compare by their spreads: +1 faster than dense, -1 slower, 0 the spreads overlap, -2 they
 * cannot be compared. `ratio` gets the speed-up and the range that the two spreads allow. */
static int report_speed(const report_run *run, int which, double ratio[3]) {
  const report_line *dense = run->row[REPORT_DENSE], *row = run->row[which];
  double low = report_number(row, "ms_low"), high = report_number(row, "ms_high");
  double dense_low = report_number(dense, "ms_low"), dense_high = report_number(dense, "ms_high");
  ratio[0] = report_number(dense, "ms") / report_number(row, "ms");
  ratio[1] = dense_low / high;
  ratio[2] = dense_high / low;
  if (!isfinite(ratio[0]) || !report_same(dense, row, "batch")) return -2;
  if (!(low > 0 && low <= high && dense_low > 0 && dense_low <= dense_high)) return -2;
  return high < dense_low ? 1 : low > dense_high ? -1 : 0;
}

/* Accuracy lost between two rows in points; *told is 1 if the test images can tell it from 0. */
static double report_lost(const report_line *from, const report_line *to, int *told) {
  double a = report_interval(from), b = report_interval(to);
  double lost = report_number(from, "accuracy") - report_number(to, "accuracy");
  *told = fabs(lost) > sqrt(a * a + b * b);
  return lost;
}

/* -------------------------------------------------------------------------------------------------
 * The table, once for the page and once for the terminal
 * ---------------------------------------------------------------------------------------------- */

enum { REPORT_COLUMNS = 7 };
static const char *const report_heading[REPORT_COLUMNS] = {
    "", "accuracy, %", "parameters", "MACs", "without QK,AV", "ms per batch", "speed-up"};

static void report_thousands(double value, char out[40]) {
  char digits[40];
  int i, length, to = 0;
  if (!(value >= 0 && value < 1e15)) {
    strcpy(out, "-");
    return;
  }
  length = snprintf(digits, sizeof digits, "%.0f", value);
  for (i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) out[to++] = ',';
    out[to++] = digits[i];
  }
  out[to] = 0;
}

static void report_unit(double value, char out[40]) {
  if (!(value >= 0)) strcpy(out, "-");
  else if (value >= 1e9) snprintf(out, 40, "%.2f G", value / 1e9);
  else snprintf(out, 40, "%.2f M", value / 1e6);
}

static void report_cells(const report_run *run, int which, char cell[REPORT_COLUMNS][40]) {
  const report_line *row = run->row[which];
  double wide = report_interval(row), ms = report_number(row, "ms"), ratio[3];
  double low = report_number(row, "ms_low"), high = report_number(row, "ms_high");
  int speed = report_speed(run, which, ratio);
  snprintf(cell[0], 40, "%s", report_row_name[which]);
  if (!isfinite(report_number(row, "accuracy"))) strcpy(cell[1], "-");
  else if (isfinite(wide))
    snprintf(cell[1], 40, "%.2f +- %.2f", report_number(row, "accuracy"), wide);
  else snprintf(cell[1], 40, "%.2f", report_number(row, "accuracy"));
  report_thousands(report_number(row, "params"), cell[2]);
  report_unit(report_number(row, "macs"), cell[3]);
  report_unit(report_number(row, "macs_no_matmul"), cell[4]);
  if (!isfinite(ms)) strcpy(cell[5], "-");
  else if (isfinite(low) && isfinite(high))
    snprintf(cell[5], 40, "%.2f (%.2f-%.2f)", ms, low, high);
  else snprintf(cell[5], 40, "%.2f", ms);
  if (which == REPORT_DENSE) strcpy(cell[6], "1");
  else if (speed == -2) strcpy(cell[6], "-");
  else if (speed == 0) strcpy(cell[6], "inside the noise");
  else snprintf(cell[6], 40, "%.2f (%.2f-%.2f)", ratio[0], ratio[1], ratio[2]);
}

/* A cell on the page: plus-minus and the dash of a range get their proper signs. */
static void report_cell_html(report_page *page, const char *text) {
  for (; *text; text++) {
    if (text[0] == '+' && text[1] == '-') {
      report_raw(page, "<i>&plusmn;");
      report_escape(page, text + 2);
      report_raw(page, "</i>");
      return;
    }
    if (*text == '(') report_raw(page, "<i>(");
    else if (*text == ')') report_raw(page, ")</i>");
    else if (*text == '-' && text[1] >= '0') report_raw(page, "&ndash;");
    else report_put(page, "%c", *text);
  }
}

/* The table in plain text, at most 100 columns wide: what a run prints at its end. */
static void report_print(const report_run *run, FILE *out) {
  static const int width[REPORT_COLUMNS] = {-10, 15, 12, 10, 14, 22, 17};
  char cell[REPORT_COLUMNS][40];
  int which, c;
  for (c = 0; c < REPORT_COLUMNS; c++) fprintf(out, "%*s", width[c], report_heading[c]);
  fprintf(out, "\n");
  for (which = 0; which < REPORT_ROWS; which++) {
    if (!run->row[which]) continue;
    report_cells(run, which, cell);
    for (c = 0; c < REPORT_COLUMNS; c++) fprintf(out, "%*s", width[c], cell[c]);
    fprintf(out, "\n");
  }
}

/* -------------------------------------------------------------------------------------------------
 * Drawing: an SVG panel, axes, marks
 * ---------------------------------------------------------------------------------------------- */

/* Values lo..hi lie at the places from..to. */
typedef struct report_axis {
  double lo, hi, from, to;
  int log;
} report_axis;

static report_axis report_make_axis(double lo, double hi, double from, double to, int log_scale) {
  report_axis axis;
  axis.lo = lo;
  axis.hi = hi > lo ? hi : log_scale ? 10 * lo : lo + 1;
  axis.from = from;
  axis.to = to;
  axis.log = log_scale;
  return axis;
}

static double report_at(const report_axis *a, double v) {
  double part = a->log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
  return a->from + part * (a->to - a->from);
}

/* Round places for ticks: decades on a log axis, else steps of 1, 2 or 5. At most 12. */
static int report_ticks(const report_axis *a, double tick[12]) {
  double step, v, slack = 1e-9 * (a->hi - a->lo);
  int count = 0;
  if (a->log) {
    for (v = pow(10, ceil(log10(a->lo) - 1e-9)); v <= a->hi * (1 + 1e-9) && count < 12; v *= 10)
      tick[count++] = v;
    return count;
  }
  step = pow(10, floor(log10((a->hi - a->lo) / 4)));
  while ((a->hi - a->lo) / step > 6.5) step *= (a->hi - a->lo) / step > 14 ? 5 : 2;
  for (v = ceil(a->lo / step - 1e-9) * step; v <= a->hi + slack && count < 12; v += step)
    tick[count++] = fabs(v) < step / 1e6 ? 0 : v;
  return count;
}

static void report_tick_text(report_page *page, const report_axis *a, double v) {
  if (a->log) {
    report_put(page, "10<tspan dy=\"-4\" font-size=\"8\">%s%.0f</tspan></text>",
               v < 0.99 ? "&minus;" : "", fabs(log10(v)));
  } else report_put(page, "%s%g</text>", v < 0 ? "&minus;" : "", fabs(v));
}

/* Grid lines and numbers of the horizontal axis, whose name stands below at the right end. */
static void report_axis_x(report_page *page, const report_axis *a, double top, double bottom,
                          const char *name) {
  double tick[12];
  int i, count = report_ticks(a, tick);
  for (i = 0; i < count; i++) {
    double x = report_at(a, tick[i]);
    report_put(page, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", x, top, bottom);
    report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">", x, bottom + 14);
    report_tick_text(page, a, tick[i]);
  }
  report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">%s</text>", a->to > a->from ? a->to
                 : a->from, bottom + 29, name);
}

/* The vertical axis; its name stands above, where it is read first. */
static void report_axis_y(report_page *page, const report_axis *a, double left, double right,
                          const char *name) {
  double tick[12];
  int i, count = report_ticks(a, tick);
  for (i = 0; i < count; i++) {
    double y = report_at(a, tick[i]);
    report_put(page, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", left, y, right);
    report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">", left - 6, y + 4);
    report_tick_text(page, a, tick[i]);
  }
  report_put(page, "<text x=\"0\" y=\"%.1f\">%s</text>", (a->to < a->from ? a->to : a->from) - 10,
             name);
}

/* Layer numbers along the bottom, thinned when there are many. */
static void report_axis_layers(report_page *page, const report_axis *a, int depth, double y) {
  int l, every = depth > 32 ? 8 : depth > 16 ? 4 : 1;
  for (l = 0; l < depth; l += every)
    report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%d</text>", report_at(a, l), y, l);
  report_put(page, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">layer</text>", a->to, y + 15);
}

static void report_svg(report_page *page, int height, const char *title) {
  report_put(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", REPORT_W, height,
             title);
  report_put(page, "<text class=\"h\" x=\"0\" y=\"13\">%s</text>\n", title);
}

/* A mark with the sentence that a pointer resting on it shows. `how` names classes: a or g or k for
 * the colour, "dot" solid for measured, "ring" hollow for published. */
static void report_mark(report_page *page, const char *how, char colour, double x, double y,
                        double r, const char *format, ...) REPORT_PRINTF(7, 8);
static void report_mark(report_page *page, const char *how, char colour, double x, double y,
                        double r, const char *format, ...) {
  char text[200];
  va_list list;
  if (!isfinite(x) || !isfinite(y)) return;
  va_start(list, format);
  (void)vsnprintf(text, sizeof text, format, list);
  va_end(list);
  report_put(page, "<circle class=\"%s %c\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>", how,
             colour, x, y, r);
  report_escape(page, text);
  report_raw(page, "</title></circle>\n");
}

static void report_segment(report_page *page, const char *how, char colour, double x1, double y1,
                           double x2, double y2) {
  if (!isfinite(x1) || !isfinite(y1) || !isfinite(x2) || !isfinite(y2)) return;
  report_put(page, "<path class=\"%s %c\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", how, colour, x1, y1, x2,
             y2);
}

/* A line through points; a gap where a value is missing. */
static void report_polyline(report_page *page, const char *how, char colour, const report_axis *ax,
                            const report_axis *ay, const double *x, const double *y, int count) {
  int i, pen = 0;
  report_put(page, "<path class=\"%s %c\" d=\"", how, colour);
  for (i = 0; i < count; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i]) || (ay->log && y[i] <= 0)) {
      pen = 0;
      continue;
    }
    report_put(page, "%c%.1f %.1f", pen++ ? 'L' : 'M', report_at(ax, x[i]), report_at(ay, y[i]));
  }
  report_raw(page, "\"/>\n");
}

/* The key above a figure: letters choose the entries, in the order given. */
static void report_key(report_page *page, const char *entries) {
  report_raw(page, "<div class=\"key\">");
  for (; *entries; entries++) {
    const char *text = *entries == 'a' ? "attention" : *entries == 'g' ? "activation"
                     : *entries == 'p' ? "hollow or faint: published" : "both";
    if (*entries == 'p')
      report_raw(page, "<span><svg class=\"dotkey\" viewBox=\"0 0 12 12\"><circle class=\"ring q\" "
                       "cx=\"6\" cy=\"6\" r=\"4\"/></svg>");
    else
      report_put(page, "<span><svg class=\"dotkey\" viewBox=\"0 0 12 12\"><circle class=\"dot %c\" "
                       "cx=\"6\" cy=\"6\" r=\"5\"/></svg>", *entries);
    report_put(page, "%s</span>", text);
  }
  report_raw(page, "</div>\n");
}

/* "an attention layer", "2 attention layers" ...: the one place that knows about plurals. */
static const char *report_s(int count) { return count == 1 ? "" : "s"; }

/* -------------------------------------------------------------------------------------------------
 * Section: the result
 * ---------------------------------------------------------------------------------------------- */

/* One measured quantity of the four networks with its spread: accuracy, or milliseconds. */
static void report_result_panel(report_page *page, const report_run *run, int time) {
  double value[REPORT_ROWS], low[REPORT_ROWS], high[REPORT_ROWS], most = 0;
  int k, end, y = 40;
  report_axis x;
  for (k = 0; k < REPORT_ROWS; k++) {
    const report_line *row = run->row[k];
    double wide = report_interval(row);
    value[k] = report_number(row, time ? "ms" : "accuracy");
    low[k] = time ? report_number(row, "ms_low") : value[k] - wide;
    high[k] = time ? report_number(row, "ms_high") : value[k] + wide;
    if (value[k] > most) most = value[k];
    if (high[k] > most) most = high[k];
  }
  report_svg(page, 186, time ? "Milliseconds per batch" : "Accuracy on the test part");
  x = report_make_axis(0, time ? most * 1.05 : 100, 70, 322, 0);
  report_axis_x(page, &x, 26, 146, time ? "ms, with the measured spread"
                                        : "%, with the 95 % sampling interval");
  for (k = 0; k < REPORT_ROWS; k++, y += 30) {
    if (!isfinite(value[k])) continue;
    report_put(page, "<text class=\"s\" x=\"0\" y=\"%d\">%s</text>", y + 4, report_row_name[k]);
    report_segment(page, "stem", 'k', report_at(&x, 0), y, report_at(&x, value[k]), y);
    report_segment(page, "bar", 'k', report_at(&x, low[k]), y, report_at(&x, high[k]), y);
    for (end = 0; end < 2; end++) {
      double at = report_at(&x, end ? high[k] : low[k]);
      report_segment(page, "bar", 'k', at, y - 6, at, y + 6);
    }
    report_put(page, "<text class=\"s e\" x=\"%d\" y=\"%d\">%.2f</text>\n", REPORT_W, y + 4,
               value[k]);
  }
  report_raw(page, "</svg>\n");
}

static void report_result_table(report_page *page, const report_run *run) {
  char cell[REPORT_COLUMNS][40];
  int which, c;
  report_raw(page, "<div class=\"wide\"><table><thead><tr>");
  for (c = 0; c < REPORT_COLUMNS; c++)
    report_put(page, "<th scope=\"col\">%s</th>", c == 4 ? "MACs without QK<sup>T</sup>, AV"
                                                         : report_heading[c]);
  report_raw(page, "</tr></thead><tbody>\n");
  for (which = 0; which < REPORT_ROWS; which++) {
    if (!run->row[which]) continue;
    report_cells(run, which, cell);
    for (c = 0; c < REPORT_COLUMNS; c++) {
      report_raw(page, c == 0 ? "<tr><th scope=\"row\">" : "<td>");
      report_cell_html(page, cell[c]);
      report_raw(page, c == 0 ? "</th>" : "</td>");
    }
    report_raw(page, "</tr>\n");
  }
  report_raw(page, "</tbody></table></div>\n");
}

/* What speed may be said of a row, in one sentence. */
static void report_say_speed(report_page *page, const report_run *run, int which) {
  double ratio[3];
  int speed = report_speed(run, which, ratio);
  const char *name = report_row_name[which];
  if (speed == -2)
    report_put(page, "The times of the dense and the %s network cannot be compared. ", name);
  else if (speed == 0)
    report_put(page, "The spreads of the dense and the %s network's times overlap: the difference "
                     "is inside the noise, and no speed-up is claimed. ", name);
  else if (speed > 0)
    report_put(page, "The %s network takes %.1f&nbsp;%% less time than the dense one: %.2f times "
                     "as "
                     "fast "
                     "(%.2f to %.2f, from the two spreads). ",
               name, 100 - 100 / ratio[0], ratio[0], ratio[1], ratio[2]);
  else
    report_put(page, "The %s network is slower than the dense one, %.2f times its time. ", name,
               1 / ratio[0]);
}

/* Accuracy lost and won back, in one or two sentences. */
static void report_say_accuracy(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE], *pruned = run->row[REPORT_PRUNED];
  const report_line *after = run->row[REPORT_RECOVERED];
  int told, again, total;
  double lost, back, left;
  if (!dense || !pruned) return;
  lost = report_lost(dense, pruned, &told);
  if (!isfinite(lost)) return;
  if (!told) {
    report_put(page, "Removing the layers moved the accuracy by %.2f points, which so few test "
                     "images cannot tell from nothing. ", -lost);
    return;
  }
  report_put(page, lost > 0 ? "Removing the layers cost %.1f points at once"
                            : "Removing the layers raised the accuracy by %.1f points", fabs(lost));
  if (lost <= 0 || !isfinite(report_number(after, "accuracy"))) {
    report_raw(page, ". ");
    return;
  }
  back = -report_lost(pruned, after, &again);
  left = report_lost(dense, after, &total);
  if (!again) report_raw(page, "; fine-tuning won nothing back that could be told from noise. ");
  else if (back < 0) report_put(page, "; fine-tuning lost %.1f points more. ", -back);
  else {
    report_put(page, "; fine-tuning won %.1f of them back (%.0f&nbsp;%%). ", back,
               100 * back / lost);
    if (!total)
      report_raw(page, "What remains lies within the sampling error of the test part. ");
    else
      report_put(page, "In the end the network is %.1f points %s the dense one. ", fabs(left),
                 left > 0 ? "below" : "above");
  }
}

static void report_result(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE];
  const char *certificate = report_text(report_next(run, NULL, "certificate"), "text");
  double batch = report_number(dense, "batch"), images = report_number(dense, "images");
  report_result_table(page, run);
  report_raw(page, "<div class=\"panels\">");
  report_result_panel(page, run, 0);
  report_result_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">");
  report_say_accuracy(page, run);
  report_say_speed(page, run, REPORT_FUSED);
  report_raw(page, "The paper reports 1.58 times for DeiT-B with 5 + 5 layers removed and 1.39 "
                   "times "
                   "for DeiT-S, on a GPU. ");
  if (isfinite(images))
    report_put(page, "Accuracy was measured on %.0f images that chose nothing. ", images);
  if (isfinite(batch)) report_put(page, "A batch is %.0f images. ", batch);
  if (certificate[0]) {
    report_raw(page, "Certificate of the fusion: <q>");
    report_escape(page, certificate);
    report_raw(page, "</q>. ");
  }
}

/* -------------------------------------------------------------------------------------------------
 * Section: the network
 * ---------------------------------------------------------------------------------------------- */

/* Every block is a column: attention above, the MLP below, heights in proportion to their
 * multiply-accumulates per token. What was removed leaves a dashed outline; a fused MLP is one thin
 * d x d map in the outline of the pair that it replaces. */
static void report_network_panel(report_page *page, const report_run *run, int pruned) {
  double tokens = report_number(run->setup, "tokens"), width = report_number(run->setup, "width");
  double hidden = report_number(run->setup, "mlp"), ratio = hidden / width, wide, attention, unit;
  int l, top = 30, mlp;
  if (!(ratio > 0)) ratio = 4;
  attention = isfinite(tokens / width) ? 4 + 2 * tokens / width : 5;
  unit = 150 / (attention + 2 * ratio);
  wide = (REPORT_W - 74.0) / run->depth;
  mlp = top + (int)(unit * attention) + 16;
  report_svg(page, 236, pruned ? "After removal and fusion" : "Dense");
  report_put(page, "<text x=\"0\" y=\"%.0f\">attention</text><text x=\"0\" y=\"%.0f\">linear</text>"
                   "<text x=\"0\" y=\"%.0f\">GELU</text><text x=\"0\" y=\"%.0f\">linear</text>",
             top + unit * attention / 2 + 4, mlp + unit * ratio / 2, mlp + unit * ratio + 4,
             mlp + unit * ratio * 1.5 + 8);
  for (l = 0; l < run->depth; l++) {
    double x = 68 + l * wide, w = wide * 0.74, tall = unit * ratio;
    const char *how = pruned && run->order[0][l] ? "gone" : "box";
    report_put(page, "<rect class=\"%s a\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>",
               how, x, top, w, unit * attention);
    if (pruned && run->order[1][l]) {
      report_put(page, "<rect class=\"gone g\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>"
                       "<rect class=\"box n\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"%.1f\"/>",
                 x, mlp, w, 2 * tall + 6, x, mlp + tall + 3 - unit / 2, w, unit);
    } else {
      report_put(page, "<rect class=\"box n\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>"
                       "<rect class=\"box g\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"4\"/>"
                       "<rect class=\"box n\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"%.1f\"/>",
                 x, mlp, w, tall, x, mlp + tall + 1, w, x, mlp + tall + 6, w, tall);
    }
    if (run->depth <= 16 || l % 4 == 0)
      report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", x + w / 2,
                 mlp + 2 * tall + 24, l);
  }
  report_put(page, "<text x=\"0\" y=\"%.1f\">block</text></svg>\n", mlp + 2 * unit * ratio + 24);
}

/* The layers of one type that went, in the order of their numbers: "3, 7". */
static void report_say_layers(report_page *page, const report_run *run, int type) {
  int l, said = 0;
  for (l = 0; l < run->depth; l++)
    if (run->order[type][l]) report_put(page, "%s%d", said++ ? ", " : " ", l);
  if (!said) report_raw(page, " none");
}

static void report_network(report_page *page, const report_run *run) {
  int l, both = 0;
  double dense = report_number(run->row[REPORT_DENSE], "macs");
  double fused = report_number(run->row[REPORT_FUSED], "macs");
  for (l = 0; l < run->depth; l++) both += run->order[0][l] && run->order[1][l];
  report_key(page, "ag");
  report_raw(page, "<div class=\"panels\">");
  report_network_panel(page, run, 0);
  report_network_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">Attention layers removed:");
  report_say_layers(page, run, 0);
  report_raw(page, "; activations removed:");
  report_say_layers(page, run, 1);
  if (both) report_put(page, "; %d block%s lost both. ", both, report_s(both));
  else report_raw(page, "; no block lost both. ");
  if (run->removed[1])
    report_raw(page, "Where the GELU is gone nothing stands between the two linears, so they "
                     "become "
                     "one small map; removing a linear alone would not fit its neighbours. ");
  report_raw(page, "Heights are multiply-accumulates per token. ");
  if (isfinite(dense / fused))
    report_put(page, "Together that is %.1f&nbsp;%% %s of them for the whole network. ",
               fabs(100 - 100 * fused / dense), fused < dense ? "fewer" : "more");
  report_raw(page, "The paper's released DeiT-B removes attention 0, 3, 7, 8, 11 and activation "
                   "2, 7, "
                   "8, 10, 11. ");
}

/* -------------------------------------------------------------------------------------------------
 * Section: gradient disparity
 * ---------------------------------------------------------------------------------------------- */

/* Magnitudes read from the paper's figure, DeiT, layer 0 to 11. */
static const double report_paper_gradient[2][12] = {
    {.00582, .00798, .00158, .00068, .00186, .00241, .00410, .00093, .00314, .01054, .01112,
     .00676},
    {.88, .75, .83, 1.00, 1.01, 1.05, 1.48, 2.94, 3.61, 2.40, 1.98, 1.08}};

/* The mean over all windows, by layer. */
static void report_gradient(const report_run *run, int type, double mean[BDPT_MAX_DEPTH]) {
  const report_line *line = NULL;
  int l, count = 0;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) mean[l] = 0;
  while ((line = report_next(run, line, "disparity")) != NULL) {
    const report_field *list = report_get(line, report_type_name[type]);
    for (l = 0; l < run->depth; l++) mean[l] += list && l < list->count ? list->number[l]
                                                                        : (double)NAN;
    count++;
  }
  for (l = 0; l < run->depth; l++) mean[l] /= count;
}

static void report_widen(double value, double *lo, double *hi) {
  if (!isfinite(value)) return;
  if (!(value >= *lo)) *lo = value;
  if (!(value <= *hi)) *hi = value;
}

static double report_floor10(double v) { return pow(10, floor(log10(v))); }

static void report_gradient_layers(report_page *page, const report_run *run) {
  double mean[2][BDPT_MAX_DEPTH], layer[BDPT_MAX_DEPTH], lo = (double)NAN, hi = (double)NAN;
  int type, l, paper = run->depth == 12;
  report_axis x = report_make_axis(-0.5, run->depth - 0.5, 40, REPORT_W - 4, 0), y;
  for (type = 0; type < 2; type++) {
    report_gradient(run, type, mean[type]);
    for (l = 0; l < run->depth; l++) {
      layer[l] = l;
      if (mean[type][l] > 0) report_widen(mean[type][l], &lo, &hi);
      if (paper) report_widen(report_paper_gradient[type][l], &lo, &hi);
    }
  }
  if (!(lo > 0)) lo = hi = 1;
  y = report_make_axis(report_floor10(lo), 10 * report_floor10(hi), 250, 46, 1);
  report_svg(page, 288, "By layer");
  report_axis_y(page, &y, 40, REPORT_W - 4, "mean |dL/dm|");
  report_axis_layers(page, &x, run->depth, 266);
  for (type = 0; type < 2; type++) {
    char colour = report_type_class[type];
    report_polyline(page, "thin", colour, &x, &y, layer, mean[type], run->depth);
    for (l = 0; l < run->depth; l++) {
      if (paper)
        report_mark(page, "ring", colour, report_at(&x, l), report_at(&y,
                    report_paper_gradient[type][l]), 3.5, "paper, DeiT, %s %d: %g",
                    report_type_name[type], l, report_paper_gradient[type][l]);
      if (mean[type][l] > 0)
        report_mark(page, "dot", colour, report_at(&x, l), report_at(&y, mean[type][l]), 4.5,
                    "%s %d: %.3g", report_type_name[type], l, mean[type][l]);
    }
  }
  report_raw(page, "</svg>\n");
}

enum { REPORT_WINDOWS = 400 };

/* The median over the layers, window by window, within the range of the layers. */
static void report_gradient_steps(report_page *page, const report_run *run) {
  const report_line *line;
  double step[REPORT_WINDOWS], mid[2][REPORT_WINDOWS], low[2][REPORT_WINDOWS];
  double high[2][REPORT_WINDOWS], lo = (double)NAN, hi = (double)NAN;
  int type, i, l, count = 0;
  report_axis x, y;
  for (line = report_next(run, NULL, "disparity"); line && count < REPORT_WINDOWS;
       line = report_next(run, line, "disparity"), count++) {
    step[count] = report_number(line, "step");
    for (type = 0; type < 2; type++) {
      const report_field *list = report_get(line, report_type_name[type]);
      double *a = &low[type][count], *b = &high[type][count];
      *a = *b = (double)NAN;
      for (l = 0; list && l < list->count; l++)
        if (list->number[l] > 0) report_widen(list->number[l], a, b);
      mid[type][count] = list ? report_median(list->number, list->count) : (double)NAN;
      report_widen(*a, &lo, &hi);
      report_widen(*b, &lo, &hi);
    }
  }
  if (!(lo > 0)) lo = hi = 1;
  x = report_make_axis(0, step[count - 1] > 0 ? step[count - 1] : 1, 40, REPORT_W - 66, 0);
  y = report_make_axis(report_floor10(lo), 10 * report_floor10(hi), 250, 46, 1);
  report_svg(page, 288, "Over training: median, and range of the layers");
  report_axis_y(page, &y, 40, REPORT_W - 66, "mean |dL/dm|");
  report_axis_x(page, &x, 46, 250, "step");
  for (type = 0; type < 2; type++) {
    report_put(page, "<path class=\"band %c\" d=\"", report_type_class[type]);
    for (i = 0; i < 2 * count; i++) {
      int k = i < count ? i : 2 * count - 1 - i;
      double v = i < count ? low[type][k] : high[type][k];
      if (!isfinite(v) || !isfinite(step[k])) continue;
      report_put(page, "%c%.1f %.1f", i ? 'L' : 'M', report_at(&x, step[k]), report_at(&y, v));
    }
    report_raw(page, "\"/>");
    report_polyline(page, "line", report_type_class[type], &x, &y, step, mid[type], count);
    if (mid[type][count - 1] > 0)
      report_put(page, "<text class=\"s\" x=\"%d\" y=\"%.1f\">%s</text>", REPORT_W - 60,
                 report_at(&y, mid[type][count - 1]) + 4, report_type_name[type]);
  }
  report_raw(page, "</svg>\n");
}

static void report_disparity(report_page *page, const report_run *run) {
  double mean[2][BDPT_MAX_DEPTH], ratio[BDPT_MAX_DEPTH], inverse[BDPT_MAX_DEPTH], paper[12], ours;
  int l, larger = 0;
  report_gradient(run, 0, mean[0]);
  report_gradient(run, 1, mean[1]);
  for (l = 0; l < run->depth; l++) {
    ratio[l] = mean[1][l] / mean[0][l];
    inverse[l] = mean[0][l] / mean[1][l];
    larger += ratio[l] > 1;
  }
  for (l = 0; l < 12; l++) paper[l] = report_paper_gradient[1][l] / report_paper_gradient[0][l];
  ours = report_median(ratio, run->depth);
  report_key(page, "agp");
  report_raw(page, "<div class=\"panels\">");
  report_gradient_layers(page, run);
  report_gradient_steps(page, run);
  report_raw(page, "</div><p class=\"cap\">");
  if (!isfinite(ours)) report_raw(page, "The run gives no ratio between the two types. ");
  else if (ours >= 1)
    report_put(page, "The activation gradients are %.3g times the attention gradients (median over "
                     "the layers), larger in %d of %d layers; the paper's figure shows %.0f times, "
                     "larger in all 12. ", ours, larger, run->depth, report_median(paper, 12));
  else
    report_put(page, "The order is reversed here: the attention gradients are %.3g times the "
                     "activation gradients (median over the layers), where the paper's figure "
                     "shows "
                     "activation ahead by %.0f times. ", report_median(inverse, run->depth),
               report_median(paper, 12));
  if (isfinite(ours) && ours >= 1)
    report_put(page, "%s ", ours >= report_median(paper, 12) / 2 ? "The gap has the size published."
               : ours >= 10 ? "The gap is there, and smaller than the one published."
                            : "That is far from the gap published.");
  report_raw(page, "Absolute heights depend on the loss scale and the size of the network; only "
                   "the "
                   "gap between the types compares. ");
}

/* -------------------------------------------------------------------------------------------------
 * Section: recovery asymmetry
 * ---------------------------------------------------------------------------------------------- */

/* The authors' CIFAR-100 study (seed 42, 10 epochs, full model 86.80), layer 0 to 11. The published
 * 0.00 of activation 8 looks like a missing value and is left out. */
static const double report_paper_full = 86.80;
static const double report_paper_at_once[2][12] = {
    {85.29, 85.23, 85.71, 85.21, 85.31, 85.64, 85.95, 85.82, 85.68, 85.55, 86.10, 86.33},
    {1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.31, 1.03, -1, 1.00, 1.93, 4.51}};
static const double report_paper_after[2][12] = {
    {86.40, 86.20, 86.10, 86.10, 85.80, 86.10, 86.20, 86.47, 85.90, 86.03, 86.37, 86.35},
    {83.97, 84.82, 84.87, 83.69, 84.18, 84.99, 85.00, 85.67, 85.11, 86.17, 86.73, 86.85}};

/* Accuracy as a share of the dense network's, in per cent; NaN where nothing was measured. */
typedef struct report_shares {
  double dense, at_once[BDPT_MAX_DEPTH], after[BDPT_MAX_DEPTH];
  double lost_at_once, lost_after; /* medians over the layers, in points of accuracy */
  int layers;
} report_shares;

static void report_recovered(const report_run *run, int type, report_shares *out) {
  const report_line *line = NULL;
  double now[BDPT_MAX_DEPTH], then[BDPT_MAX_DEPTH];
  int l;
  memset(out, 0, sizeof *out);
  out->dense = (double)NAN;
  for (l = 0; l < BDPT_MAX_DEPTH; l++)
    out->at_once[l] = out->after[l] = now[l] = then[l] = (double)NAN;
  while ((line = report_next(run, line, "recovery")) != NULL) {
    const report_field *after = report_get(line, "after");
    double before = report_number(line, "before"), at_once = report_number(line, "at_once");
    double last = after && after->count > 0 ? after->number[after->count - 1] : (double)NAN;
    l = report_int(line, "layer", 0, run->depth - 1, -1);
    if (report_type(line) != type || l < 0 || !(before > 0)) continue;
    out->dense = before;
    out->at_once[l] = 100 * at_once / before;
    out->after[l] = 100 * last / before;
    now[l] = before - at_once;
    then[l] = before - last;
    out->layers++;
  }
  out->lost_at_once = report_median(now, run->depth);
  out->lost_after = report_median(then, run->depth);
}

/* One row per layer: hollow at once, solid after recovery; the paper's pair below it, grey. */
static void report_recovery_panel(report_page *page, const report_run *run, int type) {
  report_shares own;
  int l, pitch = run->depth > 24 ? 10 : 19, bottom = 42 + run->depth * pitch;
  char colour = report_type_class[type], title[80];
  report_axis x = report_make_axis(0, 102, 24, 318, 0);
  report_recovered(run, type, &own);
  snprintf(title, sizeof title, "One %s layer removed", report_type_name[type]);
  report_svg(page, bottom + 34, title);
  report_axis_x(page, &x, 34, bottom, "% of the dense accuracy");
  report_put(page, "<text class=\"e\" x=\"%d\" y=\"30\">after, points</text>", REPORT_W);
  for (l = 0; l < run->depth; l++) {
    double y = 45 + l * pitch, a = report_at(&x, own.at_once[l]), b = report_at(&x, own.after[l]);
    if (pitch > 10 || l % 4 == 0)
      report_put(page, "<text class=\"e\" x=\"16\" y=\"%.1f\">%d</text>\n", y + 5, l);
    if (run->depth == 12) {
      double share = 100 / report_paper_full, p = report_paper_at_once[type][l] * share;
      double q = report_paper_after[type][l] * share;
      if (p >= 0) {
        report_segment(page, "thin", 'q', report_at(&x, p), y + 6, report_at(&x, q), y + 6);
        report_mark(page, "ring", 'q', report_at(&x, p), y + 6, 2.5,
                    "paper, %s %d at once: %.2f %%", report_type_name[type], l,
                    report_paper_at_once[type][l]);
      }
      report_mark(page, "ring", 'q', report_at(&x, q), y + 6, 2.5,
                  "paper, %s %d after 10 epochs: %.2f %%", report_type_name[type], l,
                  report_paper_after[type][l]);
    }
    report_segment(page, "line", colour, a, y, b, y);
    report_mark(page, "ring", colour, a, y, 3.5, "layer %d at once: %.1f %% of dense", l,
                own.at_once[l]);
    report_mark(page, "dot", colour, b, y, 4.5, "layer %d after recovery: %.1f %% of dense", l,
                own.after[l]);
    if (isfinite(own.after[l])) {
      double points = (own.after[l] - 100) * own.dense / 100;
      report_put(page, "<text class=\"s e\" x=\"%d\" y=\"%.1f\">%s%.1f</text>\n", REPORT_W, y + 5,
                 points > -0.05 ? "+" : "&minus;", fabs(points));
    }
  }
  report_raw(page, "</svg>\n");
}

static double report_paper_lost(const double *table) {
  double lost[12];
  int l;
  for (l = 0; l < 12; l++) lost[l] = table[l] < 0 ? (double)NAN : report_paper_full - table[l];
  return report_median(lost, 12);
}

static void report_recovery(report_page *page, const report_run *run) {
  const report_field *marks = report_get(report_next(run, NULL, "recovery"), "marks");
  double images = report_number(run->setup, "held_images");
  double share = report_number(report_next(run, NULL, "recovery"), "before") / 100;
  report_shares own[2];
  int type;
  for (type = 0; type < 2; type++) report_recovered(run, type, &own[type]);
  report_key(page, "agp");
  report_raw(page, "<div class=\"panels\">");
  report_recovery_panel(page, run, 0);
  report_recovery_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">From hollow (at once) to solid (after recovery); "
                   "numbers "
                   "at the right are what was still missing, in points. ");
  if (marks && marks->count > 0)
    report_put(page, "Recovery means %.0f epoch%s of the run's recipe. ",
               marks->number[marks->count - 1], report_s((int)marks->number[marks->count - 1]));
  for (type = 0; type < 2; type++)
    if (isfinite(own[type].lost_at_once) && isfinite(own[type].lost_after))
      report_put(page, "Removing one %s layer costs %.1f points at once and %.1f after recovery "
                       "(medians over %d layers; in the paper's CIFAR-100 study %.1f and %.1f "
                       "after "
                       "10 epochs). ",
                 report_type_name[type], own[type].lost_at_once, own[type].lost_after,
                 own[type].layers, report_paper_lost(report_paper_at_once[type]),
                 report_paper_lost(report_paper_after[type]));
  if (images >= 1 && share >= 0 && share <= 1)
    report_put(page, "One accuracy on the %.0f held-out images is known to about %.1f points. ",
               images, 196 * sqrt(share * (1 - share) / images));
  if (!isfinite(own[0].lost_after + own[1].lost_after)) return;
  if (!(own[1].lost_at_once > own[0].lost_at_once))
    report_raw(page, "The asymmetry of the paper does not show: activation removal does not do the "
                     "greater damage. ");
  else if (own[1].lost_at_once - own[1].lost_after > own[0].lost_at_once - own[0].lost_after)
    report_raw(page, "The asymmetry is there as published: activation removal does the greater "
                     "damage "
                     "at once, and most of what is won back is won back there. ");
  else
    report_raw(page, "Activation removal does the greater damage as published, but does not win "
                     "back "
                     "more of it. ");
}

/* -------------------------------------------------------------------------------------------------
 * Section: the model accuracy predictor
 * ---------------------------------------------------------------------------------------------- */

/* Value of the fitted polynomial at retained ratios; terms and theta come from the run file. */
static double report_predict(const report_line *map, double attention, double activation) {
  const report_field *term = report_get(map, "terms"), *theta = report_get(map, "theta");
  double sum = 0;
  int k;
  if (!term || !theta || theta->count < 1 || term->count < 2 * theta->count) return (double)NAN;
  for (k = 0; k < theta->count; k++)
    sum += theta->number[k] * pow(attention, term->number[2 * k]) *
           pow(activation, term->number[2 * k + 1]);
  return sum;
}

/* Dark blue to pale yellow: even in lightness, safe for every kind of colour vision. */
static void report_ramp(double t, char out[8]) {
  static const double stop[5][3] = {
      {20, 41, 78}, {54, 84, 124}, {110, 130, 138}, {184, 175, 125}, {250, 228, 110}};
  double at = 4 * (t >= 0 ? t > 1 ? 1 : t : 0), part; /* not a number: the lowest */
  int i = at >= 4 ? 3 : (int)at, c, rgb[3];
  part = at - i;
  for (c = 0; c < 3; c++)
    rgb[c] = (int)(stop[i][c] + part * (stop[i + 1][c] - stop[i][c]) + 0.5) & 255;
  snprintf(out, 8, "#%02x%02x%02x", (unsigned)rgb[0], (unsigned)rgb[1], (unsigned)rgb[2]);
}

/* Everything the map's panels share: the fit, the split, the range of ratios and of colours. A
 * study has several, each with a start and a seed; a run has one, whose start is NULL. */
typedef struct report_map {
  const report_line *fit;
  const char *start;
  double seed;
  int depth, budget, split[2], points, first; /* first: fewest retained layers shown */
  double error, lo, hi;                       /* cross-validated error of the chosen degree */
} report_map;

/* The next line of this kind that belongs to the map. */
static const report_line *report_map_next(const report_run *run, const report_map *m,
                                          const report_line *line, const char *kind) {
  while ((line = report_next(run, line, kind)) != NULL)
    if (!m->start || (strcmp(report_text(line, "start"), m->start) == 0 &&
                      report_number(line, "seed") == m->seed)) break;
  return line;
}

static const report_line *report_map_point(const report_run *run, const report_map *m,
                                           const report_line *line) {
  return report_map_next(run, m, line, m->start ? "collected" : "map_point");
}

/* 1 if something at least as far pruned in both types was measured: no extrapolation there. */
static int report_supported(const report_run *run, const report_map *m, double attention,
                            double activation) {
  const report_line *p = NULL;
  while ((p = report_map_point(run, m, p)) != NULL)
    if (report_number(p, "attention") < attention + 1e-6 &&
        report_number(p, "activation") < activation + 1e-6) return 1;
  return 0;
}

/* `split` has the budget and the choice. */
static void report_map_facts(const report_run *run, const report_line *split, report_map *m) {
  const report_line *p = NULL;
  const report_field *cv;
  double least = 1;
  int degree;
  m->depth = report_int(m->fit, "depth", 1, BDPT_MAX_DEPTH, run->depth);
  m->budget = report_int(split, "budget", 0, 2 * m->depth, 0);
  m->split[0] = report_int(split, "attention", 0, m->depth, -1);
  m->split[1] = report_int(split, "activation", 0, m->depth, -1);
  cv = report_get(m->fit, "cv_rmse");
  degree = report_int(m->fit, "degree", 1, 4, 0);
  m->error = cv && degree >= 1 && degree <= cv->count ? cv->number[degree - 1] : (double)NAN;
  m->lo = m->hi = (double)NAN;
  while ((p = report_map_point(run, m, p)) != NULL) {
    double a = report_number(p, "attention"), g = report_number(p, "activation");
    report_widen(report_number(p, "accuracy"), &m->lo, &m->hi);
    if (a < least) least = a;
    if (g < least) least = g;
    m->points++;
  }
  m->first = (int)floor(least * m->depth + 1e-6) - 1;
  if (m->first > m->depth - m->budget) m->first = m->depth - m->budget;
  if (m->first < 0) m->first = 0;
  if (!isfinite(m->lo)) m->lo = 0, m->hi = 100; /* nothing was measured */
}

static void report_map_colours(report_page *page, const report_map *m) {
  char colour[8];
  int i;
  for (i = 0; i < 40; i++) {
    report_ramp((i + 0.5) / 40, colour);
    report_put(page, "<rect x=\"340\" y=\"%d\" width=\"10\" height=\"5\" fill=\"%s\"/>",
               226 - 4 * i, colour);
  }
  report_put(page, "<text class=\"m\" x=\"346\" y=\"62\">%.0f %%</text><text class=\"m\" x=\"346\" "
                   "y=\"245\">&le;%.0f %%</text>\n", m->hi, m->lo);
}

/* Predicted accuracy by cell; the measured points carry their measured colour in the same scale,
 * so that a point which stands out from its cell is a point that the surface misses. */
static void report_map_heat(report_page *page, const report_run *run, const report_map *m,
                            const char *title) {
  double size = 286.0 / (m->depth - m->first + 1), d = m->depth, at[2];
  int a, g, every = m->depth - m->first > 16 ? 4 : 1;
  char colour[8];
  const report_line *p = NULL;
  report_axis x = report_make_axis(m->first - 0.5, d + 0.5, 40, 326, 0);
  report_axis y = report_make_axis(m->first - 0.5, d + 0.5, 336, 50, 0);
  report_svg(page, 372, title);
  report_put(page, "<text x=\"0\" y=\"38\">activations kept</text>");
  for (a = m->first; a <= m->depth; a++) {
    if ((m->depth - a) % every == 0)
      report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"350\">%d</text><text class=\"e\" x=\"34\" "
                       "y=\"%.1f\">%d</text>", report_at(&x, a), a, report_at(&y, a) + 4, a);
    for (g = m->first; g <= m->depth; g++) {
      double half = report_supported(run, m, a / d, g / d) ? 0.51 : 0.22;
      report_ramp((report_predict(m->fit, a / d, g / d) - m->lo) / (m->hi - m->lo), colour);
      report_put(page, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n",
                 report_at(&x, a - half), report_at(&y, g + half), 2 * half * size,
                 2 * half * size, colour);
    }
  }
  report_put(page, "<text class=\"e\" x=\"326\" y=\"365\">attention layers kept</text>");
  at[0] = d - m->budget > m->first - 0.5 ? d - m->budget : m->first - 0.5; /* the line's end */
  report_segment(page, "dash", 'k', report_at(&x, d), report_at(&y, d - m->budget),
                 report_at(&x, at[0]), report_at(&y, 2 * d - m->budget - at[0]));
  while ((p = report_map_point(run, m, p)) != NULL) {
    at[0] = report_at(&x, report_number(p, "attention") * d);
    at[1] = report_at(&y, report_number(p, "activation") * d);
    report_ramp((report_number(p, "accuracy") - m->lo) / (m->hi - m->lo), colour);
    if (isfinite(at[0]) && isfinite(at[1]) && isfinite(report_number(p, "accuracy")))
      report_put(page, "<circle class=\"pt\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" fill=\"%s\"><title>"
                       "measured %.2f</title></circle>\n", at[0], at[1], colour,
                 report_number(p, "accuracy"));
  }
  if (m->split[0] >= 0 && m->split[1] >= 0)
    report_put(page, "<circle class=\"pick\" cx=\"%.1f\" cy=\"%.1f\" r=\"10\"/><circle class=\""
                     "pick in\" cx=\"%.1f\" cy=\"%.1f\" r=\"10\"/>\n",
               report_at(&x, d - m->split[0]), report_at(&y, d - m->split[1]),
               report_at(&x, d - m->split[0]), report_at(&y, d - m->split[1]));
  report_map_colours(page, m);
  report_raw(page, "</svg>\n");
}

/* The predictions along the budget line, with the cross-validated error as a whisker. Returns how
 * far the chosen split lies above the best of the others; negative if another is better. */
static double report_map_line(report_page *page, const report_map *m) {
  double value[BDPT_MAX_DEPTH + 1], lo = (double)NAN, hi = (double)NAN, other, d = m->depth;
  int a, from = m->budget > m->depth ? m->budget - m->depth : 0;
  int to = m->budget < m->depth ? m->budget : m->depth, every = to - from > 12 ? 4 : 1;
  report_axis x = report_make_axis(from - 0.5, to + 0.5, 40, REPORT_W - 8, 0), y;
  other = -HUGE_VAL;
  for (a = from; a <= to; a++) {
    value[a] = report_predict(m->fit, (d - a) / d, (d - m->budget + a) / d);
    report_widen(value[a] - (isfinite(m->error) ? m->error : 0), &lo, &hi);
    report_widen(value[a] + (isfinite(m->error) ? m->error : 0), &lo, &hi);
    if (a != m->split[0] && value[a] > other) other = value[a];
  }
  report_svg(page, 372, "Along the budget line");
  if (isfinite(lo)) {
    y = report_make_axis(lo - 0.1 * (hi - lo) - 0.1, hi + 0.1 * (hi - lo) + 0.1, 336, 50, 0);
    report_axis_y(page, &y, 40, REPORT_W - 4, "predicted accuracy, %, with the error of "
                                              "prediction");
    for (a = from; a <= to; a++) {
      int chosen = a == m->split[0];
      double at = report_at(&x, a);
      report_segment(page, "bar", chosen ? 'k' : 'q', at, report_at(&y, value[a] - m->error), at,
                     report_at(&y, value[a] + m->error));
      report_mark(page, "dot", chosen ? 'k' : 'q', at, report_at(&y, value[a]), chosen ? 6 : 4.5,
                  "%d attention + %d activation: %.2f %%", a, m->budget - a, value[a]);
      if ((a - from) % every == 0)
        report_put(page, "<text class=\"m%s\" x=\"%.1f\" y=\"350\">%d + %d</text>\n",
                   chosen ? " s" : "", at, a, m->budget - a);
    }
    report_put(page, "<text class=\"e\" x=\"%d\" y=\"365\">attention + activation removed</text>",
               REPORT_W - 8);
  }
  report_raw(page, "</svg>\n");
  return m->split[0] >= from && m->split[0] <= to ? value[m->split[0]] - other : (double)NAN;
}

static void report_map_table(report_page *page, const report_map *m) {
  const report_field *cv = report_get(m->fit, "cv_rmse");
  int k, degree = report_int(m->fit, "degree", 0, 99, 0);
  if (!cv || cv->count < 1) return;
  report_raw(page, "<div class=\"wide\"><table class=\"small\"><tbody><tr><th "
                   "scope=\"row\">degree</th>");
  for (k = 0; k < cv->count && k < 8; k++)
    report_put(page, k + 1 == degree ? "<td><b>%d</b></td>" : "<td>%d</td>", k + 1);
  report_raw(page, "</tr><tr><th scope=\"row\">leave-two-out error, points</th>");
  for (k = 0; k < cv->count && k < 8; k++) {
    if (!isfinite(cv->number[k])) report_raw(page, "<td>&ndash;</td>");
    else report_put(page, k + 1 == degree ? "<td><b>%.2f</b></td>" : "<td>%.2f</td>",
                    cv->number[k]);
  }
  report_raw(page, "</tr></tbody></table></div>\n");
}

static void report_map_section(report_page *page, const report_run *run) {
  report_map m;
  double gap, d, predicted;
  memset(&m, 0, sizeof m);
  m.fit = report_next(run, NULL, "map");
  report_map_facts(run, m.fit, &m);
  d = m.depth;
  predicted = report_number(m.fit, "predicted");
  report_raw(page, "<div class=\"panels\">");
  report_map_heat(page, run, &m, "Predicted accuracy; measured points");
  gap = report_map_line(page, &m);
  report_raw(page, "</div>");
  report_map_table(page, &m);
  report_put(page, "<p class=\"cap\">A polynomial of degree %d through %d measured networks. A "
                   "ring is filled with its measured colour: one that stands out from its square "
                   "is "
                   "one that the surface misses. Small squares are extrapolation, where nothing "
                   "pruned as far was measured. ",
             report_int(m.fit, "degree", 0, 99, 0), m.points);
  if (m.split[0] >= 0 && m.split[1] >= 0 && isfinite(predicted)) {
    report_put(page, "For a budget of %d layers (dashed) it chooses %d attention and %d "
                     "activation, "
                     "predicted %.1f&nbsp;%%. ", m.budget, m.split[0], m.split[1], predicted);
    if (!report_supported(run, &m, (d - m.split[0]) / d, (d - m.split[1]) / d))
      report_raw(page, "That split lies outside what was measured. ");
    if (isfinite(gap) && gap < 0) {
      report_put(page, "The surface itself is highest elsewhere on the line, by %.2f points", -gap);
      if (report_int(m.fit, "least", 1, m.depth, 0))
        report_put(page, "; the run asks for at least %d of each type",
                   report_int(m.fit, "least", 1, m.depth, 0));
      report_raw(page, ". ");
    } else if (isfinite(gap) && isfinite(m.error))
      report_put(page, "The next best split is %.2f points lower, %s the cross-validated error of "
                       "%.2f: the choice is %s. ", gap, gap < m.error ? "less than" : "more than",
                 m.error, gap < m.error ? "inside the noise of the predictor" : "a clear one");
  }
  report_raw(page, "The paper's example has degree 2; least squares on its "
                   "22 published points picks 2 + 6 at budget 8, not the published 4 + 4. ");
}

/* -------------------------------------------------------------------------------------------------
 * Section: accuracy against speed-up
 * ---------------------------------------------------------------------------------------------- */

/* Published curves: speed-up, top-1; from 0 layers on, each to be
 * read against its own first point. */
typedef struct report_curve {
  const char *name;
  int type, count; /* type 2: joint */
  double at[7][2];
} report_curve;
static const report_curve report_published[2][3] = {
    {{"attention", 0, 6, {{1, 80.1}, {1.077, 80.1}, {1.172, 79.8}, {1.287, 76}, {1.423, 70.3},
                          {1.599, 54.27}, {0, 0}}},
     {"activation", 1, 7, {{1, 80.1}, {1.07, 80.1}, {1.157, 80.1}, {1.257, 78.9}, {1.378, 76.3},
                           {1.527, 72.75}, {1.617, 61.4}}},
     {"joint", 2, 6, {{1, 80.3}, {1.104, 80.3}, {1.208, 80.3}, {1.312, 80.3}, {1.465, 79.6},
                      {1.640, 76.8}, {0, 0}}}},
    {{"attention", 0, 6, {{1, 81.8}, {1.067, 81.8}, {1.151, 81.8}, {1.244, 81.5}, {1.365, 79.4},
                          {1.508, 72.8}, {0, 0}}},
     {"activation", 1, 6, {{1, 81.8}, {1.08, 81.8}, {1.174, 81.8}, {1.294, 81}, {1.445, 79.14},
                           {1.639, 77.9}, {0, 0}}},
     {"joint", 2, 6, {{1, 82.1}, {1.087, 82.1}, {1.174, 82.1}, {1.278, 82.1}, {1.411, 82.1},
                      {1.585, 81.8}, {0, 0}}}}};

static double report_curve_loss(const report_curve *c, int i) {
  return 100 * (1 - c->at[i][1] / c->at[0][1]);
}

/* The published loss at a speed-up, between two points; NaN beyond the curve. */
static double report_curve_at(const report_curve *c, double speed) {
  int i;
  for (i = 1; i < c->count; i++) {
    double part = (speed - c->at[i - 1][0]) / (c->at[i][0] - c->at[i - 1][0]);
    if (part >= 0 && part <= 1)
      return report_curve_loss(c, i - 1) * (1 - part) + report_curve_loss(c, i) * part;
  }
  return (double)NAN;
}

/* Our networks as speed-up (with its range) and relative loss of accuracy, per cent. The two of
 * stage 2 were measured on the test part. The others are by-products of the collection for the
 * predictor: short training, held-out images, so they are read against the dense network there. */
typedef struct report_spot {
  const char *name;
  char colour; /* a, g: one type only; k: both */
  int small;
  double speed[3], loss;
} report_spot;
enum { REPORT_SPOTS = 80 };

/* The dense network's accuracy on the held-out images. */
static double report_held_dense(const report_run *run) {
  const report_line *p = NULL;
  while ((p = report_next(run, p, "map_point")) != NULL)
    if (report_number(p, "attention") >= 1 && report_number(p, "activation") >= 1)
      return report_number(p, "accuracy");
  return report_number(report_next(run, NULL, "recovery"), "before");
}

static int report_spots(const report_run *run, report_spot *spot) {
  const report_line *line = NULL;
  double dense = report_number(run->row[REPORT_DENSE], "accuracy"), held = report_held_dense(run);
  int count = 0, k;
  for (k = REPORT_RECOVERED; k <= REPORT_FUSED; k++) {
    report_spot *s = &spot[count];
    if (report_speed(run, k, s->speed) == -2) continue;
    s->name = k == REPORT_FUSED ? "fused" : "not fused";
    s->colour = 'k';
    s->small = 0;
    s->loss = 100 * (1 - report_number(run->row[k], "accuracy") / dense);
    count += isfinite(s->loss);
  }
  while ((line = report_next(run, line, "pareto")) != NULL && count < REPORT_SPOTS) {
    report_spot *s = &spot[count];
    double low = report_number(line, "speedup_low"), high = report_number(line, "speedup_high");
    s->name = report_text(line, "name");
    s->colour = report_number(line, "activation") <= 0 ? 'a'
              : report_number(line, "attention") <= 0 ? 'g' : 'k';
    s->small = 1;
    s->speed[0] = report_number(line, "speedup");
    s->speed[1] = isfinite(low) ? low : s->speed[0];
    s->speed[2] = isfinite(high) ? high : s->speed[0];
    s->loss = 100 * (1 - report_number(line, "accuracy") / held);
    count += isfinite(s->loss) && isfinite(s->speed[0]) && strcmp(s->name, "dense") != 0;
  }
  return count;
}

/* A published curve, cut where it leaves the panel. */
static void report_faint_curve(report_page *page, const report_curve *c, const report_axis *x,
                               const report_axis *y) {
  char colour = c->type == 2 ? 'q' : report_type_class[c->type];
  double before = 0, px = 0, py = 0;
  int i;
  for (i = 0; i < c->count; i++) {
    double loss = report_curve_loss(c, i), speed = c->at[i][0], part = 1;
    if (i > 0 && loss > y->hi) part = (y->hi - before) / (loss - before);
    if (part < 1) {
      speed = c->at[i - 1][0] + part * (speed - c->at[i - 1][0]);
      loss = y->hi;
    }
    if (i > 0)
      report_segment(page, "line faint", colour, px, py, report_at(x, speed), report_at(y, loss));
    px = report_at(x, speed);
    py = report_at(y, loss);
    before = loss;
    if (part < 1) break;
    report_mark(page, "ring faint", colour, px, py, 2.5, "paper, %s: %.2f times, %.1f %%", c->name,
                speed, c->at[i][1]);
  }
  report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
             px < REPORT_W - 30 ? px : REPORT_W - 30.0, py > 250 ? 262.0 : py + 15, c->name);
}

static void report_speed_panel(report_page *page, const report_run *run, int base) {
  report_spot spot[REPORT_SPOTS];
  int i, k, count = report_spots(run, spot);
  double most = 1.7, least = 1, worst = 8;
  report_axis x, y;
  for (i = 0; i < count; i++) {
    if (spot[i].speed[2] > most) most = spot[i].speed[2] + 0.05;
    if (spot[i].speed[1] < least) least = spot[i].speed[1] - 0.05;
    if (spot[i].loss * 1.15 > worst) worst = spot[i].loss * 1.15;
  }
  x = report_make_axis(least, most, 40, REPORT_W - 8, 0);
  y = report_make_axis(-1, worst, 46, 266, 0); /* nothing lost is at the top */
  for (i = 0; i < count; i++)
    if (spot[i].loss < y.lo) y.lo = spot[i].loss * 1.15;
  report_svg(page, 302, base ? "Ours beside the paper's DeiT-B" : "Ours beside the paper's DeiT-S");
  report_axis_y(page, &y, 40, REPORT_W - 8, "accuracy lost, % of the dense network's");
  report_axis_x(page, &x, 46, 266, "times as fast as dense");
  for (k = 0; k < 3; k++) report_faint_curve(page, &report_published[base][k], &x, &y);
  report_mark(page, "dot", 'k', report_at(&x, 1), report_at(&y, 0), 5, "dense");
  for (k = 0; k < 2 * count; k++) { /* the small ones first: nothing may lie on a name */
    double at, right;
    i = k % count;
    if (spot[i].small != (k < count)) continue;
    at = report_at(&y, spot[i].loss);
    right = report_at(&x, spot[i].speed[0]);
    report_segment(page, "bar", spot[i].colour, report_at(&x, spot[i].speed[1]), at,
                   report_at(&x, spot[i].speed[2]), at);
    report_mark(page, "dot", spot[i].colour, right, at, spot[i].small ? 3.5 : 5,
                "%s: %.2f times, %.1f %% lost", spot[i].name, spot[i].speed[0], spot[i].loss);
    if (!spot[i].small) /* the fused network's name above, the other's below: they are neighbours */
      report_put(page, "<text class=\"s m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", right,
                 strcmp(spot[i].name, "fused") ? at + 17 : at - 9, spot[i].name);
  }
  report_raw(page, "</svg>\n");
}

static void report_pareto(report_page *page, const report_run *run) {
  report_spot spot[REPORT_SPOTS];
  int i, k, small = 0, count = report_spots(run, spot);
  double ratio[3], loss;
  for (i = 0; i < count; i++) small += spot[i].small;
  report_key(page, "agkp");
  report_raw(page, "<div class=\"panels\">");
  report_speed_panel(page, run, 0);
  report_speed_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">Solid: this run, measured times against measured "
                   "accuracy. Faint: the paper's curves for removing attention alone, activation "
                   "alone, and both (ImageNet, GPU), each against its own unpruned point. ");
  if (small)
    report_put(page, "The %d small dots are by-products of the predictor's collection: short "
                     "training, held-out images. ", small);
  report_say_speed(page, run, REPORT_FUSED);
  if (report_speed(run, REPORT_FUSED, ratio) != 1) return;
  for (i = 0; i < count; i++) {
    if (strcmp(spot[i].name, "fused") != 0) continue;
    report_put(page, "It gives up %.1f&nbsp;%% of the dense accuracy", spot[i].loss);
    for (k = 0; k < 2; k++) {
      loss = report_curve_at(&report_published[k][2], ratio[0]);
      if (isfinite(loss))
        report_put(page, "%s %.1f&nbsp;%% for DeiT-%c", k ? " and" : "; at that speed-up the "
                                                                     "paper's "
                                                                "joint "
                   "removal gives up", loss, k ? 'B' : 'S');
    }
    report_raw(page, ". ");
    break;
  }
}

/* -------------------------------------------------------------------------------------------------
 * Section: training and the order of removal
 * ---------------------------------------------------------------------------------------------- */

/* Accuracy epoch by epoch through the phases of the run, in the order of the file. */
static void report_epochs(report_page *page, const report_run *run) {
  const report_line *line;
  const char *phase = "";
  int count = report_count(run, "epoch"), i = 0;
  double lo = (double)NAN, hi = (double)NAN, px = 0, py = 0, v;
  report_axis x = report_make_axis(0.5, count + 0.5, 40, REPORT_W - 8, 0), y;
  for (line = report_next(run, NULL, "epoch"); line; line = report_next(run, line, "epoch"))
    report_widen(report_number(line, "accuracy"), &lo, &hi);
  report_svg(page, 318, "Accuracy by epoch, %");
  if (isfinite(lo)) {
    y = report_make_axis(floor(lo / 10) * 10, ceil((hi + 0.5) / 10) * 10, 276, 52, 0);
    report_axis_y(page, &y, 40, REPORT_W - 8, "");
    report_axis_x(page, &x, 276, 276, "epoch of the run");
    for (line = report_next(run, NULL, "epoch"); line; line = report_next(run, line, "epoch")) {
      double at = report_at(&x, ++i);
      v = report_number(line, "accuracy");
      if (strcmp(phase, report_text(line, "phase")) != 0) {
        phase = report_text(line, "phase");
        report_put(page, "<path class=\"dash q\" d=\"M%.1f 36V276\"/><text x=\"%.1f\" y=\"44\">",
                   report_at(&x, i - 0.5), report_at(&x, i - 0.5) + 4);
        report_escape(page, phase);
        report_raw(page, "</text>\n");
      } else report_segment(page, "line", 'k', px, py, at, report_at(&y, v));
      px = at;
      py = report_at(&y, v);
      report_mark(page, "dot", 'k', px, py, count > 60 ? 1.5 : 3, "epoch %d: %.1f %%", i, v);
    }
  }
  report_raw(page, "</svg>\n");
}

/* The learned scalars, one strip per type because they are never compared across types. A removed
 * layer is solid and carries the number of its turn. */
static void report_importance(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "importance");
  report_axis x = report_make_axis(-0.5, run->depth - 0.5, 52, REPORT_W - 4, 0), y;
  int type, l;
  report_svg(page, 318, "Importance, and the turn at which a layer went");
  for (type = 0; type < 2; type++) {
    const report_field *list = report_get(line, report_type_name[type]);
    double lo = 0, hi = 0, top = 44 + 128 * type;
    int count = list ? list->count < run->depth ? list->count : run->depth : 0;
    for (l = 0; l < count; l++) report_widen(list->number[l], &lo, &hi);
    y = report_make_axis(lo - 0.2 * (hi - lo), hi + 0.25 * (hi - lo), top + 98, top + 8, 0);
    report_axis_y(page, &y, 52, REPORT_W - 4, report_type_name[type]);
    for (l = 0; l < count; l++) {
      double at = report_at(&y, list->number[l]), mid = report_at(&x, l);
      int turn = run->order[type][l];
      report_segment(page, "thin", report_type_class[type], mid, report_at(&y, 0), mid, at);
      report_mark(page, turn ? "dot" : "ring", report_type_class[type], mid, at, turn ? 5 : 4,
                  "%s %d: %.3g", report_type_name[type], l, list->number[l]);
      if (turn)
        report_put(page, "<text class=\"s m\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", mid,
                   list->number[l] < 0 ? at + 17 : at - 9, turn);
    }
  }
  report_axis_layers(page, &x, run->depth, 290);
  report_raw(page, "</svg>\n");
}

/* First, last and best accuracy of a phase; returns its number of epochs. */
static int report_phase(const report_run *run, const char *phase, double out[3]) {
  const report_line *line = NULL;
  int count = 0;
  out[0] = out[1] = out[2] = (double)NAN;
  while ((line = report_next(run, line, "epoch")) != NULL) {
    double v = report_number(line, "accuracy");
    if (strcmp(report_text(line, "phase"), phase) != 0 || !isfinite(v)) continue;
    if (count++ == 0) out[0] = out[2] = v;
    out[1] = v;
    if (v > out[2]) out[2] = v;
  }
  return count;
}

static void report_training(report_page *page, const report_run *run) {
  const report_line *line = NULL;
  double v[3];
  int count, said = 0;
  if (report_next(run, NULL, "importance")) report_key(page, "ag");
  report_raw(page, "<div class=\"panels\">");
  report_epochs(page, run);
  if (report_next(run, NULL, "importance")) report_importance(page, run);
  report_raw(page, "</div><p class=\"cap\">");
  count = report_phase(run, "recover", v);
  if (count > 0)
    report_put(page, "Recovery went from %.1f&nbsp;%% after its first epoch to %.1f&nbsp;%% after "
                     "its last "
                     "(%d); %s. ", v[0], v[1], count, v[2] > v[1] + 0.05
                     ? "an earlier epoch was higher" : "no earlier epoch was higher");
  else report_raw(page, "The run wrote no epochs of recovery. ");
  while ((line = report_next(run, line, "search")) != NULL && report_type(line) >= 0) {
    report_put(page, "%s%s %d", said++ ? ", then " : "The choice was ",
               report_type_name[report_type(line)], report_int(line, "layer", 0, run->depth, 0));
  }
  if (said && report_next(run, NULL, "greedy"))
    report_raw(page, ". Each time every layer that was left was tried, of both types, with "
                     "what takes its place; the one without which the held-out loss was "
                     "smallest went. ");
  else if (said)
    report_raw(page, ". The rule takes the smallest scalar of the type whose turn it is, and never "
                     "weighs one type against the other. ");
}

/* -------------------------------------------------------------------------------------------------
 * The page
 * ---------------------------------------------------------------------------------------------- */

/* Attention is blue and activation orange: the two colours that every kind of colour vision tells
 * apart. Everything else is ink. */
static const char *const report_style[] = {
    ":root{--bg:#fdfcf9;--ink:#1d2126;--soft:#646a72;--rule:#dcd9d0;--grid:#e9e6de;--a:#0a6db0;"
    "--g:#c9570c;--n:#b9b8b2;color-scheme:light dark}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#15181c;--ink:#e4e3de;--soft:#979ca4;"
    "--rule:#343a41;--grid:#262b31;--a:#5cb0ea;--g:#f0944d;--n:#59606a}}\n"
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0 auto;max-width:812px;padding:48px 20px 64px;background:var(--bg);"
    "color:var(--ink);font:17px/1.55 Charter,'Bitstream Charter','Iowan Old Style',Georgia,"
    "'Liberation Serif',serif}\n"
    "h1{font-size:31px;line-height:1.15;font-weight:600;margin:0 0 14px;letter-spacing:-.01em}"
    "h2{font-size:21px;line-height:1.25;font-weight:600;margin:0 0 12px}"
    ".lead{font-size:19px;line-height:1.5;margin:0 0 18px}"
    "section{margin:52px 0 0;padding-top:20px;border-top:1px solid var(--rule)}\n"
    ".meta,.key,table,svg,.by,.flag{font-family:'Source Sans 3','Source Sans Pro','Segoe UI',"
    "'Helvetica Neue',Arial,'Liberation Sans',sans-serif;font-variant-numeric:tabular-nums}"
    ".meta{font-size:13.5px;line-height:1.5;color:var(--soft);margin:0}"
    ".flag{font-size:15px;border:2px solid var(--g);padding:9px 13px;margin:0 0 22px}\n",
    ".panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));"
    "gap:26px 28px;margin:4px 0 14px}svg{display:block;width:100%;height:auto;overflow:visible}"
    ".cap{margin:0;max-width:44em;font-size:16px;line-height:1.5}.none{color:var(--soft);margin:0}"
    ".by{display:block;margin-top:7px;font-size:13px;color:var(--soft)}code{font:.9em "
    "ui-monospace,'DejaVu Sans Mono',Menlo,monospace}q{quotes:none;font-style:italic}\n"
    ".key{display:flex;flex-wrap:wrap;gap:2px 20px;font-size:13.5px;margin:0 0 14px}"
    ".key span{display:inline-flex;align-items:center;gap:7px}svg.dotkey{width:12px;height:12px}\n"
    "text{font-size:11.5px;fill:var(--soft);paint-order:stroke;stroke:var(--bg);stroke-width:3px;"
    "stroke-linejoin:round}text.h{font-size:13px;font-weight:600;fill:var(--ink)}"
    "text.s{fill:var(--ink)}text.m{text-anchor:middle}text.e{text-anchor:end}"
    "path{fill:none}.a{--c:var(--a)}.g{--c:var(--g)}.k{--c:var(--ink)}.q{--c:var(--soft)}"
    ".n{--c:var(--n)}.grid{stroke:var(--grid)}.line{stroke:var(--c);stroke-width:1.8;"
    "stroke-linecap:round;stroke-linejoin:round}.thin{stroke:var(--c);stroke-width:1;opacity:.6}"
    ".stem{stroke:var(--grid);stroke-width:7}.bar{stroke:var(--c);stroke-width:1.6}"
    ".dash{stroke:var(--c);stroke-width:1.2;stroke-dasharray:4 3}.faint{opacity:.5}\n",
    "path.band{fill:var(--c);opacity:.16}.dot{fill:var(--c);stroke:var(--bg);stroke-width:1.2}"
    ".ring{fill:var(--bg);stroke:var(--c);stroke-width:1.4}.box{fill:var(--c)}"
    ".gone{fill:none;stroke:var(--c);stroke-dasharray:3 2.5}"
    ".pt{stroke:#fff;stroke-width:1.3}.pick{fill:none;stroke:#11151a;stroke-width:4.5}"
    ".pick.in{stroke:#fff;stroke-width:1.8}\n"
    ".wide{overflow-x:auto;margin:0 0 22px}table{border-collapse:collapse;width:100%;"
    "font-size:14px;line-height:1.35;white-space:nowrap}table.small{width:auto}"
    "th,td{text-align:right;padding:7px 0 7px 16px;border-bottom:1px solid var(--rule);"
    "font-weight:400;vertical-align:bottom}th:first-child{text-align:left;padding-left:0}"
    "thead th{color:var(--soft);white-space:normal;font-size:13px}tbody th{font-weight:600}"
    ".small th{font-weight:400;color:var(--soft)}sup{line-height:0;font-size:.75em}td "
    "i{font-style:normal;color:var(--soft)}\n"
    "@media (max-width:480px){body{padding:28px 16px 40px;font-size:16px}h1{font-size:25px}"
    ".lead{font-size:17px}section{margin-top:38px}}\n"
    "@media print{body{max-width:none;padding:0;font-size:10.5pt}section{break-inside:avoid}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n"};

/* The sections in the order of the page. A section is drawn if the run has lines of its kind. */
typedef struct report_part {
  const char *title, *kind;
  int needs_depth;
  void (*draw)(report_page *page, const report_run *run);
} report_part;
static const report_part report_section[] = {
    {"The result", "row", 0, report_result},
    {"The network, before and after", "search", 1, report_network},
    {"Gradient disparity", "disparity", 1, report_disparity},
    {"Recovery asymmetry: every single layer removed", "recovery", 1, report_recovery},
    {"The accuracy predictor and the split it chose", "map", 1, report_map_section},
    {"Accuracy against measured speed-up", "row", 0, report_pareto},
    {"Training, and the order of removal", "epoch", 1, report_training}};

#include "report_study.h"
#include "report_segment.h"

/* The first paragraph: what was done, what it bought, what it cost, as far as the numbers carry. */
static void report_lead(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE], *fused = run->row[REPORT_FUSED];
  double ratio[3], lost;
  int told, speed = report_speed(run, REPORT_FUSED, ratio);
  report_raw(page, "<p class=\"lead\">");
  if (run->depth)
    report_put(page, "A vision transformer of %d blocks", run->depth);
  else report_raw(page, "A vision transformer");
  if (run->removed[0] + run->removed[1])
    report_put(page, " gave up %d attention layer%s and %d activation%s", run->removed[0],
               report_s(run->removed[0]), run->removed[1], report_s(run->removed[1]));
  else report_raw(page, " was measured");
  lost = report_lost(dense, fused, &told);
  if (report_is_study(run)) {
    report_study_lead(page, run);
    return;
  }
  if (!isfinite(lost)) {
    report_raw(page, ". The run has not measured both the dense and the fused network.</p>\n");
    return;
  }
  if (speed == 1) report_put(page, ". It now runs %.2f times as fast", ratio[0]);
  else if (speed == -1) report_put(page, ". It now takes %.2f times as long", 1 / ratio[0]);
  else if (speed == 0) report_raw(page, ". Its time changed by less than the noise of the clock");
  else report_raw(page, ". Its times cannot be compared");
  report_put(page, ", and its accuracy went from %.2f to %.2f&nbsp;%%",
             report_number(dense, "accuracy"), report_number(fused, "accuracy"));
  report_put(page, told ? lost > 0 ? ": a loss of %.2f points.</p>\n" : ": a gain of %.2f "
                                                                        "points.</p>\n"
                        : ": %.2f points, within the sampling error of the test part.</p>\n",
             fabs(lost));
}

/* Data, machine and program: what a reader needs to judge the numbers or to repeat them. */
static void report_meta(report_page *page, const report_run *run) {
  static const struct { const char *before, *key, *after; } part[] = {
      {"Network ", "model", ""},     {", input ", "image", " px"},    {", patch ", "patch", ""},
      {", width ", "width", ""},     {", ", "heads", " heads"},       {", ", "tokens", " tokens"},
      {". Data: ", "data", ""},      {", ", "train_images", " training images"},
      {", ", "held_images", " held out for every choice"}, {", ", "test_images", " for the test"},
      {". Machine: ", "cpu", ""},    {", ", "threads", " threads"},   {", ", "isa", ""},
      {", ", "compiler", ""},        {". Seed ", "seed", ""},
      {", version ", "version", ""}};
  size_t i;
  report_raw(page, "<p class=\"meta\">");
  for (i = 0; i < sizeof part / sizeof part[0]; i++) {
    const report_field *field = report_get(run->setup, part[i].key);
    if (!field) continue;
    report_raw(page, part[i].before);
    if (field->count > 0) report_put(page, "%.10g", field->number[0]);
    else report_escape(page, field->text);
    report_raw(page, part[i].after);
  }
  report_raw(page, ".</p>\n");
}

static void report_head(report_page *page, const report_run *run) {
  size_t i;
  report_raw(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\""
                   "viewport\" content=\"width=device-width,initial-scale=1\"><title>Depth "
                   "pruning: "
                   "what the run measured</title>\n<style>\n");
  for (i = 0; i < sizeof report_style / sizeof report_style[0]; i++)
    report_raw(page, report_style[i]);
  report_raw(page, "</style></head><body>\n<header>");
  if (report_number(run->setup, "sample") > 0)
    report_raw(page, "<p class=\"flag\"><b>Sample.</b> Every number on this page is invented to "
                     "show "
                     "the page. Nothing here was measured.</p>");
  if (!report_next(run, NULL, "done") && !report_only_masks(run))
    report_raw(page, "<p class=\"flag\"><b>Unfinished.</b> The run has not come to its end; this "
                     "is "
                     "what it has written so far.</p>");
  report_raw(page, "<h1>Removing layers from a vision transformer</h1>\n");
  report_lead(page, run);
  report_meta(page, run);
  if (strcmp(report_text(run->setup, "data"), "generated") == 0)
    report_raw(page, "<p class=\"meta\">The images are drawn by a program. They show the method at "
                     "work; they say nothing about accuracy on photographs.</p>\n");
  report_raw(page, "</header>\n");
}

static void report_body(report_page *page, const report_run *run) {
  const char *command = report_text(run->setup, "command");
  const report_part *section = report_is_study(run) ? report_study_section : report_section;
  size_t i, count = report_is_study(run)
                        ? sizeof report_study_section / sizeof report_study_section[0]
                        : sizeof report_section / sizeof report_section[0];
  if (report_only_masks(run)) count = 0; /* nobody asked for the rest */
  for (i = 0; i < count; i++) {
    report_put(page, "<section id=\"%s\"><h2>%s</h2>\n", section[i].kind, section[i].title);
    if (!report_next(run, NULL, section[i].kind) || (section[i].needs_depth && run->depth == 0)) {
      report_put(page, "<p class=\"none\">The run wrote no lines of kind <code>%s</code>%s, so "
                       "there "
                       "is nothing to draw here.</p></section>\n", section[i].kind,
                 section[i].needs_depth && run->depth == 0 ? " with a known depth" : "");
      continue;
    }
    section[i].draw(page, run);
    if (command[0]) {
      report_raw(page, "<span class=\"by\">Numbers made by <code>");
      report_escape(page, command);
      report_raw(page, "</code></span>");
    }
    report_raw(page, "</p></section>\n");
  }
  report_masks(page, run);
}

/* The whole page in memory; free page->text, whether it failed or not. */
static void report_render(report_page *page, const report_run *run) {
  memset(page, 0, sizeof *page);
  report_head(page, run);
  report_body(page, run);
  report_raw(page, "</body></html>\n");
}

/* Reads the run file and writes the page, whole or not at all. Returns a bdpt_status; the sentence
 * of a failure is in the context, with the line number if a line is bad. */
static int report_write(bdpt_context *ctx, const char *jsonl_path, const char *html_path) {
  report_run run;
  report_page page;
  int status = report_read(ctx, jsonl_path, &run);
  if (status != BDPT_OK) return status;
  report_render(&page, &run);
  if (page.failed)
    status = report_fail(ctx, BDPT_E_MEMORY, "%s: no memory for the page", html_path);
  else status = (int)bdpt_file_write(ctx, html_path, page.text, page.length);
  free(page.text);
  report_free(&run);
  return status;
}

/* The same table for the terminal, from the same file, so that the two cannot disagree. */
static int report_table(bdpt_context *ctx, const char *jsonl_path, FILE *out) {
  report_run run;
  int status = report_read(ctx, jsonl_path, &run);
  if (status != BDPT_OK) return status;
  report_print(&run, out);
  report_free(&run);
  return status;
}

#endif /* BDPT_REPORT_H */
