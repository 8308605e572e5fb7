/* boundarydpt_studies.h - the observations behind depth pruning, and the whole method in one call
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * boundarydpt.h holds the method: accuracy predictor, learned importance, recovery, fusing. What
 * led to it stands here, and what strings its steps together:
 *
 *   the scales       the gradients of attention and activations differ for reasons of size
 *   the recovery     what a removed layer costs at once, and what is missing after training
 *   both stages      measure, fit, split, search, remove, fine-tune, fuse
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
 *   >>guide      1  how to read                     >>disparity  3  first observation
 *   >>api        2  the declarations                >>recovery   4  second observation
 *                                                   >>two-stage  5  both stages in one call
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * The chapters do not depend on each other. The two observations are also examples of long calls of
 * one's own: they report, stop and resume by the bdpt_study of boundarydpt.h (11.1). Letters are
 * those of boundarydpt.h; bdpt_ is public, bdpts_ private to this file.
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

/* 2.2  Both stages
 */

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

/* Returns 1 if the layer of a row is there and asked for. */
static int bdpts_measured(const bdpt_config *c, const bdpt_layers *only, int row) {
  const bdpt_block *b = &c->block[row % c->depth];
  if (row < c->depth) {
    return b->attention == BDPT_ATTENTION_KEPT && bdpt_layers_has(only, BDPT_ATTENTION, row);
  }
  return b->mlp_state == BDPT_MLP_KEPT &&
         bdpt_layers_has(only, BDPT_ACTIVATION, row - c->depth);
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
    s.total += o.recipe.epochs * bdpts_measured(&model->config, &o.only, r);
  }
  bdpt_study_copy(&s);
  bdpt_study_measure(&s, &before);
  for (r = 0; r < 2 * depth; r++) {
    bdpt_recovery_row *row = &rows[r];
    row->layer.type = r < depth ? BDPT_ATTENTION : BDPT_ACTIVATION;
    row->layer.block = r % depth;
    row->before = before;
    row->at_once = (double)NAN;
    for (i = 0; i < BDPT_MAX_MARKS; i++) row->after[i] = (double)NAN;
    if (!bdpts_measured(&model->config, &o.only, r)) continue;
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
 * 5  BOTH STAGES                                                                        >>two-stage
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
    status = bdpt_map_fit(model->ctx, out->points, out->point_count, o->degree, &out->map);
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
  if (!status) status = bdpt_remove(student, &found, options->start, run->train);
  if (!status) status = bdpt_stage2(student, model, run, &options->finetune, NULL, &out->stage2);
  if (!status) status = bdpt_model_assign(model, student);
  bdpt_model_free(student);
  return status;
}
#endif /* BDPT_ONLY_INFERENCE */
#endif /* BOUNDARYDPT_STUDIES_IMPLEMENTATION */
