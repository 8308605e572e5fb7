/* progress.h: the line that says how far a long call is
 *
 * On a terminal it is one line that rewrites itself; in a file or a pipe it is a plain line now and
 * then, so that a log stays readable. Results go to stdout, progress to stderr.
 */
#ifndef TOOL_CLI_PROGRESS_H
#define TOOL_CLI_PROGRESS_H

#include "../../../boundarydpt.h"

typedef struct cli_progress {
  int off, terminal, shown;
  double began, said;     /* when the part began, when a line was last written */
  double first;           /* fraction done at the first report */
  size_t total;
  char phase[24];
  void (*also)(const bdpt_progress *now, void *user); /* sees every report first; may be NULL */
  void *user;
} cli_progress;

/* Starts with an empty line; `quiet` keeps it empty. */
void cli_progress_open(cli_progress *p, int quiet);

/* Wipes the line, so that a result can be printed where it stood. */
void cli_progress_clear(cli_progress *p);

/* Writes "1:02:03", or "-:--" for a time that is not known. */
void cli_duration(char out[40], double seconds);

/* Is the library's progress callback; `user` is the cli_progress. Returns 1 after Ctrl-C. */
int cli_progress_hook(const bdpt_progress *now, void *user);

/* Returns the hooks for one long call of the library; `checkpoint` may be NULL. */
bdpt_hooks cli_hooks(cli_progress *p, const char *checkpoint);

#endif /* TOOL_CLI_PROGRESS_H */
