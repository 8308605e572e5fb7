/* The companion text and the paper's equations. */

/* 12  The companion text                                                               >>companion
 *
 * examples/weave/companion.txt holds what belongs to a course and not into a header: for each
 * chapter what was gained and two exercises with answers, for a section an example with numbers,
 * the lesson that goes with it, and the terms that it explains. A line ">>tag" begins what belongs
 * to a title; then come entries, "kind   text", continued by indented lines. The tag must exist,
 * here or in another file (a tag of two belongs to the header that has the equations); a chapter
 * of that header must have all of it; a term must occur in the section that explains it.
 */
static void add_extra(book *b, const char *tag, char *line, int number, sheet *text) {
  size_t n = strcspn(line, " ");
  extra *x = &b->extra[b->extras];
  const char *path = "companion.txt";
  char *kind;
  if (b->extras == MAX_EXTRAS) {
    complain(b, path, number, "too many entries", "");
    return;
  }
  kind = (char *)take(NULL, n + 1);
  memcpy(kind, line, n);
  kind[n] = 0;
  if (!strstr(" gained exercise answer example lesson term ", kind) || n < 4) {
    complain(b, path, number, "no such entry: ", kind);
    return;
  }
  x->kind = kind;
  x->tag = tag;
  x->line = number;
  x->text = NULL;
  text->s = NULL;
  text->n = text->room = 0;
  put(text, line + n + strspn(line + n, " "));
  b->extras++;
}

static void read_companion(book *b, char *memory) {
  char *s = memory, *end;
  const char *tag = NULL;
  sheet text = {NULL, 0, 0};
  int number = 0;
  for (; *s; s = end, number++) {
    end = s + strcspn(s, "\n");
    if (*end) *end++ = 0;
    if (s[0] == '>' && s[1] == '>') {
      tag = s + 2;
      if (!is_tag_somewhere(b, tag)) complain(b, "companion.txt", number, "no such tag: ", tag);
    } else if (*s == ' ' && b->extras) {
      put(&text, "\n");
      put(&text, s + strspn(s, " "));
    } else if (tag && islower((unsigned char)*s)) {
      add_extra(b, tag, s, number, &text);
    }
    if (b->extras) b->extra[b->extras - 1].text = text.s;
  }
}

/* Returns 1 if the words of `term` stand in the prose of the section at title t. */
static int explains(const book *b, const title *t, const char *term) {
  sheet all = {NULL, 0, 0};
  char room[400];
  int i, found;
  char *s;
  put(&all, " ");
  for (i = t->line; i < b->lines; i++) {
    if (i > t->line && title_at(b, i, 3) != t) break;
    if (strncmp(b->line[i], "/*", 2) && strncmp(b->line[i], " *", 2)) continue;
    put(&all, strip(b, i, room, sizeof room));
    put(&all, " ");
  }
  for (s = all.s; *s; s++) *s = (char)tolower((unsigned char)*s);
  found = strstr(all.s, term) != NULL;
  free(all.s);
  return found;
}

static void check_companion(book *b) {
  int i, gained, exercises, answers;
  for (i = 0; i < b->extras; i++) {
    extra *x = &b->extra[i];
    const title *t = find_tag(b, x->tag, strlen(x->tag));
    if (!b->equations && tag_elsewhere(b, x->tag)) x->kind = "";
    if (!t || strcmp(x->kind, "term")) continue;
    if (!explains(b, t, x->text)) {
      complain(b, "companion.txt", x->line, "the section does not speak of ", x->text);
    }
    add_mark(b, 'g', x->text, x->tag);
  }
  for (i = 0; i < b->titles && b->equations; i++) { /* the main header has the equations too */
    const char *tag = b->title[i].tag;
    if (b->title[i].level != 2) continue;
    for (gained = 0; find_extra(b, "gained", tag, gained); gained++) {
    }
    for (exercises = 0; find_extra(b, "exercise", tag, exercises); exercises++) {
    }
    for (answers = 0; find_extra(b, "answer", tag, answers); answers++) {
    }
    if (gained != 1 || exercises != 2 || answers != 2) {
      complain(b, "companion.txt", 0,
               "a chapter needs what was gained, two exercises and their answers: ", tag);
    }
  }
}

/* 13  Equations of the paper                                                           >>equations
 *
 * PAPER_NOTES.md has a table with five columns: what, equation, functions, tests, part of the
 * study. Every function in it must be defined in the header. The page ends with that table, set,
 * and the prose beside each of the functions links back to its row.
 */
static int read_cell(char **at, char *out, size_t size) {
  char *s = *at;
  size_t n = 0;
  int quoted = 0;
  if (*s != '|') return 0;
  for (s++; *s == ' '; s++) {
  }
  for (; *s && *s != '\n' && (*s != '|' || quoted); s++) {
    if (*s == '`') quoted = !quoted;
    if (n + 1 < size) out[n++] = *s;
  }
  while (n && out[n - 1] == ' ') n--;
  out[n] = 0;
  *at = s;
  return *s == '|';
}

static void read_equations(book *b, const char *path, char *text) {
  char *s = strstr(text, "\n## From equation to function"), *end;
  int rows = 0, number = 0;
  const char *t;
  if (!s) {
    complain(b, path, 0, "no table from equation to function", "");
    return;
  }
  for (t = text; t < s; t++) number += *t == '\n';
  for (s = s + 1; *s && strncmp(s, "\n## ", 4) != 0; s = *end ? end + 1 : end, number++) {
    equation *e = &b->equation[b->equations];
    end = s + strcspn(s, "\n");
    if (*s != '|' || rows++ < 2) continue;
    if (b->equations == MAX_EQUATIONS) {
      complain(b, path, number, "too many rows", "");
      return;
    }
    if (!read_cell(&s, e->what, sizeof e->what) || !read_cell(&s, e->math, sizeof e->math) ||
        !read_cell(&s, e->functions, sizeof e->functions) ||
        !read_cell(&s, e->test, sizeof e->test) || !read_cell(&s, e->study, sizeof e->study)) {
      complain(b, path, number, "this row has not five cells", "");
      continue;
    }
    memcpy(e->id, "paper-", 7);
    make_slug(e->what, e->id + 6, sizeof e->id - 6);
    b->equations++;
    for (t = e->functions; *t; t++) {
      size_t n = 0;
      while (is_word(t[n])) n++;
      if (n > 5 && strncmp(t, "bdpt", 4) == 0 && !find_name(b, t, n) &&
          !name_elsewhere(b, t, n)) {
        complain(b, path, number, "not defined: ", t);
      }
      if (n) t += n - 1;
    }
  }
}

static int names_function(const char *functions, const char *one) {
  const char *s = functions;
  size_t n = strlen(one);
  while ((s = strstr(s, one)) != NULL) {
    if (!is_word(s[n]) && (s == functions || !is_word(s[-1]))) return 1;
    s += n;
  }
  return 0;
}

/* Writes the way back: what lines from .. to - 1 define, and which rows speak of it. */
static void put_back_links(book *b, int from, int to) {
  int i, k, open = 0;
  for (k = 0; k < b->equations; k++) {
    for (i = 0; i < b->names; i++) {
      const name *x = &b->name[i];
      if (x->defined < from || x->defined >= to) continue;
      if (!names_function(b->equation[k].functions, x->text)) continue;
      put(&b->out, open ? ", " : "<p class=back>In the paper: ");
      put_format(&b->out, "<a href='#%s'>%s</a>", b->equation[k].id, b->equation[k].what);
      open = 1;
      break;
    }
  }
  if (open) put(&b->out, "</p>\n");
}

static int file_exists(const char *folder, const char *file) {
  char path[600];
  FILE *f;
  snprintf(path, sizeof path, "%s%s", folder, file);
  f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

/* Writes a cell of the table: formulas between backquotes are set, [words](#x) lose their link. */
static void put_cell(book *b, const char *s, int mode) {
  while (*s) {
    size_t n = strcspn(s, "`[");
    set_text(b, s, n, PROSE, -1);
    if (n && s[n - 1] == ' ') put(&b->out, " ");
    s += n;
    if (*s == '`') {
      n = strcspn(s + 1, "`");
      if (mode == PROSE) put_format(&b->out, "<code>");
      if (mode == PROSE) put_name(b, s + 1, n, -1, 0);
      if (mode == PROSE) put_format(&b->out, "</code>");
      else set_text(b, s + 1, n, mode, -1);
      s += n + 1 + (s[n + 1] == '`');
      if (*s == ' ') put(&b->out, " ");
    } else if (*s == '[') {
      n = strcspn(s + 1, "]");
      set_text(b, s + 1, n, PROSE, -1);
      s += n + 1;
      if (*s == ']') s++;
      if (*s == '(') s += strcspn(s, ")") + 1;
    }
  }
}

/* Writes "part 5: surface" as a link to that figure where the study's page is there and has it. */
static void put_study(book *b, const char *text) {
  const char *what = strstr(text, ": ");
  char id[80];
  snprintf(id, sizeof id, "id=\"%s\"", what ? what + 2 : "");
  if (b->report && what && strstr(b->report, id)) {
    put_format(&b->out, "<a href='report.html#%s'>%s</a>", what + 2, text);
  } else {
    put_cell(b, text, PROSE);
  }
}

static void put_equations(book *b) {
  int i, report = b->report != NULL;
  if (!b->equations) return;
  put(&b->out,
      "<section class='chapter wide full'><div>\n<h2 id=paper-equations>The paper's equations"
      "</h2>\n<p>Where each one is computed, which check compares it, and which part of the study "
      "(<code>make reproduce</code>, ");
  put(&b->out,
      report ? "<a href='report.html'>drawn here</a>" : "drawn by <code>make report</code>");
  put(&b->out, ") measured it.</p>\n<div class=scroll><table><tr><th>what<th>equation<th>function"
               "<th>test<th>study</tr>\n");
  for (i = 0; i < b->equations; i++) {
    const equation *e = &b->equation[i];
    put_format(&b->out, "<tr id='%s'><td>", e->id);
    put_cell(b, e->what, PROSE);
    put(&b->out, "<td>");
    put_cell(b, e->math, FORMULA);
    put(&b->out, "<td>");
    put_cell(b, e->functions, PROSE);
    put(&b->out, "<td>");
    put_cell(b, e->test, PROSE);
    put(&b->out, "<td>");
    put_study(b, e->study);
    put(&b->out, "</tr>\n");
    add_mark(b, 'p', e->what, e->id);
  }
  put(&b->out, "</table></div></div></section>\n");
}
