/* recipe.c: the study's recipe file */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/settings.h"
#include "study.h"

#include <stdio.h>
#include <string.h>

/* =================================================================================================
 * 1  THE RECIPE
 * =================================================================================================
 * data/reproduce.recipe explains every name. Lists are cli_layers: whole numbers.
 */
int study_keys(study_recipe *r, cli_option *out) {
  const cli_option keys[STUDY_KEYS] = {
    {"image", CLI_INT, &r->image, "", NULL, ""}, {"held", CLI_SIZE, &r->held, "", NULL, ""},
    {"test", CLI_SIZE, &r->test, "", NULL, ""}, {"seeds", CLI_INT, &r->seeds, "", NULL, ""},
    {"bf16", CLI_INT, &r->bf16, "", NULL, ""},
    {"epoch", CLI_SIZE, &r->epoch, "", NULL, ""}, {"batch", CLI_INT, &r->batch, "", NULL, ""},
    {"lr", CLI_SAID, &r->lr, "", NULL, ""}, {"warmup", CLI_REAL, &r->warmup, "", NULL, ""},
    {"weight_decay", CLI_SAID, &r->weight_decay, "", NULL, ""},
    {"smoothing", CLI_REAL, &r->smoothing, "", NULL, ""}, {"crop", CLI_INT, &r->crop, "", NULL, ""},
    {"flip", CLI_INT, &r->flip, "", NULL, ""}, {"clip", CLI_REAL, &r->clip, "", NULL, ""},
    {"dense.epochs", CLI_INT, &r->dense_epochs, "", NULL, ""},
    {"dense.images", CLI_SIZE, &r->dense_images, "", NULL, ""},
    {"dense.batch", CLI_INT, &r->dense_batch, "", NULL, ""},
    {"dense.lr", CLI_SAID, &r->dense_lr, "", NULL, ""},
    {"dense.warmup", CLI_REAL, &r->dense_warmup, "", NULL, ""},
    {"dense.mixup", CLI_REAL, &r->dense_mixup, "", NULL, ""},
    {"dense.cutmix", CLI_REAL, &r->dense_cutmix, "", NULL, ""},
    {"dense.mix_prob", CLI_SAID, &r->dense_mix_prob, "", NULL, ""},
    {"dense.erase", CLI_REAL, &r->dense_erase, "", NULL, ""},
    {"dense.drop_path", CLI_REAL, &r->dense_drop_path, "", NULL, ""},
    {"gradient.epochs", CLI_INT, &r->gradient_epochs, "", NULL, ""},
    {"gradient.window", CLI_INT, &r->gradient_window, "", NULL, ""},
    {"gradient.images", CLI_SIZE, &r->gradient_images, "", NULL, ""},
    {"recovery.marks", CLI_LAYERS, &r->recovery_marks, "", NULL, ""},
    {"map.epochs", CLI_INT, &r->map_epochs, "", NULL, ""},
    {"map.most", CLI_INT, &r->map_most, "", NULL, ""},
    {"map.rounds", CLI_INT, &r->map_rounds, "", NULL, ""},
    {"map.fit", CLI_INT, &r->map_fit, "", NULL, ""},
    {"map.budgets", CLI_LAYERS, &r->map_budgets, "", NULL, ""},
    {"map.trials", CLI_INT, &r->map_trials, "", NULL, ""},
    {"map.noise", CLI_REAL, &r->map_noise, "", NULL, ""},
    {"map.clip", CLI_REAL, &r->map_clip, "", NULL, ""},
    {"which.remove", CLI_LAYERS, &r->which_remove, "", NULL, ""},
    {"which.stage", CLI_INT, &r->which_stage, "", NULL, ""},
    {"which.images", CLI_SIZE, &r->which_images, "", NULL, ""},
    {"which.marks", CLI_LAYERS, &r->which_marks, "", NULL, ""},
    {"types.layers", CLI_LAYERS, &r->types_layers, "", NULL, ""},
    {"types.marks", CLI_LAYERS, &r->types_marks, "", NULL, ""},
    {"types.repeats", CLI_INT, &r->types_repeats, "", NULL, ""},
    {"speed.image", CLI_INT, &r->speed_image, "", NULL, ""},
    {"speed.tiny", CLI_LAYERS, &r->speed[0], "", NULL, ""},
    {"speed.small", CLI_LAYERS, &r->speed[1], "", NULL, ""},
    {"speed.base", CLI_LAYERS, &r->speed[2], "", NULL, ""},
    {"speed.repeats", CLI_INT, &r->speed_repeats, "", NULL, ""},
    {"text.remove", CLI_LAYERS, &r->text_remove, "", NULL, ""},
    {"text.marks", CLI_LAYERS, &r->text_marks, "", NULL, ""},
    {"start.budgets", CLI_LAYERS, &r->start_budgets, "", NULL, ""},
    {"start.best", CLI_TEXT, &r->start_best, "", NULL, ""},
    {"start.extra", CLI_INT, &r->start_extra, "", NULL, ""},
    {"start.marks", CLI_LAYERS, &r->start_marks, "", NULL, ""},
    {"distill.budget", CLI_INT, &r->distill_budget, "", NULL, ""},
    {"distill.start", CLI_TEXT, &r->distill_start, "", NULL, ""},
    {"distill.alpha", CLI_SAID, &r->distill_alpha, "", NULL, ""},
    {"distill.tau", CLI_REAL_UP, &r->distill_tau, "", NULL, ""},
    {"distill.marks", CLI_LAYERS, &r->distill_marks, "", NULL, ""},
    {"plus.depth", CLI_LAYERS, &r->plus_depth, "", NULL, ""},
    {"plus.both", CLI_LAYERS, &r->plus_both, "", NULL, ""},
    {"plus.images", CLI_SIZE, &r->plus_images, "", NULL, ""},
    {"plus.multiple", CLI_INT, &r->plus_multiple, "", NULL, ""},
    {"plus.marks", CLI_LAYERS, &r->plus_marks, "", NULL, ""},
    {"tokens.merge", CLI_LAYERS, &r->tokens_merge, "", NULL, ""},
    {"tokens.speed", CLI_LAYERS, &r->tokens_speed, "", NULL, ""},
    {"tokens.remove", CLI_LAYERS, &r->tokens_remove, "", NULL, ""},
    {"finer.epochs", CLI_INT, &r->finer_epochs, "", NULL, ""},
    {"finer.lr", CLI_SAID, &r->finer_lr, "", NULL, ""},
    {"finer.warmup", CLI_REAL, &r->finer_warmup, "", NULL, ""},
    {"finer.mix_prob", CLI_SAID, &r->finer_mix_prob, "", NULL, ""},
    {"finer.ema", CLI_REAL, &r->finer_ema, "", NULL, ""},
    {"better.epochs", CLI_INT, &r->better_epochs, "", NULL, ""},
    {"better.batch", CLI_INT, &r->better_batch, "", NULL, ""},
    {"better.lr", CLI_SAID, &r->better_lr, "", NULL, ""},
    {"better.mix_prob", CLI_SAID, &r->better_mix_prob, "", NULL, ""},
    {"better.trivial", CLI_INT, &r->better_trivial, "", NULL, ""},
    {"better.drop_path", CLI_REAL, &r->better_drop_path, "", NULL, ""},
    {"better.ema", CLI_REAL, &r->better_ema, "", NULL, ""},
    {"better.alpha", CLI_SAID, &r->better_alpha, "", NULL, ""},
    {"headline.layers", CLI_INT, &r->headline_layers, "", NULL, ""},
    {"headline.images", CLI_SIZE, &r->headline_images, "", NULL, ""},
    {"headline.lr", CLI_REAL_UP, &r->headline_lr, "", NULL, ""},
    {"headline.features", CLI_REAL, &r->headline_features, "", NULL, ""},
    {"headline.alpha", CLI_REAL, &r->headline_alpha, "", NULL, ""},
    {"headline.uncropped", CLI_INT, &r->headline_uncropped, "", NULL, ""},
    {"headline.swaps", CLI_INT, &r->headline_swaps, "", NULL, ""},
    {"headline.healing", CLI_LAYERS, &r->headline_healing, "", NULL, ""},
    {"headline.narrow_lr", CLI_REAL_UP, &r->headline_narrow_lr, "", NULL, ""},
    {"headline.trivial", CLI_INT, &r->headline_trivial, "", NULL, ""},
    {"headline.marks", CLI_LAYERS, &r->headline_marks, "", NULL, ""},
    {"headline.long", CLI_LAYERS, &r->headline_long, "", NULL, ""}};
  memcpy(out, keys, sizeof keys);
  return (int)(sizeof keys / sizeof keys[0]);
}

/* Finds values that the parts could not live with. */
static const char *study_impossible(const study_recipe *r) {
  const cli_layers *marks[] = {&r->recovery_marks, &r->which_marks, &r->types_marks,
                               &r->text_marks, &r->start_marks, &r->distill_marks,
                               &r->plus_marks, &r->headline_marks, &r->headline_long,
                               &r->headline_healing};
  int i, k;
  for (i = 0; i < 10; i++) {
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
  if (r->headline_swaps < 0 || r->headline_swaps > STUDY_MOST_SWAPS || !r->headline_healing.count)
    return "headline.swaps must be 0 to 50, headline.healing a number of epochs";
  if (study_start(r->start_best) < 0 || study_start(r->distill_start) < 0)
    return "a start is called paper, skip, skip-fit or fit";
  return NULL;
}

bdpt_status study_read(study *s, bdpt_context *ctx, const char *path) {
  cli_option keys[STUDY_KEYS];
  int seen[STUDY_KEYS], count = study_keys(&s->recipe, keys), k;
  const char *problem;
  char why[CLI_WHY];
  bdpt_status status = bdpt_file_read(ctx, path, &s->text);
  if (status != BDPT_OK) return status;
  memset(seen, 0, sizeof seen);
  if (memchr(s->text.data, 0, s->text.size))
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: no text", path);
  if (!cli_settings_read((char *)s->text.data, keys, count, 0, seen, why))
    return cli_fail(ctx, BDPT_E_FORMAT, "%s: %s", path, why);
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
         strncmp(name, "finer.", 6) == 0 ||
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
