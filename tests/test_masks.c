/* What `boundarydpt segment` is made of (segment/, png.c and the scenes of generate.c):
 * drawn scenes, masks from files and their complaints, cutting, learning with a stop in between,
 * scores by hand, the answer's pixels against bdpt_upsample, overlays, and PNG read back by a
 * reader of its own. Files go to build/test_masks.d. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "../examples/tool/cli/system.h"
#include "../examples/tool/pictures/png.h"
#include "../examples/tool/pictures/shapes.h"
#include "../examples/tool/segment/segment.h"
#include "test.h"

static bdpt_context ctx;
#define DIR_ "build/test_masks.d"

/* ---- Scenes ---------------------------------------------------------------------------------- */

static uint64_t digest(const unsigned char *bytes, size_t n, uint64_t h) {
  for (; n > 0; n--) h = (h ^ *bytes++) * UINT64_C(0x100000001b3);
  return h;
}

TEST(scenes_are_what_they_were) {
  static unsigned char planes[3 * 64 * 64], mask[64 * 64], other[3 * 64 * 64];
  size_t seen[GEN_SCENE_CLASSES + 1] = {0}, i, k;
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  int strange = 0;
  for (i = 0; i < 40; i++) {
    CHECK(gen_scene_draw(1, i, 64, planes, mask) == 0);
    h = digest(mask, sizeof mask, digest(planes, sizeof planes, h));
    for (k = 0; k < sizeof mask; k++) {
      if (mask[k] <= GEN_SCENE_CLASSES) seen[mask[k]]++;
      else strange++;
    }
  }
  CHECK(strange == 0);
  if (!CHECK(h == UINT64_C(0x34315c6122702b1b))) printf("  digest 0x%llx\n", (unsigned long long)h);
  for (k = 0; k <= GEN_SCENE_CLASSES; k++) CHECK(seen[k] > 0); /* every class, and outlines */
  CHECK(seen[1] > 40 * 64 * 64 / 2 && seen[0] < 40 * 64 * 64 / 50);
  gen_scene_draw(1, 39, 64, other, mask);
  CHECK(memcmp(planes, other, sizeof planes) == 0);
  gen_scene_draw(2, 39, 64, other, mask);
  CHECK(memcmp(planes, other, sizeof planes) != 0);
  CHECK(strcmp(gen_scene_name(0), "background") == 0 && strcmp(gen_scene_name(1), "balls") == 0);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void put(const char *path, const char *text, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!CHECK(f != NULL)) return;
  fwrite(text, 1, n, f);
  fclose(f);
}

static void complains(const char *data, const char *part, size_t i, const char *text) {
  char why[SEGMENT_WHY] = "";
  segment_set s;
  segment_shot shot;
  if (segment_open_folder(&ctx, data, part, 3, &s) == BDPT_OK) {
    CHECK(segment_read(&s, i, &shot, why) == 0 && shot.mask == NULL && shot.image.planes == NULL);
  } else snprintf(why, sizeof why, "%s", ctx.message);
  if (!test_check(strstr(why, text) != NULL, text, __FILE__, __LINE__)) printf("  text: %s\n", why);
  segment_set_free(&s);
  bdpt_clear_error(&ctx);
}

TEST(files_in_ade20ks_layout) {
  segment_set drawn, read;
  segment_shot a, b;
  char why[SEGMENT_WHY] = "";
  size_t i;
  remove(DIR_ "/good/annotations/training/00001.png"); /* of the run before */
  segment_open_scenes(5, 3, 0, 24, &drawn);
  CHECK(segment_write_set(&ctx, &drawn, DIR_ "/good", "training") == BDPT_OK);
  CHECK(segment_open_folder(&ctx, DIR_ "/good", "training", 21, &read) == BDPT_OK);
  CHECK(read.count == 5);
  for (i = 0; i < read.count; i++) {
    CHECK(segment_read(&drawn, i, &a, why) && segment_read(&read, i, &b, why));
    CHECK(b.image.width == 24 && b.image.height == 24);
    CHECK(memcmp(a.image.planes, b.image.planes, 3 * 24 * 24) == 0);
    CHECK(memcmp(a.mask, b.mask, 24 * 24) == 0);
    segment_shot_free(&a); segment_shot_free(&b);
  }
  segment_set_free(&read);
#ifdef IMAGE_STB
  { /* a mask as PNG, which then stands in place of the PGM */
    unsigned char rgb[3 * 24 * 24], *png;
    size_t size = 0;
    CHECK(segment_read(&drawn, 1, &a, why));
    for (i = 0; i < sizeof rgb; i++) rgb[i] = a.mask[i / 3];
    png = png_build(rgb, 24, 24, &size);
    put(DIR_ "/good/annotations/training/00001.png", (const char *)png, size);
    remove(DIR_ "/good/annotations/training/00001.pgm");
    CHECK(segment_open_folder(&ctx, DIR_ "/good", "training", 21, &read) == BDPT_OK);
    CHECK(segment_read(&read, 1, &b, why) && memcmp(a.mask, b.mask, 24 * 24) == 0);
    segment_shot_free(&a); segment_shot_free(&b);
    segment_set_free(&read);
    free(png);
  }
#endif
}

TEST(bad_files_are_named) {
  const char *image = "P6\n2 1\n255\nabcdef", *in = DIR_ "/bad/images/training/x.ppm";
  const char *mask = DIR_ "/bad/annotations/training/x.pgm";
  complains(DIR_ "/nowhere", "training", 0, "nowhere/images/training: ");
  cli_make_folder(DIR_ "/bad/images/training");
  cli_make_folder(DIR_ "/bad/annotations/training");
  remove(in); remove(mask);
  complains(DIR_ "/bad", "training", 0, "images/training: no picture in it");
  put(in, image, 17);
  complains(DIR_ "/bad", "training", 0, "annotations/training: no mask (.png, .pgm, .ppm) for x");
  put(mask, "P5\n2 2\n255\n\0\1\2\3", 15);
  complains(DIR_ "/bad", "training", 0, "x.pgm: 2 x 2 pixels, but its picture has 2 x 1");
  put(mask, "P5\n2 1\n255\n\1\4", 13);
  complains(DIR_ "/bad", "training", 0, "x.pgm: value 4 at column 1, row 0, but there are 3");
  put(mask, "P6\n2 1\n255\n\1\1\1\2\2\1", 17);
  complains(DIR_ "/bad", "training", 0, "x.pgm: it is in colour");
  put(mask, "P5\n2 1\n255\n\1", 12);
  complains(DIR_ "/bad", "training", 0, "x.pgm: 2 x 1 pixels need 2 bytes");
  put(in, image, 14);
  complains(DIR_ "/bad", "training", 0, "x.ppm: 2 x 1 pixels need 6 bytes");
}

/* ---- Cutting --------------------------------------------------------------------------------- */

TEST(cutting_and_mirroring) {
  enum { W = 6, H = 4, N = W * H };
  unsigned char planes[3 * N], mask[N], out[3 * 36];
  int label[36], i, x, y;
  segment_shot s;
  segment_part p = {0, 0, W, H, 0};
  s.image.width = W; s.image.height = H; s.image.planes = planes; s.mask = mask;
  for (i = 0; i < 3 * N; i++) planes[i] = (unsigned char)(i * 3);
  for (i = 0; i < N; i++) mask[i] = (unsigned char)(i % 5);
  p.x = 1; p.w = 4; /* a square part at its own size: the same bytes */
  CHECK(segment_cut(&s, &p, 4, out, label));
  for (y = 0; y < 4; y++) {
    for (x = 0; x < 4; x++) {
      CHECK(out[16 + y * 4 + x] == planes[N + y * W + 1 + x]);
      CHECK(label[y * 4 + x] == mask[y * W + 1 + x] - 1);
    }
  }
  p.mirror = 1;
  CHECK(segment_cut(&s, &p, 4, out, label));
  for (y = 0; y < 4; y++) {
    for (x = 0; x < 4; x++) {
      CHECK(out[32 + y * 4 + x] == planes[2 * N + y * W + 4 - x]);
      CHECK(label[y * 4 + x] == mask[y * W + 4 - x] - 1);
    }
  }
  p = segment_whole(&s); /* squeezed to a square: the nearest pixel's class */
  CHECK(segment_cut(&s, &p, 2, out, label));
  CHECK(label[0] == mask[1 * W + 1] - 1 && label[3] == mask[3 * W + 4] - 1);
  for (i = 0; i < 300; i++) {
    segment_part a = segment_random(&s, 1, (uint64_t)i), b = segment_random(&s, 1, (uint64_t)i);
    CHECK(a.x >= 0 && a.y >= 0 && a.x + a.w <= W && a.y + a.h <= H && a.w >= 4 && a.h >= 3);
    CHECK(memcmp(&a, &b, sizeof a) == 0);
  }
}

/* ---- Learning -------------------------------------------------------------------------------- */

static bdpt_model *tiny(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 24; c.patch = 6; c.width = 16; c.depth = 2; c.heads = 2; c.classes = GEN_SCENE_CLASSES;
  return bdpt_model_create(&ctx, &c, 4);
}

/* A run that is stopped after its first step and taken up again ends with the same weights. */
TEST(stopping_changes_nothing) {
  char hash[2][17];
  segment_set train, test;
  static segment_score before, after;
  int run, k;
  segment_open_scenes(10, 3, 0, 24, &train);
  segment_open_scenes(6, 3, 1, 24, &test);
  for (run = 0; run < 2; run++) {
    bdpt_model *m = tiny();
    segment_run r;
    memset(&r, 0, sizeof r);
    r.recipe.epochs = 8; r.recipe.batch = 4; r.recipe.lr = 3e-3; r.recipe.seed = 2;
    r.checkpoint = DIR_ "/run.ckpt"; r.quiet = r.json = 1;
    remove(r.checkpoint);
    CHECK(segment_judge(m, &test, NULL, 1, &before) == BDPT_OK);
    for (k = 0; k < run; k++) {
      cli_stop = 1;
      CHECK(segment_train(m, &train, &r) == BDPT_CANCELLED);
      CHECK(cli_file_exists(r.checkpoint));
      bdpt_model_free(m);
      m = tiny();
    }
    cli_stop = 0;
    CHECK(segment_train(m, &train, &r) == BDPT_OK);
    CHECK(segment_judge(m, &test, m, 1, &after) == BDPT_OK);
    CHECK(after.accuracy > before.accuracy && after.pictures == 6 && after.ms > 0);
    CHECK(before.faster == 0 && after.faster > 0.2 && after.faster < 5 && after.ms_beside > 0);
    bdpt_model_hash(m, hash[run]);
    bdpt_model_free(m);
  }
  CHECK(strcmp(hash[0], hash[1]) == 0);
}

TEST(a_bad_picture_stops_the_run) {
  segment_set set;
  static segment_score score;
  bdpt_model *m;
  bdpt_config c;
  segment_run r;
  memset(&r, 0, sizeof r); memset(&c, 0, sizeof c);
  c.image = 24; c.patch = 6; c.width = 16; c.depth = 1; c.heads = 2; c.classes = 3;
  m = bdpt_model_create(&ctx, &c, 1);
  put(DIR_ "/bad/images/training/x.ppm", "P6\n2 1\n255\nabcdef", 17);
  put(DIR_ "/bad/annotations/training/x.pgm", "P5\n2 1\n255\n\1\4", 13);
  CHECK(segment_open_folder(&ctx, DIR_ "/bad", "training", 3, &set) == BDPT_OK);
  r.recipe.batch = 1; r.recipe.epochs = 1; r.quiet = 1; r.checkpoint = DIR_ "/bad.ckpt";
  CHECK(segment_train(m, &set, &r) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "annotations/training/x.pgm: value 4");
  bdpt_clear_error(&ctx);
  CHECK(segment_judge(m, &set, NULL, 1, &score) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "annotations/training/x.pgm: value 4");
  bdpt_clear_error(&ctx);
  segment_set_free(&set);
  bdpt_model_free(m);
}

/* ---- Judging --------------------------------------------------------------------------------- */

TEST(scores_by_hand) {
  static segment_score s;
  const unsigned char truth[8] = {1, 1, 1, 2, 2, 0, 3, 0}, said[8] = {1, 1, 2, 2, 2, 1, 2, 4};
  memset(&s, 0, sizeof s);
  segment_count(&s, truth, said, 8);
  segment_sum(&s, 4);
  CHECK(s.pixels == 6 && s.pictures == 1);
  CHECK_CLOSE(s.iou[0], 100 * 2.0 / 3, 1e-12); /* 2 of 3, nothing else was called 1 */
  CHECK_CLOSE(s.iou[1], 100 * 2.0 / 4, 1e-12);
  CHECK(s.iou[2] == 0 && s.iou[3] != s.iou[3]); /* missed; and one that does not occur */
  CHECK_CLOSE(s.mean, 100 * (2.0 / 3 + 0.5) / 3, 1e-12);
  CHECK_CLOSE(s.accuracy, 100 * 4.0 / 6, 1e-12);
}

TEST(pixels_are_the_librarys) {
  enum { GRID = 5, K = 4, W = 23, H = 17 };
  const size_t shape[3] = {1, GRID * GRID, K};
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_tensor *x = bdpt_input(t, 3, shape, NULL, 0), *y;
  unsigned char said[W * H];
  bdpt_real line[GRID * K];
  size_t i, k;
  int wrong = 0, met = 0;
  gen_rng r = {5};
  for (i = 0; i < x->count; i++) x->data[i] = (bdpt_real)gen_pick(&r, -1000, 1000) / 100;
  y = bdpt_upsample(t, x, GRID, H, W);
  segment_decide(x->data, GRID, K, W, H, said, line);
  for (i = 0; i < W * H; i++) {
    const bdpt_real *z = y->data + i * K;
    size_t best = 0;
    for (k = 1; k < K; k++) if (z[k] > z[best]) best = k;
    wrong += !(z[said[i] - 1] >= z[best] - (bdpt_real)1e-4); /* rounding may turn a tie */
    met |= 1 << said[i];
  }
  CHECK(wrong == 0 && met == 2 + 4 + 8 + 16);
  bdpt_tape_free(t);
}

/* ---- Pictures out ---------------------------------------------------------------------------- */

static size_t word(const unsigned char *p) {
  return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Reads what png.c writes, and nothing else: checks every length and checksum on the way. */
static int png_read(const unsigned char *p, size_t size, unsigned char *rgb, size_t width,
                    size_t height) {
  size_t at = 8, length, line = 3 * width + 1, done = 0, i;
  unsigned long a = 1, b = 0;
  if (size < 57 || memcmp(p, "\x89PNG\r\n\x1a\n", 8) != 0 || word(p + 8) != 13) return 0;
  if (word(p + 16) != width || word(p + 20) != height || p[24] != 8 || p[25] != 2) return 0;
  if (word(p + 29) != png_crc(p + 12, 17)) return 0;
  at = 33;
  length = word(p + at);
  if (memcmp(p + at + 4, "IDAT", 4) != 0 || size != at + 12 + length + 12) return 0;
  if (word(p + at + 8 + length) != png_crc(p + at + 4, length + 4)) return 0;
  if (memcmp(p + at + 12 + length, "\0\0\0\0IEND\xae\x42\x60\x82", 12) != 0) return 0;
  at += 10;
  if ((p[at - 2] * 256 + p[at - 1]) % 31 != 0 || (p[at - 2] & 15) != 8) return 0; /* zlib's head */
  while (done < line * height) {
    size_t n = (size_t)p[at + 1] | (size_t)p[at + 2] << 8;
    if ((p[at + 3] ^ p[at + 1]) != 255 || (p[at + 4] ^ p[at + 2]) != 255 || n == 0) return 0;
    if (p[at] != (done + n == line * height)) return 0;
    for (i = 0, at += 5; i < n; i++, at++, done++) {
      a = (a + p[at]) % 65521; b = (b + a) % 65521;
      if (done % line) rgb[done / line * (line - 1) + done % line - 1] = p[at];
      else if (p[at] != 0) return 0;
    }
  }
  return word(p + at) == (b << 16 | a);
}

TEST(png_can_be_read) {
  static const size_t sizes[4][2] = {{1, 1}, {3, 2}, {200, 150}, {7, 6000}};
  size_t k, i, size = 0;
  CHECK(png_crc((const unsigned char *)"123456789", 9) == 0xcbf43926u);
  for (k = 0; k < 4; k++) {
    size_t w = sizes[k][0], h = sizes[k][1], n = 3 * w * h;
    unsigned char *rgb = (unsigned char *)malloc(n), *back = (unsigned char *)calloc(n, 1), *file;
    for (i = 0; i < n; i++) rgb[i] = (unsigned char)(i * i / 7 + i);
    file = png_build(rgb, w, h, &size);
    CHECK(file && png_read(file, size, back, w, h) && memcmp(rgb, back, n) == 0);
#ifdef IMAGE_STB
    {
      picture p;
      char why[IMAGE_WHY];
      CHECK(image_decode(file, size, &p, why) && p.width == (int)w && p.height == (int)h);
      for (i = 0; i < n; i++) back[i] = p.planes[i % 3 * (w * h) + i / 3];
      CHECK(memcmp(rgb, back, n) == 0);
      image_free(&p);
    }
#endif
    free(rgb); free(back); free(file);
  }
}

TEST(base64) {
  static const char *const text[4] = {"", "TQ==", "TWE=", "TWFu"};
  size_t i;
  for (i = 0; i < 4; i++) {
    char *out = png_base64((const unsigned char *)"Man", i);
    CHECK(out && strcmp(out, text[i]) == 0);
    free(out);
  }
}

TEST(overlays_show_what_they_should) {
  enum { S = 6 };
  unsigned char planes[3 * S * S], mask[S * S], said[S * S], *p;
  unsigned char one[3], two[3];
  int grey;
  segment_shot shot;
  segment_sheet sheet = {NULL, 0, 0, 0};
  size_t i, right = S + SEGMENT_GAP; /* where the second panel begins */
  shot.image.width = shot.image.height = S; shot.image.planes = planes; shot.mask = mask;
  for (i = 0; i < 3 * S * S; i++) planes[i] = (unsigned char)i;
  for (i = 0; i < S * S; i++) {
    mask[i] = i % S < 3 ? 2 : 3;
    said[i] = 2;
  }
  mask[0] = 0;
  CHECK(segment_sheet_add(&sheet, &shot, said, 150, 1));
  CHECK(sheet.width == 3 * S + 2 * SEGMENT_GAP && sheet.height == S);
  p = sheet.rgb;
  CHECK(p[3 * 5] == planes[5] && p[3 * 5 + 2] == planes[2 * S * S + 5]);         /* the picture */
  CHECK(p[3 * right] == 30 && p[3 * right + 1] == 30 && p[3 * right + 2] == 30);  /* hatched */
  segment_colour(2, 150, one); segment_colour(3, 150, two);
  CHECK(memcmp(one, two, 3) != 0);
  i = 3 * ((size_t)sheet.width * 2 + right);
  grey = (299 * planes[12] + 587 * planes[48] + 114 * planes[84]) / 1000;
  CHECK(p[i] == (70 * one[0] + 30 * grey) / 100);
  CHECK(p[i + 3 * 2] < p[i] / 2); /* an edge is dark */
  CHECK(memcmp(p + i, p + i + 3 * right, 3) == 0); /* the answer agrees here */
  CHECK(segment_sheet_add(&sheet, &shot, said, 150, 1) && sheet.height == 2 * S + SEGMENT_GAP);
  free(sheet.rgb);
  for (i = 1; i < 150; i++) { /* no two neighbours look alike */
    int c, far = 0;
    segment_colour((int)i, 150, one); segment_colour((int)i + 1, 150, two);
    for (c = 0; c < 3; c++) far += abs(one[c] - two[c]);
    CHECK(far > 60);
  }
}

int main(void) {
  if (bdpt_init(&ctx) != BDPT_OK || !cli_make_folder(DIR_)) return 1;
  RUN(scenes_are_what_they_were);
  RUN(files_in_ade20ks_layout);
  RUN(bad_files_are_named);
  RUN(cutting_and_mirroring);
  RUN(stopping_changes_nothing);
  RUN(a_bad_picture_stops_the_run);
  RUN(scores_by_hand);
  RUN(pixels_are_the_librarys);
  RUN(png_can_be_read);
  RUN(base64);
  RUN(overlays_show_what_they_should);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("masks");
}
