/* classify.h: what is in a picture */
#ifndef TOOL_COMMANDS_CLASSIFY_H
#define TOOL_COMMANDS_CLASSIFY_H

#include "../../../boundarydpt.h"
#include "../files/checkpoint.h"
#include "../pictures/images.h"

enum { CLASSIFY_BATCH = 32, CLASSIFY_TOP = 5 };

typedef struct classify {
  bdpt_model *m;
  bdpt_tape *tape;
  image_plan plan;        /* how a picture becomes input */
  int json, logits, no_exif;
  const checkpoint_report *from; /* what nothing told of the network, for --json; may be NULL */
  size_t left_out;        /* pictures without an answer */
  const char *const *label; /* [classes], or NULL: numbers */
  const char **owned;     /* the table and the text of a label file */
  bdpt_bytes text;
  unsigned char *planes;  /* [CLASSIFY_BATCH][3][S][S] */
  bdpt_real *images, *out; /* the same, normalised; [CLASSIFY_BATCH][K] */
} classify;

/* Opens a classifier. `how` is IMAGE_CROP, IMAGE_WHOLE, or 0: what the network's evaluation
 * does. */
bdpt_status classify_open(classify *c, bdpt_model *m, const char *labels, int how);

/* Frees what classify_open made. */
void classify_close(classify *c);

/* Finds the largest logits, largest first, and their probabilities by the softmax. Returns how
 * many; 0 if one of the logits is not finite. */
int classify_top(const bdpt_real *z, int classes, int top[CLASSIFY_TOP],
                 double share[CLASSIFY_TOP]);

#endif /* TOOL_COMMANDS_CLASSIFY_H */
