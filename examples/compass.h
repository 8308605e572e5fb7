/* =================================================================================================
 * compass.h: a problem small enough for a lesson
 * =================================================================================================
 * A picture of 16 x 16 pixels shows a red square and a blue square. The class is the direction from
 * red to blue: north, north-east, east, ... eight in all. No patch alone can know the answer, so
 * the network needs attention; and a direction is no linear function of two places, so it needs its
 * activations. A transformer with 37,000 parameters learns it in four seconds on one core.
 *
 * The lessons share this file so that each can be about one thing. Lesson 2 shows what
 * compass_network and compass_lesson do, line by line.
 */
#ifndef COMPASS_H
#define COMPASS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPASS_SIDE = 16, COMPASS_MARK = 5, COMPASS_WAYS = 8, COMPASS_COUNT = 8000 };

typedef struct compass {
  bdpt_dataset data;
  bdpt_subset train, held;             /* 7600 pictures to learn from, 400 held out */
  size_t first;                        /* number of the first picture; there is no last one */
  unsigned short label[COMPASS_COUNT];
} compass;

/* Returns the direction: 0 north, 1 north-east, 2 east ... 7 north-west; -1 if the squares are too
 * close or lie between two directions. */
static int compass_way(int east, int north) {
  int e = abs(east), n = abs(north);
  if (e + n < 6) return -1;
  if (3 * e <= n) return north > 0 ? 0 : 4;
  if (3 * n <= e) return east > 0 ? 2 : 6;
  if (2 * e < n || 2 * n < e) return -1;
  return north > 0 ? (east > 0 ? 1 : 7) : (east > 0 ? 3 : 5);
}

/* Draws from a linear congruential generator; its upper bits are good enough for squares. */
static int compass_random(uint64_t *state, int below) {
  *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int)((*state >> 33) % (uint64_t)below);
}

/* Draws picture `index` into planes[3][16][16]. The library calls this from several threads at
 * once, so it must depend on nothing but its arguments. */
static int compass_fetch(void *user, size_t index, unsigned char *planes) {
  const int room = COMPASS_SIDE - COMPASS_MARK + 1, area = COMPASS_SIDE * COMPASS_SIDE;
  uint64_t r = (uint64_t)(*(const size_t *)user + index) * 7919 + 1;
  int i, x, y, rx, ry, bx, by;
  for (i = 0; i < 3 * area; i++) planes[i] = (unsigned char)(100 + compass_random(&r, 40));
  do {
    rx = compass_random(&r, room); ry = compass_random(&r, room);
    bx = compass_random(&r, room); by = compass_random(&r, room);
  } while (compass_way(bx - rx, ry - by) != (int)(index % COMPASS_WAYS));
  for (y = 0; y < COMPASS_MARK; y++) {
    for (x = 0; x < COMPASS_MARK; x++) {
      planes[(ry + y) * COMPASS_SIDE + rx + x] = 250;              /* the red plane */
      planes[2 * area + (by + y) * COMPASS_SIDE + bx + x] = 250;   /* the blue plane */
    }
  }
  return 0;
}

/* Opens pictures first .. first + 7999, `first` being a multiple of 8; another range is another
 * data set. `c` is 16 kB and must stay where it is. */
static bdpt_status compass_open(bdpt_context *ctx, compass *c, size_t first) {
  int i;
  memset(c, 0, sizeof *c);
  for (i = 0; i < COMPASS_COUNT; i++) c->label[i] = (unsigned short)(i % COMPASS_WAYS);
  c->data.count = COMPASS_COUNT;
  c->data.classes = COMPASS_WAYS;
  c->data.height = c->data.width = COMPASS_SIDE;
  c->data.label = c->label;
  c->data.fetch = compass_fetch;
  c->data.user = &c->first;
  c->first = first;
  return bdpt_split(ctx, &c->data, 50, 1, &c->train, &c->held); /* 50 of each class are held out */
}

static void compass_close(bdpt_context *ctx, compass *c) {
  bdpt_subset_free(ctx, &c->train);
  bdpt_subset_free(ctx, &c->held);
}

/* The network of all lessons and the recipe that trains it. */
static void compass_setup(bdpt_config *config, bdpt_recipe *recipe) {
  memset(config, 0, sizeof *config);
  config->image = COMPASS_SIDE;
  config->patch = 4;
  config->width = 32;
  config->depth = 4;
  config->heads = 2;
  config->mlp = 64;
  config->classes = COMPASS_WAYS;
  memset(recipe, 0, sizeof *recipe);
  recipe->epochs = 5;
  recipe->batch = 50;
  recipe->lr = 4e-3;
  recipe->warmup = 1;
  recipe->seed = 1;
}

/* Returns a trained network, or NULL with the reason in ctx->message. */
static inline bdpt_model *compass_network(bdpt_context *ctx, const compass *c) {
  const bdpt_run run = {&c->train, NULL, NULL};
  bdpt_config config;
  bdpt_recipe recipe;
  bdpt_model *model;
  compass_setup(&config, &recipe);
  model = bdpt_model_create(ctx, &config, 1);
  if (!model) return NULL;
  if (bdpt_train(model, NULL, &run, &recipe, NULL) == BDPT_OK) return model;
  bdpt_model_free(model);
  return NULL;
}

/* Gives a lesson: a context, the pictures, and what went wrong, if anything did. Returns the exit
 * status for main; lesson 2 has all of this in its own. */
static inline int compass_lesson(bdpt_status (*lesson)(bdpt_context *ctx, const compass *c)) {
  static bdpt_context ctx;
  static compass c;
  bdpt_status status;
  ctx.threads = 1; /* a network as small as this one gains nothing from more */
  status = bdpt_init(&ctx);
  if (status == BDPT_OK) status = compass_open(&ctx, &c, 0);
  if (status == BDPT_OK) status = lesson(&ctx, &c);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  compass_close(&ctx, &c);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}

#endif /* COMPASS_H */
