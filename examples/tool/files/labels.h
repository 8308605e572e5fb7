/* labels.h: what classes are called */
#ifndef TOOL_FILES_LABELS_H
#define TOOL_FILES_LABELS_H

#include "../../../boundarydpt.h"
#include "../json_read.h"

enum { LABELS_MOST = 65536 };

/* Names by number, and texts that stand for names (timm's label_descriptions). All zero: none. */
typedef struct label_list {
  char **name;            /* [names], NULL where a number has none */
  char **key, **text;     /* [texts] */
  size_t names, texts;
} label_list;

/* Takes the text that `j` stands at as the name of class i. 0: no memory. */
int labels_put(label_list *l, const json_reader *j, size_t i);

/* Takes it as what stands for the name `key`. 0: no memory. */
int labels_describe(label_list *l, const char *key, const json_reader *j);

/* Writes the names of all classes as a JSON array, for free(). NULL: a class has no name, or all
 * have such as LABEL_0, which say nothing; or no memory. */
char *labels_json(const label_list *l, size_t classes);

/* Reads such an array, which must have a text for each class, into one block for free(). NULL: it
 * is another one, or no memory. */
const char **labels_read(const char *json, size_t classes);

void labels_free(label_list *l);

#endif /* TOOL_FILES_LABELS_H */
