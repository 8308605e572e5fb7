/* pickle.c: the program of a .pth file, read as data */
#include "../../../boundarydpt.h"
#include "pth.h"
#include "pth_parts.h"
#include "../words.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Objects in one pickle, at about 40 bytes each. Real checkpoints have some thousand; one for each
 * 32 bytes of the file is granted on top, for long lists beside large weights. */
#define PTH_OBJECTS ((size_t)300000)

/* =================================================================================================
 * 1  HELPERS                                                                              >>helpers
 * =================================================================================================
 */
int pth_mul(size_t a, size_t b, size_t *out) {
  if (a != 0 && b > SIZE_MAX / a) return 0;
  *out = a * b;
  return 1;
}

int pth_add(size_t a, size_t b, size_t *out) {
  if (b > SIZE_MAX - a) return 0;
  *out = a + b;
  return 1;
}

uint64_t pth_number(const unsigned char *p, int bytes) {
  uint64_t v = 0;
  while (bytes-- > 0) v = v << 8 | p[bytes];
  return v;
}

bdpt_status pth_fail(const pth_file *f, bdpt_status status, const char *format, ...) {
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

const char *pth_show(const char *name, size_t length, char out[72]) {
  size_t i, n = length < 60 ? length : 60;
  for (i = 0; i < n; i++) out[i] = name[i] >= ' ' && name[i] < 0x7F ? name[i] : '?';
  snprintf(out + n, 5, "%s", length > n ? "..." : "");
  return out;
}

void pth_append(char *out, size_t room, const char *more) {
  size_t used = strlen(out), n = strlen(more);
  if (used + 1 >= room) return;
  if (n > room - 1 - used) n = room - 1 - used;
  memcpy(out + used, more, n);
  out[used + n] = 0;
}

void *pth_alloc(const pth_file *f, size_t count, size_t each) {
  size_t bytes;
  void *p = pth_mul(count, each, &bytes) ? malloc(bytes ? bytes : 1) : NULL;
  if (!p) pth_fail(f, BDPT_E_MEMORY, "out of memory for %zu x %zu bytes", count, each);
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

static const pth_op *pth_find_op(unsigned char code) {
  static const pth_op ops[] = {
    {0x80, '1', '-', 0}, {'.', '0', '-', 0}, {'(', '0', 'p', PTH_MARK}, /* PROTO STOP MARK */
    {'N', '0', 'n', PTH_NONE}, {0x88, '0', 'n', PTH_TRUE}, {0x89, '0', 'n', PTH_FALSE},
    {'J', '4', 'n', PTH_INT}, {'K', '1', 'n', PTH_INT}, {'M', '2', 'n', PTH_INT}, /* BININT, 1, 2 */
    {0x8a, 's', 'n', PTH_INT}, {'G', '8', 'n', PTH_FLOAT}, /* LONG1 BINFLOAT */
    {'X', 'l', 'n', PTH_TEXT}, {'U', 's', 'n', PTH_TEXT}, /* BINUNICODE SHORT_BINSTRING */
    {'B', 'l', 'n', PTH_TEXT}, {'C', 's', 'n', PTH_TEXT}, /* BINBYTES SHORT_BINBYTES, protocol 3 */
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

/* Returns where the argument that begins at `at` ends, or 0 when the stream ends before it. */
static size_t pth_skip(const pth_op *op, const unsigned char *text, size_t at, size_t left) {
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

/* Does the first walk: checks that every opcode is known and whole, and counts nodes, pushes and
 * notes. */
static bdpt_status pth_scan(const pth_file *f, pth_pickle *p, const unsigned char *text,
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
    if (op->code == 0x80 && text[at + 1] > 3) {
      return pth_fail(f, BDPT_E_FORMAT, "pickle protocol %d; 2 and 3 can be read, and torch.save "
                      "writes 2 unless it is told otherwise (pickle_protocol=2)", text[at + 1]);
    }
    p->nodes += op->effect == 'n';
    p->pushes += op->effect == 'n' || op->effect == 'p';
    p->puts += op->effect == 'm';
    at = next;
  }
  p->size = at;
  if (at == 0) return pth_fail(f, BDPT_E_FORMAT, "no pickle begins where one should");
  if (op->code != '.') {
    return pth_fail(f, BDPT_E_FORMAT, "the pickle ends after %zu %s without a STOP; was the "
                    "file cut off?", at, words_of((double)at, "byte", "bytes"));
  }
  if (p->pushes > most || p->puts > p->pushes) { /* what is noted was pushed just before */
    return pth_fail(f, BDPT_E_FORMAT, "the pickle builds %zu objects and notes %zu; at most %zu "
                    "are read", p->pushes, p->puts, most);
  }
  return BDPT_OK;
}

static uint32_t pth_new(pth_pickle *p, uint32_t kind, size_t at) {
  pth_node *n = &p->node[p->nodes];
  n->kind = kind;
  n->at = (uint32_t)at;
  n->first = n->last = PTH_NOTHING;
  return (uint32_t)p->nodes++;
}

/* Links a value behind the last one of node `to`. Every link takes something from the stack, so
 * there are no more links than pushes. */
static void pth_attach(pth_pickle *p, uint32_t to, uint32_t value) {
  pth_node *n = &p->node[to];
  uint32_t link = (uint32_t)p->links++;
  p->link[link].node = value;
  p->link[link].next = PTH_NOTHING;
  if (n->last == PTH_NOTHING) n->first = link;
  else p->link[n->last].next = link;
  n->last = link;
}

/* Returns how many of the stack's top values stand above the last mark; 0 and *found 0 when there
 * is none. They are all consumed by the caller, so looking for the mark costs no more than pushing
 * them. */
static size_t pth_above_mark(const pth_pickle *p, int *found) {
  size_t n = 0;
  while (n < p->depth && p->stack[p->depth - 1 - n] != PTH_NOTHING) n++;
  *found = n < p->depth;
  return *found ? n : 0;
}

/* Moves the top `count` values into the chain of a node; with `mark` also drops the mark. */
static void pth_take(pth_pickle *p, uint32_t to, size_t count, int mark) {
  size_t i;
  for (i = p->depth - count; i < p->depth; i++) pth_attach(p, to, p->stack[i]);
  p->depth -= count + (mark ? 1 : 0);
}

/* Tells whether a value of `what` may follow: it wants so many plain values on the stack. */
static int pth_has(const pth_pickle *p, size_t count) {
  size_t i;
  if (p->depth < count) return 0;
  for (i = 0; i < count; i++) {
    if (p->stack[p->depth - 1 - i] == PTH_NOTHING) return 0;
  }
  return 1;
}

/* Does an opcode that makes a node; `at` is the place of its argument. 0: the stack does not
 * fit. */
static int pth_make(pth_pickle *p, const pth_op *op, size_t at) {
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

/* Does APPEND(S) and SETITEM(S): puts values into the container below them. What is appended to
 * an object that nobody will make is dropped, and so is the state that BUILD gives one. */
static int pth_fill(pth_pickle *p, unsigned char code) {
  int many = code == 'e' || code == 'u', pairs = code == 's' || code == 'u', found = 1;
  size_t count = pairs ? 2 : 1, below;
  uint32_t to, kind;
  if (many) count = pth_above_mark(p, &found);
  below = count + (many ? 1 : 0) + 1;
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

/* Does BINGET and BINPUT. Indices count up from 0 in what a pickler writes. */
static int pth_remember(pth_pickle *p, const pth_op *op, size_t at) {
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

/* Does the second walk. */
static bdpt_status pth_run(const pth_file *f, pth_pickle *p) {
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

void pth_pickle_free(pth_pickle *p) {
  free(p->node);
  memset(p, 0, sizeof *p);
}

bdpt_status pth_pickle_read(const pth_file *f, pth_pickle *p, const unsigned char *text,
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

uint32_t pth_child(const pth_pickle *p, uint32_t node, size_t i) {
  uint32_t link = node == PTH_NOTHING ? PTH_NOTHING : p->node[node].first;
  while (i > 0 && link != PTH_NOTHING) {
    link = p->link[link].next;
    i--;
  }
  return link == PTH_NOTHING ? PTH_NOTHING : p->link[link].node;
}

uint32_t pth_kind(const pth_pickle *p, uint32_t node) {
  return node == PTH_NOTHING ? PTH_MARK : p->node[node].kind;
}

const char *pth_text(const pth_pickle *p, uint32_t node, size_t *length) {
  size_t at, n;
  *length = 0;
  if (pth_kind(p, node) != PTH_TEXT) return NULL;
  at = p->node[node].at;
  n = p->text[at - 1] == 'X' || p->text[at - 1] == 'B' ? 4 : 1;
  *length = (size_t)pth_number(p->text + at, (int)n);
  return (const char *)p->text + at + n;
}

int pth_order(const void *x, size_t nx, const void *y, size_t ny) {
  int order = nx && ny ? memcmp(x, y, nx < ny ? nx : ny) : 0;
  if (order == 0 && nx != ny) order = nx < ny ? -1 : 1;
  return order;
}

int pth_is(const pth_pickle *p, uint32_t node, const char *word) {
  size_t n;
  const char *text = pth_text(p, node, &n);
  return text && n == strlen(word) && memcmp(text, word, n) == 0;
}

int pth_int(const pth_pickle *p, uint32_t node, int64_t *out) {
  const unsigned char *text;
  uint64_t v;
  int n, code;
  if (pth_kind(p, node) != PTH_INT) return 0;
  text = p->text + p->node[node].at;
  code = text[-1];
  switch (code) {
    case 'K': n = 1; break;
    case 'M': n = 2; break;
    case 'J': n = 4; break;
    default: n = *text++; /* its length stands before it */
  }
  if (n > 8) return 0;
  v = pth_number(text, n);
  if ((code == 'J' || code == 0x8a) && n > 0 && n < 8 && v >> (8 * n - 1)) {
    v |= UINT64_MAX << (8 * n); /* these two have a sign */
  }
  memcpy(out, &v, sizeof v);
  return 1;
}

int pth_size(const pth_pickle *p, uint32_t node, size_t *out) {
  int64_t v = 0;
  int good = pth_int(p, node, &v) && v >= 0 && (uint64_t)v <= SIZE_MAX;
  *out = good ? (size_t)v : 0;
  return good;
}

const char *pth_global(const pth_pickle *p, uint32_t node) {
  return pth_kind(p, node) == PTH_GLOBAL ? (const char *)p->text + p->node[node].at : NULL;
}

int pth_global_is(const pth_pickle *p, uint32_t node, const char *lines) {
  const char *text = pth_global(p, node);
  return text && strncmp(text, lines, strlen(lines)) == 0;
}

const char *pth_show_global(const pth_pickle *p, uint32_t node, char out[72]) {
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

int pth_is_dict(const pth_pickle *p, uint32_t node) {
  uint32_t kind = pth_kind(p, node);
  return kind == PTH_DICT || (kind == PTH_CALL &&
         (pth_global_is(p, pth_child(p, node, 0), "collections\nOrderedDict\n") ||
          pth_global_is(p, pth_child(p, node, 0), "collections\ndefaultdict\n")));
}

uint32_t pth_first_key(const pth_pickle *p, uint32_t node) {
  uint32_t link = p->node[node].first;
  int skip = p->node[node].kind == PTH_CALL ? 2 : 0;
  while (skip-- > 0) link = p->link[link].next;
  return link;
}

int pth_is_tensor(const pth_pickle *p, uint32_t node) {
  return pth_kind(p, node) == PTH_CALL &&
         (pth_global_is(p, pth_child(p, node, 0), "torch._utils\n_rebuild_") ||
          pth_global_is(p, pth_child(p, node, 0), "torch._tensor\n_rebuild_"));
}
