/* half.c: numbers of 16 bits */
#include "../cli/messages.h"
#include "half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The size of v is q 2^at with a whole q, the only thing that is rounded. In a normal number q has
 * one bit more than the fraction, and added to the field below it this bit raises the exponent by
 * one, to where it belongs; below them it is missing and the field stays 0. A carry out of the
 * rounding is right for the same reason, and from the largest number it gives infinity. */
uint16_t half_pack(double v, int exponent_bits, int fraction_bits) {
  int least = 2 - (1 << (exponent_bits - 1)) - fraction_bits, at; /* 2^-24 is F16's last place */
  unsigned sign = (unsigned)(copysign(1.0, v) < 0) << (exponent_bits + fraction_bits), bits;
  unsigned infinity = ((1u << exponent_bits) - 1) << fraction_bits;
  if (v != v) return (uint16_t)(sign | infinity | 1u << (fraction_bits - 1));
  if (v - v != 0) return (uint16_t)(sign | infinity);
  frexp(v, &at); /* |v| is below 2^at */
  at -= fraction_bits + 1; /* so q has fraction_bits + 1 bits */
  if (at < least || v == 0) at = least; /* the smallest share one exponent */
  bits = ((unsigned)(at - least) << fraction_bits) + (unsigned)rint(ldexp(fabs(v), -at));
  return (uint16_t)(sign | (bits < infinity ? bits : infinity));
}

/* Fills one row of the new file; `half` has room for its numbers. */
static bdpt_status half_tensor(bdpt_context *ctx, const bdpt_file_tensor *t, bdpt_dtype dtype,
                               unsigned char *half, bdpt_write_tensor *w) {
  const int exponent = dtype == BDPT_F16 ? 5 : 8, fraction = 15 - exponent;
  bdpt_real *v = (bdpt_real *)malloc((t->count + 1) * sizeof *v);
  bdpt_status s = v ? bdpt_safetensors_read(ctx, t, v, t->count)
                    : cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  size_t k;
  for (k = 0; k < t->count && s == BDPT_OK; k++) {
    const unsigned bits = half_pack((double)v[k], exponent, fraction);
    half[2 * k] = (unsigned char)(bits & 255);
    half[2 * k + 1] = (unsigned char)(bits >> 8);
  }
  free(v);
  w->name = t->name;
  w->dtype = dtype;
  w->ndim = t->ndim;
  memcpy(w->shape, t->shape, sizeof w->shape); /* a network has four axes at most */
  w->data = half;
  w->raw = 1;
  return s;
}

bdpt_status half_file(bdpt_context *ctx, const bdpt_bytes *from, bdpt_dtype dtype,
                      bdpt_bytes *out) {
  bdpt_safetensors f;
  bdpt_status s = bdpt_safetensors_parse(ctx, from->data, from->size, "a network", &f);
  bdpt_write_tensor *list = (bdpt_write_tensor *)calloc(f.count + 1, sizeof *list);
  const char **value = (const char **)calloc(f.pairs + 1, sizeof *value);
  unsigned char *half = (unsigned char *)malloc(from->size);
  size_t i, used = 0;
  out->data = NULL;
  out->size = 0;
  if (s == BDPT_OK && (!list || !value || !half))
    s = cli_fail(ctx, BDPT_E_MEMORY, "out of memory");
  for (i = 0; i < f.pairs && s == BDPT_OK; i++) value[i] = bdpt_safetensors_get(&f, f.key[i]);
  for (i = 0; i < f.count && s == BDPT_OK; i++) {
    s = half_tensor(ctx, &f.tensor[i], dtype, half + used, &list[i]);
    used += 2 * f.tensor[i].count;
  }
  if (s == BDPT_OK) s = bdpt_safetensors_build(ctx, list, f.count, f.key, value, f.pairs, out);
  free(list);
  free(value);
  free(half);
  bdpt_safetensors_close(&f);
  return s;
}
