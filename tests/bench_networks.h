/* Whole networks: classification and training steps, against PyTorch, ONNX Runtime and OpenVINO,
 * pruned against dense, bf16 against float, their memory, and how cost grows.
 *
 * All networks are DeiTs with random weights and images. Inference is bdpt_predict on packed
 * weights. A training step is bdpt_trainer_step: loading and normalising the images (which the
 * peers' steps leave out), forward, backward, AdamW. FLOPs are twice bdpt_cost's multiply-adds, and
 * three times that in training. */
#ifndef BENCH_NETWORKS_H
#define BENCH_NETWORKS_H

/* 1  A network with all it needs to run */
typedef struct job {
  int train, image, patch, width, depth, heads, classes, batch, threads; /* as in the protocol */
  int bf16, isa, recompute;
} job;

typedef struct network {
  bdpt_context ctx;
  job what;
  bdpt_model *model;
  bdpt_tape *tape;
  bdpt_trainer *trainer;
  bdpt_dataset data;
  bdpt_subset subset;
  float *images, *logits;
  size_t room;   /* images */
  double gflop;  /* per image, of what it does: inference or training */
} network;

static void network_free(network *n) {
  const size_t pixels = 3 * (size_t)n->what.image * (size_t)n->what.image;
  bdpt_trainer_free(n->trainer);
  bdpt_tape_free(n->tape);
  bdpt_model_free(n->model);
  bdpt_subset_free(&n->ctx, &n->subset);
  if (n->images) bdpt_release(&n->ctx, n->images, n->room * pixels * sizeof *n->images);
  if (n->logits) {
    bdpt_release(&n->ctx, n->logits, n->room * (size_t)n->what.classes * sizeof *n->logits);
  }
  free(n->data.pixels);
  free(n->data.label);
  bdpt_finish(&n->ctx);
  memset(n, 0, sizeof *n);
}

/* Counts a network's FLOPs, after layers were removed too. */
static void network_count(network *n) {
  bdpt_cost_report cost;
  memset(&cost, 0, sizeof cost);
  bdpt_cost(&n->ctx, &n->model->config, &cost);
  n->gflop = 2e-9 * cost.macs * (n->what.train ? 3 : 1);
}

static int network_trainer(network *n) {
  const size_t pixels = 3 * (size_t)n->what.image * (size_t)n->what.image;
  bdpt_recipe recipe;
  size_t i;
  n->data.count = n->room;
  n->data.classes = n->what.classes;
  n->data.height = n->data.width = n->what.image;
  n->data.pixels = (unsigned char *)malloc(n->room * pixels);
  n->data.label = (unsigned short *)malloc(n->room * sizeof *n->data.label);
  if (!n->data.pixels || !n->data.label) return 0;
  for (i = 0; i < n->room * pixels; i++) n->data.pixels[i] = (unsigned char)(i * 2654435761u >> 7);
  for (i = 0; i < n->room; i++) {
    n->data.label[i] = (unsigned short)(i * 37 % (size_t)n->what.classes);
  }
  memset(&recipe, 0, sizeof recipe);
  recipe.batch = n->what.batch;
  recipe.recompute = n->what.recompute;
  if (bdpt_subset_all(&n->ctx, &n->data, &n->subset) != BDPT_OK) return 0;
  n->trainer = bdpt_trainer_create(n->model, NULL, &n->subset, &recipe);
  return n->trainer != NULL;
}

static int network_predictor(network *n) {
  const size_t pixels = 3 * (size_t)n->what.image * (size_t)n->what.image;
  n->tape = bdpt_tape_create(&n->ctx, BDPT_TAPE_COMPUTE);
  n->images = numbers(&n->ctx, n->room * pixels);
  n->logits = numbers(&n->ctx, n->room * (size_t)n->what.classes);
  return n->tape && n->images && n->logits && bdpt_model_pack(n->model) == BDPT_OK;
}

/* Makes what the job says, for at most what.batch images. Returns 0 after a failure, with a
 * complaint. */
static int network_make(network *n, const job *what) {
  bdpt_config c;
  int ok;
  memset(n, 0, sizeof *n);
  memset(&c, 0, sizeof c);
  n->what = *what;
  n->room = (size_t)what->batch;
  n->ctx.threads = what->threads;
  n->ctx.isa_wanted = (bdpt_isa_choice)(what->isa ? what->isa : bench.isa);
  n->ctx.bf16 = what->bf16;
  c.image = what->image; c.patch = what->patch; c.width = what->width; c.depth = what->depth;
  c.heads = what->heads; c.classes = what->classes;
  ok = bdpt_init(&n->ctx) == BDPT_OK;
  n->model = ok ? bdpt_model_create(&n->ctx, &c, 1) : NULL;
  if (n->model) network_count(n);
  ok = n->model && (what->train ? network_trainer(n) : network_predictor(n));
  if (!ok) {
    complain("network", n->ctx.message);
    network_free(n);
  }
  return ok;
}

static int network_run(void *with) {
  network *n = (network *)with;
  if (n->trainer) return bdpt_trainer_step(n->trainer, NULL) == BDPT_OK;
  return bdpt_predict(n->model, n->tape, (size_t)n->what.batch, n->images, n->logits) == BDPT_OK;
}

static engine network_engine(const char *name, network *n) {
  return engine_of(name, network_run, n, n->what.threads, n->what.batch);
}

/* Sets threads and batch of a network for inference, which may change between runs. */
static void network_set(network *n, int batch, int threads) {
  n->what.batch = batch;
  n->what.threads = n->ctx.threads = threads;
}

/* Removes layers and fuses what can be fused. */
static int network_prune(network *n, const int *attention, int a, const int *activation, int t) {
  int i, ok = 1;
  for (i = 0; i < a; i++) ok = ok && !bdpt_prune(n->model, BDPT_ATTENTION, attention[i]);
  for (i = 0; i < t; i++) ok = ok && !bdpt_prune(n->model, BDPT_ACTIVATION, activation[i]);
  ok = ok && !bdpt_fuse_all(n->model) && !bdpt_model_pack(n->model);
  if (!ok) complain("pruning", n->ctx.message);
  else network_count(n);
  return ok;
}

/* 2  Peers on the same job */
static char *peer_of(child *c, char *which, char *quick) {
  char *argv[5];
  argv[0] = bench.python;
  argv[1] = bench.peers;
  argv[2] = which;
  argv[3] = quick;
  argv[4] = NULL;
  if (bench.no_peers) strcpy(c->line, "skipped: --no-peers");
  else if (child_start(c, argv)) {
    note("%s: %s", which, c->name);
    return c->name;
  }
  if (!bench.no_peers) note("%s: %s", which, c->line);
  return NULL;
}

static void job_line(const job *j, char *line, size_t room) {
  snprintf(line, room, "case %s %d %d %d %d %d %d %d %d", j->train ? "train" : "infer", j->image,
           j->patch, j->width, j->depth, j->heads, j->classes, j->batch, j->threads);
}

/* Adds an engine for each variant that a peer offers for the job; returns their new count. `prefix`
 * is 6 characters, "tuned " or none. */
static int peer_engines(child *c, const char *prefix, const job *j, engine *e, int count) {
  static const char *const variants[] = {"tuned eager", "tuned compile", "tuned onnx",
                                         "tuned openvino", "tuned ours"};
  char line[200];
  size_t i;
  job_line(j, line, sizeof line);
  if (c->pid <= 0) return count;
  if (!child_ask(c, "ready", "%s", line)) {
    note("  %s: %s", c->name, c->line);
    return count;
  }
  for (i = 0; i < sizeof variants / sizeof *variants; i++) {
    if (!strstr(c->line, variants[i] + 6)) continue;
    e[count] = engine_of(variants[i] + 6 - strlen(prefix), NULL, NULL, j->threads, j->batch);
    e[count].peer = c;
    e[count++].variant = variants[i] + 6;
  }
  return count;
}

/* Returns the engine among e[from .. to) that is fastest, by the median over rounds; NULL: none
 * ran. */
static const engine *fastest(const engine *e, int from, int to) {
  const engine *best = NULL;
  int i;
  for (i = from; i < to; i++) {
    if (e[i].samples && (!best || rate_of(&e[i]).median > rate_of(best).median)) best = &e[i];
  }
  return best;
}

/* Returns how many times as fast as `other` it was; all zeros if there is no other. */
static spread against(const engine *ours, const engine *other) {
  return other ? ratio_of(ours, other) : scaled(rate_of(ours), 0);
}

static const engine *named(const engine *e, int count, const char *name) {
  static const engine none;
  int i;
  for (i = 0; i < count; i++) {
    if (strcmp(e[i].name, name) == 0) return &e[i];
  }
  return &none;
}

static int most_threads(void) { return bench.threads < 2 ? bench.threads : 2; }

/* 3  Inference at 224 pixels */
typedef struct size { const char *name; int width, heads; } size;
static const size models[] = {{"Ti", 192, 3}, {"S", 384, 6}, {"B", 768, 12}};
static const char *const tails[] = {"", "1t", "2t"};

static job inference_job(const size *s, int batch) {
  job j;
  memset(&j, 0, sizeof j);
  j.image = 224; j.patch = 16; j.depth = 12; j.classes = 1000; j.threads = 1;
  j.width = s->width;
  j.heads = s->heads;
  j.batch = batch;
  return j;
}

typedef struct inference {
  child torch, onnx, vino, tuned;
  network dense, narrow;     /* float and bf16 */
  mean peer[3], all[3], bf16; /* by threads: the peers as installed; the tuned one as well */
} inference;

static void inference_row(inference *t, const size *s, int batch, int threads) {
  static engine e[12];
  const engine *best, *bf16, *limit, *tuned;
  job j = inference_job(s, batch);
  char label[80];
  peak p;
  spread ratio, narrow, share, all;
  int n = 0, peers, tuned_too;
  j.threads = threads;
  network_set(&t->dense, batch, threads);
  network_set(&t->narrow, batch, threads);
  e[n++] = network_engine("ours", &t->dense);
  if (!bench.quick || s->width == 192) {
    n = peer_engines(&t->torch, "", &j, e, n);
    n = peer_engines(&t->onnx, "", &j, e, n);
    n = peer_engines(&t->vino, "", &j, e, n);
  }
  peers = n;
  n = tuned_too = peer_engines(&t->tuned, "tuned ", &j, e, n);
  e[n++] = network_engine("ours bf16", &t->narrow);
  e[n++] = peak_engine(&p, bdpt_isa_name(&t->dense.ctx), threads);
  take_turns(e, n, rounds_or(3), 0.3);
  best = fastest(e, 1, peers);
  tuned = fastest(e, peers, tuned_too);
  bf16 = named(e, n, "ours bf16");
  limit = named(e, n, "peak");
  ratio = against(&e[0], best);
  all = against(&e[0], tuned ? fastest(e, 1, tuned_too) : NULL);
  narrow = ratio_of(bf16, &e[0]);
  share = scaled(ratio_of(&e[0], limit), t->dense.gflop);
  snprintf(label, sizeof label, "DeiT-%s 224 px batch %d %dt", s->name, batch, threads);
  row_open("inference", "images/s", label);
  row_cell("ours", rate_of(&e[0]));
  row_cell("PyTorch", rate_of(named(e, n, "eager")));
  row_cell("compiled", rate_of(named(e, n, "compile")));
  row_cell("ONNX Runtime", rate_of(named(e, n, "onnx")));
  row_cell("OpenVINO", rate_of(named(e, n, "openvino")));
  row_cell("ratio to the best", ratio);
  row_second_line();
  row_cell("fraction of peak", share);
  row_cell("bf16", rate_of(bf16));
  row_cell("bf16 ratio", narrow);
  row_cell("PyTorch tuned", tuned ? rate_of(tuned) : scaled(rate_of(&e[0]), 0));
  row_cell("ratio to the best, tuned too", all);
  row_close();
  mean_add(&t->peer[threads], ratio.median);
  mean_add(&t->all[threads], all.median);
  if (s->width == 768) mean_add(&t->bf16, narrow.median);
  if (s->width == 768 && batch == 1 && threads == 2) {
    summary("peak_fraction_base_b1_2t", "", share.median);
  }
}

static void inference_size(inference *t, const size *s) {
  static const int batches[] = {1, 16};
  job j = inference_job(s, bench.quick ? 1 : 16);
  int b, threads;
  if (bench.quick && s->width == 384) return;
  if (!network_make(&t->dense, &j)) return;
  j.bf16 = 1;
  if (network_make(&t->narrow, &j)) {
    for (b = 0; b < (bench.quick ? 1 : 2); b++) {
      for (threads = 1; threads <= most_threads(); threads++) {
        inference_row(t, s, batches[b], threads);
      }
    }
  }
  network_free(&t->narrow);
  network_free(&t->dense);
}

static void section_inference(void) {
  static inference t;
  int i;
  table_head("Inference", "images/s",
             "ours|PyTorch eager|PyTorch compiled|ONNX Runtime|OpenVINO|ratio to the best",
             "fraction of peak|ours, bf16|bf16 to float|PyTorch tuned|ratio, tuned too");
  peer_of(&t.torch, "torch", bench.quick ? "quick" : NULL);
  peer_of(&t.onnx, "onnx", NULL);
  peer_of(&t.vino, "openvino", NULL);
  if (!bench.quick) peer_of(&t.tuned, "tuned", NULL);
  for (i = 0; i < 3; i++) inference_size(&t, &models[i]);
  child_stop(&t.torch);
  child_stop(&t.onnx);
  child_stop(&t.vino);
  child_stop(&t.tuned);
  for (i = 1; i <= 2; i++) {
    summary("infer_peer_", tails[i], mean_of(&t.peer[i]));
    summary("infer_worst_", tails[i], t.peer[i].worst);
    summary("infer_tuned_", tails[i], mean_of(&t.all[i]));
  }
  summary("bf16_infer_base", "", mean_of(&t.bf16));
}

/* 4  Dense against pruned: 5 + 5 layers as in the paper, and 4 + 3 for Small */
static const int attention_out[] = {0, 3, 7, 8, 11}, activation_out[] = {2, 7, 8, 10, 11};

static double prune_row(network n[4], const char *name, int few, int threads) {
  static engine e[4];
  spread s;
  char label[80];
  e[0] = network_engine("dense", &n[0]);
  e[1] = network_engine("pruned", &n[1]);
  e[2] = network_engine("dense bf16", &n[2]);
  e[3] = network_engine("pruned bf16", &n[3]);
  take_turns(e, few ? 2 : 4, rounds_or(3), 0.3);
  s = ratio_of(&e[1], &e[0]);
  snprintf(label, sizeof label, "DeiT-%s %s batch %d %dt", name, few ? "4+3" : "5+5",
           n[0].what.batch, threads);
  row_open("prune", "images/s", label);
  row_cell("dense", rate_of(&e[0]));
  row_cell("pruned", rate_of(&e[1]));
  row_cell("speed-up", s);
  row_number("FLOP ratio", n[0].gflop / n[1].gflop, "%.3f");
  row_cell("pruned bf16", rate_of(&e[3]));
  row_cell("speed-up bf16", ratio_of(&e[3], &e[2]));
  row_close();
  return s.median;
}

/* Measures four networks, dense and pruned, in float and in bf16. `few`: two, 4 + 3 instead of 5 +
 * 5 layers in float. */
static double prune_size(const size *s, int few) {
  static network n[4];
  mean m = {0, 0, 0};
  job j = inference_job(s, bench.quick ? 1 : 16);
  int i, threads, batch, ok = 1, count = few ? 2 : 4;
  for (i = 0; i < count && ok; i++) {
    j.bf16 = i / 2;
    ok = network_make(&n[i], &j);
    if (ok && i % 2) ok = network_prune(&n[i], attention_out, 5 - few, activation_out, 5 - 2 * few);
  }
  for (batch = 1; ok && batch <= j.batch; batch += 15) {
    for (threads = 1; threads <= most_threads(); threads++) {
      for (i = 0; i < count; i++) network_set(&n[i], batch, threads);
      mean_add(&m, prune_row(n, s->name, few, threads));
    }
  }
  for (i = 0; i < 4; i++) {
    if (n[i].ctx.isa) network_free(&n[i]);
  }
  return mean_of(&m);
}

static void section_prune(void) {
  static const char *const lower[] = {"ti", "s", "b"};
  int i;
  table_head("Dense to pruned, fused", "images/s",
             "dense|pruned|speed-up|FLOP ratio|pruned, bf16|speed-up, bf16", NULL);
  for (i = 0; i < (bench.quick ? 1 : 3); i++) {
    summary("prune_speedup_", lower[i], prune_size(&models[i], 0));
  }
  if (!bench.quick) summary("prune_speedup_s_4_3", "", prune_size(&models[1], 1));
  note("  4+3: the published figure for Small is 1.39; its FLOP ratio stands above");
}

/* 5  Training steps, and their memory */
typedef struct lesson { const char *name; int image, patch, width, heads, classes, batch; } lesson;
static const lesson lessons[] = {
  {"width 96, 32 px, batch 64", 32, 4, 96, 3, 100, 64},
  {"width 192, 32 px, batch 64", 32, 4, 192, 3, 100, 64},
  {"width 384, 32 px, batch 64", 32, 4, 384, 6, 100, 64},
  {"DeiT-Ti, 224 px, batch 8", 224, 16, 192, 3, 1000, 8}};
enum { LESSONS = 4 };

static job lesson_job(const lesson *l, int threads) {
  job j;
  memset(&j, 0, sizeof j);
  j.train = 1; j.depth = 12;
  j.image = l->image; j.patch = l->patch; j.width = l->width; j.heads = l->heads;
  j.classes = l->classes; j.batch = l->batch; j.threads = threads;
  return j;
}

typedef struct training { child torch, tuned; mean peer[3], all[3], bf16; } training;

static void training_measure(training *t, const job *j, network *dense, network *narrow,
                             const char *name) {
  static engine e[8];
  const engine *tuned;
  spread ratio, half, all;
  char label[80];
  int n = 0, peers, tuned_too;
  e[n++] = network_engine("ours", dense);
  n = peers = peer_engines(&t->torch, "", j, e, n);
  n = tuned_too = peer_engines(&t->tuned, "tuned ", j, e, n);
  e[n++] = network_engine("ours bf16", narrow);
  take_turns(e, n, rounds_or(3), 0.3);
  tuned = fastest(e, peers, tuned_too);
  ratio = against(&e[0], fastest(e, 1, peers));
  all = against(&e[0], tuned ? fastest(e, 1, tuned_too) : NULL);
  half = ratio_of(&e[n - 1], &e[0]);
  snprintf(label, sizeof label, "%s %dt", name, j->threads);
  row_open("training", "images/s", label);
  row_cell("ours", rate_of(&e[0]));
  row_cell("PyTorch", rate_of(named(e, n, "eager")));
  row_cell("compiled", rate_of(named(e, n, "compile")));
  row_cell("ratio to the best", ratio);
  row_second_line();
  row_cell("bf16", rate_of(&e[n - 1]));
  row_cell("bf16 ratio", half);
  row_cell("PyTorch tuned", tuned ? rate_of(tuned) : scaled(rate_of(&e[0]), 0));
  row_cell("ratio to the best, tuned too", all);
  row_close();
  mean_add(&t->peer[j->threads], ratio.median);
  mean_add(&t->all[j->threads], all.median);
  mean_add(&t->bf16, half.median);
}

static void training_row(training *t, const lesson *l, int threads) {
  static network dense, narrow;
  const job j = lesson_job(l, threads);
  job k = j;
  k.bf16 = 1;
  if (!network_make(&dense, &j)) return;
  if (network_make(&narrow, &k)) {
    training_measure(t, &j, &dense, &narrow, l->name);
    network_free(&narrow);
  }
  network_free(&dense);
}

static void section_training(void) {
  static training t;
  int i, threads;
  table_head("Training step", "images/s",
             "ours|PyTorch eager|PyTorch compiled|ratio to the best",
             "ours, bf16|bf16 to float|PyTorch tuned|ratio, tuned too");
  peer_of(&t.torch, "torch", bench.quick ? "quick" : NULL);
  if (!bench.quick) peer_of(&t.tuned, "tuned", NULL);
  for (i = 0; i < (bench.quick ? 1 : LESSONS); i++) {
    for (threads = 1; threads <= most_threads(); threads++) {
      training_row(&t, &lessons[i], threads);
    }
  }
  child_stop(&t.torch);
  child_stop(&t.tuned);
  for (i = 1; i <= 2; i++) {
    summary("train_peer_", tails[i], mean_of(&t.peer[i]));
    summary("train_tuned_", tails[i], mean_of(&t.all[i]));
  }
  summary("bf16_train", "", mean_of(&t.bf16));
}

/* Runs a few steps in a fresh process and reads its memory, in bytes: out[0] peak, out[1] before
 * the network was made; for ours also out[2] peak through the context and out[3] of the tape. */
static int memory_of_job(char *const *argv, const job *j, double out[4]) {
  static child c;
  static engine e[4];
  int ok = child_start(&c, argv) && peer_engines(&c, "", j, e, 0) > 0;
  ok = ok && child_ask(&c, "times ", "go %s 0", e[0].variant);
  ok = ok && child_ask(&c, "memory ", "memory");
  memset(out, 0, 4 * sizeof *out);
  if (ok) sscanf(c.line, "memory %lf %lf %lf %lf", &out[0], &out[1], &out[2], &out[3]);
  else note("  %s: %s", argv[0], c.line);
  child_stop(&c);
  return ok && out[0] > 0;
}

static void memory_row(const lesson *l, mean *m) {
  char worker[] = "--worker", less[] = "recompute", torch[] = "torch", quick[] = "quick";
  char *us[4], *them[5];
  const job j = lesson_job(l, most_threads());
  double ours[4], lean[4], theirs[4] = {0, 0, 0, 0};
  us[0] = bench.self; us[1] = worker; us[2] = us[3] = NULL;
  them[0] = bench.python; them[1] = bench.peers; them[2] = torch; them[3] = quick; them[4] = NULL;
  if (!memory_of_job(us, &j, ours)) return;
  us[2] = less;
  if (!memory_of_job(us, &j, lean)) return;
  if (!bench.no_peers && memory_of_job(them, &j, theirs)) mean_add(m, theirs[0] / lean[0]);
  row_open("memory", "MB", l->name);
  row_number("process", ours[0] * 1e-6, "%.0f");
  row_number("before", ours[1] * 1e-6, "%.0f");
  row_number("tape per image", ours[3] * 1e-6 / l->batch, "%.3f");
  row_number("process, recompute", lean[0] * 1e-6, "%.0f");
  row_number("tape per image, recompute", lean[3] * 1e-6 / l->batch, "%.3f");
  row_number("PyTorch", theirs[0] * 1e-6, "%.0f");
  row_number("PyTorch before", theirs[1] * 1e-6, "%.0f");
  row_number("ratio", theirs[0] / ours[0], "%.2f");
  row_number("ratio, recompute", theirs[0] / lean[0], "%.2f");
  row_close();
}

static void section_memory(void) {
  mean m = {0, 0, 0};
  int i;
  table_head("Memory of a training step, peak", "MB",
             "our process|before the network|tape per image|recompute|tape per image|PyTorch's|"
             "before the network|ratio|ratio, recompute", NULL);
  for (i = 0; i < (bench.quick ? 1 : LESSONS); i++) memory_row(&lessons[i], &m);
  summary("train_memory", "", m.worst);
}

#endif
