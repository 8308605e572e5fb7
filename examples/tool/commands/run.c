/* run.c: `boundarydpt run` */
#include "../../../boundarydpt.h"
#include "../cli/epochs.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../input.h"
#include "../run/run.h"
#include "commands.h"
#include "common.h"

#include <stdint.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * run
 * ---------------------------------------------------------------------------------------------- */

int command_run(int argc, char **argv) {
  static const cli_command c = {"run", "run [options]",
    "The whole method: a dense network is probed, pruned in two stages, fine-tuned, fused and\n"
    "measured; the story goes to stdout, every number to DIR/run.jsonl, the plots to a report.\n"
    "Without --data it uses generated images and the network in data/, and takes some\n"
    "minutes on two cores. With --data and --model it does the same on CIFAR-100 with a\n"
    "pretrained DeiT (a new classifier, three epochs of fine-tuning first), which is longer; with\n"
    "a folder of class folders such as ImageNet's (eval --help) on the pictures in it.\n"
    "Ctrl-C saves; the same command goes on.",
    "run\n"
    "run --data data/cifar-100-binary --model deit_tiny.pth --budget 8 --out build/eight",
    "--data", 0, 0};
  run_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", NULL, "train.bin, test.bin (CIFAR-100) or class folders"},
    {"--holdout", CLI_INT, &o.holdout, "N", NULL, "of DIR/CLASS/..: of each class, to test on"},
    {"--skip-bad", CLI_SIZE, &o.skip_bad, "N", "0", "leave out at most N bad pictures, listed"},
    {"--model", CLI_TEXT, &o.model, "FILE", "data/dense.safetensors", "the dense network"},
    CLI_IMAGE(o.image, "the network's; 64 with CIFAR-100"),
    {"--out", CLI_TEXT, &o.out, "DIR", "build/run", "where numbers and checkpoints go"},
    {"--report", CLI_TEXT, &o.report, "FILE", "build/report.html", "the page of plots"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, NULL, "start again instead of going on"},
    CLI_CSV(&o.csv),
    {"What is removed", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--budget", CLI_INT_1, &o.budget, "N", "8", "layers to remove in all"},
    {"--least", CLI_INT, &o.least, "N", NULL, "at least this many of each kind (2)"},
    {"--start", CLI_TEXT, &o.start, "NAME", "skip-fit", "their place: " INPUT_STARTS},
    {"--choose", CLI_TEXT, &o.choose, "WAY", NULL, "which layers: " INPUT_CHOICES " (greedy;"
     " learned with --start paper or skip)"},
    {"For longer or shorter runs", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--dense-epochs", CLI_INT, &o.dense_epochs, "N",
     NULL, "dense fine-tuning first (0; 3 if the classifier is new)"},
    {"--dense-images", CLI_SIZE, &o.dense_images, "N", "0", "images in each of them; 0: all"},
    {"--probe-steps", CLI_SIZE_1, &o.probe_steps, "N", "60", "gradient disparity"},
    {"--recovery-images", CLI_SIZE, &o.recovery_images, "N",
     "1920", "training after each single removal; 0: all"},
    {"--map-images", CLI_SIZE, &o.map_images, "N", "3200; 2560", "before each MAP point; 0: all"},
    {"--map-most", CLI_INT_1, &o.most, "N", "4",
     "layers of one kind removed for MAP, so 16 points with 4"},
    {"--search-images", CLI_SIZE, &o.search_images, "N",
     "1920; 2560", "before each removal searched; 0: all"},
    {"--tune-epochs", CLI_INT_1, &o.tune_epochs, "N", "8; 2", "epochs of the last fine-tuning"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "6400; 30000", "images in each; 0: all"},
    {"--batch", CLI_INT_1, &o.batch, "N", "64; 128", "batch size"},
    {"--short-batch", CLI_INT_1, &o.short_batch, "N", "64", "batch size of every short training"},
    {"--dense-lr", CLI_SAID, &o.dense_lr, "X", "5e-4", "learning rate of dense fine-tuning"},
    {"--short-lr", CLI_SAID, &o.short_lr, "X", "3e-4", "of every short training"},
    {"--tune-lr", CLI_SAID, &o.tune_lr, "X", "1e-3; 3e-4", "of the last fine-tuning"},
    {"--held", CLI_SIZE, &o.held, "N", "2000", "held-out images used for choices; 0: all"},
    {"--test", CLI_SIZE, &o.test, "N", "4000; 0", "test images; 0: all"},
    {"--repeats", CLI_INT_1, &o.repeats, "N", "25", "timing rounds, at most 101"},
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common),
    CLI_SETTINGS(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  o.dense_epochs = o.holdout = o.least = -1;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  if (o.least < 0) o.least = o.budget < 4 ? o.budget / 2 : 2;
  if (2 * o.least > o.budget)
    return cli_usage_error(&c, "--budget must be at least twice --least");
  if (o.holdout >= 0 && !o.data)
    return cli_usage_error(&c, "--holdout wants 1 or more, and --data DIR");
  status = command_check_ways(&c, o.start, o.choose);
  if (status != CLI_GO_ON) return status;
  if (!o.choose) o.choose = input_choose(NULL, o.start) ? "greedy" : "learned";
  if (o.tune_epochs > 1000 || o.dense_epochs > 1000)
    return cli_usage_error(&c, "--tune-epochs and --dense-epochs want at most 1000");
  o.table = options; o.rows = CLI_COUNT(options);
  status = command_open(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) status = run_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
