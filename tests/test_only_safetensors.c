/* The safetensors reader and writer alone: nothing else of the library is compiled in, and a file
 * makes the whole way from numbers to the disk and back. */
#define BDPT_ONLY_SAFETENSORS
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "test.h"

#define PLACE "test_only.out"

TEST(there_and_back) {
  static const bdpt_real numbers[6] = {1, -2, (bdpt_real)0.5, 0, 3, 4};
  static const char *const key[1] = {"format"}, *const value[1] = {"pt"};
  bdpt_real back[6] = {0};
  bdpt_context ctx;
  bdpt_write_tensor t;
  bdpt_safetensors f;
  const bdpt_file_tensor *x;
  unsigned char *bytes;
  size_t size;
  memset(&ctx, 0, sizeof ctx);
  memset(&t, 0, sizeof t);
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  t.name = "x";
  t.dtype = sizeof(bdpt_real) == 8 ? BDPT_F64 : BDPT_F32;
  t.ndim = 2;
  t.shape[0] = 2;
  t.shape[1] = 3;
  t.data = numbers;
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, key, value, 1, &bytes, &size) == BDPT_OK);
  CHECK(bdpt_file_write(&ctx, PLACE, bytes, size) == BDPT_OK);
  bdpt_release(&ctx, bytes, size);
  CHECK(bdpt_safetensors_open(&ctx, PLACE, &f) == BDPT_OK);
  x = bdpt_safetensors_find(&f, "x");
  CHECK(x && bdpt_safetensors_read(&ctx, x, back, 6) == BDPT_OK);
  CHECK(memcmp(numbers, back, sizeof back) == 0);
  CHECK(strcmp(bdpt_safetensors_get(&f, "format"), "pt") == 0);
  bdpt_safetensors_close(&f);
  CHECK(bdpt_safetensors_parse(&ctx, "GGUF\3\0\0\0\0\0\0\0", 12, "x", &f) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "x: not a safetensors file: it is a GGUF file");
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  remove(PLACE);
}

/* What was left out cannot be called: its declarations are gone too. */
TEST(nothing_else) {
#if defined(BDPT_MAX_DEPTH) || defined(BDPT_MAX_SLOTS) || defined(BDPTI_ISA_PASS)
  CHECK(!"chapters 5 to 13 are compiled in");
#else
  CHECK(sizeof(bdpt_context) > 0);
#endif
}

int main(void) {
  RUN(there_and_back);
  RUN(nothing_else);
  return TEST_END("only_safetensors");
}
