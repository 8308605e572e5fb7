/* numbers.h: a little statistics */
#ifndef TOOL_NUMBERS_H
#define TOOL_NUMBERS_H

/* Returns the mean of n numbers; 0 if there are none. */
double numbers_mean(const double *v, int n);

/* Compares two doubles for qsort, which then sorts them in rising order. */
int numbers_rising(const void *a, const void *b);

/* Returns the q-quantile of a sorted list, 0 <= q <= 1. */
double numbers_quantile(const double *sorted, int n, double q);

/* Returns Spearman's rank correlation, which tells whether two lists order the layers alike, -1 to
 * 1. Ties count half. */
double numbers_rank_correlation(const double *x, const double *y, int n);

#endif /* TOOL_NUMBERS_H */
