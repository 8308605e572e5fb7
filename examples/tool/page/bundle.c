/* =================================================================================================
 * bundle.c: puts the page into one file
 * =================================================================================================
 * Reads page.html line by line and replaces four kinds of line:
 *
 *   @include FILE             the text of a file beside page.html
 *   ...@base64 WHAT...        the bytes of a module, the network or the images, in base64
 *   ...@facts...              what is measured and known now, as JSON
 *
 * On the way it draws the embedded images, the first 300 of the generated test images, and leaves
 * them as IMAGES/test.bin, so that `boundarydpt eval MODEL --data IMAGES` sees the same ones; and
 * it measures what this machine makes of the network, portable and best, one thread, batches of 16.
 *
 *   bundle OUT PAGE_FOLDER SIMD SCALAR NETWORK STUDY ANSWERS IMAGES
 */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../pictures/generate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  IMAGES = 300,             /* embedded: three of each class */
  FIRST = 100000000,        /* where the generated test images begin */
  BATCH = 16, ROUNDS = 25,  /* of the measurement */
  LIMIT = 6000000           /* bytes of the page */
};

typedef struct buffer { char *data; size_t size; } buffer;
static char scratch[1 << 16];

static void die(const char *what, const char *name) {
  fprintf(stderr, "bundle: %s %s\n", what, name);
  exit(1);
}

static buffer read_file(const char *path) {
  static bdpt_context ctx;
  bdpt_bytes bytes;
  buffer b;
  if (bdpt_init(&ctx) != BDPT_OK || bdpt_file_read(&ctx, path, &bytes) != BDPT_OK)
    die("cannot read:", ctx.message);
  b.data = (char *)bytes.data;
  b.size = bytes.size;
  return b;
}

/* =================================================================================================
 * 1  What is embedded
 * ============================================================================================== */

static void base64(FILE *out, buffer b) {
  static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const unsigned char *p = (const unsigned char *)b.data;
  size_t i;
  for (i = 0; i < b.size; i += 3) {
    unsigned long v = (unsigned long)p[i] << 16;
    if (i + 1 < b.size) v |= (unsigned long)p[i + 1] << 8;
    if (i + 2 < b.size) v |= p[i + 2];
    putc(letter[v >> 18 & 63], out);
    putc(letter[v >> 12 & 63], out);
    putc(i + 1 < b.size ? letter[v >> 6 & 63] : '=', out);
    putc(i + 2 < b.size ? letter[v & 63] : '=', out);
  }
}

/* Writes text as a JSON string without its quotes. */
static void json_text(FILE *out, const char *s) {
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') putc('\\', out);
    if ((unsigned char)*s >= ' ' && (unsigned char)*s < 127) putc(*s, out);
  }
}

/* =================================================================================================
 * 2  Facts: the speed of this machine, the study's points, digests of the answers
 * ============================================================================================== */

/* Returns the seconds of processor time of this thread: what else the machine does meanwhile does
 * not count. */
static double now(void) { return (double)clock() / CLOCKS_PER_SEC; }

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Measures milliseconds per image, sorted, on one thread. */
static void measure(int isa, const buffer *network, const unsigned char *test,
                    double ms[ROUNDS], char name[32]) {
  bdpt_context ctx;
  bdpt_dataset data;
  bdpt_subset all;
  bdpt_model *m;
  bdpt_tape *tape;
  bdpt_real *images = (bdpt_real *)malloc((size_t)BATCH * 3 * 32 * 32 * sizeof *images);
  bdpt_real logits[BATCH * GEN_FINE];
  int i;
  memset(&ctx, 0, sizeof ctx);
  ctx.threads = 1;
  ctx.isa_wanted = (bdpt_isa_choice)isa;
  if (!images || bdpt_init(&ctx) != BDPT_OK) die("no memory", "");
  m = bdpt_model_parse(&ctx, network->data, network->size, "the network", NULL);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  if (m && bdpt_image_numbers(&m->config) != (size_t)3 * 32 * 32)
    die("it reads other pixels than 32 x 32:", "the network");
  if (!m || !tape ||
      bdpt_cifar100_parse(&ctx, test, (size_t)IMAGES * GEN_RECORD, "test", &data) != BDPT_OK ||
      bdpt_subset_all(&ctx, &data, &all) != BDPT_OK ||
      bdpt_load_batch(&ctx, &m->config, &all, 0, BATCH, images, NULL) != BDPT_OK)
    die("cannot measure:", ctx.message);
  for (i = -3; i < ROUNDS; i++) { /* three rounds to warm up */
    double began = now();
    if (bdpt_predict(m, tape, BATCH, images, logits) != BDPT_OK) die("cannot run:", ctx.message);
    if (i >= 0) ms[i] = 1e3 * (now() - began) / BATCH;
  }
  qsort(ms, ROUNDS, sizeof *ms, ascending);
  sprintf(name, "%.31s", bdpt_isa_name(&ctx));
  bdpt_tape_free(tape);
  bdpt_model_free(m);
  bdpt_subset_free(&ctx, &all);
  bdpt_dataset_free(&ctx, &data);
  bdpt_finish(&ctx);
  free(images);
}

static void speed(FILE *out, const char *key, int isa, const buffer *network,
                  const unsigned char *test) {
  double ms[ROUNDS];
  char name[32];
  measure(isa, network, test, ms, name);
  fprintf(out, "\"%s\":{\"isa\":\"%s\",\"ms\":%.5g,\"low\":%.5g,\"high\":%.5g}", key, name,
          ms[ROUNDS / 2], ms[ROUNDS / 10], ms[ROUNDS - 1 - ROUNDS / 10]);
}

/* Writes the processor's name where Linux tells it, the compiler, the day. */
static void machine(FILE *out) {
  FILE *f = fopen("/proc/cpuinfo", "r");
  time_t t = time(NULL);
  char line[300] = "", day[32] = "", *colon;
  while (f && fgets(line, sizeof line, f) && strncmp(line, "model name", 10) != 0) line[0] = 0;
  if (f) fclose(f);
  colon = strchr(line, ':');
  strftime(day, sizeof day, "%Y-%m-%d", gmtime(&t));
  fprintf(out, "\"machine\":\"");
  json_text(out, colon ? colon + 2 : "this processor");
#if defined(__clang__)
  fprintf(out, ", clang %d.%d", __clang_major__, __clang_minor__);
#elif defined(__GNUC__)
  fprintf(out, ", gcc %d.%d", __GNUC__, __GNUC_MINOR__);
#endif
  fprintf(out, ", one thread, processor time, %s\",", day);
}

/* Writes the predictor's points of the study, the paper's start, seed by seed. */
static void study(FILE *out, const char *path) {
  int seed, is, any;
  double a, g, accuracy;
  for (seed = 1; seed <= 3; seed++) {
    FILE *f = fopen(path, "r");
    if (!f) die("cannot read", path);
    fprintf(out, "{\"name\":\"the study: DeiT-Tiny, CIFAR-100, seed %d\",\"points\":[", seed);
    for (any = 0; fgets(scratch, sizeof scratch, f);)
      if (sscanf(scratch, "{\"kind\":\"collected\",\"start\":\"paper\",\"seed\":%d,"
                 "\"attentions\":%lf,\"activations\":%lf,\"accuracy\":%lf}",
                 &is, &a, &g, &accuracy) == 4 && is == seed)
        fprintf(out, "%s[%.17g,%.17g,%.17g]", any++ ? "," : "", a, g, accuracy);
    fprintf(out, "]},");
    fclose(f);
    if (any < 10) die("too few points of the study in", path);
  }
}

/* Writes the paper's 22 points of DeiT-Base: layers kept of twelve, ImageNet accuracy. */
static void paper(FILE *out) {
  static const double p[22][3] = {
    {12, 12, 81.80}, {11, 12, 81.31}, {10, 12, 80.90}, {9, 12, 80.20},  {8, 12, 78.10},
    {7, 12, 77.40},  {6, 12, 72.69},  {5, 12, 69.44},  {4, 12, 64.84},  {12, 11, 81.07},
    {12, 10, 80.40}, {12, 9, 78.90},  {12, 8, 77.80},  {12, 7, 76.70},  {12, 6, 75.20},
    {12, 5, 74.50},  {12, 4, 73.90},  {11, 11, 80.34}, {11, 10, 80.03}, {10, 10, 78.88},
    {10, 9, 78.08},  {9, 9, 76.52}
  };
  int i;
  fprintf(out, "{\"name\":\"the paper: DeiT-Base, ImageNet\",\"points\":[");
  for (i = 0; i < 22; i++)
    fprintf(out, "%s[%.17g,%.17g,%.4g]", i ? "," : "", p[i][0] / 12, p[i][1] / 12, p[i][2]);
  fprintf(out, "]}");
}

/* Reads lines "id | answer, or answer, ... | why" and writes FNV-1a of "id:answer" for each
 * answer. learn.js does the same with what is typed. */
static void answers(FILE *out, const char *path) {
  FILE *f = fopen(path, "r");
  int any = 0;
  if (!f) die("cannot read", path);
  while (fgets(scratch, sizeof scratch, f)) {
    char *bar = strchr(scratch, '|'), *a, *end;
    if (scratch[0] == '#' || !bar || !(end = strchr(bar + 1, '|'))) continue;
    *bar = *end = 0;
    fprintf(out, "%s\"", any++ ? "," : "");
    for (a = scratch; *a && *a != ' '; a++) putc(*a, out);
    *a = 0;
    fprintf(out, "\":[");
    for (a = strtok(bar + 1, ";"); a; a = strtok(NULL, ";")) {
      uint32_t h = 2166136261u;
      const char *s;
      while (*a == ' ') a++;
      end = a + strlen(a);
      while (end > a && end[-1] == ' ') *--end = 0;
      for (s = scratch; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
      h = (h ^ ':') * 16777619u;
      for (s = a; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
      fprintf(out, "%lu,", (unsigned long)h);
    }
    fprintf(out, "0]");
  }
  fclose(f);
}

/* =================================================================================================
 * 3  The file
 * ============================================================================================== */

static void include(FILE *out, const char *folder, const char *name) {
  char path[600];
  buffer b;
  snprintf(path, sizeof path, "%.400s/%.100s", folder, name);
  b = read_file(path);
  fwrite(b.data, 1, b.size, out);
}

static void facts(FILE *out, char **argv, const buffer *network, const unsigned char *test) {
  fprintf(out, "{");
  machine(out);
  fprintf(out, "\"native\":{");
  speed(out, "portable", BDPT_ISA_PORTABLE, network, test);
  fprintf(out, ",");
  speed(out, "best", BDPT_ISA_BEST, network, test);
  fprintf(out, "},\"points\":[");
  study(out, argv[6]);
  paper(out);
  fprintf(out, "],\"answers\":{");
  answers(out, argv[7]);
  fprintf(out, "}}");
}

static void line_of_page(FILE *out, char *line, char **argv, const buffer embedded[4]) {
  static const char *const name[4] = {"simd.wasm", "scalar.wasm", "network", "images"};
  char *at = strstr(line, "@base64 "), *end;
  int i;
  if (strncmp(line, "@include ", 9) == 0) {
    line[strcspn(line, "\r\n")] = 0;
    include(out, argv[2], line + 9);
    return;
  }
  if (!at) at = strstr(line, "@facts");
  if (!at) {
    fputs(line, out);
    return;
  }
  end = strchr(at, '<');
  if (!end) die("a line of the page is not closed:", line);
  fwrite(line, 1, (size_t)(at - line), out);
  if (at[1] == 'f') facts(out, argv, &embedded[2], (const unsigned char *)embedded[3].data);
  for (i = 0; i < 4 && at[1] == 'b'; i++)
    if (strncmp(at + 8, name[i], (size_t)(end - at - 8)) == 0) base64(out, embedded[i]);
  fputs(end, out);
}

int main(int argc, char **argv) {
  static char line[4096];
  char path[600];
  buffer embedded[4];
  FILE *page, *out;
  long size;
  int i;
  if (argc != 9) die("usage:", "bundle OUT PAGE SIMD SCALAR NETWORK STUDY ANSWERS IMAGES");
  snprintf(path, sizeof path, "%.500s/test.bin", argv[8]);
  if (gen_write(path, 1, FIRST, IMAGES) != 0) die("cannot write", path);
  for (i = 0; i < 3; i++) embedded[i] = read_file(argv[3 + i]);
  embedded[3] = read_file(path);
  snprintf(path, sizeof path, "%.500s/page.html", argv[2]);
  page = fopen(path, "r");
  out = fopen(argv[1], "wb");
  if (!page || !out) die("cannot open", page ? argv[1] : path);
  while (fgets(line, sizeof line, page)) line_of_page(out, line, argv, embedded);
  size = ftell(out);
  if (fclose(out) != 0) die("cannot write", argv[1]);
  if (size > LIMIT) die("the page is larger than 6,000,000 bytes:", argv[1]);
  printf("%s: %ld bytes, %d images; the same ones for the tool: --data %s\n", argv[1], size, IMAGES,
         argv[8]);
  return 0;
}
