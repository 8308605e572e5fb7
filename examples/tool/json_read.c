/* json_read.c: a pull reader for JSON
 *
 *   source    RFC 8259 (the grammar)
 *   check     tests/test_records.c json_grammar, json_strings
 *
 * The caller asks for one event after another; the reader keeps its place in `at` and one byte for
 * each open bracket. {"a":[1,true]} is
 *
 *     OBJECT  KEY a  ARRAY  NUMBER 1  TRUE  ARRAY_END  OBJECT_END  END
 *
 * The grammar is taken strictly: no comments, no trailing commas, no leading zeros, no lone
 * surrogates, no bytes after the value. Outside strings only ASCII can appear, so checking UTF-8
 * inside strings checks all of it.
 *
 * Together with the innermost bracket, the state says what may come next. FIRST, just inside a
 * bracket, exists because [] and {} are legal while [1,] and {"a":1,} are not.
 *
 *     state   what has been read    inside {             inside [               outside
 *     START   nothing               -                    -                      a value
 *     FIRST   the bracket           a key, or }          a value, or ]          -
 *     COLON   a key                 : and a value        -                      -
 *     AFTER   a whole value         , and a key, or }    , and a value, or ]    the end
 *     FAILED  something else        every further call repeats the error
 */
#include "json_read.h"
#include "../../boundarydpt.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_START, STATE_FIRST, STATE_COLON, STATE_AFTER, STATE_FAILED };

void json_init(json_reader *j, const char *text, size_t size) {
  memset(j, 0, sizeof *j); /* START, and no bracket open */
  j->text = text; j->size = size;
}

static json_event json_fail(json_reader *j, const char *phrase) {
  j->state = STATE_FAILED;
  j->error = phrase; /* a constant; j->at stays where the text went wrong */
  return JSON_ERROR;
}

/* Steps over at most `most` bytes that are in `set`; returns how many. */
static size_t json_pass(json_reader *j, const char *set, size_t most) {
  size_t n = 0;
  for (; n < most && j->at < j->size; n++, j->at++) { /* strchr finds the zero of a set, too */
    if (!j->text[j->at] || !strchr(set, j->text[j->at])) break;
  }
  return n;
}

static json_event json_string(json_reader *j, json_event event) {
  char utf8[4]; /* not kept: json_copy decodes once more when somebody wants the text */
  size_t used;
  for (j->start = ++j->at; j->at < j->size && j->text[j->at] != '"'; j->at += used) {
    if (!bdpt_json_char(j->text + j->at, j->size - j->at, &used, utf8)) {
      return json_fail(j, "a string holds a control character, a bad escape or bad UTF-8");
    }
  }
  if (j->at >= j->size) return json_fail(j, "a string is not closed");
  j->length = j->at++ - j->start; /* without the quotes */
  j->state = event == JSON_KEY ? STATE_COLON : STATE_AFTER;
  return event;
}

/* Reads the value that begins with c. Of a number only the grammar is checked here;
 * json_number computes it when somebody wants it. A digit after a leading zero is refused by
 * the next event. */
static json_event json_value(json_reader *j, int c) {
  static const char *const word[3] = {"true", "false", "null"}; /* in the order of the events */
  static const char digits[] = "0123456789";
  int i, good;
  size_t n;
  if (c == '"') return json_string(j, JSON_STRING); /* the quote is not part of it */
  if (c == '{' || c == '[') {
    if (j->depth == JSON_DEPTH) return json_fail(j, "nested deeper than 64 levels");
    j->stack[j->depth++] = (unsigned char)c; /* which bracket must close it */
    j->at++; j->state = STATE_FIRST; /* a value, or the bracket closed at once */
    return c == '{' ? JSON_OBJECT : JSON_ARRAY;
  }
  j->start = j->at;
  j->state = STATE_AFTER;
  for (i = 0; i < 3; i++) {
    n = strlen(word[i]);
    if (j->size - j->at < n || memcmp(j->text + j->at, word[i], n) != 0) continue;
    j->at += n; /* a letter right after it is refused by the next event */
    return (json_event)(JSON_TRUE + i);
  }
  if (c != '-' && (c < '0' || c > '9')) return json_fail(j, "a value is missing");
  json_pass(j, "-", 1);
  good = json_pass(j, "0", 1) || json_pass(j, digits, SIZE_MAX); /* no leading zero */
  if (json_pass(j, ".", 1)) good &= json_pass(j, digits, SIZE_MAX) > 0;
  if (json_pass(j, "eE", 1)) { /* the sign may be missing, the digits not */
    json_pass(j, "+-", 1);
    good &= json_pass(j, digits, SIZE_MAX) > 0;
  }
  j->length = j->at - j->start; /* of the number's text */
  return good ? JSON_NUMBER : json_fail(j, "a number lacks a digit");
}

/* Returns the next byte that is no blank, or -1 at the end. */
static int json_peek(json_reader *j) {
  json_pass(j, " \t\n\r", SIZE_MAX);
  return j->at < j->size ? (int)(unsigned char)j->text[j->at] : -1;
}

/* In ASCII the brackets ] and } stand two places after [ and {. */
json_event json_next(json_reader *j) {
  int c, inside = j->depth ? j->stack[j->depth - 1] : 0, state = j->state; /* inside: '{', '[', 0 */
  if (state == STATE_FAILED) return JSON_ERROR; /* the first error is repeated */
  c = json_peek(j); /* the byte that decides */
  if (state == STATE_AFTER && !inside) {
    return c < 0 ? JSON_END : json_fail(j, "bytes follow the value");
  }
  if ((state == STATE_FIRST || state == STATE_AFTER) && c == inside + 2) {
    j->at++; j->depth--;
    j->state = STATE_AFTER; /* the bracket was a whole value */
    return inside == '{' ? JSON_OBJECT_END : JSON_ARRAY_END;
  }
  if (state == STATE_AFTER || state == STATE_COLON) {
    if (c != (state == STATE_COLON ? ':' : ',')) {
      return json_fail(j, "a colon, a comma or a bracket is missing");
    }
    j->at++;
    c = json_peek(j); /* the first byte of a key or a value */
  }
  if (inside != '{' || state == STATE_COLON) return json_value(j, c);
  return c == '"' ? json_string(j, JSON_KEY) : json_fail(j, "a key is missing");
}

size_t json_copy(const json_reader *j, char *out, size_t room) {
  size_t at, full = 0, used, n, i; /* full: bytes of the whole string */
  char utf8[4];
  for (at = 0; at < j->length; at += used) {
    n = bdpt_json_char(j->text + j->start + at, j->length - at, &used, utf8);
    if (n == 0) break; /* not after a key or a string */
    for (i = 0; i < n; i++, full++) {
      if (full + 1 < room) out[full] = utf8[i]; /* room for the zero too */
    }
  }
  if (room > 0) out[full < room ? full : room - 1] = 0; /* cut, if need be, and terminated */
  return full;
}

double json_number(const json_reader *j) {
  char text[400]; /* more digits than any double has */
  if (j->length >= sizeof text) return (double)NAN;
  memcpy(text, j->text + j->start, j->length);
  text[j->length] = 0;
  return strtod(text, NULL);
}
