/* What the fuzz targets of text files share: where the tool reads a file, it gets the input. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "fuzz.h"

static const uint8_t *fuzz_bytes;
static size_t fuzz_size;

FUZZ_UNUSED static bdpt_status fuzz_file_read(bdpt_context *ctx, const char *path,
                                              bdpt_bytes *out) {
  (void)path;
  out->data = (unsigned char *)bdpt_alloc(ctx, fuzz_size + 1);
  if (!out->data) return ctx->status;
  if (fuzz_size) memcpy(out->data, fuzz_bytes, fuzz_size);
  out->size = fuzz_size;
  return BDPT_OK;
}
#define bdpt_file_read fuzz_file_read
