/* For sanitized builds (-include tests/fences.h): behind every piece of an arena lie 64 bytes or
 * more that the address sanitizer forbids, so a step beyond the end of a tensor is seen. */
#ifndef FENCES_H
#define FENCES_H
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* what the tool asks for, before the first header */
#endif
#include <sanitizer/asan_interface.h>
#define BDPTI_FENCE ((size_t)64)
#ifndef BDPTI_CHUNK_LEAST
#define BDPTI_CHUNK_LEAST ((size_t)1 << 18)
#endif
#define BDPTI_GUARD(p, bytes, all) \
  (ASAN_UNPOISON_MEMORY_REGION(p, all), ASAN_POISON_MEMORY_REGION((p) + (bytes), (all) - (bytes)))
#endif
