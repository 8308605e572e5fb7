/* settings.c: options in files */
#include "settings.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { CLI_CONFIG_ROOM = 1 << 16 };

/* Cuts the next word out of a line; NULL at its end or before a comment. */
static char *cli_word(char **at) {
  char *word = *at + strspn(*at, " \t\r="), *end;
  *at = word + strlen(word);
  if (*word == 0 || *word == '#') return NULL;
  if (*word == '"' && strchr(word + 1, '"')) {
    end = strchr(++word, '"');
  } else {
    end = word + strcspn(word, " \t\r=#");
    if (*end == '#') {
      *end = 0;
      return word;
    }
  }
  if (*end) *at = end + 1;
  *end = 0;
  return word;
}

/* Checks a value, and stores it unless one was said before. */
static const char *cli_set(const cli_option *o, const char *text, int seen) {
  union { int i; size_t n; double v; const char *text; cli_layers layers; } aside;
  cli_option copy = *o;
  if (seen < 0) copy.value = &aside;
  return cli_store(&copy, text);
}

static int cli_settings_line(char *line, int number, const cli_option *options, int count,
                             size_t skip, int *seen, char why[CLI_WHY]) {
  char *name = cli_word(&line), *value = cli_word(&line), *more = cli_word(&line);
  const char *wanted;
  int k;
  if (!name) return 1;
  for (k = 0; k < count; k++)
    if (options[k].kind != CLI_TITLE && options[k].kind != CLI_CONFIG &&
        strcmp(options[k].name + skip, name) == 0) break;
  if (k == count) {
    const cli_option *meant = cli_meant(options, count, skip, name, strlen(name));
    snprintf(why, CLI_WHY, "line %d: there is no '%.99s'%s%s%s", number, name,
             meant ? "; did you mean " : "", meant ? meant->name + skip : "", meant ? "?" : "");
    return 0;
  }
  if (seen[k] != 0 && seen[k] != CLI_SAID_BEFORE) {
    snprintf(why, CLI_WHY, "line %d: '%.99s' stands in line %d already", number, name,
             seen[k] > 0 ? seen[k] : CLI_SAID_BEFORE - seen[k]);
    return 0;
  }
  if (!value || more) {
    snprintf(why, CLI_WHY, "line %d: '%.99s' wants one value%s%.99s", number, name,
             more ? ", not also " : "", more ? more : "");
    return 0;
  }
  wanted = cli_set(&options[k], value, seen[k]);
  if (wanted) {
    snprintf(why, CLI_WHY, "line %d: '%.99s' wants %s, got '%.99s'", number, name, wanted, value);
    return 0;
  }
  seen[k] = seen[k] == 0 ? number : CLI_SAID_BEFORE - number;
  return 1;
}

int cli_settings_read(char *text, const cli_option *options, int count, size_t skip, int *seen,
                      char why[CLI_WHY]) {
  char *at, *end;
  int number = 1;
  for (at = text; at; at = end ? end + 1 : NULL, number++) {
    end = strchr(at, '\n');
    if (end) *end = 0;
    if (!cli_settings_line(at, number, options, count, skip, seen, why)) return 0;
  }
  return 1;
}

int cli_settings_load(const char *path, const cli_option *options, int count, int *seen,
                      char why[CLI_WHY]) {
  static char text[CLI_CONFIG_ROOM + 1];
  FILE *f = fopen(path, "rb");
  size_t n = f ? fread(text, 1, sizeof text, f) : 0;
  const int failed = !f || ferror(f);
  if (failed) snprintf(why, CLI_WHY, "it cannot be read (%.99s)", strerror(errno));
  if (f) fclose(f);
  if (failed) return 0;
  if (n >= sizeof text || memchr(text, 0, n)) {
    snprintf(why, CLI_WHY, "no text of at most %d bytes", CLI_CONFIG_ROOM);
    return 0;
  }
  text[n] = 0;
  return cli_settings_read(text, options, count, 2, seen, why);
}

/* Adds the key of an option: "--tune-images" is "tune_images". */
static void cli_settings_key(cli_json *j, const char *name) {
  char key[64];
  size_t i;
  snprintf(key, sizeof key, "%s", strncmp(name, "--", 2) == 0 ? name + 2 : name);
  for (i = 0; key[i]; i++)
    if (key[i] == '-') key[i] = '_';
  cli_json_key(j, key);
}

static void cli_settings_value(cli_json *j, const cli_option *o) {
  const char *text;
  size_t n;
  double v;
  char size[40];
  switch (o->kind) {
    case CLI_SIDES:
      v = ((const int *)o->value)[0] ? ((const int *)o->value)[0] : -1;
      if (((const int *)o->value)[1] == 0) break;
      snprintf(size, sizeof size, "%.0fx%d", v, ((const int *)o->value)[1]);
      cli_json_quoted(j, size);
      return;
    case CLI_INT: case CLI_FLAG: v = *(const int *)o->value; break;
    case CLI_INT_1: v = *(const int *)o->value ? *(const int *)o->value : -1; break;
    case CLI_SIZE: case CLI_SIZE_1:
      n = *(const size_t *)o->value;
      v = n == SIZE_MAX || (n == 0 && o->kind == CLI_SIZE_1) ? -1 : (double)n;
      break;
    case CLI_LAYERS:
      cli_json_list(j, ((const cli_layers *)o->value)->layer,
                    ((const cli_layers *)o->value)->count);
      return;
    case CLI_TEXT: case CLI_CONFIG:
      text = *(const char *const *)o->value;
      if (text) cli_json_quoted(j, text);
      else cli_json_raw(j, "null", 4);
      return;
    default:
      v = *(const double *)o->value;
      if (v == BDPT_NONE) v = 0;
      else if (v == 0 && o->kind == CLI_REAL_UP) v = -1;
  }
  if (v >= 0) cli_json_value(j, v);
  else cli_json_raw(j, "null", 4);
}

void cli_settings_write(cli_json *j, const cli_option *options, int count) {
  int k;
  cli_json_key(j, "settings");
  cli_json_raw(j, "{", 1);
  j->comma = 0;
  for (k = 0; k < count; k++) {
    if (options[k].kind == CLI_TITLE) continue;
    cli_settings_key(j, options[k].name);
    cli_settings_value(j, &options[k]);
  }
  cli_json_raw(j, "}", 1);
}
