/* families.c: the twenty families of things, and their names */
#include "generate.h"
#include "shapes.h"

#include <stdint.h>
#include <string.h>

/* =================================================================================================
 * 5  THE TWENTY FAMILIES                                                               >>families
 * =================================================================================================
 * One function per family, one branch per kind. What the kinds of a family share is drawn for all
 * of them; what tells them apart is a pattern, a count, an outline or an arrangement. No kind
 * differs from another only by left and right, and none is the other one turned over.
 */
static void gen_ball(gen_scene *s, int kind) {
  static const int ink[GEN_KINDS] = {
    GEN_A, GEN_A | GEN_STRIPES, GEN_A | GEN_SECTORS, GEN_A | GEN_DOTS, GEN_A | GEN_RINGS
  };
  gen_oval(s, ink[kind], 0, 0, 92, 92);
  if (kind == 0) gen_oval(s, GEN_LIGHT, -32, -36, 26, 18);
}

static void gen_flower(gen_scene *s, int kind) {
  static const int petals[GEN_KINDS] = {4, 6, 12, 0, 16}, width[GEN_KINDS] = {66, 44, 20, 0, 24};
  static const int heart[GEN_KINDS] = {18, 24, 20, 0, 42};
  int i, n = petals[kind];
  gen_line(s, GEN_LEAF, 0, 0, 6, 100, 10);
  gen_petal(s, GEN_LEAF, 4, 92, 224, 60, 24);
  gen_petal(s, GEN_LEAF, 4, 92, 160, 60, 24);
  if (kind == 3) {                             /* a tulip, seen from the side */
    GEN_POLY(s, GEN_A, -46, -84, -24, -50, 0, -96, 24, -50, 46, -84, 48, -20, 24, 18, -24, 18,
             -48, -20);
    gen_petal(s, GEN_B, 0, 16, 192, 70, 30);
    return;
  }
  for (i = 0; i < n; i++) gen_petal(s, GEN_A, 0, -24, 256 * i / n + 32, 74, width[kind]);
  gen_oval(s, GEN_B, 0, -24, heart[kind], heart[kind]);
}

static void gen_stars(gen_scene *s, int kind) {
  static const int rays[GEN_KINDS] = {5, 4, 6, 12, 5}, inner[GEN_KINDS] = {40, 26, 54, 62, 44};
  gen_star(s, GEN_A, 0, 0, 98, inner[kind], rays[kind]);
  if (kind == 2) gen_star(s, GEN_B, 0, 0, 60, 32, 6);
  if (kind == 3) gen_oval(s, GEN_B, 0, 0, 42, 42);
  if (kind == 4) gen_star(s, GEN_DARK, 0, 0, 62, 28, 5);
}

static void gen_windows(gen_scene *s, int ink, int x, int y, int across, int down, int step) {
  int i, j;
  for (j = 0; j < down; j++)
    for (i = 0; i < across; i++)
      gen_box(s, ink, x + step * i, y + step * j, x + step * i + step / 2,
              y + step * j + step * 5 / 8);
}

static void gen_house(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* cottage */
      gen_box(s, GEN_B, 34, -84, 54, -30);
      gen_box(s, GEN_A, -72, -14, 72, 88);
      GEN_POLY(s, GEN_B, -96, -10, 0, -88, 96, -10);
      gen_box(s, GEN_DARK, -16, 28, 16, 88);
      gen_windows(s, GEN_LIGHT, -58, 14, 2, 1, 86);
      break;
    case 1:                                    /* castle tower */
      gen_box(s, GEN_A, -46, -50, 46, 96);
      GEN_POLY(s, GEN_A, -62, -92, -36, -92, -36, -74, -14, -74, -14, -92, 14, -92, 14, -74, 36,
               -74, 36, -92, 62, -92, 62, -44, -62, -44);
      gen_half(s, GEN_B, 0, 70, 22, 36, 1);
      gen_box(s, GEN_B, -22, 68, 22, 96);
      gen_box(s, GEN_DARK, -7, -28, 7, 8);
      break;
    case 2:                                    /* church */
      gen_box(s, GEN_A, -92, 14, 40, 92);
      GEN_POLY(s, GEN_B, -98, 16, -70, -26, 34, -26, 40, 16);
      gen_box(s, GEN_A, 22, -30, 84, 92);
      GEN_POLY(s, GEN_B, 14, -28, 53, -98, 92, -28);
      gen_windows(s, GEN_DARK, -76, 34, 3, 1, 34);
      gen_oval(s, GEN_LIGHT, 53, -4, 14, 14);
      break;
    case 3:                                    /* barn */
      GEN_POLY(s, GEN_B, -90, 0, -62, -58, 0, -88, 62, -58, 90, 0);
      gen_box(s, GEN_A, -78, -4, 78, 86);
      gen_box(s, GEN_LIGHT, -44, 16, 44, 86);
      gen_line(s, GEN_A, -44, 16, 44, 86, 14);
      gen_line(s, GEN_A, 44, 16, -44, 86, 14);
      break;
    default:                                   /* block of flats */
      gen_box(s, GEN_A, -66, -94, 66, 94);
      gen_windows(s, GEN_B, -54, -80, 3, 4, 42);
  }
}

static void gen_tree(gen_scene *s, int kind) {
  int i;
  gen_box(s, GEN_WOOD, -9, kind == 4 ? -30 : 10, 9, 98);
  switch (kind) {
    case 0:                                    /* fir */
      for (i = 2; i >= 0; i--) {
        int top = -98 + 36 * i, half = 40 + 14 * i;
        gen_path p;
        p.n = 0;
        gen_corner(&p, 0, top);
        gen_corner(&p, half, top + 66);
        gen_corner(&p, -half, top + 66);
        gen_fill(s, &p, i == 1 ? GEN_B : GEN_A);
      }
      break;
    case 1:                                    /* oak, in fruit */
      gen_oval(s, GEN_A, -42, -10, 48, 42);
      gen_oval(s, GEN_A, 42, -10, 48, 42);
      gen_oval(s, GEN_A, 0, -48, 56, 48);
      for (i = 0; i < 6; i++) gen_oval(s, GEN_B, -62 + 25 * i, i % 2 ? -44 : -6, 9, 9);
      break;
    case 2:                                    /* poplar */
      gen_oval(s, GEN_A, 0, -26, 32, 74);
      gen_oval(s, GEN_B, 8, -20, 14, 52);
      break;
    case 3:                                    /* palm */
      gen_box(s, GEN_WOOD, -7, -50, 7, 20);
      for (i = 0; i < 7; i++) gen_petal(s, i % 2 ? GEN_B : GEN_A, 0, -46, 104 + 22 * i, 84, 26);
      break;
    default:                                   /* bare in winter */
      for (i = 0; i < 3; i++) {
        gen_line(s, GEN_WOOD, 0, 50 - 34 * i, 64 - 12 * i, -14 - 34 * i, 10);
        gen_line(s, GEN_WOOD, 0, 50 - 34 * i, -64 + 12 * i, -14 - 34 * i, 10);
      }
      gen_oval(s, GEN_LIGHT, 0, 96, 84, 12);
  }
}

static void gen_fish(gen_scene *s, int kind) {
  static const int ink[GEN_KINDS] = {GEN_A, GEN_A | GEN_BARS, GEN_A | GEN_DOTS, GEN_A, GEN_A};
  int i;
  if (kind == 3) {                             /* eel */
    for (i = 0; i < 9; i++)
      gen_oval(s, i % 2 ? GEN_B : GEN_A, -78 + 19 * i, gen_sin(28 * i) * 30 / 16384, 20, 20 - i);
    gen_oval(s, GEN_LIGHT, -82, -4, 9, 9);
    gen_oval(s, GEN_DARK, -82, -4, 4, 4);
    return;
  }
  if (kind == 4) {                             /* angelfish: long fins up and down */
    GEN_POLY(s, GEN_B, -30, -20, 44, -98, 26, 0, 44, 98, -30, 20);
    GEN_POLY(s, GEN_A, 30, 0, 84, -34, 72, 0, 84, 34);
    gen_oval(s, GEN_A, -10, 0, 56, 50);
    gen_box(s, GEN_B, -8, -48, 12, 48);
  } else {
    GEN_POLY(s, GEN_B, 40, 0, 98, -48, 84, 0, 98, 48);
    GEN_POLY(s, GEN_B, -20, -36, 10, -68, 34, -30);
    gen_oval(s, ink[kind], -14, 0, 76, 46);
  }
  gen_oval(s, GEN_LIGHT, -54, -10, 13, 13);
  gen_oval(s, GEN_DARK, -56, -10, 6, 6);
}

static void gen_butterfly(gen_scene *s, int kind) {
  int side, a;
  for (side = 0; side < 2; side++) {           /* angles are mirrored by 128 - a */
    int m = side ? -1 : 1;
    a = side ? 128 : 0;
    if (kind == 3) {                           /* dragonfly */
      gen_petal(s, GEN_A, 0, -38, a - m * 12, 100, 24);
      gen_petal(s, GEN_B, 0, -22, a + m * 10, 92, 24);
      continue;
    }
    if (kind == 4) {                           /* moth: a triangle at rest */
      gen_path p;
      p.n = 0;
      gen_corner(&p, m * 4, -56);
      gen_corner(&p, m * 92, 50);
      gen_corner(&p, m * 8, 70);
      gen_fill(s, &p, GEN_A | GEN_STRIPES);
      continue;
    }
    gen_petal(s, GEN_A, 0, 0, a - m * 28, 112, 74);
    gen_petal(s, GEN_A, 0, 0, a + m * 30, 92, 62);
    if (kind == 1) {                           /* peacock: eyes on the wings */
      gen_oval(s, GEN_B, m * 56, -46, 20, 20);
      gen_oval(s, GEN_B, m * 46, 44, 16, 16);
    }
    if (kind == 2) {                           /* monarch: dark rim, light field */
      gen_petal(s, GEN_B, 0, 0, a - m * 28, 84, 44);
      gen_petal(s, GEN_B, 0, 0, a + m * 30, 66, 36);
    }
  }
  gen_oval(s, GEN_DARK, 0, kind == 3 ? 20 : 4, 9, kind == 3 ? 78 : 56);
  gen_line(s, GEN_DARK, 0, -44, 24, -84, 6);
  gen_line(s, GEN_DARK, 0, -44, -24, -84, 6);
}

static void gen_wheel(gen_scene *s, int x, int y, int r) {
  gen_oval(s, GEN_DARK, x, y, r, r);
  gen_oval(s, GEN_LIGHT, x, y, r * 2 / 5, r * 2 / 5);
}

static void gen_car(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* saloon */
      GEN_POLY(s, GEN_A, -96, 10, -58, 4, -36, -36, 34, -36, 58, 4, 96, 10, 96, 44, -96, 44);
      GEN_POLY(s, GEN_B, -44, 4, -28, -26, 28, -26, 44, 4);
      break;
    case 1:                                    /* van */
      GEN_POLY(s, GEN_A, -94, -4, -66, -56, 94, -56, 94, 46, -94, 46);
      GEN_POLY(s, GEN_B, -82, -4, -60, -44, -24, -44, -24, -4);
      break;
    case 2:                                    /* double-decker */
      gen_box(s, GEN_A, -88, -82, 88, 50);
      gen_windows(s, GEN_B, -78, -70, 4, 2, 44);
      break;
    case 3:                                    /* lorry */
      gen_box(s, GEN_B, -46, -70, 98, 40);
      GEN_POLY(s, GEN_A, -98, 46, -98, 4, -80, -30, -50, -30, -50, 46);
      gen_box(s, GEN_LIGHT, -84, -18, -60, 4);
      break;
    default:                                   /* tractor */
      gen_box(s, GEN_A, -90, -4, 30, 40);
      gen_box(s, GEN_A, -4, -70, 64, -56);
      gen_box(s, GEN_A, 4, -66, 12, 0);
      gen_box(s, GEN_A, 50, -66, 58, 10);
      gen_box(s, GEN_DARK, -66, -50, -56, 0);
      gen_wheel(s, 48, 36, 54);
      gen_wheel(s, -66, 62, 28);
      return;
  }
  gen_wheel(s, -56, 50, 25);
  gen_wheel(s, 56, 50, 25);
}

static void gen_boat(gen_scene *s, int kind) {
  if (kind == 4) {                             /* submarine */
    gen_box(s, GEN_B, -22, -56, 26, 4);
    gen_line(s, GEN_DARK, 8, -50, 8, -92, 9);
    gen_oval(s, GEN_A, 0, 28, 96, 42);
    gen_oval(s, GEN_B, -44, 24, 13, 13);
    gen_oval(s, GEN_B, 0, 24, 13, 13);
    gen_oval(s, GEN_B, 44, 24, 13, 13);
    return;
  }
  if (kind == 0) {                             /* yacht */
    gen_line(s, GEN_DARK, 0, -98, 0, 50, 8);
    GEN_POLY(s, GEN_B, 8, -96, 78, 32, 8, 32);
    GEN_POLY(s, GEN_LIGHT, -8, -70, -62, 32, -8, 32);
  } else if (kind == 1) {                      /* square-rigger */
    gen_line(s, GEN_DARK, -38, -90, -38, 50, 8);
    gen_line(s, GEN_DARK, 38, -90, 38, 50, 8);
    GEN_POLY(s, GEN_B, -68, -82, -10, -82, -4, -28, -74, -28);
    GEN_POLY(s, GEN_B, 10, -82, 68, -82, 74, -28, 4, -28);
    GEN_POLY(s, GEN_B, -70, -20, -8, -20, -2, 34, -76, 34);
    GEN_POLY(s, GEN_B, 8, -20, 70, -20, 76, 34, 2, 34);
  } else if (kind == 2) {                      /* steamer */
    gen_box(s, GEN_LIGHT, -62, 4, 62, 44);
    gen_box(s, GEN_B, -40, -66, -14, 6);
    gen_box(s, GEN_B, 14, -66, 40, 6);
    gen_box(s, GEN_DARK, -40, -66, -14, -46);
    gen_box(s, GEN_DARK, 14, -66, 40, -46);
  } else {                                     /* rowing boat */
    gen_oval(s, GEN_B, 0, -24, 22, 22);
    gen_box(s, GEN_B, -20, 0, 20, 44);
    gen_line(s, GEN_WOOD, 0, 14, 92, 86, 11);
    gen_line(s, GEN_WOOD, 0, 14, -92, 86, 11);
  }
  GEN_POLY(s, GEN_A, -96, 40, 96, 40, 66, 88, -66, 88);
}

static void gen_vessel(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* mug */
      gen_band(s, GEN_A, (gen_curve){44, 0, 50, 50, 0, 256}, 18);
      gen_box(s, GEN_A, -66, -66, 46, 76);
      gen_box(s, GEN_B, -66, -14, 46, 24);
      break;
    case 1:                                    /* bowl */
      gen_half(s, GEN_A, 0, -20, 94, 88, 0);
      gen_oval(s, GEN_B, 0, -22, 94, 22);
      gen_box(s, GEN_A, -34, 60, 34, 80);
      break;
    case 2:                                    /* bottle */
      GEN_POLY(s, GEN_A, -13, -84, 13, -84, 15, -36, 38, -6, 38, 96, -38, 96, -38, -6, -15, -36);
      gen_box(s, GEN_B, -38, 18, 38, 62);
      gen_box(s, GEN_DARK, -16, -98, 16, -78);
      break;
    case 3:                                    /* vase */
      gen_oval(s, GEN_A | GEN_STRIPES, 0, 24, 66, 68);
      GEN_POLY(s, GEN_A, -40, -92, 40, -92, 20, -30, -20, -30);
      break;
    default:                                   /* goblet */
      gen_half(s, GEN_A, 0, -84, 60, 104, 0);
      gen_box(s, GEN_A, -8, 10, 8, 84);
      gen_oval(s, GEN_A, 0, 86, 46, 12);
      gen_half(s, GEN_B, 0, -56, 48, 66, 0);
  }
}

static void gen_fruit(gen_scene *s, int kind) {
  int i, j;
  switch (kind) {
    case 0:                                    /* apple */
      gen_line(s, GEN_WOOD, 0, -40, 10, -96, 12);
      gen_oval(s, GEN_A, -28, 8, 56, 70);
      gen_oval(s, GEN_A, 28, 8, 56, 70);
      gen_petal(s, GEN_B, 6, -66, 232, 60, 32);
      break;
    case 1:                                    /* pear */
      gen_line(s, GEN_WOOD, 0, -60, -8, -98, 11);
      gen_oval(s, GEN_A, 0, 36, 64, 60);
      gen_oval(s, GEN_A, 0, -28, 36, 52);
      gen_oval(s, GEN_B, 24, 44, 22, 28);
      break;
    case 2:                                    /* cherries */
      gen_line(s, GEN_LEAF, -46, 40, 8, -88, 10);
      gen_line(s, GEN_LEAF, 50, 48, 8, -88, 10);
      gen_petal(s, GEN_LEAF, 8, -86, 12, 74, 34);
      gen_oval(s, GEN_A, -48, 44, 42, 42);
      gen_oval(s, GEN_A, 52, 52, 42, 42);
      gen_oval(s, GEN_B, -60, 32, 13, 13);
      gen_oval(s, GEN_B, 40, 40, 13, 13);
      break;
    case 3:                                    /* grapes */
      gen_line(s, GEN_WOOD, 0, -50, 6, -98, 11);
      for (j = 0; j < 4; j++)
        for (i = 0; i < 4 - j; i++)
          gen_oval(s, (i + j) % 2 ? GEN_B : GEN_A, 40 * i - 60 + 20 * j, -42 + 38 * j, 23, 23);
      break;
    default:                                   /* slice of melon */
      gen_half(s, GEN_B, 0, -36, 98, 98, 0);
      gen_half(s, GEN_LIGHT, 0, -36, 84, 84, 0);
      gen_half(s, GEN_A, 0, -36, 74, 74, 0);
      for (i = 0; i < 4; i++) gen_oval(s, GEN_DARK, -42 + 28 * i, i % 3 ? -2 : -16, 6, 10);
  }
}

static void gen_face(gen_scene *s, int kind) {
  int eye;
  gen_oval(s, GEN_A, 0, 0, 94, 94);
  for (eye = -34; eye <= 34; eye += 68) {
    if (kind == 3) gen_oval(s, GEN_DARK, eye, -24, 32, 26);       /* sunglasses */
    else gen_oval(s, GEN_DARK, eye, -28, 12, 18);
  }
  switch (kind) {
    case 0: gen_band(s, GEN_B, (gen_curve){0, 2, 62, 62, 10, 118}, 16); break;      /* smiling */
    case 1: gen_band(s, GEN_B, (gen_curve){0, 84, 56, 56, 146, 238}, 16); break;    /* sad */
    case 2: gen_oval(s, GEN_B, 0, 42, 24, 32); break;             /* amazed */
    case 3:
      gen_line(s, GEN_DARK, -92, -30, 92, -30, 12);
      gen_line(s, GEN_B, -34, 46, 34, 46, 15);
      break;
    default:                                                      /* laughing */
      gen_half(s, GEN_B, 0, 12, 62, 60, 0);
      gen_box(s, GEN_LIGHT, -52, 12, 52, 28);
  }
}

static void gen_die(gen_scene *s, int kind) {
  int corner;
  GEN_POLY(s, GEN_A, -62, -80, 62, -80, 75, -75, 80, -62, 80, 62, 75, 75, 62, 80, -62, 80, -75, 75,
           -80, 62, -80, -62, -75, -75);
  if (kind % 2 == 0) gen_oval(s, GEN_B, 0, 0, 21, 21);
  for (corner = 0; corner < 4; corner++) {
    int x = corner % 2 ? 46 : -46, y = corner / 2 ? 46 : -46;
    if (kind >= 3 || (kind >= 1 && x == y)) gen_oval(s, GEN_B, x, y, 21, 21);
  }
}

static void gen_flag(gen_scene *s, int kind) {
  gen_line(s, GEN_WOOD, -84, -92, -84, 100, 12);
  gen_oval(s, GEN_WOOD, -84, -92, 11, 11);
  if (kind == 3) {                             /* chequered */
    gen_box(s, GEN_A | GEN_CHECKS, -78, -84, 94, 34);
    return;
  }
  if (kind == 4) {                             /* pennant */
    GEN_POLY(s, GEN_A, -78, -84, 98, -24, -78, 36);
    GEN_POLY(s, GEN_B, -78, -84, -14, -62, -14, 14, -78, 36);
    return;
  }
  gen_box(s, GEN_A, -78, -84, 94, 34);
  if (kind == 0) gen_box(s, GEN_B, -78, -45, 94, -5);
  if (kind == 1) {
    gen_box(s, GEN_B, -78, -40, 94, -10);
    gen_box(s, GEN_B, -30, -84, 0, 34);
  }
  if (kind == 2) gen_oval(s, GEN_B, 8, -25, 42, 42);
}

static void gen_planet(gen_scene *s, int kind) {
  int i;
  switch (kind) {
    case 0:                                    /* crescent: two arcs of different centres */
    {
      gen_path p;
      p.n = 0;
      gen_arc_corners(&p, (gen_curve){0, 0, 94, 94, 44, 212}, 24);
      gen_arc_corners(&p, (gen_curve){44, 0, 94, 94, 188, 68}, 20);
      gen_fill(s, &p, GEN_A);
      gen_star(s, GEN_B, 48, -14, 34, 14, 5);
      break;
    }
    case 1:                                    /* cratered moon */
      gen_oval(s, GEN_A, 0, 0, 92, 92);
      gen_oval(s, GEN_B, -32, -34, 24, 22);
      gen_oval(s, GEN_B, 38, -8, 17, 17);
      gen_oval(s, GEN_B, -10, 48, 27, 22);
      gen_oval(s, GEN_B, -58, 22, 12, 12);
      break;
    case 2:                                    /* ringed */
      gen_oval(s, GEN_B, 0, 0, 100, 36);
      gen_oval(s, GEN_DARK, 0, 0, 80, 22);
      gen_oval(s, GEN_A, 0, 0, 56, 56);
      gen_band(s, GEN_B, (gen_curve){0, -70, 106, 106, 40, 88}, 18);
      break;
    case 3:                                    /* sun */
      for (i = 0; i < 8; i++)
        gen_line(s, GEN_B, 0, 0, 98 * gen_cos(32 * i) / 16384, 98 * gen_sin(32 * i) / 16384, 17);
      gen_oval(s, GEN_A, 0, 0, 60, 60);
      break;
    default:                                   /* comet */
      GEN_POLY(s, GEN_B, -60, -8, 98, -64, 60, -24, 98, 0, 60, 22, 98, 60, -52, 42);
      gen_oval(s, GEN_A, -48, 8, 46, 46);
  }
}

static void gen_cap(gen_scene *s, int x, int y, int r) {
  gen_box(s, GEN_LIGHT, x - r / 3, y - 4, x + r / 3, y + r);
  gen_half(s, GEN_A, x, y, r, r, 1);
}

static void gen_mushroom(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* button */
      gen_box(s, GEN_LIGHT, -30, 0, 30, 92);
      gen_half(s, GEN_A, 0, 14, 92, 88, 1);
      gen_box(s, GEN_B, -92, 8, 92, 24);
      break;
    case 1:                                    /* toadstool */
      gen_box(s, GEN_LIGHT, -22, 0, 22, 92);
      gen_half(s, GEN_A, 0, 14, 94, 94, 1);
      gen_oval(s, GEN_B, -50, -12, 17, 17);
      gen_oval(s, GEN_B, 0, -44, 18, 18);
      gen_oval(s, GEN_B, 48, -14, 17, 17);
      break;
    case 2:                                    /* pointed */
      gen_box(s, GEN_LIGHT, -13, 0, 13, 98);
      GEN_POLY(s, GEN_A, 0, -98, 30, -30, 54, 26, -54, 26, -30, -30);
      GEN_POLY(s, GEN_B, 0, -98, 18, -58, -18, -58);
      break;
    case 3:                                    /* chanterelle */
      GEN_POLY(s, GEN_A, -92, -66, 92, -66, 34, 10, 24, 92, -24, 92, -34, 10);
      gen_oval(s, GEN_B, 0, -66, 92, 26);
      break;
    default:                                   /* a troop of three */
      gen_cap(s, 50, 24, 48);
      gen_cap(s, -52, 34, 46);
      gen_cap(s, -4, -20, 56);
      gen_oval(s, GEN_LEAF, 0, 88, 96, 20);
  }
}

static void gen_legs(gen_scene *s, int pairs, int reach, int y, int step) {
  int i;
  for (i = 0; i < pairs; i++) {
    int from = y + step * i, to = from + (2 * i - pairs + 1) * 16;
    gen_line(s, GEN_DARK, 0, from, reach, to, 9);
    gen_line(s, GEN_DARK, 0, from, -reach, to, 9);
  }
}

static void gen_beetle(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* ladybird */
      gen_oval(s, GEN_DARK, 0, -62, 40, 32);
      gen_oval(s, GEN_A, 0, 14, 80, 80);
      gen_line(s, GEN_DARK, 0, -62, 0, 94, 8);
      gen_oval(s, GEN_B, -40, -12, 18, 18);
      gen_oval(s, GEN_B, 40, -12, 18, 18);
      gen_oval(s, GEN_B, -34, 46, 18, 18);
      gen_oval(s, GEN_B, 34, 46, 18, 18);
      break;
    case 1:                                    /* striped beetle */
      gen_legs(s, 3, 86, -30, 34);
      gen_oval(s, GEN_DARK, 0, -64, 34, 28);
      gen_oval(s, GEN_A | GEN_STRIPES, 0, 16, 56, 80);
      break;
    case 2:                                    /* stag beetle */
      gen_legs(s, 3, 78, -10, 30);
      gen_band(s, GEN_B, (gen_curve){-26, -64, 36, 36, 100, 236}, 12);
      gen_band(s, GEN_B, (gen_curve){26, -64, 36, 36, -108, 28}, 12);
      gen_oval(s, GEN_A, 0, -32, 34, 24);
      gen_oval(s, GEN_A, 0, 40, 42, 58);
      break;
    case 3:                                    /* spider */
      gen_legs(s, 4, 96, -24, 16);
      gen_oval(s, GEN_A, 0, 22, 46, 48);
      gen_oval(s, GEN_B, 0, -32, 28, 26);
      break;
    default:                                   /* ant */
      gen_legs(s, 3, 72, -18, 16);
      gen_oval(s, GEN_A, 0, -68, 28, 26);
      gen_oval(s, GEN_B, 0, -8, 20, 36);
      gen_oval(s, GEN_A, 0, 60, 32, 40);
  }
}

static void gen_ice(gen_scene *s, int kind) {
  int i;
  if (kind == 3) {                             /* on a stick */
    gen_box(s, GEN_WOOD, -11, 40, 11, 98);
    gen_oval(s, GEN_A, 0, -50, 46, 46);
    gen_box(s, GEN_A, -46, -50, 46, 50);
    gen_box(s, GEN_B, -46, -20, 46, 12);
    return;
  }
  if (kind == 4) {                             /* sundae */
    GEN_POLY(s, GEN_LIGHT, -66, -10, 66, -10, 16, 62, 44, 92, -44, 92, -16, 62);
    gen_oval(s, GEN_A, -34, -26, 34, 30);
    gen_oval(s, GEN_B, 34, -26, 34, 30);
    gen_oval(s, GEN_A, 0, -58, 36, 30);
    gen_oval(s, GEN_DARK, 0, -88, 11, 11);
    return;
  }
  GEN_POLY(s, GEN_WOOD, -38, 18, 38, 18, 0, 98);
  for (i = 0; i <= kind; i++) {
    const int r = 50 - 8 * kind; /* the more balls, the smaller */
    gen_oval(s, i % 2 ? GEN_B : GEN_A, 0, 4 - i * (kind == 1 ? 60 : 46), r, r);
  }
}

static void gen_balloon(gen_scene *s, int kind) {
  switch (kind) {
    case 0:                                    /* toy balloon */
      gen_line(s, GEN_DARK, 0, 30, 14, 100, 6);
      gen_oval(s, GEN_A, 0, -32, 58, 66);
      GEN_POLY(s, GEN_A, -12, 44, 0, 26, 12, 44);
      gen_oval(s, GEN_B, -20, -54, 14, 20);
      break;
    case 1:                                    /* heart */
      gen_line(s, GEN_DARK, 0, 40, -12, 100, 6);
      gen_oval(s, GEN_A, -38, -42, 42, 42);
      gen_oval(s, GEN_A, 38, -42, 42, 42);
      GEN_POLY(s, GEN_A, -76, -26, 0, -50, 76, -26, 0, 56);
      gen_oval(s, GEN_B, -42, -52, 15, 15);
      break;
    case 2:                                    /* hot-air balloon */
      gen_line(s, GEN_DARK, -52, -10, -18, 74, 6);
      gen_line(s, GEN_DARK, 52, -10, 18, 74, 6);
      gen_oval(s, GEN_A | GEN_BARS, 0, -32, 70, 66);
      gen_box(s, GEN_WOOD, -22, 66, 22, 98);
      break;
    case 3:                                    /* bunch of three */
      gen_line(s, GEN_DARK, -48, -10, 0, 98, 6);
      gen_line(s, GEN_DARK, 48, -10, 0, 98, 6);
      gen_line(s, GEN_DARK, 0, -40, 0, 98, 6);
      gen_oval(s, GEN_A, -50, -26, 36, 42);
      gen_oval(s, GEN_B, 50, -26, 36, 42);
      gen_oval(s, GEN_A, 0, -54, 36, 42);
      break;
    default:                                   /* airship */
      GEN_POLY(s, GEN_B, 58, 0, 98, -46, 98, 36);
      gen_box(s, GEN_B, -30, 26, 26, 58);
      gen_oval(s, GEN_A, -8, -6, 88, 40);
  }
}

static void gen_sign(gen_scene *s, int kind) {
  gen_box(s, GEN_DARK, -7, 0, 7, 100);
  switch (kind) {
    case 0:                                    /* warning */
      GEN_POLY(s, GEN_A, 0, -98, 86, 44, -86, 44);
      GEN_POLY(s, GEN_LIGHT, 0, -60, 54, 28, -54, 28);
      gen_box(s, GEN_B, -8, -32, 8, 4);
      gen_oval(s, GEN_B, 0, 16, 9, 9);
      break;
    case 1:                                    /* octagon */
      GEN_POLY(s, GEN_A, -32, -94, 32, -94, 78, -50, 78, 12, 32, 56, -32, 56, -78, 12, -78, -50);
      gen_box(s, GEN_B, -54, -34, 54, -4);
      break;
    case 2:                                    /* ring */
      gen_oval(s, GEN_A, 0, -20, 76, 76);
      gen_oval(s, GEN_B, 0, -20, 50, 50);
      break;
    case 3:                                    /* diamond */
      GEN_POLY(s, GEN_LIGHT, 0, -98, 82, -18, 0, 62, -82, -18);
      GEN_POLY(s, GEN_A, 0, -74, 58, -18, 0, 38, -58, -18);
      break;
    default:                                   /* arrow ahead */
      gen_box(s, GEN_A, -70, -92, 70, 50);
      GEN_POLY(s, GEN_B, 0, -82, 46, -30, 14, -30, 14, 38, -14, 38, -14, -30, -46, -30);
  }
}

const gen_family gen_families[GEN_COARSE] = {
  {"balls", gen_ball, 20},         {"flowers", gen_flower, 14},    {"stars", gen_stars, 20},
  {"houses", gen_house, 9},        {"trees", gen_tree, 9},         {"fish", gen_fish, 20},
  {"butterflies", gen_butterfly, 28}, {"vehicles", gen_car, 12},   {"boats", gen_boat, 12},
  {"vessels", gen_vessel, 12},     {"fruit", gen_fruit, 16},       {"faces", gen_face, 16},
  {"dice", gen_die, 28},           {"flags", gen_flag, 10},        {"heavens", gen_planet, 20},
  {"mushrooms", gen_mushroom, 12}, {"crawlers", gen_beetle, 28},   {"ices", gen_ice, 14},
  {"balloons", gen_balloon, 12},   {"signs", gen_sign, 9}
};

const gen_kind gen_fines[GEN_FINE] = {
  {"plain ball", "rw"}, {"striped ball", "bw"}, {"beach ball", "yr"}, {"dotted ball", "gy"},
  {"ringed ball", "vo"},
  {"poppy", "rk"}, {"buttercup", "yo"}, {"daisy", "wy"}, {"tulip", "pv"}, {"sunflower", "yn"},
  {"five-pointed star", "yw"}, {"four-pointed star", "sw"}, {"six-pointed star", "bs"},
  {"burst", "or"}, {"hollow star", "gk"},
  {"cottage", "wr"}, {"tower", "an"}, {"church", "yb"}, {"barn", "rn"}, {"flats", "sk"},
  {"fir", "gl"}, {"oak", "lr"}, {"poplar", "yo"}, {"palm", "tg"}, {"bare tree", "nk"},
  {"plain fish", "so"}, {"striped fish", "ow"}, {"spotted fish", "py"}, {"eel", "gk"},
  {"angelfish", "yb"},
  {"brimstone", "yl"}, {"peacock", "rs"}, {"monarch", "ko"}, {"dragonfly", "tb"}, {"moth", "na"},
  {"saloon", "rs"}, {"van", "wk"}, {"bus", "ry"}, {"lorry", "bo"}, {"tractor", "gr"},
  {"yacht", "wr"}, {"square-rigger", "nw"}, {"steamer", "kr"}, {"rowing boat", "ob"},
  {"submarine", "ya"},
  {"mug", "br"}, {"bowl", "tw"}, {"bottle", "gw"}, {"vase", "wb"}, {"goblet", "yr"},
  {"apple", "rl"}, {"pear", "ly"}, {"cherries", "rp"}, {"grapes", "vb"}, {"melon", "rg"},
  {"smile", "yr"}, {"sad face", "bk"}, {"amazed face", "lk"}, {"sunglasses", "on"},
  {"laugh", "pr"},
  {"one", "wk"}, {"two", "rw"}, {"three", "bw"}, {"four", "ky"}, {"five", "gw"},
  {"banded flag", "rw"}, {"cross flag", "by"}, {"disc flag", "wr"}, {"chequered flag", "wk"},
  {"pennant", "og"},
  {"crescent", "yw"}, {"moon", "an"}, {"ringed planet", "ow"}, {"sun", "yo"}, {"comet", "ws"},
  {"button", "nw"}, {"toadstool", "rw"}, {"inkcap", "ak"}, {"chanterelle", "yo"},
  {"troop", "op"},
  {"ladybird", "rk"}, {"striped beetle", "yk"}, {"stag beetle", "nk"}, {"spider", "kr"},
  {"ant", "rn"},
  {"one scoop", "pw"}, {"two scoops", "yn"}, {"three scoops", "lp"}, {"ice lolly", "ro"},
  {"sundae", "wp"},
  {"balloon", "bw"}, {"heart", "rp"}, {"hot-air balloon", "oy"}, {"bunch", "gv"},
  {"airship", "ab"},
  {"warning", "rk"}, {"octagon", "rw"}, {"ring sign", "bw"}, {"diamond", "yk"}, {"arrow", "gw"}
};

const char *gen_coarse_name(int coarse) {
  return coarse >= 0 && coarse < GEN_COARSE ? gen_families[coarse].name : "?";
}

const char *gen_fine_name(int fine) {
  return fine >= 0 && fine < GEN_FINE ? gen_fines[fine].name : "?";
}

uint32_t gen_dye(char letter) {
  static const char letters[] = "roylgtsbvpnwak";
  static const uint32_t value[] = {
    0xd8281e, 0xf28018, 0xf6d422, 0xa2d832, 0x1f8f3a, 0x1ba59a, 0x62bdf2, 0x2448cc, 0x7c34b4,
    0xf07cae, 0x80502c, 0xf4f2ea, 0x92969c, 0x1e1c22
  };
  const char *at = strchr(letters, letter);
  return value[at && *at ? at - letters : 0];
}
