/* exif.c: which side of a picture is up
 *
 * A phone stores what its sensor saw and notes how the phone was held: tag 0x0112, Orientation, in
 * the Exif data, which are a small TIFF file inside the picture. 1 is upright; 2 mirrored; 3 upside
 * down; 4 both; 5 to 8 are 4, 1, 2 and 3 lying on a side, in the order of the table below.
 */
#include "images.h"

#include <stdlib.h>
#include <string.h>

/* Returns the number in n bytes, the largest first if `big`. */
static size_t exif_number(const unsigned char *p, int n, int big) {
  size_t v = 0;
  int i;
  for (i = 0; i < n; i++) v = v << 8 | p[big ? i : n - 1 - i];
  return v;
}

/* Finds the tag in the first directory of a TIFF file. */
static int exif_tiff(const unsigned char *p, size_t size) {
  size_t at, count, i, side;
  int big;
  if (size < 8) return 0;
  big = p[0] == 'M';
  if (memcmp(p, big ? "MM\0*" : "II*\0", 4) != 0) return 0;
  at = exif_number(p + 4, 4, big);
  if (at > size - 2) return 0;
  count = exif_number(p + at, 2, big);
  for (i = 0, at += 2; i < count && size - at >= 12; i++, at += 12) {
    if (exif_number(p + at, 2, big) != 0x0112) continue;
    side = exif_number(p + at + 8, 2, big);
    return exif_number(p + at + 2, 2, big) == 3 && side >= 1 && side <= 8 ? (int)side : 0;
  }
  return 0;
}

/* Walks through a JPEG's segments, a mark and a length each, until the picture itself begins. */
static int exif_jpeg(const unsigned char *p, size_t size) {
  size_t at = 2, n;
  while (at <= size && size - at >= 4 && p[at] == 0xFF && p[at + 1] != 0xDA) {
    n = exif_number(p + at + 2, 2, 1);
    if (n < 2 || size - at - 2 < n) return 0;
    if (p[at + 1] == 0xE1 && n >= 8 && memcmp(p + at + 4, "Exif\0\0", 6) == 0)
      return exif_tiff(p + at + 10, n - 8);
    at += 2 + n;
  }
  return 0;
}

/* Walks through a PNG's chunks: a length, a name, the bytes and a checksum. */
static int exif_png(const unsigned char *p, size_t size) {
  size_t at = 8, n;
  while (at <= size && size - at >= 12) {
    n = exif_number(p + at, 4, 1);
    if (size - at - 12 < n) return 0;
    if (memcmp(p + at + 4, "eXIf", 4) == 0) return exif_tiff(p + at + 8, n);
    at += 12 + n;
  }
  return 0;
}

int image_exif(const unsigned char *bytes, size_t size) {
  if (size < 8) return 0;
  return bytes[0] == 0xFF ? exif_jpeg(bytes, size) : exif_png(bytes, size);
}

int image_turn(picture *p, char why[IMAGE_WHY]) {
  /* Where pixel y, x of the upright picture is in the stored one: its row from the end? its column
   * from the end? and do rows and columns change places? */
  static const unsigned char table[9][3] = {{0, 0, 0}, {0, 0, 0}, {0, 1, 0}, {1, 1, 0}, {1, 0, 0},
                                            {0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {0, 1, 1}};
  const unsigned char *how = table[p->side];
  int w = how[2] ? p->height : p->width, h = how[2] ? p->width : p->height, x, y, c;
  size_t plane = (size_t)w * (size_t)h;
  unsigned char *turned, *out;
  if (p->side < 2) return 1;
  turned = out = (unsigned char *)malloc(3 * plane);
  if (!turned) return image_no(why, "out of memory");
  for (c = 0; c < 3; c++)
    for (y = 0; y < h; y++)
      for (x = 0; x < w; x++) {
        int row = how[2] ? x : y, column = how[2] ? y : x;
        if (how[0]) row = p->height - 1 - row;
        if (how[1]) column = p->width - 1 - column;
        *out++ = p->planes[(size_t)c * plane + (size_t)row * (size_t)p->width + (size_t)column];
      }
  free(p->planes);
  p->planes = turned;
  p->width = w;
  p->height = h;
  p->side = 0;
  return 1;
}
