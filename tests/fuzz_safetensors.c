/* Fuzz target: safetensors files. Every other input is read, and written again and parsed again
 * if that could be done; the others are taken for a network, half of them with a configuration.
 * longest: 512 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "fuzz.h"

/* Writes the tensors of a file into a new one, which must be readable and say the same. */
static void rewrite(bdpt_context *ctx, const bdpt_safetensors *f) {
  enum { MOST = 32 };
  bdpt_write_tensor list[MOST];
  const char *key[MOST], *value[MOST];
  size_t i, n = 0, pairs;
  bdpt_bytes bytes;
  bdpt_safetensors again;
  for (i = 0; i < f->count && n < MOST; i++) {
    const bdpt_file_tensor *t = &f->tensor[i];
    if (t->dtype == BDPT_OTHER || t->ndim > BDPT_MAX_DIMS) continue;
    memset(&list[n], 0, sizeof list[n]);
    list[n].name = t->name;
    list[n].dtype = t->dtype;
    list[n].ndim = t->ndim;
    if (t->ndim) memcpy(list[n].shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
    list[n].data = t->bytes;
    list[n++].raw = 1;
  }
  for (pairs = 0; pairs < f->pairs && pairs < MOST; pairs++) {
    key[pairs] = f->key[pairs];
    value[pairs] = bdpt_safetensors_get(f, key[pairs]);
  }
  FUZZ_CHECK(bdpt_safetensors_build(ctx, list, n, key, value, pairs, &bytes) == BDPT_OK);
  FUZZ_CHECK(bdpt_safetensors_parse(ctx, bytes.data, bytes.size, "again", &again) == BDPT_OK);
  FUZZ_CHECK(again.count == n && again.pairs == pairs);
  for (i = 0; i < n; i++) {
    const bdpt_file_tensor *t = bdpt_safetensors_find(&again, list[i].name);
    FUZZ_CHECK(t && t->dtype == list[i].dtype && t->ndim == list[i].ndim);
    FUZZ_CHECK(t->size == 0 || memcmp(t->bytes, list[i].data, t->size) == 0);
  }
  bdpt_safetensors_close(&again);
  bdpt_bytes_free(ctx, &bytes);
}

static void read_tensors(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  bdpt_safetensors f;
  bdpt_real numbers[64];
  size_t i;
  bdpt_status s = bdpt_safetensors_parse(&ctx, data, size, "fuzz", &f);
  for (i = 0; i < f.count; i++) {
    const bdpt_file_tensor *t = &f.tensor[i];
    FUZZ_CHECK(bdpt_safetensors_find(&f, t->name) == t);
    FUZZ_CHECK(t->size <= size && (size_t)(t->bytes - data) <= size - t->size);
    if (t->dtype != BDPT_OTHER && t->count <= 64) {
      FUZZ_CHECK(bdpt_safetensors_read(&ctx, t, numbers, t->count) == BDPT_OK);
    }
  }
  if (!s) rewrite(&ctx, &f);
  bdpt_safetensors_close(&f);
  fuzz_end(&ctx, s != BDPT_OK);
}

static void read_network(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  static bdpt_config c;
  bdpt_model *m;
  c.image = c.patch = c.width = c.depth = c.heads = c.classes = 1;
  c.eps = 1e-5;
  c.block[0].mlp_state = BDPT_MLP_FUSED;
  m = bdpt_model_parse(&ctx, data, size, "fuzz", size % 4 == 1 ? &c : NULL);
  bdpt_model_free(m);
  fuzz_end(&ctx, m == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size % 2) read_network(data, size);
  else read_tensors(data, size);
  return 0;
}
