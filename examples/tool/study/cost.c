/* cost.c: what the parts of the study cost */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../session.h"
#include "../timing.h"
#include "reproduce.h"
#include "study.h"

#include <stdio.h>
#include <stdlib.h>

/* =================================================================================================
 * 8  THE PARTS, AND WHAT THEY COST
 * =================================================================================================
 * The table is printed before anything starts: images to train and to evaluate, counted from the
 * recipe, over the speeds measured a moment ago.
 */

typedef struct study_cost { double train, eval, seconds; } study_cost;

/* Adds what `jobs` networks cost, trained to the last mark and measured at each, then on the test
 * images. */
static void study_cost_jobs(const study *s, int jobs, const cli_layers *marks, study_cost *c) {
  double held = (double)s->base.in.held.count, test = (double)s->base.in.tested.count;
  c->train += (double)jobs * marks->layer[marks->count - 1] * (double)s->recipe.epoch;
  c->eval += (double)jobs * ((marks->count + 1) * held + test);
}

/* Returns seconds for part 8, from the multiply-accumulates of its networks. */
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
  return macs * (double)TIMING_BATCH * (s->recipe.speed_repeats + 2) / (own.macs * s->eval_speed);
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
    study_cost_jobs(s, (3 * r->types_layers.count + 1) * r->seeds, &r->types_marks, &c);
    c.eval += 3 * r->types_layers.count * 2.0 * (r->types_repeats + 2) * (double)TIMING_BATCH;
  }
  if (part == 8) c.seconds = study_cost_speed(s);
  if (part == 9) study_cost_jobs(s, STUDY_VARIANTS * r->seeds, &r->text_marks, &c);
  if (part == 10) { /* the joint networks of the paper's start are shared with part 7 */
    study_cost_jobs(s, budgets * r->seeds + 2 * r->seeds * (r->start_extra > 0),
                    &r->start_marks, &c);
    c.eval += layers * 2 * held;
  }
  if (part == 11) /* one of four is part 10's */
    study_cost_jobs(s, STUDY_OWN * r->seeds, &r->distill_marks, &c);
  if (part == 12)
    study_cost_jobs(s, STUDY_PLUS_JOBS * r->plus_depth.count * r->seeds, &r->plus_marks, &c);
  if (part == 13) {
    c.eval = 2 * r->tokens_merge.count * held;
    c.seconds = r->tokens_speed.count * study_cost_speed(s) / 4; /* Small is a quarter of it */
  }
  if (part == 14) study_cost_jobs(s, STUDY_PICKS * r->seeds, &r->which_marks, &c);
  if (part == 15) {
    const double images = r->dense_images ? (double)r->dense_images : rest;
    const double finer = r->finer_epochs > 0 ? STUDY_FINER_COST : 1;
    c.train = (r->better_epochs + finer * r->finer_epochs) * images;
    c.eval = finer * r->better_epochs * images / 3 + (double)s->base.in.tested.count;
  }
  if (part == 16) study_cost_jobs(s, STUDY_PIECES * r->seeds, &r->headline_marks, &c);
  if ((part == 16 || part == 19) && r->headline_swaps > 0)
    study_cost_jobs(s, 2 + 2 * s->base.depth + r->headline_swaps, &r->headline_healing, &c);
  if (part == 17) study_cost_jobs(s, r->seeds, &r->headline_long, &c);
  if (part == 18)
    study_cost_jobs(s, STUDY_RIVALS * r->seeds * r->plus_depth.count, &r->headline_marks, &c);
  if (part == 19) study_cost_jobs(s, STUDY_RIVAL_ROWS * r->seeds, &r->headline_marks, &c);
  if (part == 20) {
    study_cost_jobs(s, STUDY_READINGS * r->seeds, &r->which_marks, &c);
    c.train += study_readings_cost(s, &points);
    c.eval += points;
  }
  if (part == 14 || part == 16 || part == 19) c.eval += study_greedy_images(s);
  if (part == 18) c.eval += 2 * r->plus_depth.count * study_greedy_images(s);
  c.seconds += c.train / s->train_speed + c.eval / s->eval_speed;
  return c;
}

void study_part_cost(study *s, int part, double *train, double *eval) {
  const study_cost c = study_cost_of(s, part);
  *train = c.train;
  *eval = c.eval;
}

bdpt_status study_pace(study *s) {
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

int study_selected(const study *s, int part) {
  int i;
  for (i = 0; i < s->o.parts.count; i++)
    if (s->o.parts.layer[i] == part) return 1;
  return s->o.parts.count == 0 && part <= STUDY_PLAIN;
}

double study_left(study *s) {
  double seconds = 0;
  int part;
  for (part = 1; part <= STUDY_PARTS; part++)
    if (study_selected(s, part) && !study_part_done(s, part))
      seconds += study_cost_of(s, part).seconds;
  return seconds;
}

/* Returns what the table says of a part: done, to do, or not asked for. */
static const char *study_state(const study *s, int part) {
  if (study_part_done(s, part)) return "done";
  return study_selected(s, part) ? "to do" : "not asked for";
}

/* Writes one part of the table as a JSON line. */
static void study_plan_line(study *s, cli_json *j, int part, const study_cost *c) {
  cli_json_open(j, "plan");
  cli_json_real(j, "part", part);
  cli_json_text(j, "name", study_part[part].name);
  cli_json_real(j, "images_trained", c->train);
  cli_json_real(j, "images_evaluated", c->eval);
  cli_json_real(j, "seconds", c->seconds);
  cli_json_text(j, "state", study_state(s, part));
  cli_json_close(j);
}

bdpt_status study_table(study *s) {
  cli_json j = {NULL, 0, 0, 0, 0};
  char time[40];
  int part;
  session_say(&s->base, "\n   part           images trained  evaluated      time\n");
  for (part = 1; part <= STUDY_PARTS; part++) {
    study_cost c = study_cost_of(s, part);
    cli_duration(time, c.seconds);
    study_plan_line(s, &j, part, &c);
    session_say(&s->base, "   %2d  %-10s %14.0f %10.0f %9s  %s\n", part, study_part[part].name,
                c.train, c.eval, time, study_state(s, part));
  }
  cli_duration(time, study_left(s));
  session_say(&s->base,
              "   left to do: about %s, at the %.0f images trained and %.0f evaluated in a "
              "second\n   that were measured just now\n", time, s->train_speed, s->eval_speed);
  cli_json_open(&j, "left");
  cli_json_real(&j, "seconds", study_left(s));
  cli_json_real(&j, "trained_per_second", s->train_speed);
  cli_json_real(&j, "evaluated_per_second", s->eval_speed);
  cli_json_close(&j);
  if (!s->base.json || !s->o.list) {
    free(j.text);
    return BDPT_OK;
  }
  return cli_json_print(&j, s->base.ctx);
}
