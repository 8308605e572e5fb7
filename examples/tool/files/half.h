/* half.h: numbers of 16 bits */
#ifndef TOOL_FILES_HALF_H
#define TOOL_FILES_HALF_H

#include "../../../boundarydpt.h"

#include <stdint.h>

/* Returns the nearest number of a format with so many bits, ties to even: F16 has 5 and 10, BF16 8
 * and 7. What is too large becomes infinite, a NaN a quiet NaN of its sign. */
uint16_t half_pack(double v, int exponent_bits, int fraction_bits);

/* Makes a file of F16 or BF16 from the bytes of one, with the same names and metadata. */
bdpt_status half_file(bdpt_context *ctx, const bdpt_bytes *from, bdpt_dtype dtype,
                      bdpt_bytes *out);

#endif /* TOOL_FILES_HALF_H */
