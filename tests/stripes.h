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

/* Makes the images and splits them: `seed` draws the noise; 4 of every class are held out. */
static void make_stripes(bdpt_context *ctx, uint64_t seed) {
  size_t i, p;
  for (i = 0; i < IMAGES; i++) {
    labels[i] = (unsigned short)(i % 5);
    for (p = 0; p < STRIPES_BYTES; p++) {
      uint64_t stripe = (p / (1 + i % 5)) % 2 ? 100 : 0;
      pixels[i * STRIPES_BYTES + p] = (unsigned char)(test_hash(seed, i, p) % 120 + stripe);
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

/* Makes a network whose weights are large enough for every layer to matter, norms and biases away
 * from 1 and 0. */
TEST_UNUSED static bdpt_model *model_of(bdpt_context *own, const bdpt_config *c, uint64_t seed) {
  bdpt_model *m = bdpt_model_create(own, c, seed);
  size_t k;
  int i;
  for (i = 0; m && i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    for (k = 0; p->data && k < p->count; k++) {
      double u = (double)(test_hash(seed, (uint64_t)i, k) % 1000) / 1000 - 0.5;
      p->data[k] = (bdpt_real)(p->ndim > 1 ? 10 * (double)p->data[k] : (double)p->data[k] + u);
    }
  }
  return m;
}

/* Returns a recipe in which these images teach something in so many epochs. */
TEST_UNUSED static bdpt_recipe stripes_recipe(int epochs) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = epochs;
  r.batch = 10;
  r.lr = 2e-3;
  r.seed = 3;
  bdpt_recipe_resolve(&r);
  return r;
}

TEST_UNUSED static int same_weights(const bdpt_model *a, const bdpt_model *b) {
  char x[17], y[17];
  bdpt_model_hash(a, x);
  bdpt_model_hash(b, y);
  return strcmp(x, y) == 0;
}

/* An allocator that refuses its request number `refused_at`, counted in `asked`. */
static size_t asked, refused_at;
TEST_UNUSED static void *refusing_alloc(void *user, size_t bytes) {
  (void)user;
  return ++asked == refused_at ? NULL : malloc(bytes);
}
TEST_UNUSED static void refusing_free(void *user, void *p, size_t bytes) {
  (void)user;
  (void)bytes;
  free(p);
}

/* What is to be done to a network; checks what it made of it, if it could. */
typedef bdpt_status stripes_work(bdpt_model *m, void *user);

/* Does the work on copies of one network, the k-th allocation failing, for every k until none does
 * (for every third k from 200 on). Each time there must be an error, the network as it was, nothing
 * lost. Returns the last k. */
TEST_UNUSED static size_t each_allocation_fails(const bdpt_config *c, uint64_t seed,
                                                stripes_work *work, void *user) {
  bdpt_context own;
  bdpt_model *whole, *m;
  size_t k, base;
  int over = 0;
  memset(&own, 0, sizeof own);
  own.allocator.alloc = refusing_alloc;
  own.allocator.free = refusing_free;
  own.threads = 1;
  refused_at = 0;
  bdpt_init(&own);
  whole = model_of(&own, c, seed);
  for (k = 1; !over && k < 5000; k += k > 200 ? 3 : 1) {
    bdpt_status s;
    bdpt_finish(&own); /* the workspace of the kernels too is asked for again */
    m = bdpt_model_clone(whole);
    base = own.bytes_now;
    asked = 0;
    refused_at = k;
    s = work(m, user);
    over = asked < k;
    refused_at = 0;
    if (over) CHECK(s == BDPT_OK);
    else if (s == BDPT_OK) CHECK(own.status == BDPT_OK); /* a tape asked for its room again */
    else {
      CHECK(s == BDPT_E_MEMORY && own.status == BDPT_E_MEMORY);
      CHECK(same_weights(m, whole) && strcmp(m->certificate, whole->certificate) == 0);
      bdpt_finish(&own);
      CHECK(own.bytes_now == base);
    }
    bdpt_clear_error(&own);
    bdpt_model_free(m);
  }
  CHECK(over);
  bdpt_model_free(whole);
  bdpt_finish(&own);
  CHECK(own.bytes_now == 0);
  return k;
}

/* Computes logits[20][5] of held-out images. */
TEST_UNUSED static void logits_of(bdpt_model *m, bdpt_real *out) {
  static bdpt_real images[20 * 3 * SIDE * SIDE];
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_load_batch(m->ctx, &m->config, &held, 0, 20, images, NULL);
  CHECK(bdpt_predict(m, t, 20, images, out) == BDPT_OK);
  bdpt_tape_free(t);
}

#endif
