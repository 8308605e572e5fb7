/* =================================================================================================
 * plus.c: depth and width together, from one dense network to one small one (the `plus` command)
 * =================================================================================================
 * bdpt_plus does the work. Here is what the command line leaves open: how far depth goes where only
 * a budget is given, how the epochs are divided among the recoveries, and how the result is told.
 *
 * With "--fewer 2.5" and --what both, depth goes half of the way on a logarithmic scale: layers are
 * removed, activation and attention in turn, until the MACs are 1 / sqrt(2.5) of the dense ones,
 * and width does the rest; --share moves that point. --what depth goes all the way with layers
 * alone, --what width with units alone. So three networks of equal cost can be made by three
 * commands with the same number of training epochs, and compared.
 *
 * Held-out images make the choices and the accuracies of the steps. The test images are read once,
 * at the end, by the dense network and the finished one.
 */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/epochs.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../input.h"
#include "../timing.h"
#include "commands.h"
#include "common.h"
#include "../words.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct plus_options {
  cli_common common;
  input_source from;
  const char *out, *start, *what, *order, *importance, *choose, *csv;
  cli_layers layer[2], search;     /* named; or so many of each type, found by the search */
  double ratio[BDPT_WIDTHS], fewer, macs, params, ms, share, lr, features;
  int budget, rounds, multiple, even, epochs, between, batch, image[2], repeats;
  size_t images, tune_images, score_images, held, test;
} plus_options;

typedef struct plus {
  const plus_options *o;
  bdpt_context *ctx;
  bdpt_model *dense, *model;
  input in;
  bdpt_plus_options work;
  bdpt_plus_result *out;
  bdpt_real *batch;                /* images to time */
  int greedy;                      /* 1: layers are chosen by trying each */
  double goal;                     /* MACs to which they are to go; 0: so many as were named */
} plus;

static double plus_clock(void *user) {
  (void)user;
  return cli_now();
}

/* Returns the place of a word in a list that ends with NULL, -1: it is not there. */
static int plus_word(const char *word, const char *const *list) {
  int i;
  for (i = 0; list[i]; i++)
    if (strcmp(word, list[i]) == 0) return i;
  return -1;
}

static const char *const plus_whats[] = {"both", "depth", "width", NULL};
static const char *const plus_orders[] = {"depth", "width", "turns", NULL};
static const char *const plus_importances[] = {"taylor", "l1", "l2", "chance", NULL};

/* Says what is wrong with the options, or returns NULL. */
static const char *plus_check(const plus_options *o) {
  int targets = (o->fewer > 0) + (o->macs > 0) + (o->params > 0) + (o->ms > 0), i, ratios = 0;
  int depth = o->layer[0].count + o->layer[1].count > 0, what = plus_word(o->what, plus_whats);
  for (i = 0; i < BDPT_WIDTHS; i++) ratios |= o->ratio[i] > 0;
  if (!o->out) return "--out NEW is needed: where the network is saved";
  if (what < 0) return "--what wants both, depth or width";
  if (plus_word(o->order, plus_orders) < 0) return "--order wants depth, width or turns";
  if (plus_word(o->importance, plus_importances) < 0)
    return "--importance wants taylor, l1, l2 or chance";
  if (targets > 1) return "one target is enough: --fewer, --macs, --params or --ms";
  if (o->search.count != 0 && o->search.count != 2) return "--search wants two numbers: 2,3";
  if (depth + (o->search.count > 0) + (o->budget > 0) > 1)
    return "layers are named, searched (--search) or found by both stages (--budget)";
  if (what == 2 && (depth || o->search.count || o->budget)) return "--what width removes no layers";
  if (what == 1 && ratios) return "--what depth narrows nothing";
  if (what != 1 && targets == 0 && !ratios)
    return "how narrow? --fewer, --macs, --params, --ms, or shares such as --channels 0.5";
  if (what != 2 && !depth && !o->search.count && !o->budget && !(o->fewer > 0))
    return "how deep? --attention and --activation, --search, --budget, or --fewer";
  if (o->fewer != 0 && !(o->fewer > 1)) return "--fewer wants more than 1";
  if (o->share < 0 || o->share > 1) return "--share wants 0 to 1";
  if (o->epochs < 1 || o->epochs > 10000 || o->between < 0 || o->batch < 1 || o->repeats < 1 ||
      o->repeats > TIMING_ROUNDS || o->rounds < 0 || o->multiple < 0)
    return "a count is out of range (--repeats: 1 to 101)";
  return NULL;
}

/* Finds how many layers of each type, activation first, bring the MACs to a part of the dense
 * ones. */
static bdpt_status plus_depth(plus *p, double part, int remove[2]) {
  bdpt_config c = p->dense->config;
  bdpt_cost_report cost;
  double budget;
  int k, type, start = input_start(p->o->start);
  int fits = start == BDPT_START_FIT || start == BDPT_START_FIT_ATTENTION;
  bdpt_status s = bdpt_cost(p->ctx, &c, &cost);
  budget = part * cost.macs;
  remove[0] = remove[1] = 0;
  for (k = 0; s == BDPT_OK && cost.macs > budget && k < 2 * c.depth; k++) {
    bdpt_block *b = &c.block[k / 2];
    type = k % 2 ? BDPT_ATTENTION : BDPT_ACTIVATION;
    remove[type]++;
    if (type == BDPT_ACTIVATION) b->mlp_state = BDPT_MLP_FUSED;
    else b->attention = fits ? BDPT_ATTENTION_FITTED : BDPT_ATTENTION_REMOVED;
    s = bdpt_cost(p->ctx, &c, &cost);
  }
  if (s == BDPT_OK && cost.macs > budget) {
    snprintf(p->ctx->message, sizeof p->ctx->message, "without all its attention and activations "
             "the network has %.4g M MACs, more than %.4g M", 1e-6 * cost.macs, 1e-6 * budget);
    s = p->ctx->status = BDPT_E_ARGUMENT;
  }
  return s;
}

/* Fills one recipe; the searches train briefly, the recoveries share the epochs. */
static void plus_recipes(plus *p) {
  const plus_options *o = p->o;
  bdpt_plus_options *w = &p->work;
  int steps = w->order == BDPT_IN_TURNS && o->rounds ? o->rounds : 2, between = o->between, i;
  bdpt_recipe r = command_recipe(1, o->batch, o->lr, o->common.seed);
  if (between == 0) between = o->epochs / (2 * steps);
  if (between == 0) between = 1;
  r.epoch_images = o->images < p->in.rest.count ? o->images : 0;
  w->depth.collect.recipe = w->depth.search.recipe = r;
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) w->depth.search.stage[i] = 1;
  r.epoch_images = o->tune_images < p->in.rest.count ? o->tune_images : 0;
  r.distill = BDPT_DISTILL_SOFT;
  if (o->features > 0) r.distill_features = o->features;
  if (w->order != BDPT_IN_TURNS && strcmp(o->what, "both") != 0) steps = 1;
  w->between = w->depth.finetune = r;
  w->between.epochs = between;
  w->depth.finetune.epochs = o->epochs - (steps - 1) * between;
  if (w->depth.finetune.epochs < 1) w->depth.finetune.epochs = 1;
}

static bdpt_status plus_width(plus *p) {
  const plus_options *o = p->o;
  bdpt_width_options *w = &p->work.width;
  double wanted[4] = {0, 1e6 * o->macs, 1e6 * o->params, o->ms}; /* as the targets are numbered */
  bdpt_cost_report cost;
  bdpt_status s = bdpt_cost(p->ctx, &p->dense->config, &cost);
  int i;
  memcpy(w->ratio, o->ratio, sizeof w->ratio);
  w->multiple = o->multiple;
  w->even = o->even;
  w->importance = plus_word(o->importance, plus_importances);
  w->images = o->score_images;
  w->seed = o->common.seed;
  if (o->fewer > 0) wanted[BDPT_TO_MACS] = cost.macs / o->fewer;
  for (i = 0; i < 4; i++)
    if (wanted[i] > 0) {
      w->target = i;
      w->budget = wanted[i];
    }
  w->clock = plus_clock;
  w->batch_images = TIMING_BATCH;
  w->batch = p->batch = (bdpt_real *)calloc(TIMING_BATCH * bdpt_image_numbers(&p->dense->config),
                                            sizeof *p->batch);
  if (!p->batch) return BDPT_E_MEMORY;
  return s == BDPT_OK ? bdpt_load_batch(p->ctx, &p->dense->config, &p->in.held, 0, TIMING_BATCH,
                                        p->batch, NULL) : s;
}

/* Removes layers until a part of the MACs is left: so many of each type, or as many as trying
 * takes. */
static bdpt_status plus_fewer(plus *p, double part) {
  bdpt_cost_report cost;
  bdpt_status s = plus_depth(p, part, p->work.depth.search.remove);
  if (s == BDPT_OK) s = bdpt_cost(p->ctx, &p->dense->config, &cost);
  if (s == BDPT_OK && p->greedy) p->goal = part * cost.macs;
  return s;
}

/* Turns the command line into the library's options. */
static bdpt_status plus_request(plus *p) {
  const plus_options *o = p->o;
  bdpt_plus_options *w = &p->work;
  int what = plus_word(o->what, plus_whats), t;
  bdpt_status s;
  w->order = plus_word(o->order, plus_orders);
  w->rounds = o->rounds;
  w->depth.start = (bdpt_start)input_start(o->start);
  w->depth.budget = o->budget;
  p->greedy = input_choose(o->choose, o->start);
  for (t = 0; t < 2 && o->search.count; t++) w->depth.search.remove[t] = o->search.layer[t];
  s = command_layers(p->dense, o->layer, &w->layers);
  if (s == BDPT_OK && what != 2 && !o->search.count && !o->budget && !o->layer[0].count &&
      !o->layer[1].count)
    s = plus_fewer(p, pow(o->fewer, what == 1 ? -1 : -o->share));
  if (s == BDPT_OK && what != 1) s = plus_width(p);
  plus_recipes(p);
  return s;
}

/* Returns 1 if a checkpoint is there from which the command can go on. */
static int plus_begun(const char *checkpoint) {
  char path[1100];
  int i, there = cli_has_checkpoint(checkpoint);
  for (i = 1; i <= BDPT_MAX_STEPS && checkpoint && !there; i++) {
    snprintf(path, sizeof path, "%s.plus%d", checkpoint, i);
    there = cli_has_checkpoint(path);
    snprintf(path, sizeof path, "%s.width%d", checkpoint, i);
    there |= cli_file_exists(path) == 1;
  }
  return there;
}

/* Chooses the layers on the dense network by trying: those without which the loss stays smallest.
 * With --order turns this is not the default, since named layers go in forward order. */
static bdpt_status plus_greedy(plus *p, const bdpt_hooks *hooks) {
  const plus_options *o = p->o;
  bdpt_greedy_options g;
  bdpt_greedy_result found;
  bdpt_model *m;
  bdpt_status s;
  int i;
  if (!p->greedy || (!o->search.count && !o->budget && !(p->goal > 0))) return BDPT_OK;
  memset(&g, 0, sizeof g);
  g.start = p->work.depth.start;
  g.budget = p->goal;
  g.layers = o->budget;
  for (i = 0; i < 2 && o->search.count; i++) {
    g.layers += o->search.layer[i];
    g.most[i] = o->search.layer[i] ? o->search.layer[i] : (int)BDPT_NONE;
  }
  m = bdpt_model_clone(p->dense);
  s = m ? bdpt_greedy(m, &(bdpt_run){&p->in.rest, &p->in.held, hooks}, &g, &found) : p->ctx->status;
  bdpt_model_free(m);
  for (i = 0; s == BDPT_OK && i < found.removed; i++)
    bdpt_layers_add(&p->work.layers, found.layer[i].type, found.layer[i].block);
  memset(p->work.depth.search.remove, 0, sizeof p->work.depth.search.remove);
  p->work.depth.budget = 0;
  return s;
}

static void plus_forget(const char *checkpoint) {
  char path[1100];
  int i;
  cli_forget_checkpoint(checkpoint);
  if (!checkpoint) return;
  for (i = 1; i <= BDPT_MAX_STEPS; i++) {
    snprintf(path, sizeof path, "%s.plus%d", checkpoint, i);
    cli_forget_checkpoint(path);
    snprintf(path, sizeof path, "%s.width%d", checkpoint, i);
    remove(path);
  }
}

/* -------------------------------------------------------------------------------------------------
 * Telling
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status plus_tell_step(const plus *p, int i) {
  const bdpt_plus_step *t = &p->out->step[i];
  const bdpt_stage2_result *r = &t->recovery;
  cli_json j = {NULL, 0, 0, 0, 0};
  char layers[80] = "", width[80] = "";
  if (t->removed[0] + t->removed[1])
    snprintf(layers, sizeof layers, "%d attention, %d activation", t->removed[0], t->removed[1]);
  if (t->narrowed)
    snprintf(width, sizeof width, "%sratios x %.3f", layers[0] ? "; " : "", t->width.factor);
  if (!p->o->common.json) {
    printf("step %d   %s%s: %.1f M MACs, %.2f M parameters\n"
           "         held-out %.2f %% at once, %.2f %% recovered, %.2f %% fused\n", i + 1, layers,
           width, 1e-6 * t->cost.macs, 1e-6 * (double)t->cost.params, r->at_once.top1,
           r->recovered.top1, r->fused.top1);
    return BDPT_OK;
  }
  cli_json_open(&j, "plus_step");
  cli_json_real(&j, "step", i + 1);
  cli_json_real(&j, "attentions", t->removed[0]);
  cli_json_real(&j, "activations", t->removed[1]);
  cli_json_real(&j, "narrowed", t->narrowed);
  cli_json_real(&j, "factor", t->width.factor);
  if (t->width.ms > 0) cli_json_real(&j, "planned_ms", t->width.ms);
  cli_json_real(&j, "params", (double)t->cost.params);
  cli_json_real(&j, "macs", t->cost.macs);
  cli_json_real(&j, "at_once", r->at_once.top1);
  cli_json_real(&j, "recovered", r->recovered.top1);
  cli_json_real(&j, "fused", r->fused.top1);
  cli_json_real(&j, "images", (double)r->recovered.count);
  cli_json_close(&j);
  return cli_json_print(&j, p->ctx);
}

/* Adds the layers that were removed, with the keys that prune's line has. */
static void plus_put_layers(const plus *p, cli_json *j) {
  char name[2 * BDPT_MAX_DEPTH][24];
  const char *list[2 * BDPT_MAX_DEPTH];
  int i;
  for (i = 0; i < p->out->count; i++) {
    snprintf(name[i], sizeof name[i], "%s %d", bdpt_type_name(p->out->layer[i].type),
             p->out->layer[i].block);
    list[i] = name[i];
  }
  cli_json_texts(j, "removed", list, p->out->count);
}

static bdpt_status plus_tell_row(const plus *p, const char *name, bdpt_model *m,
                                 const timing *time, const timing *dense) {
  cli_json j = {NULL, 0, 0, 0, 0};
  bdpt_cost_report cost;
  bdpt_accuracy a;
  bdpt_status s = bdpt_evaluate(m, &p->in.tested, &a);
  if (s == BDPT_OK) s = bdpt_cost(p->ctx, &m->config, &cost);
  if (s != BDPT_OK) return s;
  if (!p->o->common.json) {
    printf("%-8s test %.2f %%, %.2f M parameters, %.1f M MACs, %.2f ms (%.2f-%.2f) for %d images, "
           "%.2f x\n", name, a.top1, 1e-6 * (double)cost.params, 1e-6 * cost.macs, time->ms,
           time->low, time->high, TIMING_BATCH, dense->ms / time->ms);
    return BDPT_OK;
  }
  cli_json_open(&j, "row");
  cli_json_text(&j, "name", name);
  cli_json_text(&j, "what", p->o->what);
  cli_json_text(&j, "order", p->o->order);
  cli_json_text(&j, "start", p->o->start ? p->o->start : "paper");
  cli_json_real(&j, "epochs", p->o->epochs);
  cli_json_real(&j, "seed", (double)p->o->common.seed);
  cli_json_real(&j, "accuracy", a.top1);
  cli_json_real(&j, "top5", a.top5);
  cli_json_real(&j, "images", (double)a.count);
  cli_json_real(&j, "params", (double)cost.params);
  cli_json_real(&j, "macs", cost.macs);
  cli_json_real(&j, "macs_no_matmul", cost.macs_no_matmul);
  cli_json_real(&j, "ms", time->ms);
  cli_json_real(&j, "ms_low", time->low);
  cli_json_real(&j, "ms_high", time->high);
  cli_json_real(&j, "batch", TIMING_BATCH);
  cli_json_real(&j, "speedup", dense->ms / time->ms);
  if (m == p->model) plus_put_layers(p, &j);
  cli_json_close(&j);
  return cli_json_print(&j, p->ctx);
}

/* Tells what was done; then times both networks in turn and tests them. */
static bdpt_status plus_tell(plus *p) {
  bdpt_model *pair[2];
  timing time[2];
  bdpt_status s = BDPT_OK;
  int i;
  if (!p->o->common.json && p->out->count) {
    printf("layers  ");
    for (i = 0; i < p->out->count; i++)
      printf("%s %s %d", i ? "," : "", bdpt_type_name(p->out->layer[i].type),
             p->out->layer[i].block);
    printf("\n");
  }
  for (i = 0; i < p->out->steps && s == BDPT_OK; i++) s = plus_tell_step(p, i);
  pair[0] = p->dense; pair[1] = p->model;
  if (s == BDPT_OK) s = timing_measure(&p->in.held, pair, 2, p->o->repeats, time);
  if (s == BDPT_OK) s = plus_tell_row(p, "dense", p->dense, &time[0], &time[0]);
  if (s == BDPT_OK) s = plus_tell_row(p, "plus", p->model, &time[1], &time[0]);
  return s;
}

/* -------------------------------------------------------------------------------------------------
 * The command
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status plus_open(plus *p, const char *path) {
  const plus_options *o = p->o;
  const bdpt_config *c;
  bdpt_status s = input_open(&p->in, p->ctx, &o->from, INPUT_TRAIN | INPUT_TEST);
  if (s == BDPT_OK) s = input_keep(p->ctx, &p->in.held, o->held);
  if (s == BDPT_OK) s = input_keep(p->ctx, &p->in.tested, o->test);
  if (s == BDPT_OK && p->in.held.count < TIMING_BATCH)
    s = input_fail(&p->in, "%.250s: too few images: a tenth of each class is held out, and 16 of "
                   "those are needed to measure times", p->in.folder);
  if (s == BDPT_OK && !(p->dense = input_model(p->ctx, path, o->image))) s = p->ctx->status;
  if (s != BDPT_OK) return s;
  input_form(o->start, p->dense);
  c = &p->dense->config;
  input_fit(&p->in, p->dense);
  if (c->classes != p->in.train.classes) {
    snprintf(p->ctx->message, sizeof p->ctx->message, "%.150s names %d %s, the images have "
             "%d: train --from %.150s gives it a new classifier", path, c->classes,
             words_of(c->classes, "class", "classes"), p->in.train.classes, path);
    return p->ctx->status = BDPT_E_SHAPE;
  }
  p->model = bdpt_model_clone(p->dense);
  return p->model ? plus_request(p) : p->ctx->status;
}

static int plus_command(bdpt_context *ctx, const char *path, const plus_options *o) {
  cli_progress progress;
  char room[1024], data[2][700];
  const char *checkpoint = cli_checkpoint_of(o->out, room);
  cli_files files = {{path}, {o->out, checkpoint, o->csv}};
  bdpt_hooks hooks;
  bdpt_status s;
  cli_epochs epochs;
  int resumes;
  plus p;
  memset(&epochs, 0, sizeof epochs);
  memset(&p, 0, sizeof p);
  p.o = o; p.ctx = ctx;
  p.out = (bdpt_plus_result *)calloc(1, sizeof *p.out);
  cli_progress_open(&progress, o->common.quiet);
  input_files(&o->from, data, &files);
  s = p.out ? cli_check_files(ctx, &files) : BDPT_E_MEMORY;
  if (s == BDPT_OK && o->common.fresh) plus_forget(checkpoint);
  hooks = cli_hooks(&progress, checkpoint);
  resumes = s == BDPT_OK && plus_begun(checkpoint);
  if (resumes) command_resumes(checkpoint);
  if (s == BDPT_OK) s = plus_open(&p, path);
  cli_epochs_watch(&epochs, &progress);
  if (s == BDPT_OK)
    cli_epochs_train(&epochs, NULL, &p.work.depth.finetune, &p.work.between, p.in.rest.count);
  if (s == BDPT_OK) s = cli_epochs_open(&epochs, ctx, o->csv, resumes ? EPOCHS_ADD : EPOCHS_NEW);
  if (s == BDPT_OK) s = plus_greedy(&p, &hooks);
  if (s == BDPT_OK)
    s = bdpt_plus(p.model, &(bdpt_run){&p.in.rest, &p.in.held, &hooks}, &p.work, p.out);
  cli_progress_clear(&progress);
  s = cli_epochs_close(&epochs, ctx, s);
  if (s == BDPT_OK) s = bdpt_model_save(p.model, o->out);
  if (s == BDPT_OK) plus_forget(checkpoint);
  if (s == BDPT_OK) s = plus_tell(&p);
  free(p.out);
  free(p.batch);
  bdpt_model_free(p.dense);
  bdpt_model_free(p.model);
  input_close(&p.in);
  return cli_finish("plus", ctx, s, "the same command goes on from here");
}

/* -------------------------------------------------------------------------------------------------
 * plus
 * ---------------------------------------------------------------------------------------------- */

int command_plus(int argc, char **argv) {
  static const cli_command c = {"plus", "plus MODEL --out NEW [options]",
    "BoundaryDPT+: takes layers and makes the others narrower, fine-tuning after each step with\n"
    "the dense network as teacher. --fewer 2.5 is a budget for both: of the way to 2.5 times\n"
    "fewer MACs, depth goes --share and width the rest; --what depth or width goes it alone. Then\n"
    "both networks are timed in turn and tested. Ctrl-C saves; the same command goes on.",
    "plus m.safetensors --fewer 2 --generated --out n.safetensors\n"
    "plus m.safetensors --activation 2,3 --ms 10 --data DIR --out n.safetensors",
    NULL, 1, 1};
  plus_options o;
  bdpt_context ctx;
  const char *path, *wrong;
  int n, status;
  const cli_option options[] = {
    {"How far", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--what", CLI_TEXT, &o.what, "NAME", "both", "both, depth or width"},
    {"--fewer", CLI_REAL_UP, &o.fewer, "X", NULL, "so many times fewer MACs than the network has"},
    {"--macs", CLI_REAL_UP, &o.macs, "X", NULL, "or to X million MACs, all products counted"},
    {"--params", CLI_REAL_UP, &o.params, "X", NULL, "or to X million parameters"},
    {"--ms", CLI_REAL_UP, &o.ms, "X", NULL, "or to X milliseconds for 16 images, measured here"},
    {"--share", CLI_REAL, &o.share, "X", "0.5", "depth's share of the way with --fewer, 0 to 1"},
    {"Depth", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--attention", CLI_LAYERS, &o.layer[0], "LIST", NULL,
     "blocks that lose attention, such as 3,7"},
    {"--activation", CLI_LAYERS, &o.layer[1], "LIST", NULL, "blocks that lose their GELU"},
    {"--search", CLI_LAYERS, &o.search, "A,G", NULL, "or so many of each, found"},
    {"--budget", CLI_INT_1, &o.budget, "N", NULL, "or so many in all, found"},
    {"--choose", CLI_TEXT, &o.choose, "WAY", NULL, "how they are found: " INPUT_CHOICES " (greedy;"
     " learned in turns, and with --start paper or skip)"},
    {"--start", CLI_TEXT, &o.start, "NAME", "skip-fit", "their place: " INPUT_STARTS},
    {"Width", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--channels", CLI_REAL_UP, &o.ratio[BDPT_EMBEDDING], "X", NULL,
     "share of the embedding that goes"},
    {"--hidden", CLI_REAL_UP, &o.ratio[BDPT_HIDDEN], "X", NULL, "of the hidden units of the MLPs"},
    {"--whole-heads", CLI_REAL_UP, &o.ratio[BDPT_HEADS], "X", NULL, "of the heads"},
    {"--head-size", CLI_REAL_UP, &o.ratio[BDPT_HEAD_SIZE], "X",
     NULL, "of their features; with a target all four in proportion (.5 .5 .5 .25)"},
    {"--multiple", CLI_INT_1, &o.multiple, "N", "16", "round sizes to this"},
    {"--even", CLI_FLAG, &o.even, NULL, NULL, "the same share of every layer"},
    {"--importance", CLI_TEXT, &o.importance, "NAME", "taylor", "taylor, l1, l2 or chance"},
    {"--score-images", CLI_SIZE_1, &o.score_images, "N", "3200", "images for taylor"},
    {"Recovery", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--order", CLI_TEXT, &o.order, "NAME", "depth",
     "what goes first: depth, width, or both in turns"},
    {"--rounds", CLI_INT_1, &o.rounds, "N", "2", "in turns: so many"},
    {"--epochs", CLI_INT_1, &o.epochs, "N", "8", "epochs of all recoveries together"},
    {"--between", CLI_INT_1, &o.between, "N", NULL, "of each but the last (half of an equal part)"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "0", "images in each of them; 0: all"},
    {"--images", CLI_SIZE, &o.images, "N", "2560", "images of each short training; 0: all"},
    {"--batch", CLI_INT_1, &o.batch, "N", "64", "batch size"},
    {"--features", CLI_SAID, &o.features, "X", NULL,
     "weight of the distance to the dense network's streams (150 with --what depth, but from the "
     "paper's start 0)"},
    {"--lr", CLI_SAID, &o.lr, "X", NULL, "learning rate (1e-3; without features 3e-4)"},
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_SOURCE(&o.from),
    {"--out", CLI_TEXT, &o.out, "NEW", NULL, "where the small network is saved"},
    CLI_IMAGE(o.image, "the network's"),
    {"--held", CLI_SIZE, &o.held, "N", "2000", "held-out images that choose; 0: all"},
    {"--test", CLI_SIZE, &o.test, "N", "0", "test images; 0: all"},
    {"--repeats", CLI_INT_1, &o.repeats, "N", "25", "timing rounds, at most 101"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, NULL, "start again instead of going on"},
    CLI_CSV(&o.csv),
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common),
    CLI_SETTINGS(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  command_no_source(&o.from);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = command_check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  wrong = plus_check(&o);
  if (wrong) return cli_usage_error(&c, "%s", wrong);
  status = command_check_ways(&c, o.start, o.choose);
  if (status != CLI_GO_ON) return status;
  if (!o.choose)
    o.choose = input_choose(NULL, o.start) && strcmp(o.order, "turns") ? "greedy" : "learned";
  if (o.features == 0 && strcmp(o.what, "depth") == 0 && strcmp(o.start, "paper") != 0)
    o.features = 150;
  if (o.lr == 0) o.lr = o.features > 0 ? 1e-3 : 3e-4;
  if (o.out) o.out = cli_out_path(o.out);
  status = command_begin(&c, &o.common, &ctx, options, CLI_COUNT(options), path);
  if (status != CLI_GO_ON) return status;
  status = plus_command(&ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}
