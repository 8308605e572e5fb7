/* system.h: the few things that C leaves to the operating system
 *
 * A clock with fractions of a second, whether a stream is a terminal, folders, and Ctrl-C as a
 * polite request.
 */
#ifndef TOOL_CLI_SYSTEM_H
#define TOOL_CLI_SYSTEM_H

#include <signal.h>
#include <stdio.h>

/* Returns seconds from some moment on, with fractions. */
double cli_now(void);

/* Returns 1 if a person sees what is written to this stream. */
int cli_is_terminal(FILE *f);

/* Returns 1 if colour is wanted on a stream. NO_COLOR counts when it is set to anything but "" and
 * "0" (CMake reads it the same way). */
int cli_wants_colour(FILE *f);

/* Returns where the last separator of a path is, '/' or on Windows also the other one; NULL:
 * none. */
const char *cli_last_slash(const char *path);

/* Keeps bytes as they are: Windows would otherwise end lines with two bytes and take a byte 26 for
 * the end of a file. */
void cli_binary_streams(void);

/* Makes a folder and those above it. Returns 1 if it is there afterwards. */
int cli_make_folder(const char *path);

/* Returns 1 if there is a file or folder of this name, 0 if there is none, -1 if that cannot be
 * found out; then errno says why, and nothing may be taken for absent. */
int cli_file_exists(const char *path);

/* Returns 1 if the path is a folder, 0 if it is none or absent, -1 if that cannot be found out. */
int cli_is_folder(const char *path);

/* Returns the bytes of a file; -1 if there is none. */
double cli_file_size(const char *path);

/* Ctrl-C sets a flag that the progress callback passes on; the library then saves and returns. A
 * second Ctrl-C finds the default handler and ends the program at once. */
extern volatile sig_atomic_t cli_stop;

/* Makes Ctrl-C and SIGTERM set cli_stop. */
void cli_catch_interrupt(void);

/* Shortens the time for which OpenMP's threads keep their processor busy while they wait for the
 * next loop, with GCC about ten milliseconds. On a machine that runs other programs too, this wait
 * makes a run ten times slower, since threads that wait hinder those that work; a shorter one costs
 * an idle machine next to nothing. The OpenMP library reads its setting before main, so the program
 * starts itself again, once, unless the user has decided. */
void cli_calm_threads(char **argv);

/* Returns 1 if the library left a checkpoint of a long call of this name, or of a call inside
 * it. */
int cli_has_checkpoint(const char *path);

/* Removes the library's checkpoints of one long call, and of the calls inside it, which are no
 * longer needed. NULL: there are none. */
void cli_forget_checkpoint(const char *path);

#endif /* TOOL_CLI_SYSTEM_H */
