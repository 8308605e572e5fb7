/* The numbers of the book. The header's prose and the companion text (examples/weave/companion.txt)
 * work their ideas out with numbers; here the library computes them, and the sentence that results
 * must stand in the text. A number that changes in either place fails the test. */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"
#include "published.h"
#include <stdlib.h>

static bdpt_context ctx;
static bdpt_tape *tape;
static char *header, *second, *companion; /* both headers; what the book adds */

/* A text with all white space, and the stars of comments, turned into single blanks. */
static char *read_squashed(const char *path) {
  unsigned char *bytes;
  size_t size, i, n = 0;
  char *out;
  if (bdpt_file_read(&ctx, path, &bytes, &size) != BDPT_OK) return NULL;
  out = (char *)malloc(size + 1);
  for (i = 0; out && i < size; i++) {
    int blank = bytes[i] == ' ' || bytes[i] == '\n';
    int star = bytes[i] == '*' && i > 1 && bytes[i - 1] == ' ' && bytes[i - 2] == '\n';
    if ((blank || star) && (n == 0 || out[n - 1] == ' ')) continue;
    out[n++] = blank ? ' ' : (char)bytes[i];
  }
  if (out) out[n] = 0;
  bdpt_release(&ctx, bytes, size + 1);
  return out;
}

/* The numbers as one of the texts prints them. In the companion the sentence must stand under the
 * tag; without a tag it stands in one of the headers. */
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
  says("gradcheck", "so h = 0.01 is off by %.4f, and h = 6e-6 by %.0fe-11", 0.01 * 0.01, 3.6);
  says("random", "draws of %d and more are thrown away, %d of 256", 256 / 100 * 100, 256 % 100);
}

TEST(linear_numbers) {
  static const double x_data[] = {1, 2}, w_data[] = {1, 0, -1, 3, 2, 1}, b_data[] = {0.5, 0, 0};
  static const bdpt_real ones[] = {1, 1, 1};
  bdpt_tensor *x = input(1, 2, x_data), *w = input(3, 2, w_data), *b = vector(3, b_data);
  bdpt_tensor *y = bdpt_linear(tape, x, w, b);
  CHECK(bdpt_backward_from(tape, y, ones) == BDPT_OK);
  says("linear", "y = x W^T + b = (%g, %g, %g).", AT(y, 0), AT(y, 1), AT(y, 2));
  says("linear", "dx = dy W = (%g, %g), every row of dW is x = (%g, %g), and db = (%g, %g, %g).",
       GRAD(x, 0), GRAD(x, 1), GRAD(w, 4), GRAD(w, 5), GRAD(b, 0), GRAD(b, 1), GRAD(b, 2));
}

TEST(norm_and_activation_numbers) {
  static const double row[] = {1, 2, 3, 6}, one[] = {1, 1, 1, 1}, zero[] = {0, 0, 0, 0};
  static const double z_data[] = {1, -1};
  static const bdpt_real ones[] = {1, 1};
  bdpt_tensor *y = bdpt_layernorm(tape, input(1, 4, row), vector(4, one), vector(4, zero), 0);
  bdpt_tensor *z = input(1, 2, z_data), *g = bdpt_gelu(tape, z);
  says("layernorm", "the row becomes (%.3f, %.4f, %g, %.4f).", AT(y, 0), AT(y, 1), AT(y, 2),
       AT(y, 3));
  says("layernorm", "has the mean 3 and the biased variance 3.5, so rstd = %.4f,", AT(y, 3) / 3);
  CHECK(bdpt_backward_from(tape, g, ones) == BDPT_OK);
  says("act", "GELU(1) = %.4f and GELU(-1) = %.4f:", AT(g, 0), AT(g, 1));
  says("act", "Its slope is %.4f at 1 and %.4f at -1.", GRAD(z, 0), GRAD(z, 1));
}

TEST(attention_numbers) {
  static const double row[] = {1, 2, 3}, far[] = {1001, 1002, 1003};
  /* one image, two tokens, q k v of one head of size 2 */
  static const bdpt_real qkv[] = {1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 2};
  const size_t shape[3] = {1, 2, 6};
  bdpt_tensor *p = bdpt_softmax(tape, input(1, 3, row)), *q = bdpt_softmax(tape, input(1, 3, far));
  bdpt_tensor *o;
  double s = 1 / sqrt(2.0), weight = exp(s) / (exp(s) + 1);
  says("softmax", "softmax(1, 2, 3) = (%.4f, %.4f, %.4f), and the log-sum-exp is %.4f.", AT(p, 0),
       AT(p, 1), AT(p, 2), 3 - log(AT(p, 2)));
  CHECK_CLOSE(AT(p, 0), AT(q, 0), 1e-6);
  o = bdpt_attention(tape, bdpt_input(tape, 3, shape, qkv, 0), 1, s);
  says("attention", "S = Q K^T / sqrt(2) = [%.4f 0; 0 %.4f]", s, s);
  says("attention", "the weight %.4f and the other's %.4f, and O = [%.4f %.4f; %.4f %.4f].", weight,
       1 - weight, AT(o, 0), AT(o, 1), AT(o, 2), AT(o, 3));
}

TEST(loss_numbers) {
  static const double logits[] = {2, 0, -1}, f_data[] = {3}, r_data[] = {1}, m_data[] = {1};
  static const bdpt_real target[] = {1, 0, 0}, half = (bdpt_real)0.5;
  bdpt_tensor *z = input(1, 3, logits), *loss = bdpt_cross_entropy(tape, z, target);
  bdpt_tensor *p = bdpt_softmax(tape, input(1, 3, logits)), *m, *y;
  bdpt_tensor *soft = bdpt_softmax(tape, bdpt_scale(tape, input(1, 3, logits), 0.5));
  CHECK(bdpt_backward(tape, loss) == BDPT_OK);
  says("ce", "p = (%.4f, %.4f, %.4f), the loss is -log %.4f = %.4f,", AT(p, 0), AT(p, 1), AT(p, 2),
       AT(p, 0), AT(loss, 0));
  says("ce", "minus the target, (%.4f, %.4f, %.4f).", GRAD(z, 0), GRAD(z, 1), GRAD(z, 2));
  says("distill", "with T = 2 are (%.4f, %.4f, %.4f).", AT(soft, 0), AT(soft, 1), AT(soft, 2));
  bdpt_tape_reset(tape);
  m = vector(1, m_data);
  y = bdpt_mix(tape, vector(1, f_data), vector(1, r_data), m);
  CHECK(bdpt_backward_from(tape, y, &half) == BDPT_OK);
  says("mix", "the value is y = %g, and dm = 0.5 (3 - 1) = %g.", AT(y, 0), GRAD(m, 0));
  says("droppath", "multiplied by 1 / 0.75 = %.4f.", 1 / (1 - 0.25));
}

/* The parameter after steps of AdamW with these gradients, from w = 1. */
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
    bdpti_adamw(&ctx, 1, &s);
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

/* A network with D = 2 and F = 3 whose MLP is the example. */
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
  CHECK(bdpt_map_fit(&ctx, points, 22, NULL, &map) == BDPT_OK);
  CHECK(bdpt_map_split(&ctx, &map, 12, 8, &a, &g, &best) == BDPT_OK);
  says(NULL, "The true fit prefers (%d, %d), with a predicted %.1f against %.1f for the even split",
       a, g, best, bdpt_map_predict(&map, 8 / 12.0, 8 / 12.0));
  says(NULL, "%.4f (RMSE) and %.4f (MAE) here", map.cv_rmse[2], map.cv_mae[2]);
  other = map;
  memcpy(other.theta, printed, sizeof printed);
  for (i = 0; i < 22; i++) {
    double e =
        bdpt_map_predict(&other, points[i].attention, points[i].activation) - points[i].accuracy;
    left += e * e;
  }
  says(NULL, "leave a sum of squared residuals of %.2f", left);
  says("map-degree", "22 * 21 / 2 = %d pairs, so %d errors", 22 * 21 / 2, 22 * 21);
  says("map-degree", "their RMSE is %.4f at degree %d,", map.cv_rmse[map.degree], map.degree);
  says("map", "Fifteen terms and rank %d:", 14);
}

TEST(method_numbers) {
  bdpt_map_collect_options o;
  memset(&o, 0, sizeof o);
  o.most = 8;
  o.rounds = 3;
  says("collect", "1 + 2 * 8 + 2 * 3 - 1 = %d points", (int)bdpt_map_collect_count(12, &o));
  says("search", "so 3 layers take %d and 8 take %d.", 3 * (3 + 2), 8 * (8 + 2));
  says("method", "so after %d, %d, %d, %d and %d.", 3, 3 + 5, 15, 24, 35);
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

TEST(file_numbers) {
  const double v = 1 + ldexp(1, -8) + ldexp(1, -40);
  float pi = 3.14159274f;
  double half = bdpti_unpack(bdpti_pack((double)pi, 8, 7), 8, 7);
  says("half", "the bf16 numbers 1 and %.7f,", bdpti_unpack(bdpti_pack(v, 8, 7), 8, 7));
  CHECK(bdpti_unpack(bdpti_pack(1 + ldexp(1, -8), 8, 7), 8, 7) == 1);
  says("matmul", "pi becomes %.6f, off by %.1fe-4 of itself,", half,
       1e4 * ((double)pi - half) / (double)pi);
  says("matmul", "that is exactly %.12f,", half * half);
  CHECK((double)(float)(half * half) == half * half);
}

int main(void) {
  bdpt_init(&ctx);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  header = read_squashed("boundarydpt.h");
  second = read_squashed("examples/plus/boundarydpt_plus.h");
  companion = read_squashed("examples/weave/companion.txt");
  if (CHECK(tape && header && second && companion)) {
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
    RUN(width_numbers);
    RUN(file_numbers);
  }
  free(header);
  free(second);
  free(companion);
  bdpt_tape_free(tape);
  bdpt_finish(&ctx);
  return TEST_END("book");
}
