/* Width alone against depth and width, at 224 pixels, beside the dense Base: the shapes of
 * Isomorphic Pruning and, next to each, two shapes of BoundaryDPT+. Random weights; the same
 * threads, batches and rounds for all.
 *
 * The published comparison (speed-up over the dense Base) is 3.39 -> 3.73, 4.24 -> 5.19 and 8.61 ->
 * 9.19 for the classes 4.2G/3.7G, 2.6G/2.4G and 1.2G/1.1G. How many layers its networks lost, and
 * how wide they are, is not public. Here the parent of each class (Base, Base, Small, distilled)
 * loses the attention layers and activations of the paper's Base, 5 + 5, and is then narrowed
 * evenly along the ratios of the class: once to the MACs of the width-only shape, so that the ratio
 * of the two is what depth is worth at equal work, and once to the published MACs. All products are
 * counted, Q K^T and A V too. Sizes of the published shapes are multiples of 2 (those of 4.2G and
 * 1.2G happen to be multiples of 16, but for heads of 58); those of the others are multiples of 16,
 * the library's default, just below the MACs. One row more tells what rounding alone is worth. */
#ifndef BENCH_WIDTH_H
#define BENCH_WIDTH_H

typedef struct width_shape {
  const char *label, *parent;
  int layers, multiple;        /* 1: loses 5 + 5 layers; sizes are rounded to this */
  double macs;                 /* 0: the ratios; -1: the MACs of the published shape; else these */
  double ratio[BDPT_WIDTHS];   /* all 0: dense */
} width_shape;

#define BASE "deit_base_distilled_patch16_224"
#define SMALL "deit_small_distilled_patch16_224"
static const width_shape width_shapes[] = {
  {"Base, dense", BASE, 0, 2, 0, {0, 0, 0, 0}},
  {"width 4.2G", BASE, 0, 2, 0, {0.5, 0.5, 0.5, 0.25}},
  {"depth + width, equal MACs", BASE, 1, 16, -1, {0.5, 0.5, 0.5, 0.25}},
  {"depth + width, 3.7G", BASE, 1, 16, 3.7e9, {0.5, 0.5, 0.5, 0.25}},
  {"width 2.6G", BASE, 0, 2, 0, {0.6, 0.6, 0.6, 0.3}},
  {"width 2.6G, rounded to 16", BASE, 0, 16, -1, {0.6, 0.6, 0.6, 0.3}},
  {"depth + width, equal MACs", BASE, 1, 16, -1, {0.6, 0.6, 0.6, 0.3}},
  {"depth + width, 2.4G", BASE, 1, 16, 2.4e9, {0.6, 0.6, 0.6, 0.3}},
  {"width 1.2G", SMALL, 0, 2, 0, {0.5, 0.5, 0.5, 0.1}},
  {"depth + width, equal MACs", SMALL, 1, 16, -1, {0.5, 0.5, 0.5, 0.1}},
  {"depth + width, 1.1G", SMALL, 1, 16, 1.1e9, {0.5, 0.5, 0.5, 0.1}}};
#undef BASE
#undef SMALL
enum { WIDTH_SHAPES = sizeof width_shapes / sizeof *width_shapes };

/* Plans the configuration of a shape, without weights; *cost is that of the last published one. */
static int width_config(bdpt_context *ctx, const width_shape *s, bdpt_cost_report *cost,
                        bdpt_config *out) {
  static unsigned char keep[100000]; /* Base has 46,848 units */
  static bdpt_config c;
  bdpt_width_options o;
  int i;
  if (bdpt_config_named(ctx, s->parent, &c) != BDPT_OK) return 0;
  if (bdpt_width_units(&c) > sizeof keep) return 0;
  for (i = 0; i < 5 && s->layers; i++) {
    c.block[attention_out[i]].attention = BDPT_ATTENTION_REMOVED;
    c.block[activation_out[i]].mlp_state = BDPT_MLP_LINEAR;
    c.block[activation_out[i]].mlp_state = BDPT_MLP_FUSED;
  }
  *out = c;
  memset(&o, 0, sizeof o);
  memcpy(o.ratio, s->ratio, sizeof o.ratio);
  o.multiple = s->multiple;
  o.even = 1;
  o.target = s->macs != 0 ? BDPT_TO_MACS : BDPT_TO_RATIOS;
  o.budget = s->macs < 0 ? cost->macs : s->macs;
  if (s->ratio[0] > 0 && bdpt_width_plan(ctx, &c, &o, NULL, keep, out, NULL) != BDPT_OK) return 0;
  return s->macs != 0 || bdpt_cost(ctx, out, cost) == BDPT_OK;
}

/* Makes a network of that shape in place of the one that network_make has made. */
static int width_make(network *n, const width_shape *s, int batch, bdpt_cost_report *cost) {
  static const size smallest = {"small stand-in", 64, 1};
  static bdpt_config c;
  job j = inference_job(&smallest, batch);
  if (!network_make(n, &j)) return 0;
  bdpt_model_free(n->model);
  n->model = width_config(&n->ctx, s, cost, &c) ? bdpt_model_create(&n->ctx, &c, 1) : NULL;
  if (!n->model || bdpt_model_pack(n->model) != BDPT_OK) {
    complain(s->label, n->ctx.message);
    return 0;
  }
  network_count(n);
  return 1;
}

static void width_rows(network *n, int batch, int threads, mean gain[4]) {
  static engine e[WIDTH_SHAPES];
  const spread none = {0, 0, 0};
  char label[80];
  int i, before = 0, class_of = -1; /* the published shape of the class; 0: the dense network */
  bdpt_cost_report cost;
  for (i = 0; i < WIDTH_SHAPES; i++) {
    network_set(&n[i], batch, threads);
    e[i] = network_engine("ours", &n[i]);
  }
  take_turns(e, WIDTH_SHAPES, rounds_or(4), 0.3);
  for (i = 0; i < WIDTH_SHAPES; i++) {
    if (width_shapes[i].macs == 0) {
      before = i;
      class_of++;
    }
    bdpt_cost(&n[i].ctx, &n[i].model->config, &cost);
    snprintf(label, sizeof label, "%s b%d %dt", width_shapes[i].label, batch, threads);
    row_open("width", "images/s", label);
    row_cell("images/s", rate_of(&e[i]));
    row_cell("speed-up", ratio_of(&e[i], &e[0]));
    row_number("MACs ratio", n[0].gflop / n[i].gflop, "%.2f");
    row_cell("over width alone", i > before ? ratio_of(&e[i], &e[before]) : none);
    row_number("G MACs", cost.macs * 1e-9, "%.2f");
    row_number("M parameters", (double)cost.params * 1e-6, "%.2f");
    row_close();
    if (width_shapes[i].layers && width_shapes[i].macs < 0) {
      mean_add(&gain[class_of], ratio_of(&e[i], &e[before]).median);
    }
  }
}

static void section_width(void) {
  static network n[WIDTH_SHAPES];
  static const char *const names[] = {"4g", "2g", "1g"};
  mean gain[4]; /* by class, the dense network's unused */
  bdpt_cost_report cost;
  int i, ok = 1, threads, batch, most = bench.quick ? 1 : 16;
  memset(&cost, 0, sizeof cost);
  memset(gain, 0, sizeof gain);
  table_head("Width alone, and depth and width", "images/s",
             "images/s|speed-up|MACs ratio|over width alone|G MACs|M parameters", NULL);
  for (i = 0; i < WIDTH_SHAPES && ok; i++) ok = width_make(&n[i], &width_shapes[i], most, &cost);
  for (batch = 1; batch <= most && ok; batch += 15) {
    for (threads = 1; threads <= most_threads(); threads++) width_rows(n, batch, threads, gain);
  }
  for (i = 0; i < 3; i++) summary("plus_over_width_", names[i], mean_of(&gain[i + 1]));
  for (i = 0; i < WIDTH_SHAPES; i++) {
    if (n[i].ctx.isa) network_free(&n[i]);
  }
  note("  published, over the dense Base: 3.39 and 3.73 (4.2G, 3.7G), 4.24 and 5.19 (2.6G, 2.4G), "
       "8.61 and 9.19 (1.2G, 1.1G)");
}

#endif
