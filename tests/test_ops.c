/* Every operation of the tape: against PyTorch (tests/fixtures/ops.safetensors), against central
 * differences (in the double build), and its sentence for shapes that do not fit.
 *
 * Tolerances. Fixtures: 1e-5 in float and 1e-10 in double, relative to a tensor's largest entry.
 * Gradient check: 1e-7 in double; the measured worst over all cases is a few 1e-9. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "fixture.h"

static bdpt_context ctx;
static bdpt_tape *tape;

/* ---- PyTorch --------------------------------------------------------------------------------- */

static bdpt_tensor *in[6];

static int has_case(const char *op, int i, char *name) {
  char probe[120];
  snprintf(name, 80, "%s.%d.", op, i);
  snprintf(probe, sizeof probe, "%s.%d.y", op, i);
  return bdpt_safetensors_find(&fixture_file, probe) != NULL;
}

static void check_zero(const char *name, const char *label) {
  size_t n = 0, i;
  double *want = fixture_doubles(name, label, &n);
  for (i = 0; want && i < n; i++) CHECK(want[i] == 0);
  free(want);
}

/* Compares output and input gradients of a graph with the case's y, dy and dNAME. */
static void compare(const char *name, bdpt_tensor *y, const char *const *inputs) {
  double *dy = fixture_doubles(name, "dy", NULL);
  bdpt_real *seed;
  char label[40];
  size_t i;
  if (!CHECK(y != NULL) || !dy) {
    printf("  %s %s\n", name, ctx.message);
    bdpt_clear_error(&ctx);
    free(dy);
    return;
  }
  seed = (bdpt_real *)malloc((y->count + 1) * sizeof *seed);
  for (i = 0; i < y->count; i++) seed[i] = (bdpt_real)dy[i];
  fixture_check(y->data, y->count, name, "y");
  CHECK(bdpt_backward(tape, y, seed) == BDPT_OK);
  for (i = 0; inputs[i]; i++) {
    snprintf(label, sizeof label, "d%s", inputs[i]);
    if (in[i]->grad) fixture_check(in[i]->grad, in[i]->count, name, label);
    else check_zero(name, label); /* nothing was added to it */
  }
  free(seed);
  free(dy);
}

static int load(const char *name, const char *const *inputs) {
  int i;
  bdpt_tape_reset(tape);
  for (i = 0; inputs[i]; i++) {
    in[i] = fixture_input(tape, name, inputs[i]);
    if (!CHECK(in[i] != NULL)) return 0;
  }
  return 1;
}

static bdpt_real *reals(const char *name, const char *what) {
  size_t n = 0, i;
  double *v = fixture_doubles(name, what, &n);
  bdpt_real *r = (bdpt_real *)malloc((n + 1) * sizeof *r);
  for (i = 0; i < n; i++) r[i] = (bdpt_real)v[i];
  free(v);
  return r;
}

#define EACH(op) for (i = 0; has_case(op, i, name); i++)

TEST(torch_linear_norm_gelu) {
  static const char *const xwb[] = {"x", "w", "b", NULL}, *const x[] = {"x", NULL};
  char name[80];
  int i;
  EACH("linear")
  if (load(name, xwb)) compare(name, bdpt_linear(tape, in[0], in[1], in[2], NULL), xwb);
  CHECK(i >= 5);
  EACH("layer_norm") {
    double eps = fixture_number(name, "eps");
    if (load(name, xwb)) compare(name, bdpt_layernorm(tape, in[0], in[1], in[2], eps), xwb);
  }
  CHECK(i >= 5);
  EACH("gelu") if (load(name, x)) compare(name, bdpt_activate(tape, in[0], BDPT_GELU), x);
  CHECK(i >= 3);
}

TEST(torch_attention) {
  static const char *const names[] = {"qkv", NULL};
  char name[80];
  int i;
  EACH("attention") {
    size_t shape[3];
    int heads;
    bdpt_tensor *packed;
    bdpt_real *data;
    const bdpt_file_tensor *f = fixture_find(name, "qkv");
    if (!CHECK(f && f->ndim == 5)) continue;
    data = reals(name, "qkv");
    heads = (int)f->shape[3];
    shape[0] = f->shape[0]; shape[1] = f->shape[1]; shape[2] = 3 * f->shape[3] * f->shape[4];
    bdpt_tape_reset(tape);
    packed = in[0] = bdpt_input(tape, 3, shape, data, 1);
    compare(name, bdpt_attention(tape, packed, NULL, heads, 1 / sqrt((double)f->shape[4])), names);
    free(data);
  }
  CHECK(i >= 5);
}

TEST(torch_images_and_tokens) {
  static const char *const xwb[] = {"x", "w", "b", NULL};
  static const char *const three[] = {"patches", "cls", "pos", NULL};
  static const char *const four[] = {"patches", "cls", "pos", "dist", NULL};
  char name[80];
  int i;
  EACH("patch_embed") {
    if (load(name, xwb)) compare(name, bdpt_patch_embed(tape, in[0], in[1], in[2]), xwb);
  }
  CHECK(i >= 5);
  EACH("tokens") {
    const char *const *names = fixture_find(name, "dist") ? four : three;
    if (!load(name, names)) continue;
    compare(name, bdpt_tokens(tape, in[0], in[1], names == four ? in[3] : NULL, NULL, in[2]),
            names);
  }
  CHECK(i >= 4);
}

TEST(torch_mix) {
  static const char *const names[] = {"f", "r", "m", NULL};
  char name[80];
  int i;
  EACH("mix") {
    if (load(name, names)) compare(name, bdpt_mix(tape, in[0], in[1], in[2], BDPT_NONE), names);
  }
  CHECK(i >= 5);
}

TEST(torch_losses) {
  static const char *const x[] = {"x", NULL}, *const heads[] = {"cls", "dist", NULL};
  char name[80];
  int i;
  size_t b, k;
  EACH("soft_ce") {
    bdpt_real *targets = reals(name, "targets");
    if (load(name, x)) compare(name, bdpt_cross_entropy(tape, in[0], targets), x);
    free(targets);
  }
  CHECK(i >= 5);
  EACH("hard_distill") {
    bdpt_real *targets = reals(name, "targets"), *teacher = reals(name, "teacher");
    double alpha = fixture_number(name, "alpha");
    bdpt_tensor *a, *c;
    if (!load(name, heads)) continue;
    for (b = 0; b < in[0]->shape[0]; b++) { /* one-hot at the teacher's arg-max */
      size_t n = in[0]->shape[1], best = 0;
      for (k = 0; k < n; k++) if (teacher[b * n + k] > teacher[b * n + best]) best = k;
      for (k = 0; k < n; k++) teacher[b * n + k] = k == best;
    }
    a = bdpt_scale(tape, bdpt_cross_entropy(tape, in[0], targets), 1 - alpha);
    c = bdpt_scale(tape, bdpt_cross_entropy(tape, in[1], teacher), alpha);
    compare(name, bdpt_add(tape, a, c), heads);
    free(targets);
    free(teacher);
  }
  CHECK(i >= 5);
  EACH("match") {
    const bdpt_file_tensor *f = fixture_find(name, "target");
    bdpt_real *target = reals(name, "target");
    if (load(name, x))
      compare(name, bdpt_match(tape, in[0], bdpt_input(tape, f->ndim, f->shape, target, 0)), x);
    free(target);
  }
  CHECK(i >= 5);
  EACH("soft_distill_batchmean") {
    bdpt_real *targets = reals(name, "targets"), *teacher = reals(name, "teacher");
    double alpha = fixture_number(name, "alpha"), tau = fixture_number(name, "tau");
    bdpt_tensor *a, *c;
    if (!load(name, heads)) continue;
    a = bdpt_scale(tape, bdpt_cross_entropy(tape, in[0], targets), 1 - alpha);
    c = bdpt_scale(tape, bdpt_distill_soft(tape, in[1], teacher, tau), alpha);
    compare(name, bdpt_add(tape, a, c), heads);
    free(targets);
    free(teacher);
  }
  CHECK(i >= 5);
}

/* ---- Central differences --------------------------------------------------------------------- */

static double parameter; /* eps, scale, rate: what a graph needs besides its inputs */
static int number;
static bdpt_real constant[512];

static bdpt_tensor *g_linear(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_linear(t, x[0], x[1], x[2], NULL);
}
static bdpt_tensor *g_norm(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_layernorm(t, x[0], x[1], x[2], 1e-6);
}
static bdpt_tensor *g_gelu(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_activate(t, x[0], BDPT_GELU);
}
static bdpt_tensor *g_attention(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_attention(t, x[0], NULL, number, parameter);
}
static bdpt_tensor *g_counted(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  const size_t n = x[0]->shape[1];
  bdpt_tensor *count = bdpt_input(t, 2, x[0]->shape, NULL, 0);
  size_t i;
  (void)u;
  for (i = 0; count && i < count->count; i++) count->data[i] = (bdpt_real)(1 + (i + i / n) % 4);
  return bdpt_attention(t, x[0], count, number, parameter);
}
static bdpt_tensor *g_patch(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_patch_embed(t, x[0], x[1], x[2]);
}
static bdpt_tensor *g_tokens(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_tokens(t, x[0], number < 0 ? NULL : x[1], number > 0 ? x[3] : NULL,
                     number > 1 ? x[4] : NULL, x[2]);
}
static bdpt_tensor *g_pool(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u; /* behind the first token where there is one that is not in the mean */
  return bdpt_pool(t, x[0], (size_t)number, 0, number > 0);
}
static bdpt_tensor *g_token(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_pool(t, x[0], (size_t)number, 1, 0);
}
static bdpt_tensor *g_add(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u; /* x[0] is used three times, so its gradient has to be added up */
  return bdpt_add(t, bdpt_add(t, x[0], x[1]), bdpt_activate(t, bdpt_add(t, x[0], x[0]), BDPT_GELU));
}
static bdpt_tensor *g_linear_add(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_linear(t, x[0], x[1], x[2], x[3]);
}
static bdpt_act act; /* of the next three */
static bdpt_tensor *g_act(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_activate(t, x[0], act);
}
static bdpt_tensor *g_mlp(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_mlp(t, x[0], x + 1, 1e-5, act);
}
/* Computes the same from five operations. */
static bdpt_tensor *g_five(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  bdpt_tensor *v = bdpt_layernorm(t, x[0], x[1], x[2], 1e-5);
  (void)u;
  v = bdpt_activate(t, bdpt_linear(t, v, x[3], x[4], NULL), act);
  return bdpt_add(t, x[0], bdpt_linear(t, v, x[5], x[6], NULL));
}
static bdpt_tensor *g_scale(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_scale(t, x[0], parameter);
}
static bdpt_tensor *g_drop(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  bdpt_rng rng; /* the same draws every time the graph is built */
  (void)u;
  rng.state = 99;
  return bdpt_drop_path(t, x[0], parameter, &rng);
}
static bdpt_tensor *g_mix(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_mix(t, x[0], x[1], x[2], BDPT_NONE);
}
static bdpt_tensor *g_ce(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_cross_entropy(t, x[0], constant);
}
static bdpt_tensor *g_match(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_match(t, x[0], bdpt_input(t, x[0]->ndim, x[0]->shape, constant, 0));
}
static bdpt_tensor *g_soft(bdpt_tape *t, bdpt_tensor *const *x, void *u) {
  (void)u;
  return bdpt_distill_soft(t, x[0], constant, parameter);
}

/* Uses the operation twice on the same inputs: the second gradient has to be added. */
static bdpt_tensor *g_twice(bdpt_tape *t, bdpt_tensor *const *x, void *once) {
  bdpt_graph graph;
  memcpy(&graph, once, sizeof graph);
  return bdpt_add(t, bdpt_scale(t, graph(t, x, NULL), 0.5), graph(t, x, NULL));
}

static double worst_gradient;

/* Checks the graph on inputs of the given shapes (axes end at 0) filled from a seed. */
static void gradient(const char *op, bdpt_graph graph, int count, size_t shapes[][5],
                     uint64_t seed) {
  bdpt_tensor x[7];
  bdpt_tensor *list[7];
  double error = 1;
  char what[80];
  int i;
  size_t k;
  bdpt_rng rng;
  if (sizeof(bdpt_real) != 8) return;
  bdpt_rng_seed(&rng, seed, 3);
  memset(x, 0, sizeof x);
  for (i = 0; i < count; i++) {
    x[i].count = 1;
    for (x[i].ndim = 0; shapes[i][x[i].ndim]; x[i].ndim++) {
      x[i].shape[x[i].ndim] = shapes[i][x[i].ndim];
      x[i].count *= shapes[i][x[i].ndim];
    }
    x[i].data = (bdpt_real *)malloc(x[i].count * sizeof(bdpt_real));
    for (k = 0; k < x[i].count; k++) x[i].data[k] = (bdpt_real)bdpt_normal(&rng);
    list[i] = &x[i];
  }
  for (k = 0; k < 512; k++) constant[k] = (bdpt_real)bdpt_uniform(&rng);
  for (i = 0; i < 2; i++) {
    CHECK(bdpt_gradcheck(&ctx, i ? g_twice : graph, &graph, list, count, &error) == BDPT_OK);
    snprintf(what, sizeof what, "gradient of %s%s, seed %d", op, i ? " used twice" : "",
             (int)seed);
    if (!test_check(error <= 1e-7, what, __FILE__, __LINE__)) {
      printf("  error %.3g %s\n", error, ctx.message);
      bdpt_clear_error(&ctx);
    }
    if (error > worst_gradient) worst_gradient = error;
  }
  for (i = 0; i < count; i++) free(x[i].data);
}

TEST(gradients_dense) {
  size_t rio[6][3] = {{1, 1, 1}, {3, 5, 7}, {2, 17, 3}, {13, 1, 4}, {7, 33, 18}, {5, 4, 1}};
  int i, k;
  for (i = 0; i < 6; i++) {
    size_t r = rio[i][0], n = rio[i][1], o = rio[i][2];
    size_t linear[3][5] = {{r, n, 0}, {o, n, 0}, {o, 0}};
    size_t norm[3][5] = {{r, n + 1, 0}, {n + 1, 0}, {n + 1, 0}};
    size_t three[3][5] = {{2, r, n, 0}, {o, n, 0}, {o, 0}};
    size_t one[1][5] = {{r < 7 ? r : 1, n, o, 0}}; /* time grows with the square of its numbers */
    size_t mix[3][5] = {{r, n, 0}, {r, n, 0}, {1, 0}}, two[2][5] = {{r, o, 0}, {r, o, 0}};
    gradient("linear", g_linear, 3, linear, (uint64_t)(10 + i));
    gradient("linear on three axes", g_linear, 3, three, (uint64_t)(20 + i));
    {
      size_t sum[4][5] = {{2, r, n, 0}, {o, n, 0}, {o, 0}, {2, r, o, 0}};
      size_t mlp[7][5] = {{r, n + 1, 0}, {n + 1, 0}, {n + 1, 0}, {o, n + 1, 0}, {o, 0},
                          {n + 1, o, 0}, {n + 1, 0}};
      gradient("linear and sum", g_linear_add, 4, sum, (uint64_t)(120 + i));
      for (k = 0; k < 4; k++) { /* ReLU too: no argument of these is within a step of its kink */
        act = (bdpt_act)k;
        gradient("mlp", g_mlp, 7, mlp, (uint64_t)(130 + i));
        gradient("activation", g_act, 1, one, (uint64_t)(140 + i));
      }
      act = BDPT_GELU;
    }
    gradient("layer norm", g_norm, 3, norm, (uint64_t)(30 + i));
    gradient("gelu", g_gelu, 1, one, (uint64_t)(40 + i));
    gradient("add", g_add, 2, two, (uint64_t)(60 + i));
    gradient("mix", g_mix, 3, mix, (uint64_t)(70 + i));
    parameter = -1.7 + i;
    gradient("scale", g_scale, 1, one, (uint64_t)(80 + i));
    parameter = 0.2 * i + 0.01;
    if (i < 5) gradient("drop path", g_drop, 1, one, (uint64_t)(90 + i));
    parameter = 0.5 + i;
    gradient("cross-entropy", g_ce, 1, two, (uint64_t)(100 + i));
    gradient("soft distillation", g_soft, 1, two, (uint64_t)(110 + i));
    gradient("match", g_match, 1, two, (uint64_t)(140 + i));
  }
}

/* Compares the MLP in one operation, keeping more or less, with the same from five. */
static void mlp_case(size_t n, size_t d, size_t f) {
  size_t shape[7][3] = {{2, 0, 0}};
  static const int axes[7] = {3, 1, 1, 2, 1, 2, 1};
  static bdpt_real kept[3][90000], data[7][33000], seed[2 * 65 * 48];
  double worst[2] = {0, 0};
  bdpt_rng rng;
  size_t at[3] = {0, 0, 0}, k;
  int form, i;
  bdpt_rng_seed(&rng, 5, 5);
  shape[0][1] = n;
  shape[0][2] = shape[1][0] = shape[2][0] = shape[3][1] = shape[5][0] = shape[6][0] = d;
  shape[3][0] = shape[4][0] = shape[5][1] = f;
  for (i = 0; i < 7 * 33000; i++) data[i / 33000][i % 33000] = (bdpt_real)bdpt_normal(&rng);
  for (i = 0; i < 2 * 65 * 48; i++) seed[i] = (bdpt_real)bdpt_normal(&rng);
  for (form = 0; form < 3; form++) {
    bdpt_tape *t = bdpt_tape_create(&ctx, form == 1 ? BDPT_TAPE_RECOMPUTE : BDPT_TAPE_RECORD);
    bdpt_tensor *x[7], *y;
    for (i = 0; i < 7; i++) x[i] = bdpt_input(t, axes[i], shape[i], data[i], 1);
    y = (form == 2 ? g_five : g_mlp)(t, x, NULL);
    if (!CHECK(y && bdpt_backward(t, y, seed) == BDPT_OK)) return;
    for (k = 0; k < y->count; k++) kept[form][at[form]++] = y->data[k];
    for (i = 0; i < 7; i++) {
      for (k = 0; k < x[i]->count; k++) kept[form][at[form]++] = x[i]->grad[k];
    }
    bdpt_tape_free(t);
  }
  CHECK(at[0] == at[2] && at[1] == at[2] && at[0] > 30000);
  for (k = 0; k < at[0]; k++) {
    worst[0] = fmax(worst[0], fabs((double)(kept[0][k] - kept[1][k])));
    worst[1] = fmax(worst[1], fabs((double)(kept[0][k] - kept[2][k])) /
                                  (1 + fabs((double)kept[2][k])));
  }
  CHECK(worst[0] == 0); /* what is made again has the same bits */
  CHECK(worst[1] < (sizeof(bdpt_real) == 8 ? 1e-12 : 5e-5));
}

TEST(mlp_is_five_operations) {
  int k;
  for (k = 0; k < 4; k++) {
    act = (bdpt_act)k;
    mlp_case(65, 48, 192);
    mlp_case(3, 820, 32); /* so wide that products are cut along K */
  }
  act = BDPT_GELU;
}

TEST(gradients_structured) {
  /* attention: B N h d; patches: B C H/P W/P P D */
  size_t bnhd[6][4] = {{1, 1, 1, 1}, {2, 3, 1, 5}, {1, 17, 2, 3}, {3, 2, 5, 1}, {1, 19, 1, 18},
                       {2, 5, 3, 4}};
  size_t images[5][6] = {{1, 1, 1, 1, 1, 1}, {2, 3, 2, 3, 2, 5}, {1, 2, 1, 3, 3, 4},
                         {3, 1, 2, 1, 4, 1}, {1, 3, 3, 2, 1, 7}};
  int i;
  for (i = 0; i < 6; i++) {
    size_t *s = bnhd[i], qkv[1][5] = {{s[0], s[1], 3 * s[2] * s[3], 0}};
    size_t tokens[4][5] = {{s[0], s[1], s[3], 0}, {1, 1, s[3], 0}, {1, s[1] + 1, s[3], 0},
                           {1, 1, s[3], 0}};
    size_t token[1][5] = {{s[0], s[1], s[3], 0}};
    size_t registers[5][5] = {{s[0], s[1], s[3], 0}, {1, 1, s[3], 0}, {1, s[1], s[3], 0},
                              {1, 1, s[3], 0}, {1, 2, s[3], 0}};
    number = (int)s[2];
    parameter = 1 / sqrt((double)s[3]);
    gradient("attention", g_attention, 1, qkv, (uint64_t)(200 + i));
    gradient("counted attention", g_counted, 1, qkv, (uint64_t)(200 + i));
    number = 0;
    gradient("tokens", g_tokens, 3, tokens, (uint64_t)(210 + i));
    number = 1;
    tokens[2][1] = s[1] + 2;
    gradient("tokens with distillation", g_tokens, 4, tokens, (uint64_t)(220 + i));
    number = 2;
    registers[2][1] = s[1] + 4;
    gradient("tokens with registers", g_tokens, 5, registers, (uint64_t)(225 + i));
    number = -1;
    registers[2][1] = s[1];
    gradient("no class token", g_tokens, 3, registers, (uint64_t)(226 + i));
    number = (int)s[1] - 1;
    gradient("token", g_token, 1, token, (uint64_t)(230 + i));
    gradient("mean of the last token", g_pool, 1, token, (uint64_t)(232 + i));
    number = 0;
    gradient("mean of all tokens", g_pool, 1, token, (uint64_t)(234 + i));
  }
  for (i = 0; i < 5; i++) {
    size_t *s = images[i], p = s[4];
    size_t patch[3][5] = {{s[0], s[1], s[2] * p, s[3] * p, 0}, {s[5], s[1], p, p, 0}, {s[5], 0}};
    gradient("patch embedding", g_patch, 3, patch, (uint64_t)(240 + i));
  }
}

/* ---- The straight-through scalar, errors, reuse ---------------------------------------------- */

TEST(straight_through) {
  size_t one = 1, six[2] = {2, 3};
  bdpt_real f[6] = {1, 2, 3, 4, 5, 6}, r[6] = {0, 1, 0, 1, 0, 1}, seed[6] = {1, 1, 1, 1, 1, 1};
  bdpt_real importance = (bdpt_real)0.3;
  bdpt_tensor *bar, *y;
  bdpt_tape_reset(tape);
  bar = bdpt_input(tape, 1, &one, &importance, 1);
  y = bdpt_mix(tape, bdpt_input(tape, 2, six, f, 1), bdpt_input(tape, 2, six, r, 1), bar, 0);
  CHECK(y && y->data[5] == 1); /* the mask counts, not the importance */
  CHECK(bdpt_backward(tape, y, seed) == BDPT_OK);
  CHECK(bar->grad && bar->grad[0] == 18); /* sum (f - r) = 21 - 3 */
}

TEST(rate_zero_draws_nothing) {
  size_t shape[2] = {3, 4};
  bdpt_rng rng;
  bdpt_tensor *x = bdpt_input(tape, 2, shape, NULL, 1);
  rng.state = 5;
  CHECK(bdpt_drop_path(tape, x, 0, &rng) == x && rng.state == 5);
}

TEST(parameter_gradients_accumulate) {
  size_t shape[2] = {2, 2}, one = 2;
  bdpt_real data[4] = {1, 2, 3, 4}, grad[4] = {0, 0, 0, 0}, bias[2] = {0, 0};
  bdpt_real seed[4] = {1, 1, 1, 1};
  bdpt_tensor w, b;
  int i;
  memset(&w, 0, sizeof w);
  w.ndim = 2; w.shape[0] = w.shape[1] = 2; w.count = 4; w.data = data; w.grad = grad;
  w.wants_grad = 1;
  b = w;
  b.ndim = 1; b.shape[0] = one; b.count = 2; b.data = bias; b.wants_grad = 0;
  for (i = 0; i < 2; i++) {
    bdpt_tape_reset(tape);
    bdpt_backward(tape, bdpt_linear(tape, bdpt_input(tape, 2, shape, data, 0), &w, &b, NULL), seed);
  }
  CHECK(grad[0] == 8 && grad[1] == 12); /* twice the column sums 4 and 6 of x */
}

static void expect(bdpt_tensor *y, const char *part) {
  CHECK(y == NULL);
  CHECK(ctx.status == BDPT_E_SHAPE || ctx.status == BDPT_E_ARGUMENT);
  if (!test_check(strstr(ctx.message, part) != NULL, part, __FILE__, __LINE__)) {
    printf("  text: %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
}

/* A gradient's buffer is used again when its only reader has run: a longer chain needs no more. */
TEST(gradient_buffers_are_used_again) {
  const size_t shape[1] = {1 << 17}; /* no chunk of the tape has room for two of them */
  static bdpt_real seed[1 << 17];
  size_t backward[2];
  int i, k;
  for (i = 0; i < 2; i++) {
    bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
    bdpt_tensor *x = bdpt_input(t, 1, shape, NULL, 1);
    size_t forward;
    for (k = 0; k < (i ? 12 : 4); k++) x = bdpt_activate(t, x, BDPT_GELU);
    forward = ctx.bytes_now;
    CHECK(bdpt_backward(t, x, seed) == BDPT_OK);
    backward[i] = ctx.bytes_now - forward;
    bdpt_tape_free(t);
  }
  CHECK(backward[0] == backward[1] && backward[0] > 0);
}

TEST(shape_errors) {
  size_t a[3] = {2, 5, 6}, b[2] = {4, 7}, c[1] = {4}, d[4] = {1, 3, 7, 7}, e[4] = {4, 3, 2, 2};
  bdpt_tensor *x, *w, *v, *image, *kernel, *counts, *six[6];
  bdpt_rng rng;
  int i;
  rng.state = 1;
  bdpt_tape_reset(tape);
  x = bdpt_input(tape, 3, a, NULL, 1);
  w = bdpt_input(tape, 2, b, NULL, 1);
  v = bdpt_input(tape, 1, c, NULL, 1);
  image = bdpt_input(tape, 4, d, NULL, 1);
  kernel = bdpt_input(tape, 4, e, NULL, 1);
  six[0] = six[1] = six[3] = six[5] = v; six[2] = six[4] = w;
  expect(bdpt_linear(tape, x, w, v, NULL), "linear: x[2,5,6] weight[4,7] bias[4] do not fit x[");
  expect(bdpt_linear(tape, w, w, x, NULL), "bias");
  expect(bdpt_linear(tape, v, w, v, x), "x[4] weight[4,7] bias[4] sum[2,5,6] do not fit");
  expect(bdpt_mlp(tape, x, six, 1e-6, BDPT_GELU), "mlp: x[2,5,6] gamma[4] beta[4] W1[4,7]");
  expect(bdpt_layernorm(tape, x, v, v, 1e-6), "x[2,5,6] gamma[4] beta[4] do not fit");
  expect(bdpt_attention(tape, x, NULL, 4, 1), "3 x 4 heads");
  expect(bdpt_attention(tape, x, w, 1, 1), "count[4,7] do not fit qkv[B,N,Q]");
  counts = bdpt_input(tape, 2, a, NULL, 0);
  for (i = 0; i < 10; i++) counts->data[i] = (bdpt_real)(i == 8 ? 0.5 : 1);
  expect(bdpt_attention(tape, x, counts, 1, 1), "key 8 of count[2,5] counts 0.5");
  expect(bdpt_patch_embed(tape, image, kernel, v), "images[1,3,7,7] weight[4,3,2,2]");
  expect(bdpt_tokens(tape, x, v, NULL, NULL, x), "patches[2,5,6] pos[2,5,6] cls[4] do");
  expect(bdpt_pool(tape, x, 5, 0, 0), "pool: x[2,5,6] has no token 5");
  expect(bdpt_pool(tape, x, 5, 1, 0), "no token 5");
  expect(bdpt_add(tape, x, w), "add: a[2,5,6] b[4,7] do not fit a[*,D] b[*,D]");
  expect(bdpt_mix(tape, x, w, v, 1), "mix: f[2,5,6] r[4,7] m[4] do not fit");
  expect(bdpt_mix(tape, x, x, v, 1), "m[1]");
  expect(bdpt_drop_path(tape, x, 1, &rng), "rate");
  expect(bdpt_cross_entropy(tape, x, constant), "logits[2,5,6] do not fit logits[B,K]");
  expect(bdpt_distill_soft(tape, w, constant, 0), "temperature");
  expect(bdpt_match(tape, x, w), "match: x[2,5,6] y[4,7] do not fit");
  CHECK(bdpt_backward(tape, bdpt_activate(tape, x, BDPT_GELU), NULL) == BDPT_E_SHAPE);
  CHECK_HAS(ctx.message, "one number");
  bdpt_clear_error(&ctx);
  /* What follows a failure passes it on, and only the first sentence stays. */
  CHECK(bdpt_activate(tape, bdpt_add(tape, bdpt_linear(tape, x, w, v, NULL), x), BDPT_GELU) ==
        NULL);
  CHECK_HAS(ctx.message, "linear");
  CHECK(bdpt_backward(tape, NULL, NULL) == BDPT_E_SHAPE);
  bdpt_clear_error(&ctx);
}

/* The worked example of chapter 5 gives its numbers: L = a b + a at a = 2, b = 3. */
TEST(worked_example) {
  size_t one = 1;
  bdpt_real two = 2, three = 3, zero = 0;
  bdpt_tensor *a, *b, *loss;
  bdpt_tape_reset(tape);
  a = bdpt_input(tape, 1, &one, &two, 1);
  b = bdpt_input(tape, 1, &one, &three, 1);
  /* a b as the mix b a + (1 - b) 0 */
  loss = bdpt_add(tape, bdpt_mix(tape, a, bdpt_input(tape, 1, &one, &zero, 0), b, BDPT_NONE), a);
  CHECK(loss && loss->data[0] == 8);
  CHECK(bdpt_backward(tape, loss, NULL) == BDPT_OK);
  CHECK(a->grad[0] == 4 && b->grad[0] == 2);
}

int main(void) {
  int isa;
  for (isa = BDPT_ISA_PORTABLE; isa <= BDPT_ISA_AVX512; isa++) {
    memset(&ctx, 0, sizeof ctx);
    ctx.threads = sizeof(bdpt_real) == 8 ? 1 : 2; /* gradients of so little wait for a team */
    ctx.isa_wanted = (bdpt_isa_choice)isa;
    bdpt_init(&ctx);
    tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
    if (!fixture_open(&ctx, "tests/fixtures/ops.safetensors")) return 1;
    RUN(torch_linear_norm_gelu);
    RUN(torch_attention);
    RUN(torch_images_and_tokens);
    RUN(torch_mix);
    RUN(torch_losses);
    RUN(gradients_dense);
    RUN(mlp_is_five_operations);
    RUN(gradients_structured);
    RUN(straight_through);
    RUN(rate_zero_draws_nothing);
    RUN(parameter_gradients_accumulate);
    RUN(gradient_buffers_are_used_again);
    RUN(shape_errors);
    RUN(worked_example);
    fixture_close();
    bdpt_tape_free(tape);
    bdpt_finish(&ctx);
    CHECK(ctx.bytes_now == 0);
  }
  if (sizeof(bdpt_real) == 8) printf("worst gradient error %.2g\n", worst_gradient);
  return TEST_END("ops");
}
