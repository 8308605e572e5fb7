/* Any bytes as a picture: decoded, resized, cropped (pictures/images.c with the stb_image.h that is
 * installed). The size of the network's input and the way to it come from the bytes' number.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZER tests/fuzz_image.c -lm
 *   cc tests/fuzz_image.c -lm && ./a.out tests/corpus/image/...      runs given files once
 *
 * The limit of pixels is lower than the tool's: a large picture takes its time, not its bytes'. */
#define IMAGE_MOST_PIXELS (1L << 18)
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "../examples/tool/pictures/images.c"
#include "../examples/tool/pictures/png.c"
#include "../examples/tool/pictures/exif.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int side = 1 + (int)(size % 37), how = size % 2 ? IMAGE_CROP : IMAGE_WHOLE;
  char why[IMAGE_WHY] = "";
  unsigned char *planes, *bytes = (unsigned char *)malloc(size + 1);
  unsigned sum = 0;
  picture p;
  size_t i;
  if (!bytes) return 0;
  if (size) memcpy(bytes, data, size); /* a block of its own, so that reading past it is seen */
  planes = (unsigned char *)malloc((size_t)side * (size_t)side * 3);
  if (planes && image_decode(bytes, size, &p, why)) {
    if (image_fit(&p, side, how, planes, why))
      for (i = 0; i < (size_t)side * (size_t)side * 3; i++) sum += planes[i];
    image_free(&p);
  } else if (why[0] == 0) {
    abort(); /* refused without a reason */
  }
  free(planes);
  free(bytes);
  return sum == 1; /* never, but the compiler must compute the sum */
}

#if !defined(FUZZER) && !defined(FUZZ_LIBFUZZER)
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
