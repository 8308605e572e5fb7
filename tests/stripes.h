/* Images that a few training steps can tell apart: five classes, each a stripe pattern under noise,
 * 3 x 8 x 8. Who includes this has defined how many there are: IMAGES. */
#ifndef STRIPES_H
#define STRIPES_H

enum { SIDE = 8, STRIPES_BYTES = 3 * SIDE * SIDE };
static bdpt_dataset data;
static unsigned char pixels[IMAGES * STRIPES_BYTES];
static unsigned short labels[IMAGES];
static bdpt_subset train, held;

/* `seed` draws the noise; 4 of every class are held out. */
static void make_stripes(bdpt_context *ctx, uint64_t seed) {
  size_t i, p;
  for (i = 0; i < IMAGES; i++) {
    labels[i] = (unsigned short)(i % 5);
    for (p = 0; p < STRIPES_BYTES; p++) {
      uint64_t stripe = (p / (1 + i % 5)) % 2 ? 100 : 0;
      pixels[i * STRIPES_BYTES + p] = (unsigned char)(bdpti_hash(seed, i, p) % 120 + stripe);
    }
  }
  memset(&data, 0, sizeof data);
  data.count = IMAGES;
  data.classes = 5;
  data.height = data.width = SIDE;
  data.pixels = pixels;
  data.label = labels;
  bdpt_split(ctx, &data, 4, 1, &train, &held);
}

#endif
