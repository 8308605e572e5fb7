/* library.c: the library itself, compiled once and linked into the tool and the tests
 *
 * Everything else includes the three headers for their declarations only.
 */
#define _FILE_OFFSET_BITS 64 /* 32-bit systems too open files of more than 2 GB */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../../boundarydpt.h"

#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../plus/boundarydpt_plus.h" /* and with it boundarydpt_studies.h */
