/* =================================================================================================
 * input.c: where the images and the networks come from
 * =================================================================================================
 * A folder with train.bin and test.bin in the CIFAR-100 binary format; or a folder of class folders
 * with pictures (folder.c), in ImageNet's layout DIR/train/CLASS/... and DIR/val/CLASS/..., or
 * DIR/CLASS/... of which some pictures are set aside. Without a folder, two files as those of
 * CIFAR-100 are drawn by generate.c into build/generated/ the first time they are wanted (a few
 * seconds) and used from there.
 *
 * The training part is split once and for all, by a seed that no option changes: 50 images of each
 * class are *held out* (a tenth, where a class has fewer than 500). They make every choice (when to
 * stop, which layers go, how many), and no network of this tool ever trains on them. The test part
 * makes no choice and is read at the end.
 */
#include "../../boundarydpt.h"
#include "../plus/boundarydpt_plus.h"
#include "cli/json.h"
#include "cli/messages.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/system.h"
#include "files/checkpoint.h"
#include "input.h"
#include "pictures/folder.h"
#include "pictures/generate.h"
#include "words.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_GENERATED "build/generated"
enum { INPUT_GENERATED_TRAIN = 50000, INPUT_GENERATED_TEST = 10000 };

static int input_is_pictures(const input *in) { return strcmp(in->name, "folder") == 0; }

void input_files(const input_source *s, char room[2][700], cli_files *f) {
  static const char *const name[2] = {"train.bin", "test.bin"};
  char inner[700];
  int i, k;
  if (!s->data) return;
  snprintf(inner, sizeof inner, "%s/cifar-100-binary", s->data);
  for (i = 0; i < 2; i++) {
    snprintf(room[i], 700, "%.650s/%s", cli_is_folder(inner) == 1 ? inner : s->data, name[i]);
    for (k = 0; k < CLI_FILES && f->in[k]; k++) { }
    if (k < CLI_FILES) f->in[k] = room[i];
  }
}

void input_close(input *in) {
  bdpt_dataset *part[2];
  int i;
  if (!in->ctx) return;
  part[0] = &in->train; part[1] = &in->test;
  bdpt_subset_free(in->ctx, &in->rest);
  bdpt_subset_free(in->ctx, &in->held);
  bdpt_subset_free(in->ctx, &in->tested);
  for (i = 0; i < 2; i++) {
    if (!part[i]->fetch) bdpt_dataset_free(in->ctx, part[i]);
    if (in->ctx->status == BDPT_E_IO)
      folder_explain(&in->shots[i], in->ctx->message, sizeof in->ctx->message);
    folder_free(&in->shots[i]);
  }
  memset(in, 0, sizeof *in);
}

/* Returns 1 if the file has the right size and begins with the pictures that this program draws: a
 * file left by another version of generate.h must not be mistaken for ours. */
static int input_drawn(const char *path, uint64_t first, long count) {
  enum { PROBE = 100 };
  size_t size = (size_t)PROBE * GEN_RECORD;
  unsigned char *mine = (unsigned char *)malloc(2 * size);
  FILE *f = cli_file_size(path) == (double)count * (double)GEN_RECORD ? fopen(path, "rb") : NULL;
  int same = 0;
  if (mine && f && fread(mine + size, 1, size, f) == size) {
    gen_images(INPUT_DATA_SEED, first, PROBE, mine);
    same = memcmp(mine, mine + size, size) == 0;
  }
  if (f) fclose(f);
  free(mine);
  return same;
}

/* Draws one file unless it is there. The test part starts where no training part ever reaches. */
static int input_draw(const char *path, int test) {
  long count = test ? INPUT_GENERATED_TEST : INPUT_GENERATED_TRAIN;
  uint64_t first = test ? 100000000u : 0u;
  if (input_drawn(path, first, count)) return 1;
  fprintf(stderr, "   drawing %ld images into %s\n", count, path);
  return cli_make_folder(INPUT_GENERATED) &&
         gen_write(path, INPUT_DATA_SEED, first, count) == 0;
}

bdpt_status input_fail(input *in, const char *format, const char *what) {
  if (in->ctx->status != BDPT_OK) return in->ctx->status;
  cli_cut(in->ctx->message, sizeof in->ctx->message,
          snprintf(in->ctx->message, sizeof in->ctx->message, format, what));
  return in->ctx->status = BDPT_E_IO;
}

/* Draws the same images without a file. */
static bdpt_status input_draw_here(input *in, const char *name, int test, bdpt_dataset *out) {
  long count = test ? INPUT_GENERATED_TEST : INPUT_GENERATED_TRAIN;
  size_t size = (size_t)count * GEN_RECORD;
  unsigned char *bytes = (unsigned char *)malloc(size);
  bdpt_status s;
  if (!bytes) return input_fail(in, "%.250s: out of memory", name);
  gen_images(INPUT_DATA_SEED, test ? 100000000u : 0u, count, bytes);
  s = bdpt_cifar100_parse(in->ctx, bytes, size, name, out);
  free(bytes);
  return s;
}

static bdpt_status input_read(input *in, const char *file, int test, bdpt_dataset *out) {
  char path[700];
  int ours = strcmp(in->folder, INPUT_GENERATED) == 0;
  snprintf(path, sizeof path, "%s/%s", in->folder, file);
  if (ours && in->dry && cli_file_exists(path) == 0) return input_draw_here(in, path, test, out);
  if (ours && !in->dry && !input_draw(path, test))
    return input_fail(in, "cannot write the generated images to %.250s", path);
  return bdpt_cifar100_load(in->ctx, path, out);
}

int input_has_pictures(const char *data) {
  static const char *const file[] = {"train.bin", "test.bin", "cifar-100-binary"};
  char path[700];
  size_t i;
  if (!data || cli_is_folder(data) != 1) return 0;
  for (i = 0; i < sizeof file / sizeof file[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", data, file[i]);
    if (cli_file_exists(path) != 0) return 0;
  }
  return 1;
}

/* Lists a folder of class folders, without the pictures that may be left out. */
static bdpt_status input_list_folder(input *in, struct folder *f, const char *path, size_t skip,
                                     int flat) {
  if (!folder_list(f, path, flat)) return input_fail(in, "%.399s", f->why);
  if (skip == 0 || folder_skip_bad(f, skip)) return BDPT_OK;
  return input_fail(in, "%.399s", f->why);
}

/* Compares the class folders with those of the part that is not read: the names say which class is
 * which number. */
static bdpt_status input_compare(input *in, struct folder *f, const char *path) {
  struct folder names;
  int same = 1, there = cli_is_folder(path);
  if (there < 0) return input_fail(in, "%.250s cannot be looked at", path);
  memset(&names, 0, sizeof names);
  snprintf(names.root, sizeof names.root, "%s", path);
  if (there && !folder_scan(&names, path, 0, &names.classes))
    input_fail(in, "%.399s", names.why);
  else if (there) same = folder_same_classes(f, &names);
  folder_free(&names);
  return same ? in->ctx->status : input_fail(in, "%.399s", f->why);
}

/* Lists DIR/train and DIR/val, each with the same class folders. */
static bdpt_status input_list_parts(input *in, int parts, size_t skip) {
  char path[2][700];
  bdpt_status s = BDPT_OK;
  int i;
  for (i = 0; i < 2; i++) {
    snprintf(path[i], sizeof path[i], "%s/%s", in->folder, i ? "val" : "train");
    if (s == BDPT_OK && parts & (i ? INPUT_TEST : INPUT_TRAIN))
      s = input_list_folder(in, &in->shots[i], path[i], skip, 0);
  }
  i = parts & INPUT_TRAIN ? 0 : 1;
  return s == BDPT_OK ? input_compare(in, &in->shots[i], path[1 - i]) : s;
}

/* Divides DIR/CLASS/...: `holdout` pictures of each class are the test part, the others the
 * training part; 0 leaves everything in the part that is asked for. */
static bdpt_status input_list_divided(input *in, int parts, const input_source *from) {
  const int holdout = from->any && from->holdout < 0 ? 0 : from->holdout;
  struct folder all;
  bdpt_dataset data;
  bdpt_subset part[2];
  bdpt_status s = BDPT_OK;
  int i;
  if (holdout < 0 || (holdout == 0 && parts == (INPUT_TRAIN | INPUT_TEST)))
    return input_fail(in, "%.250s has no train and val in it: --holdout N sets N pictures of each "
                      "class aside as the test part (eval and train also take 0: no division)",
                      in->folder);
  s = input_list_folder(in, &all, in->folder, from->skip_bad, from->any);
  if (s != BDPT_OK) {
    folder_free(&all);
    return s;
  }
  folder_dataset(&all, &all.plan, &data);
  memset(part, 0, sizeof part);
  if (holdout) s = bdpt_split(in->ctx, &data, holdout, INPUT_SPLIT_SEED, &part[0], &part[1]);
  else for (i = 0; i < 2 && s == BDPT_OK; i++) s = bdpt_subset_all(in->ctx, &data, &part[i]);
  for (i = 0; i < 2 && s == BDPT_OK; i++)
    if (parts & (i ? INPUT_TEST : INPUT_TRAIN) &&
        !folder_take(&all, part[i].index, part[i].count, &in->shots[i]))
      s = input_fail(in, "%.250s: out of memory", in->folder);
  for (i = 0; i < 2; i++) bdpt_subset_free(in->ctx, &part[i]);
  folder_free(&all);
  return s;
}

static void input_plan(input *in, const image_plan *plan) {
  folder_dataset(&in->shots[0], plan, &in->train);
  folder_dataset(&in->shots[1], plan, &in->test);
}

void input_fit(input *in, const bdpt_model *m) {
  const image_plan plan = image_plan_for(m, 0);
  if (input_is_pictures(in)) input_plan(in, &plan);
}

void input_adopt(input *in, bdpt_model *m) {
  image_plan plan;
  int told = image_plan_read(m, &plan);
  if (!told)
    plan = image_plan_of(m->config.image, bdpt_image_width(&m->config), IMAGE_CROP);
  if (input_is_pictures(in)) input_plan(in, &plan);
  if (told && input_is_pictures(in)) return;
  snprintf(m->preprocessing, sizeof m->preprocessing, "%s: %s", in->name,
           input_is_pictures(in) ? "short side resized to image / 0.875, bicubic; centre crop"
                                 : "the whole image resized, bicubic");
}

bdpt_status input_label(const input *in, bdpt_model *m) {
  const folder_names *classes = &in->shots[0].classes;
  cli_json j = {NULL, 0, 0, 0, 0};
  bdpt_status s;
  size_t i;
  if (m->labels || classes->count == 0 || classes->count != (size_t)m->config.classes)
    return BDPT_OK;
  for (i = 0; i < classes->count; i++) {
    cli_json_raw(&j, i ? "," : "[", 1);
    cli_json_quoted(&j, folder_name(classes, i));
  }
  cli_json_raw(&j, "]", 1);
  s = j.failed ? cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory") : bdpt_model_label(m, j.text);
  free(j.text);
  return s;
}

/* Tells on stderr what was found in a folder. */
static void input_tell_folder(const folder *f) {
  const double pictures = (double)f->files.count, classes = (double)f->classes.count;
  fprintf(stderr, "   %s: %.0f %s in %.0f %s, %lu %s\n", f->root, pictures,
          words_of(pictures, "picture", "pictures"), classes, words_of(classes, "class", "classes"),
          (unsigned long)f->ignored,
          words_of((double)f->ignored, "file that is no picture", "files that are no pictures"));
}

static bdpt_status input_list(input *in, const input_source *from, int parts) {
  const image_plan plan = image_plan_of(224, 224, IMAGE_CROP); /* until the network is known */
  bdpt_status s;
  char path[700], val[700];
  int i, there[2];
  in->name = "folder";
  snprintf(path, sizeof path, "%s/train", in->folder);
  snprintf(val, sizeof val, "%s/val", in->folder);
  for (i = 0; i < 2; i++) there[i] = cli_is_folder(i ? val : path);
  if (there[0] < 0 || there[1] < 0)
    s = input_fail(in, "%.250s/train or val cannot be looked at", in->folder);
  else if (!there[0] && !there[1])
    s = input_list_divided(in, parts, from);
  else if (from->holdout >= 0)
    s = input_fail(in, "%.250s has a val of its own: --holdout has nothing to divide", in->folder);
  else s = input_list_parts(in, parts, from->skip_bad);
  for (i = 0; i < 2 && s == BDPT_OK && !from->quiet; i++)
    if (in->shots[i].files.count) input_tell_folder(&in->shots[i]);
  input_plan(in, &plan);
  return s;
}

/* Returns how many of each class are held out: 50, or a tenth of the smallest class. 0 after an
 * error. */
static int input_held(input *in) {
  size_t least = in->train.count / (size_t)in->train.classes, k, i = 0, n;
  for (k = 0; k < (size_t)in->train.classes && input_is_pictures(in); k++) {
    for (n = 0; i < in->train.count && in->train.label[i] == k; i++) n++;
    if (n < least) least = n;
    if (n >= 2) continue;
    input_fail(in, "class %s: one picture to train with; one more is needed, to be held out",
               folder_name(&in->shots[0].classes, k));
    return 0;
  }
  if (least < 10) return 1;
  return least / 10 > INPUT_HELD ? INPUT_HELD : (int)(least / 10);
}

bdpt_status input_open(input *in, bdpt_context *ctx, const input_source *from, int parts) {
  const char *data = from->data;
  char inner[700];
  bdpt_status s = BDPT_OK;
  memset(in, 0, sizeof *in);
  in->ctx = ctx;
  in->dry = from->dry;
  in->name = data && !strstr(data, "generated") ? "cifar-100" : "generated";
  snprintf(in->folder, sizeof in->folder, "%s", data ? data : INPUT_GENERATED);
  snprintf(inner, sizeof inner, "%s/cifar-100-binary", in->folder);
  if (cli_is_folder(in->folder) == 1 && cli_file_exists(inner) != 0)
    memcpy(in->folder, inner, sizeof in->folder - 1);
  if (input_has_pictures(data)) s = input_list(in, from, parts);
  else if (from->holdout >= 0)
    s = input_fail(in, "%.250s: --holdout divides a folder of class folders", in->folder);
  if (s == BDPT_OK && (parts & INPUT_TRAIN)) {
    int held = 1;
    if (!input_is_pictures(in)) s = input_read(in, "train.bin", 0, &in->train);
    if (s == BDPT_OK && (held = input_held(in)) == 0) s = ctx->status;
    if (s == BDPT_OK && from->any && in->train.classes == 1) { /* nothing to divide by */
      s = bdpt_subset_all(ctx, &in->train, &in->rest);
      if (s == BDPT_OK) s = bdpt_subset_all(ctx, &in->train, &in->held);
    } else if (s == BDPT_OK)
      s = bdpt_split(ctx, &in->train, held, INPUT_SPLIT_SEED, &in->rest, &in->held);
  }
  if (s == BDPT_OK && (parts & INPUT_TEST)) {
    if (!input_is_pictures(in)) s = input_read(in, "test.bin", 1, &in->test);
    if (s == BDPT_OK) s = bdpt_subset_all(ctx, &in->test, &in->tested);
  }
  return s;
}

bdpt_status input_keep(bdpt_context *ctx, bdpt_subset *subset, size_t count) {
  bdpt_subset fewer;
  bdpt_status s;
  if (count == 0 || count >= subset->count) return BDPT_OK;
  memset(&fewer, 0, sizeof fewer);
  s = bdpt_sample(ctx, subset, count, INPUT_SPLIT_SEED, &fewer);
  if (s != BDPT_OK) return s;
  bdpt_subset_free(ctx, subset);
  *subset = fewer;
  return BDPT_OK;
}

bdpt_model *input_model_report(bdpt_context *ctx, const char *path, const int image[2],
                               checkpoint_report *report) {
  checkpoint_options o;
  const char *line = report->note;
  bdpt_model *m;
  o.key = cli_choice.key;
  o.heads = cli_choice.heads;
  if (strcmp(path, "-") == 0) {
#ifdef _WIN32
    cli_fail(ctx, BDPT_E_IO, "standard input has no name on Windows: name a file");
    return NULL;
#endif
    path = "/dev/stdin";
  }
  m = checkpoint_load(ctx, path, &o, report);
  while (m && *line) {
    int n = (int)strcspn(line, "\n");
    fprintf(stderr, "   %s: %.*s\n", path, n, line);
    line += n + (line[n] == '\n');
  }
  if (m && image && image[0] > 0 &&
      (image[0] != m->config.image || image[1] != m->config.image_width) &&
      bdpt_model_resize(m, image[0], image[1]) != BDPT_OK) {
    bdpt_model_free(m);
    return NULL;
  }
  return m;
}

void input_guessed(cli_json *j, const checkpoint_report *report) {
  const char *at = report->guessed;
  char word[16];
  int n = 0;
  cli_json_key(j, "guessed");
  cli_json_raw(j, "[", 1);
  for (; *at; at += strcspn(at, " "), at += *at == ' ') {
    snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " "), at);
    if (n++) cli_json_raw(j, ",", 1);
    cli_json_quoted(j, word);
  }
  cli_json_raw(j, "]", 1);
}

int input_start(const char *name) {
  if (!name || strcmp(name, "paper") == 0) return BDPT_START_PAPER;
  if (strcmp(name, "skip") == 0) return BDPT_START_SKIP;
  if (strcmp(name, "skip-fit") == 0) return BDPT_START_SKIP_FIT;
  if (strcmp(name, "fit") == 0) return BDPT_START_FIT;
  if (strcmp(name, "fit-activation") == 0) return BDPT_START_FIT_ACTIVATION;
  return strcmp(name, "fit-attention") == 0 ? BDPT_START_FIT_ATTENTION : -1;
}
int input_choose(const char *name, const char *start) {
  if (!name) return start && strcmp(start, "paper") != 0 && strcmp(start, "skip") != 0;
  if (strcmp(name, "greedy") == 0) return 1;
  return strcmp(name, "learned") == 0 ? 0 : -1;
}

void input_form(const char *name, bdpt_model *m) {
  if (name && strncmp(name, "skip", 4) == 0) m->config.attn_form = BDPT_ATTN_SKIP;
}

bdpt_model *input_model(bdpt_context *ctx, const char *path, const int image[2]) {
  checkpoint_report report;
  return input_model_report(ctx, path, image, &report);
}
