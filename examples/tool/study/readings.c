/* readings.c: part 20 of the study: which layers, once more
 *
 * Why does learned importance choose worse than chance in part 6, and far behind the greedy choice
 * in part 14? Every row takes as many layers as part 6 from the network of part 15, and then all
 * get what those of part 14 get: a skip and fitted maps, which.marks epochs of recovery from
 * labels. They differ in who chooses:
 *
 *   greedy            the first layers of part 16's choice, which trains nothing
 *   best recovered    the first of part 3
 *   random 1 to 3     draws, others for every seed
 *   Adam              learned importance as the paper has it: AdamW moves the scalars, the mask
 *                     mixes the layer with the identity, a removal each which.stage epochs
 *   signed mean       the mean of dL/dm over that stage: its size, where AdamW counts signs
 *   mean square       the mean of (dL/dm)^2: how much m matters, whatever the sign
 *   fitted            Adam, or the mean square, but activations are mixed with the maps that will
 *                     stand there, and attention with nothing
 *   descent           plain gradient descent moves the scalars, at the rate of the weights
 *   gate, rate k      the scalar is the mask, and moves k times as fast as a weight. As long as it
 *                     is not, AdamW's steps are proportional to the rate, so that no rate of their
 *                     own changes the order of the scalars.
 *   four times        Adam, with stages four times as long
 *
 * and the choices of others, whose layers then get the same recovery:
 *
 *   sign entropy      EASIER (arXiv 2404.18949) takes the rectifier of the layer whose neurons'
 *                     signs have the least entropy on the training images, trains, and measures
 *                     again. Here the measure decides one activation after the other, each with its
 *                     fitted map, and nothing is trained before the last is gone; it says nothing
 *                     of attention, whose layers are those of the row "best recovered".
 *   PriViT            PriViT (arXiv 2310.04604) trains switches between each nonlinearity and
 *                     something simpler, with terms of sparsity and distillation, and rounds them
 *                     in the end. Here a switch belongs to a whole layer, as all that goes are
 *                     layers.
 *   cosine            LLM-Drop (arXiv 2406.15786) drops the layers whose output is most alike to
 *                     their input, measured once, without any training.
 *   transfer entropy  NOSE (arXiv 2404.05657) removes the attention layers that change the entropy
 *                     of the answer least, found greedily. Here each layer of either type is
 *                     measured once, on its own.
 *
 * The rows that tell most come first, seed after seed, so that the part can be cut short.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "baselines.h"
#include "gates.h"
#include "reproduce.h"
#include "study.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { READING_GREEDY, READING_RECOVERED, READING_RANDOM, READING_SCALARS, READING_SIGNS,
       READING_COSINE, READING_TRANSFER };

/* number: of a random draw; of scalars how many stages long a stage is. */
static const struct {
  const char *row;
  int way, number, rule, fitted, privit;
  double gate;
} study_reading[STUDY_READINGS] = {
  {"greedy", READING_GREEDY, 0, 0, 0, 0, 0},
  {"Adam", READING_SCALARS, 1, GATE_ADAM, 0, 0, 0},
  {"random 1", READING_RANDOM, 1, 0, 0, 0, 0},
  {"signed mean", READING_SCALARS, 1, GATE_MEAN, 0, 0, 0},
  {"fitted", READING_SCALARS, 1, GATE_ADAM, 1, 0, 0},
  {"best recovered", READING_RECOVERED, 0, 0, 0, 0, 0},
  {"mean square", READING_SCALARS, 1, GATE_SQUARE, 0, 0, 0},
  {"random 2", READING_RANDOM, 2, 0, 0, 0, 0},
  {"fitted, mean square", READING_SCALARS, 1, GATE_SQUARE, 1, 0, 0},
  {"descent", READING_SCALARS, 1, GATE_DESCENT, 0, 0, 0},
  {"gate, rate 30", READING_SCALARS, 1, GATE_ADAM, 0, 0, 30},
  {"sign entropy", READING_SIGNS, 0, 0, 0, 0, 0},
  {"PriViT", READING_SCALARS, 1, GATE_ADAM, 0, 1, 30},
  {"cosine", READING_COSINE, 0, 0, 0, 0, 0},
  {"transfer entropy", READING_TRANSFER, 0, 0, 0, 0, 0},
  {"gate, rate 3", READING_SCALARS, 1, GATE_ADAM, 0, 0, 3},
  {"random 3", READING_RANDOM, 3, 0, 0, 0, 0},
  {"four times", READING_SCALARS, 4, GATE_ADAM, 0, 0, 0}};

/* A term of sparsity's share in dL/dm of a PriViT row, by type: about a quarter of the mean size of
 * dL/dm in part 2. */
static const double study_pull[2] = {0.02, 0.1};

/* ---- Choices ---- */

/* A choice: its layers and what it cost. */
typedef struct study_pick_made {
  int which[2][BDPT_MAX_DEPTH];
  double trained, looked, seconds;
} study_pick_made;

/* Returns the line of a choice; those that train nothing are the same for every seed. */
static record_line study_pick_line(const study *s, int row, size_t seed) {
  const int once = study_reading[row].way != READING_SCALARS;
  return study_find(s, "pick", "row", study_reading[row].row, "seed",
                    once ? (double)s->o.common.seed : (double)seed);
}

/* Returns 1 if the choice needs a line of its own. */
static int study_picks_here(int row) {
  const int way = study_reading[row].way;
  return way == READING_SCALARS || way == READING_SIGNS || way == READING_COSINE ||
         way == READING_TRANSFER;
}

static int study_reading_hook(const bdpt_progress *now, void *user) {
  study *s = (study *)user;
  return session_stops(&s->base, cli_progress_hook(now, &s->base.progress));
}

static gate_options study_gates(const study *s, int row, size_t seed) {
  const study_recipe *r = &s->recipe;
  gate_options o;
  int t;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, 1, seed);
  o.stage = r->which_stage * study_reading[row].number;
  o.rule = study_reading[row].rule;
  o.fitted = study_reading[row].fitted;
  o.gate = study_reading[row].gate;
  for (t = 0; t < 2; t++) o.remove[t] = r->which_remove.layer[t];
  if (!study_reading[row].privit) return o;
  o.at_once = 1;
  memcpy(o.pull, study_pull, sizeof o.pull);
  o.recipe.distill = BDPT_DISTILL_SOFT;
  o.recipe.distill_alpha = r->distill_alpha;
  o.recipe.distill_tau = r->distill_tau;
  return o;
}

/* Writes where a search is saved: "reading-signed-mean-1". */
static void study_pick_file(int row, size_t seed, char out[80]) {
  char *c = out;
  snprintf(out, 80, "reading-%s-%zu", study_reading[row].row, seed);
  for (; *c; c++)
    if (*c == ' ' || *c == ',') *c = '-';
}

static bdpt_status study_pick_scalars(study *s, int row, size_t seed, study_pick_made *out) {
  const gate_options o = study_gates(s, row, seed);
  bdpt_hooks hooks;
  gate_result found;
  char checkpoint[80];
  bdpt_status status;
  int i;
  study_pick_file(row, seed, checkpoint);
  hooks = session_hooks(&s->base, checkpoint);
  hooks.progress = study_reading_hook;
  hooks.user = s;
  status = gate_search(s->better, study_reading[row].privit ? s->better : NULL,
                       &(bdpt_run){&s->base.in.rest, NULL, &hooks}, &o, &found);
  if (status != BDPT_OK) return status;
  for (i = 0; i < found.removed; i++)
    out->which[found.layer[i].type][found.layer[i].block] = 1;
  out->trained = found.trained;
  out->looked = found.looked;
  out->seconds = found.seconds;
  return BDPT_OK;
}

/* Chooses as EASIER does, one activation after the other; attention in the order of part 3. */
static bdpt_status study_pick_signs(study *s, const bdpt_subset *few, study_pick_made *out) {
  bdpt_model *m = bdpt_model_clone(s->better);
  const int *wanted = s->recipe.which_remove.layer;
  double sign[BDPT_MAX_DEPTH];
  study_spec recovered;
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  int n, l;
  study_first(s, wanted[0], 0, &recovered);
  memcpy(out->which[0], recovered.which[0], sizeof out->which[0]);
  for (n = 0; n < wanted[1] && status == BDPT_OK; n++) {
    bdpt_layers one = {{0, 0}};
    int best = 0;
    status = gate_signs(m, few, sign);
    for (l = 1; l < s->base.depth; l++)
      if (sign[l] < sign[best]) best = l;
    bdpt_layers_add(&one, BDPT_ACTIVATION, best);
    out->which[1][best] = 1;
    if (status == BDPT_OK)
      status = bdpt_remove(m, &one, BDPT_START_SKIP_FIT, &s->base.in.rest, NULL);
    out->looked += (double)few->count;
  }
  bdpt_model_free(m);
  return status;
}

/* Chooses the layers of smallest score; for cosines of largest. */
static bdpt_status study_pick_scores(study *s, int way, const bdpt_subset *few,
                                     study_pick_made *out) {
  double score[2][BDPT_MAX_DEPTH];
  baseline_walk walk;
  bdpt_status status;
  int i;
  memset(score, 0, sizeof score);
  if (way == READING_COSINE) {
    status = baseline_look(s->better, few, &walk);
    for (i = 0; i < 2 * s->base.depth; i++) score[i % 2][i / 2] = -walk.cosine[i % 2][i / 2];
    out->looked = (double)few->count;
  } else {
    status = baseline_transfer(s->better, few, score);
    out->looked = (2.0 * s->base.depth + 1) * (double)few->count;
  }
  baseline_take(score, s->base.depth, s->recipe.which_remove.layer, 0, out->which);
  return status;
}

static bdpt_status study_pick_of(study *s, int row, size_t seed, study_pick_made *out) {
  const int way = study_reading[row].way;
  const clock_t began = clock();
  bdpt_subset few;
  bdpt_status status;
  memset(out, 0, sizeof *out);
  if (way == READING_SCALARS) return study_pick_scalars(s, row, seed, out);
  memset(&few, 0, sizeof few);
  status = study_sample(s, s->recipe.which_images, &few);
  if (status == BDPT_OK && way == READING_SIGNS) status = study_pick_signs(s, &few, out);
  else if (status == BDPT_OK) status = study_pick_scores(s, way, &few, out);
  bdpt_subset_free(s->base.ctx, &few);
  out->seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
  return status;
}

/* Returns how many images a choice trains on and looks at. */
static double study_pick_cost(const study *s, int row, double *looked) {
  const study_recipe *r = &s->recipe;
  const double layers = r->which_remove.layer[0] + r->which_remove.layer[1];
  const double side = s->dense->config.image / s->dense->config.patch;
  const double fit = 64.0 * s->dense->config.width / (side * side + 1);
  *looked = study_reading[row].way == READING_TRANSFER ? 2 * s->base.depth : layers;
  *looked *= (double)r->which_images;
  if (study_reading[row].way != READING_SCALARS) return 0;
  *looked = study_reading[row].fitted ? layers * s->base.depth * fit : 0;
  return layers * r->which_stage * study_reading[row].number * (double)r->epoch;
}

/* Makes a choice, once, as a "pick" line. */
static bdpt_status study_pick_layers(study *s, int row, size_t seed) {
  cli_json *j = &s->base.record.text;
  double looked;
  const double train = study_pick_cost(s, row, &looked);
  study_pick_made made;
  char name[80];
  int layer[BDPT_MAX_DEPTH], t;
  bdpt_status status;
  if (study_reading[row].way != READING_SCALARS) seed = s->o.common.seed;
  snprintf(name, sizeof name, "pick %s %zu", study_reading[row].row, seed);
  if (!study_picks_here(row) ||
      !study_cell(s, name, study_pick_line(s, row, seed).text != NULL, train, looked))
    return BDPT_OK;
  status = study_pick_of(s, row, seed, &made);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "pick");
  cli_json_text(j, "row", study_reading[row].row);
  cli_json_real(j, "seed", (double)seed);
  for (t = 0; t < 2; t++)
    cli_json_ints(j, bdpt_type_name((bdpt_type)t), layer,
                  study_layers(made.which[t], s->base.depth, layer));
  cli_json_real(j, "images_trained", made.trained);
  cli_json_real(j, "images", made.looked);
  cli_json_real(j, "processor_seconds", made.seconds);
  cli_json_close(j);
  study_pick_file(row, seed, name);
  return study_cell_end(s, session_save(&s->base, name));
}

/* ---- Rows ---- */

static study_spec study_reading_spec(const study *s, int row, int seed) {
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, &s->recipe.which_marks, seed);
  const int *n = s->recipe.which_remove.layer, way = study_reading[row].way;
  double score[2][BDPT_MAX_DEPTH], list[BDPT_MAX_DEPTH];
  int t, l;
  p.better = 1;
  if (way == READING_GREEDY) study_headline_first(s, n[0] + n[1], &p);
  if (way == READING_RECOVERED) study_first(s, n[0], n[1], &p);
  if (way == READING_RANDOM) {
    baseline_random(100 * p.seed + (size_t)study_reading[row].number, score);
    baseline_take(score, s->base.depth, n, 0, p.which);
  }
  for (t = 0; t < 2 && study_picks_here(row); t++) {
    const int have = record_reals(study_pick_line(s, row, p.seed), bdpt_type_name((bdpt_type)t),
                                  list, BDPT_MAX_DEPTH);
    for (l = 0; l < have; l++)
      if (list[l] >= 0 && list[l] < s->base.depth) p.which[t][(int)list[l]] = 1;
  }
  return p;
}

bdpt_status study_readings(study *s) {
  const int all = STUDY_READINGS * s->recipe.seeds;
  bdpt_status status = study_better(s);
  int i;
  if (status == BDPT_OK) status = study_headline_greedy(s);
  for (i = 0; i < all && status == BDPT_OK && s->share.mode != STUDY_ALL; i++)
    status = study_pick_layers(s, i % STUDY_READINGS,
                               s->o.common.seed + (size_t)(i / STUDY_READINGS));
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (i = 0; i < all && status == BDPT_OK; i++) {
    const int row = i % STUDY_READINGS, seed = i / STUDY_READINGS;
    study_spec p;
    if (s->share.mode == STUDY_ALL)
      status = study_pick_layers(s, row, s->o.common.seed + (size_t)seed);
    if (status != BDPT_OK) break;
    p = study_reading_spec(s, row, seed);
    status = study_row_of(s, "reading", study_reading[row].row, &p);
  }
  return status;
}

void study_tell_readings(study *s) {
  int i;
  session_say(&s->base, "   %d + %d %s gone, held-out accuracy after training, deviation over "
              "seeds; the cost of the choice:\n", s->recipe.which_remove.layer[0],
              s->recipe.which_remove.layer[1],
              words_of(s->recipe.which_remove.layer[0] + s->recipe.which_remove.layer[1], "layer",
                       "layers"));
  for (i = 0; i < STUDY_READINGS; i++) {
    const record_line line = study_pick_line(s, i, s->o.common.seed);
    study_say_spread(s, "reading", "row", study_reading[i].row, NULL, 0);
    if (line.text)
      session_say(&s->base,
                  "      trained on %.0f images, looked at %.0f, %.0f processor %s\n",
                  record_real(line, "images_trained", NAN), record_real(line, "images", NAN),
                  record_real(line, "processor_seconds", NAN),
                  words_of(record_real(line, "processor_seconds", NAN), "second", "seconds"));
  }
}

/* Returns how many images all choices of the part train on and look at. */
double study_readings_cost(const study *s, double *looked) {
  double train = 0, more;
  int i;
  for (i = 0, *looked = 0; i < STUDY_READINGS; i++) {
    const int times = study_reading[i].way == READING_SCALARS ? s->recipe.seeds : 1;
    if (!study_picks_here(i)) continue;
    train += times * study_pick_cost(s, i, &more);
    *looked += times * more;
  }
  return train;
}
