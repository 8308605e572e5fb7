/* =================================================================================================
 * reproduce.h: the study of the paper's claims (the `reproduce` command, `make reproduce`)
 * =================================================================================================
 * Fifteen parts, each a question of its own; the last two run only when they are named:
 *
 *    1 dense      how good is the network before anything is removed?
 *    2 gradients  how far apart are the importance gradients of the two types, and why?
 *    3 recovery   what does each single layer cost, at once and after training?
 *    4 mismatch   what happens when a linear is removed instead?
 *    5 map        how many of each type does the predictor choose, and how stable is that?
 *    6 which      learned importance against simpler ways to choose layers
 *    7 types      attention only, activations only, both: accuracy against measured speed
 *    8 speed      DeiT at 224 px, dense against pruned and fused
 *    9 text       the paper's text against the released code
 *   10 start      the paper's start of training against a least-squares fit
 *   11 distil     what the teacher brings
 *   12 plus       depth, width, both: accuracy at the same cost
 *   13 tokens     merging tokens: accuracy and speed
 *   14 headline   layers chosen greedily, and what each piece of the recovery brings
 *   15 long       the same recovery, ten passes long
 *
 * A part is made of jobs, mostly "remove these layers, train so long, measure at these marks". The
 * job's text is its name (study_name); a job whose lines are in the record is never done again, and
 * two parts that want the same network share it. Inside a job the library's checkpoints hold. So
 * the study can be stopped anywhere and the same command goes on.
 *
 * Who sees which images: networks train on `rest` only. `held` (50 of each class, listed in
 * data/cifar100_held.txt) makes every choice: orders, splits, sets of layers. The test images meet
 * each finished network once; their accuracy is recorded and read by no part.
 *
 * Chapters: 1 recipe, 2 record, 3 networks, 4 to 7 the parts (12 and 13 in reproduce_plus.h,
 * 14 and 15 in reproduce_headline.h), 8
 * what they cost, 9 the command.
 */
#ifndef REPRODUCE_H
#define REPRODUCE_H

#include "baselines.h"
#include "../commands/run.h"

enum { STUDY_PLAIN = 13, STUDY_PARTS = 15, STUDY_NAME = 500 }; /* PLAIN: without being named */

/* =================================================================================================
 * 1  THE RECIPE
 * =================================================================================================
 * data/reproduce.recipe explains every name. Lists are cli_layers: whole numbers.
 */
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
  int headline_layers;
  size_t headline_images;
  double headline_lr, headline_features;
  cli_layers headline_marks, headline_long;
  const char *start_best, *distill_start; /* into the file's text */
} study_recipe;

typedef struct study_options {
  cli_common common;
  const char *data, *model, *out, *report, *recipe;
  cli_layers parts;
  int quick, list, print_held, seeds, summary;
  double minutes;
} study_options;

typedef struct study {
  run base;                      /* images, record, progress: the helpers of run.h work on it */
  study_options o;
  study_recipe recipe;
  char *text;                    /* of the recipe file, cut into words */
  size_t text_size;
  bdpt_model *dense;
  char hash[17];                 /* of the dense network */
  char keep[STUDY_NAME];         /* the network that is saved, to teach itself in part 11 */
  int order[2][BDPT_MAX_DEPTH];  /* layers by recovery (part 3), the best first */
  double train_speed, eval_speed; /* images per second, measured */
  double deadline;               /* 0: none */
} study;

#define STUDY_KEYS 78
/* The table of names. Returns how many there are. */
static int study_keys(study_recipe *r, cli_option *out) {
  const cli_option keys[] = {
    {"image", CLI_INT, &r->image, "", ""}, {"held", CLI_SIZE, &r->held, "", ""},
    {"test", CLI_SIZE, &r->test, "", ""}, {"seeds", CLI_INT, &r->seeds, "", ""},
    {"bf16", CLI_INT, &r->bf16, "", ""},
    {"epoch", CLI_SIZE, &r->epoch, "", ""}, {"batch", CLI_INT, &r->batch, "", ""},
    {"lr", CLI_REAL, &r->lr, "", ""}, {"warmup", CLI_REAL, &r->warmup, "", ""},
    {"weight_decay", CLI_REAL, &r->weight_decay, "", ""},
    {"smoothing", CLI_REAL, &r->smoothing, "", ""}, {"crop", CLI_INT, &r->crop, "", ""},
    {"flip", CLI_INT, &r->flip, "", ""}, {"clip", CLI_REAL, &r->clip, "", ""},
    {"dense.epochs", CLI_INT, &r->dense_epochs, "", ""},
    {"dense.images", CLI_SIZE, &r->dense_images, "", ""},
    {"dense.batch", CLI_INT, &r->dense_batch, "", ""},
    {"dense.lr", CLI_REAL, &r->dense_lr, "", ""},
    {"dense.warmup", CLI_REAL, &r->dense_warmup, "", ""},
    {"dense.mixup", CLI_REAL, &r->dense_mixup, "", ""},
    {"dense.cutmix", CLI_REAL, &r->dense_cutmix, "", ""},
    {"dense.mix_prob", CLI_REAL, &r->dense_mix_prob, "", ""},
    {"dense.erase", CLI_REAL, &r->dense_erase, "", ""},
    {"dense.drop_path", CLI_REAL, &r->dense_drop_path, "", ""},
    {"gradient.epochs", CLI_INT, &r->gradient_epochs, "", ""},
    {"gradient.window", CLI_INT, &r->gradient_window, "", ""},
    {"gradient.images", CLI_SIZE, &r->gradient_images, "", ""},
    {"recovery.marks", CLI_LAYERS, &r->recovery_marks, "", ""},
    {"map.epochs", CLI_INT, &r->map_epochs, "", ""}, {"map.most", CLI_INT, &r->map_most, "", ""},
    {"map.rounds", CLI_INT, &r->map_rounds, "", ""}, {"map.fit", CLI_INT, &r->map_fit, "", ""},
    {"map.budgets", CLI_LAYERS, &r->map_budgets, "", ""},
    {"map.trials", CLI_INT, &r->map_trials, "", ""}, {"map.noise", CLI_REAL, &r->map_noise, "", ""},
    {"map.clip", CLI_REAL, &r->map_clip, "", ""},
    {"which.remove", CLI_LAYERS, &r->which_remove, "", ""},
    {"which.stage", CLI_INT, &r->which_stage, "", ""},
    {"which.images", CLI_SIZE, &r->which_images, "", ""},
    {"which.marks", CLI_LAYERS, &r->which_marks, "", ""},
    {"types.layers", CLI_LAYERS, &r->types_layers, "", ""},
    {"types.marks", CLI_LAYERS, &r->types_marks, "", ""},
    {"types.repeats", CLI_INT, &r->types_repeats, "", ""},
    {"speed.image", CLI_INT, &r->speed_image, "", ""},
    {"speed.tiny", CLI_LAYERS, &r->speed[0], "", ""},
    {"speed.small", CLI_LAYERS, &r->speed[1], "", ""},
    {"speed.base", CLI_LAYERS, &r->speed[2], "", ""},
    {"speed.repeats", CLI_INT, &r->speed_repeats, "", ""},
    {"text.remove", CLI_LAYERS, &r->text_remove, "", ""},
    {"text.marks", CLI_LAYERS, &r->text_marks, "", ""},
    {"start.budgets", CLI_LAYERS, &r->start_budgets, "", ""},
    {"start.best", CLI_TEXT, &r->start_best, "", ""},
    {"start.extra", CLI_INT, &r->start_extra, "", ""},
    {"start.marks", CLI_LAYERS, &r->start_marks, "", ""},
    {"distill.budget", CLI_INT, &r->distill_budget, "", ""},
    {"distill.start", CLI_TEXT, &r->distill_start, "", ""},
    {"distill.alpha", CLI_REAL, &r->distill_alpha, "", ""},
    {"distill.tau", CLI_REAL, &r->distill_tau, "", ""},
    {"distill.marks", CLI_LAYERS, &r->distill_marks, "", ""},
    {"plus.depth", CLI_LAYERS, &r->plus_depth, "", ""},
    {"plus.both", CLI_LAYERS, &r->plus_both, "", ""},
    {"plus.images", CLI_SIZE, &r->plus_images, "", ""},
    {"plus.multiple", CLI_INT, &r->plus_multiple, "", ""},
    {"plus.marks", CLI_LAYERS, &r->plus_marks, "", ""},
    {"tokens.merge", CLI_LAYERS, &r->tokens_merge, "", ""},
    {"tokens.speed", CLI_LAYERS, &r->tokens_speed, "", ""},
    {"tokens.remove", CLI_LAYERS, &r->tokens_remove, "", ""},
    {"headline.layers", CLI_INT, &r->headline_layers, "", ""},
    {"headline.images", CLI_SIZE, &r->headline_images, "", ""},
    {"headline.lr", CLI_REAL, &r->headline_lr, "", ""},
    {"headline.features", CLI_REAL, &r->headline_features, "", ""},
    {"headline.marks", CLI_LAYERS, &r->headline_marks, "", ""},
    {"headline.long", CLI_LAYERS, &r->headline_long, "", ""}};
  memcpy(out, keys, sizeof keys);
  return (int)(sizeof keys / sizeof keys[0]);
}

/* Records an error in the context, as the library does. */
CLI_PRINTF(3, 4)
static bdpt_status study_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  if (ctx->status != BDPT_OK) return status;
  va_start(args, format);
  vsnprintf(ctx->message, sizeof ctx->message, format, args);
  va_end(args);
  return ctx->status = status;
}

/* Cuts the next word out of a line; NULL at its end. */
static char *study_word(char **at) {
  char *word = *at + strspn(*at, " \t\r="), *end = word + strcspn(word, " \t\r=");
  *at = *end ? end + 1 : end;
  *end = 0;
  return *word ? word : NULL;
}

/* One line of the file: empty, or a name and its value. */
static bdpt_status study_line(bdpt_context *ctx, const char *path, int number, char *line,
                              const cli_option *keys, int count, int *seen) {
  char *name, *value, *more;
  const char *wanted;
  int k;
  line[strcspn(line, "#")] = 0;
  name = study_word(&line);
  if (!name) return BDPT_OK;
  value = study_word(&line);
  more = study_word(&line);
  for (k = 0; k < count && strcmp(keys[k].name, name) != 0; k++) { }
  if (k == count)
    return study_fail(ctx, BDPT_E_FORMAT, "%s: line %d: there is no '%s'", path, number, name);
  if (seen[k])
    return study_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' stands in line %d already", path,
                      number, name, seen[k]);
  if (!value || more)
    return study_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' wants one value%s%s", path, number,
                      name, more ? ", not also " : "", more ? more : "");
  wanted = cli_store(&keys[k], value);
  if (wanted)
    return study_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' wants %s, got '%s'", path, number,
                      name, wanted, value);
  seen[k] = number;
  return BDPT_OK;
}

static int study_start(const char *name);

/* Values that the parts could not live with. */
static const char *study_impossible(const study_recipe *r) {
  const cli_layers *marks[] = {&r->recovery_marks, &r->which_marks, &r->types_marks,
                               &r->text_marks, &r->start_marks, &r->distill_marks,
                               &r->plus_marks, &r->headline_marks, &r->headline_long};
  int i, k;
  for (i = 0; i < 9; i++) {
    for (k = 0; k < marks[i]->count; k++)
      if (marks[i]->layer[k] <= (k ? marks[i]->layer[k - 1] : 0) || k >= BDPT_MAX_MARKS)
        return "marks must be at most 8 rising numbers of epochs";
  }
  if (r->seeds < 1 || r->seeds > 100 || r->batch < 1 || r->dense_batch < 1 || r->epoch < 1 ||
      r->gradient_window < 1 || r->gradient_epochs < 1 || r->map_epochs < 1 || r->which_stage < 1)
    return "seeds, epochs, batches and windows must be 1 or more (seeds: at most 100)";
  if (r->dense_epochs < 0 || r->dense_epochs > 1000) return "dense.epochs must be 0 to 1000";
  if (r->which_remove.count != 2 || r->text_remove.count != 2 || r->tokens_remove.count != 2)
    return "which.remove, text.remove and tokens.remove name two numbers of layers";
  if (r->plus_depth.count != r->plus_both.count || r->plus_multiple < 1)
    return "plus.depth and plus.both are equally long, plus.multiple is 1 or more";
  if (study_start(r->start_best) < 0 || study_start(r->distill_start) < 0)
    return "a start is called paper, skip, skip-fit or fit";
  return NULL;
}

/* Reads the file; every name must be there once. The text stays, because values point into it. */
static bdpt_status study_read(study *s, bdpt_context *ctx, const char *path) {
  cli_option keys[STUDY_KEYS];
  int seen[STUDY_KEYS], count = study_keys(&s->recipe, keys), number = 1, k;
  unsigned char *bytes;
  const char *problem;
  char *at, *end;
  bdpt_status status = bdpt_file_read(ctx, path, &bytes, &s->text_size);
  if (status != BDPT_OK) return status;
  s->text = (char *)bytes;
  memset(seen, 0, sizeof seen);
  if (memchr(bytes, 0, s->text_size)) return study_fail(ctx, BDPT_E_FORMAT, "%s: no text", path);
  for (at = s->text; at && status == BDPT_OK; at = end ? end + 1 : NULL, number++) {
    end = strchr(at, '\n');
    if (end) *end = 0;
    status = study_line(ctx, path, number, at, keys, count, seen);
  }
  for (k = 0; k < count && status == BDPT_OK; k++)
    if (!seen[k]) status = study_fail(ctx, BDPT_E_FORMAT, "%s: no '%s'", path, keys[k].name);
  problem = status == BDPT_OK ? study_impossible(&s->recipe) : NULL;
  return problem ? study_fail(ctx, BDPT_E_FORMAT, "%s: %s", path, problem) : status;
}

/* "3,7,11"; "-" for none. */
static void study_list(const int *layer, int count, char *out, size_t room) {
  size_t used = 0;
  int i;
  snprintf(out, room, "-");
  for (i = 0; i < count && used < room; i++)
    used += (size_t)snprintf(out + used, room - used, "%s%d", i ? "," : "", layer[i]);
}

/* 1 for what may change within a study: more seeds belong to it, and parts 12 to 15 name what they
 * were made with. */
static int study_free_value(const char *name) {
  return strcmp(name, "seeds") == 0 || strncmp(name, "plus.", 5) == 0 ||
         strncmp(name, "tokens.", 7) == 0 || strncmp(name, "headline.", 9) == 0;
}

/* All values as one text, for the record and for telling one recipe from another. */
static void study_values(study_recipe *r, char *out, size_t room) {
  cli_option keys[STUDY_KEYS];
  int count = study_keys(r, keys), k;
  size_t used = 0;
  out[0] = 0;
  for (k = 0; k < count && used < room; k++) {
    const void *v = keys[k].value;
    char text[200];
    if (study_free_value(keys[k].name)) continue;
    switch (keys[k].kind) {
      case CLI_INT: snprintf(text, sizeof text, "%d", *(const int *)v); break;
      case CLI_SIZE: snprintf(text, sizeof text, "%zu", *(const size_t *)v); break;
      case CLI_REAL: snprintf(text, sizeof text, "%g", *(const double *)v); break;
      case CLI_LAYERS:
        study_list(((const cli_layers *)v)->layer, ((const cli_layers *)v)->count, text,
                   sizeof text);
        break;
      default: snprintf(text, sizeof text, "%s", *(const char *const *)v); break;
    }
    used += (size_t)snprintf(out + used, room - used, "%s%s %s", k ? "; " : "", keys[k].name, text);
  }
}

/* =================================================================================================
 * 2  THE RECORD
 * =================================================================================================
 * One file of JSON lines (record.h). Chapter 3 writes "mark" and "network" lines, every part its
 * own kinds and at its end a "part" line. For each kind a CSV file is written beside it: the keys
 * of its first line are the columns, lists stand in one cell with blanks between.
 */

/* Walks over the lines; text NULL at the end. */
static record_line study_next(const study *s, size_t *at) {
  const cli_json *j = &s->base.record.text;
  record_line line = {NULL, 0};
  const char *end;
  if (*at >= j->used) return line;
  line.text = j->text + *at;
  end = (const char *)memchr(line.text, '\n', j->used - *at);
  line.size = end ? (size_t)(end - line.text) : j->used - *at;
  *at += line.size + 1;
  return line;
}

/* The first line of a kind whose `key` is this text and, if `number` is given, whose number is that
 * much. Keys may be NULL. */
static record_line study_find(const study *s, const char *kind, const char *key, const char *text,
                              const char *number, double value) {
  record_line line;
  char own[STUDY_NAME];
  size_t at = 0;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind)) continue;
    if (key) record_text(line, key, own, sizeof own);
    if (key && strcmp(own, text) != 0) continue;
    if (!number || record_real(line, number, -1e300) == value) return line;
  }
  return line;
}

static int study_part_done(const study *s, int part) {
  return study_find(s, "part", NULL, NULL, "part", part).text != NULL;
}

static void study_csv_cell(FILE *f, const char *text) {
  int quote = strpbrk(text, "\",\n") != NULL;
  if (quote) fputc('"', f);
  for (; *text; text++) {
    if (*text == '"') fputc('"', f);
    fputc(*text, f);
  }
  if (quote) fputc('"', f);
}

/* The value of a key as one cell. */
static void study_csv_value(FILE *f, record_line line, const char *key) {
  bdpt_json j;
  char text[STUDY_NAME];
  int list = 0, n = 0;
  bdpt_json_event e = record_find(line, key, &j);
  for (; e != BDPT_JSON_END && e != BDPT_JSON_ERROR; e = bdpt_json_next(&j)) {
    if (e == BDPT_JSON_ARRAY) list++;
    else if (e == BDPT_JSON_ARRAY_END) list--;
    else if (e == BDPT_JSON_STRING) {
      bdpt_json_copy(&j, text, sizeof text);
      study_csv_cell(f, text);
    } else if (e == BDPT_JSON_NUMBER) {
      fprintf(f, "%s%.*s", n++ ? " " : "", (int)j.length, j.text + j.start);
    }
    if (list == 0) return;
  }
}

/* One file for a kind, whose first line is given. */
static bdpt_status study_csv_kind(study *s, const char *kind, record_line first) {
  char key[40][64], path[800];
  int keys = 0, k;
  size_t at = 0;
  bdpt_json j;
  bdpt_json_event e;
  record_line line;
  FILE *f;
  bdpt_json_init(&j, first.text, first.size);
  while ((e = bdpt_json_next(&j)) != BDPT_JSON_END && e != BDPT_JSON_ERROR && keys < 40)
    if (e == BDPT_JSON_KEY && j.depth == 1) bdpt_json_copy(&j, key[keys++], sizeof key[0]);
  snprintf(path, sizeof path, "%s/%s.csv", s->o.out, kind);
  f = fopen(path, "w");
  if (!f) return study_fail(s->base.ctx, BDPT_E_IO, "%s: cannot be written", path);
  for (k = 1; k < keys; k++) fprintf(f, "%s%s", k > 1 ? "," : "", key[k]);
  fputc('\n', f);
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind)) continue;
    for (k = 1; k < keys; k++) {
      if (k > 1) fputc(',', f);
      study_csv_value(f, line, key[k]);
    }
    fputc('\n', f);
  }
  k = ferror(f);
  return fclose(f) == 0 && k == 0 ? BDPT_OK
                                  : study_fail(s->base.ctx, BDPT_E_IO, "%s: write failed", path);
}

/* Every kind that there is, when its first line is met. */
static bdpt_status study_csv(study *s) {
  record_line line, first;
  size_t at = 0;
  bdpt_status status = BDPT_OK;
  while (status == BDPT_OK && (line = study_next(s, &at)).text) {
    char kind[64];
    record_text(line, "kind", kind, sizeof kind);
    first = study_find(s, kind, NULL, NULL, NULL, 0);
    if (first.text == line.text) status = study_csv_kind(s, kind, first);
  }
  return status;
}

/* =================================================================================================
 * 3  NETWORKS
 * =================================================================================================
 * A job: the dense network without some layers, trained for a while.
 */
enum { STUDY_ALONE, STUDY_SOFT, STUDY_HARD, STUDY_OWN }; /* who teaches */
static const char *const study_teachers[] = {"none", "soft", "hard", "own"};

/* What stands where a layer was when training begins. */
static const struct { const char *name; int form; bdpt_start start; } study_starts[] = {
  {"paper", BDPT_ATTN_NORM, BDPT_START_PAPER}, {"skip", BDPT_ATTN_SKIP, BDPT_START_SKIP},
  {"skip-fit", BDPT_ATTN_SKIP, BDPT_START_SKIP_FIT}, {"fit", BDPT_ATTN_NORM, BDPT_START_FIT}};
enum { STUDY_PAPER, STUDY_SKIP, STUDY_SKIP_FIT, STUDY_FIT, STUDY_STARTS };

static int study_start(const char *name) {
  int i = STUDY_STARTS - 1;
  while (i >= 0 && strcmp(study_starts[i].name, name) != 0) i--;
  return i;
}

typedef struct study_spec {
  int which[2][BDPT_MAX_DEPTH]; /* 1: removed */
  int start, form, gelu, teacher;
  const cli_layers *marks;      /* epochs; the last is the length of the training */
  size_t seed;
  double macs;                  /* of the fused network: its width gives the rest; 0: it stays */
  double lr, features;          /* other than the recipe's; the weight of the teacher's streams */
} study_spec;

static study_spec study_spec_of(const study *s, int start, const cli_layers *marks, int seed) {
  study_spec spec;
  memset(&spec, 0, sizeof spec);
  spec.start = start;
  spec.form = study_starts[start].form;
  spec.marks = marks;
  spec.seed = s->o.common.seed + (size_t)seed;
  return spec;
}

/* The first `count[type]` layers of the recovery order. */
static void study_first(const study *s, int attention, int activation, study_spec *spec) {
  int i;
  memset(spec->which, 0, sizeof spec->which);
  for (i = 0; i < attention; i++) spec->which[0][s->order[0][i]] = 1;
  for (i = 0; i < activation; i++) spec->which[1][s->order[1][i]] = 1;
}

static int study_layers(const int *which, int depth, int *out) {
  int l, n = 0;
  for (l = 0; l < depth; l++)
    if (which[l]) out[n++] = l;
  return n;
}

/* Everything that decides the result, given recipe and dense network. */
static void study_name(const study *s, const study_spec *p, char out[STUDY_NAME]) {
  char list[2][150], marks[60];
  int layer[BDPT_MAX_DEPTH], t;
  for (t = 0; t < 2; t++)
    study_list(layer, study_layers(p->which[t], s->base.depth, layer), list[t], sizeof list[t]);
  study_list(p->marks->layer, p->marks->count, marks, sizeof marks);
  snprintf(out, STUDY_NAME, "attention %s activation %s start %s form %d gelu %d epochs %s seed "
           "%zu teacher %s", list[0], list[1], study_starts[p->start].name, p->form, p->gelu, marks,
           p->seed, study_teachers[p->teacher]);
  if (p->macs > 0)
    snprintf(out + strlen(out), STUDY_NAME - strlen(out), " macs %.0f images %zu multiple %d",
             p->macs, s->recipe.plus_images, s->recipe.plus_multiple);
  if (p->lr > 0 || p->features > 0)
    snprintf(out + strlen(out), STUDY_NAME - strlen(out), " lr %g features %g", p->lr,
             p->features);
}

/* A file name that belongs to this job of this study. */
static void study_checkpoint(const study *s, const char *name, char *out, size_t room) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  const char *text[3];
  int i;
  text[0] = name;
  text[1] = s->base.setup;
  text[2] = s->hash;
  for (i = 0; i < 3; i++) {
    const char *c = text[i];
    while (*c) h = (h ^ (unsigned char)*c++) * UINT64_C(0x100000001b3);
  }
  snprintf(out, room, "%s/job-%016llx.ckpt", s->o.out, (unsigned long long)h);
}

static bdpt_recipe study_training(const study *s, int epochs, size_t seed) {
  const study_recipe *r = &s->recipe;
  bdpt_recipe p;
  memset(&p, 0, sizeof p);
  p.epochs = epochs;
  p.batch = r->batch;
  p.epoch_images = r->epoch < s->base.in.rest.count ? r->epoch : 0;
  p.lr = r->lr;
  p.warmup = r->warmup;
  p.weight_decay = r->weight_decay;
  p.smoothing = r->smoothing;
  p.crop = r->crop;
  p.flip = r->flip;
  p.clip = r->clip;
  p.seed = 1000 * (uint64_t)seed;
  return p;
}

static bdpt_status study_narrow(study *s, bdpt_model *m, double macs);

/* The dense network with the layers gone and their places taken. */
static bdpt_model *study_pruned(study *s, const study_spec *p) {
  bdpt_model *m = bdpt_model_clone(s->dense);
  int t, l;
  bdpt_layers gone = {{0, 0}};
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  if (m) m->config.attn_form = p->form;
  if (m) m->config.extra_gelu = p->gelu;
  for (t = 0; t < 2; t++)
    for (l = 0; l < s->base.depth; l++)
      if (p->which[t][l]) bdpt_layers_add(&gone, (bdpt_type)t, l);
  if (status == BDPT_OK)
    status = bdpt_remove(m, &gone, study_starts[p->start].start, &s->base.in.rest);
  if (status == BDPT_OK && p->macs > 0) status = study_narrow(s, m, p->macs);
  if (status == BDPT_OK) return m;
  bdpt_model_free(m);
  return NULL;
}

/* Trains until so many steps are done, saving about once a minute and when asked to stop. */
static bdpt_status study_steps(study *s, bdpt_trainer *t, size_t until, size_t total,
                               const char *detail, const char *checkpoint) {
  size_t per_epoch = bdpt_trainer_steps_per_epoch(t), images = s->recipe.epoch, saved = 0, done;
  bdpt_progress now;
  bdpt_status status = BDPT_OK;
  memset(&now, 0, sizeof now);
  now.phase = "train";
  now.detail = detail;
  now.unit = "images";
  now.accuracy = NAN;
  while (status == BDPT_OK && (done = bdpt_trainer_steps_done(t)) < until) {
    int stop;
    status = bdpt_trainer_step(t, &now.loss);
    now.done = (done + 1) * images / per_epoch;
    now.total = total * images / per_epoch;
    stop = cli_progress_hook(&now, &s->base.progress);
    saved += images / per_epoch;
    if (status != BDPT_OK || !checkpoint || (!stop && saved < 20000)) {
      if (stop && status == BDPT_OK) status = BDPT_CANCELLED;
      continue;
    }
    status = bdpt_trainer_save(t, checkpoint);
    saved = 0;
    if (stop && status == BDPT_OK) status = BDPT_CANCELLED;
  }
  return status;
}

/* Measures and records a mark, unless the record has it. */
static bdpt_status study_mark(study *s, bdpt_model *m, const char *name, int epoch) {
  cli_json *j = &s->base.record.text;
  bdpt_accuracy a;
  bdpt_status status;
  if (study_find(s, "mark", "name", name, "epoch", epoch).text) return BDPT_OK;
  status = bdpt_evaluate(m, &s->base.in.held, &a);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "mark");
  cli_json_text(j, "name", name);
  cli_json_real(j, "epoch", epoch);
  cli_json_real(j, "accuracy", a.top1);
  cli_json_real(j, "loss", a.loss);
  cli_json_close(j);
  return record_save(&s->base.record);
}

/* The last line of a network: what it costs once it is fused, and how it does on the test images,
 * which it meets here for the only time. */
static bdpt_status study_finish_network(study *s, bdpt_model *m, const char *name) {
  cli_json *j = &s->base.record.text;
  bdpt_model *fused = bdpt_model_clone(m);
  bdpt_cost_report cost;
  bdpt_accuracy a;
  bdpt_status status = fused ? bdpt_fuse_all(fused) : s->base.ctx->status;
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &fused->config, &cost);
  if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.tested, &a);
  bdpt_model_free(fused);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "network");
  cli_json_text(j, "name", name);
  cli_json_text(j, "dense", s->hash);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_real(j, "test", a.top1);
  cli_json_real(j, "test_images", (double)a.count);
  cli_json_close(j);
  return record_save(&s->base.record);
}

static void study_teacher_path(const study *s, char *out, size_t room) {
  snprintf(out, room, "%s/teacher.safetensors", s->o.out);
}

/* The training of a job, mark by mark. */
static bdpt_status study_train(study *s, bdpt_model *m, bdpt_model *teacher, const study_spec *p,
                               const char *name) {
  bdpt_recipe r = study_training(s, p->marks->layer[p->marks->count - 1], p->seed);
  char checkpoint[800], detail[60];
  bdpt_trainer *t;
  size_t each;
  int i;
  bdpt_status status;
  if (teacher) r.distill = p->teacher == STUDY_HARD ? BDPT_DISTILL_HARD : BDPT_DISTILL_SOFT;
  if (p->lr > 0) r.lr = p->lr;
  r.distill_features = p->features;
  r.distill_alpha = s->recipe.distill_alpha;
  r.distill_tau = s->recipe.distill_tau;
  status = study_mark(s, m, name, 0);
  t = status == BDPT_OK ? bdpt_trainer_create(m, teacher, &s->base.in.rest, &r) : NULL;
  if (!t) return s->base.ctx->status;
  study_checkpoint(s, name, checkpoint, sizeof checkpoint);
  if (cli_file_exists(checkpoint)) status = bdpt_trainer_load(t, checkpoint);
  each = bdpt_trainer_steps_per_epoch(t);
  snprintf(detail, sizeof detail, "%d+%d removed, %s, seed %zu", bdpt_removed(&m->config, 0),
           bdpt_removed(&m->config, 1), study_starts[p->start].name, p->seed);
  for (i = 0; i < p->marks->count && status == BDPT_OK; i++) {
    status = study_steps(s, t, each * (size_t)p->marks->layer[i], each * (size_t)r.epochs, detail,
                         checkpoint);
    if (status == BDPT_OK) status = study_mark(s, m, name, p->marks->layer[i]);
  }
  bdpt_trainer_free(t);
  return status;
}

/* Makes sure that the network's lines are in the record. */
static bdpt_status study_network(study *s, const study_spec *p) {
  char name[STUDY_NAME], path[800], checkpoint[800];
  bdpt_model *m, *teacher = NULL;
  bdpt_status status = BDPT_OK;
  int known, kept;
  study_name(s, p, name);
  study_teacher_path(s, path, sizeof path);
  known = study_find(s, "network", "name", name, NULL, 0).text != NULL;
  kept = strcmp(name, s->keep) == 0;
  if (known && (!kept || cli_file_exists(path))) return BDPT_OK;
  m = study_pruned(s, p);
  if (!m) return s->base.ctx->status;
  if (p->teacher == STUDY_OWN) {
    teacher = bdpt_model_load(s->base.ctx, path, NULL);
    if (!teacher) status = s->base.ctx->status;
  }
  if (status == BDPT_OK)
    status = study_train(s, m, p->teacher == STUDY_ALONE ? NULL : teacher ? teacher : s->dense, p,
                         name);
  if (status == BDPT_OK && kept) status = bdpt_model_save(m, path, BDPT_F32);
  if (status == BDPT_OK && !known) status = study_finish_network(s, m, name);
  study_checkpoint(s, name, checkpoint, sizeof checkpoint);
  if (status == BDPT_OK) remove(checkpoint);
  bdpt_model_free(teacher);
  bdpt_model_free(m);
  return status;
}

/* The end of a result's line: layers, marks with 0 for "at once", held-out accuracy at each, test
 * accuracy, cost. Returns the accuracy at the last mark. */
static double study_tail(study *s, const study_spec *p) {
  cli_json *j = &s->base.record.text;
  double mark[BDPT_MAX_MARKS + 1], accuracy[BDPT_MAX_MARKS + 1];
  char name[STUDY_NAME];
  int layer[BDPT_MAX_DEPTH], i, n = p->marks->count, t;
  record_line network;
  study_name(s, p, name);
  network = study_find(s, "network", "name", name, NULL, 0);
  for (i = 0; i <= n; i++) {
    mark[i] = i ? p->marks->layer[i - 1] : 0;
    accuracy[i] = record_real(study_find(s, "mark", "name", name, "epoch", mark[i]), "accuracy",
                              NAN);
  }
  cli_json_real(j, "seed", (double)p->seed);
  for (t = 0; t < 2; t++)
    cli_json_ints(j, run_type[t], layer, study_layers(p->which[t], s->base.depth, layer));
  cli_json_reals(j, "marks", mark, n + 1);
  cli_json_reals(j, "accuracy", accuracy, n + 1);
  cli_json_real(j, "test", record_real(network, "test", NAN));
  cli_json_real(j, "params", record_real(network, "params", NAN));
  cli_json_real(j, "macs", record_real(network, "macs", NAN));
  cli_json_close(j);
  return accuracy[n];
}

/* "4.2 55.1 60.0" from a result's line. */
static void study_say_curve(study *s, record_line line) {
  double a[BDPT_MAX_MARKS + 1];
  int n = record_reals(line, "accuracy", a, BDPT_MAX_MARKS + 1), i;
  for (i = 0; i < n; i++) run_say(&s->base, " %6.2f", a[i]);
  run_say(&s->base, "   test %.2f\n", record_real(line, "test", NAN));
}

/* =================================================================================================
 * 4  PARTS 1 TO 4: THE DENSE NETWORK AND THE TWO OBSERVATIONS
 * ============================================================================================== */

static const char *study_file(study *s, const char *name) {
  snprintf(s->base.path, sizeof s->base.path, "%s/%s", s->o.out, name);
  return s->base.path;
}

/* Hooks for a long call of the library, whose checkpoint has this name. */
static bdpt_hooks study_hooks(study *s, const char *checkpoint) {
  snprintf(s->base.checkpoint, sizeof s->base.checkpoint, "%s/%s.ckpt", s->o.out, checkpoint);
  return cli_hooks(&s->base.progress, s->base.checkpoint);
}

/* The lines of a finished call go to the disk, then its checkpoint may go. */
static bdpt_status study_save(study *s, const char *checkpoint) {
  char path[800];
  bdpt_status status = record_save(&s->base.record);
  snprintf(path, sizeof path, "%s/%s.ckpt", s->o.out, checkpoint);
  if (status == BDPT_OK) cli_forget_checkpoint(path);
  return status;
}

/* ---- 1  The dense network ---- */

static bdpt_recipe study_dense_recipe(const study *s) {
  const study_recipe *r = &s->recipe;
  bdpt_recipe p = study_training(s, r->dense_epochs, s->o.common.seed);
  p.batch = r->dense_batch;
  p.epoch_images = r->dense_images < s->base.in.rest.count ? r->dense_images : 0;
  p.lr = r->dense_lr;
  p.warmup = r->dense_warmup;
  p.mixup = r->dense_mixup;
  p.cutmix = r->dense_cutmix;
  p.mix_prob = r->dense_mix_prob;
  p.erase = r->dense_erase;
  p.drop_path = r->dense_drop_path;
  return p;
}

static bdpt_status study_dense_train(study *s) {
  bdpt_recipe p = study_dense_recipe(s);
  bdpt_epoch *log = (bdpt_epoch *)calloc((size_t)p.epochs + 1, sizeof *log);
  bdpt_hooks hooks = study_hooks(s, "dense");
  bdpt_status status = log ? BDPT_OK : BDPT_E_MEMORY;
  hooks.checkpoint_images = 20000;
  if (status == BDPT_OK && s->recipe.dense_epochs > 0)
    status = bdpt_train(s->dense, NULL, &s->base.in.rest, &s->base.in.held, &p, &hooks, log);
  if (status == BDPT_OK) bdpt_model_hash(s->dense, s->hash);
  if (status == BDPT_OK)
    status = bdpt_model_save(s->dense, study_file(s, "dense.safetensors"), BDPT_F32);
  if (status == BDPT_OK && !study_find(s, "dense", NULL, NULL, NULL, 0).text)
    run_record_epochs(&s->base, "dense", log, s->recipe.dense_epochs);
  free(log);
  return status;
}

/* Loads the dense network, or trains it; a network that its seed does not reproduce is an error,
 * because every other line of the record hangs on it. */
static bdpt_status study_dense(study *s) {
  record_line line = study_find(s, "dense", NULL, NULL, NULL, 0);
  cli_json *j = &s->base.record.text;
  const char *path = study_file(s, "dense.safetensors");
  bdpt_accuracy held, test;
  bdpt_cost_report cost;
  char before[20];
  bdpt_status status = BDPT_OK;
  record_text(line, "hash", before, sizeof before);
  if (line.text && cli_file_exists(path)) {
    bdpt_model_free(s->dense);
    s->dense = bdpt_model_load(s->base.ctx, path, NULL);
    if (!s->dense) return s->base.ctx->status;
    bdpt_model_hash(s->dense, s->hash);
  } else {
    status = study_dense_train(s);
  }
  if (status == BDPT_OK && line.text && strcmp(before, s->hash) != 0)
    return study_fail(s->base.ctx, BDPT_E_FORMAT, "the dense network has the hash %s, the one of "
                      "the record had %s: another compiler or processor, or another file; --fresh "
                      "starts again", s->hash, before);
  if (status != BDPT_OK || line.text) return status;
  status = bdpt_evaluate(s->dense, &s->base.in.held, &held);
  if (status == BDPT_OK) status = bdpt_evaluate(s->dense, &s->base.in.tested, &test);
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &s->dense->config, &cost);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "dense");
  cli_json_text(j, "hash", s->hash);
  cli_json_real(j, "epochs", s->recipe.dense_epochs);
  cli_json_real(j, "accuracy", held.top1);
  cli_json_real(j, "top5", held.top5);
  cli_json_real(j, "loss", held.loss);
  cli_json_real(j, "images", (double)held.count);
  cli_json_real(j, "test", test.top1);
  cli_json_real(j, "test_top5", test.top5);
  cli_json_real(j, "test_images", (double)test.count);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_close(j);
  return study_save(s, "dense");
}

static double study_dense_accuracy(const study *s, const char *key) {
  return record_real(study_find(s, "dense", NULL, NULL, NULL, 0), key, NAN);
}

static void study_tell_dense(study *s) {
  run_say(&s->base, "   %d epochs; held-out %.2f %%, test %.2f %% (top 5: %.2f %%), hash %s\n",
          record_int(study_find(s, "dense", NULL, NULL, NULL, 0), "epochs", 0),
          study_dense_accuracy(s, "accuracy"), study_dense_accuracy(s, "test"),
          study_dense_accuracy(s, "test_top5"), s->hash);
}

/* ---- 2  Gradient disparity ---- */

/* Geometric mean; values that are not positive are left out. */
static double study_middle(const double *v, int n) {
  double sum = 0;
  int i, used = 0;
  for (i = 0; i < n; i++)
    if (v[i] > 0) sum += log(v[i]), used++;
  return used ? exp(sum / used) : NAN;
}

/* Trains a copy with the scalars on; a line per window, and the scalars at the end. */
static bdpt_status study_gradient_rows(study *s, double importance[2][BDPT_MAX_DEPTH]) {
  bdpt_recipe p = study_training(s, s->recipe.gradient_epochs, s->o.common.seed);
  bdpt_model *m = bdpt_model_clone(s->dense);
  cli_json *j = &s->base.record.text;
  bdpt_trainer *t = NULL;
  size_t step, end = 0, window = (size_t)s->recipe.gradient_window;
  bdpt_status status = BDPT_OK;
  int i;
  p.importance = 1;
  if (m) t = bdpt_trainer_create(m, NULL, &s->base.in.rest, &p);
  if (t) end = bdpt_trainer_steps_per_epoch(t) * (size_t)p.epochs;
  else status = s->base.ctx->status;
  for (step = window; step <= end && status == BDPT_OK; step += window) {
    double g[2][BDPT_MAX_DEPTH];
    status = study_steps(s, t, step, end, "gradients", NULL);
    if (status != BDPT_OK) break;
    bdpt_trainer_importance(t, g);
    cli_json_open(j, "disparity");
    cli_json_real(j, "step", (double)step);
    for (i = 0; i < 2; i++) cli_json_reals(j, run_type[i], g[i], s->base.depth);
    cli_json_close(j);
  }
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++)
    importance[i % 2][i / 2] = (double)*m->importance[i % 2][i / 2].data;
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  return status;
}

/* The gap between the types and what it is made of: root of F/D (theorem 4: the activation sums
 * over F numbers a token, attention over D), the root of the ratio of E[(f - r)^2], and the rest,
 * which is how strongly the loss reaches each. `adam` is what is left of the gap in the learned
 * scalars. */
static void study_record_gap(study *s, const baseline_walk *walk,
                             double importance[2][BDPT_MAX_DEPTH]) {
  cli_json *j = &s->base.record.text;
  const bdpt_block *b = &s->dense->config.block[0];
  double g[2][BDPT_MAX_DEPTH], mean[2], change[2], raw, size, variance, learned[2] = {0, 0};
  int t, l;
  run_mean_gradients(&s->base, g);
  for (t = 0; t < 2; t++) {
    mean[t] = study_middle(g[t], s->base.depth);
    change[t] = study_middle(walk->change[t], s->base.depth);
    for (l = 0; l < s->base.depth; l++) learned[t] += fabs(importance[t][l]) / s->base.depth;
  }
  raw = mean[1] / mean[0];
  size = sqrt((double)b->mlp / s->dense->config.width);
  variance = sqrt(change[1] / change[0]);
  cli_json_open(j, "learned");
  for (t = 0; t < 2; t++) cli_json_reals(j, run_type[t], importance[t], s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "change");
  for (t = 0; t < 2; t++) cli_json_reals(j, run_type[t], walk->change[t], s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "similarity");
  for (t = 0; t < 2; t++) cli_json_reals(j, run_type[t], walk->cosine[t], s->base.depth);
  cli_json_close(j);
  cli_json_open(j, "gap");
  cli_json_real(j, "raw", raw);
  cli_json_real(j, "size", size);
  cli_json_real(j, "variance", variance);
  cli_json_real(j, "rest", raw / size / variance);
  cli_json_real(j, "adam", learned[1] / learned[0]);
  cli_json_close(j);
}

/* `count` training images, the same for every caller. */
static bdpt_status study_sample(study *s, size_t count, bdpt_subset *out) {
  if (count == 0 || count > s->base.in.rest.count) count = s->base.in.rest.count;
  return bdpt_sample(s->base.ctx, &s->base.in.rest, count, INPUT_SPLIT_SEED, out);
}

static bdpt_status study_gradients(study *s) {
  double importance[2][BDPT_MAX_DEPTH];
  size_t before = s->base.record.text.used;
  baseline_walk walk;
  bdpt_subset some;
  bdpt_status status;
  memset(&some, 0, sizeof some);
  status = study_gradient_rows(s, importance);
  if (status == BDPT_OK) status = study_sample(s, s->recipe.gradient_images, &some);
  if (status == BDPT_OK) status = baseline_look(s->dense, &some, &walk);
  bdpt_subset_free(s->base.ctx, &some);
  if (status == BDPT_OK) study_record_gap(s, &walk, importance);
  else s->base.record.text.used = before;
  return status;
}

static void study_tell_gradients(study *s) {
  record_line l = study_find(s, "gap", NULL, NULL, NULL, 0);
  double published[2], g[2][BDPT_MAX_DEPTH], raw = record_real(l, "raw", NAN);
  int t;
  run_mean_gradients(&s->base, g);
  run_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    run_say_layers(&s->base, run_type[t], g[t], " %5.2g");
    published[t] = study_middle(report_paper_gradient[t], 12);
  }
  run_say(&s->base, "   Activation over attention: %.2f (published %.0f). Of that, the number of "
          "features\n   makes %.2f, the variance of f - r %.2f, the reach of the loss %.2f. AdamW "
          "leaves %.2f\n   in the learned scalars.\n", raw, published[1] / published[0],
          record_real(l, "size", NAN), record_real(l, "variance", NAN),
          record_real(l, "rest", NAN), record_real(l, "adam", NAN));
}

/* ---- 3  Recovery asymmetry ---- */

static bdpt_status study_recovery(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  const cli_layers *marks = &s->recipe.recovery_marks;
  cli_json *j = &s->base.record.text;
  bdpt_recovery_options o;
  bdpt_hooks hooks = study_hooks(s, "recovery");
  bdpt_status status;
  double mark[BDPT_MAX_MARKS];
  int i;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, 1, s->o.common.seed);
  for (o.marks = 0; o.marks < marks->count; o.marks++)
    mark[o.marks] = o.mark[o.marks] = marks->layer[o.marks];
  status = bdpt_recovery(s->dense, &s->base.in.rest, &s->base.in.held, &o, &hooks, row);
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++) {
    cli_json_open(j, "recovery");
    cli_json_text(j, "type", run_type[row[i].layer.type]);
    cli_json_real(j, "layer", row[i].layer.block);
    cli_json_real(j, "before", row[i].before);
    cli_json_real(j, "at_once", row[i].at_once);
    cli_json_reals(j, "marks", mark, o.marks);
    cli_json_reals(j, "after", row[i].after, o.marks);
    cli_json_real(j, "images", (double)s->recipe.epoch);
    cli_json_close(j);
  }
  return status == BDPT_OK ? study_save(s, "recovery") : status;
}

/* The rows again, from the record; and the orders of removal at the last mark. */
static int study_rows(study *s, bdpt_recovery_row *row) {
  int i, t, mark = s->recipe.recovery_marks.count - 1;
  memset(row, 0, 2 * (size_t)s->base.depth * sizeof row[0]);
  for (i = 0; i < 2 * s->base.depth; i++) {
    record_line l = record_get(&s->base.record, "recovery", i);
    row[i].layer.type = record_is(l, "type", run_type[1]) ? BDPT_ACTIVATION : BDPT_ATTENTION;
    row[i].layer.block = record_int(l, "layer", 0);
    row[i].before = record_real(l, "before", NAN);
    row[i].at_once = record_real(l, "at_once", NAN);
    record_reals(l, "after", row[i].after, BDPT_MAX_MARKS);
  }
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, s->base.depth, mark, t, s->order[t]);
  return mark;
}

static void study_tell_recovery(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double value[BDPT_MAX_DEPTH], once[BDPT_MAX_DEPTH];
  int last = study_rows(s, row), depth = s->base.depth, t, k, l;
  run_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    for (k = -1; k <= last; k++) {
      char label[40];
      for (l = 0; l < depth; l++) {
        const bdpt_recovery_row *r = &row[t * depth + l];
        value[l] = k < 0 ? r->at_once : r->after[k];
        if (k < 0) once[l] = value[l];
      }
      if (k < 0) snprintf(label, sizeof label, "no %s, at once", t ? "GELU" : "attention");
      else snprintf(label, sizeof label, "  after %d", s->recipe.recovery_marks.layer[k]);
      run_say_layers(&s->base, label, value, "%6.1f");
    }
    run_say(&s->base, "   rank correlation of the first and the last line: %.2f\n",
            run_rank_correlation(once, value, depth));
  }
}

/* ---- 4  Dimension mismatch ---- */

static bdpt_status study_mismatch(study *s) {
  cli_json *j = &s->base.record.text;
  bdpt_model *m = bdpt_model_clone(s->dense);
  int i, refused = 0;
  char first[2][400];
  if (!m) return s->base.ctx->status;
  for (i = 0; i < 2 * s->base.depth; i++) {
    refused += bdpt_prune_linear(m, i / 2, 1 + i % 2) == BDPT_E_SHAPE;
    if (i < 2) snprintf(first[i], sizeof first[i], "%s", s->base.ctx->message);
    bdpt_clear_error(s->base.ctx);
  }
  bdpt_model_free(m);
  for (i = 0; i < 2; i++) {
    cli_json_open(j, "mismatch");
    cli_json_text(j, "linear", i ? "fc2" : "fc1");
    cli_json_text(j, "message", first[i]);
    cli_json_real(j, "width", s->dense->config.width);
    cli_json_real(j, "hidden", s->dense->config.block[0].mlp);
    cli_json_real(j, "asked", 2 * s->base.depth);
    cli_json_real(j, "refused", refused);
    cli_json_close(j);
  }
  return BDPT_OK;
}

static void study_tell_mismatch(study *s) {
  char text[400];
  int i;
  for (i = 0; i < 2; i++) {
    record_line l = study_find(s, "mismatch", "linear", i ? "fc2" : "fc1", NULL, 0);
    record_text(l, "message", text, sizeof text);
    run_say(&s->base, "   %s: %s\n", i ? "fc2" : "fc1", text);
    if (i == 0) continue;
    run_say(&s->base, "   %d of %d single linears are refused.\n", record_int(l, "refused", 0),
            record_int(l, "asked", 0));
  }
}

/* =================================================================================================
 * 5  PARTS 5 AND 6: HOW MANY, AND WHICH
 * ============================================================================================== */

/* ---- 5  The model accuracy predictor ---- */

/* Collection k: one per seed from the paper's start, and one more from the fit. */
static int study_collections(const study *s) { return s->recipe.seeds + (s->recipe.map_fit != 0); }

static const char *study_collection(const study *s, int k, size_t *seed) {
  *seed = s->o.common.seed + (size_t)(k < s->recipe.seeds ? k : 0);
  return study_starts[k < s->recipe.seeds ? STUDY_PAPER : STUDY_SKIP_FIT].name;
}

static bdpt_status study_collect(study *s, const char *start, size_t seed) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  bdpt_map_collect_options o;
  cli_json *j = &s->base.record.text;
  int which = study_start(start);
  char name[60];
  bdpt_hooks hooks;
  bdpt_model *m;
  size_t n = 0, i;
  bdpt_status status;
  if (study_find(s, "collected", "start", start, "seed", (double)seed).text) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, s->recipe.map_epochs, seed);
  o.most = s->recipe.map_most;
  o.rounds = s->recipe.map_rounds;
  o.use_order = 1;
  o.start = study_starts[which].start;
  memcpy(o.order, s->order, sizeof o.order);
  m = bdpt_model_clone(s->dense);
  if (!m) return s->base.ctx->status;
  m->config.attn_form = study_starts[which].form;
  snprintf(name, sizeof name, "map-%s-%zu", start, seed);
  hooks = study_hooks(s, name);
  status = bdpt_map_collect(m, &s->base.in.rest, &s->base.in.held, &o, &hooks, point,
                            sizeof point / sizeof point[0], &n);
  bdpt_model_free(m);
  for (i = 0; i < n && status == BDPT_OK; i++) {
    cli_json_open(j, "collected");
    cli_json_text(j, "start", start);
    cli_json_real(j, "seed", (double)seed);
    cli_json_real(j, "attention", point[i].attention);
    cli_json_real(j, "activation", point[i].activation);
    cli_json_real(j, "accuracy", point[i].accuracy);
    cli_json_close(j);
  }
  return status == BDPT_OK ? study_save(s, name) : status;
}

static size_t study_points(const study *s, const char *start, size_t seed, bdpt_map_point *point,
                           size_t room) {
  record_line line;
  size_t at = 0, n = 0;
  while ((line = study_next(s, &at)).text && n < room) {
    if (!record_is(line, "kind", "collected") || !record_is(line, "start", start) ||
        record_real(line, "seed", -1) != (double)seed) continue;
    point[n].attention = record_real(line, "attention", NAN);
    point[n].activation = record_real(line, "activation", NAN);
    point[n++].accuracy = record_real(line, "accuracy", NAN);
  }
  return n;
}

static void study_record_surface(study *s, const char *start, size_t seed, const bdpt_map *map) {
  cli_json *j = &s->base.record.text;
  double power[2 * BDPT_MAP_TERMS];
  int k, a, g;
  for (k = 0; k < map->terms; k++) {
    bdpt_map_term(k, &a, &g);
    power[2 * k] = a;
    power[2 * k + 1] = g;
  }
  cli_json_open(j, "surface");
  cli_json_text(j, "start", start);
  cli_json_real(j, "seed", (double)seed);
  cli_json_real(j, "degree", map->degree);
  cli_json_reals(j, "terms", power, 2 * map->terms);
  cli_json_reals(j, "theta", map->theta, map->terms);
  cli_json_reals(j, "cv_rmse", map->cv_rmse + 1, 4);
  cli_json_real(j, "fit_rmse", map->fit_rmse);
  cli_json_close(j);
}

/* Surface, splits and noise of one collection. The noise study is the published one: trials with
 * clipped normal noise on the accuracies, the degree chosen anew in each. */
static bdpt_status study_split(study *s, const char *start, size_t seed) {
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  const study_recipe *r = &s->recipe;
  cli_json *j = &s->base.record.text;
  size_t n = study_points(s, start, seed, point, sizeof point / sizeof point[0]);
  bdpt_map_noise_report noise;
  bdpt_map map;
  double predicted;
  int i, a, g;
  bdpt_status status = bdpt_map_fit(s->base.ctx, point, n, NULL, &map);
  if (status == BDPT_OK) study_record_surface(s, start, seed, &map);
  for (i = 0; i < r->map_budgets.count && status == BDPT_OK; i++) {
    int budget = r->map_budgets.layer[i];
    status = bdpt_map_split(s->base.ctx, &map, s->base.depth, budget, &a, &g, &predicted);
    if (status == BDPT_OK)
      status = bdpt_map_noise(s->base.ctx, point, n, NULL, s->base.depth, budget, r->map_trials,
                              r->map_noise, r->map_clip, 1, &noise);
    if (status != BDPT_OK) break;
    cli_json_open(j, "split");
    cli_json_text(j, "start", start);
    cli_json_real(j, "seed", (double)seed);
    cli_json_real(j, "budget", budget);
    cli_json_real(j, "attention", a);
    cli_json_real(j, "activation", g);
    cli_json_real(j, "predicted", predicted);
    cli_json_real(j, "exact", noise.exact);
    cli_json_real(j, "one", noise.one);
    cli_json_real(j, "more", noise.more);
    cli_json_close(j);
  }
  return status;
}

static bdpt_status study_map(study *s) {
  bdpt_status status = BDPT_OK;
  size_t seed, before;
  int k;
  for (k = 0; k < study_collections(s) && status == BDPT_OK; k++) {
    const char *start = study_collection(s, k, &seed);
    status = study_collect(s, start, seed);
  }
  before = s->base.record.text.used;
  for (k = 0; k < study_collections(s) && status == BDPT_OK; k++) {
    const char *start = study_collection(s, k, &seed);
    if (!study_find(s, "split", "start", start, "seed", (double)seed).text)
      status = study_split(s, start, seed);
  }
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

static void study_tell_map(study *s) {
  size_t seed, at;
  int k;
  record_line line;
  for (k = 0; k < study_collections(s); k++) {
    const char *start = study_collection(s, k, &seed);
    line = study_find(s, "surface", "start", start, "seed", (double)seed);
    run_say(&s->base, "   start %s, seed %zu: degree %d;", start, seed,
            record_int(line, "degree", 0));
    for (at = 0; (line = study_next(s, &at)).text;)
      if (record_is(line, "kind", "split") && record_is(line, "start", start) &&
          record_real(line, "seed", -1) == (double)seed)
        run_say(&s->base, " %d: %d+%d", record_int(line, "budget", 0),
                record_int(line, "attention", 0), record_int(line, "activation", 0));
    run_say(&s->base, "\n");
  }
  for (at = 0; (line = study_next(s, &at)).text;)
    if (record_is(line, "kind", "split") && record_is(line, "start", "paper") &&
        record_real(line, "seed", -1) == (double)s->o.common.seed)
      run_say(&s->base, "   noise on the points, budget %d: the same split in %.1f %% of the "
              "trials, one layer off %.1f, more %.1f\n", record_int(line, "budget", 0),
              record_real(line, "exact", NAN), record_real(line, "one", NAN),
              record_real(line, "more", NAN));
  run_say(&s->base, "   (published, budget 8: 75.0, 5.2, 19.8)\n");
}

/* ---- 6  Which layers ---- */

enum { STUDY_LEARNED, STUDY_TRANSFER, STUDY_COSINE, STUDY_AT_ONCE, STUDY_GRADIENT, STUDY_RANDOM,
       STUDY_WAYS };
static const char *const study_way[STUDY_WAYS] = {"learned", "transfer entropy", "cosine",
                                                  "immediate accuracy", "gradient across types",
                                                  "random"};

/* The learned search of one seed, as a "searched" line. */
static bdpt_status study_search(study *s, size_t seed) {
  const int *remove_counts = s->recipe.which_remove.layer;
  cli_json *j = &s->base.record.text;
  bdpt_search_options o;
  bdpt_search_result found;
  char name[40];
  bdpt_hooks hooks;
  bdpt_model *m;
  bdpt_status status;
  int i, t, layer[2][BDPT_MAX_DEPTH], n[2] = {0, 0};
  if (study_find(s, "searched", NULL, NULL, "seed", (double)seed).text) return BDPT_OK;
  memset(&o, 0, sizeof o);
  o.recipe = study_training(s, 1, seed);
  for (t = 0; t < 2; t++) o.remove[t] = remove_counts[t];
  for (i = 0; i < o.remove[0] + o.remove[1]; i++) o.stage[i] = s->recipe.which_stage;
  m = bdpt_model_clone(s->dense);
  if (!m) return s->base.ctx->status;
  snprintf(name, sizeof name, "search-%zu", seed);
  hooks = study_hooks(s, name);
  status = bdpt_search(m, &s->base.in.rest, &s->base.in.held, &o, &hooks, &found);
  bdpt_model_free(m);
  if (status != BDPT_OK) return status;
  for (i = 0; i < found.removed; i++) {
    int type = found.layer[i].type;
    layer[type][n[type]++] = found.layer[i].block;
  }
  cli_json_open(j, "searched");
  cli_json_real(j, "seed", (double)seed);
  for (t = 0; t < 2; t++) cli_json_ints(j, run_type[t], layer[t], n[t]);
  cli_json_close(j);
  return study_save(s, name);
}

/* Transfer entropies are measured once and kept as a line. */
static bdpt_status study_transfer(study *s) {
  double score[2][BDPT_MAX_DEPTH];
  bdpt_subset some;
  bdpt_status status;
  int t;
  if (study_find(s, "transfer", NULL, NULL, NULL, 0).text) return BDPT_OK;
  memset(&some, 0, sizeof some);
  status = study_sample(s, s->recipe.which_images, &some);
  if (status == BDPT_OK) status = baseline_transfer(s->dense, &some, score);
  bdpt_subset_free(s->base.ctx, &some);
  if (status != BDPT_OK) return status;
  cli_json_open(&s->base.record.text, "transfer");
  for (t = 0; t < 2; t++)
    cli_json_reals(&s->base.record.text, run_type[t], score[t], s->base.depth);
  cli_json_close(&s->base.record.text);
  return record_save(&s->base.record);
}

/* The layers that a way of choosing names. */
static void study_choose(study *s, int way, size_t seed, int which[2][BDPT_MAX_DEPTH]) {
  static const char *const kind[STUDY_WAYS] = {"searched", "transfer", "similarity", "", "", ""};
  double score[2][BDPT_MAX_DEPTH], list[BDPT_MAX_DEPTH];
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  int t, l, n, depth = s->base.depth;
  memset(which, 0, 2 * sizeof which[0]);
  memset(score, 0, sizeof score);
  study_rows(s, row);
  if (way == STUDY_GRADIENT) run_mean_gradients(&s->base, score);
  if (way == STUDY_RANDOM) baseline_random(seed, score);
  for (t = 0; t < 2; t++) {
    record_line line = study_find(s, kind[way], NULL, NULL, way == STUDY_LEARNED ? "seed" : NULL,
                                  (double)seed);
    n = record_reals(line, run_type[t], list, BDPT_MAX_DEPTH);
    for (l = 0; l < n && way == STUDY_LEARNED; l++) which[t][(int)list[l]] = 1;
    for (l = 0; l < depth; l++) {
      if (way == STUDY_TRANSFER) score[t][l] = list[l];
      if (way == STUDY_COSINE) score[t][l] = -list[l]; /* the most alike goes first */
      if (way == STUDY_AT_ONCE) score[t][l] = -row[t * depth + l].at_once;
    }
  }
  if (way != STUDY_LEARNED)
    baseline_take(score, depth, s->recipe.which_remove.layer, way == STUDY_GRADIENT, which);
}

static bdpt_status study_which(study *s) {
  bdpt_status status = study_transfer(s);
  size_t before;
  int k, way, round;
  for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++)
    status = study_search(s, s->o.common.seed + (size_t)k);
  before = s->base.record.text.used;
  for (round = 0; round < 2; round++) { /* first all networks, then all lines */
    for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++)
      for (way = 0; way < STUDY_WAYS && status == BDPT_OK; way++) {
        study_spec p = study_spec_of(s, STUDY_PAPER, &s->recipe.which_marks, k);
        study_choose(s, way, p.seed, p.which);
        if (round == 0) status = study_network(s, &p);
        if (round == 0 || study_find(s, "ranking", "way", study_way[way], "seed",
                                     (double)p.seed).text) continue;
        cli_json_open(&s->base.record.text, "ranking");
        cli_json_text(&s->base.record.text, "way", study_way[way]);
        study_tail(s, &p);
      }
    if (round == 0) before = s->base.record.text.used;
  }
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

/* "learned    60.12 +- 0.31": the last accuracy of the lines of a kind whose key is this text. */
static void study_say_spread(study *s, const char *kind, const char *key, const char *text,
                             const char *number, double value) {
  double a[BDPT_MAX_MARKS + 1], sum = 0, square = 0, last;
  record_line line;
  size_t at = 0;
  int n = 0, count;
  while ((line = study_next(s, &at)).text) {
    if (!record_is(line, "kind", kind) || !record_is(line, key, text) ||
        (number && record_real(line, number, NAN) != value)) continue;
    count = record_reals(line, "accuracy", a, BDPT_MAX_MARKS + 1);
    if (count == 0) continue;
    last = a[count - 1];
    sum += last;
    square += last * last;
    n++;
  }
  if (n == 0) return;
  square = n > 1 ? sqrt(fmax(0, (square - sum * sum / n) / (n - 1))) : 0;
  run_say(&s->base, "   %-24s %6.2f", text, sum / n);
  if (n > 1) run_say(&s->base, " +- %.2f", square);
  run_say(&s->base, "\n");
}

static void study_tell_which(study *s) {
  int way;
  run_say(&s->base, "   %d + %d layers gone, held-out accuracy after training, deviation over "
          "seeds:\n", s->recipe.which_remove.layer[0], s->recipe.which_remove.layer[1]);
  for (way = 0; way < STUDY_WAYS; way++)
    study_say_spread(s, "ranking", "way", study_way[way], NULL, 0);
}

/* =================================================================================================
 * 6  PARTS 7 AND 8: ACCURACY AGAINST SPEED
 * ============================================================================================== */

/* Times the dense network beside a pruned and fused one, and writes the line's end. */
static bdpt_status study_time(study *s, bdpt_model *dense, bdpt_model *pruned, int repeats) {
  cli_json *j = &s->base.record.text;
  bdpt_cost_report cost[2];
  bdpt_model *pair[2];
  run_time time[2];
  bdpt_status status = bdpt_fuse_all(pruned);
  pair[0] = dense;
  pair[1] = pruned;
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &dense->config, &cost[0]);
  if (status == BDPT_OK) status = bdpt_cost(s->base.ctx, &pruned->config, &cost[1]);
  s->base.ctx->bf16 = 0; /* times are those of floats, whatever the accuracies are made with */
  if (status == BDPT_OK) status = run_measure(&s->base, pair, 2, repeats, time);
  s->base.ctx->bf16 = s->recipe.bf16 || s->o.common.bf16;
  if (status != BDPT_OK) return status;
  cli_json_real(j, "attention", bdpt_removed(&pruned->config, 0));
  cli_json_real(j, "activation", bdpt_removed(&pruned->config, 1));
  cli_json_real(j, "speedup", time[0].ms / time[1].ms);
  cli_json_real(j, "speedup_low", time[0].low / time[1].high);
  cli_json_real(j, "speedup_high", time[0].high / time[1].low);
  cli_json_real(j, "dense_ms", time[0].ms);
  cli_json_real(j, "ms", time[1].ms);
  cli_json_real(j, "ms_low", time[1].low);
  cli_json_real(j, "ms_high", time[1].high);
  cli_json_real(j, "batch", RUN_BATCH);
  cli_json_real(j, "dense_macs", cost[0].macs);
  cli_json_real(j, "macs", cost[1].macs);
  cli_json_real(j, "params", (double)cost[1].params);
  cli_json_close(j);
  return BDPT_OK;
}

/* ---- 7  One type or both ---- */

static const char *const study_mix[3] = {"attention", "activation", "joint"};

static study_spec study_types_spec(const study *s, int mix, int layers) {
  study_spec p = study_spec_of(s, STUDY_PAPER, &s->recipe.types_marks, 0);
  study_first(s, mix == 0 ? layers : mix == 1 ? 0 : layers / 2,
              mix == 1 ? layers : mix == 0 ? 0 : layers - layers / 2, &p);
  return p;
}

/* The control has no layer removed and the same training: what is lost there, training lost. */
static bdpt_status study_types(study *s) {
  const cli_layers *layers = &s->recipe.types_layers;
  cli_json *j = &s->base.record.text;
  study_spec control = study_types_spec(s, 0, 0);
  bdpt_status status = study_network(s, &control);
  size_t before;
  int i;
  for (i = 0; i < 3 * layers->count && status == BDPT_OK; i++) {
    study_spec p = study_types_spec(s, i % 3, layers->layer[i / 3]);
    status = study_network(s, &p);
  }
  before = j->used;
  cli_json_open(j, "control");
  study_tail(s, &control);
  for (i = 0; i < 3 * layers->count && status == BDPT_OK; i++) {
    study_spec p = study_types_spec(s, i % 3, layers->layer[i / 3]);
    bdpt_model *m = study_pruned(s, &p);
    if (!m) status = s->base.ctx->status;
    cli_json_open(j, "types");
    cli_json_text(j, "type", study_mix[i % 3]);
    cli_json_real(j, "layers", layers->layer[i / 3]);
    study_tail(s, &p);
    cli_json_open(j, "timing");
    cli_json_text(j, "model", study_mix[i % 3]);
    cli_json_real(j, "image", s->dense->config.image);
    if (m) status = study_time(s, s->dense, m, s->recipe.types_repeats);
    bdpt_model_free(m);
  }
  if (status != BDPT_OK) j->used = before;
  return status;
}

static void study_tell_types(study *s) {
  int i, t;
  run_say(&s->base, "   Measured speed-up; held-out accuracy at once and at the marks:\n"
          "   dense, trained on    ");
  study_say_curve(s, study_find(s, "control", NULL, NULL, NULL, 0));
  for (t = 0; t < 3; t++)
    for (i = 0; i < s->recipe.types_layers.count; i++) {
      int n = s->recipe.types_layers.layer[i];
      study_spec p = study_types_spec(s, t, n);
      record_line line = study_find(s, "types", "type", study_mix[t], "layers", n), time;
      int layer[BDPT_MAX_DEPTH];
      size_t at = 0;
      while ((time = study_next(s, &at)).text)
        if (record_is(time, "kind", "timing") && record_is(time, "model", study_mix[t]) &&
            record_int(time, "attention", -1) == study_layers(p.which[0], s->base.depth, layer) &&
            record_int(time, "activation", -1) == study_layers(p.which[1], s->base.depth, layer))
          break;
      run_say(&s->base, "   %-10s %2d  %5.2fx ", study_mix[t], n,
              record_real(time, "speedup", NAN));
      study_say_curve(s, line);
    }
}

/* ---- 8  Speed ---- */

static const char *const study_sizes[3] = {"tiny", "small", "base"};
static const int study_published[2][5] = {{0, 3, 7, 8, 11}, {2, 7, 8, 10, 11}}; /* DeiT-B, 5+5 */

/* The published sets hold five layers of a type; others are filled up from the first block on. For
 * time only the counts matter. */
static bdpt_status study_speed_prune(bdpt_model *m, const cli_layers *count) {
  bdpt_status status = BDPT_OK;
  int t, i, l;
  for (t = 0; t < 2; t++) {
    for (i = 0; i < 5 && i < count->layer[t] && status == BDPT_OK; i++)
      status = bdpt_prune(m, t, study_published[t][i]);
    for (l = 0; l < m->config.depth && bdpt_removed(&m->config, t) < count->layer[t] &&
         status == BDPT_OK; l++) {
      const bdpt_block *b = &m->config.block[l];
      int gone = t ? b->mlp_state != BDPT_MLP_KEPT : b->attention != BDPT_ATTENTION_KEPT;
      if (!gone) status = bdpt_prune(m, (bdpt_type)t, l);
    }
  }
  return status;
}

static bdpt_status study_speed_of(study *s, int size) {
  cli_json *j = &s->base.record.text;
  const cli_layers *count = &s->recipe.speed[size];
  char name[60];
  bdpt_config c;
  bdpt_model *dense = NULL, *pruned = NULL;
  size_t before = j->used;
  bdpt_status status;
  snprintf(name, sizeof name, "deit_%s_patch16_224", study_sizes[size]);
  if (count->count != 2 || study_find(s, "timing", "model", name, NULL, 0).text) return BDPT_OK;
  status = bdpt_config_named(s->base.ctx, name, &c);
  c.image = s->recipe.speed_image;
  if (status == BDPT_OK) dense = bdpt_model_create(s->base.ctx, &c, 1);
  if (dense) pruned = bdpt_model_clone(dense);
  if (!dense || !pruned) status = s->base.ctx->status;
  if (status == BDPT_OK) status = study_speed_prune(pruned, count);
  cli_json_open(j, "timing");
  cli_json_text(j, "model", name);
  cli_json_real(j, "image", c.image);
  if (status == BDPT_OK) status = study_time(s, dense, pruned, s->recipe.speed_repeats);
  bdpt_model_free(dense);
  bdpt_model_free(pruned);
  if (status != BDPT_OK) j->used = before;
  return status == BDPT_OK ? record_save(&s->base.record) : status;
}

static bdpt_status study_speed(study *s) {
  bdpt_status status = BDPT_OK;
  int size;
  for (size = 0; size < 3 && status == BDPT_OK; size++) status = study_speed_of(s, size);
  return status;
}

static void study_tell_speed(study *s) {
  static const char *const published[3] = {"", " (published 1.39)", " (published 1.58)"};
  int size;
  for (size = 0; size < 3; size++) {
    char name[60];
    record_line l;
    snprintf(name, sizeof name, "deit_%s_patch16_224", study_sizes[size]);
    l = study_find(s, "timing", "model", name, NULL, 0);
    if (!l.text) continue;
    run_say(&s->base, "   %-22s %d+%d removed: %.1f -> %.1f ms for %d images, %.2f times as fast "
            "(%.2f-%.2f)%s\n", name, record_int(l, "attention", 0), record_int(l, "activation", 0),
            record_real(l, "dense_ms", NAN), record_real(l, "ms", NAN), RUN_BATCH,
            record_real(l, "speedup", NAN), record_real(l, "speedup_low", NAN),
            record_real(l, "speedup_high", NAN), published[size]);
  }
}

/* =================================================================================================
 * 7  PARTS 9 TO 11: WHAT TRAINING STARTS FROM AND WHO TEACHES
 * ============================================================================================== */

/* ---- 9  Text against code ---- */

enum { STUDY_VARIANTS = 5 };
static const struct { const char *name; int form, gelu; } study_variants[STUDY_VARIANTS] = {
  {"x + LN1(x)", BDPT_ATTN_NORM, BDPT_GELU_NEVER},
  {"x + LN1(x), GELU if both", BDPT_ATTN_NORM, BDPT_GELU_BOTH},
  {"x + LN1(x), GELU always", BDPT_ATTN_NORM, BDPT_GELU_ALWAYS},
  {"skip", BDPT_ATTN_SKIP, BDPT_GELU_NEVER}, {"2x", BDPT_ATTN_DOUBLE, BDPT_GELU_NEVER}};

static study_spec study_text_spec(const study *s, int variant, int seed) {
  study_spec p = study_spec_of(s, STUDY_PAPER, &s->recipe.text_marks, seed);
  p.form = study_variants[variant].form;
  p.gelu = study_variants[variant].gelu;
  study_first(s, s->recipe.text_remove.layer[0], s->recipe.text_remove.layer[1], &p);
  return p;
}

static bdpt_status study_text(study *s) {
  bdpt_status status = BDPT_OK;
  int i, jobs = STUDY_VARIANTS * s->recipe.seeds;
  for (i = 0; i < jobs && status == BDPT_OK; i++) {
    study_spec p = study_text_spec(s, i % STUDY_VARIANTS, i / STUDY_VARIANTS);
    status = study_network(s, &p);
  }
  for (i = 0; i < jobs && status == BDPT_OK; i++) {
    const char *name = study_variants[i % STUDY_VARIANTS].name;
    study_spec p = study_text_spec(s, i % STUDY_VARIANTS, i / STUDY_VARIANTS);
    if (study_find(s, "semantics", "variant", name, "seed", (double)p.seed).text) continue;
    cli_json_open(&s->base.record.text, "semantics");
    cli_json_text(&s->base.record.text, "variant", name);
    study_tail(s, &p);
  }
  return status;
}

static void study_tell_text(study *s) {
  int i;
  for (i = 0; i < STUDY_VARIANTS; i++)
    study_say_spread(s, "semantics", "variant", study_variants[i].name, NULL, 0);
}

/* ---- 10  The start of training ---- */

/* Every single layer replaced, and nothing trained. The paper's start is in the recovery lines. */
static bdpt_status study_single(study *s, int type, int layer) {
  cli_json *j = &s->base.record.text;
  bdpt_model *m = bdpt_model_clone(s->dense);
  bdpt_fit_report fit;
  bdpt_accuracy a, skip;
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  if (study_find(s, "single", "type", run_type[type], "layer", layer).text) {
    bdpt_model_free(m);
    return BDPT_OK;
  }
  skip.top1 = NAN;
  if (status == BDPT_OK) m->config.attn_form = BDPT_ATTN_SKIP;
  if (status == BDPT_OK && type == BDPT_ATTENTION) {
    status = bdpt_prune(m, type, layer);
    if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.held, &skip);
    if (status == BDPT_OK) status = bdpt_restore(m, type, layer);
  }
  if (status == BDPT_OK) status = bdpt_fit(m, type, layer, &s->base.in.rest, NULL, &fit);
  if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.held, &a);
  bdpt_model_free(m);
  if (status == BDPT_OK && cli_stop) status = BDPT_CANCELLED;
  if (status != BDPT_OK) return status;
  cli_json_open(j, "single");
  cli_json_text(j, "type", run_type[type]);
  cli_json_real(j, "layer", layer);
  cli_json_real(j, "skip", skip.top1);
  cli_json_real(j, "fit", a.top1);
  cli_json_real(j, "error", fit.error);
  cli_json_real(j, "images", (double)(fit.images + fit.held));
  cli_json_close(j);
  return record_save(&s->base.record);
}

/* Job i: budgets by seeds by two starts, then the other two starts at one budget. 0 at the end. */
static int study_start_spec(const study *s, int i, int *budget, study_spec *p) {
  const cli_layers *budgets = &s->recipe.start_budgets;
  int best = study_start(s->recipe.start_best), jobs = 2 * budgets->count * s->recipe.seeds;
  int start = i % 2 ? best : STUDY_PAPER, seed = i / (2 * budgets->count);
  *budget = i < jobs ? budgets->layer[i / 2 % budgets->count] : s->recipe.start_extra;
  if (i >= jobs) {
    int other = i - jobs; /* of the starts that are neither the paper's nor the best */
    for (start = 0; start < STUDY_STARTS; start++)
      if (start != STUDY_PAPER && start != best && other-- == 0) break;
    seed = 0;
    if (start == STUDY_STARTS || *budget == 0) return 0;
  }
  *p = study_spec_of(s, start, &s->recipe.start_marks, seed);
  study_first(s, *budget / 2, *budget - *budget / 2, p);
  return 1;
}

static bdpt_status study_starting(study *s) {
  bdpt_status status = BDPT_OK;
  study_spec p;
  int i, budget;
  for (i = 0; i < 2 * s->base.depth && status == BDPT_OK; i++)
    status = study_single(s, i % 2, i / 2);
  for (i = 0; status == BDPT_OK && study_start_spec(s, i, &budget, &p); i++) {
    cli_json *j = &s->base.record.text;
    char label[60];
    status = study_network(s, &p);
    snprintf(label, sizeof label, "%s, %d layers", study_starts[p.start].name, budget);
    if (status != BDPT_OK || study_find(s, "start", "label", label, "seed", (double)p.seed).text)
      continue;
    cli_json_open(j, "start");
    cli_json_text(j, "label", label);
    cli_json_text(j, "start", study_starts[p.start].name);
    cli_json_real(j, "budget", budget);
    study_tail(s, &p);
    status = record_save(&s->base.record); /* this part is long: what is known is drawn */
  }
  return status;
}

static void study_tell_starting(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double value[BDPT_MAX_DEPTH];
  study_spec p;
  int t, l, i, budget;
  study_rows(s, row);
  run_say(&s->base, "   Accuracy with one layer replaced and nothing trained:\n");
  run_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    for (l = 0; l < s->base.depth; l++) value[l] = row[t * s->base.depth + l].at_once;
    run_say_layers(&s->base, t ? "GELU, identity" : "attention, x + LN1(x)", value, "%6.1f");
    for (l = 0; l < s->base.depth; l++)
      value[l] = record_real(study_find(s, "single", "type", run_type[t], "layer", l), "fit", NAN);
    run_say_layers(&s->base, "  least squares", value, "%6.1f");
  }
  run_say(&s->base, "   Several layers: at once, at the marks, and on the test images:\n");
  for (i = 0; study_start_spec(s, i, &budget, &p); i++) {
    char label[60];
    snprintf(label, sizeof label, "%s, %d layers", study_starts[p.start].name, budget);
    run_say(&s->base, "   %-20s seed %zu ", label, p.seed);
    study_say_curve(s, study_find(s, "start", "label", label, "seed", (double)p.seed));
  }
}

/* ---- 11  Self-distillation ---- */

static study_spec study_distill_spec(const study *s, int teacher) {
  int start = study_start(s->recipe.distill_start), budget = s->recipe.distill_budget;
  study_spec p = study_spec_of(s, start, &s->recipe.distill_marks, 0);
  study_first(s, budget / 2, budget - budget / 2, &p);
  p.teacher = teacher;
  return p;
}

/* The network without a teacher comes first; it is kept, and teaches itself in the last job. */
static bdpt_status study_distill(study *s) {
  bdpt_status status = BDPT_OK;
  int teacher;
  for (teacher = 0; teacher <= STUDY_OWN && status == BDPT_OK; teacher++) {
    study_spec p = study_distill_spec(s, teacher);
    status = study_network(s, &p);
  }
  for (teacher = 0; teacher <= STUDY_OWN && status == BDPT_OK; teacher++) {
    study_spec p = study_distill_spec(s, teacher);
    cli_json_open(&s->base.record.text, "distillation");
    cli_json_text(&s->base.record.text, "teacher", study_teachers[teacher]);
    study_tail(s, &p);
  }
  return status;
}

static void study_tell_distill(study *s) {
  static const char *const who[] = {"labels only", "dense network, soft", "dense network, hard",
                                    "its own finished self, soft"};
  int teacher;
  for (teacher = 0; teacher <= STUDY_OWN; teacher++) {
    run_say(&s->base, "   %-28s", who[teacher]);
    study_say_curve(s, study_find(s, "distillation", "teacher", study_teachers[teacher], NULL, 0));
  }
}

#include "reproduce_plus.h"
#include "reproduce_headline.h"

/* =================================================================================================
 * 8  THE PARTS, AND WHAT THEY COST
 * =================================================================================================
 * The table is printed before anything starts: images to train and to evaluate, counted from the
 * recipe, over the speeds measured a moment ago.
 */
static const struct {
  const char *name, *question;
  int needs;                  /* bit n: part n */
  bdpt_status (*work)(study *s);
  void (*tell)(study *s);
} study_part[STUDY_PARTS + 1] = {
  {NULL, NULL, 0, NULL, NULL},
  {"dense", "How good is the network before anything is removed?", 0, study_dense,
   study_tell_dense},
  {"gradients", "How far apart are the importance gradients of the two types?", 1 << 1,
   study_gradients, study_tell_gradients},
  {"recovery", "What does each single layer cost, at once and after training?", 1 << 1,
   study_recovery, study_tell_recovery},
  {"mismatch", "What happens when a linear is removed instead?", 1 << 1, study_mismatch,
   study_tell_mismatch},
  {"map", "How many of each type does the predictor choose?", 1 << 1 | 1 << 3, study_map,
   study_tell_map},
  {"which", "Which layers? Learned importance against simpler ways", 1 << 1 | 1 << 2 | 1 << 3,
   study_which, study_tell_which},
  {"types", "One type or both: accuracy against measured speed", 1 << 1 | 1 << 3, study_types,
   study_tell_types},
  {"speed", "DeiT at its full size: dense against pruned and fused", 0, study_speed,
   study_tell_speed},
  {"text", "The paper's text against the released code", 1 << 1 | 1 << 3, study_text,
   study_tell_text},
  {"start", "What training starts from: identity or least squares", 1 << 1 | 1 << 3,
   study_starting, study_tell_starting},
  {"distil", "What a teacher brings", 1 << 1 | 1 << 3, study_distill, study_tell_distill},
  {"plus", "Depth, width, or both, at the same cost", 1 << 1 | 1 << 3, study_plus,
   study_tell_plus},
  {"tokens", "Fewer tokens: does pruning keep its worth?", 1 << 1 | 1 << 3 | 1 << 11,
   study_tokens, study_tell_tokens},
  {"headline", "Layers chosen greedily: how near to the dense network does recovery come?",
   1 << 1 | 1 << 3 | 1 << 6, study_headline, study_tell_headline},
  {"long", "The same recovery, ten passes over all images", 1 << 1 | 1 << 3, study_long,
   study_tell_long}};

typedef struct study_cost { double train, eval, seconds; } study_cost;

/* `jobs` networks, trained to the last mark and measured at each, then on the test images. */
static void study_cost_jobs(const study *s, int jobs, const cli_layers *marks, study_cost *c) {
  double held = (double)s->base.in.held.count, test = (double)s->base.in.tested.count;
  c->train += (double)jobs * marks->layer[marks->count - 1] * (double)s->recipe.epoch;
  c->eval += (double)jobs * ((marks->count + 1) * held + test);
}

/* Seconds for part 8, from the multiply-accumulates of its networks. */
static double study_cost_speed(study *s) {
  bdpt_cost_report own, other;
  double macs = 0;
  int size;
  if (bdpt_cost(s->base.ctx, &s->dense->config, &own) != BDPT_OK) return 0;
  for (size = 0; size < 3; size++) {
    char name[60];
    bdpt_config c;
    snprintf(name, sizeof name, "deit_%s_patch16_224", study_sizes[size]);
    if (s->recipe.speed[size].count != 2 || bdpt_config_named(s->base.ctx, name, &c) != BDPT_OK)
      continue;
    c.image = s->recipe.speed_image;
    if (bdpt_cost(s->base.ctx, &c, &other) == BDPT_OK) macs += 1.65 * other.macs;
  }
  return macs * RUN_BATCH * (s->recipe.speed_repeats + 2) / (own.macs * s->eval_speed);
}

static study_cost study_cost_of(study *s, int part) {
  const study_recipe *r = &s->recipe;
  double held = (double)s->base.in.held.count, rest = (double)s->base.in.rest.count, points;
  int layers = 2 * s->base.depth, budgets = r->start_budgets.count, n;
  study_cost c = {0, 0, 0};
  if (part == 1) {
    double images = r->dense_images ? (double)r->dense_images : rest;
    c.train = r->dense_epochs * images;
    c.eval = (r->dense_epochs + 1) * held + (double)s->base.in.tested.count;
  }
  if (part == 2) c.train = r->gradient_epochs * (double)r->epoch;
  if (part == 3) {
    study_cost_jobs(s, layers, &r->recovery_marks, &c);
    c.eval -= layers * (double)s->base.in.tested.count;
  }
  if (part == 5) {
    points = (2.0 * r->map_most + 2.0 * r->map_rounds) * study_collections(s);
    c.train = points * r->map_epochs * (double)r->epoch;
    c.eval = points * held;
  }
  if (part == 6) {
    n = r->which_remove.layer[0] + r->which_remove.layer[1];
    study_cost_jobs(s, STUDY_WAYS * r->seeds, &r->which_marks, &c);
    c.train += (double)r->seeds * n * r->which_stage * (double)r->epoch;
    c.eval += (double)r->seeds * n * held + layers * (double)r->which_images;
  }
  if (part == 7) {
    study_cost_jobs(s, 3 * r->types_layers.count + 1, &r->types_marks, &c);
    c.eval += 3 * r->types_layers.count * 2.0 * (r->types_repeats + 2) * RUN_BATCH;
  }
  if (part == 8) c.seconds = study_cost_speed(s);
  if (part == 9) study_cost_jobs(s, STUDY_VARIANTS * r->seeds, &r->text_marks, &c);
  if (part == 10) { /* joint networks of the first seed are shared with part 7 */
    study_cost_jobs(s, 2 * budgets * r->seeds - budgets + 2 * (r->start_extra > 0),
                    &r->start_marks, &c);
    c.eval += layers * 2 * held;
  }
  if (part == 11) study_cost_jobs(s, STUDY_OWN, &r->distill_marks, &c); /* one is of part 10 */
  if (part == 12) study_cost_jobs(s, STUDY_PLUS_JOBS * r->plus_depth.count, &r->plus_marks, &c);
  if (part == 13) {
    c.eval = 2 * r->tokens_merge.count * held;
    c.seconds = r->tokens_speed.count * study_cost_speed(s) / 4; /* Small is a quarter of it */
  }
  if (part == 14) {
    study_cost_jobs(s, STUDY_PIECES * r->seeds, &r->headline_marks, &c);
    study_cost_jobs(s, STUDY_PICKS * r->seeds, &r->which_marks, &c);
    c.eval += study_greedy_images(s);
  }
  if (part == 15) study_cost_jobs(s, r->seeds, &r->headline_long, &c);
  c.seconds += c.train / s->train_speed + c.eval / s->eval_speed;
  return c;
}

/* Images per second, trained and evaluated: a few steps on a copy. */
static bdpt_status study_pace(study *s) {
  bdpt_recipe p = study_training(s, 1, 1);
  bdpt_model *m = bdpt_model_clone(s->dense);
  bdpt_trainer *t = NULL;
  bdpt_subset some = s->base.in.held;
  bdpt_accuracy a;
  double began;
  bdpt_status status = BDPT_OK;
  int i;
  if (some.count > 500) some.count = 500;
  if (m) t = bdpt_trainer_create(m, NULL, &s->base.in.rest, &p);
  if (!t) status = s->base.ctx->status;
  if (status == BDPT_OK) status = bdpt_trainer_step(t, NULL);
  began = cli_now();
  for (i = 0; i < 4 && status == BDPT_OK; i++) status = bdpt_trainer_step(t, NULL);
  s->train_speed = 4 * s->recipe.batch / (cli_now() - began + 1e-6);
  bdpt_trainer_free(t);
  began = cli_now();
  if (status == BDPT_OK) status = bdpt_evaluate(m, &some, &a);
  s->eval_speed = (double)some.count / (cli_now() - began + 1e-6);
  bdpt_model_free(m);
  return status;
}

static int study_selected(const study *s, int part) {
  int i;
  for (i = 0; i < s->o.parts.count; i++)
    if (s->o.parts.layer[i] == part) return 1;
  return s->o.parts.count == 0 && part <= STUDY_PLAIN;
}

/* Seconds that the selected parts still take, by the table. */
static double study_left(study *s) {
  double seconds = 0;
  int part;
  for (part = 1; part <= STUDY_PARTS; part++)
    if (study_selected(s, part) && !study_part_done(s, part))
      seconds += study_cost_of(s, part).seconds;
  return seconds;
}

static void study_table(study *s) {
  char time[40];
  int part;
  run_say(&s->base, "\n   part           images trained  evaluated      time\n");
  for (part = 1; part <= STUDY_PARTS; part++) {
    study_cost c = study_cost_of(s, part);
    cli_duration(time, c.seconds);
    run_say(&s->base, "   %2d  %-10s %14.0f %10.0f %9s  %s\n", part, study_part[part].name, c.train,
            c.eval, time, study_part_done(s, part) ? "done"
                          : study_selected(s, part) ? "" : "not asked for");
  }
  cli_duration(time, study_left(s));
  run_say(&s->base, "   left to do: about %s, at the %.0f images trained and %.0f evaluated in a "
          "second\n   that were measured just now\n", time, s->train_speed, s->eval_speed);
}

/* =================================================================================================
 * 9  THE COMMAND
 * ============================================================================================== */

#define STUDY_HELD "data/cifar100_held.txt"
enum { STUDY_CIFAR = 50000 };

static int study_rising(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

static bdpt_status study_print_held(study *s) {
  bdpt_subset *held = &s->base.in.held;
  size_t i;
  qsort(held->index, held->count, sizeof *held->index, study_rising);
  for (i = 0; i < held->count; i++)
    printf("%zu%c", held->index[i], i % 15 == 14 || i + 1 == held->count ? '\n' : ' ');
  return BDPT_OK;
}

/* The shipped list decides which CIFAR-100 images are held out, whatever the library's own split
 * would be: 5000 different numbers below 50000, in rising order. */
static bdpt_status study_read_held(study *s) {
  bdpt_subset *held = &s->base.in.held, *rest = &s->base.in.rest;
  unsigned char *bytes;
  size_t size, n = 0, i, k = 0;
  char *at, *end;
  bdpt_status status;
  if (strcmp(s->base.in.name, "cifar-100") != 0 || s->base.in.train.count != STUDY_CIFAR)
    return BDPT_OK;
  status = bdpt_file_read(s->base.ctx, STUDY_HELD, &bytes, &size);
  if (status != BDPT_OK) return status;
  at = (char *)bytes;
  for (; n <= held->count; at = end, n++) {
    unsigned long v = strtoul(at, &end, 10);
    if (end == at) break;
    if (n == held->count || v >= STUDY_CIFAR || (n && v <= held->index[n - 1])) n = SIZE_MAX - 1;
    else held->index[n] = (size_t)v;
  }
  bdpt_release(s->base.ctx, bytes, size + 1);
  if (n != held->count)
    return study_fail(s->base.ctx, BDPT_E_FORMAT, "%s: not %zu rising numbers below %d",
                      STUDY_HELD, held->count, STUDY_CIFAR);
  for (i = n = 0; i < STUDY_CIFAR; i++) {
    if (k < held->count && held->index[k] == i) k++;
    else rest->index[n++] = i;
  }
  return BDPT_OK;
}

static void study_describe(study *s, const char *weights) {
  char values[4000];
  study_values(&s->recipe, values, sizeof values);
  snprintf(s->base.setup, sizeof s->base.setup,
           "version=%s data=%s train=%zu rest=%zu weights=%s seed=%zu real=%d recipe=%016llx%s",
           BDPT_VERSION, s->base.in.name, s->base.in.train.count, s->base.in.rest.count, weights,
           s->o.common.seed, (int)sizeof(bdpt_real),
           (unsigned long long)bdpti_hash_bytes(0, values, strlen(values)),
           s->o.common.bf16 ? " bf16" : "");
}

/* Opens the record; a study made with something else is not continued and not overwritten. */
static bdpt_status study_resume(study *s) {
  static char path[720]; /* lives as long as the record */
  char before[1200], values[4000], aside[720];
  cli_json *j = &s->base.record.text;
  bdpt_status status;
  snprintf(path, sizeof path, "%s/reproduce.jsonl", s->o.out);
  status = record_load(&s->base.record, s->base.ctx, path);
  if (status != BDPT_OK) return status;
  if (record_has(&s->base.record, "setup") && s->o.common.fresh) {
    snprintf(aside, sizeof aside, "%s/previous.jsonl", s->o.out);
    remove(aside);
    rename(path, aside);
    record_free(&s->base.record);
    status = record_load(&s->base.record, s->base.ctx, path);
    remove(study_file(s, "dense.safetensors"));
    remove(study_file(s, "dense.ckpt"));
    cli_forget_checkpoint(study_file(s, "recovery.ckpt"));
  }
  if (status != BDPT_OK) return status;
  if (record_has(&s->base.record, "setup")) {
    record_text(record_get(&s->base.record, "setup", 0), "options", before, sizeof before);
    if (strcmp(before, s->base.setup) == 0) return BDPT_OK;
    return study_fail(s->base.ctx, BDPT_E_STATE, "%s: a study with another recipe, data, network "
                      "or version; --fresh moves it aside, --out DIR keeps both", s->o.out);
  }
  s->base.model[RUN_DENSE] = s->dense;
  s->base.command = "make reproduce";
  status = run_record_setup(&s->base);
  s->base.model[RUN_DENSE] = NULL;
  study_values(&s->recipe, values, sizeof values);
  cli_json_open(j, "recipe");
  cli_json_text(j, "text", values);
  cli_json_close(j);
  return status == BDPT_OK ? record_save(&s->base.record) : status;
}

/* Images, recipe, network, record. */
static bdpt_status study_setup(study *s) {
  run *base = &s->base;
  char weights[17];
  const input_source from = {s->o.data, 0, -1, s->o.common.quiet};
  bdpt_status status = study_read(s, base->ctx, s->o.recipe);
  if (s->o.seeds > 0) s->recipe.seeds = s->o.seeds;
  if (s->recipe.bf16) base->ctx->bf16 = 1;
  if (status == BDPT_OK && !cli_make_folder(s->o.out))
    status = study_fail(base->ctx, BDPT_E_IO, "cannot make the folder %s", s->o.out);
  if (status == BDPT_OK)
    status = input_open(&base->in, base->ctx, &from, INPUT_TRAIN | INPUT_TEST);
  if (status == BDPT_OK && s->o.print_held) return study_print_held(s);
  if (status == BDPT_OK) status = study_read_held(s);
  if (status == BDPT_OK) status = input_keep(base->ctx, &base->in.held, s->recipe.held);
  if (status == BDPT_OK) status = input_keep(base->ctx, &base->in.tested, s->recipe.test);
  if (status != BDPT_OK) return status;
  s->dense = input_model(base->ctx, s->o.model, s->recipe.image);
  if (!s->dense) return base->ctx->status;
  bdpt_model_hash(s->dense, weights);
  base->depth = s->dense->config.depth;
  if (s->dense->config.classes != base->in.train.classes)
    status = bdpt_model_new_head(s->dense, base->in.train.classes, s->o.common.seed);
  base->o.data = s->o.data;
  base->o.model = s->o.model;
  base->o.test = base->in.tested.count;
  study_describe(s, weights);
  return status == BDPT_OK ? study_resume(s) : status;
}

/* Sizes that this network cannot have. */
static bdpt_status study_check(study *s) {
  const study_recipe *r = &s->recipe;
  int depth = s->base.depth, i, most = r->map_most > r->map_rounds ? r->map_most : r->map_rounds;
  const cli_layers *both[] = {&r->start_budgets, &r->map_budgets};
  for (i = 0; i < r->plus_depth.count; i++) {
    if (r->plus_depth.layer[i] > most) most = r->plus_depth.layer[i];
    if (r->plus_both.layer[i] > most) most = r->plus_both.layer[i];
  }
  for (i = 0; i < 2; i++) {
    if (r->which_remove.layer[i] > most) most = r->which_remove.layer[i];
    if (r->text_remove.layer[i] > most) most = r->text_remove.layer[i];
  }
  for (i = 0; i < r->types_layers.count; i++)
    if (r->types_layers.layer[i] > most) most = r->types_layers.layer[i];
  for (i = 0; i < both[0]->count; i++)
    if ((both[0]->layer[i] + 1) / 2 > most) most = (both[0]->layer[i] + 1) / 2;
  for (i = 0; i < both[1]->count; i++)
    if ((both[1]->layer[i] + 1) / 2 > most) most = (both[1]->layer[i] + 1) / 2;
  if ((r->start_extra + 1) / 2 > most) most = (r->start_extra + 1) / 2;
  if ((r->distill_budget + 1) / 2 > most) most = (r->distill_budget + 1) / 2;
  if (r->headline_layers > 2 * most) most = (r->headline_layers + 1) / 2;
  if (most <= depth) return BDPT_OK;
  return study_fail(s->base.ctx, BDPT_E_ARGUMENT, "%s: %d layers of a type to remove, but the "
                    "network has %d blocks", s->o.recipe, most, depth);
}

/* Stops the study, as Ctrl-C would, when its time is up. */
static void study_watch(const bdpt_progress *now, void *user) {
  study *s = (study *)user;
  (void)now;
  if (s->deadline > 0 && cli_now() > s->deadline) cli_stop = 1;
}

/* A part that is not in the record yet. */
static bdpt_status study_run_part(study *s, int part) {
  cli_json *j = &s->base.record.text;
  double began = cli_now();
  char time[40], left[40];
  int needed;
  bdpt_status status;
  for (needed = 1; needed <= STUDY_PARTS; needed++)
    if (study_part[part].needs >> needed & 1 && !study_part_done(s, needed))
      return study_fail(s->base.ctx, BDPT_E_STATE, "part %d needs part %d (%s), which is not done",
                        part, needed, study_part[needed].name);
  status = study_part[part].work(s);
  cli_progress_clear(&s->base.progress);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "part");
  cli_json_real(j, "part", part);
  cli_json_text(j, "name", study_part[part].name);
  cli_json_real(j, "seconds", floor(10 * (cli_now() - began) + 0.5) / 10);
  cli_json_close(j);
  status = record_save(&s->base.record);
  if (status == BDPT_OK) status = study_csv(s);
  cli_duration(time, cli_now() - began);
  cli_duration(left, study_left(s));
  run_say(&s->base, "   %s for this part, about %s for the parts left\n", time, left);
  return status;
}

static bdpt_status study_parts(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  char title[120];
  study_spec own;
  bdpt_status status = BDPT_OK;
  int part;
  for (part = 1; part <= STUDY_PARTS && status == BDPT_OK; part++) {
    if (study_part_done(s, 3)) { /* there is an order of removal */
      study_rows(s, row);
      own = study_distill_spec(s, STUDY_ALONE);
      study_name(s, &own, s->keep);
    }
    if (!study_selected(s, part)) continue;
    snprintf(title, sizeof title, "%d  %s", part, study_part[part].question);
    run_title(&s->base, title);
    if (!study_part_done(s, part)) status = study_run_part(s, part);
    if (status == BDPT_OK) study_part[part].tell(s);
    run_print_json(&s->base);
    if (status == BDPT_OK && cli_stop && part < STUDY_PARTS) status = BDPT_CANCELLED;
  }
  return status;
}

/* After the last part the record gets its last line; the page is drawn from what there is. */
static bdpt_status study_end(study *s) {
  double seconds = 0;
  int part;
  bdpt_status status = BDPT_OK;
  for (part = 1; part <= STUDY_PLAIN && study_part_done(s, part); part++)
    seconds += record_real(study_find(s, "part", NULL, NULL, "part", part), "seconds", 0);
  if (part > STUDY_PLAIN && !record_has(&s->base.record, "done")) {
    cli_json_open(&s->base.record.text, "done");
    cli_json_real(&s->base.record.text, "seconds", seconds);
    cli_json_close(&s->base.record.text);
    status = record_save(&s->base.record);
    run_print_json(&s->base);
  }
  if (status == BDPT_OK && report_write(s->base.ctx, s->base.record.path, s->o.report) != 0)
    status = s->base.ctx->status != BDPT_OK ? s->base.ctx->status : BDPT_E_IO;
  if (status == BDPT_OK)
    run_say(&s->base, "\n   plots    %s\n   numbers  %s and %s/*.csv\n", s->o.report,
            s->base.record.path, s->o.out);
  return status;
}

static void study_defaults(study_options *o) {
  if (!o->recipe) o->recipe = o->quick ? "data/quick.recipe" : "data/reproduce.recipe";
  if (!o->out) o->out = o->quick ? "build/quick" : "build/reproduce";
  if (!o->report) o->report = o->quick ? "build/quick.html" : "build/report.html";
  if (!o->model)
    o->model = o->quick ? "data/dense.safetensors" : "data/deit_tiny_patch16_224.safetensors";
  if (!o->data && !o->quick) o->data = "data/cifar-100-binary";
}

CLI_FN int study_command(bdpt_context *ctx, const study_options *options) {
  static study s; /* large; one per program */
  bdpt_status status;
  memset(&s, 0, sizeof s);
  s.o = *options;
  study_defaults(&s.o);
  s.base.ctx = ctx;
  s.base.o.common = s.o.common;
  s.base.o.out = s.o.out;
  if (s.o.minutes > 0) s.deadline = cli_now() + 60 * s.o.minutes;
  cli_progress_open(&s.base.progress, s.o.common.quiet);
  s.base.progress.also = study_watch;
  s.base.progress.user = &s;
  status = s.o.summary ? study_summarise(&s) : study_setup(&s);
  if (status == BDPT_OK && !s.o.summary && !s.o.print_held) {
    status = study_check(&s);
    if (status == BDPT_OK && study_part_done(&s, 1)) status = study_dense(&s);
    if (status == BDPT_OK) status = study_pace(&s);
    if (status == BDPT_OK) study_table(&s);
    if (status == BDPT_OK && !s.o.list) status = study_parts(&s);
    if (status == BDPT_OK && !s.o.list) status = study_end(&s);
  }
  bdpt_model_free(s.dense);
  if (s.text) bdpt_release(ctx, s.text, s.text_size + 1);
  record_free(&s.base.record);
  input_close(&s.base.in);
  return cli_finish("reproduce", ctx, status, "the same command goes on from here");
}

#endif /* REPRODUCE_H */
