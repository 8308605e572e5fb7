/* Checks of what the interface does not show: augmentation, the parts of a training step, the plans
 * of the method, its solver. This program compiles the implementation into itself and so sees the
 * private names. The vector kernels have test_kernels.c, what lies below the reader of files
 * test_bytes.c; everything else is tested through the library as users link it. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_STUDIES_IMPLEMENTATION
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"
#include "kernels.h"
#include "fixture.h"
#include "world.h"

/* ---- Memory and random numbers --------------------------------------------------------------- */

/* Every network and every resumed run hangs on the generator's numbers: a changed generator changes
 * them all. */
TEST(the_generator_stays) {
  bdpt_rng r;
  CHECK(bdpti_mix64(0) == 0 && bdpti_mix64(1) == UINT64_C(0x5692161d100b05e5));
  CHECK(bdpti_hash(0, 0, 0) == UINT64_C(0x45cec29cd9a24e4b));
  CHECK(bdpti_hash(1, 2, 3) == UINT64_C(0x3dd75d50e0248f35));
  CHECK(bdpti_hash(UINT64_MAX, 7, 1u << 20) == UINT64_C(0x4d2876debf6728e1));
  bdpt_rng_seed(&r, 5, 6);
  CHECK(bdpti_next(&r) == bdpti_mix64(bdpti_hash(5, 6, 0) + UINT64_C(0x9e3779b97f4a7c15)));
  CHECK_CLOSE(bdpt_uniform(&r), 0.71422080819554523, 1e-15);
  CHECK_CLOSE(bdpt_normal(&r), -0.8134795591431524, 1e-12);
  CHECK(bdpti_below(&r, 1000) == 320 && bdpti_below(&r, 1) == 0);
  bdpt_rng_seed(&r, 5, 6);
  CHECK_CLOSE(bdpti_gamma(&r, 2.5), 1.8697021817534365, 1e-12);
  CHECK_CLOSE(bdpti_gamma(&r, 0.3), 0.072483145995980505, 1e-13);
  CHECK_CLOSE(bdpti_beta(&r, 0.8, 1.7), 0.60344711545271956, 1e-12);
}

/* The weights of a new network: each parameter has a stream of its own, which must not change. */
TEST(a_new_network_stays) {
  bdpt_config c;
  bdpt_model *m;
  int k;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 8; c.heads = 2; c.mlp = 12; c.depth = 2; c.classes = 3;
  m = bdpt_model_create(&ctx, &c, 1);
  if (!CHECK(m != NULL)) return;
  CHECK_CLOSE(m->param[BDPT_SLOT_CLS].data[0], -0.009954398375, 1e-8);
  CHECK_CLOSE(m->param[BDPT_SLOT_PATCH_W].data[5], 0.006700516674, 1e-8);
  CHECK_CLOSE(m->param[BDPT_SLOT_HEAD_W].data[7], -0.007400461032, 1e-8);
  CHECK_CLOSE(m->param[BDPT_SLOT(0, BDPT_SLOT_QKV_W)].data[3], 0.002010546175, 1e-8);
  CHECK_CLOSE(m->param[BDPT_SLOT(1, BDPT_SLOT_FC2_W)].data[11], -0.01626057753, 1e-8);
  bdpt_model_free(m);
  for (k = 0; k < 2; k++) {
    c.distilled = k; c.registers = !k;
    m = bdpt_model_create(&ctx, &c, 2);
    if (!CHECK(m != NULL)) return;
    CHECK_CLOSE(m->param[k ? BDPT_SLOT_HEAD2_W : BDPT_SLOT_REG].data[1],
                k ? -0.01063181023 : -0.009636656379, 1e-8);
    bdpt_model_free(m);
  }
}

/* The plain softmax takes the largest away first, wherever it stands. */
TEST(softmax_of_large_numbers) {
  const double x[3][2] = {{0, 2000}, {2000, 0}, {-2000, -2000}};
  double y[2];
  CHECK(bdpti_softmax_plain(2, x[0], y) == 2000 && y[0] == 0 && y[1] == 1);
  CHECK(bdpti_softmax_plain(2, x[1], y) == 2000 && y[0] == 1 && y[1] == 0);
  CHECK_CLOSE(bdpti_softmax_plain(2, x[2], y), -2000 + log(2.0), 1e-12);
  CHECK(y[0] == 0.5 && y[1] == 0.5);
}

/* A number that is not finite is found wherever it stands among the sums of a fit. */
TEST(sums_not_finite) {
  double sum[7 * 5] = {0};
  bdpti_gram g = {3, NULL, NULL};
  size_t i;
  int wrong = 0;
  g.sum = sum;
  CHECK(bdpti_gram_finite(&g));
  for (i = 0; i < 35; i++) {
    sum[i] = i % 2 ? (double)NAN : (double)INFINITY;
    wrong += bdpti_gram_finite(&g);
    sum[i] = 1e300;
  }
  CHECK(wrong == 0 && bdpti_gram_finite(&g));
}

/* Computes the key of a state, which belongs to one network, one phase, its options, and every
 * image of both kinds. */
static uint64_t state_key(const bdpt_model *m, const bdpt_subset *on, const char *phase,
                          int option) {
  bdpt_run run = {&train, NULL, NULL};
  bdpt_study s;
  uint64_t key = 0;
  run.held = on;
  bdpt_study_open(&s, m, &run, phase, &option, sizeof option, 4);
  CHECK(s.status == BDPT_OK && s.word != NULL);
  if (s.word) memcpy(&key, s.word, sizeof key);
  bdpt_study_close(&s);
  return key;
}
TEST(states_know_their_images) {
  bdpt_model *m = small_model(0, 3);
  size_t index[10], i, k;
  bdpt_subset other = held;
  uint64_t key = state_key(m, &held, "map", 1);
  CHECK(held.count == 10 && key == state_key(m, &held, "map", 1));
  CHECK(key != state_key(m, &held, "search", 1) && key != state_key(m, &held, "map", 2));
  CHECK(state_key(m, &held, "disparity", 1) != state_key(m, &train, "disparity", 1));
  train.index[train.count - 1]++;
  CHECK(key != state_key(m, &held, "map", 1));
  train.index[train.count - 1]--;
  for (i = 0; i < 10; i++) {
    for (k = 0; k < 10; k++) index[k] = held.index[k] + (k == i);
    other.index = index;
    CHECK(key != state_key(m, &other, "map", 1));
  }
  m->param[BDPT_SLOT_CLS].data[0] += 1;
  CHECK(key != state_key(m, &held, "map", 1));
  bdpt_model_free(m);
}

/* Erasing takes between a fiftieth and a third of the area, of an aspect of 0.3 to 1 / 0.3. */
TEST(erases_as_much_as_it_draws) {
  static bdpt_real image[3 * 100 * 100];
  int seed, wrong = 0, fitted = 0, oblong = 0;
  for (seed = 0; seed < 20; seed++) {
    double target, aspect, h, w;
    bdpt_rng r, q, before;
    size_t i, changed = 0;
    bdpt_rng_seed(&r, 9, (uint64_t)seed);
    before = q = r;
    target = 10000 * (0.02 + (1 / 3.0 - 0.02) * bdpt_uniform(&q));
    aspect = exp(log(0.3) * (1 - 2 * bdpt_uniform(&q)));
    h = floor(sqrt(target * aspect) + 0.5); w = floor(sqrt(target / aspect) + 0.5);
    if (h >= 100 || w >= 100) continue; /* it draws again */
    memset(image, 0, sizeof image);
    bdpti_erase(image, 100, 100, &r);
    for (i = 0; i < 30000; i++) changed += image[i] != 0;
    wrong += changed != (size_t)(3 * h * w);
    fitted++;
    if (h >= 50 || w >= 200) continue;
    memset(image, 0, sizeof image);
    r = before;
    bdpti_erase(image, 50, 200, &r); /* the same area of an image that is no square */
    for (i = 0, changed = 0; i < 30000; i++) changed += image[i] != 0;
    wrong += changed != (size_t)(3 * h * w);
    oblong++;
  }
  CHECK(wrong == 0 && fitted > 10 && oblong > 3);
}

/* A crop alone moves images, and none leaves them as they are. */
TEST(crops_without_mirrors) {
  static bdpt_real image[3][12 * 3 * 144];
  bdpt_model *m = small_model(0, 1);
  bdpt_recipe r;
  bdpti_loader l;
  int k, labels[12];
  memset(&r, 0, sizeof r);
  CHECK(bdpti_loader_make(&ctx, &m->config, &train, 12, &l) == BDPT_OK);
  for (k = 0; k < 3; k++) {
    r.crop = k == 2;
    l.recipe = k ? &r : NULL;
    CHECK(bdpti_load(&l, train.index, 12, 1, 0, image[k], labels) == BDPT_OK);
  }
  CHECK(memcmp(image[0], image[1], sizeof image[0]) == 0);
  CHECK(memcmp(image[0], image[2], sizeof image[0]) != 0);
  bdpti_arena_free(&l.arena);
  bdpt_model_free(m);
}

/* The parameter is so small that as a rule both Gamma draws underflow to zero. */
TEST(draws_that_underflow) {
  bdpt_rng r;
  int i, middle = 0, wrong = 0;
  bdpt_rng_seed(&r, 7, 8);
  for (i = 0; i < 100; i++) {
    double b = bdpti_beta(&r, 1e-4, 1e-4);
    wrong += !(b >= 0 && b <= 1);
    middle += b == 0.5;
  }
  CHECK(wrong == 0 && middle > 50 && middle < 100);
}

static int rising(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Returns the largest distance between the distribution of n draws and `cdf`, times the root of n;
 * above 1.63 with a probability of one in a hundred (Kolmogorov and Smirnov). */
static double distance_of(double *draw, int n, double (*cdf)(double)) {
  double most = 0;
  int i;
  qsort(draw, (size_t)n, sizeof *draw, rising);
  for (i = 0; i < n; i++) {
    most = fmax(most, fabs(cdf(draw[i]) - (double)i / n));
    most = fmax(most, fabs(cdf(draw[i]) - (double)(i + 1) / n));
  }
  return most * sqrt((double)n);
}
static double exponential(double x) { return 1 - exp(-x); }           /* Gamma(1) */
static double two_steps(double x) { return 1 - exp(-x) * (1 + x); }   /* Gamma(2) */
static double half_normal(double x) { return erf(sqrt(x)); }          /* Gamma(1/2) */
static double even(double x) { return x; }                            /* Beta(1, 1) */
static double normal(double x) { return 0.5 * (1 + erf(x / sqrt(2.0))); }

TEST(draws_have_their_distributions) {
  enum { N = 40000 };
  static double x[N];
  bdpt_rng r;
  int i;
  bdpt_rng_seed(&r, 11, 12);
  for (i = 0; i < N; i++) x[i] = bdpti_gamma(&r, 1);
  CHECK(distance_of(x, N, exponential) < 1.63);
  for (i = 0; i < N; i++) x[i] = bdpti_gamma(&r, 2);
  CHECK(distance_of(x, N, two_steps) < 1.63);
  for (i = 0; i < N; i++) x[i] = bdpti_gamma(&r, 0.5);
  CHECK(distance_of(x, N, half_normal) < 1.63);
  for (i = 0; i < N; i++) x[i] = bdpti_beta(&r, 1, 1);
  CHECK(distance_of(x, N, even) < 1.63);
  for (i = 0; i < N; i++) x[i] = bdpt_normal(&r);
  CHECK(distance_of(x, N, normal) < 1.63);
}

/* Every block and every piece of an arena begins at a multiple of 64 and is the caller's alone,
 * whatever the allocator's pointers are. */
static void *skewed_alloc(void *user, size_t bytes) {
  char *raw = (char *)malloc(bytes + 128), *p = raw;
  if (!raw) return NULL;
  p += 64 - ((uintptr_t)p & 63) + 8 + 8 * ((*(size_t *)user)++ % 7);
  memcpy(p - sizeof raw, &raw, sizeof raw);
  return p;
}
static void skewed_free(void *user, void *p, size_t bytes) {
  char *raw;
  (void)user;
  (void)bytes;
  memcpy(&raw, (char *)p - sizeof raw, sizeof raw);
  free(raw);
}

TEST(blocks_are_aligned) {
  bdpt_context own;
  size_t turn = 0, n, k;
  bdpti_arena a;
  unsigned char *last = NULL;
  memset(&own, 0, sizeof own);
  own.allocator.alloc = skewed_alloc; own.allocator.free = skewed_free; own.allocator.user = &turn;
  for (n = 0; n < 9; n++) {
    unsigned char *p = (unsigned char *)bdpt_alloc(&own, 100 + n);
    CHECK(p && ((uintptr_t)p & 63) == 0);
    for (k = 0; k < 100 + n; k++) {
      if (p[k]) break;
    }
    CHECK(k == 100 + n && own.bytes_now == 100 + n);
    memset(p, 255, 100 + n);
    bdpt_release(&own, p, 100 + n);
    CHECK(own.bytes_now == 0);
  }
  memset(&a, 0, sizeof a);
  a.ctx = &own;
  for (n = 1; n < 200; n += 7) {
    unsigned char *p = (unsigned char *)bdpti_arena_take(&a, n, 1);
    CHECK(p && ((uintptr_t)p & 63) == 0 && (!last || p >= last));
    last = p + n;
  }
  CHECK(bdpti_arena_take(&a, 1, SIZE_MAX - 10) == NULL && own.status == BDPT_E_MEMORY);
  bdpti_arena_free(&a);
  CHECK(own.bytes_now == 0);
}

/* ---- Augmentation ---------------------------------------------------------------------------- */

TEST(crop_and_flip) {
  unsigned char in[3 * 2 * 3], out[3 * 2 * 3];
  static const unsigned char right_down[6] = {0, 0, 0, 0, 1, 2}, flipped[6] = {3, 2, 1, 6, 5, 4};
  static const unsigned char both[6] = {0, 6, 5, 0, 0, 0};
  int i;
  for (i = 0; i < 18; i++) in[i] = (unsigned char)(i + 1);
    /* Offset 0 of a padding of 1 shows the border: the image moves right and down. */
  bdpti_crop_flip(in, 2, 3, -1, -1, 0, out);
  CHECK(memcmp(out, right_down, 6) == 0);
  bdpti_crop_flip(in, 2, 3, 0, 0, 0, out);
  CHECK(memcmp(out, in, 18) == 0);
  bdpti_crop_flip(in, 2, 3, 0, 0, 1, out);
  CHECK(memcmp(out, flipped, 6) == 0);
  CHECK(out[12] == 15);
  bdpti_crop_flip(in, 2, 3, 1, 1, 1, out);
  CHECK(memcmp(out, both, 6) == 0);
}

TEST(erasing) {
  static bdpt_real image[3 * 48 * 48];
  const int trials = 2000;
  double share = 0, sum = 0, square = 0, count = 0;
  int i, k, y, x, outside = 0;
  for (i = 0; i < trials; i++) {
    bdpt_rng r = bdpti_draws(5, BDPTI_DRAW_IMAGE, 0, (size_t)i);
    int top = 48, bottom = 0, left = 48, right = 0, erased = 0;
    for (k = 0; k < 3 * 2304; k++) image[k] = 99;
    bdpti_erase(image, 48, 48, &r);
    for (y = 0; y < 48; y++) {
      for (x = 0; x < 48; x++) {
        double v = (double)image[2304 + y * 48 + x];
        if (v == 99) continue;
        erased++;
        sum += v;
        square += v * v;
        if (y < top) top = y;
        if (y > bottom) bottom = y;
        if (x < left) left = x;
        if (x > right) right = x;
      }
    }
    count += erased;
    if (erased != (bottom - top + 1) * (right - left + 1)) outside++; /* not a full rectangle */
    if (erased > 2304 / 3 + 48) outside++;
    share += erased / 2304.0;
  }
  CHECK(outside == 0);
    /* Uniform area in [0.02, 1/3]: mean 0.177, deviation 0.09 / sqrt(2000); sides are rounded and
       long thin boxes are redrawn, which costs a little. */
  CHECK_CLOSE(share / trials, 0.175, 0.012);
  CHECK_CLOSE(sum / count, 0, 5 / sqrt(count));
  CHECK_CLOSE(square / count, 1, 5 * sqrt(2 / count));
}

static bdpt_config augmented_config(void) {
  bdpt_config c = small_config(0);
  c.image = 48;
  bdpt_config_resolve(&ctx, &c);
  return c;
}

/* The augmented batch depends on seed, epoch and position, and on nothing else. */
TEST(same_for_all_threads) {
  bdpt_config c = augmented_config();
  bdpt_recipe r;
  size_t index[10], each = 3 * 48 * 48, k;
  static bdpt_real first[10 * 3 * 48 * 48], images[10 * 3 * 48 * 48];
  int threads, keep = ctx.threads;
  memset(&r, 0, sizeof r);
  r.crop = 4;
  r.flip = 1;
  r.erase = 0.5;
  r.seed = 11;
  bdpt_recipe_resolve(&r);
  for (k = 0; k < 10; k++) index[k] = 3 * k;
  for (threads = 1; threads <= 3; threads++) {
    bdpti_loader l;
    bdpt_subset chosen = {&data, index, 10};
    ctx.threads = threads;
    CHECK(bdpti_loader_make(&ctx, &c, &chosen, 10, &l) == BDPT_OK);
    l.recipe = &r;
    CHECK(bdpti_load(&l, index, 10, 2, 30, threads == 1 ? first : images, NULL) == BDPT_OK);
    if (threads > 1) CHECK(memcmp(first, images, sizeof images) == 0);
    if (threads == 3) {
        /* The same positions in two batches; another position; another epoch. */
      CHECK(bdpti_load(&l, index + 4, 3, 2, 34, images, NULL) == BDPT_OK);
      CHECK(memcmp(first + 4 * each, images, 3 * each * sizeof *images) == 0);
      CHECK(bdpti_load(&l, index + 4, 3, 2, 35, images, NULL) == BDPT_OK);
      CHECK(memcmp(first + 4 * each, images, each * sizeof *images) != 0);
      CHECK(bdpti_load(&l, index + 4, 3, 3, 34, images, NULL) == BDPT_OK);
      CHECK(memcmp(first + 4 * each, images, 3 * each * sizeof *images) != 0);
    }
    bdpti_arena_free(&l.arena);
  }
  ctx.threads = keep;
}

/* ---- The parts of a step --------------------------------------------------------------------- */

/* Makes seven steps through the optimiser's kernel with the recipe's own constants. */
static void seven_steps(const char *group, int decays) {
  char name[60];
  size_t n = 0, k;
  int s;
  double *lr = fixture_doubles("adamw.lr", "", NULL), *start, *grad, *wd, number[6];
  bdpt_real p[8], g[8], m[8], v[8];
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  memset(m, 0, sizeof m);
  memset(v, 0, sizeof v);
  bdpt_recipe_resolve(&r);
  wd = fixture_doubles("adamw.weight_decay", "", NULL);
  snprintf(name, sizeof name, "adamw.%s.", group);
  start = fixture_doubles(name, "start", &n);
  CHECK(fixture_number("adamw.eps", "") == r.adam_eps && n <= 8);
  for (k = 0; k < n; k++) p[k] = (bdpt_real)start[k];
  for (s = 0; s < 7; s++) {
    snprintf(name, sizeof name, "adamw.%s.grad.%d", group, s);
    grad = fixture_doubles(name, "", NULL);
    for (k = 0; k < n; k++) g[k] = (bdpt_real)grad[k];
    free(grad);
    number[0] = lr[s]; number[1] = r.beta1; number[2] = r.beta2; number[3] = r.adam_eps;
    number[4] = decays ? wd[s] : 0.0; number[5] = s + 1;
    run_adamw(&ctx, n, number, p, g, m, v);
    snprintf(name, sizeof name, "adamw.%s.after.%d", group, s);
    fixture_check(p, n, name, "");
  }
  snprintf(name, sizeof name, "adamw.%s.", group);
  fixture_check(m, n, name, "m");
  fixture_check(v, n, name, "v");
  free(lr);
  free(wd);
  free(start);
}

TEST(optimiser_as_pytorch) {
  char name[40];
  int i, j;
  size_t k;
  if (!fixture_open(&ctx, "tests/fixtures/optim.safetensors")) return;
  seven_steps("decayed", 1);
  seven_steps("plain", 0);
  for (i = 0; i < 3; i++) {
    double sum = 0, limit, factor;
    bdpt_real g[3][12];
    size_t n[3];
    for (j = 0; j < 3; j++) {
      double *v;
      snprintf(name, sizeof name, "clip.%d.grad.%d", i, j);
      v = fixture_doubles(name, "", &n[j]);
      for (k = 0; k < n[j]; k++) g[j][k] = (bdpt_real)v[k];
      sum += bdpti_dot(&ctx, n[j], g[j], g[j], NULL);
      free(v);
    }
    snprintf(name, sizeof name, "clip.%d.", i);
    limit = fixture_number(name, "max_norm");
    CHECK_CLOSE(sqrt(sum), fixture_number(name, "norm"), FIXTURE_TOLERANCE * (1 + sqrt(sum)));
    factor = bdpti_clip_factor(sqrt(sum), limit);
    for (j = 0; j < 3; j++) {
      if (factor < 1) bdpti_axpby(&ctx, n[j], (bdpt_real)factor, g[j], 0, NULL, g[j]);
      snprintf(name, sizeof name, "clip.%d.clipped.%d", i, j);
      fixture_check(g[j], n[j], name, "");
    }
  }
  CHECK(bdpti_clip_factor(5, 0) == 1 && bdpti_clip_factor(5, 10) == 1);
  {
    double *start = fixture_doubles("ema.start", "", NULL), decay = fixture_number("ema.decay", "");
    bdpt_real average[6], w[6];
    for (k = 0; k < 6; k++) average[k] = (bdpt_real)start[k];
    for (i = 0; i < 5; i++) {
      double *v;
      snprintf(name, sizeof name, "ema.weight.%d", i);
      v = fixture_doubles(name, "", NULL);
      for (k = 0; k < 6; k++) w[k] = (bdpt_real)v[k];
      bdpti_axpby(&ctx, 6, (bdpt_real)decay, average, (bdpt_real)(1 - decay), w, average);
      snprintf(name, sizeof name, "ema.after.%d", i);
      fixture_check(average, 6, name, "");
      free(v);
    }
    free(start);
  }
  fixture_close();
}

TEST(mixing_as_timm) {
  size_t n = 0, i, rows;
  double *box, *in, *want, worst = 0;
  bdpt_real images[4 * 90];
  bdpti_mixing m;
  int bad = 0;
  if (!fixture_open(&ctx, "tests/fixtures/schedule.safetensors")) return;
  box = fixture_doubles("cutmix.boxes", "", &n);
  rows = n / 15;
  CHECK(rows == 84);
  for (i = 0; i < rows; i++) {
    const double *b = box + 15 * i;
    memset(&m, 0, sizeof m);
    bdpti_cut_box((int)b[0], (int)b[1], b[2], (int)b[3], (int)b[4], &m);
    bad += m.y0 != b[5] || m.y1 != b[6] || m.x0 != b[7] || m.x1 != b[8];
    bad += fabs(m.lam - b[9]) > 1e-15;
  }
  CHECK(bad == 0);
  in = fixture_doubles("mix.input", "", &n);
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  memset(&m, 0, sizeof m);
  m.lam = fixture_number("mix.lam", "");
  bdpti_mix_images(&m, 2, 4, 6, 5, images);
  fixture_check(images, n, "mix.mixup", "");
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  want = fixture_doubles("mix.box", "", NULL);
  m.cut = 1;
  m.y0 = (int)want[0]; m.y1 = (int)want[1]; m.x0 = (int)want[2]; m.x1 = (int)want[3];
  free(want);
  bdpti_mix_images(&m, 2, 4, 6, 5, images);
  want = fixture_doubles("mix.cutmix", "", NULL);
  for (i = 0; i < n; i++) worst = fmax(worst, fabs((double)images[i] - want[i]));
  CHECK(worst == 0);
    /* Three images: the middle one stays. */
  for (i = 0; i < n; i++) images[i] = (bdpt_real)in[i];
  m.cut = 0;
  bdpti_mix_images(&m, 1, 3, 6, 5, images);
  CHECK((double)images[90] == in[90] && (double)images[179] == in[179]);
  CHECK_CLOSE(images[0], in[0] * m.lam + in[180] * (1 - m.lam), 1e-6);
  free(want);
  free(in);
  free(box);
  fixture_close();
}

TEST(mixed_targets) {
  static const int labels[3] = {0, 2, 3};
  bdpt_real t[12];
  double sum = 0;
  int i;
  bdpti_mix_targets(labels, 3, 4, 0.75, 0.2, t);
  CHECK_CLOSE(t[0], 0.75 * 0.85 + 0.25 * 0.05, 1e-7); /* its own class */
  CHECK_CLOSE(t[3], 0.25 * 0.85 + 0.75 * 0.05, 1e-7); /* its partner's */
  CHECK_CLOSE(t[1], 0.05, 1e-7);
  CHECK_CLOSE(t[4 + 2], 0.85, 1e-7);                  /* the middle one is its own partner */
  CHECK_CLOSE(t[8 + 3], 0.75 * 0.85 + 0.25 * 0.05, 1e-7);
  for (i = 0; i < 12; i++) sum += (double)t[i];
  CHECK_CLOSE(sum, 3, 1e-6);
}

TEST(mixing_draws) {
  bdpt_recipe r = plain_recipe();
  int i, mixed = 0, cut = 0, n = 4000, odd = 0;
  double lam = 0, square = 0;
  bdpt_recipe_resolve(&r);
  for (i = 0; i < 10; i++) {
    bdpt_rng rng = bdpti_draws(1, BDPTI_DRAW_MIX, 0, (size_t)i);
    if (bdpti_mix_draw(&r, 12, 12, &rng).lam != 1) odd++;
  }
  CHECK(odd == 0);
  r.mixup = 0.8;
  r.cutmix = 1;
  r.switch_prob = 0.25;
  r.mix_prob = 0.8;
  for (i = 0; i < n; i++) {
    bdpt_rng rng = bdpti_draws(1, BDPTI_DRAW_MIX, 0, (size_t)i);
    bdpti_mixing m = bdpti_mix_draw(&r, 12, 12, &rng);
    if (m.lam == 1 && !m.cut) continue;
    mixed++;
    if (m.cut) {
      cut++;
      if (fabs(m.lam - (1 - (m.y1 - m.y0) * (m.x1 - m.x0) / 144.0)) > 1e-12) odd++;
    } else {
      lam += m.lam;
      square += m.lam * m.lam;
    }
  }
  CHECK(odd == 0);
  CHECK_CLOSE(mixed / (double)n, 0.8, 5 * sqrt(0.16 / n));
  CHECK_CLOSE(cut / (double)mixed, 0.25, 5 * sqrt(0.1875 / mixed));
    /* Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)). */
  lam /= mixed - cut;
  square = square / (mixed - cut) - lam * lam;
  CHECK_CLOSE(lam, 0.5, 5 * sqrt(0.0962 / (mixed - cut)));
  CHECK_CLOSE(square, 0.25 / 2.6, 0.01);
}

TEST(accuracy_by_hand) {
  static const bdpt_real z[8] = {1, 3, 2, 3, 0, -1, 5, 3}, flat[8] = {2, 2, 2, 2, 2, 2, 2, 2};
  bdpt_real bad[8];
  double zero = 0, total = 0;
  bdpt_accuracy a;
  int k;
  memset(&a, 0, sizeof a);
  for (k = 0; k < 8; k++) total += exp((double)z[k]);
  CHECK(bdpti_judge_row(z, 8, 6, &a) && a.top1 == 1 && a.top5 == 1);
  CHECK_CLOSE(a.loss, log(total) - 5, 1e-12);
  CHECK(bdpti_judge_row(z, 8, 1, &a) && a.top1 == 1 && a.top5 == 2); /* rank 1 */
  CHECK(bdpti_judge_row(z, 8, 7, &a) && a.top5 == 3);                /* rank 3: ties go by index */
  CHECK(bdpti_judge_row(z, 8, 0, &a) && a.top5 == 3);                /* rank 5 */
  for (memset(&a, 0, sizeof a), k = 0; k < 8; k++) CHECK(bdpti_judge_row(flat, 8, k, &a));
  CHECK(a.top1 == 1 && a.top5 == 5);
  for (k = 0; k < 8; k++) bad[k] = z[k];
  bad[3] = (bdpt_real)(zero / zero);
  CHECK(!bdpti_judge_row(bad, 8, 6, &a));
  bad[3] = (bdpt_real)(1 / zero);
  CHECK(!bdpti_judge_row(bad, 8, 6, &a));
}

TEST(order_of_images) {
  bdpt_model *m = small_model(0, 1);
  bdpt_recipe r = plain_recipe();
  bdpt_trainer *t;
  int seen[IMAGES], i, k, bad = 0;
  size_t first[10];
  r.batch = 7;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 7 && bdpt_trainer_steps_done(t) == 0);
    /* Without repeats an epoch shows no image twice, and only images of the subset. */
  memset(seen, 0, sizeof seen);
  for (i = 0; i < 7; i++) {
    bdpti_trainer_pick(t, 0, (size_t)i * 7);
    for (k = 0; k < 7; k++) bad += seen[t->picked[k]]++;
  }
  for (i = 0; i < (int)held.count; i++) bad += seen[held.index[i]];
  CHECK(bad == 0);
  bdpti_trainer_pick(t, 0, 0);
  memcpy(first, t->picked, 7 * sizeof *first);
  bdpti_trainer_pick(t, 1, 0);
  CHECK(memcmp(first, t->picked, 7 * sizeof *first) != 0);
  bdpti_trainer_pick(t, 0, 0);
  CHECK(memcmp(first, t->picked, 7 * sizeof *first) == 0);
  bdpt_trainer_free(t);
    /* Three repeats: runs of three, across batch borders too. */
  r.repeats = 3;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  bdpti_trainer_pick(t, 0, 0);
  CHECK(t->picked[0] == first[0] && t->picked[2] == first[0] && t->picked[3] == first[1]);
  CHECK(t->picked[6] == first[2]);
  bdpti_trainer_pick(t, 0, 7);
  CHECK(t->picked[0] == first[2] && t->picked[1] == first[2] && t->picked[2] == first[3]);
  bdpt_trainer_free(t);
    /* A short epoch, and a batch larger than the epoch. */
  r.epoch_images = 30;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 4);
  bdpt_trainer_free(t);
  r.batch = 64;
  t = bdpt_trainer_create(m, NULL, &train, &r);
  CHECK(bdpt_trainer_steps_per_epoch(t) == 1 && t->batch == 30);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* Compares one step of the trainer with the same step built from public calls and the formulas. */
static void step_by_hand(int distilled, int distill, double features) {
  bdpt_model *m = small_model(distilled, 21), *mine, *teacher = small_model(1, 22);
  bdpt_recipe r = plain_recipe();
  bdpt_forward_options o;
  bdpt_trainer *t;
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tensor *images, *logits, *second = NULL, *loss, *stream[64], *theirs[64];
  static bdpt_real targets[10 * CLASSES];
  double value = 0, worst = 0, norm = 0, moved = 0, lr;
  size_t shape[4] = {10, 3, 12, 12}, k;
  int i;
  r.batch = 10;
  r.smoothing = 0.1;
  r.clip = 0.05;
  r.weight_decay = 0.3;
  r.lr = 0.01;
  r.distill = distill;
  r.distill_alpha = 0.3;
  r.distill_tau = 2;
  r.distill_features = features;
  mine = bdpt_model_clone(m);
  t = bdpt_trainer_create(m, teacher, &train, &r);
  t->now.step = 2; /* 0.4 epochs from the start: the rate has begun to fall */
  lr = bdpt_schedule(&t->recipe, 0.4);
  CHECK(lr < 0.0099 && lr > 0.005);
  CHECK(bdpt_trainer_step(t, &value) == BDPT_OK);
  CHECK_CLOSE(bdpti_trainer_norm(t), 0.05, 1e-6); /* gradients are clipped where they are */
    /* The trainer's images are the input here too: what loads them has tests of its own. */
  bdpt_model_train_mode(mine);
  memset(&o, 0, sizeof o);
  o.training = 1;
  o.blocks = stream;
  images = bdpt_input(tape, 4, shape, t->images, 0);
  logits = bdpt_forward(mine, tape, images, &o, &second);
  CHECK((second != NULL) == distilled);
  for (k = 0; k < 10 * CLASSES; k++) {
    targets[k] = (bdpt_real)(t->labels[k / CLASSES] == (int)(k % CLASSES) ? 0.92 : 0.02);
  }
  if (distill == BDPT_DISTILL_NONE) {
    if (distilled) logits = bdpt_scale(tape, bdpt_add(tape, logits, second), 0.5);
    loss = bdpt_cross_entropy(tape, logits, targets);
  } else {
    static bdpt_real answer[10 * CLASSES];
    bdpt_tape *quiet = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
    bdpt_tensor *student = distilled ? second : logits;
    CHECK(bdpt_predict(teacher, quiet, 10, t->images, answer) == BDPT_OK);
    bdpt_tape_free(quiet);
    loss = bdpt_scale(tape, bdpt_cross_entropy(tape, logits, targets), 0.7);
    if (distill == BDPT_DISTILL_HARD) {
      for (i = 0; i < 10; i++) {
        int c, best = 0;
        for (c = 1; c < CLASSES; c++) {
          if (answer[i * CLASSES + c] > answer[i * CLASSES + best]) best = c;
        }
        for (c = 0; c < CLASSES; c++) answer[i * CLASSES + c] = (bdpt_real)(c == best);
      }
      student = bdpt_cross_entropy(tape, student, answer);
    } else {
      student = bdpt_distill_soft(tape, student, answer, 2);
    }
    loss = bdpt_add(tape, loss, bdpt_scale(tape, student, 0.3));
    o.training = 0; /* the teacher's streams, here from a tape that keeps everything */
    o.blocks = theirs;
    if (features > 0) CHECK(bdpt_forward(teacher, tape, images, &o, NULL) != NULL);
    for (i = 0; i < mine->config.depth && features > 0; i++) {
      student = bdpt_match(tape, stream[i], theirs[i]);
      loss = bdpt_add(tape, loss, bdpt_scale(tape, student, features / mine->config.depth));
    }
  }
  CHECK(bdpt_backward(tape, loss, NULL) == BDPT_OK);
  CHECK_CLOSE(value, loss->data[0], 1e-6);
  for (i = 0; i < mine->slots; i++) {
    for (k = 0; mine->param[i].data && k < mine->param[i].count; k++) {
      norm += (double)mine->param[i].grad[k] * (double)mine->param[i].grad[k];
    }
  }
  CHECK((norm = sqrt(norm)) > 0.05);
  for (i = 0; i < mine->slots; i++) {
    bdpt_tensor *p = &mine->param[i];
    double decay = bdpt_model_decays(mine, i) ? 0.3 : 0;
    for (k = 0; p->data && k < p->count; k++) {
      double w = (double)p->data[k], g = (double)p->grad[k] * 0.05 / (norm + 1e-6), off;
        /* At t = 1 both corrected moments are g and g^2. Where |g| is near eps its rounding decides
           the step, so such weights only need to stay within lr. */
      double want = w * (1 - lr * decay) - lr * g / (fabs(g) + 1e-8);
      off = fabs((double)m->param[i].data[k] - want);
      if (fabs(g) < 1e-5) off = fabs((double)m->param[i].data[k] - w) > 0.0201 ? 1 : 0;
      if (!(off <= worst)) worst = off;
      moved += (double)m->param[i].data[k] != w;
    }
  }
  CHECK(moved > 1000);
  CHECK_CLOSE(worst, 0, sizeof(bdpt_real) == 8 ? 1e-9 : 1e-4);
  bdpt_tape_free(tape);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  bdpt_model_free(mine);
  bdpt_model_free(teacher);
}

TEST(names_the_gradient) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  double zero = 0;
  CHECK(steps(t, 1));
  m->param[BDPT_SLOT(2, BDPT_SLOT_PROJ_B)].grad[1] = (bdpt_real)(1 / zero);
  CHECK(bdpti_trainer_finish(t, 1.0) == BDPT_E_NUMERIC);
  CHECK(says("the gradient of blocks.2.attn.proj.bias is not finite"));
  m->param[BDPT_SLOT(2, BDPT_SLOT_PROJ_B)].grad[1] = 0;
  *m->importance[BDPT_ACTIVATION][1].grad = (bdpt_real)(zero / zero);
  CHECK(bdpti_trainer_finish(t, 1.0) == BDPT_E_NUMERIC);
  CHECK(says("the gradient of blocks.1.mlp.importance is not finite"));
  *m->importance[BDPT_ACTIVATION][1].grad = 0;
  CHECK(bdpti_trainer_finish(t, 1 / zero) == BDPT_E_NUMERIC);
  CHECK(says("the loss is inf"));
  CHECK(bdpt_trainer_steps_done(t) == 1);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* All that a step needs is there when the first one is over, the blocks of the tapes joined. */
TEST(nothing_allocated_in_the_loop) {
  bdpt_model *m = small_model(1, 8), *teacher = small_model(1, 9);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t;
  long before, first;
  size_t bytes;
  r.distill = BDPT_DISTILL_SOFT;
  r.distill_features = 1;
  r.batch = 25; /* more than one block of the tape, and several epochs of two steps */
  bdpt_finish(&ctx);
  t = bdpt_trainer_create(m, teacher, &train, &r);
  first = allocations;
  CHECK(steps(t, 1));
  before = allocations;
  bytes = ctx.bytes_now;
  CHECK(t->tape->arena.first->bytes > BDPTI_CHUNK_LEAST && !t->tape->arena.first->next);
  CHECK(before - first > 4); /* workspace, the teacher's tape, blocks of the tape and their sum */
  CHECK(steps(t, 13));
  CHECK(allocations == before && ctx.bytes_now == bytes);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  bdpt_model_free(teacher);
}

TEST(layers_come_and_go) {
  bdpt_model *m = small_model(0, 8);
  bdpt_recipe r = full_recipe();
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  int qkv = BDPT_SLOT(1, BDPT_SLOT_QKV_W), fc1 = BDPT_SLOT(2, BDPT_SLOT_FC1_W);
  int fused = BDPT_SLOT(2, BDPT_SLOT_FUSED_W);
  bdpt_real old[400], bias[12], score;
  double longest = 0, means[2][BDPT_MAX_DEPTH];
  size_t count = m->param[qkv].count, k;
  CHECK(steps(t, 3));
  CHECK(bdpt_trainer_importance(t, means) == 3 && means[0][1] > 0 && means[1][2] > 0);
  CHECK(means[0][3] == 0 && bdpt_trainer_importance(t, means) == 0 && means[0][1] == 0);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(count > 300);
  memcpy(old, m->param[qkv].data, 400 * sizeof *old);
  score = *m->importance[BDPT_ATTENTION][1].data;
  CHECK(steps(t, 2));
  CHECK(memcmp(old, m->param[qkv].data, 400 * sizeof *old) == 0);
  CHECK(score == *m->importance[BDPT_ATTENTION][1].data);
  CHECK(t->now.age[qkv] == 3 && t->now.age[fc1] == 5);
  CHECK(bdpt_trainer_importance(t, means) == 2 && means[0][1] == 0 && means[0][0] > 0);
  CHECK(bdpt_restore(m, BDPT_ATTENTION, 1) == BDPT_OK && steps(t, 1));
  CHECK(t->now.age[qkv] == 4 && memcmp(old, m->param[qkv].data, 400 * sizeof *old) != 0);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 2) == BDPT_OK && bdpt_fuse(m, 2) == BDPT_OK);
  CHECK(m->param[fused].count == 144);
  memcpy(old, m->param[fused].data, 144 * sizeof *old);
  memcpy(bias, m->param[fused + 1].data, sizeof bias);
  CHECK(steps(t, 1));
  CHECK(t->now.age[fused] == 1 && t->now.age[fc1] == 0 && t->moments[fc1].m == NULL);
  CHECK(memcmp(old, m->param[fused].data, 144 * sizeof *old) != 0);
    /* The first step of a new parameter is a first step: as long as the rate at any age.
       The schedule says what the rate was; a bias does not decay. */
  for (k = 0; k < 12; k++) {
    double step = fabs((double)m->param[fused + 1].data[k] - (double)bias[k]);
    if (step > longest) longest = step;
  }
  CHECK_CLOSE(longest / bdpt_schedule(&t->recipe, 6 / 7.0), 1, 1e-2);
    /* And a checkpoint of that state continues exactly. */
  {
    bdpt_bytes b = freeze(t), c;
    bdpt_model *copy = bdpt_model_clone(m);
    bdpt_trainer *u = bdpt_trainer_create(copy, NULL, &train, &r);
    CHECK(bdpt_trainer_parse(u, b.data, b.size, "b") == BDPT_OK);
    drop(&b);
    CHECK(steps(t, 2) && steps(u, 2));
    b = freeze(t);
    c = freeze(u);
    CHECK(same(b, c));
    drop(&b);
    drop(&c);
    bdpt_trainer_free(u);
    bdpt_model_free(copy);
  }
  CHECK(bdpt_model_resize(m, 24, 0) == BDPT_OK && bdpt_trainer_step(t, NULL) == BDPT_E_STATE);
  CHECK(says("the model changed to 24 x 24 pixels"));
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* Hidden activations that are made again are the same ones. */
TEST(recomputing_changes_no_bit) {
  char digest[2][17];
  size_t bytes[2];
  int again;
  for (again = 0; again < 2; again++) {
    bdpt_config c = small_config(1);
    bdpt_model *m;
    bdpt_recipe r;
    bdpt_trainer *t;
    c.mlp = 400; /* the hidden activations are more than the least chunk */
    m = bdpt_model_create(&ctx, &c, 6);
    memset(&r, 0, sizeof r);
    r.batch = 16;
    r.recompute = again;
    t = bdpt_trainer_create(m, NULL, &train, &r);
    CHECK(steps(t, 3));
    bdpt_model_hash(m, digest[again]);
    bytes[again] = t->tape->arena.first->bytes; /* one chunk by now */
    bdpt_trainer_free(t);
    bdpt_model_free(m);
  }
  CHECK(strcmp(digest[0], digest[1]) == 0);
  CHECK(bytes[1] < bytes[0]);
}

/* ---- The method ------------------------------------------------------------------------------ */

/* Solves a[cols][rows] theta = y with the library's own pseudo-inverse. */
static int solve(const double *a, size_t rows, int cols, const double *y, double *theta) {
  double work[400], inverse[400];
  size_t n = (size_t)cols, k;
  int rank;
  for (k = 0; k < n; k++) memcpy(work + k * (rows + n), a + k * rows, rows * sizeof *a);
  rank = bdpti_pseudo_inverse(work, rows, n, 1e-9, inverse);
  for (k = 0; k < n; k++) theta[k] = bdpti_dot64(inverse + k * rows, y, rows);
  return rank;
}

TEST(solver) {
  /* columns (2,1), (1,3): inverse known. */
  static const double square[4] = {2, 1, 1, 3}, ys[2] = {4, 7};
  /* 4 x 3, the third column is the sum of the first two: rank 2, and the shortest of the exact
   * solutions of y = c1 + 2 c2 is (0, 1, 1). */
  static const double deficient[12] = {1, 1, 0, 2, 0, 1, 1, 1, 1, 2, 1, 3}, yd[4] = {1, 3, 2, 4};
  /* one equation in three unknowns: 1*x + 2*y + 2*z = 9 -> (1, 2, 2). */
  static const double wide[3] = {1, 2, 2}, yw[1] = {9};
  static const double nothing[6] = {0, 0, 0, 0, 0, 0}, yn[2] = {1, 2};
  double theta[3];
  CHECK(solve(square, 2, 2, ys, theta) == 2);
  CHECK_CLOSE(theta[0], 1.0, 1e-14);
  CHECK_CLOSE(theta[1], 2.0, 1e-14);
  CHECK(solve(deficient, 4, 3, yd, theta) == 2);
  CHECK_CLOSE(theta[0], 0.0, 1e-13);
  CHECK_CLOSE(theta[1], 1.0, 1e-13);
  CHECK_CLOSE(theta[2], 1.0, 1e-13);
  CHECK(solve(wide, 1, 3, yw, theta) == 1);
  CHECK_CLOSE(theta[0], 1.0, 1e-14);
  CHECK_CLOSE(theta[1], 2.0, 1e-14);
  CHECK_CLOSE(theta[2], 2.0, 1e-14);
  CHECK(solve(nothing, 2, 3, yn, theta) == 0);
  CHECK(theta[0] == 0 && theta[1] == 0 && theta[2] == 0);
}

/* Hilbert's matrix, 6 x 6, has condition 1.5e7; one-sided Jacobi keeps its small singular
 * values. */
TEST(solver_ill_conditioned) {
  double a[36], y[6], theta[6];
  int i, j;
  for (i = 0; i < 6; i++) {
    y[i] = 0;
    for (j = 0; j < 6; j++) {
      a[j * 6 + i] = 1.0 / (i + j + 1);
      y[i] += a[j * 6 + i] * (j + 1);
    }
  }
  CHECK(solve(a, 6, 6, y, theta) == 6);
  for (j = 0; j < 6; j++) CHECK_CLOSE(theta[j], j + 1, 1e-8);
}

/* Depth 12, most 8 and rounds 3 give the published design, (attention, activation) layers kept. */
TEST(collect_design) {
  static const int kept[22][2] = {
    {12, 12}, {11, 12}, {10, 12}, {9, 12}, {8, 12}, {7, 12}, {6, 12}, {5, 12}, {4, 12}, {12, 11},
    {12, 10}, {12, 9}, {12, 8}, {12, 7}, {12, 6}, {12, 5}, {12, 4}, {11, 11}, {11, 10}, {10, 10},
    {10, 9}, {9, 9}};
  bdpt_map_collect_options o;
  int now[2] = {12, 12}, k, bad = 0;
  bdpt_type type = BDPT_ATTENTION;
  memset(&o, 0, sizeof o);
  o.most = 8;
  o.rounds = 3;
  for (k = 0; k < 22; k++) { /* training 16 repeats training 8, the first activation */
    int from = bdpts_collect_step(&o, k, &type), point = k < 16 ? k + 1 : k;
    if (k == 16) point = 9;
    if (from == 0) now[0] = now[1] = 12;
    now[type]--;
    bad += now[0] != kept[point][0] || now[1] != kept[point][1];
  }
  CHECK(bad == 0);
}

/* Without an order the smallest mean gradient of each type goes first. */
TEST(collect_order) {
  bdpt_model *m = small_model(0, 1);
  bdpt_study s;
  bdpt_map_collect_options o;
  bdpt_disparity_row row;
  bdpt_recipe r = plain_recipe();
  size_t count;
  int t, l;
  memset(&o, 0, sizeof o);
  o.recipe = r;
  bdpt_study_open(&s, m, &(bdpt_run){&train, &held, NULL}, "map", NULL, 0, 6);
  bdpts_collect_order(&s, &o);
  CHECK(bdpt_study_close(&s) == BDPT_OK);
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 5, &row, 1, &count) == BDPT_OK);
  for (t = 0; t < 2; t++) {
    for (l = 1; l < 3; l++) {
      CHECK(row.gradient[t][o.order[t][l - 1]] <= row.gradient[t][o.order[t][l]]);
    }
  }
  bdpt_model_free(m);
}

TEST(search_turns) {
  static const int remove_[5][2] = {{4, 4}, {5, 3}, {1, 3}, {0, 2}, {2, 0}};
  static const char *const want[5] = {"gagagaga", "agagagaa", "gagg", "gg", "aa"};
  int i, j, bad = 0;
  for (i = 0; i < 5; i++) {
    for (j = 0; want[i][j]; j++) {
      bad += bdpts_search_turn(remove_[i], j) != (want[i][j] == 'g');
    }
  }
  CHECK(bad == 0);
}

/* What is left open is the published schedule: 15 epochs, a stage each 3, 5 and 7. */
TEST(search_defaults) {
  bdpt_model *m = small_model(0, 1);
  bdpt_search_options q;
  memset(&q, 0, sizeof q);
  q.recipe = plain_recipe();
  q.recipe.epochs = 0;
  q.remove[BDPT_ATTENTION] = 1;
  q.remove[BDPT_ACTIVATION] = 2;
  CHECK(bdpts_search_resolve(&q, m) == BDPT_OK);
  CHECK(q.stage[0] == 3 && q.stage[1] == 8 && q.stage[2] == 15 && q.recipe.epochs == 15);
  CHECK(q.recipe.restarts == 2 && q.recipe.restart[1] == 8.0); /* none at the very end */
  bdpt_model_free(m);
}

/* Computes the contrast of two networks that give every image the logits a and b. */
static bdpt_certificate contrast_of(const double *a, const double *b) {
  bdpt_model *m = small_model(0, 1), *n = bdpt_model_clone(m);
  bdpt_tensor *w = &m->param[BDPT_SLOT_HEAD_W], *v = &n->param[BDPT_SLOT_HEAD_W];
  bdpt_certificate c;
  int k;
  memset(&c, 0, sizeof c);
  memset(w->data, 0, w->count * sizeof *w->data);
  memset(v->data, 0, v->count * sizeof *v->data);
  for (k = 0; k < 5; k++) {
    m->param[BDPT_SLOT_HEAD_B].data[k] = (bdpt_real)a[k];
    n->param[BDPT_SLOT_HEAD_B].data[k] = (bdpt_real)b[k];
  }
  CHECK(bdpts_contrast(m, n, &held, &c) == BDPT_OK);
  bdpt_model_free(n);
  bdpt_model_free(m);
  return c;
}

TEST(contrast) {
  static const double before[5] = {1, 2, 3, 4, 0}, after[5] = {1, 2, 4.5, 4, 0};
  double tie[5] = {1, 1, 0, 0, 0}, turned[5] = {0.5, 1, 0, 0, 0};
  bdpt_certificate c;
  /* Logits whose arg-max turns: at a distance of 1, and at one below the bound and above it. */
  c = contrast_of(before, before);
  CHECK(c.agree == 10 && c.near_ties == 0 && c.difference == 0);
  c = contrast_of(before, after);
  CHECK(c.images == 10 && c.agree == 0 && c.near_ties == 0 && c.difference == 1.5 / 4);
  tie[1] = 1 - BDPTS_FUSE_BOUND;
  c = contrast_of(tie, turned);
  CHECK(c.agree == 0 && c.near_ties == 10);
  tie[1] = 1 - 3 * BDPTS_FUSE_BOUND;
  c = contrast_of(tie, turned);
  CHECK(c.agree == 0 && c.near_ties == 0);
}

/* A network that differs on purpose must be found out: disagreements that are no near ties. */
TEST(certificate_finds_faults) {
  bdpt_model *m = small_model(0, 1), *wrong = bdpt_model_clone(m);
  bdpt_certificate c;
  size_t i;
  memset(&c, 0, sizeof c);
  for (i = 0; i < 5; i++) wrong->param[BDPT_SLOT_HEAD_B].data[i] += (bdpt_real)(i == 3 ? 100 : 0);
  CHECK(bdpts_contrast(m, wrong, &held, &c) == BDPT_OK);
  CHECK(c.images == 10 && c.difference > 10 && c.agree < 10 && c.near_ties == 0);
  bdpt_model_free(wrong);
  bdpt_model_free(m);
}

int main(void) {
  world_begin();
  RUN(the_generator_stays);
  RUN(a_new_network_stays);
  RUN(softmax_of_large_numbers);
  RUN(sums_not_finite);
  RUN(states_know_their_images);
  RUN(erases_as_much_as_it_draws);
  RUN(crops_without_mirrors);
  RUN(draws_that_underflow);
  RUN(draws_have_their_distributions);
  RUN(blocks_are_aligned);
  RUN(crop_and_flip);
  RUN(erasing);
  RUN(same_for_all_threads);
  RUN(optimiser_as_pytorch);
  RUN(mixing_as_timm);
  RUN(mixed_targets);
  RUN(mixing_draws);
  RUN(accuracy_by_hand);
  RUN(order_of_images);
  step_by_hand(0, BDPT_DISTILL_NONE, 0);
  step_by_hand(1, BDPT_DISTILL_NONE, 0);
  step_by_hand(0, BDPT_DISTILL_HARD, 0);
  step_by_hand(1, BDPT_DISTILL_HARD, 0);
  step_by_hand(1, BDPT_DISTILL_SOFT, 0);
  step_by_hand(1, BDPT_DISTILL_SOFT, 2.5);
  step_by_hand(1, BDPT_DISTILL_HARD, 0.5);
  RUN(names_the_gradient);
  RUN(nothing_allocated_in_the_loop);
  RUN(layers_come_and_go);
  RUN(recomputing_changes_no_bit);
  RUN(solver);
  RUN(solver_ill_conditioned);
  RUN(collect_design);
  RUN(collect_order);
  RUN(search_turns);
  RUN(search_defaults);
  RUN(contrast);
  RUN(certificate_finds_faults);
  world_end();
  return TEST_END("inside");
}
