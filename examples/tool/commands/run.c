/* run.c: `boundarydpt run` */
#include "../../../boundarydpt.h"
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
    "Ctrl-C saves; the same command goes on. The second default is the one with --data.", 0, 0};
  run_options o;
  bdpt_context ctx;
  const char *plain[1];
  int n, status;
  const cli_option options[] = {
    {"What goes in", CLI_TITLE, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", "train.bin, test.bin (CIFAR-100) or class folders"},
    {"--holdout", CLI_INT, &o.holdout, "N", "of DIR/CLASS/..: of each class, to test on"},
    {"--skip-bad", CLI_SIZE, &o.skip_bad, "N", "leave out at most N bad pictures, listed (0)"},
    {"--model", CLI_TEXT, &o.model, "FILE", "dense network (default data/dense.safetensors)"},
    {"--image", CLI_INT_1, &o.image, "N", "input size in pixels (the network's; 64)"},
    {"--out", CLI_TEXT, &o.out, "DIR", "where numbers and checkpoints go (build/run)"},
    {"--report", CLI_TEXT, &o.report, "FILE", "the page of plots (build/report.html)"},
    {"--fresh", CLI_FLAG, &o.common.fresh, NULL, "start again instead of going on"},
    {"What is removed", CLI_TITLE, NULL, NULL, NULL},
    {"--budget", CLI_INT_1, &o.budget, "N", "layers to remove in all (6)"},
    {"--least", CLI_INT, &o.least, "N", "at least this many of each kind (2)"},
    {"--start", CLI_TEXT, &o.start, "NAME", "their place: " INPUT_STARTS " (skip-fit)"},
    {"--choose", CLI_TEXT, &o.choose, "WAY", "which layers: " INPUT_CHOICES " (greedy; learned\n"
     "                       with --start paper or skip)"},
    {"For longer or shorter runs", CLI_TITLE, NULL, NULL, NULL},
    {"--dense-epochs", CLI_INT, &o.dense_epochs, "N",
     "dense fine-tuning first (0; 3 if the classifier is new)"},
    {"--dense-images", CLI_SIZE, &o.dense_images, "N", "images in each of them (0: all)"},
    {"--probe-steps", CLI_SIZE_1, &o.probe_steps, "N", "gradient disparity (60)"},
    {"--recovery-images", CLI_SIZE, &o.recovery_images, "N",
     "training after each single removal (1920; 0: all)"},
    {"--map-images", CLI_SIZE, &o.map_images, "N", "before each MAP point (3200; 2560; 0: all)"},
    {"--map-most", CLI_INT_1, &o.most, "N", "layers of one kind removed for MAP (4: 16 points)"},
    {"--search-images", CLI_SIZE, &o.search_images, "N",
     "before each removal searched (1920; 2560; 0: all)"},
    {"--tune-epochs", CLI_INT_1, &o.tune_epochs, "N", "epochs of the last fine-tuning (8; 2)"},
    {"--tune-images", CLI_SIZE, &o.tune_images, "N", "images in each (6400; 30000; 0: all)"},
    {"--batch", CLI_INT_1, &o.batch, "N", "batch size (64; 128)"},
    {"--short-batch", CLI_INT_1, &o.short_batch, "N", "batch size of every short training (64)"},
    {"--dense-lr", CLI_SAID, &o.dense_lr, "X", "learning rate of dense fine-tuning (5e-4)"},
    {"--short-lr", CLI_SAID, &o.short_lr, "X", "of every short training (3e-4)"},
    {"--tune-lr", CLI_SAID, &o.tune_lr, "X", "of the last fine-tuning (5e-4; 3e-4)"},
    {"--held", CLI_SIZE, &o.held, "N", "held-out images used for choices (2000; 0: all)"},
    {"--test", CLI_SIZE, &o.test, "N", "test images (4000; all; 0: all)"},
    {"--repeats", CLI_INT_1, &o.repeats, "N", "timing rounds, at most 101 (25)"},
    CLI_COMMON(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  o.dense_epochs = o.holdout = o.least = -1;
  o.recovery_images = o.map_images = o.search_images = o.tune_images = SIZE_MAX;
  o.held = o.test = SIZE_MAX;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status != CLI_GO_ON) return status;
  if (o.least < 0) o.least = o.budget && o.budget < 4 ? o.budget / 2 : 2;
  if (2 * o.least > (o.budget ? o.budget : 6))
    return cli_usage_error(&c, "--budget must be at least twice --least");
  if (o.holdout >= 0 && !o.data)
    return cli_usage_error(&c, "--holdout wants 1 or more, and --data DIR");
  if (input_start(o.start) < 0)
    return cli_usage_error(&c, "--start wants " INPUT_STARTS ", got '%s'", o.start);
  if (input_choose(o.choose, o.start) < 0)
    return cli_usage_error(&c, "--choose wants " INPUT_CHOICES ", got '%s'", o.choose);
  if (o.tune_epochs > 1000 || o.dense_epochs > 1000)
    return cli_usage_error(&c, "--tune-epochs and --dense-epochs want at most 1000");
  status = command_open(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) status = run_command(&ctx, &o);
  bdpt_finish(&ctx);
  return status;
}
