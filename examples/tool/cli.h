/* =================================================================================================
 * cli.h: what every command of the tool needs from the terminal
 * =================================================================================================
 * Options from a table, a progress line, Ctrl-C as a polite request, JSON lines out, the clock.
 *
 * Habits kept here so that the commands need not think of them:
 *   - results go to stdout, progress and errors to stderr;
 *   - a mistake in the command line ends with exit status 2, a failure with 1 and one line that
 *     says what and where, Ctrl-C with 130 after saving; --help is a result (stdout, 0);
 *   - on a terminal the progress is one line that rewrites itself; in a file or a pipe it is a
 *     plain line now and then, so that a log stays readable;
 *   - colour (bold only) needs a terminal and no NO_COLOR.
 *
 * Chapters: 1 system, 2 options, 3 progress, 4 JSON lines.
 */
#ifndef CLI_H
#define CLI_H

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#ifdef _WIN32
#include <direct.h>
#include <io.h>
#else
#include <unistd.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CLI_UNUSED __attribute__((unused))
#define CLI_FN static __attribute__((unused))
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CLI_UNUSED
#define CLI_FN static
#define CLI_PRINTF(f, a)
#endif

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130, CLI_GO_ON = -1 };

/* =================================================================================================
 * 1  SYSTEM                                                                               >>system
 * =================================================================================================
 * The few things that C leaves to the operating system: a clock with fractions of a second, whether
 * a stream is a terminal, and making a folder.
 */
CLI_FN double cli_now(void) {
#if defined(CLOCK_MONOTONIC)
  struct timespec t;
  if (clock_gettime(CLOCK_MONOTONIC, &t) == 0) return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#endif
  return (double)clock() / CLOCKS_PER_SEC;
}

CLI_FN int cli_is_terminal(FILE *f) {
  const char *term = getenv("TERM");
  if (term && strcmp(term, "dumb") == 0) return 0;
#ifdef _WIN32
  return _isatty(_fileno(f));
#else
  return isatty(fileno(f));
#endif
}

/* NO_COLOR counts when it is set to anything but "" and "0" (CMake reads it the same way). */
CLI_FN int cli_wants_colour(FILE *f) {
  const char *no = getenv("NO_COLOR");
  return cli_is_terminal(f) && !(no && *no && strcmp(no, "0") != 0);
}

/* Makes a folder and those above it. 1 if it is there afterwards. */
CLI_FN int cli_make_folder(const char *path) {
  char part[1024];
  size_t i, n = strlen(path);
  struct stat s;
  if (n == 0 || n >= sizeof part) return 0;
  for (i = 0; i <= n; i++) {
    part[i] = path[i];
    if (i == 0 || (path[i] != '/' && path[i] != 0)) continue;
    part[i] = 0;
#ifdef _WIN32
    _mkdir(part);
#else
    mkdir(part, 0777);
#endif
    part[i] = path[i];
  }
  return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

CLI_FN int cli_file_exists(const char *path) {
  struct stat s;
  return stat(path, &s) == 0;
}

CLI_FN double cli_file_size(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (double)s.st_size : -1.0;
}

/* Ctrl-C sets a flag that the progress callback passes on; the library then saves and returns. A
 * second Ctrl-C finds the default handler and ends the program at once. */
static volatile sig_atomic_t cli_stop;

static void cli_on_signal(int number) {
  cli_stop = 1;
  signal(number, SIG_DFL);
}

CLI_FN void cli_catch_interrupt(void) {
  signal(SIGINT, cli_on_signal);
  signal(SIGTERM, cli_on_signal);
}

/* OpenMP threads that wait for the next loop keep their processor busy, GCC's for about ten
 * milliseconds. On a machine that runs other programs too, this makes a run ten times slower: the
 * one who waits keeps the one who works from working. A shorter wait costs an idle machine next to
 * nothing. The OpenMP library reads its setting before main, so the program starts itself again,
 * once, unless the user has decided. */
CLI_FN void cli_calm_threads(char **argv) {
#ifndef _WIN32
  if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
  if (setenv("GOMP_SPINCOUNT", "5000", 1) == 0) execvp(argv[0], argv);
#else
  (void)argv;
#endif
}

/* After snprintf: a text that did not fit ends in dots. */
CLI_FN void cli_cut(char *text, size_t room, int wanted) {
  if (wanted < 0 || (size_t)wanted >= room) memcpy(text + room - 4, "...", 4);
}

/* The library's checkpoints of one long call, and of the calls inside it, are no longer needed. */
CLI_FN void cli_forget_checkpoint(const char *path) {
  static const char *const suffix[] = {"", ".disparity", ".recovery", ".map", ".search",
                                       ".greedy", ".stage2"};
  char name[1100];
  size_t i;
  for (i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
    snprintf(name, sizeof name, "%s%s", path, suffix[i]);
    remove(name);
  }
}

/* =================================================================================================
 * 2  OPTIONS                                                                             >>options
 * =================================================================================================
 * A command describes its options in a table of (name, kind, where to put it, what to call the
 * value, help). The same table parses the command line and prints the help, so neither can forget
 * an option that the other knows.
 */
enum { CLI_FLAG, CLI_INT, CLI_SIZE, CLI_REAL, CLI_TEXT, CLI_LAYERS, CLI_TITLE };

/* A list of layer numbers, as in "3,7,11". */
typedef struct cli_layers { int count, layer[64]; } cli_layers;

typedef struct cli_option {
  const char *name;       /* "--batch"; for CLI_TITLE a heading of the help */
  int kind;
  void *value;            /* int, size_t (CLI_SIZE), double, const char *, cli_layers */
  const char *argument;   /* "N" */
  const char *help;
} cli_option;

typedef struct cli_command {
  const char *name;       /* "eval" */
  const char *synopsis;   /* "eval MODEL [options]" */
  const char *story;      /* one paragraph for --help */
  int least, most;        /* how many arguments that are not options */
} cli_command;

/* What all commands share. */
typedef struct cli_common {
  int threads, json, quiet, fresh, bf16;
  size_t seed;
  const char *isa;
} cli_common;

/* How to read a network that another program saved; for every command that names one. */
CLI_UNUSED static struct cli_choice { const char *key; int heads; } cli_choice;

#define CLI_COMMON(c) \
  {"A network from elsewhere", CLI_TITLE, NULL, NULL, NULL}, \
  {"--key", CLI_TEXT, &cli_choice.key, "NAME", "which of several in a .pth file: model_ema"}, \
  {"--heads", CLI_INT, &cli_choice.heads, "N", "attention heads, if no file tells them (2)"}, \
  {"Everywhere", CLI_TITLE, NULL, NULL, NULL}, \
  {"--threads", CLI_INT, &(c)->threads, "N", "threads; 0: all there are (default)"}, \
  {"--isa", CLI_TEXT, &(c)->isa, "NAME", "best (default), portable, avx2 or avx512"}, \
  {"--bf16", CLI_FLAG, &(c)->bf16, NULL, "products of bf16 factors: faster, rounded"}, \
  {"--seed", CLI_SIZE, &(c)->seed, "N", "of everything random (default 1)"}, \
  {"--json", CLI_FLAG, &(c)->json, NULL, "results as JSON lines instead of text"}, \
  {"--quiet", CLI_FLAG, &(c)->quiet, NULL, "no progress on stderr"}

CLI_PRINTF(2, 3)
CLI_FN int cli_usage_error(const cli_command *c, const char *format, ...) {
  va_list args;
  fprintf(stderr, "boundarydpt %s: ", c->name);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, " (boundarydpt %s --help explains)\n", c->name);
  return CLI_USAGE;
}

CLI_FN void cli_help(const cli_command *c, const cli_option *options, int count) {
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

CLI_FN int cli_read_layers(const char *text, cli_layers *out) {
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

/* Stores one value; returns what was expected if the text is something else, else NULL. */
CLI_FN const char *cli_store(const cli_option *o, const char *text) {
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

/* Returns CLI_GO_ON, or the exit status after --help or a mistake. `plain` receives the arguments
 * that are not options. "--name value" and "--name=value" are the same. */
CLI_FN int cli_parse(const cli_command *c, const cli_option *options, int count, int argc,
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

/* =================================================================================================
 * 3  PROGRESS                                                                           >>progress
 * =================================================================================================
 * The library reports (phase, detail, done, total). The time left is estimated from the pace since
 * this program saw the phase for the first time, so a resumed run does not count what was done
 * before. A callback that always returns the Ctrl-C flag makes every long call interruptible.
 */
typedef struct cli_progress {
  int off, terminal, shown;
  double began, said;     /* when the part began, when a line was last written */
  double first;           /* fraction done at the first report */
  size_t total;
  char phase[24];
  void (*also)(const bdpt_progress *now, void *user); /* sees every report first; may be NULL */
  void *user;
} cli_progress;

CLI_FN void cli_progress_open(cli_progress *p, int quiet) {
  memset(p, 0, sizeof *p);
  p->off = quiet;
  p->terminal = cli_is_terminal(stderr);
}

/* Wipes the line, so that a result can be printed where it stood. */
CLI_FN void cli_progress_clear(cli_progress *p) {
  if (p->shown) fprintf(stderr, "\r%-79s\r", "");
  fflush(stderr);
  p->shown = 0;
}

CLI_FN void cli_duration(char out[40], double seconds) {
  int s = seconds >= 0 && seconds < 3.6e6 ? (int)(seconds + 0.5) : -1;
  if (s < 0) snprintf(out, 40, "-:--");
  else if (s >= 3600) snprintf(out, 40, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  else snprintf(out, 40, "%d:%02d", s / 60, s % 60);
}

CLI_FN void cli_progress_show(cli_progress *p, const bdpt_progress *now) {
  double share = now->total ? (double)now->done / (double)now->total : 0.0, t = cli_now();
  char left[40], line[160], number[32] = "";
  if (strncmp(p->phase, now->phase, sizeof p->phase - 1) != 0 || p->total != now->total ||
      share < p->first) {
    snprintf(p->phase, sizeof p->phase, "%s", now->phase);
    p->total = now->total;
    p->began = t;
    p->first = share;
    if (p->said == 0) p->said = t;
  }
  if (t - p->said < (p->terminal ? 0.15 : 15.0)) return;
  p->said = t;
  cli_duration(left, share > p->first ? (t - p->began) * (1 - share) / (share - p->first) : -1);
  if (now->accuracy == now->accuracy) snprintf(number, sizeof number, "  %.1f %%", now->accuracy);
  else if (now->loss == now->loss) snprintf(number, sizeof number, "  loss %.3f", now->loss);
  snprintf(line, sizeof line, "   %s%s%s: %.0f %%%s, %s left", now->phase,
           now->detail && *now->detail ? ", " : "", now->detail ? now->detail : "", 100 * share,
           number, left);
  if (p->terminal) fprintf(stderr, "\r%-79.79s", line);
  else fprintf(stderr, "%s\n", line);
  fflush(stderr);
  p->shown = p->terminal;
}

CLI_FN int cli_progress_hook(const bdpt_progress *now, void *user) {
  cli_progress *p = (cli_progress *)user;
  if (p->also) p->also(now, p->user);
  if (!p->off) cli_progress_show(p, now);
  return cli_stop != 0;
}

CLI_FN bdpt_hooks cli_hooks(cli_progress *p, const char *checkpoint) {
  bdpt_hooks hooks;
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = cli_progress_hook;
  hooks.user = p;
  hooks.checkpoint = checkpoint;
  p->phase[0] = 0;
  p->said = 0;
  return hooks;
}

/* The end of a command: the exit status for a library status, with its sentence on stderr. */
CLI_FN int cli_finish(const char *command, bdpt_context *ctx, bdpt_status status,
                      const char *how_to_go_on) {
  if (status == BDPT_OK) return CLI_OK;
  if (status == BDPT_CANCELLED) {
    fprintf(stderr, "\nboundarydpt %s: stopped%s%s\n", command, how_to_go_on ? "; " : "",
            how_to_go_on ? how_to_go_on : "");
    return CLI_INTERRUPTED;
  }
  fprintf(stderr, "boundarydpt %s: %s\n", command,
          ctx->message[0] ? ctx->message : bdpt_status_string(status));
  return CLI_FAILED;
}

/* =================================================================================================
 * 4  JSON LINES                                                                             >>json
 * =================================================================================================
 * One object per line, built in memory. Numbers are written with as few digits as read back to the
 * same double, so that a resumed run continues with exactly what it measured. NaN becomes null.
 */
typedef struct cli_json {
  char *text;
  size_t used, room;
  int failed, comma;
} cli_json;

CLI_FN void cli_json_raw(cli_json *j, const char *s, size_t n) {
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

CLI_FN void cli_json_quoted(cli_json *j, const char *s) {
  char escape[8];
  cli_json_raw(j, "\"", 1);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') {
      escape[0] = '\\';
      escape[1] = *s;
      cli_json_raw(j, escape, 2);
    } else if ((unsigned char)*s < 32) {
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*s);
      cli_json_raw(j, escape, 6);
    } else {
      cli_json_raw(j, s, 1);
    }
  }
  cli_json_raw(j, "\"", 1);
}

CLI_FN void cli_json_key(cli_json *j, const char *key) {
  if (j->comma) cli_json_raw(j, ",", 1);
  cli_json_quoted(j, key);
  cli_json_raw(j, ":", 1);
  j->comma = 1;
}

CLI_FN void cli_json_value(cli_json *j, double v) {
  char digits[40];
  int precision = 6;
  if (!(v > -1e300 && v < 1e300)) { cli_json_raw(j, "null", 4); return; }
  do snprintf(digits, sizeof digits, "%.*g", precision, v);
  while (strtod(digits, NULL) != v && ++precision <= 17);
  cli_json_raw(j, digits, strlen(digits));
}

CLI_FN void cli_json_open(cli_json *j, const char *kind) {
  cli_json_raw(j, "{", 1);
  j->comma = 0;
  if (!kind) return;
  cli_json_key(j, "kind");
  cli_json_quoted(j, kind);
}

CLI_FN void cli_json_close(cli_json *j) { cli_json_raw(j, "}\n", 2); }

CLI_FN void cli_json_text(cli_json *j, const char *key, const char *value) {
  cli_json_key(j, key);
  cli_json_quoted(j, value);
}

CLI_FN void cli_json_real(cli_json *j, const char *key, double value) {
  cli_json_key(j, key);
  cli_json_value(j, value);
}

CLI_FN void cli_json_reals(cli_json *j, const char *key, const double *values, int count) {
  int i;
  cli_json_key(j, key);
  cli_json_raw(j, "[", 1);
  for (i = 0; i < count; i++) {
    if (i) cli_json_raw(j, ",", 1);
    cli_json_value(j, values[i]);
  }
  cli_json_raw(j, "]", 1);
}

CLI_FN void cli_json_ints(cli_json *j, const char *key, const int *values, int count) {
  int i;
  cli_json_key(j, key);
  cli_json_raw(j, "[", 1);
  for (i = 0; i < count; i++) {
    if (i) cli_json_raw(j, ",", 1);
    cli_json_value(j, values[i]);
  }
  cli_json_raw(j, "]", 1);
}

/* Prints what was built and starts again. */
CLI_FN int cli_json_print(cli_json *j, FILE *f) {
  int ok = !j->failed && j->used && fwrite(j->text, 1, j->used, f) == j->used;
  free(j->text);
  memset(j, 0, sizeof *j);
  return ok;
}

#endif /* CLI_H */
