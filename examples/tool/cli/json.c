/* json.c: JSON lines, written */
#include "json.h"
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 4  JSON LINES                                                                             >>json
 * =================================================================================================
 * One object per line, built in memory. Numbers are written with as few digits as read back to the
 * same double, so that a resumed run continues with exactly what it measured. NaN becomes null.
 */

void cli_json_raw(cli_json *j, const char *s, size_t n) {
  if (j->used + n + 1 > j->room) {
    size_t room = 2 * (j->used + n) + 256;
    char *bigger = (char *)realloc(j->text, room);
    if (!bigger) { j->failed = 1; return; }
    j->text = bigger;
    j->room = room;
  }
  memcpy(j->text + j->used, s, n);
  j->used += n;
  j->text[j->used] = 0;
}

/* Returns how many bytes the UTF-8 character at the front of a text has; 0 if there is none: a byte
 * alone, a longer form than needed, half of a UTF-16 pair, or a number above 10FFFF. */
static size_t cli_utf8(const unsigned char *s) {
  static const unsigned long least[5] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned long v;
  size_t n = 0, i; /* ones at the front of the first byte */
  while (n < 5 && s[0] >> (7 - n) & 1) n++;
  if (n == 0) return 1;
  if (n == 1 || n == 5) return 0;
  v = s[0] & (0x7fu >> n);
  for (i = 1; i < n; i++) {
    if (s[i] >> 6 != 2) return 0; /* the text's last zero too */
    v = v << 6 | (s[i] & 0x3f);
  }
  return v < least[n] || v > 0x10ffff || v >> 11 == 0xd800 >> 11 ? 0 : n;
}

void cli_json_quoted(cli_json *j, const char *s) {
  char escape[8];
  cli_json_raw(j, "\"", 1);
  while (*s) {
    size_t n = cli_utf8((const unsigned char *)s);
    if (*s == '"' || *s == '\\') {
      escape[0] = '\\';
      escape[1] = *s;
      cli_json_raw(j, escape, 2);
    } else if ((unsigned char)*s < 32) {
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*s);
      cli_json_raw(j, escape, 6);
    } else if (n == 0) {
      cli_json_raw(j, "\\ufffd", 6); /* the character for what is none */
    } else {
      cli_json_raw(j, s, n);
    }
    s += n ? n : 1;
  }
  cli_json_raw(j, "\"", 1);
}

void cli_json_key(cli_json *j, const char *key) {
  if (j->comma) cli_json_raw(j, ",", 1);
  cli_json_quoted(j, key);
  cli_json_raw(j, ":", 1);
  j->comma = 1;
}

void cli_json_value(cli_json *j, double v) {
  char digits[40];
  int precision = 6;
  if (!(v > -1e300 && v < 1e300)) { cli_json_raw(j, "null", 4); return; }
  do snprintf(digits, sizeof digits, "%.*g", precision, v);
  while (strtod(digits, NULL) != v && ++precision <= 17);
  cli_json_raw(j, digits, strlen(digits));
}

void cli_json_open(cli_json *j, const char *kind) {
  cli_json_raw(j, "{", 1);
  j->comma = 0;
  if (!kind) return;
  cli_json_key(j, "kind");
  cli_json_quoted(j, kind);
}

void cli_json_close(cli_json *j) { cli_json_raw(j, "}\n", 2); }

void cli_json_text(cli_json *j, const char *key, const char *value) {
  cli_json_key(j, key);
  cli_json_quoted(j, value);
}

void cli_json_real(cli_json *j, const char *key, double value) {
  cli_json_key(j, key);
  cli_json_value(j, value);
}

/* Writes what stands in front of element i of a list. */
static void cli_json_between(cli_json *j, int i) { cli_json_raw(j, i ? "," : "[", 1); }

static void cli_json_end(cli_json *j, int count) {
  cli_json_raw(j, count > 0 ? "]" : "[]", count > 0 ? 1 : 2);
}

void cli_json_reals(cli_json *j, const char *key, const double *values, int count) {
  int i;
  cli_json_key(j, key);
  for (i = 0; i < count; i++) {
    cli_json_between(j, i);
    cli_json_value(j, values[i]);
  }
  cli_json_end(j, count);
}

void cli_json_list(cli_json *j, const int *values, int count) {
  int i;
  for (i = 0; i < count; i++) {
    cli_json_between(j, i);
    cli_json_value(j, values[i]);
  }
  cli_json_end(j, count);
}

void cli_json_ints(cli_json *j, const char *key, const int *values, int count) {
  cli_json_key(j, key);
  cli_json_list(j, values, count);
}

void cli_json_texts(cli_json *j, const char *key, const char *const *values, int count) {
  int i;
  cli_json_key(j, key);
  for (i = 0; i < count; i++) {
    cli_json_between(j, i);
    cli_json_quoted(j, values[i]);
  }
  cli_json_end(j, count);
}

bdpt_status cli_json_print(cli_json *j, bdpt_context *ctx) {
  bdpt_status status = BDPT_OK;
  if (j->failed || !j->used) status = cli_fail(ctx, BDPT_E_MEMORY, "out of memory for the answer");
  else if (fwrite(j->text, 1, j->used, stdout) != j->used || fflush(stdout) != 0)
    status = cli_fail(ctx, BDPT_E_IO, "cannot write to stdout");
  free(j->text);
  memset(j, 0, sizeof *j);
  return status;
}
