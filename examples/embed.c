#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include <stdio.h>

int main(void) {
  static bdpt_context ctx;                    // all zeros: the defaults
  static bdpt_config config;
  bdpt_cost_report dense, pruned;
  const size_t shape[4] = {2, 3, 8, 8};       // two pictures, 8 x 8: a bright and a dark one
  bdpt_real images[2 * 3 * 64], targets[4] = {1, 0, 0, 1};
  for (int i = 0; i < 2 * 3 * 64; i++) images[i] = i < 3 * 64;

  bdpt_init(&ctx);
  config.image = 8, config.patch = 4, config.classes = 2;
  config.width = 16, config.depth = 2, config.heads = 2;
  bdpt_model *model = bdpt_model_create(&ctx, &config, 1);
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  if (!model || !tape || bdpt_model_train_mode(model) != BDPT_OK) return 1;
  bdpt_cost(&ctx, &model->config, &dense);

  for (int step = 0; step <= 30; step++) {
    if (step == 20) {                         // two layers go; then the rest recovers
      bdpt_prune(model, BDPT_ATTENTION, 1);
      bdpt_prune(model, BDPT_ACTIVATION, 0);
    }
    if (step == 30) bdpt_fuse_all(model);     // an MLP without its GELU becomes one matrix
    bdpt_tape_reset(tape);
    bdpt_model_zero_grad(model);
    bdpt_tensor *x = bdpt_input(tape, 4, shape, images, 0);
    bdpt_tensor *logits = bdpt_forward(model, tape, x, NULL, NULL);
    bdpt_tensor *loss = bdpt_cross_entropy(tape, logits, targets);
    if (bdpt_backward(tape, loss) != BDPT_OK) return puts(ctx.message), 1;
    if (step % 10 == 0) printf("step %2d  loss %.2f\n", step, loss->data[0]);
    for (int s = 0; s < model->slots; s++) {  // gradient descent on every parameter
      bdpt_tensor *p = &model->param[s];
      if (!p->grad) continue;                 // not every slot is in use
      for (size_t i = 0; i < p->count; i++) p->data[i] -= (bdpt_real)0.1 * p->grad[i];
    }
  }
  bdpt_cost(&ctx, &model->config, &pruned);
  printf("%d -> %d parameters\n", (int)dense.params, (int)pruned.params);
  bdpt_tape_free(tape), bdpt_model_free(model), bdpt_finish(&ctx);
  return ctx.status != BDPT_OK;               // the first error, if there was one, stays here
}

// It prints:
//   step  0  loss 0.70
//   step 10  loss 0.06
//   step 20  loss 0.02
//   step 30  loss 0.01
//   7506 -> 4562 parameters
