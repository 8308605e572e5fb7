/* Lesson 9: what a token looks at                                                 (see >>attention)
 *
 * You learn to look into a network. For each block and head a picture has an attention map: how the
 * class token shares its attention out among the patches. The library never keeps these shares, but
 * everything that they are made of is public, so the lesson computes them: the norm and the linear
 * that give q, k and v, then softmax(q . k / sqrt(d)). With the values they must give what the
 * library's own attention gives. The maps are drawn as SVG into build/attention.svg, or into the
 * file that is named. Four seconds on one core. It prints, with other numbers on other machines,
 *
 *   trained network: held out 96 %
 *   picture 0 shows direction 0; its squares touch 8 of 16 patches
 *   block 0: of the class token's attention 100 % falls on them
 *   block 1: of the class token's attention 67 % falls on them
 *   block 2: of the class token's attention 47 % falls on them
 *   block 3: of the class token's attention 100 % falls on them
 *   shares times values give the library's attention: yes
 *   8 maps drawn
 *
 * Eight of 16 patches are 50 %. What is above that was learned: nobody told the network which
 * patches matter. Two blocks look at the squares only, and two look about.
 *
 * Try next: the maps of another picture of the held-out ones, or of an untrained network (leave out
 * the training); remove the attention of block 3 with bdpt_prune and see which block takes over.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include "compass.h"
#include <math.h>

enum { PATCHES = 16, TOKENS = PATCHES + 1, HEADS = 2, BLOCKS = 4 };

/* Computes share[head][patch], the first row of softmax(scale Q K^T) without its own token; returns
 * the largest difference between P V and the library's attention, for this row. */
static double shares(const bdpt_tensor *qkv, const bdpt_tensor *out, double scale, int head,
                     double *share) {
  const size_t d = qkv->shape[2] / (3 * HEADS), wide = qkv->shape[2];
  const bdpt_real *q = qkv->data + (size_t)head * d, *k = q + HEADS * d, *v = k + HEADS * d;
  double p[TOKENS], total = 0, worst = 0;
  size_t j, e;
  for (j = 0; j < TOKENS; j++) {
    for (p[j] = 0, e = 0; e < d; e++) p[j] += (double)q[e] * (double)k[j * wide + e];
    p[j] = exp(scale * p[j]);
    total += p[j];
  }
  for (j = 0; j < TOKENS; j++) p[j] /= total;
  for (e = 0; e < d; e++) {
    double sum = 0;
    for (j = 0; j < TOKENS; j++) sum += p[j] * (double)v[j * wide + e];
    sum = fabs(sum - (double)out->data[(size_t)head * d + e]);
    worst = sum > worst ? sum : worst;
  }
  for (j = 1; j < TOKENS; j++) share[j - 1] = p[j] / (1 - p[0]);
  return worst;
}

/* The picture in grey and colour, and over it the share of each patch as a lid that is the lighter
 * the larger the share. */
static void draw(FILE *f, const unsigned char *planes, const double *share, int x0, int y0) {
  int x, y, i;
  const int area = COMPASS_SIDE * COMPASS_SIDE;
  double most = 0;
  for (i = 0; i < PATCHES; i++) most = share[i] > most ? share[i] : most;
  for (y = 0; y < COMPASS_SIDE; y++) {
    for (x = 0; x < COMPASS_SIDE; x++) {
      const unsigned char *p = planes + y * COMPASS_SIDE + x;
      fprintf(f, "<rect x='%d' y='%d' width='6' height='6' fill='rgb(%d,%d,%d)'/>", x0 + 6 * x,
              y0 + 6 * y, p[0], p[area], p[2 * area]);
    }
  }
  for (i = 0; i < PATCHES; i++) {
    fprintf(f, "<rect x='%d' y='%d' width='24' height='24' opacity='%.2f'/>\n", x0 + 24 * (i % 4),
            y0 + 24 * (i / 4), 0.85 * (1 - share[i] / most));
  }
}

/* Returns 1 for the patches that a square touches: somewhere in them red or blue is bright. */
static int find_squares(const unsigned char *planes, int *touched) {
  int i, count = 0, x, y;
  const int area = COMPASS_SIDE * COMPASS_SIDE;
  memset(touched, 0, PATCHES * sizeof *touched);
  for (y = 0; y < COMPASS_SIDE; y++) {
    for (x = 0; x < COMPASS_SIDE; x++) {
      const unsigned char *p = planes + y * COMPASS_SIDE + x;
      if (p[0] == 250 || p[2 * area] == 250) touched[y / 4 * 4 + x / 4] = 1;
    }
  }
  for (i = 0; i < PATCHES; i++) count += touched[i];
  return count;
}

/* Walks through the blocks as bdpt_forward does, and looks at each before it goes on. */
static bdpt_status look(bdpt_model *m, bdpt_tape *tape, bdpt_tensor *x, FILE *f,
                        const unsigned char *planes, const int *touched) {
  double worst = 0;
  int l, head, i, maps = 0;
  for (l = 0; l < BLOCKS; l++) {
    bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)];
    double share[PATCHES], on_squares = 0, scale = m->config.block[l].scale;
    bdpt_tensor *u = bdpt_layernorm(tape, x, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B],
                                    m->config.eps);
    bdpt_tensor *qkv = bdpt_linear(tape, u, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B], NULL);
    bdpt_tensor *out = bdpt_attention(tape, qkv, NULL, HEADS, scale);
    if (!out) return m->ctx->status;
    for (head = 0; head < HEADS; head++, maps++) {
      double off = shares(qkv, out, scale, head, share);
      worst = off > worst ? off : worst;
      draw(f, planes, share, 20 + 110 * l, 20 + 110 * head);
      for (i = 0; i < PATCHES; i++) on_squares += touched[i] * share[i] / (int)HEADS;
    }
    printf("block %d: of the class token's attention %.0f %% falls on them\n", l, 100 * on_squares);
    x = bdpt_mlp_half(m, tape, l, bdpt_attention_half(m, tape, l, x, NULL), NULL);
  }
  printf("shares times values give the library's attention: %s\n", worst < 1e-4 ? "yes" : "NO");
  printf("%d maps drawn\n", maps);
  return m->ctx->status;
}

static bdpt_status lesson(bdpt_context *ctx, compass *c, FILE *f) {
  const size_t shape[4] = {1, 3, COMPASS_SIDE, COMPASS_SIDE};
  bdpt_real image[3 * COMPASS_SIDE * COMPASS_SIDE];
  unsigned char planes[3 * COMPASS_SIDE * COMPASS_SIDE];
  int touched[PATCHES], label;
  bdpt_model *m = compass_network(ctx, c);
  bdpt_tape *tape = bdpt_tape_create(ctx, BDPT_TAPE_COMPUTE);
  bdpt_tensor *x;
  bdpt_accuracy a;
  if (m && tape && bdpt_evaluate(m, &c->held, &a) == BDPT_OK &&
      bdpt_load_batch(ctx, &m->config, &c->held, 0, 1, image, &label) == BDPT_OK) {
    printf("trained network: held out %.0f %%\n", a.top1);
    compass_fetch(&c->first, c->held.index[0], planes);
    printf("picture 0 shows direction %d; its squares touch %d of %d patches\n", label,
           find_squares(planes, touched), PATCHES);
    fputs("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 460 240'>\n", f);
    x = bdpt_patch_embed(tape, bdpt_input(tape, 4, shape, image, 0), &m->param[BDPT_SLOT_PATCH_W],
                         &m->param[BDPT_SLOT_PATCH_B]);
    x = bdpt_tokens(tape, x, &m->param[BDPT_SLOT_CLS], NULL, NULL,
                    &m->param[BDPT_SLOT_POS]);
    look(m, tape, x, f, planes, touched);
    fputs("</svg>\n", f);
  }
  bdpt_tape_free(tape);
  bdpt_model_free(m);
  return ctx->status;
}

int main(int argc, char **argv) {
  static bdpt_context ctx;
  static compass c;
  const char *path = argc > 1 ? argv[1] : "build/attention.svg";
  FILE *f = fopen(path, "w");
  bdpt_status status;
  ctx.threads = 1; /* a network as small as this one gains nothing from more */
  status = bdpt_init(&ctx);
  if (!f) {
    printf("failed: cannot write %s\n", path);
    return 1;
  }
  if (status == BDPT_OK) status = compass_open(&ctx, &c, 0);
  if (status == BDPT_OK) status = lesson(&ctx, &c, f);
  if (status != BDPT_OK) printf("failed: %s\n", ctx.message);
  compass_close(&ctx, &c);
  bdpt_finish(&ctx);
  if (fclose(f) != 0) status = BDPT_E_IO;
  return status != BDPT_OK;
}
