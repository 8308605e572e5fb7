/* pth.h: PyTorch checkpoints, read without running anything
 *
 * Open a file that is in memory, list what stands in it, find the tensors, copy their numbers.
 */
#ifndef TOOL_FILES_PTH_H
#define TOOL_FILES_PTH_H

#include "../../../boundarydpt.h"

#include <stdint.h>

#define PTH_AXES 8
#define PTH_NOTHING UINT32_MAX

typedef struct pth_link { uint32_t node, next; } pth_link;

/* A dictionary's chain is key, value, key, value ...; a call's is what is called and the tuple of
 * its arguments, and then, if items were set on the result, key, value ... */
typedef struct pth_node { uint32_t kind, at, first, last; } pth_node;

typedef struct pth_pickle {
  const unsigned char *text; /* the stream, from its first byte to its STOP */
  size_t size;
  pth_node *node;            /* one block of memory for all four tables */
  pth_link *link;
  uint32_t *stack, *memo;
  size_t nodes, links, pushes, puts, depth;
  uint32_t root;
} pth_pickle;

/* A file of a zip archive. */
typedef struct pth_entry {
  const unsigned char *name;
  size_t length, offset, size;
  int method;
} pth_entry;

/* A storage of the older form. */
typedef struct pth_row { uint32_t key, node; size_t offset, numel; } pth_row;

/* A dictionary that can be reached from the top through dictionaries. */
typedef struct pth_dict { uint32_t node, parent, key; } pth_dict;

typedef struct pth_file {
  bdpt_context *ctx;
  const char *name;          /* for messages */
  const unsigned char *bytes;
  size_t size;
  int legacy;
  pth_pickle pickle;
  pth_entry *entry;          /* zip: sorted by name */
  size_t entries;
  const unsigned char *stem; /* zip: "archive" of "archive/data.pkl" */
  size_t stem_length;
  pth_row *row;              /* legacy: sorted by key */
  size_t rows;
  pth_dict *dict;            /* [0] is the top; a dictionary stands behind the one it is in */
  size_t dicts;
} pth_file;

/* One key of one dictionary that is a text, with a value that is no dictionary itself. */
typedef struct pth_item {
  const char *name;          /* not terminated */
  size_t length;
  uint32_t dict, value;
  int tensor;                /* 0: something else */
} pth_item;

/* Where a tensor's numbers are. */
typedef struct pth_tensor {
  char type[40];             /* "FloatStorage" */
  int dtype;                 /* of the copy: F32, F64, F16, BF16, I64, U8 */
  size_t width, wide;        /* bytes of an element in the file and in the copy */
  int ndim;
  size_t shape[PTH_AXES], stride[PTH_AXES], count;
  const unsigned char *bytes; /* of its first element */
  int packed;                /* 1: as in the copy, so no copy is needed */
} pth_tensor;

/* Makes a name from a file fit for a message: printable, and cut to a line's worth. */
const char *pth_show(const char *name, size_t length, char out[72]);

/* Appends to a text in a room; what does not fit is cut. */
void pth_append(char *out, size_t room, const char *more);

/* Returns the text of a node, not terminated; NULL when it is none. */
const char *pth_text(const pth_pickle *p, uint32_t node, size_t *length);

/* Frees what pth_open made; the bytes stay the caller's. */
void pth_close(pth_file *f);

/* Returns 'z' for the zip form, 'l' for the older form (or the beginning of one), 'p' for another
 * pickle, 0 for neither. */
int pth_sniff(const void *bytes, size_t size);

/* Borrows the bytes. On failure `out` owns nothing and ctx->message has the reason. */
bdpt_status pth_open(bdpt_context *ctx, const void *bytes, size_t size, const char *name,
                     pth_file *out);

/* Writes the keys that lead to a dictionary, joined by dots; "" for the top. What does not fit is
 * cut. */
void pth_path(const pth_file *f, uint32_t dict, char *out, size_t room);

/* Lists all items; with `out` NULL only counts them. */
size_t pth_items(const pth_file *f, pth_item *out);

/* Reads the tensor that a value spells. Everything about it is checked here: the last element
 * that its sizes and strides reach lies in its storage, and its numbers are no more bytes than the
 * whole file, so that a stride of 0 cannot turn one number into a billion. `shown` is its name for
 * messages. */
bdpt_status pth_find(const pth_file *f, uint32_t node, const char *shown, pth_tensor *t);

/* Copies the numbers row by row, without gaps: count * wide bytes. */
void pth_copy(const pth_tensor *t, unsigned char *out);

#endif /* TOOL_FILES_PTH_H */
