/* eval.c: `boundarydpt eval` */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../input.h"
#include "commands.h"
#include "common.h"
#include "../words.h"

#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * eval
 * ---------------------------------------------------------------------------------------------- */

typedef struct eval_said { const char *file, *part; double seconds; int merge; } eval_said;

static bdpt_status print_accuracy(const bdpt_model *m, const eval_said *e,
                                  const checkpoint_report *from, const bdpt_accuracy *a,
                                  int json) {
  cli_json j = {NULL, 0, 0, 0, 0};
  bdpt_cost_report cost;
  if (bdpt_merging_cost(m->ctx, &m->config, e->merge, &cost) != BDPT_OK) return m->ctx->status;
  if (!json) {
    printf("%s on %zu %s %s: %.2f %% (top 5: %.2f %%), loss %.4f, %.0f images/s", e->file,
           a->count, e->part, words_of((double)a->count, "image", "images"), a->top1, a->top5,
           a->loss, (double)a->count / e->seconds);
    if (e->merge) printf(", %d %s merged per block: %.3f GMACs", e->merge,
                        words_of(e->merge, "token", "tokens"), 1e-9 * cost.macs);
    printf("\n");
    return BDPT_OK;
  }
  cli_json_open(&j, "eval");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "file", e->file);
  cli_json_text(&j, "set", e->part);
  cli_json_real(&j, "images", (double)a->count);
  cli_json_real(&j, "accuracy", a->top1);
  cli_json_real(&j, "top5", a->top5);
  cli_json_real(&j, "loss", a->loss);
  cli_json_real(&j, "images_per_second", (double)a->count / e->seconds);
  input_guessed(&j, from);
  cli_json_real(&j, "merge", e->merge);
  cli_json_real(&j, "macs", cost.macs);
  cli_json_close(&j);
  return cli_json_print(&j, m->ctx);
}

int command_eval(int argc, char **argv) {
  static const cli_command c = {"eval", "eval MODEL [options]",
    "Measures accuracy. Use --part held while you are still choosing anything, and the test part\n"
    "once, at the end.\n\n"
    "--data takes a folder with CIFAR-100's train.bin and test.bin, or pictures in class folders:\n"
    "DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg as ImageNet has them, or DIR/CLASS/*.jpg, of\n"
    "which --holdout N sets N of each class aside as the test part (the same N, the same ones; 0:\n"
    "all are). Classes are numbered by the sorted names of their folders. They are made to fit as\n"
    "classify does it (classify --help). One that cannot be read ends the command by name;\n"
    "--skip-bad N reads all of them first and leaves out up to N, each with a line on stderr.",
    "eval m.safetensors --generated --part held\n"
    "eval m.safetensors --data imagenet --images 5000 --json",
    NULL, 1, 1};
  cli_common common;
  input_source from;
  const char *path, *part = NULL;
  size_t count;
  int image[2] = {0, 0}, merge, n, status, tests;
  checkpoint_report report;
  bdpt_context ctx;
  bdpt_model *m;
  bdpt_accuracy a;
  bdpt_merging merging;
  bdpt_subset *s;
  input in;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL, NULL},
    COMMAND_SOURCE(&from),
    {"--part", CLI_TEXT, &part, "NAME", "test", "test, held or train"},
    {"--images", CLI_SIZE, &count, "N", "0", "only so many, balanced by class; 0: all"},
    CLI_IMAGE(image, "the network's"),
    COMMAND_MERGE(&merge),
    CLI_ELSEWHERE,
    CLI_EVERYWHERE,
    CLI_MACHINE(&common),
    CLI_JSON(&common),
    CLI_QUIET(&common)
  };
  command_defaults(&common);
  command_no_source(&from);
  memset(&in, 0, sizeof in);
  memset(&merging, 0, sizeof merging);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status == CLI_GO_ON) status = command_check_source(&c, &common, &from);
  if (status == CLI_GO_ON) status = command_check_merge(&c, merge);
  if (status != CLI_GO_ON) return status;
  if (strcmp(part, "test") == 0) s = &in.tested;
  else if (strcmp(part, "held") == 0) s = &in.held;
  else if (strcmp(part, "train") == 0) s = &in.rest;
  else return cli_usage_error(&c, "--part wants test, held or train, got '%s'", part);
  tests = s == &in.tested;
  status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  m = input_model_report(&ctx, path, image, &report);
  if (m && input_open(&in, &ctx, &from, tests ? INPUT_TEST : INPUT_TRAIN) == BDPT_OK &&
      command_check_classes(m, tests ? &in.test : &in.train, path) == BDPT_OK) {
    double began = cli_now();
    input_fit(&in, m);
    if (bdpt_merge(m, merge, &merging) == BDPT_OK && input_keep(&ctx, s, count) == BDPT_OK &&
        bdpt_evaluate(m, s, &a) == BDPT_OK) {
      const eval_said said = {path, part, cli_now() - began, merge};
      (void)print_accuracy(m, &said, &report, &a, common.json);
    }
  }
  bdpt_model_free(m);
  bdpt_merging_free(&merging);
  input_close(&in);
  status = cli_finish(c.name, &ctx, ctx.status, NULL);
  bdpt_finish(&ctx);
  return status;
}
