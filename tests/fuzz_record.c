/* Fuzz target: a record of JSON lines, as a resumed run reads it, and as report and table do.
 * longest: 512 */
#include "fuzz_text.h"
#include "../examples/tool/cli/system.h"
#define cli_file_exists(path) 1
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/json_read.c"
#include "../examples/tool/jsonl.c"
#include "../examples/tool/record.c"
#include "../examples/tool/report/lines.c"
#include "../examples/tool/table/cells.c"

/* Asks everything that can be asked of a line. Each question reads the line from its front. */
static void ask(const record *r, record_line line, const char *key) {
  double numbers[5];
  char text[9];
  FUZZ_CHECK(line.text >= r->text.text && line.text + line.size <= r->text.text + r->text.used);
  record_int(line, key, 3);
  FUZZ_CHECK(record_reals(line, key, numbers, 5) <= 5);
  record_text(line, key, text, sizeof text);
  FUZZ_CHECK(memchr(text, 0, sizeof text) != NULL);
}

static void read_record(const uint8_t *data, size_t size) {
  static const char *const kinds[] = {"setup", "epoch", "part", "map", "a", ""};
  static const char *const keys[] = {"kind", "loss", "marks", "at", "name", ""};
  const char *kind = kinds[size / 3 % 6], *key = keys[size / 18 % 6];
  bdpt_context ctx = fuzz_context();
  record r;
  bdpt_status s;
  int n, at;
  fuzz_bytes = data; fuzz_size = size;
  s = record_load(&r, &ctx, "fuzz");
  if (!s) {
    n = record_count(&r, kind);
    FUZZ_CHECK(n >= 0 && record_has(&r, kind) == (n > 0));
    for (at = 0; at < n && at < 2; at++) ask(&r, record_get(&r, kind, at), key);
  }
  record_free(&r);
  fuzz_end(&ctx, s != BDPT_OK);
}

static void read_report(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  report_run run;
  bdpt_status s;
  memset(&run, 0, sizeof run);
  s = (bdpt_status)report_load(&ctx, (const char *)data, size, "fuzz", &run);
  if (!s) FUZZ_CHECK(report_count(&run, "setup") >= 0 && report_count(&run, "") >= 0);
  report_free(&run);
  fuzz_end(&ctx, s != BDPT_OK);
}

static void read_cells(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  cells c;
  bdpt_status s;
  size_t i, k;
  memset(&c, 0, sizeof c);
  c.ctx = &ctx;
  fuzz_bytes = data; fuzz_size = size;
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
}

/* A resumed run reads it, or the report, or the table: the length of the input says which. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size % 3 == 0) read_record(data, size);
  if (size % 3 == 1) read_report(data, size);
  if (size % 3 == 2) read_cells(data, size);
  return 0;
}
