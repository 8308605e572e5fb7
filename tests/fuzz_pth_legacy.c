/* Fuzz target: PyTorch's older form. The constant beginning, a magic number and a version, is put
 * in front of the input; without it nearly all inputs would end there.
 * longest: 512 */
#include "fuzz_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char start[] = PTH_MAGIC "\x80\x02M\xe9\x03.";
  static const checkpoint_side none = {NULL, 0};
  size_t n = sizeof start - 1;
  uint8_t *whole = (uint8_t *)malloc(n + size);
  FUZZ_CHECK(whole != NULL);
  memcpy(whole, start, n);
  if (size) memcpy(whole + n, data, size);
  fuzz_tensors(whole, n + size);
  fuzz_load(whole, n + size, NULL, none, none);
  free(whole);
  if (size < 64) fuzz_load(data, size, NULL, none, none); /* what it really is */
  return 0;
}
