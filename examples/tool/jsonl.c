/* jsonl.c: JSON lines, read */
#include "json_read.h"
#include "jsonl.h"

#include <string.h>

jsonl_line jsonl_next(jsonl_reader *r) {
  jsonl_line line = {NULL, 0};
  while (!line.text && r->at < r->size) {
    const char *from = r->text + r->at;
    const char *end = (const char *)memchr(from, '\n', r->size - r->at);
    size_t size = end ? (size_t)(end - from) : r->size - r->at, blank = 0;
    r->at += size + 1;
    r->number++;
    while (blank < size && (from[blank] == ' ' || from[blank] == '\t' || from[blank] == '\r'))
      blank++;
    if (blank == size) continue;
    line.text = from;
    line.size = size;
  }
  return line;
}

void jsonl_begin(jsonl_walk *w, jsonl_line line) {
  memset(w, 0, sizeof *w);
  json_init(&w->json, line.text, line.size);
}

/* Returns 1 for what is passed over: the outermost braces; unless the caller wants to see inner
 * objects, their braces too, and everything inside of them. */
static int jsonl_inner(const jsonl_walk *w, json_event e, int objects) {
  const int brace = e == JSON_OBJECT || e == JSON_OBJECT_END;
  if (e == JSON_END || e == JSON_ERROR) return 0;
  if (w->inside) return brace && w->objects + objects == 1;
  return brace || w->objects > 1;
}

json_event jsonl_event(jsonl_walk *w) {
  json_event e;
  int objects; /* before this event */
  do {
    e = json_next(&w->json);
    objects = w->objects;
    w->objects += (e == JSON_OBJECT) - (e == JSON_OBJECT_END);
  } while (jsonl_inner(w, e, objects));
  if (e == JSON_ERROR) w->error = w->json.error ? w->json.error : "not JSON";
  if (e == JSON_END || e == JSON_ERROR || w->objects > 0) return e;
  w->error = "a line must be one object";
  return JSON_ERROR;
}
