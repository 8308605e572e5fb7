/* numbers.c: a little statistics */
#include "numbers.h"

double numbers_mean(const double *v, int n) {
  double sum = 0;
  int i;
  for (i = 0; i < n; i++) sum += v[i];
  return n ? sum / n : 0;
}

int numbers_rising(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double numbers_quantile(const double *sorted, int n, double q) {
  double at = q * (n - 1);
  int i = (int)at;
  if (i + 1 >= n) return sorted[n - 1];
  return sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
}

double numbers_rank_correlation(const double *x, const double *y, int n) {
  double sum = 0;
  int i, k;
  for (i = 0; i < n; i++) {
    double difference = 0; /* of the two ranks */
    for (k = 0; k < n; k++)
      difference += 0.5 * ((x[k] < x[i]) - (x[k] > x[i]) - (y[k] < y[i]) + (y[k] > y[i]));
    sum += difference * difference;
  }
  return n > 1 ? 1 - 6 * sum / ((double)n * ((double)n * n - 1)) : 1;
}
