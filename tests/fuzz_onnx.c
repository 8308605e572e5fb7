/* Fuzz target: any bytes as an ONNX file, for the reader of test_onnx.c, which judges what the tool
 * writes: it may find fault with them, but not come to grief.
 * longest: 512
 * The rest of that test is there, but what it calls is not:
 * flags: -no-pie -Wl,--unresolved-symbols=ignore-all */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "fuzz.h"
#define main test_onnx_main
#include "test_onnx.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int i;
  read_model(data, size);
  for (i = 0; i < value_count; i++) {
    FUZZ_CHECK(values[i].ndim >= 0 && values[i].ndim <= 5 && memchr(values[i].name, 0, 80));
  }
  for (i = 0; i < node_count; i++) FUZZ_CHECK(nodes[i].ins <= 3 && nodes[i].outs <= 3);
  forget();
  return 0;
}
