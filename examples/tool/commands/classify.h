/* =================================================================================================
 * classify.h: what is in a picture
 * =================================================================================================
 * Pictures are read one after another, made to fit the network's input, and go through it in groups
 * of CLASSIFY_BATCH. From there on they are a data set like any other: the library normalises them,
 * so a picture is treated exactly as in evaluation.
 */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include "../cli.h"
#include "../pictures/images.h"

enum { CLASSIFY_BATCH = 32, CLASSIFY_TOP = 5 };

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

typedef struct classify {
  bdpt_model *m;
  bdpt_tape *tape;
  image_plan plan;        /* how a picture becomes input */
  int json, logits;
  const char *const *label; /* [classes], or NULL: numbers */
  const char **owned;     /* the table and the text of a label file */
  unsigned char *text;
  size_t text_size;
  unsigned char *planes;  /* [CLASSIFY_BATCH][3][S][S] */
  bdpt_real *images, *out; /* the same, normalised; [CLASSIFY_BATCH][K] */
} classify;

CLI_PRINTF(3, 4)
CLI_FN bdpt_status classify_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  if (ctx->status != BDPT_OK) return ctx->status;
  va_start(args, format);
  vsnprintf(ctx->message, sizeof ctx->message, format, args);
  va_end(args);
  return ctx->status = status;
}

/* One name a line; blank lines at the end do not count. The text is cut into its lines in place. */
CLI_FN bdpt_status classify_read_labels(classify *c, const char *path) {
  bdpt_context *ctx = c->m->ctx;
  size_t classes = (size_t)c->m->config.classes, lines = 0, i = 0, start = 0, n;
  bdpt_status s = bdpt_file_read(ctx, path, &c->text, &c->text_size);
  if (s != BDPT_OK) return s;
  c->owned = (const char **)calloc(classes, sizeof *c->owned);
  if (!c->owned) return classify_fail(ctx, BDPT_E_MEMORY, "out of memory");
  n = c->text_size;
  while (n > 0 && image_is_blank(c->text[n - 1])) n--;
  if (n >= 3 && memcmp(c->text, "\xEF\xBB\xBF", 3) == 0) start = i = 3; /* a byte order mark */
  for (; i <= n && n > 0; i++) {
    if (i < n && c->text[i] != '\n') continue;
    if (lines < classes) c->owned[lines] = (const char *)c->text + start;
    c->text[i > start && c->text[i - 1] == '\r' ? i - 1 : i] = 0; /* the block ends with a zero */
    lines++;
    start = i + 1;
  }
  c->label = c->owned;
  if (lines == classes) return BDPT_OK;
  return classify_fail(ctx, BDPT_E_ARGUMENT, "%s has %lu lines, but the network has %lu classes",
                       path, (unsigned long)lines, (unsigned long)classes);
}

/* `labels`: a file, "cifar-100", or NULL: CIFAR-100's if the network says it was trained on it. */
CLI_FN bdpt_status classify_choose_labels(classify *c, const char *labels) {
  int known = labels ? strcmp(labels, "cifar-100") == 0
                     : strncmp(c->m->preprocessing, "cifar-100:", 10) == 0;
  if (labels && !known) return classify_read_labels(c, labels);
  if (labels && c->m->config.classes != 100)
    return classify_fail(c->m->ctx, BDPT_E_ARGUMENT, "--labels cifar-100 names 100 classes, the "
                         "network has %d", c->m->config.classes);
  if (known && c->m->config.classes == 100) c->label = classify_cifar100;
  return BDPT_OK;
}

/* What evaluation does with this network's images: as it says itself, else by the input's size;
 * or as `how` says. */
CLI_FN image_plan classify_how(const bdpt_model *m, int how) {
  const int folder = strncmp(m->preprocessing, "folder:", 7) == 0, side = m->config.image;
  image_plan p;
  if (image_plan_read(m->preprocessing, side, &p)) {
    int filter = p.filter;
    if (how) p = image_plan_of(side, how);
    p.filter = filter;
    return p;
  }
  if (how) return image_plan_of(side, how);
  if (m->preprocessing[0]) return image_plan_of(side, folder ? IMAGE_CROP : IMAGE_WHOLE);
  return image_plan_of(side, side < 128 ? IMAGE_WHOLE : IMAGE_CROP);
}

/* how 0: what the network's evaluation does. */
CLI_FN bdpt_status classify_open(classify *c, bdpt_model *m, const char *labels, int how) {
  size_t side = (size_t)m->config.image, pixels = CLASSIFY_BATCH * 3 * side * side;
  memset(c, 0, sizeof *c);
  c->m = m;
  c->plan = classify_how(m, how);
  c->tape = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  if (!c->tape) return m->ctx->status;
  c->planes = (unsigned char *)malloc(pixels);
  c->images = (bdpt_real *)malloc(pixels * sizeof *c->images);
  c->out = (bdpt_real *)malloc(CLASSIFY_BATCH * (size_t)m->config.classes * sizeof *c->out);
  if (!c->planes || !c->images || !c->out)
    return classify_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  return classify_choose_labels(c, labels);
}

CLI_FN void classify_close(classify *c) {
  bdpt_tape_free(c->tape);
  if (c->text) bdpt_release(c->m->ctx, c->text, c->text_size + 1);
  free(c->owned);
  free(c->planes);
  free(c->images);
  free(c->out);
}

CLI_FN bdpt_status classify_load(classify *c, const char *path, size_t at) {
  size_t side = (size_t)c->m->config.image;
  char why[IMAGE_WHY] = "";
  picture one;
  int ok = image_read(path, &one, why);
  if (ok) ok = image_apply(&one, &c->plan, c->planes + at * 3 * side * side, why);
  image_free(&one);
  if (ok) return BDPT_OK;
  return classify_fail(c->m->ctx, BDPT_E_FORMAT, "%s: %s",
                       strcmp(path, "-") == 0 ? "standard input" : path, why);
}

/* planes -> logits of the first n pictures. */
CLI_FN bdpt_status classify_run(classify *c, size_t n) {
  bdpt_context *ctx = c->m->ctx;
  unsigned short label[CLASSIFY_BATCH] = {0};
  bdpt_dataset data;
  bdpt_subset all;
  bdpt_status s;
  memset(&data, 0, sizeof data);
  memset(&all, 0, sizeof all);
  data.count = n;
  data.classes = data.coarse_classes = 1;
  data.height = data.width = c->m->config.image;
  data.pixels = c->planes;
  data.label = label;
  s = bdpt_subset_all(ctx, &data, &all);
  if (s == BDPT_OK) s = bdpt_load_batch(ctx, &c->m->config, &all, 0, n, c->images, NULL);
  if (s == BDPT_OK) s = bdpt_predict(c->m, c->tape, n, c->images, c->out);
  bdpt_subset_free(ctx, &all);
  return s;
}

/* The largest logits, largest first, and what the softmax makes of them; how many. 0: one of the
 * logits is not finite. */
CLI_FN int classify_top(const bdpt_real *z, int classes, int top[CLASSIFY_TOP],
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

CLI_FN void classify_print_json(const classify *c, const char *path, const bdpt_real *z,
                                const int *top, const double *share, int n) {
  cli_json j = {NULL, 0, 0, 0, 0};
  int i;
  cli_json_open(&j, "classify");
  cli_json_text(&j, "file", path);
  cli_json_ints(&j, "classes", top, n);
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
  if (c->logits) {
    cli_json_key(&j, "logits");
    for (i = 0; i < c->m->config.classes; i++) {
      cli_json_raw(&j, i ? "," : "[", 1);
      cli_json_value(&j, (double)z[i]);
    }
    cli_json_raw(&j, "]", 1);
  }
  cli_json_close(&j);
  cli_json_print(&j, stdout);
}

CLI_FN bdpt_status classify_print(const classify *c, const char *path, const bdpt_real *z) {
  int top[CLASSIFY_TOP] = {0}, i, n;
  double share[CLASSIFY_TOP];
  n = classify_top(z, c->m->config.classes, top, share);
  if (n == 0)
    return classify_fail(c->m->ctx, BDPT_E_NUMERIC, "%s: the network's answer is not finite", path);
  if (c->json) {
    classify_print_json(c, path, z, top, share, n);
    return BDPT_OK;
  }
  printf("%s\n", path);
  for (i = 0; i < n; i++)
    if (c->label) printf("  %5.1f %%  %s (%d)\n", 100 * share[i], c->label[top[i]], top[i]);
    else printf("  %5.1f %%  class %d\n", 100 * share[i], top[i]);
  return BDPT_OK;
}

CLI_FN bdpt_status classify_all(classify *c, const char *const *path, size_t count) {
  size_t at, n = CLASSIFY_BATCH, i;
  bdpt_status s = BDPT_OK;
  for (at = 0; at < count && s == BDPT_OK; at += n) {
    if (n > count - at) n = count - at;
    for (i = 0; i < n && s == BDPT_OK; i++) s = classify_load(c, path[at + i], i);
    if (s == BDPT_OK) s = classify_run(c, n);
    for (i = 0; i < n && s == BDPT_OK; i++)
      s = classify_print(c, path[at + i], c->out + i * (size_t)c->m->config.classes);
    if (cli_stop && s == BDPT_OK) s = BDPT_CANCELLED;
  }
  return s;
}

#endif /* CLASSIFY_H */
