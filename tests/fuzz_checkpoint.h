/* The two fuzz targets of .pth files differ in their corpus and in what they let through. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "../examples/tool/json_read.c"
#include "../examples/tool/files/pickle.c"
#include "../examples/tool/files/zip.c"
#include "../examples/tool/files/pth.c"
#include "../examples/tool/files/config.c"
#include "../examples/tool/files/names.c"
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/cli/system.c"
#include "../examples/tool/files/labels.c"
#include "../examples/tool/files/shards.c"
#include "../examples/tool/files/checkpoint.c"
#include "fuzz.h"

/* Loads the bytes as a network. */
static void fuzz_load(const uint8_t *data, size_t size, const char *key, checkpoint_side config,
                      checkpoint_side images) {
  const checkpoint_texts beside = {config, images};
  bdpt_context ctx = fuzz_context();
  static checkpoint_report report;
  checkpoint_options options;
  bdpt_model *m;
  options.key = key;
  options.heads = config.text ? 0 : 1;
  m = checkpoint_parse(&ctx, data, size, "fuzz", &beside, &options, &report);
  FUZZ_CHECK(memchr(report.note, 0, sizeof report.note) != NULL);
  FUZZ_CHECK(memchr(report.network, 0, sizeof report.network) != NULL);
  bdpt_model_free(m);
  fuzz_end(&ctx, m == NULL);
}

/* Reads every tensor of a .pth file, whether it belongs to a network or not. */
FUZZ_UNUSED static void fuzz_tensors(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  pth_file f;
  bdpt_status s = pth_open(&ctx, data, size, "fuzz", &f);
  size_t i, n = s ? 0 : pth_items(&f, NULL);
  pth_item *item = (pth_item *)malloc((n + 1) * sizeof *item);
  FUZZ_CHECK(item && (s || pth_items(&f, item) == n));
  for (i = 0; i < n && i < 200; i++) {
    pth_tensor t;
    char path[100];
    pth_path(&f, item[i].dict, path, sizeof path);
    if (item[i].tensor && pth_find(&f, item[i].value, "t", &t) == BDPT_OK) {
      unsigned char *copy = (unsigned char *)malloc(t.count * t.wide + 1);
      FUZZ_CHECK(copy && t.count * t.width <= size);
      pth_copy(&t, copy);
      if (t.packed) FUZZ_CHECK(t.count == 0 || memcmp(copy, t.bytes, t.count * t.wide) == 0);
      free(copy);
    }
    if (!s) bdpt_clear_error(&ctx); /* of a tensor that could not be read */
  }
  free(item);
  if (!s) pth_close(&f);
  fuzz_end(&ctx, s != BDPT_OK);
}
