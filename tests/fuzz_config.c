/* Fuzz target: config.json and, behind the first zero byte, preprocessor_config.json, beside a
 * small network in the names of transformers 4 and in those of timm: the length of the input
 * says which. One input in 32 is read together with the network, which takes the longest.
 * longest: 400 */
#include "fuzz_checkpoint.h"

typedef struct part { const char *hf, *timm; int ndim; size_t shape[4]; } part;
static const part parts[] = {
  {"vit.embeddings.cls_token", "cls_token", 3, {1, 1, 4, 0}},
  {"vit.embeddings.position_embeddings", "pos_embed", 3, {1, 5, 4, 0}},
  {"vit.embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight", 4, {4, 3, 2, 2}},
  {"vit.embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias", 1, {4, 0, 0, 0}},
  {"vit.layernorm.weight", "norm.weight", 1, {4, 0, 0, 0}},
  {"vit.layernorm.bias", "norm.bias", 1, {4, 0, 0, 0}},
  {"classifier.weight", "head.weight", 2, {2, 4, 0, 0}},
  {"classifier.bias", "head.bias", 1, {2, 0, 0, 0}},
  {"vit.encoder.layer.0.layernorm_before.weight", "blocks.0.norm1.weight", 1, {4, 0, 0, 0}},
  {"vit.encoder.layer.0.layernorm_before.bias", "blocks.0.norm1.bias", 1, {4, 0, 0, 0}},
  {"vit.encoder.layer.0.attention.attention.query.weight", NULL, 2, {4, 4, 0, 0}},
  {"vit.encoder.layer.0.attention.attention.key.weight", NULL, 2, {4, 4, 0, 0}},
  {"vit.encoder.layer.0.attention.attention.value.weight", NULL, 2, {4, 4, 0, 0}},
  {NULL, "blocks.0.attn.qkv.weight", 2, {12, 4, 0, 0}},
  {"vit.encoder.layer.0.attention.output.dense.weight", "blocks.0.attn.proj.weight", 2,
   {4, 4, 0, 0}},
  {"vit.encoder.layer.0.attention.output.dense.bias", "blocks.0.attn.proj.bias", 1, {4, 0, 0, 0}},
  {"vit.encoder.layer.0.layernorm_after.weight", "blocks.0.norm2.weight", 1, {4, 0, 0, 0}},
  {"vit.encoder.layer.0.layernorm_after.bias", "blocks.0.norm2.bias", 1, {4, 0, 0, 0}},
  {"vit.encoder.layer.0.intermediate.dense.weight", "blocks.0.mlp.fc1.weight", 2, {6, 4, 0, 0}},
  {"vit.encoder.layer.0.intermediate.dense.bias", "blocks.0.mlp.fc1.bias", 1, {6, 0, 0, 0}},
  {"vit.encoder.layer.0.output.dense.weight", "blocks.0.mlp.fc2.weight", 2, {4, 6, 0, 0}},
  {"vit.encoder.layer.0.output.dense.bias", "blocks.0.mlp.fc2.bias", 1, {4, 0, 0, 0}}};

/* The network without biases of q, k and v: config.json may say whether that is right. */
static void build(bdpt_context *ctx, int hf, bdpt_bytes *out) {
  static const float zeros[64] = {0};
  bdpt_write_tensor list[sizeof parts / sizeof *parts];
  size_t i, n = 0;
  memset(list, 0, sizeof list);
  for (i = 0; i < sizeof parts / sizeof *parts; i++) {
    list[n].name = hf ? parts[i].hf : parts[i].timm;
    if (!list[n].name) continue;
    list[n].dtype = BDPT_F32;
    list[n].ndim = parts[i].ndim;
    memcpy(list[n].shape, parts[i].shape, sizeof list[n].shape);
    list[n].data = zeros;
    list[n++].raw = 1;
  }
  FUZZ_CHECK(bdpt_safetensors_build(ctx, list, n, NULL, NULL, 0, out) == BDPT_OK);
}

/* Reads the texts alone, without the network. */
static void read_texts(int hf, checkpoint_side config, checkpoint_side images) {
  const checkpoint_texts beside = {config, images};
  static checkpoint_report report;
  static bdpt_config known;
  bdpt_context ctx = fuzz_context();
  checkpoint_work *c = checkpoint_new(&ctx, "fuzz", &report);
  bdpt_status s;
  memset(&report, 0, sizeof report);
  c->is_hf = hf;
  c->depth = 1;
  s = checkpoint_config_use(c, &beside, 4);
  known.width = known.image = known.block[0].mlp = 4;
  known.depth = known.heads = 1;
  known.patch = known.classes = 2;
  known.channels = 3;
  if (!s) s = checkpoint_config_compare(c, &known);
  FUZZ_CHECK(memchr(report.note, 0, sizeof report.note) != NULL);
  FUZZ_CHECK(checkpoint_end(c, BDPT_E_STATE) == NULL);
  fuzz_end(&ctx, s != BDPT_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *zero = size ? (const uint8_t *)memchr(data, 0, size) : NULL;
  static unsigned char *file[2]; /* of exactly its size, made once, and then the program's */
  static size_t length[2];
  checkpoint_side config, images;
  const int hf = (int)(size % 2);
  config.text = (const char *)data;
  config.size = zero ? (size_t)(zero - data) : size;
  images.text = zero ? (const char *)zero + 1 : NULL;
  images.size = zero ? size - config.size - 1 : 0;
  if (!file[hf]) {
    bdpt_context ctx = fuzz_context();
    bdpt_bytes bytes;
    build(&ctx, hf, &bytes);
    length[hf] = bytes.size;
    file[hf] = (unsigned char *)malloc(length[hf]);
    FUZZ_CHECK(file[hf] != NULL);
    memcpy(file[hf], bytes.data, length[hf]);
    bdpt_bytes_free(&ctx, &bytes);
    fuzz_end(&ctx, 0);
  }
  read_texts(hf, config, images);
  if (size / 2 % 32 == 0) fuzz_load(file[hf], length[hf], NULL, config, images);
  return 0;
}
