/* How cost grows, what the instruction sets are worth, and what compiler flags change. All of this
 * compares the library with itself. */
#ifndef BENCH_GROWTH_H
#define BENCH_GROWTH_H

/* 1  Cost per FLOP along one axis
 *
 * Each point of a line is a network of its own. The points take turns; the cost of a FLOP at each,
 * times threads, is stated in units of the cheapest point of its line. */
enum { POINTS = 12 };

typedef struct line {
  network n[POINTS];
  engine e[POINTS];
  peak limit[POINTS];
  char label[POINTS][80];
  int count;
} line;

static job growth_job(int train, int threads) {
  job j;
  memset(&j, 0, sizeof j);
  j.train = train; j.threads = threads;
  j.image = 224; j.patch = 16; j.width = 192; j.depth = 12; j.heads = 3; j.classes = 1000;
  j.batch = 4;
  return j;
}

static void line_add(line *l, const job *j, const char *format, int value) {
  const int k = l->count;
  if (k == POINTS || !network_make(&l->n[k], j)) return;
  snprintf(l->label[k], sizeof l->label[k], format, value);
  l->e[k] = network_engine("ours", &l->n[k]);
  l->count++;
}

static double line_cost(const line *l, int k) {
  const spread s = spread_of(l->e[k].sample, l->e[k].samples);
  return s.median * l->n[k].what.threads / (l->n[k].gflop * l->n[k].what.batch);
}

/* Measures and prints a line, empties it, and returns best over worst. */
static double line_end(line *l, const char *what) {
  double best = 0, worst = 0, cost;
  char label[160];
  int k;
  take_turns(l->e, l->count, rounds_or(3), 0.12);
  for (k = 0; k < l->count; k++) {
    cost = line_cost(l, k);
    if (k == 0 || cost < best) best = cost;
    if (k == 0 || cost > worst) worst = cost;
  }
  for (k = 0; k < l->count; k++) {
    const network *n = &l->n[k];
    cost = line_cost(l, k);
    snprintf(label, sizeof label, "%s, %s %dt", what, l->label[k], n->what.threads);
    row_open("growth", "images/s", label);
    row_cell("ours", rate_of(&l->e[k]));
    row_number("GFLOP/s", n->what.threads / cost, "%.0f");
    row_number("cost of a FLOP", cost / best, "%.2f");
    row_close();
  }
  for (k = 0; k < l->count; k++) network_free(&l->n[k]);
  memset(l, 0, sizeof *l);
  return worst > 0 ? best / worst : 0;
}

static double growth_tokens(line *l, int train, int threads) {
  static const int pixels[] = {64, 96, 128, 160, 224, 288, 384};
  job j = growth_job(train, threads);
  int i;
  j.depth = train ? 4 : 12;
  j.batch = train ? 16 : 4;
  for (i = 0; i < 7; i++) {
    if (bench.quick && i % 3) continue;
    j.image = pixels[i];
    line_add(l, &j, "%d px", pixels[i]);
  }
  return line_end(l, train ? "train, image" : "infer, image");
}

static double growth_width(line *l, int train, int threads) {
  static const int widths[] = {96, 192, 384, 576, 768};
  job j = growth_job(train, threads);
  int i;
  j.depth = 4;
  for (i = 0; i < 5; i++) {
    if (bench.quick && i % 2) continue;
    j.width = widths[i];
    j.heads = widths[i] < 192 ? 3 : widths[i] / 64;
    line_add(l, &j, "%d", widths[i]);
  }
  return line_end(l, train ? "train, width" : "infer, width");
}

static void growth_depth_batch(line *l, int threads) {
  static const int depths[] = {1, 4, 12, 24}, batches[] = {1, 2, 4, 8, 16, 32};
  job j = growth_job(0, threads);
  int i;
  for (i = 0; i < 4; i++) {
    j.depth = depths[i];
    line_add(l, &j, "%d", depths[i]);
  }
  line_end(l, "infer, depth");
  j.depth = 12;
  for (i = 0; i < 6; i++) {
    j.batch = batches[i];
    line_add(l, &j, "%d", batches[i]);
  }
  line_end(l, "infer, batch");
}

/* Adds 1, 2, 4 ... threads to a line, as far as there are processors. */
static void growth_threads(line *l, int train) {
  job j = growth_job(train, 1);
  j.batch = 16;
  for (; j.threads <= bench.threads; j.threads *= 2) line_add(l, &j, "%d", j.threads);
  line_end(l, train ? "train, threads" : "infer, threads");
}

/* Adds networks with 0 to 10 layers gone, attention and activation by turns, fused. */
static void growth_removed(line *l, int threads) {
  job j = growth_job(0, threads);
  int gone;
  for (gone = 0; gone <= 10; gone++) {
    const int before = l->count;
    line_add(l, &j, "%d", gone);
    if (l->count > before) {
      network_prune(&l->n[before], attention_out, (gone + 1) / 2, activation_out, gone / 2);
    }
  }
  line_end(l, "infer, layers removed");
}

static void section_growth(void) {
  static line l;
  mean m = {0, 0, 0};
  int train, threads;
  table_head("Growth of a DeiT-Ti, 224 px, batch 4, but for the axis named; 4 blocks over widths\n"
             "and in training, where images of all sizes come in batches of 16", "images/s",
             "ours|GFLOP/s|cost of a FLOP (best point: 1)", NULL);
  for (threads = bench.quick ? most_threads() : 1; threads <= most_threads(); threads++) {
    for (train = 0; train < 2; train++) {
      mean_add(&m, growth_tokens(&l, train, threads));
      mean_add(&m, growth_width(&l, train, threads));
    }
  }
  summary("growth_worst", "", m.worst);
  if (bench.quick) return;
  growth_depth_batch(&l, most_threads());
  growth_threads(&l, 0);
  growth_threads(&l, 1);
  growth_removed(&l, most_threads());
}

/* 2  Instruction sets: one inference and one training job, on one thread */
static double isa_rows(const job *given, const char *what) {
  static const char *const names[] = {"avx512", "avx2", "portable"};
  static network n[3];
  static engine e[6];
  static peak p[3];
  job j = *given;
  char label[80];
  int i, count = 0;
  double narrower = 0;
  for (i = 0; i < 3; i++) {
    j.isa = BDPT_ISA_AVX512 - i;
    if (!network_make(&n[count], &j)) continue;
    if (strcmp(bdpt_isa_name(&n[count].ctx), names[i]) == 0) {
      e[count] = network_engine(names[i], &n[count]);
      count++;
    } else network_free(&n[count]);
  }
  for (i = 0; i < count; i++) e[count + i] = peak_engine(&p[i], e[i].name, j.threads);
  take_turns(e, 2 * count, rounds_or(3), 0.15);
  for (i = 0; i < count; i++) {
    const spread s = ratio_of(&e[i], &e[0]);
    snprintf(label, sizeof label, "%s, %s", what, e[i].name);
    row_open("isa", "images/s", label);
    row_cell("ours", rate_of(&e[i]));
    row_cell("to the best", s);
    row_cell("fraction of own peak", scaled(ratio_of(&e[i], &e[count + i]), n[i].gflop));
    row_close();
    if (strcmp(e[i].name, "avx2") == 0) narrower = s.median;
  }
  for (i = 0; i < count; i++) network_free(&n[i]);
  return narrower;
}

/* 3  The same program compiled with -O3 -march=native, if `make bench` could build it beside this
 * one: it answers the same commands (see bench_peers.py), started with --worker. */
static double flags_row(child *native, const job *j, const char *what) {
  static network n;
  static engine e[3];
  spread s;
  int count = 1;
  if (!network_make(&n, j)) return 0;
  e[0] = network_engine("O2", &n);
  count = peer_engines(native, "", j, e, count);
  take_turns(e, count, rounds_or(5), 0.2);
  s = count > 1 ? ratio_of(&e[0], &e[1]) : scaled(rate_of(&e[0]), 0);
  row_open("flags", "images/s", what);
  row_cell("this program", rate_of(&e[0]));
  row_cell("-O3 -march=native", count > 1 ? rate_of(&e[1]) : s);
  row_cell("ratio", s);
  row_close();
  network_free(&n);
  return s.median;
}

static void section_isa(void) {
  static child native;
  char path[420], worker[] = "--worker", *argv[3];
  job infer = growth_job(0, 1), train = growth_job(1, 1);
  mean set = {0, 0, 0}, flags = {0, 0, 0};
  train.image = 32; train.patch = 4; train.classes = 100; train.batch = 16;
  table_head("Instruction sets, 1 thread", "images/s",
             "ours|to the best|fraction of own peak", NULL);
  mean_add(&set, isa_rows(&infer, "infer DeiT-Ti 224 px"));
  mean_add(&set, isa_rows(&train, "train width 192, 32 px"));
  summary("isa_avx2", "", mean_of(&set));
  table_head("Compiler flags, 1 thread", "images/s",
             "this program|-O3 -march=native|ratio", NULL);
  snprintf(path, sizeof path, "%s_native", bench.self);
  argv[0] = path; argv[1] = worker; argv[2] = NULL;
  if (access(path, X_OK) != 0) note("skipped: %s is not there; `make bench` builds it", path);
  else if (!child_start(&native, argv)) note("%s: %s", path, native.line);
  else {
    mean_add(&flags, flags_row(&native, &infer, "infer DeiT-Ti 224 px"));
    mean_add(&flags, flags_row(&native, &train, "train width 192, 32 px"));
  }
  child_stop(&native);
  summary("o3_native", "", mean_of(&flags));
}

#endif
