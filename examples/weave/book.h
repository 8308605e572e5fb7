/* What the weaver knows about a file: its lines, titles, tags and names; and the page it writes. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1  A sheet                                                                                >>sheet
 *
 * The page is built in memory, because a fraction is noticed when its bar comes: what was written
 * since the start of the term must then move into the numerator. So a sheet can be written at its
 * end and also in its middle. Memory that runs out ends the program; a weaver has nothing to save.
 */
typedef struct sheet {
  char *s;
  size_t n, room;
} sheet;

static void *take(void *old, size_t bytes) {
  void *p = realloc(old, bytes);
  if (p) return p;
  fputs("weave: out of memory\n", stderr);
  exit(1);
}

static void put_bytes(sheet *o, const char *s, size_t n) {
  if (o->n + n + 1 > o->room) {
    o->room = 2 * (o->n + n + 1);
    o->s = (char *)take(o->s, o->room);
  }
  memcpy(o->s + o->n, s, n);
  o->n += n;
  o->s[o->n] = 0;
}

static void put(sheet *o, const char *s) { put_bytes(o, s, strlen(s)); }

static void put_format(sheet *o, const char *format, ...) {
  char room[4000];
  va_list list;
  va_start(list, format);
  vsnprintf(room, sizeof room, format, list);
  va_end(list);
  put(o, room);
}

/* Writes `s` in the middle of the sheet, before byte `at`. */
static void insert(sheet *o, size_t at, const char *s) {
  size_t n = strlen(s), tail = o->n - at;
  put_bytes(o, s, n);
  memmove(o->s + at + n, o->s + at, tail);
  memcpy(o->s + at, s, n);
}

static void cut(sheet *o, size_t at, size_t n) {
  memmove(o->s + at, o->s + at + n, o->n - at - n + 1);
  o->n -= n;
}

/* Writes one character, or `n` of them, as text of the page. */
static void put_char(sheet *o, int c) {
  char one = (char)c;
  if (c == '<') put(o, "&lt;");
  else if (c == '>') put(o, "&gt;");
  else if (c == '&') put(o, "&amp;");
  else put_bytes(o, &one, 1);
}

static void put_text(sheet *o, const char *s, size_t n) {
  while (n-- > 0) put_char(o, *s++);
}

/* Writes text as a string of the script: quoted, and without anything that could end the script. */
static void put_quoted(sheet *o, const char *s) {
  put(o, "\"");
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') put(o, "\\");
    if (*s == '<') put(o, "\\u003c");
    else if ((unsigned char)*s < 32) put(o, " ");
    else put_bytes(o, s, 1);
  }
  put(o, "\"");
}

/* Reads the whole file as text, ended by a zero; NULL after an error. */
static char *read_text(const char *path) {
  FILE *f = fopen(path, "rb");
  char room[4096];
  sheet s = {NULL, 0, 0};
  size_t n;
  int bad;
  if (!f) return NULL;
  put_bytes(&s, "", 0);
  while ((n = fread(room, 1, sizeof room, f)) > 0) put_bytes(&s, room, n);
  bad = ferror(f);
  fclose(f);
  if (bad) {
    free(s.s);
    return NULL;
  }
  return s.s;
}

/* 2  What is known about the file                                                       >>structure
 *
 * A name has up to two places: a function is declared in one line and defined in another, and each
 * of the two links to the other one. A title has an identity that survives an edit: its tag, or
 * its words.
 */
typedef struct title {
  int line, level;
  char number[12], text[120], tag[48];
  int tagged; /* the tag is the author's; else it is made from the words */
} title;
typedef struct name {
  char text[64];
  int declared, defined, places;
  char kind;
} name;

/* What the companion text adds, by tag; and a row of the paper's table of equations. */
typedef struct extra {
  const char *kind, *tag, *text;
  int line;
} extra;
typedef struct equation {
  char what[120], math[400], functions[300], test[300], study[200], id[60];
} equation;
#define MAX_EXTRAS 400
#define MAX_EQUATIONS 64
#define MAX_MARKS 600

/* Something that the search finds: what kind, what it is called, where it is. */
typedef struct mark {
  char kind;
  char text[200], place[80];
} mark;

typedef struct book {
  const char *path, *folder;
  char *report;            /* the study's page, if it is there */
  struct book *other;      /* the next of the files whose pages stand beside */
  char page[200];          /* of such a file */
  char *memory, **line;
  int lines, titles, names, broken;
  title *title;
  name *name;
  sheet out;
  extra extra[MAX_EXTRAS];
  int extras;
  equation equation[MAX_EQUATIONS];
  int equations;
  mark mark[MAX_MARKS];
  int marks;
  const title *chapter, *section; /* where the text is that is being set */
  const title *adorned;           /* the last section that got its drawings and examples */
  const title *asked;   /* the last chapter that has put its question */
  int formulas;                   /* of this section so far */
  int figures;                    /* that found their place */
} book;

static int is_word(int c) { return isalnum((unsigned char)c) || c == '_'; }

static void complain(book *b, const char *where, int line, const char *what, const char *about) {
  fprintf(stderr, "%s:%d: %s%s\n", where, line + 1, what, about);
  b->broken++;
}

static void add_mark(book *b, char kind, const char *text, const char *place) {
  mark *m = &b->mark[b->marks];
  if (b->marks == MAX_MARKS) {
    complain(b, b->path, 0, "too many formulas and terms", "");
    return;
  }
  b->marks++;
  m->kind = kind;
  snprintf(m->text, sizeof m->text, "%s", text);
  snprintf(m->place, sizeof m->place, "%s", place);
}

static int is_rule(const char *s) {
  size_t n = strspn(s, s[0] == '-' ? "-" : "=");
  return n > 9 && s[n] == 0;
}

/* Copies the words of line i of a comment, without stars, slashes and rulers, in the caller's
 * `room`. */
static const char *strip(const book *b, int i, char *room, size_t size) {
  const char *s = b->line[i];
  char *end;
  if (s[0] == '/' && s[1] == '*') s += 2;
  else if (s[0] == ' ' && s[1] == '*') s += s[2] == '/' ? 1 : 2;
  if (*s == ' ') s++;
  if (strncmp(s, "---- ", 5) == 0) s += 5;
  snprintf(room, size, "%s", s);
  end = strstr(room, "*/");
  if (!end) end = room + strlen(room);
  while (end > room && end[-1] == ' ') end--;
  if (end > room + 4 && memcmp(end - 4, "----", 4) == 0) {
    while (end > room && (end[-1] == '-' || end[-1] == ' ')) end--;
  }
  *end = 0;
  return is_rule(room) ? room + strlen(room) : room;
}

/* 3  Titles and tags                                                                       >>titles
 *
 * tag_length returns the length of ">>name"; 0 for a shift, for a tag in quotes like this one, and
 * for all else. */
static size_t tag_length(const char *line, const char *s) {
  size_t n = 2;
  if (s[0] != '>' || s[1] != '>' || !islower((unsigned char)s[2])) return 0;
  if (s > line && (s[-1] == '"' || s[-1] == '`')) return 0;
  while (islower((unsigned char)s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-') n++;
  return n;
}

/* Makes "both-stages" of "Both stages". */
static void make_slug(const char *text, char *out, size_t size) {
  size_t n = 0;
  for (; *text && n + 1 < size; text++) {
    if (isalnum((unsigned char)*text)) out[n++] = (char)tolower((unsigned char)*text);
    else if (n && out[n - 1] != '-') out[n++] = '-';
  }
  while (n && out[n - 1] == '-') n--;
  out[n] = 0;
}

/* A title is a line with a number in front, or with a tag behind two blanks at its end. */
static int parse_title(const char *s, title *t) {
  const char *tag = strstr(s, "  >>"), *text = s;
  size_t digits = strspn(s, "0123456789."), n;
  memset(t, 0, sizeof *t);
  if (digits && isupper((unsigned char)s[digits])) digits++; /* 7B */
  if (digits > 8 || strncmp(s + digits, "  ", 2) != 0) digits = 0;
  if (tag && tag[2 + tag_length(s, tag + 2)] != 0) tag = NULL;
  if ((!digits && !tag) || !isalnum((unsigned char)s[0])) return 0;
  memcpy(t->number, s, digits);
  text += digits + strspn(s + digits, " ");
  n = tag ? (size_t)(tag - text) : strlen(text);
  while (n && text[n - 1] == ' ') n--;
  snprintf(t->text, sizeof t->text, "%.*s", (int)n, text);
  t->tagged = tag != NULL;
  if (tag) snprintf(t->tag, sizeof t->tag, "%s", tag + 4);
  else make_slug(t->text, t->tag, sizeof t->tag);
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

/* Finds the title that line i belongs to, or the chapter of that title. */
static const title *title_at(const book *b, int line, int level) {
  int i = b->titles;
  while (i-- > 0) {
    if (b->title[i].line <= line && b->title[i].level <= level) return &b->title[i];
  }
  return NULL;
}

/* Checks that every tag of the file is defined once. Shifts and strings have no business in a
 * comment, so only comments are searched; `inside` follows them from line to line. */
static void check_tags(book *b) {
  int i, inside = 0;
  for (i = 0; i < b->titles; i++) {
    const title *first = find_tag(b, b->title[i].tag, strlen(b->title[i].tag));
    if (first == &b->title[i]) continue;
    complain(b, b->path, b->title[i].line, "this title is taken already: ", first->tag);
  }
  for (i = 0; i < b->lines; i++) {
    const char *s = b->line[i];
    for (; *s; s++) {
      size_t n = tag_length(b->line[i], s);
      if (!inside && s[0] == '/' && s[1] == '*') {
        inside = 1;
        s++;
      } else if (inside && s[0] == '*' && s[1] == '/') {
        inside = 0;
      } else if (inside && n && !find_tag(b, s + 2, n - 2)) {
        complain(b, b->path, i, "no title has the tag that begins ", s);
      }
    }
  }
}

/* 4  Names                                                                                  >>names
 *
 * Some shapes of a definition at column 0 are understood: a function, a typedef of a struct, an
 * enum or a function pointer, and `#define NAME`; and within an enum its constants. What comes
 * first after a function's name, brace or semicolon, tells a definition from a declaration. That
 * is no parser; it is enough for a file with one style.
 */
static int by_text(const void *x, const void *y) {
  return strcmp(((const name *)x)->text, ((const name *)y)->text);
}

static void add_name(book *b, const char *s, size_t n, int line, int declared, char kind) {
  name *x = b->name + b->names;
  int i;
  if (n == 0 || n >= sizeof x->text) return;
  snprintf(x->text, sizeof x->text, "%.*s", (int)n, s);
  x->declared = x->defined = -1;
  x->places = 0;
  x->kind = kind;
  for (i = 0; i < b->names && strcmp(b->name[i].text, x->text) != 0; i++) {
  }
  if (i == b->names) b->names++;
  if (declared) b->name[i].declared = line;
  else if (b->name[i].defined < 0) b->name[i].defined = line;
}

static void find_function(book *b, int i) {
  const char *s = b->line[i], *open = strchr(s, '('), *end = strpbrk(s, ";{"), *start;
  int j = i;
  for (start = open; start > s && is_word(start[-1]); start--) {
  }
  while (!end && ++j < b->lines) end = strpbrk(b->line[j], ";{");
  if (end && start > s && islower((unsigned char)*start)) {
    add_name(b, start, (size_t)(open - start), i, *end == ';', 'f');
  }
}

/* Lists the constants in line i of an enum. */
static void find_constants(book *b, int i) {
  const char *s = b->line[i], *stop = strstr(s, "/*");
  while ((s = strstr(s, "BDPT_")) != NULL && (!stop || s < stop)) {
    size_t n = 0;
    while (is_word(s[n])) n++;
    if (!is_word(s[-1]) && strchr(" ,;", s[n])) add_name(b, s, n, i, 0, 'c');
    s += n;
  }
}

static int find_names(book *b, int i, int inside_enum) {
  const char *s = b->line[i], *open, *start;
  if (strncmp(s, "enum {", 6) == 0 || strncmp(s, "typedef enum", 12) == 0) inside_enum = 1;
  if (strncmp(s, "#define BDPT", 12) == 0) {
    for (start = s + 8, open = start; is_word(*open); open++) {
    }
    add_name(b, start, (size_t)(open - start), i, 0, 'm');
  } else if (strncmp(s, "typedef", 7) == 0) {
    open = strstr(s, "(*");
    start = open ? open + 2 : NULL;
    if (open) open = start + strcspn(start, ")");
    if (!open && (open = strstr(s, " {")) == NULL) open = strchr(s, ';');
    if (open && !start) {
      for (start = open; is_word(start[-1]); start--) {
      }
    }
    if (open) add_name(b, start, (size_t)(open - start), i, 0, 't');
  } else if (isalpha((unsigned char)s[0]) && (open = strchr(s, '(')) != NULL && open != s) {
    find_function(b, i);
  }
  if (inside_enum) find_constants(b, i);
  return inside_enum && !strchr(s, '}');
}

static const name *find_name(const book *b, const char *s, size_t n) {
  name key;
  if (n >= sizeof key.text) return NULL;
  snprintf(key.text, sizeof key.text, "%.*s", (int)n, s);
  return (const name *)bsearch(&key, b->name, (size_t)b->names, sizeof key, by_text);
}

/* Writes a tag as a link. In code its arrows stay, so that columns stay aligned. */
static size_t put_tag(book *b, const char *s, int arrows) {
  size_t n = tag_length(s, s);
  const title *t = find_tag(b, s + 2, n - 2);
  put_format(&b->out, "<a class=tag href='#%.*s' title='", (int)(n - 2), s + 2);
  if (t) put_format(&b->out, "%s %s", t->number, t->text);
  put_format(&b->out, "'>%s%.*s</a>", arrows ? "&gt;&gt;" : "", (int)(n - 2), s + 2);
  return n;
}

/* Return the first of the other files that has the tag, that defines the name; or NULL. */
static const book *tag_elsewhere(const book *b, const char *tag) {
  do b = b->other; while (b && !find_tag(b, tag, strlen(tag)));
  return b;
}

static const book *name_elsewhere(const book *b, const char *s, size_t n) {
  do b = b->other; while (b && !find_name(b, s, n));
  return b;
}

static int is_tag_somewhere(const book *b, const char *tag) {
  return find_tag(b, tag, strlen(tag)) || tag_elsewhere(b, tag);
}

/* A name that the file defines links to its definition, and from there to its declaration. In the
 * code (`anchor`) the places themselves get their identity, each once. What another file defines
 * links to its page. */
static void put_name(book *b, const char *s, size_t n, int line, int anchor) {
  const name *x = find_name(b, s, n);
  int here = x && (line == x->defined || line == x->declared);
  int both = x && x->defined >= 0 && x->declared >= 0, first;
  const char *own = both && line == x->declared ? "-declared" : "";
  const char *other = both && line == x->defined ? "-declared" : "";
  const book *beside = x ? NULL : name_elsewhere(b, s, n);
  if (beside) {
    put_format(&b->out, "<a href='%s#%.*s'>%.*s</a>", beside->page, (int)n, s, (int)n, s);
    return;
  }
  if (!x || (here && !anchor)) {
    put_text(&b->out, s, n);
    return;
  }
  if (!here) {
    put_format(&b->out, "<a href='#%s'>%s</a>", x->text, x->text);
    return;
  }
  first = !(x->places & (*own ? 2 : 1));
  b->name[x - b->name].places |= *own ? 2 : 1;
  if (first)
    put_format(&b->out, "<a class=def id='%s%s' href='#%s%s'>", x->text, own, x->text, other);
  put_text(&b->out, s, n);
  if (first) put(&b->out, "</a>");
}
