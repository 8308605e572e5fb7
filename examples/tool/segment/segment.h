/* segment.h: pictures with masks: reading, learning, judging, drawing */
#ifndef TOOL_SEGMENT_SEGMENT_H
#define TOOL_SEGMENT_SEGMENT_H

#include "../../../boundarydpt.h"
#include "../pictures/folder.h"
#include "../pictures/images.h"

#include <stdint.h>

enum { SEGMENT_WHY = 1900, SEGMENT_GENERATED = 4000, SEGMENT_TESTED = 200, SEGMENT_MOST = 255 };

typedef struct segment_set {
  char folder[2][1000];   /* of pictures, of masks; "" for scenes */
  folder_names file[2];   /* their names in them, in the same order */
  uint64_t seed, first;   /* of scenes */
  int side;               /* of scenes, pixels */
  size_t count;
  int classes;
} segment_set;

typedef struct segment_shot {
  picture image;
  unsigned char *mask;    /* [height][width], 0 or 1 + class */
} segment_shot;

/* Frees the names. */
void segment_set_free(segment_set *s);

/* Frees picture and mask. */
void segment_shot_free(segment_shot *s);

/* Opens a part: "training" or "validation". */
bdpt_status segment_open_folder(bdpt_context *ctx, const char *data, const char *part,
                                int classes, segment_set *s);

/* Draws a set of scenes, for training or for validation. */
void segment_open_scenes(size_t count, uint64_t seed, int validation, int side,
                         segment_set *s);

/* Reads shot i; on failure `out` owns nothing and `why` names the file. */
int segment_read(const segment_set *s, size_t i, segment_shot *out, char why[SEGMENT_WHY]);

/* A part of a shot: w x h pixels from (x, y) on, mirrored or not. */
typedef struct segment_part { int x, y, w, h, mirror; } segment_part;

/* Returns the part of a shot that is all of it. */
segment_part segment_whole(const segment_shot *s);

/* Chooses a random part, a function of (seed, draw) alone. */
segment_part segment_random(const segment_shot *s, uint64_t seed, uint64_t draw);

/* Cuts the part as planes[3][side][side], bicubic, and its classes label[side][side], those of
 * the nearest pixels; -1 where nothing counts. label may be NULL. */
int segment_cut(const segment_shot *s, const segment_part *p, int side,
                unsigned char *planes, int *label);

/* Writes `count` pictures of a set into DIR in ADE20K's layout, as PPM and PGM. */
bdpt_status segment_write_set(bdpt_context *ctx, const segment_set *s, const char *dir,
                              const char *part);

typedef struct segment_work {
  bdpt_model *m;
  const segment_set *train;
  uint64_t seed;
  size_t batch, per_epoch;
  size_t *order, ordered; /* [train->count], of epoch ordered - 1 */
  unsigned char *planes;  /* [batch][3][S][S] */
  bdpt_real *images;      /* the same, normalised */
  int *label;             /* [batch][S][S] */
  char *failed;           /* [batch] */
} segment_work;

/* Frees the buffers. */
void segment_work_free(segment_work *w);

/* Makes the buffers for batches of this size. */
bdpt_status segment_work_make(segment_work *w, bdpt_model *m, size_t batch);

/* Fills slot k of the batch from picture i of the set: a random part of it in training, else
 * all. */
int segment_fill(segment_work *w, const segment_set *set, size_t k, size_t i, int random,
                 uint64_t draw, segment_shot *keep);

/* Reads a failed slot once more, by one thread: the sentence names the file. */
bdpt_status segment_explain(bdpt_context *ctx, const segment_set *set, size_t i);

/* Computes what each patch says: images[B,3,S,S] -> [B,n,K]. */
bdpt_tensor *segment_patches(bdpt_model *m, bdpt_tape *t, const bdpt_real *images,
                             size_t count, const bdpt_forward_options *o);

typedef struct segment_run {
  bdpt_recipe recipe;
  const char *checkpoint;
  int json, quiet, fresh;
} segment_run;

/* Trains the network; goes on from r->checkpoint if it is there. */
bdpt_status segment_train(bdpt_model *m, const segment_set *train, const segment_run *r);

typedef struct segment_score {
  double n[SEGMENT_MOST][SEGMENT_MOST]; /* [truth][answer] */
  double iou[SEGMENT_MOST];             /* NaN for a class that does not occur */
  double mean, accuracy;                /* per cent */
  size_t pictures, pixels;
  double ms, ms_pixels;                 /* medians, of one picture: network; blending, arg-max */
  double ms_beside, faster;             /* another network in turn; median of the quotients; or 0 */
} segment_score;

/* Counts n pixels by their true class and the answer. */
void segment_count(segment_score *s, const unsigned char *truth, const unsigned char *said,
                   size_t n);

/* Turns the counts into the mean IoU and the accuracy. */
void segment_sum(segment_score *s, int classes);

/* Turns what the patches say, z[grid][grid][K], into 1 + the likeliest class of each pixel. */
void segment_decide(const bdpt_real *z, int grid, int classes, int width, int height,
                    unsigned char *said, bdpt_real *line);

/* Returns the answer for one shot at its own size, malloc'd. */
unsigned char *segment_answer(const bdpt_model *m, const bdpt_real *z, int width,
                              int height);

/* Judges a network on a set and times it beside `beside`, which may be NULL. */
bdpt_status segment_judge(bdpt_model *m, const segment_set *set, bdpt_model *beside,
                          int quiet, segment_score *out);

/* Returns the colour of a value of a mask; 0 is black. */
void segment_colour(int value, int classes, unsigned char rgb[3]);

/* A sheet of rows of three panels, each picture enlarged a whole number of times. */
typedef struct segment_sheet {
  unsigned char *rgb;     /* [height][width][3] */
  int width, height, used; /* used: rows of pixels painted so far */
} segment_sheet;

enum { SEGMENT_GAP = 6 };

/* Adds a row; the sheet is as wide as the widest row asks for at its first. */
int segment_sheet_add(segment_sheet *s, const segment_shot *shot, const unsigned char *said,
                      int classes, int zoom);

/* Writes `count` pictures, evenly spread over the set: DIR/NAME-000.png and so on; `all`, unless
 * NULL, gets the first four of them, not enlarged. */
bdpt_status segment_overlays(bdpt_model *m, const segment_set *set, const char *dir,
                             size_t count, segment_sheet *all);

#endif /* TOOL_SEGMENT_SEGMENT_H */
