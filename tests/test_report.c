/* The report: what it says must follow from the numbers, whatever the numbers are.
 *
 * The page is checked as text: every tag closed in order, nothing fetched, no NaN in a drawing;
 * then the sentences that must change with the data; then bad files; then hundreds of damaged ones.
 */
#include "../boundarydpt.h"
#include "../examples/tool/cli/progress.h"
#include "../examples/tool/report/report.h"
#include "../examples/tool/report/sections.h"
#include "test.h"

static const char *const sample = "tests/vectors/report_sample.jsonl";
static const char *const output = "test_report.tmp";
static bdpt_context ctx;

/* Makes a page from text in memory; NULL if the text was refused. The caller frees it. */
static char *page_of(const char *text, size_t size) {
  report_run run;
  report_page page;
  bdpt_clear_error(&ctx);
  if (report_load(&ctx, text, size, "memory", &run) != BDPT_OK) return NULL;
  report_render(&page, &run);
  report_free(&run);
  if (!page.failed) return page.text;
  free(page.text);
  return NULL;
}

static char *page_of_text(const char *text) { return page_of(text, strlen(text)); }

/* Returns the sample with `from` replaced by `to` wherever it stands. Freed by the caller. */
static char *changed(const char *text, const char *from, const char *to) {
  size_t count = 0, a = strlen(from), b = strlen(to);
  const char *at;
  char *out, *end;
  for (at = text; (at = strstr(at, from)) != NULL; at += a) count++;
  CHECK(count > 0); /* or the test tests nothing */
  out = end = (char *)malloc(strlen(text) + count * b + 1);
  while (out && (at = strstr(text, from)) != NULL) {
    memcpy(end, text, (size_t)(at - text));
    end += at - text;
    memcpy(end, to, b);
    end += b;
    text = at + a;
  }
  if (out) strcpy(end, text);
  return out;
}

static char *sample_text(void) {
  bdpt_bytes bytes = {NULL, 0};
  char *text = NULL;
  if (bdpt_file_read(&ctx, sample, &bytes) != BDPT_OK) return NULL;
  text = (char *)malloc(bytes.size + 1);
  if (text) {
    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = 0;
  }
  bdpt_bytes_free(&ctx, &bytes);
  return text;
}

/* Returns 1 if every element is closed in order, every attribute quoted, and all is ASCII. */
static int well_formed(const char *html) {
  char stack[64][16];
  int depth = 0, length, closing, quotes;
  const char *at = html;
  for (; *at; at++) {
    if ((unsigned char)*at > 126) return 0;
    if (*at == '>') return 0;
    if (*at != '<') continue;
    if (strncmp(at, "<!DOCTYPE html>", 15) == 0) {
      at += 14;
      continue;
    }
    closing = at[1] == '/';
    at += 1 + closing;
    for (length = 0; (at[length] >= 'a' && at[length] <= 'z') || (at[length] >= '0' &&
         at[length] <= '9'); length++) continue;
    if (length == 0 || length > 15) return 0;
    if (closing) {
      if (depth == 0 || (int)strlen(stack[depth - 1]) != length ||
          strncmp(stack[depth - 1], at, (size_t)length) != 0) return 0;
      depth--;
    } else if (depth == 64) return 0;
    else {
      memcpy(stack[depth], at, (size_t)length);
      stack[depth++][length] = 0;
    }
    for (at += length, quotes = 0; *at && (quotes % 2 || *at != '>'); at++) {
      if (*at == '"') quotes++;
      if (*at == '<') return 0;
    }
    if (!*at || quotes % 2) return 0;
    if (!closing && (at[-1] == '/' || strcmp(stack[depth - 1], "meta") == 0)) depth--;
    if (!closing && depth > 0 && strcmp(stack[depth - 1], "style") == 0) {
      at = strstr(at, "</style>");
      if (!at) return 0;
      at--;
    }
  }
  return depth == 0;
}

/* Returns 1 if a drawing or a sentence holds a number that is none. */
static int has_nan(const char *html) {
  const char *at = html;
  for (; (at = strpbrk(at, "ni")) != NULL; at++) {
    int start = at == html || !((at[-1] | 32) >= 'a' && (at[-1] | 32) <= 'z');
    if (start && (strncmp(at, "nan", 3) == 0 || strncmp(at, "inf", 3) == 0) &&
        !((at[3] | 32) >= 'a' && (at[3] | 32) <= 'z')) return 1;
  }
  return 0;
}

static int has(const char *html, const char *part) { return html && strstr(html, part) != NULL; }

/* Checks the page of the sample, its text changed: it must be sound, and must (not) say
 * something. */
static void says(const char *from, const char *to, const char *must, const char *must_not) {
  char *text = sample_text(), *other = text ? changed(text, from, to) : NULL;
  char *html = other ? page_of_text(other) : NULL;
  int ok = html && has(html, must) && (!must_not || !has(html, must_not)) && well_formed(html) &&
           !has_nan(html);
  if (!CHECK(ok)) printf("  \"%s\" -> \"%s\" should give: %s\n", from, to, must);
  free(text);
  free(other);
  free(html);
}

TEST(the_sample_makes_a_sound_page) {
  char *text = sample_text(), *html;
  size_t i;
  if (!CHECK(text != NULL)) return;
  html = page_of_text(text);
  if (CHECK(html != NULL)) {
    CHECK(well_formed(html));
    CHECK(!has_nan(html));
    CHECK(!has(html, "<script") && !has(html, "http"));
    CHECK(!has(html, "url(") && !has(html, "@import"));
    for (i = 0; report_section[i].title; i++)
      CHECK(has(html, report_section[i].title));
    CHECK(!has(html, "nothing to draw"));
    CHECK(has(html, "Every number on this page is invented"));
    CHECK(has(html, "&lt;not real&gt; &amp; co") && !has(html, "<not real>"));
    CHECK(has(html, "1.32 times as fast (1.27 to 1.37"));
    CHECK(has(html, "the paper's figure shows 398 times"));
    CHECK(has(html, "study -85.8 and -1.8 after 10 epochs"));
  }
  free(html);
  free(text);
}

TEST(sentences_follow_the_numbers) {
  says("\"sample\":true,", "", "Removing layers from", "Sample.");
  says("{\"kind\":\"done\"", "{\"kind\":\"stopped\"", "Unfinished.", NULL);
  says("\"ms_high\":32.0", "\"ms_high\":40.7", "inside the noise", "times as fast (");
  says("\"ms\":31.3,\"ms_low\":30.8,\"ms_high\":32.0", "\"ms\":52,\"ms_low\":51,\"ms_high\":53",
       "slower than the dense one, 1.26 times its time", "times as fast (");
  says("\"ms_high\":32.0,\"batch\":16", "\"ms_high\":32.0,\"batch\":8",
       "cannot be compared", "times as fast (");
  says("\"ms_low\":30.8,", "", "cannot be compared", "times as fast (");
  says("\"accuracy\":11.2", "\"accuracy\":70.2", "cannot tell from nothing", "fine-tuning won");
  says("\"name\":\"recovered\",\"accuracy\":68.9", "\"name\":\"recovered\",\"accuracy\":11.3",
       "won nothing back", NULL);
  says("\"name\":\"recovered\",\"accuracy\":68.9", "\"name\":\"recovered\",\"accuracy\":50",
       "points below the dense one", "What remains lies within");
  says("\"name\":\"fused\",\"accuracy\":68.9", "\"name\":\"fused\",\"accuracy\":60",
       "a loss of 10.35 points", "within the sampling error of the test part.</p>");
  says("\"kind\":\"disparity\",", "\"kind\":\"disparity\",\"x\":0,", "35.5 times", "reversed");
  says("\"activation\":[0.", "\"activation\":[0.00000", "larger in 11 of 12 layers", NULL);
  says("\"cv_rmse\":[1.31,0.52", "\"cv_rmse\":[1.31,0.42", "inside the noise of", "a clear one");
  says("\"cv_rmse\":[1.31,0.52", "\"cv_rmse\":[1.31,0.02", "a clear one", "inside the noise of");
  says("\"budget\":4,\"attentions\":2,\"activations\":2", "\"budget\":4,\"least\":2,"
       "\"attentions\":3,\"activations\":1", "highest elsewhere on the line", "next best");
  says("\"budget\":4,\"attentions\":2,\"activations\":2", "\"budget\":8,\"attentions\":4,"
       "\"activations\":4", "0.08 points. ", "at least");
  says("\"data\":\"generated\"", "\"data\":\"cifar-100\"", "cifar-100", "drawn by a program");
}

/* The polynomial of the run file is read with the first exponent as attention's. */
TEST(the_surface_is_read_right) {
  static const char *const line = "{\"kind\":\"map\",\"terms\":[[0,0],[2,0],[1,1],[0,3]],"
                                  "\"theta\":[50,8,4,16]}";
  report_run run;
  CHECK(report_load(&ctx, line, strlen(line), "memory", &run) == BDPT_OK);
  CHECK_CLOSE(report_predict(report_next(&run, NULL, "map"), 0.5, 1), 50 + 2 + 2 + 16, 1e-12);
  CHECK_CLOSE(report_predict(report_next(&run, NULL, "map"), 1, 0.5), 50 + 8 + 2 + 2, 1e-12);
  report_free(&run);
}

/* Exchanging the types turns both phenomena round; the captions must not claim them. */
TEST(reversed_phenomena_are_not_claimed) {
  char *text = sample_text(), *a, *b, *c, *html;
  if (!CHECK(text != NULL)) return;
  a = changed(text, "attention", "ATT");
  b = changed(a, "activation", "attention");
  c = changed(b, "ATT", "activation");
  html = page_of_text(c);
  CHECK(has(html, "The order is reversed here: the attention gradients are 35.5 times"));
  CHECK(has(html, "The asymmetry of the paper does not show"));
  CHECK(!has(html, "as published"));
  CHECK(html && well_formed(html));
  free(html);
  free(c);
  free(b);
  free(a);
  free(text);
}

TEST(missing_sections_say_so) {
  static const char *const setup = "{\"kind\":\"setup\",\"depth\":12,\"command\":\"make <run>\"}\n";
  char *html = page_of_text(setup), *text = sample_text();
  size_t i;
  int count = 0;
  const char *at = html;
  CHECK(html && well_formed(html) && !has_nan(html));
  while (at && (at = strstr(at, "nothing to draw")) != NULL) {
    at++;
    count++;
  }
  CHECK(count > 0 && !report_section[count].title);
  free(html);
  html = page_of_text("");
  CHECK(html && well_formed(html) && has(html, "Unfinished."));
  free(html);
  /* Each kind missing in turn, and each kind alone: the page stays sound. */
  for (i = 0; text && report_section[i].title; i++) {
    char kind[40], other[40], *without;
    snprintf(kind, sizeof kind, "\"kind\":\"%s\"", report_section[i].kind);
    snprintf(other, sizeof other, "\"kind\":\"no-%s\"", report_section[i].kind);
    without = changed(text, kind, other);
    html = page_of_text(without);
    CHECK(html && well_formed(html) && !has_nan(html) && has(html, "nothing to draw"));
    free(html);
    free(without);
  }
  says("\"kind\":\"setup\"", "\"kind\":\"other\"", "35.5 times", "nothing to draw");
  says("\"kind\":\"map_point\"", "\"kind\":\"other\"", "through 0 measured", NULL);
  says("\"kind\":\"importance\"", "\"kind\":\"other\"", "Recovery went from", NULL);
  free(text);
}

TEST(odd_values_are_kept_out) {
  says("\"layer\":3", "\"layer\":99", "Without one", NULL);
  says("\"layer\":3", "\"layer\":-1", "Without one", NULL);
  says("\"layer\":3", "\"layer\":2.5e99", "Without one", NULL);
  says("\"depth\":12,\"heads\"", "\"depth\":64,\"heads\"", "64 blocks", NULL);
  says("\"depth\":12,\"heads\"", "\"depth\":1,\"heads\"", "of 1 block ", NULL);
  says("\"depth\":12,\"heads\"", "\"depth\":1000,\"heads\"", "12 blocks", NULL);
  says("\"accuracy\":70.35", "\"accuracy\":null", "Removing layers", NULL);
  says("\"accuracy\":70.35", "\"accuracy\":{\"a\":[1,{\"b\":2}],\"kind\":\"x\"}", "Removing", NULL);
  says("\"accuracy\":70.35", "\"accuracy\":\"<b>\"", "Removing layers", "<b>\"");
  says("\"name\":\"fused\"", "\"name\":\"<i>\"", "not measured both", "<i>\"");
  says("\"accuracy\":70.35", "\"accuracy\":7e300", "Removing layers", "000000000000");
  says("\"version\":\"0.1.0\"", "\"version\":\"<\\u0000\\\"&'>\"", "&lt;", NULL);
}

TEST(later_lines_replace_earlier_ones) {
  static const char *const two =
      "{\"kind\":\"row\",\"name\":\"dense\",\"accuracy\":11.5}\n\r\n"
      "{\"kind\":\"row\",\"name\":\"dense\",\"accuracy\":22.5}\n"
      "{\"kind\":\"recovery\",\"type\":\"attention\",\"layer\":1}\n"
      "{\"kind\":\"recovery\",\"type\":\"attention\",\"layer\":2}\n"
      "{\"kind\":\"recovery\",\"type\":\"activation\",\"layer\":2}\n"
      "{\"kind\":\"recovery\",\"type\":\"attention\",\"layer\":2}";
  report_run run;
  CHECK(report_load(&ctx, two, strlen(two), "memory", &run) == BDPT_OK);
  CHECK(report_count(&run, "row") == 1 && report_count(&run, "recovery") == 3);
  CHECK_CLOSE(report_number(run.row[REPORT_DENSE], "accuracy"), 22.5, 0);
  report_free(&run);
}

static void refused(const char *text, const char *place, const char *what) {
  char *html = page_of_text(text);
  CHECK(html == NULL && ctx.status == BDPT_E_FORMAT);
  if (!CHECK(strstr(ctx.message, place) != NULL && strstr(ctx.message, what) != NULL))
    printf("  message: %s\n", ctx.message);
  free(html);
  bdpt_clear_error(&ctx);
}

TEST(bad_files_are_refused_by_line) {
  bdpt_bytes bytes = {NULL, 0};
  FILE *f;
  refused("{\"kind\":\"done\"}\n{\"kind\":\"row\",}\n", "memory: line 2, byte ", "");
  refused("\n\n{\"kind\":\"row\"", "line 3", "");
  refused("{\"kind\":\"done\"}\n[1,2]\n", "line 2", "must be one object");
  refused("17", "line 1", "must be one object");
  refused("{\"kindly\":\"done\"}", "line 1", "no \"kind\"");
  refused("{\"kind\":7}", "line 1", "no \"kind\"");
  refused("{\"kind\":\"a\"} {\"kind\":\"b\"}", "line 1", "");
  /* On disk: a bad file leaves the page that was there as it was. */
  f = fopen(output, "wb");
  if (!CHECK(f != NULL)) return;
  fputs("{\"kind\":\"done\"}\n{\n", f);
  fclose(f);
  CHECK(report_write(&ctx, output, output) != BDPT_OK);
  CHECK_HAS(ctx.message, "line 2");
  bdpt_clear_error(&ctx);
  CHECK(bdpt_file_read(&ctx, output, &bytes) == BDPT_OK && bytes.size == 18);
  bdpt_bytes_free(&ctx, &bytes);
  CHECK(report_write(&ctx, "no/such/run.jsonl", output) != BDPT_OK && ctx.status == BDPT_E_IO);
  bdpt_clear_error(&ctx);
  CHECK(report_write(&ctx, sample, "no/such/page.html") != BDPT_OK && ctx.status == BDPT_E_IO);
  bdpt_clear_error(&ctx);
  remove(output);
}

/* The terminal's table and the page's hold the same cells, and no line is wider than a terminal. */
/* Checks that every hollow mark is a published number, in the run's page and in the study's. */
static void hollow_is_published(const char *html) {
  const char *at;
  int rings = 0;
  for (at = html; (at = strstr(at, "class=\"ring")) != NULL; at++, rings++) {
    const char *title = strstr(at, "<title>"), *end = strstr(at, "</circle>");
    int key = strncmp(at, "class=\"ring q\" cx=\"6\" cy=\"6\"", 30) == 0; /* in the key */
    CHECK(key || (title && end && title < end && strncmp(title, "<title>paper", 12) == 0));
  }
  CHECK(rings > 10);
}

/* The interval of a difference comes from the images that only one network has right. */
TEST(intervals_on_the_same_images_are_paired) {
  static const char *const rows =
      "{\"kind\":\"row\",\"name\":\"dense\",\"accuracy\":60,\"images\":1000}\n"
      "{\"kind\":\"row\",\"name\":\"pruned\",\"accuracy\":20,\"images\":1000,\"gained\":10,"
      "\"lost\":"
      "410}\n{\"kind\":\"row\",\"name\":\"recovered\",\"accuracy\":58,\"images\":1000,\"gained\":"
      "30,"
      "\"lost\":50,\"gained_pruned\":400,\"lost_pruned\":20}\n";
  report_run run;
  char *html;
  int told;
  CHECK(report_load(&ctx, rows, strlen(rows), "memory", &run) == BDPT_OK);
  CHECK_CLOSE(report_difference(run.row[0], run.row[2]), 196 * sqrt(80 - 0.4) / 1000, 1e-12);
  CHECK_CLOSE(report_lost(run.row[0], run.row[2], &told), 2, 1e-12);
  CHECK(told == 1); /* unpaired, 4.3 points would be needed */
  CHECK_CLOSE(report_difference(run.row[1], run.row[2]), 196 * sqrt(420 - 144.4) / 1000, 1e-12);
  CHECK_CLOSE(report_difference(run.row[0], run.row[1]), 196 * sqrt(420 - 160) / 1000, 1e-12);
  report_free(&run);
  html = page_of_text(rows);
  CHECK(html &&
        has(html, "by &minus;2.00 &plusmn; 1.75 points (95&nbsp;% interval, image by image)"));
  free(html);
}

/* The study that is shipped shows the order by recovery among the ways, as the best, seed by seed;
 * the panel without scatter says why it looks empty. */
TEST(the_shipped_study) {
  bdpt_bytes bytes = {NULL, 0};
  char *html;
  CHECK(bdpt_file_read(&ctx, "data/reproduce.jsonl", &bytes) == BDPT_OK);
  html = page_of((const char *)bytes.data, bytes.size);
  CHECK(html && well_formed(html) && !has_nan(html));
  CHECK(has(html, "The best mean has <q>recovered accuracy</q>, 60.72&nbsp;%"));
  CHECK(has(html, "It is ahead with 3 of 3 seeds, by 5.90 to 6.78 points"));
  CHECK(has(html, "every dot is on the upper edge: no trial chose another"));
  CHECK(has(html, "costs the dense network 5.4 points at 1 a block, 41.1 points at 2 a block"));
  hollow_is_published(html);
  free(html);
  bdpt_bytes_free(&ctx, &bytes);
  html = page_of_text("{\"kind\":\"recipe\",\"text\":\"\"}\n{\"kind\":\"plus\",\"way\":\"depth\"}\n"
                      "{\"kind\":\"ranking\",\"way\":\"random\"}\n{\"kind\":\"timing\"}\n"
                      "{\"kind\":\"types\"}\n{\"kind\":\"split\"}\n");
  CHECK(html && well_formed(html) && has(html, "no network of this part has been measured yet"));
  CHECK(html && has(html, "no published network was timed yet"));
  CHECK(html && has(html, "no network of this part was timed yet"));
  CHECK(html && has(html, "no split was tried with noise yet"));
  free(html);
}

/* On a telephone a wide table scrolls inside its own box. */
TEST(tables_scroll) {
  char *text = sample_text(), *html = page_of_text(text);
  const char *at;
  int tables = 0;
  hollow_is_published(html);
  CHECK(has(html, ".wide{overflow-x:auto"));
  for (at = html; (at = strstr(at, "<table")) != NULL; at++, tables++)
    CHECK(at - html > 18 && strncmp(at - 18, "<div class=\"wide\">", 18) == 0);
  CHECK(tables >= 2);
  free(html);
  free(text);
}

TEST(terminal_and_page_agree) {
  FILE *out = fopen(output, "w+b");
  char line[400], *text = sample_text(), *html = text ? page_of_text(text) : NULL;
  int lines = 0;
  if (!CHECK(out != NULL && html != NULL)) return;
  CHECK(report_table(&ctx, sample, out) == BDPT_OK);
  rewind(out);
  while (fgets(line, sizeof line, out)) {
    lines++;
    CHECK(strlen(line) <= 101);
    if (strncmp(line, "fused", 5) == 0) {
      CHECK_HAS(line, "68.90 +- 2.03");
      CHECK_HAS(line, "1,122,148");
      CHECK_HAS(line, "31.30 (30.80-32.00)");
      CHECK_HAS(line, "1.32 (1.27-1.37)");
    }
  }
  CHECK(lines == 1 + REPORT_ROWS);
  CHECK(has(html, "68.90 <i>&plusmn; 2.03</i>") && has(html, "<td>1,122,148</td>"));
  CHECK(has(html, "31.30 <i>(30.80&ndash;32.00)</i>") &&
        has(html, "1.32 <i>(1.27&ndash;1.37)</i>"));
  fclose(out);
  remove(output);
  free(html);
  free(text);
}

/* Damaged files are refused with a sentence, or drawn soundly. Digits, brackets and commas are what
 * changes a number or a structure without breaking the JSON at once. */
TEST(damage_never_breaks_the_page) {
  static const char spare[] = "0123456789.-e,[]{}\"\\: nullatrue\n";
  char *text = sample_text();
  size_t size = text ? strlen(text) : 0;
  int round, drawn = 0, sound = 0, told = 0;
  if (!CHECK(size > 1000)) return;
  for (round = 0; round < 400; round++) {
    char *copy = (char *)malloc(size + 1), *html;
    uint64_t at = (uint64_t)(round + 1) * UINT64_C(0x9e3779b97f4a7c15);
    int k, edits = 1 + round % 3;
    if (!copy) break;
    memcpy(copy, text, size + 1);
    for (k = 0; k < edits; k++) {
      size_t where;
      at = at * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
      where = (size_t)(at >> 33) % size;
      /* half of the edits stay within a number, so that the file stays JSON */
      while (k % 2 == 0 && round % 2 && !(copy[where] >= '1' && copy[where] <= '9'))
        where = (where + 1) % size;
      copy[where] = round % 2 && k % 2 == 0 ? "013579e"[(at >> 20) % 7]
                                            : spare[(at >> 20) % (sizeof spare - 1)];
    }
    html = page_of(copy, size);
    if (html) {
      drawn++;
      if (well_formed(html) && !has_nan(html)) sound++;
      else printf("  round %d: %s\n", round, has_nan(html) ? "holds a NaN" : "is not well formed");
    } else told += ctx.message[0] != 0;
    free(html);
    free(copy);
  }
  CHECK(drawn > 50 && told > 50);
  CHECK(sound == drawn && drawn + told == 400);
  bdpt_clear_error(&ctx);
  free(text);
}

/* A long call tells where it is, and how long it will take. All that goes to stderr from here on is
 * in a file. */
TEST(a_long_call_says_where_it_is) {
  static const struct { double seconds; const char *text; } times[] = {
    {3723, "1:02:03"}, {59.6, "1:00"}, {0, "0:00"}, {-1, "-:--"}, {1e9, "-:--"}};
  const char *path = "build/progress.txt";
  char text[400] = "";
  cli_progress p;
  bdpt_progress now;
  size_t i;
  FILE *f;
  for (i = 0; i < sizeof times / sizeof *times; i++) {
    cli_duration(text, times[i].seconds);
    CHECK(strcmp(text, times[i].text) == 0);
  }
  memset(&p, 0, sizeof p); memset(&now, 0, sizeof now);
  now.phase = "train"; now.detail = "epoch 2"; now.total = 4; now.done = 1;
  now.loss = 1.5; now.accuracy = (double)NAN;
  if (!CHECK(freopen(path, "wb", stderr) != NULL)) return;
  CHECK(cli_progress_hook(&now, &p) == 0); /* says nothing yet */
  now.done = 2; p.said -= 20; /* a line each 15 seconds */
  CHECK(cli_progress_hook(&now, &p) == 0 && cli_progress_hook(&now, &p) == 0);
  now.done = 3; now.accuracy = 61.25; p.terminal = 1; p.said -= 1; /* in place */
  CHECK(cli_progress_hook(&now, &p) == 0 && p.shown);
  cli_progress_clear(&p);
  CHECK(!p.shown);
  f = fopen(path, "rb");
  if (!CHECK(f != NULL)) return;
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  CHECK(strncmp(text, "   train, epoch 2: 50 %  loss 1.500, ", 37) == 0);
  CHECK(strstr(text, " left\n\r   train, epoch 2: 75 %  61.2 %, ") != NULL);
  remove(path);
}

int main(void) {
  memset(&ctx, 0, sizeof ctx);
  if (bdpt_init(&ctx) != BDPT_OK) return 1;
  RUN(the_sample_makes_a_sound_page);
  RUN(sentences_follow_the_numbers);
  RUN(the_surface_is_read_right);
  RUN(reversed_phenomena_are_not_claimed);
  RUN(missing_sections_say_so);
  RUN(odd_values_are_kept_out);
  RUN(later_lines_replace_earlier_ones);
  RUN(bad_files_are_refused_by_line);
  RUN(intervals_on_the_same_images_are_paired);
  RUN(the_shipped_study);
  RUN(tables_scroll);
  RUN(terminal_and_page_agree);
  RUN(damage_never_breaks_the_page);
  RUN(a_long_call_says_where_it_is);
  bdpt_finish(&ctx);
  return TEST_END("report");
}
