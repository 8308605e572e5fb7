/* library.c: the library itself, compiled once and linked into the tool and the tests
 *
 * Everything else includes the two headers for their declarations only.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../../boundarydpt.h"

#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../plus/boundarydpt_plus.h"
