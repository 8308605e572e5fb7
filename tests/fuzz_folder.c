/* Fuzz target: a folder of class folders with pictures. The bytes say what stands in it, and there
 * is no disk: the functions of folders are these here. A picture's bytes come from the input too,
 * so that most cannot be decoded, and the small PPM is the one that mostly can.
 * longest: 300 */
#define IMAGE_MOST_PIXELS 4096
#define IMAGE_NO_STB /* the bytes of pictures are fuzz_image's */
#include "fuzz_text.h"
#include "../examples/tool/pictures/png.c"
#include "../examples/tool/pictures/exif.c"
#include "../examples/tool/pictures/images.c"
#include "../examples/tool/cli/system.h"
#include <dirent.h>
#include <errno.h>

enum { ENTRIES = 48 };
typedef struct fuzz_entry {
  char name[16];
  int parent, kind;    /* parent: -1 for the root, else a folder */
  const uint8_t *bytes;
  size_t size;
} fuzz_entry;
enum { FILE_, FOLDER, UNKNOWN, LAST_KINDS }; /* UNKNOWN: nobody can say what it is */

static fuzz_entry entries[ENTRIES];
static int entry_count, breaks; /* breaks: listing the folder of this number fails on the way */
static struct { int folder, at, open; } reading;

/* Returns the entry of "root/NAME", with `within` that of "root/FOLDER/NAME"; -1: the root, -2:
 * none. */
static int find_entry(const char *path) {
  int folder = -1, i;
  FUZZ_CHECK(strncmp(path, "root", 4) == 0);
  for (path += 4; *path == '/';) {
    size_t n = strcspn(++path, "/");
    if (n == 1 && *path == '.') { path += n; continue; }
    for (i = 0; i < entry_count; i++) {
      if (entries[i].parent == folder && strlen(entries[i].name) == n &&
          strncmp(entries[i].name, path, n) == 0) break;
    }
    if (i == entry_count) return -2;
    folder = i; path += n;
  }
  return folder;
}

static DIR *fuzz_opendir(const char *path) {
  const int i = find_entry(path);
  FUZZ_CHECK(!reading.open);
  if (i == -2 || (i >= 0 && entries[i].kind != FOLDER)) { errno = ENOTDIR; return NULL; }
  reading.folder = i; reading.at = 0; reading.open = 1;
  return (DIR *)(void *)&reading;
}
static struct dirent *fuzz_readdir(DIR *dir) {
  static struct dirent out;
  FUZZ_CHECK(dir == (DIR *)(void *)&reading && reading.open);
  while (reading.at < entry_count && entries[reading.at].parent != reading.folder) reading.at++;
  if (reading.at == entry_count) {
    if (reading.folder == breaks) errno = EIO;
    return NULL;
  }
  strcpy(out.d_name, entries[reading.at++].name);
  return &out;
}
static int fuzz_closedir(DIR *dir) { (void)dir; reading.open = 0; return 0; }
static int fuzz_is_folder(const char *path) {
  const int i = find_entry(path);
  errno = EACCES;
  if (i < 0) return i == -1;
  return entries[i].kind == UNKNOWN ? -1 : entries[i].kind == FOLDER;
}
static int fuzz_image_read(const char *path, picture *out, char why[IMAGE_WHY]) {
  static const char head[] = "P6 3 2 255\n";
  const int i = find_entry(path);
  unsigned char bytes[64];
  size_t n;
  memset(out, 0, sizeof *out);
  if (i < 0 || entries[i].kind != FILE_) return image_no(why, "is no file");
  n = entries[i].size < 40 ? entries[i].size : 40;
  if (n < 8) return image_decode(entries[i].bytes, n, out, why);
  memcpy(bytes, head, sizeof head - 1); /* a whole picture, if 18 bytes follow */
  memcpy(bytes + sizeof head - 1, entries[i].bytes, n);
  return image_decode(bytes, sizeof head - 1 + n, out, why);
}
#define opendir fuzz_opendir
#define readdir fuzz_readdir
#define closedir fuzz_closedir
#define cli_is_folder fuzz_is_folder
#define image_read fuzz_image_read
#define fprintf(...) ((void)0) /* the lines about pictures left out */
#include "../examples/tool/pictures/folder.c"
#undef fprintf

/* Reads the entries: a byte that says what and where, one that says how it is called, and a file's
 * bytes behind their number. */
static void furnish(const uint8_t *data, size_t size) {
  static const char *const ending[] = {".ppm", ".PNG", ".jpeg", "", ".txt", ".pgm", ".jpg", "."};
  int within = -1, i;
  for (entry_count = 0; size >= 2 && entry_count < ENTRIES;) {
    const unsigned what = data[0], name = data[1];
    fuzz_entry *e = &entries[entry_count];
    data += 2;
    size -= 2;
    e->kind = what % 16 == 15 ? UNKNOWN : FILE_;
    if (what % 4 == 0) e->kind = FOLDER;
    e->parent = what & (e->kind == FOLDER ? 96 : 32) ? -1 : within;
    e->bytes = data;
    e->size = 0;
    if (e->kind == FILE_ && size) {
      e->size = *data++ % 41;
      size--;
      e->size = e->size < size ? e->size : size;
      e->bytes = data;
      data += e->size;
      size -= e->size;
    }
    sprintf(e->name, "%s%c%c%s", name & 128 && name & 64 ? "." : "", (int)('a' + name % 5),
            (int)('a' + name / 5 % 7), e->kind == FOLDER ? "" : ending[what / 4 % 8]);
    for (i = 0; i < entry_count; i++) { /* names in a folder differ */
      if (entries[i].parent == e->parent && strcmp(entries[i].name, e->name) == 0) break;
    }
    if (i < entry_count) continue;
    if (e->kind == FOLDER && e->parent == -1) within = entry_count;
    entry_count++;
  }
}

static void check_folder(folder *f) {
  size_t i;
  for (i = 1; i < f->classes.count; i++) {
    FUZZ_CHECK(strcmp(folder_name(&f->classes, i - 1), folder_name(&f->classes, i)) < 0);
  }
  FUZZ_CHECK(f->files.count > 0 && f->label[0] == 0);
  for (i = 0; i < f->files.count; i++) {
    FUZZ_CHECK(f->label[i] < f->classes.count && folder_is_picture(folder_name(&f->files, i)));
    if (i) FUZZ_CHECK(f->label[i] == f->label[i - 1] || f->label[i] == f->label[i - 1] + 1);
  }
  FUZZ_CHECK(f->label[f->files.count - 1] == f->classes.count - 1);
  FUZZ_CHECK(folder_same_classes(f, f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static folder f, some;
  unsigned options;
  if (size < 1) return 0;
  options = data[0];
  furnish(data + 1, size - 1);
  breaks = options & 8 ? (int)(options >> 4) - 1 : -2;
  if (!folder_list(&f, "root", options & 1)) {
    FUZZ_CHECK(f.why[0] && memchr(f.why, 0, sizeof f.why));
    return 0;
  }
  check_folder(&f);
  if (options & 2) {
    const size_t before = f.files.count;
    const int left = folder_skip_bad(&f, options >> 4);
    FUZZ_CHECK(left ? f.files.count + (options >> 4) >= before : f.why[0] != 0);
    if (left) check_folder(&f);
  }
  {
    bdpt_context ctx = fuzz_context();
    bdpt_dataset set;
    image_plan plan = image_plan_of(4, 4, IMAGE_CROP);
    unsigned char planes[3 * 4 * 4];
    size_t i, order[ENTRIES];
    folder_dataset(&f, &plan, &set);
    FUZZ_CHECK(set.count == f.files.count && (size_t)set.classes == f.classes.count);
    for (i = 0; i < set.count; i++) {
      const int bad = set.fetch(set.user, i, planes);
      FUZZ_CHECK(!(options & 2) || !bad || f.why[0]); /* none of what was skipped is left */
      order[set.count - 1 - i] = i;
    }
    if (folder_take(&f, order, set.count / 2, &some)) {
      FUZZ_CHECK(some.files.count == set.count / 2 && folder_same_classes(&some, &f));
      folder_free(&some);
    }
    fuzz_end(&ctx, 0);
  }
  folder_free(&f);
  return 0;
}
