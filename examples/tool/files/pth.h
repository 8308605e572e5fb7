/* =================================================================================================
 * pth.h: PyTorch checkpoints, read without running anything
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
 * Chapters: 1 helpers, 2 pickle, 3 zip, 4 opening a file, 5 tensors. Include boundarydpt.h first.
 */
#ifndef PTH_H
#define PTH_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define PTH_FN static __attribute__((unused))
#define PTH_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PTH_FN static
#define PTH_PRINTF(f, a)
#endif

#define PTH_AXES 8
#define PTH_STEM 255 /* bytes of the name of a zip archive's folder */
#define PTH_NOTHING UINT32_MAX
/* Objects in one pickle, at about 40 bytes each. Real checkpoints have some thousand; one for each
 * 32 bytes of the file is granted on top, for long lists beside large weights. */
#define PTH_OBJECTS ((size_t)300000)

/* What a node is. The first eight are leaves whose value stands in the pickle, at `at`. */
enum { PTH_NONE, PTH_TRUE, PTH_FALSE, PTH_INT, PTH_FLOAT, PTH_TEXT, PTH_GLOBAL, PTH_MARK,
       PTH_TUPLE, PTH_LIST, PTH_DICT, PTH_SET, PTH_CALL, PTH_STORAGE };

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

/* =================================================================================================
 * 1  HELPERS                                                                              >>helpers
 * =================================================================================================
 */
PTH_FN int pth_mul(size_t a, size_t b, size_t *out) {
  if (a != 0 && b > SIZE_MAX / a) return 0;
  *out = a * b;
  return 1;
}

PTH_FN int pth_add(size_t a, size_t b, size_t *out) {
  if (b > SIZE_MAX - a) return 0;
  *out = a + b;
  return 1;
}

PTH_FN uint64_t pth_number(const unsigned char *p, int bytes) {
  uint64_t v = 0;
  while (bytes-- > 0) v = v << 8 | p[bytes];
  return v;
}

/* The first error stays, as in the library. */
PTH_PRINTF(3, 4)
PTH_FN bdpt_status pth_fail(const pth_file *f, bdpt_status status, const char *format, ...) {
  va_list args;
  int n;
  if (f->ctx->status != BDPT_OK) return status;
  f->ctx->status = status;
  n = snprintf(f->ctx->message, sizeof f->ctx->message, "%.160s: ", f->name);
  va_start(args, format);
  vsnprintf(f->ctx->message + n, sizeof f->ctx->message - (size_t)n, format, args);
  va_end(args);
  return status;
}

/* A name from a file, fit for a message: printable, and cut to a line's worth. */
PTH_FN const char *pth_show(const char *name, size_t length, char out[72]) {
  size_t i, n = length < 60 ? length : 60;
  for (i = 0; i < n; i++) out[i] = name[i] >= ' ' && name[i] < 0x7F ? name[i] : '?';
  snprintf(out + n, 5, "%s", length > n ? "..." : "");
  return out;
}

/* Appends to a text in a room; what does not fit is cut. */
PTH_FN void pth_append(char *out, size_t room, const char *more) {
  size_t used = strlen(out), n = strlen(more);
  if (used + 1 >= room) return;
  if (n > room - 1 - used) n = room - 1 - used;
  memcpy(out + used, more, n);
  out[used + n] = 0;
}

/* malloc with a product that is checked, and a sentence. */
PTH_FN void *pth_alloc(const pth_file *f, size_t count, size_t each) {
  size_t bytes;
  void *p = pth_mul(count, each, &bytes) ? malloc(bytes ? bytes : 1) : NULL;
  if (!p) pth_fail(f, BDPT_E_MEMORY, "out of memory for %zu rows of %zu bytes", count, each);
  return p;
}

/* =================================================================================================
 * 2  THE PICKLE                                                                            >>pickle
 * =================================================================================================
 * An opcode is one byte and an argument: so many bytes (0 to 8), a text after its length in one
 * byte (s) or four (l), or two lines (g). Its effect: it makes a node and pushes it (n), pushes
 * something that exists (p), notes the top of the stack in the memo (m), or none of these (-).
 */
typedef struct pth_op { unsigned char code; char argument, effect; unsigned char kind; } pth_op;

PTH_FN const pth_op *pth_find_op(unsigned char code) {
  static const pth_op ops[] = {
    {0x80, '1', '-', 0}, {'.', '0', '-', 0}, {'(', '0', 'p', PTH_MARK}, /* PROTO STOP MARK */
    {'N', '0', 'n', PTH_NONE}, {0x88, '0', 'n', PTH_TRUE}, {0x89, '0', 'n', PTH_FALSE},
    {'J', '4', 'n', PTH_INT}, {'K', '1', 'n', PTH_INT}, {'M', '2', 'n', PTH_INT}, /* BININT, 1, 2 */
    {0x8a, 's', 'n', PTH_INT}, {'G', '8', 'n', PTH_FLOAT}, /* LONG1 BINFLOAT */
    {'X', 'l', 'n', PTH_TEXT}, {'U', 's', 'n', PTH_TEXT}, /* BINUNICODE SHORT_BINSTRING */
    {'c', 'g', 'n', PTH_GLOBAL},
    {')', '0', 'n', PTH_TUPLE}, {']', '0', 'n', PTH_LIST}, {'}', '0', 'n', PTH_DICT},
    {0x8f, '0', 'n', PTH_SET}, {'t', '0', 'n', PTH_TUPLE}, {0x85, '0', 'n', PTH_TUPLE},
    {0x86, '0', 'n', PTH_TUPLE}, {0x87, '0', 'n', PTH_TUPLE}, /* TUPLE, TUPLE1, 2, 3 */
    {'R', '0', 'n', PTH_CALL}, {0x81, '0', 'n', PTH_CALL}, {'Q', '0', 'n', PTH_STORAGE},
    {'b', '0', '-', 0}, {'a', '0', '-', 0}, {'e', '0', '-', 0}, /* BUILD APPEND APPENDS */
    {'s', '0', '-', 0}, {'u', '0', '-', 0}, /* SETITEM SETITEMS */
    {'h', '1', 'p', 0}, {'j', '4', 'p', 0}, {'q', '1', 'm', 0}, {'r', '4', 'm', 0}}; /* memo */
  size_t i;
  for (i = 0; i < sizeof ops / sizeof *ops; i++) {
    if (ops[i].code == code) return &ops[i];
  }
  return NULL;
}

/* Where the argument that begins at `at` ends, or 0 when the stream ends before it. */
PTH_FN size_t pth_skip(const pth_op *op, const unsigned char *text, size_t at, size_t left) {
  size_t n = 0, lines = 2;
  const void *end;
  switch (op->argument) {
    case 's': case 'l':
      n = op->argument == 's' ? 1 : 4;
      if (left - at < n) return 0;
      at += n;
      n = (size_t)pth_number(text + at - n, (int)n);
      break;
    case 'g':
      while (lines-- > 0) {
        end = left > at ? memchr(text + at, '\n', left - at) : NULL;
        if (!end) return 0;
        at = (size_t)((const unsigned char *)end - text) + 1;
      }
      return at;
    default: n = (size_t)(op->argument - '0');
  }
  return left - at < n ? 0 : at + n;
}

/* The first walk: every opcode is known and whole; how many nodes, pushes and notes there are. */
PTH_FN bdpt_status pth_scan(const pth_file *f, pth_pickle *p, const unsigned char *text,
                            size_t left) {
  size_t at = 0, next, most = PTH_OBJECTS + f->size / 32;
  const pth_op *op = NULL;
  p->text = text;
  if (left > UINT32_MAX) left = UINT32_MAX; /* a longer pickle has no STOP in there */
  while (at < left && (at == 0 || op->code != '.')) {
    op = pth_find_op(text[at]);
    if (!op) {
      return pth_fail(f, BDPT_E_FORMAT, "pickle opcode 0x%02x at byte %zu builds something other "
                      "than plain data; it is refused", text[at], at);
    }
    if (at == 0 && op->code != 0x80) break;
    next = pth_skip(op, text, at + 1, left);
    if (!next) break;
    if (op->code == 0x80 && text[at + 1] > 2) {
      return pth_fail(f, BDPT_E_FORMAT, "pickle protocol %d; torch.save writes 2 unless it is told "
                      "otherwise (pickle_protocol=2)", text[at + 1]);
    }
    p->nodes += op->effect == 'n';
    p->pushes += op->effect == 'n' || op->effect == 'p';
    p->puts += op->effect == 'm';
    at = next;
  }
  p->size = at;
  if (at == 0) return pth_fail(f, BDPT_E_FORMAT, "no pickle begins where one should");
  if (op->code != '.') {
    return pth_fail(f, BDPT_E_FORMAT, "the pickle ends after %zu bytes without a STOP; was the "
                    "file cut off?", at);
  }
  if (p->pushes > most || p->puts > p->pushes) { /* what is noted was pushed just before */
    return pth_fail(f, BDPT_E_FORMAT, "the pickle builds %zu objects and notes %zu; at most %zu "
                    "are read", p->pushes, p->puts, most);
  }
  return BDPT_OK;
}

PTH_FN uint32_t pth_new(pth_pickle *p, uint32_t kind, size_t at) {
  pth_node *n = &p->node[p->nodes];
  n->kind = kind;
  n->at = (uint32_t)at;
  n->first = n->last = PTH_NOTHING;
  return (uint32_t)p->nodes++;
}

/* Every link takes something from the stack, so there are no more links than pushes. */
PTH_FN void pth_attach(pth_pickle *p, uint32_t to, uint32_t value) {
  pth_node *n = &p->node[to];
  uint32_t link = (uint32_t)p->links++;
  p->link[link].node = value;
  p->link[link].next = PTH_NOTHING;
  if (n->last == PTH_NOTHING) n->first = link;
  else p->link[n->last].next = link;
  n->last = link;
}

/* How many of the stack's top values stand above the last mark; 0 and *found 0 when there is none.
 * They are all consumed by the caller, so looking for the mark costs no more than pushing them. */
PTH_FN size_t pth_above_mark(const pth_pickle *p, int *found) {
  size_t n = 0;
  while (n < p->depth && p->stack[p->depth - 1 - n] != PTH_NOTHING) n++;
  *found = n < p->depth;
  return *found ? n : 0;
}

/* Moves the top `count` values into the chain of a node; with `mark` also drops the mark. */
PTH_FN void pth_take(pth_pickle *p, uint32_t to, size_t count, int mark) {
  size_t i;
  for (i = p->depth - count; i < p->depth; i++) pth_attach(p, to, p->stack[i]);
  p->depth -= count + (mark ? 1 : 0);
}

/* Whether a value of `what` may follow: it wants so many plain values on the stack. */
PTH_FN int pth_has(const pth_pickle *p, size_t count) {
  size_t i;
  if (p->depth < count) return 0;
  for (i = 0; i < count; i++) {
    if (p->stack[p->depth - 1 - i] == PTH_NOTHING) return 0;
  }
  return 1;
}

/* An opcode that makes a node. `at` is the place of its argument. 0: the stack does not fit. */
PTH_FN int pth_make(pth_pickle *p, const pth_op *op, size_t at) {
  size_t takes = op->code >= 0x85 && op->code <= 0x87 ? (size_t)(op->code - 0x84) : 0;
  int mark = op->code == 't', found = 1;
  uint32_t node;
  if (op->kind == PTH_CALL) takes = 2;
  if (op->kind == PTH_STORAGE) takes = 1;
  if (mark) takes = pth_above_mark(p, &found);
  if (!found || !pth_has(p, takes)) return 0;
  node = pth_new(p, op->kind, op->kind < PTH_MARK ? at : 0);
  pth_take(p, node, takes, mark);
  p->stack[p->depth++] = node;
  return 1;
}

/* APPEND(S), SETITEM(S): values into the container below them. What is appended to an object that
 * nobody will make is dropped, and so is the state that BUILD gives one. */
PTH_FN int pth_fill(pth_pickle *p, unsigned char code) {
  int many = code == 'e' || code == 'u', pairs = code == 's' || code == 'u', found = 1;
  size_t count = many ? pth_above_mark(p, &found) : code == 's' ? 2 : 1;
  size_t below = count + (many ? 1 : 0) + 1;
  uint32_t to, kind;
  if (!found || p->depth < below || !pth_has(p, count)) return 0;
  to = p->stack[p->depth - below];
  if (to == PTH_NOTHING || (pairs && count % 2)) return 0;
  kind = p->node[to].kind;
  if (code == 'b' || (kind == PTH_CALL && !pairs)) {
    p->depth -= below - 1;
    return 1;
  }
  if (kind != PTH_CALL && kind != (uint32_t)(pairs ? PTH_DICT : PTH_LIST)) return 0;
  pth_take(p, to, count, many);
  return 1;
}

/* BINGET and BINPUT. Indices count up from 0 in what a pickler writes. */
PTH_FN int pth_remember(pth_pickle *p, const pth_op *op, size_t at) {
  uint64_t i = pth_number(p->text + at, op->argument - '0');
  if (i >= p->puts) return 0;
  if (op->effect == 'm') {
    if (!pth_has(p, 1)) return 0;
    p->memo[i] = p->stack[p->depth - 1];
    return 1;
  }
  if (p->memo[i] == PTH_NOTHING) return 0;
  p->stack[p->depth++] = p->memo[i];
  return 1;
}

/* The second walk. */
PTH_FN bdpt_status pth_run(const pth_file *f, pth_pickle *p) {
  size_t at, next;
  int good = 1;
  p->nodes = p->links = p->depth = 0;
  memset(p->memo, 0xff, p->puts * sizeof *p->memo);
  for (at = 0; at < p->size && good; at = next) {
    const pth_op *op = pth_find_op(p->text[at]);
    next = pth_skip(op, p->text, at + 1, p->size);
    if (op->code == '.') good = p->depth == 1 && pth_has(p, 1);
    else if (op->code == '(') p->stack[p->depth++] = PTH_NOTHING;
    else if (op->effect == 'n') good = pth_make(p, op, at + 1);
    else if (op->argument != '0' && op->code != 0x80) good = pth_remember(p, op, at + 1);
    else if (op->code != 0x80) good = pth_fill(p, op->code);
    if (!good) {
      return pth_fail(f, BDPT_E_FORMAT, "pickle opcode 0x%02x at byte %zu does not fit what the "
                      "stack and the memo hold", p->text[at], at);
    }
  }
  p->root = p->stack[0];
  return BDPT_OK;
}

PTH_FN void pth_pickle_free(pth_pickle *p) {
  free(p->node);
  memset(p, 0, sizeof *p);
}

/* Reads the pickle at `text`, at most `left` bytes long. Its true length is then in p->size. */
PTH_FN bdpt_status pth_pickle_read(const pth_file *f, pth_pickle *p, const unsigned char *text,
                                   size_t left) {
  size_t each = sizeof(pth_node) + sizeof(pth_link) + sizeof(uint32_t);
  bdpt_status s;
  memset(p, 0, sizeof *p);
  s = pth_scan(f, p, text, left);
  if (s) return s;
  /* The counts are limited, so that these sums are far from overflowing. */
  p->node = (pth_node *)pth_alloc(f, p->pushes * each / 4 + p->puts + 1, sizeof(uint32_t));
  if (!p->node) return BDPT_E_MEMORY;
  p->link = (pth_link *)(void *)(p->node + p->pushes);
  p->stack = (uint32_t *)(void *)(p->link + p->pushes);
  p->memo = p->stack + p->pushes;
  s = pth_run(f, p);
  if (s) pth_pickle_free(p);
  return s;
}

/* ---- Looking at nodes ------------------------------------------------------------------------ */

/* The i-th value of a chain, or PTH_NOTHING. Only for short ones. */
PTH_FN uint32_t pth_child(const pth_pickle *p, uint32_t node, size_t i) {
  uint32_t link = node == PTH_NOTHING ? PTH_NOTHING : p->node[node].first;
  while (i > 0 && link != PTH_NOTHING) {
    link = p->link[link].next;
    i--;
  }
  return link == PTH_NOTHING ? PTH_NOTHING : p->link[link].node;
}

PTH_FN uint32_t pth_kind(const pth_pickle *p, uint32_t node) {
  return node == PTH_NOTHING ? PTH_MARK : p->node[node].kind;
}

/* The text of a node, not terminated; NULL when it is none. */
PTH_FN const char *pth_text(const pth_pickle *p, uint32_t node, size_t *length) {
  size_t at, n;
  *length = 0;
  if (pth_kind(p, node) != PTH_TEXT) return NULL;
  at = p->node[node].at;
  n = p->text[at - 1] == 'X' ? 4 : 1;
  *length = (size_t)pth_number(p->text + at, (int)n);
  return (const char *)p->text + at + n;
}

PTH_FN int pth_is(const pth_pickle *p, uint32_t node, const char *word) {
  size_t n;
  const char *text = pth_text(p, node, &n);
  return text && n == strlen(word) && memcmp(text, word, n) == 0;
}

/* A whole number of up to eight bytes; 0 when the node is something else. */
PTH_FN int pth_int(const pth_pickle *p, uint32_t node, int64_t *out) {
  const unsigned char *text;
  uint64_t v;
  int n, code;
  if (pth_kind(p, node) != PTH_INT) return 0;
  text = p->text + p->node[node].at;
  code = text[-1];
  n = code == 'J' ? 4 : code == 'K' ? 1 : code == 'M' ? 2 : *text++;
  if (n > 8) return 0;
  v = pth_number(text, n);
  if ((code == 'J' || code == 0x8a) && n > 0 && n < 8 && v >> (8 * n - 1)) {
    v |= UINT64_MAX << (8 * n); /* these two have a sign */
  }
  memcpy(out, &v, sizeof v);
  return 1;
}

PTH_FN int pth_size(const pth_pickle *p, uint32_t node, size_t *out) {
  int64_t v = 0;
  int good = pth_int(p, node, &v) && v >= 0 && (uint64_t)v <= SIZE_MAX;
  *out = good ? (size_t)v : 0;
  return good;
}

/* "module\nname\n" of a GLOBAL; NULL when the node is something else. */
PTH_FN const char *pth_global(const pth_pickle *p, uint32_t node) {
  return pth_kind(p, node) == PTH_GLOBAL ? (const char *)p->text + p->node[node].at : NULL;
}

/* `lines`: both lines, or the beginning of them. */
PTH_FN int pth_global_is(const pth_pickle *p, uint32_t node, const char *lines) {
  const char *text = pth_global(p, node);
  return text && strncmp(text, lines, strlen(lines)) == 0;
}

/* "module.name" for a message. */
PTH_FN const char *pth_show_global(const pth_pickle *p, uint32_t node, char out[72]) {
  const char *text = pth_global(p, node);
  size_t left = text ? p->size - p->node[node].at : 0, module, name;
  if (!text) return "something without a name";
  module = (size_t)((const char *)memchr(text, '\n', left) - text);
  left -= module + 1;
  name = (size_t)((const char *)memchr(text + module + 1, '\n', left) - text) - module - 1;
  pth_show(text, module + 1 + name, out);
  if (module < 60) out[module] = '.';
  return out;
}

/* A dictionary: a plain one, or one of the two kinds of collections that state dicts come in. */
PTH_FN int pth_is_dict(const pth_pickle *p, uint32_t node) {
  uint32_t kind = pth_kind(p, node);
  return kind == PTH_DICT || (kind == PTH_CALL &&
         (pth_global_is(p, pth_child(p, node, 0), "collections\nOrderedDict\n") ||
          pth_global_is(p, pth_child(p, node, 0), "collections\ndefaultdict\n")));
}

/* The link of a dictionary's first key. */
PTH_FN uint32_t pth_first_key(const pth_pickle *p, uint32_t node) {
  uint32_t link = p->node[node].first;
  int skip = p->node[node].kind == PTH_CALL ? 2 : 0;
  while (skip-- > 0) link = p->link[link].next;
  return link;
}

PTH_FN int pth_is_tensor(const pth_pickle *p, uint32_t node) {
  return pth_kind(p, node) == PTH_CALL &&
         (pth_global_is(p, pth_child(p, node, 0), "torch._utils\n_rebuild_") ||
          pth_global_is(p, pth_child(p, node, 0), "torch._tensor\n_rebuild_"));
}

/* =================================================================================================
 * 3  THE ZIP ARCHIVE                                                                          >>zip
 * =================================================================================================
 * The end of the file says where the directory is, the directory says where everything else is, and
 * nothing may overlap or hang over. Two readers of one zip file that look in different places can
 * see different files; so whatever the two kinds of end record, or a local and a central header,
 * say twice must be the same twice.
 */
typedef struct pth_end { size_t at, directory, size, count; } pth_end;

PTH_FN bdpt_status pth_zip_bad(const pth_file *f, const char *what) {
  return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but %s", what);
}

/* The 64-bit end record, which a locator before the end record points to. */
PTH_FN bdpt_status pth_zip_end64(const pth_file *f, pth_end *e) {
  const unsigned char *p = f->bytes, *locator;
  size_t at, limit = e->at;
  uint64_t where, length;
  int i;
  static const struct { int at, bytes; } small[3] = {{10, 2}, {16, 4}, {12, 4}};
  size_t *const value[3] = {&e->count, &e->directory, &e->size};
  static const int wide[3] = {32, 48, 40};
  if (limit < 20 || memcmp(p + limit - 20, "PK\6\7", 4) != 0) return BDPT_OK;
  locator = p + limit - 20;
  where = pth_number(locator + 8, 8);
  if (limit < 76 || where > limit - 76 || memcmp(p + where, "PK\6\6", 4) != 0) {
    return pth_zip_bad(f, "its 64-bit end record is not where its locator says");
  }
  at = (size_t)where;
  length = pth_number(p + at + 4, 8);
  if (length != limit - 20 - at - 12) {
    return pth_zip_bad(f, "its 64-bit end record has a wrong length");
  }
  for (i = 0; i < 3; i++) {
    uint64_t v = pth_number(p + at + wide[i], 8), all = small[i].bytes == 2 ? 0xFFFF : 0xFFFFFFFFu;
    uint64_t s = pth_number(p + e->at + small[i].at, small[i].bytes);
    if (v > f->size || (s != all && s != v)) {
      return pth_zip_bad(f, "its two end records disagree");
    }
    *value[i] = (size_t)v;
  }
  e->at = at;
  return BDPT_OK;
}

/* The end record is the last thing in the file, before a comment whose length it says. */
PTH_FN bdpt_status pth_zip_end(const pth_file *f, pth_end *e) {
  const unsigned char *p = f->bytes;
  size_t back;
  bdpt_status s;
  memset(e, 0, sizeof *e);
  for (back = 22; back <= f->size && back <= 22 + 0xFFFF; back++) {
    const unsigned char *r = p + f->size - back;
    if (memcmp(r, "PK\5\6", 4) == 0 && pth_number(r + 20, 2) == back - 22) break;
  }
  if (back > f->size || back > 22 + 0xFFFF) {
    return pth_zip_bad(f, "its directory, which is at the end, is missing; was the download cut "
                       "off?");
  }
  e->at = f->size - back;
  e->count = (size_t)pth_number(p + e->at + 10, 2);
  e->size = (size_t)pth_number(p + e->at + 12, 4);
  e->directory = (size_t)pth_number(p + e->at + 16, 4);
  s = pth_zip_end64(f, e);
  if (s) return s;
  if (e->directory > e->at || e->size != e->at - e->directory) {
    return pth_zip_bad(f, "its directory does not lie before its end record");
  }
  if (e->count > e->size / 46) return pth_zip_bad(f, "its directory has no room for its entries");
  return BDPT_OK;
}

/* Sizes that do not fit into 32 bits stand in an extra field, those that do not, in this order. */
PTH_FN int pth_zip_wide(const unsigned char *extra, size_t left, uint64_t value[3]) {
  int i, want = 0;
  for (i = 0; i < 3; i++) want += value[i] == 0xFFFFFFFFu;
  while (want && left >= 4) {
    size_t n = (size_t)pth_number(extra + 2, 2);
    if (n > left - 4) return 0;
    if (pth_number(extra, 2) == 1) {
      const unsigned char *p = extra + 4;
      if (n < (size_t)want * 8) return 0;
      for (i = 0; i < 3; i++) {
        if (value[i] != 0xFFFFFFFFu) continue;
        value[i] = pth_number(p, 8);
        p += 8;
      }
      return 1;
    }
    extra += 4 + n;
    left -= 4 + n;
  }
  return want == 0;
}

/* One row of the directory, at `at`; *next is where the next one begins. */
PTH_FN bdpt_status pth_zip_row(const pth_file *f, const pth_end *end, size_t at, size_t *next,
                               pth_entry *out) {
  const unsigned char *p = f->bytes + at, *local;
  size_t left = end->at - at, name, extra, data;
  uint64_t value[3]; /* bytes, bytes packed, offset of the local header */
  char shown[72];
  if (left < 46 || memcmp(p, "PK\1\2", 4) != 0) {
    return pth_zip_bad(f, "its directory is damaged");
  }
  name = (size_t)pth_number(p + 28, 2);
  extra = (size_t)pth_number(p + 30, 2);
  *next = 46 + name + extra + (size_t)pth_number(p + 32, 2);
  value[0] = pth_number(p + 24, 4);
  value[1] = pth_number(p + 20, 4);
  value[2] = pth_number(p + 42, 4);
  if (*next > left || !pth_zip_wide(p + 46 + name, extra, value)) {
    return pth_zip_bad(f, "its directory is damaged");
  }
  *next += at;
  out->name = p + 46;
  out->length = name;
  out->method = (int)pth_number(p + 10, 2);
  pth_show((const char *)out->name, name, shown);
  if (pth_number(p + 8, 2) & 1) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' is encrypted", shown);
  }
  if (end->directory < 30 || value[2] > end->directory - 30) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' lies outside of it", shown);
  }
  local = f->bytes + value[2];
  data = (size_t)value[2] + 30 + (size_t)pth_number(local + 26, 2) +
         (size_t)pth_number(local + 28, 2);
  if (data > end->directory || value[1] > end->directory - data ||
      memcmp(local, "PK\3\4", 4) != 0) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' lies outside of it", shown);
  }
  if (pth_number(local + 26, 2) != name || memcmp(local + 30, p + 46, name) != 0 ||
      (out->method == 0 && value[0] != value[1])) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but its two headers of '%s' disagree", shown);
  }
  out->offset = data;
  out->size = (size_t)value[1];
  return BDPT_OK;
}

PTH_FN int pth_by_offset(const void *a, const void *b) {
  const pth_entry *x = (const pth_entry *)a, *y = (const pth_entry *)b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->size < y->size ? -1 : x->size > y->size;
}

PTH_FN int pth_by_name(const void *a, const void *b) {
  const pth_entry *x = (const pth_entry *)a, *y = (const pth_entry *)b;
  size_t n = x->length < y->length ? x->length : y->length;
  int order = n ? memcmp(x->name, y->name, n) : 0;
  return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

/* Reads the directory; afterwards the entries are sorted by name. */
PTH_FN bdpt_status pth_zip_read(pth_file *f) {
  pth_end end;
  bdpt_status s = pth_zip_end(f, &end);
  size_t at, i, n;
  char shown[72];
  if (s) return s;
  f->entry = (pth_entry *)pth_alloc(f, end.count, sizeof *f->entry);
  if (!f->entry) return BDPT_E_MEMORY;
  f->entries = n = end.count;
  for (i = 0, at = end.directory; i < n && !s; i++) s = pth_zip_row(f, &end, at, &at, &f->entry[i]);
  if (!s && at != end.at) s = pth_zip_bad(f, "its directory is damaged");
  if (s) return s;
  qsort(f->entry, n, sizeof *f->entry, pth_by_offset);
  for (i = 1; i < n; i++) {
    if (f->entry[i].offset - f->entry[i - 1].offset >= f->entry[i - 1].size) continue;
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' overlaps the entry before it",
                    pth_show((const char *)f->entry[i].name, f->entry[i].length, shown));
  }
  qsort(f->entry, n, sizeof *f->entry, pth_by_name);
  for (i = 1; i < n; i++) {
    if (pth_by_name(&f->entry[i - 1], &f->entry[i]) != 0) continue;
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' occurs twice",
                    pth_show((const char *)f->entry[i].name, f->entry[i].length, shown));
  }
  return BDPT_OK;
}

/* The entry "stem/folder" + key, or NULL. A stem has at most PTH_STEM bytes, a key 64. */
PTH_FN const pth_entry *pth_zip_find(const pth_file *f, const char *folder, const char *key,
                                     size_t length) {
  unsigned char name[PTH_STEM + 1 + 16 + 64];
  pth_entry want;
  size_t n = strlen(folder);
  memcpy(name, f->stem, f->stem_length);
  name[f->stem_length] = '/';
  memcpy(name + f->stem_length + 1, folder, n);
  if (length) memcpy(name + f->stem_length + 1 + n, key, length);
  want.name = name;
  want.length = f->stem_length + 1 + n + length;
  return f->entries ? (const pth_entry *)bsearch(&want, f->entry, f->entries, sizeof want,
                                                 pth_by_name) : NULL;
}

/* Finds the one STEM/data.pkl, and refuses what is a zip archive of another kind. */
PTH_FN bdpt_status pth_zip_stem(pth_file *f) {
  static const char tail[] = "/data.pkl";
  size_t i, n = sizeof tail - 1, found = 0;
  char shown[72];
  for (i = 0; i < f->entries; i++) {
    const pth_entry *e = &f->entry[i];
    if (e->length <= n || memcmp(e->name + e->length - n, tail, n) != 0) continue;
    if (memchr(e->name, '/', e->length - n)) continue;
    f->stem = e->name;
    f->stem_length = e->length - n;
    found++;
  }
  if (found != 1) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but no PyTorch checkpoint: %zu entries, %s%s",
                    f->entries, found ? "several data.pkl" : "no data.pkl; the first is ",
                    found ? "" : f->entries ? pth_show((const char *)f->entry[0].name,
                                                       f->entry[0].length, shown) : "missing");
  }
  if (f->stem_length > PTH_STEM) {
    return pth_zip_bad(f, "the folder that its data.pkl is in has a name of over 255 bytes");
  }
  if (pth_zip_find(f, "constants.pkl", "", 0)) {
    return pth_zip_bad(f, "one with a TorchScript program; save the network's state_dict() "
                       "instead");
  }
  for (i = 0; i < f->entries; i++) {
    const pth_entry *e = &f->entry[i];
    if (e->method == 0) continue;
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but '%s' is compressed (method %d); PyTorch "
                    "stores its entries as they are", pth_show((const char *)e->name, e->length,
                    shown), e->method);
  }
  return BDPT_OK;
}

/* =================================================================================================
 * 4  OPENING A FILE                                                                          >>open
 * =================================================================================================
 */
/* The types of storage, bytes of an element, and what they become. Those that no network of ours
 * consists of are known by size only, to step over them. */
typedef struct pth_type { const char *name; size_t width; int dtype; } pth_type;

PTH_FN const pth_type *pth_find_type(const pth_pickle *p, uint32_t node) {
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

/* ('storage', type, key, location, numel) and, in the older form, a view, which must be None. Keys
 * are small numbers or addresses in decimal; longer ones would only cost time to compare. */
PTH_FN int pth_storage_parts(const pth_file *f, uint32_t node, uint32_t *type, uint32_t *key,
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

PTH_FN int pth_by_key(const void *a, const void *b) {
  const pth_key *x = (const pth_key *)a, *y = (const pth_key *)b;
  size_t n = x->length < y->length ? x->length : y->length;
  int order = n ? memcmp(x->text, y->text, n) : 0;
  return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

/* The row of a storage's key, or NULL. */
PTH_FN pth_row *pth_find_row(const pth_file *f, const char *text, size_t length) {
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

/* The storages that the object's pickle mentions, each once, sorted by key. */
PTH_FN bdpt_status pth_legacy_rows(pth_file *f) {
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

/* The last part of the older form: for each key of the list an int64 and so many elements. */
PTH_FN bdpt_status pth_legacy_storages(pth_file *f, const pth_pickle *keys, size_t at) {
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
      return pth_fail(f, BDPT_E_FORMAT, "storage '%s' should have %zu elements at byte %zu, but "
                      "has not; was the file cut off?", shown, row->numel, at);
    }
    row->offset = at + 8;
    at += 8 + bytes;
  }
  if (at != f->size) {
    return pth_fail(f, BDPT_E_FORMAT, "%zu bytes after the last storage belong to none",
                    f->size - at);
  }
  return BDPT_OK;
}

#define PTH_MAGIC "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." /* a whole pickle */

PTH_FN bdpt_status pth_legacy_read(pth_file *f) {
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

PTH_FN bdpt_status pth_zip_open(pth_file *f) {
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
    s = pth_fail(f, BDPT_E_FORMAT, "%zu bytes follow the end of its pickle",
                 e->size - f->pickle.size);
  }
  return s;
}

/* Lists the dictionaries, level by level. A node's `at`, which only leaves need, marks those that
 * are in the list, so that each comes once even if the pickle ties knots. */
PTH_FN bdpt_status pth_dicts(pth_file *f) {
  pth_pickle *p = &f->pickle;
  size_t i, n = 0;
  char shown[72];
  for (i = 0; i < p->nodes; i++) n += (size_t)pth_is_dict(p, (uint32_t)i);
  if (!pth_is_dict(p, p->root)) {
    if (pth_kind(p, p->root) != PTH_CALL) {
      return pth_fail(f, BDPT_E_FORMAT, "a PyTorch file, but no dictionary of tensors");
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

PTH_FN void pth_close(pth_file *f) {
  pth_pickle_free(&f->pickle);
  free(f->entry);
  free(f->row);
  free(f->dict);
  memset(f, 0, sizeof *f);
}

/* 'z' the zip form, 'l' the older form (or the beginning of one), 'p' another pickle, 0 neither. */
PTH_FN int pth_sniff(const void *bytes, size_t size) {
  const unsigned char *p = (const unsigned char *)bytes;
  size_t magic = sizeof PTH_MAGIC - 1;
  if (size >= 4 && (memcmp(p, "PK\3\4", 4) == 0 || memcmp(p, "PK\5\6", 4) == 0)) return 'z';
  if (size < 4 || p[0] != 0x80 || p[1] < 2 || p[1] > 5) return 0;
  return memcmp(p, PTH_MAGIC, size < magic ? size : magic) == 0 ? 'l' : 'p';
}

/* Borrows the bytes. On failure `out` owns nothing and ctx->message has the reason. */
PTH_FN bdpt_status pth_open(bdpt_context *ctx, const void *bytes, size_t size, const char *name,
                            pth_file *out) {
  int form = pth_sniff(bytes, size);
  bdpt_status s;
  memset(out, 0, sizeof *out);
  out->ctx = ctx;
  out->name = name ? name : "memory";
  out->bytes = (const unsigned char *)bytes;
  out->size = size;
  out->legacy = form == 'l';
  if (form == 'p') {
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
/* The keys that lead to a dictionary, joined by dots; "" for the top. What does not fit is cut. */
PTH_FN void pth_path(const pth_file *f, uint32_t dict, char *out, size_t room) {
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

/* All items; with `out` NULL only their number. */
PTH_FN size_t pth_items(const pth_file *f, pth_item *out) {
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

/* The bytes of a storage, after it was found to have the size that its tuple says. */
PTH_FN bdpt_status pth_storage(const pth_file *f, uint32_t node, const char *shown, pth_tensor *t,
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
      return pth_fail(f, BDPT_E_FORMAT, "'%s': its storage should have %zu elements of %zu bytes, "
                      "but has %zu bytes", shown, *numel, type->width, e->size);
    }
  }
  return pth_fail(f, BDPT_E_FORMAT, "'%s': its storage '%s' is not in the file", shown,
                  pth_show(text, n, other));
}

/* Sizes and strides: both tuples of as many whole numbers. 0 when they are not. */
PTH_FN int pth_axes(const pth_pickle *p, uint32_t sizes, uint32_t strides, pth_tensor *t) {
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

/* The tensor that a value spells. Everything about it is checked here: the last element that its
 * sizes and strides reach lies in its storage, and it has no more elements than the storage, so
 * that a stride of 0 cannot turn one number into a billion. `shown` is its name for messages. */
PTH_FN bdpt_status pth_find(const pth_file *f, uint32_t node, const char *shown, pth_tensor *t) {
  const pth_pickle *p = &f->pickle;
  uint32_t args = pth_child(p, node, 1), callee = pth_child(p, node, 0);
  size_t numel, offset, last, step, run = 1;
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
  if (s || (t->count > 0 && last >= numel) || t->count > SIZE_MAX / 64) { /* views may overlap */
    return pth_fail(f, BDPT_E_FORMAT, "'%s': its sizes, strides and offset reach beyond the %zu "
                    "elements of its storage", shown, numel);
  }
  t->bytes += t->count ? offset * t->width : 0;
  t->packed = t->width == t->wide;
  for (i = t->ndim; i-- > 0;) {
    if (t->shape[i] > 1 && t->stride[i] != run) t->packed = 0;
    run *= t->shape[i];
  }
  return BDPT_OK;
}

/* The numbers row by row, without gaps: count * wide bytes. */
PTH_FN void pth_copy(const pth_tensor *t, unsigned char *out) {
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

#endif /* PTH_H */
