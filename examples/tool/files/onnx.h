/* onnx.h: a network as an ONNX file, without protobuf */
#ifndef TOOL_FILES_ONNX_H
#define TOOL_FILES_ONNX_H

#include "../../../boundarydpt.h"

#include <stdint.h>

/* Writes n in base 128 into out; returns how many digits there are, ten at most. */
size_t onnx_digits(uint64_t v, unsigned char out[10]);

/* Writes the whole file in one block, for the caller to free(). `key` and `value` become the
 * model's metadata. */
bdpt_status onnx_build(const bdpt_model *m, const char *const *key,
                       const char *const *value, size_t pairs, unsigned char **bytes,
                       size_t *size);

#endif /* TOOL_FILES_ONNX_H */
