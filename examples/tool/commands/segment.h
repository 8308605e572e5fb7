/* =================================================================================================
 * segment.h: what is where in a picture
 * =================================================================================================
 * Dense prediction with a vision transformer, as simply as it can be done: each patch's token,
 * after the last norm, goes through one linear to the classes, and what the patches say is blended
 * to the pixels between their centres. That linear is the network's own classifier, applied to
 * every patch in place of the class token. So a network for pictures with masks is a network like
 * any other: it is saved, pruned, fused and described by the same commands.
 *
 * Data come in ADE20K's layout: DIR/images/training, DIR/images/validation, and a mask of the same
 * name (.png, .pgm or .ppm) in DIR/annotations/...: grey, 0 counts for nothing, 1 to K are the
 * classes. Without a folder, scenes are drawn (generate.h, >>scenes) as they are wanted.
 *
 * DEVIATION from the usual protocol on ADE20K: pictures are squeezed to the network's square input
 * as a whole, in training a random part of at least SEGMENT_LEAST of each side, half of them
 * mirrored; no sliding window. The answer is judged at the size of the mask.
 *
 * Chapters: 1 pictures with masks, 2 learning, 3 judging, 4 overlays, 5 the command's parts.
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "../cli.h"
#include "../input.h"
#include "../pictures/png.h"
#include "../record.h"

enum { SEGMENT_WHY = 1900, SEGMENT_GENERATED = 4000, SEGMENT_TESTED = 200, SEGMENT_MOST = 255 };
#define SEGMENT_LEAST 0.6 /* the smallest part of a side that a random crop shows */

/* Says what went wrong, once; returns the status. */
CLI_PRINTF(3, 4)
CLI_FN bdpt_status segment_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  if (ctx->status != BDPT_OK) return ctx->status;
  va_start(args, format);
  cli_cut(ctx->message, sizeof ctx->message,
          vsnprintf(ctx->message, sizeof ctx->message, format, args));
  va_end(args);
  return ctx->status = status;
}

/* =================================================================================================
 * 1  PICTURES WITH MASKS                                                                  >>masks
 * =================================================================================================
 * A set is a list of names, or a range of scenes; a shot is one picture in memory. Reading a shot
 * is a function of the set and a number, so that several threads may read at once.
 */
typedef struct segment_set {
  char folder[2][1000];   /* of pictures, of masks; "" for scenes */
  folder_names file[2];   /* their names in them, in the same order */
  uint64_t seed, first;   /* of scenes */
  int side;               /* of scenes, pixels */
  size_t count;
  int classes;
} segment_set;

typedef struct segment_shot {
  picture image;
  unsigned char *mask;    /* [height][width], 0 or 1 + class */
} segment_shot;

CLI_FN void segment_set_free(segment_set *s) {
  folder_names_free(&s->file[0]);
  folder_names_free(&s->file[1]);
}

CLI_FN void segment_shot_free(segment_shot *s) {
  image_free(&s->image);
  free(s->mask);
  s->mask = NULL;
}

/* The mask that belongs to a picture: the same name with another ending. */
CLI_FN int segment_find_mask(segment_set *s, const char *name) {
  static const char *const ending[] = {".png", ".pgm", ".ppm"};
  char path[2100], mask[600];
  const char *dot = strrchr(name, '.');
  size_t i;
  for (i = 0; i < 3 && dot; i++) {
    snprintf(mask, sizeof mask, "%.*s%s", (int)(dot - name), name, ending[i]);
    snprintf(path, sizeof path, "%s/%s", s->folder[1], mask);
    if (strlen(name) < sizeof mask - 8 && cli_file_exists(path))
      return folder_names_add(&s->file[1], mask);
  }
  return 0;
}

/* part: "training" or "validation". */
CLI_FN bdpt_status segment_open_folder(bdpt_context *ctx, const char *data, const char *part,
                                       int classes, segment_set *s) {
  struct folder list;
  size_t i;
  memset(s, 0, sizeof *s);
  memset(&list, 0, sizeof list);
  s->classes = classes;
  if (strlen(data) > 900) return segment_fail(ctx, BDPT_E_IO, "%.200s: too long a path", data);
  snprintf(s->folder[0], sizeof s->folder[0], "%s/images/%s", data, part);
  snprintf(s->folder[1], sizeof s->folder[1], "%s/annotations/%s", data, part);
  if (!folder_scan(&list, s->folder[0], 1, &s->file[0]))
    return segment_fail(ctx, BDPT_E_IO, "%.399s", list.why);
  s->count = s->file[0].count;
  if (s->count == 0)
    return segment_fail(ctx, BDPT_E_IO, "%.300s: no picture in it (.jpg, .png, .ppm)",
                        s->folder[0]);
  for (i = 0; i < s->count; i++)
    if (!segment_find_mask(s, folder_name(&s->file[0], i)))
      return segment_fail(ctx, BDPT_E_IO, "%.250s: no mask (.png, .pgm, .ppm) for %.100s",
                          s->folder[1], folder_name(&s->file[0], i));
  return BDPT_OK;
}

CLI_FN void segment_open_scenes(size_t count, uint64_t seed, int validation, int side,
                                segment_set *s) {
  memset(s, 0, sizeof *s);
  s->classes = GEN_SCENE_CLASSES;
  s->count = count;
  s->seed = seed;
  s->first = validation ? 100000000u : 0u; /* where no training part ever reaches */
  s->side = side;
}

/* The grey values of a mask are its classes. */
CLI_FN int segment_mask(const segment_set *s, const picture *mask, segment_shot *out,
                        char why[IMAGE_WHY]) {
  size_t n = (size_t)mask->width * (size_t)mask->height, i;
  if (mask->width != out->image.width || mask->height != out->image.height) {
    snprintf(why, IMAGE_WHY, "%d x %d pixels, but its picture has %d x %d", mask->width,
             mask->height, out->image.width, out->image.height);
    return 0;
  }
  out->mask = (unsigned char *)malloc(n);
  if (!out->mask) return image_no(why, "out of memory");
  for (i = 0; i < n; i++) {
    const unsigned char *p = mask->planes + i;
    out->mask[i] = p[0];
    if (p[n] != p[0] || p[2 * n] != p[0])
      return image_no(why, "it is in colour; a mask is grey, its values are the classes");
    if (p[0] <= s->classes) continue;
    snprintf(why, IMAGE_WHY, "value %d at column %lu, row %lu, but there are %d classes", p[0],
             (unsigned long)(i % (size_t)mask->width), (unsigned long)(i / (size_t)mask->width),
             s->classes);
    return 0;
  }
  return 1;
}

/* Shot i; on failure `out` owns nothing and `why` names the file. */
CLI_FN int segment_read(const segment_set *s, size_t i, segment_shot *out, char why[SEGMENT_WHY]) {
  char path[2100] = "a drawn scene", reason[IMAGE_WHY] = "out of memory";
  size_t n = (size_t)s->side * (size_t)s->side;
  picture mask;
  int k = 0, ok;
  memset(out, 0, sizeof *out);
  if (!s->folder[0][0]) {
    out->image.width = out->image.height = s->side;
    out->image.planes = (unsigned char *)malloc(3 * n);
    out->mask = (unsigned char *)malloc(n);
    ok = out->image.planes && out->mask &&
         gen_scene_draw(s->seed, s->first + i, s->side, out->image.planes, out->mask) == 0;
  } else {
    memset(&mask, 0, sizeof mask);
    for (ok = 1; k < 2 && ok; k++) {
      snprintf(path, sizeof path, "%s/%s", s->folder[k], folder_name(&s->file[k], i));
      ok = image_read(path, k ? &mask : &out->image, reason);
    }
    if (ok) ok = segment_mask(s, &mask, out, reason);
    image_free(&mask);
  }
  if (ok) return 1;
  snprintf(why, SEGMENT_WHY, "%.1600s: %.199s", path, reason);
  segment_shot_free(out);
  return 0;
}

/* A part of a shot: w x h pixels from (x, y) on, mirrored or not. */
typedef struct segment_part { int x, y, w, h, mirror; } segment_part;

CLI_FN segment_part segment_whole(const segment_shot *s) {
  segment_part p = {0, 0, 0, 0, 0};
  p.w = s->image.width, p.h = s->image.height;
  return p;
}

/* A random part, a function of (seed, draw) alone. */
CLI_FN segment_part segment_random(const segment_shot *s, uint64_t seed, uint64_t draw) {
  gen_rng r;
  segment_part p;
  double share;
  r.state = gen_hash(seed ^ UINT64_C(0x5e9), draw);
  share = SEGMENT_LEAST + (1 - SEGMENT_LEAST) * gen_pick(&r, 0, 1000) / 1000;
  p.w = (int)ceil(share * s->image.width);
  p.h = (int)ceil(share * s->image.height);
  p.x = gen_pick(&r, 0, s->image.width - p.w);
  p.y = gen_pick(&r, 0, s->image.height - p.h);
  p.mirror = gen_pick(&r, 0, 1);
  return p;
}

/* The part as planes[3][side][side], bicubic, and its classes label[side][side], those of the
 * nearest pixels; -1 where nothing counts. label may be NULL. */
CLI_FN int segment_cut(const segment_shot *s, const segment_part *p, int side,
                       unsigned char *planes, int *label) {
  size_t wide = (size_t)s->image.width, n = wide * (size_t)s->image.height;
  picture cut;
  char why[IMAGE_WHY];
  int c, x, y, ok;
  cut.width = p->w, cut.height = p->h;
  cut.planes = (unsigned char *)malloc((size_t)p->w * (size_t)p->h * 3);
  if (!cut.planes) return 0;
  for (c = 0; c < 3; c++)
    for (y = 0; y < p->h; y++)
      for (x = 0; x < p->w; x++) {
        size_t from = (size_t)(p->y + y) * wide + (size_t)(p->x + (p->mirror ? p->w - 1 - x : x));
        cut.planes[((size_t)c * (size_t)p->h + (size_t)y) * (size_t)p->w + (size_t)x] =
            s->image.planes[(size_t)c * n + from];
      }
  ok = image_fit(&cut, side, IMAGE_WHOLE, planes, why);
  free(cut.planes);
  for (y = 0; label && y < side; y++)
    for (x = 0; x < side; x++) {
      int at = (int)((x + 0.5) * p->w / side), row = (int)((y + 0.5) * p->h / side);
      if (p->mirror) at = p->w - 1 - at;
      label[y * side + x] = s->mask[(size_t)(p->y + row) * wide + (size_t)(p->x + at)] - 1;
    }
  return ok;
}

/* Writes `count` pictures of a set into DIR in ADE20K's layout, as PPM and PGM. */
CLI_FN bdpt_status segment_write_set(bdpt_context *ctx, const segment_set *s, const char *dir,
                                     const char *part) {
  char path[2][1200], why[SEGMENT_WHY], head[40];
  size_t i, k, n, at;
  bdpt_status status = BDPT_OK;
  for (k = 0; k < 2; k++) {
    snprintf(path[k], sizeof path[k], "%.900s/%s/%s", dir, k ? "annotations" : "images", part);
    if (!cli_make_folder(path[k]))
      return segment_fail(ctx, BDPT_E_IO, "cannot make the folder %.300s", path[k]);
  }
  for (i = 0; i < s->count && status == BDPT_OK; i++) {
    segment_shot shot;
    unsigned char *bytes;
    if (!segment_read(s, i, &shot, why)) return segment_fail(ctx, BDPT_E_IO, "%.399s", why);
    n = (size_t)shot.image.width * (size_t)shot.image.height;
    bytes = (unsigned char *)malloc(3 * n + sizeof head);
    for (k = 0; k < 2 && status == BDPT_OK; k++) {
      int used = snprintf(head, sizeof head, "P%d\n%d %d\n255\n", k ? 5 : 6, shot.image.width,
                          shot.image.height);
      snprintf(path[k], sizeof path[k], "%.900s/%s/%s/%05lu.%s", dir, k ? "annotations" : "images",
               part, (unsigned long)i, k ? "pgm" : "ppm");
      if (!bytes) break;
      memcpy(bytes, head, (size_t)used);
      if (k) memcpy(bytes + used, shot.mask, n);
      for (at = 0; k == 0 && at < 3 * n; at++)
        bytes[(size_t)used + at] = shot.image.planes[at % 3 * n + at / 3];
      status = bdpt_file_write(ctx, path[k], bytes, (size_t)used + (k ? n : 3 * n));
    }
    if (!bytes) status = segment_fail(ctx, BDPT_E_MEMORY, "out of memory");
    free(bytes);
    segment_shot_free(&shot);
  }
  return status;
}

/* =================================================================================================
 * 2  LEARNING                                                                          >>learning
 * =================================================================================================
 * The library's trainer moves the weights (AdamW, cosine, checkpoints); this chapter makes its
 * losses. Batch b of epoch e depends on (seed, e, b) alone, so a resumed run goes on with the same
 * bits.
 */
typedef struct segment_work {
  bdpt_model *m;
  const segment_set *train;
  uint64_t seed;
  size_t batch, per_epoch;
  size_t *order, ordered; /* [train->count], of epoch ordered - 1 */
  unsigned char *planes;  /* [batch][3][S][S] */
  bdpt_real *images;      /* the same, normalised */
  int *label;             /* [batch][S][S] */
  char *failed;           /* [batch] */
} segment_work;

CLI_FN void segment_work_free(segment_work *w) {
  free(w->order);
  free(w->planes);
  free(w->images);
  free(w->label);
  free(w->failed);
}

CLI_FN bdpt_status segment_work_make(segment_work *w, bdpt_model *m, size_t batch) {
  size_t pixels = (size_t)m->config.image * (size_t)m->config.image;
  w->m = m;
  w->batch = batch;
  w->planes = (unsigned char *)malloc(batch * 3 * pixels);
  w->images = (bdpt_real *)malloc(batch * 3 * pixels * sizeof *w->images);
  w->label = (int *)malloc(batch * pixels * sizeof *w->label);
  w->failed = (char *)calloc(batch, 1);
  if (w->train) w->order = (size_t *)malloc((w->train->count + 1) * sizeof *w->order);
  if (w->planes && w->images && w->label && w->failed && (w->order || !w->train)) return BDPT_OK;
  return segment_fail(m->ctx, BDPT_E_MEMORY, "out of memory for a batch of %lu pictures",
                      (unsigned long)batch);
}

/* Bytes to numbers, by the statistics of the network. */
CLI_FN void segment_normalise(const bdpt_config *c, const unsigned char *planes, size_t pixels,
                              bdpt_real *out) {
  size_t i;
  int k;
  for (k = 0; k < 3; k++)
    for (i = 0; i < pixels; i++)
      *out++ = (bdpt_real)((*planes++ / 255.0 - c->mean[k]) / c->std[k]);
}

/* Slot k of the batch from picture i of the set: a random part of it in training, else all. */
CLI_FN int segment_fill(segment_work *w, const segment_set *set, size_t k, size_t i, int random,
                        uint64_t draw, segment_shot *keep) {
  int side = w->m->config.image, ok;
  size_t pixels = (size_t)side * (size_t)side;
  char why[SEGMENT_WHY];
  segment_shot shot;
  segment_part part;
  if (!segment_read(set, i, &shot, why)) return 0;
  part = random ? segment_random(&shot, w->seed, draw) : segment_whole(&shot);
  ok = segment_cut(&shot, &part, side, w->planes + k * 3 * pixels, w->label + k * pixels);
  if (ok) segment_normalise(&w->m->config, w->planes + k * 3 * pixels, pixels,
                            w->images + k * 3 * pixels);
  if (ok && keep) *keep = shot;
  else segment_shot_free(&shot);
  return ok;
}

/* A failed slot, read once more by one thread: the sentence names the file. */
CLI_FN bdpt_status segment_explain(bdpt_context *ctx, const segment_set *set, size_t i) {
  char why[SEGMENT_WHY] = "out of memory";
  const char *end = why;
  segment_shot shot;
  if (segment_read(set, i, &shot, why)) segment_shot_free(&shot);
  if (strlen(why) > 390) end += strlen(why) - 390; /* the end of a path says more than its start */
  return segment_fail(ctx, BDPT_E_FORMAT, "%s%s", end > why ? "..." : "", end);
}

CLI_FN void segment_shuffle(segment_work *w, size_t epoch) {
  size_t n = w->train->count, i;
  gen_rng r;
  if (w->ordered == epoch + 1) return;
  w->ordered = epoch + 1;
  r.state = gen_hash(w->seed ^ UINT64_C(0x0dde), epoch);
  for (i = 0; i < n; i++) w->order[i] = i;
  for (i = n; i > 1; i--) {
    size_t j = (size_t)gen_pick(&r, 0, (int)i - 1), other = w->order[j];
    w->order[j] = w->order[i - 1];
    w->order[i - 1] = other;
  }
}

/* The pictures of a step. */
CLI_FN bdpt_status segment_batch(segment_work *w, size_t step) {
  size_t at = step % w->per_epoch * w->batch;
  int k;
  segment_shuffle(w, step / w->per_epoch);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(w->m->ctx->threads)
#endif
  for (k = 0; k < (int)w->batch; k++) {
    size_t i = w->order[(at + (size_t)k) % w->train->count];
    w->failed[k] = !segment_fill(w, w->train, (size_t)k, i, 1,
                                 (uint64_t)step * w->batch + (uint64_t)k, NULL);
  }
  for (k = 0; k < (int)w->batch; k++)
    if (w->failed[k])
      return segment_explain(w->m->ctx, w->train, w->order[(at + (size_t)k) % w->train->count]);
  return BDPT_OK;
}

/* images[B,3,S,S] -> what each patch says, [B,n,K]. */
CLI_FN bdpt_tensor *segment_patches(bdpt_model *m, bdpt_tape *t, const bdpt_real *images,
                                    size_t count, const bdpt_forward_options *o) {
  size_t shape[4] = {0, 3, 0, 0};
  shape[0] = count;
  shape[2] = shape[3] = (size_t)m->config.image;
  return bdpt_linear(t, bdpt_features(m, t, bdpt_input(t, 4, shape, images, 0), o),
                     &m->param[BDPT_SLOT_HEAD_W], &m->param[BDPT_SLOT_HEAD_B]);
}

CLI_FN bdpt_tensor *segment_lesson(bdpt_model *m, bdpt_tape *t, const bdpt_forward_options *o,
                                   size_t step, void *user) {
  segment_work *w = (segment_work *)user;
  size_t grid = (size_t)(m->config.image / m->config.patch), side = (size_t)m->config.image;
  bdpt_tensor *z;
  if (segment_batch(w, step) != BDPT_OK) return NULL;
  z = segment_patches(m, t, w->images, w->batch, o);
  return bdpt_pixel_loss(t, bdpt_upsample(t, z, grid, side, side), w->label, -1);
}

/* The trainer wants a data set; ours is only a number of pictures. */
CLI_FN int segment_no_fetch(void *user, size_t index, unsigned char *planes) {
  (void)user, (void)index, (void)planes;
  return 1;
}

typedef struct segment_run {
  bdpt_recipe recipe;
  const char *checkpoint;
  int json, quiet, fresh;
} segment_run;

CLI_FN void segment_tell(const segment_run *r, size_t epoch, double loss, double seconds) {
  cli_json j = {NULL, 0, 0, 0, 0};
  if (!r->json) {
    printf("epoch %3lu  loss %.4f  %.0f s\n", (unsigned long)epoch, loss, seconds);
    fflush(stdout);
    return;
  }
  cli_json_open(&j, "epoch");
  cli_json_real(&j, "epoch", (double)epoch);
  cli_json_real(&j, "loss", loss);
  cli_json_real(&j, "seconds", seconds);
  cli_json_close(&j);
  cli_json_print(&j, stdout);
  fflush(stdout);
}

/* The steps from where the trainer stands to the end. */
CLI_FN bdpt_status segment_steps(segment_work *w, bdpt_trainer *t, const segment_run *r) {
  size_t step = bdpt_trainer_steps_done(t), total = w->per_epoch * (size_t)r->recipe.epochs;
  double sum = 0, count = 0, loss = 0, began = cli_now();
  bdpt_status status = BDPT_OK;
  cli_progress progress;
  bdpt_hooks hooks;
  cli_progress_open(&progress, r->quiet);
  hooks = cli_hooks(&progress, NULL);
  for (; step < total && status == BDPT_OK; step++) {
    bdpt_progress now = {"train", "", 0, 0, "images", 0, 0};
    status = bdpt_trainer_step_on(t, segment_lesson, w, &loss);
    if (status != BDPT_OK) break;
    sum += loss, count++;
    now.done = (step + 1) * w->batch, now.total = total * w->batch;
    now.loss = sum / count, now.accuracy = NAN;
    if (hooks.progress(&now, hooks.user)) status = BDPT_CANCELLED;
    if ((step + 1) % w->per_epoch == 0) {
      cli_progress_clear(&progress);
      segment_tell(r, (step + 1) / w->per_epoch, sum / count, cli_now() - began);
      sum = count = 0;
      if (status == BDPT_OK && step + 1 < total) status = bdpt_trainer_save(t, r->checkpoint);
    }
  }
  cli_progress_clear(&progress);
  if (status == BDPT_CANCELLED && bdpt_trainer_save(t, r->checkpoint) != BDPT_OK)
    status = w->m->ctx->status;
  return status;
}

/* Trains the network, goes on from r->checkpoint if it is there. */
CLI_FN bdpt_status segment_train(bdpt_model *m, const segment_set *train, const segment_run *r) {
  bdpt_context *ctx = m->ctx;
  bdpt_dataset none;
  bdpt_subset all;
  segment_work w;
  bdpt_trainer *t = NULL;
  bdpt_status s;
  memset(&w, 0, sizeof w), memset(&none, 0, sizeof none), memset(&all, 0, sizeof all);
  w.train = train;
  w.seed = r->recipe.seed;
  none.count = train->count;
  none.classes = none.coarse_classes = 1;
  none.height = none.width = m->config.image;
  none.fetch = segment_no_fetch;
  none.label = (unsigned short *)calloc(train->count, sizeof *none.label);
  if (!none.label) return segment_fail(ctx, BDPT_E_MEMORY, "out of memory");
  s = bdpt_subset_all(ctx, &none, &all);
  if (s == BDPT_OK && !(t = bdpt_trainer_create(m, NULL, &all, &r->recipe))) s = ctx->status;
  if (s == BDPT_OK && !r->fresh && cli_file_exists(r->checkpoint)) {
    if (!r->quiet)
      fprintf(stderr, "   going on from %s (--fresh would start again)\n", r->checkpoint);
    s = bdpt_trainer_load(t, r->checkpoint);
  }
  if (s == BDPT_OK) {
    size_t epoch = r->recipe.epoch_images ? r->recipe.epoch_images : train->count;
    w.per_epoch = bdpt_trainer_steps_per_epoch(t);
    s = segment_work_make(&w, m, epoch < (size_t)r->recipe.batch ? epoch : (size_t)r->recipe.batch);
  }
  if (s == BDPT_OK) s = segment_steps(&w, t, r);
  bdpt_trainer_free(t);
  bdpt_subset_free(ctx, &all);
  segment_work_free(&w);
  free(none.label);
  return s;
}

/* =================================================================================================
 * 3  JUDGING                                                                            >>judging
 * =================================================================================================
 *   math      n[i][j] pixels of class i that were said to be j, over all pictures together;
 *             IoU_k = n[k][k] / (sum_j n[k][j] + sum_i n[i][k] - n[k][k]); their mean over the
 *             classes that occur in truth or answer; accuracy = sum_k n[k][k] / sum n
 *   source    Long et al. 2015, and the benchmark of ADE20K; pixels with mask 0 are left out
 */
typedef struct segment_score {
  double n[SEGMENT_MOST][SEGMENT_MOST]; /* [truth][answer] */
  double iou[SEGMENT_MOST];             /* NaN for a class that does not occur */
  double mean, accuracy;                /* per cent */
  size_t pictures, pixels;
  double ms, ms_pixels;                 /* medians, of one picture: network; blending, arg-max */
  double ms_beside, faster;             /* another network in turn; median of the quotients; or 0 */
} segment_score;

CLI_FN void segment_count(segment_score *s, const unsigned char *truth, const unsigned char *said,
                          size_t n) {
  size_t i;
  for (i = 0; i < n; i++)
    if (truth[i]) s->n[truth[i] - 1][said[i] - 1]++, s->pixels++;
  s->pictures++;
}

CLI_FN void segment_sum(segment_score *s, int classes) {
  double right = 0;
  int k, j, met = 0;
  s->mean = 0;
  for (k = 0; k < classes; k++) {
    double either = -s->n[k][k];
    for (j = 0; j < classes; j++) either += s->n[k][j] + s->n[j][k];
    s->iou[k] = either > 0 ? 100 * s->n[k][k] / either : (double)NAN;
    if (either > 0) s->mean += s->iou[k], met++;
    right += s->n[k][k];
  }
  s->mean = met ? s->mean / met : (double)NAN;
  s->accuracy = s->pixels ? 100 * right / (double)s->pixels : (double)NAN;
}

/* Where pixel `at` of `out` lies among the centres of `in` patches: two of them and the share of
 * the second. The rule of bdpt_upsample, which would need memory for each class of each pixel. */
CLI_FN double segment_between(int at, int in, int out, int pair[2]) {
  double v = (at + 0.5) * in / out - 0.5;
  if (v < 0) v = 0;
  pair[0] = (int)v < in ? (int)v : in - 1;
  pair[1] = pair[0] + (pair[0] + 1 < in);
  return v - pair[0];
}

/* What the patches say, z[grid][grid][K], as 1 + the likeliest class of each pixel. */
CLI_FN void segment_decide(const bdpt_real *z, int grid, int classes, int width, int height,
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
        if (c == 0 || value > best) best = value, i = c;
      }
      *said++ = (unsigned char)(i + 1);
    }
  }
}

/* The answer for one shot at its own size, malloc'd. */
CLI_FN unsigned char *segment_answer(const bdpt_model *m, const bdpt_real *z, int width,
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

/* Pictures at .. at + n of a set: answers and truth into the score. */
CLI_FN bdpt_status segment_judge_group(segment_work *w, const segment_set *set, bdpt_tape *t,
                                       size_t at, int n, segment_score *out) {
  segment_shot shot[SEGMENT_GROUP];
  unsigned char *said[SEGMENT_GROUP];
  bdpt_status s = BDPT_OK;
  bdpt_tensor *z;
  int k;
  memset(shot, 0, sizeof shot), memset(said, 0, sizeof said);
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
    if (z && !said[k]) s = segment_fail(w->m->ctx, BDPT_E_MEMORY, "out of memory");
    if (said[k] && shot[k].mask) segment_count(out, shot[k].mask, said[k], pixels);
    free(said[k]);
    segment_shot_free(&shot[k]);
  }
  return s;
}

CLI_FN int segment_by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Seconds. One thread is timed by its own processor time, which other programs do not disturb. */
CLI_FN double segment_clock(const bdpt_context *ctx) {
#ifdef CLOCK_THREAD_CPUTIME_ID
  struct timespec t;
  if (ctx->threads == 1 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#endif
  (void)ctx;
  return cli_now();
}

/* Milliseconds from a picture to what its patches say; the patches are on the tape, *z. */
CLI_FN double segment_once(bdpt_model *m, bdpt_tape *t, const bdpt_real *image, bdpt_tensor **z) {
  double began = segment_clock(m->ctx);
  bdpt_tape_reset(t);
  *z = segment_patches(m, t, image, 1, NULL);
  return 1e3 * (segment_clock(m->ctx) - began);
}

/* Medians of rounds with the picture in slot 0. Networks are compared within a round, because the
 * speed of a machine that does other things drifts by more than the difference. */
CLI_FN bdpt_status segment_time(segment_work *w, bdpt_tape *t, bdpt_model *beside,
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

/* beside: a network to compare the time with, or NULL. */
CLI_FN bdpt_status segment_judge(bdpt_model *m, const segment_set *set, bdpt_model *beside,
                                 int quiet, segment_score *out) {
  segment_work w;
  size_t at, n;
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = t ? BDPT_OK : m->ctx->status;
  cli_progress progress;
  bdpt_hooks hooks;
  memset(out, 0, sizeof *out), memset(&w, 0, sizeof w);
  cli_progress_open(&progress, quiet);
  hooks = cli_hooks(&progress, NULL);
  if (s == BDPT_OK) s = segment_work_make(&w, m, SEGMENT_GROUP);
  for (at = 0; at < set->count && s == BDPT_OK; at += n) {
    bdpt_progress now = {"measure", "", 0, 0, "images", NAN, NAN};
    n = set->count - at < SEGMENT_GROUP ? set->count - at : SEGMENT_GROUP;
    s = segment_judge_group(&w, set, t, at, (int)n, out);
    now.done = at + n, now.total = set->count;
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

/* =================================================================================================
 * 4  OVERLAYS                                                                          >>overlays
 * =================================================================================================
 * Three panels side by side: the picture, the truth, the answer. In the second and third the
 * picture stays visible in grey under the colours of the classes; a dark line separates regions.
 * What does not count is hatched. The first class, which in drawn scenes is the background, is left
 * without colour. Neighbouring numbers get hues far apart (the golden angle, after twenty colours
 * chosen by hand).
 */
CLI_FN void segment_colour(int value, int classes, unsigned char rgb[3]) {
  static const unsigned char chosen[20][3] = {
    {230, 25, 75}, {60, 180, 75}, {255, 200, 25}, {0, 110, 220}, {245, 130, 48}, {145, 60, 200},
    {70, 220, 220}, {240, 60, 220}, {160, 220, 40}, {250, 160, 180}, {0, 140, 130}, {190, 140, 255},
    {155, 95, 35}, {255, 235, 120}, {130, 20, 40}, {120, 240, 170}, {125, 125, 20}, {255, 170, 110},
    {30, 50, 150}, {90, 200, 255}};
  int drawn = classes == GEN_SCENE_CLASSES, k = value - 1 - drawn, i;
  if (drawn && value == 1) rgb[0] = rgb[1] = rgb[2] = 205;
  else if (k < 20) memcpy(rgb, chosen[k], 3);
  else for (i = 0; i < 3; i++) /* hue by the golden angle, light and dark in turn */
    rgb[i] = (unsigned char)((k % 2 ? 165 : 120) + 85 * cos(6.2831853 * (0.618034 * k + i / 3.0)));
}

/* Does the region end at this pixel, to the right or below? */
CLI_FN int segment_edge(const unsigned char *mask, int w, int h, int x, int y) {
  const unsigned char *p = mask + (size_t)y * (size_t)w + (size_t)x;
  return (x + 1 < w && p[0] != p[1]) || (y + 1 < h && p[0] != p[w]);
}

/* One pixel of a panel: the picture if mask is NULL. */
CLI_FN void segment_paint(const picture *p, const unsigned char *mask, int classes, int x, int y,
                          unsigned char rgb[3]) {
  size_t n = (size_t)p->width * (size_t)p->height, at = (size_t)y * (size_t)p->width + (size_t)x;
  int grey = (299 * p->planes[at] + 587 * p->planes[n + at] + 114 * p->planes[2 * n + at]) / 1000;
  int c, weight = 70;
  for (c = 0; c < 3; c++) rgb[c] = p->planes[(size_t)c * n + at];
  if (!mask) return;
  if (mask[at] == 0) { /* hatched */
    rgb[0] = rgb[1] = rgb[2] = (unsigned char)((x + y) % 4 < 2 ? 30 : 90);
    return;
  }
  segment_colour(mask[at], classes, rgb);
  for (c = 0; c < 3; c++) rgb[c] = (unsigned char)((weight * rgb[c] + (100 - weight) * grey) / 100);
  if (segment_edge(mask, p->width, p->height, x, y))
    for (c = 0; c < 3; c++) rgb[c] = (unsigned char)(rgb[c] / 3);
}

/* A sheet of rows of three panels, each picture enlarged a whole number of times. */
typedef struct segment_sheet {
  unsigned char *rgb;     /* [height][width][3] */
  int width, height, used; /* used: rows of pixels painted so far */
} segment_sheet;

enum { SEGMENT_GAP = 6 };

/* Adds a row; the sheet is as wide as the widest row asks for at its first. */
CLI_FN int segment_sheet_add(segment_sheet *s, const segment_shot *shot, const unsigned char *said,
                             int classes, int zoom) {
  const picture *p = &shot->image;
  const unsigned char *mask[3];
  int wide = p->width * zoom, high = p->height * zoom, top = s->used, panel, x, y;
  int width = 3 * wide + 2 * SEGMENT_GAP, height = top + high + (top ? SEGMENT_GAP : 0);
  unsigned char *bigger;
  if (s->width == 0) s->width = width;
  bigger = (unsigned char *)realloc(s->rgb, (size_t)s->width * (size_t)height * 3);
  if (!bigger) return 0;
  s->rgb = bigger;
  memset(s->rgb + (size_t)s->width * (size_t)top * 3, 255,
         (size_t)s->width * (size_t)(height - top) * 3);
  mask[0] = NULL, mask[1] = shot->mask, mask[2] = said;
  for (panel = 0; panel < 3; panel++)
    for (y = 0; y < high; y++)
      for (x = 0; x < wide; x++) {
        int left = panel * (wide + SEGMENT_GAP) + x, line = height - high + y;
        if (left >= s->width) continue; /* a wider picture than the first is cut off */
        segment_paint(p, mask[panel], classes, x / zoom, y / zoom,
                      s->rgb + 3 * ((size_t)line * (size_t)s->width + (size_t)left));
      }
  s->used = s->height = height;
  return 1;
}

CLI_FN bdpt_status segment_sheet_save(bdpt_context *ctx, const segment_sheet *s, const char *path) {
  size_t size = 0;
  unsigned char *bytes = png_build(s->rgb, (size_t)s->width, (size_t)s->height, &size);
  bdpt_status status = bytes ? bdpt_file_write(ctx, path, bytes, size)
                             : segment_fail(ctx, BDPT_E_MEMORY, "out of memory");
  free(bytes);
  return status;
}

/* `count` pictures, evenly spread over the set: DIR/NAME-000.png and so on; `all`, unless NULL,
 * gets the first four of them, not enlarged. */
CLI_FN bdpt_status segment_overlays(bdpt_model *m, const segment_set *set, const char *dir,
                                    size_t count, segment_sheet *all) {
  segment_work w;
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = t ? BDPT_OK : m->ctx->status;
  size_t i;
  memset(&w, 0, sizeof w);
  if (count > set->count) count = set->count;
  if (s == BDPT_OK && dir && !cli_make_folder(dir))
    s = segment_fail(m->ctx, BDPT_E_IO, "cannot make the folder %.300s", dir);
  if (s == BDPT_OK) s = segment_work_make(&w, m, 1);
  for (i = 0; i < count && s == BDPT_OK; i++) {
    size_t at = i * set->count / count;
    segment_sheet one = {NULL, 0, 0, 0};
    segment_shot shot;
    unsigned char *said = NULL;
    char path[1300];
    bdpt_tensor *z = NULL;
    int zoom, ok;
    if (!segment_fill(&w, set, 0, at, 0, 0, &shot)) {
      s = segment_explain(m->ctx, set, at);
      break;
    }
    bdpt_tape_reset(t);
    z = segment_patches(m, t, w.images, 1, NULL);
    if (z) said = segment_answer(m, z->data, shot.image.width, shot.image.height);
    zoom = 280 / (shot.image.width > shot.image.height ? shot.image.width : shot.image.height);
    ok = said && segment_sheet_add(&one, &shot, said, set->classes, zoom > 1 ? zoom : 1);
    if (ok && all && i < 4) ok = segment_sheet_add(all, &shot, said, set->classes, 1);
    if (!ok) s = segment_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
    snprintf(path, sizeof path, "%.1200s/overlay-%03lu.png", dir ? dir : "", (unsigned long)i);
    if (ok && dir) s = segment_sheet_save(m->ctx, &one, path);
    free(one.rgb);
    free(said);
    segment_shot_free(&shot);
  }
  segment_work_free(&w);
  bdpt_tape_free(t);
  return s;
}

#endif /* SEGMENT_H */
