/* =================================================================================================
 * run.c: the whole method on one page (the `run` command, `make run`)
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
 * Each part first looks into the record (record.c). If its lines are there, it only tells them; if
 * not, it computes, records, and then tells. The library keeps a checkpoint inside each long part.
 * So the command can be stopped anywhere, by Ctrl-C or by kill -9, and the same command goes on.
 *
 * Parts 1 to 3 are in observe.c, 4 to 6 in choose.c, 7 and 8 in measure.c.
 *
 * Parts 1 to 6 see the training images and the held-out images. Part 8 reads the test images, once,
 * after the last choice has been made. Part 7 counts on them too, but chooses nothing.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../input.h"
#include "../record.h"
#include "../report/report.h"
#include "../session.h"
#include "../timing.h"
#include "parts.h"
#include "run.h"
#include "../words.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

const char *const run_network[RUN_NETWORKS] = {"dense", "pruned", "recovered", "fused"};

/* Chooses the input of a pretrained DeiT on CIFAR-100. */
static void run_defaults(run_options *o) {
  if (!o->image[0] && o->data && !input_has_pictures(o->data)) o->image[0] = 64;
}

/* -------------------------------------------------------------------------------------------------
 * Telling
 * ---------------------------------------------------------------------------------------------- */

/* -------------------------------------------------------------------------------------------------
 * Small tools
 * ---------------------------------------------------------------------------------------------- */

bdpt_recipe run_recipe(const run *r, double lr, int epochs, size_t images) {
  bdpt_recipe p;
  memset(&p, 0, sizeof p);
  p.epochs = epochs;
  p.batch = r->o.batch;
  p.epoch_images = images < r->base.in.rest.count ? images : 0;
  p.lr = lr;
  p.crop = 4;
  p.flip = 1;
  p.smoothing = 0.1;
  p.clip = 1.0;
  p.seed = r->o.common.seed;
  return p;
}

bdpt_recipe run_short(const run *r, size_t images) {
  bdpt_recipe p = run_recipe(r, r->o.short_lr, 1, images);
  p.batch = r->o.short_batch;
  return p;
}

/* -------------------------------------------------------------------------------------------------
 * Setup: what goes in, and whether there is something to go on with
 * ---------------------------------------------------------------------------------------------- */

/* Writes everything that the result depends on. Two runs with the same text are the same run. */
static void run_describe(run *r, const char *weights) {
  const run_options *o = &r->o;
  char image[40];
  snprintf(image, sizeof image, "%d", o->image[0]);
  if (o->image[1]) snprintf(image, sizeof image, "%dx%d", o->image[0], o->image[1]);
  snprintf(r->base.setup, sizeof r->base.setup,
           "version=%s data=%s train=%zu rest=%zu model=%s weights=%s image=%s budget=%d least=%d "
           "most=%d dense_epochs=%d dense_images=%zu tune_epochs=%d batch=%d short_batch=%d "
           "held=%zu test=%zu probe_steps=%zu recovery_images=%zu map_images=%zu "
           "search_images=%zu tune_images=%zu dense_lr=%g short_lr=%g tune_lr=%g repeats=%d "
           "seed=%zu real=%d start=%s%s%s", RECORD_SINCE, r->base.in.folder, r->base.in.train.count,
           r->base.in.rest.count, o->model, weights, image, o->budget, o->least, o->most,
           o->dense_epochs, o->dense_images, o->tune_epochs, o->batch, o->short_batch, o->held,
           o->test, o->probe_steps, o->recovery_images, o->map_images, o->search_images,
           o->tune_images, o->dense_lr, o->short_lr, o->tune_lr, o->repeats, o->common.seed,
           (int)sizeof(bdpt_real), o->start, r->greedy ? " greedy" : "", o->common.bf16 ? " bf16"
           : "");
}

/* Decides between going on and starting fresh, and says which on stderr. */
static bdpt_status run_resume(run *r) {
  static const char *const checkpoint[] = {"dense.ckpt", "disparity.ckpt", "recovery.ckpt",
                                           "map.ckpt", "search.ckpt", "tune.ckpt"};
  char before[1200], aside[720];
  size_t i;
  int finished, same;
  bdpt_status s;
  s = session_load(&r->base, "run.jsonl");
  if (s != BDPT_OK) return s;
  finished = record_has(&r->base.record, "done");
  record_text(record_get(&r->base.record, "setup", 0), "options", before, sizeof before);
  same = strcmp(before, r->base.setup) == 0;
  if (record_has(&r->base.record, "setup") && same && !finished && !r->o.common.fresh) {
    fprintf(stderr, "   going on with the run in %s (--fresh would start again)\n", r->o.out);
    return cli_epochs_open(&r->epochs, r->base.ctx, r->o.csv, EPOCHS_ADD);
  }
  if (record_has(&r->base.record, "setup")) {
    s = session_set_aside(&r->base, aside);
    if (s != BDPT_OK) return s;
    if (!finished && !r->o.common.fresh)
      fprintf(stderr, "   the options or inputs changed since the unfinished run in %s: starting "
              "afresh; what it had measured is now %s\n", r->o.out, aside);
  }
  record_free(&r->base.record);
  for (i = 0; i < sizeof checkpoint / sizeof checkpoint[0]; i++)
    cli_forget_checkpoint(session_path(&r->base, checkpoint[i]));
  s = session_record_setup(&r->base, &r->model[RUN_DENSE]->config, r->o.model, r->o.common.seed,
                           r->o.test ? r->o.test : r->base.in.test.count,
                           r->o.data ? "make run DATA=... MODEL=..." : "make run");
  return s == BDPT_OK ? cli_epochs_open(&r->epochs, r->base.ctx, r->o.csv, EPOCHS_NEW) : s;
}

/* Checks that nothing that the run writes is what it reads. */
static bdpt_status run_check_files(run *r, const input_source *from) {
  static const char *const name[] = {"dense", "recovered", "fused"};
  char room[3][720], lines[720], data[2][700];
  cli_files files = {{NULL}, {NULL}};
  int i;
  files.in[0] = r->o.model;
  for (i = 0; i < 3; i++) {
    snprintf(room[i], sizeof room[i], "%.680s/%s.safetensors", r->o.out, name[i]);
    files.out[i] = room[i];
  }
  snprintf(lines, sizeof lines, "%.680s/run.jsonl", r->o.out);
  files.out[3] = lines;
  files.out[4] = r->o.report;
  files.out[5] = r->o.csv;
  input_files(from, data, &files);
  return cli_check_files(r->base.ctx, &files);
}

/* Loads images and the network as it comes, makes the classifier fit, opens the record. */
static bdpt_status run_setup(run *r) {
  size_t *const images[] = {&r->o.recovery_images, &r->o.map_images, &r->o.search_images,
                            &r->o.tune_images};
  input_source from;
  char weights[17];
  bdpt_model *m;
  bdpt_status s;
  size_t i;
  if (!cli_make_folder(r->o.out)) {
    snprintf(r->base.ctx->message, sizeof r->base.ctx->message, "cannot make the folder %s",
             r->o.out);
    return r->base.ctx->status = BDPT_E_IO;
  }
  memset(&from, 0, sizeof from);
  from.data = r->o.data;
  from.holdout = r->o.holdout;
  from.skip_bad = r->o.skip_bad;
  from.quiet = r->o.common.quiet;
  s = run_check_files(r, &from);
  if (s == BDPT_OK) s = input_open(&r->base.in, r->base.ctx, &from, INPUT_TRAIN | INPUT_TEST);
  if (s == BDPT_OK) s = input_keep(r->base.ctx, &r->base.in.held, r->o.held);
  if (s == BDPT_OK) s = input_keep(r->base.ctx, &r->base.in.tested, r->o.test);
  if (s == BDPT_OK && r->base.in.held.count < TIMING_BATCH)
    s = input_fail(&r->base.in,
                   "%.250s: too few images: a tenth of each class is held out, and 16 of "
                   "those are needed to measure times", r->base.in.folder);
  if (s != BDPT_OK) return s;
  for (i = 0; i < sizeof images / sizeof images[0]; i++)
    if (*images[i] == 0) *images[i] = r->base.in.rest.count; /* 0: all */
  m = r->model[RUN_DENSE] = input_model(r->base.ctx, r->o.model, r->o.image);
  if (!m) return r->base.ctx->status;
  input_form(r->o.start, m);
  input_adopt(&r->base.in, m);
  bdpt_model_hash(m, weights);
  r->base.depth = m->config.depth;
  r->new_head = m->config.classes != r->base.in.train.classes;
  if (r->new_head) s = bdpt_model_new_head(m, r->base.in.train.classes, r->o.common.seed);
  if (r->o.dense_epochs < 0) r->o.dense_epochs = r->new_head ? 3 : 0;
  run_describe(r, weights);
  return s == BDPT_OK ? run_resume(r) : s;
}

int run_fits(const run *r) {
  return r->start == BDPT_START_SKIP_FIT || r->start == BDPT_START_FIT ||
         r->start == BDPT_START_FIT_ACTIVATION;
}

static void run_tell_setup(run *r) {
  record_line l = record_get(&r->base.record, "setup", 0);
  const char *left = "LN1(x)", *fitted = "the linear map that does its work best";
  const int high = record_int(l, "image", 0), wide = record_int(l, "image_width", high);
  char compiler[60], isa[20], sides[32];
  snprintf(sides, sizeof sides, wide == high ? "%d" : "%d x %d", high, wide);
  record_text(l, "compiler", compiler, sizeof compiler);
  record_text(l, "isa", isa, sizeof isa);
  session_say(&r->base,
    "A vision transformer, pruned in depth (boundarydpt %s)\n\n"
    "Each block of the network is an attention layer followed by an MLP: linear, GELU, linear.\n"
    "Two things can be removed: an attention layer, or a GELU. Without its GELU the two linears\n"
    "beside it are one matrix product and are multiplied out. This run finds out how many of each\n"
    "should go and which ones, removes them, and trains the rest to make up for the loss.\n\n",
    bdpt_version());
  session_say(&r->base,
              "   images   %s: %d %s, %.0f for training, %.0f held out for choices, %.0f for "
              "the test\n", r->base.in.name, record_int(l, "classes", 0),
              words_of(record_int(l, "classes", 0), "class", "classes"),
              record_real(l, "train_images", 0), record_real(l, "held_images", 0),
              record_real(l, "test_images", 0));
  session_say(&r->base, "   network  %s:\n"
      "            %d %s of width %d, %d %s, %s px, patches of %d, %.2f M parameters\n",
      r->o.model, r->base.depth, words_of(r->base.depth, "block", "blocks"),
      record_int(l, "width", 0), record_int(l, "heads", 0),
      words_of(record_int(l, "heads", 0), "head", "heads"), sides, record_int(l, "patch", 0),
      1e-6 * record_real(l, "params", 0));
  if (r->model[RUN_DENSE]->config.attn_form == BDPT_ATTN_SKIP) left = "nothing";
  if (r->start == BDPT_START_FIT || r->start == BDPT_START_FIT_ATTENTION) left = fitted;
  session_say(&r->base, "   start    %s: a removed attention layer leaves %s,\n"
              "            an MLP without its GELU begins as %s\n", r->o.start, left,
              run_fits(r) ? fitted : "its two linears in a row");
  session_say(&r->base, "   machine  %d %s, %s kernels, %s\n", record_int(l, "threads", 0),
              words_of(record_int(l, "threads", 0), "thread", "threads"), isa, compiler);
}

/* -------------------------------------------------------------------------------------------------
 * The command
 * ---------------------------------------------------------------------------------------------- */

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
    cli_progress_clear(&r->base.progress);
    if (s != BDPT_OK) return s;
    if (part[i].tell) part[i].tell(r);
    session_print_json(&r->base);
  }
  return r->told;
}

/* Writes the last line and the report. Seconds are of this program; a resumed run took longer. */
static bdpt_status run_finish(run *r, double began) {
  bdpt_status s;
  double seconds = cli_now() - began;
  cli_json_open(&r->base.record.text, "done");
  cli_json_real(&r->base.record.text, "seconds", floor(10 * seconds + 0.5) / 10);
  cli_json_close(&r->base.record.text);
  s = session_save(&r->base, NULL);
  session_print_json(&r->base);
  if (s == BDPT_OK && report_write(r->base.ctx, r->base.record.path, r->o.report) != 0)
    s = r->base.ctx->status != BDPT_OK ? r->base.ctx->status : BDPT_E_IO;
  if (s != BDPT_OK) return s;
  session_say(&r->base, "\n   plots    %s\n   numbers  %s\n   network  %s/fused.safetensors\n"
              "   time     %.0f %s\n", r->o.report, r->base.record.path, r->o.out, seconds,
              words_of(seconds, "second", "seconds"));
  return BDPT_OK;
}

int run_command(bdpt_context *ctx, const run_options *options) {
  static run r; /* large; one per program */
  double began = cli_now();
  bdpt_status s;
  int i;
  memset(&r, 0, sizeof r);
  r.o = *options;
  run_defaults(&r.o);
  session_open(&r.base, ctx, &r.o.common, r.o.out);
  r.start = (bdpt_start)input_start(r.o.start);
  r.base.table = r.o.table; r.base.rows = r.o.rows;
  r.greedy = input_choose(r.o.choose, r.o.start);
  cli_epochs_watch(&r.epochs, &r.base.progress);
  s = cli_epochs_close(&r.epochs, ctx, run_parts(&r));
  if (s == BDPT_OK) s = run_finish(&r, began);
  for (i = 0; i < RUN_NETWORKS; i++) bdpt_model_free(r.model[i]);
  session_close(&r.base);
  return cli_finish("run", ctx, s, "the same command goes on from here");
}
