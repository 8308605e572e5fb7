/* weave - turns a commented C file into a book with two columns
 *
 * cc -O2 examples/weave.c -o build/weave && build/weave boundarydpt.h build/boundarydpt.html
 *
 * The header is written to be read. This program sets it as a page: words on the left, the code
 * that they are about on the right, a table of contents, links. The page needs no network and no
 * script. There is one rule: a comment that starts at column 0 is prose, and everything up to the
 * next one is the code beside it. The rest is punctuation, the same that makes the file readable in
 * a pager:
 *
 *   titles    a line that starts with a number and two blanks, or ends with two blanks and a tag
 *   tags      ">>name" at the end of a title is a place; elsewhere it is a link to that place
 *   labels    "  math      y = x W^T + b": a word, two spaces, text; deeper lines continue it
 *   figures   other indented lines are kept as they are
 *   code      names between backquotes, and every name of the file that is defined in it
 *
 * A tag that leads nowhere, or that two titles claim, is reported with its line, and no page is
 * written: a book with broken references fails the build. Weave this file to see what it does.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1  What is known about the file                                                       >>structure
 *
 * All of it is kept in memory: the lines, the titles in their order, and the names that are
 * defined. A name has up to two places. A function is declared in one line and defined in another,
 * and each of the two links to the other one.
 */
typedef struct title { int line, level; char number[12], text[120], tag[40]; } title;
typedef struct name { char text[64]; int declared, defined; } name;
typedef struct book {
  const char *path;
  char *memory, **line;
  int lines, titles, names, broken;
  title *title;
  name *name;
  FILE *out;
} book;

static int is_word(int c) { return isalnum((unsigned char)c) || c == '_'; }

static int is_rule(const char *s) {
  size_t n = strspn(s, s[0] == '-' ? "-" : "=");
  return n > 9 && s[n] == 0;
}

/* The words of line i of a comment, without stars and slashes, in a buffer of the caller's. */
static const char *strip(const book *b, int i, char *room, size_t size) {
  const char *s = b->line[i];
  char *end;
  if (s[0] == '/' && s[1] == '*') s += 2;
  else if (s[0] == ' ' && s[1] == '*') s += s[2] == '/' ? 1 : 2;
  if (*s == ' ') s++;
  snprintf(room, size, "%s", s);
  end = strstr(room, "*/");
  if (!end) end = room + strlen(room);
  while (end > room && end[-1] == ' ') end--;
  *end = 0;
  return is_rule(room) ? room + strlen(room) : room;
}

/* 2  Titles and tags                                                                       >>titles
 *
 * The length of ">>name"; 0 for a shift, for a tag in quotes like this one, and for all else. */
static size_t tag_length(const char *line, const char *s) {
  size_t n = 2;
  if (s[0] != '>' || s[1] != '>' || !islower((unsigned char)s[2])) return 0;
  if (s > line && (s[-1] == '"' || s[-1] == '`')) return 0;
  while (islower((unsigned char)s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-') n++;
  return n;
}

/* A title is a line with a number in front, or with a tag behind two blanks at its end. */
static int parse_title(const char *s, title *t) {
  const char *tag = strstr(s, "  >>"), *text = s;
  size_t digits = strspn(s, "0123456789."), n;
  memset(t, 0, sizeof *t);
  if (digits && isupper((unsigned char)s[digits])) digits++;  /* 7B */
  if (digits > 8 || strncmp(s + digits, "  ", 2) != 0) digits = 0;
  if (tag && tag[2 + tag_length(s, tag + 2)] != 0) tag = NULL;
  if ((!digits && !tag) || !isalnum((unsigned char)s[0])) return 0;
  memcpy(t->number, s, digits);
  text += digits + strspn(s + digits, " ");
  n = tag ? (size_t)(tag - text) : strlen(text);
  while (n && text[n - 1] == ' ') n--;
  snprintf(t->text, sizeof t->text, "%.*s", (int)n, text);
  if (tag) snprintf(t->tag, sizeof t->tag, "%s", tag + 4);
  if (tag) t->tag[strspn(t->tag, "abcdefghijklmnopqrstuvwxyz0123456789-")] = 0;
  t->level = digits && !strchr(t->number, '.') ? 2 : 3;
  return 1;
}

static const title *find_tag(const book *b, const char *tag, size_t n) {
  int i;
  for (i = 0; i < b->titles; i++) {
    if (strlen(b->title[i].tag) == n && memcmp(b->title[i].tag, tag, n) == 0) return &b->title[i];
  }
  return NULL;
}

/* Every tag of the file must be defined once. Shifts and strings have no business in a comment, so
 * only comments are searched; `inside` follows them from line to line. */
static void check_tags(book *b) {
  int i, inside = 0;
  for (i = 0; i < b->titles; i++) {
    const title *first = find_tag(b, b->title[i].tag, strlen(b->title[i].tag));
    if (!b->title[i].tag[0] || first == &b->title[i]) continue;
    fprintf(stderr, "%s:%d: >>%s is defined in line %d already\n", b->path, b->title[i].line + 1,
            first->tag, first->line + 1);
    b->broken++;
  }
  for (i = 0; i < b->lines; i++) {
    const char *s = b->line[i];
    for (; *s; s++) {
      size_t n = tag_length(b->line[i], s);
      if (!inside && s[0] == '/' && s[1] == '*') inside = 1, s++;
      else if (inside && s[0] == '*' && s[1] == '/') inside = 0;
      else if (inside && n && !find_tag(b, s + 2, n - 2)) {
        fprintf(stderr, "%s:%d: no title is tagged %.*s\n", b->path, i + 1, (int)n, s);
        b->broken++;
      }
    }
  }
}

/* 3  Names                                                                                  >>names
 *
 * Three shapes of a definition at column 0 are understood: a function, `typedef struct name {`, and
 * `#define NAME`. What comes first after a function's name, brace or semicolon, tells a definition
 * from a declaration. That is no parser; it is enough for a file with one style.
 */
static int by_text(const void *x, const void *y) {
  return strcmp(((const name *)x)->text, ((const name *)y)->text);
}

static void add_name(book *b, const char *s, size_t n, int line, int declared) {
  name *x = b->name + b->names;
  int i;
  if (n == 0 || n >= sizeof x->text) return;
  snprintf(x->text, sizeof x->text, "%.*s", (int)n, s);
  x->declared = x->defined = -1;
  for (i = 0; i < b->names && strcmp(b->name[i].text, x->text) != 0; i++) {}
  if (i == b->names) b->names++;
  if (declared) b->name[i].declared = line;
  else b->name[i].defined = line;
}

static void find_names(book *b, int i) {
  const char *s = b->line[i], *open, *start;
  int j = i;
  if (strncmp(s, "#define BDPT", 12) == 0) {
    for (start = s + 8, open = start; is_word(*open); open++) {}
    add_name(b, start, (size_t)(open - start), i, 0);
  } else if (strncmp(s, "typedef", 7) == 0 && (open = strstr(s, " {")) != NULL) {
    for (start = open; is_word(start[-1]); start--) {}
    add_name(b, start, (size_t)(open - start), i, 0);
  } else if (isalpha((unsigned char)s[0]) && (open = strchr(s, '(')) != NULL && open != s) {
    const char *end = strpbrk(s, ";{");
    for (start = open; start > s && is_word(start[-1]); start--) {}
    while (!end && ++j < b->lines) end = strpbrk(b->line[j], ";{");
    if (end && start > s && islower((unsigned char)*start)) {
      add_name(b, start, (size_t)(open - start), i, *end == ';');
    }
  }
}

static const name *find_name(const book *b, const char *s, size_t n) {
  name key;
  if (n >= sizeof key.text) return NULL;
  snprintf(key.text, sizeof key.text, "%.*s", (int)n, s);
  return (const name *)bsearch(&key, b->name, (size_t)b->names, sizeof key, by_text);
}

/* 4  Words                                                                                  >>words
 *
 * Typography is cheap where it cannot go wrong: arrows, superscript exponents, comparison signs,
 * and in formulas the Greek letters that ASCII has to spell. Quotation marks stay as they are.
 */
static void put_char(const book *b, int c) {
  if (c == '<') fputs("&lt;", b->out);
  else if (c == '>') fputs("&gt;", b->out);
  else if (c == '&') fputs("&amp;", b->out);
  else putc(c, b->out);
}

static void put_text(const book *b, const char *s, size_t n) {
  while (n-- > 0) put_char(b, *s++);
}

/* In a figure and in code the arrows stay, so that columns stay aligned. */
static size_t put_link(const book *b, const char *s, int arrows) {
  size_t n = tag_length(s, s);
  const title *t = find_tag(b, s + 2, n - 2);
  fprintf(b->out, "<a class=tag href='#%.*s' title='%s %s'>%s%.*s</a>", (int)(n - 2), s + 2,
          t->number, t->text, arrows ? "&gt;&gt;" : "", (int)(n - 2), s + 2);
  return n;
}

/* A name that the file defines links to its definition, and from there to its declaration. */
static void put_name(const book *b, const char *s, size_t n, int line) {
  const name *x = find_name(b, s, n);
  int to = !x ? -1 : x->defined >= 0 && x->defined != line ? x->defined : x->declared;
  if (to < 0 || to == line) put_text(b, s, n);
  else fprintf(b->out, "<a href='#L%d'>%.*s</a>", to + 1, (int)n, s);
}

static size_t put_symbol(const book *b, const char *s, int formula) {
  static const char *const sign[][2] = {{"->", "&rarr;"}, {"<=", "&le;"}, {">=", "&ge;"},
    {"<-", "&larr;"}, {"+-", "&plusmn;"}, {"...", "&hellip;"}, {"gamma", "&gamma;"},
    {"beta", "&beta;"}, {"theta", "&theta;"}, {"lambda", "&lambda;"}, {"sigma", "&sigma;"},
    {"mu", "&mu;"}, {"sum", "&Sigma;"}, {"sqrt", "&radic;"}};
  size_t i, n;
  for (i = 0; i < sizeof sign / sizeof *sign; i++) {
    n = strlen(sign[i][0]);
    if (strncmp(s, sign[i][0], n) != 0 || (i > 5 && (!formula || isalnum((unsigned char)s[n])))) {
      continue;
    }
    fputs(sign[i][1], b->out);
    return n;
  }
  return 0;
}

static void put_words(const book *b, const char *s, int line, int formula) {
  int code = formula < 0;  /* a figure is left as it is, but for links */
  size_t n;
  const char *start = s;
  while (*s) {
    int fresh = s == start || !is_word(s[-1]);
    for (n = 0; is_word(s[n]); n++) {}
    if (*s == '`' && formula >= 0) {
      fputs(code ? "</code>" : "<code>", b->out);
      code = !code;
      s++;
    } else if (tag_length(start, s)) {
      s += put_link(b, s, formula < 0);
    } else if (formula > 0 && s[0] == ' ' && s[1] == ' ') {
      fputs("&emsp;", b->out);
      s += strspn(s, " ");
    } else if (!code && *s == '^' && (isdigit((unsigned char)s[1]) || s[1] == 'T')) {
      n = s[1] == 'T' ? 1 : strspn(s + 1, "0123456789");
      fprintf(b->out, "<sup>%.*s</sup>", (int)n, s + 1);
      s += n + 1;
    } else if (fresh && memchr(s, '_', n) && find_name(b, s, n)) {
      fputs(code ? "" : "<code>", b->out);
      put_name(b, s, n, line);
      fputs(code ? "" : "</code>", b->out);
      s += n;
    } else if (!code && (fresh || !is_word(*s)) && (n = put_symbol(b, s, formula)) != 0) {
      s += n;
    } else {
      put_char(b, *s++);
    }
  }
  if (code && formula >= 0) fputs("</code>", b->out);
}

static void put_title(const book *b, const title *t) {
  if (t->tag[0]) fprintf(b->out, "<h%d id='%s'>", t->level, t->tag);
  else fprintf(b->out, "<h%d id=T%d>", t->level, t->line + 1);
  if (t->number[0]) fprintf(b->out, "<span class=number>%s</span> ", t->number);
  put_words(b, t->text, t->line, 0);
  if (t->tag[0]) fprintf(b->out, " <a class=here href='#%s'>%s</a>", t->tag, t->tag);
  fprintf(b->out, "</h%d>\n", t->level);
}

/* 5  A block of prose                                                                       >>prose
 *
 * Line by line. `open` is the element under way: a paragraph, a label's text, a figure, or none.
 */
static size_t label_length(const char *s) { /* "  word   text": the word's length, or 0 */
  size_t n = 0, blanks;
  while (is_word(s[n])) n++;
  blanks = strspn(s + n, " ");
  return n > 2 && n < 18 && blanks > 1 && s[n + blanks] ? n : 0;
}

static int is_formula(const char *label) {
  return strncmp(label, "math ", 5) == 0 || strncmp(label, "shape ", 6) == 0 ||
         strncmp(label, "forward ", 8) == 0 || strncmp(label, "backward ", 9) == 0;
}

static void put_prose(const book *b, int from, int to) {
  static const char *const end[] = {"", "</p>\n", "</dd></dl>\n", "</pre>\n"};
  enum { NONE, PARAGRAPH, LABEL, FIGURE } open = NONE;
  char room[400], next[400];
  const char *s;
  size_t indent, hang = 0, n;
  int i, blank = 1, formula = 0;
  title t;
  for (i = from; i < to; i++, blank = *s == 0) {
    s = strip(b, i, room, sizeof room);
    indent = strspn(s, " ");
    if (!*s) {
      const char *after = i + 1 < to ? strip(b, i + 1, next, sizeof next) : "";
      if (open == FIGURE && after[0] == ' ' && after[1] == ' ') putc('\n', b->out);
      else { fputs(end[open], b->out); open = NONE; }
    } else if (blank && parse_title(s, &t)) {
      fputs(end[open], b->out);
      open = NONE;
      t.line = i;
      put_title(b, &t);
    } else if (i == from && indent == 0 && i + 1 < to &&
               label_length(strip(b, i + 1, next, sizeof next) + 2) && next[0] == ' ') {
      fputs("<h4>", b->out); put_words(b, s, i, 0); fputs("</h4>\n", b->out);
    } else if (indent < 4 && (open != FIGURE) && (indent > 1 || open != PARAGRAPH) &&
               (n = label_length(s + indent)) != 0 && (open != LABEL || indent < hang)) {
      fprintf(b->out, "%s%s<dt>%.*s</dt><dd>", open == LABEL ? "</dd>" : end[open],
              open == LABEL ? "\n" : "<dl>", (int)n, s + indent);
      open = LABEL;
      hang = indent + n;
      formula = is_formula(s + indent);
      put_words(b, s + indent + n + strspn(s + indent + n, " "), i, formula);
    } else if (open == LABEL && indent >= hang) {
      fputs(formula ? "<br>" : " ", b->out);
      put_words(b, s + indent, i, formula);
    } else if (indent > 1 && open != PARAGRAPH) {
      if (open != FIGURE) fprintf(b->out, "%s<pre>", end[open]);
      open = FIGURE;
      put_words(b, s, i, -1);
      putc('\n', b->out);
    } else {
      if (open != PARAGRAPH) fprintf(b->out, "%s<p>", end[open]);
      else putc('\n', b->out);
      open = PARAGRAPH;
      put_words(b, s, i, 0);
    }
  }
  fputs(end[open], b->out);
}

/* 6  A block of code                                                                         >>code
 *
 * Four colours: comments, strings, words of the language, and directives. *inside says whether the
 * line starts within a comment.
 */
static int is_keyword(const char *s, size_t n) {
  static const char words[] = " break case char const continue default do double else enum extern "
    "float for goto if inline int long return short signed sizeof static struct switch typedef "
    "unsigned void volatile while size_t BDPT_API BDPTI_FN ";
  char key[20];
  if (n > 10) return 0;
  snprintf(key, sizeof key, " %.*s ", (int)n, s);
  return strstr(words, key) != NULL;
}

static void put_code(const book *b, int line, int *inside) {
  const char *s = b->line[line];
  fprintf(b->out, "<a class=n id=L%d href='#L%d'>%d</a>%s", line + 1, line + 1, line + 1,
          *inside ? "<i>" : "");
  while (*s) {
    size_t n = 0;
    if (*inside) {
      if (s[0] == '*' && s[1] == '/') { fputs("*/</i>", b->out); *inside = 0; s += 2; }
      else if (tag_length(b->line[line], s)) s += put_link(b, s, 1);
      else put_char(b, *s++);
      continue;
    }
    while (is_word(s[n])) n++;
    if (s[0] == '/' && s[1] == '*') {
      fputs("<i>/*", b->out);
      *inside = 1;
      n = 2;
    } else if (s[0] == '/' && s[1] == '/') {
      n = strlen(s);
      fputs("<i>", b->out); put_text(b, s, n); fputs("</i>", b->out);
    } else if (s[0] == '"' || s[0] == '\'') {
      for (n = 1; s[n] && s[n] != s[0]; n++) n += s[n] == '\\' && s[n + 1];
      fputs("<q>", b->out); put_text(b, s, n + (s[n] != 0)); fputs("</q>", b->out);
      n += s[n] != 0;
    } else if (s[0] == '#' && n == 0) {
      n = 1 + strspn(s + 1, " ");
      while (is_word(s[n])) n++;
      fputs("<em>", b->out); put_text(b, s, n); fputs("</em>", b->out);
    } else if (n && is_keyword(s, n)) {
      fprintf(b->out, "<b>%.*s</b>", (int)n, s);
    } else if (n) {
      put_name(b, s, n, line);
    } else {
      put_char(b, s[n++]);
    }
    s += n;
  }
  fputs(*inside ? "</i>\n" : "\n", b->out);
}

/* 7  The page                                                                                >>page
 *
 * Short prose stays in sight beside long code (`.stay`). The colours follow the reader's system;
 * on paper the columns become one, and each chapter starts a page.
 */
static const char *const style =
  ":root{--ink:#23211d;--paper:#fdfcf8;--code:#f4f1e8;--faint:#8b857a;--line:#e2dccd;"
  "--link:#8f3a1c;--word:#7a2f5b;--note:#5b7052;--text:#2a6275}"
  "@media(prefers-color-scheme:dark){:root{--ink:#d9d5cb;--paper:#191a1c;--code:#212326;"
  "--faint:#807b72;--line:#34363a;--link:#e0a07c;--word:#d59cc0;--note:#9db58f;--text:#8fc1d3}}"
  "*{box-sizing:border-box}html{scroll-padding-top:1rem}"
  "body{margin:0;background:linear-gradient(90deg,var(--paper) 40%,var(--code) 40%);"
  "color:var(--ink);font:17px/1.5 Charter,'Bitstream Charter','Iowan Old Style',Palatino,"
  "'Palatino Linotype',Georgia,serif}"
  "a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}"
  "code,pre,.tag,.here{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',"
  "'Liberation Mono',monospace}code,.tag{font-size:.82em}pre .tag{font-size:1em}"
  "header,nav{background:var(--paper);padding:2.5rem 3vw .5rem}nav{padding-top:1.5rem;"
  "padding-bottom:3rem;border-top:1px solid var(--line);columns:3 19rem;column-gap:3rem;"
  "font-size:15px;line-height:1.45}nav ul{list-style:none;margin:0 0 .9rem;padding:0;"
  "break-inside:avoid}"
  "nav li li{padding-left:1.2rem}nav a{color:inherit}nav .number{color:var(--faint)}"
  "h1{font-size:2.4rem;margin:0;font-weight:600}h2,h3{line-height:1.2;font-weight:600}"
  "h2{font-size:1.6rem;margin:2rem 0 1rem}h3{font-size:1.15rem;margin:1rem 0 .6rem}"
  ".number{color:var(--link);margin-right:.35em}.here{font-size:.7rem;color:var(--faint);"
  "font-weight:400;margin-left:.5em}"
  "section{display:grid;grid-template-columns:40% 60%}section.chapter{border-top:1px solid "
  "var(--line)}section>*{min-width:0;padding:.6rem 2.2rem .6rem 3vw}.stay{position:sticky;top:0;"
  "align-self:start}p{margin:.1rem 0 .8rem;hyphens:auto}"
  "section>pre{margin:0;padding:.8rem 1rem 1.6rem .4rem;font-size:min(12.5px,.86vw);"
  "line-height:1.5;overflow-x:auto}div pre{font-size:.72rem;line-height:1.45;overflow-x:auto;"
  "margin:.2rem 0 1rem;padding-left:.8rem;border-left:2px solid var(--line)}"
  "dl{display:grid;grid-template-columns:minmax(4.6rem,max-content) 1fr;gap:.25rem .8rem;"
  "margin:0 0 .8rem;font-size:.94em}"
  "dt{color:var(--faint);font-style:italic}dd{margin:0}"
  "sup{line-height:0;font-size:.7em}h4{margin:.2rem 0 .5rem;font-size:1.02em}"
  ".wide{grid-template-columns:1fr;background:var(--paper)}.wide>div{max-width:52rem}"
  "pre b{color:var(--word);font-weight:400}pre i{color:var(--note)}pre q{quotes:none;"
  "color:var(--text)}pre em{color:var(--word);font-style:normal}pre a:not(.n):not(.tag){color:"
  "inherit;border-bottom:1px dotted var(--faint)}.n{display:inline-block;width:3.4em;"
  "margin-right:1.2em;text-align:right;"
  "color:var(--faint);opacity:.7;user-select:none}:target{background:color-mix(in srgb,"
  "var(--link) 18%,transparent)}"
  "@media(max-width:900px){body{background:var(--paper)}section{display:block}section>pre{"
  "background:var(--code);font-size:11px}.stay{position:static}}"
  "@media print{body{background:none;font-size:10pt}section{display:block}.stay{position:static}"
  "section>pre{font-size:6.6pt;white-space:pre-wrap;padding-left:0}section.chapter{break-before:"
  "page}h2,h3{break-after:avoid}a{color:inherit}nav{break-after:page}}";

static void put_contents(const book *b) {
  int i, open = 0;
  fputs("<nav>\n", b->out);
  for (i = 0; i < b->titles; i++) {
    const title *t = &b->title[i];
    if (t->level == 2) fputs(open++ ? "</ul></li></ul>\n<ul>" : "<ul>", b->out);
    else if (!open++) fputs("<ul><li><ul>", b->out);
    if (t->tag[0]) fprintf(b->out, "<li><a href='#%s'>", t->tag);
    else fprintf(b->out, "<li><a href='#T%d'>", t->line + 1);
    fprintf(b->out, "<span class=number>%s</span> ", t->number);
    put_words(b, t->text, t->line, 0);
    fputs(t->level == 2 ? "</a><ul>" : "</a></li>\n", b->out);
  }
  fputs(open ? "</ul></li></ul></nav>\n" : "</nav>\n", b->out);
}

/* The end of the block of prose that starts at line i: one past the line that has its end. */
static int prose_end(const book *b, int i) {
  while (i < b->lines && !strstr(b->line[i], "*/")) i++;
  return i < b->lines ? i + 1 : i;
}

static int is_prose(const book *b, int i) { return strncmp(b->line[i], "/*", 2) == 0; }

static void put_page(book *b) {
  const char *file = strrchr(b->path, '/') ? strrchr(b->path, '/') + 1 : b->path;
  int i = 0, j, from, to, end, apart, inside = 0;
  fprintf(b->out, "<!doctype html>\n<html lang=en><meta charset=utf-8>\n<meta name=viewport "
          "content='width=device-width'>\n<title>%s</title>\n<style>%s</style>\n<body>\n"
          "<header><h1>%s</h1></header>\n", file, style, file);
  while (i < b->lines) {
    from = i;
    to = is_prose(b, i) ? prose_end(b, i) : i;
    for (end = to; end < b->lines && !is_prose(b, end); end++) {}
    i = end;
    while (to < end && !b->line[to][0]) to++;         /* blank lines around the code */
    while (to < end && !b->line[end - 1][0]) end--;
    apart = to - from > 30 && 3 * (end - to) < to - from;  /* an essay before a little code */
    fprintf(b->out, "<section class='%s%s'>\n<div%s>\n",
            strstr(b->line[from], "/* =====") ? "chapter" : "", apart || to == end ? " wide" : "",
            to - from < 22 ? " class=stay" : "");
    put_prose(b, from, to);
    if (apart && to < end) fputs("</div>\n</section>\n<section>\n<div>", b->out);
    fputs(to < end ? "</div>\n<pre>" : "</div>\n", b->out);
    for (j = to; j < end; j++) put_code(b, j, &inside);
    fputs(to < end ? "</pre>\n</section>\n" : "</section>\n", b->out);
    if (from == 0) put_contents(b);
  }
  fputs("</body></html>\n", b->out);
}

/* 8  Reading, checking, writing                                                           >>main */
static int read_book(book *b) {
  FILE *f = fopen(b->path, "rb");
  long size = -1;
  char *s, *end;
  if (f && fseek(f, 0, SEEK_END) == 0) size = ftell(f);
  if (size < 0 || fseek(f, 0, SEEK_SET) != 0) return 0;
  b->memory = (char *)calloc((size_t)size + 1, 1);
  if (!b->memory || fread(b->memory, 1, (size_t)size, f) != (size_t)size) return 0;
  fclose(f);
  for (s = b->memory; *s; s++) b->lines += *s == '\n';
  b->line = (char **)calloc((size_t)b->lines + 1, sizeof *b->line);
  b->title = (title *)calloc((size_t)b->lines + 1, sizeof *b->title);
  b->name = (name *)calloc((size_t)b->lines + 1, sizeof *b->name);
  if (!b->line || !b->title || !b->name) return 0;
  for (s = b->memory, b->lines = 0; (end = strchr(s, '\n')) != NULL; s = end + 1) {
    *end = 0;
    b->line[b->lines++] = s;
  }
  return 1;
}

static void index_book(book *b) {
  char room[400];
  int i = 0, to, blank;
  while (i < b->lines) {
    to = is_prose(b, i) ? prose_end(b, i) : i;
    for (blank = 1; i < to; i++) {
      const char *s = strip(b, i, room, sizeof room);
      if (blank && parse_title(s, &b->title[b->titles])) b->title[b->titles++].line = i;
      blank = *s == 0;
    }
    for (; i < b->lines && !is_prose(b, i); i++) find_names(b, i);
  }
  qsort(b->name, (size_t)b->names, sizeof *b->name, by_text);
}

int main(int argc, char **argv) {
  static book b;
  if (argc != 3) return fprintf(stderr, "usage: weave file.h page.html\n"), 2;
  b.path = argv[1];
  if (!read_book(&b)) return fprintf(stderr, "weave: cannot read %s\n", argv[1]), 1;
  index_book(&b);
  check_tags(&b);
  if (b.broken) return 1;
  b.out = fopen(argv[2], "wb");
  if (!b.out) return fprintf(stderr, "weave: cannot write %s\n", argv[2]), 1;
  put_page(&b);
  if (ferror(b.out) | fclose(b.out)) {
    remove(argv[2]);
    return fprintf(stderr, "weave: cannot write %s\n", argv[2]), 1;
  }
  printf("%s: %d lines, %d titles, %d names\n", argv[2], b.lines, b.titles, b.names);
  free(b.memory); free(b.line); free(b.title); free(b.name);
  return 0;
}
