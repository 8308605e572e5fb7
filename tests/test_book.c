/* The numbers of the book. The header's prose and the companion text (examples/weave/companion.txt)
 * work their ideas out with numbers; here the library computes them, and the sentence that results
 * must stand in the text. A number that changes in either place fails the test. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "published.h"
#include "resize.h"
#include <float.h>
#include <stdlib.h>

static bdpt_context ctx;
static bdpt_tape *tape;
static char *header, *second, *notes, *companion; /* two headers; what the book adds */

/* Reads a text with all white space, and the stars of comments, turned into single blanks. */
static char *read_squashed(const char *path) {
  bdpt_bytes bytes;
  size_t i, n = 0;
  char *out;
  if (bdpt_file_read(&ctx, path, &bytes) != BDPT_OK) return NULL;
  out = (char *)malloc(bytes.size + 1);
  for (i = 0; out && i < bytes.size; i++) {
    int blank = bytes.data[i] == ' ' || bytes.data[i] == '\n';
    int star =
        bytes.data[i] == '*' && i > 1 && bytes.data[i - 1] == ' ' && bytes.data[i - 2] == '\n';
    if ((blank || star) && (n == 0 || out[n - 1] == ' ')) continue;
    out[n++] = blank ? ' ' : (char)bytes.data[i];
  }
  if (out) out[n] = 0;
  bdpt_bytes_free(&ctx, &bytes);
  return out;
}

/* Checks that one of the texts has the numbers as printed here. In the companion the sentence must
 * stand under the tag; without a tag it stands in one of the headers or in PAPER_NOTES.md. */
static void says(const char *tag, const char *format, ...) {
  char want[300], key[60];
  const char *s = header, *end;
  size_t n;
  int found;
  va_list list;
  va_start(list, format);
  vsnprintf(want, sizeof want, format, list);
  va_end(list);
  n = strlen(want);
  if (tag) {
    snprintf(key, sizeof key, ">>%s ", tag);
    s = strstr(companion, key);
  }
  if (s && tag) s += 2;
  end = s && tag ? strstr(s, ">>") : NULL;
  s = s ? strstr(s, want) : NULL;
  if (!s && !tag) s = strstr(second, want);
  if (!s && !tag) s = strstr(notes, want);
  found = s && (!end || s + n <= end);
  if (!CHECK(found)) printf("  the %s does not say: %s\n", tag ? tag : "header", want);
}

static bdpt_tensor *input(size_t rows, size_t columns, const double *v) {
  size_t shape[2], i;
  bdpt_real data[64];
  shape[0] = rows;
  shape[1] = columns;
  for (i = 0; i < rows * columns; i++) data[i] = (bdpt_real)v[i];
  return bdpt_input(tape, 2, shape, data, 1);
}

static bdpt_tensor *vector(size_t n, const double *v) {
  size_t i;
  bdpt_real data[64];
  for (i = 0; i < n; i++) data[i] = (bdpt_real)v[i];
  return bdpt_input(tape, 1, &n, data, 1);
}

#define AT(t, i) ((double)(t)->data[i])
#define GRAD(t, i) ((double)(t)->grad[i])

TEST(tape_numbers) {
  says(NULL, "with a = 2, b = 3, c = a * b = %g, L = c + a = %g the walk", 2.0 * 3, 2.0 * 3 + 2);
  says(NULL, "(da += b * dc = %g, db = a * dc = %g)", 1.0 + 3 * 1, 2.0 * 1);
  says("own", "so h = 0.01 is off by %.4f, and h = 6e-6 by %.0fe-11", 0.01 * 0.01, 3.6);
  says("random", "draws of %d and more are thrown away, %d of 256", 256 / 100 * 100, 256 % 100);
}

TEST(linear_numbers) {
  static const double x_data[] = {1, 2}, w_data[] = {1, 0, -1, 3, 2, 1}, b_data[] = {0.5, 0, 0};
  static const bdpt_real ones[] = {1, 1, 1};
  bdpt_tensor *x = input(1, 2, x_data), *w = input(3, 2, w_data), *b = vector(3, b_data);
  bdpt_tensor *y = bdpt_linear(tape, x, w, b, NULL);
  CHECK(bdpt_backward(tape, y, ones) == BDPT_OK);
  says("linear", "y = x W^T + b = (%g, %g, %g).", AT(y, 0), AT(y, 1), AT(y, 2));
  says("linear", "dx = dy W = (%g, %g), every row of dW is x = (%g, %g), and db = (%g, %g, %g).",
       GRAD(x, 0), GRAD(x, 1), GRAD(w, 4), GRAD(w, 5), GRAD(b, 0), GRAD(b, 1), GRAD(b, 2));
}

TEST(norm_and_activation_numbers) {
  static const double row[] = {1, 2, 3, 6}, one[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0};
  static const double z_data[] = {1, -1};
  static const bdpt_real ones[] = {1, 1};
  bdpt_tensor *y = bdpt_layernorm(tape, input(1, 4, row), vector(4, one), vector(4, zero), 0);
  bdpt_tensor *z = input(1, 2, z_data), *g = bdpt_activate(tape, z, BDPT_GELU);
  says("layernorm", "the row becomes (%.3f, %.4f, %g, %.4f).", AT(y, 0), AT(y, 1), AT(y, 2),
       AT(y, 3));
  says("layernorm", "has the mean 3 and the biased variance 3.5, so rstd = %.4f,", AT(y, 3) / 3);
  CHECK(bdpt_backward(tape, g, ones) == BDPT_OK);
  says("act", "GELU(1) = %.4f and GELU(-1) = %.4f:", AT(g, 0), AT(g, 1));
  says("act", "At 1 its slope is %.4f, at -1 it is %.4f.", GRAD(z, 0), GRAD(z, 1));
}

TEST(attention_numbers) {
  static const double row[] = {1, 2, 3}, far[] = {1001, 1002, 1003};
  /* one image, two tokens, q k v of one head of size 2 */
  static const bdpt_real qkv[] = {1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 2};
  const size_t shape[3] = {1, 2, 6};
  bdpt_tensor *o;
  double p[3], q[3], lse = bdpti_softmax_plain(3, row, p);
  double s = 1 / sqrt(2.0), weight = exp(s) / (exp(s) + 1);
  says("softmax", "softmax(1, 2, 3) = (%.4f, %.4f, %.4f), and the log-sum-exp is %.4f.", p[0], p[1],
       p[2], lse);
  bdpti_softmax_plain(3, far, q);
  CHECK_CLOSE(p[0], q[0], 1e-6);
  o = bdpt_attention(tape, bdpt_input(tape, 3, shape, qkv, 0), NULL, 1, s);
  says("attention", "S = Q K^T / sqrt(2) = [%.4f 0; 0 %.4f]", s, s);
  says("attention", "the weight %.4f and the other's %.4f, and O = [%.4f %.4f; %.4f %.4f].", weight,
       1 - weight, AT(o, 0), AT(o, 1), AT(o, 2), AT(o, 3));
}

TEST(loss_numbers) {
  static const double logits[] = {2, 0, -1}, f_data[] = {3}, r_data[] = {1}, m_data[] = {1};
  static const bdpt_real target[] = {1, 0, 0}, half = (bdpt_real)0.5;
  bdpt_tensor *z = input(1, 3, logits), *loss = bdpt_cross_entropy(tape, z, target);
  static const double halves[] = {1, 0, -0.5};
  bdpt_tensor *m, *y;
  double p[3], soft[3];
  bdpti_softmax_plain(3, logits, p);
  bdpti_softmax_plain(3, halves, soft);
  CHECK(bdpt_backward(tape, loss, NULL) == BDPT_OK);
  says("ce", "p = (%.4f, %.4f, %.4f), the loss is -log %.4f = %.4f,", p[0], p[1], p[2],
       p[0], AT(loss, 0));
  says("ce", "minus the target, (%.4f, %.4f, %.4f).", GRAD(z, 0), GRAD(z, 1), GRAD(z, 2));
  says("distill", "with T = 2 are (%.4f, %.4f, %.4f).", soft[0], soft[1], soft[2]);
  bdpt_tape_reset(tape);
  m = vector(1, m_data);
  y = bdpt_mix(tape, vector(1, f_data), vector(1, r_data), m, BDPT_NONE);
  CHECK(bdpt_backward(tape, y, &half) == BDPT_OK);
  says("mix", "the value is y = %g, and dm = 0.5 (3 - 1) = %g.", AT(y, 0), GRAD(m, 0));
  says("droppath", "multiplied by 1 / 0.75 = %.4f.", 1 / (1 - 0.25));
}

/* Returns the parameter after steps of AdamW with these gradients, from w = 1. */
static double adamw(double decay, const double *gradient, int steps) {
  bdpt_real w = 1, m = 0, v = 0, g;
  bdpti_adamw_args s;
  int i;
  for (i = 1; i <= steps; i++) {
    memset(&s, 0, sizeof s);
    g = (bdpt_real)gradient[i - 1];
    s.lr = 0.1;
    s.beta1 = 0.9;
    s.beta2 = 0.999;
    s.eps = 1e-8;
    s.decay = decay;
    s.step = i;
    s.p = &w;
    s.m = &m;
    s.v = &v;
    s.g = &g;
    ctx.isa->adamw(&s, 0, 1);
  }
  return (double)w;
}

TEST(training_numbers) {
  static const double turn[] = {0.5, -0.5}, small = 0.001, large = 1000;
  bdpt_recipe r;
  double corrected = (0.9 * 0.1 * 0.5 - 0.1 * 0.5) / (1 - 0.81);
  memset(&r, 0, sizeof r);
  says("adamw", "The first step goes to %g, by lr.", adamw(0, turn, 1));
  says("adamw",
       "m / (1 - b1^2) = %.4f against sqrt(v) = 0.5, so it goes back by %.4f only, to %.4f:",
       corrected, adamw(0, turn, 2) - 0.9, adamw(0, turn, 2));
  says("train", "Both at %.3f. Decay", adamw(0.05, &small, 1));
  CHECK_CLOSE(adamw(0.05, &small, 1), adamw(0.05, &large, 1), 1e-5);
  r.lr = 1;
  r.min_lr = 0.25;
  r.epochs = 10;
  r.restarts = 2;
  r.restart[0] = 4;
  r.restart[1] = 6;
  bdpt_recipe_resolve(&r);
  CHECK_CLOSE(bdpt_schedule(&r, 2), bdpt_schedule(&r, 8), 1e-12);
  says(NULL, "the rate is %g at t = 0, 4 and 6, half-way down (%g) at 2, 5 and 8",
       bdpt_schedule(&r, 4), bdpt_schedule(&r, 5));
}

/* The example is the MLP of a network with D = 2 and F = 3. */
TEST(fusing_numbers) {
  static const bdpt_real w1[] = {1, 0, 2, -1, 0, 1}, w2[] = {1, 1, 0, 0, 2, 1};
  static const bdpt_real b1[] = {1, 0, -1}, b2[] = {0, 1};
  static bdpt_config c;
  bdpt_model *m;
  bdpt_tensor *w, *b;
  c.image = c.patch = 4;
  c.width = c.classes = 2;
  c.heads = c.depth = 1;
  c.mlp = 3;
  m = bdpt_model_create(&ctx, &c, 1);
  if (!CHECK(m != NULL)) return;
  memcpy(m->param[BDPT_SLOT(0, BDPT_SLOT_FC1_W)].data, w1, sizeof w1);
  memcpy(m->param[BDPT_SLOT(0, BDPT_SLOT_FC1_B)].data, b1, sizeof b1);
  memcpy(m->param[BDPT_SLOT(0, BDPT_SLOT_FC2_W)].data, w2, sizeof w2);
  memcpy(m->param[BDPT_SLOT(0, BDPT_SLOT_FC2_B)].data, b2, sizeof b2);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 0) == BDPT_OK && bdpt_fuse(m, 0) == BDPT_OK);
  w = &m->param[BDPT_SLOT(0, BDPT_SLOT_FUSED_W)];
  b = &m->param[BDPT_SLOT(0, BDPT_SLOT_FUSED_B)];
  says("fuse", "[1 1 0; 0 2 1] [1 0; 2 -1; 0 1] = [%g %g; %g %g],", AT(w, 0), AT(w, 1), AT(w, 2),
       AT(w, 3));
  says("fuse", "the bias is W2 b1 + b2 = (%g, %g).", AT(b, 0), AT(b, 1));
  says("fuse", "through the one to W v + b = (%g, %g).", AT(w, 0) + AT(w, 1) + AT(b, 0),
       AT(w, 2) + AT(w, 3) + AT(b, 1));
  bdpt_model_free(m);
}

TEST(fitting_numbers) {
  static const double x[] = {0, 1, 2, 3}, y[] = {0, 2, 3, 7};
  double g = 0, c = 0, all = 0, left = 0;
  int i;
  for (i = 0; i < 4; i++) {
    g += (x[i] - 1.5) * (x[i] - 1.5);
    c += (x[i] - 1.5) * (y[i] - 3);
    all += (y[i] - 3) * (y[i] - 3);
  }
  for (i = 0; i < 4; i++) {
    double e = y[i] - 3 - c / g * (x[i] - 1.5);
    left += e * e;
  }
  says("fit", "Then G = %g and C = %g; without a ridge W = %g and b = %g,", g, c, c / g,
       3 - c / g * 1.5);
  says("fit", "it is W = %.4f. The error is sqrt(%.1f / %g) = %.4f.", c / (g + 0.001 * g), left,
       all, sqrt(left / all));
}

TEST(cost_numbers) {
  bdpt_config c;
  bdpt_cost_report whole, less, fused;
  CHECK(bdpt_config_named(&ctx, "deit_tiny_patch16_224", &c) == BDPT_OK);
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && bdpt_cost(&ctx, &c, &whole) == BDPT_OK);
  c.attn_form = BDPT_ATTN_SKIP;
  c.block[3].attention = BDPT_ATTENTION_REMOVED;
  CHECK(bdpt_cost(&ctx, &c, &less) == BDPT_OK);
  c.block[3].mlp_state = BDPT_MLP_FUSED;
  CHECK(bdpt_cost(&ctx, &c, &fused) == BDPT_OK);
  says("cost", "has %d,%03d,%03d parameters and %.3f G multiply-adds.",
       (int)(whole.params / 1000000), (int)(whole.params / 1000 % 1000), (int)(whole.params % 1000),
       whole.macs / 1e9);
  says("cost", "saves %d,%03d parameters and %.1f M multiply-adds;",
       (int)((whole.params - less.params) / 1000), (int)((whole.params - less.params) % 1000),
       (whole.macs - less.macs) / 1e6);
  says("cost", "fusing an MLP saves %d,%03d and %.1f M.",
       (int)((less.params - fused.params) / 1000), (int)((less.params - fused.params) % 1000),
       (less.macs - fused.macs) / 1e6);
  says("prune", "2 D F = %d,%03d before and D^2 = %d,%03d after", 2 * 192 * 768 / 1000,
       2 * 192 * 768 % 1000, 192 * 192 / 1000, 192 * 192 % 1000);
  says("deit", "%d = 14 x 14 patches", 14 * 14);
  says("deit", "24 x 24 patches and one, %d.", 384 / 16 * (384 / 16) + 1);
  says("merge", "(1 * 2 + 2 * 5) / 3 = %g,", (1 * 2 + 2 * 5) / 3.0);
}

TEST(predictor_numbers) {
  static const double printed[6] = {31.684374,  50.653461, 39.298158,
                                    -19.795489, -8.338992, -11.704586};
  bdpt_map map, other;
  int a, g, i;
  double best, left = 0;
  load_points();
  CHECK(bdpt_map_fit(&ctx, points, 22, 1, 0, &map) == BDPT_OK);
  CHECK(bdpt_map_split(&ctx, &map, 12, 8, &a, &g, &best) == BDPT_OK);
  says(NULL, "the true fit prefers (%d, %d), with a predicted %.1f against %.1f for the even one",
       a, g, best, bdpt_map_predict(&map, 8 / 12.0, 8 / 12.0));
  says(NULL, "| .4066 / .4870 | .%.0f / .%.0f |", 1e4 * map.cv_mae[2], 1e4 * map.cv_rmse[2]);
  other = map;
  memcpy(other.theta, printed, sizeof printed);
  for (i = 0; i < 22; i++) {
    double e =
        bdpt_map_predict(&other, points[i].attention, points[i].activation) - points[i].accuracy;
    left += e * e;
  }
  says(NULL, "%.2f (of the published coefficients)", left);
  says("map-degree", "22 * 21 / 2 = %d pairs, so %d errors", 22 * 21 / 2, 22 * 21);
  says("map-degree", "their RMSE is %.4f at degree %d,", map.cv_rmse[map.degree], map.degree);
  says("map", "Fifteen terms and rank %d:", 14);
}

TEST(method_numbers) {
  bdpt_map_collect_options o;
  memset(&o, 0, sizeof o);
  o.most = 8;
  o.rounds = 3;
  says("collect", "1 + 2 * 8 + 2 * 3 - 1 = %d points", 2 * (o.most + o.rounds));
  says("search", "so 3 layers take %d and 8 take %d.", 3 * (3 + 2), 8 * (8 + 2));
  says("search", "so after %d, %d, %d, %d and %d.", 3, 3 + 5, 15, 24, 35);
  says("method", "%d and then %d, which makes %d.", 2 * 12, 2 * 12 - 1, 4 * 12 - 1);
  says("disparity", "would differ by sqrt(4) = %g.", sqrt(4.0));
  says("certificate", "the difference is %.0fe-6", 1e6 * 0.00004 / 8);
  says("certificate", "below twice the bound times 8 = %.5f.", 2 * 1e-5 * 8);
}

TEST(data_numbers) {
  static const bdpt_real logits[] = {1, 3, 3};
  static const int labels[2] = {0, 1};
  bdpt_real target[20];
  bdpt_accuracy sum;
  memset(&sum, 0, sizeof sum);
  CHECK(bdpti_judge_row(logits, 3, 2, &sum) && sum.top1 == 0 && sum.top5 == 1);
  CHECK(bdpti_judge_row(logits, 3, 1, &sum) && sum.top1 == 1);
  says("evaluate", "Logits (%g, %g, %g) and the label 2:", (double)logits[0], (double)logits[1],
       (double)logits[2]);
  bdpti_mix_targets(labels, 2, 10, 1, 0.1, target);
  says("data", "%.2f at the label and %.2f elsewhere;", (double)target[0], (double)target[5]);
  bdpti_mix_targets(labels, 2, 10, 0.5, 0.1, target);
  says("data", "mixed, %.2f at both labels", (double)target[0]);
  bdpti_mix_targets(labels, 2, 4, 1, 0.2, target);
  says(NULL, "With K = 4 and e = 0.2 an unmixed target is %.2f at the label and %.2f elsewhere",
       (double)target[0], (double)target[3]);
  bdpti_mix_targets(labels, 2, 4, 0.75, 0.2, target);
  says(NULL, "it is %.2f at the image's own label and %.2f at its partner's", (double)target[0],
       (double)target[1]);
}

TEST(pixel_numbers) {
  static const size_t grid[3] = {1, 2, 1}, two[2] = {2, 2};
  static const bdpt_real patches[] = {1, 3};
  static const int label[2] = {0, 255};
  bdpt_tensor *x = bdpt_input(tape, 3, grid, patches, 0), *y = bdpt_upsample(tape, x, 1, 1, 4);
  bdpt_tensor *z = bdpt_input(tape, 2, two, NULL, 1), *loss = bdpt_pixel_loss(tape, z, label, 255);
  CHECK(bdpt_backward(tape, loss, NULL) == BDPT_OK);
  if (!CHECK(y && y->count == 4)) return;
  says("upsample", "Over four pixels that becomes %g, %g, %g, %g:", AT(y, 0), AT(y, 1), AT(y, 2),
       AT(y, 3));
  says("pixel-loss", "L = log 2 = %.4f, dz = (%g, %g) for the first and %g for the second.",
       AT(loss, 0), GRAD(z, 0), GRAD(z, 1), fabs(GRAD(z, 2)));
}

TEST(width_numbers) {
  static bdpt_config c, narrow;
  static unsigned char keep[50000];
  bdpt_width_options o;
  int l, four = 0, five = 0, all = 0;
  c.width = 768;
  c.heads = 12;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && bdpt_width_units(&c) < sizeof keep);
  memset(&o, 0, sizeof o);
  o.ratio[BDPT_HEADS] = 0.6;
  o.even = 1;
  CHECK(bdpt_width_plan(&ctx, &c, &o, NULL, keep, &narrow, NULL) == BDPT_OK);
  for (l = 0; l < 12; l++) {
    all += narrow.block[l].heads;
    five += narrow.block[l].heads == 5;
    four += narrow.block[l].heads == 4;
  }
  says("plan", "144 heads, round(86.4) = %d go and %d stay.", 144 - all, all);
  CHECK(five == 10 && four == 2);
  says("plan", "ten layers keep 5 and two keep 4, %d in all;", 5 * five + 4 * four);
  says(NULL, "keep 5 heads ten times and 4 twice");
}

/* Rounds to eight bits of fraction, the one in front counted, ties to even. */
static double bf16(double v) {
  double unit = ldexp(1, (int)floor(log2(fabs(v))) - 7);
  return rint(v / unit) * unit;
}

TEST(file_numbers) {
  const double v = 1 + ldexp(1, -8) + ldexp(1, -40);
  float pi = 3.14159274f;
  double half = bf16((double)pi);
  says("half", "the bf16 numbers 1 and %.7f,", bf16(v));
  CHECK(bf16(1 + ldexp(1, -8)) == 1);
  says("matmul", "pi becomes %.6f, off by %.1fe-4 of itself,", half,
       1e4 * ((double)pi - half) / (double)pi);
  says("matmul", "that is exactly %.12f,", half * half);
  CHECK((double)(float)(half * half) == half * half);
}

/* Allocates, and counts what it is asked for. */
static void *counting_alloc(void *user, size_t bytes) {
  *(size_t *)user += bytes;
  return malloc(bytes);
}

static void counting_free(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  free(block);
}

TEST(memory_numbers) {
  static bdpt_context counted;
  bdpti_arena a = {NULL, NULL, 0};
  size_t asked = 0, before, chunk, chunks = 0;
  char out[8], third[20], small[20];
  bdpti_text text;
  void *block;
  int i;
  text.out = out; text.room = sizeof out; text.used = 0;
  bdpti_put_string(&text, "loss 0.25");
  out[7] = 0;
  says("sentences", "\"loss 0.25\" is cut to \"%s\",", out);
  bdpt_format(third, sizeof third, "%g", 2.0 / 3);
  bdpt_format(small, sizeof small, "%g", 1e-7);
  says("sentences", "counts %d. %%g writes 2/3 as %s and a ten millionth as %s.", (int)text.used,
       third, small);
  counted.allocator.alloc = counting_alloc;
  counted.allocator.free = counting_free;
  counted.allocator.user = &asked;
  CHECK(bdpt_init(&counted) == BDPT_OK);
  before = counted.bytes_now;
  asked = 0;
  block = bdpt_alloc(&counted, 100);
  says("allocation", "A request for 100 bytes takes %d from", (int)(asked + 8 - sizeof(void *)));
  says("allocation", "bytes_now grows by %d.", (int)(counted.bytes_now - before));
  bdpt_release(&counted, block, 100);
  bdpt_finish(&counted);
  a.ctx = &ctx;
  for (i = 0; i < 3; i++) CHECK(bdpti_arena_take(&a, 300000, 1) != NULL);
  chunk = a.first ? a.first->bytes : 0;
  bdpti_arena_reset(&a);
  for (i = 0; i < 3; i++) CHECK(bdpti_arena_take(&a, 300000, 1) != NULL);
  for (; a.first && a.first->next; chunks++) a.first = a.first->next;
  says("the-arena", "three chunks of 300,%03d. The reset replaces them by one of 900,%03d,",
       (int)(chunk % 1000), (int)(a.first ? a.first->bytes % 1000 : 0));
  CHECK(chunks == 0 && chunk / 1000 == 300 && a.first && a.first->bytes / 1000 == 900);
  bdpti_arena_free(&a);
}

TEST(walk_numbers) {
  static const double two[] = {2}, five[] = {5};
  static const bdpt_real one = 1;
  static const size_t shape[3] = {8, 197, 192};
  bdpt_tensor *a = vector(1, two), *b = vector(1, five), *unused;
  CHECK(bdpt_backward(tape, bdpt_add(tape, bdpt_add(tape, a, b), a), &one) == BDPT_OK);
  says("gradient-buffers", "a copy of its own: da = %g and db = %g,", GRAD(a, 0), GRAD(b, 0));
  bdpt_tape_reset(tape);
  a = vector(1, two);
  unused = bdpt_activate(tape, a, BDPT_GELU);
  CHECK(bdpt_backward(tape, bdpt_scale(tape, a, 3), &one) == BDPT_OK && !unused->grad);
  says("the-walk-back", "and leaves da = %g.", GRAD(a, 0));
  bdpt_tape_reset(tape);
  a = vector(1, two);
  b = bdpt_add(tape, bdpt_scale(tape, a, 3), a);
  CHECK(bdpt_backward(tape, b, &one) == BDPT_OK);
  says("sum-and-scaling", "with a = 2 is %g. The scaling gives a the gradient 3, the sum 1: da = "
       "%g.", AT(b, 0), GRAD(a, 0));
  a = bdpt_input(tape, 3, shape, NULL, 0);
  says("shapes", "%s is a matrix of 8 * 197 = %d rows and %d columns", bdpt_shape(a).text,
       (int)bdpti_rows(a), (int)bdpti_last_axis(a));
}

TEST(dense_numbers) {
  static const double x_data[] = {1, 3}, one[] = {1, 1}, zero[] = {0, 0, 0};
  static const double w1[] = {1, 0, 0, 1, 1, 1}, w2[] = {1, 1, 0, 0, 2, 0};
  static const double m_data[] = {1, 2}, y_data[] = {2, 2};
  static const bdpt_real p[] = {1, 2}, q[] = {3, 4}, bias = -10, add = (bdpt_real)0.5;
  bdpt_real c = 0, gelu = 0;
  bdpt_tensor *w[6], *x = input(1, 2, x_data), *y, *m, *loss;
  bdpti_gemm g;
  memset(&g, 0, sizeof g);
  g.m = g.n = g.a_col = g.b_row = g.b_col = g.c_row = 1;
  g.k = g.a_row = 2;
  g.a = p; g.b = q; g.c = &c; g.bias = &bias; g.add = &add; g.gelu = &gelu;
  CHECK(bdpti_matmul(&ctx, &g) == BDPT_OK);
  says("what-the-engine-room-provides", "c = %g is stored and GELU(1.5) = %.4f beside it.",
       (double)c, (double)gelu);
  w[0] = vector(2, one); w[1] = vector(2, zero);
  w[2] = input(3, 2, w1); w[3] = vector(3, zero);
  w[4] = input(2, 3, w2); w[5] = vector(2, zero);
  y = bdpt_mlp(tape, x, w, 0, BDPT_GELU);
  if (!CHECK(y != NULL)) return;
  says("mlp", "W2 s = (%.4f, %.4f), and the stream goes on as y = (%.4f, %.4f).", AT(y, 0) - 1,
       AT(y, 1) - 3, AT(y, 0), AT(y, 1));
  m = vector(2, m_data);
  loss = bdpt_match(tape, m, vector(2, y_data));
  CHECK(bdpt_backward(tape, loss, NULL) == BDPT_OK);
  says("match", "L = 1 / 8 = %g, and dx = 2 (-1, 0) / 8 = (%g, %g).", AT(loss, 0), GRAD(m, 0),
       fabs(GRAD(m, 1)));
}

TEST(token_numbers) {
  static const size_t image[4] = {1, 1, 4, 4}, kernel[4] = {1, 1, 2, 2}, three[3] = {1, 3, 1};
  static const size_t two[3] = {2, 2, 1}, one_token[3] = {1, 1, 1}, single[1] = {1};
  static const bdpt_real quarter[] = {0.25, 0.25, 0.25, 0.25}, cls = 9, patches[] = {1, 2, 1, 2};
  static const bdpt_real pos[] = {(bdpt_real)0.1, (bdpt_real)0.2, (bdpt_real)0.3};
  static const bdpt_real ones[6] = {1, 1, 1, 1, 1, 1}, tokens[] = {9, 1, 5};
  bdpt_real pixels[16];
  bdpt_tensor *y, *where, *x, *mean;
  int i;
  for (i = 0; i < 16; i++) pixels[i] = (bdpt_real)i;
  y = bdpt_patch_embed(tape, bdpt_input(tape, 4, image, pixels, 0),
                       bdpt_input(tape, 4, kernel, quarter, 0),
                       bdpt_input(tape, 1, single, NULL, 0));
  if (!CHECK(y && y->count == 4)) return;
  says("patch", "each token a mean: %g, %g, %g, %g.", AT(y, 0), AT(y, 1), AT(y, 2), AT(y, 3));
  where = bdpt_input(tape, 3, three, pos, 1);
  y = bdpt_tokens(tape, bdpt_input(tape, 3, two, patches, 0),
                  bdpt_input(tape, 3, one_token, &cls, 0), NULL, NULL, where);
  CHECK(bdpt_backward(tape, y, ones) == BDPT_OK);
  says("tokens", "the tokens are (%.1f, %.1f, %.1f).", AT(y, 0), AT(y, 1), AT(y, 2));
  says("tokens", "each position gets dpos = %g.", GRAD(where, 1));
  bdpt_tape_reset(tape);
  x = bdpt_input(tape, 3, three, tokens, 1);
  mean = bdpt_pool(tape, x, 1, 0, 0);
  y = bdpt_pool(tape, x, 1, 0, 1);
  says("one-token-of-every-image", "the class token is %g, the mean of the patches %g, and both "
       "together (%g, %g).", AT(bdpt_pool(tape, x, 0, 1, 0), 0), AT(mean, 0), AT(y, 0), AT(y, 1));
  CHECK(bdpt_backward(tape, mean, ones) == BDPT_OK);
  says("one-token-of-every-image", "dx = (%g, %g, %g).", GRAD(x, 0), GRAD(x, 1), GRAD(x, 2));
}

static bdpt_status product(const bdpt_op_run *r) {
  r->out->data[0] = r->in[0]->data[0] * r->in[1]->data[0];
  return BDPT_OK;
}

static bdpt_status product_back(const bdpt_op_run *r) {
  if (r->dx[0]) r->dx[0][0] += r->dy[0] * r->in[1]->data[0];
  if (r->dx[1]) r->dx[1][0] += r->dy[0] * r->in[0]->data[0];
  return BDPT_OK;
}

TEST(own_numbers) {
  static const double three[] = {3}, five[] = {5};
  static const size_t shape[1] = {1};
  bdpt_tensor *in[2], *y;
  bdpt_op op;
  memset(&op, 0, sizeof op);
  op.name = "product";
  op.forward = product;
  op.backward = product_back;
  in[0] = vector(1, three); in[1] = vector(1, five);
  y = bdpt_tape_op(tape, &op, in, 2, 1, shape);
  CHECK(bdpt_backward(tape, y, NULL) == BDPT_OK);
  says("own", "with 3 and 5 it gives %g and the gradients %g and %g.", AT(y, 0), GRAD(in[0], 0),
       GRAD(in[1], 0));
  bdpt_tape_reset(tape);
  in[0] = in[1] = vector(1, three);
  y = bdpt_tape_op(tape, &op, in, 2, 1, shape);
  CHECK(bdpt_backward(tape, y, NULL) == BDPT_OK);
  says("own", "it gives %g, and the one tensor gets 3 + 3 = %g.", AT(y, 0), GRAD(in[0], 0));
}

/* Writes a number below a thousand million with commas. */
static const char *commas(size_t n) {
  static char text[4][16];
  static int turn;
  char *s = text[turn = (turn + 1) % 4];
  if (n < 1000) snprintf(s, 16, "%d", (int)n);
  else if (n < 1000000) snprintf(s, 16, "%d,%03d", (int)(n / 1000), (int)(n % 1000));
  else snprintf(s, 16, "%d,%03d,%03d", (int)(n / 1000000), (int)(n / 1000 % 1000), (int)(n % 1000));
  return s;
}

TEST(configuration_numbers) {
  static bdpt_config c, tiny;
  size_t shape[BDPT_MAX_DIMS];
  bdpt_cost_report cost;
  c.width = 384;
  c.heads = 6;
  CHECK(bdpt_config_resolve(&ctx, &c) == BDPT_OK && bdpt_cost(&ctx, &c, &cost) == BDPT_OK);
  says("configurations", "its MLPs are %d wide, and it has %s parameters.", c.mlp,
       commas(cost.params));
  CHECK(bdpt_config_resolve(&ctx, &tiny) == BDPT_OK && bdpt_cost(&ctx, &tiny, &cost) == BDPT_OK);
  CHECK(bdpti_slot_shape(&tiny, BDPT_SLOT(3, BDPT_SLOT_QKV_W), shape) == 2);
  says("slots", "has the slot %d and the rule \"%s\".", BDPT_SLOT(3, BDPT_SLOT_QKV_W),
       bdpti_slot_rule(BDPT_SLOT(3, BDPT_SLOT_QKV_W))->shape);
  says("slots", "the shape is [%d,%d]: %s numbers.", (int)shape[0], (int)shape[1],
       commas(shape[0] * shape[1]));
  says("a-model-s-life", "DeiT-Tiny's %s parameters take %s bytes as floats,", commas(cost.params),
       commas(cost.params * 4));
  says("checkpoint", "weights and two moments, %.1f MB, and with an average %.1f MB.",
       12e-6 * (double)cost.params, 16e-6 * (double)cost.params);
}

TEST(position_numbers) {
  double timm[4], deit[4];
  size_t k;
  for (k = 0; k < 4; k++) timm[k] = bdpti_resize_weight(BDPT_POS_TIMM, 4, 2, 0, k);
  for (k = 0; k < 4; k++) deit[k] = bdpti_resize_weight(BDPT_POS_DEIT, 4, 2, 0, k);
  says("position-embeddings-at-another-size", "for the first is (%.4f, %.4f, %.4f, %.4f):", timm[0],
       timm[1], timm[2], timm[3]);
  says("position-embeddings-at-another-size", "go to the edge: (%.4f, %.4f, %.4f, %g).", deit[0],
       deit[1], deit[2], deit[3]);
}

/* Computes x + what is left of a removed attention, for x = (1, 3). */
static bdpt_tensor *without_attention(int form) {
  static const size_t shape[3] = {1, 1, 2};
  static const bdpt_real x[] = {1, 3};
  static bdpt_config c;
  bdpt_model *m;
  bdpt_tensor *y = NULL;
  memset(&c, 0, sizeof c);
  c.image = c.patch = 4;
  c.width = c.classes = 2;
  c.heads = c.depth = 1;
  c.attn_form = (bdpt_attn_form)form;
  c.eps = 1e-12;
  m = bdpt_model_create(&ctx, &c, 1);
  if (CHECK(m && bdpt_prune(m, BDPT_ATTENTION, 0) == BDPT_OK)) {
    y = bdpt_attention_half(m, tape, 0, bdpt_input(tape, 3, shape, x, 0), NULL);
  }
  bdpt_model_free(m);
  return y;
}

TEST(forward_numbers) {
  static const size_t images[4] = {2, 3, 32, 32};
  static bdpt_config c;
  bdpt_forward_options o;
  bdpt_tensor *norm, *skip, *twice, *x, *y, *stream;
  bdpt_tape *plain = tape;
  bdpt_model *m;
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE); /* a model's weights go before the tape does */
  norm = without_attention(BDPT_ATTN_NORM);
  skip = without_attention(BDPT_ATTN_SKIP);
  twice = without_attention(BDPT_ATTN_DOUBLE);
  if (!CHECK(norm && skip && twice)) return;
  says("forward", "As x + LN1(x) it goes on as (%.0f, %.0f); as a skip as (%g, %g); as 2x as (%g, "
       "%g).", fabs(AT(norm, 0)), AT(norm, 1), AT(skip, 0), AT(skip, 1), AT(twice, 0),
       AT(twice, 1));
  CHECK_CLOSE(AT(norm, 0), 0, 1e-5);
  bdpt_tape_free(tape);
  tape = plain;
  c.image = 32;
  c.patch = 8;
  c.width = 64;
  c.heads = 2;
  c.classes = 10;
  m = bdpt_model_create(&ctx, &c, 1);
  if (!CHECK(m != NULL)) return;
  memset(&o, 0, sizeof o);
  o.training = 1;
  o.drop_path = 0.1;
  says("forward", "the first drops nothing, block 5 at %.4f and the last at %.1f.",
       bdpti_path_rate(m, 5, &o), bdpti_path_rate(m, 11, &o));
  CHECK(m->config.depth == 12 && bdpti_path_rate(m, 0, &o) == 0);
  x = bdpt_input(tape, 4, images, NULL, 0);
  stream = bdpt_trunk(m, tape, x, NULL);
  y = bdpt_forward(m, tape, x, NULL, NULL);
  if (CHECK(stream && y)) {
    x->name = stream->name = y->name = "";
    says("from-images-to-logits", "%s becomes %s and", bdpt_shape(x).text, bdpt_shape(stream).text);
    says("from-images-to-logits", "the logits are %s.", bdpt_shape(y).text);
  }
  bdpt_tape_reset(tape);
  bdpt_model_free(m);
}

TEST(step_numbers) {
  static const double z_data[] = {0, 2, -1}, even[] = {0, 0, 0};
  static const bdpt_real teacher[] = {2, 0, -1}, label[] = {1, 0, 0};
  bdpt_real half[3];
  bdpt_tensor *z = input(1, 3, z_data), *ce = bdpt_cross_entropy(tape, z, label), *x;
  bdpt_tensor *soft = bdpt_distill_soft(tape, z, teacher, 1);
  int i;
  if (!CHECK(ce && soft)) return;
  says("step", "CE = %.4f, D = %.4f, and the loss is their mean, %.4f.", AT(ce, 0), AT(soft, 0),
       0.5 * (AT(ce, 0) + AT(soft, 0)));
  bdpt_tape_reset(tape);
  x = input(1, 3, even);
  CHECK(bdpt_backward(tape, bdpt_cross_entropy(tape, x, label), NULL) == BDPT_OK);
  says("stage2", "with p - q = (%.3f, %.3f, %.3f), the", GRAD(x, 0), GRAD(x, 1), GRAD(x, 2));
  bdpt_tape_reset(tape);
  for (i = 0; i < 3; i++) half[i] = teacher[i] / 2; /* softened, as in 6.16 */
  x = input(1, 3, even);
  CHECK(bdpt_backward(tape, bdpt_distill_soft(tape, x, half, 1), NULL) == BDPT_OK);
  says("stage2", "the teacher with (%.3f, %.3f, %.3f):", GRAD(x, 0), GRAD(x, 1), GRAD(x, 2));
  says("stage2", "A teacher says (%.4f, %.4f, %.4f) and", 1 / 3.0 - GRAD(x, 0),
       1 / 3.0 - GRAD(x, 1), 1 / 3.0 - GRAD(x, 2));
}

/* A data set without pictures: image i is grey, of brightness i, and every look is counted. */
static size_t looks;

static int look(void *user, size_t index, unsigned char *planes) {
  memset(planes, (int)(index % 256), 3 * *(const size_t *)user);
  looks++;
  return 0;
}

static bdpt_status grey(size_t count, int classes, unsigned short *label, bdpt_dataset *d,
                        bdpt_subset *all) {
  static size_t pixels = 16;
  size_t i;
  memset(d, 0, sizeof *d);
  d->count = count;
  d->classes = classes;
  d->height = d->width = 4;
  d->label = label;
  d->fetch = look;
  d->user = &pixels;
  for (i = 0; i < count; i++) label[i] = (unsigned short)(i % (size_t)classes);
  return bdpt_subset_all(&ctx, d, all);
}

/* Makes a network for them, as small as can be. */
static bdpt_model *little(int depth, int classes) {
  static bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = c.patch = 4;
  c.width = 8;
  c.heads = 1;
  c.mlp = 16;
  c.depth = depth;
  c.classes = classes;
  return bdpt_model_create(&ctx, &c, 1);
}

static unsigned short labels[50000];

TEST(training_run_numbers) {
  static bdpt_context cluster;
  static bdpt_recipe recipe;
  bdpt_dataset data;
  bdpt_subset all;
  bdpt_model *m = little(1, 100);
  bdpt_trainer *t;
  bdpt_epoch log[3];
  int place[8], i;
  CHECK(m && grey(50000, 100, labels, &data, &all) == BDPT_OK);
  memset(&recipe, 0, sizeof recipe);
  t = bdpt_trainer_create(m, NULL, &all, &recipe);
  if (!CHECK(t != NULL)) return;
  i = (int)bdpt_trainer_steps_per_epoch(t);
  says("trainer", "in batches of 128 are %d steps; %d images are left over", i, 50000 - 128 * i);
  bdpt_trainer_free(t);
  bdpt_subset_free(&ctx, &all);
  memset(&recipe, 0, sizeof recipe);
  recipe.batch = 8;
  recipe.epochs = 3;
  CHECK(grey(20, 2, labels, &data, &all) == BDPT_OK);
  memset(log, 0, sizeof log);
  looks = 0;
  CHECK(bdpt_train(m, NULL, &(bdpt_run){&all, NULL, NULL}, &recipe, log) == BDPT_OK &&
        log[2].epoch == 3);
  says("run", "2 steps an epoch, %d steps, %d images, three", (int)looks / 8, (int)looks);
  bdpt_subset_free(&ctx, &all);
  bdpt_model_free(m);
  cluster.cluster.size = 2;
  for (i = 0; i < 8; i++) place[i] = bdpti_cluster_place(&cluster, 4, (size_t)i) < 4 ? i : -1;
  says("ranks", "the first has the images %d, %d, %d, %d and", place[0], place[1], place[6],
       place[7]);
  CHECK(place[2] < 0 && place[3] < 0 && place[4] < 0 && place[5] < 0);
  recipe.lr = 1;
  recipe.min_lr = recipe.warmup_lr = BDPT_NONE;
  recipe.warmup = 2;
  recipe.epochs = 10;
  recipe.resolved = 0;
  bdpt_recipe_resolve(&recipe);
  says("schedule", "the rate is %g at t = 1, %.4f at t = 2, where the cosine takes over, and %g "
       "again", bdpt_schedule(&recipe, 1), bdpt_schedule(&recipe, 2), bdpt_schedule(&recipe, 5));
  says("adamw", "it is multiplied by c = %.1f and becomes (%.1f, %.1f); with clip = 10 it stays.",
       bdpti_clip_factor(5, 1), 3 * bdpti_clip_factor(5, 1), 4 * bdpti_clip_factor(5, 1));
  CHECK(bdpti_clip_factor(5, 10) == 1);
}

/* Stops a study after its first layer: what has been done so far is in the file. */
static int first_layer_only(const bdpt_progress *p, void *user) {
  *(size_t *)user += 1;
  return p->done >= 8;
}

TEST(study_numbers) {
  static bdpt_recovery_options o;
  static bdpt_greedy_options g;
  bdpt_dataset data;
  bdpt_subset train, held;
  bdpt_recovery_row rows[4];
  bdpt_greedy_result result;
  bdpt_hooks hooks;
  bdpt_model *m = little(1, 2), *two = little(2, 2);
  size_t whole, told = 0;
  CHECK(m && two && grey(8, 2, labels, &data, &train) == BDPT_OK);
  CHECK(bdpt_subset_all(&ctx, &data, &held) == BDPT_OK);
  memset(&o, 0, sizeof o);
  memset(&hooks, 0, sizeof hooks);
  o.recipe.batch = 8;
  o.recipe.epochs = 1;
  o.start = BDPT_START_PAPER;
  looks = 0;
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, NULL}, &o, rows) == BDPT_OK);
  whole = looks;
  says("studies", "sends %d images through", (int)whole);
  hooks.progress = first_layer_only;
  hooks.user = &told;
  hooks.checkpoint = temporary("study");
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, &hooks}, &o, rows) == BDPT_CANCELLED);
  bdpt_clear_error(&ctx);
  hooks.progress = NULL;
  looks = 0;
  CHECK(bdpt_recovery(m, &(bdpt_run){&train, &held, &hooks}, &o, rows) == BDPT_OK);
  says("studies", "and called again it sends %d only:", (int)looks);
  remove(hooks.checkpoint);
  memset(&g, 0, sizeof g);
  g.layers = 2;
  g.images = 10;
  g.start = BDPT_START_SKIP;
  bdpt_subset_free(&ctx, &held);
  CHECK(grey(10, 2, labels, &data, &held) == BDPT_OK);
  CHECK(bdpt_greedy(two, &(bdpt_run){&train, &held, NULL}, &g, &result) == BDPT_OK &&
        result.removed == 2);
  says("greedy", "four trials and then three, %d images.", (int)result.images);
  bdpt_subset_free(&ctx, &train);
  bdpt_subset_free(&ctx, &held);
  bdpt_model_free(m);
  bdpt_model_free(two);
}

TEST(choosing_numbers) {
  static const double at_once[] = {58, 64, 75, 64}, after[] = {85, 89, 92, 84};
  static bdpt_recovery_row rows[8];
  int order[2][BDPT_MAX_DEPTH], i, singles = 0, doubles = 0, count[100] = {0};
  bdpt_map_collect_options o;
  bdpt_dataset data;
  bdpt_subset all, rest, held, sample;
  char before[17], back[17];
  bdpt_model *m = little(4, 2);
  for (i = 0; i < 4; i++) {
    rows[i].after[0] = at_once[i];
    rows[i].after[1] = after[i];
  }
  for (i = 0; i < 2; i++) bdpt_recovery_order(rows, 4, i, BDPT_ATTENTION, order[i]);
  says("recovery", "remove layer %d, then %d, %d, %d; after recovery the order is %d, %d, %d, %d.",
       order[0][0], order[0][1], order[0][2], order[0][3], order[1][0], order[1][1], order[1][2],
       order[1][3]);
  memset(&o, 0, sizeof o);
  o.most = 8;
  o.rounds = 3;
  i = 2 * (o.most + o.rounds); /* the dense network is one; one is trained twice */
  says("two-stage", "for each of the %d fine-tunes, and a search for 8 layers: 1 + %d + %d = %d "
       "epochs", i, 3 * i, 8 * 10, 1 + 3 * i + 80);
  says("two-stage", "the work of %.2f epochs", (1 + 3 * i + 80) / 12.0);
  says("removing-and-restoring", "is the %s of block %d.", bdpt_type_name(bdpti_layer_at(7).type),
       bdpti_layer_at(7).block);
  bdpt_model_hash(m, before);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 3) == BDPT_OK);
  CHECK(bdpt_restore(m, BDPT_ACTIVATION, 3) == BDPT_OK);
  bdpt_model_hash(m, back);
  CHECK(strcmp(before, back) == 0);
  bdpt_model_free(m);
  CHECK(grey(50000, 100, labels, &data, &all) == BDPT_OK);
  CHECK(bdpt_split(&ctx, &data, 50, 1, &rest, &held) == BDPT_OK);
  says("subset", "%s are held back and %s remain.", commas(held.count), commas(rest.count));
  CHECK(bdpt_sample(&ctx, &all, 130, 1, &sample) == BDPT_OK && sample.count == 130);
  for (i = 0; i < 130; i++) count[labels[sample.index[i]]]++;
  for (i = 0; i < 100; i++) {
    doubles += count[i] == 2;
    singles += count[i] == 1;
  }
  says("subset", "of 130 has %d classes with two images and %d with one.", doubles, singles);
  bdpt_subset_free(&ctx, &all);
  bdpt_subset_free(&ctx, &rest);
  bdpt_subset_free(&ctx, &held);
  bdpt_subset_free(&ctx, &sample);
}

TEST(surface_numbers) {
  static const double printed[6] = {31.684374,  50.653461, 39.298158,
                                    -19.795489, -8.338992, -11.704586};
  double x[6], a[2 * 4] = {1, 2, 0, 0, 1, 2}, inverse[4]; /* columns, with room below */
  bdpt_map map;
  bdpt_map_noise_options small = {12, 8, 200, 0.1, 0.5, 1, 0};
  bdpt_map_noise_options large = {12, 8, 200, 1, 5, 1, 0};
  bdpt_map_noise_report low, high;
  int rank;
  bdpti_map_row(6, 0.5, 0.75, x);
  says("the-polynomial", "the six terms are %g, %g, %g, %g, %g, %g.", x[0], x[1], x[2], x[3], x[4],
       x[5]);
  memset(&map, 0, sizeof map);
  map.terms = 6;
  memcpy(map.theta, printed, sizeof printed);
  says("the-polynomial", "gives %.2f for the dense network, a = t = 1, and %.2f for a = t = 8/12.",
       bdpt_map_predict(&map, 1, 1), bdpt_map_predict(&map, 8 / 12.0, 8 / 12.0));
  rank = bdpti_pseudo_inverse(a, 2, 2, 1e-9, inverse);
  says("least-squares", "A = [1 1; 2 2] has rank %d:", rank);
  says("least-squares", "The pseudo-inverse [%.1f %.1f; %.1f %.1f] takes the shortest of them, "
       "(%.1f, %.1f).", inverse[0], inverse[1], inverse[2], inverse[3],
       inverse[0] + 2 * inverse[1], inverse[2] + 2 * inverse[3]);
  load_points();
  CHECK(bdpt_map_noise(&ctx, points, 22, &small, &low) == BDPT_OK);
  CHECK(bdpt_map_noise(&ctx, points, 22, &large, &high) == BDPT_OK);
  says("noise", "the split is the same in %.0f %% of them; with deviation 1 in %.0f %%, and in "
       "%.0f %%", low.exact, high.exact, high.more);
}

TEST(picture_numbers) {
  static const unsigned char edge[12] = {0, 0, 255, 255}, row[3 * 4] = {1, 2, 3, 4, 1, 2, 3, 4,
                                                                       1, 2, 3, 4};
  static unsigned char records[2 * 3074];
  unsigned char two[6], eight[24], crop[12], flip[12];
  bdpt_real images[2 * 3] = {100, 100, 100, 20, 20, 20};
  bdpt_dataset data;
  bdpti_mixing mix = {0.75, 0, 0, 0, 0, 0};
  resized(&ctx, edge, (int[2]){1, 4}, two, (int[2]){1, 2}); /* the first plane */
  says("resize", "becomes two pixels, %d and %d:", two[0], two[1]);
  resized(&ctx, edge, (int[2]){1, 4}, eight, (int[2]){1, 8});
  says("resize", "to eight it is %d, %d, %d, %d, %d, %d, %d, %d:", eight[0], eight[1], eight[2],
       eight[3], eight[4], eight[5], eight[6], eight[7]);
  bdpti_crop_flip(row, 1, 4, 0, 1, 0, crop);
  bdpti_crop_flip(row, 1, 4, 0, 1, 1, flip);
  says("augment", "dx = 2 shows %d %d %d %d, a column of the border included; then flipped, "
       "%d %d %d %d.", crop[0], crop[1], crop[2], crop[3], flip[0], flip[1], flip[2], flip[3]);
  bdpti_mix_images(&mix, 1, 2, 1, 1, images);
  says("mixup", "its partner's 20 become %g and %g.", (double)images[0], (double)images[3]);
  bdpti_cut_box(32, 32, 0.75, 16, 16, &mix);
  says("mixup", "cuts a box of %d x %d from the middle;", mix.y1 - mix.y0, mix.x1 - mix.x0);
  bdpti_cut_box(32, 32, 0.75, 0, 0, &mix);
  says("mixup", "only %d x %d of it remain, and lam becomes %.4f.", mix.y1 - mix.y0,
       mix.x1 - mix.x0, mix.lam);
  records[3075] = 7;
  records[1026] = 9;
  says("cifar", "A file of two records has %d bytes.", (int)sizeof records);
  CHECK(bdpt_cifar100_parse(&ctx, records, sizeof records, "two", &data) == BDPT_OK);
  CHECK(data.count == 2 && data.label[1] == 7 && data.pixels[1024] == 9);
  says("cifar", "stands at offset %d, the first green byte of the first at %d.", 3075, 1026);
  bdpt_dataset_free(&ctx, &data);
}

static void decimal(double v, char out[40]) {
  bdpti_text text;
  text.out = out; text.room = 40; text.used = 0;
  bdpti_put_number(&text, v, 17, 16);
  out[text.used < 39 ? text.used : 39] = 0;
}

TEST(format_numbers) {
  static const bdpt_real one = 1;
  static const float tenth = 0.1f; /* the constant alone may have more digits than a float */
  char text[40], third[40];
  bdpt_write_tensor t[2];
  bdpt_safetensors file;
  bdpt_bytes bytes;
  decimal(0.1, third);
  decimal((double)tenth, text);
  says("decimal", "The double nearest to 0.1 is written as %s.", third);
  says("decimal", "held in a double, needs %d digits: %s.", (int)strlen(text + 2), text);
  memset(t, 0, sizeof t);
  t[0].name = "x"; t[0].data = &one;
  CHECK(bdpt_safetensors_build(&ctx, t, 1, NULL, NULL, 0, &bytes) == BDPT_OK);
  says(NULL, "an F32 that is 1, makes a file of %d bytes; in full:", (int)bytes.size);
  says(NULL, "%02x 00 00 00 00 00 00 00 N = %d %.53s and three spaces %02x %02x %02x %02x 1.0",
       bytes.data[0], bytes.data[0], (const char *)bytes.data + 8, bytes.data[64], bytes.data[65],
       bytes.data[66], bytes.data[67]);
  bdpt_bytes_free(&ctx, &bytes);
  t[0].name = "a"; t[0].dtype = BDPT_F16; t[0].raw = 1;
  t[1].name = "b"; t[1].data = &one;
  CHECK(bdpt_safetensors_build(&ctx, t, 2, NULL, NULL, 0, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, "two", &file) == BDPT_OK &&
        file.count == 2);
  says("write", "so b has the offsets [%d,%d] and a [%d,%d],",
       (int)(file.tensor[1].bytes - file.tensor[1].bytes), (int)file.tensor[1].size,
       (int)(file.tensor[0].bytes - file.tensor[1].bytes),
       (int)(file.tensor[0].bytes + file.tensor[0].size - file.tensor[1].bytes));
  bdpt_safetensors_close(&file);
  bdpt_bytes_free(&ctx, &bytes);
}

TEST(model_file_numbers) {
  static const char text[1000] = "";
  char path[400];
  bdpt_model *m = little(2, 2);
  bdpt_safetensors file;
  bdpt_bytes bytes;
  CHECK(m && bdpt_prune(m, BDPT_ACTIVATION, 1) == BDPT_OK && bdpt_fuse(m, 1) == BDPT_OK);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  CHECK(bdpt_safetensors_parse(&ctx, bytes.data, bytes.size, "model", &file) == BDPT_OK);
  says("model-files", "drop_act_list is %s, fused_mlp_list is %s,",
       bdpt_safetensors_get(&file, "drop_act_list"), bdpt_safetensors_get(&file, "fused_mlp_list"));
  CHECK(bdpt_safetensors_find(&file, "blocks.0.mlp.fc1.weight") != NULL);
  CHECK(bdpt_safetensors_find(&file, "blocks.1.mlp.fc1.weight") == NULL);
  bdpt_safetensors_close(&file);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  CHECK(bdpt_file_write(&ctx, temporary("book"), text, 1000) == BDPT_OK);
  CHECK(bdpt_file_write(&ctx, temporary("book"), text, 68) == BDPT_OK);
  CHECK(bdpt_file_read(&ctx, temporary("book"), &bytes) == BDPT_OK);
  says("io", "Written over one of 1000 bytes it is %d bytes long", (int)bytes.size);
  bdpt_bytes_free(&ctx, &bytes);
  remove(temporary("book"));
  snprintf(path, sizeof path, "%s/none/x", temporary("book"));
  CHECK(bdpt_file_write(&ctx, path, text, 68) == BDPT_E_IO);
  bdpt_clear_error(&ctx);
}

TEST(engine_numbers) {
  static const double x_data[] = {4096, 4097, 4098, 4099};
  static const double one[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0};
  static const bdpt_real squares[] = {3, 4}, large[] = {(bdpt_real)1e20, 1};
  static bdpt_context eight;
  double n = floor(1 / log(2.0) + 0.5), r = 1 - n * log(2.0), s = exp(-1 / sqrt(2.0));
  float mean2 = 0, square = 0;
  bdpt_real average = 1, weight = 2;
  bdpti_gemm g;
  bdpti_block b;
  bdpt_tensor *y;
  int i;
  says("exp-square-root-normal-distribution",
       "n = round(%.4f) = %g, r = 1 - ln 2 = %.4f, e^r = %.4f, and twice that is %.4f.",
       1 / log(2.0), n, r, exp(r), ldexp(exp(r), (int)n));
  says("attention-in-blocks-of-queries", "gives P = (1, %.4f), whose sum is %.4f. The row of O is "
       "(1, %.4f) before and (%.4f, %.4f) after", s, 1 + s, 2 * s, 1 / (1 + s), 2 * s / (1 + s));
  for (i = 0; i < 4; i++) {
    square += (float)(x_data[i] * x_data[i]) / 4;
    mean2 += (float)x_data[i] / 4;
  }
  mean2 = mean2 * mean2;
  y = bdpt_layernorm(tape, input(1, 4, x_data), vector(4, one), vector(4, zero), 0);
  says("layer-normalisation", "In floats E[x^2] - E[x]^2 is %g,", (double)(square - mean2));
  says("layer-normalisation", "finds 1.25, and y is (%.4f, %.4f, %.4f, %.4f).", AT(y, 0), AT(y, 1),
       AT(y, 2), AT(y, 3));
  bdpti_axpby(&ctx, 1, (bdpt_real)0.9, &average, (bdpt_real)0.1, &weight, &average);
  says("the-smaller-kernels", "meets a weight of 2 moves to %g.", (double)average);
  eight.threads = 8;
  says("what-the-engine-room-provides", "stays on one thread, of 45 microseconds on %d, and of a "
       "second on all %d", bdpti_team(&eight, 45e3), bdpti_team(&eight, 1e9));
  CHECK(bdpti_team(&eight, 5e3) == 1);
  memset(&g, 0, sizeof g);
  g.k = 800;
  bdpti_cut_k(&g, 1, bdpti_k_cuts(800, 768), &b);
  says("the-matrix-product-on-several-threads", "cut into %d blocks of 768, and K = 800 into two "
       "of %d rather", (int)bdpti_k_cuts(3072, 768), (int)b.pn);
  says("what-the-engine-room-provides", "3 and 4 add up to %g.",
       bdpti_dot(&ctx, 2, squares, squares, NULL));
  CHECK(sizeof(bdpt_real) > 4 || bdpti_dot(&ctx, 2, large, large, NULL) > DBL_MAX);
  says("vectors", "take 12 * 2 + 2 + 1 = %d of 32 registers, and 6 rows 6 * 2 + 2 + 1 = %d of 16.",
       12 * 2 + 2 + 1, 6 * 2 + 2 + 1);
}

int main(void) {
  ctx.threads = 1; /* looks are counted without a lock */
  bdpt_init(&ctx);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  header = read_squashed("boundarydpt.h");
  second = read_squashed("examples/plus/boundarydpt_plus.h");
  notes = read_squashed("PAPER_NOTES.md");
  companion = read_squashed("examples/weave/companion.txt");
  if (CHECK(tape && header && second && notes && companion)) {
    RUN(tape_numbers);
    RUN(linear_numbers);
    RUN(norm_and_activation_numbers);
    RUN(attention_numbers);
    RUN(loss_numbers);
    RUN(training_numbers);
    RUN(fusing_numbers);
    RUN(fitting_numbers);
    RUN(cost_numbers);
    RUN(predictor_numbers);
    RUN(method_numbers);
    RUN(data_numbers);
    RUN(pixel_numbers);
    RUN(width_numbers);
    RUN(file_numbers);
    RUN(memory_numbers);
    RUN(walk_numbers);
    RUN(dense_numbers);
    RUN(token_numbers);
    RUN(own_numbers);
    RUN(configuration_numbers);
    RUN(position_numbers);
    RUN(forward_numbers);
    RUN(step_numbers);
    RUN(training_run_numbers);
    RUN(study_numbers);
    RUN(choosing_numbers);
    RUN(surface_numbers);
    RUN(picture_numbers);
    RUN(format_numbers);
    RUN(model_file_numbers);
    RUN(engine_numbers);
  }
  free(header);
  free(second);
  free(notes);
  free(companion);
  bdpt_tape_free(tape);
  bdpt_finish(&ctx);
  return TEST_END("book");
}
