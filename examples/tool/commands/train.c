/* train.c: `boundarydpt train` */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../input.h"
#include "commands.h"
#include "common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * train
 * ---------------------------------------------------------------------------------------------- */

typedef struct train_options {
  cli_common common;
  input_source from_where;
  const char *out, *from, *teacher, *distill, *name;
  bdpt_config config;
  bdpt_recipe recipe;
  size_t held;
  int image;
} train_options;

/* Epochs are told as they are completed. The library's own log is complete only at the end, so the
 * lines come from the progress reports: the first report of an epoch carries the held-out accuracy
 * of the one before, and the report before it carried that one's mean loss. */
typedef struct train_log {
  bdpt_recipe recipe;     /* resolved */
  int told, json;         /* epochs told; -1 before the first report */
  double loss, began;
  cli_progress *progress;
  bdpt_context aside;     /* of the lines: the library is at work in the other one */
} train_log;

static bdpt_status tell_epoch(train_log *t, int epoch, double loss, double accuracy) {
  double lr = bdpt_schedule(&t->recipe, epoch - 1e-9), seconds = cli_now() - t->began;
  cli_progress_clear(t->progress);
  t->told = epoch;
  if (t->json) {
    cli_json j = {NULL, 0, 0, 0, 0};
    cli_json_open(&j, "epoch");
    cli_json_real(&j, "epoch", epoch);
    cli_json_real(&j, "lr", lr);
    cli_json_real(&j, "loss", loss);
    cli_json_real(&j, "accuracy", accuracy);
    cli_json_real(&j, "seconds", seconds);
    cli_json_close(&j);
    return cli_json_print(&j, &t->aside);
  }
  printf("epoch %3d  lr %.2e  loss %.4f  held-out %.2f %%  %.0f s\n", epoch, lr, loss, accuracy,
         seconds);
  fflush(stdout);
  return BDPT_OK;
}

static void train_report(const bdpt_progress *now, void *user) {
  train_log *t = (train_log *)user;
  int epoch; /* complete ones */
  if (strcmp(now->phase, "train") != 0 || now->done == 0 || now->total == 0) return;
  epoch = (int)((double)(now->done - 1) * t->recipe.epochs / (double)now->total);
  if (t->told < 0) t->told = epoch; /* a resumed run has told the earlier ones before */
  if (epoch > t->told && epoch < t->recipe.epochs) tell_epoch(t, epoch, t->loss, now->accuracy);
  t->loss = now->loss;
}

static bdpt_model *train_model(bdpt_context *ctx, train_options *o, int classes) {
  bdpt_model *m;
  if (o->from) {
    m = input_model(ctx, o->from, o->image);
    if (m && m->config.classes != classes &&
        bdpt_model_new_head(m, classes, o->common.seed) != BDPT_OK) {
      bdpt_model_free(m);
      return NULL;
    }
    return m;
  }
  if (cli_choice.heads) o->config.heads = cli_choice.heads;
  if (o->name) {
    bdpt_config named;
    if (bdpt_config_named(ctx, o->name, &named) != BDPT_OK) return NULL;
    o->config = named;
  }
  if (o->image) o->config.image = o->image;
  o->config.classes = classes;
  return bdpt_model_create(ctx, &o->config, o->common.seed);
}

/* The long call itself, with what it tells and where it saves. */
static bdpt_status train_epochs(bdpt_model *m, bdpt_model *teacher, const input *in,
                                const train_options *o, const char *checkpoint) {
  cli_progress progress;
  bdpt_hooks hooks;
  train_log log;
  int epochs = o->recipe.epochs;
  bdpt_epoch *epoch = (bdpt_epoch *)calloc((size_t)epochs, sizeof *epoch);
  bdpt_status s = BDPT_E_MEMORY;
  cli_progress_open(&progress, o->common.quiet);
  hooks = cli_hooks(&progress, checkpoint);
  memset(&log, 0, sizeof log);
  log.recipe = o->recipe;
  bdpt_recipe_resolve(&log.recipe);
  log.told = -1;
  log.json = o->common.json;
  log.began = cli_now();
  log.progress = &progress;
  progress.also = train_report;
  progress.user = &log;
  if (m->ctx->cluster.size > 1) {
    size_t all = o->recipe.epoch_images ? o->recipe.epoch_images : in->rest.count;
    fprintf(stderr, "%d processes, each trains on %zu of %zu images an epoch\n",
            m->ctx->cluster.size, all / (size_t)m->ctx->cluster.size, all);
  }
  if (epoch)
    s = bdpt_train(m, teacher, &(bdpt_run){&in->rest, &in->held, &hooks}, &o->recipe, epoch);
  cli_progress_clear(&progress);
  if (s == BDPT_OK)
    s = tell_epoch(&log, epochs, epoch[epochs - 1].loss, epoch[epochs - 1].held.top1);
  if (log.aside.status != BDPT_OK) s = cli_fail(m->ctx, log.aside.status, "%s", log.aside.message);
  free(epoch);
  return s;
}

static int train(const cli_command *c, bdpt_context *ctx, train_options *o) {
  input in;
  char room[1024], data[2][700];
  const char *checkpoint = cli_checkpoint_of(o->out, room);
  cli_files files = {{o->from, o->teacher}, {o->out, checkpoint}};
  bdpt_model *m = NULL, *teacher = NULL;
  int there;
  bdpt_status s;
  memset(&in, 0, sizeof in);
  input_files(&o->from_where, data, &files);
  s = cli_check_files(ctx, &files);
  if (s == BDPT_OK) s = input_open(&in, ctx, &o->from_where, INPUT_TRAIN);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK && !(m = train_model(ctx, o, in.train.classes))) s = ctx->status;
  if (s == BDPT_OK) input_adopt(&in, m);
  if (s == BDPT_OK) s = bdpt_model_label(m, NULL); /* --from may have learned other classes */
  if (s == BDPT_OK) s = input_label(&in, m);
  if (s == BDPT_OK && o->teacher && !(teacher = input_model(ctx, o->teacher, m->config.image)))
    s = ctx->status;
  if (s == BDPT_OK && o->common.fresh) cli_forget_checkpoint(checkpoint);
  there = s == BDPT_OK && checkpoint && cli_file_exists(checkpoint) == 1;
  if (there)
    fprintf(stderr, "   going on from %s (--fresh would start again)\n", checkpoint);
  if (s == BDPT_OK) s = train_epochs(m, teacher, &in, o, checkpoint);
  if (s == BDPT_OK) s = bdpt_model_save(m, o->out, BDPT_F32);
  if (s == BDPT_OK) cli_forget_checkpoint(checkpoint);
  bdpt_model_free(teacher);
  bdpt_model_free(m);
  input_close(&in);
  return cli_finish(c->name, ctx, s, "the same command goes on from here");
}

static int check_train(const cli_command *c, train_options *o) {
  if (!o->out) return cli_usage_error(c, "--out FILE is needed: where the network is saved");
  if (o->recipe.epochs < 1 || o->recipe.epochs > 100000)
    return cli_usage_error(c, "--epochs wants 1 to 100000, got '%d'", o->recipe.epochs);
  if (o->recipe.batch < 1) return cli_usage_error(c, "--batch wants 1 or more");
  if (strcmp(o->distill, "none") == 0) o->recipe.distill = BDPT_DISTILL_NONE;
  else if (strcmp(o->distill, "hard") == 0) o->recipe.distill = BDPT_DISTILL_HARD;
  else if (strcmp(o->distill, "soft") == 0) o->recipe.distill = BDPT_DISTILL_SOFT;
  else return cli_usage_error(c, "--distill wants none, hard or soft, got '%s'", o->distill);
  if (!o->teacher) o->recipe.distill = BDPT_DISTILL_NONE;
  o->recipe.seed = o->common.seed;
  return command_check_source(c, &o->common, &o->from_where);
}

int command_train(int argc, char **argv) {
  static const cli_command c = {"train", "train --out FILE [options]",
    "Trains a network from scratch, or goes on with --from FILE (its classifier is replaced if\n"
    "the number of classes differs). 50 training images of each class are held out and measured.\n"
    "Ctrl-C saves FILE.ckpt; the same command goes on from there.", 0, 0};
  train_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL},
    COMMAND_SOURCE(&o.from_where),
    {"--out", CLI_TEXT, &o.out, "FILE", "the trained network"},
    {"--from", CLI_TEXT, &o.from, "FILE", "start from this network"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "ignore FILE.ckpt"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images measured each epoch (2000; 0: all)"},
    {"The network (without --from)", CLI_TITLE, NULL, NULL, NULL},
    {"--name", CLI_TEXT, &o.name, "NAME", "a published one, such as deit_tiny_patch16_224"},
    {"--image", CLI_INT_1, &o.image, "N", "input size in pixels (32; with --from its own)"},
    {"--patch", CLI_INT_1, &o.config.patch, "N", "patch size (4)"},
    {"--width", CLI_INT_1, &o.config.width, "N", "embedding width (64)"},
    {"--depth", CLI_INT_1, &o.config.depth, "N", "blocks (12)"},
    {"--mlp", CLI_INT_1, &o.config.mlp, "N", "hidden width of the MLPs (4 x width)"},
    {"The recipe", CLI_TITLE, NULL, NULL, NULL},
    {"--epochs", CLI_INT_1, &o.recipe.epochs, "N", "epochs (10)"},
    {"--images", CLI_SIZE, &o.recipe.epoch_images, "N", "images per epoch (0: all)"},
    {"--batch", CLI_INT_1, &o.recipe.batch, "N", "batch size (128)"},
    {"--lr", CLI_SAID, &o.recipe.lr, "X", "highest learning rate (5e-4)"},
    {"--min-lr", CLI_SAID, &o.recipe.min_lr, "X", "last learning rate (a hundredth)"},
    {"--warmup", CLI_REAL, &o.recipe.warmup, "X", "epochs of warm-up (0)"},
    {"--decay", CLI_SAID, &o.recipe.weight_decay, "X", "weight decay (0.05)"},
    {"--clip", CLI_REAL, &o.recipe.clip, "X", "largest gradient norm (1; 0: no limit)"},
    {"--ema", CLI_REAL, &o.recipe.ema, "X", "decay of averaged weights (0: none)"},
    {"--smoothing", CLI_REAL, &o.recipe.smoothing, "X", "label smoothing (0.1)"},
    {"--mixup", CLI_REAL, &o.recipe.mixup, "X", "mixup's Beta parameter (0: off)"},
    {"--cutmix", CLI_REAL, &o.recipe.cutmix, "X", "cutmix's Beta parameter (0: off)"},
    {"--crop", CLI_INT, &o.recipe.crop, "N", "padding of the random crop (4)"},
    {"--flip", CLI_INT, &o.recipe.flip, "N", "1: mirror half of the images (1)"},
    {"--erase", CLI_REAL, &o.recipe.erase, "X", "probability of random erasing (0)"},
    {"--repeats", CLI_INT_1, &o.recipe.repeats, "N", "repeated augmentation (1)"},
    {"--drop-path", CLI_REAL, &o.recipe.drop_path, "X", "stochastic depth of the last block (0)"},
    {"--teacher", CLI_TEXT, &o.teacher, "FILE", "distil from this network"},
    {"--distill", CLI_TEXT, &o.distill, "KIND", "none, hard or soft (soft, with a teacher)"},
    {"--alpha", CLI_SAID, &o.recipe.distill_alpha, "X", "weight of the distillation loss (0.5)"},
    {"--tau", CLI_REAL_UP, &o.recipe.distill_tau, "X", "its temperature, soft only (1)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  command_no_source(&o.from_where);
  o.config.image = 32, o.config.patch = 4, o.config.width = 64, o.config.depth = 12;
  o.config.heads = 2;
  o.recipe.epochs = 10, o.recipe.batch = 128, o.recipe.lr = 5e-4, o.recipe.clip = 1;
  o.recipe.smoothing = 0.1, o.recipe.crop = 4, o.recipe.flip = 1;
  o.held = 2000;
  o.distill = "soft";
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON) status = check_train(&c, &o);
  if (status == CLI_GO_ON) o.out = cli_out_path(o.out);
  if (status == CLI_GO_ON) status = command_open(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = train(&c, &ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
