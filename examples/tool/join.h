/* join.h: records of one study, written by several programs */
#ifndef TOOL_JOIN_H
#define TOOL_JOIN_H

#include "../../boundarydpt.h"
#include "cli/json.h"
#include "record.h"

/* What all records must share. Begins zeroed; the first record decides. */
typedef struct join {
  char options[1200], options_in[720]; /* of the "setup" line, and the file that had it */
  char dense[20], dense_in[720];       /* the dense network's hash, and the file that had it */
} join;

/* Compares a record with those before; an error says what differs from which file. */
bdpt_status join_agrees(join *j, const record *r);

/* Reads all files and gives their lines as one text, each line once, one setup. The caller frees
 * out->text. */
bdpt_status join_read(bdpt_context *ctx, const char *const *path, int count, cli_json *out);

#endif /* TOOL_JOIN_H */
