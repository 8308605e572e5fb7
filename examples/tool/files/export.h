/* export.h: a network for other programs */
#ifndef TOOL_FILES_EXPORT_H
#define TOOL_FILES_EXPORT_H

#include "../../../boundarydpt.h"
#include "../cli/json.h"

enum { EXPORT_TIMM = 0, EXPORT_HF = 1 };

typedef struct export_options {
  const char *onnx, *safetensors; /* where to; NULL: not wanted */
  int dtype, names;
} export_options;

/* Returns 1 if nothing was removed and all blocks are alike, which is what transformers' own
 * classes can be. */
int export_is_plain(const bdpt_config *c);

/* Writes the whole text, in j. */
void export_config(cli_json *out, const bdpt_model *m, const char *weights, int names);

/* Reads the value of "weights_file" in a config.json; 1 if it is `weights`. */
int export_config_is_ours(const unsigned char *text, size_t size, const char *weights);

/* Writes the weights with config.json beside them. */
bdpt_status export_safetensors(const bdpt_model *m, const export_options *o);

/* Writes an ONNX file with its metadata. */
bdpt_status export_onnx(const bdpt_model *m, const char *path);

#endif /* TOOL_FILES_EXPORT_H */
