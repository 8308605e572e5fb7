/* labels.c: what classes are called
 *
 * transformers has them in config.json as "id2label": {"0": "tench", ...}, in any order; timm as
 * "label_names": ["n01440764", ...] with "label_descriptions": {"n01440764": "tench, ...", ...}.
 * They travel with a network as one JSON array (model->labels).
 */
#include "../json_read.h"
#include "labels.h"
#include "../cli/json.h"

#include <stdlib.h>
#include <string.h>

static char *labels_text(const json_reader *j) {
  size_t n = json_copy(j, NULL, 0);
  char *text = (char *)malloc(n + 1);
  if (text) json_copy(j, text, n + 1);
  return text;
}

/* Makes room for entry i of a list that has `count`; new entries are NULL. */
static int labels_grow(char ***list, size_t count, size_t i) {
  char **more = i < count ? *list : (char **)realloc(*list, (i + 1) * sizeof *more);
  if (!more) return 0;
  *list = more;
  for (; count <= i; count++) more[count] = NULL;
  return 1;
}

int labels_put(label_list *l, const json_reader *j, size_t i) {
  if (i >= LABELS_MOST) return 1;
  if (!labels_grow(&l->name, l->names, i)) return 0;
  if (i >= l->names) l->names = i + 1;
  free(l->name[i]);
  l->name[i] = labels_text(j);
  return l->name[i] != NULL;
}

int labels_describe(label_list *l, const char *key, const json_reader *j) {
  size_t n = strlen(key) + 1;
  if (l->texts >= LABELS_MOST) return 1;
  if (!labels_grow(&l->key, l->texts, l->texts) || !labels_grow(&l->text, l->texts, l->texts))
    return 0;
  l->key[l->texts] = (char *)malloc(n);
  l->text[l->texts] = labels_text(j);
  if (l->key[l->texts]) memcpy(l->key[l->texts], key, n);
  l->texts++;
  return l->key[l->texts - 1] && l->text[l->texts - 1];
}

/* Returns what stands for name i, or the name. Most often both lists have the same order. */
static const char *labels_said(const label_list *l, size_t i) {
  size_t k, at;
  for (k = 0; k < l->texts; k++) {
    at = (i + k) % l->texts;
    if (strcmp(l->key[at], l->name[i]) == 0) return l->text[at];
  }
  return l->name[i];
}

char *labels_json(const label_list *l, size_t classes) {
  cli_json j = {NULL, 0, 0, 0, 0};
  size_t i, told = 0;
  if (classes == 0 || l->names < classes) return NULL;
  for (i = 0; i < classes; i++) {
    if (!l->name[i]) return NULL;
    told += strncmp(l->name[i], "LABEL_", 6) != 0;
  }
  if (told == 0) return NULL;
  for (i = 0; i < classes; i++) {
    cli_json_raw(&j, i ? "," : "[", 1);
    cli_json_quoted(&j, labels_said(l, i));
  }
  cli_json_raw(&j, "]", 1);
  if (!j.failed) return j.text;
  free(j.text);
  return NULL;
}

const char **labels_read(const char *json, size_t classes) {
  size_t head = (classes + 1) * sizeof(char *), size = strlen(json), n = 0;
  char *block = (char *)calloc(head + size + 1, 1), *at = block + head;
  const char **name = (const char **)(void *)block;
  json_reader j;
  json_event e;
  if (!block) return NULL;
  json_init(&j, json, size);
  e = json_next(&j);
  if (e == JSON_ARRAY) e = json_next(&j);
  for (; e == JSON_STRING && n < classes; e = json_next(&j)) {
    name[n++] = at;
    at += json_copy(&j, at, (size_t)(block + head + size + 1 - at)) + 1; /* it shrinks */
  }
  if (n == classes && e == JSON_ARRAY_END) return name;
  free(block);
  return NULL;
}

void labels_free(label_list *l) {
  size_t i;
  for (i = 0; i < l->names; i++) free(l->name[i]);
  for (i = 0; i < l->texts; i++) {
    free(l->key[i]);
    free(l->text[i]);
  }
  free(l->name);
  free(l->key);
  free(l->text);
  memset(l, 0, sizeof *l);
}
