/* Drawings, as SVG within the page. */

/* 14  Pens                                                                                  >>pens
 *
 * A drawing has a title for readers who do not see it, and takes its colours from the page, so it
 * is right in the light and in the dark. Lengths are those of the viewBox; the width of the column
 * decides how large they are.
 */
static void begin_figure(book *b, const char *id, int width, int height, const char *text) {
  put_format(&b->out, "<figure id='figure-%s'><svg viewBox='0 0 %d %d' role=img aria-label='%s'>\n",
             id, width, height, text);
  add_mark(b, 'd', text, id);
  snprintf(b->mark[b->marks - 1].place, sizeof b->mark[0].place, "figure-%s", id);
}

static void end_figure(book *b, const char *caption) {
  put(&b->out, "</svg>\n<figcaption>");
  set_text(b, caption, strlen(caption), PROSE, -1);
  put(&b->out, "</figcaption></figure>\n");
  b->figures++;
}

static void put_label(book *b, double x, double y, const char *class, const char *text) {
  put_format(&b->out, "<text x=%.1f y=%.1f class='%s'>", x, y, class);
  put_text(&b->out, text, strlen(text));
  put(&b->out, "</text>\n");
}

static void put_box(book *b, double x, double y, double w, double h, const char *class) {
  put_format(&b->out, "<rect x=%.1f y=%.1f width=%.1f height=%.1f class='%s'></rect>\n", x, y, w, h,
             class);
}

static void put_arrow(book *b, double x, double y, double to_x, double to_y, const char *class) {
  put_format(&b->out,
             "<line x1=%.1f y1=%.1f x2=%.1f y2=%.1f class='%s' marker-end='url(#%s)'>"
             "</line>\n",
             x, y, to_x, to_y, class, strstr(class, "back") ? "head-back" : "head");
}

/* Writes the heads of arrows, once for the page. */
static void put_pens(book *b) {
  int i;
  put(&b->out, "<svg width=0 height=0 class=pens aria-hidden=true><defs>");
  for (i = 0; i < 2; i++) {
    put_format(&b->out,
               "<marker id=%s viewBox='0 0 8 8' refX=7 refY=4 markerWidth=7 markerHeight=7 "
               "orient=auto><path d='M0 0L8 4L0 8z' class=%s></path></marker>",
               i ? "head-back" : "head", i ? "headback" : "headfore");
  }
  put(&b->out, "</defs></svg>\n");
}

/* 15  The tape of chapter 5                                                          >>tape-drawing
 *
 * It shows c = a b, L = c + a: values on the way forward, gradients on the way back, and under it
 * the list of nodes. The numbers are computed here from a and b.
 */
static void put_node(book *b, double x, double y, const char *what, double value, double grad) {
  char room[40];
  put_box(b, x - 42, y - 18, 84, 36, "node");
  put_label(b, x, y + 5, "mid", what);
  snprintf(room, sizeof room, "%g", value);
  put_label(b, x - 40, y - 24, "small", room);
  snprintf(room, sizeof room, "%g", grad);
  put_label(b, x + 40, y - 24, "small back end", room);
}

static void draw_tape(book *b) {
  const double a = 2, c = a * 3, loss = c + a; /* b = 3 */
  const double dloss = 1, dc = dloss, da = dloss + 3 * dc, db = a * dc;
  static const char *const cell[] = {"a", "b", "c = a b", "L = c + a"};
  int i;
  begin_figure(b, "tape", 440, 310, "The tape of a graph with three operations, with numbers");
  put_arrow(b, 94, 62, 174, 98, "fore");
  put_arrow(b, 94, 160, 174, 128, "fore");
  put_arrow(b, 260, 108, 336, 90, "fore");
  put_arrow(b, 94, 50, 336, 70, "fore");
  put_node(b, 52, 50, "a", a, da);
  put_node(b, 52, 172, "b", 3, db);
  put_node(b, 217, 114, "c = a b", c, dc);
  put_node(b, 380, 78, "L = c + a", loss, dloss);
  put_label(b, 430, 160, "small end", "left: the value, forwards");
  put_label(b, 430, 180, "small back end", "right: the gradient, backwards");
  for (i = 0; i < 4; i++) {
    put_box(b, 10 + 106 * i, 232, 100, 28, "node");
    put_label(b, 60 + 106 * i, 251, "mid", cell[i]);
  }
  put_arrow(b, 10, 276, 206, 276, "fore");
  put_label(b, 10, 298, "small", "recorded in this order");
  put_arrow(b, 428, 276, 232, 276, "back");
  put_label(b, 428, 298, "small back end", "walked in this one");
  end_figure(b,
             "The walk back visits L first, which hands 1 to c and 1 to a; then c, which hands "
             "b = 3 times 1 to a and a = 2 times 1 to b. So a, used twice, ends with 1 + 3 = 4.");
}

/* 16  A block before and after                                                      >>block-drawing
 *
 * Boxes are as wide as what they carry: F is four times D.
 */
static void put_map(book *b, double x, double y, double top, double bottom, const char *text) {
  put_format(&b->out, "<path class=node d='M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fz'></path>\n",
             x - bottom / 2, y + 34, x + bottom / 2, y + 34, x + top / 2, y, x - top / 2, y);
  put_label(b, x, y + 22, "mid", text);
}

static void draw_mlp(book *b, double x, const char *head, int gelu) {
  put_label(b, x, 24, "mid strong", head);
  put_arrow(b, x, 286, x, 264, "fore");
  put_label(b, x + 8, 282, "small", "D");
  put_map(b, x, 228, 144, 36, "W1");
  if (gelu) {
    put_box(b, x - 72, 178, 144, 26, "node hot");
    put_label(b, x, 196, "mid", "GELU");
  } else {
    put_box(b, x - 72, 178, 144, 26, "gone");
    put_label(b, x, 196, "mid faint", "removed");
  }
  put_arrow(b, x, 226, x, 206, "fore");
  put_arrow(b, x, 176, x, 156, "fore");
  put_label(b, x + 8, 172, "small", "F = 4 D");
  put_map(b, x, 120, 36, 144, "W2");
  put_arrow(b, x, 118, x, 64, "fore");
  put_label(b, x, 56, "mid", "+");
}

static void draw_block(book *b) {
  begin_figure(b, "block", 440, 312, "An MLP whole, without its GELU, and fused");
  draw_mlp(b, 80, "the MLP", 1);
  draw_mlp(b, 240, "GELU removed", 0);
  put_label(b, 380, 24, "mid strong", "fused");
  put_arrow(b, 380, 286, 380, 206, "fore");
  put_label(b, 388, 282, "small", "D");
  put_box(b, 350, 170, 60, 34, "node");
  put_label(b, 380, 192, "mid", "W2 W1");
  put_arrow(b, 380, 168, 380, 64, "fore");
  put_label(b, 380, 56, "mid", "+");
  put_label(b, 80, 305, "mid small", "295,872 weights");
  put_label(b, 240, 305, "mid small", "295,872 weights");
  put_label(b, 380, 305, "mid small", "37,056 weights");
  end_figure(b,
             "The MLP of DeiT-Tiny, D = 192 and F = 768. Two linears with nothing between them are "
             "one linear, and the step through F numbers was only a detour: 2 D F + F + D weights "
             "become D^2 + D. No shape outside changes.");
}

/* 17  Registers and panels                                                           >>tile-drawing
 *
 * The tile shows which registers one step of a product reads and adds to, the panels the order in
 * which the factor lies in memory.
 */
static void draw_tile(book *b) {
  char room[40];
  int i, j, k;
  begin_figure(b, "tile", 600, 300, "The 6 x 2 register tile of AVX2");
  for (j = 0; j < 2; j++) {
    for (k = 0; k < 8; k++) put_box(b, 130 + 176 * j + 21 * k, 36, 21, 26, j ? "cell b" : "cell a");
    snprintf(room, sizeof room, "b[p, %d..%d]", 8 * j, 8 * j + 7);
    put_label(b, 130 + 176 * j + 84, 54, "mid", room);
  }
  for (i = 0; i < 6; i++) {
    put_box(b, 40, 84 + 32 * i, 60, 26, "cell c");
    snprintf(room, sizeof room, "a[%d,p]", i);
    put_label(b, 70, 102 + 32 * i, "mid", room);
    for (j = 0; j < 2; j++) {
      for (k = 0; k < 8; k++) put_box(b, 130 + 176 * j + 21 * k, 84 + 32 * i, 21, 26, "cell");
      snprintf(room, sizeof room, "c%d%c += a[%d,p] b", i, "lr"[j], i);
      put_label(b, 130 + 176 * j + 84, 102 + 32 * i, "mid", room);
    }
  }
  put_label(b, 494, 54, "small", "2 loads");
  put_label(b, 494, 102, "small", "12 multiply-adds");
  put_label(b, 494, 120, "small", "of 8 lanes each");
  put_label(b, 30, 54, "small", "6 broadcasts");
  end_figure(b,
             "One step of p in AVX2. Twelve accumulators stay in registers from the first step to "
             "the last, two registers hold a row of B and one a number of A: 15 of 16. Eight loads "
             "feed twelve multiply-adds. With 32 registers the tile is 12 x 2.");
}

static void draw_packing(book *b) {
  static const char *const colour[] = {"cell a", "cell b"};
  char room[40];
  int i, j;
  begin_figure(b, "packing", 560, 200, "Packing a matrix into panels");
  put_label(b, 20, 20, "small", "B as it lies: rows of 8");
  for (i = 0; i < 3; i++) {
    for (j = 0; j < 8; j++) {
      put_box(b, 20 + 27 * j, 30 + 24 * i, 27, 24, colour[j / 4]);
      snprintf(room, sizeof room, "%d%d", i, j);
      put_label(b, 33.5 + 27 * j, 46 + 24 * i, "mid small", room);
    }
  }
  put_arrow(b, 252, 66, 300, 66, "fore");
  put_label(b, 316, 20, "small", "the inner loop's order: one panel, row after row");
  for (j = 0; j < 2; j++) {
    for (i = 0; i < 12; i++) {
      put_box(b, 20 + 22.5 * i, 124 + 30 * j, 22.5, 24, colour[j]);
      snprintf(room, sizeof room, "%d%d", i / 4, i % 4 + 4 * j);
      put_label(b, 31 + 22.5 * i, 140 + 30 * j, "mid small", room);
    }
  }
  put_label(b, 300, 140, "small", "panel 0: columns 0 to 3");
  put_label(b, 300, 170, "small", "panel 1: columns 4 to 7");
  end_figure(
      b, "With vectors of two numbers a panel is two vectors, four columns, wide. In memory the "
         "first panel is followed by the second, so the loop that computes a tile reads forwards "
         "only, whatever the strides of B were.");
}

/* 18  bf16                                                                           >>bits-drawing
 *
 * The bits of pi as a float stand above those that rounding it to bf16 leaves.
 */
static void draw_bits(book *b) {
  const float pi = 3.14159274f;
  float near;
  unsigned bits, half;
  char room[80];
  int i;
  memcpy(&bits, &pi, 4);
  half = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u; /* to nearest, ties to even */
  memcpy(&near, &half, 4);
  begin_figure(b, "bf16", 560, 150, "The bits of a float and of a bf16");
  for (i = 0; i < 32; i++) {
    const char *colour = i >= 9 ? "cell" : "cell b";
    if (i == 0) colour = "cell c";
    put_box(b, 20 + 16 * i, 40, 16, 22, colour);
    snprintf(room, sizeof room, "%u", bits >> (31 - i) & 1);
    put_label(b, 28 + 16 * i, 56, "mid small", room);
    if (i >= 16) continue;
    put_box(b, 20 + 16 * i, 96, 16, 22, colour);
    snprintf(room, sizeof room, "%u", half >> (31 - i) & 1);
    put_label(b, 28 + 16 * i, 112, "mid small", room);
  }
  put_label(b, 28, 30, "mid small", "sign");
  put_label(b, 100, 30, "mid small", "exponent, 8 bits");
  put_label(b, 348, 30, "mid small", "fraction, 23 bits of a float");
  snprintf(room, sizeof room, "float: %.8g", (double)pi);
  put_label(b, 20, 78, "small", room);
  snprintf(room, sizeof room, "bf16: %.8g, off by %.1e of itself", (double)near,
           (double)((pi - near) / pi));
  put_label(b, 290, 112, "small", room);
  put_label(b, 20, 136, "small", "7 bits of fraction stay");
  end_figure(b, "pi in both. The exponent is the same, so nothing overflows that did not before; "
                "the lower sixteen bits are rounded away.");
}

/* 19  The surface                                                                     >>map-drawing
 *
 * The surface is that of degree 2 which least squares put through the paper's 22 points; the
 * coefficients are those that the library finds for them, in the order 1, a, t, a^2, a t, t^2.
 */
static double surface(double a, double t) {
  static const double theta[] = {14.4878, 99.9412, 29.4947, -45.8068, -14.0368, -2.4442};
  return theta[0] + theta[1] * a + theta[2] * t + theta[3] * a * a + theta[4] * a * t +
         theta[5] * t * t;
}

/* Draws the contour at `level`, cell by cell: where it enters and leaves, straight between. */
static void put_contour(book *b, double level, const char *class) {
  const int n = 32;
  int i, j, k;
  put_format(&b->out, "<path class='%s' d='", class);
  for (i = 0; i < n; i++) {
    for (j = 0; j < n; j++) {
      double x[5], y[5], v[5];
      int cuts = 0;
      for (k = 0; k < 5; k++) {
        x[k] = 1.0 / 3 + 2.0 / 3 * (i + (k == 1 || k == 2)) / n;
        y[k] = 1.0 / 3 + 2.0 / 3 * (j + (k == 2 || k == 3)) / n;
        v[k] = surface(x[k], y[k]) - level;
      }
      for (k = 0; k < 4; k++) {
        double f, a, t;
        if ((v[k] < 0) == (v[k + 1] < 0)) continue;
        f = v[k] / (v[k] - v[k + 1]);
        a = x[k] + f * (x[k + 1] - x[k]);
        t = y[k] + f * (y[k + 1] - y[k]);
        put_format(&b->out, "%c%.1f %.1f", cuts++ % 2 ? 'L' : 'M', 60 + 432 * (a - 1.0 / 3) * 1.0,
                   330 - 432 * (t - 1.0 / 3));
      }
    }
  }
  put(&b->out, "'></path>\n");
}

static double map_x(int kept) { return 60 + 432 * (kept / 12.0 - 1.0 / 3); }
static double map_y(int kept) { return 330 - 432 * (kept / 12.0 - 1.0 / 3); }

static void draw_map(book *b) {
  static const int point[22][2] = {/* layers kept: attention, activations */
                                   {12, 12}, {11, 12}, {10, 12}, {9, 12},  {8, 12},  {7, 12},
                                   {6, 12},  {5, 12},  {4, 12},  {12, 11}, {12, 10}, {12, 9},
                                   {12, 8},  {12, 7},  {12, 6},  {12, 5},  {12, 4},  {11, 11},
                                   {11, 10}, {10, 10}, {10, 9},  {9, 9}};
  char room[60];
  int i, best = 0;
  begin_figure(b, "map", 560, 400, "The accuracy predictor's surface and a budget of eight layers");
  for (i = 0; i <= 10; i++) put_contour(b, 62 + 2 * i, i % 5 ? "contour" : "contour bold");
  for (i = 4; i <= 12; i += 2) {
    snprintf(room, sizeof room, "%d", i);
    put_label(b, map_x(i), 352, "mid small", room);
    put_label(b, 44, map_y(i) + 4, "small end", room);
  }
  put_label(b, 204, 376, "mid small", "attention layers kept, of 12");
  put_label(b, 20, 26, "small", "activations kept");
  for (i = 0; i < 22; i++) {
    put_format(&b->out, "<circle cx=%.1f cy=%.1f r=3.5 class=dot></circle>\n", map_x(point[i][0]),
               map_y(point[i][1]));
  }
  put_format(&b->out, "<line x1=%.1f y1=%.1f x2=%.1f y2=%.1f class=back></line>\n", map_x(4),
             map_y(12), map_x(12), map_y(4));
  for (i = 0; i <= 8; i++) {
    if (surface((12 - i) / 12.0, (4 + i) / 12.0) > surface((12 - best) / 12.0, (4 + best) / 12.0)) {
      best = i;
    }
  }
  for (i = 0; i < 2; i++) {
    int a = i ? 4 : best;
    put_format(&b->out, "<circle cx=%.1f cy=%.1f r=6 class=%s></circle>\n", map_x(12 - a),
               map_y(4 + a), i ? "ring" : "hit");
    snprintf(room, sizeof room, "(%d, %d): %.1f", a, 8 - a,
             surface((12 - a) / 12.0, (4 + a) / 12.0));
    put_label(b, map_x(12 - a) - 10, map_y(4 + a) + 16, "small strong end", room);
  }
  put_label(b, 366, 52, "small", "dots: measured networks");
  put_label(b, 366, 72, "small", "curves: predicted accuracy,");
  put_label(b, 366, 88, "small", "2 apart; bold: 62, 72, 82");
  put_label(b, 366, 112, "small back", "line: eight layers removed");
  put_label(b, 366, 132, "small", "filled: the best split");
  put_label(b, 366, 148, "small", "ring: the published one");
  end_figure(b, "The surface through the paper's 22 points of DeiT-Base, fitted by this library. A "
                "budget is a line across it, and the split is the highest point of that line: "
                "(attention, activations) removed. The points lie on two sides and a diagonal; the "
                "lower left corner is extrapolation.");
}

/* 20  Where the drawings go                                                            >>gallery */
static const struct {
  const char *tag;
  void (*draw)(book *b);
} gallery[] = {{"tape", draw_tape},      {"fuse", draw_block}, {"matmul", draw_tile},
               {"matmul", draw_packing}, {"half", draw_bits},  {"map", draw_map}};

static void put_figures(book *b, const char *tag) {
  size_t i;
  for (i = 0; i < sizeof gallery / sizeof *gallery; i++) {
    if (!strcmp(gallery[i].tag, tag)) gallery[i].draw(b);
  }
}

static int has_figure(const char *tag) {
  size_t i;
  for (i = 0; i < sizeof gallery / sizeof *gallery; i++) {
    if (!strcmp(gallery[i].tag, tag)) return 1;
  }
  return 0;
}

static void check_figures(book *b) {
  size_t i;
  for (i = 0; i < sizeof gallery / sizeof *gallery; i++) {
    const char *tag = gallery[i].tag;
    if (!is_tag_somewhere(b, tag)) complain(b, b->path, 0, "a drawing wants the tag ", tag);
  }
}
