/* =================================================================================================
 * pth.c: PyTorch checkpoints, read without running anything
 * =================================================================================================
 * torch.save writes a pickle, and a pickle is a program: a list of instructions for a small stack
 * machine that may call any function of Python. Loading a stranger's .pth with Python's pickle is
 * running the stranger's code; torch.load(weights_only=True) narrows that down and was broken twice
 * (CVE-2025-32434, CVE-2026-24747). This reader takes another way: it has no functions to call.
 *
 *     pickle                              what the stack machine here leaves
 *     GLOBAL 'torch._utils _rebuild...'   a node that says which name was asked for
 *     REDUCE                              a node "call of this, with these arguments"
 *     BINPERSID                           a node "storage described by this tuple"
 *     {'a': 1}                            a node with a chain of keys and values
 *
 * So the whole stream becomes inert nodes, and a Namespace with the options of the training run, a
 * NumPy scalar or os.system are all the same to it: a name and some arguments that nobody looks at.
 * Afterwards the dictionaries are walked, and where a value spells a tensor in PyTorch's way, its
 * storage, offset, sizes and strides are checked and its numbers can be copied.
 *
 * The opcodes are those of PyTorch's own restricted unpickler; any other is an error. The stream is
 * read twice with the same table: once to check it and count, then, with memory for exactly that
 * much, to fill. Nothing recurses, every size goes through checked arithmetic, and the objects are
 * limited (PTH_OBJECTS), so that a short file cannot ask for much memory.
 *
 * Two containers hold the pickle. Since 1.6 (2020) a zip archive of stored entries,
 *
 *     NAME/data.pkl   NAME/data/0   NAME/data/1 ...   NAME/byteorder   NAME/version
 *
 * of which we believe the directory at its end alone and of a local header only where its data
 * begin. Before that five pickles in a row (a magic number, a version, the byte order, the object,
 * the keys of the storages), then for each storage its number of elements and its bytes.
 *
 *   source    torch/serialization.py, torch/_weights_only_unpickler.py (opcodes), pickletools
 *             (their arguments); PKWARE APPNOTE 6.3.10, 4.3 (zip, zip64)
 *   check     tests/test_checkpoint.c, tests/fuzz_pth.c, tests/fuzz_pth_legacy.c
 *
 * Chapters: 1 helpers, 2 pickle in pickle.c; 3 zip in zip.c; here 4 opening a file, 5 tensors.
 */
#include "../../../boundarydpt.h"
#include "pth.h"
#include "pth_parts.h"
#include "../words.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 4  OPENING A FILE                                                                          >>open
 * =================================================================================================
 */
/* The types of storage, bytes of an element, and what they become. Those that no network of ours
 * consists of are known by size only, to step over them. */
typedef struct pth_type { const char *name; size_t width; int dtype; } pth_type;

static const pth_type *pth_find_type(const pth_pickle *p, uint32_t node) {
  static const pth_type types[] = {
    {"FloatStorage", 4, BDPT_F32}, {"DoubleStorage", 8, BDPT_F64}, {"HalfStorage", 2, BDPT_F16},
    {"BFloat16Storage", 2, BDPT_BF16}, {"LongStorage", 8, BDPT_I64}, {"IntStorage", 4, BDPT_I64},
    {"ByteStorage", 1, BDPT_U8}, {"ShortStorage", 2, BDPT_OTHER}, {"CharStorage", 1, BDPT_OTHER},
    {"BoolStorage", 1, BDPT_OTHER}, {"ComplexFloatStorage", 8, BDPT_OTHER},
    {"ComplexDoubleStorage", 16, BDPT_OTHER}, {"QInt8Storage", 1, BDPT_OTHER},
    {"QUInt8Storage", 1, BDPT_OTHER}, {"QInt32Storage", 4, BDPT_OTHER},
    {"UntypedStorage", 1, BDPT_OTHER}};
  const char *text = pth_global_is(p, node, "torch\n") ? pth_global(p, node) + 6 : NULL;
  size_t i, n;
  for (i = 0; text && i < sizeof types / sizeof *types; i++) {
    n = strlen(types[i].name);
    if (strncmp(text, types[i].name, n) == 0 && text[n] == '\n') return &types[i];
  }
  return NULL;
}

/* Reads the tuple of a storage, ('storage', type, key, location, numel) and, in the older form, a
 * view, which must be None. Keys are small numbers or addresses in decimal; longer ones would only
 * cost time to compare. */
static int pth_storage_parts(const pth_file *f, uint32_t node, uint32_t *type, uint32_t *key,
                             size_t *numel) {
  const pth_pickle *p = &f->pickle;
  uint32_t tuple = pth_child(p, node, 0), view;
  size_t length;
  if (pth_kind(p, node) != PTH_STORAGE || pth_kind(p, tuple) != PTH_TUPLE) return 0;
  view = pth_child(p, tuple, 5);
  *type = pth_child(p, tuple, 1);
  *key = pth_child(p, tuple, 2);
  return pth_is(p, pth_child(p, tuple, 0), "storage") && pth_kind(p, *type) == PTH_GLOBAL &&
         pth_text(p, *key, &length) && length <= 64 && pth_size(p, pth_child(p, tuple, 4), numel) &&
         (view == PTH_NOTHING || pth_kind(p, view) == PTH_NONE);
}

/* Rows are compared through the pickle, which qsort does not pass on; so the texts come along. */
typedef struct pth_key { const char *text; size_t length; pth_row row; } pth_key;

static int pth_by_key(const void *a, const void *b) {
  const pth_key *x = (const pth_key *)a, *y = (const pth_key *)b;
  return pth_order(x->text, x->length, y->text, y->length);
}

/* Returns the row of a storage's key, or NULL. */
static pth_row *pth_find_row(const pth_file *f, const char *text, size_t length) {
  size_t low = 0, high = f->rows, n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    pth_key a = {text, length, {0, 0, 0, 0}}, b = a;
    int order;
    b.text = pth_text(&f->pickle, f->row[middle].key, &n);
    b.length = n;
    order = pth_by_key(&a, &b);
    if (order == 0) return &f->row[middle];
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return NULL;
}

/* Lists the storages that the object's pickle mentions, each once, sorted by key. */
static bdpt_status pth_legacy_rows(pth_file *f) {
  const pth_pickle *p = &f->pickle;
  pth_key *key;
  size_t n = 0, i;
  uint32_t type;
  char shown[72];
  for (i = 0; i < p->nodes; i++) n += p->node[i].kind == PTH_STORAGE;
  key = (pth_key *)pth_alloc(f, n, sizeof *key);
  f->row = (pth_row *)pth_alloc(f, n, sizeof *f->row);
  if (!key || !f->row) { free(key); return BDPT_E_MEMORY; }
  for (n = i = 0; i < p->nodes; i++) {
    pth_key *k = &key[n];
    if (!pth_storage_parts(f, (uint32_t)i, &type, &k->row.key, &k->row.numel)) continue;
    k->text = pth_text(p, k->row.key, &k->length);
    k->row.node = type;
    k->row.offset = 0;
    n++;
  }
  qsort(key, n, sizeof *key, pth_by_key);
  for (i = 0; i < n; i++) {
    const pth_row *last = f->rows ? &f->row[f->rows - 1] : NULL;
    int again = i > 0 && pth_by_key(&key[i - 1], &key[i]) == 0;
    if (again && last->numel == key[i].row.numel &&
        pth_find_type(p, last->node) == pth_find_type(p, key[i].row.node)) continue;
    if (again) {
      pth_show(key[i].text, key[i].length, shown);
      free(key);
      return pth_fail(f, BDPT_E_FORMAT, "storage '%s' is described in two ways", shown);
    }
    f->row[f->rows++] = key[i].row;
  }
  free(key);
  return BDPT_OK;
}

/* Reads the last part of the older form: for each key of the list an int64 and so many elements. */
static bdpt_status pth_legacy_storages(pth_file *f, const pth_pickle *keys, size_t at) {
  uint32_t link = pth_kind(keys, keys->root) == PTH_LIST ? keys->node[keys->root].first
                                                         : PTH_NOTHING;
  char shown[72];
  for (; link != PTH_NOTHING; link = keys->link[link].next) {
    size_t n, bytes;
    const char *text = pth_text(keys, keys->link[link].node, &n);
    pth_row *row = text ? pth_find_row(f, text, n) : NULL;
    const pth_type *type = row ? pth_find_type(&f->pickle, row->node) : NULL;
    pth_show(text ? text : "", n, shown);
    if (!row || row->offset) {
      return pth_fail(f, BDPT_E_FORMAT, "storage '%s' stands in the list of storages %s", shown,
                      row ? "twice" : "but nothing uses it");
    }
    if (!type) {
      char other[72];
      return pth_fail(f, BDPT_E_FORMAT, "storage '%s' is a %s, whose size is unknown", shown,
                      pth_show_global(&f->pickle, row->node, other));
    }
    if (f->size - at < 8 || pth_number(f->bytes + at, 8) != row->numel ||
        !pth_mul(row->numel, type->width, &bytes) || bytes > f->size - at - 8) {
      return pth_fail(f, BDPT_E_FORMAT, "storage '%s' should have %zu %s at byte %zu, but "
                      "has not; was the file cut off?", shown, row->numel,
                      words_of((double)row->numel, "element", "elements"), at);
    }
    row->offset = at + 8;
    at += 8 + bytes;
  }
  if (at != f->size) {
    return pth_fail(f, BDPT_E_FORMAT, "%zu %s to no storage, behind the last one",
                    f->size - at, words_of((double)(f->size - at), "byte belongs", "bytes belong"));
  }
  return BDPT_OK;
}

static bdpt_status pth_legacy_read(pth_file *f) {
  static const char start[] = PTH_MAGIC "\x80\x02M\xe9\x03."; /* 1001 */
  pth_pickle other;
  size_t at = sizeof start - 1;
  uint32_t link;
  int little = 0;
  bdpt_status s;
  if (f->size < at || memcmp(f->bytes, start, at) != 0) {
    return pth_fail(f, BDPT_E_FORMAT, "PyTorch's older form, but not of version 1001");
  }
  s = pth_pickle_read(f, &other, f->bytes + at, f->size - at);
  if (s) return s;
  link = pth_is_dict(&other, other.root) ? pth_first_key(&other, other.root) : PTH_NOTHING;
  for (; link != PTH_NOTHING; link = other.link[other.link[link].next].next) {
    if (pth_is(&other, other.link[link].node, "little_endian")) {
      little = pth_kind(&other, other.link[other.link[link].next].node) == PTH_TRUE;
    }
  }
  at += other.size;
  pth_pickle_free(&other);
  if (!little) return pth_fail(f, BDPT_E_FORMAT, "its numbers are not little-endian");
  s = pth_pickle_read(f, &f->pickle, f->bytes + at, f->size - at);
  at += f->pickle.size;
  if (!s) s = pth_legacy_rows(f);
  if (!s) s = pth_pickle_read(f, &other, f->bytes + at, f->size - at);
  if (s) return s;
  s = pth_legacy_storages(f, &other, at + other.size);
  pth_pickle_free(&other);
  return s;
}

static bdpt_status pth_zip_open(pth_file *f) {
  const pth_entry *e;
  bdpt_status s = pth_zip_read(f);
  if (!s) s = pth_zip_stem(f);
  if (s) return s;
  e = pth_zip_find(f, "byteorder", "", 0);
  if (e && (e->size != 6 || memcmp(f->bytes + e->offset, "little", 6) != 0)) {
    return pth_fail(f, BDPT_E_FORMAT, "its numbers are not little-endian");
  }
  e = pth_zip_find(f, "data.pkl", "", 0);
  s = pth_pickle_read(f, &f->pickle, f->bytes + e->offset, e->size);
  if (!s && f->pickle.size != e->size) {
    s = pth_fail(f, BDPT_E_FORMAT, "%zu %s the end of its pickle", e->size - f->pickle.size,
                 words_of((double)(e->size - f->pickle.size), "byte follows", "bytes follow"));
  }
  return s;
}

/* Lists the dictionaries, level by level. A node's `at`, which only leaves need, marks those that
 * are in the list, so that each comes once even if the pickle ties knots. */
static bdpt_status pth_dicts(pth_file *f) {
  pth_pickle *p = &f->pickle;
  size_t i, n = 0;
  char shown[72];
  for (i = 0; i < p->nodes; i++) n += (size_t)pth_is_dict(p, (uint32_t)i);
  if (!pth_is_dict(p, p->root)) {
    if (pth_kind(p, p->root) != PTH_CALL) {
      return pth_fail(f, BDPT_E_FORMAT, "a PyTorch file, but no dictionary of tensors");
    }
    if (pth_global_is(p, pth_child(p, p->root, 0), "torch._utils\n_rebuild_tensor")) {
      return pth_fail(f, BDPT_E_FORMAT, "it holds one tensor without a name, not a network; save "
                      "its state_dict() instead");
    }
    return pth_fail(f, BDPT_E_FORMAT, "it holds a Python object, %s, which nothing but its own "
                    "program can read; save its state_dict() instead",
                    pth_show_global(p, pth_child(p, p->root, 0), shown));
  }
  f->dict = (pth_dict *)pth_alloc(f, n, sizeof *f->dict);
  if (!f->dict) return BDPT_E_MEMORY;
  f->dict[0].node = p->root;
  f->dict[0].parent = f->dict[0].key = PTH_NOTHING;
  f->dicts = 1;
  p->node[p->root].at = 1;
  for (i = 0; i < f->dicts; i++) {
    uint32_t link = pth_first_key(p, f->dict[i].node), key, value;
    for (; link != PTH_NOTHING; link = p->link[link].next) {
      key = p->link[link].node;
      link = p->link[link].next;
      value = p->link[link].node;
      if (!pth_is_dict(p, value) || p->node[value].at) continue;
      p->node[value].at = 1;
      f->dict[f->dicts].node = value;
      f->dict[f->dicts].parent = (uint32_t)i;
      f->dict[f->dicts++].key = key;
    }
  }
  return BDPT_OK;
}

void pth_close(pth_file *f) {
  pth_pickle_free(&f->pickle);
  free(f->entry);
  free(f->row);
  free(f->dict);
  memset(f, 0, sizeof *f);
}

int pth_sniff(const void *bytes, size_t size) {
  const unsigned char *p = (const unsigned char *)bytes;
  size_t magic = sizeof PTH_MAGIC - 1;
  if (size >= 4 && (memcmp(p, "PK\3\4", 4) == 0 || memcmp(p, "PK\5\6", 4) == 0)) return 'z';
  if (size < 4 || p[0] != 0x80 || p[1] < 2 || p[1] > 5) return 0;
  return memcmp(p, PTH_MAGIC, size < magic ? size : magic) == 0 ? 'l' : 'p';
}

/* Returns 1 if the older form's magic number stands at the front, also in a pickle of protocol 4 or
 * later, where a frame of 9 bytes begins first. */
static int pth_has_magic(const pth_file *f) {
  static const char magic[] = PTH_MAGIC;
  size_t at = f->bytes[1] >= 4 ? 11 : 2;
  return f->size >= at + 12 && memcmp(f->bytes + at, magic + 2, 12) == 0;
}

bdpt_status pth_open(bdpt_context *ctx, const void *bytes, size_t size, const char *name,
                     pth_file *out) {
  int form = pth_sniff(bytes, size);
  bdpt_status s;
  memset(out, 0, sizeof *out);
  out->ctx = ctx;
  out->name = name ? name : "memory";
  out->bytes = (const unsigned char *)bytes;
  out->size = size;
  out->legacy = form == 'l';
  if (form == 'p' && pth_has_magic(out)) {
    s = pth_fail(out, BDPT_E_FORMAT, "a PyTorch file in the older form, with pickles of protocol "
                 "%d; protocol 2 can be read, which torch.save writes unless it is told otherwise",
                 out->bytes[1]);
  } else if (form == 'p') {
    s = pth_fail(out, BDPT_E_FORMAT, "a Python pickle (protocol %d), but not from torch.save",
                 out->bytes[1]);
  } else if (form == 0) {
    s = pth_fail(out, BDPT_E_FORMAT, "no PyTorch file");
  } else {
    s = form == 'z' ? pth_zip_open(out) : pth_legacy_read(out);
  }
  if (!s) s = pth_dicts(out);
  if (s) pth_close(out);
  return s;
}

/* =================================================================================================
 * 5  TENSORS                                                                              >>tensors
 * =================================================================================================
 */
void pth_path(const pth_file *f, uint32_t dict, char *out, size_t room) {
  uint32_t chain[16];
  size_t depth = 0, n;
  char shown[72];
  for (; f->dict[dict].parent != PTH_NOTHING && depth < 16; dict = f->dict[dict].parent) {
    chain[depth++] = f->dict[dict].key;
  }
  for (out[0] = 0; depth > 0;) {
    const char *text = pth_text(&f->pickle, chain[--depth], &n);
    int64_t number = 0;
    if (text) pth_show(text, n, shown);
    else if (pth_int(&f->pickle, chain[depth], &number)) {
      snprintf(shown, sizeof shown, "%lld", (long long)number);
    } else snprintf(shown, sizeof shown, "?");
    if (out[0]) pth_append(out, room, ".");
    pth_append(out, room, shown);
  }
}

size_t pth_items(const pth_file *f, pth_item *out) {
  const pth_pickle *p = &f->pickle;
  size_t count = 0, i;
  for (i = 0; i < f->dicts; i++) {
    uint32_t link = pth_first_key(p, f->dict[i].node);
    for (; link != PTH_NOTHING; link = p->link[link].next) {
      pth_item item;
      item.name = pth_text(p, p->link[link].node, &item.length);
      link = p->link[link].next;
      item.value = p->link[link].node;
      item.dict = (uint32_t)i;
      item.tensor = pth_is_tensor(p, item.value);
      if (!item.name || pth_is_dict(p, item.value)) continue;
      if (out) out[count] = item;
      count++;
    }
  }
  return count;
}

/* Finds the bytes of a storage, after it was found to have the size that its tuple says. */
static bdpt_status pth_storage(const pth_file *f, uint32_t node, const char *shown, pth_tensor *t,
                               size_t *numel) {
  const pth_pickle *p = &f->pickle;
  uint32_t global, key;
  const pth_type *type;
  const char *text;
  size_t n, bytes;
  char other[72];
  if (!pth_storage_parts(f, node, &global, &key, numel)) {
    return pth_fail(f, BDPT_E_FORMAT, "'%s': its storage is described in a way that cannot be read",
                    shown);
  }
  type = pth_find_type(p, global);
  if (!type || type->dtype == BDPT_OTHER) {
    return pth_fail(f, BDPT_E_FORMAT, "'%s': numbers of a %s cannot be read", shown,
                    pth_show_global(p, global, other));
  }
  snprintf(t->type, sizeof t->type, "%s", type->name);
  t->dtype = type->dtype;
  t->width = type->width;
  t->wide = type->dtype == BDPT_I64 ? 8 : type->width;
  text = pth_text(p, key, &n);
  if (!pth_mul(*numel, type->width, &bytes)) bytes = SIZE_MAX;
  if (f->legacy) {
    const pth_row *row = pth_find_row(f, text, n);
    if (row && row->offset) { t->bytes = f->bytes + row->offset; return BDPT_OK; }
  } else {
    const pth_entry *e = pth_zip_find(f, "data/", text, n);
    if (e && e->size == bytes) { t->bytes = f->bytes + e->offset; return BDPT_OK; }
    if (e) {
      return pth_fail(f, BDPT_E_FORMAT, "'%s': its storage should have %zu x %zu bytes, but "
                      "has %zu", shown, *numel, type->width, e->size);
    }
  }
  return pth_fail(f, BDPT_E_FORMAT, "'%s': its storage '%s' is not in the file", shown,
                  pth_show(text, n, other));
}

/* Reads sizes and strides: both tuples of as many whole numbers. 0 when they are not. */
static int pth_axes(const pth_pickle *p, uint32_t sizes, uint32_t strides, pth_tensor *t) {
  size_t i, n = 0;
  if (pth_kind(p, sizes) != PTH_TUPLE || pth_kind(p, strides) != PTH_TUPLE) return 0;
  while (n <= PTH_AXES && pth_child(p, sizes, n) != PTH_NOTHING) n++;
  if (n > PTH_AXES || pth_child(p, strides, n) != PTH_NOTHING) return 0;
  for (i = 0; i < n; i++) {
    if (!pth_size(p, pth_child(p, sizes, i), &t->shape[i]) ||
        !pth_size(p, pth_child(p, strides, i), &t->stride[i])) return 0;
  }
  t->ndim = (int)n;
  return 1;
}

bdpt_status pth_find(const pth_file *f, uint32_t node, const char *shown, pth_tensor *t) {
  const pth_pickle *p = &f->pickle;
  uint32_t args = pth_child(p, node, 1), callee = pth_child(p, node, 0);
  size_t numel, offset, last, step, bytes, run = 1;
  char other[72];
  int i, turns;
  bdpt_status s;
  memset(t, 0, sizeof *t);
  for (turns = 0; turns < 4 && pth_global_is(p, callee, "torch._utils\n_rebuild_parameter");
       turns++) { /* the tensor inside a parameter */
    node = pth_child(p, args, 0);
    callee = pth_kind(p, node) == PTH_CALL ? pth_child(p, node, 0) : PTH_NOTHING;
    args = pth_kind(p, node) == PTH_CALL ? pth_child(p, node, 1) : PTH_NOTHING;
  }
  if (!pth_global_is(p, callee, "torch._utils\n_rebuild_tensor_v2\n") &&
      !pth_global_is(p, callee, "torch._utils\n_rebuild_tensor\n")) {
    return pth_fail(f, BDPT_E_FORMAT, "'%s': a tensor made by %s cannot be read", shown,
                    pth_show_global(p, callee, other));
  }
  s = pth_storage(f, pth_child(p, args, 0), shown, t, &numel);
  if (s) return s;
  if (!pth_size(p, pth_child(p, args, 1), &offset) ||
      !pth_axes(p, pth_child(p, args, 2), pth_child(p, args, 3), t)) {
    return pth_fail(f, BDPT_E_FORMAT, "'%s': its sizes and strides are not tuples of at most %d "
                    "whole numbers", shown, PTH_AXES);
  }
  t->count = 1;
  for (i = 0, s = BDPT_OK, last = offset; i < t->ndim; i++) {
    if (!pth_mul(t->count, t->shape[i], &t->count)) s = BDPT_E_FORMAT;
    if (t->shape[i] == 0) continue;
    if (!pth_mul(t->shape[i] - 1, t->stride[i], &step) || !pth_add(last, step, &last)) {
      s = BDPT_E_FORMAT;
    }
  }
  if (s || (t->count > 0 && last >= numel)) {
    return pth_fail(f, BDPT_E_FORMAT, "'%s': its sizes, strides and offset reach beyond the %zu "
                    "elements of its storage", shown, numel);
  }
  if (!pth_mul(t->count, t->width, &bytes) || bytes > f->size) { /* strides of 0 repeat elements */
    return pth_fail(f, BDPT_E_FORMAT, "'%s': its sizes ask for %zu elements of %zu bytes, more "
                    "than the whole file has", shown, t->count, t->width);
  }
  t->bytes += t->count ? offset * t->width : 0;
  t->packed = t->width == t->wide;
  for (i = t->ndim; i-- > 0;) {
    if (t->shape[i] > 1 && t->stride[i] != run) t->packed = 0;
    run *= t->shape[i];
  }
  return BDPT_OK;
}

void pth_copy(const pth_tensor *t, unsigned char *out) {
  size_t at[PTH_AXES] = {0}, from = 0, done;
  int i;
  for (done = 0; done < t->count; done++, out += t->wide) {
    const unsigned char *p = t->bytes + from * t->width;
    memcpy(out, p, t->width);
    if (t->wide > t->width) memset(out + t->width, p[t->width - 1] & 0x80 ? 0xFF : 0, 4);
    for (i = t->ndim; i-- > 0;) { /* the next element: the last axis counts first */
      from += t->stride[i];
      if (++at[i] < t->shape[i]) break;
      from -= t->shape[i] * t->stride[i];
      at[i] = 0;
    }
  }
}
