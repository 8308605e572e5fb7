/* disk.h: small files that a test writes, compares and looks for; included after test.h */
#ifndef TESTS_DISK_H
#define TESTS_DISK_H

#include <stdio.h>
#include <string.h>

static void put_file(const char *path, const char *text) {
  FILE *f = fopen(path, "wb");
  if (f) { fwrite(text, 1, strlen(text), f); fclose(f); }
}
static int holds(const char *path, const char *text) {
  char got[64];
  size_t n = 0;
  FILE *f = fopen(path, "rb");
  if (f) { n = fread(got, 1, sizeof got - 1, f); fclose(f); }
  got[n] = 0;
  return f && strcmp(got, text) == 0;
}
static int exists(const char *path) {
  FILE *f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

/* Returns 1 if a save has forgotten a temporary file of this process. */
static int left_over(const char *path) {
  char name[200];
  snprintf(name, sizeof name, "%s.bdpt-tmp-%lu-0", path, TEST_PROCESS);
  return exists(name);
}

#endif /* TESTS_DISK_H */
