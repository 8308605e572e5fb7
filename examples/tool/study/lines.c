/* lines.c: the study's record, and CSV files of it */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../record.h"
#include "reproduce.h"
#include "study.h"

#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 2  THE RECORD
 * =================================================================================================
 * One file of JSON lines (record.h). Chapter 3 writes "mark" and "network" lines, every part its
 * own kinds and at its end a "part" line. For each kind a CSV file is written beside it: the keys
 * of its first line are the columns, lists stand in one cell with blanks between.
 */

record_line study_next(const study *s, size_t *at) {
  const cli_json *j = &s->base.record.text;
  record_line line = {NULL, 0};
  const char *end;
  if (*at >= j->used) return line;
  line.text = j->text + *at;
  end = (const char *)memchr(line.text, '\n', j->used - *at);
  line.size = end ? (size_t)(end - line.text) : j->used - *at;
  *at += line.size + 1;
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

/* Lines of before parts told their seeds: parts 7, 10 (in some cells), 11 and 12 had one. */
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

static void study_csv_cell(FILE *f, const char *text) {
  int quote = strpbrk(text, "\",\n") != NULL;
  if (quote) fputc('"', f);
  for (; *text; text++) {
    if (*text == '"') fputc('"', f);
    fputc(*text, f);
  }
  if (quote) fputc('"', f);
}

/* The value of a key as one cell. */
static void study_csv_value(FILE *f, record_line line, const char *key) {
  bdpt_json j;
  char text[STUDY_NAME];
  int list = 0, n = 0;
  bdpt_json_event e = record_find(line, key, &j);
  for (; e != BDPT_JSON_END && e != BDPT_JSON_ERROR; e = bdpt_json_next(&j)) {
    if (e == BDPT_JSON_ARRAY) list++;
    else if (e == BDPT_JSON_ARRAY_END) list--;
    else if (e == BDPT_JSON_STRING) {
      bdpt_json_copy(&j, text, sizeof text);
      study_csv_cell(f, text);
    } else if (e == BDPT_JSON_NUMBER) {
      fprintf(f, "%s%.*s", n++ ? " " : "", (int)j.length, j.text + j.start);
    }
    if (list == 0) return;
  }
}

/* One file for a kind, whose first line is given. */
static bdpt_status study_csv_kind(study *s, const char *kind, record_line first) {
  char key[40][64], path[800];
  int keys = 0, k;
  size_t at = 0;
  bdpt_json j;
  bdpt_json_event e;
  record_line line;
  FILE *f;
  bdpt_json_init(&j, first.text, first.size);
  while ((e = bdpt_json_next(&j)) != BDPT_JSON_END && e != BDPT_JSON_ERROR && keys < 40)
    if (e == BDPT_JSON_KEY && j.depth == 1) bdpt_json_copy(&j, key[keys++], sizeof key[0]);
  snprintf(path, sizeof path, "%s/%s.csv", s->o.out, kind);
  f = fopen(path, "w");
  if (!f) return cli_fail(s->base.ctx, BDPT_E_IO, "%s: cannot be written", path);
  for (k = 1; k < keys; k++) fprintf(f, "%s%s", k > 1 ? "," : "", key[k]);
  fputc('\n', f);
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind)) continue;
    for (k = 1; k < keys; k++) {
      if (k > 1) fputc(',', f);
      study_csv_value(f, line, key[k]);
    }
    fputc('\n', f);
  }
  k = ferror(f);
  return fclose(f) == 0 && k == 0 ? BDPT_OK
                                  : cli_fail(s->base.ctx, BDPT_E_IO, "%s: write failed", path);
}

bdpt_status study_csv(study *s) {
  record_line line, first;
  size_t at = 0;
  bdpt_status status = BDPT_OK;
  while (status == BDPT_OK && (line = study_next(s, &at)).text) {
    char kind[64];
    record_text(line, "kind", kind, sizeof kind);
    first = study_find(s, kind, NULL, NULL, NULL, 0);
    if (first.text == line.text) status = study_csv_kind(s, kind, first);
  }
  return status;
}
