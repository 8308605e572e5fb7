/* epochs.c: what a training has reached, told while it goes on */
#include "epochs.h"
#include "messages.h"
#include "outputs.h"
#include "system.h"

#include <math.h>
#include <string.h>

static const char heading[] = "seconds,phase,detail,epoch,images,lr,loss,accuracy\n";

/* Appends ",1.5" to a row[room]; a lone "," for what is no number. */
static void csv_number(char *row, size_t room, double v) {
  size_t n = strlen(row);
  if (v - v == 0) snprintf(row + n, room - n, ",%.9g", v);
  else snprintf(row + n, room - n, ",");
}

/* Writes a row to the unbuffered file; what a full disk refuses waits for the next one. */
static void epochs_put(cli_epochs *e, const char *row) {
  const size_t n = strlen(row);
  size_t written;
  if (n > sizeof e->late - e->late_bytes) {
    e->failed = 1;
    return;
  }
  memcpy(e->late + e->late_bytes, row, n);
  e->late_bytes += n;
  written = fwrite(e->late, 1, e->late_bytes, e->csv);
  clearerr(e->csv);
  e->late_bytes -= written;
  memmove(e->late, e->late + written, e->late_bytes);
}

/* Takes the row that is told now, and those behind it, out of the file: a repeated epoch replaces
 * what it wrote before. */
static void epochs_again(cli_epochs *e, const char *row) {
  const char *key = strchr(row, ','), *end = key, *at = (const char *)e->before.data, *line, *comma;
  const char *last = at + e->before.size;
  int commas;
  for (commas = 0; end && commas < 4; commas++) end = strchr(end + 1, ',');
  for (; end && at < last; at = line + 1) { /* phase, detail, epoch and images are the key */
    line = (const char *)memchr(at, '\n', (size_t)(last - at));
    comma = (const char *)memchr(at, ',', (size_t)(last - at));
    if (!line || !comma || line - comma <= end - key ||
        memcmp(comma, key, (size_t)(end - key) + 1) != 0) {
      if (!line) break;
      continue;
    }
    fclose(e->csv);
    e->csv = NULL;
    if (bdpt_file_write(e->ctx, e->path, e->before.data,
                        (size_t)(at - (const char *)e->before.data)) == BDPT_OK)
      e->csv = fopen(e->path, "ab");
    if (e->csv) setvbuf(e->csv, NULL, _IONBF, 0);
    else e->failed = 1;
    break;
  }
  bdpt_bytes_free(e->ctx, &e->before);
}

static void epochs_tell(cli_epochs *e, int epoch, double loss, double accuracy) {
  const cli_epoch line = {e->label && strcmp(e->phase, "train") == 0 ? e->label : e->phase,
                          e->detail, epoch, e->done, NAN, loss, accuracy, cli_now() - e->began};
  cli_epoch full = line;
  char row[400], number[16] = "";
  int i;
  for (i = 0; i < 2 && epoch; i++)
    if (e->recipe[i].epochs && e->total == e->per_epoch * (size_t)e->recipe[i].epochs)
      full.lr = bdpt_schedule(&e->recipe[i], epoch - 1e-9);
  if (e->tell && epoch) e->tell(&full, e->user);
  if (!e->csv) return;
  if (epoch) snprintf(number, sizeof number, "%d", epoch);
  snprintf(row, 200, "%.3f,%s,%s,%s", full.seconds, full.phase, full.detail, number);
  csv_number(row, sizeof row, (double)full.images);
  csv_number(row, sizeof row, full.lr);
  csv_number(row, sizeof row, loss);
  csv_number(row, sizeof row, accuracy);
  strcat(row, "\n");
  if (e->before.data) epochs_again(e, row);
  if (!e->csv) return;
  epochs_put(e, row);
}

/* Tells a short training that has been measured, or has ended: the mean of its steps' losses. */
static void epochs_short(cli_epochs *e, double accuracy) {
  if (e->losses > 0) epochs_tell(e, 0, e->sum / e->losses, accuracy);
  e->sum = e->losses = 0;
}

/* Tells an epoch whose accuracy was not seen when it was judged; NaN if nobody says it now. */
static void epochs_late(cli_epochs *e, double loss, double accuracy) {
  const int epoch = e->judged && e->done ? (int)(e->done / e->per_epoch) : 0;
  if (epoch) epochs_tell(e, epoch, loss, accuracy);
  e->judged = 0;
}

/* Takes a report of bdpt_train: of a step, or of an evaluation between two epochs. Where several
 * processes train, each evaluates some of the images, and the mean comes with the next step. */
static void epochs_of_train(cli_epochs *e, const bdpt_progress *now) {
  const int judging = strcmp(now->phase, "evaluate") == 0, known = e->loss - e->loss == 0;
  const size_t before = judging ? 0 : (now->done - 1) / e->per_epoch; /* complete epochs */
  if (judging && (e->shared || (now->done == now->total && !known))) {
    e->judged = 1;
  } else if (judging && now->done == now->total) {
    epochs_tell(e, (int)((e->done + e->per_epoch - 1) / e->per_epoch), e->loss, now->accuracy);
    e->loss = NAN;
  } else if (!judging) {
    if (before > 0) e->done = before * e->per_epoch;
    if (before > 0) e->total = now->total;
    epochs_late(e, e->loss, before > 0 ? now->accuracy : NAN);
    e->done = now->done;
    e->total = now->total;
    e->loss = now->loss;
  }
}

static void epochs_report(const bdpt_progress *now, void *user) {
  cli_epochs *e = (cli_epochs *)user;
  const char *detail = now->detail ? now->detail : "";
  const int training = strcmp(now->phase, "train") == 0;
  if (now->total == 0 || (training && now->done == 0)) return;
  if (training || strcmp(now->phase, "evaluate") == 0) {
    if (training && strcmp(e->phase, "train") != 0) {
      epochs_short(e, NAN);
      snprintf(e->phase, sizeof e->phase, "train");
      e->detail[0] = 0;
    }
    if (e->per_epoch) epochs_of_train(e, now);
    return;
  }
  if (strcmp(now->phase, "greedy") == 0) return; /* trains nothing */
  if (strcmp(e->phase, now->phase) != 0 || strcmp(e->detail, detail) != 0) epochs_short(e, NAN);
  snprintf(e->phase, sizeof e->phase, "%s", now->phase);
  snprintf(e->detail, sizeof e->detail, "%s", detail);
  e->done = now->done;
  if (now->loss - now->loss == 0) {
    e->sum += now->loss;
    e->losses++;
  } else epochs_short(e, now->accuracy); /* the searches report a measurement without a loss */
}

void cli_epochs_watch(cli_epochs *e, cli_progress *p) {
  e->began = cli_now();
  e->loss = NAN;
  p->also = epochs_report;
  p->user = e;
}

void cli_epochs_train(cli_epochs *e, const char *label, const bdpt_recipe *recipe,
                      const bdpt_recipe *other, size_t images) {
  size_t n = recipe->epoch_images && recipe->epoch_images < images ? recipe->epoch_images : images;
  size_t batch;
  e->label = label;
  e->recipe[0] = *recipe;
  e->recipe[1] = other ? *other : *recipe;
  bdpt_recipe_resolve(&e->recipe[0]);
  bdpt_recipe_resolve(&e->recipe[1]);
  batch = (size_t)e->recipe[0].batch < n ? (size_t)e->recipe[0].batch : n;
  e->per_epoch = batch ? n / batch * batch : 0;
}

void cli_epochs_rest(cli_epochs *e, const bdpt_epoch *log, int epochs) {
  snprintf(e->phase, sizeof e->phase, "train"); /* also where no step was left to report */
  e->done = e->total = e->per_epoch * (size_t)epochs;
  epochs_late(e, log[epochs - 1].loss, log[epochs - 1].held.top1);
}

/* Leaves whole lines in a file that a killed command may have left with half a one, and keeps them
 * if they may be told again. */
static bdpt_status epochs_mend(cli_epochs *e, const char *path, int again, size_t *kept) {
  bdpt_bytes bytes;
  bdpt_status s;
  if (cli_file_exists(path) != 1) return BDPT_OK;
  s = bdpt_file_read(e->ctx, path, &bytes);
  if (s != BDPT_OK) return s;
  for (*kept = bytes.size; *kept > 0 && bytes.data[*kept - 1] != '\n'; --*kept) { }
  if (*kept < bytes.size) s = bdpt_file_write(e->ctx, path, bytes.data, *kept);
  e->before = bytes;
  if (!again) bdpt_bytes_free(e->ctx, &e->before);
  return s;
}

bdpt_status cli_epochs_open(cli_epochs *e, bdpt_context *ctx, const char *path, int add) {
  size_t kept = 0;
  bdpt_status s = BDPT_OK;
  e->shared = ctx->cluster.size > 1;
  if (!path || ctx->cluster.rank > 0) return BDPT_OK;
  e->path = path;
  e->ctx = ctx;
  if (add && !cli_is_special(path)) s = epochs_mend(e, path, add == EPOCHS_AGAIN, &kept);
  if (s != BDPT_OK) return s;
  e->csv = fopen(path, kept ? "ab" : "wb");
  if (!e->csv) return cli_fail(ctx, BDPT_E_IO, "%.300s: it cannot be written", path);
  setvbuf(e->csv, NULL, _IONBF, 0);
  if (kept == 0) epochs_put(e, heading);
  return BDPT_OK;
}

bdpt_status cli_epochs_close(cli_epochs *e, bdpt_context *ctx, bdpt_status status) {
  if (status == BDPT_OK && e->per_epoch) epochs_late(e, e->loss, NAN);
  if (status == BDPT_OK && e->csv) epochs_short(e, NAN);
  if (e->csv && e->late_bytes) epochs_put(e, "");
  bdpt_bytes_free(ctx, &e->before);
  if (e->csv && fclose(e->csv) != 0) e->failed = 1;
  e->csv = NULL;
  if (status != BDPT_OK || !(e->failed || e->late_bytes)) return status;
  return cli_fail(ctx, BDPT_E_IO, "%.300s: not all rows could be written", cli_out_name(e->path));
}
