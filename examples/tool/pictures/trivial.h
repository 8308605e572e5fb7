/* trivial.h: one random change of random strength, an augmentation for training */
#ifndef TOOL_PICTURES_TRIVIAL_H
#define TOOL_PICTURES_TRIVIAL_H

#include "../../../boundarydpt.h"

enum { TRIVIAL_CHANGES = 14, TRIVIAL_MOST = 64 };

/* Makes change `which`, 0 to TRIVIAL_CHANGES - 1, of strength 0 to 1, to planes[3][side][side];
 * `sign` is 1 or -1. Number 0 changes nothing; neither does strength 0, but for the last two, which
 * have no strength. side is at most TRIVIAL_MOST. */
void trivial_make(int which, double strength, double sign, int side, unsigned char *planes);

/* Draws change, strength and sign. It is a data set's `change`; `user` points to the side. */
void trivial_change(void *user, bdpt_rng *rng, unsigned char *planes);

#endif
