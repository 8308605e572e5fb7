/* weave - turns a commented C file into a book
 *
 * cc -O2 examples/weave.c -o build/weave
 * build/weave boundarydpt.h build/boundarydpt.html PAPER_NOTES.md examples/weave/companion.txt
 *
 * The header is written to be read. This program sets it as a page: words on the left, the code
 * that they are about on the right, contents that know where the reader is, a search, formulas,
 * drawings, links. The page is one file that needs no network and works without its script. There
 * is one rule: a comment that starts at column 0 is prose, and everything up to the next one is the
 * code beside it. The rest is punctuation, the same that makes the file readable in a pager:
 *
 *   titles    a line that starts with a number and two blanks, or ends with two blanks and a tag
 *   tags      ">>name" at the end of a title is a place; elsewhere it is a link to that place
 *   labels    "  math      y = x W^T + b": a word, two spaces, text; deeper lines continue it
 *   formulas  are found wherever they stand, see weave/formula.h
 *   figures   other indented lines are kept as they are
 *   code      names between backquotes, and every name of the file that is defined in it
 *
 * More files may be given. From PAPER_NOTES.md comes the index of the paper's equations, and the
 * companion text adds what belongs to a course and not into a header: what each chapter gained,
 * exercises, examples with numbers. Names of another header lead to the page beside this one.
 *
 * A tag that leads nowhere or that two titles claim, a function of the index that is not defined, a
 * chapter without exercises: each is reported with its line, and no page is written.
 */
#include "weave/book.h"
#include "weave/tokens.h"
#include "weave/formula.h"

static void put_figures(book *b, const char *tag);

#include "weave/prose.h"
#include "weave/code.h"
#include "weave/companion.h"
#include "weave/figures.h"
#include "weave/style.h"

/* 23  The page                                                                               >>page
 *
 * Short prose stays in sight beside long code (`.stay`). An essay before a little code gets the
 * width of the page.
 */
/* Returns the length of a title in the contents: a tag in it or a whole sentence is left out. */
static size_t short_title(const char *s) {
  size_t n = strlen(s);
  if (strstr(s, ">>") || (n && s[n - 1] == '.')) return strcspn(s, ":");
  return n;
}

static void put_contents(book *b) {
  int i, open = 0;
  put(&b->out, "<nav id=contents aria-label=Contents>\n<ul>");
  for (i = 0; i < b->titles; i++) {
    const title *t = &b->title[i];
    if (t->level == 2 && open) put(&b->out, "</ul></li>\n");
    if (t->level != 2 && !open) put(&b->out, "<li><ul>");
    open = 1;
    put_format(&b->out, "<li><a href='#%s'><span class=number>%s</span> ", t->tag, t->number);
    set_text(b, t->text, short_title(t->text), PROSE, t->line);
    put(&b->out, t->level == 2 ? "</a><ul>" : "</a></li>\n");
  }
  if (open) put(&b->out, "</ul></li>");
  if (b->equations) put(&b->out, "<li><a href='#paper-equations'>The paper's equations</a></li>");
  put(&b->out, "</ul></nav>\n");
}

/* Returns the end of the block of prose that starts at line i: one past the line that has its
 * end. */
static int prose_end(const book *b, int i) {
  while (i < b->lines && !strstr(b->line[i], "*/")) i++;
  return i < b->lines ? i + 1 : i;
}

static int is_prose(const book *b, int i) { return strncmp(b->line[i], "/*", 2) == 0; }

/* Returns 1 if one of the lines is the title of a chapter; a chapter before it ends first. */
static int begins_chapter(book *b, int from, int to) {
  int i;
  for (i = 0; i < b->titles; i++) {
    if (b->title[i].level == 2 && b->title[i].line >= from && b->title[i].line < to) return 1;
  }
  return 0;
}

/* Returns 1 if a title of the lines brings drawings or examples with it. */
static int is_adorned(const book *b, int from, int to) {
  int i;
  for (i = 0; i < b->titles; i++) {
    if (b->title[i].line < from || b->title[i].line >= to) continue;
    if (has_figure(b->title[i].tag) || find_extra(b, "example", b->title[i].tag, 0)) return 1;
  }
  return 0;
}

/* Writes one block of prose from..to with the code to..end beside or under it. */
static void put_section(book *b, int from, int to, int end, int *inside) {
  sheet *o = &b->out;
  int chapter = begins_chapter(b, from, to), apart, stay, i;
  while (to < end && !b->line[to][0]) to++; /* blank lines around the code */
  while (to < end && !b->line[end - 1][0]) end--;
  apart = to - from > 30 && 3 * (end - to) < to - from; /* an essay before a little code */
  stay = to - from < 22 && !apart && !is_adorned(b, from, to);
  if (chapter) end_chapter(b);
  put_format(o, "<section class='%s%s%s'>\n", chapter ? "chapter" : "",
             apart || to == end ? " wide" : "", stay ? " stay" : "");
  put(o, "<div><div>\n");
  put_prose(b, from, to);
  if (end > to) put_back_links(b, to, end);
  put(o, "</div></div>\n");
  if (apart && to < end) put(o, "</section>\n<section>\n<div></div>\n");
  if (to < end) put(o, "<pre>");
  for (i = to; i < end; i++) put_code(b, i, inside);
  put(o, to < end ? "</pre>\n</section>\n" : "</section>\n");
}

static void put_strings(sheet *o, const char *const *s) {
  while (*s) put(o, *s++);
}

static void put_head(book *b, const char *file) {
  const book *beside;
  sheet *o = &b->out;
  put_format(o,
             "<!doctype html>\n<html lang=en><meta charset=utf-8>\n<meta name=viewport "
             "content='width=device-width'>\n<title>%s</title>\n<style>",
             file);
  put_strings(o, style);
  put_format(o,
             "</style>\n<body>\n<div class=bar><button id=menu>Contents</button><b>%s</b>"
             "<span class=place id=place></span><span class=find><input id=find type=search "
             "placeholder='Search: a name, a term, a formula' aria-label=Search autocomplete=off>"
             "<ul id=found></ul></span></div>\n<header class=top><h1>%s</h1>\n",
             file, file);
  if (file_exists(b->folder, "page.html")) {
    put(o, "<p><a href='page.html'>A vision transformer to take apart in the browser</a></p>\n");
  }
  for (beside = b->other; beside; beside = beside->other) {
    if (!file_exists(b->folder, beside->page)) continue;
    put_format(o, "<p><a href='%s'>Another header: %s</a></p>\n", beside->page, beside->page);
  }
  if (b->report) {
    put(o, "<p><a href='report.html'>The study's figures</a></p>\n");
  }
  put(o, "</header>\n");
}

/* Writes what the search knows: titles, names, and the marks made on the way. */
static void put_index(book *b) {
  sheet *o = &b->out;
  int i;
  put(o, "<script>var INDEX=[");
  for (i = 0; i < b->titles; i++) {
    const title *t = &b->title[i];
    char room[200];
    snprintf(room, sizeof room, "%s %s", t->number, t->text);
    put_format(o, "%s[\"s\",", i ? ",\n" : "");
    put_quoted(o, room + (room[0] == ' '));
    put_format(o, ",\"%s\"]", t->tag);
  }
  for (i = 0; i < b->names; i++) {
    put_format(o, ",\n[\"%c\",\"%s\"]", b->name[i].kind, b->name[i].text);
  }
  for (i = 0; i < b->marks; i++) {
    put_format(o, ",\n[\"%c\",", b->mark[i].kind);
    put_quoted(o, b->mark[i].text);
    put_format(o, ",\"%s\"]", b->mark[i].place);
  }
  put(o, "];\n");
  put_strings(o, script);
  put(o, "</script>\n");
}

static void put_page(book *b) {
  const char *file = strrchr(b->path, '/') ? strrchr(b->path, '/') + 1 : b->path;
  int i = 0, from, to, inside = 0;
  put_head(b, file);
  put_contents(b);
  put_pens(b);
  put(&b->out, "<main>\n");
  while (i < b->lines) {
    from = i;
    to = is_prose(b, i) ? prose_end(b, i) : i;
    for (i = to; i < b->lines && !is_prose(b, i); i++) {
    }
    put_section(b, from, to, i, &inside);
  }
  end_chapter(b);
  put_equations(b);
  put(&b->out, "</main>\n");
  put_index(b);
  put(&b->out, "</body></html>\n");
}

/* 24  Reading, checking, writing                                                          >>main */
static int read_book(book *b) {
  char *s, *end;
  b->memory = read_text(b->path);
  if (!b->memory) return 0;
  for (s = b->memory; *s; s++) b->lines += *s == '\n';
  b->line = (char **)take(NULL, ((size_t)b->lines + 1) * sizeof *b->line);
  b->title = (title *)take(NULL, ((size_t)b->lines + 1) * sizeof *b->title);
  b->name = (name *)take(NULL, (2 * (size_t)b->lines + 1) * sizeof *b->name);
  for (s = b->memory, b->lines = 0; (end = strchr(s, '\n')) != NULL; s = end + 1) {
    *end = 0;
    b->line[b->lines++] = s;
  }
  return 1;
}

static int is_taken(const book *b, const title *t) {
  int i;
  for (i = 0; i < b->titles; i++) {
    const title *other = &b->title[i];
    if (other != t && (other->tagged || other < t) && !strcmp(other->tag, t->tag)) return 1;
  }
  return 0;
}

static void index_book(book *b) {
  char room[400];
  int i = 0, to, blank, inside = 0;
  while (i < b->lines) {
    to = is_prose(b, i) ? prose_end(b, i) : i;
    for (blank = 1; i < to; i++) {
      const char *s = strip(b, i, room, sizeof room);
      if (blank && parse_title(s, &b->title[b->titles])) b->title[b->titles++].line = i;
      blank = *s == 0;
    }
    for (; i < b->lines && !is_prose(b, i); i++) inside = find_names(b, i, inside);
  }
  qsort(b->name, (size_t)b->names, sizeof *b->name, by_text);
  for (i = 0; i < b->names; i++) { /* a title of the same words has the place already */
    if (find_tag(b, b->name[i].text, strlen(b->name[i].text))) b->name[i].places = 3;
  }
  for (i = 0; i < b->titles; i++) { /* two titles may have the same words; a tag is the author's */
    title *t = &b->title[i];
    size_t n = strlen(t->tag);
    for (to = 2; !t->tagged && is_taken(b, t); to++)
      snprintf(t->tag + n, sizeof t->tag - n, "-%d", to);
  }
}

static int ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n >= k && strcmp(s + n - k, end) == 0;
}

/* Reads another header, whose names lead to the page beside. */
static int read_other(book *b, const char *path) {
  const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  book *other = (book *)calloc(1, sizeof *other);
  if (!other) return 0;
  other->path = path;
  snprintf(other->page, sizeof other->page, "%.*s.html", (int)strcspn(file, "."), file);
  while (b->other) b = b->other; /* the last */
  b->other = other;
  if (!read_book(other)) return 0;
  index_book(other);
  return 1;
}

/* Reads the files that the page is made from besides the first, told apart by their endings. */
static int read_others(book *b, int argc, char **argv) {
  char *notes = NULL, *companion = NULL;
  const char *path = NULL;
  int i, ok = 1;
  for (i = 3; i < argc && ok; i++) {
    if (ends_with(argv[i], ".md")) {
      path = argv[i];
      ok = (notes = read_text(path)) != NULL;
    } else if (ends_with(argv[i], ".txt")) {
      ok = (companion = read_text(argv[i])) != NULL;
    } else {
      ok = read_other(b, argv[i]);
    }
    if (!ok) fprintf(stderr, "weave: cannot read %s\n", argv[i]);
  }
  if (notes) read_equations(b, path, notes);
  if (companion) { /* its text stays in use */
    read_companion(b, companion);
    check_companion(b);
    check_figures(b);
  }
  free(notes);
  return ok;
}

static int write_page(const book *b, const char *path) {
  FILE *f = fopen(path, "wb");
  int bad;
  if (f) {
    bad = fwrite(b->out.s, 1, b->out.n, f) != b->out.n;
    if (fclose(f) == 0 && !bad) return 1;
    remove(path);
  }
  fprintf(stderr, "weave: cannot write %s\n", path);
  return 0;
}

static char *read_beside(const char *folder, const char *file) {
  char path[600];
  snprintf(path, sizeof path, "%s%s", folder, file);
  return read_text(path);
}

int main(int argc, char **argv) {
  static book b;
  static char folder[500];
  if (argc < 3) {
    fprintf(stderr,
            "usage: weave file.h page.html [PAPER_NOTES.md] [companion.txt] [other.h...]\n");
    return 2;
  }
  b.path = argv[1];
  snprintf(folder, sizeof folder, "%s", argv[2]);
  if (strrchr(folder, '/')) strrchr(folder, '/')[1] = 0;
  else folder[0] = 0;
  b.folder = folder;
  b.report = read_beside(folder, "report.html");
  if (!read_book(&b)) {
    fprintf(stderr, "weave: cannot read %s\n", argv[1]);
    return 1;
  }
  index_book(&b);
  check_tags(&b);
  if (!read_others(&b, argc, argv) || b.broken) return 1;
  put_page(&b);
  if (b.broken || !write_page(&b, argv[2])) return 1;
  printf("%s: %d lines, %d titles, %d names, %d drawings, %d equations\n", argv[2], b.lines,
         b.titles, b.names, b.figures, b.equations);
  return 0;
}
