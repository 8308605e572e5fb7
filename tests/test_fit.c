/* Fitted maps: the least-squares problem solved a second way, a linear MLP found again, the order
 * of several layers, files, cost, errors, every allocation failing once; and the calls of the
 * method that start from a fit, interrupted and resumed. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"

#define IMAGES 80
#include "stripes.h"

#include <stdlib.h>

#define STATE temporary("fit")

static bdpt_context ctx;
static bdpt_config make_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = SIDE; c.patch = 4; c.width = 16; c.depth = 3; c.heads = 2; c.mlp = 24; c.classes = 5;
  return c;
}

static bdpt_model *make_model(uint64_t seed) {
  bdpt_config c = make_config();
  return model_of(&ctx, &c, seed);
}

static bdpt_status fit_one(bdpt_model *m, int type, int block, const bdpt_subset *images,
                           bdpt_fit_report *out) {
  bdpt_layers one = {{0, 0}};
  bdpt_layers_add(&one, (bdpt_type)type, block);
  return bdpt_remove(m, &one, BDPT_START_FIT, images, out);
}

/* Computes what the layer of block l reads and returns for images subset[first .. first + count):
 * rows of x[R][D], y[R][D] in double, from a forward pass written out here. Returns R. */
static size_t layer_tokens(bdpt_model *m, int type, int l, const size_t *index, size_t count,
                           double *x, double *y) {
  size_t shape[4] = {0, 3, SIDE, SIDE}, d = (size_t)m->config.width, rows = 0, i;
  bdpt_real *images = (bdpt_real *)malloc(count * 3 * SIDE * SIDE * sizeof *images);
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_tensor *p = m->param, *h, *u, *f = NULL;
  bdpt_subset some = {&data, (size_t *)malloc(count * sizeof(size_t)), count};
  int k;
  memcpy(some.index, index, count * sizeof *index);
  shape[0] = count;
  bdpt_load_batch(m->ctx, &m->config, &some, 0, count, images, NULL);
  h = bdpt_patch_embed(t, bdpt_input(t, 4, shape, images, 0), &p[BDPT_SLOT_PATCH_W],
                       &p[BDPT_SLOT_PATCH_B]);
  h = bdpt_tokens(t, h, &p[BDPT_SLOT_CLS], NULL, NULL, &p[BDPT_SLOT_POS]);
  for (k = 0; k < l; k++) h = bdpt_mlp_half(m, t, k, bdpt_attention_half(m, t, k, h, NULL), NULL);
  p += BDPT_SLOT(l, 0);
  u = bdpt_layernorm(t, h, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], 1e-6);
  if (m->config.block[l].attention == BDPT_ATTENTION_KEPT) {
    f = bdpt_linear(t, u, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B], NULL);
    f = bdpt_attention(t, f, NULL, m->config.block[l].heads, m->config.block[l].scale);
    f = bdpt_linear(t, f, &p[BDPT_SLOT_PROJ_W], &p[BDPT_SLOT_PROJ_B], NULL);
  } else if (m->config.block[l].attention == BDPT_ATTENTION_FITTED) {
    f = bdpt_linear(t, u, &p[BDPT_SLOT_AFIT_W], &p[BDPT_SLOT_AFIT_B], NULL);
  } else {
    f = u;
  }
  if (type == BDPT_ACTIVATION) {
    h = bdpt_add(t, h, f);
    u = bdpt_layernorm(t, h, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], 1e-6);
    f = bdpt_activate(t, bdpt_linear(t, u, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL),
                      BDPT_GELU);
    f = bdpt_linear(t, f, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B], NULL);
  }
  if (CHECK(u != NULL && f != NULL)) {
    rows = u->count / d;
    for (i = 0; i < u->count; i++) {
      x[i] = (double)u->data[i];
      y[i] = (double)f->data[i];
    }
  }
  bdpt_tape_free(t);
  free(images);
  free(some.index);
  return rows;
}

/* Solves min |A w - b| for every column of b, by Householder reflections: another road to the same
 * maps, without products A^T A. A[rows][n], b[rows][k] are overwritten; the solutions come as
 * w[n][k]. */
static void householder(double *a, double *b, size_t rows, size_t n, size_t k, double *w) {
  size_t i, j, c;
  for (c = 0; c < n; c++) {
    double norm = 0, s;
    for (i = c; i < rows; i++) norm += a[i * n + c] * a[i * n + c];
    norm = a[c * n + c] > 0 ? -sqrt(norm) : sqrt(norm);
    a[c * n + c] -= norm; /* column c below the diagonal is now the reflection's vector */
    s = norm * a[c * n + c];
    for (j = c + 1; j < n + k; j++) {
      double *column = j < n ? a + j : b + (j - n), dot = 0;
      size_t stride = j < n ? n : k;
      for (i = c; i < rows; i++) dot += a[i * n + c] * column[i * stride];
      for (i = c; i < rows; i++) column[i * stride] += dot / s * a[i * n + c];
    }
    for (i = c; i < rows; i++) a[i * n + c] = i == c ? norm : 0;
  }
  for (j = 0; j < k; j++) {
    for (c = n; c-- > 0;) {
      double sum = b[c * k + j];
      for (i = c + 1; i < n; i++) sum -= a[c * n + i] * w[i * k + j];
      w[c * k + j] = sum / a[c * n + c];
    }
  }
}

/* Divides images 0 .. n-1 of the training subset as bdpt_fit does: the last of a run measures. */
static size_t divide(size_t n, size_t held_back, size_t *index) {
  size_t i, a = 0, b = 0;
  for (i = 0; i < n; i++) {
    if ((i + 1) * held_back / n > b) index[n - held_back + b++] = train.index[i];
    else index[a++] = train.index[i];
  }
  return a;
}

/* Fits layer l of a fresh network and compares with the reflections: the centred tokens, below them
 * sqrt(r) times the unit matrix, the right-hand side zero there. */
static void compare(int type, int l) {
  static double x[IMAGES * 5 * 16], y[IMAGES * 5 * 16], a[(IMAGES * 5 + 16) * 16];
  static double b[(IMAGES * 5 + 16) * 16], w[16 * 16];
  double mx[16], my[16], trace = 0, wrong = 0, all = 0, worst = 0, r;
  size_t index[60], fit = divide(60, 7, index), rows, rows2, i, j, k, d = 16;
  bdpt_model *m = make_model(3), *n = bdpt_model_clone(m);
  int slot = BDPT_SLOT(l, type == BDPT_ATTENTION ? BDPT_SLOT_AFIT_W : BDPT_SLOT_FUSED_W);
  bdpt_fit_report report;
  rows = layer_tokens(m, type, l, index, fit, x, y);
  CHECK(fit_one(n, (bdpt_type)type, l, &train, &report) == BDPT_OK);
  CHECK(report.layers == 1 && report.images == 53 && report.held == 7);
  CHECK(report.tokens == rows && rows == 53 * 5);
  memset(mx, 0, sizeof mx);
  memset(my, 0, sizeof my);
  for (i = 0; i < rows * d; i++) {
    mx[i % d] += x[i] / (double)rows;
    my[i % d] += y[i] / (double)rows;
  }
  memset(a, 0, sizeof a);
  memset(b, 0, sizeof b);
  for (i = 0; i < rows * d; i++) {
    a[i] = x[i] - mx[i % d];
    b[i] = y[i] - my[i % d];
    trace += a[i] * a[i];
  }
  r = BDPT_RIDGE * trace / (double)d;
  for (i = 0; i < d; i++) a[(rows + i) * d + i] = sqrt(r);
  householder(a, b, rows + d, d, d, w);
  for (i = 0; i < d; i++) { /* output i */
    double bias = my[i];
    for (j = 0; j < d; j++) {
      double got = (double)n->param[slot].data[i * d + j];
      bias -= w[j * d + i] * mx[j];
      worst = fmax(worst, fabs(got - w[j * d + i]));
    }
    worst = fmax(worst, fabs((double)n->param[slot + 1].data[i] - bias));
  }
  CHECK_CLOSE(worst, 0, sizeof(bdpt_real) == 8 ? 1e-10 : 2e-6);
  rows2 = layer_tokens(m, type, l, index + fit, 7, x, y);
  memset(my, 0, sizeof my);
  for (i = 0; i < rows2 * d; i++) my[i % d] += y[i] / (double)rows2;
  for (k = 0; k < rows2; k++) {
    for (i = 0; i < d; i++) {
      double v = (double)n->param[slot + 1].data[i];
      for (j = 0; j < d; j++) v += (double)n->param[slot].data[i * d + j] * x[k * d + j];
      wrong += (y[k * d + i] - v) * (y[k * d + i] - v);
      all += (y[k * d + i] - my[i]) * (y[k * d + i] - my[i]);
    }
  }
  CHECK(report.error > 0.01 && report.error < 1.5);
  CHECK_CLOSE(report.error, sqrt(wrong / all), 1e-6);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

TEST(equals_another_solver) {
  compare(BDPT_ATTENTION, 0);
  compare(BDPT_ATTENTION, 2);
  compare(BDPT_ACTIVATION, 0);
  compare(BDPT_ACTIVATION, 1);
  compare(BDPT_ACTIVATION, 2);
}

/* Far to the right GELU(z) = z, so an MLP whose hidden features are all there is linear, and the
 * fit must find W2 W1 again, which bdpt_fuse computes: but for the direction (1/gamma_j) in which
 * what a norm makes never varies. */
TEST(a_linear_mlp_is_found_again) {
  bdpt_model *m = make_model(4), *fused, *fitted;
  bdpt_tensor *b1 = &m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_B)];
  const bdpt_real *w, *v;
  bdpt_real before[100], after[100];
  bdpt_fit_report report;
  double worst = 0, far = 0, normal[16], norm = 0;
  size_t i, j;
  for (i = 0; i < b1->count; i++) b1->data[i] += 20;
  fused = bdpt_model_clone(m);
  fitted = bdpt_model_clone(m);
  CHECK(bdpt_prune(fused, BDPT_ACTIVATION, 1) == BDPT_OK && bdpt_fuse(fused, 1) == BDPT_OK);
  CHECK(fit_one(fitted, BDPT_ACTIVATION, 1, &train, &report) == BDPT_OK);
  CHECK(report.error < 2.5e-3);
  w = fused->param[BDPT_SLOT(1, BDPT_SLOT_FUSED_W)].data;
  v = fitted->param[BDPT_SLOT(1, BDPT_SLOT_FUSED_W)].data;
  for (j = 0; j < 16; j++) {
    normal[j] = 1 / (double)m->param[BDPT_SLOT(1, BDPT_SLOT_NORM2_W)].data[j];
    norm += normal[j] * normal[j];
  }
  for (i = 0; i < 16; i++) {
    double along = 0;
    for (j = 0; j < 16; j++) along += (double)(w[16 * i + j] - v[16 * i + j]) * normal[j] / norm;
    for (j = 0; j < 16; j++) {
      double difference = (double)(w[16 * i + j] - v[16 * i + j]) - along * normal[j];
      if (fabs(difference) > worst) worst = fabs(difference); /* gcc 12 for ARM: not with fmax */
    }
  }
  CHECK_CLOSE(worst, 0, 6e-3); /* a hundredth of the largest weight: the ridge makes them smaller */
  logits_of(m, before);
  logits_of(fitted, after);
  for (i = 0; i < 100; i++)
    if (fabs((double)(before[i] - after[i])) > far) far = fabs((double)(before[i] - after[i]));
  CHECK_CLOSE(far, 0, 5e-4);
  CHECK(fitted->config.block[1].mlp_state == BDPT_MLP_FITTED);
  CHECK(fitted->config.block[1].mlp_state != BDPT_MLP_KEPT);
  bdpt_model_free(m);
  bdpt_model_free(fused);
  bdpt_model_free(fitted);
}

/* bdpt_fit goes in forward order, attention before the MLP of a block; another order gives
 * other maps. Each fit sees the tokens that the maps before it make. */
TEST(several_layers_in_forward_order) {
  bdpt_model *dense = make_model(5), *all = bdpt_model_clone(dense), *one, *back;
  bdpt_layers which = {{2, 6}}; /* attention 1; activations 1 and 2 */
  bdpt_fit_report r, each;
  double worst = 0;
  CHECK(bdpt_remove(all, &which, BDPT_START_FIT, &train, &r) == BDPT_OK && r.layers == 3);
  CHECK_HAS(all->certificate, "3 layers fitted, not exact: relative error up to ");
  CHECK_HAS(all->certificate, "on 7 of 60 images, held back, ridge 0.001");
  one = bdpt_model_clone(dense);
  CHECK(fit_one(one, BDPT_ATTENTION, 1, &train, &each) == BDPT_OK);
  worst = fmax(worst, each.error);
  CHECK_HAS(one->certificate, "1 layer fitted");
  CHECK(fit_one(one, BDPT_ACTIVATION, 1, &train, &each) == BDPT_OK);
  worst = fmax(worst, each.error);
  CHECK(fit_one(one, BDPT_ACTIVATION, 2, &train, &each) == BDPT_OK);
  worst = fmax(worst, each.error);
  CHECK(same_weights(all, one));
  CHECK_CLOSE(r.error, worst, 0);
  back = bdpt_model_clone(dense);
  CHECK(fit_one(back, BDPT_ACTIVATION, 2, &train, NULL) == BDPT_OK);
  CHECK(fit_one(back, BDPT_ACTIVATION, 1, &train, NULL) == BDPT_OK);
  CHECK(fit_one(back, BDPT_ATTENTION, 1, &train, NULL) == BDPT_OK);
  CHECK(!same_weights(all, back));
  memset(&which, 0, sizeof which);
  CHECK(bdpt_remove(dense, &which, BDPT_START_FIT, &train, &r) == BDPT_OK && r.layers == 0);
  CHECK(dense->certificate[0] == 0);
  bdpt_model_free(dense);
  bdpt_model_free(all);
  bdpt_model_free(one);
  bdpt_model_free(back);
}

/* Of more images than a fit needs, 256 here, those are taken that are spread over the data. */
TEST(a_choice_of_images) {
  enum { ALL = 600, TAKEN = 256 };
  bdpt_model *a = make_model(6), *b = bdpt_model_clone(a);
  size_t i, index[ALL], spread[TAKEN];
  bdpt_subset all = {&data, index, ALL}, some = {&data, spread, TAKEN};
  bdpt_fit_report r;
  for (i = 0; i < ALL; i++) index[i] = i * 7 % IMAGES;
  for (i = 0; i < TAKEN; i++) spread[i] = index[2 * i + i * (ALL - 2 * TAKEN) / TAKEN];
  CHECK(fit_one(a, BDPT_ACTIVATION, 0, &all, &r) == BDPT_OK);
  CHECK(r.images == 224 && r.held == 32 && r.tokens == 1120);
  CHECK(fit_one(b, BDPT_ACTIVATION, 0, &some, NULL) == BDPT_OK);
  CHECK(same_weights(a, b));
  bdpt_model_free(a);
  bdpt_model_free(b);
}

/* One image in eight measures, one where there are fewer than 16; and every image of a subset is
 * read, its first too. */
static int reads[IMAGES];
static int counted(void *user, size_t index, unsigned char *planes) {
  const size_t bytes = (size_t)3 * SIDE * SIDE;
  (void)user;
  reads[index]++; /* the context has one thread */
  memcpy(planes, data.pixels + index * bytes, bytes);
  return 0;
}
TEST(every_image_counts) {
  static const size_t sizes[4][3] = {{15, 14, 1}, {16, 14, 2}, {17, 15, 2}, {24, 21, 3}};
  bdpt_dataset fetched = data;
  bdpt_subset some = {&fetched, NULL, 0};
  bdpt_fit_report r;
  size_t index[24], i;
  int k, wrong, threads = ctx.threads;
  for (i = 0; i < 24; i++) index[i] = train.index[1 + i];
  some.index = index;
  fetched.pixels = NULL; fetched.fetch = counted;
  ctx.threads = 1;
  for (k = 0; k < 4; k++) {
    bdpt_model *m = make_model(6);
    some.count = sizes[k][0];
    memset(reads, 0, sizeof reads);
    CHECK(fit_one(m, BDPT_ACTIVATION, 0, &some, &r) == BDPT_OK);
    CHECK(r.images == sizes[k][1] && r.held == sizes[k][2]);
    for (i = 0, wrong = 0; i < some.count; i++) wrong += reads[index[i]] != 1;
    CHECK(wrong == 0);
    bdpt_model_free(m);
  }
  ctx.threads = threads;
}

/* The layer is wide enough that the sums and the rows of the solution are shared out. */
TEST(thread_count_changes_no_bit) {
  bdpt_config c = make_config();
  char first[17], hash[17];
  const bdpt_layers which = {{1, 2}}; /* attention 0 and activation 1 */
  int threads;
  c.width = 48;
  for (threads = 1; threads <= 3; threads++) {
    bdpt_context own;
    bdpt_model *m;
    bdpt_fit_report r;
    memset(&own, 0, sizeof own);
    own.threads = threads;
    bdpt_init(&own);
    m = model_of(&own, &c, 7);
    CHECK(bdpt_remove(m, &which, BDPT_START_FIT, &train, &r) == BDPT_OK);
    bdpt_model_hash(m, hash);
    if (threads == 1) memcpy(first, hash, sizeof hash);
    CHECK(strcmp(first, hash) == 0);
    bdpt_model_free(m);
    bdpt_finish(&own);
    CHECK(own.bytes_now == 0);
  }
}

TEST(saved_loaded_and_counted) {
  bdpt_model *m = make_model(8), *n;
  bdpt_cost_report before, after;
  bdpt_bytes bytes;
  const double d = 16, f = 24, tokens = 5;
  bdpt_config c = make_config();
  int type;
  c.block[1].mlp_state = BDPT_MLP_FITTED; /* one map has no activation, whatever the block says */
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && bdpt_removed(&c, BDPT_ACTIVATION) == 1);
  for (type = 0; type < 2; type++) {
    CHECK(bdpt_cost(&ctx, &m->config, &before) == BDPT_OK);
    CHECK(fit_one(m, (bdpt_type)type, 2, &train, NULL) == BDPT_OK);
    CHECK(bdpt_cost(&ctx, &m->config, &after) == BDPT_OK);
    CHECK_CLOSE((double)before.params - (double)after.params,
                (type ? 2 * d * f + f + d : 4 * d * d + 4 * d) - (d * d + d), 0);
    CHECK_CLOSE(before.macs_no_matmul - after.macs_no_matmul,
                tokens * (type ? 2 * d * f : 4 * d * d) - tokens * d * d, 0);
    CHECK(bdpt_removed(&m->config, (bdpt_type)type) == 1);
    CHECK(!m->param[BDPT_SLOT(2, type ? BDPT_SLOT_FC1_W : BDPT_SLOT_QKV_W)].data);
  }
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "fitted", NULL);
  if (CHECK(n != NULL)) {
    CHECK(same_weights(m, n) && strcmp(m->certificate, n->certificate) == 0);
    CHECK(n->config.block[2].attention == BDPT_ATTENTION_FITTED);
    CHECK(n->config.block[2].mlp_state == BDPT_MLP_FITTED);
    CHECK(bdpt_removed(&n->config, 0) == 1 && bdpt_removed(&n->config, 1) == 1);
  }
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(n);
  bdpt_model_free(m);
}

/* Is called as refused(call): checks the status, the sentence, and that the model has not
 * changed. */
static void refused(bdpt_model *m, bdpt_status got, bdpt_status want, const char *part) {
  static bdpt_model *before;
  CHECK(got == want);
  if (!test_check(strstr(ctx.message, part) != NULL, part, __FILE__, __LINE__)) {
    printf("  text: %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
  if (before && m) CHECK(same_weights(before, m));
  bdpt_model_free(before);
  before = m ? bdpt_model_clone(m) : NULL;
}

TEST(errors) {
  bdpt_model *m = make_model(9);
  bdpt_subset none = {&data, NULL, 0}, one = {&data, NULL, 1}, few = {&data, NULL, 4};
  bdpt_layers which = {{0, 0}};
  bdpt_tensor *gamma;
  one.index = few.index = train.index;
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK);
  refused(m, fit_one(m, 0, 1, &train, NULL), BDPT_E_STATE, "block 1 is already");
  refused(m, fit_one(m, 1, 1, &train, NULL), BDPT_E_STATE, "block 1 is already");
  CHECK(bdpt_fuse(m, 1) == BDPT_OK);
  refused(NULL, fit_one(m, 1, 1, &train, NULL), BDPT_E_STATE, "already removed");
  CHECK(fit_one(m, 0, 2, &train, NULL) == BDPT_OK);
  CHECK(fit_one(m, 1, 2, &train, NULL) == BDPT_OK);
  refused(m, fit_one(m, 0, 2, &train, NULL), BDPT_E_STATE, "already removed");
  refused(m, fit_one(m, 1, 2, &train, NULL), BDPT_E_STATE, "already removed");
  refused(m, bdpt_prune(m, 0, 2), BDPT_E_STATE, "already removed");
  refused(m, bdpt_restore(m, 0, 2), BDPT_E_STATE, "not removed");
  refused(m, bdpt_restore(m, 1, 2), BDPT_E_STATE, "two linears are gone");
  refused(m, bdpt_fuse(m, 2), BDPT_E_STATE, "one map already");
  refused(m, fit_one(m, 0, 3, &train, NULL), BDPT_E_ARGUMENT, "layers 0 to 2");
  refused(m, fit_one(m, 0, 0, &none, NULL), BDPT_E_ARGUMENT, "no images");
  refused(m, fit_one(m, 0, 0, NULL, NULL), BDPT_E_ARGUMENT, "no images");
  refused(m, fit_one(m, 0, 0, &one, NULL), BDPT_E_ARGUMENT, "no images");
  refused(m, fit_one(m, 0, 0, &few, NULL), BDPT_E_ARGUMENT,
          "3 images with 15 tokens, too few for a map of 16 inputs");
  bdpt_layers_add(&which, BDPT_ACTIVATION, 0);
  bdpt_layers_add(&which, BDPT_ATTENTION, 1); /* is gone: nothing happens to the first */
  refused(m, bdpt_remove(m, &which, BDPT_START_FIT, &train, NULL), BDPT_E_STATE,
          "attention of block 1");
  CHECK(m->config.block[0].mlp_state == BDPT_MLP_KEPT);
  gamma = &m->param[BDPT_SLOT(0, BDPT_SLOT_NORM1_W)];
  memset(gamma->data, 0, gamma->count * sizeof *gamma->data); /* the norm makes the same of all */
  refused(NULL, fit_one(m, 0, 0, &train, NULL), BDPT_E_NUMERIC, "block 0 reads the same at all");
  CHECK(m->config.block[0].attention == BDPT_ATTENTION_KEPT);
  CHECK(!m->param[BDPT_SLOT(0, BDPT_SLOT_AFIT_W)].data);
  refused(NULL, BDPT_OK, BDPT_OK, "");
  bdpt_model_free(m);
}

static bdpt_status fit_two(bdpt_model *m, void *user) {
  const bdpt_layers which = {{1, 2}}; /* attention 0 and activation 1 */
  bdpt_subset some = train;
  bdpt_status s;
  (void)user;
  some.count = 20;
  s = bdpt_remove(m, &which, BDPT_START_FIT, &some, NULL);
  if (s == BDPT_OK) CHECK(bdpt_removed(&m->config, 0) == 1);
  return s;
}

TEST(every_allocation_fails_once) {
  bdpt_config c = make_config();
  CHECK(each_allocation_fails(&c, 9, fit_two, NULL) > 10);
}

/* The maps are weights: training moves them, and the trainer follows a fit between two steps. */
TEST(training_goes_on_from_the_maps) {
  bdpt_model *m = make_model(10);
  bdpt_recipe r = stripes_recipe(20);
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  bdpt_tensor *w = &m->param[BDPT_SLOT(1, BDPT_SLOT_AFIT_W)];
  double loss = 0, first = 0;
  bdpt_real one;
  int i;
  CHECK(bdpt_trainer_step(t, &loss) == BDPT_OK);
  CHECK(fit_one(m, 0, 1, &train, NULL) == BDPT_OK);
  CHECK(fit_one(m, 1, 0, &train, NULL) == BDPT_OK);
  one = w->data[5];
  for (i = 0; i < 60; i++) {
    CHECK(bdpt_trainer_step(t, &loss) == BDPT_OK);
    if (i < 6) first += loss / 6;
  }
  CHECK(w->data[5] != one);
  CHECK(loss < first);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* Fusing beside fitting: the sentences of both stay. */
/* A map that was fitted to too few images is worse on others than a constant, and it is said. */
static int noise(void *user, size_t index, unsigned char *planes) {
  bdpt_rng r;
  int i;
  bdpt_rng_seed(&r, 5, index);
  for (i = 0; i < STRIPES_BYTES; i++) planes[i] = (unsigned char)(256 * bdpt_uniform(&r));
  return user != NULL;
}

TEST(says_where_images_are_few) {
  static unsigned short label[200];
  bdpt_dataset d = {200, 1, SIDE, SIDE, NULL, label, noise, NULL, NULL};
  bdpt_subset all;
  int k, warned;
  CHECK(bdpt_subset_all(&ctx, &d, &all) == BDPT_OK);
  for (k = 0; k < 2; k++) {
    bdpt_model *m = make_model(3);
    bdpt_fit_report r;
    all.count = k ? 200 : 5;
    CHECK(fit_one(m, BDPT_ACTIVATION, 1, &all, &r) == BDPT_OK);
    warned = strstr(m->certificate, ": worse than a constant, fit to more images") != NULL;
    CHECK(warned == !k && (r.error >= 1) == !k);
    bdpt_model_free(m);
  }
  bdpt_subset_free(&ctx, &all);
}

TEST(a_certificate_for_both) {
  bdpt_model *m = make_model(11);
  bdpt_certificate c;
  CHECK(fit_one(m, 1, 1, &train, NULL) == BDPT_OK);
  CHECK(bdpt_fuse_certified(m, &held, &c) == BDPT_OK && c.fused == 0);
  CHECK(strncmp(m->certificate, "1 layer fitted, not exact", 25) == 0);
  CHECK(bdpt_prune(m, 1, 0) == BDPT_OK);
  CHECK(bdpt_fuse_certified(m, &held, &c) == BDPT_OK && c.fused == 1);
  CHECK(strncmp(m->certificate, "1 MLP fused", 11) == 0);
  CHECK_HAS(m->certificate, "near ties; 1 layer fitted, not exact: relative error up to ");
  bdpt_model_free(m);
}

/* Returns 1 if a removed layer of this type leaves a fitted map with this start. */
static int fits(bdpt_start start, bdpt_type type) {
  static const char map[6][3] = {".a", "..", "..", "aa", "a.", ".a"}; /* attention, activation */
  return map[start][type] == 'a';
}

/* Removes a layer as a study with this start does, then trains; measures the accuracy at once and
 * after. */
static void by_hand(bdpt_model *m, bdpt_start start, bdpt_type type, int l, const bdpt_recipe *r,
                    double out[2]) {
  bdpt_accuracy a;
  if (start == BDPT_START_SKIP || start == BDPT_START_SKIP_FIT)
    m->config.attn_form = BDPT_ATTN_SKIP;
  CHECK((fits(start, type) ? fit_one(m, type, l, &train, NULL)
                           : bdpt_prune(m, type, l)) == BDPT_OK);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK);
  out[0] = a.top1;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&train, NULL, NULL}, r, NULL) == BDPT_OK);
  CHECK(bdpt_evaluate(m, &held, &a) == BDPT_OK);
  out[1] = a.top1;
}

/* Everything the tests below look at, as one list of numbers. */
typedef struct outcome { double number[80]; int count; char hash[17]; } outcome;

static void put(outcome *o, double v) { o->number[o->count++] = v; }

static int same_outcome(const outcome *a, const outcome *b) {
  return a->count == b->count && a->count > 0 && strcmp(a->hash, b->hash) == 0 &&
         memcmp(a->number, b->number, (size_t)a->count * sizeof a->number[0]) == 0;
}

static bdpt_status study_recovery(bdpt_start start, const bdpt_hooks *hooks, outcome *out) {
  bdpt_model *m = make_model(12);
  bdpt_recovery_row row[6];
  bdpt_recovery_options o;
  bdpt_status s;
  int i;
  memset(&o, 0, sizeof o);
  o.recipe = stripes_recipe(1);
  o.start = start;
  s = bdpt_recovery(m, &(bdpt_run){&train, &held, hooks}, &o, row);
  for (i = 0; i < 6 && !s; i++) {
    put(out, row[i].at_once);
    put(out, row[i].after[0]);
  }
  bdpt_model_free(m);
  return s;
}

static bdpt_status study_collect(bdpt_start start, const bdpt_hooks *hooks, outcome *out) {
  bdpt_model *m = make_model(12);
  bdpt_map_point p[20];
  bdpt_map_collect_options o;
  bdpt_status s;
  size_t n = 0, i;
  memset(&o, 0, sizeof o);
  o.recipe = stripes_recipe(1);
  o.most = 2;
  o.start = start;
  for (i = 0; i < 6; i++) o.order[i % 2][i / 2] = 2 - (int)(i / 2); /* from the last block on */
  o.use_order = 1;
  s = bdpt_map_collect(m, &(bdpt_run){&train, &held, hooks}, &o, p, 20, &n);
  for (i = 0; i < n && !s; i++) put(out, p[i].accuracy);
  bdpt_model_free(m);
  return s;
}

static bdpt_status study_search(bdpt_start start, const bdpt_hooks *hooks, outcome *out) {
  bdpt_model *m = make_model(12);
  bdpt_search_options o;
  bdpt_search_result r;
  bdpt_status s;
  int i;
  memset(&o, 0, sizeof o);
  o.recipe = stripes_recipe(3);
  o.recipe.ema = 0.5;
  o.remove[0] = o.remove[1] = o.stage[0] = o.stage[1] = 1;
  o.start = start;
  s = bdpt_search(m, &(bdpt_run){&train, &held, hooks}, &o, &r);
  for (i = 0; i < r.removed && !s; i++) {
    put(out, r.accuracy[i]);
    put(out, r.layer[i].block);
  }
  if (!s) bdpt_model_hash(m, out->hash);
  for (i = 0; i < 3 && !s; i++) {
    put(out, m->config.block[i].attention);
    put(out, m->config.block[i].mlp_state);
  }
  bdpt_model_free(m);
  return s;
}

static bdpt_status study_stages(bdpt_start start, const bdpt_hooks *hooks, outcome *out) {
  bdpt_model *m = make_model(12);
  bdpt_two_stage_options o;
  bdpt_two_stage_result r;
  bdpt_status s;
  int i;
  memset(&o, 0, sizeof o);
  o.budget = 3;
  o.collect.recipe = o.search.recipe = o.finetune = stripes_recipe(1);
  o.collect.most = 3;
  for (i = 0; i < 3; i++) o.search.stage[i] = 1;
  o.start = start;
  s = bdpt_two_stage(m, &(bdpt_run){&train, &held, hooks}, &o, &r);
  for (i = 0; i < (int)r.point_count && !s; i++) put(out, r.points[i].accuracy);
  for (i = 0; i < r.search.removed && !s; i++) {
    put(out, r.search.layer[i].block + 10 * (int)r.search.layer[i].type);
  }
  if (!s) bdpt_model_hash(m, out->hash);
  if (!s && start == BDPT_START_FIT) CHECK_HAS(m->certificate, "3 layers fitted, not exact");
  for (i = 0; i < r.search.removed && !s; i++) {
    const bdpt_block *b = &m->config.block[r.search.layer[i].block];
    int fitted = fits(start, r.search.layer[i].type);
    if (r.search.layer[i].type == BDPT_ATTENTION) {
      CHECK(b->attention == (fitted ? BDPT_ATTENTION_FITTED : BDPT_ATTENTION_REMOVED));
    } else {
      CHECK(b->mlp_state == (fitted ? BDPT_MLP_FITTED : BDPT_MLP_FUSED));
    }
  }
  put(out, r.stage2.at_once.top1);
  put(out, r.stage2.recovered.loss);
  bdpt_model_free(m);
  return s;
}

TEST(studies_start_from_the_fit) {
  outcome o;
  double want[2];
  bdpt_recipe r = stripes_recipe(1);
  bdpt_model *m;
  int start, i;
  for (start = 0; start < 6; start++) {
    memset(&o, 0, sizeof o);
    CHECK(study_recovery((bdpt_start)start, NULL, &o) == BDPT_OK);
    for (i = 0; i < 6; i++) {
      m = make_model(12);
      by_hand(m, (bdpt_start)start, (bdpt_type)(i / 3), i % 3, &r, want);
      CHECK(o.number[2 * i] == want[0] && o.number[2 * i + 1] == want[1]);
      bdpt_model_free(m);
    }
    memset(&o, 0, sizeof o);
    CHECK(study_collect((bdpt_start)start, NULL, &o) == BDPT_OK);
    m = make_model(12);
    for (i = 1; i < 3; i++) { /* down the attention axis, each from the one before */
      r.seed = stripes_recipe(1).seed + (uint64_t)i;
      by_hand(m, (bdpt_start)start, BDPT_ATTENTION, 3 - i, &r, want);
      CHECK(o.number[i] == want[1]);
    }
    r.seed = stripes_recipe(1).seed;
    bdpt_model_free(m);
    memset(&o, 0, sizeof o);
    CHECK(study_search((bdpt_start)start, NULL, &o) ==
          BDPT_OK); /* of each type, one layer that became a map */
    for (i = 0; i < 3; i++) {
      int attention = (int)o.number[4 + 2 * i], form = (int)o.number[5 + 2 * i];
      int gone =
          fits((bdpt_start)start, BDPT_ATTENTION) ? BDPT_ATTENTION_FITTED : BDPT_ATTENTION_REMOVED;
      int linear = fits((bdpt_start)start, BDPT_ACTIVATION) ? BDPT_MLP_FITTED : BDPT_MLP_LINEAR;
      CHECK(attention == ((int)o.number[3] == i ? gone : BDPT_ATTENTION_KEPT));
      CHECK(form == ((int)o.number[1] == i ? linear : BDPT_MLP_KEPT));
    }
    memset(&o, 0, sizeof o);
    CHECK(study_stages((bdpt_start)start, NULL, &o) == BDPT_OK);
  }
}

/* The search inside both stages is the search alone, with the same start. */
TEST(both_stages_search_from_the_fit) {
  bdpt_model *m = make_model(12), *n = bdpt_model_clone(m);
  bdpt_two_stage_options o;
  bdpt_two_stage_result r;
  bdpt_search_result alone;
  int i;
  memset(&o, 0, sizeof o);
  o.budget = 4;
  o.collect.recipe = o.search.recipe = o.finetune = stripes_recipe(1);
  for (i = 0; i < 4; i++) o.search.stage[i] = 1;
  o.start = BDPT_START_FIT;
  CHECK(bdpt_two_stage(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK);
  o.search.start = BDPT_START_FIT;
  o.search.remove[0] = r.attention;
  o.search.remove[1] = r.activation;
  CHECK(bdpt_search(n, &(bdpt_run){&train, &held, NULL}, &o.search, &alone) == BDPT_OK);
  CHECK(memcmp(&alone, &r.search, sizeof alone) == 0);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

static int reports, stop_at;
static int on_progress(const bdpt_progress *p, void *user) {
  (void)p;
  (void)user;
  return ++reports == stop_at;
}

/* Stops a study at the n-th report, for every n, and resumes it: the same numbers, the same bits. A
 * file of one start is refused by the other. */
static void interrupted(bdpt_status (*study)(bdpt_start start, const bdpt_hooks *hooks,
                                             outcome *out),
                        const char *const *files, int step) {
  outcome whole, again, other;
  bdpt_hooks hooks;
  bdpt_status s = BDPT_CANCELLED;
  int n, i, stops;
  memset(&hooks, 0, sizeof hooks);
  memset(&whole, 0, sizeof whole);
  CHECK(study(BDPT_START_FIT, NULL, &whole) == BDPT_OK);
  hooks.progress = on_progress;
  hooks.checkpoint = STATE;
  for (n = 1, stops = 0; s == BDPT_CANCELLED; n += step) {
    for (i = 0; files[i]; i++) remove(files[i]);
    memset(&again, 0, sizeof again);
    reports = 0;
    stop_at = n;
    s = study(BDPT_START_FIT, &hooks, &again);
    if (s != BDPT_CANCELLED) break;
    stops++;
    stop_at = 0;
    memset(&again, 0, sizeof again);
    memset(&other, 0, sizeof other);
    CHECK(study(BDPT_START_PAPER, &hooks, &other) != BDPT_OK);
    bdpt_clear_error(&ctx);
    CHECK(study(BDPT_START_FIT, &hooks, &again) == BDPT_OK);
    CHECK(same_outcome(&whole, &again));
  }
  CHECK(s == BDPT_OK && stops > 5);
  for (i = 0; files[i]; i++) remove(files[i]);
}

TEST(studies_resume_from_the_fit) {
  const char *const files[] = {temporary("fit.recovery"), temporary("fit.map"),
                               temporary("fit.search"), temporary("fit.stage2"), NULL};
  interrupted(study_recovery, files, 1);
  interrupted(study_collect, files, 1);
  interrupted(study_search, files, 1);
  interrupted(study_stages, files, 5);
}

int main(void) {
  bdpt_init(&ctx);
  make_stripes(&ctx, 6);
  RUN(equals_another_solver);
  RUN(a_linear_mlp_is_found_again);
  RUN(several_layers_in_forward_order);
  RUN(a_choice_of_images);
  RUN(every_image_counts);
  RUN(thread_count_changes_no_bit);
  RUN(saved_loaded_and_counted);
  RUN(errors);
  RUN(every_allocation_fails_once);
  RUN(training_goes_on_from_the_maps);
  RUN(says_where_images_are_few);
  RUN(a_certificate_for_both);
  RUN(studies_start_from_the_fit);
  RUN(both_stages_search_from_the_fit);
  RUN(studies_resume_from_the_fit);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  CHECK(ctx.status == BDPT_OK);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("fit");
}
