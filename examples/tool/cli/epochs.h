/* epochs.h: what a training has reached, told while it goes on: a call for each epoch, a CSV row
 *
 * The rows are made of the library's progress reports, so any long call can have them. An epoch of
 * bdpt_train ends with the evaluation of the held-out images. The short trainings of the searches
 * have a row when they are measured, with the mean of their losses and without an epoch's number.
 * A row is written in one piece with its end of line, so who follows the file never reads half of
 * one. A command that goes on from a checkpoint adds to the file. A single training, each of whose
 * rows has a number of its own, takes back those of the epochs that it repeats after a kill; in
 * longer calls such an epoch stands twice.
 */
#ifndef TOOL_CLI_EPOCHS_H
#define TOOL_CLI_EPOCHS_H

#include "../../../boundarydpt.h"
#include "progress.h"

#include <stdio.h>

#define CLI_CSV(path) \
  {"--csv", CLI_TEXT, path, "FILE", NULL, "a row for each epoch as it ends, to be followed"}

typedef struct cli_epoch {
  const char *phase, *detail;
  int epoch;                      /* from 1; 0: of a short training, which has none */
  size_t images;                  /* trained so far in this phase */
  double lr, loss, accuracy;      /* NaN: not known; accuracy in per cent, of held-out images */
  double seconds;                 /* since the command began */
} cli_epoch;

typedef struct cli_epochs {
  void (*tell)(const cli_epoch *e, void *user);   /* may be NULL */
  void *user;
  /* private */
  FILE *csv;
  bdpt_context *ctx;
  bdpt_bytes before;              /* rows that may be told again; none after the first new row */
  const char *path, *label;
  char late[1000];                /* rows that could not be written yet */
  size_t late_bytes;
  bdpt_recipe recipe[2];          /* of what bdpt_train does, resolved; and perhaps another one */
  size_t per_epoch;               /* images */
  double began, loss, sum, losses; /* of bdpt_train, the latest; of a short one: sum, count */
  size_t done, total;
  char phase[24], detail[48];
  int judged, shared, failed;     /* 1: an epoch is not told yet; images are shared out; no row */
} cli_epochs;

/* Lets `e`, zeroed but for tell and user, see from now on what this progress sees. */
void cli_epochs_watch(cli_epochs *e, cli_progress *p);

/* Says what the next bdpt_train is called and does; `other` is a second possibility, or NULL.
 * `images` are those that there are to train on. */
void cli_epochs_train(cli_epochs *e, const char *label, const bdpt_recipe *recipe,
                      const bdpt_recipe *other, size_t images);

/* Tells the last epoch of a training that has ended, if its reports did not. */
void cli_epochs_rest(cli_epochs *e, const bdpt_epoch *log, int epochs);

/* Opens the CSV file `path`; NULL opens none. `add` says where it begins. */
enum { EPOCHS_NEW, EPOCHS_ADD, EPOCHS_AGAIN }; /* from its first row; behind its last; see above */
bdpt_status cli_epochs_open(cli_epochs *e, bdpt_context *ctx, const char *path, int add);

/* Writes the row of a short training that ended last, and closes the file. Returns `status`, or an
 * error if a row could not be written. */
bdpt_status cli_epochs_close(cli_epochs *e, bdpt_context *ctx, bdpt_status status);

#endif /* TOOL_CLI_EPOCHS_H */
