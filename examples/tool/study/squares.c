/* squares.c: linear maps by least squares */
#include "squares.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bdpt_status squares_open(squares *s, size_t k, size_t d) {
  s->k = k; s->d = d; s->count = 0;
  s->sum = (double *)calloc((k + d) * (k + 1), sizeof *s->sum);
  return s->sum ? BDPT_OK : BDPT_E_MEMORY;
}

void squares_close(squares *s) {
  free(s->sum);
  s->sum = NULL;
}

void squares_add(squares *s, const bdpt_real *x, const bdpt_real *y, double weight) {
  const size_t k = s->k;
  size_t i, j;
  s->count += weight;
  for (i = 0; i < k + s->d; i++) {
    const double z = weight * (double)(i < k ? x[i] : y[i - k]);
    const size_t most = i < k ? i + 1 : k;
    double *out = s->sum + i * (k + 1);
    *out++ += z;
    for (j = 0; j < most; j++) out[j] += z * (double)x[j];
  }
}

/* Solves w (G + r I) = C by Cholesky, in place: the lower half of g[k][k] becomes its factor. */
static void squares_factor(size_t k, double *g) {
  size_t i, j, n;
  for (i = 0; i < k; i++)
    for (j = 0; j <= i; j++) {
      double v = g[i * k + j];
      for (n = 0; n < j; n++) v -= g[i * k + n] * g[j * k + n];
      g[i * k + j] = i == j ? sqrt(v) : v / g[j * k + j];
    }
}

static void squares_back(size_t k, const double *g, double *x) {
  size_t i, n;
  for (i = 0; i < k; i++) { /* forwards ... */
    for (n = 0; n < i; n++) x[i] -= g[i * k + n] * x[n];
    x[i] /= g[i * k + i];
  }
  for (i = k; i-- > 0;) { /* ... and back */
    for (n = i + 1; n < k; n++) x[i] -= g[n * k + i] * x[n];
    x[i] /= g[i * k + i];
  }
}

bdpt_status squares_solve(const squares *s, double ridge, double *w, double *b) {
  const size_t k = s->k;
  const double *sum = s->sum, n = s->count;
  double *g = (double *)malloc(k * k * sizeof *g), trace = 0;
  size_t i, j;
  if (!g) return BDPT_E_MEMORY;
  for (i = 0; i < k + s->d; i++) { /* both centred: G's lower half, and C */
    const double *row = sum + i * (k + 1);
    double *out = i < k ? g + i * k : w + (i - k) * k;
    for (j = 0; j < (i < k ? i + 1 : k); j++)
      out[j] = row[1 + j] - row[0] * sum[j * (k + 1)] / n;
  }
  for (i = 0; i < k; i++) trace += g[i * k + i];
  for (i = 0; i < k; i++) g[i * k + i] += ridge * trace / (double)k + 1e-12;
  squares_factor(k, g);
  for (i = 0; i < s->d; i++) {
    squares_back(k, g, w + i * k);
    b[i] = sum[(k + i) * (k + 1)] / n;
    for (j = 0; j < k; j++) b[i] -= w[i * k + j] * sum[j * (k + 1)] / n;
  }
  free(g);
  return BDPT_OK;
}
