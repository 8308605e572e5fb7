/* join.c: records of one study, written by several programs */
#include "../../boundarydpt.h"
#include "cli/messages.h"
#include "cli/system.h"
#include "join.h"

#include <stdio.h>
#include <string.h>

/* Returns the next line of a text; NULL at the end. */
static record_line join_next(const cli_json *j, size_t *at) {
  record_line line = {NULL, 0};
  const char *end;
  if (*at >= j->used) return line;
  line.text = j->text + *at;
  end = (const char *)memchr(line.text, '\n', j->used - *at);
  line.size = end ? (size_t)(end - line.text) : j->used - *at;
  *at += line.size + 1;
  return line;
}

/* Keeps the first text; returns 1 if this one is the same. */
static int join_same(char *first, size_t room, char where[720], const char *text,
                     const char *path) {
  if (!text[0] || strcmp(first, text) == 0) return 1;
  if (first[0]) return 0;
  snprintf(first, room, "%s", text);
  snprintf(where, 720, "%s", path);
  return 1;
}

bdpt_status join_agrees(join *j, const record *r) {
  record_line line;
  size_t at = 0;
  while ((line = join_next(&r->text, &at)).text) {
    char options[1200] = "", dense[20] = "";
    if (record_is(line, "kind", "setup")) record_text(line, "options", options, sizeof options);
    if (record_is(line, "kind", "dense")) record_text(line, "hash", dense, sizeof dense);
    if (record_is(line, "kind", "cell")) record_text(line, "dense", dense, sizeof dense);
    if (!join_same(j->options, sizeof j->options, j->options_in, options, r->path))
      return cli_fail(r->ctx, BDPT_E_STATE, "%.150s: lines of another recipe, data, network or "
                      "version than those in %.150s", r->path, j->options_in);
    if (!join_same(j->dense, sizeof j->dense, j->dense_in, dense, r->path))
      return cli_fail(r->ctx, BDPT_E_STATE, "%.150s: lines of another dense network (%s) than "
                      "those in %.150s (%s)", r->path, dense, j->dense_in, j->dense);
  }
  return BDPT_OK;
}

/* Returns 1 if the text has this line. */
static int join_has(const cli_json *j, record_line wanted) {
  record_line line;
  size_t at = 0;
  while ((line = join_next(j, &at)).text)
    if (line.size == wanted.size && memcmp(line.text, wanted.text, line.size) == 0) return 1;
  return 0;
}

/* Adds the lines that are new. Cells frame the lines of a share and tell nothing by themselves. */
static void join_add(cli_json *out, const record *r, int first) {
  record_line line;
  size_t at = 0;
  while ((line = join_next(&r->text, &at)).text) {
    const int again = record_is(line, "kind", "setup") || record_is(line, "kind", "recipe");
    if ((again && !first) || record_is(line, "kind", "cell") || join_has(out, line)) continue;
    cli_json_raw(out, line.text, line.size);
    cli_json_raw(out, "\n", 1);
  }
}

bdpt_status join_read(bdpt_context *ctx, const char *const *path, int count, cli_json *out) {
  join all;
  record r;
  bdpt_status status = BDPT_OK;
  int i;
  memset(&all, 0, sizeof all);
  memset(out, 0, sizeof *out);
  for (i = 0; i < count && status == BDPT_OK; i++) {
    if (strcmp(path[i], "-") != 0 && cli_file_exists(path[i]) == 0)
      return cli_fail(ctx, BDPT_E_IO, "%.300s: there is no such file", path[i]);
    status = record_load(&r, ctx, path[i]);
    if (status == BDPT_OK && !record_has(&r, "setup"))
      status = cli_fail(ctx, BDPT_E_FORMAT, "%.300s: no record: it has no setup line", path[i]);
    if (status == BDPT_OK) status = join_agrees(&all, &r);
    if (status == BDPT_OK) join_add(out, &r, i == 0);
    record_free(&r);
  }
  return status == BDPT_OK && out->failed ? BDPT_E_MEMORY : status;
}
