/* The extension points: operations and blocks of the caller's own. An operation is judged by
 * central differences and by what the same thing gives from the library's operations, a block by
 * the bits of the standard one; then errors, memory, and what a wrong gradient looks like.
 *
 * Public names only. Tolerances: 1e-7 for differences in double, as in test_ops.c. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "networks.h"

#define DOUBLE (sizeof(bdpt_real) == 8)

static bdpt_context ctx;

/* ---- Operations ------------------------------------------------------------------------------ */

/* Computes y = factor a b, element by element; `saved` keeps the factor, which `user` holds only
 * until the call is over. */
static bdpt_status times_forward(const bdpt_op_run *run) {
  double *factor = (double *)run->saved;
  size_t i;
  *factor = *(const double *)run->user;
  for (i = 0; i < run->out->count; i++) {
    run->out->data[i] = (bdpt_real)*factor * run->in[0]->data[i] * run->in[1]->data[i];
  }
  return BDPT_OK;
}

static bdpt_status times_backward(const bdpt_op_run *run) {
  const bdpt_real factor = (bdpt_real)*(const double *)run->saved;
  size_t i;
  for (i = 0; i < run->out->count; i++) {
    if (run->dx[0]) run->dx[0][i] += factor * run->dy[i] * run->in[1]->data[i];
    if (run->dx[1]) run->dx[1][i] += factor * run->dy[i] * run->in[0]->data[i];
  }
  return BDPT_OK;
}

static bdpt_tensor *times(bdpt_tape *t, bdpt_tensor *a, bdpt_tensor *b, double factor) {
  const bdpt_op op = {"times", times_forward, times_backward, sizeof(double), &factor};
  bdpt_tensor *in[2];
  in[0] = a; in[1] = b;
  return a && b ? bdpt_tape_op(t, &op, in, 2, a->ndim, a->shape) : NULL;
}

/* Does the same with a gradient that is wrong by one part in a hundred. */
static bdpt_status wrong_backward(const bdpt_op_run *run) {
  size_t i;
  for (i = 0; i < run->out->count; i++) {
    run->dx[0][i] += (bdpt_real)2.02 * run->dy[i] * run->in[1]->data[i];
    run->dx[1][i] += 2 * run->dy[i] * run->in[0]->data[i];
  }
  return BDPT_OK;
}

static double two = 2;

/* Builds the graph that `user` names. */
static bdpt_tensor *build(bdpt_tape *t, bdpt_tensor *const *x, void *user) {
  const bdpt_op wrong = {"wrong", times_forward, wrong_backward, sizeof(double), &two};
  bdpt_tensor *y;
  switch (*(const int *)user) {
    case 0: return times(t, x[0], x[1], 3);
    case 1: return times(t, x[0], x[0], -0.5); /* one tensor as both inputs */
    case 2: /* behind and before the library's operations, everything used twice */
      y = times(t, bdpt_activate(t, x[0], BDPT_GELU), bdpt_add(t, x[0], x[1]), 1.5);
      return bdpt_add(t, times(t, y, x[1], 1), bdpt_add(t, y, x[0]));
    case 4: return bdpt_scale(t, bdpt_tape_op(t, &wrong, x, 2, x[0]->ndim, x[0]->shape), 100);
    default: return bdpt_tape_op(t, &wrong, x, 2, x[0]->ndim, x[0]->shape);
  }
}

static void fill(bdpt_tensor *x, bdpt_real *data, uint64_t seed) {
  bdpt_rng rng;
  size_t i;
  memset(x, 0, sizeof *x);
  x->ndim = 2; x->shape[0] = 3; x->shape[1] = 4; x->count = 12;
  x->data = data;
  bdpt_rng_seed(&rng, seed, 0);
  for (i = 0; i < 12; i++) data[i] = (bdpt_real)bdpt_normal(&rng);
}

TEST(gradients) {
  bdpt_tensor x[2], *list[2];
  bdpt_real data[2][12];
  double error;
  int which, i;
  for (i = 0; i < 2; i++) {
    fill(&x[i], data[i], (uint64_t)i);
    list[i] = &x[i];
  }
  for (which = 0; which < 3; which++) {
    CHECK(bdpt_gradcheck(&ctx, build, &which, list, 2, &error) == BDPT_OK);
    if (!CHECK(!DOUBLE || error < 1e-7)) printf("  graph %d: %g\n", which, error);
  }
  CHECK(bdpt_gradcheck(&ctx, build, &which, list, 2, &error) == BDPT_OK);
  CHECK(error > 4e-3 && error < 0.05); /* the wrong one: about 0.02 of 2.02 */
  {
    double small = error; /* it is relative, so a hundred times the loss is as wrong */
    which = 4;
    CHECK(bdpt_gradcheck(&ctx, build, &which, list, 2, &error) == BDPT_OK);
    CHECK_CLOSE(error, small, DOUBLE ? 1e-6 : 2e-2);
  }
}

/* Parameters keep adding, an input that wants no gradient gets none, values are those of the
 * definition, and a tape that computes only gives the same. */
TEST(values_and_sums) {
  const size_t shape[2] = {3, 4};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tape *only = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real data[2][12], grad[12], seed[12];
  bdpt_tensor x[2], *a, *y, *z;
  size_t i, peak = 0;
  int step;
  for (i = 0; i < 2; i++) fill(&x[i], data[i], i + 5);
  memset(grad, 0, sizeof grad);
  for (i = 0; i < 12; i++) seed[i] = (bdpt_real)i;
  x[1].grad = grad; x[1].wants_grad = 1;
  for (step = 0; step < 3; step++) {
    bdpt_tape_reset(t);
    a = bdpt_input(t, 2, shape, data[0], 0);
    y = times(t, a, &x[1], 4);
    if (!CHECK(y != NULL && bdpt_backward(t, y, seed) == BDPT_OK && a->grad == NULL)) break;
    for (i = 0; i < 12; i++) {
      CHECK(y->data[i] == (bdpt_real)(4 * data[0][i] * data[1][i]));
      CHECK_CLOSE(grad[i], (step + 1) * 4.0 * (double)i * (double)data[0][i], 1e-4);
    }
    if (step == 1) ctx.bytes_peak = peak = ctx.bytes_now;
  }
  CHECK(ctx.bytes_peak == peak); /* nothing is allocated any more */
  a = bdpt_input(only, 2, shape, data[0], 1);
  z = times(only, a, &x[1], 4);
  CHECK(y && z && memcmp(y->data, z->data, 12 * sizeof(bdpt_real)) == 0 && !z->wants_grad);
  bdpt_tape_free(t);
  bdpt_tape_free(only);
}

static bdpt_status fails_silently(const bdpt_op_run *run) {
  (void)run;
  return BDPT_E_NUMERIC;
}

static bdpt_status fails_loudly(const bdpt_op_run *run) {
  return bdpt_fail(run->ctx, BDPT_E_ARGUMENT, "mine: %d of %s", 7, "nine");
}

static void refused(const bdpt_tensor *y, bdpt_status status, const char *sentence) {
  CHECK(y == NULL && ctx.status == status);
  if (!test_check(strcmp(ctx.message, sentence) == 0, sentence, __FILE__, __LINE__)) {
    printf("  text: %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
}

TEST(refusals) {
  const size_t shape[5] = {3, 4, 1, 1, 1}, huge[2] = {(size_t)-1, 3};
  bdpt_op op = {"mine", times_forward, NULL, sizeof(double), &two};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tensor *in[8], *y;
  int i;
  for (i = 0; i < 8; i++) in[i] = bdpt_input(t, 2, shape, NULL, 1);
  refused(bdpt_tape_op(t, &op, in, 8, 2, shape), BDPT_E_ARGUMENT,
          "mine: 8 inputs, at most 7 are possible");
  refused(bdpt_tape_op(t, &op, in, -1, 2, shape), BDPT_E_ARGUMENT,
          "mine: -1 inputs, at most 7 are possible");
  refused(bdpt_tape_op(t, &op, in, 2, 2, shape), BDPT_E_STATE,
          "mine: it has no backward pass, but a gradient is wanted through it");
  refused(bdpt_tape_op(t, &op, in, 2, 5, shape), BDPT_E_SHAPE,
          "a tensor of 5 axes overflows the address space");
  refused(bdpt_tape_op(t, &op, in, 2, 2, huge), BDPT_E_SHAPE,
          "a tensor of 2 axes overflows the address space");
  op.backward = fails_silently;
  op.forward = fails_silently;
  refused(bdpt_tape_op(t, &op, in, 2, 2, shape), BDPT_E_NUMERIC, "mine: a value is not finite");
  op.forward = fails_loudly;
  refused(bdpt_tape_op(t, &op, in, 2, 2, shape), BDPT_E_ARGUMENT, "mine: 7 of nine");
  op.forward = times_forward;
  op.backward = fails_loudly;
  y = bdpt_tape_op(t, &op, in, 2, 2, shape);
  CHECK(y && bdpt_backward(t, y, y->data) == BDPT_E_ARGUMENT);
  refused(NULL, BDPT_E_ARGUMENT, "mine: 7 of nine");
  in[1] = NULL; /* the cause is told already, wherever it was */
  CHECK(bdpt_tape_op(t, &op, in, 2, 2, shape) == NULL && ctx.status == BDPT_OK);
  CHECK(bdpt_activate(t, times(t, in[0], NULL, 1), BDPT_GELU) == NULL && ctx.status == BDPT_OK);
  bdpt_tape_free(t);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

enum { IMAGES = 4, PIXELS = 3 * 28 * 28 };
static bdpt_real images[IMAGES * PIXELS];

typedef struct plan { int calls, kind; } plan;

static bdpt_status half_forward(const bdpt_op_run *run) { /* every second token, from the first */
  const bdpt_tensor *x = run->in[0];
  const size_t d = x->shape[2], n = run->out->shape[1];
  size_t i;
  for (i = 0; i < run->out->shape[0] * n; i++) {
    memcpy(run->out->data + i * d, x->data + (i / n * x->shape[1] + 2 * (i % n)) * d,
           d * sizeof(bdpt_real));
  }
  return BDPT_OK;
}

static bdpt_tensor *block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                          const bdpt_forward_options *o, void *user) {
  const bdpt_op half = {"half", half_forward, NULL, 0, NULL};
  plan *p = (plan *)user;
  size_t shape[3];
  p->calls++;
  if (p->kind == 3) return NULL;
  if (p->kind == 1 && l == 0) { /* fewer tokens: 50, 25 */
    shape[0] = x->shape[0]; shape[1] = 25; shape[2] = x->shape[2];
    x = bdpt_tape_op(t, &half, &x, 1, 3, shape);
  }
  if (p->kind == 2) x = bdpt_input(t, 3, (shape[0] = 1, shape[1] = 2, shape[2] = 24, shape), NULL,
                                   0);
  if (p->kind == 4) { /* what was read stays as it was: x1 is used after its sum with the MLP */
    bdpt_tensor *x1 = bdpt_attention_half(m, t, l, x, o), *x2 = bdpt_mlp_half(m, t, l, x1, o);
    return bdpt_add(t, bdpt_add(t, x2, bdpt_scale(t, x1, -1)), x1);
  }
  return bdpt_mlp_half(m, t, l, bdpt_attention_half(m, t, l, x, o), o);
}

/* Checks that predictions and a training step's gradients have the same bits with and without
 * it. */
static void same_as_standard(const bdpt_config *c) {
  const size_t shape[4] = {IMAGES, 3, 28, 28};
  const bdpt_real target[IMAGES * 5] = {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1};
  bdpt_model *m = small_model(&ctx, c);
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  bdpt_tape *only = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_forward_options o = {1, 0.4, 77, 1, NULL}; /* training, drop path, importance */
  bdpt_real logits[2][IMAGES * 5], *grad[2], loss[2];
  size_t i, qkv;
  plan p = {0, 0};
  int own;
  CHECK(m && bdpt_model_train_mode(m) == BDPT_OK);
  qkv = m->param[BDPT_SLOT(0, BDPT_SLOT_FC1_W)].count;
  for (own = 0; own < 2; own++) {
    bdpt_tensor *y;
    if (own) {
      m->block = block;
      m->block_user = &p;
    }
    CHECK(bdpt_predict(m, only, IMAGES, images, logits[own]) == BDPT_OK);
    bdpt_model_zero_grad(m);
    bdpt_tape_reset(t);
    y = bdpt_forward(m, t, bdpt_input(t, 4, shape, images, 0), &o, NULL);
    y = bdpt_cross_entropy(t, y, target);
    CHECK(y && bdpt_backward(t, y, NULL) == BDPT_OK);
    loss[own] = y ? y->data[0] : 0;
    grad[own] = (bdpt_real *)malloc(qkv * sizeof(bdpt_real));
    memcpy(grad[own], m->param[BDPT_SLOT(0, BDPT_SLOT_FC1_W)].grad, qkv * sizeof(bdpt_real));
  }
  CHECK(p.calls == 2 * c->depth && loss[0] == loss[1]);
  CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
  CHECK(memcmp(grad[0], grad[1], qkv * sizeof(bdpt_real)) == 0);
  p.kind = 4;
  CHECK(bdpt_predict(m, only, IMAGES, images, logits[1]) == BDPT_OK);
  for (i = 0; i < IMAGES * 5; i++) {
    CHECK_CLOSE(logits[1][i], logits[0][i], (DOUBLE ? 1e-12 : 1e-4) * (1 + fabs((double)loss[0])));
  }
  free(grad[0]); free(grad[1]);
  bdpt_tape_free(t);
  bdpt_tape_free(only);
  bdpt_model_free(m);
}

TEST(halves_are_the_standard_block) {
  bdpt_config c = small_config(1);
  same_as_standard(&c);
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  c.block[2].mlp_state = BDPT_MLP_LINEAR;
  c.extra_gelu = BDPT_GELU_ALWAYS;
  same_as_standard(&c);
  c.attn_form = BDPT_ATTN_SKIP;
  same_as_standard(&c);
  c.attn_form = BDPT_ATTN_DOUBLE;
  same_as_standard(&c);
}

TEST(fewer_tokens_and_other_shapes) {
  const bdpt_config c = small_config(0);
  const size_t shape[4] = {IMAGES, 3, 28, 28};
  bdpt_model *m = small_model(&ctx, &c), *copy;
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real logits[2][IMAGES * 5], x_out[5];
  const bdpt_layers attention = {{1 << 1, 0}};
  bdpt_subset none;
  bdpt_tensor *x;
  plan p = {0, 1};
  int i;
  memset(&none, 0, sizeof none);
  m->block = block; m->block_user = &p;
  CHECK(bdpt_predict(m, t, IMAGES, images, logits[0]) == BDPT_OK);
  for (i = 0; i < IMAGES; i++) { /* one by one: the same bits */
    CHECK(bdpt_predict(m, t, 1, images + i * PIXELS, x_out) == BDPT_OK);
    CHECK(memcmp(x_out, logits[0] + 5 * i, sizeof x_out) == 0);
  }
  bdpt_tape_reset(t);
  x = bdpt_trunk(m, t, bdpt_input(t, 4, shape, images, 0), NULL);
  CHECK(x && x->ndim == 3 && x->shape[0] == IMAGES && x->shape[1] == 25 && x->shape[2] == 24 &&
        x->count == IMAGES * 25 * 24);
  copy = bdpt_model_clone(m); /* a copy goes the same way; so does what is assigned to it */
  CHECK(bdpt_predict(copy, t, IMAGES, images, logits[1]) == BDPT_OK);
  CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
  copy->block = NULL;
  CHECK(bdpt_predict(copy, t, IMAGES, images, logits[1]) == BDPT_OK);
  CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) != 0);
  CHECK(bdpt_remove(m, &attention, BDPT_START_FIT, &none, NULL) == BDPT_E_STATE);
  refused(NULL, BDPT_E_STATE, "fit: the model has a block of its own");
  p.kind = 2;
  CHECK(bdpt_predict(m, t, IMAGES, images, logits[1]) == BDPT_E_SHAPE);
  refused(NULL, BDPT_E_SHAPE, "forward: block 0 made x[1,2,24] of x[4,50,24]: only the tokens may "
          "be fewer");
  p.kind = 3;
  CHECK(bdpt_forward(m, t, bdpt_input(t, 4, shape, images, 0), NULL, NULL) == NULL);
  bdpt_clear_error(&ctx);
  x = bdpt_input(t, 3, shape, NULL, 0);
  refused(bdpt_attention_half(m, t, 5, x, NULL), BDPT_E_ARGUMENT,
          "attention half: layer 5, but the network has layers 0 to 4");
  refused(bdpt_mlp_half(m, t, -1, x, NULL), BDPT_E_ARGUMENT,
          "MLP half: layer -1, but the network has layers 0 to 4");
  CHECK(bdpt_attention_half(m, t, 0, NULL, NULL) == NULL && ctx.status == BDPT_OK);
  bdpt_model_free(m);
  bdpt_model_free(copy);
  bdpt_tape_free(t);
}

int main(void) {
  bdpt_rng rng;
  size_t i;
  if (bdpt_init(&ctx) != BDPT_OK) return 1;
  bdpt_rng_seed(&rng, 3, 1);
  for (i = 0; i < IMAGES * PIXELS; i++) images[i] = (bdpt_real)bdpt_normal(&rng);
  RUN(gradients);
  RUN(values_and_sums);
  RUN(refusals);
  RUN(halves_are_the_standard_block);
  RUN(fewer_tokens_and_other_shapes);
  CHECK(ctx.status == BDPT_OK);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("own");
}
