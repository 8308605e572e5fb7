/* Fuzz target: the study's recipe. The input's lines replace those of data/quick.recipe that have
 * the same name, so that most inputs are recipes but for a line. */
#include "fuzz_text.h"
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/cli/options.c"
#include "../examples/tool/cli/settings.c"
#include "../examples/tool/study/recipe.c"

int study_start(const char *name) { return strcmp(name, "skip-fit") == 0 ? 2 : -1; }

static void try(const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  static study s;
  static char text[8192];
  bdpt_status status;
  memset(&s, 0, sizeof s);
  fuzz_bytes = data, fuzz_size = size;
  status = study_read(&s, &ctx, "fuzz");
  if (!status) {
    study_values(&s.recipe, text, sizeof text);
    FUZZ_CHECK(memchr(text, 0, sizeof text) != NULL && s.recipe.seeds > 0);
  }
  bdpt_bytes_free(&ctx, &s.text);
  fuzz_end(&ctx, status != BDPT_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char whole[16384], file[16384];
  static size_t length;
  char *line, *end;
  size_t used = 0, name;
  if (!length) {
    FILE *f = fopen("data/quick.recipe", "rb");
    FUZZ_CHECK(f != NULL);
    length = fread(whole, 1, sizeof whole - 1, f);
    fclose(f);
  }
  try(data, size);
  name = 0;
  while (name < size && name < 30 && data[name] != ' ' && data[name] != '\n') name++;
  for (line = whole; line < whole + length; line = end + 1) { /* without the line of that name */
    end = (char *)memchr(line, '\n', (size_t)(whole + length - line));
    if (!end) break;
    if (name && strncmp(line, (const char *)data, name) == 0 && line[name] == ' ') continue;
    memcpy(file + used, line, (size_t)(end + 1 - line));
    used += (size_t)(end + 1 - line);
  }
  if (size > sizeof file - used) size = sizeof file - used;
  memcpy(file + used, data, size);
  try((const uint8_t *)file, used + size);
  return 0;
}
