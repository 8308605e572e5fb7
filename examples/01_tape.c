/* Lesson 1: a tape                                                                     (see >>tape)
 *
 * You learn what reverse-mode differentiation does, on two numbers: L = a b + a with a = 2 and
 * b = 3. Running the graph records it on a tape; one walk backwards fills every gradient. Then the
 * lesson checks the answer by nudging a, and makes a mistake on purpose to show how errors travel.
 * It takes no time and prints
 *
 *   L = 8   dL/da = 4   dL/db = 2
 *   a + 0.01 gives L = 8.04, a slope of 4
 *   linear: x[1,1] weight[1,3] bias[1] do not fit x[*,I] weight[O,I] bias[O] sum?[*,O] -> [*,O]
 *
 * Try next: b a + a a, whose slope at a = 2 is 7; a constant in place of b (its wants_grad 0): its
 * gradient stays NULL.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include <stdio.h>

/* The smallest linear layer has one input, one output, and here no bias: it computes a b. */
static bdpt_tensor *graph(bdpt_tape *tape, double a_value, bdpt_tensor **a, bdpt_tensor **b) {
  const size_t matrix[2] = {1, 1}, vector[1] = {1};
  const bdpt_real a_data = (bdpt_real)a_value, b_data = 3;
  bdpt_tensor *zero;
  *a = bdpt_input(tape, 2, matrix, &a_data, 1);  /* the last argument: wants a gradient */
  *b = bdpt_input(tape, 2, matrix, &b_data, 1);
  zero = bdpt_input(tape, 1, vector, NULL, 0);
  return bdpt_add(tape, bdpt_linear(tape, *a, *b, zero, NULL), *a);
}

static bdpt_status lesson(bdpt_context *ctx) {
  const size_t wide[2] = {1, 3}, vector[1] = {1};
  bdpt_tensor *a, *b, *loss, *bad;
  bdpt_tape *tape = bdpt_tape_create(ctx, BDPT_TAPE_RECORD);
  double before;
  if (!tape) return ctx->status;

  /* Forwards, then backwards. a was used twice, so its gradient has two parts: b and 1. */
  loss = graph(tape, 2, &a, &b);
  if (bdpt_backward(tape, loss, NULL) != BDPT_OK) return ctx->status;
  before = (double)loss->data[0];
  printf("L = %g   dL/da = %g   dL/db = %g\n", before, (double)a->grad[0], (double)b->grad[0]);

  /* The tape forgets a, b and loss and keeps their memory for the next step. */
  bdpt_tape_reset(tape);
  loss = graph(tape, 2.01, &a, &b);
  if (!loss) return ctx->status;
  printf("a + 0.01 gives L = %.2f, a slope of %.0f\n", (double)loss->data[0],
         ((double)loss->data[0] - before) / 0.01);

  /* One number does not fit a layer that expects three. Nothing crashes: the operation returns
   * NULL, the next ones pass NULL on, and the first sentence waits in the context. */
  bad = bdpt_linear(tape, a, bdpt_input(tape, 2, wide, NULL, 0),
                    bdpt_input(tape, 1, vector, NULL, 0), NULL);
  bad = bdpt_activate(tape, bdpt_scale(tape, bad, 2.0), BDPT_GELU);
  if (!bad) printf("%s\n", ctx->message);
  bdpt_clear_error(ctx);

  bdpt_tape_free(tape);
  return BDPT_OK;
}

int main(void) {
  static bdpt_context ctx; /* static, therefore all zeros, which means the defaults */
  bdpt_status status = bdpt_init(&ctx);
  if (status == BDPT_OK) status = lesson(&ctx);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  bdpt_finish(&ctx);
  return status != BDPT_OK;
}
