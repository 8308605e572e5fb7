/* shapes.c: chance, the canvas, and what is drawn on it */
#include "generate.h"
#include "shapes.h"

#include <stddef.h>
#include <stdint.h>

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

uint64_t gen_scramble(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t gen_hash(uint64_t seed, uint64_t index) {
  uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
  return gen_scramble(gen_scramble(seed + golden) ^ (index * golden + 1));
}

uint64_t gen_next(gen_rng *r) {
  r->state += UINT64_C(0x9e3779b97f4a7c15);
  return gen_scramble(r->state);
}

int gen_pick(gen_rng *r, int low, int high) {
  uint64_t span = (uint64_t)(high - low + 1);
  return low + (int)(((gen_next(r) >> 32) * span) >> 32);
}

int gen_chance(gen_rng *r, int of256) {
  return gen_pick(r, 0, 255) < of256;
}

int gen_sin(int angle) {
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

int gen_cos(int angle) { return gen_sin(angle + 64); }

/* =================================================================================================
 * 2  CANVAS                                                                              >>canvas
 * =================================================================================================
 * A sample is one 32-bit word: object number, red, green, blue. Things are described in a frame of
 * their own: the origin is the middle of the thing, x runs to the right, y down, and 100 units are
 * its radius. The frame is carried to the canvas by a 2 x 2 matrix and a shift, and bent by a slow
 * wave on the way. Positions on the canvas are counted in 64ths of a sample (GEN_SUB).
 */

static uint32_t gen_rgb(int r, int g, int b) {
  return ((uint32_t)r << 16) | ((uint32_t)g << 8) | (uint32_t)b;
}

int gen_channel(uint32_t colour, int c) {
  return (int)((colour >> (16 - 8 * c)) & 255u);
}

uint32_t gen_mix(uint32_t a, uint32_t b, int t) {
  int c, v[3];
  for (c = 0; c < 3; c++)
    v[c] = (gen_channel(a, c) * (256 - t) + gen_channel(b, c) * t) / 256;
  return gen_rgb(v[0], v[1], v[2]);
}

uint32_t gen_any_colour(gen_rng *r) {
  return (uint32_t)(gen_next(r) >> 40);
}

uint32_t gen_faded(gen_rng *r, uint32_t colour, int low, int high) {
  uint32_t other = gen_any_colour(r);
  return gen_mix(colour, other, gen_pick(r, low, high));
}

void gen_frame(gen_scene *s, int x, int y, int radius, int angle, int wide, int tall) {
  int64_t scale = (int64_t)radius * (GEN_FINER * GEN_SUB) * 1024 / 25600;  /* of one unit, x 1024 */
  int64_t det;
  s->place[0] = (int)((int64_t)x * (GEN_FINER * GEN_SUB) / 256);
  s->place[1] = (int)((int64_t)y * (GEN_FINER * GEN_SUB) / 256);
  s->turn[0] = scale * gen_cos(angle) / 16384 * wide / 256;
  s->turn[1] = -scale * gen_sin(angle) / 16384 * tall / 256;
  s->turn[2] = scale * gen_sin(angle) / 16384 * wide / 256;
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

void gen_corner(gen_path *p, int x, int y) {
  if (p->n == GEN_CORNERS) return;
  p->x[p->n] = x;
  p->y[p->n++] = y;
}

/* Returns the colour of a pattern at a point. Units are shifted by 1024 to keep divisions
 * positive. */
static int gen_pattern(int pattern, int x, int y) {
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
static void gen_span(gen_scene *s, int row, int from, int to, int ink) {
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

/* Turns units into the canvas's, with the wave. */
static void gen_project(const gen_scene *s, gen_path *p) {
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

/* Finds where the line at height `at` crosses the path, in increasing order; returns how often. */
static int gen_crossings(const gen_path *p, int at, int *cross) {
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

/* Returns the first sample whose middle lies at or after canvas position x, kept inside [0, n]. */
static int gen_sample_at(int x, int n) {
  if (x <= GEN_SUB / 2) return 0;
  x = (x + GEN_SUB / 2 - 1) / GEN_SUB;
  return x < n ? x : n;
}

void gen_fill(gen_scene *s, gen_path *p, int ink) {
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
void gen_arc_corners(gen_path *p, gen_curve c, int n) {
  int i, a;
  for (i = 0; i <= n; i++) {
    a = c.from + (c.to - c.from) * i / n;
    gen_corner(p, c.x + c.rx * gen_cos(a) / 16384, c.y + c.ry * gen_sin(a) / 16384);
  }
}

void gen_oval(gen_scene *s, int ink, int x, int y, int rx, int ry) {
  const gen_curve c = {x, y, rx, ry, 0, 247};
  gen_path p;
  p.n = 0;
  gen_arc_corners(&p, c, 27);
  gen_fill(s, &p, ink);
}

void gen_half(gen_scene *s, int ink, int x, int y, int rx, int ry, int upper) {
  const gen_curve c = {x, y, rx, ry, upper ? 128 : 0, upper ? 256 : 128};
  gen_path p;
  p.n = 0;
  gen_corner(&p, x, y);
  gen_arc_corners(&p, c, 18);
  gen_fill(s, &p, ink);
}

void gen_band(gen_scene *s, int ink, gen_curve outer, int width) {
  const gen_curve inner = {outer.x, outer.y, outer.rx - width, outer.ry - width, outer.to,
                           outer.from};
  gen_path p;
  p.n = 0;
  gen_arc_corners(&p, outer, 24);
  gen_arc_corners(&p, inner, 24);
  gen_fill(s, &p, ink);
}

void gen_box(gen_scene *s, int ink, int x0, int y0, int x1, int y1) {
  gen_path p;
  p.n = 0;
  gen_corner(&p, x0, y0);
  gen_corner(&p, x1, y0);
  gen_corner(&p, x1, y1);
  gen_corner(&p, x0, y1);
  gen_fill(s, &p, ink);
}

void gen_line(gen_scene *s, int ink, int x0, int y0, int x1, int y1, int width) {
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

void gen_star(gen_scene *s, int ink, int x, int y, int outer, int inner, int n) {
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

void gen_petal(gen_scene *s, int ink, int x, int y, int angle, int length, int width) {
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

void gen_poly(gen_scene *s, int ink, const short *xy, int n) {
  gen_path p;
  int i;
  p.n = 0;
  for (i = 0; i < n; i++) gen_corner(&p, xy[2 * i], xy[2 * i + 1]);
  gen_fill(s, &p, ink);
}
