/* images.h: pictures from files */
#ifndef TOOL_PICTURES_IMAGES_H
#define TOOL_PICTURES_IMAGES_H

#include "../../../boundarydpt.h"

#include <stdio.h>

#ifndef IMAGE_MOST_PIXELS
#define IMAGE_MOST_PIXELS (64L << 20) /* 67 million, such as 8192 x 8192 */
#endif
enum { IMAGE_MOST_SIDE = 65535, IMAGE_WHY = 200 };

/* IMAGE_STB says that PNG and JPEG can be read. */
#if !defined(IMAGE_NO_STB) && defined(__has_include)
#if __has_include(<stb/stb_image.h>) || __has_include(<stb_image.h>)
#define IMAGE_STB 1
#endif
#endif

/* Returns the most bytes that image_stb_malloc gives for one block: what a picture at the limit
 * needs, eight bytes a pixel, since a compressed file may be a thousand times larger inside. */
size_t image_stb_most(void);

/* Gives stb_image memory of zeros, for a reason told in >>png-and-jpeg; NULL beyond
 * image_stb_most(). */
void *image_stb_malloc(size_t n);

/* Does the same for a block that grows. */
void *image_stb_realloc(void *p, size_t n);

/* Channel planes, as the library wants them: planes[3][height][width], malloc'd. */
typedef struct picture {
  int width, height;
  unsigned char *planes;
  int side;               /* Exif's Orientation, 1 to 8; 0: nothing is said */
} picture;

/* Stores the reason and returns 0, so that a caller can write `return image_no(...)`. */
int image_no(char why[IMAGE_WHY], const char *reason);

/* Takes a size that a file names. 0: it is none, or too much. */
int image_size(picture *out, long width, long height, char why[IMAGE_WHY]);

/* Frees the pixels. */
void image_free(picture *i);

/* Returns 1 for what separates the numbers of a PPM. */
int image_is_blank(int c);

/* Returns 1 if every Huffman table (DHT) of a JPEG file has at most 256 symbols. */
int image_jpeg_tables(const unsigned char *bytes, size_t size);

/* Returns 1 if every chunk of a PNG file is there, down to IEND. */
int image_png_whole(const unsigned char *bytes, size_t size);

/* Reads the picture in a file's bytes. On failure `out` owns nothing. */
int image_decode(const unsigned char *bytes, size_t size, picture *out,
                 char why[IMAGE_WHY]);

/* Reads all bytes of a stream, malloc'd; NULL with a reason. */
unsigned char *image_slurp(FILE *f, size_t *size, char why[IMAGE_WHY]);

/* Returns Exif's Orientation in the bytes of a JPEG or PNG file, 1 to 8; 0: none. */
int image_exif(const unsigned char *bytes, size_t size);

/* Turns and mirrors a picture as its Orientation says, once. */
int image_turn(picture *p, char why[IMAGE_WHY]);

/* Reads the picture in a file, or on standard input when the name is "-". */
int image_read(const char *path, picture *out, char why[IMAGE_WHY]);

enum { IMAGE_CROP = 1, IMAGE_WHOLE = 2 };

/* Returns (full - side) / 2, rounded half to even. */
int image_corner(int full, int side);

/* How a picture becomes input: resized by one of Pillow's filters to `size` = {height, width} with
 * `squash`, else to the smallest of the picture's shape that covers it; then its middle, `crop` =
 * {height, width}, is taken. size 0: not resized. */
typedef struct image_plan { int squash, size[2], filter, crop[2]; } image_plan;

/* Resizes planes[3][h][w] of a picture to out[3][oh][ow], byte for byte as Pillow does. */
enum { IMAGE_NEAREST = 0, IMAGE_LANCZOS, IMAGE_BILINEAR, IMAGE_BICUBIC, IMAGE_BOX, IMAGE_HAMMING };
int image_resize(int filter, const picture *in, unsigned char *out, int oh, int ow,
                 char why[IMAGE_WHY]);

/* Returns what IMAGE_CROP or IMAGE_WHOLE does for an input of this height and width. */
image_plan image_plan_of(int high, int wide, int how);

/* Reads what a network says of its own pictures, "pictures: shortest 256 bicubic crop 224" or, of
 * others than squares, "... 73x109 bicubic crop 64x96", brought to the network's input size where
 * that was changed; 0 if it says nothing of the kind. */
int image_plan_read(const bdpt_model *m, image_plan *p);

/* Returns what evaluation does with the images of a network: as its `preprocessing` says, else by
 * the input's size; or as `how` says, unless that is 0. */
image_plan image_plan_for(const bdpt_model *m, int how);

/* Returns the size before the crop; 0 if it would be too much, or too little. */
int image_target(const picture *in, const image_plan *p, int *w, int *h,
                 char why[IMAGE_WHY]);

/* Makes planes[3][crop[0]][crop[1]] of the picture. Callable from several threads. */
int image_apply(const picture *in, const image_plan *p, unsigned char *planes,
                char why[IMAGE_WHY]);

/* Does the same for a square, in the way that IMAGE_CROP or IMAGE_WHOLE names. */
int image_fit(const picture *in, int side, int how, unsigned char *planes,
              char why[IMAGE_WHY]);

#endif /* TOOL_PICTURES_IMAGES_H */
