/* =================================================================================================
 * boundarydpt: the command-line tool
 * =================================================================================================
 *   boundarydpt run                     the whole method on one page (run/)
 *   boundarydpt reproduce               the study of the paper's claims (study/)
 *   boundarydpt info MODEL              what a checkpoint holds
 *   boundarydpt train --out MODEL       from scratch, or --from a checkpoint
 *   boundarydpt eval MODEL              accuracy
 *   boundarydpt probe MODEL             the two observations as data
 *   boundarydpt prune MODEL --out NEW   given layers, or found by both stages
 *   boundarydpt plus MODEL --out NEW    layers and widths together, to a budget
 *   boundarydpt fuse MODEL --out NEW    merge the linears of pruned MLPs, with a certificate
 *   boundarydpt classify MODEL IMAGE... what is in a picture
 *   boundarydpt segment MODEL --out NEW what is where in a picture: masks (segment/)
 *   boundarydpt export MODEL --onnx NEW for other programs
 *   boundarydpt table FILE.JSONL...     JSON lines as CSV, or as means over seeds (table/)
 *   boundarydpt selftest                whether this machine computes what it should
 *
 * Every command is a file in commands/: a table of options, a few library calls, the printing.
 * What they share is in cli/ (the terminal), input.c (images, networks), jsonl.c (reading JSON
 * lines), record.c (what was measured) and session.c (all of them together, for what runs long).
 * What is longer than a command has a folder of its own: run/, study/, segment/, report/, table/.
 * pictures/ reads and draws images, files/ knows the files of other programs, page/ is the page
 * for the browser, library.c is the library.
 */
#include "commands/commands.h"

int main(int argc, char **argv) { return command_main(argc, argv); }
