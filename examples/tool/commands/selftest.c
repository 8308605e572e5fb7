/* selftest.c: `boundarydpt selftest` */
#include "../../../boundarydpt.h"
#include "../../plus/boundarydpt_plus.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/system.h"
#include "commands.h"
#include "common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * selftest
 * -------------------------------------------------------------------------------------------------
 * Nothing here needs a file. Everything random comes from bdpt_uniform, whose numbers are the same
 * on every machine, so what is known about the small network below is known everywhere.
 */
enum { SIDE = 16, IMAGES = 48, CLASSES = 4, BATCH = 16 };

static bdpt_dataset self_data;
static bdpt_subset self_train;
static unsigned char self_pixels[IMAGES * 3 * SIDE * SIDE];
static unsigned short self_label[IMAGES];

static bdpt_status self_world(bdpt_context *ctx) {
  bdpt_rng r;
  size_t i;
  bdpt_rng_seed(&r, 1, 2);
  for (i = 0; i < sizeof self_pixels; i++) {
    size_t image = i / (3 * SIDE * SIDE), column = i % SIDE * CLASSES / SIDE;
    self_label[image] = (unsigned short)(image % CLASSES);
    self_pixels[i] = (unsigned char)((column == image % CLASSES ? 150 : 40) +
                                     (int)(60 * bdpt_uniform(&r)));
  }
  memset(&self_data, 0, sizeof self_data);
  self_data.count = IMAGES; self_data.classes = CLASSES;
  self_data.height = self_data.width = SIDE;
  self_data.pixels = self_pixels; self_data.label = self_label;
  return bdpt_subset_all(ctx, &self_data, &self_train);
}

/* Makes a network whose weights are known to the last bit. */
static bdpt_model *self_network(bdpt_context *ctx) {
  bdpt_config c;
  bdpt_model *m;
  bdpt_rng r;
  int i;
  size_t k;
  memset(&c, 0, sizeof c);
  c.image = SIDE; c.patch = 4; c.width = 24; c.depth = 3; c.heads = 3; c.mlp = 40;
  c.classes = CLASSES;
  m = bdpt_model_create(ctx, &c, 1);
  bdpt_rng_seed(&r, 3, 4);
  for (i = 0; m && i < m->slots; i++) {
    double scale = m->param[i].ndim > 1 ? 0.5 : 0.125;
    int norm = strstr(m->name[i], "norm") && strstr(m->name[i], ".weight");
    for (k = 0; m->param[i].data && k < m->param[i].count; k++) {
      m->param[i].data[k] = (bdpt_real)(scale * (2 * bdpt_uniform(&r) - 1) + (norm != 0));
    }
  }
  return m;
}

/* Its logits for two images, from a build in double precision. */
static const double self_known[2 * CLASSES] = {
  -1.508912163, 0.254927388, -0.324709736, 1.145039342,
  -2.398528055, 0.322376803, 0.143688816, 1.084594316};

static double self_apart(const bdpt_real *a, const double *b, size_t n) {
  double worst = 0, most = 0;
  size_t i;
  for (i = 0; i < n; i++) {
    worst = fmax(worst, fabs((double)a[i] - b[i]));
    most = fmax(most, fabs(b[i]));
    if (!((double)a[i] - b[i] == (double)a[i] - b[i])) return INFINITY;
  }
  return worst / most;
}

static bdpt_status self_logits(bdpt_context *ctx, double *apart) {
  bdpt_model *m = self_network(ctx);
  bdpt_tape *t = bdpt_tape_create(ctx, BDPT_TAPE_COMPUTE);
  bdpt_real images[2 * 3 * SIDE * SIDE], logits[2 * CLASSES];
  bdpt_status s = m && t ? BDPT_OK : ctx->status;
  if (!s) s = bdpt_load_batch(ctx, &m->config, &self_train, 0, 2, images, NULL);
  if (!s) s = bdpt_predict(m, t, 2, images, logits);
  if (!s) *apart = self_apart(logits, self_known, 2 * CLASSES);
  bdpt_tape_free(t);
  bdpt_model_free(m);
  return s;
}

/* ---- Operations against their plain forms ---------------------------------------------------- */

enum { ROWS = 37, IN = 45, OUT = 29, TOKENS = 19, HEADS = 3, SIZE = 15 };

typedef struct self_op { /* one operation: the tape's answer and the definition's */
  const char *name;
  bdpt_tensor *got;
  double want[ROWS * 3 * HEADS * SIZE];
} self_op;

static bdpt_tensor *self_input(bdpt_tape *t, size_t a, size_t b, double scale) {
  const size_t shape[2] = {a, b};
  bdpt_tensor *x = bdpt_input(t, b ? 2 : 1, shape, NULL, 0);
  bdpt_rng r;
  size_t i;
  bdpt_rng_seed(&r, a, b);
  for (i = 0; x && i < x->count; i++) {
    x->data[i] = (bdpt_real)(scale * (2 * bdpt_uniform(&r) - 1));
  }
  return x;
}

static void self_linear(bdpt_tape *t, self_op *o) {
  bdpt_tensor *x = self_input(t, ROWS, IN, 1), *w = self_input(t, OUT, IN, 0.3);
  bdpt_tensor *b = self_input(t, OUT, 0, 1);
  size_t r, i, k;
  o->name = "linear"; o->got = bdpt_linear(t, x, w, b, NULL);
  for (r = 0; o->got && r < ROWS; r++) {
    for (i = 0; i < OUT; i++) {
      double sum = (double)b->data[i];
      for (k = 0; k < IN; k++) sum += (double)x->data[r * IN + k] * (double)w->data[i * IN + k];
      o->want[r * OUT + i] = sum;
    }
  }
}

static void self_norm(bdpt_tape *t, self_op *o) {
  bdpt_tensor *x = self_input(t, ROWS, IN, 3), *g = self_input(t, IN, 0, 1);
  size_t r, k;
  o->name = "layernorm"; o->got = bdpt_layernorm(t, x, g, g, 1e-6);
  for (r = 0; o->got && r < ROWS; r++) {
    const bdpt_real *row = x->data + r * IN;
    double mean = 0, square = 0;
    for (k = 0; k < IN; k++) mean += (double)row[k] / (double)IN;
    for (k = 0; k < IN; k++)
      square += ((double)row[k] - mean) * ((double)row[k] - mean) / (double)IN;
    for (k = 0; k < IN; k++) {
      double y = ((double)row[k] - mean) / sqrt(square + 1e-6);
      o->want[r * IN + k] = y * (double)g->data[k] + (double)g->data[k];
    }
  }
}

static void self_gelu(bdpt_tape *t, self_op *o) {
  bdpt_tensor *x = self_input(t, ROWS, IN, 5);
  size_t i;
  o->name = "GELU"; o->got = bdpt_activate(t, x, BDPT_GELU);
  for (i = 0; o->got && i < ROWS * IN; i++) {
    double z = (double)x->data[i];
    o->want[i] = z * 0.5 * erfc(-z / sqrt(2.0));
  }
}

static void self_attention(bdpt_tape *t, self_op *o) {
  const size_t shape[3] = {1, TOKENS, 3 * HEADS * SIZE}, row = 3 * HEADS * SIZE;
  bdpt_tensor *flat = self_input(t, TOKENS, row, 1), *x;
  size_t h, i, j, k;
  x = bdpt_input(t, 3, shape, flat ? flat->data : NULL, 0);
  o->name = "attention"; o->got = bdpt_attention(t, x, NULL, HEADS, 0.4);
  for (h = 0; o->got && h < HEADS; h++) {
    for (i = 0; i < TOKENS; i++) {
      const bdpt_real *q = x->data + i * row + h * SIZE;
      double *y = o->want + i * HEADS * SIZE + h * SIZE, sum = 0;
      for (k = 0; k < SIZE; k++) y[k] = 0;
      for (j = 0; j < TOKENS; j++) {
        const bdpt_real *key = x->data + j * row + (HEADS + h) * SIZE;
        double s = 0;
        for (k = 0; k < SIZE; k++) s += 0.4 * (double)q[k] * (double)key[k];
        s = exp(s); sum += s;
        for (k = 0; k < SIZE; k++) y[k] += s * (double)key[HEADS * SIZE + k];
      }
      for (k = 0; k < SIZE; k++) y[k] /= sum;
    }
  }
}

/* Finds the largest difference between an operation and its plain form, and which operation has
 * it. */
static bdpt_status self_kernels(bdpt_context *ctx, double *apart, const char **which) {
  static void (*const ops[])(bdpt_tape *, self_op *) = {self_linear, self_norm, self_gelu,
                                                        self_attention};
  static self_op o;
  bdpt_tape *t = bdpt_tape_create(ctx, BDPT_TAPE_COMPUTE);
  int i;
  *apart = 0;
  for (i = 0; t && i < CLI_COUNT(ops); i++) {
    double d;
    bdpt_tape_reset(t);
    ops[i](t, &o);
    if (!o.got) break;
    d = self_apart(o.got->data, o.want, o.got->count);
    if (!(d <= *apart)) {
      *apart = d;
      *which = o.name;
    }
  }
  bdpt_tape_free(t);
  return ctx->status;
}

/* ---- Gradients ------------------------------------------------------------------------------- */

static bdpt_status self_wrong(const bdpt_op_run *run) { /* a derivative of z^2 that says 2.2 z */
  size_t i;
  for (i = 0; i < run->out->count; i++) {
    run->dx[0][i] += (bdpt_real)2.2 * run->in[0]->data[i] * run->dy[i];
  }
  return BDPT_OK;
}
static bdpt_status self_square(const bdpt_op_run *run) {
  size_t i;
  for (i = 0; i < run->out->count; i++) {
    run->out->data[i] = run->in[0]->data[i] * run->in[0]->data[i];
  }
  return BDPT_OK;
}
static bdpt_tensor *self_graph(bdpt_tape *t, bdpt_tensor *const *in, void *user) {
  const bdpt_op wrong = {"wrong", self_square, self_wrong, 0, NULL};
  if (*(int *)user) return bdpt_tape_op(t, &wrong, in, 1, in[0]->ndim, in[0]->shape);
  return bdpt_activate(t, bdpt_linear(t, in[0], in[1], in[2], NULL), BDPT_GELU);
}

/* Checks the gradients of a right backward pass and of a wrong one. */
static bdpt_status self_gradients(bdpt_context *ctx, double error[2]) {
  bdpt_tape *t = bdpt_tape_create(ctx, BDPT_TAPE_RECORD);
  bdpt_tensor *in[3];
  bdpt_status s = BDPT_OK;
  int wrong;
  in[0] = t ? self_input(t, 5, 6, 1) : NULL;
  in[1] = t ? self_input(t, 4, 6, 1) : NULL;
  in[2] = t ? self_input(t, 4, 0, 1) : NULL;
  for (wrong = 0; in[2] && !s && wrong < 2; wrong++) {
    s = bdpt_gradcheck(ctx, self_graph, &wrong, in, wrong ? 1 : 3, &error[wrong]);
  }
  bdpt_tape_free(t);
  return s ? s : ctx->status;
}

/* ---- Training -------------------------------------------------------------------------------- */

static bdpt_recipe self_recipe(void) {
  bdpt_recipe r;
  memset(&r, 0, sizeof r);
  r.epochs = 4; r.batch = BATCH; r.lr = 2e-3; r.clip = 1; r.ema = 0.9; r.smoothing = 0.1;
  r.mixup = 0.8; r.crop = 1; r.flip = 1; r.drop_path = 0.1; r.seed = 7;
  return r;
}

/* Trains on so many threads; with `stop` everything is saved, forgotten and loaded on the way. */
static bdpt_status self_training(bdpt_context *ctx, int threads, int stop, char hash[17]) {
  bdpt_recipe r = self_recipe();
  bdpt_model *m;
  bdpt_trainer *t;
  int step, before = ctx->threads;
  bdpt_status s;
  ctx->threads = threads;
  m = self_network(ctx);
  t = m ? bdpt_trainer_create(m, NULL, &self_train, &r) : NULL;
  s = t ? BDPT_OK : ctx->status;
  for (step = 0; !s && step < r.epochs * IMAGES / BATCH; step++) {
    if (stop && step == 5) {
      bdpt_bytes bytes = {NULL, 0};
      s = bdpt_trainer_build(t, &bytes);
      bdpt_trainer_free(t);
      bdpt_model_free(m);
      m = self_network(ctx);
      t = m ? bdpt_trainer_create(m, NULL, &self_train, &r) : NULL;
      if (!s) s = t ? bdpt_trainer_parse(t, bytes.data, bytes.size, "saved") : ctx->status;
      bdpt_bytes_free(ctx, &bytes);
    }
    if (!s) s = bdpt_trainer_step(t, NULL);
  }
  if (m) bdpt_model_hash(m, hash);
  bdpt_trainer_free(t);
  bdpt_model_free(m);
  ctx->threads = before;
  return s;
}

/* ---- The report ------------------------------------------------------------------------------ */

typedef struct self_report {
  const cli_common *common;
  bdpt_context *ctx;
  int failed;
} self_report;

/* Prints a line: what was checked, on which instruction set, what came out. */
static void self_tell(self_report *r, const char *what, int ok, const char *text) {
  cli_json j = {NULL, 0, 0, 0, 0};
  ok = ok && r->ctx->status == BDPT_OK;
  r->failed += !ok;
  if (!r->common->json) {
    printf("%-4s %-9s %-11s %s\n", ok ? "ok" : "BAD", bdpt_isa_name(r->ctx), what,
           r->ctx->status == BDPT_OK ? text : r->ctx->message);
    return;
  }
  cli_json_open(&j, "selftest");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "check", what);
  cli_json_text(&j, "isa", bdpt_isa_name(r->ctx));
  cli_json_real(&j, "ok", ok);
  cli_json_text(&j, "found", text);
  cli_json_close(&j);
  cli_json_print(&j, r->ctx);
}

static void self_all(self_report *r) {
  char text[100], hash[4][17] = {"", "", "", ""};
  const char *which = "none";
  double apart = INFINITY, error[2] = {1, 0};
  int many = r->ctx->threads > 1 ? r->ctx->threads : 4;
  self_logits(r->ctx, &apart);
  snprintf(text, sizeof text, "a known network: logits off by %.1e of the largest", apart);
  self_tell(r, "network", apart < 2e-5, text);
  self_kernels(r->ctx, &apart, &which);
  snprintf(text, sizeof text, "operations and their plain forms: %.1e apart (%s)", apart, which);
  self_tell(r, "kernels", apart < 4e-6, text);
  if (self_gradients(r->ctx, error) != BDPT_OK) error[0] = INFINITY;
  snprintf(text, sizeof text, "a right backward pass off by %.1e, a wrong one by %.2f", error[0],
           error[1]);
  self_tell(r, "gradients", error[0] < 0.02 && error[1] > 0.05 && error[1] < 0.2, text);
  self_training(r->ctx, 1, 0, hash[0]);
  self_training(r->ctx, many, 0, hash[1]);
  self_training(r->ctx, 1, 0, hash[2]);
  snprintf(text, sizeof text, "hash %s on 1 and %d threads, twice", hash[0], many);
  self_tell(r, "determinism", !strcmp(hash[0], hash[1]) && !strcmp(hash[0], hash[2]), text);
  self_training(r->ctx, many, 1, hash[3]);
  snprintf(text, sizeof text, "hash %s, stopped and resumed", hash[3]);
  self_tell(r, "resume", strcmp(hash[0], hash[3]) == 0, text);
}

int command_selftest(int argc, char **argv) {
  static const cli_command c = {"selftest", "selftest [options]",
    "Whether this machine and this build compute what they should, on each instruction set that\n"
    "the processor has (or the one that --isa names): the logits of a known network, operations\n"
    "against their plain forms, the gradient check on a right and a wrong backward pass, training\n"
    "with the same bits on any number of threads, and the same after a stop. Takes seconds; needs\n"
    "and writes no file. Exit status 1 if anything is wrong.",
    "selftest\n"
    "selftest --isa portable --json",
    NULL, 0, 0};
  static const char *const names[] = {"portable", "avx2", "avx512"};
  cli_common common;
  self_report r;
  bdpt_context ctx;
  const char *none, *wanted;
  int n, status, i;
  const cli_option options[] = {
    CLI_EVERYWHERE,
    {"--isa", CLI_TEXT, &common.isa, "NAME", NULL, "only portable, avx2, avx512 or the best (all)"},
    CLI_THREADS(&common),
    CLI_JSON(&common)
  };
  command_defaults(&common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &none, &n);
  if (status != CLI_GO_ON) return status;
  wanted = common.isa;
  r.common = &common; r.ctx = &ctx; r.failed = 0;
  for (i = 0; i < (wanted ? 1 : CLI_COUNT(names)); i++) {
    common.isa = wanted ? wanted : names[i];
    status = command_open(&c, &common, &ctx);
    if (status != CLI_GO_ON) return status;
    if (wanted || strcmp(bdpt_isa_name(&ctx), names[i]) == 0) { /* else this processor has it not */
      if (self_world(&ctx) == BDPT_OK) self_all(&r);
      bdpt_subset_free(&ctx, &self_train);
    }
    status = ctx.status;
    bdpt_finish(&ctx);
    if (status != BDPT_OK) return cli_finish(c.name, &ctx, ctx.status, NULL);
  }
  if (!common.json) printf("%s\n", r.failed ? "something is wrong" : "all is well");
  return r.failed ? CLI_FAILED : CLI_OK;
}
