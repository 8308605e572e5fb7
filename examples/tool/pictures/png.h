/* png.h: writing pictures */
#ifndef TOOL_PICTURES_PNG_H
#define TOOL_PICTURES_PNG_H

#include <stddef.h>
#include <stdint.h>

/* Returns the checksum of a chunk (CRC-32). */
uint32_t png_crc(const unsigned char *bytes, size_t n);

/* Returns rgb[height][width][3] as the bytes of a file, malloc'd; NULL without memory. */
unsigned char *png_build(const unsigned char *rgb, size_t width, size_t height,
                         size_t *size);

/* Returns bytes as text for a page's "data:" address, malloc'd. */
char *png_base64(const unsigned char *bytes, size_t n);

#endif /* TOOL_PICTURES_PNG_H */
