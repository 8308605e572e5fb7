/* Lesson 8: an operation of your own                                            (see >>own)
 *
 * You learn how the library grows without being changed. A squared ReLU, y = max(0, x)^2, is a
 * forward and a backward function of a few lines; the gradient check says whether the second fits
 * the first, and what it says when a factor is forgotten. Then the operation takes the GELU's place
 * in a network: the model gets a block of your own, made of the library's halves and operations,
 * and everything else goes on as before. It takes no time and prints
 *
 *   gradient check: 0.00 as it should be, 0.50 with the factor 2 forgotten
 *   step  0  loss 0.70
 *   step 10  loss 0.10
 *   step 20  loss 0.02
 *   step 30  loss 0.01
 *   a tensor of the wrong shape: squared relu: the output is not like [2,3]
 *
 * Try next: x max(0, x) in place of the square; an operation with two inputs.
 */
#define BDPT_REAL double /* differences need the digits */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "plus/boundarydpt_plus.h"
#include <stdio.h>

/* Computes y = max(0, x)^2: x is run->in[0], y is run->out. */
static bdpt_status forward(const bdpt_op_run *run) {
  const bdpt_tensor *x = run->in[0];
  size_t i;
  if (run->out->count != x->count) {
    return bdpt_fail(run->ctx, BDPT_E_SHAPE, "squared relu: the output is not like %s",
                     bdpt_shape(x).text);
  }
  for (i = 0; i < x->count; i++) run->out->data[i] = x->data[i] > 0 ? x->data[i] * x->data[i] : 0;
  return BDPT_OK;
}

/* Adds dL/dx = dL/dy dy/dx to what is there: x may have other users. `user` is the factor, 2 or a
 * mistake. */
static bdpt_status backward(const bdpt_op_run *run) {
  const bdpt_real *x = run->in[0]->data, factor = *(const bdpt_real *)run->user;
  size_t i;
  for (i = 0; run->dx[0] && i < run->out->count; i++) {
    if (x[i] > 0) run->dx[0][i] += factor * x[i] * run->dy[i];
  }
  return BDPT_OK;
}

static bdpt_real right = 2, wrong = 1;

static bdpt_tensor *squared_relu(bdpt_tape *tape, bdpt_tensor *x, bdpt_real *factor) {
  bdpt_op op = {"squared relu", forward, backward, 0, NULL}; /* 0: no memory between the passes */
  op.user = factor;
  return x ? bdpt_tape_op(tape, &op, &x, 1, x->ndim, x->shape) : NULL;
}

static bdpt_tensor *graph(bdpt_tape *tape, bdpt_tensor *const *in, void *user) {
  return squared_relu(tape, in[0], (bdpt_real *)user);
}

/* Computes the block: attention as it is, then x + W2 relu(W1 LN(x) + b1)^2 + b2. */
static bdpt_tensor *block(bdpt_model *model, bdpt_tape *tape, int l, bdpt_tensor *x,
                          const bdpt_forward_options *options, void *user) {
  bdpt_tensor *p = &model->param[BDPT_SLOT(l, 0)], *z;
  x = bdpt_attention_half(model, tape, l, x, options);
  z = bdpt_layernorm(tape, x, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], model->config.eps);
  z = bdpt_linear(tape, z, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B], NULL);
  z = squared_relu(tape, z, (bdpt_real *)user);
  return bdpt_linear(tape, z, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B], x);
}

static bdpt_status check(bdpt_context *ctx) {
  bdpt_real data[6] = {-1.5, 0.25, 2, -0.5, 1, 0.75};
  bdpt_tensor x = {2, {2, 3}, 6, NULL, NULL, 0, 0, NULL, NULL}, *inputs[1];
  double good = 1, bad = 1;
  x.data = data;
  inputs[0] = &x;
  if (bdpt_gradcheck(ctx, graph, &right, inputs, 1, &good) != BDPT_OK) return ctx->status;
  if (bdpt_gradcheck(ctx, graph, &wrong, inputs, 1, &bad) != BDPT_OK) return ctx->status;
  printf("gradient check: %.2f as it should be, %.2f with the factor 2 forgotten\n", good, bad);
  return BDPT_OK;
}

/* The two pictures of the header's front page, a bright and a dark one. */
static bdpt_status train(bdpt_model *model, bdpt_tape *tape) {
  const size_t shape[4] = {2, 3, 8, 8};
  const bdpt_real targets[4] = {1, 0, 0, 1};
  bdpt_real images[2 * 3 * 64];
  bdpt_tensor *loss;
  size_t i;
  int step, s;
  for (i = 0; i < 2 * 3 * 64; i++) images[i] = i < 3 * 64;
  if (bdpt_model_train_mode(model) != BDPT_OK) return model->ctx->status;
  for (step = 0; step <= 30; step++) {
    bdpt_tape_reset(tape);
    bdpt_model_zero_grad(model);
    loss = bdpt_forward(model, tape, bdpt_input(tape, 4, shape, images, 0), NULL, NULL);
    loss = bdpt_cross_entropy(tape, loss, targets);
    if (bdpt_backward(tape, loss, NULL) != BDPT_OK) return model->ctx->status;
    if (step % 10 == 0) printf("step %2d  loss %.2f\n", step, (double)loss->data[0]);
    for (s = 0; s < model->slots; s++) {
      bdpt_tensor *p = &model->param[s];
      for (i = 0; p->grad && i < p->count; i++) p->data[i] -= 0.1 * p->grad[i];
    }
  }
  return BDPT_OK;
}

static bdpt_status lesson(bdpt_context *ctx, bdpt_model *model, bdpt_tape *tape) {
  const size_t shape[2] = {2, 3}, longer[2] = {2, 4};
  const bdpt_op op = {"squared relu", forward, backward, 0, &right};
  bdpt_tensor *x;
  if (!model || !tape || check(ctx) != BDPT_OK) return ctx->status;
  model->block = block;
  model->block_user = &right;
  if (train(model, tape) != BDPT_OK) return ctx->status;
  /* A mistake in the graph is found as it is with the library's own operations. */
  x = bdpt_input(tape, 2, shape, NULL, 0);
  if (!bdpt_activate(tape, bdpt_tape_op(tape, &op, &x, 1, 2, longer), BDPT_GELU)) {
    printf("a tensor of the wrong shape: %s\n", ctx->message);
  }
  bdpt_clear_error(ctx);
  return BDPT_OK;
}

int main(void) {
  static bdpt_context ctx; /* static: all zeros, the defaults */
  static bdpt_config config;
  bdpt_status status = bdpt_init(&ctx);
  bdpt_model *model;
  bdpt_tape *tape;
  config.image = 8; config.patch = 4; config.classes = 2;
  config.width = 16; config.depth = 2; config.heads = 2;
  model = bdpt_model_create(&ctx, &config, 1);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  if (status == BDPT_OK) status = lesson(&ctx, model, tape);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  bdpt_tape_free(tape);
  bdpt_model_free(model);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
