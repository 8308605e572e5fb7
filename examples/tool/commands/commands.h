/* commands.h: every command of the tool
 *
 * Each takes the arguments behind its name and returns the exit status.
 */
#ifndef TOOL_COMMANDS_COMMANDS_H
#define TOOL_COMMANDS_COMMANDS_H

int command_run(int argc, char **argv);

int command_reproduce(int argc, char **argv);

int command_info(int argc, char **argv);

int command_train(int argc, char **argv);

int command_eval(int argc, char **argv);

int command_probe(int argc, char **argv);

int command_prune(int argc, char **argv);

int command_plus(int argc, char **argv);

int command_fuse(int argc, char **argv);

int command_classify(int argc, char **argv);

int command_segment(int argc, char **argv);

int command_export(int argc, char **argv);

int command_table(int argc, char **argv);

int command_report(int argc, char **argv);

int command_selftest(int argc, char **argv);

/* Calls the command that argv[1] names, with what stands behind it. Returns the exit status. */
int command_main(int argc, char **argv);

#endif /* TOOL_COMMANDS_COMMANDS_H */
