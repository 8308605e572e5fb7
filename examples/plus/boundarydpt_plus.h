/* boundarydpt_plus.h - what can be done to a vision transformer beside depth pruning, in one header
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * boundarydpt.h removes and fuses layers. This file stands beside it and uses nothing of it but its
 * public names: what the tape and the model offer to everybody (operations and blocks of one's own,
 * examples/08_own_operation.c) is enough for
 *
 *   dense prediction   an answer for every pixel instead of one for the image
 *   width pruning      layers that stay, and become narrower
 *   BoundaryDPT+       depth and width together, with recovery between
 *   token merging      fewer tokens from block to block, without training
 *   the noise study    how far a split of the budget can be trusted
 *   CIFAR-100          a reader of its files
 *   gradients          whether an operation's backward pass fits its forward pass
 *
 * HOW TO USE IT. Include it behind boundarydpt.h; in exactly one C or C++ file, the one that has
 * BOUNDARYDPT_IMPLEMENTATION too, with the implementation:
 *
 *     #define BOUNDARYDPT_IMPLEMENTATION
 *     #include "boundarydpt.h"
 *     #define BOUNDARYDPT_PLUS_IMPLEMENTATION
 *     #include "boundarydpt_plus.h"
 *
 * It needs what boundarydpt.h needs and follows its macros: BDPT_REAL, BDPT_STATIC, BDPT_NO_STDIO,
 * BDPT_NO_OPENMP, BDPT_ONLY_INFERENCE (which leaves >>dense and >>merge). Its contract too is that
 * of boundarydpt.h, word for word: errors are sentences in the context, memory is the context's,
 * nothing is global, and results have the same bits for any number of threads.
 *
 * WHERE TO READ. Each chapter has a tag to search for:
 *
 *   >>guide      1  how to read, letters            >>width      4  narrower layers
 *   >>api        2  the declarations                >>plus       5  depth and width together
 *   >>dense      3  patches to pixels               >>merge      6  fewer tokens
 *   >>cifar      8  a data set in a file            >>noise      7  how much of a split is noise
 *   >>gradcheck  9  gradients by differences
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * The chapters do not depend on each other; each begins with its idea. Whoever wants to see how an
 * operation with a backward pass looks from outside reads chapter 3; another block, chapter 6.
 *
 * Letters are those of boundarydpt.h: B images, N tokens, D width, h heads of size d, F hidden
 * units, L blocks, l a block, K classes; R rows. bdpt_ is public, bdptp_ private to this file.
 */
#include "boundarydpt_studies.h"
#ifndef BOUNDARYDPT_PLUS_H
#define BOUNDARYDPT_PLUS_H

#ifndef BOUNDARYDPT_H
#error "include boundarydpt.h before boundarydpt_plus.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* =================================================================================================
 * 2  THE INTERFACE                                                                           >>api
 * =================================================================================================
 * 2.1  Dense prediction
 */

/* Returns what the network has found out about each patch: its token after the last norm, row by
 * row, without class and distillation token, [B,n,D]. Refuses networks whose blocks leave out
 * tokens. */
BDPT_API bdpt_tensor *bdpt_features(bdpt_model *model, bdpt_tape *tape, bdpt_tensor *images,
                                    const bdpt_forward_options *options);
/* Returns all tokens from one on: x[B,N,D] -> [B,N-first,D]. */
BDPT_API bdpt_tensor *bdpt_tail(bdpt_tape *t, bdpt_tensor *x, size_t first);
/* Resizes a grid of h x w tokens, row by row, to one of H x W: x[B,hw,K] -> [B,HW,K]. */
BDPT_API bdpt_tensor *bdpt_upsample(bdpt_tape *t, bdpt_tensor *x, size_t h, size_t H, size_t W);
/* Returns the mean cross-entropy over the rows of z[...,K] whose label[rows] is not `ignore`. The
 * labels are borrowed for the call. */
BDPT_API bdpt_tensor *bdpt_pixel_loss(bdpt_tape *t, bdpt_tensor *z, const int *label, int ignore);

#ifndef BDPT_ONLY_INFERENCE
/* ---- 2.2  Width ------------------------------------------------------------------------------ */

/* What can be made narrower: the embedding, one group for the whole network; the hidden units of
 * the MLPs; whole heads; the size of the heads. Units are ranked within their class only. */
enum { BDPT_EMBEDDING = 0, BDPT_HIDDEN = 1, BDPT_HEADS = 2, BDPT_HEAD_SIZE = 3, BDPT_WIDTHS = 4 };
enum { BDPT_BY_TAYLOR = 0, BDPT_BY_L1 = 1, BDPT_BY_L2 = 2, BDPT_BY_CHANCE = 3 }; /* importance */
enum { BDPT_TO_RATIOS = 0, BDPT_TO_MACS = 1, BDPT_TO_PARAMS = 2, BDPT_TO_MS = 3 }; /* target */

/* A zero-filled struct and one field, `ratio` or `target` with `budget`, is a whole request. */
typedef struct bdpt_width_options {
  double ratio[BDPT_WIDTHS]; /* share of each class that goes, 0..1; with a target: in proportion */
  double budget;          /* of the target: MACs with all products, parameters, or ms per batch */
  size_t images;          /* of the data, evenly spread, for Taylor; 0: 3200 */
  uint64_t seed;          /* of BDPT_BY_CHANCE */
  int multiple;           /* sizes are rounded to it; 0: 16 (4.3). Heads count by 1 */
  int even;               /* 1: the same share of every layer; 0: its class is ranked as one */
  int importance;         /* BDPT_BY_... */
  int target;             /* BDPT_TO_...: one factor on all ratios is found that meets the budget */
  const bdpt_real *batch; /* to time: images [batch_images,channels,H,W]; NULL: one grey image */
  size_t batch_images;
  double (*clock)(void *user); /* seconds; NULL: OpenMP's clock, if there is one */
  void *user;
} bdpt_width_options;
typedef struct bdpt_width_report {
  double factor;          /* that the ratios were multiplied with; 1 without a target */
  double ms;              /* measured, per batch; 0 unless that was the target */
  bdpt_cost_report before, after;
} bdpt_width_report;

/* Does all of it: scores, plan, and a smaller model. `data` (for Taylor), `hooks`, `out` may be
 * NULL. After a failure or a cancel the model is as before. */
BDPT_API bdpt_status bdpt_width_prune(bdpt_model *model, const bdpt_subset *data,
                                      const bdpt_width_options *options, const bdpt_hooks *hooks,
                                      bdpt_width_report *out);
/* The calls from here on do the same in parts. bdpt_width_units counts the units of a
 * configuration; those of a block's class begin at bdpt_width_first: the hidden ones, or the
 * features of attention, head after head. */
BDPT_API size_t bdpt_width_units(const bdpt_config *resolved);
BDPT_API size_t bdpt_width_first(const bdpt_config *resolved, int width, int block);
/* Measures the importance of each unit, score[units]. The model is not touched. */
BDPT_API bdpt_status bdpt_width_score(const bdpt_model *model, const bdpt_subset *data,
                                      const bdpt_width_options *options, const bdpt_hooks *hooks,
                                      double *score);
/* Sets keep[units] to 1 for those that stay, and *narrow to the new sizes. Needs no weights. score
 * NULL: all are worth the same. */
BDPT_API bdpt_status bdpt_width_plan(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_width_options *options, const double *score,
                                     unsigned char *keep, bdpt_config *narrow,
                                     bdpt_width_report *out);
/* Takes the units out whose keep[] is 0. After a failure the model is as before. */
BDPT_API bdpt_status bdpt_width_shrink(bdpt_model *model, const unsigned char *keep);

/* ---- 2.3  Depth and width together ----------------------------------------------------------- */

/* BoundaryDPT+: depth and width, in either order or in turns, each step followed by recovery as in
 * stage 2, with the network as it came for a teacher. The width's target is meant for the finished
 * network, layers gone and MLPs fused. `model` becomes it; after a failure it is as before. */
enum { BDPT_DEPTH_FIRST = 0, BDPT_WIDTH_FIRST = 1, BDPT_IN_TURNS = 2 };
#define BDPT_MAX_STEPS 16
typedef struct bdpt_plus_options {
  int order;
  int rounds;                           /* in turns: 0: 2; each takes some of both */
  bdpt_layers layers;                   /* that go. If there are none, */
  bdpt_two_stage_options depth;         /* .search.remove[] of each type are searched for, or, if
                                         * those are 0, .budget of both by stage 1; 0: none goes.
                                         * .start; .finetune is the last recovery */
  bdpt_width_options width;             /* no ratio and no target: the width stays */
  bdpt_recipe between;                  /* of every recovery but the last */
} bdpt_plus_options;
typedef struct bdpt_plus_step {
  int removed[2];                       /* layers that this step took, by type */
  int narrowed;                         /* 1: and units of width, */
  bdpt_width_report width;              /* as this says */
  bdpt_cost_report cost;                /* afterwards, fused */
  bdpt_stage2_result recovery;          /* accuracy at once, recovered, fused */
} bdpt_plus_step;
typedef struct bdpt_plus_result {
  bdpt_two_stage_result found;          /* stage 1, or its search alone */
  int count;                            /* of layers that went: */
  bdpt_layer layer[2 * BDPT_MAX_DEPTH];
  int steps;
  bdpt_plus_step step[BDPT_MAX_STEPS];
} bdpt_plus_result;
/* Does what the options say and tells in *out, step by step, what was done. With a checkpoint in
 * run->hooks the same call, made again, goes on where it was interrupted. */
BDPT_API bdpt_status bdpt_plus(bdpt_model *model, const bdpt_run *run,
                               const bdpt_plus_options *options, bdpt_plus_result *out);
#endif /* BDPT_ONLY_INFERENCE */

/* ---- 2.4  Fewer tokens ----------------------------------------------------------------------- */

/* From bdpt_merge on each block of the model merges `tokens` of its tokens away outside training;
 * 0 ends it. It takes the place of a block of your own (model->block), so no file holds it. The
 * struct, zeroed at first, is lent to the model and its clones: it must outlive their forward
 * passes, and serves one of them at a time. Refuses networks without a class token, with registers,
 * or with another block. */
typedef struct bdpt_merging {
  int tokens;             /* r; what follows is not the caller's */
  bdpt_context *ctx;
  void *memory;           /* of the forward pass under way: */
  size_t bytes;
  bdpt_tensor **part;     /* [B][3] tokens of both sets as unit vectors, their cosines */
  bdpt_real *count;       /* [B,room] patches that each token stands for */
  size_t room;            /* N before the first block */
  int joined;             /* 0: all counts are 1 */
} bdpt_merging;
BDPT_API bdpt_status bdpt_merge(bdpt_model *model, int tokens, bdpt_merging *merging);
BDPT_API void bdpt_merging_free(bdpt_merging *merging); /* may be called twice */
/* Counts as bdpt_cost does, with what merging spares, and with its own cosines among the
 * products. */
BDPT_API bdpt_status bdpt_merging_cost(bdpt_context *ctx, const bdpt_config *config, int tokens,
                                       bdpt_cost_report *out);

#ifndef BDPT_ONLY_INFERENCE
/* ---- 2.5  How much of a split is noise ------------------------------------------------------- */

/* How stable is the split of bdpt_map_split when the accuracies carry noise? All fields but the
 * last four must be filled; there zeros are zeros: no noise, no clipping, a free degree. */
typedef struct bdpt_map_noise_options {
  int depth, budget;                    /* of the network: blocks, and layers that go */
  int trials;
  double sd, clip;                      /* of the noise, points of accuracy; clip 0: none */
  uint64_t seed;
  int degree;                           /* of the surface; 0: chosen anew in every trial */
} bdpt_map_noise_options;
typedef struct bdpt_map_noise_report {
  int trials;
  int attention, activation;            /* the split without noise, in layers removed */
  double exact, one, more;              /* per cent of trials: layers moved on the budget line */
  double mean_attention, mean_activation, sd; /* of the retained ratios chosen */
} bdpt_map_noise_report;
BDPT_API bdpt_status bdpt_map_noise(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                    const bdpt_map_noise_options *options,
                                    bdpt_map_noise_report *out);

/* ---- 2.6  A data set in a file --------------------------------------------------------------- */

/* Reads CIFAR-100's binary format: records of 3074 bytes (coarse, fine, 1024 red, green, blue). */
BDPT_API bdpt_status bdpt_cifar100_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                         const char *name, bdpt_dataset *out);
BDPT_API bdpt_status bdpt_cifar100_load(bdpt_context *ctx, const char *path, bdpt_dataset *out);

/* ---- 2.7  Checking gradients ----------------------------------------------------------------- */

/* Compares the backward pass of a graph with central differences. `build` makes the graph from at
 * most 16 inputs, and draws nothing at random. *error gets the worst. Wants BDPT_REAL double. */
typedef bdpt_tensor *(*bdpt_graph)(bdpt_tape *tape, bdpt_tensor *const *inputs, void *user);
BDPT_API bdpt_status bdpt_gradcheck(bdpt_context *ctx, bdpt_graph build, void *user,
                                    bdpt_tensor *const *inputs, int count, double *error);
#endif /* BDPT_ONLY_INFERENCE */

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BOUNDARYDPT_PLUS_H */

#if defined(BOUNDARYDPT_PLUS_IMPLEMENTATION) && !defined(BDPTP_IMPLEMENTED)
#define BDPTP_IMPLEMENTED

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifndef BDPT_NO_STDIO
#include <errno.h>
#include <stdio.h>
#endif
#if defined(_OPENMP) && !defined(BDPT_NO_OPENMP)
#include <omp.h>
#define BDPTP_CLOCK 1 /* there is one without the caller's help */
#define BDPTP_OMP(x) _Pragma(#x)
#else
#define BDPTP_CLOCK 0
#define BDPTP_OMP(x)
#endif

#define BDPTP_MANY 16384 /* numbers that are worth waking the other threads for */

/* =================================================================================================
 * 3  PATCHES TO PIXELS                                                                     >>dense
 * =================================================================================================
 * What is where? The class token answers for the whole image, but every patch has a token of its
 * own, and after the last block that token knows what its patch shows. A linear turns it into K
 * numbers, one for each class. There are P^2 pixels in a patch, so these answers are blended from
 * patch to pixel (3.2), and a loss compares them with what somebody has drawn (3.3). The same three
 * steps serve depth, or any other map of numbers. bdpt_trainer_step_on trains on such a loss.
 *
 * 3.1  The tokens of the patches
 *   math      y[b,i] = x[b,first+i]
 *   shape     x[B,N,D] -> y[B,N-first,D]
 *   backward  dx[b,first+i] += dy[b,i]; nothing elsewhere
 *   check     tests/test_segment.c: by differences
 */
static bdpt_status bdptp_tail_forward(const bdpt_op_run *run) {
  const bdpt_tensor *x = run->in[0];
  const size_t rest = run->out->shape[1] * x->shape[2], whole = x->shape[1] * x->shape[2];
  size_t b;
  for (b = 0; b < x->shape[0]; b++) { /* the end of every image */
    memcpy(run->out->data + b * rest, x->data + (b + 1) * whole - rest, rest * sizeof *x->data);
  }
  return BDPT_OK;
}

static bdpt_status bdptp_tail_backward(const bdpt_op_run *run) {
  const bdpt_tensor *x = run->in[0];
  const size_t rest = run->out->shape[1] * x->shape[2], whole = x->shape[1] * x->shape[2];
  size_t b, i;
  for (b = 0; run->dx[0] && b < x->shape[0]; b++) {
    for (i = 0; i < rest; i++) run->dx[0][(b + 1) * whole - rest + i] += run->dy[b * rest + i];
  }
  return BDPT_OK;
}

BDPT_API bdpt_tensor *bdpt_tail(bdpt_tape *t, bdpt_tensor *x, size_t first) {
  const bdpt_op op = {"tail", bdptp_tail_forward, bdptp_tail_backward, 0, NULL};
  size_t shape[3];
  if (!x) return NULL;
  if (x->ndim != 3 || first >= x->shape[1]) {
    bdpt_fail(bdpt_tape_context(t), BDPT_E_SHAPE, "tail: x%s has no token %zu", bdpt_shape(x).text,
              first);
    return NULL;
  }
  shape[0] = x->shape[0]; shape[1] = x->shape[1] - first; shape[2] = x->shape[2];
  return bdpt_tape_op(t, &op, &x, 1, 3, shape);
}

BDPT_API bdpt_tensor *bdpt_features(bdpt_model *m, bdpt_tape *t, bdpt_tensor *images,
                                    const bdpt_forward_options *options) {
  const size_t tokens = (size_t)bdpt_token_count(&m->config);
  bdpt_tensor *x = bdpt_trunk(m, t, images, options), *p = m->param;
  if (x && x->shape[1] != tokens) {
    bdpt_fail(m->ctx, BDPT_E_STATE, "features: the blocks have left %zu of %zu tokens, and a patch "
              "without a token of its own has no features", x->shape[1], tokens);
    return NULL;
  }
  x = bdpt_tail(t, x, (size_t)bdpt_prefix_count(&m->config));
  if (m->config.pool == BDPT_POOL_MEAN) return x; /* that norm follows the pooling */
  return bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM_W], &p[BDPT_SLOT_NORM_B], m->config.eps);
}

/* 3.2  Bilinear resizing of a grid                                                     >>upsample
 *   math      y[Y,X] = sum of the four neighbours around (v,u), weighted by 1 - their distances;
 *             v = max(0, (Y + 1/2) h/H - 1/2), u alike: pixel centres meet, edges are repeated
 *   shape     x[B,hw,K] -> y[B,HW,K], grids row by row
 *   backward  each dy goes to the same four neighbours with the same weights
 *   source    PyTorch interpolate(mode="bilinear", align_corners=False), not antialiased
 *   check     tests/test_segment.c: PyTorch, by differences
 *
 * Between the centres of four patches the answer changes evenly from one to the other, channel by
 * channel; where neighbours disagree, the boundary is where their lines cross.
 */
typedef struct bdptp_grid { size_t h, w, H, W; } bdptp_grid;
typedef struct bdptp_tap { size_t low, high; bdpt_real share; } bdptp_tap; /* share: of high */

static bdptp_tap bdptp_tap_of(size_t at, size_t in, size_t out) {
  double v = ((double)at + 0.5) * (double)in / (double)out - 0.5;
  bdptp_tap p = {0, 0, 0};
  if (v < 0) v = 0; /* before the first centre */
  p.low = (size_t)v < in ? (size_t)v : in - 1;
  p.high = p.low + (p.low + 1 < in); /* behind the last centre the two are one */
  p.share = (bdpt_real)(v - (double)p.low);
  return p;
}

/* Finds where the four neighbours of pixel (row, at) begin in a grid[h,w,K], and their weights. */
static void bdptp_corners(const bdptp_grid *s, size_t k, size_t row, size_t at, size_t corner[4],
                          bdpt_real part[4]) {
  const bdptp_tap v = bdptp_tap_of(row, s->h, s->H), u = bdptp_tap_of(at, s->w, s->W);
  corner[0] = (v.low * s->w + u.low) * k; part[0] = (1 - v.share) * (1 - u.share);
  corner[1] = (v.low * s->w + u.high) * k; part[1] = (1 - v.share) * u.share;
  corner[2] = (v.high * s->w + u.low) * k; part[2] = v.share * (1 - u.share);
  corner[3] = (v.high * s->w + u.high) * k; part[3] = v.share * u.share;
}

static bdpt_status bdptp_upsample_forward(const bdpt_op_run *run) {
  const bdptp_grid *s = (const bdptp_grid *)memcpy(run->saved, run->user, sizeof *s);
  const size_t k = run->out->shape[2], in = s->h * s->w * k;
  int row, rows = (int)(run->out->shape[0] * s->H); /* of all images */
  BDPTP_OMP(omp parallel for num_threads(run->ctx->threads) schedule(static) \
            if (run->out->count > BDPTP_MANY))
  for (row = 0; row < rows; row++) {
    const bdpt_real *grid = run->in[0]->data + (size_t)row / s->H * in;
    bdpt_real *y = run->out->data + (size_t)row * s->W * k, part[4];
    size_t corner[4], at, c;
    for (at = 0; at < s->W; at++, y += k) {
      bdptp_corners(s, k, (size_t)row % s->H, at, corner, part);
      for (c = 0; c < k; c++) {
        y[c] = part[0] * grid[corner[0] + c] + part[1] * grid[corner[1] + c] +
               part[2] * grid[corner[2] + c] + part[3] * grid[corner[3] + c];
      }
    }
  }
  return BDPT_OK;
}

/* Adds the gradients, an image a thread, because rows of pixels share neighbours. */
static bdpt_status bdptp_upsample_backward(const bdpt_op_run *run) {
  const bdptp_grid *s = (const bdptp_grid *)run->saved;
  const size_t k = run->out->shape[2], in = s->h * s->w * k, pixels = s->H * s->W;
  int b, images = run->dx[0] ? (int)run->out->shape[0] : 0;
  BDPTP_OMP(omp parallel for num_threads(run->ctx->threads) schedule(static) \
            if (run->out->count > BDPTP_MANY))
  for (b = 0; b < images; b++) {
    const bdpt_real *dy = run->dy + (size_t)b * pixels * k;
    bdpt_real *grid = run->dx[0] + (size_t)b * in, part[4];
    size_t corner[4], at, i, c;
    for (at = 0; at < pixels; at++, dy += k) {
      bdptp_corners(s, k, at / s->W, at % s->W, corner, part);
      for (i = 0; i < 4; i++) {
        for (c = 0; c < k; c++) grid[corner[i] + c] += part[i] * dy[c];
      }
    }
  }
  return BDPT_OK;
}

BDPT_API bdpt_tensor *bdpt_upsample(bdpt_tape *t, bdpt_tensor *x, size_t h, size_t H, size_t W) {
  bdpt_op op = {"upsample", bdptp_upsample_forward, bdptp_upsample_backward, sizeof(bdptp_grid),
                NULL};
  bdptp_grid s;
  size_t shape[3];
  if (!x) return NULL;
  if (x->ndim != 3 || h == 0 || x->shape[1] == 0 || x->shape[1] % h || H == 0 || W == 0 ||
      H > 1 << 20 || W > SIZE_MAX / H) {
    bdpt_fail(bdpt_tape_context(t), BDPT_E_SHAPE, "upsample: x%s is no grid of height %zu to make "
              "%zu x %zu of", bdpt_shape(x).text, h, H, W);
    return NULL;
  }
  s.h = h; s.w = x->shape[1] / h; s.H = H; s.W = W;
  op.user = &s;
  shape[0] = x->shape[0]; shape[1] = H * W; shape[2] = x->shape[2];
  return bdpt_tape_op(t, &op, &x, 1, 3, shape);
}

/* 3.3  Cross-entropy of pixels                                                       >>pixel-loss
 *   math      L = -1/m sum_r log p[r,label_r] over the m rows whose label is not `ignore`,
 *             p = softmax(z)
 *   shape     z[...,K] label[R] -> L[1]; saves dz[R,K]
 *   backward  dz[r] = dL/m (p[r] - e), e one at label_r; 0 in the rows that are ignored
 *   source    PyTorch cross_entropy(ignore_index=...), reduction "mean"
 *   check     tests/test_segment.c: PyTorch, by differences
 *
 * Annotators leave pixels out: borders, and things that nobody has a name for. Such a pixel neither
 * counts nor teaches. The gradient is known when the value is, so forward leaves it in `saved`.
 * DEVIATION: where all pixels are ignored PyTorch's mean is 0/0; here L = 0.
 */
typedef struct bdptp_labels { const int *label; int ignore; size_t rows, counted; } bdptp_labels;

/* Writes the dz of one pixel, and returns its loss. */
static double bdptp_pixel(const bdpt_real *z, size_t classes, int label, double share,
                          bdpt_real *dz) {
  double most = (double)z[0], sum = 0;
  size_t k;
  for (k = 1; k < classes; k++) most = (double)z[k] > most ? (double)z[k] : most;
  for (k = 0; k < classes; k++) sum += exp((double)z[k] - most);
  for (k = 0; k < classes; k++) dz[k] = (bdpt_real)(share * exp((double)z[k] - most) / sum);
  dz[label] -= (bdpt_real)share;
  return most + log(sum) - (double)z[label];
}

static bdpt_status bdptp_pixels_forward(const bdpt_op_run *run) {
  const bdptp_labels *s = (const bdptp_labels *)run->user;
  const size_t classes = run->in[0]->shape[run->in[0]->ndim - 1];
  const double share = s->counted ? 1 / (double)s->counted : 0;
  double *each = (double *)run->saved, loss = 0; /* [R], behind it dz[R,K] */
  bdpt_real *dz = (bdpt_real *)(void *)(each + s->rows);
  int r, rows = (int)s->rows;
  memset(run->saved, 0, s->rows * sizeof *each + run->in[0]->count * sizeof *dz);
  BDPTP_OMP(omp parallel for num_threads(run->ctx->threads) schedule(static) \
            if (run->in[0]->count > BDPTP_MANY))
  for (r = 0; r < rows; r++) {
    if (s->label[r] == s->ignore) continue; /* zeros */
    each[r] = bdptp_pixel(run->in[0]->data + (size_t)r * classes, classes, s->label[r], share,
                          dz + (size_t)r * classes);
  }
  for (r = 0; r < rows; r++) loss += each[r]; /* in order, whoever made them */
  run->out->data[0] = (bdpt_real)(loss * share);
  return BDPT_OK;
}

static bdpt_status bdptp_pixels_backward(const bdpt_op_run *run) {
  const size_t rows = run->in[0]->count / run->in[0]->shape[run->in[0]->ndim - 1];
  const bdpt_real *dz = (const bdpt_real *)(void *)((double *)run->saved + rows);
  size_t i;
  for (i = 0; run->dx[0] && i < run->in[0]->count; i++) run->dx[0][i] += run->dy[0] * dz[i];
  return BDPT_OK;
}

BDPT_API bdpt_tensor *bdpt_pixel_loss(bdpt_tape *t, bdpt_tensor *z, const int *label, int ignore) {
  bdpt_op op = {"pixel loss", bdptp_pixels_forward, bdptp_pixels_backward, 0, NULL};
  bdpt_context *ctx;
  bdptp_labels s;
  size_t one = 1, classes, r;
  if (!z || !label) return NULL;
  ctx = bdpt_tape_context(t);
  if (z->count == 0) {
    bdpt_fail(ctx, BDPT_E_SHAPE, "pixel loss: x%s: no pixel or no class", bdpt_shape(z).text);
    return NULL;
  }
  classes = z->shape[z->ndim - 1];
  s.label = label; s.ignore = ignore; s.rows = z->count / classes; s.counted = 0;
  for (r = 0; r < s.rows; r++) {
    s.counted += label[r] != ignore;
    if (label[r] == ignore || (label[r] >= 0 && (size_t)label[r] < classes)) continue;
    bdpt_fail(ctx, BDPT_E_ARGUMENT, "pixel loss: label %d of row %zu is not below %zu, the number "
              "of classes", label[r], r, classes);
    return NULL;
  }
  op.saved = s.rows * sizeof(double) + z->count * sizeof(bdpt_real);
  op.user = &s;
  return bdpt_tape_op(t, &op, &z, 1, 1, &one);
}

#ifndef BDPT_ONLY_INFERENCE
/* =================================================================================================
 * 4  WIDTH                                                                                 >>width
 * =================================================================================================
 * What can be taken out of every layer instead of whole layers? Depth pruning leaves every shape
 * alone; width pruning makes each layer narrower. The two add up, because they remove different
 * things, and the paper's fastest networks have both; it calls them BoundaryDPT+ (chapter 5).
 *
 * What is a unit of width? A number that the network carries from one place to another. To remove
 * it, everything that writes it and everything that reads it must lose one row or column. Follow
 * that rule through a vision transformer and four classes remain:
 *
 *   embedding   one group. The residual stream ties together whatever touches it: patch embedding,
 *               tokens and positions, all norms, the columns of qkv, fc1 and the heads, the rows of
 *               proj and fc2, both sides of a fused or fitted map
 *   hidden      a group for each MLP: a row of fc1, a column of fc2
 *   heads       a group for each attention layer: a head's rows of q, k and v, its columns of proj
 *   head size   the same rows and columns one by one. All heads of a layer must keep one size, but
 *               each may keep other features: only q_i . k_i of the same head must match
 *
 * Which units go? Isomorphic Pruning says: compare only what has the same structure. A score that
 * sums over all blocks, as the embedding's does, is no smaller or larger than a score of one MLP;
 * it is another thing. So a class is ranked by itself, hidden units of all MLPs together, and never
 * against another class. The paper treats attention and activations likewise.
 *
 * The work is divided in three: scores, a plan of one byte per unit, and a smaller model. A layer
 * that is removed, fused or fitted has nothing of its own to give, and of a pair that has lost its
 * GELU the hidden units vanish by fusing; these take part with their embedding side alone.
 *
 * The result is a model like any other. Its blocks have sizes of their own, which the configuration
 * and the file could always hold, and a softmax scale that stays the parent's: the scale belongs to
 * the trained weights of q and k, and 1/sqrt(d) of the new d would sharpen every softmax.
 */

/* 4.1  Units                                                                             >>units
 *
 * A table says for each slot of a model (bdpt_model.param) which units lie along its rows and which
 * along its columns, in the letters of this file: D is the embedding, F the hidden units, A the
 * features of attention, Q the same three times, for q, k and v. So scoring and shrinking are loops
 * over slots with no case for any of them. A parameter is read as a matrix of rows and columns:
 * those of its first axis against all others, or, for tokens and positions, all before the last
 * axis against the last.
 */
BDPT_API size_t bdpt_width_first(const bdpt_config *c, int width, int block) {
  size_t at = (size_t)c->width; /* behind the embedding */
  int l;
  if (width == BDPT_EMBEDDING) return 0;
  for (l = 0; l < block; l++) {
    at += (size_t)(c->block[l].mlp + c->block[l].heads * c->block[l].head_dim);
  }
  return at + (width == BDPT_HIDDEN ? 0 : (size_t)c->block[block].mlp);
}

BDPT_API size_t bdpt_width_units(const bdpt_config *c) {
  return bdpt_width_first(c, BDPT_HIDDEN, c->depth); /* where one block more would begin */
}

/* A parameter as a matrix. n[0] is the period of the units along the rows, n[1] along the columns,
 * 0 where that side has none; first[] are their first units. */
typedef struct bdptp_sides { size_t rows, columns, n[2], first[2]; } bdptp_sides;

static bdptp_sides bdptp_width_sides(const bdpt_model *m, int slot) {
  static const char fixed[BDPT_SLOTS_FIXED][3] = { /* tokens, positions; patches; norm; heads; */
    "-D", "-D", "-D", "D-", "D-", "D-", "D-", "-D", "--", "-D", "--", /* registers, other norms */
    "-D", "D-", "D-", "D-", "D-"};
  static const char block[BDPT_SLOTS_BLOCK][3] = { /* norm1 qkv proj fit; norm2 fc1 fc2 fused */
    "D-", "D-", "QD", "Q-", "DA", "D-", "DD", "D-", "D-", "D-", "FD", "F-", "DF", "D-", "DD", "D-"};
  const bdpt_tensor *p = &m->param[slot];
  const bdpt_config *c = &m->config;
  const int own = slot - BDPT_SLOTS_FIXED, l = own < 0 ? 0 : own / BDPT_SLOTS_BLOCK;
  const char *letter = own < 0 ? fixed[slot] : block[own % BDPT_SLOTS_BLOCK];
  bdptp_sides s;
  int i;
  memset(&s, 0, sizeof s);
  s.rows = p->ndim == 3 ? p->shape[0] * p->shape[1] : p->shape[0];
  s.columns = p->count / s.rows;
  for (i = 0; i < 2; i++) {
    const int hidden = letter[i] == 'F', features = letter[i] == 'A' || letter[i] == 'Q';
    if (letter[i] == 'D') s.n[i] = (size_t)c->width;
    if (hidden) s.n[i] = (size_t)c->block[l].mlp;
    if (features) s.n[i] = (size_t)(c->block[l].heads * c->block[l].head_dim);
    if (hidden) s.first[i] = bdpt_width_first(c, BDPT_HIDDEN, l);
    if (features) s.first[i] = bdpt_width_first(c, BDPT_HEADS, l);
  }
  return s;
}

static int bdptp_kept(const bdpt_config *c, bdpt_type type, int l) {
  const bdpt_block *b = &c->block[l];
  return type == BDPT_ATTENTION ? b->attention == BDPT_ATTENTION_KEPT
                                : b->mlp_state == BDPT_MLP_KEPT;
}

/* Returns 1 if the block has units of this class to give. */
static int bdptp_width_open(const bdpt_config *c, int width, int l) {
  if (width == BDPT_EMBEDDING) return l == 0;
  return bdptp_kept(c, width == BDPT_HIDDEN ? BDPT_ACTIVATION : BDPT_ATTENTION, l);
}

/* 4.2  Scores                                                                            >>score
 *
 *   math      s_u = sum over the weights w of unit u of |w dL/dw|, or |w|, or w^2;
 *             score_u = s_u / mean_v s_v, v the units of its group
 *   source    Fang et al. 2024, "Isomorphic pruning for vision models", section 3, and its code:
 *             gradients of plain cross-entropy summed over 50 batches of 64, the network as in
 *             evaluation; group Taylor of Torch-Pruning (a row where a layer writes the unit, a
 *             column where one reads it; a norm's gamma; no biases)
 *   check     tests/test_width.c: against differences of the loss; against PyTorch
 *
 * If a weight became zero, the loss would move by about -w dL/dw. Summed over all the weights of a
 * unit, and without the sign, so that nothing cancels, this tells what the unit takes part in. The
 * source averages over the layers that a unit couples, and divides by the mean over its group. The
 * number of layers is the same for all units of a group, so the division removes it, and the sum
 * does for the average. What the division is for: it makes the groups of a class comparable. An MLP
 * whose gradients are large as a whole is not therefore more important than the next; its weakest
 * units may be as idle.
 *
 * Tokens and positions are no layers and are not counted, as in the source. q, k and v are three
 * layers in one tensor, which a sum cannot tell from one. Every image has the same weight in the
 * sum of gradients, so our batches may be smaller than the source's: with 16, Base at 224 pixels
 * needs 2.1 GB, its weights, their copy and their gradients included.
 */
static void bdptp_width_add(const bdpt_model *m, int slot, int how, double *score) {
  const bdpt_tensor *p = &m->param[slot];
  bdptp_sides s = bdptp_width_sides(m, slot);
  size_t i, j, k = 0; /* k: of the element */
  for (i = 0; i < s.rows; i++) {
    double row = 0, v;
    for (j = 0; j < s.columns; j++, k++) {
      v = fabs((double)p->data[k]);
      if (how != BDPT_BY_L1) v *= how == BDPT_BY_L2 ? v : fabs((double)p->grad[k]);
      row += v;
      if (s.n[1]) score[s.first[1] + j % s.n[1]] += v;
    }
    if (s.n[0]) score[s.first[0] + i % s.n[0]] += row;
  }
}

static void bdptp_width_normalise(double *score, size_t count) {
  double sum = 0;
  size_t i;
  for (i = 0; i < count; i++) sum += score[i];
  for (i = 0; i < count && sum > 0; i++) score[i] *= (double)count / sum;
}

#define BDPTP_SCORE_BATCH ((size_t)16) /* images */

/* Tells the caller how far the work is. A non-zero return says that the caller wants to stop. */
static int bdptp_tell(const bdpt_hooks *hooks, size_t done, size_t total) {
  bdpt_progress p;
  if (!hooks || !hooks->progress) return 0;
  memset(&p, 0, sizeof p);
  p.phase = "width"; p.detail = ""; p.unit = "images";
  p.done = done; p.total = total;
  p.loss = p.accuracy = (double)NAN;
  return hooks->progress(&p, hooks->user);
}

/* What the scoring of a batch needs. */
typedef struct bdptp_batch {
  bdpt_real *images, *targets; /* [16,3,H,W] [16,K] */
  int *labels;                 /* [16] */
  size_t image_bytes, target_bytes;
} bdptp_batch;

static bdpt_status bdptp_batch_make(bdpt_context *ctx, const bdpt_config *c, bdptp_batch *b) {
  b->image_bytes = BDPTP_SCORE_BATCH * bdpt_image_numbers(c) * sizeof *b->images;
  b->target_bytes = BDPTP_SCORE_BATCH * (size_t)c->classes * sizeof *b->targets;
  b->images = (bdpt_real *)bdpt_alloc(ctx, b->image_bytes);
  b->targets = (bdpt_real *)bdpt_alloc(ctx, b->target_bytes);
  b->labels = (int *)bdpt_alloc(ctx, BDPTP_SCORE_BATCH * sizeof *b->labels);
  return b->images && b->targets && b->labels ? BDPT_OK : ctx->status;
}

static void bdptp_batch_free(bdpt_context *ctx, bdptp_batch *b) {
  bdpt_release(ctx, b->images, b->image_bytes);
  bdpt_release(ctx, b->targets, b->target_bytes);
  bdpt_release(ctx, b->labels, BDPTP_SCORE_BATCH * sizeof *b->labels);
}

/* Adds one batch's gradients to those in the model. A shorter batch counts for less. */
static bdpt_status bdptp_width_batch(bdpt_model *m, bdpt_tape *t, const bdpt_subset *chosen,
                                     size_t at, size_t n, bdptp_batch *b) {
  const size_t classes = (size_t)m->config.classes;
  const size_t shape[4] = {n, 3, (size_t)m->config.image, (size_t)bdpt_image_width(&m->config)};
  size_t k;
  bdpt_tensor *loss;
  bdpt_status s = bdpt_load_batch(m->ctx, &m->config, chosen, at, n, b->images, b->labels);
  if (s) return s;
  for (k = 0; k < n; k++) {
    if ((size_t)b->labels[k] < classes) continue;
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "width: label %d of image %zu is not below %zu, "
                     "the number of classes", b->labels[k], at + k, classes);
  }
  memset(b->targets, 0, n * classes * sizeof *b->targets);
  for (k = 0; k < n; k++) { /* a one at the label, times the batch's weight */
    b->targets[k * classes + (size_t)b->labels[k]] = (bdpt_real)n / BDPTP_SCORE_BATCH;
  }
  bdpt_tape_reset(t);
  loss = bdpt_forward(m, t, bdpt_input(t, 4, shape, b->images, 0), NULL, NULL);
  loss = bdpt_cross_entropy(t, loss, b->targets);
  if (!loss || bdpt_backward(t, loss, NULL) != BDPT_OK) return m->ctx->status;
  if (loss->data[0] - loss->data[0] == 0) return BDPT_OK;
  return bdpt_fail(m->ctx, BDPT_E_NUMERIC, "width: the loss of images %zu to %zu is not finite",
                   at, at + n - 1);
}

/* Sums the gradients of the cross-entropy over `wanted` images. */
static bdpt_status bdptp_width_gradients(bdpt_model *m, const bdpt_subset *data, size_t wanted,
                                         const bdpt_hooks *hooks) {
  const size_t n = wanted < data->count ? wanted : data->count;
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_RECOMPUTE);
  bdpt_subset chosen = *data;
  size_t i, at;
  bdptp_batch b;
  bdpt_status s = bdptp_batch_make(m->ctx, &m->config, &b);
  if (!s) s = t ? bdpt_model_train_mode(m) : m->ctx->status;
  chosen.count = n;
  chosen.index = (size_t *)bdpt_alloc(m->ctx, n * sizeof *chosen.index);
  if (!s && !chosen.index) s = m->ctx->status;
  for (i = 0; i < n && !s; i++) { /* evenly spread */
    chosen.index[i] = data->index[i * (data->count / n) + i * (data->count % n) / n];
  }
  for (at = 0; at < n && !s; at += i) {
    i = n - at < BDPTP_SCORE_BATCH ? n - at : BDPTP_SCORE_BATCH;
    s = bdptp_width_batch(m, t, &chosen, at, i, &b);
    if (!s && bdptp_tell(hooks, at + i, n)) s = BDPT_CANCELLED;
  }
  bdpt_release(m->ctx, chosen.index, n * sizeof *chosen.index);
  bdptp_batch_free(m->ctx, &b);
  bdpt_tape_free(t);
  return s;
}

BDPT_API bdpt_status bdpt_width_score(const bdpt_model *model, const bdpt_subset *data,
                                      const bdpt_width_options *o, const bdpt_hooks *hooks,
                                      double *score) {
  const bdpt_config *c = &model->config;
  size_t units = bdpt_width_units(c), i;
  bdpt_model *m = NULL; /* a copy, which has gradients */
  bdpt_status s = BDPT_OK;
  bdpt_rng rng;
  int slot, l;
  if (o->importance < BDPT_BY_TAYLOR || o->importance > BDPT_BY_CHANCE) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "width: importance %d is not 0 (Taylor), 1 "
                      "(L1), 2 (L2) or 3 (chance)", o->importance);
  }
  if (o->importance == BDPT_BY_TAYLOR && (!data || !data->count)) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "width: Taylor scores need images; L1, L2 and "
                      "chance need none");
  }
  bdpt_rng_seed(&rng, o->seed, 78);
  for (i = 0; i < units; i++) { /* chance stays; anything else starts from 0 */
    score[i] = o->importance < BDPT_BY_CHANCE ? 0 : bdpt_uniform(&rng);
  }
  if (o->importance == BDPT_BY_TAYLOR) {
    m = bdpt_model_clone(model);
    s = m ? BDPT_OK : model->ctx->status;
    if (!s) s = bdptp_width_gradients(m, data, o->images ? o->images : 3200, hooks);
  }
  for (slot = BDPT_SLOT_POS + 1; slot < model->slots && !s; slot++) {
    if (o->importance == BDPT_BY_CHANCE || !bdpt_model_active(model, slot)) continue;
    if (slot == BDPT_SLOT_REG || strstr(model->name[slot], "bias")) continue;
    bdptp_width_add(m ? m : model, slot, o->importance, score);
  }
  bdptp_width_normalise(score, (size_t)c->width);
  for (l = 0; l < c->depth; l++) {
    size_t at = bdpt_width_first(c, BDPT_HIDDEN, l), end = at + (size_t)c->block[l].mlp;
    bdptp_width_normalise(score + at, (size_t)c->block[l].mlp);
    bdptp_width_normalise(score + end, (size_t)(c->block[l].heads * c->block[l].head_dim));
  }
  bdpt_model_free(m);
  return s;
}

/* 4.3  The plan                                                                           >>plan
 *
 *   math      of a class with n units and ratio r: the round(r n) smallest scores go; each layer
 *             loses what it has among them, its size rounded to the multiple, at least one;
 *             a head scores the mean over its features, a head size the mean over the heads
 *   even      each layer loses the share r of its own units
 *   source    Isomorphic Pruning as above; the rounding is ours
 *   check     tests/test_width.c: four published sizes; a plan by hand; every target and error
 *
 * How many features its heads keep is decided for the layer, from means; which ones, by each head.
 *
 * What rounding leaves over is handed to the next layer. So the total is what was asked for even
 * where a layer's share is no whole number: 60 per cent of 12 heads is 7.2 to go, and twelve such
 * layers keep 5 heads ten times and 4 twice, not 5 everywhere. A layer that is no wider than one
 * multiple stays whole.
 *
 * The default multiple is 16, one vector of the kernels. A product computes its columns in panels
 * of two vectors, and a last panel may be half; embedding, hidden units and head
 * sizes are all columns of some product. Measured: 193 channels cost 6 per cent more than 192, and
 * 208 no more than 193; heads of 49 cost 3 per cent more than heads of 48; hidden units show no
 * step. PAPER_NOTES.md has the times. Published networks are rounded to 2.
 *
 * With a target, one factor t scales all ratios, up to the t that makes the largest of them 1, and
 * bisection finds the smallest t that meets the budget. MACs and parameters fall in steps as t
 * grows, and never rise. Milliseconds are measured: a network of the planned shape with fresh
 * weights, not packed, classifies the caller's batch once to warm up and five times more; the
 * median counts. Noise can make one measurement contradict another, so bisection stops after
 * twelve, and equal shapes are not timed twice. The time reported is that of the chosen shape.
 */
typedef struct bdptp_unit { double score; size_t at; int group; } bdptp_unit;

typedef struct bdptp_planner {
  bdpt_context *ctx;
  bdpt_config c;               /* resolved, of the network as it is */
  const bdpt_config *as;       /* of the network to be measured: states of the layers; or NULL */
  bdpt_width_options o;        /* the request, its zeros filled in */
  const double *score;         /* [units], or NULL */
  unsigned char *keep;         /* [units] */
  bdpt_config *narrow;
  bdptp_unit *list;            /* [units] */
  const bdpt_hooks *hooks;     /* or NULL */
  double known[2];             /* the factor on the ratios, -1: to be found; and what it gives */
  int rounds;                  /* that will follow; the way to the target is shared with them */
  int quota[BDPT_MAX_DEPTH];   /* how many each layer must give up */
} bdptp_planner;

/* Orders units by rising score; among equal scores the later unit is removed first. No two units
 * are equal, so every way of sorting gives the same order. */
static int bdptp_by_score(const void *a, const void *b) {
  const bdptp_unit *x = (const bdptp_unit *)a, *y = (const bdptp_unit *)b;
  if (x->score < y->score || x->score > y->score) return x->score < y->score ? -1 : 1;
  if (x->group != y->group) return x->group > y->group ? -1 : 1;
  return x->at > y->at ? -1 : x->at < y->at;
}

/* Returns the mean of `count` scores that are `step` apart. */
static double bdptp_width_mean(const bdptp_planner *p, size_t at, int count, int step) {
  double sum = 0;
  int i;
  for (i = 0; i < count && p->score; i++) sum += p->score[at + (size_t)i * (size_t)step];
  return sum / count;
}

/* Returns how many units of a class the layer has. */
static int bdptp_width_full(const bdpt_config *c, int width, int l) {
  const bdpt_block *b = &c->block[l];
  const int full[BDPT_WIDTHS] = {c->width, b->mlp, b->heads, b->head_dim};
  return full[width];
}

/* Lists what of a class is ranked, with its layer and the first unit that it stands for. */
static size_t bdptp_width_list(const bdptp_planner *p, int width) {
  size_t n = 0;
  int l, i;
  for (l = 0; l < p->c.depth; l++) {
    size_t at = bdpt_width_first(&p->c, width, l);
    int count = bdptp_width_full(&p->c, width, l), size = p->c.block[l].head_dim;
    int whole = width == BDPT_HEADS, each = whole ? size : 1, step = whole ? 1 : size;
    int over = whole ? size : 1; /* scores to average */
    if (width == BDPT_HEAD_SIZE) over = p->c.block[l].heads;
    for (i = 0; i < count && bdptp_width_open(&p->c, width, l); i++, n++) {
      bdptp_unit *u = &p->list[n];
      u->at = at + (size_t)i * (size_t)each;
      u->group = l;
      u->score = bdptp_width_mean(p, u->at, over, step);
    }
  }
  return n;
}

/* Returns the size that a layer of `full` units gets if it should keep `want`. */
static int bdptp_width_round(double want, int full, int multiple) {
  double n = floor(want / multiple + 0.5) * multiple;
  if (n < multiple) n = multiple;
  return n > full || full - want <= fabs(n - want) ? full : (int)n;
}

/* Fills quota[block] from the list, which it sorts: how many units of each layer go. */
static void bdptp_width_quota(bdptp_planner *p, int width, double ratio, size_t n) {
  double left = 0, want; /* what rounding left over; units to keep */
  int multiple = p->o.multiple ? p->o.multiple : 16, l;
  size_t i, go = (size_t)floor(ratio * (double)n + 0.5);
  if (width == BDPT_HEADS) multiple = 1;
  memset(p->quota, 0, sizeof p->quota);
  qsort(p->list, n, sizeof *p->list, bdptp_by_score);
  for (i = 0; i < go; i++) p->quota[p->list[i].group]++;
  for (l = 0; l < p->c.depth; l++) {
    int full = bdptp_width_full(&p->c, width, l), size;
    if (!bdptp_width_open(&p->c, width, l)) continue;
    want = full - (p->o.even ? ratio * full : (double)p->quota[l]) + left;
    size = bdptp_width_round(want, full, multiple);
    left = fmax(fmin(want - size, 0.5 * multiple), -0.5 * multiple);
    p->quota[l] = full - size;
  }
}

/* Removes the first of the sorted list, as many as their groups give, `each` units at a time. */
static void bdptp_width_drop(bdptp_planner *p, int whole, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) {
    const bdptp_unit *u = &p->list[i];
    if (p->quota[u->group]-- > 0) {
      memset(p->keep + u->at, 0, whole ? (size_t)p->c.block[u->group].head_dim : 1);
    }
  }
}

/* Removes features: a layer's quota is that of each head, and each head ranks its own. */
static void bdptp_width_drop_features(bdptp_planner *p) {
  int l, h, d;
  for (l = 0; l < p->c.depth; l++) {
    int size = p->c.block[l].head_dim;
    for (h = 0; h < p->c.block[l].heads && p->quota[l] > 0; h++) {
      size_t at = bdpt_width_first(&p->c, BDPT_HEADS, l) + (size_t)h * (size_t)size;
      for (d = 0; d < size; d++) {
        p->list[d].at = at + (size_t)d; p->list[d].group = 0;
        p->list[d].score = p->score ? p->score[at + (size_t)d] : 0;
      }
      qsort(p->list, (size_t)size, sizeof *p->list, bdptp_by_score);
      for (d = 0; d < p->quota[l]; d++) p->keep[p->list[d].at] = 0;
    }
  }
}

/* Checks a plan, which may come from the caller, and computes the sizes that it leaves. */
static bdpt_status bdptp_width_sizes(bdpt_context *ctx, const bdpt_config *c,
                                       const unsigned char *keep, bdpt_config *out) {
  int l, h, i, stay, whole = 1;
  *out = *c;
  for (i = out->width = 0; i < c->width; i++) out->width += keep[i] != 0;
  for (l = 0; l < c->depth; l++) {
    const bdpt_block *from = &c->block[l];
    bdpt_block *b = &out->block[l];
    const unsigned char *k = keep + bdpt_width_first(c, BDPT_HIDDEN, l);
    for (i = b->mlp = 0; i < from->mlp; i++) b->mlp += *k++ != 0;
    for (h = b->heads = b->head_dim = 0; h < from->heads; h++) {
      for (i = stay = 0; i < from->head_dim; i++) stay += *k++ != 0;
      b->heads += stay > 0;
      if (stay && b->head_dim && stay != b->head_dim) {
        return bdpt_fail(ctx, BDPT_E_SHAPE, "width: block %d would have heads of %d and of %d "
                          "features; a layer's heads are of one size", l, b->head_dim, stay);
      }
      if (stay) b->head_dim = stay;
    }
    whole = whole && (bdptp_width_open(c, BDPT_HIDDEN, l) || b->mlp == from->mlp) &&
            (bdptp_width_open(c, BDPT_HEADS, l) ||
             (b->heads == from->heads && b->head_dim == from->head_dim));
    if (!b->mlp || !b->heads || !whole) {
      return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: the plan takes %s of block %d", whole
                        ? "the last unit" : "units of a removed layer", l);
    }
  }
  if (!out->width) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: the plan keeps no embedding");
  out->heads = out->block[0].heads; /* of a block that names none; here all do */
  out->mlp = 4 * out->width;
  return BDPT_OK;
}

/* Fills keep and narrow for the ratios times `factor`. */
static bdpt_status bdptp_width_at(bdptp_planner *p, double factor) {
  size_t n;
  int width;
  memset(p->keep, 1, bdpt_width_units(&p->c));
  for (width = 0; width < BDPT_WIDTHS; width++) {
    double ratio = fmin(1, factor * p->o.ratio[width]);
    if (ratio <= 0) continue;
    n = bdptp_width_list(p, width);
    bdptp_width_quota(p, width, ratio, n);
    if (width == BDPT_HEAD_SIZE) bdptp_width_drop_features(p);
    else bdptp_width_drop(p, width == BDPT_HEADS, n);
  }
  return bdptp_width_sizes(p->ctx, &p->c, p->keep, p->narrow);
}

static double bdptp_width_clock(const bdpt_width_options *o) {
#if BDPTP_CLOCK
  if (!o->clock) return omp_get_wtime();
#endif
  return o->clock(o->user);
}

/* Measures the median of five predictions of the batch, in milliseconds. */
static bdpt_status bdptp_width_time(const bdptp_planner *p, const bdpt_config *c, double *ms) {
  const size_t n = p->o.batch ? p->o.batch_images : 1;
  const size_t image_bytes = bdpt_image_numbers(c) * sizeof(bdpt_real);
  const size_t logit_bytes = n * (size_t)c->classes * sizeof(bdpt_real);
  bdpt_model *m = bdpt_model_create(p->ctx, c, 1); /* any weights take the same time */
  bdpt_tape *t = bdpt_tape_create(p->ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *grey = (bdpt_real *)bdpt_alloc(p->ctx, image_bytes);
  bdpt_real *logits = (bdpt_real *)bdpt_alloc(p->ctx, logit_bytes);
  bdpt_status s = m && t && grey && logits ? BDPT_OK : p->ctx->status;
  double taken[5], began, last;
  size_t i, k;
  for (i = 0; i < 6 && !s; i++) { /* the first warms up */
    began = bdptp_width_clock(&p->o);
    s = bdpt_predict(m, t, n, p->o.batch ? p->o.batch : grey, logits);
    last = bdptp_width_clock(&p->o) - began;
    for (k = i; k > 1 && taken[k - 2] > last; k--) taken[k - 1] = taken[k - 2];
    if (i > 0) taken[k - 1] = last; /* sorted as they come */
  }
  if (!s) *ms = 1000 * taken[2];
  bdpt_release(p->ctx, grey, image_bytes);
  bdpt_release(p->ctx, logits, logit_bytes);
  bdpt_tape_free(t);
  bdpt_model_free(m);
  return s;
}

/* Returns what the target counts, for the network that the plan leaves. */
static bdpt_status bdptp_width_value(const bdptp_planner *p, double *value) {
  bdpt_config c = *p->narrow;
  bdpt_cost_report cost;
  int l;
  for (l = 0; l < c.depth && p->as; l++) {
    c.block[l].attention = p->as->block[l].attention;
    c.block[l].mlp_state = p->as->block[l].mlp_state;
  }
  if (p->o.target == BDPT_TO_MS) return bdptp_width_time(p, &c, value);
  if (bdpt_cost(p->ctx, &c, &cost) != BDPT_OK) return p->ctx->status;
  *value = p->o.target == BDPT_TO_MACS ? cost.macs : (double)cost.params;
  return BDPT_OK;
}

/* Finds the factor that meets the target, and leaves it and what it gives in `known`. */
static bdpt_status bdptp_width_find(bdptp_planner *p) {
  static const char *const unit[4] = {"", "MACs", "parameters", "ms"};
  double low = 0, high = 0, middle = 0, got = 0, most = 0, budget = p->o.budget;
  int i, steps = p->o.target == BDPT_TO_MS ? 12 : 60;
  bdpt_config shape;
  for (i = 0; i < BDPT_WIDTHS; i++) most = fmax(most, p->o.ratio[i]);
  for (i = 0; i < steps + 2; i++) { /* as it is, as narrow as can be, then what is between */
    if (i > 0) middle = i == 1 ? 1 / most : (low + high) / 2;
    if (bdptp_tell(p->hooks, (size_t)i, (size_t)steps + 2)) return BDPT_CANCELLED;
    if (bdptp_width_at(p, middle) != BDPT_OK) return p->ctx->status;
    if (i < 2 || memcmp(&shape, p->narrow, sizeof shape) != 0) { /* equal: what it was */
      if (bdptp_width_value(p, &got) != BDPT_OK) return p->ctx->status;
    }
    shape = *p->narrow;
    if (i == 1 && got > p->o.budget) {
      return bdpt_fail(p->ctx, BDPT_E_ARGUMENT, "width: %g %s cannot be reached: as narrow as "
                        "these ratios can make it, the network has %g", p->o.budget,
                        unit[p->o.target], got);
    }
    if (i == 0) budget *= pow(fmax(1, got / budget), 1 - 1.0 / (1 + p->rounds));
    if (got <= budget) {
      high = middle;
      p->known[1] = got;
    } else low = middle;
    if (i == 0 && got <= budget) break; /* it meets the budget as it is */
  }
  p->known[0] = high;
  return bdptp_width_at(p, high);
}

/* Checks the request and fills its zeros. */
static bdpt_status bdptp_width_check(bdpt_context *ctx, bdpt_width_options *o) {
  static const double usual[BDPT_WIDTHS] = {0.5, 0.5, 0.5, 0.25}; /* of the published 4.2 G */
  static const char *const name[BDPT_WIDTHS] = {"the embedding", "the hidden units", "the heads",
                                                "the head sizes"};
  int i, any = 0;
  for (i = 0; i < BDPT_WIDTHS; i++) {
    any |= o->ratio[i] > 0;
    if (o->ratio[i] >= 0 && o->ratio[i] <= 1) continue;
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: a share of %g of %s is not in [0,1]",
                      o->ratio[i], name[i]);
  }
  if (o->multiple < 0 || o->multiple > 4096 || o->target < BDPT_TO_RATIOS ||
      o->target > BDPT_TO_MS || (o->target && !(o->budget > 0 && o->budget < 1e300))) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: the multiple %d is not between 0 and 4096, the "
                      "target %d not between 0 and 3, or its budget %g not positive", o->multiple,
                      o->target, o->budget);
  }
  if (!o->target && !any) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: every ratio is 0 and there is no target");
  }
  if (o->target == BDPT_TO_MS && ((o->batch && !o->batch_images) || !(o->clock || BDPTP_CLOCK))) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "width: milliseconds need a clock, and a batch images");
  }
  if (!any) memcpy(o->ratio, usual, sizeof usual);
  return BDPT_OK;
}

/* Makes the plan for a request. `p` comes with ctx, as, score, hooks, keep, narrow, rounds and
 * known. */
static bdpt_status bdptp_width_plan(bdptp_planner *p, const bdpt_config *config,
                                    const bdpt_width_options *options, bdpt_width_report *out) {
  bdpt_width_report r;
  size_t bytes;
  bdpt_status s;
  memset(&r, 0, sizeof r);
  p->c = *config; p->o = *options;
  s = bdptp_width_check(p->ctx, &p->o);
  if (!s) s = bdpt_config_resolve(p->ctx, &p->c);
  if (s) return s;
  bytes = bdpt_width_units(&p->c) * sizeof *p->list;
  p->list = (bdptp_unit *)bdpt_alloc(p->ctx, bytes);
  if (!p->list) return p->ctx->status;
  if (!p->o.target) p->known[0] = 1;
  s = p->known[0] >= 0 ? bdptp_width_at(p, p->known[0]) : bdptp_width_find(p);
  bdpt_release(p->ctx, p->list, bytes);
  r.factor = p->known[0];
  if (p->o.target == BDPT_TO_MS) r.ms = p->known[1];
  if (!s) s = bdpt_cost(p->ctx, &p->c, &r.before);
  if (!s) s = bdpt_cost(p->ctx, p->narrow, &r.after);
  if (!s && out) *out = r;
  return s;
}

static void bdptp_planner_begin(bdptp_planner *p, bdpt_context *ctx, const bdpt_hooks *hooks) {
  memset(p, 0, sizeof *p);
  p->ctx = ctx; p->hooks = hooks;
  p->known[0] = -1;
}

BDPT_API bdpt_status bdpt_width_plan(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_width_options *options, const double *score,
                                     unsigned char *keep, bdpt_config *narrow,
                                     bdpt_width_report *out) {
  bdptp_planner p;
  bdptp_planner_begin(&p, ctx, NULL);
  p.score = score; p.keep = keep; p.narrow = narrow;
  return bdptp_width_plan(&p, config, options, out);
}

/* 4.4  Shrinking                                                                         >>shrink
 *
 *   check     tests/test_width.c: outputs of the shrunk network against those of the full one with
 *             the same units at zero
 *
 * What stays is copied, in its order, into tensors of the new shapes. Is the small network the
 * large one with the same units at zero? For hidden units, features and heads it is, up to the
 * order of sums: a unit that is zero adds nothing to whoever reads it, and q_i . k_i of a feature
 * that is zero in both adds nothing to the logits of attention, whose scale stays.
 *
 * For the embedding it is not, and that is the norms' doing. A norm of the large network takes mean
 * and variance over all D numbers of a token, zeros included, one of the small network over the D'
 * that stay. Where those have mean 0 the variance of the large one is smaller by p = D'/D, and both
 * agree if its gamma is multiplied by sqrt(p) and its eps by p. Tokens do not have mean 0, so
 * something remains for training to mend. Everything between two norms is exact.
 */
static void bdptp_width_copy(const bdpt_model *m, int slot, const unsigned char *keep,
                             bdpt_real *to) {
  const bdpt_real *from = m->param[slot].data;
  bdptp_sides s = bdptp_width_sides(m, slot); /* of the parameter before */
  size_t i, j;
  for (i = 0; i < s.rows; i++, from += s.columns) {
    if (s.n[0] && !keep[s.first[0] + i % s.n[0]]) continue;
    for (j = 0; j < s.columns; j++) {
      if (!s.n[1] || keep[s.first[1] + j % s.n[1]]) *to++ = from[j];
    }
  }
}

BDPT_API bdpt_status bdpt_width_shrink(bdpt_model *m, const unsigned char *keep) {
  bdpt_config narrow;
  bdpt_model *result;
  bdpt_status s = bdptp_width_sizes(m->ctx, &m->config, keep, &narrow);
  int slot;
  if (s) return s;
  result = bdpt_model_reshape(m, &narrow);
  if (!result) return m->ctx->status;
  for (slot = 0; slot < m->slots; slot++) {
    if (m->param[slot].data) bdptp_width_copy(m, slot, keep, result->param[slot].data);
  }
  s = bdpt_model_assign(m, result);
  bdpt_model_free(result);
  return s;
}

/* Scores, plans and shrinks. `p` comes with as, rounds and known. */
static bdpt_status bdptp_width_step(bdpt_model *m, bdptp_planner *p, const bdpt_subset *data,
                                    const bdpt_width_options *options, bdpt_width_report *out) {
  size_t units = bdpt_width_units(&m->config), bytes = units * (sizeof(double) + 1);
  double *score = (double *)bdpt_alloc(m->ctx, bytes);
  bdpt_width_options o = *options;
  bdpt_config narrow;
  bdpt_status s = bdptp_width_check(m->ctx, &o);
  if (!score) return m->ctx->status;
  p->score = score; p->narrow = &narrow;
  p->keep = (unsigned char *)(score + units);
  if (!s) s = bdpt_width_score(m, data, &o, p->hooks, score);
  if (!s) s = bdptp_width_plan(p, &m->config, &o, out);
  if (!s) s = bdpt_width_shrink(m, p->keep);
  bdpt_release(m->ctx, score, bytes);
  return s;
}

BDPT_API bdpt_status bdpt_width_prune(bdpt_model *m, const bdpt_subset *data,
                                      const bdpt_width_options *options, const bdpt_hooks *hooks,
                                      bdpt_width_report *out) {
  bdptp_planner p;
  bdptp_planner_begin(&p, m->ctx, hooks);
  return bdptp_width_step(m, &p, data, options, out);
}

/* =================================================================================================
 * 5  DEPTH AND WIDTH TOGETHER                                                                >>plus
 * =================================================================================================
 * How do the savings of depth and width add up? A block without attention, its MLP fused, is one
 * map of D x D, and half the embedding makes it a quarter: they multiply. The paper's fastest
 * networks have both; it calls them BoundaryDPT+ (HetDPT+), and only their results are public.
 * Which order is best is not known, and all three are here:
 *
 *   depth first   remove, recover, narrow, recover. The scores are taken in the network that stays
 *   width first   narrow, recover, remove, recover
 *   in turns      R rounds of both, one recovery each. Each round goes the same part of the way: it
 *                 keeps q^(1/R) where q should be left in the end, of a class or of the target
 *
 * Which layers go is settled first, in the network as it came, whatever the order: by the caller,
 * by the search, or by both parts of stage 1. So the finished structure is known before anything is
 * narrowed, and a target for it can be planned: MACs and times are counted as if those layers were
 * gone and fused already. DEVIATION: the authors' order, ratios and layers are not public.
 *
 * Resuming repeats the plan, as all long calls do: trainings that are over answer from their files,
 * and scores and plans come out the same. One thing does not, a measured time. So what it decided,
 * the factor on the ratios, is kept in a file of one line: a key, the factor, the time.
 *
 *   check     tests/test_width.c: against the same calls one by one; every order; resumed
 */
#define BDPTP_PATH 4200 /* bytes, longer than any file system allows */

typedef struct bdptp_plus {
  bdpt_context *ctx;
  const bdpt_plus_options *o;
  bdpt_model *dense, *work;             /* the caller's; a copy */
  const bdpt_run *run;
  bdpt_hooks hooks;                     /* the run's, or none */
  bdpt_config as;                       /* the states of the finished network's layers */
  bdpt_plus_result *out;
  int narrows;                          /* 1: there is width to take */
} bdptp_plus;

/* Writes "path.WHATn". */
static void bdptp_path(char out[BDPTP_PATH], const char *path, const char *what, int n) {
  size_t length = strlen(path), i;
  if (length > BDPTP_PATH - 40) length = BDPTP_PATH - 40;
  memcpy(out, path, length);
  out[length++] = '.';
  for (i = 0; what[i]; i++) out[length++] = what[i];
  if (n >= 10) out[length++] = (char)('0' + n / 10); /* at most 16 steps */
  out[length++] = (char)('0' + n % 10);
  out[length] = 0;
}

/* Hashes n bytes on top of h, as Fowler, Noll and Vo do, in 64 bits. */
static uint64_t bdptp_hash(uint64_t h, const void *bytes, size_t n) {
  const unsigned char *b = (const unsigned char *)bytes;
  for (; n > 0; n--) h = (h ^ *b++) * UINT64_C(0x100000001b3);
  return h;
}

/* Returns the key of a measurement: the network at hand and the request. */
static uint64_t bdptp_plus_key(const bdpt_model *m, const bdpt_width_options *o) {
  const size_t end = offsetof(bdpt_width_options, target) + sizeof o->target;
  char digest[17];
  bdpt_model_hash(m, digest);
  return bdptp_hash(bdptp_hash(UINT64_C(0xcbf29ce484222325), digest, 16), o, end);
}

#ifndef BDPT_NO_STDIO
/* Returns 1 if there is no such file. One that is there and cannot be read is an error of the
 * reading. */
static int bdptp_absent(const char *path) {
  FILE *file;
  errno = 0;
  file = fopen(path, "rb");
  return file ? fclose(file) != 0 : errno == ENOENT;
}

/* Reads what a measurement decided, if it was made by an earlier run. */
static bdpt_status bdptp_plus_recall(bdpt_context *ctx, const char *path, uint64_t key,
                                     double known[2]) {
  bdpt_bytes file = {NULL, 0};
  unsigned long long was = 0;
  double value[2];
  char line[100] = "";
  bdpt_status s;
  if (bdptp_absent(path)) return BDPT_OK;
  s = bdpt_file_read(ctx, path, &file);
  if (!s && file.size < sizeof line) memcpy(line, file.data, file.size);
  bdpt_bytes_free(ctx, &file);
  if (s) return s;
  if (sscanf(line, "%llx %lf %lf", &was, &value[0], &value[1]) != 3 || was != key) {
    return bdpt_fail(ctx, BDPT_E_STATE, "%s was saved by a run with another network or another "
                     "target; delete it or name another checkpoint", path);
  }
  memcpy(known, value, sizeof value);
  return BDPT_OK;
}

static bdpt_status bdptp_plus_note(bdpt_context *ctx, const char *path, uint64_t key,
                                   const double known[2]) {
  char line[100]; /* 17 digits give the same double again */
  int n = snprintf(line, sizeof line, "%016llx %.17g %.17g\n", (unsigned long long)key, known[0],
                   known[1]);
  return bdpt_file_write(ctx, path, line, (size_t)n);
}
#else
static bdpt_status bdptp_plus_recall(bdpt_context *ctx, const char *path, uint64_t key,
                                     double known[2]) {
  (void)ctx, (void)path, (void)key, (void)known;
  return BDPT_OK;
}

static bdpt_status bdptp_plus_note(bdpt_context *ctx, const char *path, uint64_t key,
                                   const double known[2]) {
  (void)ctx, (void)path, (void)key, (void)known;
  return BDPT_OK;
}
#endif

/* Narrows the copy in step i of n. In turns, the round takes its share of the way that is left. */
static bdpt_status bdptp_plus_narrow(bdptp_plus *p, int i, int n, bdpt_width_report *report) {
  bdpt_width_options o = p->o->width;
  const int turns = p->o->order == BDPT_IN_TURNS;
  const int keeps = o.target == BDPT_TO_MS && p->hooks.checkpoint;
  char path[BDPTP_PATH];
  bdptp_planner planner;
  uint64_t key;
  bdpt_status s = BDPT_OK;
  int c;
  bdptp_planner_begin(&planner, p->ctx, &p->hooks);
  planner.as = &p->as;
  planner.rounds = turns ? n - 1 - i : 0;
  for (c = 0; c < BDPT_WIDTHS && turns && !o.target; c++) {
    o.ratio[c] = 1 - pow(1 - fmin(1, o.ratio[c]), 1.0 / n);
  }
  key = bdptp_plus_key(p->work, &o);
  if (keeps) bdptp_path(path, p->hooks.checkpoint, "width", i + 1);
  if (keeps) s = bdptp_plus_recall(p->ctx, path, key, planner.known);
  if (!s) s = bdptp_width_step(p->work, &planner, p->run->train, &o, report);
  return s || !keeps ? s : bdptp_plus_note(p->ctx, path, key, planner.known);
}

/* Takes the layers that the caller has named, in forward order. */
static bdpt_status bdptp_plus_named(bdptp_plus *p) {
  const bdpt_config *c = &p->dense->config;
  bdpt_layer layer;
  int i;
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) {
    layer.type = i % 2 ? BDPT_ACTIVATION : BDPT_ATTENTION; layer.block = i / 2;
    if (!bdpt_layers_has(&p->o->layers, layer.type, layer.block)) continue;
    if (layer.block >= c->depth) {
      return bdpt_fail(p->ctx, BDPT_E_ARGUMENT, "plus: layer %d, but the network has layers 0 to "
                       "%d", layer.block, c->depth - 1);
    }
    if (!bdptp_kept(c, layer.type, layer.block)) {
      return bdpt_fail(p->ctx, BDPT_E_STATE, "plus: the %s of block %d is already removed",
                       bdpt_type_name(layer.type), layer.block);
    }
    p->out->layer[p->out->count++] = layer;
  }
  return BDPT_OK;
}

/* Sets the states that the layers have when all is done: removed or fitted, and every MLP fused. */
static void bdptp_plus_states(bdptp_plus *p) {
  const bdpt_start start = p->o->depth.start;
  int i;
  p->as = p->dense->config;
  for (i = 0; i < p->out->count; i++) {
    bdpt_block *b = &p->as.block[p->out->layer[i].block];
    int fitted = bdpt_start_fits(start, p->out->layer[i].type);
    if (p->out->layer[i].type == BDPT_ACTIVATION) {
      b->mlp_state = fitted ? BDPT_MLP_FITTED : BDPT_MLP_FUSED;
      continue;
    }
    b->attention = fitted ? BDPT_ATTENTION_FITTED : BDPT_ATTENTION_REMOVED;
    if (start == BDPT_START_SKIP_FIT || start == BDPT_START_SKIP) p->as.attn_form = BDPT_ATTN_SKIP;
  }
  for (i = 0; i < p->as.depth; i++) { /* what waits to be fused will be */
    bdpt_block *b = &p->as.block[i];
    if (b->mlp_state == BDPT_MLP_LINEAR) b->mlp_state = BDPT_MLP_FUSED;
  }
}

/* Lists the layers that go, in their order, and the states that they leave. */
static bdpt_status bdptp_plus_layers(bdptp_plus *p) {
  bdpt_plus_result *out = p->out;
  bdpt_two_stage_options d = p->o->depth;
  bdpt_search_result *found = &out->found.search;
  bdpt_model *student;
  bdpt_status s = bdptp_plus_named(p);
  int i;
  if (!s && out->count == 0 && d.search.remove[0] + d.search.remove[1] > 0) {
    student = bdpt_model_clone(p->dense);
    d.search.start = d.start;
    s = student ? BDPT_OK : p->ctx->status;
    if (!s) s = bdpt_search(student, p->run, &d.search, found);
    bdpt_model_free(student);
  } else if (!s && out->count == 0 && d.budget > 0) {
    s = bdpt_stage1(p->dense, p->run, &d, &out->found);
  }
  for (i = 0; i < found->removed && !s; i++) out->layer[out->count++] = found->layer[i];
  bdptp_plus_states(p);
  return s;
}

/* Fails now, rather than after the first training, if the target is out of reach. */
static bdpt_status bdptp_plus_reach(const bdptp_plus *p) {
  const size_t units = bdpt_width_units(&p->as);
  bdpt_config narrow;
  bdptp_planner planner;
  bdpt_status s;
  bdptp_planner_begin(&planner, p->ctx, &p->hooks);
  planner.narrow = &narrow;
  planner.keep = (unsigned char *)bdpt_alloc(p->ctx, units);
  s = planner.keep ? bdptp_width_plan(&planner, &p->as, &p->o->width, NULL) : p->ctx->status;
  bdpt_release(p->ctx, planner.keep, units);
  return s;
}

/* Does step i of n: width before depth, since a network that just lost layers scores at random. */
static bdpt_status bdptp_plus_step(bdptp_plus *p, int i, int n) {
  bdpt_plus_result *out = p->out;
  bdpt_plus_step *step = &out->step[i];
  int turns = p->o->order == BDPT_IN_TURNS, count = out->count, j;
  int deep = turns || (count > 0 && i == (p->o->order == BDPT_DEPTH_FIRST ? 0 : n - 1));
  int from = turns ? i * count / n : 0, to = deep ? count : 0;
  char path[BDPTP_PATH];
  bdpt_hooks inner = p->hooks;
  bdpt_run named = *p->run; /* with a checkpoint of its own */
  bdpt_layers now = {{0, 0}};
  bdpt_status s = BDPT_OK;
  if (turns) to = (i + 1) * count / n;
  step->narrowed = p->narrows && (turns || !deep);
  if (step->narrowed) s = bdptp_plus_narrow(p, i, n, &step->width);
  for (j = from; j < to; j++) {
    bdpt_layers_add(&now, out->layer[j].type, out->layer[j].block);
    step->removed[out->layer[j].type]++;
  }
  if (!s) s = bdpt_remove(p->work, &now, p->o->depth.start, p->run->train, NULL);
  if (inner.checkpoint) {
    bdptp_path(path, inner.checkpoint, "plus", i + 1);
    inner.checkpoint = path;
  }
  named.hooks = &inner;
  if (!s) {
    s = bdpt_stage2(p->work, p->dense, &named,
                    i == n - 1 ? &p->o->depth.finetune : &p->o->between, NULL, &step->recovery);
  }
  return s ? s : bdpt_cost(p->ctx, &p->work->config, &step->cost);
}

BDPT_API bdpt_status bdpt_plus(bdpt_model *model, const bdpt_run *run,
                               const bdpt_plus_options *options, bdpt_plus_result *out) {
  int rounds = options->rounds ? options->rounds : 2, i, steps;
  bdptp_plus p;
  bdpt_status s;
  memset(out, 0, sizeof *out);
  memset(&p, 0, sizeof p);
  p.ctx = model->ctx; p.o = options; p.dense = model;
  p.run = run; p.out = out;
  if (run->hooks) p.hooks = *run->hooks;
  p.narrows = options->width.target != BDPT_TO_RATIOS;
  for (i = 0; i < BDPT_WIDTHS; i++) p.narrows |= options->width.ratio[i] > 0;
  if (options->order < BDPT_DEPTH_FIRST || options->order > BDPT_IN_TURNS || rounds < 1 ||
      rounds > BDPT_MAX_STEPS) {
    return bdpt_fail(p.ctx, BDPT_E_ARGUMENT, "plus: order %d is not 0 (depth first), 1 (width "
                      "first) or 2 (in turns), or the rounds, %d, are not between 1 and %d",
                      options->order, rounds, BDPT_MAX_STEPS);
  }
  s = bdptp_plus_layers(&p);
  if (!s && out->count == 0 && !p.narrows) {
    s = bdpt_fail(p.ctx, BDPT_E_ARGUMENT, "plus: neither layers nor width to remove");
  }
  if (!s && options->width.target) s = bdptp_plus_reach(&p);
  if (!s && (p.work = bdpt_model_clone(model)) == NULL) s = p.ctx->status;
  steps = options->order == BDPT_IN_TURNS ? rounds : (out->count > 0) + p.narrows;
  for (i = 0; i < steps && !s; i++) {
    s = bdptp_plus_step(&p, i, steps);
    out->steps += !s;
  }
  if (!s) s = bdpt_model_assign(model, p.work);
  bdpt_model_free(p.work);
  return s;
}

#endif /* BDPT_ONLY_INFERENCE */

/* =================================================================================================
 * 6  FEWER TOKENS                                                                          >>merge
 * =================================================================================================
 * Depth is one thing to remove, tokens are another. Neighbouring patches of sky say the same thing
 * to the class token, and a network that was never told so still works when they become one: no
 * training. Between its two halves each block pairs tokens off and averages the r pairs that are
 * most alike, so that after l blocks N - l r tokens are left. Comparing every token with every
 * other would be clustering, which is slow and may merge half an image into one; pairs between two
 * sets take one small product and merge at most half. An average of averages must be weighted, and
 * a token that stands for c patches counts c times in the softmax of the attention after it, as its
 * patches would have (6.1). The class and the distillation token stay: their heads read them.
 *
 *   math      tokens 0, 2, 4, .. are the set A, tokens 1, 3, 5, .. the set B;
 *             s_i = max_j cos(k_i, k_j), i in A, j in B, k the keys of a token summed over heads;
 *             the r tokens of A with the largest s_i join their j: x_j = sum c x / sum c over the
 *             group, c_j = sum c, where c counts the patches that a token stands for
 *   shape     x[B,N,D] -> [B,N-r,D], c[B,N]; r at most half of the tokens that may be merged
 *   source    Bolya et al. 2023, "Token merging: your ViT but faster", section 3
 *   check     tests/test_merge.c merging_is_its_description, networks_are_pytorchs
 *
 * What is compared? Where there is attention, the keys, as published: they say what a token offers
 * to others, in d numbers. Where attention was removed there are none. Then the tokens are compared
 * by LN2 of the stream, whatever form the removal has (u, nothing, 2x or a fitted map): that is
 * what the MLP behind the merging reads, so where two are equal it loses nothing. LN1's output or
 * the bare stream do as well: with five attention layers of DeiT-Tiny removed and no training, each
 * of the three leaves 88 % of the arg-maxes of 1000 images of CIFAR-100 as they were, r = 13.
 *
 * Within an image only its own numbers decide, of equal ones the first: the result is the same in
 * any batch and for any number of threads. What is left of A stands before B, as published, and so
 * the next block compares other pairs.
 *
 * For the library all of this is a block of the caller's own (model->block), made of its public
 * operations and of one more, which has no backward pass.
 */

/* 6.1  Attention where keys count                                                  >>counted-keys
 *   math      P_ij = c_j exp(S_ij) / sum_j c_j exp(S_ij), that is, log c_j is added to S_ij
 *   shape     qkv[B,N,3hd] -> y[B,N,hd]
 *   check     tests/test_merge.c attention_counts_keys
 */
static bdpt_tensor *bdptp_attend(bdpt_tape *t, bdpt_tensor *qkv, int heads, double scale,
                                 const bdpt_merging *g) {
  bdpt_tensor *count;
  size_t b;
  if (!qkv || !g->joined) return bdpt_attention(t, qkv, NULL, heads, scale);
  count = bdpt_input(t, 2, qkv->shape, NULL, 0); /* [B,N] */
  for (b = 0; count && b < qkv->shape[0]; b++) {
    memcpy(count->data + b * qkv->shape[1], g->count + b * g->room,
           qkv->shape[1] * sizeof *count->data);
  }
  return count ? bdpt_attention(t, qkv, count, heads, scale) : NULL;
}

/* 6.2  Who joins whom                                                                      >>pairs
 *
 * What is compared of token i is the sum of `heads` vectors of `size` numbers at x + i * row: its
 * keys, or one vector as wide as the stream.
 */
typedef struct bdptp_pairing {
  bdpt_merging *g;
  size_t tokens, merge, fixed;            /* N, r, tokens that stay alone */
  const bdpt_real *x; size_t row, heads, size;
} bdptp_pairing;

/* Makes room for a forward pass on x[B,N,D], in which each token stands for itself. */
static int bdptp_merging_begin(bdpt_merging *g, const bdpt_tensor *x) {
  const size_t tokens = x->count / x->shape[2], parts = 3 * x->shape[0] * sizeof *g->part;
  const size_t bytes = parts + tokens * sizeof *g->count; /* far less than x itself has */
  size_t i;
  if (bytes > g->bytes) {
    bdpt_merging_free(g);
    g->memory = bdpt_alloc(g->ctx, bytes);
    if (!g->memory) return 0;
    g->bytes = bytes;
  }
  g->part = (bdpt_tensor **)g->memory;
  g->count = (bdpt_real *)(void *)((unsigned char *)g->memory + parts);
  g->room = x->shape[1]; g->joined = 0;
  for (i = 0; i < tokens; i++) g->count[i] = 1;
  return 1;
}

/* Returns how many tokens a block that has `tokens` merges away. */
static size_t bdptp_merges(size_t tokens, size_t most, size_t fixed) {
  const size_t half = (tokens - fixed) / 2;
  return most < half ? most : half;
}

/* Divides what is compared of a token by its length; zeros stay zeros. */
static void bdptp_unit_length(const bdptp_pairing *p, const bdpt_real *x, bdpt_real *unit) {
  const size_t d = p->size;
  double square = 0;
  bdpt_real share;
  size_t h, k;
  memcpy(unit, x, d * sizeof *unit);
  for (h = 1; h < p->heads; h++) {
    for (k = 0; k < d; k++) unit[k] += x[h * d + k];
  }
  for (k = 0; k < d; k++) square += (double)unit[k] * (double)unit[k];
  share = square > 0 ? (bdpt_real)(1 / sqrt(square)) : 0;
  for (k = 0; k < d; k++) unit[k] *= share;
}

/* Computes the cosines of all pairs of every image: a product of two small matrices for each, which
 * is never rounded to bf16. */
static int bdptp_cosines(bdpt_tape *t, const bdptp_pairing *p, size_t count) {
  bdpt_context *ctx = bdpt_tape_context(t);
  const int bf16 = ctx->bf16, images = (int)count;
  const size_t n = p->tokens, even[2] = {(n + 1) / 2, p->size}, odd[2] = {n / 2, p->size};
  bdpt_tensor **part = p->g->part, *zero = bdpt_input(t, 1, odd, NULL, 0);
  int b, ok = zero != NULL;
  for (b = 0; ok && b < images; b++, part += 3) {
    part[0] = bdpt_input(t, 2, even, NULL, 0);
    part[1] = bdpt_input(t, 2, odd, NULL, 0);
    ok = part[0] && part[1];
  }
  part = p->g->part;
  BDPTP_OMP(omp parallel for num_threads(ctx->threads) schedule(static) if (images > 1))
  for (b = 0; b < (ok ? images : 0); b++) {
    size_t i;
    for (i = 0; i < n; i++) {
      bdptp_unit_length(p, p->x + ((size_t)b * n + i) * p->row,
                 part[3 * b + (int)(i % 2)]->data + i / 2 * p->size);
    }
  }
  ctx->bf16 = 0;
  for (b = 0; ok && b < images; b++, part += 3) {
    part[2] = bdpt_linear(t, part[0], part[1], zero, NULL);
    ok = part[2] != NULL;
  }
  ctx->bf16 = bf16;
  return ok;
}

/* Finds for each token of A the one of B with the largest cosine. A distillation token, token 0 of
 * B, is never chosen; a NaN gives way to whatever follows it. */
static void bdptp_match(const bdptp_pairing *p, const bdpt_real *cosine, bdpt_real *score,
                        size_t *best) {
  const size_t even = (p->tokens + 1) / 2, odd = p->tokens / 2;
  size_t i, j;
  for (i = 0; i < even; i++, cosine += odd) {
    size_t top = p->fixed > 1;
    for (j = top + 1; j < odd; j++) {
      if (!(cosine[j] <= cosine[top])) top = j;
    }
    score[i] = cosine[top];
    best[i] = top;
  }
}

/* Sets to[i] to best[i] for the tokens of A that score best, to SIZE_MAX for those that stay. */
static void bdptp_choose(const bdptp_pairing *p, const bdpt_real *score, const size_t *best,
                         size_t *to) {
  const size_t even = (p->tokens + 1) / 2;
  size_t i, k, top;
  for (i = 0; i < even; i++) to[i] = SIZE_MAX;
  for (k = 0; k < p->merge; k++) {
    for (i = 1, top = 0; i < even; i++) { /* token 0 is the class token; a NaN is never larger */
      if (to[i] == SIZE_MAX && (top == 0 || score[i] > score[top])) top = i;
    }
    to[top] = best[top];
  }
}

/* 6.3  Joining                                                                              >>join
 *
 * Token j of B goes behind what stays of A; the distillation token stays where it is.
 */
static size_t bdptp_place(const bdptp_pairing *p, size_t j) {
  return p->fixed > 1 && j == 0 ? 1 : (p->tokens + 1) / 2 - p->merge + j;
}

/* Moves and averages the tokens of an image, x[N,d] -> y[N-r,d]; `old` are their counts. A mean
 * grows by (x - mean) c / sum c for each token that joins it. */
static void bdptp_join(const bdptp_pairing *p, const bdpt_real *x, size_t d, const size_t *to,
                       const bdpt_real *old, bdpt_real *y, bdpt_real *count) {
  const size_t n = p->tokens;
  size_t i, k, place, next = p->fixed; /* next: where the next token of A goes */
  for (i = 1; i < n; i += 2) {
    place = bdptp_place(p, i / 2);
    memcpy(y + place * d, x + i * d, d * sizeof *y);
    count[place] = old[i];
  }
  for (i = 0; i < n; i += 2) {
    const bdpt_real *from = x + i * d;
    if (to[i / 2] == SIZE_MAX) {
      place = i ? next++ : 0;
      memcpy(y + place * d, from, d * sizeof *y);
      count[place] = old[i];
    } else {
      bdpt_real *mean, share;
      place = bdptp_place(p, to[i / 2]);
      mean = y + place * d;
      count[place] += old[i];
      share = old[i] / count[place];
      for (k = 0; k < d; k++) mean[k] += share * (from[k] - mean[k]);
    }
  }
}

/* Returns the bytes of four arrays of an image: best, to, scores of A, old counts of both. */
static size_t bdptp_room(size_t n) {
  return (n + 1) / 2 * (2 * sizeof(size_t) + 3 * sizeof(double));
}

static bdpt_status bdptp_merge_forward(const bdpt_op_run *run) {
  const bdptp_pairing *p = (const bdptp_pairing *)run->user;
  const size_t n = p->tokens, even = (n + 1) / 2, d = run->out->shape[2];
  int b, images = (int)run->out->shape[0];
  BDPTP_OMP(omp parallel for num_threads(run->ctx->threads) schedule(static) if (images > 1))
  for (b = 0; b < images; b++) {
    const size_t image = (size_t)b;
    size_t *best = (size_t *)(void *)((unsigned char *)run->saved + image * bdptp_room(n));
    size_t *to = best + even;
    bdpt_real *score = (bdpt_real *)(void *)(to + even), *old = score + even;
    bdpt_real *count = p->g->count + image * p->g->room;
    bdptp_match(p, p->g->part[3 * b + 2]->data, score, best);
    bdptp_choose(p, score, best, to);
    memcpy(old, count, n * sizeof *old);
    bdptp_join(p, run->in[0]->data + image * n * d, d, to, old,
               run->out->data + image * (n - p->merge) * d, count);
  }
  p->g->joined = 1;
  return BDPT_OK;
}

/* Merges x[B,N,D] into [B,N-r,D]; returns x itself when nothing can be merged. */
static bdpt_tensor *bdptp_merge(bdpt_tape *t, bdpt_tensor *x, bdptp_pairing *p, size_t fixed) {
  bdpt_op op = {"merging tokens", bdptp_merge_forward, NULL, 0, NULL};
  size_t shape[3];
  if (!x) return NULL;
  p->tokens = x->shape[1]; p->fixed = fixed;
  p->merge = bdptp_merges(p->tokens, (size_t)p->g->tokens, fixed);
  if (p->merge == 0 || x->count == 0) return x;
  if (!bdptp_cosines(t, p, x->shape[0])) return NULL;
  shape[0] = x->shape[0]; shape[1] = p->tokens - p->merge; shape[2] = x->shape[2];
  op.saved = x->shape[0] * bdptp_room(p->tokens);
  op.user = p;
  return bdpt_tape_op(t, &op, &x, 1, 3, shape);
}

/* 6.4  The block
 *
 * Its first half does what bdpt_attention_half does in evaluation, with counts, and then merges.
 */
static bdpt_tensor *bdptp_merging_half(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                       bdpt_merging *g) {
  const bdpt_block *b = &m->config.block[l];
  const size_t hd = (size_t)(b->heads * b->head_dim), fixed = (size_t)bdpt_prefix_count(&m->config);
  bdpt_tensor *w = &m->param[BDPT_SLOT(l, 0)], *v, *qkv, *bias = &w[BDPT_SLOT_QKV_B];
  bdptp_pairing p;
  memset(&p, 0, sizeof p);
  p.g = g;
  if (b->attention == BDPT_ATTENTION_KEPT) {
    if (!bias->data) bias = bdpt_input(t, 1, w[BDPT_SLOT_QKV_W].shape, NULL, 0); /* zeros */
    v = bdpt_layernorm(t, x, &w[BDPT_SLOT_NORM1_W], &w[BDPT_SLOT_NORM1_B], m->config.eps);
    qkv = bdpt_linear(t, v, &w[BDPT_SLOT_QKV_W], bias, NULL);
    v = bdptp_attend(t, qkv, b->heads, b->scale, g);
    x = bdpt_linear(t, v, &w[BDPT_SLOT_PROJ_W], &w[BDPT_SLOT_PROJ_B], x);
    if (!x) return NULL;
    p.x = qkv->data + hd; p.row = 3 * hd; /* the keys */
    p.heads = (size_t)b->heads; p.size = (size_t)b->head_dim;
  } else {
    x = bdpt_attention_half(m, t, l, x, NULL);
    v = bdpt_layernorm(t, x, &w[BDPT_SLOT_NORM2_W], &w[BDPT_SLOT_NORM2_B], m->config.eps);
    if (!v) return NULL;
    p.x = v->data; p.row = p.size = v->shape[2]; /* what the MLP reads */
    p.heads = 1;
  }
  return bdptp_merge(t, x, &p, fixed);
}

static bdpt_tensor *bdptp_merging_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                        const bdpt_forward_options *options, void *user) {
  bdpt_merging *g = (bdpt_merging *)user;
  if (options->training) x = bdpt_attention_half(m, t, l, x, options);
  else if (l > 0 || bdptp_merging_begin(g, x)) x = bdptp_merging_half(m, t, l, x, g);
  else return NULL;
  return bdpt_mlp_half(m, t, l, x, options);
}

BDPT_API bdpt_status bdpt_merge(bdpt_model *m, int tokens, bdpt_merging *g) {
  const bdpt_config *c = &m->config;
  if (tokens < 0 || tokens > 1 << 20 || (tokens && (c->no_class || c->registers))) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "merge: tokens: %d; it takes 0 to %d, a class token, "
                     "and before the patches nothing else but a distillation token", tokens,
                     1 << 20);
  }
  if (m->block && m->block != bdptp_merging_block) {
    return bdpt_fail(m->ctx, BDPT_E_STATE, "merge: the model has a block of its own");
  }
  g->ctx = m->ctx; g->tokens = tokens;
  m->block = tokens ? bdptp_merging_block : NULL;
  m->block_user = tokens ? g : NULL;
  return BDPT_OK;
}

BDPT_API void bdpt_merging_free(bdpt_merging *g) {
  if (g->memory) bdpt_release(g->ctx, g->memory, g->bytes);
  g->memory = NULL;
  g->bytes = 0;
}

/* 6.5  What it costs
 *
 * The counts of the standard block, less what each half is spared by the tokens it does not see.
 */
BDPT_API bdpt_status bdpt_merging_cost(bdpt_context *ctx, const bdpt_config *config, int tokens,
                                       bdpt_cost_report *out) {
  bdpt_config c = *config;
  double d, all, now, spared = 0, products = 0;
  int l;
  if (bdpt_config_resolve(ctx, &c) != BDPT_OK) return ctx->status;
  if (bdpt_cost(ctx, &c, out) != BDPT_OK) return ctx->status;
  d = c.width; all = now = bdpt_token_count(&c);
  for (l = 0; l < c.depth; l++) {
    const bdpt_block *b = &c.block[l];
    const int kept = b->attention == BDPT_ATTENTION_KEPT;
    const double hd = b->heads * b->head_dim;
    const double r = (double)bdptp_merges((size_t)now, (size_t)tokens,
                                          (size_t)bdpt_prefix_count(&c));
    if (kept) spared += (all - now) * 4 * d * hd;
    if (kept) products += 2 * (now * now - all * all) * hd;
    if (b->attention == BDPT_ATTENTION_FITTED) spared += (all - now) * d * d;
    if (r > 0) products += ceil(now / 2) * floor(now / 2) * (kept ? b->head_dim : d); /* cosines */
    now -= r; /* the MLP has fewer */
    spared += (all - now) * d * (b->mlp_state <= BDPT_MLP_LINEAR ? 2 * (double)b->mlp : d);
  }
  out->macs_no_matmul -= spared;
  out->macs += products - spared;
  return BDPT_OK;
}

#ifndef BDPT_ONLY_INFERENCE
/* =================================================================================================
 * 7  HOW MUCH OF A SPLIT IS NOISE                                                          >>noise
 * =================================================================================================
 * Would the same split come out if everything were measured again? An accuracy measured on a few
 * thousand held-out images carries about half a point of sampling noise, and a short fine-tune adds
 * its own. A split worth acting on should survive that. The study adds such noise to the
 * accuracies many times, repeats everything from the degree on, and counts how far along the budget
 * line the choice has moved. Call it with the noise of your own measurements.
 *
 *   math      y' = y + clip(sd N(0,1), -c, c); degree, surface and split again from y'
 *   source    PAPER_NOTES.md, MAP (500 trials, sd or variance 0.1, c = 0.5)
 *   check     tests/test_map.c example_noise: the study's rows within sampling error
 *
 * Set 0 has the accuracies as measured; set t > 0 those of trial t, whose noise depends on (seed,
 * t), so that more trials extend a study.
 */
static void bdptp_noise_add(const bdpt_map_noise_options *o, const bdpt_map_point *points,
                            size_t count, bdpt_map_point *sets) {
  size_t t, i;
  for (t = 0; t <= (size_t)o->trials; t++, sets += count) {
    bdpt_rng r;
    bdpt_rng_seed(&r, o->seed, (uint64_t)t);
    memcpy(sets, points, count * sizeof *sets);
    for (i = 0; t > 0 && i < count; i++) {
      double e = o->sd * bdpt_normal(&r); /* points of accuracy, per cent */
      if (o->clip > 0) e = fmax(-o->clip, fmin(e, o->clip));
      sets[i].accuracy += e;
    }
  }
}

/* Splits by every surface maps[trials + 1], and counts how far each lies from the first. */
static bdpt_status bdptp_noise_count(bdpt_context *ctx, const bdpt_map_noise_options *o,
                                     const bdpt_map *maps, bdpt_map_noise_report *out) {
  const double depth = o->depth, trials = o->trials;
  int t, a = 0, g = 0;
  bdpt_status s = bdpt_map_split(ctx, maps, o->depth, o->budget, &out->attention, &out->activation,
                                 NULL);
  for (t = 1; t <= o->trials && s == BDPT_OK; t++) {
    s = bdpt_map_split(ctx, &maps[t], o->depth, o->budget, &a, &g, NULL);
    if (a == out->attention) out->exact += 100.0;
    else if (abs(a - out->attention) == 1) out->one += 100.0;
    else out->more += 100.0;
    out->mean_attention += (depth - a) / depth / trials;
    out->mean_activation += (depth - g) / depth / trials;
    out->sd += (depth - a) / depth * (depth - a) / depth / trials;
  }
  out->exact /= trials; out->one /= trials; out->more /= trials; /* to per cent */
  out->sd = sqrt(fabs(out->sd - out->mean_attention * out->mean_attention));
  return s;
}

BDPT_API bdpt_status bdpt_map_noise(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                    const bdpt_map_noise_options *o, bdpt_map_noise_report *out) {
  const size_t each = count * sizeof(bdpt_map_point) + sizeof(bdpt_map); /* bytes of a set */
  bdpt_map *maps;
  bdpt_map_point *sets;
  bdpt_status s;
  size_t all, bytes;
  memset(out, 0, sizeof *out);
  out->trials = o->trials;
  if (o->trials < 1 || !(o->sd >= 0) || count > BDPTP_MANY) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "map noise: trials %d, deviation %g, points %zu",
                     o->trials, o->sd, count);
  }
  all = (size_t)o->trials + 1;
  bytes = all > SIZE_MAX / each ? SIZE_MAX : all * each; /* the allocator refuses the former */
  maps = (bdpt_map *)bdpt_alloc(ctx, bytes);
  if (!maps) return ctx->status;
  sets = (bdpt_map_point *)(void *)(maps + all);
  bdptp_noise_add(o, points, count, sets);
  s = bdpt_map_fit(ctx, sets, count, all, o->degree, maps);
  if (s == BDPT_OK) s = bdptp_noise_count(ctx, o, maps, out);
  bdpt_release(ctx, maps, bytes);
  return s;
}

/* =================================================================================================
 * 8  A DATA SET IN A FILE: CIFAR-100                                                      >>cifar
 * =================================================================================================
 * How does a file without a header show that it is what its name says? The format has no count
 * either, so its length is the only evidence of its kind. A length that is not a multiple of 3074
 * or one label out of range means another format (CIFAR-10's records have 3073 bytes) or a broken
 * download, and the whole file is refused.
 *
 *   layout    record i at offset 3074 i:  coarse label, fine label, 1024 red, 1024 green, 1024 blue
 *   source    Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the
 *             page of the data set; train.bin has 50000 records, test.bin 10000
 *   check     tests/test_data.c cifar_good, cifar_bad: truncated, empty, mislabelled files
 */
BDPT_API bdpt_status bdpt_cifar100_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                         const char *name, bdpt_dataset *out) {
  const bdpt_dataset shape = {size / 3074, 100, 32, 32, NULL, NULL, NULL, NULL, NULL};
  const unsigned char *p = (const unsigned char *)bytes; /* record i */
  size_t i, n = shape.count, rest = size - n * 3074; /* rest: bytes of a record cut off */
  bdpt_status status = BDPT_OK;
  memset(out, 0, sizeof *out);
  if (size == 0) return bdpt_fail(ctx, BDPT_E_FORMAT, "%s: the file is empty", name);
  if (rest) {
    return bdpt_fail(ctx, BDPT_E_FORMAT, "%s: record %zu, at offset %zu, ends after %zu of 3074 "
                     "bytes", name, n, n * 3074, rest);
  }
  *out = shape;
  out->pixels = (unsigned char *)bdpt_alloc(ctx, n * 3072); /* [n,3,32,32], the file's order */
  out->label = (unsigned short *)bdpt_alloc(ctx, n * sizeof *out->label);
  if (!out->pixels || !out->label) status = ctx->status;
  for (i = 0; i < n && status == BDPT_OK; i++, p += 3074) {
    int fine = p[0] < 20, limit = fine ? 100 : 20; /* the label to check, and to blame */
    if (p[fine] >= limit) {
      status = bdpt_fail(ctx, BDPT_E_FORMAT, "%s: record %zu, at offset %zu: %s label %d is not "
                         "below %d", name, i, i * 3074, fine ? "fine" : "coarse", p[fine], limit);
    }
    out->label[i] = p[1]; /* the coarse label is only checked */
    memcpy(out->pixels + i * 3072, p + 2, 3072);
  }
  if (status != BDPT_OK) bdpt_dataset_free(ctx, out);
  return status;
}

BDPT_API bdpt_status bdpt_cifar100_load(bdpt_context *ctx, const char *path, bdpt_dataset *out) {
  bdpt_bytes file;
  bdpt_status status = bdpt_file_read(ctx, path, &file);
  memset(out, 0, sizeof *out);
  if (!status) status = bdpt_cifar100_parse(ctx, file.data, file.size, path, out);
  bdpt_bytes_free(ctx, &file); /* empty after a failed read */
  return status;
}

/* =================================================================================================
 * 9  GRADIENTS BY DIFFERENCES                                                          >>gradcheck
 * =================================================================================================
 * Does a backward pass fit its forward pass? It is the one thing that can be wrong and still look
 * right. The loss is a projection of the output on fixed random numbers, which tests every element
 * of it at once; a plain sum would miss errors that cancel, and is blind to softmax altogether.
 *
 *   math      numeric dL/dx_i = (L(x_i + h) - L(x_i - h)) / 2h,  h = 6e-6 (1 + |x_i|)
 *   error     max |analytic - numeric| / max(1e-3, max |analytic|, max |numeric|)
 *   source    central differences: truncation ~ h^2, rounding ~ 1e-16 / h; they balance near 6e-6
 */

/* Builds the graph from the inputs as they are now; returns the projected loss. With `back` the
 * gradients stay in copy[count]. */
static double bdptp_check_run(bdpt_tape *t, bdpt_graph build, void *user,
                              bdpt_tensor *const *inputs, int count, bdpt_tensor **copy, int back) {
  bdpt_tensor *out, *seed = NULL;
  double sum = 0; /* L = seed . out */
  size_t k;
  int i;
  bdpt_tape_reset(t); /* the graph of the run before */
  for (i = 0; i < count; i++) {
    copy[i] = bdpt_input(t, inputs[i]->ndim, inputs[i]->shape, inputs[i]->data, back);
  }
  out = bdpt_tape_context(t)->status == BDPT_OK ? build(t, copy, user) : NULL;
  if (out) seed = bdpt_input(t, out->ndim, out->shape, NULL, 0);
  for (k = 0; seed && k < out->count; k++) {
    bdpt_rng r;
    bdpt_rng_seed(&r, 4242, k); /* element k has the same weight in every run */
    seed->data[k] = (bdpt_real)(2 * bdpt_uniform(&r) - 1); /* uniform in [-1, 1) */
    sum += (double)seed->data[k] * (double)out->data[k];
  }
  if (back && seed) bdpt_backward(t, out, seed->data); /* dL/dout = seed */
  return sum;
}

BDPT_API bdpt_status bdpt_gradcheck(bdpt_context *ctx, bdpt_graph build, void *user,
                                    bdpt_tensor *const *inputs, int count, double *error) {
  bdpt_tensor *x[16], *copy[16]; /* copies of the inputs, those with gradients first */
  bdpt_tape *exact, *t;
  size_t k;
  int i;
  *error = 0;
  if (count > 16) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "gradcheck: %d inputs, at most 16", count);
  t = bdpt_tape_create(ctx, BDPT_TAPE_RECORD);
  exact = bdpt_tape_create(ctx, BDPT_TAPE_RECORD);
  if (ctx->status == BDPT_OK) bdptp_check_run(exact, build, user, inputs, count, x, 1);
  for (i = 0; i < count && ctx->status == BDPT_OK; i++) {
    bdpt_real *at = inputs[i]->data;
    double worst = 0, scale = 1e-3; /* largest miss; what it is measured by */
    for (k = 0; k < inputs[i]->count && worst == worst && ctx->status == BDPT_OK; k++, at++) {
      const bdpt_real keep = *at;
      double h = 6e-6 * (1 + fabs((double)keep)), numeric, step;
      double analytic = x[i]->grad ? (double)x[i]->grad[k] : 0;
      *at = (bdpt_real)((double)keep + h);
      step = (double)*at;
      numeric = bdptp_check_run(t, build, user, inputs, count, copy, 0); /* L(x + h) */
      *at = (bdpt_real)((double)keep - h);
      step -= (double)*at; /* the step that was really made, after rounding */
      numeric = (numeric - bdptp_check_run(t, build, user, inputs, count, copy, 0)) / step;
      *at = keep; /* the caller's array is as it was */
      scale = fmax(scale, fmax(fabs(numeric), fabs(analytic)));
      if (!(fabs(numeric - analytic) <= worst)) worst = fabs(numeric - analytic); /* or a NaN */
    }
    if (!(worst / scale <= *error) && *error == *error) *error = worst / scale; /* a NaN stays */
  }
  bdpt_tape_free(t);
  bdpt_tape_free(exact);
  return ctx->status;
}

#endif /* BDPT_ONLY_INFERENCE */
#endif /* BOUNDARYDPT_PLUS_IMPLEMENTATION */
