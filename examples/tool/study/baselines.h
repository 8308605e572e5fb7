/* baselines.h: simple ways to choose which layers go */
#ifndef TOOL_STUDY_BASELINES_H
#define TOOL_STUDY_BASELINES_H

#include "../../../boundarydpt.h"

typedef struct baseline_walk {
  double cosine[2][BDPT_MAX_DEPTH];  /* mean over tokens, by type and layer */
  double change[2][BDPT_MAX_DEPTH];  /* mean square of what the layer adds to what replaces it */
} baseline_walk;

/* Measures cosines and changes of every layer, means over the images of `data`. */
bdpt_status baseline_look(bdpt_model *m, const bdpt_subset *data, baseline_walk *out);

/* Classifies all images, 16 at a time, each process all of them; `each` (NULL: nobody) is given the
 * logits z[count][classes] of every batch. */
typedef void (*baseline_answers)(const bdpt_real *z, size_t count, void *user);
bdpt_status baseline_predict(bdpt_model *m, const bdpt_subset *data, baseline_answers each,
                             void *user);

/* Computes the entropy of the answers as if every logit were normal: the sum of the logarithms of
 * their standard deviations over the images, constants left out. */
bdpt_status baseline_entropy(bdpt_model *m, const bdpt_subset *data, double *out);

/* Measures transfer entropy of each layer: H of the whole network less H without the layer. As in
 * NOSE, attention that is taken out leaves x alone while this is measured. */
bdpt_status baseline_transfer(const bdpt_model *m, const bdpt_subset *data,
                              double score[2][BDPT_MAX_DEPTH]);

/* Draws scores that mean nothing, another set for every seed. */
void baseline_random(size_t seed, double score[2][BDPT_MAX_DEPTH]);

/* Sets which[type][layer] for the `count[type]` layers of smallest score, or, if `across` is 1, for
 * the count[0] + count[1] smallest of both types together. Among equal scores the first layer goes
 * first. */
void baseline_take(double score[2][BDPT_MAX_DEPTH], int depth, const int count[2],
                   int across, int which[2][BDPT_MAX_DEPTH]);

#endif /* TOOL_STUDY_BASELINES_H */
