/* recipe.c: the study's recipe file */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "study.h"

#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 1  THE RECIPE
 * =================================================================================================
 * data/reproduce.recipe explains every name. Lists are cli_layers: whole numbers.
 */
int study_keys(study_recipe *r, cli_option *out) {
  const cli_option keys[] = {
    {"image", CLI_INT, &r->image, "", ""}, {"held", CLI_SIZE, &r->held, "", ""},
    {"test", CLI_SIZE, &r->test, "", ""}, {"seeds", CLI_INT, &r->seeds, "", ""},
    {"bf16", CLI_INT, &r->bf16, "", ""},
    {"epoch", CLI_SIZE, &r->epoch, "", ""}, {"batch", CLI_INT, &r->batch, "", ""},
    {"lr", CLI_SAID, &r->lr, "", ""}, {"warmup", CLI_REAL, &r->warmup, "", ""},
    {"weight_decay", CLI_SAID, &r->weight_decay, "", ""},
    {"smoothing", CLI_REAL, &r->smoothing, "", ""}, {"crop", CLI_INT, &r->crop, "", ""},
    {"flip", CLI_INT, &r->flip, "", ""}, {"clip", CLI_REAL, &r->clip, "", ""},
    {"dense.epochs", CLI_INT, &r->dense_epochs, "", ""},
    {"dense.images", CLI_SIZE, &r->dense_images, "", ""},
    {"dense.batch", CLI_INT, &r->dense_batch, "", ""},
    {"dense.lr", CLI_SAID, &r->dense_lr, "", ""},
    {"dense.warmup", CLI_REAL, &r->dense_warmup, "", ""},
    {"dense.mixup", CLI_REAL, &r->dense_mixup, "", ""},
    {"dense.cutmix", CLI_REAL, &r->dense_cutmix, "", ""},
    {"dense.mix_prob", CLI_SAID, &r->dense_mix_prob, "", ""},
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
    {"distill.alpha", CLI_SAID, &r->distill_alpha, "", ""},
    {"distill.tau", CLI_REAL_UP, &r->distill_tau, "", ""},
    {"distill.marks", CLI_LAYERS, &r->distill_marks, "", ""},
    {"plus.depth", CLI_LAYERS, &r->plus_depth, "", ""},
    {"plus.both", CLI_LAYERS, &r->plus_both, "", ""},
    {"plus.images", CLI_SIZE, &r->plus_images, "", ""},
    {"plus.multiple", CLI_INT, &r->plus_multiple, "", ""},
    {"plus.marks", CLI_LAYERS, &r->plus_marks, "", ""},
    {"tokens.merge", CLI_LAYERS, &r->tokens_merge, "", ""},
    {"tokens.speed", CLI_LAYERS, &r->tokens_speed, "", ""},
    {"tokens.remove", CLI_LAYERS, &r->tokens_remove, "", ""},
    {"better.epochs", CLI_INT, &r->better_epochs, "", ""},
    {"better.batch", CLI_INT, &r->better_batch, "", ""},
    {"better.lr", CLI_SAID, &r->better_lr, "", ""},
    {"better.mix_prob", CLI_SAID, &r->better_mix_prob, "", ""},
    {"better.drop_path", CLI_REAL, &r->better_drop_path, "", ""},
    {"better.ema", CLI_REAL, &r->better_ema, "", ""},
    {"headline.layers", CLI_INT, &r->headline_layers, "", ""},
    {"headline.images", CLI_SIZE, &r->headline_images, "", ""},
    {"headline.lr", CLI_REAL_UP, &r->headline_lr, "", ""},
    {"headline.features", CLI_REAL, &r->headline_features, "", ""},
    {"headline.marks", CLI_LAYERS, &r->headline_marks, "", ""},
    {"headline.long", CLI_LAYERS, &r->headline_long, "", ""}};
  memcpy(out, keys, sizeof keys);
  return (int)(sizeof keys / sizeof keys[0]);
}

/* Cuts the next word out of a line; NULL at its end. */
static char *study_word(char **at) {
  char *word = *at + strspn(*at, " \t\r="), *end = word + strcspn(word, " \t\r=");
  *at = *end ? end + 1 : end;
  *end = 0;
  return *word ? word : NULL;
}

/* Reads one line of the file: empty, or a name and its value. */
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
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: line %d: there is no '%s'", path, number, name);
  if (seen[k])
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' stands in line %d already", path,
                    number, name, seen[k]);
  if (!value || more)
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' wants one value%s%s", path, number,
                    name, more ? ", not also " : "", more ? more : "");
  wanted = cli_store(&keys[k], value);
  if (wanted)
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: line %d: '%s' wants %s, got '%s'", path, number,
                    name, wanted, value);
  seen[k] = number;
  return BDPT_OK;
}

/* Finds values that the parts could not live with. */
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

bdpt_status study_read(study *s, bdpt_context *ctx, const char *path) {
  cli_option keys[STUDY_KEYS];
  int seen[STUDY_KEYS], count = study_keys(&s->recipe, keys), number = 1, k;
  unsigned char *bytes;
  const char *problem;
  char *at, *end;
  bdpt_status status = bdpt_file_read(ctx, path, &bytes, &s->text_size);
  if (status != BDPT_OK) return status;
  s->text = (char *)bytes;
  memset(seen, 0, sizeof seen);
  if (memchr(bytes, 0, s->text_size)) return cli_fail(ctx, BDPT_E_FORMAT, "%s: no text", path);
  for (at = s->text; at && status == BDPT_OK; at = end ? end + 1 : NULL, number++) {
    end = strchr(at, '\n');
    if (end) *end = 0;
    status = study_line(ctx, path, number, at, keys, count, seen);
  }
  for (k = 0; k < count && status == BDPT_OK; k++)
    if (!seen[k]) status = cli_fail(ctx, BDPT_E_FORMAT, "%s: no '%s'", path, keys[k].name);
  problem = status == BDPT_OK ? study_impossible(&s->recipe) : NULL;
  return problem ? cli_fail(ctx, BDPT_E_FORMAT, "%s: %s", path, problem) : status;
}

void study_list(const int *layer, int count, char *out, size_t room) {
  size_t used = 0;
  int i;
  snprintf(out, room, "-");
  for (i = 0; i < count && used < room; i++)
    used += (size_t)snprintf(out + used, room - used, "%s%d", i ? "," : "", layer[i]);
}

int study_free_value(const char *name) {
  return strcmp(name, "seeds") == 0 || strncmp(name, "plus.", 5) == 0 ||
         strncmp(name, "tokens.", 7) == 0 || strncmp(name, "better.", 7) == 0 ||
         strncmp(name, "headline.", 9) == 0;
}

void study_values(study_recipe *r, char *out, size_t room) {
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
      case CLI_SAID:
        snprintf(text, sizeof text, "%g",
                 *(const double *)v == BDPT_NONE ? 0.0 : *(const double *)v);
        break;
      case CLI_REAL: case CLI_REAL_UP:
        snprintf(text, sizeof text, "%g", *(const double *)v);
        break;
      case CLI_LAYERS:
        study_list(((const cli_layers *)v)->layer, ((const cli_layers *)v)->count, text,
                   sizeof text);
        break;
      default: snprintf(text, sizeof text, "%s", *(const char *const *)v); break;
    }
    used += (size_t)snprintf(out + used, room - used, "%s%s %s", k ? "; " : "", keys[k].name, text);
  }
}
