/* pth_parts.h: what the parts of the .pth reader share */
#ifndef TOOL_FILES_PTH_PARTS_H
#define TOOL_FILES_PTH_PARTS_H

#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "pth.h"

#include <stdint.h>

#define PTH_STEM 255 /* bytes of the name of a zip archive's folder */

/* What a node is. The first eight are leaves whose value stands in the pickle, at `at`. */
enum { PTH_NONE, PTH_TRUE, PTH_FALSE, PTH_INT, PTH_FLOAT, PTH_TEXT, PTH_GLOBAL, PTH_MARK,
       PTH_TUPLE, PTH_LIST, PTH_DICT, PTH_SET, PTH_CALL, PTH_STORAGE };

/* Returns a times b; 0 if that is more than a size_t holds. */
int pth_mul(size_t a, size_t b, size_t *out);

/* Returns a plus b; 0 if that is more than a size_t holds. */
int pth_add(size_t a, size_t b, size_t *out);

/* Orders two texts of given lengths: by bytes, and a beginning of the other comes first. */
int pth_order(const void *x, size_t nx, const void *y, size_t ny);

/* Reads a little-endian number of so many bytes. */
uint64_t pth_number(const unsigned char *p, int bytes);

/* Records an error in the context, of which the first stays, as in the library. Returns the
 * status. */
CLI_PRINTF(3, 4)
bdpt_status pth_fail(const pth_file *f, bdpt_status status, const char *format, ...);

/* Allocates count * each bytes, a product that is checked; NULL with a sentence in the context. */
void *pth_alloc(const pth_file *f, size_t count, size_t each);

/* Frees the nodes. */
void pth_pickle_free(pth_pickle *p);

/* Reads the pickle at `text`, at most `left` bytes long. Its true length is then in p->size. */
bdpt_status pth_pickle_read(const pth_file *f, pth_pickle *p, const unsigned char *text,
                            size_t left);

/* Returns the i-th value of a chain, or PTH_NOTHING. It walks, so it is for short chains only. */
uint32_t pth_child(const pth_pickle *p, uint32_t node, size_t i);

/* Returns what a node is; PTH_NONE for PTH_NOTHING. */
uint32_t pth_kind(const pth_pickle *p, uint32_t node);

/* Returns 1 if the node is this text. */
int pth_is(const pth_pickle *p, uint32_t node, const char *word);

/* Returns a whole number of up to eight bytes; 0 when the node is something else. */
int pth_int(const pth_pickle *p, uint32_t node, int64_t *out);

/* Returns 1 if the node is a whole number that is a size; stores it. */
int pth_size(const pth_pickle *p, uint32_t node, size_t *out);

/* Returns "module\nname\n" of a GLOBAL; NULL when the node is something else. */
const char *pth_global(const pth_pickle *p, uint32_t node);

/* Compares a GLOBAL with `lines`: both lines, or the beginning of them. */
int pth_global_is(const pth_pickle *p, uint32_t node, const char *lines);

/* Returns "module.name" for a message. */
const char *pth_show_global(const pth_pickle *p, uint32_t node, char out[72]);

/* Tells a dictionary: a plain one, or one of the two kinds of collections that state dicts come
 * in. */
int pth_is_dict(const pth_pickle *p, uint32_t node);

/* Returns the link of a dictionary's first key. */
uint32_t pth_first_key(const pth_pickle *p, uint32_t node);

/* Returns 1 if the node spells a tensor in one of PyTorch's ways. */
int pth_is_tensor(const pth_pickle *p, uint32_t node);

/* Reads the directory; afterwards the entries are sorted by name. */
bdpt_status pth_zip_read(pth_file *f);

/* Returns the entry "stem/folder" + key, or NULL. A stem has at most PTH_STEM bytes, a key 64. */
const pth_entry *pth_zip_find(const pth_file *f, const char *folder, const char *key,
                              size_t length);

/* Finds the one STEM/data.pkl, and refuses what is a zip archive of another kind. */
bdpt_status pth_zip_stem(pth_file *f);

#define PTH_MAGIC "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." /* a whole pickle */

#endif /* TOOL_FILES_PTH_PARTS_H */
