/* boundarydpt_plus.h - what can be done to a vision transformer beside depth pruning, in one header
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * boundarydpt.h removes and fuses layers. This file stands beside it and uses nothing of it but its
 * public names: what the tape and the model offer to everybody (operations and blocks of one's own,
 * examples/08_own_operation.c) is enough for
 *
 *   dense prediction   an answer for every pixel instead of one for the image
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
 * BDPT_NO_OPENMP. Its contract too is that of boundarydpt.h, word for word: errors are sentences in
 * the context, memory is the context's, nothing is global, and results have the same bits for any
 * number of threads.
 *
 * WHERE TO READ. Each chapter has a tag to search for:
 *
 *   >>guide      1  how to read, letters            >>dense      3  patches to pixels
 *   >>api        2  the declarations
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * The chapters do not depend on each other; each begins with its idea. Whoever wants to see how an
 * operation with a backward pass looks from outside reads chapter 3.
 *
 * Letters are those of boundarydpt.h: B images, N tokens, D width, h heads of size d, F hidden
 * units, L blocks, l a block, K classes; R rows. bdpt_ is public, bdptp_ private to this file.
 */
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

/* What the network has found out about each patch: its token after the last norm, row by row,
 * without class and distillation token, [B,n,D]. Refuses networks whose blocks leave out tokens. */
BDPT_API bdpt_tensor *bdpt_features(bdpt_model *model, bdpt_tape *tape, bdpt_tensor *images,
                                    const bdpt_forward_options *options);
/* All tokens from one on: x[B,N,D] -> [B,N-first,D]. */
BDPT_API bdpt_tensor *bdpt_tail(bdpt_tape *t, bdpt_tensor *x, size_t first);
/* A grid of h x w tokens, row by row, as one of H x W: x[B,hw,K] -> [B,HW,K]. */
BDPT_API bdpt_tensor *bdpt_upsample(bdpt_tape *t, bdpt_tensor *x, size_t h, size_t H, size_t W);
/* The mean cross-entropy over the rows of z[...,K] whose label[rows] is not `ignore`. The labels
 * are borrowed for the call. */
BDPT_API bdpt_tensor *bdpt_pixel_loss(bdpt_tape *t, bdpt_tensor *z, const int *label, int ignore);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BOUNDARYDPT_PLUS_H */

#if defined(BOUNDARYDPT_PLUS_IMPLEMENTATION) && !defined(BDPTP_IMPLEMENTED)
#define BDPTP_IMPLEMENTED

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(_OPENMP) && !defined(BDPT_NO_OPENMP)
#define BDPTP_OMP(x) _Pragma(#x)
#else
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
  shape[0] = x->shape[0], shape[1] = x->shape[1] - first, shape[2] = x->shape[2];
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

/* Where the four neighbours of pixel (row, at) begin in a grid[h,w,K], and their weights. */
static void bdptp_corners(const bdptp_grid *s, size_t k, size_t row, size_t at, size_t corner[4],
                          bdpt_real part[4]) {
  const bdptp_tap v = bdptp_tap_of(row, s->h, s->H), u = bdptp_tap_of(at, s->w, s->W);
  corner[0] = (v.low * s->w + u.low) * k, part[0] = (1 - v.share) * (1 - u.share);
  corner[1] = (v.low * s->w + u.high) * k, part[1] = (1 - v.share) * u.share;
  corner[2] = (v.high * s->w + u.low) * k, part[2] = v.share * (1 - u.share);
  corner[3] = (v.high * s->w + u.high) * k, part[3] = v.share * u.share;
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

/* Rows of pixels share neighbours, so on the way back an image is one thread's. */
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
    bdpt_fail(bdpt_tape_context(t), BDPT_E_SHAPE, "upsample: x%s is no grid of %zu rows to make "
              "%zu x %zu of", bdpt_shape(x).text, h, H, W);
    return NULL;
  }
  s.h = h, s.w = x->shape[1] / h, s.H = H, s.W = W;
  op.user = &s;
  shape[0] = x->shape[0], shape[1] = H * W, shape[2] = x->shape[2];
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

/* One pixel: writes its dz, returns its loss. */
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
  s.label = label, s.ignore = ignore, s.rows = z->count / classes, s.counted = 0;
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

#endif /* BOUNDARYDPT_PLUS_IMPLEMENTATION */
