/* session.c: what a long run has in its hands */
#include "session.h"
#include "cli/json.h"
#include "cli/settings.h"
#include "cli/system.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void session_open(session *s, bdpt_context *ctx, const cli_common *common, const char *out) {
  memset(s, 0, sizeof *s);
  s->ctx = ctx;
  s->out = out;
  s->json = common->json;
  s->fresh = common->fresh;
  cli_progress_open(&s->progress, common->quiet);
}

void session_close(session *s) {
  record_free(&s->record);
  input_close(&s->in);
}

/* -------------------------------------------------------------------------------------------------
 * Files
 * ---------------------------------------------------------------------------------------------- */

const char *session_path(session *s, const char *name) {
  snprintf(s->path, sizeof s->path, "%s/%s", s->out, name);
  return s->path;
}

bdpt_hooks session_hooks(session *s, const char *name) {
  snprintf(s->checkpoint, sizeof s->checkpoint, "%s/%s.ckpt", s->out, name);
  return cli_hooks(&s->progress, s->checkpoint);
}

bdpt_status session_save(session *s, const char *name) {
  char path[800];
  bdpt_status status = record_save(&s->record);
  if (status != BDPT_OK || !name) return status;
  snprintf(path, sizeof path, "%s/%s.ckpt", s->out, name);
  cli_forget_checkpoint(path);
  return BDPT_OK;
}

int session_stops(session *s, int stop) {
  const bdpt_cluster *c = &s->ctx->cluster;
  double any = stop;
  if (c->size <= 1) return stop;
  return c->reduce(c->user, &any, 1, sizeof any) != 0 || any > 0;
}

bdpt_status session_load(session *s, const char *name) {
  snprintf(s->record_path, sizeof s->record_path, "%s/%s", s->out, name);
  return record_load(&s->record, s->ctx, s->record_path);
}

bdpt_status session_set_aside(session *s, char aside[720]) {
  snprintf(aside, 720, "%s/previous.jsonl", s->out);
  if (s->ctx->cluster.rank == 0) {
    remove(aside);
    if (rename(s->record.path, aside) != 0)
      return cli_fail(s->ctx, BDPT_E_IO, "%s cannot be moved to %s, and stays", s->record.path,
                      aside);
  }
  record_free(&s->record);
  return BDPT_OK;
}

/* -------------------------------------------------------------------------------------------------
 * Lines that the run and the study share
 * ---------------------------------------------------------------------------------------------- */

/* Reads the name of the processor, "unknown" where there is none; returns whether that worked. */
static int session_cpu(char out[100]) {
  char line[300];
  FILE *f = fopen("/proc/cpuinfo", "r");
  int ok = f ? 1 : errno == ENOENT || errno == EACCES;
  snprintf(out, 100, "unknown");
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !colon) continue;
    snprintf(out, 100, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    break;
  }
  if (f) ok = !ferror(f);
  if (f) fclose(f);
  return ok;
}

static void session_compiler(char out[60]) {
#if defined(__clang__)
  snprintf(out, 60, "clang %d.%d", __clang_major__, __clang_minor__);
#elif defined(__GNUC__)
  snprintf(out, 60, "gcc %d.%d", __GNUC__, __GNUC_MINOR__);
#else
  snprintf(out, 60, "unknown");
#endif
}

bdpt_status session_record_setup(session *s, const bdpt_config *c, const char *model, size_t seed,
                                 size_t test_images, const char *command) {
  cli_json *j = &s->record.text;
  bdpt_cost_report cost;
  char cpu[100], compiler[60];
  bdpt_status status = bdpt_cost(s->ctx, c, &cost);
  if (status != BDPT_OK) return status;
  if (!session_cpu(cpu))
    return cli_fail(s->ctx, BDPT_E_IO, "/proc/cpuinfo: %s", strerror(errno));
  session_compiler(compiler);
  cli_json_open(j, "setup");
  cli_json_text(j, "version", bdpt_version());
  cli_json_text(j, "data", s->in.name);
  cli_json_text(j, "data_path", s->in.folder);
  cli_json_text(j, "model", model);
  cli_json_real(j, "image", c->image);
  if (c->image_width) cli_json_real(j, "image_width", c->image_width);
  cli_json_real(j, "patch", c->patch);
  cli_json_real(j, "width", c->width);
  cli_json_real(j, "depth", c->depth);
  cli_json_real(j, "heads", c->heads);
  cli_json_real(j, "tokens", bdpt_token_count(c));
  cli_json_real(j, "classes", c->classes);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "seed", (double)seed);
  cli_json_real(j, "threads", s->ctx->threads);
  cli_json_text(j, "isa", bdpt_isa_name(s->ctx));
  cli_json_text(j, "compiler", compiler);
  cli_json_text(j, "cpu", cpu);
  cli_json_real(j, "train_images", (double)s->in.rest.count);
  cli_json_real(j, "held_images", (double)s->in.held.count);
  cli_json_real(j, "test_images", (double)test_images);
  cli_json_text(j, "command", command);
  cli_json_text(j, "options", s->setup);
  if (s->table) cli_settings_write(j, s->table, s->rows);
  cli_json_close(j);
  return session_save(s, NULL);
}

void session_record_epochs(session *s, const char *phase, const bdpt_epoch *log, int epochs) {
  cli_json *j = &s->record.text;
  int e;
  for (e = 0; e < epochs; e++) {
    if (log[e].epoch == 0) continue; /* before a resume: not in this program's log */
    cli_json_open(j, "epoch");
    cli_json_text(j, "phase", phase);
    cli_json_real(j, "epoch", log[e].epoch);
    cli_json_real(j, "lr", log[e].lr);
    cli_json_real(j, "loss", log[e].loss);
    cli_json_real(j, "grad_norm", log[e].grad_norm);
    if (log[e].held.count) cli_json_real(j, "accuracy", log[e].held.top1);
    cli_json_close(j);
  }
}

void session_mean_gradients(const session *s, double out[2][BDPT_MAX_DEPTH]) {
  double one[BDPT_MAX_DEPTH];
  int n = record_count(&s->record, "disparity"), i, t, l;
  memset(out, 0, 2 * sizeof out[0]);
  for (i = 0; i < n; i++)
    for (t = 0; t < 2; t++) {
      record_reals(record_get(&s->record, "disparity", i), bdpt_type_name((bdpt_type)t), one,
                   s->depth);
      for (l = 0; l < s->depth; l++) out[t][l] += one[l] / n;
    }
}

/* -------------------------------------------------------------------------------------------------
 * Telling
 * ---------------------------------------------------------------------------------------------- */

void session_say(session *s, const char *format, ...) {
  va_list args;
  cli_progress_clear(&s->progress);
  if (s->json) return;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  fflush(stdout);
}

void session_title(session *s, const char *title) {
  int bold = cli_wants_colour(stdout);
  session_say(s, "\n%s%s%s\n", bold ? "\033[1m" : "", title, bold ? "\033[0m" : "");
}

void session_say_layers(session *s, const char *label, const double *value, const char *format) {
  int i;
  session_say(s, "   %-22s", label);
  for (i = 0; i < s->depth; i++) {
    if (i && i % 12 == 0) session_say(s, "\n   %-22s", "");
    session_say(s, format, value[i]);
  }
  session_say(s, "\n");
}

void session_say_numbers(session *s) {
  double number[BDPT_MAX_DEPTH];
  int i;
  for (i = 0; i < s->depth; i++) number[i] = i;
  session_say_layers(s, "layer", number, "%6.0f");
}

void session_print_json(session *s) {
  const cli_json *j = &s->record.text;
  if (s->json && j->used > s->told) fwrite(j->text + s->told, 1, j->used - s->told, stdout);
  fflush(stdout);
  s->told = j->used;
}
