/* =================================================================================================
 * images.c: pictures from files
 * =================================================================================================
 * PPM and PGM (P6, P5, P3; 8 bits) are read here, in a hundred lines. For PNG and JPEG the examples
 * use Sean Barrett's stb_image when the compiler finds it (Debian: libstb-dev; else stb_image.h
 * from github.com/nothings/stb anywhere on the include path). Without it everything works, and a
 * PNG gets a sentence that says what to install. IMAGE_NO_STB leaves it out even so.
 *
 * A picture comes from anywhere, so nothing in it is trusted. The size stands before the pixels and
 * may be a lie: more than IMAGE_MOST_PIXELS are refused before any memory is asked for, and so is
 * a file that is too short for its size, where the format allows to tell. Only the two formats that
 * are wanted are compiled into stb_image.
 *
 * A failure is a return of 0 and one sentence, which does not name the file: the caller does.
 */
#include "../../../boundarydpt.h"
#include "images.h"
#include "png.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_MOST_BYTES ((size_t)1 << 28) /* of a file: 268 million */

#ifdef IMAGE_STB
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS IMAGE_MOST_SIDE
#define STBI_FAILURE_USERMSG
#define STBI_MALLOC(n) image_stb_malloc(n)
#define STBI_REALLOC(p, n) image_stb_realloc(p, n)
#define STBI_FREE(p) free(p)
size_t image_stb_most(void) { return (size_t)IMAGE_MOST_PIXELS * 8 + (1u << 20); }

void *image_stb_malloc(size_t n) { return n > image_stb_most() ? NULL : calloc(1, n); }

void *image_stb_realloc(void *p, size_t n) {
  return n > image_stb_most() ? NULL : realloc(p, n);
}

/* Its warnings are not ours, wherever it is installed. Bits that are no longer there are shifted by
 * more than a word and sums of wrong coefficients overflow; the numbers are lost anyway, so clang's
 * sanitizer need not stop there. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("shift", "signed-integer-overflow"))), \
                             apply_to = function)
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

int image_no(char why[IMAGE_WHY], const char *reason) {
  snprintf(why, IMAGE_WHY, "%.199s", reason);
  return 0;
}

int image_size(picture *out, long width, long height, char why[IMAGE_WHY]) {
  if (width < 1 || height < 1 || width > IMAGE_MOST_SIDE || height > IMAGE_MOST_SIDE ||
      width > IMAGE_MOST_PIXELS / height) {
    snprintf(why, IMAGE_WHY, "%ld x %ld pixels: a side of 1 to %d and at most %ld pixels in all "
             "are read", width, height, IMAGE_MOST_SIDE, (long)IMAGE_MOST_PIXELS);
    return 0;
  }
  out->width = (int)width;
  out->height = (int)height;
  return 1;
}

static int image_alloc(picture *out, char why[IMAGE_WHY]) {
  out->planes = (unsigned char *)malloc((size_t)out->width * (size_t)out->height * 3);
  return out->planes ? 1 : image_no(why, "out of memory");
}

void image_free(picture *i) {
  free(i->planes);
  i->planes = NULL;
}

/* Spreads pixels with their channels side by side, [height][width][channels], into planes; one
 * channel is grey and goes into all three. */
static void image_spread(picture *i, const unsigned char *pixels, int channels) {
  size_t n = (size_t)i->width * (size_t)i->height, k;
  int c;
  for (c = 0; c < 3; c++)
    for (k = 0; k < n; k++)
      i->planes[(size_t)c * n + k] = pixels[k * (size_t)channels + (size_t)(channels == 1 ? 0 : c)];
}

/* =================================================================================================
 * 1  PPM                                                                                    >>ppm
 * =================================================================================================
 * "P6", width, height, the largest value, all in decimal with white space between and comments from
 * # to the end of a line; one white space; then three bytes for each pixel. P5 is the same in grey,
 * P3 has its values in decimal too.
 */
typedef struct image_cursor {
  const unsigned char *at, *end;
} image_cursor;

int image_is_blank(int c) {
  return c == ' ' || (c >= 9 && c <= 13);
}

/* Returns the next decimal number up to a million; -1 if there is none, -2 at the end of the
 * file. */
static long image_decimal(image_cursor *c) {
  long v = 0;
  int comment = 0;
  while (c->at < c->end && (comment || *c->at == '#' || image_is_blank(*c->at))) {
    if (*c->at == '#') comment = 1;
    if (*c->at == '\n' || *c->at == '\r') comment = 0;
    c->at++;
  }
  if (c->at == c->end) return -2;
  if (*c->at < '0' || *c->at > '9') return -1;
  while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && v <= 1000000)
    v = 10 * v + (*c->at++ - '0');
  return v;
}

/* Reads the values of P3, each a number of its own. */
static int image_ppm_text(image_cursor *c, picture *out, char why[IMAGE_WHY]) {
  size_t n = (size_t)out->width * (size_t)out->height, i;
  for (i = 0; i < 3 * n; i++) {
    long v = image_decimal(c);
    if (v == -2) return image_no(why, "the PPM file ends in the middle of its pixels");
    if (v < 0 || v > 255) return image_no(why, "a value of the PPM file is not between 0 and 255");
    out->planes[i % 3 * n + i / 3] = (unsigned char)v;
  }
  return 1;
}

/* Reads the three numbers after the kind, and checks that there are bytes enough for what they say.
 * A value of P3 takes a digit and a blank. Only then is memory asked for. */
static int image_ppm_head(image_cursor *c, int kind, picture *out, char why[IMAGE_WHY]) {
  long field[3];
  size_t needs, left;
  int i;
  for (i = 0; i < 3; i++) {
    field[i] = image_decimal(c);
    if (field[i] == -2) return image_no(why, "the PPM file ends in its first lines");
    if (field[i] < 0)
      return image_no(why, "the first lines of the PPM file must be three numbers: width, height, "
                           "largest value");
  }
  if (!image_size(out, field[0], field[1], why)) return 0;
  if (field[2] != 255) {
    snprintf(why, IMAGE_WHY, "the largest value of the PPM file is %ld; only 255 (8 bits) is read",
             field[2]);
    return 0;
  }
  needs = (size_t)out->width * (size_t)out->height;
  if (kind != '5') needs *= kind == '6' ? 3 : 6;
  left = (size_t)(c->end - c->at);
  if (left <= needs - (kind == '3')) {
    snprintf(why, IMAGE_WHY, "%d x %d pixels need %lu bytes, the PPM file has %lu: was it cut off?",
             out->width, out->height, (unsigned long)needs, (unsigned long)(left ? left - 1 : 0));
    return 0;
  }
  if (!image_is_blank(*c->at++))
    return image_no(why, "a white space must stand between the first lines of the PPM file and its "
                         "pixels");
  return image_alloc(out, why);
}

static int image_ppm(const unsigned char *bytes, size_t size, picture *out, char why[IMAGE_WHY]) {
  int kind = bytes[1];
  image_cursor c;
  c.at = bytes + 2;
  c.end = bytes + size;
  if (!image_ppm_head(&c, kind, out, why)) return 0;
  if (kind != '3') image_spread(out, c.at, kind == '5' ? 1 : 3);
  else if (!image_ppm_text(&c, out, why)) image_free(out);
  return out->planes != NULL;
}

/* =================================================================================================
 * 2  PNG AND JPEG                                                                  >>png-and-jpeg
 * =================================================================================================
 * A PNG packs at most 8300 pixels into a byte, a JPEG at most 1024: a block of 64 values takes at
 * least one bit, and no sampling makes a block larger than 128 pixels. A file with fewer bytes than
 * that cannot be whole, and is refused before the decoder fills 64 million pixels with grey.
 * Transparency is dropped, 16 bits are cut to 8, as Pillow's convert("RGB") does.
 *
 * A PNG file is a row of chunks, each with its length, the last called IEND. stb_image asks for the
 * memory of a chunk before it looks whether the file goes on so far, so we look first.
 *
 * Debian 12 has version 2.27 of stb_image; its JPEG reader has holes that later versions closed: a
 * Huffman table with more than 256 symbols is written over what lies behind it, and a table that
 * the file never defines is used as it happens to lie in memory. So the tables are counted before
 * stb_image sees the file, and its memory is all zeros: an undefined table is then an empty one.
 */
#ifdef IMAGE_STB
/* Finds the next marker at or behind `at` (in the data of a scan: of those that end it), and the
 * byte behind it; 0 at the end of the file. */
static int image_jpeg_marker(const unsigned char *bytes, size_t size, size_t *at, int scan) {
  size_t i = *at;
  for (;;) {
    int m;
    while (i < size && bytes[i] != 0xFF) i++;
    while (i < size && bytes[i] == 0xFF) i++;
    if (i >= size) return 0;
    m = bytes[i++];
    *at = i;
    if (m != 0 && !(scan && m >= 0xD0 && m <= 0xD7)) return m;
  }
}

int image_jpeg_tables(const unsigned char *bytes, size_t size) {
  size_t at = 2, end, sum, i;
  int m = 0;
  while ((m = image_jpeg_marker(bytes, size, &at, m == 0xDA)) != 0 && m != 0xD9) {
    if (size - at < 2) return 1;
    end = at + ((size_t)bytes[at] << 8 | bytes[at + 1]);
    for (at += 2; m == 0xC4 && at < end && at < size; at += 17 + sum) {
      for (sum = 0, i = 1; i <= 16; i++) sum += at + i < size ? bytes[at + i] : 0;
      if (sum > 256) return 0;
    }
    at = end < size ? end : size;
  }
  return 1;
}

int image_png_whole(const unsigned char *bytes, size_t size) {
  size_t at = 8, length;
  while (size - at >= 12) {
    length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 |
             bytes[at + 3];
    if (length > size - at - 12) return 0;
    if (memcmp(bytes + at + 4, "IEND", 4) == 0) return 1;
    at += 12 + length;
  }
  return 0;
}

/* Returns 1 if the checksums of the chunks before the pixels agree with them: size, colours,
 * palette. stb_image does not look. The pixels have a checksum of their own, below; their chunk's
 * may be wrong, as in Pillow. */
static int image_png_head_sound(const unsigned char *bytes, size_t size) {
  size_t at = 8, length;
  uint32_t sum;
  int i;
  for (; size - at >= 12 && memcmp(bytes + at + 4, "IDAT", 4) != 0; at += 12 + length) {
    length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 |
             bytes[at + 3]; /* the file is whole, see above */
    for (sum = 0, i = 0; i < 4; i++) sum = sum << 8 | bytes[at + 8 + length + (size_t)i];
    if (sum != png_crc(bytes + at + 4, length + 4)) return 0;
    if (memcmp(bytes + at + 4, "IEND", 4) == 0) break;
  }
  return 1;
}

/* Returns 1 if the checksum of a PNG's pixels (Adler-32, behind the zlib stream) agrees with them.
 * stb_image does not look. */
static int image_png_sound(const unsigned char *bytes, size_t size) {
  unsigned char *idat = (unsigned char *)malloc(size), *raw;
  size_t at = 8, used = 0, length;
  uint32_t a = 1, b = 0;
  int count = 0, i;
  if (!idat) return 0;
  for (; size - at >= 12; at += 12 + length) { /* the file is whole, see above */
    length = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 |
             bytes[at + 3];
    if (memcmp(bytes + at + 4, "IEND", 4) == 0) break;
    if (memcmp(bytes + at + 4, "IDAT", 4) != 0) continue;
    memcpy(idat + used, bytes + at + 8, length);
    used += length;
  }
  raw = (unsigned char *)stbi_zlib_decode_malloc((const char *)idat, (int)used, &count);
  for (i = 0; raw && i < count; i++) {
    a = (a + raw[i]) % 65521;
    b = (b + a) % 65521;
  }
  for (i = 0, at = 0; used >= 4 && i < 4; i++) at = at << 8 | idat[used - 4 + (size_t)i];
  stbi_image_free(raw);
  free(idat);
  return raw && at == (b << 16 | a);
}

/* Makes rows of halved colour twice as wide and high, a row from the nearer one and the one
 * behind it. stb_image rounds every sum up where libjpeg, and so Pillow, alternates, which leaves
 * a tint that a network sees. */
static stbi_uc *image_jpeg_widen(stbi_uc *out, stbi_uc *near, stbi_uc *far, int w, int scale) {
  int i, at, left, right;
  (void)scale;
  for (i = 0; i < w; i++) {
    at = 3 * near[i] + far[i];
    left = i > 0 ? 3 * near[i - 1] + far[i - 1] : at;
    right = i + 1 < w ? 3 * near[i + 1] + far[i + 1] : at;
    out[2 * i] = (stbi_uc)((3 * at + left + 8) >> 4);
    out[2 * i + 1] = (stbi_uc)((3 * at + right + 7) >> 4);
  }
  return out;
}

static stbi_uc image_byte(int v) {
  if (v < 0) return 0;
  return (stbi_uc)(v > 255 ? 255 : v);
}

/* Turns brightness and two colours into red, green and blue; stb_image cuts off half of a sum
 * before it adds the rest, which darkens green. Sums have 16 bits behind the point and are rounded
 * once. */
static void image_jpeg_colour(stbi_uc *out, const stbi_uc *y, const stbi_uc *blue,
                              const stbi_uc *red, int count, int step) {
  int i, cb, cr;
  for (i = 0; i < count; i++, out += step) {
    cb = blue[i] - 128; cr = red[i] - 128;
    out[0] = image_byte(y[i] + ((91881 * cr + 32768) >> 16));
    out[1] = image_byte(y[i] + ((-22554 * cb - 46802 * cr + 32768) >> 16));
    out[2] = image_byte(y[i] + ((116130 * cb + 32768) >> 16));
  }
}

/* Decodes a JPEG file, as stbi_load_from_memory does, with the two steps above. */
static unsigned char *image_jpeg(const unsigned char *bytes, int size, int *w, int *h) {
  stbi__jpeg *j = (stbi__jpeg *)image_stb_malloc(sizeof *j);
  unsigned char *pixels;
  stbi__context s;
  int n = 0;
  if (!j) return NULL;
  stbi__start_mem(&s, bytes, size);
  j->s = &s;
  stbi__setup_jpeg(j);
  j->resample_row_hv_2_kernel = image_jpeg_widen;
  j->YCbCr_to_RGB_kernel = image_jpeg_colour;
  pixels = load_jpeg_image(j, w, h, &n, 3);
  free(j);
  return pixels;
}

static int image_stb(const unsigned char *bytes, size_t size, picture *out, char why[IMAGE_WHY]) {
  int w = 0, h = 0, n = 0;
  unsigned char *pixels = NULL;
  const char *format = bytes[0] == 0xFF ? "JPEG" : "PNG";
  long pack = bytes[0] == 0xFF ? 1024 : 8300;
  if (bytes[0] == 0xFF && !image_jpeg_tables(bytes, size))
    return image_no(why, "the JPEG file cannot be read (a Huffman table has over 256 symbols)");
  if (bytes[0] != 0xFF && !image_png_whole(bytes, size))
    return image_no(why, "the PNG file ends before its end mark: was it cut off?");
  if (bytes[0] != 0xFF && !image_png_head_sound(bytes, size))
    return image_no(why, "the PNG file is damaged: a part before its pixels has a wrong checksum");
  if (!stbi_info_from_memory(bytes, (int)size, &w, &h, &n)) {
    snprintf(why, IMAGE_WHY, "the %s file cannot be read (%s)", format, stbi_failure_reason());
    return 0;
  }
  if (!image_size(out, w, h, why)) return 0;
  if ((long)w * h / pack > (long)size) {
    snprintf(why, IMAGE_WHY, "%d x %d pixels do not fit into the %lu bytes of the %s file: was it "
             "cut off?", w, h, (unsigned long)size, format);
    return 0;
  }
  if (bytes[0] == 0xFF) pixels = image_jpeg(bytes, (int)size, &w, &h);
  else pixels = stbi_load_from_memory(bytes, (int)size, &w, &h, &n, 3);
  if (!pixels || w != out->width || h != out->height)
    snprintf(why, IMAGE_WHY, "the %s file cannot be read (%s)", format, stbi_failure_reason());
  else if (format[0] == 'P' && !image_png_sound(bytes, size))
    image_no(why, "the PNG file is damaged: its pixels and their checksum disagree");
  else if (image_alloc(out, why)) image_spread(out, pixels, 3);
  stbi_image_free(pixels);
  return out->planes != NULL;
}
#else
static int image_stb(const unsigned char *bytes, size_t size, picture *out, char why[IMAGE_WHY]) {
  (void)size;
  out->planes = NULL;
  snprintf(why, IMAGE_WHY, "it is a %s, and this program was built without stb_image.h: install it "
           "(Debian: libstb-dev) and build again, or convert the picture to PPM",
           bytes[0] == 0xFF ? "JPEG" : "PNG");
  return 0;
}
#endif

/* =================================================================================================
 * 3  ANY FILE                                                                        >>image-file
 * =================================================================================================
 */

/* Guesses what a file that is no picture of ours is, by its first bytes; "": no idea. */
static const char *image_kind(const unsigned char *bytes, size_t size) {
  static const struct { const char *begins; size_t n; const char *name; } kind[] = {
    {"GIF8", 4, "a GIF"}, {"RIFF", 4, "a WebP or another RIFF file"}, {"BM", 2, "a BMP"},
    {"II*\0", 4, "a TIFF"}, {"MM\0*", 4, "a TIFF"}, {"P1", 2, "a bitmap (PBM)"},
    {"P2", 2, "a grey map in text (P2)"}, {"P4", 2, "a bitmap (PBM)"}, {"P7", 2, "a PAM"},
    {"<!", 2, "a web page"}, {"<h", 2, "a web page"}, {"<s", 2, "an SVG or a web page"},
    {"\x1F\x8B", 2, "compressed by gzip"}, {"\0\0\0\x0CjP  ", 8, "a JPEG 2000 picture"},
    {"\xFF\x4F\xFF\x51", 4, "a JPEG 2000 picture"}, {"PK", 2, "a zip archive"},
    {"%PDF", 4, "a PDF"}, {"version ", 8, "a git-lfs pointer"}
  };
  size_t i;
  for (i = 0; i < sizeof kind / sizeof kind[0]; i++)
    if (size >= kind[i].n && memcmp(bytes, kind[i].begins, kind[i].n) == 0) return kind[i].name;
  if (size > 11 && memcmp(bytes + 4, "ftypavi", 7) == 0) return "an AVIF picture";
  if (size > 11 && memcmp(bytes + 4, "ftyphei", 7) == 0) return "a HEIC picture";
  if (size > 11 && memcmp(bytes + 4, "ftypmif", 7) == 0) return "a HEIC picture";
  return size ? "" : "an empty file";
}

int image_decode(const unsigned char *bytes, size_t size, picture *out,
                 char why[IMAGE_WHY]) {
  const char *kind;
  memset(out, 0, sizeof *out);
  if (size > IMAGE_MOST_BYTES) return image_no(why, "it is larger than 268 million bytes");
  if (size > 2 && bytes[0] == 'P' && (bytes[1] == '3' || bytes[1] == '5' || bytes[1] == '6') &&
      (image_is_blank(bytes[2]) || bytes[2] == '#'))
    return image_ppm(bytes, size, out, why);
  if ((size > 2 && memcmp(bytes, "\xFF\xD8\xFF", 3) == 0) ||
      (size > 7 && memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0)) {
    out->side = image_exif(bytes, size);
    return image_stb(bytes, size, out, why);
  }
  kind = image_kind(bytes, size);
  snprintf(why, IMAGE_WHY, "it is no PPM, PNG or JPEG picture%s%s", *kind ? " but " : "", kind);
  return 0;
}

unsigned char *image_slurp(FILE *f, size_t *size, char why[IMAGE_WHY]) {
  unsigned char *bytes = NULL, *bigger;
  size_t room = 0, used = 0;
  do {
    room = room ? 2 * room : (size_t)1 << 16;
    bigger = room <= 2 * IMAGE_MOST_BYTES ? (unsigned char *)realloc(bytes, room) : NULL;
    if (!bigger) {
      free(bytes);
      image_no(why, used > IMAGE_MOST_BYTES ? "it is larger than 268 million bytes"
                                            : "out of memory");
      return NULL;
    }
    bytes = bigger;
    used += fread(bytes + used, 1, room - used, f);
  } while (used == room);
  *size = used;
  if (!ferror(f)) return bytes;
  snprintf(why, IMAGE_WHY, "reading failed (%s)", strerror(errno));
  free(bytes);
  return NULL;
}

int image_read(const char *path, picture *out, char why[IMAGE_WHY]) {
  int standard = strcmp(path, "-") == 0, ok;
  FILE *f = standard ? stdin : fopen(path, "rb");
  unsigned char *bytes;
  size_t size = 0;
  memset(out, 0, sizeof *out);
  if (!f) {
    snprintf(why, IMAGE_WHY, "it cannot be opened (%s)", strerror(errno));
    return 0;
  }
  bytes = image_slurp(f, &size, why);
  if (!standard) fclose(f);
  ok = bytes && image_decode(bytes, size, out, why);
  free(bytes);
  return ok;
}

/* =================================================================================================
 * 4  TO THE NETWORK'S INPUT                                                           >>image-fit
 * =================================================================================================
 *   crop      the short side becomes S / 0.875 (256 for S = 224), then the middle S x S is cut out:
 *             what DeiT's evaluation does with ImageNet's pictures
 *   whole     the whole picture becomes S x S, whatever its shape: what training on CIFAR does
 *
 * An input of H x W that is no square is cut likewise from the smallest picture that covers
 * H / 0.875 x W / 0.875.
 *
 * Both resize as Pillow does (>>resize in the header), so a picture that Pillow decodes to the same
 * bytes arrives as the same bytes. Rounding is torchvision's: the long side is cut off to a whole
 * number; the corner of the crop is rounded half to even.
 */

int image_corner(int full, int side) {
  int twice = full - side, half = twice / 2;
  return twice % 2 && half % 2 ? half + 1 : half;
}
image_plan image_plan_of(int high, int wide, int how) {
  image_plan p = {0, {0, 0}, IMAGE_BICUBIC, {0, 0}};
  int i;
  p.squash = how == IMAGE_WHOLE;
  p.crop[0] = high; p.crop[1] = wide;
  for (i = 0; i < 2; i++) p.size[i] = p.squash ? p.crop[i] : (int)floor(p.crop[i] / 0.875);
  return p;
}

/* Reads "224", or "64x96", height first; 0 if it is neither. */
static int image_sides(const char *text, int side[2]) {
  int used = 0;
  if (sscanf(text, "%dx%d%n", &side[0], &side[1], &used) != 2 || text[used]) {
    if (sscanf(text, "%d%n", &side[0], &used) != 1 || text[used]) return 0;
    side[1] = side[0];
  }
  return side[0] > 0 && side[1] > 0 && side[0] <= 1 << 16 && side[1] <= 1 << 16;
}

int image_plan_read(const bdpt_model *m, image_plan *p) {
  static const char *const filter[6] = {"nearest", "lanczos", "bilinear", "bicubic", "box",
                                        "hamming"};
  const int want[2] = {m->config.image, bdpt_image_width(&m->config)};
  char how[16] = "", name[16] = "", size[16] = "", crop[16] = "";
  int i;
  *p = image_plan_of(want[0], want[1], IMAGE_WHOLE);
  if (strcmp(m->preprocessing, "pictures: as is") == 0) {
    p->size[0] = p->size[1] = 0;
    return 1;
  }
  if (sscanf(m->preprocessing, "pictures: %15s %15s %15s crop %15s", how, size, name, crop) != 4 ||
      !image_sides(size, p->size) || !image_sides(crop, p->crop)) return 0;
  p->squash = strcmp(how, "squash") == 0;
  for (i = 0; i < 6; i++)
    if (strcmp(name, filter[i]) == 0) p->filter = i;
  for (i = 0; i < 2; i++) {
    if (p->crop[i] != want[i])
      p->size[i] = (int)((double)p->size[i] * want[i] / p->crop[i] + 0.5);
    p->crop[i] = want[i];
  }
  return 1;
}

image_plan image_plan_for(const bdpt_model *m, int how) {
  const int high = m->config.image, wide = bdpt_image_width(&m->config);
  image_plan p, plain = image_plan_of(high, wide, how);
  if (image_plan_read(m, &p)) {
    if (how) plain.filter = p.filter;
    return how ? plain : p;
  }
  if (how) return plain;
  how = m->preprocessing[0] ? strncmp(m->preprocessing, "folder:", 7) == 0 : high >= 128;
  return image_plan_of(high, wide, how ? IMAGE_CROP : IMAGE_WHOLE);
}

/* Returns the value of one of Pillow's filters at a distance of t, and how far the filter
 * reaches. */
static double image_kernel(int filter, double t) {
  const double pi = 3.14159265358979323846;
  t = fabs(t);
  if (filter == IMAGE_BOX) return t <= 0.5;
  if (filter == IMAGE_BILINEAR) return t < 1 ? 1 - t : 0;
  if (filter == IMAGE_BICUBIC) {
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * -0.5 : 0;
  }
  if (filter == IMAGE_HAMMING) {
    if (t == 0) return 1;
    return t < 1 ? sin(pi * t) / (pi * t) * (0.54 + 0.46 * cos(pi * t)) : 0;
  }
  if (t == 0) return 1;
  return t < 3 ? sin(pi * t) / (pi * t) * sin(pi * t / 3) / (pi * t / 3) : 0; /* Lanczos */
}

/* Makes one pass along the middle axis, as Pillow's Resample.c and as >>resize in the header, which
 * knows one of them: in[blocks][from][step] -> out[blocks][to][step]. */
static int image_pass(int filter, size_t blocks, int from, int to, size_t step,
                      const unsigned char *in, unsigned char *out) {
  static const double reach[6] = {0, 3, 1, 2, 0.5, 1};
  double scale = (double)from / to, wide = scale < 1 ? 1 : scale, radius = reach[filter] * wide;
  double at = 0.5 * scale;
  int taps = (int)ceil(radius) * 2 + 1, o, i, *k;
  size_t b, s;
  if (from == to) memcpy(out, in, blocks * (size_t)from * step);
  if (from == to) return 1;
  k = (int *)malloc((size_t)taps * sizeof *k);
  if (!k) return 0;
  for (o = 0; o < to; o++) {
    double center = (o + 0.5) * scale, sum = 0;
    int low = (int)(center - radius + 0.5), high = (int)(center + radius + 0.5);
    low = low < 0 ? 0 : low;
    high = (high > from ? from : high) - low;
    if (filter == IMAGE_NEAREST) {
      low = at < from ? (int)at : from - 1;
      high = 1;
    }
    at += scale; /* added up, as in Pillow, which decides where a sum is all but a whole number */
    for (i = 0; i < high; i++) sum += image_kernel(filter, (i + low - center + 0.5) / wide);
    for (i = 0; i < high; i++) {
      double w = image_kernel(filter, (i + low - center + 0.5) / wide) / sum * (1 << 22);
      k[i] = filter == IMAGE_NEAREST ? 1 << 22 : (int)(w < 0 ? w - 0.5 : w + 0.5);
    }
    for (b = 0; b < blocks; b++)
      for (s = 0; s < step; s++) {
        const unsigned char *pixel = in + (b * (size_t)from + (size_t)low) * step + s;
        int v = 1 << 21;
        for (i = 0; i < high; i++) v += k[i] * pixel[(size_t)i * step];
        v = v < 0 ? 0 : v >> 22;
        out[(b * (size_t)to + (size_t)o) * step + s] = (unsigned char)(v > 255 ? 255 : v);
      }
  }
  free(k);
  return 1;
}

int image_resize(int filter, const picture *in, unsigned char *out, int oh, int ow,
                 char why[IMAGE_WHY]) {
  size_t h = (size_t)in->height, w = (size_t)ow;
  unsigned char *middle = (unsigned char *)malloc(3 * h * w);
  int ok = middle && image_pass(filter, 3 * h, in->width, ow, 1, in->planes, middle) &&
       image_pass(filter, 3, in->height, oh, w, middle, out);
  free(middle);
  return ok ? 1 : image_no(why, "out of memory");
}

/* Rounds half to even, as Python does. */
static double image_round(double v) {
  double low = floor(v), rest = v - low;
  return rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0) ? low + 1 : low;
}

/* Finds the smallest size of the picture's shape that covers size[2]: torchvision's Resize for a
 * square, timm's ResizeKeepRatio for others. */
static void image_cover(const picture *in, const int size[2], double *high, double *wide) {
  double h = in->height, w = in->width, least = h / size[0] < w / size[1] ? h / size[0]
                                                                          : w / size[1];
  *high = image_round(h / least);
  *wide = image_round(w / least);
  if (size[0] != size[1]) return;
  *high = floor(size[0] * h / (w < h ? w : h));
  *wide = floor(size[0] * w / (w < h ? w : h));
}

int image_target(const picture *in, const image_plan *p, int *w, int *h,
                 char why[IMAGE_WHY]) {
  double wide, high;
  *w = p->size[1]; *h = p->size[0];
  if (*h == 0) {
    *w = in->width;
    *h = in->height;
  } else if (!p->squash) {
    image_cover(in, p->size, &high, &wide);
    if (wide * high > (double)IMAGE_MOST_PIXELS) {
      snprintf(why, IMAGE_WHY, "%d x %d pixels: too long for its width to be resized", in->width,
               in->height);
      return 0;
    }
    *w = (int)wide;
    *h = (int)high;
  }
  if (*h >= p->crop[0] && *w >= p->crop[1] &&
      (p->size[0] || (*h == p->crop[0] && *w == p->crop[1]))) return 1;
  snprintf(why, IMAGE_WHY, "%d x %d pixels%s, but the network reads %d x %d", *w, *h,
           p->size[0] ? " once resized" : " and its settings say not to resize", p->crop[1],
           p->crop[0]);
  return 0;
}

/* Cuts out the middle: planes[3][h][w] -> out[3][crop[0]][crop[1]]. */
static void image_crop(const unsigned char *planes, int h, int w, const int crop[2],
                       unsigned char *out) {
  size_t top = (size_t)image_corner(h, crop[0]), left = (size_t)image_corner(w, crop[1]), y, c;
  for (c = 0; c < 3; c++)
    for (y = 0; y < (size_t)crop[0]; y++, out += crop[1])
      memcpy(out, planes + (c * (size_t)h + top + y) * (size_t)w + left, (size_t)crop[1]);
}

int image_apply(const picture *in, const image_plan *p, unsigned char *planes,
                char why[IMAGE_WHY]) {
  unsigned char *full;
  int w, h, ok;
  if (!image_target(in, p, &w, &h, why)) return 0;
  full = (unsigned char *)malloc((size_t)w * (size_t)h * 3);
  if (!full) return image_no(why, "out of memory");
  ok = image_resize(p->filter, in, full, h, w, why);
  if (ok) image_crop(full, h, w, p->crop, planes);
  free(full);
  return ok;
}

int image_fit(const picture *in, int side, int how, unsigned char *planes,
              char why[IMAGE_WHY]) {
  image_plan p = image_plan_of(side, side, how);
  return image_apply(in, &p, planes, why);
}
