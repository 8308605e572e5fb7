/* speed.c: parts 7 and 8 of the study: accuracy against speed */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../record.h"
#include "../session.h"
#include "../timing.h"
#include "standins.h"
#include "study.h"

#include <math.h>
#include <stdio.h>

/* =================================================================================================
 * 6  PARTS 7 AND 8: ACCURACY AGAINST SPEED
 * ============================================================================================== */

bdpt_status study_time(study *s, bdpt_model *dense, bdpt_model *pruned, int repeats,
                       const int merge[2]) {
  cli_json *j = &s->base.record.text;
  bdpt_cost_report cost[2];
  bdpt_model *pair[2];
  timing time[2];
  bdpt_status status = bdpt_fuse_all(pruned);
  pair[0] = dense;
  pair[1] = pruned;
  if (status == BDPT_OK)
    status = bdpt_merging_cost(s->base.ctx, &dense->config, merge ? merge[0] : 0, &cost[0]);
  if (status == BDPT_OK)
    status = bdpt_merging_cost(s->base.ctx, &pruned->config, merge ? merge[1] : 0, &cost[1]);
  if (status == BDPT_OK) standin_cost(pruned, &cost[1]);
  s->base.ctx->bf16 = 0; /* times are those of floats, whatever the accuracies are made with */
  if (status == BDPT_OK) status = timing_measure(&s->base.in.held, pair, 2, repeats, time);
  s->base.ctx->bf16 = s->recipe.bf16 || s->o.common.bf16;
  if (status != BDPT_OK) return status;
  cli_json_real(j, "attentions", bdpt_removed(&pruned->config, 0));
  cli_json_real(j, "activations", bdpt_removed(&pruned->config, 1));
  cli_json_real(j, "speedup", time[0].ms / time[1].ms);
  cli_json_real(j, "speedup_low", time[0].low / time[1].high);
  cli_json_real(j, "speedup_high", time[0].high / time[1].low);
  cli_json_real(j, "dense_ms", time[0].ms);
  cli_json_real(j, "ms", time[1].ms);
  cli_json_real(j, "ms_low", time[1].low);
  cli_json_real(j, "ms_high", time[1].high);
  cli_json_real(j, "batch", TIMING_BATCH);
  cli_json_real(j, "dense_macs", cost[0].macs);
  cli_json_real(j, "macs", cost[1].macs);
  cli_json_real(j, "params", (double)cost[1].params);
  cli_json_close(j);
  return BDPT_OK;
}

/* ---- 7  One type or both ---- */

static const char *const study_mix[3] = {"attention", "activation", "joint"};

static study_spec study_types_spec(const study *s, int mix, int layers, int seed) {
  study_spec p = study_spec_of(s, STUDY_PAPER, &s->recipe.types_marks, seed);
  const int attentions[3] = {layers, 0, layers / 2}; /* as study_mix names them */
  study_first(s, attentions[mix], layers - attentions[mix], &p);
  return p;
}

/* Times a pruned network beside the dense one, as a line. */
static bdpt_status study_types_time(study *s, const char *mix, const study_spec *p) {
  cli_json *j = &s->base.record.text;
  bdpt_model *m = study_pruned(s, p);
  bdpt_status status;
  if (!m) return s->base.ctx->status;
  cli_json_open(j, "timing");
  cli_json_text(j, "model", mix);
  cli_json_real(j, "image", s->dense->config.image);
  status = study_time(s, s->dense, m, s->recipe.types_repeats, NULL);
  bdpt_model_free(m);
  return status;
}

/* Writes the lines of one seed; speed has none, so the first seed's networks are timed. */
static bdpt_status study_types_lines(study *s, int seed) {
  const cli_layers *layers = &s->recipe.types_layers;
  cli_json *j = &s->base.record.text;
  study_spec control = study_types_spec(s, 0, 0, seed);
  bdpt_status status = BDPT_OK;
  int i;
  if (!study_has(s, "control", NULL, NULL, NULL, 0, control.seed)) {
    cli_json_open(j, "control");
    study_tail(s, &control);
  }
  for (i = 0; i < 3 * layers->count && status == BDPT_OK; i++) {
    int n = layers->layer[i / 3];
    study_spec p = study_types_spec(s, i % 3, n, seed);
    if (study_has(s, "types", "type", study_mix[i % 3], "layers", n, p.seed)) continue;
    cli_json_open(j, "types");
    cli_json_text(j, "type", study_mix[i % 3]);
    cli_json_real(j, "layers", n);
    study_tail(s, &p);
    if (seed == 0) status = study_types_time(s, study_mix[i % 3], &p);
  }
  return status;
}

bdpt_status study_types(study *s) {
  const cli_layers *layers = &s->recipe.types_layers;
  const int each = 3 * layers->count + 1; /* the last is the control, with nothing removed */
  bdpt_status status = BDPT_OK;
  size_t before;
  int i;
  for (i = 0; i < each * s->recipe.seeds && status == BDPT_OK; i++) {
    int job = i % each, control = job == each - 1;
    study_spec p = study_types_spec(s, control ? 0 : job % 3, control ? 0 : layers->layer[job / 3],
                                    i / each);
    status = study_network(s, &p);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
  before = s->base.record.text.used;
  for (i = 0; i < s->recipe.seeds && status == BDPT_OK; i++) status = study_types_lines(s, i);
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

void study_tell_types(study *s) {
  int i, t;
  session_say(&s->base, "   Measured speed-up; held-out accuracy at once and at the marks:\n"
              "   dense, trained on    ");
  study_say_curve(s, study_find(s, "control", NULL, NULL, NULL, 0));
  for (t = 0; t < 3; t++)
    for (i = 0; i < s->recipe.types_layers.count; i++) {
      int n = s->recipe.types_layers.layer[i];
      study_spec p = study_types_spec(s, t, n, 0);
      record_line line = study_find(s, "types", "type", study_mix[t], "layers", n), time;
      int layer[BDPT_MAX_DEPTH];
      size_t at = 0;
      while ((time = study_next(s, &at)).text)
        if (record_is(time, "kind", "timing") && record_is(time, "model", study_mix[t]) &&
            record_int(time, "attentions", -1) == study_layers(p.which[0], s->base.depth, layer) &&
            record_int(time, "activations", -1) == study_layers(p.which[1], s->base.depth, layer))
          break;
      session_say(&s->base, "   %-10s %2d  %5.2fx ", study_mix[t], n,
                  record_real(time, "speedup", NAN));
      study_say_curve(s, line);
    }
}

/* ---- 8  Speed ---- */

const char *const study_sizes[3] = {"tiny", "small", "base"};
static const int study_published[2][5] = {{0, 3, 7, 8, 11}, {2, 7, 8, 10, 11}}; /* DeiT-B, 5+5 */

bdpt_status study_speed_prune(bdpt_model *m, const cli_layers *count) {
  bdpt_status status = BDPT_OK;
  int t, i, l;
  for (t = 0; t < 2; t++) {
    for (i = 0; i < 5 && i < count->layer[t] && status == BDPT_OK; i++)
      status = bdpt_prune(m, (bdpt_type)t, study_published[t][i]);
    for (l = 0; l < m->config.depth && bdpt_removed(&m->config, (bdpt_type)t) < count->layer[t] &&
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
  if (status == BDPT_OK) status = study_time(s, dense, pruned, s->recipe.speed_repeats, NULL);
  bdpt_model_free(dense);
  bdpt_model_free(pruned);
  if (status != BDPT_OK) j->used = before;
  return status == BDPT_OK ? record_save(&s->base.record) : status;
}

bdpt_status study_speed(study *s) {
  bdpt_status status = BDPT_OK;
  int size;
  for (size = 0; size < 3 && status == BDPT_OK; size++) status = study_speed_of(s, size);
  return status;
}

void study_tell_speed(study *s) {
  static const char *const published[3] = {"", " (published 1.39)", " (published 1.58)"};
  int size;
  for (size = 0; size < 3; size++) {
    char name[60];
    record_line l;
    snprintf(name, sizeof name, "deit_%s_patch16_224", study_sizes[size]);
    l = study_find(s, "timing", "model", name, NULL, 0);
    if (!l.text) continue;
    session_say(&s->base,
                "   %-22s %d+%d removed: %.1f -> %.1f ms for %d images, %.2f times as fast "
                "(%.2f-%.2f)%s\n", name, record_int(l, "attentions", 0),
                record_int(l, "activations", 0),
                record_real(l, "dense_ms", NAN), record_real(l, "ms", NAN), TIMING_BATCH,
                record_real(l, "speedup", NAN), record_real(l, "speedup_low", NAN),
                record_real(l, "speedup_high", NAN), published[size]);
  }
}
