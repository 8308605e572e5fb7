/* trivial.c: one random change of random strength
 *
 * TrivialAugment (Mueller and Hutter, arXiv 2103.10158) makes one of fourteen changes to each
 * image, with a strength drawn evenly: none, five that move the pixels, six that change the colours
 * by so much, two that stretch the histogram. Shears go up to 0.3, shifts to a quarter of the side,
 * turns to 30 degrees, colours from a tenth to 1.9 of what they were, bits from 8 down to 4. Moved
 * pixels are read between their neighbours, and what comes in from outside has the mean grey of
 * ImageNet.
 */
#include "trivial.h"

#include <math.h>
#include <string.h>

#define TRIVIAL_TURN 0.5235987755982988 /* 30 degrees */
enum { TRIVIAL_GREY = 124 };

static unsigned char trivial_byte(double x) {
  if (x < 0) return 0;
  return (unsigned char)(x > 255 ? 255 : x + 0.5);
}

/* Reads a plane between its pixels. */
static double trivial_between(const unsigned char *plane, int side, double y, double x) {
  const int top = (int)floor(y), left = (int)floor(x);
  double sum = 0;
  int i;
  for (i = 0; i < 4; i++) {
    const int v = top + i / 2, u = left + i % 2;
    const double wy = i / 2 ? y - top : 1 - (y - top), wx = i % 2 ? x - left : 1 - (x - left);
    const int inside = v >= 0 && v < side && u >= 0 && u < side;
    sum += wy * wx * (inside ? plane[v * side + u] : TRIVIAL_GREY);
  }
  return sum;
}

/* Each pixel takes the colour that stood at m times its place, seen from the centre. */
static void trivial_move(const double m[6], int side, unsigned char *planes) {
  unsigned char old[3 * TRIVIAL_MOST * TRIVIAL_MOST];
  const int area = side * side;
  int i;
  memcpy(old, planes, (size_t)(3 * area));
  for (i = 0; i < 3 * area; i++) {
    const double centre = 0.5 * (side - 1);
    const double y = i % area / side - centre, x = i % side - centre;
    planes[i] = trivial_byte(trivial_between(old + i / area * area, side,
                                             m[3] * x + m[4] * y + m[5] + centre,
                                             m[0] * x + m[1] * y + m[2] + centre));
  }
}

static double trivial_grey(const unsigned char *planes, int area, int i) {
  return 0.299 * planes[i] + 0.587 * planes[area + i] + 0.114 * planes[2 * area + i];
}

/* The mean around a pixel, in which it counts five times. */
static double trivial_smooth(const unsigned char *plane, int side, int at) {
  double sum = 0, weights = 0;
  int i;
  for (i = 0; i < 9; i++) {
    const int y = at / side + i / 3 - 1, x = at % side + i % 3 - 1;
    const double w = i == 4 ? 5 : 1;
    if (y < 0 || y >= side || x < 0 || x >= side) continue;
    sum += w * plane[y * side + x];
    weights += w;
  }
  return sum / weights;
}

/* Goes from a plainer image towards this one, and beyond it where `much` is above 1: from black
 * (brightness), the mean grey (contrast), its greys (colour), or a smooth one (sharpness). */
static void trivial_blend(int from, double much, int side, unsigned char *planes) {
  unsigned char old[3 * TRIVIAL_MOST * TRIVIAL_MOST];
  const int area = side * side;
  double mean = 0;
  int i;
  memcpy(old, planes, (size_t)(3 * area));
  for (i = 0; i < area; i++) mean += trivial_grey(old, area, i) / area;
  for (i = 0; i < 3 * area; i++) {
    double plain = 0;
    if (from == 1) plain = mean;
    if (from == 2) plain = trivial_grey(old, area, i % area);
    if (from == 3) plain = trivial_smooth(old + i / area * area, side, i % area);
    planes[i] = trivial_byte(plain + much * (old[i] - plain));
  }
}

/* Drops the lowest bits, or turns the bright pixels to their opposite. */
static void trivial_level(int which, double strength, int area, unsigned char *planes) {
  const int bits = (int)(4.999 * strength), limit = 256 - (int)(256 * strength);
  int i;
  for (i = 0; i < 3 * area; i++) {
    if (which == 0) planes[i] = (unsigned char)(planes[i] & 0xff << bits);
    else if (planes[i] >= limit) planes[i] = (unsigned char)(255 - planes[i]);
  }
}

/* Stretches a plane's values from 0 to 255, or makes them equally frequent. */
static void trivial_stretch(int equal, int area, unsigned char *plane) {
  int count[256] = {0}, low = 255, high = 0, below = 0, step, i;
  unsigned char to[256];
  for (i = 0; i < area; i++) {
    count[plane[i]]++;
    if (plane[i] < low) low = plane[i];
    if (plane[i] > high) high = plane[i];
  }
  step = (area - count[high]) / 255;
  if (low >= high || (equal && step == 0)) return;
  for (i = 0; i < 256; i++) {
    to[i] = equal ? trivial_byte((below + step / 2) / step)
                  : trivial_byte((i - low) * 255.0 / (high - low));
    below += count[i];
  }
  for (i = 0; i < area; i++) plane[i] = to[plane[i]];
}

void trivial_make(int which, double strength, double sign, int side, unsigned char *planes) {
  const double shear = sign * strength * 0.3, shift = sign * strength * 0.25 * side;
  const double turn = sign * strength * TRIVIAL_TURN;
  const double move[5][6] = {{1, shear, 0, 0, 1, 0}, {1, 0, 0, shear, 1, 0}, {1, 0, shift, 0, 1, 0},
                             {1, 0, 0, 0, 1, shift},
                             {cos(turn), sin(turn), 0, -sin(turn), cos(turn), 0}};
  int i;
  if (which >= 1 && which <= 5) trivial_move(move[which - 1], side, planes);
  if (which >= 6 && which <= 9) trivial_blend(which - 6, 1 + sign * strength * 0.9, side, planes);
  if (which == 10 || which == 11) trivial_level(which - 10, strength, side * side, planes);
  for (i = 0; i < 3 && which > 11; i++)
    trivial_stretch(which - 12, side * side, planes + i * side * side);
}

void trivial_change(void *user, bdpt_rng *rng, unsigned char *planes) {
  const int which = (int)(TRIVIAL_CHANGES * bdpt_uniform(rng));
  const double strength = bdpt_uniform(rng), sign = bdpt_uniform(rng) < 0.5 ? -1 : 1;
  trivial_make(which, strength, sign, *(const int *)user, planes);
}
