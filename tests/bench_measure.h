/* Measuring in turn: clocks, other processes, rounds, and rows of a table or lines of JSON.
 *
 * An engine is one way to do a piece of work: a function of this program, or a variant that another
 * process runs for us. take_turns lets engines work one after another for several rounds, because
 * the speed of a shared machine drifts by more than the differences that matter; ratios are formed
 * within a round, and their median is reported. The first engine, ours, works before and after all
 * others and counts with the mean of both. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 64, SAMPLES = 1024 };

static struct {
  int json, quick, no_peers, threads, rounds, failed;
  int isa; /* bdpt_isa_choice: of everything, ours and the peers' */
  char isa_name[16]; /* what that is on this processor */
  char self[400], python[200], peers[420]; /* this program, the interpreter, bench_peers.py */
} bench;

static void complain(const char *what, const char *why) {
  fprintf(stderr, "bench: %s: %s\n", what, why);
  bench.failed = 1;
}

/* 1  Clocks and medians
 *
 * One thread is timed by its own processor time, which a busy machine disturbs least; several
 * threads by the clock on the wall. */
static double now(int threads) {
  struct timespec t;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void rest(double seconds) {
  struct timespec t;
  t.tv_sec = (time_t)seconds;
  t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
  nanosleep(&t, NULL);
}

typedef struct spread { double median, low, high; } spread; /* low and high: 10 % and 90 % */

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static spread spread_of(const double *x, int n) {
  static double sorted[SAMPLES];
  spread s = {0, 0, 0};
  if (n == 0) return s;
  memcpy(sorted, x, (size_t)n * sizeof *x);
  qsort(sorted, (size_t)n, sizeof *x, by_size);
  s.median = n % 2 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
  s.low = sorted[(int)(0.1 * (n - 1) + 0.5)];
  s.high = sorted[(int)(0.9 * (n - 1) + 0.5)];
  return s;
}

/* A geometric mean, and the smallest of its numbers. */
typedef struct mean { double logs, worst; int count; } mean;

static void mean_add(mean *m, double x) {
  if (!(x > 0)) return;
  m->worst = m->count == 0 || x < m->worst ? x : m->worst;
  m->logs += log(x);
  m->count++;
}

static double mean_of(const mean *m) { return m->count ? exp(m->logs / m->count) : 0; }

/* 2  Other processes
 *
 * They read a command per line and answer each with one line; tests/bench_peers.py describes the
 * commands. A process that ends, or says nothing for five minutes, has no further part. */
typedef struct child {
  pid_t pid; /* 0: not running */
  FILE *to, *from;
  char name[200], line[65536];
} child;

static void child_stop(child *c) {
  if (c->pid <= 0) return;
  fprintf(c->to, "quit\n");
  fclose(c->to);
  fclose(c->from);
  waitpid(c->pid, NULL, 0);
  c->pid = 0;
}

static int child_read(child *c) {
  struct pollfd p;
  size_t n;
  p.fd = fileno(c->from);
  p.events = POLLIN;
  if (poll(&p, 1, 300000) != 1 || !fgets(c->line, sizeof c->line, c->from)) {
    kill(c->pid, SIGKILL);
    strcpy(c->line, "skipped: no answer");
    child_stop(c);
    return 0;
  }
  n = strlen(c->line);
  if (n > 0 && c->line[n - 1] == '\n') c->line[n - 1] = 0;
  return 1;
}

/* Sends a command; returns 1 if the answer starts with `want`. */
static int child_ask(child *c, const char *want, const char *format, ...) {
  va_list list;
  if (c->pid <= 0) return 0;
  va_start(list, format);
  vfprintf(c->to, format, list);
  va_end(list);
  fprintf(c->to, "\n");
  fflush(c->to);
  return child_read(c) && strncmp(c->line, want, strlen(want)) == 0;
}

static void child_run(char *const *argv, int in, int out) {
  dup2(in, 0);
  dup2(out, 1);
  if (!freopen("/dev/null", "w", stderr)) _exit(127);
  execvp(argv[0], argv);
  _exit(127);
}

/* Starts a program that says "hello NAME"; otherwise leaves the reason in c->line and returns 0. */
static int child_start(child *c, char *const *argv) {
  int down[2], up[2];
  memset(c, 0, sizeof *c);
  strcpy(c->line, "skipped: it could not be started");
  if (pipe(down) != 0 || pipe(up) != 0) return 0;
  fflush(stdout);
  c->pid = fork();
  if (c->pid == 0) {
    close(down[1]);
    close(up[0]);
    child_run(argv, down[0], up[1]);
  }
  close(down[0]);
  close(up[1]);
  if (c->pid < 0) return 0;
  c->to = fdopen(down[1], "w");
  c->from = fdopen(up[0], "r");
  if (!child_read(c)) return 0;
  if (strncmp(c->line, "hello ", 6) != 0) {
    child_stop(c);
    return 0;
  }
  snprintf(c->name, sizeof c->name, "%.190s", c->line + 6);
  return 1;
}

/* Returns the peak or present memory of this process in bytes, as the kernel counts it. */
static double memory_of(const char *key) {
  FILE *f = fopen("/proc/self/status", "r");
  char line[200];
  double kilobytes = 0;
  struct rusage usage;
  while (f && fgets(line, sizeof line, f)) {
    if (strncmp(line, key, strlen(key)) == 0) kilobytes = atof(line + strlen(key) + 1);
  }
  if (f) fclose(f);
  if (kilobytes == 0 && getrusage(RUSAGE_SELF, &usage) == 0) kilobytes = (double)usage.ru_maxrss;
  return kilobytes * 1024;
}

/* 3  Engines and rounds */
typedef struct engine {
  const char *name;
  int (*run)(void *with);  /* one repetition; 0: it failed. Or NULL: */
  void *with;
  child *peer;             /* ask this process ... */
  const char *variant;     /* ... for this variant of its current case */
  int threads;
  double amount;           /* what one repetition does, in the unit of the table */
  double once;             /* seconds of a repetition, as known so far */
  double sample[SAMPLES], round[ROUNDS]; /* seconds: each repetition, each round's median */
  int samples, rounds;
} engine;

static engine engine_of(const char *name, int (*run)(void *), void *with, int threads,
                        double amount) {
  engine e;
  memset(&e, 0, sizeof e);
  e.name = name;
  e.run = run;
  e.with = with;
  e.threads = threads;
  e.amount = amount;
  return e;
}

static void engine_sample(engine *e, double seconds) {
  if (e->samples < SAMPLES) e->sample[e->samples++] = seconds;
  e->once = seconds;
}

static double engine_repeat(engine *e, int times) {
  const double start = now(e->threads);
  int i;
  for (i = 0; i < times; i++) {
    if (!e->run(e->with)) return -1;
  }
  return (now(e->threads) - start) / times;
}

/* Measures an engine of this process: a repetition to warm up unless it is long, then samples of a
 * few milliseconds or one repetition until the time is over. */
static int engine_here(engine *e, double seconds) {
  double spent = 0, t;
  int times;
  if (e->once < 0.3) e->once = engine_repeat(e, 1);
  if (e->once < 0.3) e->once = engine_repeat(e, 1);
  if (e->once < 0) return 0;
  do {
    times = e->once < 2e-3 ? (int)(2e-3 / (e->once + 1e-7)) + 1 : 1;
    t = engine_repeat(e, times);
    if (t < 0) return 0;
    engine_sample(e, t);
    spent += t * times;
  } while (spent < seconds);
  return 1;
}

static int engine_there(engine *e, double seconds) {
  char *at, *end;
  if (!child_ask(e->peer, "times ", "go %s %g", e->variant, seconds)) return 0;
  for (at = e->peer->line + 6;; at = end) {
    const double t = strtod(at, &end);
    if (end == at) return 1;
    engine_sample(e, t);
  }
}

/* Makes one measurement and returns its median, 0 if there is none. Whoever waits for work may spin
 * for a moment, so between processes there is a pause. */
static double engine_measure(engine *e, double seconds) {
  const int before = e->samples;
  const int ok = e->run ? engine_here(e, seconds) : engine_there(e, seconds);
  return ok ? spread_of(e->sample + before, e->samples - before).median : 0;
}

/* Lets the engines take turns. The networks that take longest get two rounds, unless --rounds asked
 * for more. */
static void take_turns(engine *e, int count, int rounds, double seconds) {
  const double start = now(0);
  int r, i, abroad = 0;
  double t, again;
  for (i = 0; i < count; i++) abroad |= e[i].peer != NULL;
  for (r = 0; r < rounds && r < ROUNDS; r++) {
    if (r >= 2 && !bench.rounds && now(0) - start > 20) break;
    for (i = 0; i < count; i++) {
      if (abroad) rest(0.05);
      t = engine_measure(&e[i], seconds);
      e[i].round[r] = t;
      e[i].rounds = r + 1;
    }
    if (abroad) rest(0.05);
    again = engine_measure(&e[0], seconds);
    e[0].round[r] = 0.5 * (e[0].round[r] + again);
  }
  for (i = 0; i < count; i++) {
    if (e[i].run && e[i].samples == 0) complain(e[i].name, "it failed");
  }
}

/* Returns an engine's amounts per second. */
static spread rate_of(const engine *e) {
  const spread s = spread_of(e->sample, e->samples);
  spread r = {0, 0, 0};
  if (s.median <= 0) return r;
  r.median = e->amount / s.median;
  r.low = e->amount / s.high;
  r.high = e->amount / s.low;
  return r;
}

/* Returns how many times as fast a is as b, amounts counted; zeros where one was not measured. */
static spread ratio_of(const engine *a, const engine *b) {
  double x[ROUNDS];
  int n = 0, r;
  for (r = 0; r < a->rounds && r < b->rounds; r++) {
    if (!(a->round[r] > 0 && b->round[r] > 0)) continue;
    x[n++] = a->amount / a->round[r] / (b->amount / b->round[r]);
  }
  return spread_of(x, n);
}

static spread scaled(spread s, double factor) {
  s.median *= factor;
  s.low *= factor;
  s.high *= factor;
  return s;
}

/* 4  Rows
 *
 * The same calls make a line of a table or a line of JSON. A cell is a median with its spread. */
enum { CELL = 20 };

/* Prints the names of columns, separated by '|'; a row may go on in a second line, and then so do
 * its names. */
static void table_line(const char *columns) {
  size_t length;
  printf("%-34s", "");
  for (; *columns; columns += length + (columns[length] != 0)) {
    length = strcspn(columns, "|");
    printf("%-*.*s", CELL, (int)length, columns);
  }
  printf("\n");
}

static void table_head(const char *title, const char *unit, const char *columns,
                       const char *second) {
  if (bench.json) return;
  printf("\n%s, %s: median (p10-p90)\n", title, unit);
  table_line(columns);
  if (second) table_line(second);
  fflush(stdout);
}

static void row_open(const char *section, const char *unit, const char *label) {
  if (bench.json) {
    printf("{\"section\":\"%s\",\"case\":\"%s\",\"unit\":\"%s\"", section, label, unit);
  } else printf("%-34s", label);
}

/* Returns how many digits behind the point make about four in all. */
static int digits_of(double x) {
  int digits = 3;
  for (; digits > 0 && x >= 10; x /= 10) digits--;
  return digits;
}

/* Returns how many rounds to measure: what --rounds says, or two when the bench is to be quick. */
static int rounds_or(int usual) {
  if (bench.rounds) return bench.rounds;
  return bench.quick ? 2 : usual;
}

static void row_cell(const char *name, spread s) {
  char text[80];
  const int d = digits_of(s.median), short_d = d > 0 ? d - 1 : 0;
  if (bench.json && s.median > 0) {
    printf(",\"%s\":{\"median\":%.6g,\"p10\":%.6g,\"p90\":%.6g}", name, s.median, s.low, s.high);
  } else if (bench.json) printf(",\"%s\":null", name);
  else {
    snprintf(text, sizeof text, "%.*f (%.*f-%.*f)", d, s.median, short_d, s.low, short_d, s.high);
    printf("%-*s", CELL, s.median > 0 ? text : "skipped");
  }
}

static void row_number(const char *name, double value, const char *format) {
  char text[80];
  if (bench.json && value > 0) printf(",\"%s\":%.6g", name, value);
  else if (bench.json) printf(",\"%s\":null", name);
  else {
    snprintf(text, sizeof text, value > 0 ? format : "skipped", value);
    printf("%-*s", CELL, text);
  }
}

static void row_second_line(void) {
  if (!bench.json) printf("\n%-34s", "");
}

static void row_close(void) {
  printf(bench.json ? "}\n" : "\n");
  fflush(stdout);
}

/* Prints a remark in the table, an object of its own in JSON. */
static void note(const char *format, ...) {
  char text[600], *c;
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  for (c = text; *c; c++) {
    if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = '\'';
  }
  printf(bench.json ? "{\"note\":\"%s\"}\n" : "%s\n", text);
  fflush(stdout);
}

/* 5  The summary: every name has a line at the end, measured or not */
static const char *const summary_names[] = {
  "matmul_openblas_1t", "matmul_openblas_2t", "attention_products_1t", "attention_products_2t",
  "peak_fraction_base_b1_2t", "prune_speedup_ti", "prune_speedup_s", "prune_speedup_b",
  "prune_speedup_s_4_3", "merge_of_macs", "merge_of_macs_worst", "plus_over_width_4g",
  "plus_over_width_2g", "plus_over_width_1g", "infer_peer_1t", "infer_peer_2t", "infer_worst_1t",
  "infer_worst_2t", "infer_tuned_1t", "infer_tuned_2t", "train_peer_1t", "train_peer_2t",
  "train_tuned_1t", "train_tuned_2t", "train_memory", "bf16_infer_base", "bf16_train",
  "growth_worst", "isa_avx2", "o3_native"};
enum { SUMMARIES = sizeof summary_names / sizeof *summary_names };
static double summary_value[SUMMARIES];

static void summary(const char *stem, const char *tail, double value) {
  char name[80];
  int i;
  snprintf(name, sizeof name, "%s%s", stem, tail);
  for (i = 0; i < SUMMARIES; i++) {
    if (strcmp(summary_names[i], name) == 0) summary_value[i] = value;
  }
}

static void summary_print(void) {
  int i;
  printf(bench.json ? "{\"isa\":\"%s\"}\n" : "\nISA %s\n", bench.isa_name);
  for (i = 0; i < SUMMARIES; i++) {
    const double v = summary_value[i];
    if (bench.json && v > 0) printf("{\"ratio\":\"%s\",\"value\":%.4g}\n", summary_names[i], v);
    else if (bench.json) printf("{\"ratio\":\"%s\",\"value\":null}\n", summary_names[i]);
    else if (v > 0) printf("RATIO %s %.3f\n", summary_names[i], v);
    else printf("RATIO %s skipped\n", summary_names[i]);
  }
}

#endif
