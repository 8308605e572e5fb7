/* Networks and images that several tests share. Their weights are streams of fixture_value, which
 * the Python scripts draw too: change a number here and every fixture is void. */
#ifndef NETWORKS_H
#define NETWORKS_H

#include "fixture.h"

TEST_UNUSED static int ends(const char *s, const char *with) {
  size_t n = strlen(s), k = strlen(with);
  return n >= k && strcmp(s + n - k, with) == 0;
}

/* Fills a network from the streams "PREFIX/NAME". Biases and the patch embedding have a scale of
 * their own. */
TEST_UNUSED static void fill_network(bdpt_model *m, const char *prefix, double bias, double patch) {
  int i;
  size_t k;
  for (i = 0; m && i < m->slots; i++) {
    char name[100];
    double scale = 0.25, offset = 0;
    if (!m->param[i].data) continue;
    snprintf(name, sizeof name, "%s/%s", prefix, m->name[i]);
    if (strstr(name, "norm") && ends(name, ".weight")) offset = 1;
    else if (ends(name, ".bias")) scale = bias;
    else if (ends(name, "_embed") || ends(name, "_token")) scale = 0.5;
    else if (strstr(name, "patch_embed.proj.weight")) scale = patch;
    for (k = 0; k < m->param[i].count; k++) {
      m->param[i].data[k] = (bdpt_real)fixture_value(name, k, scale, offset);
    }
  }
}

/* Returns the configuration of the odd network: no size divides another. */
TEST_UNUSED static bdpt_config odd_config(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 18; c.patch = 6; c.width = 60; c.heads = 5; c.depth = 3; c.mlp = 152;
  c.classes = 7; c.distilled = 1;
  return c;
}

TEST_UNUSED static bdpt_model *odd_model(bdpt_context *ctx, const bdpt_config *c) {
  bdpt_model *m = bdpt_model_create(ctx, c, 1);
  fill_network(m, "odd", 0.125, 0.125);
  return m;
}

/* Returns the configuration of the small network: 49 patches, enough to merge. */
TEST_UNUSED static bdpt_config small_config(int distilled) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 28; c.patch = 4; c.width = 24; c.heads = 3; c.depth = 5; c.mlp = 40; c.classes = 5;
  c.distilled = distilled;
  return c;
}

TEST_UNUSED static bdpt_model *small_model(bdpt_context *ctx, const bdpt_config *c) {
  bdpt_model *m = bdpt_model_create(ctx, c, 1);
  fill_network(m, "merge", 0.5, 0.25);
  return m;
}

#endif
