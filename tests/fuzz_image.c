/* Any bytes as a picture: decoded, and one in eight resized and cropped (pictures/images.c with the
 * stb_image.h that is installed). The size of the network's input and the way to it come from the
 * bytes' number. The limit of pixels is lower than the tool's: a large picture takes its time, not
 * its bytes'.
 * longest: 700 */
#define IMAGE_MOST_PIXELS (1L << 14)
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "../examples/tool/pictures/images.c"
#include "../examples/tool/pictures/png.c"
#include "../examples/tool/pictures/exif.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes the input of a network of a picture; returns the sum of its bytes, so that all are read. */
static unsigned fit(const picture *p, size_t size) {
  const int side = 1 + (int)(size % 37), how = size / 8 % 2 ? IMAGE_CROP : IMAGE_WHOLE;
  const size_t n = (size_t)side * (size_t)side * 3;
  unsigned char *planes = (unsigned char *)malloc(n);
  char why[IMAGE_WHY] = "";
  unsigned sum = 0;
  size_t i;
  if (!planes) return 0;
  if (image_fit(p, side, how, planes, why)) {
    for (i = 0; i < n; i++) sum += planes[i];
  } else if (why[0] == 0) {
    abort(); /* refused without a reason */
  }
  free(planes);
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[IMAGE_WHY] = "";
  unsigned char *bytes = (unsigned char *)malloc(size + 1);
  unsigned sum = 0;
  picture p;
  if (!bytes) return 0;
  if (size) memcpy(bytes, data, size); /* a block of its own, so that reading past it is seen */
  if (image_decode(bytes, size, &p, why)) {
    if (size % 8 == 0) sum = fit(&p, size);
    image_free(&p);
  } else if (why[0] == 0) {
    abort();
  }
  free(bytes);
  return sum == 1; /* never, but the compiler must compute the sum */
}

#ifndef FUZZ_LIBFUZZER
int main(int argc, char **argv) {
  int i;
  for (i = 1; i < argc; i++) {
    char why[IMAGE_WHY];
    size_t size = 0;
    picture p;
    FILE *f = fopen(argv[i], "rb");
    unsigned char *bytes = f ? image_slurp(f, &size, why) : NULL;
    if (image_read(argv[i], &p, why)) image_free(&p); /* as the tool does it */
    if (f) fclose(f);
    if (!bytes) {
      fprintf(stderr, "%s cannot be read\n", argv[i]);
      return 1;
    }
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
  }
  printf("fuzz_image: %d files\n", argc - 1);
  return 0;
}
#endif
