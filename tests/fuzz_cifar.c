/* Fuzz target: CIFAR-100's binary format, and what follows when it was read: choosing images.
 * longest: 128 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "fuzz.h"

static void parse(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  bdpt_dataset set;
  bdpt_subset all, few;
  bdpt_status s = bdpt_cifar100_parse(&ctx, data, size, "fuzz", &set);
  size_t i;
  memset(&all, 0, sizeof all);
  memset(&few, 0, sizeof few);
  FUZZ_CHECK(set.count == (s ? 0 : size / 3074));
  for (i = 0; i < set.count; i++) {
    FUZZ_CHECK(set.label[i] < 100);
    FUZZ_CHECK(memcmp(set.pixels + 3072 * i, data + 3074 * i + 2, 3072) == 0);
  }
  if (!s) {
    FUZZ_CHECK(bdpt_subset_all(&ctx, &set, &all) == BDPT_OK && all.count == set.count);
    FUZZ_CHECK(bdpt_sample(&ctx, &all, (set.count + 1) / 2, 1, &few) == BDPT_OK);
  }
  bdpt_subset_free(&ctx, &all);
  bdpt_subset_free(&ctx, &few);
  bdpt_dataset_free(&ctx, &set);
  fuzz_end(&ctx, s != BDPT_OK);
}

/* An input of an odd length as it is, which no file can have unless it is long; another one spread
 * out so that its length can be right: two bytes of labels for each record, and the rest of it as
 * pixels of the first. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t records = size % 64 == 0 ? 4 : 1, i;
  uint8_t *file;
  if (size % 2 || size == 0 || size % 3074 == 0) {
    parse(data, size);
    return 0;
  }
  if (records > size / 2) records = size / 2;
  file = (uint8_t *)calloc(records * 3074, 1);
  FUZZ_CHECK(file != NULL);
  for (i = 0; i < records; i++) memcpy(file + 3074 * i, data + 2 * i, 2);
  for (i = 2 * records; i < size && i < 3000; i++) file[i + 2] = data[i];
  parse(file, records * 3074);
  free(file);
  return 0;
}
