/* =================================================================================================
 * generate.c: a picture book of 100 classes, drawn by a program
 * =================================================================================================
 * When nobody has downloaded CIFAR-100, the tool still needs images to learn from. This file draws
 * them: small colour pictures of 20 families of things (balls, flowers, houses, fish, signs ...),
 * five kinds of each, written in the binary format of CIFAR-100 so that every reader of the one
 * reads the other. The coarse label is the family, the fine label is the kind.
 *
 *   gen_image(seed, index, record)            one picture with its two labels, 3074 bytes
 *   gen_images(seed, first, count, records)   many, on all threads
 *   gen_write(path, seed, first, count)       a file of them; 0, or -1 and no file is left behind
 *   gen_sheet(path, seed, first, across, down)  a contact sheet (PPM) for human eyes
 *   gen_fine_name(fine), gen_coarse_name(coarse)
 *   gen_scene_draw(seed, index, size, planes, mask)   several things in one picture, and which
 *                                             pixel shows what
 *
 * A picture depends on (seed, index) and on nothing else. So a data set is a range of indices; two
 * ranges that do not meet are two data sets (training and test), and the threads may draw them in
 * any order. Every decision is made in integers: no floating point, no libm, hence the same bytes
 * from every compiler and on every machine. Networks trained on these pictures are shipped, and
 * tests/test_generate.c holds a checksum of the first 200, so a change of one pixel is noticed.
 *
 * Any hundred consecutive indices hold each class once, provided that the first is a multiple of
 * 100: every data set cut at hundreds is balanced exactly.
 *
 * What makes the task hard enough: random place, size, tilt, mirror image and stretch; colours that
 * only tend towards the class; wavy outlines; cluttered and textured backgrounds; something in
 * front; uneven light, low contrast, noise. What keeps it learnable: a picture seen in a mirror or
 * moved by some pixels keeps its class, so the usual augmentations are allowed.
 *
 * How a picture is made: one rasteriser fills polygons, every shape is a polygon (a disc has 28
 * corners), every thing is a short list of shapes. Painting happens on a canvas with 4 x 4 samples
 * per pixel, painter's order, no blending; averaging the samples at the end gives smooth edges.
 * Each sample carries beside its colour the number of the object that it belongs to. The classified
 * pictures do not use it. It is there because a segmentation mask is then a majority of samples,
 * and because gen_object may be called several times on a canvas of any size.
 *
 * Chapters: 1 chance, 2 canvas, 3 polygons, 4 shapes in shapes.c; 5 the twenty families in
 * families.c; here 6 scenery, 7 development, 8 data sets, 9 scenes. All of it needs only libc, and
 * uses OpenMP where it is on.
 */
#include "generate.h"
#include "shapes.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#define GEN_PROCESS ((long)getpid())
#define GEN_REPLACE(from, to) rename(from, to)
#elif defined(_WIN32)
#include <process.h> /* windows.h would take away the names near, far and small */
__declspec(dllimport) int __stdcall MoveFileExA(const char *, const char *, unsigned long);
#define GEN_PROCESS ((long)_getpid())
#define GEN_REPLACE(from, to) (MoveFileExA(from, to, 1) ? 0 : -1) /* replaces at once */
#else
#define GEN_PROCESS 0L
#define GEN_REPLACE(from, to) rename(from, to)
#endif

/* =================================================================================================
 * 6  SCENERY                                                                            >>scenery
 * =================================================================================================
 * The background mixes two colours by a share that varies over the picture in one of six ways. The
 * clutter and whatever stands in front are shapes of the same vocabulary, in colours of their own,
 * so neither a colour nor an edge is proof of anything.
 */

/* Returns smooth noise in [0, 255]: values on a grid of the given pitch in pixels, blended
 * between. */
static int gen_cloud(uint64_t key, int x, int y, int pitch) {
  int i = x / pitch, j = y / pitch, u = x % pitch, v = y % pitch, c[2][2], a, b;
  for (a = 0; a < 2; a++)
    for (b = 0; b < 2; b++)
      c[a][b] = (int)(gen_scramble(key + (uint64_t)(j + a) * 4096u + (uint64_t)(i + b)) & 255u);
  return ((c[0][0] * (pitch - u) + c[0][1] * u) * (pitch - v) +
          (c[1][0] * (pitch - u) + c[1][1] * u) * v) / (pitch * pitch);
}

typedef struct gen_ground { int kind, angle, pitch, level; uint64_t key; } gen_ground;

/* Returns v, or the nearer bound of [low, high]. */
static int gen_within(int v, int low, int high) {
  if (v < low) return low;
  return v > high ? high : v;
}

/* Returns the share of the second colour at a pixel, in [0, 256]. */
static int gen_share(const gen_ground *g, int x, int y, int size) {
  int along = (x * gen_cos(g->angle) + y * gen_sin(g->angle)) / 256;      /* pixels x 64 */
  switch (g->kind) {
    case 0: along = along * 2 / size + 128; break;                        /* slope */
    case 1: return y * 100 > g->level * size ? 256 - y * 64 / size : y * 96 / size; /* horizon */
    case 2: return gen_cloud(g->key, x, y, 10);
    case 3: return (gen_cloud(g->key, x, y, 3) + gen_cloud(g->key + 7777, x, y, 6)) / 2;
    case 4: along = 128 + gen_sin(along * 4 / g->pitch) / 100; break;     /* waves */
    default: return (((x / g->pitch) ^ (y / g->pitch)) & 1) ? 160 : 40;   /* tiles */
  }
  return gen_within(along, 0, 256);
}

static int gen_distance(uint32_t a, uint32_t b) {
  int c, sum = 0;
  for (c = 0; c < 3; c++) sum += abs(gen_channel(a, c) - gen_channel(b, c));
  return sum;
}

/* Chooses two colours that are not the thing's own: a few tries for the first to keep a distance
 * from A. */
static void gen_background(gen_scene *s) {
  static const char natural[] = "sglnwastbyp";
  uint32_t c[2], paint;
  gen_ground g;
  int i, x, y, a, b, size = s->height / GEN_FINER;
  for (i = 0; i < 2; i++) {
    int tries = 4;
    do {
      c[i] = gen_dye(natural[gen_pick(&s->rng, 0, (int)sizeof natural - 2)]);
      c[i] = gen_faded(&s->rng, c[i], 40, 150);
    } while (--tries > 0 && gen_distance(c[i], s->ink[GEN_A]) < 150);
  }
  g.kind = gen_pick(&s->rng, 0, 5);
  g.angle = gen_pick(&s->rng, 0, 255);
  g.pitch = gen_pick(&s->rng, 3, 9);
  g.level = gen_pick(&s->rng, 40, 80);
  g.key = gen_next(&s->rng);
  for (y = 0; y < s->height; y += GEN_FINER)
    for (x = 0; x < s->width; x += GEN_FINER) {
      paint = gen_mix(c[0], c[1], gen_share(&g, x / GEN_FINER, y / GEN_FINER, size));
      for (a = 0; a < GEN_FINER; a++)
        for (b = 0; b < GEN_FINER; b++)
          s->sample[(size_t)(y + a) * (size_t)s->width + (size_t)(x + b)] = paint;
    }
}

/* Draws one shape of clutter in its own frame and its own colour. */
static void gen_scrap(gen_scene *s, int x, int y, int radius) {
  int angle = gen_pick(&s->rng, 0, 255), tall = gen_pick(&s->rng, 96, 256);
  uint32_t kept = s->ink[GEN_A];
  s->ink[GEN_A] = gen_any_colour(&s->rng);
  gen_frame(s, x, y, radius, angle, 256, tall);
  switch (gen_pick(&s->rng, 0, 4)) {
    case 0: gen_oval(s, GEN_A, 0, 0, 90, 90); break;
    case 1: gen_box(s, GEN_A, -80, -80, 80, 80); break;
    case 2: gen_line(s, GEN_A, -100, 0, 100, 0, 40); break;
    case 3: GEN_POLY(s, GEN_A, 0, -90, 80, 60, -80, 60); break;
    default: gen_star(s, GEN_A, 0, 0, 100, 50, gen_pick(&s->rng, 3, 7));
  }
  s->ink[GEN_A] = kept;
}

/* Chooses the colours of a kind: its own or, strangely, those of another, faded at random. */
static void gen_dress(gen_scene *s, int fine) {
  int i, wears = fine;
  if (gen_chance(&s->rng, GEN_STRANGE)) {
    int other = gen_pick(&s->rng, 0, GEN_FINE - 1);
    int sibling = fine - fine % GEN_KINDS + other % GEN_KINDS;
    wears = gen_chance(&s->rng, GEN_SIBLING) ? sibling : other;
  }
  s->ink[GEN_A] = gen_dye(gen_fines[wears].dye[0]);
  s->ink[GEN_B] = gen_dye(gen_fines[wears].dye[1]);
  s->ink[GEN_DARK] = gen_dye('k');
  s->ink[GEN_LIGHT] = gen_dye('w');
  s->ink[GEN_LEAF] = gen_dye('g');
  s->ink[GEN_WOOD] = gen_dye('n');
  for (i = 0; i < GEN_INKS; i++)
    s->ink[i] = gen_faded(&s->rng, s->ink[i], 0, GEN_FADE);
}

void gen_object(gen_scene *s, int fine, int x, int y, int radius) {
  const gen_family *family = &gen_families[fine / GEN_KINDS];
  int wide = gen_pick(&s->rng, 216, 284), tall = gen_pick(&s->rng, 216, 284);
  int tilt = gen_pick(&s->rng, -family->tilt, family->tilt), mirror = gen_pick(&s->rng, 0, 1);
  gen_frame(s, x, y, radius, tilt, mirror ? -wide : wide, tall);
  s->wave[0] = gen_pick(&s->rng, 0, GEN_WAVE);
  s->wave[1] = gen_pick(&s->rng, 40, 120);
  s->wave[2] = gen_pick(&s->rng, 0, 255);
  s->wave[3] = gen_pick(&s->rng, 0, 255);
  family->draw(s, fine % GEN_KINDS);
  s->wave[0] = 0;
}

/* Draws the whole scene of a classified picture: background, clutter, the thing, what hides it. */
static void gen_compose(gen_scene *s, int fine) {
  int i, n, x, y, radius, angle, far;
  int reach = s->width / GEN_FINER * 256, mid = reach / 2;
  gen_dress(s, fine);
  gen_background(s);
  n = gen_pick(&s->rng, 0, GEN_CLUTTER);
  for (i = 0; i < n; i++) {
    x = gen_pick(&s->rng, 0, reach);
    y = gen_pick(&s->rng, 0, reach);
    gen_scrap(s, x, y, gen_pick(&s->rng, reach / 16, reach / 5));
  }
  x = mid + gen_pick(&s->rng, -reach / 8, reach / 8);
  y = mid + gen_pick(&s->rng, -reach / 8, reach / 8);
  radius = gen_pick(&s->rng, reach * 34 / 100, reach * 48 / 100);
  s->object = (uint32_t)fine + 1;
  gen_object(s, fine, x, y, radius);
  s->object = 0;
  if (!gen_chance(&s->rng, GEN_HIDDEN)) return;
  angle = gen_pick(&s->rng, 0, 255);           /* somewhere round the thing's middle */
  far = radius * gen_pick(&s->rng, 60, 100) / 100;
  radius = radius * gen_pick(&s->rng, 35, 60) / 100;
  gen_scrap(s, x + far * gen_cos(angle) / 16384, y + far * gen_sin(angle) / 16384, radius);
}

/* =================================================================================================
 * 7  DEVELOPMENT                                                                    >>development
 * =================================================================================================
 * From samples to bytes. The 16 samples of a pixel are averaged two channels at a time: 16 times
 * 255 fits into 16 bits, so red and blue travel in one word. Then the light: brighter towards one
 * side, contrast drawn in towards grey, brightness shifted, and noise from sums of two bytes.
 */
static void gen_average(const gen_scene *s, int px, int py, int out[3]) {
  const uint32_t *row = s->sample + (size_t)(py * GEN_FINER) * (size_t)s->width + px * GEN_FINER;
  uint32_t red_blue = 0, green = 0;
  int a, b;
  for (a = 0; a < GEN_FINER; a++, row += s->width)
    for (b = 0; b < GEN_FINER; b++) {
      red_blue += row[b] & 0xff00ffu;
      green += (row[b] >> 8) & 0xffu;
    }
  out[0] = (int)(red_blue >> 20);
  out[1] = (int)(green >> 4);
  out[2] = (int)((red_blue & 0xffffu) >> 4);
}

static void gen_develop(gen_scene *s, unsigned char *planes) {
  int w = s->width / GEN_FINER, h = s->height / GEN_FINER, x, y, c, v[3];
  int gain = 256 - gen_pick(&s->rng, 0, GEN_DIM), lift = gen_pick(&s->rng, -26, 26);
  int side = gen_pick(&s->rng, 0, 255), slope = gen_pick(&s->rng, 0, 70);
  int noise = gen_pick(&s->rng, 0, GEN_NOISE);
  size_t plane = (size_t)w * (size_t)h, at = 0;
  for (y = 0; y < h; y++)
    for (x = 0; x < w; x++, at++) {
      int toward = ((2 * x - w) * gen_cos(side) / w + (2 * y - h) * gen_sin(side) / h) / 128;
      int light = gain * (256 + slope * toward / 128) / 256;
      uint64_t grain = gen_next(&s->rng);
      gen_average(s, x, y, v);
      for (c = 0; c < 3; c++, grain >>= 16) {
        int n = (int)(grain & 255u) + (int)((grain >> 8) & 255u) - 255;
        int value = 128 + (v[c] - 128) * light / 256 + lift + n * noise / 256;
        planes[(size_t)c * plane + at] = (unsigned char)gen_within(value, 0, 255);
      }
    }
}

/* =================================================================================================
 * 8  DATA SETS                                                                         >>datasets
 * =================================================================================================
 * Labels go by hundreds: within a hundred the classes follow a fixed permutation (37 has no common
 * factor with 100) that starts at a random place.
 */
int gen_label(uint64_t seed, uint64_t index) {
  uint64_t start = gen_hash(seed ^ UINT64_C(0x1abe1), index / 100) % 100;
  return (int)((37 * (index % 100) + start) % 100);
}

void gen_image(uint64_t seed, uint64_t index, unsigned char record[GEN_RECORD]) {
  uint32_t sample[GEN_PLANE * GEN_FINER * GEN_FINER];
  int fine = gen_label(seed, index);
  gen_scene s;
  memset(&s, 0, sizeof s);
  s.rng.state = gen_hash(seed, index);
  s.width = s.height = GEN_SIZE * GEN_FINER;
  s.sample = sample;
  gen_compose(&s, fine);
  record[0] = (unsigned char)(fine / GEN_KINDS);
  record[1] = (unsigned char)fine;
  gen_develop(&s, record + 2);
}

void gen_images(uint64_t seed, uint64_t first, long count, unsigned char *records) {
  long i;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
  for (i = 0; i < count; i++)
    gen_image(seed, first + (uint64_t)i, records + (size_t)i * GEN_RECORD);
}

/* Draws and writes a thousand pictures at a time. */
static int gen_stream(FILE *f, uint64_t seed, uint64_t first, long count) {
  const long batch = 1000;
  unsigned char *records = (unsigned char *)malloc((size_t)batch * GEN_RECORD);
  long done = 0, n;
  int ok = records != NULL;
  while (ok && done < count) {
    n = count - done < batch ? count - done : batch;
    gen_images(seed, first + (uint64_t)done, n, records);
    ok = fwrite(records, GEN_RECORD, (size_t)n, f) == (size_t)n;
    done += n;
  }
  free(records);
  return ok ? 0 : -1;
}

int gen_write(const char *path, uint64_t seed, uint64_t first, long count) {
  size_t n = path ? strlen(path) : 0;
  char *part = count >= 0 && n > 0 ? (char *)malloc(n + 32) : NULL;
  FILE *f;
  int bad;
  if (!part) return -1;
  snprintf(part, n + 32, "%s.part-%ld", path, GEN_PROCESS); /* two programs may begin at once */
  f = fopen(part, "wb");
  bad = !f || gen_stream(f, seed, first, count) != 0;
  if (f && fclose(f) != 0) bad = 1;
  if (!bad) bad = GEN_REPLACE(part, path) != 0;
  if (bad && f) remove(part);
  free(part);
  return bad ? -1 : 0;
}

int gen_sheet(const char *path, uint64_t seed, uint64_t first, int across, int down) {
  unsigned char record[GEN_RECORD];
  int cell = GEN_SIZE + 2, width = across * cell + 2, height = down * cell + 2, i, x, y, bad;
  size_t bytes;
  unsigned char *rgb;
  FILE *f;
  if (across < 1 || down < 1 || across > 200 || down > 200) return -1;
  bytes = 3 * (size_t)width * (size_t)height;
  rgb = (unsigned char *)malloc(bytes);
  if (!rgb) return -1;
  memset(rgb, 255, bytes);
  for (i = 0; i < across * down; i++) {
    uint64_t k = first + (uint64_t)(i - i % 100), end = k + 99;
    while (k < end && gen_label(seed, k) != i % 100) k++;
    gen_image(seed, k, record);
    for (y = 0; y < GEN_SIZE; y++)
      for (x = 0; x < 3 * GEN_SIZE; x++)
        rgb[3 * ((size_t)(i / across * cell + 2 + y) * (size_t)width +
                 (size_t)(i % across * cell + 2)) + (size_t)x] =
            record[2 + x % 3 * GEN_PLANE + y * GEN_SIZE + x / 3];
  }
  f = fopen(path, "wb");
  bad = !f || fprintf(f, "P6\n%d %d\n255\n", width, height) < 0 ||
        fwrite(rgb, 1, bytes, f) != bytes;
  if (f && fclose(f) != 0) bad = 1;
  if (bad && f) remove(path);
  free(rgb);
  return bad ? -1 : 0;
}

/* =================================================================================================
 * 9  SCENES                                                                              >>scenes
 * =================================================================================================
 * For dense prediction: two to six things of any kind in one square picture of any size, none quite
 * in front of another, with scraps behind and in front. The mask has a byte per pixel, in the
 * convention of ADE20K: 0 counts for nothing, 1 is the background (scraps are part of it), 2 + f a
 * thing of family f. A pixel is what most of its 16 samples are; where nothing has more than half,
 * on an outline that crosses it, it is 0.
 */

const char *gen_scene_name(int class_) {
  return class_ == 0 ? "background" : gen_coarse_name(class_ - 1);
}

/* Finds a place for the n-th thing: of some tries the first that keeps away from the things before,
 * whose x, y and radius (pixels times 256) are in `at`. 0: there is none. */
static int gen_scene_place(gen_scene *s, int at[][3], int n) {
  int reach = s->width / GEN_FINER * 256, radius = gen_pick(&s->rng, reach / 7, reach / 3);
  int tries, k;
  for (tries = 0; tries < 24; tries++) {
    int x = gen_pick(&s->rng, radius / 2, reach - radius / 2);
    int y = gen_pick(&s->rng, radius / 2, reach - radius / 2);
    for (k = 0; k < n; k++) {
      int64_t dx = x - at[k][0], dy = y - at[k][1], apart = (radius + at[k][2]) * 4 / 5;
      if (dx * dx + dy * dy < apart * apart) break;
    }
    at[n][0] = x; at[n][1] = y; at[n][2] = radius;
    if (k == n) return 1;
  }
  return 0;
}

static void gen_scene_scraps(gen_scene *s, int most, int small, int large) {
  int reach = s->width / GEN_FINER * 256, n = gen_pick(&s->rng, 0, most), x, y;
  for (; n > 0; n--) {
    x = gen_pick(&s->rng, 0, reach);
    y = gen_pick(&s->rng, 0, reach);
    gen_scrap(s, x, y, gen_pick(&s->rng, reach / small, reach / large));
  }
}

static void gen_scene_compose(gen_scene *s) {
  int at[GEN_THINGS][3], wanted = gen_pick(&s->rng, 2, GEN_THINGS), n, fine;
  fine = gen_pick(&s->rng, 0, GEN_FINE - 1);
  gen_dress(s, fine);
  gen_background(s);
  gen_scene_scraps(s, 2 * GEN_CLUTTER, 24, 9);
  for (n = 0; n < wanted && gen_scene_place(s, at, n); n++) {
    s->object = (uint32_t)(fine / GEN_KINDS) + 1;
    gen_object(s, fine, at[n][0], at[n][1], at[n][2]);
    s->object = 0;
    fine = gen_pick(&s->rng, 0, GEN_FINE - 1);
    gen_dress(s, fine);
  }
  gen_scene_scraps(s, 2, 16, 10);
}

static unsigned char gen_scene_pixel(const gen_scene *s, int px, int py) {
  const uint32_t *row = s->sample + (size_t)(py * GEN_FINER) * (size_t)s->width + px * GEN_FINER;
  int count[1 + GEN_COARSE] = {0}, a, b;
  for (a = 0; a < GEN_FINER; a++, row += s->width)
    for (b = 0; b < GEN_FINER; b++)
      if (++count[row[b] >> 24] > GEN_FINER * GEN_FINER / 2)
        return (unsigned char)((row[b] >> 24) + 1);
  return 0;
}

int gen_scene_draw(uint64_t seed, uint64_t index, int size, unsigned char *planes,
                   unsigned char *mask) {
  size_t samples = (size_t)size * (size_t)size * GEN_FINER * GEN_FINER;
  gen_scene s;
  int x, y;
  memset(&s, 0, sizeof s);
  s.rng.state = gen_hash(seed ^ UINT64_C(0x5ce7e), index);
  s.width = s.height = size * GEN_FINER;
  s.sample = (uint32_t *)malloc(samples * sizeof *s.sample);
  if (!s.sample) return -1;
  gen_scene_compose(&s);
  for (y = 0; y < size; y++)
    for (x = 0; x < size; x++) *mask++ = gen_scene_pixel(&s, x, y);
  gen_develop(&s, planes);
  free(s.sample);
  return 0;
}
