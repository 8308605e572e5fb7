/* shapes.h: what shapes.c, families.c and generate.c share
 *
 * A stream of chances, a canvas of samples, and the shapes that everything is made of.
 */
#ifndef TOOL_PICTURES_SHAPES_H
#define TOOL_PICTURES_SHAPES_H

#include "generate.h"

#include <stdint.h>

/* The difficulty of the data set in one place. The numbers are out of 256 unless a comment says
 * otherwise. They were set by training small transformers until a dense one of depth 12 landed
 * about midway between chance and perfect; PAPER_NOTES.md gives the accuracies.
 */
enum {
  GEN_STRANGE = 128,     /* chance that a thing wears the colours of another kind ... */
  GEN_SIBLING = 128,     /* ... and then, that the other kind is one of its own family */
  GEN_FADE = 96,         /* largest share of a random colour mixed into every colour */
  GEN_HIDDEN = 88,       /* chance that something stands in front */
  GEN_CLUTTER = 4,       /* at most this many shapes behind, a count */
  GEN_NOISE = 20,        /* largest amplitude of the noise, in grey levels */
  GEN_DIM = 96,          /* largest loss of contrast */
  GEN_WAVE = 7           /* largest displacement of an outline, in hundredths of the radius */
};

/* Spreads the bits of a word over the word. */
uint64_t gen_scramble(uint64_t z);

/* Returns the next word of a stream. */
uint64_t gen_next(gen_rng *r);

/* Returns 1 in so many of 256 cases. */
int gen_chance(gen_rng *r, int of256);

/* Returns the sine, in units of 1/16384, of an angle in units of 1/256 of a turn. It comes from a
 * table, because the last bit of libm's sine is not the same everywhere; the table is the first
 * quarter of a turn. */
int gen_sin(int angle);

/* Returns the cosine, as gen_sin gives the sine. */
int gen_cos(int angle);

/* An ink is the number of a colour, or of a colour with a pattern. The pattern's other colour is B
 * on A, A on everything else.
 */
enum {
  GEN_A, GEN_B, GEN_DARK, GEN_LIGHT, GEN_LEAF, GEN_WOOD, GEN_INKS,
  GEN_STRIPES = 16, GEN_BARS = 32, GEN_DOTS = 48, GEN_CHECKS = 64, GEN_RINGS = 80, GEN_SECTORS = 96
};

typedef struct gen_scene {
  gen_rng rng;
  int width, height;                           /* in samples */
  uint32_t *sample;                            /* height x width */
  uint32_t object;                             /* number that the next shapes leave behind */
  uint32_t ink[GEN_INKS];
  int place[2];                                /* the frame's origin on the canvas */
  int64_t turn[4];                             /* units -> canvas, times 1024 */
  int64_t back[4];                             /* canvas -> units, times 2^20 */
  int wave[4];                                 /* height, pace and two phases */
} gen_scene;

/* Returns channel 0, 1 or 2 (red, green, blue) of a colour. */
int gen_channel(uint32_t colour, int c);

/* Returns (1 - t/256) a + (t/256) b, channel by channel. */
uint32_t gen_mix(uint32_t a, uint32_t b, int t);

/* Returns a colour of any kind. */
uint32_t gen_any_colour(gen_rng *r);

/* Mixes a random colour into another, with a random share between low/256 and high/256. */
uint32_t gen_faded(gen_rng *r, uint32_t colour, int low, int high);

/* Sets the frame: middle (x, y) and radius in pixels times 256, angle in 256ths of a turn, two
 * stretches times 256, the first of them negative where left and right are exchanged. Patterns need
 * the inverse, which is kept too. */
void gen_frame(gen_scene *s, int x, int y, int radius, int angle, int wide, int tall);

enum { GEN_CORNERS = 64 };

typedef struct gen_path { int n, x[GEN_CORNERS], y[GEN_CORNERS]; } gen_path;

/* Adds a corner to a path; what does not fit is left out. */
void gen_corner(gen_path *p, int x, int y);

/* Fills a path with an ink and forgets its corners. */
void gen_fill(gen_scene *s, gen_path *p, int ink);

/* A piece of an ellipse about (x, y), from one angle to another. */
typedef struct gen_curve { int x, y, rx, ry, from, to; } gen_curve;

/* Adds n + 1 corners along a curve to a path. */
void gen_arc_corners(gen_path *p, gen_curve c, int n);

/* Fills an ellipse. */
void gen_oval(gen_scene *s, int ink, int x, int y, int rx, int ry);

/* Fills half an ellipse: its upper half, or its lower one. */
void gen_half(gen_scene *s, int ink, int x, int y, int rx, int ry, int upper);

/* Fills a band of a given width inside a piece of a circle; from = 0, to = 256 is a ring. */
void gen_band(gen_scene *s, int ink, gen_curve outer, int width);

/* Fills a rectangle. */
void gen_box(gen_scene *s, int ink, int x0, int y0, int x1, int y1);

/* Draws a straight stroke of the given width. The length is the root of a sum of squares, by
 * Newton's method in integers from above: it falls until it is the root rounded down. */
void gen_line(gen_scene *s, int ink, int x0, int y0, int x1, int y1, int width);

/* Draws n rays between two radii. With n = 8 and nearly equal radii it is an octagon's rough
 * cousin. */
void gen_star(gen_scene *s, int ink, int x, int y, int outer, int inner, int n);

/* Fills a leaf, petal or wing: an oval that begins at (x, y) and reaches out at an angle. */
void gen_petal(gen_scene *s, int ink, int x, int y, int angle, int length, int width);

/* Fills a free polygon: GEN_POLY(s, ink, x0, y0, x1, y1, ...). */
void gen_poly(gen_scene *s, int ink, const short *xy, int n);

#define GEN_POLY(s, ink, ...)                                            \
  do {                                                                   \
    static const short gen_xy[] = {__VA_ARGS__};                         \
    gen_poly((s), (ink), gen_xy, (int)(sizeof gen_xy / (2 * sizeof gen_xy[0]))); \
  } while (0)

/* What the families are called, how they are drawn, and how far they may be tilted, in 256ths of a
 * turn to either side: a ball may lie anyhow, a house stands nearly upright.
 */
typedef struct gen_family {
  const char *name;
  void (*draw)(gen_scene *s, int kind);
  int tilt;
} gen_family;

extern const gen_family gen_families[GEN_COARSE];

/* What the kinds are called and the two colours that they tend to, as letters of gen_dye. */
typedef struct gen_kind { const char *name, *dye; } gen_kind;

extern const gen_kind gen_fines[GEN_FINE];

/* Returns a dye by its letter: red, orange, yellow, lime, green, teal, sky, blue, violet, pink,
 * brown (n), white, ash (a) and black (k). */
uint32_t gen_dye(char letter);

/* Draws a thing of the given kind about (x, y), pixels times 256, in the colours of the scene. */
void gen_object(gen_scene *s, int fine, int x, int y, int radius);

#endif /* TOOL_PICTURES_SHAPES_H */
