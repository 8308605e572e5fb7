/* session.h: what a long run has in its hands: context, images, record, progress
 *
 * The run and the study are rows of parts. Both open a session, compute through its context on its
 * images, add lines to its record, save, and tell what the record says. The session knows nothing
 * of either.
 */
#ifndef TOOL_SESSION_H
#define TOOL_SESSION_H

#include "../../boundarydpt.h"
#include "cli/messages.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "input.h"
#include "record.h"

typedef struct session {
  bdpt_context *ctx;
  cli_progress progress;
  record record;
  input in;
  const char *out;               /* the folder of everything that is written */
  int json, fresh;               /* lines instead of a story; do not go on with what is there */
  size_t told;                   /* bytes of the record already printed (--json) */
  int depth;                     /* blocks of the network */
  const cli_option *table;       /* the options, for the "setup" line; NULL: not there */
  int rows;
  char setup[1200];              /* every option and input, as one text */
  char path[700], checkpoint[700], record_path[720];
} session;

/* Starts an empty session that writes to the folder `out`, which must outlive it. */
void session_open(session *s, bdpt_context *ctx, const cli_common *common, const char *out);

/* Frees images and record. */
void session_close(session *s);

/* Returns "OUT/name", in a place that the next call uses again. */
const char *session_path(session *s, const char *name);

/* Returns the hooks for a long call of the library, which saves its state in OUT/name.ckpt. */
bdpt_hooks session_hooks(session *s, const char *name);

/* Writes the record to the disk; then the checkpoint OUT/name.ckpt is no longer needed. NULL:
 * there is none. */
bdpt_status session_save(session *s, const char *name);

/* Returns 1 if this process stops, or one of those that work together with it: they stop at the
 * same step. */
int session_stops(session *s, int stop);

/* Reads the record OUT/name if there is one. */
bdpt_status session_load(session *s, const char *name);

/* Moves the record to OUT/previous.jsonl, which `aside` gets, and empties the one in memory. Of
 * several processes one moves. An error leaves the file where it is. */
bdpt_status session_set_aside(session *s, char aside[720]);

/* Adds the "setup" line, which says what was measured on what, and saves. */
bdpt_status session_record_setup(session *s, const bdpt_config *c, const char *model, size_t seed,
                                 size_t test_images, const char *command);

/* Adds an "epoch" line for each epoch of a training. */
void session_record_epochs(session *s, const char *phase, const bdpt_epoch *log, int epochs);

/* Tells a piece of the story on stdout; says nothing when the results are wanted as JSON. */
CLI_PRINTF(2, 3)
void session_say(session *s, const char *format, ...);

/* Tells a part's title, bold on a terminal. */
void session_title(session *s, const char *title);

/* Prints "   attention    61.2  60.9 ...": one number per layer. */
void session_say_layers(session *s, const char *label, const double *value, const char *format);

/* Prints the line of layer numbers above such lines. */
void session_say_numbers(session *s);

/* Prints the lines of the record that were not printed yet, for --json. */
void session_print_json(session *s);

/* Computes the mean over all "disparity" lines, layer by layer. */
void session_mean_gradients(const session *s, double out[2][BDPT_MAX_DEPTH]);

#endif /* TOOL_SESSION_H */
