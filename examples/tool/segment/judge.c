/* judge.c: how good masks are, and how long they take */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* =================================================================================================
 * 3  JUDGING                                                                            >>judging
 * =================================================================================================
 *   math      n[i][j] pixels of class i that were said to be j, over all pictures together;
 *             IoU_k = n[k][k] / (sum_j n[k][j] + sum_i n[i][k] - n[k][k]); their mean over the
 *             classes that occur in truth or answer; accuracy = sum_k n[k][k] / sum n
 *   source    Long et al. 2015, and the benchmark of ADE20K; pixels with mask 0 are left out
 */

void segment_count(segment_score *s, const unsigned char *truth, const unsigned char *said,
                   size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (truth[i]) {
      s->n[truth[i] - 1][said[i] - 1]++;
      s->pixels++;
    }
  s->pictures++;
}

void segment_sum(segment_score *s, int classes) {
  double right = 0;
  int k, j, met = 0;
  s->mean = 0;
  for (k = 0; k < classes; k++) {
    double either = -s->n[k][k];
    for (j = 0; j < classes; j++) either += s->n[k][j] + s->n[j][k];
    s->iou[k] = either > 0 ? 100 * s->n[k][k] / either : (double)NAN;
    if (either > 0) {
      s->mean += s->iou[k];
      met++;
    }
    right += s->n[k][k];
  }
  s->mean = met ? s->mean / met : (double)NAN;
  s->accuracy = s->pixels ? 100 * right / (double)s->pixels : (double)NAN;
}

/* Finds where pixel `at` of `out` lies among the centres of `in` patches: two of them and the share
 * of the second. The rule of bdpt_upsample, which would need memory for each class of each
 * pixel. */
static double segment_between(int at, int in, int out, int pair[2]) {
  double v = (at + 0.5) * in / out - 0.5;
  if (v < 0) v = 0;
  pair[0] = (int)v < in ? (int)v : in - 1;
  pair[1] = pair[0] + (pair[0] + 1 < in);
  return v - pair[0];
}

void segment_decide(const bdpt_real *z, int grid, int classes, int width, int height,
                    unsigned char *said, bdpt_real *line) {
  size_t k = (size_t)classes, row = (size_t)grid * k, i, c;
  int y, x, v[2], u[2];
  for (y = 0; y < height; y++) {
    bdpt_real part = (bdpt_real)segment_between(y, grid, height, v); /* of the lower patches */
    const bdpt_real *high = z + (size_t)v[0] * row, *low = z + (size_t)v[1] * row;
    for (i = 0; i < row; i++) line[i] = high[i] + part * (low[i] - high[i]);
    for (x = 0; x < width; x++) {
      bdpt_real share = (bdpt_real)segment_between(x, grid, width, u), best = 0;
      const bdpt_real *a = line + (size_t)u[0] * k, *b = line + (size_t)u[1] * k;
      for (c = 0, i = 0; c < k; c++) {
        bdpt_real value = a[c] + share * (b[c] - a[c]);
        if (c == 0 || value > best) {
          best = value;
          i = c;
        }
      }
      *said++ = (unsigned char)(i + 1);
    }
  }
}

unsigned char *segment_answer(const bdpt_model *m, const bdpt_real *z, int width,
                              int height) {
  int grid = m->config.image / m->config.patch, k = m->config.classes;
  unsigned char *said = (unsigned char *)malloc((size_t)width * (size_t)height);
  bdpt_real *line = (bdpt_real *)malloc((size_t)grid * (size_t)k * sizeof *line);
  if (said && line) segment_decide(z, grid, k, width, height, said, line);
  else {
    free(said);
    said = NULL;
  }
  free(line);
  return said;
}

enum { SEGMENT_GROUP = 8 };

/* Adds answers and truth of the pictures at .. at + n of a set to the score. */
static bdpt_status segment_judge_group(segment_work *w, const segment_set *set, bdpt_tape *t,
                                       size_t at, int n, segment_score *out) {
  segment_shot shot[SEGMENT_GROUP];
  unsigned char *said[SEGMENT_GROUP];
  bdpt_status s = BDPT_OK;
  bdpt_tensor *z;
  int k;
  memset(shot, 0, sizeof shot); memset(said, 0, sizeof said);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(w->m->ctx->threads)
#endif
  for (k = 0; k < n; k++)
    w->failed[k] = !segment_fill(w, set, (size_t)k, at + (size_t)k, 0, 0, &shot[k]);
  for (k = 0; k < n && s == BDPT_OK; k++)
    if (w->failed[k]) s = segment_explain(w->m->ctx, set, at + (size_t)k);
  bdpt_tape_reset(t);
  z = s == BDPT_OK ? segment_patches(w->m, t, w->images, (size_t)n, NULL) : NULL;
  if (!z) s = w->m->ctx->status;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(w->m->ctx->threads)
#endif
  for (k = 0; k < n; k++)
    if (z) said[k] = segment_answer(w->m, z->data + (size_t)k * (z->count / (size_t)n),
                                    shot[k].image.width, shot[k].image.height);
  for (k = 0; k < n; k++) {
    size_t pixels = (size_t)shot[k].image.width * (size_t)shot[k].image.height;
    if (z && !said[k]) s = cli_fail(w->m->ctx, BDPT_E_MEMORY, "out of memory");
    if (said[k] && shot[k].mask) segment_count(out, shot[k].mask, said[k], pixels);
    free(said[k]);
    segment_shot_free(&shot[k]);
  }
  return s;
}

static int segment_by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Returns seconds. One thread is timed by its own processor time, which other programs do not
 * disturb. */
static double segment_clock(const bdpt_context *ctx) {
#if defined(CLOCK_THREAD_CPUTIME_ID) && !defined(_WIN32)
  struct timespec t;
  if (ctx->threads == 1 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#endif
  (void)ctx;
  return cli_now();
}

/* Measures the milliseconds from a picture to what its patches say; the patches are on the tape,
 * *z. */
static double segment_once(bdpt_model *m, bdpt_tape *t, const bdpt_real *image, bdpt_tensor **z) {
  double began = segment_clock(m->ctx);
  bdpt_tape_reset(t);
  *z = segment_patches(m, t, image, 1, NULL);
  return 1e3 * (segment_clock(m->ctx) - began);
}

/* Measures medians of rounds with the picture in slot 0. Networks are compared within a round,
 * because the speed of a machine that does other things drifts by more than the difference. */
static bdpt_status segment_time(segment_work *w, bdpt_tape *t, bdpt_model *beside,
                                segment_score *out) {
  enum { ROUNDS = 51 };
  double took[4][ROUNDS], began; /* network, pixels, the other network, quotient */
  int r, k, side = w->m->config.image;
  for (r = 0; r < ROUNDS; r++) {
    bdpt_tensor *z, *other = NULL;
    took[0][r] = segment_once(w->m, t, w->images, &z);
    if (!z) return w->m->ctx->status;
    began = segment_clock(w->m->ctx);
    free(segment_answer(w->m, z->data, side, side));
    took[1][r] = 1e3 * (segment_clock(w->m->ctx) - began);
    took[2][r] = beside ? segment_once(beside, t, w->images, &other) : 0;
    if (beside && !other) return w->m->ctx->status;
    took[3][r] = took[2][r] / took[0][r];
  }
  for (k = 0; k < 4; k++) qsort(took[k], ROUNDS, sizeof took[k][0], segment_by_size);
  out->ms = took[0][ROUNDS / 2];
  out->ms_pixels = took[1][ROUNDS / 2];
  out->ms_beside = took[2][ROUNDS / 2];
  out->faster = took[3][ROUNDS / 2];
  return BDPT_OK;
}

bdpt_status segment_judge(bdpt_model *m, const segment_set *set, bdpt_model *beside,
                          int quiet, segment_score *out) {
  segment_work w;
  size_t at, n;
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = t ? BDPT_OK : m->ctx->status;
  cli_progress progress;
  bdpt_hooks hooks;
  memset(out, 0, sizeof *out); memset(&w, 0, sizeof w);
  cli_progress_open(&progress, quiet);
  hooks = cli_hooks(&progress, NULL);
  if (s == BDPT_OK) s = segment_work_make(&w, m, SEGMENT_GROUP);
  for (at = 0; at < set->count && s == BDPT_OK; at += n) {
    bdpt_progress now = {"measure", "", 0, 0, "images", NAN, NAN};
    n = set->count - at < SEGMENT_GROUP ? set->count - at : SEGMENT_GROUP;
    s = segment_judge_group(&w, set, t, at, (int)n, out);
    now.done = at + n; now.total = set->count;
    if (s == BDPT_OK && hooks.progress(&now, hooks.user)) s = BDPT_CANCELLED;
  }
  cli_progress_clear(&progress);
  if (s == BDPT_OK) s = bdpt_model_pack(m);
  if (s == BDPT_OK && beside) s = bdpt_model_pack(beside);
  if (s == BDPT_OK) s = segment_time(&w, t, beside, out);
  segment_sum(out, set->classes);
  segment_work_free(&w);
  bdpt_tape_free(t);
  return s;
}
