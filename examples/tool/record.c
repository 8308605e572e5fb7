/* =================================================================================================
 * record.c: what a long run has measured so far, as JSON lines
 * =================================================================================================
 * A run is a row of parts. When a part is finished, its lines are added to the record and the whole
 * file is written anew under a temporary name and renamed. So the file never holds half a line or
 * half a part, even after kill -9, and "has this part been done?" is "does the record have a line
 * of that kind?". What is told to the reader is always read back from the record: a resumed run
 * tells the same story as one that was never stopped.
 *
 * A file of this size (some hundred lines) is searched from the front each time; no index needed.
 */
#include "../../boundarydpt.h"
#include "json_read.h"
#include "cli/json.h"
#include "cli/messages.h"
#include "cli/system.h"
#include "record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_event record_find(record_line line, const char *key, json_reader *j) {
  jsonl_walk w;
  char name[64];
  json_event e = JSON_END;
  int found = 0;
  if (!line.text) return JSON_END;
  jsonl_begin(&w, line);
  while (!found && (e = jsonl_event(&w)) != JSON_END && e != JSON_ERROR)
    found = e == JSON_KEY && json_copy(&w.json, name, sizeof name) < sizeof name &&
            strcmp(name, key) == 0;
  *j = w.json;
  return found ? json_next(j) : JSON_END;
}

double record_real(record_line line, const char *key, double otherwise) {
  json_reader j;
  json_event e = record_find(line, key, &j);
  if (e == JSON_NULL) return NAN;
  return e == JSON_NUMBER ? json_number(&j) : otherwise;
}

int record_int(record_line line, const char *key, int otherwise) {
  const double v = record_real(line, key, (double)otherwise);
  return v >= -2147483647.0 && v <= 2147483647.0 ? (int)v : otherwise;
}

int record_reals(record_line line, const char *key, double *out, int room) {
  json_reader j;
  json_event e;
  int n = 0, depth = 1;
  if (record_find(line, key, &j) != JSON_ARRAY) return 0;
  while (depth > 0 && n < room) {
    e = json_next(&j);
    if (e == JSON_END || e == JSON_ERROR) break;
    if (e == JSON_ARRAY) depth++;
    if (e == JSON_ARRAY_END) depth--;
    if (e == JSON_NUMBER) out[n++] = json_number(&j);
    if (e == JSON_NULL) out[n++] = NAN;
  }
  return n;
}

void record_text(record_line line, const char *key, char *out, size_t room) {
  json_reader j;
  out[0] = 0;
  if (record_find(line, key, &j) == JSON_STRING) json_copy(&j, out, room);
}

int record_is(record_line line, const char *key, const char *value) {
  char text[64];
  record_text(line, key, text, sizeof text);
  return strcmp(text, value) == 0;
}

record_line record_get(const record *r, const char *kind, int nth) {
  jsonl_reader reader = {r->text.text, r->text.used, 0, 0};
  record_line line = jsonl_next(&reader);
  while (line.text && !(record_is(line, "kind", kind) && nth-- == 0)) line = jsonl_next(&reader);
  return line;
}

int record_has(const record *r, const char *kind) {
  return record_get(r, kind, 0).text != NULL;
}

int record_count(const record *r, const char *kind) {
  int n = 0;
  while (record_get(r, kind, n).text) n++;
  return n;
}

/* What keys were called when one could hold a number in a line of one kind, a list in another. */
static const struct { const char *old, *now; int list; } record_renamed[] = {
  {"\"attention\":", "\"attentions\":", 0}, {"\"activation\":", "\"activations\":", 0},
  {"\"accuracy\":", "\"accuracies\":", 1}, {"\"loss\":", "\"losses\":", 1},
  {"\"macs\":", "\"costs\":", 1}, {"\"type\":", "\"types\":", 1}};

/* Finds the old name that stands at a place and has a value of the wrong type; -1: there is none.
 * Quotes in texts are escaped, so what looks like a key is one. */
static int record_old(const char *at, size_t left) {
  int i;
  for (i = 0; i < (int)(sizeof record_renamed / sizeof record_renamed[0]); i++) {
    size_t n = strlen(record_renamed[i].old);
    if (left <= n || memcmp(at, record_renamed[i].old, n) != 0 || at[n] == 'n' ||
        at[n] == '"') continue;
    if ((at[n] == '[') == record_renamed[i].list) return i;
  }
  return -1;
}

void record_modern(const char *text, size_t size, cli_json *out) {
  size_t at, from = 0;
  for (at = 0; at + 1 < size; at++) {
    int i = -1;
    if (text[at] == '{' || text[at] == ',') i = record_old(text + at + 1, size - at - 1);
    if (i < 0) continue;
    cli_json_raw(out, text + from, at + 1 - from);
    cli_json_raw(out, record_renamed[i].now, strlen(record_renamed[i].now));
    from = at + 1 + strlen(record_renamed[i].old);
  }
  cli_json_raw(out, text + from, size - from);
}

/* Reads all of standard input. */
static bdpt_status record_load_stdin(record *r) {
  char part[4096];
  size_t n;
  while ((n = fread(part, 1, sizeof part, stdin)) > 0) cli_json_raw(&r->text, part, n);
  if (ferror(stdin)) return cli_fail(r->ctx, BDPT_E_IO, "standard input cannot be read");
  return r->text.failed ? cli_fail(r->ctx, BDPT_E_MEMORY, "out of memory") : BDPT_OK;
}

bdpt_status record_load(record *r, bdpt_context *ctx, const char *path) {
  bdpt_bytes bytes;
  bdpt_status s;
  memset(r, 0, sizeof *r);
  r->ctx = ctx;
  r->path = path;
  if (strcmp(path, "-") == 0) return record_load_stdin(r);
  if (cli_file_exists(path) == 0) return BDPT_OK; /* of all errors, only this is absence */
  s = bdpt_file_read(ctx, path, &bytes);
  if (s != BDPT_OK) return s;
  record_modern((const char *)bytes.data, bytes.size, &r->text);
  bdpt_bytes_free(ctx, &bytes);
  return r->text.failed ? BDPT_E_MEMORY : BDPT_OK;
}

/* Writes the share's finished lines, and those of the cell under way. */
static bdpt_status record_save_own(record *r) {
  cli_json both = {NULL, 0, 0, 0, 0};
  bdpt_status s;
  if (r->own.used) cli_json_raw(&both, r->own.text, r->own.used);
  if (r->from < r->text.used)
    cli_json_raw(&both, r->text.text + r->from, r->text.used - r->from);
  s = both.failed || r->own.failed ? BDPT_E_MEMORY
                                   : bdpt_file_write(r->ctx, r->path, both.text, both.used);
  free(both.text);
  return s;
}

bdpt_status record_save(record *r) {
  if (r->text.failed) return BDPT_E_MEMORY;
  if (r->kept == RECORD_HELD) return BDPT_OK;
  if (r->kept == RECORD_OWN) return record_save_own(r);
  return bdpt_file_write(r->ctx, r->path, r->text.text, r->text.used);
}

void record_free(record *r) {
  free(r->text.text);
  free(r->own.text);
  memset(&r->text, 0, sizeof r->text);
  memset(&r->own, 0, sizeof r->own);
}
