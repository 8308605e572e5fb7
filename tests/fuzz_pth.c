/* Fuzz target: PyTorch's zip form.
 * longest: 700 */
#include "fuzz_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const checkpoint_side none = {NULL, 0};
  if (pth_sniff(data, size) == 'z') fuzz_tensors(data, size);
  fuzz_load(data, size, NULL, none, none);
  fuzz_load(data, size, "model_ema", none, none);
  return 0;
}
