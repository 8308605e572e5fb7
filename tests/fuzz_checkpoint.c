/* Fuzz target: the front door, with a checkpoint of any form: which network it is, whose names it
 * has, what is missing. Once without and once with what the user and a file beside it may say.
 * longest: 512 */
#include "fuzz_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "{\"image_mean\":[0,0,0],\"image_std\":[1,1,1]}";
  checkpoint_side images = {text, sizeof text - 1}, none = {NULL, 0}, config = {"{}", 2};
  fuzz_load(data, size, NULL, none, images);
  fuzz_load(data, size, size % 2 ? "model_ema" : NULL, config, none);
  return 0;
}
