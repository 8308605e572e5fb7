/* shards.h: a network in a folder, or cut into several files */
#ifndef TOOL_FILES_SHARDS_H
#define TOOL_FILES_SHARDS_H

#include "../../../boundarydpt.h"

/* Finds the file that a folder's network is in, into out[1100]: model.safetensors.index.json,
 * model.safetensors or pytorch_model.bin; a name that is no folder stays. */
bdpt_status shards_find(bdpt_context *ctx, const char *path, char out[1100]);

/* Returns 1 if these are the bytes of an index, a JSON object, and no safetensors file or
 * pickle. */
int shards_is_index(const unsigned char *bytes, size_t size);

/* Reads every file that the index names, in the folder of `path`, and makes one safetensors file of
 * them in memory (bdpt_bytes_free). All tensors of the index must be in the files that it says. */
bdpt_status shards_read(bdpt_context *ctx, const char *path, const bdpt_bytes *index,
                        bdpt_bytes *out);

#endif /* TOOL_FILES_SHARDS_H */
