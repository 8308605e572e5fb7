/* boundarydpt_studies.h - the two stages of the paper, and what led to them
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * boundarydpt.h removes layers, trains and fuses, and chooses layers by trying each. The paper
 * chooses otherwise, in its stage 1; that stands here, whole, with the observations that led to it
 * and with both stages strung together:
 *
 *   the scales       the gradients of attention and activations differ for reasons of size
 *   the recovery     what a removed layer costs at once, and what is missing after training
 *   measuring        accuracies of a few pruned networks, for the predictor of boundarydpt.h
 *   importance       a scalar for each layer learns which one the network misses least
 *   stage 2          the dense network teaches the pruned one, whose linears are fused then
 *   the certificate  what fusing changed, measured
 *   both stages      measure, fit, split, search, remove, fine-tune, fuse
 *   the refusal      why one linear of an MLP cannot go alone
 *   the steps        training and measuring in a long call of one's own
 *
 * HOW TO USE IT. Include it behind boundarydpt.h; in exactly one C or C++ file, the one that has
 * BOUNDARYDPT_IMPLEMENTATION too, with the implementation:
 *
 *     #define BOUNDARYDPT_IMPLEMENTATION
 *     #include "boundarydpt.h"
 *     #define BOUNDARYDPT_STUDIES_IMPLEMENTATION
 *     #include "boundarydpt_studies.h"
 *
 * boundarydpt_plus.h includes this file, and its implementation brings that of this one. It needs
 * what boundarydpt.h needs, follows its macros (nothing is left with BDPT_ONLY_INFERENCE), uses
 * nothing of it but its public names, and keeps its contract word for word.
 *
 * WHERE TO READ. Each chapter has a tag to search for:
 *
 *   >>guide      1  how to read                     >>collect    5  how many of each type
 *   >>api        2  the declarations                >>search     6  which ones: learned importance
 *   >>disparity  3  first observation               >>stage2     7  recovery with a teacher
 *   >>recovery   4  second observation              >>certificate 8  fusing, measured
 *   >>two-stage  9  both stages in one call         >>mismatch  10  what cannot go
 *   >>steps     11  training in a long call
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * The chapters do not depend on each other, but for 7, which calls 8, and 9, which calls 5 to 7.
 * Those from 3 to 6 are also examples of long calls of one's own: they report, stop and resume by
 * the bdpt_study of boundarydpt.h (11.1) and the steps of chapter 11. Letters are those of
 * boundarydpt.h; bdpt_ is public, bdpts_ private to this file.
 *
 * What this choice is worth is in PAPER_NOTES.md: in the study of this repository the closed form,
 * `bdpt_greedy`, finds layers that are level with the best recovered ones without training, and
 * those of learned importance stay behind. So it is what boundarydpt.h chooses by.
 */
#ifndef BOUNDARYDPT_STUDIES_H
#define BOUNDARYDPT_STUDIES_H

#ifndef BOUNDARYDPT_H
#error "include boundarydpt.h before boundarydpt_studies.h"
#endif

#ifndef BDPT_ONLY_INFERENCE
#ifdef __cplusplus
extern "C" {
#endif

/* =================================================================================================
 * 2  THE INTERFACE                                                                           >>api
 * =================================================================================================
 * 2.1  The two observations
 */

/* Gradient disparity: mean |dL/dm| per layer and type over `window` steps of training. */
typedef struct bdpt_disparity_row {
  size_t step;                          /* last step of the window */
  double loss;                          /* mean over the window */
  double gradient[2][BDPT_MAX_DEPTH];   /* [type][layer] */
} bdpt_disparity_row;
/* Trains a copy of the model by the recipe and fills rows[capacity], one per `window` steps. The
 * held-out images are not looked at and may be NULL. */
BDPT_API bdpt_status bdpt_disparity(const bdpt_model *model, const bdpt_run *run,
                                    const bdpt_recipe *recipe, size_t window,
                                    bdpt_disparity_row *rows, size_t capacity, size_t *count);

#define BDPT_MAX_MARKS 8 /* epochs at which a recovery is measured; our limit */
/* Recovery asymmetry: one layer removed, accuracy at once and after `mark[i]` epochs. */
typedef struct bdpt_recovery_row {
  bdpt_layer layer;
  double before, at_once;               /* per cent, on the held-out subset */
  double after[BDPT_MAX_MARKS];
} bdpt_recovery_row;
typedef struct bdpt_recovery_options {
  bdpt_recipe recipe;                   /* epochs is set to the last mark */
  bdpt_layers only;                     /* measures these layers; none: every layer */
  bdpt_start start;                     /* what takes the layer's place */
  int marks;                            /* 0: one mark, at recipe.epochs */
  int mark[BDPT_MAX_MARKS];             /* increasing epochs at which to measure */
} bdpt_recovery_options;
/* Fills rows[2 * depth]: attention 0..depth-1, then activation. Each starts from a copy. A layer
 * that is removed already, or not measured, has NaN for accuracies. */
BDPT_API bdpt_status bdpt_recovery(const bdpt_model *model, const bdpt_run *run,
                                   const bdpt_recovery_options *options, bdpt_recovery_row *rows);
/* Orders the layers of a type as a recovery study suggests to remove them: best recovered first. */
BDPT_API void bdpt_recovery_order(const bdpt_recovery_row *rows, int depth, int mark,
                                  bdpt_type type, int order[BDPT_MAX_DEPTH]);

/* 2.2  Stage 1: how many layers of each type, and which ones
 */

typedef struct bdpt_map_collect_options {
  bdpt_recipe recipe;                   /* of each short fine-tune; seed + step is used */
  int most;                             /* single runs: layers removed at the end; 0: depth / 2 */
  int rounds;                           /* interleaved: of each type at the end; 0: half of most */
  int order[2][BDPT_MAX_DEPTH];         /* which layer goes first, by type ... */
  int use_order;                        /* ... if 1; else the smallest mean |dL/dm| goes first */
  bdpt_start start;
} bdpt_map_collect_options;
/* Measures 2 most + 2 rounds points by real removal, each network inheriting the previous one's
 * weights (algorithms 1 and 2). points[capacity]. */
BDPT_API bdpt_status bdpt_map_collect(const bdpt_model *model, const bdpt_run *run,
                                      const bdpt_map_collect_options *options,
                                      bdpt_map_point *points, size_t capacity, size_t *count);

typedef struct bdpt_search_options {
  bdpt_recipe recipe;                   /* epochs: at least the sum of the stages */
  int remove[2];                        /* how many attention, activation layers */
  int stage[2 * BDPT_MAX_DEPTH];        /* epochs before each removal; all zero: 3, 5, 7, ... */
  bdpt_layers candidates;               /* that may be removed; of a type with none: all */
  bdpt_start start;
} bdpt_search_options;
typedef struct bdpt_search_result {
  int removed;                          /* events that happened */
  bdpt_layer layer[2 * BDPT_MAX_DEPTH]; /* in order */
  double accuracy[2 * BDPT_MAX_DEPTH];  /* on held, at the end of the stage before the removal */
  double importance[2][BDPT_MAX_DEPTH]; /* the scalars at the end */
} bdpt_search_result;
/* Learns which layers go: alternating, the smallest importance of the type whose turn it is. The
 * model becomes the trained and pruned network; after a failure or a cancel it is as before. */
BDPT_API bdpt_status bdpt_search(bdpt_model *model, const bdpt_run *run,
                                 const bdpt_search_options *options, bdpt_search_result *out);

/* 2.3  Stage 2, and both stages
 */

/* What fusing changed, measured on images that selected nothing. */
typedef struct bdpt_certificate {
  size_t images;
  double difference;      /* largest |fused - unfused| logit over the largest |unfused| logit */
  size_t agree;           /* images whose arg-max is the same */
  size_t near_ties;       /* disagreements whose two top logits differ by less than the bound */
  int fused;              /* how many MLPs were fused */
} bdpt_certificate;
/* Fuses every MLP that can be and compares both over `data`; writes model->certificate. */
BDPT_API bdpt_status bdpt_fuse_certified(bdpt_model *model, const bdpt_subset *data,
                                         bdpt_certificate *out);

/* Stage 2: fine-tunes `model` (pruned or fitted) with the dense network as `teacher`, then fuses.
 * A teacher and recipe.distill = 0: the distillation is soft. No teacher, or OFF: none. */
typedef struct bdpt_stage2_result {
  bdpt_accuracy at_once, recovered, fused; /* on the held-out subset */
  bdpt_certificate certificate;
} bdpt_stage2_result;
BDPT_API bdpt_status bdpt_stage2(bdpt_model *model, bdpt_model *teacher, const bdpt_run *run,
                                 const bdpt_recipe *recipe, bdpt_epoch *log,
                                 bdpt_stage2_result *out);

/* Does both stages: collect, fit, split, search on a copy, remove from the dense network the layers
 * that were found, fine-tune, fuse. `model` becomes the pruned, recovered, fused network. */
typedef struct bdpt_two_stage_options {
  int budget;                           /* layers to remove in all; 0: depth / 3, rounded up */
  bdpt_map_collect_options collect;     /* .most = 0: depth / 2, and at least the budget */
  int degree;                           /* of the surface, 0: chosen */
  bdpt_search_options search;           /* .remove is filled from the split */
  bdpt_recipe finetune;
  bdpt_start start;                     /* of all three; theirs are overwritten */
} bdpt_two_stage_options;
typedef struct bdpt_two_stage_result {
  bdpt_map_point points[4 * BDPT_MAX_DEPTH + 1];
  size_t point_count;
  bdpt_map map;
  int attention, activation;            /* the split */
  double predicted;
  bdpt_search_result search;
  bdpt_stage2_result stage2;
} bdpt_two_stage_result;
BDPT_API bdpt_status bdpt_two_stage(bdpt_model *model, const bdpt_run *run,
                                    const bdpt_two_stage_options *options,
                                    bdpt_two_stage_result *out);
/* Does stage 1 alone: points, surface, split and the layers found. The model is not touched. */
BDPT_API bdpt_status bdpt_stage1(const bdpt_model *model, const bdpt_run *run,
                                 const bdpt_two_stage_options *options, bdpt_two_stage_result *out);

/* 2.4  What cannot go
 */

/* Removing one linear alone, fc1 or fc2 (which: 1 or 2), always fails; the message explains the
 * dimension mismatch. */
BDPT_API bdpt_status bdpt_prune_linear(bdpt_model *model, int layer, int which);

/* 2.5  Steps of a long call, between bdpt_study_begin and bdpt_study_end
 */

BDPT_API void bdpt_study_train(bdpt_study *s, size_t until); /* so many steps are done */
BDPT_API void bdpt_study_measure(bdpt_study *s, double *out); /* per cent of held; records it */
/* Trains to the end of an epoch, measures (averaged weights, where there are any), saves. */
BDPT_API void bdpt_study_run(bdpt_study *s, int epoch, double *out);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BDPT_ONLY_INFERENCE */
#endif /* BOUNDARYDPT_STUDIES_H */

#if (defined(BOUNDARYDPT_STUDIES_IMPLEMENTATION) || defined(BOUNDARYDPT_PLUS_IMPLEMENTATION)) && \
    !defined(BDPTS_IMPLEMENTED)
#define BDPTS_IMPLEMENTED
#ifndef BDPT_ONLY_INFERENCE

#include <math.h>
#include <stddef.h>
#include <string.h>

/* =================================================================================================
 * 3  FIRST OBSERVATION: THE SCALES OF THE TWO TYPES                                     >>disparity
 * =================================================================================================
 * Why can gradients not say whether an attention layer or an activation should go?
 *
 *   math      h = m f + (1-m) r,  dL/dm = sum dL/dh (f - r)
 *             attention   f = MHSA(u)[B,N,D],  r = u (or 0, or x: what its removal leaves)
 *             activation  f = GELU(z)[B,N,F],  r = z
 *   source    PAPER_NOTES.md, Gradient disparity (theorem 4, corrected here)
 *   check     tests/test_method.c known_gradients: attention that returns its input has none
 *
 * Blend a layer with what would stand in its place, h = m f + (1-m) r, and ask how the loss moves
 * as m leaves 1. The derivative costs one backward pass for all 2L layers. If it is positive, less
 * of the layer would lower the loss. Now estimate its size. Let the entries of dL/dh be
 * uncorrelated with those of f - r and have mean square s^2. A sum of n such products has mean
 * square n s^2 E[(f - r)^2]. With n = BND for attention and BNF for the activation:
 *
 *   math      E[(dL/dm_act)^2] / E[(dL/dm_attn)^2] = F/D (s_act^2 / s_attn^2) q,
 *             q = E[(GELU(z) - z)^2] / E[(MHSA(u) - u)^2]
 *
 * F/D is 4 in every DeiT. The last factor compares two variances that training never had a reason
 * to make alike: u is normalised, z is not. Nothing in the formula asks which layer the task needs.
 * The published measurements say the same, 0.0007 to 0.011 for the twelve attention layers of DeiT
 * and 0.75 to 3.6 for its activations: hence importance is compared within a type only.
 *
 * DEVIATION: the printed theorem has GELU(z) - 1 and MHSA(u) - 1 in the last factor: it takes the
 * identity map for the number one. It also leaves out s_act and s_attn, which differ because dL/ds
 * passes through W2 and dL/db does not. The conclusion survives the correction.
 *
 * Two cautions. The derivative at m = 1 tells where the loss goes when the layer fades a little; a
 * removal goes all the way to m = 0. And AdamW divides each gradient by its own running size, so a
 * scalar trained with it counts, with a fading memory, how often the sign was positive. Of the gap
 * in the gradients, 5.1 times here, a factor of 0.70 is left in the learned scalars.
 *
 * The means of |dL/dm| are taken on a copy that trains as it would in the search. */
BDPT_API bdpt_status bdpt_disparity(const bdpt_model *model, const bdpt_run *run,
                                    const bdpt_recipe *recipe, size_t window,
                                    bdpt_disparity_row *rows, size_t capacity, size_t *count) {
  size_t layers = 2 * (size_t)model->config.depth, first = 0, end, i;
  const bdpt_run same = {run->train, run->train, run->hooks}; /* nothing is held out */
  bdpt_recipe r = *recipe;
  bdpt_study s;
  *count = 0;
  if (window == 0) return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "disparity: a window of 0 steps");
  r.importance = 1;
  bdpt_recipe_resolve(&r);
  bdpt_study_open(&s, model, &same, "disparity", &window, sizeof window, capacity * (1 + layers));
  s.total = r.epochs;
  bdpt_study_copy(&s);
  bdpt_study_begin(&s, &r);
  end = s.per_epoch * (size_t)r.epochs;
  while (!s.status && first < end && *count < capacity) {
    bdpt_disparity_row *row = &rows[*count];
    int known = bdpt_study_knows(&s);
    memset(row, 0, sizeof *row);
    row->step = end - first < window ? end : first + window;
    bdpt_study_train(&s, known ? 0 : row->step);
    if (!s.status && !known) {
      row->loss = s.word[2] / (double)(row->step - first);
      s.word[2] = 0.0;
      bdpt_trainer_importance(s.trainer, row->gradient);
    }
    bdpt_study_record(&s, &row->loss);
    for (i = 0; i < layers; i++) bdpt_study_record(&s, &row->gradient[i % 2][i / 2]);
    first = row->step;
    *count += !s.status;
  }
  bdpt_study_save(&s);
  return bdpt_study_close(&s);
}

/* =================================================================================================
 * 4  SECOND OBSERVATION: DAMAGE AND RECOVERY RANK LAYERS DIFFERENTLY                     >>recovery
 * =================================================================================================
 * Which layers are missed after training, and are they those that were missed at once?
 *
 *   math      before, at_once, after[e]: held-out accuracy of the network, of the network without
 *             one layer, and of that after e epochs of training; for each of the 2L layers
 *   source    PAPER_NOTES.md, Recovery asymmetry
 *   check     tests/test_method.c recovery_rows: every row against a removal made by hand
 *
 * Remove one attention layer from DeiT-Base and 80 to 81 of its 81.8 per cent remain. Remove one
 * activation and 0.1 to 3.5 per cent remain: chance. After ten epochs of training the same networks
 * stand at 80.7 to 81.4 and at 78.6 to 81.8, and in the last three blocks the one without the
 * activation is ahead (published). Here, on CIFAR-100, 5.9 and 66.8 points go at once and 0.5 and
 * 2.1 stay missing: attention heals too.
 *
 * An attention layer adds a correction to a residual stream that carries on without it. But GELU(z)
 * is close to 0 for negative z, so the removal of an activation adds the negative halves of all F
 * hidden features, which training never let through, to the sum that W2 forms. Removed attention
 * leaves the 2D weights of its norm to make good with; a removed activation W1 and W2, free to
 * become the best linear map.
 *
 * The learning rate follows one schedule to the last of the marks, so an early mark is not a short
 * training of its own. All rows train with the same seed, hence on the same images in the same
 * order: differences between rows are differences between layers, not draws. The published study's
 * two seeds differ by up to 2.2 points in one row, so closer ranks mean little. */

/* Returns 1 if the layer is in the set and not removed. */
static int bdpts_among(const bdpt_layers *set, const bdpt_config *c, bdpt_type type, int l) {
  const bdpt_block *b = &c->block[l];
  if (!bdpt_layers_has(set, type, l)) return 0;
  return type == BDPT_ATTENTION ? b->attention == BDPT_ATTENTION_KEPT
                                : b->mlp_state == BDPT_MLP_KEPT;
}

BDPT_API bdpt_status bdpt_recovery(const bdpt_model *model, const bdpt_run *run,
                                   const bdpt_recovery_options *options, bdpt_recovery_row *rows) {
  int depth = model->config.depth, i, r;
  double before = 0.0;
  bdpt_recovery_options o;
  bdpt_study s;
  memset(&o, 0, sizeof o);
  if (options) o = *options;
  bdpt_recipe_resolve(&o.recipe);
  if (o.marks == 0) o.mark[o.marks++] = o.recipe.epochs;
  if ((o.only.blocks[0] | o.only.blocks[1]) == 0) memset(&o.only, 255, sizeof o.only);
  for (i = 0; i < o.marks && i < BDPT_MAX_MARKS && o.mark[i] > (i ? o.mark[i - 1] : 0); i++) { }
  if (i == 0 || i != o.marks) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "recovery: marks must be 1 to %d rising numbers "
                     "of epochs", BDPT_MAX_MARKS);
  }
  o.recipe.epochs = o.mark[i - 1];
  bdpt_study_open(&s, model, run, "recovery", &o.only,
                  sizeof o.only + (2 + (size_t)i) * sizeof o.start,
                  1 + 2 * (size_t)depth * (1 + (size_t)i));
  s.start = o.start;
  for (r = 0; r < 2 * depth; r++) {
    bdpt_type type = r < depth ? BDPT_ATTENTION : BDPT_ACTIVATION;
    rows[r].layer.type = type;
    rows[r].layer.block = r % depth;
    s.total += o.recipe.epochs * bdpts_among(&o.only, &model->config, type, r % depth);
  }
  bdpt_study_copy(&s);
  bdpt_study_measure(&s, &before);
  for (r = 0; r < 2 * depth; r++) {
    bdpt_recovery_row *row = &rows[r];
    row->before = before;
    row->at_once = (double)NAN;
    for (i = 0; i < BDPT_MAX_MARKS; i++) row->after[i] = (double)NAN;
    if (!bdpts_among(&o.only, &model->config, row->layer.type, row->layer.block)) continue;
    bdpt_study_copy(&s);
    bdpt_study_remove(&s, row->layer.type, row->layer.block);
    bdpt_study_measure(&s, &row->at_once);
    bdpt_study_begin(&s, &o.recipe);
    for (i = 0; i < o.marks; i++) bdpt_study_run(&s, o.mark[i], &row->after[i]);
  }
  return bdpt_study_close(&s);
}

/* A layer without an accuracy goes last; equal ones keep the order of the layers. */
BDPT_API void bdpt_recovery_order(const bdpt_recovery_row *rows, int depth, int mark,
                                  bdpt_type type, int order[BDPT_MAX_DEPTH]) {
  int i, j;
  rows += (int)type * depth;
  for (i = 0; i < depth; i++) {
    double score = rows[i].after[mark];
    for (j = i; j > 0; j--) {
      double left = rows[order[j - 1]].after[mark];
      if (!(score > left || (left != left && score == score))) break;
      order[j] = order[j - 1];
    }
    order[j] = i;
  }
}

/* =================================================================================================
 * 5  HOW MANY OF EACH TYPE: MEASURING FOR THE PREDICTOR                                   >>collect
 * =================================================================================================
 * From which pruned networks can it be told how many layers of each type should go?
 *
 *   algorithm 1   from the dense network: remove one layer of a type, train briefly, measure;
 *                 repeat on the result. Once along attention, once along activation.
 *   algorithm 2   from the dense network: the same, the two types taking turns
 *   source        PAPER_NOTES.md, MAP (algorithms 1 and 2)
 *   check         tests/test_inside.c collect_design; tests/test_method.c collect_points
 *
 * To recover each network of the predictor from the dense one would cost dozens of long trainings.
 * So each inherits the weights of the one with a layer less and has only one more wound to heal,
 * for which a few epochs do. The price is that the n-th network on an axis has trained n times as
 * long as the first, and the dense one not at all: as long as training on the subset still helps,
 * the surface is a little too kind to deep removal. So it is in the paper.
 *
 * The dense network is measured first. `most` trainings go down each axis, 2 * `rounds` along the
 * diagonal. The diagonal's first network, one activation removed, is on the axis already: it is
 * trained again, to the same bits, and not counted twice. With depth 12, most = 8 and rounds = 3
 * this is exactly the published design of 22 points.
 *
 * DEVIATION: algorithm 2 as printed removes attention first in each round. The interleaved points
 * of the published example, (11,11) (11,10) (10,10) (10,9) (9,9) layers kept, can only come from
 * activation first, and we follow them. Which layer goes the paper does not say: the caller's order
 * decides, or the mean |dL/dm| over one epoch of training, smallest first, within each type. */

/* Finds the type that training k = 0, 1, ... of the plan removes. Returns its place on the axis or
 * the diagonal, whose first starts from the dense network. */
static int bdpts_collect_step(const bdpt_map_collect_options *o, int k, bdpt_type *type) {
  int axes = 2 * o->most, at = k < axes ? k % o->most : k - axes;
  *type = (k < axes ? k < o->most : at % 2) ? BDPT_ATTENTION : BDPT_ACTIVATION;
  return at;
}

/* Returns 1 if the plan can be walked and every order is a permutation. */
static int bdpts_collect_ok(const bdpt_map_collect_options *o, int depth) {
  uint64_t all = UINT64_MAX >> (64 - depth), seen[2] = {0, 0};
  int i, layer;
  for (i = 0; i < 2 * depth; i++) {
    layer = o->use_order ? o->order[i % 2][i / 2] : i / 2;
    if (layer >= 0 && layer < depth) seen[i % 2] |= UINT64_C(1) << layer;
  }
  return o->most >= 1 && o->most <= depth && o->rounds >= 1 && o->rounds <= depth &&
         (seen[0] & seen[1]) == all;
}

/* Finds the order in which the layers go by one epoch of training with the scalars on. */
static void bdpts_collect_order(bdpt_study *s, bdpt_map_collect_options *o) {
  int depth = s->model->config.depth, i, j, *order;
  double mean[2][BDPT_MAX_DEPTH];
  bdpt_recipe r = o->recipe;
  r.importance = r.epochs = 1;
  memset(mean, 0, sizeof mean);
  bdpt_study_copy(s);
  bdpt_study_begin(s, &r);
  bdpt_study_train(s, s->per_epoch);
  if (!s->status && !bdpt_study_knows(s)) bdpt_trainer_importance(s->trainer, mean);
  for (i = 0; i < 2 * depth; i++) bdpt_study_record(s, &mean[i % 2][i / 2]);
  for (i = 0; i < 2 * depth; i++) { /* of equal ones the first stays ahead */
    order = o->order[i % 2];
    for (j = i / 2; j > 0 && mean[i % 2][i / 2] < mean[i % 2][order[j - 1]]; j--) {
      order[j] = order[j - 1];
    }
    order[j] = i / 2;
  }
}

BDPT_API bdpt_status bdpt_map_collect(const bdpt_model *model, const bdpt_run *run,
                                      const bdpt_map_collect_options *options,
                                      bdpt_map_point *points, size_t capacity, size_t *count) {
  int depth = model->config.depth, k;
  bdpt_type type;
  bdpt_map_collect_options o;
  size_t all, layers = 2 * (size_t)depth;
  bdpt_study s;
  *count = 0;
  memset(&o, 0, sizeof o);
  if (options) o = *options;
  if (o.most == 0) o.most = depth / 2 > 0 ? depth / 2 : 1;
  if (o.rounds == 0) o.rounds = (o.most + 1) / 2;
  all = 2 * (size_t)(o.most + o.rounds);
  bdpt_recipe_resolve(&o.recipe);
  if (!o.use_order) memset(o.order, 0, sizeof o.order);
  if (bdpt_removed(&model->config, BDPT_ATTENTION) ||
      bdpt_removed(&model->config, BDPT_ACTIVATION)) {
    return bdpt_fail(model->ctx, BDPT_E_STATE, "map: collecting starts from a complete network");
  }
  if (!bdpts_collect_ok(&o, depth) || capacity < all) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "map: most %d, rounds %d and room for %zu do "
                     "not suit depth %d, or an order of layers is not a permutation", o.most,
                     o.rounds, capacity, depth);
  }
  bdpt_study_open(&s, model, run, "map", &o.most,
                  BDPT_THROUGH(bdpt_map_collect_options, most, start), all + 1 + layers);
  s.start = o.start;
  s.total = o.recipe.epochs * (double)all + !o.use_order;
  if (!o.use_order) bdpts_collect_order(&s, &o);
  bdpt_study_copy(&s);
  points->attention = points->activation = 1.0;
  bdpt_study_measure(&s, &points->accuracy);
  *count = !s.status;
  for (k = 0; !s.status && *count < all; k++) {
    bdpt_map_point *p = &points[*count];
    int at = bdpts_collect_step(&o, k, &type), again = at == 0 && k == 2 * o.most;
    bdpt_recipe r = o.recipe; /* its seed is moved by the number of the point */
    r.seed += again ? (uint64_t)o.most + 1 : *count;
    if (at == 0) bdpt_study_copy(&s);
    bdpt_study_end(&s);
    if (s.status) break; /* there may be no network */
    bdpt_study_remove(&s, type, o.order[type][bdpt_removed(&s.work->config, type)]);
    bdpt_study_begin(&s, &r);
    bdpt_study_run(&s, r.epochs, &p->accuracy);
    p->attention = (double)(depth - bdpt_removed(&s.work->config, BDPT_ATTENTION)) / depth;
    p->activation = (double)(depth - bdpt_removed(&s.work->config, BDPT_ACTIVATION)) / depth;
    *count += !s.status && !again;
  }
  return bdpt_study_close(&s);
}

/* =================================================================================================
 * 6  WHICH ONES: LEARNING THE IMPORTANCE                                                   >>search
 * =================================================================================================
 * Within a type, which layer does the network miss least?
 *
 *   forward   y = f(x) while the mask of the layer is 1, r(x) after it became 0
 *   backward  dL/dm at the mask is handed to a scalar beside it (straight through); AdamW moves the
 *             scalar like a weight, without decay
 *   schedule  stage 1, remove one, stage 2, remove one, ...; the cosine starts again at each
 *   source    PAPER_NOTES.md, Dual parameters; Pruning order
 *   check     tests/test_method.c search_rigged, search_details, resumes
 *
 * Each layer has two parameters. The mask says whether it is there; nothing learns it. The scalar
 * importance starts at 0, learns, and is never used in the forward pass. Where less of the layer
 * would lower the loss, dL/dm is positive, and descent subtracts it. So after a while the smallest
 * scalar of a type belongs to the layer that the network misses least, given those that are gone.
 *
 * Two layers can each be superfluous because the other does the work. So one layer goes at a time,
 * and the network and the scalars adapt before the next choice, each time longer, because each
 * wound is deeper: 3 epochs, then 5, 7, ... The types take turns: the type that must give up more
 * layers begins, activation if both give up the same, then strictly in turn until one type is done,
 * and the rest of the other.
 *
 * What the scalars see is the training loss on augmented images with drop path; what decides in the
 * end is accuracy on clean ones. And two layers whose scalars differ by a few learning rates are
 * not ranked but drawn. So the candidates are the caller's to narrow, with a recovery study say.
 *
 * DEVIATION from the released code, three times. It removes one epoch later than its stage lengths
 * say; we remove when the stage is over. Its first stage trains at the lowest learning rate (and
 * after a bug the whole run does); ours is a cosine like the others. It goes on updating the
 * scalars of removed layers, which nothing reads any more; ours rest. */

/* Returns the type whose turn the j-th removal is. */
static bdpt_type bdpts_search_turn(const int remove[2], int j) {
  int first = remove[BDPT_ATTENTION] > remove[BDPT_ACTIVATION] ? BDPT_ATTENTION : BDPT_ACTIVATION;
  return (bdpt_type)(j < 2 * remove[!first] && j % 2 ? !first : first);
}

/* Returns the type's kept candidate of least importance, the first of equals; -1 for none. */
static int bdpts_search_choose(const bdpt_model *m, const bdpt_layers *from, bdpt_type type) {
  int l, best = -1;
  for (l = 0; l < m->config.depth; l++) {
    if (!bdpts_among(from, &m->config, type, l)) continue;
    if (best < 0 || *m->importance[type][l].data < *m->importance[type][best].data) best = l;
  }
  return best;
}

/* Fills the zeros. Afterwards stage[j] is when removal j is due, in epochs from the start, and one
 * more is the end of the run, which is long enough. Nothing restarts after a removal at the end. */
static bdpt_status bdpts_search_resolve(bdpt_search_options *o, const bdpt_model *m) {
  int events = o->remove[0] + o->remove[1], i, j, ok, kept[2] = {0, 0}, epochs = 0;
  bdpt_recipe *r = &o->recipe;
  for (i = 0; i < 2; i++) {
    if (o->candidates.blocks[i] == 0) o->candidates.blocks[i] = UINT64_MAX;
  }
  for (i = 0; i < 2 * m->config.depth; i++) {
    kept[i % 2] += bdpts_among(&o->candidates, &m->config, (bdpt_type)(i % 2), i / 2);
  }
  ok = o->remove[0] >= 0 && o->remove[1] >= 0 && o->remove[0] <= kept[0] &&
       o->remove[1] <= kept[1] && events <= BDPT_MAX_RESTARTS;
  for (j = 0; j < events && ok; j++) {
    if (o->stage[j] == 0) o->stage[j] = 3 + 2 * j;
    ok = o->stage[j] > 0 && o->stage[j] <= 100000;
    o->stage[j] = epochs += o->stage[j];
  }
  if (!ok) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "search: attention: %d to remove, %d allowed; "
                     "activations: %d to remove, %d allowed; at most %d, in stages of 1 epoch "
                     "to 100000", o->remove[0], kept[0], o->remove[1], kept[1], BDPT_MAX_RESTARTS);
  }
  r->importance = 1;
  bdpt_recipe_resolve(r);
  if (r->epochs < epochs) r->epochs = epochs;
  o->stage[events] = r->epochs;
  r->restarts = 0;
  for (j = 0; j < events && o->stage[j] < r->epochs; j++) r->restart[r->restarts++] = o->stage[j];
  return BDPT_OK;
}

/* Ends a stage: measures, chooses, removes. */
static void bdpts_search_event(bdpt_study *s, const bdpt_search_options *o,
                               bdpt_search_result *out) {
  int j = out->removed;
  bdpt_type type = bdpts_search_turn(o->remove, j);
  double layer = s->status ? -1 : bdpts_search_choose(s->work, &o->candidates, type);
  bdpt_study_measure(s, &out->accuracy[j]);
  bdpt_study_record(s, &layer);
  if (!s->status && !(layer >= 0 && layer < BDPT_MAX_DEPTH)) {
    s->status = bdpt_fail(s->ctx, BDPT_E_FORMAT, "%s: layer %g", s->path, layer);
  }
  if (s->status) return;
  bdpt_study_remove(s, type, (int)layer);
  out->layer[j].type = type;
  out->layer[j].block = (int)layer;
  out->removed++;
}

/* The whole search is one training whose network loses layers on the way. The removals that a file
 * knows of come first, so that the trainer finds the structure it was saved with. */
BDPT_API bdpt_status bdpt_search(bdpt_model *model, const bdpt_run *run,
                                 const bdpt_search_options *options, bdpt_search_result *out) {
  bdpt_search_options o = *options;
  bdpt_study s;
  int i, events = o.remove[0] + o.remove[1];
  memset(out, 0, sizeof *out);
  if (bdpts_search_resolve(&o, model) != BDPT_OK) return model->ctx->status;
  bdpt_study_open(&s, model, run, "search", o.remove,
                  BDPT_THROUGH(bdpt_search_options, remove, start), 2 * (size_t)events);
  s.start = o.start;
  s.total = o.recipe.epochs;
  bdpt_study_copy(&s);
  while (!s.status && bdpt_study_knows(&s)) bdpts_search_event(&s, &o, out);
  bdpt_study_begin(&s, &o.recipe);
  while (!s.status && out->removed < events) {
    bdpt_study_train(&s, s.per_epoch * (size_t)o.stage[out->removed]);
    bdpts_search_event(&s, &o, out);
  }
  bdpt_study_train(&s, s.per_epoch * (size_t)o.stage[events]);
  bdpt_study_save(&s);
  bdpt_study_end(&s);
  for (i = 0; i < 2 * model->config.depth && !s.status; i++) {
    out->importance[i % 2][i / 2] = (double)*s.work->importance[i % 2][i / 2].data;
  }
  if (!s.status) s.status = bdpt_model_assign(model, s.work);
  return bdpt_study_close(&s);
}

/* =================================================================================================
 * 7  RECOVERY WITH THE DENSE NETWORK AS TEACHER                                            >>stage2
 * =================================================================================================
 * How does the accuracy return?
 *
 *   math      loss = (1 - a) CE(z, label) + a D(z, y), y the teacher's logits (bdpt_train)
 *   source    PAPER_NOTES.md, Stage 2
 *   check     tests/test_method.c stage2_by_hand: the same calls made one by one
 *
 * Stage 2 does not continue the network that the search left. It removes the layers that were found
 * from the dense network at once, so that the weights of the kept layers are those of the trained
 * network, and fine-tunes long. The dense network knows the answer to every training image, wrong
 * classes included; a student that matches it learns more per image than one that sees labels only.
 * DEVIATION: distillation is soft unless the recipe says otherwise; the released log distils the
 * teacher's arg-max into a distillation token.
 *
 * Both linears of a pruned MLP train until the end, as in the released code, and are fused last.
 * Their product could train as one D x D map at an eighth of the cost; but two factors of a product
 * do not move as the product would, and the trained pair is where the dense network's knowledge is.
 * A model that comes with fitted maps does train them as such, and nothing is left to fuse.
 * Of the three accuracies returned, recovered and fused must be equal, but for near ties. */
BDPT_API bdpt_status bdpt_stage2(bdpt_model *model, bdpt_model *teacher, const bdpt_run *run,
                                 const bdpt_recipe *recipe, bdpt_epoch *log,
                                 bdpt_stage2_result *out) {
  bdpt_model *work = bdpt_model_clone(model);
  bdpt_recipe r = *recipe;
  char path[BDPT_MAX_PATH];
  bdpt_run named = *run; /* with a checkpoint of its own */
  bdpt_hooks hooks;
  bdpt_status status = work ? BDPT_OK : model->ctx->status;
  memset(out, 0, sizeof *out);
  if (run->hooks && run->hooks->checkpoint) {
    static const char suffix[] = ".stage2";
    size_t length = strlen(run->hooks->checkpoint);
    if (length > sizeof path - sizeof suffix) length = sizeof path - sizeof suffix;
    memcpy(path, run->hooks->checkpoint, length);
    memcpy(path + length, suffix, sizeof suffix);
    hooks = *run->hooks;
    hooks.checkpoint = path;
    named.hooks = &hooks;
  }
  if (!r.resolved && r.distill == BDPT_DISTILL_NONE && teacher) r.distill = BDPT_DISTILL_SOFT;
  if (r.distill < 0 || !teacher) r.distill = BDPT_DISTILL_NONE;
  if (!status) status = bdpt_evaluate(work, run->held, &out->at_once);
  if (!status) status = bdpt_train(work, teacher, &named, &r, log);
  if (!status) status = bdpt_evaluate(work, run->held, &out->recovered);
  if (!status) status = bdpt_fuse_certified(work, run->held, &out->certificate);
  if (!status) status = bdpt_evaluate(work, run->held, &out->fused);
  if (!status && teacher && !work->parent[0]) bdpt_model_hash(teacher, work->parent);
  if (!status) status = bdpt_model_assign(model, work);
  bdpt_model_free(work);
  return status;
}

/* =================================================================================================
 * 8  FUSING WITH A CERTIFICATE                                                        >>certificate
 * =================================================================================================
 *   math      difference = max |fused - unfused| / max |unfused| over all logits of all images
 *   bound     1e-5 in float, 1e-12 in double
 *   source    PAPER_NOTES.md, Fusion
 *   check     tests/test_method.c certificate; tests/test_inside.c certificate_finds_faults
 *
 * Fusing sums in another order, so logits move in their last digits. An arg-max can turn only if
 * the two logits it hangs between are closer than twice the largest change. So a disagreement is
 * counted as a near tie if, before fusing, the two logits differed by less than twice the bound
 * times the image's largest logit. One that is no near tie means a fault. */
#define BDPTS_FUSE_BOUND (sizeof(bdpt_real) == sizeof(double) ? 1e-12 : 1e-5)

/* Computes the logits of both networks from the same images, batch by batch. */
static bdpt_status bdpts_contrast(bdpt_model *model, bdpt_model *fused, const bdpt_subset *data,
                                  bdpt_certificate *out) {
  size_t image = bdpt_image_numbers(&model->config), n, i, k, a, b;
  size_t classes = (size_t)model->config.classes, batch = 32;
  size_t bytes = SIZE_MAX; /* stays, and is refused, where the sizes cannot be multiplied */
  bdpt_tape *tape = bdpt_tape_create(model->ctx, BDPT_TAPE_COMPUTE);
  double largest = 0.0, most;
  bdpt_real *x, *y, *z;
  bdpt_status status;
  if (image + 2 * classes <= SIZE_MAX / 2 / batch / sizeof *x) {
    bytes = batch * (image + 2 * classes) * sizeof *x;
  }
  x = (bdpt_real *)bdpt_alloc(model->ctx, bytes);
  status = x && tape ? BDPT_OK : model->ctx->status;
  for (; out->images < data->count && !status; out->images += n) {
    n = data->count - out->images < batch ? data->count - out->images : batch;
    y = x + batch * image;
    z = y + batch * classes;
    status = bdpt_load_batch(model->ctx, &model->config, data, out->images, n, x, NULL);
    if (!status) status = bdpt_predict(model, tape, n, x, y);
    if (!status) status = bdpt_predict(fused, tape, n, x, z);
    for (i = 0; i < n && !status; i++, y += classes, z += classes) {
      for (k = a = b = 0, most = 0.0; k < classes; k++) {
        most = fmax(most, fabs((double)y[k]));
        out->difference = fmax(out->difference, fabs((double)z[k] - (double)y[k]));
        if (y[k] > y[a]) a = k;
        if (z[k] > z[b]) b = k;
      }
      largest = fmax(largest, most);
      out->agree += a == b;
      out->near_ties += a != b && (double)y[a] - (double)y[b] < 2 * BDPTS_FUSE_BOUND * most;
    }
  }
  if (largest > 0) out->difference /= largest;
  bdpt_release(model->ctx, x, bytes);
  bdpt_tape_free(tape);
  return status;
}

BDPT_API bdpt_status bdpt_fuse_certified(bdpt_model *model, const bdpt_subset *data,
                                         bdpt_certificate *out) {
  bdpt_model *fused;
  bdpt_status status;
  int l, fitted = 0; /* fitted: 1 if there are maps, whose sentence stays */
  memset(out, 0, sizeof *out);
  if (!data || data->count == 0) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "fuse: a certificate needs images");
  }
  fused = bdpt_model_clone(model);
  status = fused ? bdpt_fuse_all(fused) : model->ctx->status;
  if (!status) status = bdpts_contrast(model, fused, data, out);
  for (l = 0; l < model->config.depth && !status; l++) {
    const bdpt_block *b = &model->config.block[l];
    out->fused += fused->config.block[l].mlp_state != b->mlp_state;
    fitted |= b->attention == BDPT_ATTENTION_FITTED || b->mlp_state == BDPT_MLP_FITTED;
  }
  if (fused && (out->fused || !model->certificate[0])) { /* else an earlier sentence stays */
    bdpt_format(fused->certificate, sizeof fused->certificate,
                 "%d MLP%s fused: logits differ by %g of the largest (bound %g), arg-max equal on "
                 "%zu of %zu images, %zu near tie%s%s%s", out->fused, out->fused == 1 ? "" : "s",
                 out->difference, BDPTS_FUSE_BOUND, out->agree, out->images, out->near_ties,
                 out->near_ties == 1 ? "" : "s", fitted ? "; " : "",
                 fitted ? model->certificate : "");
  }
  if (!status) status = bdpt_model_assign(model, fused);
  bdpt_model_free(fused);
  return status;
}

/* =================================================================================================
 * 9  BOTH STAGES                                                                        >>two-stage
 * =================================================================================================
 * How does the whole method look in one call?
 *
 *   stage 1   measure points, fit the surface, split the budget; search the layers on a copy
 *   stage 2   remove them from the dense network, fine-tune, fuse
 *   source    PAPER_NOTES.md, Method
 *   check     tests/test_method.c two_stages, resumes: the calls one by one; cancelled anywhere
 *
 * Every step saves under its own name, so an interrupted run finds the finished steps finished. The
 * axes of the collection go at least as far as the budget, since a split with no measurement near
 * it would be an extrapolation. The cost in epochs: 1 for the order of removal, a fine-tune for
 * each of the 2 most + 2 rounds points, the stages of the search (3 + 5 + 7 + ... for k layers is k
 * (k + 2)), and stage 2, the longest. The paper runs all but stage 2 on a twelfth of ImageNet.
 *
 * `held` makes every choice here: the surface, the split, the certificate. What has chosen is too
 * good by what the choice picked up from chance: report on images that this function never sees. */

BDPT_API bdpt_status bdpt_stage1(const bdpt_model *model, const bdpt_run *run,
                                 const bdpt_two_stage_options *options,
                                 bdpt_two_stage_result *out) {
  bdpt_two_stage_options copy = *options, *o = &copy; /* whose zeros are filled */
  int depth = model->config.depth, budget = o->budget ? o->budget : (depth + 2) / 3;
  bdpt_model *student = bdpt_model_clone(model);
  bdpt_status status = student ? BDPT_OK : model->ctx->status;
  o->collect.start = o->search.start = o->start;
  if (o->collect.most == 0) o->collect.most = depth / 2 > budget ? depth / 2 : budget;
  if (o->collect.most > depth) o->collect.most = depth;
  if (!status) {
    status = bdpt_map_collect(model, run, &o->collect, out->points,
                              sizeof out->points / sizeof *out->points, &out->point_count);
  }
  if (!status) {
    status = bdpt_map_fit(model->ctx, out->points, out->point_count, 1, o->degree, &out->map);
  }
  if (!status) {
    status = bdpt_map_split(model->ctx, &out->map, depth, budget, &out->attention,
                            &out->activation, &out->predicted);
  }
  o->search.remove[BDPT_ATTENTION] = out->attention;
  o->search.remove[BDPT_ACTIVATION] = out->activation;
  if (!status) status = bdpt_search(student, run, &o->search, &out->search);
  bdpt_model_free(student);
  return status;
}

BDPT_API bdpt_status bdpt_two_stage(bdpt_model *model, const bdpt_run *run,
                                    const bdpt_two_stage_options *options,
                                    bdpt_two_stage_result *out) {
  bdpt_layers found = {{0, 0}};
  bdpt_model *student = bdpt_model_clone(model);
  bdpt_status status = student ? BDPT_OK : model->ctx->status;
  int j;
  memset(out, 0, sizeof *out);
  if (!status) status = bdpt_stage1(model, run, options, out);
  for (j = 0; j < out->search.removed; j++) {
    bdpt_layers_add(&found, out->search.layer[j].type, out->search.layer[j].block);
  }
  if (!status) status = bdpt_remove(student, &found, options->start, run->train, NULL);
  if (!status) status = bdpt_stage2(student, model, run, &options->finetune, NULL, &out->stage2);
  if (!status) status = bdpt_model_assign(model, student);
  bdpt_model_free(student);
  return status;
}

/* =================================================================================================
 * 10  WHAT CANNOT GO: ONE LINEAR ALONE                                                   >>mismatch
 * =================================================================================================
 * Why does depth pruning take activations and not linears?
 *
 *   shape     W1[F,D] W2[D,F]: W2 wants the F numbers that only W1 makes
 *   source    PAPER_NOTES.md, dimension mismatch
 *   check     tests/test_model.c refusals_leave_the_model_alone
 *
 * The refusal is the lesson: what everybody tries first, and why it cannot be. */
BDPT_API bdpt_status bdpt_prune_linear(bdpt_model *m, int layer, int which) {
  const int d = m->config.width, fc1 = which == 1;
  int f;
  if (layer < 0 || layer >= m->config.depth) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "prune linear: layer %d, but the network has layers "
                     "0 to %d", layer, m->config.depth - 1);
  }
  f = m->config.block[layer].mlp;
  return bdpt_fail(m->ctx, BDPT_E_SHAPE, "dimension mismatch: fc1 [%d,%d] and fc2 [%d,%d] of block "
                   "%d need each other: without fc%d %s would get %d features instead of %d; "
                   "remove the activation and fuse both instead", f, d, d, f, layer, fc1 ? 1 : 2,
                   fc1 ? "its fc2" : "the residual stream", fc1 ? d : f, fc1 ? f : d);
}

/* =================================================================================================
 * 11  STEPS OF A LONG CALL                                                                  >>steps
 * =================================================================================================
 * How does a call that was stopped train on, and what is measured twice?
 *
 * Nothing is. A training that the journal has results of is over and is skipped; a number that is
 * in the journal is read. bdpt_study_report of boundarydpt.h says when to save and when to stop.
 *
 *   check     tests/test_method.c own_long_calls, resumes
 *
 * The losses are summed in word[2], which a call may read and clear. */
BDPT_API void bdpt_study_train(bdpt_study *s, size_t until) {
  double loss = 0; /* also of a step that fails */
  int over = s->word != NULL && s->word[1] < s->reached;
  if (!s->status && !s->trainer) {
    s->status = bdpt_fail(s->ctx, BDPT_E_STATE, "%s: bdpt_study_begin first", s->now.phase);
  }
  if (!s->status && over && !bdpt_study_knows(s)) {
    s->status = bdpt_fail(s->ctx, BDPT_E_FORMAT, "%s: the results end before a training", s->path);
  }
  while (!over && !s->status && bdpt_trainer_steps_done(s->trainer) < until) {
    s->status = bdpt_trainer_step(s->trainer, &loss);
    if (!s->status) s->word[2] += loss;
    bdpt_study_report(s, loss, 0);
  }
}

BDPT_API void bdpt_study_measure(bdpt_study *s, double *out) {
  bdpt_accuracy a;
  a.top1 = (double)NAN;
  if (!s->status && !s->work) {
    s->status = bdpt_fail(s->ctx, BDPT_E_STATE, "%s: bdpt_study_copy first", s->now.phase);
  }
  if (!s->status && !bdpt_study_knows(s)) {
    if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
    s->status = bdpt_evaluate(s->work, s->held, &a);
    if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
  }
  *out = a.top1;
  bdpt_study_record(s, out);
  s->now.accuracy = *out;
}

/* The unit of a plan. */
BDPT_API void bdpt_study_run(bdpt_study *s, int epoch, double *out) {
  int known = bdpt_study_knows(s);
  bdpt_study_train(s, s->per_epoch * (size_t)epoch);
  bdpt_study_measure(s, out);
  if (!known) bdpt_study_report(s, (double)NAN, 1);
}
#endif /* BDPT_ONLY_INFERENCE */
#endif /* BOUNDARYDPT_STUDIES_IMPLEMENTATION */
