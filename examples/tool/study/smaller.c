/* smaller.c: parts 12 and 13 of the study (reproduce.c)
 *
 *   12 plus    depth, width, and both together: accuracy at the same multiply-accumulates
 *   13 tokens  merging tokens, in the dense and in a pruned network: accuracy and speed
 *   19 rivals  its last way, the dense network with merged tokens (rivals.c has the others)
 *
 * Both came after the others. Their recipe is no part of a study's identity, as theirs is: nothing
 * else depends on it, and their lines and jobs name what they were made with.
 */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "../record.h"
#include "../session.h"
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- 12  Depth and width ---- */

enum { STUDY_DEPTH, STUDY_WIDTH, STUDY_BOTH };
static const char *const study_way_plus[] = {"depth", "width", "both"};

/* What is made for each budget. Width alone leaves every layer, so it has no start to choose. */
static const struct { int way, fit; } study_plus_jobs[] = {
  {STUDY_DEPTH, 0}, {STUDY_DEPTH, 1}, {STUDY_WIDTH, 0}, {STUDY_BOTH, 0}, {STUDY_BOTH, 1}};

double study_budget(const study *s, int n) {
  bdpt_config c = s->dense->config;
  bdpt_cost_report cost;
  int i;
  for (i = 0; i < n; i++) {
    c.block[s->order[0][i]].attention = BDPT_ATTENTION_REMOVED;
    c.block[s->order[1][i]].mlp_state = BDPT_MLP_FUSED;
  }
  return bdpt_cost(s->base.ctx, &c, &cost) == BDPT_OK ? cost.macs : 0;
}

static study_spec study_plus_spec(const study *s, int i, int seed) {
  const study_recipe *r = &s->recipe;
  const int budget = i / STUDY_PLUS_JOBS, way = study_plus_jobs[i % STUDY_PLUS_JOBS].way;
  const int fit = study_plus_jobs[i % STUDY_PLUS_JOBS].fit;
  const int n = way == STUDY_WIDTH ? 0 : (way == STUDY_DEPTH ? &r->plus_depth : &r->plus_both)
                                           ->layer[budget];
  study_spec p = study_spec_of(s, fit ? study_start(r->start_best) : STUDY_PAPER, &r->plus_marks,
                               seed);
  study_first(s, n, n, &p);
  if (way != STUDY_DEPTH) p.macs = study_budget(s, r->plus_depth.layer[budget]);
  return p;
}

bdpt_status study_narrow(study *s, bdpt_model *m, double macs) {
  bdpt_model *fused = bdpt_model_clone(m);
  const size_t units = bdpt_width_units(&m->config);
  double *score = (double *)calloc(units, sizeof *score);
  unsigned char *keep = (unsigned char *)calloc(units, 1);
  bdpt_width_options o;
  bdpt_width_report report;
  bdpt_config narrow;
  bdpt_status status = fused && score && keep ? bdpt_fuse_all(fused) : BDPT_E_MEMORY;
  memset(&o, 0, sizeof o);
  o.ratio[BDPT_EMBEDDING] = o.ratio[BDPT_HIDDEN] = o.ratio[BDPT_HEAD_SIZE] = 0.9;
  o.images = s->recipe.plus_images;
  o.multiple = s->recipe.plus_multiple;
  o.target = BDPT_TO_MACS;
  o.budget = macs;
  if (status == BDPT_OK) status = bdpt_width_score(m, &s->base.in.rest, &o, NULL, score);
  if (status == BDPT_OK)
    status = bdpt_width_plan(s->base.ctx, &fused->config, &o, score, keep, &narrow, &report);
  if (status == BDPT_OK) status = bdpt_width_shrink(m, keep);
  bdpt_model_free(fused);
  free(score);
  free(keep);
  return status;
}

/* Writes the line of job i of a seed and, of the first seed, the timing of its network. */
static bdpt_status study_plus_line(study *s, int i, int seed) {
  const int budget = i / STUDY_PLUS_JOBS, way = study_plus_jobs[i % STUDY_PLUS_JOBS].way;
  cli_json *j = &s->base.record.text;
  study_spec p = study_plus_spec(s, i, seed);
  bdpt_model *m = study_pruned(s, &p);
  bdpt_status status = m ? BDPT_OK : s->base.ctx->status;
  cli_json_open(j, "plus");
  cli_json_text(j, "way", study_way_plus[way]);
  cli_json_text(j, "start", way == STUDY_WIDTH ? "-" : study_starts[p.start].name);
  cli_json_real(j, "budget", budget);
  if (m) cli_json_real(j, "width", m->config.width);
  study_tail(s, &p);
  if (m && seed == 0) {
    cli_json_open(j, "plus_timing");
    cli_json_text(j, "model", study_way_plus[way]);
    cli_json_text(j, "start", study_starts[p.start].name);
    cli_json_real(j, "budget", budget);
    cli_json_real(j, "image", s->dense->config.image);
    status = study_time(s, s->dense, m, s->recipe.types_repeats, NULL);
  }
  bdpt_model_free(m);
  return status;
}

/* Returns 1 if the record has the lines of part 12 for a seed: it has all of them or none. */
static int study_plus_known(const study *s, int seed) {
  return study_has(s, "plus", NULL, NULL, NULL, 0, s->o.common.seed + (size_t)seed);
}

bdpt_status study_plus(study *s) {
  const int jobs = STUDY_PLUS_JOBS * s->recipe.plus_depth.count;
  bdpt_status status = BDPT_OK;
  size_t before;
  int i, k;
  for (i = 0; i < jobs * s->recipe.seeds && status == BDPT_OK; i++) {
    study_spec p = study_plus_spec(s, i % jobs, i / jobs);
    if (!study_plus_known(s, i / jobs)) status = study_network(s, &p);
  }
  if (status == BDPT_OK && !study_completes(s)) return BDPT_OK;
  before = s->base.record.text.used;
  for (k = 0; k < s->recipe.seeds && status == BDPT_OK; k++) {
    if (study_plus_known(s, k)) continue;
    for (i = 0; i < jobs && status == BDPT_OK; i++) status = study_plus_line(s, i, k);
  }
  if (status != BDPT_OK) s->base.record.text.used = before;
  return status;
}

void study_tell_plus(study *s) {
  double dense = study_budget(s, 0);
  int i;
  session_say(&s->base,
              "   dense %.2f. Fewer MACs, measured speed-up; held-out accuracy at once and "
              "at the marks:\n", study_dense_accuracy(s, "accuracy"));
  for (i = 0; i < STUDY_PLUS_JOBS * s->recipe.plus_depth.count; i++) {
    record_line line = record_get(&s->base.record, "plus", i);
    record_line time = record_get(&s->base.record, "plus_timing", i);
    char way[20], start[20];
    record_text(line, "way", way, sizeof way);
    record_text(line, "start", start, sizeof start);
    session_say(&s->base, "   %-6s %-9s %5.2f %5.2fx ", way, start,
                dense / record_real(line, "macs", NAN), record_real(time, "speedup", NAN));
    study_say_curve(s, line);
  }
}

/* ---- 13  Fewer tokens ---- */

/* Measures the held-out accuracy of a finished network while each block merges r tokens; nothing is
 * trained. */
static bdpt_status study_merged(study *s, bdpt_model *m, const char *name) {
  const cli_layers *r = &s->recipe.tokens_merge;
  cli_json *j = &s->base.record.text;
  bdpt_status status = BDPT_OK;
  bdpt_cost_report cost;
  bdpt_merging merging;
  bdpt_accuracy a;
  int i;
  memset(&merging, 0, sizeof merging);
  for (i = 0; i < r->count && status == BDPT_OK; i++) {
    if (study_find(s, "tokens", "network", name, "merge", r->layer[i]).text) continue;
    status = bdpt_merge(m, r->layer[i], &merging);
    if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.held, &a);
    if (status == BDPT_OK)
      status = bdpt_merging_cost(s->base.ctx, &m->config, r->layer[i], &cost);
    if (status == BDPT_OK && cli_stop) status = BDPT_CANCELLED;
    if (status != BDPT_OK) break;
    cli_json_open(j, "tokens");
    cli_json_text(j, "network", name);
    cli_json_real(j, "merge", r->layer[i]);
    cli_json_real(j, "accuracy", a.top1);
    cli_json_real(j, "macs", cost.macs);
    cli_json_close(j);
    status = record_save(&s->base.record);
  }
  bdpt_merge(m, 0, &merging);
  bdpt_merging_free(&merging);
  return status;
}

/* Times the networks at full size, dense against pruned, both merging r tokens in each block, as
 * lines that are written together. */
static bdpt_status study_merged_speed(study *s) {
  const cli_layers *r = &s->recipe.tokens_speed;
  cli_json *j = &s->base.record.text;
  bdpt_model *dense = NULL, *pruned = NULL;
  bdpt_merging merging; /* one for both: they are timed in turn */
  bdpt_config c;
  size_t before = j->used;
  int i;
  bdpt_status status = bdpt_config_named(s->base.ctx, "deit_small_patch16_224", &c);
  if (record_has(&s->base.record, "tokens_timing")) return BDPT_OK;
  memset(&merging, 0, sizeof merging);
  c.image = s->recipe.speed_image;
  if (status == BDPT_OK) dense = bdpt_model_create(s->base.ctx, &c, 1);
  if (dense) pruned = bdpt_model_clone(dense);
  if (!dense || !pruned) status = s->base.ctx->status;
  if (status == BDPT_OK) status = study_speed_prune(pruned, &s->recipe.tokens_remove);
  for (i = 0; i < r->count && status == BDPT_OK; i++) {
    cli_json_open(j, "tokens_timing");
    cli_json_text(j, "model", "deit_small_patch16_224");
    cli_json_real(j, "image", c.image);
    cli_json_real(j, "merge", r->layer[i]);
    status = bdpt_merge(dense, r->layer[i], &merging);
    if (status == BDPT_OK) status = bdpt_merge(pruned, r->layer[i], &merging);
    if (status == BDPT_OK)
      status = study_time(s, dense, pruned, s->recipe.speed_repeats,
                          (const int[2]){r->layer[i], r->layer[i]});
  }
  bdpt_model_free(dense);
  bdpt_model_free(pruned);
  bdpt_merging_free(&merging);
  if (status != BDPT_OK) j->used = before;
  return status == BDPT_OK ? record_save(&s->base.record) : status;
}

bdpt_status study_tokens(study *s) {
  char path[800];
  bdpt_model *pruned;
  bdpt_status status = study_merged(s, s->dense, "dense");
  study_teacher_path(s, path, sizeof path);
  pruned = status == BDPT_OK ? bdpt_model_load(s->base.ctx, path, NULL) : NULL;
  if (status == BDPT_OK && !pruned) status = s->base.ctx->status;
  if (status == BDPT_OK) status = study_merged(s, pruned, "pruned");
  bdpt_model_free(pruned);
  return status == BDPT_OK ? study_merged_speed(s) : status;
}

void study_tell_tokens(study *s) {
  const cli_layers *r = &s->recipe.tokens_merge;
  record_line time;
  int i, k;
  session_say(&s->base,
              "   Tokens merged in each block, and held-out accuracy, nothing trained:\n");
  for (k = 0; k < 2; k++) {
    const char *name = k ? "pruned" : "dense";
    session_say(&s->base, "   %-8s", name);
    for (i = 0; i < r->count; i++)
      session_say(&s->base, "  r=%d %.2f", r->layer[i],
                  record_real(study_find(s, "tokens", "network", name, "merge", r->layer[i]),
                              "accuracy", NAN));
    session_say(&s->base, "\n");
  }
  session_say(&s->base, "   DeiT-Small at full size, dense against pruned, both merging:\n");
  for (i = 0; (time = record_get(&s->base.record, "tokens_timing", i)).text; i++)
    session_say(&s->base, "   r=%-3d %.2f times as fast (%.2f-%.2f), %.2f times fewer MACs\n",
                record_int(time, "merge", 0), record_real(time, "speedup", NAN),
                record_real(time, "speedup_low", NAN), record_real(time, "speedup_high", NAN),
                record_real(time, "dense_macs", NAN) / record_real(time, "macs", NAN));
}

/* ---- 19  The dense network with merged tokens ---- */

/* Writes what the network of part 15 does when each block merges one token and nothing is trained:
 * nothing is random in it, so it has no seeds. */
static bdpt_status study_rival_merged_line(study *s, bdpt_model *m) {
  cli_json *j = &s->base.record.text;
  bdpt_accuracy held, test;
  bdpt_cost_report cost;
  bdpt_status status = bdpt_evaluate(m, &s->base.in.held, &held);
  if (status == BDPT_OK) status = bdpt_evaluate(m, &s->base.in.tested, &test);
  if (status == BDPT_OK) status = bdpt_merging_cost(s->base.ctx, &m->config, 1, &cost);
  if (status != BDPT_OK) return status;
  cli_json_open(j, "rival_merged");
  cli_json_text(j, "parent", s->better_hash);
  cli_json_real(j, "merge", 1);
  cli_json_real(j, "accuracy", held.top1);
  cli_json_real(j, "test", test.top1);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_close(j);
  return BDPT_OK;
}

/* Times it beside the same network with all its tokens: a "rival_timing" line. */
static bdpt_status study_rival_merged_time(study *s, bdpt_model *m) {
  cli_json *j = &s->base.record.text;
  cli_json_open(j, "rival_timing");
  cli_json_text(j, "model", "merged tokens");
  cli_json_real(j, "image", m->config.image);
  return study_time(s, s->better, m, s->recipe.types_repeats, (const int[2]){0, 1});
}

bdpt_status study_rival_merged(study *s) {
  const size_t before = s->base.record.text.used;
  bdpt_model *m;
  bdpt_merging merging;
  bdpt_status status;
  if (study_find(s, "rival_merged", "parent", s->better_hash, NULL, 0).text) return BDPT_OK;
  m = bdpt_model_clone(s->better);
  if (!m) return s->base.ctx->status;
  memset(&merging, 0, sizeof merging);
  status = bdpt_merge(m, 1, &merging);
  if (status == BDPT_OK) status = study_rival_merged_line(s, m);
  if (status == BDPT_OK) status = study_rival_merged_time(s, m);
  bdpt_model_free(m);
  bdpt_merging_free(&merging);
  if (status == BDPT_OK) return record_save(&s->base.record);
  s->base.record.text.used = before;
  return status;
}
