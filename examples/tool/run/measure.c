/* measure.c: parts 7 and 8: fusing, measuring, testing */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_studies.h"
#include "../cli/json.h"
#include "../cli/system.h"
#include "../record.h"
#include "../report/report.h"
#include "../session.h"
#include "../timing.h"
#include "parts.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* -------------------------------------------------------------------------------------------------
 * 7 and 8  Fusing, measuring, testing
 * ---------------------------------------------------------------------------------------------- */

bdpt_status run_pareto(run *r) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  bdpt_map_point point[4 * BDPT_MAX_DEPTH + 1];
  int order[2][BDPT_MAX_DEPTH], t, k;
  size_t n = run_points(r, point, sizeof point / sizeof point[0]), i;
  bdpt_status s = BDPT_OK;
  size_t before = r->base.record.text.used;
  if (record_has(&r->base.record, "pareto")) return BDPT_OK;
  run_recovery_rows(r, row);
  for (t = 0; t < 2; t++) bdpt_recovery_order(row, r->base.depth, 0, (bdpt_type)t, order[t]);
  for (i = 0; i < n && s == BDPT_OK; i++) {
    int gone[2];
    bdpt_layers set = {{0, 0}};
    timing time[2];
    char name[60];
    bdpt_model *pair[2];
    gone[0] = (int)(r->base.depth * (1 - point[i].attention) + 0.5);
    gone[1] = (int)(r->base.depth * (1 - point[i].activation) + 0.5);
    if (gone[0] + gone[1] == 0) continue;
    pair[0] = r->model[RUN_DENSE];
    pair[1] = bdpt_model_clone(pair[0]);
    if (!pair[1]) return r->base.ctx->status;
    for (t = 0; t < 2; t++)
      for (k = 0; k < gone[t]; k++) bdpt_layers_add(&set, (bdpt_type)t, order[t][k]);
    s = bdpt_remove(pair[1], &set, r->start, &r->base.in.rest, NULL);
    if (s == BDPT_OK) s = bdpt_fuse_all(pair[1]);
    if (s == BDPT_OK) s = timing_measure(&r->base.in.held, pair, 2, (r->o.repeats + 1) / 2, time);
    bdpt_model_free(pair[1]);
    if (s != BDPT_OK) break;
    snprintf(name, sizeof name, "%d+%d removed, short training", gone[0], gone[1]);
    cli_json_open(&r->base.record.text, "pareto");
    cli_json_text(&r->base.record.text, "name", name);
    cli_json_real(&r->base.record.text, "attentions", gone[0]);
    cli_json_real(&r->base.record.text, "activations", gone[1]);
    cli_json_real(&r->base.record.text, "accuracy", point[i].accuracy);
    cli_json_real(&r->base.record.text, "speedup", time[0].ms / time[1].ms);
    cli_json_close(&r->base.record.text);
  }
  if (s != BDPT_OK) r->base.record.text.used = before; /* all points or none */
  return s == BDPT_OK ? session_save(&r->base, NULL) : s;
}

/* Finds which test images a network classifies rightly, right[tested.count]. */
static bdpt_status run_right(run *r, int which, unsigned char *right) {
  enum { BATCH = 64 };
  const bdpt_subset *set = &r->base.in.tested;
  bdpt_model *m = r->model[which];
  const size_t each = bdpt_image_numbers(&m->config), classes = (size_t)m->config.classes;
  bdpt_real *images = (bdpt_real *)malloc(BATCH * each * sizeof *images);
  bdpt_real *z = (bdpt_real *)malloc(BATCH * classes * sizeof *z);
  bdpt_tape *tape = bdpt_tape_create(r->base.ctx, BDPT_TAPE_COMPUTE);
  bdpt_status s = tape && images && z ? BDPT_OK : BDPT_E_MEMORY;
  int label[BATCH];
  size_t at, n, i, k;
  for (at = 0; at < set->count && s == BDPT_OK; at += n) {
    n = set->count - at < BATCH ? set->count - at : BATCH;
    s = bdpt_load_batch(r->base.ctx, &m->config, set, at, n, images, label);
    if (s == BDPT_OK) s = bdpt_predict(m, tape, n, images, z);
    for (i = 0; i < n && s == BDPT_OK; i++) {
      const bdpt_real *row = z + i * classes;
      size_t best = 0;
      for (k = 1; k < classes; k++)
        if (row[k] > row[best]) best = k;
      right[at + i] = (int)best == label[i];
    }
  }
  bdpt_tape_free(tape);
  free(images);
  free(z);
  return s;
}

/* Counts how many images one network has right and the other wrong, and the reverse. These counts
 * say how well the difference of two accuracies on the same images is known. */
static void run_pair(run *r, const char *gained, const char *lost, const unsigned char *from,
                     const unsigned char *to) {
  size_t n[2] = {0, 0}, i;
  for (i = 0; i < r->base.in.tested.count; i++)
    if (from[i] != to[i]) n[from[i]]++;
  cli_json_real(&r->base.record.text, gained, (double)n[0]);
  cli_json_real(&r->base.record.text, lost, (double)n[1]);
}

static bdpt_status run_record_row(run *r, int which, const timing *time,
                                  unsigned char *const right[RUN_NETWORKS]) {
  cli_json *j = &r->base.record.text;
  bdpt_cost_report cost;
  bdpt_accuracy a;
  bdpt_status s = bdpt_evaluate(r->model[which], &r->base.in.tested, &a);
  if (s == BDPT_OK) s = run_right(r, which, right[which]);
  if (s == BDPT_OK) s = bdpt_cost(r->base.ctx, &r->model[which]->config, &cost);
  if (s != BDPT_OK) return s;
  cli_json_open(j, "row");
  cli_json_text(j, "name", run_network[which]);
  cli_json_real(j, "accuracy", a.top1);
  cli_json_real(j, "top5", a.top5);
  cli_json_real(j, "images", (double)a.count);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  cli_json_real(j, "macs_no_matmul", cost.macs_no_matmul);
  cli_json_real(j, "ms", time->ms);
  cli_json_real(j, "ms_low", time->low);
  cli_json_real(j, "ms_high", time->high);
  cli_json_real(j, "batch", TIMING_BATCH);
  if (which > RUN_DENSE) run_pair(r, "gained", "lost", right[RUN_DENSE], right[which]);
  if (which > RUN_PRUNED)
    run_pair(r, "gained_pruned", "lost_pruned", right[RUN_PRUNED], right[which]);
  cli_json_close(j);
  return BDPT_OK;
}

bdpt_status run_final(run *r) {
  timing time[RUN_NETWORKS];
  bdpt_certificate certificate;
  bdpt_model *m = bdpt_model_clone(r->model[RUN_RECOVERED]);
  size_t before = r->base.record.text.used;
  unsigned char *right[RUN_NETWORKS] = {NULL, NULL, NULL, NULL};
  bdpt_status s;
  int i;
  if (!m) return r->base.ctx->status;
  r->model[RUN_FUSED] = m;
  if (record_has(&r->base.record, "row")) return BDPT_OK;
  s = bdpt_fuse_certified(m, &r->base.in.tested, &certificate);
  if (s == BDPT_OK) s = bdpt_model_save(m, session_path(&r->base, "fused.safetensors"));
  if (s == BDPT_OK) s = timing_measure(&r->base.in.held, r->model, RUN_NETWORKS, r->o.repeats,
                                       time);
  for (i = 0; i < RUN_NETWORKS && s == BDPT_OK; i++)
    if (!(right[i] = (unsigned char *)calloc(r->base.in.tested.count, 1))) s = BDPT_E_MEMORY;
  for (i = 0; i < RUN_NETWORKS && s == BDPT_OK; i++)
    s = cli_stop ? BDPT_CANCELLED : run_record_row(r, i, &time[i], right);
  for (i = 0; i < RUN_NETWORKS; i++) free(right[i]);
  if (s != BDPT_OK) {
    r->base.record.text.used = before;
    return s;
  }
  cli_json_open(&r->base.record.text, "certificate");
  cli_json_text(&r->base.record.text, "text", m->certificate);
  cli_json_real(&r->base.record.text, "difference", certificate.difference);
  cli_json_real(&r->base.record.text, "agree", (double)certificate.agree);
  cli_json_real(&r->base.record.text, "images", (double)certificate.images);
  cli_json_real(&r->base.record.text, "near_ties", (double)certificate.near_ties);
  cli_json_close(&r->base.record.text);
  return session_save(&r->base, NULL);
}

void run_tell_final(run *r) {
  record_line c = record_get(&r->base.record, "certificate", 0);
  record_line dense = record_get(&r->base.record, "row", RUN_DENSE);
  record_line fused = record_get(&r->base.record, "row", RUN_FUSED);
  double accuracy[RUN_NETWORKS], before = record_real(dense, "ms", 1), lost, back;
  double after = record_real(fused, "ms", 1);
  int i;
  for (i = 0; i < RUN_NETWORKS; i++)
    accuracy[i] = record_real(record_get(&r->base.record, "row", i), "accuracy", 0);
  session_title(&r->base, "7  Fusing: two linears with nothing between them become one");
  if (run_fits(r))
    session_say(&r->base,
                "   A fitted map is one linear from the start, so nothing is left to multiply\n"
                "   out; with --start paper or skip there is.\n");
  else
    session_say(&r->base,
                "   Over %.0f %s the logits differ by at most %.1e of the largest; the class\n"
                "   named is the same for %.0f of them (%.0f of the others %s).\n",
                record_real(c, "images", 0), words_of(record_real(c, "images", 0), "image",
                                                      "images"),
                record_real(c, "difference", 0), record_real(c, "agree", 0),
                record_real(c, "near_ties", 0),
                words_of(record_real(c, "near_ties", 0), "is a near tie", "are near ties"));
  session_title(&r->base, "8  The test images, read once, after the last choice");
  if (!r->o.common.json)
    r->told = (bdpt_status)report_table(r->base.ctx, r->base.record.path, stdout);
  lost = accuracy[RUN_DENSE] - accuracy[RUN_PRUNED];
  back = accuracy[RUN_FUSED] - accuracy[RUN_PRUNED];
  session_say(&r->base,
              lost < 0 ? "\n   Removing %d + %d %s raised the accuracy by %.1f points at once; "
                         "training changed it by %+.1f"
                       : "\n   Removing %d + %d %s cost %.1f points at once; training won back "
                         "%.1f",
              r->count[0], r->count[1], words_of(r->count[0] + r->count[1], "layer", "layers"),
              fabs(lost), back);
  if (lost > 0) session_say(&r->base, " (%.0f %%)", 100 * back / lost);
  session_say(&r->base, ".\n   The fused network takes %.2f ms for %d images, the dense one %.2f: ",
              after, TIMING_BATCH, before);
  if (record_real(fused, "ms_high", 0) < record_real(dense, "ms_low", 0))
    session_say(&r->base, "%.2f times as fast.\n", before / after);
  else
    session_say(&r->base,
                "no more than the spread of\n   this measurement. Is the machine busy?\n");
}
