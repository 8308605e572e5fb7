/* info.h: a network drawn as a column of layers */
#ifndef TOOL_COMMANDS_INFO_H
#define TOOL_COMMANDS_INFO_H

#include "../../../boundarydpt.h"

/* Returns the multiply-accumulates of one half of a block, as in >>cost of the header. */
double info_macs(const bdpt_config *c, int l, int mlp);

/* Draws a bar of `width` characters with the label in it, or behind it if it does not fit. */
void info_bar(int width, const char *label, char *out, size_t room);

#endif /* TOOL_COMMANDS_INFO_H */
