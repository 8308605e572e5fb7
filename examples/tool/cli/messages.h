/* messages.h: how a command ends, and what it says when something went wrong
 *
 * A mistake in the command line ends with exit status 2, a failure with 1 and one line that says
 * what and where, Ctrl-C with 130 after saving.
 */
#ifndef TOOL_CLI_MESSAGES_H
#define TOOL_CLI_MESSAGES_H

#include "../../../boundarydpt.h"

#ifdef __clang__
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#elif defined(__GNUC__)
#define CLI_PRINTF(f, a) __attribute__((format(gnu_printf, f, a))) /* %zu on Windows too */
#else
#define CLI_PRINTF(f, a)
#endif

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130, CLI_GO_ON = -1 };

/* Ends a text in dots if it did not fit; `wanted` is what snprintf returned. */
void cli_cut(char *text, size_t room, int wanted);

/* Records an error in the context, as the library does: the first one stays. Returns the status
 * that the context has now. */
CLI_PRINTF(3, 4)
bdpt_status cli_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...);

/* Says on stderr that bf16 brings no speed on a processor without products of such numbers, if the
 * context uses it. */
void cli_note_bf16(const bdpt_context *ctx);

/* Ends a command: returns the exit status for a library status, whose sentence goes to stderr.
 * `how_to_go_on` is added after Ctrl-C and may be NULL. */
int cli_finish(const char *command, bdpt_context *ctx, bdpt_status status,
               const char *how_to_go_on);

#endif /* TOOL_CLI_MESSAGES_H */
