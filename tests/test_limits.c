/* What lies at the edge: every operation of the tape with NULL for each of its inputs and with
 * shapes that do not fit, sizes that overflow, the deepest network, every status's word. */
#include "../boundarydpt.h"
#include "../examples/plus/boundarydpt_plus.h"
#include "test.h"

static bdpt_context ctx;
static bdpt_tape *tape;

static bdpt_tensor *make(int ndim, size_t a, size_t b, size_t c, size_t d) {
  const size_t shape[4] = {a, b, c, d};
  return bdpt_input(tape, ndim, shape, NULL, 1);
}

/* One operation: it gets three tensors, of which those with a shape here matter. */
typedef bdpt_tensor *(*operation)(bdpt_tensor *const *x);
static bdpt_tensor *f_linear(bdpt_tensor *const *x) {
  return bdpt_linear(tape, x[0], x[1], x[2], NULL);
}
static bdpt_tensor *f_linear_add(bdpt_tensor *const *x) {
  return bdpt_linear(tape, x[0], x[1], x[2], x[3]);
}
static bdpt_tensor *f_norm(bdpt_tensor *const *x) {
  return bdpt_layernorm(tape, x[0], x[1], x[2], 1e-6);
}
static bdpt_tensor *f_mlp(bdpt_tensor *const *x) {
  return bdpt_mlp(tape, x[0], x + 1, 1e-6, BDPT_GELU);
}
static bdpt_tensor *f_gelu(bdpt_tensor *const *x) { return bdpt_activate(tape, x[0], BDPT_GELU); }
static bdpt_tensor *f_act(bdpt_tensor *const *x) { return bdpt_activate(tape, x[0], BDPT_RELU); }
static bdpt_tensor *f_attention(bdpt_tensor *const *x) {
  return bdpt_attention(tape, x[0], NULL, 2, 0.5);
}
static bdpt_tensor *f_counted(bdpt_tensor *const *x) {
  size_t i;
  for (i = 0; x[1] && i < x[1]->count; i++) x[1]->data[i] = 2;
  return bdpt_attention(tape, x[0], x[1], 2, 0.5);
}
static bdpt_tensor *f_patch(bdpt_tensor *const *x) {
  return bdpt_patch_embed(tape, x[0], x[1], x[2]);
}
static bdpt_tensor *f_token(bdpt_tensor *const *x) { return bdpt_pool(tape, x[0], 1, 1, 0); }
static bdpt_tensor *f_pool(bdpt_tensor *const *x) { return bdpt_pool(tape, x[0], 1, 0, 1); }
static bdpt_tensor *f_add(bdpt_tensor *const *x) { return bdpt_add(tape, x[0], x[1]); }
static bdpt_tensor *f_scale(bdpt_tensor *const *x) { return bdpt_scale(tape, x[0], 2); }
static bdpt_tensor *f_drop(bdpt_tensor *const *x) {
  bdpt_rng rng = {1};
  return bdpt_drop_path(tape, x[0], 0.5, &rng);
}
static bdpt_tensor *f_mix(bdpt_tensor *const *x) { return bdpt_mix(tape, x[0], x[1], x[2], 1); }
static const bdpt_real numbers[64] = {1};
static bdpt_tensor *f_ce(bdpt_tensor *const *x) { return bdpt_cross_entropy(tape, x[0], numbers); }
static bdpt_tensor *f_soft(bdpt_tensor *const *x) {
  return bdpt_distill_soft(tape, x[0], numbers, 2);
}
static bdpt_tensor *f_match(bdpt_tensor *const *x) { return bdpt_match(tape, x[0], x[1]); }
static bdpt_tensor *f_tail(bdpt_tensor *const *x) { return bdpt_tail(tape, x[0], 1); }
static bdpt_tensor *f_upsample(bdpt_tensor *const *x) {
  return bdpt_upsample(tape, x[0], 2, 3, 3);
}
static bdpt_tensor *f_pixels(bdpt_tensor *const *x) {
  static const int label[64] = {0};
  return bdpt_pixel_loss(tape, x[0], label, -1);
}

/* Shapes that fit; then, input by input, shapes that do not. A first number of 0 ends a list. */
typedef struct row {
  const char *name;
  operation run;
  size_t fits[7][5];      /* ndim, shape */
  size_t wrong[8][6];     /* input, ndim, shape */
} row;

static const row rows[] = {
  {"linear", f_linear, {{3, 2, 5, 8}, {2, 3, 8}, {1, 3}},
   {{0, 3, 2, 5, 7}, {1, 2, 3, 9}, {1, 1, 8}, {1, 3, 3, 8, 1}, {1, 2, 0, 8}, {2, 1, 4},
    {2, 2, 3, 1}, {9}}},
  {"linear_add", f_linear_add, {{3, 2, 5, 8}, {2, 3, 8}, {1, 3}, {3, 2, 5, 3}},
   {{0, 3, 2, 5, 7}, {1, 2, 3, 9}, {2, 1, 4}, {3, 3, 2, 5, 4}, {3, 3, 2, 4, 3}, {3, 2, 10, 3}}},
  {"layernorm", f_norm, {{3, 2, 5, 8}, {1, 8}, {1, 8}},
   {{0, 3, 2, 5, 7}, {1, 1, 7}, {2, 1, 9}, {9}}},
  {"mlp", f_mlp, {{3, 2, 5, 8}, {1, 8}, {1, 8}, {2, 12, 8}, {1, 12}, {2, 8, 12}, {1, 8}},
   {{0, 3, 2, 5, 7}, {1, 1, 7}, {2, 1, 9}, {3, 2, 12, 7}, {4, 1, 11}, {5, 2, 8, 11},
    {5, 2, 7, 12}, {6, 1, 9}}},
  {"gelu", f_gelu, {{3, 2, 5, 8}}, {{9}}},
  {"activate", f_act, {{3, 2, 5, 8}}, {{9}}},
  {"attention", f_attention, {{3, 2, 5, 24}}, {{0, 3, 2, 5, 25}, {0, 2, 5, 24}, {0, 3, 2, 5, 9},
                                                {9}}},
  {"attention_counted", f_counted, {{3, 2, 5, 24}, {2, 2, 5}},
   {{0, 3, 2, 5, 25}, {0, 2, 5, 24}, {1, 2, 2, 6}, {1, 2, 1, 5}, {1, 1, 10}, {9}}},
  {"patch_embed", f_patch, {{4, 2, 3, 8, 8}, {4, 6, 3, 4, 4}, {1, 6}},
   {{0, 4, 2, 3, 8, 9}, {0, 4, 2, 3, 9, 8}, {0, 3, 4, 3, 8}, {1, 4, 6, 2, 4, 4},
    {1, 4, 6, 3, 4, 2}, {1, 3, 6, 3, 4}, {1, 4, 0, 3, 4, 4}, {2, 1, 5}}},
  {"token", f_token, {{3, 2, 5, 8}}, {{0, 3, 2, 1, 8}, {0, 2, 5, 8}, {9}}},
  {"pool", f_pool, {{3, 2, 5, 8}}, {{0, 3, 2, 1, 8}, {0, 2, 5, 8}, {9}}},
  {"add", f_add, {{3, 2, 5, 8}, {3, 2, 5, 8}}, {{1, 3, 2, 5, 7}, {1, 2, 10, 8}, {9}}},
  {"scale", f_scale, {{3, 2, 5, 8}}, {{9}}},
  {"drop_path", f_drop, {{3, 2, 5, 8}}, {{9}}},
  {"mix", f_mix, {{3, 2, 5, 8}, {3, 2, 5, 8}, {1, 1}}, {{1, 3, 2, 5, 7}, {2, 1, 2}, {9}}},
  {"cross_entropy", f_ce, {{2, 2, 3}}, {{0, 3, 2, 3, 1}, {0, 1, 6}, {0, 2, 0, 3}, {9}}},
  {"distill_soft", f_soft, {{2, 2, 3}}, {{0, 3, 2, 3, 1}, {0, 1, 6}, {9}}},
  {"match", f_match, {{3, 2, 5, 8}, {3, 2, 5, 8}}, {{1, 3, 2, 5, 7}, {1, 2, 10, 8}, {9}}},
  {"tail", f_tail, {{3, 2, 5, 8}}, {{0, 3, 2, 1, 8}, {0, 2, 5, 8}, {9}}},
  {"upsample", f_upsample, {{3, 2, 4, 8}}, {{0, 3, 2, 5, 8}, {0, 2, 4, 8}, {9}}},
  {"pixel_loss", f_pixels, {{3, 2, 5, 8}}, {{9}}},
};

static int inputs_of(const row *r) {
  int n = 0;
  while (n < 7 && r->fits[n][0]) n++;
  return n;
}

/* Fills x[0..7) with the shapes that fit; input `other` (if not negative) has that shape
 * instead. */
static void fill(const row *r, bdpt_tensor **x, int other, const size_t *shape) {
  int i, n = inputs_of(r);
  bdpt_tape_reset(tape);
  for (i = 0; i < 7; i++) {
    const size_t *s = i < n ? r->fits[i] : NULL;
    if (i == other) s = shape;
    x[i] = s ? make((int)s[0], s[1], s[2], s[3], s[0] == 4 ? s[4] : 0) : NULL;
  }
}

TEST(operations) {
  bdpt_tensor *x[7];
  size_t k;
  int i, w;
  for (k = 0; k < sizeof rows / sizeof *rows; k++) {
    const row *r = &rows[k];
    fill(r, x, -1, NULL);
    if (!CHECK(r->run(x) != NULL && ctx.status == BDPT_OK)) {
      printf("  %s: %s\n", r->name, ctx.message);
    }
    bdpt_clear_error(&ctx);
    for (i = 0; i < inputs_of(r); i++) { /* NULL in gives NULL out, and no error of its own */
      if (r->run == f_linear_add && i == 3) continue; /* nothing to add is allowed, */
      if (r->run == f_counted && i == 1) continue;    /* and so is no count */
      fill(r, x, -1, NULL);
      x[i] = NULL;
      if (!CHECK(r->run(x) == NULL && ctx.status == BDPT_OK)) {
        printf("  %s without input %d: %s\n", r->name, i, ctx.message);
      }
      bdpt_clear_error(&ctx);
    }
    for (w = 0; w < 8 && r->wrong[w][0] < 9 && r->wrong[w][1]; w++) {
      fill(r, x, (int)r->wrong[w][0], r->wrong[w] + 1);
      CHECK(ctx.status == BDPT_OK);
      if (!CHECK(r->run(x) == NULL && ctx.status == BDPT_E_SHAPE && strchr(ctx.message, '['))) {
        printf("  %s, wrong shape %d: %d %s\n", r->name, w, (int)ctx.status, ctx.message);
      }
      bdpt_clear_error(&ctx);
    }
  }
}

/* The tokens are patches [B,n,D], then class, distillation and register tokens, each of them or
 * none; with a position for each. */
TEST(tokens_of_any_kind) {
  static const size_t wrong[6][4] = {
    {3, 1, 7, 9}, {3, 1, 8, 8}, {3, 2, 7, 8}, {2, 7, 8, 0}, {3, 1, 6, 8}, {1, 56, 0, 0}};
  bdpt_tensor *patches, *cls, *dist, *reg, *pos, *y;
  int k;
  bdpt_tape_reset(tape);
  patches = make(3, 2, 3, 8, 0); cls = make(3, 1, 1, 8, 0); dist = make(3, 1, 1, 8, 0);
  reg = make(3, 1, 2, 8, 0); pos = make(3, 1, 7, 8, 0);
  y = bdpt_tokens(tape, patches, cls, dist, reg, pos);
  CHECK(y && y->ndim == 3 && y->shape[0] == 2 && y->shape[1] == 7 && y->shape[2] == 8);
  CHECK(bdpt_tokens(tape, NULL, cls, dist, reg, pos) == NULL && ctx.status == BDPT_OK);
  CHECK(bdpt_tokens(tape, patches, cls, dist, reg, NULL) == NULL && ctx.status == BDPT_OK);
  for (k = 0; k < 6; k++) {
    pos = make((int)wrong[k][0], wrong[k][1], wrong[k][2], wrong[k][3], 0);
    CHECK(bdpt_tokens(tape, patches, cls, dist, reg, pos) == NULL && ctx.status == BDPT_E_SHAPE);
    CHECK_HAS(ctx.message, "[2,3,8]");
    bdpt_clear_error(&ctx);
  }
  pos = make(3, 1, 3, 8, 0);
  CHECK(bdpt_tokens(tape, patches, NULL, NULL, NULL, pos) != NULL);
  CHECK(bdpt_tokens(tape, make(2, 6, 8, 0, 0), NULL, NULL, NULL, pos) == NULL);
  CHECK(ctx.status == BDPT_E_SHAPE);
  bdpt_clear_error(&ctx);
}

/* Arguments that are no tensors are checked too: heads, rates, targets. */
TEST(other_arguments) {
  const double rates[4] = {1, -0.1, 2, (double)NAN};
  bdpt_tensor *x;
  bdpt_rng rng = {1};
  char name[200];
  int k;
  bdpt_tape_reset(tape);
  for (k = -1; k < 1; k++) {
    CHECK(bdpt_attention(tape, make(3, 2, 5, 24, 0), NULL, k, 1) == NULL);
    CHECK(ctx.status == BDPT_E_SHAPE);
    bdpt_clear_error(&ctx);
  }
  x = make(2, 2, 3, 0, 0);
  for (k = 0; k < 4; k++) {
    CHECK(bdpt_drop_path(tape, x, rates[k], &rng) == NULL && ctx.status == BDPT_E_ARGUMENT);
    bdpt_clear_error(&ctx);
  }
  CHECK(bdpt_drop_path(tape, x, 0, &rng) == x && ctx.status == BDPT_OK);
  CHECK(bdpt_cross_entropy(tape, x, NULL) == NULL && ctx.status == BDPT_OK);
  CHECK(bdpt_drop_path(tape, make(2, 0, 3, 0, 0), 0.5, &rng) != NULL);
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = 0;
  x->name = name; /* longer than the text has room for: it is cut and ends all the same */
  CHECK(memchr(bdpt_shape(x).text, 0, sizeof bdpt_shape(x).text) != NULL);
  x->name = "w";
  CHECK_HAS(bdpt_shape(x).text, "w");
  CHECK_HAS(bdpt_shape(x).text, "[2,3]");
  bdpt_fail(&ctx, BDPT_E_STATE, "of %s", (const char *)(k > 9 ? name : NULL));
  CHECK_HAS(ctx.message, "of (null)");
  bdpt_clear_error(&ctx);
}

TEST(sizes_that_overflow) {
  const size_t half = SIZE_MAX / 2 + 1, shape[3] = {half, 2, 1}, large[2] = {half / 8, 2};
  bdpt_bytes bytes = {NULL, 0};
  bdpt_write_tensor t;
  memset(&t, 0, sizeof t);
  CHECK(bdpt_alloc(&ctx, SIZE_MAX) == NULL && ctx.status == BDPT_E_MEMORY);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_alloc(&ctx, SIZE_MAX - 70) == NULL && ctx.status == BDPT_E_MEMORY);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_input(tape, 3, shape, NULL, 0) == NULL && ctx.status != BDPT_OK);
  bdpt_clear_error(&ctx);
  CHECK(bdpt_input(tape, 2, large, NULL, 0) == NULL && ctx.status != BDPT_OK);
  bdpt_clear_error(&ctx);
  t.name = "t"; t.ndim = 2; t.shape[0] = half; t.shape[1] = 2; t.data = numbers;
  CHECK(bdpt_safetensors_build(&ctx, &t, 1, NULL, NULL, 0, &bytes) != BDPT_OK && !bytes.data);
  bdpt_clear_error(&ctx);
}

/* All 64 blocks are removed first and last, saved, loaded, fused, predicted; one more is
 * refused. */
TEST(the_deepest_network) {
  bdpt_config c;
  bdpt_model *m, *again;
  bdpt_layers set;
  bdpt_bytes bytes = {NULL, 0};
  bdpt_real images[3 * 64] = {0}, logits[2], same[2];
  memset(&c, 0, sizeof c); memset(&set, 0, sizeof set);
  c.image = 8; c.patch = 4; c.width = 4; c.heads = 1; c.mlp = 4; c.classes = 2;
  c.depth = BDPT_MAX_DEPTH + 1;
  CHECK(bdpt_model_create(&ctx, &c, 1) == NULL && ctx.status == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "depth is 65, not between 1 and 64");
  bdpt_clear_error(&ctx);
  c.depth = BDPT_MAX_DEPTH;
  m = bdpt_model_create(&ctx, &c, 1);
  if (!CHECK(m != NULL)) return;
  bdpt_layers_add(&set, BDPT_ATTENTION, 0); bdpt_layers_add(&set, BDPT_ATTENTION, 63);
  bdpt_layers_add(&set, BDPT_ACTIVATION, 63);
  CHECK(bdpt_layers_has(&set, BDPT_ATTENTION, 0) && bdpt_layers_has(&set, BDPT_ATTENTION, 63));
  CHECK(!bdpt_layers_has(&set, BDPT_ACTIVATION, 62));
  CHECK(bdpt_remove(m, &set, BDPT_START_SKIP, NULL, NULL) == BDPT_OK &&
        bdpt_fuse_all(m) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 64) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  CHECK(m->config.block[63].mlp_state == BDPT_MLP_FUSED);
  CHECK(bdpt_removed(&m->config, BDPT_ATTENTION) == 2);
  CHECK(bdpt_model_build(m, &bytes) == BDPT_OK);
  again = bdpt_model_parse(&ctx, bytes.data, bytes.size, "deep", NULL);
  bdpt_tape_free(tape);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  CHECK(again && bdpt_predict(m, tape, 1, images, logits) == BDPT_OK);
  CHECK(again && bdpt_predict(again, tape, 1, images, same) == BDPT_OK);
  CHECK(memcmp(logits, same, sizeof same) == 0);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_model_free(m);
  bdpt_model_free(again);
}

TEST(every_status_has_a_word) {
  int i, k;
  for (i = 0; i >= -8; i--) {
    const char *word = bdpt_status_string((bdpt_status)i);
    CHECK(strlen(word) > 1 && strcmp(word, "unknown status") != 0);
    for (k = 0; k > i; k--) CHECK(strcmp(word, bdpt_status_string((bdpt_status)k)) != 0);
  }
  CHECK(strcmp(bdpt_status_string((bdpt_status)-9), "unknown status") == 0);
  CHECK(strcmp(bdpt_status_string((bdpt_status)1), "unknown status") == 0);
}

/* y = x[token 0] beside the mean of the others, so dy goes to the token as it is, and in equal
 * shares to the others. */
TEST(pooling_backwards) {
  bdpt_tensor *x, *y;
  bdpt_real seed[2 * 16];
  size_t b, i, k;
  int wrong = 0, token;
  for (token = 0; token < 2; token++) {
    size_t wide = token ? 16 : 8;
    bdpt_tape_free(tape);
    tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
    x = make(3, 2, 5, 8, 0);
    for (i = 0; i < 2 * wide; i++) seed[i] = (bdpt_real)(i + 1);
    y = bdpt_pool(tape, x, 1, 0, token);
    if (!CHECK(y && bdpt_backward(tape, y, seed) == BDPT_OK && x->grad)) return;
    for (b = 0; b < 2; b++) {
      for (i = 0; i < 5; i++) {
        for (k = 0; k < 8; k++) {
          bdpt_real first = token ? seed[b * wide + k] : 0;
          bdpt_real want = i ? seed[b * wide + wide - 8 + k] / 4 : first;
          wrong += x->grad[(b * 5 + i) * 8 + k] != want;
        }
      }
    }
  }
  CHECK(wrong == 0);
}

/* Six digits are printed, as few as tell the number, and powers of ten only where that is
 * shorter. */
TEST(numbers_in_sentences) {
  static const struct { double v; const char *text; } said[] = {
    {0, "0"}, {0.0001, "0.0001"}, {1e-5, "1e-5"}, {2.999999e-5, "3e-5"},
    {0.000123456, "0.000123456"}, {999999.4, "999999"}, {999999.6, "1000000"},
    {1234567, "1234567"}, {12345678.9, "12345700"}, {9.999995, "10"}, {9.9999949, "9.99999"},
    {-2.25, "-2.25"}, {1e100, "1e100"}, {1e-300, "1e-300"},
    {123456.5, "123457"}, {1e9, "1e9"},
    {0.500000495, "0.5"}, {0.50000051, "0.500001"}, {123456789, "123456789"}, {100, "100"}};
  size_t i;
  for (i = 0; i < sizeof said / sizeof *said; i++) {
    bdpt_fail(&ctx, BDPT_E_STATE, "<%g>", said[i].v);
    if (!CHECK(strncmp(ctx.message + 1, said[i].text, strlen(said[i].text)) == 0 &&
               ctx.message[strlen(said[i].text) + 1] == '>')) {
      printf("  %s, not %s\n", ctx.message, said[i].text);
    }
    bdpt_clear_error(&ctx);
  }
}

static bdpt_tensor *graph(bdpt_tape *t, bdpt_tensor *const *in, void *user) {
  (void)user;
  return bdpt_activate(t, in[0], BDPT_GELU);
}

TEST(words_and_bounds) {
  bdpt_context other;
  bdpt_tensor *in[17];
  double error;
  int i;
  memset(&other, 0, sizeof other);
  other.threads = 1025;
  CHECK(bdpt_init(&other) == BDPT_E_ARGUMENT);
  CHECK_HAS(other.message, "threads: 1025 is not between 0 and 1024");
#ifdef _OPENMP
  memset(&other, 0, sizeof other);
  other.threads = 3; /* as many as are wanted, whatever there are */
  CHECK(bdpt_init(&other) == BDPT_OK && other.threads == 3);
  bdpt_finish(&other);
#endif
  memset(&other, 0, sizeof other);
  CHECK(bdpt_init(&other) == BDPT_OK && other.threads >= 1);
  bdpt_finish(&other);
  memset(&other, 0, sizeof other);
  bdpt_fail(&other, BDPT_E_STATE, "%c%s %d %zu %g %%", 'a', "b", -3, (size_t)4, 0.5);
  CHECK(strcmp(other.message, "ab -3 4 0.5 %") == 0);
  CHECK(strcmp(bdpt_version(), BDPT_VERSION) == 0 && strlen(bdpt_isa_name(&ctx)) > 3);
  for (i = 0; i < 17; i++) in[i] = make(1, 2, 0, 0, 0);
  CHECK(bdpt_gradcheck(&ctx, graph, NULL, in, 17, &error) == BDPT_E_ARGUMENT);
  CHECK_HAS(ctx.message, "gradcheck: 17 inputs, at most 16");
  bdpt_clear_error(&ctx);
}

int main(void) {
  ctx.threads = 1;
  CHECK(bdpt_init(&ctx) == BDPT_OK);
  tape = bdpt_tape_create(&ctx, BDPT_TAPE_RECORD);
  RUN(operations);
  RUN(tokens_of_any_kind);
  RUN(other_arguments);
  RUN(sizes_that_overflow);
  RUN(the_deepest_network);
  RUN(every_status_has_a_word);
  RUN(pooling_backwards);
  RUN(words_and_bounds);
  RUN(numbers_in_sentences);
  bdpt_tape_free(tape);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("limits");
}
