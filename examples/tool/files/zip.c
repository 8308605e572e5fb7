/* zip.c: the zip archive around a pickle */
#include "../../../boundarydpt.h"
#include "pth.h"
#include "pth_parts.h"
#include "../words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 3  THE ZIP ARCHIVE                                                                          >>zip
 * =================================================================================================
 * The end of the file says where the directory is, the directory says where everything else is, and
 * nothing may overlap or hang over. Two readers of one zip file that look in different places can
 * see different files; so whatever the two kinds of end record, or a local and a central header,
 * say twice must be the same twice.
 */
typedef struct pth_end { size_t at, directory, size, count; } pth_end;

static bdpt_status pth_zip_bad(const pth_file *f, const char *what) {
  return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but %s", what);
}

/* Reads the 64-bit end record, which a locator before the end record points to. */
static bdpt_status pth_zip_end64(const pth_file *f, pth_end *e) {
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

/* Reads the end record, the last thing in the file before a comment whose length it says. */
static bdpt_status pth_zip_end(const pth_file *f, pth_end *e) {
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

/* Reads the sizes that do not fit into 32 bits from the extra field: those that do not, in this
 * order. */
static int pth_zip_wide(const unsigned char *extra, size_t left, uint64_t value[3]) {
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

/* Reads one row of the directory, at `at`; *next is where the next one begins. */
static bdpt_status pth_zip_row(const pth_file *f, const pth_end *end, size_t at, size_t *next,
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

static int pth_by_offset(const void *a, const void *b) {
  const pth_entry *x = (const pth_entry *)a, *y = (const pth_entry *)b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->size < y->size ? -1 : x->size > y->size;
}

static int pth_by_name(const void *a, const void *b) {
  const pth_entry *x = (const pth_entry *)a, *y = (const pth_entry *)b;
  return pth_order(x->name, x->length, y->name, y->length);
}

bdpt_status pth_zip_read(pth_file *f) {
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

const pth_entry *pth_zip_find(const pth_file *f, const char *folder, const char *key,
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

bdpt_status pth_zip_stem(pth_file *f) {
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
  if (found > 1) {
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but no PyTorch checkpoint: %zu entries, "
                    "several data.pkl", f->entries);
  }
  if (found == 0) {
    const char *first = "missing";
    if (f->entries) first = pth_show((const char *)f->entry->name, f->entry->length, shown);
    return pth_fail(f, BDPT_E_FORMAT, "a zip archive, but no PyTorch checkpoint: %zu %s, "
                    "no data.pkl; the first is %s", f->entries,
                    words_of((double)f->entries, "entry", "entries"), first);
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
