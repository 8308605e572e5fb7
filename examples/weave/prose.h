/* Comments as prose: titles, paragraphs, labelled lines, figures of characters. */

/* 9  Titles and their ends                                                                 >>places
 *
 * A chapter ends where the next one begins; then comes what the companion text says of it: what
 * was gained, and the exercises.
 */
static void put_extra(book *b, const extra *x, const char *class, const char *head) {
  put_format(&b->out, "<div class=%s><h4>%s</h4><p>", class, head);
  set_text(b, x->text, strlen(x->text), PROSE, -1);
  put(&b->out, "</p></div>\n");
}

static const extra *find_extra(const book *b, const char *kind, const char *tag, int skip) {
  int i;
  for (i = 0; i < b->extras; i++) {
    if (!strcmp(b->extra[i].kind, kind) && !strcmp(b->extra[i].tag, tag) && skip-- == 0) {
      return &b->extra[i];
    }
  }
  return NULL;
}

static void put_exercises(book *b, const char *tag) {
  const extra *x;
  int i, n = 0;
  for (i = 0; i < b->extras; i++) {
    if (strcmp(b->extra[i].tag, tag) != 0) continue;
    x = &b->extra[i];
    if (!strcmp(x->kind, "exercise")) {
      char place[80];
      snprintf(place, sizeof place, "%s-exercise-%d", tag, ++n);
      put_format(&b->out, "<div class=exercise id='%s'><h4>Exercise %d</h4><p>", place, n);
      set_text(b, x->text, strlen(x->text), PROSE, -1);
      put(&b->out, "</p></div>\n");
      add_mark(b, 'x', x->text, place);
    } else if (!strcmp(x->kind, "answer")) {
      put(&b->out, "<details><summary>Answer</summary><p>");
      set_text(b, x->text, strlen(x->text), PROSE, -1);
      put(&b->out, "</p></details>\n");
    }
  }
}

/* Writes the figures, worked examples and the lesson of a section, behind its first block of
 * prose. */
static void adorn_section(book *b) {
  const extra *x;
  int i;
  if (!b->section || b->section == b->adorned) return;
  b->adorned = b->section;
  put_figures(b, b->section->tag);
  for (i = 0; (x = find_extra(b, "example", b->section->tag, i)) != NULL; i++) {
    put_extra(b, x, "example", "With numbers");
  }
  if ((x = find_extra(b, "lesson", b->section->tag, 0)) != NULL) {
    put(&b->out, "<p class=back>Lesson ");
    set_text(b, x->text, strlen(x->text), PROSE, -1);
    put(&b->out, "</p>\n");
  }
}

static void end_chapter(book *b) {
  const extra *x;
  if (!b->chapter) return;
  x = find_extra(b, "gained", b->chapter->tag, 0);
  if (x) {
    put(&b->out, "<section class='wide close'><div>\n");
    put_extra(b, x, "gained", "What was gained");
    put_exercises(b, b->chapter->tag);
    put(&b->out, "</div></section>\n");
  }
  b->chapter = NULL;
}

static void put_title(book *b, const title *t) {
  sheet *o = &b->out;
  adorn_section(b);
  put_format(o, "<h%d id='%s'>", t->level, t->tag);
  if (t->number[0]) put_format(o, "<span class=number>%s</span> ", t->number);
  set_text(b, t->text, strlen(t->text), PROSE, t->line);
  put_format(o, " <a class=here href='#%s' title='a link to this place'>%s</a></h%d>\n", t->tag,
             t->tagged ? t->tag : "#", t->level);
  b->section = t;
  b->formulas = 0;
  if (t->level == 2) b->chapter = t;
}

/* 10  A block of prose                                                                      >>prose
 *
 * Line by line. `open` is the element under way: a paragraph, a label's text, a figure, or none.
 * The words of a paragraph or a label are collected until it ends, because formulas and names
 * cross the ends of lines.
 */
enum { NONE, PARAGRAPH, LABEL, FIGURE, EQUATIONS };
typedef struct writer {
  book *b;
  sheet words; /* of the element under way */
  char label[32];
  int open, line, list; /* list: a <dl> is open */
  size_t hang;
} writer;

static size_t label_length(const char *s) { /* "  word   text", "  word 1   text"; or 0 */
  size_t n = 0, blanks;
  while (is_word(s[n])) n++;
  if (n > 2 && s[n] == ' ' && isdigit((unsigned char)s[n + 1]) && s[n + 2] == ' ') n += 2;
  blanks = strspn(s + n, " ");
  if (n > 2 && s[n - 2] == ' ' && !isalpha((unsigned char)s[n + blanks])) return 0;
  return n > 2 && n < 24 && blanks > 1 && s[n + blanks] ? n : 0;
}

static int label_mode(const char *label) {
  static const char *const formula[] = {"math", "forward", "backward", "error", "bound"};
  size_t i;
  if (!strcmp(label, "shape")) return SHAPE;
  for (i = 0; i < sizeof formula / sizeof *formula; i++) {
    if (!strcmp(label, formula[i])) return FORMULA;
  }
  return PROSE;
}

/* Returns 1 for the labels that every kernel has, which end a figure before them. */
static int is_usual(const char *s, size_t n) {
  static const char *const usual[] = {"math", "shape", "forward", "backward", "source", "check"};
  size_t i;
  for (i = 0; i < sizeof usual / sizeof *usual; i++) {
    if (n == strlen(usual[i]) && memcmp(s, usual[i], n) == 0) return 1;
  }
  return 0;
}

/* Writes a formula's label with a place that can be linked to and searched for: "fuse-math". */
static void put_term(writer *w) {
  book *b = w->b;
  char place[80];
  if (label_mode(w->label) != FORMULA || !b->section) {
    put_format(&b->out, "<dt>%s</dt><dd>", w->label);
    return;
  }
  b->formulas++;
  if (b->formulas == 1) snprintf(place, sizeof place, "%s-math", b->section->tag);
  else snprintf(place, sizeof place, "%s-math-%d", b->section->tag, b->formulas);
  put_format(&b->out, "<dt id='%s'><a href='#%s'>%s</a></dt><dd class=formula>", place, place,
             w->label);
  add_mark(b, 'e', w->words.s, place);
}

/* Returns the length of the first sentence after the title, if it is a question, else 0: a chapter
 * opens with its question. */
static size_t question(const book *b, const char *words) {
  size_t n = strcspn(words, ".?");
  if (!b->section || b->section->level != 2 || b->asked == b->section || words[n] != '?') return 0;
  return n + 1;
}

static void flush(writer *w) {
  book *b = w->b;
  const char *words = w->words.s ? w->words.s : "";
  if (w->open == PARAGRAPH) {
    size_t asks = question(b, words);
    if (asks) {
      put(&b->out, "<p class=question>");
      set_text(b, words, asks, PROSE, w->line);
      put(&b->out, "</p>\n");
      words += asks;
      b->asked = b->section;
    }
    if (strspn(words, " \n") < strlen(words)) {
      put(&b->out, "<p>");
      set_text(b, words, strlen(words), PROSE, w->line);
      put(&b->out, "</p>\n");
    }
  } else if (w->open == LABEL) {
    if (!w->list) put(&b->out, "<dl>");
    w->list = 1;
    put_term(w);
    set_text(b, words, strlen(words), label_mode(w->label), w->line);
    put(&b->out, "</dd>\n");
  } else if (w->open == FIGURE) {
    put(&b->out, "</pre>\n");
  } else if (w->open == EQUATIONS) {
    put(&b->out, "</div>\n");
  }
  w->open = NONE;
  w->words.n = 0;
  if (w->words.s) w->words.s[0] = 0;
}

static void end_list(writer *w) {
  if (w->list) put(&w->b->out, "</dl>\n");
  w->list = 0;
}

static void open_element(writer *w, int what, int line) {
  flush(w);
  if (what != LABEL) end_list(w);
  w->open = what;
  w->line = line;
  if (what == FIGURE) put(&w->b->out, "<pre>");
  if (what == EQUATIONS) put(&w->b->out, "<div class='formula lines'>");
}

static void add_words(writer *w, const char *s) {
  size_t n = w->words.n;
  int hyphen = n > 1 && w->words.s[n - 1] == '-' && isalpha((unsigned char)w->words.s[n - 2]);
  if (n && !hyphen) put(&w->words, "\n");
  put(&w->words, s);
}

/* Writes a line of a figure of characters, in which only names and tags are links. */
static void put_figure_line(book *b, const char *s, int line) {
  const char *start = s;
  while (*s) {
    size_t n = 0;
    while (is_word(s[n])) n++;
    if (tag_length(start, s)) {
      s += put_tag(b, s, 1);
    } else if (n) {
      put_name(b, s, n, line, 0);
      s += n;
    } else {
      put_char(&b->out, *s++);
    }
  }
  put(&b->out, "\n");
}

/* Returns 1 for an indented line "x1 = x + f(x)   what it says": the formula, then a remark behind
 * three blanks. */
static int is_equation(const char *s) {
  return isalpha((unsigned char)*s) && strstr(s, " = ") && !strpbrk(s, "\"';{}[]|");
}

static void put_equation_line(book *b, const char *s, int line) {
  const char *remark = strstr(s, "   ");
  char formula[200], place[80];
  size_t n = 0;
  for (; *s && s != remark && n + 1 < sizeof formula; s++) {
    if (*s != ' ' || s[1] != ' ') formula[n++] = *s; /* two blanks would end a statement */
  }
  formula[n] = 0;
  b->formulas++;
  snprintf(place, sizeof place, "%s-line-%d", b->section->tag, b->formulas);
  put_format(&b->out, "<p id='%s'>", place);
  set_text(b, formula, n, FORMULA, line);
  add_mark(b, 'e', formula, place);
  if (remark) {
    put(&b->out, "<span class=remark>");
    set_text(b, remark + strspn(remark, " "), strlen(remark + strspn(remark, " ")), PROSE, line);
    put(&b->out, "</span>");
  }
  put(&b->out, "</p>\n");
}

/* Writes one line that is neither blank nor a title. */
static void put_line(writer *w, const char *s, int line) {
  size_t indent = strspn(s, " "), n = 0;
  int labels = indent < 4 && (indent > 1 || w->open != PARAGRAPH);
  if (labels) n = label_length(s + indent);
  if (w->open == FIGURE && !is_usual(s + indent, n)) n = 0;
  if (n && (w->open != LABEL || indent < w->hang)) {
    open_element(w, LABEL, line);
    snprintf(w->label, sizeof w->label, "%.*s", (int)n, s + indent);
    w->hang = indent + n;
    add_words(w, s + indent + n + strspn(s + indent + n, " "));
  } else if (w->open == LABEL && indent >= w->hang) {
    add_words(w, s + indent);
  } else if (indent > 1 && w->open != PARAGRAPH && w->b->section &&
             is_equation(s + indent)) {
    if (w->open != EQUATIONS) open_element(w, EQUATIONS, line);
    put_equation_line(w->b, s + indent, line);
  } else if (indent > 1 && w->open != PARAGRAPH) {
    if (w->open != FIGURE) open_element(w, FIGURE, line);
    put_figure_line(w->b, s, line);
  } else {
    if (w->open != PARAGRAPH) open_element(w, PARAGRAPH, line);
    add_words(w, s);
  }
}

static void put_prose(book *b, int from, int to) {
  static writer w;
  char room[400], next[400];
  const char *s;
  int i, blank = 1;
  title t;
  w.b = b;
  w.open = NONE;
  w.list = 0;
  for (i = from; i < to; i++, blank = *s == 0) {
    s = strip(b, i, room, sizeof room);
    if (!*s) {
      const char *after = i + 1 < to ? strip(b, i + 1, next, sizeof next) : "";
      int goes_on = after[0] == ' ' && after[1] == ' ';
      if (w.open == FIGURE && goes_on) put(&b->out, "\n");
      else flush(&w);
      if (!goes_on) end_list(&w);
    } else if (blank && parse_title(s, &t)) {
      flush(&w);
      end_list(&w);
      if (t.level == 2 && b->chapter) {
        adorn_section(b);
        put(&b->out, "</div></div></section>\n");
        end_chapter(b);
        put(&b->out, "<section class='chapter wide'><div><div>\n");
      }
      put_title(b, title_at(b, i, 3));
    } else if (i == from && *s != ' ' && i + 1 < to && *strip(b, i + 1, next, sizeof next) == ' ' &&
               label_length(next + strspn(next, " "))) {
      put(&b->out, "<h4>");
      set_text(b, s, strlen(s), PROSE, i);
      put(&b->out, "</h4>\n");
    } else {
      put_line(&w, s, i);
    }
  }
  flush(&w);
  end_list(&w);
  adorn_section(b);
}
