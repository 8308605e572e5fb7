/* Data: the CIFAR-100 reader and its refusals, subsets, Pillow's resizing byte for byte, batches
 * and their disturbances. Bytes and choices are compared exactly; statistics of random draws within
 * five standard deviations of their expectation, with fixed seeds. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "fixture.h"
#include "resize.h"

static bdpt_context ctx;

/* Makes n records: class i mod 100, coarse class i mod 20, bytes from the fixture's generator. */
static unsigned char *records(size_t n) {
  unsigned char *bytes = (unsigned char *)malloc(n * 3074);
  size_t i, k;
  for (i = 0; bytes && i < n; i++) {
    bytes[i * 3074] = (unsigned char)(i % 20);
    bytes[i * 3074 + 1] = (unsigned char)(i % 100);
    for (k = 0; k < 3072; k++) {
      bytes[i * 3074 + 2 + k] = (unsigned char)(fixture_bits("data", i * 3072 + k) >> 56);
    }
  }
  return bytes;
}

static bdpt_dataset make_data(size_t n) {
  bdpt_dataset d;
  unsigned char *bytes = records(n);
  CHECK(bdpt_cifar100_parse(&ctx, bytes, n * 3074, "made", &d) == BDPT_OK);
  free(bytes);
  return d;
}

/* Returns 1 if the recorded sentence contains `part`; forgets the error. */
static int says(const char *part) {
  int found = strstr(ctx.message, part) != NULL;
  if (!found) printf("  sentence: %s\n  wanted:   %s\n", ctx.message, part);
  bdpt_clear_error(&ctx);
  return found;
}

/* ---- CIFAR-100 ------------------------------------------------------------------------------- */

TEST(cifar_good) {
  bdpt_dataset d = make_data(250);
  CHECK(d.count == 250 && d.classes == 100);
  CHECK(d.height == 32 && d.width == 32);
  CHECK(d.label[0] == 0 && d.label[249] == 49);
  CHECK(d.pixels[0] == fixture_bits("data", 0) >> 56);
  CHECK(d.pixels[250 * 3072 - 1] == fixture_bits("data", 250 * 3072 - 1) >> 56);
  bdpt_dataset_free(&ctx, &d);
  bdpt_dataset_free(&ctx, &d);
  CHECK(ctx.status == BDPT_OK);
}

TEST(cifar_bad) {
  unsigned char *bytes = records(5);
  size_t before = ctx.bytes_now;
  bdpt_dataset d;
  CHECK(bdpt_cifar100_parse(&ctx, bytes, 0, "empty.bin", &d) == BDPT_E_FORMAT);
  CHECK(says("empty.bin: the file is empty"));
  CHECK(bdpt_cifar100_parse(&ctx, bytes, 5 * 3074 - 1, "cut.bin", &d) == BDPT_E_FORMAT);
  CHECK(says("cut.bin: record 4, at offset 12296, ends after 3073 of 3074 bytes"));
  CHECK(bdpt_cifar100_parse(&ctx, bytes, 7, "short.bin", &d) == BDPT_E_FORMAT);
  CHECK(says("record 0, at offset 0, ends after 7 of 3074 bytes"));
  bytes[3 * 3074 + 1] = 100;
  CHECK(bdpt_cifar100_parse(&ctx, bytes, 5 * 3074, "fine.bin", &d) == BDPT_E_FORMAT);
  CHECK(says("fine.bin: record 3, at offset 9222: fine label 100 is not below 100"));
  bytes[2 * 3074] = 20;
  CHECK(bdpt_cifar100_parse(&ctx, bytes, 5 * 3074, "coarse.bin", &d) == BDPT_E_FORMAT);
  CHECK(says("record 2, at offset 6148: coarse label 20 is not below 20"));
  CHECK(d.count == 0 && !d.pixels && !d.label);
  CHECK(bdpt_cifar100_load(&ctx, "tests/no such file", &d) == BDPT_E_IO);
  CHECK(says("no such file"));
  CHECK(ctx.bytes_now == before);
  free(bytes);
}

TEST(cifar_file) {
  const char *path = temporary("data");
  unsigned char *bytes = records(3);
  bdpt_dataset d;
  CHECK(bdpt_file_write(&ctx, path, bytes, 3 * 3074) == BDPT_OK);
  CHECK(bdpt_cifar100_load(&ctx, path, &d) == BDPT_OK);
  CHECK(d.count == 3 && d.label[2] == 2);
  CHECK(memcmp(d.pixels + 6144, bytes + 2 * 3074 + 2, 3072) == 0);
  bdpt_dataset_free(&ctx, &d);
  remove(path);
  free(bytes);
}

/* ---- Choosing -------------------------------------------------------------------------------- */

static void count_classes(const bdpt_subset *s, int count[100]) {
  size_t i;
  memset(count, 0, 100 * sizeof *count);
  for (i = 0; i < s->count; i++) count[s->data->label[s->index[i]]]++;
}

TEST(split) {
  bdpt_dataset d = make_data(730);
  bdpt_subset rest, held, again, other;
  unsigned char seen[730];
  int count[100], k, same = 1;
  size_t i;
  memset(seen, 0, sizeof seen);
  CHECK(bdpt_split(&ctx, &d, 3, 7, &rest, &held) == BDPT_OK);
  CHECK(rest.count == 430 && held.count == 300);
  for (i = 0; i < rest.count; i++) seen[rest.index[i]]++;
  for (i = 0; i < held.count; i++) seen[held.index[i]]++;
  for (i = 0; i < 730; i++) same &= seen[i] == 1;
  for (i = 1; i < held.count; i++) same &= held.index[i] > held.index[i - 1];
  CHECK(same);
  count_classes(&held, count);
  for (same = 1, k = 0; k < 100; k++) same &= count[k] == 3;
  CHECK(same);
  bdpt_subset_free(&ctx, &rest);
  CHECK(bdpt_split(&ctx, &d, 3, 7, &rest, &again) == BDPT_OK);
  CHECK(memcmp(again.index, held.index, 300 * sizeof(size_t)) == 0);
  bdpt_subset_free(&ctx, &rest);
  CHECK(bdpt_split(&ctx, &d, 3, 8, &rest, &other) == BDPT_OK);
  CHECK(memcmp(other.index, held.index, 300 * sizeof(size_t)) != 0);
  bdpt_subset_free(&ctx, &rest);
  bdpt_subset_free(&ctx, &held);
  bdpt_subset_free(&ctx, &again);
  bdpt_subset_free(&ctx, &other);
    /* Classes 30 .. 99 have seven images, the others eight. */
  CHECK(bdpt_split(&ctx, &d, 8, 7, &rest, &held) == BDPT_E_ARGUMENT);
  CHECK(says("split: class 30 has 7 images, 8 wanted"));
  CHECK(rest.index == NULL && held.index == NULL);
  d.label[50] = 30;
  CHECK(bdpt_split(&ctx, &d, 7, 7, &rest, &held) == BDPT_E_ARGUMENT);
  CHECK(says("split: class 50 has 6 images, 7 wanted"));
  bdpt_dataset_free(&ctx, &d);
}

TEST(split_refuses) {
  bdpt_dataset d = make_data(200);
  bdpt_subset rest, held;
  CHECK(bdpt_split(&ctx, &d, -1, 7, &rest, &held) == BDPT_E_ARGUMENT);
  CHECK(says("split: -1 per class"));
  d.label[5] = 104;
  CHECK(bdpt_split(&ctx, &d, 1, 7, &rest, &held) == BDPT_E_ARGUMENT);
  CHECK(says("image 5: label 104 is not below 100"));
  bdpt_dataset_free(&ctx, &d);
}

TEST(sample) {
  bdpt_dataset d = make_data(730);
  bdpt_subset all, some, more, third;
  int count[100], k, low = 99, high = 0;
  size_t i, j, twice = 0;
  CHECK(bdpt_subset_all(&ctx, &d, &all) == BDPT_OK);
  CHECK(all.count == 730 && all.index[729] == 729);
  CHECK(bdpt_sample(&ctx, &all, 250, 3, &some) == BDPT_OK);
  count_classes(&some, count);
  for (k = 0; k < 100; k++) {
    if (count[k] < low) low = count[k];
    if (count[k] > high) high = count[k];
  }
  CHECK(some.count == 250 && low == 2 && high == 3);
  for (i = 0; i < 250; i++) {
    for (j = 0; j < i; j++) twice += some.index[i] == some.index[j];
  }
  CHECK(twice == 0);
    /* A smaller sample is the beginning of a larger one; another seed chooses others. */
  CHECK(bdpt_sample(&ctx, &all, 730, 3, &more) == BDPT_OK);
  CHECK(memcmp(more.index, some.index, 250 * sizeof(size_t)) == 0);
  CHECK(bdpt_sample(&ctx, &all, 250, 4, &third) == BDPT_OK);
  CHECK(memcmp(third.index, some.index, 250 * sizeof(size_t)) != 0);
  bdpt_subset_free(&ctx, &third);
    /* A sample of a sample stays inside it. */
  CHECK(bdpt_sample(&ctx, &some, 100, 9, &third) == BDPT_OK);
  for (i = 0, twice = 0; i < 100; i++) {
    for (j = 0; j < 250; j++) twice += third.index[i] == some.index[j];
  }
  CHECK(twice == 100);
  bdpt_subset_free(&ctx, &third);
  CHECK(bdpt_sample(&ctx, &some, 251, 9, &third) == BDPT_E_ARGUMENT);
  CHECK(says("sample: 251 of 250 images"));
  CHECK(bdpt_sample(&ctx, &some, 0, 9, &third) == BDPT_OK);
  bdpt_subset_free(&ctx, &third);
  bdpt_subset_free(&ctx, &all);
  bdpt_subset_free(&ctx, &some);
  bdpt_subset_free(&ctx, &more);
  bdpt_dataset_free(&ctx, &d);
}

/* ---- Resizing -------------------------------------------------------------------------------- */

/* Turns Pillow's images, [H,W,3], into ours, [3,H,W]. */
static void planes_of(const bdpt_file_tensor *t, unsigned char *out) {
  size_t y, x, c, h = t->shape[0], w = t->shape[1];
  for (c = 0; c < 3; c++) {
    for (y = 0; y < h; y++) {
      for (x = 0; x < w; x++) out[(c * h + y) * w + x] = t->bytes[(y * w + x) * 3 + c];
    }
  }
}

TEST(resize_as_pillow) {
  static unsigned char in[3 * 224 * 224], want[3 * 224 * 224], got[3 * 224 * 224];
  int i;
  if (!fixture_open(&ctx, "tests/fixtures/resize.safetensors")) return;
  for (i = 0; i < 7; i++) {
    char name[40];
    const bdpt_file_tensor *from, *to;
    snprintf(name, sizeof name, "image.%d.", i);
    from = fixture_find(name, "input");
    to = fixture_find(name, "output");
    if (!CHECK(from && to)) continue;
    planes_of(from, in);
    planes_of(to, want);
    memset(got, 0, sizeof got);
    resized(&ctx, in, (int[2]){(int)from->shape[0], (int)from->shape[1]}, got,
            (int[2]){(int)to->shape[0], (int)to->shape[1]});
    CHECK(memcmp(got, want, to->size) == 0);
  }
  fixture_close();
}

TEST(resize_corners) {
  unsigned char in[18] = {1, 2, 3, 250, 251, 252, 1, 2, 3, 4, 5, 6, 0, 255, 0, 255, 0, 255};
  unsigned char out[18] = {0};
  resized(&ctx, in, (int[2]){2, 3}, out, (int[2]){2, 3});
  CHECK(memcmp(in, out, 18) == 0);
  resized(&ctx, in, (int[2]){1, 1}, out, (int[2]){2, 3});
  CHECK(out[0] == 1 && out[5] == 1 && out[6] == 2 && out[17] == 3);
}

/* ---- Batches --------------------------------------------------------------------------------- */

static bdpt_config tiny_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 48;
  c.patch = 16;
  c.width = 24;
  c.depth = 1;
  c.heads = 2;
  c.classes = 100;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK);
  return c;
}

TEST(batch_for_evaluation) {
  bdpt_dataset d = make_data(12);
  bdpt_config c = tiny_config(), wrong;
  bdpt_subset all;
  static bdpt_real images[4 * 3 * 48 * 48];
  static unsigned char picture[3 * 48 * 48];
  int labels[4];
  size_t i;
  double worst = 0;
  bdpt_subset_all(&ctx, &d, &all);
  CHECK(bdpt_load_batch(&ctx, &c, &all, 5, 4, images, labels) == BDPT_OK);
  CHECK(labels[0] == 5 && labels[3] == 8);
  resized(&ctx, d.pixels + 7 * 3072, (int[2]){32, 32}, picture, (int[2]){48, 48});
  for (i = 0; i < 3 * 48 * 48; i++) {
    double want = (picture[i] / 255.0 - c.mean[i / 2304]) / c.std[i / 2304];
    double off = fabs((double)images[2 * 3 * 48 * 48 + i] - want);
    if (!(off <= worst)) worst = off;
  }
  CHECK_CLOSE(worst, 0, sizeof(bdpt_real) == 8 ? 1e-15 : 2e-7);
  CHECK(bdpt_load_batch(&ctx, &c, &all, 9, 4, images, labels) == BDPT_E_ARGUMENT);
  CHECK(says("4 images from 9 on of a subset of 12"));
  wrong = c;
  wrong.classes = 99;
  CHECK(bdpt_load_batch(&ctx, &wrong, &all, 0, 4, images, labels) == BDPT_E_SHAPE);
  CHECK(says("the data set has 100 classes, the network's head has 99"));
  d.label[2] = 100;
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 4, images, labels) == BDPT_E_ARGUMENT);
  CHECK(says("image 2: label 100 is not below 100"));
  all.index[1] = 12;
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 2, images, labels) == BDPT_E_ARGUMENT);
  CHECK(says("image 12 of a data set of 12"));
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &d);
}

/* A picture as decoders give it is answered like the same picture in a data set. */
TEST(predicts_rgb) {
  bdpt_config c = tiny_config();
  bdpt_model *m = bdpt_model_create(&ctx, &c, 1);
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_dataset d = make_data(1);
  bdpt_subset all;
  unsigned char rgb[20 * 25 * 3];
  bdpt_real *image = (bdpt_real *)calloc(3 * 48 * 48, sizeof *image), want[100], got[100];
  size_t i, n = 20 * 25, bad = 0;
  const double allowed = TEST_X87 ? 1e-14 : 0; /* x87 rounds where it likes */
  CHECK(m && tape && image && bdpt_subset_all(&ctx, &d, &all) == BDPT_OK);
  d.height = 20; /* of the 1,024 pixels the first 500 of each channel, as another shape */
  d.width = 25;
  for (i = 0; i < 3 * n; i++) rgb[i] = d.pixels[i % 3 * n + i / 3];
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 1, image, NULL) == BDPT_OK);
  CHECK(bdpt_predict(m, tape, 1, image, want) == BDPT_OK);
  CHECK(bdpt_predict_rgb(m, tape, rgb, 20, 25, got) == BDPT_OK);
  for (i = 0; i < 100; i++) bad += !(fabs((double)(got[i] - want[i])) <= allowed);
  CHECK(bad == 0 && got[0] != got[1]);
  CHECK(bdpt_predict_rgb(m, tape, rgb, 0, 25, got) == BDPT_E_ARGUMENT);
  CHECK(says("resize: 0 x 25 to 48 x 48"));
  m->config.channels = 1;
  CHECK(bdpt_predict_rgb(m, tape, rgb, 20, 25, got) == BDPT_E_SHAPE && says("no red, green, blue"));
  d.height = d.width = 32;
  free(image);
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &d);
  bdpt_tape_free(tape);
  bdpt_model_free(m);
}

/* Makes image i on demand, all i; image 6 cannot be made. */
static int fetch(void *user, size_t index, unsigned char *planes) {
  memset(planes, (int)index, *(size_t *)user);
  return index == 6;
}

TEST(fetched) {
  unsigned short label[8] = {0, 1, 2, 3, 0, 1, 2, 3};
  size_t bytes = 3 * 10 * 20;
  static bdpt_real images[8 * 3 * 48 * 48];
  bdpt_config c = tiny_config();
  bdpt_dataset d;
  bdpt_subset all;
  memset(&d, 0, sizeof d);
  d.count = 8;
  d.classes = 4;
  d.height = 10;
  d.width = 20;
  d.label = label;
  CHECK(bdpt_subset_all(&ctx, &d, &all) == BDPT_OK);
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 6, images, NULL) == BDPT_E_ARGUMENT);
  CHECK(says("neither pixels nor a fetch function"));
  d.fetch = fetch;
  d.user = &bytes;
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 6, images, NULL) == BDPT_OK);
  CHECK_CLOSE(images[5 * 3 * 2304 + 100], (5 / 255.0 - c.mean[0]) / c.std[0], 1e-6);
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 8, images, NULL) == BDPT_E_IO);
  CHECK(says("image 6: the data set's fetch function failed"));
  bdpt_subset_free(&ctx, &all);
}

int main(void) {
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  RUN(cifar_good);
  RUN(cifar_bad);
  RUN(cifar_file);
  RUN(split);
  RUN(split_refuses);
  RUN(sample);
  RUN(resize_as_pillow);
  RUN(resize_corners);
  RUN(batch_for_evaluation);
  RUN(predicts_rgb);
  RUN(fetched);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("test_data");
}
