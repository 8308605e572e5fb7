/* jsonl.h: JSON lines, read: one object a line
 *
 * The record asks for single fields of a line, the report and the table take all of them; they read
 * with this.
 */
#ifndef TOOL_JSONL_H
#define TOOL_JSONL_H

#include "../../boundarydpt.h"
#include "json_read.h"

typedef struct jsonl_line {
  const char *text;       /* NULL: none */
  size_t size;
} jsonl_line;

/* Where in a text of lines one is. */
typedef struct jsonl_reader {
  const char *text;
  size_t size, at;
  int number;             /* of the line read last, from 1 */
} jsonl_reader;

/* Reads the next line that is not blank; text NULL at the end. */
jsonl_line jsonl_next(jsonl_reader *r);

/* Where in a line one is. */
typedef struct jsonl_walk {
  json_reader json;         /* at the event returned last */
  int inside;             /* 1: what is in inner objects is told too, with their braces */
  int objects;            /* braces that are open */
  const char *error;      /* after JSON_ERROR: what is wrong */
} jsonl_walk;

/* Begins with a line. */
void jsonl_begin(jsonl_walk *w, jsonl_line line);

/* Returns the next key or value of the outermost object, with the brackets of lists; objects
 * inside it are passed over unless `inside` was set. JSON_END at the end, JSON_ERROR if
 * the line is not one object. */
json_event jsonl_event(jsonl_walk *w);

#endif /* TOOL_JSONL_H */
