/* =================================================================================================
 * generate.h: a picture book of 100 classes, drawn by a program
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
 * Chapters: 1 chance, 2 canvas, 3 polygons, 4 shapes, 5 the twenty families, 6 scenery,
 * 7 development, 8 data sets, 9 scenes. Everything is static; the file needs only libc, and uses
 * OpenMP where it is on.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#define GEN_PROCESS ((long)getpid())
#else
#define GEN_PROCESS 0L
#endif

#if defined(__GNUC__) || defined(__clang__)
#define GEN_FN static __attribute__((unused))
#else
#define GEN_FN static
#endif

enum {
  GEN_SIZE = 32,                               /* pixels along an edge */
  GEN_FINER = 4,                               /* samples along the edge of a pixel */
  GEN_SUB = 64,                                /* steps of a position along the edge of a sample */
  GEN_PLANE = GEN_SIZE * GEN_SIZE,
  GEN_RECORD = 2 + 3 * GEN_PLANE,              /* coarse, fine, red plane, green, blue */
  GEN_COARSE = 20,
  GEN_KINDS = 5,                               /* fine classes in each coarse one */
  GEN_FINE = GEN_COARSE * GEN_KINDS
};

GEN_FN void gen_image(uint64_t seed, uint64_t index, unsigned char record[GEN_RECORD]);
GEN_FN void gen_images(uint64_t seed, uint64_t first, long count, unsigned char *records);
GEN_FN int gen_write(const char *path, uint64_t seed, uint64_t first, long count);
GEN_FN int gen_sheet(const char *path, uint64_t seed, uint64_t first, int across, int down);
GEN_FN int gen_label(uint64_t seed, uint64_t index);
GEN_FN const char *gen_coarse_name(int coarse);
GEN_FN const char *gen_fine_name(int fine);

/* The difficulty of the data set in one place. The numbers are out of 256 unless a comment says
 * otherwise. They were set by training small transformers until a dense one of depth 12 landed
 * about midway between chance and perfect; PAPER_NOTES.md gives the accuracies.
 */
enum {
  GEN_STRANGE = 128,     /* chance that a thing wears the colours of another kind ... */
  GEN_SIBLING = 128,     /* ... and then, that the other kind is one of its own family */
  GEN_FADE = 96,         /* largest share of a random colour mixed into every colour */
  GEN_HIDDEN = 88,       /* chance that something stands in front */
  GEN_CLUTTER = 4,       /* at most this many shapes behind, a count */
  GEN_NOISE = 20,        /* largest amplitude of the noise, in grey levels */
  GEN_DIM = 96,          /* largest loss of contrast */
  GEN_WAVE = 7           /* largest displacement of an outline, in hundredths of the radius */
};

/* =================================================================================================
 * 1  CHANCE                                                                              >>chance
 * =================================================================================================
 * One 64-bit word of state, advanced by a constant and scrambled by two multiplications: this is
 * splitmix64 (Steele, Lea and Flood, OOPSLA 2014; public domain). Its state may start anywhere, so
 * a stream per picture costs one scramble of (seed, index), and no picture waits for another.
 *
 * The trap: C leaves open which argument of a call is computed first. Two draws in the arguments
 * of one call would exchange their values between compilers, so every draw has a statement or a
 * declaration of its own.
 */
typedef struct gen_rng { uint64_t state; } gen_rng;

GEN_FN uint64_t gen_scramble(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

GEN_FN uint64_t gen_hash(uint64_t seed, uint64_t index) {
  uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
  return gen_scramble(gen_scramble(seed + golden) ^ (index * golden + 1));
}

GEN_FN uint64_t gen_next(gen_rng *r) {
  r->state += UINT64_C(0x9e3779b97f4a7c15);
  return gen_scramble(r->state);
}

/* A whole number in [low, high], both included. */
GEN_FN int gen_pick(gen_rng *r, int low, int high) {
  uint64_t span = (uint64_t)(high - low + 1);
  return low + (int)(((gen_next(r) >> 32) * span) >> 32);
}

GEN_FN int gen_chance(gen_rng *r, int of256) {
  return gen_pick(r, 0, 255) < of256;
}

/* Sine and cosine in units of 1/16384 of an angle in units of 1/256 of a turn. A table, because
 * the last bit of libm's sine is not the same everywhere. The table is the first quarter of a turn.
 */
GEN_FN int gen_sin(int angle) {
  static const short quarter[65] = {
    0, 402, 804, 1205, 1606, 2006, 2404, 2801, 3196, 3590, 3981, 4370, 4756, 5139, 5520, 5897, 6270,
    6639, 7005, 7366, 7723, 8076, 8423, 8765, 9102, 9434, 9760, 10080, 10394, 10702, 11003, 11297,
    11585, 11866, 12140, 12406, 12665, 12916, 13160, 13395, 13623, 13842, 14053, 14256, 14449,
    14635, 14811, 14978, 15137, 15286, 15426, 15557, 15679, 15791, 15893, 15986, 16069, 16143,
    16207, 16261, 16305, 16340, 16364, 16379, 16384
  };
  int a = ((angle % 256) + 256) % 256;
  if (a < 64) return quarter[a];
  if (a < 128) return quarter[128 - a];
  return -gen_sin(a - 128);
}

GEN_FN int gen_cos(int angle) { return gen_sin(angle + 64); }

/* =================================================================================================
 * 2  CANVAS                                                                              >>canvas
 * =================================================================================================
 * A sample is one 32-bit word: object number, red, green, blue. Things are described in a frame of
 * their own: the origin is the middle of the thing, x runs to the right, y down, and 100 units are
 * its radius. The frame is carried to the canvas by a 2 x 2 matrix and a shift, and bent by a slow
 * wave on the way. Positions on the canvas are counted in 64ths of a sample (GEN_SUB).
 */
/* An ink is the number of a colour, or of a colour with a pattern. The pattern's other colour is B
 * on A, A on everything else.
 */
enum {
  GEN_A, GEN_B, GEN_DARK, GEN_LIGHT, GEN_LEAF, GEN_WOOD, GEN_INKS,
  GEN_STRIPES = 16, GEN_BARS = 32, GEN_DOTS = 48, GEN_CHECKS = 64, GEN_RINGS = 80, GEN_SECTORS = 96
};

typedef struct gen_scene {
  gen_rng rng;
  int width, height;                           /* in samples */
  uint32_t *sample;                            /* height x width */
  uint32_t object;                             /* number that the next shapes leave behind */
  uint32_t ink[GEN_INKS];
  int place[2];                                /* the frame's origin on the canvas */
  int64_t turn[4];                             /* units -> canvas, times 1024 */
  int64_t back[4];                             /* canvas -> units, times 2^20 */
  int wave[4];                                 /* height, pace and two phases */
} gen_scene;

GEN_FN uint32_t gen_rgb(int r, int g, int b) {
  return ((uint32_t)r << 16) | ((uint32_t)g << 8) | (uint32_t)b;
}

GEN_FN int gen_channel(uint32_t colour, int c) {
  return (int)((colour >> (16 - 8 * c)) & 255u);
}

/* (1 - t/256) a + (t/256) b, channel by channel. */
GEN_FN uint32_t gen_mix(uint32_t a, uint32_t b, int t) {
  int c, v[3];
  for (c = 0; c < 3; c++)
    v[c] = (gen_channel(a, c) * (256 - t) + gen_channel(b, c) * t) / 256;
  return gen_rgb(v[0], v[1], v[2]);
}

GEN_FN uint32_t gen_any_colour(gen_rng *r) {
  return (uint32_t)(gen_next(r) >> 40);
}

/* A colour with a random share, between low/256 and high/256, of a random colour mixed in. */
GEN_FN uint32_t gen_faded(gen_rng *r, uint32_t colour, int low, int high) {
  uint32_t other = gen_any_colour(r);
  return gen_mix(colour, other, gen_pick(r, low, high));
}

/* Sets the frame: middle (x, y) and radius in pixels times 256, angle in 256ths of a turn, two
 * stretches times 256, and whether left and right are exchanged. The inverse is needed by patterns.
 */
GEN_FN void gen_frame(gen_scene *s, int x, int y, int radius, int angle, int wide, int tall,
                      int mirror) {
  int64_t scale = (int64_t)radius * (GEN_FINER * GEN_SUB) * 1024 / 25600;  /* of one unit, x 1024 */
  int64_t det;
  s->place[0] = (int)((int64_t)x * (GEN_FINER * GEN_SUB) / 256);
  s->place[1] = (int)((int64_t)y * (GEN_FINER * GEN_SUB) / 256);
  s->turn[0] = scale * gen_cos(angle) / 16384 * wide / 256 * (mirror ? -1 : 1);
  s->turn[1] = -scale * gen_sin(angle) / 16384 * tall / 256;
  s->turn[2] = scale * gen_sin(angle) / 16384 * wide / 256 * (mirror ? -1 : 1);
  s->turn[3] = scale * gen_cos(angle) / 16384 * tall / 256;
  det = s->turn[0] * s->turn[3] - s->turn[1] * s->turn[2];
  if (det == 0) det = 1;
  s->back[0] = s->turn[3] * ((int64_t)1 << 30) / det;
  s->back[1] = -s->turn[1] * ((int64_t)1 << 30) / det;
  s->back[2] = -s->turn[2] * ((int64_t)1 << 30) / det;
  s->back[3] = s->turn[0] * ((int64_t)1 << 30) / det;
}

/* =================================================================================================
 * 3  POLYGONS                                                                          >>polygons
 * =================================================================================================
 * A path is a closed polygon in units. Filling it is the even-odd rule row by row: where does the
 * middle line of this row of samples cross an edge? Between the first and the second crossing the
 * row is inside, between the third and the fourth again, and so on. A ring is one path that runs
 * round outside, steps in, and runs back inside; the two passes over the step cancel exactly,
 * because an edge is always evaluated from its upper end.
 */
enum { GEN_CORNERS = 64 };

typedef struct gen_path { int n, x[GEN_CORNERS], y[GEN_CORNERS]; } gen_path;

GEN_FN void gen_corner(gen_path *p, int x, int y) {
  if (p->n == GEN_CORNERS) return;
  p->x[p->n] = x;
  p->y[p->n++] = y;
}

/* The colour of a pattern at a point. Units are shifted by 1024 to keep divisions positive. */
GEN_FN int gen_pattern(int pattern, int x, int y) {
  int u = x - 1024, v = y - 1024, p, q;
  switch (pattern) {
    case GEN_STRIPES: return ((y + 14) / 27) & 1;
    case GEN_BARS: return ((x + 14) / 27) & 1;
    case GEN_CHECKS: return (((x + 17) / 34) ^ ((y + 17) / 34)) & 1;
    case GEN_RINGS: p = u * u + v * v; return p < 30 * 30 || (p > 60 * 60 && p < 80 * 80);
    case GEN_SECTORS: return (u > 0) ^ (v > 0) ^ (u * u > v * v);
    case GEN_DOTS: p = x % 48 - 24; q = y % 48 - 24; return p * p + q * q < 15 * 15;
    default: return 0;
  }
}

/* Paints the samples [from, to) of a row. */
GEN_FN void gen_span(gen_scene *s, int row, int from, int to, int ink) {
  uint32_t *out = s->sample + (size_t)row * (size_t)s->width;
  uint32_t tag = s->object << 24, one = s->ink[ink & 15] | tag, other;
  int64_t dx, dy, u, v;
  int x;
  if (ink < 16) {
    for (x = from; x < to; x++) out[x] = one;
    return;
  }
  other = s->ink[(ink & 15) == GEN_A ? GEN_B : GEN_A] | tag;
  dx = (int64_t)from * GEN_SUB + GEN_SUB / 2 - s->place[0];
  dy = (int64_t)row * GEN_SUB + GEN_SUB / 2 - s->place[1];
  u = s->back[0] * dx + s->back[1] * dy + ((int64_t)1024 << 20);
  v = s->back[2] * dx + s->back[3] * dy + ((int64_t)1024 << 20);
  for (x = from; x < to; x++) {
    out[x] = gen_pattern(ink & ~15, (int)(u / (1 << 20)), (int)(v / (1 << 20))) ? other : one;
    u += s->back[0] * GEN_SUB;
    v += s->back[2] * GEN_SUB;
  }
}

/* Units -> canvas, with the wave. */
GEN_FN void gen_project(const gen_scene *s, gen_path *p) {
  int i;
  for (i = 0; i < p->n; i++) {
    int64_t x = p->x[i] * 16, y = p->y[i] * 16;    /* finer units, for the wave's sake */
    int64_t bend_x = (int64_t)s->wave[0] * gen_sin(p->y[i] * s->wave[1] / 64 + s->wave[2]) / 1024;
    int64_t bend_y = (int64_t)s->wave[0] * gen_sin(p->x[i] * s->wave[1] / 64 + s->wave[3]) / 1024;
    x += bend_x;
    y += bend_y;
    p->x[i] = s->place[0] + (int)((s->turn[0] * x + s->turn[1] * y) / 16384);
    p->y[i] = s->place[1] + (int)((s->turn[2] * x + s->turn[3] * y) / 16384);
  }
}

/* Where the line at height `at` crosses the path, in increasing order; returns how often. */
GEN_FN int gen_crossings(const gen_path *p, int at, int *cross) {
  int i, j, k, n = 0;
  for (i = 0, j = p->n - 1; i < p->n; j = i++) {
    int top = p->y[i] < p->y[j] ? i : j, low = top == i ? j : i;
    int64_t x;
    if (p->y[top] > at || p->y[low] <= at) continue;
    x = p->x[top] + (int64_t)(at - p->y[top]) * (p->x[low] - p->x[top]) / (p->y[low] - p->y[top]);
    for (k = n++; k > 0 && cross[k - 1] > x; k--) cross[k] = cross[k - 1];
    cross[k] = (int)x;
  }
  return n;
}

/* The first sample whose middle lies at or after canvas position x, kept inside [0, n]. */
GEN_FN int gen_sample_at(int x, int n) {
  if (x <= GEN_SUB / 2) return 0;
  x = (x + GEN_SUB / 2 - 1) / GEN_SUB;
  return x < n ? x : n;
}

GEN_FN void gen_fill(gen_scene *s, gen_path *p, int ink) {
  int i, row, last, top, low, n, cross[GEN_CORNERS];
  if (p->n < 3) return;
  gen_project(s, p);
  top = low = p->y[0];
  for (i = 1; i < p->n; i++) {
    if (p->y[i] < top) top = p->y[i];
    if (p->y[i] > low) low = p->y[i];
  }
  last = gen_sample_at(low, s->height);
  for (row = gen_sample_at(top, s->height); row < last; row++) {
    n = gen_crossings(p, row * GEN_SUB + GEN_SUB / 2, cross);
    for (i = 0; i + 1 < n; i += 2)
      gen_span(s, row, gen_sample_at(cross[i], s->width), gen_sample_at(cross[i + 1], s->width),
               ink);
  }
}

/* =================================================================================================
 * 4  SHAPES                                                                              >>shapes
 * =================================================================================================
 * The vocabulary of the twenty families, all of them paths. Angles are 256ths of a turn, 0 to the
 * right and 64 downwards.
 */
GEN_FN void gen_arc_corners(gen_path *p, int x, int y, int rx, int ry, int from, int to, int n) {
  int i, a;
  for (i = 0; i <= n; i++) {
    a = from + (to - from) * i / n;
    gen_corner(p, x + rx * gen_cos(a) / 16384, y + ry * gen_sin(a) / 16384);
  }
}

GEN_FN void gen_oval(gen_scene *s, int ink, int x, int y, int rx, int ry) {
  gen_path p;
  p.n = 0;
  gen_arc_corners(&p, x, y, rx, ry, 0, 247, 27);
  gen_fill(s, &p, ink);
}

/* A pie, or with from = 128 and to = 256 an upper half disc. */
GEN_FN void gen_pie(gen_scene *s, int ink, int x, int y, int rx, int ry, int from, int to) {
  gen_path p;
  p.n = 0;
  gen_corner(&p, x, y);
  gen_arc_corners(&p, x, y, rx, ry, from, to, 18);
  gen_fill(s, &p, ink);
}

/* A bent band between two radii; from = 0, to = 256 is a ring. */
GEN_FN void gen_arc(gen_scene *s, int ink, int x, int y, int outer, int inner, int from, int to) {
  gen_path p;
  p.n = 0;
  gen_arc_corners(&p, x, y, outer, outer, from, to, 24);
  gen_arc_corners(&p, x, y, inner, inner, to, from, 24);
  gen_fill(s, &p, ink);
}

GEN_FN void gen_box(gen_scene *s, int ink, int x0, int y0, int x1, int y1) {
  gen_path p;
  p.n = 0;
  gen_corner(&p, x0, y0);
  gen_corner(&p, x1, y0);
  gen_corner(&p, x1, y1);
  gen_corner(&p, x0, y1);
  gen_fill(s, &p, ink);
}

/* A straight stroke of the given width. The length is the root of a sum of squares, by Newton's
 * method in integers from above: it falls until it is the root rounded down.
 */
GEN_FN void gen_line(gen_scene *s, int ink, int x0, int y0, int x1, int y1, int width) {
  int dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy, length = 1024, ox, oy;
  gen_path p;
  p.n = 0;
  while (length > 1 && length * length > square) length = (length + square / length) / 2;
  ox = -dy * width / (2 * length);
  oy = dx * width / (2 * length);
  gen_corner(&p, x0 + ox, y0 + oy);
  gen_corner(&p, x1 + ox, y1 + oy);
  gen_corner(&p, x1 - ox, y1 - oy);
  gen_corner(&p, x0 - ox, y0 - oy);
  gen_fill(s, &p, ink);
}

/* n rays between two radii. With n = 8 and nearly equal radii it is an octagon's rough cousin. */
GEN_FN void gen_star(gen_scene *s, int ink, int x, int y, int outer, int inner, int n) {
  gen_path p;
  int i, a, r;
  p.n = 0;
  for (i = 0; i < 2 * n; i++) {
    a = -64 + 128 * i / n;
    r = i % 2 ? inner : outer;
    gen_corner(&p, x + r * gen_cos(a) / 16384, y + r * gen_sin(a) / 16384);
  }
  gen_fill(s, &p, ink);
}

/* A leaf, petal or wing: an oval that begins at (x, y) and reaches out at an angle. */
GEN_FN void gen_petal(gen_scene *s, int ink, int x, int y, int angle, int length, int width) {
  gen_path p;
  int i, c = gen_cos(angle), d = gen_sin(angle), along, across;
  p.n = 0;
  for (i = 0; i < 16; i++) {
    along = length * (16384 - gen_cos(16 * i)) / 32768;
    across = width * gen_sin(16 * i) / 32768;
    gen_corner(&p, x + (c * along - d * across) / 16384, y + (d * along + c * across) / 16384);
  }
  gen_fill(s, &p, ink);
}

/* A free polygon: GEN_POLY(s, ink, x0, y0, x1, y1, ...). */
GEN_FN void gen_poly(gen_scene *s, int ink, const short *xy, int n) {
  gen_path p;
  int i;
  p.n = 0;
  for (i = 0; i < n; i++) gen_corner(&p, xy[2 * i], xy[2 * i + 1]);
  gen_fill(s, &p, ink);
}

#define GEN_POLY(s, ink, ...)                                            \
  do {                                                                   \
    static const short gen_xy[] = {__VA_ARGS__};                         \
    gen_poly((s), (ink), gen_xy, (int)(sizeof gen_xy / (2 * sizeof gen_xy[0]))); \
  } while (0)

/* =================================================================================================
 * 5  THE TWENTY FAMILIES                                                               >>families
 * =================================================================================================
 * One function per family, one branch per kind. What the kinds of a family share is drawn for all
 * of them; what tells them apart is a pattern, a count, an outline or an arrangement. No kind
 * differs from another only by left and right, and none is the other one turned over.
 */
GEN_FN void gen_ball(gen_scene *s, int kind) {
  static const int ink[GEN_KINDS] = {
    GEN_A, GEN_A | GEN_STRIPES, GEN_A | GEN_SECTORS, GEN_A | GEN_DOTS, GEN_A | GEN_RINGS
  };
  gen_oval(s, ink[kind], 0, 0, 92, 92);
  if (kind == 0) gen_oval(s, GEN_LIGHT, -32, -36, 26, 18);
}

GEN_FN void gen_flower(gen_scene *s, int kind) {
  static const int petals[GEN_KINDS] = {4, 6, 12, 0, 16}, width[GEN_KINDS] = {66, 44, 20, 0, 24};
  static const int heart[GEN_KINDS] = {18, 24, 20, 0, 42};
  int i, n = petals[kind];
  gen_line(s, GEN_LEAF, 0, 0, 6, 100, 10);
  gen_petal(s, GEN_LEAF, 4, 92, 224, 60, 24);
  gen_petal(s, GEN_LEAF, 4, 92, 160, 60, 24);
  if (kind == 3) {                             /* a tulip, seen from the side */
    GEN_POLY(s, GEN_A, -46, -84, -24, -50, 0, -96, 24, -50, 46, -84, 48, -20, 24, 18, -24, 18,
             -48, -20);
    gen_petal(s, GEN_B, 0, 16, 192, 70, 30);
    return;
  }
  for (i = 0; i < n; i++) gen_petal(s, GEN_A, 0, -24, 256 * i / n + 32, 74, width[kind]);
  gen_oval(s, GEN_B, 0, -24, heart[kind], heart[kind]);
}

GEN_FN void gen_stars(gen_scene *s, int kind) {
  static const int rays[GEN_KINDS] = {5, 4, 6, 12, 5}, inner[GEN_KINDS] = {40, 26, 54, 62, 44};
  gen_star(s, GEN_A, 0, 0, 98, inner[kind], rays[kind]);
  if (kind == 2) gen_star(s, GEN_B, 0, 0, 60, 32, 6);
  if (kind == 3) gen_oval(s, GEN_B, 0, 0, 42, 42);
  if (kind == 4) gen_star(s, GEN_DARK, 0, 0, 62, 28, 5);
}

GEN_FN void gen_windows(gen_scene *s, int ink, int x, int y, int across, int down, int step) {
  int i, j;
  for (j = 0; j < down; j++)
    for (i = 0; i < across; i++)
      gen_box(s, ink, x + step * i, y + step * j, x + step * i + step / 2,
              y + step * j + step * 5 / 8);
}

GEN_FN void gen_house(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* cottage */
      gen_box(s, GEN_B, 34, -84, 54, -30);
      gen_box(s, GEN_A, -72, -14, 72, 88);
      GEN_POLY(s, GEN_B, -96, -10, 0, -88, 96, -10);
      gen_box(s, GEN_DARK, -16, 28, 16, 88);
      gen_windows(s, GEN_LIGHT, -58, 14, 2, 1, 86);
      break;
    case 1:                                    /* castle tower */
      gen_box(s, GEN_A, -46, -50, 46, 96);
      GEN_POLY(s, GEN_A, -62, -92, -36, -92, -36, -74, -14, -74, -14, -92, 14, -92, 14, -74, 36,
               -74, 36, -92, 62, -92, 62, -44, -62, -44);
      gen_pie(s, GEN_B, 0, 70, 22, 36, 128, 256);
      gen_box(s, GEN_B, -22, 68, 22, 96);
      gen_box(s, GEN_DARK, -7, -28, 7, 8);
      break;
    case 2:                                    /* church */
      gen_box(s, GEN_A, -92, 14, 40, 92);
      GEN_POLY(s, GEN_B, -98, 16, -70, -26, 34, -26, 40, 16);
      gen_box(s, GEN_A, 22, -30, 84, 92);
      GEN_POLY(s, GEN_B, 14, -28, 53, -98, 92, -28);
      gen_windows(s, GEN_DARK, -76, 34, 3, 1, 34);
      gen_oval(s, GEN_LIGHT, 53, -4, 14, 14);
      break;
    case 3:                                    /* barn */
      GEN_POLY(s, GEN_B, -90, 0, -62, -58, 0, -88, 62, -58, 90, 0);
      gen_box(s, GEN_A, -78, -4, 78, 86);
      gen_box(s, GEN_LIGHT, -44, 16, 44, 86);
      gen_line(s, GEN_A, -44, 16, 44, 86, 14);
      gen_line(s, GEN_A, 44, 16, -44, 86, 14);
      break;
    default:                                   /* block of flats */
      gen_box(s, GEN_A, -66, -94, 66, 94);
      gen_windows(s, GEN_B, -54, -80, 3, 4, 42);
  }
}

GEN_FN void gen_tree(gen_scene *s, int kind) {
  int i;
  gen_box(s, GEN_WOOD, -9, kind == 4 ? -30 : 10, 9, 98);
  switch (kind) {
    case 0:                                    /* fir */
      for (i = 2; i >= 0; i--) {
        int top = -98 + 36 * i, half = 40 + 14 * i;
        gen_path p;
        p.n = 0;
        gen_corner(&p, 0, top);
        gen_corner(&p, half, top + 66);
        gen_corner(&p, -half, top + 66);
        gen_fill(s, &p, i == 1 ? GEN_B : GEN_A);
      }
      break;
    case 1:                                    /* oak, in fruit */
      gen_oval(s, GEN_A, -42, -10, 48, 42);
      gen_oval(s, GEN_A, 42, -10, 48, 42);
      gen_oval(s, GEN_A, 0, -48, 56, 48);
      for (i = 0; i < 6; i++) gen_oval(s, GEN_B, -62 + 25 * i, i % 2 ? -44 : -6, 9, 9);
      break;
    case 2:                                    /* poplar */
      gen_oval(s, GEN_A, 0, -26, 32, 74);
      gen_oval(s, GEN_B, 8, -20, 14, 52);
      break;
    case 3:                                    /* palm */
      gen_box(s, GEN_WOOD, -7, -50, 7, 20);
      for (i = 0; i < 7; i++) gen_petal(s, i % 2 ? GEN_B : GEN_A, 0, -46, 104 + 22 * i, 84, 26);
      break;
    default:                                   /* bare in winter */
      for (i = 0; i < 3; i++) {
        gen_line(s, GEN_WOOD, 0, 50 - 34 * i, 64 - 12 * i, -14 - 34 * i, 10);
        gen_line(s, GEN_WOOD, 0, 50 - 34 * i, -64 + 12 * i, -14 - 34 * i, 10);
      }
      gen_oval(s, GEN_LIGHT, 0, 96, 84, 12);
  }
}

GEN_FN void gen_fish(gen_scene *s, int kind) {
  static const int ink[GEN_KINDS] = {GEN_A, GEN_A | GEN_BARS, GEN_A | GEN_DOTS, GEN_A, GEN_A};
  int i;
  if (kind == 3) {                             /* eel */
    for (i = 0; i < 9; i++)
      gen_oval(s, i % 2 ? GEN_B : GEN_A, -78 + 19 * i, gen_sin(28 * i) * 30 / 16384, 20, 20 - i);
    gen_oval(s, GEN_LIGHT, -82, -4, 9, 9);
    gen_oval(s, GEN_DARK, -82, -4, 4, 4);
    return;
  }
  if (kind == 4) {                             /* angelfish: long fins up and down */
    GEN_POLY(s, GEN_B, -30, -20, 44, -98, 26, 0, 44, 98, -30, 20);
    GEN_POLY(s, GEN_A, 30, 0, 84, -34, 72, 0, 84, 34);
    gen_oval(s, GEN_A, -10, 0, 56, 50);
    gen_box(s, GEN_B, -8, -48, 12, 48);
  } else {
    GEN_POLY(s, GEN_B, 40, 0, 98, -48, 84, 0, 98, 48);
    GEN_POLY(s, GEN_B, -20, -36, 10, -68, 34, -30);
    gen_oval(s, ink[kind], -14, 0, 76, 46);
  }
  gen_oval(s, GEN_LIGHT, -54, -10, 13, 13);
  gen_oval(s, GEN_DARK, -56, -10, 6, 6);
}

GEN_FN void gen_butterfly(gen_scene *s, int kind) {
  int side, a;
  for (side = 0; side < 2; side++) {           /* angles are mirrored by 128 - a */
    int m = side ? -1 : 1;
    a = side ? 128 : 0;
    if (kind == 3) {                           /* dragonfly */
      gen_petal(s, GEN_A, 0, -38, a - m * 12, 100, 24);
      gen_petal(s, GEN_B, 0, -22, a + m * 10, 92, 24);
      continue;
    }
    if (kind == 4) {                           /* moth: a triangle at rest */
      gen_path p;
      p.n = 0;
      gen_corner(&p, m * 4, -56);
      gen_corner(&p, m * 92, 50);
      gen_corner(&p, m * 8, 70);
      gen_fill(s, &p, GEN_A | GEN_STRIPES);
      continue;
    }
    gen_petal(s, GEN_A, 0, 0, a - m * 28, 112, 74);
    gen_petal(s, GEN_A, 0, 0, a + m * 30, 92, 62);
    if (kind == 1) {                           /* peacock: eyes on the wings */
      gen_oval(s, GEN_B, m * 56, -46, 20, 20);
      gen_oval(s, GEN_B, m * 46, 44, 16, 16);
    }
    if (kind == 2) {                           /* monarch: dark rim, light field */
      gen_petal(s, GEN_B, 0, 0, a - m * 28, 84, 44);
      gen_petal(s, GEN_B, 0, 0, a + m * 30, 66, 36);
    }
  }
  gen_oval(s, GEN_DARK, 0, kind == 3 ? 20 : 4, 9, kind == 3 ? 78 : 56);
  gen_line(s, GEN_DARK, 0, -44, 24, -84, 6);
  gen_line(s, GEN_DARK, 0, -44, -24, -84, 6);
}

GEN_FN void gen_wheel(gen_scene *s, int x, int y, int r) {
  gen_oval(s, GEN_DARK, x, y, r, r);
  gen_oval(s, GEN_LIGHT, x, y, r * 2 / 5, r * 2 / 5);
}

GEN_FN void gen_car(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* saloon */
      GEN_POLY(s, GEN_A, -96, 10, -58, 4, -36, -36, 34, -36, 58, 4, 96, 10, 96, 44, -96, 44);
      GEN_POLY(s, GEN_B, -44, 4, -28, -26, 28, -26, 44, 4);
      break;
    case 1:                                    /* van */
      GEN_POLY(s, GEN_A, -94, -4, -66, -56, 94, -56, 94, 46, -94, 46);
      GEN_POLY(s, GEN_B, -82, -4, -60, -44, -24, -44, -24, -4);
      break;
    case 2:                                    /* double-decker */
      gen_box(s, GEN_A, -88, -82, 88, 50);
      gen_windows(s, GEN_B, -78, -70, 4, 2, 44);
      break;
    case 3:                                    /* lorry */
      gen_box(s, GEN_B, -46, -70, 98, 40);
      GEN_POLY(s, GEN_A, -98, 46, -98, 4, -80, -30, -50, -30, -50, 46);
      gen_box(s, GEN_LIGHT, -84, -18, -60, 4);
      break;
    default:                                   /* tractor */
      gen_box(s, GEN_A, -90, -4, 30, 40);
      gen_box(s, GEN_A, -4, -70, 64, -56);
      gen_box(s, GEN_A, 4, -66, 12, 0);
      gen_box(s, GEN_A, 50, -66, 58, 10);
      gen_box(s, GEN_DARK, -66, -50, -56, 0);
      gen_wheel(s, 48, 36, 54);
      gen_wheel(s, -66, 62, 28);
      return;
  }
  gen_wheel(s, -56, 50, 25);
  gen_wheel(s, 56, 50, 25);
}

GEN_FN void gen_boat(gen_scene *s, int kind) {
  if (kind == 4) {                             /* submarine */
    gen_box(s, GEN_B, -22, -56, 26, 4);
    gen_line(s, GEN_DARK, 8, -50, 8, -92, 9);
    gen_oval(s, GEN_A, 0, 28, 96, 42);
    gen_oval(s, GEN_B, -44, 24, 13, 13);
    gen_oval(s, GEN_B, 0, 24, 13, 13);
    gen_oval(s, GEN_B, 44, 24, 13, 13);
    return;
  }
  if (kind == 0) {                             /* yacht */
    gen_line(s, GEN_DARK, 0, -98, 0, 50, 8);
    GEN_POLY(s, GEN_B, 8, -96, 78, 32, 8, 32);
    GEN_POLY(s, GEN_LIGHT, -8, -70, -62, 32, -8, 32);
  } else if (kind == 1) {                      /* square-rigger */
    gen_line(s, GEN_DARK, -38, -90, -38, 50, 8);
    gen_line(s, GEN_DARK, 38, -90, 38, 50, 8);
    GEN_POLY(s, GEN_B, -68, -82, -10, -82, -4, -28, -74, -28);
    GEN_POLY(s, GEN_B, 10, -82, 68, -82, 74, -28, 4, -28);
    GEN_POLY(s, GEN_B, -70, -20, -8, -20, -2, 34, -76, 34);
    GEN_POLY(s, GEN_B, 8, -20, 70, -20, 76, 34, 2, 34);
  } else if (kind == 2) {                      /* steamer */
    gen_box(s, GEN_LIGHT, -62, 4, 62, 44);
    gen_box(s, GEN_B, -40, -66, -14, 6);
    gen_box(s, GEN_B, 14, -66, 40, 6);
    gen_box(s, GEN_DARK, -40, -66, -14, -46);
    gen_box(s, GEN_DARK, 14, -66, 40, -46);
  } else {                                     /* rowing boat */
    gen_oval(s, GEN_B, 0, -24, 22, 22);
    gen_box(s, GEN_B, -20, 0, 20, 44);
    gen_line(s, GEN_WOOD, 0, 14, 92, 86, 11);
    gen_line(s, GEN_WOOD, 0, 14, -92, 86, 11);
  }
  GEN_POLY(s, GEN_A, -96, 40, 96, 40, 66, 88, -66, 88);
}

GEN_FN void gen_vessel(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* mug */
      gen_arc(s, GEN_A, 44, 0, 50, 32, 0, 256);
      gen_box(s, GEN_A, -66, -66, 46, 76);
      gen_box(s, GEN_B, -66, -14, 46, 24);
      break;
    case 1:                                    /* bowl */
      gen_pie(s, GEN_A, 0, -20, 94, 88, 0, 128);
      gen_oval(s, GEN_B, 0, -22, 94, 22);
      gen_box(s, GEN_A, -34, 60, 34, 80);
      break;
    case 2:                                    /* bottle */
      GEN_POLY(s, GEN_A, -13, -84, 13, -84, 15, -36, 38, -6, 38, 96, -38, 96, -38, -6, -15, -36);
      gen_box(s, GEN_B, -38, 18, 38, 62);
      gen_box(s, GEN_DARK, -16, -98, 16, -78);
      break;
    case 3:                                    /* vase */
      gen_oval(s, GEN_A | GEN_STRIPES, 0, 24, 66, 68);
      GEN_POLY(s, GEN_A, -40, -92, 40, -92, 20, -30, -20, -30);
      break;
    default:                                   /* goblet */
      gen_pie(s, GEN_A, 0, -84, 60, 104, 0, 128);
      gen_box(s, GEN_A, -8, 10, 8, 84);
      gen_oval(s, GEN_A, 0, 86, 46, 12);
      gen_pie(s, GEN_B, 0, -56, 48, 66, 0, 128);
  }
}

GEN_FN void gen_fruit(gen_scene *s, int kind) {
  int i, j;
  switch (kind) {
    case 0:                                    /* apple */
      gen_line(s, GEN_WOOD, 0, -40, 10, -96, 12);
      gen_oval(s, GEN_A, -28, 8, 56, 70);
      gen_oval(s, GEN_A, 28, 8, 56, 70);
      gen_petal(s, GEN_B, 6, -66, 232, 60, 32);
      break;
    case 1:                                    /* pear */
      gen_line(s, GEN_WOOD, 0, -60, -8, -98, 11);
      gen_oval(s, GEN_A, 0, 36, 64, 60);
      gen_oval(s, GEN_A, 0, -28, 36, 52);
      gen_oval(s, GEN_B, 24, 44, 22, 28);
      break;
    case 2:                                    /* cherries */
      gen_line(s, GEN_LEAF, -46, 40, 8, -88, 10);
      gen_line(s, GEN_LEAF, 50, 48, 8, -88, 10);
      gen_petal(s, GEN_LEAF, 8, -86, 12, 74, 34);
      gen_oval(s, GEN_A, -48, 44, 42, 42);
      gen_oval(s, GEN_A, 52, 52, 42, 42);
      gen_oval(s, GEN_B, -60, 32, 13, 13);
      gen_oval(s, GEN_B, 40, 40, 13, 13);
      break;
    case 3:                                    /* grapes */
      gen_line(s, GEN_WOOD, 0, -50, 6, -98, 11);
      for (j = 0; j < 4; j++)
        for (i = 0; i < 4 - j; i++)
          gen_oval(s, (i + j) % 2 ? GEN_B : GEN_A, 40 * i - 60 + 20 * j, -42 + 38 * j, 23, 23);
      break;
    default:                                   /* slice of melon */
      gen_pie(s, GEN_B, 0, -36, 98, 98, 0, 128);
      gen_pie(s, GEN_LIGHT, 0, -36, 84, 84, 0, 128);
      gen_pie(s, GEN_A, 0, -36, 74, 74, 0, 128);
      for (i = 0; i < 4; i++) gen_oval(s, GEN_DARK, -42 + 28 * i, i % 3 ? -2 : -16, 6, 10);
  }
}

GEN_FN void gen_face(gen_scene *s, int kind) {
  int eye;
  gen_oval(s, GEN_A, 0, 0, 94, 94);
  for (eye = -34; eye <= 34; eye += 68) {
    if (kind == 3) gen_oval(s, GEN_DARK, eye, -24, 32, 26);       /* sunglasses */
    else gen_oval(s, GEN_DARK, eye, -28, 12, 18);
  }
  switch (kind) {
    case 0: gen_arc(s, GEN_B, 0, 2, 62, 46, 10, 118); break;      /* smiling */
    case 1: gen_arc(s, GEN_B, 0, 84, 56, 40, 146, 238); break;    /* sad */
    case 2: gen_oval(s, GEN_B, 0, 42, 24, 32); break;             /* amazed */
    case 3:
      gen_line(s, GEN_DARK, -92, -30, 92, -30, 12);
      gen_line(s, GEN_B, -34, 46, 34, 46, 15);
      break;
    default:                                                      /* laughing */
      gen_pie(s, GEN_B, 0, 12, 62, 60, 0, 128);
      gen_box(s, GEN_LIGHT, -52, 12, 52, 28);
  }
}

GEN_FN void gen_die(gen_scene *s, int kind) {
  int corner;
  GEN_POLY(s, GEN_A, -62, -80, 62, -80, 75, -75, 80, -62, 80, 62, 75, 75, 62, 80, -62, 80, -75, 75,
           -80, 62, -80, -62, -75, -75);
  if (kind % 2 == 0) gen_oval(s, GEN_B, 0, 0, 21, 21);
  for (corner = 0; corner < 4; corner++) {
    int x = corner % 2 ? 46 : -46, y = corner / 2 ? 46 : -46;
    if (kind >= 3 || (kind >= 1 && x == y)) gen_oval(s, GEN_B, x, y, 21, 21);
  }
}

GEN_FN void gen_flag(gen_scene *s, int kind) {
  gen_line(s, GEN_WOOD, -84, -92, -84, 100, 12);
  gen_oval(s, GEN_WOOD, -84, -92, 11, 11);
  if (kind == 3) {                             /* chequered */
    gen_box(s, GEN_A | GEN_CHECKS, -78, -84, 94, 34);
    return;
  }
  if (kind == 4) {                             /* pennant */
    GEN_POLY(s, GEN_A, -78, -84, 98, -24, -78, 36);
    GEN_POLY(s, GEN_B, -78, -84, -14, -62, -14, 14, -78, 36);
    return;
  }
  gen_box(s, GEN_A, -78, -84, 94, 34);
  if (kind == 0) gen_box(s, GEN_B, -78, -45, 94, -5);
  if (kind == 1) {
    gen_box(s, GEN_B, -78, -40, 94, -10);
    gen_box(s, GEN_B, -30, -84, 0, 34);
  }
  if (kind == 2) gen_oval(s, GEN_B, 8, -25, 42, 42);
}

GEN_FN void gen_planet(gen_scene *s, int kind) {
  int i;
  switch (kind) {
    case 0:                                    /* crescent: two arcs of different centres */
    {
      gen_path p;
      p.n = 0;
      gen_arc_corners(&p, 0, 0, 94, 94, 44, 212, 24);
      gen_arc_corners(&p, 44, 0, 94, 94, 188, 68, 20);
      gen_fill(s, &p, GEN_A);
      gen_star(s, GEN_B, 48, -14, 34, 14, 5);
      break;
    }
    case 1:                                    /* cratered moon */
      gen_oval(s, GEN_A, 0, 0, 92, 92);
      gen_oval(s, GEN_B, -32, -34, 24, 22);
      gen_oval(s, GEN_B, 38, -8, 17, 17);
      gen_oval(s, GEN_B, -10, 48, 27, 22);
      gen_oval(s, GEN_B, -58, 22, 12, 12);
      break;
    case 2:                                    /* ringed */
      gen_oval(s, GEN_B, 0, 0, 100, 36);
      gen_oval(s, GEN_DARK, 0, 0, 80, 22);
      gen_oval(s, GEN_A, 0, 0, 56, 56);
      gen_arc(s, GEN_B, 0, -70, 106, 88, 40, 88);
      break;
    case 3:                                    /* sun */
      for (i = 0; i < 8; i++)
        gen_line(s, GEN_B, 0, 0, 98 * gen_cos(32 * i) / 16384, 98 * gen_sin(32 * i) / 16384, 17);
      gen_oval(s, GEN_A, 0, 0, 60, 60);
      break;
    default:                                   /* comet */
      GEN_POLY(s, GEN_B, -60, -8, 98, -64, 60, -24, 98, 0, 60, 22, 98, 60, -52, 42);
      gen_oval(s, GEN_A, -48, 8, 46, 46);
  }
}

GEN_FN void gen_cap(gen_scene *s, int x, int y, int r) {
  gen_box(s, GEN_LIGHT, x - r / 3, y - 4, x + r / 3, y + r);
  gen_pie(s, GEN_A, x, y, r, r, 128, 256);
}

GEN_FN void gen_mushroom(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* button */
      gen_box(s, GEN_LIGHT, -30, 0, 30, 92);
      gen_pie(s, GEN_A, 0, 14, 92, 88, 128, 256);
      gen_box(s, GEN_B, -92, 8, 92, 24);
      break;
    case 1:                                    /* toadstool */
      gen_box(s, GEN_LIGHT, -22, 0, 22, 92);
      gen_pie(s, GEN_A, 0, 14, 94, 94, 128, 256);
      gen_oval(s, GEN_B, -50, -12, 17, 17);
      gen_oval(s, GEN_B, 0, -44, 18, 18);
      gen_oval(s, GEN_B, 48, -14, 17, 17);
      break;
    case 2:                                    /* pointed */
      gen_box(s, GEN_LIGHT, -13, 0, 13, 98);
      GEN_POLY(s, GEN_A, 0, -98, 30, -30, 54, 26, -54, 26, -30, -30);
      GEN_POLY(s, GEN_B, 0, -98, 18, -58, -18, -58);
      break;
    case 3:                                    /* chanterelle */
      GEN_POLY(s, GEN_A, -92, -66, 92, -66, 34, 10, 24, 92, -24, 92, -34, 10);
      gen_oval(s, GEN_B, 0, -66, 92, 26);
      break;
    default:                                   /* a troop of three */
      gen_cap(s, 50, 24, 48);
      gen_cap(s, -52, 34, 46);
      gen_cap(s, -4, -20, 56);
      gen_oval(s, GEN_LEAF, 0, 88, 96, 20);
  }
}

GEN_FN void gen_legs(gen_scene *s, int pairs, int reach, int y, int step) {
  int i;
  for (i = 0; i < pairs; i++) {
    int from = y + step * i, to = from + (2 * i - pairs + 1) * 16;
    gen_line(s, GEN_DARK, 0, from, reach, to, 9);
    gen_line(s, GEN_DARK, 0, from, -reach, to, 9);
  }
}

GEN_FN void gen_beetle(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* ladybird */
      gen_oval(s, GEN_DARK, 0, -62, 40, 32);
      gen_oval(s, GEN_A, 0, 14, 80, 80);
      gen_line(s, GEN_DARK, 0, -62, 0, 94, 8);
      gen_oval(s, GEN_B, -40, -12, 18, 18);
      gen_oval(s, GEN_B, 40, -12, 18, 18);
      gen_oval(s, GEN_B, -34, 46, 18, 18);
      gen_oval(s, GEN_B, 34, 46, 18, 18);
      break;
    case 1:                                    /* striped beetle */
      gen_legs(s, 3, 86, -30, 34);
      gen_oval(s, GEN_DARK, 0, -64, 34, 28);
      gen_oval(s, GEN_A | GEN_STRIPES, 0, 16, 56, 80);
      break;
    case 2:                                    /* stag beetle */
      gen_legs(s, 3, 78, -10, 30);
      gen_arc(s, GEN_B, -26, -64, 36, 24, 100, 236);
      gen_arc(s, GEN_B, 26, -64, 36, 24, -108, 28);
      gen_oval(s, GEN_A, 0, -32, 34, 24);
      gen_oval(s, GEN_A, 0, 40, 42, 58);
      break;
    case 3:                                    /* spider */
      gen_legs(s, 4, 96, -24, 16);
      gen_oval(s, GEN_A, 0, 22, 46, 48);
      gen_oval(s, GEN_B, 0, -32, 28, 26);
      break;
    default:                                   /* ant */
      gen_legs(s, 3, 72, -18, 16);
      gen_oval(s, GEN_A, 0, -68, 28, 26);
      gen_oval(s, GEN_B, 0, -8, 20, 36);
      gen_oval(s, GEN_A, 0, 60, 32, 40);
  }
}

GEN_FN void gen_ice(gen_scene *s, int kind) {
  int i;
  if (kind == 3) {                             /* on a stick */
    gen_box(s, GEN_WOOD, -11, 40, 11, 98);
    gen_oval(s, GEN_A, 0, -50, 46, 46);
    gen_box(s, GEN_A, -46, -50, 46, 50);
    gen_box(s, GEN_B, -46, -20, 46, 12);
    return;
  }
  if (kind == 4) {                             /* sundae */
    GEN_POLY(s, GEN_LIGHT, -66, -10, 66, -10, 16, 62, 44, 92, -44, 92, -16, 62);
    gen_oval(s, GEN_A, -34, -26, 34, 30);
    gen_oval(s, GEN_B, 34, -26, 34, 30);
    gen_oval(s, GEN_A, 0, -58, 36, 30);
    gen_oval(s, GEN_DARK, 0, -88, 11, 11);
    return;
  }
  GEN_POLY(s, GEN_WOOD, -38, 18, 38, 18, 0, 98);
  for (i = 0; i <= kind; i++) {
    int r = kind == 0 ? 50 : kind == 1 ? 42 : 34;
    gen_oval(s, i % 2 ? GEN_B : GEN_A, 0, 4 - i * (kind == 1 ? 60 : 46), r, r);
  }
}

GEN_FN void gen_balloon(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* toy balloon */
      gen_line(s, GEN_DARK, 0, 30, 14, 100, 6);
      gen_oval(s, GEN_A, 0, -32, 58, 66);
      GEN_POLY(s, GEN_A, -12, 44, 0, 26, 12, 44);
      gen_oval(s, GEN_B, -20, -54, 14, 20);
      break;
    case 1:                                    /* heart */
      gen_line(s, GEN_DARK, 0, 40, -12, 100, 6);
      gen_oval(s, GEN_A, -38, -42, 42, 42);
      gen_oval(s, GEN_A, 38, -42, 42, 42);
      GEN_POLY(s, GEN_A, -76, -26, 0, -50, 76, -26, 0, 56);
      gen_oval(s, GEN_B, -42, -52, 15, 15);
      break;
    case 2:                                    /* hot-air balloon */
      gen_line(s, GEN_DARK, -52, -10, -18, 74, 6);
      gen_line(s, GEN_DARK, 52, -10, 18, 74, 6);
      gen_oval(s, GEN_A | GEN_BARS, 0, -32, 70, 66);
      gen_box(s, GEN_WOOD, -22, 66, 22, 98);
      break;
    case 3:                                    /* bunch of three */
      gen_line(s, GEN_DARK, -48, -10, 0, 98, 6);
      gen_line(s, GEN_DARK, 48, -10, 0, 98, 6);
      gen_line(s, GEN_DARK, 0, -40, 0, 98, 6);
      gen_oval(s, GEN_A, -50, -26, 36, 42);
      gen_oval(s, GEN_B, 50, -26, 36, 42);
      gen_oval(s, GEN_A, 0, -54, 36, 42);
      break;
    default:                                   /* airship */
      GEN_POLY(s, GEN_B, 58, 0, 98, -46, 98, 36);
      gen_box(s, GEN_B, -30, 26, 26, 58);
      gen_oval(s, GEN_A, -8, -6, 88, 40);
  }
}

GEN_FN void gen_sign(gen_scene *s, int kind) {
  gen_box(s, GEN_DARK, -7, 0, 7, 100);
  switch (kind) {
    case 0:                                    /* warning */
      GEN_POLY(s, GEN_A, 0, -98, 86, 44, -86, 44);
      GEN_POLY(s, GEN_LIGHT, 0, -60, 54, 28, -54, 28);
      gen_box(s, GEN_B, -8, -32, 8, 4);
      gen_oval(s, GEN_B, 0, 16, 9, 9);
      break;
    case 1:                                    /* octagon */
      GEN_POLY(s, GEN_A, -32, -94, 32, -94, 78, -50, 78, 12, 32, 56, -32, 56, -78, 12, -78, -50);
      gen_box(s, GEN_B, -54, -34, 54, -4);
      break;
    case 2:                                    /* ring */
      gen_oval(s, GEN_A, 0, -20, 76, 76);
      gen_oval(s, GEN_B, 0, -20, 50, 50);
      break;
    case 3:                                    /* diamond */
      GEN_POLY(s, GEN_LIGHT, 0, -98, 82, -18, 0, 62, -82, -18);
      GEN_POLY(s, GEN_A, 0, -74, 58, -18, 0, 38, -58, -18);
      break;
    default:                                   /* arrow ahead */
      gen_box(s, GEN_A, -70, -92, 70, 50);
      GEN_POLY(s, GEN_B, 0, -82, 46, -30, 14, -30, 14, 38, -14, 38, -14, -30, -46, -30);
  }
}

/* What the families are called, how they are drawn, and how far they may be tilted, in 256ths of a
 * turn to either side: a ball may lie anyhow, a house stands nearly upright.
 */
typedef struct gen_family {
  const char *name;
  void (*draw)(gen_scene *s, int kind);
  int tilt;
} gen_family;

static const gen_family gen_families[GEN_COARSE] = {
  {"balls", gen_ball, 20},         {"flowers", gen_flower, 14},    {"stars", gen_stars, 20},
  {"houses", gen_house, 9},        {"trees", gen_tree, 9},         {"fish", gen_fish, 20},
  {"butterflies", gen_butterfly, 28}, {"vehicles", gen_car, 12},   {"boats", gen_boat, 12},
  {"vessels", gen_vessel, 12},     {"fruit", gen_fruit, 16},       {"faces", gen_face, 16},
  {"dice", gen_die, 28},           {"flags", gen_flag, 10},        {"heavens", gen_planet, 20},
  {"mushrooms", gen_mushroom, 12}, {"crawlers", gen_beetle, 28},   {"ices", gen_ice, 14},
  {"balloons", gen_balloon, 12},   {"signs", gen_sign, 9}
};

/* What the kinds are called and the two colours that they tend to, as letters of gen_dye. */
typedef struct gen_kind { const char *name, *dye; } gen_kind;

static const gen_kind gen_fines[GEN_FINE] = {
  {"plain ball", "rw"}, {"striped ball", "bw"}, {"beach ball", "yr"}, {"dotted ball", "gy"},
  {"ringed ball", "vo"},
  {"poppy", "rk"}, {"buttercup", "yo"}, {"daisy", "wy"}, {"tulip", "pv"}, {"sunflower", "yn"},
  {"five-pointed star", "yw"}, {"four-pointed star", "sw"}, {"six-pointed star", "bs"},
  {"burst", "or"}, {"hollow star", "gk"},
  {"cottage", "wr"}, {"tower", "an"}, {"church", "yb"}, {"barn", "rn"}, {"flats", "sk"},
  {"fir", "gl"}, {"oak", "lr"}, {"poplar", "yo"}, {"palm", "tg"}, {"bare tree", "nk"},
  {"plain fish", "so"}, {"striped fish", "ow"}, {"spotted fish", "py"}, {"eel", "gk"},
  {"angelfish", "yb"},
  {"brimstone", "yl"}, {"peacock", "rs"}, {"monarch", "ko"}, {"dragonfly", "tb"}, {"moth", "na"},
  {"saloon", "rs"}, {"van", "wk"}, {"bus", "ry"}, {"lorry", "bo"}, {"tractor", "gr"},
  {"yacht", "wr"}, {"square-rigger", "nw"}, {"steamer", "kr"}, {"rowing boat", "ob"},
  {"submarine", "ya"},
  {"mug", "br"}, {"bowl", "tw"}, {"bottle", "gw"}, {"vase", "wb"}, {"goblet", "yr"},
  {"apple", "rl"}, {"pear", "ly"}, {"cherries", "rp"}, {"grapes", "vb"}, {"melon", "rg"},
  {"smile", "yr"}, {"sad face", "bk"}, {"amazed face", "lk"}, {"sunglasses", "on"},
  {"laugh", "pr"},
  {"one", "wk"}, {"two", "rw"}, {"three", "bw"}, {"four", "ky"}, {"five", "gw"},
  {"banded flag", "rw"}, {"cross flag", "by"}, {"disc flag", "wr"}, {"chequered flag", "wk"},
  {"pennant", "og"},
  {"crescent", "yw"}, {"moon", "an"}, {"ringed planet", "ow"}, {"sun", "yo"}, {"comet", "ws"},
  {"button", "nw"}, {"toadstool", "rw"}, {"inkcap", "ak"}, {"chanterelle", "yo"},
  {"troop", "op"},
  {"ladybird", "rk"}, {"striped beetle", "yk"}, {"stag beetle", "nk"}, {"spider", "kr"},
  {"ant", "rn"},
  {"one scoop", "pw"}, {"two scoops", "yn"}, {"three scoops", "lp"}, {"ice lolly", "ro"},
  {"sundae", "wp"},
  {"balloon", "bw"}, {"heart", "rp"}, {"hot-air balloon", "oy"}, {"bunch", "gv"},
  {"airship", "ab"},
  {"warning", "rk"}, {"octagon", "rw"}, {"ring sign", "bw"}, {"diamond", "yk"}, {"arrow", "gw"}
};

GEN_FN const char *gen_coarse_name(int coarse) {
  return coarse >= 0 && coarse < GEN_COARSE ? gen_families[coarse].name : "?";
}

GEN_FN const char *gen_fine_name(int fine) {
  return fine >= 0 && fine < GEN_FINE ? gen_fines[fine].name : "?";
}

/* The dyes: red, orange, yellow, lime, green, teal, sky, blue, violet, pink, brown (n), white,
 * ash (a) and black (k).
 */
GEN_FN uint32_t gen_dye(char letter) {
  static const char letters[] = "roylgtsbvpnwak";
  static const uint32_t value[] = {
    0xd8281e, 0xf28018, 0xf6d422, 0xa2d832, 0x1f8f3a, 0x1ba59a, 0x62bdf2, 0x2448cc, 0x7c34b4,
    0xf07cae, 0x80502c, 0xf4f2ea, 0x92969c, 0x1e1c22
  };
  const char *at = strchr(letters, letter);
  return value[at && *at ? at - letters : 0];
}

/* =================================================================================================
 * 6  SCENERY                                                                            >>scenery
 * =================================================================================================
 * The background mixes two colours by a share that varies over the picture in one of six ways. The
 * clutter and whatever stands in front are shapes of the same vocabulary, in colours of their own,
 * so neither a colour nor an edge is proof of anything.
 */

/* Smooth noise in [0, 255]: values on a grid of the given pitch in pixels, blended between. */
GEN_FN int gen_cloud(uint64_t key, int x, int y, int pitch) {
  int i = x / pitch, j = y / pitch, u = x % pitch, v = y % pitch, c[2][2], a, b;
  for (a = 0; a < 2; a++)
    for (b = 0; b < 2; b++)
      c[a][b] = (int)(gen_scramble(key + (uint64_t)(j + a) * 4096u + (uint64_t)(i + b)) & 255u);
  return ((c[0][0] * (pitch - u) + c[0][1] * u) * (pitch - v) +
          (c[1][0] * (pitch - u) + c[1][1] * u) * v) / (pitch * pitch);
}

typedef struct gen_ground { int kind, angle, pitch, level; uint64_t key; } gen_ground;

/* The share of the second colour at a pixel, in [0, 256]. */
GEN_FN int gen_share(const gen_ground *g, int x, int y, int size) {
  int along = (x * gen_cos(g->angle) + y * gen_sin(g->angle)) / 256;      /* pixels x 64 */
  switch (g->kind) {
    case 0: along = along * 2 / size + 128; break;                        /* slope */
    case 1: return y * 100 > g->level * size ? 256 - y * 64 / size : y * 96 / size; /* horizon */
    case 2: return gen_cloud(g->key, x, y, 10);
    case 3: return (gen_cloud(g->key, x, y, 3) + gen_cloud(g->key + 7777, x, y, 6)) / 2;
    case 4: along = 128 + gen_sin(along * 4 / g->pitch) / 100; break;     /* waves */
    default: return (((x / g->pitch) ^ (y / g->pitch)) & 1) ? 160 : 40;   /* tiles */
  }
  return along < 0 ? 0 : along > 256 ? 256 : along;
}

GEN_FN int gen_distance(uint32_t a, uint32_t b) {
  int c, sum = 0;
  for (c = 0; c < 3; c++) sum += abs(gen_channel(a, c) - gen_channel(b, c));
  return sum;
}

/* Two colours that are not the thing's own: a few tries for the first to keep a distance from A. */
GEN_FN void gen_background(gen_scene *s) {
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

/* One shape of clutter in its own frame and its own colour. */
GEN_FN void gen_scrap(gen_scene *s, int x, int y, int radius) {
  int angle = gen_pick(&s->rng, 0, 255), tall = gen_pick(&s->rng, 96, 256);
  uint32_t kept = s->ink[GEN_A];
  s->ink[GEN_A] = gen_any_colour(&s->rng);
  gen_frame(s, x, y, radius, angle, 256, tall, 0);
  switch (gen_pick(&s->rng, 0, 4)) {
    case 0: gen_oval(s, GEN_A, 0, 0, 90, 90); break;
    case 1: gen_box(s, GEN_A, -80, -80, 80, 80); break;
    case 2: gen_line(s, GEN_A, -100, 0, 100, 0, 40); break;
    case 3: GEN_POLY(s, GEN_A, 0, -90, 80, 60, -80, 60); break;
    default: gen_star(s, GEN_A, 0, 0, 100, 50, gen_pick(&s->rng, 3, 7));
  }
  s->ink[GEN_A] = kept;
}

/* The colours of a kind: its own or, strangely, those of another, faded at random. */
GEN_FN void gen_dress(gen_scene *s, int fine) {
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

/* Draws a thing of the given kind about (x, y), pixels times 256, in the colours of the scene. */
GEN_FN void gen_object(gen_scene *s, int fine, int x, int y, int radius) {
  const gen_family *family = &gen_families[fine / GEN_KINDS];
  int wide = gen_pick(&s->rng, 216, 284), tall = gen_pick(&s->rng, 216, 284);
  int tilt = gen_pick(&s->rng, -family->tilt, family->tilt), mirror = gen_pick(&s->rng, 0, 1);
  gen_frame(s, x, y, radius, tilt, wide, tall, mirror);
  s->wave[0] = gen_pick(&s->rng, 0, GEN_WAVE);
  s->wave[1] = gen_pick(&s->rng, 40, 120);
  s->wave[2] = gen_pick(&s->rng, 0, 255);
  s->wave[3] = gen_pick(&s->rng, 0, 255);
  family->draw(s, fine % GEN_KINDS);
  s->wave[0] = 0;
}

/* The whole scene of a classified picture: background, clutter, the thing, what hides it. */
GEN_FN void gen_compose(gen_scene *s, int fine) {
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
GEN_FN void gen_average(const gen_scene *s, int px, int py, int out[3]) {
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

GEN_FN void gen_develop(gen_scene *s, unsigned char *planes) {
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
        planes[(size_t)c * plane + at] = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
      }
    }
}

/* =================================================================================================
 * 8  DATA SETS                                                                         >>datasets
 * =================================================================================================
 * Labels go by hundreds: within a hundred the classes follow a fixed permutation (37 has no common
 * factor with 100) that starts at a random place.
 */
GEN_FN int gen_label(uint64_t seed, uint64_t index) {
  uint64_t start = gen_hash(seed ^ UINT64_C(0x1abe1), index / 100) % 100;
  return (int)((37 * (index % 100) + start) % 100);
}

GEN_FN void gen_image(uint64_t seed, uint64_t index, unsigned char record[GEN_RECORD]) {
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

GEN_FN void gen_images(uint64_t seed, uint64_t first, long count, unsigned char *records) {
  long i;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
  for (i = 0; i < count; i++)
    gen_image(seed, first + (uint64_t)i, records + (size_t)i * GEN_RECORD);
}

/* Draws and writes a thousand pictures at a time. */
GEN_FN int gen_stream(FILE *f, uint64_t seed, uint64_t first, long count) {
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

/* The file appears under its name only when it is complete: it is written beside it, as
 * NAME.part-PROCESS, and renamed.
 * Where rename does not replace (Windows), the old file is removed first.
 */
GEN_FN int gen_write(const char *path, uint64_t seed, uint64_t first, long count) {
  size_t n = path ? strlen(path) : 0;
  char *part = count >= 0 && n > 0 ? (char *)malloc(n + 32) : NULL;
  FILE *f;
  int bad;
  if (!part) return -1;
  snprintf(part, n + 32, "%s.part-%ld", path, GEN_PROCESS); /* two programs may begin at once */
  f = fopen(part, "wb");
  bad = !f || gen_stream(f, seed, first, count) != 0;
  if (f && fclose(f) != 0) bad = 1;
#ifdef _WIN32
  if (!bad) remove(path);
#endif
  if (!bad) bad = rename(part, path) != 0;
  if (bad && f) remove(part);
  free(part);
  return bad ? -1 : 0;
}

/* A PPM image of across x down pictures with thin gaps. With first a multiple of 100, every hundred
 * of them is sorted by class: 20 across shows four families per row.
 */
GEN_FN int gen_sheet(const char *path, uint64_t seed, uint64_t first, int across, int down) {
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
enum { GEN_SCENE_CLASSES = 1 + GEN_COARSE, GEN_THINGS = 6 };

GEN_FN const char *gen_scene_name(int class_) {
  return class_ == 0 ? "background" : gen_coarse_name(class_ - 1);
}

/* A place for the n-th thing: of some tries the first that keeps away from the things before, whose
 * x, y and radius (pixels times 256) are in `at`. 0: there is none. */
GEN_FN int gen_scene_place(gen_scene *s, int at[][3], int n) {
  int reach = s->width / GEN_FINER * 256, radius = gen_pick(&s->rng, reach / 7, reach / 3);
  int tries, k;
  for (tries = 0; tries < 24; tries++) {
    int x = gen_pick(&s->rng, radius / 2, reach - radius / 2);
    int y = gen_pick(&s->rng, radius / 2, reach - radius / 2);
    for (k = 0; k < n; k++) {
      int64_t dx = x - at[k][0], dy = y - at[k][1], apart = (radius + at[k][2]) * 4 / 5;
      if (dx * dx + dy * dy < apart * apart) break;
    }
    at[n][0] = x, at[n][1] = y, at[n][2] = radius;
    if (k == n) return 1;
  }
  return 0;
}

GEN_FN void gen_scene_scraps(gen_scene *s, int most, int small, int large) {
  int reach = s->width / GEN_FINER * 256, n = gen_pick(&s->rng, 0, most), x, y;
  for (; n > 0; n--) {
    x = gen_pick(&s->rng, 0, reach);
    y = gen_pick(&s->rng, 0, reach);
    gen_scrap(s, x, y, gen_pick(&s->rng, reach / small, reach / large));
  }
}

GEN_FN void gen_scene_compose(gen_scene *s) {
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

GEN_FN unsigned char gen_scene_pixel(const gen_scene *s, int px, int py) {
  const uint32_t *row = s->sample + (size_t)(py * GEN_FINER) * (size_t)s->width + px * GEN_FINER;
  int count[1 + GEN_COARSE] = {0}, a, b;
  for (a = 0; a < GEN_FINER; a++, row += s->width)
    for (b = 0; b < GEN_FINER; b++)
      if (++count[row[b] >> 24] > GEN_FINER * GEN_FINER / 2)
        return (unsigned char)((row[b] >> 24) + 1);
  return 0;
}

/* planes[3][size][size], mask[size][size]. 0, or -1 if there is no memory for the canvas. */
GEN_FN int gen_scene_draw(uint64_t seed, uint64_t index, int size, unsigned char *planes,
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

#endif /* GENERATE_H */
