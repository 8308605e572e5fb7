/* What the fuzz targets of text files share: where the tool reads a file, it gets the input. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "fuzz.h"

static const uint8_t *fuzz_bytes;
static size_t fuzz_size;

static bdpt_status fuzz_file_read(bdpt_context *ctx, const char *path, unsigned char **bytes,
                                  size_t *size) {
  (void)path;
  *bytes = (unsigned char *)bdpt_alloc(ctx, fuzz_size + 1);
  if (!*bytes) return ctx->status;
  if (fuzz_size) memcpy(*bytes, fuzz_bytes, fuzz_size);
  *size = fuzz_size;
  return BDPT_OK;
}
#define bdpt_file_read fuzz_file_read
