/* Fuzz target: model.safetensors.index.json. Up to the first zero byte the input is the index; the
 * files that it names have the bytes behind it, all the same, or are a small file with a tensor "a"
 * if there are none.
 * longest: 400 */
#include "fuzz_text.h"
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/system.c"
#include "../examples/tool/json_read.c"
#include "../examples/tool/files/shards.c"

/* The length of the header, and the header; the tensor is one float. */
static const char small[] =
  "\x34\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}\0\0\200?";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  const uint8_t *zero = size ? (const uint8_t *)memchr(data, 0, size) : NULL;
  const size_t length = zero ? (size_t)(zero - data) : size;
  unsigned char *text = (unsigned char *)malloc(length + 1); /* the block ends with a zero */
  bdpt_bytes index = {text, length}, out;
  bdpt_safetensors f;
  bdpt_status s;
  FUZZ_CHECK(text != NULL);
  if (length) memcpy(text, data, length);
  text[length] = 0;
  fuzz_bytes = zero ? zero + 1 : (const uint8_t *)small;
  fuzz_size = zero ? size - length - 1 : sizeof small - 1;
  if (!shards_is_index(text, length)) {
    free(text);
    fuzz_end(&ctx, 0);
    return 0;
  }
  s = shards_read(&ctx, "folder/index", &index, &out);
  FUZZ_CHECK(s ? out.data == NULL : out.size > 8);
  if (!s) {
    FUZZ_CHECK(bdpt_safetensors_parse(&ctx, out.data, out.size, "joined", &f) == BDPT_OK);
    bdpt_safetensors_close(&f);
    bdpt_bytes_free(&ctx, &out);
  }
  free(text);
  fuzz_end(&ctx, s != BDPT_OK);
  return 0;
}
