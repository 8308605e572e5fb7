/* The library without its training: BDPT_ONLY_INFERENCE loads, predicts, counts, fuses and saves.
 * The logits of the shipped network must be those that the whole library computes. */
#define BDPT_ONLY_INFERENCE
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"

int main(void) {
  static bdpt_context ctx;
  static bdpt_real images[2 * 3 * 32 * 32], logits[2 * 100], again[2 * 100];
  bdpt_model *m, *n;
  bdpt_tape *tape;
  bdpt_cost_report before, after;
  bdpt_merging merging;
  bdpt_bytes bytes = {NULL, 0};
  size_t i;
  double sum = 0;
  bdpt_init(&ctx);
  for (i = 0; i < sizeof images / sizeof *images; i++) {
    images[i] = (bdpt_real)((double)(i * 7919 % 1000) / 500 - 1);
  }
  m = bdpt_model_load(&ctx, "data/dense.safetensors", NULL);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  if (!CHECK(m && tape)) return TEST_END("only_inference");
  CHECK(bdpt_predict(m, tape, 2, images, logits) == BDPT_OK);
  for (i = 0; i < 200; i++) sum += (double)logits[i] * (double)(i % 13);
  CHECK_CLOSE(sum, -42.803583, 2e-3);
  CHECK(bdpt_cost(&ctx, &m->config, &before) == BDPT_OK && before.params == 619940);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 5) == BDPT_OK && bdpt_fuse_all(m) == BDPT_OK);
  CHECK(bdpt_cost(&ctx, &m->config, &after) == BDPT_OK && after.params < before.params);
  CHECK(bdpt_predict(m, tape, 2, images, logits) == BDPT_OK);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "again", NULL);
  CHECK(n && bdpt_predict(n, tape, 2, images, again) == BDPT_OK);
  CHECK(memcmp(logits, again, sizeof logits) == 0);
  memset(&merging, 0, sizeof merging); /* what boundarydpt_plus.h has for inference */
  CHECK(bdpt_merge(m, 2, &merging) == BDPT_OK);
  CHECK(bdpt_predict(m, tape, 2, images, again) == BDPT_OK);
  CHECK(memcmp(logits, again, sizeof logits) != 0);
  bdpt_merging_free(&merging);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_tape_free(tape);
  bdpt_model_free(m);
  bdpt_model_free(n);
  bdpt_finish(&ctx);
  return TEST_END("only_inference");
}
