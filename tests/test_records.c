/* test_records: every JSON line against data/records.json, which says what keys a line of each kind
 * has and of which type every key is. Without arguments the file itself is checked, the validator
 * on lines that are wrong, and the shipped record. With arguments, "all FILE..." or "some FILE...",
 * the lines of files are checked; test_cli.sh and test_reproduce.sh hand over what the commands
 * printed. With "all" every kind that another command than reproduce writes must be among them.
 */
#include "../boundarydpt.h"
#include "../examples/tool/jsonl.h"
#include "../examples/tool/record.h"
#include "test.h"

enum { NAME = 48, KEYS = 400, KINDS = 100, MOST = 60, TYPES = 5 };
static const char *const types[TYPES] = {"number", "text", "numbers", "texts", "object"};

typedef struct key { char name[NAME]; int type, used; } key;
typedef struct kind {
  char name[NAME], by[NAME];
  int count, needed, seen;          /* the first `needed` keys must be there */
  int key[MOST];
} kind;
static key keys[KEYS];
static kind kinds[KINDS];
static int key_count, kind_count;
static char version[NAME], why[300];

/* -------------------------------------------------------------------------------------------------
 * The schema
 * ---------------------------------------------------------------------------------------------- */

static int find_key(const char *name) {
  int i;
  for (i = 0; i < key_count && strcmp(keys[i].name, name) != 0; i++) { }
  return i;
}

static int find_kind(const char *name) {
  int i;
  for (i = 0; i < kind_count && strcmp(kinds[i].name, name) != 0; i++) { }
  return i;
}

/* Copies the next text, which must be one, and whole. */
static int next_text(json_reader *j, char *out, size_t room) {
  return json_next(j) == JSON_STRING && json_copy(j, out, room) < room;
}

/* Reads "accuracy": ["number", "what it is"]. */
static void read_key(json_reader *j, const char *name) {
  char type[NAME], about[300];
  key *k = &keys[key_count];
  if (!CHECK(key_count < KEYS && json_next(j) == JSON_ARRAY)) return;
  CHECK(find_key(name) == key_count);
  snprintf(k->name, NAME, "%s", name);
  CHECK(next_text(j, type, NAME) && next_text(j, about, sizeof about) && about[0]);
  for (k->type = 0; k->type < TYPES && strcmp(types[k->type], type) != 0; k->type++) { }
  if (!CHECK(k->type < TYPES)) printf("  %s: there is no type %s\n", name, type);
  CHECK(json_next(j) == JSON_ARRAY_END);
  key_count++;
}

/* Adds the keys of a text such as "file part images". */
static void add_keys(kind *k, char *text) {
  char *word = strtok(text, " ");
  for (; word; word = strtok(NULL, " ")) {
    const int at = find_key(word);
    if (!CHECK(at < key_count && k->count < MOST)) {
      printf("  %s: the key %s is not described\n", k->name, word);
      continue;
    }
    keys[at].used = 1;
    k->key[k->count++] = at;
  }
}

/* Reads "eval": ["eval", "what it is", "keys that are there", "keys that may be there"]. */
static void read_kind(json_reader *j, const char *name) {
  char about[300], list[600], maybe[600];
  kind *k = &kinds[kind_count];
  if (!CHECK(kind_count < KINDS && json_next(j) == JSON_ARRAY)) return;
  CHECK(find_kind(name) == kind_count);
  snprintf(k->name, NAME, "%s", name);
  CHECK(next_text(j, k->by, NAME) && next_text(j, about, sizeof about) && about[0]);
  CHECK(next_text(j, list, sizeof list) && next_text(j, maybe, sizeof maybe));
  CHECK(json_next(j) == JSON_ARRAY_END);
  add_keys(k, list);
  k->needed = k->count;
  add_keys(k, maybe);
  kind_count++;
}

static void read_schema(void) {
  bdpt_bytes bytes = {NULL, 0};
  bdpt_context ctx;
  json_reader j;
  char name[NAME], part[NAME] = "";
  int i;
  json_event e;
  memset(&ctx, 0, sizeof ctx);
  if (!CHECK(bdpt_file_read(&ctx, "data/records.json", &bytes) == BDPT_OK)) return;
  json_init(&j, (const char *)bytes.data, bytes.size);
  while ((e = json_next(&j)) != JSON_END && CHECK(e != JSON_ERROR)) {
    if (e == JSON_STRING && j.depth == 1 && strcmp(part, "version") == 0)
      json_copy(&j, version, NAME);
    if (e != JSON_KEY) continue;
    json_copy(&j, name, NAME);
    if (j.depth == 1) snprintf(part, NAME, "%s", name);
    else if (strcmp(part, "keys") == 0) read_key(&j, name);
    else if (strcmp(part, "kinds") == 0) read_kind(&j, name);
  }
  bdpt_bytes_free(&ctx, &bytes);
  for (i = 0; i < key_count; i++)
    if (!CHECK(keys[i].used)) printf("  no kind has the key %s\n", keys[i].name);
  CHECK(strcmp(version, bdpt_version()) == 0);
}

/* -------------------------------------------------------------------------------------------------
 * Lines
 * ---------------------------------------------------------------------------------------------- */

/* Returns the type of the value that begins with e, whose end is then read. TYPES: null. -1:
 * none. */
static int value_type(jsonl_walk *w, json_event e) {
  int type = 2, elements = 0;
  if (e == JSON_NULL) return TYPES;
  if (e == JSON_NUMBER) return 0;
  if (e == JSON_STRING) return 1;
  if (e != JSON_ARRAY) return -1;
  while ((e = jsonl_event(w)) != JSON_ARRAY_END) {
    const int text = e == JSON_STRING;
    if (!text && e != JSON_NUMBER && e != JSON_NULL) return -1;
    if (elements++ && text != (type == 3)) return -1;
    type = text ? 3 : 2;
  }
  return elements ? type : TYPES + 1; /* an empty list is of either type */
}

/* Returns 1 if a value of this type may stand for the key. */
static int type_fits(int wanted, int type) {
  if (type == TYPES) return wanted < 2; /* null for a number or a text that is not there */
  if (type == TYPES + 1) return wanted == 2 || wanted == 3;
  return wanted == type;
}

/* Reads the value of a key; returns 1 if it is of the key's type. An object's keys are not looked
 * at. */
static int value_fits(jsonl_walk *w, const key *k) {
  int depth = 1, type;
  json_event e = jsonl_event(w);
  if (e != JSON_OBJECT) {
    type = value_type(w, e);
    return type >= 0 && type_fits(k->type, type);
  }
  while (depth > 0 && e != JSON_ERROR && e != JSON_END) {
    e = jsonl_event(w);
    depth += (e == JSON_OBJECT) - (e == JSON_OBJECT_END);
  }
  return k->type == 4 && depth == 0;
}

/* Returns 1 if a line is as the schema says; else `why` says what is wrong. */
static int line_fits(jsonl_line line) {
  char name[NAME] = "", has[KEYS] = "";
  const kind *k;
  jsonl_walk w;
  json_event e;
  int i;
  record_text(line, "kind", name, NAME);
  k = &kinds[find_kind(name)];
  snprintf(why, sizeof why, "there is no kind '%s'", name);
  if (k == &kinds[kind_count]) return 0;
  kinds[find_kind(name)].seen = 1;
  jsonl_begin(&w, line);
  w.inside = 1;
  while ((e = jsonl_event(&w)) == JSON_KEY) {
    json_copy(&w.json, name, NAME);
    if (strcmp(name, "kind") == 0) {
      jsonl_event(&w);
      continue;
    }
    for (i = 0; i < k->count && strcmp(keys[k->key[i]].name, name) != 0; i++) { }
    snprintf(why, sizeof why, "%.47s has no key '%s', or twice", k->name, name);
    if (i == k->count || has[k->key[i]]) return 0;
    has[k->key[i]] = 1;
    snprintf(why, sizeof why, "%.47s: %s is no %s", k->name, name, types[keys[k->key[i]].type]);
    if (!value_fits(&w, &keys[k->key[i]])) return 0;
  }
  snprintf(why, sizeof why, "%.47s: %s", k->name, w.error ? w.error : "more than keys");
  if (e != JSON_END) return 0;
  for (i = 0; i < k->needed; i++) {
    snprintf(why, sizeof why, "%.47s lacks the key '%.47s'", k->name, keys[k->key[i]].name);
    if (!has[k->key[i]]) return 0;
  }
  return 1;
}

static void check_file(const char *path) {
  bdpt_context ctx;
  record r;
  jsonl_reader reader = {NULL, 0, 0, 0};
  jsonl_line line;
  memset(&ctx, 0, sizeof ctx);
  if (!CHECK(record_load(&r, &ctx, path) == BDPT_OK && r.text.used > 0)) printf("  %s\n", path);
  reader.text = r.text.text;
  reader.size = r.text.used;
  while ((line = jsonl_next(&reader)).text)
    if (!CHECK(line_fits(line)))
      printf("  %s: line %d: %s: %.*s\n", path, reader.number, why,
             line.size < 200 ? (int)line.size : 200, line.text);
  record_free(&r);
}

static int fits(const char *text) {
  jsonl_line line;
  line.text = text;
  line.size = strlen(text);
  return line_fits(line);
}

TEST(wrong_lines) {
  CHECK(fits("{\"kind\":\"done\",\"seconds\":1.5}"));
  CHECK(fits("{\"kind\":\"done\",\"seconds\":null}"));
  CHECK(!fits("{\"kind\":\"done\"}") && strstr(why, "lacks the key 'seconds'"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":\"1\"}") && strstr(why, "is no number"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":[1]}"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":{}}"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":1,\"seconds\":1}"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":1,\"second\":2}") && strstr(why, "no key 'second'"));
  CHECK(!fits("{\"kind\":\"dome\",\"seconds\":1}") && strstr(why, "no kind 'dome'"));
  CHECK(!fits("{\"kind\":\"done\",\"seconds\":1") && !fits("{\"seconds\":1}"));
  CHECK(fits("{\"kind\":\"change\",\"attention\":[1,null],\"activation\":[]}"));
  CHECK(!fits("{\"kind\":\"change\",\"attention\":[1,\"2\"],\"activation\":[]}"));
  CHECK(!fits("{\"kind\":\"change\",\"attention\":[\"2\"],\"activation\":[]}"));
  CHECK(!fits("{\"kind\":\"change\",\"attention\":[[1]],\"activation\":[]}"));
}

/* A record from before the keys had one type each is read with today's names; texts stay. */
TEST(old_names) {
  static const char old[] =
      "{\"attention\":1,\"macs\":2,\"type\":[0],\"say\":\",\\\"loss\\\":[1\"}\n"
      "{\"attention\":[1],\"activation\":2.5,\"accuracy\":[3],\"loss\":4}\n";
  static const char now[] =
      "{\"attentions\":1,\"macs\":2,\"types\":[0],\"say\":\",\\\"loss\\\":[1\"}\n"
      "{\"attention\":[1],\"activations\":2.5,\"accuracies\":[3],\"loss\":4}\n";
  cli_json out = {NULL, 0, 0, 0, 0};
  record_modern(old, sizeof old - 1, &out);
  CHECK(out.used == sizeof now - 1 && memcmp(out.text, now, out.used) == 0);
  free(out.text);
}

TEST(shipped) { check_file("data/reproduce.jsonl"); }

/* Writes the events of a text as letters, closed by '.' at the end or '!' at an error. */
static const char *events(const char *text, size_t n) {
  static char out[200];
  static const char letter[] = ".!{}[]KSNTFU";
  unsigned char *copy = exact(text, n);
  size_t used = 0;
  json_reader j;
  json_event e;
  json_init(&j, (const char *)copy, n);
  do {
    e = json_next(&j);
    if (used < sizeof out - 1) out[used++] = letter[e];
  } while (e != JSON_END && e != JSON_ERROR);
  out[used] = 0;
  free(copy);
  return out;
}
static int reads(const char *text) {
  const char *e = events(text, strlen(text));
  return e[strlen(e) - 1] == '.';
}

TEST(json_grammar) {
  static const char *const good[] = {
    "{}", "[]", " [ ] ", "0", "-0", "1e5", "1.25E-3", "\"\"", "true", "null", "[1,[2,[3]],{}]",
    "{\"a\":{\"b\":[1,2,\"x\"]},\"c\":false}", "\"\\u0041\\ud83d\\ude00\\n\\/\"", "\t\r\n 1 ",
    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\"\xf4\x8f\xbf\xbf\"", "\"\x7f\""};
  static const char *const bad[] = {
    "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
    "{1:1}", "{\"a\",1}", "[1:2]", "{\"a\":1:2}", "{\"a\":1 \"b\":2}",
    "[1 2]", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x10", "NaN",
    "Infinity", "tru", "nul", "True", "'a'", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"",
    "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\n\"", "\"\t\"",
    "[1]]", "{}{}", "1 1", "[1}", "{\"a\":1]", "\xef\xbb\xbf{}", "\"\xff\"", "\"\xc0\x80\"",
    "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"",
    "\"\xe2\x82\"", "\"\x80\"", "\"\xc3\"", "/* */1", "[1]x", "\"\\u00g0\"",
        "\"\xf0\x80\x80\x80\""};
  size_t i;
  for (i = 0; i < sizeof good / sizeof *good; i++) {
    if (!CHECK(reads(good[i]))) printf("  refused: %s\n", good[i]);
  }
  for (i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (!CHECK(!reads(bad[i]))) printf("  accepted: %s\n", bad[i]);
  }
  CHECK(strcmp(events("{\"a\":[1,\"x\",true,false,null],\"b\":{}}", 36), "{K[NSTFU]K{}}.") == 0);
  CHECK(strcmp(events("\"a\0b\"", 5), "!") == 0);
}

TEST(json_depth) {
  char text[260];
  memset(text, '[', 130);
  memset(text + 64, ']', 64);
  text[128] = 0;
  CHECK(reads(text));
  memset(text, '[', 65);
  memset(text + 65, ']', 65);
  text[130] = 0;
  CHECK(!reads(text));
}

TEST(json_strings) {
  char out[16];
  json_reader j;
  const char *text = "\"a\\u00e9\\ud83d\\ude00\\\"\\\\\\n\"";
  json_init(&j, text, strlen(text));
  CHECK(json_next(&j) == JSON_STRING);
  CHECK(json_copy(&j, out, sizeof out) == 10);
  CHECK(strcmp(out, "a\xc3\xa9\xf0\x9f\x98\x80\"\\\n") == 0);
  CHECK(json_copy(&j, out, 4) == 10 && strcmp(out, "a\xc3\xa9") == 0);
  CHECK(json_copy(&j, NULL, 0) == 10);
  CHECK(json_next(&j) == JSON_END && json_next(&j) == JSON_END);
  json_init(&j, "[1,x]", 5);
  while (json_next(&j) != JSON_ERROR) { }
  CHECK(j.at == 3 && strcmp(j.error, "a value is missing") == 0);
  CHECK(json_next(&j) == JSON_ERROR);
}

int main(int argc, char **argv) {
  int i;
  read_schema();
  if (argc < 3) {
    RUN(json_grammar);
  RUN(json_depth);
  RUN(json_strings);
  RUN(wrong_lines);
    RUN(old_names);
    RUN(shipped);
    return TEST_END("records");
  }
  for (i = 2; i < argc; i++) check_file(argv[i]);
  for (i = 0; i < kind_count; i++) {
    if (strcmp(argv[1], "all") != 0 || strcmp(kinds[i].by, "reproduce") == 0) continue;
    if (!CHECK(kinds[i].seen)) printf("  no line of kind %s\n", kinds[i].name);
  }
  return TEST_END("records");
}
