/* options.c: the command line, and help from the same table */
#include "messages.h"
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cli_elsewhere cli_choice;

/* =================================================================================================
 * 2  OPTIONS                                                                             >>options
 * =================================================================================================
 * A command describes its options in a table of (name, kind, where to put it, what to call the
 * value, help). The same table parses the command line and prints the help, so neither can forget
 * an option that the other knows.
 */

int cli_usage_error(const cli_command *c, const char *format, ...) {
  va_list args;
  fprintf(stderr, "boundarydpt %s: ", c->name);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, " (boundarydpt %s --help explains)\n", c->name);
  return CLI_USAGE;
}

static void cli_help(const cli_command *c, const cli_option *options, int count) {
  int i;
  printf("usage: boundarydpt %s\n\n%s\n", c->synopsis, c->story);
  for (i = 0; i < count; i++) {
    const cli_option *o = &options[i];
    char left[64];
    if (o->kind == CLI_TITLE) { printf("\n%s\n", o->name); continue; }
    snprintf(left, sizeof left, "%s%s%s", o->name, o->argument ? " " : "",
             o->argument ? o->argument : "");
    printf("  %-22s %s\n", left, o->help);
  }
}

/* Returns a number of at most four digits; -1 if the text begins with none. */
static int cli_read_layer(const char **text) {
  char *end;
  long v;
  if (**text < '0' || **text > '9') return -1;
  v = strtol(*text, &end, 10);
  *text = end;
  return v > 9999 ? -1 : (int)v;
}

/* "3,7" or "3-5,7": numbers and ranges of them, which must not run backwards. */
static int cli_read_layers(const char *text, cli_layers *out) {
  out->count = 0;
  while (*text) {
    int from = cli_read_layer(&text), to = from;
    if (*text == '-') {
      text++;
      to = cli_read_layer(&text);
    }
    if (from < 0 || to < from || to - from >= 64 - out->count) return 0;
    while (from <= to) out->layer[out->count++] = from++;
    if (*text == ',' && text[1]) text++;
    else if (*text) return 0;
  }
  return out->count > 0;
}

/* Returns a whole number from `least` to `most`; 0 if the text is none. */
static int cli_read_whole(const char *text, unsigned long long least, unsigned long long most,
                          unsigned long long *out) {
  char *end = NULL;
  errno = 0;
  if (*text < '0' || *text > '9') return 0;
  *out = strtoull(text, &end, 10);
  return *end == 0 && errno == 0 && *out >= least && *out <= most;
}

static const char *cli_store_real(const cli_option *o, const char *text) {
  char *end = NULL;
  double v = strtod(text, &end);
  if (end == text || *end || !(v >= 0 && v < 1e300)) return "a number, 0 or more";
  if (o->kind == CLI_REAL_UP && v == 0) return "a number above 0";
  *(double *)o->value = o->kind == CLI_SAID && v == 0 ? BDPT_NONE : v;
  return NULL;
}

const char *cli_store(const cli_option *o, const char *text) {
  int least = o->kind == CLI_INT_1 || o->kind == CLI_SIZE_1;
  unsigned long long v;
  switch (o->kind) {
    case CLI_INT: case CLI_INT_1: case CLI_SIZE: case CLI_SIZE_1:
      if (!cli_read_whole(text, (unsigned long long)least,
                          o->kind == CLI_INT || o->kind == CLI_INT_1 ? 1000000000
                                                                     : SIZE_MAX / 2, &v))
        return least ? "a whole number, 1 or more" : "a whole number, 0 or more";
      if (o->kind == CLI_INT || o->kind == CLI_INT_1) *(int *)o->value = (int)v;
      else *(size_t *)o->value = (size_t)v;
      return NULL;
    case CLI_REAL: case CLI_SAID: case CLI_REAL_UP: return cli_store_real(o, text);
    case CLI_LAYERS:
      return cli_read_layers(text, (cli_layers *)o->value) ? NULL : "layers such as 3,7 or 3-5";
    default:
      *(const char **)o->value = text;
      return *text ? NULL : "a text that is not empty";
  }
}

int cli_distance(const char *a, size_t n, const char *b) {
  int row[CLI_NEAR + 1], m = (int)strlen(b), i, j;
  if (n > CLI_NEAR || m > CLI_NEAR) return CLI_NEAR;
  for (j = 0; j <= m; j++) row[j] = j;
  for (i = 1; i <= (int)n; i++) {
    int before = row[0]; /* of the row above, one column to the left */
    row[0] = i;
    for (j = 1; j <= m; j++) {
      int best = before + (a[i - 1] != b[j - 1]);
      before = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[m];
}

/* The complaint about an unknown option, with the one that was perhaps meant. */
static int cli_unknown(const cli_command *c, const cli_option *options, int count, const char *a,
                       size_t length) {
  int i, best = 3; /* more than two wrong letters are another word */
  const char *meant = NULL;
  for (i = 0; i < count; i++) {
    int d = options[i].kind == CLI_TITLE ? best : cli_distance(a, length, options[i].name);
    if (d >= best) continue;
    best = d;
    meant = options[i].name;
  }
  if (!meant) return cli_usage_error(c, "there is no option '%.*s'", (int)length, a);
  return cli_usage_error(c, "there is no option '%.*s'; did you mean %s?", (int)length, a, meant);
}

int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
              char **argv, const char **plain, int *plain_count) {
  int i, k, all_plain = 0; /* 1 behind "--" */
  *plain_count = 0;
  for (i = 0; i < argc; i++) {
    const char *a = argv[i], *equals = strchr(a, '='), *value, *wanted;
    size_t length = equals ? (size_t)(equals - a) : strlen(a);
    if (!all_plain && strcmp(a, "--") == 0) { all_plain = 1; continue; }
    if (!all_plain && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)) {
      cli_help(c, options, count);
      return CLI_OK;
    }
    if (all_plain || a[0] != '-' || a[1] == 0) {
      if (*plain_count >= c->most) return cli_usage_error(c, "one argument too many: '%s'", a);
      plain[(*plain_count)++] = a;
      continue;
    }
    for (k = 0; k < count; k++)
      if (options[k].kind != CLI_TITLE && strlen(options[k].name) == length &&
          strncmp(options[k].name, a, length) == 0) break;
    if (k == count) return cli_unknown(c, options, count, a, length);
    if (options[k].kind == CLI_FLAG) {
      if (equals) return cli_usage_error(c, "%s takes no value", options[k].name);
      *(int *)options[k].value = 1;
      continue;
    }
    if (!equals && i + 1 >= argc) return cli_usage_error(c, "%s wants a value", a);
    value = equals ? equals + 1 : argv[++i];
    wanted = cli_store(&options[k], value);
    if (wanted)
      return cli_usage_error(c, "%s wants %s, got '%s'", options[k].name, wanted, value);
  }
  if (*plain_count < c->least) return cli_usage_error(c, "usage: boundarydpt %s", c->synopsis);
  return CLI_GO_ON;
}
