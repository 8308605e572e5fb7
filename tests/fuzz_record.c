/* Fuzz target: a record of JSON lines, as a resumed run reads it, and as report and table do. */
#include "fuzz_text.h"
#include "../examples/tool/cli/system.h"
#define cli_file_exists(path) 1
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/jsonl.c"
#include "../examples/tool/record.c"
#include "../examples/tool/report/lines.c"
#include "../examples/tool/table/cells.c"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const kinds[] = {"setup", "epoch", "part", "map", "a", ""};
  static const char *const keys[] = {"kind", "loss", "marks", "at", "name", ""};
  bdpt_context ctx = fuzz_context();
  record r;
  report_run run;
  cells c;
  bdpt_status s;
  size_t i, k;
  fuzz_bytes = data, fuzz_size = size;
  s = record_load(&r, &ctx, "fuzz");
  for (i = 0; !s && i < 6; i++) {
    int n = record_count(&r, kinds[i]), at;
    FUZZ_CHECK(n >= 0 && record_has(&r, kinds[i]) == (n > 0));
    for (at = 0; at < n && at < 4; at++) {
      record_line line = record_get(&r, kinds[i], at);
      for (k = 0; k < 6; k++) {
        double numbers[5], v = record_real(line, keys[k], 2);
        char text[9];
        FUZZ_CHECK(line.text >= r.text.text && line.text + line.size <= r.text.text + r.text.used);
        FUZZ_CHECK(v == v || v != v);
        record_int(line, keys[k], 3);
        FUZZ_CHECK(record_reals(line, keys[k], numbers, 5) <= 5);
        record_text(line, keys[k], text, sizeof text);
        FUZZ_CHECK(memchr(text, 0, sizeof text) != NULL);
      }
    }
  }
  record_free(&r);
  fuzz_end(&ctx, s != BDPT_OK);
  ctx = fuzz_context();
  memset(&run, 0, sizeof run);
  s = (bdpt_status)report_load(&ctx, (const char *)data, size, "fuzz", &run);
  for (i = 0; !s && i < 6; i++) FUZZ_CHECK(report_count(&run, kinds[i]) >= 0);
  report_free(&run);
  fuzz_end(&ctx, s != BDPT_OK);
  ctx = fuzz_context();
  memset(&c, 0, sizeof c);
  c.ctx = &ctx;
  s = cells_read(&c, "fuzz");
  for (i = 0; !s && i < (size_t)c.rows; i++) {
    FUZZ_CHECK(c.row[i].setup < (int)i && strlen(cells_kind(&c, (int)i)) < size + 1);
    for (k = 0; k < (size_t)c.row[i].count; k++) {
      int field = c.row[i].first + (int)k;
      FUZZ_CHECK(cells_find(&c, (int)i, c.field[field].column) == field);
      FUZZ_CHECK(strlen(cells_text(&c, field)) <= 3 * size);
    }
  }
  cells_free(&c);
  fuzz_end(&ctx, s != BDPT_OK);
  return 0;
}
