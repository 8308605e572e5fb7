/* Networks of every form that the configuration knows, against timm (tests/fixtures_forms.py):
 * logits, gradients of every parameter and of every layer's importance. Then each is trained, loses
 * layers of both types, by maps and plainly, is fused with a certificate, saved, read again. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_studies.h"
#include "test.h"
#include "fixture.h"
#include "networks.h"
#include "resize.h"

enum { IMAGES = 24, SIDE = 16 };
static bdpt_context ctx;

typedef struct form {
  const char *name;
  int width, heads, depth, patch, act, pool, no_class, registers, pre_norm, no_qkv_bias, headless;
  int high, wide;             /* its input; 0: SIDE */
} form;

static const form forms[] = {
  {"plain", 8, 2, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0},
  {"plain_wide", 12, 3, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0},
  {"tanh", 8, 2, 2, 8, BDPT_GELU_TANH, 0, 0, 0, 0, 0, 0, 0, 0},
  {"tanh_avg", 8, 2, 2, 8, BDPT_GELU_TANH, BDPT_POOL_MEAN, 0, 0, 0, 0, 0, 0, 0},
  {"quick", 8, 2, 2, 8, BDPT_QUICK_GELU, 0, 0, 0, 1, 0, 0, 0, 0},
  {"quick_plain", 8, 2, 1, 8, BDPT_QUICK_GELU, 0, 0, 0, 0, 0, 0, 0, 0},
  {"relu", 8, 2, 2, 8, BDPT_RELU, 0, 0, 0, 0, 0, 0, 0, 0},
  {"relu_regs", 8, 2, 2, 8, BDPT_RELU, 0, 0, 1, 0, 0, 0, 0, 0},
  {"mean", 8, 2, 2, 8, 0, BDPT_POOL_MEAN, 0, 0, 0, 0, 0, 0, 0},
  {"mean_bare", 12, 3, 2, 8, 0, BDPT_POOL_MEAN, 1, 0, 0, 0, 0, 0, 0},
  {"pooled", 8, 2, 2, 8, 0, BDPT_POOL_NORMED, 0, 0, 0, 0, 0, 0, 0},
  {"pooled_bare", 8, 2, 1, 8, 0, BDPT_POOL_NORMED, 1, 0, 0, 0, 0, 0, 0},
  {"registers", 8, 2, 2, 8, 0, 0, 0, 3, 0, 0, 0, 0, 0},
  {"registers_bare", 8, 2, 2, 4, 0, BDPT_POOL_MEAN, 1, 2, 0, 0, 0, 0, 0},
  {"no_bias", 8, 2, 2, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0},
  {"no_bias_mean", 8, 2, 1, 8, 0, BDPT_POOL_MEAN, 0, 0, 0, 1, 0, 0, 0},
  {"pre", 8, 2, 2, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0},
  {"pre_regs", 8, 2, 1, 8, 0, 0, 0, 2, 1, 0, 0, 0, 0},
  {"headless", 8, 2, 2, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0},
  {"headless_mean", 8, 2, 2, 8, 0, BDPT_POOL_MEAN, 0, 0, 0, 0, 1, 0, 0},
  {"wide", 8, 2, 2, 8, 0, 0, 0, 0, 0, 0, 0, 16, 24},
  {"tall_bare", 8, 2, 1, 4, BDPT_RELU, BDPT_POOL_MEAN, 1, 1, 0, 1, 0, 24, 8}};

static bdpt_model *form_model(const form *f) {
  bdpt_config c;
  bdpt_model *m;
  char prefix[30];
  memset(&c, 0, sizeof c);
  c.image = f->high ? f->high : SIDE; c.image_width = f->wide;
  c.patch = f->patch; c.width = f->width; c.heads = f->heads; c.depth = f->depth;
  c.mlp = f->width * 3 / 2; c.classes = 5; c.act = (bdpt_act)f->act;
  c.pool = (bdpt_pooling)f->pool;
  c.no_class = f->no_class; c.registers = f->registers; c.pre_norm = f->pre_norm;
  c.no_qkv_bias = f->no_qkv_bias; c.headless = f->headless;
  m = bdpt_model_create(&ctx, &c, 1);
  snprintf(prefix, sizeof prefix, "forms/%.20s", f->name);
  fill_network(m, prefix, 0.25, 0.25);
  return m;
}

/* Lists the parameters of a model for a file; returns how many there are. */
static size_t list_parameters(const bdpt_model *m, bdpt_write_tensor *list) {
  size_t count = 0;
  int i;
  for (i = 0; i < m->slots; i++) {
    if (!m->param[i].data) continue;
    list[count].name = m->name[i]; list[count].ndim = m->param[i].ndim;
    list[count].dtype = BDPT_REAL_DTYPE;
    memcpy(list[count].shape, m->param[i].shape, sizeof m->param[i].shape);
    list[count++].data = m->param[i].data;
  }
  return count;
}

static void form_gradients(const form *f, const bdpt_model *m) {
  char what[120], stream[80];
  size_t k;
  int i;
  for (i = 0; i < m->slots; i++) {
    const bdpt_tensor *p = &m->param[i];
    double sum = 0, size = 1e-3, want;
    if (!p->data) continue;
    snprintf(what, sizeof what, "%s.grad.", f->name);
    snprintf(stream, sizeof stream, "dot/%s", m->name[i]);
    want = fixture_number(what, m->name[i]);
    for (k = 0; k < p->count; k++) {
      double term = (double)p->grad[k] * fixture_value(stream, k, 1, 0);
      sum += term; size += fabs(term);
    }
    snprintf(what, sizeof what, "%s: gradient of %s", f->name, m->name[i]);
    if (!test_check(fabs(sum - want) <= FIXTURE_TOLERANCE * size, what, __FILE__, __LINE__))
      printf("  got %.12g, want %.12g\n", sum, want);
  }
}

/* Compares the importance of each layer of a type. Terms of both signs all but cancel, so float
 * gets ten times the room. */
static void form_importance(const form *f, const bdpt_real *got, const char *which) {
  char what[60];
  double *want, error;
  snprintf(what, sizeof what, "%.20s.%s", f->name, which);
  want = fixture_doubles(what, "", NULL);
  error = want ? fixture_error(got, want, (size_t)f->depth) : INFINITY;
  if (!test_check(error <= (sizeof *got == 8 ? 1e-10 : 1e-4), what, __FILE__, __LINE__))
    printf("  error %.3g\n", error);
  free(want);
}

TEST(against_timm) {
  size_t n, i, shape[4] = {3, 3, 0, 0};
  if (!fixture_open(&ctx, "tests/fixtures/forms.safetensors")) return;
  for (n = 0; n < sizeof forms / sizeof *forms; n++) {
    const form *f = &forms[n];
    bdpt_model *m = form_model(f);
    bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
    bdpt_real hard[3 * 16] = {0};
    bdpt_forward_options o;
    bdpt_tensor *x, *z;
    char prefix[60];
    shape[2] = (size_t)(f->high ? f->high : SIDE); shape[3] = (size_t)(f->wide ? f->wide : SIDE);
    x = bdpt_input(t, 4, shape, NULL, 0);
    if (!CHECK(m && x)) return;
    memset(&o, 0, sizeof o);
    o.training = o.importance = 1;
    for (i = 0; i < x->count; i++) x->data[i] = (bdpt_real)fixture_value("forms/images", i, 2, 0);
    for (i = 0; i < 3; i++) hard[i * (size_t)m->config.classes + i] = 1;
    bdpt_model_train_mode(m);
    bdpt_model_zero_grad(m);
    z = bdpt_forward(m, t, x, &o, NULL);
    snprintf(prefix, sizeof prefix, "%s.", f->name);
    fixture_check(z->data, z->count, prefix, "logits");
    CHECK(bdpt_backward(t, bdpt_cross_entropy(t, z, hard), NULL) == BDPT_OK);
    form_gradients(f, m);
    form_importance(f, m->importance_data[1][BDPT_ATTENTION], "d_attn");
    form_importance(f, m->importance_data[1][BDPT_ACTIVATION], "d_act");
    bdpt_tape_free(t);
    bdpt_model_free(m);
  }
  fixture_close();
}

/* Makes pictures of two kinds, bright at the left or at the right. */
static void picture_set(bdpt_dataset *d) {
  size_t i, plane = SIDE * SIDE;
  memset(d, 0, sizeof *d);
  d->count = IMAGES; d->classes = 2; d->height = d->width = SIDE;
  d->pixels = (unsigned char *)bdpt_alloc(&ctx, IMAGES * 3 * plane);
  d->label = (unsigned short *)bdpt_alloc(&ctx, IMAGES * sizeof *d->label);
  for (i = 0; i < IMAGES * 3 * plane; i++) {
    size_t kind = i / (3 * plane) % 2, right = i % SIDE >= SIDE / 2;
    d->label[i / (3 * plane)] = (unsigned short)kind;
    d->pixels[i] = (unsigned char)((kind == right ? 170 : 30) + (int)(fixture_bits("f", i) >> 58));
  }
}

/* Returns the answers of the model, [count,classes], malloc'd. */
static bdpt_real *answers(bdpt_model *m, const bdpt_subset *all) {
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *x = (bdpt_real *)malloc(all->count * bdpt_image_numbers(&m->config) * sizeof *x);
  bdpt_real *z = (bdpt_real *)malloc(all->count * (size_t)m->config.classes * sizeof *z);
  CHECK(bdpt_load_batch(&ctx, &m->config, all, 0, all->count, x, NULL) == BDPT_OK);
  CHECK(bdpt_predict(m, t, all->count, x, z) == BDPT_OK);
  free(x);
  bdpt_tape_free(t);
  return z;
}

static void form_life(const form *f, const bdpt_subset *all, bdpt_start start) {
  bdpt_model *m = form_model(f), *n;
  bdpt_certificate c;
  bdpt_recipe r;
  bdpt_layers gone;
  bdpt_epoch log[4];
  bdpt_real *z, *again;
  bdpt_bytes bytes = {NULL, 0};
  size_t k;
  if (!m) return;
  memset(&r, 0, sizeof r);
  memset(&gone, 0, sizeof gone);
  r.epochs = 4; r.batch = 8; r.lr = 3e-3; r.seed = 5;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){all, NULL, NULL}, &r, log) == BDPT_OK);
  if (!CHECK(log[3].loss < log[0].loss))
    printf("  %s: %g, %g\n", f->name, log[0].loss, log[3].loss);
  gone.blocks[BDPT_ATTENTION] = (uint64_t)1 << (f->depth - 1);
  gone.blocks[BDPT_ACTIVATION] = 1;
  if (!CHECK(bdpt_remove(m, &gone, start, all, NULL) == BDPT_OK)) printf("  %s\n", ctx.message);
  CHECK(bdpt_removed(&m->config, BDPT_ATTENTION) == 1);
  CHECK(bdpt_removed(&m->config, BDPT_ACTIVATION) == 1);
  z = answers(m, all);
  CHECK(bdpt_fuse_certified(m, all, &c) == BDPT_OK && c.agree + c.near_ties == c.images);
  CHECK(c.difference <= (sizeof(bdpt_real) == 8 ? 1e-12 : 1e-5));
  CHECK(c.fused == (start == BDPT_START_PAPER));
  CHECK(bdpt_model_label(m, "[\"left\",\"right\"]") == BDPT_OK);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, f->name, NULL);
  if (CHECK(n != NULL)) {
    CHECK(n->labels && strcmp(n->labels, m->labels) == 0);
    again = answers(n, all);
    free(z);
    z = answers(m, all);
    for (k = 0; k < all->count * (size_t)m->config.classes && again[k] == z[k]; k++) { }
    CHECK(k == all->count * (size_t)m->config.classes);
    free(again);
  }
  free(z);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(n);
  bdpt_model_free(m);
}

/* Names go into copies of a network and into the network it becomes, but not to other classes. */
TEST(names_of_classes) {
  bdpt_model *m = form_model(&forms[0]), *copy, *other = form_model(&forms[1]);
  CHECK(bdpt_model_label(m, "[1]") == BDPT_OK && bdpt_model_label(m, "[2]") == BDPT_OK);
  copy = bdpt_model_clone(m);
  CHECK(copy && copy->labels != m->labels && strcmp(copy->labels, "[2]") == 0);
  CHECK(bdpt_model_new_head(copy, 7, 1) == BDPT_OK && copy->labels == NULL);
  CHECK(bdpt_model_assign(other, m) == BDPT_OK && strcmp(other->labels, "[2]") == 0);
  CHECK(bdpt_model_label(m, NULL) == BDPT_OK && m->labels == NULL);
  bdpt_model_free(copy);
  bdpt_model_free(other);
  bdpt_model_free(m);
}

TEST(train_remove_fit_fuse_save) {
  bdpt_dataset data;
  bdpt_subset all;
  size_t n;
  memset(&all, 0, sizeof all);
  picture_set(&data);
  CHECK(bdpt_subset_all(&ctx, &data, &all) == BDPT_OK);
  for (n = 0; n < sizeof forms / sizeof *forms; n++) {
    form_life(&forms[n], &all, BDPT_START_PAPER);
    form_life(&forms[n], &all, BDPT_START_SKIP_FIT);
  }
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &data);
}

/* ------------------------------------------------------------ inputs that are no squares ------ */

static bdpt_model *oblong(int high, int wide, int patch, bdpt_pos_resize resize) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = high; c.image_width = wide; c.patch = patch; c.width = 8; c.heads = 2; c.depth = 1;
  c.mlp = 12; c.classes = 2; c.pos_resize = resize;
  return bdpt_model_create(&ctx, &c, 3);
}

/* A width that is the height is a square, and a square's width follows its height. */
TEST(sizes_of_oblongs) {
  bdpt_model *m = oblong(16, 16, 8, BDPT_POS_TIMM), *n = oblong(16, 24, 8, BDPT_POS_TIMM);
  bdpt_config c;
  CHECK(m->config.image_width == 0 && bdpt_image_width(&m->config) == 16);
  CHECK(bdpt_token_count(&m->config) == 5 && bdpt_image_numbers(&m->config) == 768);
  CHECK(n->config.image_width == 24 && bdpt_token_count(&n->config) == 7);
  CHECK(bdpt_image_width(&n->config) == 24 && bdpt_image_numbers(&n->config) == 1152);
  c = n->config; c.image_width = 20;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_E_SHAPE);
  CHECK_HAS(ctx.message, "patch 8 does not divide image 16 x 20");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_model_resize(n, 8, 8) == BDPT_OK && n->config.image_width == 0);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

static void grid_case(int a, int b, int c, int d) {
  char prefix[40];
  int deit;
  size_t i, n;
  for (deit = 0; deit < 2; deit++) {
    bdpt_model *m = oblong(a, b, 1, deit ? BDPT_POS_DEIT : BDPT_POS_TIMM);
    bdpt_tensor *pos = &m->param[BDPT_SLOT_POS];
    double *want;
    for (i = 0; i < pos->count; i++) pos->data[i] = (bdpt_real)fixture_value("forms/grid", i, 1, 0);
    snprintf(prefix, sizeof prefix, "grid.%dx%d.%dx%d.", a, b, c, d);
    want = fixture_doubles(prefix, deit ? "deit" : "timm", &n);
    CHECK(bdpt_model_resize(m, c, d) == BDPT_OK && pos->count == n);
    CHECK(fixture_error(pos->data, want, n) <= (sizeof(bdpt_real) == 8 ? 1e-12 : 1e-6));
    free(want);
    bdpt_model_free(m);
  }
}

TEST(grids_of_positions) {
  if (!fixture_open(&ctx, "tests/fixtures/forms.safetensors")) return;
  grid_case(2, 3, 3, 2);
  grid_case(2, 3, 1, 5);
  grid_case(4, 2, 3, 3);
  grid_case(3, 3, 2, 6);
  fixture_close();
}

/* What the network sees is the picture resized to its height and width, from a data set as from
 * bytes of three colours side by side. */
TEST(pictures_of_oblongs) {
  bdpt_model *m = oblong(16, 24, 8, BDPT_POS_TIMM);
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  const int from[2] = {SIDE, SIDE}, to[2] = {16, 24};
  unsigned char planes[3 * 16 * 24], rgb[SIDE * SIDE * 3];
  bdpt_real x[3 * 16 * 24], z[2], again[2];
  bdpt_dataset data;
  bdpt_subset all;
  size_t i, wrong = 0;
  memset(&all, 0, sizeof all);
  picture_set(&data);
  CHECK(bdpt_subset_all(&ctx, &data, &all) == BDPT_OK);
  CHECK(bdpt_load_batch(&ctx, &m->config, &all, 0, 1, x, NULL) == BDPT_OK);
  resized(&ctx, data.pixels, from, planes, to);
  for (i = 0; i < sizeof planes; i++) {
    double want = (planes[i] / 255.0 - m->config.mean[i / 384]) / m->config.std[i / 384];
    wrong += fabs((double)x[i] - want) > 1e-5;
  }
  CHECK(wrong == 0);
  for (i = 0; i < sizeof rgb; i++) rgb[i] = data.pixels[i % 3 * SIDE * SIDE + i / 3];
  CHECK(bdpt_predict(m, t, 1, x, z) == BDPT_OK);
  CHECK(bdpt_predict_rgb(m, t, rgb, SIDE, SIDE, again) == BDPT_OK);
  CHECK(fabs((double)(z[0] - again[0])) < 1e-5 && fabs((double)(z[1] - again[1])) < 1e-5);
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &data);
  bdpt_tape_free(t);
  bdpt_model_free(m);
}

/* Every augmentation is on at once, with a teacher; stopped after three steps and resumed it has
 * the same bits, and the checkpoint fits no network of the same size that lies on its side. */
TEST(training_of_oblongs) {
  bdpt_model *m = oblong(16, 24, 8, BDPT_POS_TIMM), *n = oblong(16, 24, 8, BDPT_POS_TIMM);
  bdpt_model *other = oblong(24, 16, 8, BDPT_POS_TIMM), *teacher = bdpt_model_clone(m);
  bdpt_bytes bytes = {NULL, 0};
  bdpt_trainer *a, *b, *c;
  bdpt_dataset data;
  bdpt_subset all;
  bdpt_recipe r;
  char hash[2][17];
  int i;
  memset(&all, 0, sizeof all);
  memset(&r, 0, sizeof r);
  picture_set(&data);
  CHECK(bdpt_subset_all(&ctx, &data, &all) == BDPT_OK);
  r.epochs = 2; r.batch = 8; r.crop = 2; r.flip = 1; r.erase = 0.5; r.mixup = 0.4; r.cutmix = 1;
  r.distill = BDPT_DISTILL_SOFT; r.distill_features = 0.5;
  a = bdpt_trainer_create(m, teacher, &all, &r);
  b = bdpt_trainer_create(n, teacher, &all, &r);
  if (CHECK(a && b)) {
    for (i = 0; i < 3; i++) CHECK(bdpt_trainer_step(a, NULL) == BDPT_OK);
    CHECK(bdpt_trainer_build(a, &bytes) == BDPT_OK);
    CHECK(bdpt_trainer_parse(b, bytes.data, bytes.size, "checkpoint") == BDPT_OK);
    for (i = 0; i < 3; i++) CHECK(bdpt_trainer_step(a, NULL) == BDPT_OK);
    for (i = 0; i < 3; i++) CHECK(bdpt_trainer_step(b, NULL) == BDPT_OK);
    bdpt_model_hash(m, hash[0]);
    bdpt_model_hash(n, hash[1]);
    CHECK(strcmp(hash[0], hash[1]) == 0);
  }
  CHECK(bdpt_trainer_create(other, teacher, &all, &r) == NULL);
  CHECK_HAS(ctx.message, "the teacher takes 3 channels of 16 x 24 pixels");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_model_resize(teacher, 24, 16) == BDPT_OK);
  c = bdpt_trainer_create(other, teacher, &all, &r);
  CHECK(c && bdpt_trainer_parse(c, bytes.data, bytes.size, "checkpoint") != BDPT_OK);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_model_resize(m, 24, 16) == BDPT_OK && bdpt_trainer_step(a, NULL) == BDPT_E_STATE);
  CHECK_HAS(ctx.message, "the model changed to 24 x 16 pixels");
  bdpt_clear_error(&ctx);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_trainer_free(a);
  bdpt_trainer_free(b);
  bdpt_trainer_free(c);
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &data);
  bdpt_model_free(teacher);
  bdpt_model_free(m);
  bdpt_model_free(n);
  bdpt_model_free(other);
}

/* The width is a key of its own, which files of squares do not have; of a file without metadata the
 * caller tells it. */
TEST(files_of_oblongs) {
  bdpt_model *square = oblong(16, 0, 8, BDPT_POS_TIMM), *m = oblong(16, 24, 8, BDPT_POS_TIMM), *n;
  bdpt_bytes bytes = {NULL, 0};
  bdpt_safetensors file;
  bdpt_config c;
  bdpt_write_tensor list[40];
  size_t count;
  CHECK(bdpt_model_build(square, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, "square", &file) == BDPT_OK);
  CHECK(bdpt_safetensors_get(&file, "image_width") == NULL);
  CHECK(strcmp(bdpt_safetensors_get(&file, "boundarydpt"), "1") == 0);
  bdpt_safetensors_close(&file);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, "wide", &file) == BDPT_OK);
  CHECK(strcmp(bdpt_safetensors_get(&file, "image_size"), "16") == 0);
  CHECK(strcmp(bdpt_safetensors_get(&file, "image_width"), "24") == 0);
  CHECK(strcmp(bdpt_safetensors_get(&file, "boundarydpt"), "2") == 0);
  bdpt_safetensors_close(&file);
  bdpt_bytes_free(&ctx, &bytes);
  memset(list, 0, sizeof list);
  count = list_parameters(m, list);
  CHECK(bdpt_safetensors_build(&ctx, list, count, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(!bdpt_model_parse(&ctx, bytes.data, bytes.size, "bare", &square->config));
  CHECK_HAS(ctx.message, "'pos_embed': [1,7,8] in the file, but the network needs [1,5,8]");
  bdpt_clear_error(&ctx);
  c = square->config;
  c.image_width = 24;
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "bare", &c);
  CHECK(n && n->config.image == 16 && n->config.image_width == 24);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(n);
  bdpt_model_free(m);
  bdpt_model_free(square);
}

int main(void) {
  memset(&ctx, 0, sizeof ctx);
  if (bdpt_init(&ctx) != BDPT_OK) return EXIT_FAILURE;
  RUN(against_timm);
  RUN(names_of_classes);
  RUN(train_remove_fit_fuse_save);
  RUN(sizes_of_oblongs);
  RUN(grids_of_positions);
  RUN(pictures_of_oblongs);
  RUN(training_of_oblongs);
  RUN(files_of_oblongs);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("forms");
}
