/* Telling formulas from words. */

/* 5  Tokens                                                                                >>tokens
 *
 * Text is cut into tokens. Some are never mathematics: names in backquotes, names that the file
 * defines, tags, paths. A word can be, if it is a letter, the name of a function or of a Greek
 * letter, or carries an index.
 */
enum { PROSE, FORMULA, SHAPE }; /* what is set: a sentence, a formula's line, a shape's */
enum { TEXT, CODE, TAG, NAME, PATH, WORD, NUMBER, SIGN, OPEN, CLOSE, BAR, COMMA };

typedef struct token {
  int kind, space; /* space: blanks before it */
  const char *s;
  size_t n;
  int math;   /* belongs to a formula */
  int match;  /* of a bracket: its partner, or -1 */
  int breaks; /* a new statement begins after it */
} token;
#define MAX_TOKENS 3000

typedef struct setter {
  book *b;
  int mode, line;
  token t[MAX_TOKENS];
  int count;
} setter;

/* Words that formulas know: how they are shown. A function takes what follows as its operand. */
enum { LETTER = 1, FUNCTION = 2, LIMITS = 3, PRODUCT = 4 };
static const struct {
  const char *word, *shown;
  int sort;
} known[] = {{"alpha", "&alpha;", LETTER},
             {"beta", "&beta;", LETTER},
             {"gamma", "&gamma;", LETTER},
             {"theta", "&theta;", LETTER},
             {"lambda", "&lambda;", LETTER},
             {"lam", "&lambda;", LETTER},
             {"sigma", "&sigma;", LETTER},
             {"mu", "&mu;", LETTER},
             {"eps", "&epsilon;", LETTER},
             {"phi", "&phi;", LETTER},
             {"Phi", "&Phi;", LETTER},
             {"pi", "&pi;", LETTER},
             {"kappa", "&kappa;", LETTER},
             {"inf", "&infin;", LETTER},
             {"lse", "lse", LETTER},
             {"rstd", "rstd", LETTER},
             {"xh", "", LETTER},
             {"lr", "lr", LETTER},
             {"wd", "wd", LETTER},
             {"MACs", "MACs", LETTER},
             {"RMSE", "RMSE", LETTER},
             {"exp", "exp", FUNCTION},
             {"log", "log", FUNCTION},
             {"ln", "ln", FUNCTION},
             {"cos", "cos", FUNCTION},
             {"erf", "erf", FUNCTION},
             {"sqrt", "sqrt", FUNCTION},
             {"mean", "mean", FUNCTION},
             {"var", "var", FUNCTION},
             {"round", "round", FUNCTION},
             {"floor", "floor", FUNCTION},
             {"clip", "clip", FUNCTION},
             {"trace", "trace", FUNCTION},
             {"softmax", "softmax", FUNCTION},
             {"GELU", "GELU", FUNCTION},
             {"gelu", "gelu", FUNCTION},
             {"LN", "LN", FUNCTION},
             {"MHSA", "MHSA", FUNCTION},
             {"DropPath", "DropPath", FUNCTION},
             {"CE", "CE", FUNCTION},
             {"max", "max", LIMITS},
             {"min", "min", LIMITS},
             {"argmax", "arg max", LIMITS},
             {"argmin", "arg min", LIMITS},
             {"sum", "&sum;", LIMITS},
             {"hd", "hd", PRODUCT},
             {"HW", "HW", PRODUCT},
             {"hw", "hw", PRODUCT},
             {"BN", "BN", PRODUCT},
             {"BND", "BND", PRODUCT},
             {"BNF", "BNF", PRODUCT},
             {"Wx", "Wx", PRODUCT},
             {"BK", "BK", PRODUCT},
             {"at", "at", PRODUCT}};

static int find_known(const char *s, size_t n) {
  size_t i;
  for (i = 0; i < sizeof known / sizeof *known; i++) {
    if (strlen(known[i].word) == n && memcmp(known[i].word, s, n) == 0) return (int)i;
  }
  return -1;
}

static int sort_of(const char *s, size_t n) {
  int k = find_known(s, n);
  return k < 0 ? 0 : known[k].sort;
}

/* Returns 1 for a name that is an English word too: "at" is the product of a and t in one chapter
 * and a word everywhere else. */
static int is_english(const token *t) {
  static const char *const words[] = {"at",  "sum", "mean", "max", "min",   "round", "clip",
                                      "log", "lam", "mu",   "ma",  "floor", "trace", "inf"};
  size_t i;
  for (i = 0; i < sizeof words / sizeof *words; i++) {
    if (strlen(words[i]) == t->n && memcmp(words[i], t->s, t->n) == 0) return 1;
  }
  return 0;
}

static int is_token(const token *t, const char *s) {
  return t->n == strlen(s) && memcmp(t->s, s, t->n) == 0;
}

/* Returns 1, the length of the d, for dx, dW1, dgamma; else 0. */
static size_t derivative(const char *s, size_t n) {
  if (n < 2 || s[0] != 'd' || (n == 2 && strchr("oe", s[1]))) return 0;
  if (n == 2 && isalpha((unsigned char)s[1])) return 1;
  if (n == 3 && isalpha((unsigned char)s[1]) && isdigit((unsigned char)s[2])) return 1;
  if (sort_of(s + 1, n - 1) == LETTER) return 1;
  return (n == 4 && (memcmp(s, "dcls", 4) == 0 || memcmp(s, "dpos", 4) == 0)) ||
         (n == 5 && (memcmp(s, "ddist", 5) == 0 || memcmp(s, "dbias", 5) == 0)) ||
         (n == 8 && memcmp(s, "dpatches", 8) == 0) || (n == 7 && memcmp(s, "dimages", 7) == 0) ||
         (n == 11 && memcmp(s, "dimportance", 11) == 0);
}

/* Returns 1 for W1, LN2, lr0: a letter or a short name with one digit. fc1 and F32 are words. */
static int has_index(const char *s, size_t n) {
  if (n < 2 || !isdigit((unsigned char)s[n - 1])) return 0;
  if (n == 2) return isalpha((unsigned char)s[0]) && !strchr("LGQ", s[0]);
  return n == 3 && (memcmp(s, "LN", 2) == 0 || memcmp(s, "lr", 2) == 0);
}

/* Returns the length of a name with an underscore, which is code unless a letter or a known word
 * carries a short index. */
static size_t identifier(const char *s) {
  size_t base = 0, n, low;
  while (isalnum((unsigned char)s[base])) base++;
  if (s[base] != '_') return base;
  for (n = base; is_word(s[n]); n++) {
  }
  low = n - base - 1;
  if (s[base + 1] == '{' || low == 0) return s[base + 1] == '{' ? base : n;
  if (base > 1 && !sort_of(s, base) && !derivative(s, base) && strncmp(s, "score", 5) != 0 &&
      strncmp(s, "label", 5) != 0) {
    return n;
  }
  if (low > 2 && strncmp(s + base + 1, "act", low) != 0 &&
      strncmp(s + base + 1, "attn", low) != 0) {
    return n;
  }
  return base;
}

static size_t path_length(const char *s) {
  size_t n = strcspn(s, " ,;:()");
  if (strncmp(s, "tests/", 6) != 0 && strncmp(s, "examples/", 9) != 0 &&
      strncmp(s, "data/", 5) != 0 && strncmp(s, "PAPER_NOTES.md", 14) != 0) {
    return 0;
  }
  while (n && s[n - 1] == '.') n--;
  return n;
}

/* Returns the length of an option of a command, such as -O3, -std=c99, --isa; or 0. */
static size_t flag_length(const char *start, const char *s) {
  size_t n = strspn(s, "-");
  if (n < 1 || n > 2 || (s > start && !strchr(" (\n", s[-1]))) return 0;
  if (!isalpha((unsigned char)s[n]) || !isalnum((unsigned char)s[n + 1])) return 0;
  while (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '=') n++;
  return sort_of(s + 1, n - 1) ? 0 : n; /* -log x is none */
}

/* Returns the length of what is code without saying so, JSON up to the next blank and %zu; or 0. */
static size_t quoted_length(const char *s) {
  size_t n = 0;
  if (s[0] == '{' && s[1] == '"') {
    n = strcspn(s, " \n");
    while (s[n - 1] != '}' && n > 1) n--;
  } else if (s[0] == '%' && (s[1] == '%' || isalpha((unsigned char)s[1]))) {
    for (n = 2; isalpha((unsigned char)s[n]) && s[1] != '%'; n++) {
    }
  }
  return n;
}

/* Returns the kind and length of what begins at s; `start` is the beginning of the text. */
static int next_token(const setter *m, const char *start, const char *s, size_t *n) {
  static const char *const sign[] = {
      "...", "<->", "->", "<-", "<=", ">=", "+-", "+=", "-=", "*=", "!=", "..",
      "+",   "-",   "*",  "/",  "=",  "<",  ">",  "^",  "_",  "~",  "#"};
  size_t i;
  if (*s == '`') {
    const char *end = strchr(s + 1, '`');
    *n = end ? (size_t)(end - s) + 1 : 1;
    return end ? CODE : TEXT;
  }
  if ((*n = tag_length(start, s)) != 0) return TAG;
  if (m->mode == PROSE && (*n = flag_length(start, s)) != 0) return CODE;
  if (m->mode == PROSE && (*n = quoted_length(s)) != 0) return CODE;
  if ((s == start || !is_word(s[-1])) && (*n = path_length(s)) != 0) return PATH;
  if (isalpha((unsigned char)*s)) {
    *n = identifier(s);
    if (memchr(s, '_', *n)) return find_name(m->b, s, *n) ? NAME : CODE;
    if (strncmp(s, "BDPT", 4) == 0 && find_name(m->b, s, *n)) return NAME;
    return WORD;
  }
  if (isdigit((unsigned char)*s)) {
    for (i = 0; isdigit((unsigned char)s[i]); i++) {
    }
    while (s[i] == '.' && isdigit((unsigned char)s[i + 1])) { /* and 0.1.0 */
      for (i++; isdigit((unsigned char)s[i]); i++) {
      }
    }
    if (s[i] == 'e') { /* 1e-6, 1e9 */
      size_t sign_length = s[i + 1] == '-' || s[i + 1] == '+';
      if (isdigit((unsigned char)s[i + 1 + sign_length])) {
        for (i += 1 + sign_length; isdigit((unsigned char)s[i]); i++) {
        }
      }
    }
    *n = i;
    return NUMBER;
  }
  *n = 1;
  for (i = 0; i < sizeof sign / sizeof *sign; i++) {
    if (strncmp(s, sign[i], strlen(sign[i])) == 0) {
      *n = strlen(sign[i]);
      return SIGN;
    }
  }
  if (strchr("([{", *s)) return OPEN;
  if (strchr(")]}", *s)) return CLOSE;
  if (*s == '|') return BAR;
  if (*s == ',') return COMMA;
  return TEXT;
}

/* Matches brackets by nesting; bars in pairs, one that touches what follows and one that does
 * not. */
static void match_brackets(setter *m) {
  int stack[64], depth = 0, bar = -1, i;
  for (i = 0; i < m->count; i++) {
    m->t[i].match = -1;
    if (m->t[i].kind == BAR && bar < 0 && i + 1 < m->count && !m->t[i + 1].space) {
      bar = i;
    } else if (m->t[i].kind == BAR && bar >= 0) {
      m->t[i].match = bar;
      m->t[bar].match = i;
      bar = -1;
    }
    if (m->t[i].kind == OPEN && depth < 64) stack[depth++] = i;
    if (m->t[i].kind != CLOSE || !depth) continue;
    depth--;
    m->t[i].match = stack[depth];
    m->t[stack[depth]].match = i;
  }
  while (depth > 0) m->t[stack[--depth]].match = -1;
}

/* Returns 1 if "name =" or "word:" begins at s. A statement of a formula's line ends before it,
 * where a line of the source does too; also at a semicolon, and before two blanks. */
static int starts_statement(const char *s) {
  size_t n = strcspn(s, "=:<;\n");
  if (n == 0 || n > 22) return 0;
  if (s[n] == ':') return n < 14 && s[n + 1] == ' ' && !memchr(s, ' ', n);
  if (s[n] == '=' && strchr("+-*", s[n - 1])) n--;
  return (s[n] == '=' || strncmp(s + n, "<-", 2) == 0 || s[n + 1] == '=') && s[n - 1] == ' ';
}

static void cut_tokens(setter *m, const char *text, size_t size) {
  const char *s = text, *end = text + size;
  m->count = 0;
  while (s < end) {
    token *t = &m->t[m->count];
    size_t blanks = 0;
    int fresh = 0;
    for (; s < end && (*s == ' ' || *s == '\n'); s++, blanks++) {
      if (*s == '\n' && m->mode != PROSE && starts_statement(s + 1)) fresh = 1;
    }
    if (m->mode != PROSE && blanks > 1) fresh = 1;
    if (m->count && fresh) t[-1].breaks = 1;
    if (s >= end) break;
    if (m->count == MAX_TOKENS) {
      complain(m->b, m->b->path, m->line, "too long a text", "");
      return;
    }
    memset(t, 0, sizeof *t);
    t->space = blanks > 0;
    t->s = s;
    t->kind = next_token(m, text, s, &t->n);
    if (t->n > (size_t)(end - s)) t->n = (size_t)(end - s);
    t->breaks = *s == ';' && m->mode != PROSE;
    s += t->n;
    m->count++;
  }
  match_brackets(m);
}

/* 6  What is a formula                                                                     >>detect
 *
 * First each token by itself: could it be part of one? Then the longest runs of such tokens are
 * looked at, trimmed at both ends, and kept if something in them is certainly mathematics.
 */
static int tight(const setter *m, int i) { return i < m->count && !m->t[i].space; }

static int is_kind(const setter *m, int i, int kind) {
  return i >= 0 && i < m->count && m->t[i].kind == kind;
}

/* Returns 1 if the sign i stands between operands and is not a script. */
static int is_operator(const setter *m, int i) {
  return is_kind(m, i, SIGN) && !strchr("_^#", m->t[i].s[0]) && m->t[i].s[0] != '.';
}

static int is_script(const setter *m, int i) {
  return tight(m, i) && is_kind(m, i, SIGN) && strchr("_^", m->t[i].s[0]) != NULL;
}

/* Returns 1 for z' and gelu'(z), but not for image's. */
static int is_prime(const setter *m, int i) {
  const token *t = &m->t[i];
  if (i == 0 || i >= m->count || t->kind != TEXT || *t->s != '\'' || t->space) return 0;
  if (!is_kind(m, i - 1, WORD)) return 0;
  if (m->t[i - 1].n > 1 && !sort_of(m->t[i - 1].s, m->t[i - 1].n)) return 0;
  return i + 1 == m->count || m->t[i + 1].space || m->t[i + 1].kind != WORD;
}

static int word_is_math(const setter *m, int i) {
  const token *t = &m->t[i];
  int sort = sort_of(t->s, t->n);
  if (t->n == 1)
    return i == 0 || t->space || !is_kind(m, i - 1, TEXT) || strchr("'.", *m->t[i - 1].s) == NULL;
  if (i > 0 && is_script(m, i - 1) && tight(m, i)) return 1;
  if (i > 1 && *t->s == 'd' && is_token(&m->t[i - 1], "/") && is_token(&m->t[i - 2], "dL"))
    return 1;
  if (is_script(m, i + 1) && !has_index(t->s, t->n)) {
    return t->n == 1 || sort || derivative(t->s, t->n) || t->n == 5;
  }
  if (has_index(t->s, t->n) || derivative(t->s, t->n)) return 1;
  if (m->mode != PROSE) return sort != 0 && !is_token(t, "at");
  if (tight(m, i + 1) && is_kind(m, i + 1, OPEN) && sort) return 1;
  if (is_operator(m, i + 1) || is_operator(m, i - 1)) return sort != 0;
  return sort != 0 && !is_english(t) && sort != FUNCTION;
}

/* Returns 1 for the hyphen of top-n and of 754-2008. */
static int is_hyphen(const setter *m, int i) {
  if (m->mode == PROSE && is_token(&m->t[i], "-") && tight(m, i) && tight(m, i + 1) &&
      is_kind(m, i - 1, NUMBER) && is_kind(m, i + 1, NUMBER)) {
    return 1;
  }
  return is_kind(m, i, SIGN) && is_token(&m->t[i], "-") && tight(m, i) && tight(m, i + 1) &&
         is_kind(m, i - 1, WORD) && m->t[i - 1].n > 1 && !has_index(m->t[i - 1].s, m->t[i - 1].n);
}

/* Returns 1 for the words of a formula's line that have a sign of assignment or division beside
 * them, or an index: loss, average, keep[b]. */
static int is_named(const setter *m, int i) {
  static const char *const plain[] = {"the",     "their", "what", "each",  "one", "all",
                                      "nothing", "zero",  "that", "where", "of",  "over",
                                      "to",      "in",    "or",   "and",   "no"};
  static const char *const signs[] = {"=", "<-", "/", "+=", "-=", "*=", "*", "+", "-", "<", ">"};
  const token *t = &m->t[i];
  size_t j;
  int k;
  if (m->mode == PROSE || t->kind != WORD || t->n < 2) return 0;
  if (tight(m, i + 1) && is_kind(m, i + 1, OPEN) && m->t[i + 1].match > 0) return 1;
  if (is_kind(m, i + 1, SIGN) && tight(m, i + 1) && is_token(&m->t[i + 1], "/")) return 1;
  for (j = 0; j < sizeof plain / sizeof *plain; j++) {
    if (is_token(t, plain[j])) return 0;
  }
  for (k = i - 1; k <= i + 1; k += 2) {
    if (!is_kind(m, k, SIGN) || is_hyphen(m, k)) continue;
    for (j = 0; j < sizeof signs / sizeof *signs; j++) {
      if (is_token(&m->t[k], signs[j])) return 1;
    }
  }
  return 0;
}

static int in_brackets(const setter *m, int i) {
  int k;
  for (k = i - 1; k >= 0; k--) {
    if (m->t[k].kind == OPEN && m->t[k].match > i) return 1;
  }
  return 0;
}

/* Returns 1 for the sign in 14 x 14 and N x N in a sentence. */
static int is_times(const setter *m, int i) {
  const token *t = &m->t[i];
  int k;
  if (m->mode != PROSE || !is_token(t, "x") || i == 0 || i + 1 >= m->count || !t->space) return 0;
  for (k = i - 1; k <= i + 1; k += 2) {
    const token *u = &m->t[k];
    if (u->kind != NUMBER && !(u->kind == WORD && isupper((unsigned char)u->s[0]))) return 0;
  }
  return m->t[i + 1].space;
}

static void mark_tokens(setter *m) {
  int i, k;
  for (i = 0; i < m->count; i++) {
    token *t = &m->t[i];
    if (is_times(m, i)) t->kind = SIGN;
    if (t->kind == WORD) t->math = word_is_math(m, i) || is_named(m, i);
    else if (t->kind == NUMBER) t->math = 1;
    else if (t->kind == SIGN) t->math = !is_hyphen(m, i) && (t->s[0] != '.' || in_brackets(m, i));
    else if (t->kind == COMMA) t->math = in_brackets(m, i);
    else if (t->kind == TEXT)
      t->math = is_prime(m, i) ||
                (*t->s == '.' && t->space && i > 0 && i + 1 < m->count && m->t[i + 1].space);
  }
  for (i = 0; i < m->count; i++) { /* a word that was a variable once is one everywhere */
    if (!is_named(m, i) || (tight(m, i + 1) && is_kind(m, i + 1, OPEN))) continue;
    for (k = 0; k < m->count; k++) {
      if (m->t[k].kind == WORD && m->t[k].n == m->t[i].n &&
          !memcmp(m->t[k].s, m->t[i].s, m->t[i].n)) {
        m->t[k].math = 1;
      }
    }
  }
}

/* Returns 1 for [1 2; 3 -4]: numbers, signs and at least one semicolon. */
static int holds_matrix(const setter *m, int open) {
  int k, rows = 0;
  for (k = open + 1; *m->t[open].s == '[' && k < m->t[open].match; k++) {
    if (*m->t[k].s == ';') rows++;
    else if (m->t[k].kind != NUMBER && !is_token(&m->t[k], "-")) return 0;
  }
  return rows > 0;
}

static int follows_math(const setter *m, int i) {
  if (m->t[i].kind == BAR) return 1;
  return i > 0 && m->t[i - 1].math && m->t[i - 1].kind != NUMBER &&
         (tight(m, i) || m->t[i - 1].kind == SIGN);
}

/* Marks brackets, inner ones first. They belong to a formula if all within them does; or, in a
 * formula's line, if they follow a word or a sign: then what they enclose is set as words within
 * the formula. */
static void mark_brackets(setter *m) {
  int i, k, all, ends;
  for (i = m->count - 1; i >= 0; i--) {
    if ((m->t[i].kind != OPEN && m->t[i].kind != BAR) || m->t[i].match < i) continue;
    ends = m->t[i].match;
    if (holds_matrix(m, i)) {
      for (k = i + 1; k < ends; k++) m->t[k].math = 1;
    }
    for (all = 1, k = i + 1; k < ends; k++) all &= m->t[k].math;
    if (!all && m->mode != PROSE && ends - i < 14 && follows_math(m, i)) {
      for (all = 1, k = i + 1; k < ends; k++) {
        if (m->t[k].kind == TEXT && !strchr("':", *m->t[k].s)) all = 0;
      }
      for (k = i + 1; all && k < ends; k++) m->t[k].math = 1;
    }
    if (all && ends > i + 1) m->t[i].math = m->t[ends].math = 1;
  }
}

/* Returns 1 for a word in the middle of a sentence, where a capital A is no article. */
static int is_inside(const setter *m, int i) {
  const token *t = i > 0 ? &m->t[i - 1] : NULL;
  return t && !(t->kind == TEXT && strchr(".?!:;", *t->s)) && t->kind != CODE;
}

/* Returns 1 if an "a" is the article: before a comma, a bracket's end or one of these words it is a
 * name. */
static int is_article(const setter *m, int i) {
  static const char *const after[] = {"and", "or", "is",   "in",  "of",
                                      "to",  "by", "with", "the", "has"};
  const token *t = &m->t[i];
  size_t k;
  if (!is_kind(m, i, WORD) || t->n != 1 || !strchr("aAI", *t->s)) return 0;
  if (is_kind(m, i + 1, COMMA) || is_kind(m, i + 1, CLOSE)) return 0;
  if (is_kind(m, i + 1, TEXT) && !m->t[i + 1].space) return 0;
  if (*t->s != 'a' && is_inside(m, i)) return 0;
  for (k = 0; k < sizeof after / sizeof *after && i + 1 < m->count; k++) {
    if (is_token(&m->t[i + 1], after[k])) return 0;
  }
  return 1;
}

/* Returns 1 if C is the language, as it is unless A or B is spoken of too. */
static int is_language(const setter *m, int i) {
  int k;
  if (!is_token(&m->t[i], "C") || m->mode != PROSE) return 0;
  for (k = 0; k < m->count; k++) {
    if (is_token(&m->t[k], "B") || (is_token(&m->t[k], "A") && !is_article(m, k))) return 0;
  }
  return 1;
}

/* Returns 1 if from .. to - 1 hold something that no sentence has. */
static int is_certain(const setter *m, int from, int to) {
  int i, operands = 0, signs = 0;
  for (i = from; i < to; i++) {
    const token *t = &m->t[i];
    if (is_operator(m, i)) signs++;
    else if (t->kind == WORD || t->kind == NUMBER) operands++;
    if (is_script(m, i) || is_prime(m, i)) return 1;
    if (t->kind == WORD && (has_index(t->s, t->n) || derivative(t->s, t->n))) return 1;
    if (t->kind == WORD && sort_of(t->s, t->n) && !is_english(t)) return 1;
    if (m->mode != PROSE && t->kind == WORD && sort_of(t->s, t->n) == LETTER) return 1;
    if (t->kind == WORD && m->mode != PROSE && t->n == 1 && !is_article(m, i)) return 1;
    if (t->kind == WORD && t->n == 1 && !is_article(m, i) && !is_language(m, i)) return 1;
    if (t->kind == OPEN && i > from && tight(m, i) && m->t[i - 1].kind == WORD) return 1;
    if (t->kind == BAR) return 1;
    if (t->kind == OPEN && m->mode != PROSE && *t->s != '(') return 1;
  }
  return signs > 0 && operands > 1;
}

/* Takes from both ends of a run what belongs to the sentence: signs that have nothing to join,
 * commas, articles, brackets whose partner is outside. */
static void trim(const setter *m, int *from, int *to) {
  int changed = 1;
  while (changed && *from < *to) {
    int last = *to - 1, first = *from;
    const token *a = &m->t[first], *z = &m->t[last];
    int a_signs =
        is_kind(m, first, SIGN) && !(a->n == 1 && strchr("-+#", *a->s) && tight(m, first + 1));
    changed = 1;
    if (z->kind == WORD && is_english(z) && sort_of(z->s, z->n) >= FUNCTION &&
        last + 1 < m->count) {
      (*to)--;
      continue;
    }
    if (m->mode != PROSE && z->kind == SIGN && last > first && *z->s != '.' && last + 1 < m->count)
      return;
    if (z->kind == COMMA || z->kind == SIGN || (z->kind == BAR && z->match < first)) (*to)--;
    else if (z->kind == TEXT && !is_prime(m, last)) (*to)--;
    else if ((z->kind == OPEN || z->kind == CLOSE) && z->match < first) (*to)--;
    else if (is_article(m, last) && last > first && !is_operator(m, last - 1) &&
             tight(m, last) == 0) {
      (*to)--;
    } else if (a->kind == COMMA || a_signs || (a->kind == TEXT && !is_prime(m, first))) (*from)++;
    else if ((a->kind == OPEN || a->kind == BAR) && a->match >= *to) (*from)++;
    else if (a->kind == CLOSE) (*from)++;
    else if (is_article(m, first) && m->mode == PROSE && !is_operator(m, first + 1) &&
             !is_script(m, first + 1) && !(tight(m, first + 1) && is_kind(m, first + 1, OPEN))) {
      (*from)++;
    } else changed = 0;
  }
}

static void find_formulas(setter *m) {
  int i = 0, k;
  mark_tokens(m);
  mark_brackets(m);
  while (i < m->count) {
    int from = i, to, end;
    if (!m->t[i].math) {
      i++;
      continue;
    }
    for (end = i; end < m->count && m->t[end].math; end++) {
      if (end > i && m->t[end - 1].breaks) break;
    }
    to = end;
    trim(m, &from, &to);
    if (from < to && !is_certain(m, from, to)) to = from;
    for (k = i; k < end; k++) m->t[k].math = k >= from && k < to;
    i = end;
  }
}
