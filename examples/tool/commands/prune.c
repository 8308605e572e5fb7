/* prune.c: `boundarydpt prune` */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/epochs.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../input.h"
#include "commands.h"
#include "common.h"
#include "../words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * prune
 * ---------------------------------------------------------------------------------------------- */

typedef struct prune_options {
  cli_common common;
  input_source from;
  const char *out, *start, *choose, *csv;
  cli_layers layer[2];
  int budget, epochs, image[2], batch;
  size_t images, tune_images, held;
  double lr, features, began;
} prune_options;

static bdpt_status prune_given(bdpt_model *m, const prune_options *o) {
  bdpt_start start = (bdpt_start)input_start(o->start);
  int images = start != BDPT_START_PAPER && start != BDPT_START_SKIP;
  bdpt_layers gone = {{0, 0}};
  bdpt_status s = command_layers(m, o->layer, &gone);
  input in;
  if (s != BDPT_OK) return s;
  memset(&in, 0, sizeof in);
  if (!images) return bdpt_remove(m, &gone, start, NULL, NULL);
  s = input_open(&in, m->ctx, &o->from, INPUT_TRAIN);
  if (s == BDPT_OK) input_fit(&in, m);
  if (s == BDPT_OK) s = bdpt_remove(m, &gone, start, &in.rest, NULL);
  input_close(&in);
  return s;
}

/* Begins the line of what a search found: the layers that it removed, in order, and the held-out
 * accuracy after each. */
static cli_json json_found(const prune_options *o, const char *way, const bdpt_layer *layer,
                           const double *accuracy, int count) {
  cli_json j = {NULL, 0, 0, 0, 0};
  char name[2 * BDPT_MAX_DEPTH][24];
  const char *list[2 * BDPT_MAX_DEPTH];
  int i, removed[2] = {0, 0};
  cli_json_open(&j, "prune_found");
  cli_json_text(&j, "choose", way);
  cli_json_text(&j, "start", o->start);
  cli_json_real(&j, "seed", (double)o->common.seed);
  cli_json_real(&j, "budget", o->budget);
  for (i = 0; i < count; i++) {
    removed[layer[i].type]++;
    snprintf(name[i], sizeof name[i], "%s %d", bdpt_type_name(layer[i].type), layer[i].block);
    list[i] = name[i];
  }
  cli_json_real(&j, "attentions", removed[0]);
  cli_json_real(&j, "activations", removed[1]);
  cli_json_texts(&j, "removed", list, count);
  cli_json_reals(&j, "accuracies", accuracy, count);
  return j;
}

/* Ends that line with the predictor's points (`split` is NULL where none was asked) and with what
 * the recovery reached, and prints it. */
static bdpt_status json_recovered(bdpt_context *ctx, const prune_options *o, cli_json j,
                                  const bdpt_two_stage_result *split,
                                  const bdpt_stage2_result *end) {
  double point[3][4 * BDPT_MAX_DEPTH + 1];
  size_t points = split ? split->point_count : 0, k;
  for (k = 0; k < points; k++) {
    point[0][k] = split->points[k].attention;
    point[1][k] = split->points[k].activation;
    point[2][k] = split->points[k].accuracy;
  }
  cli_json_real(&j, "map_degree", split ? split->map.degree : 0);
  cli_json_reals(&j, "point_attention", point[0], (int)points);
  cli_json_reals(&j, "point_activation", point[1], (int)points);
  cli_json_reals(&j, "point_accuracy", point[2], (int)points);
  cli_json_real(&j, "at_once", end->at_once.top1);
  cli_json_real(&j, "recovered", end->recovered.top1);
  cli_json_real(&j, "fused", end->fused.top1);
  cli_json_real(&j, "images", (double)end->recovered.count);
  cli_json_real(&j, "seconds", cli_now() - o->began);
  cli_json_close(&j);
  return cli_json_print(&j, ctx);
}

static void print_found(const bdpt_layer *layer, int count, const bdpt_stage2_result *end) {
  int i;
  printf("removed ");
  for (i = 0; i < count; i++)
    printf("%s %s %d", i ? "," : "", bdpt_type_name(layer[i].type), layer[i].block);
  printf("\nheld-out %.2f %% at once, %.2f %% recovered, %.2f %% fused\n", end->at_once.top1,
         end->recovered.top1, end->fused.top1);
}

/* Returns the recipe of the short trainings; with `last` that of the recovery, which has its own
 * length and a teacher. */
static bdpt_recipe prune_recipe(const prune_options *o, int last) {
  bdpt_recipe r = command_recipe(last ? o->epochs : 1, o->batch, o->lr, o->common.seed);
  r.epoch_images = last ? o->tune_images : o->images;
  if (last) r.distill = BDPT_DISTILL_SOFT;
  if (last && o->features > 0) r.distill_features = o->features;
  return r;
}

/* Prunes the paper's way: the predictor splits the budget, learned importance names the layers. */
static bdpt_status prune_learned(bdpt_model *m, const input *in, const prune_options *o,
                                 const bdpt_hooks *hooks) {
  bdpt_two_stage_options w;
  bdpt_two_stage_result *found = (bdpt_two_stage_result *)calloc(1, sizeof *found);
  bdpt_status s = found ? BDPT_OK : BDPT_E_MEMORY;
  int i;
  memset(&w, 0, sizeof w);
  w.budget = o->budget;
  w.collect.recipe = w.search.recipe = prune_recipe(o, 0);
  w.finetune = prune_recipe(o, 1);
  for (i = 0; i < o->budget; i++) w.search.stage[i] = 1;
  w.start = (bdpt_start)input_start(o->start);
  if (s == BDPT_OK) s = bdpt_two_stage(m, &(bdpt_run){&in->rest, &in->held, hooks}, &w, found);
  if (s == BDPT_OK && !o->common.json) {
    printf("split    %d attention + %d activation (MAP of degree %d, %zu %s)\n",
           found->attention, found->activation, found->map.degree, found->point_count,
           words_of((double)found->point_count, "point", "points"));
    print_found(found->search.layer, found->search.removed, &found->stage2);
  } else if (s == BDPT_OK) {
    s = json_recovered(m->ctx, o, json_found(o, "learned", found->search.layer,
                                             found->search.accuracy, found->search.removed),
                       found, &found->stage2);
  }
  free(found);
  return s;
}

/* Removes the layers without which the held-out loss stays smallest, then recovers. */
static bdpt_status prune_greedy(bdpt_model *m, const input *in, const prune_options *o,
                                const bdpt_hooks *hooks) {
  const bdpt_recipe r = prune_recipe(o, 1);
  bdpt_model *student = bdpt_model_clone(m);
  bdpt_greedy_options g;
  bdpt_greedy_result found;
  bdpt_stage2_result end;
  bdpt_status s = student ? BDPT_OK : m->ctx->status;
  memset(&g, 0, sizeof g);
  g.layers = o->budget;
  g.start = (bdpt_start)input_start(o->start);
  if (s == BDPT_OK) s = bdpt_greedy(student, &(bdpt_run){&in->rest, &in->held, hooks}, &g, &found);
  if (s == BDPT_OK)
    s = bdpt_stage2(student, m, &(bdpt_run){&in->rest, &in->held, hooks}, &r, NULL, &end);
  if (s == BDPT_OK) s = bdpt_model_assign(m, student);
  if (s == BDPT_OK && !o->common.json) print_found(found.layer, found.removed, &end);
  else if (s == BDPT_OK)
    s = json_recovered(m->ctx, o, json_found(o, "greedy", found.layer, found.accuracy,
                                             found.removed), NULL, &end);
  bdpt_model_free(student);
  return s;
}

static bdpt_status prune_searched(bdpt_context *ctx, bdpt_model *m, const char *path,
                                  const prune_options *o) {
  cli_progress progress;
  cli_epochs epochs;
  const bdpt_recipe last = prune_recipe(o, 1);
  char room[1024];
  int resumes;
  const char *checkpoint = cli_checkpoint_of(o->out, room);
  bdpt_hooks hooks;
  input in;
  bdpt_status s = input_open(&in, ctx, &o->from, INPUT_TRAIN);
  input_fit(&in, m);
  cli_progress_open(&progress, o->common.quiet);
  hooks = cli_hooks(&progress, checkpoint);
  if (o->common.fresh) cli_forget_checkpoint(checkpoint);
  resumes = cli_has_checkpoint(checkpoint);
  if (resumes) command_resumes(checkpoint);
  memset(&epochs, 0, sizeof epochs);
  cli_epochs_watch(&epochs, &progress);
  cli_epochs_train(&epochs, NULL, &last, NULL, in.rest.count);
  if (s == BDPT_OK) s = command_check_classes(m, &in.train, path);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK) s = cli_epochs_open(&epochs, ctx, o->csv, resumes ? EPOCHS_AGAIN : EPOCHS_NEW);
  if (s == BDPT_OK)
    s = input_choose(o->choose, o->start) ? prune_greedy(m, &in, o, &hooks)
                                          : prune_learned(m, &in, o, &hooks);
  cli_progress_clear(&progress);
  s = cli_epochs_close(&epochs, ctx, s);
  if (s == BDPT_OK) cli_forget_checkpoint(checkpoint);
  input_close(&in);
  return s;
}

static int prune(const cli_command *c, bdpt_context *ctx, const char *path,
                 const prune_options *o) {
  char parent[17], room[1024], data[2][700];
  cli_files files = {{path}, {o->out, o->budget ? cli_checkpoint_of(o->out, room) : NULL,
                              o->csv}};
  bdpt_model *m = NULL;
  bdpt_status s;
  input_files(&o->from, data, &files);
  s = cli_check_files(ctx, &files);
  if (s == BDPT_OK && !(m = input_model(ctx, path, o->image))) s = ctx->status;
  if (s == BDPT_OK) {
    input_form(o->start, m);
    bdpt_model_hash(m, parent);
    s = o->budget ? prune_searched(ctx, m, path, o) : prune_given(m, o);
    if (!m->parent[0]) memcpy(m->parent, parent, sizeof parent);
  }
  if (s == BDPT_OK && !o->start && !o->common.quiet)
    fprintf(stderr, "   no images named (--data, --generated): the layers went plainly, nothing "
            "was fitted in their places\n");
  if (s == BDPT_OK) s = bdpt_model_save(m, o->out);
  if (s == BDPT_OK) s = command_print_saved("prune", m, o->out, o->common.json);
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, "the same command goes on from here");
}

int command_prune(int argc, char **argv) {
  static const cli_command c = {"prune", "prune MODEL --out NEW [options]",
    "Removes layers and saves a new network. With --attention and --activation the named layers\n"
    "go, with fitted maps in their places where images are named (--data, --generated) and\n"
    "plainly without; nothing is trained and nothing is fused. A map fits any pictures, in\n"
    "class folders or not. With --budget they are found: those without which the loss\n"
    "stays smallest, with fitted maps in their places; --start\n"
    "paper asks the paper's two stages (how many of each kind by MAP, which ones by importance).\n"
    "Then the network is fine-tuned with the dense one as teacher, and fused. With --json all\n"
    "that was found is one line of kind prune_found.",
    "prune m.safetensors --attention 3 --activation 5-7 --data DIR --out p.safetensors\n"
    "prune m.safetensors --budget 6 --generated --json --out p.safetensors",
    NULL, 1, 1};
  prune_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  const cli_option options[] = {
    {"Named layers", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--attention", CLI_LAYERS, &o.layer[0], "LIST", NULL,
     "blocks that lose attention, such as 3,7-9"},
    {"--activation", CLI_LAYERS, &o.layer[1], "LIST", NULL, "blocks that lose their GELU"},
    {"Layers that are found", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--budget", CLI_INT_1, &o.budget, "N", NULL, "layers to remove in all"},
    {"--choose", CLI_TEXT, &o.choose, "WAY", NULL, "which: " INPUT_CHOICES},
    COMMAND_SOURCE(&o.from),
    {"--images", CLI_SIZE, &o.images, "N", "2560", "images of each short training; 0: all"},
    {"--epochs", CLI_INT_1, &o.epochs, "N", "8", "epochs of the last fine-tuning"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "0", "images in each of them; 0: all"},
    {"--held", CLI_SIZE, &o.held, "N", "2000", "held-out images that choose; 0: all"},
    {"--batch", CLI_INT_1, &o.batch, "N", "64", "batch size"},
    {"--features", CLI_SAID, &o.features, "X", NULL,
     "weight of the distance to the dense network's streams (150; from the paper's start 0)"},
    {"--lr", CLI_SAID, &o.lr, "X", NULL, "learning rate (1e-3; without features 3e-4)"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, NULL, "start again instead of going on"},
    CLI_CSV(&o.csv),
    {"Both", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--out", CLI_TEXT, &o.out, "NEW", NULL, "where the pruned network is saved"},
    CLI_IMAGE(o.image, "the network's"),
    {"--start", CLI_TEXT, &o.start, "NAME", NULL, "their place: " INPUT_STARTS " (skip-fit;"
     " named layers without images: paper)"},
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common),
    CLI_SETTINGS(&o.common)
  };
  memset(&o, 0, sizeof o);
  o.began = cli_now();
  command_defaults(&o.common);
  command_no_source(&o.from);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  o.from.any = !o.budget; /* a map fits any pictures; what chooses and trains needs labels */
  if (status == CLI_GO_ON) status = command_check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  if (!o.out) return cli_usage_error(&c, "--out NEW is needed: where the pruned network is saved");
  if (o.budget < 0 || o.epochs < 1 || o.batch < 1)
    return cli_usage_error(&c, "--budget, --epochs and --batch want 1 or more");
  if (!o.start && (o.budget || o.from.data || o.from.generated)) o.start = "skip-fit";
  status = command_check_ways(&c, o.start, o.choose);
  if (status != CLI_GO_ON) return status;
  if (o.features == 0 && o.start && strcmp(o.start, "paper") != 0) o.features = 150;
  if (o.lr == 0) o.lr = o.features > 0 ? 1e-3 : 3e-4;
  if (!o.choose && o.budget) o.choose = input_choose(NULL, o.start) ? "greedy" : "learned";
  if ((o.budget != 0) == (o.layer[0].count + o.layer[1].count != 0))
    return cli_usage_error(&c, "name layers with --attention and --activation, or give --budget");
  if (o.csv && !o.budget)
    return cli_usage_error(&c, "--csv tells of trainings, which --budget needs");
  if (o.out) o.out = cli_out_path(o.out);
  status = command_begin(&c, &o.common, &ctx, options, CLI_COUNT(options), path);
  if (status != CLI_GO_ON) return status;
  status = prune(&c, &ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}
