/* The engine room's calls with their arguments in one line, for tests that make many of them. */
#ifndef TEST_KERNELS_H
#define TEST_KERNELS_H

static BDPTI_UNUSED bdpti_norm_args norm_args(size_t n, const bdpt_real *x, const bdpt_real *gamma,
                                         bdpt_real *mean, bdpt_real *rstd) {
  bdpti_norm_args s;
  memset(&s, 0, sizeof s);
  s.width = n; s.x = x; s.gamma = gamma; s.mean = mean; s.rstd = rstd;
  return s;
}

static BDPTI_UNUSED void run_layernorm(bdpt_context *c, size_t rows, size_t n, const bdpt_real *x,
                                       const bdpt_real *gamma, const bdpt_real *beta, double eps,
                                       bdpt_real *y, bdpt_real *mean, bdpt_real *rstd) {
  bdpti_norm_args s = norm_args(n, x, gamma, mean, rstd);
  s.beta = beta; s.eps = (bdpt_real)eps; s.y = y;
  bdpti_each(c, c->isa->layernorm_fwd, &s, rows, 1, (double)(rows * n));
}

static BDPTI_UNUSED bdpt_status run_layernorm_back(bdpt_context *c, size_t rows, bdpti_norm_args s,
                                                   const bdpt_real *dy, bdpt_real *dx, int add,
                                                   bdpt_real *dgamma, bdpt_real *dbeta) {
  bdpt_real *sums[2];
  sums[0] = dgamma; sums[1] = dbeta;
  s.dy = dy; s.dx = dx; s.add = add;
  return bdpti_reduce_rows(c, c->isa->layernorm_bwd, &s, s.width, rows, sums, 2);
}

static BDPTI_UNUSED bdpt_status run_column_sum(bdpt_context *c, size_t rows, size_t n,
                                               const bdpt_real *x, bdpt_real *out) {
  const bdpti_columns s = {n, x};
  return bdpti_reduce_rows(c, c->isa->column_sum, &s, n, rows, &out, 1);
}

/* Makes the attention kernel's arguments of size[4]: images, tokens, heads, head size. */
static BDPTI_UNUSED bdpti_heads heads_args(const size_t size[4], double scale, const bdpt_real *qkv,
                                           bdpt_real *out, bdpt_real *lse) {
  bdpti_heads h = {size[1], size[2], size[3], 1, (bdpt_real)scale, qkv, out, lse, NULL, NULL,
                   NULL, NULL};
  return h;
}

static BDPTI_UNUSED bdpt_status run_attention_back(bdpt_context *c, size_t images, bdpti_heads h,
                                                   const bdpt_real *dout, bdpt_real *dqkv) {
  h.dout = dout; h.dqkv = dqkv;
  return bdpti_attention(c, images, h);
}

/* Runs AdamW's kernel with number[6]: lr, beta1, beta2, eps, decay, step. */
static BDPTI_UNUSED void run_adamw(bdpt_context *c, size_t n, const double number[6], bdpt_real *p,
                                   const bdpt_real *g, bdpt_real *m, bdpt_real *v) {
  bdpti_adamw_args s;
  s.lr = number[0]; s.beta1 = number[1]; s.beta2 = number[2];
  s.eps = number[3]; s.decay = number[4]; s.step = number[5];
  s.p = p; s.g = g; s.m = m; s.v = v;
  bdpti_each(c, c->isa->adamw, &s, n, 1024, (double)n);
}

#endif
