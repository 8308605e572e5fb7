/* What onnx.c writes, read back field by field by a reader of our own and then computed.
 *
 *   structure  field numbers and kinds; names unique; every input there before it is used; sizes of
 *              weights; nothing unused
 *   numbers    a small interpreter runs the graph in double and must give the library's logits, for
 *              every form a block can have, at two batch sizes
 *   limits     2 GB, and numbers that are not finite
 *
 * tests/check_onnx.py does the same with ONNX's own checker and ONNX Runtime. */
#include "../boundarydpt.h"
#include "../examples/tool/files/onnx.h"
#include "test.h"

/* -------------------------------------------------------------------------------------------------
 * Protobuf
 * ---------------------------------------------------------------------------------------------- */

typedef struct span { const unsigned char *at, *end; } span;
typedef struct field { int number, kind; uint64_t value; span body; } field;

static int bad; /* something was not as it should be; the checks at the end say so */

static uint64_t take_varint(span *s) {
  uint64_t v = 0;
  int shift = 0;
  for (; s->at < s->end && shift < 64; shift += 7) {
    unsigned char c = *s->at++;
    v |= (uint64_t)(c & 127) << shift;
    if (c < 128) {
      if (c == 0 && shift) bad |= 1; /* one digit too many */
      return v;
    }
  }
  bad |= 1;
  return 0;
}

/* Takes the next field; returns 0 at the end of the message. */
static int take(span *s, field *f) {
  uint64_t key, n = 0;
  memset(f, 0, sizeof *f);
  if (s->at >= s->end) return 0;
  key = take_varint(s);
  f->number = (int)(key >> 3);
  f->kind = (int)(key & 7);
  if (f->kind == 0) f->value = take_varint(s);
  else if (f->kind == 2 || f->kind == 5) {
    n = f->kind == 5 ? 4 : take_varint(s);
    if (n > (uint64_t)(s->end - s->at)) {
      bad |= 2;
      return 0;
    }
    f->body.at = s->at;
    f->body.end = s->at += n;
  } else bad |= 4;
  return 1;
}

static void take_text(const field *f, char out[80]) {
  size_t n = (size_t)(f->body.end - f->body.at);
  if (f->kind != 2 || n > 79) bad |= 8;
  if (n > 79) n = 79;
  if (n) memcpy(out, f->body.at, n);
  out[n] = 0;
}

static float take_float(const unsigned char *at) {
  uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                  (uint32_t)at[3] << 24;
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

/* -------------------------------------------------------------------------------------------------
 * The graph
 * ---------------------------------------------------------------------------------------------- */

enum { NODES = 400, VALUES = 700 };

typedef struct node {
  char op[80], name[80], in[3][80], out[3][80];
  int ins, outs, list[8], listed, strides[2], axis;
  double epsilon;
} node;

/* A named array: from the file, or computed. */
typedef struct value {
  char name[80];
  int ndim, used, whole; /* whole: numbers are int64 in the file */
  size_t dim[5];
  double *v;
} value;

static node nodes[NODES];
static value values[VALUES];
static int node_count, value_count, weight_count;
static char output_name[80], input_name[80];
static long input_dim[4], output_dim[2];
static int opset, ir, pairs;

static size_t elements(const value *a) {
  size_t n = 1;
  int i;
  for (i = 0; i < a->ndim; i++) n *= a->dim[i];
  return n;
}

static value *find(const char *name) {
  int i;
  for (i = 0; i < value_count; i++)
    if (strcmp(values[i].name, name) == 0) return &values[i];
  return NULL;
}

static value *fresh(const char *name) {
  value *a;
  if (find(name) || value_count == VALUES) bad |= 16; /* two things with one name */
  a = &values[value_count < VALUES ? value_count++ : VALUES - 1];
  free(a->v);
  memset(a, 0, sizeof *a);
  snprintf(a->name, sizeof a->name, "%s", name);
  return a;
}

static void read_attribute(span s, node *n) {
  char name[80] = "";
  int ints[8], count = 0, type = 0, i;
  long whole = 0;
  double real = 0;
  field f;
  while (take(&s, &f)) {
    if (f.number == 1) take_text(&f, name);
    else if (f.number == 2 && f.kind == 5) real = (double)take_float(f.body.at);
    else if (f.number == 3 && f.kind == 0) whole = (long)(int64_t)f.value;
    else if (f.number == 8 && f.kind == 0 && count < 8) ints[count++] = (int)f.value;
    else if (f.number == 20 && f.kind == 0) type = (int)f.value;
    else bad |= 32;
  }
  if (strcmp(name, "axis") == 0 && type == 2) n->axis = (int)whole;
  else if (strcmp(name, "epsilon") == 0 && type == 1) n->epsilon = real;
  else if ((strcmp(name, "perm") == 0 || strcmp(name, "kernel_shape") == 0) && type == 7) {
    n->listed = count;
    for (i = 0; i < count; i++) n->list[i] = ints[i];
  } else if (strcmp(name, "strides") == 0 && type == 7 && count == 2) {
    n->strides[0] = ints[0]; n->strides[1] = ints[1];
  } else bad |= 64;
}

static void read_node(span s) {
  node *n = &nodes[node_count < NODES - 1 ? node_count++ : NODES - 1];
  field f;
  memset(n, 0, sizeof *n);
  n->axis = 99;
  while (take(&s, &f)) {
    if (f.number == 1 && n->ins < 3) take_text(&f, n->in[n->ins++]);
    else if (f.number == 2 && n->outs < 3) take_text(&f, n->out[n->outs++]);
    else if (f.number == 3) take_text(&f, n->name);
    else if (f.number == 4) take_text(&f, n->op);
    else if (f.number == 5 && f.kind == 2) read_attribute(f.body, n);
    else bad |= 128;
  }
  if (n->outs == 0 || strcmp(n->name, n->out[0]) != 0) bad |= 256;
}

static void read_weight(span s) {
  value *a;
  span raw = {NULL, NULL};
  size_t dim[5] = {0}, n, i;
  int ndim = 0, type = 0, k;
  char name[80] = "";
  field f;
  while (take(&s, &f)) {
    if (f.number == 1 && f.kind == 0 && ndim < 5) dim[ndim++] = (size_t)f.value;
    else if (f.number == 2 && f.kind == 0) type = (int)f.value;
    else if (f.number == 8) take_text(&f, name);
    else if (f.number == 9 && f.kind == 2) raw = f.body;
    else bad |= 512;
  }
  a = fresh(name);
  a->ndim = ndim;
  memcpy(a->dim, dim, sizeof dim);
  a->whole = type == 7;
  n = elements(a);
  if ((type != 1 && type != 7) || (size_t)(raw.end - raw.at) != n * (type == 7 ? 8 : 4)) {
    bad |= 1024;
    return;
  }
  a->v = (double *)calloc(n + 1, sizeof *a->v);
  for (i = 0; i < n && a->v; i++) {
    uint64_t w = 0;
    for (k = 0; k < 8 && type == 7; k++) w |= (uint64_t)raw.at[8 * i + (size_t)k] << (8 * k);
    a->v[i] = type == 7 ? (double)(int64_t)w : (double)take_float(raw.at + 4 * i);
  }
  weight_count++;
}

/* Steps into the one message of that number; anything else in s is wrong. */
static span inner(span s, int number) {
  span in = {NULL, NULL};
  field f;
  while (take(&s, &f)) {
    if (f.number == number && f.kind == 2) in = f.body;
    else bad |= 2048;
  }
  return in;
}

/* Reads name, float, axes; a named axis counts as -1. */
static void read_value_info(span s, char name[80], long *dim, int count) {
  field f, g, h;
  span tensor = {NULL, NULL};
  int at = 0;
  while (take(&s, &f)) {
    if (f.number == 1) take_text(&f, name);
    else if (f.number == 2 && f.kind == 2) tensor = inner(f.body, 1);
    else bad |= 4096;
  }
  while (take(&tensor, &f)) {
    if (f.number == 1 && f.kind == 0 && f.value == 1) continue;
    if (f.number != 2 || f.kind != 2) bad |= 4096;
    while (take(&f.body, &g)) {
      if (g.number != 1 || at >= count || !take(&g.body, &h)) { bad |= 4096; continue; }
      dim[at] = h.number == 1 ? (long)h.value : 0;
      if (h.number == 2 && h.kind == 2) dim[at] = -1;
      at++;
    }
  }
  if (at != count) bad |= 4096;
}

static void read_graph(span s) {
  field f;
  while (take(&s, &f)) {
    if (f.kind != 2) bad |= 8192;
    else if (f.number == 1) read_node(f.body);
    else if (f.number == 5) read_weight(f.body);
    else if (f.number == 11) read_value_info(f.body, input_name, input_dim, 4);
    else if (f.number == 12) read_value_info(f.body, output_name, output_dim, 2);
    else if (f.number != 2) bad |= 8192;
  }
}

static void forget(void) {
  int i;
  for (i = 0; i < value_count; i++) {
    free(values[i].v);
    values[i].v = NULL;
  }
  node_count = value_count = weight_count = opset = ir = pairs = bad = 0;
  memset(input_dim, 0, sizeof input_dim);
  memset(output_dim, 0, sizeof output_dim);
}

static void read_model(const unsigned char *bytes, size_t size) {
  span s, inside;
  field f, g;
  s.at = bytes;
  s.end = bytes + size;
  forget();
  while (take(&s, &f)) {
    if (f.number == 1 && f.kind == 0) ir = (int)f.value;
    else if (f.number == 7 && f.kind == 2) read_graph(f.body);
    else if (f.number == 8 && f.kind == 2) {
      inside = f.body;
      while (take(&inside, &g))
        if (g.number == 2 && g.kind == 0) opset = (int)g.value;
        else if (g.number != 1 || g.body.at != g.body.end) bad |= 16384; /* the domain is "" */
    } else if (f.number == 14 && f.kind == 2) pairs++;
    else if ((f.number != 2 && f.number != 3) || f.kind != 2) bad |= 16384;
  }
}

/* -------------------------------------------------------------------------------------------------
 * Computing it
 * ---------------------------------------------------------------------------------------------- */

static value *result(const char *name, int ndim, const size_t *dim) {
  value *a = fresh(name);
  int i;
  a->ndim = ndim;
  for (i = 0; i < ndim; i++) a->dim[i] = dim[i];
  a->v = (double *)calloc(elements(a) + 1, sizeof *a->v);
  return a;
}

/* Returns where element i of an array of shape `like` lies in a, whose missing and 1-sized axes
 * repeat. */
static size_t broadcast(const value *a, const value *like, size_t i) {
  size_t at = 0, step = 1;
  int k;
  for (k = 1; k <= like->ndim; k++) {
    size_t size = like->dim[like->ndim - k], here = i % size;
    i /= size;
    if (k > a->ndim) continue;
    if (a->dim[a->ndim - k] != 1) at += here * step;
    step *= a->dim[a->ndim - k];
  }
  return at;
}

static void run_binary(const node *n, const value *a, const value *b) {
  const value *big = a->ndim >= b->ndim ? a : b;
  size_t dim[5], i;
  value *y;
  int k;
  for (k = 1; k <= big->ndim; k++) {
    size_t da = k <= a->ndim ? a->dim[a->ndim - k] : 1, db = k <= b->ndim ? b->dim[b->ndim - k] : 1;
    dim[big->ndim - k] = da > db ? da : db;
    if (da != db && da != 1 && db != 1) bad |= 1 << 15;
  }
  y = result(n->out[0], big->ndim, dim);
  for (i = 0; i < elements(y); i++) {
    double p = a->v[broadcast(a, y, i)], q = b->v[broadcast(b, y, i)];
    y->v[i] = n->op[0] == 'M' ? p * q : p / q;
    if (n->op[0] == 'A') y->v[i] = p + q;
  }
}

static void run_matmul(const node *n, const value *a, const value *b) {
  size_t rows = a->dim[a->ndim - 2], k = a->dim[a->ndim - 1], cols = b->dim[b->ndim - 1], dim[5];
  size_t groups = elements(a) / (rows * k), g, i, j, l;
  value *y;
  if (b->dim[b->ndim - 2] != k || (b->ndim > 2 && elements(b) / (k * cols) != groups))
    bad |= 1 << 16;
  memcpy(dim, a->dim, sizeof dim);
  dim[a->ndim - 1] = cols;
  y = result(n->out[0], a->ndim, dim);
  for (g = 0; g < groups && !bad; g++)
    for (i = 0; i < rows; i++)
      for (j = 0; j < cols; j++) {
        const double *row = a->v + (g * rows + i) * k, *w = b->v + (b->ndim > 2 ? g * k * cols : 0);
        double sum = 0;
        for (l = 0; l < k; l++) sum += row[l] * w[l * cols + j];
        y->v[(g * rows + i) * cols + j] = sum;
      }
}

static void run_conv(const node *n, const value *x, const value *w, const value *b) {
  size_t p = w->dim[2], side = x->dim[2] / p, channels = x->dim[1], dim[4], i, c, u, v;
  value *y;
  if (n->listed != 2 || n->list[0] != (int)p || n->list[1] != (int)p || n->strides[0] != (int)p ||
      n->strides[1] != (int)p || w->dim[1] != channels)
    bad |= 1 << 17;
  dim[0] = x->dim[0]; dim[1] = w->dim[0]; dim[2] = dim[3] = side;
  y = result(n->out[0], 4, dim);
  for (i = 0; i < elements(y); i++) {
    size_t col = i % side, row = i / side % side, d = i / side / side % dim[1];
    double sum = b->v[d];
    for (c = 0; c < channels; c++)
      for (u = 0; u < p; u++)
        for (v = 0; v < p; v++)
          sum += w->v[((d * channels + c) * p + u) * p + v] *
                 x->v[((i / (side * side * dim[1]) * channels + c) * x->dim[2] + row * p + u) *
                      x->dim[3] + col * p + v];
    y->v[i] = sum;
  }
}

/* Runs softmax and layer norm, along the last axis. */
static void run_rows(const node *n, const value *x, const value *w, const value *b) {
  size_t d = x->dim[x->ndim - 1], i, j;
  value *y = result(n->out[0], x->ndim, x->dim);
  if (n->axis != -1) bad |= 1 << 18;
  for (i = 0; i < elements(y); i += d) {
    double mean = 0, square = 0, most = x->v[i], sum = 0;
    for (j = 0; j < d; j++) mean += x->v[i + j] / (double)d;
    for (j = 0; j < d; j++) square += (x->v[i + j] - mean) * (x->v[i + j] - mean) / (double)d;
    for (j = 0; j < d; j++) if (x->v[i + j] > most) most = x->v[i + j];
    for (j = 0; j < d; j++) sum += exp(x->v[i + j] - most);
    for (j = 0; j < d; j++)
      y->v[i + j] = w ? (x->v[i + j] - mean) / sqrt(square + n->epsilon) * w->v[j] + b->v[j]
                      : exp(x->v[i + j] - most) / sum;
  }
}

static void run_transpose(const node *n, const value *x) {
  size_t dim[5] = {1, 1, 1, 1, 1}, i, at[5];
  value *y;
  int k;
  if (n->listed != x->ndim) bad |= 1 << 19;
  for (k = 0; k < n->listed; k++) dim[k] = x->dim[n->list[k]];
  y = result(n->out[0], x->ndim, dim);
  for (i = 0; i < elements(y) && !bad; i++) {
    size_t rest = i, from = 0;
    for (k = y->ndim - 1; k >= 0; k--) {
      at[n->list[k]] = rest % y->dim[k];
      rest /= y->dim[k];
    }
    for (k = 0; k < x->ndim; k++) from = from * x->dim[k] + at[k];
    y->v[i] = x->v[from];
  }
}

static void run_reshape(const node *n, const value *x, const value *shape) {
  size_t dim[5] = {0}, k;
  value *y;
  for (k = 0; k < shape->dim[0]; k++) {
    dim[k] = shape->v[k] > 0 ? (size_t)shape->v[k] : x->dim[k];
    if (shape->v[k] < 0 || !shape->whole) bad |= 1 << 20;
  }
  y = result(n->out[0], (int)shape->dim[0], dim);
  if (elements(y) != elements(x)) bad |= 1 << 20;
  else memcpy(y->v, x->v, elements(x) * sizeof *y->v);
}

/* Runs split along the last of three axes, pad and gather along the middle one. */
static void run_tokens(const node *n, const value *x, const value *arg) {
  size_t b = x->dim[0], rows = x->dim[1], d = x->dim[2], dim[3], i, first = 0;
  int k;
  value *y;
  dim[0] = b; dim[1] = rows; dim[2] = d;
  if (!arg->whole || x->ndim != 3) bad |= 1 << 21;
  if (strcmp(n->op, "Split") == 0) {
    for (k = 0; k < n->outs; k++, first += dim[2]) {
      dim[2] = (size_t)arg->v[k];
      y = result(n->out[k], 3, dim);
      for (i = 0; i < elements(y); i++) y->v[i] = x->v[i / dim[2] * d + first + i % dim[2]];
    }
    if (first != d || n->axis != 2 || n->outs != (int)arg->dim[0]) bad |= 1 << 21;
  } else if (strcmp(n->op, "Pad") == 0) {
    first = (size_t)arg->v[1];
    for (i = 0; i < 6; i++) if (i != 1 && arg->v[i] != 0) bad |= 1 << 21;
    dim[1] += first;
    y = result(n->out[0], 3, dim);
    for (i = 0; i < elements(x); i++)
      y->v[i / (rows * d) * dim[1] * d + first * d + i % (rows * d)] = x->v[i];
  } else {
    dim[1] = d;
    y = result(n->out[0], 2, dim);
    for (i = 0; i < elements(y); i++)
      y->v[i] = x->v[(i / d * rows + (size_t)arg->v[0]) * d + i % d];
    if (n->axis != 1 || arg->ndim != 0) bad |= 1 << 21;
  }
}

static void run_node(const node *n) {
  value *a[3] = {NULL, NULL, NULL};
  size_t i;
  int k;
  for (k = 0; k < n->ins; k++) {
    a[k] = find(n->in[k]);
    if (!a[k]) { bad |= 1 << 22; return; } /* used before it is there */
    a[k]->used = 1;
  }
  if (strcmp(n->op, "Add") == 0 || strcmp(n->op, "Mul") == 0 || strcmp(n->op, "Div") == 0)
    run_binary(n, a[0], a[1]);
  else if (strcmp(n->op, "MatMul") == 0) run_matmul(n, a[0], a[1]);
  else if (strcmp(n->op, "Conv") == 0) run_conv(n, a[0], a[1], a[2]);
  else if (strcmp(n->op, "LayerNormalization") == 0) run_rows(n, a[0], a[1], a[2]);
  else if (strcmp(n->op, "Softmax") == 0) run_rows(n, a[0], NULL, NULL);
  else if (strcmp(n->op, "Transpose") == 0) run_transpose(n, a[0]);
  else if (strcmp(n->op, "Reshape") == 0) run_reshape(n, a[0], a[1]);
  else if (strcmp(n->op, "Split") == 0 || strcmp(n->op, "Pad") == 0 ||
           strcmp(n->op, "Gather") == 0) run_tokens(n, a[0], a[1]);
  else if (strcmp(n->op, "Erf") == 0) {
    value *y = result(n->out[0], a[0]->ndim, a[0]->dim);
    for (i = 0; i < elements(y); i++) y->v[i] = erf(a[0]->v[i]);
  } else bad |= 1 << 23;
}

/* -------------------------------------------------------------------------------------------------
 * Networks
 * ---------------------------------------------------------------------------------------------- */

static bdpt_context ctx;

/* Makes a network whose every parameter matters: no zeros, no ones. */
static bdpt_model *make(const bdpt_config *config) {
  bdpt_model *m = bdpt_model_create(&ctx, config, 3);
  bdpt_rng r = {7};
  int i;
  size_t k;
  for (i = 0; m && i < m->slots; i++)
    for (k = 0; m->param[i].data && k < m->param[i].count; k++)
      m->param[i].data[k] = (bdpt_real)(0.15 * bdpt_normal(&r) + 0.5 * (m->param[i].ndim == 1));
  return m;
}

static bdpt_config small(void) {
  bdpt_config c;
  memset(&c, 0, sizeof c);
  c.image = 12; c.patch = 4; c.width = 20; c.depth = 3; c.heads = 5; c.mlp = 28; c.classes = 7;
  return c;
}

static void check_structure(const bdpt_model *m, size_t count) {
  const bdpt_config *c = &m->config;
  int i, unused = 0, blocks = 0, attentions = 0, gelus = 0;
  for (i = 0; i < value_count; i++)
    if (!values[i].used && strcmp(values[i].name, "logits") != 0) unused++;
  for (i = 0; i < node_count; i++) {
    attentions += strcmp(nodes[i].op, "Softmax") == 0;
    gelus += strcmp(nodes[i].op, "Erf") == 0;
  }
  for (i = 0; i < c->depth; i++) {
    const bdpt_block *b = &c->block[i];
    int gone = b->mlp_state != BDPT_MLP_KEPT;
    blocks += b->attention == BDPT_ATTENTION_KEPT;
    gelus -= b->mlp_state <= BDPT_MLP_LINEAR && !gone;
    gelus -=
        gone && (c->extra_gelu == 2 || (c->extra_gelu == 1 && b->attention != BDPT_ATTENTION_KEPT));
  }
  CHECK(unused == 0);
  CHECK(attentions == blocks);
  CHECK(gelus == 0);
  CHECK(!find("root2") || find("root2")->v[0] == (double)(float)sqrt(2.0));
  CHECK(ir == 8 && opset == 17 && pairs == 1);
  CHECK(strcmp(input_name, "images") == 0 && strcmp(output_name, "logits") == 0);
  CHECK(input_dim[0] == -1 && input_dim[1] == c->channels && input_dim[2] == c->image &&
        input_dim[3] == c->image);
  CHECK(output_dim[0] == -1 && output_dim[1] == c->classes);
  CHECK(find("logits") && find("logits")->ndim == 2 && find("logits")->dim[0] == count &&
        find("logits")->dim[1] == (size_t)c->classes);
}

/* Writes m, reads it, runs it on `count` images and compares. */
static void check_once(bdpt_model *m, size_t count) {
  static const char *const key[] = {"name"}, *const text[] = {"value"};
  size_t dim[4], n, i, size;
  unsigned char *bytes;
  bdpt_tape *tape = bdpt_tape_create(&ctx, BDPT_TAPE_COMPUTE);
  bdpt_real *images, *logits;
  double worst = 0, most = 1e-3;
  value *x;
  int k;
  dim[0] = count; dim[1] = (size_t)m->config.channels; dim[2] = dim[3] = (size_t)m->config.image;
  n = count * dim[1] * dim[2] * dim[3];
  images = (bdpt_real *)calloc(n, sizeof *images);
  logits = (bdpt_real *)calloc(count * (size_t)m->config.classes, sizeof *logits);
  for (i = 0; i < n; i++) images[i] = (bdpt_real)sin((double)(i * i % 1009));
  CHECK(bdpt_predict(m, tape, count, images, logits) == BDPT_OK);
  if (!CHECK(onnx_build(m, key, text, 1, &bytes, &size) == BDPT_OK)) puts(ctx.message);
  read_model(bytes, size);
  CHECK(bad == 0);
  x = result("images", 4, dim);
  for (i = 0; i < n; i++) x->v[i] = (double)images[i];
  for (k = 0; k < node_count && !bad; k++) run_node(&nodes[k]);
  if (!CHECK(bad == 0)) printf("  mark %d in node %d, %s\n", bad, k, nodes[k ? k - 1 : 0].name);
  else check_structure(m, count);
  x = find("logits");
  for (i = 0; x && i < count * (size_t)m->config.classes; i++) {
    if (fabs(x->v[i]) > most) most = fabs(x->v[i]);
    if (!(fabs(x->v[i] - (double)logits[i]) <= worst)) worst = fabs(x->v[i] - (double)logits[i]);
  }
  CHECK(x != NULL);
  CHECK_CLOSE(worst / most, 0, 2e-6);
  free(bytes);
  free(images);
  free(logits);
  bdpt_tape_free(tape);
}

static void check_config(const bdpt_config *c) {
  bdpt_model *m = make(c);
  if (!CHECK(m != NULL)) {
    puts(ctx.message);
    return;
  }
  check_once(m, 1);
  check_once(m, 3);
  bdpt_model_free(m);
}

TEST(plain) {
  bdpt_config c = small();
  check_config(&c);
  c.distilled = 1;
  check_config(&c);
  c.channels = 1; c.eps = 0.01;
  check_config(&c);
}

/* Heads, head sizes, MLP widths and scales may differ, and no block be as wide as the stream. */
TEST(unequal) {
  bdpt_config c = small();
  c.block[0].heads = 3; c.block[0].head_dim = 7; c.block[0].mlp = 11;
  c.block[1].heads = 1; c.block[1].head_dim = 2; c.block[1].scale = 0.9;
  c.block[2].mlp = 50;
  check_config(&c);
}

TEST(removed) {
  int form, gelu, fused;
  for (form = 0; form < 3; form++)
    for (gelu = 0; gelu < 3; gelu++)
      for (fused = 0; fused < 2; fused++) {
        bdpt_config c = small();
        c.attn_form = (bdpt_attn_form)form; c.extra_gelu = (bdpt_extra_gelu)gelu;
        c.block[0].attention = BDPT_ATTENTION_REMOVED;
        c.block[1].attention = BDPT_ATTENTION_REMOVED;
        c.block[1].mlp_state = BDPT_MLP_LINEAR;
        c.block[2].mlp_state = fused ? BDPT_MLP_FUSED : BDPT_MLP_LINEAR;
        check_config(&c);
      }
}

TEST(fitted) {
  bdpt_config c = small();
  c.block[0].attention = BDPT_ATTENTION_FITTED;
  c.block[1].mlp_state = BDPT_MLP_FITTED;
  check_config(&c);
  c.block[0].mlp_state = BDPT_MLP_FITTED;
  c.distilled = 1;
  check_config(&c);
}

/* Not one GELU is left, nor a token of attention. */
TEST(everything_gone) {
  bdpt_config c = small();
  int l;
  for (l = 0; l < 3; l++) {
    c.block[l].attention = BDPT_ATTENTION_REMOVED;
    c.block[l].mlp_state = BDPT_MLP_LINEAR;
    c.block[l].mlp_state = BDPT_MLP_FUSED;
  }
  check_config(&c);
}

/* The network is as the library makes it: pruned and fused by its own functions. */
TEST(pruned_and_fused) {
  bdpt_config c = small();
  bdpt_model *m = make(&c);
  CHECK(bdpt_prune(m, BDPT_ATTENTION, 1) == BDPT_OK);
  CHECK(bdpt_prune(m, BDPT_ACTIVATION, 2) == BDPT_OK);
  check_once(m, 2);
  CHECK(bdpt_fuse_all(m) == BDPT_OK);
  check_once(m, 2);
  bdpt_model_free(m);
}

TEST(refused) {
  bdpt_config c = small();
  bdpt_model *m = make(&c);
  bdpt_tensor *w = &m->param[BDPT_SLOT(1, BDPT_SLOT_FC1_W)];
  size_t keep = w->shape[0], size = 1;
  unsigned char *bytes = NULL;
  bdpt_real number = w->data[5];
  w->data[5] = (bdpt_real)NAN;
  CHECK(onnx_build(m, NULL, NULL, 0, &bytes, &size) == BDPT_E_NUMERIC);
  CHECK(!bytes && size == 0);
  CHECK_HAS(ctx.message, "blocks.1.mlp.fc1.weight");
  bdpt_clear_error(&ctx);
  w->data[5] = number;
  w->shape[0] = (size_t)1 << 28; /* 20 x 2^28 floats: nothing may be read before the sizes are */
  CHECK(onnx_build(m, NULL, NULL, 0, &bytes, &size) == BDPT_E_ARGUMENT);
  CHECK(!bytes && size == 0);
  CHECK_HAS(ctx.message, "2 GB");
  bdpt_clear_error(&ctx);
  w->shape[0] = SIZE_MAX / w->shape[1] + 2; /* a product that overflows to a small number */
  CHECK(onnx_build(m, NULL, NULL, 0, &bytes, &size) == BDPT_E_ARGUMENT);
  bdpt_clear_error(&ctx);
  w->shape[0] = keep;
  CHECK(onnx_build(m, NULL, NULL, 0, &bytes, &size) == BDPT_OK);
  free(bytes);
  bdpt_model_free(m);
}

TEST(varints) {
  static const uint64_t v[] = {0, 127, 128, 16383, 16384, 0x7fffffff, UINT64_MAX};
  static const size_t length[] = {1, 1, 2, 2, 3, 5, 10};
  unsigned char digit[10];
  size_t i;
  for (i = 0; i < 7; i++) {
    span s;
    s.at = digit;
    s.end = digit + onnx_digits(v[i], digit);
    CHECK((size_t)(s.end - s.at) == length[i]);
    bad = 0;
    CHECK(take_varint(&s) == v[i] && s.at == s.end && !bad);
  }
}

int main(void) {
  bdpt_init(&ctx);
  RUN(varints);
  RUN(plain);
  RUN(unequal);
  RUN(removed);
  RUN(fitted);
  RUN(everything_gone);
  RUN(pruned_and_fused);
  RUN(refused);
  forget();
  bdpt_finish(&ctx);
  return TEST_END("test_onnx");
}
