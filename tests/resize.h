/* resize.h: planes[3][h][w] resized as a network of 3 x oh x ow pixels sees them: a batch of one */
#ifndef TEST_RESIZE_H
#define TEST_RESIZE_H

static void resized(bdpt_context *ctx, const unsigned char *in, const int from[2],
                    unsigned char *out, const int to[2]) {
  size_t first = 0, i, n = 3 * (size_t)to[0] * (size_t)to[1];
  unsigned short label = 0;
  bdpt_real *x = (bdpt_real *)calloc(n, sizeof *x);
  bdpt_dataset d;
  bdpt_subset s;
  bdpt_config c;
  memset(&d, 0, sizeof d);
  memset(&c, 0, sizeof c);
  d.count = 1; d.classes = 1; d.label = &label;
  d.height = from[0]; d.width = from[1]; d.pixels = (unsigned char *)in;
  s.data = &d; s.index = &first; s.count = 1;
  c.image = to[0]; c.image_width = to[1]; c.patch = 1;
  c.width = c.heads = c.depth = c.classes = 1;
  for (i = 0; i < 3; i++) c.mean[i] = c.std[i] = 0.5; /* a byte's value is 2 b / 255 - 1 */
  CHECK(x && bdpt_load_batch(ctx, &c, &s, 0, 1, x, NULL) == BDPT_OK);
  for (i = 0; x && i < n; i++) {
    out[i] = (unsigned char)floor(((double)x[i] + 1) * 0.5 * 255 + 0.5);
  }
  free(x);
}

#endif
