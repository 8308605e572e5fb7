/* Pictures from files (pictures/images.c), folders of them as data (folder.c, input.c), and what is
 * in them (classify.c). PNG and JPEG are looked at if stb_image.h is installed; else the sentence
 * that says how to get it is. Works in build/test_images.d/. */
#define _POSIX_C_SOURCE 200809L
#include "../boundarydpt.h"
#include "../examples/tool/cli/json.h"
#include "../examples/tool/cli/system.h"
#include "../examples/tool/commands/classify.h"
#include "../examples/tool/commands/info.h"
#include "../examples/tool/files/export.h"
#include "../examples/tool/input.h"
#include "../examples/tool/json_read.h"
#include "../examples/tool/pictures/trivial.h"
#include "test.h"
#include "fixture.h"
#include "resize.h"

#define WORK "build/test_images.d"
#define CORPUS "tests/corpus/image/"

static char why[IMAGE_WHY];
static picture got;

static int decode(const void *bytes, size_t size) {
  unsigned char *copy = (unsigned char *)malloc(size + 1); /* reading past the end is seen */
  int ok;
  if (size) memcpy(copy, bytes, size);
  image_free(&got);
  why[0] = 0;
  ok = image_decode(copy, size, &got, why);
  free(copy);
  return ok;
}

static int text(const char *s) { return decode(s, strlen(s)); }

/* Reads a file of the corpus into memory. */
static unsigned char *corpus(const char *name, size_t *size) {
  char path[200];
  unsigned char *bytes;
  FILE *f;
  snprintf(path, sizeof path, "%s%s", CORPUS, name);
  f = fopen(path, "rb");
  *size = 0;
  if (!CHECK(f != NULL)) return NULL;
  bytes = image_slurp(f, size, why);
  fclose(f);
  return bytes;
}

static int decode_file(const char *name) {
  size_t size;
  unsigned char *bytes = corpus(name, &size);
  int ok = bytes && decode(bytes, size);
  free(bytes);
  return ok;
}

/* -------------------------------------------------------------------------------------------------
 * PPM
 * ---------------------------------------------------------------------------------------------- */

/* Returns 1 if the planes are those of a picture of 3 x 1 with red 1 2 3, green 4 5 6 and so on. */
static int is_123(void) {
  static const unsigned char want[9] = {1, 4, 7, 2, 5, 8, 3, 6, 9};
  return got.width == 3 && got.height == 1 && got.planes && memcmp(got.planes, want, 9) == 0;
}

TEST(ppm) {
  CHECK(text("P6 3 1 255\n\1\2\3\4\5\6\7\10\11") && is_123());
  CHECK(text("P6\n#comment 9 9\n3#\n 1\r\n255 \1\2\3\4\5\6\7\10\11 and more") && is_123());
  CHECK(text("P3 3 1 255 1 2 3 4\n5 6 # seven\n7 8 9") && is_123());
  CHECK(text("P6 1 3 255\t\1\2\3\4\5\6\7\10\11") && got.width == 1 && got.height == 3);
  CHECK(text("P5 2 1 255\n\7\10") && got.planes[0] == 7 && got.planes[1] == 8 &&
        got.planes[2] == 7 && got.planes[5] == 8);
  CHECK(decode("P6 1 1 255\n\0\0\377", 14) && got.planes[0] == 0 && got.planes[2] == 255);
  CHECK(decode_file("p6.ppm") && got.width == 9 && got.height == 7 && got.planes[1] == 28 &&
        got.planes[63 + 9] == 36 && got.planes[2 * 63] == 60);
}

TEST(ppm_refused) {
  static const struct { const char *file, *says; } bad_file[] = {
    {"P6 3 1 65535\n123456789012345678", "65535"}, {"P6 3 1 15\n123456789", "largest value"},
    {"P6 3 1 256\n123456789", "only 255"}, {"P6 0 1 255\n", "0 x 1"}, {"P6 -3 1 255\n", "three"},
    {"P6 3 1 255\n12345678", "9 bytes"}, {"P6 3 1 255", "cut off"}, {"P6 3 1", "first lines"},
    {"P6 3 x 255\n123456789", "three numbers"}, {"P6 # 3 1 255\n", "first lines"},
    {"P6 3 1 255x123456789", "white space"}, {"P6 99999999999999999999 1 255\n", "pixels"},
    {"P6 65535 65535 255\n", "at most"}, {"P6 65536 1 255\n", "at most"},
    {"P6 1 65536 255\n", "at most"}, {"P5 8192 8193 255\n", "at most"},
    {"P5 8192 8192 255\n", "cut off"},
    {"P3 3 1 255 1 2 3 4 5 6 7 8 256", "between 0 and 255"}, {"P3 1 1 255 1 x 22", "between 0"},
    {"P3 1 1 255 1    2", "middle"}, {"P3 3 1 255 1 2", "cut off"}, {"P63 1 255\n", "no PPM"},
    {"P2 1 1 255 7", "P2"}, {"P4 1 1 7", "PBM"}, {"P7\n", "PAM"}, {"GIF89a", "a GIF"},
    {"<!DOCTYPE html>", "web page"}, {"version https://git-lfs", "git-lfs"}, {"", "empty"},
    {"hello", "no PPM, PNG or JPEG"}, {"RIFF1234WEBP", "WebP"}, {"P", "no PPM"}};
  size_t i;
  for (i = 0; i < sizeof bad_file / sizeof bad_file[0]; i++) {
    CHECK(!text(bad_file[i].file) && !got.planes);
    if (!test_check(strstr(why, bad_file[i].says) != NULL, bad_file[i].says, __FILE__, __LINE__))
      printf("  of %.30s: %s\n", bad_file[i].file, why);
  }
}

/* Checks that every beginning of a file is refused and every single wrong bit is survived. */
static void cut_and_flip(const unsigned char *bytes, size_t size, size_t whole) {
  unsigned char *copy = (unsigned char *)malloc(size + 1);
  size_t i, wrong = 0, silent = 0;
  for (i = 0; i < whole; i++) {
    if (decode(bytes, i)) wrong++;
    else if (!why[0]) silent++;
  }
  for (i = 0; i < 8 * size && i < 8 * 300; i++) {
    memcpy(copy, bytes, size);
    copy[i / 8] ^= (unsigned char)(1 << i % 8);
    if (!decode(copy, size) && !why[0]) silent++;
    if (got.planes && (got.width < 1 || got.height < 1)) wrong++;
  }
  CHECK(wrong == 0);
  CHECK(silent == 0);
  free(copy);
}

TEST(ppm_hostile) {
  static const char six[] = "P6 # c\n3 2 255\n123456789abcdefghi", five[] = "P5 2 3 255 123456";
  static const char three[] = "P3 2 1 255 1 2 3 4 5 6";
  cut_and_flip((const unsigned char *)six, sizeof six - 1, sizeof six - 1);
  cut_and_flip((const unsigned char *)five, sizeof five - 1, sizeof five - 1);
  cut_and_flip((const unsigned char *)three, sizeof three - 1, sizeof three - 1);
}

/* -------------------------------------------------------------------------------------------------
 * PNG and JPEG
 * ---------------------------------------------------------------------------------------------- */

#ifdef IMAGE_STB
static int same_as(const picture *want) {
  return got.planes && got.width == want->width && got.height == want->height &&
         memcmp(got.planes, want->planes, (size_t)want->width * (size_t)want->height * 3) == 0;
}

/* Returns the largest difference of a byte. */
static int distance(const picture *want) {
  size_t i, n = (size_t)want->width * (size_t)want->height * 3;
  int most = 0, d;
  if (!got.planes || got.width != want->width || got.height != want->height) return 999;
  for (i = 0; i < n; i++) {
    d = abs(got.planes[i] - want->planes[i]);
    if (d > most) most = d;
  }
  return most;
}

TEST(png) {
  static const char *const same[] = {"rgb.png", "filters.png", "alpha.png", "rgb16.png"};
  picture want;
  unsigned char *bytes;
  size_t i;
  decode_file("p6.ppm");
  want = got;
  got.planes = NULL;
  for (i = 0; i < 4; i++) CHECK(decode_file(same[i]) && same_as(&want));
  CHECK(decode_file("grey.png") && got.planes[5] == got.planes[5 + 63]);
  CHECK(decode_file("palette.png") && got.width == 9);
  CHECK(decode_file("bits.png") && (got.planes[0] == 0 || got.planes[0] == 255));
  CHECK(decode_file("grey-alpha.png") && got.height == 7);
  CHECK(decode_file("adam7.png") && got.planes[0] == 0x10 && got.planes[3] == 0x40);
  /* A wrong checksum: of the size, refused; of the pixels' chunk, read, as Pillow does both. */
  bytes = corpus("rgb.png", &i);
  bytes[8 + 8 + 13] ^= 1;
  image_free(&got);
  CHECK(!image_decode(bytes, i, &got, why));
  CHECK_HAS(why, "wrong checksum");
  bytes[8 + 8 + 13] ^= 1;
  bytes[i - 12 - 1] ^= 1; /* IEND has 12 bytes */
  CHECK(image_decode(bytes, i, &got, why) && same_as(&want));
  image_free(&got);
  free(bytes);
  CHECK(!decode_file("huge.png"));
  CHECK_HAS(why, "30000 x 30000");
  CHECK(!decode_file("thin.png"));
  CHECK_HAS(why, "do not fit");
  CHECK(!decode_file("broken.png"));
  CHECK_HAS(why, "cut off");
  image_free(&want);
}

TEST(jpeg) {
  static const char *const near[] = {"rgb.jpg", "half.jpg", "progressive.jpg", "restart.jpg"};
  static const int allowed[] = {20, 90, 90, 90}; /* colours are blurred by half sampling */
  double tint[3] = {0, 0, 0};
  int wrong = 0;
  picture want;
  size_t i;
  decode_file("rgb-as-ppm.ppm");
  want = got;
  got.planes = NULL;
  for (i = 0; i < 4; i++) {
    CHECK(decode_file(near[i]));
    CHECK_CLOSE(distance(&want), 0, allowed[i]);
  }
  /* Halved colours as Pillow decodes them: its rounding in each step, so no tint is left. */
  decode_file("half-as-ppm.ppm");
  image_free(&want);
  want = got;
  got.planes = NULL;
  CHECK(decode_file("half.jpg"));
  CHECK_CLOSE(distance(&want), 0, 2);
  for (i = 0; i < 3 * 24 * 17; i++) {
    int off = got.planes[i] - want.planes[i];
    tint[i / (24 * 17)] += (double)off / (24 * 17);
    wrong += off != 0;
  }
  CHECK(wrong <= 30);
  for (i = 0; i < 3; i++) CHECK_CLOSE(tint[i], 0, 0.03);
  CHECK(decode_file("grey.jpg") && got.planes[7] == got.planes[7 + 24 * 17]);
  CHECK(decode_file("cmyk.jpg") && got.width == 24);
  CHECK(!decode_file("bomb.jpg"));
  CHECK_HAS(why, "8000 x 8000");
  image_free(&want);
}

/* Returns the Orientation in a JPEG or PNG file whose Exif data begin so and have `side`; 0
 * none. */
static int side_of(const char *file, const char *tiff, int side, int cut) {
  static const unsigned char intel[26] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0,
                                          0, 9, 0}, motorola[26] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0,
                                          1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 9};
  const int png = strstr(file, "png") != NULL;
  const size_t at = png ? 33 : 2, extra = png ? 38 : 36;
  unsigned char *bytes, *with;
  size_t size;
  int found = -1, ok;
  bytes = corpus(file, &size);
  with = (unsigned char *)malloc(size + 40);
  if (!bytes || !with) return -1;
  memset(with, 0, size + 40);
  memcpy(with, bytes, at);
  if (png) memcpy(with + at, "\0\0\0\x1a" "eXIf", 8);
  else memcpy(with + at, "\xFF\xE1\0\x22" "Exif\0\0", 10);
  memcpy(with + at + (png ? 8 : 10), tiff[0] == 'I' ? intel : motorola, 26);
  with[at + (png ? 8 : 10) + (tiff[0] == 'I' ? 18 : 19)] = (unsigned char)side;
  if (png) memset(with + at + 34, 0, 4);
  memcpy(with + at + extra, bytes + at, size - at);
  image_free(&got);
  ok = cut ? 0 : image_decode(with, size + extra, &got, why);
  if (ok) found = got.side;
  if (cut) found = image_exif(with, at + extra - (size_t)cut);
  if (!cut && ok && !png) CHECK(image_exif(with, size + extra) == found);
  free(bytes);
  free(with);
  return found;
}

TEST(exif) {
  /* A picture of 3 x 2, and what Pillow's exif_transpose makes of it. */
  static const char *const turned[9] = {"abcdef", "abcdef", "cbafed", "fedcba", "defabc", "adbecf",
                                        "daebfc", "fcebda", "cfbead"};
  int side, c;
  for (side = 0; side <= 8; side++) {
    picture p = {3, 2, NULL, 0};
    p.side = side;
    p.planes = (unsigned char *)malloc(18);
    for (c = 0; c < 3; c++) memcpy(p.planes + 6 * c, "abcdef", 6);
    CHECK(image_turn(&p, why) && p.width == (side > 4 ? 2 : 3) && p.height == (side > 4 ? 3 : 2));
    for (c = 0; c < 3; c++) CHECK(memcmp(p.planes + 6 * c, turned[side], 6) == 0);
    CHECK(image_turn(&p, why) && memcmp(p.planes, turned[side], 6) == 0); /* once */
    image_free(&p);
  }
  CHECK(decode_file("rgb.jpg") && got.side == 0);
  for (side = 1; side <= 8; side++) {
    CHECK(side_of("rgb.jpg", "II", side, 0) == side);
    CHECK(side_of("rgb.jpg", "MM", side, 0) == side);
  }
  CHECK(side_of("rgb.jpg", "II", 9, 0) == 0 && side_of("rgb.jpg", "MM", 0, 0) == 0);
  for (c = 1; c < 36; c++) CHECK(side_of("rgb.jpg", "II", 6, c) <= 6); /* cut off */
}

/* GCC's sanitizer stops at shifts inside stb_image that lose bits which are lost already. */
#if !defined(__SANITIZE_ADDRESS__) || defined(__clang__)
TEST(png_and_jpeg_hostile) {
  static const char *const file[] = {"rgb.png", "palette.png", "adam7.png", "rgb.jpg", "half.jpg",
                                     "progressive.jpg", "restart.jpg"};
  size_t i, size;
  for (i = 0; i < 7; i++) {
    unsigned char *bytes = corpus(file[i], &size);
    cut_and_flip(bytes, size, size - 2); /* a JPEG ends with FF D9 */
    free(bytes);
  }
}
#endif

/* What stb_image 2.27 does not check is checked: symbols of a Huffman table, the length of a
 * chunk. */
TEST(stb_guards) {
  size_t size, i, count = 0;
  unsigned char *bytes = corpus("rgb.jpg", &size);
  for (i = 2; i + 21 < size; i++)
    if (bytes[i] == 0xFF && bytes[i + 1] == 0xC4) {
      unsigned char keep[2];
      memcpy(keep, bytes + i + 19, 2);
      CHECK(image_jpeg_tables(bytes, size));
      memset(bytes + i + 19, 255, 2); /* so many codes of 15 and of 16 bits */
      CHECK(!image_jpeg_tables(bytes, size));
      CHECK(!decode(bytes, size));
      CHECK_HAS(why, "256 symbols");
      memcpy(bytes + i + 19, keep, 2);
      count++;
    }
  CHECK(count > 0);
  free(bytes);
  bytes = corpus("rgb.png", &size);
  CHECK(image_png_whole(bytes, size));
  bytes[8] = 0x7F; /* the first chunk: 2 GB */
  CHECK(!image_png_whole(bytes, size));
  CHECK(!decode(bytes, size));
  CHECK_HAS(why, "end mark");
  free(bytes);
  CHECK(image_stb_malloc(image_stb_most() + 1) == NULL);
  CHECK(image_stb_realloc(NULL, image_stb_most() + 1) == NULL);
}
#else
TEST(without_stb) {
  CHECK(!decode_file("rgb.png"));
  CHECK_HAS(why, "libstb-dev");
  CHECK_HAS(why, "PNG");
  CHECK(!decode_file("rgb.jpg"));
  CHECK_HAS(why, "JPEG");
}
#endif

/* -------------------------------------------------------------------------------------------------
 * To the network's input
 * ---------------------------------------------------------------------------------------------- */

/* The sizes are those of torchvision's Resize and CenterCrop; the corner rounds half to even. */
TEST(sizes) {
  static const int row[][5] = { /* width, height, S -> width, height before the crop */
    {500, 375, 224, 341, 256}, {375, 500, 224, 256, 341}, {224, 224, 224, 256, 256},
    {333, 500, 384, 438, 657}, {97, 140, 224, 256, 369}, {32, 32, 32, 36, 36}, {9, 7, 1, 1, 1}};
  static const int corner[][3] = {{341, 224, 58}, {343, 224, 60}, {256, 224, 16}, {225, 224, 0},
                                  {227, 224, 2}, {224, 224, 0}};
  size_t i;
  int w, h;
  image_plan plan;
  picture p = {0, 0, NULL, 0};
  for (i = 0; i < sizeof row / sizeof row[0]; i++) {
    p.width = row[i][0]; p.height = row[i][1];
    plan = image_plan_of(row[i][2], row[i][2], IMAGE_CROP);
    CHECK(image_target(&p, &plan, &w, &h, why));
    CHECK(w == row[i][3] && h == row[i][4]);
    plan = image_plan_of(row[i][2], row[i][2], IMAGE_WHOLE);
    CHECK(image_target(&p, &plan, &w, &h, why));
    CHECK(w == row[i][2] && h == row[i][2]);
  }
  for (i = 0; i < sizeof corner / sizeof corner[0]; i++)
    CHECK(image_corner(corner[i][0], corner[i][1]) == corner[i][2]);
  p.width = 65535; p.height = 1;
  plan = image_plan_of(224, 224, IMAGE_CROP);
  CHECK(!image_target(&p, &plan, &w, &h, why));
  CHECK_HAS(why, "too long");
}

/* Resize and crop by hand agree with image_fit; so does the whole picture. */
TEST(fit) {
  bdpt_context own;
  unsigned char *full = (unsigned char *)malloc(3 * 18 * 25), out[3 * 16 * 16], want[3 * 16 * 16];
  int c, y, x;
  memset(&own, 0, sizeof own);
  bdpt_init(&own);
  decode_file("rgb-as-ppm.ppm"); /* 24 x 17; 18 x 25 for S = 16 */
  resized(&own, got.planes, (int[2]){17, 24}, full, (int[2]){18, 25});
  for (c = 0; c < 3; c++)
    for (y = 0; y < 16; y++)
      for (x = 0; x < 16; x++) want[(c * 16 + y) * 16 + x] = full[(c * 18 + y + 1) * 25 + x + 4];
  CHECK(image_fit(&got, 16, IMAGE_CROP, out, why) && memcmp(out, want, sizeof out) == 0);
  resized(&own, got.planes, (int[2]){17, 24}, want, (int[2]){16, 16});
  CHECK(image_fit(&got, 16, IMAGE_WHOLE, out, why) && memcmp(out, want, sizeof out) == 0);
  free(full);
  bdpt_finish(&own);
}

/* -------------------------------------------------------------------------------------------------
 * Folders
 * ---------------------------------------------------------------------------------------------- */

/* Draws a picture of w x h whose colour depends on the number. */
static void draw(const char *dir, const char *name, int w, int h, int number) {
  char path[300];
  int i;
  FILE *f;
  cli_make_folder(dir);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  f = fopen(path, "wb");
  if (!CHECK(f != NULL)) return;
  fprintf(f, "P6 %d %d 255\n", w, h);
  for (i = 0; i < 3 * w * h; i++) fputc((i * 7 + number * 31) % 256, f);
  fclose(f);
}

static void write_text(const char *path, const char *s) {
  FILE *f = fopen(path, "wb");
  if (!CHECK(f != NULL)) return;
  fputs(s, f);
  fclose(f);
}

#ifdef _WIN32
#define REMOVE_ALL "if exist build\\test_images.d rmdir /s /q build\\test_images.d"
#else
#define REMOVE_ALL "rm -rf " WORK
#endif

/* Draws all folders: train with b 3 pictures, a 2, C 2 (sorted C, a, b); val with one each. */
static void draw_all(void) {
  static const char *const name[] = {"b", "a", "C"};
  char dir[200], file[40];
  int k, i;
  CHECK(system(REMOVE_ALL) == 0);
  for (k = 0; k < 3; k++) {
    snprintf(dir, sizeof dir, WORK "/set/train/%s", name[k]);
    for (i = 0; i < 2 + (k == 0); i++) {
      snprintf(file, sizeof file, "%d.%s", 9 - i, i ? "PPM" : "ppm");
      draw(dir, file, 10 + i, 12 + k, 10 * k + i);
    }
    snprintf(dir, sizeof dir, WORK "/set/val/%s", name[k]);
    draw(dir, "x.ppm", 14, 9, k);
    snprintf(dir, sizeof dir, WORK "/flat/%s", name[k]);
    for (i = 0; i < 4; i++) {
      snprintf(file, sizeof file, "%d.ppm", i);
      draw(dir, file, 8, 8, 100 + 10 * k + i);
    }
  }
  write_text(WORK "/set/train/a/notes.txt", "no picture");
  write_text(WORK "/set/train/readme", "no folder");
  write_text(WORK "/set/train/a/.hidden.ppm", "not looked at");
}

static bdpt_context ctx;

static bdpt_status open_data(input *in, const char *data, int holdout, int parts) {
  input_source from;
  memset(&from, 0, sizeof from);
  from.data = data;
  from.holdout = holdout;
  from.quiet = 1;
  bdpt_clear_error(&ctx);
  return input_open(in, &ctx, &from, parts);
}

static void refuses(const char *data, int holdout, int parts, const char *says) {
  input in;
  CHECK(open_data(&in, data, holdout, parts) != BDPT_OK);
  input_close(&in);
  if (!test_check(strstr(ctx.message, says) != NULL, says, __FILE__, __LINE__))
    printf("  %s\n", ctx.message);
  bdpt_clear_error(&ctx);
}

TEST(listing) {
  static const int label[] = {0, 0, 1, 1, 2, 2, 2};
  static const char *const file[] = {"8.PPM", "9.ppm", "8.PPM", "9.ppm", "7.PPM", "8.PPM", "9.ppm"};
  char path[2000] = "";
  folder f;
  size_t i;
  CHECK(folder_list(&f, WORK "/set/train", 0));
  CHECK(f.classes.count == 3 && f.files.count == 7 && f.ignored == 2);
  CHECK(strcmp(folder_name(&f.classes, 0), "C") == 0);
  CHECK(strcmp(folder_name(&f.classes, 2), "b") == 0);
  for (i = 0; i < 7 && i < f.files.count; i++)
    CHECK(f.label[i] == label[i] && strcmp(folder_name(&f.files, i), file[i]) == 0);
  folder_free(&f);
  memset(path, 'x', sizeof path - 1); /* of which no more is said than leaves room for the reason */
  CHECK(!folder_list(&f, path, 0) && strlen(f.why) < 400);
  CHECK_HAS(f.why, "xxx: the path is too long");
  CHECK(folder_is_picture("x.JPEG") && folder_is_picture("x.y.png") && folder_is_picture("a.Jpg"));
  CHECK(!folder_is_picture(".png") && !folder_is_picture("x.gif") && !folder_is_picture("xpng"));
}

TEST(imagenet_layout) {
  input in;
  bdpt_subset all;
  bdpt_config c;
  bdpt_real images[7 * 3 * 16 * 16];
  unsigned char planes[3 * 16 * 16], other[3 * 16 * 16];
  int labels[7], turn;
  size_t i;
  picture p;
  image_plan plan;
  bdpt_model *m;
  CHECK(open_data(&in, WORK "/set", -1, INPUT_TRAIN | INPUT_TEST) == BDPT_OK);
  CHECK(strcmp(in.name, "folder") == 0);
  CHECK(in.train.count == 7 && in.train.classes == 3 && in.test.count == 3);
  CHECK(in.held.count == 3 && in.rest.count == 4 && in.tested.count == 3);
  memset(&c, 0, sizeof c);
  c.image = 16; c.patch = 4; c.width = 8; c.heads = 1; c.depth = 1; c.classes = 3;
  c.std[0] = c.std[1] = c.std[2] = 1;
  m = bdpt_model_create(&ctx, &c, 1);
  input_adopt(&in, m); /* knows nothing of its pictures: crop, and it says so */
  CHECK(in.train.width == 16 && in.test.height == 16);
  CHECK(strncmp(m->preprocessing, "folder: short side", 18) == 0);
  CHECK(bdpt_subset_all(&ctx, &in.train, &all) == BDPT_OK);
  CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 7, images, labels) == BDPT_OK);
  CHECK(labels[0] == 0 && labels[3] == 1 && labels[6] == 2);
  CHECK(image_read(WORK "/set/train/b/7.PPM", &p, why)); /* the fifth */
  CHECK(image_fit(&p, 16, IMAGE_CROP, planes, why));
  for (i = 0; i < sizeof planes; i++)
    if (fabs((double)images[4 * 768 + i] - planes[i] / 255.0) > 1e-6) break;
  CHECK(i == sizeof planes);
  /* Settings that came with the network decide in training and evaluation as in classify. */
  strcpy(m->preprocessing, "pictures: squash 20 bilinear crop 16");
  plan = image_plan_for(m, 0);
  CHECK(plan.squash == 1 && plan.size[0] == 20 && plan.filter == 2 && plan.crop[1] == 16);
  CHECK(image_apply(&p, &plan, other, why) && memcmp(other, planes, sizeof planes) != 0);
  for (turn = 0; turn < 2; turn++) {
    if (turn) input_adopt(&in, m);
    else input_fit(&in, m);
    CHECK(strcmp(m->preprocessing, "pictures: squash 20 bilinear crop 16") == 0);
    CHECK(bdpt_load_batch(&ctx, &c, &all, 0, 7, images, labels) == BDPT_OK);
    for (i = 0; i < sizeof other; i++)
      if (fabs((double)images[4 * 768 + i] - other[i] / 255.0) > 1e-6) break;
    CHECK(i == sizeof other);
  }
  bdpt_model_free(m);
  image_free(&p);
  bdpt_subset_free(&ctx, &all);
  input_close(&in);
}

TEST(divided_layout) {
  input in, again;
  size_t i, k;
  CHECK(open_data(&in, WORK "/flat", 1, INPUT_TRAIN | INPUT_TEST) == BDPT_OK);
  CHECK(in.train.count == 9 && in.test.count == 3 && in.held.count == 3);
  for (i = 0; i < 3; i++) CHECK(in.test.label[i] == i); /* one of each */
  for (i = 0; i < 9; i++) CHECK(in.train.label[i] == i / 3);
  for (i = 0; i < 9; i++) /* and none in both */
    for (k = 0; k < 3; k++)
      CHECK(in.train.label[i] != k || strcmp(folder_name(&in.shots[0].files, i),
                                             folder_name(&in.shots[1].files, k)) != 0);
  CHECK(open_data(&again, WORK "/flat", 1, INPUT_TEST) == BDPT_OK); /* the same ones, always */
  for (i = 0; i < 3; i++)
    CHECK(strcmp(folder_name(&in.shots[1].files, i), folder_name(&again.shots[1].files, i)) == 0);
  input_close(&again);
  input_close(&in);
  CHECK(open_data(&in, WORK "/flat", 0, INPUT_TEST) == BDPT_OK && in.test.count == 12);
  input_close(&in);
  CHECK(open_data(&in, WORK "/flat", 0, INPUT_TRAIN) == BDPT_OK && in.train.count == 12);
  input_close(&in);
}

/* A tenth of the smallest class is held out, of every class the same. */
TEST(unequal_classes) {
  input in;
  char name[20];
  int i;
  for (i = 0; i < 40; i++) {
    snprintf(name, sizeof name, "%d.pgm", i);
    draw(WORK "/unequal/many", name, 1, 1, i);
    if (i < 10) draw(WORK "/unequal/few", name, 1, 1, i);
  }
  CHECK(open_data(&in, WORK "/unequal", 0, INPUT_TRAIN) == BDPT_OK);
  CHECK(in.train.count == 50 && in.held.count == 2);
  input_close(&in);
}

TEST(folders_refused) {
  refuses(WORK "/flat", -1, INPUT_TEST, "--holdout N");
  refuses(WORK "/flat", 0, INPUT_TRAIN | INPUT_TEST, "--holdout N");
  refuses(WORK "/flat", 5, INPUT_TEST, "has 4 images, 5 wanted");
  refuses(WORK "/flat", 3, INPUT_TRAIN, "class C: one picture");
  refuses(WORK "/set", 2, INPUT_TEST, "has a val of its own");
  refuses(WORK "/nowhere", -1, INPUT_TEST, "nowhere");
  refuses(WORK "/nowhere", 2, INPUT_TEST, "class folders");
  refuses(WORK "/set/val/a", 1, INPUT_TEST, "no class folders");
  cli_make_folder(WORK "/half/train/a");
  draw(WORK "/half/train/b", "1.ppm", 8, 8, 1);
  refuses(WORK "/half", -1, INPUT_TRAIN, "half/train/a: no picture");
  refuses(WORK "/half", -1, INPUT_TEST, "half/val");
  draw(WORK "/half/val/b", "1.ppm", 8, 8, 1);
  draw(WORK "/half/val/c", "1.ppm", 8, 8, 1);
  refuses(WORK "/half", -1, INPUT_TEST, "a is in one of them only");
  draw(WORK "/half/train/a", "1.ppm", 8, 8, 1);
  refuses(WORK "/half", -1, INPUT_TRAIN | INPUT_TEST, "different classes");
  draw(WORK "/half/val/a", "1.ppm", 8, 8, 1);
  refuses(WORK "/half", -1, INPUT_TEST, "c is in one of them only");
  refuses(WORK "/half", -1, INPUT_TRAIN, "c is in one of them only"); /* before training */
}

/* Every filter makes of 9 x 9 numbers the 4 x 4 that Pillow 13 makes; and it takes the two columns
 * of 94 out of 200 where adding up the steps and multiplying them differ for the nearest one. */
TEST(filters) {
  static const unsigned char want[6][16] = {
    {128, 202, 20, 94, 54, 128, 202, 20, 236, 54, 128, 202, 162, 236, 54, 128},
    {86, 134, 135, 97, 119, 104, 127, 136, 125, 122, 103, 130, 157, 127, 115, 114},
    {96, 131, 125, 104, 107, 113, 130, 122, 134, 114, 112, 135, 152, 131, 111, 114},
    {90, 133, 131, 99, 112, 107, 130, 128, 131, 115, 108, 134, 157, 129, 112, 115},
    {65, 157, 122, 68, 121, 100, 136, 124, 136, 100, 129, 139, 190, 111, 119, 129},
    {87, 144, 123, 89, 100, 107, 147, 110, 146, 100, 120, 148, 167, 133, 105, 125}};
  static unsigned char pixel[3 * 200 * 200], out[3 * 94 * 94];
  image_plan plan = {1, {4, 4}, 0, {4, 4}};
  picture p = {9, 9, pixel, 0};
  int i, k;
  for (i = 0; i < 81; i++)
    for (k = 0; k < 3; k++) pixel[81 * k + i] = (unsigned char)(37 * (i % 9) + 91 * (i / 9));
  for (plan.filter = 0; plan.filter < 6; plan.filter++) {
    CHECK(image_apply(&p, &plan, out, why));
    for (k = 0; k < 3; k++) CHECK(memcmp(out + 16 * k, want[plan.filter], 16) == 0);
  }
  p.width = p.height = 200;
  for (i = 0; i < 3 * 200 * 200; i++) pixel[i] = (unsigned char)(i % 200);
  plan.filter = 0; plan.size[0] = plan.size[1] = plan.crop[0] = plan.crop[1] = 94;
  CHECK(image_apply(&p, &plan, out, why) && out[23] == 49 && out[70] == 149 && out[93] == 198);
}

static bdpt_config tiny(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 16; c.patch = 8; c.width = 8; c.heads = 2; c.depth = 2; c.classes = 3;
  return c;
}

/* Training and evaluation on pictures have the same bits for one thread and two. */
TEST(threads) {
  char hash[2][17] = {"", ""};
  double loss[2] = {0, 0};
  int t;
  for (t = 0; t < 2; t++) {
    bdpt_context own;
    bdpt_recipe r;
    bdpt_epoch epoch;
    bdpt_accuracy a;
    bdpt_config c = tiny();
    bdpt_model *m;
    input_source from = {WORK "/set", 0, -1, 0, 1, 0, 0};
    input in;
    memset(&own, 0, sizeof own);
    memset(&r, 0, sizeof r);
    own.threads = t + 1;
    bdpt_init(&own);
    r.batch = 2; r.epochs = 1; r.crop = 2; r.flip = 1; r.seed = 5;
    CHECK(input_open(&in, &own, &from, INPUT_TRAIN | INPUT_TEST) == BDPT_OK);
    m = bdpt_model_create(&own, &c, 1);
    input_adopt(&in, m);
    CHECK(bdpt_train(m, NULL, &(bdpt_run){&in.rest, &in.held, NULL}, &r, &epoch) == BDPT_OK);
    CHECK(bdpt_evaluate(m, &in.tested, &a) == BDPT_OK && a.count == 3);
    loss[t] = a.loss;
    bdpt_model_hash(m, hash[t]);
    CHECK(image_plan_for(m, 0).squash == 0);
    bdpt_model_free(m);
    input_close(&in);
    bdpt_finish(&own);
  }
  CHECK(strcmp(hash[0], hash[1]) == 0 && hash[0][0]);
  CHECK(loss[0] == loss[1] && loss[0] > 0);
}

/* One of the pictures is none: the error names the file and says what it is. */
TEST(unreadable) {
  input in;
  bdpt_config c = tiny();
  bdpt_model *m = bdpt_model_create(&ctx, &c, 1);
  bdpt_accuracy a;
  write_text(WORK "/set/val/a/x.ppm", "P6 14 9 255\nnot enough");
  CHECK(open_data(&in, WORK "/set", -1, INPUT_TEST) == BDPT_OK);
  input_fit(&in, m);
  CHECK(bdpt_evaluate(m, &in.tested, &a) == BDPT_E_IO);
  input_close(&in);
  CHECK_HAS(ctx.message, WORK "/set/val/a/x.ppm: ");
  CHECK_HAS(ctx.message, "cut off");
  CHECK(remove(WORK "/set/val/a/x.ppm") == 0);
  draw(WORK "/set/val/a", "x.ppm", 14, 9, 1);
  CHECK(open_data(&in, WORK "/set", -1, INPUT_TEST) == BDPT_OK);
  CHECK(remove(WORK "/set/val/a/x.ppm") == 0); /* it goes after it was listed */
  input_fit(&in, m);
  CHECK(bdpt_evaluate(m, &in.tested, &a) == BDPT_E_IO);
  input_close(&in);
  CHECK_HAS(ctx.message, "x.ppm: it cannot be opened");
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

/* -------------------------------------------------------------------------------------------------
 * Classes
 * ---------------------------------------------------------------------------------------------- */

TEST(top) {
  static const bdpt_real z[7] = {0, 3, 1, 3, -2, 2, 5}, two[2] = {1, 2};
  bdpt_real wrong[2] = {1, 0};
  int top[CLASSIFY_TOP];
  double share[CLASSIFY_TOP], sum = 0;
  int k;
  CHECK(classify_top(z, 7, top, share) == 5);
  CHECK(top[0] == 6 && top[1] == 1 && top[2] == 3 && top[3] == 5 && top[4] == 2);
  for (k = 0; k < 7; k++) sum += exp((double)z[k]);
  for (k = 0; k < 5; k++) CHECK_CLOSE(share[k], exp((double)z[top[k]]) / sum, 1e-12);
  CHECK(classify_top(two, 2, top, share) == 2 && top[0] == 1 && top[1] == 0);
  wrong[1] = (bdpt_real)INFINITY;
  CHECK(classify_top(wrong, 2, top, share) == 0);
}

/* Returns 0 if the labels were taken; the names are then checked by the caller through `c`. */
static int labelled(classify *c, bdpt_model *m, const char *file, const char *content) {
  if (content) write_text(file, content);
  bdpt_clear_error(&ctx);
  return classify_open(c, m, file, 0) != BDPT_OK;
}

TEST(labels) {
  bdpt_config config = tiny();
  bdpt_model *m = bdpt_model_create(&ctx, &config, 1);
  classify c;
  CHECK(labelled(&c, m, WORK "/l", "one\r\ntwo words\nthree\n\n") == 0);
  CHECK(strcmp(c.label[0], "one") == 0 && strcmp(c.label[1], "two words") == 0 &&
        strcmp(c.label[2], "three") == 0);
  CHECK(c.plan.squash); /* 16 pixels */
  classify_close(&c);
  CHECK(labelled(&c, m, WORK "/l", "one\ntwo") == 1);
  CHECK_HAS(ctx.message, "2 lines");
  classify_close(&c);
  CHECK(labelled(&c, m, WORK "/l", "1\n2\n3\n4\n") == 1);
  classify_close(&c);
  CHECK(labelled(&c, m, WORK "/l", "") == 1);
  classify_close(&c);
  CHECK(labelled(&c, m, WORK "/none", NULL) == 1);
  classify_close(&c);
  CHECK(labelled(&c, m, "cifar-100", NULL) == 1);
  CHECK_HAS(ctx.message, "100 classes");
  classify_close(&c);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_model_new_head(m, 100, 1) == BDPT_OK);
  CHECK(classify_open(&c, m, NULL, 0) == BDPT_OK && c.label == NULL);
  classify_close(&c);
  strcpy(m->preprocessing, "cifar-100: the whole image");
  CHECK(classify_open(&c, m, NULL, 0) == BDPT_OK && c.label && strcmp(c.label[99], "worm") == 0);
  classify_close(&c);
  CHECK(bdpt_model_new_head(m, 2, 1) == BDPT_OK); /* names of the network's own come first */
  CHECK(bdpt_model_label(m, "[\"a \\\"b\\\"\",\"\\u00e9\"]") == BDPT_OK);
  CHECK(classify_open(&c, m, NULL, 0) == BDPT_OK && c.label && strcmp(c.label[0], "a \"b\"") == 0);
  CHECK(c.label && strcmp(c.label[1], "\xc3\xa9") == 0);
  classify_close(&c);
  CHECK(bdpt_model_label(m, "[\"a\"]") == BDPT_OK); /* one of two */
  CHECK(classify_open(&c, m, NULL, 0) == BDPT_OK && !c.label);
  classify_close(&c);
  bdpt_model_free(m);
  config = tiny();
  config.image = 224; config.patch = 112;
  m = bdpt_model_create(&ctx, &config, 1);
  CHECK(image_plan_for(m, 0).squash == 0);
  strcpy(m->preprocessing, "cifar-100: the whole image");
  CHECK(image_plan_for(m, 0).squash == 1);
  bdpt_model_free(m);
}

/* -------------------------------------------------------------------------------------------------
 * config.json and the drawing
 * ---------------------------------------------------------------------------------------------- */

TEST(config_json) {
  bdpt_config c = tiny();
  bdpt_model *m;
  cli_json j = {NULL, 0, 0, 0, 0};
  json_reader r;
  json_event e;
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  c.block[0].mlp = 5;
  m = bdpt_model_create(&ctx, &c, 1);
  strcpy(m->certificate, "a \"quoted\" text, with \\");
  export_config(&j, m, "odd \\\" name.safetensors", EXPORT_TIMM);
  json_init(&r, j.text, j.used);
  while ((e = json_next(&r)) != JSON_END && e != JSON_ERROR) {}
  CHECK(e == JSON_END);
  CHECK_HAS(j.text, "\"drop_attn_list\": [1],\n");
  CHECK_HAS(j.text, "\"intermediate_size\": [5,32],\n");
  CHECK_HAS(j.text, "\"num_attention_heads\": 2,\n");
  CHECK_HAS(j.text, "\"model_type\": \"boundarydpt\"");
  CHECK(export_config_is_ours((unsigned char *)j.text, j.used, "odd \\\" name.safetensors"));
  CHECK(!export_config_is_ours((unsigned char *)j.text, j.used, "name.safetensors"));
  CHECK(!export_config_is_ours((const unsigned char *)"{\"a\":{\"weights_file\":\"x\"}}", 26, "x"));
  CHECK(!export_config_is_ours((const unsigned char *)"{\"weights_file\":\"x", 17, "x"));
  CHECK(!export_is_plain(&m->config));
  CHECK(strstr(j.text, "label_names") == NULL);
  free(j.text);
  memset(&j, 0, sizeof j);
  CHECK(bdpt_model_label(m, "[\"a\",\"b\",\"c\"]") == BDPT_OK);
  export_config(&j, m, "x", EXPORT_TIMM);
  CHECK_HAS(j.text, "\"label_names\": [\"a\",\"b\",\"c\"],");
  export_config(&j, m, "x", EXPORT_HF);
  CHECK_HAS(j.text, "\"id2label\": {\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"},");
  free(j.text);
  bdpt_model_free(m);
}

/* What --names hf writes is read as the same network, with no word about a key; and what
 * transformers has no class for is not written. */
TEST(written_and_read) {
  export_options o;
  checkpoint_report report;
  int i;
  memset(&o, 0, sizeof o);
  o.safetensors = WORK "/hf/model.safetensors";
  o.names = EXPORT_HF; o.dtype = BDPT_F32;
  CHECK(cli_make_folder(WORK) && cli_make_folder(WORK "/hf"));
  for (i = 0; i < 4; i++) {
    bdpt_config c = tiny();
    bdpt_model *m, *n;
    bdpt_bytes bytes[2] = {{NULL, 0}, {NULL, 0}};
    c.act = (bdpt_act)i; c.no_qkv_bias = i % 2; c.distilled = i / 2;
    c.image_width = i == 1 ? 2 * c.image : 0;
    m = bdpt_model_create(&ctx, &c, 7);
    strcpy(m->preprocessing, "pictures: shortest 20 bilinear crop 16");
    CHECK(bdpt_model_label(m, "[\"a\",\"b\",\"c\"]") == BDPT_OK);
    if (!CHECK(export_safetensors(m, &o) == BDPT_OK)) printf("  %s\n", ctx.message);
    n = checkpoint_load(&ctx, o.safetensors, NULL, &report);
    if (CHECK(n != NULL)) {
      CHECK(bdpt_model_build(m, &bytes[0]) == BDPT_OK);
      CHECK(bdpt_model_build(n, &bytes[1]) == BDPT_OK);
      CHECK(bytes[0].size == bytes[1].size);
      CHECK(memcmp(bytes[0].data, bytes[1].data, bytes[0].size) == 0);
      bdpt_bytes_free(&ctx, &bytes[0]);
      bdpt_bytes_free(&ctx, &bytes[1]);
      if (!CHECK(!report.note[0] && !report.guessed[0])) printf("%s\n", report.note);
    } else {
      printf("  %s\n", ctx.message);
    }
    bdpt_model_free(m);
    bdpt_model_free(n);
  }
  for (i = 0; i < 4; i++) {
    bdpt_config c = tiny();
    bdpt_model *m;
    if (i == 0) c.pool = BDPT_POOL_MEAN;
    if (i == 1) c.registers = 2;
    if (i == 2) c.pre_norm = 1;
    if (i == 3) c.headless = 1;
    m = bdpt_model_create(&ctx, &c, 7);
    CHECK(export_safetensors(m, &o) == BDPT_E_STATE);
    CHECK_HAS(ctx.message, "--names hf: transformers' ViT and DeiT have no removed");
    bdpt_clear_error(&ctx);
    bdpt_model_free(m);
  }
}

TEST(drawing) {
  bdpt_config c = tiny();
  bdpt_cost_report cost;
  char line[100];
  double macs = 0;
  int l;
  c.width = 32; c.heads = 4; c.mlp = 100;
  c.block[0].attention = BDPT_ATTENTION_FITTED;
  c.block[1].mlp_state = BDPT_MLP_FUSED;
  c.block[1].mlp_state = BDPT_MLP_LINEAR;
  c.depth = 3;
  c.block[2].attention = BDPT_ATTENTION_REMOVED;
  CHECK(bdpt_cost(&ctx, &c, &cost) == BDPT_OK && bdpt_config_resolve(&ctx, &c) == BDPT_OK);
  for (l = 0; l < 6; l++) macs += info_macs(&c, l / 2, l % 2);
  CHECK_CLOSE(macs + 3 * 64 * 32 * 4 + 32 * 3, cost.macs, 0.5); /* patches and head */
  c.no_class = 1; c.pool = BDPT_POOL_MEAN; c.registers = 3; c.image_width = 2 * c.image;
  CHECK(bdpt_cost(&ctx, &c, &cost) == BDPT_OK);
  for (l = 0, macs = 0; l < 6; l++) macs += info_macs(&c, l / 2, l % 2);
  CHECK_CLOSE(macs + 3 * 64 * 32 * 8 + 32 * 3, cost.macs, 0.5);
  info_bar(12, "3 x 4", line, sizeof line);
  CHECK(strcmp(line, "[= 3 x 4 ==]") == 0);
  info_bar(4, "fused", line, sizeof line);
  CHECK(strcmp(line, "[==] fused") == 0);
  info_bar(0, "removed: x", line, sizeof line);
  CHECK(strcmp(line, " . removed: x") == 0);
}

/* Sizes before the crop of inputs that are no squares are those of timm's ResizeKeepRatio. */
TEST(sizes_of_oblongs) {
  static const int pictures[5][2] = {{500, 375}, {375, 500}, {97, 140}, {640, 150}, {33, 32}};
  static const int nets[3][2] = {{64, 96}, {128, 64}, {48, 224}};
  picture p = {0, 0, NULL, 0};
  image_plan plan;
  char name[40];
  double *want;
  size_t n = 0;
  int i, w, h;
  if (!fixture_open(&ctx, "tests/fixtures/forms.safetensors")) return;
  for (i = 0; i < 15; i++) {
    const int *size = pictures[i / 3], *net = nets[i % 3];
    snprintf(name, sizeof name, "cut.%dx%d.%dx%d", size[0], size[1], net[0], net[1]);
    want = fixture_doubles(name, "", &n);
    p.width = size[0]; p.height = size[1];
    plan = image_plan_of(net[0], net[1], IMAGE_CROP);
    CHECK(image_target(&p, &plan, &w, &h, why) && n == 2 && w == (int)want[0] && h == (int)want[1]);
    free(want);
  }
  fixture_close();
}

/* A network of 8 x 24 pixels says how its pictures are made, and they come out so. */
TEST(pictures_of_oblongs) {
  unsigned char full[3 * 9 * 36], planes[3 * 8 * 24], cut[3 * 8 * 24];
  const int from[2] = {5, 20}, to[2] = {9, 36};
  picture p = {20, 5, NULL, 0};
  bdpt_config c;
  bdpt_model *m;
  image_plan plan;
  int i, y;
  memset(&c, 0, sizeof c);
  c.image = 8; c.image_width = 24; c.patch = 4; c.width = 8; c.heads = 1; c.depth = 1;
  m = bdpt_model_create(&ctx, &c, 1);
  p.planes = (unsigned char *)malloc(300);
  for (i = 0; i < 300; i++) p.planes[i] = (unsigned char)(i * 37);
  strcpy(m->preprocessing, "pictures: shortest 9x27 bicubic crop 8x24");
  plan = image_plan_for(m, 0);
  CHECK(plan.size[0] == 9 && plan.size[1] == 27 && plan.crop[0] == 8 && plan.crop[1] == 24);
  CHECK(image_apply(&p, &plan, cut, why));
  resized(&ctx, p.planes, from, full, to); /* 36 x 9 covers 27 x 9 */
  for (i = 0; i < 3; i++)
    for (y = 0; y < 8; y++)
      memcpy(planes + (i * 8 + y) * 24, full + (i * 9 + y) * 36 + 6, 24);
  CHECK(memcmp(cut, planes, sizeof cut) == 0);
  CHECK(bdpt_model_resize(m, 16, 12) == BDPT_OK); /* each side by its own factor */
  plan = image_plan_for(m, 0);
  CHECK(plan.size[0] == 18 && plan.size[1] == 14 && plan.crop[0] == 16 && plan.crop[1] == 12);
  strcpy(m->preprocessing, "pictures: squash 9xx27 bicubic crop 8x24"); /* is not understood */
  plan = image_plan_for(m, 0);
  CHECK(plan.squash && plan.size[0] == 16 && plan.size[1] == 12);
  bdpt_model_free(m);
  free(p.planes);
}

/* ---- TrivialAugment -------------------------------------------------------------------------- */

enum { PATCH = 32, PATCH_BYTES = 3 * PATCH * PATCH };

/* Makes the change to a picture of which red rises to the right and green downwards. */
static const unsigned char *changed(int which, double strength, double sign) {
  static unsigned char p[PATCH_BYTES];
  int i;
  for (i = 0; i < PATCH_BYTES; i++) {
    const int y = i / PATCH % PATCH, x = i % PATCH;
    const int value[3] = {8 * x, 8 * y, 100 + x % 2};
    p[i] = (unsigned char)value[i / (PATCH * PATCH)];
  }
  trivial_make(which, strength, sign, PATCH, p);
  return p;
}

TEST(trivial_changes) {
  const int area = PATCH * PATCH, at = 9 * PATCH + 5; /* row 9, column 5: 40, 72, 101 */
  unsigned char before[PATCH_BYTES];
  const unsigned char *p;
  int which, i, seen[TRIVIAL_CHANGES] = {0}, kinds = 0, side = PATCH;
  bdpt_rng rng, twin;
  memcpy(before, changed(0, 1, 1), sizeof before);
  CHECK(before[at] == 40 && before[area + at] == 72 && before[2 * area + at] == 101);
  for (which = 0; which < 12; which++)
    CHECK(memcmp(changed(which, 0, 1), before, sizeof before) == 0);
  p = changed(1, 1, 1); /* sheared: 6.5 rows above the centre, 1.95 to the left; 40 - 15.6 */
  CHECK(p[at] == 24);
  p = changed(2, 1, 1); /* 10.5 columns left of the centre, 3.15 rows higher: 72 - 25.2 */
  CHECK(p[area + at] == 47);
  p = changed(3, 1, 1); /* a quarter of 32 columns */
  CHECK(p[at] == 104 && p[area + at] == 72 && p[9 * PATCH + 31] == 124);
  p = changed(4, 1, -1);
  CHECK(p[area + at] == 8 && p[at] == 40 && p[area + 5] == 124);
  p = changed(5, 1, 1); /* x' = cos x + sin y, with x = -10.5, y = -6.5: -12.343 + 15.5 */
  CHECK(p[at] == (unsigned char)(8 * 3.1567 + 0.5));
  CHECK(changed(6, 1, -1)[at] == 4 && changed(6, 1, 1)[at] == 76);
  p = changed(8, 1, -1); /* grey = 0.299 40 + 0.587 72 + 0.114 101 = 65.7; a tenth stays */
  CHECK(p[at] == 63 && p[area + at] == 66 && p[2 * area + at] == 69);
  p = changed(7, 1, -1); /* the mean grey: 0.886 124 + 0.114 100.5 = 121.3 */
  CHECK(p[at] == 113 && p[area + at] == 116 && p[2 * area + at] == 119);
  p = changed(9, 1, -1); /* blue, smooth: 101 (5 + 2) / 13 + 100 6 / 13 = 100.54; edges differ */
  CHECK(p[2 * area + at] == 101 && p[at] == 40 && p[2 * area + at + 1] == 100);
  p = changed(10, 1, 1); /* the upper four bits */
  CHECK(p[at] == 32 && p[area + at] == 64 && p[2 * area + at] == 96);
  p = changed(11, 0.7, 1); /* from 77 on */
  CHECK(p[at] == 40 && p[area + at] == 72 && p[2 * area + at] == 154);
  p = changed(12, 1, 1); /* 0 to 248, and 100 to 101, become 0 to 255 */
  CHECK(p[at] == 41 && p[2 * area + at] == 255 && p[2 * area + at - 1] == 0);
  p = changed(13, 1, 1); /* (1024 - 32) / 255 = 3 a step; 160 are darker: 161 / 3 */
  CHECK(p[at] == 53);
  bdpt_rng_seed(&rng, 1, 0);
  twin = rng;
  for (i = 0; i < 400; i++) { /* every change is drawn, and nothing but the numbers of `rng` */
    unsigned char a[PATCH_BYTES], b[PATCH_BYTES];
    const int drawn = (int)(TRIVIAL_CHANGES * bdpt_uniform(&twin));
    const double strength = bdpt_uniform(&twin), sign = bdpt_uniform(&twin) < 0.5 ? -1 : 1;
    memcpy(a, before, sizeof a);
    memcpy(b, before, sizeof b);
    trivial_change(&side, &rng, a);
    trivial_make(drawn, strength, sign, side, b);
    CHECK(memcmp(a, b, sizeof a) == 0 && rng.state == twin.state);
    kinds += seen[drawn]++ == 0;
  }
  CHECK(kinds == TRIVIAL_CHANGES);
}

int main(void) {
  bdpt_init(&ctx);
  RUN(trivial_changes);
  RUN(ppm);
  RUN(ppm_refused);
  RUN(ppm_hostile);
  RUN(sizes_of_oblongs);
  RUN(pictures_of_oblongs);
#ifdef IMAGE_STB
  RUN(png);
  RUN(jpeg);
  RUN(exif);
  RUN(stb_guards);
#if !defined(__SANITIZE_ADDRESS__) || defined(__clang__)
  RUN(png_and_jpeg_hostile);
#endif
#else
  RUN(without_stb);
#endif
  RUN(sizes);
  RUN(fit);
  RUN(filters);
  draw_all();
  RUN(listing);
  RUN(imagenet_layout);
  RUN(divided_layout);
  RUN(unequal_classes);
  RUN(folders_refused);
  RUN(threads);
  RUN(unreadable);
  RUN(top);
  RUN(labels);
  RUN(config_json);
  RUN(written_and_read);
  RUN(drawing);
  image_free(&got);
  bdpt_finish(&ctx);
  return TEST_END("test_images");
}
