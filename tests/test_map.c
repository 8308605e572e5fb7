/* The model accuracy predictor: the least-squares solver, and the paper's 22-point example with the
 * values that follow from it (and the published ones that do not). Reference values come from
 * numpy.linalg.lstsq with rcond = 1e-9 on the same points. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "published.h"

static bdpt_context ctx;

static const double published_theta[6] = {31.684374, 50.653461, 39.298158,
                                          -19.795489, -8.338992, -11.704586};
static double residual_squares(const bdpt_map *map) {
  double sum = 0;
  int i;
  for (i = 0; i < 22; i++) {
    double e = bdpt_map_predict(map, points[i].attention, points[i].activation);
    sum += (e - points[i].accuracy) * (e - points[i].accuracy);
  }
  return sum;
}

TEST(terms) {
  static const int total[6][2] = {{0, 0}, {1, 0}, {0, 1}, {2, 0}, {1, 1}, {0, 2}};
  bdpt_map map;
  int k, i, j, bad = 0, seen[5][5];
  memset(&map, 0, sizeof map);
  for (k = 0; k < 6; k++) {
    bdpt_map_term(k, &i, &j);
    CHECK(i == total[k][0] && j == total[k][1]);
  }
  /* Every monomial once, and those of a lower total degree first. */
  memset(seen, 0, sizeof seen);
  for (k = 0; k < BDPT_MAP_TERMS; k++) {
    bdpt_map_term(k, &i, &j);
    bad += i < 0 || j < 0 || i + j > 4 || seen[i][j]++;
    bad += k < 10 && i + j > 3;
  }
  CHECK(bad == 0);
  map.degree = 2; map.terms = 6;
  memcpy(map.theta, published_theta, sizeof published_theta);
  CHECK_CLOSE(bdpt_map_predict(&map, 1, 1), 81.796926, 1e-9); /* the site prints 81.797 */
}

TEST(example_fit) {
  static const double theta[6] = {14.48776772, 99.94121199, 29.49472944,
                                  -45.80679692, -14.03676581, -2.44422173};
  static const double rmse[5] = {0, 2.00767940, 0.59231489, 0.74343250, 1.07122901};
  static const double mae[5] = {0, 1.52866694, 0.44006740, 0.47530427, 0.53827008};
  bdpt_map map, other;
  int k, d;
  CHECK(bdpt_map_fit(&ctx, points, 22, 1, 0, &map) == BDPT_OK);
  CHECK(map.degree == 2 && map.terms == 6 && map.rank == 6);
  for (k = 0; k < 6; k++) CHECK_CLOSE(map.theta[k], theta[k], 2e-8);
  for (d = 1; d <= 4; d++) {
    CHECK_CLOSE(map.cv_rmse[d], rmse[d], 2e-8);
    CHECK_CLOSE(map.cv_mae[d], mae[d], 2e-8);
  }
  CHECK_CLOSE(map.fit_rmse, 0.41684644, 1e-8);
  CHECK_CLOSE(map.fit_mae, 0.30453338, 1e-8);
  CHECK_CLOSE(residual_squares(&map), 3.82274102, 1e-8);

  /* The published coefficients are not the least-squares fit of the published points: they leave
   * nineteen times the squared residual, and no coefficient agrees. */
  other = map;
  memcpy(other.theta, published_theta, sizeof published_theta);
  CHECK_CLOSE(residual_squares(&other), 71.95647, 1e-5);
  for (k = 0; k < 6; k++) CHECK(fabs(map.theta[k] - published_theta[k]) > 5.0);
}

TEST(example_splits) {
  static const int fitted[4][3] = {{4, 2, 2}, {6, 2, 4}, {8, 2, 6}, {10, 2, 8}};
  static const int printed[4][3] = {{4, 3, 1}, {6, 3, 3}, {8, 4, 4}, {10, 5, 5}};
  bdpt_map map, other;
  double p;
  int b, a, g;
  CHECK(bdpt_map_fit(&ctx, points, 22, 1, 0, &map) == BDPT_OK);
  other = map;
  memcpy(other.theta, published_theta, sizeof published_theta);
  for (b = 0; b < 4; b++) {
    CHECK(bdpt_map_split(&ctx, &map, 12, fitted[b][0], &a, &g, NULL) == BDPT_OK);
    CHECK(a == fitted[b][1] && g == fitted[b][2]);
    CHECK(bdpt_map_split(&ctx, &other, 12, printed[b][0], &a, &g, NULL) == BDPT_OK);
    CHECK(a == printed[b][1] && g == printed[b][2]);
  }
  bdpt_map_split(&ctx, &map, 12, 8, &a, &g, &p);
  CHECK_CLOSE(p, 74.24949227, 1e-7);
  CHECK_CLOSE(bdpt_map_predict(&map, 8 / 12.0, 8 / 12.0), 73.09493558, 1e-7);
  bdpt_map_split(&ctx, &other, 12, 8, &a, &g, &p);
  CHECK_CLOSE(p, 73.95, 0.01);
}

/* Algorithm 3's details hold: the ends of the line, ties, budgets over the depth, refusals. */
TEST(split_edges) {
  bdpt_map flat;
  int a = -1, g = -1;
  double p;
  memset(&flat, 0, sizeof flat);
  flat.degree = 1;
  flat.terms = 3;
  flat.theta[0] = 5.0; /* equal everywhere: the first, with the fewest attention layers, stands */
  CHECK(bdpt_map_split(&ctx, &flat, 12, 4, &a, &g, &p) == BDPT_OK);
  CHECK(a == 0 && g == 4 && p == 5.0);
  CHECK(bdpt_map_split(&ctx, &flat, 3, 5, &a, &g, NULL) == BDPT_OK);
  CHECK(a == 2 && g == 3);
  flat.theta[2] = 1.0; /* activations are worth keeping */
  CHECK(bdpt_map_split(&ctx, &flat, 12, 4, &a, &g, NULL) == BDPT_OK);
  CHECK(a == 4 && g == 0);
  CHECK(bdpt_map_split(&ctx, &flat, 12, 0, &a, &g, NULL) == BDPT_OK);
  CHECK(a == 0 && g == 0);
  CHECK(bdpt_map_split(&ctx, &flat, 12, 25, &a, &g, NULL) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "25 layers of the 24 that 12 blocks have");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_map_split(&ctx, &flat, 12, -1, &a, &g, NULL) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
}

TEST(fixed_degree) {
  bdpt_map map;
  int d;
  for (d = 1; d <= 4; d++) {
    CHECK(bdpt_map_fit(&ctx, points, 22, 1, d, &map) == BDPT_OK);
    CHECK(map.degree == d && map.terms == (d + 1) * (d + 2) / 2);
    CHECK(map.rank == (d < 4 ? map.terms : 14)); /* the quartic that the design cannot see */
    CHECK(map.cv_rmse[d] > 0 && map.cv_rmse[d % 4 + 1] != map.cv_rmse[d % 4 + 1]); /* not tried */
  }
}

/* Data that lie on a quadratic exactly give degree 2, its coefficients, no error. */
TEST(exact_surface) {
  static const double theta[6] = {31, 50, 39, -20, -8, -12};
  bdpt_map_point p[22];
  bdpt_map map;
  int i, k;
  for (i = 0; i < 22; i++) {
    double a = points[i].attention, t = points[i].activation;
    p[i] = points[i];
    p[i].accuracy = theta[0] + theta[1] * a + theta[2] * t + theta[3] * a * a + theta[4] * a * t +
                    theta[5] * t * t;
  }
  CHECK(bdpt_map_fit(&ctx, p, 22, 1, 2, &map) == BDPT_OK);
  CHECK(map.degree == 2);
  for (k = 0; k < 6; k++) CHECK_CLOSE(map.theta[k], theta[k], 1e-9);
  CHECK(map.fit_rmse < 1e-11 && map.cv_rmse[2] < 1e-10);
}

static bdpt_status noise(bdpt_context *c, int trials, double sd, double clip, uint64_t seed,
                         bdpt_map_noise_report *r) {
  bdpt_map_noise_options o = {12, 8, 0, 0, 0, 0, 0};
  o.trials = trials; o.sd = sd; o.clip = clip; o.seed = seed;
  return bdpt_map_noise(c, points, 22, &o, r);
}

/* Checks a row of the noise study (PAPER_NOTES.md, MAP). Reference: 500 trials with numpy's
 * generator. The allowance is four standard errors of the difference of two studies with 500 and
 * 2000 trials. */
static void noise_row(double sd, double exact, double one, double more, double a, double t,
                      double spread) {
  bdpt_map_noise_report r;
  double e[3], got[3];
  int k;
  CHECK(noise(&ctx, 2000, sd, 0.5, 7, &r) == BDPT_OK);
  e[0] = exact; e[1] = one; e[2] = more;
  got[0] = r.exact; got[1] = r.one; got[2] = r.more;
  for (k = 0; k < 3; k++) {
    double p = e[k] / 100, width = 400 * sqrt((p * (1 - p) + 0.001) * (1 / 500.0 + 1 / 2000.0));
    CHECK_CLOSE(got[k], e[k], width);
  }
  CHECK_CLOSE(r.exact + r.one + r.more, 100.0, 1e-9);
  CHECK_CLOSE(r.mean_attention, a, 0.006 + 0.25 * spread);
  CHECK_CLOSE(r.mean_activation, t, 0.006 + 0.25 * spread);
  CHECK_CLOSE(r.mean_attention + r.mean_activation, 16 / 12.0, 1e-12);
  CHECK_CLOSE(r.sd, spread, 0.006 + 0.1 * spread);
  CHECK(r.trials == 2000);
  CHECK(r.attention == 2 && r.activation == 6);
}

/* Several sets at once are what each is alone, and all have the ratios of the first. */
TEST(sets_are_fits) {
  bdpt_map_point p[3][22];
  bdpt_map alone, maps[3];
  int i, k;
  for (k = 0; k < 3; k++) {
    memcpy(p[k], points, sizeof p[k]);
    for (i = 0; i < 22; i++) p[k][i].accuracy += k * sin(7.0 * i);
  }
  CHECK(bdpt_map_fit(&ctx, p[0], 22, 3, 0, maps) == BDPT_OK);
  for (k = 0; k < 3; k++) {
    CHECK(bdpt_map_fit(&ctx, p[k], 22, 1, 0, &alone) == BDPT_OK);
    CHECK(alone.degree == maps[k].degree && alone.rank == maps[k].rank);
    CHECK(memcmp(alone.theta, maps[k].theta, sizeof alone.theta) == 0);
    CHECK(memcmp(alone.cv_rmse, maps[k].cv_rmse, sizeof alone.cv_rmse) == 0);
  }
  CHECK(memcmp(maps[0].theta, maps[1].theta, sizeof alone.theta) != 0);
  p[2][5].activation *= 0.5;
  CHECK(bdpt_map_fit(&ctx, p[0], 22, 3, 0, maps) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "point 49: one of the ratios");
  bdpt_clear_error(&ctx);
}

TEST(example_noise) {
  noise_row(0.1, 99.8, 0.2, 0.0, 0.833, 0.500, 0.004);
  noise_row(sqrt(0.1), 83.6, 16.0, 0.4, 0.847, 0.486, 0.032);
}

/* The study is a function of its seed, and without noise every trial is the fit itself. */
TEST(noise_repeats) {
  bdpt_map_noise_report r, s;
  CHECK(noise(&ctx, 50, 0.3, 0.5, 1, &r) == BDPT_OK);
  CHECK(noise(&ctx, 50, 0.3, 0.5, 1, &s) == BDPT_OK);
  CHECK(r.exact == s.exact && r.one == s.one && r.mean_attention == s.mean_attention);
  CHECK(noise(&ctx, 20, 0.0, 0.0, 1, &r) == BDPT_OK);
  CHECK(r.exact == 100 && r.one == 0 && r.more == 0 && r.sd < 1e-6);
  CHECK_CLOSE(r.mean_attention, 10 / 12.0, 1e-12);
  CHECK(noise(&ctx, 20, 40.0, 1e-9, 1, &r) == BDPT_OK);
  CHECK(r.exact == 100); /* clipped to nothing */
  CHECK(noise(&ctx, 0, 0.1, 0.5, 1, &r) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
}

static int allowed; /* allocations until the allocator refuses */
static void *counted_alloc(void *user, size_t bytes) {
  (void)user;
  return allowed-- > 0 ? malloc(bytes) : NULL;
}
static void counted_free(void *user, void *p, size_t bytes) { (void)user; (void)bytes; free(p); }

TEST(refusals) {
  bdpt_map_point p[4];
  bdpt_map map;
  bdpt_map_noise_report r;
  bdpt_context c;
  int k, ended = 0;
  memcpy(p, points, sizeof p);
  CHECK(bdpt_map_fit(&ctx, p, 2, 1, 0, &map) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "2 points");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_map_fit(&ctx, p, 4, 1, 5, &map) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  p[3].attention = 1.5;
  CHECK(bdpt_map_fit(&ctx, p, 4, 1, 0, &map) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "point 3");
  bdpt_clear_error(&ctx);
  p[3].attention = 0.5;
  p[3].accuracy = (double)NAN;
  CHECK(bdpt_map_fit(&ctx, p, 4, 1, 0, &map) == BDPT_E_NUMERIC);
  bdpt_clear_error(&ctx);
  CHECK(noise(&ctx, 5, (double)INFINITY, 0, 1, &r) == BDPT_E_NUMERIC); /* what it adds is seen */
  CHECK_HAS(ctx.message, "accuracy is ");
  bdpt_clear_error(&ctx);

  /* Every allocation may fail: an error, no leak. */
  memset(&c, 0, sizeof c);
  c.allocator.alloc = counted_alloc;
  c.allocator.free = counted_free;
  c.threads = 1;
  for (k = 0; k < 20 && !ended; k++) {
    allowed = k;
    ended = noise(&c, 3, 0.1, 0.5, 1, &r) == BDPT_OK;
    CHECK(ended || c.status == BDPT_E_MEMORY);
    CHECK(c.bytes_now == 0);
    bdpt_clear_error(&c);
  }
  CHECK(ended && k > 2);
}

int main(void) {
  memset(&ctx, 0, sizeof ctx);
  bdpt_init(&ctx);
  load_points();
  RUN(terms);
  RUN(example_fit);
  RUN(example_splits);
  RUN(split_edges);
  RUN(fixed_degree);
  RUN(exact_surface);
  RUN(sets_are_fits);
  RUN(example_noise);
  RUN(noise_repeats);
  RUN(refusals);
  bdpt_finish(&ctx);
  return TEST_END("map");
}
