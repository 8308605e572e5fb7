/* words.h: words that follow a number
 *
 * It is here whole, so that a file that prints a count needs no other file for it.
 */
#ifndef TOOL_WORDS_H
#define TOOL_WORDS_H

/* Returns the word that goes with a count: `one` with what prints as 1, else `many`. */
static inline const char *words_of(double count, const char *one, const char *many) {
  return count > 0.5 && count < 1.5 ? one : many;
}

#endif /* TOOL_WORDS_H */
