/* study.h: what the parts of the study share */
#ifndef TOOL_STUDY_STUDY_H
#define TOOL_STUDY_STUDY_H

#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/options.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"

#include <stdint.h>

struct study;

/* A part of the study: its name, its question, the parts that it needs (bit n: part n), and how it
 * is done and told. */
typedef struct study_row {
  const char *name, *question;
  int needs;
  bdpt_status (*work)(struct study *s);
  void (*tell)(struct study *s);
} study_row;

/* What stands where a layer was when training begins, by name. */
typedef struct study_place { const char *name; int form; bdpt_start start; } study_place;

typedef struct study_recipe {
  int image, seeds, bf16, batch, crop, flip, dense_epochs, dense_batch, gradient_epochs;
  int gradient_window, plus_multiple;
  int map_epochs, map_most, map_rounds, map_fit, map_trials, which_stage, types_repeats;
  int speed_image, speed_repeats, start_extra, distill_budget;
  size_t held, test, epoch, dense_images, gradient_images, which_images, plus_images;
  double lr, warmup, weight_decay, smoothing, clip, dense_lr, dense_warmup, dense_mixup;
  double dense_cutmix, dense_mix_prob, dense_erase, dense_drop_path, map_noise, map_clip;
  double distill_alpha, distill_tau;
  cli_layers recovery_marks, map_budgets, which_remove, which_marks, types_layers, types_marks;
  cli_layers speed[3], text_remove, text_marks, start_budgets, start_marks, distill_marks;
  cli_layers plus_depth, plus_both, plus_marks, tokens_merge, tokens_speed, tokens_remove;
  int finer_epochs, better_epochs, better_batch, better_trivial;
  double finer_lr, finer_warmup, finer_mix_prob, finer_ema;
  double better_lr, better_mix_prob, better_drop_path, better_ema, better_alpha;
  int headline_layers, headline_uncropped, headline_swaps, headline_trivial;
  size_t headline_images;
  double headline_lr, headline_features, headline_alpha, headline_narrow_lr;
  cli_layers headline_marks, headline_long, headline_healing;
  const char *start_best, *distill_start; /* into the file's text */
} study_recipe;

/* How the cells of a study are shared out (shares.c). A cell is what one program computes without
 * a break; a stage is a row of cells that need nothing of each other. */
enum { STUDY_ALL, STUDY_LISTS, STUDY_SHARES, STUDY_GATHERS };
typedef struct study_share {
  int mode;                      /* STUDY_ALL: one program computes everything */
  cli_json lines;                /* the finished cells of all shares' files */
  cli_json listed;               /* STUDY_LISTS: what is printed */
  uint64_t *seen;                /* [cells]: hashes of the names met in this pass ... */
  int *owner;                    /* ... and whose they are */
  int cells, room;
  double load[STUDY_MOST_SHARES]; /* what each share has to do so far, in images */
  int part, stage, number;       /* where the pass is: 7.1.12 */
  int missing, waits, computed;  /* cells: of this part; of earlier stages of it; of this pass */
  int parts;                     /* bit n: every cell of part n is known */
  char name[STUDY_NAME];         /* of the cell under way */
  double began, seconds;         /* ... since when; of the cells that were copied for this part */
  cli_json rest;                 /* lines of the own file whose cell was not finished */
  bdpt_status status;
} study_share;

typedef struct study {
  session base;                  /* images, record, progress */
  study_options o;
  study_recipe recipe;
  bdpt_bytes text;               /* of the recipe file, cut into words */
  bdpt_model *dense;
  char hash[17];                 /* of the dense network */
  bdpt_model *better;            /* part 15's, trained longer; NULL until it is wanted */
  char better_hash[17];
  bdpt_model *finer;             /* its teacher, with patches of half the side; or NULL */
  char finer_hash[17];
  struct standin_idle *idle;     /* of part 19's network with idle channels, or NULL */
  struct piece_gate *gate;       /* of part 16's network with a gate that closes, or NULL */
  char keep[STUDY_NAME];         /* the network that is saved, to teach itself in part 11 */
  int order[2][BDPT_MAX_DEPTH];  /* layers by recovery (part 3), the best first */
  double train_speed, eval_speed; /* images per second, measured */
  double deadline;               /* 0: none */
  study_share share;
} study;

#define STUDY_KEYS 92

/* Stores the table of names; returns how many there are. */
int study_keys(study_recipe *r, cli_option *out);

/* Reads the file; every name must be there once. The text stays, because values point into it. */
bdpt_status study_read(study *s, bdpt_context *ctx, const char *path);

/* Writes "3,7,11"; "-" for none. */
void study_list(const int *layer, int count, char *out, size_t room);

/* Returns 1 for what may change within a study: more seeds belong to it, and parts 12 to 19 name
 * what they were made with. */
int study_free_value(const char *name);

/* Writes all values as one text, for the record and for telling one recipe from another. */
void study_values(study_recipe *r, char *out, size_t room);

/* Walks over the lines; text NULL at the end. */
record_line study_next(const study *s, size_t *at);

/* Returns the first line of a kind whose `key` is this text and, if `number` is given, whose number
 * is that much. Keys may be NULL. */
record_line study_find(const study *s, const char *kind, const char *key, const char *text,
                       const char *number, double value);

/* Returns 1 if there is such a line of this seed; otherwise it takes what study_find takes. */
int study_has(const study *s, const char *kind, const char *key, const char *text,
              const char *number, double value, size_t seed);

/* Returns 1 if the record says that a part is finished, with as many seeds as are asked for. */
int study_part_done(const study *s, int part);

/* Meets a cell, of so many images trained and evaluated; `known`: its lines are in the record.
 * Returns 1 if it is to be computed here and now, and then study_cell_end follows. */
int study_cell(study *s, const char *name, int known, double train, double eval);

/* Ends a cell that was computed; returns the status. */
bdpt_status study_cell_end(study *s, bdpt_status status);

/* Ends a stage of the part. Returns 1 if the part cannot go on, because cells are missing. */
int study_waits(study *s);

/* Ends the cells of the part. Returns 1 if its own lines can be written, and are wanted here. */
int study_completes(study *s);

/* Reads the files of all shares that are there; refuses lines of another recipe or network. */
bdpt_status study_read_shares(study *s);

/* Opens the file of the own share, in place of the record. */
bdpt_status study_own_share(study *s);

/* Prints every cell as a JSON line, with what it needs and costs. */
bdpt_status study_list_cells(study *s);

/* Does the own share as far as it goes. */
bdpt_status study_do_share(study *s);

/* Frees what the shares hold. */
void study_free_shares(study *s);

/* Reads the orders of removal and the name of the network that part 11 keeps, once they are known;
 * before, the order of the blocks stands for them, in lists. */
void study_prepare(study *s);

/* Starts the cells of a part. */
void study_begin_part(study *s, int part);

/* Does a part from the shares' cells; an error if some are missing. */
bdpt_status study_gather_part(study *s, int part);

/* Counts the images that a part trains on and evaluates, by the table. */
void study_part_cost(study *s, int part, double *train, double *eval);

/* Returns 1 if every cell of the part is in the record or, in a share, known. */
int study_part_known(const study *s, int part);

/* Writes a CSV file for every kind of line that the record has. */
bdpt_status study_csv(study *s);

enum { STUDY_ALONE, STUDY_SOFT, STUDY_HARD, STUDY_OWN }; /* who teaches */

extern const char *const study_teachers[];

/* What stands where a layer was when training begins. */
extern const study_place study_starts[];

enum { STUDY_PAPER, STUDY_SKIP, STUDY_SKIP_FIT, STUDY_FIT, STUDY_STARTS };

/* Returns the number of a start by its name; -1: there is none. */
int study_start(const char *name);

typedef struct study_spec {
  int which[2][BDPT_MAX_DEPTH]; /* 1: removed */
  int start, form, gelu, teacher;
  const cli_layers *marks;      /* epochs; the last is the length of the training */
  size_t seed;
  double macs;                  /* of the fused network: its width gives the rest; 0: it stays */
  int better;                   /* 1: made from the network of part 15, and taught by it */
  double lr, alpha, features;   /* other than the recipe's; the weight of the teacher's streams */
  int uncropped;                /* 1: the images are flipped, but not cropped */
  int trivial;                  /* 1: TrivialAugment changes them */
  int rival;                    /* STUDY_BLOCK_MAPS ...: what stands in (rivals.c); or 0 */
} study_spec;

/* Returns a job without a removed layer: start, marks, seed (0 the first). */
study_spec study_spec_of(const study *s, int start, const cli_layers *marks, int seed);

/* Sets the first `count[type]` layers of the recovery order. */
void study_first(const study *s, int attention, int activation, study_spec *spec);

/* Lists the layers that are set; returns how many. */
int study_layers(const int *which, int depth, int *out);

/* Writes everything that decides the result, given recipe and dense network. */
void study_name(const study *s, const study_spec *p, char out[STUDY_NAME]);

/* Returns the recipe of a job. */
bdpt_recipe study_training(const study *s, int epochs, size_t seed);

/* A network from which others are pruned: its file, its line, its training. */
typedef struct study_root {
  const char *name;           /* of its line, and NAME.safetensors */
  const char *what;           /* in messages */
  bdpt_model **model;         /* where its training begins; NULL: at the dense network */
  bdpt_model *teacher;        /* or NULL */
  char *hash;                 /* [17], filled */
  bdpt_recipe recipe;
  double trained, evaluated;  /* images that this takes */
} study_root;

/* Reads a root from its file, or trains it; *fresh: its line has still to be written. A file that
 * is not the one of the record, and one that a share of the study does not find, are errors. */
bdpt_status study_root_make(study *s, const study_root *r, int *fresh);

/* Returns the network that a job is made from. */
bdpt_model *study_parent(const study *s, const study_spec *p);

/* Returns the dense network with the layers gone and their places taken. */
bdpt_model *study_pruned(study *s, const study_spec *p);

/* Trains until so many steps are done, saving about once a minute and when asked to stop. */
bdpt_status study_steps(study *s, bdpt_trainer *t, size_t until, size_t total,
                        const char *detail, const char *checkpoint);

/* Writes where the network lies that teaches itself in part 11. */
void study_teacher_path(const study *s, char *out, size_t room);

/* Makes sure that the network's lines are in the record. */
bdpt_status study_network(study *s, const study_spec *p);

/* Lets TrivialAugment change the training images from now on, or (0) no longer. */
void study_change(study *s, int trivial);

/* Writes the end of a result's line: layers, marks with 0 for "at once", held-out accuracy at each,
 * test accuracy, cost. Returns the accuracy at the last mark. */
double study_tail(study *s, const study_spec *p);

/* Prints "4.2 55.1 60.0" from a result's line. */
void study_say_curve(study *s, record_line line);

/* Loads the dense network, or trains it; a network that its seed does not reproduce is an error,
 * because every other line of the record hangs on it. */
bdpt_status study_dense(study *s);

/* Returns a number of the dense network's line. */
double study_dense_accuracy(const study *s, const char *key);

/* Tells part 1 from the record. */
void study_tell_dense(study *s);

/* Takes `count` training images, the same for every caller. */
bdpt_status study_sample(study *s, size_t count, bdpt_subset *out);

/* Does part 2. */
bdpt_status study_gradients(study *s);

/* Tells part 2 from the record. */
void study_tell_gradients(study *s);

/* Does part 3. */
bdpt_status study_recovery(study *s);

/* Reads the rows again from the record, and the orders of removal at the last mark. */
int study_rows(study *s, bdpt_recovery_row *row);

/* Tells part 3 from the record. */
void study_tell_recovery(study *s);

/* Does part 4. */
bdpt_status study_mismatch(study *s);

/* Tells part 4 from the record. */
void study_tell_mismatch(study *s);

/* Returns how many collections there are: one per seed from the paper's start, and one more from
 * the fit. */
int study_collections(const study *s);

/* Does part 5. */
bdpt_status study_map(study *s);

/* Tells part 5 from the record. */
void study_tell_map(study *s);

enum { STUDY_LEARNED, STUDY_TRANSFER, STUDY_COSINE, STUDY_AT_ONCE, STUDY_GRADIENT, STUDY_RANDOM,
       STUDY_WAYS };

/* Makes the learned search of one seed, as a "searched" line. */
bdpt_status study_search(study *s, size_t seed);

/* Sets the layers that a way of choosing names. */
void study_choose(study *s, int way, size_t seed, int which[2][BDPT_MAX_DEPTH]);

/* Does part 6. */
bdpt_status study_which(study *s);

/* Prints "learned    60.12 +- 0.31": the last accuracy of the lines of a kind whose key is this
 * text. */
void study_say_spread(study *s, const char *kind, const char *key, const char *text,
                      const char *number, double value);

/* Tells part 6 from the record. */
void study_tell_which(study *s);

/* Times the dense network beside a pruned and fused one, and writes the line's end. `merge` says
 * how many tokens each block of the one and of the other merges; NULL: none. */
bdpt_status study_time(study *s, bdpt_model *dense, bdpt_model *pruned, int repeats,
                       const int merge[2]);

/* Does part 7. */
bdpt_status study_types(study *s);

/* Tells part 7 from the record. */
void study_tell_types(study *s);

extern const char *const study_sizes[3];

/* Removes so many layers of each type: those of the published sets, which hold five, then others
 * from the first block on. For time only the counts matter. */
bdpt_status study_speed_prune(bdpt_model *m, const cli_layers *count);

/* Does part 8. */
bdpt_status study_speed(study *s);

/* Tells part 8 from the record. */
void study_tell_speed(study *s);

enum { STUDY_VARIANTS = 5 };

/* Does part 9. */
bdpt_status study_text(study *s);

/* Tells part 9 from the record. */
void study_tell_text(study *s);

/* Does part 10. */
bdpt_status study_starting(study *s);

/* Tells part 10 from the record. */
void study_tell_starting(study *s);

/* Returns the job of part 11 with this teacher; the one without is kept for part 13 and, of the
 * first seed, to teach itself. */
study_spec study_distill_spec(const study *s, int teacher, int seed);

/* Does part 11. */
bdpt_status study_distill(study *s);

/* Tells part 11 from the record. */
void study_tell_distill(study *s);

extern const study_row study_part[STUDY_PARTS + 1];

/* Measures the images per second, trained and evaluated: a few steps on a copy. */
bdpt_status study_pace(study *s);

/* Returns 1 if the part was asked for. */
int study_selected(const study *s, int part);

/* Returns the seconds that the selected parts still take, by the table. */
double study_left(study *s);

/* Prints what each part costs; with --list --json as lines. */
bdpt_status study_table(study *s);

enum { STUDY_PLUS_JOBS = 5 };

/* Returns the multiply-accumulates of the dense network without its first n layers of each type by
 * recovery, fused: a budget that several ways of pruning share. */
double study_budget(const study *s, int n);

/* Makes the network narrower until, fused, it has so many multiply-accumulates: embedding, hidden
 * units and head size in the same proportion, whole heads stay (three are too few to choose from).
 * Scores are those of the network as it will be trained, sizes those of the fused one. */
bdpt_status study_narrow(study *s, bdpt_model *m, double macs);

/* Does part 12. */
bdpt_status study_plus(study *s);

/* Tells part 12 from the record. */
void study_tell_plus(study *s);

/* Does part 13. */
bdpt_status study_tokens(study *s);

/* Tells part 13 from the record. */
void study_tell_tokens(study *s);

/* Returns an upper bound of what one greedy choice sends through the network. */
double study_greedy_images(const study *s);

enum { STUDY_PIECES = 16, STUDY_PICKS = 3, STUDY_RIVALS = 3, STUDY_MOST_SWAPS = 50 };

/* The row of part 16 whose gap to its control is the headline figure, and that control. */
extern const char *const study_whole, *const study_control;

/* The ways of part 14, by number. */
extern const char *const study_pick[STUDY_PICKS];

/* Does part 14. */
bdpt_status study_choice(study *s);

/* Tells part 14 from the record. */
void study_tell_choice(study *s);

/* What a step of the network with finer patches costs, in steps of the dense one. */
#define STUDY_FINER_COST 4

/* Loads or trains the teacher of part 15, unless it is there or finer.epochs is 0: then the network
 * of part 1 teaches. */
bdpt_status study_finer(study *s);

/* Returns how the network of part 15 is trained. */
bdpt_recipe study_better_recipe(const study *s);

/* Does part 15: loads the network, or trains it. */
bdpt_status study_better(study *s);

/* Tells part 15 from the record. */
void study_tell_better(study *s);

/* Does part 16. */
bdpt_status study_headline(study *s);

/* Tells part 16 from the record. */
void study_tell_headline(study *s);

/* Does part 17. */
bdpt_status study_long(study *s);

/* Tells part 17 from the record. */
void study_tell_long(study *s);

/* Does part 18. */
bdpt_status study_frontier(study *s);

/* Tells part 18 from the record. */
void study_tell_frontier(study *s);

/* Takes every second held-out image of each class, which choose; to be freed. */
bdpt_status study_half(study *s, bdpt_subset *out);

/* Makes the greedy choice of part 16; below, with the exchanges that follow it. */
bdpt_status study_headline_greedy(study *s);
bdpt_status study_headline_choice(study *s);

/* Describes a job of that part, with its layers gone or none. */
study_spec study_headline_spec(const study *s, int pruned, int seed);

/* Sets the first n layers of its greedy choice. */
void study_headline_first(const study *s, int n, study_spec *p);

/* Trains what tells which greedy layers of a short job are to be exchanged, and records which. */
bdpt_status study_swaps(study *s, const study_spec *greedy);

/* Returns the line of that job's exchanges. Below, makes those of them in p that concern the layers
 * it has, some of the greedy ones. */
record_line study_swapped(const study *s, const study_spec *greedy);
void study_swap_taken(const study *s, const study_spec *greedy, study_spec *p);

/* Takes the layers of a job of part 16 out in its own way (study_spec.rival). */
bdpt_status study_take_out(study *s, bdpt_model *m, const study_spec *p);

/* Returns, of a job that removes in steps, the training step, of `total`, after which the next
 * layers go; SIZE_MAX: none, or not such a job. study_remove_next removes them. */
size_t study_next_removal(const study_spec *p, const bdpt_model *m, size_t total);
bdpt_status study_remove_next(study *s, const study_spec *p, bdpt_model *m);

/* Does a job and writes its line, which has a kind, a row, and the numbers of the job. */
bdpt_status study_row_of(study *s, const char *kind, const char *row, const study_spec *p);

/* study_spec.rival: what part 19 puts in, how part 16 takes layers out otherwise, and, the last
 * three, how it trains otherwise. */
enum { STUDY_BLOCK_MAPS = 1, STUDY_IDLE_CHANNELS, STUDY_SMALLER_INPUT,
       STUDY_IN_STEPS, STUDY_CLOSING, STUDY_REPAIRED, STUDY_CLASS_FIT,
       STUDY_MATCH_WHERE, STUDY_MATCH_LAST, STUDY_NO_LABELS };
enum { STUDY_RIVAL_ROWS = 7 };
extern const char *const study_rival_name[STUDY_RIVAL_ROWS];
/* Measures and times the dense network with merged tokens, once. */
bdpt_status study_rival_merged(study *s);

/* Puts into a network what a rival has in the place of layers. */
bdpt_status study_stand_in(study *s, bdpt_model *m, const study_spec *p);

/* Counts what a network costs once everything is fused or merged. */
bdpt_status study_fused_cost(study *s, const bdpt_model *m, bdpt_cost_report *out);

/* Does part 19. */
bdpt_status study_rivals(study *s);

/* Tells part 19 from the record. */
void study_tell_rivals(study *s);

enum { STUDY_READINGS = 18 };

/* Does part 20. */
bdpt_status study_readings(study *s);

/* Tells part 20 from the record. */
void study_tell_readings(study *s);

/* Returns how many images all choices of part 20 train on; *looked: others that they see. */
double study_readings_cost(const study *s, double *looked);

/* Prints the figures of this folder's record, or, where there is none, of the record that is
 * shipped. */
bdpt_status study_summarise(study *s);

#endif /* TOOL_STUDY_STUDY_H */
