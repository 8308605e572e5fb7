/* json_read.h: a pull reader for JSON */
#ifndef TOOL_JSON_READ_H
#define TOOL_JSON_READ_H

#include <stddef.h>

/* A JSON reader keeps nothing: call next until END or ERROR. It neither recurses nor allocates. */
#define JSON_DEPTH 64
typedef enum json_event {
  JSON_END = 0, JSON_ERROR, JSON_OBJECT, JSON_OBJECT_END, JSON_ARRAY, JSON_ARRAY_END, JSON_KEY,
  JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL
} json_event;
typedef struct json_reader {
  const char *text;
  size_t size, at;         /* at: offset of the next byte, or of the error */
  int depth, state;
  unsigned char stack[JSON_DEPTH];
  size_t start, length;    /* of the last key, string or number, without quotes, escapes kept */
  const char *error;       /* a phrase after JSON_ERROR */
} json_reader;
void json_init(json_reader *j, const char *text, size_t size);
json_event json_next(json_reader *j);
/* Copies the last key or string, unescaped to UTF-8 and terminated; returns its full length. */
size_t json_copy(const json_reader *j, char *out, size_t room);
/* Returns the last number; an overflow gives an infinity, more than 399 characters no number. */
double json_number(const json_reader *j);

#endif /* TOOL_JSON_READ_H */
