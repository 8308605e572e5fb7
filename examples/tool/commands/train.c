/* train.c: `boundarydpt train` */
#include "../../../boundarydpt.h"
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
  const char *out, *from, *teacher, *distill, *name, *csv;
  bdpt_config config;
  bdpt_recipe recipe;
  size_t held;
  int image[2];
} train_options;

/* Epochs are told as they end. */
typedef struct train_log {
  int told, json;         /* the latest epoch */
  cli_progress *progress;
  bdpt_context aside;     /* of the lines: the library is at work in the other one */
} train_log;

static void tell_epoch(const cli_epoch *e, void *user) {
  train_log *t = (train_log *)user;
  cli_json j = {NULL, 0, 0, 0, 0};
  cli_progress_clear(t->progress);
  t->told = e->epoch;
  if (!t->json) {
    printf("epoch %3d  lr %.2e  loss %.4f  held-out %.2f %%  %.0f s\n", e->epoch, e->lr, e->loss,
           e->accuracy, e->seconds);
    fflush(stdout);
    return;
  }
  cli_json_open(&j, "epoch");
  cli_json_real(&j, "epoch", e->epoch);
  cli_json_real(&j, "lr", e->lr);
  cli_json_real(&j, "loss", e->loss);
  cli_json_real(&j, "accuracy", e->accuracy);
  cli_json_real(&j, "seconds", e->seconds);
  cli_json_close(&j);
  cli_json_print(&j, &t->aside);
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
  if (o->image[0]) {
    o->config.image = o->image[0];
    o->config.image_width = o->image[1];
  }
  o->config.classes = classes;
  return bdpt_model_create(ctx, &o->config, o->common.seed);
}

/* Makes the long call itself, with what it tells and where it saves. */
static bdpt_status train_epochs(bdpt_model *m, bdpt_model *teacher, const input *in,
                                const train_options *o, const char *checkpoint) {
  const int resumes = checkpoint && cli_file_exists(checkpoint) == 1;
  cli_progress progress;
  cli_epochs epochs;
  bdpt_hooks hooks;
  train_log log;
  bdpt_epoch *line = (bdpt_epoch *)calloc((size_t)o->recipe.epochs, sizeof *line);
  bdpt_status s;
  if (!line) return BDPT_E_MEMORY;
  cli_progress_open(&progress, o->common.quiet);
  hooks = cli_hooks(&progress, checkpoint);
  memset(&log, 0, sizeof log);
  memset(&epochs, 0, sizeof epochs);
  log.json = o->common.json;
  log.progress = &progress;
  epochs.tell = tell_epoch;
  epochs.user = &log;
  cli_epochs_watch(&epochs, &progress);
  cli_epochs_train(&epochs, NULL, &o->recipe, NULL, in->rest.count);
  if (m->ctx->cluster.size > 1) {
    size_t all = o->recipe.epoch_images ? o->recipe.epoch_images : in->rest.count;
    fprintf(stderr, "%d processes, each trains on %zu of %zu images an epoch\n",
            m->ctx->cluster.size, all / (size_t)m->ctx->cluster.size, all);
  }
  if (resumes) command_resumes(checkpoint);
  s = cli_epochs_open(&epochs, m->ctx, o->csv, resumes ? EPOCHS_AGAIN : EPOCHS_NEW);
  if (s == BDPT_OK)
    s = bdpt_train(m, teacher, &(bdpt_run){&in->rest, &in->held, &hooks}, &o->recipe, line);
  cli_progress_clear(&progress);
  if (s == BDPT_OK) cli_epochs_rest(&epochs, line, o->recipe.epochs);
  free(line);
  if (log.aside.status != BDPT_OK) s = cli_fail(m->ctx, log.aside.status, "%s", log.aside.message);
  return cli_epochs_close(&epochs, m->ctx, s);
}

static int train(const cli_command *c, bdpt_context *ctx, train_options *o) {
  input in;
  char room[1024], data[2][700];
  const char *checkpoint = cli_checkpoint_of(o->out, room);
  cli_files files = {{o->from, o->teacher}, {o->out, checkpoint, o->csv}};
  bdpt_model *m = NULL, *teacher = NULL;
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
  if (s == BDPT_OK && o->teacher) {
    const int image[2] = {m->config.image, m->config.image_width};
    teacher = input_model(ctx, o->teacher, image);
    if (!teacher) s = ctx->status;
  }
  if (s == BDPT_OK && o->common.fresh) cli_forget_checkpoint(checkpoint);
  if (s == BDPT_OK) s = train_epochs(m, teacher, &in, o, checkpoint);
  if (s == BDPT_OK) s = bdpt_model_save(m, o->out);
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
    "Ctrl-C saves FILE.ckpt; the same command goes on from there.",
    "train --generated --epochs 20 --out m.safetensors --csv epochs.csv\n"
    "train --from deit.safetensors --data DIR --image 224 --config tune.conf --out t.safetensors",
    NULL, 0, 0};
  train_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_SOURCE(&o.from_where),
    {"--out", CLI_TEXT, &o.out, "FILE", NULL, "the trained network"},
    {"--from", CLI_TEXT, &o.from, "FILE", NULL, "start from this network"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, NULL, "ignore FILE.ckpt"},
    CLI_CSV(&o.csv),
    {"--held", CLI_SIZE, &o.held, "N", "2000", "held-out images measured each epoch; 0: all"},
    {"The network (without --from)", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--name", CLI_TEXT, &o.name, "NAME", NULL, "a published one, such as deit_tiny_patch16_224"},
    CLI_IMAGE(o.image, "32; with --from its own"),
    {"--patch", CLI_INT_1, &o.config.patch, "N", "4", "patch size"},
    {"--width", CLI_INT_1, &o.config.width, "N", "64", "embedding width"},
    {"--depth", CLI_INT_1, &o.config.depth, "N", "12", "blocks"},
    {"--mlp", CLI_INT_1, &o.config.mlp, "N", NULL, "hidden width of the MLPs (4 x width)"},
    {"The recipe", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--epochs", CLI_INT_1, &o.recipe.epochs, "N", "10", "epochs"},
    {"--images", CLI_SIZE, &o.recipe.epoch_images, "N", "0", "images per epoch; 0: all"},
    {"--batch", CLI_INT_1, &o.recipe.batch, "N", "128", "batch size"},
    {"--lr", CLI_SAID, &o.recipe.lr, "X", "5e-4", "highest learning rate"},
    {"--min-lr", CLI_SAID, &o.recipe.min_lr, "X", NULL, "last learning rate (a hundredth)"},
    {"--warmup", CLI_REAL, &o.recipe.warmup, "X", "0", "epochs of warm-up"},
    {"--decay", CLI_SAID, &o.recipe.weight_decay, "X", "0.05", "weight decay"},
    {"--clip", CLI_REAL, &o.recipe.clip, "X", "1", "largest gradient norm; 0: no limit"},
    {"--ema", CLI_REAL, &o.recipe.ema, "X", "0", "decay of averaged weights; 0: none"},
    {"--smoothing", CLI_REAL, &o.recipe.smoothing, "X", "0.1", "label smoothing"},
    {"--mixup", CLI_REAL, &o.recipe.mixup, "X", "0", "mixup's Beta parameter; 0: off"},
    {"--cutmix", CLI_REAL, &o.recipe.cutmix, "X", "0", "cutmix's Beta parameter; 0: off"},
    {"--crop", CLI_INT, &o.recipe.crop, "N", "4", "padding of the random crop"},
    {"--flip", CLI_INT, &o.recipe.flip, "N", "1", "1: mirror half of the images"},
    {"--erase", CLI_REAL, &o.recipe.erase, "X", "0", "probability of random erasing"},
    {"--repeats", CLI_INT_1, &o.recipe.repeats, "N", "1", "repeated augmentation"},
    {"--drop-path", CLI_REAL, &o.recipe.drop_path, "X", "0", "stochastic depth of the last block"},
    {"--teacher", CLI_TEXT, &o.teacher, "FILE", NULL, "distil from this network"},
    {"--distill", CLI_TEXT, &o.distill, "KIND", "soft", "with a teacher: none, hard or soft"},
    {"--alpha", CLI_SAID, &o.recipe.distill_alpha, "X", "0.5", "weight of the distillation loss"},
    {"--tau", CLI_REAL_UP, &o.recipe.distill_tau, "X", "1", "its temperature, soft only"},
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common),
    CLI_SETTINGS(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  command_no_source(&o.from_where);
  o.config.image = 32; o.config.heads = 2;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON) status = check_train(&c, &o);
  if (status == CLI_GO_ON) o.out = cli_out_path(o.out);
  if (status == CLI_GO_ON)
    status = command_begin(&c, &o.common, &ctx, options, CLI_COUNT(options), o.from);
  if (status != CLI_GO_ON) return status;
  status = train(&c, &ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
