/* training.c: parts 9 to 11 of the study: what training starts from and who teaches */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "study.h"

#include <math.h>
#include <stdio.h>

/* =================================================================================================
 * 7  PARTS 9 TO 11: WHAT TRAINING STARTS FROM AND WHO TEACHES
 * ============================================================================================== */

/* ---- 9  Text against code ---- */
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

bdpt_status study_text(study *s) {
  bdpt_status status = BDPT_OK;
  int i, jobs = STUDY_VARIANTS * s->recipe.seeds;
  for (i = 0; i < jobs && status == BDPT_OK; i++) {
    study_spec p = study_text_spec(s, i % STUDY_VARIANTS, i / STUDY_VARIANTS);
    status = study_network(s, &p);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
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

void study_tell_text(study *s) {
  int i;
  for (i = 0; i < STUDY_VARIANTS; i++)
    study_say_spread(s, "semantics", "variant", study_variants[i].name, NULL, 0);
}

/* ---- 10  The start of training ---- */

/* Measures every single layer replaced, with nothing trained. The paper's start is in the
 * recovery lines. */
static bdpt_status study_single(study *s, int type, int layer) {
  cli_json *j = &s->base.record.text;
  bdpt_model *m = bdpt_model_clone(s->dense);
  bdpt_layers one = {{0, 0}};
  bdpt_fit_report fit;
  bdpt_accuracy a, skip;
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  const char *kind = bdpt_type_name((bdpt_type)type);
  char name[60];
  snprintf(name, sizeof name, "single-%s-%d", kind, layer);
  if (!study_cell(s, name, study_find(s, "single", "type", kind, "layer", layer).text != NULL, 0,
                  2 * (double)s->base.in.held.count)) {
    bdpt_model_free(m);
    return BDPT_OK;
  }
  skip.top1 = NAN;
  if (status == BDPT_OK) m->config.attn_form = BDPT_ATTN_SKIP;
  if (status == BDPT_OK && type == BDPT_ATTENTION) {
    status = bdpt_prune(m, (bdpt_type)type, layer);
    if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.held, &skip);
    if (status == BDPT_OK) status = bdpt_restore(m, (bdpt_type)type, layer);
  }
  bdpt_layers_add(&one, (bdpt_type)type, layer);
  if (status == BDPT_OK) status = bdpt_remove(m, &one, BDPT_START_FIT, &s->base.in.rest, &fit);
  if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.held, &a);
  bdpt_model_free(m);
  if (status == BDPT_OK && cli_stop) status = BDPT_CANCELLED;
  if (status != BDPT_OK) return status;
  cli_json_open(j, "single");
  cli_json_text(j, "type", kind);
  cli_json_real(j, "layer", layer);
  cli_json_real(j, "skip", skip.top1);
  cli_json_real(j, "fit", a.top1);
  cli_json_real(j, "error", fit.error);
  cli_json_real(j, "images", (double)(fit.images + fit.held));
  cli_json_close(j);
  return study_cell_end(s, record_save(&s->base.record));
}

/* Describes job i: budgets by seeds by two starts, then the other two starts at one budget, seed
 * after seed. Returns 0 at the end. */
static int study_start_spec(const study *s, int i, int *budget, study_spec *p) {
  const cli_layers *budgets = &s->recipe.start_budgets;
  int best = study_start(s->recipe.start_best), jobs = 2 * budgets->count * s->recipe.seeds;
  int start = i % 2 ? best : STUDY_PAPER, seed = i / (2 * budgets->count);
  *budget = i < jobs ? budgets->layer[i / 2 % budgets->count] : s->recipe.start_extra;
  if (i >= jobs) {
    int other = (i - jobs) % 2; /* of the starts that are neither the paper's nor the best */
    for (start = 0; start < STUDY_STARTS; start++)
      if (start != STUDY_PAPER && start != best && other-- == 0) break;
    seed = (i - jobs) / 2;
    if (seed == s->recipe.seeds || start == STUDY_STARTS || *budget == 0) return 0;
  }
  *p = study_spec_of(s, start, &s->recipe.start_marks, seed);
  study_first(s, *budget / 2, *budget - *budget / 2, p);
  return 1;
}

bdpt_status study_starting(study *s) {
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
    if (status != BDPT_OK || s->share.missing > 0 || s->share.mode == STUDY_LISTS ||
        study_find(s, "start", "label", label, "seed", (double)p.seed).text)
      continue; /* this part's lines stand between its cells */
    cli_json_open(j, "start");
    cli_json_text(j, "label", label);
    cli_json_text(j, "start", study_starts[p.start].name);
    cli_json_real(j, "budget", budget);
    study_tail(s, &p);
    status = record_save(&s->base.record); /* this part is long: what is known is drawn */
  }
  return status;
}

void study_tell_starting(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  double value[BDPT_MAX_DEPTH];
  study_spec p;
  int t, l, i, budget;
  study_rows(s, row);
  session_say(&s->base, "   Accuracy with one layer replaced and nothing trained:\n");
  session_say_numbers(&s->base);
  for (t = 0; t < 2; t++) {
    for (l = 0; l < s->base.depth; l++) value[l] = row[t * s->base.depth + l].at_once;
    session_say_layers(&s->base, t ? "GELU, identity" : "attention, x + LN1(x)", value, "%6.1f");
    for (l = 0; l < s->base.depth; l++)
      value[l] = record_real(study_find(s, "single", "type", bdpt_type_name((bdpt_type)t), "layer",
                                        l), "fit", NAN);
    session_say_layers(&s->base, "  least squares", value, "%6.1f");
  }
  session_say(&s->base, "   Several layers: at once, at the marks, and on the test images:\n");
  for (i = 0; study_start_spec(s, i, &budget, &p); i++) {
    char label[60];
    snprintf(label, sizeof label, "%s, %d layers", study_starts[p.start].name, budget);
    session_say(&s->base, "   %-20s seed %zu ", label, p.seed);
    study_say_curve(s, study_find(s, "start", "label", label, "seed", (double)p.seed));
  }
}

/* ---- 11  Self-distillation ---- */

study_spec study_distill_spec(const study *s, int teacher, int seed) {
  int start = study_start(s->recipe.distill_start), budget = s->recipe.distill_budget;
  study_spec p = study_spec_of(s, start, &s->recipe.distill_marks, seed);
  study_first(s, budget / 2, budget - budget / 2, &p);
  p.teacher = teacher;
  return p;
}

bdpt_status study_distill(study *s) {
  const int jobs = (STUDY_OWN + 1) * s->recipe.seeds;
  bdpt_status status = BDPT_OK;
  int i;
  for (i = 0; i < 2 * jobs && status == BDPT_OK; i++) { /* first those that the others wait for */
    const int teacher = i % (STUDY_OWN + 1);
    study_spec p = study_distill_spec(s, teacher, i % jobs / (STUDY_OWN + 1));
    if (i == jobs && study_waits(s)) return BDPT_OK;
    if ((teacher == STUDY_OWN) == (i >= jobs)) status = study_network(s, &p);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
  for (i = 0; i < jobs && status == BDPT_OK; i++) {
    const int teacher = i % (STUDY_OWN + 1);
    study_spec p = study_distill_spec(s, teacher, i / (STUDY_OWN + 1));
    if (study_has(s, "distillation", "teacher", study_teachers[teacher], NULL, 0, p.seed)) continue;
    cli_json_open(&s->base.record.text, "distillation");
    cli_json_text(&s->base.record.text, "teacher", study_teachers[teacher]);
    study_tail(s, &p);
  }
  return status;
}

void study_tell_distill(study *s) {
  static const char *const who[] = {"labels only", "dense network, soft", "dense network, hard",
                                    "its own finished self, soft"};
  int teacher;
  for (teacher = 0; teacher <= STUDY_OWN; teacher++) {
    session_say(&s->base, "   %-28s", who[teacher]);
    study_say_curve(s, study_find(s, "distillation", "teacher", study_teachers[teacher], NULL, 0));
  }
}
