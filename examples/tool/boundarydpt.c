/* =================================================================================================
 * boundarydpt: the command-line tool
 * =================================================================================================
 *   boundarydpt run                     the whole method on one page (run.h)
 *   boundarydpt reproduce               the study of the paper's claims (reproduce.h)
 *   boundarydpt info MODEL              what a checkpoint holds
 *   boundarydpt train --out MODEL       from scratch, or --from a checkpoint
 *   boundarydpt eval MODEL              accuracy
 *   boundarydpt probe MODEL             the two observations as data
 *   boundarydpt prune MODEL --out NEW   given layers, or found by both stages
 *   boundarydpt plus MODEL --out NEW    layers and widths together, to a budget
 *   boundarydpt fuse MODEL --out NEW    merge the linears of pruned MLPs, with a certificate
 *   boundarydpt classify MODEL IMAGE... what is in a picture
 *   boundarydpt segment MODEL --out NEW what is where in a picture: masks (segment.h)
 *   boundarydpt export MODEL --onnx NEW for other programs
 *
 * Every command is one function: a table of options, a few library calls, the printing. What they
 * share is in cli.h (terminal), input.h (images, networks), record.h (JSON lines); what is longer
 * than a command has a file of its own (run.h, info.h, classify.h, export.h).
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* isatty, mkdir, clock_gettime */
#endif
#define BOUNDARYDPT_IMPLEMENTATION
#include "../../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../plus/boundarydpt_plus.h"

#include "commands/classify.h"
#include "cli.h"
#include "files/export.h"
#include "commands/info.h"
#include "input.h"
#include "commands/plus.h"
#include "commands/run.h"
#include "study/reproduce.h"
#include "commands/segment.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* -------------------------------------------------------------------------------------------------
 * What the commands share
 * ---------------------------------------------------------------------------------------------- */

/* Where the tool runs on several processes (examples/mpi), each joins the others here. */
#ifndef TOOL_JOIN
#define TOOL_JOIN(ctx) ((void)(ctx))
#endif

/* Applies --threads, --isa and --bf16. Returns CLI_GO_ON, or the exit status after a complaint. */
static int open_context(const cli_command *c, const cli_common *common, bdpt_context *ctx) {
  static const char *const name[] = {"best", "portable", "avx2", "avx512"};
  int i;
  memset(ctx, 0, sizeof *ctx);
  for (i = 0; i < COUNT(name); i++)
    if (common->isa && strcmp(common->isa, name[i]) == 0) break;
  if (common->isa && i == COUNT(name))
    return cli_usage_error(c, "--isa wants best, portable, avx2 or avx512, got '%s'", common->isa);
  ctx->isa_wanted = common->isa ? i : BDPT_ISA_BEST;
  if (common->threads < 0 || common->threads > 1024)
    return cli_usage_error(c, "--threads wants 0 to 1024, got '%d'", common->threads);
  ctx->threads = common->threads;
  ctx->bf16 = common->bf16;
  TOOL_JOIN(ctx);
  if (bdpt_init(ctx) != BDPT_OK) return cli_finish(c->name, ctx, ctx->status, NULL);
  return CLI_GO_ON;
}

static void default_common(cli_common *common) {
  memset(common, 0, sizeof *common);
  common->seed = 1;
}

/* --merge R: how many tokens each block may merge; no file holds it. */
#define MERGE_OPTION(r) \
  {"--merge", CLI_INT, r, "R", "tokens that each block merges away (0)"}

static int check_merge(const cli_command *c, int r) {
  if (r >= 0 && r <= 1 << 20) return CLI_GO_ON;
  return cli_usage_error(c, "--merge wants 0 or more tokens per block, got '%d'", r);
}

/* Where the images are; the generated ones when nothing is said. */
#define SOURCE_OPTIONS(s) \
  {"--data", CLI_TEXT, &(s)->data, "DIR", "train.bin, test.bin (CIFAR-100) or class folders"}, \
  {"--holdout", CLI_INT, &(s)->holdout, "N", "of DIR/CLASS/..: of each class, to test on"}, \
  {"--generated", CLI_FLAG, &(s)->generated, NULL, "the generated images (default)"}

static void default_source(input_source *s) {
  memset(s, 0, sizeof *s);
  s->holdout = -1;
}

static int check_source(const cli_command *c, const cli_common *common, input_source *s) {
  s->quiet = common->quiet;
  if (s->data && s->generated)
    return cli_usage_error(c, "--data and --generated exclude each other");
  if (s->holdout < -1 || (s->holdout >= 0 && !s->data))
    return cli_usage_error(c, "--holdout wants 0 or more, and --data DIR");
  return CLI_GO_ON;
}

/* The classifier must fit the images; says so before any work is done. */
static bdpt_status check_classes(const bdpt_model *m, const bdpt_dataset *data, const char *path) {
  if (m->config.classes == data->classes) return BDPT_OK;
  snprintf(m->ctx->message, sizeof m->ctx->message,
           "%s names %d classes, the images have %d: train --from %s gives it a new classifier",
           path, m->config.classes, data->classes, path);
  return m->ctx->status = BDPT_E_SHAPE;
}

/* -------------------------------------------------------------------------------------------------
 * run
 * ---------------------------------------------------------------------------------------------- */

static int command_run(int argc, char **argv) {
  static const cli_command c = {"run", "run [options]",
    "The whole method: a dense network is probed, pruned in two stages, fine-tuned, fused and\n"
    "measured; the story goes to stdout, every number to DIR/run.jsonl, the plots to a report.\n"
    "Without --data it uses generated images and the network in data/, and takes under four\n"
    "minutes on two cores. With --data and --model it does the same on CIFAR-100 with a\n"
    "pretrained DeiT (a new classifier, three epochs of fine-tuning first) in half an hour; with\n"
    "a folder of class folders such as ImageNet's (eval --help) on the pictures in it.\n"
    "Ctrl-C saves; the same command goes on. The second default is the one with --data.", 0, 0};
  run_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in", CLI_TITLE, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", "train.bin, test.bin (CIFAR-100) or class folders"},
    {"--holdout", CLI_INT, &o.holdout, "N", "of DIR/CLASS/..: of each class, to test on"},
    {"--model", CLI_TEXT, &o.model, "FILE", "dense network (default data/dense.safetensors)"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (the network's; 64)"},
    {"--out", CLI_TEXT, &o.out, "DIR", "where numbers and checkpoints go (build/run)"},
    {"--report", CLI_TEXT, &o.report, "FILE", "the page of plots (build/report.html)"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "start again instead of going on"},
    {"What is removed", CLI_TITLE, NULL, NULL, NULL},
    {"--budget", CLI_INT, &o.budget, "N", "layers to remove in all (6)"},
    {"--least", CLI_INT, &o.least, "N", "at least this many of each kind (2)"},
    {"--start", CLI_TEXT, &o.start, "NAME", "their place: " INPUT_STARTS " (skip-fit)"},
    {"--choose", CLI_TEXT, &o.choose, "WAY", "which layers: " INPUT_CHOICES " (greedy; learned\n"
     "                       with --start paper or skip)"},
    {"For longer or shorter runs", CLI_TITLE, NULL, NULL, NULL},
    {"--dense-epochs", CLI_INT, &o.dense_epochs, "N",
     "dense fine-tuning first (0; 3 if the classifier is new)"},
    {"--dense-images", CLI_SIZE, &o.dense_images, "N", "images in each of them (0: all)"},
    {"--probe-steps", CLI_SIZE, &o.probe_steps, "N", "gradient disparity (60)"},
    {"--recovery-images", CLI_SIZE, &o.recovery_images, "N",
     "training after each single removal (1920)"},
    {"--map-images", CLI_SIZE, &o.map_images, "N", "training before each MAP point (3200; 2560)"},
    {"--map-most", CLI_INT, &o.most, "N", "layers of one kind removed for MAP (4: 16 points)"},
    {"--search-images", CLI_SIZE, &o.search_images, "N",
     "training before each removal of the search (1920; 2560)"},
    {"--tune-epochs", CLI_INT, &o.tune_epochs, "N", "epochs of the last fine-tuning (8; 2)"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "images in each of them (6400; 30000)"},
    {"--batch", CLI_INT, &o.batch, "N", "batch size (64; 128)"},
    {"--short-batch", CLI_INT, &o.short_batch, "N", "batch size of every short training (64)"},
    {"--dense-lr", CLI_REAL, &o.dense_lr, "X", "learning rate of dense fine-tuning (5e-4)"},
    {"--short-lr", CLI_REAL, &o.short_lr, "X", "of every short training (3e-4)"},
    {"--tune-lr", CLI_REAL, &o.tune_lr, "X", "of the last fine-tuning (5e-4; 3e-4)"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images used for choices (2000)"},
    {"--test", CLI_SIZE, &o.test, "N", "test images (4000; all)"},
    {"--repeats", CLI_INT, &o.repeats, "N", "timing rounds, at most 101 (25)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  o.dense_epochs = o.holdout = -1;
  status = cli_parse(&c, options, COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  if (o.budget < 0 || o.least < 0 || 2 * o.least > (o.budget ? o.budget : 6))
    return cli_usage_error(&c, "--budget must be at least twice --least");
  if (o.holdout < -1 || (o.holdout >= 0 && !o.data))
    return cli_usage_error(&c, "--holdout wants 1 or more, and --data DIR");
  if (input_start(o.start) < 0)
    return cli_usage_error(&c, "--start wants " INPUT_STARTS ", got '%s'", o.start);
  if (input_choose(o.choose, o.start) < 0)
    return cli_usage_error(&c, "--choose wants " INPUT_CHOICES ", got '%s'", o.choose);
  if (o.batch < 0 || o.short_batch < 0 || o.tune_epochs < 0 || o.tune_epochs > 1000 ||
      o.dense_epochs > 1000 || o.repeats < 0 || o.image < 0 || o.most < 0)
    return cli_usage_error(&c, "a count is out of range (epochs: at most 1000)");
  status = open_context(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) status = run_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * reproduce
 * ---------------------------------------------------------------------------------------------- */

static int command_reproduce(int argc, char **argv) {
  static const cli_command c = {"reproduce", "reproduce [options]",
    "The study of the paper's claims on CIFAR-100 with DeiT-Tiny, in fifteen parts (14 and 15\n"
    "run only when they are named): every\n"
    "figure as JSON lines and CSV. What it costs is printed first; Ctrl-C saves, the same\n"
    "command goes on. data/reproduce.recipe holds and explains every hyperparameter.",
    0, 0};
  study_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", "CIFAR-100 binary (data/cifar-100-binary)"},
    {"--model", CLI_TEXT, &o.model, "FILE", "DeiT (data/deit_tiny_patch16_224.safetensors)"},
    {"--recipe", CLI_TEXT, &o.recipe, "FILE", "hyperparameters (data/reproduce.recipe)"},
    {"--out", CLI_TEXT, &o.out, "DIR", "numbers and checkpoints (build/reproduce)"},
    {"--report", CLI_TEXT, &o.report, "FILE", "the page of plots (build/report.html)"},
    {"--quick", CLI_FLAG, &o.quick, NULL, "generated images, data/quick.recipe: half a minute"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "start again instead of going on"},
    {"What is done", CLI_TITLE, NULL, NULL, NULL},
    {"--list", CLI_FLAG, &o.list, NULL, "print the parts and what they cost, then end"},
    {"--summary", CLI_FLAG, &o.summary, NULL, "print the record's headline figures, then end"},
    {"--part", CLI_LAYERS, &o.parts, "LIST", "only these parts, such as 3,5 (1 to 13)"},
    {"--seeds", CLI_INT, &o.seeds, "N", "seeds for parts 5, 6, 9, 10 (the recipe's)"},
    {"--minutes", CLI_REAL, &o.minutes, "X", "stop after so long, as Ctrl-C does (0: never)"},
    {"--print-held", CLI_FLAG, &o.print_held, NULL, "print the numbers of the held-out images"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  status = cli_parse(&c, options, COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  for (n = 0; n < o.parts.count; n++)
    if (o.parts.layer[n] < 1 || o.parts.layer[n] > STUDY_PARTS)
      return cli_usage_error(&c, "--part wants 1 to %d", STUDY_PARTS);
  if (o.seeds < 0 || o.seeds > 100) return cli_usage_error(&c, "--seeds wants 1 to 100");
  status = open_context(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) status = study_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * info
 * ---------------------------------------------------------------------------------------------- */

/* "PyTorch zip, model, names of timm" */
static void describe_file(const checkpoint_report *r, char text[256]) {
  int top = r->network[0] == 0 || strcmp(r->network, ".") == 0;
  int own = strcmp(r->dialect, "boundarydpt") == 0;
  snprintf(text, 256, "%s, %s%snames of %s", r->form, top ? "" : r->network, top ? "" : ", ",
           own ? "timm, with boundarydpt's metadata" : r->dialect);
}

static void print_info_json(const bdpt_model *m, const char *path, const checkpoint_report *r,
                            const bdpt_cost_report *cost, const char *hash) {
  const bdpt_config *c = &m->config;
  int list[3][BDPT_MAX_DEPTH], n[3] = {0, 0, 0}, l;
  cli_json j = {NULL, 0, 0, 0, 0};
  for (l = 0; l < c->depth; l++) {
    if (c->block[l].attention != BDPT_ATTENTION_KEPT) list[0][n[0]++] = l;
    if (c->block[l].mlp_state != BDPT_MLP_KEPT) list[1][n[1]++] = l;
    if (c->block[l].mlp_state >= BDPT_MLP_FUSED) list[2][n[2]++] = l;
  }
  cli_json_open(&j, "info");
  cli_json_text(&j, "file", path);
  cli_json_text(&j, "form", r->form);
  cli_json_text(&j, "dialect", r->dialect);
  cli_json_real(&j, "image", c->image);
  cli_json_real(&j, "patch", c->patch);
  cli_json_real(&j, "width", c->width);
  cli_json_real(&j, "depth", c->depth);
  cli_json_real(&j, "heads", c->heads);
  cli_json_real(&j, "classes", c->classes);
  cli_json_real(&j, "distilled", c->distilled);
  cli_json_real(&j, "params", (double)cost->params);
  cli_json_real(&j, "macs", cost->macs);
  cli_json_real(&j, "macs_no_matmul", cost->macs_no_matmul);
  cli_json_ints(&j, "attention_removed", list[0], n[0]);
  cli_json_ints(&j, "activation_removed", list[1], n[1]);
  cli_json_ints(&j, "fused", list[2], n[2]);
  cli_json_text(&j, "weights", hash);
  cli_json_text(&j, "parent", m->parent);
  cli_json_text(&j, "certificate", m->certificate);
  cli_json_close(&j);
  cli_json_print(&j, stdout);
}

static int command_info(int argc, char **argv) {
  static const cli_command c = {"info", "info MODEL [options]",
    "Prints what a checkpoint holds: parameters, multiply-accumulates in both conventions, parent\n"
    "and certificate, and the blocks drawn as bars, each as long as its half of a block is work.",
    1, 1};
  cli_common common;
  bdpt_context ctx;
  bdpt_cost_report cost;
  bdpt_model *m;
  const char *path;
  checkpoint_report from;
  char hash[17], file[256];
  int n, merge = 0, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL},
    MERGE_OPTION(&merge),
    CLI_COMMON(&common)
  };
  default_common(&common);
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_merge(&c, merge);
  if (status == CLI_GO_ON) status = open_context(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  memset(&from, 0, sizeof from);
  m = input_model_report(&ctx, path, 0, &from);
  if (m) m->config.merge = merge;
  describe_file(&from, file);
  if (m && bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK) {
    bdpt_model_hash(m, hash);
    if (common.json) print_info_json(m, path, &from, &cost, hash);
    else info_print(m, path, &cost, hash, file, stdout);
  }
  bdpt_model_free(m);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}

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
} train_log;

static void tell_epoch(train_log *t, int epoch, double loss, double accuracy) {
  double lr = bdpt_schedule(&t->recipe, epoch - 1e-9), seconds = cli_now() - t->began;
  cli_progress_clear(t->progress);
  if (t->json) {
    cli_json j = {NULL, 0, 0, 0, 0};
    cli_json_open(&j, "epoch");
    cli_json_real(&j, "epoch", epoch);
    cli_json_real(&j, "lr", lr);
    cli_json_real(&j, "loss", loss);
    cli_json_real(&j, "accuracy", accuracy);
    cli_json_real(&j, "seconds", seconds);
    cli_json_close(&j);
    cli_json_print(&j, stdout);
  } else {
    printf("epoch %3d  lr %.2e  loss %.4f  held-out %.2f %%  %.0f s\n", epoch, lr, loss, accuracy,
           seconds);
  }
  fflush(stdout);
  t->told = epoch;
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
  if (epoch) s = bdpt_train(m, teacher, &in->rest, &in->held, &o->recipe, &hooks, epoch);
  cli_progress_clear(&progress);
  if (s == BDPT_OK) tell_epoch(&log, epochs, epoch[epochs - 1].loss, epoch[epochs - 1].held.top1);
  free(epoch);
  return s;
}

static int train(const cli_command *c, bdpt_context *ctx, train_options *o) {
  input in;
  char checkpoint[1024];
  bdpt_model *m = NULL, *teacher = NULL;
  bdpt_status s = input_open(&in, ctx, &o->from_where, INPUT_TRAIN);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK && !(m = train_model(ctx, o, in.train.classes))) s = ctx->status;
  if (s == BDPT_OK) {
    input_fit(&in, m->config.image);
    input_stamp(&in, m);
  }
  if (s == BDPT_OK && o->teacher && !(teacher = input_model(ctx, o->teacher, m->config.image)))
    s = ctx->status;
  snprintf(checkpoint, sizeof checkpoint, "%s.ckpt", o->out);
  if (o->common.fresh) cli_forget_checkpoint(checkpoint);
  if (s == BDPT_OK && cli_file_exists(checkpoint))
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
    return cli_usage_error(c, "--epochs wants 1 or more, got '%d'", o->recipe.epochs);
  if (o->recipe.batch < 1) return cli_usage_error(c, "--batch wants 1 or more");
  if (strcmp(o->distill, "none") == 0) o->recipe.distill = BDPT_DISTILL_NONE;
  else if (strcmp(o->distill, "hard") == 0) o->recipe.distill = BDPT_DISTILL_HARD;
  else if (strcmp(o->distill, "soft") == 0) o->recipe.distill = BDPT_DISTILL_SOFT;
  else return cli_usage_error(c, "--distill wants none, hard or soft, got '%s'", o->distill);
  if (!o->teacher) o->recipe.distill = BDPT_DISTILL_NONE;
  o->recipe.seed = o->common.seed;
  return check_source(c, &o->common, &o->from_where);
}

static int command_train(int argc, char **argv) {
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
    SOURCE_OPTIONS(&o.from_where),
    {"--out", CLI_TEXT, &o.out, "FILE", "the trained network"},
    {"--from", CLI_TEXT, &o.from, "FILE", "start from this network"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "ignore FILE.ckpt"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images measured after each epoch (2000)"},
    {"The network (without --from)", CLI_TITLE, NULL, NULL, NULL},
    {"--name", CLI_TEXT, &o.name, "NAME", "a published one, such as deit_tiny_patch16_224"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (32; with --from its own)"},
    {"--patch", CLI_INT, &o.config.patch, "N", "patch size (4)"},
    {"--width", CLI_INT, &o.config.width, "N", "embedding width (64)"},
    {"--depth", CLI_INT, &o.config.depth, "N", "blocks (12)"},
    {"--mlp", CLI_INT, &o.config.mlp, "N", "hidden width of the MLPs (4 x width)"},
    {"The recipe", CLI_TITLE, NULL, NULL, NULL},
    {"--epochs", CLI_INT, &o.recipe.epochs, "N", "epochs (10)"},
    {"--images", CLI_SIZE, &o.recipe.epoch_images, "N", "images per epoch (0: all)"},
    {"--batch", CLI_INT, &o.recipe.batch, "N", "batch size (128)"},
    {"--lr", CLI_REAL, &o.recipe.lr, "X", "highest learning rate (5e-4)"},
    {"--min-lr", CLI_REAL, &o.recipe.min_lr, "X", "last learning rate (a hundredth)"},
    {"--warmup", CLI_REAL, &o.recipe.warmup, "X", "epochs of warm-up (0)"},
    {"--decay", CLI_REAL, &o.recipe.weight_decay, "X", "weight decay (0.05; negative: none)"},
    {"--clip", CLI_REAL, &o.recipe.clip, "X", "largest gradient norm (1; 0: no limit)"},
    {"--ema", CLI_REAL, &o.recipe.ema, "X", "decay of averaged weights (0: none)"},
    {"--smoothing", CLI_REAL, &o.recipe.smoothing, "X", "label smoothing (0.1)"},
    {"--mixup", CLI_REAL, &o.recipe.mixup, "X", "mixup's Beta parameter (0: off)"},
    {"--cutmix", CLI_REAL, &o.recipe.cutmix, "X", "cutmix's Beta parameter (0: off)"},
    {"--crop", CLI_INT, &o.recipe.crop, "N", "padding of the random crop (4)"},
    {"--flip", CLI_INT, &o.recipe.flip, "N", "1: mirror half of the images (1)"},
    {"--erase", CLI_REAL, &o.recipe.erase, "X", "probability of random erasing (0)"},
    {"--repeats", CLI_INT, &o.recipe.repeats, "N", "repeated augmentation (1)"},
    {"--drop-path", CLI_REAL, &o.recipe.drop_path, "X", "stochastic depth of the last block (0)"},
    {"--teacher", CLI_TEXT, &o.teacher, "FILE", "distil from this network"},
    {"--distill", CLI_TEXT, &o.distill, "KIND", "none, hard or soft (soft, with a teacher)"},
    {"--alpha", CLI_REAL, &o.recipe.distill_alpha, "X", "weight of the distillation loss (0.5)"},
    {"--tau", CLI_REAL, &o.recipe.distill_tau, "X", "its temperature, soft only (1)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  default_source(&o.from_where);
  o.config.image = 32, o.config.patch = 4, o.config.width = 64, o.config.depth = 12;
  o.config.heads = 2;
  o.recipe.epochs = 10, o.recipe.batch = 128, o.recipe.lr = 5e-4, o.recipe.clip = 1;
  o.recipe.smoothing = 0.1, o.recipe.crop = 4, o.recipe.flip = 1;
  o.held = 2000;
  o.distill = "soft";
  status = cli_parse(&c, options, COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON) status = check_train(&c, &o);
  if (status == CLI_GO_ON) status = open_context(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = train(&c, &ctx, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * eval
 * ---------------------------------------------------------------------------------------------- */

static void print_accuracy(const bdpt_model *m, const char *path, const char *part,
                           const bdpt_accuracy *a, double s, int json) {
  cli_json j = {NULL, 0, 0, 0, 0};
  bdpt_cost_report cost;
  if (bdpt_cost(m->ctx, &m->config, &cost) != BDPT_OK) return;
  if (!json) {
    printf("%s on %zu %s images: %.2f %% (top 5: %.2f %%), loss %.4f, %.0f images/s", path,
           a->count, part, a->top1, a->top5, a->loss, (double)a->count / s);
    if (m->config.merge)
      printf(", %d tokens merged per block: %.3f GMACs", m->config.merge, 1e-9 * cost.macs);
    printf("\n");
    return;
  }
  cli_json_open(&j, "eval");
  cli_json_text(&j, "file", path);
  cli_json_text(&j, "part", part);
  cli_json_real(&j, "images", (double)a->count);
  cli_json_real(&j, "accuracy", a->top1);
  cli_json_real(&j, "top5", a->top5);
  cli_json_real(&j, "loss", a->loss);
  cli_json_real(&j, "images_per_second", (double)a->count / s);
  cli_json_real(&j, "merge", m->config.merge);
  cli_json_real(&j, "macs", cost.macs);
  cli_json_close(&j);
  cli_json_print(&j, stdout);
}

static int command_eval(int argc, char **argv) {
  static const cli_command c = {"eval", "eval MODEL [options]",
    "Measures accuracy. Use --part held while you are still choosing anything, and the test part\n"
    "once, at the end.\n\n"
    "--data takes a folder with CIFAR-100's train.bin and test.bin, or pictures in class folders:\n"
    "DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg as ImageNet has them, or DIR/CLASS/*.jpg, of\n"
    "which --holdout N sets N of each class aside as the test part (the same N, the same ones; 0:\n"
    "all are). Classes are numbered by the sorted names of their folders. A picture's short side\n"
    "is resized to the input size / 0.875 (256 for 224), bicubic, and the middle is cut out.",
    1, 1};
  cli_common common;
  input_source from;
  const char *path, *part = "test";
  size_t count = 0;
  int image = 0, merge = 0, n, status, which;
  bdpt_context ctx;
  bdpt_model *m;
  bdpt_accuracy a;
  input in;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL},
    SOURCE_OPTIONS(&from),
    {"--part", CLI_TEXT, &part, "NAME", "test (default), held or train"},
    {"--images", CLI_SIZE, &count, "N", "only so many, balanced by class (0: all)"},
    {"--image", CLI_INT, &image, "N", "input size in pixels (the network's)"},
    MERGE_OPTION(&merge),
    CLI_COMMON(&common)
  };
  default_common(&common);
  default_source(&from);
  memset(&in, 0, sizeof in);
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_source(&c, &common, &from);
  if (status == CLI_GO_ON) status = check_merge(&c, merge);
  if (status != CLI_GO_ON) return status;
  which = strcmp(part, "test") == 0 ? 2 : strcmp(part, "held") == 0 ? 1 : 0;
  if (which == 0 && strcmp(part, "train") != 0)
    return cli_usage_error(&c, "--part wants test, held or train, got '%s'", part);
  status = open_context(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  m = input_model(&ctx, path, image);
  if (m && input_open(&in, &ctx, &from, which == 2 ? INPUT_TEST : INPUT_TRAIN) == BDPT_OK &&
      check_classes(m, which == 2 ? &in.test : &in.train, path) == BDPT_OK) {
    bdpt_subset *s = which == 2 ? &in.tested : which == 1 ? &in.held : &in.rest;
    double began = cli_now();
    input_fit(&in, m->config.image);
    m->config.merge = merge;
    if (input_keep(&ctx, s, count) == BDPT_OK && bdpt_evaluate(m, s, &a) == BDPT_OK)
      print_accuracy(m, path, part, &a, cli_now() - began, common.json);
  }
  bdpt_model_free(m);
  input_close(&in);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * probe
 * ---------------------------------------------------------------------------------------------- */

typedef struct probe_options {
  cli_common common;
  input_source from;
  const char *what;
  size_t steps, window, images, held;
  bdpt_recipe recipe;
  int image;
} probe_options;

static void print_disparity(const bdpt_disparity_row *row, size_t n, int depth, int json) {
  size_t i;
  int l;
  if (!json) printf("mean |dL/dm| over steps\n   step  block    attention   activation\n");
  for (i = 0; i < n; i++) {
    cli_json j = {NULL, 0, 0, 0, 0};
    for (l = 0; l < depth && !json; l++)
      printf("%7zu  %5d  %11.4e  %11.4e\n", row[i].step, l, row[i].gradient[0][l],
             row[i].gradient[1][l]);
    if (!json) continue;
    cli_json_open(&j, "disparity");
    cli_json_real(&j, "step", (double)row[i].step);
    cli_json_real(&j, "loss", row[i].loss);
    cli_json_reals(&j, "attention", row[i].gradient[0], depth);
    cli_json_reals(&j, "activation", row[i].gradient[1], depth);
    cli_json_close(&j);
    cli_json_print(&j, stdout);
  }
}

static bdpt_status probe_disparity(bdpt_context *ctx, const bdpt_model *m, const input *in,
                                   const probe_options *o, cli_progress *progress) {
  size_t rows = o->window ? o->steps / o->window : 0, n = 0;
  bdpt_recipe p = o->recipe;
  bdpt_hooks hooks = cli_hooks(progress, NULL);
  bdpt_disparity_row *row = (bdpt_disparity_row *)calloc(rows + 1, sizeof *row);
  bdpt_status s;
  if (!row) return BDPT_E_MEMORY;
  p.epochs = 1;
  p.epoch_images = rows * o->window * (size_t)p.batch;
  (void)ctx;
  s = bdpt_disparity(m, &in->rest, &p, o->window, &hooks, row, rows, &n);
  cli_progress_clear(progress);
  if (s == BDPT_OK) print_disparity(row, n, m->config.depth, o->common.json);
  free(row);
  return s;
}

static void print_recovery(const bdpt_recovery_row *row, int rows, int json) {
  int i;
  if (!json) printf("type        block   before  at once    after\n");
  for (i = 0; i < rows; i++) {
    cli_json j = {NULL, 0, 0, 0, 0};
    if (!json) {
      printf("%-10s  %5d  %7.2f  %7.2f  %7.2f\n", run_type[row[i].layer.type], row[i].layer.block,
             row[i].before, row[i].at_once, row[i].after[0]);
      continue;
    }
    cli_json_open(&j, "recovery");
    cli_json_text(&j, "type", run_type[row[i].layer.type]);
    cli_json_real(&j, "layer", row[i].layer.block);
    cli_json_real(&j, "before", row[i].before);
    cli_json_real(&j, "at_once", row[i].at_once);
    cli_json_reals(&j, "after", row[i].after, 1);
    cli_json_close(&j);
    cli_json_print(&j, stdout);
  }
}

static bdpt_status probe_recovery(const bdpt_model *m, const input *in, const probe_options *o,
                                  cli_progress *progress) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_recovery_options options;
  bdpt_hooks hooks = cli_hooks(progress, NULL);
  bdpt_status s;
  memset(&options, 0, sizeof options);
  options.recipe = o->recipe;
  options.recipe.epoch_images = o->images;
  s = bdpt_recovery(m, &in->rest, &in->held, &options, &hooks, row);
  cli_progress_clear(progress);
  if (s == BDPT_OK) print_recovery(row, 2 * m->config.depth, o->common.json);
  return s;
}

static int probe(const cli_command *c, bdpt_context *ctx, const char *path, probe_options *o) {
  cli_progress progress;
  input in;
  bdpt_model *m;
  bdpt_status s;
  cli_progress_open(&progress, o->common.quiet);
  memset(&in, 0, sizeof in);
  m = input_model(ctx, path, o->image);
  s = m ? input_open(&in, ctx, &o->from, INPUT_TRAIN) : ctx->status;
  if (s == BDPT_OK) input_fit(&in, m->config.image);
  if (s == BDPT_OK) s = check_classes(m, &in.train, path);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK && strcmp(o->what, "recovery") != 0)
    s = probe_disparity(ctx, m, &in, o, &progress);
  if (s == BDPT_OK && strcmp(o->what, "disparity") != 0) s = probe_recovery(m, &in, o, &progress);
  bdpt_model_free(m);
  input_close(&in);
  return cli_finish(c->name, ctx, s, NULL);
}

static int command_probe(int argc, char **argv) {
  static const cli_command c = {"probe", "probe MODEL [options]",
    "The two observations behind the method, as data. Disparity: the mean size of dL/dm for each\n"
    "layer during a short training. Recovery: every layer removed alone, accuracy at once and\n"
    "after a short training. The network itself is not changed.", 1, 1};
  probe_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL},
    SOURCE_OPTIONS(&o.from),
    {"--what", CLI_TEXT, &o.what, "NAME", "disparity, recovery or both (default)"},
    {"--steps", CLI_SIZE, &o.steps, "N", "training steps for disparity (60)"},
    {"--window", CLI_SIZE, &o.window, "N", "steps per line of output (20)"},
    {"--images", CLI_SIZE, &o.images, "N", "training images after each removal (1280)"},
    {"--epochs", CLI_INT, &o.recipe.epochs, "N", "epochs of so many images (1)"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images that measure (2000)"},
    {"--batch", CLI_INT, &o.recipe.batch, "N", "batch size (64)"},
    {"--lr", CLI_REAL, &o.recipe.lr, "X", "learning rate (3e-4)"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (the network's)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  default_source(&o.from);
  o.what = "both";
  o.steps = 60, o.window = 20, o.images = 1280, o.held = 2000;
  o.recipe.epochs = 1, o.recipe.batch = 64, o.recipe.lr = 3e-4, o.recipe.clip = 1;
  o.recipe.crop = 4, o.recipe.flip = 1, o.recipe.smoothing = 0.1;
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  if (strcmp(o.what, "both") != 0 && strcmp(o.what, "disparity") != 0 &&
      strcmp(o.what, "recovery") != 0)
    return cli_usage_error(&c, "--what wants disparity, recovery or both, got '%s'", o.what);
  if (o.window < 1 || o.steps < o.window || o.recipe.batch < 1 || o.recipe.epochs < 1)
    return cli_usage_error(&c, "--steps must be at least --window, and all counts 1 or more");
  o.recipe.seed = o.common.seed;
  status = open_context(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = probe(&c, &ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * prune
 * ---------------------------------------------------------------------------------------------- */

typedef struct prune_options {
  cli_common common;
  input_source from;
  const char *out, *start, *choose;
  cli_layers layer[2];
  int budget, epochs, image, batch;
  size_t images, tune_images, held;
  double lr;
} prune_options;

static bdpt_status prune_given(bdpt_model *m, const prune_options *o) {
  bdpt_status s = BDPT_OK;
  bdpt_start start = (bdpt_start)input_start(o->start);
  int t, i, images = start != BDPT_START_PAPER && start != BDPT_START_SKIP;
  bdpt_layers gone = {{0, 0}};
  input in;
  for (t = 0; t < 2; t++)
    for (i = 0; i < o->layer[t].count && s == BDPT_OK; i++) {
      int l = o->layer[t].layer[i];
      if (l < m->config.depth) bdpt_layers_add(&gone, (bdpt_type)t, l);
      else s = bdpt_prune(m, (bdpt_type)t, l); /* refused, with the reason */
    }
  if (s != BDPT_OK) return s;
  if (!images) return bdpt_remove(m, &gone, start, NULL);
  s = input_open(&in, m->ctx, &o->from, INPUT_TRAIN);
  if (s == BDPT_OK) s = bdpt_remove(m, &gone, start, &in.rest);
  input_close(&in);
  return s;
}

static void print_found(const bdpt_layer *layer, int count, const bdpt_stage2_result *end) {
  int i;
  printf("removed ");
  for (i = 0; i < count; i++)
    printf("%s %s %d", i ? "," : "", run_type[layer[i].type], layer[i].block);
  printf("\nheld-out %.2f %% at once, %.2f %% recovered, %.2f %% fused\n", end->at_once.top1,
         end->recovered.top1, end->fused.top1);
}

/* The recipe of the short trainings; the last one gets its own length and a teacher. */
static bdpt_recipe prune_recipe(const prune_options *o, int last) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = last ? o->epochs : 1;
  r.batch = o->batch;
  r.lr = o->lr;
  r.clip = r.flip = 1;
  r.crop = 4;
  r.smoothing = 0.1;
  r.seed = o->common.seed;
  r.epoch_images = last ? o->tune_images : o->images;
  if (last) r.distill = BDPT_DISTILL_SOFT;
  return r;
}

/* The paper's way: the predictor splits the budget, learned importance names the layers. */
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
  if (s == BDPT_OK) s = bdpt_two_stage(m, &in->rest, &in->held, &w, hooks, found);
  if (s == BDPT_OK && !o->common.json) {
    printf("split    %d attention + %d activation (MAP of degree %d, %zu points)\n",
           found->attention, found->activation, found->map.degree, found->point_count);
    print_found(found->search.layer, found->search.removed, &found->stage2);
  }
  free(found);
  return s;
}

/* The layers without which the held-out loss stays smallest, then recovery. */
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
  if (s == BDPT_OK) s = bdpt_greedy(student, &in->rest, &in->held, &g, hooks, &found);
  if (s == BDPT_OK) s = bdpt_stage2(student, m, &in->rest, &in->held, &r, hooks, NULL, &end);
  if (s == BDPT_OK) s = bdpt_model_assign(m, student);
  if (s == BDPT_OK && !o->common.json) print_found(found.layer, found.removed, &end);
  bdpt_model_free(student);
  return s;
}

static bdpt_status prune_searched(bdpt_context *ctx, bdpt_model *m, const char *path,
                                  const prune_options *o) {
  cli_progress progress;
  char checkpoint[1024];
  bdpt_hooks hooks;
  input in;
  bdpt_status s = input_open(&in, ctx, &o->from, INPUT_TRAIN);
  input_fit(&in, m->config.image);
  cli_progress_open(&progress, o->common.quiet);
  snprintf(checkpoint, sizeof checkpoint, "%s.ckpt", o->out);
  hooks = cli_hooks(&progress, checkpoint);
  if (s == BDPT_OK) s = check_classes(m, &in.train, path);
  if (s == BDPT_OK) s = input_keep(ctx, &in.held, o->held);
  if (s == BDPT_OK)
    s = input_choose(o->choose, o->start) ? prune_greedy(m, &in, o, &hooks)
                                          : prune_learned(m, &in, o, &hooks);
  cli_progress_clear(&progress);
  if (s == BDPT_OK) cli_forget_checkpoint(checkpoint);
  input_close(&in);
  return s;
}

static void print_saved(const char *what, const bdpt_model *m, const char *out, int json) {
  bdpt_cost_report cost;
  cli_json j = {NULL, 0, 0, 0, 0};
  if (bdpt_cost(m->ctx, &m->config, &cost) != BDPT_OK) return;
  if (!json) {
    printf("%s: %d attention layers and %d activations removed, %zu parameters, %.6g M MACs\n", out,
           bdpt_removed(&m->config, 0), bdpt_removed(&m->config, 1), cost.params,
           1e-6 * cost.macs);
    if (m->certificate[0]) printf("%s\n", m->certificate);
    return;
  }
  cli_json_open(&j, what);
  cli_json_text(&j, "file", out);
  cli_json_real(&j, "attention", bdpt_removed(&m->config, 0));
  cli_json_real(&j, "activation", bdpt_removed(&m->config, 1));
  cli_json_real(&j, "params", (double)cost.params);
  cli_json_real(&j, "macs", cost.macs);
  cli_json_real(&j, "macs_no_matmul", cost.macs_no_matmul);
  cli_json_text(&j, "parent", m->parent);
  cli_json_text(&j, "certificate", m->certificate);
  cli_json_close(&j);
  cli_json_print(&j, stdout);
}

static int prune(const cli_command *c, bdpt_context *ctx, const char *path,
                 const prune_options *o) {
  bdpt_model *m = input_model(ctx, path, o->image);
  char parent[17];
  bdpt_status s = m ? BDPT_OK : ctx->status;
  if (s == BDPT_OK) {
    input_form(o->start, m);
    bdpt_model_hash(m, parent);
    s = o->budget ? prune_searched(ctx, m, path, o) : prune_given(m, o);
    if (!m->parent[0]) memcpy(m->parent, parent, sizeof parent);
  }
  if (s == BDPT_OK) s = bdpt_model_save(m, o->out, BDPT_F32);
  if (s == BDPT_OK) print_saved("prune", m, o->out, o->common.json);
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, "the same command goes on from here");
}

static int command_prune(int argc, char **argv) {
  static const cli_command c = {"prune", "prune MODEL --out NEW [options]",
    "Removes layers and saves a new network. With --attention and --activation the named layers\n"
    "go, nothing is trained and nothing is fused. With --budget they are found: those without\n"
    "which the loss stays smallest, with fitted maps in their places; --start paper asks the\n"
    "paper's two stages (how many of each kind by MAP, which ones by importance). Then the\n"
    "network is fine-tuned with the dense one as teacher, and fused.",
    1, 1};
  prune_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  const cli_option options[] = {
    {"Named layers", CLI_TITLE, NULL, NULL, NULL},
    {"--attention", CLI_LAYERS, &o.layer[0], "LIST", "blocks that lose attention, such as 3,7"},
    {"--activation", CLI_LAYERS, &o.layer[1], "LIST", "blocks that lose their GELU"},
    {"Layers that are found", CLI_TITLE, NULL, NULL, NULL},
    {"--budget", CLI_INT, &o.budget, "N", "layers to remove in all"},
    {"--choose", CLI_TEXT, &o.choose, "WAY", "which: " INPUT_CHOICES},
    SOURCE_OPTIONS(&o.from),
    {"--images", CLI_SIZE, &o.images, "N", "training images of each short training (2560)"},
    {"--epochs", CLI_INT, &o.epochs, "N", "epochs of the last fine-tuning (8)"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "images in each of them (0: all)"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images that choose (2000)"},
    {"--batch", CLI_INT, &o.batch, "N", "batch size (64)"},
    {"--lr", CLI_REAL, &o.lr, "X", "learning rate (3e-4)"},
    {"Both", CLI_TITLE, NULL, NULL, NULL},
    {"--out", CLI_TEXT, &o.out, "NEW", "where the pruned network is saved"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (the network's)"},
    {"--start", CLI_TEXT, &o.start, "NAME", "their place: " INPUT_STARTS " (paper;\n"
     "                       with --budget skip-fit)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  default_source(&o.from);
  o.images = 2560, o.epochs = 8, o.held = 2000, o.batch = 64, o.lr = 3e-4;
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  if (!o.out) return cli_usage_error(&c, "--out NEW is needed: where the pruned network is saved");
  if (o.budget < 0 || o.epochs < 1 || o.batch < 1)
    return cli_usage_error(&c, "--budget, --epochs and --batch want 1 or more");
  if (o.budget && !o.start) o.start = "skip-fit";
  if (input_start(o.start) < 0)
    return cli_usage_error(&c, "--start wants " INPUT_STARTS ", got '%s'", o.start);
  if (input_choose(o.choose, o.start) < 0)
    return cli_usage_error(&c, "--choose wants " INPUT_CHOICES ", got '%s'", o.choose);
  if ((o.budget != 0) == (o.layer[0].count + o.layer[1].count != 0))
    return cli_usage_error(&c, "name layers with --attention and --activation, or give --budget");
  status = open_context(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = prune(&c, &ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * plus
 * ---------------------------------------------------------------------------------------------- */

static int command_plus(int argc, char **argv) {
  static const cli_command c = {"plus", "plus MODEL --out NEW [options]",
    "BoundaryDPT+: takes layers and makes the others narrower, fine-tuning after each step with\n"
    "the dense network as teacher. --fewer 2.5 is a budget for both: of the way to 2.5 times\n"
    "fewer MACs, depth goes --share and width the rest; --what depth or width goes it alone. Then\n"
    "both networks are timed in turn and tested. Ctrl-C saves; the same command goes on.", 1, 1};
  plus_options o;
  bdpt_context ctx;
  const char *path, *wrong;
  int n, status;
  const cli_option options[] = {
    {"How far", CLI_TITLE, NULL, NULL, NULL},
    {"--what", CLI_TEXT, &o.what, "NAME", "both (default), depth or width"},
    {"--fewer", CLI_REAL, &o.fewer, "X", "so many times fewer MACs than the network has"},
    {"--macs", CLI_REAL, &o.macs, "X", "or to X million MACs, all products counted"},
    {"--params", CLI_REAL, &o.params, "X", "or to X million parameters"},
    {"--ms", CLI_REAL, &o.ms, "X", "or to X milliseconds for 16 images, measured here"},
    {"--share", CLI_REAL, &o.share, "X", "depth's share of the way with --fewer, 0 to 1 (0.5)"},
    {"Depth", CLI_TITLE, NULL, NULL, NULL},
    {"--attention", CLI_LAYERS, &o.layer[0], "LIST", "blocks that lose attention, such as 3,7"},
    {"--activation", CLI_LAYERS, &o.layer[1], "LIST", "blocks that lose their GELU"},
    {"--search", CLI_LAYERS, &o.search, "A,G", "or so many of each, by learned importance"},
    {"--budget", CLI_INT, &o.budget, "N", "or so many in all, found by both stages"},
    {"--start", CLI_TEXT, &o.start, "NAME", "their place: " INPUT_STARTS " (paper)"},
    {"Width", CLI_TITLE, NULL, NULL, NULL},
    {"--channels", CLI_REAL, &o.ratio[BDPT_EMBEDDING], "X", "share of the embedding that goes"},
    {"--hidden", CLI_REAL, &o.ratio[BDPT_HIDDEN], "X", "of the hidden units of the MLPs"},
    {"--whole-heads", CLI_REAL, &o.ratio[BDPT_HEADS], "X", "of the heads"},
    {"--head-size", CLI_REAL, &o.ratio[BDPT_HEAD_SIZE], "X",
     "of their features; with a target all four in proportion (.5 .5 .5 .25)"},
    {"--multiple", CLI_INT, &o.multiple, "N", "round sizes to this (16)"},
    {"--even", CLI_FLAG, &o.even, NULL, "the same share of every layer"},
    {"--importance", CLI_TEXT, &o.importance, "NAME", "taylor (default), l1, l2 or chance"},
    {"--score-images", CLI_SIZE, &o.score_images, "N", "images for taylor (3200)"},
    {"Recovery", CLI_TITLE, NULL, NULL, NULL},
    {"--order", CLI_TEXT, &o.order, "NAME", "first depth (default), width, or both in turns"},
    {"--rounds", CLI_INT, &o.rounds, "N", "in turns: so many (2)"},
    {"--epochs", CLI_INT, &o.epochs, "N", "epochs of all recoveries together (8)"},
    {"--between", CLI_INT, &o.between, "N", "of each but the last (half of an equal part)"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "images in each of them (all)"},
    {"--images", CLI_SIZE, &o.images, "N", "images of each short training of a search (2560)"},
    {"--batch", CLI_INT, &o.batch, "N", "batch size (64)"},
    {"--lr", CLI_REAL, &o.lr, "X", "learning rate (3e-4)"},
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL},
    SOURCE_OPTIONS(&o.from),
    {"--out", CLI_TEXT, &o.out, "NEW", "where the small network is saved"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (the network's)"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images that choose (2000)"},
    {"--test", CLI_SIZE, &o.test, "N", "test images (all)"},
    {"--repeats", CLI_INT, &o.repeats, "N", "timing rounds, at most 101 (25)"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "start again instead of going on"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  default_source(&o.from);
  o.what = "both", o.order = "depth", o.importance = "taylor";
  o.share = 0.5, o.epochs = 8, o.batch = 64, o.lr = 3e-4, o.repeats = 25;
  o.images = 2560, o.held = 2000, o.tune_images = SIZE_MAX;
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_source(&c, &o.common, &o.from);
  if (status != CLI_GO_ON) return status;
  wrong = plus_check(&o);
  if (wrong) return cli_usage_error(&c, "%s", wrong);
  status = open_context(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = plus_command(&ctx, path, &o);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * fuse
 * ---------------------------------------------------------------------------------------------- */

static int command_fuse(int argc, char **argv) {
  static const cli_command c = {"fuse", "fuse MODEL --out NEW [options]",
    "Multiplies out the two linears of every MLP whose activation is removed, and compares the\n"
    "network before and after on held-out images. The comparison is stored in the file.", 1, 1};
  cli_common common;
  input_source from;
  const char *path, *out = NULL;
  size_t count = 1000;
  int n, status;
  bdpt_context ctx;
  bdpt_certificate certificate;
  bdpt_model *m;
  input in;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL},
    SOURCE_OPTIONS(&from),
    {"--out", CLI_TEXT, &out, "NEW", "where the fused network is saved"},
    {"--images", CLI_SIZE, &count, "N", "held-out images compared (1000)"},
    CLI_COMMON(&common)
  };
  default_common(&common);
  default_source(&from);
  memset(&in, 0, sizeof in);
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = check_source(&c, &common, &from);
  if (status != CLI_GO_ON) return status;
  if (!out) return cli_usage_error(&c, "--out NEW is needed: where the fused network is saved");
  status = open_context(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  m = input_model(&ctx, path, 0);
  if (m && bdpt_removed(&m->config, BDPT_ACTIVATION) == 0) {
    snprintf(ctx.message, sizeof ctx.message,
             "%s: no activation is removed, so there is nothing to fuse (a GELU stands between the "
             "linears; prune --activation first)", path);
    ctx.status = BDPT_E_STATE;
  }
  if (m && ctx.status == BDPT_OK && input_open(&in, &ctx, &from, INPUT_TRAIN) == BDPT_OK)
    input_fit(&in, m->config.image);
  if (m && ctx.status == BDPT_OK && input_keep(&ctx, &in.held, count) == BDPT_OK &&
      bdpt_fuse_certified(m, &in.held, &certificate) == BDPT_OK &&
      bdpt_model_save(m, out, BDPT_F32) == BDPT_OK)
    print_saved("fuse", m, out, common.json);
  bdpt_model_free(m);
  input_close(&in);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * classify
 * ---------------------------------------------------------------------------------------------- */

typedef struct classify_options {
  cli_common common;
  const char *labels, *fit;
  int logits, how, merge;
} classify_options;

static int classify_pictures(const cli_command *c, bdpt_context *ctx, const classify_options *o,
                             const char *const *plain, int count) {
  classify work;
  bdpt_model *m = input_model(ctx, plain[0], 0);
  bdpt_status s = m ? classify_open(&work, m, o->labels, o->how) : ctx->status;
  work.json = o->common.json;
  work.logits = o->logits;
  if (m) m->config.merge = o->merge;
  if (s == BDPT_OK) s = classify_all(&work, plain + 1, (size_t)count - 1);
  if (m) classify_close(&work);
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, NULL);
}

static int command_classify(int argc, char **argv) {
  static const cli_command c = {"classify", "classify MODEL IMAGE... [options]",
    "Says what is in pictures: the five most likely classes of each. PPM (P6, P5, P3) can always\n"
    "be read, PNG and JPEG if stb_image.h (Debian: libstb-dev) was there when the tool was built;\n"
    "- is standard input.\n\n"
    "A picture is treated as in the network's evaluation. Trained on CIFAR-100 or the generated\n"
    "images: the whole picture is resized to the input (--fit whole). Trained on a folder of\n"
    "pictures: the short side is resized to the input size / 0.875 (256 for 224), then the middle\n"
    "is cut out (--fit crop). If the network's file does not say: crop from 128 px on, whole\n"
    "below. All bicubic, as Pillow does it.",
    2, 1 << 20};
  classify_options o;
  bdpt_context ctx;
  const char **plain;
  int n, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL},
    {"--labels", CLI_TEXT, &o.labels, "FILE", "class names, one a line; cifar-100 is built in"},
    {"--fit", CLI_TEXT, &o.fit, "NAME", "crop or whole, instead of the rule above"},
    {"--logits", CLI_FLAG, &o.logits, NULL, "with --json: all logits too"},
    MERGE_OPTION(&o.merge),
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  plain = (const char **)calloc((size_t)argc + 1, sizeof *plain);
  if (!plain) return cli_usage_error(&c, "out of memory");
  status = cli_parse(&c, options, COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON && o.fit) {
    o.how = strcmp(o.fit, "crop") == 0 ? IMAGE_CROP : strcmp(o.fit, "whole") == 0 ? IMAGE_WHOLE : 0;
    if (!o.how) status = cli_usage_error(&c, "--fit wants crop or whole, got '%s'", o.fit);
  }
  if (status == CLI_GO_ON) status = check_merge(&c, o.merge);
  if (status == CLI_GO_ON && o.logits && !o.common.json)
    status = cli_usage_error(&c, "--logits are printed with --json only");
  if (status == CLI_GO_ON) status = open_context(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) {
    status = classify_pictures(&c, &ctx, &o, plain, n);
    bdpt_finish(&ctx);
  }
  free(plain);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * segment
 * ---------------------------------------------------------------------------------------------- */

typedef struct segment_options {
  cli_common common;
  segment_run run;
  const char *data, *out, *overlays, *record, *draw, *beside;
  size_t images, test, pictures;
  int image, classes;
} segment_options;

/* The lists of what is gone, as info has them. */
static void segment_layers(cli_json *j, const bdpt_config *c) {
  int list[BDPT_MAX_DEPTH], n, l, type;
  for (type = 0; type < 2; type++) {
    for (n = l = 0; l < c->depth; l++)
      if (type ? c->block[l].mlp_state != BDPT_MLP_KEPT
               : c->block[l].attention != BDPT_ATTENTION_KEPT) list[n++] = l;
    cli_json_ints(j, type ? "activation_removed" : "attention_removed", list, n);
  }
}

/* The result as a JSON line; with `sheet` also the pictures, for the report. */
static void segment_line(cli_json *j, const bdpt_model *m, const char *path,
                         const segment_options *o, const segment_score *s,
                         const segment_sheet *sheet) {
  bdpt_cost_report cost;
  bdpt_cost(m->ctx, &m->config, &cost);
  cli_json_open(j, "segment");
  cli_json_text(j, "file", path);
  cli_json_text(j, "data", o->data ? o->data : "generated");
  cli_json_real(j, "image", m->config.image);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  segment_layers(j, &m->config);
  cli_json_real(j, "pictures", (double)s->pictures);
  cli_json_real(j, "pixels", (double)s->pixels);
  cli_json_real(j, "mean_iou", s->mean);
  cli_json_real(j, "accuracy", s->accuracy);
  cli_json_reals(j, "iou", s->iou, m->config.classes);
  cli_json_real(j, "ms", s->ms);
  cli_json_real(j, "ms_pixels", s->ms_pixels);
  if (s->faster > 0) {
    cli_json_text(j, "beside", o->beside);
    cli_json_real(j, "ms_beside", s->ms_beside);
    cli_json_real(j, "faster", s->faster);
  }
  cli_json_real(j, "threads", m->ctx->threads);
  if (sheet) {
    size_t size = 0;
    unsigned char *bytes = png_build(sheet->rgb, (size_t)sheet->width, (size_t)sheet->height,
                                     &size);
    char *text = bytes ? png_base64(bytes, size) : NULL;
    cli_json_text(j, "png", text ? text : "");
    free(text);
    free(bytes);
  }
  cli_json_close(j);
}

/* Adds the line to the record of a run, from which the report is drawn. */
static bdpt_status segment_note(const bdpt_model *m, const char *path, const segment_options *o,
                                const segment_score *s, const segment_sheet *sheet) {
  cli_json j = {NULL, 0, 0, 0, 0};
  record r;
  bdpt_status status = record_load(&r, m->ctx, o->record);
  segment_line(&j, m, path, o, s, sheet);
  if (status == BDPT_OK && j.text) cli_json_raw(&r.text, j.text, j.used);
  if (status == BDPT_OK) status = j.failed || !j.text ? BDPT_E_MEMORY : record_save(&r);
  free(j.text);
  record_free(&r);
  return status;
}

static void segment_print(const bdpt_model *m, const char *path, const segment_options *o,
                          const segment_score *s) {
  bdpt_cost_report cost;
  cli_json j = {NULL, 0, 0, 0, 0};
  int k;
  if (o->common.json) {
    segment_line(&j, m, path, o, s, NULL);
    cli_json_print(&j, stdout);
    return;
  }
  bdpt_cost(m->ctx, &m->config, &cost);
  printf("%s on %lu pictures: mean IoU %.2f %%, %.2f %% of the pixels\n", path,
         (unsigned long)s->pictures, s->mean, s->accuracy);
  printf("  %.2f ms a picture of %d px on %d thread%s, and %.2f ms from patches to pixels; %.3f "
         "GMACs\n", s->ms, m->config.image, m->ctx->threads, m->ctx->threads == 1 ? "" : "s",
         s->ms_pixels, 1e-9 * cost.macs);
  if (s->faster > 0)
    printf("  %.2f times as fast as %s, which takes %.2f ms in turn with it\n", s->faster,
           o->beside, s->ms_beside);
  for (k = 0; k < m->config.classes && !o->data; k++) {
    printf("  %-12s ", gen_scene_name(k));
    if (s->iou[k] == s->iou[k]) printf("%6.2f", s->iou[k]);
    else printf("     -"); /* does not occur */
    printf(k % 3 == 2 || k + 1 == m->config.classes ? "\n" : "  ");
  }
}

/* The network with a classifier for the masks; NULL: see ctx->message. */
static bdpt_model *segment_model(bdpt_context *ctx, const char *path, const segment_options *o) {
  bdpt_model *m = input_model(ctx, path, o->image);
  int classes = o->data ? o->classes : GEN_SCENE_CLASSES, ready;
  bdpt_status s = BDPT_OK;
  if (!m) return NULL;
  ready = strncmp(m->preprocessing, "segment:", 8) == 0;
  if (!ready && !o->image && !o->data) s = bdpt_model_resize(m, 96);
  if (!ready && !o->out)
    s = segment_fail(ctx, BDPT_E_ARGUMENT, "%.200s is a classifier: --out NEW makes a network for "
                     "masks of it", path);
  if (s == BDPT_OK && ready && m->config.classes != classes && !o->out)
    s = segment_fail(ctx, BDPT_E_SHAPE, "%.200s knows %d classes, the masks have %d", path,
                     m->config.classes, classes);
  if (s == BDPT_OK && (!ready || m->config.classes != classes))
    s = bdpt_model_new_head(m, classes, o->common.seed);
  snprintf(m->preprocessing, sizeof m->preprocessing,
           "segment: %s; the whole picture resized, bicubic", o->data ? "folder" : "drawn scenes");
  if (s == BDPT_OK) return m;
  bdpt_model_free(m);
  return NULL;
}

static bdpt_status segment_open_sets(bdpt_context *ctx, const segment_options *o, int side,
                                     segment_set set[2]) {
  bdpt_status s = BDPT_OK;
  memset(set, 0, 2 * sizeof *set);
  if (!o->data) {
    segment_open_scenes(o->images ? o->images : SEGMENT_GENERATED, 1, 0, side, &set[0]);
    segment_open_scenes(o->test ? o->test : SEGMENT_TESTED, 1, 1, side, &set[1]);
    return s;
  }
  if (o->out) s = segment_open_folder(ctx, o->data, "training", o->classes, &set[0]);
  if (s == BDPT_OK) s = segment_open_folder(ctx, o->data, "validation", o->classes, &set[1]);
  if (o->images && o->images < set[0].count) set[0].count = o->images;
  if (o->test && o->test < set[1].count) set[1].count = o->test;
  return s;
}

static int segment_do(const cli_command *c, bdpt_context *ctx, segment_options *o,
                      const char *path) {
  static segment_score score;
  segment_set set[2];
  segment_sheet sheet = {NULL, 0, 0, 0};
  char checkpoint[1100];
  const char *name = o->out ? o->out : path;
  bdpt_model *m = segment_model(ctx, path, o), *beside = NULL;
  bdpt_status s = m ? segment_open_sets(ctx, o, m->config.image, set) : ctx->status;
  snprintf(checkpoint, sizeof checkpoint, "%.1000s.ckpt", name);
  o->run.checkpoint = checkpoint;
  if (s == BDPT_OK && o->beside && !(beside = input_model(ctx, o->beside, m->config.image)))
    s = ctx->status;
  if (s == BDPT_OK && o->draw) {
    s = segment_write_set(ctx, &set[0], o->draw, "training");
    if (s == BDPT_OK) s = segment_write_set(ctx, &set[1], o->draw, "validation");
  }
  if (s == BDPT_OK && o->out) {
    s = segment_train(m, &set[0], &o->run);
    if (s == BDPT_OK) s = bdpt_fuse_all(m); /* exact up to rounding, and faster */
    if (s == BDPT_OK) s = bdpt_model_save(m, o->out, BDPT_F32);
    if (s == BDPT_OK) remove(checkpoint);
  }
  if (s == BDPT_OK) s = segment_judge(m, &set[1], beside, o->common.quiet, &score);
  if (s == BDPT_OK) segment_print(m, name, o, &score);
  if (s == BDPT_OK && (o->overlays || o->record))
    s = segment_overlays(m, &set[1], o->overlays, o->overlays ? o->pictures : 4, &sheet);
  if (s == BDPT_OK && o->record) s = segment_note(m, name, o, &score, &sheet);
  free(sheet.rgb);
  if (m) segment_set_free(&set[0]), segment_set_free(&set[1]);
  bdpt_model_free(beside);
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, "the same command goes on from here");
}

static int command_segment(int argc, char **argv) {
  static const cli_command c = {"segment", "segment MODEL [--out NEW] [options]",
    "Says what is where in pictures, with any network, dense or pruned, as the backbone: one\n"
    "linear per patch (its classifier), blended to pixels. With --out NEW all of it is trained,\n"
    "its MLPs without a GELU are fused, and it is saved. Then, or at once for a network that was\n"
    "made so, it is judged on the validation part: mean IoU, pixel accuracy, time. Without --data\n"
    "scenes are drawn, 21 classes at 96 px.\n\n"
    "--data DIR has ADE20K's layout: DIR/images/training, DIR/images/validation, and masks of the\n"
    "same names in DIR/annotations/..., grey, 0 ignored, 1 to 150 the classes. Pictures and masks\n"
    "are read as PPM and PGM, as PNG and JPEG if stb_image.h was there when the tool was built.\n"
    "Ctrl-C saves NEW.ckpt; the same command goes on.", 1, 1};
  segment_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  bdpt_recipe *r = &o.run.recipe;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", "pictures and masks (drawn scenes)"},
    {"--classes", CLI_INT, &o.classes, "N", "with --data: classes of its masks (150)"},
    {"--image", CLI_INT, &o.image, "N", "input size in pixels (96; with --data the network's)"},
    {"--out", CLI_TEXT, &o.out, "NEW", "train, and save the network"},
    {"--overlays", CLI_TEXT, &o.overlays, "DIR", "pictures of truth and answer, as PNG"},
    {"--pictures", CLI_SIZE, &o.pictures, "N", "how many of them (8)"},
    {"--beside", CLI_TEXT, &o.beside, "OTHER", "a network to compare the time with, in turn"},
    {"--record", CLI_TEXT, &o.record, "FILE", "add the result to a run's numbers, for its report"},
    {"--draw", CLI_TEXT, &o.draw, "DIR", "write the drawn scenes as files in ADE20K's layout"},
    {"--test", CLI_SIZE, &o.test, "N", "validation pictures (200 scenes; all)"},
    {"The recipe", CLI_TITLE, NULL, NULL, NULL},
    {"--epochs", CLI_INT, &r->epochs, "N", "epochs (10)"},
    {"--images", CLI_SIZE, &o.images, "N", "training pictures (4000 scenes; all)"},
    {"--batch", CLI_INT, &r->batch, "N", "batch size (8)"},
    {"--lr", CLI_REAL, &r->lr, "X", "highest learning rate (1e-3)"},
    {"--warmup", CLI_REAL, &r->warmup, "X", "epochs of warm-up (0.5)"},
    {"--decay", CLI_REAL, &r->weight_decay, "X", "weight decay (0.05; negative: none)"},
    {"--drop-path", CLI_REAL, &r->drop_path, "X", "stochastic depth of the last block (0)"},
    {"--fresh", CLI_FLAG, &o.run.fresh, NULL, "ignore NEW.ckpt"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  default_common(&o.common);
  o.classes = 150, o.pictures = 8;
  r->epochs = 10, r->batch = 8, r->lr = 1e-3, r->warmup = 0.5, r->clip = 1;
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status != CLI_GO_ON) return status;
  if (r->epochs < 1 || r->batch < 1 || r->batch > 4096)
    return cli_usage_error(&c, "--epochs and --batch want 1 or more");
  if (o.classes < 1 || o.classes > 254)
    return cli_usage_error(&c, "--classes wants 1 to 254, got '%d'", o.classes);
  if (o.draw && o.data) return cli_usage_error(&c, "--draw writes drawn scenes, not --data");
  r->seed = o.common.seed;
  o.run.json = o.common.json, o.run.quiet = o.common.quiet;
  status = open_context(&c, &o.common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = segment_do(&c, &ctx, &o, path);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * export
 * ---------------------------------------------------------------------------------------------- */

static void print_export(const char *path, const char *format, int json) {
  cli_json j = {NULL, 0, 0, 0, 0};
  double size = cli_file_size(path);
  if (!json) {
    printf("%s: %.4g MB, %s\n", path, 1e-6 * size, format);
    return;
  }
  cli_json_open(&j, "export");
  cli_json_text(&j, "file", path);
  cli_json_text(&j, "format", format);
  cli_json_real(&j, "bytes", size);
  cli_json_close(&j);
  cli_json_print(&j, stdout);
}

static int export_network(const cli_command *c, bdpt_context *ctx, const char *path,
                          const export_options *o, int json) {
  bdpt_model *m = input_model(ctx, path, 0);
  bdpt_status s = m ? BDPT_OK : ctx->status;
  if (s == BDPT_OK && o->safetensors) {
    s = export_safetensors(m, o);
    if (s == BDPT_OK) print_export(o->safetensors, "safetensors, config.json beside it", json);
  }
  if (s == BDPT_OK && o->onnx) {
    s = export_onnx(m, o->onnx);
    if (s == BDPT_OK) print_export(o->onnx, "ONNX, operator set 17", json);
  }
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, NULL);
}

static int command_export(int argc, char **argv) {
  static const cli_command c = {"export",
    "export MODEL [--onnx FILE] [--safetensors FILE] [options]",
    "Writes a network, dense, pruned or fused, for other programs. ONNX: float, operator set 17,\n"
    "any batch, input images[batch,3,H,W] normalised as the file's metadata say, output logits.\n"
    "Safetensors: timm's names, and a config.json in the same folder that lists what was removed\n"
    "(examples/load_pruned.py loads it into PyTorch). --names hf writes a network from which\n"
    "nothing was removed so that transformers' from_pretrained(DIR) takes it, if FILE is\n"
    "DIR/model.safetensors.", 1, 1};
  static const char *const types[] = {"f32", "f16", "bf16"}, *const kinds[] = {"timm", "hf"};
  static const int dtypes[] = {BDPT_F32, BDPT_F16, BDPT_BF16};
  cli_common common;
  export_options o;
  bdpt_context ctx;
  const char *path, *dtype = NULL, *names = NULL;
  int n, status, i, k;
  const cli_option options[] = {
    {"What to write", CLI_TITLE, NULL, NULL, NULL},
    {"--onnx", CLI_TEXT, &o.onnx, "FILE", "an ONNX file"},
    {"--safetensors", CLI_TEXT, &o.safetensors, "FILE", "a safetensors file"},
    {"--dtype", CLI_TEXT, &dtype, "NAME", "of safetensors: f32 (default), f16 or bf16"},
    {"--names", CLI_TEXT, &names, "NAME", "of safetensors: timm (default) or hf"},
    CLI_COMMON(&common)
  };
  memset(&o, 0, sizeof o);
  default_common(&common);
  status = cli_parse(&c, options, COUNT(options), argc, argv, &path, &n);
  if (status != CLI_GO_ON) return status;
  for (i = 0; dtype && i < COUNT(types) && strcmp(dtype, types[i]) != 0; i++) {}
  for (k = 0; names && k < COUNT(kinds) && strcmp(names, kinds[k]) != 0; k++) {}
  if (dtype && i == COUNT(types))
    return cli_usage_error(&c, "--dtype wants f32, f16 or bf16, got '%s'", dtype);
  if (names && k == COUNT(kinds))
    return cli_usage_error(&c, "--names wants timm or hf, got '%s'", names);
  if (!o.onnx && !o.safetensors)
    return cli_usage_error(&c, "--onnx FILE or --safetensors FILE is needed, or both");
  if (!o.safetensors && (dtype || names))
    return cli_usage_error(&c, "--dtype and --names are about --safetensors; ONNX is float");
  o.dtype = dtype ? dtypes[i] : BDPT_F32;
  o.names = names ? k : EXPORT_TIMM;
  status = open_context(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = export_network(&c, &ctx, path, &o, common.json);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * report
 * ---------------------------------------------------------------------------------------------- */

static int command_report(int argc, char **argv) {
  static const cli_command c = {"report", "report RUN.JSONL PAGE.HTML",
    "Draws the page of plots again from the numbers of a run.", 2, 2};
  cli_common common;
  bdpt_context ctx;
  const char *plain[2];
  int n, status;
  const cli_option options[] = {CLI_COMMON(&common)};
  default_common(&common);
  status = cli_parse(&c, options, COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON) status = open_context(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  if (report_write(&ctx, plain[0], plain[1]) != 0 && ctx.status == BDPT_OK) ctx.status = BDPT_E_IO;
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}

/* -------------------------------------------------------------------------------------------------
 * main
 * ---------------------------------------------------------------------------------------------- */

static const struct command {
  const char *name;
  int (*call)(int argc, char **argv);
  const char *help;
} commands[] = {
  {"run", command_run, "the whole method on one page: probe, prune, recover, fuse, measure"},
  {"reproduce", command_reproduce, "the study of the paper's claims, in fifteen parts"},
  {"info", command_info, "what a checkpoint holds, drawn"},
  {"train", command_train, "train a network from scratch or go on with one"},
  {"eval", command_eval, "accuracy on the test, held-out or training images"},
  {"probe", command_probe, "gradient disparity and recovery asymmetry as data"},
  {"prune", command_prune, "remove layers: named ones, or found by both stages"},
  {"plus", command_plus, "layers and widths together, to a budget of MACs or milliseconds"},
  {"fuse", command_fuse, "merge the linears of pruned MLPs, with a certificate"},
  {"classify", command_classify, "what is in a picture: the five most likely classes"},
  {"segment", command_segment, "what is where in pictures: masks, with any network"},
  {"export", command_export, "ONNX or safetensors for other programs"},
  {"report", command_report, "draw a run's page of plots again"}
};

static void print_help(FILE *f) {
  int i;
  fprintf(f, "usage: boundarydpt COMMAND [arguments] [options]\n\n"
             "Depth pruning of vision transformers: attention layers and GELUs are removed, the\n"
             "linears around a removed GELU are merged. Version %s.\n\n", bdpt_version());
  for (i = 0; i < COUNT(commands); i++)
    fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].help);
  fprintf(f, "\nboundarydpt COMMAND --help explains a command. Exit status: 0 done, 1 failed,\n"
             "2 wrong usage, 130 stopped by Ctrl-C after saving.\n");
}

int main(int argc, char **argv) {
  int i;
  if (argc < 2) { print_help(stderr); return CLI_USAGE; }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
      strcmp(argv[1], "help") == 0) {
    print_help(stdout);
    return CLI_OK;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("boundarydpt %s\n", bdpt_version());
    return CLI_OK;
  }
  cli_calm_threads(argv);
  cli_catch_interrupt();
  for (i = 0; i < COUNT(commands); i++)
    if (strcmp(argv[1], commands[i].name) == 0) {
      int status = commands[i].call(argc - 2, argv + 2);
      if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "boundarydpt %s: cannot write to stdout\n", argv[1]);
        return CLI_FAILED;
      }
      return status;
    }
  fprintf(stderr, "boundarydpt: there is no command '%s' (boundarydpt --help lists them)\n",
          argv[1]);
  return CLI_USAGE;
}
