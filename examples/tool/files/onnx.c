/* =================================================================================================
 * onnx.c: a network as an ONNX file, without protobuf
 * =================================================================================================
 * ONNX is how a network leaves for other programs: ONNX Runtime, OpenVINO, TensorRT, ncnn read it.
 * A file is one protobuf message, a ModelProto, and of protobuf a writer needs two things: whole
 * numbers in base 128, and messages inside messages, each preceded by its length.
 *
 *     model:  version, producer, operator set, metadata, graph
 *     graph:  initialisers (the weights), nodes in the order of computation, one input, one output
 *
 * The input is images[batch,C,H,W], normalised, with batch left open; the output logits[batch,K].
 * Every layer that was removed is simply not there, so the file is as small and as fast as the
 * network is. What a node computes stands beside the call that writes it; `math` is chapter 7's.
 *
 * Three choices:
 *   - Operator set 17, the first with LayerNormalization. Gelu came with 20, but erf in five nodes
 *     is what every exporter has written for years; the runtimes know the pattern and put it
 *     together again, and readers that stop at 17 can read it too.
 *   - y = x W^T + b is MatMul and Add, with W stored transposed ("weight_t"), as MatMul wants it.
 *   - Class token and positions: the patches get one row of zeros in front (Pad) and one sum. The
 *     usual way, to repeat the class token for each image, needs the batch size as a value in the
 *     graph, which some readers refuse. The token is added to the first position instead, in the
 *     same order as the library adds it, so no bit changes.
 *
 * The weights are float, whatever bdpt_real is. The file is built in one block of exactly its size:
 * together with the network that is twice the size of the file.
 */
#include "../../../boundarydpt.h"
#include "../cli/messages.h"
#include "onnx.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* =================================================================================================
 * 1  PROTOBUF                                                                           >>protobuf
 * =================================================================================================
 * A message is a row of fields: a key, 8 * number + kind rounded into base 128, then the value. Of
 * the kinds we write 0, a number in base 128 with the low digits first and the top bit meaning
 * "more follows"; 2, a length and so many bytes; and 5, four bytes of a float.
 *
 * The length of a message comes before it and is known after it. Our messages are small, all but
 * the weights, so a message is written first and then moved to make room for its length.
 */
typedef struct onnx_bytes {
  unsigned char *data;    /* malloc'd */
  size_t used, room;
  int failed;             /* out of memory: everything after is without effect */
} onnx_bytes;

/* Makes room for n more bytes; returns where they go, or NULL. */
static unsigned char *onnx_more(onnx_bytes *b, size_t n) {
  if (b->failed) return NULL;
  if (b->room - b->used < n) {
    size_t room = 2 * (b->used + n) + 256;
    unsigned char *bigger = (unsigned char *)realloc(b->data, room);
    if (!bigger) {
      b->failed = 1;
      return NULL;
    }
    b->data = bigger;
    b->room = room;
  }
  b->used += n;
  return b->data + b->used - n;
}

static void onnx_raw(onnx_bytes *b, const void *from, size_t n) {
  unsigned char *to = onnx_more(b, n);
  if (to && n) memcpy(to, from, n);
}

size_t onnx_digits(uint64_t v, unsigned char out[10]) {
  size_t n = 0;
  for (; v > 127; v >>= 7) out[n++] = (unsigned char)(128 | (v & 127));
  out[n++] = (unsigned char)v;
  return n;
}

static void onnx_varint(onnx_bytes *b, uint64_t v) {
  unsigned char digit[10];
  onnx_raw(b, digit, onnx_digits(v, digit));
}

static void onnx_key(onnx_bytes *b, int field, int kind) {
  onnx_varint(b, (uint64_t)(8 * field + kind));
}

/* Writes a field with a whole number. Negative ones have all 64 bits, as protobuf's int64 wants
 * them. */
static void onnx_whole(onnx_bytes *b, int field, int64_t v) {
  onnx_key(b, field, 0);
  onnx_varint(b, (uint64_t)v);
}

static void onnx_text(onnx_bytes *b, int field, const char *s) {
  onnx_key(b, field, 2);
  onnx_varint(b, strlen(s));
  onnx_raw(b, s, strlen(s));
}

static void onnx_put32(unsigned char *to, float v) {
  uint32_t bits;
  int i;
  memcpy(&bits, &v, sizeof bits);
  for (i = 0; i < 4; i++) to[i] = (unsigned char)(bits >> (8 * i));
}

static void onnx_float(onnx_bytes *b, int field, double v) {
  unsigned char *to;
  onnx_key(b, field, 5);
  to = onnx_more(b, 4);
  if (to) onnx_put32(to, (float)v);
}

/* Opens a message as a field; its fields follow, and what this returns closes it. */
static size_t onnx_open(onnx_bytes *b, int field) {
  onnx_key(b, field, 2);
  return b->used;
}

static void onnx_close(onnx_bytes *b, size_t start) {
  unsigned char digit[10];
  size_t length = b->used - start, n = onnx_digits(length, digit);
  if (!onnx_more(b, n)) return;
  memmove(b->data + start + n, b->data + start, length);
  memcpy(b->data + start, digit, n);
}

/* =================================================================================================
 * 2  THE GRAPH                                                                             >>graph
 * =================================================================================================
 * Nodes are written as soon as they are known. Weights are only listed: their bytes go straight
 * from the network into the file at the end.
 */
enum { ONNX_OPSET = 17, ONNX_IR = 8, ONNX_FLOAT = 1, ONNX_INT64 = 7 };
enum { ONNX_PLAIN, ONNX_TURNED, ONNX_TOKENS, ONNX_NUMBER, ONNX_SHAPE };

typedef struct onnx_name { char text[64]; } onnx_name;

/* One initialiser. PLAIN and TURNED read data; TOKENS reads the network; NUMBER is one value, SHAPE
 * up to five whole ones. */
typedef struct onnx_weight {
  onnx_name name;
  int kind, ndim;
  size_t dim[4];
  const bdpt_real *data;
  double value;
  int64_t whole[8];
} onnx_weight;

enum { ONNX_MOST = BDPT_MAX_SLOTS + 4 * BDPT_MAX_DEPTH + 16 };

typedef struct onnx_graph {
  const bdpt_model *m;
  onnx_bytes nodes;
  size_t open;            /* start of the node that still takes attributes, 0: none */
  int weights;
  onnx_weight weight[ONNX_MOST];
} onnx_graph;

CLI_PRINTF(1, 2)
static onnx_name onnx_named(const char *format, ...) {
  onnx_name n;
  va_list args;
  va_start(args, format);
  vsnprintf(n.text, sizeof n.text, format, args);
  va_end(args);
  return n;
}

static void onnx_end_node(onnx_graph *g) {
  if (g->open) onnx_close(&g->nodes, g->open);
  g->open = 0;
}

/* Writes a node (NodeProto) with up to three inputs, "" for none; its one output gives it its
 * name. What follows until the next node are its attributes. */
static onnx_name onnx_node(onnx_graph *g, const char *op, onnx_name out, const char *a,
                           const char *b, const char *c) {
  const char *in[3];
  int i;
  in[0] = a; in[1] = b; in[2] = c;
  onnx_end_node(g);
  g->open = onnx_open(&g->nodes, 1);
  for (i = 0; i < 3 && *in[i]; i++) onnx_text(&g->nodes, 1, in[i]);
  onnx_text(&g->nodes, 2, out.text);
  onnx_text(&g->nodes, 3, out.text);
  onnx_text(&g->nodes, 4, op);
  return out;
}

/* Writes attributes (AttributeProto): name, type, and the value in the field of its type. */
static void onnx_attribute(onnx_graph *g, const char *name, int64_t value) {
  size_t at = onnx_open(&g->nodes, 5);
  onnx_text(&g->nodes, 1, name);
  onnx_whole(&g->nodes, 3, value);
  onnx_whole(&g->nodes, 20, 2);
  onnx_close(&g->nodes, at);
}

static void onnx_attribute_real(onnx_graph *g, const char *name, double value) {
  size_t at = onnx_open(&g->nodes, 5);
  onnx_text(&g->nodes, 1, name);
  onnx_float(&g->nodes, 2, value);
  onnx_whole(&g->nodes, 20, 1);
  onnx_close(&g->nodes, at);
}

static void onnx_attribute_list(onnx_graph *g, const char *name, const int *value, int count) {
  size_t at = onnx_open(&g->nodes, 5);
  int i;
  onnx_text(&g->nodes, 1, name);
  for (i = 0; i < count; i++) onnx_whole(&g->nodes, 8, value[i]);
  onnx_whole(&g->nodes, 20, 7);
  onnx_close(&g->nodes, at);
}

/* Returns a new entry, or the one that has this name already: some weights are used twice. */
static onnx_weight *onnx_list_weight(onnx_graph *g, onnx_name name, int kind) {
  onnx_weight *w = g->weight;
  while (w < g->weight + g->weights && strcmp(w->name.text, name.text) != 0) w++;
  if (w == g->weight + g->weights) g->weights++;
  memset(w, 0, sizeof *w);
  w->name = name;
  w->kind = kind;
  return w;
}

/* Writes a parameter under its own name, or transposed as NAME_t. */
static onnx_name onnx_parameter(onnx_graph *g, int slot, int kind) {
  const bdpt_tensor *p = &g->m->param[slot];
  onnx_name name = onnx_named("%s%s", g->m->name[slot], kind == ONNX_TURNED ? "_t" : "");
  onnx_weight *w = onnx_list_weight(g, name, kind);
  int i;
  w->ndim = p->ndim;
  w->data = p->data;
  for (i = 0; i < p->ndim; i++) w->dim[i] = p->shape[kind == ONNX_TURNED ? p->ndim - 1 - i : i];
  return name;
}

static onnx_name onnx_number(onnx_graph *g, onnx_name name, double value) {
  onnx_list_weight(g, name, ONNX_NUMBER)->value = value;
  return name;
}

static onnx_name onnx_half(onnx_graph *g) { return onnx_number(g, onnx_named("half"), 0.5); }

/* Writes a list of whole numbers: the argument of Reshape, Split, Pad. */
static onnx_name onnx_shape(onnx_graph *g, onnx_name name, int count, const int *value) {
  onnx_weight *w = onnx_list_weight(g, name, ONNX_SHAPE);
  int i;
  w->ndim = 1;
  w->dim[0] = (size_t)count;
  for (i = 0; i < count; i++) w->whole[i] = value[i];
  return name;
}

/* =================================================================================================
 * 3  A VISION TRANSFORMER AS NODES                                                     >>onnx-model
 * =================================================================================================
 */

/* Returns "blocks.3.attn.qkv" of the weight's name "blocks.3.attn.qkv.weight". */
static onnx_name onnx_base(const onnx_graph *g, int slot) {
  onnx_name name = onnx_named("%s", g->m->name[slot]);
  char *end = strstr(name.text, ".weight");
  if (end) *end = 0;
  return name;
}

/* Writes y = x W^T + b. The output is called `out`, or like the layer if that is empty. */
static onnx_name onnx_linear(onnx_graph *g, int slot, onnx_name x, const char *out) {
  onnx_name base = onnx_base(g, slot), w = onnx_parameter(g, slot, ONNX_TURNED);
  int bias = g->m->param[slot + 1].data != NULL;
  onnx_name y = *out ? onnx_named("%s", out) : base;
  onnx_name product = bias ? onnx_named("%s.product", base.text) : y;
  product = onnx_node(g, "MatMul", product, x.text, w.text, "");
  if (!bias) return product;
  return onnx_node(g, "Add", y, product.text, onnx_parameter(g, slot + 1, ONNX_PLAIN).text, "");
}

/* Writes a layer norm. The last one is used twice in a distilled network, so the caller names the
 * output. */
static onnx_name onnx_norm(onnx_graph *g, int slot, onnx_name x, onnx_name out) {
  onnx_name w = onnx_parameter(g, slot, ONNX_PLAIN), b = onnx_parameter(g, slot + 1, ONNX_PLAIN);
  onnx_node(g, "LayerNormalization", out, x.text, w.text, b.text);
  onnx_attribute(g, "axis", -1);
  onnx_attribute_real(g, "epsilon", g->m->config.eps);
  return out;
}

/* Writes x (1 + erf(x / sqrt 2)) / 2. */
static onnx_name onnx_gelu(onnx_graph *g, onnx_name x, onnx_name out) {
  onnx_name root = onnx_number(g, onnx_named("root2"), 1.41421356237309504880), y;
  y = onnx_node(g, "Div", onnx_named("%s.scaled", out.text), x.text, root.text, "");
  y = onnx_node(g, "Erf", onnx_named("%s.erf", out.text), y.text, "", "");
  y = onnx_node(g, "Add", onnx_named("%s.gate", out.text), y.text,
                onnx_number(g, onnx_named("one"), 1).text, "");
  y = onnx_node(g, "Mul", onnx_named("%s.double", out.text), x.text, y.text, "");
  return onnx_node(g, "Mul", out, y.text, onnx_half(g).text, "");
}

/* Writes the activation of an MLP: GELU, max(0, x), or x sigmoid(p x + q x^3). */
static onnx_name onnx_activation(onnx_graph *g, onnx_name x, onnx_name out) {
  const bdpt_act act = g->m->config.act;
  const int cube = act == BDPT_GELU_TANH;
  const double p = cube ? 1.5957691216057308 : 1.702;
  onnx_name y = x;
  if (act == BDPT_GELU) return onnx_gelu(g, x, out);
  if (act == BDPT_RELU) return onnx_node(g, "Relu", out, x.text, "", "");
  if (cube) { /* x (1 + 0.044715 x^2) */
    y = onnx_node(g, "Mul", onnx_named("%s.square", out.text), x.text, x.text, "");
    y = onnx_node(g, "Mul", onnx_named("%s.part", out.text), y.text,
                  onnx_number(g, onnx_named("cubic"), 0.044715).text, "");
    y = onnx_node(g, "Add", onnx_named("%s.more", out.text), y.text,
                  onnx_number(g, onnx_named("one"), 1).text, "");
    y = onnx_node(g, "Mul", onnx_named("%s.inner", out.text), x.text, y.text, "");
  }
  y = onnx_node(g, "Mul", onnx_named("%s.scaled", out.text), y.text,
                onnx_number(g, onnx_named("steepness"), p).text, "");
  y = onnx_node(g, "Sigmoid", onnx_named("%s.gate", out.text), y.text, "", "");
  return onnx_node(g, "Mul", out, x.text, y.text, "");
}

static onnx_name onnx_transpose(onnx_graph *g, onnx_name out, onnx_name x, int a, int b, int c,
                                int d) {
  int order[4];
  order[0] = a; order[1] = b; order[2] = c; order[3] = d;
  onnx_node(g, "Transpose", out, x.text, "", "");
  onnx_attribute_list(g, "perm", order, d < 0 ? 3 : 4);
  return out;
}

/* Writes a Split into q, k and v, the only node with more than one output: the two others are added
 * to it. */
static void onnx_split(onnx_graph *g, int l, onnx_name qkv, onnx_name part[3]) {
  const bdpt_block *b = &g->m->config.block[l];
  int width[3], i;
  for (i = 0; i < 3; i++) {
    width[i] = b->heads * b->head_dim;
    part[i] = onnx_named("blocks.%d.attn.%c", l, "qkv"[i]);
  }
  onnx_node(g, "Split", part[0], qkv.text,
            onnx_shape(g, onnx_named("blocks.%d.attn.split", l), 3, width).text, "");
  onnx_text(&g->nodes, 2, part[1].text);
  onnx_text(&g->nodes, 2, part[2].text);
  onnx_attribute(g, "axis", 2);
}

/* Writes u[B,N,D] -> softmax(Q K^T scale) V, the heads side by side, joined by proj -> [B,N,D]. A
 * 0 in the argument of Reshape keeps that axis, whatever the batch. */
static onnx_name onnx_attention(onnx_graph *g, int l, onnx_name u) {
  const bdpt_block *b = &g->m->config.block[l];
  int tokens = (int)g->m->param[BDPT_SLOT_POS].shape[1], apart[4] = {0}, joined[3] = {0}, i;
  onnx_name part[3], head[3], shape, x = onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_QKV_W), u, "");
  apart[1] = joined[1] = tokens; apart[2] = b->heads; apart[3] = b->head_dim;
  joined[2] = b->heads * b->head_dim;
  onnx_split(g, l, x, part);                                                   /* 3 [B,N,hd] */
  shape = onnx_shape(g, onnx_named("blocks.%d.attn.heads", l), 4, apart);
  for (i = 0; i < 3; i++) {
    x = onnx_node(g, "Reshape", onnx_named("%s.heads", part[i].text), part[i].text, shape.text, "");
    head[i] = onnx_named("%s.turned", part[i].text);
    if (i == 1) onnx_transpose(g, head[i], x, 0, 2, 3, 1);                     /* K [B,h,d,N] */
    else onnx_transpose(g, head[i], x, 0, 2, 1, 3);                            /* [B,h,N,d] */
  }
  x = onnx_node(g, "MatMul", onnx_named("blocks.%d.attn.products", l), head[0].text, head[1].text,
                "");                                                           /* [B,h,N,N] */
  x = onnx_node(g, "Mul", onnx_named("blocks.%d.attn.scores", l), x.text,
                onnx_number(g, onnx_named("blocks.%d.attn.scale", l), b->scale).text, "");
  x = onnx_node(g, "Softmax", onnx_named("blocks.%d.attn.softmax", l), x.text, "", "");
  onnx_attribute(g, "axis", -1);
  x = onnx_node(g, "MatMul", onnx_named("blocks.%d.attn.values", l), x.text, head[2].text, "");
  x = onnx_transpose(g, onnx_named("blocks.%d.attn.values.turned", l), x, 0, 2, 1, 3);
  shape = onnx_shape(g, onnx_named("blocks.%d.attn.join", l), 3, joined);
  x = onnx_node(g, "Reshape", onnx_named("blocks.%d.attn.joined", l), x.text, shape.text, "");
  return onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_PROJ_W), x, "");                /* [B,N,D] */
}

/* Writes x + MHSA(LN1(x)), or what is left of it: x + LN1(x), x, 2x, x + map(LN1(x)). */
static onnx_name onnx_attention_half(onnx_graph *g, int l, onnx_name x) {
  const bdpt_config *c = &g->m->config;
  const bdpt_block *b = &c->block[l];
  int gone = b->attention == BDPT_ATTENTION_REMOVED;
  onnx_name y = x, u;
  if (gone && c->attn_form == BDPT_ATTN_SKIP) return x;
  if (!gone || c->attn_form == BDPT_ATTN_NORM) {
    u = onnx_named("blocks.%d.norm1", l);
    y = u = onnx_norm(g, BDPT_SLOT(l, BDPT_SLOT_NORM1_W), x, u);
    if (b->attention == BDPT_ATTENTION_KEPT) y = onnx_attention(g, l, u);
    if (b->attention == BDPT_ATTENTION_FITTED)
      y = onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_AFIT_W), u, "");
  }
  return onnx_node(g, "Add", onnx_named("blocks.%d.middle", l), x.text, y.text, "");
}

/* Writes x + W2 GELU(W1 LN2(x) + b1) + b2, without the GELU, or x + W LN2(x) + b. */
static onnx_name onnx_mlp_half(onnx_graph *g, int l, onnx_name x) {
  const bdpt_config *c = &g->m->config;
  const bdpt_block *b = &c->block[l];
  onnx_name y = onnx_named("blocks.%d.norm2", l), out = onnx_named("blocks.%d", l);
  int extra = b->mlp_state != BDPT_MLP_KEPT &&
              (c->extra_gelu == BDPT_GELU_ALWAYS ||
               (c->extra_gelu == BDPT_GELU_BOTH && b->attention != BDPT_ATTENTION_KEPT));
  y = onnx_norm(g, BDPT_SLOT(l, BDPT_SLOT_NORM2_W), x, y);
  if (b->mlp_state >= BDPT_MLP_FUSED) {
    y = onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_FUSED_W), y, "");
  } else {
    y = onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_FC1_W), y, "");
    if (b->mlp_state == BDPT_MLP_KEPT)
      y = onnx_activation(g, y, onnx_named("blocks.%d.mlp.act", l));
    y = onnx_linear(g, BDPT_SLOT(l, BDPT_SLOT_FC2_W), y, "");
  }
  if (!extra) return onnx_node(g, "Add", out, x.text, y.text, "");
  y = onnx_node(g, "Add", onnx_named("blocks.%d.sum", l), x.text, y.text, "");
  return onnx_gelu(g, y, out);
}

/* Writes images[B,C,H,W] -> patches[B,n,D] -> tokens[B,N,D]. */
static onnx_name onnx_embed(onnx_graph *g) {
  const bdpt_config *c = &g->m->config;
  const bdpt_tensor *pos = &g->m->param[BDPT_SLOT_POS];
  int first = bdpt_prefix_count(c), side[2], shape[3], pad[6] = {0};
  onnx_weight *w;
  onnx_name weight = onnx_parameter(g, BDPT_SLOT_PATCH_W, ONNX_PLAIN);
  onnx_name bias = onnx_named("%s", ""), x, y;
  if (!c->pre_norm) bias = onnx_parameter(g, BDPT_SLOT_PATCH_B, ONNX_PLAIN);
  x = onnx_node(g, "Conv", onnx_named("patch_embed"), "images", weight.text, bias.text);
  side[0] = side[1] = c->patch;
  onnx_attribute_list(g, "kernel_shape", side, 2);
  onnx_attribute_list(g, "strides", side, 2);
  shape[0] = 0; shape[1] = c->width; shape[2] = (int)pos->shape[1] - first;
  y = onnx_shape(g, onnx_named("patch_embed.shape"), 3, shape);
  x = onnx_node(g, "Reshape", onnx_named("patch_embed.flat"), x.text, y.text, ""); /* [B,D,n] */
  x = onnx_transpose(g, onnx_named("patch_embed.tokens"), x, 0, 2, 1, -1);
  pad[1] = first;
  y = onnx_shape(g, onnx_named("pos_embed.pad"), 6, pad);
  x = onnx_node(g, "Pad", onnx_named("patch_embed.padded"), x.text, y.text, "");
  w = onnx_list_weight(g, onnx_named("pos_embed"), ONNX_TOKENS);
  w->ndim = 3;
  memcpy(w->dim, pos->shape, 3 * sizeof *w->dim);
  x = onnx_node(g, "Add", onnx_named("tokens"), x.text, "pos_embed", "");
  return c->pre_norm ? onnx_norm(g, BDPT_SLOT_PRE_W, x, onnx_named("norm_pre")) : x;
}

/* Writes the mean of the patches: x[B,N,D] -> [B,D]. */
static onnx_name onnx_mean(onnx_graph *g, onnx_name x) {
  int first = bdpt_prefix_count(&g->m->config), axis = 1;
  onnx_name part[2], one = onnx_named("patches");
  int width[2];
  width[0] = first; width[1] = bdpt_token_count(&g->m->config) - first;
  if (first) { /* the second of two parts */
    part[0] = onnx_named("prefix"); part[1] = one;
    onnx_node(g, "Split", part[0], x.text,
              onnx_shape(g, onnx_named("patches.split"), 2, width).text, "");
    onnx_text(&g->nodes, 2, part[1].text);
    onnx_attribute(g, "axis", 1);
    x = part[1];
  }
  x = onnx_node(g, "ReduceMean", onnx_named("pool"), x.text, "", "");
  onnx_attribute_list(g, "axes", &axis, 1);
  onnx_attribute(g, "keepdims", 0);
  return x;
}

static onnx_name onnx_token(onnx_graph *g, onnx_name x, int which) {
  onnx_name index = onnx_named("token.%d.index", which);
  onnx_list_weight(g, index, ONNX_SHAPE)->whole[0] = which; /* a scalar, so Gather drops the axis */
  x = onnx_node(g, "Gather", onnx_named("token.%d", which), x.text, index.text, ""); /* [B,D] */
  onnx_attribute(g, "axis", 1);
  return x;
}

/* Writes what the class head reads: [B,D], or [B,2D]. */
static onnx_name onnx_pooled(onnx_graph *g, onnx_name x) {
  const bdpt_pooling pool = g->m->config.pool;
  onnx_name y;
  if (pool == BDPT_POOL_MEAN)
    return onnx_norm(g, BDPT_SLOT_FC_NORM_W, onnx_mean(g, x), onnx_named("fc_norm"));
  if (pool == BDPT_POOL_CLASS)
    return onnx_norm(g, BDPT_SLOT_NORM_W, onnx_token(g, x, 0), onnx_named("token.0.norm"));
  x = onnx_norm(g, BDPT_SLOT_NORM_W, x, onnx_named("norm"));
  y = onnx_mean(g, x);
  if (pool == BDPT_POOL_NORMED) return y;
  x = onnx_node(g, "Concat", onnx_named("pooled"), onnx_token(g, x, 0).text, y.text, "");
  onnx_attribute(g, "axis", 1);
  return x;
}

/* Writes the class head, or that of the distillation token; without one an Identity gives the
 * name. */
static onnx_name onnx_head(onnx_graph *g, onnx_name x, int which, const char *out) {
  if (which) x = onnx_norm(g, BDPT_SLOT_NORM_W, onnx_token(g, x, 1), onnx_named("token.1.norm"));
  else x = onnx_pooled(g, x);
  if (g->m->config.headless)
    return *out ? onnx_node(g, "Identity", onnx_named("%s", out), x.text, "", "") : x;
  return onnx_linear(g, which ? BDPT_SLOT_HEAD2_W : BDPT_SLOT_HEAD_W, x, out);       /* [B,K] */
}

static void onnx_network(onnx_graph *g) {
  const bdpt_config *c = &g->m->config;
  onnx_name x, y;
  int l;
  x = onnx_embed(g);
  for (l = 0; l < c->depth; l++) x = onnx_mlp_half(g, l, onnx_attention_half(g, l, x));
  y = onnx_head(g, x, 0, c->distilled ? "" : "logits");
  if (c->distilled) {
    x = onnx_head(g, x, 1, "");
    x = onnx_node(g, "Add", onnx_named("head.sum"), y.text, x.text, "");
    onnx_node(g, "Mul", onnx_named("logits"), x.text, onnx_half(g).text, "");
  }
  onnx_end_node(g);
}

/* =================================================================================================
 * 4  THE FILE                                                                          >>onnx-file
 * =================================================================================================
 * Everything but the weights is built as a small message first: what stands before them and what
 * behind. Then all sizes are known, one block is allocated, and the weights are written into it.
 */
static bdpt_status onnx_fail(bdpt_context *ctx, bdpt_status status, const char *what) {
  if (ctx->status != BDPT_OK) return ctx->status;
  snprintf(ctx->message, sizeof ctx->message, "onnx: %s", what);
  return ctx->status = status;
}

/* Returns the number of elements; 0 after an overflow. */
static size_t onnx_count(const onnx_weight *w) {
  size_t n = 1;
  int i;
  for (i = 0; i < w->ndim; i++) {
    if (w->dim[i] == 0 || n > SIZE_MAX / 16 / w->dim[i]) return 0;
    n *= w->dim[i];
  }
  return n;
}

/* Writes a ValueInfoProto: name, element type, shape; the first axis is the open one. */
static void onnx_value(onnx_bytes *b, int field, const char *name, int ndim, const int *dim) {
  size_t value = onnx_open(b, field), type, tensor, shape, axis;
  int i;
  onnx_text(b, 1, name);
  type = onnx_open(b, 2);
  tensor = onnx_open(b, 1);
  onnx_whole(b, 1, ONNX_FLOAT);
  shape = onnx_open(b, 2);
  for (i = 0; i < ndim; i++) {
    axis = onnx_open(b, 1);
    if (i == 0) onnx_text(b, 2, "batch");
    else onnx_whole(b, 1, dim[i]);
    onnx_close(b, axis);
  }
  onnx_close(b, shape);
  onnx_close(b, tensor);
  onnx_close(b, type);
  onnx_close(b, value);
}

/* Writes the fields of a graph that are not weights. */
static void onnx_graph_rest(onnx_bytes *b, const onnx_graph *g) {
  const bdpt_config *c = &g->m->config;
  int image[4], logits[2];
  image[0] = logits[0] = 0; image[1] = c->channels;
  image[2] = c->image; image[3] = bdpt_image_width(c);
  logits[1] = c->classes;
  onnx_raw(b, g->nodes.data, g->nodes.used);
  onnx_text(b, 2, "vit");
  onnx_value(b, 11, "images", 4, image);
  onnx_value(b, 12, "logits", 2, logits);
}

/* Writes the fields of a model that are not its graph. */
static void onnx_model_rest(onnx_bytes *b, const char *const *key, const char *const *value,
                            size_t pairs) {
  size_t i, at;
  onnx_whole(b, 1, ONNX_IR);
  onnx_text(b, 2, "boundarydpt");
  onnx_text(b, 3, bdpt_version());
  at = onnx_open(b, 8); /* OperatorSetIdProto; the domain "" is ONNX's own */
  onnx_text(b, 1, "");
  onnx_whole(b, 2, ONNX_OPSET);
  onnx_close(b, at);
  for (i = 0; i < pairs; i++) {
    at = onnx_open(b, 14);
    onnx_text(b, 1, key[i]);
    onnx_text(b, 2, value[i]);
    onnx_close(b, at);
  }
}

/* Writes the fields of a weight (TensorProto) up to its bytes; returns how many bytes follow. */
static size_t onnx_weight_head(onnx_bytes *b, const onnx_weight *w) {
  size_t bytes = onnx_count(w) * (w->kind == ONNX_SHAPE ? 8 : 4);
  int i;
  b->used = 0;
  for (i = 0; i < w->ndim; i++) onnx_whole(b, 1, (int64_t)w->dim[i]);
  onnx_whole(b, 2, w->kind == ONNX_SHAPE ? ONNX_INT64 : ONNX_FLOAT);
  onnx_text(b, 8, w->name.text);
  onnx_key(b, 9, 2);
  onnx_varint(b, bytes);
  return bytes;
}

/* Returns the i-th number of a weight. TOKENS: the positions, with the tokens' own vectors added to
 * their places. */
static double onnx_element(const onnx_graph *g, const onnx_weight *w, size_t i) {
  static const int token[3] = {BDPT_SLOT_CLS, BDPT_SLOT_DIST, BDPT_SLOT_REG};
  const bdpt_tensor *p = g->m->param;
  size_t at = i;
  int k = 0;
  if (w->kind == ONNX_NUMBER) return w->value;
  if (w->kind == ONNX_PLAIN) return (double)w->data[i];
  if (w->kind == ONNX_TURNED) return (double)w->data[i % w->dim[1] * w->dim[0] + i / w->dim[1]];
  for (; k < 3; at -= p[token[k++]].count) { /* a token that is not there has no numbers */
    const bdpt_tensor *t = &p[token[k]];
    if (t->data && at < t->count) return (double)(t->data[at] + p[BDPT_SLOT_POS].data[i]);
  }
  return (double)p[BDPT_SLOT_POS].data[i];
}

/* Returns 0 if a number is not finite. */
static int onnx_weight_body(const onnx_graph *g, const onnx_weight *w, unsigned char *to) {
  size_t n = onnx_count(w), i;
  int k;
  for (i = 0; i < n && w->kind == ONNX_SHAPE; i++)
    for (k = 0; k < 8; k++) to[8 * i + (size_t)k] = (unsigned char)((uint64_t)w->whole[i] >> 8 * k);
  for (i = 0; i < n && w->kind != ONNX_SHAPE; i++) {
    float v = (float)onnx_element(g, w, i);
    if (!(v - v == 0)) return 0;
    onnx_put32(to + 4 * i, v);
  }
  return 1;
}

typedef struct onnx_plan {
  onnx_bytes front, rest, head; /* model's fields, graph's fields, one weight's fields */
  size_t graph, total;
} onnx_plan;

/* Adds up all lengths. 0: the file would be beyond protobuf's limit of 2 GB less a byte. */
static int onnx_measure(const onnx_graph *g, onnx_plan *plan) {
  const size_t most = 0x7fffffff;
  unsigned char digit[10];
  int i;
  plan->graph = plan->rest.used;
  for (i = 0; i < g->weights; i++) {
    size_t bytes = onnx_weight_head(&plan->head, &g->weight[i]), one;
    if (bytes == 0 || bytes > most) return 0;
    one = plan->head.used + bytes;
    plan->graph += 1 + onnx_digits(one, digit) + one;
    if (plan->graph > most) return 0;
  }
  plan->total = plan->front.used + 1 + onnx_digits(plan->graph, digit) + plan->graph;
  return plan->total <= most;
}

static bdpt_status onnx_fill(const onnx_graph *g, onnx_plan *plan, unsigned char *data) {
  onnx_bytes file = {NULL, 0, 0, 0};
  bdpt_status s = BDPT_OK;
  int i;
  file.data = data;
  file.room = plan->total;
  onnx_raw(&file, plan->front.data, plan->front.used);
  onnx_key(&file, 7, 2);
  onnx_varint(&file, plan->graph);
  for (i = 0; i < g->weights && s == BDPT_OK; i++) {
    size_t bytes = onnx_weight_head(&plan->head, &g->weight[i]);
    onnx_key(&file, 5, 2);
    onnx_varint(&file, plan->head.used + bytes);
    onnx_raw(&file, plan->head.data, plan->head.used);
    if (!onnx_weight_body(g, &g->weight[i], onnx_more(&file, bytes))) {
      char what[120];
      snprintf(what, sizeof what, "%s holds a number that is not finite", g->weight[i].name.text);
      s = onnx_fail(g->m->ctx, BDPT_E_NUMERIC, what);
    }
  }
  onnx_raw(&file, plan->rest.data, plan->rest.used);
  return s;
}

bdpt_status onnx_build(const bdpt_model *m, const char *const *key,
                       const char *const *value, size_t pairs, unsigned char **bytes,
                       size_t *size) {
  onnx_graph *g = (onnx_graph *)calloc(1, sizeof *g);
  onnx_plan plan;
  bdpt_status s = BDPT_OK;
  memset(&plan, 0, sizeof plan);
  *bytes = NULL;
  *size = 0;
  if (!g) return onnx_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  g->m = m;
  onnx_network(g);
  onnx_graph_rest(&plan.rest, g);
  onnx_model_rest(&plan.front, key, value, pairs);
  if (!onnx_measure(g, &plan))
    s = onnx_fail(m->ctx, BDPT_E_ARGUMENT, "the file would be larger than 2 GB, where protobuf "
                  "ends; export to safetensors has no such limit");
  if (s == BDPT_OK) *bytes = (unsigned char *)malloc(plan.total);
  if (g->nodes.failed || plan.rest.failed || plan.front.failed || plan.head.failed || !*bytes)
    s = onnx_fail(m->ctx, BDPT_E_MEMORY, "out of memory");
  if (s == BDPT_OK) s = onnx_fill(g, &plan, *bytes);
  if (s == BDPT_OK) *size = plan.total;
  if (s != BDPT_OK) {
    free(*bytes);
    *bytes = NULL;
  }
  free(plan.front.data);
  free(plan.rest.data);
  free(plan.head.data);
  free(g->nodes.data);
  free(g);
  return s;
}
