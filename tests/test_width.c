/* Width pruning: the published sizes from plans alone, a plan by hand, scores against differences
 * of the loss and against PyTorch, outputs against those of the full network with units at zero,
 * every target, the error sentences, every allocation failing once, files, and what comes after:
 * training, removing, fusing, fitting. BoundaryDPT+: against the calls one by one, stopped and
 * resumed. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "networks.h"

#define IMAGES 80
#include "stripes.h"

#define STATE temporary("width")
#define DOUBLE (sizeof(bdpt_real) == 8)

static bdpt_context ctx;
static bdpt_config make_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = SIDE; c.patch = 4; c.width = 16; c.depth = 3; c.heads = 4; c.mlp = 24; c.classes = 5;
  c.block[1].heads = 2; c.block[1].head_dim = 6; /* blocks differ, and h d is not D */
  c.block[2].mlp = 20;
  return c;
}

static bdpt_model *make_model(uint64_t seed) {
  bdpt_config c = make_config();
  return model_of(&ctx, &c, seed);
}

/* Returns the largest difference of the logits over the largest logit. */
static double apart(bdpt_model *a, bdpt_model *b) {
  bdpt_real x[100], y[100];
  double worst = 0, most = 0;
  int i;
  logits_of(a, x);
  logits_of(b, y);
  for (i = 0; i < 100; i++) { /* gcc 12 for ARM stops at fmax */
    double gap = fabs((double)x[i] - (double)y[i]), size = fabs((double)x[i]);
    if (gap > worst) worst = gap;
    if (size > most) most = size;
  }
  return worst / most;
}

static bdpt_width_options make_options(double embedding, double hidden, double heads, double size) {
  bdpt_width_options o;
  memset(&o, 0, sizeof o);
  o.ratio[BDPT_EMBEDDING] = embedding; o.ratio[BDPT_HIDDEN] = hidden;
  o.ratio[BDPT_HEADS] = heads; o.ratio[BDPT_HEAD_SIZE] = size;
  o.multiple = 1;
  o.images = 30;
  return o;
}

static unsigned char keep[4096];
static double score[4096];

/* ---- Plans ----------------------------------------------------------------------------------- */

static void published(const char *name, double width, double heads, double size, double params,
                      double macs, double within) {
  static unsigned char plan[100000];
  bdpt_width_options o = make_options(width, width, heads, size);
  bdpt_width_report r;
  bdpt_config c, narrow;
  int l;
  o.multiple = 2;
  o.even = 1;
  CHECK(bdpt_config_named(&ctx, name, &c) == BDPT_OK && bdpt_width_units(&c) <= sizeof plan);
  CHECK(bdpt_width_plan(&ctx, &c, &o, NULL, plan, &narrow, &r) == BDPT_OK);
  CHECK_CLOSE((double)r.after.params / params, 1, within);
  CHECK_CLOSE(r.after.macs / macs, 1, within);
  CHECK(r.factor == 1 && r.ms == 0);
  for (l = 0; l < 12; l++) { /* all layers alike but for one step of rounding */
    const bdpt_block *a = &narrow.block[0], *b = &narrow.block[l];
    CHECK(abs(a->mlp - b->mlp) <= 2 && abs(a->heads - b->heads) <= 1);
    CHECK(abs(a->head_dim - b->head_dim) <= 2 && b->head_dim % 2 == 0 && b->mlp % 2 == 0);
    CHECK_CLOSE(b->scale, 0.125, 0); /* the parent's: 1/sqrt(64) */
  }
}

/* The sizes are those of table 1 of the Isomorphic Pruning paper, as its code counts: DeiT 4.2G,
 * 2.6G, 1.2G, 0.6G. */
TEST(published_sizes) {
  published("deit_base_distilled_patch16_224", 0.5, 0.5, 0.25, 20.69e6, 4.16e9, 0.01);
  published("deit_small_distilled_patch16_224", 0.5, 0.5, 0.10, 5.74e6, 1.21e9, 0.01);
  published("deit_tiny_distilled_patch16_224", 0.25, 0.30, 0.30, 3.08e6, 0.62e9, 0.03);
  published("deit_base_distilled_patch16_224", 0.6, 0.6, 0.30, 13.07e6, 2.61e9, 0.03);
}

/* Returns a configuration of two blocks of four hidden units and two heads of three, for scores
 * that are written down. */
static bdpt_config plan_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 4; c.depth = 2; c.heads = 2; c.mlp = 4; c.classes = 5;
  c.block[0].heads = c.block[1].heads = 2;
  c.block[0].head_dim = c.block[1].head_dim = 3;
  return c;
}

static const double plan_score[24] = {
  3, 1, 4, 2,                     /* the embedding */
  1, 5, 2, 6,    1, 2, 9, 8, 7, 3, /* block 0: hidden; heads (1 2 9), (8 7 3) */
  7, 3, 8, 9,    2, 2, 2, 5, 6, 1}; /* block 1: hidden; heads (2 2 2), (5 6 1) */

static void planned(const bdpt_config *c, const bdpt_width_options *o, const char *want) {
  bdpt_config narrow;
  char got[25] = "";
  int i;
  if (!CHECK(bdpt_width_plan(&ctx, c, o, plan_score, keep, &narrow, NULL) == BDPT_OK)) {
    printf("  %s\n", ctx.message);
    bdpt_clear_error(&ctx);
    return;
  }
  for (i = 0; i < 24; i++) got[i] = keep[i] ? '1' : '-';
  if (!CHECK(strcmp(got, want) == 0)) printf("  got  %s\n  want %s\n", got, want);
}

TEST(a_plan_by_hand) {
  bdpt_config c = plan_config();
  bdpt_width_options o;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && bdpt_width_units(&c) == 24);
  CHECK(bdpt_width_first(&c, BDPT_HIDDEN, 1) == 14 && bdpt_width_first(&c, BDPT_HEADS, 0) == 8);
  CHECK(bdpt_width_first(&c, BDPT_EMBEDDING, 1) == 0);
  o = make_options(0.5, 0, 0, 0); /* 3 and 4 stay */
  planned(&c, &o, "1-1-" "1111" "111111" "1111" "111111");
  o = make_options(0, 0.5, 0, 0); /* of 8 hidden units 1 2 3 5 go: three, and one of block 1 */
  planned(&c, &o, "1111" "---1" "111111" "1-11" "111111");
  o.even = 1;
  planned(&c, &o, "1111" "-1-1" "111111" "--11" "111111");
  o = make_options(0, 0, 0.5, 0); /* means 4 6, 2 4: 2 goes, then of the equals the later, but for
                                   * one head of each layer */
  planned(&c, &o, "1111" "1111" "111111" "1111" "---111");
  o = make_options(0, 0, 0, 0.34); /* means 4.5 4.5 6, 3.5 4 1.5: 1.5 and 3.5 go, of block 1 both;
                                    * there, (2 2 2) gives its later ones */
  planned(&c, &o, "1111" "1111" "111111" "1111" "1---1-");
  o = make_options(0, 0, 0.5, 0.34);
  planned(&c, &o, "1111" "1111" "111111" "1111" "----1-");
  o = make_options(1, 1, 1, 1); /* one of each is left */
  planned(&c, &o, "--1-" "---1" "---1--" "---1" "----1-");
  o = make_options(0, 0.5, 0, 0);
  o.multiple = 3; /* 1 and 3 are wanted, 3 and 3 come out, 4 being no nearer */
  planned(&c, &o, "1111" "-111" "111111" "1-11" "111111");
  o.ratio[BDPT_HIDDEN] = 0.125; /* one unit; the other layer stays whole, though 3 would fit */
  planned(&c, &o, "1111" "-111" "111111" "1111" "111111");
  o = make_options(0.5, 0.5, 0.5, 0.5);
  c.block[0].attention =
      BDPT_ATTENTION_REMOVED; /* no heads to give; the quantiles are those of the rest */
  c.block[1].mlp_state = BDPT_MLP_LINEAR;
  planned(&c, &o, "1-1-" "-1-1" "111111" "1111" "----1-");
}

/* The default multiple is 16 for the embedding, the hidden units and the head sizes, 1 for
 * heads. */
TEST(default_multiples) {
  static unsigned char plan[100000];
  bdpt_width_options o = make_options(0.6, 0.6, 0.4, 0.3);
  bdpt_config c, narrow;
  int l;
  o.multiple = 0;
  CHECK(bdpt_config_named(&ctx, "deit_small_patch16_224", &c) == BDPT_OK);
  CHECK(bdpt_width_plan(&ctx, &c, &o, NULL, plan, &narrow, NULL) == BDPT_OK);
  CHECK(narrow.width == 160); /* of 153.6 */
  for (l = 0; l < 12; l++) {
    CHECK(narrow.block[l].mlp % 16 == 0 && narrow.block[l].head_dim % 16 == 0);
    CHECK(narrow.block[l].heads >= 1 && narrow.block[l].heads <= 6);
  }
}

/* ---- Scores ---------------------------------------------------------------------------------- */

/* Computes the mean cross-entropy of the images. */
static double loss_of(bdpt_model *m, bdpt_tape *t, const bdpt_real *images, const int *label,
                      size_t n) {
  static bdpt_real z[IMAGES * 5];
  double loss = 0;
  size_t i, k;
  CHECK(bdpt_predict(m, t, n, images, z) == BDPT_OK);
  for (i = 0; i < n; i++) {
    double sum = 0;
    for (k = 0; k < 5; k++) sum += exp((double)z[5 * i + k]);
    loss += (log(sum) - (double)z[5 * i + (size_t)label[i]]) / (double)n;
  }
  return loss;
}

/* Measures |w dL/dw| of one weight by a central difference. */
static double moved(bdpt_model *m, bdpt_tape *t, const bdpt_real *images, const int *label,
                    size_t n, int slot, size_t k) {
  bdpt_real *w = &m->param[slot].data[k], was = *w;
  double h = 1e-5 * (1 + fabs((double)was)), up, down;
  *w = (bdpt_real)((double)was + h);
  up = loss_of(m, t, images, label, n);
  *w = (bdpt_real)((double)was - h);
  down = loss_of(m, t, images, label, n);
  *w = was;
  return fabs((double)was * (up - down) / (2 * h));
}

static void normalise(double *v, size_t n) {
  double sum = 0;
  size_t i;
  for (i = 0; i < n; i++) sum += v[i] / (double)n;
  for (i = 0; i < n; i++) v[i] /= sum;
}

/* Every score of a small network whose blocks are kept, fused, and removed is what differences of
 * the loss and the shapes written out here give. */
TEST(taylor_by_differences) {
  static bdpt_real images[20 * 3 * SIDE * SIDE];
  static double want[200];
  int label[20], l, slot;
  bdpt_config c = plan_config();
  bdpt_width_options o = make_options(0.5, 0.5, 0.5, 0.5);
  bdpt_model *m;
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  size_t i, k, units;
  char before[17], after[17];
  c.width = 6; c.depth = 3; c.distilled = 1;
  c.block[2] = c.block[1];
  c.block[1].mlp_state = BDPT_MLP_FUSED;
  c.block[2].attention = BDPT_ATTENTION_REMOVED;
  m = model_of(&ctx, &c, 5);
  units = bdpt_width_units(&m->config);
  CHECK(units == 6 + 3 * 10);
  bdpt_model_hash(m, before);
  o.images = 0; /* all there are */
  CHECK(bdpt_width_score(m, &held, &o, NULL, score) == BDPT_OK);
  bdpt_model_hash(m, after);
  CHECK(strcmp(before, after) == 0 && m->param[BDPT_SLOT_HEAD_W].grad == NULL);
  CHECK(bdpt_load_batch(&ctx, &m->config, &held, 0, 20, images, label) == BDPT_OK);
  memset(want, 0, sizeof want);
  for (slot = BDPT_SLOT_PATCH_W; slot < m->slots && DOUBLE; slot++) {
    const bdpt_tensor *p = &m->param[slot];
    int kind = slot < BDPT_SLOTS_FIXED ? -1 : (slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK;
    size_t block = slot < BDPT_SLOTS_FIXED ? 0 : 6 + 10 * (size_t)((slot - BDPT_SLOTS_FIXED) /
                                                                BDPT_SLOTS_BLOCK);
    if (!p->data || !bdpt_model_active(m, slot) || strstr(p->name, "bias")) continue;
    for (k = 0; k < p->count; k++) {
      double v = moved(m, t, images, label, 20, slot, k);
      size_t row = k / (p->count / p->shape[0]), column = k % (p->count / p->shape[0]);
      if (kind == BDPT_SLOT_QKV_W) {
        want[block + 4 + row % 6] += v;
        want[column] += v;
      } else if (kind == BDPT_SLOT_PROJ_W) {
        want[row] += v;
        want[block + 4 + column] += v;
      } else if (kind == BDPT_SLOT_FC1_W) {
        want[block + row] += v;
        want[column] += v;
      } else if (kind == BDPT_SLOT_FC2_W) {
        want[row] += v;
        want[block + column] += v;
      } else if (kind == BDPT_SLOT_FUSED_W) {
        want[row] += v;
        want[column] += v;
      } else if (slot == BDPT_SLOT_HEAD_W || slot == BDPT_SLOT_HEAD2_W) want[column] += v;
      else want[row] += v; /* patches; norms */
    }
  }
  normalise(want, 6);
  for (l = 0; l < 3; l++) {
    normalise(want + 6 + 10 * l, 4);
    normalise(want + 10 + 10 * l, 6);
  }
  for (i = 0; i < units && DOUBLE; i++) {
    if ((i >= 16 && i < 20) || i >= 30) continue; /* fused: no hidden units; removed: no heads */
    CHECK_CLOSE(score[i], want[i], 1e-6);
  }
  CHECK(score[0] > 0 && score[12] > 0);
  bdpt_tape_free(t);
  bdpt_model_free(m);
}

/* The scores of the odd network of tests/fixtures/README.md on 77 generated pictures, the last
 * batch short, are PyTorch's. */
TEST(taylor_as_pytorch) {
  static unsigned char picture[77 * 3 * 18 * 18];
  static unsigned short label[77];
  static bdpt_dataset odd;
  const bdpt_config c = odd_config();
  bdpt_width_options o = make_options(0.5, 0, 0, 0);
  bdpt_subset all;
  bdpt_real got[60 + 3 * 152 + 3 * 60];
  bdpt_model *m;
  size_t k, n = 0, l, at;
  m = odd_model(&ctx, &c);
  for (k = 0; k < sizeof picture; k++) {
    picture[k] = (unsigned char)(fixture_bits("width/images", k) >> 56);
  }
  for (k = 0; k < 77; k++) label[k] = (unsigned short)(k % 7);
  odd.count = 77; odd.classes = 7; odd.height = odd.width = 18;
  odd.pixels = picture; odd.label = label;
  o.images = 1000; /* all there are */
  CHECK(bdpt_subset_all(&ctx, &odd, &all) == BDPT_OK);
  CHECK(bdpt_width_units(&m->config) == sizeof got / sizeof *got);
  CHECK(bdpt_width_score(m, &all, &o, NULL, score) == BDPT_OK);
  for (k = 0; k < 60; k++) got[n++] = (bdpt_real)score[k];
  for (l = 0; l < 3; l++) {
    at = bdpt_width_first(&m->config, BDPT_HIDDEN, (int)l);
    for (k = 0; k < 152; k++) got[n++] = (bdpt_real)score[at + k];
  }
  for (l = 0; l < 3; l++) {
    at = bdpt_width_first(&m->config, BDPT_HEADS, (int)l);
    for (k = 0; k < 60; k++) got[n++] = (bdpt_real)score[at + k];
  }
  if (fixture_open(&ctx, "tests/fixtures/width.safetensors")) {
    fixture_check(got, 60, "", "embedding");
    fixture_check(got + 60, 3 * 152, "", "hidden");
    fixture_check(got + 60 + 3 * 152, 180, "", "features");
    fixture_close();
  }
  bdpt_subset_free(&ctx, &all);
  bdpt_model_free(m);
}

/* L1 and L2 of one unit of each class agree with sums by hand; chance depends on the seed alone. */
TEST(magnitudes_and_chance) {
  bdpt_model *m = make_model(2);
  bdpt_width_options o = make_options(0.5, 0, 0, 0);
  const bdpt_real *w1 = m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_W)].data; /* [24,16] */
  const bdpt_real *w2 = m->param[BDPT_SLOT(1, BDPT_SLOT_FC2_W)].data; /* [16,24] */
  const bdpt_real *qkv = m->param[BDPT_SLOT(1, BDPT_SLOT_QKV_W)].data; /* [36,16], 2 heads of 6 */
  const bdpt_real *proj = m->param[BDPT_SLOT(1, BDPT_SLOT_PROJ_W)].data; /* [16,12] */
  double hidden[2][24], feature[2][12], other;
  size_t at, i, u;
  int p;
  memset(hidden, 0, sizeof hidden);
  memset(feature, 0, sizeof feature);
  for (p = 0; p < 2; p++) {
    for (u = 0; u < 24; u++) {
      for (i = 0; i < 16; i++) {
        hidden[p][u] += pow(fabs((double)w1[16 * u + i]), p + 1);
        hidden[p][u] += pow(fabs((double)w2[24 * i + u]), p + 1);
      }
    }
    for (u = 0; u < 12; u++) {
      for (i = 0; i < 16; i++) {
        feature[p][u] += pow(fabs((double)qkv[16 * u + i]), p + 1);
        feature[p][u] += pow(fabs((double)qkv[16 * (u + 12) + i]), p + 1);
        feature[p][u] += pow(fabs((double)qkv[16 * (u + 24) + i]), p + 1);
        feature[p][u] += pow(fabs((double)proj[12 * i + u]), p + 1);
      }
    }
    normalise(hidden[p], 24);
    normalise(feature[p], 12);
    o.importance = p ? BDPT_BY_L2 : BDPT_BY_L1;
    CHECK(bdpt_width_score(m, NULL, &o, NULL, score) == BDPT_OK);
    at = bdpt_width_first(&m->config, BDPT_HIDDEN, 1);
    for (u = 0; u < 24; u++) CHECK_CLOSE(score[at + u], hidden[p][u], DOUBLE ? 1e-13 : 1e-6);
    at = bdpt_width_first(&m->config, BDPT_HEADS, 1);
    for (u = 0; u < 12; u++) CHECK_CLOSE(score[at + u], feature[p][u], DOUBLE ? 1e-13 : 1e-6);
  }
  o.importance = BDPT_BY_CHANCE;
  o.seed = 4;
  CHECK(bdpt_width_score(m, NULL, &o, NULL, score) == BDPT_OK);
  other = score[3];
  CHECK(bdpt_width_score(m, NULL, &o, NULL, score) == BDPT_OK && score[3] == other);
  o.seed = 5;
  CHECK(bdpt_width_score(m, NULL, &o, NULL, score) == BDPT_OK && score[3] != other);
  bdpt_model_free(m);
}

/* The images that score are spread over the data, not its beginning. */
TEST(images_are_spread) {
  bdpt_model *m = make_model(2);
  bdpt_width_options o = make_options(0.5, 0, 0, 0);
  bdpt_subset some = {&data, NULL, 20};
  size_t i, index[20];
  double first;
  for (i = 0; i < 20; i++) index[i] = train.index[3 * i];
  some.index = index;
  o.images = 20;
  CHECK(bdpt_width_score(m, &train, &o, NULL, score) == BDPT_OK);
  first = score[5];
  CHECK(bdpt_width_score(m, &some, &o, NULL, score) == BDPT_OK && score[5] == first);
  index[19] = train.index[1];
  CHECK(bdpt_width_score(m, &some, &o, NULL, score) == BDPT_OK && score[5] != first);
  bdpt_model_free(m);
}

/* ---- Shrinking ------------------------------------------------------------------------------- */

/* Makes the full network with the units of a plan at zero: hidden units and features by their rows
 * and columns and biases. */
static bdpt_model *zeroed(const bdpt_model *m, const unsigned char *plan) {
  bdpt_model *z = bdpt_model_clone(m);
  int l;
  for (l = 0; l < m->config.depth; l++) {
    const bdpt_block *b = &m->config.block[l];
    bdpt_tensor *p = &z->param[BDPT_SLOT(l, 0)];
    size_t d = (size_t)m->config.width, f = (size_t)b->mlp, a = (size_t)(b->heads * b->head_dim);
    const unsigned char *k = plan + bdpt_width_first(&m->config, BDPT_HIDDEN, l);
    size_t u, i, s;
    for (u = 0; u < f; u++) {
      if (k[u] || !p[BDPT_SLOT_FC1_W].data) continue;
      for (i = 0; i < d; i++) p[BDPT_SLOT_FC1_W].data[u * d + i] = 0;
      for (i = 0; i < d; i++) p[BDPT_SLOT_FC2_W].data[i * f + u] = 0;
      p[BDPT_SLOT_FC1_B].data[u] = 0;
    }
    for (u = 0; u < a; u++) {
      if (k[f + u]) continue;
      for (s = 0; s < 3; s++) {
        for (i = 0; i < d; i++) p[BDPT_SLOT_QKV_W].data[(s * a + u) * d + i] = 0;
        p[BDPT_SLOT_QKV_B].data[s * a + u] = 0;
      }
      for (i = 0; i < d; i++) p[BDPT_SLOT_PROJ_W].data[i * a + u] = 0;
    }
  }
  return z;
}

static void same_as_zeroed(double hidden, double heads, double size, uint64_t seed) {
  bdpt_model *m = make_model(7), *z;
  bdpt_width_options o = make_options(0, hidden, heads, size);
  bdpt_config narrow;
  double far;
  o.importance = BDPT_BY_CHANCE;
  o.seed = seed;
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 2) == BDPT_OK && bdpt_fuse(m, 2) == BDPT_OK);
  CHECK(bdpt_width_score(m, NULL, &o, NULL, score) == BDPT_OK);
  CHECK(bdpt_width_plan(&ctx, &m->config, &o, score, keep, &narrow, NULL) == BDPT_OK);
  z = zeroed(m, keep);
  CHECK(apart(m, z) > 0.01); /* the units mattered */
  CHECK(bdpt_width_shrink(m, keep) == BDPT_OK);
  CHECK(memcmp(&m->config, &narrow, sizeof narrow) == 0);
  far = apart(z, m);
  CHECK_CLOSE(far, 0, DOUBLE ? 1e-13 : 1e-5);
  bdpt_model_free(m);
  bdpt_model_free(z);
}

TEST(outputs_are_those_with_units_at_zero) {
  uint64_t seed;
  for (seed = 0; seed < 4; seed++) {
    same_as_zeroed(0.5, 0, 0, seed);
    same_as_zeroed(0, 0.4, 0, seed);
    same_as_zeroed(0, 0, 0.5, seed);
    same_as_zeroed(0.3, 0.3, 0.3, seed);
  }
}

/* The kept channels of the embedding are, up to the first norm, those of the full network. */
TEST(the_embedding_before_the_first_norm) {
  static bdpt_real images[4 * 3 * SIDE * SIDE];
  bdpt_model *m = make_model(8), *small = bdpt_model_clone(m);
  size_t shape[4] = {4, 3, SIDE, SIDE}, i, j = 0, kept = 0;
  bdpt_tape *t = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_tensor *x, *y;
  memset(keep, 1, bdpt_width_units(&m->config));
  for (i = 0; i < 16; i++) keep[i] = i % 3 != 1; /* 11 stay */
  CHECK(bdpt_width_shrink(small, keep) == BDPT_OK && small->config.width == 11);
  bdpt_load_batch(&ctx, &m->config, &held, 0, 4, images, NULL);
  x = bdpt_input(t, 4, shape, images, 0);
  y = bdpt_patch_embed(t, x, &small->param[BDPT_SLOT_PATCH_W], &small->param[BDPT_SLOT_PATCH_B]);
  y = bdpt_tokens(t, y, &small->param[BDPT_SLOT_CLS], NULL, NULL, &small->param[BDPT_SLOT_POS]);
  x = bdpt_patch_embed(t, x, &m->param[BDPT_SLOT_PATCH_W], &m->param[BDPT_SLOT_PATCH_B]);
  x = bdpt_tokens(t, x, &m->param[BDPT_SLOT_CLS], NULL, NULL, &m->param[BDPT_SLOT_POS]);
  CHECK(y && y->count == 4 * 5 * 11);
  for (i = 0; y && i < x->count; i++) {
    if (!keep[i % 16]) continue;
    kept++;
    CHECK_CLOSE(y->data[j++], x->data[i], DOUBLE ? 1e-14 : 1e-6);
  }
  CHECK(kept == 4 * 5 * 11);
  bdpt_tape_free(t);
  bdpt_model_free(m);
  bdpt_model_free(small);
}

/* After it they are too if the norms can be made to agree: in a network whose tokens have mean 0,
 * the full one with its other channels at zero, gamma times sqrt(p) and eps times p, is the small
 * one. Here channels 0..7 come in pairs of opposite sign, 8..15 are zero and go: p = 1/2. */
TEST(the_embedding_where_norms_agree) {
  bdpt_model *m = make_model(9), *small;
  double far;
  size_t i, j;
  int slot;
  for (slot = 0; slot < m->slots; slot++) {
    bdpt_tensor *p = &m->param[slot];
    const char *name = p->name;
    int rows = strstr(name, "proj") || strstr(name, "fc2"), tokens = slot <= BDPT_SLOT_POS;
    size_t step = p->data && p->ndim > 1 && !tokens ? p->count / p->shape[0] : 1;
    if (!p->data || !(rows || tokens)) continue; /* what writes to the stream */
    for (i = 0; i < p->count; i++) {
      size_t channel = i / step % 16;
      j = i - step;
      if (channel >= 8) p->data[i] = 0;
      else if (channel % 2) p->data[i] = -p->data[j];
    }
  }
  memset(keep, 1, bdpt_width_units(&m->config));
  memset(keep + 8, 0, 8);
  small = bdpt_model_clone(m);
  CHECK(bdpt_width_shrink(small, keep) == BDPT_OK && small->config.width == 8);
  CHECK(apart(m, small) > 0.01); /* as they are, they differ */
  for (slot = 0; slot < m->slots; slot++) {
    bdpt_tensor *p = &m->param[slot];
    if (!p->data || !strstr(p->name, "norm")) continue;
    for (i = 0; i < p->count; i++) {
      if (strstr(p->name, "weight")) p->data[i] *= (bdpt_real)sqrt(0.5);
      if (i >= 8) p->data[i] = 0; /* beta of a channel that is at zero */
    }
  }
  m->config.eps *= 0.5;
  far = apart(m, small);
  CHECK_CLOSE(far, 0, DOUBLE ? 1e-12 : 1e-5);
  bdpt_model_free(m);
  bdpt_model_free(small);
}

/* Weights that wait for a bdpt_restore are narrowed too; the restored network is the narrowed
 * complete one. Packed weights and gradients of the old shapes are gone. */
TEST(removed_layers_can_come_back) {
  bdpt_model *m = make_model(3), *n = bdpt_model_clone(m);
  bdpt_width_options o = make_options(0.5, 0, 0, 0);
  bdpt_width_report r;
  o.importance = BDPT_BY_CHANCE;
  CHECK(bdpt_width_prune(n, NULL, &o, NULL, &r) == BDPT_OK);
  CHECK(n->config.width == 8 && r.after.params < r.before.params);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 0) == BDPT_OK);
  CHECK(bdpt_model_pack(m) == BDPT_OK && m->packed != NULL);
  CHECK(bdpt_width_prune(m, NULL, &o, NULL, &r) == BDPT_OK && m->packed == NULL);
  CHECK(bdpt_restore(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(bdpt_restore(m, BDPT_ACTIVATION, 0) == BDPT_OK);
  CHECK(same_weights(m, n));
  CHECK(apart(m, n) == 0);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

/* Networks of other forms are narrowed: registers, a norm before the blocks, a head that reads two
 * vectors, the class token and the mean of the patches. What stays stands in its place in both. */
TEST(other_forms) {
  bdpt_config c = make_config();
  bdpt_width_options o = make_options(0.5, 0.5, 0, 0);
  const bdpt_tensor *was, *is;
  bdpt_model *m, *n;
  size_t k, j, at, kept[16], count = 0;
  c.pool = BDPT_POOL_BOTH; c.registers = 2; c.pre_norm = 1;
  m = model_of(&ctx, &c, 12);
  n = bdpt_model_clone(m);
  CHECK(bdpt_width_score(m, &train, &o, NULL, score) == BDPT_OK); /* registers are no layers */
  memset(keep, 1, bdpt_width_units(&m->config));
  for (j = 0; j < 16; j++) {
    keep[j] = j % 3 != 1;
    if (keep[j]) kept[count++] = j;
  }
  CHECK(bdpt_width_shrink(n, keep) == BDPT_OK && n->config.width == 11 && count == 11);
  was = &m->param[BDPT_SLOT_HEAD_W]; is = &n->param[BDPT_SLOT_HEAD_W];
  CHECK(was->shape[1] == 32 && is->shape[1] == 22);
  for (k = 0; k < 5 && is->shape[1] == 22; k++) {
    for (j = 0; j < 22; j++) {
      at = 32 * k + j / 11 * 16 + kept[j % 11];
      CHECK(is->data[22 * k + j] == was->data[at]);
    }
  }
  for (k = 0; k < 2; k++) {
    for (j = 0; j < 11; j++) {
      CHECK(n->param[BDPT_SLOT_REG].data[11 * k + j] ==
            m->param[BDPT_SLOT_REG].data[16 * k + kept[j]]);
    }
  }
  bdpt_model_free(n);
  n = bdpt_model_clone(m);
  CHECK(bdpt_width_prune(n, &train, &o, NULL, NULL) == BDPT_OK && n->config.width == 8);
  CHECK(apart(m, m) == 0);
  logits_of(n, (bdpt_real *)score); /* and it runs */
  bdpt_model_free(n);
  bdpt_model_free(m);
}

/* ---- Targets --------------------------------------------------------------------------------- */

/* Counts the bytes of a network's parameters. */
static size_t bytes_of(const bdpt_model *m) {
  bdpt_cost_report cost;
  CHECK(bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK);
  return cost.params * sizeof(bdpt_real);
}

/* A clock that advances by the memory in use beyond `usual` at each look: the larger a candidate,
 * the longer it takes, and two runs agree. */
static double ticks;
static size_t usual;
static double memory_clock(void *user) {
  const bdpt_context *own = (const bdpt_context *)user;
  return ticks += (double)(own->bytes_now - usual) / 1048576; /* exact */
}

TEST(targets) {
  bdpt_model *dense = make_model(4), *m;
  bdpt_config narrow;
  bdpt_width_options o = make_options(0.5, 1, 0.5, 0.25);
  bdpt_width_report r;
  bdpt_cost_report cost;
  double free_ms, most, weights;
  int target;
  for (target = BDPT_TO_MACS; target <= BDPT_TO_PARAMS; target++) {
    CHECK(bdpt_cost(&ctx, &dense->config, &cost) == BDPT_OK);
    most = target == BDPT_TO_MACS ? cost.macs : (double)cost.params;
    o.target = target;
    o.budget = 0.55 * most;
    m = bdpt_model_clone(dense);
    CHECK(bdpt_width_prune(m, &train, &o, NULL, &r) == BDPT_OK);
    CHECK(bdpt_cost(&ctx, &m->config, &cost) == BDPT_OK);
    CHECK(memcmp(&cost, &r.after, sizeof cost) == 0);
    CHECK((target == BDPT_TO_MACS ? cost.macs : (double)cost.params) <= o.budget);
    CHECK((target == BDPT_TO_MACS ? cost.macs : (double)cost.params) > 0.85 * o.budget);
    CHECK(r.factor > 0.1 && r.factor < 1);
    o.target = BDPT_TO_RATIOS; /* the factor gives the same plan; a little less misses the budget */
    CHECK(bdpt_width_score(dense, &train, &o, NULL, score) == BDPT_OK);
    o.ratio[0] *= r.factor; o.ratio[1] *= r.factor; o.ratio[2] *= r.factor; o.ratio[3] *= r.factor;
    CHECK(bdpt_width_plan(&ctx, &dense->config, &o, score, keep, &narrow, NULL) == BDPT_OK);
    CHECK(memcmp(&narrow, &m->config, sizeof narrow) == 0);
    o.ratio[0] *= 0.999; o.ratio[1] *= 0.999; o.ratio[2] *= 0.999; o.ratio[3] *= 0.999;
    CHECK(bdpt_width_plan(&ctx, &dense->config, &o, score, keep, &narrow, &r) == BDPT_OK);
    CHECK((target == BDPT_TO_MACS ? r.after.macs : (double)r.after.params) > o.budget);
    o = make_options(0.5, 1, 0.5, 0.25);
    bdpt_model_free(m);
  }
  o.target = BDPT_TO_MACS; /* met as it is: nothing goes */
  o.budget = 1e12;
  m = bdpt_model_clone(dense);
  CHECK(bdpt_width_prune(m, &train, &o, NULL, &r) == BDPT_OK && r.factor == 0);
  CHECK(same_weights(m, dense));
  o.budget = 10;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, &r) == BDPT_E_ARGUMENT && same_weights(m, dense));
  CHECK_HAS(ctx.message, "width: 10 MACs cannot be reached: as narrow as these ratios can make it");
  bdpt_clear_error(&ctx);
  o.target = BDPT_TO_MS;
  o.clock = memory_clock; o.user = &ctx;
  o.budget = 1e9;
  usual = ctx.bytes_now;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, &r) == BDPT_OK && same_weights(m, dense));
  free_ms = r.ms;
  weights = 1e3 / 1048576 * (double)bytes_of(dense); /* their part of it */
  o.budget = free_ms - 0.4 * weights;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, &r) == BDPT_OK && !same_weights(m, dense));
  CHECK(r.ms <= o.budget && r.ms > free_ms - 0.7 * weights && r.factor > 0 && r.factor < 1);
  bdpt_model_free(m);
  bdpt_model_free(dense);
}

#ifdef _OPENMP
/* The real clock, on the caller's batch, gives a network a good deal smaller, well under the
 * time. */
TEST(measured_milliseconds) {
  static bdpt_real images[20 * 3 * SIDE * SIDE];
  bdpt_model *m = make_model(4);
  bdpt_width_options o = make_options(0, 0, 0, 0);
  bdpt_width_report r;
  bdpt_load_batch(&ctx, &m->config, &held, 0, 20, images, NULL);
  o.importance = BDPT_BY_L1;
  o.target = BDPT_TO_MS; o.budget = 1e4;
  o.batch = images; o.batch_images = 20;
  CHECK(bdpt_width_prune(m, NULL, &o, NULL, &r) == BDPT_OK && r.ms > 0 && r.ms < 1e4);
  o.budget = 1e-7;
  CHECK(bdpt_width_prune(m, NULL, &o, NULL, &r) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "ms cannot be reached");
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

static void refused(bdpt_model *m, const bdpt_subset *from, const bdpt_width_options *o,
                    const char *sentence) {
  bdpt_model *n = bdpt_model_clone(m);
  bdpt_width_report r;
  CHECK(bdpt_width_prune(m, from, o, NULL, &r) != BDPT_OK);
  if (!test_check(strcmp(ctx.message, sentence) == 0, sentence, __FILE__, __LINE__)) {
    printf("  got %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
  CHECK(same_weights(m, n));
  bdpt_model_free(n);
}

TEST(errors) {
  bdpt_model *m = make_model(1);
  bdpt_subset none = train;
  bdpt_width_options o = make_options(0, 0, 0, 0);
  size_t at = bdpt_width_first(&m->config, BDPT_HEADS, 0);
  refused(m, &train, &o, "width: every ratio is 0 and there is no target");
  o = make_options(1.5, 0, 0, 0);
  refused(m, &train, &o, "width: a share of 1.5 of the embedding is not in [0,1]");
  o = make_options(0, -0.1, 0, 0);
  refused(m, &train, &o, "width: a share of -0.1 of the hidden units is not in [0,1]");
  o = make_options(0, 0, 0, NAN);
  refused(m, &train, &o, "width: a share of nan of the head sizes is not in [0,1]");
  o = make_options(0.5, 0, 0, 0);
  o.multiple = 5000;
  refused(m, &train, &o, "width: the multiple 5000 is not between 0 and 4096, the target 0 not "
          "between 0 and 3, or its budget 0 not positive");
  o.multiple = 1; o.target = 4;
  refused(m, &train, &o, "width: the multiple 1 is not between 0 and 4096, the target 4 not "
          "between 0 and 3, or its budget 0 not positive");
  o.target = BDPT_TO_PARAMS;
  refused(m, &train, &o, "width: the multiple 1 is not between 0 and 4096, the target 2 not "
          "between 0 and 3, or its budget 0 not positive");
  o.target = BDPT_TO_MS; o.budget = 1; o.batch = m->param[0].data;
  refused(m, &train, &o, "width: milliseconds need a clock, and a batch images");
  o = make_options(0.5, 0, 0, 0);
  o.importance = 4;
  refused(m, &train, &o, "width: importance 4 is not 0 (Taylor), 1 (L1), 2 (L2) or 3 (chance)");
  o.importance = BDPT_BY_TAYLOR;
  refused(m, NULL, &o, "width: Taylor scores need images; L1, L2 and chance need none");
  none.count = 0;
  refused(m, &none, &o, "width: Taylor scores need images; L1, L2 and chance need none");
  m->param[BDPT_SLOT_HEAD_W].data[0] = (bdpt_real)NAN;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, NULL) == BDPT_E_NUMERIC);
  CHECK_HAS(ctx.message, "width: the loss of images 0 to 15 is not finite");
  bdpt_clear_error(&ctx);
  memset(keep, 1, sizeof keep);
  keep[at] = 0;
  CHECK(bdpt_width_shrink(m, keep) == BDPT_E_SHAPE);
  CHECK_HAS(ctx.message, "width: block 0 would have heads of 3 and of 4 features; a layer's heads "
            "are of one size");
  bdpt_clear_error(&ctx);
  memset(keep + at, 0, 16);
  CHECK(bdpt_width_shrink(m, keep) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "width: the plan takes the last unit of block 0");
  bdpt_clear_error(&ctx);
  memset(keep, 1, sizeof keep);
  memset(keep, 0, 16);
  CHECK(bdpt_width_shrink(m, keep) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "width: the plan keeps no embedding");
  bdpt_clear_error(&ctx);
  memset(keep, 1, sizeof keep);
  memset(keep + at, 0, 4);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 0) == BDPT_OK);
  CHECK(bdpt_width_shrink(m, keep) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "width: the plan takes units of a removed layer of block 0");
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

static bdpt_status narrow(bdpt_model *m, void *user) {
  bdpt_width_options *o = (bdpt_width_options *)user;
  bdpt_status s;
  o->user = m->ctx; /* whose clock it is */
  s = bdpt_width_prune(m, &train, o, NULL, NULL);
  if (s == BDPT_OK) CHECK(m->config.width < 16);
  return s;
}

TEST(every_allocation_fails_once) {
  bdpt_cost_report cost;
  bdpt_config c = make_config();
  bdpt_width_options o = make_options(0.5, 0.5, 0.5, 0.5);
  o.clock = memory_clock;
  o.target = BDPT_TO_RATIOS;
  CHECK(each_allocation_fails(&c, 2, narrow, &o) > 30);
  CHECK(bdpt_cost(&ctx, &c, &cost) == BDPT_OK);
  o.target = BDPT_TO_MACS;
  o.budget = 0.5 * cost.macs;
  CHECK(each_allocation_fails(&c, 2, narrow, &o) > 30);
}

static int stop;
static int stopping(const bdpt_progress *p, void *user) {
  (void)user;
  CHECK(strcmp(p->phase, "width") == 0 && p->done <= p->total);
  return stop;
}

TEST(cancelled) {
  bdpt_model *m = make_model(1), *n = bdpt_model_clone(m);
  bdpt_width_options o = make_options(0.5, 0, 0, 0);
  bdpt_hooks hooks;
  memset(&hooks, 0, sizeof hooks);
  hooks.progress = stopping;
  stop = 1;
  CHECK(bdpt_width_prune(m, &train, &o, &hooks, NULL) == BDPT_CANCELLED && same_weights(m, n));
  stop = 0;
  CHECK(bdpt_width_prune(m, &train, &o, &hooks, NULL) == BDPT_OK && m->config.width == 8);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

TEST(thread_count_changes_no_bit) {
  bdpt_model *m = make_model(6), *n;
  bdpt_width_options o = make_options(0.3, 0.3, 0.3, 0.3);
  int threads = ctx.threads;
  n = bdpt_model_clone(m);
  ctx.threads = 1;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, NULL) == BDPT_OK);
  ctx.threads = 3;
  CHECK(bdpt_width_prune(n, &train, &o, NULL, NULL) == BDPT_OK);
  ctx.threads = threads;
  CHECK(same_weights(m, n));
  bdpt_model_free(m);
  bdpt_model_free(n);
}

/* ---- What comes after ------------------------------------------------------------------------ */

/* A narrow network is saved and loaded with the same sizes, scale, cost, bits; shapes in the file
 * are the small ones. */
TEST(saved_and_loaded) {
  bdpt_model *m = make_model(5), *n;
  bdpt_width_options o = make_options(0.4, 0.5, 0.3, 0.4);
  bdpt_cost_report a, b;
  bdpt_bytes bytes;
  double scale = m->config.block[1].scale;
  int l;
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 0) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK);
  CHECK(bdpt_fuse_all(m) == BDPT_OK);
  CHECK(bdpt_width_prune(m, &train, &o, NULL, NULL) == BDPT_OK);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  n = bdpt_model_parse(&ctx, bytes.data, bytes.size, "memory", NULL);
  bdpt_bytes_free(&ctx, &bytes);
  if (!CHECK(n != NULL)) return;
  CHECK(same_weights(m, n) && apart(m, n) == 0);
  CHECK(bdpt_cost(&ctx, &m->config, &a) == BDPT_OK && bdpt_cost(&ctx, &n->config, &b) == BDPT_OK);
  CHECK(memcmp(&a, &b, sizeof a) == 0);
  CHECK(n->config.width == 10 && n->config.block[1].scale == scale);
  for (l = 0; l < 3; l++) {
    const bdpt_block *x = &m->config.block[l], *y = &n->config.block[l];
    CHECK(x->heads == y->heads && x->head_dim == y->head_dim && x->mlp == y->mlp);
    CHECK(x->scale == y->scale && x->attention == y->attention && x->mlp_state == y->mlp_state);
  }
  CHECK(n->config.block[1].head_dim < 6 || n->config.block[2].head_dim < 4);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

/* A narrow network trains (with the dense one as teacher), loses layers, is fused and fitted, and
 * can be narrowed again. */
TEST(usable_by_every_other_part) {
  bdpt_model *dense = make_model(5), *m = bdpt_model_clone(dense), *n;
  bdpt_width_options o = make_options(0.25, 0.5, 0.3, 0.4);
  bdpt_recipe r = stripes_recipe(8);
  bdpt_stage2_result two;
  bdpt_epoch log[8];
  bdpt_disparity_row row[4];
  const bdpt_layers attention = {{1 << 2, 0}}, activation = {{0, 1 << 0}};
  bdpt_fit_report fit;
  size_t rows;
  CHECK(bdpt_width_prune(m, &train, &o, NULL, NULL) == BDPT_OK && m->config.width == 12);
  n = bdpt_model_clone(m);
  CHECK(bdpt_disparity(m, &(bdpt_run){&train, NULL, NULL}, &r, 3, row, 4, &rows) == BDPT_OK &&
        rows == 4);
  CHECK(row[0].gradient[BDPT_ATTENTION][1] > 0);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK);
  CHECK(bdpt_stage2(m, dense, &(bdpt_run){&train, &held, NULL}, &r, log, &two) == BDPT_OK);
  CHECK(log[7].loss < log[0].loss);
  CHECK(two.certificate.fused == 1 && two.fused.top1 == two.recovered.top1);
  CHECK(m->param[BDPT_SLOT(1, BDPT_SLOT_FUSED_W)].count == 144);
  CHECK(bdpt_remove(n, &attention, BDPT_START_FIT, &train, &fit) == BDPT_OK);
  CHECK(bdpt_remove(n, &activation, BDPT_START_FIT, &train, &fit) == BDPT_OK);
  CHECK(n->param[BDPT_SLOT(2, BDPT_SLOT_AFIT_W)].count == 144);
  o = make_options(0.5, 0.5, 0, 0); /* both sides of fitted maps */
  CHECK(bdpt_width_prune(n, &train, &o, NULL, NULL) == BDPT_OK && n->config.width == 6);
  CHECK(n->param[BDPT_SLOT(2, BDPT_SLOT_AFIT_W)].count == 36);
  CHECK(n->param[BDPT_SLOT(0, BDPT_SLOT_FUSED_W)].count == 36);
  CHECK(bdpt_train(n, dense, &(bdpt_run){&train, NULL, NULL}, &r, NULL) == BDPT_OK);
  bdpt_model_free(dense);
  bdpt_model_free(m);
  bdpt_model_free(n);
}

/* A trainer follows between two of its steps: new shapes get new moments. */
TEST(a_trainer_follows) {
  bdpt_model *m = make_model(10);
  bdpt_width_options o = make_options(0.5, 0.5, 0.5, 0.5);
  bdpt_recipe r = stripes_recipe(20);
  bdpt_trainer *t = bdpt_trainer_create(m, NULL, &train, &r);
  double loss = 0, first = 0;
  int i;
  CHECK(bdpt_trainer_step(t, &loss) == BDPT_OK);
  CHECK(bdpt_width_prune(m, &train, &o, NULL, NULL) == BDPT_OK);
  for (i = 0; i < 60; i++) {
    CHECK(bdpt_trainer_step(t, &loss) == BDPT_OK);
    if (i < 6) first += loss / 6;
  }
  CHECK(m->config.width == 8 && loss < first);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
}

/* ---- BoundaryDPT+ ---------------------------------------------------------------------------- */

static int same_layer(bdpt_layer a, bdpt_layer b) { return a.type == b.type && a.block == b.block; }

static bdpt_plus_options make_plus(int order) {
  bdpt_plus_options o;
  memset(&o, 0, sizeof o);
  o.order = order;
  o.layers.blocks[BDPT_ATTENTION] = 2;  /* block 1 */
  o.layers.blocks[BDPT_ACTIVATION] = 5; /* blocks 0 and 2 */
  o.depth.start = BDPT_START_PAPER;
  o.width = make_options(0.5, 0.5, 0.5, 0.25);
  o.between = stripes_recipe(1);
  o.depth.finetune = stripes_recipe(2);
  return o;
}

static void remove_them(bdpt_model *m) {
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 0) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 2) == BDPT_OK);
}

static double macs_of(const bdpt_config *c) {
  bdpt_cost_report cost;
  CHECK(bdpt_cost(&ctx, c, &cost) == BDPT_OK);
  return cost.macs;
}

/* Depth first does what the calls do one by one: remove, recover, narrow, recover. */
TEST(plus_depth_first) {
  bdpt_model *m = make_model(20), *dense = bdpt_model_clone(m), *n = bdpt_model_clone(m);
  bdpt_plus_options o = make_plus(BDPT_DEPTH_FIRST);
  bdpt_plus_result r;
  bdpt_stage2_result two;
  bdpt_width_report report;
  o.width.target = BDPT_TO_MACS;
  o.width.budget = 0.4 * macs_of(&m->config);
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK);
  remove_them(n);
  CHECK(bdpt_stage2(n, dense, &(bdpt_run){&train, &held, NULL}, &o.between, NULL, &two) == BDPT_OK);
  CHECK(memcmp(&two, &r.step[0].recovery, sizeof two) == 0);
  CHECK_CLOSE(r.step[0].cost.macs, macs_of(&n->config), 0);
  CHECK(bdpt_width_prune(n, &train, &o.width, NULL, &report) == BDPT_OK);
  CHECK(memcmp(&report, &r.step[1].width, sizeof report) == 0);
  CHECK(bdpt_stage2(n, dense, &(bdpt_run){&train, &held, NULL}, &o.depth.finetune, NULL, &two) ==
        BDPT_OK);
  CHECK(memcmp(&two, &r.step[1].recovery, sizeof two) == 0);
  CHECK(same_weights(m, n));
  CHECK(r.steps == 2 && r.count == 3 && r.step[0].removed[0] == 1 && r.step[0].removed[1] == 2);
  CHECK(!r.step[0].narrowed && r.step[1].narrowed && r.step[1].removed[1] == 0);
  CHECK(macs_of(&m->config) <= o.width.budget && macs_of(&m->config) > 0.8 * o.width.budget);
  CHECK(bdpt_removed(&m->config, 0) == 1 && m->config.block[0].mlp_state == BDPT_MLP_FUSED);
  CHECK(m->parent[0] != 0);
  CHECK_HAS(m->certificate, "2 MLPs fused"); /* in the first step */
  bdpt_model_free(m);
  bdpt_model_free(n);
  bdpt_model_free(dense);
}

/* Width first counts the layers, for the target, as gone that are still there. */
TEST(plus_width_first) {
  bdpt_model *m = make_model(20), *dense = bdpt_model_clone(m), *n = bdpt_model_clone(m);
  bdpt_plus_options o = make_plus(BDPT_WIDTH_FIRST);
  bdpt_plus_result r;
  bdpt_stage2_result two;
  int i;
  o.width.target = BDPT_TO_MACS;
  o.width.budget = 0.4 * macs_of(&m->config);
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK);
  CHECK(r.steps == 2 && r.step[0].narrowed && r.step[1].removed[1] == 2);
  CHECK(r.step[0].cost.macs > o.width.budget);
  CHECK(macs_of(&m->config) <= o.width.budget && macs_of(&m->config) > 0.8 * o.width.budget);
  for (i = 0; i < BDPT_WIDTHS; i++) o.width.ratio[i] *= r.step[0].width.factor;
  o.width.target = BDPT_TO_RATIOS;
  CHECK(bdpt_width_prune(n, &train, &o.width, NULL, NULL) == BDPT_OK);
  CHECK(bdpt_stage2(n, dense, &(bdpt_run){&train, &held, NULL}, &o.between, NULL, &two) == BDPT_OK);
  remove_them(n);
  CHECK(bdpt_stage2(n, dense, &(bdpt_run){&train, &held, NULL}, &o.depth.finetune, NULL, &two) ==
        BDPT_OK);
  CHECK(memcmp(&two, &r.step[1].recovery, sizeof two) == 0 && same_weights(m, n));
  bdpt_model_free(m);
  bdpt_model_free(n);
  bdpt_model_free(dense);
}

/* In turns each round takes shares of both; ratios come out as asked; a target is met at the end,
 * and every round does a part of it. */
TEST(plus_in_turns) {
  bdpt_model *dense = make_model(20), *m = bdpt_model_clone(dense);
  bdpt_plus_options o = make_plus(BDPT_IN_TURNS);
  bdpt_plus_result r;
  bdpt_config final;
  double end, budget;
  int i;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK);
  CHECK(r.steps == 2 && r.step[0].narrowed && r.step[1].narrowed);
  CHECK(r.step[0].removed[0] + r.step[0].removed[1] == 1);
  CHECK(r.step[1].removed[0] + r.step[1].removed[1] == 2);
  CHECK(m->config.width == 8); /* 16, 11, 8 */
  bdpt_model_free(m);
  m = bdpt_model_clone(dense);
  o.rounds = 3;
  o.width.target = BDPT_TO_MACS;
  final = dense->config; /* what is measured against: the layers gone, the width whole */
  final.block[1].attention = BDPT_ATTENTION_REMOVED;
  final.block[0].mlp_state = final.block[2].mlp_state = BDPT_MLP_FUSED;
  end = macs_of(&final);
  o.width.budget = budget = 0.5 * end;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK && r.steps == 3);
  CHECK(r.step[2].cost.macs <= budget && r.step[2].cost.macs > 0.75 * budget);
  for (i = 0; i < 3; i++) {
    CHECK(r.step[i].width.factor > 0 && r.step[i].width.factor < 0.6); /* of ratios up to a half */
    CHECK(r.step[i].width.after.macs < 0.92 * r.step[i].width.before.macs);
  }
  bdpt_model_free(m);
  bdpt_model_free(dense);
}

/* The layers found by the search, or by both parts of stage 1, are those that the calls find. */
TEST(plus_finds_the_layers) {
  bdpt_model *dense = make_model(20), *m = bdpt_model_clone(dense), *n = bdpt_model_clone(dense);
  bdpt_plus_options o = make_plus(BDPT_DEPTH_FIRST);
  bdpt_plus_result r;
  bdpt_search_result found;
  bdpt_two_stage_result *both = (bdpt_two_stage_result *)calloc(1, sizeof *both);
  int i;
  memset(&o.layers, 0, sizeof o.layers);
  o.width = make_options(0, 0, 0, 0);
  o.depth.collect.recipe = o.depth.search.recipe = stripes_recipe(1);
  for (i = 0; i < 3; i++) o.depth.search.stage[i] = 1;
  o.depth.start = BDPT_START_FIT;
  o.depth.budget = 2;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK && r.steps == 1);
  CHECK(r.count == 2 && !r.step[0].narrowed);
  CHECK(both && bdpt_two_stage(n, &(bdpt_run){&train, &held, NULL}, &o.depth, both) == BDPT_OK);
  CHECK(same_weights(m, n)); /* without width, BoundaryDPT+ is BoundaryDPT */
  CHECK(both && memcmp(&both->search, &r.found.search, sizeof both->search) == 0);
  CHECK(both && memcmp(&both->stage2, &r.step[0].recovery, sizeof both->stage2) == 0);
  bdpt_model_free(m);
  bdpt_model_free(n);
  m = bdpt_model_clone(dense); n = bdpt_model_clone(dense);
  o.depth.search.remove[0] = 1; o.depth.search.remove[1] = 2;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_OK && r.count == 3);
  o.depth.search.start = o.depth.start;
  CHECK(bdpt_search(n, &(bdpt_run){&train, &held, NULL}, &o.depth.search, &found) == BDPT_OK);
  CHECK(memcmp(&found, &r.found.search, sizeof found) == 0 && r.found.point_count == 0);
  for (i = 0; i < 3; i++) CHECK(same_layer(r.layer[i], found.layer[i]));
  CHECK(bdpt_removed(&m->config, 0) == 1 && bdpt_removed(&m->config, 1) == 2);
  CHECK(m->config.block[found.layer[0].block].mlp_state == BDPT_MLP_FITTED);
  free(both);
  bdpt_model_free(m);
  bdpt_model_free(n);
  bdpt_model_free(dense);
}

static void plus_refused(bdpt_model *m, const bdpt_plus_options *o, const char *sentence) {
  bdpt_model *n = bdpt_model_clone(m);
  bdpt_plus_result r;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, o, &r) != BDPT_OK);
  if (!test_check(strcmp(ctx.message, sentence) == 0, sentence, __FILE__, __LINE__)) {
    printf("  got %s\n", ctx.message);
  }
  bdpt_clear_error(&ctx);
  CHECK(same_weights(m, n) && m->config.width == n->config.width);
  bdpt_model_free(n);
}

TEST(plus_errors) {
  bdpt_model *m = make_model(20);
  bdpt_plus_result r;
  bdpt_plus_options o = make_plus(3);
  plus_refused(m, &o, "plus: order 3 is not 0 (depth first), 1 (width first) or 2 (in turns), or "
               "the rounds, 2, are not between 1 and 16");
  o = make_plus(BDPT_IN_TURNS);
  o.rounds = 17;
  plus_refused(m, &o, "plus: order 2 is not 0 (depth first), 1 (width first) or 2 (in turns), or "
               "the rounds, 17, are not between 1 and 16");
  memset(&o.layers, 0, sizeof o.layers);
  memset(&o.width, 0, sizeof o.width);
  o.rounds = 0;
  plus_refused(m, &o, "plus: neither layers nor width to remove");
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  o = make_plus(BDPT_DEPTH_FIRST);
  plus_refused(m, &o, "plus: the attention of block 1 is already removed");
  o.layers.blocks[BDPT_ATTENTION] = 0;
  o.width.ratio[2] = 2;
  plus_refused(m, &o, "width: a share of 2 of the heads is not in [0,1]");
  o.width.ratio[2] = 0.5;
  o.width.target = BDPT_TO_PARAMS; o.width.budget = 7; /* known before anything is trained */
  o.between.epochs = -1;
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, NULL}, &o, &r) == BDPT_E_ARGUMENT && r.steps == 0);
  CHECK_HAS(ctx.message, "width: 7 parameters cannot be reached");
  bdpt_clear_error(&ctx);
  bdpt_model_free(m);
}

static int reports, stop_at;
static int on_progress(const bdpt_progress *p, void *user) {
  (void)p;
  (void)user;
  return ++reports == stop_at;
}

static void forget(void) {
  static const char *const last[] = {".search", ".map", ".plus1.stage2", ".plus2.stage2", ".width1",
                                     ".width2"};
  char name[100];
  size_t i;
  for (i = 0; i < sizeof last / sizeof *last; i++) {
    snprintf(name, sizeof name, "%s%s", STATE, last[i]);
    remove(name);
  }
}

/* Stops at the n-th report, for many n, and resumes: the same network, the same report, even if the
 * clock runs at another speed by then, as a measured time decides once. */
static void interrupted(int order, int target) {
  bdpt_model *dense = make_model(21), *whole = bdpt_model_clone(dense), *m;
  bdpt_plus_options o = make_plus(order);
  bdpt_plus_result want, got;
  bdpt_hooks hooks;
  bdpt_status s = BDPT_CANCELLED;
  FILE *file;
  int n, stops = 0, slower = 0;
  memset(&hooks, 0, sizeof hooks);
  o.width.target = target;
  o.width.clock = memory_clock; o.width.user = &ctx;
  usual = ctx.bytes_now;
  o.width.budget = target == BDPT_TO_MS ? 0 : 0.4 * macs_of(&dense->config);
  if (target == BDPT_TO_MS) { /* how long does it take without those layers? */
    bdpt_width_options all = o.width;
    bdpt_width_report report;
    all.budget = 1e9;
    m = bdpt_model_clone(dense);
    remove_them(m);
    CHECK(bdpt_fuse_all(m) == BDPT_OK);
    all.importance = BDPT_BY_L1;
    CHECK(bdpt_width_prune(m, NULL, &all, NULL, &report) == BDPT_OK);
    o.width.budget = report.ms - 300.0 / 1048576 * (double)bytes_of(m);
    bdpt_model_free(m);
  }
  usual = ctx.bytes_now;
  CHECK(bdpt_plus(whole, &(bdpt_run){&train, &held, NULL}, &o, &want) == BDPT_OK);
  CHECK(want.step[order == BDPT_DEPTH_FIRST ? 1 : 0].width.factor > 0);
  hooks.progress = on_progress;
  hooks.checkpoint = STATE;
  for (n = 2; s == BDPT_CANCELLED; n += 3) {
    forget();
    m = bdpt_model_clone(dense);
    reports = 0;
    stop_at = n;
    usual = ctx.bytes_now;
    s = bdpt_plus(m, &(bdpt_run){&train, &held, &hooks}, &o, &got);
    if (s == BDPT_CANCELLED) {
      stops++;
      stop_at = 0;
      CHECK(same_weights(m, dense));
      file = fopen(temporary("width.width2"), "rb");
      if (file) { /* all now seems to take longer */
        usual -= 1 << 17;
        slower += fclose(file) == 0;
      }
      CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, &hooks}, &o, &got) == BDPT_OK);
      CHECK(same_weights(m, whole));
      CHECK(memcmp(&want, &got, sizeof want) == 0);
    }
    bdpt_model_free(m);
  }
  CHECK(s == BDPT_OK && stops > 5 && (slower > 0) == (target == BDPT_TO_MS));
  forget();
  bdpt_model_free(whole);
  bdpt_model_free(dense);
}

TEST(plus_resumes) {
  interrupted(BDPT_DEPTH_FIRST, BDPT_TO_MACS);
  interrupted(BDPT_WIDTH_FIRST, BDPT_TO_MACS);
  interrupted(BDPT_IN_TURNS, BDPT_TO_RATIOS);
}

TEST(plus_remembers_times) {
  bdpt_model *m = make_model(22);
  bdpt_plus_options o = make_plus(BDPT_IN_TURNS);
  bdpt_plus_result r;
  bdpt_hooks hooks;
  FILE *file = NULL;
  interrupted(BDPT_DEPTH_FIRST, BDPT_TO_MS);
  interrupted(BDPT_IN_TURNS, BDPT_TO_MS);
  memset(&hooks, 0, sizeof hooks);
  hooks.checkpoint = STATE;
  hooks.progress = on_progress;
  o.width.target = BDPT_TO_MS; o.width.budget = 1e9;
  o.width.clock = memory_clock; o.width.user = &ctx;
  usual = 0;
  for (stop_at = 2; !file && stop_at < 100; stop_at++) { /* until a time has been measured */
    reports = 0;
    CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, &hooks}, &o, &r) == BDPT_CANCELLED);
    file = fopen(temporary("width.width1"), "rb");
  }
  CHECK(file && fclose(file) == 0);
  stop_at = 0;
  o.width.budget = 2e9; /* another request */
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, &hooks}, &o, &r) == BDPT_E_STATE);
  CHECK_HAS(ctx.message, "-width.width1 was saved by a run with another network or another target; "
                         "delete it or name another checkpoint");
  bdpt_clear_error(&ctx);
  o.width.budget = 1e9; /* the right request, but the file was cut off */
  CHECK(bdpt_file_write(&ctx, temporary("width.width1"), "cut", 3) == BDPT_OK);
  CHECK(bdpt_plus(m, &(bdpt_run){&train, &held, &hooks}, &o, &r) == BDPT_E_STATE);
  bdpt_clear_error(&ctx);
  forget();
  bdpt_model_free(m);
}

static bdpt_status both(bdpt_model *m, void *user) {
  bdpt_plus_options o = make_plus(BDPT_WIDTH_FIRST);
  bdpt_subset few = train;
  bdpt_status s;
  few.count = 20;
  o.width.images = 10;
  o.depth.finetune.epochs = 1;
  o.depth.start = BDPT_START_FIT_ACTIVATION;
  s = bdpt_plus(m, &(bdpt_run){&few, &held, NULL}, &o, (bdpt_plus_result *)user);
  if (s == BDPT_OK) CHECK(m->config.width == 8);
  return s;
}

TEST(plus_allocations) {
  bdpt_config c = make_config();
  bdpt_plus_result *r = (bdpt_plus_result *)malloc(sizeof *r);
  if (r) CHECK(each_allocation_fails(&c, 2, both, r) > 100);
  free(r);
}

int main(void) {
  bdpt_init(&ctx);
  make_stripes(&ctx, 6);
  RUN(published_sizes);
  RUN(a_plan_by_hand);
  RUN(default_multiples);
  RUN(taylor_by_differences);
  RUN(taylor_as_pytorch);
  RUN(magnitudes_and_chance);
  RUN(images_are_spread);
  RUN(outputs_are_those_with_units_at_zero);
  RUN(the_embedding_before_the_first_norm);
  RUN(the_embedding_where_norms_agree);
  RUN(removed_layers_can_come_back);
  RUN(other_forms);
  RUN(targets);
#ifdef _OPENMP
  RUN(measured_milliseconds);
#endif
  RUN(errors);
  RUN(every_allocation_fails_once);
  RUN(cancelled);
  RUN(thread_count_changes_no_bit);
  RUN(saved_and_loaded);
  RUN(usable_by_every_other_part);
  RUN(a_trainer_follows);
  RUN(plus_depth_first);
  RUN(plus_width_first);
  RUN(plus_in_turns);
  RUN(plus_finds_the_layers);
  RUN(plus_errors);
  RUN(plus_resumes);
  RUN(plus_remembers_times);
  RUN(plus_allocations);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  CHECK(ctx.status == BDPT_OK);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("width");
}
