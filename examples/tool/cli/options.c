/* options.c: the command line, and help from the same table */
#include "messages.h"
#include "options.h"
#include "settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cli_elsewhere cli_choice;

int cli_usage_error(const cli_command *c, const char *format, ...) {
  va_list args;
  fprintf(stderr, "boundarydpt %s: ", c->name);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, " (boundarydpt %s --help explains)\n", c->name);
  return CLI_USAGE;
}

/* Prints a help text, broken at blanks before column 80; the lines that follow begin at column
 * 25. */
static void cli_wrap(const char *text, int column) {
  while (*text) {
    int word = (int)strcspn(text, " ");
    if (column + word > 79) {
      printf("\n%24s", "");
      column = 24;
    }
    printf("%s%.*s", " ", word, text);
    column += word + 1;
    text += word;
    text += *text == ' ';
  }
}

/* Writes "images (1000; 0: all)" to `out`: the help, the initial value, and what a special value
 * means, which the help has at its end, behind "; 0: ". */
static void cli_describe(const cli_command *c, const cli_option *o, char out[400]) {
  const char *zero = strstr(o->help, "; 0: "), *semicolon;
  if (!o->initial) {
    snprintf(out, 400, "%s", o->help);
    return;
  }
  semicolon = strchr(o->initial, ';');
  snprintf(out, 400, "%.*s (%s%s%s%s)", zero ? (int)(zero - o->help) : 399, o->help,
           zero && strcmp(o->initial, "0") == 0 ? zero + 2 : o->initial,
           semicolon ? " with " : "", semicolon ? c->second : "",
           zero && strcmp(o->initial, "0") != 0 ? zero : "");
}

static void cli_help(const cli_command *c, const cli_option *options, int count) {
  const char *line = c->examples;
  char left[64], help[400];
  int i;
  printf("usage: boundarydpt %s\n\n%s\n", c->synopsis, c->story);
  for (i = 0; i < count; i++) {
    const cli_option *o = &options[i];
    if (o->kind == CLI_TITLE) { printf("\n%s\n", o->name); continue; }
    snprintf(left, sizeof left, "%s%s%s", o->name, o->argument ? " " : "",
             o->argument ? o->argument : "");
    cli_describe(c, o, help);
    printf("  %-22s", left);
    cli_wrap(help, strlen(left) > 22 ? (int)strlen(left) + 2 : 24);
    printf("\n");
  }
  printf("\nExamples\n");
  for (; line && *line; line += strcspn(line, "\n"), line += *line == '\n')
    printf("  boundarydpt %.*s\n", (int)strcspn(line, "\n"), line);
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

/* Reads "3,7" or "3-5,7": numbers and ranges of them, which must not run backwards. 0: it is
 * neither. */
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

/* Reads "64" or "64x96" into {height, width}. 0: it is neither. */
static int cli_read_sides(const char *text, int out[2]) {
  const int high = cli_read_layer(&text), two = *text == 'x';
  int wide = 0;
  if (two) {
    text++;
    wide = cli_read_layer(&text);
  }
  if (high < 1 || *text || (two && wide < 1)) return 0;
  out[0] = high;
  out[1] = wide == high ? 0 : wide;
  return 1;
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
    case CLI_FLAG:
      if (!cli_read_whole(text, 0, 1, &v)) return "0 or 1";
      *(int *)o->value = (int)v;
      return NULL;
    case CLI_INT: case CLI_INT_1: case CLI_SIZE: case CLI_SIZE_1:
      if (!cli_read_whole(text, (unsigned long long)least,
                          o->kind == CLI_INT || o->kind == CLI_INT_1 ? 1000000000
                                                                     : SIZE_MAX / 2, &v))
        return least ? "a whole number, 1 or more" : "a whole number, 0 or more";
      if (o->kind == CLI_INT || o->kind == CLI_INT_1) *(int *)o->value = (int)v;
      else *(size_t *)o->value = (size_t)v;
      return NULL;
    case CLI_REAL: case CLI_SAID: case CLI_REAL_UP: return cli_store_real(o, text);
    case CLI_SIDES:
      return cli_read_sides(text, (int *)o->value) ? NULL : "a size such as 64 or 64x96";
    case CLI_LAYERS:
      return cli_read_layers(text, (cli_layers *)o->value) ? NULL : "layers such as 3,7 or 3-5";
    default:
      *(const char **)o->value = text;
      if (strlen(text) > CLI_LONGEST) return "a text of at most 500 bytes";
      return *text ? NULL : "a text that is not empty";
  }
}

int cli_distance(const char *a, size_t n, const char *b) {
  int rows[3][CLI_NEAR + 1], m = (int)strlen(b), i, j;
  if (n > CLI_NEAR || m > CLI_NEAR) return CLI_NEAR;
  for (j = 0; j <= m; j++) rows[0][j] = j;
  for (i = 1; i <= (int)n; i++) {
    const int *above = rows[(i - 1) % 3], *over = rows[(i + 1) % 3]; /* one row up; two */
    int *row = rows[i % 3];
    row[0] = i;
    for (j = 1; j <= m; j++) {
      int best = above[j - 1] + (a[i - 1] != b[j - 1]);
      if (above[j] + 1 < best) best = above[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && over[j - 2] < best)
        best = over[j - 2] + 1;
      row[j] = best;
    }
  }
  return rows[n % 3][m];
}

const cli_option *cli_meant(const cli_option *options, int count, size_t skip, const char *a,
                            size_t n) {
  int i, best = 3; /* more than two wrong letters are another word */
  const cli_option *meant = NULL;
  for (i = 0; i < count; i++) {
    int d = options[i].kind == CLI_TITLE ? best : cli_distance(a, n, options[i].name + skip);
    if (d >= best) continue;
    best = d;
    meant = &options[i];
  }
  return meant;
}

/* Complains about an unknown option, and names the one that was perhaps meant. */
static int cli_unknown(const cli_command *c, const cli_option *options, int count, const char *a,
                       size_t length) {
  const cli_option *meant = cli_meant(options, count, 0, a, length);
  if (!meant) return cli_usage_error(c, "there is no option '%.*s'", (int)length, a);
  return cli_usage_error(c, "there is no option '%.*s'; did you mean %s?", (int)length, a,
                         meant->name);
}

typedef struct cli_words {
  int argc;
  char **argv;
  const char **plain; /* filled with the words that belong to no option */
  int *plain_count;
} cli_words;

/* Stores what the words say; said[k] becomes CLI_SAID_BEFORE for each option that they name. */
static int cli_arguments(const cli_command *c, const cli_option *options, int count,
                         const cli_words *w, int *said) {
  int i, k, all_plain = 0; /* 1 behind "--" */
  for (i = 0; i < w->argc; i++) {
    const char *a = w->argv[i], *equals = strchr(a, '='), *value, *wanted;
    size_t length = equals ? (size_t)(equals - a) : strlen(a);
    if (!all_plain && strcmp(a, "--") == 0) { all_plain = 1; continue; }
    if (!all_plain && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)) {
      cli_help(c, options, count);
      return CLI_OK;
    }
    if (all_plain || a[0] != '-' || a[1] == 0) {
      if (*w->plain_count >= c->most) return cli_usage_error(c, "one argument too many: '%s'", a);
      if (strlen(a) > CLI_LONGEST)
        return cli_usage_error(c, "an argument has %zu bytes, 500 are allowed: '%s'", strlen(a), a);
      w->plain[(*w->plain_count)++] = a;
      continue;
    }
    for (k = 0; k < count; k++)
      if (options[k].kind != CLI_TITLE && strlen(options[k].name) == length &&
          strncmp(options[k].name, a, length) == 0) break;
    if (k == count) return cli_unknown(c, options, count, a, length);
    said[k] = CLI_SAID_BEFORE;
    if (options[k].kind == CLI_FLAG) {
      if (equals) return cli_usage_error(c, "%s takes no value", options[k].name);
      *(int *)options[k].value = 1;
      continue;
    }
    if (!equals && i + 1 >= w->argc) return cli_usage_error(c, "%s wants a value", a);
    value = equals ? equals + 1 : w->argv[++i];
    wanted = cli_store(&options[k], value);
    if (wanted)
      return cli_usage_error(c, "%s wants %s, got '%s'", options[k].name, wanted, value);
  }
  return CLI_GO_ON;
}

/* Reads the values of --config that the command line leaves open. */
static int cli_config(const cli_command *c, const cli_option *options, int count, int *said) {
  char why[CLI_WHY];
  int k;
  for (k = 0; k < count && options[k].kind != CLI_CONFIG; k++) { }
  if (k == count || !said[k]) return CLI_GO_ON;
  if (cli_settings_load(*(const char **)options[k].value, options, count, said, why))
    return CLI_GO_ON;
  return cli_usage_error(c, "%s: %s", *(const char **)options[k].value, why);
}

/* Gives the options that nobody named their initial values. */
static void cli_initial(const cli_command *c, const cli_option *options, int count,
                        const int *said) {
  static char room[1024]; /* first ones that a second one follows; the values are texts in it */
  size_t used = 0;
  int k, second = 0;
  for (k = 0; k < count; k++)
    second |= c->second && said[k] && strcmp(options[k].name, c->second) == 0;
  for (k = 0; k < count; k++) {
    const char *text = options[k].initial, *semicolon = text ? strchr(text, ';') : NULL;
    if (!text || said[k]) continue;
    if (semicolon && second) text = semicolon + 2;
    else if (semicolon) {
      int n = snprintf(room + used, sizeof room - used, "%.*s", (int)(semicolon - text), text);
      text = room + used;
      used += (size_t)n + 1;
    }
    cli_store(&options[k], text);
  }
}

int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
              char **argv, const char **plain, int *plain_count) {
  const cli_words words = {argc, argv, plain, plain_count};
  int said[CLI_MOST], status;
  memset(said, 0, sizeof said);
  *plain_count = 0;
  status = cli_arguments(c, options, count, &words, said);
  if (status == CLI_GO_ON) status = cli_config(c, options, count, said);
  if (status != CLI_GO_ON) return status;
  cli_initial(c, options, count, said);
  if (*plain_count < c->least) return cli_usage_error(c, "usage: boundarydpt %s", c->synopsis);
  return CLI_GO_ON;
}
