/* Formulas: from the ASCII of the comments to MathML, which every browser sets by itself.
 *
 * The notation is what one would type anyway, and a pager shows it as it is:
 *
 *   x_i  s_act^2  W^T  u^(1/R)    below and above; W1, LN2, x1: a single digit goes below
 *   c[i,j]                        indices below, in formulas; a shape in lines labelled "shape"
 *   a / b, a/b, (a + b) / 2 h     a fraction. With blanks around the bar the numerator is what was
 *                                 multiplied since the last sign or fraction, without them it is
 *                                 what touches the bar. The denominator is one factor and what
 *                                 touches it, and takes sum, max, sqrt, log ... with their operands
 *   sum_p a b, sum_{i != j} x     a sum; so do max_j, argmin
 *   |x|, sqrt(x), sqrt x          norms and roots
 *   [1 2; 3 4]                    a matrix, row by row
 *   dW, dL/dm, dgamma             derivatives; beta, theta, lambda, ... Greek; inf; ->, <-, <=, +-
 *
 * Formulas stand in the middle of sentences without any mark, so they have to be told from words:
 * tokens.h does that. Here is set what was found.
 */

/* 7  Setting                                                                                 >>set
 *
 * One walk over the tokens of a formula. `term` is where the term under way begins in the sheet,
 * `near` where the last factors that touch each other begin: one of them becomes the numerator
 * when a bar comes. A formula in a line of text breaks after its top-level signs: each part is a
 * <math> of its own.
 */
typedef struct walk {
  setter *m;
  int i, end, script, whole, from; /* whole: too short for a break; from: the part begins here */
  size_t term, near, group, group_end;
} walk;

static void set_row(walk *w, int top);
static void set_factor(walk *w);

static sheet *sheet_of(walk *w) { return &w->m->b->out; }

static void set_word(walk *w, const token *t) {
  sheet *o = sheet_of(w);
  int k = find_known(t->s, t->n);
  size_t i;
  if (k >= 0 && known[k].sort == PRODUCT) {
    put(o, "<mrow>");
    for (i = 0; i < t->n; i++) put_format(o, "<mi>%c</mi>", t->s[i]);
    put(o, "</mrow>");
  } else if (k >= 0 && is_token(t, "sum")) {
    put(o, "<mo>&sum;</mo>");
  } else if (k >= 0 && is_token(t, "xh")) {
    put(o, "<mover accent=true><mi>x</mi><mo>^</mo></mover>");
  } else if (k >= 0) {
    put_format(o, "<mi>%s</mi>", known[k].shown);
  } else if (derivative(t->s, t->n)) {
    token rest = *t;
    rest.s++;
    rest.n--;
    put(o, "<mrow><mi mathvariant=normal>d</mi>");
    set_word(w, &rest);
    put(o, "</mrow>");
  } else if (has_index(t->s, t->n)) {
    put_format(o, "<msub><mi>%.*s</mi><mn>%c</mn></msub>", (int)t->n - 1, t->s, t->s[t->n - 1]);
  } else {
    put_format(o, "<mi>%.*s</mi>", (int)t->n, t->s);
  }
}

/* Returns 1 if the bracket opens a matrix, such as [1 2; 3 4]. */
static int is_matrix(const walk *w, int open) {
  int k, rows = 0;
  if (*w->m->t[open].s != '[') return 0;
  for (k = open + 1; k < w->m->t[open].match; k++) rows += *w->m->t[k].s == ';';
  return rows > 0;
}

static void set_matrix(walk *w) {
  sheet *o = sheet_of(w);
  int last = w->m->t[w->i].match, fresh = 1;
  put(o, "<mrow><mo>(</mo><mtable><mtr><mtd>");
  w->i++;
  while (w->i < last) {
    const token *t = &w->m->t[w->i];
    if (*t->s == ';') {
      put(o, "</mtd></mtr><mtr><mtd>");
      w->i++;
      fresh = 1;
      continue;
    }
    if (t->space && !fresh) put(o, "</mtd><mtd>");
    fresh = 0;
    if (is_token(t, "-")) {
      put(o, "<mo form=prefix>&minus;</mo>");
      w->i++;
    }
    if (w->i < last) set_factor(w);
  }
  put(o, "</mtd></mtr></mtable><mo>)</mo></mrow>");
  w->i = last + 1;
}

/* Sets the inside of brackets that starts at token i, up to the partner; without the brackets. */
static void set_inside(walk *w) {
  walk in = *w;
  int last = w->m->t[w->i].match;
  in.i++;
  in.end = last;
  set_row(&in, 0);
  w->i = last + 1;
}

static void set_brackets(walk *w, int show) {
  sheet *o = sheet_of(w);
  const token *open = &w->m->t[w->i], *close = &w->m->t[open->match];
  size_t start = o->n;
  put(o, "<mrow>");
  if (show) put_format(o, "<mo>%c</mo>", *open->s);
  set_inside(w);
  if (show) put_format(o, "<mo>%c</mo>", *close->s);
  put(o, "</mrow>");
  if (!show || *open->s != '(') return;
  w->group = start;
  w->group_end = o->n;
}

/* Sets what stands below or above: letters of indices one by one, a number, or brackets' inside. */
static void set_script(walk *w) {
  sheet *o = sheet_of(w);
  walk in = *w;
  const token *t = &w->m->t[w->i];
  size_t i;
  in.script = 1;
  put(o, "<mrow>");
  if (is_kind(w->m, in.i, SIGN) && in.i + 1 < w->end && tight(w->m, in.i + 1) && *t->s == '-') {
    put(o, "<mo form=prefix>&minus;</mo>");
    t = &w->m->t[++in.i];
  }
  if (t->kind == OPEN) {
    set_inside(&in);
  } else if (t->kind == WORD && t->n == 2 && !has_index(t->s, t->n) && !sort_of(t->s, t->n)) {
    for (i = 0; i < t->n; i++) put_format(o, "<mi>%c</mi>", t->s[i]);
    in.i++;
  } else if (t->kind == SIGN) {
    put_format(o, "<mo>%.*s</mo>", (int)t->n, t->s);
    in.i++;
  } else if (t->kind == NUMBER) {
    put_format(o, "<mn>%.*s</mn>", (int)t->n, t->s);
    in.i++;
  } else {
    set_word(&in, t);
    in.i++;
  }
  put(o, "</mrow>");
  w->i = in.i;
}

/* Sets everything that hangs on the base that begins at `start` of the sheet. An index in brackets
 * is a subscript, but not in shapes and sentences. */
static void set_scripts(walk *w, size_t start, size_t low, int limits, int indexed) {
  static const char *const tag[2][4] = {{"", "msub", "msup", "msubsup"},
                                        {"", "munder", "mover", "munderover"}};
  sheet *o = sheet_of(w);
  size_t high = 0;
  char room[40];
  int which;
  while (w->i < w->end) {
    if (is_script(w->m, w->i) && w->i + 1 < w->end) {
      int below = *w->m->t[w->i].s == '_';
      w->i++;
      if ((below && low) || (!below && high)) break;
      if (below) low = o->n;
      else high = o->n;
      set_script(w);
    } else if (is_prime(w->m, w->i) && !high) {
      high = o->n;
      put(o, "<mo>&prime;</mo>");
      w->i++;
    } else if (indexed && !low && tight(w->m, w->i) && is_kind(w->m, w->i, OPEN) &&
               *w->m->t[w->i].s == '[') {
      low = o->n;
      set_script(w);
    } else {
      break;
    }
  }
  which = (low > 0) + 2 * (high > 0);
  if (!which) return;
  if (low > high && high) { /* x'_i: the order of MathML is base, below, above */
    size_t n = o->n - low;
    char *copy = (char *)take(NULL, n + 1);
    memcpy(copy, o->s + low, n + 1);
    cut(o, low, n);
    insert(o, high, copy);
    free(copy);
  }
  snprintf(room, sizeof room, "<%s>", tag[limits][which]);
  insert(o, start, room);
  put_format(o, "</%s>", tag[limits][which]);
}

/* Sets a root: sqrt(x), sqrt x. */
static void set_root(walk *w) {
  sheet *o = sheet_of(w);
  put(o, "<msqrt>");
  w->i++;
  if (w->i < w->end && is_kind(w->m, w->i, OPEN)) set_inside(w);
  else if (w->i < w->end) set_factor(w);
  put(o, "</msqrt>");
}

/* Sets a norm: |x|, up to the next bar that closes. */
static void set_norm(walk *w) {
  sheet *o = sheet_of(w);
  walk in = *w;
  int last = w->m->t[w->i].match;
  put(o, "<mrow><mo form=prefix>|</mo>");
  in.i++;
  in.end = last;
  set_row(&in, 0);
  put(o, "<mo form=postfix>|</mo></mrow>");
  w->i = last + 1;
}

static void set_factor(walk *w) {
  sheet *o = sheet_of(w);
  const token *t = &w->m->t[w->i];
  size_t start = o->n, low = 0;
  int sort = t->kind == WORD ? sort_of(t->s, t->n) : 0, indexed = w->m->mode == FORMULA, limits = 0;
  if (t->kind == WORD && is_token(t, "sqrt")) {
    set_root(w);
  } else if (t->kind == OPEN && t->match > 0) {
    if (is_matrix(w, w->i)) set_matrix(w);
    else set_brackets(w, 1);
  } else if (t->kind == BAR && t->match > w->i) {
    set_norm(w);
  } else {
    if (t->kind == WORD && has_index(t->s, t->n) && !derivative(t->s, t->n)) {
      put_format(o, "<mi>%.*s</mi>", (int)t->n - 1, t->s);
      low = o->n;
      put_format(o, "<mn>%c</mn>", t->s[t->n - 1]);
    } else if (t->kind == WORD) set_word(w, t);
    else if (t->kind == NUMBER) put_format(o, "<mn>%.*s</mn>", (int)t->n, t->s);
    else if (t->kind == TEXT && *t->s == '.') put(o, "<mo>&sdot;</mo>");
    else {
      put(o, "<mtext>");
      put_text(o, t->s, t->n);
      put(o, "</mtext>");
    }
    w->i++;
    limits = sort == LIMITS;
    if (t->kind != WORD || is_token(t, "E") || is_token(t, "MHSA")) indexed = 0;
  }
  set_scripts(w, start, low, limits, indexed);
  if (t->kind == WORD && w->i < w->end && tight(w->m, w->i) && is_kind(w->m, w->i, OPEN) &&
      w->m->t[w->i].match > 0) {
    set_brackets(w, 1); /* f(x), and in shapes x[R,D] */
    w->group_end = 0;   /* not a group that a fraction may unwrap */
    set_scripts(w, start, 0, 0, 0);
  }
}

/* Sets a denominator. A function without brackets takes the next factor with it: sum exp(x), mean
 * x. */
static void set_denominator(walk *w) {
  sheet *o = sheet_of(w);
  size_t start = o->n;
  int more = 1;
  while (more && w->i < w->end) {
    const token *t = &w->m->t[w->i];
    int sort = t->kind == WORD ? sort_of(t->s, t->n) : 0;
    if (o->n > start && t->space) put(o, "<mspace width=.18em></mspace>");
    set_factor(w);
    more = sort >= FUNCTION && sort <= LIMITS && w->i < w->end &&
           !(w->m->t[w->i - 1].kind == CLOSE) && !is_operator(w->m, w->i);
    if (w->i < w->end && tight(w->m, w->i) && !is_operator(w->m, w->i) &&
        !is_kind(w->m, w->i, COMMA) && !is_kind(w->m, w->i, BAR) && !is_kind(w->m, w->i, TEXT)) {
      more = 1;
    }
  }
  if (w->group == start && w->group_end == o->n) {
    cut(o, o->n - 17, 10);
    cut(o, start + 6, 10);
  }
}

static void set_fraction(walk *w) {
  sheet *o = sheet_of(w);
  int near = tight(w->m, w->i) && tight(w->m, w->i + 1);
  size_t from = near ? w->near : w->term;
  w->i++;
  if (w->script || w->m->mode == PROSE || from == o->n || w->i >= w->end) {
    put(o, "<mo lspace=0 rspace=0>/</mo>");
    return;
  }
  if (w->group == from && w->group_end == o->n) {
    cut(o, o->n - 17, 10);
    cut(o, from + 6, 10);
  }
  insert(o, from, "<mfrac><mrow>");
  put(o, "</mrow><mrow>");
  set_denominator(w);
  put(o, "</mrow></mfrac>");
  w->near = from;
  w->term = o->n;
}

static void set_sign(walk *w, int first) {
  static const char *const sign[][2] = {
      {"->", "&rarr;"},    {"<-", "&larr;"},   {"<=", "&le;"},     {">=", "&ge;"},
      {"+-", "&plusmn;"},  {"!=", "&ne;"},     {"*", "&sdot;"},    {"x", "&times;"},
      {"-", "&minus;"},    {"<", "&lt;"},      {">", "&gt;"},      {"~", "&sim;"},
      {"...", "&hellip;"}, {"..", "&hellip;"}, {"*=", "&times;="}, {"-=", "&minus;="}};
  sheet *o = sheet_of(w);
  const token *t = &w->m->t[w->i];
  size_t i;
  const char *form = "infix";
  if (first && strchr("+-#", *t->s)) form = "prefix";
  put_format(o, "<mo form=%s>", form);
  for (i = 0; i < sizeof sign / sizeof *sign && !is_token(t, sign[i][0]); i++) {
  }
  if (i < sizeof sign / sizeof *sign) put(o, sign[i][1]);
  else put_text(o, t->s, t->n);
  put(o, "</mo>");
  w->i++;
}

static const char *math_tag(const walk *w) {
  return w->m->mode == PROSE ? "<math>" : "<math displaystyle=true>";
}

/* Sets factors and signs up to w->end. */
static void set_row(walk *w, int top) {
  sheet *o = sheet_of(w);
  int first = 1;
  w->term = w->near = o->n;
  while (w->i < w->end) {
    const token *t = &w->m->t[w->i];
    if (is_kind(w->m, w->i, SIGN) && *t->s == '/') {
      set_fraction(w);
    } else if (t->kind == SIGN || t->kind == COMMA || (t->kind == TEXT && *t->s != '.')) {
      int breaks = top && !first && !w->whole && t->s - w->m->t[w->from].s > 5 &&
                   (strchr("=<>", *t->s) || strchr("+-", *t->s)) &&
                   !(is_token(t, "^") || is_token(t, "_"));
      if (breaks) put(o, "</math><wbr>");
      if (breaks) put(o, math_tag(w));
      if (breaks) w->from = w->i; /* a part has more than "y = " */
      if (t->kind == SIGN) {
        set_sign(w, first);
      } else {
        put(o, t->kind == COMMA ? "<mo>" : "<mtext>");
        put_text(o, t->s, t->n);
        put(o, t->kind == COMMA ? "</mo>" : "</mtext>");
        w->i++;
      }
      w->term = w->near = o->n;
      first = 1;
      continue;
    } else {
      if (t->space && !first && top && w->m->mode == SHAPE)
        put_format(o, "</math> %s", math_tag(w)); /* x[B,K] t[B,K]: may go on in the next line */
      else if (t->space && !first)
        put(o, t->kind == WORD && t->n > 2 && !sort_of(t->s, t->n)
                   ? "<mspace width=.3em></mspace>"
                   : "<mspace width=.18em></mspace>");
      if (t->space) w->near = o->n;
      set_factor(w);
    }
    first = 0;
  }
}

/* 8  Text with formulas                                                                     >>text
 *
 * What is no formula is set as it is, with real arrows and quotation marks.
 */
static int is_there(const token *t) {
  char path[200];
  FILE *f;
  snprintf(path, sizeof path, "%.*s", (int)t->n, t->s);
  f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

/* Returns the title that a number in a sentence speaks of: (11.4), section 9.3, chapter 10. */
static const title *referred(const setter *m, const token *t) {
  static const char *const before[] = {"section", "Section", "chapter", "Chapter",
                                       "see", "of", "in"};
  size_t i, from = memchr(t->s, '.', t->n) ? 0 : 2, to = memchr(t->s, '.', t->n) ? 7 : 4;
  int k;
  if (t->kind != NUMBER || t == m->t) return NULL;
  for (i = from; i < to && !is_token(t - 1, before[i]); i++) {
  }
  if (i == to && !(from == 0 && t[-1].kind == OPEN && *t[-1].s == '(')) {
    int more = t[-1].kind == COMMA || is_token(t - 1, "and") || is_token(t - 1, "to");
    if (from || !more || t - m->t < 2 || !referred(m, t - 2)) return NULL; /* (8.2, 8.3) */
  }
  for (k = 0; k < m->b->titles; k++) {
    if (is_token(t, m->b->title[k].number)) return &m->b->title[k];
  }
  return NULL;
}

static void put_plain(setter *m, const token *t) {
  static const char *const sign[][2] = {{"->", "&rarr;"}, {"<-", "&larr;"},   {"<=", "&le;"},
                                        {">=", "&ge;"},   {"+-", "&plusmn;"}, {"...", "&hellip;"},
                                        {"x", "&times;"}};
  sheet *o = &m->b->out;
  size_t i;
  if (t->kind == CODE) {
    size_t quoted = *t->s == '`';
    put(o, "<code>");
    for (i = quoted; i + quoted < t->n;) {
      size_t n = 0;
      while (is_word(t->s[i + n]) && i + n + quoted < t->n) n++;
      if (n) put_name(m->b, t->s + i, n, m->line, 0);
      else put_char(o, t->s[i]);
      i += n ? n : 1;
    }
    put(o, "</code>");
  } else if (t->kind == TAG) {
    put_tag(m->b, t->s, 0);
  } else if (t->kind == NAME) {
    put(o, "<code>");
    put_name(m->b, t->s, t->n, m->line, 0);
    put(o, "</code>");
  } else if (referred(m, t)) {
    const title *to = referred(m, t);
    put_format(o, "<a href='#%s' title='%s'>%s</a>", to->tag, to->text, to->number);
  } else if (t->kind == PATH && is_there(t)) {
    put_format(o, "<a class=file href='../%.*s'>%.*s</a>", (int)t->n, t->s, (int)t->n, t->s);
  } else {
    for (i = 0; i < 7 && (t->kind == WORD || !is_token(t, sign[i][0])); i++) {
    }
    if (i < 7) put(o, sign[i][1]);
    else if (*t->s == '"')
      put(o, t->space || t == m->t || t[-1].kind == OPEN ? "&ldquo;" : "&rdquo;");
    else if (*t->s == '\'') put(o, t->space ? "&lsquo;" : "&rsquo;");
    else put_text(o, t->s, t->n);
  }
}

/* Writes a comma behind a formula that begins at `start`, so that it stays in the line of the
 * formula's last part. */
static void put_mark(sheet *o, size_t start, char comma) {
  const char *s, *last = o->s + start;
  while ((s = strstr(last, "<wbr>")) != NULL) last = s + 5;
  insert(o, (size_t)(last - o->s), "<span class=k>");
  put_format(o, "%c</span>", comma);
}

static void set_text(book *b, const char *text, size_t size, int mode, int line) {
  static setter m;
  sheet *o = &b->out;
  int i;
  m.b = b;
  m.mode = mode;
  m.line = line;
  cut_tokens(&m, text, size);
  find_formulas(&m);
  if (mode != PROSE) put(o, "<span class=f>");
  for (i = 0; i < m.count;) {
    token *t = &m.t[i];
    if (t->space && i && !m.t[i - 1].breaks && !(m.t[i - 1].math && m.t[i - 1].kind == SIGN)) {
      put(o, " ");
    }
    if (t->math) {
      walk w;
      size_t start = o->n;
      memset(&w, 0, sizeof w);
      w.m = &m;
      w.i = w.from = i;
      for (w.end = i; w.end < m.count && m.t[w.end].math; w.end++) {
        if (w.end > i && m.t[w.end - 1].breaks) break;
      }
      put(o, math_tag(&w));
      w.whole = mode == PROSE && m.t[w.end - 1].s - t->s < 18;
      i = w.end;
      set_row(&w, 1);
      put(o, "</math>");
      if (mode == PROSE && i < m.count && !m.t[i].space && m.t[i].n == 1 &&
          strchr(",.;:)", *m.t[i].s)) {
        put_mark(o, start, *m.t[i++].s);
      }
    } else {
      put_plain(&m, t);
      i++;
    }
    if (mode != PROSE && m.t[i - 1].breaks && i < m.count) put(o, "</span> <span class=f>");
  }
  if (mode != PROSE) put(o, "</span>");
}
