/* Token merging: is the speed-up of depth pruning the same when tokens are merged too?
 *
 * Dense and 5 + 5 layers removed, fused, at 0 to 16 tokens merged per block. At each r the two run
 * in turn; the speed-up should be that of the multiply-adds. "of that" is their quotient. The dense
 * networks at 0 and at r are measured in turn as well: what merging alone brings. */
#ifndef BENCH_MERGE_H
#define BENCH_MERGE_H

typedef struct merged { network *n; int r; bdpt_merging state; } merged;

static int merged_run(void *with) {
  merged *m = (merged *)with;
  return bdpt_merge(m->n->model, m->r, &m->state) == BDPT_OK && network_run(m->n);
}

static double merged_gflop(const merged *m) {
  bdpt_cost_report cost;
  memset(&cost, 0, sizeof cost);
  bdpt_merging_cost(&m->n->ctx, &m->n->model->config, m->r, &cost);
  return 2e-9 * cost.macs;
}

static double merged_ms(const engine *e) {
  return 1e3 * spread_of(e->sample, e->samples).median / e->amount;
}

/* Measures one r: dense, pruned and the whole dense network, in turn. */
static void merged_row(network n[2], const char *name, int r, mean *off) {
  static engine e[3];
  static const char *const label[3] = {"dense", "pruned", "whole"};
  merged m[3];
  double macs[3];
  char text[80];
  spread s;
  int i;
  for (i = 0; i < 3; i++) {
    memset(&m[i].state, 0, sizeof m[i].state);
    m[i].n = &n[i == 1];
    m[i].r = i == 2 ? 0 : r;
    macs[i] = merged_gflop(&m[i]) / 2;
    e[i] = engine_of(label[i], merged_run, &m[i], n[0].what.threads, n[0].what.batch);
  }
  take_turns(e, 3, rounds_or(5), 0.3);
  s = ratio_of(&e[1], &e[0]);
  snprintf(text, sizeof text, "DeiT-%s r %d batch %d %dt", name, r, n[0].what.batch,
           n[0].what.threads);
  row_open("merge", "ms/image", text);
  row_number("dense", merged_ms(&e[0]), "%.3f");
  row_number("pruned", merged_ms(&e[1]), "%.3f");
  row_cell("speed-up", s);
  row_number("MAC ratio", macs[0] / macs[1], "%.3f");
  row_number("of that", s.median * macs[1] / macs[0], "%.3f");
  row_cell("merging alone", ratio_of(&e[0], &e[2]));
  row_number("its MAC ratio", macs[2] / macs[0], "%.3f");
  row_close();
  mean_add(off, s.median * macs[1] / macs[0]);
  for (i = 0; i < 3; i++) {
    bdpt_merge(m[i].n->model, 0, &m[i].state);
    bdpt_merging_free(&m[i].state);
  }
}

static void section_merge(void) {
  static const int most[] = {0, 4, 8, 13, 16};
  static network n[2];
  mean off = {0, 0, 0};
  int s, k, threads, batch, ok;
  table_head("Merging r tokens per block, 224 px", "milliseconds per image",
             "dense|pruned|speed-up|MAC ratio|of that|merging alone|its MAC ratio", NULL);
  for (s = 0; s < (bench.quick ? 1 : 3); s++) {
    job j = inference_job(&models[s], bench.quick ? 1 : 16);
    ok = network_make(&n[0], &j) && network_make(&n[1], &j);
    ok = ok && network_prune(&n[1], attention_out, 5, activation_out, 5);
    for (batch = 1; ok && batch <= j.batch; batch += 15) {
      for (threads = 1; threads <= most_threads(); threads++) {
        network_set(&n[0], batch, threads);
        network_set(&n[1], batch, threads);
        for (k = 0; k < 5; k++) merged_row(n, models[s].name, most[k], &off);
      }
    }
    for (k = 0; k < 2; k++) {
      if (n[k].ctx.isa) network_free(&n[k]);
    }
  }
  summary("merge_of_macs", "", mean_of(&off));
  summary("merge_of_macs_worst", "", off.worst);
}

#endif
