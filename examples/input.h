/* =================================================================================================
 * input.h: where the images and the networks come from
 * =================================================================================================
 * A folder with train.bin and test.bin in the CIFAR-100 binary format. Without one, the same two
 * files are drawn by generate.h into build/generated/ the first time they are wanted (a few
 * seconds) and used from there.
 *
 * The training part is split once and for all, by a seed that no option changes: 50 images of each
 * class are *held out*. They make every choice (when to stop, which layers go, how many), and no
 * network of this tool ever trains on them. The test part makes no choice and is read at the end.
 */
#ifndef INPUT_H
#define INPUT_H

#include "cli.h"
#include "generate.h"

#define INPUT_GENERATED "build/generated"
enum { INPUT_TRAIN = 1, INPUT_TEST = 2 };
enum { INPUT_DATA_SEED = 1, INPUT_SPLIT_SEED = 1, INPUT_HELD = 50 };
enum { INPUT_GENERATED_TRAIN = 50000, INPUT_GENERATED_TEST = 10000 };

typedef struct input {
  bdpt_context *ctx;
  const char *name;       /* "generated" or "cifar-100" */
  char folder[600];
  bdpt_dataset train, test;
  bdpt_subset rest, held; /* the two sides of the training part */
  bdpt_subset tested;     /* the test part */
} input;

CLI_FN void input_close(input *in) {
  if (!in->ctx) return;
  bdpt_subset_free(in->ctx, &in->rest);
  bdpt_subset_free(in->ctx, &in->held);
  bdpt_subset_free(in->ctx, &in->tested);
  bdpt_dataset_free(in->ctx, &in->train);
  bdpt_dataset_free(in->ctx, &in->test);
  memset(in, 0, sizeof *in);
}

/* 1 if the file has the right size and begins with the pictures that this program draws: a file
 * left by another version of generate.h must not be mistaken for ours. */
CLI_FN int input_drawn(const char *path, uint64_t first, long count) {
  enum { PROBE = 100 };
  size_t size = (size_t)PROBE * GEN_RECORD;
  unsigned char *mine = (unsigned char *)malloc(2 * size);
  FILE *f = cli_file_size(path) == (double)count * GEN_RECORD ? fopen(path, "rb") : NULL;
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
CLI_FN int input_draw(const char *path, int test) {
  long count = test ? INPUT_GENERATED_TEST : INPUT_GENERATED_TRAIN;
  uint64_t first = test ? 100000000u : 0u;
  if (input_drawn(path, first, count)) return 1;
  fprintf(stderr, "   drawing %ld images into %s\n", count, path);
  return cli_make_folder(INPUT_GENERATED) &&
         gen_write(path, INPUT_DATA_SEED, first, count) == 0;
}

CLI_FN bdpt_status input_read(input *in, const char *file, int test, bdpt_dataset *out) {
  char path[700];
  snprintf(path, sizeof path, "%s/%s", in->folder, file);
  if (strcmp(in->folder, INPUT_GENERATED) == 0 && !input_draw(path, test)) {
    snprintf(in->ctx->message, sizeof in->ctx->message, "cannot write the generated images to %s",
             path);
    return in->ctx->status = BDPT_E_IO;
  }
  return bdpt_cifar100_load(in->ctx, path, out);
}

/* `data` NULL: the generated set. `parts`: INPUT_TRAIN, INPUT_TEST or both. */
CLI_FN bdpt_status input_open(input *in, bdpt_context *ctx, const char *data, int parts) {
  char inner[700];
  bdpt_status s = BDPT_OK;
  memset(in, 0, sizeof *in);
  in->ctx = ctx;
  in->name = data && !strstr(data, "generated") ? "cifar-100" : "generated";
  snprintf(in->folder, sizeof in->folder, "%s", data ? data : INPUT_GENERATED);
  snprintf(inner, sizeof inner, "%s/cifar-100-binary", in->folder);
  if (cli_file_exists(inner)) memcpy(in->folder, inner, sizeof in->folder - 1);
  if (parts & INPUT_TRAIN) {
    int held;
    s = input_read(in, "train.bin", 0, &in->train);
    if (s != BDPT_OK) return s;
    held = (int)(in->train.count / (size_t)in->train.classes / 10);
    if (held > INPUT_HELD) held = INPUT_HELD;
    s = bdpt_split(ctx, &in->train, held < 1 ? 1 : held, INPUT_SPLIT_SEED, &in->rest, &in->held);
  }
  if (s == BDPT_OK && (parts & INPUT_TEST)) {
    s = input_read(in, "test.bin", 1, &in->test);
    if (s == BDPT_OK) s = bdpt_subset_all(ctx, &in->test, &in->tested);
  }
  return s;
}

/* Keeps `count` of a subset, as many of each class as possible; 0 or too many: all of it. */
CLI_FN bdpt_status input_keep(bdpt_context *ctx, bdpt_subset *subset, size_t count) {
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

/* A network from a file, brought to another input size if one is named. NULL: see ctx->message. */
CLI_FN bdpt_model *input_model(bdpt_context *ctx, const char *path, int image) {
  bdpt_model *m = bdpt_model_load(ctx, path, NULL);
  if (m && image > 0 && image != m->config.image && bdpt_model_resize(m, image) != BDPT_OK) {
    bdpt_model_free(m);
    return NULL;
  }
  return m;
}

#endif /* INPUT_H */
