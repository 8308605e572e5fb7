/* input.h: where the images and the networks come from */
#ifndef TOOL_INPUT_H
#define TOOL_INPUT_H

#include "../../boundarydpt.h"
#include "cli/json.h"
#include "cli/outputs.h"
#include "files/checkpoint.h"
#include "pictures/folder.h"

enum { INPUT_TRAIN = 1, INPUT_TEST = 2 };
enum { INPUT_DATA_SEED = 1, INPUT_SPLIT_SEED = 1, INPUT_HELD = 50 };

/* What the command line says about images. */
typedef struct input_source {
  const char *data;       /* NULL: the generated ones */
  int generated;          /* asked for by name */
  int holdout;            /* pictures of each class set aside as the test part; -1: not said */
  size_t skip_bad;        /* so many pictures of a folder may be left out; 0: none, none is tried */
  int quiet;
  int dry;                /* generated images that are not there are drawn, but not saved */
  int any;                /* 1: labels are of no use here, so pictures need no class folders */
} input_source;

typedef struct input {
  bdpt_context *ctx;
  const char *name;       /* "generated", "cifar-100" or "folder" */
  char folder[600];
  int dry;                /* as in input_source */
  struct folder shots[2]; /* the listings of a folder of pictures: training part, test part */
  bdpt_dataset train, test;
  bdpt_subset rest, held; /* the two sides of the training part */
  bdpt_subset tested;     /* the test part */
} input;

/* Adds the files of a data set in CIFAR's format to what is read; `room` holds their names. */
void input_files(const input_source *s, char room[2][700], cli_files *f);

/* Frees everything. If loading a picture failed, the library's sentence gets the file's name. */
void input_close(input *in);

/* Records an error of the images, unless the context has one; `what` fills the format's %s. */
bdpt_status input_fail(input *in, const char *format, const char *what);

/* Returns 1 if the data are a folder of pictures: there is neither train.bin nor test.bin. */
int input_has_pictures(const char *data);

/* Makes the pictures of a folder fit a network as its evaluation wants them, which is how classify
 * treats them too: by the settings that came with it. Images of CIFAR's format stay. */
void input_fit(input *in, const bdpt_model *m);

/* Does the same for a network that will be trained on them. What it knows of its pictures counts;
 * if it knows nothing they are cropped, and it is noted in the network how, so that classify can do
 * the same. */
void input_adopt(input *in, bdpt_model *m);

/* Names the network's classes after the class folders, if it has that many classes and no names. */
bdpt_status input_label(const input *in, bdpt_model *m);

/* Opens `parts`: INPUT_TRAIN, INPUT_TEST or both. */
bdpt_status input_open(input *in, bdpt_context *ctx, const input_source *from, int parts);

/* Keeps `count` images of a subset, as many of each class as possible; 0 or too many: all of it. */
bdpt_status input_keep(bdpt_context *ctx, bdpt_subset *subset, size_t count);

/* Reads a network from a file of any form that checkpoint.h knows, and brings it to another input
 * size if one is named. What the user should know about the file goes to stderr; its form and the
 * dialect of its names are in the report. NULL: see ctx->message. */
bdpt_model *input_model_report(bdpt_context *ctx, const char *path, const int image[2],
                               checkpoint_report *report);

/* Adds "guessed", the list of what no file told of a network: "heads", "eps", "mean", "std". */
void input_guessed(cli_json *j, const checkpoint_report *report);

/* --start NAME: what takes a removed layer's place before training. -1: no such name. With a name
 * that begins with "skip" a removed attention layer leaves x, else x + LN1(x). */
#define INPUT_STARTS "paper, skip, skip-fit, fit, fit-activation or fit-attention"

/* Returns what takes a removed layer's place before training, by the name that --start takes: a
 * bdpt_start, or -1 if there is no such name. */
int input_start(const char *name);

#define INPUT_CHOICES "greedy or learned"

/* Returns the number of a name that --choose takes: 1 greedy, 0 learned, -1 no such name. Greedy
 * needs something to stand in a layer's place: from a start that fits nothing every activation
 * looks alike, at chance, so there learned importance is the default, as in the paper. */
int input_choose(const char *name, const char *start);

/* Sets what a removed attention layer leaves: x with a name that begins with "skip", else x +
 * LN1(x). */
void input_form(const char *name, bdpt_model *m);

/* Does the same for a caller that has no use for the report. */
bdpt_model *input_model(bdpt_context *ctx, const char *path, const int image[2]);

#endif /* TOOL_INPUT_H */
