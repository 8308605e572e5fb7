/* shards.c: a network in a folder, or cut into several files
 *
 * Large networks are published in pieces, with model.safetensors.index.json beside them, which says
 * where each tensor is: {"weight_map": {"cls_token": "model-00001-of-00002.safetensors", ...}}. The
 * pieces become one safetensors file in memory, which then is read like any other.
 */
#include "../json_read.h"
#include "shards.h"
#include "../cli/messages.h"
#include "../cli/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS_MOST = 256, SHARDS_NAME = 200 };

typedef struct shards {
  bdpt_context *ctx;
  const char *path;
  int folder;                        /* of `path`, so many bytes */
  char name[SHARDS_MOST][SHARDS_NAME];
  bdpt_bytes bytes[SHARDS_MOST];
  size_t tensors, said;
  bdpt_safetensors file[SHARDS_MOST];
  int count;
} shards;

bdpt_status shards_find(bdpt_context *ctx, const char *path, char out[1100]) {
  static const char *const name[] = {"model.safetensors.index.json", "model.safetensors",
                                     "pytorch_model.bin"};
  size_t i;
  snprintf(out, 1100, "%.1020s", path);
  if (cli_is_folder(path) != 1) return BDPT_OK;
  for (i = 0; i < sizeof name / sizeof *name; i++) {
    snprintf(out, 1100, "%.1020s/%s", path, name[i]);
    if (cli_file_exists(out) == 1) return BDPT_OK;
  }
  return cli_fail(ctx, BDPT_E_IO, "%.200s: a folder without a network in it (no model.safetensors, "
                  "model.safetensors.index.json or pytorch_model.bin)", path);
}

int shards_is_index(const unsigned char *bytes, size_t size) {
  size_t i = 0;
  while (i < size && strchr(" \t\r\n", bytes[i] ? bytes[i] : 'x')) i++;
  if (i >= size || bytes[i] != '{') return 0;
  return size < 9 || bytes[8] != '{' || memchr(bytes, 0, 8) == NULL; /* a length has zero bytes */
}

static bdpt_status shards_fail(const shards *s, bdpt_status status, const char *what,
                               const char *name) {
  return cli_fail(s->ctx, status, "%.180s: %s '%.100s'", s->path, what, name);
}

/* Returns the number of a file, which it opens if it is new. -1 after an error. */
static int shards_open(shards *s, const char *name) {
  char path[1400];
  int i;
  for (i = 0; i < s->count; i++)
    if (strcmp(s->name[i], name) == 0) return i;
  if (i == SHARDS_MOST) {
    shards_fail(s, BDPT_E_FORMAT, "more files than 256 in the index, one of them", name);
    return -1;
  }
  if (!name[0] || strlen(name) + 1 >= SHARDS_NAME || strpbrk(name, "/\\:")) {
    shards_fail(s, BDPT_E_FORMAT, "the index names a file that cannot lie beside it,", name);
    return -1;
  }
  memcpy(s->name[i], name, strlen(name) + 1);
  if (snprintf(path, sizeof path, "%.*s%s", s->folder, s->path, name) >= (int)sizeof path) {
    shards_fail(s, BDPT_E_FORMAT, "too long a path for the file", name);
    return -1;
  }
  if (bdpt_file_read(s->ctx, path, &s->bytes[i]) != BDPT_OK) return -1;
  s->count++;
  if (bdpt_safetensors_parse(s->ctx, s->bytes[i].data, s->bytes[i].size, path, &s->file[i]) !=
      BDPT_OK)
    return -1;
  s->tensors += s->file[i].count;
  return i;
}

/* Walks through "weight_map". */
static bdpt_status shards_map(shards *s, const char *text, size_t length) {
  char key[300] = "", name[SHARDS_NAME + 1];
  json_reader j;
  json_event e;
  int inside = 0, at;
  json_init(&j, text, length);
  for (e = json_next(&j); e != JSON_END; e = json_next(&j)) {
    if (e == JSON_ERROR) return shards_fail(s, BDPT_E_FORMAT, "not valid JSON:", j.error);
    if (e == JSON_KEY) json_copy(&j, key, sizeof key);
    if (e == JSON_KEY && j.depth == 1) inside = strcmp(key, "weight_map") == 0;
    if (!inside || e != JSON_STRING || j.depth != 2) continue;
    json_copy(&j, name, sizeof name);
    at = shards_open(s, name);
    if (at < 0) return s->ctx->status;
    s->said++;
    if (!bdpt_safetensors_find(&s->file[at], key))
      return shards_fail(s, BDPT_E_FORMAT, "not in the file that the index says, the tensor", key);
  }
  if (s->said > 0) return BDPT_OK;
  return shards_fail(s, BDPT_E_FORMAT, "JSON, but no network's index: it has no", "weight_map");
}

static bdpt_status shards_join(shards *s, bdpt_bytes *out) {
  bdpt_write_tensor *list = (bdpt_write_tensor *)calloc(s->tensors + 1, sizeof *list);
  bdpt_status status = BDPT_OK;
  size_t n = 0, k;
  int i;
  if (!list) return shards_fail(s, BDPT_E_MEMORY, "out of memory for", "the list of tensors");
  for (i = 0; i < s->count && !status; i++)
    for (k = 0; k < s->file[i].count && !status; k++, n++) {
      const bdpt_file_tensor *t = &s->file[i].tensor[k];
      if (t->dtype == BDPT_OTHER || t->ndim > BDPT_MAX_DIMS)
        status = shards_fail(s, BDPT_E_FORMAT, "numbers or axes that cannot be read, in the tensor",
                             t->name);
      list[n].name = t->name; list[n].dtype = t->dtype; list[n].ndim = t->ndim;
      list[n].data = t->bytes; list[n].raw = 1;
      if (!status && t->ndim) memcpy(list[n].shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
    }
  if (!status) status = bdpt_safetensors_build(s->ctx, list, n, NULL, NULL, 0, out);
  free(list);
  return status;
}

bdpt_status shards_read(bdpt_context *ctx, const char *path, const bdpt_bytes *index,
                        bdpt_bytes *out) {
  shards *s = (shards *)calloc(1, sizeof *s);
  const char *slash = cli_last_slash(path);
  bdpt_status status;
  int i;
  out->data = NULL;
  out->size = 0;
  if (!s) return cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  s->ctx = ctx;
  s->path = path;
  s->folder = slash ? (int)(slash - path) + 1 : 0;
  status = shards_map(s, (const char *)index->data, index->size);
  if (!status) status = shards_join(s, out);
  for (i = 0; i < s->count; i++) {
    bdpt_safetensors_close(&s->file[i]);
    bdpt_bytes_free(ctx, &s->bytes[i]);
  }
  free(s);
  return status;
}
