/* =================================================================================================
 * run.h: the whole method on one page (the `run` command, `make run`)
 * =================================================================================================
 * Eight parts, each a question:
 *
 *   1 dense       how good is the network before anything is removed?
 *   2 gradients   can the two kinds of layer be ranked together?            -> "disparity" lines
 *   3 recovery    what does each single layer cost, at once and later?      -> "recovery"
 *   4 how many    how many of each kind should go? (MAP)                    -> "map_point", "map"
 *   5 which       which ones? (greedy, or learned importance)               -> "search"
 *   6 fine-tune   what does the pruned network win back?                    -> "epoch"
 *   7 fuse        what does multiplying out the two linears change?         -> "certificate"
 *   8 test        the four networks on images nobody has looked at          -> "row"
 *
 * Each part first looks into the record (record.h). If its lines are there, it only tells them; if
 * not, it computes, records, and then tells. The library keeps a checkpoint inside each long part.
 * So the command can be stopped anywhere, by Ctrl-C or by kill -9, and the same command goes on.
 *
 * Parts 1 to 6 see the training images and the held-out images. Part 8 reads the test images, once,
 * after the last choice has been made. Part 7 counts on them too, but chooses nothing.
 */
#ifndef RUN_H
#define RUN_H

#include "../input.h"
#include "../record.h"
#include "../report/report.h"

enum { RUN_DENSE, RUN_PRUNED, RUN_RECOVERED, RUN_FUSED, RUN_NETWORKS };
static const char *const run_network[RUN_NETWORKS] = {"dense", "pruned", "recovered", "fused"};
static const char *const run_type[2] = {"attention", "activation"};
static const char *const run_checkpoint[] = {"dense.ckpt", "disparity.ckpt", "recovery.ckpt",
                                             "map.ckpt", "search.ckpt", "tune.ckpt"};
enum { RUN_CKPT_DENSE, RUN_CKPT_DISPARITY, RUN_CKPT_RECOVERY, RUN_CKPT_MAP, RUN_CKPT_SEARCH,
       RUN_CKPT_TUNE, RUN_CKPTS };

/* Images of one timed batch; most rounds of timing. */
enum { RUN_BATCH = 16, RUN_REPEATS = 101 };

/* The knobs. Zero (for dense_epochs -1) is resolved by run_defaults. */
typedef struct run_options {
  cli_common common;
  const char *data, *model, *out, *report, *start, *choose;
  int holdout;            /* pictures of each class to test on; -1: not said */
  int image, budget, least, most, dense_epochs, tune_epochs, batch, short_batch, repeats;
  size_t held, test, dense_images, probe_steps, recovery_images, map_images, search_images;
  size_t tune_images;
  double dense_lr, short_lr, tune_lr;
} run_options;

typedef struct run {
  run_options o;
  bdpt_context *ctx;
  cli_progress progress;
  record record;
  size_t told;                   /* bytes of the record already printed (--json) */
  input in;
  bdpt_model *model[RUN_NETWORKS];
  int new_head, depth, start;    /* start: bdpt_start */
  int greedy;                    /* 1: part 5 tries layers, 0: it learns importance */
  int count[2], layer[2][BDPT_MAX_DEPTH]; /* what part 5 chose */
  char setup[1200];              /* every option and input, as one text */
  const char *command;           /* how it was started; NULL: make run */
  char path[700], checkpoint[700];
} run;

/* Sizes that make the run fit four minutes on the generated images and half an hour on
 * CIFAR-100 with DeiT-Tiny at 64 px, on two cores. */
static void run_defaults(run_options *o) {
  int real = o->data != NULL, pictures = input_has_pictures(o->data);
  if (!o->model) o->model = "data/dense.safetensors";
  if (!o->out) o->out = "build/run";
  if (!o->report) o->report = "build/report.html";
  if (!o->start) o->start = "skip-fit"; /* DEVIATION from the paper, as greedy is: PAPER_NOTES.md */
  if (!o->image && real && !pictures) o->image = 64;
  if (!o->budget) o->budget = 6;
  if (!o->least) o->least = 2;
  if (!o->most) o->most = 4;
  if (!o->batch) o->batch = real ? 128 : 64;
  if (!o->short_batch) o->short_batch = 64;
  if (!o->repeats) o->repeats = 25;
  if (!o->held) o->held = 2000;
  if (!o->test && !real) o->test = 4000;
  if (!o->probe_steps) o->probe_steps = 60;
  if (!o->recovery_images) o->recovery_images = 1920;
  if (!o->map_images) o->map_images = real ? 2560 : 3200;
  if (!o->search_images) o->search_images = real ? 2560 : 1920;
  if (!o->tune_images) o->tune_images = real ? 30000 : 6400;
  if (!o->tune_epochs) o->tune_epochs = real ? 2 : 8;
  if (o->dense_lr <= 0) o->dense_lr = 5e-4;
  if (o->short_lr <= 0) o->short_lr = 3e-4;
  if (o->tune_lr <= 0) o->tune_lr = real ? 3e-4 : 1e-3;
}

/* -------------------------------------------------------------------------------------------------
 * Telling
 * ---------------------------------------------------------------------------------------------- */

/* A piece of the story; silent when the results are wanted as JSON. */
CLI_PRINTF(2, 3)
static void run_say(run *r, const char *format, ...) {
  va_list args;
  cli_progress_clear(&r->progress);
  if (r->o.common.json) return;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  fflush(stdout);
}

static void run_title(run *r, const char *title) {
  int bold = cli_wants_colour(stdout);
  run_say(r, "\n%s%s%s\n", bold ? "\033[1m" : "", title, bold ? "\033[0m" : "");
}

/* "   attention    61.2  60.9 ..." : one number per layer. */
static void run_say_layers(run *r, const char *label, const double *value, const char *format) {
  int i;
  run_say(r, "   %-22s", label);
  for (i = 0; i < r->depth; i++) {
    if (i && i % 12 == 0) run_say(r, "\n   %-22s", "");
    run_say(r, format, value[i]);
  }
  run_say(r, "\n");
}

static void run_say_numbers(run *r) {
  double number[BDPT_MAX_DEPTH];
  int i;
  for (i = 0; i < r->depth; i++) number[i] = i;
  run_say_layers(r, "layer", number, "%6.0f");
}

/* -------------------------------------------------------------------------------------------------
 * Small tools
 * ---------------------------------------------------------------------------------------------- */

static const char *run_path(run *r, const char *name) {
  snprintf(r->path, sizeof r->path, "%s/%s", r->o.out, name);
  return r->path;
}

static bdpt_hooks run_hooks(run *r, int checkpoint) {
  snprintf(r->checkpoint, sizeof r->checkpoint, "%s/%s", r->o.out, run_checkpoint[checkpoint]);
  return cli_hooks(&r->progress, r->checkpoint);
}

/* A part is finished: its lines go to the disk, then its checkpoint is no longer needed. */
static bdpt_status run_record(run *r, int checkpoint) {
  bdpt_status s = record_save(&r->record);
  if (s == BDPT_OK && checkpoint >= 0)
    cli_forget_checkpoint(run_path(r, run_checkpoint[checkpoint]));
  return s;
}

static bdpt_recipe run_recipe(const run *r, double lr, int epochs, size_t images) {
  bdpt_recipe p;
  memset(&p, 0, sizeof p);
  p.epochs = epochs;
  p.batch = r->o.batch;
  p.epoch_images = images < r->in.rest.count ? images : 0;
  p.lr = lr;
  p.crop = 4;
  p.flip = 1;
  p.smoothing = 0.1;
  p.clip = 1.0;
  p.seed = r->o.common.seed;
  return p;
}

/* One pass over a thousand images or so, in small batches, so that it is more than a few steps. */
static bdpt_recipe run_short(const run *r, size_t images) {
  bdpt_recipe p = run_recipe(r, r->o.short_lr, 1, images);
  p.batch = r->o.short_batch;
  return p;
}

static void run_record_epochs(run *r, const char *phase, const bdpt_epoch *log, int epochs) {
  cli_json *j = &r->record.text;
  int e;
  for (e = 0; e < epochs; e++) {
    if (log[e].epoch == 0) continue; /* before a resume: not in this program's log */
    cli_json_open(j, "epoch");
    cli_json_text(j, "phase", phase);
    cli_json_real(j, "epoch", log[e].epoch);
    cli_json_real(j, "lr", log[e].lr);
    cli_json_real(j, "loss", log[e].loss);
    cli_json_real(j, "grad_norm", log[e].grad_norm);
    if (log[e].held.count) cli_json_real(j, "accuracy", log[e].held.top1);
    cli_json_close(j);
  }
}

static double run_mean(const double *v, int n) {
  double sum = 0;
  int i;
  for (i = 0; i < n; i++) sum += v[i];
  return n ? sum / n : 0;
}

static int run_ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The q-quantile of a sorted list, 0 <= q <= 1. */
static double run_quantile(const double *sorted, int n, double q) {
  double at = q * (n - 1);
  int i = (int)at;
  if (i + 1 >= n) return sorted[n - 1];
  return sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
}

/* -------------------------------------------------------------------------------------------------
 * Setup: what goes in, and whether there is something to go on with
 * ---------------------------------------------------------------------------------------------- */

static void run_cpu(char out[100]) {
  char line[300];
  FILE *f = fopen("/proc/cpuinfo", "r");
  snprintf(out, 100, "unknown");
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !colon) continue;
    snprintf(out, 100, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    break;
  }
  if (f) fclose(f);
}

static void run_compiler(char out[60]) {
#if defined(__clang__)
  snprintf(out, 60, "clang %d.%d", __clang_major__, __clang_minor__);
#elif defined(__GNUC__)
  snprintf(out, 60, "gcc %d.%d", __GNUC__, __GNUC_MINOR__);
#else
  snprintf(out, 60, "unknown");
#endif
}

/* Everything that the result depends on. Two runs with the same text are the same run. */
static void run_describe(run *r, const char *weights) {
  const run_options *o = &r->o;
  snprintf(r->setup, sizeof r->setup,
           "version=%s data=%s train=%zu rest=%zu model=%s weights=%s image=%d budget=%d least=%d "
           "most=%d dense_epochs=%d dense_images=%zu tune_epochs=%d batch=%d short_batch=%d "
           "held=%zu test=%zu probe_steps=%zu recovery_images=%zu map_images=%zu "
           "search_images=%zu tune_images=%zu dense_lr=%g short_lr=%g tune_lr=%g repeats=%d "
           "seed=%zu real=%d start=%s%s%s",
           BDPT_VERSION, r->in.folder, r->in.train.count, r->in.rest.count, o->model, weights,
           o->image, o->budget, o->least, o->most, o->dense_epochs, o->dense_images,
           o->tune_epochs, o->batch, o->short_batch, o->held, o->test, o->probe_steps,
           o->recovery_images, o->map_images, o->search_images, o->tune_images, o->dense_lr,
           o->short_lr, o->tune_lr, o->repeats, o->common.seed,
           (int)sizeof(bdpt_real), o->start, r->greedy ? " greedy" : "",
           o->common.bf16 ? " bf16" : "");
}

static bdpt_status run_record_setup(run *r) {
  const bdpt_config *c = &r->model[RUN_DENSE]->config;
  cli_json *j = &r->record.text;
  bdpt_cost_report cost;
  char cpu[100], compiler[60];
  bdpt_status s = bdpt_cost(r->ctx, c, &cost);
  if (s != BDPT_OK) return s;
  run_cpu(cpu);
  run_compiler(compiler);
  cli_json_open(j, "setup");
  cli_json_text(j, "version", bdpt_version());
  cli_json_text(j, "data", r->in.name);
  cli_json_text(j, "data_path", r->in.folder);
  cli_json_text(j, "model", r->o.model);
  cli_json_real(j, "image", c->image);
  cli_json_real(j, "patch", c->patch);
  cli_json_real(j, "width", c->width);
  cli_json_real(j, "depth", c->depth);
  cli_json_real(j, "heads", c->heads);
  cli_json_real(j, "tokens", c->image / c->patch * (c->image / c->patch) + 1 + c->distilled);
  cli_json_real(j, "classes", c->classes);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "seed", (double)r->o.common.seed);
  cli_json_real(j, "threads", r->ctx->threads);
  cli_json_text(j, "isa", bdpt_isa_name(r->ctx));
  cli_json_text(j, "compiler", compiler);
  cli_json_text(j, "cpu", cpu);
  cli_json_real(j, "train_images", (double)r->in.rest.count);
  cli_json_real(j, "held_images", (double)r->in.held.count);
  cli_json_real(j, "test_images", (double)(r->o.test ? r->o.test : r->in.test.count));
  cli_json_text(j, "command", r->command ? r->command
                              : r->o.data ? "make run DATA=... MODEL=..." : "make run");
  cli_json_text(j, "options", r->setup);
  cli_json_close(j);
  return run_record(r, -1);
}

/* Decides between going on and starting fresh, and says which on stderr. */
static bdpt_status run_resume(run *r) {
  char before[1200], aside[720];
  int i, finished, same;
  static char path[720]; /* lives as long as the record */
  bdpt_status s;
  snprintf(path, sizeof path, "%s/run.jsonl", r->o.out);
  s = record_load(&r->record, r->ctx, path);
  if (s != BDPT_OK) return s;
  finished = record_has(&r->record, "done");
  record_text(record_get(&r->record, "setup", 0), "options", before, sizeof before);
  same = strcmp(before, r->setup) == 0;
  if (record_has(&r->record, "setup") && same && !finished && !r->o.common.fresh) {
    fprintf(stderr, "   going on with the run in %s (--fresh would start again)\n", r->o.out);
    return BDPT_OK;
  }
  if (record_has(&r->record, "setup")) {
    snprintf(aside, sizeof aside, "%s/previous.jsonl", r->o.out);
    remove(aside);
    if (rename(r->record.path, aside) == 0 && !finished && !r->o.common.fresh)
      fprintf(stderr, "   the options or inputs changed since the unfinished run in %s: starting "
              "afresh; what it had measured is now %s\n", r->o.out, aside);
  }
  record_free(&r->record);
  for (i = 0; i < RUN_CKPTS; i++) cli_forget_checkpoint(run_path(r, run_checkpoint[i]));
  return run_record_setup(r);
}

/* Loads images and the network as it comes, makes the classifier fit, opens the record. */
static bdpt_status run_setup(run *r) {
  input_source from;
  char weights[17];
  bdpt_model *m;
  bdpt_status s;
  if (!cli_make_folder(r->o.out)) {
    snprintf(r->ctx->message, sizeof r->ctx->message, "cannot make the folder %s", r->o.out);
    return r->ctx->status = BDPT_E_IO;
  }
  memset(&from, 0, sizeof from);
  from.data = r->o.data;
  from.holdout = r->o.holdout;
  from.quiet = r->o.common.quiet;
  s = input_open(&r->in, r->ctx, &from, INPUT_TRAIN | INPUT_TEST);
  if (s == BDPT_OK) s = input_keep(r->ctx, &r->in.held, r->o.held);
  if (s == BDPT_OK) s = input_keep(r->ctx, &r->in.tested, r->o.test);
  if (s == BDPT_OK && r->in.held.count < RUN_BATCH)
    s = input_fail(&r->in, "%.250s: too few images: a tenth of each class is held out, and 16 of "
                   "those are needed to measure times", r->in.folder);
  if (s != BDPT_OK) return s;
  m = r->model[RUN_DENSE] = input_model(r->ctx, r->o.model, r->o.image);
  if (!m) return r->ctx->status;
  input_form(r->o.start, m);
  input_fit(&r->in, m->config.image);
  input_stamp(&r->in, m);
  bdpt_model_hash(m, weights);
  r->depth = m->config.depth;
  r->new_head = m->config.classes != r->in.train.classes;
  if (r->new_head) s = bdpt_model_new_head(m, r->in.train.classes, r->o.common.seed);
  if (r->o.dense_epochs < 0) r->o.dense_epochs = r->new_head ? 3 : 0;
  run_describe(r, weights);
  return s == BDPT_OK ? run_resume(r) : s;
}

/* 1 if a removed activation leaves a fitted map. */
static int run_fits(const run *r) {
  return r->start == BDPT_START_SKIP_FIT || r->start == BDPT_START_FIT ||
         r->start == BDPT_START_FIT_ACTIVATION;
}

static void run_tell_setup(run *r) {
  record_line l = record_get(&r->record, "setup", 0);
  char compiler[60], isa[20];
  record_text(l, "compiler", compiler, sizeof compiler);
  record_text(l, "isa", isa, sizeof isa);
  run_say(r,
    "A vision transformer, pruned in depth (boundarydpt %s)\n\n"
    "Each block of the network is an attention layer followed by an MLP: linear, GELU, linear.\n"
    "Two things can be removed: an attention layer, or a GELU. Without its GELU the two linears\n"
    "beside it are one matrix product and are multiplied out. This run finds out how many of each\n"
    "should go and which ones, removes them, and trains the rest to make up for the loss.\n\n",
    bdpt_version());
  run_say(r, "   images   %s: %d classes, %.0f for training, %.0f held out for choices, %.0f for "
          "the test\n", r->in.name, record_int(l, "classes", 0), record_real(l, "train_images", 0),
          record_real(l, "held_images", 0), record_real(l, "test_images", 0));
  run_say(r, "   network  %s:\n"
          "            %d blocks of width %d, %d heads, %d px, patches of %d, %.2f M parameters\n",
          r->o.model, r->depth, record_int(l, "width", 0),
          record_int(l, "heads", 0), record_int(l, "image", 0), record_int(l, "patch", 0),
          1e-6 * record_real(l, "params", 0));
  run_say(r, "   start    %s: a removed attention layer leaves %s,\n"
          "            an MLP without its GELU begins as %s\n", r->o.start,
          r->start == BDPT_START_FIT || r->start == BDPT_START_FIT_ATTENTION
              ? "the linear map that does its work best"
              : r->model[RUN_DENSE]->config.attn_form == BDPT_ATTN_SKIP ? "nothing" : "LN1(x)",
          run_fits(r) ? "the linear map that does its work best" : "its two linears in a row");
  run_say(r, "   machine  %d threads, %s kernels, %s\n", record_int(l, "threads", 0), isa,
          compiler);
}

/* -------------------------------------------------------------------------------------------------
 * 1  The dense network
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status run_dense(run *r) {
  bdpt_model *m = r->model[RUN_DENSE];
  bdpt_epoch log[1000];
  bdpt_accuracy a;
  bdpt_status s = BDPT_OK;
  int epochs = r->o.dense_epochs < 1000 ? r->o.dense_epochs : 1000;
  if (record_has(&r->record, "dense")) {
    if (epochs == 0) return BDPT_OK;
    bdpt_model_free(m);
    r->model[RUN_DENSE] = bdpt_model_load(r->ctx, run_path(r, "dense.safetensors"), NULL);
    return r->model[RUN_DENSE] ? BDPT_OK : r->ctx->status;
  }
  if (epochs > 0) {
    bdpt_recipe p = run_recipe(r, r->o.dense_lr, epochs, r->o.dense_images);
    bdpt_hooks hooks = run_hooks(r, RUN_CKPT_DENSE);
    memset(log, 0, sizeof log);
    p.warmup = 0.3;
    s = bdpt_train(m, NULL, &r->in.rest, &r->in.held, &p, &hooks, log);
    if (s == BDPT_OK) s = bdpt_model_save(m, run_path(r, "dense.safetensors"), BDPT_F32);
    if (s != BDPT_OK) return s;
    run_record_epochs(r, "dense", log, epochs);
  }
  s = bdpt_evaluate(m, &r->in.held, &a);
  if (s != BDPT_OK) return s;
  cli_json_open(&r->record.text, "dense");
  cli_json_real(&r->record.text, "accuracy", a.top1);
  cli_json_real(&r->record.text, "top5", a.top5);
  cli_json_real(&r->record.text, "loss", a.loss);
  cli_json_real(&r->record.text, "images", (double)a.count);
  cli_json_real(&r->record.text, "epochs", epochs);
  cli_json_real(&r->record.text, "new_head", r->new_head);
  cli_json_close(&r->record.text);
  return run_record(r, RUN_CKPT_DENSE);
}

static void run_tell_dense(run *r) {
  record_line l = record_get(&r->record, "dense", 0);
  int epochs = record_int(l, "epochs", 0);
  run_title(r, "1  The dense network");
  if (epochs > 0)
    run_say(r, "   %s, trained for %d epoch%s on the training images.\n",
            record_int(l, "new_head", 0) ? "With a new classifier for these classes" : "As loaded",
            epochs, epochs == 1 ? "" : "s");
  run_say(r, "   Accuracy on the %.0f held-out images: %.1f %% (top 5: %.1f %%).\n",
          record_real(l, "images", 0), record_real(l, "accuracy", 0), record_real(l, "top5", 0));
}

/* -------------------------------------------------------------------------------------------------
 * 2  Gradient disparity
 * ---------------------------------------------------------------------------------------------- */

enum { RUN_WINDOWS = 6 };

static bdpt_status run_disparity(run *r) {
  bdpt_disparity_row row[RUN_WINDOWS];
  size_t window = r->o.probe_steps / RUN_WINDOWS > 0 ? r->o.probe_steps / RUN_WINDOWS : 1, n = 0, i;
  bdpt_recipe p = run_short(r, window * RUN_WINDOWS * (size_t)r->o.short_batch);
  bdpt_hooks hooks;
  bdpt_status s;
  if (record_has(&r->record, "disparity")) return BDPT_OK;
  hooks = run_hooks(r, RUN_CKPT_DISPARITY);
  s = bdpt_disparity(r->model[RUN_DENSE], &r->in.rest, &p, window, &hooks, row, RUN_WINDOWS, &n);
  if (s != BDPT_OK) return s;
  for (i = 0; i < n; i++) {
    cli_json *j = &r->record.text;
    cli_json_open(j, "disparity");
    cli_json_real(j, "step", (double)row[i].step);
    cli_json_real(j, "loss", row[i].loss);
    cli_json_reals(j, run_type[0], row[i].gradient[0], r->depth);
    cli_json_reals(j, run_type[1], row[i].gradient[1], r->depth);
    cli_json_close(j);
  }
  return run_record(r, RUN_CKPT_DISPARITY);
}

/* The mean over all windows, layer by layer. */
static void run_mean_gradients(const run *r, double out[2][BDPT_MAX_DEPTH]) {
  double one[BDPT_MAX_DEPTH];
  int n = record_count(&r->record, "disparity"), i, t, l;
  memset(out, 0, 2 * sizeof out[0]);
  for (i = 0; i < n; i++)
    for (t = 0; t < 2; t++) {
      record_reals(record_get(&r->record, "disparity", i), run_type[t], one, r->depth);
      for (l = 0; l < r->depth; l++) out[t][l] += one[l] / n;
    }
}

static void run_tell_disparity(run *r) {
  double g[2][BDPT_MAX_DEPTH], mean[2], all[2 * BDPT_MAX_DEPTH], ratio, scale = 1000;
  int t, l, lowest = 0;
  run_mean_gradients(r, g);
  for (t = 0; t < 2; t++) /* three digits before the point at most */
    for (l = 0; l < r->depth; l++)
      while (g[t][l] * scale > 999 && scale > 1e-6) scale /= 10;
  run_title(r, "2  Gradients: can the two kinds of layer be ranked together?");
  run_say(r, "   m is a layer's importance: 1 keeps it, 0 removes it. Mean |dL/dm| times %g:\n",
          scale);
  run_say_numbers(r);
  for (t = 0; t < 2; t++) {
    double scaled[BDPT_MAX_DEPTH];
    for (l = 0; l < r->depth; l++) all[t * r->depth + l] = g[t][l];
    for (l = 0; l < r->depth; l++) scaled[l] = scale * g[t][l];
    run_say_layers(r, run_type[t], scaled, "%6.3g");
    mean[t] = run_mean(g[t], r->depth);
  }
  qsort(all, (size_t)(2 * r->depth), sizeof all[0], run_ascending);
  for (l = 0; l < r->depth; l++) lowest += g[BDPT_ACTIVATION][l] <= all[r->o.budget - 1];
  ratio = mean[0] > mean[1] ? mean[0] / mean[1] : mean[1] / mean[0];
  run_say(r, "   Mean of %s %.1f times that of %s; of the %d smallest of all, %d are GELUs and %d\n"
          "   attention layers. One ranking would mix two scales, so each kind is ranked alone.\n",
          run_type[mean[0] > mean[1] ? 0 : 1], ratio, run_type[mean[0] > mean[1] ? 1 : 0],
          r->o.budget, lowest, r->o.budget - lowest);
}

/* -------------------------------------------------------------------------------------------------
 * 3  Recovery asymmetry
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status run_recovery(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_recovery_options o;
  bdpt_hooks hooks;
  bdpt_status s;
  int i;
  if (record_has(&r->record, "recovery")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.recovery_images);
  hooks = run_hooks(r, RUN_CKPT_RECOVERY);
  s = bdpt_recovery(r->model[RUN_DENSE], &r->in.rest, &r->in.held, &o, &hooks, row);
  if (s != BDPT_OK) return s;
  for (i = 0; i < 2 * r->depth; i++) {
    cli_json *j = &r->record.text;
    double mark = 1;
    cli_json_open(j, "recovery");
    cli_json_text(j, "type", run_type[row[i].layer.type]);
    cli_json_real(j, "layer", row[i].layer.block);
    cli_json_real(j, "before", row[i].before);
    cli_json_real(j, "at_once", row[i].at_once);
    cli_json_reals(j, "marks", &mark, 1);
    cli_json_reals(j, "after", row[i].after, 1);
    cli_json_real(j, "images", (double)r->o.recovery_images);
    cli_json_close(j);
  }
  return run_record(r, RUN_CKPT_RECOVERY);
}

/* Reads the lines back as the library's rows, for bdpt_recovery_order. */
static void run_recovery_rows(const run *r, bdpt_recovery_row *row) {
  int i;
  memset(row, 0, 2 * (size_t)r->depth * sizeof row[0]);
  for (i = 0; i < 2 * r->depth; i++) {
    record_line l = record_get(&r->record, "recovery", i);
    row[i].layer.type = record_is(l, "type", run_type[1]) ? BDPT_ACTIVATION : BDPT_ATTENTION;
    row[i].layer.block = record_int(l, "layer", 0);
    row[i].before = record_real(l, "before", 0);
    row[i].at_once = record_real(l, "at_once", 0);
    record_reals(l, "after", row[i].after, 1);
  }
}

/* Rank correlation (Spearman): do two lists order the layers alike? */
static double run_rank_correlation(const double *x, const double *y, int n) {
  double sum = 0;
  int i, k;
  for (i = 0; i < n; i++) {
    double difference = 0; /* of the two ranks; ties count half */
    for (k = 0; k < n; k++)
      difference += 0.5 * ((x[k] < x[i]) - (x[k] > x[i]) - (y[k] < y[i]) + (y[k] > y[i]));
    sum += difference * difference;
  }
  return n > 1 ? 1 - 6 * sum / ((double)n * ((double)n * n - 1)) : 1;
}

static void run_tell_recovery(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double once[2][BDPT_MAX_DEPTH], after[2][BDPT_MAX_DEPTH], same[2];
  int i, t;
  run_recovery_rows(r, row);
  for (i = 0; i < 2 * r->depth; i++) {
    once[row[i].layer.type][row[i].layer.block] = row[i].at_once;
    after[row[i].layer.type][row[i].layer.block] = row[i].after[0];
  }
  run_title(r, "3  Recovery: what does each single layer cost?");
  run_say(r, "   Each of the %d layers is removed alone from the dense network (%.1f %%), and the\n"
          "   rest is trained on %zu images. Accuracy at once, and after that training:\n",
          2 * r->depth, row[0].before, r->o.recovery_images);
  run_say_numbers(r);
  for (t = 0; t < 2; t++) {
    run_say_layers(r, t ? "no GELU, at once" : "no attention, at once", once[t], "%6.1f");
    run_say_layers(r, "  after training", after[t], "%6.1f");
  }
  for (t = 0; t < 2; t++)
    run_say(r, "   Losing %s costs %.1f points on average at once and %.1f after training.\n",
            t ? "a GELU" : "an attention layer", row[0].before - run_mean(once[t], r->depth),
            row[0].before - run_mean(after[t], r->depth));
  for (t = 0; t < 2; t++) same[t] = run_rank_correlation(once[t], after[t], r->depth);
  run_say(r, "   The order of the layers at once %s the order after training (rank\n"
          "   correlation %.2f for attention, %.2f for GELUs). The later one counts from now on.\n",
          same[0] > 0.9 && same[1] > 0.9 ? "is here almost" : "is not", same[0], same[1]);
}

/* -------------------------------------------------------------------------------------------------
 * 4  How many of each: the model accuracy predictor
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status run_collect(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_map_collect_options o;
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_hooks hooks;
  bdpt_status s;
  size_t n = 0, i;
  int t;
  if (record_has(&r->record, "map_point")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.map_images);
  o.most = o.rounds = r->o.most;
  o.use_order = 1;
  o.start = r->start;
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, r->depth, 0, t, o.order[t]);
  hooks = run_hooks(r, RUN_CKPT_MAP);
  s = bdpt_map_collect(r->model[RUN_DENSE], &r->in.rest, &r->in.held, &o, &hooks, point,
                       sizeof point / sizeof point[0], &n);
  if (s != BDPT_OK) return s;
  for (i = 0; i < n; i++) {
    cli_json_open(&r->record.text, "map_point");
    cli_json_real(&r->record.text, "attention", point[i].attention);
    cli_json_real(&r->record.text, "activation", point[i].activation);
    cli_json_real(&r->record.text, "accuracy", point[i].accuracy);
    cli_json_close(&r->record.text);
  }
  return run_record(r, RUN_CKPT_MAP);
}

static size_t run_points(const run *r, bdpt_map_point *point, size_t room) {
  size_t n = (size_t)record_count(&r->record, "map_point"), i;
  for (i = 0; i < n && i < room; i++) {
    record_line l = record_get(&r->record, "map_point", (int)i);
    point[i].attention = record_real(l, "attention", 0);
    point[i].activation = record_real(l, "activation", 0);
    point[i].accuracy = record_real(l, "accuracy", 0);
  }
  return i;
}

/* The best split of the budget with at least `least` of each kind. The predictor's own best may lie
 * outside of what was measured, where a polynomial is a guess; both are recorded. */
static double run_restricted(const run *r, const bdpt_map *map, int *attention) {
  double best = -1e300;
  int a;
  for (a = r->o.least; a <= r->o.budget - r->o.least; a++) {
    double p = bdpt_map_predict(map, 1.0 - (double)a / r->depth,
                                1.0 - (double)(r->o.budget - a) / r->depth);
    if (p > best) { best = p; *attention = a; }
  }
  return best;
}

static void run_record_map(run *r, const bdpt_map *map, int free_attention, int attention,
                           double predicted) {
  cli_json *j = &r->record.text;
  int k;
  cli_json_open(j, "map");
  cli_json_real(j, "degree", map->degree);
  cli_json_key(j, "terms");
  cli_json_raw(j, "[", 1);
  for (k = 0; k < map->terms; k++) {
    char pair[40];
    int a, g;
    bdpt_map_term(k, &a, &g);
    snprintf(pair, sizeof pair, "%s[%d,%d]", k ? "," : "", a, g);
    cli_json_raw(j, pair, strlen(pair));
  }
  cli_json_raw(j, "]", 1);
  cli_json_reals(j, "theta", map->theta, map->terms);
  cli_json_reals(j, "cv_rmse", map->cv_rmse + 1, 4);
  cli_json_real(j, "fit_rmse", map->fit_rmse);
  cli_json_real(j, "depth", r->depth);
  cli_json_real(j, "budget", r->o.budget);
  cli_json_real(j, "attention", attention);
  cli_json_real(j, "activation", r->o.budget - attention);
  cli_json_real(j, "predicted", predicted);
  cli_json_real(j, "least", r->o.least);
  cli_json_real(j, "free_attention", free_attention);
  cli_json_close(j);
}

static bdpt_status run_map(run *r) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_map map;
  size_t n;
  int a, g, chosen = r->o.least;
  double predicted;
  bdpt_status s;
  if (record_has(&r->record, "map")) return BDPT_OK;
  n = run_points(r, point, sizeof point / sizeof point[0]);
  s = bdpt_map_fit(r->ctx, point, n, NULL, &map);
  if (s == BDPT_OK)
    s = bdpt_map_split(r->ctx, &map, r->depth, r->o.budget, &a, &g, &predicted);
  if (s != BDPT_OK) return s;
  predicted = run_restricted(r, &map, &chosen);
  run_record_map(r, &map, a, chosen, predicted);
  return run_record(r, -1);
}

/* Evaluates the recorded polynomial. */
static double run_predict(record_line l, double attention, double activation) {
  double theta[BDPT_MAP_TERMS], power[2 * BDPT_MAP_TERMS], sum = 0;
  int n = record_reals(l, "theta", theta, BDPT_MAP_TERMS), k;
  if (record_reals(l, "terms", power, 2 * n) != 2 * n) return NAN;
  for (k = 0; k < n; k++)
    sum += theta[k] * pow(attention, power[2 * k]) * pow(activation, power[2 * k + 1]);
  return sum;
}

static void run_tell_map(run *r) {
  record_line l = record_get(&r->record, "map", 0);
  int budget = record_int(l, "budget", 0), best = record_int(l, "attention", 0), a;
  int wild = record_int(l, "free_attention", 0), least = record_int(l, "least", 0);
  double cv[4] = {0, 0, 0, 0};
  int degree = record_int(l, "degree", 1);
  record_reals(l, "cv_rmse", cv, 4);
  run_title(r, "4  How many of each kind? The model accuracy predictor (MAP)");
  run_say(r, "   %d networks measured, each pruned a little further and trained on %zu images.\n"
          "   Accuracy as polynomial of the shares kept: degree %d by leave-two-out, error %.2f.\n",
          record_count(&r->record, "map_point"), r->o.map_images, degree,
          degree >= 1 && degree <= 4 ? cv[degree - 1] : NAN);
  run_say(r, "   Predicted accuracy for %d layers in all, as attention + GELU:\n  ", budget);
  for (a = 0; a <= budget; a++)
    run_say(r, "%s %d+%d %.1f", a ? "," : "", a, budget - a,
            run_predict(l, 1.0 - (double)a / r->depth, 1.0 - (double)(budget - a) / r->depth));
  if (wild == best) run_say(r, ". The best is %d+%d.\n", best, budget - best);
  else
    run_say(r, ".\n   The best is %d+%d, but this run removes at least %d of each kind (--least),\n"
            "   because far from what was measured a polynomial only guesses: %d+%d.\n", wild,
            budget - wild, least, best, budget - best);
}

/* -------------------------------------------------------------------------------------------------
 * 5  Which ones: greedy, or learned importance
 * ---------------------------------------------------------------------------------------------- */

/* Two thirds of the layers of each kind may go: those that recovered best in part 3. (The released
 * code of the paper has such lists too, written down by hand.) */
static int run_candidates(const run *r, bdpt_search_options *o) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  int order[BDPT_MAX_DEPTH], some = (2 * r->depth + 2) / 3, t, i;
  for (t = 0; t < 2; t++)
    if (some < o->remove[t]) some = o->remove[t];
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) {
    bdpt_recovery_order(row, r->depth, 0, (bdpt_type)t, order);
    for (i = 0; i < some; i++) bdpt_layers_add(&o->candidates, (bdpt_type)t, order[i]);
  }
  return some;
}

static void run_record_choice(run *r, bdpt_layer layer, double accuracy) {
  cli_json_open(&r->record.text, "search");
  cli_json_text(&r->record.text, "type", run_type[layer.type]);
  cli_json_real(&r->record.text, "layer", layer.block);
  cli_json_real(&r->record.text, "accuracy", accuracy);
  cli_json_close(&r->record.text);
}

/* As many layers as the budget says, of whatever type: the predictor's split is not asked. */
static bdpt_status run_greedy(run *r) {
  bdpt_greedy_options o;
  bdpt_greedy_result found;
  bdpt_hooks hooks = run_hooks(r, RUN_CKPT_SEARCH);
  bdpt_model *copy;
  bdpt_status s;
  int i;
  if (record_has(&r->record, "greedy")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.layers = r->o.budget;
  o.start = (bdpt_start)r->start;
  copy = bdpt_model_clone(r->model[RUN_DENSE]);
  if (!copy) return r->ctx->status;
  s = bdpt_greedy(copy, &r->in.rest, &r->in.held, &o, &hooks, &found);
  bdpt_model_free(copy);
  if (s != BDPT_OK) return s;
  for (i = 0; i < found.removed; i++) run_record_choice(r, found.layer[i], found.accuracy[i]);
  cli_json_open(&r->record.text, "greedy");
  cli_json_reals(&r->record.text, "loss", found.loss, found.removed);
  cli_json_real(&r->record.text, "images", found.images);
  cli_json_close(&r->record.text);
  return run_record(r, RUN_CKPT_SEARCH);
}

static bdpt_status run_search(run *r) {
  bdpt_search_options o;
  bdpt_search_result found;
  bdpt_hooks hooks;
  bdpt_model *copy;
  bdpt_status s;
  int i, some;
  if (r->greedy) return run_greedy(r);
  if (record_has(&r->record, "importance")) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = run_short(r, r->o.search_images);
  o.start = r->start;
  o.remove[0] = record_int(record_get(&r->record, "map", 0), "attention", 0);
  o.remove[1] = record_int(record_get(&r->record, "map", 0), "activation", 0);
  for (i = 0; i < o.remove[0] + o.remove[1]; i++) o.stage[i] = 1;
  some = run_candidates(r, &o);
  copy = bdpt_model_clone(r->model[RUN_DENSE]);
  if (!copy) return r->ctx->status;
  hooks = run_hooks(r, RUN_CKPT_SEARCH);
  s = bdpt_search(copy, &r->in.rest, &r->in.held, &o, &hooks, &found);
  bdpt_model_free(copy);
  if (s != BDPT_OK) return s;
  for (i = 0; i < found.removed; i++) run_record_choice(r, found.layer[i], found.accuracy[i]);
  cli_json_open(&r->record.text, "importance");
  for (i = 0; i < 2; i++)
    cli_json_reals(&r->record.text, run_type[i], found.importance[i], r->depth);
  cli_json_real(&r->record.text, "candidates", some);
  cli_json_close(&r->record.text);
  return run_record(r, RUN_CKPT_SEARCH);
}

static void run_tell_search(run *r) {
  int n = record_count(&r->record, "search"), i;
  run_title(r, r->greedy ? "5  Which ones? Trying each" : "5  Which ones? Learned importance");
  if (r->greedy)
    run_say(r, "   Each layer that is left, of both kinds, is tried with what takes its place;\n"
            "   the one without which the held-out loss is smallest goes. Nothing is trained;\n"
            "   %.0f images went through the network:\n  ",
            record_real(record_get(&r->record, "greedy", 0), "images", 0));
  else run_say(r, "   A copy is trained with one importance per layer. Every %zu images the least\n"
          "   important goes, the kinds in turn, out of the %d of each that recovered best:\n  ",
          r->o.search_images,
          record_int(record_get(&r->record, "importance", 0), "candidates", r->depth));
  for (i = 0; i < n; i++) {
    record_line l = record_get(&r->record, "search", i);
    run_say(r, "%s %s %d", i ? "," : "", record_is(l, "type", run_type[1]) ? "GELU" : "attention",
            record_int(l, "layer", 0));
  }
  run_say(r, ".\n");
}

/* -------------------------------------------------------------------------------------------------
 * 6  Fine-tuning with the dense network as teacher
 * ---------------------------------------------------------------------------------------------- */

/* The dense network without the layers found in part 5. */
static bdpt_status run_prune(run *r) {
  bdpt_model *m = bdpt_model_clone(r->model[RUN_DENSE]);
  int n = record_count(&r->record, "search"), i;
  bdpt_layers gone = {{0, 0}};
  bdpt_status s;
  if (!m) return r->ctx->status;
  r->model[RUN_PRUNED] = m;
  for (i = 0; i < n; i++) {
    record_line l = record_get(&r->record, "search", i);
    int t = record_is(l, "type", run_type[1]);
    r->layer[t][r->count[t]++] = record_int(l, "layer", 0);
    bdpt_layers_add(&gone, (bdpt_type)t, record_int(l, "layer", 0));
  }
  s = bdpt_remove(m, &gone, r->start, &r->in.rest);
  if (s == BDPT_OK && !m->parent[0]) bdpt_model_hash(r->model[RUN_DENSE], m->parent);
  return s;
}

static bdpt_status run_tune(run *r) {
  bdpt_recipe p = run_recipe(r, r->o.tune_lr, r->o.tune_epochs, r->o.tune_images);
  bdpt_epoch log[1000];
  bdpt_accuracy once, after;
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status s;
  if (record_has(&r->record, "tune")) {
    m = bdpt_model_load(r->ctx, run_path(r, "recovered.safetensors"), NULL);
    r->model[RUN_RECOVERED] = m;
    return m ? BDPT_OK : r->ctx->status;
  }
  m = r->model[RUN_RECOVERED] = bdpt_model_clone(r->model[RUN_PRUNED]);
  if (!m) return r->ctx->status;
  memset(log, 0, sizeof log);
  p.distill = BDPT_DISTILL_SOFT;
  p.distill_alpha = 0.5;
  if (r->start != BDPT_START_PAPER) p.distill_features = 10; /* as the paper has none */
  p.warmup = 0.2;
  s = bdpt_evaluate(m, &r->in.held, &once);
  hooks = run_hooks(r, RUN_CKPT_TUNE);
  if (s == BDPT_OK)
    s = bdpt_train(m, r->model[RUN_DENSE], &r->in.rest, &r->in.held, &p, &hooks, log);
  if (s == BDPT_OK) s = bdpt_evaluate(m, &r->in.held, &after);
  if (s == BDPT_OK) s = bdpt_model_save(m, run_path(r, "recovered.safetensors"), BDPT_F32);
  if (s != BDPT_OK) return s;
  run_record_epochs(r, "recover", log, r->o.tune_epochs);
  cli_json_open(&r->record.text, "tune");
  cli_json_real(&r->record.text, "at_once", once.top1);
  cli_json_real(&r->record.text, "accuracy", after.top1);
  cli_json_real(&r->record.text, "epochs", r->o.tune_epochs);
  cli_json_real(&r->record.text, "images", (double)(p.epoch_images ? p.epoch_images
                                                                    : r->in.rest.count));
  cli_json_close(&r->record.text);
  return run_record(r, RUN_CKPT_TUNE);
}

static void run_tell_tune(run *r) {
  record_line l = record_get(&r->record, "tune", 0);
  int n = record_count(&r->record, "epoch"), i;
  run_title(r, "6  Removing them from the dense network, and winning back what that cost");
  run_say(r, "   %d epochs of %.0f images, taught by the labels and by the dense network.\n"
          "   Held-out accuracy: at once %.1f;", record_int(l, "epochs", 0),
          record_real(l, "images", 0),
          record_real(l, "at_once", 0));
  for (i = 0; i < n; i++) {
    record_line e = record_get(&r->record, "epoch", i);
    if (record_is(e, "phase", "recover")) run_say(r, " %.1f", record_real(e, "accuracy", NAN));
  }
  run_say(r, "  (dense %.1f)\n", record_real(record_get(&r->record, "dense", 0), "accuracy", 0));
}

/* -------------------------------------------------------------------------------------------------
 * 7 and 8  Fusing, measuring, testing
 * ---------------------------------------------------------------------------------------------- */

typedef struct run_time { double ms, low, high; } run_time; /* median, quartiles; ms per batch */

/* Times several networks in turn, round after round, so that a disturbance meets all of them. Each
 * measurement repeats the batch until it lasts about 20 ms. */
static bdpt_status run_measure(run *r, bdpt_model *const *models, int count, int repeats,
                               run_time *out) {
  static double taken[RUN_NETWORKS][RUN_REPEATS];
  const bdpt_config *c = &models[0]->config;
  size_t pixels = (size_t)RUN_BATCH * 3 * (size_t)c->image * (size_t)c->image;
  bdpt_real *images = (bdpt_real *)malloc(pixels * sizeof *images);
  bdpt_real *logits = (bdpt_real *)malloc((size_t)RUN_BATCH * (size_t)c->classes * sizeof *logits);
  bdpt_tape *tape = bdpt_tape_create(r->ctx, BDPT_TAPE_COMPUTE);
  int i, k, m, inner = 1;
  bdpt_status s = images && logits && tape ? BDPT_OK : BDPT_E_MEMORY;
  if (repeats > RUN_REPEATS) repeats = RUN_REPEATS;
  if (s == BDPT_OK)
    s = bdpt_load_batch(r->ctx, c, &r->in.held, 0, RUN_BATCH, images, NULL);
  for (i = -2; i < repeats && s == BDPT_OK; i++) { /* two rounds to warm up */
    if (cli_stop) s = BDPT_CANCELLED;
    for (m = 0; m < count && s == BDPT_OK; m++) {
      double t = cli_now();
      for (k = 0; k < inner && s == BDPT_OK; k++)
        s = bdpt_predict(models[m], tape, RUN_BATCH, images, logits);
      t = cli_now() - t;
      if (i >= 0) taken[m][i] = 1000 * t / inner;
      else if (i == -1 && m == 0) inner = t < 0.01 ? (int)(0.02 / (t + 1e-6)) + 1 : 1;
    }
  }
  for (m = 0; m < count && s == BDPT_OK; m++) {
    qsort(taken[m], (size_t)repeats, sizeof taken[m][0], run_ascending);
    out[m].ms = run_quantile(taken[m], repeats, 0.5);
    out[m].low = run_quantile(taken[m], repeats, 0.25);
    out[m].high = run_quantile(taken[m], repeats, 0.75);
  }
  bdpt_tape_free(tape);
  free(images);
  free(logits);
  return s;
}

/* Accuracy against measured speed for every network of part 4: the structure is rebuilt, fused and
 * timed beside the dense one; its accuracy is the one measured after its short training. */
static bdpt_status run_pareto(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  int order[2][BDPT_MAX_DEPTH], t, k;
  size_t n = run_points(r, point, sizeof point / sizeof point[0]), i;
  bdpt_status s = BDPT_OK;
  size_t before = r->record.text.used;
  if (record_has(&r->record, "pareto")) return BDPT_OK;
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, r->depth, 0, t, order[t]);
  for (i = 0; i < n && s == BDPT_OK; i++) {
    int gone[2];
    bdpt_layers set = {{0, 0}};
    run_time time[2];
    char name[60];
    bdpt_model *pair[2];
    gone[0] = (int)(r->depth * (1 - point[i].attention) + 0.5);
    gone[1] = (int)(r->depth * (1 - point[i].activation) + 0.5);
    if (gone[0] + gone[1] == 0) continue;
    pair[0] = r->model[RUN_DENSE];
    pair[1] = bdpt_model_clone(pair[0]);
    if (!pair[1]) return r->ctx->status;
    for (t = 0; t < 2; t++)
      for (k = 0; k < gone[t]; k++) bdpt_layers_add(&set, (bdpt_type)t, order[t][k]);
    s = bdpt_remove(pair[1], &set, r->start, &r->in.rest);
    if (s == BDPT_OK) s = bdpt_fuse_all(pair[1]);
    if (s == BDPT_OK) s = run_measure(r, pair, 2, (r->o.repeats + 1) / 2, time);
    bdpt_model_free(pair[1]);
    if (s != BDPT_OK) break;
    snprintf(name, sizeof name, "%d+%d removed, short training", gone[0], gone[1]);
    cli_json_open(&r->record.text, "pareto");
    cli_json_text(&r->record.text, "name", name);
    cli_json_real(&r->record.text, "attention", gone[0]);
    cli_json_real(&r->record.text, "activation", gone[1]);
    cli_json_real(&r->record.text, "accuracy", point[i].accuracy);
    cli_json_real(&r->record.text, "speedup", time[0].ms / time[1].ms);
    cli_json_close(&r->record.text);
  }
  if (s != BDPT_OK) r->record.text.used = before; /* all points or none */
  return s == BDPT_OK ? run_record(r, -1) : s;
}

static bdpt_status run_record_row(run *r, int which, const run_time *time) {
  cli_json *j = &r->record.text;
  bdpt_cost_report cost;
  bdpt_accuracy a;
  bdpt_status s = bdpt_evaluate(r->model[which], &r->in.tested, &a);
  if (s == BDPT_OK) s = bdpt_cost(r->ctx, &r->model[which]->config, &cost);
  if (s != BDPT_OK) return s;
  cli_json_open(j, "row");
  cli_json_text(j, "name", run_network[which]);
  cli_json_real(j, "accuracy", a.top1);
  cli_json_real(j, "top5", a.top5);
  cli_json_real(j, "images", (double)a.count);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_real(j, "macs_no_matmul", cost.macs_no_matmul);
  cli_json_real(j, "ms", time->ms);
  cli_json_real(j, "ms_low", time->low);
  cli_json_real(j, "ms_high", time->high);
  cli_json_real(j, "batch", RUN_BATCH);
  cli_json_close(j);
  return BDPT_OK;
}

/* The only part that sees the test images. All of its lines are recorded together. */
static bdpt_status run_final(run *r) {
  run_time time[RUN_NETWORKS];
  bdpt_certificate certificate;
  bdpt_model *m = bdpt_model_clone(r->model[RUN_RECOVERED]);
  size_t before = r->record.text.used;
  bdpt_status s;
  int i;
  if (!m) return r->ctx->status;
  r->model[RUN_FUSED] = m;
  if (record_has(&r->record, "row")) return BDPT_OK;
  s = bdpt_fuse_certified(m, &r->in.tested, &certificate);
  if (s == BDPT_OK) s = bdpt_model_save(m, run_path(r, "fused.safetensors"), BDPT_F32);
  if (s == BDPT_OK) s = run_measure(r, r->model, RUN_NETWORKS, r->o.repeats, time);
  for (i = 0; i < RUN_NETWORKS && s == BDPT_OK; i++)
    s = cli_stop ? BDPT_CANCELLED : run_record_row(r, i, &time[i]);
  if (s != BDPT_OK) {
    r->record.text.used = before;
    return s;
  }
  cli_json_open(&r->record.text, "certificate");
  cli_json_text(&r->record.text, "text", m->certificate);
  cli_json_real(&r->record.text, "difference", certificate.difference);
  cli_json_real(&r->record.text, "agree", (double)certificate.agree);
  cli_json_real(&r->record.text, "images", (double)certificate.images);
  cli_json_real(&r->record.text, "near_ties", (double)certificate.near_ties);
  cli_json_close(&r->record.text);
  return run_record(r, -1);
}

static void run_tell_final(run *r) {
  record_line c = record_get(&r->record, "certificate", 0);
  record_line dense = record_get(&r->record, "row", RUN_DENSE);
  record_line fused = record_get(&r->record, "row", RUN_FUSED);
  double accuracy[RUN_NETWORKS], before = record_real(dense, "ms", 1), lost, back;
  double after = record_real(fused, "ms", 1);
  int i;
  for (i = 0; i < RUN_NETWORKS; i++)
    accuracy[i] = record_real(record_get(&r->record, "row", i), "accuracy", 0);
  run_title(r, "7  Fusing: two linears with nothing between them become one");
  if (run_fits(r))
    run_say(r, "   A fitted map is one linear from the start, so nothing is left to multiply\n"
            "   out; with --start paper or skip there is.\n");
  else
    run_say(r, "   Over %.0f images the logits differ by at most %.1e of the largest; the class\n"
            "   named is the same for %.0f of them (%.0f of the others are near ties).\n",
            record_real(c, "images", 0), record_real(c, "difference", 0),
            record_real(c, "agree", 0), record_real(c, "near_ties", 0));
  run_title(r, "8  The test images, read once, after the last choice");
  if (!r->o.common.json) report_table(r->ctx, r->record.path, stdout);
  lost = accuracy[RUN_DENSE] - accuracy[RUN_PRUNED];
  back = accuracy[RUN_FUSED] - accuracy[RUN_PRUNED];
  run_say(r, "\n   Removing %d + %d layers cost %.1f points at once; training won back %.1f",
          r->count[0], r->count[1], lost, back);
  if (lost > 0) run_say(r, " (%.0f %%)", 100 * back / lost);
  run_say(r, ".\n   The fused network takes %.2f ms for %d images, the dense one %.2f: ", after,
          RUN_BATCH, before);
  if (record_real(fused, "ms_high", 0) < record_real(dense, "ms_low", 0))
    run_say(r, "%.2f times as fast.\n", before / after);
  else
    run_say(r, "no more than the spread of\n   this measurement. Is the machine busy?\n");
}

/* -------------------------------------------------------------------------------------------------
 * The command
 * ---------------------------------------------------------------------------------------------- */

/* What the record has that was not printed yet, for --json. */
static void run_print_json(run *r) {
  const cli_json *j = &r->record.text;
  if (r->o.common.json && j->used > r->told)
    fwrite(j->text + r->told, 1, j->used - r->told, stdout);
  fflush(stdout);
  r->told = j->used;
}

static bdpt_status run_parts(run *r) {
  static const struct { bdpt_status (*work)(run *); void (*tell)(run *); } part[] = {
    {run_setup, run_tell_setup}, {run_dense, run_tell_dense}, {run_disparity, run_tell_disparity},
    {run_recovery, run_tell_recovery}, {run_collect, NULL}, {run_map, run_tell_map},
    {run_search, run_tell_search}, {run_prune, NULL}, {run_tune, run_tell_tune},
    {run_pareto, NULL}, {run_final, run_tell_final}
  };
  size_t i;
  for (i = 0; i < sizeof part / sizeof part[0]; i++) {
    bdpt_status s = part[i].work(r);
    if (s == BDPT_OK && cli_stop && i + 1 < sizeof part / sizeof part[0]) s = BDPT_CANCELLED;
    cli_progress_clear(&r->progress);
    if (s != BDPT_OK) return s;
    if (part[i].tell) part[i].tell(r);
    run_print_json(r);
  }
  return BDPT_OK;
}

/* Writes the last line and the report. Seconds are of this program; a resumed run took longer. */
static bdpt_status run_finish(run *r, double began) {
  bdpt_status s;
  double seconds = cli_now() - began;
  cli_json_open(&r->record.text, "done");
  cli_json_real(&r->record.text, "seconds", floor(10 * seconds + 0.5) / 10);
  cli_json_close(&r->record.text);
  s = run_record(r, -1);
  run_print_json(r);
  if (s == BDPT_OK && report_write(r->ctx, r->record.path, r->o.report) != 0)
    s = r->ctx->status != BDPT_OK ? r->ctx->status : BDPT_E_IO;
  if (s != BDPT_OK) return s;
  run_say(r, "\n   plots    %s\n   numbers  %s\n   network  %s/fused.safetensors\n"
          "   time     %.0f seconds\n", r->o.report, r->record.path, r->o.out, seconds);
  return BDPT_OK;
}

CLI_FN int run_command(bdpt_context *ctx, const run_options *options) {
  static run r; /* large; one per program */
  double began = cli_now();
  bdpt_status s;
  int i;
  memset(&r, 0, sizeof r);
  r.o = *options;
  r.ctx = ctx;
  run_defaults(&r.o);
  r.start = (bdpt_start)input_start(r.o.start);
  r.greedy = input_choose(r.o.choose, r.o.start);
  cli_progress_open(&r.progress, r.o.common.quiet);
  s = run_parts(&r);
  if (s == BDPT_OK) s = run_finish(&r, began);
  for (i = 0; i < RUN_NETWORKS; i++) bdpt_model_free(r.model[i]);
  record_free(&r.record);
  input_close(&r.in);
  return cli_finish("run", ctx, s, "the same command goes on from here");
}

#endif /* RUN_H */
