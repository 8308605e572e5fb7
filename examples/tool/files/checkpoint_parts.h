/* checkpoint_parts.h: what the parts of the loader share */
#ifndef TOOL_FILES_CHECKPOINT_PARTS_H
#define TOOL_FILES_CHECKPOINT_PARTS_H

#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "checkpoint.h"
#include "labels.h"
#include "pth.h"

#include <stdint.h>

/* The text of a file beside the checkpoint. */
typedef struct checkpoint_side { const char *text; size_t size; } checkpoint_side;

/* The texts of config.json and preprocessor_config.json beside a file; {NULL, 0}: there is none. */
typedef struct checkpoint_texts { checkpoint_side config, images; } checkpoint_texts;

/* What config.json and preprocessor_config.json say; 0 (-1 for qkv_bias): nothing. Sizes of images
 * and patches are height and width; one number stands for both. */
typedef struct checkpoint_config {
  int width, depth, heads, mlp, image[2], patch[2], channels, labels, classes, qkv_bias;
  double eps, mean[3], std[3];
  char act[40], architecture[60], pool[40], model_type[40];
  /* How pictures become input. Switches: -1: nothing is said. */
  int input[3], resize_h, resize_w, shortest, crop_h, crop_w, filter;
  int do_resize, do_crop, do_rescale, do_normalize, swiglu;
  double crop_pct, rescale;
  char interpolation[40], crop_mode[40], processor[60], preprocessing[100];
  bdpt_status wrong_status;
  char wrong[200];              /* the first thing that cannot be honoured; "": nothing */
} checkpoint_config;

enum { CHECKPOINT_NETWORKS = 32, CHECKPOINT_PREFIX = 200 };

/* One network of a file: the items of one dictionary whose names begin with `prefix`. */
typedef struct checkpoint_network {
  uint32_t dict;
  const char *prefix;
  size_t length;      /* of the prefix, its dot included */
  int rank;           /* the smallest is preferred */
  char name[140];
} checkpoint_network;

/* Where a tensor goes: a slot of the model; of qkv only a third when `part` is 0, 1 or 2. A slot
 * below 0 is LayerScale: -1 - 2 l for the attention of block l, -2 - 2 l for its MLP. */
typedef struct checkpoint_place { int slot, part; } checkpoint_place;

typedef struct checkpoint_work {
  bdpt_context *ctx;
  const char *name;
  checkpoint_report *report;
  checkpoint_config config;
  label_list labels;
  size_t file_bytes;
  bdpt_safetensors st;  /* the file, one or the other */
  pth_file pth;
  int is_pth, is_hf;
  pth_item *item;
  size_t items;
  checkpoint_network network[CHECKPOINT_NETWORKS];
  int networks, chosen, depth, register_rows; /* 1: registers have rows in the positions */
  uint32_t (*pick)[3];  /* [slot][part]: the item that goes there, or PTH_NOTHING */
  uint32_t scale[2 * BDPT_MAX_DEPTH]; /* LayerScale of attention and MLP of each block, likewise */
  unsigned char *room;  /* for what must be gathered */
  size_t room_used, total;
  bdpt_config net;      /* what the network is */
  bdpt_real *gamma[2 * BDPT_MAX_DEPTH]; /* the numbers of each LayerScale, or NULL */
  bdpt_bytes image;     /* what comes out: the network under timm's names ... */
  bdpt_model *model;    /* ... or, from a file that needs no translation, the network itself */
} checkpoint_work;

/* Records the first error, with the file's name in front. Returns the status. */
CLI_PRINTF(3, 4)
bdpt_status checkpoint_fail(const checkpoint_work *c, bdpt_status status, const char *format,
                            ...);

/* Adds a sentence to the report's note for the user. */
CLI_PRINTF(2, 3)
void checkpoint_note(checkpoint_work *c, const char *format, ...);

/* A list of names, as many as fit and a count of the rest. */
typedef struct checkpoint_list { char *text; size_t room, used, count, left_out; } checkpoint_list;

/* Adds a name, or counts it among those that did not fit. */
void checkpoint_list_add(checkpoint_list *l, const char *name, size_t length);

/* Returns the finished list. */
const char *checkpoint_list_text(checkpoint_list *l);

/* Compares what the network turned out to be with what config.json says of it. A file in
 * transformers' names is at odds with its own description; of others only a note is made. */
bdpt_status checkpoint_config_compare(checkpoint_work *c, const bdpt_config *m);

/* Reads the two files and checks what cannot be computed. A file in transformers' names comes with
 * its config.json; beside others one may lie by chance, and that is no reason to fail. */
bdpt_status checkpoint_config_use(checkpoint_work *c, const checkpoint_texts *beside,
                                  size_t width);

/* Returns 1 if a name ends so. */
int checkpoint_ends(const char *name, size_t length, const char *tail);

/* Ranks a network's name. The weights that were trained, under the names that training programs
 * use, come first; averages (ema) and teachers come last. */
int checkpoint_rank(const char *name);

/* Returns the network that an item belongs to: the one with the longest prefix. -1: none. */
int checkpoint_owner(const checkpoint_work *c, const pth_item *item);

/* Sorts the chosen network's items into their places. */
bdpt_status checkpoint_sort(checkpoint_work *c);

/* Returns timm's name of a slot. */
void checkpoint_timm_name(int slot, char out[48]);

/* Returns 1 if something goes into this slot. */
int checkpoint_there(const checkpoint_work *c, int slot);

/* Returns 1 when the network needs what belongs into a slot. */
int checkpoint_needs(const checkpoint_work *c, int slot);

/* Collects what the tensors and config.json say together of the network's form (bdpt_config). */
bdpt_status checkpoint_forms(checkpoint_work *c);

/* Names everything that is missing. */
bdpt_status checkpoint_complete(checkpoint_work *c);

/* Does the second half, for which the bytes of the file may be gone already, and frees `c`. */
bdpt_model *checkpoint_end(checkpoint_work *c, bdpt_status s);

/* Makes an empty piece of work; NULL without memory. */
checkpoint_work *checkpoint_new(bdpt_context *ctx, const char *name,
                                checkpoint_report *report);

/* Reads a network from a file in memory, with the texts beside it; `beside` and `options` may be
 * NULL. Returns NULL after an error: see ctx->message. */
bdpt_model *checkpoint_parse(bdpt_context *ctx, const void *bytes, size_t size, const char *name,
                             const checkpoint_texts *beside, const checkpoint_options *options,
                             checkpoint_report *report);

#endif /* TOOL_FILES_CHECKPOINT_PARTS_H */
