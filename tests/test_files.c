/* Files: JSON, safetensors in and out, whole files, networks.
 *
 * The hostile files are built here from a header in plain text, so that each can be read beside the
 * sentence it must provoke. `test_files dump DIR` writes them to files, to compare our verdicts
 * with those of the safetensors package. The reference bytes were written by that package (0.8.0),
 * the conversions to F16 and BF16 by PyTorch. */
#define _XOPEN_SOURCE 700
#include "../boundarydpt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "test.h"
#include "disk.h"

/* An allocator that counts what is out, and fails at the k-th request and ever after. */
static size_t out_now, out_blocks, requests, fail_from;
static void *count_alloc(void *user, size_t bytes) {
  (void)user;
  if (++requests >= fail_from && fail_from) return NULL;
  out_now += bytes;
  out_blocks++;
  return malloc(bytes);
}
static void count_free(void *user, void *p, size_t bytes) {
  (void)user;
  out_now -= bytes;
  out_blocks--;
  free(p);
}
static bdpt_context fresh(void) {
  bdpt_context ctx;
  memset(&ctx, 0, sizeof ctx);
  ctx.allocator.alloc = count_alloc;
  ctx.allocator.free = count_free;
  ctx.threads = 1;
  bdpt_init(&ctx);
  requests = fail_from = 0;
  return ctx;
}

/* ---------------------------------------------------------------------------------- JSON --- */

/* -------------------------------------------------------------------------- safetensors: in --- */

static int same(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

/* Makes a file from a header and so many bytes of data, the bytes counting up from 0. */
static unsigned char *make(const char *header, size_t n, size_t data, size_t *size) {
  unsigned char *p = (unsigned char *)malloc(8 + n + data + 1);
  size_t i;
  put_bytes(p, 8, n);
  memcpy(p + 8, header, n);
  for (i = 0; i < data; i++) p[8 + n + i] = (unsigned char)i;
  *size = 8 + n + data;
  return p;
}
#define T(name, dtype, shape, from, to) \
  "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

/* Strings stand in the metadata; each is given to C without a zero byte, and comes out as UTF-8. */
TEST(strings) {
  static const char *const good[][2] = {
    {"\"\"", ""}, {"\"a\\u00e9\\ud83d\\ude00\\\"\\\\\\n\"", "a\xc3\xa9\xf0\x9f\x98\x80\"\\\n"},
    {"\"\\u0041\\n\\/\"", "A\n/"}, {"\"\x7f\"", "\x7f"}, {"\t\r\n \"1\" ", "1"},
    {"\"\xc3\xa9\xe2\x82\xac\xf4\x8f\xbf\xbf\"", "\xc3\xa9\xe2\x82\xac\xf4\x8f\xbf\xbf"}};
  static const char *const bad[] = {
    "", "\"", "\"a", "\"\\\"", "'a'", "\"\\x\"", "\"\\u12\"", "\"\\u00g0\"", "\"\\ud800\"",
    "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\n\"", "\"\t\"", "\"\xff\"",
    "\"\xc0\x80\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
    "\"\xf5\x80\x80\x80\"", "\"\xe2\x82\"", "\"\x80\"", "\"\xc3\"", "\"\xf0\x80\x80\x80\"",
    "\"\\u0000\"", "/* */\"a\"", "\"a\"\"b\"", "1", "null", "{}"};
  char text[100];
  bdpt_context ctx = fresh();
  bdpt_safetensors f;
  size_t i, size;
  unsigned char *p;
  for (i = 0; i < sizeof good / sizeof *good; i++) {
    snprintf(text, sizeof text, "{\"__metadata__\":{\"k\":%s}}", good[i][0]);
    p = make(text, strlen(text), 0, &size);
    CHECK(bdpt_safetensors_parse(&ctx, p, size, "text", &f) == BDPT_OK &&
          strcmp(bdpt_safetensors_get(&f, "k"), good[i][1]) == 0);
    bdpt_safetensors_close(&f);
    free(p);
  }
  for (i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(text, sizeof text, "{\"__metadata__\":{\"k\":%s}}", bad[i]);
    p = make(text, strlen(text), 0, &size);
    if (!CHECK(bdpt_safetensors_parse(&ctx, p, size, "text", &f) == BDPT_E_FORMAT)) puts(bad[i]);
    bdpt_clear_error(&ctx);
    free(p);
  }
  CHECK(out_blocks == 0);
}

/* phrase NULL: the file is good. reference: what the safetensors package says of it, 'y' or 'n'. */
typedef struct vector { const char *what, *header; size_t data; const char *phrase;
    char reference; }
  vector;
static const vector vectors[] = {
  {"two tensors", "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F16", "[1]", 8, 10) "}", 10, NULL,
    'y'},
  {"any order in the header", "{" T("b", "F32", "[1]", 4, 8) "," T("a", "F32", "[1]", 0, 4) "}", 8,
   NULL, 'y'},
  {"empty object", "{}", 0, NULL, 'y'},
  {"blanks behind", "{" T("a", "F32", "[2]", 0, 8) "} \n\t\r  ", 8, NULL, 'y'},
  {"blanks in front", " \n{" T("a", "F32", "[2]", 0, 8) "}", 8, NULL, 'y'},
  {"scalar", "{" T("a", "F32", "[]", 0, 4) "}", 4, NULL, 'y'},
  {"no elements", "{" T("a", "F32", "[0,3]", 0, 0) "}", 0, NULL, 'y'},
  {"no elements, between others", "{" T("b", "U8", "[2]", 0, 2) "," T("z", "F32", "[0]", 2, 2) ","
   T("c", "U8", "[1]", 2, 3) "}", 3, NULL, 'y'},
  {"zero times overflow", "{" T("a", "F32", "[0,18446744073709551615,2]", 0, 0) "}", 0, NULL, 'y'},
  {"F4, two to a byte", "{" T("a", "F4", "[4]", 0, 2) "}", 2, NULL, 'y'},
  {"F6, four in three bytes", "{" T("a", "F6_E2M3", "[4]", 0, 3) "}", 3, NULL, 'y'},
  {"every wide dtype", "{" T("a", "U64", "[1]", 0, 8) "," T("b", "C64", "[1]", 8, 16) ","
   T("c", "I32", "[1]", 16, 20) "," T("d", "F8_E5M2FNUZ", "[1]", 20, 21) ","
   T("e", "BOOL", "[1]", 21, 22) "}", 22, NULL, 'y'},
  {"misaligned", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "F64", "[1]", 1, 9) "}", 9, NULL, 'y'},
  {"metadata", "{\"__metadata__\":{\"k\":\"v\",\"e\":\"\"}," T("a", "U8", "[1]", 0, 1) "}", 1, NULL,
   'y'},
  {"metadata null", "{\"__metadata__\":null}", 0, "'{' expected at byte 24", 'y'},
  {"unknown field", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"x\":[{\"y\":[1,2]},null],"
   "\"data_offsets\":[0,1]}}", 1, "'a': it has an unknown field 'x'",
   'y'},
  {"escaped field name", "{\"a\":{\"\\u0064type\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
   NULL, 'y'},
  {"empty name", "{" T("", "U8", "[1]", 0, 1) "}", 1, NULL, 'y'},
  {"ten axes", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1,2]", 0, 2) "}", 2, NULL, 'y'},

  {"no JSON", "hello!!!", 0, "'{' expected at byte 8", 'n'},
  {"not an object", "[1,2]", 0, "'{' expected at byte 8", 'n'},
  {"an array of arrays without end", "[[[[[[[[[[[[[[[[[[[[[[[", 0, "'{' expected at byte 8", 'n'},
  {"empty header", "", 0, "'{' expected at byte 8", 'n'},
  {"not UTF-8", "{\"\xff\":1}", 0, "bad UTF-8", 'n'},
  {"byte order mark", "\xef\xbb\xbf{}", 0, "'{' expected at byte 8", 'n'},
  {"two values", "{}{}", 0, "bytes behind the header, at byte 10", 'n'},
  {"trailing comma", "{" T("a", "U8", "[1]", 0, 1) ",}", 1, "no string at byte 61", 'n'},
  {"deep nesting in an unknown field", "{\"a\":{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
   "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
   0, "'a': it has an unknown field 'x'", 'n'},
  {"lone surrogate", "{\"\\ud800\":1}", 0, "bad escape", 'n'},
  {"zero byte in a name", "{" T("a\\u0000b", "U8", "[1]", 0, 1) "}", 1,
   "no string at byte 11, or a bad escape, bad UTF-8 or a zero in it", 'y'},
  {"tensor is a number", "{\"a\":1}", 0, "'a': '{' expected at byte 13", 'n'},
  {"tensor as array", "{\"a\":[\"U8\",[1],[0,1]]}", 1, "'a': '{' expected at byte 13",
    'y'},
  {"unknown dtype", "{" T("a", "F17", "[1]", 0, 2) "}", 2, "unknown dtype 'F17'", 'n'},
  {"dtype in small letters", "{" T("a", "f32", "[1]", 0, 4) "}", 4, "unknown dtype 'f32'", 'n'},
  {"dtype not a string", "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
   "'a': no string at byte 22", 'n'},
  {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "'a': dtype is missing", 'n'},
  {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "'a': shape is missing",
    'n'},
  {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "'a': data_offsets is missing",
    'n'},
  {"field twice",
   "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
   1, "dtype occurs twice", 'n'},
  {"negative axis", "{" T("a", "U8", "[-1]", 0, 1) "}", 1, "something other than a whole number",
    'n'},
  {"axis with a point", "{" T("a", "U8", "[1.0]", 0, 1) "}", 1,
    "',' expected at byte 37", 'n'},
  {"axis with an exponent", "{" T("a", "U8", "[1e0]", 0, 1) "}", 1,
    "',' expected at byte 37", 'n'},
  {"axis beyond 64 bits", "{" T("a", "U8", "[18446744073709551616]", 0, 1) "}", 1,
   "something other than a whole number", 'n'},
  {"axis is a string", "{" T("a", "U8", "[\"1\"]", 0, 1) "}", 1,
   "something other than a whole number", 'n'},
  {"shape is null", "{" T("a", "U8", "null", 0, 1) "}", 1, "'[' expected at byte 35", 'n'},
  {"seventeen axes", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1,
   "more than 16 numbers", 'y'},
  {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0]}}", 0,
   "data_offsets must be two numbers", 'n'},
  {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0,0]}}", 0,
   "data_offsets has more than 2 numbers", 'n'},
  {"elements overflow", "{" T("a", "U8", "[2,18446744073709551614]", 0, 16) "}", 16,
   "its shape overflows", 'n'},
  {"overflow before a zero", "{" T("a", "U8", "[18446744073709551615,2,0]", 0, 0) "}", 0,
   "its shape overflows", 'n'},
  {"bytes overflow", "{" T("a", "F32", "[2,9223372036854775807]", 0, 16) "}", 16,
   "its shape overflows", 'n'},
  {"product wraps to the size", "{" T("a", "F32", "[4611686018427387905,4]", 0, 16) "}", 16,
   "its shape overflows", 'n'},
  {"bits overflow", "{" T("a", "F64", "[288230376151711745]", 0, 8) "}", 8, "its shape overflows",
   'n'},
  {"half a byte", "{" T("a", "F4", "[3]", 0, 2) "}", 2, "3 x F4 ends within a byte",
    'n'},
  {"half a byte of F6", "{" T("a", "F6_E3M2", "[5]", 0, 4) "}", 4, "ends within a byte", 'n'},
  {"end before begin", "{" T("a", "U8", "[4]", 4, 0) "}", 4, "[4, 0] end before they begin", 'n'},
  {"shape against offsets", "{" T("a", "F32", "[2]", 0, 4) "}", 4,
   "need 8 bytes, data_offsets [0, 4] enclose 4", 'n'},
  {"scalar of no bytes", "{" T("a", "F32", "[]", 0, 0) "}", 0, "need 4 bytes", 'n'},
  {"past the end", "{" T("a", "U8", "[16]", 0, 16) "}", 15, "reach past the end of the file", 'n'},
  {"far past the end", "{" T("a", "U8", "[1]", 18446744073709551614, 18446744073709551615) "}", 1,
   "reach past the end of the file", 'n'},
  {"hole in front", "{" T("a", "U8", "[4]", 4, 8) "}", 8,
   "'a': a hole: it begins at byte 4 of the data, what is before it ('') ends at 0", 'n'},
  {"hole between", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 2, 3) "}", 3,
   "'b': a hole: it begins at byte 2 of the data, what is before it ('a') ends at 1", 'n'},
  {"overlap", "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 2, 6) "}", 6,
   "'b': an overlap: it begins at byte 2 of the data, what is before it ('a') ends at 4", 'n'},
  {"two names for the same bytes", "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 0,
    4) "}", 4,
   "begins at byte 0", 'n'},
  {"empty tensor inside another", "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[0]", 2, 2) "}",
    4,
   "begins at byte 2", 'n'},
  {"bytes after the end", "{" T("a", "U8", "[4]", 0, 4) "}", 9,
    "bytes behind the last tensor, of none: 5", 'n'},
  {"data without tensors", "{}", 3, "bytes behind the last tensor, of none: 3", 'n'},
  {"name twice, other bytes", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 1, 2) ","
   T("a", "U8", "[1]", 2, 3) "}", 3, "'a': this name occurs twice", 'n'},
  {"name twice, same bytes", "{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 0, 1) "}", 1,
   "'a': an overlap: it begins at byte 0 of the data, what is before it ('a')", 'y'},
  {"name twice, once escaped", "{" T("a", "U8", "[1]", 0, 1) "," T("\\u0061", "U8", "[1]", 0,
    1) "}",
   1, "'a': an overlap: it begins at byte 0 of the data, what is before it ('a')", 'y'},
  {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0,
    "'__metadata__': it occurs twice", 'n'},
  {"metadata key twice", "{\"__metadata__\":{\"k\":\"1\",\"j\":\"\",\"k\":\"2\"}}", 0,
   "'k': this metadata key occurs twice", 'y'},
  {"metadata number", "{\"__metadata__\":{\"k\":1}}", 0,
   "'__metadata__': no string at byte 29", 'n'},
  {"metadata nested", "{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", 0,
   "'__metadata__': no string at byte 29", 'n'},
  {"metadata is a string", "{\"__metadata__\":\"x\"}", 0, "'{' expected at byte 24", 'n'},
  {"header cut in a string", "{\"a", 0, "no string at byte 11", 'n'},
  {"header cut in a shape", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,", 0,
   "shape holds something other than a whole number", 'n'},
  {"escape sequences in a name", "{\"\\u001b[31mred\\u0007\":1}", 0, "'?[31mred?'", 'n'}
};
#define VECTORS (sizeof vectors / sizeof *vectors)

/* Returns 1 if a number of 11 digits or more stands in the text: more than a size_t of 32 bits
 * holds. */
static int wide_number(const unsigned char *bytes, size_t size) {
  size_t i, run = 0;
  for (i = 0; i < size && run < 11; i++) run = bytes[i] >= '0' && bytes[i] <= '9' ? run + 1 : 0;
  return run == 11;
}

static void judge(const char *what, const unsigned char *bytes, size_t size, const char *phrase) {
  bdpt_context ctx = fresh();
  bdpt_safetensors f;
  unsigned char *copy = exact(bytes, size);
  bdpt_status s = bdpt_safetensors_parse(&ctx, copy, size, "x.safetensors", &f);
  int ok;
  if (sizeof(size_t) == 4 && wide_number(bytes, size)) phrase = "whole number <= 4294967295";
  ok = phrase ? s == BDPT_E_FORMAT && strstr(ctx.message, phrase) != NULL &&
                    strncmp(ctx.message, "x.safetensors: ", 15) == 0 && f.memory == NULL
              : s == BDPT_OK && ctx.message[0] == 0;
  if (!CHECK(ok)) printf("  %s: %s (wanted: %s)\n", what, ctx.message, phrase ? phrase : "ok");
  bdpt_safetensors_close(&f);
  CHECK(out_blocks == 0 && out_now == 0 && ctx.bytes_now == 0);
  free(copy);
}

TEST(conformance) {
  size_t i, size;
  for (i = 0; i < VECTORS; i++) {
    unsigned char *p = make(vectors[i].header, strlen(vectors[i].header), vectors[i].data, &size);
    judge(vectors[i].what, p, size, vectors[i].phrase);
    free(p);
  }
}

TEST(lengths) {
  static const struct { const char *what, *bytes; size_t size; const char *phrase; } v[] = {
    {"nothing", "", 0, "the file is empty"},
    {"seven bytes", "\2\0\0\0\0\0\0", 7, "a length of 8 bytes comes first, here are 7"},
    {"length only", "\0\0\0\0\0\0\0\0", 8, "'{' expected at byte 8"},
    {"header of 2^64 - 1", "\377\377\377\377\377\377\377\377{}", 10, "over the limit of 100000000"},
    {"header of 2^64 - 8", "\370\377\377\377\377\377\377\377{}", 10, "over the limit"},
    {"header of 100000001", "\1\341\365\5\0\0\0\0{}", 10, "over the limit"},
    {"header of 100000000", "\0\341\365\5\0\0\0\0{}", 10, "should be 100000000 bytes long"},
    {"header one byte too long", "\3\0\0\0\0\0\0\0{}", 10, "was the file cut off?"},
    {"zero padding", "\4\0\0\0\0\0\0\0{}\0\0", 12, "bytes behind the header, at byte 10"},
    {"only blanks", "\2\0\0\0\0\0\0\0  ", 10, "'{' expected at byte 10"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    judge(v[i].what, (const unsigned char *)v[i].bytes, v[i].size, v[i].phrase);
  }
}

/* What is something else is shown by its first bytes. */
TEST(other_formats) {
  static const struct { const char *bytes; size_t size; const char *phrase; } v[] = {
    {"<!DOCTYPE html><html><body>404</body></html>", 44,
     "begins '<!DOCTYPE html><html><body>404</body></h'"},
    {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", 66,
     "no safetensors file begins 'version https://git-lfs.github.com/spec/'"},
    {"PK\3\4\24\0\0\0\0\0\0\0\0\0", 14, "begins 'PK????"},
    {"\x80\2\x8a\nl\374\234F\371 j\250P\31.", 15, "begins '????l??F? j?P?.'"},
    {"\x89PNG\r\n\x1a\n", 8, "begins '?PNG????"},
    {"Entry not found", 15, "begins 'Entry not found'"},
    {"Invalid username or password.\n", 30, "begins 'Invalid username or password.?'"},
    {"{\"a\": 1, \"b\": 2}", 16, "begins '{\"a\": 1, \"b\": 2}'"},
    {"{}", 2, "a length of 8 bytes comes first, here are 2"}};
  size_t i;
  for (i = 0; i < sizeof v / sizeof *v; i++) {
    judge(v[i].phrase, (const unsigned char *)v[i].bytes, v[i].size, v[i].phrase);
  }
}

/* Every beginning of a file, and every file with one byte changed, is refused or read, never
 * worse. */
TEST(cut_and_changed) {
  const char *header = "{\"__metadata__\":{\"k\":\"\\u00e9\"}," T("a\\n", "F32", "[2,1]", 0, 8) ","
                       T("b", "BF16", "[3]", 8, 14) "," T("c", "U8", "[]", 14, 15) "} ";
  size_t size, n, i;
  unsigned char *p = make(header, strlen(header), 15, &size);
  for (n = 0; n <= size; n++) {
    bdpt_context ctx = fresh();
    bdpt_safetensors f;
    unsigned char *copy = exact(p, n);
    bdpt_status s = bdpt_safetensors_parse(&ctx, copy, n, NULL, &f);
    CHECK((s == BDPT_OK) == (n == size));
    CHECK(s == BDPT_OK || strncmp(ctx.message, "memory: ", 8) == 0);
    bdpt_safetensors_close(&f);
    CHECK(out_blocks == 0);
    free(copy);
  }
  for (i = 0; i < size; i++) {
    for (n = 0; n < 8; n++) {
      bdpt_context ctx = fresh();
      bdpt_safetensors f;
      bdpt_real numbers[4];
      unsigned char *copy = exact(p, size);
      size_t k;
      copy[i] = (unsigned char)(copy[i] ^ (1u << n));
      bdpt_safetensors_parse(&ctx, copy, size, NULL, &f);
      for (k = 0; k < f.count; k++) {
        if (f.tensor[k].count <= 4) {
          bdpt_safetensors_read(&ctx, &f.tensor[k], numbers, f.tensor[k].count);
        }
      }
      bdpt_safetensors_close(&f);
      free(copy);
    }
  }
  CHECK(out_blocks == 0);
  free(p);
}

/* Parses ten megabytes of header, made of `unit` with a counter in it. Our memory stays within 6
 * bytes for each byte of header, sorting included. */
static void big_header(const char *front, const char *unit, const char *back, const char *phrase) {
  size_t room = ((size_t)10 << 20) / test_every(), used = strlen(front), size, i = 0;
  char *text = (char *)malloc(room + 400);
  unsigned char *p;
  bdpt_context ctx = fresh();
  bdpt_safetensors f;
  memcpy(text, front, used);
  while (used < room) {
    if (i) text[used++] = ',';
    used += (size_t)snprintf(text + used, 300, unit, (unsigned)i);
    i++;
  }
  memcpy(text + used, back, strlen(back));
  used += strlen(back);
  p = make(text, used, 0, &size);
  CHECK(bdpt_safetensors_parse(&ctx, p, size, "big", &f) == BDPT_E_FORMAT);
  if (!CHECK(strstr(ctx.message, phrase) != NULL)) printf("  %s\n", ctx.message);
  if (!CHECK(ctx.bytes_peak < 6 * size)) {
    printf("  %zu bytes for a header of %zu\n", ctx.bytes_peak, size);
  }
  CHECK(ctx.bytes_now == 0 && out_blocks == 0);
  free(p);
  free(text);
}

TEST(big_headers) {
  big_header("{", "\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}", "}",
      "reach past the end");
  big_header("{", "\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
             "\"7\":{\"dtype\":\"U8\","
             "\"shape\":[0],\"data_offsets\":[0,0]}", "}", "'7': this name occurs twice");
  big_header("{", "\"%x\":{\"dtype\":\"U8\",\"shape\":[0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
             "\"data_offsets\":"
             "[0,0]},\"0\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", "}",
                 "this name occurs twice");
  big_header("{", "\"a%x\":{\"x\":[1e-300,1e300,0.1,123456789012345678901234567890]}", "}",
      "'a0': it has an unknown field 'x'");
  big_header("{\"__metadata__\":{", "\"%x\":\"\"", ",\"77\":\"\"}}",
      "'77': this metadata key occurs twice");
}

static const char reference_scalars[] =
  "@\000\000\000\000\000\000\000{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_"
  "offsets\":[0,24]}}\000\000\000\000\000\000\200\077\000\000\000@\000\000@@\000\000\200"
  "@\000\000\240@";
static const char reference_mixed[] =
  "\270\002\000\000\000\000\000\000{\"__metadata__\":{\"k\\\"\":\"v\\n\\u001f\\r\\f\342\202"
  "\254\"},\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},\"f64\":{\"d"
  "type\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},\"B\":{\"dtype\":\"F32\",\"shap"
  "e\":[1,2],\"data_offsets\":[16,24]},\"b10\":{\"dtype\":\"F32\",\"shape\":[1],\"data_o"
  "ffsets\":[24,28]},\"b9\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[28,32]},\""
  "f32\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[32,36]},\"zz\":{\"dtype\":\""
  "F32\",\"shape\":[0,2],\"data_offsets\":[36,36]},\"bf16\":{\"dtype\":\"BF16\",\"shape\""
  ":[1],\"data_offsets\":[36,38]},\"f16\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offset"
  "s\":[38,40]},\"q\\\"\\\\/\\b\\t\\n\\u0001\177\303\251\342\202\254\360\237\230\200\":{"
  "\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[40,41]},\"u8\":{\"dtype\":\"U8\",\"sh"
  "ape\":[1],\"data_offsets\":[41,42]}}      \376\377\377\377\377\377\377\377\232\231\231"
  "\231\231\231\271\077\000\000\300\077\000\000\000\300\000\000\000\000\000\000\000\000\315"
  "\314\314=\315=f.\003\001";
static const char reference_empty[] = "\010\000\000\000\000\000\000\000{}      ";

/* The tensors of reference_mixed are read, whatever the alignment of the bytes. */
TEST(reading) {
  size_t shift, n = sizeof reference_mixed - 1, i;
  static const struct { const char *name; double value; } want[] = {
    {"i64", -2}, {"f64", 0.1}, {"f32", 0.100000001490116119384765625}, {"f16", 0.0999755859375},
    {"bf16", 0.10009765625}, {"u8", 1},
    {"q\"\\/\b\t\n\1\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 3}};
  for (shift = 0; shift < 8; shift++) {
    bdpt_context ctx = fresh();
    bdpt_safetensors f;
    unsigned char *p = (unsigned char *)malloc(n + shift);
    const bdpt_file_tensor *t;
    bdpt_real v[2];
    memcpy(p + shift, reference_mixed, n);
    CHECK(bdpt_safetensors_parse(&ctx, p + shift, n, NULL, &f) == BDPT_OK);
    CHECK(f.count == 11 && f.pairs == 1);
    CHECK(strcmp(bdpt_safetensors_get(&f, "k\""), "v\n\x1f\r\f\xe2\x82\xac") == 0);
    CHECK(bdpt_safetensors_get(&f, "k") == NULL && bdpt_safetensors_find(&f, "f3") == NULL);
    for (i = 0; i < sizeof want / sizeof *want; i++) {
      t = bdpt_safetensors_find(&f, want[i].name);
      if (!CHECK(t != NULL)) continue;
      CHECK(bdpt_safetensors_read(&ctx, t, v, 1) == BDPT_OK);
      CHECK(v[0] == (bdpt_real)want[i].value);
    }
    t = bdpt_safetensors_find(&f, "B");
    CHECK(t->ndim == 2 && t->shape[0] == 1 && t->shape[1] == 2 && t->size == 8);
    CHECK(bdpt_safetensors_read(&ctx, t, v, 2) == BDPT_OK && v[0] == 1.5f && v[1] == -2);
    CHECK(bdpt_safetensors_read(&ctx, t, v, 1) == BDPT_E_SHAPE);
    CHECK_HAS(ctx.message, "'B': 2 elements, but 1 wanted");
    bdpt_safetensors_close(&f);
    bdpt_safetensors_close(&f);
    CHECK(out_blocks == 0);
    free(p);
  }
}

TEST(not_converted) {
  bdpt_context ctx = fresh();
  bdpt_safetensors f;
  bdpt_real v[1];
  size_t size;
  unsigned char *p = make("{" T("a", "C64", "[1]", 0, 8) "}", strlen("{" T("a", "C64", "[1]", 0,
      8) "}"),
                          8, &size);
  CHECK(bdpt_safetensors_parse(&ctx, p, size, NULL, &f) == BDPT_OK);
  CHECK(f.tensor[0].dtype == BDPT_OTHER && strcmp(f.tensor[0].dtype_name, "C64") == 0);
  CHECK(bdpt_safetensors_read(&ctx, f.tensor, v, 1) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "numbers of dtype C64 cannot be read");
  bdpt_safetensors_close(&f);
  free(p);
}

/* ------------------------------------------------------------------------- safetensors: out --- */

static bdpt_write_tensor tensor(const char *name, int dtype, int ndim, size_t a, size_t b, size_t c,
                                const void *data, int raw) {
  bdpt_write_tensor t;
  memset(&t, 0, sizeof t);
  t.name = name; t.dtype = (bdpt_dtype)dtype; t.ndim = ndim; t.data = data; t.raw = raw;
  t.shape[0] = a; t.shape[1] = b; t.shape[2] = c;
  return t;
}

TEST(as_the_reference_writes) {
  bdpt_context ctx = fresh();
  static const char six[] = "\0\0\0\0\0\0\x80\x3f\0\0\0\x40" /* 0 to 5 */
                            "\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40";
  static const char pair[] = "\0\0\xc0\x3f\0\0\0\xc0"; /* 1.5, -2 */
  static const char tenth[] = "\xcd\xcc\xcc\x3d"; /* 0.1 */
  static const unsigned char minus2[8] = {254, 255, 255, 255, 255, 255, 255, 255}, one = 1,
      three = 3;
  static const unsigned char f64[8] = {0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f};
  const char *key = "k\"", *value = "v\n\x1f\r\f\xe2\x82\xac";
  bdpt_write_tensor t[11];
  bdpt_bytes bytes;
  t[0] = tensor("x", BDPT_F32, 0, 0, 0, 0, six + 4, 1); /* the example in the header's text */
  CHECK(bdpt_safetensors_build(&ctx, t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bytes.size == 68 && bytes.data[0] == 0x38 &&
        memcmp(bytes.data + 59, "}}   \0\0\x80\x3f", 9) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  t[0] = tensor("attn.0", BDPT_F32, 3, 1, 2, 3, six, 1);
  CHECK(bdpt_safetensors_build(&ctx, t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bytes.size == sizeof reference_scalars - 1 &&
        memcmp(bytes.data, reference_scalars, bytes.size) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bdpt_safetensors_build(&ctx, NULL, 0, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bytes.size == sizeof reference_empty - 1 &&
        memcmp(bytes.data, reference_empty, bytes.size) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  t[0] = tensor("u8", BDPT_U8, 1, 1, 0, 0, &one, 1);
  t[1] = tensor("zz", BDPT_F32, 2, 0, 2, 0, NULL, 1);
  t[2] = tensor("f16", BDPT_F16, 1, 1, 0, 0, "\x66\x2e", 1); /* 0.1 */
  t[3] = tensor("b9", BDPT_F32, 1, 1, 0, 0, six, 1);
  t[4] = tensor("b10", BDPT_F32, 1, 1, 0, 0, six, 1);
  t[5] = tensor("B", BDPT_F32, 2, 1, 2, 0, pair, 1);
  t[6] = tensor("bf16", BDPT_BF16, 1, 1, 0, 0, "\xcd\x3d", 1);
  t[7] = tensor("f32", BDPT_F32, 1, 1, 0, 0, tenth, 1);
  t[8] = tensor("i64", BDPT_I64, 1, 1, 0, 0, minus2, 1);
  t[9] = tensor("f64", BDPT_F64, 1, 1, 0, 0, f64, 1);
  t[10] = tensor("q\"\\/\b\t\n\1\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", BDPT_U8, 0, 0, 0, 0,
      &three, 1);
  CHECK(bdpt_safetensors_build(&ctx, t, 11, &key, &value, 1, &bytes) == BDPT_OK);
  CHECK(bytes.size == sizeof reference_mixed - 1 &&
        memcmp(bytes.data, reference_mixed, bytes.size) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(out_blocks == 0);
}

static void refused(const bdpt_write_tensor *t, size_t count, bdpt_status want,
    const char *phrase) {
  bdpt_context ctx = fresh();
  bdpt_bytes bytes;
  CHECK(bdpt_safetensors_build(&ctx, t, count, NULL, NULL, 0, &bytes) == want);
  if (!CHECK(strstr(ctx.message, phrase) != NULL)) printf("  %s (wanted: %s)\n", ctx.message,
      phrase);
  CHECK(bytes.data == NULL && out_blocks == 0);
}

TEST(not_written) {
  static const bdpt_real v[2] = {1, 2};
  bdpt_write_tensor t[2];
  const char *key[2] = {"k", "k"}, *value[2] = {"1", "2"};
  bdpt_context ctx = fresh();
  bdpt_bytes bytes;
  t[0] = tensor("a", BDPT_REAL_DTYPE, 1, 1, 0, 0, v, 0);
  t[1] = tensor("a", BDPT_F16, 1, 1, 0, 0, v, 1);
  refused(t, 2, BDPT_E_FORMAT, "'a': this name occurs twice");
  t[0].name = "__metadata__";
  refused(t, 1, BDPT_E_FORMAT, "write: '__metadata__': no string");
  t[0].name = "\xff";
  refused(t, 1, BDPT_E_FORMAT, "bad UTF-8");
  t[0] = tensor("a", BDPT_U8, 1, 1, 0, 0, v, 0);
  refused(t, 1, BDPT_E_ARGUMENT, "real numbers have another dtype");
  t[0] = tensor("a", BDPT_F16, 1, 1, 0, 0, v, 0);
  refused(t, 1, BDPT_E_ARGUMENT, "real numbers have another dtype");
  t[0] = tensor("a", BDPT_OTHER, 1, 1, 0, 0, v, 1);
  refused(t, 1, BDPT_E_ARGUMENT, "dtype 6: this dtype cannot be written");
  t[0] = tensor("a", BDPT_REAL_DTYPE, 5, 1, 0, 0, v, 0);
  refused(t, 1, BDPT_E_ARGUMENT, "more than 4 axes");
  t[0] = tensor("a", BDPT_REAL_DTYPE, 2, SIZE_MAX / 2, 3, 0, v, 0);
  refused(t, 1, BDPT_E_ARGUMENT, "its shape overflows");
  t[0] = tensor("a", BDPT_REAL_DTYPE, 1, 1, 0, 0, NULL, 0);
  refused(t, 1, BDPT_E_ARGUMENT, "it has no data");
  CHECK(bdpt_safetensors_build(&ctx, NULL, 0, key, value, 2, &bytes) == BDPT_E_FORMAT);
  CHECK_HAS(ctx.message, "write: 'k': this metadata key occurs twice");
  { /* a header over the limit, in one name */
    char *name = (char *)malloc(BDPT_HEADER_LIMIT + 1);
    memset(name, 'a', BDPT_HEADER_LIMIT);
    name[BDPT_HEADER_LIMIT] = 0;
    t[0] = tensor(name, BDPT_REAL_DTYPE, 1, 1, 0, 0, v, 0);
    refused(t, 1, BDPT_E_FORMAT, "over the limit of 100000000");
    free(name);
  }
}

/* What is written reads back, bit for bit. */
TEST(round_trip) {
  bdpt_context ctx = fresh();
  bdpt_real in[260], out[260];
  bdpt_bytes bytes;
  size_t i;
  bdpt_rng r;
  bdpt_write_tensor t = tensor("x", BDPT_REAL_DTYPE, 2, 26, 10, 0, in, 0);
  bdpt_safetensors f;
  bdpt_rng_seed(&r, 3, 1);
  for (i = 0; i < 256; i++) in[i] = (bdpt_real)(bdpt_normal(&r) * 100);
  in[256] = (bdpt_real)HUGE_VAL; in[257] = -in[256]; in[258] = in[256] - in[256]; in[259] =
      -(bdpt_real)0;
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, NULL, &f) == BDPT_OK);
  CHECK(f.tensor[0].count == 260 && f.tensor[0].dtype == BDPT_REAL_DTYPE);
  CHECK(bdpt_safetensors_read(&ctx, f.tensor, out, 260) == BDPT_OK);
  CHECK(memcmp(in, out, sizeof in) == 0);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(out_blocks == 0);
}

/* Between numbers of one width the bits are copied, every NaN's too. A NaN of another width stays
 * a quiet NaN of its sign, but on processors like RISC-V, whose conversions give one NaN only. */
TEST(bits_survive) {
  static const uint64_t pattern[][2] = { /* F32, F64: quiet, signalling, both signs, payloads */
    {0x7fc00000u, UINT64_C(0x7ff8000000000000)}, {0xffc00000u, UINT64_C(0xfff8000000000000)},
    {0x7fc12345u, UINT64_C(0x7ff8000000012345)}, {0xffffffffu, UINT64_C(0xffffffffffffffff)},
    {0x7f800001u, UINT64_C(0x7ff0000000000001)}, {0xffa00000u, UINT64_C(0xfff4000000000000)},
    {0x7f800000u, UINT64_C(0x7ff0000000000000)}, {0xff800000u, UINT64_C(0xfff0000000000000)},
    {0x80000000u, UINT64_C(0x8000000000000000)}, {0x00000001u, 1}, {0x007fffffu, 0x7ffff},
    {0x7f7fffffu, UINT64_C(0x7fefffffffffffff)}, {0x3f800001u, UINT64_C(0x3ff0000000000001)}};
  enum { N = sizeof pattern / sizeof *pattern };
  const int wide = sizeof(bdpt_real) == 8;
  bdpt_context ctx = fresh();
  bdpt_bytes bytes;
  unsigned char raw[8 * N];
  bdpt_real v[N], back[N];
  size_t i, n = sizeof(bdpt_real);
  bdpt_write_tensor t = tensor("x", wide ? BDPT_F64 : BDPT_F32, 1, N, 0, 0, raw, 1);
  bdpt_safetensors f;
  volatile double minus = -(double)NAN;
  volatile float narrow = (float)minus;
  const int keeps = !signbit(minus) == !signbit(narrow); /* 1: a NaN that is converted, its sign */
  int bad = 0;
  for (i = 0; i < N; i++) put_bytes(raw + n * i, (int)n, pattern[i][wide]);
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, NULL, &f) == BDPT_OK);
  CHECK(bdpt_safetensors_read(&ctx, f.tensor, v, N) == BDPT_OK);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  t.data = v;
  t.raw = 0;
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(memcmp(bytes.data + bytes.size - n * N, raw, n * N) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  t.dtype = wide ? BDPT_F32 : BDPT_F64;
  t.data = raw;
  t.raw = 1;
  for (i = 0; i < N; i++) put_bytes(raw + (12 - n) * i, (int)(12 - n), pattern[i][!wide]);
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, NULL, &f) == BDPT_OK);
  CHECK(bdpt_safetensors_read(&ctx, f.tensor, back, N) == BDPT_OK);
  for (i = 0; i < 6; i++)
    bad += back[i] == back[i] || (keeps && !signbit(back[i]) != !signbit(v[i]));
  for (i = 6; i < 9; i++) bad += !(back[i] == v[i]) || !signbit(back[i]) != !signbit(v[i]);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bad == 0);
  CHECK(out_blocks == 0);
}

/* -------------------------------------------------------------------------- whole files --- */

#define PLACE temporary("file")

#if defined(__unix__) || defined(__APPLE__)
static unsigned mode_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (unsigned)s.st_mode & 07777 : 0;
}

/* Links are followed, permissions kept, a read-only file is refused, a pipe is written to. */
TEST(names_that_are_no_plain_files) {
  bdpt_context ctx = fresh();
  char got[8] = "";
  int ends;
  remove(PLACE);
  remove(temporary("file.link"));
  put_file(PLACE, "old");
  CHECK(chmod(PLACE, 0640) == 0 && symlink(strrchr(PLACE, '/') ? strrchr(PLACE, '/') + 1 : PLACE,
                                           temporary("file.link")) == 0);
  CHECK(bdpt_file_write(&ctx, temporary("file.link"), "new", 3) == BDPT_OK && holds(PLACE, "new"));
  CHECK(mode_of(PLACE) == 0640 && readlink(temporary("file.link"), got, sizeof got) > 0);
  CHECK(chmod(PLACE, 0444) == 0);
  CHECK(bdpt_file_write(&ctx, temporary("file.link"), "x", 1) == BDPT_E_IO && holds(PLACE, "new"));
  CHECK_HAS(ctx.message, "is read-only and stays as it is");
  bdpt_clear_error(&ctx);
  remove(PLACE);
  CHECK(bdpt_file_write(&ctx, temporary("file.link"), "made", 4) == BDPT_E_IO);
  CHECK_HAS(ctx.message, "nobody can say what stands there");
  bdpt_clear_error(&ctx);
  CHECK(!exists(PLACE) && readlink(temporary("file.link"), got, sizeof got) > 0);
  remove(temporary("file.link"));
  CHECK(mkfifo(PLACE, 0600) == 0);
  ends = open(PLACE, O_RDONLY | O_NONBLOCK);
  CHECK(bdpt_file_write(&ctx, PLACE, "through", 7) == BDPT_OK);
  CHECK(read(ends, got, 7) == 7 && memcmp(got, "through", 7) == 0);
  close(ends);
  CHECK(!exists(temporary("file.link")) && left_over(PLACE) == 0);
  remove(PLACE);
  CHECK(bdpt_file_write(&ctx, "/dev/null", "gone", 4) == BDPT_OK && out_blocks == 0);
}

/* Twelve processes save to one name: no error, and the file is one of theirs, whole. */
TEST(twelve_writers) {
  enum { WRITERS = 12, BYTES = 100000 };
  bdpt_context ctx = fresh();
  bdpt_bytes bytes = {NULL, 0};
  size_t i;
  int k, status, good = 0;
  for (k = 0; k < WRITERS; k++) {
    if (fork() == 0) {
      static char text[BYTES];
      int n, bad = 0;
      memset(text, 'a' + k, BYTES);
      for (n = 0; n < 20; n++) bad += bdpt_file_write(&ctx, PLACE, text, BYTES) != BDPT_OK;
      _exit(bad != 0);
    }
  }
  for (k = 0; k < WRITERS; k++) good += wait(&status) > 0 && status == 0;
  CHECK(good == WRITERS);
  CHECK(bdpt_file_read(&ctx, PLACE, &bytes) == BDPT_OK && bytes.size == BYTES);
  for (i = 1; i < bytes.size && bytes.data[i] == bytes.data[0]; i++) { }
  CHECK(i == BYTES);
  bdpt_bytes_free(&ctx, &bytes);
  remove(PLACE);
}
#endif

TEST(whole_files) {
  bdpt_context ctx = fresh();
  bdpt_bytes bytes;
  size_t n = 200000, i;
  char *big = (char *)malloc(n);
  for (i = 0; i < n; i++) big[i] = (char)(i % 251);
  CHECK(bdpt_file_write(&ctx, PLACE, big, n) == BDPT_OK);
  CHECK(bdpt_file_read(&ctx, PLACE, &bytes) == BDPT_OK);
  CHECK(bytes.size == n && memcmp(bytes.data, big, n) == 0 && bytes.data[n] == 0);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(bdpt_file_write(&ctx, PLACE, "", 0) == BDPT_OK);
  CHECK(bdpt_file_read(&ctx, PLACE, &bytes) == BDPT_OK && bytes.size == 0 && bytes.data[0] == 0);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(!left_over(PLACE));
  CHECK(out_blocks == 0);
  remove(PLACE);
  CHECK(bdpt_file_read(&ctx, PLACE, &bytes) == BDPT_E_IO && bytes.data == NULL);
  CHECK_HAS(ctx.message, "-file: cannot be opened for reading (");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_file_write(&ctx, "no/such/folder/x", "a", 1) == BDPT_E_IO);
  CHECK_HAS(ctx.message, "no/such/folder/x.bdpt-tmp-");
#if defined(__unix__) || defined(__APPLE__)
  bdpt_clear_error(&ctx);
  CHECK(bdpt_file_read(&ctx, ".", &bytes) == BDPT_E_IO);
  CHECK_HAS(ctx.message, ".: reading failed (");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_file_write(&ctx, ".", "a", 1) == BDPT_E_IO); /* the name is taken by a folder */
  CHECK_HAS(ctx.message, ".: cannot be opened for writing (");
#elif defined(_WIN32)
  bdpt_clear_error(&ctx); /* devices have names in every folder */
  CHECK(bdpt_file_write(&ctx, "NUL", "gone", 4) == BDPT_OK);
  CHECK(bdpt_file_write(&ctx, ".\\nul", "gone", 4) == BDPT_OK);
#endif
  CHECK(out_blocks == 0);
  free(big);
}

/* -------------------------------------------------------------------------- models --- */

static bdpt_config odd_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 18; c.patch = 6; c.width = 20; c.depth = 4; c.heads = 5; c.classes = 7; c.distilled = 1;
  c.mlp = 24;
  c.block[2].heads = 2; c.block[2].head_dim = 7; c.block[2].mlp = 9;
  c.eps = 1e-12; c.mean[0] = 0.1; c.mean[1] = 1.0 / 3; c.std[0] = 0.3; c.std[1] = c.std[2] = 1;
  return c;
}

/* Returns a configuration with layers gone in every way that a file can tell. */
static bdpt_config pruned_config(void) {
  bdpt_config c = odd_config();
  c.block[0].attention = BDPT_ATTENTION_REMOVED;
  c.block[1].mlp_state = BDPT_MLP_LINEAR;
  c.block[1].attention = BDPT_ATTENTION_FITTED;
  c.block[2].mlp_state = BDPT_MLP_LINEAR;
  c.block[2].mlp_state = BDPT_MLP_FUSED;
  c.block[3].mlp_state = BDPT_MLP_FITTED;
  c.attn_form = BDPT_ATTN_DOUBLE;
  c.extra_gelu = BDPT_GELU_BOTH;
  c.pos_resize = BDPT_POS_DEIT;
  return c;
}

static int same_blocks(const bdpt_config *a, const bdpt_config *b) {
  int l;
  for (l = 0; l < a->depth; l++) {
    const bdpt_block *x = &a->block[l], *y = &b->block[l];
    if (x->heads != y->heads || x->head_dim != y->head_dim || x->mlp != y->mlp ||
        !same(x->scale, y->scale) || x->attention != y->attention ||
        x->mlp_state != y->mlp_state) return 0;
  }
  return a->image == b->image && a->patch == b->patch && a->channels == b->channels &&
         a->width == b->width && a->depth == b->depth && a->classes == b->classes &&
         a->distilled == b->distilled && same(a->eps, b->eps) &&
         memcmp(a->mean, b->mean, sizeof a->mean) == 0 &&
         memcmp(a->std, b->std, sizeof a->std) == 0 && a->attn_form == b->attn_form &&
         a->extra_gelu == b->extra_gelu && a->pos_resize == b->pos_resize;
}


TEST(models_come_back) {
  bdpt_config config[2];
  int i;
  config[0] = odd_config();
  config[1] = pruned_config();
  for (i = 0; i < 2; i++) {
    bdpt_context ctx = fresh();
    bdpt_model *m = bdpt_model_create(&ctx, &config[i], 5), *n;
    bdpt_bytes bytes, again;
    char before[17], after[17];
    if (!CHECK(m != NULL)) { printf("  %s\n", ctx.message); continue; }
    strcpy(m->parent, "00112233aabbccdd");
    strcpy(m->certificate, "fused within 3.1e-7, \"arg-max\" 256/256");
    m->config.block[1].scale = 0.1;
    CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
    n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", NULL);
    if (!CHECK(n != NULL)) { printf("  %s\n", ctx.message); continue; }
    bdpt_model_hash(m, before);
    bdpt_model_hash(n, after);
    CHECK(strcmp(before, after) == 0);
    CHECK(same_blocks(&m->config, &n->config));
    CHECK(strcmp(m->parent, n->parent) == 0 && strcmp(m->certificate, n->certificate) == 0);
    CHECK(n->preprocessing[0] == 0);
    CHECK(bdpt_model_build(n, &again) == BDPT_OK);
    CHECK(bytes.size == again.size && memcmp(bytes.data, again.data, bytes.size) == 0);
    bdpt_bytes_free(&ctx, &again);
    bdpt_bytes_free(&ctx, &bytes);
    CHECK(bdpt_model_save(m, PLACE) == BDPT_OK);
    bdpt_model_free(n);
    n = bdpt_model_load(&ctx, PLACE, NULL);
    CHECK(n != NULL && same_blocks(&m->config, &n->config));
    CHECK_CLOSE(n->param[BDPT_SLOT_POS].data[9], m->param[BDPT_SLOT_POS].data[9], 1e-3);
    bdpt_model_free(n);
    bdpt_model_free(m);
    CHECK(ctx.bytes_now == 0 && out_blocks == 0);
    remove(PLACE);
  }
}

TEST(metadata_text) {
  bdpt_context ctx = fresh();
  bdpt_config c = pruned_config();
  bdpt_model *m = bdpt_model_create(&ctx, &c, 5);
  static const char *const want[][2] = {
    {"format", "pt"}, {"boundarydpt", "1"}, {"image_size", "18"}, {"depth", "4"}, {"distilled",
      "1"},
    {"num_heads", "[5,5,2,5]"}, {"head_dim", "[4,4,7,4]"}, {"mlp_dim", "[24,24,9,24]"},
    {"layer_norm_eps", "1e-12"}, {"image_mean", "[0.1,0.3333333333333333,0]"},
    {"drop_attn_list", "[0]"}, {"fitted_attn_list", "[1]"}, {"drop_act_list", "[1,2,3]"},
    {"fused_mlp_list", "[2]"}, {"fitted_mlp_list", "[3]"}, {"attn_form", "double"},
    {"extra_gelu", "both"}, {"pos_resize", "deit"}};
  bdpt_bytes bytes;
  bdpt_safetensors f;
  size_t i;
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, NULL, &f) == BDPT_OK);
  for (i = 0; i < sizeof want / sizeof *want; i++) {
    const char *got = bdpt_safetensors_get(&f, want[i][0]);
    if (!CHECK(got && strcmp(got, want[i][1]) == 0)) printf("  %s: %s\n", want[i][0], got ? got :
        "-");
  }
  CHECK(!bdpt_safetensors_find(&f, "blocks.0.attn.qkv.weight"));
  CHECK(!bdpt_safetensors_find(&f, "blocks.0.norm1.weight")); /* the double form has no norm */
  CHECK(bdpt_safetensors_find(&f, "blocks.1.attn.fitted.weight") != NULL);
  CHECK(bdpt_safetensors_find(&f, "blocks.2.mlp.fused.bias") != NULL);
  CHECK(!bdpt_safetensors_find(&f, "blocks.2.mlp.fc1.weight"));
  CHECK(bdpt_safetensors_find(&f, "head_dist.weight") != NULL);
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

/* Writes the tensors of a model under another set of metadata; `drop`: leave one out; `add`: one
 * more. */
static bdpt_bytes rewrite(bdpt_context *ctx, const bdpt_model *m, const char *const *meta,
                          const char *drop, const bdpt_write_tensor *add) {
  bdpt_write_tensor list[200];
  const char *key[16], *value[16];
  size_t n = 0, pairs = 0;
  bdpt_bytes bytes = {NULL, 0};
  int i;
  for (i = 0; i < m->slots; i++) {
    if (!bdpt_model_active(m, i) || (drop && strcmp(drop, m->name[i]) == 0)) continue;
    list[n] = tensor(m->name[i], BDPT_REAL_DTYPE, m->param[i].ndim, 0, 0, 0, m->param[i].data, 0);
    memcpy(list[n].shape, m->param[i].shape, sizeof list[n].shape);
    n++;
  }
  if (add) list[n++] = *add;
  for (; meta && meta[2 * pairs]; pairs++) {
    key[pairs] = meta[2 * pairs];
    value[pairs] = meta[2 * pairs + 1];
  }
  CHECK(bdpt_safetensors_build(ctx, list, n, key, value, pairs, &bytes) == BDPT_OK);
  return bytes;
}

TEST(without_metadata) {
  bdpt_context ctx = fresh();
  bdpt_config c, tiny;
  bdpt_model *m, *n;
  bdpt_bytes bytes;
  char before[17], after[17];
  memset(&c, 0, sizeof c);
  c.image = 12; c.patch = 4; c.width = 128; c.depth = 4; c.heads = 2; c.classes = 5; c.mlp = 32;
  c.block[1].attention = BDPT_ATTENTION_REMOVED;
  c.block[2].mlp_state = BDPT_MLP_FUSED;
  c.block[3].attention = BDPT_ATTENTION_FITTED;
  c.eps = 1e-12; c.std[0] = c.std[1] = c.std[2] = 0.5;
  m = bdpt_model_create(&ctx, &c, 1);
  bytes = rewrite(&ctx, m, NULL, NULL, NULL);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &c);
  if (CHECK(n != NULL)) {
    bdpt_model_hash(m, before);
    bdpt_model_hash(n, after);
    CHECK(strcmp(before, after) == 0 && same_blocks(&m->config, &n->config));
    CHECK(n->config.eps == (double)1e-12); /* without the cast x87 compares more digits */
  }
  bdpt_model_free(n);
  c.heads = 3;
  CHECK(bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &c) == NULL);
  CHECK_HAS(ctx.message, "3 heads do not divide width 128");
  bdpt_clear_error(&ctx);
  c.depth = BDPT_MAX_DEPTH + 1;
  CHECK(bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &c) == NULL);
  CHECK_HAS(ctx.message, "depth is 65, not between 1 and 64");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", NULL) == NULL);
  CHECK_HAS(ctx.message, "'cls_token': [1,1,128] in the file, but the network needs [1,1,192]");
  bdpt_clear_error(&ctx);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  memset(&tiny, 0, sizeof tiny); /* what no caller has to tell */
  m = bdpt_model_create(&ctx, &tiny, 1);
  bytes = rewrite(&ctx, m, NULL, NULL, NULL);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", NULL);
  CHECK(n && same_blocks(&m->config, &n->config));
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(n);
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

/* Metadata written by hand may leave keys out, and give one number for all blocks. */
TEST(some_metadata) {
  bdpt_context ctx = fresh();
  static const char *const meta[] = {"boundarydpt", "1", "drop_act_list", "[0]", "num_heads", "4",
    "head_dim", "32", "layer_norm_eps", "1.5e-12", "attn_form", "skip", "parent", "ab", NULL, NULL};
  static const char *const not_ours[] = {"depth", "deep", "drop_act_list", "[0]", NULL, NULL};
  bdpt_config c;
  bdpt_model *m, *n;
  bdpt_bytes bytes;
  memset(&c, 0, sizeof c);
  c.image = 12; c.patch = 4; c.width = 128; c.depth = 2; c.heads = 2; c.classes = 5; c.mlp = 32;
  m = bdpt_model_create(&ctx, &c, 1);
  bytes = rewrite(&ctx, m, meta, NULL, NULL);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &c);
  if (!CHECK(n != NULL)) printf("  %s\n", ctx.message);
  CHECK(n && n->config.block[0].mlp_state != BDPT_MLP_KEPT && n->config.block[1].heads == 4);
  CHECK(n && n->config.block[1].mlp_state == BDPT_MLP_KEPT && n->config.block[0].head_dim == 32);
  CHECK(n && n->config.eps == (double)1.5e-12 && n->config.attn_form == BDPT_ATTN_SKIP);
  CHECK(n && strcmp(n->parent, "ab") == 0);
  bdpt_model_free(n);
  bdpt_bytes_free(&ctx, &bytes);
  bytes = rewrite(&ctx, m, not_ours, NULL, NULL);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &c);
  CHECK(n && n->config.depth == 2 && n->config.block[0].mlp_state == BDPT_MLP_KEPT);
  bdpt_model_free(n);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

/* Checks that a file which is not the network it should be is refused with a sentence. */
static void wrong(const bdpt_model *m, const char *const *meta, const char *drop,
                  const bdpt_write_tensor *add, bdpt_status want, const char *phrase) {
  bdpt_context ctx = fresh();
  bdpt_bytes bytes = rewrite(&ctx, m, meta, drop, add);
  bdpt_model *n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "m", &m->config);
  CHECK(n == NULL && ctx.status == want);
  if (!CHECK(strstr(ctx.message, phrase) != NULL)) printf("  %s (wanted: %s)\n", ctx.message,
      phrase);
  bdpt_model_free(n);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(ctx.bytes_now == 0);
}

TEST(wrong_models) {
  bdpt_context ctx = fresh();
  bdpt_config c;
  bdpt_model *m;
  static bdpt_real some[12] = {1};
  bdpt_write_tensor add = tensor("blocks.1.attn.extra", BDPT_REAL_DTYPE, 1, 3, 0, 0, some, 0);
  const char *meta[5] = {"boundarydpt", "1", NULL, NULL, NULL};
  static const struct { const char *key, *value; bdpt_status want; const char *phrase; } bad[] = {
    {"boundarydpt", "3", BDPT_E_FORMAT, "'boundarydpt': metadata of another version than 1"},
    {"boundarydpt", "new", BDPT_E_FORMAT, "'boundarydpt': metadata of another version"},
    {"depth", "65", BDPT_E_FORMAT, "'depth': 65 is over the limit of 64"},
    {"depth", "3", BDPT_E_FORMAT, "tensors missing: 12 (blocks.2.norm1.weight, ...)"},
    {"depth", "1", BDPT_E_FORMAT, "no part of the network as configured: "},
    {"depth", "-1", BDPT_E_FORMAT, "'-1', which is no whole number"},
    {"depth", "1e999", BDPT_E_FORMAT, "'1e999', which is no whole"},
    {"embed_dim", "64", BDPT_E_SHAPE, "'cls_token': [1,1,128] in the file, "
     "but the network needs [1,1,64]"},
    {"embed_dim", "1000000", BDPT_E_ARGUMENT, "config: width"},
    {"num_heads", "[2,2,2]", BDPT_E_FORMAT, "'num_heads': 3 numbers in the metadata, not 2"},
    {"num_heads", "[2,\"2\"]", BDPT_E_FORMAT, "which is no whole number"},
    {"num_heads", "3", BDPT_E_SHAPE, "'blocks.0.attn.qkv.weight': [384,128]"},
    {"mlp_dim", "[32,33]", BDPT_E_SHAPE, "'blocks.1.mlp.fc1.weight': [32,128] in the file"},
    {"drop_attn_list", "[1]", BDPT_E_FORMAT,
      "no part of the network as configured: 4 (blocks.1.attn.proj.bias, ...)"},
    {"drop_attn_list", "[2]", BDPT_E_FORMAT, "'drop_attn_list': the metadata name block 2 of 2"},
    {"fused_mlp_list", "[0]", BDPT_E_FORMAT, "missing: 2 (blocks.0.mlp.fused.weight"},
    {"fitted_mlp_list", "[0]", BDPT_E_FORMAT, "missing: 2 (blocks.0.mlp.fused.weight"},
    {"attn_form", "triple", BDPT_E_FORMAT, "'attn_form': unknown value 'triple'"},
    {"layer_norm_eps", "2", BDPT_E_ARGUMENT, "eps"},
    {"layer_norm_eps", "[1e-6,1e-6]", BDPT_E_FORMAT, "2 numbers in the metadata, not 1"},
    {"attn_scale", "[1e999,1]", BDPT_E_FORMAT, "attn_scale"},
    {"parent", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeffX", BDPT_E_FORMAT,
     "'parent': 65 bytes in the metadata, at most 64 fit"}};
  size_t i;
  memset(&c, 0, sizeof c);
  c.image = 12; c.patch = 4; c.width = 128; c.depth = 2; c.heads = 2; c.classes = 5; c.mlp = 32;
  m = bdpt_model_create(&ctx, &c, 1);
  for (i = 0; i < sizeof bad / sizeof *bad; i++) {
    int version = strcmp(bad[i].key, "boundarydpt") == 0;
    meta[version ? 1 : 2] = version ? bad[i].value : bad[i].key;
    if (!version) meta[3] = bad[i].value;
    wrong(m, meta, NULL, NULL, bad[i].want, bad[i].phrase);
    meta[1] = "1";
    meta[2] = NULL;
  }
  wrong(m, NULL, "blocks.1.norm2.bias", NULL, BDPT_E_FORMAT,
        "tensors missing: 1 (blocks.1.norm2.bias); no part");
  wrong(m, NULL, NULL, &add, BDPT_E_FORMAT,
      "no part of the network as configured: 1 (blocks.1.attn.extra)");
  add = tensor("", BDPT_REAL_DTYPE, 1, 3, 0, 0, some, 0);
  wrong(m, NULL, NULL, &add, BDPT_E_FORMAT, "no part of the network as configured: 1 ()");
  add = tensor("blocks.70.norm1.bias", BDPT_REAL_DTYPE, 1, 3, 0, 0, some, 0);
  wrong(m, NULL, NULL, &add, BDPT_E_FORMAT,
        "no part of the network as configured: 1 (blocks.70.norm1.bias)");
  add = tensor("pos_embed", BDPT_REAL_DTYPE, 3, 1, 12, 1, some, 0);
  wrong(m, NULL, "pos_embed", &add, BDPT_E_SHAPE,
        "'pos_embed': [1,12,1] in the file, but the network needs [1,10,128]");
  add = tensor("blocks.0.attn.proj.bias", BDPT_REAL_DTYPE, 2, 4, 3, 0, some, 0);
  wrong(m, NULL, add.name, &add, BDPT_E_SHAPE,
      "'blocks.0.attn.proj.bias': [4,3] in the file, but the network needs [128]");
  add = tensor(add.name, BDPT_REAL_DTYPE, 2, 128, 1, 0, m->param[BDPT_SLOT_NORM_W].data, 0);
  wrong(m, NULL, add.name, &add, BDPT_E_SHAPE, "[128,1] in the file, but the network needs [128]");
  add = tensor("vit.embeddings.cls_token", BDPT_REAL_DTYPE, 1, 3, 0, 0, some, 0);
  wrong(m, NULL, "cls_token", &add, BDPT_E_FORMAT, "tensors missing: 1 (cls_token); no part of "
        "the network as configured: 1 (vit.embeddings.cls_token)");
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

TEST(diverged_models_are_not_saved) {
  bdpt_context ctx = fresh();
  bdpt_config c = odd_config();
  bdpt_model *m = bdpt_model_create(&ctx, &c, 5);
  put_file(PLACE, "the healthy one");
  m->param[BDPT_SLOT_NORM_W].data[3] = (bdpt_real)HUGE_VAL;
  CHECK(bdpt_model_save(m, PLACE) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "element 3 of norm.weight is inf, not finite");
  CHECK(holds(PLACE, "the healthy one"));
  bdpt_clear_error(&ctx);
  m->param[BDPT_SLOT_NORM_W].data[3] = -(bdpt_real)HUGE_VAL;
  CHECK(bdpt_model_save(m, PLACE) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "element 3 of norm.weight is -inf");
  bdpt_clear_error(&ctx);
  m->param[BDPT_SLOT_NORM_W].data[3] = (bdpt_real)HUGE_VAL - (bdpt_real)HUGE_VAL;
  CHECK(bdpt_model_save(m, PLACE) == BDPT_E_NUMERIC);
  CHECK(holds(PLACE, "the healthy one"));
  remove(PLACE);
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

/* Memory runs out at the k-th request, for every k: an error, no leak, the old file untouched. */
TEST(out_of_memory) {
  bdpt_context ctx = fresh();
  bdpt_config c = pruned_config();
  bdpt_model *m = bdpt_model_create(&ctx, &c, 5), *n;
  size_t k, blocks, last = 0;
  CHECK(bdpt_model_save(m, PLACE) == BDPT_OK);
  blocks = out_blocks;
  for (k = 1; k < 1000; k++) {
    requests = 0;
    fail_from = k;
    n = bdpt_model_load(&ctx, PLACE, NULL);
    fail_from = 0;
    if (n) break;
    CHECK(ctx.status == BDPT_E_MEMORY && out_blocks == blocks);
    CHECK_HAS(ctx.message, "out of memory");
    bdpt_clear_error(&ctx);
  }
  CHECK(k > 20 && k < 1000);
  bdpt_model_free(n);
  put_file(PLACE, "the old file");
  for (k = 1; k < 1000; k++) {
    bdpt_status s;
    requests = 0;
    fail_from = k;
    s = bdpt_model_save(m, PLACE);
    fail_from = 0;
    if (s == BDPT_OK) { last = k; break; }
    CHECK(s == BDPT_E_MEMORY && out_blocks == blocks && holds(PLACE, "the old file"));
    bdpt_clear_error(&ctx);
  }
  CHECK(last > 3 && !holds(PLACE, "the old file"));
  remove(PLACE);
  bdpt_model_free(m);
  CHECK(out_blocks == 0);
}

/* -------------------------------------------------------------------------- main --- */

static int dump(const char *folder) {
  size_t i, size;
  for (i = 0; i < VECTORS; i++) {
    char path[400];
    unsigned char *p = make(vectors[i].header, strlen(vectors[i].header), vectors[i].data, &size);
    FILE *f;
    snprintf(path, sizeof path, "%s/%c-%c-%02zu.safetensors", folder, vectors[i].reference,
             vectors[i].phrase ? 'n' : 'y', i);
    f = fopen(path, "wb");
    if (!f) return 1;
    fwrite(p, 1, size, f);
    fclose(f);
    free(p);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "dump") == 0) return dump(argv[2]);
  RUN(strings);
  RUN(conformance);
  RUN(lengths);
  RUN(other_formats);
  RUN(cut_and_changed);
  RUN(big_headers);
  RUN(reading);
  RUN(not_converted);
  RUN(as_the_reference_writes);
  RUN(not_written);
  RUN(round_trip);
  RUN(bits_survive);
#if defined(__unix__) || defined(__APPLE__)
  RUN(names_that_are_no_plain_files);
  RUN(twelve_writers);
#endif
  RUN(whole_files);
  RUN(models_come_back);
  RUN(metadata_text);
  RUN(without_metadata);
  RUN(some_metadata);
  RUN(wrong_models);
  RUN(diverged_models_are_not_saved);
  RUN(out_of_memory);
  return TEST_END("files");
}
