/* generate.h: a picture book of 100 classes, drawn by a program */
#ifndef TOOL_PICTURES_GENERATE_H
#define TOOL_PICTURES_GENERATE_H

#include <stdint.h>

enum {
  GEN_SIZE = 32,                               /* pixels along an edge */
  GEN_FINER = 4,                               /* samples along the edge of a pixel */
  GEN_SUB = 64,                                /* steps of a position along the edge of a sample */
  GEN_PLANE = GEN_SIZE * GEN_SIZE,
  GEN_RECORD = 2 + 3 * GEN_PLANE,              /* coarse, fine, red plane, green, blue */
  GEN_COARSE = 20,
  GEN_KINDS = 5,                               /* fine classes in each coarse one */
  GEN_FINE = GEN_COARSE * GEN_KINDS
};

typedef struct gen_rng { uint64_t state; } gen_rng;

/* Makes one word out of two. */
uint64_t gen_hash(uint64_t seed, uint64_t index);

/* Returns a whole number in [low, high], both included. */
int gen_pick(gen_rng *r, int low, int high);

/* Returns the name of a family, 0 to 19. */
const char *gen_coarse_name(int coarse);

/* Returns the name of a kind, 0 to 99. */
const char *gen_fine_name(int fine);

/* Returns the fine class of a picture, 0 to 99; the family is a fifth of it. */
int gen_label(uint64_t seed, uint64_t index);

/* Draws one picture with its two labels, 3074 bytes. */
void gen_image(uint64_t seed, uint64_t index, unsigned char record[GEN_RECORD]);

/* Draws `count` pictures one after another, on all threads. */
void gen_images(uint64_t seed, uint64_t first, long count, unsigned char *records);

/* Writes a file of pictures. Returns 0, or -1 and no file is left behind. */
int gen_write(const char *path, uint64_t seed, uint64_t first, long count);

/* Writes a contact sheet (PPM) for human eyes. Returns 0 or -1. */
int gen_sheet(const char *path, uint64_t seed, uint64_t first, int across, int down);

enum { GEN_SCENE_CLASSES = 1 + GEN_COARSE, GEN_THINGS = 6 };

/* Returns the name of a class of the masks, 0 to 20. */
const char *gen_scene_name(int class_);

/* Draws planes[3][size][size], mask[size][size]. Returns 0, or -1 if there is no memory for the
 * canvas. */
int gen_scene_draw(uint64_t seed, uint64_t index, int size, unsigned char *planes,
                   unsigned char *mask);

#endif /* TOOL_PICTURES_GENERATE_H */
