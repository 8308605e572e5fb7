/* outputs.h: the files that a command writes, looked at before it begins
 *
 * An output that cannot be written is told before the first step, not after an hour. An output that
 * is one of the inputs is refused, however it is named. Standard output can be one.
 */
#ifndef TOOL_CLI_OUTPUTS_H
#define TOOL_CLI_OUTPUTS_H

#include "../../../boundarydpt.h"

/* What a command reads and writes; NULL where there is none. */
enum { CLI_FILES = 8 };
typedef struct cli_files { const char *in[CLI_FILES], *out[CLI_FILES]; } cli_files;

/* Checks that every output can be written, and that none of them is one of the inputs or another
 * output. */
bdpt_status cli_check_files(bdpt_context *ctx, const cli_files *f);

/* Writes "OUT.ckpt", in `room`; NULL for an output that is a device or a pipe. */
const char *cli_checkpoint_of(const char *out, char room[1024]);

/* Saves a training under way as a file, and takes it back. */
bdpt_status cli_save_trainer(bdpt_context *ctx, bdpt_trainer *t, const char *path);
bdpt_status cli_load_trainer(bdpt_context *ctx, bdpt_trainer *t, const char *path);

/* Returns 1 if both names are there and mean one file, whatever the names: links, "./". */
int cli_same_file(const char *a, const char *b);

/* Says why a file of this name could not be written, before any work is done for it; NULL: it
 * can. */
const char *cli_cannot_write(const char *path);

/* Returns 1 for a name that stands for a device, a pipe or the like. */
int cli_is_special(const char *path);

/* Returns the path of an output. "-" and "/dev/stdout" mean standard output, which then is for
 * the file alone: everything else that the program prints goes to stderr from then on. */
const char *cli_out_path(const char *path);

/* Returns what to call such an output. */
const char *cli_out_name(const char *path);

#endif /* TOOL_CLI_OUTPUTS_H */
