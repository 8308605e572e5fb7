/* =================================================================================================
 * masks.c: what is where in a picture
 * =================================================================================================
 * Dense prediction with a vision transformer, as simply as it can be done: each patch's token,
 * after the last norm, goes through one linear to the classes, and what the patches say is blended
 * to the pixels between their centres. That linear is the network's own classifier, applied to
 * every patch in place of the class token. So a network for pictures with masks is a network like
 * any other: it is saved, pruned, fused and described by the same commands.
 *
 * Data come in ADE20K's layout: DIR/images/training, DIR/images/validation, and a mask of the same
 * name (.png, .pgm or .ppm) in DIR/annotations/...: grey, 0 counts for nothing, 1 to K are the
 * classes. Without a folder, scenes are drawn (generate.c, >>scenes) as they are wanted.
 *
 * DEVIATION from the usual protocol on ADE20K: pictures are squeezed to the network's square input
 * as a whole, in training a random part of at least SEGMENT_LEAST of each side, half of them
 * mirrored; no sliding window. The answer is judged at the size of the mask.
 *
 * Chapters: 1 pictures with masks, here; 2 learning in learn.c, 3 judging in judge.c, 4 overlays in
 * overlays.c.
 */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/system.h"
#include "../pictures/folder.h"
#include "../pictures/generate.h"
#include "../pictures/images.h"
#include "segment.h"
#include "../words.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_LEAST 0.6 /* the smallest part of a side that a random crop shows */

/* =================================================================================================
 * 1  PICTURES WITH MASKS                                                                  >>masks
 * =================================================================================================
 * A set is a list of names, or a range of scenes; a shot is one picture in memory. Reading a shot
 * is a function of the set and a number, so that several threads may read at once.
 */

void segment_set_free(segment_set *s) {
  folder_names_free(&s->file[0]);
  folder_names_free(&s->file[1]);
}

void segment_shot_free(segment_shot *s) {
  image_free(&s->image);
  free(s->mask);
  s->mask = NULL;
}

/* Reads the mask that belongs to a picture: the same name with another ending. */
static int segment_find_mask(segment_set *s, const char *name) {
  static const char *const ending[] = {".png", ".pgm", ".ppm"};
  char path[2100], mask[600];
  const char *dot = strrchr(name, '.');
  size_t i;
  for (i = 0; i < 3 && dot; i++) {
    snprintf(mask, sizeof mask, "%.*s%s", (int)(dot - name), name, ending[i]);
    snprintf(path, sizeof path, "%s/%s", s->folder[1], mask);
    if (strlen(name) < sizeof mask - 8 && cli_file_exists(path) != 0)
      return folder_names_add(&s->file[1], mask);
  }
  return 0;
}

bdpt_status segment_open_folder(bdpt_context *ctx, const char *data, const char *part,
                                int classes, segment_set *s) {
  struct folder list;
  size_t i;
  memset(s, 0, sizeof *s);
  memset(&list, 0, sizeof list);
  s->classes = classes;
  if (strlen(data) > 900) return cli_fail(ctx, BDPT_E_IO, "%.200s: too long a path", data);
  snprintf(s->folder[0], sizeof s->folder[0], "%s/images/%s", data, part);
  snprintf(s->folder[1], sizeof s->folder[1], "%s/annotations/%s", data, part);
  if (!folder_scan(&list, s->folder[0], 1, &s->file[0]))
    return cli_fail(ctx, BDPT_E_IO, "%.399s", list.why);
  s->count = s->file[0].count;
  if (s->count == 0)
    return cli_fail(ctx, BDPT_E_IO, "%.300s: no picture in it (.jpg, .png, .ppm)",
                    s->folder[0]);
  for (i = 0; i < s->count; i++)
    if (!segment_find_mask(s, folder_name(&s->file[0], i)))
      return cli_fail(ctx, BDPT_E_IO, "%.250s: no mask (.png, .pgm, .ppm) for %.100s",
                      s->folder[1], folder_name(&s->file[0], i));
  return BDPT_OK;
}

void segment_open_scenes(size_t count, uint64_t seed, int validation, int side,
                         segment_set *s) {
  memset(s, 0, sizeof *s);
  s->classes = GEN_SCENE_CLASSES;
  s->count = count;
  s->seed = seed;
  s->first = validation ? 100000000u : 0u; /* where no training part ever reaches */
  s->side = side;
}

/* Takes the grey values of a mask as its classes. */
static int segment_mask(const segment_set *s, const picture *mask, segment_shot *out,
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
    snprintf(why, IMAGE_WHY, "value %d at column %lu, row %lu, but there %s %d %s", p[0],
             (unsigned long)(i % (size_t)mask->width), (unsigned long)(i / (size_t)mask->width),
             words_of(s->classes, "is", "are"), s->classes,
             words_of(s->classes, "class", "classes"));
    return 0;
  }
  return 1;
}

int segment_read(const segment_set *s, size_t i, segment_shot *out, char why[SEGMENT_WHY]) {
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

segment_part segment_whole(const segment_shot *s) {
  segment_part p = {0, 0, 0, 0, 0};
  p.w = s->image.width; p.h = s->image.height;
  return p;
}

segment_part segment_random(const segment_shot *s, uint64_t seed, uint64_t draw) {
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

int segment_cut(const segment_shot *s, const segment_part *p, int side,
                unsigned char *planes, int *label) {
  size_t wide = (size_t)s->image.width, n = wide * (size_t)s->image.height;
  picture cut;
  char why[IMAGE_WHY];
  int c, x, y, ok;
  cut.width = p->w; cut.height = p->h;
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

bdpt_status segment_write_set(bdpt_context *ctx, const segment_set *s, const char *dir,
                              const char *part) {
  char path[2][1200], why[SEGMENT_WHY], head[40];
  size_t i, k, n, at;
  bdpt_status status = BDPT_OK;
  for (k = 0; k < 2; k++) {
    snprintf(path[k], sizeof path[k], "%.900s/%s/%s", dir, k ? "annotations" : "images", part);
    if (!cli_make_folder(path[k]))
      return cli_fail(ctx, BDPT_E_IO, "cannot make the folder %.300s", path[k]);
  }
  for (i = 0; i < s->count && status == BDPT_OK; i++) {
    segment_shot shot;
    unsigned char *bytes;
    if (!segment_read(s, i, &shot, why)) return cli_fail(ctx, BDPT_E_IO, "%.399s", why);
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
    if (!bytes) status = cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
    free(bytes);
    segment_shot_free(&shot);
  }
  return status;
}
