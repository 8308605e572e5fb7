/* =================================================================================================
 * reproduce.c: the study of the paper's claims (the `reproduce` command, `make reproduce`)
 * =================================================================================================
 * Twenty parts, each a question of its own; the last seven run only when they are named:
 *
 *    1 dense      how good is the network before anything is removed?
 *    2 gradients  how far apart are the importance gradients of the two types, and why?
 *    3 recovery   what does each single layer cost, at once and after training?
 *    4 mismatch   what happens when a linear is removed instead?
 *    5 map        how many of each type does the predictor choose, and how stable is that?
 *    6 which      learned importance against simpler ways to choose layers
 *    7 types      attention only, activations only, both: accuracy against measured speed
 *    8 speed      DeiT at 224 px, dense against pruned and fused
 *    9 text       the paper's text against the released code
 *   10 start      the paper's start of training against a least-squares fit
 *   11 distil     what the teacher brings
 *   12 plus       depth, width, both: accuracy at the same cost
 *   13 tokens     merging tokens: accuracy and speed
 *   14 choice     layers chosen greedily without training, against part 6's choices
 *   15 better     the dense network trained on, itself its teacher: the parent of what follows
 *   16 headline   ten layers' worth of MACs gone, and what each piece of the recovery brings
 *   17 long       the same recovery, ten passes long
 *   18 frontier   depth, width, or both, all with that recovery
 *   19 rivals     other ways to the cost of part 16: accuracy and time
 *   20 readings   learned importance read otherwise, and others' ways to choose
 *
 * A part is made of jobs, mostly "remove these layers, train so long, measure at these marks". The
 * job's text is its name (study_name); a job whose lines are in the record is never done again, and
 * two parts that want the same network share it. Inside a job the library's checkpoints hold. So
 * the study can be stopped anywhere and the same command goes on.
 *
 * Who sees which images: networks train on `rest` only. `held` (50 of each class, listed in
 * data/cifar100_held.txt) makes every choice: orders, splits, sets of layers. The test images meet
 * each finished network once; their accuracy is recorded and read by no part.
 *
 * 1 the recipe is in recipe.c, 2 the record in lines.c, 3 the networks in networks.c; parts 1 to 4
 * in observations.c, 5 and 6 in choices.c, 7 and 8 in speed.c, 9 to 11 in training.c, 12 and 13 in
 * smaller.c, 14 to 18 in headline.c, 19 in rivals.c, 20 in readings.c, their figures in summary.c;
 * what parts cost in cost.c; the table of parts and the command here; how a study is shared out in
 * shares.c.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/settings.h"
#include "../cli/system.h"
#include "../input.h"
#include "../record.h"
#include "../report/report.h"
#include "../session.h"
#include "pieces.h"
#include "reproduce.h"
#include "standins.h"
#include "study.h"
#include "../words.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns a recipe's text as one number. */
static uint64_t study_hash(const char *text) {
  uint64_t h = 0;
  for (; *text; text++) {
    h += (uint64_t)(unsigned char)*text + 1;
    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    h ^= h >> 31;
  }
  return h;
}

const study_row study_part[STUDY_PARTS + 1] = {
  {NULL, NULL, 0, NULL, NULL},
  {"dense", "How good is the network before anything is removed?", 0, study_dense,
   study_tell_dense},
  {"gradients", "How far apart are the importance gradients of the two types?", 1 << 1,
   study_gradients, study_tell_gradients},
  {"recovery", "What does each single layer cost, at once and after training?", 1 << 1,
   study_recovery, study_tell_recovery},
  {"mismatch", "What happens when a linear is removed instead?", 1 << 1, study_mismatch,
   study_tell_mismatch},
  {"map", "How many of each type does the predictor choose?", 1 << 1 | 1 << 3, study_map,
   study_tell_map},
  {"which", "Which layers? Learned importance against simpler ways", 1 << 1 | 1 << 2 | 1 << 3,
   study_which, study_tell_which},
  {"types", "One type or both: accuracy against measured speed", 1 << 1 | 1 << 3, study_types,
   study_tell_types},
  {"speed", "DeiT at its full size: dense against pruned and fused", 0, study_speed,
   study_tell_speed},
  {"text", "The paper's text against the released code", 1 << 1 | 1 << 3, study_text,
   study_tell_text},
  {"start", "What training starts from: identity or least squares", 1 << 1 | 1 << 3,
   study_starting, study_tell_starting},
  {"distil", "What a teacher brings", 1 << 1 | 1 << 3, study_distill, study_tell_distill},
  {"plus", "Depth, width, or both, at the same cost", 1 << 1 | 1 << 3, study_plus,
   study_tell_plus},
  {"tokens", "Fewer tokens: does pruning keep its worth?", 1 << 1 | 1 << 3 | 1 << 11,
   study_tokens, study_tell_tokens},
  {"choice", "Layers chosen greedily, without training: as good as part 6's choices?",
   1 << 1 | 1 << 3 | 1 << 6, study_choice, study_tell_choice},
  {"better", "How good does the dense network become, trained on?", 1 << 1 | 1 << 3, study_better,
   study_tell_better},
  {"headline", "How near to the dense network does recovery come?", 1 << 1 | 1 << 3 | 1 << 15,
   study_headline, study_tell_headline},
  {"long", "The same recovery, ten passes over all images", 1 << 1 | 1 << 3 | 1 << 15, study_long,
   study_tell_long},
  {"frontier", "Depth, width, or both, at the same cost and with that recovery",
   1 << 1 | 1 << 3 | 1 << 15, study_frontier, study_tell_frontier},
  {"rivals", "Other ways to the same cost: block maps, idle channels, smaller inputs",
   1 << 1 | 1 << 3 | 1 << 15, study_rivals, study_tell_rivals},
  {"readings", "Which layers, again: learned importance read otherwise, and others' ways",
   1 << 1 | 1 << 3 | 1 << 15, study_readings, study_tell_readings}};

/* =================================================================================================
 * 9  THE COMMAND
 * ============================================================================================== */

#define STUDY_HELD "data/cifar100_held.txt"
enum { STUDY_CIFAR = 50000 };

static int study_rising(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

static bdpt_status study_print_held(study *s) {
  bdpt_subset *held = &s->base.in.held;
  size_t i;
  qsort(held->index, held->count, sizeof *held->index, study_rising);
  for (i = 0; i < held->count; i++)
    printf("%zu%c", held->index[i], i % 15 == 14 || i + 1 == held->count ? '\n' : ' ');
  return BDPT_OK;
}

/* Reads the shipped list, which decides which CIFAR-100 images are held out, whatever the library's
 * own split would be: 5000 different numbers below 50000, in rising order. */
static bdpt_status study_read_held(study *s) {
  bdpt_subset *held = &s->base.in.held, *rest = &s->base.in.rest;
  bdpt_bytes bytes;
  size_t n = 0, i, k = 0;
  char *at, *end;
  bdpt_status status;
  if (strcmp(s->base.in.name, "cifar-100") != 0 || s->base.in.train.count != STUDY_CIFAR)
    return BDPT_OK;
  status = bdpt_file_read(s->base.ctx, STUDY_HELD, &bytes);
  if (status != BDPT_OK) return status;
  at = (char *)bytes.data;
  for (; n <= held->count; at = end, n++) {
    unsigned long v = strtoul(at, &end, 10);
    if (end == at) break;
    if (n == held->count || v >= STUDY_CIFAR || (n && v <= held->index[n - 1])) n = SIZE_MAX - 1;
    else held->index[n] = (size_t)v;
  }
  bdpt_bytes_free(s->base.ctx, &bytes);
  if (n != held->count)
    return cli_fail(s->base.ctx, BDPT_E_FORMAT, "%s: not %zu rising numbers below %d",
                    STUDY_HELD, held->count, STUDY_CIFAR);
  for (i = n = 0; i < STUDY_CIFAR; i++) {
    if (k < held->count && held->index[k] == i) k++;
    else rest->index[n++] = i;
  }
  return BDPT_OK;
}

static void study_describe(study *s, const char *weights) {
  char values[4000];
  study_values(&s->recipe, values, sizeof values);
  snprintf(s->base.setup, sizeof s->base.setup,
           "version=%s data=%s train=%zu rest=%zu weights=%s seed=%zu real=%d recipe=%016llx%s",
           RECORD_SINCE, s->base.in.name, s->base.in.train.count, s->base.in.rest.count, weights,
           s->o.common.seed, (int)sizeof(bdpt_real),
           (unsigned long long)study_hash(values),
           s->o.common.bf16 ? " bf16" : "");
}

static bdpt_status study_record_recipe(study *s) {
  char values[4000];
  cli_option keys[STUDY_KEYS];
  cli_json *j = &s->base.record.text;
  study_values(&s->recipe, values, sizeof values);
  cli_json_open(j, "recipe");
  cli_json_text(j, "text", values);
  cli_settings_write(j, keys, study_keys(&s->recipe, keys));
  cli_json_close(j);
  return record_save(&s->base.record);
}

/* Opens the record; a study made with something else is not continued and not overwritten. */
static bdpt_status study_resume(study *s) {
  char before[1200], aside[720];
  bdpt_status status = BDPT_OK;
  if (s->o.list && s->o.common.fresh) return BDPT_OK; /* the table of an empty record */
  status = session_load(&s->base, "reproduce.jsonl");
  if (status != BDPT_OK) return status;
  if (s->o.shard) s->base.record.kept = RECORD_HELD; /* a share writes a file of its own */
  if (record_has(&s->base.record, "setup") && s->o.common.fresh) {
    status = session_set_aside(&s->base, aside);
    if (status != BDPT_OK) return status;
    remove(session_path(&s->base, "dense.safetensors"));
    remove(session_path(&s->base, "dense.ckpt"));
    cli_forget_checkpoint(session_path(&s->base, "recovery.ckpt"));
  }
  if (status != BDPT_OK) return status;
  if (record_has(&s->base.record, "setup")) {
    record_text(record_get(&s->base.record, "setup", 0), "options", before, sizeof before);
    if (strcmp(before, s->base.setup) == 0 && !s->o.list)
      fprintf(stderr, "   going on with the study in %s (--fresh would start again)\n", s->o.out);
    if (strcmp(before, s->base.setup) == 0) {
      if (s->o.list) return BDPT_OK;
      if (!record_has(&s->base.record, "recipe")) /* it ended between the two lines */
        status = study_record_recipe(s);
      return status == BDPT_OK && s->o.shard ? study_own_share(s) : status;
    }
    return cli_fail(s->base.ctx, BDPT_E_STATE, "%s: a study with another recipe, data, network "
                    "or version; --fresh moves it aside, --out DIR keeps both", s->o.out);
  }
  if (s->o.list) return BDPT_OK;
  status = session_record_setup(&s->base, &s->dense->config, s->o.model, s->o.common.seed,
                                s->base.in.tested.count, "make reproduce");
  if (status == BDPT_OK) status = study_record_recipe(s);
  return status == BDPT_OK && s->o.shard ? study_own_share(s) : status;
}

/* Checks that nothing that the study writes is what it reads. */
static bdpt_status study_check_files(study *s, const input_source *from) {
  char dense[720], lines[720], data[2][700];
  cli_files files = {{NULL}, {NULL}};
  files.in[0] = s->o.model;
  files.in[1] = s->o.recipe;
  snprintf(dense, sizeof dense, "%.680s/dense.safetensors", s->o.out);
  snprintf(lines, sizeof lines, "%.680s/reproduce.jsonl", s->o.out);
  files.out[0] = dense;
  files.out[1] = lines;
  files.out[2] = s->o.report;
  input_files(from, data, &files);
  return cli_check_files(s->base.ctx, &files);
}

/* Opens images, recipe, network and record. */
static bdpt_status study_setup(study *s) {
  session *base = &s->base;
  char weights[17];
  const int dry = s->o.list || s->o.print_held; /* writes nothing */
  const input_source from = {s->o.data, 0, -1, 0, s->o.common.quiet, dry, 0};
  int image[2] = {0, 0};
  bdpt_status status = study_read(s, base->ctx, s->o.recipe);
  if (s->o.seeds > 0) s->recipe.seeds = s->o.seeds;
  if (s->recipe.bf16) base->ctx->bf16 = 1;
  if (!s->o.common.bf16 && !s->o.common.quiet) cli_note_bf16(base->ctx);
  if (status == BDPT_OK && !dry && !cli_make_folder(s->o.out))
    status = cli_fail(base->ctx, BDPT_E_IO, "cannot make the folder %s", s->o.out);
  if (status == BDPT_OK && !dry) status = study_check_files(s, &from);
  if (status == BDPT_OK)
    status = input_open(&base->in, base->ctx, &from, INPUT_TRAIN | INPUT_TEST);
  if (status == BDPT_OK && s->o.print_held) return study_print_held(s);
  if (status == BDPT_OK) status = study_read_held(s);
  if (status == BDPT_OK) status = input_keep(base->ctx, &base->in.held, s->recipe.held);
  if (status == BDPT_OK) status = input_keep(base->ctx, &base->in.tested, s->recipe.test);
  if (status != BDPT_OK) return status;
  image[0] = s->recipe.image;
  s->dense = input_model(base->ctx, s->o.model, image);
  if (!s->dense) return base->ctx->status;
  if (s->dense->config.image_width)
    return cli_fail(base->ctx, BDPT_E_SHAPE, "%.200s reads %d x %d pixels, but the study compares "
                    "squares: name a size in the recipe", s->o.model, s->dense->config.image,
                    s->dense->config.image_width);
  input_fit(&base->in, s->dense);
  bdpt_model_hash(s->dense, weights);
  base->depth = s->dense->config.depth;
  if (s->dense->config.classes != base->in.train.classes)
    status = bdpt_model_new_head(s->dense, base->in.train.classes, s->o.common.seed);
  study_describe(s, weights);
  return status == BDPT_OK ? study_resume(s) : status;
}

/* Refuses a recipe that asks for more layers than this network has. */
static bdpt_status study_check(study *s) {
  const study_recipe *r = &s->recipe;
  int depth = s->base.depth, i, most = r->map_most > r->map_rounds ? r->map_most : r->map_rounds;
  const cli_layers *both[] = {&r->start_budgets, &r->map_budgets};
  for (i = 0; i < r->plus_depth.count; i++) {
    if (r->plus_depth.layer[i] > most) most = r->plus_depth.layer[i];
    if (r->plus_both.layer[i] > most) most = r->plus_both.layer[i];
  }
  for (i = 0; i < 2; i++) {
    if (r->which_remove.layer[i] > most) most = r->which_remove.layer[i];
    if (r->text_remove.layer[i] > most) most = r->text_remove.layer[i];
  }
  for (i = 0; i < r->types_layers.count; i++)
    if (r->types_layers.layer[i] > most) most = r->types_layers.layer[i];
  for (i = 0; i < both[0]->count; i++)
    if ((both[0]->layer[i] + 1) / 2 > most) most = (both[0]->layer[i] + 1) / 2;
  for (i = 0; i < both[1]->count; i++)
    if ((both[1]->layer[i] + 1) / 2 > most) most = (both[1]->layer[i] + 1) / 2;
  if ((r->start_extra + 1) / 2 > most) most = (r->start_extra + 1) / 2;
  if ((r->distill_budget + 1) / 2 > most) most = (r->distill_budget + 1) / 2;
  if (r->headline_layers / 2 > most) most = r->headline_layers / 2;
  if (most <= depth) return BDPT_OK;
  return cli_fail(s->base.ctx, BDPT_E_ARGUMENT, "%s: %d %s of a type to remove, but the "
                  "network has %d %s", s->o.recipe, most, words_of(most, "layer", "layers"), depth,
                  words_of(depth, "block", "blocks"));
}

/* Stops the study, as Ctrl-C would, when its time is up. */
static void study_watch(const bdpt_progress *now, void *user) {
  study *s = (study *)user;
  (void)now;
  if (s->deadline > 0 && cli_now() > s->deadline) cli_stop = 1;
}

/* Does a part that is not in the record yet. */
static bdpt_status study_run_part(study *s, int part) {
  cli_json *j = &s->base.record.text;
  double began = cli_now(), seconds;
  char time[40], left[40];
  int needed;
  bdpt_status status;
  for (needed = 1; needed <= STUDY_PARTS; needed++)
    if (study_part[part].needs >> needed & 1 && !study_part_done(s, needed))
      return cli_fail(s->base.ctx, BDPT_E_STATE, "part %d needs part %d (%s), which is not done",
                      part, needed, study_part[needed].name);
  status = s->share.mode == STUDY_GATHERS ? study_gather_part(s, part) : study_part[part].work(s);
  cli_progress_clear(&s->base.progress);
  if (status != BDPT_OK) return status;
  seconds = cli_now() - began + s->share.seconds;
  cli_json_open(j, "part");
  cli_json_real(j, "part", part);
  cli_json_text(j, "name", study_part[part].name);
  cli_json_real(j, "seeds", s->recipe.seeds);
  cli_json_real(j, "seconds", floor(10 * seconds + 0.5) / 10);
  cli_json_close(j);
  status = record_save(&s->base.record);
  if (status == BDPT_OK) status = study_csv(s);
  cli_duration(time, seconds);
  cli_duration(left, study_left(s));
  session_say(&s->base, "   %s for this part, about %s for the parts left\n", time, left);
  return status;
}

static bdpt_status study_parts(study *s) {
  char title[120];
  bdpt_status status = BDPT_OK;
  int part;
  for (part = 1; part <= STUDY_PARTS && status == BDPT_OK; part++) {
    study_prepare(s);
    if (!study_selected(s, part)) continue;
    snprintf(title, sizeof title, "%d  %s", part, study_part[part].question);
    session_title(&s->base, title);
    if (!study_part_done(s, part)) status = study_run_part(s, part);
    if (status == BDPT_OK) study_part[part].tell(s);
    session_print_json(&s->base);
    if (status == BDPT_OK && cli_stop && part < STUDY_PARTS) status = BDPT_CANCELLED;
  }
  return status;
}

/* Returns what a part took; one with seeds added later has several lines. */
static double study_seconds(const study *s, int part) {
  record_line line;
  double seconds = 0;
  size_t at = 0;
  while ((line = study_next(s, &at)).text)
    if (record_is(line, "kind", "part") && record_int(line, "part", 0) == part)
      seconds += record_real(line, "seconds", 0);
  return seconds;
}

/* Writes the record's last line after the last part, and draws the page from what there is. */
static bdpt_status study_end(study *s) {
  double seconds = 0;
  int part;
  bdpt_status status = BDPT_OK;
  for (part = 1; part <= STUDY_PLAIN && study_part_done(s, part); part++)
    seconds += study_seconds(s, part);
  if (part > STUDY_PLAIN && !record_has(&s->base.record, "done")) {
    cli_json_open(&s->base.record.text, "done");
    cli_json_real(&s->base.record.text, "seconds", seconds);
    cli_json_close(&s->base.record.text);
    status = record_save(&s->base.record);
    session_print_json(&s->base);
  }
  if (status == BDPT_OK) status = study_csv(s); /* a part may have ended before its own */
  if (status == BDPT_OK && report_write(s->base.ctx, s->base.record.path, s->o.report) != 0)
    status = s->base.ctx->status != BDPT_OK ? s->base.ctx->status : BDPT_E_IO;
  if (status == BDPT_OK)
    session_say(&s->base, "\n   plots    %s\n   numbers  %s and %s/*.csv\n", s->o.report,
                s->base.record.path, s->o.out);
  return status;
}

int study_command(bdpt_context *ctx, const study_options *options) {
  static study s; /* large; one per program */
  bdpt_status status;
  const int shares = options->shard && !options->list;
  memset(&s, 0, sizeof s);
  s.o = *options;
  if (shares || options->gather) s.share.mode = shares ? STUDY_SHARES : STUDY_GATHERS;
  session_open(&s.base, ctx, &s.o.common, s.o.out);
  s.base.table = s.o.table; s.base.rows = s.o.rows;
  if (s.o.minutes > 0) s.deadline = cli_now() + 60 * s.o.minutes;
  s.base.progress.also = study_watch;
  s.base.progress.user = &s;
  status = s.o.summary ? study_summarise(&s) : study_setup(&s);
  if (status == BDPT_OK && !s.o.summary && !s.o.print_held) {
    status = study_check(&s);
    if (status == BDPT_OK && !s.o.list && study_part_done(&s, 1)) status = study_dense(&s);
    if (status == BDPT_OK && !shares) status = study_pace(&s);
    if (status == BDPT_OK && !shares) status = study_table(&s);
    if (status == BDPT_OK && s.o.list && s.base.json) status = study_list_cells(&s);
    if (status == BDPT_OK && shares) status = study_do_share(&s);
    if (status == BDPT_OK && s.o.gather) status = study_read_shares(&s);
    if (status == BDPT_OK && !s.o.list && !shares) status = study_parts(&s);
    if (status == BDPT_OK && !s.o.list && !shares) status = study_end(&s);
  }
  bdpt_model_free(s.better);
  bdpt_model_free(s.finer);
  if (s.idle) standin_idle_close(s.idle);
  free(s.idle);
  if (s.gate) bdpt_model_free(s.gate->parent);
  free(s.gate);
  bdpt_model_free(s.dense);
  bdpt_bytes_free(ctx, &s.text);
  study_free_shares(&s);
  session_close(&s.base);
  return cli_finish("reproduce", ctx, status, "the same command goes on from here");
}
