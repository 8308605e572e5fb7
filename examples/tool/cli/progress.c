/* progress.c: the line that says how far a long call is */
#include "../../../boundarydpt.h"
#include "progress.h"
#include "system.h"

#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 3  PROGRESS                                                                           >>progress
 * =================================================================================================
 * The library reports (phase, detail, done, total). The time left is estimated from the pace since
 * this program saw the phase for the first time, so a resumed run does not count what was done
 * before. A callback that always returns the Ctrl-C flag makes every long call interruptible.
 */

void cli_progress_open(cli_progress *p, int quiet) {
  memset(p, 0, sizeof *p);
  p->off = quiet;
  p->terminal = cli_is_terminal(stderr);
}

void cli_progress_clear(cli_progress *p) {
  if (p->shown) fprintf(stderr, "\r%-79s\r", "");
  fflush(stderr);
  p->shown = 0;
}

void cli_duration(char out[40], double seconds) {
  int s = seconds >= 0 && seconds < 3.6e6 ? (int)(seconds + 0.5) : -1;
  if (s < 0) snprintf(out, 40, "-:--");
  else if (s >= 3600) snprintf(out, 40, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  else snprintf(out, 40, "%d:%02d", s / 60, s % 60);
}

static void cli_progress_show(cli_progress *p, const bdpt_progress *now) {
  double share = now->total ? (double)now->done / (double)now->total : 0.0, t = cli_now();
  char left[40], line[160], number[32] = "";
  if (strncmp(p->phase, now->phase, sizeof p->phase - 1) != 0 || p->total != now->total ||
      share < p->first) {
    snprintf(p->phase, sizeof p->phase, "%s", now->phase);
    p->total = now->total;
    p->began = t;
    p->first = share;
    if (p->said == 0) p->said = t;
  }
  if (t - p->said < (p->terminal ? 0.15 : 15.0)) return;
  p->said = t;
  cli_duration(left, share > p->first ? (t - p->began) * (1 - share) / (share - p->first) : -1);
  if (now->accuracy == now->accuracy) snprintf(number, sizeof number, "  %.1f %%", now->accuracy);
  else if (now->loss == now->loss) snprintf(number, sizeof number, "  loss %.3f", now->loss);
  snprintf(line, sizeof line, "   %s%s%s: %.0f %%%s, %s left", now->phase,
           now->detail && *now->detail ? ", " : "", now->detail ? now->detail : "", 100 * share,
           number, left);
  if (p->terminal) fprintf(stderr, "\r%-79.79s", line);
  else fprintf(stderr, "%s\n", line);
  fflush(stderr);
  p->shown = p->terminal;
}

int cli_progress_hook(const bdpt_progress *now, void *user) {
  cli_progress *p = (cli_progress *)user;
  if (p->also) p->also(now, p->user);
  if (!p->off) cli_progress_show(p, now);
  return cli_stop != 0;
}

bdpt_hooks cli_hooks(cli_progress *p, const char *checkpoint) {
  bdpt_hooks hooks;
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = cli_progress_hook;
  hooks.user = p;
  hooks.checkpoint = checkpoint;
  p->phase[0] = 0;
  p->said = 0;
  return hooks;
}
