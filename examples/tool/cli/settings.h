/* settings.h: options in files: read as lines of NAME VALUE, written into JSON lines
 *
 * Lines are "name value" or "name = value"; # begins a comment, quotes keep blanks together. The
 * study's recipe is such a file, and that of --config.
 */
#ifndef TOOL_CLI_SETTINGS_H
#define TOOL_CLI_SETTINGS_H

#include "json.h"
#include "options.h"

enum { CLI_WHY = 300 };   /* bytes of a sentence that says what is wrong */
enum { CLI_SAID_BEFORE = -1 };

/* Stores the values of a text, which is cut up and must stay. A name is that of an option without
 * its first `skip` letters. seen[k] becomes the number of the line that named option k; of one that
 * was CLI_SAID_BEFORE the line is checked and not stored, and seen[k] is below that. Returns 1, or
 * 0 with a sentence in `why`. */
int cli_settings_read(char *text, const cli_option *options, int count, size_t skip, int *seen,
                      char why[CLI_WHY]);

/* Does the same from the file of --config: a text in memory of its own, so that the values stay. */
int cli_settings_load(const char *path, const cli_option *options, int count, int *seen,
                      char why[CLI_WHY]);

/* Adds "settings", an object of all options and their values; null where nothing was said. */
void cli_settings_write(cli_json *j, const cli_option *options, int count);

#endif /* TOOL_CLI_SETTINGS_H */
