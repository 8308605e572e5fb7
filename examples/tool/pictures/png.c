/* =================================================================================================
 * png.c: writing pictures
 * =================================================================================================
 * A PNG is a row of chunks: length, four letters, bytes, a checksum (CRC-32) of letters and bytes.
 * The pixels are a zlib stream, in which they may stand as they are: "stored" blocks of at most
 * 65535 bytes, with a checksum (Adler-32) at the end. That makes large files and a short program.
 * Each line of pixels begins with the number of its filter; 0 is none. (RFC 1950, 1951, 2083.)
 */
#include "png.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t png_word(unsigned char *out, size_t at, uint32_t v) { /* big-endian */
  int i;
  for (i = 0; i < 4; i++) out[at + (size_t)i] = (unsigned char)(v >> (24 - 8 * i));
  return at + 4;
}

uint32_t png_crc(const unsigned char *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  int k;
  for (; n > 0; n--, bytes++)
    for (crc ^= *bytes, k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  return ~crc;
}

/* Ends a chunk of `size` bytes, which stand at out + at + 8 already; returns where the next
 * begins. */
static size_t png_chunk(unsigned char *out, size_t at, const char *kind, size_t size) {
  png_word(out, at, (uint32_t)size);
  memcpy(out + at + 4, kind, 4);
  return png_word(out, at + 8 + size, png_crc(out + at + 4, size + 4));
}

/* Writes the lines of rgb[height][width][3], each behind its filter, in stored blocks. */
static size_t png_store(unsigned char *out, size_t at, const unsigned char *rgb, size_t width,
                        size_t height) {
  size_t line = 3 * width + 1, left = line * height, done = 0, room = 0;
  uint32_t a = 1, b = 0;
  out[at++] = 0x78; out[at++] = 1; /* zlib: no compression to speak of */
  for (; left > 0; left--, room--, done++) {
    unsigned char byte = done % line ? rgb[done / line * 3 * width + done % line - 1] : 0;
    if (room == 0) { /* the head of a block: is it the last, its length, and the same inverted */
      room = left < 65535 ? left : 65535;
      out[at++] = left == room;
      out[at++] = (unsigned char)room; out[at++] = (unsigned char)(room >> 8);
      out[at++] = (unsigned char)~room; out[at++] = (unsigned char)(~room >> 8);
    }
    out[at++] = byte;
    a = (a + byte) % 65521; b = (b + a) % 65521;
  }
  return png_word(out, at, b << 16 | a);
}

unsigned char *png_build(const unsigned char *rgb, size_t width, size_t height,
                         size_t *size) {
  size_t pixels = (3 * width + 1) * height, at;
  unsigned char *out = (unsigned char *)malloc(pixels + (pixels / 65535 + 1) * 5 + 100);
  if (!out) return NULL;
  memcpy(out, "\x89PNG\r\n\x1a\n", 8);
  png_word(out, 16, (uint32_t)width);
  png_word(out, 20, (uint32_t)height);
  memcpy(out + 24, "\x08\x02\0\0\0", 5); /* 8 bits, red green blue, no interlacing */
  at = png_chunk(out, 8, "IHDR", 13);
  at = png_chunk(out, at, "IDAT", png_store(out, at + 8, rgb, width, height) - at - 8);
  *size = png_chunk(out, at, "IEND", 0);
  return out;
}

char *png_base64(const unsigned char *bytes, size_t n) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *text = (char *)malloc((n + 2) / 3 * 4 + 1), *at = text;
  size_t i;
  int k;
  for (i = 0; text && i < n; i += 3) {
    uint32_t three = (uint32_t)bytes[i] << 16;
    if (i + 1 < n) three |= (uint32_t)bytes[i + 1] << 8;
    if (i + 2 < n) three |= bytes[i + 2];
    for (k = 0; k < 4; k++) *at++ = i + (size_t)k > n ? '=' : digit[three >> (18 - 6 * k) & 63];
  }
  if (text) *at = 0;
  return text;
}
