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

static int cli_read_layers(const char *text, cli_layers *out) {
  out->count = 0;
  while (*text) {
    char *end;
    long v;
    if (*text < '0' || *text > '9' || out->count >= 64) return 0;
    v = strtol(text, &end, 10);
    if (v > 9999) return 0;
    out->layer[out->count++] = (int)v;
    if (*end == ',' && end[1]) end++;
    else if (*end) return 0;
    text = end;
  }
  return out->count > 0;
}

const char *cli_store(const cli_option *o, const char *text) {
  char *end = NULL;
  errno = 0;
  switch (o->kind) {
    case CLI_INT: {
      long v = strtol(text, &end, 10);
      if (end == text || *end || errno || v < -1000000000L || v > 1000000000L)
        return "a whole number";
      *(int *)o->value = (int)v;
      return NULL;
    }
    case CLI_SIZE: {
      unsigned long long v = strtoull(text, &end, 10);
      if (*text < '0' || *text > '9' || *end || errno || v > (unsigned long long)(SIZE_MAX / 2))
        return "a whole number, 0 or more";
      *(size_t *)o->value = (size_t)v;
      return NULL;
    }
    case CLI_REAL: {
      double v = strtod(text, &end);
      if (end == text || *end || errno || !(v > -1e300 && v < 1e300)) return "a number";
      *(double *)o->value = v;
      return NULL;
    }
    case CLI_LAYERS:
      return cli_read_layers(text, (cli_layers *)o->value) ? NULL : "layers such as 3,7,11";
    default:
      *(const char **)o->value = text;
      return *text ? NULL : "a text that is not empty";
  }
}

int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
              char **argv, const char **plain, int *plain_count) {
  int i, k;
  *plain_count = 0;
  for (i = 0; i < argc; i++) {
    const char *a = argv[i], *equals = strchr(a, '='), *value, *wanted;
    size_t length = equals ? (size_t)(equals - a) : strlen(a);
    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
      cli_help(c, options, count);
      return CLI_OK;
    }
    if (a[0] != '-' || a[1] == 0) {
      if (*plain_count >= c->most) return cli_usage_error(c, "one argument too many: '%s'", a);
      plain[(*plain_count)++] = a;
      continue;
    }
    for (k = 0; k < count; k++)
      if (options[k].kind != CLI_TITLE && strlen(options[k].name) == length &&
          strncmp(options[k].name, a, length) == 0) break;
    if (k == count) return cli_usage_error(c, "there is no option '%.*s'", (int)length, a);
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
