/* Fuzz target: the study's recipe. The input's lines are read on top of data/quick.recipe, which
 * was read once, so that most inputs give a recipe that is whole; and one in 64 as a file of its
 * own, and as the last lines of that file, where a name must not stand twice.
 * longest: 160 */
#include "fuzz_text.h"
#include "../examples/tool/cli/messages.c"
#include "../examples/tool/cli/json.c"
#include "../examples/tool/cli/options.c"
#include "../examples/tool/cli/settings.c"
#include "../examples/tool/study/recipe.c"

int study_start(const char *name) { return strcmp(name, "skip-fit") == 0 ? 2 : -1; }

static uint8_t quick[16384]; /* the file, with room behind it */
static size_t quick_size;

static void show(study *s) {
  static char text[8192];
  study_values(&s->recipe, text, sizeof text);
  FUZZ_CHECK(memchr(text, 0, sizeof text) != NULL && s->recipe.seeds > 0);
}

static void read_file(study *s, const uint8_t *data, size_t size) {
  bdpt_context ctx = fuzz_context();
  bdpt_status status;
  memset(s, 0, sizeof *s);
  fuzz_bytes = data; fuzz_size = size;
  status = study_read(s, &ctx, "fuzz");
  if (!status) show(s);
  bdpt_bytes_free(&ctx, &s->text);
  fuzz_end(&ctx, status != BDPT_OK);
}

static void start(study *s) {
  FILE *f = fopen("data/quick.recipe", "rb");
  FUZZ_CHECK(f != NULL);
  quick_size = fread(quick, 1, sizeof quick / 2, f);
  fclose(f);
  FUZZ_CHECK(quick_size > 1000 && quick_size < sizeof quick / 2);
  read_file(s, quick, quick_size);
  FUZZ_CHECK(s->recipe.seeds == 2);
  s->recipe.start_best = s->recipe.distill_start = "skip-fit"; /* these stood in the text */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static study ready, s;
  cli_option keys[STUDY_KEYS];
  int seen[STUDY_KEYS] = {0}, count;
  char why[CLI_WHY], *text;
  if (!quick_size) start(&ready);
  if (size % 64 == 0) {
    const size_t n = size < sizeof quick - quick_size ? size : sizeof quick - quick_size;
    read_file(&s, data, size);
    if (n) memcpy(quick + quick_size, data, n);
    read_file(&s, quick, quick_size + n);
  }
  if (size && memchr(data, 0, size)) return 0; /* study_read refuses it before */
  s.recipe = ready.recipe;
  count = study_keys(&s.recipe, keys);
  text = (char *)malloc(size + 1); /* of exactly its size, so that reading on is seen */
  FUZZ_CHECK(text != NULL);
  if (size) memcpy(text, data, size);
  text[size] = 0;
  if (cli_settings_read(text, keys, count, 0, seen, why)) {
    const char *problem = study_impossible(&s.recipe);
    if (problem) FUZZ_CHECK(problem[0] != 0);
    else show(&s);
  } else {
    FUZZ_CHECK(why[0] && memchr(why, 0, sizeof why));
  }
  free(text);
  return 0;
}
