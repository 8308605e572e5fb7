/* networks.c: the jobs of the study: networks pruned and trained */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/progress.h"
#include "../cli/system.h"
#include "../pictures/trivial.h"
#include "../record.h"
#include "../session.h"
#include "pieces.h"
#include "reproduce.h"
#include "study.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 3  NETWORKS
 * =================================================================================================
 * A job: the dense network without some layers, trained for a while.
 */
static const char *const study_rivals_by[] = {"-", "block maps", "idle channels",
                                             "smaller input", "in steps", "closing gate",
                                             "repaired", "class token", "matched where",
                                             "matched last", "no labels"};
const char *const study_teachers[] = {"none", "soft", "hard", "own"};

const study_place study_starts[] = {
  {"paper", BDPT_ATTN_NORM, BDPT_START_PAPER}, {"skip", BDPT_ATTN_SKIP, BDPT_START_SKIP},
  {"skip-fit", BDPT_ATTN_SKIP, BDPT_START_SKIP_FIT}, {"fit", BDPT_ATTN_NORM, BDPT_START_FIT}};

int study_start(const char *name) {
  int i = STUDY_STARTS - 1;
  while (i >= 0 && strcmp(study_starts[i].name, name) != 0) i--;
  return i;
}

study_spec study_spec_of(const study *s, int start, const cli_layers *marks, int seed) {
  study_spec spec;
  memset(&spec, 0, sizeof spec);
  spec.start = start;
  spec.form = study_starts[start].form;
  spec.marks = marks;
  spec.seed = s->o.common.seed + (size_t)seed;
  return spec;
}

void study_first(const study *s, int attention, int activation, study_spec *spec) {
  int i;
  memset(spec->which, 0, sizeof spec->which);
  for (i = 0; i < attention; i++) spec->which[0][s->order[0][i]] = 1;
  for (i = 0; i < activation; i++) spec->which[1][s->order[1][i]] = 1;
}

int study_layers(const int *which, int depth, int *out) {
  int l, n = 0;
  for (l = 0; l < depth; l++)
    if (which[l]) out[n++] = l;
  return n;
}

void study_name(const study *s, const study_spec *p, char out[STUDY_NAME]) {
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
  if (p->better)
    snprintf(out + strlen(out), STUDY_NAME - strlen(out), " parent %s", s->better_hash);
  if (p->alpha > 0)
    snprintf(out + strlen(out), STUDY_NAME - strlen(out), " alpha %g", p->alpha);
  if (p->uncropped) snprintf(out + strlen(out), STUDY_NAME - strlen(out), " uncropped");
  if (p->trivial) snprintf(out + strlen(out), STUDY_NAME - strlen(out), " trivial");
  if (p->rival)
    snprintf(out + strlen(out), STUDY_NAME - strlen(out), " rival %s", study_rivals_by[p->rival]);
}

/* Writes the path of a checkpoint that belongs to this job of this study; of a job that removes in
 * steps, to so many layers gone. */
static void study_checkpoint(const study *s, const char *name, int gone, char *out, size_t room) {
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
  h += (uint64_t)gone;
  snprintf(out, room, "%s/job-%016llx.ckpt", s->o.out, (unsigned long long)h);
}

bdpt_recipe study_training(const study *s, int epochs, size_t seed) {
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

/* Trains a root, writes its file, and records its epochs unless its line is there. */
static bdpt_status study_root_train(study *s, const study_root *r) {
  bdpt_epoch *log = (bdpt_epoch *)calloc((size_t)r->recipe.epochs + 1, sizeof *log);
  bdpt_hooks hooks = session_hooks(&s->base, r->name);
  char file[40];
  bdpt_status status = log ? BDPT_OK : BDPT_E_MEMORY;
  if (!*r->model) *r->model = bdpt_model_clone(s->dense);
  if (!*r->model) status = s->base.ctx->status;
  if (status == BDPT_OK && r->recipe.epochs > 0)
    status = bdpt_train(*r->model, r->teacher,
                        &(bdpt_run){&s->base.in.rest, &s->base.in.held, &hooks}, &r->recipe, log);
  snprintf(file, sizeof file, "%s.safetensors", r->name);
  if (status == BDPT_OK)
    status = bdpt_model_save(*r->model, session_path(&s->base, file));
  if (status == BDPT_OK && !study_find(s, r->name, NULL, NULL, NULL, 0).text)
    session_record_epochs(&s->base, r->name, log, r->recipe.epochs);
  free(log);
  return status;
}

bdpt_status study_root_make(study *s, const study_root *r, int *fresh) {
  int known = study_find(s, r->name, NULL, NULL, NULL, 0).text != NULL, there;
  const int computes = study_cell(s, r->name, known, r->trained, r->evaluated);
  char path[800], before[20];
  bdpt_status status;
  record_line line;
  *fresh = 0;
  if (s->share.mode == STUDY_LISTS) return BDPT_OK;
  line = study_find(s, r->name, NULL, NULL, NULL, 0); /* which another share may have left */
  known = line.text != NULL;
  if (!known && !computes && s->share.mode != STUDY_ALL) return BDPT_OK;
  record_text(line, "hash", before, sizeof before);
  snprintf(path, sizeof path, "%s/%s.safetensors", s->o.out, r->name);
  there = cli_file_exists(path) != 0;
  if (known && !there && s->share.mode != STUDY_ALL)
    return cli_fail(s->base.ctx, BDPT_E_IO, "%s: %s is not here; all shares need it", path,
                    r->what);
  if (known && there) {
    bdpt_model_free(*r->model);
    *r->model = bdpt_model_load(s->base.ctx, path, NULL);
    if (!*r->model) return s->base.ctx->status;
  } else {
    status = study_root_train(s, r);
    if (status != BDPT_OK) return status;
  }
  bdpt_model_hash(*r->model, r->hash);
  if (known && strcmp(before, r->hash) != 0)
    return cli_fail(s->base.ctx, BDPT_E_FORMAT, "%s has the hash %s, the one of the record had %s: "
                    "another compiler or processor, or another file; --fresh starts again",
                    r->what, r->hash, before);
  *fresh = !known;
  return BDPT_OK;
}

bdpt_model *study_parent(const study *s, const study_spec *p) {
  return p->better ? s->better : s->dense;
}

bdpt_model *study_pruned(study *s, const study_spec *p) {
  bdpt_model *m = bdpt_model_clone(study_parent(s, p));
  int t, l;
  bdpt_layers gone = {{0, 0}};
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  if (m) m->config.attn_form = (bdpt_attn_form)p->form;
  if (m) m->config.extra_gelu = (bdpt_extra_gelu)p->gelu;
  for (t = 0; t < 2; t++)
    for (l = 0; l < s->base.depth; l++)
      if (p->which[t][l]) bdpt_layers_add(&gone, (bdpt_type)t, l);
  if (status == BDPT_OK && p->rival && p->rival < STUDY_MATCH_WHERE)
    status = study_stand_in(s, m, p);
  else if (status == BDPT_OK)
    status = bdpt_remove(m, &gone, study_starts[p->start].start, &s->base.in.rest, NULL);
  if (status == BDPT_OK && p->macs > 0) status = study_narrow(s, m, p->macs);
  if (status == BDPT_OK) return m;
  bdpt_model_free(m);
  return NULL;
}

bdpt_status study_steps(study *s, bdpt_trainer *t, size_t until, size_t total,
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
    stop = session_stops(&s->base, cli_progress_hook(&now, &s->base.progress));
    saved += images / per_epoch;
    if (status != BDPT_OK || !checkpoint || (!stop && saved < 20000)) {
      if (stop && status == BDPT_OK) status = BDPT_CANCELLED;
      continue;
    }
    status = cli_save_trainer(s->base.ctx, t, checkpoint);
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

/* Writes the last line of a network: what it costs once it is fused, and how it does on the test
 * images, which it meets here for the only time. */
static bdpt_status study_finish_network(study *s, bdpt_model *m, const char *name,
                                        const char *hash) {
  cli_json *j = &s->base.record.text;
  bdpt_cost_report cost;
  bdpt_accuracy a;
  bdpt_status status = study_fused_cost(s, m, &cost);
  if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.tested, &a);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "network");
  cli_json_text(j, "name", name);
  cli_json_text(j, "dense", hash);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_real(j, "test", a.top1);
  cli_json_real(j, "test_images", (double)a.count);
  cli_json_close(j);
  return record_save(&s->base.record);
}

void study_teacher_path(const study *s, char *out, size_t room) {
  snprintf(out, room, "%s/teacher.safetensors", s->o.out);
}

/* A job under way. */
typedef struct study_job {
  const study_spec *p;
  const char *name;
  bdpt_model *m;
  bdpt_trainer *t;
  size_t total;         /* steps */
  char checkpoint[800], detail[60];
} study_job;

/* Returns how many layers are gone; 0 for a job that loses all at once. */
static int study_gone(const study_spec *p, const bdpt_model *m) {
  return p->rival == STUDY_IN_STEPS ? bdpt_removed(&m->config, 0) + bdpt_removed(&m->config, 1) : 0;
}

/* Removes what was gone when the latest file of a job that removes in steps was saved. */
static bdpt_status study_rejoin(study *s, study_job *j) {
  char path[800];
  bdpt_status status = BDPT_OK;
  int gone, had = 0;
  for (gone = study_gone(j->p, j->m); gone > 0 && gone <= 2 * s->base.depth; gone++) {
    study_checkpoint(s, j->name, gone, path, sizeof path);
    if (cli_file_exists(path) != 0) had = gone;
  }
  while (status == BDPT_OK && study_gone(j->p, j->m) < had)
    status = study_remove_next(s, j->p, j->m);
  study_checkpoint(s, j->name, study_gone(j->p, j->m), j->checkpoint, sizeof j->checkpoint);
  return status;
}

/* Trains to a step, and removes on the way what is due. */
static bdpt_status study_train_to(study *s, study_job *j, size_t until) {
  bdpt_status status = BDPT_OK;
  char before[800];
  size_t next;
  while (status == BDPT_OK && (next = study_next_removal(j->p, j->m, j->total)) < until) {
    status = study_steps(s, j->t, next, j->total, j->detail, j->checkpoint);
    if (status == BDPT_OK) status = study_remove_next(s, j->p, j->m);
    snprintf(before, sizeof before, "%s", j->checkpoint);
    study_checkpoint(s, j->name, study_gone(j->p, j->m), j->checkpoint, sizeof j->checkpoint);
    if (status == BDPT_OK) status = cli_save_trainer(s->base.ctx, j->t, j->checkpoint);
    if (status == BDPT_OK) remove(before);
  }
  if (status != BDPT_OK) return status;
  return study_steps(s, j->t, until, j->total, j->detail, j->checkpoint);
}

/* Holds the streams together behind the blocks that lost a layer, or behind the last one. */
static void study_match(const study_spec *p, bdpt_model *m, bdpt_model *teacher,
                        piece_twin *twin) {
  int l;
  memset(twin, 0, sizeof *twin);
  twin->weight = p->features;
  for (l = 0; l < m->config.depth; l++)
    if (p->rival == STUDY_MATCH_WHERE ? p->which[0][l] || p->which[1][l] : l == m->config.depth - 1)
      twin->blocks |= UINT64_C(1) << l;
  piece_twins(m, teacher, twin);
}

void study_change(study *s, int trivial) {
  bdpt_dataset *images = &s->base.in.train;
  images->user = trivial ? &images->height : NULL;
  images->change = trivial ? trivial_change : NULL;
}

/* Trains a job, mark by mark. */
static bdpt_status study_train(study *s, bdpt_model *m, bdpt_model *teacher, const study_spec *p,
                               const char *name) {
  bdpt_recipe r = study_training(s, p->marks->layer[p->marks->count - 1], p->seed);
  const int some = p->rival == STUDY_MATCH_WHERE || p->rival == STUDY_MATCH_LAST;
  piece_twin twin;
  study_job j;
  size_t each;
  int i;
  bdpt_status status;
  memset(&j, 0, sizeof j);
  j.p = p; j.name = name; j.m = m;
  if (teacher) r.distill = p->teacher == STUDY_HARD ? BDPT_DISTILL_HARD : BDPT_DISTILL_SOFT;
  if (p->lr > 0) r.lr = p->lr;
  if (p->uncropped) r.crop = 0;
  r.distill_features = some ? 0 : p->features;
  r.distill_alpha = p->alpha > 0 ? p->alpha : s->recipe.distill_alpha;
  if (p->rival == STUDY_NO_LABELS) r.distill_alpha = 1;
  r.distill_tau = s->recipe.distill_tau;
  status = study_mark(s, m, name, 0);
  if (status == BDPT_OK) status = study_rejoin(s, &j);
  j.t = status == BDPT_OK ? bdpt_trainer_create(m, teacher, &s->base.in.rest, &r) : NULL;
  if (!j.t) return s->base.ctx->status;
  if (cli_file_exists(j.checkpoint) != 0)
    status = cli_load_trainer(s->base.ctx, j.t, j.checkpoint);
  each = bdpt_trainer_steps_per_epoch(j.t);
  j.total = each * (size_t)r.epochs;
  if (p->rival == STUDY_CLOSING) {
    s->gate->trainer = j.t;
    s->gate->end = (double)j.total / 3;
  }
  if (some) study_match(p, m, teacher, &twin);
  study_change(s, p->trivial);
  snprintf(j.detail, sizeof j.detail, "%d+%d removed, %s, seed %zu", bdpt_removed(&m->config, 0),
           bdpt_removed(&m->config, 1), study_starts[p->start].name, p->seed);
  for (i = 0; i < p->marks->count && status == BDPT_OK; i++) {
    status = study_train_to(s, &j, each * (size_t)p->marks->layer[i]);
    if (status == BDPT_OK) status = study_mark(s, m, name, p->marks->layer[i]);
  }
  study_change(s, 0);
  if (p->rival == STUDY_CLOSING) m->block = NULL; /* the gate is closed */
  if (some) piece_part(m, teacher, &twin);
  bdpt_trainer_free(j.t);
  return status;
}

bdpt_status study_network(study *s, const study_spec *p) {
  char name[STUDY_NAME], path[800], checkpoint[800];
  bdpt_model *m, *teacher = NULL, *own = NULL;
  bdpt_status status = BDPT_OK;
  int known, kept;
  const double epoch = (double)s->recipe.epoch, held = (double)s->base.in.held.count;
  study_name(s, p, name);
  study_teacher_path(s, path, sizeof path);
  known = study_find(s, "network", "name", name, NULL, 0).text != NULL;
  kept = strcmp(name, s->keep) == 0;
  if (!study_cell(s, name, known, epoch * p->marks->layer[p->marks->count - 1],
                  (p->marks->count + 1) * held + (double)s->base.in.tested.count) &&
      (!known || !kept || s->share.mode == STUDY_LISTS || cli_file_exists(path) != 0))
    return BDPT_OK;
  m = study_pruned(s, p);
  if (!m) return s->base.ctx->status;
  if (p->teacher == STUDY_OWN) {
    teacher = own = bdpt_model_load(s->base.ctx, path, NULL);
    if (!own) status = s->base.ctx->status;
  } else if (p->teacher != STUDY_ALONE) teacher = study_parent(s, p);
  if (status == BDPT_OK) status = study_train(s, m, teacher, p, name);
  if (status == BDPT_OK && kept) status = bdpt_model_save(m, path);
  if (status == BDPT_OK && !known)
    status = study_finish_network(s, m, name, p->better ? s->better_hash : s->hash);
  study_checkpoint(s, name, study_gone(p, m), checkpoint, sizeof checkpoint);
  if (status == BDPT_OK) remove(checkpoint); /* before the next collective call: no race */
  bdpt_model_free(own);
  bdpt_model_free(m);
  return known ? status : study_cell_end(s, status);
}

double study_tail(study *s, const study_spec *p) {
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
    cli_json_ints(j, bdpt_type_name((bdpt_type)t), layer, study_layers(p->which[t], s->base.depth,
                                                                       layer));
  cli_json_reals(j, "marks", mark, n + 1);
  cli_json_reals(j, "accuracies", accuracy, n + 1);
  cli_json_real(j, "test", record_real(network, "test", NAN));
  cli_json_real(j, "params", record_real(network, "params", NAN));
  cli_json_real(j, "macs", record_real(network, "macs", NAN));
  cli_json_close(j);
  return accuracy[n];
}

void study_say_curve(study *s, record_line line) {
  double a[BDPT_MAX_MARKS + 1];
  int n = record_reals(line, "accuracies", a, BDPT_MAX_MARKS + 1), i;
  for (i = 0; i < n; i++) session_say(&s->base, " %6.2f", a[i]);
  session_say(&s->base, "   test %.2f\n", record_real(line, "test", NAN));
}
