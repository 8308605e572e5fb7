/* boundarydpt.h - 0.1.0 - train, depth-prune and fuse vision transformers on a CPU, in one header.
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * A vision transformer alternates attention, where tokens exchange information, and an MLP, where
 * each token is transformed alone. BoundaryDPT removes whole attention layers and whole activations
 * (the GELU inside an MLP). Without its GELU the two linears of the MLP are one linear, so the
 * network becomes shallower and faster while no shape anywhere changes. Which layers go is decided
 * by accuracy AFTER recovery, and attention is never ranked against activations, because the two
 * types fail in opposite ways: losing an activation hurts at once and heals fast, losing attention
 * hardly hurts and heals badly. This file holds all of it: tensors, reverse-mode differentiation,
 * DeiT, training, the two observations, the accuracy predictor, both stages, fusing, files.
 *
 * It is NOT a framework: no GPU, no convolutions beyond patch embedding, no graph compiler, and one
 * family of networks. It needs libc and libm; with OpenMP it uses several cores.
 *
 * HOW TO USE IT. In exactly one C or C++ file:
 *
 *     #define BOUNDARYDPT_IMPLEMENTATION
 *     #include "boundarydpt.h"              cc -O2 -fopenmp program.c -lm
 *
 * A whole program (examples/embed.c; `make test` compiles it and compares what it prints):
 *
 *
 *
 * WHERE TO READ. Each chapter has a tag to search for:
 *
 *   >>guide      1  how to read, letters         >>train      9  data, optimiser, training
 *   >>contract   2  what the library promises    >>prune     10  removing, fusing, counting
 *   >>api        3  the declarations             >>map       11  the model accuracy predictor
 *   >>memory     4  memory, errors, random       >>method    12  observations and the two stages
 *   >>tape       5  tensors, differentiation     >>files     13  JSON, safetensors, checkpoints
 *   >>kernels    6  vector kernels
 *   >>ops        7  operations and their gradients
 *   >>deit       8  the vision transformer
 *
 * Start at >>tape if you know transformers, at >>deit if you know differentiation, and at >>prune
 * if you came for the paper. PAPER_NOTES.md maps every equation to a function, lists each DEVIATION,
 * and puts our figures beside the published ones.
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * Ten minutes: this page, >>prune, >>method. An hour: chapters 5, 7, 8, 10, 11, 12 in that order.
 * The kernels of chapter 6 can be taken on trust: each has a naive twin in tests/test_kernels.c.
 *
 * Letters mean the same thing everywhere, in code, comments, error messages and tests:
 *
 *   B  images in a batch      N  tokens of an image       D  width of a token
 *   h  attention heads        d  size of a head           F  hidden width of an MLP
 *   L  blocks, l a block      K  classes                  P  patch side;  C, H, W of an image
 *   R  rows of a matrix       I, O  inputs, outputs       m  mask of a layer: 1 kept, 0 removed
 *
 * Arrays are row-major and the last axis is contiguous, as in PyTorch. A linear's weight is (out,
 * in), so y = x W^T + b. `dx` stands beside `x` and is dL/dx. A comment that starts at column 0 is
 * the book; one inside a function says why. The word DEVIATION marks every place that differs from
 * the paper or from PyTorch on purpose.
 *
 * =================================================================================================
 * 2  CONTRACT                                                                           >>contract
 * =================================================================================================
 * Errors    Nothing exits, aborts or prints. A fallible call returns a bdpt_status or NULL, and the
 *           first error stays in the context as one sentence. A tape operation that gets NULL
 *           returns NULL, so a graph is checked once, at its end.
 * Memory    One allocator with a context pointer. A model's memory lives until bdpt_model_free, a
 *           step's memory until bdpt_tape_reset. Training allocates nothing after its first step.
 *           When an allocation fails nothing leaks.
 * Threads   No mutable global. Two contexts in two threads do not know of each other. The result of
 *           every call has the same bits for any number of OpenMP threads (for one binary on one
 *           machine; compilers and instruction sets may differ in the last digits).
 * Numbers   bdpt_real is float, or double with BDPT_REAL. GELU is exact (erf), eps and the image
 *           statistics belong to the model, own exp and erf make results independent of libm.
 * Files     Nothing in a file is trusted. Saving never leaves half a file under the final name.
 *
 * Macros, to be defined before the include that has BOUNDARYDPT_IMPLEMENTATION:
 *
 *   BDPT_REAL         float (default) or double; must be the same wherever the header is included
 *   BDPT_STATIC       every function private to this file; define it at every include
 *   BDPT_NO_STDIO     no file access: parse and build from memory
 *   BDPT_NO_OPENMP    one thread even if the compiler has OpenMP on
 */
#ifndef BOUNDARYDPT_H
#define BOUNDARYDPT_H

#define BDPT_VERSION_MAJOR 0
#define BDPT_VERSION_MINOR 1
#define BDPT_VERSION_PATCH 0
#define BDPT_VERSION "0.1.0"

#include <stddef.h>
#include <stdint.h>

/* Linkage. BDPT_STATIC makes every public function private to the file that includes it, so that
 * two libraries in one program can each carry their own copy. */
#if defined(__GNUC__) || defined(__clang__)
#define BDPTI_UNUSED __attribute__((unused))
#define BDPTI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define BDPTI_UNUSED
#define BDPTI_PRINTF(f, a)
#endif
#ifdef BDPT_STATIC
#define BDPT_API BDPTI_UNUSED static
#else
#define BDPT_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The number type of every tensor: float, or double for checking gradients and fusions. */
#ifndef BDPT_REAL
#define BDPT_REAL float
#endif
typedef BDPT_REAL bdpt_real;

/* =================================================================================================
 * 3  THE INTERFACE, IN THE ORDER OF AN OBJECT'S LIFE                                         >>api
 * =================================================================================================
 * 3.1  Status, errors, the context
 */

typedef enum bdpt_status {
  BDPT_OK = 0,
  BDPT_E_ARGUMENT = -1, /* a value that cannot be: negative size, unknown name, label too large */
  BDPT_E_SHAPE = -2,    /* two shapes do not fit; the message names both */
  BDPT_E_MEMORY = -3,   /* the allocator returned NULL, or a size overflowed size_t */
  BDPT_E_IO = -4,       /* open, read, write, flush, rename */
  BDPT_E_FORMAT = -5,   /* the bytes of a file break its format; the message gives the offset */
  BDPT_E_STATE = -6,    /* right call, wrong moment: removing what is removed already */
  BDPT_E_NUMERIC = -7,  /* a value that is not finite, named with its tensor and step */
  BDPT_CANCELLED = -8   /* a progress callback asked to stop; a checkpoint was written if named */
} bdpt_status;

/* Memory comes from one allocator with a context pointer. `free` is told the size again, so an
 * arena or a counting allocator needs no headers of its own. NULL functions mean malloc and free. */
typedef struct bdpt_allocator {
  void *(*alloc)(void *user, size_t bytes);
  void (*free)(void *user, void *pointer, size_t bytes);
  void *user;
} bdpt_allocator;

typedef enum bdpt_isa_choice {
  BDPT_ISA_BEST = 0, /* the widest that this processor runs */
  BDPT_ISA_PORTABLE = 1,
  BDPT_ISA_AVX2 = 2,
  BDPT_ISA_AVX512 = 3
} bdpt_isa_choice;

struct bdpti_isa;

/* Everything a program shares between its models. Fill a zeroed struct's first fields as you like,
 * call bdpt_init, and give the address to everything else. Two contexts do not know of each other;
 * one context belongs to one thread at a time (its kernels use `threads` OpenMP threads inside). */
typedef struct bdpt_context {
  bdpt_allocator allocator; /* zero: malloc and free */
  int threads;              /* 0: as many as OpenMP offers; 1 without OpenMP */
  int isa_wanted;           /* bdpt_isa_choice; 0: the best */
  bdpt_status status;       /* the first error, sticky until bdpt_clear_error */
  char message[400];        /* its sentence */
  const struct bdpti_isa *isa; /* the vector kernels in use */
  void *scratch;            /* one workspace, reused by every kernel */
  size_t scratch_bytes;
  size_t bytes_now, bytes_peak; /* what the allocator has handed out through this context */
} bdpt_context;

BDPT_API bdpt_status bdpt_init(bdpt_context *ctx);   /* after zeroing; resolves the defaults */
BDPT_API void bdpt_finish(bdpt_context *ctx);        /* frees the workspace; may be called twice */
BDPT_API void bdpt_clear_error(bdpt_context *ctx);
BDPT_API const char *bdpt_status_string(bdpt_status status);
BDPT_API const char *bdpt_version(void);
BDPT_API const char *bdpt_isa_name(const bdpt_context *ctx); /* "avx512", "avx2", "portable" */

/* Random numbers: a 64-bit counter hashed, see >>random. The state is the whole generator. */
typedef struct bdpt_rng { uint64_t state; } bdpt_rng;

/* ---- 3.2  Tensors and the tape --------------------------------------------------------------- */

#define BDPT_MAX_DIMS 4

/* A dense row-major array, last axis contiguous. A tensor that came from a tape lives until the
 * tape is reset; a parameter lives as long as its model. */
typedef struct bdpt_tensor {
  int ndim;
  size_t shape[BDPT_MAX_DIMS];
  size_t count;        /* product of the shape */
  bdpt_real *data;     /* [count] */
  bdpt_real *grad;     /* [count]; on a tape only inputs keep theirs after the backward pass */
  int wants_grad;      /* parameters in training, and everything computed from them */
  int on_tape;         /* 1: the tape owns data and grad; 0: a model or the caller does */
  const char *name;    /* for messages; may be NULL */
} bdpt_tensor;

typedef struct bdpt_tape bdpt_tape; /* opaque: records operations, owns what one step needs */

/* record = 0 makes a tape that only computes: nothing is kept for a backward pass. */
BDPT_API bdpt_tape *bdpt_tape_create(bdpt_context *ctx, int record);
BDPT_API void bdpt_tape_reset(bdpt_tape *tape);  /* forgets every tensor, keeps the memory */
BDPT_API void bdpt_tape_free(bdpt_tape *tape);   /* NULL is allowed */
BDPT_API size_t bdpt_tape_bytes(const bdpt_tape *tape); /* most that one step has used */
BDPT_API bdpt_context *bdpt_tape_context(const bdpt_tape *tape);

/* A tensor on the tape holding a copy of data[product of shape], or zeros when data is NULL. */
BDPT_API bdpt_tensor *bdpt_input(bdpt_tape *tape, int ndim, const size_t *shape,
                                 const bdpt_real *data, int wants_grad);

/* Operations. Each returns a new tensor on the tape, or NULL after recording one error that names
 * the shapes. NULL in gives NULL out, so a graph is checked once, at its end. */
BDPT_API bdpt_tensor *bdpt_linear(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *w, bdpt_tensor *b);
BDPT_API bdpt_tensor *bdpt_layernorm(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *gamma,
                                     bdpt_tensor *beta, double eps);
BDPT_API bdpt_tensor *bdpt_gelu(bdpt_tape *t, bdpt_tensor *x);
BDPT_API bdpt_tensor *bdpt_softmax(bdpt_tape *t, bdpt_tensor *x);
BDPT_API bdpt_tensor *bdpt_attention(bdpt_tape *t, bdpt_tensor *qkv, int heads, double scale);
BDPT_API bdpt_tensor *bdpt_patch_embed(bdpt_tape *t, bdpt_tensor *images, bdpt_tensor *w,
                                       bdpt_tensor *b);
BDPT_API bdpt_tensor *bdpt_tokens(bdpt_tape *t, bdpt_tensor *patches, bdpt_tensor *cls,
                                  bdpt_tensor *dist, bdpt_tensor *pos);
BDPT_API bdpt_tensor *bdpt_token(bdpt_tape *t, bdpt_tensor *x, size_t index);
BDPT_API bdpt_tensor *bdpt_add(bdpt_tape *t, bdpt_tensor *a, bdpt_tensor *b);
BDPT_API bdpt_tensor *bdpt_scale(bdpt_tape *t, bdpt_tensor *x, double factor);
BDPT_API bdpt_tensor *bdpt_drop_path(bdpt_tape *t, bdpt_tensor *x, double rate, bdpt_rng *rng);
BDPT_API bdpt_tensor *bdpt_mix(bdpt_tape *t, bdpt_tensor *f, bdpt_tensor *r, bdpt_tensor *m);
BDPT_API bdpt_tensor *bdpt_straight_through(bdpt_tape *t, bdpt_tensor *importance, double mask);
BDPT_API bdpt_tensor *bdpt_cross_entropy(bdpt_tape *t, bdpt_tensor *logits,
                                         const bdpt_real *targets);
BDPT_API bdpt_tensor *bdpt_distill_soft(bdpt_tape *t, bdpt_tensor *logits,
                                        const bdpt_real *teacher, double temperature);

/* Fills the gradients of everything that `loss` (one number) was computed from; an input that
 * nothing was added to keeps grad == NULL, which means zero. Parameters
 * accumulate into their grad, so zero them before a step (bdpt_model_zero_grad). With `seed` the
 * pass starts from dL/dout = seed[out->count] instead of 1. */
BDPT_API bdpt_status bdpt_backward(bdpt_tape *tape, bdpt_tensor *loss);
BDPT_API bdpt_status bdpt_backward_from(bdpt_tape *tape, bdpt_tensor *out, const bdpt_real *seed);

/* Compares the backward pass of a graph with central differences. `build` makes the graph from the
 * inputs each time it is called and must draw nothing at random. The loss is a fixed random
 * projection of the output. Returns the largest |analytic - numeric| / max(1e-3, |analytic|max,
 * |numeric|max) over the inputs in *error. Meaningful with BDPT_REAL double. */
typedef bdpt_tensor *(*bdpt_graph)(bdpt_tape *tape, bdpt_tensor *const *inputs, void *user);
BDPT_API bdpt_status bdpt_gradcheck(bdpt_context *ctx, bdpt_graph build, void *user,
                                    bdpt_tensor *const *inputs, int count, double *error);

/* ---- 3.3  Models ----------------------------------------------------------------------------- */

#define BDPT_MAX_DEPTH 64

enum { BDPT_ATTENTION = 0, BDPT_ACTIVATION = 1 };        /* the two prunable types of layer */
enum { BDPT_KEPT = 0, BDPT_REMOVED = 1, BDPT_FITTED = 2 }; /* bdpt_block.attention, .activation */
enum { BDPT_PAIR = 0, BDPT_FUSED = 1, BDPT_MLP_FITTED = 2 }; /* bdpt_block.mlp_form */
enum { BDPT_ATTN_NORM = 0, BDPT_ATTN_SKIP = 1, BDPT_ATTN_DOUBLE = 2 }; /* x + LN1(x), x, 2x */
enum { BDPT_GELU_NEVER = 0, BDPT_GELU_BOTH = 1, BDPT_GELU_ALWAYS = 2 }; /* extra GELU (code) */
enum { BDPT_POS_TIMM = 0, BDPT_POS_DEIT = 1 };           /* position embedding resize */

/* One transformer block as plain data. Zero sizes are filled from the model's on creation. */
typedef struct bdpt_block {
  int heads, head_dim; /* h, d; heads * head_dim need not be the width */
  int mlp;             /* hidden width F */
  double scale;        /* softmax scale; 0: 1/sqrt(head_dim) */
  int attention;       /* BDPT_KEPT, BDPT_REMOVED or BDPT_FITTED */
  int activation;      /* BDPT_KEPT or BDPT_REMOVED */
  int mlp_form;        /* BDPT_PAIR: two linears; BDPT_FUSED or BDPT_MLP_FITTED: one d x d map */
} bdpt_block;

/* A zero-filled config means DeiT-Tiny at 224 px with 1000 classes; resolved by bdpt_model_create
 * and readable in model->config. */
typedef struct bdpt_config {
  int image, patch, channels; /* 224, 16, 3 */
  int width, depth, heads;    /* 192, 12, 3 */
  int mlp;                    /* default hidden width; 0: 4 * width */
  int classes;                /* 1000 */
  int distilled;              /* 1: a distillation token and a second head */
  double eps;                 /* layer norm; 0: 1e-6, timm's */
  double mean[3], std[3];     /* image statistics; all zero: ImageNet's */
  int attn_form;              /* what a removed attention layer leaves */
  int extra_gelu;             /* the released code's extra GELU on the residual stream */
  int pos_resize;             /* how position embeddings are resized */
  bdpt_block block[BDPT_MAX_DEPTH];
} bdpt_config;

/* "deit_tiny_patch16_224", "deit_small_...", "deit_base_...", "deit_base_patch16_384", and the same
 * with "_distilled_" after the size. Returns BDPT_E_ARGUMENT for any other name. */
BDPT_API bdpt_status bdpt_config_named(bdpt_context *ctx, const char *name, bdpt_config *out);
/* Fills the zeros and checks the rest. bdpt_model_create calls it; harmless to call twice. */
BDPT_API bdpt_status bdpt_config_resolve(bdpt_context *ctx, bdpt_config *config);

/* Slots: where each parameter of a model is kept. Block l's slot s is BDPT_SLOTS_FIXED + l *
 * BDPT_SLOTS_BLOCK + s. A slot that the configuration does not use has data == NULL. */
enum {
  BDPT_SLOT_CLS, BDPT_SLOT_DIST, BDPT_SLOT_POS, BDPT_SLOT_PATCH_W, BDPT_SLOT_PATCH_B,
  BDPT_SLOT_NORM_W, BDPT_SLOT_NORM_B, BDPT_SLOT_HEAD_W, BDPT_SLOT_HEAD_B, BDPT_SLOT_HEAD2_W,
  BDPT_SLOT_HEAD2_B, BDPT_SLOTS_FIXED
};
enum {
  BDPT_SLOT_NORM1_W, BDPT_SLOT_NORM1_B, BDPT_SLOT_QKV_W, BDPT_SLOT_QKV_B, BDPT_SLOT_PROJ_W,
  BDPT_SLOT_PROJ_B, BDPT_SLOT_AFIT_W, BDPT_SLOT_AFIT_B, BDPT_SLOT_NORM2_W, BDPT_SLOT_NORM2_B,
  BDPT_SLOT_FC1_W, BDPT_SLOT_FC1_B, BDPT_SLOT_FC2_W, BDPT_SLOT_FC2_B, BDPT_SLOT_FUSED_W,
  BDPT_SLOT_FUSED_B, BDPT_SLOTS_BLOCK
};
#define BDPT_SLOT(l, s) (BDPT_SLOTS_FIXED + (l) * BDPT_SLOTS_BLOCK + (s))
#define BDPT_MAX_SLOTS (BDPT_SLOTS_FIXED + BDPT_MAX_DEPTH * BDPT_SLOTS_BLOCK)

typedef struct bdpt_model {
  bdpt_context *ctx;
  bdpt_config config;
  bdpt_tensor param[BDPT_MAX_SLOTS]; /* data NULL where unused; the model owns data and grad */
  char name[BDPT_MAX_SLOTS][40];     /* timm's names: "blocks.3.attn.qkv.weight" */
  int slots;                         /* BDPT_SLOTS_FIXED + depth * BDPT_SLOTS_BLOCK */
  bdpt_tensor importance[2][BDPT_MAX_DEPTH]; /* the trainable scalar of each layer, by type */
  bdpt_real importance_data[2][2][BDPT_MAX_DEPTH]; /* [value or gradient][type][layer] */
  char parent[65];                   /* hex digest of the dense network this one came from, or "" */
  char certificate[200];             /* what fusing cost, in one sentence, or "" */
  char preprocessing[100];           /* how its input images were made, or "" */
} bdpt_model;

/* Creates a model with fresh weights (truncated normal 0.02 for linears, tokens and positions as
 * timm does, ones and zeros for norms, zero biases) drawn from seed. NULL on failure. */
BDPT_API bdpt_model *bdpt_model_create(bdpt_context *ctx, const bdpt_config *config, uint64_t seed);
BDPT_API bdpt_model *bdpt_model_clone(const bdpt_model *model);
BDPT_API void bdpt_model_free(bdpt_model *model); /* NULL is allowed */
/* Makes `to` the same network as `from`: structure and values. On failure `to` is unchanged. */
BDPT_API bdpt_status bdpt_model_assign(bdpt_model *to, const bdpt_model *from);
BDPT_API size_t bdpt_model_bytes(const bdpt_config *resolved); /* of the active parameters */
/* 1 if the parameter takes part in the network as configured: a removed layer's does not. */
BDPT_API int bdpt_model_active(const bdpt_model *model, int slot);
/* 1 if weight decay applies, timm's rule: two axes or more, and no token or position embedding. */
BDPT_API int bdpt_model_decays(const bdpt_model *model, int slot);
/* Gradient memory for every active parameter (allocated once); and setting all of it to zero. */
BDPT_API bdpt_status bdpt_model_train_mode(bdpt_model *model);
BDPT_API void bdpt_model_zero_grad(bdpt_model *model);
/* Digest of every active parameter's bytes: 16 hex digits, equal for equal weights. */
BDPT_API void bdpt_model_hash(const bdpt_model *model, char out[17]);
/* A new classifier for `classes` classes, drawn from seed (pretrained heads rarely fit). */
BDPT_API bdpt_status bdpt_model_new_head(bdpt_model *model, int classes, uint64_t seed);
/* The same network at another input size: position embeddings resized as config.pos_resize says. */
BDPT_API bdpt_status bdpt_model_resize(bdpt_model *model, int image);

typedef struct bdpt_forward_options {
  int training;       /* 1: drop path active, both heads returned */
  double drop_path;   /* rate of the last block; grows linearly from 0 in the first */
  uint64_t seed;      /* of the drop-path masks; use a new one each step */
  int importance;     /* 1: mix every kept layer with its removal, so importance gets gradients */
} bdpt_forward_options;

/* images [B, channels, H, W], normalised -> logits [B, K]. A distilled model in training gives the
 * class head's logits and, in *dist (may be NULL), the distillation head's; otherwise the mean of
 * both. options NULL: evaluation. */
BDPT_API bdpt_tensor *bdpt_forward(bdpt_model *model, bdpt_tape *tape, bdpt_tensor *images,
                                   const bdpt_forward_options *options, bdpt_tensor **dist);

/* The same without a tape of your own: images [count,channels,H,W] -> logits [count,K], both the
 * caller's. `tape` is a non-recording tape that serves as workspace; it is reset. */
BDPT_API bdpt_status bdpt_predict(bdpt_model *model, bdpt_tape *tape, size_t count,
                                  const bdpt_real *images, bdpt_real *logits);

/* ---- 3.4  Removing and fusing ---------------------------------------------------------------- */

/* Each refuses, with the reason, what cannot be done: a layer out of range or already removed; a
 * restore after fusing; a fusion while the activation is in place. */
BDPT_API bdpt_status bdpt_prune(bdpt_model *model, int type, int layer);
BDPT_API bdpt_status bdpt_restore(bdpt_model *model, int type, int layer);
BDPT_API bdpt_status bdpt_fuse(bdpt_model *model, int layer);
BDPT_API bdpt_status bdpt_fuse_all(bdpt_model *model); /* every MLP whose activation is removed */
/* Removing one linear alone always fails; the message explains the dimension mismatch. */
BDPT_API bdpt_status bdpt_prune_linear(bdpt_model *model, int layer, int which);
BDPT_API int bdpt_removed(const bdpt_config *config, int type); /* how many layers are removed */

typedef struct bdpt_cost_report {
  size_t params;
  double macs;            /* multiply-accumulates per image, QK^T and AV products counted */
  double macs_no_matmul;  /* without them: the other published convention */
} bdpt_cost_report;
BDPT_API bdpt_status bdpt_cost(bdpt_context *ctx, const bdpt_config *config,
                               bdpt_cost_report *out);

/* ---- 3.5  Data ------------------------------------------------------------------------------- */

/* Images as bytes, channel planes [3][height][width], with a fine and a coarse label each. Either
 * all in memory (`pixels`), or made on demand by `fetch`, which must be callable from several
 * threads at once and return 0 on success. */
typedef struct bdpt_dataset {
  size_t count;
  int classes, coarse_classes, height, width;
  unsigned char *pixels;       /* [count][3][height][width], or NULL */
  unsigned short *label;       /* [count] */
  unsigned short *coarse;      /* [count], or NULL */
  int (*fetch)(void *user, size_t index, unsigned char *planes);
  void *user;
} bdpt_dataset;

/* A choice of a data set's images. The subset owns `index`. */
typedef struct bdpt_subset {
  const bdpt_dataset *data;
  size_t *index;
  size_t count;
} bdpt_subset;

/* CIFAR-100 binary: records of 3074 bytes (coarse, fine, 1024 red, green, blue). */
BDPT_API bdpt_status bdpt_cifar100_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                         const char *name, bdpt_dataset *out);
#ifndef BDPT_NO_STDIO
BDPT_API bdpt_status bdpt_cifar100_load(bdpt_context *ctx, const char *path, bdpt_dataset *out);
#endif
BDPT_API void bdpt_dataset_free(bdpt_context *ctx, bdpt_dataset *data);
/* `per_class` images of each class (chosen by seed) go to `held`, all others to `rest`. */
BDPT_API bdpt_status bdpt_split(bdpt_context *ctx, const bdpt_dataset *data, int per_class,
                                uint64_t seed, bdpt_subset *rest, bdpt_subset *held);
/* The first `count` of a seeded shuffle, the same number of each class as far as possible. */
BDPT_API bdpt_status bdpt_sample(bdpt_context *ctx, const bdpt_subset *from, size_t count,
                                 uint64_t seed, bdpt_subset *out);
BDPT_API bdpt_status bdpt_subset_all(bdpt_context *ctx, const bdpt_dataset *data,
                                     bdpt_subset *out);
BDPT_API void bdpt_subset_free(bdpt_context *ctx, bdpt_subset *subset);

/* Bicubic as Pillow does it on bytes: a = -0.5, antialiased when shrinking, rows first, rounded and
 * clipped to 8 bits after each pass. planes [channels][h][w] -> [channels][oh][ow]. */
BDPT_API bdpt_status bdpt_resize_bytes(bdpt_context *ctx, const unsigned char *in, int channels,
                                       int h, int w, unsigned char *out, int oh, int ow);

/* Images subset[first .. first+count) for evaluation: resized to config->image, normalised by its
 * statistics -> images [count][3][H][W], labels [count] (NULL allowed). */
BDPT_API bdpt_status bdpt_load_batch(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_subset *subset, size_t first, size_t count,
                                     bdpt_real *images, int *labels);

typedef struct bdpt_accuracy {
  size_t count;
  double top1, top5; /* per cent */
  double loss;       /* mean cross-entropy, nats */
} bdpt_accuracy;
BDPT_API bdpt_status bdpt_evaluate(bdpt_model *model, const bdpt_subset *data,
                                   bdpt_accuracy *out);

/* ---- 3.6  Training --------------------------------------------------------------------------- */

enum { BDPT_DISTILL_NONE = 0, BDPT_DISTILL_HARD = 1, BDPT_DISTILL_SOFT = 2 };

/* One struct holds a training recipe. Zero means the value in the comment; an augmentation at zero
 * is off. */
typedef struct bdpt_recipe {
  int epochs;             /* 1 */
  int batch;              /* 128 */
  size_t epoch_images;    /* images per epoch; 0: all of the training subset */
  double lr;              /* peak learning rate, 5e-4 */
  double min_lr;          /* end of each cosine, 0: lr / 100; negative: zero */
  double warmup_lr;       /* start of the warm-up, 0: 1e-6 */
  double warmup;          /* warm-up length in epochs, 0: none */
  double weight_decay;    /* 0: 0.05; negative: none */
  double beta1, beta2, adam_eps; /* 0.9, 0.999, 1e-8 */
  double clip;            /* largest gradient norm; 0: no clipping */
  double ema;             /* decay of the averaged weights; 0: none */
  double smoothing;       /* label smoothing */
  double mixup, cutmix;   /* Beta parameters; both on: `switch_prob` decides per batch */
  double switch_prob;     /* of cutmix when both are on, 0: 0.5 */
  double mix_prob;        /* probability that a batch is mixed at all, 0: 1 */
  int crop;               /* zero padding of the random crop, pixels of the source image */
  int flip;               /* 1: horizontal flip with probability 0.5 */
  double erase;           /* probability of erasing a random rectangle (noise, mode "pixel") */
  int repeats;            /* repeated augmentation: each image this often per epoch, 0: 1 */
  double drop_path;       /* stochastic depth of the last block */
  int distill;            /* BDPT_DISTILL_NONE, _HARD or _SOFT; needs a teacher */
  double distill_alpha;   /* weight of the distillation loss, 0: 0.5 */
  double distill_tau;     /* temperature of soft distillation, 0: 1 */
  int importance;         /* 1: train the importance scalars too (stage 1) */
  int restarts;           /* number of learning-rate restarts, at most BDPT_MAX_RESTARTS ... */
  double restart[40];     /* ... and the epochs at which the cosine starts again */
  uint64_t seed;          /* of everything random */
} bdpt_recipe;
#define BDPT_MAX_RESTARTS 40

BDPT_API void bdpt_recipe_resolve(bdpt_recipe *recipe); /* fills the zeros */
/* Learning rate at a point in time, measured in epochs from the start (fractions allowed). */
BDPT_API double bdpt_schedule(const bdpt_recipe *resolved, double epoch);

/* What a long call tells its caller. Return non-zero to stop; the call then saves its checkpoint
 * and returns BDPT_CANCELLED. */
typedef struct bdpt_progress {
  const char *phase;      /* "train", "evaluate", "recovery", "map", "search" */
  const char *detail;     /* what is under way, e.g. "remove attention 3"; may be "" */
  size_t done, total;     /* in `unit`s */
  const char *unit;       /* "images" */
  double loss, accuracy;  /* running values; NaN when there is none */
} bdpt_progress;
typedef struct bdpt_hooks {
  int (*progress)(const bdpt_progress *p, void *user); /* NULL: silent */
  void *user;
  const char *checkpoint; /* file to save to and resume from; NULL: none */
  double checkpoint_images; /* save after this many training images; 0: once per epoch */
} bdpt_hooks;

/* One epoch's line of a training log. */
typedef struct bdpt_epoch {
  int epoch;              /* 1-based */
  double lr, loss;        /* at the end; mean over the epoch */
  double grad_norm;       /* mean over the epoch, before clipping */
  bdpt_accuracy held;     /* on the held-out subset, count 0 if there is none */
} bdpt_epoch;

typedef struct bdpt_trainer bdpt_trainer; /* opaque: optimiser moments, step count, workspace */

/* Borrows model, teacher (or NULL) and train; they must outlive the trainer. */
BDPT_API bdpt_trainer *bdpt_trainer_create(bdpt_model *model, bdpt_model *teacher,
                                           const bdpt_subset *train, const bdpt_recipe *recipe);
BDPT_API void bdpt_trainer_free(bdpt_trainer *trainer);
/* One optimisation step; *loss may be NULL. Stops with BDPT_E_NUMERIC before the weights change if
 * the loss or a gradient is not finite, naming the tensor and the step. */
BDPT_API bdpt_status bdpt_trainer_step(bdpt_trainer *trainer, double *loss);
BDPT_API size_t bdpt_trainer_steps_done(const bdpt_trainer *trainer);
BDPT_API size_t bdpt_trainer_steps_per_epoch(const bdpt_trainer *trainer);
/* Mean |dL/dm| of each layer since the last call, [2][BDPT_MAX_DEPTH]; and the count of steps. */
BDPT_API size_t bdpt_trainer_importance(bdpt_trainer *trainer, double out[2][BDPT_MAX_DEPTH]);
/* Swaps weights and their moving average (recipe.ema); call again to swap back. */
BDPT_API void bdpt_trainer_swap_ema(bdpt_trainer *trainer);
/* Weights, moments, averages and counters, bit for bit, to and from memory (bdpt_release) or a file.
 * A trainer takes back only what a trainer with the same recipe, subset and network saved. */
BDPT_API bdpt_status bdpt_trainer_build(bdpt_trainer *trainer, unsigned char **bytes, size_t *size);
BDPT_API bdpt_status bdpt_trainer_parse(bdpt_trainer *trainer, const void *bytes, size_t size,
                                        const char *name);
#ifndef BDPT_NO_STDIO
BDPT_API bdpt_status bdpt_trainer_save(bdpt_trainer *trainer, const char *path);
BDPT_API bdpt_status bdpt_trainer_load(bdpt_trainer *trainer, const char *path);
#endif

/* The whole run: epochs, evaluation on `held` (may be NULL) after each, log[recipe epochs] (may be
 * NULL), checkpoints, resume. With recipe.ema the averaged weights are evaluated and, at the end,
 * stand in the model. */
BDPT_API bdpt_status bdpt_train(bdpt_model *model, bdpt_model *teacher, const bdpt_subset *train,
                                const bdpt_subset *held, const bdpt_recipe *recipe,
                                const bdpt_hooks *hooks, bdpt_epoch *log);

/* ---- 3.7  The two observations --------------------------------------------------------------- */

/* Gradient disparity: mean |dL/dm| per layer and type over `window` steps of training. */
typedef struct bdpt_disparity_row {
  size_t step;                          /* last step of the window */
  double loss;                          /* mean over the window */
  double gradient[2][BDPT_MAX_DEPTH];   /* [type][layer] */
} bdpt_disparity_row;
/* Trains a copy of the model by the recipe and fills rows[capacity], one per `window` steps. */
BDPT_API bdpt_status bdpt_disparity(const bdpt_model *model, const bdpt_subset *train,
                                    const bdpt_recipe *recipe, size_t window,
                                    const bdpt_hooks *hooks, bdpt_disparity_row *rows,
                                    size_t capacity, size_t *count);

#define BDPT_MAX_MARKS 8
/* Recovery asymmetry: one layer removed, accuracy at once and after `mark[i]` epochs. */
typedef struct bdpt_recovery_row {
  int type, layer;
  double before, at_once;               /* per cent, on the held-out subset */
  double after[BDPT_MAX_MARKS];
} bdpt_recovery_row;
typedef struct bdpt_recovery_options {
  bdpt_recipe recipe;                   /* epochs is set to the last mark */
  int marks;                            /* 0: one mark, at recipe.epochs */
  int mark[BDPT_MAX_MARKS];             /* increasing epochs at which to measure */
} bdpt_recovery_options;
/* Fills rows[2 * depth]: attention 0..depth-1, then activation. Each starts from a copy. A layer
 * that is removed already has NaN for accuracies. */
BDPT_API bdpt_status bdpt_recovery(const bdpt_model *model, const bdpt_subset *train,
                                   const bdpt_subset *held, const bdpt_recovery_options *options,
                                   const bdpt_hooks *hooks, bdpt_recovery_row *rows);

/* ---- 3.8  The model accuracy predictor ------------------------------------------------------- */

typedef struct bdpt_map_point { double attention, activation, accuracy; } bdpt_map_point;
                                        /* retained ratios n/L in [0,1], accuracy in per cent */
#define BDPT_MAP_TERMS 25
typedef struct bdpt_map {
  int degree;                           /* chosen by leave-2-out cross-validation, 1..4 */
  int per_variable;                     /* 0: i + j <= degree; 1: i, j <= degree */
  int terms, rank;
  double theta[BDPT_MAP_TERMS];         /* of attention^i activation^j, see bdpt_map_term */
  double cv_rmse[5], cv_mae[5];         /* pooled over all pairs, by degree; NaN where untried */
  double fit_rmse, fit_mae;             /* in sample */
} bdpt_map;
typedef struct bdpt_map_options {
  int degree;                           /* 0: choose; else fixed */
  int max_degree;                       /* 0: 4 */
  int per_variable;
  double cutoff;                        /* relative singular value cut-off; 0: 1e-9 */
} bdpt_map_options;
BDPT_API bdpt_status bdpt_map_fit(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                  const bdpt_map_options *options, bdpt_map *out);
BDPT_API double bdpt_map_predict(const bdpt_map *map, double attention, double activation);
/* Exponents of term k: attention^i activation^j. */
BDPT_API void bdpt_map_term(const bdpt_map *map, int k, int *i, int *j);
/* The best split of `budget` removed layers of a depth-L network (exhaustive; the first strict
 * maximum with the attention count ascending, as the paper's algorithm 3). */
BDPT_API bdpt_status bdpt_map_split(bdpt_context *ctx, const bdpt_map *map, int depth, int budget,
                                    int *attention, int *activation, double *predicted);
/* How stable is the split when the accuracies carry noise? (Chapter 11.4.) */
typedef struct bdpt_map_noise_report {
  int trials;
  int attention, activation;            /* the split without noise, in layers removed */
  double exact, one, more;              /* per cent of trials: layers moved on the budget line */
  double mean_attention, mean_activation, sd; /* of the retained ratios chosen */
} bdpt_map_noise_report;
BDPT_API bdpt_status bdpt_map_noise(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                    const bdpt_map_options *options, int depth, int budget,
                                    int trials, double sd, double clip, uint64_t seed,
                                    bdpt_map_noise_report *out);

/* ---- 3.9  The two stages --------------------------------------------------------------------- */

enum { BDPT_SAMPLE_SINGLE = 1, BDPT_SAMPLE_INTERLEAVED = 2, BDPT_SAMPLE_BOTH = 3 };
typedef struct bdpt_map_collect_options {
  bdpt_recipe recipe;                   /* of each short fine-tune; seed + step is used */
  int most;                             /* single runs: layers removed at the end; 0: depth / 2 */
  int rounds;                           /* interleaved: of each type at the end; 0: half of most */
  int sampling;                         /* 0: both algorithms */
  int order[2][BDPT_MAX_DEPTH];         /* which layer goes first, by type ... */
  int use_order;                        /* ... if 1; else the smallest mean |dL/dm| goes first */
} bdpt_map_collect_options;
/* Points measured by real removal, each network inheriting the previous one's weights (algorithms 1
 * and 2). points[capacity]; bdpt_map_collect_count says how many there will be. */
BDPT_API size_t bdpt_map_collect_count(int depth, const bdpt_map_collect_options *options);
BDPT_API bdpt_status bdpt_map_collect(const bdpt_model *model, const bdpt_subset *train,
                                      const bdpt_subset *held,
                                      const bdpt_map_collect_options *options,
                                      const bdpt_hooks *hooks, bdpt_map_point *points,
                                      size_t capacity, size_t *count);

/* The order in which a recovery study suggests to remove layers of a type: best recovered first. */
BDPT_API void bdpt_recovery_order(const bdpt_recovery_row *rows, int depth, int mark, int type,
                                  int order[BDPT_MAX_DEPTH]);

typedef struct bdpt_search_options {
  bdpt_recipe recipe;                   /* epochs: at least the sum of the stages */
  int remove[2];                        /* how many attention, activation layers */
  int stage[2 * BDPT_MAX_DEPTH];        /* epochs before each removal; all zero: 3, 5, 7, ... */
  int candidate[2][BDPT_MAX_DEPTH];     /* 1: may be removed; all zero: every layer may */
} bdpt_search_options;
typedef struct bdpt_search_result {
  int removed;                          /* events that happened */
  int type[2 * BDPT_MAX_DEPTH], layer[2 * BDPT_MAX_DEPTH]; /* in order */
  double accuracy[2 * BDPT_MAX_DEPTH];  /* on held, at the end of the stage before the removal */
  double importance[2][BDPT_MAX_DEPTH]; /* the scalars at the end */
} bdpt_search_result;
/* Learns which layers go: alternating, the smallest importance of the type whose turn it is. The
 * model becomes the trained and pruned network; after a failure or a cancel it is as before. */
BDPT_API bdpt_status bdpt_search(bdpt_model *model, const bdpt_subset *train,
                                 const bdpt_subset *held, const bdpt_search_options *options,
                                 const bdpt_hooks *hooks, bdpt_search_result *out);

/* What fusing changed, measured on images that selected nothing. */
typedef struct bdpt_certificate {
  size_t images;
  double difference;      /* largest |fused - unfused| logit over the largest |unfused| logit */
  size_t agree;           /* images whose arg-max is the same */
  size_t near_ties;       /* disagreements whose two top logits differ by less than the bound */
  int fused;              /* how many MLPs were fused */
} bdpt_certificate;
/* Fuses every MLP that can be and compares before and after over `data`; writes the sentence into
 * model->certificate. */
BDPT_API bdpt_status bdpt_fuse_certified(bdpt_model *model, const bdpt_subset *data,
                                         bdpt_certificate *out);

/* Stage 2: fine-tunes `model` (pruned) with `teacher`, the dense network, then fuses. With a
 * teacher and recipe.distill = 0 the distillation is soft; teacher NULL or distill < 0: none. */
typedef struct bdpt_stage2_result {
  bdpt_accuracy at_once, recovered, fused; /* on the held-out subset */
  bdpt_certificate certificate;
} bdpt_stage2_result;
BDPT_API bdpt_status bdpt_stage2(bdpt_model *model, bdpt_model *teacher, const bdpt_subset *train,
                                 const bdpt_subset *held, const bdpt_recipe *recipe,
                                 const bdpt_hooks *hooks, bdpt_epoch *log,
                                 bdpt_stage2_result *out);

/* Both stages in one call: collect, fit, split, search on a copy, remove from the dense network the
 * layers that were found, fine-tune, fuse. `model` becomes the pruned, recovered, fused network. */
typedef struct bdpt_two_stage_options {
  int budget;                           /* layers to remove in all; 0: depth / 3, rounded up */
  bdpt_map_collect_options collect;     /* .most = 0: depth / 2, and at least the budget */
  bdpt_map_options map;
  bdpt_search_options search;           /* .remove is filled from the split */
  bdpt_recipe finetune;
} bdpt_two_stage_options;
typedef struct bdpt_two_stage_result {
  bdpt_map_point points[4 * BDPT_MAX_DEPTH + 1];
  size_t point_count;
  bdpt_map map;
  int attention, activation;            /* the split */
  double predicted;
  bdpt_search_result search;
  bdpt_stage2_result stage2;
} bdpt_two_stage_result;
BDPT_API bdpt_status bdpt_two_stage(bdpt_model *model, const bdpt_subset *train,
                                    const bdpt_subset *held,
                                    const bdpt_two_stage_options *options,
                                    const bdpt_hooks *hooks, bdpt_two_stage_result *out);

/* ---- 3.10  Files ----------------------------------------------------------------------------- */

typedef enum bdpt_dtype {
  BDPT_F32 = 0, BDPT_F64 = 1, BDPT_F16 = 2, BDPT_BF16 = 3, BDPT_U8 = 4, BDPT_I64 = 5,
  BDPT_OTHER = 6 /* any other dtype of the format: listed, sized, not converted */
} bdpt_dtype;

/* One tensor of a safetensors file. Everything it points to lives as long as the parsed file. */
typedef struct bdpt_file_tensor {
  const char *name;
  const char *dtype_name; /* as the format spells it: "F32", "F8_E4M3" */
  const size_t *shape;    /* [ndim]; a scalar has ndim 0 */
  size_t count;           /* elements; 0 is allowed */
  const unsigned char *bytes; /* little-endian, of any alignment */
  size_t size;            /* bytes */
  int dtype;              /* bdpt_dtype */
  int ndim;
} bdpt_file_tensor;

#define BDPT_HEADER_LIMIT ((size_t)100000000) /* bytes of header, the reference's limit */
#define BDPT_FILE_AXES 16                     /* most axes of one tensor, our limit */

/* A parsed file, its tensors in the order of the header. Borrows the bytes it was parsed from. */
typedef struct bdpt_safetensors {
  bdpt_context *ctx;
  size_t count;
  bdpt_file_tensor *tensor;
  uint32_t *sorted;       /* [count] indices of the tensors in the order of their names */
  size_t pairs;           /* of __metadata__ */
  const char **key;       /* [pairs]; each value stands behind its key's zero byte */
  void *memory;           /* owned: tables, shapes, names */
  size_t memory_bytes;
  unsigned char *file;    /* owned when opened by path, else NULL */
  size_t file_bytes;
} bdpt_safetensors;

/* `name` is used in messages only. On failure `out` is all zero and owns nothing. */
BDPT_API bdpt_status bdpt_safetensors_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                            const char *name, bdpt_safetensors *out);
#ifndef BDPT_NO_STDIO
BDPT_API bdpt_status bdpt_safetensors_open(bdpt_context *ctx, const char *path,
                                           bdpt_safetensors *out);
#endif
BDPT_API void bdpt_safetensors_close(bdpt_safetensors *file); /* may be called twice */
/* NULL when there is no such tensor, no such metadata key; neither is an error. */
BDPT_API const bdpt_file_tensor *bdpt_safetensors_find(const bdpt_safetensors *file,
                                                       const char *name);
BDPT_API const char *bdpt_safetensors_get(const bdpt_safetensors *file, const char *key);
/* Converts to bdpt_real (F32, F64, F16, BF16, U8, I64); out has room for `count` numbers. */
BDPT_API bdpt_status bdpt_safetensors_read(bdpt_context *ctx, const bdpt_file_tensor *tensor,
                                           bdpt_real *out, size_t count);

/* A JSON reader that keeps nothing: call next until END or ERROR. No recursion, no allocation. */
#define BDPT_JSON_DEPTH 64
typedef enum bdpt_json_event {
  BDPT_JSON_END = 0, BDPT_JSON_ERROR, BDPT_JSON_OBJECT, BDPT_JSON_OBJECT_END, BDPT_JSON_ARRAY,
  BDPT_JSON_ARRAY_END, BDPT_JSON_KEY, BDPT_JSON_STRING, BDPT_JSON_NUMBER, BDPT_JSON_TRUE,
  BDPT_JSON_FALSE, BDPT_JSON_NULL
} bdpt_json_event;
typedef struct bdpt_json {
  const char *text;
  size_t size, at;         /* at: offset of the next byte, or of the error */
  int depth, state;
  unsigned char stack[BDPT_JSON_DEPTH];
  size_t start, length;    /* of the last key, string or number, without quotes, escapes kept */
  const char *error;       /* a phrase after BDPT_JSON_ERROR */
} bdpt_json;
BDPT_API void bdpt_json_init(bdpt_json *j, const char *text, size_t size);
BDPT_API bdpt_json_event bdpt_json_next(bdpt_json *j);
/* Copies the last key or string, unescaped to UTF-8 and terminated; returns its full length. */
BDPT_API size_t bdpt_json_copy(const bdpt_json *j, char *out, size_t room);
/* The last number, whatever the locale; an overflow gives an infinity (chapter 11.2). */
BDPT_API double bdpt_json_number(const bdpt_json *j);

/* What to write. `data` points to bdpt_real numbers, or to raw bytes of `dtype` if raw is 1. */
typedef struct bdpt_write_tensor {
  const char *name;
  int dtype;              /* F32, F64, F16, BF16; with raw also U8, I64 */
  int ndim;
  size_t shape[BDPT_MAX_DIMS];
  const void *data;
  int raw;
} bdpt_write_tensor;
/* Bytes of a whole file, into memory of the context (free with bdpt_release). */
BDPT_API bdpt_status bdpt_safetensors_build(bdpt_context *ctx, const bdpt_write_tensor *tensors,
                                            size_t count, const char *const *key,
                                            const char *const *value, size_t pairs,
                                            unsigned char **bytes, size_t *size);
BDPT_API void bdpt_release(bdpt_context *ctx, void *block, size_t size);

/* Models. From and to memory; and from and to files. A load creates the model: the configuration
 * comes from the metadata, or from shapes and names when there is none (heads = width / 64).
 * `hint` (may be NULL) overrides what shapes cannot tell: heads, eps, image, mean, std, and which
 * activations are removed. A failed load leaves nothing allocated. */
BDPT_API bdpt_model *bdpt_model_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                      const char *name, const bdpt_config *hint);
BDPT_API bdpt_status bdpt_model_build(const bdpt_model *model, int dtype, unsigned char **bytes,
                                      size_t *size);
#ifndef BDPT_NO_STDIO
BDPT_API bdpt_model *bdpt_model_load(bdpt_context *ctx, const char *path,
                                     const bdpt_config *hint);
BDPT_API bdpt_status bdpt_model_save(const bdpt_model *model, const char *path, int dtype);

/* Whole files. Writing goes to a temporary file in the same folder, is flushed to the disk, and
 * takes the name at the end, so that the name never stands for half a file. */
BDPT_API bdpt_status bdpt_file_read(bdpt_context *ctx, const char *path, unsigned char **bytes,
                                    size_t *size); /* bdpt_release(ctx, bytes, size + 1) */
BDPT_API bdpt_status bdpt_file_write(bdpt_context *ctx, const char *path, const void *bytes,
                                     size_t size);
#endif

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BOUNDARYDPT_H */

#if defined(BOUNDARYDPT_IMPLEMENTATION) && !defined(BDPTI_IMPLEMENTED_1)
#define BDPTI_IMPLEMENTED_1

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#ifndef BDPT_NO_STDIO
#include <stdio.h>
#endif
#if defined(_OPENMP) && !defined(BDPT_NO_OPENMP)
#include <omp.h>
#define BDPTI_THREADS 1
#define BDPTI_OMP(x) _Pragma(#x)
#else
#define BDPTI_THREADS 0
#define BDPTI_OMP(x)
#endif
#ifdef __FAST_MATH__
#error "boundarydpt.h: compile without -ffast-math: NaN checks and exact results depend on it"
#endif

/* A private function: static, and silent when a configuration does not use it. */
#define BDPTI_FN BDPTI_UNUSED static

/* =================================================================================================
 * 4  MEMORY, ERRORS AND RANDOM NUMBERS                                                    >>memory
 * =================================================================================================
 * The library asks one allocator for memory and tells it the size again when it gives the memory
 * back. Nothing here exits or prints. What goes wrong is written once, as a sentence, into the
 * context; the first sentence stays, because the first error is the cause and the later ones are
 * its echoes.
 *
 * Sizes come from shapes, and shapes come from files and callers, so every product and sum of sizes
 * is checked. Two functions do that, and nothing multiplies sizes without them.
 */
BDPTI_FN int bdpti_mul(size_t a, size_t b, size_t *out) {
  if (a != 0 && b > SIZE_MAX / a) return 0;
  *out = a * b;
  return 1;
}

BDPTI_FN int bdpti_add(size_t a, size_t b, size_t *out) {
  if (b > SIZE_MAX - a) return 0;
  *out = a + b;
  return 1;
}

/* 4.1  Sentences
 *
 * A message is formatted by our own few lines rather than by snprintf: the result does not depend
 * on the locale, and a build without stdio loses nothing. The subset is %s %d %zu %g %c %%. %g
 * prints six significant digits, in plain notation from 1e-4 to 1e9 and with an exponent outside.
 */
typedef struct bdpti_text { char *out; size_t room, used; } bdpti_text;

BDPTI_FN void bdpti_put(bdpti_text *t, char c) {
  if (t->used + 1 < t->room) t->out[t->used] = c;
  t->used++;
}

BDPTI_FN void bdpti_put_string(bdpti_text *t, const char *s) {
  for (s = s ? s : "(null)"; *s; s++) bdpti_put(t, *s);
}

BDPTI_FN void bdpti_put_size(bdpti_text *t, size_t v) {
  char digits[24];
  int n = 0;
  do { digits[n++] = (char)('0' + (int)(v % 10)); v /= 10; } while (v);
  while (n > 0) bdpti_put(t, digits[--n]);
}

BDPTI_FN void bdpti_put_real(bdpti_text *t, double v) {
  int exponent, point, i, last;
  long scaled;
  char digits[8];
  if (v < 0) { bdpti_put(t, '-'); v = -v; }
  if (!(v > 1e-300 && v < 1.7e308)) {
    bdpti_put_string(t, v != v ? "nan" : v < 1 ? "0" : "inf");
    return;
  }
  exponent = (int)floor(log10(v));
  scaled = (long)floor(v * pow(10.0, 5 - exponent) + 0.5); /* six digits, rounded once */
  if (scaled >= 1000000) { scaled /= 10; exponent++; }
  for (i = 5; i >= 0; i--) { digits[i] = (char)('0' + scaled % 10); scaled /= 10; }
  for (last = 5; last > 0 && digits[last] == '0'; last--) { }
  point = exponent >= -4 && exponent < 9 ? exponent : 0;
  for (i = point < 0 ? point : 0; i <= last || i <= point; i++) {
    bdpti_put(t, i >= 0 && i < 6 ? digits[i] : '0');
    if (i == point && i < last) bdpti_put(t, '.');
  }
  if (point == exponent) return;
  bdpti_put_string(t, exponent < 0 ? "e-" : "e");
  bdpti_put_size(t, (size_t)(exponent < 0 ? -exponent : exponent));
}

BDPTI_FN void bdpti_format_list(bdpti_text *t, const char *f, va_list args) {
  for (; *f; f++) {
    if (*f != '%') { bdpti_put(t, *f); continue; }
    f++;
    if (*f == 'z') f++; /* %zu */
    switch (*f) {
      case 's': bdpti_put_string(t, va_arg(args, const char *)); break;
      case 'c': bdpti_put(t, (char)va_arg(args, int)); break;
      case 'g': bdpti_put_real(t, va_arg(args, double)); break;
      case 'u': bdpti_put_size(t, va_arg(args, size_t)); break;
      case 'd': {
        int v = va_arg(args, int);
        if (v < 0) bdpti_put(t, '-');
        bdpti_put_size(t, v < 0 ? (size_t)(-(v + 1)) + 1 : (size_t)v);
        break;
      }
      default: bdpti_put(t, *f); break;
    }
  }
  if (t->room) t->out[t->used < t->room ? t->used : t->room - 1] = 0;
}

BDPTI_PRINTF(3, 4)
BDPTI_FN void bdpti_format(char *out, size_t room, const char *format, ...) {
  va_list args;
  bdpti_text t;
  t.out = out; t.room = room; t.used = 0;
  va_start(args, format);
  bdpti_format_list(&t, format, args);
  va_end(args);
}

/* Records the first error and returns its status, so that a caller can write
 * `return bdpti_fail(...)`. Later errors keep the first sentence and return their own status. */
BDPTI_PRINTF(3, 4)
BDPTI_FN bdpt_status bdpti_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  bdpti_text t;
  if (ctx->status != BDPT_OK) return status;
  ctx->status = status;
  t.out = ctx->message; t.room = sizeof ctx->message; t.used = 0;
  va_start(args, format);
  bdpti_format_list(&t, format, args);
  va_end(args);
  return status;
}

/* 4.2  Allocation
 *
 * Blocks are aligned to 64 bytes, one cache line and one AVX-512 vector, and zero-filled: a fresh
 * gradient or moment is zero by construction. The caller's allocator need not align; we ask for a
 * little more and keep its pointer just before the block.
 */
#define BDPTI_ALIGN ((size_t)64)

BDPTI_FN void *bdpti_alloc(bdpt_context *ctx, size_t bytes) {
  size_t total;
  unsigned char *raw, *block;
  if (!bdpti_add(bytes, BDPTI_ALIGN + sizeof(void *), &total)) raw = NULL;
  else if (!ctx->allocator.alloc) raw = (unsigned char *)malloc(total);
  else raw = (unsigned char *)ctx->allocator.alloc(ctx->allocator.user, total);
  if (!raw) {
    bdpti_fail(ctx, BDPT_E_MEMORY, "out of memory: %zu bytes wanted, %zu in use", bytes,
               ctx->bytes_now);
    return NULL;
  }
  block = raw + sizeof(void *);
  block += (BDPTI_ALIGN - ((uintptr_t)block & (BDPTI_ALIGN - 1))) & (BDPTI_ALIGN - 1);
  memcpy(block - sizeof(void *), &raw, sizeof raw);
  memset(block, 0, bytes);
  ctx->bytes_now += bytes;
  if (ctx->bytes_now > ctx->bytes_peak) ctx->bytes_peak = ctx->bytes_now;
  return block;
}

BDPTI_FN void bdpti_free(bdpt_context *ctx, void *block, size_t bytes) {
  void *raw;
  if (!block) return;
  memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof raw);
  ctx->bytes_now -= bytes;
  if (ctx->allocator.free) {
    ctx->allocator.free(ctx->allocator.user, raw, bytes + BDPTI_ALIGN + sizeof(void *));
  } else {
    free(raw);
  }
}

/* One workspace per context serves every kernel in turn: packed panels, attention tiles, partial
 * sums. It only grows, so a training loop allocates nothing after its first step. */
BDPTI_FN void *bdpti_scratch(bdpt_context *ctx, size_t bytes) {
  if (bytes > ctx->scratch_bytes) {
    bdpti_free(ctx, ctx->scratch, ctx->scratch_bytes);
    ctx->scratch_bytes = 0;
    ctx->scratch = bdpti_alloc(ctx, bytes);
    if (ctx->scratch) ctx->scratch_bytes = bytes;
  }
  return ctx->scratch;
}

/* 4.3  The arena
 *
 * What lives for one step comes from an arena: a chain of blocks filled from the front and emptied
 * all at once. When a step needed more than one block, the reset replaces the chain by one block of
 * the total size, so from the second step on the chain is one block long and nothing is allocated.
 */
typedef struct bdpti_chunk { struct bdpti_chunk *next; size_t bytes, used; } bdpti_chunk;
typedef struct bdpti_arena { bdpt_context *ctx; bdpti_chunk *first; size_t total; } bdpti_arena;

#define BDPTI_CHUNK_HEAD ((sizeof(bdpti_chunk) + BDPTI_ALIGN - 1) / BDPTI_ALIGN * BDPTI_ALIGN)
#define BDPTI_CHUNK_LEAST ((size_t)1 << 18)

BDPTI_FN void bdpti_arena_free(bdpti_arena *a) {
  while (a->first) {
    bdpti_chunk *c = a->first;
    a->first = c->next;
    bdpti_free(a->ctx, c, c->bytes);
  }
  a->total = 0;
}

BDPTI_FN bdpti_chunk *bdpti_arena_grow(bdpti_arena *a, size_t bytes) {
  bdpti_chunk *c;
  size_t total;
  if (bytes < BDPTI_CHUNK_LEAST) bytes = BDPTI_CHUNK_LEAST;
  if (!bdpti_add(bytes, BDPTI_CHUNK_HEAD, &total)) total = SIZE_MAX; /* refused by the allocator */
  c = (bdpti_chunk *)bdpti_alloc(a->ctx, total);
  if (!c) return NULL;
  c->bytes = total;
  c->used = BDPTI_CHUNK_HEAD;
  c->next = a->first;
  a->first = c;
  a->total += total;
  return c;
}

/* Memory from the arena is aligned but NOT zeroed: it is reused from step to step. */
BDPTI_FN void *bdpti_arena_take(bdpti_arena *a, size_t bytes) {
  bdpti_chunk *c = a->first;
  size_t rounded;
  void *p;
  if (!bdpti_add(bytes, BDPTI_ALIGN - 1, &rounded)) rounded = SIZE_MAX;
  rounded = rounded / BDPTI_ALIGN * BDPTI_ALIGN;
  if (!c || rounded > c->bytes - c->used) c = bdpti_arena_grow(a, rounded);
  if (!c) return NULL;
  p = (unsigned char *)c + c->used;
  c->used += rounded;
  return p;
}

BDPTI_FN void bdpti_arena_reset(bdpti_arena *a) {
  size_t total = a->total;
  if (a->first && a->first->next) {
    bdpti_arena_free(a);
    bdpti_arena_grow(a, total);
  }
  if (a->first) a->first->used = BDPTI_CHUNK_HEAD;
}

/* 4.4  Random numbers                                                                     >>random
 *
 *   math      z = mix(state += golden); mix is two multiply-xorshift rounds (splitmix64, Steele,
 *             Lea and Flood, OOPSLA 2014)
 *
 * Every draw of the library is a function of (seed, stream, index): which images an epoch visits,
 * how image 17 of epoch 3 is cropped, which samples drop a path in step 512. So a resumed run needs
 * no generator state, threads can draw in any order, and two runs with one seed agree bit for bit.
 */
BDPTI_FN uint64_t bdpti_mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

BDPTI_FN uint64_t bdpti_hash(uint64_t seed, uint64_t stream, uint64_t index) {
  uint64_t h = bdpti_mix64(seed + UINT64_C(0x9e3779b97f4a7c15));
  h = bdpti_mix64(h ^ (stream * UINT64_C(0xd1342543de82ef95) + 1));
  return bdpti_mix64(h + index * UINT64_C(0x9e3779b97f4a7c15));
}

BDPTI_FN void bdpti_rng_seed(bdpt_rng *r, uint64_t seed, uint64_t stream) {
  r->state = bdpti_hash(seed, stream, 0);
}

BDPTI_FN uint64_t bdpti_next(bdpt_rng *r) {
  r->state += UINT64_C(0x9e3779b97f4a7c15);
  return bdpti_mix64(r->state);
}

/* Uniform in [0, 1): the top 53 bits, exactly representable. */
BDPTI_FN double bdpti_uniform(bdpt_rng *r) {
  return (double)(bdpti_next(r) >> 11) * (1.0 / 9007199254740992.0);
}

/* Normal by Box and Muller; the second value is not kept, so that a draw has no memory. */
BDPTI_FN double bdpti_normal(bdpt_rng *r) {
  double u = bdpti_uniform(r), v = bdpti_uniform(r);
  return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

/* An integer in [0, n) without modulo bias; n = 0 gives 0. */
BDPTI_FN size_t bdpti_below(bdpt_rng *r, size_t n) {
  uint64_t limit, v;
  if (n < 2) return 0;
  limit = UINT64_MAX - UINT64_MAX % (uint64_t)n;
  do { v = bdpti_next(r); } while (v >= limit);
  return (size_t)(v % (uint64_t)n);
}

/* Beta(a, b) through two gamma draws (Marsaglia and Tsang 2000; a shape under 1 is raised by 1 and
 * corrected by u^(1/a)). Mixup and cutmix draw their lambda from Beta(alpha, alpha). */
BDPTI_FN double bdpti_gamma(bdpt_rng *r, double shape) {
  double boost = 1.0, d, c, x, v;
  if (shape < 1.0) {
    boost = pow(1.0 - bdpti_uniform(r), 1.0 / shape);
    shape += 1.0;
  }
  d = shape - 1.0 / 3.0;
  c = 1.0 / sqrt(9.0 * d);
  for (;;) {
    x = bdpti_normal(r);
    v = 1.0 + c * x;
    if (v <= 0) continue;
    v = v * v * v;
    if (log(1.0 - bdpti_uniform(r)) < 0.5 * x * x + d * (1.0 - v + log(v))) return boost * d * v;
  }
}

BDPTI_FN double bdpti_beta(bdpt_rng *r, double a, double b) {
  double x = bdpti_gamma(r, a), y = bdpti_gamma(r, b);
  return x + y > 0 ? x / (x + y) : 0.5;
}

/* 4.5  The context's own life */
static const struct bdpti_isa *bdpti_isa_select(int wanted);
static const char *bdpti_isa_label(const struct bdpti_isa *isa);

BDPT_API bdpt_status bdpt_init(bdpt_context *ctx) {
  if (ctx->threads < 0 || ctx->threads > 1024) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "threads: %d is not between 0 and 1024", ctx->threads);
  }
  if (ctx->threads == 0) {
#if BDPTI_THREADS
    ctx->threads = omp_get_max_threads();
#else
    ctx->threads = 1;
#endif
  }
  ctx->isa = bdpti_isa_select(ctx->isa_wanted);
  return BDPT_OK;
}

BDPT_API void bdpt_finish(bdpt_context *ctx) {
  bdpti_free(ctx, ctx->scratch, ctx->scratch_bytes);
  ctx->scratch = NULL;
  ctx->scratch_bytes = 0;
}

BDPT_API void bdpt_clear_error(bdpt_context *ctx) {
  ctx->status = BDPT_OK;
  ctx->message[0] = 0;
}

BDPT_API const char *bdpt_status_string(bdpt_status status) {
  switch (status) {
    case BDPT_OK: return "ok";
    case BDPT_E_ARGUMENT: return "bad argument";
    case BDPT_E_SHAPE: return "shapes do not fit";
    case BDPT_E_MEMORY: return "out of memory";
    case BDPT_E_IO: return "input or output failed";
    case BDPT_E_FORMAT: return "malformed data";
    case BDPT_E_STATE: return "not possible in this state";
    case BDPT_E_NUMERIC: return "a value is not finite";
    case BDPT_CANCELLED: return "cancelled";
  }
  return "unknown status";
}

BDPT_API const char *bdpt_version(void) { return BDPT_VERSION; }

BDPT_API const char *bdpt_isa_name(const bdpt_context *ctx) { return bdpti_isa_label(ctx->isa); }

/* =================================================================================================
 * 5  TENSORS AND THE TAPE                                                                   >>tape
 * =================================================================================================
 * Reverse-mode differentiation in one paragraph. Running a network is running a list of operations;
 * each takes tensors and makes one. If the list is kept, the chain rule can be applied backwards:
 * start with dL/dL = 1 at the loss, visit the operations from last to first, and let each one turn
 * the gradient of its output into gradients of its inputs, adding where a tensor was used twice.
 * When the walk ends, every parameter holds dL/dparameter. The list is the tape.
 *
 * Three numbers show it: with a = 2, b = 3, c = a * b = 6, L = c + a = 8 the walk visits the sum
 * first (dc = 1, da = 1), then the product (da += b * dc = 4, db = a * dc = 2).
 * examples/01_tape.c runs exactly this idea on a linear layer.
 *
 * An operation is a node: its output, its inputs, and what its backward pass needs to remember. The
 * nodes are in the order of creation, which is already a topological order, so no sorting and no
 * recursion is needed. All of it lives in the tape's arena and is forgotten by one reset per step.
 */
#define BDPTI_MAX_INPUTS 5

typedef struct bdpti_node {
  bdpt_tensor out;                   /* first, so that a tensor's address is its node's */
  int op;                            /* bdpti_op */
  bdpt_tensor *in[BDPTI_MAX_INPUTS];
  bdpt_real *saved[2];               /* what the backward pass needs besides inputs and output */
  const bdpt_real *constant;         /* data that gets no gradient: targets, teacher's logits */
  double number[2];                  /* eps, scale, rate, ... */
  size_t index;                      /* heads, token, patch, ... */
  struct bdpti_node *previous;
} bdpti_node;

/* Gradients of intermediate tensors are short-lived: written by the consumers, read once by the
 * producer, then useless. Their buffers are therefore counted and recycled while the walk goes on,
 * which keeps the gradient memory of a network near that of its widest block. The count also lets a
 * sum hand one buffer to both of its inputs; whoever wants to add to a shared buffer copies it
 * first. The header sits one cache line before the numbers. */
typedef struct bdpti_buffer { struct bdpti_buffer *next; size_t count; int shares; } bdpti_buffer;

struct bdpt_tape {
  bdpt_context *ctx;
  int record;
  bdpti_arena arena;
  bdpti_node *last;
  bdpti_buffer *spare; /* gradient buffers free for reuse */
  size_t used, most;   /* bytes handed out since the reset; the most of any step */
};

static void bdpti_backward_op(bdpt_tape *t, bdpti_node *n); /* chapter 7: a case per operation */
static void bdpti_accumulate(bdpt_context *ctx, size_t n, const bdpt_real *x, bdpt_real *y);

BDPT_API bdpt_tape *bdpt_tape_create(bdpt_context *ctx, int record) {
  bdpt_tape *t = (bdpt_tape *)bdpti_alloc(ctx, sizeof *t);
  if (!t) return NULL;
  t->ctx = ctx;
  t->record = record;
  t->arena.ctx = ctx;
  return t;
}

BDPT_API void bdpt_tape_reset(bdpt_tape *t) {
  t->last = NULL;
  t->spare = NULL;
  t->used = 0;
  bdpti_arena_reset(&t->arena);
}

BDPT_API void bdpt_tape_free(bdpt_tape *t) {
  if (!t) return;
  bdpti_arena_free(&t->arena);
  bdpti_free(t->ctx, t, sizeof *t);
}

BDPT_API size_t bdpt_tape_bytes(const bdpt_tape *t) { return t->most; }

BDPT_API bdpt_context *bdpt_tape_context(const bdpt_tape *t) { return t->ctx; }

BDPTI_FN void *bdpti_take(bdpt_tape *t, size_t bytes) {
  void *p = bdpti_arena_take(&t->arena, bytes);
  if (!p) return NULL;
  t->used += bytes;
  if (t->used > t->most) t->most = t->used;
  return p;
}

BDPTI_FN bdpt_real *bdpti_take_reals(bdpt_tape *t, size_t count) {
  size_t bytes;
  if (!bdpti_mul(count, sizeof(bdpt_real), &bytes)) bytes = SIZE_MAX;
  return (bdpt_real *)bdpti_take(t, bytes);
}

/* 5.1  Shapes in sentences
 *
 * Every shape error names the operation and the shapes it was given, written like x[8,197,192].
 */
typedef struct bdpti_shape_text { char text[96]; } bdpti_shape_text;

BDPTI_FN bdpti_shape_text bdpti_shape(const bdpt_tensor *x) {
  bdpti_shape_text s;
  bdpti_text t;
  int i;
  t.out = s.text; t.room = sizeof s.text; t.used = 0;
  if (x->name) bdpti_put_string(&t, x->name);
  bdpti_put(&t, '[');
  for (i = 0; i < x->ndim; i++) {
    if (i) bdpti_put(&t, ',');
    bdpti_put_size(&t, x->shape[i]);
  }
  bdpti_put(&t, ']');
  s.text[t.used < t.room ? t.used : t.room - 1] = 0;
  return s;
}

BDPTI_FN int bdpti_same_shape(const bdpt_tensor *a, const bdpt_tensor *b) {
  int i;
  if (a->ndim != b->ndim) return 0;
  for (i = 0; i < a->ndim; i++) {
    if (a->shape[i] != b->shape[i]) return 0;
  }
  return 1;
}

/* Rows and width of a tensor seen as a matrix: the last axis against all others. */
BDPTI_FN size_t bdpti_width(const bdpt_tensor *x) { return x->shape[x->ndim - 1]; }
BDPTI_FN size_t bdpti_rows(const bdpt_tensor *x) {
  size_t rows = 1;
  int i;
  for (i = 0; i + 1 < x->ndim; i++) rows *= x->shape[i];
  return rows;
}

/* Fills a tensor's shape; 0 when the product overflows or an axis count is impossible. */
BDPTI_FN int bdpti_set_shape(bdpt_tensor *x, int ndim, const size_t *shape) {
  int i;
  size_t bytes;
  if (ndim < 1 || ndim > BDPT_MAX_DIMS) return 0;
  x->ndim = ndim;
  x->count = 1;
  for (i = 0; i < ndim; i++) {
    x->shape[i] = shape[i];
    if (!bdpti_mul(x->count, shape[i], &x->count)) return 0;
  }
  return bdpti_mul(x->count, sizeof(bdpt_real), &bytes);
}

/* 5.2  Recording
 *
 * bdpti_record makes a node with an output of the given shape. Whether gradients are wanted follows
 * from the inputs. A tape that does not record still makes tensors, but keeps no list.
 */
BDPTI_FN bdpti_node *bdpti_record(bdpt_tape *t, int op, int ndim, const size_t *shape,
                                  bdpt_tensor *a, bdpt_tensor *b, bdpt_tensor *c) {
  bdpti_node *n = (bdpti_node *)bdpti_take(t, sizeof *n);
  int i;
  if (!n) return NULL;
  memset(n, 0, sizeof *n);
  n->op = op;
  if (!bdpti_set_shape(&n->out, ndim, shape)) {
    bdpti_fail(t->ctx, BDPT_E_SHAPE, "a tensor of %d axes overflows the address space", ndim);
    return NULL;
  }
  n->out.on_tape = 1;
  n->out.data = bdpti_take_reals(t, n->out.count);
  if (!n->out.data) return NULL;
  n->in[0] = a; n->in[1] = b; n->in[2] = c;
  for (i = 0; i < 3; i++) {
    if (t->record && n->in[i] && n->in[i]->wants_grad) n->out.wants_grad = 1;
  }
  if (t->record) {
    n->previous = t->last;
    t->last = n;
  }
  return n;
}

/* Memory that only a backward pass will read. */
BDPTI_FN bdpt_real *bdpti_save(bdpt_tape *t, bdpti_node *n, int slot, size_t count) {
  n->saved[slot] = bdpti_take_reals(t, count);
  return n->saved[slot];
}

BDPT_API bdpt_tensor *bdpt_input(bdpt_tape *t, int ndim, const size_t *shape,
                                 const bdpt_real *data, int wants_grad) {
  bdpti_node *n = bdpti_record(t, 0, ndim, shape, NULL, NULL, NULL);
  if (!n) return NULL;
  if (data) memcpy(n->out.data, data, n->out.count * sizeof(bdpt_real));
  else memset(n->out.data, 0, n->out.count * sizeof(bdpt_real));
  n->out.wants_grad = t->record && wants_grad;
  return &n->out;
}

/* A place in the arena to go back to; tensors made since become invalid. Only for tapes that do not
 * record. A chunk added since stays in the chain, empty, and serves what follows. */
typedef struct bdpti_mark { bdpti_chunk *chunk; size_t used, bytes; } bdpti_mark;

BDPTI_FN bdpti_mark bdpti_tape_mark(const bdpt_tape *t) {
  bdpti_mark m;
  m.chunk = t->arena.first;
  m.used = m.chunk ? m.chunk->used : 0;
  m.bytes = t->used;
  return m;
}

BDPTI_FN void bdpti_tape_rewind(bdpt_tape *t, bdpti_mark m) {
  bdpti_chunk *c;
  for (c = t->arena.first; c && c != m.chunk; c = c->next) c->used = BDPTI_CHUNK_HEAD;
  if (c && c == t->arena.first) c->used = m.used;
  t->used = m.bytes;
}

/* 5.3  Gradient buffers */
#define BDPTI_BUFFER_HEAD BDPTI_ALIGN

BDPTI_FN bdpti_buffer *bdpti_buffer_of(const bdpt_real *grad) {
  return (bdpti_buffer *)(uintptr_t)((const unsigned char *)grad - BDPTI_BUFFER_HEAD);
}

BDPTI_FN bdpt_real *bdpti_buffer_take(bdpt_tape *t, size_t count) {
  bdpti_buffer **at, *b;
  size_t bytes;
  for (at = &t->spare; *at; at = &(*at)->next) {
    if ((*at)->count != count) continue;
    b = *at;
    *at = b->next;
    b->shares = 1;
    return (bdpt_real *)(void *)((unsigned char *)b + BDPTI_BUFFER_HEAD);
  }
  if (!bdpti_mul(count, sizeof(bdpt_real), &bytes)) return NULL;
  b = (bdpti_buffer *)bdpti_take(t, bytes + BDPTI_BUFFER_HEAD);
  if (!b) return NULL;
  b->count = count;
  b->shares = 1;
  return (bdpt_real *)(void *)((unsigned char *)b + BDPTI_BUFFER_HEAD);
}

BDPTI_FN void bdpti_buffer_release(bdpt_tape *t, bdpt_real *grad) {
  bdpti_buffer *b = bdpti_buffer_of(grad);
  if (--b->shares > 0) return;
  b->next = t->spare;
  t->spare = b;
}

/* Where an operation puts the gradient of its input x: *add says whether to add to what is there or
 * to write. NULL: x wants none (or memory is out, which the context knows). A parameter's gradient
 * always adds, because a caller may accumulate several batches before a step. */
BDPTI_FN bdpt_real *bdpti_grad(bdpt_tape *t, bdpt_tensor *x, int *add) {
  bdpt_real *fresh;
  *add = 1;
  if (!x || !x->wants_grad) return NULL;
  if (!x->on_tape) return x->grad;
  if (!x->grad) {
    *add = 0;
    x->grad = bdpti_buffer_take(t, x->count);
    return x->grad;
  }
  if (bdpti_buffer_of(x->grad)->shares > 1) {
    fresh = bdpti_buffer_take(t, x->count);
    if (!fresh) return NULL;
    memcpy(fresh, x->grad, x->count * sizeof(bdpt_real));
    bdpti_buffer_release(t, x->grad);
    x->grad = fresh;
  }
  return x->grad;
}

/* Hands the output's gradient to an input as it is, without copying when the input has none yet. */
BDPTI_FN void bdpti_grad_pass(bdpt_tape *t, bdpt_tensor *x, bdpti_node *n) {
  bdpt_real *dx;
  int add;
  if (!x || !x->wants_grad) return;
  if (x->on_tape && !x->grad) {
    x->grad = n->out.grad;
    bdpti_buffer_of(x->grad)->shares++;
    return;
  }
  dx = bdpti_grad(t, x, &add);
  if (dx) bdpti_accumulate(t->ctx, x->count, n->out.grad, dx);
}

/* 5.4  The walk back */
BDPT_API bdpt_status bdpt_backward_from(bdpt_tape *t, bdpt_tensor *out, const bdpt_real *seed) {
  bdpti_node *n;
  if (!out || t->ctx->status != BDPT_OK) {
    return t->ctx->status != BDPT_OK ? t->ctx->status
         : bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "backward: there is no tensor to start from");
  }
  if (!t->record || !out->wants_grad) {
    return bdpti_fail(t->ctx, BDPT_E_STATE, "backward: %s",
                      t->record ? "nothing that the loss depends on wants a gradient"
                                : "this tape does not record");
  }
  out->grad = bdpti_buffer_take(t, out->count);
  if (!out->grad) return t->ctx->status;
  memcpy(out->grad, seed, out->count * sizeof(bdpt_real));
  for (n = t->last; n; n = n->previous) {
    if (!n->out.grad || n->op == 0) continue; /* not on the way to the loss, or an input */
    bdpti_backward_op(t, n);
    if (t->ctx->status != BDPT_OK) return t->ctx->status;
    bdpti_buffer_release(t, n->out.grad);
    n->out.grad = NULL;
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_backward(bdpt_tape *t, bdpt_tensor *loss) {
  bdpt_real one = 1;
  if (loss && loss->count != 1) {
    return bdpti_fail(t->ctx, BDPT_E_SHAPE, "backward: %s is not one number",
                      bdpti_shape(loss).text);
  }
  return bdpt_backward_from(t, loss, &one);
}

/* 5.5  Checking gradients                                                             >>gradcheck
 *
 *   math      numeric dL/dx_i = (L(x_i + h) - L(x_i - h)) / 2h,  h = 6e-6 (1 + |x_i|)
 *   error     max |analytic - numeric| / max(1e-3, max |analytic|, max |numeric|)
 *   source    central differences: truncation ~ h^2, rounding ~ 1e-16 / h; they balance near 6e-6
 *
 * A backward pass is the one thing in this file that can be wrong and still look right, so there is
 * a public judge for it. The loss is a projection of the output on fixed random numbers, which
 * tests every output element at once; a plain sum would miss errors that cancel, and is blind to
 * softmax altogether (its outputs always sum to one).
 */
#define BDPTI_CHECK_INPUTS 16

typedef struct bdpti_check {
  bdpt_graph build;
  void *user;
  bdpt_tape *tape;
  bdpt_tensor *const *inputs;
  int count;
  bdpt_tensor *copy[BDPTI_CHECK_INPUTS]; /* of the inputs, on the tape */
} bdpti_check;

/* Builds the graph from the inputs as they are now; returns the projected loss, and with `back`
 * leaves the gradients in the copies. */
BDPTI_FN double bdpti_check_run(bdpti_check *c, int back) {
  bdpt_tensor *out;
  bdpt_real *seed;
  double sum = 0;
  size_t k;
  int i;
  bdpt_tape_reset(c->tape);
  for (i = 0; i < c->count; i++) {
    const bdpt_tensor *x = c->inputs[i];
    c->copy[i] = bdpt_input(c->tape, x->ndim, x->shape, x->data, back);
    if (c->copy[i]) c->copy[i]->name = x->name;
  }
  out = c->build(c->tape, c->copy, c->user);
  seed = out ? bdpti_take_reals(c->tape, out->count) : NULL;
  for (k = 0; seed && k < out->count; k++) {
    bdpt_rng r;
    bdpti_rng_seed(&r, 4242, k);
    seed[k] = (bdpt_real)(2 * bdpti_uniform(&r) - 1);
    sum += (double)seed[k] * (double)out->data[k];
  }
  if (back && seed) bdpt_backward_from(c->tape, out, seed);
  return sum;
}

/* The error of one input, whose analytic gradient is given. */
BDPTI_FN double bdpti_check_input(bdpti_check *c, bdpt_tensor *x, const bdpt_real *analytic) {
  double worst = 0, scale = 1e-3;
  size_t i;
  for (i = 0; i < x->count && worst == worst && c->tape->ctx->status == BDPT_OK; i++) {
    const bdpt_real keep = x->data[i];
    double h = 6e-6 * (1 + fabs((double)keep)), numeric, step, miss;
    x->data[i] = (bdpt_real)((double)keep + h);
    step = (double)x->data[i];
    numeric = bdpti_check_run(c, 0);
    x->data[i] = (bdpt_real)((double)keep - h);
    step -= (double)x->data[i]; /* the step that was really made, after rounding */
    numeric = (numeric - bdpti_check_run(c, 0)) / step;
    x->data[i] = keep;
    miss = fabs(numeric - (double)analytic[i]);
    if (fabs(numeric) > scale) scale = fabs(numeric);
    if (fabs((double)analytic[i]) > scale) scale = fabs((double)analytic[i]);
    if (!(miss <= worst)) worst = miss; /* a NaN gets in and ends the loop */
  }
  return worst / scale;
}

BDPT_API bdpt_status bdpt_gradcheck(bdpt_context *ctx, bdpt_graph build, void *user,
                                    bdpt_tensor *const *inputs, int count, double *error) {
  bdpti_check c;
  bdpt_real *analytic = NULL;
  size_t total = 0, at = 0;
  int i;
  memset(&c, 0, sizeof c);
  *error = 0;
  if (count > BDPTI_CHECK_INPUTS) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "gradcheck: %d inputs, at most 16", count);
  }
  c.build = build; c.user = user; c.inputs = inputs; c.count = count;
  for (i = 0; i < count; i++) total += inputs[i]->count;
  c.tape = bdpt_tape_create(ctx, 1);
  if (c.tape) analytic = (bdpt_real *)bdpti_alloc(ctx, total * sizeof *analytic);
  if (analytic) bdpti_check_run(&c, 1);
  for (i = 0; i < count && ctx->status == BDPT_OK; at += inputs[i++]->count) {
    size_t bytes = inputs[i]->count * sizeof *analytic;
    if (c.copy[i]->grad) memcpy(analytic + at, c.copy[i]->grad, bytes);
  }
  for (i = 0, at = 0; i < count && ctx->status == BDPT_OK; at += inputs[i++]->count) {
    double e = bdpti_check_input(&c, inputs[i], analytic + at);
    if (!(e <= *error) && *error == *error) *error = e; /* a NaN stays */
  }
  bdpti_free(ctx, analytic, total * sizeof *analytic);
  bdpt_tape_free(c.tape);
  return ctx->status;
}

/* =================================================================================================
 * 7  VECTOR KERNELS                                                                      >>kernels
 * =================================================================================================
 * Everything that takes time happens in this chapter: matrix products, attention, and the functions
 * that walk over rows or elements. These kernels are pure functions on raw arrays. They know nothing
 * of tensors, tapes or models, so each can be read, tested and timed alone.
 *
 * The text is written once and compiled up to three times: with 16-byte vectors for any machine, and
 * on x86-64 also with 32-byte (AVX2) and 64-byte vectors (AVX-512). The vectors are a GCC and Clang
 * extension, not intrinsics: `a * b + c` on a vector type is plain C with more lanes. To compile the
 * same text again, this file includes itself with BDPTI_ISA_PASS set, which selects the section
 * between the two guards below and skips everything else. Other compilers get the same text with
 * vectors of one lane, that is, plain scalar C. At run time bdpt_init asks the processor and keeps
 * one table of functions in the context.
 *
 * Two promises shape the code. Results are bit-identical for any number of threads: threads share
 * out outputs, every sum is made by one thread in an order that depends on the problem only, and
 * long reductions follow a fixed tree. And plain `cc -O2` is fast: each pass names its target
 * itself, so no -march and no -O3 is needed.
 *
 * The trap is the fused multiply-add. It rounds once instead of twice and doubles the speed of a
 * matrix product. GCC fuses by itself in its GNU modes but not under -std=c99 or -std=c11; Clang
 * fuses within one expression from version 14 on. We ask GCC for fusing around each pass by pragma
 * (fp-contract=fast changes nothing else; -ffast-math is never used), and we write `s += x * y` as
 * one expression for Clang. So results differ between compilers and instruction sets in the last
 * bits, but never between two runs of one program on one machine.
 */

/* 7.1  What a pass provides
 *
 * C = A B with strides on both operands covers the three layouts of training: Y = X W^T reads W with
 * b_row = 1, dX = dY W reads it as it lies, dW += dY^T X reads dY with a_row = 1. What follows a
 * product in a transformer is done while its tile is still in cache. In this order, with t the sum:
 *
 *   t = alpha * t;  t += bias[j];  t *= gelu'(dgelu[i,j]);  t *= row_scale[i / rows_per_scale];
 *   t += residual[i,j];  t += c[i,j] if accumulate;  c[i,j] = t;  gelu[i,j] = GELU(t)
 *
 * Absent pointers (NULL) skip their step; a zeroed struct is a plain product once its sizes and
 * operands are set. The residual may be the same array as c.
 */
typedef struct bdpti_gemm {
  size_t m, n, k;
  const bdpt_real *a; size_t a_row, a_col;         /* element (i,p) at a[i*a_row + p*a_col] */
  const bdpt_real *b; size_t b_row, b_col;         /* element (p,j) at b[p*b_row + j*b_col] */
  bdpt_real *c; size_t c_row;                      /* element (i,j) at c[i*c_row + j] */
  bdpt_real alpha;                                 /* 0 means 1 */
  int accumulate;                                  /* C += instead of C = */
  const bdpt_real *bias;                           /* [N] */
  bdpt_real *gelu; size_t gelu_row;                /* also writes GELU(c) here; c keeps z */
  const bdpt_real *residual; size_t residual_row;  /* C = residual + row_scale * (A B + bias) */
  const bdpt_real *row_scale; size_t rows_per_scale; /* drop path; rows_per_scale 0 means 1 */
  const bdpt_real *dgelu; size_t dgelu_row;        /* z of the forward pass: C = gelu'(z) * A B */
} bdpti_gemm;

/* One packed block of B: rows p0 .. p0+pn, columns j0 .. j0+jn, as panels of isa->panel columns. */
typedef struct bdpti_block {
  size_t p0, pn, j0, jn;
  bdpt_real *packed;
  int padded;                                      /* rows of c have room for whole panels */
} bdpti_block;

/* Attention on qkv[B,N,3,h,d]: a task is one head of one image, or one of `pieces` runs of its
 * queries when there are fewer heads than threads could use. */
typedef struct bdpti_heads {
  size_t tokens, heads, size, pieces;              /* N h d */
  bdpt_real scale;
  const bdpt_real *qkv, *out, *lse, *dout;         /* [B,N,3,h,d] [B,N,h,d] [B,h,N] [B,N,h,d] */
  bdpt_real *new_out, *new_lse, *dqkv;             /* written: two by forward, one by backward */
} bdpti_heads;

/* Arguments of the row kernels and of the element kernels. Each kernel uses what it needs. */
typedef struct bdpti_span {
  size_t width;                                    /* D, the length of a row */
  const bdpt_real *x, *y, *z;                      /* read */
  bdpt_real *u, *v, *w;                            /* written */
  const bdpt_real *gamma, *beta;                   /* [D] */
  const bdpt_real *mean, *rstd;                    /* [R] */
  bdpt_real a, b, c, d, e, f;
  int accumulate;
} bdpti_span;

typedef void (*bdpti_kernel)(const bdpti_span *s, size_t begin, size_t end);
typedef double (*bdpti_reducer)(const bdpti_span *s, size_t begin, size_t end);
typedef void (*bdpti_partial)(const bdpti_span *s, size_t begin, size_t end, bdpt_real *sums);

typedef struct bdpti_isa {
  const char *name;
  size_t rows, panel;                              /* the register tile: rows x panel columns */
  void (*pack)(const bdpti_gemm *g, const bdpti_block *b, size_t panel0, size_t panel1);
  void (*multiply)(const bdpti_gemm *g, const bdpti_block *b, size_t tile0, size_t tile1,
                   bdpt_real *own);
  void (*attention_fwd)(const bdpti_heads *h, size_t begin, size_t end, bdpt_real *work);
  void (*attention_bwd)(const bdpti_heads *h, size_t begin, size_t end, bdpt_real *work);
  bdpti_kernel exp, gelu_fwd, gelu_bwd, layernorm_fwd, softmax_fwd, softmax_bwd;
  bdpti_kernel axpby, sample_axpy, adamw;
  bdpti_partial layernorm_bwd, column_sum;
  bdpti_reducer dot, dot_difference, not_finite;
} bdpti_isa;

#endif /* BOUNDARYDPT_IMPLEMENTATION, to be continued behind the vector section */

#ifdef BDPTI_ISA_PASS /* from here to its #endif: once per instruction set */

/* 7.2  Vectors
 *
 * The tile of the matrix product needs ROWS x 2 accumulators, two vectors of B and one of A in
 * registers: 12 x 2 fit into 32 registers (AVX-512, aarch64), 6 x 2 into 16 (AVX2, SSE).
 */
#define BDPTI_IS_float 0
#define BDPTI_IS_double 1
#define BDPTI_PASTE_(a, b) a##b
#define BDPTI_PASTE(a, b) BDPTI_PASTE_(a, b)
#define BDPTI_DOUBLE BDPTI_PASTE(BDPTI_IS_, BDPT_REAL)

#if BDPTI_ISA_PASS == 3
#define BDPTI_V(name) bdpti_avx512_##name
#define BDPTI_BYTES 64
#define BDPTI_ROWS 12
#elif BDPTI_ISA_PASS == 2
#define BDPTI_V(name) bdpti_avx2_##name
#define BDPTI_BYTES 32
#define BDPTI_ROWS 6
#else
#define BDPTI_V(name) bdpti_portable_##name
#define BDPTI_BYTES 16
#if defined(__aarch64__)
#define BDPTI_ROWS 12
#else
#define BDPTI_ROWS 6
#endif
#endif

#if defined(__clang__) && BDPTI_ISA_PASS == 3
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), \
                             apply_to = function)
#elif defined(__clang__) && BDPTI_ISA_PASS == 2
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#if BDPTI_ISA_PASS == 3
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#elif BDPTI_ISA_PASS == 2
#pragma GCC target("avx2,fma")
#endif
#pragma GCC optimize("fp-contract=fast")
#endif

#define BDPTI_VEC BDPTI_V(vec)
#define BDPTI_BITS BDPTI_V(bits)
#if defined(__GNUC__) || defined(__clang__)
#if defined(__clang__)
#define BDPTI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BDPTI_UNROLL _Pragma("GCC unroll 64")
#endif
#define BDPTI_INLINE static inline __attribute__((always_inline, unused))
#define BDPTI_LANES (BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4))
typedef bdpt_real BDPTI_VEC __attribute__((vector_size(BDPTI_BYTES)));
typedef bdpt_real BDPTI_V(loose) __attribute__((vector_size(BDPTI_BYTES), aligned(4), may_alias));
#if BDPTI_DOUBLE
typedef uint64_t BDPTI_BITS __attribute__((vector_size(BDPTI_BYTES)));
#else
typedef uint32_t BDPTI_BITS __attribute__((vector_size(BDPTI_BYTES)));
#endif
#define BDPTI_CHOOSE(mask, yes, no) \
  ((BDPTI_VEC)(((BDPTI_BITS)(mask) & (BDPTI_BITS)(yes)) | (~(BDPTI_BITS)(mask) & (BDPTI_BITS)(no))))
#define BDPTI_LANE(v, l) ((v)[l])
BDPTI_INLINE BDPTI_VEC BDPTI_V(splat)(bdpt_real x) {
  BDPTI_VEC zero = {0};
  return x - zero; /* exact for every x, so the compiler drops it; x + zero would lose -0 */
}
BDPTI_INLINE BDPTI_BITS BDPTI_V(to_bits)(BDPTI_VEC x) { return (BDPTI_BITS)x; }
BDPTI_INLINE BDPTI_VEC BDPTI_V(from_bits)(BDPTI_BITS x) { return (BDPTI_VEC)x; }
#else /* one lane */
#define BDPTI_UNROLL
#define BDPTI_INLINE static
#define BDPTI_LANES 1
typedef bdpt_real BDPTI_VEC;
typedef bdpt_real BDPTI_V(loose);
typedef uint32_t BDPTI_BITS;
#define BDPTI_CHOOSE(mask, yes, no) ((mask) ? (yes) : (no))
#define BDPTI_LANE(v, l) (v)
BDPTI_INLINE BDPTI_VEC BDPTI_V(splat)(bdpt_real x) { return x; }
BDPTI_INLINE BDPTI_BITS BDPTI_V(to_bits)(BDPTI_VEC x) {
  BDPTI_BITS b;
  memcpy(&b, &x, sizeof b);
  return b;
}
BDPTI_INLINE BDPTI_VEC BDPTI_V(from_bits)(BDPTI_BITS b) {
  BDPTI_VEC x = 0;
  memcpy(&x, &b, sizeof b);
  return x;
}
#endif
#define BDPTI_PANEL (2 * BDPTI_LANES)

/* A hint to fetch what stands `ahead` numbers behind p; the address may lie outside the array. */
#if defined(__GNUC__) || defined(__clang__)
#define BDPTI_PREFETCH(p, ahead, write) \
  __builtin_prefetch((const void *)((uintptr_t)(p) + (ahead) * sizeof(bdpt_real)), write)
#else
#define BDPTI_PREFETCH(p, ahead, write) ((void)0)
#endif

BDPTI_INLINE BDPTI_VEC BDPTI_V(load)(const bdpt_real *p) {
  return *(const BDPTI_V(loose) *)p;
}

BDPTI_INLINE void BDPTI_V(store)(bdpt_real *p, BDPTI_VEC v) { *(BDPTI_V(loose) *)p = v; }

/* The end of a row need not fill a vector. With n lanes left, the rest reads as zero and is not
 * written, so every kernel is one loop and has no tail of its own. The pieces are copied by halves:
 * each has a constant size and is one move, where memcpy of n numbers would be a call. */
BDPTI_INLINE void BDPTI_V(copy_n)(bdpt_real *to, const bdpt_real *from, size_t n) {
  size_t at = 0;
  if (n & 8) { memcpy(to, from, 8 * sizeof *to); at = 8; }
  if (n & 4) { memcpy(to + at, from + at, 4 * sizeof *to); at += 4; }
  if (n & 2) { memcpy(to + at, from + at, 2 * sizeof *to); at += 2; }
  if (n & 1) to[at] = from[at];
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(load_n)(const bdpt_real *p, size_t n) {
  bdpt_real s[16] = {0};
  if (n >= BDPTI_LANES) return BDPTI_V(load)(p);
  BDPTI_V(copy_n)(s, p, n);
  return BDPTI_V(load)(s);
}

BDPTI_INLINE void BDPTI_V(store_n)(bdpt_real *p, size_t n, BDPTI_VEC v) {
  bdpt_real s[16];
  if (n >= BDPTI_LANES) {
    BDPTI_V(store)(p, v);
    return;
  }
  BDPTI_V(store)(s, v);
  BDPTI_V(copy_n)(p, s, n);
}

/* Puts `rest` into the lanes from n on. */
static const bdpt_real BDPTI_V(index)[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

BDPTI_INLINE BDPTI_VEC BDPTI_V(keep_n)(BDPTI_VEC v, size_t n, BDPTI_VEC rest) {
  if (n >= BDPTI_LANES) return v;
  return BDPTI_CHOOSE(BDPTI_V(load)(BDPTI_V(index)) < BDPTI_V(splat)((bdpt_real)n), v, rest);
}

/* Two shuffles are all we need: `low` interleaves the first halves of two vectors, `high` their second
 * halves. GCC has them from version 12 on; without, the same is done through memory. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) && BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4) > 1
#define BDPTI_SHUFFLE 1
#endif
#endif
#ifndef BDPTI_SHUFFLE
#define BDPTI_SHUFFLE 0
#elif BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4) == 16
#define BDPTI_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define BDPTI_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4) == 8
#define BDPTI_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define BDPTI_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4) == 4
#define BDPTI_LOW 0, 4, 1, 5
#define BDPTI_HIGH 2, 6, 3, 7
#else
#define BDPTI_LOW 0, 2
#define BDPTI_HIGH 1, 3
#endif

#if BDPTI_SHUFFLE
BDPTI_INLINE BDPTI_VEC BDPTI_V(low)(BDPTI_VEC a, BDPTI_VEC b) {
  return __builtin_shufflevector(a, b, BDPTI_LOW);
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(high)(BDPTI_VEC a, BDPTI_VEC b) {
  return __builtin_shufflevector(a, b, BDPTI_HIGH);
}
#undef BDPTI_LOW
#undef BDPTI_HIGH
#endif

/* The sum and the largest of the lanes, as a tree. Low plus high of a vector with itself holds every
 * sum of a lane and the one half a vector away, twice; after log2(LANES) rounds every lane is the
 * total. */
BDPTI_INLINE bdpt_real BDPTI_V(total)(BDPTI_VEC v) {
  int n;
#if BDPTI_SHUFFLE
  BDPTI_UNROLL for (n = 1; n < BDPTI_LANES; n *= 2) v = BDPTI_V(low)(v, v) + BDPTI_V(high)(v, v);
#else
  int l;
  for (n = BDPTI_LANES / 2; n > 0; n /= 2) {
    for (l = 0; l < n; l++) BDPTI_LANE(v, l) += BDPTI_LANE(v, l + n);
  }
#endif
  return BDPTI_LANE(v, 0);
}

BDPTI_INLINE bdpt_real BDPTI_V(largest)(BDPTI_VEC v) {
  bdpt_real top = BDPTI_LANE(v, 0);
  int n;
#if BDPTI_SHUFFLE
  BDPTI_UNROLL for (n = 1; n < BDPTI_LANES; n *= 2) {
    BDPTI_VEC a = BDPTI_V(low)(v, v), b = BDPTI_V(high)(v, v);
    v = BDPTI_CHOOSE(a > b, a, b);
  }
  top = BDPTI_LANE(v, 0);
#else
  for (n = 1; n < BDPTI_LANES; n++) top = BDPTI_LANE(v, n) > top ? BDPTI_LANE(v, n) : top;
#endif
  return top;
}

/* 7.3  exp, sqrt and the normal distribution
 *
 *   math      exp x = 2^n e^r,  n = round(x / ln 2),  r = x - n ln 2 in [-0.35, 0.35]
 *             e^r = 1 + r + r^2 p(r),  p of degree 4
 *   source    range reduction of Cody and Waite 1980; coefficients our own (equal-ripple fit)
 *   check     tests/test_kernels.c exp: at most 1 ulp on [-87.3, 88.7]; 0 below, inf above, NaN
 *
 * Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits; shifting those bits
 * into the exponent field of e^r multiplies by 2^n. ln 2 is split so that n times its first part is
 * exact. DEVIATION from libm: results below FLT_MIN are 0 rather than denormal, because arithmetic
 * on denormals is a hundred times slower and a softmax has no use for them. exp_vec turns x > 88.72
 * into inf and NaN into NaN with one comparison; exp_low leaves that out, for arguments not above 0.
 *
 * In double precision, which exists for checking, libm does these functions lane by lane.
 */
#if BDPTI_DOUBLE
BDPTI_INLINE BDPTI_VEC BDPTI_V(exp_vec)(BDPTI_VEC x) {
  int l;
  for (l = 0; l < BDPTI_LANES; l++) BDPTI_LANE(x, l) = exp(BDPTI_LANE(x, l));
  return x;
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(exp_low)(BDPTI_VEC x) { return BDPTI_V(exp_vec)(x); }

BDPTI_INLINE BDPTI_VEC BDPTI_V(sqrt_vec)(BDPTI_VEC x) {
  int l;
  for (l = 0; l < BDPTI_LANES; l++) BDPTI_LANE(x, l) = sqrt(BDPTI_LANE(x, l));
  return x;
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(normal)(BDPTI_VEC z, BDPTI_VEC *density) {
  BDPTI_VEC phi = z;
  int l;
  for (l = 0; l < BDPTI_LANES; l++) {
    BDPTI_LANE(phi, l) = 0.5 * erfc(BDPTI_LANE(z, l) * -0.70710678118654752440);
  }
  *density = BDPTI_V(exp_vec)(z * z * -0.5) * 0.39894228040143267794;
  return phi;
}
#else
BDPTI_INLINE BDPTI_VEC BDPTI_V(exp_low)(BDPTI_VEC x) {
  const BDPTI_VEC magic = BDPTI_V(splat)(12582912.0f), zero = BDPTI_V(splat)(0.0f);
  BDPTI_VEC t = x * 1.44269504f + magic, n = t - magic, r, p;
  r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  p = r * 0.0013813145f + 0.0083694188f;
  p = p * r + 0.0416684560f;
  p = p * r + 0.1666651517f;
  p = p * r + 0.4999999404f;
  p = (r * r) * p + r;
  p = p + 1.0f;
  p = BDPTI_V(from_bits)(BDPTI_V(to_bits)(p) + (BDPTI_V(to_bits)(t) << 23));
  return BDPTI_CHOOSE(x < BDPTI_V(splat)(-87.33654f), zero, p);
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(exp_vec)(BDPTI_VEC x) {
  const BDPTI_VEC huge = BDPTI_V(splat)(3e38f) * 10.0f;
  return BDPTI_CHOOSE(x <= BDPTI_V(splat)(88.72283f), BDPTI_V(exp_low)(x), x + huge);
}

/* sqrt x = x / sqrt(x): a first guess of 1/sqrt(x) from halving the exponent, three Newton steps, one
 * correction of the product. No division, within 1 ulp; used where a vector is needed (AdamW).
 */
BDPTI_INLINE BDPTI_VEC BDPTI_V(sqrt_vec)(BDPTI_VEC x) {
  BDPTI_VEC y, s, half = x * 0.5f;
  BDPTI_BITS guess = BDPTI_V(to_bits)(x) >> 1;
  int i;
  guess = 0x5f375a86u - guess;
  y = BDPTI_V(from_bits)(guess);
  for (i = 0; i < 3; i++) y = y * (1.5f - half * y * y);
  s = x * y;
  return s + (x - s * s) * (y * 0.5f);
}

/* The normal distribution Phi(z) = (1 + erf(z / sqrt 2)) / 2 and its density, both for GELU
 *
 *   math      Phi(-a) = exp(-a^2/2) t P(t),  t = 1 / (1 + 0.27 a),  P of degree 8;  a = |z|
 *             Phi(z) = Phi(-a) if z < 0, else 1 - Phi(-a)
 *   source    the form is that of Abramowitz and Stegun 7.1.26 with more terms; coefficients our own
 *   check     tests/test_kernels.c gelu: |GELU - exact| <= 4e-7 max(1, |z|), relative error in the
 *             tail
 *
 * erf itself never appears. 1 + erf(z / sqrt 2) cancels for negative z and would leave GELU(-6) with
 * no correct digit; the tail form keeps relative accuracy until exp underflows at z = -13.2. Its
 * error grows with z^2, because the rounding of a^2 is multiplied by the exponential.
 */
BDPTI_INLINE BDPTI_VEC BDPTI_V(normal)(BDPTI_VEC z, BDPTI_VEC *density) {
  const BDPTI_VEC one = BDPTI_V(splat)(1.0f);
  BDPTI_VEC a = BDPTI_CHOOSE(z < BDPTI_V(splat)(0.0f), -z, z);
  BDPTI_VEC e = BDPTI_V(exp_low)(a * a * -0.5f), t = one / (a * 0.27f + 1.0f), p;
  p = t * 0.0289610866f - 0.1264857948f;
  p = p * t + 0.1697860360f;
  p = p * t - 0.0692106262f;
  p = p * t + 0.1078255326f;
  p = p * t + 0.0720496476f;
  p = p * t + 0.1018105969f;
  p = p * t + 0.1075428724f;
  p = p * t + 0.1077206582f;
  p = p * t * e;
  *density = e * 0.3989422804f;
  return BDPTI_CHOOSE(z < BDPTI_V(splat)(0.0f), p, one - p);
}
#endif

/* GELU(z) = z Phi(z) and its derivative Phi(z) + z phi(z): Hendrycks and Gimpel 2016, eq. 1. */
BDPTI_INLINE BDPTI_VEC BDPTI_V(gelu)(BDPTI_VEC z) {
  BDPTI_VEC density;
  return z * BDPTI_V(normal)(z, &density);
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(gelu_slope)(BDPTI_VEC z) {
  BDPTI_VEC density, phi = BDPTI_V(normal)(z, &density);
  return phi + z * density;
}

/* 7.4  The matrix product                                                                 >>matmul
 *
 *   math      c[i,j] = sum_p a[i,p] b[p,j], then the epilogue of 7.1
 *   shape     a[M,K] b[K,N] -> c[M,N], any strides on a and b, rows of c contiguous
 *   source    blocking after Goto and van de Geijn 2008, without packing A
 *   check     tests/test_kernels.c matmul: against bdpti_matmul_naive, random shapes and epilogues
 *
 * A multiply-add takes two operands from somewhere. If they came from memory, memory would set the
 * pace; so a tile of C is held in registers, and each step of p reads one column of A (ROWS numbers)
 * and one row of B (two vectors) and does 2 * ROWS vector multiply-adds. With 12 rows that is 14
 * loads for 24 multiply-adds, and a core that loads and multiplies twice per cycle is never short.
 *
 * B is copied into panels of two vectors, rows of a panel adjacent, so the inner loop reads it as one
 * stream whatever its layout was. A row-major A is read in place, one broadcast per row and step:
 * copying it costs more than it gains. A transposed A (the dY of dW += dY^T X) is copied in groups of
 * rows, because its steps are a whole row of dY apart and each would touch another page.
 *
 * The order of the tiles decides what the memory sees. Rows go outside and panels inside, so C is
 * written along its rows, page after page, and a row of A tiles stays in the first cache while the
 * packed block, at most 200,000 numbers, stays in the second. The reverse order loses a tenth at
 * these sizes: every tile then begins on twelve new pages of C. C is fetched ahead while the tile is
 * computed.
 *
 * Rejected: a kernel per layout. The strides of A and the packing of B absorb the difference; only
 * the copy loops know about layouts.
 */
#if BDPTI_SHUFFLE
/* Transposes a square of LANES x LANES in registers. Interleaving row i with row i + LANES/2 is a
 * perfect shuffle of the square's elements; log2(LANES) perfect shuffles exchange the upper and the
 * lower half of an element's index bits, that is, its row and its column. With fewer `rows` the last
 * one stands in for those that are missing. */
BDPTI_INLINE void BDPTI_V(transpose)(const bdpt_real *in, size_t in_row, size_t rows, bdpt_real *out,
                                     size_t out_row) {
  BDPTI_VEC r[BDPTI_LANES], t[BDPTI_LANES];
  int i, round;
  BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) {
    r[i] = BDPTI_V(load)(in);
    if ((size_t)i + 1 < rows) in += in_row;
  }
  BDPTI_UNROLL for (round = 1; round < BDPTI_LANES; round *= 2) {
    BDPTI_UNROLL for (i = 0; i < BDPTI_LANES / 2; i++) {
      t[2 * i] = BDPTI_V(low)(r[i], r[i + BDPTI_LANES / 2]);
      t[2 * i + 1] = BDPTI_V(high)(r[i], r[i + BDPTI_LANES / 2]);
    }
    BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) r[i] = t[i];
  }
  BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) BDPTI_V(store)(out + (size_t)i * out_row, r[i]);
}
#endif

/* Copies columns j .. j+cols of B, rows p0 .. p0+pn, to out[pn][ld]. What fills the rest of ld is
 * multiplied, but never stored where anyone looks. */
static void BDPTI_V(pack_panel)(const bdpti_gemm *g, size_t p0, size_t pn, size_t j, size_t cols,
                                bdpt_real *out, size_t ld) {
  const bdpt_real *b = g->b + p0 * g->b_row + j * g->b_col;
  size_t p = 0, c;
  if (g->b_col == 1) {
    for (; p < pn; p++, b += g->b_row, out += ld) {
      for (c = 0; c < ld; c += BDPTI_LANES) {
        size_t left = cols > c ? cols - c : 0;
        BDPTI_V(store)(out + c, BDPTI_V(load_n)(b + c, left));
      }
    }
    return;
  }
#if BDPTI_SHUFFLE
  if (g->b_row == 1) {
    for (; p + BDPTI_LANES <= pn; p += BDPTI_LANES) {
      for (c = 0; c < ld; c += BDPTI_LANES) {
        const size_t rows = cols - c < BDPTI_LANES ? cols - c : BDPTI_LANES;
        size_t q;
        for (q = c; q < c + rows; q++) BDPTI_PREFETCH(b, p + 64 + q * g->b_col, 0);
        BDPTI_V(transpose)(b + p + c * g->b_col, g->b_col, rows, out + p * ld + c, ld);
      }
    }
  }
#endif
  for (; p < pn; p++) {
    for (c = 0; c < ld; c++) out[p * ld + c] = c < cols ? b[p * g->b_row + c * g->b_col] : 0;
  }
}

/* The last panel is one vector wide if that suffices: attention on 65 tokens would otherwise compute
 * 96 columns for 65. */
static void BDPTI_V(pack)(const bdpti_gemm *g, const bdpti_block *b, size_t panel0, size_t panel1) {
  size_t panel;
  for (panel = panel0; panel < panel1; panel++) {
    size_t j = panel * BDPTI_PANEL, left = b->jn - j;
    size_t ld = left > BDPTI_LANES ? BDPTI_PANEL : BDPTI_LANES;
    BDPTI_V(pack_panel)(g, b->p0, b->pn, b->j0 + j, left < ld ? left : ld,
                        b->packed + j * b->pn, ld);
  }
}

/* The tile: `rows` and `width` are constants at every call, so the loops unroll and s lives in
 * registers. Every element of C is one chain of multiply-adds over p in ascending order, in every
 * tile shape: how rows are grouped, and so the number of threads, cannot change a bit. */
typedef struct BDPTI_V(tile) {
  size_t k, a_row, a_col, c_row;
  const bdpt_real *a, *b, *bias;
  bdpt_real *c;
  int add;
} BDPTI_V(tile);

BDPTI_INLINE void BDPTI_V(tile_body)(const BDPTI_V(tile) *t, const int rows, const int width) {
  const BDPTI_VEC zero = BDPTI_V(splat)(0);
  BDPTI_VEC left[BDPTI_ROWS], right[BDPTI_ROWS], b0 = zero, b1 = zero, x;
  const bdpt_real *a0 = t->a, *b = t->b, *bias = t->bias;
  const size_t a_row = t->a_row, a_col = t->a_col, c_row = t->c_row;
  const bdpt_real *a3 = a0 + 3 * a_row, *a6 = a0 + 6 * a_row, *a9 = a0 + 9 * a_row;
  const int add = t->add;
  bdpt_real *c = t->c;
  size_t k;
  int i;
  BDPTI_UNROLL for (i = 0; i < rows; i++) {
    BDPTI_PREFETCH(c, (size_t)i * c_row, 1);
    BDPTI_PREFETCH(c, (size_t)i * c_row + BDPTI_LANES, 1);
    left[i] = right[i] = zero;
  }
  for (k = t->k; k > 0; k--) {
    b0 = BDPTI_V(load)(b);
    if (width > 1) b1 = BDPTI_V(load)(b + BDPTI_LANES);
    BDPTI_UNROLL for (i = 0; i < rows; i++) {
      const bdpt_real *row = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : a9;
      x = BDPTI_V(splat)(row[(size_t)(i % 3) * a_row]);
      left[i] += x * b0;
      if (width > 1) right[i] += x * b1;
    }
    a0 += a_col; a3 += a_col; a6 += a_col; a9 += a_col;
    b += width * BDPTI_LANES;
  }
  b0 = bias ? BDPTI_V(load)(bias) : zero;
  b1 = bias && width > 1 ? BDPTI_V(load)(bias + BDPTI_LANES) : zero;
  BDPTI_UNROLL for (i = 0; i < rows; i++, c += c_row) {
    x = left[i] + b0;
    if (add) x = BDPTI_V(load)(c) + x;
    BDPTI_V(store)(c, x);
    if (width == 1) continue;
    x = right[i] + b1;
    if (add) x = BDPTI_V(load)(c + BDPTI_LANES) + x;
    BDPTI_V(store)(c + BDPTI_LANES, x);
  }
}

/* One function per number of rows, so that 197 tokens are not computed as 204. */
#define BDPTI_TILE(R)                                                                            \
  static void BDPTI_V(tile_##R##_1)(const BDPTI_V(tile) *t) { BDPTI_V(tile_body)(t, R, 1); }     \
  static void BDPTI_V(tile_##R##_2)(const BDPTI_V(tile) *t) { BDPTI_V(tile_body)(t, R, 2); }
#define BDPTI_BOTH(R) { BDPTI_V(tile_##R##_1), BDPTI_V(tile_##R##_2) }
BDPTI_TILE(1) BDPTI_TILE(2) BDPTI_TILE(3) BDPTI_TILE(4) BDPTI_TILE(5) BDPTI_TILE(6)
#if BDPTI_ROWS == 12
BDPTI_TILE(7) BDPTI_TILE(8) BDPTI_TILE(9) BDPTI_TILE(10) BDPTI_TILE(11) BDPTI_TILE(12)
#endif
static void (*const BDPTI_V(tiles)[BDPTI_ROWS][2])(const BDPTI_V(tile) *t) = {
  BDPTI_BOTH(1), BDPTI_BOTH(2), BDPTI_BOTH(3), BDPTI_BOTH(4), BDPTI_BOTH(5), BDPTI_BOTH(6),
#if BDPTI_ROWS == 12
  BDPTI_BOTH(7), BDPTI_BOTH(8), BDPTI_BOTH(9), BDPTI_BOTH(10), BDPTI_BOTH(11), BDPTI_BOTH(12),
#endif
};
#undef BDPTI_TILE
#undef BDPTI_BOTH

/* Takes the sums of a tile from the stack, where it is still in the first cache, through the epilogue
 * into C. When K is cut into blocks, the first block applies everything additive and the later ones
 * add to it; GELU waits for the last. */
static void BDPTI_V(finish)(const bdpti_gemm *g, const bdpti_block *b, const BDPTI_VEC *sums,
                            size_t ld, size_t i0, size_t rows, size_t j0, size_t cols) {
  const int first = b->p0 == 0, last = b->p0 + b->pn == g->k;
  const bdpt_real alpha = g->alpha == 0 ? (bdpt_real)1 : g->alpha;
  const size_t per = g->rows_per_scale ? g->rows_per_scale : 1;
  size_t i, j;
  for (i = i0; i < i0 + rows; i++, sums += ld / BDPTI_LANES) {
    const bdpt_real scale = g->row_scale ? g->row_scale[i / per] : (bdpt_real)1;
    for (j = 0; j < cols; j += BDPTI_LANES) {
      const size_t n = cols - j, at = j0 + j;
      bdpt_real *c = g->c + i * g->c_row + at;
      BDPTI_VEC x = sums[j / BDPTI_LANES] * alpha;
      if (first && g->bias) x += BDPTI_V(load_n)(g->bias + at, n);
      if (g->dgelu) x *= BDPTI_V(gelu_slope)(BDPTI_V(load_n)(g->dgelu + i * g->dgelu_row + at, n));
      x *= scale;
      if (first && g->residual) x += BDPTI_V(load_n)(g->residual + i * g->residual_row + at, n);
      if (!first || g->accumulate) x += BDPTI_V(load_n)(c, n);
      BDPTI_V(store_n)(c, n, x);
      if (last && g->gelu) {
        BDPTI_V(store_n)(g->gelu + i * g->gelu_row + at, n, BDPTI_V(gelu)(x));
      }
    }
  }
}

/* One tile of C. The plain cases go from registers to C; the others through the stack. */
static void BDPTI_V(one_tile)(const bdpti_gemm *g, const bdpti_block *b, BDPTI_V(tile) *t, int plain,
                              size_t i0, size_t rows, size_t panel) {
  const size_t j = panel * BDPTI_PANEL, left = b->jn - j, j0 = b->j0 + j;
  const int width = left > BDPTI_LANES ? 2 : 1;
  const size_t ld = (size_t)width * BDPTI_LANES, cols = left < ld ? left : ld;
  BDPTI_VEC sums[2 * BDPTI_ROWS];
  plain = plain && (cols == ld || b->padded);
  t->b = b->packed + j * b->pn;
  t->c = plain ? g->c + i0 * g->c_row + j0 : (bdpt_real *)sums;
  t->c_row = plain ? g->c_row : ld;
  t->bias = plain && b->p0 == 0 && g->bias ? g->bias + j0 : NULL;
  t->add = plain && (b->p0 > 0 || g->accumulate);
  BDPTI_V(tiles)[rows - 1][width - 1](t);
  if (!plain) BDPTI_V(finish)(g, b, sums, ld, i0, rows, j0, cols);
}

/* Tiles are numbered through a packed block: group after group of rows; in a group, panel after panel;
 * on a panel, tile after tile. A group is one tile, or all of them if A is so small that it stays in
 * the second cache, so that threads with few rows share out panels instead; or, for a transposed A,
 * the COPIED tiles that are copied together.
 *
 * Rows are spread evenly, 197 as 7 tiles of 11 and 10 of 12, since a tile of 5 would leave most of the
 * multipliers idle.
 */
#define BDPTI_COPIED 16
#define BDPTI_COPY_SIZE(k) ((k) * BDPTI_ROWS + 16) /* one copied tile: a whole vector may overhang */

BDPTI_INLINE size_t BDPTI_V(row_of)(const bdpti_gemm *g, size_t tiles, size_t tile) {
  return tile * g->m / tiles;
}

/* Copies `count` tiles of a transposed A: own[tile][pn][ROWS]. Each step of p is one read along a row
 * of dY. Vectors overhang into the next step, which is written later. */
static void BDPTI_V(copy_group)(const bdpti_gemm *g, const bdpti_block *b, size_t tiles, size_t low,
                                size_t count, bdpt_real *own) {
  size_t start[BDPTI_COPIED], i, p, c;
  const bdpt_real *a = g->a + b->p0 * g->a_col;
  for (i = 0; i < count; i++) start[i] = BDPTI_V(row_of)(g, tiles, low + i);
  for (p = 0; p < b->pn; p++, a += g->a_col, own += BDPTI_ROWS) {
    bdpt_real *out = own;
    for (i = 0; i < count; i++, out += BDPTI_COPY_SIZE(b->pn)) {
      const bdpt_real *in = a + start[i];
      const size_t left = g->m - start[i];
      BDPTI_PREFETCH(in, 8 * g->a_col, 0);
      for (c = 0; c < BDPTI_ROWS; c += BDPTI_LANES) {
        BDPTI_V(store)(out + c, BDPTI_V(load_n)(in + c, left > c ? left - c : 0));
      }
    }
  }
}

/* Tiles tile0 .. tile1 of one packed block. own: room to copy A, or NULL to read it in place. */
static void BDPTI_V(multiply)(const bdpti_gemm *g, const bdpti_block *b, size_t tile0, size_t tile1,
                              bdpt_real *own) {
  const size_t tiles = (g->m + BDPTI_ROWS - 1) / BDPTI_ROWS;
  const size_t panels = (b->jn + BDPTI_PANEL - 1) / BDPTI_PANEL;
  const int copy = own && g->a_row == 1 && g->a_col > 1 && panels > 1;
  const size_t size = copy ? BDPTI_COPIED : g->m * b->pn <= 200000 && tiles > 0 ? tiles : 1;
  const size_t groups = (tiles + size - 1) / size;
  const int plain = (g->alpha == 0 || g->alpha == 1) && !g->gelu && !g->dgelu && !g->residual &&
                    !g->row_scale;
  size_t group, panel, at = 0;
  BDPTI_V(tile) t;
  t.k = b->pn;
  t.a_row = g->a_row;
  t.a_col = copy ? BDPTI_ROWS : g->a_col;
  for (group = 0; group < groups && at < tile1; group++) {
    const size_t low = group * tiles / groups, count = (group + 1) * tiles / groups - low;
    if (at + count * panels <= tile0) {
      at += count * panels;
      continue;
    }
    if (copy) BDPTI_V(copy_group)(g, b, tiles, low, count, own);
    for (panel = 0; panel < panels && at < tile1; panel++, at += count) {
      size_t i = tile0 > at ? tile0 - at : 0, end = tile1 < at + count ? tile1 - at : count;
      for (; i < end; i++) {
        const size_t i0 = BDPTI_V(row_of)(g, tiles, low + i);
        const size_t i1 = BDPTI_V(row_of)(g, tiles, low + i + 1);
        t.a = copy ? own + i * BDPTI_COPY_SIZE(b->pn) : g->a + i0 * g->a_row + b->p0 * g->a_col;
        BDPTI_V(one_tile)(g, b, &t, plain, i0, i1 - i0, panel);
      }
    }
  }
}

/* A whole product in one call and one thread, on a work buffer of bdpti_product_work numbers. */
BDPTI_INLINE void BDPTI_V(pack_all)(const bdpti_gemm *g, bdpti_block *b, bdpt_real *work) {
  b->p0 = b->j0 = 0;
  b->pn = g->k;
  b->jn = g->n;
  b->packed = work;
  b->padded = 0;
  BDPTI_V(pack)(g, b, 0, (g->n + BDPTI_PANEL - 1) / BDPTI_PANEL);
}

BDPTI_INLINE void BDPTI_V(multiply_all)(const bdpti_gemm *g, const bdpti_block *b) {
  BDPTI_V(multiply)(g, b, 0, (size_t)-1, NULL);
}

/* 7.5  Attention                                                                       >>attention
 *
 *   math      S = scale Q K^T;  P = softmax over rows of S;  O = P V;  lse_i = log sum_j exp(S_ij)
 *   shape     qkv[B,N,3,h,d] -> out[B,N,h,d], lse[B,h,N]
 *   backward  P = exp(S - lse);  dV = P^T dO;  dP = dO V^T;  D_i = sum_j dO_ij O_ij;
 *             dS = scale P (dP - D);  dQ = dS K;  dK = dS^T Q
 *   source    Vaswani et al. 2017, eq. 1; lse and D after Dao et al. 2022, section 3.1 and alg. 4
 *   check     tests/test_kernels.c attention: against loops in double, any N and d
 *
 * One task is one head of one image, and all it touches fits the second cache. Q, K and V are read
 * where the qkv product left them, as strided operands; nothing is permuted or copied but the packed
 * panels. A block of queries at a time gives S, its softmax and its rows of O, so the N x N matrix
 * never exists. P is not normalised: its row sums scale the rows of O, N/d times fewer numbers.
 *
 * The backward pass computes S again rather than keep P. That is one product more out of five, and
 * spares N numbers per token and head, which at 197 tokens would be the largest array of the tape.
 */
#ifndef BDPTI_QUERIES
#define BDPTI_QUERIES 36
#define BDPTI_QUERIES_BACK ((size_t)72)
#endif

/* y = exp(a x - c) over one row; y may be x or NULL; returns the sum. A padded row has room for whole
 * vectors, which spares the copying of its end. */
BDPTI_INLINE bdpt_real BDPTI_V(exp_row)(const bdpt_real *x, bdpt_real *y, size_t n, bdpt_real a,
                                        bdpt_real c, const int padded) {
  BDPTI_VEC sum = BDPTI_V(splat)(0);
  size_t j;
  for (j = 0; j < n; j += BDPTI_LANES) {
    const size_t room = padded ? BDPTI_LANES : n - j;
    BDPTI_VEC v = BDPTI_V(exp_low)(BDPTI_V(load_n)(x + j, room) * a - c);
    if (y) BDPTI_V(store_n)(y + j, room, v);
    sum += BDPTI_V(keep_n)(v, n - j, BDPTI_V(splat)(0));
  }
  return BDPTI_V(total)(sum);
}

BDPTI_INLINE bdpt_real BDPTI_V(max_row)(const bdpt_real *x, size_t n, bdpt_real a,
                                        const int padded) {
  const BDPTI_VEC first = BDPTI_V(splat)(x[0] * a);
  BDPTI_VEC top = first;
  size_t j;
  for (j = 0; j < n; j += BDPTI_LANES) {
    BDPTI_VEC v = BDPTI_V(load_n)(x + j, padded ? BDPTI_LANES : n - j) * a;
    v = BDPTI_V(keep_n)(v, n - j, first);
    top = BDPTI_CHOOSE(v > top, v, top);
  }
  return BDPTI_V(largest)(top);
}

/* Sets the operands of one small product. */
BDPTI_INLINE bdpti_gemm BDPTI_V(product)(size_t m, size_t n, size_t k, const bdpt_real *a,
                                         size_t a_row, size_t a_col, const bdpt_real *b,
                                         size_t b_row, size_t b_col, bdpt_real *c, size_t c_row) {
  bdpti_gemm g;
  memset(&g, 0, sizeof g);
  g.m = m; g.n = n; g.k = k;
  g.a = a; g.a_row = a_row; g.a_col = a_col;
  g.b = b; g.b_row = b_row; g.b_col = b_col;
  g.c = c; g.c_row = c_row;
  return g;
}

BDPTI_INLINE size_t BDPTI_V(round_up)(size_t n) {
  return (n + BDPTI_PANEL - 1) / BDPTI_PANEL * BDPTI_PANEL;
}

static void BDPTI_V(attention_fwd)(const bdpti_heads *h, size_t begin, size_t end, bdpt_real *work) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d, row = 3 * out_row;
  const size_t ld = BDPTI_V(round_up)(n), dp = BDPTI_V(round_up)(d);
  bdpt_real *kt = work, *vp = kt + d * ld, *s = vp + n * dp, total[BDPTI_QUERIES], top[BDPTI_QUERIES];
  size_t task, part, r, j;
  for (task = begin; task < end; task++) {
    const size_t piece = task % h->pieces, head = task / h->pieces % h->heads;
    const size_t image = task / h->pieces / h->heads;
    const size_t begin_row = piece * n / h->pieces, rows = (piece + 1) * n / h->pieces - begin_row;
    const size_t parts = (rows + BDPTI_QUERIES - 1) / BDPTI_QUERIES;
    const bdpt_real *q = h->qkv + image * n * row + head * d;
    bdpt_real *out = h->new_out + image * n * out_row + head * d;
    bdpt_real *lse = h->new_lse ? h->new_lse + (image * h->heads + head) * n : NULL;
    bdpti_gemm qk = BDPTI_V(product)(0, n, d, q, row, 1, q + out_row, 1, row, s, ld);
    bdpti_gemm pv = BDPTI_V(product)(0, d, n, s, ld, 1, q + 2 * out_row, row, 1, out, out_row);
    bdpti_block k_block, v_block;
    BDPTI_V(pack_all)(&qk, &k_block, kt);
    BDPTI_V(pack_all)(&pv, &v_block, vp);
    k_block.padded = 1;
    for (part = 0; part < parts; part++) {
      const size_t i = begin_row + part * rows / parts;
      const size_t count = begin_row + (part + 1) * rows / parts - i;
      qk.m = pv.m = count;
      qk.a = q + i * row;
      pv.c = out + i * out_row;
      BDPTI_V(multiply_all)(&qk, &k_block);
      for (r = 0; r < count; r++) {
        bdpt_real *p = s + r * ld;
        top[r] = BDPTI_V(max_row)(p, n, h->scale, 1);
        total[r] = BDPTI_V(exp_row)(p, p, n, h->scale, top[r], 1);
      }
      for (r = 0; r < count && lse; r++) lse[i + r] = top[r] + (bdpt_real)log((double)total[r]);
      BDPTI_V(multiply_all)(&pv, &v_block);
      for (r = 0; r < count; r++) {
        const bdpt_real scale = 1 / total[r];
        for (j = 0; j < d; j += BDPTI_LANES) {
          bdpt_real *o = pv.c + r * out_row + j;
          BDPTI_V(store_n)(o, d - j, BDPTI_V(load_n)(o, d - j) * scale);
        }
      }
    }
  }
}

/* One block of queries: P and dS from S and dP, in place. */
static void BDPTI_V(attention_ds)(const bdpti_heads *h, size_t count, const bdpt_real *lse,
                                  const bdpt_real *out, const bdpt_real *dout, bdpt_real *p,
                                  bdpt_real *ds, size_t ld) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d;
  size_t r, j;
  for (r = 0; r < count; r++, p += ld, ds += ld) {
    BDPTI_VEC sum = BDPTI_V(splat)(0), shift;
    for (j = 0; j < d; j += BDPTI_LANES) {
      sum += BDPTI_V(load_n)(out + r * out_row + j, d - j) *
             BDPTI_V(load_n)(dout + r * out_row + j, d - j);
    }
    shift = BDPTI_V(splat)(BDPTI_V(total)(sum));
    BDPTI_V(exp_row)(p, p, n, h->scale, lse[r], 1);
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC x = BDPTI_V(load)(ds + j) - shift;
      BDPTI_V(store)(ds + j, BDPTI_V(load)(p + j) * x * h->scale);
    }
  }
}

static void BDPTI_V(attention_bwd)(const bdpti_heads *h, size_t begin, size_t end, bdpt_real *work) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d, row = 3 * out_row;
  const size_t ld = BDPTI_V(round_up)(n), dp = BDPTI_V(round_up)(d);
  const size_t blocks = (n + BDPTI_QUERIES_BACK - 1) / BDPTI_QUERIES_BACK;
  bdpt_real *kt = work, *vt = kt + d * ld, *kp = vt + d * ld, *ap = kp + n * dp;
  bdpt_real *s = ap + BDPTI_QUERIES_BACK * dp, *t = s + BDPTI_QUERIES_BACK * ld;
  size_t task, part;
  for (task = begin; task < end; task++) {
    const size_t image = task / h->heads, head = task % h->heads;
    const bdpt_real *q = h->qkv + image * n * row + head * d, *k = q + out_row, *v = k + out_row;
    const bdpt_real *out = h->out + image * n * out_row + head * d;
    const bdpt_real *dout = h->dout + image * n * out_row + head * d;
    const bdpt_real *lse = h->lse + task * n;
    bdpt_real *dq = h->dqkv + image * n * row + head * d, *dk = dq + out_row, *dv = dk + out_row;
    bdpti_gemm qk = BDPTI_V(product)(0, n, d, q, row, 1, k, 1, row, s, ld);
    bdpti_gemm dp_ = BDPTI_V(product)(0, n, d, dout, out_row, 1, v, 1, row, t, ld);
    bdpti_gemm dq_ = BDPTI_V(product)(0, d, n, t, ld, 1, k, row, 1, dq, row);
    bdpti_gemm dv_ = BDPTI_V(product)(n, d, 0, s, 1, ld, dout, out_row, 1, dv, row);
    bdpti_gemm dk_ = BDPTI_V(product)(n, d, 0, t, 1, ld, q, row, 1, dk, row);
    bdpti_block kt_block, vt_block, k_block, block;
    BDPTI_V(pack_all)(&qk, &kt_block, kt);
    BDPTI_V(pack_all)(&dp_, &vt_block, vt);
    BDPTI_V(pack_all)(&dq_, &k_block, kp);
    kt_block.padded = vt_block.padded = 1;
    for (part = 0; part < blocks; part++) {
      const size_t i = part * n / blocks, count = (part + 1) * n / blocks - i;
      qk.m = dp_.m = dq_.m = dv_.k = dk_.k = count;
      qk.a = q + i * row;
      dp_.a = dv_.b = dout + i * out_row;
      dk_.b = q + i * row;
      dq_.c = dq + i * row;
      dv_.accumulate = dk_.accumulate = part > 0;
      BDPTI_V(multiply_all)(&qk, &kt_block);
      BDPTI_V(multiply_all)(&dp_, &vt_block);
      BDPTI_V(attention_ds)(h, count, lse + i, out + i * out_row, dp_.a, s, t, ld);
      BDPTI_V(multiply_all)(&dq_, &k_block);
      BDPTI_V(pack_all)(&dv_, &block, ap);
      BDPTI_V(multiply_all)(&dv_, &block);
      BDPTI_V(pack_all)(&dk_, &block, ap);
      BDPTI_V(multiply_all)(&dk_, &block);
    }
  }
}

/* 7.6  Rows
 *
 * Layer normalisation                                                                  >>layernorm
 *   math      y = gamma xh + beta,  xh = (x - mean) rstd,  rstd = 1 / sqrt(var + eps), var biased
 *   shape     x[R,D] gamma[D] beta[D] -> y[R,D]; keeps mean[R] rstd[R]
 *   backward  g = gamma dy;  dx = rstd (g - mean(g) - xh mean(g xh));
 *             dgamma += sum_R dy xh;  dbeta += sum_R dy
 *   source    Ba et al. 2016, eq. 3; timm eps = 1e-6
 *   check     tests/test_kernels.c layernorm
 *
 * The variance is taken in a second pass over the row, which is in cache: E[x^2] - E[x]^2 in one pass
 * loses all digits when the mean is large against the deviation, and residual streams do that. The
 * backward pass makes dx and the sums for dgamma and dbeta in one reading of x and dy.
 */
static void BDPTI_V(layernorm_fwd)(const bdpti_span *s, size_t begin, size_t end) {
  const size_t n = s->width;
  size_t i, j;
  for (i = begin; i < end; i++) {
    const bdpt_real *x = s->x + i * n;
    BDPTI_VEC sum = BDPTI_V(splat)(0), square = sum, m, r;
    bdpt_real mean, rstd;
    for (j = 0; j < n; j += BDPTI_LANES) sum += BDPTI_V(load_n)(x + j, n - j);
    mean = BDPTI_V(total)(sum) / (bdpt_real)n;
    m = BDPTI_V(splat)(mean);
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC v = BDPTI_V(load_n)(x + j, n - j) - m;
      v = BDPTI_V(keep_n)(v, n - j, BDPTI_V(splat)(0));
      square += v * v;
    }
    rstd = (bdpt_real)(1 / sqrt((double)(BDPTI_V(total)(square) / (bdpt_real)n + s->a)));
    r = BDPTI_V(splat)(rstd);
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC v = (BDPTI_V(load_n)(x + j, n - j) - m) * r * BDPTI_V(load_n)(s->gamma + j, n - j);
      BDPTI_V(store_n)(s->u + i * n + j, n - j, v + BDPTI_V(load_n)(s->beta + j, n - j));
    }
    if (s->v) s->v[i] = mean;
    if (s->w) s->w[i] = rstd;
  }
}

static void BDPTI_V(layernorm_bwd)(const bdpti_span *s, size_t begin, size_t end, bdpt_real *sums) {
  const size_t n = s->width;
  bdpt_real *dgamma = sums, *dbeta = sums + n;
  size_t i, j;
  memset(sums, 0, 2 * n * sizeof *sums);
  for (i = begin; i < end; i++) {
    const bdpt_real *x = s->x + i * n, *dy = s->y + i * n;
    const BDPTI_VEC m = BDPTI_V(splat)(s->mean[i]), r = BDPTI_V(splat)(s->rstd[i]);
    BDPTI_VEC g_sum = BDPTI_V(splat)(0), gx_sum = g_sum, g_mean, gx_mean;
    for (j = 0; j < n; j += BDPTI_LANES) {
      const size_t left = n - j;
      BDPTI_VEC xh = (BDPTI_V(load_n)(x + j, left) - m) * r, d = BDPTI_V(load_n)(dy + j, left);
      BDPTI_VEC g = d * BDPTI_V(load_n)(s->gamma + j, left), dxh = d * xh;
      g_sum += g; /* d is zero behind the row, so xh may be anything there */
      gx_sum += g * xh;
      BDPTI_V(store_n)(dgamma + j, left, BDPTI_V(load_n)(dgamma + j, left) + dxh);
      BDPTI_V(store_n)(dbeta + j, left, BDPTI_V(load_n)(dbeta + j, left) + d);
    }
    if (!s->u) continue;
    g_mean = BDPTI_V(splat)(BDPTI_V(total)(g_sum) / (bdpt_real)n);
    gx_mean = BDPTI_V(splat)(BDPTI_V(total)(gx_sum) / (bdpt_real)n);
    for (j = 0; j < n; j += BDPTI_LANES) {
      const size_t left = n - j;
      BDPTI_VEC xh = (BDPTI_V(load_n)(x + j, left) - m) * r;
      BDPTI_VEC g = BDPTI_V(load_n)(dy + j, left) * BDPTI_V(load_n)(s->gamma + j, left);
      BDPTI_VEC dx = r * (g - g_mean - xh * gx_mean);
      if (s->accumulate) dx = BDPTI_V(load_n)(s->u + i * n + j, left) + dx;
      BDPTI_V(store_n)(s->u + i * n + j, left, dx);
    }
  }
}

/* Softmax and log-sum-exp
 *
 *   math      y = exp(x - max x) / sum exp(x - max x);  lse = max x + log sum exp(x - max x)
 *   shape     x[R,D] -> y[R,D] and lse[R], either may be absent; y may be x
 *   backward  dx = y (dy - sum(dy y))
 *   source    standard; subtracting the maximum makes overflow impossible and the sum at least 1
 *   check     tests/test_kernels.c softmax
 */
static void BDPTI_V(softmax_fwd)(const bdpti_span *s, size_t begin, size_t end) {
  const size_t n = s->width;
  size_t i, j;
  for (i = begin; i < end && n > 0; i++) {
    const bdpt_real *x = s->x + i * n;
    bdpt_real *y = s->u ? s->u + i * n : NULL, top = BDPTI_V(max_row)(x, n, 1, 0);
    bdpt_real sum = BDPTI_V(exp_row)(x, y, n, 1, top, 0);
    for (j = 0; y && j < n; j += BDPTI_LANES) {
      BDPTI_V(store_n)(y + j, n - j, BDPTI_V(load_n)(y + j, n - j) * (1 / sum));
    }
    if (s->v) s->v[i] = top + (bdpt_real)log((double)sum);
  }
}

static void BDPTI_V(softmax_bwd)(const bdpti_span *s, size_t begin, size_t end) {
  const size_t n = s->width;
  size_t i, j;
  for (i = begin; i < end; i++) {
    const bdpt_real *y = s->x + i * n, *dy = s->y + i * n;
    bdpt_real *dx = s->u + i * n;
    BDPTI_VEC sum = BDPTI_V(splat)(0);
    for (j = 0; j < n; j += BDPTI_LANES) {
      sum += BDPTI_V(load_n)(y + j, n - j) * BDPTI_V(load_n)(dy + j, n - j);
    }
    sum = BDPTI_V(splat)(BDPTI_V(total)(sum));
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC d = BDPTI_V(load_n)(y + j, n - j) * (BDPTI_V(load_n)(dy + j, n - j) - sum);
      if (s->accumulate) d = BDPTI_V(load_n)(dx + j, n - j) + d;
      BDPTI_V(store_n)(dx + j, n - j, d);
    }
  }
}

/* Column sums, the gradient of a bias: x[R,D] -> sums[D]. */
static void BDPTI_V(column_sum)(const bdpti_span *s, size_t begin, size_t end, bdpt_real *sums) {
  const size_t n = s->width;
  size_t i, j;
  memset(sums, 0, n * sizeof *sums);
  for (i = begin; i < end; i++) {
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC v = BDPTI_V(load_n)(s->x + i * n + j, n - j);
      BDPTI_V(store_n)(sums + j, n - j, BDPTI_V(load_n)(sums + j, n - j) + v);
    }
  }
}

/* 7.7  Elements
 *
 * GELU and its gradient dz = dy gelu'(z); u = a x + b y, from which sums, scalings, mixtures and
 * moving averages are made; the same with one factor per sample; AdamW.
 */
static void BDPTI_V(gelu_fwd)(const bdpti_span *s, size_t begin, size_t end) {
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    BDPTI_V(store_n)(s->u + i, end - i, BDPTI_V(gelu)(BDPTI_V(load_n)(s->x + i, end - i)));
  }
}

static void BDPTI_V(gelu_bwd)(const bdpti_span *s, size_t begin, size_t end) {
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    const size_t n = end - i;
    BDPTI_VEC d = BDPTI_V(load_n)(s->y + i, n) * BDPTI_V(gelu_slope)(BDPTI_V(load_n)(s->x + i, n));
    if (s->accumulate) d = BDPTI_V(load_n)(s->u + i, n) + d;
    BDPTI_V(store_n)(s->u + i, n, d);
  }
}

static void BDPTI_V(exp)(const bdpti_span *s, size_t begin, size_t end) {
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    BDPTI_V(store_n)(s->u + i, end - i, BDPTI_V(exp_vec)(BDPTI_V(load_n)(s->x + i, end - i)));
  }
}

static void BDPTI_V(axpby)(const bdpti_span *s, size_t begin, size_t end) {
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    BDPTI_VEC v = BDPTI_V(load_n)(s->x + i, end - i) * s->a;
    if (s->y) v += BDPTI_V(load_n)(s->y + i, end - i) * s->b;
    BDPTI_V(store_n)(s->u + i, end - i, v);
  }
}

/* Rows of `width` numbers, one factor z[i] per row: u = y + z x, or z x if y is NULL (drop path). */
static void BDPTI_V(sample_axpy)(const bdpti_span *s, size_t begin, size_t end) {
  const size_t n = s->width;
  size_t i, j;
  for (i = begin; i < end; i++) {
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC v = BDPTI_V(load_n)(s->x + i * n + j, n - j) * s->z[i];
      if (s->y) v = BDPTI_V(load_n)(s->y + i * n + j, n - j) + v;
      BDPTI_V(store_n)(s->u + i * n + j, n - j, v);
    }
  }
}

/* AdamW, one pass over parameter and both moments
 *
 *   math      p *= 1 - lr wd;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2;
 *             p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *   shape     p g m v [n]
 *   source    Loshchilov and Hutter 2019, alg. 2; order of operations as torch.optim.AdamW
 *   check     tests/test_kernels.c adamw: against the formula in double
 *
 * The caller's driver folds the step number into the constants, in double: a = 1 - lr wd, b = 1 - b1,
 * c = b2, d = 1 - b2, e = 1 / sqrt(1 - b2^t), f = eps; width is unused and z[0] = lr / (1 - b1^t).
 */
static void BDPTI_V(adamw)(const bdpti_span *s, size_t begin, size_t end) {
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    const size_t n = end - i;
    BDPTI_VEC g = BDPTI_V(load_n)(s->x + i, n), p = BDPTI_V(load_n)(s->u + i, n);
    BDPTI_VEC m = BDPTI_V(load_n)(s->v + i, n), v = BDPTI_V(load_n)(s->w + i, n);
    m = m + (g - m) * s->b;
    v = v * s->c + g * g * s->d;
    p = p * s->a - m / (BDPTI_V(sqrt_vec)(v) * s->e + s->f) * s->z[0];
    BDPTI_V(store_n)(s->u + i, n, p);
    BDPTI_V(store_n)(s->v + i, n, m);
    BDPTI_V(store_n)(s->w + i, n, v);
  }
}

/* Reductions over one chunk: four running vectors for at most 1024 elements, then double. */
static double BDPTI_V(dot)(const bdpti_span *s, size_t begin, size_t end) {
  double sum = 0;
  while (begin < end) {
    const size_t stop = end - begin > 1024 ? begin + 1024 : end;
    BDPTI_VEC t[4];
    int l;
    for (l = 0; l < 4; l++) t[l] = BDPTI_V(splat)(0);
    for (; begin < stop; begin += BDPTI_LANES, l++) {
      BDPTI_VEC x = BDPTI_V(load_n)(s->x + begin, stop - begin);
      t[l & 3] += s->y ? x * BDPTI_V(load_n)(s->y + begin, stop - begin) : x;
    }
    begin = stop;
    sum += (double)BDPTI_V(total)((t[0] + t[1]) + (t[2] + t[3]));
  }
  return sum;
}

/* sum x (y - z): the gradient of the mixing weight m in m y + (1 - m) z. */
static double BDPTI_V(dot_difference)(const bdpti_span *s, size_t begin, size_t end) {
  double sum = 0;
  while (begin < end) {
    const size_t stop = end - begin > 1024 ? begin + 1024 : end;
    BDPTI_VEC t = BDPTI_V(splat)(0);
    for (; begin < stop; begin += BDPTI_LANES) {
      const size_t n = stop - begin;
      t += BDPTI_V(load_n)(s->x + begin, n) *
           (BDPTI_V(load_n)(s->y + begin, n) - BDPTI_V(load_n)(s->z + begin, n));
    }
    begin = stop;
    sum += (double)BDPTI_V(total)(t);
  }
  return sum;
}

/* x - x is 0 for every finite x and NaN for the others, and NaN survives a sum. */
static double BDPTI_V(not_finite)(const bdpti_span *s, size_t begin, size_t end) {
  BDPTI_VEC t = BDPTI_V(splat)(0);
  size_t i;
  bdpt_real sum;
  for (i = begin; i < end; i += BDPTI_LANES) {
    BDPTI_VEC x = BDPTI_V(load_n)(s->x + i, end - i);
    t += x - x;
  }
  sum = BDPTI_V(total)(t);
  return sum == 0 ? 0 : 1;
}

static const bdpti_isa BDPTI_V(isa) = {
#if BDPTI_ISA_PASS == 3
  "avx512",
#elif BDPTI_ISA_PASS == 2
  "avx2",
#else
  "portable",
#endif
  BDPTI_ROWS, BDPTI_PANEL, BDPTI_V(pack), BDPTI_V(multiply),
  BDPTI_V(attention_fwd), BDPTI_V(attention_bwd),
  BDPTI_V(exp), BDPTI_V(gelu_fwd), BDPTI_V(gelu_bwd), BDPTI_V(layernorm_fwd),
  BDPTI_V(softmax_fwd), BDPTI_V(softmax_bwd), BDPTI_V(axpby), BDPTI_V(sample_axpy), BDPTI_V(adamw),
  BDPTI_V(layernorm_bwd), BDPTI_V(column_sum),
  BDPTI_V(dot), BDPTI_V(dot_difference), BDPTI_V(not_finite)
};

#undef BDPTI_V
#undef BDPTI_BYTES
#undef BDPTI_ROWS
#undef BDPTI_SHUFFLE
#if defined(__clang__) && BDPTI_ISA_PASS > 1
#pragma clang attribute pop
#elif defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#endif /* BDPTI_ISA_PASS */

#if defined(BOUNDARYDPT_IMPLEMENTATION) && !defined(BDPTI_ISA_PASS) && !defined(BDPTI_IMPLEMENTED_2)
#define BDPTI_IMPLEMENTED_2

/* 7.8  The passes and the choice among them
 *
 * AVX-512 here means F, DQ, BW and VL: every processor since Skylake-SP and Zen 4. What the processor
 * and the operating system support is the compiler runtime's question; it reads cpuid and xgetbv.
 */
#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define BDPTI_X86 1
#else
#define BDPTI_X86 0
#endif

#define BDPTI_ISA_PASS 1
#include "boundarydpt.h"
#undef BDPTI_ISA_PASS
#if BDPTI_X86
#define BDPTI_ISA_PASS 2
#include "boundarydpt.h"
#undef BDPTI_ISA_PASS
#define BDPTI_ISA_PASS 3
#include "boundarydpt.h"
#undef BDPTI_ISA_PASS
#endif

static const bdpti_isa *bdpti_isa_select(int wanted) {
#if BDPTI_X86
  if (wanted <= 0 || wanted > BDPT_ISA_AVX512) wanted = BDPT_ISA_AVX512;
  __builtin_cpu_init();
  if (wanted >= BDPT_ISA_AVX512 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return &bdpti_avx512_isa;
  }
  if (wanted >= BDPT_ISA_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return &bdpti_avx2_isa;
  }
#else
  (void)wanted;
#endif
  return &bdpti_portable_isa;
}

static const char *bdpti_isa_label(const bdpti_isa *isa) { return isa ? isa->name : "none"; }

/* 7.9  Sharing out
 *
 * Work is cut into `count` items and each thread takes one run of adjacent items, as equal as whole
 * grains allow. Starting threads costs some microseconds, so a loop whose `cost` (in rough
 * nanoseconds, all items together) would not pay for that stays on the calling thread.
 */
BDPTI_FN int bdpti_team(const bdpt_context *ctx, double cost) {
  const double worth = cost / 10000.0;
  return worth < 2 ? 1 : worth < ctx->threads ? (int)worth : ctx->threads;
}

BDPTI_FN void bdpti_each(const bdpt_context *ctx, bdpti_kernel kernel, const bdpti_span *s,
                         size_t count, size_t grain, double cost) {
  const size_t grains = (count + grain - 1) / grain;
  const int team = bdpti_team(ctx, cost);
  int t;
  if (team == 1) {
    kernel(s, 0, count);
    return;
  }
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static, 1))
  for (t = 0; t < team; t++) {
    const size_t begin = grains * (size_t)t / (size_t)team * grain;
    const size_t end = grains * (size_t)(t + 1) / (size_t)team * grain;
    if (begin < end) kernel(s, begin, end < count ? end : count);
  }
}

/* A sum over everything goes by chunks whose number depends on the length alone, each made by one
 * thread; the chunk sums are then added in order, in double. */
#define BDPTI_CHUNKS 64

BDPTI_FN double bdpti_reduce(const bdpt_context *ctx, bdpti_reducer kernel, const bdpti_span *s,
                             size_t n) {
  double part[BDPTI_CHUNKS], sum = 0;
  const size_t blocks = (n + 1023) / 1024;
  const int chunks = blocks < BDPTI_CHUNKS ? (int)blocks : BDPTI_CHUNKS;
  const int team = bdpti_team(ctx, (double)n * 0.3);
  int c;
  (void)team;
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static))
  for (c = 0; c < chunks; c++) {
    const size_t begin = blocks * (size_t)c / (size_t)chunks * 1024;
    const size_t end = blocks * (size_t)(c + 1) / (size_t)chunks * 1024;
    part[c] = kernel(s, begin, end < n ? end : n);
  }
  for (c = 0; c < chunks; c++) sum += part[c];
  return sum;
}

/* The same for sums over rows, whose result is `width` numbers: out += sum of the chunks. Chunks are
 * runs of at least 32 rows, their sums stand in the workspace until they are added in order. */
BDPTI_FN bdpt_status bdpti_reduce_rows(bdpt_context *ctx, bdpti_partial kernel, const bdpti_span *s,
                                       size_t rows, size_t width, bdpt_real *const *out, int outs) {
  const size_t wanted = (rows + 31) / 32, length = width * (size_t)outs;
  const int chunks = wanted < BDPTI_CHUNKS ? (int)wanted : BDPTI_CHUNKS;
  const int team = bdpti_team(ctx, (double)rows * (double)length * 0.3);
  bdpt_real *sums;
  size_t bytes, j;
  int c, o;
  (void)team;
  if (chunks == 0 || width == 0) return BDPT_OK;
  if (!bdpti_mul(width, (size_t)outs * BDPTI_CHUNKS * sizeof *sums, &bytes)) bytes = SIZE_MAX;
  sums = (bdpt_real *)bdpti_scratch(ctx, bytes == SIZE_MAX ? bytes : bytes / BDPTI_CHUNKS * (size_t)chunks);
  if (!sums) return ctx->status;
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static))
  for (c = 0; c < chunks; c++) {
    kernel(s, rows * (size_t)c / (size_t)chunks, rows * (size_t)(c + 1) / (size_t)chunks,
           sums + (size_t)c * length);
  }
  for (o = 0; o < outs; o++) {
    for (c = 0; c < chunks && out[o]; c++) {
      const bdpt_real *from = sums + (size_t)c * length + (size_t)o * width;
      for (j = 0; j < width; j++) out[o][j] += from[j];
    }
  }
  return BDPT_OK;
}

/* 7.10  The matrix product on several threads
 *
 * The specification first. The library never calls it; the tests compare everything with it.
 */
BDPTI_FN double bdpti_gelu_exact(double z) { return 0.5 * z * erfc(z * -0.70710678118654752440); }

BDPTI_FN double bdpti_gelu_slope_exact(double z) {
  return 0.5 * erfc(z * -0.70710678118654752440) + z * exp(-0.5 * z * z) * 0.39894228040143267794;
}

BDPTI_FN void bdpti_matmul_naive(const bdpti_gemm *g) {
  size_t i, j, p;
  for (i = 0; i < g->m; i++) {
    for (j = 0; j < g->n; j++) {
      bdpt_real *c = g->c + i * g->c_row + j;
      double t = 0;
      for (p = 0; p < g->k; p++) {
        t += (double)g->a[i * g->a_row + p * g->a_col] * (double)g->b[p * g->b_row + j * g->b_col];
      }
      if (g->alpha != 0) t *= (double)g->alpha;
      if (g->bias) t += (double)g->bias[j];
      if (g->dgelu) t *= bdpti_gelu_slope_exact((double)g->dgelu[i * g->dgelu_row + j]);
      if (g->row_scale) t *= (double)g->row_scale[i / (g->rows_per_scale ? g->rows_per_scale : 1)];
      if (g->residual) t += (double)g->residual[i * g->residual_row + j];
      if (g->accumulate) t += (double)*c;
      *c = (bdpt_real)t;
      if (g->gelu) g->gelu[i * g->gelu_row + j] = (bdpt_real)bdpti_gelu_exact((double)*c);
    }
  }
}

/* K is cut into equal blocks of at most kc, N into equal blocks of at most nc columns. Inside one
 * parallel region all threads pack a share of the block, wait, and multiply a share of the tiles. The
 * shares are runs of the tile order of 7.4, so the load is even to one tile for any shape.
 *
 * Longer blocks of K pass over C less often, and 768 spares a ViT-Base its second pass. A transposed
 * A has its copy to keep in cache as well; then K is cut at 400 and N hardly ever.
 */
#define BDPTI_OWN ((size_t)16 * (400 * 12 + 16)) /* COPIED tiles of the widest pass */

typedef struct bdpti_plan { size_t kc, nc, k_cuts; int team; } bdpti_plan;

BDPTI_FN bdpti_plan bdpti_matmul_plan(const bdpt_context *ctx, const bdpti_gemm *g) {
  const size_t panel = ctx->isa->panel, panels = (g->n + panel - 1) / panel;
  const int transposed = g->a_row == 1 && g->a_col > 1;
  const size_t longest = transposed ? 400 : 768, block = transposed ? 310000 : 200000;
  size_t most, n_cuts;
  bdpti_plan p;
  p.k_cuts = g->k > longest ? (g->k + longest - 1) / longest : 1;
  p.kc = g->k > 0 ? (g->k + p.k_cuts - 1) / p.k_cuts : 1;
  most = block / p.kc / panel;
  n_cuts = most > 0 ? (panels + most - 1) / most : panels;
  p.nc = (panels + n_cuts - 1) / n_cuts * panel;
  p.team = bdpti_team(ctx, (double)g->m * (double)g->n * (double)(g->k + 8) / 50);
  return p;
}

BDPTI_FN void bdpti_matmul_share(const bdpti_isa *isa, const bdpti_gemm *g, const bdpti_plan *plan,
                                 bdpt_real *packed) {
  const size_t row_tiles = (g->m + isa->rows - 1) / isa->rows, team = (size_t)plan->team;
  bdpt_real *own = packed + plan->kc * plan->nc;
  size_t cut;
  bdpti_block b;
  int t;
  b.packed = packed;
  b.padded = 0;
  for (b.j0 = 0; b.j0 < g->n; b.j0 += plan->nc) {
    const size_t jn = g->n - b.j0 < plan->nc ? g->n - b.j0 : plan->nc;
    const size_t panels = (jn + isa->panel - 1) / isa->panel, tiles = row_tiles * panels;
    b.jn = jn;
    for (cut = 0; cut < plan->k_cuts; cut++) {
      b.p0 = cut * g->k / plan->k_cuts;
      b.pn = (cut + 1) * g->k / plan->k_cuts - b.p0;
      BDPTI_OMP(omp for schedule(static, 1))
      for (t = 0; t < plan->team; t++) {
        isa->pack(g, &b, panels * (size_t)t / team, panels * (size_t)(t + 1) / team);
      }
      BDPTI_OMP(omp for schedule(static, 1))
      for (t = 0; t < plan->team; t++) {
        isa->multiply(g, &b, tiles * (size_t)t / team, tiles * (size_t)(t + 1) / team,
                      own + (size_t)t * BDPTI_OWN);
      }
    }
  }
}

BDPTI_FN bdpt_status bdpti_matmul(bdpt_context *ctx, const bdpti_gemm *g) {
  bdpti_plan plan;
  bdpt_real *packed;
  if (g->m == 0 || g->n == 0) return BDPT_OK;
  plan = bdpti_matmul_plan(ctx, g);
  packed = (bdpt_real *)bdpti_scratch(ctx, (plan.kc * plan.nc + (size_t)plan.team * BDPTI_OWN) *
                                      sizeof *packed);
  if (!packed) return ctx->status;
  if (plan.team == 1) {
    bdpti_matmul_share(ctx->isa, g, &plan, packed);
    return BDPT_OK;
  }
  BDPTI_OMP(omp parallel num_threads(plan.team))
  bdpti_matmul_share(ctx->isa, g, &plan, packed);
  return BDPT_OK;
}

/* A small product on the calling thread, for use inside somebody else's parallel region. `work` holds
 * bdpti_product_work(n, k) numbers. */
BDPTI_FN size_t bdpti_product_work(size_t n, size_t k) {
  size_t numbers;
  if (!bdpti_add(n, 31, &n) || !bdpti_mul(n / 32 * 32, k, &numbers)) return SIZE_MAX;
  return numbers;
}

BDPTI_FN void bdpti_product(const bdpti_isa *isa, const bdpti_gemm *g, bdpt_real *work) {
  bdpti_block b;
  b.p0 = b.j0 = 0;
  b.pn = g->k;
  b.jn = g->n;
  b.packed = work;
  b.padded = 0;
  isa->pack(g, &b, 0, (g->n + isa->panel - 1) / isa->panel);
  isa->multiply(g, &b, 0, (size_t)-1, NULL);
}

/* 7.11  Attention on several threads
 *
 * Bytes of work one thread needs for heads of size d on N tokens, forward or backward; SIZE_MAX if
 * that overflows.
 */
BDPTI_FN size_t bdpti_attention_work(size_t tokens, size_t size) {
  size_t ld, dp, a, b, c;
  if (!bdpti_add(tokens, 31, &ld) || !bdpti_add(size, 31, &dp)) return SIZE_MAX;
  ld = ld / 32 * 32;
  dp = dp / 32 * 32;
  if (!bdpti_mul(3 * sizeof(bdpt_real), ld, &a) || !bdpti_mul(a, dp, &a)) return SIZE_MAX;
  if (!bdpti_mul(2 * 72 * sizeof(bdpt_real), ld, &b) || !bdpti_add(a, b, &a)) return SIZE_MAX;
  if (!bdpti_mul(72 * sizeof(bdpt_real), dp, &c) || !bdpti_add(a, c, &a)) return SIZE_MAX;
  return bdpti_add(a, 64 * sizeof(bdpt_real), &a) ? a / 64 * 64 : SIZE_MAX;
}

BDPTI_FN bdpt_status bdpti_attention_run(bdpt_context *ctx, const bdpti_heads *h, size_t tasks,
                                         double cost, int backward) {
  const bdpti_isa *isa = ctx->isa;
  const size_t bytes = bdpti_attention_work(h->tokens, h->size);
  const int wanted = bdpti_team(ctx, cost), team = (size_t)wanted > tasks ? (int)tasks : wanted;
  size_t total;
  char *work;
  int t;
  if (tasks == 0 || h->tokens == 0 || h->size == 0) return BDPT_OK;
  if (!bdpti_mul(bytes, (size_t)team, &total)) total = SIZE_MAX;
  work = (char *)bdpti_scratch(ctx, total);
  if (!work) return ctx->status;
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static, 1))
  for (t = 0; t < team; t++) {
    const size_t begin = tasks * (size_t)t / (size_t)team;
    const size_t end = tasks * (size_t)(t + 1) / (size_t)team;
    bdpt_real *own = (bdpt_real *)(void *)(work + bytes * (size_t)t);
    if (backward) isa->attention_bwd(h, begin, end, own);
    else isa->attention_fwd(h, begin, end, own);
  }
  return BDPT_OK;
}

/* With few heads, as in the classification of one image, each head's queries are cut into pieces
 * until there are about four tasks per thread. A row's result does not depend on its piece. */
BDPTI_FN bdpt_status bdpti_attention_fwd(bdpt_context *ctx, size_t images, size_t tokens,
                                         size_t heads, size_t size, bdpt_real scale,
                                         const bdpt_real *qkv, bdpt_real *out, bdpt_real *lse) {
  bdpti_heads h;
  const size_t tasks = images * heads, few = 4 * (size_t)ctx->threads;
  memset(&h, 0, sizeof h);
  h.tokens = tokens; h.heads = heads; h.size = size;
  h.pieces = tasks == 0 || tasks >= few || ctx->threads == 1 ? 1 : (few + tasks - 1) / tasks;
  h.scale = scale;
  h.qkv = qkv; h.new_out = out; h.new_lse = lse;
  return bdpti_attention_run(ctx, &h, tasks * h.pieces, (double)tasks * (double)tokens *
                             (double)tokens * (double)size / 25, 0);
}

BDPTI_FN bdpt_status bdpti_attention_bwd(bdpt_context *ctx, size_t images, size_t tokens,
                                         size_t heads, size_t size, bdpt_real scale,
                                         const bdpt_real *qkv, const bdpt_real *out,
                                         const bdpt_real *lse, const bdpt_real *dout,
                                         bdpt_real *dqkv) {
  bdpti_heads h;
  memset(&h, 0, sizeof h);
  h.tokens = tokens; h.heads = heads; h.size = size; h.pieces = 1;
  h.scale = scale;
  h.qkv = qkv; h.out = out; h.dout = dout; h.dqkv = dqkv; h.lse = lse;
  return bdpti_attention_run(ctx, &h, images * heads, (double)(images * heads) * (double)tokens *
                             (double)tokens * (double)size / 10, 1);
}

/* 7.12  Rows and elements on several threads
 *
 * Thin covers: they name the arguments, estimate the cost and share out. Sizes are trusted here; the
 * operations of the next chapters have checked them.
 */
BDPTI_FN void bdpti_gelu_fwd(bdpt_context *ctx, size_t n, const bdpt_real *z, bdpt_real *y) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = z; s.u = y;
  bdpti_each(ctx, ctx->isa->gelu_fwd, &s, n, 1024, (double)n * 0.6);
}

BDPTI_FN void bdpti_gelu_bwd(bdpt_context *ctx, size_t n, const bdpt_real *z, const bdpt_real *dy,
                             bdpt_real *dz, int accumulate) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = z; s.y = dy; s.u = dz; s.accumulate = accumulate;
  bdpti_each(ctx, ctx->isa->gelu_bwd, &s, n, 1024, (double)n * 0.7);
}

/* mean and rstd may be NULL when no backward pass follows. */
BDPTI_FN void bdpti_layernorm_fwd(bdpt_context *ctx, size_t rows, size_t width, const bdpt_real *x,
                                  const bdpt_real *gamma, const bdpt_real *beta, bdpt_real eps,
                                  bdpt_real *y, bdpt_real *mean, bdpt_real *rstd) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = width; s.x = x; s.gamma = gamma; s.beta = beta; s.a = eps;
  s.u = y; s.v = mean; s.w = rstd;
  bdpti_each(ctx, ctx->isa->layernorm_fwd, &s, rows, 1, (double)rows * (double)width * 0.5);
}

/* dx may be NULL (nothing in front of the first layer wants it); dgamma and dbeta are added to and
 * may be NULL for frozen parameters. Uses the workspace. */
BDPTI_FN bdpt_status bdpti_layernorm_bwd(bdpt_context *ctx, size_t rows, size_t width,
                                         const bdpt_real *x, const bdpt_real *gamma,
                                         const bdpt_real *mean, const bdpt_real *rstd,
                                         const bdpt_real *dy, bdpt_real *dx, int accumulate,
                                         bdpt_real *dgamma, bdpt_real *dbeta) {
  bdpt_real *out[2];
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = width; s.x = x; s.gamma = gamma; s.mean = mean; s.rstd = rstd; s.y = dy;
  s.u = dx; s.accumulate = accumulate;
  out[0] = dgamma;
  out[1] = dbeta;
  return bdpti_reduce_rows(ctx, ctx->isa->layernorm_bwd, &s, rows, width, out, 2);
}

/* y, lse or both; width 0 does nothing. */
BDPTI_FN void bdpti_softmax_fwd(bdpt_context *ctx, size_t rows, size_t width, const bdpt_real *x,
                                bdpt_real *y, bdpt_real *lse) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = width; s.x = x; s.u = y; s.v = lse;
  bdpti_each(ctx, ctx->isa->softmax_fwd, &s, rows, 1, (double)rows * (double)width);
}

BDPTI_FN void bdpti_softmax_bwd(bdpt_context *ctx, size_t rows, size_t width, const bdpt_real *y,
                                const bdpt_real *dy, bdpt_real *dx, int accumulate) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = width; s.x = y; s.y = dy; s.u = dx; s.accumulate = accumulate;
  bdpti_each(ctx, ctx->isa->softmax_bwd, &s, rows, 1, (double)rows * (double)width * 0.5);
}

/* out[D] += the column sums of x[R,D]. Uses the workspace. */
BDPTI_FN bdpt_status bdpti_column_sum(bdpt_context *ctx, size_t rows, size_t width,
                                      const bdpt_real *x, bdpt_real *out) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = width; s.x = x;
  return bdpti_reduce_rows(ctx, ctx->isa->column_sum, &s, rows, width, &out, 1);
}

/* out = a x + b y; y NULL: out = a x. out may be x or y. */
BDPTI_FN void bdpti_axpby(bdpt_context *ctx, size_t n, bdpt_real a, const bdpt_real *x, bdpt_real b,
                          const bdpt_real *y, bdpt_real *out) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.a = a; s.x = x; s.b = b; s.y = y; s.u = out;
  bdpti_each(ctx, ctx->isa->axpby, &s, n, 1024, (double)n * 0.4);
}

/* y += x. */
BDPTI_FN void bdpti_accumulate(bdpt_context *ctx, size_t n, const bdpt_real *x, bdpt_real *y) {
  bdpti_axpby(ctx, n, 1, x, 1, y, y);
}

/* x *= a. */
BDPTI_FN void bdpti_scale(bdpt_context *ctx, size_t n, bdpt_real a, bdpt_real *x) {
  bdpti_axpby(ctx, n, a, x, 0, NULL, x);
}

/* out = y + factor[b] x over samples of `stride` numbers; y NULL: out = factor[b] x. */
BDPTI_FN void bdpti_sample_axpy(bdpt_context *ctx, size_t samples, size_t stride,
                                const bdpt_real *factor, const bdpt_real *x, const bdpt_real *y,
                                bdpt_real *out) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.width = stride; s.z = factor; s.x = x; s.y = y; s.u = out;
  bdpti_each(ctx, ctx->isa->sample_axpy, &s, samples, 1, (double)samples * (double)stride * 0.4);
}

BDPTI_FN double bdpti_dot(bdpt_context *ctx, size_t n, const bdpt_real *x, const bdpt_real *y) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = x; s.y = y;
  return bdpti_reduce(ctx, ctx->isa->dot, &s, n);
}

BDPTI_FN double bdpti_sum(bdpt_context *ctx, size_t n, const bdpt_real *x) {
  return bdpti_dot(ctx, n, x, NULL);
}

/* For the gradient norm. Squares of numbers above 1e19 overflow to inf, which is what a norm that
 * large should report. */
BDPTI_FN double bdpti_sum_squares(bdpt_context *ctx, size_t n, const bdpt_real *x) {
  return bdpti_dot(ctx, n, x, x);
}

BDPTI_FN int bdpti_all_finite(bdpt_context *ctx, size_t n, const bdpt_real *x) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = x;
  return bdpti_reduce(ctx, ctx->isa->not_finite, &s, n) == 0;
}

/* y = m f + (1 - m) r, and dm = sum dy (f - r). At m = 1 and m = 0 the result is f or r exactly. */
BDPTI_FN void bdpti_mix_fwd(bdpt_context *ctx, size_t n, bdpt_real m, const bdpt_real *f,
                            const bdpt_real *r, bdpt_real *y) {
  bdpti_axpby(ctx, n, m, f, 1 - m, r, y);
}

BDPTI_FN double bdpti_mix_dm(bdpt_context *ctx, size_t n, const bdpt_real *dy, const bdpt_real *f,
                             const bdpt_real *r) {
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = dy; s.y = f; s.z = r;
  return bdpti_reduce(ctx, ctx->isa->dot_difference, &s, n);
}

/* One AdamW step; `step` counts from 1. All constants are formed in double, then rounded once. */
BDPTI_FN void bdpti_adamw(bdpt_context *ctx, size_t n, double lr, double beta1, double beta2,
                          double eps, double decay, double step, bdpt_real *p, const bdpt_real *g,
                          bdpt_real *m, bdpt_real *v) {
  const bdpt_real rate = (bdpt_real)(lr / (1 - pow(beta1, step)));
  bdpti_span s;
  memset(&s, 0, sizeof s);
  s.x = g; s.u = p; s.v = m; s.w = v; s.z = &rate;
  s.a = (bdpt_real)(1 - lr * decay);
  s.b = (bdpt_real)(1 - beta1);
  s.c = (bdpt_real)beta2;
  s.d = (bdpt_real)(1 - beta2);
  s.e = (bdpt_real)(1 / sqrt(1 - pow(beta2, step)));
  s.f = (bdpt_real)eps;
  bdpti_each(ctx, ctx->isa->adamw, &s, n, 1024, (double)n);
}

/* average = decay average + (1 - decay) p. */
BDPTI_FN void bdpti_ema(bdpt_context *ctx, size_t n, bdpt_real decay, bdpt_real *average,
                        const bdpt_real *p) {
  bdpti_axpby(ctx, n, decay, average, 1 - decay, p, average);
}
/* =================================================================================================
 * 7  OPERATIONS                                                                             >>ops
 * =================================================================================================
 * Each operation of the tape is written the same way: what it computes, its forward function that
 * checks shapes and records a node, and right behind it the backward function that undoes it. The
 * arithmetic is in chapter 6; here is the calculus. One table names them all; the operation codes
 * and the dispatch of the backward pass come from it.
 */
#define BDPTI_OPS(X) \
  X(input) X(linear) X(layernorm) X(gelu) X(softmax) X(attention) X(patch_embed) X(tokens) X(token) \
  X(add) X(scale) X(drop_path) X(mix) X(straight_through) X(cross_entropy) X(distill_soft)

#define BDPTI_OP_CODE(name) BDPTI_OP_##name,
typedef enum bdpti_op { BDPTI_OPS(BDPTI_OP_CODE) BDPTI_OP_COUNT } bdpti_op;

/* An operation that was given nothing gives nothing: the cause is in the context already. */
BDPTI_FN bdpt_tensor *bdpti_shape_error(bdpt_tape *t, const char *op, const bdpt_tensor *a,
                                        const bdpt_tensor *b, const char *why) {
  bdpti_fail(t->ctx, BDPT_E_SHAPE, "%s: x%s%s%s: %s", op, bdpti_shape(a).text, b ? " and " : "",
             b ? bdpti_shape(b).text : "", why);
  return NULL;
}

/* 7.1  Linear                                                                          >>linear
 *   math      y = x W^T + b
 *   shape     x[...,I] W[O,I] b[O] -> y[...,O]; all axes but the last are rows R
 *   backward  dx = dy W;  dW += dy^T x;  db += sum_R dy
 *   source    PyTorch nn.Linear: weights are (out, in)
 *   check     tests/test_ops.c linear
 */
BDPT_API bdpt_tensor *bdpt_linear(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *w, bdpt_tensor *b) {
  size_t shape[BDPT_MAX_DIMS];
  bdpti_node *n;
  bdpti_gemm g;
  if (!x || !w || !b) return NULL;
  if (w->ndim != 2 || bdpti_width(x) != w->shape[1]) {
    return bdpti_shape_error(t, "linear", x, w, "the last axes differ");
  }
  if (b->ndim != 1 || b->shape[0] != w->shape[0]) {
    return bdpti_shape_error(t, "linear", b, w, "the bias does not have one number per output");
  }
  memcpy(shape, x->shape, sizeof shape);
  shape[x->ndim - 1] = w->shape[0];
  n = bdpti_record(t, BDPTI_OP_linear, x->ndim, shape, x, w, b);
  if (!n) return NULL;
  memset(&g, 0, sizeof g);
  g.m = bdpti_rows(x); g.n = w->shape[0]; g.k = w->shape[1];
  g.a = x->data; g.a_row = g.k; g.a_col = 1;
  g.b = w->data; g.b_row = 1; g.b_col = g.k;
  g.c = n->out.data; g.c_row = g.n;
  g.bias = b->data;
  return bdpti_matmul(t->ctx, &g) == BDPT_OK ? &n->out : NULL;
}

/* The two products of a linear's backward pass: dx = dy W and dW += dy^T x. */
BDPTI_FN void bdpti_linear_grads(bdpt_tape *t, const bdpt_real *dy, size_t rows,
                                 const bdpt_real *x, bdpt_tensor *w, bdpt_tensor *b,
                                 bdpt_real *dx, int add_dx) {
  size_t out = w->shape[0], in = w->count / out;
  bdpti_gemm g;
  bdpt_real *dw, *db;
  int add;
  memset(&g, 0, sizeof g);
  g.m = rows; g.n = in; g.k = out; /* dy[R,O] W[O,I] */
  g.a = dy; g.a_row = out; g.a_col = 1;
  g.b = w->data; g.b_row = in; g.b_col = 1;
  g.c = dx; g.c_row = in; g.accumulate = add_dx;
  if (dx) bdpti_matmul(t->ctx, &g);
  dw = bdpti_grad(t, w, &add);
  g.m = out; g.n = in; g.k = rows; /* dy^T[O,R] x[R,I] */
  g.a = dy; g.a_row = 1; g.a_col = out;
  g.b = x; g.b_row = in; g.b_col = 1;
  g.c = dw; g.c_row = in; g.accumulate = add;
  if (dw) bdpti_matmul(t->ctx, &g);
  db = bdpti_grad(t, b, &add);
  if (db && !add) memset(db, 0, out * sizeof *db);
  if (db) bdpti_column_sum(t->ctx, rows, out, dy, db);
}

BDPTI_FN void bdpti_linear_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *x = n->in[0];
  int add;
  bdpt_real *dx = bdpti_grad(t, x, &add);
  bdpti_linear_grads(t, n->out.grad, bdpti_rows(x), x->data, n->in[1], n->in[2], dx, add);
}

/* 7.2  Layer norm: kernels in >>layernorm
 *   shape     x[...,D] gamma[D] beta[D] -> y[...,D]; saves mean[R], rstd[R]
 */
BDPT_API bdpt_tensor *bdpt_layernorm(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *gamma,
                                     bdpt_tensor *beta, double eps) {
  bdpti_node *n;
  size_t rows, d;
  if (!x || !gamma || !beta) return NULL;
  rows = bdpti_rows(x);
  d = bdpti_width(x);
  if (gamma->count != d || beta->count != d) {
    return bdpti_shape_error(t, "layer norm", x, gamma, "the last axes differ");
  }
  n = bdpti_record(t, BDPTI_OP_layernorm, x->ndim, x->shape, x, gamma, beta);
  if (!n || !bdpti_save(t, n, 0, rows) || !bdpti_save(t, n, 1, rows)) return NULL;
  bdpti_layernorm_fwd(t->ctx, rows, d, x->data, gamma->data, beta->data, (bdpt_real)eps,
                      n->out.data, n->saved[0], n->saved[1]);
  return &n->out;
}

BDPTI_FN void bdpti_layernorm_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *x = n->in[0];
  int add_x, add_gamma, add_beta;
  size_t d = bdpti_width(x);
  bdpt_real *dx = bdpti_grad(t, x, &add_x);
  bdpt_real *dgamma = bdpti_grad(t, n->in[1], &add_gamma);
  bdpt_real *dbeta = bdpti_grad(t, n->in[2], &add_beta);
  if (dgamma && !add_gamma) memset(dgamma, 0, d * sizeof *dgamma);
  if (dbeta && !add_beta) memset(dbeta, 0, d * sizeof *dbeta);
  bdpti_layernorm_bwd(t->ctx, bdpti_rows(x), d, x->data, n->in[1]->data, n->saved[0],
                      n->saved[1], n->out.grad, dx, add_x, dgamma, dbeta);
}

/* 7.3  GELU: kernels in >>gelu */
BDPT_API bdpt_tensor *bdpt_gelu(bdpt_tape *t, bdpt_tensor *x) {
  bdpti_node *n;
  if (!x) return NULL;
  n = bdpti_record(t, BDPTI_OP_gelu, x->ndim, x->shape, x, NULL, NULL);
  if (!n) return NULL;
  bdpti_gelu_fwd(t->ctx, x->count, x->data, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_gelu_back(bdpt_tape *t, bdpti_node *n) {
  int add;
  bdpt_real *dx = bdpti_grad(t, n->in[0], &add);
  if (dx) bdpti_gelu_bwd(t->ctx, n->out.count, n->in[0]->data, n->out.grad, dx, add);
}

/* 7.4  Softmax over the last axis: kernels in >>softmax */
BDPT_API bdpt_tensor *bdpt_softmax(bdpt_tape *t, bdpt_tensor *x) {
  bdpti_node *n;
  if (!x) return NULL;
  n = bdpti_record(t, BDPTI_OP_softmax, x->ndim, x->shape, x, NULL, NULL);
  if (!n) return NULL;
  bdpti_softmax_fwd(t->ctx, bdpti_rows(x), bdpti_width(x), x->data, n->out.data, NULL);
  return &n->out;
}

BDPTI_FN void bdpti_softmax_back(bdpt_tape *t, bdpti_node *n) {
  int add;
  bdpt_real *dx = bdpti_grad(t, n->in[0], &add);
  if (dx) {
    bdpti_softmax_bwd(t->ctx, bdpti_rows(&n->out), bdpti_width(&n->out), n->out.data,
                      n->out.grad, dx, add);
  }
}

/* 7.5  Attention: kernels in >>attention
 *   shape     qkv[B,N,3hd] -> y[B,N,hd]; saves the log-sum-exp of every row, [B,h,N]
 */
BDPT_API bdpt_tensor *bdpt_attention(bdpt_tape *t, bdpt_tensor *qkv, int heads, double scale) {
  size_t shape[3], h = (size_t)heads, d;
  bdpti_node *n;
  if (!qkv) return NULL;
  if (heads < 1 || qkv->ndim != 3 || qkv->shape[2] % (3 * h) != 0) {
    bdpti_fail(t->ctx, BDPT_E_SHAPE, "attention: x%s is not [B,N,3 x %d heads x d]",
               bdpti_shape(qkv).text, heads);
    return NULL;
  }
  d = qkv->shape[2] / (3 * h);
  shape[0] = qkv->shape[0]; shape[1] = qkv->shape[1]; shape[2] = h * d;
  n = bdpti_record(t, BDPTI_OP_attention, 3, shape, qkv, NULL, NULL);
  if (!n || !bdpti_save(t, n, 0, shape[0] * h * shape[1])) return NULL;
  n->index = h;
  n->number[0] = scale;
  return bdpti_attention_fwd(t->ctx, shape[0], shape[1], h, d, (bdpt_real)scale, qkv->data,
                             n->out.data, n->saved[0]) == BDPT_OK ? &n->out : NULL;
}

/* The kernel writes all of dqkv; it never adds, so a tensor that has a gradient already gets the
 * new one through a spare buffer. */
BDPTI_FN void bdpti_attention_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *qkv = n->in[0];
  size_t h = n->index, d = n->out.shape[2] / h;
  int add;
  bdpt_real *dx = bdpti_grad(t, qkv, &add), *target = dx;
  if (!dx) return;
  if (add) target = bdpti_buffer_take(t, qkv->count);
  if (!target) return;
  bdpti_attention_bwd(t->ctx, n->out.shape[0], n->out.shape[1], h, d, (bdpt_real)n->number[0],
                      qkv->data, n->out.data, n->saved[0], n->out.grad, target);
  if (!add) return;
  bdpti_accumulate(t->ctx, qkv->count, target, dx);
  bdpti_buffer_release(t, target);
}

/* 7.6  Patch embedding                                                                  >>patch
 *   math      y[b,i] = W patch(b,i) + bias: a convolution whose stride is its size
 *   shape     images[B,C,H,W] W[D,C,P,P] bias[D] -> y[B,n,D], patches row by row
 *   backward  through the copied patches: dW += dy^T patches, dbias += sum dy, and dimages when
 *             somebody wants it
 *   source    timm PatchEmbed
 *   check     tests/test_ops.c patch_embed
 *
 * The patches are copied into rows [B n, C P P] first (im2col); patches do not overlap, so this
 * is one reading and writing of the images, and the rest is a matrix product.
 */
BDPTI_FN void bdpti_patches(bdpt_tape *t, const bdpt_tensor *images, size_t patch, bdpt_real *rows,
                            bdpt_real *back) {
  size_t c = images->shape[1], height = images->shape[2], width = images->shape[3];
  size_t across = width / patch, down = height / patch, span = c * patch * patch;
  int i, total = (int)(images->shape[0] * down);
  (void)t; /* used by the pragma only */
  BDPTI_OMP(omp parallel for num_threads(t->ctx->threads) schedule(static))
  for (i = 0; i < total; i++) { /* one row of patches */
    size_t image = (size_t)i / down, y = (size_t)i % down, x, k, line;
    for (x = 0; x < across; x++) {
      size_t row = ((size_t)i * across + x) * span;
      for (k = 0; k < c; k++) {
        for (line = 0; line < patch; line++) {
          size_t at = ((image * c + k) * height + y * patch + line) * width + x * patch;
          size_t to = row + (k * patch + line) * patch, j;
          if (!back) memcpy(rows + to, images->data + at, patch * sizeof *rows);
          else for (j = 0; j < patch; j++) back[at + j] += rows[to + j];
        }
      }
    }
  }
}

BDPT_API bdpt_tensor *bdpt_patch_embed(bdpt_tape *t, bdpt_tensor *images, bdpt_tensor *w,
                                       bdpt_tensor *b) {
  size_t shape[3], p, span;
  bdpti_node *n;
  bdpti_gemm g;
  if (!images || !w || !b) return NULL;
  p = w->ndim == 4 ? w->shape[3] : 0;
  if (images->ndim != 4 || p == 0 || w->shape[2] != p || w->shape[1] != images->shape[1] ||
      images->shape[2] % p || images->shape[3] % p || b->count != w->shape[0]) {
    return bdpti_shape_error(t, "patch embedding", images, w, "not [B,C,H,W] and [D,C,P,P] with P "
                             "dividing H and W");
  }
  span = w->shape[1] * p * p;
  shape[0] = images->shape[0];
  shape[1] = (images->shape[2] / p) * (images->shape[3] / p);
  shape[2] = w->shape[0];
  n = bdpti_record(t, BDPTI_OP_patch_embed, 3, shape, images, w, b);
  if (!n || !bdpti_save(t, n, 0, shape[0] * shape[1] * span)) return NULL;
  bdpti_patches(t, images, p, n->saved[0], NULL);
  memset(&g, 0, sizeof g);
  g.m = shape[0] * shape[1]; g.n = shape[2]; g.k = span;
  g.a = n->saved[0]; g.a_row = span; g.a_col = 1;
  g.b = w->data; g.b_row = 1; g.b_col = span;
  g.c = n->out.data; g.c_row = g.n;
  g.bias = b->data;
  return bdpti_matmul(t->ctx, &g) == BDPT_OK ? &n->out : NULL;
}

BDPTI_FN void bdpti_patch_embed_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *images = n->in[0], *w = n->in[1];
  size_t rows = n->out.shape[0] * n->out.shape[1], span = w->count / w->shape[0];
  int add;
  bdpt_real *dx = bdpti_grad(t, images, &add);
  bdpt_real *drows = dx ? bdpti_buffer_take(t, rows * span) : NULL;
  bdpti_linear_grads(t, n->out.grad, rows, n->saved[0], w, n->in[2], drows, 0);
  if (!drows) return;
  if (!add) memset(dx, 0, images->count * sizeof *dx);
  bdpti_patches(t, images, w->shape[3], drows, dx);
  bdpti_buffer_release(t, drows);
}

/* 7.7  Tokens                                                                          >>tokens
 *   math      y[b] = (cls, dist, patches[b]) + pos
 *   shape     patches[B,n,D] cls[1,1,D] dist[1,1,D] or NULL, pos[1,N,D] -> y[B,N,D]
 *   backward  dpatches = the rows behind; dpos += sum_B dy; dcls, ddist += their rows of that sum
 *   source    timm VisionTransformer._pos_embed
 *   check     tests/test_ops.c tokens
 */
BDPT_API bdpt_tensor *bdpt_tokens(bdpt_tape *t, bdpt_tensor *patches, bdpt_tensor *cls,
                                  bdpt_tensor *dist, bdpt_tensor *pos) {
  size_t shape[3], d, extra = dist ? 2 : 1, b, i;
  bdpti_node *n;
  if (!patches || !cls || !pos) return NULL;
  d = bdpti_width(patches);
  if (patches->ndim != 3 || pos->ndim != 3 || pos->shape[1] != patches->shape[1] + extra ||
      pos->count != pos->shape[1] * d || cls->count != d || (dist && dist->count != d)) {
    return bdpti_shape_error(t, "tokens", patches, pos, dist ? "positions for two more tokens are "
                             "needed" : "positions for one more token are needed");
  }
  shape[0] = patches->shape[0]; shape[1] = pos->shape[1]; shape[2] = d;
  n = bdpti_record(t, BDPTI_OP_tokens, 3, shape, patches, cls, pos);
  if (!n) return NULL;
  n->in[3] = dist;
  if (t->record && dist && dist->wants_grad) n->out.wants_grad = 1;
  for (b = 0; b < shape[0]; b++) {
    bdpt_real *y = n->out.data + b * shape[1] * d;
    memcpy(y, cls->data, d * sizeof *y);
    if (dist) memcpy(y + d, dist->data, d * sizeof *y);
    memcpy(y + extra * d, patches->data + b * patches->shape[1] * d,
           patches->shape[1] * d * sizeof *y);
    for (i = 0; i < shape[1] * d; i++) y[i] += pos->data[i];
  }
  return &n->out;
}

BDPTI_FN void bdpti_tokens_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *patches = n->in[0], *extra_token[2];
  size_t d = n->out.shape[2], row = n->out.shape[1] * d, b, i, k, extra = n->in[3] ? 2 : 1;
  const bdpt_real *dy = n->out.grad;
  int add;
  bdpt_real *dx = bdpti_grad(t, patches, &add), *dpos, *dtoken;
  extra_token[0] = n->in[1];
  extra_token[1] = n->in[3];
  for (b = 0; dx && b < n->out.shape[0]; b++) {
    bdpt_real *to = dx + b * patches->shape[1] * d;
    const bdpt_real *from = dy + b * row + extra * d;
    for (i = 0; i < row - extra * d; i++) to[i] = from[i] + (add ? to[i] : 0);
  }
  for (k = 0; k < extra; k++) {
    dtoken = bdpti_grad(t, extra_token[k], &add);
    for (i = 0; dtoken && i < d; i++) {
      bdpt_real sum = add ? dtoken[i] : 0;
      for (b = 0; b < n->out.shape[0]; b++) sum += dy[b * row + k * d + i];
      dtoken[i] = sum;
    }
  }
  dpos = bdpti_grad(t, n->in[2], &add);
  if (dpos && !add) memset(dpos, 0, row * sizeof *dpos);
  if (dpos) bdpti_column_sum(t->ctx, n->out.shape[0], row, dy, dpos);
}

/* 7.8  One token of every image
 *   math      y[b] = x[b,i]
 *   shape     x[B,N,D] -> y[B,D]
 *   backward  dx[b,i] += dy[b]; zero elsewhere
 */
BDPT_API bdpt_tensor *bdpt_token(bdpt_tape *t, bdpt_tensor *x, size_t index) {
  size_t shape[2], b;
  bdpti_node *n;
  if (!x) return NULL;
  if (x->ndim != 3 || index >= x->shape[1]) {
    bdpti_fail(t->ctx, BDPT_E_SHAPE, "token: x%s has no token %zu", bdpti_shape(x).text, index);
    return NULL;
  }
  shape[0] = x->shape[0]; shape[1] = x->shape[2];
  n = bdpti_record(t, BDPTI_OP_token, 2, shape, x, NULL, NULL);
  if (!n) return NULL;
  n->index = index;
  for (b = 0; b < shape[0]; b++) {
    memcpy(n->out.data + b * shape[1], x->data + (b * x->shape[1] + index) * shape[1],
           shape[1] * sizeof(bdpt_real));
  }
  return &n->out;
}

BDPTI_FN void bdpti_token_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *x = n->in[0];
  size_t d = n->out.shape[1], b, i;
  int add;
  bdpt_real *dx = bdpti_grad(t, x, &add);
  if (!dx) return;
  if (!add) memset(dx, 0, x->count * sizeof *dx);
  for (b = 0; b < n->out.shape[0]; b++) {
    bdpt_real *to = dx + (b * x->shape[1] + n->index) * d;
    for (i = 0; i < d; i++) to[i] += n->out.grad[b * d + i];
  }
}

/* 7.9  Sum and scaling
 *   math      y = a + b;  y = s x
 *   backward  da += dy, db += dy (both get the same buffer, see 5.3);  dx += s dy
 */
BDPT_API bdpt_tensor *bdpt_add(bdpt_tape *t, bdpt_tensor *a, bdpt_tensor *b) {
  bdpti_node *n;
  if (!a || !b) return NULL;
  if (!bdpti_same_shape(a, b)) return bdpti_shape_error(t, "add", a, b, "the shapes differ");
  n = bdpti_record(t, BDPTI_OP_add, a->ndim, a->shape, a, b, NULL);
  if (!n) return NULL;
  bdpti_axpby(t->ctx, a->count, 1, a->data, 1, b->data, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_add_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_grad_pass(t, n->in[1], n);
  bdpti_grad_pass(t, n->in[0], n);
}

BDPT_API bdpt_tensor *bdpt_scale(bdpt_tape *t, bdpt_tensor *x, double factor) {
  bdpti_node *n;
  if (!x) return NULL;
  n = bdpti_record(t, BDPTI_OP_scale, x->ndim, x->shape, x, NULL, NULL);
  if (!n) return NULL;
  n->number[0] = factor;
  bdpti_axpby(t->ctx, x->count, (bdpt_real)factor, x->data, 0, NULL, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_scale_back(bdpt_tape *t, bdpti_node *n) {
  int add;
  bdpt_real *dx = bdpti_grad(t, n->in[0], &add);
  if (dx) {
    bdpti_axpby(t->ctx, n->out.count, (bdpt_real)n->number[0], n->out.grad, 1, add ? dx : NULL,
                dx);
  }
}

/* 7.10  Drop path                                                                     >>droppath
 *   math      y[b] = x[b] keep[b] / (1 - rate),  keep[b] = 1 with probability 1 - rate
 *   shape     x[B,...] -> y[B,...]; saves keep[b] / (1 - rate)
 *   backward  dx[b] += dy[b] keep[b] / (1 - rate)
 *   source    Huang et al. 2016, "Deep networks with stochastic depth"; timm DropPath
 *   check     tests/test_ops.c drop_path
 *
 * At rate 0 the operation is its input: nothing is recorded and nothing is drawn.
 */
BDPT_API bdpt_tensor *bdpt_drop_path(bdpt_tape *t, bdpt_tensor *x, double rate, bdpt_rng *rng) {
  bdpti_node *n;
  size_t b, each;
  if (!x || rate == 0) return x;
  if (!(rate > 0 && rate < 1)) {
    bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "drop path: rate %g is not in [0,1)", rate);
    return NULL;
  }
  n = bdpti_record(t, BDPTI_OP_drop_path, x->ndim, x->shape, x, NULL, NULL);
  if (!n || !bdpti_save(t, n, 0, x->shape[0])) return NULL;
  each = x->shape[0] ? x->count / x->shape[0] : 0;
  for (b = 0; b < x->shape[0]; b++) {
    n->saved[0][b] = (bdpt_real)(bdpti_uniform(rng) < rate ? 0 : 1 / (1 - rate));
  }
  bdpti_sample_axpy(t->ctx, x->shape[0], each, n->saved[0], x->data, NULL, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_drop_path_back(bdpt_tape *t, bdpti_node *n) {
  size_t batch = n->out.shape[0], each = batch ? n->out.count / batch : 0;
  int add;
  bdpt_real *dx = bdpti_grad(t, n->in[0], &add);
  if (dx) {
    bdpti_sample_axpy(t->ctx, batch, each, n->saved[0], n->out.grad, add ? dx : NULL, dx);
  }
}

/* 7.11  Masked mix and the straight-through scalar                                         >>mix
 *   math      y = m f + (1 - m) r;  m = mask in {0,1}, its gradient handed to the importance
 *   shape     f[...] r[...] m[1] -> y[...];  importance[1] -> m[1]
 *   backward  df = m dy;  dr = (1 - m) dy;  dm = sum dy (f - r);  dimportance += dm
 *   source    PAPER_NOTES.md, "Dual parameters"; Bengio et al. 2013 for the straight-through idea
 *   check     tests/test_ops.c mix (the check treats m as a real number)
 */
BDPT_API bdpt_tensor *bdpt_mix(bdpt_tape *t, bdpt_tensor *f, bdpt_tensor *r, bdpt_tensor *m) {
  bdpti_node *n;
  if (!f || !r || !m) return NULL;
  if (!bdpti_same_shape(f, r)) return bdpti_shape_error(t, "mix", f, r, "the shapes differ");
  if (m->count != 1) return bdpti_shape_error(t, "mix", f, m, "the mask is not one number");
  n = bdpti_record(t, BDPTI_OP_mix, f->ndim, f->shape, f, r, m);
  if (!n) return NULL;
  bdpti_mix_fwd(t->ctx, f->count, m->data[0], f->data, r->data, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_mix_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *f = n->in[0], *r = n->in[1], *m = n->in[2];
  bdpt_real mask = m->data[0], *dx;
  int add;
  if (m->wants_grad) {
    double sum = bdpti_mix_dm(t->ctx, f->count, n->out.grad, f->data, r->data);
    dx = bdpti_grad(t, m, &add);
    if (dx) dx[0] = (bdpt_real)((add ? (double)dx[0] : 0.0) + sum);
  }
  if (mask == 1) { bdpti_grad_pass(t, f, n); return; } /* (1 - m) dy is zero */
  dx = bdpti_grad(t, f, &add);
  if (dx) bdpti_axpby(t->ctx, f->count, mask, n->out.grad, 1, add ? dx : NULL, dx);
  dx = bdpti_grad(t, r, &add);
  if (dx) bdpti_axpby(t->ctx, f->count, 1 - mask, n->out.grad, 1, add ? dx : NULL, dx);
}

BDPT_API bdpt_tensor *bdpt_straight_through(bdpt_tape *t, bdpt_tensor *importance, double mask) {
  bdpti_node *n;
  if (!importance) return NULL;
  if (importance->count != 1) {
    return bdpti_shape_error(t, "straight-through", importance, NULL, "not one number");
  }
  n = bdpti_record(t, BDPTI_OP_straight_through, 1, importance->shape, importance, NULL, NULL);
  if (!n) return NULL;
  n->out.data[0] = (bdpt_real)mask;
  return &n->out;
}

BDPTI_FN void bdpti_straight_through_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_grad_pass(t, n->in[0], n);
}

/* 7.12  Losses                                                                             >>loss
 *
 * A loss is the end of the graph, so its gradient is known when its value is: the forward pass
 * leaves dL/dx in saved[0], and the backward pass only multiplies it by what comes in. The double
 * arithmetic costs nothing here and keeps rare classes from drowning in rounding.
 */
BDPTI_FN double bdpti_log_sum_exp(const bdpt_real *x, size_t n, double inverse_t) {
  double most = (double)x[0], sum = 0;
  size_t k;
  for (k = 1; k < n; k++) most = (double)x[k] > most ? (double)x[k] : most;
  for (k = 0; k < n; k++) sum += exp(((double)x[k] - most) * inverse_t);
  return most * inverse_t + log(sum);
}

BDPTI_FN bdpti_node *bdpti_loss(bdpt_tape *t, int op, bdpt_tensor *x) {
  size_t one = 1;
  bdpti_node *n;
  if (x->ndim != 2 || x->count == 0) {
    bdpti_shape_error(t, "loss", x, NULL, "logits must be [B,K]");
    return NULL;
  }
  n = bdpti_record(t, op, 1, &one, x, NULL, NULL);
  return n && bdpti_save(t, n, 0, x->count) ? n : NULL;
}

BDPTI_FN void bdpti_loss_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *x = n->in[0];
  int add;
  bdpt_real *dx = bdpti_grad(t, x, &add);
  if (dx) bdpti_axpby(t->ctx, x->count, n->out.grad[0], n->saved[0], 1, add ? dx : NULL, dx);
}

/* 7.13  Soft-target cross-entropy                                                            >>ce
 *   math      L = -1/B sum_b sum_k t[b,k] log p[b,k],  p = softmax(x)
 *   shape     x[B,K] t[B,K] -> L[1]
 *   backward  dx[b,k] = dL/B (p[b,k] sum_j t[b,j] - t[b,k])
 *   source    timm SoftTargetCrossEntropy; label smoothing and mixup live in the targets
 *   check     tests/test_ops.c torch_losses
 */
BDPT_API bdpt_tensor *bdpt_cross_entropy(bdpt_tape *t, bdpt_tensor *x, const bdpt_real *targets) {
  bdpti_node *n = x && targets ? bdpti_loss(t, BDPTI_OP_cross_entropy, x) : NULL;
  double loss = 0;
  size_t b, k;
  if (!n) return NULL;
  for (b = 0; b < x->shape[0]; b++) {
    const size_t classes = x->shape[1], at = b * classes;
    double lse = bdpti_log_sum_exp(x->data + at, classes, 1), total = 0;
    for (k = at; k < at + classes; k++) total += (double)targets[k];
    for (k = at; k < at + classes; k++) {
      double log_p = (double)x->data[k] - lse, target = (double)targets[k];
      loss -= target * log_p;
      n->saved[0][k] = (bdpt_real)((exp(log_p) * total - target) / (double)x->shape[0]);
    }
  }
  n->out.data[0] = (bdpt_real)(loss / (double)x->shape[0]);
  return &n->out;
}

BDPTI_FN void bdpti_cross_entropy_back(bdpt_tape *t, bdpti_node *n) { bdpti_loss_back(t, n); }

/* 7.14  Soft distillation                                                               >>distill
 *   math      L = T^2/B sum_b sum_k q log(q / p),  p = softmax(x/T), q = softmax(teacher/T)
 *   shape     x[B,K] teacher[B,K] -> L[1]
 *   backward  dx[b,k] = dL T/B (p[b,k] - q[b,k])
 *   source    Hinton et al. 2015; T^2 keeps the gradient's size independent of T
 *   check     tests/test_ops.c torch_losses
 *
 * DEVIATION: DeiT's code divides by B K instead of B; over 100 classes that is a hundredth of the
 * published loss. Hard distillation needs no operation of its own: it is the cross-entropy against
 * the teacher's arg-max.
 */
BDPT_API bdpt_tensor *bdpt_distill_soft(bdpt_tape *t, bdpt_tensor *x, const bdpt_real *teacher,
                                        double temperature) {
  bdpti_node *n = x && teacher ? bdpti_loss(t, BDPTI_OP_distill_soft, x) : NULL;
  double loss = 0, inverse = 1 / temperature;
  size_t b, k;
  if (!n) return NULL;
  if (!(temperature > 0)) {
    bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "soft distillation: temperature %g", temperature);
    return NULL;
  }
  for (b = 0; b < x->shape[0]; b++) {
    const size_t classes = x->shape[1], at = b * classes;
    double lse = bdpti_log_sum_exp(x->data + at, classes, inverse);
    double lse_teacher = bdpti_log_sum_exp(teacher + at, classes, inverse);
    for (k = at; k < at + classes; k++) {
      double log_p = (double)x->data[k] * inverse - lse;
      double log_q = (double)teacher[k] * inverse - lse_teacher, q = exp(log_q);
      loss += q * (log_q - log_p);
      n->saved[0][k] = (bdpt_real)((exp(log_p) - q) * temperature / (double)x->shape[0]);
    }
  }
  n->out.data[0] = (bdpt_real)(loss * temperature * temperature / (double)x->shape[0]);
  return &n->out;
}

BDPTI_FN void bdpti_distill_soft_back(bdpt_tape *t, bdpti_node *n) { bdpti_loss_back(t, n); }

/* 7.15  Dispatch */
BDPTI_FN void bdpti_input_back(bdpt_tape *t, bdpti_node *n) { (void)t; (void)n; }

static void bdpti_backward_op(bdpt_tape *t, bdpti_node *n) {
#define BDPTI_OP_CASE(name) case BDPTI_OP_##name: bdpti_##name##_back(t, n); break;
  switch ((bdpti_op)n->op) {
    BDPTI_OPS(BDPTI_OP_CASE)
    case BDPTI_OP_COUNT: break;
  }
}

/* =================================================================================================
 * 8  THE VISION TRANSFORMER                                                                 >>deit
 * =================================================================================================
 * A DeiT cuts the image into P x P patches, maps each to D numbers, puts a class token in front (a
 * distilled model: a distillation token too), adds a learned position to every token, and sends the
 * N tokens through L equal blocks. A block is two residual steps (pre-norm):
 *
 *     x1 = x  + MHSA(LN1(x))                attention: tokens exchange information
 *     x2 = x1 + W2 GELU(W1 LN2(x1) + b1) + b2     MLP: each token by itself
 *
 * The class token's last state goes through a norm and a linear head. Source: Touvron et al. 2021
 * (DeiT), with the details of timm: norm eps 1e-6, exact GELU, bias on q, k and v.
 *
 * What pruning needs is that a block is data, not code. bdpt_block says for each block how many
 * heads of which size it has, how wide its MLP is, and what is left of its attention and its
 * activation. Nothing below assumes equal blocks or F = 4D, and D need not be h * d.
 */

/* 8.1  Configurations */
BDPT_API bdpt_status bdpt_config_named(bdpt_context *ctx, const char *name, bdpt_config *out) {
  static const struct { const char *size; int width, heads; } sizes[3] = {
    {"deit_tiny", 192, 3}, {"deit_small", 384, 6}, {"deit_base", 768, 12}};
  int i, distilled, large;
  const char *rest;
  for (i = 0; i < 3; i++) {
    size_t n = strlen(sizes[i].size);
    if (strncmp(name, sizes[i].size, n) != 0) continue;
    rest = name + n;
    distilled = strncmp(rest, "_distilled", 10) == 0;
    if (distilled) rest += 10;
    large = i == 2 && strcmp(rest, "_patch16_384") == 0;
    if (!large && strcmp(rest, "_patch16_224") != 0) continue;
    memset(out, 0, sizeof *out);
    out->width = sizes[i].width;
    out->heads = sizes[i].heads;
    out->image = large ? 384 : 224;
    out->distilled = distilled;
    return bdpt_config_resolve(ctx, out);
  }
  return bdpti_fail(ctx, BDPT_E_ARGUMENT, "no configuration is called \"%s\"; known are "
                    "deit_{tiny,small,base}_patch16_224, the same with _distilled after the size, "
                    "and deit_base_patch16_384", name);
}

BDPTI_FN void bdpti_default(int *value, int otherwise) {
  if (*value == 0) *value = otherwise;
}

/* What an integer of a configuration may be, and what 0 stands for. The limits keep every product
 * of two sizes far inside 64 bits; real networks stay a thousand times below them. */
typedef struct bdpti_limit { const char *what; size_t at; int low, high, otherwise; } bdpti_limit;

BDPTI_FN int bdpti_limits_hold(bdpt_context *ctx, const bdpti_limit *limit, int count, void *data) {
  int i, *value;
  for (i = 0; i < count; i++) {
    value = (int *)(void *)((unsigned char *)data + limit[i].at);
    bdpti_default(value, limit[i].otherwise);
    if (*value >= limit[i].low && *value <= limit[i].high) continue;
    bdpti_fail(ctx, BDPT_E_ARGUMENT, "config: %s is %d, not between %d and %d", limit[i].what,
               *value, limit[i].low, limit[i].high);
    return 0;
  }
  return 1;
}

BDPTI_FN int bdpti_block_resolve(bdpt_context *ctx, const bdpt_config *c, bdpt_block *b) {
  static const bdpti_limit limits[6] = {
    {"heads of a block", offsetof(bdpt_block, heads), 1, 1024, 0},
    {"head size of a block", offsetof(bdpt_block, head_dim), 1, 4096, 0},
    {"MLP width of a block", offsetof(bdpt_block, mlp), 1, 1 << 18, 0},
    {"attention state", offsetof(bdpt_block, attention), BDPT_KEPT, BDPT_FITTED, 0},
    {"activation state", offsetof(bdpt_block, activation), BDPT_KEPT, BDPT_REMOVED, 0},
    {"MLP form", offsetof(bdpt_block, mlp_form), BDPT_PAIR, BDPT_MLP_FITTED, 0}};
  if (b->heads == 0 && b->head_dim == 0 && c->width % c->heads != 0) {
    bdpti_fail(ctx, BDPT_E_SHAPE, "config: %d heads do not divide width %d; give head_dim for each "
               "block", c->heads, c->width);
    return 0;
  }
  bdpti_default(&b->heads, c->heads);
  bdpti_default(&b->head_dim, c->width / c->heads);
  bdpti_default(&b->mlp, c->mlp);
  if (b->scale == 0 && b->head_dim > 0) b->scale = 1.0 / sqrt((double)b->head_dim);
  return bdpti_limits_hold(ctx, limits, 6, b);
}

BDPT_API bdpt_status bdpt_config_resolve(bdpt_context *ctx, bdpt_config *c) {
  static const double mean[3] = {0.485, 0.456, 0.406}, sd[3] = {0.229, 0.224, 0.225};
  static const bdpti_limit limits[11] = {
    {"image", offsetof(bdpt_config, image), 1, 16384, 224},
    {"patch", offsetof(bdpt_config, patch), 1, 16384, 16},
    {"channels", offsetof(bdpt_config, channels), 1, 3, 3},
    {"width", offsetof(bdpt_config, width), 1, 1 << 16, 192},
    {"depth", offsetof(bdpt_config, depth), 1, BDPT_MAX_DEPTH, 12},
    {"heads", offsetof(bdpt_config, heads), 1, 1024, 3},
    {"classes", offsetof(bdpt_config, classes), 1, 1 << 20, 1000},
    {"distilled", offsetof(bdpt_config, distilled), 0, 1, 0},
    {"attn_form", offsetof(bdpt_config, attn_form), BDPT_ATTN_NORM, BDPT_ATTN_DOUBLE, 0},
    {"extra_gelu", offsetof(bdpt_config, extra_gelu), BDPT_GELU_NEVER, BDPT_GELU_ALWAYS, 0},
    {"pos_resize", offsetof(bdpt_config, pos_resize), BDPT_POS_TIMM, BDPT_POS_DEIT, 0}};
  static const bdpti_limit mlp = {"MLP width", offsetof(bdpt_config, mlp), 1, 1 << 18, 0};
  int i;
  if (!bdpti_limits_hold(ctx, limits, 11, c)) return ctx->status;
  bdpti_default(&c->mlp, 4 * c->width);
  if (!bdpti_limits_hold(ctx, &mlp, 1, c)) return ctx->status;
  if (c->eps == 0) c->eps = 1e-6;
  if (c->std[0] == 0 && c->std[1] == 0 && c->std[2] == 0) {
    memcpy(c->mean, mean, sizeof mean);
    memcpy(c->std, sd, sizeof sd);
  }
  if (c->image % c->patch != 0) {
    return bdpti_fail(ctx, BDPT_E_SHAPE, "config: patch %d does not divide image %d", c->patch,
                      c->image);
  }
  if (!(c->eps > 0 && c->eps < 1) || !(c->std[0] > 0 && c->std[1] > 0 && c->std[2] > 0)) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "config: eps %g must be in (0,1) and std positive",
                      c->eps);
  }
  for (i = 0; i < c->depth; i++) {
    if (!bdpti_block_resolve(ctx, c, &c->block[i])) return ctx->status;
  }
  return BDPT_OK;
}

/* 8.2  Parameters and their shapes                                                       >>slots
 *
 * Every parameter has a slot, a timm name, a shape and a condition under which it exists. The table
 * below is the only place that knows them: creation, loading, saving, counting and the optimiser all
 * ask it, so the parameter count of a pruned network is right by construction. A shape is spelled
 * with the letters of the reading guide, one per axis; A stands for h d and Q for 3 h d, the widths
 * that attention needs and that differ from block to block, as F does. The condition is
 *
 *   +  always          2  a distilled model     n  the norm before attention has a reader
 *   a  attention kept  t  attention fitted      p  two linears    f  one fused or fitted map
 */
typedef struct bdpti_rule { const char *name, *shape; char when; } bdpti_rule;

BDPTI_FN const bdpti_rule *bdpti_slot_rule(int slot) {
  static const bdpti_rule fixed[BDPT_SLOTS_FIXED] = {
    {"cls_token", "11D", '+'}, {"dist_token", "11D", '2'}, {"pos_embed", "1ND", '+'},
    {"patch_embed.proj.weight", "DCPP", '+'}, {"patch_embed.proj.bias", "D", '+'},
    {"norm.weight", "D", '+'}, {"norm.bias", "D", '+'},
    {"head.weight", "KD", '+'}, {"head.bias", "K", '+'},
    {"head_dist.weight", "KD", '2'}, {"head_dist.bias", "K", '2'}};
  static const bdpti_rule block[BDPT_SLOTS_BLOCK] = {
    {"norm1.weight", "D", 'n'}, {"norm1.bias", "D", 'n'},
    {"attn.qkv.weight", "QD", 'a'}, {"attn.qkv.bias", "Q", 'a'},
    {"attn.proj.weight", "DA", 'a'}, {"attn.proj.bias", "D", 'a'},
    {"attn.fitted.weight", "DD", 't'}, {"attn.fitted.bias", "D", 't'},
    {"norm2.weight", "D", '+'}, {"norm2.bias", "D", '+'},
    {"mlp.fc1.weight", "FD", 'p'}, {"mlp.fc1.bias", "F", 'p'},
    {"mlp.fc2.weight", "DF", 'p'}, {"mlp.fc2.bias", "D", 'p'},
    {"mlp.fused.weight", "DD", 'f'}, {"mlp.fused.bias", "D", 'f'}};
  if (slot < BDPT_SLOTS_FIXED) return &fixed[slot];
  return &block[(slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK];
}

/* The block of a slot; for the fixed slots the first, which their rules do not look at. */
BDPTI_FN const bdpt_block *bdpti_slot_block(const bdpt_config *c, int slot) {
  return &c->block[slot < BDPT_SLOTS_FIXED ? 0 : (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK];
}

BDPTI_FN int bdpti_tokens(const bdpt_config *c) {
  int side = c->image / c->patch;
  return side * side + 1 + c->distilled;
}

/* 1 if the network as configured uses the slot. */
BDPTI_FN int bdpti_slot_used(const bdpt_config *c, int slot) {
  const bdpt_block *b = bdpti_slot_block(c, slot);
  switch (bdpti_slot_rule(slot)->when) {
    case '2': return c->distilled;
    case 'n': return b->attention != BDPT_REMOVED || c->attn_form == BDPT_ATTN_NORM;
    case 'a': return b->attention == BDPT_KEPT;
    case 't': return b->attention == BDPT_FITTED;
    case 'p': return b->mlp_form == BDPT_PAIR;
    case 'f': return b->mlp_form != BDPT_PAIR;
    default: return 1;
  }
}

/* Fills shape and returns the number of axes. */
BDPTI_FN int bdpti_slot_shape(const bdpt_config *c, int slot, size_t *shape) {
  const bdpt_block *b = bdpti_slot_block(c, slot);
  const char *letters = bdpti_slot_rule(slot)->shape;
  int i, axis;
  for (i = 0; letters[i]; i++) {
    switch (letters[i]) {
      case 'D': axis = c->width; break;
      case 'N': axis = bdpti_tokens(c); break;
      case 'C': axis = c->channels; break;
      case 'P': axis = c->patch; break;
      case 'K': axis = c->classes; break;
      case 'F': axis = b->mlp; break;
      case 'A': axis = b->heads * b->head_dim; break;
      case 'Q': axis = 3 * b->heads * b->head_dim; break;
      default: axis = 1; break;
    }
    shape[i] = (size_t)axis;
  }
  return i;
}

BDPT_API int bdpt_model_active(const bdpt_model *m, int slot) {
  return slot >= 0 && slot < m->slots && bdpti_slot_used(&m->config, slot);
}

BDPT_API int bdpt_model_decays(const bdpt_model *m, int slot) {
  /* timm: biases and norms have one axis; tokens and positions are named in no_weight_decay. */
  return m->param[slot].ndim > 1 && slot != BDPT_SLOT_CLS && slot != BDPT_SLOT_DIST &&
         slot != BDPT_SLOT_POS;
}

/* 8.3  A model's life */
BDPTI_FN int bdpti_slot_make(bdpt_model *m, const bdpt_config *c, int slot, bdpt_tensor *p) {
  size_t shape[BDPT_MAX_DIMS];
  int ndim = bdpti_slot_shape(c, slot, shape);
  memset(p, 0, sizeof *p);
  p->name = m->name[slot];
  if (!bdpti_set_shape(p, ndim, shape)) {
    bdpti_fail(m->ctx, BDPT_E_MEMORY, "%s: its size overflows", m->name[slot]);
    return 0;
  }
  p->data = (bdpt_real *)bdpti_alloc(m->ctx, p->count * sizeof(bdpt_real));
  return p->data != NULL;
}

BDPTI_FN int bdpti_slot_alloc(bdpt_model *m, int slot) {
  return bdpti_slot_make(m, &m->config, slot, &m->param[slot]);
}

BDPTI_FN void bdpti_slot_free(bdpt_model *m, int slot) {
  bdpt_tensor *p = &m->param[slot];
  bdpti_free(m->ctx, p->data, p->count * sizeof(bdpt_real));
  bdpti_free(m->ctx, p->grad, p->count * sizeof(bdpt_real));
  p->data = p->grad = NULL;
  p->wants_grad = 0;
}

/* Tensors point to names and importance values inside the struct; after a struct is copied they
 * must point into the copy. */
BDPTI_FN void bdpti_model_bind(bdpt_model *m) {
  int i, type;
  for (i = 0; i < m->slots; i++) m->param[i].name = m->name[i];
  for (type = 0; type < 2; type++) {
    for (i = 0; i < BDPT_MAX_DEPTH; i++) {
      bdpt_tensor *s = &m->importance[type][i];
      s->ndim = 1;
      s->shape[0] = s->count = 1;
      s->data = &m->importance_data[0][type][i];
      s->grad = &m->importance_data[1][type][i];
      s->wants_grad = 1;
      s->name = type == BDPT_ATTENTION ? "attention importance" : "activation importance";
    }
  }
}

/* A model with names and slots but no parameter memory. */
BDPTI_FN bdpt_model *bdpti_model_shell(bdpt_context *ctx, const bdpt_config *config) {
  bdpt_model *m = (bdpt_model *)bdpti_alloc(ctx, sizeof *m);
  int i;
  if (!m) return NULL;
  m->ctx = ctx;
  m->config = *config;
  if (bdpt_config_resolve(ctx, &m->config) != BDPT_OK) {
    bdpti_free(ctx, m, sizeof *m);
    return NULL;
  }
  m->slots = BDPT_SLOTS_FIXED + m->config.depth * BDPT_SLOTS_BLOCK;
  for (i = 0; i < m->slots; i++) {
    if (i < BDPT_SLOTS_FIXED) {
      bdpti_format(m->name[i], sizeof m->name[i], "%s", bdpti_slot_rule(i)->name);
    } else {
      bdpti_format(m->name[i], sizeof m->name[i], "blocks.%d.%s",
                   (i - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK, bdpti_slot_rule(i)->name);
    }
  }
  bdpti_model_bind(m);
  return m;
}

/* Fresh values. Linear weights, tokens and positions are normal with deviation 0.02 (DeiT), biases
 * zero, norms one and zero. The patch embedding is a convolution in timm and keeps PyTorch's
 * default: uniform within 1 / sqrt(fan-in), weight and bias. */
BDPTI_FN void bdpti_slot_init(bdpt_model *m, int slot, uint64_t seed) {
  bdpt_tensor *p = &m->param[slot];
  int is_weight = strstr(m->name[slot], "weight") != NULL;
  size_t i;
  double fan = (double)(m->config.channels * m->config.patch * m->config.patch);
  bdpt_rng r;
  bdpti_rng_seed(&r, seed, (uint64_t)slot);
  for (i = 0; i < p->count; i++) {
    if (slot == BDPT_SLOT_PATCH_W || slot == BDPT_SLOT_PATCH_B) {
      p->data[i] = (bdpt_real)((2 * bdpti_uniform(&r) - 1) / sqrt(fan));
    } else if (p->ndim > 1) {
      p->data[i] = (bdpt_real)(0.02 * bdpti_normal(&r));
    } else {
      p->data[i] = (bdpt_real)(is_weight ? 1 : 0);
    }
  }
}

BDPT_API bdpt_model *bdpt_model_create(bdpt_context *ctx, const bdpt_config *config,
                                       uint64_t seed) {
  bdpt_model *m = bdpti_model_shell(ctx, config);
  int i;
  for (i = 0; m && i < m->slots; i++) {
    if (!bdpti_slot_used(&m->config, i)) continue;
    if (!bdpti_slot_alloc(m, i)) {
      bdpt_model_free(m);
      return NULL;
    }
    bdpti_slot_init(m, i, seed);
  }
  return m;
}

BDPT_API void bdpt_model_free(bdpt_model *m) {
  int i;
  if (!m) return;
  for (i = 0; i < m->slots; i++) bdpti_slot_free(m, i);
  bdpti_free(m->ctx, m, sizeof *m);
}

BDPT_API bdpt_model *bdpt_model_clone(const bdpt_model *from) {
  bdpt_model *m = (bdpt_model *)bdpti_alloc(from->ctx, sizeof *m);
  int i;
  if (!m) return NULL;
  *m = *from;
  bdpti_model_bind(m);
  for (i = 0; i < m->slots; i++) {
    m->param[i].data = m->param[i].grad = NULL;
    m->param[i].wants_grad = 0;
  }
  for (i = 0; i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    if (!from->param[i].data) continue;
    p->data = (bdpt_real *)bdpti_alloc(m->ctx, p->count * sizeof(bdpt_real));
    if (!p->data) {
      bdpt_model_free(m);
      return NULL;
    }
    memcpy(p->data, from->param[i].data, p->count * sizeof(bdpt_real));
  }
  return m;
}

BDPT_API bdpt_status bdpt_model_assign(bdpt_model *to, const bdpt_model *from) {
  bdpt_model *copy = bdpt_model_clone(from);
  int i;
  if (!copy) return from->ctx->status;
  for (i = 0; i < to->slots; i++) bdpti_slot_free(to, i);
  *to = *copy;
  bdpti_model_bind(to);
  bdpti_free(copy->ctx, copy, sizeof *copy);
  return BDPT_OK;
}

BDPT_API size_t bdpt_model_bytes(const bdpt_config *config) {
  size_t shape[BDPT_MAX_DIMS], total = 0;
  int i, k, slots = BDPT_SLOTS_FIXED + config->depth * BDPT_SLOTS_BLOCK;
  for (i = 0; i < slots; i++) {
    size_t count = 1;
    int ndim = bdpti_slot_shape(config, i, shape);
    for (k = 0; k < ndim; k++) count *= shape[k];
    if (bdpti_slot_used(config, i)) total += count * sizeof(bdpt_real);
  }
  return total;
}

BDPT_API bdpt_status bdpt_model_train_mode(bdpt_model *m) {
  int i;
  for (i = 0; i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    p->wants_grad = p->data && bdpti_slot_used(&m->config, i);
    if (!p->wants_grad || p->grad) continue;
    p->grad = (bdpt_real *)bdpti_alloc(m->ctx, p->count * sizeof(bdpt_real));
    if (!p->grad) {
      p->wants_grad = 0;
      return m->ctx->status;
    }
  }
  return BDPT_OK;
}

BDPT_API void bdpt_model_zero_grad(bdpt_model *m) {
  int i;
  for (i = 0; i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    if (p->grad) memset(p->grad, 0, p->count * sizeof(bdpt_real));
  }
  memset(m->importance_data[1], 0, sizeof m->importance_data[1]);
}

BDPT_API void bdpt_model_hash(const bdpt_model *m, char out[17]) {
  static const char hex[] = "0123456789abcdef";
  uint64_t h = 0;
  int i;
  for (i = 0; i < m->slots; i++) {
    const unsigned char *bytes = (const unsigned char *)m->param[i].data;
    size_t size = m->param[i].count * sizeof(bdpt_real), at;
    uint64_t word;
    if (!bytes || !bdpti_slot_used(&m->config, i)) continue;
    h = bdpti_mix64(h ^ (uint64_t)i ^ ((uint64_t)size << 16));
    for (at = 0; at < size; at += 8) {
      word = 0;
      memcpy(&word, bytes + at, size - at < 8 ? size - at : 8);
      h = bdpti_mix64(h + word);
    }
  }
  for (i = 0; i < 16; i++) out[i] = hex[(h >> (60 - 4 * i)) & 15];
  out[16] = 0;
}

BDPT_API bdpt_status bdpt_model_new_head(bdpt_model *m, int classes, uint64_t seed) {
  static const int slots[4] = {BDPT_SLOT_HEAD_W, BDPT_SLOT_HEAD_B, BDPT_SLOT_HEAD2_W,
                               BDPT_SLOT_HEAD2_B};
  bdpt_config wanted = m->config;
  bdpt_tensor fresh[4];
  int i, count = m->config.distilled ? 4 : 2, made = 0;
  wanted.classes = classes ? classes : -1; /* 0 would ask for the default */
  if (bdpt_config_resolve(m->ctx, &wanted) != BDPT_OK) return m->ctx->status;
  while (made < count && bdpti_slot_make(m, &wanted, slots[made], &fresh[made])) made++;
  for (i = 0; i < made; i++) {
    if (made < count) { /* memory ran out: the old head stays */
      bdpti_free(m->ctx, fresh[i].data, fresh[i].count * sizeof(bdpt_real));
      continue;
    }
    bdpti_slot_free(m, slots[i]);
    m->param[slots[i]] = fresh[i];
    bdpti_slot_init(m, slots[i], seed);
  }
  if (made < count) return m->ctx->status;
  m->config = wanted;
  return BDPT_OK;
}

/* 8.4  Position embeddings at another size
 *
 *   math      out = R_y in R_x^T per channel; each row of R holds the cubic's weights
 *             k(t) = (a+2)|t|^3 - (a+3)|t|^2 + 1 for |t| <= 1, a|t|^3 - 5a|t|^2 + 8a|t| - 4a to 2
 *   source    Keys 1981; timm: a = -0.5, stretched by the scale when shrinking (antialiased);
 *             DeiT's own script: a = -0.75, four taps, borders repeated (PyTorch's plain bicubic)
 *   check     tests/test_model.c against both PyTorch forms at 14 -> 4, 14 -> 24 and 5 -> 3
 *
 * Tokens before the grid (class, distillation) keep their positions.
 */
BDPTI_FN double bdpti_cubic(double t, double a) {
  t = fabs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

/* R[out][in]: the weights of one axis. */
BDPTI_FN void bdpti_resize_matrix(int form, int in, int out, double *r) {
  double scale = (double)in / (double)out;
  int i, j, k;
  memset(r, 0, (size_t)in * (size_t)out * sizeof *r);
  for (i = 0; i < out; i++) {
    double *row = r + (size_t)i * (size_t)in, centre = scale * ((double)i + 0.5), sum = 0;
    if (form == BDPT_POS_DEIT) {
      int base = (int)floor(centre - 0.5);
      for (k = -1; k <= 2; k++) {
        j = base + k < 0 ? 0 : base + k >= in ? in - 1 : base + k;
        row[j] += bdpti_cubic(centre - 0.5 - (double)(base + k), -0.75);
      }
      continue;
    }
    for (j = 0; j < in; j++) {
      double stretch = scale > 1 ? scale : 1;
      row[j] = bdpti_cubic(((double)j + 0.5 - centre) / stretch, -0.5);
      sum += row[j];
    }
    for (j = 0; j < in; j++) row[j] /= sum;
  }
}

BDPTI_FN void bdpti_resize_grid(const double *r, size_t from, size_t to, size_t width,
                                const bdpt_real *in, double *half, bdpt_real *out) {
  size_t y, x, k, c;
  memset(half, 0, from * to * width * sizeof *half);
  for (y = 0; y < from; y++) { /* rows: [from][from][D] -> half [from][to][D] */
    for (x = 0; x < to; x++) {
      for (k = 0; k < from; k++) {
        double w = r[x * from + k];
        const bdpt_real *src = in + (y * from + k) * width;
        if (w == 0) continue;
        for (c = 0; c < width; c++) half[(y * to + x) * width + c] += w * (double)src[c];
      }
    }
  }
  for (y = 0; y < to; y++) { /* columns: half [from][to][D] -> [to][to][D] */
    for (x = 0; x < to * width; x++) {
      double sum = 0;
      for (k = 0; k < from; k++) sum += r[y * from + k] * half[k * to * width + x];
      out[y * to * width + x] = (bdpt_real)sum;
    }
  }
}

BDPT_API bdpt_status bdpt_model_resize(bdpt_model *m, int image) {
  bdpt_config wanted = m->config;
  size_t from = (size_t)(m->config.image / m->config.patch), to, width = (size_t)m->config.width;
  size_t prefix = (size_t)(1 + m->config.distilled) * width, doubles;
  bdpt_tensor fresh;
  double *half;
  wanted.image = image ? image : -1; /* 0 would ask for the default */
  if (bdpt_config_resolve(m->ctx, &wanted) != BDPT_OK) return m->ctx->status;
  to = (size_t)(image / m->config.patch);
  doubles = from * to * (width + 1); /* the half-resized grid, and the weights of one axis */
  half = (double *)bdpti_alloc(m->ctx, doubles * sizeof *half);
  if (half && bdpti_slot_make(m, &wanted, BDPT_SLOT_POS, &fresh)) {
    const bdpt_real *old = m->param[BDPT_SLOT_POS].data;
    double *matrix = half + from * to * width;
    bdpti_resize_matrix(m->config.pos_resize, (int)from, (int)to, matrix);
    memcpy(fresh.data, old, (from == to ? m->param[BDPT_SLOT_POS].count : prefix) * sizeof *old);
    if (from != to) {
      bdpti_resize_grid(matrix, from, to, width, old + prefix, half, fresh.data + prefix);
    }
    bdpti_slot_free(m, BDPT_SLOT_POS);
    m->param[BDPT_SLOT_POS] = fresh;
    m->config = wanted;
  }
  bdpti_free(m->ctx, half, doubles * sizeof *half);
  return m->ctx->status;
}

/* 8.5  The forward pass
 *
 * One function per half of a block; both read what is left of it from the configuration.
 *
 *   math      u = LN1(x);  b = MHSA(u), or what a removed layer leaves:  u, nothing, or x
 *             x1 = x + DropPath(b)
 *             v = LN2(x1); z = W1 v + b1; s = GELU(z), or z when the activation is removed
 *             x2 = x1 + DropPath(W2 s + b2)          fused: x1 + DropPath(W v + b)
 *   source    PAPER_NOTES.md, "The masked block"; released code: x + LN1(x) for removed attention
 *
 * With options->importance each kept layer f becomes m f + (1-m) r with the mask m = 1, where r is
 * what its removal would leave. The value is unchanged; the gradient of m tells how the loss would
 * move if the layer began to disappear (see >>method).
 */
BDPTI_FN bdpt_tensor *bdpti_mixed(bdpt_model *m, bdpt_tape *t, int type, int l, bdpt_tensor *f,
                                  bdpt_tensor *r) {
  return bdpt_mix(t, f, r, bdpt_straight_through(t, &m->importance[type][l], 1));
}

BDPTI_FN bdpt_tensor *bdpti_attention_branch(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                             int importance) {
  const bdpt_block *b = &m->config.block[l];
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *u, *f;
  int form = m->config.attn_form;
  if (b->attention == BDPT_REMOVED && form == BDPT_ATTN_DOUBLE) return x;
  u = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM1_W], &p[BDPT_SLOT_NORM1_B], m->config.eps);
  if (b->attention == BDPT_REMOVED) return u;
  if (b->attention == BDPT_FITTED) {
    return bdpt_linear(t, u, &p[BDPT_SLOT_AFIT_W], &p[BDPT_SLOT_AFIT_B]);
  }
  f = bdpt_linear(t, u, &p[BDPT_SLOT_QKV_W], &p[BDPT_SLOT_QKV_B]);
  f = bdpt_attention(t, f, b->heads, b->scale);
  f = bdpt_linear(t, f, &p[BDPT_SLOT_PROJ_W], &p[BDPT_SLOT_PROJ_B]);
  if (!importance || !f) return f;
  if (form == BDPT_ATTN_SKIP) u = bdpt_input(t, f->ndim, f->shape, NULL, 0);
  return bdpti_mixed(m, t, BDPT_ATTENTION, l, f, form == BDPT_ATTN_DOUBLE ? x : u);
}

BDPTI_FN bdpt_tensor *bdpti_mlp_branch(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                       int importance) {
  const bdpt_block *b = &m->config.block[l];
  bdpt_tensor *p = &m->param[BDPT_SLOT(l, 0)], *v, *z, *s;
  v = bdpt_layernorm(t, x, &p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], m->config.eps);
  if (b->mlp_form != BDPT_PAIR) {
    return bdpt_linear(t, v, &p[BDPT_SLOT_FUSED_W], &p[BDPT_SLOT_FUSED_B]);
  }
  z = bdpt_linear(t, v, &p[BDPT_SLOT_FC1_W], &p[BDPT_SLOT_FC1_B]);
  s = b->activation == BDPT_KEPT ? bdpt_gelu(t, z) : z;
  if (importance && b->activation == BDPT_KEPT) s = bdpti_mixed(m, t, BDPT_ACTIVATION, l, s, z);
  return bdpt_linear(t, s, &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B]);
}

BDPTI_FN bdpt_tensor *bdpti_block_forward(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                          const bdpt_forward_options *o, bdpt_rng *rng) {
  const bdpt_config *c = &m->config;
  const bdpt_block *b = &c->block[l];
  double rate = c->depth > 1 ? o->drop_path * (double)l / (double)(c->depth - 1) : o->drop_path;
  bdpt_tensor *y;
  if (!o->training) rate = 0;
  if (b->attention != BDPT_REMOVED || c->attn_form != BDPT_ATTN_SKIP) {
    y = bdpti_attention_branch(m, t, l, x, o->importance);
    x = bdpt_add(t, x, bdpt_drop_path(t, y, rate, rng));
  }
  y = bdpti_mlp_branch(m, t, l, x, o->importance);
  x = bdpt_add(t, x, bdpt_drop_path(t, y, rate, rng));
  /* DEVIATION: the released code applies one more GELU to the residual stream where an activation
   * is gone; the paper's text does not. Off unless the configuration asks for it. */
  if (b->activation == BDPT_REMOVED &&
      (c->extra_gelu == BDPT_GELU_ALWAYS ||
       (c->extra_gelu == BDPT_GELU_BOTH && b->attention != BDPT_KEPT))) {
    x = bdpt_gelu(t, x);
  }
  return x;
}

BDPTI_FN bdpt_tensor *bdpti_head(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x, int which) {
  bdpt_tensor *p = m->param, *y = bdpt_token(t, x, (size_t)which);
  y = bdpt_layernorm(t, y, &p[BDPT_SLOT_NORM_W], &p[BDPT_SLOT_NORM_B], m->config.eps);
  return bdpt_linear(t, y, &p[which ? BDPT_SLOT_HEAD2_W : BDPT_SLOT_HEAD_W],
                     &p[which ? BDPT_SLOT_HEAD2_B : BDPT_SLOT_HEAD_B]);
}

/* Without a recording, a block's intermediates are dead once its output exists: the output is moved
 * to where the input was and the arena goes back to the mark. */
BDPTI_FN bdpt_tensor *bdpti_blocks(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x,
                                   const bdpt_forward_options *o) {
  bdpt_rng rng;
  int l;
  bdpti_rng_seed(&rng, o->seed, 77);
  for (l = 0; x && l < m->config.depth; l++) {
    bdpti_mark mark = bdpti_tape_mark(t);
    bdpt_tensor *y = bdpti_block_forward(m, t, l, x, o, &rng);
    if (!t->record && y) {
      memmove(x->data, y->data, x->count * sizeof(bdpt_real));
      bdpti_tape_rewind(t, mark);
    } else {
      x = y;
    }
  }
  return x;
}

BDPT_API bdpt_tensor *bdpt_forward(bdpt_model *m, bdpt_tape *t, bdpt_tensor *images,
                                   const bdpt_forward_options *options, bdpt_tensor **dist) {
  const bdpt_config *c = &m->config;
  bdpt_tensor *p = m->param, *x, *cls, *second;
  bdpt_forward_options none;
  memset(&none, 0, sizeof none);
  if (dist) *dist = NULL;
  if (!options) options = &none;
  if (!images) return NULL;
  if (images->ndim != 4 || images->shape[1] != (size_t)c->channels ||
      images->shape[2] != (size_t)c->image || images->shape[3] != (size_t)c->image) {
    bdpti_fail(m->ctx, BDPT_E_SHAPE, "forward: images%s, but the model wants [B,%d,%d,%d]",
               bdpti_shape(images).text, c->channels, c->image, c->image);
    return NULL;
  }
  x = bdpt_patch_embed(t, images, &p[BDPT_SLOT_PATCH_W], &p[BDPT_SLOT_PATCH_B]);
  x = bdpt_tokens(t, x, &p[BDPT_SLOT_CLS], c->distilled ? &p[BDPT_SLOT_DIST] : NULL,
                  &p[BDPT_SLOT_POS]);
  x = bdpti_blocks(m, t, x, options);
  cls = bdpti_head(m, t, x, 0);
  if (!c->distilled) return cls;
  second = bdpti_head(m, t, x, 1);
  if (dist) *dist = second;
  if (options->training) return cls;
  return bdpt_scale(t, bdpt_add(t, cls, second), 0.5);
}

/* Images go through in groups, so that the workspace stays small whatever the count. */
BDPT_API bdpt_status bdpt_predict(bdpt_model *m, bdpt_tape *t, size_t count,
                                  const bdpt_real *images, bdpt_real *logits) {
  const bdpt_config *c = &m->config;
  size_t group = 32, at, k = (size_t)c->classes, side = (size_t)c->image;
  size_t pixels = (size_t)c->channels * side * side, shape[4];
  bdpt_tensor *x;
  if (t->record) {
    return bdpti_fail(m->ctx, BDPT_E_ARGUMENT, "predict: the tape must not record");
  }
  for (at = 0; at < count; at += group) {
    shape[0] = count - at < group ? count - at : group;
    shape[1] = (size_t)c->channels;
    shape[2] = shape[3] = side;
    bdpt_tape_reset(t);
    x = bdpt_forward(m, t, bdpt_input(t, 4, shape, images + at * pixels, 0), NULL, NULL);
    if (!x) return m->ctx->status;
    memcpy(logits + at * k, x->data, x->count * sizeof(bdpt_real));
  }
  return BDPT_OK;
}

/* =================================================================================================
 * 10  DEPTH PRUNING                                                                        >>prune
 * =================================================================================================
 * A width pruner makes layers narrower; a depth pruner takes whole layers away. In a transformer
 * block only two kinds of layer can go without touching any other shape: the attention layer, whose
 * input and output both have width D, and the activation, which has no weights at all. A linear
 * cannot go alone: fc1 maps D to F and fc2 maps F back, so without fc1 the second would get D
 * numbers where it expects F. That is the dimension mismatch of the paper.
 *
 * The trick is to remove what stands between the linears instead. Without its GELU the MLP is
 *
 *     W2 (W1 v + b1) + b2  =  (W2 W1) v + (W2 b1 + b2)
 *
 * one linear map of D x D: with F = 4D an eighth of the multiplications, and one layer of depth
 * instead of three. Removing the activation costs accuracy; fusing afterwards costs nothing.
 */

/* 10.1  Removing and restoring */
BDPTI_FN int bdpti_layer_ok(bdpt_model *m, const char *what, int layer) {
  if (layer >= 0 && layer < m->config.depth) return 1;
  bdpti_fail(m->ctx, BDPT_E_ARGUMENT, "%s: layer %d, but the network has layers 0 to %d", what,
             layer, m->config.depth - 1);
  return 0;
}

BDPTI_FN int bdpti_type_ok(bdpt_model *m, int type) {
  if (type == BDPT_ATTENTION || type == BDPT_ACTIVATION) return 1;
  bdpti_fail(m->ctx, BDPT_E_ARGUMENT, "layer type %d is neither attention (0) nor activation (1)",
             type);
  return 0;
}

BDPTI_FN int *bdpti_state(bdpt_model *m, int type, int layer) {
  bdpt_block *b = &m->config.block[layer];
  return type == BDPT_ATTENTION ? &b->attention : &b->activation;
}

BDPTI_FN const char *bdpti_type_name(int type) {
  return type == BDPT_ATTENTION ? "attention" : "activation";
}

/* Removal is a change of state: the weights stay in memory, inactive, until the model is saved,
 * so that a removal can be taken back. */
BDPT_API bdpt_status bdpt_prune(bdpt_model *m, int type, int layer) {
  if (!bdpti_type_ok(m, type) || !bdpti_layer_ok(m, "prune", layer)) return m->ctx->status;
  if (*bdpti_state(m, type, layer) != BDPT_KEPT) {
    return bdpti_fail(m->ctx, BDPT_E_STATE, "prune: the %s of block %d is already removed",
                      bdpti_type_name(type), layer);
  }
  *bdpti_state(m, type, layer) = BDPT_REMOVED;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_restore(bdpt_model *m, int type, int layer) {
  const bdpt_block *b;
  if (!bdpti_type_ok(m, type) || !bdpti_layer_ok(m, "restore", layer)) return m->ctx->status;
  b = &m->config.block[layer];
  if (*bdpti_state(m, type, layer) != BDPT_REMOVED) {
    return bdpti_fail(m->ctx, BDPT_E_STATE, "restore: the %s of block %d is not removed",
                      bdpti_type_name(type), layer);
  }
  if (type == BDPT_ACTIVATION && b->mlp_form != BDPT_PAIR) {
    return bdpti_fail(m->ctx, BDPT_E_STATE,
                      "restore: the MLP of block %d is fused; its two linears are gone", layer);
  }
  if (type == BDPT_ATTENTION && (!m->param[BDPT_SLOT(layer, BDPT_SLOT_QKV_W)].data ||
                                 !m->param[BDPT_SLOT(layer, BDPT_SLOT_NORM1_W)].data)) {
    return bdpti_fail(m->ctx, BDPT_E_STATE,
                      "restore: the file that this model came from does not hold the attention "
                      "weights of block %d", layer);
  }
  *bdpti_state(m, type, layer) = BDPT_KEPT;
  return BDPT_OK;
}

BDPT_API int bdpt_removed(const bdpt_config *c, int type) {
  int l, count = 0;
  for (l = 0; l < c->depth; l++) {
    const bdpt_block *b = &c->block[l];
    count += (type == BDPT_ATTENTION ? b->attention : b->activation) != BDPT_KEPT;
  }
  return count;
}

BDPT_API bdpt_status bdpt_prune_linear(bdpt_model *m, int layer, int which) {
  const bdpt_block *b;
  int d = m->config.width;
  if (!bdpti_layer_ok(m, "prune linear", layer)) return m->ctx->status;
  b = &m->config.block[layer];
  if (which == 1) {
    return bdpti_fail(m->ctx, BDPT_E_SHAPE,
                      "dimension mismatch: without fc1 [%d,%d] of block %d its fc2 [%d,%d] would "
                      "get %d features instead of %d; remove the activation and fuse both instead",
                      b->mlp, d, layer, d, b->mlp, d, b->mlp);
  }
  return bdpti_fail(m->ctx, BDPT_E_SHAPE,
                    "dimension mismatch: without fc2 [%d,%d] of block %d the residual stream of "
                    "width %d would get fc1's %d features; remove the activation and fuse both "
                    "instead", d, b->mlp, layer, d, b->mlp);
}

/* 10.2  Fusing
 *
 *   math      W = W2 W1,  b = W2 b1 + b2
 *   shape     W1[F,D] b1[F] W2[D,F] b2[D] -> W[D,D] b[D]
 *   source    PAPER_NOTES.md, "Fusion"; exact up to rounding, so the products are summed in double
 *   check     tests/test_model.c: fused and unfused logits
 */
BDPTI_FN void bdpti_fuse_row(const bdpt_tensor *p, size_t row, size_t d, size_t f, double *sum,
                             bdpt_real *w, bdpt_real *b) {
  const bdpt_real *w1 = p[BDPT_SLOT_FC1_W].data, *b1 = p[BDPT_SLOT_FC1_B].data;
  const bdpt_real *w2 = p[BDPT_SLOT_FC2_W].data + row * f;
  double bias = (double)p[BDPT_SLOT_FC2_B].data[row];
  size_t i, k;
  for (i = 0; i < d; i++) sum[i] = 0;
  for (k = 0; k < f; k++) {
    double a = (double)w2[k];
    bias += a * (double)b1[k];
    for (i = 0; i < d; i++) sum[i] += a * (double)w1[k * d + i];
  }
  for (i = 0; i < d; i++) w[row * d + i] = (bdpt_real)sum[i];
  b[row] = (bdpt_real)bias;
}

BDPT_API bdpt_status bdpt_fuse(bdpt_model *m, int layer) {
  bdpt_block *b;
  bdpt_tensor *p;
  double *sums;
  size_t d = (size_t)m->config.width, f, row, bytes = d * sizeof(double);
  int s;
  if (!bdpti_layer_ok(m, "fuse", layer)) return m->ctx->status;
  b = &m->config.block[layer];
  p = &m->param[BDPT_SLOT(layer, 0)];
  f = (size_t)b->mlp;
  if (b->mlp_form != BDPT_PAIR) {
    return bdpti_fail(m->ctx, BDPT_E_STATE, "fuse: the MLP of block %d is one map already", layer);
  }
  if (b->activation == BDPT_KEPT) {
    return bdpti_fail(m->ctx, BDPT_E_SHAPE,
                      "fuse: block %d still has its GELU between fc1 [%d,%d] and fc2 [%d,%d], so "
                      "the two are no single map, and taking one away would leave %d features "
                      "where %d are expected (dimension mismatch); remove the activation first",
                      layer, b->mlp, m->config.width, m->config.width, b->mlp, m->config.width,
                      b->mlp);
  }
  sums = (double *)bdpti_alloc(m->ctx, bytes);
  if (!sums || !bdpti_slot_alloc(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_W)) ||
      !bdpti_slot_alloc(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_B))) {
    bdpti_free(m->ctx, sums, bytes);
    bdpti_slot_free(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_W));
    bdpti_slot_free(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_B));
    return m->ctx->status;
  }
  for (row = 0; row < d; row++) {
    bdpti_fuse_row(p, row, d, f, sums, p[BDPT_SLOT_FUSED_W].data, p[BDPT_SLOT_FUSED_B].data);
  }
  bdpti_free(m->ctx, sums, bytes);
  for (s = BDPT_SLOT_FC1_W; s <= BDPT_SLOT_FC2_B; s++) bdpti_slot_free(m, BDPT_SLOT(layer, s));
  b->mlp_form = BDPT_FUSED;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_fuse_all(bdpt_model *m) {
  int l;
  for (l = 0; l < m->config.depth; l++) {
    const bdpt_block *b = &m->config.block[l];
    if (b->activation != BDPT_REMOVED || b->mlp_form != BDPT_PAIR) continue;
    if (bdpt_fuse(m, l) != BDPT_OK) return m->ctx->status;
  }
  return BDPT_OK;
}

/* 10.3  What a network costs
 *
 *   math      MACs = C P^2 D n + sum over blocks of [attention: 4 N D hd + 2 N^2 hd, or N D^2 when
 *             fitted] + [MLP: 2 N D F, or N D^2 when fused or fitted] + H D K
 *   source    PAPER_NOTES.md, "Counting": two conventions are in print, with and without the two
 *             products of attention (Q K^T and A V); both are reported
 *
 * n = (image / P)^2 patches, N = n + 1 (+ 1 distilled) tokens, H heads at the output. Norms,
 * softmax, GELU and residual sums are not counted, as everywhere in the literature.
 */
BDPT_API bdpt_status bdpt_cost(bdpt_context *ctx, const bdpt_config *config,
                               bdpt_cost_report *out) {
  bdpt_config c = *config;
  double n, tokens, d, matmul = 0;
  int l;
  memset(out, 0, sizeof *out);
  if (bdpt_config_resolve(ctx, &c) != BDPT_OK) return ctx->status;
  tokens = (double)bdpti_tokens(&c);
  n = tokens - 1 - c.distilled;
  d = (double)c.width;
  out->macs = (double)(c.channels * c.patch * c.patch) * d * n +
              (1 + c.distilled) * d * (double)c.classes;
  for (l = 0; l < c.depth; l++) {
    const bdpt_block *b = &c.block[l];
    double hd = (double)(b->heads * b->head_dim), f = (double)b->mlp;
    if (b->attention == BDPT_KEPT) out->macs += 4 * tokens * d * hd;
    if (b->attention == BDPT_KEPT) matmul += 2 * tokens * tokens * hd;
    if (b->attention == BDPT_FITTED) out->macs += tokens * d * d;
    out->macs += b->mlp_form == BDPT_PAIR ? 2 * tokens * d * f : tokens * d * d;
  }
  out->macs_no_matmul = out->macs;
  out->macs += matmul;
  out->params = bdpt_model_bytes(&c) / sizeof(bdpt_real);
  return BDPT_OK;
}

/* =================================================================================================
 * 9  DATA, OPTIMISER AND TRAINING                                                          >>train
 * =================================================================================================
 * One step of training reads a handful of images, disturbs them at random, asks the network what
 * they show, and moves every weight a little in the direction that would have made the answer
 * better. This chapter holds what surrounds the network in that sentence: where images come from
 * (9.1, 9.2), how they are resized and disturbed (9.3 to 9.5), how an answer is judged (9.6), how
 * far a weight moves (9.7, 9.8), and the loop that repeats the step, reports, saves and resumes
 * (9.9 to 9.12).
 *
 * The idea that carries the chapter: nothing that happens in step k depends on a generator that ran
 * through the steps before it. Which image comes at position p of epoch e, how it is cropped, what
 * lambda mixes the batch, which samples drop a path: each is a function of (seed, kind of draw,
 * epoch, position), see chapter 4.4. A run that stops after any step and resumes from its
 * checkpoint therefore continues with the same bits, and since no two images share a generator,
 * threads may prepare them in any order. The rejected choice was one generator whose state is
 * saved; it works until two threads draw from it.
 *
 * The trap of the chapter is the meaning of words. "Cosine with warm-up", "gradient clipping",
 * "repeated augmentation" and "cutmix" each have several readings that train differently. Ours are
 * those of timm and PyTorch, named at each place, and checked against their numbers.
 */

/* Kinds of random draws. Their numbers go into the hash, so reordering them changes every run. */
enum {
  BDPTI_DRAW_SPLIT = 901, BDPTI_DRAW_SAMPLE, BDPTI_DRAW_ORDER, BDPTI_DRAW_IMAGE, BDPTI_DRAW_MIX,
  BDPTI_DRAW_PATH
};

BDPTI_FN bdpt_rng bdpti_draws(uint64_t seed, int kind, size_t epoch, size_t position) {
  bdpt_rng r;
  bdpti_rng_seed(&r, bdpti_hash(seed, (uint64_t)kind, (uint64_t)epoch), (uint64_t)position);
  return r;
}

/* Fisher and Yates: every order is equally likely. */
BDPTI_FN void bdpti_shuffle(size_t *index, size_t n, bdpt_rng *r) {
  size_t i;
  for (i = n; i > 1; i--) {
    size_t j = bdpti_below(r, i), keep = index[j];
    index[j] = index[i - 1];
    index[i - 1] = keep;
  }
}

/* Which thread of the team is running: the number of its workspace. */
BDPTI_FN int bdpti_worker(void) {
#if BDPTI_THREADS
  return omp_get_thread_num();
#else
  return 0;
#endif
}

/* Arrays that live and die together share one block. Each is added to its plan in turn: the result
 * is the array's offset, *total moves past it, to the next cache line. A size that overflows makes
 * *total SIZE_MAX, which no allocator grants, so the sum is checked once, by allocating. */
BDPTI_FN size_t bdpti_carve(size_t *total, size_t count, size_t size) {
  size_t at = *total, bytes;
  if (!bdpti_mul(count, size, &bytes) || !bdpti_add(bytes, BDPTI_ALIGN - 1, &bytes) ||
      !bdpti_add(at, bytes / BDPTI_ALIGN * BDPTI_ALIGN, total)) {
    *total = SIZE_MAX;
  }
  return at;
}

/* 9.1  CIFAR-100                                                                          >>cifar
 *
 *   layout    record i at offset 3074 i:  coarse label, fine label, 1024 red, 1024 green, 1024 blue
 *   source    Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the
 *             page of the data set; train.bin has 50000 records, test.bin 10000
 *   check     tests/test_data.c: truncated, empty and mislabelled files; both ends of a good one
 *
 * The format has no header and no count, so its length is the only evidence of its kind. A length
 * that is not a multiple of 3074 or one label out of range means another format (CIFAR-10's records
 * have 3073 bytes) or a broken download, and the whole file is refused before anything is kept.
 */
#define BDPTI_CIFAR_PIXELS ((size_t)3 * 32 * 32)
#define BDPTI_CIFAR_RECORD (BDPTI_CIFAR_PIXELS + 2)

BDPTI_FN bdpt_status bdpti_cifar_check(bdpt_context *ctx, const unsigned char *p, size_t size,
                                       const char *name) {
  size_t i, n = size / BDPTI_CIFAR_RECORD, rest = size % BDPTI_CIFAR_RECORD;
  if (size == 0) return bdpti_fail(ctx, BDPT_E_FORMAT, "%s: the file is empty", name);
  if (rest) {
    return bdpti_fail(ctx, BDPT_E_FORMAT, "%s: record %zu, at offset %zu, has %zu bytes instead of "
                      "3074: truncated, or not CIFAR-100's format", name, n, size - rest, rest);
  }
  for (i = 0; i < n; i++, p += BDPTI_CIFAR_RECORD) {
    int fine = p[0] < 20; /* then the fine label is the one to blame */
    if (fine && p[1] < 100) continue;
    return bdpti_fail(ctx, BDPT_E_FORMAT, "%s: record %zu, at offset %zu: %s label %d is not below "
                      "%d", name, i, i * BDPTI_CIFAR_RECORD, fine ? "fine" : "coarse",
                      (int)p[fine], fine ? 100 : 20);
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_cifar100_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                         const char *name, bdpt_dataset *out) {
  const unsigned char *p = (const unsigned char *)bytes;
  size_t i;
  bdpt_status status = bdpti_cifar_check(ctx, p, size, name);
  memset(out, 0, sizeof *out);
  if (status != BDPT_OK) return status;
  out->count = size / BDPTI_CIFAR_RECORD; out->classes = 100; out->coarse_classes = 20;
  out->height = out->width = 32;
  out->pixels = (unsigned char *)bdpti_alloc(ctx, out->count * BDPTI_CIFAR_PIXELS);
  out->label = (unsigned short *)bdpti_alloc(ctx, out->count * sizeof *out->label);
  out->coarse = (unsigned short *)bdpti_alloc(ctx, out->count * sizeof *out->coarse);
  if (!out->pixels || !out->label || !out->coarse) {
    bdpt_dataset_free(ctx, out);
    return ctx->status;
  }
  for (i = 0; i < out->count; i++, p += BDPTI_CIFAR_RECORD) {
    out->coarse[i] = p[0]; out->label[i] = p[1];
    memcpy(out->pixels + i * BDPTI_CIFAR_PIXELS, p + 2, BDPTI_CIFAR_PIXELS);
  }
  return BDPT_OK;
}

#ifndef BDPT_NO_STDIO
BDPT_API bdpt_status bdpt_cifar100_load(bdpt_context *ctx, const char *path, bdpt_dataset *out) {
  unsigned char *bytes = NULL;
  size_t size = 0;
  bdpt_status status = bdpt_file_read(ctx, path, &bytes, &size);
  memset(out, 0, sizeof *out);
  if (status != BDPT_OK) return status;
  status = bdpt_cifar100_parse(ctx, bytes, size, path, out);
  bdpt_release(ctx, bytes, size + 1);
  return status;
}
#endif

BDPTI_FN size_t bdpti_image_bytes(const bdpt_dataset *d) {
  return (size_t)3 * (size_t)d->height * (size_t)d->width;
}

/* Frees what bdpt_cifar100_parse made. A data set with `fetch` belongs to the caller, who frees it.
 * */
BDPT_API void bdpt_dataset_free(bdpt_context *ctx, bdpt_dataset *d) {
  bdpti_free(ctx, d->pixels, d->count * bdpti_image_bytes(d));
  bdpti_free(ctx, d->label, d->count * sizeof *d->label);
  bdpti_free(ctx, d->coarse, d->count * sizeof *d->coarse);
  memset(d, 0, sizeof *d);
}

/* 9.2  Choosing images                                                                   >>subset
 *
 * Accuracy that selects something (a layer to remove, an epoch to keep) must come from images that
 * no weight was fitted to, and the final accuracy from images that selected nothing. So a data set
 * is divided before anything else happens: `rest` trains, `held` decides, the test file is read
 * once at the end. Both divisions below treat every class alike; with ten images per class, a draw
 * that ignored classes would leave some class with four and another with sixteen.
 *
 * One walk serves both. Visit the images in a shuffled order and number those of each class 0, 1,
 * 2, ...: an image's rank. The split holds back the ranks below per_class. The sample sorts by
 * rank: first one image of every class, then a second one of every class, and so on; the beginning
 * of that list is as balanced as its length allows, and a smaller sample is always the beginning of
 * a larger one drawn with the same seed.
 */
BDPTI_FN bdpt_status bdpti_subset_make(bdpt_context *ctx, const bdpt_dataset *data, size_t count,
                                       bdpt_subset *out) {
  size_t bytes = 0;
  bdpti_carve(&bytes, count, sizeof *out->index);
  out->index = (size_t *)bdpti_alloc(ctx, bytes);
  if (!out->index) return ctx->status;
  out->data = data; out->count = count;
  return BDPT_OK;
}

BDPT_API void bdpt_subset_free(bdpt_context *ctx, bdpt_subset *s) {
  size_t bytes = 0;
  bdpti_carve(&bytes, s->count, sizeof *s->index);
  bdpti_free(ctx, s->index, bytes);
  memset(s, 0, sizeof *s);
}

BDPT_API bdpt_status bdpt_subset_all(bdpt_context *ctx, const bdpt_dataset *data,
                                     bdpt_subset *out) {
  size_t i;
  memset(out, 0, sizeof *out);
  if (bdpti_subset_make(ctx, data, data->count, out) != BDPT_OK) return ctx->status;
  for (i = 0; i < data->count; i++) out->index[i] = i;
  return BDPT_OK;
}

/* A caller's own data set may hold anything, so indices and labels are checked before use. */
BDPTI_FN bdpt_status bdpti_subset_check(bdpt_context *ctx, const bdpt_dataset *data,
                                        const size_t *index, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) {
    size_t at = index ? index[i] : i;
    if (at >= data->count) {
      return bdpti_fail(ctx, BDPT_E_ARGUMENT, "image %zu of a data set of %zu", at, data->count);
    }
    if (data->label[at] < data->classes) continue;
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "image %zu: label %d is not below %d, the number of "
                      "classes", at, (int)data->label[at], data->classes);
  }
  return BDPT_OK;
}

/* The workspace as order[n], positions shuffled; rank[n], by position; n + 1 zeros; seen[classes],
 * the size of each class. index NULL: all images. NULL on failure. */
BDPTI_FN size_t *bdpti_ranks(bdpt_context *ctx, const bdpt_dataset *data, const size_t *index,
                             size_t n, bdpt_rng r) {
  size_t bytes = 0, *order, *rank, *seen, i;
  bdpti_carve(&bytes, n, 3 * sizeof *order);
  bdpti_carve(&bytes, data->classes > 0 ? (size_t)data->classes + 1 : 1, sizeof *order);
  if (bdpti_subset_check(ctx, data, index, n) != BDPT_OK) return NULL;
  order = (size_t *)bdpti_scratch(ctx, bytes);
  if (!order) return NULL;
  memset(order, 0, bytes);
  rank = order + n; seen = order + 3 * n + 1;
  for (i = 0; i < n; i++) order[i] = i;
  bdpti_shuffle(order, n, &r);
  for (i = 0; i < n; i++) {
    size_t at = order[i];
    rank[at] = seen[data->label[index ? index[at] : at]]++;
  }
  return order;
}

BDPT_API bdpt_status bdpt_split(bdpt_context *ctx, const bdpt_dataset *data, int per_class,
                                uint64_t seed, bdpt_subset *rest, bdpt_subset *held) {
  size_t *order, i, n = data->count, want, r = 0, h = 0, each = (size_t)per_class;
  memset(rest, 0, sizeof *rest);
  memset(held, 0, sizeof *held);
  if (per_class < 0) return bdpti_fail(ctx, BDPT_E_ARGUMENT, "split: %d per class", per_class);
  order = bdpti_ranks(ctx, data, NULL, n, bdpti_draws(seed, BDPTI_DRAW_SPLIT, 0, 0));
  if (!order) return ctx->status;
  for (i = 0; i < (size_t)data->classes; i++) {
    size_t seen = order[3 * n + 1 + i];
    if (seen >= each) continue;
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "split: class %zu has %zu images, %d wanted", i, seen,
                      per_class);
  }
  want = each * (size_t)data->classes; /* every class has `each`, so this is at most n */
  if (bdpti_subset_make(ctx, data, n - want, rest) != BDPT_OK ||
      bdpti_subset_make(ctx, data, want, held) != BDPT_OK) {
    bdpt_subset_free(ctx, rest);
    return ctx->status;
  }
  for (i = 0; i < n; i++) {
    if (order[n + i] < each) held->index[h++] = i;
    else rest->index[r++] = i;
  }
  return BDPT_OK;
}

/* The sort is a counting sort, which leaves equal ranks in the shuffled order. */
BDPT_API bdpt_status bdpt_sample(bdpt_context *ctx, const bdpt_subset *from, size_t count,
                                 uint64_t seed, bdpt_subset *out) {
  size_t *order, *rank, *start, i, n = from->count;
  memset(out, 0, sizeof *out);
  if (count > n) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "sample: %zu images wanted, the subset has %zu", count,
                      n);
  }
  order = bdpti_ranks(ctx, from->data, from->index, n, bdpti_draws(seed, BDPTI_DRAW_SAMPLE, 0, 0));
  if (!order || bdpti_subset_make(ctx, from->data, count, out) != BDPT_OK) return ctx->status;
  rank = order + n; start = rank + n; /* [n + 1]: how many images have a smaller rank */
  for (i = 0; i < n; i++) start[rank[i] + 1]++;
  for (i = 1; i <= n; i++) start[i] += start[i - 1];
  for (i = 0; i < n; i++) {
    size_t place = start[rank[order[i]]]++;
    if (place < count) out->index[place] = from->index[order[i]];
  }
  return BDPT_OK;
}

/* 9.3  Resizing bytes as Pillow does                                                     >>resize
 *
 *   math      out[o] = clip(round(sum_i w[o,i] in[i])),  w[o,i] = k((i - c + 1/2) / s) / sum,
 *             c = (o + 1/2) in/out,  s = max(1, in/out),  k = the cubic of 8.4 with a = -1/2
 *   shape     planes[C,H,W] -> [C,H,W'] -> [C,H',W']
 *   source    the arithmetic of Pillow's Resample.c: weights with 22 fractional bits, rows first,
 *             each pass rounded and clipped to a byte, a pass that keeps its size skipped
 *   check     tests/test_data.c: bytes equal to Pillow's for seven pairs of sizes
 *
 * DeiT's published weights saw images that Pillow had resized, so "bicubic" alone is not enough: a
 * resize without antialiasing, or one that keeps fractions between the two passes, differs by
 * several grey levels at edges. Fixed point is what makes exactness possible. A float product would
 * depend on the order of summation and on the compiler; a sum of integers does not.
 *
 * DEVIATION: Pillow 13 takes the columns first where the height shrinks much more than the width.
 * All versions before it, those that prepared the published weights among them, take rows first,
 * and so do we. Square images are not affected.
 *
 * The weights depend on the two sizes only. They are computed once per loader, not per image.
 */
#define BDPTI_WEIGHT_BITS 22
#define BDPTI_MAX_SIDE (1 << 20)

typedef struct bdpti_side {
  int in, out, taps;
  int *first, *length;  /* [out] first input position of each output, and how many follow */
  int *weight;          /* [out][taps] */
  size_t bytes;         /* of the block that holds the three */
} bdpti_side;

typedef struct bdpti_resizer { bdpti_side x, y; } bdpti_resizer;

/* The weights of one output position. They are computed twice, once for their sum, which costs
 * less than a place to keep them. Rounding is half away from zero. */
BDPTI_FN void bdpti_side_row(bdpti_side *a, int o) {
  double scale = (double)a->in / a->out, wide = scale < 1.0 ? 1.0 : scale;
  double center = (o + 0.5) * scale, shrink = 1.0 / wide, sum = 0.0;
  int low = (int)(center - 2.0 * wide + 0.5), high = (int)(center + 2.0 * wide + 0.5), i;
  int *weight = a->weight + (size_t)o * (size_t)a->taps;
  if (low < 0) low = 0;
  if (high > a->in) high = a->in;
  for (i = low; i < high; i++) sum += bdpti_cubic((i - center + 0.5) * shrink, -0.5);
  for (i = low; i < high; i++) {
    double w = bdpti_cubic((i - center + 0.5) * shrink, -0.5) / sum * (1 << BDPTI_WEIGHT_BITS);
    weight[i - low] = (int)(w < 0 ? w - 0.5 : w + 0.5);
  }
  a->first[o] = low; a->length[o] = high - low;
}

BDPTI_FN bdpt_status bdpti_side_make(bdpt_context *ctx, int in, int out, bdpti_side *a) {
  double scale = (double)in / out;
  int o;
  a->in = in; a->out = out;
  a->taps = (int)ceil(2.0 * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
  bdpti_carve(&a->bytes, (size_t)out * sizeof(int), (size_t)a->taps + 2);
  a->first = (int *)bdpti_alloc(ctx, a->bytes);
  if (!a->first) return ctx->status;
  a->length = a->first + out; a->weight = a->length + out;
  for (o = 0; o < out; o++) bdpti_side_row(a, o);
  return BDPT_OK;
}

BDPTI_FN void bdpti_resizer_free(bdpt_context *ctx, bdpti_resizer *r) {
  bdpti_free(ctx, r->x.first, r->x.bytes);
  bdpti_free(ctx, r->y.first, r->y.bytes);
  memset(r, 0, sizeof *r);
}

BDPTI_FN bdpt_status bdpti_resizer_make(bdpt_context *ctx, int h, int w, int oh, int ow,
                                        bdpti_resizer *r) {
  memset(r, 0, sizeof *r);
  if (h < 1 || w < 1 || oh < 1 || ow < 1 || h > BDPTI_MAX_SIDE || w > BDPTI_MAX_SIDE ||
      oh > BDPTI_MAX_SIDE || ow > BDPTI_MAX_SIDE) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "resize: %d x %d to %d x %d: a side must be between 1 "
                      "and 2^20", h, w, oh, ow);
  }
  if (!bdpti_side_make(ctx, w, ow, &r->x) && !bdpti_side_make(ctx, h, oh, &r->y)) return BDPT_OK;
  bdpti_resizer_free(ctx, r);
  return ctx->status;
}

/* One pass along the middle axis: in[blocks,in,step] -> out[blocks,out,step]. Rows have step 1,
 * columns step W'. A negative sum is clipped before the shift, whose result C leaves open. */
BDPTI_FN void bdpti_side_pass(const bdpti_side *a, size_t blocks, size_t step,
                              const unsigned char *in, unsigned char *out) {
  size_t b, s;
  int o, i;
  for (b = 0; b < blocks; b++, in += (size_t)a->in * step) {
    for (o = 0; o < a->out; o++, out += step) {
      const int *weight = a->weight + (size_t)o * (size_t)a->taps;
      const unsigned char *from = in + (size_t)a->first[o] * step;
      for (s = 0; s < step; s++) {
        int sum = 1 << (BDPTI_WEIGHT_BITS - 1);
        for (i = 0; i < a->length[o]; i++) sum += weight[i] * from[(size_t)i * step + s];
        sum = sum < 0 ? 0 : sum >> BDPTI_WEIGHT_BITS;
        out[s] = (unsigned char)(sum > 255 ? 255 : sum);
      }
    }
  }
}

/* Both passes; `middle` has room for [channels,H,W']. */
BDPTI_FN void bdpti_resize(const bdpti_resizer *r, size_t channels, const unsigned char *in,
                           unsigned char *middle, unsigned char *out) {
  int across = r->x.in != r->x.out, down = r->y.in != r->y.out;
  size_t rows = channels * (size_t)r->y.in, wide = (size_t)r->x.out;
  if (across) bdpti_side_pass(&r->x, rows, 1, in, down ? middle : out);
  if (down) bdpti_side_pass(&r->y, channels, wide, across ? middle : in, out);
  if (!across && !down) memcpy(out, in, rows * wide);
}

BDPT_API bdpt_status bdpt_resize_bytes(bdpt_context *ctx, const unsigned char *in, int channels,
                                       int h, int w, unsigned char *out, int oh, int ow) {
  bdpti_resizer r;
  unsigned char *middle;
  size_t bytes = 0;
  if (channels < 1) return bdpti_fail(ctx, BDPT_E_ARGUMENT, "resize: %d channels", channels);
  if (bdpti_resizer_make(ctx, h, w, oh, ow, &r) != BDPT_OK) return ctx->status;
  bdpti_carve(&bytes, (size_t)channels * (size_t)h, (size_t)ow);
  middle = (unsigned char *)bdpti_alloc(ctx, bytes);
  if (middle) bdpti_resize(&r, (size_t)channels, in, middle, out);
  bdpti_free(ctx, middle, bytes);
  bdpti_resizer_free(ctx, &r);
  return middle ? BDPT_OK : ctx->status;
}

/* 9.4  Disturbing one image                                                             >>augment
 *
 *   math      crop: out[y,x] = in[y + dy - p, x + dx - p], zero outside, dy, dx uniform in 0..2p;
 *             flip: x -> W - 1 - x with probability 1/2;
 *             erase: with probability q a rectangle of area a HW and aspect r becomes N(0,1) noise,
 *             a uniform in [0.02, 1/3], log r uniform in [log 0.3, -log 0.3]
 *   shape     planes[3,h,w] -> crop[3,h,w] -> resized[3,H,W] -> image[3,H,W], normalised
 *   source    Zhong et al., "Random erasing data augmentation", 2020; timm's RandomErasing, mode
 *             "pixel": ten attempts, sides sqrt(a HW r) and sqrt(a HW / r), strictly inside
 *   check     tests/test_data.c: same bits for 1, 2 and 3 threads; erased shares; crop and flip
 *
 * The crop and the flip happen on the bytes of the source image, before resizing, as torchvision
 * would on a CIFAR image; erasing happens last, in the normalised image, as in timm. Why should a
 * network learn from noise and black borders? Because a small data set is otherwise learnt by
 * heart: a network that never sees the same image twice must find what the versions have in common.
 *
 * A loader holds what does not depend on the image: the weights of the resize, a table that turns a
 * byte of each channel into its normalised value (computed in double, rounded once), and for each
 * thread a workspace, in this order: fetched [3,h,w], cropped [3,h,w], half-way [3,h,H], resized
 * [3,H,H].
 */
typedef struct bdpti_loader {
  bdpt_context *ctx;           /* NULL: there is no loader */
  const bdpt_dataset *data;
  int threads, image;
  bdpti_resizer resizer;
  bdpt_real level[3][256];
  unsigned char *block;        /* failed [images per call], then the threads' workspaces */
  size_t bytes, work, each;    /* of the block; where workspaces begin; of one workspace */
} bdpti_loader;

BDPTI_FN void bdpti_loader_free(bdpti_loader *l) {
  if (!l->ctx) return;
  bdpti_resizer_free(l->ctx, &l->resizer);
  bdpti_free(l->ctx, l->block, l->bytes);
  memset(l, 0, sizeof *l);
}

BDPTI_FN bdpt_status bdpti_loader_check(bdpt_context *ctx, const bdpt_config *config,
                                        const bdpt_dataset *data) {
  if (config->channels != 3) {
    return bdpti_fail(ctx, BDPT_E_SHAPE, "the network wants %d channels, the images have 3",
                      config->channels);
  }
  if (data->classes > config->classes) {
    return bdpti_fail(ctx, BDPT_E_SHAPE, "the data set has %d classes, the network's head has %d",
                      data->classes, config->classes);
  }
  if (data->pixels || data->fetch) return BDPT_OK;
  return bdpti_fail(ctx, BDPT_E_ARGUMENT, "the data set has neither pixels nor a fetch function");
}

/* For `room` images per call, all of them among index[count]. */
BDPTI_FN bdpt_status bdpti_loader_make(bdpt_context *ctx, const bdpt_config *config,
                                       const bdpt_dataset *data, const size_t *index, size_t count,
                                       size_t room, bdpti_loader *l) {
  size_t side = (size_t)config->image;
  int c, v;
  memset(l, 0, sizeof *l);
  if (bdpti_loader_check(ctx, config, data) != BDPT_OK ||
      bdpti_subset_check(ctx, data, index, count) != BDPT_OK ||
      bdpti_resizer_make(ctx, data->height, data->width, config->image, config->image,
                         &l->resizer) != BDPT_OK) {
    return ctx->status;
  }
  l->ctx = ctx; l->data = data; l->threads = ctx->threads; l->image = config->image;
  for (c = 0; c < 3; c++) {
    for (v = 0; v < 256; v++) {
      l->level[c][v] = (bdpt_real)((v / 255.0 - config->mean[c]) / config->std[c]);
    }
  }
  bdpti_carve(&l->each, bdpti_image_bytes(data), 2);
  bdpti_carve(&l->each, (size_t)3 * (size_t)data->height, side);
  bdpti_carve(&l->each, 3 * side, side);
  bdpti_carve(&l->bytes, room, 1);
  l->work = bdpti_carve(&l->bytes, (size_t)l->threads, l->each);
  l->block = (unsigned char *)bdpti_alloc(ctx, l->bytes);
  if (!l->block) bdpti_loader_free(l);
  return l->block ? BDPT_OK : ctx->status;
}

BDPTI_FN void bdpti_crop_flip(const unsigned char *in, int h, int w, int pad, int dy, int dx,
                              int flip, unsigned char *out) {
  int c, y, x;
  for (c = 0; c < 3; c++, in += (size_t)h * (size_t)w) {
    for (y = dy - pad; y < dy - pad + h; y++, out += w) {
      for (x = 0; x < w; x++) {
        int from = (flip ? w - 1 - x : x) + dx - pad;
        int inside = y >= 0 && y < h && from >= 0 && from < w;
        out[x] = inside ? in[(size_t)y * (size_t)w + (size_t)from] : (unsigned char)0;
      }
    }
  }
}

/* Erases one rectangle of image[3,size,size], or none if ten attempts draw none that fits. */
BDPTI_FN void bdpti_erase(bdpt_real *image, int size, bdpt_rng *r) {
  double area = (double)size * size, log_least = log(0.3);
  int attempt, c, y, x;
  for (attempt = 0; attempt < 10; attempt++) {
    double target = area * (0.02 + (1.0 / 3.0 - 0.02) * bdpti_uniform(r));
    double aspect = exp(log_least - 2.0 * log_least * bdpti_uniform(r));
    int h = (int)floor(sqrt(target * aspect) + 0.5), w = (int)floor(sqrt(target / aspect) + 0.5);
    int top, left;
    if (h >= size || w >= size) continue;
    top = (int)bdpti_below(r, (size_t)(size - h) + 1);
    left = (int)bdpti_below(r, (size_t)(size - w) + 1);
    for (c = 0; c < 3; c++) {
      for (y = top; y < top + h; y++) {
        bdpt_real *row = image + ((size_t)c * (size_t)size + (size_t)y) * (size_t)size;
        for (x = left; x < left + w; x++) row[x] = (bdpt_real)bdpti_normal(r);
      }
    }
    return;
  }
}

/* One image, start to end; 0 if it could not be fetched. `recipe` NULL: as it is, for evaluation.
 * Every draw comes from r. */
BDPTI_FN int bdpti_load_one(const bdpti_loader *l, const bdpt_recipe *recipe, bdpt_rng *r,
                            size_t index, unsigned char *work, bdpt_real *image) {
  const bdpt_dataset *d = l->data;
  size_t source = bdpti_image_bytes(d), side = (size_t)l->image, plane = side * side, i;
  unsigned char *cropped = work + source, *middle = cropped + source;
  unsigned char *resized = middle + 3 * (size_t)d->height * side;
  const unsigned char *bytes = d->pixels ? d->pixels + index * source : work;
  if (!d->pixels && d->fetch(d->user, index, work) != 0) return 0;
  if (recipe && (recipe->crop > 0 || recipe->flip)) {
    int pad = recipe->crop, dy = (int)bdpti_below(r, (size_t)pad * 2 + 1);
    int dx = (int)bdpti_below(r, (size_t)pad * 2 + 1);
    int flip = recipe->flip && bdpti_uniform(r) < 0.5;
    bdpti_crop_flip(bytes, d->height, d->width, pad, dy, dx, flip, cropped);
    bytes = cropped;
  }
  bdpti_resize(&l->resizer, 3, bytes, middle, resized);
  for (i = 0; i < 3 * plane; i++) image[i] = l->level[i / plane][resized[i]];
  if (recipe && recipe->erase > 0 && bdpti_uniform(r) < recipe->erase) {
    bdpti_erase(image, l->image, r);
  }
  return 1;
}

/* n images at positions position .. position + n - 1 of an epoch -> images[n,3,H,W], labels[n].
 * The threads take images in turn; the first failure in the order of the batch is reported. */
BDPTI_FN bdpt_status bdpti_load(bdpti_loader *l, const bdpt_recipe *recipe, const size_t *index,
                                size_t n, size_t epoch, size_t position, bdpt_real *images,
                                int *labels) {
  size_t each = (size_t)3 * (size_t)l->image * (size_t)l->image;
  int i, count = (int)n;
  BDPTI_OMP(omp parallel for num_threads(l->threads) schedule(static))
  for (i = 0; i < count; i++) {
    bdpt_rng r = bdpti_draws(recipe ? recipe->seed : 0, BDPTI_DRAW_IMAGE, epoch,
                             position + (size_t)i);
    l->block[i] = !bdpti_load_one(l, recipe, &r, index[i],
                                  l->block + l->work + (size_t)bdpti_worker() * l->each,
                                  images + (size_t)i * each);
  }
  for (i = 0; i < count; i++) {
    if (l->block[i]) {
      return bdpti_fail(l->ctx, BDPT_E_IO, "image %zu: the data set's fetch function failed",
                        index[i]);
    }
    if (labels) labels[i] = (int)l->data->label[index[i]];
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_load_batch(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_subset *subset, size_t first, size_t count,
                                     bdpt_real *images, int *labels) {
  const size_t *index;
  bdpti_loader loader;
  bdpt_config resolved = *config;
  bdpt_status status = bdpt_config_resolve(ctx, &resolved);
  if (status != BDPT_OK) return status;
  if (first > subset->count || count > subset->count - first || count > (size_t)1 << 30) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "%zu images from %zu on of a subset of %zu", count,
                      first, subset->count);
  }
  index = subset->index + first;
  status = bdpti_loader_make(ctx, &resolved, subset->data, index, count, count, &loader);
  if (status != BDPT_OK) return status;
  status = bdpti_load(&loader, NULL, index, count, 0, 0, images, labels);
  bdpti_loader_free(&loader);
  return status;
}

/* 9.5  Mixing a batch                                                                       >>mix
 *
 *   math      mixup: x_i <- lam x_i + (1 - lam) x_j,  j = B - 1 - i
 *             cutmix: a box of x_i <- the same box of x_j, lam <- 1 - box area / HW
 *             target: lam s(y_i) + (1 - lam) s(y_j),  s(y) = 1 - e + e/K at y and e/K elsewhere
 *   shape     images[B,3,H,W] in place; labels[B] -> targets[B,K]
 *   source    Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019; the pairing (the batch in
 *             reverse order), one lambda for the batch, the correction of lambda for a box cut off
 *             at the border and the smoothing e inside the mixed target are timm's Mixup
 *   check     tests/test_train.c: boxes, images and targets against timm's
 *
 * The box has sides floor(H sqrt(1 - lam)) and floor(W sqrt(1 - lam)) around a uniform centre. timm
 * up to 0.9 halved the sides first, which made odd boxes one pixel smaller; today's timm does not,
 * and we follow today's.
 */
typedef struct bdpti_mixing {
  double lam;           /* share of the image itself; 1: the batch is left alone */
  int cut;              /* 1: cutmix, and lam follows from the box */
  int y0, y1, x0, x1;   /* first row and column of the box, and first after it */
} bdpti_mixing;

BDPTI_FN int bdpti_clamp(int v, int high) { return v < 0 ? 0 : v > high ? high : v; }

BDPTI_FN void bdpti_cut_box(int h, int w, double lam, int cy, int cx, bdpti_mixing *m) {
  double ratio = sqrt(1.0 - lam);
  int high = (int)(h * ratio), wide = (int)(w * ratio);
  m->y0 = bdpti_clamp(cy - high / 2, h);
  m->y1 = bdpti_clamp(cy + (high + 1) / 2, h);
  m->x0 = bdpti_clamp(cx - wide / 2, w);
  m->x1 = bdpti_clamp(cx + (wide + 1) / 2, w);
  m->cut = 1;
  m->lam = 1.0 - (double)(m->y1 - m->y0) * (m->x1 - m->x0) / ((double)h * w);
}

BDPTI_FN bdpti_mixing bdpti_mix_draw(const bdpt_recipe *recipe, int size, bdpt_rng *r) {
  bdpti_mixing m;
  int cut = recipe->cutmix > 0;
  double alpha;
  memset(&m, 0, sizeof m);
  m.lam = 1.0;
  if (!(recipe->mixup > 0) && !cut) return m;
  if (bdpti_uniform(r) >= recipe->mix_prob) return m;
  if (cut && recipe->mixup > 0) cut = bdpti_uniform(r) < recipe->switch_prob;
  alpha = cut ? recipe->cutmix : recipe->mixup;
  m.lam = bdpti_beta(r, alpha, alpha);
  if (cut) {
    int cy = (int)bdpti_below(r, (size_t)size), cx = (int)bdpti_below(r, (size_t)size);
    bdpti_cut_box(size, size, m.lam, cy, cx, &m);
  }
  return m;
}

/* Two images of a pair, [3,h,w] each; both are read before either is written. */
BDPTI_FN void bdpti_mix_pair(const bdpti_mixing *m, size_t h, size_t w, bdpt_real *a,
                             bdpt_real *b) {
  bdpt_real lam = (bdpt_real)m->lam, rest = (bdpt_real)(1.0 - m->lam);
  size_t at;
  for (at = 0; at < 3 * h * w; at++) {
    int y = (int)(at / w % h), x = (int)(at % w);
    bdpt_real keep = a[at];
    if (!m->cut) {
      a[at] = keep * lam + b[at] * rest; b[at] = b[at] * lam + keep * rest;
    } else if (y >= m->y0 && y < m->y1 && x >= m->x0 && x < m->x1) {
      a[at] = b[at]; b[at] = keep;
    }
  }
}

/* In an odd batch the middle image is its own partner and is left alone. DEVIATION: timm computes
 * lam x + (1 - lam) x there, which may differ from x in the last bit. */
BDPTI_FN void bdpti_mix_images(const bdpti_mixing *m, int threads, size_t n, size_t h, size_t w,
                               bdpt_real *images) {
  size_t each = 3 * h * w;
  int i, pairs = m->lam < 1.0 ? (int)(n / 2) : 0;
  BDPTI_OMP(omp parallel for num_threads(threads) schedule(static))
  for (i = 0; i < pairs; i++) {
    bdpti_mix_pair(m, h, w, images + (size_t)i * each, images + (n - 1 - (size_t)i) * each);
  }
  (void)threads;
}

BDPTI_FN void bdpti_mix_targets(const int *labels, size_t n, int classes, double lam,
                                double smoothing, bdpt_real *targets) {
  double off = smoothing / classes, on = 1.0 - smoothing + off;
  size_t i;
  int k;
  for (i = 0; i < n; i++, targets += classes) {
    for (k = 0; k < classes; k++) {
      double mine = k == labels[i] ? on : off, other = k == labels[n - 1 - i] ? on : off;
      targets[k] = (bdpt_real)(mine * lam + other * (1.0 - lam));
    }
  }
}

/* 9.6  Accuracy                                                                        >>evaluate
 *
 *   math      rank = #{k: z_k > z_y or (z_k = z_y and k < y)}; top-n counts rank < n;
 *             loss = mean of log sum_k exp(z_k) - z_y
 *   shape     logits[B,K], labels[B] -> three sums
 *   source    the metrics of timm's validate script
 *   check     tests/test_train.c: by hand, with ties
 *
 * Equal logits count by index, so a network that answers the same for every class scores 1/K and
 * not 100 per cent. A logit that is not finite would make every comparison false and the rank 0, a
 * perfect score; it is an error instead. Sums run in double, image after image, in the order of the
 * subset, so that neither batch size nor thread count shows in the result.
 */
#define BDPTI_JUDGE_BATCH ((size_t)64)

typedef struct bdpti_judge {
  bdpt_model *model;
  const bdpt_subset *data;
  bdpti_loader loader;
  bdpt_tape *tape;
  size_t batch, bytes;
  bdpt_real *images, *logits;  /* [batch,3,H,W], where the block begins; [batch,K] */
  int *labels;                 /* [batch] */
} bdpti_judge;

BDPTI_FN void bdpti_judge_free(bdpti_judge *j) {
  if (!j->loader.ctx) return;
  bdpt_tape_free(j->tape);
  bdpti_free(j->loader.ctx, j->images, j->bytes);
  bdpti_loader_free(&j->loader);
}

BDPTI_FN bdpt_status bdpti_judge_make(bdpt_model *model, const bdpt_subset *data, bdpti_judge *j) {
  bdpt_context *ctx = model->ctx;
  size_t side = (size_t)model->config.image, logits, labels, n = data->count;
  memset(j, 0, sizeof *j);
  if (n == 0) return bdpti_fail(ctx, BDPT_E_ARGUMENT, "evaluate: the subset is empty");
  j->model = model; j->data = data; j->batch = n < BDPTI_JUDGE_BATCH ? n : BDPTI_JUDGE_BATCH;
  if (bdpti_loader_make(ctx, &model->config, data->data, data->index, n, j->batch, &j->loader)) {
    return ctx->status;
  }
  bdpti_carve(&j->bytes, j->batch * 3 * side * side, sizeof(bdpt_real));
  logits = bdpti_carve(&j->bytes, j->batch * (size_t)model->config.classes, sizeof(bdpt_real));
  labels = bdpti_carve(&j->bytes, j->batch, sizeof(int));
  j->images = (bdpt_real *)bdpti_alloc(ctx, j->bytes);
  j->logits = j->images ? j->images + logits / sizeof(bdpt_real) : NULL;
  j->labels = j->images ? (int *)(void *)j->images + labels / sizeof(int) : NULL;
  j->tape = j->images ? bdpt_tape_create(ctx, 0) : NULL;
  if (!j->tape) bdpti_judge_free(j);
  return j->tape ? BDPT_OK : ctx->status;
}

/* Adds one image's row of logits to the sums; 0 if a logit is not finite. */
BDPTI_FN int bdpti_judge_row(const bdpt_real *z, int classes, int label, bdpt_accuracy *sum) {
  double most = (double)z[0], total = 0;
  int k, rank = 0;
  for (k = 0; k < classes; k++) {
    if (!((double)z[k] - (double)z[k] == 0)) return 0;
    if ((double)z[k] > most) most = (double)z[k];
    if (z[k] > z[label] || (k < label && !(z[k] < z[label]))) rank++;
  }
  for (k = 0; k < classes; k++) total += exp((double)z[k] - most);
  sum->count++;
  sum->top1 += rank < 1;
  sum->top5 += rank < 5;
  sum->loss += log(total) + most - (double)z[label];
  return 1;
}

/* How a long call talks to its caller; 1 means stop. */
BDPTI_FN int bdpti_tell(const bdpt_hooks *hooks, const char *phase, size_t done, size_t total,
                        double loss, double accuracy) {
  bdpt_progress p;
  if (!hooks || !hooks->progress) return 0;
  p.phase = phase;
  p.detail = "";
  p.done = done; p.total = total;
  p.unit = "images";
  p.loss = loss; p.accuracy = accuracy;
  return hooks->progress(&p, hooks->user) != 0;
}

BDPTI_FN bdpt_status bdpti_judge_run(bdpti_judge *j, const bdpt_hooks *hooks, bdpt_accuracy *out) {
  bdpt_context *ctx = j->loader.ctx;
  int classes = j->model->config.classes;
  size_t at, n, i;
  bdpt_accuracy sum;
  memset(&sum, 0, sizeof sum);
  for (at = 0; at < j->data->count; at += n) {
    n = j->data->count - at < j->batch ? j->data->count - at : j->batch;
    if (bdpti_load(&j->loader, NULL, j->data->index + at, n, 0, 0, j->images, j->labels) ||
        bdpt_predict(j->model, j->tape, n, j->images, j->logits) != BDPT_OK) {
      return ctx->status;
    }
    for (i = 0; i < n; i++) {
      if (bdpti_judge_row(j->logits + i * (size_t)classes, classes, j->labels[i], &sum)) continue;
      return bdpti_fail(ctx, BDPT_E_NUMERIC, "evaluate: image %zu: a logit is not finite",
                        j->data->index[at + i]);
    }
    *out = sum;
    out->top1 = 100.0 * sum.top1 / (double)sum.count;
    out->top5 = 100.0 * sum.top5 / (double)sum.count;
    out->loss = sum.loss / (double)sum.count;
    if (bdpti_tell(hooks, "evaluate", out->count, j->data->count, out->loss, out->top1)) {
      return BDPT_CANCELLED;
    }
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_evaluate(bdpt_model *model, const bdpt_subset *data,
                                   bdpt_accuracy *out) {
  bdpti_judge judge;
  bdpt_status status = bdpti_judge_make(model, data, &judge);
  memset(out, 0, sizeof *out);
  if (status != BDPT_OK) return status;
  status = bdpti_judge_run(&judge, NULL, out);
  bdpti_judge_free(&judge);
  return status;
}

/* 9.7  Recipes and the learning rate                                                   >>schedule
 *
 *   math      warm-up, t < w:  lr(t) = lr0 + (lr - lr0) t / w
 *             after it, in the segment [s, e) that holds t:
 *             lr(t) = min + (lr - min) (1 + cos(pi (t - s) / (e - s))) / 2;  lr(t) = min for t >= T
 *   source    Loshchilov and Hutter, "SGDR", 2017; timm's CosineLRScheduler with warmup_prefix off
 *   check     tests/test_train.c: equal to timm's at every whole epoch
 *
 * t is time in epochs. The warm-up covers the beginning of the cosine and does not push it back: at
 * t = w the rate has already fallen a little below the peak. timm calls this "no prefix"; with the
 * prefix the cosine would start at its top after the warm-up.
 *
 * DEVIATION: timm changes the rate once per epoch, and its training script steps the scheduler
 * after each epoch with that epoch's index, so that epoch e trains at lr(e - 1) and epochs 0 and 1
 * both at lr0 (the authors' log shows it). We evaluate the same function before every step, at t =
 * step / steps per epoch. At whole epochs the functions agree; a short run, which has few epochs,
 * gets a smooth rate instead of a staircase that starts one epoch late.
 *
 * A restart begins a new cosine from the peak. Pruning during training is such a moment: a layer
 * has gone, and the weights need room to move again.
 */
BDPTI_FN void bdpti_default_real(double *value, double otherwise) {
  if (*value == 0) *value = otherwise;
}

BDPT_API void bdpt_recipe_resolve(bdpt_recipe *r) {
  bdpti_default(&r->epochs, 1);
  bdpti_default(&r->batch, 128);
  bdpti_default(&r->repeats, 1);
  bdpti_default_real(&r->lr, 5e-4);
  bdpti_default_real(&r->min_lr, r->lr / 100.0);
  bdpti_default_real(&r->warmup_lr, 1e-6);
  bdpti_default_real(&r->weight_decay, 0.05);
  bdpti_default_real(&r->beta1, 0.9);
  bdpti_default_real(&r->beta2, 0.999);
  bdpti_default_real(&r->adam_eps, 1e-8);
  bdpti_default_real(&r->switch_prob, 0.5);
  bdpti_default_real(&r->mix_prob, 1.0);
  bdpti_default_real(&r->distill_alpha, 0.5);
  bdpti_default_real(&r->distill_tau, 1.0);
}

BDPT_API double bdpt_schedule(const bdpt_recipe *r, double t) {
  const double pi = 3.14159265358979323846;
  double least = r->min_lr > 0 ? r->min_lr : 0, begin = 0, end = r->epochs;
  int i;
  if (t < r->warmup) return r->warmup_lr + (r->lr - r->warmup_lr) * t / r->warmup;
  if (t >= r->epochs) return least;
  for (i = 0; i < r->restarts && r->restart[i] <= t; i++) begin = r->restart[i];
  if (i < r->restarts) end = r->restart[i];
  return least + 0.5 * (r->lr - least) * (1.0 + cos(pi * (t - begin) / (end - begin)));
}

/* A value outside its range is refused with its name; so is NaN, which fails every comparison. The
 * numbers of this table are also what a checkpoint remembers of the recipe. */
typedef struct bdpti_range { const char *name; double value, low, high; } bdpti_range;
#define BDPTI_RANGES 27

BDPTI_FN void bdpti_recipe_table(const bdpt_recipe *r, bdpti_range table[BDPTI_RANGES]) {
  const double big = 1e9, almost = 1.0 - 1e-12;
  const bdpti_range rows[BDPTI_RANGES] = {
    {"epochs", (double)r->epochs, 1, 1e6}, {"batch", (double)r->batch, 1, 1 << 20},
    {"repeats", (double)r->repeats, 1, 1e6}, {"crop", (double)r->crop, 0, 4096},
    {"flip", (double)r->flip, 0, 1}, {"lr", r->lr, 0, big}, {"min_lr", r->min_lr, -big, big},
    {"warmup_lr", r->warmup_lr, 0, big}, {"warmup", r->warmup, 0, big},
    {"weight_decay", r->weight_decay, -big, big}, {"beta1", r->beta1, 0, almost},
    {"beta2", r->beta2, 0, almost}, {"adam_eps", r->adam_eps, 1e-30, big},
    {"clip", r->clip, 0, 1e30}, {"ema", r->ema, 0, 1}, {"smoothing", r->smoothing, 0, 1},
    {"mixup", r->mixup, 0, big}, {"cutmix", r->cutmix, 0, big},
    {"switch_prob", r->switch_prob, 0, 1}, {"mix_prob", r->mix_prob, 0, 1},
    {"erase", r->erase, 0, 1},
    {"drop_path", r->drop_path, 0, almost}, {"distill", (double)r->distill, 0, BDPT_DISTILL_SOFT},
    {"distill_alpha", r->distill_alpha, 0, 1}, {"distill_tau", r->distill_tau, 1e-6, big},
    {"importance", (double)r->importance, 0, 1},
    {"restarts", (double)r->restarts, 0, BDPT_MAX_RESTARTS}};
  memcpy(table, rows, sizeof rows);
}

BDPTI_FN bdpt_status bdpti_recipe_check(bdpt_context *ctx, const bdpt_recipe *r) {
  bdpti_range table[BDPTI_RANGES];
  int i;
  bdpti_recipe_table(r, table);
  for (i = 0; i < BDPTI_RANGES; i++) {
    if (table[i].value >= table[i].low && table[i].value <= table[i].high) continue;
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "recipe: %s is %g, not between %g and %g",
                      table[i].name, table[i].value, table[i].low, table[i].high);
  }
  for (i = 0; i < r->restarts; i++) {
    if (r->restart[i] > (i ? r->restart[i - 1] : 0) && r->restart[i] < r->epochs) continue;
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "recipe: restart %d at epoch %g: restarts must grow "
                      "and lie between 0 and %d", i, r->restart[i], r->epochs);
  }
  return BDPT_OK;
}

/* 9.8  The optimiser                                                                     >>adamw
 *
 *   math      g <- c g,  c = min(1, clip / (|g| + 1e-6)),  |g| over all parameters together
 *             m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *             w <- w (1 - lr wd) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *             average <- d average + (1 - d) w
 *   source    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, and PyTorch's
 *             AdamW; torch.nn.utils.clip_grad_norm_; timm's ModelEma
 *   check     tests/test_train.c: seven steps, three clippings, five averages against PyTorch
 *
 * Every parameter has its own t, as in PyTorch. This matters when layers come and go: the fused map
 * of an MLP appears in the middle of a run with moments of zero, and its first steps need the bias
 * correction of first steps. A layer that was removed keeps its moments while it is out, in case it
 * is restored, but neither decays nor moves.
 *
 * Decay pulls weights towards zero; norms, biases and tokens are exempt (bdpt_model_decays). So are
 * the importance scalars of stage 1: their gradient says which way the loss moves, and decay would
 * drown the small ones.
 *
 * To everything below a trainer has one list of parameters: the model's slots, then the importance
 * scalars, attention first. So there is one loop for the norm, one for the update, one for the
 * file.
 */
#define BDPTI_MAX_PARAMS (BDPT_MAX_SLOTS + 2 * BDPT_MAX_DEPTH)

typedef struct bdpti_moments {
  bdpt_real *m;      /* m[count], v[count] and, if the recipe averages, average[count] */
  size_t count;
} bdpti_moments;

/* The part of a trainer that is neither image nor weight: 64-bit words only, so that a checkpoint
 * can hold it as it stands. */
typedef struct bdpti_counters {
  uint64_t recipe, data, structure;     /* digests of what must not change, see 9.11 */
  uint64_t step;                        /* steps done */
  double epoch_loss, epoch_norm;        /* sums over the steps of this epoch */
  uint64_t disparity_steps;             /* steps since the disparities were last read ... */
  double disparity[2][BDPT_MAX_DEPTH];  /* ... and the sums of |dL/dm| over them */
  uint64_t age[BDPTI_MAX_PARAMS];       /* of each parameter: the t above */
} bdpti_counters;

struct bdpt_trainer {
  bdpt_context *ctx;
  bdpt_model *model, *teacher;
  const bdpt_subset *train;
  bdpt_recipe recipe;             /* resolved */
  size_t batch, per_epoch;        /* images per step, steps per epoch */
  bdpti_counters now;
  bdpti_loader loader;
  bdpt_tape *tape, *teacher_tape;
  unsigned char *block;           /* the arrays that follow */
  size_t bytes;
  bdpt_real *images;              /* [B,3,H,W] */
  bdpt_real *targets, *taught;    /* [B,K] labels, smoothed and mixed; the teacher's answers */
  size_t *order, *picked;         /* [n] this epoch's order; [B] this step's images */
  int *labels;                    /* [B] */
  size_t ordered;                 /* 1 + the epoch that `order` belongs to; 0: none */
  bdpti_moments moments[BDPTI_MAX_PARAMS];
  int swapped;                    /* 1 while the averages stand in the model */
};

BDPTI_FN int bdpti_params(const bdpt_trainer *t) {
  return t->model->slots + (t->recipe.importance ? 2 * t->model->config.depth : 0);
}

/* Parameter i; *live says whether it takes part in the network as it is: a removed layer's weights
 * and importance do not. data is NULL where the model has no such parameter. */
BDPTI_FN bdpt_tensor *bdpti_param(const bdpt_trainer *t, int i, int *live) {
  bdpt_model *m = t->model;
  int k = i - m->slots, depth = m->config.depth, type, l;
  if (k < 0) {
    *live = m->param[i].data && bdpt_model_active(m, i);
    return &m->param[i];
  }
  type = k / depth; l = k % depth;
  *live = (type == BDPT_ATTENTION ? m->config.block[l].attention
                                  : m->config.block[l].activation) == BDPT_KEPT;
  return &m->importance[type][l];
}

BDPTI_FN void bdpti_param_name(const bdpt_trainer *t, int i, char name[64]) {
  int k = i - t->model->slots, depth = t->model->config.depth;
  if (k < 0) bdpti_format(name, 64, "%s", t->model->name[i]);
  else bdpti_format(name, 64, "blocks.%d.%s.importance", k % depth, k < depth ? "attn" : "mlp");
}

BDPTI_FN size_t bdpti_moments_bytes(const bdpt_trainer *t, size_t count) {
  size_t bytes = 0;
  bdpti_carve(&bytes, count, (t->recipe.ema > 0 ? 3 : 2) * sizeof(bdpt_real));
  return bytes;
}

BDPTI_FN void bdpti_moments_free(bdpt_trainer *t, int i) {
  bdpti_free(t->ctx, t->moments[i].m, bdpti_moments_bytes(t, t->moments[i].count));
  memset(&t->moments[i], 0, sizeof t->moments[i]);
  t->now.age[i] = 0;
}

/* Zero moments; the average starts at the weights. */
BDPTI_FN bdpt_status bdpti_moments_make(bdpt_trainer *t, int i, const bdpt_tensor *p) {
  bdpti_moments *s = &t->moments[i];
  s->m = (bdpt_real *)bdpti_alloc(t->ctx, bdpti_moments_bytes(t, p->count));
  if (!s->m) return t->ctx->status;
  s->count = p->count;
  if (t->recipe.ema > 0) memcpy(s->m + 2 * p->count, p->data, p->count * sizeof(bdpt_real));
  return BDPT_OK;
}

/* Follows the model: parameters that appeared get moments and gradients, those that vanished lose
 * theirs. In an unchanged model this finds nothing to do and allocates nothing. */
BDPTI_FN bdpt_status bdpti_trainer_fit(bdpt_trainer *t) {
  int i, live, stale = 0;
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i, &live);
    if (t->moments[i].m && (!p->data || p->count != t->moments[i].count)) bdpti_moments_free(t, i);
    if (!live) continue;
    if (!t->moments[i].m && bdpti_moments_make(t, i, p) != BDPT_OK) return t->ctx->status;
    if (!p->wants_grad || !p->grad) stale = 1;
  }
  return stale ? bdpt_model_train_mode(t->model) : BDPT_OK;
}

/* |g|: slot after slot, each sum a fixed tree (chapter 7). */
BDPTI_FN double bdpti_trainer_norm(const bdpt_trainer *t) {
  double sum = 0;
  int i, live;
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i, &live);
    if (live) sum += bdpti_sum_squares(t->ctx, p->count, p->grad);
  }
  return sqrt(sum);
}

/* The factor that brings a gradient of this norm under the limit; 0 means no limit. */
BDPTI_FN double bdpti_clip_factor(double norm, double limit) {
  double factor = limit > 0 ? limit / (norm + 1e-6) : 1.0;
  return factor < 1.0 ? factor : 1.0;
}

BDPTI_FN void bdpti_trainer_update(bdpt_trainer *t, double norm) {
  const bdpt_recipe *r = &t->recipe;
  double lr = bdpt_schedule(r, (double)t->now.step / (double)t->per_epoch);
  double factor = bdpti_clip_factor(norm, r->clip), decay;
  int i, live;
  for (i = 0; i < bdpti_params(t); i++) {
    bdpt_tensor *p = bdpti_param(t, i, &live);
    bdpt_real *m = t->moments[i].m;
    size_t n = p->count;
    if (!live) continue;
    decay = r->weight_decay > 0 && i < t->model->slots && bdpt_model_decays(t->model, i)
                ? r->weight_decay : 0;
    if (factor < 1.0) bdpti_scale(t->ctx, n, (bdpt_real)factor, p->grad);
    bdpti_adamw(t->ctx, n, lr, r->beta1, r->beta2, r->adam_eps, decay, (double)++t->now.age[i],
                p->data, p->grad, m, m + n);
    if (r->ema > 0) bdpti_ema(t->ctx, n, (bdpt_real)r->ema, m + 2 * n, p->data);
  }
}

BDPT_API void bdpt_trainer_swap_ema(bdpt_trainer *t) {
  size_t k;
  int i, live;
  if (!(t->recipe.ema > 0)) return;
  for (i = 0; i < bdpti_params(t); i++) {
    bdpt_tensor *p = bdpti_param(t, i, &live);
    bdpt_real *average;
    if (!t->moments[i].m || !p->data || p->count != t->moments[i].count) continue;
    average = t->moments[i].m + 2 * p->count;
    for (k = 0; k < p->count; k++) {
      bdpt_real keep = p->data[k];
      p->data[k] = average[k]; average[k] = keep;
    }
  }
  t->swapped = !t->swapped;
}

/* 9.9  A trainer's life                                                                 >>trainer
 *
 * A trainer holds everything between two steps that is not a weight. It borrows the model, the
 * teacher and the subset. Steps per epoch are whole batches: the images left over are dropped, as
 * DeiT's loader does, and come again in another order in the next epoch.
 */
BDPT_API void bdpt_trainer_free(bdpt_trainer *t) {
  int i;
  if (!t) return;
  for (i = 0; i < BDPTI_MAX_PARAMS; i++) bdpti_moments_free(t, i);
  bdpti_loader_free(&t->loader);
  bdpt_tape_free(t->tape);
  bdpt_tape_free(t->teacher_tape);
  bdpti_free(t->ctx, t->block, t->bytes);
  bdpti_free(t->ctx, t, sizeof *t);
}

BDPTI_FN bdpt_status bdpti_trainer_check(const bdpt_trainer *t) {
  const bdpt_config *c = &t->model->config, *d;
  if (bdpti_recipe_check(t->ctx, &t->recipe) != BDPT_OK) return t->ctx->status;
  if (t->train->count == 0) {
    return bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "train: the training subset is empty");
  }
  if (t->recipe.distill == BDPT_DISTILL_NONE) return BDPT_OK;
  if (!t->teacher) {
    return bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "train: the recipe distills without a teacher");
  }
  if (t->teacher->ctx != t->ctx) {
    return bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "train: model and teacher have different contexts");
  }
  d = &t->teacher->config;
  if (d->image != c->image || d->channels != c->channels || d->classes != c->classes) {
    return bdpti_fail(t->ctx, BDPT_E_SHAPE, "train: the teacher takes %d channels of %d pixels and "
                      "knows %d classes, the model takes %d of %d and knows %d", d->channels,
                      d->image, d->classes, c->channels, c->image, c->classes);
  }
  if (!memcmp(d->mean, c->mean, sizeof d->mean) && !memcmp(d->std, c->std, sizeof d->std)) {
    return BDPT_OK;
  }
  return bdpti_fail(t->ctx, BDPT_E_ARGUMENT, "train: the teacher wants images normalised with mean "
                    "%g and deviation %g in the first channel, the model with %g and %g",
                    d->mean[0], d->std[0], c->mean[0], c->std[0]);
}

BDPTI_FN bdpt_status bdpti_trainer_memory(bdpt_trainer *t) {
  size_t b = t->batch, k = (size_t)t->model->config.classes, side = (size_t)t->model->config.image;
  size_t at[5];
  int teach = t->recipe.distill != BDPT_DISTILL_NONE;
  bdpti_carve(&t->bytes, b * 3 * side * side, sizeof(bdpt_real));
  at[0] = bdpti_carve(&t->bytes, b * k, sizeof(bdpt_real));
  at[1] = bdpti_carve(&t->bytes, teach ? b * k : 0, sizeof(bdpt_real));
  at[2] = bdpti_carve(&t->bytes, t->train->count, sizeof(size_t));
  at[3] = bdpti_carve(&t->bytes, b, sizeof(size_t));
  at[4] = bdpti_carve(&t->bytes, b, sizeof(int));
  t->block = (unsigned char *)bdpti_alloc(t->ctx, t->bytes);
  if (!t->block) return t->ctx->status;
  t->images = (bdpt_real *)(void *)t->block;
  t->targets = (bdpt_real *)(void *)(t->block + at[0]);
  t->taught = (bdpt_real *)(void *)(t->block + at[1]);
  t->order = (size_t *)(void *)(t->block + at[2]);
  t->picked = (size_t *)(void *)(t->block + at[3]);
  t->labels = (int *)(void *)(t->block + at[4]);
  t->tape = bdpt_tape_create(t->ctx, 1);
  if (teach) t->teacher_tape = bdpt_tape_create(t->ctx, 0);
  return t->tape && (t->teacher_tape || !teach) ? BDPT_OK : t->ctx->status;
}

BDPT_API bdpt_trainer *bdpt_trainer_create(bdpt_model *model, bdpt_model *teacher,
                                           const bdpt_subset *train, const bdpt_recipe *recipe) {
  bdpt_trainer *t = (bdpt_trainer *)bdpti_alloc(model->ctx, sizeof *t);
  size_t images = recipe->epoch_images ? recipe->epoch_images : train->count;
  if (!t) return NULL;
  t->ctx = model->ctx; t->model = model; t->teacher = teacher; t->train = train;
  t->recipe = *recipe;
  bdpt_recipe_resolve(&t->recipe);
  if (bdpti_trainer_check(t) == BDPT_OK) {
    t->batch = images < (size_t)t->recipe.batch ? images : (size_t)t->recipe.batch;
    t->per_epoch = images / t->batch;
    if (bdpti_loader_make(t->ctx, &model->config, train->data, train->index, train->count, t->batch,
                          &t->loader) == BDPT_OK &&
        bdpti_trainer_memory(t) == BDPT_OK && bdpti_trainer_fit(t) == BDPT_OK) {
      return t;
    }
  }
  bdpt_trainer_free(t);
  return NULL;
}

BDPT_API size_t bdpt_trainer_steps_done(const bdpt_trainer *t) { return (size_t)t->now.step; }
BDPT_API size_t bdpt_trainer_steps_per_epoch(const bdpt_trainer *t) { return t->per_epoch; }

BDPT_API size_t bdpt_trainer_importance(bdpt_trainer *t, double out[2][BDPT_MAX_DEPTH]) {
  size_t steps = (size_t)t->now.disparity_steps;
  int i;
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) {
    double *sum = &t->now.disparity[i / BDPT_MAX_DEPTH][i % BDPT_MAX_DEPTH];
    out[i / BDPT_MAX_DEPTH][i % BDPT_MAX_DEPTH] = steps ? *sum / (double)steps : 0.0;
    *sum = 0;
  }
  t->now.disparity_steps = 0;
  return steps;
}

/* 9.10  One step                                                                           >>step
 *
 *   math      loss = (1 - a) CE(z, target) + a D(z', teacher);  D hard: CE(z', argmax teacher),
 *             D soft: chapter 7; z' the distillation head's logits, or z if there is one head
 *   shape     images[B,3,H,W] -> z[B,K] -> one number
 *   source    Touvron et al. 2021, section 4 (hard and soft distillation); the paper's stage 2
 *   check     tests/test_train.c: the same step built by hand, with and without a teacher
 *
 * The teacher sees the same disturbed and mixed images as its pupil. Its answer is the mean of its
 * heads, without drop path, on a tape that records nothing.
 *
 * A distilled model that trains without a teacher has two heads and one target. We train the mean
 * of both heads, which is what the model answers with afterwards, as timm does; the original DeiT
 * code would leave the second head untouched, and at evaluation average a trained head with a
 * random one.
 *
 * With `repeats` r, positions p .. p + r - 1 of an epoch show one image in r different disturbances
 * (Hoffer et al. 2020; timm's RepeatAugSampler). An epoch keeps its length, so it visits one r-th
 * of the images; the next one shuffles again.
 */
BDPTI_FN void bdpti_trainer_pick(bdpt_trainer *t, size_t epoch, size_t position) {
  size_t n = t->train->count, i;
  if (t->ordered != epoch + 1) {
    bdpt_rng r = bdpti_draws(t->recipe.seed, BDPTI_DRAW_ORDER, epoch, 0);
    memcpy(t->order, t->train->index, n * sizeof *t->order);
    bdpti_shuffle(t->order, n, &r);
    t->ordered = epoch + 1;
  }
  for (i = 0; i < t->batch; i++) {
    t->picked[i] = t->order[(position + i) / (size_t)t->recipe.repeats % n];
  }
}

/* Loads, disturbs and mixes the batch of this step; fills the targets. */
BDPTI_FN bdpt_status bdpti_trainer_batch(bdpt_trainer *t) {
  const bdpt_recipe *r = &t->recipe;
  const bdpt_config *c = &t->model->config;
  size_t step = (size_t)t->now.step, epoch = step / t->per_epoch, side = (size_t)c->image;
  size_t position = step % t->per_epoch * t->batch;
  bdpt_rng rng = bdpti_draws(r->seed, BDPTI_DRAW_MIX, epoch, position);
  bdpti_mixing mix = bdpti_mix_draw(r, c->image, &rng);
  if (c->image != t->loader.image) {
    return bdpti_fail(t->ctx, BDPT_E_STATE, "train: the model changed to %d pixels, its trainer "
                      "was made for %d", c->image, t->loader.image);
  }
  bdpti_trainer_pick(t, epoch, position);
  if (bdpti_load(&t->loader, r, t->picked, t->batch, epoch, position, t->images, t->labels)) {
    return t->ctx->status;
  }
  bdpti_mix_images(&mix, t->loader.threads, t->batch, side, side, t->images);
  bdpti_mix_targets(t->labels, t->batch, c->classes, mix.lam, r->smoothing, t->targets);
  return BDPT_OK;
}

/* The teacher's logits, or, for hard distillation, a one in the place of the largest. */
BDPTI_FN bdpt_status bdpti_trainer_teach(bdpt_trainer *t) {
  size_t k = (size_t)t->model->config.classes, i, j, best;
  if (t->recipe.distill == BDPT_DISTILL_NONE) return BDPT_OK;
  if (bdpt_predict(t->teacher, t->teacher_tape, t->batch, t->images, t->taught) != BDPT_OK) {
    return t->ctx->status;
  }
  for (i = 0; i < t->batch && t->recipe.distill == BDPT_DISTILL_HARD; i++) {
    bdpt_real *z = t->taught + i * k;
    for (best = 0, j = 1; j < k; j++) {
      if (z[j] > z[best]) best = j;
    }
    for (j = 0; j < k; j++) z[j] = (bdpt_real)(j == best);
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_tensor *bdpti_trainer_graph(bdpt_trainer *t) {
  const bdpt_recipe *r = &t->recipe;
  bdpt_tape *tape = t->tape;
  bdpt_tensor *images, *logits, *second = NULL, *pupil, *loss;
  bdpt_forward_options options;
  size_t shape[4];
  shape[0] = t->batch; shape[1] = 3;
  shape[2] = shape[3] = (size_t)t->model->config.image;
  memset(&options, 0, sizeof options);
  options.training = 1; options.drop_path = r->drop_path;
  options.seed = bdpti_hash(r->seed, BDPTI_DRAW_PATH, t->now.step);
  options.importance = r->importance;
  bdpt_tape_reset(tape);
  images = bdpt_input(tape, 4, shape, t->images, 0);
  logits = bdpt_forward(t->model, tape, images, &options, &second);
  pupil = second ? second : logits;
  if (second && r->distill == BDPT_DISTILL_NONE) {
    logits = bdpt_scale(tape, bdpt_add(tape, logits, second), 0.5);
  }
  loss = bdpt_cross_entropy(tape, logits, t->targets);
  if (r->distill == BDPT_DISTILL_NONE) return loss;
  pupil = r->distill == BDPT_DISTILL_HARD
              ? bdpt_cross_entropy(tape, pupil, t->taught)
              : bdpt_distill_soft(tape, pupil, t->taught, r->distill_tau);
  return bdpt_add(tape, bdpt_scale(tape, loss, 1.0 - r->distill_alpha),
                  bdpt_scale(tape, pupil, r->distill_alpha));
}

/* Called when the loss or the norm is not finite: names the first parameter whose gradient is to
 * blame. There may be none, when only the loss or the sum of the squares overflowed. */
BDPTI_FN bdpt_status bdpti_trainer_blame(const bdpt_trainer *t, double loss, double norm) {
  size_t step = (size_t)t->now.step;
  char name[64], what[96] = "one of the two";
  int i, live;
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i, &live);
    if (!live || bdpti_all_finite(t->ctx, p->count, p->grad)) continue;
    bdpti_param_name(t, i, name);
    bdpti_format(what, sizeof what, "the gradient of %s", name);
    break;
  }
  return bdpti_fail(t->ctx, BDPT_E_NUMERIC, "train: epoch %zu, step %zu: the loss is %g, the norm "
                    "of the gradient %g; %s is not finite; the weights were not changed",
                    step / t->per_epoch + 1, step, loss, norm, what);
}

/* After the backward pass: checks, counts, moves. Nothing that a checkpoint holds changes before
 * the check has passed. */
BDPTI_FN bdpt_status bdpti_trainer_finish(bdpt_trainer *t, double loss) {
  double norm = bdpti_trainer_norm(t);
  int i, live, depth = t->model->config.depth;
  if (!(loss - loss == 0) || !(norm - norm == 0)) return bdpti_trainer_blame(t, loss, norm);
  if (t->now.step % t->per_epoch == 0) t->now.epoch_loss = t->now.epoch_norm = 0;
  t->now.epoch_loss += loss;
  t->now.epoch_norm += norm;
  for (i = t->model->slots; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i, &live);
    int k = i - t->model->slots;
    if (live) t->now.disparity[k / depth][k % depth] += fabs((double)p->grad[0]);
  }
  if (t->recipe.importance) t->now.disparity_steps++;
  bdpti_trainer_update(t, norm);
  t->now.step++;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_trainer_step(bdpt_trainer *t, double *loss) {
  bdpt_tensor *graph;
  if (t->ctx->status != BDPT_OK) return t->ctx->status;
  if (t->swapped) {
    return bdpti_fail(t->ctx, BDPT_E_STATE, "train: the averaged weights stand in the model; swap "
                      "back");
  }
  if (bdpti_trainer_fit(t) || bdpti_trainer_batch(t) || bdpti_trainer_teach(t)) {
    return t->ctx->status;
  }
  bdpt_model_zero_grad(t->model);
  graph = bdpti_trainer_graph(t);
  if (!graph || bdpt_backward(t->tape, graph) != BDPT_OK) return t->ctx->status;
  if (loss) *loss = (double)graph->data[0];
  return bdpti_trainer_finish(t, (double)graph->data[0]);
}

/* 9.11  Checkpoints                                                                  >>checkpoint
 *
 *   layout    safetensors; for every parameter X "model.X", "exp_avg.X", "exp_avg_sq.X" and, if
 *             averaged, "ema.X"; "train.state" I64: the words of bdpti_counters; "train.log" I64:
 *             words of the caller's, for bdpt_train the lines of its log
 *   source    PyTorch's names for the moments, so that a script finds them
 *   check     tests/test_train.c: interrupted anywhere, resumed, compared byte by byte
 *
 * Numbers are stored in the type they have in memory, so that a resumed run has the same bits. The
 * random draws need no space (chapter 4.4). What a checkpoint must not do is continue another run:
 * a changed learning rate, subset or architecture changes a digest and is refused. A removed
 * layer's weights are saved as long as they are in memory, because the layer may be restored.
 *
 * Two rules protect the one file that matters. Weights that are not finite are never saved, since
 * they would replace a healthy checkpoint; and loading checks every tensor before it changes one.
 */
static uint64_t bdpti_get_bytes(const unsigned char *p, int n); /* little-endian; chapter 11 */
static void bdpti_put_bytes(unsigned char *p, int n, uint64_t v);

#define BDPTI_REAL_DTYPE (sizeof(bdpt_real) == sizeof(double) ? BDPT_F64 : BDPT_F32)
#define BDPTI_STATE_WORDS (sizeof(bdpti_counters) / 8)

BDPTI_FN void bdpti_digest(uint64_t *h, double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  *h = bdpti_mix64(bdpti_mix64(*h + 1) ^ bits);
}

/* What decides the result: the recipe and the teacher's weights; ... */
BDPTI_FN uint64_t bdpti_digest_recipe(const bdpt_trainer *t) {
  uint64_t h = bdpti_mix64(t->recipe.seed);
  bdpti_range table[BDPTI_RANGES];
  char teacher[17] = "";
  int i;
  bdpti_recipe_table(&t->recipe, table);
  for (i = 0; i < BDPTI_RANGES; i++) bdpti_digest(&h, table[i].value);
  for (i = 0; i < t->recipe.restarts; i++) bdpti_digest(&h, t->recipe.restart[i]);
  if (t->recipe.distill) bdpt_model_hash(t->teacher, teacher);
  for (i = 0; teacher[i]; i++) bdpti_digest(&h, teacher[i]);
  return h;
}

/* ... which images with which labels, in what portions (the pixels are taken on trust); ... */
BDPTI_FN uint64_t bdpti_digest_data(const bdpt_trainer *t) {
  uint64_t h = (uint64_t)t->batch + ((uint64_t)t->per_epoch << 32);
  size_t i;
  for (i = 0; i < t->train->count; i++) {
    bdpti_digest(&h, (double)t->train->index[i]);
    bdpti_digest(&h, t->train->data->label[t->train->index[i]]);
  }
  return h;
}

/* ... and the network's structure, which changes between steps when a layer is pruned. */
BDPTI_FN uint64_t bdpti_digest_structure(const bdpt_trainer *t) {
  const bdpt_config *c = &t->model->config;
  const double shape[] = {
    (double)c->image, (double)c->patch, (double)c->width, (double)c->depth, (double)c->classes,
    (double)c->distilled, c->eps, c->mean[0], c->mean[1], c->mean[2], c->std[0], c->std[1],
    c->std[2], (double)c->attn_form, (double)c->extra_gelu};
  uint64_t h = 0;
  size_t i;
  for (i = 0; i < sizeof shape / sizeof *shape; i++) bdpti_digest(&h, shape[i]);
  for (i = 0; i < (size_t)c->depth; i++) {
    const bdpt_block *b = &c->block[i];
    bdpti_digest(&h, b->heads + 4096.0 * b->head_dim);
    bdpti_digest(&h, b->mlp);
    bdpti_digest(&h, b->scale);
    bdpti_digest(&h, b->attention + 4 * b->activation + 16 * b->mlp_form);
  }
  return h;
}

BDPTI_FN void bdpti_digests(const bdpt_trainer *t, bdpti_counters *s) {
  s->recipe = bdpti_digest_recipe(t);
  s->data = bdpti_digest_data(t);
  s->structure = bdpti_digest_structure(t);
}

/* Array a of parameter i: 0 the weights, 1 and 2 the moments, 3 the average. Fills what the file
 * says about it. NULL: there is no such array. */
BDPTI_FN bdpt_real *bdpti_param_array(bdpt_trainer *t, int i, int a, bdpt_write_tensor *w,
                                      char name[96]) {
  static const char *const prefix[4] = {"model", "exp_avg", "exp_avg_sq", "ema"};
  const bdpti_moments *s = &t->moments[i];
  const bdpt_tensor *p;
  char own[64];
  int live;
  p = bdpti_param(t, i, &live);
  bdpti_param_name(t, i, own);
  bdpti_format(name, 96, "%s.%s", prefix[a], own);
  memset(w, 0, sizeof *w);
  w->name = name; w->dtype = BDPTI_REAL_DTYPE; w->ndim = p->ndim;
  memcpy(w->shape, p->shape, sizeof w->shape);
  if (a == 0) return p->data;
  return s->m && (a < 3 || t->recipe.ema > 0) ? s->m + (size_t)(a - 1) * s->count : NULL;
}

BDPTI_FN bdpt_status bdpti_trainer_healthy(bdpt_trainer *t) {
  int i, live;
  if (t->swapped) {
    return bdpti_fail(t->ctx, BDPT_E_STATE, "checkpoint: the averaged weights stand in the model; "
                      "swap back");
  }
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i, &live);
    if (!p->data || bdpti_all_finite(t->ctx, p->count, p->data)) continue;
    return bdpti_fail(t->ctx, BDPT_E_NUMERIC, "checkpoint: step %zu: %s is not finite; nothing was "
                      "saved", (size_t)t->now.step, p->name);
  }
  return bdpti_trainer_fit(t);
}

/* 64-bit words as a tensor of the file. `to` has room for them. */
BDPTI_FN void bdpti_words_put(bdpt_write_tensor *w, const char *name, const void *words,
                              size_t count, unsigned char *to) {
  size_t i;
  memset(w, 0, sizeof *w);
  w->name = name; w->dtype = BDPT_I64; w->ndim = w->raw = 1; w->shape[0] = count;
  w->data = to;
  for (i = 0; i < count; i++) {
    uint64_t word;
    memcpy(&word, (const unsigned char *)words + 8 * i, 8);
    bdpti_put_bytes(to + 8 * i, 8, word);
  }
}

/* Copies `count` words out of a file; 0 if there is no such tensor of that length. */
BDPTI_FN int bdpti_words_read(const bdpt_safetensors *f, const char *name, void *out,
                              size_t count) {
  const bdpt_file_tensor *w = bdpt_safetensors_find(f, name);
  size_t i;
  if (!w || w->count != count || w->size != 8 * count) return 0;
  for (i = 0; i < count; i++) {
    uint64_t word = bdpti_get_bytes(w->bytes + 8 * i, 8);
    memcpy((unsigned char *)out + 8 * i, &word, 8);
  }
  return 1;
}

/* The whole trainer as the bytes of a file, with `count` words of the caller's. */
BDPTI_FN bdpt_status bdpti_trainer_pack(bdpt_trainer *t, const void *log, size_t count,
                                        unsigned char **bytes, size_t *size) {
  static const char *const key[2] = {"format", "kind"};
  static const char *const value[2] = {"pt", "boundarydpt training checkpoint 1"};
  size_t room = 0, most = 4 * (size_t)bdpti_params(t) + 2, n = 0, texts, words, logs;
  unsigned char *block;
  bdpt_write_tensor *w;
  bdpt_status status;
  char (*name)[96];
  int i, a;
  if (bdpti_trainer_healthy(t) != BDPT_OK) return t->ctx->status;
  bdpti_digests(t, &t->now);
  bdpti_carve(&room, most, sizeof *w);
  texts = bdpti_carve(&room, most, sizeof *name);
  words = bdpti_carve(&room, BDPTI_STATE_WORDS, 8);
  logs = bdpti_carve(&room, count, 8);
  block = (unsigned char *)bdpti_alloc(t->ctx, room);
  if (!block) return t->ctx->status;
  w = (bdpt_write_tensor *)(void *)block;
  name = (char (*)[96])(void *)(block + texts);
  for (i = 0; i < bdpti_params(t); i++) {
    for (a = 0; a < 4; a++) {
      const bdpt_real *data = bdpti_param_array(t, i, a, &w[n], name[n]);
      w[n].data = data;
      if (data) n++;
    }
  }
  bdpti_words_put(&w[n++], "train.state", &t->now, BDPTI_STATE_WORDS, block + words);
  if (count) bdpti_words_put(&w[n++], "train.log", log, count, block + logs);
  status = bdpt_safetensors_build(t->ctx, w, n, key, value, 2, bytes, size);
  bdpti_free(t->ctx, block, room);
  return status;
}

/* One array against the file. A layer that is out of the network may be missing there, because a
 * saved and reloaded model has lost it; its moments may be missing here, and get room. */
BDPTI_FN bdpt_status bdpti_unpack_check(bdpt_trainer *t, const bdpt_safetensors *f,
                                        const char *file, int i, int a) {
  bdpt_write_tensor w;
  char name[96];
  int live, k = 0;
  const bdpt_tensor *p = bdpti_param(t, i, &live);
  bdpt_real *data = bdpti_param_array(t, i, a, &w, name);
  const bdpt_file_tensor *from = bdpt_safetensors_find(f, name);
  if (!p->data || (!from && (!live || !data))) return BDPT_OK;
  if (!from) return bdpti_fail(t->ctx, BDPT_E_FORMAT, "%s: no tensor %s", file, name);
  while (from->ndim == w.ndim && k < w.ndim && from->shape[k] == w.shape[k]) k++;
  if (k < w.ndim || from->ndim != w.ndim || from->dtype != w.dtype) {
    return bdpti_fail(t->ctx, BDPT_E_FORMAT, "%s: %s is %s with %zu numbers, the model has %s with "
                      "%zu", file, name, from->dtype_name, from->count,
                      w.dtype == BDPT_F64 ? "F64" : "F32", p->count);
  }
  return a == 1 && !data ? bdpti_moments_make(t, i, p) : BDPT_OK;
}

/* Checks everything before it changes anything but the room for moments. */
BDPTI_FN bdpt_status bdpti_trainer_unpack(bdpt_trainer *t, const bdpt_safetensors *f,
                                          const char *file) {
  bdpti_counters state, mine;
  bdpt_write_tensor w;
  const char *other;
  char name[96];
  int i, count = bdpti_params(t);
  if (!bdpti_words_read(f, "train.state", &state, BDPTI_STATE_WORDS)) {
    return bdpti_fail(t->ctx, BDPT_E_FORMAT, "%s: not a training checkpoint of this version", file);
  }
  bdpti_digests(t, &mine);
  other = state.structure != mine.structure ? "a network of another structure"
        : state.recipe != mine.recipe ? "another recipe or teacher"
        : state.data != mine.data ? "another training subset" : NULL;
  if (other) {
    return bdpti_fail(t->ctx, BDPT_E_STATE, "%s: this checkpoint belongs to a run with %s; remove "
                      "the file to start over", file, other);
  }
  if (bdpti_trainer_fit(t) != BDPT_OK) return t->ctx->status;
  for (i = 0; i < 4 * count; i++) {
    if (bdpti_unpack_check(t, f, file, i / 4, i % 4) != BDPT_OK) return t->ctx->status;
  }
  for (i = 0; i < 4 * count; i++) {
    bdpt_real *data = bdpti_param_array(t, i / 4, i % 4, &w, name);
    const bdpt_file_tensor *from = bdpt_safetensors_find(f, name);
    if (!data || !from) continue;
    if (bdpt_safetensors_read(t->ctx, from, data, from->count) != BDPT_OK) return t->ctx->status;
  }
  t->now = state; t->swapped = 0;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_trainer_build(bdpt_trainer *t, unsigned char **bytes, size_t *size) {
  return bdpti_trainer_pack(t, NULL, 0, bytes, size);
}

BDPT_API bdpt_status bdpt_trainer_parse(bdpt_trainer *t, const void *bytes, size_t size,
                                        const char *name) {
  bdpt_safetensors f;
  bdpt_status status = bdpt_safetensors_parse(t->ctx, bytes, size, name, &f);
  if (status != BDPT_OK) return status;
  status = bdpti_trainer_unpack(t, &f, name);
  bdpt_safetensors_close(&f);
  return status;
}

#ifndef BDPT_NO_STDIO
BDPTI_FN bdpt_status bdpti_trainer_write(bdpt_trainer *t, const char *path, const void *log,
                                         size_t count) {
  unsigned char *bytes;
  size_t size;
  bdpt_status status = bdpti_trainer_pack(t, log, count, &bytes, &size);
  if (status != BDPT_OK) return status;
  status = bdpt_file_write(t->ctx, path, bytes, size);
  bdpt_release(t->ctx, bytes, size);
  return status;
}

/* Loads the trainer, and *count words of the caller's, of which there are at most `room`. */
BDPTI_FN bdpt_status bdpti_trainer_read(bdpt_trainer *t, const char *path, void *log, size_t room,
                                        size_t *count) {
  bdpt_safetensors f;
  const bdpt_file_tensor *w;
  bdpt_status status = bdpt_safetensors_open(t->ctx, path, &f);
  if (status != BDPT_OK) return status;
  status = bdpti_trainer_unpack(t, &f, path);
  w = bdpt_safetensors_find(&f, "train.log");
  *count = w && room ? w->count : 0;
  if (status == BDPT_OK && *count &&
      (*count > room || !bdpti_words_read(&f, "train.log", log, *count))) {
    status = bdpti_fail(t->ctx, BDPT_E_FORMAT, "%s: a log of %zu words, room for %zu", path, *count,
                        room);
  }
  bdpt_safetensors_close(&f);
  return status;
}

BDPTI_FN int bdpti_checkpoint_exists(const char *path) {
  FILE *f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

BDPT_API bdpt_status bdpt_trainer_save(bdpt_trainer *t, const char *path) {
  return bdpti_trainer_write(t, path, NULL, 0);
}

BDPT_API bdpt_status bdpt_trainer_load(bdpt_trainer *t, const char *path) {
  size_t none;
  return bdpti_trainer_read(t, path, NULL, 0, &none);
}
#endif

/* 9.12  A whole run                                                                         >>run
 *
 * An epoch ends with an evaluation, a line of the log and a checkpoint. The loop below has one
 * state only, (steps done, lines done), and asks at each turn which comes next, a step or the end
 * of an epoch. So it does not matter where a run was interrupted, between two steps or in the
 * middle of an evaluation: the next call finds the same state and goes on. A checkpoint of a
 * finished run answers at once.
 *
 * With recipe.ema the averaged weights are evaluated and stand in the model at the end; that is
 * what one averages for. DEVIATION: the released code keeps an average but evaluates the raw
 * weights; leave ema at 0 for that.
 */
typedef struct bdpti_training {
  bdpt_trainer *t;
  bdpti_judge judge;           /* loader.ctx NULL: nothing is held out */
  const bdpt_hooks *hooks;
  bdpt_epoch *log;             /* [epochs] */
  size_t lines;                /* epochs finished */
} bdpti_training;
#define BDPTI_LINE_WORDS (sizeof(bdpt_epoch) / 8)

BDPTI_FN bdpt_status bdpti_train_save(bdpti_training *r) {
  if (!r->hooks || !r->hooks->checkpoint) return BDPT_OK;
#ifndef BDPT_NO_STDIO
  return bdpti_trainer_write(r->t, r->hooks->checkpoint, r->log, r->lines * BDPTI_LINE_WORDS);
#else
  return bdpti_fail(r->t->ctx, BDPT_E_IO, "%s: built without files", r->hooks->checkpoint);
#endif
}

/* Continues from the checkpoint if there is one. */
BDPTI_FN bdpt_status bdpti_train_resume(bdpti_training *r) {
#ifndef BDPT_NO_STDIO
  const char *path = r->hooks ? r->hooks->checkpoint : NULL;
  size_t count = 0, room = (size_t)r->t->recipe.epochs * BDPTI_LINE_WORDS;
  if (!path || !bdpti_checkpoint_exists(path)) return BDPT_OK;
  if (bdpti_trainer_read(r->t, path, r->log, room, &count) != BDPT_OK) return r->t->ctx->status;
  r->lines = count / BDPTI_LINE_WORDS;
  return BDPT_OK;
#else
  return bdpti_train_save(r);
#endif
}

/* Evaluates, writes the epoch's line and saves. */
BDPTI_FN bdpt_status bdpti_train_epoch(bdpti_training *r) {
  bdpt_trainer *t = r->t;
  bdpt_epoch *e = &r->log[r->lines];
  double steps = (double)t->per_epoch;
  bdpt_status status = BDPT_OK;
  memset(e, 0, sizeof *e);
  if (r->judge.loader.ctx) {
    bdpt_trainer_swap_ema(t);
    status = bdpti_judge_run(&r->judge, r->hooks, &e->held);
    bdpt_trainer_swap_ema(t);
  }
  if (status != BDPT_OK) return status;
  e->epoch = (int)++r->lines;
  e->lr = bdpt_schedule(&t->recipe, ((double)t->now.step - 1.0) / steps);
  e->loss = t->now.epoch_loss / steps; e->grad_norm = t->now.epoch_norm / steps;
  if (r->hooks && r->hooks->checkpoint_images > 0 && r->lines < (size_t)t->recipe.epochs) {
    return BDPT_OK;
  }
  return bdpti_train_save(r);
}

/* One step, its report, and a checkpoint if the count of images passed a multiple of the interval.
 * */
BDPTI_FN bdpt_status bdpti_train_step(bdpti_training *r) {
  bdpt_trainer *t = r->t;
  size_t total = t->per_epoch * (size_t)t->recipe.epochs * t->batch, done, steps;
  double every = r->hooks ? r->hooks->checkpoint_images : 0, none = 0;
  if (bdpt_trainer_step(t, NULL) != BDPT_OK) return t->ctx->status;
  done = (size_t)t->now.step * t->batch;
  steps = ((size_t)t->now.step - 1) % t->per_epoch + 1; /* of this epoch */
  if (bdpti_tell(r->hooks, "train", done, total, t->now.epoch_loss / (double)steps,
                 r->lines && r->judge.loader.ctx ? r->log[r->lines - 1].held.top1 : none / none)) {
    return BDPT_CANCELLED;
  }
  if (every > 0 && floor((double)done / every) > floor((double)(done - t->batch) / every)) {
    return bdpti_train_save(r);
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_train_all(bdpti_training *r) {
  bdpt_trainer *t = r->t;
  bdpt_status status = bdpti_train_resume(r), saved;
  while (status == BDPT_OK && r->lines < (size_t)t->recipe.epochs) {
    if ((size_t)t->now.step < (r->lines + 1) * t->per_epoch) status = bdpti_train_step(r);
    else status = bdpti_train_epoch(r);
  }
  if (status == BDPT_OK) bdpt_trainer_swap_ema(t);
  if (status != BDPT_CANCELLED) return status;
  saved = bdpti_train_save(r);
  return saved == BDPT_OK ? status : saved;
}

BDPT_API bdpt_status bdpt_train(bdpt_model *model, bdpt_model *teacher, const bdpt_subset *train,
                                const bdpt_subset *held, const bdpt_recipe *recipe,
                                const bdpt_hooks *hooks, bdpt_epoch *log) {
  bdpt_status status = BDPT_OK;
  size_t bytes = 0;
  bdpti_training r;
  memset(&r, 0, sizeof r);
  r.hooks = hooks;
  r.t = bdpt_trainer_create(model, teacher, train, recipe);
  if (!r.t) return model->ctx->status;
  bdpti_carve(&bytes, (size_t)r.t->recipe.epochs, sizeof *r.log);
  r.log = (bdpt_epoch *)bdpti_alloc(model->ctx, bytes);
  if (!r.log) status = model->ctx->status;
  else if (held && held->count) status = bdpti_judge_make(model, held, &r.judge);
  if (status == BDPT_OK) status = bdpti_train_all(&r);
  if (log && r.log) memcpy(log, r.log, (size_t)r.t->recipe.epochs * sizeof *log);
  bdpti_judge_free(&r.judge);
  bdpti_free(model->ctx, r.log, bytes);
  bdpt_trainer_free(r.t);
  return status;
}


/* =================================================================================================
 * 11  HOW MANY LAYERS OF EACH TYPE: THE MODEL ACCURACY PREDICTOR                              >>map
 * =================================================================================================
 * A block of a vision transformer offers two layers to remove: its attention, and the activation
 * between its two linears. Somebody names a budget, k layers in all. Before asking which layers
 * one must ask how many of each type: k attention layers and no activation, none and k, or a split
 * between. Chapter 12 shows why no score computed layer by layer can answer: the scores of the two
 * types live on different scales, and the accuracy right after a removal says little about the
 * accuracy after recovery. The only quantity in which both types are counted in the same coin is
 * the accuracy of the pruned network after it has been trained again.
 *
 * To train every split until it recovers would be the honest answer and the expensive one. The
 * paper's way out is to train a few networks a little and to draw a smooth surface through what
 * they reached (PAPER_NOTES.md, MAP):
 *
 *     P(a, t) = sum over (i, j) of theta_ij a^i t^j
 *
 * where a and t are the retained shares n/L of attention layers and of activations. This chapter is
 * that surface and nothing else: plain arithmetic on (a, t, accuracy) triples, in double. Where the
 * triples come from is section 12.3. Two warnings belong at the front. The surface is a summary of
 * the points it was given and knows nothing outside them; a budget line that leaves the measured
 * region is extrapolation, and a polynomial extrapolates badly. And a, t should be exact fractions:
 * 11/12 typed as 0.92 moves every coefficient (section 11.5).
 */

/* 11.1  The polynomial
 *
 *   math      P(a,t) = sum_k theta_k a^i(k) t^j(k)
 *   shape     total degree D: i + j <= D, (D+1)(D+2)/2 terms
 *             per variable: i, j <= D, (D+1)^2 terms
 *   source    PAPER_NOTES.md, MAP. The paper defines it per variable and uses it with total degree
 *   check     tests/test_map.c, terms
 *
 * Why a polynomial, and why a low one? Accuracy falls slowly at first and faster later, for either
 * type, and a little faster still when both are gone: a plane with a bend in each direction and one
 * product term, which is six numbers. Between points that lie a twelfth apart nothing sharper can
 * be seen through half a point of noise. Section 11.3 lets the data object.
 *
 * The terms are numbered by rising total degree, and within one degree by falling power of a:
 * 1, a, t, a^2, at, t^2, ... This is the order in which the paper prints its six coefficients.
 */
#define BDPTI_MAP_DEGREE 4

BDPTI_FN int bdpti_map_terms(int degree, int per_variable) {
  return per_variable ? (degree + 1) * (degree + 1) : (degree + 1) * (degree + 2) / 2;
}

BDPTI_FN void bdpti_map_exponents(int degree, int per_variable, int k, int *i, int *j) {
  int sum, p, most = per_variable ? 2 * degree : degree;
  for (sum = 0; sum <= most; sum++) {
    for (p = sum < degree ? sum : degree; p >= 0 && sum - p <= degree; p--) {
      if (k-- == 0) { *i = p; *j = sum - p; return; }
    }
  }
  *i = *j = 0;
}

BDPTI_FN double bdpti_power(double x, int n) {
  double y = 1.0;
  for (; n > 0; n--) y *= x;
  return y;
}

BDPTI_FN double bdpti_map_monomial(const bdpt_map_point *p, int degree, int per_variable, int k) {
  int i, j;
  bdpti_map_exponents(degree, per_variable, k, &i, &j);
  return bdpti_power(p->attention, i) * bdpti_power(p->activation, j);
}

BDPT_API void bdpt_map_term(const bdpt_map *map, int k, int *i, int *j) {
  bdpti_map_exponents(map->degree, map->per_variable, k, i, j);
}

BDPT_API double bdpt_map_predict(const bdpt_map *map, double attention, double activation) {
  bdpt_map_point p;
  double sum = 0.0;
  int k;
  p.attention = attention; p.activation = activation; p.accuracy = 0.0;
  for (k = 0; k < map->terms; k++) {
    sum += map->theta[k] * bdpti_map_monomial(&p, map->degree, map->per_variable, k);
  }
  return sum;
}

/* 11.2  Least squares that knows its rank                                         >>least-squares
 *
 *   math      A = U S V^T;  theta = sum over {q : s_q > cutoff * s_max} of v_q (u_q . y) / s_q
 *   shape     A[m,n] y[m] -> theta[n]; any m, n >= 1
 *   source    Hestenes 1958 (one-sided rotations); Golub and Van Loan, section 8.6.3
 *   check     tests/test_map.c, solver: a known inverse, a rank-one and a wide system
 *
 * The textbook way, the normal equations (A^T A) theta = A^T y, is the wrong way here. Powers of
 * numbers between 0.3 and 1 are nearly parallel, so the condition of A is 500 at degree 2 and near
 * a million at degree 4; forming A^T A squares it. Worse, A can be singular for a reason that has
 * nothing to do with rounding. Take the paper's sampling plan: many points with a = 1, many with t
 * = 1, and five in the interior. A conic has six coefficients, so some conic q passes through any
 * five points, and the quartic (1-a)(1-t) q(a,t) is zero at every point of the plan. The data
 * cannot see that quartic: the rank is at most 14 although there are 15 terms. A solver that
 * divides by the smallest singular value (8e-18 of the largest) returns noise; a Cholesky
 * factorisation stops. The answer that is always defined is the shortest theta among those that fit
 * best: drop every direction whose singular value is below a cut-off, 1e-9 of the largest. The
 * smallest value that is real here is 1e-6, the largest that is rounding 1e-17, so the cut-off is
 * not delicate.
 *
 * (For degree 3 the same argument needs a line through the five interior points. They are not on a
 * line, so the rank is the full 10; but leave out the two that stray from the diagonal, as
 * cross-validation does once, and it is 9. Counted per variable the ranks are 4, 9, 12, 14.)
 *
 * One-sided Jacobi finds the decomposition by one idea. Rotate two columns of A in their plane so
 * that they become orthogonal; go through all pairs of columns; repeat until no pair needs it. The
 * product of the rotations is V, what is left of A is U S: mutually orthogonal columns whose
 * lengths are the singular values. It needs no preparation, works for wide matrices (surplus
 * columns shrink to nothing), and finds small singular values to full relative accuracy. It is slow
 * for large matrices; ours have at most 25 columns.
 */
typedef struct bdpti_lsq {
  size_t rows;
  int cols;
  double *a;     /* [cols][rows]  columns of A, afterwards of U S */
  double *v;     /* [cols][cols]  columns of V */
  double square[BDPT_MAP_TERMS]; /* singular values squared; 0 for dropped ones */
  int rank;
  double dust;   /* a column whose square is below this is rounding and is left alone */
} bdpti_lsq;

BDPTI_FN double bdpti_dot64(const double *x, const double *y, size_t n) {
  double sum = 0.0;
  size_t i;
  for (i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

BDPTI_FN void bdpti_rotate64(double *x, double *y, size_t n, double c, double s) {
  size_t i;
  for (i = 0; i < n; i++) {
    double xi = x[i], yi = y[i];
    x[i] = c * xi - s * yi;
    y[i] = s * xi + c * yi;
  }
}

/* Makes columns p and q orthogonal. Returns 0 if they are already, to 14 digits of their lengths,
 * or if one of them is nothing but rounding: what is left of a dependent column points anywhere,
 * and turning it would go on for ever. Of the two angles that make the columns orthogonal the
 * smaller one is taken: it is the one that converges. */
BDPTI_FN int bdpti_lsq_rotate(bdpti_lsq *f, int p, int q) {
  double *x = f->a + (size_t)p * f->rows, *y = f->a + (size_t)q * f->rows;
  double xx = bdpti_dot64(x, x, f->rows), yy = bdpti_dot64(y, y, f->rows);
  double xy = bdpti_dot64(x, y, f->rows), z, t, c;
  size_t n = (size_t)f->cols;
  if (xx <= f->dust || yy <= f->dust || fabs(xy) <= 1e-14 * sqrt(xx) * sqrt(yy)) return 0;
  z = (yy - xx) / (2.0 * xy);
  t = (z < 0 ? -1.0 : 1.0) / (fabs(z) + sqrt(1.0 + z * z));
  c = 1.0 / sqrt(1.0 + t * t);
  bdpti_rotate64(x, y, f->rows, c, c * t);
  bdpti_rotate64(f->v + (size_t)p * n, f->v + (size_t)q * n, n, c, c * t);
  return 1;
}

BDPTI_FN double bdpti_lsq_squares(bdpti_lsq *f) { /* fills square[], returns the largest */
  double largest = 0.0;
  int p;
  for (p = 0; p < f->cols; p++) {
    const double *x = f->a + (size_t)p * f->rows;
    f->square[p] = bdpti_dot64(x, x, f->rows);
    if (f->square[p] > largest) largest = f->square[p];
  }
  return largest;
}

/* Decomposes f->a in place. Sweeps until a sweep rotates nothing: four to twelve at our sizes. The
 * limit of sixty is never met; it is there so that the loop ends whatever the numbers are. */
BDPTI_FN void bdpti_lsq_factor(bdpti_lsq *f, double cutoff) {
  int p, q, sweep, turned = 1;
  size_t n = (size_t)f->cols;
  double largest;
  f->dust = 1e-30 * bdpti_lsq_squares(f);
  memset(f->v, 0, n * n * sizeof *f->v);
  for (p = 0; p < f->cols; p++) f->v[(size_t)p * n + (size_t)p] = 1.0;
  for (sweep = 0; sweep < 60 && turned; sweep++) {
    turned = 0;
    for (p = 0; p < f->cols; p++) {
      for (q = p + 1; q < f->cols; q++) turned |= bdpti_lsq_rotate(f, p, q);
    }
  }
  largest = bdpti_lsq_squares(f);
  f->rank = 0;
  for (p = 0; p < f->cols; p++) {
    if (f->square[p] > cutoff * cutoff * largest) f->rank++;
    else f->square[p] = 0.0;
  }
}

/* theta[cols] = A^+ y: column p of `a` is s_p u_p, hence the square below the fraction. */
BDPTI_FN void bdpti_lsq_solve(const bdpti_lsq *f, const double *y, double *theta) {
  int p, k;
  for (k = 0; k < f->cols; k++) theta[k] = 0.0;
  for (p = 0; p < f->cols; p++) {
    double c;
    if (f->square[p] == 0.0) continue;
    c = bdpti_dot64(f->a + (size_t)p * f->rows, y, f->rows) / f->square[p];
    for (k = 0; k < f->cols; k++) theta[k] += c * f->v[(size_t)p * (size_t)f->cols + (size_t)k];
  }
}

/* weight[rows] with x . (A^+ y) = weight . y: the prediction at x as a function of the data. It
 * depends on where was measured but not on what, which section 11.3 uses. */
BDPTI_FN void bdpti_lsq_predictor(const bdpti_lsq *f, const double *x, double *weight) {
  size_t r, n = (size_t)f->cols;
  int p;
  for (r = 0; r < f->rows; r++) weight[r] = 0.0;
  for (p = 0; p < f->cols; p++) {
    double c;
    if (f->square[p] == 0.0) continue;
    c = bdpti_dot64(f->v + (size_t)p * n, x, n) / f->square[p];
    for (r = 0; r < f->rows; r++) weight[r] += c * f->a[(size_t)p * f->rows + r];
  }
}

/* 11.3  The degree                                                                     >>map-degree
 *
 *   math      for each pair {i,j} of points: fit without the pair, e = P(pair) - accuracy(pair)
 *             RMSE = sqrt(mean of e^2 over all 2 * n(n-1)/2 errors); least RMSE wins
 *   source    PAPER_NOTES.md, MAP (leave-2-out, kappa = 1..4)
 *   check     tests/test_map.c, against numpy.linalg.lstsq
 *
 * A surface of higher degree always passes closer to its own points, so the fit cannot judge
 * itself. Every pair of points in turn is hidden, the rest is fitted, and the errors at the hidden
 * pair are collected. The paper does not say how errors are pooled. We take the root of the mean
 * over all of them, not the mean over pairs of each pair's root: a large error then stays large.
 * Ties go to the lower degree.
 *
 * Per degree this is n(n-1)/2 decompositions. None of them depends on the accuracies: the hidden
 * errors are fixed linear functions of the data. So the loop below takes many vectors of accuracies
 * at once, one for a fit, hundreds for the noise study, at hardly more cost than one.
 */
typedef struct bdpti_map_job {
  bdpt_context *ctx;
  const bdpt_map_point *points;
  size_t count;
  bdpt_map_options o;     /* resolved */
  int low, high;          /* degrees to try */
  bdpti_lsq f;
  double *weight;         /* [count] */
  double *block;          /* owns everything above */
  size_t bytes;
} bdpti_map_job;

/* A ratio outside [0,1] is a count or a percentage by mistake, and NaN would win no comparison,
 * which is to say any: both are refused by the number of the point. */
BDPTI_FN bdpt_status bdpti_map_check(bdpti_map_job *job) {
  size_t i;
  if (job->o.degree < 0 || job->o.degree > BDPTI_MAP_DEGREE || job->o.max_degree < 0 ||
      job->o.max_degree > BDPTI_MAP_DEGREE ||
      !(job->o.cutoff == 0 || (job->o.cutoff >= 1e-14 && job->o.cutoff < 1))) {
    return bdpti_fail(job->ctx, BDPT_E_ARGUMENT,
                      "map: degree %d, max_degree %d, cutoff %g; degrees are 0 to %d and the "
                      "cut-off is 0 or between 1e-14 and 1",
                      job->o.degree, job->o.max_degree, job->o.cutoff, BDPTI_MAP_DEGREE);
  }
  if (job->count < 3) {
    return bdpti_fail(job->ctx, BDPT_E_ARGUMENT,
                      "map: %zu points; leaving two out needs at least 3", job->count);
  }
  for (i = 0; i < job->count; i++) {
    const bdpt_map_point *p = &job->points[i];
    if (!(p->attention >= 0 && p->attention <= 1 && p->activation >= 0 && p->activation <= 1)) {
      return bdpti_fail(job->ctx, BDPT_E_ARGUMENT,
                        "map: point %zu has retained ratios (%g, %g) outside 0 to 1", i,
                        p->attention, p->activation);
    }
    if (!(fabs(p->accuracy) < 1e300)) {
      return bdpti_fail(job->ctx, BDPT_E_NUMERIC, "map: the accuracy of point %zu is %g", i,
                        p->accuracy);
    }
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_map_open(bdpti_map_job *job, bdpt_context *ctx,
                                    const bdpt_map_point *points, size_t count,
                                    const bdpt_map_options *options) {
  const size_t n = BDPT_MAP_TERMS;
  bdpt_status status;
  memset(job, 0, sizeof *job);
  job->ctx = ctx; job->points = points; job->count = count;
  if (options) job->o = *options;
  status = bdpti_map_check(job);
  if (status != BDPT_OK) return status;
  if (job->o.max_degree == 0) job->o.max_degree = BDPTI_MAP_DEGREE;
  if (job->o.cutoff == 0) job->o.cutoff = 1e-9;
  job->low = job->o.degree ? job->o.degree : 1;
  job->high = job->o.degree ? job->o.degree : job->o.max_degree;
  if (!bdpti_mul(count, (n + 1) * sizeof(double), &job->bytes) ||
      !bdpti_add(job->bytes, n * n * sizeof(double), &job->bytes)) {
    return bdpti_fail(ctx, BDPT_E_MEMORY, "map: %zu points overflow the memory", count);
  }
  job->block = (double *)bdpti_alloc(ctx, job->bytes);
  if (!job->block) return BDPT_E_MEMORY;
  job->weight = job->block;
  job->f.v = job->block + count;
  job->f.a = job->f.v + n * n;
  return BDPT_OK;
}

/* Decomposes the design of one degree without the points i and j (pass i = j = count for all). */
BDPTI_FN void bdpti_map_design(bdpti_map_job *job, int degree, size_t i, size_t j) {
  bdpti_lsq *f = &job->f;
  size_t r, at;
  int k;
  f->cols = bdpti_map_terms(degree, job->o.per_variable);
  f->rows = job->count - (i < job->count ? 2 : 0);
  for (k = 0; k < f->cols; k++) {
    for (r = at = 0; r < job->count; r++) {
      if (r == i || r == j) continue;
      f->a[(size_t)k * f->rows + at++] =
          bdpti_map_monomial(&job->points[r], degree, job->o.per_variable, k);
    }
  }
  bdpti_lsq_factor(f, job->o.cutoff);
}

/* Adds the errors at a hidden point to each trial's sums. y[trials][count]; the weights skip the
 * hidden points i < j, so row `at` of the design is point r. */
BDPTI_FN void bdpti_map_hidden(bdpti_map_job *job, int degree, size_t i, size_t j, size_t hidden,
                               const double *y, size_t trials, double *square, double *absolute) {
  double x[BDPT_MAP_TERMS];
  size_t t, r, at;
  int k;
  for (k = 0; k < job->f.cols; k++) {
    x[k] = bdpti_map_monomial(&job->points[hidden], degree, job->o.per_variable, k);
  }
  bdpti_lsq_predictor(&job->f, x, job->weight);
  for (t = 0; t < trials; t++) {
    const double *yt = y + t * job->count;
    double e = -yt[hidden];
    for (r = at = 0; r < job->count; r++) {
      if (r != i && r != j) e += job->weight[at++] * yt[r];
    }
    square[t] += e * e;
    absolute[t] += fabs(e);
  }
}

/* All-pairs leave-2-out of one degree: square[trials] and absolute[trials] become RMSE and MAE. */
BDPTI_FN void bdpti_map_cross(bdpti_map_job *job, int degree, const double *y, size_t trials,
                              double *square, double *absolute) {
  double errors = (double)job->count * (double)(job->count - 1);
  size_t i, j, t;
  for (t = 0; t < trials; t++) square[t] = absolute[t] = 0.0;
  for (i = 0; i < job->count; i++) {
    for (j = i + 1; j < job->count; j++) {
      bdpti_map_design(job, degree, i, j);
      bdpti_map_hidden(job, degree, i, j, i, y, trials, square, absolute);
      bdpti_map_hidden(job, degree, i, j, j, y, trials, square, absolute);
    }
  }
  for (t = 0; t < trials; t++) {
    square[t] = sqrt(square[t] / errors);
    absolute[t] /= errors;
  }
}

BDPT_API bdpt_status bdpt_map_fit(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                  const bdpt_map_options *options, bdpt_map *out) {
  bdpti_map_job job;
  bdpt_status status = bdpti_map_open(&job, ctx, points, count, options);
  double *y;
  size_t i;
  int d;
  if (status != BDPT_OK) return status;
  y = (double *)bdpti_alloc(ctx, count * sizeof *y); /* no overflow: job.bytes is larger */
  if (!y) { bdpti_free(ctx, job.block, job.bytes); return BDPT_E_MEMORY; }
  for (i = 0; i < count; i++) y[i] = points[i].accuracy;
  memset(out, 0, sizeof *out);
  for (d = 0; d <= BDPTI_MAP_DEGREE; d++) out->cv_rmse[d] = out->cv_mae[d] = (double)NAN;

  /* The degree by cross-validation, then the coefficients from all points. */
  for (d = job.low; d <= job.high; d++) {
    bdpti_map_cross(&job, d, y, 1, &out->cv_rmse[d], &out->cv_mae[d]);
    if (out->degree == 0 || out->cv_rmse[d] < out->cv_rmse[out->degree]) out->degree = d;
  }
  bdpti_map_design(&job, out->degree, count, count);
  bdpti_lsq_solve(&job.f, y, out->theta);
  out->per_variable = job.o.per_variable;
  out->terms = job.f.cols;
  out->rank = job.f.rank;
  for (i = 0; i < count; i++) {
    double e = bdpt_map_predict(out, points[i].attention, points[i].activation) - y[i];
    out->fit_rmse += e * e;
    out->fit_mae += fabs(e);
  }
  out->fit_rmse = sqrt(out->fit_rmse / (double)count);
  out->fit_mae /= (double)count;
  bdpti_free(ctx, y, count * sizeof *y);
  bdpti_free(ctx, job.block, job.bytes);
  return BDPT_OK;
}

/* The split. The budget line has at most L + 1 integer points, so all are tried; nothing cleverer
 * is needed. The first strict maximum with the attention count rising is the paper's algorithm 3:
 * of two equal splits, the one that removes fewer attention layers stands. "Budget" is the number
 * of layers removed; the paper uses the letter k for that and, elsewhere, for those retained.
 */
BDPT_API bdpt_status bdpt_map_split(bdpt_context *ctx, const bdpt_map *map, int depth, int budget,
                                    int *attention, int *activation, double *predicted) {
  int a, from, to;
  double best = 0.0;
  if (depth < 1 || depth > BDPT_MAX_DEPTH || budget < 0 || budget > 2 * depth) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT,
                      "map: cannot remove %d layers of a network of %d blocks, which has %d",
                      budget, depth, 2 * depth);
  }
  from = budget > depth ? budget - depth : 0;
  to = budget < depth ? budget : depth;
  for (a = from; a <= to; a++) {
    double p = bdpt_map_predict(map, (double)(depth - a) / depth,
                                (double)(depth - budget + a) / depth);
    if (a > from && !(p > best)) continue;
    best = p;
    *attention = a;
    *activation = budget - a;
  }
  if (predicted) *predicted = best;
  return BDPT_OK;
}

/* 11.4  How much of the choice is noise                                                 >>map-noise
 *
 *   math      y' = y + clip(sd * N(0,1), -c, c); degree, surface and split again from y'
 *   source    PAPER_NOTES.md, MAP (500 trials, sd or variance 0.1, c = 0.5)
 *   check     tests/test_map.c, the study's rows within sampling error
 *
 * An accuracy measured on a few thousand held-out images carries about half a point of sampling
 * noise, and a short fine-tune adds its own. A split worth acting on should survive that. The study
 * disturbs the measured accuracies many times, repeats everything from the degree on, and counts
 * how far along the budget line the choice has moved. Call it with the noise of your own
 * measurements before trusting a split.
 */
typedef struct bdpti_noise {
  size_t trials;
  double *y;        /* [trials][count] */
  double *rmse;     /* [trials], of the degree under way */
  double *absolute; /* [trials] */
  double *best;     /* [trials], lowest RMSE so far */
  int *degree;      /* [trials], and where it was */
  double *block;
  size_t bytes;
} bdpti_noise;

/* All disturbed vectors at once. Trial t is a function of (seed, t): more trials extend a study. */
BDPTI_FN bdpt_status bdpti_noise_open(bdpti_map_job *job, bdpti_noise *n, double sd, double clip,
                                      uint64_t seed) {
  size_t t, i, m = n->trials;
  if (!bdpti_mul(m, (job->count + 4) * sizeof(double), &n->bytes)) n->bytes = SIZE_MAX;
  n->block = (double *)bdpti_alloc(job->ctx, n->bytes);
  if (!n->block) return BDPT_E_MEMORY;
  n->rmse = n->block;
  n->absolute = n->rmse + m;
  n->best = n->absolute + m;
  n->degree = (int *)(void *)(n->best + m);
  n->y = n->best + 2 * m;
  for (t = 0; t < m; t++) {
    bdpt_rng r;
    bdpti_rng_seed(&r, seed, (uint64_t)t);
    for (i = 0; i < job->count; i++) {
      double e = sd * bdpti_normal(&r);
      if (clip > 0 && e > clip) e = clip;
      if (clip > 0 && e < -clip) e = -clip;
      n->y[t * job->count + i] = job->points[i].accuracy + e;
    }
  }
  return BDPT_OK;
}

/* Tallies the splits of those trials that chose `degree`; base is the split without noise. */
BDPTI_FN bdpt_status bdpti_noise_tally(bdpti_map_job *job, const bdpti_noise *n, int degree,
                                       int depth, int budget, bdpt_map_noise_report *out) {
  bdpt_map map;
  size_t t;
  memset(&map, 0, sizeof map);
  bdpti_map_design(job, degree, job->count, job->count);
  map.degree = degree;
  map.per_variable = job->o.per_variable;
  map.terms = job->f.cols;
  for (t = 0; t < n->trials; t++) {
    int a = 0, g = 0, moved;
    bdpt_status status;
    if (n->degree[t] != degree) continue;
    bdpti_lsq_solve(&job->f, n->y + t * job->count, map.theta);
    status = bdpt_map_split(job->ctx, &map, depth, budget, &a, &g, NULL);
    if (status != BDPT_OK) return status;
    moved = a > out->attention ? a - out->attention : out->attention - a;
    *(moved == 0 ? &out->exact : moved == 1 ? &out->one : &out->more) += 1.0;
    out->mean_attention += (double)(depth - a) / depth;
    out->mean_activation += (double)(depth - g) / depth;
    out->sd += (double)(depth - a) / depth * (double)(depth - a) / depth;
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_noise_run(bdpti_map_job *job, bdpti_noise *n, int depth, int budget,
                                     bdpt_map_noise_report *out) {
  double trials = (double)n->trials;
  bdpt_status status = BDPT_OK;
  size_t t;
  int d;
  for (d = job->low; d <= job->high; d++) {
    bdpti_map_cross(job, d, n->y, n->trials, n->rmse, n->absolute);
    for (t = 0; t < n->trials; t++) {
      if (d > job->low && !(n->rmse[t] < n->best[t])) continue;
      n->best[t] = n->rmse[t];
      n->degree[t] = d;
    }
  }
  for (d = job->low; d <= job->high && status == BDPT_OK; d++) {
    status = bdpti_noise_tally(job, n, d, depth, budget, out);
  }
  out->exact *= 100.0 / trials;
  out->one *= 100.0 / trials;
  out->more *= 100.0 / trials;
  out->mean_attention /= trials;
  out->mean_activation /= trials;
  out->sd = out->sd / trials - out->mean_attention * out->mean_attention;
  out->sd = out->sd > 0 ? sqrt(out->sd) : 0.0;
  return status;
}

BDPT_API bdpt_status bdpt_map_noise(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                    const bdpt_map_options *options, int depth, int budget,
                                    int trials, double sd, double clip, uint64_t seed,
                                    bdpt_map_noise_report *out) {
  bdpti_map_job job;
  bdpti_noise n;
  bdpt_map base;
  bdpt_status status;
  memset(out, 0, sizeof *out);
  memset(&n, 0, sizeof n);
  if (trials < 1 || !(sd >= 0)) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "map noise: %d trials, deviation %g", trials, sd);
  }
  status = bdpt_map_fit(ctx, points, count, options, &base);
  if (status != BDPT_OK) return status;
  status = bdpt_map_split(ctx, &base, depth, budget, &out->attention, &out->activation, NULL);
  if (status != BDPT_OK) return status;
  status = bdpti_map_open(&job, ctx, points, count, options);
  if (status != BDPT_OK) return status;
  out->trials = trials;
  n.trials = (size_t)trials;
  status = bdpti_noise_open(&job, &n, sd, clip, seed);
  if (status == BDPT_OK) status = bdpti_noise_run(&job, &n, depth, budget, out);
  bdpti_free(ctx, n.block, n.bytes);
  bdpti_free(ctx, job.block, job.bytes);
  return status;
}

/* 11.5  What the published example says, and what it does not
 *
 * The authors publish one data set: 22 measured points of DeiT-Base (PAPER_NOTES.md, MAP; the data
 * are in tests/test_map.c). A reader who runs bdpt_map_fit on it learns the following.
 *
 * It reproduces that degree 2 wins, and that the printed polynomial puts the best split of a budget
 * of 8 at (4 attention, 4 activation).
 *
 * It does not reproduce the polynomial. The printed coefficients leave a sum of squared residuals
 * of 71.96; the least-squares surface of the same points leaves 3.82. They are therefore not the
 * fit of these points, whatever solver was used. The true fit prefers (2 attention, 6 activation)
 * at a budget of 8, and predicts 74.2 there against 73.1 for the even split. The
 * cross-validation errors differ too: 0.5923 (RMSE) and 0.4401 (MAE) here, 0.4870 and 0.4066
 * printed. With powers counted per variable, as the definition reads, degree 3 wins and the split
 * becomes (6, 2).
 *
 * Nor does the noise study (75.0 % of trials exact, 5.2 % one layer off, 19.8 % more) follow from
 * these points: with deviation 0.1 essentially every trial is exact, with variance 0.1 about five
 * in six are, and hardly any is two layers off. All the printed figures lie close to what a fit of
 * the 16 or 17 milder points gives, so that is probably where they came from; the points with half
 * of one type gone were added to the table but not to the fit. That is a deduction, not a fact.
 *
 * A word on sizes. At a budget of 8 the true fit separates its best split from the even one by 1.1
 * points, the printed polynomial separates (4,4) from its neighbours by 0.1 and 0.2. Differences of
 * that size are within the noise of one measured accuracy, whoever fits them.
 *
 * The lesson is not that the method fails. It is that the split follows the harshest points: they
 * carry the curvature. So measure where you intend to prune, and run the noise study.
 */

/* =================================================================================================
 * 12  THE METHOD                                                                           >>method
 * =================================================================================================
 * Everything so far was machinery. This chapter is the argument: which layers of a trained vision
 * transformer can be taken away, how to find them, and how to get the accuracy back.
 *
 * The argument has five steps, and each section is one of them.
 *
 * A block has two removable layers, its attention and its activation (chapter 10). A natural plan
 * is to give every layer an importance, rank all 2L of them and remove the smallest. The first
 * observation (12.2) says why that fails: the importance of the two types differs by orders of
 * magnitude for reasons of size and scale, so a common ranking removes one type only. The second
 * (12.3) says that a fairer-looking measure fails too: how much accuracy is lost at the moment of
 * removal ranks attention far before activation, and after a short training the ranking is a
 * different one. Two rules follow. Never compare importance across types. Judge a removal by the
 * accuracy after recovery.
 *
 * The rules leave a question and its answer at two levels. How many of each type? Only recovered
 * accuracy can tell, so measure it on a small set of pruned networks (12.4) and interpolate
 * (chapter 11). Which ones? Within a type importance is comparable, so learn it, and remove the
 * least important layer of one type, train on, remove one of the other (12.5). Then fuse the
 * linears that lost the activation between them (12.6) and recover what is left to recover, with
 * the dense network as teacher (12.7). Section 12.8 is all of it in one call.
 *
 * Every removal in this chapter goes through one function. A start for the remaining weights that
 * is better than the old ones belongs there.
 */
BDPTI_FN bdpt_status bdpti_remove(bdpt_model *model, int type, int layer) {
  return bdpt_prune(model, type, layer);
}

BDPTI_FN int bdpti_kept(const bdpt_model *model, int type, int layer) {
  const bdpt_block *b = &model->config.block[layer];
  return (type == BDPT_ATTENTION ? b->attention : b->activation) == BDPT_KEPT;
}

/* 12.1  Long calls                                                                        >>studies
 *
 * The calls of this chapter run for minutes to days. Each reports progress, can be stopped at any
 * step, and continues from a file to the same bits. A study holds what they share. Skip this
 * section on a first reading.
 *
 * A study is a list of trainings and a list of measured numbers. Resuming is replaying: the call
 * runs from its beginning, structure changes included, but a number that is on the list is read
 * instead of measured and a training that was over is skipped. The training under way is filled
 * from the file, and from there on the call works instead of replaying. So no call has code of its
 * own for resuming, and there is no second order of events that could differ from the first.
 *
 * The file is the trainer's checkpoint (chapter 9) with the study's numbers in its log: a key, the
 * ordinal of the training, and the list. The key is a hash of everything that the result depends
 * on: weights, structure, images, options. A file with another key is refused with a sentence. To
 * start over silently would throw away somebody's hours; to continue would give a result that
 * belongs to other options. The file's name is hooks->checkpoint with the name of the call
 * appended.
 *
 * Progress is counted in images: trained ones, and evaluated ones at a third, which is what they
 * cost. So (total - done) / done times the time so far is a fair estimate of the time left.
 */
#define BDPTI_PATH 1024
#define BDPTI_STUDY_HEAD 3   /* words before the results: key, training, carry */

typedef struct bdpti_study {
  bdpt_context *ctx;
  const bdpt_model *model;   /* the caller's; never written to */
  const bdpt_subset *train, *held;
  const bdpt_hooks *hooks;   /* may be NULL */
  const char *phase;
  char detail[48];
  char path[BDPTI_PATH];     /* "" when nothing is saved */
  uint64_t key;
  bdpt_model *work;          /* a copy, pruned and trained */
  bdpt_trainer *trainer;     /* of the training under way; NULL while replaying */
  double training, reached;  /* ordinal of this training; of the one in the file */
  double *word;              /* [room] what a file holds; word[2] is the call's own */
  size_t room, count, next;  /* words in use; next result to read or to add */
  size_t saved, epoch, last; /* steps: at the last save, per epoch, in this training */
  double images;             /* per epoch */
  double base, span, total;  /* images done before this part, of this part, in all */
} bdpti_study;

BDPTI_FN void bdpti_key_add(bdpti_study *s, double v) { bdpti_digest(&s->key, v); }

BDPTI_FN double bdpti_held_cost(const bdpti_study *s) {
  return s->held ? (double)s->held->count / 3.0 : 0.0;
}

BDPTI_FN bdpt_status bdpti_study_path(bdpt_context *ctx, const bdpt_hooks *hooks,
                                      const char *phase, char path[BDPTI_PATH]) {
  path[0] = 0;
  if (!hooks || !hooks->checkpoint) return BDPT_OK;
#ifdef BDPT_NO_STDIO
  return bdpti_fail(ctx, BDPT_E_IO, "%s.%s: built without files", hooks->checkpoint, phase);
#else
  if (strlen(hooks->checkpoint) + 20 > BDPTI_PATH) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "%s: the checkpoint's name is longer than %d "
                      "characters", phase, BDPTI_PATH - 20);
  }
  bdpti_format(path, BDPTI_PATH, "%s.%s", hooks->checkpoint, phase);
  return BDPT_OK;
#endif
}

/* A trainer, made and freed, knows the digests and the length of an epoch; and if the recipe or the
 * images are unusable it says so before anything has begun. */
BDPTI_FN bdpt_status bdpti_study_key(bdpti_study *s, const bdpt_recipe *recipe) {
  bdpt_model *copy = bdpt_model_clone(s->model);
  bdpt_trainer *t = copy ? bdpt_trainer_create(copy, NULL, s->train, recipe) : NULL;
  char hash[17];
  int i, ok = t != NULL;
  if (ok) {
    s->epoch = bdpt_trainer_steps_per_epoch(t);
    s->images = (double)s->epoch * (double)t->batch;
    s->key = bdpti_mix64(bdpti_digest_recipe(t) ^ bdpti_digest_structure(t));
    s->key = bdpti_mix64(s->key + bdpti_digest_data(t));
    t->train = s->held ? s->held : s->train;
    s->key = bdpti_mix64(s->key + bdpti_digest_data(t));
    bdpt_model_hash(s->model, hash);
    for (i = 0; hash[i]; i++) bdpti_key_add(s, hash[i]);
    for (i = 0; s->phase[i]; i++) bdpti_key_add(s, s->phase[i]);
    for (i = 0; i < 2 * copy->config.depth; i++) {
      bdpti_key_add(s, (double)copy->importance_data[0][i % 2][i / 2]);
    }
  }
  bdpt_trainer_free(t);
  bdpt_model_free(copy);
  return ok ? BDPT_OK : s->ctx->status;
}

BDPTI_FN bdpt_status bdpti_study_open(bdpti_study *s, const bdpt_model *model,
                                      const bdpt_hooks *hooks, const char *phase,
                                      const bdpt_subset *train, const bdpt_subset *held,
                                      const bdpt_recipe *recipe) {
  memset(s, 0, sizeof *s);
  s->ctx = model->ctx;
  s->model = model;
  s->hooks = hooks;
  s->phase = phase;
  s->train = train;
  s->held = held;
  if (bdpti_study_path(s->ctx, hooks, phase, s->path) != BDPT_OK) return s->ctx->status;
  return bdpti_study_key(s, recipe);
}

BDPTI_FN void bdpti_study_close(bdpti_study *s) {
  bdpt_trainer_free(s->trainer);
  bdpt_model_free(s->work);
  bdpti_free(s->ctx, s->word, s->room * sizeof *s->word);
}

/* Room for rows * row results; then what the file holds. Call it once the key is complete. */
BDPTI_FN bdpt_status bdpti_study_load(bdpti_study *s, size_t rows, size_t row) {
  bdpt_status status = BDPT_OK;
  size_t bytes;
  if (!bdpti_mul(rows, row, &s->room) || !bdpti_add(s->room, BDPTI_STUDY_HEAD, &s->room) ||
      !bdpti_mul(s->room, sizeof *s->word, &bytes)) {
    s->room = 0;
    return bdpti_fail(s->ctx, BDPT_E_MEMORY, "%s: %zu rows overflow the memory", s->phase, rows);
  }
  s->word = (double *)bdpti_alloc(s->ctx, bytes);
  if (!s->word) return s->ctx->status;
  s->count = s->next = BDPTI_STUDY_HEAD;
#ifndef BDPT_NO_STDIO
  if (s->path[0] && bdpti_checkpoint_exists(s->path)) {
    const bdpt_file_tensor *log;
    bdpt_safetensors f;
    status = bdpt_safetensors_open(s->ctx, s->path, &f);
    if (status != BDPT_OK) return status;
    log = bdpt_safetensors_find(&f, "train.log");
    if (!log || log->count < BDPTI_STUDY_HEAD || log->count > s->room ||
        !bdpti_words_read(&f, "train.log", s->word, log->count)) {
      status = bdpti_fail(s->ctx, BDPT_E_FORMAT, "%s does not hold a %s", s->path, s->phase);
    } else if (memcmp(s->word, &s->key, sizeof s->key) != 0) {
      status = bdpti_fail(s->ctx, BDPT_E_STATE, "%s was saved by a %s of another network, with "
                          "other images or other options; delete it or name another checkpoint",
                          s->path, s->phase);
    } else {
      s->count = log->count;
      s->reached = s->word[1];
    }
    bdpt_safetensors_close(&f);
  }
#endif
  memcpy(s->word, &s->key, sizeof s->key);
  return status;
}

/* The next result: read from the list if it is known, else added to it. */
BDPTI_FN int bdpti_study_knows(const bdpti_study *s) { return s->next < s->count; }

BDPTI_FN void bdpti_study_record(bdpti_study *s, double *x) {
  if (bdpti_study_knows(s)) *x = s->word[s->next];
  else s->word[s->count++] = *x;
  s->next++;
}

/* Ends the training under way: with averaged weights, those are what the next one inherits. */
BDPTI_FN void bdpti_study_end(bdpti_study *s) {
  if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
  bdpt_trainer_free(s->trainer);
  s->trainer = NULL;
}

/* Starts again from the caller's network. */
BDPTI_FN bdpt_status bdpti_study_copy(bdpti_study *s) {
  bdpti_study_end(s);
  bdpt_model_free(s->work);
  s->work = bdpt_model_clone(s->model);
  return s->work ? BDPT_OK : s->ctx->status;
}

/* Begins the next training of s->work, which has its structure by now. */
BDPTI_FN bdpt_status bdpti_study_begin(bdpti_study *s, const bdpt_recipe *recipe) {
  bdpti_study_end(s);
  s->last = s->epoch * (size_t)recipe->epochs;
  if (s->training > 0) s->base += s->span;
  s->training += 1;
  s->saved = 0;
  if (s->training < s->reached) return BDPT_OK;
  s->trainer = bdpt_trainer_create(s->work, NULL, s->train, recipe);
  if (!s->trainer) return s->ctx->status;
#ifndef BDPT_NO_STDIO
  if (s->training == s->reached) {
    bdpt_status status = bdpt_trainer_load(s->trainer, s->path);
    s->saved = bdpt_trainer_steps_done(s->trainer);
    return status;
  }
#endif
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_study_save(bdpti_study *s) {
#ifndef BDPT_NO_STDIO
  if (s->path[0]) {
    s->word[1] = s->training;
    s->saved = bdpt_trainer_steps_done(s->trainer);
    return bdpti_trainer_write(s->trainer, s->path, s->word, s->count);
  }
#endif
  return s->ctx->status;
}

/* Between two steps: reports, and saves when asked to stop, when it is time (once per epoch, or as
 * often as the caller wants), or when something worth keeping has happened. */
BDPTI_FN bdpt_status bdpti_study_pause(bdpti_study *s, double loss, double accuracy, int keep) {
  size_t step = bdpt_trainer_steps_done(s->trainer);
  double images = s->hooks ? s->hooks->checkpoint_images : 0.0, per_step, done;
  bdpt_status told = BDPT_OK, status = BDPT_OK;
  bdpt_progress p;
  per_step = s->images / (double)s->epoch;
  done = s->base + s->span * (double)step / (double)s->last;
  if (s->hooks && s->hooks->progress) {
    p.phase = s->phase;
    p.detail = s->detail;
    p.done = (size_t)(done < s->total ? done : s->total);
    p.total = (size_t)s->total;
    p.unit = "images";
    p.loss = loss;
    p.accuracy = accuracy;
    if (s->hooks->progress(&p, s->hooks->user)) told = BDPT_CANCELLED;
  }
  if (!(images > 0)) images = s->images;
  if (keep || told != BDPT_OK || (double)(step - s->saved) * per_step >= images) {
    status = bdpti_study_save(s);
  }
  return status != BDPT_OK ? status : told;
}

/* Work can begin where the list ends, unless the file claims a training that its list does not. */
BDPTI_FN bdpt_status bdpti_study_ready(const bdpti_study *s) {
  if (s->trainer || bdpti_study_knows(s)) return BDPT_OK;
  return bdpti_fail(s->ctx, BDPT_E_FORMAT, "%s: the results of a %s end before its training",
                    s->path, s->phase);
}

BDPTI_FN bdpt_status bdpti_study_train(bdpti_study *s, size_t until) {
  bdpt_status status = BDPT_OK;
  while (status == BDPT_OK && s->trainer && bdpt_trainer_steps_done(s->trainer) < until) {
    double loss = 0.0;
    status = bdpt_trainer_step(s->trainer, &loss);
    if (status == BDPT_OK) status = bdpti_study_pause(s, loss, (double)NAN, 0);
  }
  return status;
}

/* Accuracy of s->work on the held-out images, per cent, with averaged weights where there are any;
 * NaN without held-out images. */
BDPTI_FN bdpt_status bdpti_study_score(bdpti_study *s, double *out) {
  bdpt_status status = BDPT_OK;
  bdpt_accuracy a;
  *out = (double)NAN;
  if (s->held && !bdpti_study_knows(s)) {
    if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
    status = bdpt_evaluate(s->work, s->held, &a);
    if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
    if (status == BDPT_OK) *out = a.top1;
  }
  if (status == BDPT_OK) bdpti_study_record(s, out);
  return status;
}

/* The same at the end of a training, or of a part of it. */
BDPTI_FN bdpt_status bdpti_study_measure(bdpti_study *s, double *out) {
  int known = bdpti_study_knows(s);
  bdpt_status status = bdpti_study_ready(s);
  if (status == BDPT_OK) status = bdpti_study_score(s, out);
  if (known || status != BDPT_OK) return status;
  return bdpti_study_pause(s, (double)NAN, *out, 1);
}

/* 12.2  First observation: the two types live on different scales                      >>disparity
 *
 *   math      h = m f + (1-m) r,  dL/dm = sum dL/dh (f - r)
 *             attention   f = MHSA(u)[B,N,D],  r = u (or 0, or x: what its removal leaves)
 *             activation  f = GELU(z)[B,N,F],  r = z
 *   source    PAPER_NOTES.md, Gradient disparity (theorem 4, corrected here)
 *   check     tests/test_method.c: attention that returns its input has no gradient
 *
 * How much does a layer matter? Blend it with what would stand in its place, h = m f + (1-m) r, and
 * ask how the loss moves as m leaves 1. The derivative is the formula above: the loss's gradient
 * at the blend, multiplied with what the layer adds to its replacement, and summed. It costs one
 * backward pass for all 2L layers. If it is positive, less of the layer would lower the loss.
 *
 * Now estimate its size. Let the entries of dL/dh be uncorrelated with those of f - r and have mean
 * square s^2. A sum of n such products has mean square n s^2 E[(f - r)^2]. With n = BND for
 * attention and BNF for the activation:
 *
 *     E[(dL/dm_act)^2]     F   s_act^2    E[(GELU(z) - z)^2]
 *     ----------------- =  - * -------- * ------------------
 *     E[(dL/dm_attn)^2]    D   s_attn^2    E[(MHSA(u) - u)^2]
 *
 * F/D is 4 in every DeiT. The last factor compares two variances that training never had a reason
 * to make alike: u is normalised, z is not. Nothing in the formula asks which layer the task needs.
 * The published measurements on DeiT say the same with numbers: 0.0007 to 0.011 for the twelve
 * attention layers, 0.75 to 3.6 for the twelve activations. In one common ranking the ten least
 * important layers would all be attention. Hence the first rule: importance is compared within a
 * type only.
 *
 * The printed theorem has GELU(z) - 1 and MHSA(u) - 1 in place of the last factor's differences: it
 * takes the identity map for the number one. The derivative of m f(z) + (1-m) z is f(z) - z. It
 * also leaves out s_act and s_attn, which differ because dL/ds passes through W2 and dL/db does
 * not. The conclusion survives the correction.
 *
 * Two cautions. The derivative at m = 1 tells where the loss goes when the layer fades a little; a
 * removal goes all the way to m = 0, along a curve that nobody measured. It is a way to choose whom
 * to try first, not a prediction of the loss. And AdamW divides each parameter's gradient by its
 * own running size, so a scalar trained with it moves by about the learning rate per step whatever
 * the gradient's scale: it counts, with a fading memory, how often the sign was positive. The gap
 * between the types is a fact about gradients. In the learned scalars little of it is left.
 *
 * bdpt_disparity shows the gradients themselves: means of |dL/dm| over windows of training steps,
 * by type and layer, on a copy of the network that trains as it would in the search.
 */
/* One row of results: the mean loss, then the mean |dL/dm| of every layer. The loss summed over the
 * open window is carried in the state; its gradients are in the trainer. */
BDPTI_FN void bdpti_disparity_row(bdpti_study *s, size_t step, size_t steps,
                                  bdpt_disparity_row *row) {
  int i, known = bdpti_study_knows(s);
  row->step = step;
  if (!known) {
    row->loss = s->word[2] / (double)steps;
    bdpt_trainer_importance(s->trainer, row->gradient);
    s->word[2] = 0.0;
  } else {
    memset(row->gradient, 0, sizeof row->gradient);
  }
  bdpti_study_record(s, &row->loss);
  for (i = 0; i < 2 * s->model->config.depth; i++) {
    bdpti_study_record(s, &row->gradient[i % 2][i / 2]);
  }
}

BDPTI_FN bdpt_status bdpti_disparity_run(bdpti_study *s, const bdpt_recipe *recipe, size_t window,
                                         bdpt_disparity_row *rows, size_t capacity,
                                         size_t *count) {
  size_t first = 0, step = 0, end = s->epoch * (size_t)recipe->epochs;
  bdpt_status status = bdpti_study_copy(s);
  if (status == BDPT_OK) status = bdpti_study_begin(s, recipe);
  while (status == BDPT_OK && first < end && *count < capacity) {
    size_t next = end - first < window ? end : first + window;
    double loss = (double)NAN;
    int work = !bdpti_study_knows(s);
    if (work) {
      status = bdpti_study_ready(s);
      if (status == BDPT_OK) status = bdpt_trainer_step(s->trainer, &loss);
      if (status != BDPT_OK) break;
      s->word[2] += loss;
      step = bdpt_trainer_steps_done(s->trainer);
    }
    if (!work || step == next) {
      bdpti_disparity_row(s, next, next - first, &rows[(*count)++]);
      first = next;
    }
    if (work) status = bdpti_study_pause(s, loss, (double)NAN, first == end || *count == capacity);
  }
  return status;
}

BDPT_API bdpt_status bdpt_disparity(const bdpt_model *model, const bdpt_subset *train,
                                    const bdpt_recipe *recipe, size_t window,
                                    const bdpt_hooks *hooks, bdpt_disparity_row *rows,
                                    size_t capacity, size_t *count) {
  bdpt_recipe r = *recipe;
  bdpti_study s;
  bdpt_status status;
  *count = 0;
  r.importance = 1;
  bdpt_recipe_resolve(&r);
  if (window == 0 || capacity == 0) {
    return bdpti_fail(model->ctx, BDPT_E_ARGUMENT, "disparity: window %zu, room for %zu rows",
                      window, capacity);
  }
  status = bdpti_study_open(&s, model, hooks, "disparity", train, NULL, &r);
  bdpti_key_add(&s, (double)window);
  bdpti_key_add(&s, (double)capacity);
  s.total = s.span = (double)r.epochs * s.images;
  if (status == BDPT_OK) {
    status = bdpti_study_load(&s, capacity, 1 + 2 * (size_t)model->config.depth);
  }
  if (status == BDPT_OK) {
    status = bdpti_disparity_run(&s, &r, window, rows, capacity, count);
  }
  bdpti_study_close(&s);
  return status;
}

/* 12.3  Second observation: damage and recovery rank layers differently                >>recovery
 *
 *   math      before, at_once, after[e]: held-out accuracy of the network, of the network without
 *             one layer, and of that after e epochs of training; for each of the 2L layers
 *   source    PAPER_NOTES.md, Recovery asymmetry
 *   check     tests/test_method.c: every row against a removal made by hand
 *
 * Remove one attention layer from DeiT-Base and 80 to 81 of its 81.8 per cent remain. Remove one
 * activation and 0.1 to 3.5 per cent remain: chance. So attention is dispensable and activations
 * are sacred? After ten epochs of training the same networks stand at 80.7 to 81.4 and at 78.6 to
 * 81.8, and in the last three blocks the network without the activation is ahead of the one
 * without the attention (published figures).
 *
 * Why the damage differs: an attention layer adds a correction to a residual stream that carries on
 * without it. An activation stands inside the MLP. Training has put what should not pass on the
 * negative side of z, where GELU lets almost nothing through; the identity lets all of it through,
 * and W2 multiplies it. Why the recovery differs: removed attention leaves only the 2D weights of
 * its norm to make good with. A removed activation leaves W1 and W2, 8 D^2 weights, free to become
 * the best linear map in the MLP's place, and a linear map is easy to learn.
 *
 * In a formula: GELU(z) - z is close to -z for negative z and close to 0 for positive z. Removing
 * the activation adds the negative halves of all F hidden features to the sum that W2 forms.
 *
 * The consequence is the second rule: what counts is the accuracy after recovery. The study below
 * measures it layer by layer: once before anything is removed, once right after the removal, and
 * after each of the epochs named by the caller. The learning rate follows one schedule to the last
 * of them, so an early mark lies on the way to a late one and is not a short training of its own.
 *
 * All rows train with the same seed, hence on the same images in the same order: differences
 * between rows are differences between layers, not between draws. The published study has single
 * runs, too; its two seeds differ by up to 2.2 points in one row, so closer ranks mean little.
 */
BDPTI_FN bdpt_status bdpti_recovery_options(bdpt_context *ctx, bdpt_recovery_options *o) {
  int i;
  bdpt_recipe_resolve(&o->recipe);
  if (o->marks == 0) {
    o->marks = 1;
    o->mark[0] = o->recipe.epochs;
  }
  for (i = 0; i < o->marks && i < BDPT_MAX_MARKS; i++) {
    if (o->mark[i] <= (i ? o->mark[i - 1] : 0)) break;
  }
  if (i == 0 || i != o->marks) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT,
                      "recovery: marks must be 1 to %d rising numbers of epochs", BDPT_MAX_MARKS);
  }
  o->recipe.epochs = o->mark[o->marks - 1];
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_recovery_row(bdpti_study *s, const bdpt_recovery_options *o,
                                        bdpt_recovery_row *row) {
  bdpt_status status = bdpti_study_copy(s);
  int i;
  bdpti_format(s->detail, sizeof s->detail, "remove %s %d", bdpti_type_name(row->type), row->layer);
  if (status == BDPT_OK) status = bdpti_remove(s->work, row->type, row->layer);
  if (status == BDPT_OK) status = bdpti_study_score(s, &row->at_once);
  if (status == BDPT_OK) status = bdpti_study_begin(s, &o->recipe);
  for (i = 0; i < o->marks && status == BDPT_OK; i++) {
    status = bdpti_study_train(s, s->epoch * (size_t)o->mark[i]);
    if (status == BDPT_OK) status = bdpti_study_measure(s, &row->after[i]);
  }
  return status;
}

/* A layer that was gone already keeps NaN: there is nothing to remove and nothing to learn. */
BDPTI_FN bdpt_status bdpti_recovery_run(bdpti_study *s, const bdpt_recovery_options *o,
                                        bdpt_recovery_row *rows) {
  int depth = s->model->config.depth, r, i;
  double before = 0.0;
  bdpt_status status = bdpti_study_copy(s);
  if (status == BDPT_OK) status = bdpti_study_score(s, &before);
  for (r = 0; r < 2 * depth && status == BDPT_OK; r++) {
    bdpt_recovery_row *row = &rows[r];
    row->type = r < depth ? BDPT_ATTENTION : BDPT_ACTIVATION;
    row->layer = r % depth;
    row->before = before;
    row->at_once = (double)NAN;
    for (i = 0; i < BDPT_MAX_MARKS; i++) row->after[i] = (double)NAN;
    if (bdpti_kept(s->model, row->type, row->layer)) status = bdpti_recovery_row(s, o, row);
  }
  return status;
}

BDPT_API bdpt_status bdpt_recovery(const bdpt_model *model, const bdpt_subset *train,
                                   const bdpt_subset *held, const bdpt_recovery_options *options,
                                   const bdpt_hooks *hooks, bdpt_recovery_row *rows) {
  size_t layers = 2 * (size_t)model->config.depth;
  bdpt_recovery_options o;
  bdpti_study s;
  bdpt_status status;
  int i;
  memset(&o, 0, sizeof o);
  if (options) o = *options;
  status = bdpti_recovery_options(model->ctx, &o);
  if (status != BDPT_OK) return status;
  status = bdpti_study_open(&s, model, hooks, "recovery", train, held, &o.recipe);
  for (i = 0; i < o.marks; i++) bdpti_key_add(&s, o.mark[i]);
  s.span = o.recipe.epochs * s.images + (1 + o.marks) * bdpti_held_cost(&s);
  for (i = 0; i < 2 * model->config.depth; i++) {
    s.total += s.span * bdpti_kept(model, i % 2, i / 2);
  }
  if (status == BDPT_OK) status = bdpti_study_load(&s, layers + 1, 1 + BDPT_MAX_MARKS);
  if (status == BDPT_OK) status = bdpti_recovery_run(&s, &o, rows);
  bdpti_study_close(&s);
  return status;
}

/* Sorts layers by rising score; NaN goes last, equal scores keep the order of the layers. */
BDPTI_FN void bdpti_rank(const double *score, int depth, int *order) {
  int i, j;
  for (i = 0; i < depth; i++) {
    for (j = i; j > 0; j--) {
      double left = score[order[j - 1]];
      if (!(score[i] < left || (left != left && score[i] == score[i]))) break;
      order[j] = order[j - 1];
    }
    order[j] = i;
  }
}

BDPT_API void bdpt_recovery_order(const bdpt_recovery_row *rows, int depth, int mark, int type,
                                  int order[BDPT_MAX_DEPTH]) {
  double score[BDPT_MAX_DEPTH];
  int l;
  for (l = 0; l < depth; l++) {
    score[l] = -rows[(type == BDPT_ATTENTION ? 0 : depth) + l].after[mark];
  }
  bdpti_rank(score, depth, order);
}

/* 12.4  How many of each type: measuring for the predictor                              >>collect
 *
 *   algorithm 1   from the dense network: remove one layer of a type, train briefly, measure;
 *                 repeat on the result. Once along attention, once along activation.
 *   algorithm 2   from the dense network: the same, the two types taking turns
 *   source        PAPER_NOTES.md, MAP (algorithms 1 and 2)
 *   check         tests/test_method.c: the published design point by point; ratios; inheritance
 *
 * The predictor of chapter 11 needs networks with different numbers of removed layers, each at its
 * recovered accuracy. To recover each from the dense network would cost dozens of long trainings.
 * Here every network inherits the weights of the one with a layer less, so that each has only one
 * more wound to heal, and a few epochs do.
 *
 * The price of inheritance is that the points are not equal in one respect: the n-th network on an
 * axis has trained n times as long as the first. As long as training on the subset still helps, the
 * surface is a little too kind to deep removal, for both types alike. The dense network's point has
 * no fine-tune at all. Both are so in the paper.
 *
 * The plan is a list of steps. Step 0 measures the dense network. `most` steps go down the
 * attention axis, `most` down the activation axis, and 2 * `rounds` along the diagonal. With both
 * algorithms the diagonal's first network, one activation removed, is on the axis already. It is
 * trained again, to the same bits, rather than kept in memory all the while, and it is not counted
 * twice. With depth 12, most = 8 and rounds = 3 this is exactly the published design of 22 points.
 *
 * DEVIATION: algorithm 2 as printed removes attention first in each round. The interleaved points
 * of the published example, (11,11) (11,10) (10,10) (10,9) (9,9) layers kept, can only come from
 * activation first. We follow the data. The other order would visit the mirrored points.
 *
 * Which layer goes is not stated in the paper. The caller may give an order, for instance the one
 * that a recovery study suggests. Otherwise the mean |dL/dm| over one epoch of training decides,
 * smallest first, within each type.
 */
BDPTI_FN void bdpti_collect_resolve(bdpt_map_collect_options *o, int depth) {
  if (o->most == 0) o->most = depth / 2 > 0 ? depth / 2 : 1;
  if (o->rounds == 0) o->rounds = (o->most + 1) / 2;
  if (o->sampling == 0) o->sampling = BDPT_SAMPLE_BOTH;
}

BDPT_API size_t bdpt_map_collect_count(int depth, const bdpt_map_collect_options *options) {
  bdpt_map_collect_options o;
  int n = 1;
  memset(&o, 0, sizeof o);
  if (options) o = *options;
  bdpti_collect_resolve(&o, depth);
  if (o.sampling & BDPT_SAMPLE_SINGLE) n += 2 * o.most;
  if (o.sampling & BDPT_SAMPLE_INTERLEAVED) n += 2 * o.rounds;
  if (o.sampling == BDPT_SAMPLE_BOTH) n--;
  return n > 0 ? (size_t)n : 0;
}

enum { BDPTI_FROM_LAST = 0, BDPTI_FROM_DENSE = 1, BDPTI_FROM_FIRST = 2 };

/* What step k > 0 removes; returns the network that it starts from. */
BDPTI_FN int bdpti_collect_step(const bdpt_map_collect_options *o, int k, int *type) {
  int turn = k - 1;
  if (o->sampling & BDPT_SAMPLE_SINGLE) {
    if (k <= 2 * o->most) {
      *type = k <= o->most ? BDPT_ATTENTION : BDPT_ACTIVATION;
      return k == 1 || k == o->most + 1 ? BDPTI_FROM_DENSE : BDPTI_FROM_LAST;
    }
    turn = k - 2 * o->most; /* turn 0, the first activation, is on the axis */
  }
  *type = turn % 2 ? BDPT_ATTENTION : BDPT_ACTIVATION;
  if (turn == 0) return BDPTI_FROM_DENSE;
  return turn == 1 && o->sampling == BDPT_SAMPLE_BOTH ? BDPTI_FROM_FIRST : BDPTI_FROM_LAST;
}

BDPTI_FN bdpt_status bdpti_collect_check(bdpt_context *ctx, const bdpt_config *c,
                                         const bdpt_map_collect_options *o) {
  int t, l;
  if (bdpt_removed(c, BDPT_ATTENTION) + bdpt_removed(c, BDPT_ACTIVATION) > 0) {
    return bdpti_fail(ctx, BDPT_E_STATE,
                      "map: collecting starts from a network that has all its layers");
  }
  if (o->most < 1 || o->most > c->depth || o->rounds < 1 || o->rounds > c->depth ||
      o->sampling < 0 || o->sampling > BDPT_SAMPLE_BOTH) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT,
                      "map: %d layers of a type, %d rounds, sampling %d; a network of %d blocks "
                      "allows 1 to %d of each, and sampling is 0 to 3", o->most, o->rounds,
                      o->sampling, c->depth, c->depth);
  }
  for (t = 0; t < 2 && o->use_order; t++) {
    int seen[BDPT_MAX_DEPTH] = {0};
    for (l = 0; l < c->depth; l++) {
      int layer = o->order[t][l];
      if (layer < 0 || layer >= c->depth || seen[layer]++) {
        return bdpti_fail(ctx, BDPT_E_ARGUMENT,
                          "map: the order of %s layers is not a permutation of 0 to %d",
                          bdpti_type_name(t), c->depth - 1);
      }
    }
  }
  return BDPT_OK;
}

/* The order in which the layers go, from one epoch of training with the scalars on. */
BDPTI_FN bdpt_status bdpti_collect_order(bdpti_study *s, bdpt_map_collect_options *o) {
  int depth = s->model->config.depth, i;
  double mean[2][BDPT_MAX_DEPTH];
  bdpt_recipe r = o->recipe;
  bdpt_status status = bdpti_study_copy(s);
  r.importance = r.epochs = 1;
  bdpti_format(s->detail, sizeof s->detail, "importance of every layer");
  if (status == BDPT_OK) status = bdpti_study_begin(s, &r);
  if (status == BDPT_OK) status = bdpti_study_train(s, s->epoch);
  if (status == BDPT_OK) status = bdpti_study_ready(s);
  if (status != BDPT_OK) return status;
  memset(mean, 0, sizeof mean);
  if (!bdpti_study_knows(s)) bdpt_trainer_importance(s->trainer, mean);
  for (i = 0; i < 2 * depth; i++) bdpti_study_record(s, &mean[i / depth][i % depth]);
  for (i = 0; i < 2; i++) bdpti_rank(mean[i], depth, o->order[i]);
  return BDPT_OK;
}

/* Removes a layer of `type` from s->work and fine-tunes. Step k adds k to the recipe's seed. */
BDPTI_FN bdpt_status bdpti_collect_remove(bdpti_study *s, const bdpt_map_collect_options *o,
                                          int type, int k) {
  int layer = o->order[type][bdpt_removed(&s->work->config, type)];
  bdpt_recipe r = o->recipe;
  bdpt_status status;
  r.seed += (uint64_t)k;
  bdpti_study_end(s);
  bdpti_format(s->detail, sizeof s->detail, "remove %s %d", bdpti_type_name(type), layer);
  status = bdpti_remove(s->work, type, layer);
  if (status == BDPT_OK) status = bdpti_study_begin(s, &r);
  if (status == BDPT_OK) status = bdpti_study_train(s, s->last);
  return status;
}

/* The network of step k, and its point: exact fractions, as chapter 11 wants them. */
BDPTI_FN bdpt_status bdpti_collect_point(bdpti_study *s, const bdpt_map_collect_options *o, int k,
                                         bdpt_map_point *p) {
  const bdpt_config *c = &s->model->config;
  int type = 0, from = k ? bdpti_collect_step(o, k, &type) : BDPTI_FROM_DENSE;
  bdpt_status status = BDPT_OK;
  if (from != BDPTI_FROM_LAST) status = bdpti_study_copy(s);
  if (from == BDPTI_FROM_FIRST && status == BDPT_OK) {
    status = bdpti_collect_remove(s, o, BDPT_ACTIVATION, o->most + 1);
  }
  if (k && status == BDPT_OK) status = bdpti_collect_remove(s, o, type, k);
  if (status != BDPT_OK) return status;
  status = k ? bdpti_study_measure(s, &p->accuracy) : bdpti_study_score(s, &p->accuracy);
  p->attention = (double)(c->depth - bdpt_removed(&s->work->config, 0)) / c->depth;
  p->activation = (double)(c->depth - bdpt_removed(&s->work->config, 1)) / c->depth;
  return status;
}

BDPT_API bdpt_status bdpt_map_collect(const bdpt_model *model, const bdpt_subset *train,
                                      const bdpt_subset *held,
                                      const bdpt_map_collect_options *options,
                                      const bdpt_hooks *hooks, bdpt_map_point *points,
                                      size_t capacity, size_t *count) {
  bdpt_map_collect_options o;
  bdpti_study s;
  size_t all;
  bdpt_status status;
  int i, depth = model->config.depth;
  *count = 0;
  memset(&o, 0, sizeof o);
  if (options) o = *options;
  bdpti_collect_resolve(&o, depth);
  bdpt_recipe_resolve(&o.recipe);
  status = bdpti_collect_check(model->ctx, &model->config, &o);
  if (status != BDPT_OK) return status;
  all = bdpt_map_collect_count(depth, &o);
  if (capacity < all) {
    return bdpti_fail(model->ctx, BDPT_E_ARGUMENT, "map: %zu points, but room for %zu only", all,
                      capacity);
  }
  status = bdpti_study_open(&s, model, hooks, "map", train, held, &o.recipe);
  bdpti_key_add(&s, o.most + 1000 * o.rounds);
  bdpti_key_add(&s, o.sampling + 10 * o.use_order);
  for (i = 0; i < 2 * depth && o.use_order; i++) bdpti_key_add(&s, o.order[i % 2][i / 2]);
  s.span = o.recipe.epochs * s.images + bdpti_held_cost(&s);
  s.total = s.span * (double)(all + (o.sampling == BDPT_SAMPLE_BOTH) - (o.use_order ? 1 : 0));
  if (status == BDPT_OK) status = bdpti_study_load(&s, all + 2 * (size_t)depth, 1);
  if (status == BDPT_OK && !o.use_order) status = bdpti_collect_order(&s, &o);
  while (status == BDPT_OK && *count < all) {
    status = bdpti_collect_point(&s, &o, (int)*count, &points[*count]);
    if (status == BDPT_OK) ++*count;
  }
  bdpti_study_close(&s);
  return status;
}

/* 12.5  Which ones: learning the importance                                               >>search
 *
 *   forward   y = f(x) while the mask of the layer is 1, r(x) after it became 0
 *   backward  dL/dm at the mask is handed to a scalar beside it (straight through); AdamW moves the
 *             scalar like a weight, without decay
 *   schedule  stage 1, remove one, stage 2, remove one, ...; the cosine starts again at each
 *   source    PAPER_NOTES.md, Dual parameters; Pruning order
 *   check     tests/test_method.c: the order; a rigged importance; a resumed search
 *
 * Each layer has two parameters. The mask says whether it is there; nothing learns it. The scalar
 * importance learns and is never used in the forward pass. It starts at 0, and since a step of
 * descent subtracts the gradient of section 12.2, it falls where less of the layer would
 * lower the loss. After a while the smallest scalar of a type belongs to the layer that the network
 * misses least, given the layers that are gone already.
 *
 * That last clause is why removal is progressive. Two layers can each be superfluous because the
 * other does the work. So one layer goes at a time, and the network and the scalars adapt before
 * the next choice, each time longer, because each wound is deeper: 3 epochs, then 5, 7, ...
 *
 * The types take turns, so that neither adapts to a long absence of the other: the type that must
 * give up more layers begins, activation if both give up the same, then strictly in turn until one
 * type is done, and the rest of the other.
 *
 * What the scalars see is the training loss on disturbed images with drop path; what decides in the
 * end is accuracy on clean ones. And two layers whose scalars differ by a few learning rates are
 * not ranked but drawn. The candidates are therefore the caller's to narrow, with a recovery study
 * or with anything else: the importance enters in one function, the choice of the smallest.
 *
 * DEVIATION from the released code, three times. It removes one epoch later than its stage lengths
 * say; we remove when the stage is over. Its first stage trains at the lowest learning rate (and
 * after a bug the whole run does); ours is a cosine like the others. It goes on updating the
 * scalars of removed layers, which nothing reads any more; ours rest.
 */
typedef struct bdpti_search {
  bdpt_search_options o;          /* resolved */
  int events;                     /* layers to remove */
  size_t due[BDPT_MAX_RESTARTS];  /* in epochs from the start */
} bdpti_search;

/* The type whose turn the j-th removal is. */
BDPTI_FN int bdpti_search_turn(const int remove[2], int j) {
  int first = remove[BDPT_ATTENTION] > remove[BDPT_ACTIVATION] ? BDPT_ATTENTION : BDPT_ACTIVATION;
  int fewer = remove[!first];
  return j < 2 * fewer && j % 2 ? !first : first;
}

/* The kept candidate of the type with the smallest importance; the first of equals; -1: none. */
BDPTI_FN int bdpti_search_choose(const bdpt_model *m, const bdpt_search_options *o, int type) {
  int l, best = -1;
  for (l = 0; l < m->config.depth; l++) {
    if (!bdpti_kept(m, type, l) || !o->candidate[type][l]) continue;
    if (best < 0 || *m->importance[type][l].data < *m->importance[type][best].data) best = l;
  }
  return best;
}

/* When the removals are due. The paper's default lengths are 3, 5, 7, ...; a run that is too short
 * for its stages is made long enough. */
BDPTI_FN bdpt_status bdpti_search_stages(bdpti_search *q, bdpt_context *ctx) {
  int j, given = 0;
  size_t epochs = 0;
  for (j = 0; j < q->events; j++) given += q->o.stage[j] != 0;
  for (j = 0; j < q->events; j++) {
    if (!given) q->o.stage[j] = 3 + 2 * j;
    if (q->o.stage[j] < 1 || q->o.stage[j] > 100000) {
      return bdpti_fail(ctx, BDPT_E_ARGUMENT, "search: stage %d has %d epochs", j, q->o.stage[j]);
    }
    epochs += (size_t)q->o.stage[j];
    q->due[j] = epochs;
  }
  if ((size_t)q->o.recipe.epochs < epochs) q->o.recipe.epochs = (int)epochs;
  q->o.recipe.restarts = 0;
  for (j = 0; j < q->events; j++) { /* nothing is left to restart after a removal at the end */
    if (q->due[j] == (size_t)q->o.recipe.epochs) continue;
    q->o.recipe.restart[q->o.recipe.restarts++] = (double)q->due[j];
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_search_resolve(bdpti_search *q, const bdpt_model *m) {
  int t, l, any, kept[2] = {0, 0};
  for (t = 0; t < 2; t++) {
    for (l = any = 0; l < m->config.depth; l++) any |= q->o.candidate[t][l] != 0;
    for (l = 0; l < m->config.depth; l++) {
      if (!any) q->o.candidate[t][l] = 1;
      kept[t] += q->o.candidate[t][l] && bdpti_kept(m, t, l);
    }
    if (q->o.remove[t] < 0 || q->o.remove[t] > kept[t]) {
      return bdpti_fail(m->ctx, BDPT_E_ARGUMENT, "search: %d %s layers to remove, %d candidates",
                        q->o.remove[t], bdpti_type_name(t), kept[t]);
    }
  }
  q->events = q->o.remove[0] + q->o.remove[1];
  if (q->events > BDPT_MAX_RESTARTS) {
    return bdpti_fail(m->ctx, BDPT_E_ARGUMENT, "search: %d layers to remove, at most %d in one run",
                      q->events, BDPT_MAX_RESTARTS);
  }
  q->o.recipe.importance = 1;
  bdpt_recipe_resolve(&q->o.recipe);
  return bdpti_search_stages(q, m->ctx);
}

/* The end of a stage: measure, choose, remove. */
BDPTI_FN bdpt_status bdpti_search_event(bdpti_study *s, const bdpti_search *q,
                                        bdpt_search_result *out) {
  int j = out->removed, type = bdpti_search_turn(q->o.remove, j);
  bdpt_status status = bdpti_study_score(s, &out->accuracy[j]);
  double layer = bdpti_search_choose(s->work, &q->o, type);
  if (status != BDPT_OK) return status;
  bdpti_study_record(s, &layer);
  if (!(layer >= 0 && layer < BDPT_MAX_DEPTH)) {
    return bdpti_fail(s->ctx, BDPT_E_FORMAT, "%s: layer %g", s->path, layer);
  }
  out->type[j] = type;
  out->layer[j] = (int)layer;
  out->removed++;
  s->base += bdpti_held_cost(s);
  bdpti_format(s->detail, sizeof s->detail, "removed %s %d", bdpti_type_name(type), (int)layer);
  return bdpti_remove(s->work, type, (int)layer);
}

/* The whole search is one training whose network loses layers on the way. The removals that a file
 * knows of come first, so that the trainer finds the structure it was saved with. */
BDPTI_FN bdpt_status bdpti_search_run(bdpti_study *s, const bdpti_search *q,
                                      bdpt_search_result *out) {
  bdpt_status status = bdpti_study_copy(s);
  double loss = (double)NAN;
  while (status == BDPT_OK && bdpti_study_knows(s)) status = bdpti_search_event(s, q, out);
  if (status == BDPT_OK) status = bdpti_study_begin(s, &q->o.recipe);
  if (status == BDPT_OK) status = bdpti_study_ready(s);
  while (status == BDPT_OK && bdpt_trainer_steps_done(s->trainer) < s->last) {
    double accuracy = (double)NAN;
    int j = out->removed;
    size_t step;
    status = bdpt_trainer_step(s->trainer, &loss);
    if (status != BDPT_OK) break;
    step = bdpt_trainer_steps_done(s->trainer);
    if (j < q->events && step == q->due[j] * s->epoch) {
      status = bdpti_search_event(s, q, out);
      if (status != BDPT_OK) break;
      accuracy = out->accuracy[j];
    }
    status = bdpti_study_pause(s, loss, accuracy, step == s->last);
  }
  return status;
}

BDPT_API bdpt_status bdpt_search(bdpt_model *model, const bdpt_subset *train,
                                 const bdpt_subset *held, const bdpt_search_options *options,
                                 const bdpt_hooks *hooks, bdpt_search_result *out) {
  int i, depth = model->config.depth;
  bdpti_search q;
  bdpti_study s;
  bdpt_status status;
  memset(&q, 0, sizeof q);
  memset(out, 0, sizeof *out);
  q.o = *options;
  status = bdpti_search_resolve(&q, model);
  if (status != BDPT_OK) return status;
  status = bdpti_study_open(&s, model, hooks, "search", train, held, &q.o.recipe);
  for (i = 0; i < 2; i++) bdpti_key_add(&s, q.o.remove[i]);
  for (i = 0; i < q.events; i++) bdpti_key_add(&s, (double)q.due[i]);
  for (i = 0; i < 2 * depth; i++) bdpti_key_add(&s, q.o.candidate[i % 2][i / 2]);
  s.span = q.o.recipe.epochs * s.images;
  s.total = s.span + q.events * bdpti_held_cost(&s);
  if (status == BDPT_OK) status = bdpti_study_load(&s, (size_t)q.events, 2);
  if (status == BDPT_OK) status = bdpti_search_run(&s, &q, out);
  if (status == BDPT_OK) {
    bdpti_study_end(&s);
    for (i = 0; i < 2 * depth; i++) {
      out->importance[i % 2][i / 2] = (double)*s.work->importance[i % 2][i / 2].data;
    }
    status = bdpt_model_assign(model, s.work);
  }
  bdpti_study_close(&s);
  return status;
}

/* 12.6  Fusing with a certificate                                                     >>certificate
 *
 *   math      difference = max |fused - unfused| / max |unfused| over all logits of all images
 *   bound     1e-5 in float, 1e-12 in double
 *   source    PAPER_NOTES.md, Fusion
 *   check     tests/test_method.c: nothing to fuse, exactness, a disagreement made by hand
 *
 * On paper fusing is exact (chapter 10). In a machine it sums in another order, so logits move in
 * their last digits, and a user who is told "exact" should be able to see the digits. The
 * certificate compares the network before and after on images that selected nothing.
 *
 * An arg-max can turn only if the two logits it hangs between are closer than twice the largest
 * change. So a disagreement is counted as a near tie if, before fusing, the two logits differed by
 * less than twice the bound times the image's largest logit. A disagreement that is no near tie
 * means a fault, not rounding.
 */
#define BDPTI_CONTRAST_BATCH ((size_t)32)
#define BDPTI_FUSE_BOUND (sizeof(bdpt_real) == sizeof(double) ? 1e-12 : 1e-5)

typedef struct bdpti_contrast { double largest, change; size_t agree, near_ties; } bdpti_contrast;

BDPTI_FN void bdpti_contrast_row(bdpti_contrast *c, const bdpt_real *before,
                                 const bdpt_real *after, int classes) {
  double most = 0.0;
  int k, a = 0, b = 0;
  for (k = 0; k < classes; k++) {
    double x = (double)before[k], d = fabs((double)after[k] - x);
    if (fabs(x) > most) most = fabs(x);
    if (d > c->change) c->change = d;
    if (before[k] > before[a]) a = k;
    if (after[k] > after[b]) b = k;
  }
  if (most > c->largest) c->largest = most;
  if (a == b) c->agree++;
  else c->near_ties += (double)before[a] - (double)before[b] < 2 * BDPTI_FUSE_BOUND * most;
}

/* Logits of both networks, batch by batch, from the same images. */
BDPTI_FN bdpt_status bdpti_contrast_run(bdpti_contrast *c, bdpt_model *model, bdpt_model *fused,
                                        const bdpt_subset *data) {
  size_t side = (size_t)model->config.image, classes = (size_t)model->config.classes;
  size_t bytes = 0, first, n, i, before, after;
  bdpt_context *ctx = model->ctx;
  bdpt_tape *tape = bdpt_tape_create(ctx, 0);
  bdpt_real *x;
  bdpt_status status;
  bdpti_carve(&bytes, BDPTI_CONTRAST_BATCH * 3 * side * side, sizeof *x);
  before = bdpti_carve(&bytes, BDPTI_CONTRAST_BATCH * classes, sizeof *x) / sizeof *x;
  after = bdpti_carve(&bytes, BDPTI_CONTRAST_BATCH * classes, sizeof *x) / sizeof *x;
  x = (bdpt_real *)bdpti_alloc(ctx, bytes);
  status = x && tape ? BDPT_OK : ctx->status;
  for (first = 0; first < data->count && status == BDPT_OK; first += n) {
    n = data->count - first < BDPTI_CONTRAST_BATCH ? data->count - first : BDPTI_CONTRAST_BATCH;
    status = bdpt_load_batch(ctx, &model->config, data, first, n, x, NULL);
    if (status == BDPT_OK) status = bdpt_predict(model, tape, n, x, x + before);
    if (status == BDPT_OK) status = bdpt_predict(fused, tape, n, x, x + after);
    for (i = 0; i < n && status == BDPT_OK; i++) {
      bdpti_contrast_row(c, x + before + i * classes, x + after + i * classes, (int)classes);
    }
  }
  bdpti_free(ctx, x, bytes);
  bdpt_tape_free(tape);
  return status;
}

BDPTI_FN int bdpti_fused_count(const bdpt_model *m) {
  int l, n = 0;
  for (l = 0; l < m->config.depth; l++) n += m->config.block[l].mlp_form == BDPT_FUSED;
  return n;
}

BDPT_API bdpt_status bdpt_fuse_certified(bdpt_model *model, const bdpt_subset *data,
                                         bdpt_certificate *out) {
  bdpti_contrast c;
  bdpt_model *fused;
  bdpt_status status;
  memset(out, 0, sizeof *out);
  memset(&c, 0, sizeof c);
  if (!data || data->count == 0) {
    return bdpti_fail(model->ctx, BDPT_E_ARGUMENT, "fuse: a certificate needs images");
  }
  fused = bdpt_model_clone(model);
  status = fused ? bdpt_fuse_all(fused) : model->ctx->status;
  if (status == BDPT_OK) status = bdpti_contrast_run(&c, model, fused, data);
  if (status == BDPT_OK) {
    out->images = data->count;
    out->difference = c.largest > 0 ? c.change / c.largest : c.change;
    out->agree = c.agree;
    out->near_ties = c.near_ties;
    out->fused = bdpti_fused_count(fused) - bdpti_fused_count(model);
    bdpti_format(fused->certificate, sizeof fused->certificate,
                 "%d MLP%s fused: logits differ by %g of the largest (bound %g), arg-max equal on "
                 "%zu of %zu images, %zu near ties", out->fused, out->fused == 1 ? "" : "s",
                 out->difference, BDPTI_FUSE_BOUND, out->agree, out->images, out->near_ties);
    status = bdpt_model_assign(model, fused);
  }
  bdpt_model_free(fused);
  return status;
}

/* 12.7  Recovery with the dense network as teacher                                         >>stage2
 *
 *   math      loss = (1 - a) CE(z, label) + a D(z, teacher's z)              (chapter 9)
 *   source    PAPER_NOTES.md, Stage 2
 *   check     tests/test_method.c: against the same calls made one by one; resumed
 *
 * The search left a network that has seen several rounds of removal. Stage 2 does not continue it.
 * It takes the layers that the search found and removes them from the dense network at once, so
 * that the weights of the kept layers are those of the trained network, and fine-tunes long. The
 * dense network knows the answer to every training image, wrong classes included; a pupil that
 * matches it learns more per image than one that sees labels only.
 *
 * A teacher with recipe.distill = 0 means soft distillation; no teacher, or distill < 0, means
 * labels only. DEVIATION: the released log distils the teacher's arg-max into a distillation token.
 *
 * Both linears of a pruned MLP train until the end, as in the released code, and are fused last.
 * Their product could train as one D x D map from the start, at an eighth of the cost; but two
 * factors of a product do not move as the product would, and the trained pair is where the dense
 * network's knowledge is.
 *
 * Three accuracies are returned: at once, recovered, fused. The last two must be equal, but for
 * near ties, or the fusion is broken. All are measured on the held-out images.
 */
BDPT_API bdpt_status bdpt_stage2(bdpt_model *model, bdpt_model *teacher, const bdpt_subset *train,
                                 const bdpt_subset *held, const bdpt_recipe *recipe,
                                 const bdpt_hooks *hooks, bdpt_epoch *log,
                                 bdpt_stage2_result *out) {
  bdpt_model *work = bdpt_model_clone(model);
  bdpt_recipe r = *recipe;
  char path[BDPTI_PATH];
  bdpt_hooks inner;
  bdpt_status status = work ? BDPT_OK : model->ctx->status;
  memset(out, 0, sizeof *out);
  memset(&inner, 0, sizeof inner);
  if (hooks) inner = *hooks;
  if (r.distill == BDPT_DISTILL_NONE && teacher) r.distill = BDPT_DISTILL_SOFT;
  if (r.distill < 0 || !teacher) r.distill = BDPT_DISTILL_NONE;
  if (status == BDPT_OK) status = bdpti_study_path(model->ctx, hooks, "stage2", path);
  if (inner.checkpoint) inner.checkpoint = path;
  if (status == BDPT_OK) status = bdpt_evaluate(work, held, &out->at_once);
  if (status == BDPT_OK) status = bdpt_train(work, teacher, train, held, &r, &inner, log);
  if (status == BDPT_OK) status = bdpt_evaluate(work, held, &out->recovered);
  if (status == BDPT_OK) status = bdpt_fuse_certified(work, held, &out->certificate);
  if (status == BDPT_OK) status = bdpt_evaluate(work, held, &out->fused);
  if (status == BDPT_OK && teacher && !work->parent[0]) bdpt_model_hash(teacher, work->parent);
  if (status == BDPT_OK) status = bdpt_model_assign(model, work);
  bdpt_model_free(work);
  return status;
}

/* 12.8  Both stages                                                                     >>two-stage
 *
 *   stage 1   measure points, fit the surface, split the budget; search the layers on a copy
 *   stage 2   remove them from the dense network, fine-tune, fuse
 *   source    PAPER_NOTES.md, Method
 *   check     tests/test_method.c: the same as the calls one by one; cancelled anywhere and resumed
 *
 * Every step saves under its own name, so an interrupted run finds the finished steps finished. The
 * single runs of the collection go at least as far as the budget, because a split that nothing near
 * was measured of would be an extrapolation.
 *
 * What it costs, in epochs: 1 for the order of removal, one fine-tune for each of the about
 * 2 most + 2 rounds points, the stages of the search (3 + 5 + 7 + ... for k layers is k (k + 2)),
 * and stage 2, the longest. The paper runs everything but stage 2 on a twelfth of ImageNet.
 *
 * `held` makes every choice here: the surface, the split, the certificate. An accuracy that has
 * chosen something is too good by what the choice picked up from chance, so the accuracy to
 * report comes from images that this function never sees.
 */
BDPTI_FN bdpt_status bdpti_stage1(const bdpt_model *dense, const bdpt_subset *train,
                                  const bdpt_subset *held, const bdpt_two_stage_options *o,
                                  const bdpt_hooks *hooks, bdpt_two_stage_result *out) {
  bdpt_map_collect_options collect = o->collect;
  bdpt_search_options search = o->search;
  int depth = dense->config.depth, budget = o->budget ? o->budget : (depth + 2) / 3;
  bdpt_model *copy;
  bdpt_status status;
  if (collect.most == 0) {
    collect.most = depth / 2 > budget ? depth / 2 : budget;
    if (collect.most > depth) collect.most = depth;
  }
  status = bdpt_map_collect(dense, train, held, &collect, hooks, out->points,
                            sizeof out->points / sizeof *out->points, &out->point_count);
  if (status == BDPT_OK) {
    status = bdpt_map_fit(dense->ctx, out->points, out->point_count, &o->map, &out->map);
  }
  if (status == BDPT_OK) {
    status = bdpt_map_split(dense->ctx, &out->map, depth, budget, &out->attention,
                            &out->activation, &out->predicted);
  }
  if (status != BDPT_OK) return status;
  search.remove[BDPT_ATTENTION] = out->attention;
  search.remove[BDPT_ACTIVATION] = out->activation;
  copy = bdpt_model_clone(dense);
  if (!copy) return dense->ctx->status;
  status = bdpt_search(copy, train, held, &search, hooks, &out->search);
  bdpt_model_free(copy);
  return status;
}

BDPT_API bdpt_status bdpt_two_stage(bdpt_model *model, const bdpt_subset *train,
                                    const bdpt_subset *held,
                                    const bdpt_two_stage_options *options,
                                    const bdpt_hooks *hooks, bdpt_two_stage_result *out) {
  bdpt_model *pupil;
  bdpt_status status;
  int j;
  memset(out, 0, sizeof *out);
  status = bdpti_stage1(model, train, held, options, hooks, out);
  if (status != BDPT_OK) return status;
  pupil = bdpt_model_clone(model);
  if (!pupil) return model->ctx->status;
  for (j = 0; j < out->search.removed && status == BDPT_OK; j++) {
    status = bdpti_remove(pupil, out->search.type[j], out->search.layer[j]);
  }
  if (status == BDPT_OK) {
    status = bdpt_stage2(pupil, model, train, held, &options->finetune, hooks, NULL, &out->stage2);
  }
  if (status == BDPT_OK) status = bdpt_model_assign(model, pupil);
  bdpt_model_free(pupil);
  return status;
}
/* =================================================================================================
 * 11  FILES                                                                                >>files
 * =================================================================================================
 * A network lives in a safetensors file: a table of names, types and shapes in JSON, then the
 * numbers. The format executes nothing and can be read in an afternoon, which is why this library
 * uses no other; and because a file comes from anywhere, the reader below believes none of it.
 *
 * Four rules keep it honest. Every size that comes from a file goes through checked arithmetic.
 * Every count is bounded by bytes that are really there, so that a small file cannot ask for much
 * memory: the tables take at most 2.4 bytes for each byte of the header. Nothing recurses, so deep
 * nesting cannot exhaust the stack. And each rule of the format has its own sentence when a file
 * breaks it, with the tensor and the offset, because "invalid header" helps nobody:
 *
 *     x.safetensors: 'head.bias': data_offsets [0, 4000] reach past the end of the file, which
 *     holds 3072 bytes of data; was it cut off?
 *
 * The chapter goes from the bottom up: JSON (11.1), decimal numbers (11.2), small floating point
 * formats (11.3), the reader (11.4, 11.5), the writer (11.6), whole files (11.7), and last the
 * models (11.8). All but the last section know nothing of networks.
 */

/* 11.1  A pull reader for JSON                                                             >>json
 *
 *   source    RFC 8259 (the grammar), RFC 3629 (UTF-8)
 *   check     tests/test_files.c json
 *
 * The caller asks for one event after another; the reader keeps its place in `at` and one byte for
 * each open bracket, and so needs neither recursion nor memory of its own. {"a":[1,true]} is
 *
 *     OBJECT  KEY a  ARRAY  NUMBER 1  TRUE  ARRAY_END  OBJECT_END  END
 *
 * The grammar is taken strictly: no comments, no trailing commas, no leading zeros, no lone
 * surrogates, no bytes after the value. Outside strings only ASCII can appear, so checking UTF-8
 * inside strings checks all of it.
 *
 * The state says what may come next. The two "first" states exist because [] and {} are legal while
 * [1,] and {"a":1,} are not.
 */
enum {
  BDPTI_JSON_VALUE, BDPTI_JSON_FIRST_ITEM, BDPTI_JSON_FIRST_KEY, BDPTI_JSON_NEXT_KEY,
  BDPTI_JSON_COLON, BDPTI_JSON_AFTER, BDPTI_JSON_FAILED
};

BDPT_API void bdpt_json_init(bdpt_json *j, const char *text, size_t size) {
  memset(j, 0, sizeof *j); /* state 0: a value */
  j->text = text;
  j->size = size;
}

BDPTI_FN bdpt_json_event bdpti_json_fail(bdpt_json *j, const char *phrase) {
  j->state = BDPTI_JSON_FAILED;
  j->error = phrase;
  return BDPT_JSON_ERROR;
}

/* The byte at the reader's place, or -1 at the end; and the same after any blanks. */
BDPTI_FN int bdpti_json_byte(const bdpt_json *j) {
  return j->at < j->size ? (int)(unsigned char)j->text[j->at] : -1;
}

BDPTI_FN int bdpti_json_peek(bdpt_json *j) {
  int c = bdpti_json_byte(j);
  while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
    j->at++;
    c = bdpti_json_byte(j);
  }
  return c;
}

/* Length of the UTF-8 sequence at s, or 0 if there is none: cut off, longer than it need be, half
 * of a surrogate pair, or past the last code point. The first byte gives the length, the bounds of
 * the second express the rest: E0 80 would be overlong, ED A0 a surrogate, F4 90 too large. */
BDPTI_FN size_t bdpti_utf8(const char *s, size_t left) {
  const unsigned char *u = (const unsigned char *)s;
  size_t n = u[0] < 0x80 ? 1 : u[0] < 0xC2 ? 0 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4, i;
  if (n < 2 || n > left || u[0] > 0xF4) return n == 1;
  if (u[1] < (u[0] == 0xE0 ? 0xA0 : u[0] == 0xF0 ? 0x90 : 0x80)) return 0;
  if (u[1] > (u[0] == 0xED ? 0x9F : u[0] == 0xF4 ? 0x8F : 0xBF)) return 0;
  for (i = 2; i < n; i++) {
    if ((u[i] & 0xC0) != 0x80) return 0;
  }
  return n;
}

/* The code unit of an escape \uXXXX, or -1. */
BDPTI_FN long bdpti_json_unit(const char *s, size_t left) {
  static const char hex[] = "0123456789abcdefABCDEF";
  long v = 0;
  int i;
  if (left < 6 || s[0] != '\\' || s[1] != 'u') return -1;
  for (i = 2; i < 6; i++) {
    const char *digit = s[i] ? strchr(hex, s[i]) : NULL;
    if (!digit) return -1;
    v = v * 16 + (digit - hex < 16 ? digit - hex : digit - hex - 6);
  }
  return v;
}

/* One character of a string body, escaped or not, as UTF-8 in out; *used is what it took of the
 * text. Returns the bytes written, or 0 for what JSON does not allow. A character beyond FFFF
 * arrives as two escapes, a high and a low surrogate; one without the other means nothing. */
BDPTI_FN size_t bdpti_json_char(const char *s, size_t left, size_t *used, char out[4]) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  const char *escape;
  long c, low;
  size_t n, i;
  if (s[0] != '\\') {
    *used = n = (unsigned char)s[0] < 0x20 ? 0 : bdpti_utf8(s, left);
    memcpy(out, s, n);
    return n;
  }
  *used = 2;
  escape = left > 1 && s[1] ? strchr(from, s[1]) : NULL;
  if (escape) { out[0] = to[escape - from]; return 1; }
  *used = 6;
  c = bdpti_json_unit(s, left);
  if (c < 0 || (c >= 0xDC00 && c < 0xE000)) return 0;
  if (c >= 0xD800 && c < 0xDC00) {
    *used = 12;
    low = bdpti_json_unit(s + 6, left - 6);
    if (low < 0xDC00 || low >= 0xE000) return 0;
    c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
  }
  n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (i = n; i-- > 1; c >>= 6) out[i] = (char)(unsigned char)(0x80 | (c & 0x3F));
  out[0] = (char)(unsigned char)(lead[n] | c);
  return n;
}

/* Printable ASCII that stands for itself. */
BDPTI_FN int bdpti_json_plain(int c) {
  return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

BDPTI_FN bdpt_json_event bdpti_json_string(bdpt_json *j, bdpt_json_event event) {
  char utf8[4];
  size_t used = 0;
  for (j->start = ++j->at; bdpti_json_byte(j) != '"'; j->at += used) {
    used = 1;
    if (bdpti_json_plain(bdpti_json_byte(j))) continue; /* the usual case, ten times faster */
    if (j->at >= j->size) return bdpti_json_fail(j, "a string is not closed");
    if (!bdpti_json_char(j->text + j->at, j->size - j->at, &used, utf8)) {
      return bdpti_json_fail(j, "a string holds a control character, a bad escape or bad UTF-8");
    }
  }
  j->length = j->at++ - j->start;
  j->state = event == BDPT_JSON_KEY ? BDPTI_JSON_COLON : BDPTI_JSON_AFTER;
  return event;
}

/* Skips digits; how many. */
BDPTI_FN size_t bdpti_json_digits(bdpt_json *j) {
  size_t from = j->at;
  while (bdpti_json_byte(j) >= '0' && bdpti_json_byte(j) <= '9') j->at++;
  return j->at - from;
}

/* The grammar only; bdpt_json_number computes the value when somebody wants it. */
BDPTI_FN bdpt_json_event bdpti_json_scan_number(bdpt_json *j) {
  size_t n, from;
  j->start = j->at;
  if (bdpti_json_byte(j) == '-') j->at++;
  from = j->at;
  n = bdpti_json_digits(j);
  if (n == 0) return bdpti_json_fail(j, "a digit is missing");
  if (n > 1 && j->text[from] == '0') return bdpti_json_fail(j, "a number starts with a zero");
  if (bdpti_json_byte(j) == '.') {
    j->at++;
    if (!bdpti_json_digits(j)) return bdpti_json_fail(j, "a digit is missing after the point");
  }
  if (bdpti_json_byte(j) == 'e' || bdpti_json_byte(j) == 'E') {
    j->at++;
    if (bdpti_json_byte(j) == '+' || bdpti_json_byte(j) == '-') j->at++;
    if (!bdpti_json_digits(j)) return bdpti_json_fail(j, "a digit is missing in the exponent");
  }
  j->length = j->at - j->start;
  j->state = BDPTI_JSON_AFTER;
  return BDPT_JSON_NUMBER;
}

BDPTI_FN bdpt_json_event bdpti_json_value(bdpt_json *j, int c) {
  static const char *const word[3] = {"true", "false", "null"};
  int i;
  if (c == '"') return bdpti_json_string(j, BDPT_JSON_STRING);
  if (c == '-' || (c >= '0' && c <= '9')) return bdpti_json_scan_number(j);
  if (c == '{' || c == '[') {
    if (j->depth == BDPT_JSON_DEPTH) return bdpti_json_fail(j, "nested deeper than 64 levels");
    j->stack[j->depth++] = (unsigned char)c;
    j->at++;
    j->state = c == '{' ? BDPTI_JSON_FIRST_KEY : BDPTI_JSON_FIRST_ITEM;
    return c == '{' ? BDPT_JSON_OBJECT : BDPT_JSON_ARRAY;
  }
  for (i = 0; i < 3; i++) {
    size_t n = strlen(word[i]);
    if (j->size - j->at < n || memcmp(j->text + j->at, word[i], n) != 0) continue;
    j->at += n;
    j->state = BDPTI_JSON_AFTER;
    return (bdpt_json_event)(BDPT_JSON_TRUE + i);
  }
  return bdpti_json_fail(j, "a value is missing");
}

BDPTI_FN bdpt_json_event bdpti_json_close(bdpt_json *j) {
  j->at++;
  j->state = BDPTI_JSON_AFTER;
  return j->stack[--j->depth] == '{' ? BDPT_JSON_OBJECT_END : BDPT_JSON_ARRAY_END;
}

/* In ASCII the brackets ] and } stand two places after [ and {. */
BDPT_API bdpt_json_event bdpt_json_next(bdpt_json *j) {
  int c, inside = j->depth ? j->stack[j->depth - 1] : 0;
  if (j->state == BDPTI_JSON_FAILED) return BDPT_JSON_ERROR;
  c = bdpti_json_peek(j);
  if (j->state == BDPTI_JSON_AFTER && !inside) {
    return c < 0 ? BDPT_JSON_END : bdpti_json_fail(j, "bytes follow the value");
  }
  if (j->state >= BDPTI_JSON_FIRST_ITEM && c == inside + 2 && j->state != BDPTI_JSON_COLON &&
      j->state != BDPTI_JSON_NEXT_KEY) return bdpti_json_close(j);
  if (j->state == BDPTI_JSON_AFTER || j->state == BDPTI_JSON_COLON) {
    int wanted = j->state == BDPTI_JSON_COLON ? ':' : ',';
    if (c != wanted) return bdpti_json_fail(j, "a colon, a comma or a bracket is missing");
    j->at++;
    c = bdpti_json_peek(j);
    j->state = wanted == ',' && inside == '{' ? BDPTI_JSON_NEXT_KEY : BDPTI_JSON_VALUE;
  }
  if (j->state != BDPTI_JSON_FIRST_KEY && j->state != BDPTI_JSON_NEXT_KEY) {
    return bdpti_json_value(j, c);
  }
  return c == '"' ? bdpti_json_string(j, BDPT_JSON_KEY) : bdpti_json_fail(j, "a key is missing");
}

BDPT_API size_t bdpt_json_copy(const bdpt_json *j, char *out, size_t room) {
  size_t at, full = 0, used = 0, n, i;
  char utf8[4];
  for (at = 0; at < j->length; at += used) {
    utf8[0] = j->text[j->start + at];
    n = used = 1;
    if (!bdpti_json_plain((int)(unsigned char)utf8[0])) {
      n = bdpti_json_char(j->text + j->start + at, j->length - at, &used, utf8);
    }
    if (n == 0) break; /* not after a key or a string */
    for (i = 0; i < n; i++, full++) {
      if (full + 1 < room) out[full] = utf8[i];
    }
  }
  if (room > 0) out[full < room ? full : room - 1] = 0;
  return full;
}

BDPTI_FN int bdpti_json_is(const bdpt_json *j, const char *word) {
  char text[40];
  size_t n = strlen(word);
  if (j->length == n && memcmp(j->text + j->start, word, n) == 0) return 1;
  if (!memchr(j->text + j->start, '\\', j->length)) return 0;
  return bdpt_json_copy(j, text, sizeof text) < sizeof text && strcmp(text, word) == 0;
}

/* The last number as a size: digits only, and no larger than size_t holds. A double would round
 * 2^53 + 1, and offsets must not be rounded. */
BDPTI_FN int bdpti_json_size(const bdpt_json *j, size_t *out) {
  size_t i, v = 0;
  for (i = 0; i < j->length; i++) {
    char c = j->text[j->start + i];
    if (c < '0' || c > '9') return 0;
    if (!bdpti_mul(v, 10, &v) || !bdpti_add(v, (size_t)(c - '0'), &v)) return 0;
  }
  *out = v;
  return 1;
}

/* Reads to the end of the next value, whatever it is; 0 after an error. */
BDPTI_FN int bdpti_json_skip(bdpt_json *j) {
  int depth = j->depth;
  bdpt_json_event e = bdpt_json_next(j);
  while (e != BDPT_JSON_ERROR && j->depth > depth) e = bdpt_json_next(j);
  return e != BDPT_JSON_ERROR;
}

/* 11.2  Decimal numbers                                                                 >>decimal
 *
 *   math      reading: m * 10^e, m a whole number of up to 19 digits; writing: the inverse
 *             two-product: p = a b rounded, r = fma(a, b, -p), so that p + r = a b exactly
 *   source    Dekker 1971 (numbers as unevaluated sums of two doubles)
 *   check     tests/test_files.c decimal: strtod's bits for random numbers of all magnitudes
 *
 * A configuration holds a few real numbers (eps = 1e-6, image statistics) that must come back with
 * the same bits on every machine. printf and strtod follow the locale: under a German one they
 * write and expect 1,5. A hexadecimal float beside the decimal would be exact, but nobody could
 * read it.
 *
 * So a number is scaled by powers of ten as the sum of two doubles, which carries about 105 bits,
 * and is rounded once at the end. The nearest double follows unless the decimal lies within a part
 * in 10^30 of the middle between two doubles. The writer tries 1, 2, ... digits until its own
 * reader gives the same bits back; 17 do. Only below 2.2e-308, where doubles lose bits, may the
 * last one differ.
 */
typedef struct bdpti_pair { double high, low; } bdpti_pair; /* high + low, low far smaller */

/* x * 10^e, in steps of 10^22, the largest power of ten that is a double. */
BDPTI_FN bdpti_pair bdpti_scale10(bdpti_pair x, int e) {
  while (e != 0) {
    int n = e > 22 || e < -22 ? 22 : e < 0 ? -e : e, i;
    double ten = 1, p, r;
    for (i = 0; i < n; i++) ten *= 10;
    p = e > 0 ? x.high * ten : x.high / ten;
    r = e > 0 ? fma(x.high, ten, -p) + x.low * ten : (fma(-p, ten, x.high) + x.low) / ten;
    if (p - p != 0) r = 0; /* an infinity has no rest */
    x.high = p + r;
    x.low = p - p == 0 ? r - (x.high - p) : 0;
    e += e > 0 ? -n : n;
  }
  return x;
}

/* A 64-bit whole number times 2^shift. Its halves are exact, and so is the rest of their sum. */
BDPTI_FN bdpti_pair bdpti_pair_of(uint64_t m, int shift) {
  double a = (double)(m >> 32) * 4294967296.0, b = (double)(m & 0xFFFFFFFFu);
  bdpti_pair x;
  x.high = ldexp(a + b, shift);
  x.low = ldexp(b - (a + b - a), shift);
  return x;
}

/* The text has passed the grammar of 11.1. Digits after the 19th only move the point. The factor
 * 2^80 keeps both parts of the sum away from the ends of the range. */
BDPTI_FN double bdpti_read_double(const char *s, size_t n) {
  uint64_t m = 0;
  long e = 0, shift = 0;
  int point = 0, digits = 0, negative;
  size_t i;
  bdpti_pair x;
  for (i = 0; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
    if (s[i] == '.') point = 1;
    if (s[i] < '0' || s[i] > '9') continue;
    if (digits < 19) m = 10 * m + (uint64_t)(s[i] - '0');
    if (m > 0) digits++;
    shift += (digits > 19) - point;
  }
  negative = i + 1 < n && s[i + 1] == '-';
  for (; i < n; i++) {
    if (s[i] >= '0' && s[i] <= '9' && e < 100000000) e = 10 * e + (s[i] - '0');
  }
  e = shift + (negative ? -e : e);
  e = m == 0 ? 0 : e > 400 ? 400 : e < -400 ? -400 : e;
  x = bdpti_scale10(bdpti_pair_of(m, e > 0 ? -80 : 80), (int)e);
  return (s[0] == '-' ? -1.0 : 1.0) * ldexp(x.high + x.low, e > 0 ? 80 : -80);
}

BDPT_API double bdpt_json_number(const bdpt_json *j) {
  return bdpti_read_double(j->text + j->start, j->length);
}

/* 0.d1d2d3... * 10^point from `count` digits, in plain notation where that is short: 0.0001, 224,
 * 1e-6. */
BDPTI_FN void bdpti_put_digits(bdpti_text *t, uint64_t digits, int count, int point) {
  int i, plain = point > -4 && point < 17, before = plain ? point : 1;
  char digit[20];
  for (i = count; i-- > 0; digits /= 10) digit[i] = (char)('0' + (int)(digits % 10));
  if (before <= 0) bdpti_put_string(t, "0.");
  for (i = before; i < 0; i++) bdpti_put(t, '0');
  for (i = 0; i < count || i < before; i++) {
    if (i == before && i > 0) bdpti_put(t, '.');
    bdpti_put(t, i < count ? digit[i] : '0');
  }
  if (plain) return;
  bdpti_put_string(t, point <= 0 ? "e-" : "e");
  bdpti_put_size(t, (size_t)(point <= 0 ? 1 - point : point - 1));
}

/* The shortest decimal that reads back as v. Not finite: null, which is all that JSON has. */
BDPTI_FN void bdpti_put_double(bdpti_text *t, double v) {
  static const uint64_t limit = UINT64_C(100000000000000000); /* 10^17 */
  uint64_t all, unit = limit;
  int point, keep;
  bdpti_pair x;
  char text[48];
  bdpti_text trial;
  if (v - v != 0) { bdpti_put_string(t, "null"); return; }
  if (v < 0 || (v == 0 && 1 / v < 0)) { bdpti_put(t, '-'); v = -v; }
  if (v == 0) { bdpti_put(t, '0'); return; }
  point = (int)floor(log10(v)) + 1;
  x.high = v;
  x.low = 0;
  x = bdpti_scale10(x, 17 - point); /* 17 digits, or 18 where log10 came out low */
  all = (uint64_t)x.high + (uint64_t)(int64_t)floor(x.low + 0.5);
  if (all >= limit) { all = (all + 5) / 10; point++; }
  for (keep = 1; keep <= 17; keep++) {
    unit /= 10;
    trial.out = text; trial.room = sizeof text; trial.used = 0;
    if (all + unit / 2 >= limit) bdpti_put_digits(&trial, 1, 1, point + 1); /* 9.99 became 10.0 */
    else bdpti_put_digits(&trial, (all + unit / 2) / unit, keep, point);
    text[trial.used] = 0;
    if (bdpti_read_double(text, trial.used) == v) break;
  }
  bdpti_put_string(t, text);
}

/* 11.3  Numbers as bytes                                                                   >>half
 *
 *             sign  exponent  fraction   largest    smallest > 0
 *   F64         1      11        52      1.8e308      4.9e-324
 *   F32         1       8        23      3.4e38       1.4e-45
 *   BF16        1       8         7      3.4e38       9.2e-41      the upper half of an F32
 *   F16         1       5        10      65504        6.0e-8
 *
 *   math      exponent field e, bias B: (-1)^sign 2^(e-B) 1.fraction; e = 0: 2^(1-B) 0.fraction;
 *             e all ones: infinity, or NaN when the fraction is not 0
 *   source    IEEE 754-2008, 3.4; rounding to nearest, ties to even, 4.3.1
 *   check     tests/test_files.c half: every F16 and BF16 pattern, and PyTorch's conversions
 *
 * All formats of the file are little-endian whatever the machine is, so bytes are assembled by
 * shifts, and nothing is assumed about alignment. One pair of functions serves the four formats:
 * they differ only in two field widths. Packing starts from double, also when bdpt_real is float,
 * because going through float would round twice: 1 + 2^-8 + 2^-40 as BF16 is 1 + 2^-7, but rounded
 * to float first it becomes 1 + 2^-8, a tie, and then 1.
 */
BDPTI_FN uint64_t bdpti_get_bytes(const unsigned char *p, int n) {
  uint64_t v = 0;
  while (n-- > 0) v = v << 8 | p[n];
  return v;
}

BDPTI_FN void bdpti_put_bytes(unsigned char *p, int n, uint64_t v) {
  int i;
  for (i = 0; i < n; i++, v >>= 8) p[i] = (unsigned char)(v & 0xFF);
}

/* Below the smallest normal number the exponent field is 0, and the implicit bit becomes explicit
 * and is shifted down with the rest. A carry out of the fraction raises the exponent by itself,
 * which is right, and from the largest number it gives infinity, which is right too. */
BDPTI_FN uint64_t bdpti_pack(double v, int exponent_bits, int fraction_bits) {
  uint64_t bits, m, sign, low, half, q, infinity;
  int x, drop = 52 - fraction_bits;
  memcpy(&bits, &v, sizeof bits);
  if (drop == 0) return bits;
  sign = bits >> 63 << (exponent_bits + fraction_bits);
  infinity = (((uint64_t)1 << exponent_bits) - 1) << fraction_bits;
  m = bits & ((UINT64_C(1) << 52) - 1);
  x = (int)(bits >> 52 & 0x7FF) - 1023 + (1 << (exponent_bits - 1)) - 1;
  if (v != v) return sign | infinity | UINT64_C(1) << (fraction_bits - 1) | m >> drop; /* quiet */
  if (x < 1) { /* double's own subnormals have no implicit bit, but they all round to 0 here */
    m |= UINT64_C(1) << 52;
    drop += 1 - x;
    x = 0;
  }
  if (drop > 54) return sign;
  half = UINT64_C(1) << (drop - 1);
  low = m & (half + half - 1);
  q = ((uint64_t)x << fraction_bits) + (m >> drop);
  if (low > half || (low == half && (q & 1))) q++;
  return sign | (q < infinity ? q : infinity);
}

BDPTI_FN double bdpti_unpack(uint64_t bits, int exponent_bits, int fraction_bits) {
  uint64_t m = bits & (((uint64_t)1 << fraction_bits) - 1), out;
  int top = (1 << exponent_bits) - 1, bias = top >> 1, e = (int)(bits >> fraction_bits) & top;
  uint64_t sign = bits >> (exponent_bits + fraction_bits) << 63;
  double v, scale = 1;
  if (e == top) e = 0x7FF;
  else if (e > 0) e += 1023 - bias;
  else { /* subnormal: m * 2^(1 - bias - fraction_bits), exact in double */
    e = 1 - bias - fraction_bits + 1023;
    scale = (double)m;
    m = 0;
  }
  out = sign | (uint64_t)e << 52 | m << (52 - fraction_bits);
  memcpy(&v, fraction_bits == 52 ? &bits : &out, sizeof v);
  return fraction_bits == 52 ? v : v * scale;
}

/* The dtypes of the format, in the order of their alignment, which is the reference's order of
 * tensors in a file, last first. Those without field widths are listed and sized but not read. */
typedef struct bdpti_dtype { const char *name; int bits, dtype, exponent, fraction; } bdpti_dtype;
static const bdpti_dtype bdpti_dtypes[] = {
  {"BOOL", 8, BDPT_OTHER, 0, 0}, {"F4", 4, BDPT_OTHER, 0, 0}, {"F6_E2M3", 6, BDPT_OTHER, 0, 0},
  {"F6_E3M2", 6, BDPT_OTHER, 0, 0}, {"U8", 8, BDPT_U8, 0, 0}, {"I8", 8, BDPT_OTHER, 0, 0},
  {"F8_E5M2", 8, BDPT_OTHER, 0, 0}, {"F8_E4M3", 8, BDPT_OTHER, 0, 0},
  {"F8_E8M0", 8, BDPT_OTHER, 0, 0}, {"F8_E4M3FNUZ", 8, BDPT_OTHER, 0, 0},
  {"F8_E5M2FNUZ", 8, BDPT_OTHER, 0, 0}, {"I16", 16, BDPT_OTHER, 0, 0},
  {"U16", 16, BDPT_OTHER, 0, 0}, {"F16", 16, BDPT_F16, 5, 10}, {"BF16", 16, BDPT_BF16, 8, 7},
  {"I32", 32, BDPT_OTHER, 0, 0}, {"U32", 32, BDPT_OTHER, 0, 0}, {"F32", 32, BDPT_F32, 8, 23},
  {"C64", 64, BDPT_OTHER, 0, 0}, {"F64", 64, BDPT_F64, 11, 52}, {"I64", 64, BDPT_I64, 0, 0},
  {"U64", 64, BDPT_OTHER, 0, 0}
};
#define BDPTI_COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

/* The row of a bdpt_dtype, or -1. */
BDPTI_FN int bdpti_dtype_row(int dtype) {
  int i = BDPTI_COUNT(bdpti_dtypes) - 1;
  while (i >= 0 && (bdpti_dtypes[i].dtype != dtype || dtype == BDPT_OTHER)) i--;
  return i;
}

/* Where bdpt_real has the format of the file, its bits are copied, so that even the payload of a
 * NaN survives. Narrowing a double beyond float's range is undefined in C, so rounding to float
 * goes through the fields. */
BDPTI_FN void bdpti_decode(const bdpti_dtype *type, const unsigned char *p, bdpt_real *out) {
  uint64_t bits = bdpti_get_bytes(p, type->bits / 8);
  int64_t whole;
  uint32_t narrow;
  memcpy(&whole, &bits, sizeof whole);
  if (!type->fraction) {
    *out = type->dtype == BDPT_I64 ? (bdpt_real)whole : (bdpt_real)bits;
  } else if (sizeof(bdpt_real) == sizeof narrow) {
    double wide = type->bits == 32 ? 0 : bdpti_unpack(bits, type->exponent, type->fraction);
    narrow = type->bits == 32 ? (uint32_t)bits : (uint32_t)bdpti_pack(wide, 8, 23);
    memcpy(out, &narrow, sizeof narrow);
  } else {
    *out = (bdpt_real)bdpti_unpack(bits, type->exponent, type->fraction);
  }
}

BDPTI_FN void bdpti_encode(const bdpti_dtype *type, bdpt_real v, unsigned char *p) {
  uint32_t narrow;
  uint64_t bits;
  memcpy(&narrow, &v, sizeof narrow);
  bits = type->bits == 32 && sizeof v == sizeof narrow
             ? narrow : bdpti_pack((double)v, type->exponent, type->fraction);
  bdpti_put_bytes(p, type->bits / 8, bits);
}

/* 11.4  Reading safetensors                                                         >>safetensors
 *
 *   byte 0         8                             8 + N                          end of file
 *        +---------+-----------------------------+------------------------------+
 *        | N, u64  | JSON, UTF-8, N bytes        | numbers, back to back        |
 *        | little- | {"__metadata__":{"k":"v"},  | 0          24         32     |
 *        | endian  |  "a":{"dtype":"F32",        | +-----------+----------+     |
 *        |         |   "shape":[2,3],            | | a         | b        | ... |
 *        |         |   "data_offsets":[0,24]},   | +-----------+----------+     |
 *        |         |  "b": ...}   and spaces     | row-major, little-endian     |
 *        +---------+-----------------------------+------------------------------+
 *
 * One number alone, an F32 that is 1, makes a file of 68 bytes; in full:
 *
 *     38 00 00 00 00 00 00 00                                      N = 56
 *     {"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}        and three spaces
 *     00 00 80 3f                                                  1.0
 *
 *   source    github.com/huggingface/safetensors, README and safetensors/src/tensor.rs
 *   check     tests/test_files.c: a file or more for each rule, their verdicts compared with the
 *             reference's; every file cut off after every byte and changed in every bit
 *
 * The rules, each with an error of its own: N fits into the file and is at most 100,000,000; the
 * header is one JSON object; a tensor has exactly a known dtype, a shape of whole numbers, two
 * offsets; elements and bits do not overflow; elements narrower than a byte fill whole bytes; the
 * offsets enclose exactly that many bytes; the tensors cover the numbers without hole, overlap or
 * tail, so that nothing can hide in the file; metadata are strings.
 *
 * None of them is pedantry. What readers of model files got wrong in recent years, and the rule
 * that answers it here:
 *
 *   a count times a size wraps around, 4 MB stand for exabytes     checked products, in elements
 *     (ggml, CVE-2026-33298)                                       and in bits, before any use
 *   a sum of sizes wraps (llama.cpp, CVE-2025-53630)               offsets are given, not summed;
 *                                                                  each end lies inside the file
 *   a shape larger than its bytes, so that the heap behind         the shape must fill the offsets
 *     the file is read (Ollama, CVE-2026-7482)                     to the byte
 *   an array indexed by an axis count from the file (vit.cpp)      at most 16 axes, counted
 *   recursion as deep as the JSON is nested (csafetensors)         a pull reader, 64 levels
 *   the error path frees what was never set (CVE-2024-32878)       one block, one owner, zeroed
 *   a second reading of the same bytes: overlaps, duplicate        exact cover, names once
 *     names, a zip archive behind the last tensor
 *
 * Where the reference's code and its README differ, we follow the code: blanks may stand before the
 * opening bracket as well as after the closing one, and unknown fields of a tensor are skipped.
 *
 * DEVIATION from the code, four times, towards the README or towards C. A name or a metadata key
 * that occurs twice is refused; the reference keeps one of them without a word. A tensor written as
 * an array of its three fields is refused; the reference's JSON library happens to take it. A zero
 * byte inside a string is refused, since the rest of the name would be invisible to C. More than 16
 * axes are refused: a shape costs 8 bytes for each axis, and 2 bytes of header can write one.
 *
 * The header is walked twice with the same code. The first walk checks it and counts; then one
 * block is allocated, exactly as large as needed; the second walk fills it. Sorting by name and by
 * offset finds duplicates and holes in n log n steps, so ten megabytes of hostile header are
 * refused in a fraction of a second.
 */

/* Where in which file we are, for messages. A name from a file may hold anything, escape sequences
 * of a terminal included, and may be longer than a message, so what is shown of it is made safe. */
typedef struct bdpti_place {
  bdpt_context *ctx;
  const char *file;
  bdpt_status status;    /* of what goes wrong here */
  char shown[72];        /* the tensor or key in question, or "" */
} bdpti_place;

BDPTI_FN bdpti_place bdpti_here(bdpt_context *ctx, const char *file, bdpt_status status) {
  bdpti_place place;
  memset(&place, 0, sizeof place);
  place.ctx = ctx;
  place.file = file ? file : "memory";
  place.status = status;
  return place;
}

/* A name without control characters, cut after 60 bytes, though not inside a character. */
BDPTI_FN void bdpti_show(const char *name, char out[72]) {
  size_t i, n = 0, step;
  for (i = 0; name[i] && n < 60; i += step) {
    for (step = 1; step < 4 && ((unsigned char)name[i + step] & 0xC0) == 0x80; step++) { }
    memcpy(out + n, name + i, step);
    if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F) out[n] = '?';
    n += step;
  }
  memcpy(out + n, name[i] ? "..." : "", name[i] ? 4 : 1);
}

/* "file: 'shown': sentence". */
BDPTI_PRINTF(2, 3)
BDPTI_FN bdpt_status bdpti_bad(const bdpti_place *at, const char *format, ...) {
  char sentence[300];
  va_list args;
  bdpti_text t;
  t.out = sentence; t.room = sizeof sentence; t.used = 0;
  va_start(args, format);
  bdpti_format_list(&t, format, args);
  va_end(args);
  return bdpti_fail(at->ctx, at->status, "%s: %s%s%s%s", at->file, at->shown[0] ? "'" : "",
                    at->shown, at->shown[0] ? "': " : "", sentence);
}

typedef struct bdpti_header { /* one walk over a header */
  bdpti_place place;
  bdpt_json json;
  bdpt_safetensors *out;
  const unsigned char *data; /* the numbers */
  size_t data_bytes;
  int fill;              /* 0: the walk that counts; 1: the walk that fills */
  size_t tensors, pairs, axes, text; /* counted so far, or filled so far */
  size_t *axis;          /* where shapes go */
  char *string;          /* where names go */
} bdpti_header;

typedef struct bdpti_entry { /* what one tensor's entry says */
  int row, ndim, ends;   /* row of bdpti_dtypes; number of axes, of offsets */
  size_t shape[BDPT_FILE_AXES], offset[2], count;
} bdpti_entry;

/* 11.4.1  The walk
 *
 * The header is a grammar, and the functions follow it from the inside out: a string, an array of
 * whole numbers, a dtype, an entry, the metadata, the whole. Each returns the status of the first
 * thing that is not as it must be and leaves the sentence in the context; nobody looks back.
 */

/* Passes if the event is the wanted one; else says what stands there instead. */
BDPTI_FN bdpt_status bdpti_want(bdpti_header *h, bdpt_json_event got, bdpt_json_event want,
                                const char *what) {
  if (got == want) return BDPT_OK;
  if (got != BDPT_JSON_ERROR) {
    return bdpti_bad(&h->place, "%s expected, before byte %zu", what, 8 + h->json.at);
  }
  return bdpti_bad(&h->place, "the header is not valid JSON: %s, at byte %zu", h->json.error,
                   8 + h->json.at);
}

/* The next event must be this one. */
BDPTI_FN bdpt_status bdpti_expect(bdpti_header *h, bdpt_json_event want, const char *what) {
  return bdpti_want(h, bdpt_json_next(&h->json), want, what);
}

/* Keeps the last key or string. In the counting walk only its length matters. */
BDPTI_FN bdpt_status bdpti_keep(bdpti_header *h, const char **where) {
  size_t n = bdpt_json_copy(&h->json, NULL, 0);
  char *copy = h->fill ? h->string + h->text : NULL;
  h->text += n + 1; /* at most the length of the header */
  if (!copy) return BDPT_OK;
  bdpt_json_copy(&h->json, copy, n + 1);
  *where = copy;
  if (strlen(copy) == n) return BDPT_OK;
  return bdpti_bad(&h->place, "a string holds a zero byte, at byte %zu", 8 + h->json.start);
}

/* [n, n, ...] of at most `room` whole numbers. */
BDPTI_FN bdpt_status bdpti_whole_numbers(bdpti_header *h, const char *field, size_t *out, int room,
                                         int *count) {
  bdpt_json_event e = bdpt_json_next(&h->json);
  bdpt_status s = bdpti_want(h, e, BDPT_JSON_ARRAY, "an array of numbers");
  for (*count = 0; !s && (e = bdpt_json_next(&h->json)) != BDPT_JSON_ARRAY_END; ++*count) {
    s = bdpti_want(h, e, BDPT_JSON_NUMBER, "a whole number");
    if (!s && *count == room) {
      s = bdpti_bad(&h->place, "%s has more than %d numbers", field, room);
    }
    if (!s && !bdpti_json_size(&h->json, &out[*count])) {
      s = bdpti_bad(&h->place, "%s holds something other than a whole number from 0 to %zu, at "
                    "byte %zu", field, SIZE_MAX, 8 + h->json.start);
    }
  }
  return s;
}

BDPTI_FN bdpt_status bdpti_read_dtype(bdpti_header *h, bdpti_entry *t) {
  char text[40], shown[72];
  bdpt_status s = bdpti_expect(h, BDPT_JSON_STRING, "the name of a dtype");
  if (s) return s;
  for (t->row = 0; t->row < BDPTI_COUNT(bdpti_dtypes); t->row++) {
    if (bdpti_json_is(&h->json, bdpti_dtypes[t->row].name)) return BDPT_OK;
  }
  bdpt_json_copy(&h->json, text, sizeof text);
  bdpti_show(text, shown);
  return bdpti_bad(&h->place, "unknown dtype '%s', at byte %zu", shown, 8 + h->json.start);
}

/* Reads the fields of one tensor: {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}. */
BDPTI_FN bdpt_status bdpti_read_entry(bdpti_header *h, bdpti_entry *t) {
  static const char *const field[3] = {"dtype", "shape", "data_offsets"};
  bdpt_json_event e;
  int i, seen[4] = {0, 0, 0, 0};
  bdpt_status s = bdpti_expect(h, BDPT_JSON_OBJECT, "{dtype, shape, data_offsets}");
  memset(t, 0, sizeof *t);
  while (!s && (e = bdpt_json_next(&h->json)) != BDPT_JSON_OBJECT_END) {
    s = bdpti_want(h, e, BDPT_JSON_KEY, "a field");
    if (s) return s;
    for (i = 0; i < 3 && !bdpti_json_is(&h->json, field[i]); i++) { }
    if (i < 3 && seen[i]++) {
      return bdpti_bad(&h->place, "%s occurs twice, at byte %zu", field[i], 8 + h->json.start);
    }
    if (i == 0) s = bdpti_read_dtype(h, t);
    else if (i == 1) s = bdpti_whole_numbers(h, field[1], t->shape, BDPT_FILE_AXES, &t->ndim);
    else if (i == 2) s = bdpti_whole_numbers(h, field[2], t->offset, 2, &t->ends);
    else if (!bdpti_json_skip(&h->json)) s = bdpti_want(h, BDPT_JSON_ERROR, BDPT_JSON_END, "");
  }
  for (i = 0; i < 3 && !s; i++) {
    if (!seen[i]) s = bdpti_bad(&h->place, "%s is missing", field[i]);
  }
  if (s || t->ends == 2) return s;
  return bdpti_bad(&h->place, "data_offsets must be two numbers");
}

/* The rules that one tensor can break alone. */
BDPTI_FN bdpt_status bdpti_check_entry(bdpti_header *h, bdpti_entry *t) {
  const bdpti_dtype *type = &bdpti_dtypes[t->row];
  size_t from = t->offset[0], to = t->offset[1], bits = 0;
  int i, fits = 1;
  for (i = 0, t->count = 1; i < t->ndim && fits; i++) {
    fits = bdpti_mul(t->count, t->shape[i], &t->count);
  }
  if (!fits || !bdpti_mul(t->count, (size_t)type->bits, &bits)) {
    return bdpti_bad(&h->place, "its shape overflows: the elements, or their bits, are more than "
                     "%zu", SIZE_MAX);
  }
  if (bits % 8) {
    return bdpti_bad(&h->place, "%zu elements of %s do not end on a byte", t->count, type->name);
  }
  if (to < from) {
    return bdpti_bad(&h->place, "data_offsets [%zu, %zu] end before they begin", from, to);
  }
  if (to - from != bits / 8) {
    return bdpti_bad(&h->place, "its shape and dtype %s need %zu bytes, data_offsets [%zu, %zu] "
                     "enclose %zu", type->name, bits / 8, from, to, to - from);
  }
  if (to <= h->data_bytes) return BDPT_OK;
  return bdpti_bad(&h->place, "data_offsets [%zu, %zu] reach past the end of the file, which holds "
                   "%zu bytes of data; was it cut off?", from, to, h->data_bytes);
}

BDPTI_FN bdpt_status bdpti_walk_tensor(bdpti_header *h) {
  bdpti_entry t;
  const char *name = NULL;
  bdpt_file_tensor *to;
  bdpt_status s = bdpti_keep(h, &name);
  if (!s) s = bdpti_read_entry(h, &t);
  if (!s) s = bdpti_check_entry(h, &t);
  if (!s && h->fill) {
    to = &h->out->tensor[h->tensors];
    to->name = name;
    to->dtype_name = bdpti_dtypes[t.row].name;
    to->dtype = bdpti_dtypes[t.row].dtype;
    to->ndim = t.ndim;
    to->shape = h->axis + h->axes;
    to->count = t.count;
    to->bytes = h->data + t.offset[0];
    to->size = t.offset[1] - t.offset[0];
    memcpy(h->axis + h->axes, t.shape, (size_t)t.ndim * sizeof *t.shape);
  }
  h->tensors++;
  if (!s) h->axes += (size_t)t.ndim; /* each was written with two bytes of header or more */
  return s;
}

/* {"key":"value", ...}, or null, which the reference takes for nothing. */
BDPTI_FN bdpt_status bdpti_walk_metadata(bdpti_header *h) {
  bdpt_json_event e = bdpt_json_next(&h->json);
  bdpt_status s = BDPT_OK;
  const char *unused = NULL;
  if (e != BDPT_JSON_NULL) s = bdpti_want(h, e, BDPT_JSON_OBJECT, "an object of strings");
  while (!s && e != BDPT_JSON_NULL && (e = bdpt_json_next(&h->json)) != BDPT_JSON_OBJECT_END) {
    s = bdpti_want(h, e, BDPT_JSON_KEY, "a key");
    if (!s) s = bdpti_keep(h, h->fill ? &h->out->key[h->pairs] : &unused);
    if (!s) s = bdpti_expect(h, BDPT_JSON_STRING, "a string (metadata holds nothing else)");
    if (!s) s = bdpti_keep(h, &unused); /* the value stands behind its key */
    h->pairs++;
  }
  return s;
}

BDPTI_FN bdpt_status bdpti_walk(bdpti_header *h, const char *text, size_t size) {
  bdpt_json_event e;
  bdpt_status s;
  char name[72];
  int metadata = 0;
  bdpt_json_init(&h->json, text, size);
  h->tensors = h->pairs = h->axes = h->text = 0;
  s = bdpti_expect(h, BDPT_JSON_OBJECT, "a JSON object");
  while (!s && (e = bdpt_json_next(&h->json)) != BDPT_JSON_OBJECT_END) {
    s = bdpti_want(h, e, BDPT_JSON_KEY, "a name");
    if (s) return s;
    bdpt_json_copy(&h->json, name, sizeof name);
    bdpti_show(name, h->place.shown);
    if (strcmp(name, "__metadata__") != 0) s = bdpti_walk_tensor(h);
    else if (!metadata++) s = bdpti_walk_metadata(h);
    else s = bdpti_bad(&h->place, "it occurs twice");
  }
  h->place.shown[0] = 0;
  if (!s) s = bdpti_expect(h, BDPT_JSON_END, "the end of the header");
  return s;
}

/* 11.4.2  The rules that only all entries together can break
 *
 * Names must be unique, and offsets must cover the data. Both are questions about neighbours once
 * the entries are in order. Comparing each with each would take 2 * 10^10 steps for the 200,000
 * entries that ten megabytes can hold; a hash table would be fast until somebody chose the names to
 * collide. Merge sort has no bad case.
 *
 * What is sorted are indices. Neighbouring runs are merged, and two that are in order already are
 * only copied, so a file in order, as the reference writes it, costs n comparisons a level. */
typedef int (*bdpti_compare)(const void *table, size_t a, size_t b);

BDPTI_FN void bdpti_sort(uint32_t *order, uint32_t *spare, size_t n, bdpti_compare compare,
                         const void *table) {
  size_t width, low, middle, high, i, j, k;
  for (i = 0; i < n; i++) order[i] = (uint32_t)i;
  for (width = 1; width < n; width *= 2) {
    for (low = 0; low < n; low = high) {
      middle = n - low < width ? n : low + width;
      high = n - middle < width ? n : middle + width;
      i = k = low;
      j = middle;
      if (j < high && compare(table, order[j - 1], order[j]) > 0) {
        for (; k < high; k++) {
          int right = i == middle || (j < high && compare(table, order[i], order[j]) > 0);
          spare[k] = right ? order[j++] : order[i++];
        }
      }
      memcpy(spare + k, order + k, (high - k) * sizeof *order); /* all of it, or nothing */
    }
    memcpy(order, spare, n * sizeof *order);
  }
}

BDPTI_FN int bdpti_by_name(const void *table, size_t a, size_t b) {
  const bdpt_file_tensor *t = (const bdpt_file_tensor *)table;
  return strcmp(t[a].name, t[b].name);
}

BDPTI_FN int bdpti_by_key(const void *table, size_t a, size_t b) {
  const char *const *key = (const char *const *)table;
  return strcmp(key[a], key[b]);
}

BDPTI_FN int bdpti_by_offset(const void *table, size_t a, size_t b) {
  const bdpt_file_tensor *x = (const bdpt_file_tensor *)table + a;
  const bdpt_file_tensor *y = (const bdpt_file_tensor *)table + b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  return x->size < y->size ? -1 : x->size > y->size;
}

/* `order` holds the tensors by offset: each must begin where the one before it ended. */
BDPTI_FN bdpt_status bdpti_check_cover(bdpti_header *h, const uint32_t *order) {
  size_t i, begin, end = 0;
  for (i = 0; i < h->tensors; i++) {
    const bdpt_file_tensor *t = &h->out->tensor[order[i]];
    begin = (size_t)(t->bytes - h->data);
    bdpti_show(t->name, h->place.shown);
    if (begin > end) {
      return bdpti_bad(&h->place, "bytes %zu to %zu of the data, before this tensor, belong to "
                       "none", end, begin);
    }
    if (begin < end) {
      char before[72];
      bdpti_show(h->out->tensor[order[i - 1]].name, before);
      return bdpti_bad(&h->place, "it begins at byte %zu of the data, inside '%s', which ends at "
                       "%zu", begin, before, end);
    }
    end += t->size;
  }
  h->place.shown[0] = 0;
  if (end == h->data_bytes) return BDPT_OK;
  return bdpti_bad(&h->place, "%zu bytes after the last tensor belong to none",
                   h->data_bytes - end);
}

BDPTI_FN bdpt_status bdpti_check_all(bdpti_header *h) {
  size_t n = h->tensors, most = n > h->pairs ? n : h->pairs, bytes = 2 * most * sizeof(uint32_t), i;
  uint32_t *order = (uint32_t *)bdpti_alloc(h->place.ctx, bytes), *spare = order ? order + most : 0;
  const bdpt_file_tensor *t = h->out->tensor;
  bdpt_status s = BDPT_OK;
  if (!order) return BDPT_E_MEMORY;
  bdpti_sort(h->out->sorted, spare, n, bdpti_by_name, t);
  for (i = 1; i < n && !s; i++) {
    if (bdpti_by_name(t, h->out->sorted[i - 1], h->out->sorted[i]) != 0) continue;
    bdpti_show(t[h->out->sorted[i]].name, h->place.shown);
    s = bdpti_bad(&h->place, "this name occurs twice");
  }
  bdpti_sort(order, spare, h->pairs, bdpti_by_key, h->out->key);
  for (i = 1; i < h->pairs && !s; i++) {
    if (bdpti_by_key(h->out->key, order[i - 1], order[i]) != 0) continue;
    bdpti_show(h->out->key[order[i]], h->place.shown);
    s = bdpti_bad(&h->place, "this metadata key occurs twice");
  }
  bdpti_sort(order, spare, n, bdpti_by_offset, t);
  if (!s) s = bdpti_check_cover(h, order);
  bdpti_free(h->place.ctx, order, bytes);
  return s;
}

/* One block for everything that the walk counted: structures first, text last, so that each part
 * is aligned. */
BDPTI_FN bdpt_status bdpti_header_block(bdpti_header *h) {
  static const size_t unit[5] = {sizeof(bdpt_file_tensor), sizeof(char *), sizeof(size_t),
                                 sizeof(uint32_t), 1};
  size_t count[5], at[5], total = 0, part = 0;
  unsigned char *p;
  int i, fits = 1;
  count[0] = count[3] = h->tensors;
  count[1] = h->pairs;
  count[2] = h->axes;
  count[4] = h->text;
  for (i = 0; i < 5 && fits; i++) {
    at[i] = total;
    fits = bdpti_mul(count[i], unit[i], &part) && bdpti_add(total, part, &total);
  }
  p = (unsigned char *)bdpti_alloc(h->place.ctx, fits ? total : SIZE_MAX);
  if (!p) return BDPT_E_MEMORY;
  h->out->memory = p;
  h->out->memory_bytes = total;
  h->out->tensor = (bdpt_file_tensor *)(void *)p;
  h->out->key = (const char **)(void *)(p + at[1]);
  h->axis = (size_t *)(void *)(p + at[2]);
  h->out->sorted = (uint32_t *)(void *)(p + at[3]);
  h->string = (char *)(p + at[4]);
  h->out->count = h->tensors;
  h->out->pairs = h->pairs;
  return BDPT_OK;
}

/* 11.5  What a file really is                                                              >>sniff
 *
 * Most reports of a broken safetensors file are about something else that bears the name: a web
 * page that a download got instead, the pointer that git-lfs leaves, a PyTorch pickle. All of them
 * fail an early check, since their first eight bytes are no sensible length or no JSON follows;
 * then, and only then, the first bytes are compared with this table, and the message says what was
 * found.
 */
BDPTI_FN const char *bdpti_sniff(const unsigned char *bytes, size_t size) {
  static const struct { const char *start; size_t n; const char *what; } table[] = {
    {"<", 1, "an HTML or XML page, perhaps the error page of a download"},
    {"version https://git-lfs", 23, "a git-lfs pointer; run 'git lfs pull' to get the file itself"},
    {"PK\003\004", 4, "a zip archive, as PyTorch's .pth files are"},
    {"PK\005\006", 4, "an empty zip archive"},
    {"\x80\x02", 2, "a pickle, as PyTorch's older .pth files are"},
    {"\x80\x03", 2, "a Python pickle"}, {"\x80\x04", 2, "a Python pickle"},
    {"\x80\x05", 2, "a Python pickle"}, {"\x1F\x8B", 2, "compressed with gzip"},
    {"\xFD" "7zXZ", 5, "compressed with xz"}, {"GGUF", 4, "a GGUF file"},
    {"\x93NUMPY", 6, "a NumPy array"}, {"\x89HDF", 4, "an HDF5 file"},
    {"{", 1, "JSON text, perhaps a config.json or the index of a split model"}
  };
  size_t at = 0;
  int i;
  for (i = 0; i < BDPTI_COUNT(table); i++) {
    if (size >= table[i].n && memcmp(bytes, table[i].start, table[i].n) == 0) return table[i].what;
  }
  while (at < size && at < 64 && (bytes[at] == ' ' || (bytes[at] >= 9 && bytes[at] <= 13))) at++;
  return at < size && bytes[at] == '<' ? table[0].what : NULL;
}

/* The first eight bytes, and whether what they announce can be there at all. */
BDPTI_FN bdpt_status bdpti_header_size(const bdpti_place *place, const unsigned char *bytes,
                                       size_t size, size_t *header) {
  const char *what = bdpti_sniff(bytes, size);
  uint64_t n = size < 8 ? 0 : bdpti_get_bytes(bytes, 8);
  size_t at = 8;
  if (size == 0) return bdpti_bad(place, "the file is empty");
  while (at < size && (bytes[at] == ' ' || (bytes[at] >= 9 && bytes[at] <= 13))) at++;
  if (what && (n > BDPT_HEADER_LIMIT || at >= size || n > size - 8 || bytes[at] != '{')) {
    return bdpti_bad(place, "not a safetensors file: it is %s", what);
  }
  if (size < 8) {
    return bdpti_bad(place, "%zu bytes are too few for the 8-byte header length", size);
  }
  if (n > BDPT_HEADER_LIMIT) {
    return bdpti_bad(place, "the header length is over the limit of %zu bytes; this is hardly a "
                     "safetensors file", BDPT_HEADER_LIMIT);
  }
  if (n > size - 8) {
    return bdpti_bad(place, "the header should be %zu bytes long, but %zu follow its length; was "
                     "the file cut off?", (size_t)n, size - 8);
  }
  *header = (size_t)n;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_safetensors_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                            const char *name, bdpt_safetensors *out) {
  const unsigned char *file = (const unsigned char *)bytes;
  bdpti_header h;
  size_t n = 0;
  bdpt_status s;
  memset(out, 0, sizeof *out);
  memset(&h, 0, sizeof h);
  h.place = bdpti_here(ctx, name, BDPT_E_FORMAT);
  out->ctx = ctx;
  h.out = out;
  s = bdpti_header_size(&h.place, file, size, &n);
  if (!s) {
    h.data = file + 8 + n;
    h.data_bytes = size - 8 - n;
    s = bdpti_walk(&h, (const char *)file + 8, n);
  }
  if (!s) s = bdpti_header_block(&h);
  h.fill = 1;
  if (!s) s = bdpti_walk(&h, (const char *)file + 8, n);
  if (!s) s = bdpti_check_all(&h);
  if (s) bdpt_safetensors_close(out);
  return s;
}

BDPT_API void bdpt_safetensors_close(bdpt_safetensors *file) {
  if (!file->ctx) return;
  bdpti_free(file->ctx, file->memory, file->memory_bytes);
  if (file->file) bdpti_free(file->ctx, file->file, file->file_bytes + 1);
  memset(file, 0, sizeof *file);
}

BDPT_API const bdpt_file_tensor *bdpt_safetensors_find(const bdpt_safetensors *file,
                                                       const char *name) {
  size_t low = 0, high = file->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const bdpt_file_tensor *t = &file->tensor[file->sorted[middle]];
    int order = strcmp(name, t->name);
    if (order == 0) return t;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return NULL;
}

BDPT_API const char *bdpt_safetensors_get(const bdpt_safetensors *file, const char *key) {
  size_t i;
  for (i = 0; i < file->pairs; i++) {
    if (strcmp(file->key[i], key) == 0) return file->key[i] + strlen(key) + 1;
  }
  return NULL;
}

BDPT_API bdpt_status bdpt_safetensors_read(bdpt_context *ctx, const bdpt_file_tensor *tensor,
                                           bdpt_real *out, size_t count) {
  int row = bdpti_dtype_row(tensor->dtype);
  bdpti_place place = bdpti_here(ctx, "read", BDPT_E_FORMAT);
  size_t i;
  bdpti_show(tensor->name, place.shown);
  if (row < 0) {
    return bdpti_bad(&place, "numbers of dtype %s cannot be read here", tensor->dtype_name);
  }
  if (count != tensor->count) {
    place.status = BDPT_E_SHAPE;
    return bdpti_bad(&place, "%zu elements, but %zu are wanted", tensor->count, count);
  }
  for (i = 0; i < count; i++) {
    bdpti_decode(&bdpti_dtypes[row], tensor->bytes + i * (size_t)(bdpti_dtypes[row].bits / 8),
                 out + i);
  }
  return BDPT_OK;
}

/* 11.6  Writing safetensors                                                               >>write
 *
 * Files come out byte for byte as the reference writes them: the widest dtype first, then names in
 * the order of their bytes, no blanks in the JSON, spaces at its end until the numbers start at a
 * multiple of eight. So numbers are aligned for whoever maps the file, and the same network always
 * gives the same file. Only the order of the metadata is ours, the caller's order; the reference's
 * is that of a hash table and changes from run to run.
 *
 * The header is written twice by the same function: once to be measured, once to be kept.
 */
typedef struct bdpti_layout { /* a file to be */
  const bdpt_write_tensor *tensor;
  size_t count, pairs;
  const char *const *key, *const *value;
  const uint32_t *order;
} bdpti_layout;

BDPTI_FN size_t bdpti_write_bytes(const bdpt_write_tensor *t) {
  size_t n = (size_t)bdpti_dtypes[bdpti_dtype_row(t->dtype)].bits / 8;
  int i;
  for (i = 0; i < t->ndim; i++) n *= t->shape[i]; /* checked by bdpti_check_write */
  return n;
}

BDPTI_FN int bdpti_by_write_name(const void *table, size_t a, size_t b) {
  const bdpt_write_tensor *t = (const bdpt_write_tensor *)table;
  return strcmp(t[a].name, t[b].name);
}

BDPTI_FN int bdpti_by_alignment(const void *table, size_t a, size_t b) {
  const bdpt_write_tensor *t = (const bdpt_write_tensor *)table;
  int order = bdpti_dtype_row(t[b].dtype) - bdpti_dtype_row(t[a].dtype);
  return order ? order : bdpti_by_write_name(table, a, b);
}

/* A string in quotes, escaped as little as JSON allows, in the reference's spelling. */
BDPTI_FN void bdpti_put_json(bdpti_text *t, const char *s) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", hex[] = "0123456789abcdef";
  bdpti_put(t, '"');
  for (; *s; s++) {
    const char *escape = strchr(from, *s);
    if (escape) {
      bdpti_put(t, '\\');
      bdpti_put(t, to[escape - from]);
    } else if ((unsigned char)*s < 0x20) {
      bdpti_put_string(t, "\\u00");
      bdpti_put(t, hex[*s >> 4]);
      bdpti_put(t, hex[*s & 15]);
    } else {
      bdpti_put(t, *s);
    }
  }
  bdpti_put(t, '"');
}

BDPTI_FN void bdpti_put_header(bdpti_text *t, const bdpti_layout *plan) {
  size_t i, offset = 0;
  int a;
  bdpti_put(t, '{');
  for (i = 0; i < plan->pairs; i++) {
    bdpti_put_string(t, i ? "," : "\"__metadata__\":{");
    bdpti_put_json(t, plan->key[i]);
    bdpti_put(t, ':');
    bdpti_put_json(t, plan->value[i]);
  }
  if (plan->pairs) bdpti_put(t, '}');
  for (i = 0; i < plan->count; i++) {
    const bdpt_write_tensor *w = &plan->tensor[plan->order[i]];
    if (i || plan->pairs) bdpti_put(t, ',');
    bdpti_put_json(t, w->name);
    bdpti_put_string(t, ":{\"dtype\":\"");
    bdpti_put_string(t, bdpti_dtypes[bdpti_dtype_row(w->dtype)].name);
    bdpti_put_string(t, "\",\"shape\":[");
    for (a = 0; a < w->ndim; a++) {
      if (a) bdpti_put(t, ',');
      bdpti_put_size(t, w->shape[a]);
    }
    bdpti_put_string(t, "],\"data_offsets\":[");
    bdpti_put_size(t, offset);
    bdpti_put(t, ',');
    bdpti_put_size(t, offset += bdpti_write_bytes(w));
    bdpti_put_string(t, "]}");
  }
  bdpti_put(t, '}');
  while (t->used % 8) bdpti_put(t, ' ');
}

BDPTI_FN int bdpti_is_utf8(const char *s) {
  size_t left = strlen(s), n;
  for (; left > 0; left -= n, s += n) {
    n = bdpti_utf8(s, left);
    if (n == 0) return 0;
  }
  return 1;
}

/* What a caller hands over is checked like a file: the result must be one that we would read. */
BDPTI_FN bdpt_status bdpti_check_write(bdpt_context *ctx, const bdpt_write_tensor *t,
                                       size_t *total) {
  const char *name = t->name ? t->name : "";
  int i, row = bdpti_dtype_row(t->dtype), fits = 1;
  size_t bytes;
  bdpti_place place = bdpti_here(ctx, "write", BDPT_E_ARGUMENT);
  bdpti_show(name, place.shown);
  if (!t->name || !bdpti_is_utf8(name) || strcmp(name, "__metadata__") == 0) {
    return bdpti_bad(&place, "no tensor can have this name");
  }
  if (row < 0 || (!bdpti_dtypes[row].fraction && !t->raw)) {
    return bdpti_bad(&place, "dtype %d cannot be written%s", t->dtype,
                     row < 0 ? "" : " from real numbers, only from raw bytes");
  }
  if (t->ndim < 0 || t->ndim > BDPT_MAX_DIMS) {
    return bdpti_bad(&place, "%d axes, at most %d can be written", t->ndim, BDPT_MAX_DIMS);
  }
  bytes = (size_t)bdpti_dtypes[row].bits / 8;
  for (i = 0; i < t->ndim && fits; i++) fits = bdpti_mul(bytes, t->shape[i], &bytes);
  if (!fits || !bdpti_add(*total, bytes, total)) {
    return bdpti_bad(&place, "its shape overflows");
  }
  return t->data || bytes == 0 ? BDPT_OK : bdpti_bad(&place, "it has no data");
}

BDPTI_FN bdpt_status bdpti_check_plan(bdpt_context *ctx, const bdpti_layout *plan, size_t *data) {
  size_t i, k;
  bdpt_status s = BDPT_OK;
  for (i = 0; i < plan->count && !s; i++) s = bdpti_check_write(ctx, &plan->tensor[i], data);
  for (i = 0; i < plan->pairs && !s; i++) {
    int bad = !bdpti_is_utf8(plan->key[i]) || !bdpti_is_utf8(plan->value[i]);
    for (k = 0; k < i; k++) bad |= strcmp(plan->key[k], plan->key[i]) == 0;
    if (bad) {
      s = bdpti_fail(ctx, BDPT_E_ARGUMENT, "write: metadata pair %zu is not UTF-8, or its key "
                     "occurs twice", i);
    }
  }
  return s;
}

BDPTI_FN bdpt_status bdpti_build(bdpt_context *ctx, const bdpti_layout *plan, size_t data,
                                 unsigned char **bytes, size_t *size) {
  bdpti_text t;
  size_t header, i, k;
  unsigned char *p;
  t.out = NULL; t.room = 0; t.used = 0;
  bdpti_put_header(&t, plan);
  header = t.used;
  if (header > BDPT_HEADER_LIMIT) {
    return bdpti_fail(ctx, BDPT_E_ARGUMENT, "write: the header would be %zu bytes long, over the "
                      "limit of %zu", header, BDPT_HEADER_LIMIT);
  }
  if (!bdpti_add(8 + header, data, size)) *size = SIZE_MAX; /* refused by the allocator */
  *bytes = p = (unsigned char *)bdpti_alloc(ctx, *size);
  if (!p) return BDPT_E_MEMORY;
  bdpti_put_bytes(p, 8, (uint64_t)header);
  t.out = (char *)p + 8; t.room = header + 1; t.used = 0;
  bdpti_put_header(&t, plan);
  p += 8 + header;
  for (i = 0; i < plan->count; i++) {
    const bdpt_write_tensor *w = &plan->tensor[plan->order[i]];
    const bdpti_dtype *type = &bdpti_dtypes[bdpti_dtype_row(w->dtype)];
    size_t n = bdpti_write_bytes(w), step = (size_t)type->bits / 8;
    if (w->raw && n) memcpy(p, w->data, n);
    for (k = 0; k < n && !w->raw; k += step) {
      bdpti_encode(type, ((const bdpt_real *)w->data)[k / step], p + k);
    }
    p += n;
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_safetensors_build(bdpt_context *ctx, const bdpt_write_tensor *tensors,
                                            size_t count, const char *const *key,
                                            const char *const *value, size_t pairs,
                                            unsigned char **bytes, size_t *size) {
  bdpti_layout plan;
  size_t i, data = 0, room;
  uint32_t *order;
  bdpt_status s;
  *bytes = NULL;
  *size = 0;
  plan.tensor = tensors; plan.count = count; plan.pairs = pairs;
  plan.key = key; plan.value = value;
  s = bdpti_check_plan(ctx, &plan, &data);
  if (s) return s;
  if (count > UINT32_MAX || !bdpti_mul(count, 2 * sizeof(uint32_t), &room)) room = SIZE_MAX;
  order = (uint32_t *)bdpti_alloc(ctx, room);
  if (!order) return BDPT_E_MEMORY;
  bdpti_sort(order, order + count, count, bdpti_by_write_name, tensors);
  for (i = 1; i < count && !s; i++) {
    if (bdpti_by_write_name(tensors, order[i - 1], order[i]) != 0) continue;
    s = bdpti_fail(ctx, BDPT_E_ARGUMENT, "write: two tensors have the same name, %s",
                   tensors[order[i]].name);
  }
  bdpti_sort(order, order + count, count, bdpti_by_alignment, tensors);
  plan.order = order;
  if (!s) s = bdpti_build(ctx, &plan, data, bytes, size);
  bdpti_free(ctx, order, room);
  if (s) *size = 0;
  return s;
}

BDPT_API void bdpt_release(bdpt_context *ctx, void *block, size_t size) {
  bdpti_free(ctx, block, size);
}

/* 11.7  Whole files                                                                          >>io
 *
 * A file under its final name is always whole. Writing goes to NAME.bdpt-tmp in the same folder;
 * the bytes are flushed to the disk; then the temporary file takes the name, replacing the old file
 * in one step. If anything fails before that, the temporary file is removed and the old one has not
 * been touched. A crash leaves at worst a stale NAME.bdpt-tmp, which the next save overwrites; that
 * is why the name is fixed, and why two programs must not save to one name at the same time.
 *
 * fsync is the one POSIX call of the library: without it a file system may record the new name
 * before the bytes. It is used where it exists and can be switched off with BDPT_NO_FSYNC. The
 * folder itself is not synced, so after a loss of power the name may still stand for the old file,
 * whole. Strict C modes hide the prototypes of POSIX; we then declare the two functions ourselves.
 *
 * On Windows rename does not replace a file, so there the old one is removed first. Between the two
 * steps the network exists as NAME.bdpt-tmp only, and that file is then kept whatever happens.
 */
#ifndef BDPT_NO_STDIO
#include <errno.h>
#include <limits.h>
#if !defined(BDPT_NO_FSYNC) && (defined(__unix__) || (defined(__APPLE__) && defined(__MACH__)))
#include <unistd.h>
#if defined(__STRICT_ANSI__) && !defined(__cplusplus)
int (fileno)(FILE *);
int (fsync)(int);
#endif
#define BDPTI_FSYNC(f) fsync(fileno(f))
#else
#define BDPTI_FSYNC(f) 0
#endif

/* "path: what (the system's reason)". */
BDPTI_FN bdpt_status bdpti_fail_io(bdpt_context *ctx, const char *path, const char *what, int why) {
  return bdpti_fail(ctx, BDPT_E_IO, "%s: %s%s%s%s", path, what, why ? " (" : "",
                    why ? strerror(why) : "", why ? ")" : "");
}

/* Moves the first `used` bytes of a block into one of `room` bytes. */
BDPTI_FN bdpt_status bdpti_file_move(bdpt_context *ctx, unsigned char **block, size_t *has,
                                     size_t used, size_t room) {
  unsigned char *p = (unsigned char *)bdpti_alloc(ctx, room);
  if (!p) return BDPT_E_MEMORY;
  if (used) memcpy(p, *block, used);
  bdpti_free(ctx, *block, *has);
  *block = p;
  *has = room;
  return BDPT_OK;
}

/* The size is asked but not trusted, since pipes cannot tell, folders lie, and a long may be too
 * short: reading goes on until the file ends, and the block grows as needed. It has one byte more
 * than the file, a zero, so that text is terminated. */
BDPTI_FN bdpt_status bdpti_file_fill(bdpt_context *ctx, const char *path, FILE *f,
                                     unsigned char **block, size_t *has, size_t *used) {
  long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
  size_t room = end >= 0 && end < LONG_MAX ? (size_t)end + 1 : (size_t)1 << 16;
  bdpt_status s;
  if (end >= 0) rewind(f);
  s = bdpti_file_move(ctx, block, has, 0, room);
  while (!s && !feof(f) && !ferror(f)) {
    if (*used == *has) {
      if (!bdpti_add(*has, *has, &room)) room = SIZE_MAX; /* refused by the allocator */
      s = bdpti_file_move(ctx, block, has, *used, room);
    }
    if (!s) *used += fread(*block + *used, 1, *has - *used, f);
  }
  if (!s && ferror(f)) s = bdpti_fail_io(ctx, path, "reading failed", errno);
  if (!s && *used + 1 != *has) s = bdpti_file_move(ctx, block, has, *used, *used + 1);
  return s;
}

BDPT_API bdpt_status bdpt_file_read(bdpt_context *ctx, const char *path, unsigned char **bytes,
                                    size_t *size) {
  size_t has = 0;
  bdpt_status s;
  FILE *f;
  *bytes = NULL;
  *size = 0;
  errno = 0;
  f = fopen(path, "rb");
  if (!f) return bdpti_fail_io(ctx, path, "cannot be opened for reading", errno);
  s = bdpti_file_fill(ctx, path, f, bytes, &has, size);
  fclose(f);
  if (s) {
    bdpti_free(ctx, *bytes, has);
    *bytes = NULL;
    *size = 0;
  }
  return s;
}

/* Writes, flushes, closes and renames; says which step failed, or NULL. */
BDPTI_FN const char *bdpti_file_put(FILE *f, const char *temp, const char *path, const void *bytes,
                                    size_t size, int *why) {
  const char *failed = NULL;
  if (size && fwrite(bytes, 1, size, f) != size) failed = "writing the temporary file failed";
  else if (fflush(f) != 0) failed = "flushing the temporary file failed";
  else if (BDPTI_FSYNC(f) != 0) failed = "forcing the temporary file to the disk failed";
  *why = errno;
  if (fclose(f) != 0 && !failed) {
    failed = "closing the temporary file failed";
    *why = errno;
  }
  if (!failed) {
#ifdef _WIN32
    remove(path);
#endif
    if (rename(temp, path) == 0) return NULL;
    failed = "the temporary file cannot take this name";
    *why = errno;
#ifdef _WIN32
    return failed;
#endif
  }
  remove(temp);
  return failed;
}

BDPT_API bdpt_status bdpt_file_write(bdpt_context *ctx, const char *path, const void *bytes,
                                     size_t size) {
  static const char suffix[] = ".bdpt-tmp";
  size_t n = strlen(path);
  char *temp = (char *)bdpti_alloc(ctx, n + sizeof suffix);
  const char *failed;
  int why = 0;
  FILE *f;
  bdpt_status s = BDPT_OK;
  if (!temp) return BDPT_E_MEMORY;
  memcpy(temp, path, n);
  memcpy(temp + n, suffix, sizeof suffix);
  errno = 0;
  f = fopen(temp, "wb");
  if (!f) s = bdpti_fail_io(ctx, temp, "cannot be opened for writing", errno);
  failed = f ? bdpti_file_put(f, temp, path, bytes, size, &why) : NULL;
  if (failed) s = bdpti_fail_io(ctx, path, failed, why);
  bdpti_free(ctx, temp, n + sizeof suffix);
  return s;
}

BDPT_API bdpt_status bdpt_safetensors_open(bdpt_context *ctx, const char *path,
                                           bdpt_safetensors *out) {
  unsigned char *bytes;
  size_t size;
  bdpt_status s = bdpt_file_read(ctx, path, &bytes, &size);
  memset(out, 0, sizeof *out);
  if (!s) s = bdpt_safetensors_parse(ctx, bytes, size, path, out);
  if (s) {
    bdpti_free(ctx, bytes, size + 1);
    return s;
  }
  out->file = bytes;
  out->file_bytes = size;
  return BDPT_OK;
}
#endif /* BDPT_NO_STDIO */

/* 11.8  Models                                                                       >>model-files
 *
 * A checkpoint is the network's parameters under timm's names and, in the metadata, what shapes
 * cannot tell. A pruned network is plain data like any other: removed attention has no qkv and no
 * proj, a fused MLP is blocks.N.mlp.fused.{weight,bias} in place of fc1 and fc2, a fitted attention
 * is blocks.N.attn.fitted.{weight,bias}; and the lists say so once more in words:
 *
 *   format           pt, as PyTorch's tools expect
 *   boundarydpt      1, the version of this list of keys; without it no other key is looked at
 *   image_size patch_size in_chans num_classes embed_dim depth distilled
 *                    whole numbers
 *   num_heads head_dim mlp_dim attn_scale
 *                    one number for each block, [3,3,2], or one for all
 *   layer_norm_eps image_mean image_std
 *                    real numbers, written so that they read back to the same bits (11.2)
 *   drop_attn_list drop_act_list fused_mlp_list fitted_attn_list fitted_mlp_list
 *                    0-based blocks, [3,7]; a fused block is also in drop_act_list
 *   attn_form        ln, skip or double: what a removed attention leaves
 *   extra_gelu       none, both or always;   pos_resize   timm or deit
 *   parent certificate preprocessing
 *                    text, kept as it is
 *
 * Loading goes the other way in four steps. Names and shapes give a configuration: width, depth,
 * patch, image, classes, each MLP's width, what is removed or fused. The metadata then have the
 * last word, and after them the caller's hint. The configuration says which tensors there must be;
 * they are compared with those that are there, name by name and shape by shape, in both directions:
 * a missing tensor and an unknown one are errors, since either means that the file is not the
 * network we take it for. Memory is asked for last and tensor by tensor, each after its shape was
 * found in the file, so no metadata can ask for more than the file holds.
 *
 * What no shape tells is the number of heads. A head of DeiT has 64 features; where 64 does not
 * divide, the load fails and asks for a hint. Guessing would give a network that runs and is wrong.
 * Another thing no shape tells is an activation removed but not fused: without our metadata such a
 * file loads with its GELU, unless the hint says otherwise.
 *
 * The tables below serve both directions, so the writer cannot forget what the reader wants.
 */
#define BDPTI_KEYS_VERSION 1

/* The values of one key lie `step` bytes apart, 0 for a single one; count 0: one for each block. In
 * a list, count is the state of the blocks that it names; in a text, its room. */
typedef struct bdpti_key { const char *key; size_t offset, step; int count, real; } bdpti_key;
#define BDPTI_ONE(member) offsetof(bdpt_config, member), 0, 1
#define BDPTI_THREE(member) offsetof(bdpt_config, member), sizeof(double), 3
#define BDPTI_EACH(member) \
  offsetof(bdpt_config, block) + offsetof(bdpt_block, member), sizeof(bdpt_block), 0

static const bdpti_key bdpti_keys[] = {
  {"image_size", BDPTI_ONE(image), 0}, {"patch_size", BDPTI_ONE(patch), 0},
  {"in_chans", BDPTI_ONE(channels), 0}, {"num_classes", BDPTI_ONE(classes), 0},
  {"embed_dim", BDPTI_ONE(width), 0}, {"depth", BDPTI_ONE(depth), 0},
  {"distilled", BDPTI_ONE(distilled), 0}, {"num_heads", BDPTI_EACH(heads), 0},
  {"head_dim", BDPTI_EACH(head_dim), 0}, {"mlp_dim", BDPTI_EACH(mlp), 0},
  {"attn_scale", BDPTI_EACH(scale), 1}, {"layer_norm_eps", BDPTI_ONE(eps), 1},
  {"image_mean", BDPTI_THREE(mean), 1}, {"image_std", BDPTI_THREE(std), 1}
};
static const bdpti_key bdpti_lists[] = {
  {"drop_attn_list", offsetof(bdpt_block, attention), 0, BDPT_REMOVED, 0},
  {"fitted_attn_list", offsetof(bdpt_block, attention), 0, BDPT_FITTED, 0},
  {"drop_act_list", offsetof(bdpt_block, activation), 0, BDPT_REMOVED, 0},
  {"fused_mlp_list", offsetof(bdpt_block, mlp_form), 0, BDPT_FUSED, 0},
  {"fitted_mlp_list", offsetof(bdpt_block, mlp_form), 0, BDPT_MLP_FITTED, 0}
};
static const struct { const char *key; size_t offset; const char *word[3]; } bdpti_words[] = {
  {"attn_form", offsetof(bdpt_config, attn_form), {"ln", "skip", "double"}},
  {"extra_gelu", offsetof(bdpt_config, extra_gelu), {"none", "both", "always"}},
  {"pos_resize", offsetof(bdpt_config, pos_resize), {"timm", "deit", ""}}
};
static const bdpti_key bdpti_texts[] = {
  {"parent", offsetof(bdpt_model, parent), 0, 65, 0},
  {"certificate", offsetof(bdpt_model, certificate), 0, 200, 0},
  {"preprocessing", offsetof(bdpt_model, preprocessing), 0, 100, 0}
};

BDPTI_FN int *bdpti_int_at(void *base, size_t offset) {
  return (int *)(void *)((unsigned char *)base + offset);
}

BDPTI_FN double *bdpti_real_at(void *base, size_t offset) {
  return (double *)(void *)((unsigned char *)base + offset);
}

/* 11.8.1  Saving */

/* Metadata under construction. 64 blocks at their longest fill half of the text. */
typedef struct bdpti_metadata {
  const char *key[32], *value[32];
  size_t pairs;
  bdpti_text text;
  char room[10240];
} bdpti_metadata;

/* Ends the value before with a zero byte and begins the next. */
BDPTI_FN bdpti_text *bdpti_meta_begin(bdpti_metadata *d, const char *key) {
  if (d->pairs) bdpti_put(&d->text, 0);
  d->key[d->pairs] = key;
  d->value[d->pairs++] = d->room + d->text.used;
  return &d->text;
}

BDPTI_FN void bdpti_meta_put(bdpti_metadata *d, const bdpti_key *k, bdpt_config *c) {
  bdpti_text *t = bdpti_meta_begin(d, k->key);
  int i, n = k->count ? k->count : c->depth;
  for (i = 0; i < n; i++) {
    size_t at = k->offset + (size_t)i * k->step;
    if (k->step) bdpti_put(t, i ? ',' : '[');
    bdpti_put_double(t, k->real ? *bdpti_real_at(c, at) : (double)*bdpti_int_at(c, at));
  }
  if (k->step) bdpti_put(t, ']');
}

BDPTI_FN void bdpti_meta_fill(bdpti_metadata *d, const bdpt_model *m) {
  bdpt_config c = m->config;
  bdpti_text *t;
  int i, l, n;
  d->text.out = d->room;
  d->text.room = sizeof d->room;
  bdpti_put_string(bdpti_meta_begin(d, "format"), "pt");
  bdpti_put_size(bdpti_meta_begin(d, "boundarydpt"), BDPTI_KEYS_VERSION);
  for (i = 0; i < BDPTI_COUNT(bdpti_keys); i++) bdpti_meta_put(d, &bdpti_keys[i], &c);
  for (i = 0; i < BDPTI_COUNT(bdpti_lists); i++) {
    t = bdpti_meta_begin(d, bdpti_lists[i].key);
    bdpti_put(t, '[');
    for (l = n = 0; l < c.depth; l++) {
      if (*bdpti_int_at(&c.block[l], bdpti_lists[i].offset) != bdpti_lists[i].count) continue;
      if (n++) bdpti_put(t, ',');
      bdpti_put_size(t, (size_t)l);
    }
    bdpti_put(t, ']');
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_words); i++) {
    n = *bdpti_int_at(&c, bdpti_words[i].offset);
    bdpti_put_string(bdpti_meta_begin(d, bdpti_words[i].key), bdpti_words[i].word[n]);
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_texts); i++) {
    const char *text = (const char *)m + bdpti_texts[i].offset;
    if (*text) bdpti_put_string(bdpti_meta_begin(d, bdpti_texts[i].key), text);
  }
  bdpti_put(&d->text, 0);
}

/* A network that has diverged is not written, and above all not over a healthy one: a value that is
 * not finite, or becomes infinite in the file's format, is an error. The limits lie half a step
 * above the largest number of each format, where rounding to nearest turns to infinity. */
BDPTI_FN bdpt_status bdpti_check_finite(const bdpt_model *m, const bdpt_tensor *p, int dtype) {
  double limit = dtype == BDPT_F16 ? 65520.0 : dtype == BDPT_BF16 ? 3.3961775292304957e38
               : dtype == BDPT_F32 ? 3.4028235677973366e38 : HUGE_VAL;
  size_t i = 0;
  while (i < p->count && (double)p->data[i] < limit && (double)p->data[i] > -limit) i++;
  if (i == p->count) return BDPT_OK;
  return bdpti_fail(m->ctx, BDPT_E_NUMERIC, "save: element %zu of %s is %g, which is not finite in "
                    "this file's format", i, p->name, (double)p->data[i]);
}

BDPT_API bdpt_status bdpt_model_build(const bdpt_model *m, int dtype, unsigned char **bytes,
                                      size_t *size) {
  size_t room = (size_t)m->slots * sizeof(bdpt_write_tensor), count = 0;
  bdpt_write_tensor *list = (bdpt_write_tensor *)bdpti_alloc(m->ctx, room);
  bdpti_metadata *d = (bdpti_metadata *)bdpti_alloc(m->ctx, sizeof *d);
  bdpt_status s = list && d ? BDPT_OK : BDPT_E_MEMORY;
  int i;
  *bytes = NULL;
  *size = 0;
  for (i = 0; i < m->slots && !s; i++) {
    const bdpt_tensor *p = &m->param[i];
    if (!bdpt_model_active(m, i)) continue;
    s = bdpti_check_finite(m, p, dtype);
    list[count].name = m->name[i];
    list[count].dtype = dtype;
    list[count].ndim = p->ndim;
    memcpy(list[count].shape, p->shape, sizeof p->shape);
    list[count++].data = p->data;
  }
  if (!s) {
    bdpti_meta_fill(d, m);
    s = bdpt_safetensors_build(m->ctx, list, count, d->key, d->value, d->pairs, bytes, size);
  }
  bdpti_free(m->ctx, d, sizeof *d);
  bdpti_free(m->ctx, list, room);
  return s;
}

/* 11.8.2  From names and shapes to a configuration
 *
 * A guess may be wrong without harm: whatever it gives is compared with every tensor of the file
 * later. So an axis that is not there counts as 0, the configuration's own default takes its place,
 * and a file that is no DeiT at all ends in a list of the tensors that it lacks.
 */
typedef struct bdpti_source {
  bdpti_place place;      /* shown: the metadata key in question */
  bdpt_safetensors file;
  bdpt_config config;
  const bdpt_config *hint;
} bdpti_source;

/* Size of one axis of a tensor, 0 if there is none such; absurd sizes become one that the
 * configuration's own limits refuse. */
BDPTI_FN int bdpti_axis(const bdpti_source *f, const char *name, int axis) {
  const bdpt_file_tensor *t = bdpt_safetensors_find(&f->file, name);
  if (!t || axis >= t->ndim) return 0;
  return t->shape[axis] < ((size_t)1 << 30) ? (int)t->shape[axis] : 1 << 30;
}

BDPTI_FN int bdpti_block_axis(const bdpti_source *f, int block, const char *rest) {
  char name[64];
  bdpti_format(name, sizeof name, "blocks.%d.%s", block, rest);
  return bdpti_axis(f, name, 0);
}

/* The largest N of "blocks.N." plus one, or a little over the limit. */
BDPTI_FN int bdpti_count_blocks(const bdpt_safetensors *file) {
  int depth = 0, n;
  size_t i;
  for (i = 0; i < file->count; i++) {
    const char *s = file->tensor[i].name;
    if (strncmp(s, "blocks.", 7) != 0) continue;
    for (n = 0, s += 7; *s >= '0' && *s <= '9' && n <= BDPT_MAX_DEPTH; s++) n = 10 * n + (*s - '0');
    if (*s == '.' && n >= depth) depth = n + 1;
  }
  return depth;
}

/* What one block's tensors tell. An attention that is not there takes its sizes from the width. */
BDPTI_FN void bdpti_guess_block(bdpti_source *f, int l) {
  bdpt_block *b = &f->config.block[l];
  int inner = bdpti_block_axis(f, l, "attn.qkv.weight") / 3;
  if (inner == 0) {
    b->attention = bdpti_block_axis(f, l, "attn.fitted.weight") ? BDPT_FITTED : BDPT_REMOVED;
    inner = f->config.width;
  }
  b->heads = inner % 64 == 0 ? inner / 64 : 0; /* 0: not known yet */
  b->head_dim = b->heads ? 64 : inner;
  b->mlp = bdpti_block_axis(f, l, "mlp.fc1.weight");
  if (bdpti_block_axis(f, l, "mlp.fused.weight")) {
    b->mlp_form = BDPT_FUSED;
    b->activation = BDPT_REMOVED;
  }
}

BDPTI_FN bdpt_status bdpti_guess(bdpti_source *f) {
  bdpt_config *c = &f->config;
  int tokens, side = 0, l;
  c->width = bdpti_axis(f, "cls_token", 2);
  c->distilled = bdpti_axis(f, "dist_token", 2) > 0;
  c->channels = bdpti_axis(f, "patch_embed.proj.weight", 1);
  c->patch = bdpti_axis(f, "patch_embed.proj.weight", 2);
  c->classes = bdpti_axis(f, "head.weight", 0);
  c->depth = bdpti_count_blocks(&f->file);
  tokens = bdpti_axis(f, "pos_embed", 1) - 1 - c->distilled;
  while (side < 1 << 14 && (side + 1) * (side + 1) <= tokens) side++;
  if (tokens > 0 && side * side != tokens) {
    return bdpti_bad(&f->place, "pos_embed has %d positions for patches, which is no square",
                     tokens);
  }
  if (c->depth > BDPT_MAX_DEPTH) {
    return bdpti_bad(&f->place, "more than %d blocks", BDPT_MAX_DEPTH);
  }
  if (c->patch > 1 << 14) c->patch = 1 << 14;
  c->image = side * c->patch;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) bdpti_guess_block(f, l);
  return BDPT_OK;
}

/* 11.8.3  What the metadata say
 *
 * Every key may be missing; what is missing keeps its guessed value. A file written by hand needs
 * "boundarydpt": "1" and the one key in question, say "drop_act_list": "[3,7]".
 */

/* The numbers of a value, "[3,7]" or "3": how many, or -1 after an error. Unless they may be real,
 * they must be whole. None may be beyond a million. */
BDPTI_FN int bdpti_meta_numbers(bdpti_source *f, const char *text, int real,
                                double out[BDPT_MAX_DEPTH]) {
  bdpt_json j;
  bdpt_json_event e;
  int n = 0, list, good = 1;
  char shown[72];
  bdpt_json_init(&j, text, strlen(text));
  e = bdpt_json_next(&j);
  list = e == BDPT_JSON_ARRAY;
  if (list) e = bdpt_json_next(&j);
  while (e == BDPT_JSON_NUMBER && n < BDPT_MAX_DEPTH && (list || n == 0)) {
    double v = out[n++] = bdpt_json_number(&j);
    good &= real ? fabs(v) <= 1e6 : v >= 0 && v <= 1e6 && v == floor(v);
    e = bdpt_json_next(&j);
  }
  if (list && e == BDPT_JSON_ARRAY_END) e = bdpt_json_next(&j);
  if (e == BDPT_JSON_END && good) return n;
  bdpti_show(text, shown);
  bdpti_bad(&f->place, "the metadata say '%s', which is no %snumber up to 1000000, nor a list of "
            "at most %d", shown, real ? "" : "whole ", BDPT_MAX_DEPTH);
  return -1;
}

BDPTI_FN bdpt_status bdpti_meta_key(bdpti_source *f, const bdpti_key *k, const char *text) {
  double v[BDPT_MAX_DEPTH];
  int i, want = k->count ? k->count : f->config.depth, n = bdpti_meta_numbers(f, text, k->real, v);
  if (n < 0) return BDPT_E_FORMAT;
  if (n != want && (k->count || n != 1)) {
    return bdpti_bad(&f->place, "%d numbers in the metadata, not %d", n, want);
  }
  for (i = 0; i < want; i++) {
    size_t at = k->offset + (size_t)i * k->step;
    if (k->real) *bdpti_real_at(&f->config, at) = v[n > 1 ? i : 0];
    else *bdpti_int_at(&f->config, at) = (int)v[n > 1 ? i : 0];
  }
  if (f->config.depth <= BDPT_MAX_DEPTH) return BDPT_OK;
  return bdpti_bad(&f->place, "%d is over the limit of %d", f->config.depth, BDPT_MAX_DEPTH);
}

/* A list has the last word on its state: blocks in it have it, blocks not in it do not. */
BDPTI_FN bdpt_status bdpti_meta_list(bdpti_source *f, const bdpti_key *k, const char *text) {
  bdpt_config *c = &f->config;
  double v[BDPT_MAX_DEPTH];
  int l, n = bdpti_meta_numbers(f, text, 0, v);
  for (l = 0; l < c->depth; l++) {
    int *state = bdpti_int_at(&c->block[l], k->offset);
    if (*state == k->count) *state = 0;
  }
  for (l = 0; l < n; l++) {
    if (v[l] >= c->depth) {
      return bdpti_bad(&f->place, "the metadata name block %d of %d", (int)v[l], c->depth);
    }
    *bdpti_int_at(&c->block[(int)v[l]], k->offset) = k->count;
  }
  return n < 0 ? BDPT_E_FORMAT : BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_meta_word(bdpti_source *f, int i, const char *text) {
  char shown[72];
  int k;
  for (k = 0; k < 3 && *bdpti_words[i].word[k]; k++) {
    if (strcmp(text, bdpti_words[i].word[k]) != 0) continue;
    *bdpti_int_at(&f->config, bdpti_words[i].offset) = k;
    return BDPT_OK;
  }
  bdpti_show(text, shown);
  return bdpti_bad(&f->place, "unknown value '%s' in the metadata", shown);
}

/* The value of a key, which from now on stands in messages; NULL without one. */
BDPTI_FN const char *bdpti_meta_get(bdpti_source *f, const char *key) {
  bdpti_show(key, f->place.shown);
  return bdpt_safetensors_get(&f->file, key);
}

BDPTI_FN bdpt_status bdpti_meta_read(bdpti_source *f) {
  const char *text = bdpti_meta_get(f, "boundarydpt");
  bdpt_status s = BDPT_OK;
  int i;
  if (!text) return BDPT_OK;
  if (strcmp(text, "1") != 0) { /* BDPTI_KEYS_VERSION */
    return bdpti_bad(&f->place, "metadata of another version than %d; this is version %s of the "
                     "library", BDPTI_KEYS_VERSION, BDPT_VERSION);
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_keys) && !s; i++) {
    text = bdpti_meta_get(f, bdpti_keys[i].key);
    if (text) s = bdpti_meta_key(f, &bdpti_keys[i], text);
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_lists) && !s; i++) {
    text = bdpti_meta_get(f, bdpti_lists[i].key);
    if (text) s = bdpti_meta_list(f, &bdpti_lists[i], text);
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_words) && !s; i++) {
    text = bdpti_meta_get(f, bdpti_words[i].key);
    if (text) s = bdpti_meta_word(f, i, text);
  }
  for (i = 0; i < f->config.depth && !s; i++) {
    const bdpt_block *b = &f->config.block[i];
    if (b->mlp_form != BDPT_FUSED || b->activation == BDPT_REMOVED) continue;
    bdpti_show("fused_mlp_list", f->place.shown);
    s = bdpti_bad(&f->place, "block %d is not in drop_act_list; with its GELU an MLP cannot be "
                  "fused", i);
  }
  return s;
}

BDPTI_FN bdpt_status bdpti_meta_texts(bdpti_source *f, bdpt_model *m) {
  int i;
  for (i = 0; i < BDPTI_COUNT(bdpti_texts); i++) {
    const char *text = bdpti_meta_get(f, bdpti_texts[i].key);
    size_t n = text ? strlen(text) : 0, room = (size_t)bdpti_texts[i].count;
    if (n >= room) {
      return bdpti_bad(&f->place, "%zu bytes in the metadata, at most %zu fit", n, room - 1);
    }
    if (text) memcpy((char *)m + bdpti_texts[i].offset, text, n + 1);
  }
  return BDPT_OK;
}

/* 11.8.4  The caller's hint, and the heads
 *
 * The features of all heads of a block, h * d, are known from qkv; the hint or the metadata split
 * them. The hint's other fields (eps, image, mean, std, and activation for each block) override the
 * file's: a checkpoint of Hugging Face's needs eps 1e-12 where timm's needs 1e-6, and neither says.
 */
BDPTI_FN bdpt_status bdpti_hint(bdpti_source *f) {
  const bdpt_config *h = f->hint;
  bdpt_config *c = &f->config;
  int l;
  f->place.shown[0] = 0;
  if (h && h->eps != 0) c->eps = h->eps;
  if (h && h->image) c->image = h->image;
  if (h && h->std[0] != 0) {
    memcpy(c->mean, h->mean, sizeof c->mean);
    memcpy(c->std, h->std, sizeof c->std);
  }
  for (l = 0; l < c->depth; l++) {
    bdpt_block *b = &c->block[l];
    int inner = b->heads ? b->heads * b->head_dim : b->head_dim;
    if (h && h->heads) b->heads = h->heads;
    if (h && h->block[l].heads) b->heads = h->block[l].heads;
    if (h && h->block[l].activation == BDPT_REMOVED) b->activation = BDPT_REMOVED;
    if (b->heads == 0 && b->attention != BDPT_KEPT) b->heads = 1;
    if (b->heads == 0 || inner % b->heads != 0) {
      return bdpti_bad(&f->place, "block %d: %d features of attention are no multiple of %s; give "
                       "the number of heads in the hint", l, inner,
                       b->heads ? "the heads" : "64, so the shapes do not tell the heads");
    }
    b->head_dim = inner / b->heads;
  }
  c->heads = c->depth ? c->block[0].heads : 1;
  return BDPT_OK;
}

/* 11.8.5  What is there and what must be there
 *
 * "Missing" and "unknown" go into one sentence, since they usually come together: a tensor under
 * another name is both, and seeing the two lists side by side tells which dialect the file speaks.
 */

/* Appends a name to a list in a message: three names, then dots. */
BDPTI_FN void bdpti_list_name(bdpti_text *t, const char *name, size_t before) {
  char shown[72];
  if (before > 3) return;
  bdpti_show(name, shown);
  bdpti_put_string(t, before == 0 ? " (" : before == 3 ? ", ..." : ", ");
  if (before < 3) bdpti_put_string(t, shown);
}

BDPTI_FN void bdpti_show_shape(int ndim, const size_t *shape, char out[64]) {
  bdpti_text t;
  int i;
  t.out = out; t.room = 64; t.used = 0;
  bdpti_put(&t, '[');
  for (i = 0; i < ndim; i++) {
    if (i) bdpti_put(&t, ',');
    bdpti_put_size(&t, shape[i]);
  }
  bdpti_put(&t, ']');
  out[t.used < 63 ? t.used : 63] = 0;
}

BDPTI_FN bdpt_status bdpti_check_shape(bdpti_source *f, const bdpt_file_tensor *t, int slot) {
  size_t shape[BDPT_MAX_DIMS];
  char got[64], want[64];
  int ndim = bdpti_slot_shape(&f->config, slot, shape);
  if (t->ndim == ndim && memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) == 0) {
    return BDPT_OK;
  }
  bdpti_show_shape(t->ndim, t->shape, got);
  bdpti_show_shape(ndim, shape, want);
  bdpti_show(t->name, f->place.shown);
  f->place.status = BDPT_E_SHAPE;
  return bdpti_bad(&f->place, "%s in the file, but the network needs %s", got, want);
}

BDPTI_FN bdpt_status bdpti_match(bdpti_source *f, const bdpt_model *m, unsigned char *known) {
  char missing[256], unknown[256];
  bdpti_text a, b;
  size_t gone = 0, extra = 0, i;
  int slot;
  bdpt_status s = BDPT_OK;
  a.out = missing; b.out = unknown;
  a.room = b.room = sizeof missing;
  a.used = b.used = 0;
  for (slot = 0; slot < m->slots && !s; slot++) {
    const bdpt_file_tensor *t = bdpt_safetensors_find(&f->file, m->name[slot]);
    if (!bdpti_slot_used(&m->config, slot)) continue;
    if (t) s = bdpti_check_shape(f, t, slot);
    if (t) known[t - f->file.tensor] = 1;
    else bdpti_list_name(&a, m->name[slot], gone++);
  }
  for (i = 0; i < f->file.count; i++) {
    if (!known[i]) bdpti_list_name(&b, f->file.tensor[i].name, extra++);
  }
  if (s || gone + extra == 0) return s;
  if (gone) bdpti_put(&a, ')');
  if (extra) bdpti_put(&b, ')');
  missing[a.used] = unknown[b.used] = 0; /* four names of at most 66 bytes fit */
  return bdpti_bad(&f->place, "%zu tensors are missing%s; %zu are no part of the network as "
                   "configured%s", gone, missing, extra, unknown);
}

/* Every used slot gets its memory and its numbers. */
BDPTI_FN bdpt_status bdpti_fill_model(bdpti_source *f, bdpt_model *m) {
  unsigned char *known = (unsigned char *)bdpti_alloc(f->place.ctx, f->file.count);
  bdpt_status s = BDPT_E_MEMORY;
  int slot;
  f->place.shown[0] = 0;
  f->config = m->config; /* with its defaults resolved */
  if (known) s = bdpti_match(f, m, known);
  bdpti_free(f->place.ctx, known, f->file.count);
  for (slot = 0; slot < m->slots && !s; slot++) {
    if (!bdpti_slot_used(&m->config, slot)) continue;
    if (!bdpti_slot_alloc(m, slot)) return BDPT_E_MEMORY;
    s = bdpt_safetensors_read(f->place.ctx, bdpt_safetensors_find(&f->file, m->name[slot]),
                              m->param[slot].data, m->param[slot].count);
  }
  return s;
}

BDPT_API bdpt_model *bdpt_model_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                      const char *name, const bdpt_config *hint) {
  bdpti_source f;
  bdpt_model *m = NULL;
  bdpt_status s;
  memset(&f, 0, sizeof f);
  f.place = bdpti_here(ctx, name, BDPT_E_FORMAT);
  f.hint = hint;
  s = bdpt_safetensors_parse(ctx, bytes, size, f.place.file, &f.file);
  if (!s) s = bdpti_guess(&f);
  if (!s) s = bdpti_meta_read(&f);
  if (!s) s = bdpti_hint(&f);
  if (!s) m = bdpti_model_shell(ctx, &f.config);
  if (m) s = bdpti_meta_texts(&f, m);
  if (m && !s) s = bdpti_fill_model(&f, m);
  bdpt_safetensors_close(&f.file);
  if (!s) return m;
  bdpt_model_free(m);
  return NULL;
}

#ifndef BDPT_NO_STDIO
BDPT_API bdpt_model *bdpt_model_load(bdpt_context *ctx, const char *path, const bdpt_config *hint) {
  unsigned char *bytes;
  size_t size;
  bdpt_model *m;
  if (bdpt_file_read(ctx, path, &bytes, &size) != BDPT_OK) return NULL;
  m = bdpt_model_parse(ctx, bytes, size, path, hint);
  bdpti_free(ctx, bytes, size + 1);
  return m;
}

BDPT_API bdpt_status bdpt_model_save(const bdpt_model *m, const char *path, int dtype) {
  unsigned char *bytes;
  size_t size;
  bdpt_status s = bdpt_model_build(m, dtype, &bytes, &size);
  if (s) return s;
  s = bdpt_file_write(m->ctx, path, bytes, size);
  bdpti_free(m->ctx, bytes, size);
  return s;
}
#endif
#endif /* BOUNDARYDPT_IMPLEMENTATION */
