/* Images that a few training steps can tell apart: five classes, each a stripe pattern under noise,
 * 3 x 8 x 8; and what tests do with networks that see them. Who includes this has defined how many
 * images there are: IMAGES. */
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

/* Weights large enough for every layer to matter, norms and biases away from 1 and 0. */
TEST_UNUSED static bdpt_model *model_of(bdpt_context *own, const bdpt_config *c, uint64_t seed) {
  bdpt_model *m = bdpt_model_create(own, c, seed);
  size_t k;
  int i;
  for (i = 0; m && i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    for (k = 0; p->data && k < p->count; k++) {
      double u = (double)(bdpti_hash(seed, (uint64_t)i, k) % 1000) / 1000 - 0.5;
      p->data[k] = (bdpt_real)(p->ndim > 1 ? 10 * (double)p->data[k] : (double)p->data[k] + u);
    }
  }
  return m;
}

TEST_UNUSED static int same_weights(const bdpt_model *a, const bdpt_model *b) {
  char x[17], y[17];
  bdpt_model_hash(a, x);
  bdpt_model_hash(b, y);
  return strcmp(x, y) == 0;
}

/* logits[20][5] of held-out images. */
TEST_UNUSED static void logits_of(bdpt_model *m, bdpt_real *out) {
  static bdpt_real images[20 * 3 * SIDE * SIDE];
  bdpt_tape *t = bdpt_tape_create(m->ctx, 0);
  bdpt_load_batch(m->ctx, &m->config, &held, 0, 20, images, NULL);
  CHECK(bdpt_predict(m, t, 20, images, out) == BDPT_OK);
  bdpt_tape_free(t);
}

#endif
