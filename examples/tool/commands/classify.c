/* =================================================================================================
 * classify.c: what is in a picture
 * =================================================================================================
 * Pictures are read one after another, made to fit the network's input, and go through it in groups
 * of CLASSIFY_BATCH. From there on they are a data set like any other: the library normalises them,
 * so a picture is treated exactly as in evaluation.
 */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../files/labels.h"
#include "../input.h"
#include "../pictures/images.h"
#include "classify.h"
#include "commands.h"
#include "common.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fine labels of CIFAR-100, in the order of their numbers (Krizhevsky 2009). */
static const char *const classify_cifar100[100] = {
  "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
  "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
  "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
  "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
  "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard", "lobster", "man",
  "maple", "motorcycle", "mountain", "mouse", "mushroom", "oak", "orange", "orchid", "otter",
  "palm", "pear", "pickup truck", "pine", "plain", "plate", "poppy", "porcupine", "possum",
  "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
  "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet pepper",
  "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
  "turtle", "wardrobe", "whale", "willow", "wolf", "woman", "worm"
};

/* Reads one name a line; blank lines at the end do not count. The text is cut into its lines in
 * place. */
static bdpt_status classify_read_labels(classify *c, const char *path) {
  bdpt_context *ctx = c->m->ctx;
  size_t classes = (size_t)c->m->config.classes, lines = 0, i = 0, start = 0, n;
  bdpt_status s = bdpt_file_read(ctx, path, &c->text);
  if (s != BDPT_OK) return s;
  c->owned = (const char **)calloc(classes, sizeof *c->owned);
  if (!c->owned) return cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  n = c->text.size;
  while (n > 0 && image_is_blank(c->text.data[n - 1])) n--;
  if (n >= 3 && memcmp(c->text.data, "\xEF\xBB\xBF", 3) == 0) start = i = 3; /* a byte order mark */
  for (; i <= n && n > 0; i++) {
    if (i < n && c->text.data[i] != '\n') continue;
    if (lines < classes) c->owned[lines] = (const char *)c->text.data + start;
    /* The block ends with a zero. */
    c->text.data[i > start && c->text.data[i - 1] == '\r' ? i - 1 : i] = 0;
    lines++;
    start = i + 1;
  }
  c->label = c->owned;
  if (lines == classes) return BDPT_OK;
  return cli_fail(ctx, BDPT_E_ARGUMENT, "%s has %lu %s, but the network has %lu %s", path,
                  (unsigned long)lines, words_of((double)lines, "line", "lines"),
                  (unsigned long)classes, words_of((double)classes, "class", "classes"));
}

/* Takes the names of the classes from `labels`, a file or "cifar-100"; NULL: from the network's
 * file, or CIFAR-100's if the file says that the network was trained on it. */
static bdpt_status classify_choose_labels(classify *c, const char *labels) {
  int known = labels ? strcmp(labels, "cifar-100") == 0
                     : strncmp(c->m->preprocessing, "cifar-100:", 10) == 0;
  if (labels && !known) return classify_read_labels(c, labels);
  if (!labels && c->m->labels) {
    c->label = c->owned = labels_read(c->m->labels, (size_t)c->m->config.classes);
    if (!c->label) fprintf(stderr, "   the file's label_names are no list of %d %s\n",
                           c->m->config.classes, words_of(c->m->config.classes, "name", "names"));
    return BDPT_OK;
  }
  if (labels && c->m->config.classes != 100)
    return cli_fail(c->m->ctx, BDPT_E_ARGUMENT, "--labels cifar-100 names 100 classes, the "
                    "network has %d", c->m->config.classes);
  if (known && c->m->config.classes == 100) c->label = classify_cifar100;
  return BDPT_OK;
}

bdpt_status classify_open(classify *c, bdpt_model *m, const char *labels, int how) {
  size_t pixels = CLASSIFY_BATCH * bdpt_image_numbers(&m->config);
  memset(c, 0, sizeof *c);
  c->m = m;
  c->plan = image_plan_for(m, how);
  c->tape = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  if (!c->tape) return m->ctx->status;
  c->planes = (unsigned char *)malloc(pixels);
  c->images = (bdpt_real *)malloc(pixels * sizeof *c->images);
  c->out = (bdpt_real *)malloc(CLASSIFY_BATCH * (size_t)m->config.classes * sizeof *c->out);
  if (!c->planes || !c->images || !c->out)
    return cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  return classify_choose_labels(c, labels);
}

void classify_close(classify *c) {
  bdpt_tape_free(c->tape);
  bdpt_bytes_free(c->m->ctx, &c->text);
  free(c->owned);
  free(c->planes);
  free(c->images);
  free(c->out);
}

static bdpt_status classify_load(classify *c, const char *path, size_t at) {
  size_t each = bdpt_image_numbers(&c->m->config);
  char why[IMAGE_WHY] = "";
  picture one;
  int ok = image_read(path, &one, why);
  if (ok && !c->no_exif) ok = image_turn(&one, why);
  if (ok) ok = image_apply(&one, &c->plan, c->planes + at * each, why);
  image_free(&one);
  if (ok) return BDPT_OK;
  return cli_fail(c->m->ctx, BDPT_E_FORMAT, "%s: %s",
                  strcmp(path, "-") == 0 ? "standard input" : path, why);
}

/* Computes the logits of the first n pictures from their planes. */
static bdpt_status classify_run(classify *c, size_t n) {
  bdpt_context *ctx = c->m->ctx;
  unsigned short label[CLASSIFY_BATCH] = {0};
  bdpt_dataset data;
  bdpt_subset all;
  bdpt_status s;
  memset(&data, 0, sizeof data);
  memset(&all, 0, sizeof all);
  data.count = n;
  data.classes = 1;
  data.height = c->m->config.image;
  data.width = bdpt_image_width(&c->m->config);
  data.pixels = c->planes;
  data.label = label;
  s = bdpt_subset_all(ctx, &data, &all);
  if (s == BDPT_OK) s = bdpt_load_batch(ctx, &c->m->config, &all, 0, n, c->images, NULL);
  if (s == BDPT_OK) s = bdpt_predict(c->m, c->tape, n, c->images, c->out);
  bdpt_subset_free(ctx, &all);
  return s;
}

int classify_top(const bdpt_real *z, int classes, int top[CLASSIFY_TOP],
                 double share[CLASSIFY_TOP]) {
  double sum = 0;
  int n = classes < CLASSIFY_TOP ? classes : CLASSIFY_TOP, found = 0, k, i;
  for (k = 0; k < classes; k++) {
    if (!((double)z[k] - (double)z[k] == 0)) return 0;
    for (i = found < n ? found++ : n; i > 0 && z[k] > z[top[i - 1]]; i--)
      if (i < n) top[i] = top[i - 1];
    if (i < n) top[i] = k;
  }
  for (k = 0; k < classes; k++) sum += exp((double)z[k] - (double)z[top[0]]);
  for (i = 0; i < n; i++) share[i] = exp((double)z[top[i]] - (double)z[top[0]]) / sum;
  return n;
}

static bdpt_status classify_print_json(const classify *c, const char *path, const bdpt_real *z,
                                       const int *top, const double *share, int n) {
  cli_json j = {NULL, 0, 0, 0, 0};
  int i;
  cli_json_open(&j, "classify");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "file", path);
  cli_json_ints(&j, "top", top, n);
  cli_json_key(&j, "names");
  cli_json_raw(&j, "[", 1);
  for (i = 0; i < n; i++) {
    char number[24];
    snprintf(number, sizeof number, "%d", top[i]);
    if (i) cli_json_raw(&j, ",", 1);
    cli_json_quoted(&j, c->label ? c->label[top[i]] : number);
  }
  cli_json_raw(&j, "]", 1);
  cli_json_reals(&j, "probabilities", share, n);
  if (c->from) input_guessed(&j, c->from);
  if (c->logits) {
    cli_json_key(&j, "logits");
    for (i = 0; i < c->m->config.classes; i++) {
      cli_json_raw(&j, i ? "," : "[", 1);
      cli_json_value(&j, (double)z[i]);
    }
    cli_json_raw(&j, "]", 1);
  }
  cli_json_close(&j);
  return cli_json_print(&j, c->m->ctx);
}

static bdpt_status classify_print(const classify *c, const char *path, const bdpt_real *z) {
  int top[CLASSIFY_TOP] = {0}, i, n;
  double share[CLASSIFY_TOP];
  n = classify_top(z, c->m->config.classes, top, share);
  if (n == 0)
    return cli_fail(c->m->ctx, BDPT_E_NUMERIC, "%s: the network's answer is not finite", path);
  if (c->json) return classify_print_json(c, path, z, top, share, n);
  printf("%s\n", path);
  for (i = 0; i < n; i++)
    if (c->label) printf("  %5.1f %%  %s (%d)\n", 100 * share[i], c->label[top[i]], top[i]);
    else printf("  %5.1f %%  class %d\n", 100 * share[i], top[i]);
  return BDPT_OK;
}

/* Tells that a picture cannot be classified, and leaves it out; what is wrong with the network or
 * the machine ends everything. */
static bdpt_status classify_leave_out(classify *c, bdpt_status s) {
  bdpt_context *ctx = c->m->ctx;
  if (s != BDPT_E_FORMAT && s != BDPT_E_NUMERIC) return s;
  cli_finish("classify", ctx, s, NULL);
  bdpt_clear_error(ctx);
  c->left_out++;
  return BDPT_OK;
}

static bdpt_status classify_all(classify *c, const char *const *path, size_t count) {
  const char *name[CLASSIFY_BATCH];
  size_t at = 0, n, i;
  bdpt_status s = BDPT_OK;
  while (at < count && s == BDPT_OK) {
    for (n = 0; n < CLASSIFY_BATCH && at < count && s == BDPT_OK; at++) {
      name[n] = path[at];
      s = classify_load(c, path[at], n);
      if (s == BDPT_OK) n++;
      else s = classify_leave_out(c, s);
    }
    if (s == BDPT_OK && n > 0) s = classify_run(c, n);
    for (i = 0; i < n && s == BDPT_OK; i++)
      s = classify_leave_out(c, classify_print(c, name[i],
                                               c->out + i * (size_t)c->m->config.classes));
    if (cli_stop && s == BDPT_OK) s = BDPT_CANCELLED;
  }
  return s;
}

/* -------------------------------------------------------------------------------------------------
 * classify
 * ---------------------------------------------------------------------------------------------- */

typedef struct classify_options {
  cli_common common;
  const char *labels, *fit;
  int logits, how, merge, no_exif;
} classify_options;

static int classify_pictures(const cli_command *c, bdpt_context *ctx, const classify_options *o,
                             const char *const *plain, int count) {
  classify work;
  checkpoint_report report;
  bdpt_merging merging;
  bdpt_model *m = input_model_report(ctx, plain[0], NULL, &report);
  bdpt_status s = m ? classify_open(&work, m, o->labels, o->how) : ctx->status;
  size_t left_out = 0;
  work.json = o->common.json;
  work.logits = o->logits;
  work.no_exif = o->no_exif;
  work.from = &report;
  memset(&merging, 0, sizeof merging);
  if (s == BDPT_OK) s = bdpt_merge(m, o->merge, &merging);
  if (s == BDPT_OK) s = classify_all(&work, plain + 1, (size_t)count - 1);
  if (m) left_out = work.left_out;
  if (m) classify_close(&work);
  bdpt_model_free(m);
  bdpt_merging_free(&merging);
  return s == BDPT_OK && left_out ? CLI_FAILED : cli_finish(c->name, ctx, s, NULL);
}

int command_classify(int argc, char **argv) {
  static const cli_command c = {"classify", "classify MODEL IMAGE... [options]",
    "Says what is in pictures: the five most likely classes of each. PPM (P6, P5, P3) can always\n"
    "be read, PNG and JPEG if stb_image.h (Debian: libstb-dev) was there when the tool was built;\n"
    "- is standard input. A picture that cannot be read is told, the others are answered for, and\n"
    "the exit status is 1.\n\n"
    "A picture is treated as in the network's evaluation. Trained on CIFAR-100 or the generated\n"
    "images: the whole picture is resized to the input (--fit whole). Trained on a folder of\n"
    "pictures: the short side is resized to the input size / 0.875 (256 for 224), then the middle\n"
    "is cut out (--fit crop). If the network's file does not say: crop from 128 px on, whole\n"
    "below. All bicubic, as Pillow does it. Where the settings beside a network from elsewhere\n"
    "tell size, crop and filter, those decide.",
    "classify m.safetensors cat.jpg dog.png\n"
    "classify m.safetensors - --labels names.txt --json < cat.jpg",
    NULL, 2, 1 << 20};
  classify_options o;
  bdpt_context ctx;
  const char **plain;
  int n, status;
  const cli_option options[] = {
    {"Options", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--labels", CLI_TEXT, &o.labels, "FILE", NULL,
     "class names, one a line; cifar-100 is built in"},
    {"--no-exif", CLI_FLAG, &o.no_exif, NULL, NULL, "take pictures as they lie in their files"},
    {"--fit", CLI_TEXT, &o.fit, "NAME", NULL, "crop or whole, instead of the rule above"},
    {"--logits", CLI_FLAG, &o.logits, NULL, NULL, "with --json: all logits too"},
    COMMAND_MERGE(&o.merge),
    CLI_ELSEWHERE,
    CLI_EVERYWHERE,
    CLI_MACHINE(&o.common),
    CLI_JSON(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  plain = (const char **)calloc((size_t)argc + 1, sizeof *plain);
  if (!plain) return cli_usage_error(&c, "out of memory");
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, plain, &n);
  if (status == CLI_GO_ON && o.fit) {
    if (strcmp(o.fit, "crop") == 0) o.how = IMAGE_CROP;
    else if (strcmp(o.fit, "whole") == 0) o.how = IMAGE_WHOLE;
    else status = cli_usage_error(&c, "--fit wants crop or whole, got '%s'", o.fit);
  }
  if (status == CLI_GO_ON) status = command_check_merge(&c, o.merge);
  if (status == CLI_GO_ON && o.logits && !o.common.json)
    status = cli_usage_error(&c, "--logits are printed with --json only");
  if (status == CLI_GO_ON) status = command_open(&c, &o.common, &ctx);
  if (status == CLI_GO_ON) {
    status = classify_pictures(&c, &ctx, &o, plain, n);
    bdpt_finish(&ctx);
  }
  free(plain);
  return status;
}
