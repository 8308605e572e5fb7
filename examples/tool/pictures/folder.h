/* folder.h: a folder of class folders as a data set */
#ifndef TOOL_PICTURES_FOLDER_H
#define TOOL_PICTURES_FOLDER_H

#include "../../../boundarydpt.h"
#include "images.h"

/* Names one after another, each with its zero byte. */
typedef struct folder_names {
  char *text;
  size_t used, room;
  size_t *at;             /* [count]: where each begins */
  size_t count, rooms;
} folder_names;

typedef struct folder {
  char root[700];
  folder_names classes, files;
  unsigned short *label;  /* [files.count] */
  size_t ignored;         /* files that are no pictures by their names */
  image_plan plan;        /* how fetch makes a picture fit */
  int failed;             /* a fetch has failed; which one, the library says */
  char why[IMAGE_WHY + 1500];
} folder;

/* Frees the names. */
void folder_names_free(folder_names *n);

/* Frees the listing. */
void folder_free(folder *f);

/* Returns the name of number i. */
const char *folder_name(const folder_names *n, size_t i);

/* Adds a copy of a name; 0 if there is no memory. */
int folder_names_add(folder_names *n, const char *name);

/* Returns 1 if the name ends like a picture's. */
int folder_is_picture(const char *name);

/* Adds the names in a folder that are class folders (pictures = 0) or pictures, in order, to the
 * list. What begins with a dot is passed over. */
int folder_scan(folder *f, const char *path, int pictures, folder_names *out);

/* Lists the pictures of all classes. 0: f->why says what is wrong, and f owns nothing. With `flat`
 * the folder may hold pictures without class folders: one class, ".". */
int folder_list(folder *f, const char *root, int flat);

/* Checks that another folder has the same classes; else f->why names the first difference. */
int folder_same_classes(folder *f, const folder *other);

/* Makes a folder's chosen pictures a folder of their own. */
int folder_take(const folder *from, const size_t *index, size_t count, folder *out);

/* Makes a data set of the folder's pictures, made to fit as the plan says; it borrows the
 * folder. */
void folder_dataset(folder *f, const image_plan *plan, bdpt_dataset *out);

/* Reads every picture and leaves those out that cannot be read, each with a line on stderr. 0:
 * there are more than `most`, or a class has none left; f->why says so. */
int folder_skip_bad(folder *f, size_t most);

/* Names the picture that could not be read, which the library knows by its number only: if
 * `message` is its sentence about a failed fetch of this folder, the file is read once more, and
 * the sentence becomes one with its name. */
void folder_explain(const folder *f, char *message, size_t room);

#endif /* TOOL_PICTURES_FOLDER_H */
