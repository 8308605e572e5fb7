/* A small world to train in: 60 images of 8 x 8 in 5 classes, two networks, two recipes, a context
 * that counts its allocations. Include after fixture.h. */
#ifndef WORLD_H
#define WORLD_H

static bdpt_context ctx;

enum { IMAGES = 60, CLASSES = 5, SIDE = 8 };
static bdpt_dataset data;
static bdpt_subset train, held;

/* Makes the images. A class is a bright quarter or the whole, with noise on top; a few steps learn
 * it. */
static void world_make(void) {
  size_t i, k;
  memset(&data, 0, sizeof data);
  data.count = IMAGES;
  data.classes = CLASSES;
  data.height = data.width = SIDE;
  data.pixels = (unsigned char *)bdpt_alloc(&ctx, (size_t)IMAGES * 3 * SIDE * SIDE);
  data.label = (unsigned short *)bdpt_alloc(&ctx, IMAGES * sizeof *data.label);
  for (i = 0; i < IMAGES; i++) {
    data.label[i] = (unsigned short)(i % CLASSES);
    for (k = 0; k < 3 * SIDE * SIDE; k++) {
      size_t y = k / SIDE % SIDE, x = k % SIDE, quarter = (y >= SIDE / 2) * 2u + (x >= SIDE / 2);
      int bright = i % CLASSES == 4 || i % CLASSES == quarter;
      data.pixels[i * 3 * SIDE * SIDE + k] =
          (unsigned char)((bright ? 160 : 40) + (int)(fixture_bits("world", i * 192 + k) >> 58));
    }
  }
  CHECK(bdpt_split(&ctx, &data, 2, 1, &train, &held) == BDPT_OK);
  CHECK(train.count == 50 && held.count == 10);
}

static void world_free(void) {
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_dataset_free(&ctx, &data);
}

TEST_UNUSED static bdpt_config small_config(int distilled) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 12;
  c.patch = 4;
  c.width = 12;
  c.depth = 3;
  c.heads = 2;
  c.mlp = 20;
  c.classes = CLASSES;
  c.distilled = distilled;
  return c;
}

static bdpt_model *small_model(int distilled, uint64_t seed) {
  bdpt_config c = small_config(distilled);
  bdpt_model *m = bdpt_model_create(&ctx, &c, seed);
  CHECK(m != NULL);
  return m;
}

/* Returns a recipe with everything on. */
TEST_UNUSED static bdpt_recipe full_recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 2;
  r.batch = 7;
  r.lr = 3e-3;
  r.warmup = 0.5;
  r.clip = 1;
  r.ema = 0.9;
  r.smoothing = 0.1;
  r.mixup = 0.8;
  r.cutmix = 1;
  r.crop = 1;
  r.flip = 1;
  r.erase = 0.25;
  r.repeats = 2;
  r.drop_path = 0.1;
  r.importance = 1;
  r.seed = 99;
  return r;
}

TEST_UNUSED static bdpt_recipe plain_recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 2;
  r.batch = 10;
  r.lr = 1e-3;
  r.seed = 3;
  return r;
}

/* Returns a whole checkpoint: equal bytes are equal weights, moments, averages and counters. */
TEST_UNUSED static bdpt_bytes freeze(bdpt_trainer *t) {
  bdpt_bytes b = {NULL, 0};
  CHECK(bdpt_trainer_build(t, &b) == BDPT_OK);
  return b;
}
TEST_UNUSED static int same(bdpt_bytes a, bdpt_bytes b) {
  return a.data && b.data && a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}
TEST_UNUSED static void drop(bdpt_bytes *b) { bdpt_bytes_free(&ctx, b); }

TEST_UNUSED static int steps(bdpt_trainer *t, int n) {
  bdpt_status s = BDPT_OK;
  while (n-- > 0 && s == BDPT_OK) s = bdpt_trainer_step(t, NULL);
  return s == BDPT_OK;
}

/* An allocator that counts, and refuses when told to. */
static long allocations, refuse_at = -1;
static void *count_alloc(void *user, size_t bytes) {
  (void)user;
  if (refuse_at >= 0 && allocations >= refuse_at) return NULL;
  allocations++;
  return malloc(bytes);
}
static void count_free(void *user, void *p, size_t bytes) {
  (void)user;
  (void)bytes;
  free(p);
}

/* Returns 1 if the recorded sentence contains `part`; forgets the error. */
static int says(const char *part) {
  int found = strstr(ctx.message, part) != NULL;
  if (!found) printf("  sentence: %s\n  wanted:   %s\n", ctx.message, part);
  bdpt_clear_error(&ctx);
  return found;
}

static void world_begin(void) {
  ctx.allocator.alloc = count_alloc;
  ctx.allocator.free = count_free;
  ctx.threads = 1; /* more where threads are the point: a team costs time on so small a network */
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  world_make();
}

static void world_end(void) {
  world_free();
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
}

#endif
