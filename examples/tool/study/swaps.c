/* swaps.c: part 16 of the study: the greedy layers, exchanged where a short recovery says so
 *
 * The greedy choice judges a layer by what its removal costs at once. Some layers cost much at once
 * and heal. So each layer is asked what it costs after a short recovery: one training without the
 * greedy layers, one for each of these put back, one for each other layer gone as well, all with
 * the same seed and images. An exchange of two layers of one type, which keeps the multiply-adds as
 * they are, promises the sum of the two differences in loss. The most promising exchanges are
 * trained as well, then the best of each type together, and the smallest loss on the held-out
 * images wins; it may be that of the greedy layers.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Layer `back` returns, layer `gone` is removed in its place; `loss` is promised, or measured. */
typedef struct swap {
  int type, back, gone;
  double loss;
} swap;

/* The answer so far, and what it took. */
typedef struct swap_search {
  study_spec found;
  double least, before; /* loss, of that and of the greedy layers */
  int trainings;
} swap_search;

record_line study_swapped(const study *s, const study_spec *greedy) {
  char name[STUDY_NAME];
  study_name(s, greedy, name);
  return study_find(s, "swapped", "name", name, "swaps", s->recipe.headline_swaps);
}

/* Trains a job, and returns its loss on the held-out images in *loss: infinite if it is not known,
 * which happens where cells are only listed or another program has them. */
static bdpt_status swap_train(study *s, const study_spec *p, double *loss) {
  const bdpt_status status = study_network(s, p);
  char name[STUDY_NAME];
  study_name(s, p, name);
  *loss = record_real(study_find(s, "mark", "name", name, "epoch",
                                 p->marks->layer[p->marks->count - 1]), "loss", INFINITY);
  return status;
}

/* The same for one that could be the answer. */
static bdpt_status swap_try(study *s, const study_spec *p, swap_search *w, double *loss) {
  const bdpt_status status = swap_train(s, p, loss);
  w->trainings++;
  if (*loss >= w->least) return status;
  w->least = *loss;
  w->found = *p;
  return status;
}

static study_spec swap_spec(const study_spec *p, swap one) {
  study_spec q = *p;
  q.which[one.type][one.back] = 0;
  q.which[one.type][one.gone] = 1;
  return q;
}

/* Fills best[wanted] with the exchanges of the least promised loss, in order; returns how many
 * there are. loss[t][l]: with layer l of type t back, or gone as well. */
static int swap_promising(const study *s, const study_spec *p,
                          double loss[2][BDPT_MAX_DEPTH], swap *best, int wanted) {
  swap one;
  int n = 0, i;
  for (one.type = 0; one.type < 2; one.type++)
    for (one.back = 0; one.back < s->base.depth; one.back++)
      for (one.gone = 0; one.gone < s->base.depth; one.gone++) {
        if (!p->which[one.type][one.back] || p->which[one.type][one.gone]) continue;
        one.loss = loss[one.type][one.back] + loss[one.type][one.gone];
        for (i = n; i > 0 && one.loss < best[i - 1].loss; i--)
          if (i < wanted) best[i] = best[i - 1];
        if (i < wanted) best[i] = one;
        if (n < wanted) n++;
      }
  return n;
}

static bdpt_status swap_record(study *s, const study_spec *greedy, const swap_search *w) {
  const study_spec *p = &w->found;
  cli_json *j = &s->base.record.text;
  char name[STUDY_NAME];
  int layer[BDPT_MAX_DEPTH], t;
  study_name(s, greedy, name);
  cli_json_open(j, "swapped");
  cli_json_text(j, "name", name);
  cli_json_real(j, "swaps", s->recipe.headline_swaps);
  for (t = 0; t < 2; t++)
    cli_json_ints(j, bdpt_type_name((bdpt_type)t), layer,
                  study_layers(p->which[t], s->base.depth, layer));
  cli_json_real(j, "greedy_loss", w->before);
  cli_json_real(j, "loss", w->least);
  cli_json_real(j, "trainings", w->trainings);
  cli_json_real(j, "images", (double)w->trainings * (double)s->recipe.epoch *
                                 p->marks->layer[p->marks->count - 1]);
  cli_json_close(j);
  return record_save(&s->base.record);
}

bdpt_status study_swaps(study *s, const study_spec *greedy) {
  double loss[2][BDPT_MAX_DEPTH] = {{0}}, any;
  swap best[STUDY_MOST_SWAPS], of[2] = {{0, 0, 0, INFINITY}, {1, 0, 0, INFINITY}};
  swap_search w = {*greedy, INFINITY, INFINITY, 0};
  study_spec p = *greedy;
  bdpt_status status;
  char name[STUDY_NAME], cell[STUDY_NAME + 20];
  int i, n;
  if (s->recipe.headline_swaps < 1) return BDPT_OK;
  status = swap_try(s, &p, &w, &w.before);
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++, w.trainings++) {
    study_spec q = p;
    q.which[i % 2][i / 2] ^= 1;
    status = swap_train(s, &q, &loss[i % 2][i / 2]);
  }
  if (status != BDPT_OK || study_waits(s)) return status;
  n = swap_promising(s, &p, loss, best, s->recipe.headline_swaps);
  for (i = 0; i < n && status == BDPT_OK; i++) {
    study_spec q = swap_spec(&p, best[i]);
    status = swap_try(s, &q, &w, &best[i].loss);
    if (best[i].loss < of[best[i].type].loss) of[best[i].type] = best[i];
  }
  if (status != BDPT_OK || study_waits(s)) return status;
  if (of[0].loss < w.before && of[1].loss < w.before) {
    p = swap_spec(&p, of[0]);
    p = swap_spec(&p, of[1]);
    status = swap_try(s, &p, &w, &any);
  }
  if (status != BDPT_OK || study_waits(s)) return status;
  study_name(s, greedy, name);
  snprintf(cell, sizeof cell, "%d swaps, %s", s->recipe.headline_swaps, name);
  if (!study_cell(s, cell, study_swapped(s, greedy).text != NULL, 0, 0)) return BDPT_OK;
  return study_cell_end(s, swap_record(s, greedy, &w));
}

/* Returns the place, among the layers that a has and b has not, of layer l. */
static int swap_place(const int *a, const int *b, int l) {
  int i, n = 0;
  for (i = 0; i < l; i++) n += a[i] && !b[i];
  return n;
}

void study_swap_taken(const study *s, const study_spec *greedy, study_spec *p) {
  const record_line line = study_swapped(s, greedy);
  int now[2][BDPT_MAX_DEPTH], t, l, k;
  memset(now, 0, sizeof now);
  for (t = 0; t < 2; t++) {
    double list[BDPT_MAX_DEPTH];
    const int have = record_reals(line, bdpt_type_name((bdpt_type)t), list, BDPT_MAX_DEPTH);
    for (l = 0; l < have; l++)
      if (list[l] >= 0 && list[l] < s->base.depth) now[t][(int)list[l]] = 1;
  }
  if (s->recipe.headline_swaps < 1 || !line.text) return;
  for (t = 0; t < 2; t++)
    for (l = 0; l < s->base.depth; l++) {
      if (!p->which[t][l] || now[t][l]) continue;
      p->which[t][l] = 0;
      for (k = 0; k < s->base.depth; k++)
        if (now[t][k] && !greedy->which[t][k] &&
            swap_place(now[t], greedy->which[t], k) == swap_place(greedy->which[t], now[t], l))
          p->which[t][k] = 1;
    }
}
