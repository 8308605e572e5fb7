/* headline.c: parts 14 to 18 of the study: greedy choices, and the recovery with all its pieces
 *
 *   14 choice    layers chosen greedily (bdpt_greedy), against other choices at the same training
 *   15 better    the dense network, trained on with itself as teacher
 *   16 headline  ten layers' worth of multiply-accumulates gone: the recovery piece by piece
 *   17 long      the whole recovery on ten passes over the training images
 *   18 frontier  depth, width and both, all with the whole recovery
 *
 * One half of the held-out images chooses layers. As in parts 12 and 13 nothing else depends on the
 * values of this recipe, and the names of the jobs hold them. Parts 16 to 18 stand on the network
 * of part 15, which their jobs name by its hash.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "pieces.h"
#include "reproduce.h"
#include "study.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bdpt_status study_half(study *s, bdpt_subset *out) {
  const bdpt_subset *held = &s->base.in.held;
  unsigned char *odd = (unsigned char *)calloc((size_t)held->data->classes, 1);
  bdpt_status status = odd ? bdpt_sample(s->base.ctx, held, held->count, 1, out) : BDPT_E_MEMORY;
  size_t i, n = 0;
  for (i = 0; i < held->count && status == BDPT_OK; i++) {
    unsigned char *flag = &odd[held->data->label[held->index[i]]];
    *flag ^= 1;
    if (*flag) out->index[n++] = held->index[i];
  }
  out->count = n;
  free(odd);
  return status;
}

double study_greedy_images(const study *s) {
  int n = s->recipe.headline_layers, all = 2 * s->base.depth;
  double fit = 64.0 * s->dense->config.width, tokens = s->dense->config.image /
                                                       s->dense->config.patch;
  return (n * all - n * (n - 1) / 2.0) *
         ((double)s->recipe.headline_images + fit / (tokens * tokens + 1));
}

/* ---- Greedy choices ---- */

/* A choice to be made: from which network, and where it ends, by number or by cost. */
typedef struct study_goal {
  int better, layers; /* of both types; 0: as many as the cost takes */
  double macs;        /* of the fused network, at most; 0: any */
} study_goal;

/* Returns the line of a choice. */
static record_line study_chosen(const study *s, study_goal goal) {
  const char *hash = goal.better ? s->better_hash : s->hash;
  record_line line;
  char own[20];
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", "greedy")) continue;
    record_text(line, "parent", own, sizeof own);
    if (strcmp(own, hash) == 0 && record_int(line, "wanted", -1) == goal.layers &&
        record_real(line, "budget", -1) == goal.macs)
      break;
  }
  return line;
}

static bdpt_status study_record_greedy(study *s, study_goal goal, const bdpt_greedy_result *found,
                                       double seconds) {
  cli_json *j = &s->base.record.text;
  double list[2][2 * BDPT_MAX_DEPTH];
  int i;
  for (i = 0; i < found->removed; i++) {
    list[0][i] = found->layer[i].type;
    list[1][i] = found->layer[i].block;
  }
  cli_json_open(j, "greedy");
  cli_json_text(j, "parent", goal.better ? s->better_hash : s->hash);
  cli_json_real(j, "wanted", goal.layers);
  cli_json_real(j, "budget", goal.macs);
  cli_json_real(j, "layers", found->removed);
  cli_json_reals(j, "types", list[0], found->removed);
  cli_json_reals(j, "block", list[1], found->removed);
  cli_json_reals(j, "losses", found->loss, found->removed);
  cli_json_reals(j, "accuracies", found->accuracy, found->removed);
  cli_json_reals(j, "costs", found->cost, found->removed);
  cli_json_real(j, "images", found->images);
  cli_json_real(j, "processor_seconds", seconds);
  cli_json_close(j);
  return record_save(&s->base.record);
}

/* Makes a choice, once, as a "greedy" line. */
static bdpt_status study_greedy(study *s, study_goal goal) {
  bdpt_greedy_options o;
  bdpt_greedy_result found;
  bdpt_subset half;
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status status;
  clock_t began;
  char name[120], checkpoint[60];
  snprintf(checkpoint, sizeof checkpoint, "greedy-%d-%.0f", goal.layers, goal.macs);
  snprintf(name, sizeof name, "%s of %s", checkpoint, goal.better ? s->better_hash : s->hash);
  if (!study_cell(s, name, study_chosen(s, goal).text != NULL, 0, study_greedy_images(s)))
    return BDPT_OK;
  memset(&half, 0, sizeof half);
  memset(&o, 0, sizeof o);
  status = study_half(s, &half);
  m = bdpt_model_clone(goal.better ? s->better : s->dense);
  if (status == BDPT_OK && !m) status = s->base.ctx->status;
  o.layers = goal.layers;
  o.budget = goal.macs;
  o.images = s->recipe.headline_images < half.count ? s->recipe.headline_images : half.count;
  hooks = session_hooks(&s->base, checkpoint);
  began = clock();
  if (status == BDPT_OK)
    status = bdpt_greedy(m, &(bdpt_run){&s->base.in.rest, &half, &hooks}, &o, &found);
  bdpt_model_free(m);
  bdpt_subset_free(s->base.ctx, &half);
  if (status != BDPT_OK) return status;
  status = study_record_greedy(s, goal, &found, (double)(clock() - began) / CLOCKS_PER_SEC);
  cli_forget_checkpoint(hooks.checkpoint);
  return study_cell_end(s, status);
}

/* Takes the first layers of a choice. */
static void study_take(const study *s, study_goal goal, int most, study_spec *p) {
  record_line line = study_chosen(s, goal);
  double type[2 * BDPT_MAX_DEPTH], block[2 * BDPT_MAX_DEPTH];
  int i, have = record_reals(line, "types", type, 2 * BDPT_MAX_DEPTH);
  memset(p->which, 0, sizeof p->which);
  if (record_reals(line, "block", block, 2 * BDPT_MAX_DEPTH) != have) return;
  for (i = 0; i < have && i < most; i++)
    if (block[i] >= 0 && block[i] < s->base.depth) p->which[type[i] > 0][(int)block[i]] = 1;
}

static void study_tell_greedy(study *s, study_goal goal) {
  record_line line = study_chosen(s, goal);
  double type[2 * BDPT_MAX_DEPTH], block[2 * BDPT_MAX_DEPTH], loss[2 * BDPT_MAX_DEPTH];
  int n = record_reals(line, "types", type, 2 * BDPT_MAX_DEPTH), i;
  record_reals(line, "block", block, 2 * BDPT_MAX_DEPTH);
  record_reals(line, "losses", loss, 2 * BDPT_MAX_DEPTH);
  for (i = 0; i < n; i++)
    session_say(&s->base, "   %2d %-10s %2.0f   loss %.4f\n", i + 1, bdpt_type_name(type[i] > 0),
                block[i], loss[i]);
}

bdpt_status study_row_of(study *s, const char *kind, const char *row, const study_spec *p) {
  bdpt_status status = study_network(s, p);
  if (status != BDPT_OK || s->share.missing > 0 || s->share.mode == STUDY_LISTS ||
      study_find(s, kind, "row", row, "seed", (double)p->seed).text)
    return status;
  cli_json_open(&s->base.record.text, kind);
  cli_json_text(&s->base.record.text, "row", row);
  study_tail(s, p);
  return record_save(&s->base.record);
}

/* ---- 14  The choice: as many layers as part 6 removes, everything else equal ---- */

const char *const study_pick[STUDY_PICKS] = {"greedy", "learned", "best recovered"};

static study_goal study_goal_choice(const study *s) {
  study_goal goal = {0, 0, 0};
  goal.layers = s->recipe.which_remove.layer[0] + s->recipe.which_remove.layer[1];
  return goal;
}

static study_spec study_picked(study *s, int i, int seed) {
  const int *n = s->recipe.which_remove.layer;
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, &s->recipe.which_marks, seed);
  if (i == 0) study_take(s, study_goal_choice(s), 2 * BDPT_MAX_DEPTH, &p);
  if (i == 1) study_choose(s, STUDY_LEARNED, p.seed, p.which);
  if (i == 2) study_first(s, n[0], n[1], &p);
  return p;
}

bdpt_status study_choice(study *s) {
  bdpt_status status = study_greedy(s, study_goal_choice(s));
  int i;
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (i = 0; i < STUDY_PICKS * s->recipe.seeds && status == BDPT_OK; i++) {
    study_spec p = study_picked(s, i % STUDY_PICKS, i / STUDY_PICKS);
    status = study_row_of(s, "choice", study_pick[i % STUDY_PICKS], &p);
  }
  return status;
}

void study_tell_choice(study *s) {
  int i;
  study_tell_greedy(s, study_goal_choice(s));
  for (i = 0; i < STUDY_PICKS; i++)
    study_say_spread(s, "choice", "row", study_pick[i], NULL, 0);
}

/* ---- 15  The dense network, trained on ---- */

bdpt_recipe study_better_recipe(const study *s) {
  const study_recipe *r = &s->recipe;
  bdpt_recipe p = study_training(s, r->better_epochs, s->o.common.seed + 1);
  p.batch = r->better_batch;
  p.epoch_images = r->dense_images < s->base.in.rest.count ? r->dense_images : 0;
  p.lr = r->better_lr;
  p.warmup = r->dense_warmup;
  p.cutmix = 1;
  p.mix_prob = r->better_mix_prob;
  p.drop_path = r->better_drop_path;
  p.ema = r->better_ema;
  p.distill = BDPT_DISTILL_SOFT;
  p.distill_alpha = r->better_alpha;
  p.distill_tau = r->distill_tau;
  return p;
}

bdpt_status study_better(study *s) {
  cli_json *j = &s->base.record.text;
  bdpt_accuracy held, test;
  study_root r = {"better", "the network of part 15", NULL, NULL, NULL, study_better_recipe(s), 0,
                  0};
  bdpt_status status = BDPT_OK;
  int fresh;
  if (s->better) return BDPT_OK;
  if (!study_find(s, "better", NULL, NULL, NULL, 0).text ||
      cli_file_exists(session_path(&s->base, "better.safetensors")) == 0)
    status = study_finer(s);
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  r.model = &s->better;
  r.teacher = s->finer ? s->finer : s->dense;
  r.hash = s->better_hash;
  r.trained = r.recipe.epochs * (double)s->base.in.rest.count;
  r.evaluated = (s->finer ? STUDY_FINER_COST : 1) * r.trained / 3;
  study_change(s, s->recipe.better_trivial);
  if (status == BDPT_OK) status = study_root_make(s, &r, &fresh);
  study_change(s, 0);
  if (status != BDPT_OK || !fresh) return status;
  status = bdpt_evaluate(s->better, &s->base.in.held, &held);
  if (status == BDPT_OK) status = bdpt_evaluate(s->better, &s->base.in.tested, &test);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "better");
  cli_json_text(j, "hash", s->better_hash);
  cli_json_text(j, "parent", s->hash);
  cli_json_text(j, "teacher", s->finer ? s->finer_hash : s->hash);
  cli_json_real(j, "alpha", s->recipe.better_alpha);
  cli_json_real(j, "epochs", s->recipe.better_epochs);
  cli_json_real(j, "batch", s->recipe.better_batch);
  cli_json_real(j, "lr", s->recipe.better_lr);
  cli_json_real(j, "mix_prob", s->recipe.better_mix_prob);
  cli_json_real(j, "trivial", s->recipe.better_trivial);
  cli_json_real(j, "drop_path", s->recipe.better_drop_path);
  cli_json_real(j, "ema", s->recipe.better_ema);
  cli_json_real(j, "accuracy", held.top1);
  cli_json_real(j, "test", test.top1);
  cli_json_close(j);
  return study_cell_end(s, session_save(&s->base, "better"));
}

void study_tell_better(study *s) {
  record_line line = study_find(s, "finer", NULL, NULL, NULL, 0);
  if (line.text)
    session_say(&s->base, "   its teacher reads patches of %d pixels; held-out %.2f %%, test "
                "%.2f %%\n", record_int(line, "patch", 0), record_real(line, "accuracy", NAN),
                record_real(line, "test", NAN));
  line = study_find(s, "better", NULL, NULL, NULL, 0);
  session_say(&s->base, "   %d %s more; held-out %.2f %%, test %.2f %%, hash %s\n",
              record_int(line, "epochs", 0),
              words_of(record_int(line, "epochs", 0), "epoch", "epochs"),
              record_real(line, "accuracy", NAN), record_real(line, "test", NAN), s->better_hash);
}

/* ---- 16  The recovery, piece by piece ---- */

const char *const study_whole = "all of it", *const study_control = "dense, all of it";

/* removed: 0 nothing, 1 the layers of the part's choice, 2 as many in the order of part 3, half of
 * each type, 3 the greedy layers without an exchange. The last seven do something else than take
 * all layers out at once and train:
 *
 *   in steps of two     two layers in the order of the choice, a training, maps for the next two
 *                       fitted to the network as it is by then, and so on over the first half of
 *                       the recovery
 *   a closing gate      each layer that goes fades out over the first third, what stands in its
 *                       place fades in (pieces.h)
 *   survivors repaired  the last linears of the layers that are left are solved again before any
 *                       training (pieces.h), as CORP (arXiv 2602.05243) compensates within a layer
 *   class token first   maps whose errors at the class token count as much as all the others do
 *   matched ...         the streams are held together only behind blocks that lost a layer, or only
 *                       behind the last block, with the same weight in all
 *   without labels      the teacher's answer and streams alone */
static const struct { const char *row; int removed, teacher, rate, features, uncropped, rival; }
study_pieces[STUDY_PIECES] = {
  {"dense, all of it", 0, STUDY_SOFT, 1, 1, 1, 0}, {"all of it", 1, STUDY_SOFT, 1, 1, 1, 0},
  {"all of it, greedy layers", 3, STUDY_SOFT, 1, 1, 1, 0},
  {"dense, as before", 0, STUDY_ALONE, 0, 0, 0, 0}, {"as before", 1, STUDY_ALONE, 0, 0, 0, 0},
  {"and a teacher", 1, STUDY_SOFT, 0, 0, 0, 0}, {"and the rate", 1, STUDY_SOFT, 1, 0, 0, 0},
  {"and the streams", 1, STUDY_SOFT, 1, 1, 0, 0},
  {"all of it, order of part 3", 2, STUDY_SOFT, 1, 1, 1, 0},
  {"in steps of two", 1, STUDY_SOFT, 1, 1, 1, STUDY_IN_STEPS},
  {"a closing gate", 1, STUDY_SOFT, 1, 1, 1, STUDY_CLOSING},
  {"survivors repaired", 1, STUDY_SOFT, 1, 1, 1, STUDY_REPAIRED},
  {"class token first", 1, STUDY_SOFT, 1, 1, 1, STUDY_CLASS_FIT},
  {"matched where layers went", 1, STUDY_SOFT, 1, 1, 1, STUDY_MATCH_WHERE},
  {"matched at the end", 1, STUDY_SOFT, 1, 1, 1, STUDY_MATCH_LAST},
  {"without labels", 1, STUDY_SOFT, 1, 1, 1, STUDY_NO_LABELS}};

/* Returns the cost that as many layers as headline.layers, half of each type, would leave. */
static study_goal study_goal_headline(const study *s) {
  study_goal goal = {1, 0, 0};
  goal.macs = study_budget(s, s->recipe.headline_layers / 2);
  return goal;
}

/* Sets everything that helps, as one recovery. */
static void study_all_of_it(const study *s, study_spec *p) {
  p->better = 1;
  p->teacher = STUDY_SOFT;
  p->lr = s->recipe.headline_lr;
  p->features = s->recipe.headline_features;
  p->alpha = s->recipe.headline_alpha;
  p->uncropped = s->recipe.headline_uncropped;
}

/* Returns the short recovery of the greedy layers, by which exchanges are judged. */
static study_spec study_short(const study *s) {
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, &s->recipe.headline_healing, 0);
  study_all_of_it(s, &p);
  study_headline_first(s, 2 * BDPT_MAX_DEPTH, &p);
  return p;
}

/* Sets the first n layers of the choice: greedy ones, or those that stand in their places. */
static void study_headline_layers(const study *s, int n, study_spec *p) {
  const study_spec greedy = study_short(s);
  study_headline_first(s, n, p);
  study_swap_taken(s, &greedy, p);
}

static study_spec study_piece(const study *s, int i, int seed, const cli_layers *marks) {
  study_spec p = study_spec_of(s, STUDY_SKIP_FIT, marks, seed);
  int n = s->recipe.headline_layers / 2;
  study_all_of_it(s, &p);
  if (study_pieces[i].removed == 1) study_headline_layers(s, 2 * BDPT_MAX_DEPTH, &p);
  if (study_pieces[i].removed == 3) study_headline_first(s, 2 * BDPT_MAX_DEPTH, &p);
  if (study_pieces[i].removed == 2) study_first(s, n, n, &p);
  p.teacher = study_pieces[i].teacher;
  p.rival = study_pieces[i].rival;
  if (!study_pieces[i].rate) p.lr = 0;
  if (!study_pieces[i].features) p.features = p.alpha = 0;
  if (!study_pieces[i].uncropped) p.uncropped = 0;
  return p;
}

bdpt_status study_headline_greedy(study *s) {
  return study_greedy(s, study_goal_headline(s));
}

bdpt_status study_headline_choice(study *s) {
  bdpt_status status = study_headline_greedy(s);
  study_spec p;
  if (status != BDPT_OK || study_waits(s)) return status;
  p = study_short(s);
  return study_swaps(s, &p);
}

void study_headline_first(const study *s, int n, study_spec *p) {
  study_take(s, study_goal_headline(s), n, p);
}

study_spec study_headline_spec(const study *s, int pruned, int seed) {
  return study_piece(s, pruned, seed, &s->recipe.headline_marks);
}

/* Returns the layers of `which` that the network still has. */
static bdpt_layers study_yet(const bdpt_model *m, int type, const study_spec *p) {
  bdpt_layers some = {{0, 0}};
  int l;
  for (l = 0; l < m->config.depth; l++) {
    const bdpt_block *b = &m->config.block[l];
    if (p->which[type][l] && (type ? b->mlp_state == BDPT_MLP_KEPT
                                   : b->attention == BDPT_ATTENTION_KEPT))
      bdpt_layers_add(&some, (bdpt_type)type, l);
  }
  return some;
}

size_t study_next_removal(const study_spec *p, const bdpt_model *m, size_t total) {
  const int gone = bdpt_removed(&m->config, 0) + bdpt_removed(&m->config, 1);
  int layer[BDPT_MAX_DEPTH];
  const int all = study_layers(p->which[0], m->config.depth, layer) +
                  study_layers(p->which[1], m->config.depth, layer);
  const size_t steps = (size_t)(all + 1) / 2, done = (size_t)(gone + 1) / 2;
  if (p->rival != STUDY_IN_STEPS || gone >= all) return SIZE_MAX;
  return (done * total + 2 * steps - 1) / (2 * steps); /* over the first half, evenly */
}

bdpt_status study_remove_next(study *s, const study_spec *p, bdpt_model *m) {
  const int gone = bdpt_removed(&m->config, 0) + bdpt_removed(&m->config, 1);
  study_spec next = *p;
  bdpt_layers some;
  study_headline_layers(s, gone + 2, &next);
  some = study_yet(m, BDPT_ATTENTION, &next);
  some.blocks[BDPT_ACTIVATION] = study_yet(m, BDPT_ACTIVATION, &next).blocks[BDPT_ACTIVATION];
  return bdpt_remove(m, &some, BDPT_START_SKIP_FIT, &s->base.in.rest, NULL);
}

/* Gives m a gate that closes, to which a copy of the parent lends what fades out. */
static bdpt_status study_open_gate(study *s, bdpt_model *m, const study_spec *p) {
  if (!s->gate) s->gate = (piece_gate *)calloc(1, sizeof *s->gate);
  if (!s->gate) return BDPT_E_MEMORY;
  bdpt_model_free(s->gate->parent);
  s->gate->trainer = NULL;
  s->gate->end = 1;
  s->gate->parent = bdpt_model_clone(study_parent(s, p));
  if (!s->gate->parent) return s->base.ctx->status;
  piece_close(m, s->gate);
  return BDPT_OK;
}

bdpt_status study_take_out(study *s, bdpt_model *m, const study_spec *p) {
  const bdpt_layers attention = study_yet(m, BDPT_ATTENTION, p);
  const bdpt_layers activations = study_yet(m, BDPT_ACTIVATION, p);
  const bdpt_start start = study_starts[p->start].start;
  const int side = m->config.image / m->config.patch;
  bdpt_subset few;
  bdpt_status status;
  if (p->rival == STUDY_IN_STEPS) return study_remove_next(s, p, m);
  memset(&few, 0, sizeof few);
  status = bdpt_remove(m, &attention, start, &s->base.in.rest, NULL);
  if (status == BDPT_OK && p->rival != STUDY_CLASS_FIT)
    status = bdpt_remove(m, &activations, start, &s->base.in.rest, NULL);
  if (status == BDPT_OK && p->rival == STUDY_CLOSING) return study_open_gate(s, m, p);
  if (status == BDPT_OK) status = study_sample(s, s->recipe.which_images, &few);
  if (status == BDPT_OK && p->rival == STUDY_REPAIRED)
    status = piece_repair(m, study_parent(s, p), &few);
  if (status == BDPT_OK && p->rival == STUDY_CLASS_FIT)
    status = piece_class_fit(m, &activations, (double)side * side, &few);
  bdpt_subset_free(s->base.ctx, &few);
  return status;
}

bdpt_status study_headline(study *s) {
  bdpt_status status = study_better(s);
  int i;
  if (status == BDPT_OK) status = study_headline_choice(s);
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (i = 0; i < STUDY_PIECES * s->recipe.seeds && status == BDPT_OK; i++) {
    /* the two rows that the headline needs come first, with every seed */
    int pairs = 2 * s->recipe.seeds, rest = STUDY_PIECES - 2;
    int row = i < pairs ? i % 2 : 2 + (i - pairs) % rest;
    study_spec p = study_piece(s, row, i < pairs ? i / 2 : (i - pairs) / rest,
                               &s->recipe.headline_marks);
    status = study_row_of(s, "headline", study_pieces[row].row, &p);
  }
  return status;
}

static void study_tell_swaps(study *s) {
  study_spec p = study_short(s);
  const record_line line = study_swapped(s, &p);
  char list[2][150];
  int layer[BDPT_MAX_DEPTH], t;
  if (!line.text) return;
  study_headline_layers(s, 2 * BDPT_MAX_DEPTH, &p);
  for (t = 0; t < 2; t++)
    study_list(layer, study_layers(p.which[t], s->base.depth, layer), list[t], sizeof list[t]);
  session_say(&s->base, "   after exchanges: attention %s, activation %s; loss %.4f for %.4f, %d "
              "short trainings\n", list[0], list[1], record_real(line, "loss", NAN),
              record_real(line, "greedy_loss", NAN), record_int(line, "trainings", 0));
}

void study_tell_headline(study *s) {
  int i;
  record_text(study_find(s, "better", NULL, NULL, NULL, 0), "hash", s->better_hash,
              sizeof s->better_hash);
  study_tell_greedy(s, study_goal_headline(s));
  study_tell_swaps(s);
  for (i = 0; i < STUDY_PIECES; i++)
    study_say_spread(s, "headline", "row", study_pieces[i].row, NULL, 0);
}

/* ---- 17  Ten passes ---- */

bdpt_status study_long(study *s) {
  bdpt_status status = study_better(s);
  int k;
  if (status == BDPT_OK) status = study_headline_choice(s);
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++) {
    study_spec p = study_piece(s, 1, k, &s->recipe.headline_long);
    p.uncropped = 0; /* the same images come ten times */
    p.trivial = s->recipe.headline_trivial;
    status = study_row_of(s, "long", study_whole, &p);
  }
  return status;
}

void study_tell_long(study *s) {
  study_say_spread(s, "long", "row", study_whole, NULL, 0);
}

/* ---- 18  Depth, width, or both ---- */

static const char *const study_rival[STUDY_RIVALS] = {"depth", "width", "both"};

/* Describes job i of a budget: depth alone goes to its MACs, width starts from no or fewer layers.
 * Streams of other widths cannot be compared, so what is narrower does without the features. */
static bdpt_status study_rival_spec(study *s, int budget, int i, int seed, study_spec *p) {
  const study_recipe *r = &s->recipe;
  study_goal goal = {1, 0, 0};
  bdpt_status status = BDPT_OK;
  *p = study_spec_of(s, STUDY_SKIP_FIT, &r->headline_marks, seed);
  study_all_of_it(s, p);
  goal.macs = study_budget(s, i == 0 ? r->plus_depth.layer[budget] : r->plus_both.layer[budget]);
  if (i != 1) status = study_greedy(s, goal);
  if (i != 1) study_take(s, goal, 2 * BDPT_MAX_DEPTH, p);
  if (i == 0) return status;
  p->macs = study_budget(s, r->plus_depth.layer[budget]);
  p->features = 0;
  p->lr = r->headline_narrow_lr;
  return status;
}

bdpt_status study_frontier(study *s) {
  const int each = STUDY_RIVALS * s->recipe.plus_depth.count;
  bdpt_status status = study_better(s);
  study_spec p;
  int i;
  for (i = 0; i < each && status == BDPT_OK && s->share.mode != STUDY_ALL; i++)
    status = study_rival_spec(s, i / STUDY_RIVALS, i % STUDY_RIVALS, 0, &p); /* the choices */
  if (status == BDPT_OK && study_waits(s)) return BDPT_OK;
  for (i = 0; i < each * s->recipe.seeds && status == BDPT_OK; i++) {
    const int budget = i % each / STUDY_RIVALS;
    char row[40];
    status = study_rival_spec(s, budget, i % STUDY_RIVALS, i / each, &p);
    snprintf(row, sizeof row, "%s, budget %d", study_rival[i % STUDY_RIVALS], budget);
    if (status == BDPT_OK) status = study_row_of(s, "frontier", row, &p);
  }
  return status;
}

void study_tell_frontier(study *s) {
  int i;
  for (i = 0; i < STUDY_RIVALS * s->recipe.plus_depth.count; i++) {
    char row[40];
    snprintf(row, sizeof row, "%s, budget %d", study_rival[i % STUDY_RIVALS], i / STUDY_RIVALS);
    study_say_spread(s, "frontier", "row", row, NULL, 0);
  }
}
