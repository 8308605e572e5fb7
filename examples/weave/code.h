/* Code: coloured, its names linked. */

/* 11  A block of code                                                                        >>code
 *
 * Six colours: comments, strings, numbers, words of the language, types, and directives. *inside
 * says whether the line starts within a comment.
 */
static int is_keyword(const char *s, size_t n) {
  static const char words[] =
      " break case const continue default do else enum extern for goto if "
      "inline return sizeof static struct switch typedef union volatile while BDPT_API BDPTI_FN "
      "BDPTI_HOT ";
  char key[20];
  if (n > 10) return 0;
  snprintf(key, sizeof key, " %.*s ", (int)n, s);
  return strstr(words, key) != NULL;
}

static int is_type(const book *b, const char *s, size_t n) {
  static const char words[] =
      " char double float int long short signed unsigned void size_t int32_t "
      "uint32_t int64_t uint64_t uint16_t uint8_t ptrdiff_t FILE ";
  char key[20];
  const name *x = find_name(b, s, n);
  if (x) return x->kind == 't';
  if (n > 10) return 0;
  snprintf(key, sizeof key, " %.*s ", (int)n, s);
  return strstr(words, key) != NULL;
}

static void put_class(sheet *o, const char *class, const char *s, size_t n) {
  put_format(o, "<%s>", class);
  put_text(o, s, n);
  put_format(o, "</%.*s>", (int)strcspn(class, " "), class);
}

/* Writes one token of code, which is not in a comment; returns its length. */
static size_t put_code_token(book *b, const char *s, int line, int *inside) {
  sheet *o = &b->out;
  size_t n = 0;
  while (is_word(s[n])) n++;
  if (s[0] == '/' && s[1] == '*') {
    put(o, "<i>/*");
    *inside = 1;
    return 2;
  }
  if (s[0] == '/' && s[1] == '/') {
    put_class(o, "i", s, n = strlen(s));
  } else if (s[0] == '"' || s[0] == '\'') {
    for (n = 1; s[n] && s[n] != s[0]; n++) n += s[n] == '\\' && s[n + 1];
    n += s[n] != 0;
    put_class(o, "q", s, n);
  } else if (s[0] == '#' && n == 0) {
    n = 1 + strspn(s + 1, " ");
    while (is_word(s[n])) n++;
    put_class(o, "em", s, n);
  } else if (n && isdigit((unsigned char)*s)) {
    if (s[n] == '.') {
      for (n++; is_word(s[n]); n++) {
      }
    }
    if ((s[n] == '-' || s[n] == '+') && tolower((unsigned char)s[n - 1]) == 'e' && s[1] != 'x') {
      for (n++; is_word(s[n]); n++) {
      }
    }
    put_class(o, "u", s, n);
  } else if (n && is_keyword(s, n)) {
    put_class(o, "b", s, n);
  } else if (n) {
    int type = is_type(b, s, n);
    if (type) put(o, "<s>");
    put_name(b, s, n, line, 1);
    if (type) put(o, "</s>");
  } else {
    put_char(o, s[n++]);
  }
  return n;
}

static void put_code(book *b, int line, int *inside) {
  const char *s = b->line[line];
  put_format(&b->out, "<a class=n id=L%d href='#L%d'>%d</a>", line + 1, line + 1, line + 1);
  if (*inside) put(&b->out, "<i>");
  while (*s) {
    if (*inside && s[0] == '*' && s[1] == '/') {
      put(&b->out, "*/</i>");
      *inside = 0;
      s += 2;
    } else if (*inside && tag_length(b->line[line], s)) {
      s += put_tag(b, s, 1);
    } else if (*inside) {
      put_char(&b->out, *s++);
    } else {
      s += put_code_token(b, s, line, inside);
    }
  }
  put(&b->out, *inside ? "</i>\n" : "\n");
}
