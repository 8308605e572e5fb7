/* record.h: what a long run has measured so far, as JSON lines */
#ifndef TOOL_RECORD_H
#define TOOL_RECORD_H

#include "../../boundarydpt.h"
#include "json_read.h"
#include "cli/json.h"
#include "jsonl.h"

typedef struct record {
  bdpt_context *ctx;
  const char *path;
  cli_json text;          /* the whole file; of a share of a study, all that is known */
  int kept;               /* RECORD_WHOLE, or what stands for it while a study is shared out */
  cli_json own;           /* RECORD_OWN: the lines of the share's file that are finished, ... */
  size_t from;            /* ... and where in `text` those begin that are not; SIZE_MAX: none */
} record;

/* The first version whose runs gave these numbers. A record goes on with any version from it on;
 * a version that changes a number takes its place here. */
#define RECORD_SINCE "0.1.0"

/* What record_save writes: everything, nothing for now, or only the lines of a share. */
enum { RECORD_WHOLE, RECORD_HELD, RECORD_OWN };

typedef jsonl_line record_line; /* text NULL: none */

/* Finds a key of a line's outermost object and stops the reader on its value. */
json_event record_find(record_line line, const char *key, json_reader *j);

/* Returns a key's number; `otherwise` if the key is missing, NaN if it is null. */
double record_real(record_line line, const char *key, double otherwise);

/* Returns the same as a whole number; `otherwise` also for what no int can hold. */
int record_int(record_line line, const char *key, int otherwise);

/* Reads numbers of an array, at most `room`; returns how many. Arrays in arrays are flattened. */
int record_reals(record_line line, const char *key, double *out, int room);

/* Copies a key's text; "" if the key is missing. */
void record_text(record_line line, const char *key, char *out, size_t room);

/* Returns 1 if the key's text is this one. */
int record_is(record_line line, const char *key, const char *value);

/* Returns the nth line (from 0) of a kind. */
record_line record_get(const record *r, const char *kind, int nth);

/* Returns 1 if there is a line of this kind. */
int record_has(const record *r, const char *kind);

/* Returns how many lines of a kind there are. */
int record_count(const record *r, const char *kind);

/* Adds lines to `out` with the names that keys have today: a record from before they had one type
 * each is read as if it were written now. */
void record_modern(const char *text, size_t size, cli_json *out);

/* Reads the file if there is one; a missing file is an empty record. "-" is standard input. */
bdpt_status record_load(record *r, bdpt_context *ctx, const char *path);

/* Writes the record, or the part of it that `kept` names, under a temporary name and renames it. */
bdpt_status record_save(record *r);

/* Forgets the lines; the file stays. */
void record_free(record *r);

#endif /* TOOL_RECORD_H */
