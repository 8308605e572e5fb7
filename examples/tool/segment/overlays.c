/* overlays.c: masks drawn over pictures */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/system.h"
#include "../pictures/generate.h"
#include "../pictures/images.h"
#include "../pictures/png.h"
#include "segment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 4  OVERLAYS                                                                          >>overlays
 * =================================================================================================
 * Three panels side by side: the picture, the truth, the answer. In the second and third the
 * picture stays visible in grey under the colours of the classes; a dark line separates regions.
 * What does not count is hatched. The first class, which in drawn scenes is the background, is left
 * without colour. Neighbouring numbers get hues far apart (the golden angle, after twenty colours
 * chosen by hand).
 */
void segment_colour(int value, int classes, unsigned char rgb[3]) {
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

/* Returns 1 if the region ends at this pixel, to the right or below. */
static int segment_edge(const unsigned char *mask, int w, int h, int x, int y) {
  const unsigned char *p = mask + (size_t)y * (size_t)w + (size_t)x;
  return (x + 1 < w && p[0] != p[1]) || (y + 1 < h && p[0] != p[w]);
}

/* Colours one pixel of a panel: the picture if mask is NULL. */
static void segment_paint(const picture *p, const unsigned char *mask, int classes, int x, int y,
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

int segment_sheet_add(segment_sheet *s, const segment_shot *shot, const unsigned char *said,
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
  mask[0] = NULL; mask[1] = shot->mask; mask[2] = said;
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

static bdpt_status segment_sheet_save(bdpt_context *ctx, const segment_sheet *s, const char *path) {
  size_t size = 0;
  unsigned char *bytes = png_build(s->rgb, (size_t)s->width, (size_t)s->height, &size);
  bdpt_status status = bytes ? bdpt_file_write(ctx, path, bytes, size)
                             : cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  free(bytes);
  return status;
}

bdpt_status segment_overlays(bdpt_model *m, const segment_set *set, const char *dir,
                             size_t count, segment_sheet *all) {
  segment_work w;
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = t ? BDPT_OK : m->ctx->status;
  size_t i;
  memset(&w, 0, sizeof w);
  if (count > set->count) count = set->count;
  if (s == BDPT_OK && dir && !cli_make_folder(dir))
    s = cli_fail(m->ctx, BDPT_E_IO, "cannot make the folder %.300s", dir);
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
    if (!ok) s = cli_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
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
