/* lines.c: the study's record, and CSV files of it */
#include "../../../boundarydpt.h"
#include "../json_read.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../record.h"
#include "reproduce.h"
#include "study.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 2  THE RECORD
 * =================================================================================================
 * One file of JSON lines (record.h). Chapter 3 writes "mark" and "network" lines, every part its
 * own kinds and at its end a "part" line. For each kind a CSV file is written beside it: the keys
 * of its first line are the columns, lists stand in one cell with blanks between.
 */

record_line study_next(const study *s, size_t *at) {
  jsonl_reader reader = {s->base.record.text.text, s->base.record.text.used, *at, 0};
  record_line line = jsonl_next(&reader);
  *at = reader.at;
  return line;
}

record_line study_find(const study *s, const char *kind, const char *key, const char *text,
                       const char *number, double value) {
  record_line line;
  char own[STUDY_NAME];
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind)) continue;
    if (key) record_text(line, key, own, sizeof own);
    if (key && strcmp(own, text) != 0) continue;
    if (!number || record_real(line, number, -1e300) == value) return line;
  }
  return line;
}

/* Returns 1 if the part has a line with as many seeds as the recipe. A line from before parts told
 * their seeds stands for one seed in parts 7, 10 (in some cells), 11 and 12, and for three in
 * others. */
int study_part_done(const study *s, int part) {
  const int once = part <= 4 || part == 8 || part == 13 || part == 15;
  const int before = part == 7 || (part >= 10 && part <= 12) ? 1 : 3;
  record_line line;
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", "part") || record_int(line, "part", 0) != part) continue;
    if (once || record_int(line, "seeds", before) >= s->recipe.seeds) return 1;
  }
  return 0;
}

int study_has(const study *s, const char *kind, const char *key, const char *text,
              const char *number, double value, size_t seed) {
  record_line line;
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind) || (key && !record_is(line, key, text))) continue;
    if (record_real(line, "seed", -1) != (double)seed) continue;
    if (!number || record_real(line, number, -1e300) == value) return 1;
  }
  return 0;
}

static void study_csv_cell(cli_json *out, const char *text) {
  int quote = strpbrk(text, "\",\n") != NULL;
  if (quote) cli_json_raw(out, "\"", 1);
  for (; *text; text++) {
    if (*text == '"') cli_json_raw(out, "\"", 1);
    cli_json_raw(out, text, 1);
  }
  if (quote) cli_json_raw(out, "\"", 1);
}

/* Writes the value of a key as one cell. */
static void study_csv_value(cli_json *out, record_line line, const char *key) {
  json_reader j;
  char text[4100]; /* the longest is the recipe */
  int list = 0, n = 0;
  json_event e = record_find(line, key, &j);
  for (; e != JSON_END && e != JSON_ERROR; e = json_next(&j)) {
    if (e == JSON_ARRAY) list++;
    else if (e == JSON_ARRAY_END) list--;
    else if (e == JSON_STRING) {
      json_copy(&j, text, sizeof text);
      study_csv_cell(out, text);
    } else if (e == JSON_NUMBER) {
      if (n++) cli_json_raw(out, " ", 1);
      cli_json_raw(out, j.text + j.start, j.length);
    }
    if (list == 0) return;
  }
}

/* Writes one file for a kind, whose first line is given. The file takes its name when it is
 * whole. */
static bdpt_status study_csv_kind(study *s, const char *kind, record_line first) {
  cli_json out = {NULL, 0, 0, 0, 0};
  char key[40][64], path[800];
  int keys = 0, k;
  size_t at = 0;
  jsonl_walk w;
  json_event e;
  bdpt_status status;
  record_line line;
  jsonl_begin(&w, first);
  while ((e = jsonl_event(&w)) != JSON_END && e != JSON_ERROR && keys < 40)
    if (e == JSON_KEY) json_copy(&w.json, key[keys++], sizeof key[0]);
  for (k = 1; k < keys; k++) {
    if (k > 1) cli_json_raw(&out, ",", 1);
    cli_json_raw(&out, key[k], strlen(key[k]));
  }
  cli_json_raw(&out, "\n", 1);
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind)) continue;
    for (k = 1; k < keys; k++) {
      if (k > 1) cli_json_raw(&out, ",", 1);
      study_csv_value(&out, line, key[k]);
    }
    cli_json_raw(&out, "\n", 1);
  }
  snprintf(path, sizeof path, "%s/%s.csv", s->o.out, kind);
  status = out.failed ? cli_fail(s->base.ctx, BDPT_E_MEMORY, "%s: out of memory", path)
                      : bdpt_file_write(s->base.ctx, path, out.text, out.used);
  free(out.text);
  return status;
}

bdpt_status study_csv(study *s) {
  record_line line, first;
  size_t at = s->base.ctx->cluster.rank == 0 ? 0 : SIZE_MAX; /* of several, one process writes */
  bdpt_status status = BDPT_OK;
  while (status == BDPT_OK && (line = study_next(s, &at)).text) {
    char kind[64];
    record_text(line, "kind", kind, sizeof kind);
    first = study_find(s, kind, NULL, NULL, NULL, 0);
    if (first.text == line.text) status = study_csv_kind(s, kind, first);
  }
  return status;
}
