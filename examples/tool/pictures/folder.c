/* =================================================================================================
 * folder.c: a folder of class folders as a data set
 * =================================================================================================
 * ImageNet's layout: one folder for each class, the pictures of the class in it. The classes are
 * the sorted names of the folders, which is how torchvision's ImageFolder numbers them, so a
 * network trained there means the same by class 17. Only names are read at first; a picture is
 * decoded each time it is wanted, by the thread that wants it (bdpt_dataset.fetch), and made to fit
 * the network's input as evaluation does it (images.c, crop).
 *
 * A file counts as a picture by its name: .jpg, .jpeg, .png, .ppm, .pgm, whatever the case. Others
 * are left alone and counted. A class folder without a picture is an error, as in torchvision; so
 * is a picture that cannot be read, at the moment it is wanted, by name.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64 /* 32-bit systems too know every file and folder entry */
#include "../../../boundarydpt.h"
#include "../cli/system.h"
#include "folder.h"
#include "images.h"
#include "../words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef _MSC_VER
#include <dirent.h>
#endif

void folder_names_free(folder_names *n) {
  free(n->text);
  free(n->at);
  memset(n, 0, sizeof *n);
}

void folder_free(folder *f) {
  folder_names_free(&f->classes);
  folder_names_free(&f->files);
  free(f->label);
  f->label = NULL;
}

const char *folder_name(const folder_names *n, size_t i) { return n->text + n->at[i]; }

int folder_names_add(folder_names *n, const char *name) {
  size_t length = strlen(name) + 1;
  if (n->used + length > n->room) {
    size_t room = 2 * (n->used + length) + 1024;
    char *bigger = (char *)realloc(n->text, room);
    if (!bigger) return 0;
    n->text = bigger;
    n->room = room;
  }
  if (n->count == n->rooms) {
    size_t rooms = 2 * n->rooms + 64;
    size_t *bigger = (size_t *)realloc(n->at, rooms * sizeof *bigger);
    if (!bigger) return 0;
    n->at = bigger;
    n->rooms = rooms;
  }
  memcpy(n->text + n->used, name, length);
  n->at[n->count++] = n->used;
  n->used += length;
  return 1;
}

static int folder_by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the names from the first-th on, byte by byte, which for UTF-8 is Python's order too. */
static int folder_names_sort(folder_names *n, size_t first) {
  size_t count = n->count - first, i;
  const char **name = (const char **)malloc((count + 1) * sizeof *name);
  if (!name) return 0;
  for (i = 0; i < count; i++) name[i] = folder_name(n, first + i);
  qsort(name, count, sizeof *name, folder_by_name);
  for (i = 0; i < count; i++) n->at[first + i] = (size_t)(name[i] - n->text);
  free(name);
  return 1;
}

int folder_is_picture(const char *name) {
  static const char *const ending[] = {".jpg", ".jpeg", ".png", ".ppm", ".pgm"};
  size_t length = strlen(name), i, k, n;
  for (i = 0; i < sizeof ending / sizeof ending[0]; i++) {
    n = strlen(ending[i]);
    if (length <= n) continue;
    for (k = 0; k < n; k++) {
      char c = name[length - n + k];
      if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != ending[i][k]) break;
    }
    if (k == n) return 1;
  }
  return 0;
}

static int folder_no(folder *f, const char *path, const char *reason) {
  snprintf(f->why, sizeof f->why, "%.250s: %s", path, reason);
  return 0;
}

#ifndef _MSC_VER
/* Returns the next entry; NULL with errno 0 at the end, with another one after an error. */
static struct dirent *folder_next(DIR *dir) {
  errno = 0;
  return readdir(dir);
}
#endif

int folder_scan(folder *f, const char *path, int pictures, folder_names *out) {
#ifdef _MSC_VER
  (void)pictures;
  (void)out;
  return folder_no(f, path, "folders of pictures need opendir");
#else
  size_t first = out->count;
  struct dirent *entry;
  DIR *dir = opendir(path);
  int ok = 1;
  if (!dir) return folder_no(f, path, strerror(errno));
  while (ok && (entry = folder_next(dir)) != NULL) {
    char inner[1400];
    int wanted;
    if (entry->d_name[0] == '.') continue;
    if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner) {
      ok = folder_no(f, path, "the path of a file in this folder is too long");
      break;
    }
    wanted = pictures ? folder_is_picture(entry->d_name) : cli_is_folder(inner);
    if (wanted < 0) ok = folder_no(f, inner, strerror(errno));
    f->ignored += !wanted;
    if (wanted > 0 && !folder_names_add(out, entry->d_name))
      ok = folder_no(f, path, "out of memory");
  }
  if (ok && errno) ok = folder_no(f, path, strerror(errno)); /* readdir stopped before the end */
  closedir(dir);
  if (!ok) return 0;
  return folder_names_sort(out, first) ? 1 : folder_no(f, path, "out of memory");
#endif
}

int folder_list(folder *f, const char *root, int flat) {
  size_t k, i, first;
  char path[1400];
  int ok;
  memset(f, 0, sizeof *f);
  if (strlen(root) >= sizeof f->root) return folder_no(f, root, "the path is too long");
  strcpy(f->root, root);
  f->plan = image_plan_of(224, 224, IMAGE_CROP);
  ok = folder_scan(f, root, 0, &f->classes);
  if (ok && f->classes.count == 0 && flat) {
    f->ignored = 0; /* they are looked at again, as pictures */
    if (!folder_names_add(&f->classes, ".")) ok = folder_no(f, root, "out of memory");
  }
  if (ok && f->classes.count == 0)
    ok = folder_no(f, root, "no class folders in it (nor train.bin, test.bin)");
  if (ok && f->classes.count > 65535) ok = folder_no(f, root, "more than 65535 class folders");
  for (k = 0; k < f->classes.count && ok; k++) {
    first = f->files.count;
    snprintf(path, sizeof path, "%s/%s", root, folder_name(&f->classes, k));
    ok = folder_scan(f, path, 1, &f->files);
    if (ok && f->files.count == first)
      ok = folder_no(f, path, "no picture in this folder (.jpg, .jpeg, .png, .ppm, .pgm)");
    if (ok) {
      size_t bytes = f->files.rooms * sizeof *f->label;
      unsigned short *bigger = (unsigned short *)realloc(f->label, bytes);
      if (!bigger) ok = folder_no(f, path, "out of memory");
      else f->label = bigger;
    }
    for (i = first; i < f->files.count && ok; i++) f->label[i] = (unsigned short)k;
  }
  if (!ok) folder_free(f);
  return ok;
}

int folder_same_classes(folder *f, const folder *other) {
  size_t i, n = f->classes.count, m = other->classes.count;
  for (i = 0; i < n && i < m; i++)
    if (strcmp(folder_name(&f->classes, i), folder_name(&other->classes, i)) != 0) break;
  if (i == n && i == m) return 1;
  snprintf(f->why, sizeof f->why, "%.130s and %.130s have different classes: %.80s is in one "
           "of them only", other->root, f->root,
           i < n && (i == m || strcmp(folder_name(&f->classes, i),
                                      folder_name(&other->classes, i)) < 0)
             ? folder_name(&f->classes, i) : folder_name(&other->classes, i));
  return 0;
}

int folder_take(const folder *from, const size_t *index, size_t count, folder *out) {
  size_t i;
  int ok = 1;
  *out = *from;
  memset(&out->classes, 0, sizeof out->classes);
  memset(&out->files, 0, sizeof out->files);
  out->label = (unsigned short *)malloc((count + 1) * sizeof *out->label);
  ok = out->label != NULL;
  for (i = 0; i < from->classes.count && ok; i++)
    ok = folder_names_add(&out->classes, folder_name(&from->classes, i));
  for (i = 0; i < count && ok; i++) {
    ok = folder_names_add(&out->files, folder_name(&from->files, index[i]));
    if (ok) out->label[i] = from->label[index[i]];
  }
  if (!ok) folder_free(out);
  return ok;
}

/* Decodes one picture; with planes NULL it is only looked at. On failure `why` names it, by the end
 * of its path if that is long. */
enum { FOLDER_WHY = 400, FOLDER_PATH = 180 };
static int folder_read(const folder *f, size_t index, unsigned char *planes,
                       char why[FOLDER_WHY]) {
  char path[2200], reason[IMAGE_WHY] = "";
  const char *end = path;
  picture one;
  int ok, w, h;
  snprintf(path, sizeof path, "%s/%s/%s", f->root, folder_name(&f->classes, f->label[index]),
           folder_name(&f->files, index));
  ok = image_read(path, &one, reason);
  if (ok && !planes) ok = image_target(&one, &f->plan, &w, &h, reason);
  if (ok && planes) ok = image_apply(&one, &f->plan, planes, reason);
  image_free(&one);
  if (strlen(path) > FOLDER_PATH) end += strlen(path) - FOLDER_PATH;
  if (!ok) snprintf(why, FOLDER_WHY, "%s%.180s: %.199s", end > path ? "..." : "", end, reason);
  return ok;
}

/* Leaves the folder's bad pictures, of which there are some, out. */
static int folder_drop(folder *f, const char *bad) {
  folder_names files;
  size_t i, k = 0, *left = (size_t *)calloc(f->classes.count, sizeof *left);
  int ok = left != NULL;
  memset(&files, 0, sizeof files);
  for (i = 0; i < f->files.count && ok; i++) {
    if (bad[i]) continue;
    ok = folder_names_add(&files, folder_name(&f->files, i));
    left[f->label[i]]++;
    f->label[k++] = f->label[i];
  }
  if (!ok) folder_no(f, f->root, "out of memory");
  for (i = 0; i < f->classes.count && ok; i++)
    if (left[i] == 0) {
      snprintf(f->why, sizeof f->why, "%.150s/%.150s: no picture in this class folder can be read",
               f->root, folder_name(&f->classes, i));
      ok = 0;
    }
  free(left);
  folder_names_free(ok ? &f->files : &files);
  if (ok) f->files = files;
  return ok;
}

int folder_skip_bad(folder *f, size_t most) {
  const long count = (long)f->files.count;
  char *bad = (char *)calloc(f->files.count + 1, 1), why[FOLDER_WHY];
  size_t n = 0;
  long i;
  int ok;
  if (!bad) return folder_no(f, f->root, "out of memory");
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 16)
#endif
  for (i = 0; i < count; i++) {
    char unused[FOLDER_WHY];
    bad[i] = !folder_read(f, (size_t)i, NULL, unused);
  }
  for (i = 0; i < count; i++) {
    if (!bad[i] || folder_read(f, (size_t)i, NULL, why)) continue;
    fprintf(stderr, "   left out: %s\n", why);
    n++;
  }
  ok = n <= most;
  if (!ok)
    snprintf(f->why, sizeof f->why, "%.250s: %lu %s cannot be read, more than the %lu of "
             "--skip-bad", f->root, (unsigned long)n, words_of((double)n, "picture", "pictures"),
             (unsigned long)most);
  if (ok && n) ok = folder_drop(f, bad);
  free(bad);
  return ok;
}

/* Is bdpt_dataset.fetch. Several threads call it at once, so a failure leaves only a mark. */
static int folder_fetch(void *user, size_t index, unsigned char *planes) {
  folder *f = (folder *)user;
  char why[FOLDER_WHY];
  if (folder_read(f, index, planes, why)) return 0;
#ifdef _OPENMP
#pragma omp atomic write
#endif
  f->failed = 1;
  return 1;
}

void folder_dataset(folder *f, const image_plan *plan, bdpt_dataset *out) {
  memset(out, 0, sizeof *out);
  f->plan = *plan;
  out->count = f->files.count;
  out->classes = (int)f->classes.count;
  out->height = plan->crop[0];
  out->width = plan->crop[1];
  out->label = f->label;
  out->fetch = folder_fetch;
  out->user = f;
}

void folder_explain(const folder *f, char *message, size_t room) {
  size_t index;
  unsigned char *planes;
  char why[FOLDER_WHY];
  if (!f->failed || sscanf(message, "image %zu: the data set's fetch", &index) != 1) return;
  planes = (unsigned char *)malloc((size_t)f->plan.crop[0] * (size_t)f->plan.crop[1] * 3);
  if (planes && index < f->files.count && !folder_read(f, index, planes, why))
    snprintf(message, room, "%s", why);
  free(planes);
}
