/* table.h: which lines of records make a table, and of which of their keys (the `table` command) */
#ifndef TOOL_TABLE_TABLE_H
#define TOOL_TABLE_TABLE_H

#include "cells.h"
#include "grid.h"

enum { TABLE_KEYS = 16 };

/* A key that the command line names. One that a line lacks is looked for among the settings of the
 * setup line above it, then in that line itself. */
typedef struct table_key {
  const char *name;
  int column, setting;    /* of its own lines, and of "settings.NAME"; -1: none */
  int element;            /* "marks.2": the third of a list; -1: the whole cell */
} table_key;

/* Names with commas between them. */
typedef struct table_keys {
  char text[1024];
  int count;
  table_key key[TABLE_KEYS];
} table_keys;

typedef struct table {
  cells c;
  grid g;
  table_keys by, value, columns, kinds, where, equals;
  table_key over;
  int digits, *row, rows; /* the rows that are wanted */
} table;

/* Cuts "a,b" into its names, NULL into none; 0: too many, too long, or an empty one. */
int table_split(table_keys *k, const char *text);

/* Cuts "set=test,merge=0": names to `where`, values to `equals`; 0: it is nothing such. */
int table_split_where(table *t, const char *text);

/* Finds the columns of all keys that were named, and the rows that are wanted. */
bdpt_status table_resolve(table *t);

/* Returns the text of a key in a row or in the setup line above it; NULL: neither has it. */
const char *table_look(const table *t, int row, const table_key *k);

/* Compares two texts as qsort wants it. Numbers are equal as numbers: 1e-3 and 0.001. Nothing
 * (NULL) comes before everything else. */
int table_compare(const char *a, const char *b);

/* Reads the row's own number. Returns 1; 0 if it has none there; -1 after an error. */
int table_number(const table *t, int row, const table_key *k, double *out);

/* Fills the grid: a row for each line. */
bdpt_status table_list(table *t);

/* Fills the grid: a row for each group of lines that share the keys of --by, with mean, spread and
 * number of each value. */
bdpt_status table_means(table *t);

#endif /* TOOL_TABLE_TABLE_H */
