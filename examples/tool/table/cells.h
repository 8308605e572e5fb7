/* cells.h: JSON lines of any kind as rows of named cells, for the table */
#ifndef TOOL_TABLE_CELLS_H
#define TOOL_TABLE_CELLS_H

#include "../../../boundarydpt.h"
#include "../cli/json.h"

/* What a cell holds. A list is its elements with ';' between them. */
enum { CELL_NULL, CELL_NUMBER, CELL_TEXT, CELL_LIST };

typedef struct cells_field {
  int column, type;       /* which key; one of CELL_... */
  size_t at;              /* where in the text of all cells */
} cells_field;

typedef struct cells_row {
  const char *path;       /* the file, and the line in it, from 1 */
  int line;
  int first, count;       /* its fields */
  int kind;               /* its field with the key "kind"; -1: none */
  int setup;              /* the row of the setup line above it in its file; -1: none */
} cells_row;

typedef struct cells {
  bdpt_context *ctx;
  cli_json text;          /* every key and cell, each with a zero behind it */
  cells_field *field;
  cells_row *row;
  size_t *column;         /* where the keys are, in the order in which they were met */
  int fields, rows, columns;
  int room[3];            /* of field, row, column */
} cells;

/* Adds all lines of a file ("-": standard input). The key of a value in an inner object is
 * "outer.inner". An error names file and line. `path` must outlive the cells. */
bdpt_status cells_read(cells *c, const char *path);

/* Frees everything. */
void cells_free(cells *c);

/* Returns the key of a column; the text of a field. Both are valid until more is read. */
const char *cells_key(const cells *c, int column);
const char *cells_text(const cells *c, int field);

/* Returns the column of a key, -1: no line has it. */
int cells_column(const cells *c, const char *key);

/* Returns the field of a row in a column, -1: there is none. */
int cells_find(const cells *c, int row, int column);

/* Returns the kind of a row's line, such as "eval"; "" for a line without a kind. */
const char *cells_kind(const cells *c, int row);

#endif /* TOOL_TABLE_CELLS_H */
