/* json.h: JSON lines, written */
#ifndef TOOL_CLI_JSON_H
#define TOOL_CLI_JSON_H

#include "../../../boundarydpt.h"

#include <stddef.h>

typedef struct cli_json {
  char *text;
  size_t used, room;
  int failed, comma;
} cli_json;

/* Adds n bytes as they are. */
void cli_json_raw(cli_json *j, const char *s, size_t n);

/* Adds a text in quotes, with what JSON wants escaped; a byte that is no UTF-8 becomes U+FFFD. */
void cli_json_quoted(cli_json *j, const char *s);

/* Adds a key, with a comma in front unless it is the first. */
void cli_json_key(cli_json *j, const char *key);

/* Adds a number; null for a NaN or an infinity. */
void cli_json_value(cli_json *j, double v);

/* Begins a line with its "kind"; NULL begins an object without one. */
void cli_json_open(cli_json *j, const char *kind);

/* Ends the line. */
void cli_json_close(cli_json *j);

/* Adds a key and a text. */
void cli_json_text(cli_json *j, const char *key, const char *value);

/* Adds a key and a number. */
void cli_json_real(cli_json *j, const char *key, double value);

/* Adds a key and a list of numbers. */
void cli_json_reals(cli_json *j, const char *key, const double *values, int count);

/* Adds a list of whole numbers: without a key, then with one. */
void cli_json_list(cli_json *j, const int *values, int count);
void cli_json_ints(cli_json *j, const char *key, const int *values, int count);

/* Adds a key and a list of texts. */
void cli_json_texts(cli_json *j, const char *key, const char *const *values, int count);

/* Prints what was built to stdout and starts again. Output that fails is an error, so the status
 * must be looked at. */
bdpt_status cli_json_print(cli_json *j, bdpt_context *ctx);

#endif /* TOOL_CLI_JSON_H */
