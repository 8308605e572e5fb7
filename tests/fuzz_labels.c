/* Fuzz target: a file of class names, for networks of several numbers of classes.
 * longest: 400
 * The rest of the command is there, but what it calls is not:
 * flags: -no-pie -Wl,--unresolved-symbols=ignore-all */
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "fuzz_text.h"
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/cli/options.c"
#include "../examples/tool/cli/outputs.c"
#include "../examples/tool/cli/progress.c"
#include "../examples/tool/cli/system.c"
#include "../examples/tool/pictures/png.c"
#include "../examples/tool/pictures/exif.c"
#include "../examples/tool/pictures/images.c"
#include "../examples/tool/commands/classify.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int classes[4] = {1, 2, 7, 300};
  bdpt_context ctx = fuzz_context();
  static bdpt_model m;
  static classify c;
  bdpt_status s;
  int k;
  memset(&c, 0, sizeof c);
  m.ctx = &ctx; m.config.classes = classes[size % 4];
  c.m = &m;
  fuzz_bytes = data; fuzz_size = size;
  s = classify_read_labels(&c, "fuzz");
  for (k = 0; !s && k < m.config.classes; k++) FUZZ_CHECK(strlen(c.label[k]) <= size);
  free((void *)c.owned);
  bdpt_bytes_free(&ctx, &c.text);
  fuzz_end(&ctx, s != BDPT_OK);
  return 0;
}
