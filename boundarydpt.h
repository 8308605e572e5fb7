/* boundarydpt.h - 0.2.0 - train, depth-prune and fuse vision transformers on a CPU, in one header.
 * SPDX-License-Identifier: MIT OR Unlicense                                (both texts in LICENSE)
 *
 * A vision transformer alternates attention, where tokens exchange information, and an MLP, where
 * each token is transformed alone. BoundaryDPT removes whole attention layers and whole activations
 * (the GELU inside an MLP). Without its GELU the two linears of the MLP are one linear, so the
 * network becomes shallower and faster while no shape anywhere changes. Which layers go is found by
 * trying each with the best linear map in its place; then the network recovers, with the dense one
 * as its teacher. This file holds all of that: tensors, reverse-mode differentiation, DeiT,
 * training, the accuracy predictor, choosing layers, recovery, fusing, files. The two stages of the
 * paper, with its own choice, and the observations that led to them stand beside it, in
 * examples/plus/boundarydpt_studies.h.
 *
 * It is NOT a framework: no GPU, no convolutions beyond patch embedding, no graph compiler, and one
 * family of networks. It needs libc and libm; with OpenMP it uses several cores.
 *
 * HOW TO USE IT. Define BOUNDARYDPT_IMPLEMENTATION in exactly one C or C++ file. A whole program
 * (examples/embed.c; `make test` compares what it prints), cc -O2 -fopenmp program.c -lm:
 *
 *   #define BOUNDARYDPT_IMPLEMENTATION
 *   #include "boundarydpt.h"
 *   #include <stdio.h>
 *
 *   // Picture i, 8 x 8, is noise; its left half is brighter in class 0, its right half in class 1.
 *   static int picture(void *user, size_t i, unsigned char *planes) { // [3][8][8]
 *     bdpt_rng noise = {i};
 *     for (size_t p = 0; p < 3 * 64; p++) {
 *       planes[p] = (unsigned char)(200 * bdpt_uniform(&noise) + (p / 4 % 2 == i % 2 ? 50 : 0));
 *     }
 *     return user != NULL;                        // 0: it could be made
 *   }
 *
 *   int main(void) {
 *     static bdpt_context ctx;                    // all zeros: the defaults
 *     static bdpt_config config;
 *     static bdpt_recipe recipe;
 *     static unsigned short label[500];
 *     bdpt_dataset data = {500, 2, 8, 8, NULL, label, picture, NULL, NULL};
 *     bdpt_subset train, held;                    // 400 pictures teach, 100 judge
 *     bdpt_run run = {&train, NULL, NULL};
 *     bdpt_accuracy right;
 *     bdpt_cost_report cost;
 *     bdpt_layers gone = {{1 << 0, 1 << 1}};      // the attention of block 0, the GELU of block 1
 *     for (int i = 0; i < 500; i++) label[i] = (unsigned short)(i % 2);
 *     config.image = 8; config.patch = 4; config.classes = 2;
 *     config.width = 16; config.depth = 2; config.heads = 2;
 *     recipe.epochs = 4; recipe.batch = 20; recipe.lr = 1e-2;
 *     bdpt_init(&ctx);
 *     bdpt_model *model = bdpt_model_create(&ctx, &config, 1);
 *     if (!model || bdpt_split(&ctx, &data, 50, 1, &train, &held)) return puts(ctx.message), 1;
 *     for (int turn = 0; turn < 3; turn++) {      // train; take two layers out; train again
 *       if (turn == 1) bdpt_remove(model, &gone, BDPT_START_SKIP_FIT, &train, NULL);
 *       else bdpt_train(model, NULL, &run, &recipe, NULL);
 *       bdpt_evaluate(model, &held, &right);
 *       bdpt_cost(&ctx, &model->config, &cost);
 *       printf("%.0f %% right, %d parameters\n", right.top1, (int)cost.params);
 *     }
 *     bdpt_subset_free(&ctx, &train); bdpt_subset_free(&ctx, &held); bdpt_model_free(model);
 *     bdpt_finish(&ctx);
 *     if (ctx.status) puts(ctx.message);          // the first error, if there was one, stays here
 *     return ctx.status != BDPT_OK;
 *   }
 *
 *   // It prints, with other last digits on other processors:
 *   //   93 % right, 7506 parameters
 *   //   89 % right, 4530 parameters
 *   //   100 % right, 4530 parameters
 *
 * WHERE TO READ. Each chapter has a tag to search for:
 *
 *   >>guide      1  how to read, letters            >>train      8  optimiser, one step
 *   >>contract   2  what the library promises       >>prune      9  removing, fusing, fitting
 *   >>api        3  the declarations                >>map       10  the model accuracy predictor
 *   >>memory     4  memory, errors, random          >>method    11  choosing, recovery, long calls
 *   >>tape       5  tensors, differentiation        >>data      12  images, long runs, checkpoints
 *   >>ops        6  operations and their gradients  >>files     13  safetensors, models
 *   >>deit       7  the vision transformer          >>kernels   14  the engine room: vector kernels
 *
 * Start at >>tape if you know transformers, at >>deit if you know differentiation, and at >>prune
 * if you came for the paper. PAPER_NOTES.md maps every equation to a function, lists each
 * DEVIATION, and puts our figures beside the published ones.
 */

/* =================================================================================================
 * 1  READING GUIDE                                                                         >>guide
 * =================================================================================================
 * Where does one begin, and what do the letters mean? Half an hour: this page, >>prune, >>method.
 * An evening: chapters 5 to 11. tests/test_kernels.c holds chapter 14 to plain forms.
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
 * What can a caller rely on, whatever happens?
 *
 * Errors    Nothing exits, aborts or prints. A fallible call returns a bdpt_status or NULL, and the
 *           first error stays in the context as one sentence. A tape operation that gets NULL
 *           returns NULL, so a graph is checked once, at its end.
 * Memory    One allocator with a context pointer. A model's memory lives until bdpt_model_free, a
 *           step's memory until bdpt_tape_reset. Training steps allocate nothing after the first.
 *           When an allocation fails nothing leaks.
 * Threads   No mutable global; two contexts in two threads do not know of each other. Results have
 *           the same bits for any number of threads (of one binary on one machine). As always with
 *           OpenMP, fork() needs exec before the next call, and libgomp excludes libomp.
 * Numbers   bdpt_real is float, or double with BDPT_REAL. GELU is exact (erf); eps and the image
 *           statistics belong to the model.
 * Zeros     A zeroed struct asks for the defaults. BDPT_NONE in a field asks for zero itself.
 * Files     Nothing in a file is trusted. Saving never leaves half a file under the final name.
 *
 * Macros. Those with a star belong before every include, the others before the one that has
 * BOUNDARYDPT_IMPLEMENTATION:
 *
 *   BDPT_REAL       * float (default) or double
 *   BDPT_STATIC     * every function private to this file
 *   BDPT_NO_STDIO     no file access: a call that names a file fails; parse and build from memory
 *   BDPT_NO_OPENMP    one thread even if the compiler has OpenMP on
 *   BDPT_NO_VECTORS   plain scalar kernels, as for compilers without vector extensions
 *   BDPT_SELF         this file's name in quotes, if it was changed and the compiler is old (14.7)
 *   BDPT_ONLY_INFERENCE  * load, predict, count, save; no backward pass, training or fitting; with
 *                     gcc -O2 0.7 of the time to compile, 144 KB instead of 195 KB
 */
#ifndef BOUNDARYDPT_H
#define BOUNDARYDPT_H

#define BDPT_VERSION_MAJOR 0
#define BDPT_VERSION_MINOR 2
#define BDPT_VERSION_PATCH 0
#define BDPT_VERSION "0.2.0"

#include <stddef.h>
#include <stdint.h>

/* Linkage. BDPT_STATIC makes every public function private to the file that includes it, so that
 * two libraries in one program can each carry their own copy. Private ones are static, and silent
 * where none uses them; all but the HOT ones are compiled to be short, which takes a tenth less
 * time than making them fast. */
#if defined(__GNUC__) || defined(__clang__)
#define BDPTI_UNUSED __attribute__((unused))
#define BDPTI_FN __attribute__((cold, unused)) static /* compiled to be short */
#define BDPTI_HOT __attribute__((hot, unused)) static   /* and to be fast */
#ifdef __clang__
#define BDPTI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define BDPTI_PRINTF(f, a) __attribute__((format(gnu_printf, f, a))) /* %zu on Windows too */
#endif
#else
#define BDPTI_UNUSED
#define BDPTI_FN static
#define BDPTI_HOT static
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
 * Which calls are there, and who owns what they return?
 *
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
#define BDPT_NONE (-1) /* zero, where 0 would ask for the default */

/* Memory comes from one allocator with a context pointer. `free` is told the size again, so an
 * arena or a counting allocator needs no headers of its own. NULL functions: malloc and free. */
typedef struct bdpt_allocator {
  void *(*alloc)(void *user, size_t bytes);
  void (*free)(void *user, void *pointer, size_t bytes);
  void *user;
} bdpt_allocator;

typedef enum bdpt_isa_choice { /* BEST: the widest that this processor runs */
  BDPT_ISA_BEST = 0, BDPT_ISA_PORTABLE = 1, BDPT_ISA_AVX2 = 2, BDPT_ISA_AVX512 = 3
} bdpt_isa_choice;

struct bdpti_isa;

/* Several processes that train one network together, each with a context of its own, see
 * >>ranks. `reduce` adds count numbers up over all processes, so that each holds the sums; they are
 * bdpt_real where `bytes` is sizeof(bdpt_real) and double where it is 8. It returns BDPT_OK, or the
 * status to end the call with. */
typedef struct bdpt_cluster {
  int rank, size;           /* this process of so many; size 0 or 1: alone */
  int (*reduce)(void *user, void *values, size_t count, size_t bytes);
  void *user;
} bdpt_cluster;

/* Everything a program shares between its models. Fill a zeroed struct's first fields as you like
 * and call bdpt_init. One context belongs to one thread at a time (its kernels use `threads`). */
#define BDPT_MAX_THREADS 1024 /* more can only be a mistake; our limit */
typedef struct bdpt_context {
  bdpt_allocator allocator; /* zero: malloc and free */
  int threads;              /* 0: as many as OpenMP offers; 1 without OpenMP */
  bdpt_isa_choice isa_wanted; /* 0: the best */
  int bf16;                 /* 1: matrix products round their factors to bf16 (14.3); 0: float */
  bdpt_cluster cluster;     /* zero: this process works alone */
  bdpt_status status;       /* the first error, sticky until bdpt_clear_error */
  char message[400];        /* its sentence */
  const struct bdpti_isa *isa; /* the vector kernels in use */
  void *scratch;            /* one workspace, reused by every kernel */
  size_t scratch_bytes;
  size_t bytes_now, bytes_peak; /* what the allocator has handed out through this context */
} bdpt_context;

BDPT_API bdpt_status bdpt_init(bdpt_context *ctx);   /* resolves the defaults of a zeroed one */
BDPT_API void bdpt_finish(bdpt_context *ctx);        /* frees the workspace; may be called twice */
BDPT_API void bdpt_clear_error(bdpt_context *ctx);
/* Lets code of your own fail as the library's does. The sentence becomes the context's error if it
 * is the first; %s %d %zu %g %c are filled in. Returns the status, for `return bdpt_fail(...)`. */
BDPTI_PRINTF(3, 4)
BDPT_API bdpt_status bdpt_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...);
/* Writes such a sentence, cut off where there is no more room: snprintf without a locale. */
BDPTI_PRINTF(3, 4)
BDPT_API void bdpt_format(char *out, size_t room, const char *format, ...);
/* Returns zeroed memory of the context's allocator, aligned to 64 bytes, or NULL after an error.
 * The caller gives it back with bdpt_release and the same size; NULL is allowed there. */
BDPT_API void *bdpt_alloc(bdpt_context *ctx, size_t bytes);
BDPT_API void bdpt_release(bdpt_context *ctx, void *block, size_t bytes);
/* Holds the bytes that a call returns: a file's, or those of a file to be. A 0 that is not counted
 * stands behind them, so text needs no copy. The caller owns them; freeing leaves all zeros. */
typedef struct bdpt_bytes { unsigned char *data; size_t size; } bdpt_bytes;
BDPT_API void bdpt_bytes_free(bdpt_context *ctx, bdpt_bytes *bytes);
BDPT_API const char *bdpt_status_string(bdpt_status status);
BDPT_API const char *bdpt_version(void);
BDPT_API const char *bdpt_isa_name(const bdpt_context *ctx); /* returns "avx512", "avx2" ... */
BDPT_API int bdpt_bf16_pays(const bdpt_context *ctx); /* 1 if bf16 numbers are multiplied as such */

/* Random numbers: a 64-bit counter hashed, see >>random. The state is the whole generator. */
typedef struct bdpt_rng { uint64_t state; } bdpt_rng;
BDPT_API void bdpt_rng_seed(bdpt_rng *rng, uint64_t seed, uint64_t stream);
BDPT_API double bdpt_uniform(bdpt_rng *rng); /* draws from [0, 1) */
BDPT_API double bdpt_normal(bdpt_rng *rng);  /* draws with mean 0 and deviation 1 */

/* ---- 3.2  Tensors and the tape --------------------------------------------------------------- */

#define BDPT_MAX_DIMS 4 /* axes of a tensor: image, channel, row and column */

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
  const bdpt_real *packed; /* a weight in the order of the product (bdpt_model_pack), or NULL */
  const char *name;    /* for messages; may be NULL */
} bdpt_tensor;

/* Writes a tensor's name and shape for a message, "qkv[8,197,576]"; by value, nothing to free. */
typedef struct bdpt_shape_text { char text[96]; } bdpt_shape_text;
BDPT_API bdpt_shape_text bdpt_shape(const bdpt_tensor *x);

typedef struct bdpt_tape bdpt_tape; /* opaque: records operations, owns what one step needs */

/* What a tape keeps. COMPUTE keeps nothing for a backward pass. RECOMPUTE keeps less than RECORD:
 * the hidden activations of bdpt_mlp are computed again on the way back. */
typedef enum bdpt_tape_mode {
  BDPT_TAPE_COMPUTE = 0, BDPT_TAPE_RECORD = 1, BDPT_TAPE_RECOMPUTE = 2
} bdpt_tape_mode;
BDPT_API bdpt_tape *bdpt_tape_create(bdpt_context *ctx, bdpt_tape_mode mode);
BDPT_API void bdpt_tape_reset(bdpt_tape *tape);  /* forgets every tensor, keeps the memory */
BDPT_API void bdpt_tape_free(bdpt_tape *tape);   /* NULL is allowed */
BDPT_API bdpt_context *bdpt_tape_context(const bdpt_tape *tape);

/* Makes a tensor on the tape that holds a copy of data[product of shape], or zeros for NULL. */
BDPT_API bdpt_tensor *bdpt_input(bdpt_tape *tape, int ndim, const size_t *shape,
                                 const bdpt_real *data, int wants_grad);

/* Operations. Each returns a new tensor on the tape, or NULL after an error that names the shapes,
 * and NULL for NULL. Chapter 6 begins with a table of what goes in and what comes out. */
/* Gives x W^T + b, and r on top where it is not NULL. */
BDPT_API bdpt_tensor *bdpt_linear(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *w, bdpt_tensor *b,
                                  bdpt_tensor *r);
/* The activation of an MLP (6.5): DeiT's exact GELU, two approximations of it, and another one. */
typedef enum bdpt_act {
  BDPT_GELU = 0, BDPT_GELU_TANH = 1, BDPT_QUICK_GELU = 2, BDPT_RELU = 3
} bdpt_act;
/* Gives x + W2 act(W1 LN(x) + b1) + b2; w is gamma[D], beta[D], W1[F,D], b1[F], W2[D,F], b2[D]. */
BDPT_API bdpt_tensor *bdpt_mlp(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *const w[6], double eps,
                               bdpt_act act);
BDPT_API bdpt_tensor *bdpt_layernorm(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *gamma,
                                     bdpt_tensor *beta, double eps); /* norms the last axis */
BDPT_API bdpt_tensor *bdpt_activate(bdpt_tape *t, bdpt_tensor *x, bdpt_act act);
/* Where `count` is not NULL, key j of image b stands for count[b,j] keys like it, at least 1. */
BDPT_API bdpt_tensor *bdpt_attention(bdpt_tape *t, bdpt_tensor *qkv, bdpt_tensor *count, int heads,
                                     double scale);
BDPT_API bdpt_tensor *bdpt_patch_embed(bdpt_tape *t, bdpt_tensor *images, bdpt_tensor *w,
                                       bdpt_tensor *b);
/* Joins the tokens of an image: cls, dist, reg where they are not NULL, patches; and adds pos. */
BDPT_API bdpt_tensor *bdpt_tokens(bdpt_tape *t, bdpt_tensor *patches, bdpt_tensor *cls,
                                  bdpt_tensor *dist, bdpt_tensor *reg, bdpt_tensor *pos);
/* Averages `count` tokens from `first` on, 0: all that follow -> [B,D]; one is copied. With `token`
 * the mean stands behind the first token of all -> [B,2D]. */
BDPT_API bdpt_tensor *bdpt_pool(bdpt_tape *t, bdpt_tensor *x, size_t first, size_t count,
                                int token);
BDPT_API bdpt_tensor *bdpt_add(bdpt_tape *t, bdpt_tensor *a, bdpt_tensor *b); /* adds like shapes */
BDPT_API bdpt_tensor *bdpt_scale(bdpt_tape *t, bdpt_tensor *x, double factor);
BDPT_API bdpt_tensor *bdpt_drop_path(bdpt_tape *t, bdpt_tensor *x, double rate, bdpt_rng *rng);
/* Gives m f + (1 - m) r. With a mask of 0 or 1 that stands for m, which only learns (straight
 * through); with BDPT_NONE it is m itself. */
BDPT_API bdpt_tensor *bdpt_mix(bdpt_tape *t, bdpt_tensor *f, bdpt_tensor *r, bdpt_tensor *m,
                               double mask);
BDPT_API bdpt_tensor *bdpt_cross_entropy(bdpt_tape *t, bdpt_tensor *z, const bdpt_real *targets);
BDPT_API bdpt_tensor *bdpt_distill_soft(bdpt_tape *t, bdpt_tensor *z, const bdpt_real *teacher,
                                        double temperature);
/* Measures how far x is from y, which is taken as given: sum (x - y)^2 / sum y^2, one number. */
BDPT_API bdpt_tensor *bdpt_match(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *y);

/* An operation of your own (6.18, examples/08_own_operation.c): `forward` fills out->data from the
 * inputs, `backward` adds dL/din[i] to dx[i] wherever that is not NULL. Both return a status. */
#define BDPT_MAX_INPUTS 7 /* an MLP in one operation has as many */
typedef struct bdpt_op_run {
  bdpt_context *ctx;
  const bdpt_tensor *in[BDPT_MAX_INPUTS];
  const bdpt_tensor *out;
  const bdpt_real *dy;            /* [out->count], dL/dout; NULL in the forward pass */
  bdpt_real *dx[BDPT_MAX_INPUTS]; /* [in[i]->count]; NULL: this input wants no gradient */
  void *saved;                    /* what forward leaves for backward; not zeroed; aligned to 64 */
  void *user;                     /* the operation's */
} bdpt_op_run;
typedef struct bdpt_op {
  const char *name;               /* for messages */
  bdpt_status (*forward)(const bdpt_op_run *run);
  bdpt_status (*backward)(const bdpt_op_run *run); /* NULL: refused where a gradient is wanted */
  size_t saved;                   /* bytes */
  void *user;                     /* it and the name are borrowed until the tape is reset */
} bdpt_op;
/* Runs it on in[count] and records it. The output has the given shape. */
BDPT_API bdpt_tensor *bdpt_tape_op(bdpt_tape *tape, const bdpt_op *op, bdpt_tensor *const *in,
                                   int count, int ndim, const size_t *shape);

#ifndef BDPT_ONLY_INFERENCE
/* Fills the gradients of everything that `out` was computed from, from dL/dout = seed[out->count],
 * or 1 for NULL, where out is one number. An input that nothing was added to keeps grad == NULL,
 * which means zero. Parameters accumulate into their grad, so zero them before a step
 * (bdpt_model_zero_grad). */
BDPT_API bdpt_status bdpt_backward(bdpt_tape *tape, bdpt_tensor *out, const bdpt_real *seed);
#endif /* BDPT_ONLY_INFERENCE */

/* ---- 3.3  Models ----------------------------------------------------------------------------- */

#define BDPT_MAX_DEPTH 64 /* blocks: a set of layers has a bit for each in 64 bits */

/* The two types of layer that can be removed, one of each in every block; and a set of layers. */
typedef enum bdpt_type { BDPT_ATTENTION = 0, BDPT_ACTIVATION = 1 } bdpt_type;
typedef struct bdpt_layer { bdpt_type type; int block; } bdpt_layer;
typedef struct bdpt_layers {
  uint64_t blocks[2];
} bdpt_layers;                                       /* by type; bit l stands for block l */
BDPT_API const char *bdpt_type_name(bdpt_type type); /* returns "attention" or "activation" */
BDPT_API void bdpt_layers_add(bdpt_layers *set, bdpt_type type, int block);
BDPT_API int bdpt_layers_has(const bdpt_layers *set, bdpt_type type, int block);

/* What stands in an attention layer's place, and what an MLP is: two linears with the activation
 * between them or without it, or one D x D map, which either is their product or was fitted. */
typedef enum bdpt_attention_state {
  BDPT_ATTENTION_KEPT = 0, BDPT_ATTENTION_REMOVED = 1, BDPT_ATTENTION_FITTED = 2
} bdpt_attention_state;
typedef enum bdpt_mlp_state {
  BDPT_MLP_KEPT = 0, BDPT_MLP_LINEAR = 1, BDPT_MLP_FUSED = 2, BDPT_MLP_FITTED = 3
} bdpt_mlp_state;
typedef enum bdpt_attn_form { /* what removed attention leaves: x + LN1(x), x, 2x */
  BDPT_ATTN_NORM = 0, BDPT_ATTN_SKIP = 1, BDPT_ATTN_DOUBLE = 2
} bdpt_attn_form;
typedef enum bdpt_extra_gelu { /* the released code's, on the stream behind a removed activation */
  BDPT_GELU_NEVER = 0, BDPT_GELU_BOTH = 1, BDPT_GELU_ALWAYS = 2
} bdpt_extra_gelu;
typedef enum bdpt_pos_resize { BDPT_POS_TIMM = 0, BDPT_POS_DEIT = 1 } bdpt_pos_resize;

/* What the class head reads: the class token after the last norm; the norm of the patches' mean
 * (timm's fc_norm); the mean of the normed patches; both, one behind the other, [B,2D]. */
typedef enum bdpt_pooling {
  BDPT_POOL_CLASS = 0, BDPT_POOL_MEAN = 1, BDPT_POOL_NORMED = 2, BDPT_POOL_BOTH = 3
} bdpt_pooling;

/* One transformer block as plain data. Zero sizes are filled from the model's on creation. */
typedef struct bdpt_block {
  int heads, head_dim; /* h, d; heads * head_dim need not be the width */
  int mlp;             /* hidden width F of its MLP */
  double scale;        /* softmax scale; 0: 1/sqrt(head_dim) */
  bdpt_attention_state attention;
  bdpt_mlp_state mlp_state;
} bdpt_block;

/* A zero-filled config means DeiT-Tiny at 224 px with 1000 classes; resolved by bdpt_model_create
 * and readable in model->config. */
typedef struct bdpt_config {
  int image, patch, channels; /* 224 pixels down and across, 16, 3 */
  int image_width;            /* pixels across where they are others than down; 0: as many */
  int width, depth, heads;    /* 192, 12, 3 */
  int mlp;                    /* default hidden width; 0: 4 * width */
  int classes;                /* 1000 */
  int distilled;              /* 1: a distillation token and a second head */
  double eps;                 /* layer norm; 0: 1e-6, timm's */
  double mean[3], std[3];     /* image statistics; all zero: ImageNet's */
  bdpt_attn_form attn_form;
  bdpt_extra_gelu extra_gelu;
  bdpt_pos_resize pos_resize; /* how position embeddings are resized */
  bdpt_act act;               /* of every MLP */
  bdpt_pooling pool;          /* what the class head reads */
  int no_class;               /* 1: no class token; `pool` is a mean then */
  int registers;              /* tokens behind the class token, which no head reads */
  int pre_norm;               /* 1: a norm before the first block, and no bias of the patches */
  int no_qkv_bias;            /* 1: q, k and v have no bias */
  int headless;               /* 1: no classifier: what it would read are the logits */
  bdpt_block block[BDPT_MAX_DEPTH];
} bdpt_config;

/* Knows "deit_tiny_patch16_224", "deit_small_...", "deit_base_...", "deit_base_patch16_384", and
 * these with "_distilled_" after the size. Returns BDPT_E_ARGUMENT for any other name. */
BDPT_API bdpt_status bdpt_config_named(bdpt_context *ctx, const char *name, bdpt_config *out);
/* Fills the zeros and checks the rest. bdpt_model_create calls it; harmless to call twice. */
BDPT_API bdpt_status bdpt_config_resolve(bdpt_context *ctx, bdpt_config *config);
/* Count, in a resolved one, the tokens of an image, N, and those that stand before its patches. */
BDPT_API int bdpt_token_count(const bdpt_config *config);
BDPT_API int bdpt_prefix_count(const bdpt_config *config);
BDPT_API int bdpt_image_width(const bdpt_config *config);      /* returns W, also of a square */
BDPT_API size_t bdpt_image_numbers(const bdpt_config *config); /* returns C H W */

/* Slots: where each parameter of a model is kept. Block l's slot s is BDPT_SLOTS_FIXED + l *
 * BDPT_SLOTS_BLOCK + s. A slot that the configuration does not use has data == NULL. */
enum {
  BDPT_SLOT_CLS, BDPT_SLOT_DIST, BDPT_SLOT_POS, BDPT_SLOT_PATCH_W, BDPT_SLOT_PATCH_B,
  BDPT_SLOT_NORM_W, BDPT_SLOT_NORM_B, BDPT_SLOT_HEAD_W, BDPT_SLOT_HEAD_B, BDPT_SLOT_HEAD2_W,
  BDPT_SLOT_HEAD2_B, BDPT_SLOT_REG, BDPT_SLOT_PRE_W, BDPT_SLOT_PRE_B, BDPT_SLOT_FC_NORM_W,
  BDPT_SLOT_FC_NORM_B, BDPT_SLOTS_FIXED
};
enum {
  BDPT_SLOT_NORM1_W, BDPT_SLOT_NORM1_B, BDPT_SLOT_QKV_W, BDPT_SLOT_QKV_B, BDPT_SLOT_PROJ_W,
  BDPT_SLOT_PROJ_B, BDPT_SLOT_AFIT_W, BDPT_SLOT_AFIT_B, BDPT_SLOT_NORM2_W, BDPT_SLOT_NORM2_B,
  BDPT_SLOT_FC1_W, BDPT_SLOT_FC1_B, BDPT_SLOT_FC2_W, BDPT_SLOT_FC2_B, BDPT_SLOT_FUSED_W,
  BDPT_SLOT_FUSED_B, BDPT_SLOTS_BLOCK
};
#define BDPT_SLOT(l, s) (BDPT_SLOTS_FIXED + (l) * BDPT_SLOTS_BLOCK + (s))
#define BDPT_MAX_SLOTS (BDPT_SLOTS_FIXED + BDPT_MAX_DEPTH * BDPT_SLOTS_BLOCK)

typedef struct bdpt_forward_options {
  int training;       /* 1: drop path active, both heads returned */
  double drop_path;   /* rate of the last block; grows linearly from 0 in the first */
  uint64_t seed;      /* of the drop-path masks; use a new one each step */
  int importance;     /* 1: mix every kept layer with its removal, so importance gets gradients */
  bdpt_tensor **blocks; /* [depth], gets the stream behind each block on the tape; or NULL */
} bdpt_forward_options;

/* Computes block l in place of the standard one, x[B,N,D] -> [B,N',D] with N' at most N, the class
 * token (and the distillation token) in front. See bdpt_attention_half. */
struct bdpt_model;
typedef bdpt_tensor *(*bdpt_block_forward)(struct bdpt_model *model, bdpt_tape *tape, int l,
                                           bdpt_tensor *x, const bdpt_forward_options *options,
                                           void *user);

typedef struct bdpt_model {
  bdpt_context *ctx;
  bdpt_config config;
  bdpt_tensor param[BDPT_MAX_SLOTS]; /* data NULL where unused; the model owns data and grad */
  char name[BDPT_MAX_SLOTS][40];     /* timm's names: "blocks.3.attn.qkv.weight" */
  int slots;                         /* BDPT_SLOTS_FIXED + depth * BDPT_SLOTS_BLOCK */
  bdpt_tensor importance[2][BDPT_MAX_DEPTH]; /* the trainable scalar of each layer, by type */
  bdpt_real importance_data[2][2][BDPT_MAX_DEPTH]; /* [value or gradient][type][layer] */
  char importance_name[2][BDPT_MAX_DEPTH][28];     /* "blocks.3.attn.importance" */
  bdpt_real *packed;                 /* every weight once more (bdpt_model_pack), or NULL */
  size_t packed_bytes;
  const struct bdpti_isa *packed_isa;
  int packed_bf16;
  char parent[65];                   /* hex digest of the dense network this one came from, or "" */
  char certificate[200];             /* what fusing cost, in one sentence, or "" */
  char preprocessing[100];           /* how its input images were made, or "" */
  char *labels;                      /* what its classes are called (bdpt_model_label), or NULL */
  bdpt_block_forward block;          /* yours to set, in clones too but not in files; NULL: the */
  void *block_user;                  /* standard block. And what it is called with, borrowed */
  int users;                         /* trainers that need it; the last of them frees it */
} bdpt_model;

/* Creates a model with fresh weights drawn from seed: as in DeiT normal with deviation 0.02 for
 * linears, tokens and positions, ones and zeros for norms, zero biases. NULL on failure. */
BDPT_API bdpt_model *bdpt_model_create(bdpt_context *ctx, const bdpt_config *config, uint64_t seed);
BDPT_API bdpt_model *bdpt_model_clone(const bdpt_model *model);
BDPT_API void bdpt_model_free(bdpt_model *model); /* allows NULL; waits until no trainer needs it */
/* Keeps every linear's weight a second time, as the matrix product reads it: a single image is then
 * classified a tenth faster. Whoever writes weights packs again; training drops the copies. */
BDPT_API bdpt_status bdpt_model_pack(bdpt_model *model);
BDPT_API void bdpt_model_unpack(bdpt_model *model);
/* Copies a model under another configuration of the same depth, such as a narrower one: parameters
 * of the same size are copied, all others are zeros for the caller to fill. NULL on failure. */
BDPT_API bdpt_model *bdpt_model_reshape(const bdpt_model *from, const bdpt_config *config);
/* Makes `to` the same network as `from`: structure and values. On failure `to` is unchanged. */
BDPT_API bdpt_status bdpt_model_assign(bdpt_model *to, const bdpt_model *from);
/* Tells whether a parameter takes part in the network as it is: a removed layer's does not. */
BDPT_API int bdpt_model_active(const bdpt_model *model, int slot);
/* Tells whether it decays, by timm's rule: two axes or more, and no token or position embedding. */
BDPT_API int bdpt_model_decays(const bdpt_model *model, int slot);
/* Make gradient memory for every active parameter (allocated once), and set all of it to zero. */
BDPT_API bdpt_status bdpt_model_train_mode(bdpt_model *model);
BDPT_API void bdpt_model_zero_grad(bdpt_model *model);
/* Digests every active parameter's bytes to 16 hex digits, equal for equal weights. */
BDPT_API void bdpt_model_hash(const bdpt_model *model, char out[17]);
/* Draws a new classifier for `classes` classes from seed (pretrained heads rarely fit). */
BDPT_API bdpt_status bdpt_model_new_head(bdpt_model *model, int classes, uint64_t seed);
/* Keeps a copy of the classes' names, a JSON array of texts that is not looked at; NULL: none. They
 * go into files, and into copies unless the number of classes changes. */
BDPT_API bdpt_status bdpt_model_label(bdpt_model *model, const char *names);
/* Gives the network another input size (width 0: square), positions as config.pos_resize says. */
BDPT_API bdpt_status bdpt_model_resize(bdpt_model *model, int height, int width);

/* Takes images [B, channels, H, W], normalised, to logits [B, K]. A distilled model in training
 * gives the class head's logits and, in *dist (may be NULL), the distillation head's; otherwise the
 * mean of both. options NULL: evaluation. */
BDPT_API bdpt_tensor *bdpt_forward(bdpt_model *model, bdpt_tape *tape, bdpt_tensor *images,
                                   const bdpt_forward_options *options, bdpt_tensor **dist);

/* Runs all before the last norm: images [B, channels, H, W] -> x[B, N, D], the class token first.
 * And the halves of the standard block l, x[B,N,D] -> [B,N,D], whatever is left of the layer: for a
 * block of your own, which may call both, one, or neither, and read the weights in model->param. */
BDPT_API bdpt_tensor *bdpt_trunk(bdpt_model *model, bdpt_tape *tape, bdpt_tensor *images,
                                 const bdpt_forward_options *options);
BDPT_API bdpt_tensor *bdpt_attention_half(bdpt_model *model, bdpt_tape *tape, int l,
                                          bdpt_tensor *x, const bdpt_forward_options *options);
BDPT_API bdpt_tensor *bdpt_mlp_half(bdpt_model *model, bdpt_tape *tape, int l, bdpt_tensor *x,
                                    const bdpt_forward_options *options);

/* Takes images [count,channels,H,W] to logits [count,K] without a tape of your own, both the
 * caller's. `tape` is a non-recording tape that serves as workspace; it is reset. */
BDPT_API bdpt_status bdpt_predict(bdpt_model *model, bdpt_tape *tape, size_t count,
                                  const bdpt_real *images, bdpt_real *logits);
/* Does the same for one picture as decoders give it, rgb[height][width][3], which is squeezed into
 * the network's input and normalised by its statistics. Crop before what should not be squeezed. */
BDPT_API bdpt_status bdpt_predict_rgb(bdpt_model *model, bdpt_tape *tape, const unsigned char *rgb,
                                      int height, int width, bdpt_real *logits);

/* ---- 3.4  Removing and fusing ---------------------------------------------------------------- */

/* Each refuses, with the reason, what cannot be done: a layer out of range or already removed; a
 * restore after fusing; a fusion while the activation is in place. */
BDPT_API bdpt_status bdpt_prune(bdpt_model *model, bdpt_type type, int layer);
BDPT_API bdpt_status bdpt_restore(bdpt_model *model, bdpt_type type, int layer);
BDPT_API bdpt_status bdpt_fuse(bdpt_model *model, int layer);
BDPT_API bdpt_status bdpt_fuse_all(bdpt_model *model); /* fuses all without an activation */
/* What takes a removed layer's place when training goes on. A fitted map (9.4) trains like any
 * weight; a skip leaves the residual stream alone; the paper leaves the identity, that is x +
 * LN1(x) for attention and W2 W1 for an MLP. The default and every FIT need images. */
typedef enum bdpt_start {
  BDPT_START_SKIP_FIT = 0,   /* attention: skip; activation: a fitted map */
  BDPT_START_PAPER,          /* both: the identity */
  BDPT_START_SKIP,           /* attention: skip; activation: the identity */
  BDPT_START_FIT,            /* both: a fitted map */
  BDPT_START_FIT_ATTENTION,  /* attention: a fitted map; activation: the identity */
  BDPT_START_FIT_ACTIVATION  /* attention: the identity; activation: a fitted map */
} bdpt_start;
BDPT_API int bdpt_removed(const bdpt_config *config, bdpt_type type); /* counts those not kept */

typedef struct bdpt_cost_report {
  size_t params;
  double macs;            /* multiply-accumulates per image, QK^T and AV products counted */
  double macs_no_matmul;  /* without them: the other published convention */
} bdpt_cost_report;
BDPT_API bdpt_status bdpt_cost(bdpt_context *ctx, const bdpt_config *config, bdpt_cost_report *out);

#ifndef BDPT_ONLY_INFERENCE
/* ---- 3.5  Data ------------------------------------------------------------------------------- */

/* Images as bytes, channel planes [3][height][width], with a label each: all in memory (`pixels`),
 * or made on demand by `fetch`, which must be callable from several threads at once and return 0 on
 * success. `change` is an augmentation of your own, or NULL: training calls it, from several
 * threads too, with a copy of each image before that is cropped; what it draws comes from `rng`. */
typedef struct bdpt_dataset {
  size_t count;
  int classes, height, width;
  unsigned char *pixels;       /* [count][3][height][width], or NULL */
  unsigned short *label;       /* [count] */
  int (*fetch)(void *user, size_t index, unsigned char *planes);
  void *user;
  void (*change)(void *user, bdpt_rng *rng, unsigned char *planes);
} bdpt_dataset;

/* A choice of a data set's images. The subset owns `index`. */
typedef struct bdpt_subset {
  const bdpt_dataset *data;
  size_t *index;
  size_t count;
} bdpt_subset;

/* Frees pixels and labels that bdpt_alloc made. With `fetch`, they are the caller's own to free. */
BDPT_API void bdpt_dataset_free(bdpt_context *ctx, bdpt_dataset *data);
/* Lets `per_class` images of each class (chosen by seed) go to `held`, all others to `rest`. */
BDPT_API bdpt_status bdpt_split(bdpt_context *ctx, const bdpt_dataset *data, int per_class,
                                uint64_t seed, bdpt_subset *rest, bdpt_subset *held);
/* Takes the first `count` of a seeded shuffle, the same number of each class as far as possible. */
BDPT_API bdpt_status bdpt_sample(bdpt_context *ctx, const bdpt_subset *from, size_t count,
                                 uint64_t seed, bdpt_subset *out);
BDPT_API bdpt_status bdpt_subset_all(bdpt_context *ctx, const bdpt_dataset *data, bdpt_subset *out);
BDPT_API void bdpt_subset_free(bdpt_context *ctx, bdpt_subset *subset);

/* Loads images subset[first .. first+count) for evaluation: resized to config->image, normalised by
 * its statistics -> images [count][3][H][W], labels [count] (NULL allowed). */
BDPT_API bdpt_status bdpt_load_batch(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_subset *subset, size_t first, size_t count,
                                     bdpt_real *images, int *labels);

typedef struct bdpt_accuracy {
  size_t count;
  double top1, top5; /* per cent */
  double loss;       /* mean cross-entropy, nats */
} bdpt_accuracy;
BDPT_API bdpt_status bdpt_evaluate(bdpt_model *model, const bdpt_subset *data, bdpt_accuracy *out);

/* ---- 3.6  Training --------------------------------------------------------------------------- */

typedef enum bdpt_distill { /* OFF: none, also where 0 asks for another default */
  BDPT_DISTILL_OFF = BDPT_NONE, BDPT_DISTILL_NONE = 0, BDPT_DISTILL_HARD = 1, BDPT_DISTILL_SOFT = 2
} bdpt_distill;

#define BDPT_MAX_RESTARTS 40 /* of the schedule; our limit */

/* The numbers of a training recipe, which a checkpoint remembers: type and name, what 0 stands for,
 * the least and the largest value. Augmentations are off unless asked for. */
#define BDPT_RECIPE(X) \
  X(int, epochs, 1, 1, 1e6) \
  X(int, batch, 128, 1, 1 << 20) \
  X(int, repeats, 1, 1, 1e6)             /* repeated augmentation: each image this often */ \
  X(double, lr, 5e-4, 0, 1e9)            /* peak learning rate */ \
  X(double, min_lr, 0, 0, 1e9)           /* end of each cosine; 0: lr / 100 */ \
  X(double, warmup_lr, 1e-6, 0, 1e9)     /* start of the warm-up */ \
  X(double, warmup, 0, 0, 1e9)           /* its length in epochs */ \
  X(int, restarts, 0, 0, BDPT_MAX_RESTARTS) /* of the learning rate, at the epochs `restart` */ \
  X(double, beta1, 0.9, 0, 1 - 1e-12) \
  X(double, beta2, 0.999, 0, 1 - 1e-12) \
  X(double, adam_eps, 1e-8, 1e-30, 1e9) \
  X(double, weight_decay, 0.05, 0, 1e9) \
  X(double, clip, 0, 0, 1e30)            /* largest gradient norm; 0: no clipping */ \
  X(double, ema, 0, 0, 1)                /* decay of the averaged weights; 0: none */ \
  X(int, importance, 0, 0, 1)            /* 1: train the importance scalars too (stage 1) */ \
  X(int, recompute, 0, 0, 1)             /* 1: less memory, more time: BDPT_TAPE_RECOMPUTE */ \
  X(int, crop, 0, 0, 4096)               /* zero padding of the random crop, source pixels */ \
  X(int, flip, 0, 0, 1)                  /* 1: horizontal flip with probability 0.5 */ \
  X(double, erase, 0, 0, 1)              /* probability of noise in a random rectangle */ \
  X(double, mixup, 0, 0, 1e9)            /* Beta parameters; if both are on, ... */ \
  X(double, cutmix, 0, 0, 1e9)           /* ... `switch_prob` decides per batch */ \
  X(double, mix_prob, 1, 0, 1)           /* probability that a batch is mixed at all */ \
  X(double, switch_prob, 0.5, 0, 1)      /* probability of cutmix when both are on */ \
  X(double, smoothing, 0, 0, 1)          /* label smoothing */ \
  X(double, drop_path, 0, 0, 1 - 1e-12)  /* stochastic depth of the last block */ \
  X(bdpt_distill, distill, 0, 0, BDPT_DISTILL_SOFT) /* needs a teacher */ \
  X(double, distill_alpha, 0.5, 0, 1)    /* weight of the distillation loss */ \
  X(double, distill_tau, 1, 1e-6, 1e9)   /* temperature of soft distillation */ \
  X(double, distill_features, 0, 0, 1e9) /* weight of the distance between the streams (6.17) */

typedef struct bdpt_recipe {
#define BDPTI_MEMBER(type, name, zero, least, most) type name;
  BDPT_RECIPE(BDPTI_MEMBER)
  size_t epoch_images;    /* images per epoch; 0: all of the training subset */
  double restart[BDPT_MAX_RESTARTS]; /* where the cosine starts again, in epochs */
  uint64_t seed;          /* of everything random */
  int resolved;           /* 1: the zeros are filled in, and a zero is zero */
} bdpt_recipe;

BDPT_API void bdpt_recipe_resolve(bdpt_recipe *recipe); /* fills the zeros, once */
/* Returns the learning rate at a time in epochs from the start (fractions allowed). */
BDPT_API double bdpt_schedule(const bdpt_recipe *resolved, double epoch);

/* A long call tells its caller this. Any answer but 0 makes it save and return BDPT_CANCELLED. */
typedef struct bdpt_progress {
  const char *phase;      /* "train", "evaluate", "recovery", "map", "search", "greedy" ... */
  const char *detail;     /* what is under way, e.g. "remove attention 3"; may be "" */
  size_t done, total;     /* in `unit`s */
  const char *unit;       /* "images" */
  double loss, accuracy;  /* running values; NaN when there is none */
} bdpt_progress;
typedef struct bdpt_hooks {
  int (*progress)(const bdpt_progress *p, void *user); /* NULL: silent */
  void *user;
  const char *checkpoint; /* file to save to after each epoch and resume from; NULL: none */
} bdpt_hooks;

/* What every long call is given: the images to train on and those to judge by, and its hooks. The
 * structs behind the pointers are borrowed until the call returns. */
typedef struct bdpt_run {
  const bdpt_subset *train, *held; /* held may be NULL where a call says so */
  const bdpt_hooks *hooks;         /* NULL: silent, and nothing is saved */
} bdpt_run;

/* One epoch's line of a training log. */
typedef struct bdpt_epoch {
  int epoch;              /* 1-based */
  double lr, loss;        /* at the end; mean over the epoch */
  double grad_norm;       /* mean over the epoch, before clipping */
  bdpt_accuracy held;     /* on the held-out subset, count 0 if there is none */
} bdpt_epoch;

typedef struct bdpt_trainer bdpt_trainer; /* opaque: optimiser moments, step count, workspace */

/* Keeps model and teacher (or NULL), borrows train (NULL: for bdpt_trainer_step_on). */
BDPT_API bdpt_trainer *bdpt_trainer_create(bdpt_model *model, bdpt_model *teacher,
                                           const bdpt_subset *train, const bdpt_recipe *recipe);
BDPT_API void bdpt_trainer_free(bdpt_trainer *trainer);
/* Makes one step; *loss may be NULL. Stops with BDPT_E_NUMERIC before the weights change if the
 * loss or a gradient is not finite, naming the tensor and the step. */
BDPT_API bdpt_status bdpt_trainer_step(bdpt_trainer *trainer, double *loss);
/* Does the same for a loss that `lesson` makes on the tape of images of its own; nothing is
 * augmented or distilled. `options` are for its forward pass. */
typedef bdpt_tensor *(*bdpt_objective)(bdpt_model *model, bdpt_tape *tape,
                                    const bdpt_forward_options *options, size_t step, void *user);
BDPT_API bdpt_status bdpt_trainer_step_on(bdpt_trainer *trainer, bdpt_objective lesson, void *user,
                                          double *loss);
BDPT_API size_t bdpt_trainer_steps_done(const bdpt_trainer *trainer);
BDPT_API size_t bdpt_trainer_steps_per_epoch(const bdpt_trainer *trainer);
/* Gives the mean |dL/dm| of each layer since the last call, and returns the count of steps. */
BDPT_API size_t bdpt_trainer_importance(bdpt_trainer *trainer, double out[2][BDPT_MAX_DEPTH]);
/* Swaps weights and their moving average (recipe.ema); call again to swap back. */
BDPT_API void bdpt_trainer_swap_ema(bdpt_trainer *trainer);
/* Carry weights, moments, averages and counters, bit for bit, to and from the bytes of a file. Only
 * a trainer with the same recipe, subset and structure takes them back. */
BDPT_API bdpt_status bdpt_trainer_build(bdpt_trainer *trainer, bdpt_bytes *out);
BDPT_API bdpt_status bdpt_trainer_parse(bdpt_trainer *trainer, const void *bytes, size_t size,
                                        const char *name);

/* Does the whole run: epochs, evaluation on run->held (may be NULL) after each, log[recipe epochs]
 * (may be NULL), checkpoints, resume. A checkpoint is taken only by the network that its run began
 * with, or by the one it was saved from. With recipe.ema the averages are evaluated and kept. */
BDPT_API bdpt_status bdpt_train(bdpt_model *model, bdpt_model *teacher, const bdpt_run *run,
                                const bdpt_recipe *recipe, bdpt_epoch *log);

/* ---- 3.7  Long calls of one's own ------------------------------------------------------------ */

/* What the long calls below are made of (11.1), for those of boundarydpt_studies.h and yours: a
 * network to change, its training, and a journal of numbers, from which a call that was stopped
 * continues to the same bits. After the first failure, which stays in `status`, nothing is done. */
#define BDPT_MAX_PATH 4200   /* longer than any file system allows */
typedef struct bdpt_study {
  bdpt_context *ctx;
  bdpt_status status;        /* the first failure, or BDPT_CANCELLED */
  const bdpt_model *model;   /* the caller's; never written to */
  const bdpt_subset *train, *held;
  bdpt_hooks hooks;
  bdpt_progress now;
  bdpt_model *work;          /* a copy, pruned and trained */
  bdpt_trainer *trainer;     /* of the training under way */
  double images, epochs, before, total; /* per epoch; of this training, before it, of all */
  size_t per_epoch, saved;   /* steps of an epoch; steps done at the last save */
  double *word, reached;     /* [room] the journal; ordinal of the training in the file */
  size_t room, count, next;  /* words in use; next number to read or to add */
  char detail[48], path[BDPT_MAX_PATH]; /* path is "" when nothing is saved */
  bdpt_start start;
} bdpt_study;
/* `phase` ends the checkpoint's name; `options` are the bytes, without padding, that decide the
 * result besides network and images, such as those from one member of a struct through another;
 * `room` is the most numbers that will be recorded. Set `total` (epochs) and `start`; close
 * whatever happened, and return what that returns. */
#define BDPT_THROUGH(type, first, last) \
  (offsetof(type, last) + sizeof(((type *)0)->last) - offsetof(type, first))
BDPT_API void bdpt_study_open(bdpt_study *s, const bdpt_model *model, const bdpt_run *run,
                              const char *phase, const void *options, size_t bytes, size_t room);
BDPT_API bdpt_status bdpt_study_close(bdpt_study *s);
BDPT_API void bdpt_study_copy(bdpt_study *s); /* makes work the caller's network again */
BDPT_API void bdpt_study_remove(bdpt_study *s, bdpt_type type, int layer);
BDPT_API void bdpt_study_begin(bdpt_study *s, const bdpt_recipe *resolved);
BDPT_API void bdpt_study_end(bdpt_study *s); /* leaves averages in work; copy and begin call it */
/* Reports a step's loss; saves once per epoch, before a stop, and whenever `keep` is 1. */
BDPT_API void bdpt_study_report(bdpt_study *s, double loss, int keep);
/* Returns 1 if the journal has the next number: bdpt_study_record takes it, or else adds *x. */
BDPT_API int bdpt_study_knows(const bdpt_study *s);
BDPT_API void bdpt_study_record(bdpt_study *s, double *x);
BDPT_API void bdpt_study_save(bdpt_study *s);

/* ---- 3.8  The model accuracy predictor ------------------------------------------------------- */

typedef struct bdpt_map_point { double attention, activation, accuracy; } bdpt_map_point;
                                        /* retained ratios n/L in [0,1], accuracy in per cent */
#define BDPT_MAP_TERMS 15
typedef struct bdpt_map {
  int degree;                           /* chosen by leave-2-out cross-validation, 1..4 */
  int terms, rank;                      /* of that degree; of its least-squares problem */
  double theta[BDPT_MAP_TERMS];         /* of attention^i activation^j, see bdpt_map_term */
  double cv_rmse[5], cv_mae[5];         /* pooled over all pairs, by degree; NaN where untried */
  double fit_rmse, fit_mae;             /* in sample */
} bdpt_map;
/* Fits a surface of this degree, 1 to 4, or of the one that predicts best, 0, to points[count]. One
 * set of points is the rule. More, points[sets][count] -> maps[sets], take little more time; the
 * ratios of each are those of the first. They tell how much of a choice is noise. */
BDPT_API bdpt_status bdpt_map_fit(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                  size_t sets, int degree, bdpt_map *maps);
BDPT_API double bdpt_map_predict(const bdpt_map *map, double attention, double activation);
/* Gives the exponents of term k: attention^i activation^j. */
BDPT_API void bdpt_map_term(int k, int *i, int *j);
/* Finds the best split of `budget` removed layers of a depth-L network (exhaustive; the first
 * strict maximum with the attention count ascending, as the paper's algorithm 3). */
BDPT_API bdpt_status bdpt_map_split(bdpt_context *ctx, const bdpt_map *map, int depth, int budget,
                                    int *attention, int *activation, double *predicted);
/* ---- 3.9  Choosing, removing, fusing --------------------------------------------------------- */

/* Chooses layers without training: each step takes out every layer that is left, on trial, with
 * what `start` puts in its place; the one whose absence leaves the smallest loss on `held` goes,
 * until `layers` or `budget` is reached. After a failure the model is as before. */
typedef struct bdpt_greedy_options {
  double budget;                        /* MACs: layers go until there are no more; 0: none */
  size_t images;                        /* of held, that choose; 0: 1000, or all if fewer */
  int layers;                           /* that go at most; 0: as many as the budget takes */
  int most[2];                          /* of a type at most; 0: any number; BDPT_NONE: none */
  bdpt_start start;
} bdpt_greedy_options;
typedef struct bdpt_greedy_result {
  int removed;
  bdpt_layer layer[2 * BDPT_MAX_DEPTH]; /* in order */
  double accuracy[2 * BDPT_MAX_DEPTH];  /* top-1 and loss of the images that choose, */
  double loss[2 * BDPT_MAX_DEPTH];      /* the layer just gone */
  double cost[2 * BDPT_MAX_DEPTH];      /* MACs, pairs of linears counted as fused */
  double images;                        /* that the trials and fits sent through a network */
} bdpt_greedy_result;
BDPT_API bdpt_status bdpt_greedy(bdpt_model *model, const bdpt_run *run,
                                 const bdpt_greedy_options *options, bdpt_greedy_result *out);

/* What the maps of a start that fits are: the linear map that does the layer's work best, D x D
 * with a bias, fitted by ridge regression to what the layer makes of the data (9.4), which has more
 * tokens than a map has inputs: of 64 D tokens, or 256 images if they have more, evenly spread.
 * model->certificate says what was fitted, and whether the images were too few. */
#define BDPT_RIDGE 1e-3   /* lambda, in units of the inputs' mean variance */
typedef struct bdpt_fit_report {
  int layers;             /* fitted by this call */
  size_t images, tokens;  /* that the maps were fitted to */
  size_t held;            /* images that measured, one in eight */
  double error;           /* there, of the worst map: |y - Wx - b| / |y - mean y|, 2-norms */
} bdpt_fit_report;
/* Returns 1 if this start fits a map in the place of a layer of the type, which takes images. */
BDPT_API int bdpt_start_fits(bdpt_start start, bdpt_type type);
/* Removes every layer of the set. Maps are fitted to `data` (NULL where none is wanted) in forward
 * order; `out` may be NULL. After a failure the model is as before. A network has one form of
 * removed attention, so a start of another form than that of layers removed earlier is refused. */
BDPT_API bdpt_status bdpt_remove(bdpt_model *model, const bdpt_layers *layers, bdpt_start start,
                                 const bdpt_subset *data, bdpt_fit_report *out);

#endif /* BDPT_ONLY_INFERENCE */

/* ---- 3.10  Files ----------------------------------------------------------------------------- */

typedef enum bdpt_dtype {
  BDPT_F32 = 0, BDPT_F64 = 1, BDPT_F16 = 2, BDPT_BF16 = 3, BDPT_U8 = 4, BDPT_I64 = 5,
  BDPT_OTHER = 6 /* any other dtype of the format: listed, sized, not converted */
} bdpt_dtype;

#define BDPT_HEADER_LIMIT ((size_t)100000000) /* bytes of header, the reference's limit */
#define BDPT_FILE_AXES 16                     /* most axes of one tensor, our limit */

/* One tensor of a safetensors file. Everything it points to lives as long as the parsed file. */
typedef struct bdpt_file_tensor {
  const char *name;
  const char *dtype_name; /* as the format spells it: "F32", "F8_E4M3" */
  size_t shape[BDPT_FILE_AXES]; /* [ndim]; a scalar has ndim 0 */
  size_t count;           /* elements; 0 is allowed */
  const unsigned char *bytes; /* little-endian, of any alignment */
  size_t size;            /* bytes */
  bdpt_dtype dtype;
  int ndim;
} bdpt_file_tensor;

/* A parsed file, its tensors in the order of their names. Borrows the bytes it was parsed from. */
typedef struct bdpt_safetensors {
  bdpt_context *ctx;
  size_t count;
  bdpt_file_tensor *tensor;
  size_t pairs;           /* of __metadata__ */
  const char **key;       /* [pairs], sorted; each value stands behind its key's zero byte */
  void *memory;           /* owned: tables and names */
  size_t memory_bytes;
} bdpt_safetensors;

/* Indexes a file. `name` is for messages only. On failure `out` is all zero and owns nothing. */
BDPT_API bdpt_status bdpt_safetensors_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                            const char *name, bdpt_safetensors *out);
BDPT_API void bdpt_safetensors_close(bdpt_safetensors *file); /* may be called twice */
/* Return NULL when there is no such tensor, no such metadata key; neither is an error. */
BDPT_API const bdpt_file_tensor *bdpt_safetensors_find(const bdpt_safetensors *f, const char *name);
BDPT_API const char *bdpt_safetensors_get(const bdpt_safetensors *file, const char *key);
/* Converts to bdpt_real (F32, F64, F16, BF16, U8, I64); out has room for `count` numbers. */
BDPT_API bdpt_status bdpt_safetensors_read(bdpt_context *ctx, const bdpt_file_tensor *tensor,
                                           bdpt_real *out, size_t count);

/* What to write. `data` points to bdpt_real numbers, or to raw bytes of `dtype` if raw is 1. */
#define BDPT_REAL_DTYPE (sizeof(bdpt_real) == 8 ? BDPT_F64 : BDPT_F32)
typedef struct bdpt_write_tensor {
  const char *name;
  bdpt_dtype dtype;       /* BDPT_REAL_DTYPE; with raw any but OTHER */
  int ndim;
  size_t shape[BDPT_MAX_DIMS];
  const void *data;
  int raw;
} bdpt_write_tensor;
/* Makes a whole file in memory, with key[i], value[i] as its metadata. */
BDPT_API bdpt_status bdpt_safetensors_build(bdpt_context *ctx, const bdpt_write_tensor *tensors,
                                            size_t count, const char *const *key,
                                            const char *const *value, size_t pairs,
                                            bdpt_bytes *out);

/* Read and write models, from and to memory or files. A load creates the model as the file's
 * metadata say; where a file has none, or leaves something out, `config` says what the network is
 * (NULL: zeros, that is DeiT-Tiny), as bdpt_config_named does for timm's files. NULL on failure. */
BDPT_API bdpt_model *bdpt_model_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                      const char *name, const bdpt_config *config);
BDPT_API bdpt_status bdpt_model_build(const bdpt_model *model, bdpt_bytes *out);
BDPT_API bdpt_model *bdpt_model_load(bdpt_context *ctx, const char *path,
                                     const bdpt_config *config);
BDPT_API bdpt_status bdpt_model_save(const bdpt_model *model, const char *path);

/* Read and write whole files. A name never stands for half a file (13.6). */
BDPT_API bdpt_status bdpt_file_read(bdpt_context *ctx, const char *path, bdpt_bytes *out);
BDPT_API bdpt_status bdpt_file_write(bdpt_context *ctx, const char *path, const void *bytes,
                                     size_t size);

/* Decodes one character inside a JSON string, escaped or not, to UTF-8; of `left` bytes of text, at
 * least 1, it took *used. Returns the bytes written, or 0 for what JSON does not allow. */
BDPT_API size_t bdpt_json_char(const char *text, size_t left, size_t *used, char out[4]);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* BOUNDARYDPT_H */

#if defined(BOUNDARYDPT_IMPLEMENTATION) && !defined(BDPTI_IMPLEMENTED_1)
#define BDPTI_IMPLEMENTED_1

#if defined(_MSC_VER) && !defined(_CRT_SECURE_NO_WARNINGS)
#define _CRT_SECURE_NO_WARNINGS /* fopen and strerror are C */
#endif
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#ifndef BDPT_NO_STDIO
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#endif
#if defined(_OPENMP) && !defined(BDPT_NO_OPENMP)
#include <omp.h>
#define BDPTI_THREADS omp_get_max_threads()
#ifdef _MSC_VER
#define BDPTI_OMP(x) __pragma(x) /* its older preprocessor has no _Pragma */
#else
#define BDPTI_OMP(x) _Pragma(#x)
#endif
#else
#define BDPTI_THREADS 1
#define BDPTI_OMP(x)
#endif
#if !defined(__cplusplus) && !defined(_MSC_VER) && \
  (!defined(__STDC_VERSION__) || __STDC_VERSION__ < 199901L)
#error "boundarydpt.h: written in C99: compile it with -std=c99 or later"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST) || \
  (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "boundarydpt.h: compile without -ffast-math, its parts -ffinite-math-only and \
-funsafe-math-optimizations, and /fp:fast: exp and the checks for NaN would be wrong"
#endif

/* =================================================================================================
 * 4  MEMORY, ERRORS AND RANDOM NUMBERS                                                    >>memory
 * =================================================================================================
 * How does a library fail without exiting, printing or leaking? What goes wrong is written once, as
 * a sentence, into the context; the first stays, being the cause of the later ones. Sizes come from
 * shapes, and shapes come from files and callers, so every product and sum of sizes is checked.
 * These two functions do that: 1 when the result fits, 0 when it does not.
 */
BDPTI_FN int bdpti_mul(size_t a, size_t b, size_t *out) {
  if (a != 0 && b > SIZE_MAX / a) return 0; /* a b > SIZE_MAX, without forming it */
  *out = a * b;
  return 1;
}

BDPTI_FN int bdpti_add(size_t a, size_t b, size_t *out) {
  if (b > SIZE_MAX - a) return 0; /* the same for a + b */
  *out = a + b;
  return 1;
}

/* 4.1  Sentences
 *
 * A message is formatted by our own few lines rather than by snprintf: the result does not depend
 * on the locale, and a build without stdio loses nothing. The subset is %s %d %zu %g %c %%. A text
 * that does not fit is cut, never written past its room, and `used` still counts what was wanted.
 */
typedef struct bdpti_text { char *out; size_t room, used; } bdpti_text; /* room with the 0 */

BDPTI_FN void bdpti_put(bdpti_text *t, char c) {
  if (t->used + 1 < t->room) t->out[t->used] = c; /* the last byte is for the final 0 */
  t->used++;
}

BDPTI_FN void bdpti_put_string(bdpti_text *t, const char *s) {
  for (s = s ? s : "(null)"; *s; s++) bdpti_put(t, *s);
}

BDPTI_FN void bdpti_put_size(bdpti_text *t, size_t v) {
  if (v >= 10) bdpti_put_size(t, v / 10); /* at most 20 digits, so 20 calls deep */
  bdpti_put(t, (char)('0' + (int)(v % 10)));
}

BDPTI_FN void bdpti_put_sizes(bdpti_text *t, int n, const size_t *size) { /* [2,3] */
  int i;
  for (i = 0; i < n; i++) {
    bdpti_put(t, i ? ',' : '[');
    bdpti_put_size(t, size[i]);
  }
  bdpti_put_string(t, n ? "]" : "[]");
}

/* Writes 0.d1d2d3... * 10^point with n digits: in plain notation from 0.0001 on, with at most
 * `widest` digits before the point, else as d1.d2d3...e and point - 1. */
BDPTI_FN void bdpti_put_digits(bdpti_text *t, const char *digit, int n, int point, int widest) {
  int i, plain = point > -4 && point <= widest;
  for (i = plain && point <= 0 ? point - 1 : 0; i < n || (plain && i < point); i++) {
    bdpti_put(t, i >= 0 && i < n ? digit[i] : '0');
    if (i + 1 == (plain ? point : 1) && i + 1 < n) bdpti_put(t, '.');
  }
  if (plain) return;
  bdpti_put_string(t, point <= 0 ? "e-" : "e");
  bdpti_put_size(t, (size_t)(point <= 0 ? 1 - point : point - 1));
}

static void bdpti_put_number(bdpti_text *t, double v, int most, int widest); /* 13.2 */

/* Writes %g: a whole number below 1e9 as it is; else six significant digits, plain from 1e-4 to 1e9
 * and with an exponent outside. The digits behind are cut off, so half of the last one is added. */
BDPTI_FN void bdpti_put_real(bdpti_text *t, double v) {
  const int whole = fabs(v) < 1e9 && v == floor(v);
  const double half = whole ? 0 : 0.5 * pow(10.0, floor(log10(fabs(v))) - 5);
  bdpti_put_number(t, v + copysign(half, v), whole ? 17 : 6, 9);
}

BDPTI_FN void bdpti_format_list(char *out, size_t room, const char *f, va_list args) {
  bdpti_text text = {out, room, 0}, *t = &text;
  int v;
  for (; *f; f++) {
    if (*f != '%') {
      bdpti_put(t, *f);
      continue;
    }
    f += f[1] == 'z' ? 2 : 1; /* %zu is read as %u with a size */
    switch (*f) {
      case 's': bdpti_put_string(t, va_arg(args, const char *)); break;
      case 'c': bdpti_put(t, (char)va_arg(args, int)); break;
      case 'g': bdpti_put_real(t, va_arg(args, double)); break;
      case 'u': bdpti_put_size(t, va_arg(args, size_t)); break;
      case 'd':
        v = va_arg(args, int);
        if (v < 0) bdpti_put(t, '-');
        bdpti_put_size(t, v < 0 ? (size_t)0 - (size_t)v : (size_t)v); /* right for INT_MIN too */
        break;
      default: bdpti_put(t, *f); break; /* %% */
    }
  }
  if (room) out[t->used < room ? t->used : room - 1] = 0; /* always ended */
}

BDPTI_FN const char *bdpti_s(size_t n) { return n == 1 ? "" : "s"; } /* ends a counted noun */
BDPT_API void bdpt_format(char *out, size_t room, const char *format, ...) {
  va_list args;
  va_start(args, format);
  bdpti_format_list(out, room, format, args);
  va_end(args);
}

BDPT_API bdpt_status bdpt_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  if (ctx->status != BDPT_OK) return status; /* a first error stands: it keeps the sentence */
  ctx->status = status;
  va_start(args, format);
  bdpti_format_list(ctx->message, sizeof ctx->message, format, args);
  va_end(args);
  return status;
}

/* 4.2  Allocation
 *
 * Blocks are aligned to 64 bytes, one cache line and one AVX-512 vector, and zero-filled: a fresh
 * gradient or moment is zero by construction. The caller's allocator need not align; we ask for a
 * little more and keep its pointer just before the block. bytes_now is zero if nothing leaked.
 */
#define BDPTI_ALIGN ((size_t)64)                   /* bytes */
#define BDPTI_EXTRA (BDPTI_ALIGN + sizeof(void *)) /* bytes to move up, and the pointer */

BDPT_API void *bdpt_alloc(bdpt_context *ctx, size_t bytes) {
  size_t total;                      /* bytes asked of the allocator */
  unsigned char *raw = NULL, *block; /* the allocator's pointer, and ours */
  if (bdpti_add(bytes, BDPTI_EXTRA, &total)) {
    raw = (unsigned char *)(ctx->allocator.alloc ? ctx->allocator.alloc(ctx->allocator.user, total)
                                                 : malloc(total));
  }
  if (!raw) { /* refused, or the size overflowed */
    bdpt_fail(ctx, BDPT_E_MEMORY, "out of memory: %zu bytes wanted, %zu in use", bytes,
              ctx->bytes_now);
    return NULL;
  }
  block = raw + sizeof(void *); /* behind the place where raw is kept */
  block += (BDPTI_ALIGN - ((uintptr_t)block & (BDPTI_ALIGN - 1))) & (BDPTI_ALIGN - 1);
  memcpy(block - sizeof(void *), &raw, sizeof raw); /* bdpt_release looks for it here */
  memset(block, 0, bytes);
  ctx->bytes_now += bytes;
  if (ctx->bytes_now > ctx->bytes_peak) ctx->bytes_peak = ctx->bytes_now;
  return block;
}

BDPT_API void bdpt_release(bdpt_context *ctx, void *block, size_t bytes) {
  void *raw; /* what the allocator gave */
  if (!block) return;
  memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof raw);
  ctx->bytes_now -= bytes;
  if (ctx->allocator.free) ctx->allocator.free(ctx->allocator.user, raw, bytes + BDPTI_EXTRA);
  else free(raw);
}

BDPT_API void bdpt_bytes_free(bdpt_context *ctx, bdpt_bytes *b) {
  bdpt_release(ctx, b->data, b->size + 1); /* nothing where data is NULL */
  memset(b, 0, sizeof *b);
}

/* One workspace per context serves every kernel in turn: packed panels, attention tiles, partial
 * sums. It only grows, so a training loop soon allocates nothing. */
BDPTI_FN void *bdpti_scratch(bdpt_context *ctx, size_t bytes) {
  if (bytes <= ctx->scratch_bytes) return ctx->scratch;
  bdpt_release(ctx, ctx->scratch, ctx->scratch_bytes); /* nothing in it outlives a kernel */
  ctx->scratch = bdpt_alloc(ctx, bytes);
  ctx->scratch_bytes = ctx->scratch ? bytes : 0; /* after a failure there is none */
  return ctx->scratch;
}

/* 4.3  The arena
 *
 * What lives for one step comes from an arena: a chain of chunks filled from the front and emptied
 * all at once, or back to a mark. When more than one chunk can go, they are given back and the next
 * one is made as large as all of them together. So a loop soon has one chunk, and allocates nothing
 * any more. Its memory is aligned but NOT zeroed: it is reused. A chunk starts with its own head,
 * which `bytes` and `used` count too.
 */
typedef struct bdpti_chunk { struct bdpti_chunk *next; size_t bytes, used; } bdpti_chunk;
typedef struct bdpti_arena {
  bdpt_context *ctx;
  bdpti_chunk *first; /* the newest, the one being filled */
  size_t wish;        /* bytes that the next chunk has at least */
} bdpti_arena;

#define BDPTI_CHUNK_HEAD ((sizeof(bdpti_chunk) + BDPTI_ALIGN - 1) / BDPTI_ALIGN * BDPTI_ALIGN)

#ifndef BDPTI_FENCE /* tests/fences.h has others, for the address sanitizer; so has test_calls.c */
#define BDPTI_CHUNK_LEAST ((size_t)1 << 18) /* bytes: 256 KB */
#define BDPTI_FENCE ((size_t)0)
#define BDPTI_GUARD(p, bytes, all) ((void)0)
#endif

/* Takes room for `count` things of a size. A product that overflows is refused as SIZE_MAX is. */
BDPTI_FN void *bdpti_arena_take(bdpti_arena *a, size_t count, size_t size) {
  bdpti_chunk *c = a->first;
  size_t bytes = SIZE_MAX, rounded, total; /* what is asked, what is taken, a chunk to hold it */
  bdpti_mul(count, size, &bytes);
  if (!bdpti_add(bytes, BDPTI_FENCE + BDPTI_ALIGN - 1, &rounded)) rounded = SIZE_MAX;
  rounded = rounded / BDPTI_ALIGN * BDPTI_ALIGN;
  if (!c || rounded > c->bytes - c->used) { /* the newest chunk has no room for it */
    if (!bdpti_add(rounded, BDPTI_CHUNK_HEAD, &total)) total = SIZE_MAX; /* will be refused */
    if (total < BDPTI_CHUNK_LEAST) total = BDPTI_CHUNK_LEAST;
    if (total < a->wish) total = a->wish; /* as large as all that were freed */
    c = (bdpti_chunk *)bdpt_alloc(a->ctx, total);
    if (!c) return NULL;
    c->bytes = total;
    c->used = BDPTI_CHUNK_HEAD; /* its own head comes first */
    c->next = a->first;
    a->first = c;
    a->wish = 0; /* this chunk grants it */
  }
  c->used += rounded;
  BDPTI_GUARD((unsigned char *)c + c->used - rounded, bytes, rounded);
  return (unsigned char *)c + c->used - rounded;
}

/* Forgets what was taken since `mark` was the first chunk, with so much used, or since the start
 * for NULL; with keep = 0 its chunks go back to the allocator. */
BDPTI_FN void bdpti_arena_rewind(bdpti_arena *a, bdpti_chunk *mark, size_t used, int keep) {
  keep = keep && a->first != mark && a->first->next == mark; /* just one: it is emptied */
  while (a->first != mark && !keep) {
    bdpti_chunk *c = a->first;
    a->first = c->next;
    a->wish += c->bytes; /* one chunk will replace them all */
    bdpt_release(a->ctx, c, c->bytes);
  }
  if (keep) a->first->used = BDPTI_CHUNK_HEAD;
  if (mark) mark->used = used; /* what was taken before the mark stays */
}

BDPTI_FN void bdpti_arena_free(bdpti_arena *a) { bdpti_arena_rewind(a, NULL, 0, 0); }

BDPTI_FN void bdpti_arena_reset(bdpti_arena *a) {
  const int sound = a->ctx->status == BDPT_OK; /* what cannot be had now is asked for again */
  bdpti_arena_rewind(a, NULL, 0, 1); /* taken at once, so that the next step allocates nothing */
  if (a->wish && !bdpti_arena_take(a, 0, 0) && sound) bdpt_clear_error(a->ctx);
}

/* Takes a zeroed array from an arena, whose contents live and die together. */
BDPTI_FN void *bdpti_array(bdpti_arena *a, size_t count, size_t size) {
  void *p = bdpti_arena_take(a, count, size);
  return p ? memset(p, 0, count * size) : NULL;
}

/* 4.4  Random numbers                                                                     >>random
 *
 *   math      z = mix(state += golden); mix is two multiply-xorshift rounds (splitmix64, Steele,
 *             Lea and Flood, OOPSLA 2014)
 *
 * Seed and stream are hashed to a first state; draw number `index` mixes the state after as many
 * steps. So every draw is a function of (seed, stream, index): which images an epoch visits, how
 * image 17 of epoch 3 is cropped, which samples drop a path in step 512. A resumed run needs no
 * generator state, threads draw in any order, and two runs with one seed agree bit for bit.
 */
#define BDPTI_GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* 2^64 divided by the golden ratio, made odd */

BDPTI_FN uint64_t bdpti_mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); /* shifts and factors of splitmix64 */
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

BDPTI_FN uint64_t bdpti_hash(uint64_t seed, uint64_t stream, uint64_t index) {
  uint64_t h = bdpti_mix64(seed + BDPTI_GOLDEN);                    /* nearby seeds, far apart */
  h = bdpti_mix64(h ^ (stream * UINT64_C(0xd1342543de82ef95) + 1)); /* (i, j) and (j, i) differ */
  return bdpti_mix64(h + index * BDPTI_GOLDEN); /* the index-th step of bdpti_next */
}

BDPT_API void bdpt_rng_seed(bdpt_rng *r, uint64_t seed, uint64_t stream) {
  r->state = bdpti_hash(seed, stream, 0);
}

BDPTI_FN uint64_t bdpti_next(bdpt_rng *r) { return bdpti_mix64(r->state += BDPTI_GOLDEN); }

/* Draws uniformly from [0, 1): the top 53 bits, which a double holds exactly. */
BDPT_API double bdpt_uniform(bdpt_rng *r) {
  return (double)(bdpti_next(r) >> 11) * (1.0 / 9007199254740992.0); /* times 2^-53 */
}

/* Draws a normal number (Box and Muller). The second one is not kept, so a draw has no memory. */
BDPT_API double bdpt_normal(bdpt_rng *r) {
  double u = bdpt_uniform(r), v = bdpt_uniform(r);             /* radius and angle */
  return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v); /* 1 - u is never 0 */
}

/* Draws from [0, n) without bias: beyond the last whole multiple of n it draws again. 0 gives 0. */
BDPTI_FN size_t bdpti_below(bdpt_rng *r, size_t n) {
  uint64_t limit, v;
  if (n < 2) return 0;                           /* one answer: nothing is drawn */
  limit = UINT64_MAX - UINT64_MAX % (uint64_t)n; /* a multiple of n */
  do v = bdpti_next(r); while (v >= limit);      /* accepted with at least 1/2 each time */
  return (size_t)(v % (uint64_t)n);
}

/* Draws from Gamma (Marsaglia and Tsang 2000); a shape under 1 is raised by 1 and corrected. */
BDPTI_FN double bdpti_gamma(bdpt_rng *r, double shape) {
  double boost = shape < 1.0 ? pow(1.0 - bdpt_uniform(r), 1.0 / shape) : 1.0, d, x, v;
  d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0; /* their d = a - 1/3 */
  for (;;) {
    x = bdpt_normal(r);
    v = 1.0 + 1.0 / sqrt(9.0 * d) * x; /* their c = 1 / sqrt(9 d) */
    if (v <= 0) continue;              /* d v^3 must be positive */
    v = v * v * v;
    if (log(1.0 - bdpt_uniform(r)) < 0.5 * x * x + d * (1.0 - v + log(v))) return boost * d * v;
  }
}

/* Draws from Beta(a, b) by two gamma draws; mixup and cutmix take lambda from there. */
BDPTI_FN double bdpti_beta(bdpt_rng *r, double a, double b) {
  double x = bdpti_gamma(r, a), y = bdpti_gamma(r, b);
  return x + y > 0 ? x / (x + y) : 0.5; /* both underflowed: the middle */
}

/* 4.5  The context's own life
 *
 * bdpt_init (14.7) chooses the kernels once, for the processor that runs it. Models and tapes
 * borrow the context; bdpt_finish frees its workspace and nothing of theirs, so it comes last. */
BDPT_API void bdpt_finish(bdpt_context *ctx) {
  bdpt_release(ctx, ctx->scratch, ctx->scratch_bytes); /* all that a context owns */
  ctx->scratch = NULL;
  ctx->scratch_bytes = 0;
}

BDPT_API void bdpt_clear_error(bdpt_context *ctx) {
  ctx->status = BDPT_OK;
  ctx->message[0] = 0;
}

BDPT_API const char *bdpt_status_string(bdpt_status status) {
  static const char *const text[9] = { /* by -status */
    "ok", "bad argument", "shapes do not fit", "out of memory", "input or output failed",
    "malformed data", "not possible in this state", "a value is not finite", "cancelled"};
  int i = -(int)status;
  return i >= 0 && i < 9 ? text[i] : "unknown status";
}

BDPT_API const char *bdpt_version(void) { return BDPT_VERSION; }

/* =================================================================================================
 * 5  TENSORS AND THE TAPE                                                                   >>tape
 * =================================================================================================
 * How does a program find the derivative of a loss by every weight? A network is a list of
 * operations; each takes tensors and makes one. If the list is kept, the chain rule can be applied
 * backwards: start with dL/dL = 1 at the loss, visit the operations from last to first, and let
 * each turn the gradient of its output into gradients of its inputs, adding where a tensor was used
 * twice. When the walk ends, every parameter holds dL/dparameter. The list is the tape.
 *
 * Three numbers show it: with a = 2, b = 3, c = a * b = 6, L = c + a = 8 the walk visits the sum
 * first (dc = 1, da = 1), then the product (da += b * dc = 4, db = a * dc = 2).
 * examples/01_tape.c runs exactly this idea on a linear layer.
 *
 * An operation is a node: its output, its inputs, and what its backward pass needs to remember. The
 * nodes are in the order of creation, which is already a topological order, so no sorting and no
 * recursion is needed. All of it lives in the tape's arena and is forgotten by one reset per step.
 */
typedef struct bdpti_node {
  bdpt_tensor out;           /* must be first: its address is the node's */
  int op;                    /* bdpti_op */
  bdpt_tensor *in[BDPT_MAX_INPUTS]; /* NULL where the operation has fewer inputs */
  bdpt_real *saved[2];       /* what the backward pass needs besides inputs and output */
  double number;             /* softmax scale, factor, eps */
  size_t index;              /* heads, token, numbers of a sample */
  struct bdpti_own *own;     /* what an operation of the caller's is made of (6.18), or NULL */
  struct bdpti_node *previous; /* the one recorded before, or NULL */
} bdpti_node;

/* Gradients of intermediate tensors are short-lived: written by the consumers, read once by the
 * producer, then useless. Their buffers are therefore counted and recycled while the walk goes on,
 * which keeps the gradient memory of a network near that of its widest block. The count also allows
 * copy-on-write: a sum hands one buffer to both inputs; whoever adds to a shared one copies it. */
typedef struct bdpti_buffer {
  struct bdpti_buffer *next; /* among the spare ones */
  size_t count;              /* numbers, not bytes */
  int shares;                /* tensors whose grad it is */
} bdpti_buffer;

struct bdpt_tape {
  bdpt_context *ctx;
  bdpt_tape_mode mode; /* RECOMPUTE keeps less (6.4) */
  bdpti_arena arena;   /* all tensors, nodes and gradients of a step */
  bdpti_node *last;    /* the list, newest first */
  bdpti_buffer *spare; /* gradient buffers free for reuse */
  bdpt_real *stream;   /* sums with what lies here replace it (7.5); or NULL */
  bdpt_rng paths;      /* of the forward pass under way: which branches fall out (7.5) */
};

BDPTI_FN void bdpti_backward_op(bdpt_tape *t, bdpti_node *n); /* chapter 6: a case per operation */

BDPT_API bdpt_tape *bdpt_tape_create(bdpt_context *ctx, bdpt_tape_mode mode) {
  bdpt_tape *t = (bdpt_tape *)bdpt_alloc(ctx, sizeof *t); /* zeros: no node */
  if (!t) return NULL;
  t->ctx = t->arena.ctx = ctx;
  t->mode = mode;
  return t;
}

BDPT_API void bdpt_tape_reset(bdpt_tape *t) {
  t->last = NULL;  /* nodes and tensors go with the arena */
  t->spare = NULL; /* and so do the gradient buffers */
  bdpti_arena_reset(&t->arena);
}

BDPT_API void bdpt_tape_free(bdpt_tape *t) {
  if (!t) return;
  bdpti_arena_free(&t->arena); /* and with it every tensor of the step */
  bdpt_release(t->ctx, t, sizeof *t);
}

BDPT_API bdpt_context *bdpt_tape_context(const bdpt_tape *t) { return t->ctx; }

/* 5.1  Shapes
 *
 * Every shape error names the operation and the shapes it was given, written like x[8,197,192].
 */
BDPT_API bdpt_shape_text bdpt_shape(const bdpt_tensor *x) {
  bdpt_shape_text s;
  bdpti_text t = {s.text, sizeof s.text, 0};
  if (x->name) bdpti_put_string(&t, x->name);
  bdpti_put_sizes(&t, x->ndim, x->shape);
  s.text[t.used < t.room ? t.used : t.room - 1] = 0; /* a long name may cut it */
  return s;
}

/* Sees a tensor as a matrix: its last axis is the width, all others make the rows. */
BDPTI_FN size_t bdpti_last_axis(const bdpt_tensor *x) { return x->shape[x->ndim - 1]; }
BDPTI_FN size_t bdpti_rows(const bdpt_tensor *x) {
  size_t rows = 1; /* of one axis only: one row */
  int i;
  for (i = 0; i + 1 < x->ndim; i++) rows *= x->shape[i];
  return rows;
}

/* Fills a tensor's shape; returns 0 if the product overflows or an axis count is impossible. */
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
  return bdpti_mul(x->count, sizeof(bdpt_real), &bytes); /* its bytes too */
}

/* 5.2  Recording
 *
 * bdpti_record makes a node with an output of the given shape. Whether gradients are wanted follows
 * from the inputs. A tape that does not record still makes tensors, but keeps no list.
 */
BDPTI_FN bdpti_node *bdpti_record(bdpt_tape *t, int op, int ndim, const size_t *shape,
                                  bdpt_tensor *const *in, int count) {
  bdpti_node *n = (bdpti_node *)bdpti_arena_take(&t->arena, 1, sizeof *n);
  int i;
  if (!n) return NULL;
  memset(n, 0, sizeof *n); /* the arena's memory is reused, not zeroed */
  n->op = op;
  for (i = 0; i < count; i++) {
    n->in[i] = in[i];
    n->out.wants_grad |= t->mode != BDPT_TAPE_COMPUTE && in[i] && in[i]->wants_grad;
  }
  n->out.on_tape = 1; /* it goes with the step */
  if (!bdpti_set_shape(&n->out, ndim, shape)) {
    bdpt_fail(t->ctx, BDPT_E_SHAPE, "a tensor of %d axes overflows the address space", ndim);
    return NULL;
  }
  n->out.data = (bdpt_real *)bdpti_arena_take(&t->arena, n->out.count, sizeof(bdpt_real));
  if (!n->out.data) return NULL; /* else not zeroed */
  n->previous = t->last;      /* newest first */
  if (t->mode != BDPT_TAPE_COMPUTE) t->last = n; /* else the node is lost, its output lives on */
  return n;
}

BDPTI_FN bdpt_tensor *bdpti_out(bdpti_node *n) { return n ? &n->out : NULL; }

/* Lets a sum with x write over x if x is the residual stream, which nobody reads again. */
BDPTI_FN void bdpti_replace(bdpt_tape *t, bdpti_node *n, const bdpt_tensor *x) {
  if (n && x && x->data == t->stream) n->out.data = x->data;
}

/* Adds memory that only the backward pass will read: `first` and `second` numbers. */
BDPTI_FN bdpti_node *bdpti_save(bdpt_tape *t, bdpti_node *n, size_t first, size_t second) {
  if (!n) return NULL;
  n->saved[0] = (bdpt_real *)bdpti_arena_take(&t->arena, first, sizeof(bdpt_real));
  n->saved[1] = (bdpt_real *)bdpti_arena_take(&t->arena, second, sizeof(bdpt_real));
  return n->saved[0] && n->saved[1] ? n : NULL; /* no memory: the operation fails */
}

/* Makes images[n,C,H,W] a tensor that owns nothing: they must stay until the tape is reset. */
BDPTI_FN bdpt_tensor *bdpti_lend(bdpt_tape *t, const bdpt_config *c, size_t n,
                                 const bdpt_real *images) {
  const size_t shape[4] = {n, (size_t)c->channels, (size_t)c->image, (size_t)bdpt_image_width(c)};
  bdpt_tensor *x = (bdpt_tensor *)bdpti_arena_take(&t->arena, 1, sizeof *x);
  if (!x) return NULL;
  memset(x, 0, sizeof *x);
  bdpti_set_shape(x, 4, shape); /* on_tape stays 0: the caller's */
  x->data = (bdpt_real *)(uintptr_t)images; /* read, never written: no gradient is wanted */
  return x;
}

BDPT_API bdpt_tensor *bdpt_input(bdpt_tape *t, int ndim, const size_t *shape,
                                 const bdpt_real *data, int wants_grad) {
  bdpt_tensor *x = NULL;
  if (t) x = bdpti_out(bdpti_record(t, 0, ndim, shape, NULL, 0)); /* op 0 is input */
  if (!x) return NULL;
  x->wants_grad = t->mode != BDPT_TAPE_COMPUTE && wants_grad; /* there were no inputs to ask */
  if (data) memcpy(x->data, data, x->count * sizeof *data); /* the caller keeps data */
  else memset(x->data, 0, x->count * sizeof *data);
  return x;
}

/* 5.3  Gradient buffers
 *
 * A tensor gets a buffer when the first of its users has a gradient for it, and gives it back when
 * its own operation has read it. The first user writes and the others add; only for an operation
 * that can do nothing but add is it zeroed. A spare one must fit exactly; blocks are alike.
 */
BDPTI_FN bdpti_buffer *bdpti_buffer_of(const bdpt_real *grad) {
  return (bdpti_buffer *)(uintptr_t)((const unsigned char *)grad - BDPTI_ALIGN); /* the header */
}

BDPTI_FN bdpt_real *bdpti_buffer_take(bdpt_tape *t, size_t count) {
  const size_t head = BDPTI_ALIGN / sizeof(bdpt_real);    /* numbers whose place the header takes */
  bdpti_buffer **at = &t->spare, *b;                      /* at: the link to b */
  while (*at && (*at)->count != count) at = &(*at)->next; /* exact sizes: a network has few */
  b = *at;
  if (b) *at = b->next; /* one that the walk has finished with */
  else b = (bdpti_buffer *)bdpti_arena_take(&t->arena, head + count, sizeof(bdpt_real)); /* new */
  if (!b) return NULL;
  b->count = count;
  b->shares = 1; /* the tensor that asked */
  return (bdpt_real *)(void *)((unsigned char *)b + BDPTI_ALIGN); /* uninitialised numbers */
}

BDPTI_FN void bdpti_buffer_release(bdpt_tape *t, bdpt_real *grad) {
  bdpti_buffer *b = bdpti_buffer_of(grad);
  if (--b->shares > 0) return; /* another tensor still reads it */
  b->next = t->spare;
  t->spare = b; /* for the next one of this size */
}

/* Where an operation puts the gradient of its input x, and whether to add to what is there or to
 * write. NULL: x wants none (or memory is out, which the context knows). A parameter's gradient
 * always adds, because a caller may accumulate several batches before a step. */
typedef struct bdpti_target { bdpt_real *to; int add; } bdpti_target;

BDPTI_FN bdpti_target bdpti_grad(bdpt_tape *t, bdpt_tensor *x) {
  bdpti_target none = {NULL, 0}, old = {x ? x->grad : NULL, 1}, fresh;
  if (!x || !x->wants_grad) return none; /* nothing to compute for x */
  if (!x->on_tape || (old.to && bdpti_buffer_of(old.to)->shares == 1)) return old;
  fresh.to = x->grad = bdpti_buffer_take(t, x->count); /* the first, or in place of a shared one */
  fresh.add = old.to != NULL; /* a first gradient is written, a further one added */
  if (old.to && fresh.to) memcpy(fresh.to, old.to, x->count * sizeof *old.to); /* the sum so far */
  if (old.to) bdpti_buffer_release(t, old.to); /* and they keep the original */
  return fresh;
}

/* Does the same for operations that can only add: a fresh gradient is zeroed first. */
BDPTI_FN bdpt_real *bdpti_grad_sum(bdpt_tape *t, bdpt_tensor *x) {
  bdpti_target dx = bdpti_grad(t, x);
  if (dx.to && !dx.add) memset(dx.to, 0, x->count * sizeof *dx.to);
  return dx.to;
}

#ifndef BDPT_ONLY_INFERENCE

/* 5.4  The walk back
 *
 * All users of a tensor were recorded after the operation that made it, so its gradient is complete
 * when the walk gets there. A tensor that has none by then does not lead to `out`: its operation is
 * skipped. Inputs are nodes without an operation; they keep their gradient for the caller.
 */
BDPT_API bdpt_status bdpt_backward(bdpt_tape *t, bdpt_tensor *out, const bdpt_real *seed) {
  const bdpt_real one = 1; /* dL/dL */
  bdpti_node *n;
  bdpt_context *ctx = t->ctx;
  if (ctx->status != BDPT_OK) return ctx->status; /* the graph is not whole */
  if (!out) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "backward: there is no tensor to start from");
  if (t->mode == BDPT_TAPE_COMPUTE || !out->wants_grad) {
    return bdpt_fail(ctx, BDPT_E_STATE, "backward: %s", t->mode == BDPT_TAPE_COMPUTE
                     ? "this tape does not record"
                     : "nothing that the loss depends on wants a gradient");
  }
  if (!seed && out->count != 1) {
    return bdpt_fail(ctx, BDPT_E_SHAPE, "backward: %s is not one number", bdpt_shape(out).text);
  }
  out->grad = bdpti_buffer_take(t, out->count); /* goes back to the spares as any other */
  if (!out->grad) return ctx->status;
  memcpy(out->grad, seed ? seed : &one, out->count * sizeof one); /* dL/dout */
  for (n = t->last; n; n = n->previous) {             /* users of a tensor come before its maker */
    if (!n->out.grad || n->op == 0) continue; /* not on the way to the loss, or an input */
    bdpti_backward_op(t, n); /* dy into dx of every input that wants it */
    if (ctx->status != BDPT_OK) return ctx->status;
    if (n->out.grad) bdpti_buffer_release(t, n->out.grad); /* unless the operation has done so */
    n->out.grad = NULL; /* its only reader has run */
  }
  return BDPT_OK;
}

#endif /* BDPT_ONLY_INFERENCE */

/* =================================================================================================
 * 6  OPERATIONS                                                                             >>ops
 * =================================================================================================
 * What must an operation know to run forwards and backwards? Each is written the same way: what it
 * computes, its forward function that checks shapes and records a node, and right behind it the
 * backward function that undoes it. The fast arithmetic is in chapter 14; here is the calculus.
 * From one table, BDPTI_OPS, come the operation codes, the shapes, and the backward dispatch.
 *
 * Two rules give every backward pass. If y = f(x) then dx = J^T dy, where J holds the derivatives
 * of all outputs by all inputs; J is never built, only its product with dy. And what was used twice
 * gets the sum of two gradients, so every backward function adds to what earlier users left (5.3).
 *
 * A formula spells the shapes of the inputs and of the output with the letters of the reading
 * guide. A letter stands for the same number everywhere in it, * for all axes of the first input
 * but the last, # for a number that the operation works out; a ? follows what may be missing.
 *
 * tests/test_ops.c holds every operation to PyTorch's numbers and its gradient to differences, and
 * tests/test_kernels.c the engine room to the plain forms.
 */
#define BDPTI_OPS(X) \
  X(linear, "x[*,I] weight[O,I] bias[O] sum?[*,O] -> [*,O]") \
  X(mlp, "x[*,D] gamma[D] beta[D] W1[F,D] b1[F] W2[D,F] b2[D] -> [*,D]") \
  X(layernorm, "x[*,D] gamma[D] beta[D] -> [*,D]") \
  X(activate, "x[*,D] -> [*,D]") \
  X(attention, "qkv[B,N,Q] count?[B,N] -> [B,N,#]") \
  X(patch_embed, "images[B,C,H,W] weight[D,C,P,P] bias[D] -> [B,#,D], P divides H and W") \
  X(tokens, "patches[B,n,D] pos[1,N,D] cls?[1,1,D] dist?[1,1,D] reg?[1,R,D] -> [B,N,D]") \
  X(pool, "x[B,N,D] -> [B,#]") \
  X(add, "a[*,D] b[*,D] -> [*,D]") \
  X(scale, "x[*,D] -> [*,D]") \
  X(drop_path, "x[*,D] -> [*,D]") \
  X(mix, "f[*,D] r[*,D] m[1] -> [*,D]") \
  X(cross_entropy, "logits[B,K] -> [1]") \
  X(match, "x[*,D] y[*,D] -> [1]") \
  X(own, "")

#define BDPTI_OP_CODE(name, formula) BDPTI_OP_##name,
#define BDPTI_OP_TEXT(name, formula) {#name, formula},
typedef enum bdpti_op { BDPTI_OP_input, BDPTI_OPS(BDPTI_OP_CODE) BDPTI_OP_COUNT } bdpti_op;
static const char *const bdpti_op_text[][2] = {{"input", ""}, BDPTI_OPS(BDPTI_OP_TEXT)};

/* Tells whether x has the shape that ends a formula's part at `f`. A letter that stands for nothing
 * yet gets its number in `axis` from x; no number is 0. `first` is the operation's first input. */
BDPTI_FN int bdpti_shape_fits(const char *f, const bdpt_tensor *x, const bdpt_tensor *first,
                              size_t axis[128]) {
  int k = 0, ok = 1;
  for (; *f != ']'; f++) {
    size_t *number = &axis[(int)*f];
    if (*f == ',') continue;
    for (; *f == '*' && k + 1 < first->ndim; k++) ok = ok && x->shape[k] == first->shape[k];
    if (*f == '*') continue;
    if (k < x->ndim && *number == 0) *number = x->shape[k];
    ok = ok && k < x->ndim && x->shape[k] == *number && *number > 0;
    k++;
  }
  return ok && k == x->ndim;
}

BDPTI_FN void bdpti_misfit(bdpt_tape *t, int op, bdpt_tensor *const *in, int count) {
  const char *formula = bdpti_op_text[op][1], *f = formula; /* f: its name for an input */
  char given[300];
  bdpti_text text = {given, sizeof given, 0};
  int i;
  for (i = 0; i < count; i++, f = strchr(f, ']') + 1) {
    if (!in[i]) continue;
    while (*f != '[' && *f != '?') bdpti_put(&text, *f++);
    if (in[i]->name) bdpti_put(&text, ' '); /* and its own name */
    bdpti_put_string(&text, bdpt_shape(in[i]).text);
  }
  given[text.used < text.room ? text.used : text.room - 1] = 0;
  bdpt_fail(t->ctx, BDPT_E_SHAPE, "%s: %s do not fit %s", bdpti_op_text[op][0], given, formula);
}

/* Begins an operation: holds its inputs against its formula and records a node. An operation that
 * was given NULL returns NULL without a word: the cause is in the context already. */
BDPTI_FN bdpti_node *bdpti_begin(bdpt_tape *t, int op, bdpt_tensor *const *in, int count,
                                 size_t extra) {
  size_t axis[128] = {0}, shape[BDPT_MAX_DIMS]; /* by letter; of the output */
  const char *f = bdpti_op_text[op][1];
  int i, k, ndim = 0, fits = extra > 0 || !strchr(f, '#');
  axis[(int)'1'] = 1;
  axis[(int)'#'] = extra;
  for (i = 0; i < count; i++) {
    f = strchr(f, '[') + 1;
    if (!in[i] && f[-2] != '?') return NULL;
    if (in[i] && !bdpti_shape_fits(f, in[i], in[0], axis)) fits = 0;
  }
  if (!fits) {
    bdpti_misfit(t, op, in, count);
    return NULL;
  }
  for (f = strchr(strchr(f, '>'), '[') + 1; *f != ']'; f++) {
    for (k = 0; *f == '*' && k + 1 < in[0]->ndim; k++) shape[ndim++] = in[0]->shape[k];
    if (*f != '*' && *f != ',') shape[ndim++] = axis[(int)*f];
  }
  return bdpti_record(t, op, ndim, shape, in, count);
}

BDPTI_FN void bdpti_add_to(bdpt_real *to, const bdpt_real *from, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) to[i] += from[i];
}

/* 6.1  What the engine room provides
 *
 * C = A B with strides on both operands covers the three layouts of training: Y = X W^T reads W
 * with b_row = 1, dX = dY W reads it as it lies, dW += dY^T X reads dY with a_row = 1. What follows
 * a product is done while its tile is still in cache. In this order, with t the sum over p:
 *
 *   t += bias[j];  t *= gelu'(dgelu[i,j]);  t += add[i,j];  c[i,j] = t;
 *   gelu[i,j] = GELU(t), or GELU(dgelu[i,j]) if that is given
 *
 * A NULL pointer skips its step, so a zeroed struct is a plain product once its sizes and operands
 * are set. What is added may be the residual stream, or c itself to accumulate; gelu may be c.
 */
typedef struct bdpti_gemm {
  size_t m, n, k; /* C[M,N] = A[M,K] B[K,N] */
  const bdpt_real *a; size_t a_row, a_col;            /* element (i,p) at a[i*a_row + p*a_col] */
  const bdpt_real *b; size_t b_row, b_col;            /* element (p,j) at b[p*b_row + j*b_col] */
  bdpt_real *c; size_t c_row; /* element (i,j) at c[i*c_row + j], as in add, gelu and dgelu */
  const bdpt_real *add, *bias;                        /* C = add + ..., may be C itself; [N] */
  bdpt_real *gelu;                                    /* GELU goes here, C keeps its argument */
  const bdpt_real *dgelu;                             /* z of the forward pass: C = gelu'(z) A B */
  const bdpt_real *packed;                            /* all of B, from bdpti_prepack (14.8) */
  int bf16;                                           /* 1: rounded factors; 2: in pairs (14.3) */
  const struct bdpti_isa *isa;                        /* like bf16 set by bdpti_matmul */
} bdpti_gemm;

/* A block of B: rows p0 .. p0+pn and columns j0 .. j0+jn. Packed, it is panels of isa->panel
 * columns and `rows` rows: pn, or about half as many when two are joined in bf16. With `packed`
 * NULL it is read where it lies. `padded`: the rows of C have room for whole panels. */
typedef struct bdpti_block {
  size_t p0, pn, j0, jn, rows; /* rows: of a packed panel */
  bdpt_real *packed;           /* a packer writes it, multiply reads */
  int padded;
} bdpti_block;

/* Attention on qkv[B,N,3,h,d]. A task is one head of one image, or one of `pieces` runs of its
 * queries where there are fewer heads than threads could use. */
typedef struct bdpti_heads {
  size_t tokens, heads, size, pieces;                 /* N h d */
  bdpt_real scale;
  const bdpt_real *qkv;                               /* [B,N,3,h,d] */
  bdpt_real *out, *lse;                               /* [B,N,h,d] [B,h,N] or NULL; from forward */
  const bdpt_real *dout; bdpt_real *dqkv;             /* of backward; NULL in the forward pass */
  const bdpt_real *count;                             /* [B,N], or NULL: each key counts once */
  const struct bdpti_isa *isa;                        /* set by bdpti_attention */
} bdpti_heads;

/* The kernels over rows and elements each have a struct of arguments. A NULL output is not wanted;
 * `add` 1 adds to the gradient that is written. */
typedef struct bdpti_norm_args {
  size_t width;                                       /* D, the length of a row */
  const bdpt_real *x, *gamma, *beta; bdpt_real eps;   /* [R,D] [D] [D] */
  bdpt_real *y, *mean, *rstd;                         /* [R,D] [R] [R]; backward reads mean, rstd */
  const bdpt_real *dy; bdpt_real *dx; int add;
} bdpti_norm_args;

typedef struct bdpti_pointwise {                      /* out = f(x,y) of one element each */
  const bdpt_real *x, *y;
  bdpt_real a, b;                                     /* of a x + b y; p, q of >>act */
  bdpt_real *out; int add;
} bdpti_pointwise;

typedef struct bdpti_columns { size_t width; const bdpt_real *x; } bdpti_columns; /* [R,D] */

typedef struct bdpti_adamw_args {
  double lr, beta1, beta2, eps, decay, step;          /* step counts from 1 */
  bdpt_real *p, *m, *v; const bdpt_real *g;           /* parameter, moments, gradient */
} bdpti_adamw_args;

typedef void (*bdpti_kernel)(const void *args, size_t begin, size_t end);    /* a run of items */
typedef void (*bdpti_partial)(const void *args, size_t begin, size_t end, bdpt_real *sums);

/* A row-major B of whole vectors need not be packed. But rows 4096 bytes apart compete for the same
 * places of the first cache, so such a B is. */
#define BDPTI_AS_IT_LIES(g, lanes) \
  ((g)->b_col == 1 && (g)->n % (lanes) == 0 && (g)->b_row * sizeof(bdpt_real) % 4096 != 0)

/* A tile of a product. */
typedef struct bdpti_tile {
  size_t k, a_row, a_col, b_row, c_row;          /* k: steps, pairs of rows if joined */
  const bdpt_real *a, *b, *bias, *add;           /* of this tile; bias and add or NULL */
  bdpt_real *c;              /* in C or on the stack */
  int pairs;                 /* 1: A and B are joined */
  uintptr_t next; size_t next_step; /* fetched for later tiles: an address, bytes per step */
} bdpti_tile;

#define BDPTI_COPIED 16
#define BDPTI_COPY_SIZE(g, b) ((b)->pn * (g)->isa->rows + 32)
#define BDPTI_ROW_OF(g, tiles, tile) ((tile) * (g)->m / (tiles))

typedef void (*bdpti_copier)(const bdpti_gemm *g, const bdpti_block *b, size_t tiles, size_t low,
                             size_t count, bdpt_real *own);

typedef struct bdpti_isa {
  const char *name; /* "avx2" and so on */
  size_t rows, panel;                                 /* the register tile: rows x columns */
  void (*pack_panel)(const bdpti_gemm *g, size_t p0, size_t pn, size_t j, size_t cols,
                     bdpt_real *out, size_t ld);
  void (*narrow_rows)(const bdpt_real *x, size_t x_row, size_t rows, size_t cols, size_t ld,
                      int pairs, bdpt_real *out);
  bdpti_copier copy_tiles, copy_rows;                 /* of A, to own */
  void (*tile)(const bdpti_tile *t, size_t rows, size_t width);
  void (*finish)(const bdpti_gemm *g, const bdpti_block *b, const bdpt_real *sums, size_t ld,
                 size_t i0, size_t rows, size_t j0, size_t cols);
  void (*softmax)(const bdpti_heads *h, size_t image, size_t rows, size_t ld, bdpt_real *s,
                  bdpt_real *total, bdpt_real *lse);
  void (*softmax_back)(const bdpti_heads *h, size_t task, size_t i, size_t rows, bdpt_real *p,
                       bdpt_real *ds, size_t ld);
  void (*share)(const bdpt_real *total, size_t rows, size_t d, bdpt_real *o, size_t ld);
  bdpti_kernel act, axpby, layernorm_fwd, adamw; /* over elements, but layernorm_fwd: rows */
  bdpti_partial layernorm_bwd, column_sum; /* sums over rows, in chunks */
  double (*dot)(const bdpt_real *x, const bdpt_real *y, const bdpt_real *less, size_t begin,
                size_t end);                          /* sum x (y - less) */
  int pairs;                                          /* 1: bf16 numbers multiply in pairs */
  int by_lane;                                        /* 1: every A is copied (14.3) */
} bdpti_isa;

#define BDPTI_TALLEST ((size_t)12)      /* rows of the tallest tile */
#define BDPTI_TILES(m, rows) ((m) < (rows) / 2 ? (m) : ((m) + (rows) - 1) / (rows)) /* (14.3) */
#define BDPTI_QUERIES ((size_t)36)      /* rows of S at once: whole tiles of 6 or 12 */
#define BDPTI_QUERIES_BACK ((size_t)72) /* more: each block passes over dK and dV */

/* Products and attention are explained in >>kernels. */
BDPTI_FN bdpt_status bdpti_attention(bdpt_context *ctx, size_t images, bdpti_heads h);
BDPTI_FN bdpt_status bdpti_matmul(bdpt_context *ctx, const bdpti_gemm *given);
BDPTI_FN size_t bdpti_prepack(const bdpt_context *ctx, const bdpti_gemm *given, bdpt_real *out);

/* Sharing out. Work is cut into items and each thread takes one run of adjacent items, as equal as
 * whole grains allow. Starting threads takes some microseconds, so each thread must have ten
 * microseconds of work; `cost` is a rough estimate in nanoseconds, all items together. */
BDPTI_FN int bdpti_team(const bdpt_context *ctx, double cost) {
  const double worth = cost / 10000.0; /* threads that it keeps busy */
  if (worth < 2) return 1;
  return worth < ctx->threads ? (int)worth : ctx->threads;
}

BDPTI_FN void bdpti_each(const bdpt_context *ctx, bdpti_kernel kernel, const void *args,
                         size_t count, size_t grain, double cost) {
  const size_t grains = (count + grain - 1) / grain; /* the last may be short */
  const int team = bdpti_team(ctx, cost);
  int t;
  if (team == 1) { /* a region of one thread takes a microsecond */
    if (count) kernel(args, 0, count);
    return;
  }
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static, 1))
  for (t = 0; t < team; t++) { /* a thread's run of grains */
    const size_t begin = grains * (size_t)t / (size_t)team * grain;
    const size_t end = grains * (size_t)(t + 1) / (size_t)team * grain;
    if (begin < end) kernel(args, begin, end < count ? end : count); /* idle if grains are few */
  }
}

/* Applies an activation: its value if dy is NULL, else dy times its slope; `add` as in a kernel. */
BDPTI_FN void bdpti_act(bdpt_context *ctx, bdpt_act act, size_t n, const bdpt_real *z,
                        const bdpt_real *dy, bdpt_real *out, int add) {
  static const double p[4] = {-1, 1.5957691216057308, 1.702, 0}; /* by bdpt_act */
  const double q = act == BDPT_GELU_TANH ? 0.044715 * p[1] : 0;
  bdpti_pointwise s = {z, dy, (bdpt_real)p[act & 3], (bdpt_real)q, out, add};
  bdpti_each(ctx, ctx->isa->act, &s, n, 1024, (double)n * 0.6); /* 0.6 ns an element */
}

/* Computes out = a x + b y, or a x without y. */
BDPTI_FN void bdpti_axpby(bdpt_context *ctx, size_t n, bdpt_real a, const bdpt_real *x, bdpt_real b,
                          const bdpt_real *y, bdpt_real *out) {
  bdpti_pointwise s = {x, y, a, b, out, 0};
  bdpti_each(ctx, ctx->isa->axpby, &s, n, 1024, (double)n * 0.4);
}

/* Adds factor g to dx, the backward pass of everything that is linear in x. */
BDPTI_FN void bdpti_grad_axpy(bdpt_tape *t, bdpt_tensor *x, bdpt_real factor, const bdpt_real *g) {
  bdpti_target dx = bdpti_grad(t, x);
  if (dx.to) bdpti_axpby(t->ctx, x->count, factor, g, 1, dx.add ? dx.to : NULL, dx.to);
}

/* Adds the buffer g to dx. If x has no gradient yet, it shares g and nothing is copied. */
BDPTI_FN void bdpti_grad_pass(bdpt_tape *t, bdpt_tensor *x, bdpt_real *g) {
  if (!x->wants_grad || !x->on_tape || x->grad) { /* this needs a sum of its own, or nothing */
    bdpti_grad_axpy(t, x, 1, g);
    return;
  }
  x->grad = g;                  /* dx is dy, number for number */
  bdpti_buffer_of(g)->shares++; /* whoever adds to it copies it first */
}

/* A sum over everything is cut into chunks whose number depends on the length alone. One thread
 * makes each, and the chunk sums are added in order, in double. */
#define BDPTI_CHUNKS 64

/* Sums x (y - less), or x y without `less`. As x x it gives the norm of a gradient: squares of
 * numbers above 1e19 overflow to inf, and so does the norm, which is what the caller checks for. */
BDPTI_FN double bdpti_dot(bdpt_context *ctx, size_t n, const bdpt_real *x, const bdpt_real *y,
                          const bdpt_real *less) {
  const size_t blocks = (n + 1023) / 1024; /* of 1024 numbers */
  const int chunks = blocks < BDPTI_CHUNKS ? (int)blocks : BDPTI_CHUNKS;
  double part[BDPTI_CHUNKS], sum = 0; /* its sum, chunk by chunk */
  int c;
  BDPTI_OMP(omp parallel for num_threads(bdpti_team(ctx, (double)n * 0.3)))
  for (c = 0; c < chunks; c++) { /* on any thread */
    const size_t begin = blocks * (size_t)c / (size_t)chunks * 1024;
    const size_t end = blocks * (size_t)(c + 1) / (size_t)chunks * 1024;
    part[c] = ctx->isa->dot(x, y, less, begin, end < n ? end : n);
  }
  for (c = 0; c < chunks; c++) sum += part[c]; /* always in this order */
  return sum;
}

/* x - x is 0 for every finite x and NaN for the others; so is x (x - x), and NaN survives a sum. */
BDPTI_FN int bdpti_all_finite(bdpt_context *ctx, size_t n, const bdpt_real *x) {
  return bdpti_dot(ctx, n, x, x, x) == 0;
}

/* The same for sums over rows, which give `outs` arrays of `width` numbers: out[o] += the sum.
 * Chunks have 32 rows or more; their sums stand in the workspace until they are added in order. */
BDPTI_FN bdpt_status bdpti_reduce_rows(bdpt_context *ctx, bdpti_partial kernel, const void *args,
                                       size_t width, size_t rows, bdpt_real *const *out,
                                       size_t outs) {
  const size_t wanted = (rows + 31) / 32, length = width * outs; /* chunks; numbers of one sum */
  const int chunks = wanted < BDPTI_CHUNKS ? (int)wanted : BDPTI_CHUNKS;
  bdpt_real *sums; /* [chunks][outs][width] */
  size_t bytes, o, j;
  int c;
  if (chunks == 0 || length == 0) return BDPT_OK;
  if (!bdpti_mul(length, (size_t)chunks * sizeof *sums, &bytes)) bytes = SIZE_MAX;
  sums = (bdpt_real *)bdpti_scratch(ctx, bytes);
  if (!sums) return ctx->status;
  BDPTI_OMP(omp parallel for num_threads(bdpti_team(ctx, (double)(rows * length) * 0.3)))
  for (c = 0; c < chunks; c++) {
    kernel(args, rows * (size_t)c / (size_t)chunks, rows * (size_t)(c + 1) / (size_t)chunks,
           sums + (size_t)c * length);
  }
  for (o = 0; o < outs; o++) {
    for (c = 0; c < chunks && out[o]; c++) { /* NULL: not wanted */
      const bdpt_real *from = sums + (size_t)c * length + o * width;
      for (j = 0; j < width; j++) out[o][j] += from[j];
    }
  }
  return BDPT_OK;
}

/* 6.2  Linear                                                                          >>linear
 *   math      y = x W^T + b, or r + x W^T + b
 *   shape     all axes of x but the last are rows R; r like y, or NULL
 *   backward  dx = dy W;  dW += dy^T x;  db += sum_R dy;  dr += dy
 *   source    PyTorch nn.Linear: weights are (out, in)
 *
 * Every branch of a transformer ends in a linear whose result is added to the residual stream r.
 * Adding r while the product is stored costs nothing; a sum of its own would read two arrays and
 * write a third. The patch embedding (6.8) and the MLP (6.4) share the products below.
 */

/* Linear in plain numbers, size = {R, I, O}. The plain forms of this chapter are for reading, and
 * for the tests, which hold the engine room to them; a network never calls them. */
BDPTI_FN void bdpti_linear_plain(const size_t size[3], const double *x, const double *w,
                                 const double *b, double *y) {
  size_t r, o, i;
  for (r = 0; r < size[0]; r++) {
    for (o = 0; o < size[2]; o++) {
      double sum = b[o];
      for (i = 0; i < size[1]; i++) sum += x[r * size[1] + i] * w[o * size[1] + i];
      y[r * size[2] + o] = sum;
    }
  }
}

/* Each y[r,o] is a sum of products x[r,i] w[o,i], so a change of w[o,i] moves it by x[r,i], a
 * change of x[r,i] by w[o,i], and one of b[o] by 1. The chain rule adds these up: for x[r,i] over
 * all outputs o of its row, for w[o,i] and b[o] over all rows r of the batch. */
BDPTI_FN void bdpti_linear_plain_back(const size_t size[3], const double *x, const double *w,
                                      const double *dy, double *dx, double *dw, double *db) {
  size_t r, o, i;
  for (r = 0; r < size[0]; r++) {
    for (o = 0; o < size[2]; o++) {
      double g = dy[r * size[2] + o];
      db[o] += g;
      for (i = 0; i < size[1]; i++) {
        dx[r * size[1] + i] += g * w[o * size[1] + i];
        dw[o * size[1] + i] += g * x[r * size[1] + i];
      }
    }
  }
}

BDPTI_FN bdpti_gemm bdpti_affine(const bdpt_tensor *w, size_t rows, const bdpt_real *x) {
  bdpti_gemm g; /* y[R,O] = x[R,I] W^T[I,O] */
  memset(&g, 0, sizeof g);
  g.m = rows; g.n = w->shape[0]; g.k = w->count / w->shape[0]; /* R, O, I; I = C P P in 6.8 */
  g.a = x; g.a_row = g.k; g.a_col = 1;             /* x[R,I] */
  g.b = w->data; g.b_row = 1; g.b_col = g.k;       /* W^T[I,O] */
  g.packed = w->packed; /* W^T in panels, or NULL */
  g.c_row = g.n;        /* y[R,O] and what has its shape */
  return g;
}

BDPTI_FN bdpt_tensor *bdpti_affine_run(bdpt_tape *t, bdpti_node *n, const bdpt_real *x) {
  bdpti_gemm g = bdpti_affine(n->in[1], bdpti_rows(&n->out), x); /* x, or rows of patches (6.8) */
  g.bias = n->in[2]->data;                  /* b[O] */
  g.add = n->in[3] ? n->in[3]->data : NULL; /* r[R,O] */
  g.c = n->out.data;                        /* y[R,O] */
  return bdpti_matmul(t->ctx, &g) == BDPT_OK ? &n->out : NULL;
}

BDPT_API bdpt_tensor *bdpt_linear(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *w, bdpt_tensor *b,
                                  bdpt_tensor *r) {
  bdpt_tensor *const in[4] = {x, w, b, r};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_linear, in, 4, 0);
  bdpti_replace(t, n, r);
  return n ? bdpti_affine_run(t, n, x->data) : NULL;
}

/* Makes dW, db and, if something wants it, dx[R,I] from dy[R,O]. */
BDPTI_FN void bdpti_affine_back(bdpt_tape *t, bdpt_tensor *w, bdpt_tensor *b, size_t rows,
                                const bdpt_real *dy, const bdpt_real *x, bdpti_target dx) {
  size_t out = w->shape[0], in = w->count / out; /* O, I */
  bdpti_target dw = bdpti_grad(t, w);            /* a parameter's: added to, always */
  bdpt_real *db = bdpti_grad_sum(t, b);          /* zeroed if fresh */
  const bdpti_columns sum = {out, dy};           /* db += sum_R dy */
  bdpti_gemm g;
  memset(&g, 0, sizeof g);
  g.m = rows; g.n = g.c_row = in; g.k = out;
  g.a = dy; g.a_row = out; g.a_col = 1;            /* dy[R,O] */
  g.b = w->data; g.b_row = in; g.b_col = 1;        /* W[O,I] */
  g.c = dx.to; g.add = dx.add ? dx.to : NULL;      /* dx[R,I] */
  if (g.c) bdpti_matmul(t->ctx, &g); /* dx = dy W */
  g.m = out; g.k = rows;             /* now dW: the sum is over rows */
  g.a_row = 1; g.a_col = out;                      /* dy^T[O,R] */
  g.b = x;                                         /* x[R,I] */
  g.c = dw.to; g.add = dw.add ? dw.to : NULL;      /* dW[O,I] */
  if (g.c) bdpti_matmul(t->ctx, &g);                   /* dW += dy^T x */
  if (db) bdpti_reduce_rows(t->ctx, t->ctx->isa->column_sum, &sum, out, rows, &db, 1);
}

BDPTI_FN void bdpti_linear_back(bdpt_tape *t, bdpti_node *n) {
  if (n->in[3]) bdpti_grad_pass(t, n->in[3], n->out.grad); /* dr = dy, the same buffer */
  bdpti_affine_back(t, n->in[1], n->in[2], bdpti_rows(&n->out), n->out.grad, n->in[0]->data,
                    bdpti_grad(t, n->in[0]));
}

/* 6.3  Layer norm                                                                     >>layernorm
 *   math      y = gamma xh + beta,  xh = (x - mean) rstd,  rstd = 1 / sqrt(var + eps), var biased
 *   saves     mean[R], rstd[R]
 *   backward  g = gamma dy;  dx = rstd (g - mean(g) - xh mean(g xh));
 *             dgamma += sum_R dy xh;  dbeta += sum_R dy
 *   source    Ba et al. 2016, eq. 3; timm has eps = 1e-6
 */

/* Norms one row in plain numbers; returns rstd. */
BDPTI_FN double bdpti_layernorm_plain(size_t d, const double *x, const double *gamma,
                                      const double *beta, double eps, double *xh, double *y) {
  double mean = 0, var = 0, rstd;
  size_t j;
  for (j = 0; j < d; j++) mean += x[j] / (double)d;
  for (j = 0; j < d; j++) var += (x[j] - mean) * (x[j] - mean) / (double)d;
  rstd = 1 / sqrt(var + eps);
  for (j = 0; j < d; j++) {
    xh[j] = (x[j] - mean) * rstd;
    y[j] = gamma[j] * xh[j] + beta[j];
  }
  return rstd;
}

/* A change of x[j] reaches xh[i] on three ways: directly, if i is j, by rstd; through the mean,
 * which it moves by 1/D, by -rstd/D; and through the deviation, by -rstd xh[i] xh[j] / D, because d
 * rstd/d x[j] = -rstd^2 xh[j] / D. Weighted with g[i] = dy[i] gamma[i] and summed over i, they are
 * the three terms of dx[j]. The rows of a batch add to dgamma and dbeta. */
BDPTI_FN void bdpti_layernorm_plain_back(size_t d, const double *xh, double rstd,
                                         const double *gamma, const double *dy,
                                         double *const grad[3]) { /* dx, dgamma, dbeta */
  double g = 0, gx = 0; /* means of g and of g xh */
  size_t j;
  for (j = 0; j < d; j++) {
    g += gamma[j] * dy[j] / (double)d;
    gx += gamma[j] * dy[j] * xh[j] / (double)d;
    grad[1][j] += dy[j] * xh[j];
    grad[2][j] += dy[j];
  }
  for (j = 0; j < d; j++) grad[0][j] += rstd * (gamma[j] * dy[j] - g - xh[j] * gx);
}

/* Gathers the arguments of a layer norm: the first three inputs of its node are x, gamma and beta;
 * mean[R] and rstd[R] stand in saved[1]. */
BDPTI_FN bdpti_norm_args bdpti_norm_args_of(const bdpti_node *n, bdpt_real *y) {
  const bdpt_tensor *x = n->in[0];
  bdpti_norm_args s = {bdpti_last_axis(x), x->data, n->in[1]->data, n->in[2]->data,
                       (bdpt_real)n->number, y, n->saved[1], n->saved[1] + bdpti_rows(x),
                       NULL, NULL, 0};
  return s;
}

BDPT_API bdpt_tensor *bdpt_layernorm(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *gamma,
                                     bdpt_tensor *beta, double eps) {
  bdpt_tensor *const in[3] = {x, gamma, beta};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_layernorm, in, 3, 0);
  const size_t rows = n ? bdpti_rows(x) : 0; /* R */
  bdpti_norm_args s;
  if (!bdpti_save(t, n, 0, 2 * rows)) return NULL;
  n->number = eps;
  s = bdpti_norm_args_of(n, n->out.data);
  bdpti_each(t->ctx, t->ctx->isa->layernorm_fwd, &s, rows, 1, (double)x->count * 0.5);
  return &n->out;
}

/* The node is that of a layer norm, or of an MLP, which begins with one. */
BDPTI_FN void bdpti_layernorm_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_norm_args s = bdpti_norm_args_of(n, NULL);
  bdpti_target dx = bdpti_grad(t, n->in[0]);
  bdpt_real *sum[2]; /* dgamma, dbeta; NULL if frozen */
  sum[0] = bdpti_grad_sum(t, n->in[1]);
  sum[1] = bdpti_grad_sum(t, n->in[2]);
  s.dy = n->out.grad;
  s.dx = dx.to;
  s.add = dx.add;
  bdpti_reduce_rows(t->ctx, t->ctx->isa->layernorm_bwd, &s, s.width, bdpti_rows(n->in[0]), sum, 2);
}

/* 6.4  The MLP                                                                            >>mlp
 *   math      y = x + W2 s + b2,  s = f(z),  z = W1 v + b1,  v = LN(x),  f the activation
 *   saves     mean[R], rstd[R], and z[R,F] unless the tape is to keep less
 *   backward  dz = (dy W2) f'(z);  dW2 += dy^T s;  db2 += sum_R dy;
 *             dv = dz W1;  dW1 += dz^T v;  db1 += sum_R dz;  dx += dy + what LN makes of dv
 *   source    timm Block and Mlp; the same numbers as a norm, two linears, f and a sum
 *
 * Half a block is one operation, to save memory. F is four times D, and five operations would keep
 * v, z and s and pass over z and s twice. Here GELU is applied where z is stored. The backward pass
 * needs s again for dW2; it makes s beside gelu'(z), which shares the exponential, for less than
 * reading it would cost. So neither s nor v is kept, and their buffers serve one block after
 * another. A RECOMPUTE tape does not keep z either: it pays one more product for a third of a
 * block's memory. Other activations than DeiT's pass over z once more.
 *
 * The hidden part, for both directions: v = LN(x), z = W1 v + b1, s = f(z) where it is wanted.
 */
BDPTI_FN void bdpti_mlp_hidden(bdpt_tape *t, bdpti_node *n, bdpt_real *v, bdpt_real *z,
                               bdpt_real *s) {
  const bdpt_tensor *x = n->in[0];
  const size_t rows = bdpti_rows(x);              /* R */
  const bdpt_act act = (bdpt_act)n->index;
  bdpti_gemm g = bdpti_affine(n->in[3], rows, v); /* v W1^T */
  bdpti_norm_args norm = bdpti_norm_args_of(n, v);
  bdpti_each(t->ctx, t->ctx->isa->layernorm_fwd, &norm, rows, 1, (double)x->count * 0.5);
  g.bias = n->in[4]->data; /* b1[F] */
  g.c = z;                 /* z may be s: then f(z) replaces it */
  g.gelu = act == BDPT_GELU ? s : NULL;
  if (z) bdpti_matmul(t->ctx, &g); /* NULL: v is all that is wanted */
  if (z && s && act != BDPT_GELU) bdpti_act(t->ctx, act, rows * g.n, z, NULL, s, 0);
}

BDPT_API bdpt_tensor *bdpt_mlp(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *const w[6], double eps,
                               bdpt_act act) {
  bdpt_tensor *const in[7] = {x, w[0], w[1], w[2], w[3], w[4], w[5]};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_mlp, in, 7, 0);
  const size_t rows = n ? bdpti_rows(x) : 0, hidden = n ? w[2]->shape[0] : 0; /* R, F */
  bdpt_real *s, *v; /* [R,F] [R,D], until this returns */
  bdpti_gemm g;
  n = bdpti_save(t, n, t->mode == BDPT_TAPE_RECORD ? rows * hidden : 0, /* z, or nothing, and */
                 2 * rows);                                             /* mean and rstd */
  s = n ? bdpti_buffer_take(t, rows * hidden) : NULL; /* as a rule the last block's */
  v = s ? bdpti_buffer_take(t, x->count) : NULL;
  if (!v) return NULL;
  n->number = eps; /* for the way back */
  n->index = (size_t)act;
  bdpti_replace(t, n, x);
  bdpti_mlp_hidden(t, n, v, t->mode == BDPT_TAPE_RECORD ? n->saved[0] : s, s); /* v, z, s */
  g = bdpti_affine(w[4], rows, s); /* s W2^T */
  g.bias = w[5]->data;
  g.add = x->data; /* the residual stream */
  g.c = n->out.data;
  bdpti_matmul(t->ctx, &g);
  bdpti_buffer_release(t, s); /* for the next block */
  bdpti_buffer_release(t, v);
  return t->ctx->status == BDPT_OK ? &n->out : NULL;
}

BDPTI_FN void bdpti_mlp_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *x = n->in[0], *w1 = n->in[3], *w2 = n->in[5];
  size_t rows = bdpti_rows(x), d = bdpti_last_axis(x), hidden = w1->shape[0]; /* R, D, F */
  bdpt_real *s = bdpti_buffer_take(t, rows * hidden), *dz = bdpti_buffer_take(t, rows * hidden);
  bdpt_real *v = bdpti_buffer_take(t, rows * d);                          /* LN(x) again */
  bdpti_target none = {NULL, 0}, dv = {bdpti_buffer_take(t, rows * d), 0}; /* dv is fresh */
  int again = t->mode != BDPT_TAPE_RECORD; /* z was not kept */
  const bdpt_real *z = again ? s : n->saved[0];
  const bdpt_act act = (bdpt_act)n->index;
  bdpti_gemm g;
  if (!s || !dz || !v || !dv.to) return; /* no memory: the context knows */
  bdpti_mlp_hidden(t, n, v, again ? s : NULL, NULL); /* z where s will be */
  memset(&g, 0, sizeof g);
  g.m = rows; g.n = hidden; g.k = d; /* ds = dy W2, which is never stored */
  g.a = n->out.grad; g.a_row = d; g.a_col = 1;     /* dy[R,D] */
  g.b = w2->data; g.b_row = hidden; g.b_col = 1;   /* W2[D,F] */
  g.c = dz; g.c_row = hidden;                      /* dz[R,F], with gelu'(z) */
  g.dgelu = act == BDPT_GELU ? z : NULL;
  g.gelu = act == BDPT_GELU ? s : NULL;            /* and s = GELU(z) beside it */
  bdpti_matmul(t->ctx, &g);
  if (act != BDPT_GELU) {
    bdpti_act(t->ctx, act, rows * hidden, z, dz, dz, 0); /* dz = ds f'(z) */
    bdpti_act(t->ctx, act, rows * hidden, z, NULL, s, 0);
  }
  bdpti_affine_back(t, w2, n->in[6], rows, n->out.grad, s, none); /* dW2, db2 */
  bdpti_affine_back(t, w1, n->in[4], rows, dz, v, dv);            /* dv, dW1, db1 */
  bdpti_grad_pass(t, x, n->out.grad); /* dy goes on to x, which then has the buffer to itself */
  bdpti_buffer_release(t, n->out.grad);
  n->out.grad = dv.to; /* what LN made has this gradient */
  bdpti_layernorm_back(t, n); /* adds LN's part to the dy that x has by now */
  bdpti_buffer_release(t, s); /* all serve the next block */
  bdpti_buffer_release(t, dz);
  bdpti_buffer_release(t, v);
}

/* 6.5  Activations, element by element                                                     >>act
 *   math      GELU: y = z Phi(z);  dy/dz = Phi(z) + z phi(z);  Phi, phi: the normal distribution
 *             and density, Phi(z) = erfc(-z / sqrt 2) / 2, phi(z) = exp(-z^2 / 2) / sqrt(2 pi);
 *             its approximations: y = z g, g = sigmoid(p z + q z^3);
 *             dy/dz = g + z g (1 - g) (p + 3 q z^2);  GELU by tanh: p = 2 sqrt(2 / pi),
 *             q = 0.044715 p;  QuickGELU: p = 1.702, q = 0
 *             ReLU: y = max(0, z);  dy/dz = 1 for z > 0, else 0
 *   source    Hendrycks and Gimpel 2016, section 2, with tanh(u) = 2 sigmoid(2 u) - 1; the product
 *             rule, since Phi' = phi and sigmoid' = sigmoid (1 - sigmoid)
 */
BDPTI_FN double bdpti_gelu_plain(double z) { return 0.5 * z * erfc(z * -0.70710678118654752440); }

BDPTI_FN double bdpti_gelu_slope_plain(double z) {
  return 0.5 * erfc(z * -0.70710678118654752440) + z * exp(-0.5 * z * z) * 0.39894228040143267794;
}

BDPT_API bdpt_tensor *bdpt_activate(bdpt_tape *t, bdpt_tensor *x, bdpt_act act) {
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_activate, &x, 1, 0);
  if (!n) return NULL;
  n->index = (size_t)act; /* for the way back */
  bdpti_act(t->ctx, act, x->count, x->data, NULL, n->out.data, 0);
  return &n->out;
}

BDPTI_FN void bdpti_activate_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_target dx = bdpti_grad(t, n->in[0]); /* dx = dy f'(x) */
  const bdpt_act act = (bdpt_act)n->index;
  const bdpt_real *z = n->in[0]->data;
  if (dx.to) bdpti_act(t->ctx, act, n->out.count, z, n->out.grad, dx.to, dx.add);
}

/* 6.6  Softmax over the last axis                                                      >>softmax
 *   math      y = exp(x - max x) / sum exp(x - max x);  lse = max x + log sum exp(x - max x)
 *   backward  dx = y (dy - sum(dy y))
 *
 * With the maximum subtracted nothing overflows and the sum is at least 1.
 */

/* Makes the softmax of one row in plain numbers; returns its log-sum-exp. */
BDPTI_FN double bdpti_softmax_plain(size_t n, const double *x, double *y) {
  double top = x[0], sum = 0;
  size_t j;
  for (j = 1; j < n; j++) top = fmax(top, x[j]);
  for (j = 0; j < n; j++) sum += exp(x[j] - top);
  for (j = 0; j < n; j++) y[j] = exp(x[j] - top) / sum;
  return top + log(sum);
}

/* dy[i]/dx[j] is y[i] (1 - y[i]) for i = j and -y[i] y[j] else: an output grows at the cost of the
 * others. Summed over i with the weights dy[i], that is y[j] dy[j] - y[j] sum(dy y). */
BDPTI_FN void bdpti_softmax_plain_back(size_t n, const double *y, const double *dy, double *dx) {
  double dot = 0;
  size_t j;
  for (j = 0; j < n; j++) dot += dy[j] * y[j];
  for (j = 0; j < n; j++) dx[j] += y[j] * (dy[j] - dot);
}

/* The engine room makes the softmax of attention block by block (14.4), and a loss needs the
 * logarithm only, of x / T (6.14), with inverse = 1/T. */
BDPTI_HOT double bdpti_log_sum_exp(const bdpt_real *x, size_t n, double inverse) {
  double most = (double)x[0], sum = 0;
  size_t k;
  for (k = 1; k < n; k++) most = (double)x[k] > most ? (double)x[k] : most;
  for (k = 0; k < n; k++) sum += exp(((double)x[k] - most) * inverse); /* exp of at most 0 */
  return most * inverse + log(sum); /* log sum_k exp(x_k / T) */
}

/* 6.7  Attention                                                                     >>attention
 *   math      S = scale Q K^T;  P = softmax over rows of S;  O = P V;
 *             with counts, P_ij = c_j exp S_ij / sum_k c_k exp S_ik
 *   saves     the log-sum-exp of every row, [B,h,N]; Q = 3 h d, # = h d
 *   backward  dV = P^T dO;  dP = dO V^T;  dS = P (dP - D), D_i = sum_j dP_ij P_ij;
 *             dQ = scale dS K;  dK = scale dS^T Q
 *   source    Vaswani et al. 2017, eq. 1
 *
 * The softmax turns row i of S, the answers of all keys to query i, into shares, and the output of
 * token i is the mix of all values with these shares (>>deit says what they mean).
 */

/* One head of one image in plain numbers: qkv = {Q, K, V}, each [N,d]; keeps P[N,N]; o[N,d]. */
BDPTI_FN void bdpti_attention_plain(size_t n, size_t d, double scale, const double *const qkv[3],
                                    double *p, double *o) {
  size_t i, j, e;
  for (i = 0; i < n; i++) { /* a query */
    double *row = p + i * n;
    for (j = 0; j < n; j++) { /* a key */
      for (e = 0, row[j] = 0; e < d; e++) row[j] += scale * qkv[0][i * d + e] * qkv[1][j * d + e];
    }
    bdpti_softmax_plain(n, row, row);
    for (e = 0; e < d; e++) o[i * d + e] = 0;
    for (j = 0; j < n; j++) {
      for (e = 0; e < d; e++) o[i * d + e] += row[j] * qkv[2][j * d + e];
    }
  }
}

/* O = P V is a product, so dV and dP follow as for >>linear; the softmax turns a row of dP into one
 * of dS; and S = scale Q K^T is a product again. `row` has room for 2N numbers. */
BDPTI_FN void bdpti_attention_plain_back(const size_t size[2], double scale,
                                         const double *const qkv[3], const double *p,
                                         const double *dout, double *row, double *const dqkv[3]) {
  const size_t n = size[0], d = size[1];
  double *dp = row, *ds = row + n;
  size_t i, j, e;
  for (i = 0; i < n; i++) {
    for (j = 0; j < n; j++) {
      for (e = 0, dp[j] = ds[j] = 0; e < d; e++) {
        dp[j] += dout[i * d + e] * qkv[2][j * d + e];
        dqkv[2][j * d + e] += p[i * n + j] * dout[i * d + e];
      }
    }
    bdpti_softmax_plain_back(n, p + i * n, dp, ds);
    for (j = 0; j < n; j++) {
      for (e = 0; e < d; e++) {
        dqkv[0][i * d + e] += scale * ds[j] * qkv[1][j * d + e];
        dqkv[1][j * d + e] += scale * ds[j] * qkv[0][i * d + e];
      }
    }
  }
}

/* Gathers the arguments of the engine room; the backward pass adds two. */
BDPTI_FN bdpti_heads bdpti_heads_of(bdpti_node *n) {
  const bdpt_tensor *y = &n->out;
  bdpti_heads h = {y->shape[1], n->index, y->shape[2] / n->index, 1, (bdpt_real)n->number,
                   n->in[0]->data, y->data, n->saved[0], NULL, NULL, NULL, NULL};
  if (n->in[1]) h.count = n->in[1]->data;
  return h;
}

BDPT_API bdpt_tensor *bdpt_attention(bdpt_tape *t, bdpt_tensor *qkv, bdpt_tensor *count, int heads,
                                     double scale) {
  bdpt_tensor *const in[2] = {qkv, count};
  const size_t h = (size_t)heads, width = qkv ? bdpti_last_axis(qkv) : 0;
  bdpti_node *n;
  size_t i;
  if (qkv && (heads < 1 || width % (3 * h) != 0)) {
    bdpt_fail(t->ctx, BDPT_E_SHAPE, "attention: x%s is not [B,N,3 x %d heads x d]",
              bdpt_shape(qkv).text, heads);
    return NULL;
  }
  n = bdpti_begin(t, BDPTI_OP_attention, in, 2, width / 3);
  for (i = 0; n && count && i < count->count; i++) {
    if (count->data[i] >= 1) continue;
    bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "attention: key %zu of count%s counts %g times, not 1 or "
              "more", i, bdpt_shape(count).text, (double)count->data[i]);
    return NULL;
  }
  if (!bdpti_save(t, n, n ? 3 * n->out.count / width * h : 0, 0)) return NULL; /* lse[B,h,N] */
  n->index = h; /* for the way back */
  n->number = scale;
  return bdpti_attention(t->ctx, n->out.shape[0], bdpti_heads_of(n)) == BDPT_OK ? &n->out : NULL;
}

/* The kernel writes all of dqkv and cannot add, so it writes a buffer of its own. */
BDPTI_FN void bdpti_attention_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *qkv = n->in[0];
  bdpti_heads h = bdpti_heads_of(n);
  h.dqkv = qkv->wants_grad ? bdpti_buffer_take(t, qkv->count) : NULL;
  if (!h.dqkv) return;
  h.dout = n->out.grad;
  bdpti_attention(t->ctx, n->out.shape[0], h);
  bdpti_grad_pass(t, qkv, h.dqkv); /* handed over if it is the first */
  bdpti_buffer_release(t, h.dqkv);
}

/* 6.8  Patch embedding                                                                  >>patch
 *   math      y[b,i] = W patch(b,i) + bias: a convolution whose stride is its size
 *   shape     # = n: the patches, row by row
 *   backward  through the copied patches: dW += dy^T patches, dbias += sum dy, and dimages when
 *             somebody wants it
 *   source    timm PatchEmbed
 *
 * The patches are copied into rows [B n, C P P] first (im2col); patches do not overlap, so this
 * is one reading and writing of the images, and the rest is a linear. With `back` the rows are
 * gradients, and are added to those of the images.
 */
BDPTI_HOT void bdpti_patches(bdpt_tape *t, const bdpt_tensor *images, size_t patch, bdpt_real *rows,
                            bdpt_real *back) {
  size_t c = images->shape[1], height = images->shape[2], width = images->shape[3];
  size_t across = width / patch, down = height / patch; /* patches in a row; in a column */
  int i, total = (int)(images->shape[0] * down);        /* rows of patches in the batch */
  (void)t; /* used by the pragma only */
  BDPTI_OMP(omp parallel for num_threads(t->ctx->threads) schedule(static))
  for (i = 0; i < total; i++) { /* one row of patches */
    size_t image = (size_t)i / down, y = (size_t)i % down, x, k;
    for (x = 0; x < across; x++) { /* one patch */
      bdpt_real *row = rows + ((size_t)i * across + x) * c * patch * patch; /* its row [C P P] */
      for (k = 0; k < c * patch; k++, row += patch) { /* line k % P of channel k / P */
        size_t at = ((image * c + k / patch) * height + y * patch + k % patch) * width + x * patch;
        if (back) bdpti_add_to(back + at, row, patch); /* dimages += drows */
        else memcpy(row, images->data + at, patch * sizeof *row);
      }
    }
  }
}

BDPT_API bdpt_tensor *bdpt_patch_embed(bdpt_tape *t, bdpt_tensor *images, bdpt_tensor *w,
                                       bdpt_tensor *b) {
  bdpt_tensor *const in[3] = {images, w, b};
  const size_t p = w && w->ndim == 4 && w->shape[3] ? w->shape[3] : 1; /* P */
  bdpti_node *n;
  size_t patches = 0; /* none unless P divides H and W */
  if (images && images->ndim == 4 && images->shape[2] % p == 0 && images->shape[3] % p == 0) {
    patches = (images->shape[2] / p) * (images->shape[3] / p);
  }
  n = bdpti_begin(t, BDPTI_OP_patch_embed, in, 3, patches);
  if (!bdpti_save(t, n, n ? images->count : 0, 0)) return NULL; /* im2col: as many numbers */
  bdpti_patches(t, images, p, n->saved[0], NULL);
  return bdpti_affine_run(t, n, n->saved[0]); /* rows W^T + bias */
}

BDPTI_FN void bdpti_patch_embed_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *images = n->in[0];
  bdpt_real *dx = bdpti_grad_sum(t, images); /* NULL if they are data */
  bdpti_target drows = {dx ? bdpti_buffer_take(t, images->count) : NULL, 0};
  bdpti_affine_back(t, n->in[1], n->in[2], bdpti_rows(&n->out), n->out.grad, n->saved[0], drows);
  if (!drows.to) return; /* the usual case in training */
  bdpti_patches(t, images, n->in[1]->shape[3], drows.to, dx);
  bdpti_buffer_release(t, drows.to);
}

/* 6.9  Tokens                                                                          >>tokens
 *   math      y[b] = (cls, dist, reg, patches[b]) + pos
 *   backward  dpatches = their rows of dy;  dpos += sum_B dy;  dcls, ddist, dreg += theirs
 *   source    timm VisionTransformer._pos_embed
 */
BDPT_API bdpt_tensor *bdpt_tokens(bdpt_tape *t, bdpt_tensor *patches, bdpt_tensor *cls,
                                  bdpt_tensor *dist, bdpt_tensor *reg, bdpt_tensor *pos) {
  bdpt_tensor *const in[5] = {patches, pos, cls, dist, reg}, *const *first = in + 2;
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_tokens, in, 5, 0);
  size_t head = 0, body, b; /* numbers of an image before its patches, and in them */
  int i;
  if (!n) return NULL;
  for (i = 0; i < 3; i++) head += first[i] ? first[i]->count : 0;
  body = patches->count / patches->shape[0];
  if (pos->count != head + body) {
    bdpt_fail(t->ctx, BDPT_E_SHAPE, "tokens: patches%s and %zu tokens before them, but positions%s:"
              " each token needs one", bdpt_shape(patches).text, head / pos->shape[2],
              bdpt_shape(pos).text);
    return NULL;
  }
  for (b = 0; b < patches->shape[0]; b++) { /* one image */
    bdpt_real *y = n->out.data + b * pos->count, *at = y;
    for (i = 0; i < 3; i++) {
      if (first[i]) memcpy(at, first[i]->data, first[i]->count * sizeof *y);
      if (first[i]) at += first[i]->count;
    }
    bdpti_add_to(y, pos->data, head); /* the same positions for every image */
    bdpti_axpby(t->ctx, body, 1, patches->data + b * body, 1, pos->data + head, at);
  }
  return &n->out;
}

BDPTI_HOT void bdpti_tokens_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *pos = n->in[1];
  bdpt_real *dpatches = bdpti_grad_sum(t, n->in[0]), *dpos = bdpti_grad_sum(t, pos);
  const bdpti_columns sum = {pos->count, n->out.grad};
  size_t body = n->in[0]->shape[1] * bdpti_last_axis(pos), b;
  int i;
  for (b = 0; b < n->out.shape[0]; b++) { /* one image */
    const bdpt_real *dy = n->out.grad + b * pos->count;
    for (i = 2; i < 5; i++) { /* cls, dist, reg */
      bdpt_real *dx = n->in[i] ? bdpti_grad_sum(t, n->in[i]) : NULL;
      if (dx) bdpti_add_to(dx, dy, n->in[i]->count);
      if (n->in[i]) dy += n->in[i]->count;
    }
    if (dpatches) bdpti_add_to(dpatches + b * body, dy, body);
  }
  if (!dpos) return;
  bdpti_reduce_rows(t->ctx, t->ctx->isa->column_sum, &sum, pos->count, n->out.shape[0], &dpos, 1);
}

/* 6.10  One token of every image
 *   math      y[b] = x[b,i], or a mean over first <= i < first + count, behind x[b,0] in 2D numbers
 *   backward  dx[b,i] += dy[b] / count for those i;  dx[b,0] += its half of dy[b]
 */
BDPT_API bdpt_tensor *bdpt_pool(bdpt_tape *t, bdpt_tensor *x, size_t first, size_t count,
                                int token) {
  const size_t d = x ? bdpti_last_axis(x) : 0, width = token ? 2 * d : d;
  const size_t tokens = x && x->ndim == 3 ? x->shape[1] : SIZE_MAX; /* else it does not fit */
  size_t b, i, j;
  bdpti_node *n;
  if (x && (first >= tokens || count > tokens - first)) {
    bdpt_fail(t->ctx, BDPT_E_SHAPE, "pool: x%s has no token %zu", bdpt_shape(x).text,
              first < tokens ? tokens : first);
    return NULL;
  }
  n = bdpti_begin(t, BDPTI_OP_pool, &x, 1, width);
  if (!n) return NULL;
  if (count == 0) count = tokens - first;
  for (b = 0; b < x->shape[0]; b++) {
    const bdpt_real *from = x->data + b * tokens * d;
    bdpt_real *y = n->out.data + b * width;
    if (token) memcpy(y, from, d * sizeof *y);
    for (j = 0; j < d; j++) {
      double sum = 0;
      for (i = first; i < first + count; i++) sum += (double)from[i * d + j];
      y[width - d + j] = (bdpt_real)(sum / (double)count);
    }
  }
  n->index = first;
  n->number = (double)count;
  return &n->out;
}

BDPTI_HOT void bdpti_pool_back(bdpt_tape *t, bdpti_node *n) {
  const size_t tokens = n->in[0]->shape[1], d = n->in[0]->shape[2], wide = n->out.shape[1];
  const size_t end = n->index + (size_t)n->number;
  const bdpt_real share = 1 / (bdpt_real)n->number;
  bdpt_real *dx = bdpti_grad_sum(t, n->in[0]), *dy = n->out.grad;
  size_t b, i, j;
  for (b = 0; dx && b < n->out.shape[0]; b++, dx += tokens * d, dy += wide) {
    if (wide > d) bdpti_add_to(dx, dy, d);
    for (i = n->index; i < end; i++) {
      for (j = 0; j < d; j++) dx[i * d + j] += share * dy[wide - d + j];
    }
  }
}

/* 6.11  Sum and scaling
 *   math      y = a + b;  y = s x
 *   backward  da += dy, db += dy (both get the same buffer, see 5.3);  dx += s dy
 */
BDPT_API bdpt_tensor *bdpt_add(bdpt_tape *t, bdpt_tensor *a, bdpt_tensor *b) {
  bdpt_tensor *const in[2] = {a, b};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_add, in, 2, 0);
  bdpti_replace(t, n, a);
  if (n) bdpti_axpby(t->ctx, a->count, 1, a->data, 1, b->data, n->out.data);
  return bdpti_out(n);
}

BDPTI_FN void bdpti_add_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_grad_pass(t, n->in[1], n->out.grad); /* db = dy */
  bdpti_grad_pass(t, n->in[0], n->out.grad); /* da = dy */
}

BDPT_API bdpt_tensor *bdpt_scale(bdpt_tape *t, bdpt_tensor *x, double factor) {
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_scale, &x, 1, 0);
  if (!n) return NULL;
  n->number = factor;
  bdpti_axpby(t->ctx, x->count, (bdpt_real)factor, x->data, 0, NULL, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_scale_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_grad_axpy(t, n->in[0], (bdpt_real)n->number, n->out.grad); /* dx += s dy */
}

/* Tell how many processes share a batch, and the place of its sample k among the n samples of this
 * process, or n if another one has it. Half of them come from the front of the batch and half from
 * its back, so that images that are mixed with each other are together (12.6). */
BDPTI_FN size_t bdpti_cluster_size(const bdpt_context *ctx) {
  return ctx->cluster.size > 1 ? (size_t)ctx->cluster.size : 1;
}

BDPTI_FN size_t bdpti_cluster_place(const bdpt_context *ctx, size_t n, size_t k) {
  const size_t ranks = bdpti_cluster_size(ctx), half = n / 2,
               front = (size_t)ctx->cluster.rank * half;
  if (ranks == 1) return k;
  if (k >= front && k < front + half) return k - front;
  if (k >= n * ranks - front - half && k < n * ranks - front) return k + front + n - n * ranks;
  return n;
}

/* 6.12  Drop path                                                                     >>droppath
 *   math      y[b] = x[b] keep[b] / (1 - rate),  keep[b] = 1 with probability 1 - rate
 *   saves     keep[b] / (1 - rate)
 *   backward  dx[b] += dy[b] keep[b] / (1 - rate)
 *   source    Huang et al. 2016, "Deep networks with stochastic depth"; timm DropPath
 *
 * At rate 0 the operation is its input: nothing is recorded and nothing is drawn.
 */
BDPTI_FN void bdpti_drop_path_run(bdpt_tape *t, bdpti_node *n, const bdpt_real *x,
                                  const bdpt_real *y, bdpt_real *out) {
  const int batch = (int)n->out.shape[0];
  int b;
  BDPTI_OMP(omp parallel for num_threads(bdpti_team(t->ctx, (double)n->out.count * 0.4)))
  for (b = 0; b < batch; b++) { /* out = y + keep x, or keep x; adding -0 keeps a zero's sign */
    const size_t at = (size_t)b * n->index;
    const bdpt_real keep = n->saved[0][b];
    bdpti_pointwise sum = {y, x + at, 1, keep, out + at, 0};
    bdpti_pointwise alone = {x + at, NULL, keep, -(bdpt_real)0, out + at, 0};
    if (y) sum.x += at;
    t->ctx->isa->axpby(y ? &sum : &alone, 0, n->index);
  }
}

BDPT_API bdpt_tensor *bdpt_drop_path(bdpt_tape *t, bdpt_tensor *x, double rate, bdpt_rng *rng) {
  bdpti_node *n;
  size_t b, batch, all, own;
  if (!x || rate == 0) return x;
  if (!(rate > 0 && rate < 1)) {
    bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "drop path: rate %g is not in [0,1)", rate);
    return NULL;
  }
  batch = x->shape[0]; /* B */
  all = batch * bdpti_cluster_size(t->ctx);
  n = bdpti_save(t, bdpti_begin(t, BDPTI_OP_drop_path, &x, 1, 0), batch, 0);
  if (!n) return NULL;
  for (b = 0; b < all; b++) { /* one draw per sample of all processes */
    bdpt_real keep = (bdpt_real)(bdpt_uniform(rng) < rate ? 0 : 1 / (1 - rate));
    own = bdpti_cluster_place(t->ctx, batch, b);
    if (own < batch) n->saved[0][own] = keep;
  }
  n->index = batch ? x->count / batch : 0; /* numbers of a sample */
  bdpti_drop_path_run(t, n, x->data, NULL, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_drop_path_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_target dx = bdpti_grad(t, n->in[0]);
  if (dx.to) bdpti_drop_path_run(t, n, n->out.grad, dx.add ? dx.to : NULL, dx.to);
}

/* 6.13  Masked mix, straight through                                                       >>mix
 *   math      y = m f + (1 - m) r;  m = mask in {0,1}, its gradient handed to the importance
 *   backward  df = m dy;  dr = (1 - m) dy;  dimportance += sum dy (f - r)
 *   source    PAPER_NOTES.md, "Dual parameters"; Bengio et al. 2013 for the straight-through idea
 */
BDPT_API bdpt_tensor *bdpt_mix(bdpt_tape *t, bdpt_tensor *f, bdpt_tensor *r, bdpt_tensor *m,
                               double mask) {
  bdpt_tensor *const in[3] = {f, r, m};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_mix, in, 3, 0);
  bdpt_real share;
  if (!n) return NULL;
  n->number = mask == BDPT_NONE ? (double)m->data[0] : mask;
  share = (bdpt_real)n->number; /* exactly f at m = 1 and r at m = 0 */
  bdpti_axpby(t->ctx, f->count, share, f->data, 1 - share, r->data, n->out.data);
  return &n->out;
}

BDPTI_FN void bdpti_mix_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_tensor *f = n->in[0], *r = n->in[1];
  bdpt_real mask = (bdpt_real)n->number, *dm = bdpti_grad_sum(t, n->in[2]), *dy = n->out.grad;
  if (dm) { /* dm += sum dy (f - r) */
    dm[0] = (bdpt_real)((double)dm[0] + bdpti_dot(t->ctx, f->count, dy, f->data, r->data));
  }
  if (mask == 1) { /* then (1 - m) dy is zero */
    bdpti_grad_pass(t, f, dy);
    return;
  }
  bdpti_grad_axpy(t, f, mask, dy);     /* df += m dy */
  bdpti_grad_axpy(t, r, 1 - mask, dy); /* dr += (1 - m) dy */
}

/* 6.14  Losses                                                                             >>loss
 *
 * The next two losses compare p = softmax(x/T), of logits x at a temperature T, with a target. A
 * loss is the end of the graph, so its gradient is known when its value is: the forward pass leaves
 * dL/dx in saved[0], and the backward pass multiplies it by what comes in, mostly 1. On B K numbers
 * double arithmetic costs nothing, and a small p does not drown in rounding.
 */
/* With `logits`, q = softmax(given/T) is the target and L = T^2/B sum q log(q/p); else `given` is
 * the target q itself and L = -1/B sum q log p. Either way dx = T/B (p sum_j q[j] - q). */
BDPTI_HOT bdpt_tensor *bdpti_soft_loss(bdpt_tape *t, bdpt_tensor *x, const bdpt_real *given,
                                      double temperature, int logits) {
  size_t b, k, classes, batch;
  double loss = 0, inverse = 1 / temperature;
  bdpti_node *n = given ? bdpti_begin(t, BDPTI_OP_cross_entropy, &x, 1, 0) : NULL;
  if (!bdpti_save(t, n, n ? x->count : 0, 0)) return NULL; /* dx[B,K] */
  batch = x->shape[0];
  classes = x->shape[1];
  for (b = 0; b < batch; b++, given += classes) { /* one sample */
    const bdpt_real *logit = x->data + b * classes;
    double lse = bdpti_log_sum_exp(logit, classes, inverse), total = logits; /* total: of all q */
    double lse_given = logits ? bdpti_log_sum_exp(given, classes, inverse) : 0;
    for (k = 0; !logits && k < classes; k++) total += (double)given[k]; /* whatever they sum to */
    for (k = 0; k < classes; k++) {
      double log_p = (double)logit[k] * inverse - lse;                    /* log softmax(x/T) */
      double log_q = logits ? (double)given[k] * inverse - lse_given : 0; /* q log q left out */
      double q = logits ? exp(log_q) : (double)given[k];
      loss += q * (log_q - log_p); /* q log(q/p), or -q log p */
      n->saved[0][b * classes + k] =
          (bdpt_real)((exp(log_p) * total - q) * temperature / (double)batch);
    }
  }
  n->out.data[0] = (bdpt_real)(loss * temperature * temperature / (double)batch); /* T^2/B */
  return &n->out;
}

/* 6.15  Soft-target cross-entropy                                                            >>ce
 *   math      L = -1/B sum_b sum_k t[b,k] log p[b,k],  p = softmax(x)
 *   backward  dx[b,k] = dL/B (p[b,k] sum_j t[b,j] - t[b,k])
 *   source    timm SoftTargetCrossEntropy; label smoothing and mixup live in the targets
 */
BDPT_API bdpt_tensor *bdpt_cross_entropy(bdpt_tape *t, bdpt_tensor *x, const bdpt_real *targets) {
  return bdpti_soft_loss(t, x, targets, 1, 0);
}

BDPTI_FN void bdpti_cross_entropy_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_grad_axpy(t, n->in[0], n->out.grad[0], n->saved[0]); /* dL times what is saved */
}

/* 6.16  Soft distillation                                                               >>distill
 *   math      L = T^2/B sum_b sum_k q log(q / p),  p = softmax(x/T), q = softmax(teacher/T)
 *   backward  dx[b,k] = dL T/B (p[b,k] - q[b,k])
 *   source    Hinton et al. 2015; T^2 keeps the gradient's size independent of T
 *
 * DEVIATION: DeiT's code divides by B K instead of B; over 100 classes that is a hundredth of the
 * published loss. Hard distillation is the cross-entropy against the teacher's arg-max.
 */
BDPT_API bdpt_tensor *bdpt_distill_soft(bdpt_tape *t, bdpt_tensor *x, const bdpt_real *teacher,
                                        double temperature) {
  if (temperature > 0) return bdpti_soft_loss(t, x, teacher, temperature, 1);
  bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "soft distillation: temperature %g", temperature);
  return NULL;
}

/* 6.17  Matching features                                                                   >>match
 *   math      L = sum (x - y)^2 / sum y^2;  0 where y is zero all over
 *   backward  dx = dL 2 (x - y) / sum y^2;  y gets none, even if it wants one
 *   source    Romero et al. 2015, "FitNets: hints for thin deep nets", without their regressor
 *
 * Logits tell a student what the answer is; the stream inside the teacher tells it how the answer
 * is reached. A network that lost layers keeps its width, so its stream can be held against the
 * teacher's number by number, and nothing has to be learned to compare them. Divided by the size of
 * y the loss means the same in every block: 1 is what a stream of zeros would cost.
 */
BDPT_API bdpt_tensor *bdpt_match(bdpt_tape *t, bdpt_tensor *x, bdpt_tensor *y) {
  bdpt_tensor *const in[2] = {x, y};
  bdpti_node *n = bdpti_begin(t, BDPTI_OP_match, in, 2, 0);
  double miss = 0, size = 0; /* sums in one order, whatever the threads */
  size_t i;
  if (!n) return NULL;
  for (i = 0; i < x->count; i++) {
    double own = (double)y->data[i], off = (double)x->data[i] - own;
    miss += off * off; size += own * own;
  }
  n->number = size > 0 ? 1 / size : 0;
  n->out.data[0] = (bdpt_real)(miss * n->number);
  return &n->out;
}

BDPTI_FN void bdpti_match_back(bdpt_tape *t, bdpti_node *n) {
  bdpt_real factor = (bdpt_real)(2 * n->number * (double)n->out.grad[0]);
  bdpti_grad_axpy(t, n->in[0], factor, n->in[0]->data);
  bdpti_grad_axpy(t, n->in[0], -factor, n->in[1]->data);
}

/* 6.18  An operation of the caller's own                                                    >>own
 *
 * The library cannot foresee every operation, and need not: what an operation owes the tape is two
 * functions. The tape gives them the memory. Forward writes an output of the shape that was asked
 * for. Backward is called if the walk reaches the operation, with dL/dout in dy; of the two rules
 * at the head of this chapter it applies the first, dx = J^T dy, and adds, and the tape does the
 * second: a dx that nobody has written to yet holds zeros. So an operation that uses an input twice
 * adds twice, and one that gets the same tensor as two inputs finds one place in both.
 *
 * Everything that holds for the operations above holds for it: NULL among the inputs gives NULL, an
 * error stops the graph, memory is the step's; bdpt_gradcheck of boundarydpt_plus.h judges it.
 * Parameters that change from call to call are copied to `saved`, since `user` is only borrowed.
 */
typedef struct bdpti_own { bdpt_op op; bdpt_op_run run; } bdpti_own;

/* An error that the function did not explain gets a sentence. */
BDPTI_FN int bdpti_own_call(const bdpti_own *o, bdpt_status (*function)(const bdpt_op_run *run)) {
  bdpt_status status = function(&o->run);
  if (status == BDPT_OK) return 1;
  bdpt_fail(o->run.ctx, status, "%s: %s", o->op.name, bdpt_status_string(status));
  return 0;
}

BDPT_API bdpt_tensor *bdpt_tape_op(bdpt_tape *t, const bdpt_op *op, bdpt_tensor *const *in,
                                   int count, int ndim, const size_t *shape) {
  bdpti_node *n;
  bdpti_own *o;
  int i;
  if (count < 0 || count > BDPT_MAX_INPUTS) {
    bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "%s: %d inputs, at most 7 are possible", op->name, count);
    return NULL;
  }
  for (i = 0; i < count; i++) {
    if (!in[i]) return NULL;
  }
  n = bdpti_record(t, BDPTI_OP_own, ndim, shape, in, count);
  o = n ? (bdpti_own *)bdpti_arena_take(&t->arena, 1, sizeof *o) : NULL;
  if (!o) return NULL;
  memset(o, 0, sizeof *o);
  n->own = o;
  o->op = *op;
  o->run.ctx = t->ctx; o->run.out = &n->out; o->run.user = op->user;
  for (i = 0; i < count; i++) o->run.in[i] = in[i];
  if (n->out.wants_grad && !op->backward) {
    bdpt_fail(t->ctx, BDPT_E_STATE, "%s: it has no backward pass, but a gradient is wanted "
              "through it", op->name);
    return NULL;
  }
  if (op->saved && !(o->run.saved = bdpti_arena_take(&t->arena, op->saved, 1))) return NULL;
  return bdpti_own_call(o, op->forward) ? &n->out : NULL;
}

BDPTI_FN void bdpti_own_back(bdpt_tape *t, bdpti_node *n) {
  bdpti_own *o = n->own;
  int i;
  for (i = 0; i < BDPT_MAX_INPUTS; i++) o->run.dx[i] = bdpti_grad_sum(t, n->in[i]); /* or NULL */
  o->run.dy = n->out.grad;
  if (t->ctx->status == BDPT_OK) bdpti_own_call(o, o->op.backward);
}

/* 6.19  Dispatch: the table once more, now as functions. */
BDPTI_FN void bdpti_backward_op(bdpt_tape *t, bdpti_node *n) {
#define BDPTI_OP_BACK(name, formula) bdpti_##name##_back,
  static void (*const back[])(bdpt_tape *t, bdpti_node *n) = {NULL, BDPTI_OPS(BDPTI_OP_BACK)};
  back[n->op](t, n);
}

/* =================================================================================================
 * 7  THE VISION TRANSFORMER                                                                 >>deit
 * =================================================================================================
 * How does a network read an image as a set of vectors? It cuts the image into P x P patches and
 * maps each to a vector of width D, a token: 196 tokens for 224 x 224 pixels and P = 16. One token
 * more, the class token, is learned; it has no patch and collects what the answer needs. A
 * distilled model has a second one, whose head learns from another, trained network, its teacher. A
 * learned position is added to every token, because attention cannot tell where a token came from.
 *
 * The N tokens then pass through L blocks. A block never replaces a token; it adds to it, twice:
 *
 *     x1 = x  + MHSA(LN1(x))                      attention: tokens exchange information
 *     x2 = x1 + W2 GELU(W1 LN2(x1) + b1) + b2     MLP: each token by itself
 *
 * The running sum x is the residual stream. Every layer reads it through a norm, so a layer may be
 * weak or missing and the stream still carries what the others wrote: that is what makes depth
 * pruning possible at all. After the last block the class token goes through a norm and a linear
 * head, and the K numbers that come out are the logits.
 *
 * Attention lets a token collect from all others. Each token makes a query q, a key k and a value v
 * (one linear of width 3 h d), and y_i = sum_j softmax_j(q_i . k_j / sqrt(d)) v_j: the better the
 * key of j fits the query of i, the more of j's value i gets. This is done by h heads of size d
 * side by side, and a second linear joins them. The MLP works on one token alone: it widens D to F,
 * bends each number by a GELU, and narrows F to D again. Chapter 9 removes attention and GELU.
 *
 * Source: Touvron et al. 2021 (DeiT), with the details of timm: pre-norm, norm eps 1e-6, exact
 * GELU, bias on q, k and v. What pruning needs is that a block is data, not code: bdpt_block says
 * for each block how many heads of which size it has, how wide its MLP is, and what is left of its
 * attention and activation. Nothing below assumes equal blocks or F = 4D, and D need not be h d.
 *
 * Later vision transformers differ in small things, and each is a field of the configuration (3.3)
 * whose zero is DeiT. A factor on each branch (LayerScale) needs no field: whoever reads it
 * multiplies it into the branch's last linear.
 */

/* 7.1  Configurations
 *
 * A table lists numbers of a struct: their names for messages, places, what 0 stands for (patch:
 * 16), and bounds. It fills and checks. The limits keep products of two sizes far inside 64 bits.
 */
BDPT_API bdpt_status bdpt_config_named(bdpt_context *ctx, const char *name, bdpt_config *out) {
  static const char *const known[8] = {
    "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
    "deit_small_patch16_224", "deit_small_distilled_patch16_224",
    "deit_base_patch16_224", "deit_base_distilled_patch16_224",
    "deit_base_patch16_384", "deit_base_distilled_patch16_384"};
  int i;
  for (i = 0; i < 8; i++) {
    if (strcmp(name, known[i]) != 0) continue;
    memset(out, 0, sizeof *out);
    out->heads = i < 4 ? 3 * (i / 2 + 1) : 12; /* 3, 6, 12 */
    out->width = 64 * out->heads; /* d = 64 */
    out->image = i < 6 ? 224 : 384;
    out->distilled = i % 2;
    return bdpt_config_resolve(ctx, out); /* the rest is the defaults */
  }
  return bdpt_fail(ctx, BDPT_E_ARGUMENT, "no configuration is called \"%s\"; known are "
                   "deit_{tiny,small,base}_patch16_224, the same with _distilled after the size, "
                   "and deit_base_patch16_384", name);
}

#define BDPTI_COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))
typedef struct bdpti_field {
  const char *name;       /* the member's, for messages */
  size_t at;              /* its offset, of a double or of an int */
  int is_double;
  double zero, low, high; /* what 0 stands for; least and largest value */
} bdpti_field;
#define BDPTI_FIELD(type, f, zero, low, high) \
  {#f, offsetof(type, f), sizeof(((type *)0)->f) == sizeof(double), zero, low, high}
#define BDPTI_OF(f, zero, low, high) BDPTI_FIELD(bdpt_config, f, zero, low, high)

/* Reads a field. To fill, 0 gets what it stands for, and with `none` BDPT_NONE becomes 0. */
BDPTI_FN double bdpti_field_get(const bdpti_field *f, void *of, int fill, int none) {
  double *real = (double *)(void *)((char *)of + f->at); /* only one of the two is looked at */
  int *whole = (int *)(void *)real;
  double v = f->is_double ? *real : (double)*whole, to = v == 0 ? f->zero : 0.0;
  if (!fill || (v != 0 && !(none && v == BDPT_NONE))) return v;
  if (f->is_double) *real = to;
  else *whole = (int)to;
  return to;
}

/* Checks the bounds of all fields, and fills their zeros before if it is to. */
BDPTI_FN bdpt_status bdpti_fields_check(bdpt_context *ctx, const char *what, const bdpti_field *f,
                                        int count, void *of, int fill) {
  for (; count > 0; count--, f++) {
    double v = bdpti_field_get(f, of, fill, 0);
    if (v >= f->low && v <= f->high) continue; /* false for NaN */
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "%s: %s is %g, not between %g and %g", what, f->name, v,
                     f->low, f->high);
  }
  return BDPT_OK;
}

BDPTI_FN bdpt_status bdpti_block_resolve(bdpt_context *ctx, const bdpt_config *c, bdpt_block *b) {
  static const bdpti_field limits[5] = { /* the sizes get their defaults from the model, below */
    BDPTI_FIELD(bdpt_block, heads, 0, 1, 1024), BDPTI_FIELD(bdpt_block, head_dim, 0, 1, 4096),
    BDPTI_FIELD(bdpt_block, mlp, 0, 1, 1 << 18),
    BDPTI_FIELD(bdpt_block, mlp_state, 0, 0, BDPT_MLP_FITTED),
    BDPTI_FIELD(bdpt_block, attention, 0, 0, BDPT_ATTENTION_FITTED)};
  if (b->heads == 0 && b->head_dim == 0 && c->width % c->heads != 0) { /* h does not divide D */
    return bdpt_fail(ctx, BDPT_E_SHAPE, "config: %d heads do not divide width %d; give head_dim "
                     "for each block", c->heads, c->width);
  }
  if (b->heads == 0) b->heads = c->heads;
  if (b->head_dim == 0) b->head_dim = c->width / c->heads; /* d = D / h */
  if (b->mlp == 0) b->mlp = c->mlp;
  if (b->scale == 0 && b->head_dim > 0) b->scale = 1.0 / sqrt((double)b->head_dim);
  return bdpti_fields_check(ctx, "block", limits, 5, b, 1); /* scale is free */
}

BDPT_API bdpt_status bdpt_config_resolve(bdpt_context *ctx, bdpt_config *c) {
  static const double mean[3] = {0.485, 0.456, 0.406}, sd[3] = {0.229, 0.224, 0.225}; /* ImageNet */
  static const bdpti_field limits[20] = { /* H, W, P, C, D, L, h, F, K, and the forms */
    BDPTI_OF(image, 224, 1, 16384), BDPTI_OF(image_width, 0, 0, 16384),
    BDPTI_OF(patch, 16, 1, 16384), BDPTI_OF(channels, 3, 1, 3), /* grey to RGB */
    BDPTI_OF(width, 192, 1, 1 << 16), BDPTI_OF(depth, 12, 1, BDPT_MAX_DEPTH),
    BDPTI_OF(heads, 3, 1, 1024), BDPTI_OF(mlp, 0, 0, 1 << 18), /* of blocks that name none */
    BDPTI_OF(classes, 1000, 1, 1 << 20), BDPTI_OF(distilled, 0, 0, 1),
    BDPTI_OF(attn_form, 0, 0, BDPT_ATTN_DOUBLE), BDPTI_OF(extra_gelu, 0, 0, BDPT_GELU_ALWAYS),
    BDPTI_OF(pos_resize, 0, 0, BDPT_POS_DEIT), BDPTI_OF(act, 0, 0, BDPT_RELU),
    BDPTI_OF(pool, 0, 0, BDPT_POOL_BOTH), BDPTI_OF(registers, 0, 0, 1024),
    BDPTI_OF(no_class, 0, 0, 1), BDPTI_OF(pre_norm, 0, 0, 1),
    BDPTI_OF(no_qkv_bias, 0, 0, 1), BDPTI_OF(headless, 0, 0, 1)};
  int i;
  if (bdpti_fields_check(ctx, "config", limits, 20, c, 1) != BDPT_OK) return ctx->status;
  if (c->mlp == 0) c->mlp = 4 * c->width;                   /* F = 4 D */
  if (c->eps == 0) c->eps = 1e-6;                           /* timm's; PyTorch has 1e-5 */
  if (c->std[0] == 0 && c->std[1] == 0 && c->std[2] == 0) { /* none given */
    memcpy(c->mean, mean, sizeof mean);
    memcpy(c->std, sd, sizeof sd);
  }
  if (c->image_width == c->image) c->image_width = 0; /* a square is said in one way */
  if (c->image % c->patch != 0 || c->image_width % c->patch != 0) { /* pixels would be left over */
    return bdpt_fail(ctx, BDPT_E_SHAPE, "config: patch %d does not divide image %d x %d", c->patch,
                     c->image, bdpt_image_width(c));
  }
  if (!(c->eps > 0 && c->eps < 1) || !(c->std[0] > 0 && c->std[1] > 0 && c->std[2] > 0)) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "config: eps %g must be in (0,1) and std positive",
                     c->eps);
  }
  if (c->headless) c->classes = c->pool == BDPT_POOL_BOTH ? 2 * c->width : c->width; /* E */
  if (c->distilled ? c->no_class || c->pool : c->no_class && c->pool % 3 == 0) { /* CLASS, BOTH */
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "config: the head reads the class token, but there is "
                     "none; pool the patches; a distilled model has one and pools nothing");
  }
  for (i = 0; i < c->depth; i++) { /* each after the model's own sizes */
    if (bdpti_block_resolve(ctx, c, &c->block[i]) != BDPT_OK) return ctx->status;
  }
  return BDPT_OK;
}

/* 7.2  Parameters and their shapes                                                       >>slots
 *
 * Every parameter has a slot, a timm name, a shape and a condition under which it exists. The table
 * below is the only place that knows them: creation, loading, saving, counting and the optimiser
 * all ask it, so the parameter count of a pruned network is right by construction. A shape is
 * spelled with the letters of the reading guide, one per axis; A stands for h d and Q for 3 h d,
 * the widths that attention needs and that differ from block to block, as F does; E is what the
 * head reads, D or 2D. The condition is
 *
 *   +  always          2  a distilled model     n  the norm before attention has a reader
 *   a  attention kept  t  attention fitted      p  two linears    f  one fused or fitted map
 *   b  attention with a bias of q, k and v      c  a class token  r  registers
 *   h  a head          d  a distilled one       e  a norm before the blocks     i  none there
 *   m  the norm follows the pooling             o  it does not
 */
typedef struct bdpti_rule { const char *name, *shape; char when; } bdpti_rule;

BDPTI_FN const bdpti_rule *bdpti_slot_rule(int slot) {
  static const bdpti_rule fixed[BDPT_SLOTS_FIXED] = {
    {"cls_token", "11D", 'c'}, {"dist_token", "11D", '2'}, {"pos_embed", "1ND", '+'},
    {"patch_embed.proj.weight", "DCPP", '+'}, {"patch_embed.proj.bias", "D", 'i'},
    {"norm.weight", "D", 'o'}, {"norm.bias", "D", 'o'}, /* the last norm */
    {"head.weight", "KE", 'h'}, {"head.bias", "K", 'h'},
    {"head_dist.weight", "KD", 'd'}, {"head_dist.bias", "K", 'd'},
    {"reg_token", "1RD", 'r'}, {"norm_pre.weight", "D", 'e'}, {"norm_pre.bias", "D", 'e'},
    {"fc_norm.weight", "D", 'm'}, {"fc_norm.bias", "D", 'm'}};
  static const bdpti_rule block[BDPT_SLOTS_BLOCK] = {
    {"norm1.weight", "D", 'n'}, {"norm1.bias", "D", 'n'},
    {"attn.qkv.weight", "QD", 'a'}, {"attn.qkv.bias", "Q", 'b'}, /* q, k, v of all heads */
    {"attn.proj.weight", "DA", 'a'}, {"attn.proj.bias", "D", 'a'}, /* joins the heads */
    {"attn.fitted.weight", "DD", 't'}, {"attn.fitted.bias", "D", 't'}, /* its stand-in */
    {"norm2.weight", "D", '+'}, {"norm2.bias", "D", '+'},
    {"mlp.fc1.weight", "FD", 'p'}, {"mlp.fc1.bias", "F", 'p'}, /* W1, b1 */
    {"mlp.fc2.weight", "DF", 'p'}, {"mlp.fc2.bias", "D", 'p'}, /* W2, b2 */
    {"mlp.fused.weight", "DD", 'f'}, {"mlp.fused.bias", "D", 'f'}}; /* W2 W1, W2 b1 + b2 */
  if (slot < BDPT_SLOTS_FIXED) return &fixed[slot];
  return &block[(slot - BDPT_SLOTS_FIXED) % BDPT_SLOTS_BLOCK]; /* the same for every block */
}

/* Returns the block of a slot; for fixed slots the first, which their rules do not look at. */
BDPTI_FN const bdpt_block *bdpti_slot_block(const bdpt_config *c, int slot) {
  return &c->block[slot < BDPT_SLOTS_FIXED ? 0 : (slot - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK];
}

BDPTI_FN int bdpti_kept(const bdpt_config *c, bdpt_type type, int l) {
  const bdpt_block *b = &c->block[l];
  return type == BDPT_ATTENTION ? b->attention == BDPT_ATTENTION_KEPT
                                : b->mlp_state == BDPT_MLP_KEPT;
}

/* Gives the number under which a parameter is drawn and hashed. Slots that were added later have
 * numbers behind all others, so that a seed goes on giving the same network. */
BDPTI_FN uint64_t bdpti_slot_number(int slot) {
  const int first = BDPT_SLOT_HEAD2_B + 1;
  if (slot < first) return (uint64_t)slot;
  return (uint64_t)(slot < BDPT_SLOTS_FIXED ? (1 << 16) + slot : slot - BDPT_SLOTS_FIXED + first);
}

BDPT_API int bdpt_prefix_count(const bdpt_config *c) {
  return 1 - c->no_class + c->distilled + c->registers;
}

BDPT_API int bdpt_token_count(const bdpt_config *c) { /* N */
  return c->image / c->patch * (bdpt_image_width(c) / c->patch) + bdpt_prefix_count(c);
}

BDPT_API int bdpt_image_width(const bdpt_config *c) {
  return c->image_width ? c->image_width : c->image;
}

BDPT_API size_t bdpt_image_numbers(const bdpt_config *c) {
  return (size_t)c->channels * (size_t)c->image * (size_t)bdpt_image_width(c);
}

BDPTI_FN int bdpti_slot_used(const bdpt_config *c, int slot) {
  static const char letters[] = "+2dhcreimobnatpf"; /* in the order of `holds` */
  const bdpt_block *b = bdpti_slot_block(c, slot);
  const int kept = b->attention == BDPT_ATTENTION_KEPT;
  const int gone = b->attention == BDPT_ATTENTION_REMOVED;
  const int mean = c->pool == BDPT_POOL_MEAN, pair = b->mlp_state <= BDPT_MLP_LINEAR;
  const int holds[] = {1, c->distilled, c->distilled && !c->headless, !c->headless, !c->no_class,
                       c->registers > 0, c->pre_norm, !c->pre_norm, mean, !mean,
                       kept && !c->no_qkv_bias, !gone || c->attn_form == BDPT_ATTN_NORM, kept,
                       b->attention == BDPT_ATTENTION_FITTED, pair, !pair};
  return holds[strchr(letters, bdpti_slot_rule(slot)->when) - letters];
}

/* Fills shape and returns the number of axes. */
BDPTI_FN int bdpti_slot_shape(const bdpt_config *c, int slot, size_t *shape) {
  static const char letters[] = "1DNCPKFAQRE"; /* in the order of `axis` */
  const bdpt_block *b = bdpti_slot_block(c, slot);
  const char *spelled = bdpti_slot_rule(slot)->shape;
  int i, hd = b->heads * b->head_dim, tokens = bdpt_token_count(c); /* A, N */
  const int axis[] = {1, c->width, tokens, c->channels, c->patch, c->classes, b->mlp, hd, 3 * hd,
                      c->registers, c->pool == BDPT_POOL_BOTH ? 2 * c->width : c->width};
  for (i = 0; spelled[i]; i++) shape[i] = (size_t)axis[strchr(letters, spelled[i]) - letters];
  return i;
}

BDPT_API int bdpt_model_active(const bdpt_model *m, int slot) {
  return slot >= 0 && slot < m->slots && bdpti_slot_used(&m->config, slot);
}

/* Follows timm: biases and norms have one axis; its no_weight_decay names tokens and positions. */
BDPT_API int bdpt_model_decays(const bdpt_model *m, int slot) {
  return m->param[slot].ndim > 1 && slot > BDPT_SLOT_POS;
}

/* 7.3  A model's life
 *
 * A parameter's memory is made by its rule: a tensor of zeros, which the caller then fills. Tensors
 * point to names and importance values inside the model's own struct, so after a struct was copied
 * bdpti_model_bind makes them point into the copy.
 */
BDPTI_FN int bdpti_slot_alloc(bdpt_model *m, int slot) {
  bdpt_tensor *p = &m->param[slot]; /* zeros before */
  size_t shape[BDPT_MAX_DIMS];
  int ndim = bdpti_slot_shape(&m->config, slot, shape);
  if (!bdpti_set_shape(p, ndim, shape)) {
    bdpt_fail(m->ctx, BDPT_E_MEMORY, "%s: its size overflows", m->name[slot]);
    return 0;
  }
  p->data = (bdpt_real *)bdpt_alloc(m->ctx, p->count * sizeof *p->data); /* zeros (4.2) */
  return p->data != NULL;
}

BDPT_API void bdpt_model_unpack(bdpt_model *m) {
  int i;
  for (i = 0; i < m->slots; i++) m->param[i].packed = NULL; /* they point into it */
  bdpt_release(m->ctx, m->packed, m->packed_bytes);
  m->packed = NULL;
}

/* The first round adds up the sizes, the second fills one block. Products read the weights with two
 * axes or more as their B, packed as W^T; they are those that decay. */
BDPT_API bdpt_status bdpt_model_pack(bdpt_model *m) {
  size_t at = 0; /* numbers so far */
  int i, fill;
  bdpt_model_unpack(m); /* what was packed before is stale */
  for (fill = 0; fill < 2; fill++) {
    for (i = 0, at = 0; i < m->slots; i++) {
      bdpt_tensor *p = &m->param[i];
      bdpti_gemm g;
      if (!bdpt_model_active(m, i) || !bdpt_model_decays(m, i)) continue;
      g = bdpti_affine(p, 1, NULL); /* W^T [I,O] */
      if (fill) p->packed = m->packed + at;                          /* where linears look for it */
      at += bdpti_prepack(m->ctx, &g, fill ? m->packed + at : NULL); /* whole panels */
    }
    if (fill) break;
    m->packed_bytes = at * sizeof *m->packed;
    m->packed = (bdpt_real *)bdpt_alloc(m->ctx, m->packed_bytes);
    if (!m->packed) return m->ctx->status; /* still usable, only not packed */
  }
  m->packed_isa = m->ctx->isa;   /* panels fit one instruction set */
  m->packed_bf16 = m->ctx->bf16; /* and one rounding */
  return BDPT_OK;
}

BDPTI_FN void bdpti_slot_free(bdpt_model *m, int slot) {
  bdpt_tensor *p = &m->param[slot];
  bdpt_release(m->ctx, p->data, p->count * sizeof *p->data);
  bdpt_release(m->ctx, p->grad, p->count * sizeof *p->grad); /* NULL unless in training */
  p->data = p->grad = NULL;
  p->packed = NULL; /* the model's block, not the slot's */
  p->wants_grad = 0;
}

BDPTI_FN void bdpti_model_bind(bdpt_model *m) {
  int i;
  for (i = 0; i < m->slots; i++) m->param[i].name = m->name[i]; /* for messages */
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) { /* all scalars of one type, then of the other */
    int type = i / BDPT_MAX_DEPTH, l = i % BDPT_MAX_DEPTH;
    bdpt_tensor *s = &m->importance[type][l];
    s->ndim = s->wants_grad = 1;
    s->shape[0] = s->count = 1;
    s->data = &m->importance_data[0][type][l];
    s->grad = &m->importance_data[1][type][l];
    s->name = m->importance_name[type][l];
    bdpt_format(m->importance_name[type][l], sizeof m->importance_name[type][l],
                 "blocks.%d.%s.importance", l, type == BDPT_ATTENTION ? "attn" : "mlp");
  }
}

/* Makes a model with names and slots but without memory for parameters. */
BDPTI_FN bdpt_model *bdpti_model_shell(bdpt_context *ctx, const bdpt_config *config) {
  bdpt_model *m = (bdpt_model *)bdpt_alloc(ctx, sizeof *m);
  int i;
  if (!m) return NULL;
  m->ctx = ctx; /* borrowed: it outlives the model */
  m->config = *config;
  if (bdpt_config_resolve(ctx, &m->config) != BDPT_OK) { /* m's copy; the caller's stays as it is */
    bdpt_release(ctx, m, sizeof *m);
    return NULL;
  }
  m->slots = BDPT_SLOTS_FIXED + m->config.depth * BDPT_SLOTS_BLOCK;
  for (i = 0; i < m->slots; i++) {
    const char *name = bdpti_slot_rule(i)->name;
    int l = (i - BDPT_SLOTS_FIXED) / BDPT_SLOTS_BLOCK; /* negative for fixed slots, not used then */
    if (i < BDPT_SLOTS_FIXED) bdpt_format(m->name[i], sizeof m->name[i], "%s", name);
    else bdpt_format(m->name[i], sizeof m->name[i], "blocks.%d.%s", l, name);
  }
  bdpti_model_bind(m);
  return m;
}

/* Draws fresh values. The patch embedding is a convolution in timm and keeps PyTorch's default:
 * uniform within 1 / sqrt(fan-in), weight and bias. */
BDPTI_HOT void bdpti_slot_init(bdpt_model *m, int slot, uint64_t seed) {
  bdpt_tensor *p = &m->param[slot];
  int patch = slot == BDPT_SLOT_PATCH_W || slot == BDPT_SLOT_PATCH_B;
  double fan = (double)(m->config.channels * m->config.patch * m->config.patch); /* inputs: C P P */
  double one_axis = strstr(m->name[slot], "weight") ? 1 : 0; /* a norm's gamma, or a bias */
  size_t i;
  bdpt_rng r;
  bdpt_rng_seed(&r, seed, bdpti_slot_number(slot)); /* a stream each: order does not matter */
  for (i = 0; i < p->count; i++) {
    if (patch) p->data[i] = (bdpt_real)((2 * bdpt_uniform(&r) - 1) / sqrt(fan));
    else p->data[i] = (bdpt_real)(p->ndim > 1 ? 0.02 * bdpt_normal(&r) : one_axis);
  }
}

BDPT_API bdpt_model *bdpt_model_create(bdpt_context *ctx, const bdpt_config *config,
                                       uint64_t seed) {
  bdpt_model *m = bdpti_model_shell(ctx, config);
  int i;
  for (i = 0; m && i < m->slots; i++) {
    if (!bdpti_slot_used(&m->config, i)) continue; /* no memory for what is not there */
    if (!bdpti_slot_alloc(m, i)) {
      bdpt_model_free(m); /* what was made so far goes with it */
      return NULL;
    }
    bdpti_slot_init(m, i, seed);
  }
  return m;
}

/* Gives back all that a model owns. */
BDPTI_FN void bdpti_model_empty(bdpt_model *m) {
  int i;
  bdpt_model_unpack(m);
  for (i = 0; i < m->slots; i++) bdpti_slot_free(m, i);
  bdpt_model_label(m, NULL);
}

BDPT_API void bdpt_model_free(bdpt_model *m) {
  if (!m || m->users-- > 0) return;
  bdpti_model_empty(m);
  bdpt_release(m->ctx, m, sizeof *m);
}

/* Gradients stay behind. Whatever changes a model's shape makes such a copy beside it and then lets
 * the model become the copy; a failure leaves the model whole. */
BDPT_API bdpt_model *bdpt_model_reshape(const bdpt_model *from, const bdpt_config *config) {
  bdpt_config wanted = *config;
  bdpt_model *m;
  int i, ok = 1;
  if (bdpt_config_resolve(from->ctx, &wanted) != BDPT_OK) return NULL;
  if (wanted.depth != from->config.depth) {
    bdpt_fail(from->ctx, BDPT_E_SHAPE, "reshape: depth %d cannot become %d", from->config.depth,
              wanted.depth);
    return NULL;
  }
  m = (bdpt_model *)bdpt_alloc(from->ctx, sizeof *m);
  if (!m) return NULL;
  *m = *from; /* its pointers are replaced below */
  m->config = wanted;
  m->packed = NULL; m->labels = NULL; m->users = 0;
  memset(m->param, 0, sizeof m->param); /* they are from's */
  bdpti_model_bind(m);
  if (wanted.classes == from->config.classes) ok = bdpt_model_label(m, from->labels) == BDPT_OK;
  for (i = 0; i < m->slots && ok; i++) {
    const bdpt_tensor *old = &from->param[i], *p = &m->param[i];
    if (!old->data && !bdpti_slot_used(&wanted, i)) continue; /* a new head has no old one */
    ok = bdpti_slot_alloc(m, i);
    if (ok && p->count == old->count) memcpy(p->data, old->data, p->count * sizeof *p->data);
  }
  if (!ok) bdpt_model_free(m);
  return ok ? m : NULL;
}

BDPT_API bdpt_model *bdpt_model_clone(const bdpt_model *from) {
  return bdpt_model_reshape(from, &from->config);
}

/* Ends a call that has worked on a copy: the model becomes the copy, or after a failure stays. */
BDPTI_FN bdpt_status bdpti_model_end(bdpt_model *m, bdpt_model *copy, bdpt_status status) {
  if (status) {
    bdpt_model_free(copy); /* NULL if it could not be made */
    return status;
  }
  bdpti_model_empty(m);
  copy->users = m->users;
  *m = *copy;          /* and with it its parameters' memory */
  bdpti_model_bind(m); /* names and importance are in m again */
  bdpt_release(m->ctx, copy, sizeof *copy); /* the shell alone */
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_model_assign(bdpt_model *to, const bdpt_model *from) {
  bdpt_model *copy = bdpt_model_clone(from);
  return bdpti_model_end(to, copy, copy ? BDPT_OK : from->ctx->status);
}

BDPT_API bdpt_status bdpt_model_new_head(bdpt_model *m, int classes, uint64_t seed) {
  bdpt_config wanted = m->config;
  bdpt_model *copy;
  int i;
  wanted.classes = classes ? classes : -1; /* 0 would ask for the default */
  wanted.headless = 0;
  copy = bdpt_model_reshape(m, &wanted); /* heads of another size are zeros in it */
  for (i = BDPT_SLOT_HEAD_W; copy && i <= BDPT_SLOT_HEAD2_B; i++) bdpti_slot_init(copy, i, seed);
  return bdpti_model_end(m, copy, copy ? BDPT_OK : m->ctx->status);
}

BDPT_API bdpt_status bdpt_model_train_mode(bdpt_model *m) {
  int i;
  if (m->packed) bdpt_model_unpack(m);
  for (i = 0; i < m->slots; i++) {
    bdpt_tensor *p = &m->param[i];
    int trained = p->data && bdpti_slot_used(&m->config, i);
    if (trained && !p->grad) p->grad = (bdpt_real *)bdpt_alloc(m->ctx, p->count * sizeof *p->grad);
    p->wants_grad = trained && p->grad;
    if (trained && !p->grad) return m->ctx->status;
  }
  for (i = 0; i < 2 * m->config.depth; i++) {
    m->importance[i % 2][i / 2].wants_grad = bdpti_kept(&m->config, (bdpt_type)(i % 2), i / 2);
  }
  return BDPT_OK;
}

BDPT_API void bdpt_model_zero_grad(bdpt_model *m) {
  int i;
  for (i = 0; i < m->slots; i++) {
    if (m->param[i].grad) memset(m->param[i].grad, 0, m->param[i].count * sizeof(bdpt_real));
  }
  memset(m->importance_data[1], 0, sizeof m->importance_data[1]); /* [1]: gradients */
}

/* 7.4  The forward pass                                                                >>forward
 *
 * One function for each half of a block reads from the configuration what is left of it. An MLP
 * half is one operation (6.4) if nobody needs its inner values. Elsewhere the last product and the
 * sum with the stream are one (6.2), unless drop path stands between them.
 *
 *   math      u = LN1(x);  b = MHSA(u), or what a removed layer leaves:  u, nothing, or x
 *             x1 = x + DropPath(b)
 *             v = LN2(x1); z = W1 v + b1; s = f(z), or z when the activation is removed
 *             x2 = x1 + DropPath(W2 s + b2)          fused: x1 + DropPath(W v + b)
 *   source    PAPER_NOTES.md, "The masked block"; released code: x + LN1(x) for removed attention
 *
 * With options->importance each kept layer f becomes m f + (1-m) r with the mask m = 1, where r is
 * what its removal would leave. The value is unchanged; the gradient of m tells how the loss would
 * move if the layer began to disappear (see >>method).
 */
BDPTI_FN int bdpti_block_ok(bdpt_model *m, const char *what, int l) {
  if (l >= 0 && l < m->config.depth) return 1;
  bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "%s: layer %d, but the network has layers 0 to %d", what, l,
            m->config.depth - 1);
  return 0;
}

/* Finds the bias of the weight in a slot, or zeros where the network has none. */
BDPTI_FN bdpt_tensor *bdpti_bias(bdpt_model *m, bdpt_tape *t, int slot) {
  bdpt_tensor *b = &m->param[slot + 1];
  return b->data ? b : bdpt_input(t, 1, m->param[slot].shape, NULL, 0); /* [O] */
}

BDPTI_FN bdpt_tensor *bdpti_linear_at(bdpt_model *m, bdpt_tape *t, int slot, bdpt_tensor *x) {
  return bdpt_linear(t, x, &m->param[slot], bdpti_bias(m, t, slot), NULL);
}

BDPTI_FN bdpt_tensor *bdpti_norm(bdpt_model *m, bdpt_tape *t, int slot, bdpt_tensor *x) {
  return bdpt_layernorm(t, x, &m->param[slot], &m->param[slot + 1], m->config.eps);
}

/* Drop path (stochastic depth) lets whole branches fall out in training, the later the more often:
 * the rate grows from 0 in the first block to the option's value in the last. */
BDPTI_FN double bdpti_path_rate(const bdpt_model *m, int l, const bdpt_forward_options *o) {
  if (!o || !o->training) return 0; /* branches are whole */
  return m->config.depth > 1 ? o->drop_path * (double)l / (double)(m->config.depth - 1)
                             : o->drop_path;
}

/* Ends a branch: x + DropPath(W f + b). */
BDPTI_FN bdpt_tensor *bdpti_onto(bdpt_model *m, bdpt_tape *t, int slot, bdpt_tensor *f,
                                 bdpt_tensor *x, double rate) {
  if (rate == 0) return bdpt_linear(t, f, &m->param[slot], &m->param[slot + 1], x);
  return bdpt_add(t, x, bdpt_drop_path(t, bdpti_linear_at(m, t, slot, f), rate, &t->paths));
}

BDPT_API bdpt_tensor *bdpt_attention_half(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                          const bdpt_forward_options *o) {
  const double rate = bdpti_path_rate(m, l, o);
  const bdpt_block *b = m->config.block;
  const bdpt_attn_form form = m->config.attn_form;
  int gone;
  bdpt_tensor *u, *f, *r;
  if (!x || !bdpti_block_ok(m, "attention half", l)) return NULL;
  b += l;
  gone = b->attention == BDPT_ATTENTION_REMOVED;
  if (gone && form == BDPT_ATTN_SKIP) return x; /* b = 0 */
  if (gone && form == BDPT_ATTN_DOUBLE) u = x;
  else u = bdpti_norm(m, t, BDPT_SLOT(l, BDPT_SLOT_NORM1_W), x); /* [B,N,D] */
  if (gone) return bdpt_add(t, x, bdpt_drop_path(t, u, rate, &t->paths)); /* b = u, or x */
  if (b->attention == BDPT_ATTENTION_FITTED) { /* one linear stands in: W u + b */
    return bdpti_onto(m, t, BDPT_SLOT(l, BDPT_SLOT_AFIT_W), u, x, rate);
  }
  f = bdpti_linear_at(m, t, BDPT_SLOT(l, BDPT_SLOT_QKV_W), u);         /* [B,N,3hd] */
  f = bdpt_attention(t, f, NULL, b->heads, b->scale);                  /* [B,N,hd] */
  if (!o || !o->importance) return bdpti_onto(m, t, BDPT_SLOT(l, BDPT_SLOT_PROJ_W), f, x, rate);
  f = bdpti_linear_at(m, t, BDPT_SLOT(l, BDPT_SLOT_PROJ_W), f);        /* [B,N,D] */
  r = form == BDPT_ATTN_DOUBLE ? x : u; /* what removal would leave */
  if (form == BDPT_ATTN_SKIP && f) r = bdpt_input(t, f->ndim, f->shape, NULL, 0); /* zeros */
  f = bdpt_mix(t, f, r, &m->importance[BDPT_ATTENTION][l], 1);
  return bdpt_add(t, x, bdpt_drop_path(t, f, rate, &t->paths)); /* [B,N,D] */
}

BDPT_API bdpt_tensor *bdpt_mlp_half(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                    const bdpt_forward_options *o) {
  const bdpt_config *c = &m->config;
  const bdpt_block *b = c->block;
  const double rate = bdpti_path_rate(m, l, o);
  const int importance = o && o->importance;
  int kept;
  bdpt_tensor *p = m->param, *v, *s, *z;
  if (!x || !bdpti_block_ok(m, "MLP half", l)) return NULL;
  b += l;
  p += BDPT_SLOT(l, 0); /* the block's slots */
  kept = b->mlp_state == BDPT_MLP_KEPT;
  if (kept && !importance && rate == 0) {
    bdpt_tensor *const w[6] = {&p[BDPT_SLOT_NORM2_W], &p[BDPT_SLOT_NORM2_B], &p[BDPT_SLOT_FC1_W],
                               &p[BDPT_SLOT_FC1_B], &p[BDPT_SLOT_FC2_W], &p[BDPT_SLOT_FC2_B]};
    return bdpt_mlp(t, x, w, c->eps, c->act);
  }
  v = bdpti_norm(m, t, BDPT_SLOT(l, BDPT_SLOT_NORM2_W), x); /* [B,N,D] */
  if (b->mlp_state >= BDPT_MLP_FUSED) { /* one map: W v + b */
    x = bdpti_onto(m, t, BDPT_SLOT(l, BDPT_SLOT_FUSED_W), v, x, rate);
  } else {
    s = z = bdpti_linear_at(m, t, BDPT_SLOT(l, BDPT_SLOT_FC1_W), v); /* [B,N,F] */
    if (kept) s = bdpt_activate(t, z, c->act);
    if (kept && importance) s = bdpt_mix(t, s, z, &m->importance[BDPT_ACTIVATION][l], 1);
    x = bdpti_onto(m, t, BDPT_SLOT(l, BDPT_SLOT_FC2_W), s, x, rate); /* [B,N,D] */
  }
  /* DEVIATION: the released code applies one more GELU to the residual stream where an activation
   * is gone; the paper's text does not. Off unless the configuration asks for it. */
  if (!kept && (c->extra_gelu == BDPT_GELU_ALWAYS ||
                (c->extra_gelu == BDPT_GELU_BOTH && b->attention != BDPT_ATTENTION_KEPT))) {
    x = bdpt_activate(t, x, BDPT_GELU);
  }
  return x;
}

/* 7.5  From images to logits
 *
 * A block of the caller's own may leave out tokens (boundarydpt_plus.h merges them so), and nothing
 * else: whatever follows counts on the batch and the width. */
BDPTI_FN bdpt_tensor *bdpti_one_block(bdpt_model *m, bdpt_tape *t, int l, bdpt_tensor *x,
                                      const bdpt_forward_options *o) {
  bdpt_tensor *y;
  if (!m->block) return bdpt_mlp_half(m, t, l, bdpt_attention_half(m, t, l, x, o), o);
  y = m->block(m, t, l, x, o, m->block_user);
  if (!y || (y->ndim == 3 && y->shape[0] == x->shape[0] && y->shape[2] == x->shape[2] &&
             y->shape[1] <= x->shape[1])) {
    return y;
  }
  bdpt_fail(m->ctx, BDPT_E_SHAPE, "forward: block %d made x%s of x%s: only the tokens may be fewer",
            l, bdpt_shape(y).text, bdpt_shape(x).text);
  return NULL;
}

/* Turns images into tokens, x[B,N,D] before the first block. */
BDPTI_FN bdpt_tensor *bdpti_embed(bdpt_model *m, bdpt_tape *t, bdpt_tensor *images) {
  const bdpt_config *c = &m->config;
  bdpt_tensor *p = m->param, *x;
  x = bdpt_patch_embed(t, images, &p[BDPT_SLOT_PATCH_W], bdpti_bias(m, t, BDPT_SLOT_PATCH_W));
  x = bdpt_tokens(t, x, c->no_class ? NULL : &p[BDPT_SLOT_CLS],
                  c->distilled ? &p[BDPT_SLOT_DIST] : NULL,
                  c->registers ? &p[BDPT_SLOT_REG] : NULL, &p[BDPT_SLOT_POS]);
  return c->pre_norm ? bdpti_norm(m, t, BDPT_SLOT_PRE_W, x) : x;
}

/* What the class head reads, [B,E]: a norm and a pooling in the order that the network wants. */
BDPTI_FN bdpt_tensor *bdpti_pooled(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x) {
  const size_t first = (size_t)bdpt_prefix_count(&m->config);
  const bdpt_pooling pool = m->config.pool;
  if (pool == BDPT_POOL_CLASS) return bdpti_norm(m, t, BDPT_SLOT_NORM_W, bdpt_pool(t, x, 0, 1, 0));
  if (pool == BDPT_POOL_MEAN) {
    return bdpti_norm(m, t, BDPT_SLOT_FC_NORM_W, bdpt_pool(t, x, first, 0, 0));
  }
  return bdpt_pool(t, bdpti_norm(m, t, BDPT_SLOT_NORM_W, x), first, 0, pool == BDPT_POOL_BOTH);
}

/* Applies the class head (0), or that of the distillation token (1): [B,K]. */
BDPTI_FN bdpt_tensor *bdpti_head(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x, int which) {
  bdpt_tensor *y = which ? bdpti_norm(m, t, BDPT_SLOT_NORM_W, bdpt_pool(t, x, 1, 1, 0))
                         : bdpti_pooled(m, t, x);
  if (m->config.headless) return y;
  return bdpti_linear_at(m, t, which ? BDPT_SLOT_HEAD2_W : BDPT_SLOT_HEAD_W, y);
}

/* Without a recording, a block's intermediates are dead once its output exists, and what it adds to
 * the stream may be added in place. Where the output lies elsewhere all the same, behind a block of
 * the caller's or an extra GELU, it is moved to where the input was; then the arena goes back to
 * the mark. So such a tape is the workspace of one block, however deep the network is. */
BDPTI_FN bdpt_tensor *bdpti_blocks(bdpt_model *m, bdpt_tape *t, bdpt_tensor *x, int count,
                                   const bdpt_forward_options *o) {
  int l;
  bdpt_rng_seed(&t->paths, o->seed, 77); /* a stream of its own */
  t->stream = x && t->mode == BDPT_TAPE_COMPUTE && !m->block ? x->data : NULL;
  for (l = 0; x && l < count; l++) {
    bdpti_chunk *mark = t->arena.first; /* where x lies */
    const size_t behind = mark->used;
    bdpt_tensor *y = bdpti_one_block(m, t, l, x, o);
    if (o->blocks) o->blocks[l] = y;
    if (t->mode != BDPT_TAPE_COMPUTE || !y) { /* the way back needs the intermediates */
      x = y;
      continue;
    }
    if (y->data != x->data) memcpy(x->data, y->data, y->count * sizeof *x->data);
    x->shape[1] = y->shape[1]; /* fewer tokens if the block says so */
    x->count = y->count;
    bdpti_arena_rewind(&t->arena, mark, behind, 1);        /* y and what led to it are forgotten */
    t->spare = NULL; /* spare buffers lay behind the mark */
    if (!o->blocks) continue;
    o->blocks[l] = bdpt_input(t, x->ndim, x->shape, x->data, 0); /* lies before the next mark */
    if (!o->blocks[l]) x = NULL;
  }
  t->stream = NULL;
  return x;
}

BDPT_API bdpt_tensor *bdpt_trunk(bdpt_model *m, bdpt_tape *t, bdpt_tensor *images,
                                 const bdpt_forward_options *options) {
  static bdpt_forward_options none; /* zeros: evaluation, no importance */
  const bdpt_config *c = &m->config;
  bdpt_tensor *x;
  if (!options) options = &none;
  if (!images) return NULL;
  if (m->packed_isa != m->ctx->isa || m->packed_bf16 != m->ctx->bf16) bdpt_model_unpack(m);
  if (images->ndim != 4 || images->shape[1] != (size_t)c->channels ||
      images->shape[2] != (size_t)c->image || images->shape[3] != (size_t)bdpt_image_width(c)) {
    bdpt_fail(m->ctx, BDPT_E_SHAPE, "forward: images%s, but the model wants [B,%d,%d,%d]",
              bdpt_shape(images).text, c->channels, c->image, bdpt_image_width(c));
    return NULL;
  }
  x = bdpti_embed(m, t, images);
  return bdpti_blocks(m, t, x, c->depth, options);
}

BDPT_API bdpt_tensor *bdpt_forward(bdpt_model *m, bdpt_tape *t, bdpt_tensor *images,
                                   const bdpt_forward_options *options, bdpt_tensor **dist) {
  bdpt_tensor *x, *cls, *second;
  if (dist) *dist = NULL;
  x = bdpt_trunk(m, t, images, options);
  cls = bdpti_head(m, t, x, 0); /* [B,K] */
  if (!m->config.distilled) return cls;
  second = bdpti_head(m, t, x, 1);
  if (dist) *dist = second; /* [B,K] */
  if (options && options->training) return cls;
  return bdpt_scale(t, bdpt_add(t, cls, second), 0.5); /* their mean */
}

/* Groups of images keep the workspace small, and what a layer leaves to the next in the caches. */
BDPTI_FN bdpt_status bdpti_logits(bdpt_model *m, bdpt_tape *t, size_t count,
                                  const bdpt_real *images, bdpt_real *logits) {
  const size_t few = 544 / (size_t)bdpt_token_count(&m->config); /* 32 of 64 px, 2 of 224 */
  size_t n = (few ? few : 1) * (size_t)(m->ctx->threads > 1 ? m->ctx->threads : 1), at;
  bdpt_tensor *x, *y;
  if (t->mode != BDPT_TAPE_COMPUTE) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT,
                     "predict: this tape records; make one with BDPT_TAPE_COMPUTE");
  }
  for (at = 0; at < count; at += n) {
    if (count - at < n) n = count - at; /* the last group */
    bdpt_tape_reset(t);
    x = bdpti_lend(t, &m->config, n, images);
    y = bdpt_forward(m, t, x, NULL, NULL);
    if (!y) return m->ctx->status;
    memcpy(logits, y->data, y->count * sizeof *logits); /* [group,K] */
    images += x->count; /* numbers, not images */
    logits += y->count;
  }
  return BDPT_OK;
}

/* Logits that are not finite are an error here, in bdpt_evaluate and in certificates. */
BDPT_API bdpt_status bdpt_predict(bdpt_model *m, bdpt_tape *t, size_t count,
                                  const bdpt_real *images, bdpt_real *logits) {
  const size_t k = (size_t)m->config.classes;
  size_t i;
  if (bdpti_logits(m, t, count, images, logits) != BDPT_OK) return m->ctx->status;
  for (i = 0; i < count; i++) {
    if (bdpti_all_finite(m->ctx, k, logits + i * k)) continue;
    return bdpt_fail(m->ctx, BDPT_E_NUMERIC, "predict: image %zu: a logit is not finite", i);
  }
  return BDPT_OK;
}

/* =================================================================================================
 * 8  TRAINING: THE OPTIMISER AND ONE STEP                                                   >>train
 * =================================================================================================
 * How does a handful of images move every weight towards a better answer? One step augments them at
 * random, asks the network what they show, and moves each weight a little. Where images come from,
 * how an answer is judged, how a trainer is made, shared by several processes and saved, and the
 * loop that repeats are the matter of >>data.
 *
 * Nothing that happens in step k depends on a generator that ran through the steps before it: every
 * draw is a function of (seed, kind of draw, epoch, position), see 4.4.
 *
 * "Cosine with warm-up", "gradient clipping", "repeated augmentation" and "cutmix" have several
 * readings each, which train differently. Ours are those of timm and PyTorch, named at each place.
 */

#ifndef BDPT_ONLY_INFERENCE

/* Kinds of random draws. Their numbers go into the hash, so reordering them changes every run. */
enum {
  BDPTI_DRAW_SPLIT = 901, BDPTI_DRAW_SAMPLE, /* what is held out; what a sample takes */
  BDPTI_DRAW_ORDER, BDPTI_DRAW_IMAGE, /* the order of an epoch; crop, flip and noise of an image */
  BDPTI_DRAW_MIX, BDPTI_DRAW_PATH     /* lambda and box of a batch; the paths dropped in a step */
};

BDPTI_FN bdpt_rng bdpti_draws(uint64_t seed, int kind, size_t epoch, size_t position) {
  bdpt_rng r;
  bdpt_rng_seed(&r, bdpti_hash(seed, (uint64_t)kind, (uint64_t)epoch), (uint64_t)position);
  return r;
}

/* Shuffles by Fisher and Yates: every order is equally likely. */
BDPTI_FN void bdpti_shuffle(size_t *index, size_t n, bdpt_rng *r) {
  for (; n > 1; n--) { /* the places from n on are drawn */
    size_t j = bdpti_below(r, n), keep = index[j];
    index[j] = index[n - 1];
    index[n - 1] = keep;
  }
}

/* From >>mixup, >>ranks and >>trainer. */
BDPTI_FN bdpt_status bdpti_trainer_batch(bdpt_trainer *t);
BDPTI_FN bdpt_status bdpti_cluster_add(bdpt_context *ctx, void *values, size_t count, size_t bytes);
BDPTI_FN int bdpti_cluster_any(bdpt_context *ctx, int yes);
BDPTI_FN bdpt_status bdpti_cluster_gather(bdpt_trainer *t, double *loss);
BDPTI_FN bdpt_status bdpti_trainer_refuse(bdpt_trainer *t, double loss, double norm);

/* 8.1  Recipes and the learning rate                                                   >>schedule
 *
 *   math      warm-up, t < w:  lr(t) = lr0 + (lr - lr0) t / w
 *             after it, in the segment [s, e) that holds t:
 *             lr(t) = min + (lr - min) (1 + cos(pi (t - s) / (e - s))) / 2;  lr(t) = min for t >= T
 *   source    Loshchilov and Hutter, "SGDR", 2017; timm's CosineLRScheduler with warmup_prefix off
 *   check     tests/test_train.c schedule: equal to timm's at every whole epoch
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
 * has gone, and the weights need room to move again. With lr = 1, min = 1/4, ten epochs and
 * restarts at 4 and 6 the rate is 1 at t = 0, 4 and 6, half-way down (0.625) at 2, 5 and 8, and
 * close to 0.25 just before 4, 6 and 10.
 */
#define BDPTI_F(type, name, zero, least, most) BDPTI_FIELD(bdpt_recipe, name, zero, least, most),
static const bdpti_field bdpti_fields[] = {BDPT_RECIPE(BDPTI_F)};
#define BDPTI_FIELDS BDPTI_COUNT(bdpti_fields)

BDPT_API void bdpt_recipe_resolve(bdpt_recipe *r) {
  int i, falls = !r->resolved && r->min_lr == 0; /* its default hangs on another field */
  for (i = 0; i < BDPTI_FIELDS; i++) bdpti_field_get(&bdpti_fields[i], r, !r->resolved, 1);
  if (falls) r->min_lr = r->lr / 100.0;
  r->resolved = 1;
}

BDPT_API double bdpt_schedule(const bdpt_recipe *r, double t) {
  const double pi = 3.14159265358979323846;
  double least = r->min_lr, begin = 0, end = r->epochs; /* min, s, e */
  int i;
  if (t < r->warmup) return r->warmup_lr + (r->lr - r->warmup_lr) * t / r->warmup;
  if (t >= r->epochs) return least;
  for (i = 0; i < r->restarts && r->restart[i] <= t; i++) begin = r->restart[i]; /* the last one */
  if (i < r->restarts) end = r->restart[i];
  return least + 0.5 * (r->lr - least) * (1.0 + cos(pi * (t - begin) / (end - begin)));
}

BDPTI_FN bdpt_status bdpti_recipe_check(bdpt_context *ctx, bdpt_recipe *r) {
  bdpt_status status = bdpti_fields_check(ctx, "recipe", bdpti_fields, BDPTI_FIELDS, r, 0);
  int i;
  if (status != BDPT_OK) return status;
  for (i = 0; i < r->restarts; i++) { /* so that no segment of the schedule is empty */
    if (r->restart[i] > (i ? r->restart[i - 1] : 0) && r->restart[i] < r->epochs) continue;
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "recipe: restart %d at epoch %g: restarts must grow "
                     "and lie between 0 and %d", i, r->restart[i], r->epochs);
  }
  return BDPT_OK;
}

/* 8.2  The optimiser                                                                     >>adamw
 *
 *   math      g <- c g,  c = min(1, clip / (|g| + 1e-6)),  |g| over all parameters together
 *             m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *             w <- w (1 - lr wd) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *             average <- d average + (1 - d) w
 *   source    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, and PyTorch's
 *             AdamW; torch.nn.utils.clip_grad_norm_; timm's ModelEma
 *   check     tests/test_inside.c optimiser_as_pytorch: steps, clippings and averages
 *
 * Every parameter has its own t, as in PyTorch. This matters when layers come and go: the fused map
 * of an MLP appears in the middle of a run with moments of zero, and its first steps need the bias
 * correction of first steps: at t = 1 the corrected m is g and the corrected v is g^2, so that a
 * weight moves by lr whatever the size of its gradient. A layer that was removed keeps its moments
 * while it is out, in case it is restored, but neither decays nor moves.
 *
 * Decay pulls weights towards zero; norms, biases and tokens are exempt (bdpt_model_decays). So are
 * the importance scalars of stage 1: decay would drown what the loss says of the small ones.
 *
 * Everything below sees one list of parameters: the model's slots, then the importance scalars,
 * attention first. So the norm, the update and the file take one loop each.
 */
#define BDPTI_MAX_PARAMS (BDPT_MAX_SLOTS + 2 * BDPT_MAX_DEPTH)

typedef struct bdpti_moments {
  bdpt_real *m;      /* m[count], v[count] and, if the recipe averages, average[count] */
  size_t count;      /* 0, and m NULL, where the model has no such parameter */
} bdpti_moments;

/* A trainer but for images and weights: 64-bit words only, which a checkpoint holds as they are. */
typedef struct bdpti_counters {
  uint64_t digest[3];                   /* of structure, recipe and images, see 12.9 */
  uint64_t start, weights;              /* of the weights that a run began with; that it has now */
  uint64_t step;                        /* steps done */
  double epoch_loss, epoch_norm;        /* sums over the steps of this epoch */
  uint64_t disparity_steps;             /* steps since the disparities were last read ... */
  double disparity[2][BDPT_MAX_DEPTH];  /* ... and the sums of |dL/dm| over them */
  uint64_t age[BDPTI_MAX_PARAMS];       /* of each parameter: the t above */
} bdpti_counters;

struct bdpt_trainer {
  bdpt_context *ctx;
  bdpt_model *model, *teacher;    /* both borrowed, and so is the subset */
  const bdpt_subset *train;
  bdpt_recipe recipe;             /* resolved */
  size_t batch, per_epoch;        /* images per step of all processes, steps per epoch */
  size_t own;                     /* of those images, this process's */
  bdpt_real *shared;              /* all gradients on their way through a cluster, or NULL */
  int stopped;                    /* 1: a process could not do its share, and no weight has moved */
  bdpti_counters now;
  bdpti_arena arena;              /* holds the arrays that follow */
  struct bdpti_loader *loader;    /* of `train` (12.4), or NULL */
  bdpt_tape *tape, *teacher_tape; /* one records, the other only computes */
  bdpt_real *images;              /* [B,3,H,W] */
  bdpt_real *targets, *taught;    /* [B,K] labels, smoothed and mixed; the teacher's answers */
  bdpt_tensor *features[BDPT_MAX_DEPTH]; /* the teacher's streams of this step, on its tape */
  size_t *order, *picked;         /* [n] this epoch's order; [B] this step's images */
  int *labels;                    /* [B] */
  size_t ordered;                 /* 1 + the epoch that `order` belongs to; 0: none */
  bdpti_moments moments[BDPTI_MAX_PARAMS];
  int swapped;                    /* 1 while the averages stand in the model */
  void *log;                      /* the caller's 64-bit words, saved and loaded with the rest: */
  size_t words, room;             /* how many there are, and how many a load may bring */
  const bdpt_subset *held;        /* of bdpt_train; NULL: nothing is held out */
  bdpt_hooks hooks;
};

BDPTI_FN int bdpti_params(const bdpt_trainer *t) { /* how many are on the list */
  return t->model->slots + (t->recipe.importance ? 2 * t->model->config.depth : 0);
}

/* Finds parameter i. Within a step it wants a gradient if it takes part in the network as it is: a
 * removed layer's weights and importance do not. data is NULL where there is no such parameter. */
BDPTI_FN bdpt_tensor *bdpti_param(const bdpt_trainer *t, int i) {
  int k = i - t->model->slots, depth = t->model->config.depth; /* k: of a scalar */
  return k < 0 ? &t->model->param[i] : &t->model->importance[k / depth][k % depth];
}

/* Makes room of zeros for `count` numbers each, or none for 0. */
BDPTI_FN bdpt_status bdpti_moments_room(bdpt_trainer *t, int i, size_t count) {
  size_t each = (t->recipe.ema > 0 ? 3 : 2) * sizeof(bdpt_real), bytes = SIZE_MAX; /* m, v, ema */
  bdpti_moments *s = &t->moments[i];
  bdpti_mul(count, each, &bytes);
  bdpt_release(t->ctx, s->m, s->count * each);
  s->m = count ? (bdpt_real *)bdpt_alloc(t->ctx, bytes) : NULL;
  s->count = s->m ? count : 0;
  t->now.age[i] = 0; /* its next step is a first step */
  return s->m || !count ? BDPT_OK : t->ctx->status;
}

/* Follows the model before every step: whatever has weights gets moments of zero, an average that
 * starts at the weights, and gradients; what has vanished loses them. In an unchanged model there
 * is nothing to do, and nothing is allocated. */
BDPTI_FN bdpt_status bdpti_trainer_fit(bdpt_trainer *t) {
  int i;
  if (t->swapped) {
    return bdpt_fail(t->ctx, BDPT_E_STATE, "train: the model holds averaged weights; swap back");
  }
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i);
    bdpti_moments *s = &t->moments[i];
    size_t count = p->data ? p->count : 0;
    if (s->count == count) continue; /* as at the last step */
    if (bdpti_moments_room(t, i, count) != BDPT_OK) return t->ctx->status;
    if (count && t->recipe.ema > 0) memcpy(s->m + 2 * count, p->data, count * sizeof *s->m);
  } /* m and v are zero already: fresh memory is */
  return bdpt_model_train_mode(t->model);
}

/* Computes |g| slot after slot, each sum a fixed tree (chapter 14). The importance scalars stay
 * outside the norm and are not clipped: their gradients are sums over whole layers, often larger
 * than all the others together, and would throttle the weights. */
BDPTI_FN double bdpti_trainer_norm(const bdpt_trainer *t) {
  double sum = 0, own; /* own: of one parameter */
  int i;
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i);
    if (!p->wants_grad) continue;
    own = bdpti_dot(t->ctx, p->count, p->grad, p->grad, NULL);
    if (i < t->model->slots || own - own != 0) sum += own; /* NaN and infinity spoil the norm */
    if (i >= t->model->slots) sum += p->data[0] - p->data[0]; /* and so does such a scalar */
  }
  return sqrt(sum);
}

/* Returns the factor that brings a gradient of this norm under the limit; 0 means no limit. */
BDPTI_FN double bdpti_clip_factor(double norm, double limit) {
  double factor = limit > 0 ? limit / (norm + 1e-6) : 1.0;
  return factor < 1.0 ? factor : 1.0;
}

/* Checks, counts and moves after the backward pass. A check that fails leaves all as it was. */
BDPTI_FN bdpt_status bdpti_trainer_finish(bdpt_trainer *t, double loss) {
  const bdpt_recipe *r = &t->recipe;
  bdpti_counters *now = &t->now;
  double norm = bdpti_trainer_norm(t);
  double lr = bdpt_schedule(r, (double)now->step / (double)t->per_epoch);
  bdpt_real factor = (bdpt_real)bdpti_clip_factor(norm, r->clip), decay = (bdpt_real)r->ema;
  size_t step = (size_t)now->step; /* its number, from 0 */
  bdpti_adamw_args move = {lr, r->beta1, r->beta2, r->adam_eps, 0, 0, NULL, NULL, NULL, NULL};
  int i, slots = t->model->slots, depth = t->model->config.depth;
  if (!(loss - loss == 0) || !(norm - norm == 0)) return bdpti_trainer_refuse(t, loss, norm);
  if (step % t->per_epoch == 0) now->epoch_loss = now->epoch_norm = 0; /* an epoch begins */
  now->epoch_loss += loss; now->epoch_norm += norm;
  now->disparity_steps += r->importance != 0; /* counted where there are any */
  for (i = 0; i < bdpti_params(t); i++) {
    bdpt_tensor *p = bdpti_param(t, i);
    bdpt_real *m = t->moments[i].m; /* m, v and the average stand one after the other */
    int k = i - slots; /* of an importance scalar, negative for a weight */
    int decays = k < 0 && r->weight_decay > 0 && bdpt_model_decays(t->model, i);
    if (!p->wants_grad) continue;
    if (k >= 0) now->disparity[k / depth][k % depth] += fabs((double)p->grad[0]); /* |dL/dm| */
    if (factor < 1 && k < 0) bdpti_axpby(t->ctx, p->count, factor, p->grad, 0, NULL, p->grad);
    move.decay = decays ? r->weight_decay : 0;
    move.step = (double)++now->age[i];
    move.p = p->data; move.g = p->grad;
    move.m = m; move.v = m + p->count;
    bdpti_each(t->ctx, t->ctx->isa->adamw, &move, p->count, 1024, (double)p->count);
    m += 2 * p->count;
    if (decay > 0) bdpti_axpby(t->ctx, p->count, decay, m, 1 - decay, p->data, m);
  }
  now->step++;
  return BDPT_OK;
}

/* 8.3  One step                                                                            >>step
 *
 *   math      loss = (1 - a) CE(z, target) + a D(z', teacher) + f/L sum_l M(x_l, y_l);
 *             D hard: CE(z', argmax teacher), D soft: >>distill, M: >>match, x_l and y_l streams of
 *             both behind block l; z' the distillation head's logits, or z if there is one head
 *   shape     images[B,3,H,W] -> z[B,K] -> one number
 *   source    Touvron et al. 2021, section 4 (hard and soft distillation); the paper's stage 2
 *   check     tests/test_inside.c step_by_hand: with and without a teacher
 *
 * The teacher sees the same augmented and mixed images as its student. Its answer is the mean of
 * its heads, without drop path, on a tape that records nothing.
 *
 * A distilled model that trains without a teacher has two heads and one target. We train the mean
 * of both heads, which is what the model answers with afterwards, as timm does; the original DeiT
 * code would leave the second head untouched, and average a trained head with a random one.
 *
 * With `repeats` r, positions p .. p + r - 1 of an epoch show one image augmented in r different
 * ways (Hoffer et al. 2020; timm's RepeatAugSampler). An epoch keeps its length, so it visits one
 * r-th of the images; the next one shuffles again.
 */
BDPTI_FN void bdpti_trainer_pick(bdpt_trainer *t, size_t epoch, size_t position) {
  bdpt_rng r = bdpti_draws(t->recipe.seed, BDPTI_DRAW_ORDER, epoch, 0);
  size_t n = t->train->count, repeats = (size_t)t->recipe.repeats, i;
  if (t->ordered != epoch + 1) { /* the first step of an epoch, or after a resume */
    memcpy(t->order, t->train->index, n * sizeof *t->order);
    bdpti_shuffle(t->order, n, &r);
    t->ordered = epoch + 1;
  }
  for (i = 0; i < t->batch; i++) {
    const size_t place = bdpti_cluster_place(t->ctx, t->own, i);
    if (place < t->own) t->picked[place] = t->order[(position + i) / repeats % n];
  }
}

/* Gets the teacher's logits, or, for hard distillation, a one in the place of the largest; and its
 * streams, which stay on its tape until the student's gradients are there. */
BDPTI_FN bdpt_status bdpti_trainer_teach(bdpt_trainer *t) {
  size_t k = (size_t)t->model->config.classes, i, j, best;
  bdpt_forward_options options = {0, 0, 0, 0, NULL};
  bdpt_tensor *images, *answer;
  if (t->recipe.distill == BDPT_DISTILL_NONE) return BDPT_OK;
  if (t->recipe.distill_features > 0) options.blocks = t->features;
  bdpt_tape_reset(t->teacher_tape);
  images = bdpti_lend(t->teacher_tape, &t->teacher->config, t->own, t->images);
  answer = bdpt_forward(t->teacher, t->teacher_tape, images, &options, NULL);
  if (!answer) return t->ctx->status;
  memcpy(t->taught, answer->data, answer->count * sizeof *answer->data);
  for (i = 0; i < t->own && t->recipe.distill == BDPT_DISTILL_HARD; i++) {
    bdpt_real *z = t->taught + i * k; /* [K] */
    for (best = 0, j = 1; j < k; j++) best = z[j] > z[best] ? j : best;
    for (j = 0; j < k; j++) z[j] = (bdpt_real)(j == best);
  }
  return BDPT_OK;
}

/* Makes the lesson of the trainer's own images, as bdpt_trainer_step_on takes one. */
BDPTI_FN bdpt_tensor *bdpti_trainer_graph(bdpt_model *m, bdpt_tape *tape,
                                          const bdpt_forward_options *given, size_t step,
                                          void *user) {
  bdpt_trainer *t = (bdpt_trainer *)user;
  const bdpt_recipe *r = &t->recipe;
  bdpt_tensor *stream[BDPT_MAX_DEPTH]; /* behind each block */
  bdpt_forward_options options = *given;
  bdpt_tensor *images, *logits, *second = NULL, *student, *loss; /* [B,K] each; one number */
  int l, depth = m->config.depth;
  (void)step;
  options.blocks = stream;
  images = bdpti_lend(tape, &m->config, t->own, t->images);
  logits = bdpt_forward(m, tape, images, &options, &second);
  student = second ? second : logits; /* z': what the teacher's answer is held against */
  if (r->distill == BDPT_DISTILL_NONE) {
    if (second) logits = bdpt_scale(tape, bdpt_add(tape, logits, second), 0.5);
    return bdpt_cross_entropy(tape, logits, t->targets);
  }
  loss = bdpt_scale(tape, bdpt_cross_entropy(tape, logits, t->targets), 1 - r->distill_alpha);
  student = r->distill == BDPT_DISTILL_SOFT
              ? bdpt_distill_soft(tape, student, t->taught, r->distill_tau)
              : bdpt_cross_entropy(tape, student, t->taught);
  loss = bdpt_add(tape, loss, bdpt_scale(tape, student, r->distill_alpha));
  for (l = 0; l < depth && r->distill_features > 0 && loss; l++) {
    student = bdpt_match(tape, stream[l], t->features[l]);
    loss = bdpt_add(tape, loss, bdpt_scale(tape, student, r->distill_features / depth));
  }
  return loss;
}

BDPT_API bdpt_status bdpt_trainer_step_on(bdpt_trainer *t, bdpt_objective lesson, void *user,
                                          double *loss) {
  bdpt_forward_options options = {1, t->recipe.drop_path, 0, t->recipe.importance, NULL};
  bdpt_tensor *graph;
  double value; /* of the loss */
  if (t->ctx->status != BDPT_OK || bdpti_trainer_fit(t) != BDPT_OK) return t->ctx->status;
  options.seed = bdpti_hash(t->recipe.seed, BDPTI_DRAW_PATH, t->now.step);
  bdpt_model_zero_grad(t->model);
  bdpt_tape_reset(t->tape); /* of what a step that failed has left */
  graph = lesson(t->model, t->tape, &options, (size_t)t->now.step, user);
  if (!graph && t->ctx->status == BDPT_OK) {
    return bdpt_fail(t->ctx, BDPT_E_STATE, "train: step %zu: the lesson made no loss",
                     (size_t)t->now.step);
  }
  if (!graph || bdpt_backward(t->tape, graph, NULL) != BDPT_OK) return t->ctx->status;
  value = (double)graph->data[0];
  if (!(value - value == 0) && !t->shared) { /* while the tape can tell where from */
    return bdpti_trainer_refuse(t, value, bdpti_trainer_norm(t));
  }
  bdpt_tape_reset(t->tape); /* now and not at its next use: no later step allocates anything */
  bdpt_tape_reset(t->teacher_tape);
  if (bdpti_cluster_gather(t, &value) != BDPT_OK) return t->ctx->status;
  if (loss) *loss = value;
  return bdpti_trainer_finish(t, value);
}

BDPT_API bdpt_status bdpt_trainer_step(bdpt_trainer *t, double *loss) {
  if (t->ctx->status == BDPT_OK && bdpti_trainer_fit(t) == BDPT_OK &&
      bdpti_trainer_batch(t) == BDPT_OK) bdpti_trainer_teach(t);
  t->stopped = bdpti_cluster_any(t->ctx, t->ctx->status != BDPT_OK); /* here or elsewhere */
  if (t->stopped) return t->ctx->status != BDPT_OK ? t->ctx->status : BDPT_CANCELLED;
  return bdpt_trainer_step_on(t, bdpti_trainer_graph, t, loss);
}

#endif /* BDPT_ONLY_INFERENCE */

/* =================================================================================================
 * 9  DEPTH PRUNING                                                                         >>prune
 * =================================================================================================
 * Which whole layers can go while every other shape stays? Fewer layers make an answer faster,
 * because the numbers of a layer are computed together and the layers one after another. Two kinds
 * can go from a transformer block: the attention layer, whose input and output both have width D,
 * and the activation, which has no weights. A linear cannot go alone: fc1 maps D to F and fc2 maps
 * F back, so without fc1 the second would get D numbers where it expects F, the dimension mismatch
 * (`bdpt_prune_linear` in boundarydpt_studies.h says it of any network).
 *
 * The trick is to remove what stands between the linears instead. Without its GELU the MLP is
 *
 *     W2 (W1 v + b1) + b2  =  (W2 W1) v + (W2 b1 + b2)
 *
 * one linear map of D x D: with F = 4D an eighth of the multiplications, and one layer of depth
 * instead of three. Removing the activation costs accuracy; fusing afterwards costs nothing.
 *
 * How many of each kind should go, and which ones, is the matter of chapters 10 and 11.
 */

/* 9.1  Removing and restoring
 *
 * Removal is a change of state: the weights stay in memory, inactive, until the model is saved, so
 * that a removal can be taken back.
 */
BDPT_API const char *bdpt_type_name(bdpt_type type) {
  return type == BDPT_ATTENTION ? "attention" : "activation";
}

BDPT_API void bdpt_layers_add(bdpt_layers *set, bdpt_type type, int block) {
  set->blocks[type] |= UINT64_C(1) << block;
}

BDPT_API int bdpt_layers_has(const bdpt_layers *set, bdpt_type type, int block) {
  return (int)(set->blocks[type] >> block & 1);
}

/* The removable layers of a network in forward order: i = 0 is the attention of block 0, 1 its
 * activation, 2 the attention of block 1, and so on. */
BDPTI_FN bdpt_layer bdpti_layer_at(int i) {
  const bdpt_layer layer = {i % 2 ? BDPT_ACTIVATION : BDPT_ATTENTION, i / 2};
  return layer;
}

/* Writes a set in forward order and returns how many layers it has. A block beyond the network's
 * comes last and is refused by whoever uses it. */
BDPTI_FN int bdpti_layers_list(const bdpt_layers *set, bdpt_layer list[2 * BDPT_MAX_DEPTH]) {
  int i, count = 0;
  for (i = 0; i < 2 * BDPT_MAX_DEPTH; i++) {
    list[count] = bdpti_layer_at(i);
    count += bdpt_layers_has(set, list[count].type, list[count].block);
  }
  return count;
}

BDPTI_FN int bdpti_layer_ok(bdpt_model *m, const char *what, bdpt_type type, int l) {
  if (type == BDPT_ATTENTION || type == BDPT_ACTIVATION) return bdpti_block_ok(m, what, l);
  bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "%s: type %d is neither attention (0) nor activation (1)",
            what, (int)type);
  return 0;
}

/* Returns 1 if there is such a layer and it is still kept; else 0 after an error. */
BDPTI_FN int bdpti_removable(bdpt_model *m, const char *what, bdpt_type type, int l) {
  if (!bdpti_layer_ok(m, what, type, l)) return 0;
  if (bdpti_kept(&m->config, type, l)) return 1;
  bdpt_fail(m->ctx, BDPT_E_STATE, "%s: the %s of block %d is already removed", what,
            bdpt_type_name(type), l);
  return 0;
}

BDPT_API bdpt_status bdpt_prune(bdpt_model *m, bdpt_type type, int l) {
  if (!bdpti_removable(m, "prune", type, l)) return m->ctx->status;
  if (type == BDPT_ATTENTION) m->config.block[l].attention = BDPT_ATTENTION_REMOVED;
  else m->config.block[l].mlp_state = BDPT_MLP_LINEAR;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_restore(bdpt_model *m, bdpt_type type, int l) {
  const char *what = bdpt_type_name(type), *why = NULL;
  const bdpt_tensor *p;
  bdpt_block *b;
  if (!bdpti_layer_ok(m, "restore", type, l)) return m->ctx->status;
  p = &m->param[BDPT_SLOT(l, 0)];
  b = &m->config.block[l];
  if (type == BDPT_ATTENTION ? b->attention != BDPT_ATTENTION_REMOVED : !b->mlp_state) {
    why = "is not removed";
  } else if (type == BDPT_ACTIVATION && b->mlp_state != BDPT_MLP_LINEAR) {
    what = "MLP";
    why = "is fused; its two linears are gone";
  } else if (type == BDPT_ATTENTION && (!p[BDPT_SLOT_QKV_W].data || !p[BDPT_SLOT_NORM1_W].data)) {
    why = "has no weights in the file that this model came from";
  }
  if (why) return bdpt_fail(m->ctx, BDPT_E_STATE, "restore: the %s of block %d %s", what, l, why);
  if (type == BDPT_ATTENTION) b->attention = BDPT_ATTENTION_KEPT;
  else b->mlp_state = BDPT_MLP_KEPT;
  return BDPT_OK;
}

BDPT_API int bdpt_removed(const bdpt_config *c, bdpt_type type) {
  int l, count = 0;
  for (l = 0; l < c->depth; l++) count += !bdpti_kept(c, type, l);
  return count;
}

BDPTI_FN int bdpti_kept_count(const bdpt_model *m) {
  const bdpt_config *c = &m->config;
  return 2 * c->depth - bdpt_removed(c, BDPT_ATTENTION) - bdpt_removed(c, BDPT_ACTIVATION);
}

/* 9.2  Fusing                                                                              >>fuse
 *
 *   math      W = W2 W1,  b = W2 b1 + b2
 *   shape     W1[F,D] b1[F] W2[D,F] b2[D] -> W[D,D] b[D]
 *   source    PAPER_NOTES.md, "Fusion"; exact up to rounding, so the products are summed in double
 *   check     tests/test_model.c fusing: fused and unfused logits
 *
 * The four tensors give way to the two new ones, which is why a fused activation cannot come back.
 */
BDPTI_FN void bdpti_fuse_row(bdpt_tensor *p, size_t row, double *sum) {
  const bdpt_tensor *w1 = &p[BDPT_SLOT_FC1_W];
  size_t f = w1->shape[0], d = w1->shape[1], i, k;
  double bias = (double)p[BDPT_SLOT_FC2_B].data[row];
  memset(sum, 0, d * sizeof *sum);
  for (k = 0; k < f; k++) {
    double a = (double)p[BDPT_SLOT_FC2_W].data[row * f + k]; /* W2[row,k] */
    bias += a * (double)p[BDPT_SLOT_FC1_B].data[k];
    for (i = 0; i < d; i++) sum[i] += a * (double)w1->data[k * d + i];
  }
  for (i = 0; i < d; i++) p[BDPT_SLOT_FUSED_W].data[row * d + i] = (bdpt_real)sum[i];
  p[BDPT_SLOT_FUSED_B].data[row] = (bdpt_real)bias;
}

BDPT_API bdpt_status bdpt_fuse(bdpt_model *m, int layer) {
  bdpt_block *b;
  double *sum;
  size_t row, d = (size_t)m->config.width;
  int s, ready;
  if (!bdpti_block_ok(m, "fuse", layer)) return m->ctx->status;
  b = &m->config.block[layer];
  if (b->mlp_state >= BDPT_MLP_FUSED) {
    return bdpt_fail(m->ctx, BDPT_E_STATE, "fuse: the MLP of block %d is one map already", layer);
  }
  if (b->mlp_state == BDPT_MLP_KEPT) {
    return bdpt_fail(m->ctx, BDPT_E_SHAPE,
                     "fuse: block %d still has its %s between fc1 [%d,%d] and fc2 [%d,%d], so "
                     "the two are no single map, and one alone cannot go (dimension mismatch); "
                     "remove the activation first", layer,
                     m->config.act == BDPT_RELU ? "ReLU" : "GELU", b->mlp, m->config.width,
                     m->config.width, b->mlp);
  }
  sum = (double *)bdpt_alloc(m->ctx, d * sizeof *sum);
  ready = sum && bdpti_slot_alloc(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_W)) &&
          bdpti_slot_alloc(m, BDPT_SLOT(layer, BDPT_SLOT_FUSED_B));
  for (row = 0; ready && row < d; row++) bdpti_fuse_row(&m->param[BDPT_SLOT(layer, 0)], row, sum);
  bdpt_release(m->ctx, sum, d * sizeof *sum);
  for (s = BDPT_SLOT_FC1_W; s <= BDPT_SLOT_FUSED_B; s++) { /* the old go, or on failure the new */
    if (ready == (s <= BDPT_SLOT_FC2_B)) bdpti_slot_free(m, BDPT_SLOT(layer, s));
  }
  if (!ready) return m->ctx->status;
  b->mlp_state = BDPT_MLP_FUSED;
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_fuse_all(bdpt_model *m) {
  int l;
  bdpt_status status = BDPT_OK;
  for (l = 0; l < m->config.depth && !status; l++) {
    if (m->config.block[l].mlp_state == BDPT_MLP_LINEAR) status = bdpt_fuse(m, l);
  }
  return status;
}

/* 9.3  What a network costs                                                                >>cost
 *
 *   math      MACs = C P^2 D n + sum over blocks of [attention: 4 N D hd + 2 N^2 hd, or N D^2 when
 *             fitted] + [MLP: 2 N D F, or N D^2 when fused or fitted] + H D K
 *   source    PAPER_NOTES.md, "Counting": two conventions are in print, with and without the two
 *             products of attention (Q K^T and A V); both are reported
 *
 * n = (image / P)^2 patches, N = n + 1 (+ 1 distilled, + R registers) tokens, H heads at the output
 * (a head that reads 2D numbers counts as two; none as none). Norms, softmax, GELU and residual
 * sums are not counted, as everywhere in the literature.
 */
BDPT_API bdpt_status bdpt_cost(bdpt_context *ctx, const bdpt_config *config,
                               bdpt_cost_report *out) {
  bdpt_config c = *config;
  double tokens, d, products = 0, macs;
  size_t shape[BDPT_MAX_DIMS];
  bdpt_tensor p; /* a parameter */
  int l;
  memset(out, 0, sizeof *out);
  if (bdpt_config_resolve(ctx, &c) != BDPT_OK) return ctx->status;
  tokens = (double)bdpt_token_count(&c);
  d = (double)c.width;
  macs = (double)(c.channels * c.patch * c.patch) * d * (tokens - bdpt_prefix_count(&c));
  if (!c.headless) macs += (1 + c.distilled + (c.pool == BDPT_POOL_BOTH)) * d * (double)c.classes;
  for (l = 0; l < c.depth; l++) {
    const bdpt_block *b = &c.block[l];
    double hd = (double)(b->heads * b->head_dim);
    if (b->attention == BDPT_ATTENTION_KEPT) {
      macs += 4 * tokens * d * hd; /* q, k, v and the projection */
      products += 2 * tokens * tokens * hd;
    }
    if (b->attention == BDPT_ATTENTION_FITTED) macs += tokens * d * d;
    macs += tokens * d * (b->mlp_state <= BDPT_MLP_LINEAR ? 2 * (double)b->mlp : d);
  }
  out->macs_no_matmul = macs;
  out->macs = macs + products;
  for (l = 0; l < BDPT_SLOTS_FIXED + c.depth * BDPT_SLOTS_BLOCK; l++) {
    const int fits = bdpti_set_shape(&p, bdpti_slot_shape(&c, l, shape), shape);
    if (fits && bdpti_slot_used(&c, l)) out->params += p.count;
  }
  return BDPT_OK;
}

#ifndef BDPT_ONLY_INFERENCE

/* 9.4  Fitting                                                                              >>fit
 *
 *   math      W, b = argmin sum_t |y_t - W x_t - b|^2 + r |W|^2
 *             X = x - mean x, Y = y - mean y, G = sum X X^T, C = sum Y X^T, r = lambda trace(G) / D
 *             W (G + r I) = C,  b = mean y - W mean x
 *   shape     tokens x[T,D] that the layer reads, y[T,D] that it returns -> W[D,D] b[D]
 *   error     sqrt(sum |y - W x - b|^2 / sum |y - mean y|^2) over images that W has not seen
 *   source    DEVIATION: not in the paper. Hoerl and Kennard, "Ridge regression", 1970
 *   check     tests/test_fit.c equals_another_solver, a_linear_mlp_is_found_again
 *
 * Without its GELU an MLP is the linear map W2 W1, and a poor one: it was trained for hidden
 * features whose negative halves are gone. The linear map that does the MLP's work best needs no
 * training. Send some hundred images through the network, note what the MLP reads at each token and
 * what it returns, and solve a least-squares problem. Where attention was, such a map moves
 * nothing from one token to another, but returns what attention returns on average for such a one.
 *
 * Several layers are fitted in the order of the forward pass. Each sees its inputs as the maps
 * before it make them, and is fitted to what the trained layer answers to those: it is good where
 * it will be used, but passes earlier errors on. The maps are parameters, and train on from there.
 *
 * One pass over the images is enough, because the problem is known from sums of products. With z =
 * (1, x, y) all of them are entries of sum z z^T, kept in double, which holds the product of two
 * floats exactly. The ridge is needed: what a norm makes lies in a plane, sum_j (x_j - beta_j) /
 * gamma_j = 0, so G never has full rank, and along the directions in which tokens hardly vary plain
 * least squares amplifies noise. The error on images held back comes from the same sums over those,
 * by expanding the square; it is 0 for a perfect map and 1 for one that knows the mean only. A row
 * of the sums is one thread's, so the thread count changes no bit.
 */
#define BDPTI_FIT_PANEL 64 /* tokens; a multiple of 4 */
#define BDPTI_FIT_BATCH 16 /* images */

typedef struct bdpti_gram {
  size_t d;
  double *sum;   /* [2D+1][D+2] row i: sums of z_i (1, x), where x ends at i, and of z_i z_i */
  double *panel; /* [64][2D+1] z of some tokens; zero beyond the last */
} bdpti_gram;

BDPTI_FN double *bdpti_gram_at(const bdpti_gram *g, size_t row) {
  return g->sum + row * (g->d + 2);
}

BDPTI_HOT void bdpti_gram_row(const bdpti_gram *g, size_t row, size_t tokens) {
  size_t width = 2 * g->d + 1, columns = row < g->d ? row + 1 : g->d + 1, t, j;
  double *out = bdpti_gram_at(g, row);
  for (t = 0; t < tokens; t += 4) {
    const double *z0 = g->panel + t * width, *z1 = z0 + width, *z2 = z1 + width, *z3 = z2 + width;
    double a0 = z0[row], a1 = z1[row], a2 = z2[row], a3 = z3[row];
    for (j = 0; j < columns; j++) out[j] += a0 * z0[j] + a1 * z1[j] + a2 * z2[j] + a3 * z3[j];
    out[g->d + 1] += a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3;
  }
}

/* Adds the tokens x[T,D], y[T,D] to the sums. */
BDPTI_HOT void bdpti_gram_add(const bdpt_context *ctx, const bdpti_gram *g, size_t tokens,
                             const bdpt_real *x, const bdpt_real *y) {
  size_t d = g->d, width = 2 * d + 1, at, n, t, i;
  int row;
  (void)ctx; /* used by the pragma only */
  for (at = 0; at < tokens; at += n) {
    n = tokens - at < BDPTI_FIT_PANEL ? tokens - at : BDPTI_FIT_PANEL;
    memset(g->panel, 0, BDPTI_FIT_PANEL * width * sizeof *g->panel);
    for (t = 0; t < n; t++, x += d, y += d) {
      double *z = g->panel + t * width;
      z[0] = 1;
      for (i = 0; i < d; i++) z[1 + i] = (double)x[i];
      for (i = 0; i < d; i++) z[1 + d + i] = (double)y[i];
    }
    BDPTI_OMP(omp parallel for num_threads(bdpti_team(ctx, (double)(d * d) * BDPTI_FIT_PANEL)))
    for (row = 0; row < (int)width; row++) bdpti_gram_row(g, (size_t)row, n);
  }
}

/* Finds x and y of the layer for a batch that passes through the network as it is before it. */
BDPTI_FN int bdpti_fit_pair(bdpt_model *m, bdpt_tape *t, bdpt_type type, int l, bdpt_tensor *images,
                            bdpt_tensor *pair[2]) {
  const int act = type == BDPT_ACTIVATION;
  const bdpt_forward_options none = {0, 0, 0, 0, NULL};
  bdpt_tensor *x = bdpti_blocks(m, t, bdpti_embed(m, t, images), l, &none), *y;
  if (act) x = bdpt_attention_half(m, t, l, x, NULL);
  if (!x) return 0;
  y = act ? bdpt_mlp_half(m, t, l, x, NULL) : bdpt_attention_half(m, t, l, x, NULL);
  pair[0] = bdpti_norm(m, t, BDPT_SLOT(l, act ? BDPT_SLOT_NORM2_W : BDPT_SLOT_NORM1_W), x);
  pair[1] = bdpt_add(t, y, bdpt_scale(t, x, -1)); /* the branch without the stream */
  return pair[0] && pair[1];
}

/* Makes the pass: images before `fit` go into g[0], the others into g[1]. `x` holds a batch. */
BDPTI_FN bdpt_status bdpti_fit_pass(bdpt_model *m, bdpt_type type, int l, const bdpt_subset *chosen,
                                    size_t fit, bdpt_real *x, const bdpti_gram g[2]) {
  bdpt_tape *t = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE);
  bdpt_status status = t ? BDPT_OK : m->ctx->status;
  size_t at, n, turn = 0;
  const size_t rank = bdpti_cluster_size(m->ctx) > 1 ? (size_t)m->ctx->cluster.rank : 0;
  bdpt_tensor *pair[2];
  for (at = 0; at < chosen->count && !status; at += n, turn++) {
    int part = at >= fit;
    n = (part ? chosen->count : fit) - at;
    n = n < BDPTI_FIT_BATCH ? n : BDPTI_FIT_BATCH;
    if (turn % bdpti_cluster_size(m->ctx) != rank) continue; /* another process has it */
    status = bdpt_load_batch(m->ctx, &m->config, chosen, at, n, x, NULL);
    bdpt_tape_reset(t);
    if (!status && bdpti_fit_pair(m, t, type, l, bdpti_lend(t, &m->config, n, x), pair)) {
      bdpti_gram_add(m->ctx, &g[part], bdpti_rows(pair[0]), pair[0]->data, pair[1]->data);
    } else {
      status = m->ctx->status;
    }
  }
  bdpt_tape_free(t);
  for (at = 0; at < 2; at++) { /* nothing happens where one process works alone */
    bdpt_status sum = bdpti_cluster_add(m->ctx, g[at].sum, (2 * g[at].d + 1) * (g[at].d + 2),
                                        sizeof *g[at].sum);
    if (!status) status = sum;
  }
  if (bdpti_cluster_any(m->ctx, status != BDPT_OK) && !status) status = BDPT_CANCELLED;
  return status;
}

BDPTI_FN int bdpti_gram_finite(const bdpti_gram *g) {
  size_t i, n = (2 * g->d + 1) * (g->d + 2);
  double sum = 0;
  for (i = 0; i < n; i++) sum += g->sum[i] - g->sum[i]; /* NaN if one of them is not finite */
  return sum == 0;
}

/* Makes row i of L, for S = L L^T, in the place of row i of S, from the rows above it. A row of C
 * below them becomes u with L u = c in the same way. Returns 0 if S is not positive definite. */
BDPTI_HOT int bdpti_fit_split(const bdpti_gram *g, size_t i) {
  double *row = bdpti_gram_at(g, i), whole = i <= g->d ? row[i] : 0;
  size_t j, k;
  for (j = 0; j <= i && j <= g->d; j++) {
    const double *other = bdpti_gram_at(g, j);
    double sum = row[j];
    for (k = 0; k < j; k++) sum -= row[k] * other[k];
    if (j < i) row[j] = sum / other[j];
    else if (sum > 1e-11 * whole) row[j] = sqrt(sum);
    else return 0;
  }
  return 1;
}

/* Adds the ridge and solves for all rows of C, which become (b, w); returns 0 if there is no single
 * solution. The first step of the elimination, by the sums of x, centres G and C. */
BDPTI_HOT int bdpti_fit_solve(const bdpti_gram *g, bdpt_real *w, bdpt_real *bias) {
  size_t d = g->d, i, j, k;
  double trace = 0;
  for (i = 1; i <= d; i++) {
    const double *row = bdpti_gram_at(g, i);
    trace += row[i] - row[0] * row[0] / g->sum[0];
  }
  for (i = 1; i <= d; i++) bdpti_gram_at(g, i)[i] += BDPT_RIDGE * trace / (double)d;
  for (i = 0; i <= 2 * d; i++) {
    if (!bdpti_fit_split(g, i)) return 0;
  }
  for (i = 0; i < d; i++, w += d) {
    double *c = bdpti_gram_at(g, 1 + d + i);
    for (j = d + 1; j-- > 0;) { /* L^T (b, w) = u */
      const double *l = bdpti_gram_at(g, j);
      c[j] /= l[j];
      for (k = 0; k < j; k++) c[k] -= l[k] * c[j];
      if (j > 0) w[j - 1] = (bdpt_real)c[j];
    }
    bias[i] = (bdpt_real)c[0];
  }
  return 1;
}

/* Returns the relative error of the maps (b, w) in `map` on the tokens of g, from
 * |y|^2 - 2 y.v + v.v with v = W x + b. */
BDPTI_HOT double bdpti_fit_error(const bdpti_gram *g, const bdpti_gram *map) {
  size_t d = g->d, o, j, k;
  double wrong = 0, all = 0;
  for (o = 0; o < d; o++) {
    const double *y = bdpti_gram_at(g, 1 + d + o), *v = bdpti_gram_at(map, 1 + d + o);
    double sum = y[d + 1];
    for (j = 0; j <= d; j++) {
      const double *x = bdpti_gram_at(g, j);
      double cross = -y[j];
      for (k = 0; k < j; k++) cross += x[k] * v[k];
      sum += v[j] * (v[j] * x[j] + 2 * cross);
    }
    wrong += sum;
    all += y[d + 1] - y[0] * y[0] / g->sum[0];
  }
  return wrong > 0 && all > 0 ? sqrt(wrong / all) : 0;
}

/* Lists the images to use, one in eight at the end to judge; *fit is the number of the others. */
BDPTI_FN bdpt_status bdpti_fit_choose(const bdpt_model *m, const bdpt_subset *data, bdpti_arena *a,
                                      bdpt_subset *chosen, size_t *fit) {
  size_t d = (size_t)m->config.width, tokens = (size_t)bdpt_token_count(&m->config);
  size_t n = (64 * d + tokens - 1) / tokens, i, held = 0;
  if (!data || data->count < 2) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "fit: no images; a map needs two or more, most to "
                     "be fitted to and some to be measured on");
  }
  if (n < 256) n = 256;
  if (n > data->count) n = data->count;
  *fit = n - (n < 16 ? 1 : n / 8);
  if (*fit * tokens <= d) {
    return bdpt_fail(m->ctx, BDPT_E_ARGUMENT, "fit: %zu image%s with %zu tokens, too few for a "
                     "map of %zu inputs; use %zu images or more", *fit, bdpti_s(*fit),
                     *fit * tokens, d, (d / tokens + 2) * 8 / 7 + 1);
  }
  *chosen = *data;
  chosen->count = n;
  chosen->index = (size_t *)bdpti_array(a, n, sizeof *chosen->index);
  for (i = 0; i < n && chosen->index; i++) {
    size_t share = (i + 1) * (n - *fit) / n; /* of the first i + 1 images, those that measure */
    size_t from = i * (data->count / n) + i * (data->count % n) / n;
    if (share > held) chosen->index[*fit + held++] = data->index[from];
    else chosen->index[i - held] = data->index[from];
  }
  return chosen->index ? BDPT_OK : m->ctx->status;
}

/* Puts a map of zeros in the place of a layer, for a fit or a file to fill. Returns its weight,
 * behind which its bias stands, or NULL after an error. */
BDPTI_FN bdpt_tensor *bdpti_fit_room(bdpt_model *m, bdpt_type type, int l) {
  static const int slots[2][3] = { /* first and last that give place; the map's weight */
    {BDPT_SLOT_QKV_W, BDPT_SLOT_PROJ_B, BDPT_SLOT_AFIT_W},
    {BDPT_SLOT_FC1_W, BDPT_SLOT_FC2_B, BDPT_SLOT_FUSED_W}};
  int s, slot;
  if (!bdpti_removable(m, "fit", type, l)) return NULL;
  slot = BDPT_SLOT(l, slots[type][2]);
  if (!bdpti_slot_alloc(m, slot) || !bdpti_slot_alloc(m, slot + 1)) return NULL;
  for (s = slots[type][0]; s <= slots[type][1]; s++) bdpti_slot_free(m, BDPT_SLOT(l, s));
  if (type == BDPT_ATTENTION) m->config.block[l].attention = BDPT_ATTENTION_FITTED;
  else m->config.block[l].mlp_state = BDPT_MLP_FITTED;
  return &m->param[slot];
}

/* Fits one layer, from images to map. Everything but the map itself lives in the arena. */
BDPTI_FN bdpt_status bdpti_fit_layer(bdpt_model *m, bdpt_layer at, const bdpt_subset *data,
                                     bdpti_arena *a, bdpt_fit_report *out) {
  const char *what = bdpt_type_name(at.type);
  size_t d = (size_t)m->config.width, each = bdpt_image_numbers(&m->config), i;
  bdpt_tensor *w;
  bdpt_real *x = NULL;
  bdpt_subset chosen;
  bdpti_gram g[2];
  double error;
  bdpt_status status;
  if (m->block) return bdpt_fail(m->ctx, BDPT_E_STATE, "fit: the model has a block of its own");
  status = bdpti_fit_choose(m, data, a, &chosen, &out->images);
  for (i = 0; i < 2 && !status; i++) {
    g[i].d = d;
    g[i].sum = (double *)bdpti_array(a, 2 * d + 1, (d + 2) * sizeof *g[i].sum);
    g[i].panel = (double *)bdpti_array(a, 2 * d + 1, BDPTI_FIT_PANEL * sizeof *g[i].panel);
    x = (bdpt_real *)bdpti_array(a, BDPTI_FIT_BATCH, each * sizeof *x);
    if (!g[i].sum || !g[i].panel || !x) status = m->ctx->status;
  }
  if (!status) status = bdpti_fit_pass(m, at.type, at.block, &chosen, out->images, x, g);
  if (status) return status;
  if (!bdpti_gram_finite(&g[0]) || !bdpti_gram_finite(&g[1])) {
    return bdpt_fail(m->ctx, BDPT_E_NUMERIC, "fit: what the %s of block %d reads or returns is "
                     "not finite", what, at.block);
  }
  out->held = chosen.count - out->images;
  out->tokens = (size_t)g[0].sum[0];
  w = bdpti_fit_room(m, at.type, at.block);
  if (!w) return m->ctx->status;
  if (!bdpti_fit_solve(&g[0], w->data, w[1].data)) {
    return bdpt_fail(m->ctx, BDPT_E_NUMERIC, "fit: the %s of block %d reads the same at all "
                     "%zu tokens, which tells no best map", what, at.block, out->tokens);
  }
  error = bdpti_fit_error(&g[1], &g[0]);
  if (error > out->error) out->error = error;
  out->layers++;
  return BDPT_OK;
}

BDPT_API int bdpt_start_fits(bdpt_start start, bdpt_type type) {
  if (start == BDPT_START_FIT) return 1;
  if (type == BDPT_ATTENTION) return start == BDPT_START_FIT_ATTENTION;
  return start == BDPT_START_SKIP_FIT || start == BDPT_START_FIT_ACTIVATION;
}

/* Sets the form of removed attention to the start's: the skip, or what the configuration says. */
BDPTI_FN bdpt_status bdpti_start_form(bdpt_model *m, bdpt_start start) {
  int l, gone = 0;
  if (start != BDPT_START_SKIP_FIT && start != BDPT_START_SKIP) return BDPT_OK;
  for (l = 0; l < m->config.depth; l++) {
    gone += m->config.block[l].attention == BDPT_ATTENTION_REMOVED;
  }
  if (gone && m->config.attn_form != BDPT_ATTN_SKIP) {
    return bdpt_fail(m->ctx, BDPT_E_STATE, "remove: %d attention layers are gone in another form "
                     "than the skip, and a network has one form of removed attention", gone);
  }
  m->config.attn_form = BDPT_ATTN_SKIP;
  return BDPT_OK;
}

/* Puts what `start` says in the place of each layer of a set, in forward order, on a copy. */
BDPT_API bdpt_status bdpt_remove(bdpt_model *m, const bdpt_layers *layers, bdpt_start start,
                                 const bdpt_subset *data, bdpt_fit_report *out) {
  bdpti_arena a = {m->ctx, NULL, 0};
  bdpt_fit_report r = {0, 0, 0, 0, 0};
  bdpt_layer list[2 * BDPT_MAX_DEPTH];
  int i, count = bdpti_layers_list(layers, list);
  bdpt_model *work;
  bdpt_status status;
  if (out) *out = r;
  for (i = 0; i < count; i++) {
    if (!bdpti_removable(m, "remove", list[i].type, list[i].block)) return m->ctx->status;
  }
  if (count == 0) return BDPT_OK;
  work = bdpt_model_clone(m);
  status = work ? BDPT_OK : m->ctx->status;
  if (!status && layers->blocks[BDPT_ATTENTION]) status = bdpti_start_form(work, start);
  for (i = 0; i < count && !status; i++) {
    if (!bdpt_start_fits(start, list[i].type)) {
      status = bdpt_prune(work, list[i].type, list[i].block);
      continue;
    }
    status = bdpti_fit_layer(work, list[i], data, &a, &r);
    bdpti_arena_reset(&a);
  }
  bdpti_arena_free(&a);
  if (!status && r.layers) {
    bdpt_format(work->certificate, sizeof work->certificate, "%d layer%s fitted, not exact: "
                 "relative error up to %g on %zu of %zu images, held back, ridge %g%s", r.layers,
                 bdpti_s((size_t)r.layers), r.error, r.held, r.held + r.images, BDPT_RIDGE,
                 r.error < 1 ? "" : ": worse than a constant, fit to more images");
  }
  if (out) *out = r;
  return bdpti_model_end(m, work, status);
}

/* =================================================================================================
 * 10  HOW MANY LAYERS OF EACH TYPE: THE MODEL ACCURACY PREDICTOR                              >>map
 * =================================================================================================
 * Of a budget of k layers, how many should be attention and how many activations? To train every
 * split until it recovers would be the honest answer and the expensive one. The paper trains a few
 * networks a little (boundarydpt_studies.h) and draws a smooth surface through what they reached, a
 * polynomial P(a, t) of the retained shares n/L of attention layers and of activations. This
 * chapter is that surface: plain arithmetic on (a, t, accuracy) triples, in double. Two warnings. A
 * budget line that leaves the measured region is extrapolation, and a polynomial extrapolates
 * badly. And a, t should be exact fractions: 11/12 typed as 0.92 moves every coefficient.
 * PAPER_NOTES.md tells what the paper's own points say. */

/* 10.1  The polynomial
 *
 *   math      P(a,t) = sum_k theta_k a^{i_k} t^{j_k},  i_k + j_k <= D: (D+1)(D+2)/2 terms
 *   source    PAPER_NOTES.md, MAP. The paper defines a degree per variable, i, j <= D, and uses the
 *             total degree in its example, as we do
 *   check     tests/test_map.c terms
 *
 * Accuracy falls slowly at first and faster later, for either type, and a little faster still when
 * both are gone: a plane with a bend in each direction and one product term, six numbers. Nothing
 * sharper can be seen through half a point of noise; 10.3 lets the data object. Terms are numbered
 * by rising total degree, then falling power of a: 1, a, t, a^2, at, t^2, ... as the paper's. */
#define BDPTI_MAP_DEGREE 4 /* the highest that is tried, the paper's limit too */

BDPT_API void bdpt_map_term(int k, int *i, int *j) {
  int sum = 0;
  while (k > sum) k -= ++sum; /* sum terms have a total degree of sum - 1 */
  *i = sum - k; *j = k;
}

/* Fills x[terms], one row of the design matrix: the monomials at (a, t). */
BDPTI_FN void bdpti_map_row(int terms, double a, double t, double *x) {
  int k, i, j;
  for (k = 0; k < terms; k++) {
    bdpt_map_term(k, &i, &j);
    x[k] = pow(a, i) * pow(t, j); /* pow(0, 0) is 1 */
  }
}

BDPTI_HOT double bdpti_dot64(const double *x, const double *y, size_t n) {
  double sum = 0.0;
  size_t i;
  for (i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

BDPT_API double bdpt_map_predict(const bdpt_map *map, double attention, double activation) {
  double x[BDPT_MAP_TERMS]; /* the monomials */
  bdpti_map_row(map->terms, attention, activation, x);
  return bdpti_dot64(map->theta, x, (size_t)map->terms);
}

/* 10.2  Least squares that knows its rank                                         >>least-squares
 *
 *   math      A = U S V^T;  A^+ = sum_{q: s_q > cutoff |A|} (v_q u_q^T / s_q)
 *   shape     A[m,n] -> A^+[n,m]; any m, n >= 1; theta = A^+ y
 *   source    Hestenes 1958 (one-sided rotations); Golub and Van Loan, section 8.6.3
 *   check     tests/test_inside.c solver: a known inverse, a rank-one and a wide system
 *
 * The normal equations (A^T A) theta = A^T y are the wrong way here. Powers of numbers between 0.3
 * and 1 are nearly parallel, so the condition of A is near a million at degree 4, and A^T A squares
 * it. And A can be singular whatever the rounding: the paper's plan has many points with a = 1,
 * many with t = 1, and five in the interior; some conic q passes through any five points, and the
 * quartic (1-a)(1-t) q(a,t) is zero at every point: the rank is 14 although there are 15 terms.
 * Always defined is the shortest theta among those that fit best, without the directions whose
 * singular value is below 1e-9 of |A|; the smallest real one is 1e-6 here, the largest of rounding
 * 1e-17. One-sided Jacobi rotates two columns of A in their plane so that they become orthogonal,
 * goes through all pairs of columns, and repeats until no pair needs it. The product of the
 * rotations is V, what is left of A is U S: orthogonal columns whose lengths are the singular
 * values, the small ones to full relative accuracy. Surplus columns of a wide matrix shrink to
 * nothing. With the identity written below A one loop turns both, and V appears in its place. */

/* Makes two columns orthogonal in their first `rows` entries, by the smaller of the two angles that
 * do: it is the one that converges. Returns 0 if they are already, to 14 digits of their lengths,
 * or if one is nothing but rounding: what is left of a dependent column would turn for ever. */
BDPTI_HOT int bdpti_jacobi_turn(double *x, double *y, size_t rows, size_t length, double dust) {
  double xx = bdpti_dot64(x, x, rows), yy = bdpti_dot64(y, y, rows), xy = bdpti_dot64(x, y, rows);
  double z, t, c; /* of the angle: 1 / tan of its double, tan, cos */
  size_t r;
  if (xx <= dust || yy <= dust || fabs(xy) <= 1e-14 * sqrt(xx) * sqrt(yy)) return 0;
  z = (yy - xx) / (2.0 * xy);
  t = (z < 0 ? -1.0 : 1.0) / (fabs(z) + sqrt(1.0 + z * z));
  c = 1.0 / sqrt(1.0 + t * t);
  for (r = 0; r < length; r++) {
    double old = x[r];
    x[r] = c * (old - t * y[r]);
    y[r] = c * (y[r] + t * old);
  }
  return 1;
}

/* a[cols][rows + cols] holds A's columns, with room below each; out[cols][rows] A^+. Returns the
 * rank. Four to twelve sweeps do; the limit of sixty ends the loop whatever the numbers are. */
BDPTI_HOT int bdpti_pseudo_inverse(double *a, size_t rows, size_t cols, double cutoff,
                                   double *out) {
  size_t length = rows + cols, p, q, r; /* length: a column of A with V's below it */
  int sweep, turned = 1, rank = 0;
  double norm2 = 0.0; /* of A, squared: the sum of all squared singular values */
  for (p = 0; p < cols; p++) {
    norm2 += bdpti_dot64(a + p * length, a + p * length, rows);
    for (q = 0; q < cols; q++) a[p * length + rows + q] = p == q ? 1.0 : 0.0;
  }
  for (sweep = 0; sweep < 60 && turned; sweep++) {
    turned = 0;
    for (p = 0; p < cols; p++) {
      for (q = p + 1; q < cols; q++) {
        turned |= bdpti_jacobi_turn(a + p * length, a + q * length, rows, length, 1e-30 * norm2);
      }
    }
  }
  memset(out, 0, rows * cols * sizeof *out);
  for (p = 0; p < cols; p++) {
    const double *us = a + p * length, *v = us + rows;
    double square = bdpti_dot64(us, us, rows); /* us is s u: one square for u, one to divide by */
    if (!(square > cutoff * cutoff * norm2)) continue;
    rank++;
    for (q = 0; q < cols; q++) {
      for (r = 0; r < rows; r++) out[q * rows + r] += v[q] / square * us[r];
    }
  }
  return rank;
}

/* 10.3  The degree                                                                     >>map-degree
 *
 *   math      for each pair {i,j} of points: fit without the pair, e = P(pair) - accuracy(pair)
 *             RMSE = sqrt(mean e^2) over all n(n-1) errors; the least RMSE wins
 *   source    PAPER_NOTES.md, MAP (leave-2-out, kappa = 1..4)
 *   check     tests/test_map.c example_fit: against numpy.linalg.lstsq
 *
 * A surface of higher degree always passes closer to its own points, so the fit cannot judge
 * itself. The paper does not say how the errors of the pairs are pooled. We take the root of the
 * mean over all of them, not the mean of each pair's root: a large error then stays large. Ties go
 * to the lower degree. Two facts make this short. A point is hidden by a row of zeros in A: its
 * column of A^+ is then zero too, and the rest is what it would be without the row. And A does not
 * depend on the accuracies, so one decomposition per pair serves any number of sets of accuracies:
 * a fit has one, the noise study of boundarydpt_plus.h hundreds. */
typedef struct bdpti_map_job {
  size_t count, sets;
  int degree, rank;   /* under way */
  size_t terms;       /* of that degree */
  bdpt_map *maps;     /* [sets]  the results */
  double *y;          /* [sets][count]  accuracies */
  double *x;          /* [count][terms]  rows of the design */
  double *a;          /* [terms][count + terms]  what is decomposed; afterwards free */
  double *inverse;    /* [terms][count] */
} bdpti_map_job;

/* Decomposes the design without the points i and j; i = j = count hides none. Returns the rank. */
BDPTI_HOT int bdpti_map_without(const bdpti_map_job *job, size_t i, size_t j) {
  size_t n = job->count, terms = job->terms, k, r;
  double *at = job->a; /* column k */
  for (k = 0; k < terms; k++, at += n + terms) {
    for (r = 0; r < n; r++) at[r] = r == i || r == j ? 0.0 : job->x[r * terms + k];
  }
  return bdpti_pseudo_inverse(job->a, n, terms, 1e-9, job->inverse);
}

/* Adds the error at the hidden point h, which is weight . y, to every set's sums. */
BDPTI_HOT void bdpti_map_hidden(const bdpti_map_job *job, size_t h) {
  size_t n = job->count, terms = job->terms, k, r, t;
  double errors = (double)n * (double)(n - 1), *weight = job->a, e; /* weight[n] */
  int d = job->degree;
  for (r = 0; r < n; r++) {
    weight[r] = r == h ? -1.0 : 0.0;
    for (k = 0; k < terms; k++) weight[r] += job->x[h * terms + k] * job->inverse[k * n + r];
  }
  for (t = 0; t < job->sets; t++) {
    e = bdpti_dot64(weight, job->y + t * n, n);
    job->maps[t].cv_rmse[d] += e * e / errors; /* the root follows */
    job->maps[t].cv_mae[d] += fabs(e) / errors;
  }
}

/* Keeps the degree's surface for one set, unless a lower degree did as well. */
BDPTI_FN void bdpti_map_accept(const bdpti_map_job *job, const double *y, bdpt_map *m) {
  size_t n = job->count, terms = job->terms, r, k;
  int d = job->degree;
  m->cv_rmse[d] = sqrt(m->cv_rmse[d]);
  if (m->degree && !(m->cv_rmse[d] < m->cv_rmse[m->degree])) return;
  m->degree = d; m->terms = (int)terms; m->rank = job->rank; m->fit_rmse = m->fit_mae = 0.0;
  for (k = 0; k < terms; k++) m->theta[k] = bdpti_dot64(job->inverse + k * n, y, n);
  for (r = 0; r < n; r++) {
    double e = bdpti_dot64(m->theta, job->x + r * terms, terms) - y[r];
    m->fit_rmse += e * e / (double)n; m->fit_mae += fabs(e) / (double)n;
  }
  m->fit_rmse = sqrt(m->fit_rmse);
}

BDPTI_FN void bdpti_map_try(bdpti_map_job *job, const bdpt_map_point *points, int degree) {
  int terms = (degree + 1) * (degree + 2) / 2;
  size_t n = job->count, i, j, t;
  job->degree = degree; job->terms = (size_t)terms;
  for (i = 0; i < n; i++) {
    bdpti_map_row(terms, points[i].attention, points[i].activation, job->x + i * job->terms);
  }
  for (t = 0; t < job->sets; t++) job->maps[t].cv_rmse[degree] = job->maps[t].cv_mae[degree] = 0;
  for (i = 0; i < n; i++) {
    for (j = i + 1; j < n; j++) {
      bdpti_map_without(job, i, j);
      bdpti_map_hidden(job, i);
      bdpti_map_hidden(job, j);
    }
  }
  job->rank = bdpti_map_without(job, n, n); /* now with every point */
  for (t = 0; t < job->sets; t++) bdpti_map_accept(job, job->y + t * n, &job->maps[t]);
}

/* Takes the points' accuracies over, after checking that each set has the ratios of the first: one
 * above 1 is a count, and a NaN would win every comparison. */
BDPTI_FN bdpt_status bdpti_map_take(bdpt_context *ctx, const bdpti_map_job *job,
                                    const bdpt_map_point *points) {
  size_t i, all = job->count * job->sets;
  int d;
  for (i = 0; i < all; i++) {
    const bdpt_map_point *p = &points[i], *first = &points[i % job->count];
    int ratios = p->attention >= 0 && p->attention <= 1 && p->activation >= 0 &&
                 p->activation <= 1 && p->attention == first->attention &&
                 p->activation == first->activation;
    job->y[i] = p->accuracy;
    if (ratios && fabs(p->accuracy) < 1e300) continue; /* its square would overflow */
    return bdpt_fail(ctx, ratios ? BDPT_E_NUMERIC : BDPT_E_ARGUMENT, "map: point %zu: one of the "
                     "ratios (%g, %g) is not in 0 to 1, or not that of the first set, or the "
                     "accuracy is %g", i, p->attention, p->activation, p->accuracy);
  }
  memset(job->maps, 0, job->sets * sizeof *job->maps);
  for (i = 0; i < job->sets; i++) {
    for (d = 0; d <= BDPTI_MAP_DEGREE; d++) {
      job->maps[i].cv_rmse[d] = job->maps[i].cv_mae[d] = (double)NAN; /* not tried */
    }
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_map_fit(bdpt_context *ctx, const bdpt_map_point *points, size_t count,
                                  size_t sets, int degree, bdpt_map *maps) {
  const size_t most = BDPT_MAP_TERMS, column = count * sizeof(double); /* column: bytes */
  bdpti_arena a = {ctx, NULL, 0};
  bdpt_status status = BDPT_OK;
  bdpti_map_job job;
  int d, high = degree ? degree : BDPTI_MAP_DEGREE;
  if (degree < 0 || degree > BDPTI_MAP_DEGREE || count < 3) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "map: %zu point%s, degree %d; it takes 3 points to "
                     "leave two out, and degrees end at %d", count, bdpti_s(count), degree,
                     BDPTI_MAP_DEGREE);
  }
  job.count = count; job.sets = sets; job.maps = maps;
  job.y = (double *)bdpti_array(&a, sets, column);
  job.x = (double *)bdpti_array(&a, count, most * sizeof *job.x);
  job.inverse = (double *)bdpti_array(&a, most, column);
  job.a = (double *)bdpti_array(&a, most, column + most * sizeof *job.a);
  if (!job.y || !job.x || !job.inverse || !job.a) status = ctx->status;
  if (!status) status = bdpti_map_take(ctx, &job, points);
  for (d = degree ? degree : 1; status == BDPT_OK && d <= high; d++) {
    bdpti_map_try(&job, points, d);
  }
  bdpti_arena_free(&a);
  return status;
}

/* The budget counts layers removed; the paper's k at times those kept. */
BDPT_API bdpt_status bdpt_map_split(bdpt_context *ctx, const bdpt_map *map, int depth, int budget,
                                    int *attention, int *activation, double *predicted) {
  int a, from = budget > depth ? budget - depth : 0; /* no more than L activations can go */
  double best = 0.0; /* P there, per cent */
  if (depth < 1 || depth > BDPT_MAX_DEPTH || budget < 0 || budget > 2 * depth) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "map: cannot remove %d layers of the %d that %d "
                     "block%s", budget, 2 * depth, depth, depth == 1 ? " has" : "s have");
  }
  for (a = from; a <= depth && a <= budget; a++) {
    double p = bdpt_map_predict(map, (double)(depth - a) / depth,
                                (double)(depth - budget + a) / depth);
    if (a > from && !(p > best)) continue;
    best = p; *attention = a; *activation = budget - a;
  }
  if (predicted) *predicted = best;
  return BDPT_OK;
}

/* =================================================================================================
 * 11  THE METHOD                                                                           >>method
 * =================================================================================================
 * Which layers of a trained network can go, how are they found, and how does the accuracy return?
 * Everything so far was machinery; this chapter is the argument.
 *
 * To remove the least important of all 2L layers fails twice, as boundarydpt_studies.h shows: the
 * gradients by which importance would be learned differ between the types by a factor of 409
 * (published; 5.1 here) for reasons of size, and the accuracy lost at once ranks layers otherwise
 * than the accuracy after recovery does. So the paper measures the recovered accuracy of a few
 * pruned networks, interpolates (chapter 10), and learns importance within each type: its stage 1,
 * in boundarydpt_studies.h. Here a better choice takes its place and trains nothing: trying every
 * layer with the best map in its stead (11.2). Then the network trains on with the dense one as
 * teacher (8.3), and the linears that lost the activation between them are fused (9.2).
 * `bdpt_stage2` there is that in one call, with a certificate of what fusing changed. */

/* From >>checkpoint and >>io. */
BDPTI_FN int bdpti_words_read(const bdpt_safetensors *f, const char *name, void *out, size_t n);
BDPTI_FN bdpt_status bdpti_file_get(bdpt_context *ctx, const char *path, int must, bdpt_bytes *out);
BDPTI_FN bdpt_status bdpti_trainer_file(bdpt_trainer *t, const char *path, int save);

/* 11.1  Long calls                                                                        >>studies
 *
 * The calls of this chapter run for minutes to days. Each reports progress, can be stopped at any
 * step, and continues from a file to the same bits. A study holds what they share: a copy of the
 * network, the training under way, and a journal of measured numbers.
 *
 * Resuming is replaying. The call runs from its beginning, structure changes included, but a number
 * that is in the journal is read instead of measured, and a training that was over is skipped. The
 * training under way is filled from the file, and from there on the call works. So no call has code
 * of its own for resuming. After the first error every later step of a plan does nothing.
 *
 * The file is the trainer's checkpoint (12.9) with the journal as its log: a key, the ordinal of
 * the training, a number of the call's own, and the list. The trainer refuses another recipe,
 * structure or training subset; the key is a hash of what else decides the result. A file of
 * another experiment is refused, neither continued nor replaced. */
#define BDPTI_JOURNAL_HEAD 3 /* key, training, carry */

BDPTI_HOT uint64_t bdpti_hash_bytes(uint64_t h, const void *bytes, size_t size) {
  const unsigned char *p = (const unsigned char *)bytes;
  while (size-- > 0) h = bdpti_mix64(h + *p++ + 1);
  return h;
}

/* Digests the weights, and with them the importance scalars if those train. */
BDPTI_FN uint64_t bdpti_digest_weights(const bdpt_model *m, int importance) {
  char hash[17];
  uint64_t h;
  bdpt_model_hash(m, hash); /* 16 hex digits and the zero */
  h = bdpti_hash_bytes(0, hash, sizeof hash);
  if (!importance) return h;
  return bdpti_hash_bytes(h, m->importance_data[0], sizeof m->importance_data[0]);
}

/* Takes what the file holds, if there is one and its key is ours. */
BDPTI_FN void bdpti_study_load(bdpt_study *s, uint64_t key) {
  const bdpt_file_tensor *log;
  bdpt_safetensors f;
  bdpt_bytes file;
  s->status = bdpti_file_get(s->ctx, s->path, 0, &file);
  if (s->status || !file.data) return; /* nothing was saved */
  s->status = bdpt_safetensors_parse(s->ctx, file.data, file.size, s->path, &f);
  log = bdpt_safetensors_find(&f, "train.log");
  if (log && log->count / 8 <= s->room) s->count = log->count / 8;
  if (!s->status && (!log || !bdpti_words_read(&f, "train.log", s->word, s->count))) {
    s->status = bdpt_fail(s->ctx, BDPT_E_FORMAT, "%s does not hold a %s", s->path, s->now.phase);
  } else if (!s->status && (s->count < s->next || memcmp(s->word, &key, sizeof key) != 0)) {
    s->status = bdpt_fail(s->ctx, BDPT_E_STATE, "%s was saved by a %s of another network, with "
                          "other images or other options; delete it or name another checkpoint",
                          s->path, s->now.phase);
  }
  s->reached = s->word[1];
  bdpt_safetensors_close(&f);
  bdpt_bytes_free(s->ctx, &file);
}

BDPT_API void bdpt_study_open(bdpt_study *s, const bdpt_model *model, const bdpt_run *run,
                              const char *phase, const void *options, size_t bytes, size_t room) {
  const bdpt_progress now = {phase, s->detail, 0, 0, "images", 0, (double)NAN};
  uint64_t key;
  memset(s, 0, sizeof *s);
  s->ctx = model->ctx;
  s->model = model;
  s->train = run->train;
  s->held = run->held;
  s->now = now;
  s->start = BDPT_START_PAPER; /* until a call that removes says otherwise */
  if (run->hooks) s->hooks = *run->hooks;
  if (s->hooks.checkpoint) {
    bdpt_format(s->path, BDPT_MAX_PATH, "%s.%s", s->hooks.checkpoint, phase);
  }
  key = bdpti_hash_bytes(bdpti_digest_weights(model, 0), phase, strlen(phase));
  key = bdpti_hash_bytes(key, model->importance_data[0], sizeof model->importance_data[0]);
  if (s->train) key = bdpti_hash_bytes(key, s->train->index, s->train->count * sizeof(size_t));
  if (s->held) key = bdpti_hash_bytes(key, s->held->index, s->held->count * sizeof(size_t));
  key = bdpti_hash_bytes(key, options, bytes);
  s->room = room + BDPTI_JOURNAL_HEAD;
  s->count = s->next = BDPTI_JOURNAL_HEAD;
  s->word = (double *)bdpt_alloc(s->ctx, s->room * sizeof *s->word);
  if (!s->word) s->status = s->ctx->status;
  else if (s->path[0]) bdpti_study_load(s, key);
  if (!s->word) return;
  memcpy(s->word, &key, sizeof key);
  s->word[1] = 0.0;
  if (!s->train || !s->held) {
    s->status = bdpt_fail(s->ctx, BDPT_E_ARGUMENT, "%s: no data set", phase);
  }
}

BDPT_API bdpt_status bdpt_study_close(bdpt_study *s) {
  bdpt_trainer_free(s->trainer);
  bdpt_model_free(s->work);
  bdpt_release(s->ctx, s->word, s->room * sizeof *s->word);
  return s->status;
}

/* Returns 1 where nothing has failed and the call finds what another one makes. */
BDPTI_FN int bdpti_study_wants(bdpt_study *s, const void *part, const char *first) {
  if (!s->status && !part) {
    s->status = bdpt_fail(s->ctx, BDPT_E_STATE, "%s: bdpt_study_%s first", s->now.phase, first);
  }
  return !s->status;
}

BDPT_API int bdpt_study_knows(const bdpt_study *s) { return s->next < s->count; }

BDPT_API void bdpt_study_record(bdpt_study *s, double *x) {
  if (!s->status && s->next == s->room) bdpti_study_wants(s, NULL, "open with more room");
  if (s->status) return;
  if (bdpt_study_knows(s)) *x = s->word[s->next];
  else s->word[s->count++] = *x;
  s->next++;
}

/* Ends the training under way: with averaged weights, those are what the next one inherits. */
BDPT_API void bdpt_study_end(bdpt_study *s) {
  if (s->trainer) bdpt_trainer_swap_ema(s->trainer);
  bdpt_trainer_free(s->trainer);
  s->trainer = NULL;
}

BDPT_API void bdpt_study_copy(bdpt_study *s) {
  bdpt_study_end(s);
  if (s->status) return;
  bdpt_model_free(s->work);
  s->work = bdpt_model_clone(s->model);
  s->status = s->work ? bdpti_start_form(s->work, s->start) : s->ctx->status;
}

/* Removes a layer; the caller's start says what takes its place. DEVIATION: in the paper that is
 * the identity, here it may be a map (9.4), fitted to the training images and to the network as it
 * is at this moment. If a file brings the weights, only their place is made. */
BDPT_API void bdpt_study_remove(bdpt_study *s, bdpt_type type, int layer) {
  if (!bdpti_study_wants(s, s->work, "copy")) return;
  bdpt_format(s->detail, sizeof s->detail, "remove %s %d", bdpt_type_name(type), layer);
  if (bdpt_start_fits(s->start, type) && s->word[1] < s->reached) {
    s->status = bdpti_fit_room(s->work, type, layer) ? BDPT_OK : s->ctx->status;
  } else {
    bdpt_layers one = {{0, 0}};
    bdpt_layers_add(&one, type, layer);
    s->status = bdpt_remove(s->work, &one, s->start, s->train, NULL);
  }
}

/* Begins the next training of s->work, which has its structure by now. */
BDPT_API void bdpt_study_begin(bdpt_study *s, const bdpt_recipe *recipe) {
  bdpt_study_end(s);
  if (!bdpti_study_wants(s, s->work, "copy")) return;
  s->trainer = bdpt_trainer_create(s->work, NULL, s->train, recipe);
  if (!s->trainer) s->status = s->ctx->status;
  if (!s->trainer) return;
  s->word[1] += 1.0;
  if (s->word[1] == s->reached) s->status = bdpti_trainer_file(s->trainer, s->path, 0);
  s->trainer->log = s->word;
  s->before += s->epochs;
  s->epochs = recipe->epochs;
  s->images = (double)(recipe->epoch_images ? recipe->epoch_images : s->train->count);
  s->per_epoch = bdpt_trainer_steps_per_epoch(s->trainer);
  s->saved = bdpt_trainer_steps_done(s->trainer);
}

/* Saves the training with the journal, or the journal of a call that trains nothing. */
BDPT_API void bdpt_study_save(bdpt_study *s) {
  const bdpt_write_tensor w = {"train.log", BDPT_U8, 1, {8 * s->count, 0, 0, 0}, s->word, 1};
  bdpt_bytes file = {NULL, 0};
  if (s->status || !s->path[0]) return;
  if (s->trainer) {
    s->saved = bdpt_trainer_steps_done(s->trainer);
    s->trainer->words = s->count;
    s->status = bdpti_trainer_file(s->trainer, s->path, 1);
    return;
  }
  s->status = bdpt_safetensors_build(s->ctx, &w, 1, NULL, NULL, 0, &file);
  if (!s->status) s->status = bdpt_file_write(s->ctx, s->path, file.data, file.size);
  bdpt_bytes_free(s->ctx, &file);
}

/* Progress counts training images; measurements lie evenly among them, so the time left can be
 * estimated from it. boundarydpt_studies.h trains and measures so. */
BDPT_API void bdpt_study_report(bdpt_study *s, double loss, int keep) {
  double each = s->images / (double)s->per_epoch, step;
  int stop;
  if (s->status) return;
  step = (double)bdpt_trainer_steps_done(s->trainer);
  s->now.done = (size_t)(s->before * s->images + step * each);
  s->now.total = (size_t)(s->total * s->images);
  s->now.loss = loss;
  stop = s->hooks.progress && s->hooks.progress(&s->now, s->hooks.user);
  stop = bdpti_cluster_any(s->ctx, stop);
  if (keep || stop || step - (double)s->saved >= (double)s->per_epoch) bdpt_study_save(s);
  if (stop && !s->status) s->status = BDPT_CANCELLED;
}

/* 11.2  Which ones: trying each, with the best map in its place                           >>greedy
 *
 *   step      for every layer that is left: fit its map (9.4) to the network as it is, put it in,
 *             measure the loss on images that choose; the smallest loss goes; all maps fitted again
 *   source    DEVIATION: not in the paper, whose layers are learned and counted (chapter 10)
 *   check     tests/test_method.c greedy_by_hand, greedy_budgets, resumes
 *
 * With the identity in their place all activations look alike, at chance. With the best map there
 * each layer shows what it is worth, and the two types stand on one scale, that of the loss, so
 * that nothing has to be split between them in advance. One choice of ten layers of DeiT-Tiny sends
 * about 300,000 images forward, none back.
 *
 * A greedy choice never takes a layer back, but it sees what went before: all maps are fitted anew
 * in forward order after each step. The loss decides, not the accuracy, which moves in steps of one
 * image. Report on other images: those flatter it. */
BDPTI_FN double bdpti_greedy_cost(const bdpt_study *s, const bdpt_layers *gone) {
  const int fits = bdpt_start_fits(s->start, BDPT_ATTENTION);
  bdpt_config c = s->model->config;
  bdpt_cost_report cost;
  int l;
  for (l = 0; l < c.depth; l++) {
    bdpt_block *b = &c.block[l];
    if (bdpt_layers_has(gone, BDPT_ACTIVATION, l)) b->mlp_state = BDPT_MLP_FITTED;
    if (b->mlp_state == BDPT_MLP_LINEAR) b->mlp_state = BDPT_MLP_FUSED; /* it costs as much */
    if (!bdpt_layers_has(gone, BDPT_ATTENTION, l)) continue;
    b->attention = fits ? BDPT_ATTENTION_FITTED : BDPT_ATTENTION_REMOVED;
  }
  bdpt_cost(s->ctx, &c, &cost);
  return cost.macs;
}

/* Makes s->work the network without the layers that are gone. */
BDPTI_FN void bdpti_greedy_build(bdpt_study *s, const bdpt_layers *gone) {
  bdpt_study_copy(s);
  if (!s->status) s->status = bdpt_remove(s->work, gone, s->start, s->train, NULL);
}

/* Takes the layer out of a copy and judges that. Returns how many images it took. */
BDPTI_FN size_t bdpti_greedy_try(bdpt_study *s, bdpt_layer a, const bdpt_subset *chosen,
                                 bdpt_accuracy *out) {
  bdpt_model *trial = s->status ? NULL : bdpt_model_clone(s->work);
  bdpt_fit_report r = {0, 0, 0, 0, 0};
  bdpt_layers one = {{0, 0}};
  bdpt_layers_add(&one, a.type, a.block);
  if (!trial) s->status = s->ctx->status;
  else s->status = bdpt_remove(trial, &one, s->start, s->train, &r);
  if (!s->status) s->status = bdpt_evaluate(trial, chosen, out);
  bdpt_model_free(trial);
  return out->count + r.images + r.held;
}

/* Tries all that may go. best: the layer, its loss and accuracy; a negative block if none may. */
BDPTI_FN void bdpti_greedy_step(bdpt_study *s, const bdpt_greedy_options *o,
                                const bdpt_subset *chosen, bdpt_greedy_result *out) {
  int i, n = out->removed, kept = bdpti_kept_count(s->model), stop;
  bdpt_accuracy a = {0, 0, 0, 0};
  out->layer[n].block = -1;
  s->now.done = (size_t)(n * kept - n * (n - 1) / 2); /* trials of the steps before */
  for (i = 0; i < 2 * s->model->config.depth && !s->status; i++) {
    bdpt_layer at = bdpti_layer_at(i);
    int gone = bdpt_removed(&s->work->config, at.type), most = o->most[at.type];
    if (!bdpti_kept(&s->work->config, at.type, at.block)) continue;
    s->now.done++;
    if (most && gone >= most) continue;
    bdpt_format(s->detail, sizeof s->detail, "removal %d: without %s %d", n + 1,
                 bdpt_type_name(at.type), at.block);
    stop = s->hooks.progress && s->hooks.progress(&s->now, s->hooks.user);
    if (bdpti_cluster_any(s->ctx, stop)) s->status = BDPT_CANCELLED;
    if (s->status) return;
    out->images += (double)bdpti_greedy_try(s, at, chosen, &a);
    if (s->status || (out->layer[n].block >= 0 && !(a.loss < out->loss[n]))) continue;
    out->layer[n] = at;
    out->loss[n] = s->now.loss = a.loss;
    out->accuracy[n] = s->now.accuracy = a.top1;
  }
}

/* What a step has found goes into the journal, or comes out of it, and the layer into `gone`. */
BDPTI_FN void bdpti_greedy_record(bdpt_study *s, bdpt_layers *gone, bdpt_greedy_result *out) {
  int n = out->removed, known = bdpt_study_knows(s);
  double layer = 2.0 * out->layer[n].block + (double)out->layer[n].type;
  bdpt_study_record(s, &layer);
  bdpt_study_record(s, &out->loss[n]);
  bdpt_study_record(s, &out->accuracy[n]);
  bdpt_study_record(s, &out->images);
  if (!s->status && !(layer >= 0 && layer < 2.0 * s->model->config.depth)) {
    s->status = bdpt_fail(s->ctx, known ? BDPT_E_FORMAT : BDPT_E_ARGUMENT, "greedy: %d layer%s "
                          "gone, and no other may go", n, bdpti_s((size_t)n));
  }
  if (s->status) return;
  out->layer[n] = bdpti_layer_at((int)layer);
  bdpt_layers_add(gone, out->layer[n].type, out->layer[n].block);
  out->removed++;
  if (!known) bdpt_study_save(s);
}

BDPT_API bdpt_status bdpt_greedy(bdpt_model *model, const bdpt_run *run,
                                 const bdpt_greedy_options *o, bdpt_greedy_result *out) {
  int kept = bdpti_kept_count(model), most = o->layers ? o->layers : kept;
  size_t images = o->images;
  bdpt_layers gone = {{0, 0}};
  bdpt_subset chosen = {NULL, NULL, 0};
  bdpt_study s;
  memset(out, 0, sizeof *out);
  if (most < 0 || most > kept || o->budget < 0 || (!o->layers && !(o->budget > 0))) {
    return bdpt_fail(model->ctx, BDPT_E_ARGUMENT, "greedy: %d layer%s and a cost of %g are no "
                     "budget of %d", o->layers, bdpti_s((size_t)o->layers), o->budget, kept);
  }
  bdpt_study_open(&s, model, run, "greedy", &o->budget,
                  BDPT_THROUGH(bdpt_greedy_options, budget, start), 4 * (size_t)most);
  s.start = o->start;
  s.now.unit = "trials";
  s.now.total = (size_t)(most * kept - most * (most - 1) / 2);
  if (images == 0 && s.held) images = s.held->count < 1000 ? s.held->count : 1000;
  if (!s.status) s.status = bdpt_sample(s.ctx, s.held, images, 1, &chosen);
  while (!s.status) {
    const double cost = bdpti_greedy_cost(&s, &gone);
    if (out->removed) out->cost[out->removed - 1] = cost;
    if (out->removed == most || cost <= o->budget) break;
    if (!bdpt_study_knows(&s)) {
      bdpti_greedy_build(&s, &gone);
      bdpti_greedy_step(&s, o, &chosen, out);
    }
    bdpti_greedy_record(&s, &gone, out);
  }
  bdpti_greedy_build(&s, &gone);
  if (!s.status) s.status = bdpt_model_assign(model, s.work);
  bdpt_subset_free(s.ctx, &chosen);
  return bdpt_study_close(&s);
}

/* =================================================================================================
 * 12  DATA AND LONG RUNS                                                                     >>data
 * =================================================================================================
 * Where do images come from, and how does a run survive being cut off? Images are chosen (12.1),
 * resized and augmented (12.2 to 12.5), trainers made and shared out (12.6, 12.7), answers judged
 * (12.8), runs saved (12.9, 12.10).
 */

/* 12.1  Choosing images                                                                  >>subset
 *
 * Accuracy that selects something (a layer to remove, an epoch to keep) must come from images that
 * no weight was fitted to, and the final accuracy from images that selected nothing. So a data set
 * is divided first: `rest` trains, `held` decides, the test file is read once at the end.
 *
 * Both divisions below treat every class alike. Visit the images in a shuffled order and number
 * those of each class 0, 1, 2, ...: an image's rank. Classes a b a a b have the ranks 0 0 1 2 1.
 * The split holds back the ranks below per_class. The sample sorts by rank, here a b, a b, a: the
 * beginning of that list is as balanced as its length allows, and a smaller sample is always the
 * beginning of a larger one of the same seed.
 */
BDPTI_FN size_t bdpti_image_bytes(const bdpt_dataset *d) {
  return (size_t)3 * (size_t)d->height * (size_t)d->width; /* [3,h,w] */
}

BDPT_API void bdpt_dataset_free(bdpt_context *ctx, bdpt_dataset *d) {
  bdpt_release(ctx, d->pixels, d->count * bdpti_image_bytes(d));
  bdpt_release(ctx, d->label, d->count * sizeof *d->label);
  memset(d, 0, sizeof *d);
}

BDPTI_FN bdpt_status bdpti_subset_make(bdpt_context *ctx, const bdpt_dataset *data, size_t count,
                                       bdpt_subset *out) {
  size_t bytes = SIZE_MAX; /* stays after an overflow, and is refused */
  bdpti_mul(count, sizeof *out->index, &bytes);
  out->index = (size_t *)bdpt_alloc(ctx, bytes);
  out->count = out->index ? count : 0; /* 0: there is nothing to free */
  out->data = data; /* borrowed */
  return out->index ? BDPT_OK : ctx->status;
}

BDPT_API void bdpt_subset_free(bdpt_context *ctx, bdpt_subset *s) {
  bdpt_release(ctx, s->index, s->count * sizeof *s->index);
  memset(s, 0, sizeof *s);
}

BDPT_API bdpt_status bdpt_subset_all(bdpt_context *ctx, const bdpt_dataset *d, bdpt_subset *out) {
  bdpt_status status = bdpti_subset_make(ctx, d, d->count, out);
  size_t i;
  for (i = 0; i < out->count; i++) out->index[i] = i; /* in the order of the file */
  return status;
}

/* A caller's own data set may hold anything, so indices and labels are checked before use. */
BDPTI_FN bdpt_status bdpti_subset_check(bdpt_context *ctx, const bdpt_dataset *data,
                                        const size_t *index, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) {
    size_t at = index ? index[i] : i; /* without a list, image i itself */
    if (at >= data->count) {
      return bdpt_fail(ctx, BDPT_E_ARGUMENT, "image %zu of a data set of %zu", at, data->count);
    }
    if (data->label[at] < data->classes) continue; /* a class that there is */
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "image %zu: label %d is not below %d, the number of "
                     "classes", at, (int)data->label[at], data->classes);
  }
  return BDPT_OK;
}

/* Makes the workspace: order[n], the positions shuffled; rank[n], by position; n + 1 zeros;
 * seen[classes], the size of each class. index NULL: all images. NULL on failure. */
BDPTI_HOT size_t *bdpti_ranks(bdpt_context *ctx, const bdpt_dataset *data, const size_t *index,
                             size_t n, bdpt_rng r) {
  size_t bytes = SIZE_MAX, words, *order, i;
  if (bdpti_subset_check(ctx, data, index, n) != BDPT_OK) return NULL;
  if (bdpti_add(n, (size_t)data->classes + 1, &words)) bdpti_mul(words, 3 * sizeof *order, &bytes);
  order = (size_t *)bdpti_scratch(ctx, bytes); /* valid until the next kernel runs */
  if (!order) return NULL;
  memset(order, 0, bytes); /* the counts begin at 0 */
  for (i = 0; i < n; i++) order[i] = i; /* the identity, to be shuffled */
  bdpti_shuffle(order, n, &r);
  for (i = 0; i < n; i++) {
    size_t at = order[i], *seen = order + 3 * n + 1; /* seen: the size of each class */
    order[n + at] = seen[data->label[index ? index[at] : at]]++;
  }
  return order;
}

BDPT_API bdpt_status bdpt_split(bdpt_context *ctx, const bdpt_dataset *data, int per_class,
                                uint64_t seed, bdpt_subset *rest, bdpt_subset *held) {
  size_t *order, i, n = data->count, want, r = 0, h = 0, each = (size_t)per_class;
  memset(rest, 0, sizeof *rest); /* so that both can be freed after an error */
  memset(held, 0, sizeof *held);
  if (per_class < 0) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "split: %d per class", per_class);
  order = bdpti_ranks(ctx, data, NULL, n, bdpti_draws(seed, BDPTI_DRAW_SPLIT, 0, 0));
  for (i = 0; order && i < (size_t)data->classes; i++) {
    size_t seen = order[3 * n + 1 + i]; /* the images of class i */
    if (seen >= each) continue; /* enough to hold back */
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "split: class %zu has %zu image%s, %d wanted", i, seen,
                     bdpti_s(seen), per_class);
  }
  want = each * (size_t)data->classes; /* every class has `each`, so this is at most n */
  if (!order || bdpti_subset_make(ctx, data, n - want, rest) != BDPT_OK ||
      bdpti_subset_make(ctx, data, want, held) != BDPT_OK) {
    bdpt_subset_free(ctx, rest); /* `held` has nothing to free */
    return ctx->status;
  }
  for (i = 0; i < n; i++) { /* by rank within its class; both lists stay in the order of the file */
    if (order[n + i] < each) held->index[h++] = i; /* the first `each` of its class */
    else rest->index[r++] = i;
  }
  return BDPT_OK;
}

/* The sort is a counting sort, which leaves equal ranks in the shuffled order. */
BDPT_API bdpt_status bdpt_sample(bdpt_context *ctx, const bdpt_subset *from, size_t count,
                                 uint64_t seed, bdpt_subset *out) {
  bdpt_rng r = bdpti_draws(seed, BDPTI_DRAW_SAMPLE, 0, 0);
  size_t *order, *rank, *start, i, n = from->count;
  memset(out, 0, sizeof *out);
  if (count > n) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "sample: %zu of %zu images", count, n);
  order = bdpti_ranks(ctx, from->data, from->index, n, r);
  if (!order || bdpti_subset_make(ctx, from->data, count, out) != BDPT_OK) return ctx->status;
  rank = order + n;
  start = rank + n; /* [n + 1]: how many images have a smaller rank */
  for (i = 0; i < n; i++) start[rank[i] + 1]++;
  for (i = 1; i <= n; i++) start[i] += start[i - 1]; /* now where each rank begins */
  for (i = 0; i < n; i++) {
    size_t place = start[rank[order[i]]]++; /* the next free one of its rank */
    if (place < count) out->index[place] = from->index[order[i]]; /* the rest is not wanted */
  }
  return BDPT_OK;
}

#endif /* BDPT_ONLY_INFERENCE */

/* 12.2  Position embeddings at another size
 *
 *   math      out = R in R'^T per channel; each row of R and R' holds the cubic's weights
 *             k(t) = (a+2)|t|^3 - (a+3)|t|^2 + 1 for |t| <= 1, a|t|^3 - 5a|t|^2 + 8a|t| - 4a to 2
 *   source    Keys 1981; timm: a = -0.5, stretched by the scale when shrinking (antialiased);
 *             DeiT's own script: a = -0.75, four taps, borders repeated (PyTorch's plain bicubic)
 *   check     tests/test_model.c position_embeddings: both forms of PyTorch at three sizes
 *
 * A network for 224 pixels has 14 x 14 positions. For another image size the grid is resized like a
 * picture of D channels; the tokens before it (class, distillation) keep their positions.
 */
BDPTI_HOT double bdpti_cubic(double t, double a) {
  t = fabs(t); /* distance to the tap, in pixels of `in` */
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;       /* the two nearest taps */
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0; /* the next two, and none beyond */
}

/* Returns the weight of old pixel k in new pixel i of one axis; those of a new pixel sum to 1. */
BDPTI_HOT double bdpti_resize_weight(bdpt_pos_resize form, size_t in, size_t out, size_t i,
                                    size_t k) {
  double scale = (double)in / (double)out, a = form == BDPT_POS_DEIT ? -0.75 : -0.5;
  double stretch = form == BDPT_POS_TIMM && scale > 1 ? scale : 1; /* antialiased when shrinking */
  double centre = scale * ((double)i + 0.5), sum = 0, own = 0;     /* of pixel i, in old pixels */
  int at, last = (int)in - 1, border = form == BDPT_POS_DEIT ? 2 : 0; /* taps beyond the edge ... */
  for (at = -border; at <= last + border; at++) { /* a tap, centre at + 1/2 */
    double w = bdpti_cubic(((double)at + 0.5 - centre) / stretch, a);
    const int tap = at < 0 ? 0 : at;
    sum += w;
    if ((tap < last ? tap : last) == (int)k) own += w; /* ... go to the edge */
  }
  return own / sum;
}

/* An axis that keeps its size gets the unit matrix, which changes no bit. */
BDPT_API bdpt_status bdpt_model_resize(bdpt_model *m, int height, int width) {
  const bdpt_pos_resize form = m->config.pos_resize;
  size_t d = (size_t)m->config.width, prefix = (size_t)bdpt_prefix_count(&m->config) * d;
  const bdpt_real *old = m->param[BDPT_SLOT_POS].data;
  const size_t patch = (size_t)m->config.patch;
  const size_t from[2] = {(size_t)m->config.image / patch, /* patches down and across */
                          (size_t)bdpt_image_width(&m->config) / patch};
  size_t to[2] = {0, 0}, n = from[0] * from[1], at, c, i;
  bdpt_config wanted = m->config;
  bdpt_model *copy;
  double *share; /* [n] of each old token in a new one */
  wanted.image = height ? height : -1; /* 0 would ask for the default */
  wanted.image_width = width;
  copy = bdpt_model_reshape(m, &wanted);
  if (copy) to[0] = (size_t)copy->config.image / patch;
  if (copy) to[1] = (size_t)bdpt_image_width(&copy->config) / patch;
  share = copy ? (double *)bdpt_alloc(m->ctx, n * sizeof *share) : NULL;
  if (share) memcpy(copy->param[BDPT_SLOT_POS].data, old, prefix * sizeof *old); /* tokens */
  for (at = 0; share && at < to[0] * to[1]; at++) {
    bdpt_real *pos = copy->param[BDPT_SLOT_POS].data + prefix + at * d;
    for (i = 0; i < n; i++) {
      share[i] = bdpti_resize_weight(form, from[0], to[0], at / to[1], i / from[1]) *
                 bdpti_resize_weight(form, from[1], to[1], at % to[1], i % from[1]);
    }
    for (c = 0; c < d; c++) { /* each channel alone */
      double sum = 0;
      for (i = 0; i < n; i++) {
        if (share[i] != 0) sum += share[i] * (double)old[prefix + i * d + c]; /* most are 0 */
      }
      pos[c] = (bdpt_real)sum;
    }
  }
  bdpt_release(m->ctx, share, n * sizeof *share);
  return bdpti_model_end(m, copy, share ? BDPT_OK : m->ctx->status);
}

/* 12.3  Resizing bytes as Pillow does                                                    >>resize
 *
 *   math      out[o] = clip(round(sum_i w[o,i] in[i])),  w[o,i] = k((i - c + 1/2) / s) / K,
 *             c = (o + 1/2) in/out,  s = max(1, in/out),  k the cubic of 12.2, a = -1/2, K its sum
 *   shape     planes[C,H,W] -> [C,H,W'] -> [C,H',W']
 *   source    Pillow's Resample.c: weights with 22 fractional bits, each pass rounded to a byte
 *   check     tests/test_data.c resize_as_pillow: equal bytes for seven pairs of sizes
 *
 * DeiT's published weights saw images that Pillow had resized. A resize without antialiasing, or
 * one that keeps fractions between the two passes, differs by several grey levels at edges. In
 * fixed point the bytes are exactly Pillow's, whatever the compiler and the order of summation.
 *
 * DEVIATION: Pillow 13 takes the columns first where the height shrinks much more than the width.
 * The versions that prepared the published weights take rows first, and so do we.
 */
#define BDPTI_WEIGHT_BITS 22 /* of the fraction; with 8 bits of pixel a sum stays within an int */

typedef struct bdpti_side {
  int in, out; /* pixels */
  size_t taps; /* most input pixels that one output pixel needs */
  int *table;  /* [out][taps + 2]: first input position, how many follow, their weights */
} bdpti_side;

BDPTI_HOT bdpt_status bdpti_side_make(bdpti_arena *a, int in, int out, bdpti_side *s) {
  double scale = (double)in / out, wide = scale < 1.0 ? 1.0 : scale, one = 1 << BDPTI_WEIGHT_BITS;
  int o, i, *row;
  s->in = in; s->out = out;
  s->taps = (size_t)ceil(2.0 * wide) * 2 + 1; /* the cubic reaches 2 s to either side */
  row = s->table = (int *)bdpti_array(a, (size_t)out, (s->taps + 2) * sizeof(int));
  if (!row) return a->ctx->status; /* the allocator has said why */
  for (o = 0; o < out; o++, row += s->taps + 2) {
    double center = (o + 0.5) * scale, shrink = 1.0 / wide, sum = 0.0; /* c, 1 / s, K */
    int low = (int)(center - 2.0 * wide + 0.5), high = (int)(center + 2.0 * wide + 0.5);
    row[0] = low = low < 0 ? 0 : low; /* the first tap, inside the picture */
    row[1] = (high > in ? in : high) - low; /* how many taps there are */
    for (i = 0; i < row[1]; i++) sum += bdpti_cubic((i + low - center + 0.5) * shrink, -0.5);
    for (i = 0; i < row[1]; i++) {
      double w = bdpti_cubic((i + low - center + 0.5) * shrink, -0.5) / sum * one;
      row[2 + i] = (int)(w < 0 ? w - 0.5 : w + 0.5); /* fixed point, half away from zero */
    }
  }
  return BDPT_OK;
}

/* Prepares the two passes: side[0] across, side[1] down. */
BDPTI_FN bdpt_status bdpti_sides_make(bdpti_arena *a, int h, int w, int oh, int ow,
                                      bdpti_side side[2]) {
  if (h < 1 || w < 1 || oh < 1 || ow < 1 || (h | w | oh | ow) >= 1 << 20) {
    return bdpt_fail(a->ctx, BDPT_E_ARGUMENT, "resize: %d x %d to %d x %d: a side is not between "
                     "1 and 2^20", h, w, oh, ow);
  }
  if (bdpti_side_make(a, w, ow, &side[0]) != BDPT_OK) return a->ctx->status;
  return bdpti_side_make(a, h, oh, &side[1]); /* down */
}

/* Makes one pass along the middle axis: in[blocks,in,step] -> out[blocks,out,step]. Rows have step
 * 1, columns step W'. */
BDPTI_HOT void bdpti_side_pass(const bdpti_side *a, size_t blocks, size_t step,
                              const unsigned char *in, unsigned char *out) {
  size_t b, s;
  int o, i;
  if (a->in == a->out) memcpy(out, in, blocks * (size_t)a->in * step); /* nothing to resize */
  for (b = 0; b < blocks && a->in != a->out; b++, in += (size_t)a->in * step) {
    const int *row = a->table;
    for (o = 0; o < a->out; o++, out += step, row += a->taps + 2) { /* an output has a row */
      const unsigned char *from = in + (size_t)row[0] * step; /* the first byte that counts */
      for (s = 0; s < step; s++) { /* a byte of the row */
        int sum = 1 << (BDPTI_WEIGHT_BITS - 1); /* a half, so that the shift rounds */
        for (i = 0; i < row[1]; i++) sum += row[2 + i] * from[(size_t)i * step + s];
        sum = sum < 0 ? 0 : sum >> BDPTI_WEIGHT_BITS; /* clipped below, and the fraction dropped */
        out[s] = (unsigned char)(sum > 255 ? 255 : sum); /* clipped above */
      }
    }
  }
}

/* Pixels lie side by side here: three bytes are the step of a row, a whole row that of a column. */
BDPT_API bdpt_status bdpt_predict_rgb(bdpt_model *m, bdpt_tape *tape, const unsigned char *rgb,
                                      int h, int w, bdpt_real *logits) {
  const bdpt_config *c = &m->config;
  size_t s = (size_t)bdpt_image_width(c), plane = s * (size_t)c->image, half = 3 * s * (size_t)h, i;
  bdpti_arena a = {m->ctx, NULL, 0};
  bdpti_side side[2];
  unsigned char *bytes = NULL; /* [h,W,3], and [H,W,3] behind it */
  bdpt_real *x = (bdpt_real *)bdpti_array(&a, 3 * plane, sizeof *x); /* [3,H,W] */
  bdpt_status status = bdpti_sides_make(&a, h, w, c->image, (int)s, side);
  if (!status && c->channels == 3) bytes = (unsigned char *)bdpti_array(&a, half + 3 * plane, 1);
  else status = bdpt_fail(m->ctx, BDPT_E_SHAPE, "predict: the network reads no red, green, blue");
  if (x && bytes) {
    bdpti_side_pass(&side[0], (size_t)h, 3, rgb, bytes);
    bdpti_side_pass(&side[1], 1, 3 * s, bytes, bytes + half);
    for (i = 0; i < 3 * plane; i++) {
      double v = bytes[half + i] / 255.0 - c->mean[i % 3];
      x[i / 3 + i % 3 * plane] = (bdpt_real)(v / c->std[i % 3]);
    }
    status = bdpt_predict(m, tape, 1, x, logits);
  }
  bdpti_arena_free(&a);
  return x && bytes ? status : m->ctx->status;
}

#ifndef BDPT_ONLY_INFERENCE

/* 12.4  Augmenting one image                                                            >>augment
 *
 *   math      crop: out[y,x] = in[y + dy - p, x + dx - p], zero outside, dy, dx uniform in 0..2p;
 *             flip: x -> W - 1 - x with probability 1/2;
 *             erase: with probability q a rectangle of area a HW and aspect r becomes N(0,1) noise,
 *             a uniform in [0.02, 1/3], log r uniform in [log 0.3, -log 0.3]
 *   shape     planes[3,h,w] -> crop[3,h,w] -> resized[3,H,W] -> image[3,H,W], normalised
 *   source    Zhong et al., "Random erasing data augmentation", 2020, as timm, mode "pixel"
 *   check     tests/test_inside.c crop_and_flip, erasing, same_for_all_threads
 *
 * The crop and the flip happen on the bytes of the source image, before resizing, as torchvision
 * would on a CIFAR image; erasing happens last, in the normalised image, as in timm. A network that
 * never sees the same image twice must find what the versions have in common.
 *
 * A loader holds what does not depend on the image, and for each thread a workspace, in this
 * order: fetched [3,h,w], cropped [3,h,w], half-way [3,h,W], resized [3,H,W].
 */
typedef struct bdpti_loader {
  bdpti_arena arena;           /* owns what the pointers below point to, data and recipe apart */
  const bdpt_dataset *data;    /* borrowed */
  const bdpt_recipe *recipe;   /* how to augment; NULL: not at all, for evaluation */
  int threads;
  bdpti_side side[2];          /* across, down: to the W and H that the network wants */
  bdpt_real level[3][256];     /* byte -> normalised value */
  unsigned char *failed;       /* [images per call]: 1 where one could not be fetched */
  unsigned char *work;         /* [threads][each] */
  size_t each;                 /* bytes of one thread's workspace */
} bdpti_loader;

/* Checks that a network of this configuration can look at these images. */
BDPTI_FN bdpt_status bdpti_loader_check(bdpt_context *ctx, const bdpt_config *c,
                                        const bdpt_subset *s) {
  const bdpt_dataset *d = s ? s->data : NULL;
  if (!d || s->count == 0) return bdpt_fail(ctx, BDPT_E_ARGUMENT, "no data set, or an empty one");
  if (c->channels != 3) return bdpt_fail(ctx, BDPT_E_SHAPE, "images have 3 channels, the network "
                                         "reads %d", c->channels);
  if (d->classes > c->classes) { /* a label would have no logit */
    return bdpt_fail(ctx, BDPT_E_SHAPE, "the data set has %d classes, the network's head has %d",
                     d->classes, c->classes);
  }
  if (d->pixels || d->fetch) return bdpti_subset_check(ctx, d, s->index, s->count);
  return bdpt_fail(ctx, BDPT_E_ARGUMENT, "the data set has neither pixels nor a fetch function");
}

/* Makes a loader for `room` images per call. Its owner frees it, even if it could not be made. */
BDPTI_FN bdpt_status bdpti_loader_make(bdpt_context *ctx, const bdpt_config *config,
                                       const bdpt_subset *subset, size_t room, bdpti_loader *l) {
  const bdpt_dataset *d = subset ? subset->data : NULL;
  int i;
  memset(l, 0, sizeof *l);
  l->arena.ctx = ctx; l->data = d;
  l->threads = ctx->threads; /* each thread has a workspace */
  if (bdpti_loader_check(ctx, config, subset) != BDPT_OK ||
      bdpti_sides_make(&l->arena, d->height, d->width, config->image,
                       bdpt_image_width(config), l->side) != BDPT_OK) {
    return ctx->status;
  }
  for (i = 0; i < 3 * 256; i++) {
    double v = (i % 256 / 255.0 - config->mean[i / 256]) / config->std[i / 256];
    l->level[i / 256][i % 256] = (bdpt_real)v; /* of channel i / 256, byte i % 256 */
  }
  l->each = (size_t)3 * (size_t)l->side[0].out * (size_t)(d->height + config->image);
  l->each += 2 * bdpti_image_bytes(d); /* as said above */
  l->work = (unsigned char *)bdpti_array(&l->arena, (size_t)l->threads, l->each);
  l->failed = (unsigned char *)bdpti_array(&l->arena, room, 1); /* [room], by image */
  return l->work && l->failed ? BDPT_OK : ctx->status;
}

/* Crops in[3,h,w] to out[3,h,w], moved by `down` rows and `right` columns, with zeros outside. */
BDPTI_HOT void bdpti_crop_flip(const unsigned char *in, int h, int w, int down, int right, int flip,
                              unsigned char *out) {
  int i, x;
  for (i = 0; i < 3 * h; i++, out += w) { /* row i % h of plane i / h */
    const int y = i % h + down; /* the row of `in` */
    for (x = 0; x < w; x++) {
      int from = (flip ? w - 1 - x : x) + right; /* the column of `in` */
      int inside = y >= 0 && y < h && from >= 0 && from < w;
      out[x] = inside ? in[(size_t)(i - i % h + y) * (size_t)w + (size_t)from] : (unsigned char)0;
    }
  }
}

/* Erases one rectangle of image[3,high,wide], or none if ten attempts draw none that fits. */
BDPTI_HOT void bdpti_erase(bdpt_real *image, int high, int wide, bdpt_rng *r) {
  double area = (double)high * wide, log_least = log(0.3); /* of the least aspect, 0.3 */
  int attempt, i, k, y, x, h = high, w = wide; /* too large: nothing drawn yet */
  for (attempt = 0; attempt < 10 && (h >= high || w >= wide); attempt++) {
    double target = area * (0.02 + (1.0 / 3.0 - 0.02) * bdpt_uniform(r));
    double aspect = exp(log_least - 2.0 * log_least * bdpt_uniform(r)); /* height to width */
    h = (int)floor(sqrt(target * aspect) + 0.5); /* its height, rounded */
    w = (int)floor(sqrt(target / aspect) + 0.5); /* its width */
  }
  if (h >= high || w >= wide) return; /* none of the ten fitted */
  y = (int)bdpti_below(r, (size_t)(high - h) + 1); /* the corner is uniform */
  x = (int)bdpti_below(r, (size_t)(wide - w) + 1);
  for (i = 0; i < 3 * h; i++) { /* row i % h of the rectangle in channel i / h */
    bdpt_real *row = image + (size_t)(i / h * high + y + i % h) * (size_t)wide + (size_t)x;
    for (k = 0; k < w; k++) row[k] = (bdpt_real)bdpt_normal(r);
  }
}

/* Prepares one image, start to end; returns 0 if it cannot be fetched. All draws come from r. */
BDPTI_HOT int bdpti_load_one(const bdpti_loader *l, bdpt_rng r, size_t index, unsigned char *work,
                            bdpt_real *image) {
  const bdpt_dataset *d = l->data;
  const bdpt_recipe *recipe = l->recipe; /* NULL: evaluation, nothing is drawn */
  const int high = l->side[1].out, wide = l->side[0].out; /* H, W */
  size_t source = bdpti_image_bytes(d), plane = (size_t)high * (size_t)wide, i;
  unsigned char *cropped = work + source, *middle = cropped + source; /* [3,h,w], [3,h,W] */
  unsigned char *resized = middle + 3 * (size_t)d->height * (size_t)wide; /* [3,H,W] */
  const unsigned char *bytes = d->pixels ? d->pixels + index * source : work;
  if (!d->pixels && d->fetch(d->user, index, work) != 0) return 0; /* fills work[3,h,w] */
  if (recipe && d->change) {
    if (d->pixels) memcpy(work, bytes, source);
    d->change(d->user, &r, work);
    bytes = work;
  }
  if (recipe && (recipe->crop > 0 || recipe->flip)) {
    size_t offsets = (size_t)recipe->crop * 2 + 1; /* places of the window along one axis */
    int dy = (int)bdpti_below(&r, offsets) - recipe->crop;
    int dx = (int)bdpti_below(&r, offsets) - recipe->crop;
    int flip = recipe->flip && bdpt_uniform(&r) < 0.5;
    bdpti_crop_flip(bytes, d->height, d->width, dy, dx, flip, cropped);
    bytes = cropped; /* and these are resized */
  }
  bdpti_side_pass(&l->side[0], 3 * (size_t)d->height, 1, bytes, middle);
  bdpti_side_pass(&l->side[1], 3, (size_t)wide, middle, resized);
  for (i = 0; i < 3 * plane; i++) image[i] = l->level[i / plane][resized[i]];
  if (recipe && recipe->erase > 0 && bdpt_uniform(&r) < recipe->erase) {
    bdpti_erase(image, high, wide, &r);
  }
  return 1;
}

/* Loads the n images at positions position, ... of an epoch to images[n,3,H,W] and labels[n].
 * The threads take images in turn; the first failure in the order of the batch is reported. */
BDPTI_HOT bdpt_status bdpti_load(bdpti_loader *l, const size_t *index, size_t n, size_t epoch,
                                size_t position, bdpt_real *images, int *labels) {
  size_t i, each = (size_t)3 * (size_t)l->side[0].out * (size_t)l->side[1].out; /* 3 H W */
  uint64_t seed = l->recipe ? l->recipe->seed : 0; /* evaluation draws nothing */
  int worker; /* a loop over threads, so that each has its own workspace */
  BDPTI_OMP(omp parallel for num_threads(l->threads) schedule(static) private(i))
  for (worker = 0; worker < l->threads; worker++) {
    for (i = (size_t)worker; i < n; i += (size_t)l->threads) { /* every threads-th image */
      bdpt_rng r = bdpti_draws(seed, BDPTI_DRAW_IMAGE, epoch, position + i);
      l->failed[i] = !bdpti_load_one(l, r, index[i], l->work + (size_t)worker * l->each,
                                     images + i * each);
    }
  }
  for (i = 0; i < n; i++) {
    if (labels) labels[i] = (int)l->data->label[index[i]]; /* labels are wanted */
    if (!l->failed[i]) continue;
    return bdpt_fail(l->arena.ctx, BDPT_E_IO, "image %zu: the data set's fetch function failed",
                     index[i]);
  }
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_load_batch(bdpt_context *ctx, const bdpt_config *config,
                                     const bdpt_subset *subset, size_t first, size_t count,
                                     bdpt_real *images, int *labels) {
  bdpt_subset part = *subset; /* a copy, to be narrowed */
  bdpt_config resolved = *config; /* callers may bring one with zeros */
  bdpti_loader l;
  bdpt_status status = bdpt_config_resolve(ctx, &resolved);
  if (status != BDPT_OK) return status;
  if (first > subset->count || count > subset->count - first) { /* no sum that overflows */
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "%zu image%s from %zu on of a subset of %zu", count,
                     bdpti_s(count), first, subset->count);
  }
  part.index += first; part.count = count; /* a view: the subset keeps its list */
  if (!labels) resolved.classes = 1 << 20; /* any pictures do where no label is asked for */
  status = bdpti_loader_make(ctx, &resolved, &part, count, &l); /* for this one call */
  if (status == BDPT_OK) status = bdpti_load(&l, part.index, count, 0, 0, images, labels);
  bdpti_arena_free(&l.arena);
  return status;
}

/* 12.5  Mixing a batch                                                                    >>mixup
 *
 *   math      mixup: x_i <- lam x_i + (1 - lam) x_j,  j = B - 1 - i
 *             cutmix: a box of x_i <- the same box of x_j, lam <- 1 - |box| / HW
 *             target: lam s(y_i) + (1 - lam) s(y_j),  s(y) = 1 - e + e/K at y and e/K elsewhere
 *   shape     images[B,3,H,W] in place; labels[B] -> targets[B,K]
 *   source    Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019; pairing, one lambda for the
 *             batch, its correction where the border cuts the box, and smoothing as timm's Mixup
 *   check     tests/test_inside.c mixing_as_timm, mixed_targets
 *
 * With K = 4 and e = 0.2 an unmixed target is 0.85 at the label and 0.05 elsewhere; mixed at lam =
 * 0.75 it is 0.65 at the image's own label and 0.25 at its partner's.
 *
 * The box has sides floor(H sqrt(1 - lam)) and floor(W sqrt(1 - lam)) around a uniform centre.
 */
BDPTI_FN int bdpti_clamp(int v, int high) { /* to 0 .. high */
  if (v < 0) return 0;
  return v > high ? high : v; /* v itself in between */
}

typedef struct bdpti_mixing {
  double lam;           /* share of the image itself; 1: the batch is left alone */
  int cut;              /* 1: cutmix, and lam follows from the box */
  int y0, y1, x0, x1;   /* rows y0 .. y1 - 1 and columns x0 .. x1 - 1 of the box */
} bdpti_mixing;

BDPTI_FN void bdpti_cut_box(int h, int w, double lam, int cy, int cx, bdpti_mixing *m) {
  double ratio = sqrt(1.0 - lam); /* of the sides; 1 - lam is the area's share */
  int high = (int)(h * ratio), wide = (int)(w * ratio); /* sides of the box before it is cut off */
  m->y0 = bdpti_clamp(cy - high / 2, h); /* the box around (cy, cx), cut off at the border */
  m->y1 = bdpti_clamp(cy + (high + 1) / 2, h);
  m->x0 = bdpti_clamp(cx - wide / 2, w);
  m->x1 = bdpti_clamp(cx + (wide + 1) / 2, w);
  m->cut = 1;
  m->lam = 1.0 - (double)(m->y1 - m->y0) * (m->x1 - m->x0) / ((double)h * w);
}

/* Draws what happens to one batch of images of this size. */
BDPTI_FN bdpti_mixing bdpti_mix_draw(const bdpt_recipe *recipe, int h, int w, bdpt_rng *r) {
  bdpti_mixing m = {1.0, 0, 0, 0, 0, 0};
  int cut = recipe->cutmix > 0, mix = recipe->mixup > 0, cy;
  double alpha; /* both parameters of the Beta distribution */
  if ((!mix && !cut) || bdpt_uniform(r) >= recipe->mix_prob) return m; /* left alone */
  if (cut && mix) cut = bdpt_uniform(r) < recipe->switch_prob; /* one of the two */
  alpha = cut ? recipe->cutmix : recipe->mixup; /* of Beta(alpha, alpha) */
  m.lam = bdpti_beta(r, alpha, alpha); /* the share of the image itself */
  if (!cut) return m;
  cy = (int)bdpti_below(r, (size_t)h); /* drawn first: C leaves the order of arguments open */
  bdpti_cut_box(h, w, m.lam, cy, (int)bdpti_below(r, (size_t)w), &m);
  return m;
}

/* Both images of a pair are read before either is written: inside the box of a cutmix they change
 * places. In an odd batch the middle image is its own partner and is left alone. DEVIATION: timm
 * computes lam x + (1 - lam) x there, which may differ from x in the last bit. */
BDPTI_HOT void bdpti_mix_images(const bdpti_mixing *m, int threads, size_t n, size_t h, size_t w,
                               bdpt_real *images) {
  int i, pairs = m->lam < 1.0 ? (int)(n / 2) : 0; /* int: the loop index of OpenMP 2.0 is signed */
  BDPTI_OMP(omp parallel for num_threads(threads) schedule(static))
  for (i = 0; i < pairs; i++) {
    bdpt_real *a = images + (size_t)i * 3 * h * w, *b = images + (n - 1 - (size_t)i) * 3 * h * w;
    size_t at;
    for (at = 0; at < 3 * h * w; at++) {
      int y = (int)(at / w % h), x = (int)(at % w); /* the pixel */
      int inside = y >= m->y0 && y < m->y1 && x >= m->x0 && x < m->x1; /* the box of a cutmix */
      double lam = m->cut ? (double)!inside : m->lam; /* of this pixel */
      bdpt_real mine = (bdpt_real)lam, other = (bdpt_real)(1.0 - lam), keep = a[at];
      a[at] = keep * mine + b[at] * other; /* the image, mixed with its partner */
      b[at] = b[at] * mine + keep * other; /* and the partner with it */
    }
  }
  (void)threads; /* unused without OpenMP */
}

BDPTI_HOT void bdpti_mix_targets(const int *labels, size_t n, int classes, double lam,
                                double smoothing, bdpt_real *targets) {
  double off = smoothing / classes, on = 1.0 - smoothing + off; /* s elsewhere, s at the label */
  size_t at, k = (size_t)classes;
  for (at = 0; at < n * k; at++) { /* targets[B,K] */
    int here = (int)(at % k), mine = labels[at / k], other = labels[n - 1 - at / k];
    targets[at] = (bdpt_real)((here == mine ? on : off) * lam +
                              (here == other ? on : off) * (1.0 - lam));
  }
}

/* Loads, augments and mixes the batch of this step; fills the targets. */
BDPTI_FN bdpt_status bdpti_trainer_batch(bdpt_trainer *t) {
  const bdpt_recipe *r = &t->recipe;
  const bdpt_config *c = &t->model->config;
  size_t step = (size_t)t->now.step, epoch = step / t->per_epoch;
  size_t position = step % t->per_epoch * t->batch; /* of the batch's first image in the epoch */
  size_t half, front;
  bdpt_rng rng = bdpti_draws(r->seed, BDPTI_DRAW_MIX, epoch, position);
  const int high = c->image, wide = bdpt_image_width(c);
  bdpti_mixing mix = bdpti_mix_draw(r, high, wide, &rng);
  if (!t->train) return bdpt_fail(t->ctx, BDPT_E_STATE, "train: it has no data set");
  if (high != t->loader->side[1].out || wide != t->loader->side[0].out) {
    return bdpt_fail(t->ctx, BDPT_E_STATE, "train: the model changed to %d x %d pixels, its "
                     "trainer was made for others", high, wide);
  }
  bdpti_trainer_pick(t, epoch, position);
  half = bdpti_cluster_size(t->ctx) == 1 ? t->own : t->own / 2; /* what is adjacent in the epoch */
  front = (size_t)t->ctx->cluster.rank * half;
  if (bdpti_load(t->loader, t->picked, half, epoch, position + front, t->images, t->labels) ||
      (half < t->own &&
       bdpti_load(t->loader, t->picked + half, half, epoch, position + t->batch - front - half,
                  t->images + half * bdpt_image_numbers(c), t->labels + half))) {
    return t->ctx->status;
  }
  bdpti_mix_images(&mix, t->loader->threads, t->own, (size_t)high, (size_t)wide, t->images);
  bdpti_mix_targets(t->labels, t->own, c->classes, mix.lam, r->smoothing, t->targets);
  return BDPT_OK;
}

/* 12.6  Several processes                                                                 >>ranks
 *
 *   math      process r has B / size images of the batch;  dL/dw = sum_r dL_r/dw / size
 *   check     tests/test_ranks.c many_train_as_one: processes played by threads; examples/mpi
 *
 * A cluster trains one network: the same shuffle, disjoint images, the same weights everywhere
 * after every step. What a random draw of an image depends on is its place in the epoch and not the
 * process, so the batch is the one that a single process would see, and only the order of a sum
 * differs. Mixing pairs image k of a batch with image B - 1 - k, so a process gets images from the
 * front and their partners from the back. Sums of evaluations and fits are shared out likewise.
 *
 * A process that cannot read an image ends the step of all before any weight has moved: it returns
 * its error and the others BDPT_CANCELLED, and all save together.
 */
/* Adds numbers up over all processes; alone there is nothing to do. */
BDPTI_FN bdpt_status bdpti_cluster_add(bdpt_context *ctx, void *values, size_t count,
                                       size_t bytes) {
  const bdpt_cluster *c = &ctx->cluster;
  const int status = c->size > 1 ? c->reduce(c->user, values, count, bytes) : (int)BDPT_OK;
  if (status == (int)BDPT_OK) return BDPT_OK;
  return bdpt_fail(ctx, status == (int)BDPT_CANCELLED ? BDPT_CANCELLED : BDPT_E_IO,
                   "process %d of %d: the reduction failed with %d", c->rank, c->size, status);
}

/* Returns 1 in all processes if it is 1 in any: a stop, a failure. */
BDPTI_FN int bdpti_cluster_any(bdpt_context *ctx, int yes) {
  double sum = yes != 0;
  return bdpti_cluster_add(ctx, &sum, 1, sizeof sum) != BDPT_OK || sum > 0;
}

BDPTI_FN bdpt_status bdpti_cluster_check(bdpt_trainer *t) {
  const bdpt_cluster *c = &t->ctx->cluster;
  size_t numbers = 2 * BDPT_MAX_DEPTH; /* the importance scalars */
  int i;
  if (c->size <= 1) return BDPT_OK;
  if (!c->reduce || c->rank < 0 || c->rank >= c->size || t->batch % (2 * (size_t)c->size) != 0) {
    return bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "train: process %d of %d: a batch of %zu is no "
                     "multiple of twice the processes, or reduce is missing", c->rank, c->size,
                     t->batch);
  }
  for (i = 0; i < t->model->slots; i++) numbers += t->model->param[i].count;
  t->shared = (bdpt_real *)bdpti_array(&t->arena, numbers, sizeof *t->shared);
  return t->shared ? BDPT_OK : t->ctx->status;
}

/* Gives every process the mean of all gradients and losses of a step. */
BDPTI_FN bdpt_status bdpti_cluster_gather(bdpt_trainer *t, double *loss) {
  const bdpt_real share = (bdpt_real)1 / (bdpt_real)bdpti_cluster_size(t->ctx);
  size_t at = 0;
  int i, back;
  if (!t->shared) return BDPT_OK;
  for (back = 0; back < 2; back++) {
    for (i = 0, at = 0; i < bdpti_params(t); i++) {
      bdpt_tensor *p = bdpti_param(t, i);
      if (!p->wants_grad) continue;
      if (!back) memcpy(t->shared + at, p->grad, p->count * sizeof *p->grad);
      else bdpti_axpby(t->ctx, p->count, share, t->shared + at, 0, NULL, p->grad);
      at += p->count;
    }
    if (!back && bdpti_cluster_add(t->ctx, t->shared, at, sizeof *t->shared)) return t->ctx->status;
  }
  *loss /= (double)bdpti_cluster_size(t->ctx);
  return bdpti_cluster_add(t->ctx, loss, 1, sizeof *loss);
}

/* 12.7  A trainer's life                                                                >>trainer
 *
 * A trainer holds everything between two steps that is not a weight. Model and teacher may be freed
 * before it and then go with it. Steps per epoch are whole batches: images left over are dropped.
 *
 * Between two steps the model belongs to the caller, who may prune, restore and fuse, or set an
 * importance; the next step takes it as it finds it. Only its image size must stay, because the
 * loader was made for it. The teacher is read and never written; its weights are part of the
 * recipe (12.9), so they should stay as well. A step whose loss or gradient is not finite changes
 * nothing and says where the first such number came from.
 */
BDPT_API void bdpt_trainer_free(bdpt_trainer *t) {
  int i;
  if (!t) return;
  for (i = 0; i < BDPTI_MAX_PARAMS; i++) bdpti_moments_room(t, i, 0); /* frees */
  if (t->loader) bdpti_arena_free(&t->loader->arena);
  bdpti_arena_free(&t->arena);
  bdpt_tape_free(t->tape);
  bdpt_tape_free(t->teacher_tape);
  bdpt_model_free(t->teacher);
  bdpt_model_free(t->model);
  bdpt_release(t->ctx, t, sizeof *t);
}

BDPTI_FN bdpt_status bdpti_trainer_check(bdpt_trainer *t) {
  const bdpt_config *c = &t->model->config, *d; /* the student's, the teacher's */
  bdpt_status status = bdpti_recipe_check(t->ctx, &t->recipe);
  int features = t->recipe.distill_features > 0;
  if (status != BDPT_OK || (t->recipe.distill == BDPT_DISTILL_NONE && !features)) return status;
  if (!t->teacher || t->teacher->ctx != t->ctx || t->recipe.distill == BDPT_DISTILL_NONE) {
    return bdpt_fail(t->ctx, BDPT_E_ARGUMENT, "train: the recipe distills %s",
                     t->recipe.distill ? "without a teacher that shares the model's context"
                                        : "features, but not the answers (distill)");
  }
  d = &t->teacher->config; /* width, depth and patch may differ if only images and answers meet */
  if (d->image == c->image && d->image_width == c->image_width && d->channels == c->channels &&
      d->classes == c->classes && !memcmp(d->mean, c->mean, sizeof d->mean) &&
      !memcmp(d->std, c->std, sizeof d->std) &&
      (!features || (d->width == c->width && d->depth == c->depth && d->patch == c->patch &&
                     d->distilled == c->distilled))) {
    return BDPT_OK;
  }
  return bdpt_fail(t->ctx, BDPT_E_SHAPE, "train: the teacher takes %d channels of %d x %d pixels, "
                   "normalised with mean %g and deviation %g, and knows %d classes; the model must "
                   "agree; with features also in depth %d, width %d, patch %d and heads",
                   d->channels, d->image, bdpt_image_width(d), d->mean[0], d->std[0], d->classes,
                   d->depth, d->width, d->patch);
}

BDPT_API bdpt_trainer *bdpt_trainer_create(bdpt_model *model, bdpt_model *teacher,
                                           const bdpt_subset *train, const bdpt_recipe *recipe) {
  size_t count = train ? train->count : 1, b; /* b: images in the trainer's own batch */
  size_t images = recipe->epoch_images ? recipe->epoch_images : count; /* per epoch */
  size_t k = (size_t)model->config.classes, each = bdpt_image_numbers(&model->config);
  bdpt_trainer *t = (bdpt_trainer *)bdpt_alloc(model->ctx, sizeof *t);
  bdpti_arena *a = t ? &t->arena : NULL;
  if (!t) return NULL;
  t->ctx = a->ctx = model->ctx; t->model = model; t->teacher = teacher; t->train = train;
  model->users++; /* neither goes before the trainer does */
  if (teacher) teacher->users++;
  t->recipe = *recipe;
  bdpt_recipe_resolve(&t->recipe);
  t->batch = images < (size_t)t->recipe.batch ? images : (size_t)t->recipe.batch;
  t->own = t->batch / bdpti_cluster_size(t->ctx);
  b = train ? t->own : 0;
  if (train) t->loader = (bdpti_loader *)bdpti_array(a, 1, sizeof *t->loader);
  if (bdpti_trainer_check(t) == BDPT_OK &&
      (!train || (t->loader && !bdpti_loader_make(t->ctx, &model->config, train, b, t->loader))) &&
      bdpti_cluster_check(t) == BDPT_OK) {
    if (train) t->loader->recipe = &t->recipe; /* from now on it augments */
    t->per_epoch = images / t->batch;
    t->images = (bdpt_real *)bdpti_array(a, b, each * sizeof *t->images);
    t->targets = (bdpt_real *)bdpti_array(a, b, k * sizeof *t->targets);
    t->taught = (bdpt_real *)bdpti_array(a, b, k * sizeof *t->taught);
    t->order = (size_t *)bdpti_array(a, count, sizeof *t->order);
    t->picked = (size_t *)bdpti_array(a, b, sizeof *t->picked);
    t->labels = (int *)bdpti_array(a, b, sizeof *t->labels);
    t->tape = bdpt_tape_create(t->ctx, recipe->recompute ? BDPT_TAPE_RECOMPUTE : BDPT_TAPE_RECORD);
    t->teacher_tape = bdpt_tape_create(t->ctx, BDPT_TAPE_COMPUTE);
    if (t->images && t->targets && t->taught && t->order && t->picked && t->labels && t->tape &&
        t->teacher_tape && bdpti_trainer_fit(t) == BDPT_OK) {
      return t;
    }
  }
  bdpt_trainer_free(t); /* half made: what is missing is NULL */
  return NULL;
}

BDPT_API size_t bdpt_trainer_steps_done(const bdpt_trainer *t) { return (size_t)t->now.step; }
BDPT_API size_t bdpt_trainer_steps_per_epoch(const bdpt_trainer *t) { return t->per_epoch; }

BDPT_API size_t bdpt_trainer_importance(bdpt_trainer *t, double out[2][BDPT_MAX_DEPTH]) {
  size_t steps = (size_t)t->now.disparity_steps;
  int l;
  for (l = 0; l < BDPT_MAX_DEPTH; l++) { /* 0 where there is no such layer, or no step yet */
    out[0][l] = steps ? t->now.disparity[0][l] / (double)steps : 0.0;
    out[1][l] = steps ? t->now.disparity[1][l] / (double)steps : 0.0;
  }
  memset(t->now.disparity, 0, sizeof t->now.disparity);
  t->now.disparity_steps = 0;
  return steps;
}

/* The importance scalars are averaged and swapped like weights. */
BDPT_API void bdpt_trainer_swap_ema(bdpt_trainer *t) {
  size_t k;
  int i;
  if (!(t->recipe.ema > 0)) return;
  t->swapped = !t->swapped;
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpti_moments *s = &t->moments[i];
    bdpt_tensor *p = bdpti_param(t, i);
    for (k = 0; p->data && p->count == s->count && k < s->count; k++) { /* what has an average */
      bdpt_real keep = p->data[k];
      p->data[k] = s->m[2 * s->count + k];
      s->m[2 * s->count + k] = keep;
    }
  }
}

/* Names the parameter that an operation reads, or the last one read before it. */
BDPTI_FN const char *bdpti_node_place(const bdpti_node *n) {
  int i;
  for (; n; n = n->previous) {
    for (i = 6; i >= 0; i--) {
      if (n->in[i] && !n->in[i]->on_tape && n->in[i]->name) return n->in[i]->name;
    }
  }
  return "the images";
}

/* Names the origin of numbers that are not finite: the first parameter that has one, else the
 * images or targets, else the first operation whose output has one, else, since gradients flow
 * backwards, the last parameter whose gradient has one. */
BDPTI_FN void bdpti_trainer_blame(const bdpt_trainer *t, char out[128]) {
  const size_t images = t->own * bdpt_image_numbers(&t->model->config);
  const bdpti_node *n, *first = NULL;
  int i, back = -1;
  bdpt_format(out, 128, "a sum");
  for (i = 0; i < bdpti_params(t); i++) {
    const bdpt_tensor *p = bdpti_param(t, i);
    if (!p->wants_grad) continue;
    if (!bdpti_all_finite(t->ctx, p->count, p->grad)) back = i;
    if (bdpti_all_finite(t->ctx, p->count, p->data)) continue;
    bdpt_format(out, 128, "the value of %s", p->name);
    return;
  }
  if (t->images && !bdpti_all_finite(t->ctx, images, t->images)) {
    bdpt_format(out, 128, "an image");
    return;
  }
  for (n = t->tape->last; n; n = n->previous) { /* newest first, so the oldest is found last */
    if (!bdpti_all_finite(t->ctx, n->out.count, n->out.data)) first = n;
  }
  if (first) {
    bdpt_format(out, 128, "the output of %s at %s", bdpti_op_text[first->op][0],
                 bdpti_node_place(first));
  } else if (back >= 0) {
    bdpt_format(out, 128, "the gradient of %s", bdpti_param(t, back)->name);
  }
}

BDPTI_FN bdpt_status bdpti_trainer_refuse(bdpt_trainer *t, double loss, double norm) {
  size_t step = (size_t)t->now.step; /* its number, from 0 */
  char blame[128];
  bdpti_trainer_blame(t, blame);
  return bdpt_fail(t->ctx, BDPT_E_NUMERIC, "train: epoch %zu, step %zu: the loss is %g, the norm "
                   "of the gradient %g; %s is not finite; the weights were not changed",
                   step / t->per_epoch + 1, step + 1, loss, norm, blame);
}

/* 12.8  Accuracy                                                                       >>evaluate
 *
 *   math      rank = #{k: z_k > z_y or (z_k = z_y and k < y)}; top-n counts rank < n;
 *             loss = mean of log sum_k exp(z_k) - z_y
 *   shape     logits[B,K], labels[B] -> three sums
 *   source    the metrics of timm's validate script
 *   check     tests/test_inside.c accuracy_by_hand: with ties
 *
 * Equal logits count by index, so a network that answers the same for every class scores 1/K. A
 * logit that is not finite would make every comparison false and the rank 0; it is an error
 * instead. Sums run in double, image after image, in the order of the subset, so that neither batch
 * size nor thread count shows in the result.
 */
/* Adds one image's row of logits to the sums; returns 0 if a logit is not finite. */
BDPTI_HOT int bdpti_judge_row(const bdpt_real *z, int classes, int label, bdpt_accuracy *sum) {
  int k, rank = 0;
  for (k = 0; k < classes; k++) {
    if (!((double)z[k] - (double)z[k] == 0)) return 0; /* infinity - infinity is NaN */
    if (z[k] > z[label] || (k < label && !(z[k] < z[label]))) rank++; /* of equal ones the first */
  }
  sum->count++;
  sum->top1 += rank < 1; /* the label won */
  sum->top5 += rank < 5; /* or is among the five best */
  sum->loss += bdpti_log_sum_exp(z, (size_t)classes, 1) - (double)z[label]; /* -log of its share */
  return 1;
}

/* Reports to the caller of a long call, who may answer that it should stop. */
BDPTI_FN bdpt_status bdpti_tell(const bdpt_hooks *hooks, const char *phase, size_t done,
                                size_t total, double loss, double accuracy) {
  bdpt_progress p = {phase, "", done, total, "images", loss, accuracy}; /* no detail */
  int stop = hooks && hooks->progress && hooks->progress(&p, hooks->user);
  return stop ? BDPT_CANCELLED : BDPT_OK; /* any other answer than 0 stops the call */
}

BDPTI_FN bdpt_accuracy bdpti_judge_mean(const bdpt_accuracy *sum) {
  bdpt_accuracy mean = *sum;
  if (sum->count == 0) return mean; /* nothing to divide by */
  mean.top1 = 100.0 * sum->top1 / (double)sum->count; /* per cent */
  mean.top5 = 100.0 * sum->top5 / (double)sum->count;
  mean.loss = sum->loss / (double)sum->count;
  return mean;
}

/* Adds the sums of all processes up. One that failed or was stopped ends the others' call too. */
BDPTI_FN bdpt_status bdpti_judge_share(bdpt_context *ctx, bdpt_status own, bdpt_accuracy *sum) {
  double v[5] = {(double)sum->count, sum->top1, sum->top5, sum->loss, (double)(own != BDPT_OK)};
  if (bdpti_cluster_add(ctx, v, 5, sizeof *v) != BDPT_OK) return ctx->status;
  sum->count = (size_t)v[0]; sum->top1 = v[1]; sum->top5 = v[2]; sum->loss = v[3];
  return own != BDPT_OK || v[4] == 0 ? own : BDPT_CANCELLED; /* another one has failed */
}

BDPTI_FN bdpt_status bdpti_judge(bdpt_model *m, const bdpt_subset *data, const bdpt_hooks *hooks,
                                 bdpt_accuracy *out) {
  size_t k = (size_t)m->config.classes, each = bdpt_image_numbers(&m->config);
  size_t count = data ? data->count : 0;
  size_t ranks = bdpti_cluster_size(m->ctx), rank = ranks > 1 ? (size_t)m->ctx->cluster.rank : 0;
  size_t at = count * rank / ranks, end = count * (rank + 1) / ranks; /* of this process */
  size_t n = count < 64 ? count : 64, i; /* images at once */
  bdpti_loader l;
  bdpt_status status = bdpti_loader_make(m->ctx, &m->config, data, n, &l);
  bdpt_tape *tape = bdpt_tape_create(m->ctx, BDPT_TAPE_COMPUTE); /* records nothing */
  bdpt_real *images = (bdpt_real *)bdpti_array(&l.arena, n, each * sizeof *images);
  bdpt_real *logits = (bdpt_real *)bdpti_array(&l.arena, n, k * sizeof *logits); /* [n,K] */
  int *labels = (int *)bdpti_array(&l.arena, n, sizeof *labels);
  bdpt_accuracy sum = {0, 0, 0, 0}; /* of counts and losses; *out has the means */
  *out = sum; /* also where nothing could be judged */
  if (!status && (!tape || !images || !logits || !labels)) status = m->ctx->status;
  for (; at < end && !status; at += n) {
    if (n > end - at) n = end - at; /* the last portion may be smaller */
    status = bdpti_load(&l, data->index + at, n, 0, 0, images, labels); /* images[n,3,H,W] */
    if (!status) status = bdpti_logits(m, tape, n, images, logits);
    for (i = 0; i < n && !status; i++) {
      if (bdpti_judge_row(logits + i * k, (int)k, labels[i], &sum)) continue;
      status = bdpt_fail(m->ctx, BDPT_E_NUMERIC, "evaluate: image %zu: a logit is not finite",
                         data->index[at + i]);
    }
    if (status) break;
    *out = bdpti_judge_mean(&sum); /* of the images so far */
    status = bdpti_tell(hooks, "evaluate", out->count, end, out->loss, out->top1);
  }
  if (ranks > 1) status = bdpti_judge_share(m->ctx, status, &sum); /* each judged its share */
  if (ranks > 1 && !status) *out = bdpti_judge_mean(&sum);
  bdpt_tape_free(tape);
  bdpti_arena_free(&l.arena);
  return status;
}

BDPT_API bdpt_status bdpt_evaluate(bdpt_model *model, const bdpt_subset *data, bdpt_accuracy *out) {
  return bdpti_judge(model, data, NULL, out);
}

/* 12.9  Checkpoints                                                                  >>checkpoint
 *
 *   layout    safetensors; for every parameter X "model.X", "exp_avg.X", "exp_avg_sq.X" and, if
 *             averaged, "ema.X"; as they lie in memory, U8: "train.counters", which is
 *             bdpti_counters, and "train.log", 64-bit words of the caller's, for bdpt_train the
 *             lines of its log
 *   source    PyTorch's names for the moments, so that a script finds them
 *   check     tests/test_train.c run_resumes_anywhere: compared byte by byte
 *
 * Numbers are stored in the type they have in memory, so that a resumed run has the same bits. A
 * removed layer's weights are saved as long as they are in memory, as the layer may be restored.
 * Numbers that are not finite are never saved, since they would replace a healthy checkpoint; and
 * loading checks every tensor before it changes one.
 *
 * bdpt_train, which finds its file by itself, also wants to know whether the network at hand is the
 * one that the run began with: its weights have the digest of the beginning (the program was
 * started anew) or that of the moment of saving (a cancelled call is repeated). After a run with
 * averages neither fits: train on under another name.
 */
/* Makes three digests: of the structure, which changes between steps when a layer is pruned; of the
 * recipe and the teacher's weights; and of which images come with which labels, in what portions
 * (the pixels are taken on trust). */
BDPTI_FN void bdpti_digests(const bdpt_trainer *t, uint64_t h[3]) {
  const bdpt_config *c = &t->model->config; /* all but its defaults for blocks */
  const bdpt_subset *images = t->train;
  bdpt_recipe r = t->recipe;
  size_t k;
  int i;
  h[0] = bdpti_hash_bytes(0, &c->image, BDPT_THROUGH(bdpt_config, image, depth));
  h[0] = bdpti_hash_bytes(h[0], &c->classes, BDPT_THROUGH(bdpt_config, classes, headless));
  for (i = 0; i < c->depth; i++) { /* blocks may differ */
    const bdpt_block *b = &c->block[i];
    h[0] = bdpti_hash_bytes(h[0], &b->heads, BDPT_THROUGH(bdpt_block, heads, mlp));
    h[0] = bdpti_hash_bytes(h[0], &b->scale, BDPT_THROUGH(bdpt_block, scale, mlp_state));
  }
  h[1] = bdpti_mix64(r.seed) ^ (r.distill ? bdpti_digest_weights(t->teacher, 0) : 0);
  h[2] = (uint64_t)t->batch + ((uint64_t)t->per_epoch << 32); /* of a step; of an epoch */
  for (i = 0; i < BDPTI_FIELDS; i++) {
    double v = bdpti_field_get(&bdpti_fields[i], &r, 0, 0);
    h[1] = bdpti_hash_bytes(h[1], &v, sizeof v);
  }
  h[1] = bdpti_hash_bytes(h[1], r.restart, (size_t)r.restarts * sizeof *r.restart);
  for (k = 0; images && k < images->count; k++) {
    const size_t at = images->index[k];
    h[2] = bdpti_hash_bytes(h[2], &at, sizeof at);
    h[2] = bdpti_hash_bytes(h[2], &images->data->label[at], sizeof *images->data->label);
  }
}

/* Describes array k of a trainer as its file knows it: of parameter k / 4 the weights, the two
 * moments or the average. Returns NULL if there is none. Saving and loading walk the same k. */
BDPTI_FN bdpt_real *bdpti_stored(bdpt_trainer *t, int k, bdpt_write_tensor *w, char name[112]) {
  static const char *const prefix[4] = {"model", "exp_avg", "exp_avg_sq", "ema"};
  const bdpti_moments *s = &t->moments[k / 4]; /* of that parameter */
  const bdpt_tensor *p = bdpti_param(t, k / 4);
  const int a = k % 4; /* which of the four */
  bdpt_format(name, 112, "%s.%s", prefix[a], p->name);
  memset(w, 0, sizeof *w);
  w->name = name; w->ndim = p->ndim;
  w->dtype = BDPT_REAL_DTYPE;
  memcpy(w->shape, p->shape, sizeof w->shape);
  if (s->count == 0 || (a == 3 && !(t->recipe.ema > 0))) return NULL; /* it has none */
  return a == 0 ? p->data : s->m + (size_t)(a - 1) * s->count; /* they lie in a row */
}

/* Copies n 64-bit words out of a file; returns 0 if there is no such tensor of that length. */
BDPTI_FN int bdpti_words_read(const bdpt_safetensors *f, const char *name, void *out, size_t n) {
  const bdpt_file_tensor *w = bdpt_safetensors_find(f, name);
  if (!w || w->size != 8 * n) return 0;
  memcpy(out, w->bytes, 8 * n);
  return 1;
}

BDPT_API bdpt_status bdpt_trainer_build(bdpt_trainer *t, bdpt_bytes *out) {
  static const char *const key[2] = {"format", "kind"};
  static const char *const value[2] = {"pt", "boundarydpt training checkpoint 3"};
  bdpti_arena a = {t->ctx, NULL, 0}; /* of this call */
  int k, arrays = 4 * bdpti_params(t); /* four for each parameter */
  size_t n = 0, most = (size_t)arrays + 2; /* tensors so far; at most */
  bdpt_write_tensor *w = (bdpt_write_tensor *)bdpti_array(&a, most, sizeof *w);
  char (*name)[112] = (char (*)[112])bdpti_array(&a, most, sizeof *name); /* w points into it */
  const bdpt_write_tensor log = {"train.log", BDPT_U8, 1, {8 * t->words, 0, 0, 0}, t->log, 1};
  const bdpt_write_tensor now = {"train.counters", BDPT_U8, 1, {sizeof t->now, 0, 0, 0},
                                 &t->now, 1};
  bdpt_status status = w && name ? bdpti_trainer_fit(t) : t->ctx->status;
  out->data = NULL; out->size = 0;
  for (k = 0; k < arrays && status == BDPT_OK; k++) {
    const bdpt_real *data = bdpti_stored(t, k, &w[n], name[n]);
    if (data && !bdpti_all_finite(t->ctx, t->moments[k / 4].count, data)) {
      status = bdpt_fail(t->ctx, BDPT_E_NUMERIC, "checkpoint: step %zu: %s is not finite; nothing "
                         "was saved", (size_t)t->now.step, name[n]);
    }
    w[n].data = data; n += data != NULL; /* what does not exist is overwritten by the next */
  }
  if (status == BDPT_OK) {
    bdpti_digests(t, t->now.digest); /* of the trainer as it is now */
    t->now.weights = bdpti_digest_weights(t->model, t->recipe.importance);
    w[n++] = now;
    w[n++] = log;
    status = bdpt_safetensors_build(t->ctx, w, n, key, value, 2, out);
  }
  bdpti_arena_free(&a);
  return status;
}

/* Checks array k against the file, or reads it. A removed layer may be missing there: a model that
 * was saved and reloaded has lost it. */
BDPTI_FN bdpt_status bdpti_array_load(bdpt_trainer *t, const bdpt_safetensors *f, int k, int read,
                                      const char *file) {
  bdpt_write_tensor w; /* what the trainer would write */
  char name[112];
  bdpt_real *data = bdpti_stored(t, k, &w, name); /* where it goes, and what it must look like */
  const bdpt_file_tensor *from = bdpt_safetensors_find(f, name);
  if (!data || (!from && !bdpti_param(t, k / 4)->wants_grad)) return BDPT_OK; /* none, or gone */
  if (read) return bdpt_safetensors_read(t->ctx, from, data, from->count);
  if (from && from->dtype == w.dtype && from->ndim == w.ndim &&
      !memcmp(from->shape, w.shape, (size_t)w.ndim * sizeof *w.shape)) {
    return BDPT_OK;
  }
  return bdpt_fail(t->ctx, BDPT_E_FORMAT, "%s: no tensor %s of the model's shape", file, name);
}

/* Checks everything before it changes anything but the room for moments. */
BDPTI_FN bdpt_status bdpti_trainer_take(bdpt_trainer *t, const bdpt_safetensors *f,
                                        const char *file) {
  const bdpt_file_tensor *log = bdpt_safetensors_find(f, "train.log");
  size_t words = log && t->log ? log->count / 8 : 0; /* a trainer without a log leaves it there */
  bdpti_counters state; /* of the file */
  uint64_t own[3], start = t->now.start;
  const char *other = NULL; /* what differs, in words */
  int k, count = 4 * bdpti_params(t);
  if (!bdpti_words_read(f, "train.counters", &state, sizeof state / 8) || words > t->room) {
    return bdpt_fail(t->ctx, BDPT_E_FORMAT, "%s: not a training checkpoint of this version", file);
  } /* the words have no version: another number of them is another version */
  bdpti_digests(t, own);
  if (start && start != state.start && start != state.weights) other = "other initial weights";
  if (state.digest[2] != own[2]) other = "another training subset";
  if (state.digest[1] != own[1]) other = "another recipe or teacher";
  if (state.digest[0] != own[0]) other = "a network of another structure"; /* the first to blame */
  if (other) {
    return bdpt_fail(t->ctx, BDPT_E_STATE, "%s: this checkpoint belongs to a run with %s; remove "
                     "the file to start over", file, other);
  }
  if (bdpti_trainer_fit(t) != BDPT_OK) return t->ctx->status;
  for (k = 0; k < 2 * count; k++) { /* first round: check; second round: read */
    if (bdpti_array_load(t, f, k % count, k >= count, file) != BDPT_OK) return t->ctx->status;
  }
  if (words && bdpti_words_read(f, "train.log", t->log, words)) t->words = words;
  t->now = state; /* steps and sums go on from here */
  return BDPT_OK;
}

BDPT_API bdpt_status bdpt_trainer_parse(bdpt_trainer *t, const void *bytes, size_t size,
                                        const char *name) {
  bdpt_safetensors f;
  bdpt_status status = bdpt_safetensors_parse(t->ctx, bytes, size, name, &f);
  if (status == BDPT_OK) status = bdpti_trainer_take(t, &f, name);
  bdpt_safetensors_close(&f);
  return status;
}

/* Saves to a file, or goes on from it if it exists; NULL does nothing. Of a cluster one saves. */
BDPTI_FN bdpt_status bdpti_trainer_file(bdpt_trainer *t, const char *path, int save) {
  const int first = t->ctx->cluster.rank == 0;
  bdpt_bytes file = {NULL, 0};
  bdpt_status status = BDPT_OK;
  if (!path) return BDPT_OK;
  if (!save) status = bdpti_file_get(t->ctx, path, 0, &file);
  else if (first) status = bdpt_trainer_build(t, &file);
  if (!save && file.data) status = bdpt_trainer_parse(t, file.data, file.size, path);
  if (save && file.data) status = bdpt_file_write(t->ctx, path, file.data, file.size);
  bdpt_bytes_free(t->ctx, &file); /* empty where nothing was saved yet */
  if (save && bdpti_cluster_any(t->ctx, status != BDPT_OK) && !status) {
    status = bdpt_fail(t->ctx, BDPT_E_IO, "%s: process 0 could not save it", path);
  }
  return status;
}

/* 12.10  A whole run                                                                        >>run
 *
 * The loop below has one state only, (steps done, lines done), and asks at each turn which comes
 * next, a step or the end of an epoch: an evaluation, a line of the log and a checkpoint. So it
 * does not matter where a run was interrupted: the next call finds the same state and goes on.
 *
 * A file is written at the end of every epoch, which recipe.epoch_images makes as short as one
 * likes, and when a hook asks to stop.
 *
 * DEVIATION: with recipe.ema the averaged weights are evaluated, and stand in the model at the end.
 * The released code keeps an average but evaluates the raw weights; leave ema at 0 for that.
 */
#define BDPTI_LINE_WORDS (sizeof(bdpt_epoch) / 8)

/* Saves before a run ends early, in a cluster also with the process whose error ends it. */
BDPTI_FN bdpt_status bdpti_train_leave(bdpt_trainer *t, bdpt_status status) {
  const bdpt_context before = *t->ctx; /* the error, should saving make another */
  const int joint = t->stopped && bdpti_cluster_size(t->ctx) > 1; /* not all have this error */
  bdpt_status saved;
  if (status != BDPT_CANCELLED && !joint) return status;
  bdpt_clear_error(t->ctx); /* saving checks for errors of its own */
  saved = bdpti_trainer_file(t, t->hooks.checkpoint, 1);
  if (saved != BDPT_OK && status == BDPT_CANCELLED) return saved;
  t->ctx->status = before.status;
  memcpy(t->ctx->message, before.message, sizeof before.message);
  return status;
}

/* Evaluates, writes the epoch's line and saves. */
BDPTI_FN bdpt_status bdpti_train_epoch(bdpt_trainer *t, bdpt_epoch *line) {
  double steps = (double)t->per_epoch; /* to turn sums into means */
  bdpt_status status = BDPT_OK;
  memset(line, 0, sizeof *line); /* the padding too: lines are saved and compared as bytes */
  bdpt_trainer_swap_ema(t); /* the averages stand in, if there are any ... */
  if (t->held) status = bdpti_judge(t->model, t->held, &t->hooks, &line->held);
  bdpt_trainer_swap_ema(t); /* ... and the trained weights are back */
  t->stopped = status != BDPT_OK;
  if (t->stopped) return status;
  t->words += BDPTI_LINE_WORDS; /* the log has a line more */
  line->epoch = (int)(t->words / BDPTI_LINE_WORDS); /* epochs count from 1 */
  line->lr = bdpt_schedule(&t->recipe, ((double)t->now.step - 1.0) / steps); /* the last step's */
  line->loss = t->now.epoch_loss / steps; line->grad_norm = t->now.epoch_norm / steps;
  return bdpti_trainer_file(t, t->hooks.checkpoint, 1);
}

/* One step and its report. */
BDPTI_FN bdpt_status bdpti_train_step(bdpt_trainer *t, double accuracy) {
  double loss;
  size_t total = t->per_epoch * (size_t)t->recipe.epochs * t->batch, done; /* images */
  bdpt_status status = bdpt_trainer_step(t, NULL);
  if (status != BDPT_OK) return status;
  done = (size_t)t->now.step * t->batch; /* images so far */
  loss = t->now.epoch_loss / (double)((t->now.step - 1) % t->per_epoch + 1); /* mean so far */
  status = bdpti_tell(&t->hooks, "train", done, total, loss, accuracy);
  if (bdpti_cluster_any(t->ctx, status == BDPT_CANCELLED) && !status) status = BDPT_CANCELLED;
  return status;
}

BDPT_API bdpt_status bdpt_train(bdpt_model *model, bdpt_model *teacher, const bdpt_run *run,
                                const bdpt_recipe *recipe, bdpt_epoch *log) {
  bdpt_trainer *t = bdpt_trainer_create(model, teacher, run->train, recipe);
  size_t epochs, lines; /* of the run; of the log so far */
  bdpt_status status;
  bdpt_epoch *line;
  if (!t) return model->ctx->status; /* the context says why */
  epochs = (size_t)t->recipe.epochs; /* resolved: at least 1 */
  t->held = run->held && run->held->count ? run->held : NULL;
  if (run->hooks) t->hooks = *run->hooks;
  t->log = line = (bdpt_epoch *)bdpti_array(&t->arena, epochs, sizeof *line);
  t->room = epochs * BDPTI_LINE_WORDS; /* a load may fill it */
  t->now.start = bdpti_digest_weights(model, t->recipe.importance);
  status = line ? BDPT_OK : model->ctx->status;
  if (!status && t->held) status = bdpti_loader_check(model->ctx, &model->config, t->held);
  if (!status) status = bdpti_trainer_file(t, t->hooks.checkpoint, 0); /* goes on from there */
  while (!status && (lines = t->words / BDPTI_LINE_WORDS) < epochs) {
    double accuracy = lines && t->held ? line[lines - 1].held.top1 : (double)NAN; /* the latest */
    if (t->now.step < (lines + 1) * t->per_epoch) status = bdpti_train_step(t, accuracy);
    else status = bdpti_train_epoch(t, line + lines); /* an epoch is over */
  }
  if (!status) bdpt_trainer_swap_ema(t); /* the averages stay in the model */
  status = bdpti_train_leave(t, status);
  if (log && line) memcpy(log, line, epochs * sizeof *log);
  bdpt_trainer_free(t);
  return status;
}
#endif /* BDPT_ONLY_INFERENCE */

/* =================================================================================================
 * 13  FILES                                                                                >>files
 * =================================================================================================
 * How can a program read a file from anywhere without trusting it? A network lives in a safetensors
 * file: a table of names, types and shapes in JSON, then the numbers. The format executes nothing
 * and can be read in an afternoon, which is why this library writes no other.
 *
 * Every size that comes from a file goes through checked arithmetic. Every count is bounded by
 * bytes that are really there: the reader's tables take less than 6 bytes for each byte of the
 * file's header. Nothing recurses, so deep nesting cannot exhaust the stack. And each rule has its
 * own sentence when a file breaks it, with the tensor and the offset:
 *
 *     x.safetensors: 'head.bias': data_offsets [0, 4000] reach past the end of the file, which
 *     holds 3072 bytes of data; was it cut off?
 */

/* 13.1  Pieces of JSON                                                                     >>json
 *
 *   source    RFC 8259 (the grammar), RFC 3629 (UTF-8)
 *   check     tests/test_files.c conformance, strings
 *
 * A header is objects of strings, and of lists of numbers, so there is no need for a reader of all
 * that JSON can be: a cursor stands before the next piece, and each function steps over the piece
 * that it reads. Who expects a piece knows which. The grammar is taken strictly: no comments, no
 * trailing commas, no leading zeros, no lone surrogates. Outside of strings only ASCII is expected,
 * so checking UTF-8 inside strings checks all of it.
 */
typedef struct bdpti_scan { const char *text; size_t size, at; } bdpti_scan;
static const char bdpti_blanks[] = " \t\n\r", bdpti_ciphers[] = "0123456789";

/* Steps over at most `most` bytes that are in `set`; returns how many. */
BDPTI_FN size_t bdpti_scan_pass(bdpti_scan *s, const char *set, size_t most) {
  size_t n = 0;
  for (; n < most && s->at < s->size; n++, s->at++) { /* strchr finds the zero of a set, too */
    if (!s->text[s->at] || !strchr(set, s->text[s->at])) break;
  }
  return n;
}

/* Steps over blanks, and over the character c if it comes next; returns whether it did. */
BDPTI_FN int bdpti_scan_is(bdpti_scan *s, char c) {
  bdpti_scan_pass(s, bdpti_blanks, SIZE_MAX);
  if (s->at >= s->size || s->text[s->at] != c) return 0;
  s->at++;
  return 1;
}

/* Returns the length of the UTF-8 sequence at s, or 0 for none: cut off, longer than it need be,
 * half of a surrogate pair, or past the last code point. */
BDPTI_FN size_t bdpti_utf8(const char *s, size_t left) {
  static const long least[5] = {0, 0, 0x80, 0x800, 0x10000}; /* what n bytes are needed for */
  const unsigned char *u = (const unsigned char *)s;
  size_t n = (size_t)(2 + (u[0] >= 0xE0) + (u[0] >= 0xF0)), i; /* what the first byte announces */
  long c; /* the code point */
  if (u[0] < 0x80) return 1; /* ASCII */
  if (u[0] < 0xC0 || n > left || u[0] > 0xF7) return 0; /* no first byte, or cut off */
  c = u[0] & (0x7F >> n); /* the bits below the length mark */
  for (i = 1; i < n; i++) {
    if ((u[i] & 0xC0) != 0x80) return 0; /* not a further byte */
    c = c << 6 | (u[i] & 0x3F); /* six from each further byte */
  }
  return c >= least[n] && c < 0x110000 && (c < 0xD800 || c > 0xDFFF) ? n : 0;
}

/* Returns the code unit of an escape \uXXXX, or -1. */
BDPTI_FN long bdpti_json_unit(const char *s, size_t left) {
  char hex[5] = "";
  if (left < 6 || s[0] != '\\' || s[1] != 'u') return -1;
  memcpy(hex, s + 2, 4);
  return strspn(hex, "0123456789abcdefABCDEF") == 4 ? strtol(hex, NULL, 16) : -1;
}

/* A character beyond FFFF is two escapes, a high and a low surrogate; one alone means nothing. */
BDPT_API size_t bdpt_json_char(const char *s, size_t left, size_t *used, char out[4]) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0}; /* first bytes, by length */
  const char *escape = left > 1 && s[1] ? strchr(from, s[1]) : NULL;
  long c, low;
  size_t n, i;
  *used = 2;
  if (s[0] != '\\') {
    *used = n = (unsigned char)s[0] < 0x20 ? 0 : bdpti_utf8(s, left); /* no control characters */
    memcpy(out, s, n);
    return n;
  }
  if (escape) { out[0] = to[escape - from]; return 1; } /* two bytes of text, one of string */
  c = bdpti_json_unit(s, left); /* four hex digits, or -1 */
  low = c >= 0xD800 && c < 0xDC00 ? bdpti_json_unit(s + 6, left - 6) : 0; /* 0: c is not high */
  *used = low ? 12 : 6; /* one escape or a pair */
  if (c < 0 || (c >= 0xDC00 && c < 0xE000)) return 0; /* no four digits; a low one alone */
  if (low && (low < 0xDC00 || low >= 0xE000)) return 0; /* a high one alone */
  if (low) c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00); /* ten bits of each */
  n = (size_t)(1 + (c >= 0x80) + (c >= 0x800) + (c >= 0x10000)); /* bytes that it takes */
  for (i = n; i-- > 1; c >>= 6) out[i] = (char)(unsigned char)(0x80 | (c & 0x3F));
  out[0] = (char)(unsigned char)(lead[n] | c); /* what is left of it, below the length mark */
  return n;
}

/* Reads digits as a size; returns 0 if there are none, or larger ones than size_t holds. A double
 * would round 2^53 + 1, and offsets must not be rounded. */
BDPTI_FN int bdpti_scan_size(bdpti_scan *s, size_t *out) {
  size_t from, n, v = 0;
  bdpti_scan_pass(s, bdpti_blanks, SIZE_MAX);
  from = s->at;
  n = bdpti_scan_pass(s, bdpti_ciphers, SIZE_MAX);
  if (n == 0 || (n > 1 && s->text[from] == '0')) return 0; /* a sign; a leading zero */
  for (; from < s->at; from++) {
    if (!bdpti_mul(v, 10, &v) || !bdpti_add(v, (size_t)(s->text[from] - '0'), &v)) return 0;
  }
  *out = v;
  return 1;
}

/* 13.2  Decimal numbers                                                                 >>decimal
 *
 *   math      digits * 10^e, the digits a whole number
 *   check     tests/test_bytes.c decimal_round_trip: random numbers of all magnitudes
 *
 * A configuration holds a few real numbers (eps = 1e-6, image statistics) that must come back with
 * the same bits on every machine. printf and strtod follow the locale: a German one has 1,5 there.
 *
 * The only thing a locale changes is the point, so strtod is given none: 1.25e-3 is handed over as
 * 125e-5. That rounds correctly wherever the C library does.
 *
 * The writer uses the reader as its oracle. Digit after digit it appends the largest one with which
 * the number does not exceed v. Reading is monotone, so each beginning is the largest decimal of
 * its length that reads as v or less: the first to read as v is a shortest decimal that does, and
 * 17 digits always suffice. For 0.15: no ones; of the tenths, 9 to 2 are too much, 1 is not; of the
 * hundredths, 9 to 6 are too much, 5 is not, and 15e-2 reads as v.
 */
BDPTI_FN double bdpti_decimal(const char *digits, int e) { /* digits * 10^e */
  char text[88];
  bdpt_format(text, sizeof text, "%se%d", digits, e); /* "125e-5" */
  return strtod(text, NULL);
}

/* Reads a number of JSON's grammar, in which digits stand around a point and behind an e; returns 0
 * if there is none, or one of more than 64 characters before its e. Beyond 9999 an exponent means
 * infinity or zero. The text must end with a zero byte. */
BDPTI_FN int bdpti_scan_number(bdpti_scan *s, double *out) {
  char digit[72]; /* the sign and the digits, without the point */
  size_t from, end, behind = 0, n = 0; /* behind: digits that follow the point */
  long e = 0;
  int good;
  bdpti_scan_pass(s, bdpti_blanks, SIZE_MAX);
  from = s->at;
  bdpti_scan_pass(s, "-", 1);
  good = bdpti_scan_pass(s, "0", 1) || bdpti_scan_pass(s, bdpti_ciphers, SIZE_MAX);
  if (bdpti_scan_pass(s, ".", 1)) {
    behind = bdpti_scan_pass(s, bdpti_ciphers, SIZE_MAX);
    good &= behind > 0;
  }
  end = s->at;
  if (bdpti_scan_pass(s, "eE", 1)) { /* the sign may be missing, the digits not */
    e = strtol(s->text + s->at, NULL, 10); /* the largest long where it is larger */
    bdpti_scan_pass(s, "+-", 1);
    good &= bdpti_scan_pass(s, bdpti_ciphers, SIZE_MAX) > 0;
  }
  if (!good || end - from > 64) return 0;
  for (; from < end; from++) {
    if (s->text[from] != '.') digit[n++] = s->text[from];
  }
  digit[n] = 0;
  if (e > 9999) e = 9999;
  if (e < -9999) e = -9999;
  *out = bdpti_decimal(digit, (int)e - (int)behind);
  return 1;
}

/* Writes the shortest decimal that reads as v, or the first `most` digits where it is longer: plain
 * with at most `widest` digits before the point, 0.0001 or 224, else 1e-6. The search starts one
 * place above the first digit, since log10 may be rounded. */
static void bdpti_put_number(bdpti_text *t, double v, int most, int widest) {
  char digit[20] = "0";
  int e, n = 0; /* n digits so far, times 10^e */
  if (v == v && copysign(1.0, v) < 0) bdpti_put(t, '-'); /* of -0 as well */
  v = fabs(v);
  if (v - v != 0) { bdpti_put_string(t, v > 0 ? "inf" : "nan"); return; }
  for (e = v > 0 ? (int)floor(log10(v)) + 2 : 0; n < most && bdpti_decimal(digit, e) != v;) {
    e--; digit[n] = '9'; /* one place further */
    while (digit[n] > '0' && bdpti_decimal(digit, e) > v) digit[n]--;
    if (digit[0] > '0') n++; /* a leading zero is overwritten */
  }
  while (n > 1 && digit[n - 1] == '0') { n--; e++; } /* where digits were cut off */
  if (n == 0) n = 1; /* v = 0 */
  bdpti_put_digits(t, digit, n, n + e, widest);
}

/* 13.3  Numbers as bytes                                                                   >>half
 *
 *             sign  exponent  fraction   largest    smallest > 0
 *   F64         1      11        52      1.8e308      4.9e-324
 *   F32         1       8        23      3.4e38       1.4e-45
 *   BF16        1       8         7      3.4e38       9.2e-41      the upper half of an F32
 *   F16         1       5        10      65504        6.0e-8
 *
 *   math      exponent field e, bias B: (-1)^sign 2^(e-B) 1.fraction; e = 0: 2^(1-B) 0.fraction;
 *             e all ones: infinity, or NaN when the fraction is not 0
 *   source    IEEE 754-2008, 3.4
 *   check     tests/test_bytes.c half_every_pattern: of F16 and BF16
 *
 * All formats of the file are little-endian whatever the machine is, so bytes are assembled by
 * shifts, and nothing is assumed about alignment. The four formats differ only in two field widths.
 * All are read; of real numbers only bdpt_real's own is written, so that nothing is lost
 * (examples/tool/files/half.c makes halves of a file).
 *
 * Between bdpt_real and the file's format of the same width nothing is converted: the bits are
 * copied, those of a NaN included. A NaN that is read from another width stays a quiet NaN of its
 * sign, and its payload is dropped.
 */
static uint64_t bdpti_get_bytes(const unsigned char *p, int n) {
  uint64_t v = 0;
  while (n-- > 0) v = v << 8 | p[n]; /* the last byte is the highest */
  return v;
}

static void bdpti_put_bytes(unsigned char *p, int n, uint64_t v) {
  int i;
  for (i = 0; i < n; i++, v >>= 8) p[i] = (unsigned char)(v & 0xFF);
}

/* Returns the bits of a number. */
BDPTI_FN uint64_t bdpti_pack(const bdpt_real *v) {
  uint64_t wide = 0;
  uint32_t narrow;
  memcpy(&wide, v, sizeof *v);
  memcpy(&narrow, v, sizeof narrow);
  return sizeof *v == 8 ? wide : narrow;
}

BDPTI_FN double bdpti_unpack(uint64_t bits, int exponent_bits, int fraction_bits) {
  int top = (1 << exponent_bits) - 1; /* the bias is top / 2 */
  int least = 1 - top / 2 - fraction_bits; /* the last place of the smallest ones: 2^-24 for F16 */
  int e = (int)(bits >> fraction_bits) & top;
  uint64_t one = (uint64_t)1 << fraction_bits, m = bits & (one - 1);
  double v = e > 0 ? ldexp((double)(m + one), e - 1 + least) : ldexp((double)m, least);
  if (e == top) v = m ? (double)NAN : HUGE_VAL; /* the exponent's largest value */
  return copysign(v, bits >> (exponent_bits + fraction_bits) ? -1 : 1); /* NAN may have a sign */
}

/* The dtypes of the format, in the order of their alignment, which is the reference's order of
 * tensors in a file, last first. Those without field widths, but U8 and I64, are only listed. */
typedef struct bdpti_dtype { const char *name; int bits, dtype, exponent, fraction; } bdpti_dtype;
#define BDPTI_LISTED(name, bits) {name, bits, BDPT_OTHER, 0, 0}
static const bdpti_dtype bdpti_dtypes[] = {
  BDPTI_LISTED("BOOL", 8), BDPTI_LISTED("F4", 4), BDPTI_LISTED("F6_E2M3", 6), /* not whole bytes */
  BDPTI_LISTED("F6_E3M2", 6), {"U8", 8, BDPT_U8, 0, 0}, BDPTI_LISTED("I8", 8),
  BDPTI_LISTED("F8_E5M2", 8), BDPTI_LISTED("F8_E4M3", 8), BDPTI_LISTED("F8_E8M0", 8),
  BDPTI_LISTED("F8_E4M3FNUZ", 8), BDPTI_LISTED("F8_E5M2FNUZ", 8), BDPTI_LISTED("I16", 16),
  BDPTI_LISTED("U16", 16), {"F16", 16, BDPT_F16, 5, 10}, {"BF16", 16, BDPT_BF16, 8, 7},
  BDPTI_LISTED("I32", 32), BDPTI_LISTED("U32", 32), {"F32", 32, BDPT_F32, 8, 23},
  BDPTI_LISTED("C64", 64), {"F64", 64, BDPT_F64, 11, 52}, {"I64", 64, BDPT_I64, 0, 0},
  BDPTI_LISTED("U64", 64)};      /* C64: two F32, a complex number */

/* Returns the row of a bdpt_dtype, or NULL for those that are not read. */
BDPTI_FN const bdpti_dtype *bdpti_dtype_row(bdpt_dtype dtype) {
  int i = 0;
  while (i < BDPTI_COUNT(bdpti_dtypes) && bdpti_dtypes[i].dtype != (int)dtype) i++;
  return i < BDPTI_COUNT(bdpti_dtypes) && dtype != BDPT_OTHER ? &bdpti_dtypes[i] : NULL;
}

/* 13.4  Reading safetensors                                                         >>safetensors
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
 *   check     tests/test_files.c conformance, cut_and_changed: a file or more for each rule,
 *             verdicts as the reference's; cut off after every byte, changed in every bit
 *
 * The rules, each with an error of its own: N fits into the file and is at most 100,000,000; the
 * header is one JSON object; a tensor has exactly a known dtype, a shape of whole numbers, two
 * offsets; elements and bits do not overflow; elements narrower than a byte fill whole bytes; the
 * offsets enclose exactly that many bytes; the tensors cover the numbers without hole, overlap or
 * tail, so that nothing can hide in the file; metadata are strings.
 *
 * Where the reference's code and its README differ, we follow the code: blanks may stand before the
 * opening bracket as well as after the closing one. DEVIATION from the code, six times: refused are
 * a name or a metadata key that occurs twice (the reference keeps one of them without a word), a
 * field of a tensor that is none of the three, a tensor written as an array of them, metadata that
 * are null, a zero byte inside a string, since C would not see the rest, and more than 16 axes, for
 * which the table has no room.
 *
 * The header is walked once. With its comma a tensor's entry takes 50 bytes at least, one of the
 * metadata 6, and a string is shorter than its text: so one block is allocated before the walk, for
 * as many as the header could hold. Sorting by name and offset finds duplicates and holes quickly.
 */

/* One walk over a header; for messages, where in which file we are; and the first error. After one
 * bdpti_more says that lists are over, so that all loops stop by themselves and nobody needs to ask
 * between two steps. */
typedef struct bdpti_reader {
  bdpt_context *ctx;
  const char *name;      /* of the file */
  bdpt_status kind, status; /* of an error here; BDPT_OK until there is one */
  char shown[72];        /* the tensor or key in question, or "" */
  bdpti_scan scan;       /* over the header */
  bdpt_safetensors *out; /* the caller's */
  const unsigned char *data; /* the numbers */
  size_t data_bytes;     /* from the end of the header to the end of the file */
  char *string;          /* where the next name goes */
  bdpt_file_tensor t;    /* this and the rest: the tensor whose entry is being read */
  const bdpti_dtype *type;
  size_t offset[2];
} bdpti_reader;

BDPTI_FN void bdpti_reader_init(bdpti_reader *r, bdpt_context *ctx, const char *name) {
  memset(r, 0, sizeof *r);
  r->ctx = ctx; r->name = name ? name : "memory";
  r->kind = BDPT_E_FORMAT; /* until a tensor's shape is at fault (13.7.2) */
}

/* A name from a file may hold anything, escape sequences of a terminal included, and be longer than
 * a message. So control characters are replaced, and it is cut, though not inside a character. */
BDPTI_FN const char *bdpti_show(const char *name, char out[72]) { /* out is returned */
  size_t n = 0;
  for (; name[n] && n < 60; n++) {
    out[n] = (unsigned char)name[n] < 0x20 || name[n] == 0x7F ? '?' : name[n];
  }
  while (n > 0 && ((unsigned char)name[n] & 0xC0) == 0x80) n--; /* back to a first byte */
  bdpt_format(out + n, 4, "%s", name[n] ? "..." : "");
  return out;
}

/* Fails with "file: 'shown': sentence". */
BDPTI_PRINTF(2, 3) BDPTI_FN bdpt_status bdpti_bad(bdpti_reader *r, const char *format, ...) {
  char sentence[300]; /* of the 400 bytes that a context has */
  const char *quote = r->shown[0] ? "'" : "";
  va_list args;
  if (r->status) return r->status; /* the first error stands */
  va_start(args, format);
  bdpti_format_list(sentence, sizeof sentence, format, args);
  va_end(args);
  r->status = r->kind; /* whatever the context had before */
  return bdpt_fail(r->ctx, r->kind, "%s: %s%s%s%s%s", r->name, quote, r->shown, quote,
                   *quote ? ": " : "", sentence);
}

/* Steps over the character c, which must come next. */
BDPTI_FN void bdpti_need(bdpti_reader *r, char c) {
  if (r->status || bdpti_scan_is(&r->scan, c)) return;
  bdpti_bad(r, "'%c' expected at byte %zu", c, 8 + r->scan.at); /* of the file */
}

/* Returns 1 if a list that `close` ends goes on after n items. After an error all lists end. */
BDPTI_FN int bdpti_more(bdpti_reader *r, size_t n, char close) {
  if (r->status || bdpti_scan_is(&r->scan, close)) return 0;
  if (n) bdpti_need(r, ',');
  return !r->status;
}

/* Reads a string, unescaped to UTF-8, terminated and cut to `room`; returns its full length. A zero
 * byte, behind which C would see nothing, is an error. */
BDPTI_FN size_t bdpti_string(bdpti_reader *r, char *out, size_t room) {
  bdpti_scan *s = &r->scan;
  size_t full = 0, used, n, i; /* full: bytes of the whole string */
  int good = !r->status && bdpti_scan_is(s, '"');
  char utf8[4];
  while (good && s->at < s->size && s->text[s->at] != '"') {
    n = bdpt_json_char(s->text + s->at, s->size - s->at, &used, utf8);
    good = n > 0 && utf8[0];
    if (good) s->at += used;
    for (i = 0; good && i < n; i++, full++) {
      if (full + 1 < room) out[full] = utf8[i]; /* room for the zero too */
    }
  }
  if (good && s->at < s->size) { /* else it is not closed */
    s->at++;
    out[full < room ? full : room - 1] = 0;
    return full;
  }
  out[0] = 0; /* half a string is none */
  bdpti_bad(r, "no string at byte %zu, or a bad escape, bad UTF-8 or a zero in it", 8 + s->at);
  return 0;
}

BDPTI_FN const char *bdpti_keep(bdpti_reader *r) {
  const char *kept = r->string;
  r->string += 1 + bdpti_string(r, r->string, SIZE_MAX); /* its text has two quotes more */
  return kept;
}

/* Reads [n, n, ...] of at most `room` whole numbers; returns how many. */
BDPTI_FN int bdpti_read_sizes(bdpti_reader *r, const char *field, size_t *out, int room) {
  int n = 0;
  bdpti_need(r, '[');
  for (; bdpti_more(r, (size_t)n, ']'); n++) {
    if (n == room) bdpti_bad(r, "%s has more than %d numbers", field, room);
    else if (!bdpti_scan_size(&r->scan, &out[n])) {
      bdpti_bad(r, "%s holds something other than a whole number <= %zu", field, (size_t)SIZE_MAX);
    }
  }
  return n;
}

/* Reads the fields of one tensor: {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}. */
BDPTI_FN void bdpti_read_entry(bdpti_reader *r) {
  static const char *const field[3] = {"dtype", "shape", "data_offsets"};
  char word[40], shown[72]; /* a longer word than this is none that we know */
  int i, k, ends = 0, seen[4] = {0, 0, 0, 0}, types = BDPTI_COUNT(bdpti_dtypes); /* rows */
  size_t n;
  bdpti_need(r, '{');
  for (n = 0; bdpti_more(r, n, '}'); n++) {
    bdpti_string(r, word, sizeof word);
    for (i = 0; i < 3 && strcmp(word, field[i]) != 0; i++) { } /* 3: unknown */
    if (i == 3) bdpti_bad(r, "it has an unknown field '%s'", bdpti_show(word, shown));
    if (seen[i]++) bdpti_bad(r, "%s occurs twice", word);
    bdpti_need(r, ':');
    if (i == 1) r->t.ndim = bdpti_read_sizes(r, word, r->t.shape, BDPT_FILE_AXES);
    if (i == 2) ends = bdpti_read_sizes(r, word, r->offset, 2);
    if (i > 0) continue;
    bdpti_string(r, word, sizeof word);
    for (k = 0; k < types && strcmp(word, bdpti_dtypes[k].name) != 0; k++) { }
    r->type = &bdpti_dtypes[k]; /* one past the end is never read */
    if (k == types) bdpti_bad(r, "unknown dtype '%s'", bdpti_show(word, shown));
  }
  for (i = 0; i < 3; i++) {
    if (!seen[i]) bdpti_bad(r, "%s is missing", field[i]); /* all three are needed */
  }
  if (ends != 2) bdpti_bad(r, "data_offsets must be two numbers");
}

/* Reads one tensor and checks the rules that it can break alone. */
BDPTI_FN void bdpti_walk_tensor(bdpti_reader *r) {
  size_t from, to, bits = 0;
  bdpt_file_tensor *t = &r->t;
  int i = 0, fits = 1;
  t->name = bdpti_keep(r);
  bdpti_need(r, ':');
  bdpti_read_entry(r);
  if (r->status) return; /* nothing was read that could be looked at */
  from = r->offset[0]; to = r->offset[1];
  t->count = 1; /* a scalar has no axes and one element */
  while (i < t->ndim && fits) fits = bdpti_mul(t->count, t->shape[i++], &t->count);
  fits = fits && bdpti_mul(t->count, (size_t)r->type->bits, &bits);
  t->size = bits / 8; /* they fill whole bytes, or it is an error */
  t->dtype_name = r->type->name; t->dtype = (bdpt_dtype)r->type->dtype;
  if (!fits) bdpti_bad(r, "its shape overflows: more than %zu elements or bits", (size_t)SIZE_MAX);
  if (bits % 8) bdpti_bad(r, "%zu x %s ends within a byte", t->count, t->dtype_name);
  if (to < from) bdpti_bad(r, "data_offsets [%zu, %zu] end before they begin", from, to);
  if (to - from != t->size) { /* the shape and the offsets disagree */
    bdpti_bad(r, "its shape and dtype %s need %zu byte%s, data_offsets [%zu, %zu] enclose %zu",
              t->dtype_name, t->size, bdpti_s(t->size), from, to, to - from);
  }
  if (to > r->data_bytes) {
    bdpti_bad(r, "data_offsets [%zu, %zu] reach past the end of the file, which holds %zu byte%s "
              "of data; was it cut off?", from, to, r->data_bytes, bdpti_s(r->data_bytes));
  }
  t->bytes = r->data + from;
  if (!r->status) r->out->tensor[r->out->count++] = *t; /* a copy; its name is in our block */
}

BDPTI_FN void bdpti_walk(bdpti_reader *r) {
  char name[72]; /* as much as messages show, and more than "__metadata__" needs */
  size_t n, k, at, metadata = 0;
  bdpti_need(r, '{');
  for (n = 0; bdpti_more(r, n, '}'); n++) {
    at = r->scan.at;
    bdpti_string(r, name, sizeof name);
    bdpti_show(name, r->shown);
    if (strcmp(name, "__metadata__") != 0) {
      r->scan.at = at; /* the name is read again, to be kept */
      bdpti_walk_tensor(r);
      continue;
    }
    if (metadata++) bdpti_bad(r, "it occurs twice");
    bdpti_need(r, ':');
    bdpti_need(r, '{');
    for (k = 0; bdpti_more(r, k, '}'); k++) {
      r->out->key[r->out->pairs++] = bdpti_keep(r); /* the value stands behind it */
      bdpti_need(r, ':');
      bdpti_keep(r);
    }
  }
  r->shown[0] = 0;
  bdpti_scan_pass(&r->scan, bdpti_blanks, SIZE_MAX);
  if (r->scan.at == r->scan.size) return;
  bdpti_bad(r, "bytes behind the header, at byte %zu", 8 + r->scan.at);
}

BDPTI_FN int bdpti_by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

BDPTI_FN int bdpti_by_offset(const void *a, const void *b) {
  const bdpt_file_tensor *x = (const bdpt_file_tensor *)a, *y = (const bdpt_file_tensor *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* both in the same file */
  return x->size < y->size ? -1 : x->size > y->size;
}

/* Heapsort: n log n steps whatever a file contains, and no memory, neither of which qsort promises.
 * The rows are keys or tensors; both begin with a pointer to a string. */
BDPTI_FN void bdpti_sort(void *table, size_t n, size_t row, int (*by)(const void *, const void *)) {
  unsigned char *p = (unsigned char *)table;
  size_t start = n / 2, end = n, root, child; /* rows start .. end - 1 are a heap */
  bdpt_file_tensor moved; /* the larger kind of row; it sinks to its place */
  while (end > 1) {
    memcpy(&moved, p + (start > 0 ? start - 1 : end - 1) * row, row); /* the row that must sink */
    if (start > 0) start--; /* the heap still grows downwards */
    else memmove(p + --end * row, p, row); /* its largest row goes behind it */
    for (root = start; (child = 2 * root + 1) < end; root = child) {
      if (child + 1 < end && by(p + child * row, p + (child + 1) * row) < 0) child++;
      if (by(&moved, p + child * row) >= 0) break; /* no child is larger */
      memcpy(p + root * row, p + child * row, row);
    }
    memcpy(p + root * row, &moved, row);
  }
}

/* Sorts by name, and no name may occur twice. */
BDPTI_FN void bdpti_sort_names(bdpti_reader *r, void *all, size_t n, size_t row, const char *what) {
  const unsigned char *p = (const unsigned char *)all;
  bdpti_sort(all, n, row, bdpti_by_name);
  for (; n > 1 && !r->status; n--, p += row) { /* equal names are neighbours now */
    if (bdpti_by_name(p, p + row) != 0) continue; /* in order and different */
    bdpti_show(*(const char *const *)(const void *)p, r->shown);
    bdpti_bad(r, "this %s occurs twice", what);
  }
}

/* Checks the rules that only all entries together can break: no key and no name occurs twice; in
 * the order of their offsets, each tensor begins where the one before it ended. */
BDPTI_FN void bdpti_check_all(bdpti_reader *r) {
  bdpt_file_tensor *t = r->out->tensor;
  const char *before = ""; /* the tensor that ends at `end` */
  size_t i, begin, end = 0, n = r->out->count; /* offsets into the data */
  char shown[72];
  bdpti_sort(t, n, sizeof *t, bdpti_by_offset); /* where two begin together, the empty one first */
  for (i = 0; i < n && !r->status; i++) {
    begin = (size_t)(t[i].bytes - r->data);
    bdpti_show(t[i].name, r->shown);
    if (begin != end) { /* each begins where the one before ends */
      bdpti_bad(r, "%s: it begins at byte %zu of the data, what is before it ('%s') ends at %zu",
                begin < end ? "an overlap" : "a hole", begin, bdpti_show(before, shown), end);
    }
    before = t[i].name;
    end += t[i].size;
  }
  r->shown[0] = 0;
  if (end != r->data_bytes) { /* nothing may be left over */
    bdpti_bad(r, "bytes behind the last tensor, of none: %zu", r->data_bytes - end);
  }
  bdpti_sort_names(r, r->out->key, r->out->pairs, sizeof *r->out->key, "metadata key");
  bdpti_sort_names(r, t, n, sizeof *t, "name"); /* for bdpt_safetensors_find too */
}

/* Reads the first eight bytes and checks whether what they announce can be there at all. Most
 * reports of a broken file are about something else that bears the name: a page, a pointer, an
 * archive. Eight bytes of any of these are a length beyond the limit, and they tell what it is. */
BDPTI_FN size_t bdpti_header_size(bdpti_reader *r, const char *bytes, size_t size) {
  size_t begin = size < 8 ? size : 8, i;
  uint64_t n = bdpti_get_bytes((const unsigned char *)bytes, (int)begin); /* the length, if 8 */
  char start[41] = "";
  for (i = 0; i < 40 && i < size; i++) {
    start[i] = bytes[i];
    if (start[i] < ' ' || start[i] > '~') start[i] = '?'; /* a byte that cannot be shown */
  }
  if (size == 0) bdpti_bad(r, "the file is empty");
  if (size < 8) bdpti_bad(r, "a length of 8 bytes comes first, here are %zu", size);
  if (n > BDPT_HEADER_LIMIT) {
    bdpti_bad(r, "header over the limit of %zu bytes; no safetensors file begins '%s'",
              BDPT_HEADER_LIMIT, start);
  }
  if (n > size - begin) {
    bdpti_bad(r, "the header should be %zu byte%s long, but %zu follow; was the file cut off?",
              (size_t)n, bdpti_s((size_t)n), size - begin);
  }
  return (size_t)n;
}

BDPT_API bdpt_status bdpt_safetensors_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                            const char *name, bdpt_safetensors *out) {
  const char *text = (const char *)bytes + 8; /* the header */
  size_t n, keys, strings, room; /* its length; where the parts of our block begin, and its end */
  unsigned char *p;
  bdpti_reader r;
  memset(out, 0, sizeof *out);
  bdpti_reader_init(&r, ctx, name);
  r.out = out;
  n = bdpti_header_size(&r, (const char *)bytes, size); /* bytes of the header */
  if (r.status) return r.status;
  r.data = (const unsigned char *)text + n;
  r.data_bytes = size - 8 - n; /* not negative: n was checked */
  keys = n / 50 * sizeof *out->tensor; /* the parts in the order of their alignment */
  strings = keys + n / 6 * sizeof *out->key;
  room = strings + n; /* no overflow: of 100 MB at most */
  p = (unsigned char *)bdpt_alloc(ctx, room);
  if (!p) return BDPT_E_MEMORY;
  out->ctx = ctx; /* from here on there is something to close */
  out->memory = p; out->memory_bytes = room;
  out->tensor = (bdpt_file_tensor *)(void *)p;
  out->key = (const char **)(void *)(p + keys);
  r.string = (char *)(p + strings);
  r.scan.text = text; r.scan.size = n;
  bdpti_walk(&r); /* fills */
  if (!r.status) bdpti_check_all(&r); /* and sorts */
  if (r.status) bdpt_safetensors_close(out);
  return r.status;
}

BDPT_API void bdpt_safetensors_close(bdpt_safetensors *file) {
  if (!file->ctx) return; /* closed already, or never open */
  bdpt_release(file->ctx, file->memory, file->memory_bytes);
  memset(file, 0, sizeof *file);
}

BDPT_API const bdpt_file_tensor *bdpt_safetensors_find(const bdpt_safetensors *file,
                                                       const char *name) {
  const bdpt_file_tensor *t = file->tensor;
  if (!file->count) return NULL; /* also after a failed parse */
  return (const bdpt_file_tensor *)bsearch(&name, t, file->count, sizeof *t, bdpti_by_name);
}

BDPT_API const char *bdpt_safetensors_get(const bdpt_safetensors *file, const char *key) {
  size_t i = 0;
  while (i < file->pairs && strcmp(file->key[i], key) != 0) i++; /* few pairs, so one by one */
  return i < file->pairs ? file->key[i] + strlen(key) + 1 : NULL; /* behind the key's zero */
}

BDPT_API bdpt_status bdpt_safetensors_read(bdpt_context *ctx, const bdpt_file_tensor *tensor,
                                           bdpt_real *out, size_t count) {
  const bdpti_dtype *type = bdpti_dtype_row(tensor->dtype);
  char shown[72];
  size_t i, step = type ? (size_t)type->bits / 8 : 0;
  bdpti_show(tensor->name, shown);
  if (!type) {
    return bdpt_fail(ctx, BDPT_E_FORMAT, "'%s': numbers of dtype %s cannot be read", shown,
                     tensor->dtype_name);
  }
  if (count != tensor->count) { /* out would be too small or too large */
    return bdpt_fail(ctx, BDPT_E_SHAPE, "'%s': %zu element%s, but %zu wanted", shown,
                     tensor->count, bdpti_s(tensor->count), count);
  }
  for (i = 0; i < count; i++) {
    uint64_t bits = bdpti_get_bytes(tensor->bytes + i * step, (int)step);
    uint32_t narrow = (uint32_t)(bits & UINT32_MAX);
    if (type->fraction && step == sizeof *out) {
      memcpy(&out[i], step == 8 ? (void *)&bits : (void *)&narrow, step);
    } else if (type->fraction) {
      out[i] = (bdpt_real)bdpti_unpack(bits, type->exponent, type->fraction);
    }
    else out[i] = type->dtype == BDPT_I64 ? (bdpt_real)(int64_t)bits : (bdpt_real)bits;
  }
  return BDPT_OK;
}

/* 13.5  Writing safetensors                                                               >>write
 *
 * Files come out byte for byte as the reference writes them: the widest dtype first, then names in
 * the order of their bytes, no blanks in the JSON, spaces at its end until the numbers start at a
 * multiple of eight. Only the order of the metadata is ours, the caller's order; the reference's is
 * that of a hash table and changes from run to run.
 *
 * The header is written twice by the same function: once to be measured, once to be kept. Then the
 * reader above judges the file before anybody gets it, so a name that occurs twice or is no UTF-8
 * needs no check of its own here.
 */
typedef struct bdpti_piece { /* of a file to be */
  const bdpt_write_tensor *tensor; /* the caller's */
  const bdpti_dtype *type;
  size_t bytes;                    /* it takes in the file */
} bdpti_piece;

BDPTI_FN bdpt_status bdpti_piece_init(bdpt_context *ctx, bdpti_piece *p,
                                      const bdpt_write_tensor *t) {
  const char *why = NULL;
  int i, fits = 1;
  p->tensor = t; p->type = bdpti_dtype_row(t->dtype); /* NULL: a dtype that is not read either */
  p->bytes = p->type ? (size_t)p->type->bits / 8 : 0; /* all that have a row are whole bytes */
  for (i = 0; i < t->ndim && i < BDPT_MAX_DIMS && fits; i++) {
    fits = bdpti_mul(p->bytes, t->shape[i], &p->bytes);
  }
  if (!t->name) why = "it has no name";
  else if (!p->type) why = "this dtype cannot be written";
  else if (!t->raw && t->dtype != BDPT_REAL_DTYPE) why = "real numbers have another dtype";
  else if (t->ndim < 0 || t->ndim > BDPT_MAX_DIMS) why = "it has more than 4 axes";
  else if (!fits) why = "its shape overflows";
  else if (!t->data && p->bytes) why = "it has no data";
  if (!why) return BDPT_OK;
  return bdpt_fail(ctx, BDPT_E_ARGUMENT, "write: '%s', dtype %d: %s", t->name, t->dtype, why);
}

BDPTI_FN int bdpti_by_alignment(const void *a, const void *b) {
  const bdpti_piece *x = (const bdpti_piece *)a, *y = (const bdpti_piece *)b;
  if (x->type != y->type) return x->type < y->type ? 1 : -1; /* rows of one table */
  return strcmp(x->tensor->name, y->tensor->name); /* no two are equal in a good file */
}

/* Writes a string in quotes, escaped as little as JSON allows, in the reference's spelling. */
BDPTI_FN void bdpti_put_json(bdpti_text *t, const char *s) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", hex[] = "0123456789abcdef";
  bdpti_put(t, '"');
  for (; *s; s++) {
    const char *escape = strchr(from, *s); /* those with a letter of their own */
    int control = !escape && (unsigned char)*s < 0x20; /* the others: \u00 and two digits */
    if (escape) bdpti_put(t, '\\');
    if (control) bdpti_put_string(t, "\\u00");
    if (control) bdpti_put(t, hex[*s >> 4]);
    if (escape) bdpti_put(t, to[escape - from]);
    else bdpti_put(t, control ? hex[*s & 15] : *s);
  }
  bdpti_put(t, '"');
}

/* The pieces stand in the order of the file, the metadata as the caller ordered them. */
BDPTI_FN void bdpti_put_header(bdpti_text *t, const bdpti_piece *piece, size_t count,
                               const char *const *key, const char *const *value, size_t pairs) {
  size_t i, place[2] = {0, 0}; /* data_offsets */
  t->used = 0; /* measuring or keeping, it starts from the front */
  bdpti_put(t, '{');
  for (i = 0; i < pairs; i++) {
    bdpti_put_string(t, i ? "," : "\"__metadata__\":{");
    bdpti_put_json(t, key[i]);
    bdpti_put(t, ':');
    bdpti_put_json(t, value[i]);
  }
  if (pairs) bdpti_put_string(t, count ? "}," : "}"); /* the end of __metadata__ */
  for (i = 0; i < count; i++) {
    const bdpti_piece *p = &piece[i];
    place[0] = place[1]; place[1] += p->bytes; /* back to back */
    if (i) bdpti_put(t, ',');
    bdpti_put_json(t, p->tensor->name);
    bdpti_put_string(t, ":{\"dtype\":\"");
    bdpti_put_string(t, p->type->name);
    bdpti_put_string(t, "\",\"shape\":");
    bdpti_put_sizes(t, p->tensor->ndim, p->tensor->shape);
    bdpti_put_string(t, ",\"data_offsets\":");
    bdpti_put_sizes(t, 2, place);
    bdpti_put(t, '}');
  }
  bdpti_put(t, '}');
  while (t->used % 8) bdpti_put(t, ' '); /* 8 bytes of length come before it */
}

BDPT_API bdpt_status bdpt_safetensors_build(bdpt_context *ctx, const bdpt_write_tensor *tensors,
                                            size_t count, const char *const *key,
                                            const char *const *value, size_t pairs,
                                            bdpt_bytes *out) {
  bdpti_text t = {NULL, 0, 0}; /* no room: it only measures */
  bdpt_safetensors check;
  size_t i, k, at, n = 0, room = count * sizeof(bdpti_piece); /* n: bytes of the numbers */
  bdpti_piece *piece = (bdpti_piece *)bdpt_alloc(ctx, room);
  unsigned char *p;
  bdpt_status s = piece ? BDPT_OK : BDPT_E_MEMORY;
  out->data = NULL; out->size = 0;
  for (i = 0; i < count && !s; i++) { /* each must be writable */
    s = bdpti_piece_init(ctx, &piece[i], &tensors[i]);
    if (!bdpti_add(n, piece[i].bytes, &n)) n = SIZE_MAX; /* refused by the allocator */
  }
  if (!s) {
    qsort(piece, count, sizeof *piece, bdpti_by_alignment); /* a caller sets no traps */
    bdpti_put_header(&t, piece, count, key, value, pairs);
    if (!bdpti_add(9 + t.used, n, &n)) n = SIZE_MAX; /* of the whole file and a 0, from now on */
    out->data = p = (unsigned char *)bdpt_alloc(ctx, n);
    if (p) out->size = n - 1;
    else s = BDPT_E_MEMORY;
  }
  if (!s) {
    bdpti_put_bytes(p, 8, (uint64_t)t.used); /* N, the length of the header */
    t.out = (char *)p + 8;
    t.room = t.used + 1;
    bdpti_put_header(&t, piece, count, key, value, pairs);
    for (i = 0, at = 8 + t.used; i < count; at += piece[i++].bytes) {
      const bdpt_write_tensor *w = piece[i].tensor;
      size_t step = (size_t)piece[i].type->bits / 8, end = w->raw ? 0 : piece[i].bytes;
      if (w->raw && piece[i].bytes) memcpy(p + at, w->data, piece[i].bytes);
      for (k = 0; k < end; k += step) {
        const bdpt_real *v = (const bdpt_real *)w->data + k / step;
        bdpti_put_bytes(p + at + k, (int)step, bdpti_pack(v));
      }
    }
    s = bdpt_safetensors_parse(ctx, p, out->size, "write", &check);
    bdpt_safetensors_close(&check);
  }
  bdpt_release(ctx, piece, room);
  if (s) bdpt_bytes_free(ctx, out); /* else it is the caller's from now on */
  return s;
}

/* 13.6  Whole files                                                                          >>io
 *
 * A file under its final name is always whole. Writing goes to NAME.bdpt-tmp-PROCESS-0 in the same
 * folder; the bytes are flushed to the disk; then the temporary file takes the name, replacing the
 * old file in one step, and keeps its permissions. If anything fails before that, it is removed and
 * the old file has not been touched. Many processes may save to one name at once; the last one's
 * file stays. A crash leaves at worst a temporary file, which may be deleted.
 *
 * A name that is a link stands for the file that it leads to; a link to nothing is refused, and so
 * is a file that nobody may write, also to the superuser. What is no file, such as a device or a
 * pipe, is written to and never replaced.
 *
 * Here are the library's only calls of an operating system: open a file that must not exist, ask
 * what a name is, follow links, force bytes to the disk, replace. Elsewhere files are written the
 * plain way. Strict C hides POSIX's functions, so we declare them. The folder is not synced: after
 * a loss of power the name may stand for the old file, whole.
 */
#ifndef BDPT_NO_STDIO
#if defined(__unix__) || (defined(__APPLE__) && defined(__MACH__))
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__STRICT_ANSI__) && !defined(__cplusplus)
int (fileno)(FILE *); /* in parentheses, because the names could be macros */
int (fsync)(int);
FILE *(fdopen)(int, const char *);
ssize_t (readlink)(const char *, char *, size_t);
char *(realpath)(const char *, char *);
#endif
#define BDPTI_PROCESS ((size_t)getpid())
#define BDPTI_REAL_NAME(path, out) realpath(path, out) /* NULL after an error */
#define BDPTI_REPLACE(from, to) rename(from, to)
#define BDPTI_FSYNC(f) fsync(fileno(f))

/* 0: no such name; 1: a file; 2: something else; 3: nobody knows; -1: read-only. */
BDPTI_FN int bdpti_name_kind(const char *path, unsigned *mode) {
  struct stat s;
  char c;
  if (stat(path, &s) != 0) { /* it may be there all the same, or be a link to nothing */
    return errno == ENOENT && readlink(path, &c, 1) < 0 ? 0 : 3;
  }
  *mode = (unsigned)s.st_mode & 07777; /* permissions, kept by the new file */
  if (!S_ISREG(s.st_mode) || strncmp(path, "/dev/", 5) == 0) return 2;
  return s.st_mode & 0222 ? 1 : -1;
}

BDPTI_FN FILE *bdpti_open_new(const char *path, unsigned mode) {
  int file = open(path, O_CREAT | O_EXCL | O_WRONLY, mode);
  FILE *f = file < 0 ? NULL : fdopen(file, "wb");
  if (f && mode != 0666) (void)chmod(path, (mode_t)mode); /* whatever the process's mask says */
  if (f || file < 0) return f;
  close(file);
  remove(path);
  return NULL;
}
#elif defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#include <process.h>
#ifdef __cplusplus
extern "C"
#endif
__declspec(dllimport) int __stdcall MoveFileExA(const char *, const char *, unsigned long);
#define BDPTI_PROCESS ((size_t)_getpid())
#define BDPTI_REPLACE(from, to) (MoveFileExA(from, to, 1 | 8) ? 0 : -1) /* at once, and through */
#define BDPTI_FSYNC(f) _commit(_fileno(f))
#define BDPTI_REAL_NAME(path, out) path

BDPTI_FN int bdpti_name_kind(const char *path, unsigned *mode) {
  char full[_MAX_PATH];
  *mode = 0666;
  if (_fullpath(full, path, sizeof full) && full[2] == '.') return 2; /* NUL is \\.\NUL */
  if (_access(path, 0) != 0) return 0;
  return _access(path, 2) == 0 ? 1 : -1;
}

BDPTI_FN FILE *bdpti_open_new(const char *path, unsigned mode) {
  int file = _open(path, _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY, 0600);
  (void)mode;
  return file < 0 ? NULL : _fdopen(file, "wb");
}
#else
#define BDPTI_PROCESS ((size_t)0)
#define BDPTI_FSYNC(f) 0
#define BDPTI_REPLACE(from, to) (rename(from, to) && (remove(to) || rename(from, to)))
#define bdpti_name_kind(path, mode) ((void)(mode), 0)
#define BDPTI_REAL_NAME(path, out) path
#define bdpti_open_new(path, mode) ((void)(mode), fopen(path, "wb"))
#endif

/* Fails with "path: what (the system's reason)". */
BDPTI_FN bdpt_status bdpti_fail_io(bdpt_context *ctx, const char *path, const char *what) {
  return bdpt_fail(ctx, BDPT_E_IO, "%s: %s (%s)", path, what,
                   errno ? strerror(errno) : "no reason given");
}

/* The size is asked but not trusted, since pipes cannot tell, folders lie, and a long may be too
 * short: reading goes on, into a block twice as large, until a block is not filled. At the end it
 * has one byte more than the file, a zero, so that text is terminated. */
BDPTI_FN bdpt_status bdpti_file_fill(bdpt_context *ctx, const char *path, FILE *f,
                                     bdpt_bytes *out) {
  long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -2; /* -2: it cannot seek, so it has not */
  size_t room = end >= 0 && end < LONG_MAX ? (size_t)end + 1 : (size_t)1 << 16;
  size_t has = 0; /* bytes of the block */
  if (end > -2 && fseek(f, 0, SEEK_SET) != 0) return bdpti_fail_io(ctx, path, "seeking failed");
  while (has != room) { /* equal: it was not filled, and one byte is left */
    unsigned char *p = (unsigned char *)bdpt_alloc(ctx, room);
    if (p && out->size) memcpy(p, out->data, out->size); /* what was read so far */
    bdpt_release(ctx, out->data, has);
    out->data = p; has = room;
    if (!p) return BDPT_E_MEMORY;
    out->size += fread(p + out->size, 1, room - out->size, f);
    room = out->size < room ? out->size + 1 : 2 * room;
  }
  if (ferror(f)) return bdpti_fail_io(ctx, path, "reading failed");
  if (end < 0 || end == LONG_MAX || out->size >= (size_t)end) return BDPT_OK;
  return bdpt_fail(ctx, BDPT_E_IO, "%s: only %zu of its %zu bytes could be read", path, out->size,
                   (size_t)end);
}

/* Reads a file. One that is not there is an error only if it must be, or else has no data; one that
 * cannot be opened may be there all the same, and a run that began anew would replace it. */
BDPTI_FN bdpt_status bdpti_file_get(bdpt_context *ctx, const char *path, int must,
                                    bdpt_bytes *out) {
  bdpt_status s;
  FILE *f;
  out->data = NULL; out->size = 0;
  errno = 0; /* C does not promise that fopen sets it */
  f = fopen(path, "rb");
  if (!f && !must && errno == ENOENT) return BDPT_OK;
  if (!f) return bdpti_fail_io(ctx, path, "cannot be opened for reading");
  s = bdpti_file_fill(ctx, path, f, out);
  fclose(f);
  if (s) bdpt_bytes_free(ctx, out);
  return s;
}

/* Writes, flushes, forces to the disk and closes. Returns what failed (see errno), or NULL. */
BDPTI_FN const char *bdpti_file_fill_in(FILE *f, const void *bytes, size_t size, int force) {
  const char *failed = NULL;
  int why;
  if (size && fwrite(bytes, 1, size, f) != size) failed = "writing failed";
  else if (fflush(f) != 0) failed = "flushing failed"; /* stdio's buffer */
  else if (force && BDPTI_FSYNC(f) != 0) failed = "forcing it to the disk failed";
  why = errno; /* fclose may change it */
  if (fclose(f) != 0 && !failed) return "closing failed";
  errno = why;
  return failed;
}

/* Opens a new file beside `path` and writes its name to `name`. */
BDPTI_FN FILE *bdpti_open_beside(const char *path, unsigned mode, char *name, size_t room) {
  FILE *f = NULL;
  int k;
  for (k = 0; !f && k < 100; k++) { /* more than one by threads, or by a process that has died */
    bdpt_format(name, room, "%s.bdpt-tmp-%zu-%d", path, BDPTI_PROCESS, k);
    errno = 0;
    f = bdpti_open_new(name, mode);
    if (!f && errno != EEXIST) break; /* not because the name is taken */
  }
  return f;
}

BDPT_API bdpt_status bdpt_file_write(bdpt_context *ctx, const char *path, const void *bytes,
                                     size_t size) {
  const size_t room = strlen(path) + 8192; /* for where links lead, at most 4096, and a suffix */
  char *name, *beside; /* where a link leads; of the temporary file */
  const char *to = path, *failed = "cannot be opened for writing"; /* to: where it leads */
  unsigned mode = 0666;
  bdpt_status s = BDPT_OK;
  FILE *f = NULL;
  int kind;
  if (ctx->cluster.size > 1 && ctx->cluster.rank > 0) return BDPT_OK; /* process 0 writes for all */
  name = (char *)bdpt_alloc(ctx, 2 * room);
  if (!name) return BDPT_E_MEMORY;
  beside = name + room;
  errno = 0;
  kind = bdpti_name_kind(path, &mode);
  if (kind == 1) to = BDPTI_REAL_NAME(path, name);
  if (kind == 3 || !to) failed = "nobody can say what stands there";
  else if (kind == 2) f = fopen(path, "wb");
  else if (kind >= 0) f = bdpti_open_beside(to, mode, beside, room);
  if (f) failed = bdpti_file_fill_in(f, bytes, size, kind != 2);
  if (f && kind != 2 && !failed && BDPTI_REPLACE(beside, to) != 0) {
    failed = "the temporary file cannot take this name";
  }
  if (kind < 0) s = bdpt_fail(ctx, BDPT_E_IO, "%s is read-only and stays as it is", path);
  else if (failed) s = bdpti_fail_io(ctx, !f && *beside ? beside : path, failed);
  if (s && f && kind != 2) remove(beside); /* the old file is as it was */
  bdpt_release(ctx, name, 2 * room);
  return s;
}

#else /* two refusals, on which all calls that name a file rest */
BDPTI_FN bdpt_status bdpti_file_get(bdpt_context *ctx, const char *path, int must,
                                    bdpt_bytes *out) {
  memset(out, 0, sizeof *out);
  (void)must;
  return bdpt_fail(ctx, BDPT_E_IO, "%s: built without files", path);
}

BDPT_API bdpt_status bdpt_file_write(bdpt_context *ctx, const char *path, const void *bytes,
                                     size_t size) {
  (void)bytes;
  (void)size;
  return bdpt_fail(ctx, BDPT_E_IO, "%s: built without files", path);
}
#endif /* BDPT_NO_STDIO */

BDPT_API bdpt_status bdpt_file_read(bdpt_context *ctx, const char *path, bdpt_bytes *out) {
  return bdpti_file_get(ctx, path, 1, out);
}

/* 13.7  Models                                                                       >>model-files
 *
 * A checkpoint is the network's parameters under timm's names and, in the metadata, what shapes
 * cannot tell. A pruned network is plain data like any other: removed attention has no qkv and no
 * proj, a fused MLP is blocks.N.mlp.fused.{weight,bias} in place of fc1 and fc2, a fitted attention
 * is blocks.N.attn.fitted.{weight,bias}; and the lists say so once more in words.
 *
 * The table below has all keys of the metadata but three. format is pt, as PyTorch's tools expect;
 * boundarydpt is the table's version, 1, or 2 where there is a key that DeiT does not need, and is
 * asked for first; label_names, if somebody has told them, are the classes' names, ["cat","dog"].
 *
 * Loading goes the other way. The configuration is what the caller brings, and the metadata have
 * the last word. Together they say which tensors there must be; they are compared with those that
 * are there, name by name and shape by shape, in both directions. Memory is asked for tensor by
 * tensor, each after its shape was found in the file, so no metadata can ask for more than the file
 * holds. Nothing is guessed from shapes: they tell neither the heads nor eps, the
 * activation, or how images were made, and a network that runs and is wrong is worse than none.
 * Other programs say such things in other ways, which examples/tool translates.
 *
 * One table serves both directions, so the writer cannot forget what the reader wants. What a key
 * holds:  i whole numbers, r real ones: n of them, or one for each block;  l the blocks whose state
 * is n;  g those whose state is n or beyond;  w one of n words, each with its zero byte;  t a text,
 * in a room of n bytes;  I and W are i and w that are not written when they are zero.
 */
typedef struct bdpti_key {
  const char *key;
  char kind;         /* i, r, l, g, w, t, I, W */
  int each, n;       /* each: one for each block; `at` is the first one's place in bdpt_model */
  size_t at;
  const char *words; /* of kind w, else "" */
} bdpti_key;
#define BDPTI_ONE(n, member) 0, n, offsetof(bdpt_model, config) + offsetof(bdpt_config, member)
#define BDPTI_EACH(n, member) 1, n, offsetof(bdpt_model, config) + \
                              offsetof(bdpt_config, block) + offsetof(bdpt_block, member)

static const bdpti_key bdpti_keys[] = {
  /* Whole numbers; from num_heads on one for each block, [3,3,2], or one for all. */
  {"image_size", 'i', BDPTI_ONE(1, image), ""}, {"patch_size", 'i', BDPTI_ONE(1, patch), ""},
  {"in_chans", 'i', BDPTI_ONE(1, channels), ""}, {"num_classes", 'i', BDPTI_ONE(1, classes), ""},
  {"embed_dim", 'i', BDPTI_ONE(1, width), ""}, {"depth", 'i', BDPTI_ONE(1, depth), ""},
  {"distilled", 'i', BDPTI_ONE(1, distilled), ""}, {"num_heads", 'i', BDPTI_EACH(0, heads), ""},
  {"head_dim", 'i', BDPTI_EACH(0, head_dim), ""}, {"mlp_dim", 'i', BDPTI_EACH(0, mlp), ""},
  /* Real numbers, written so that they read back to the same bits (13.2). */
  {"attn_scale", 'r', BDPTI_EACH(0, scale), ""}, {"layer_norm_eps", 'r', BDPTI_ONE(1, eps), ""},
  {"image_mean", 'r', BDPTI_ONE(3, mean), ""}, {"image_std", 'r', BDPTI_ONE(3, std), ""},
  /* Blocks from 0, [3,7]; a fused block is also in drop_act_list. Later lists win. */
  {"drop_attn_list", 'l', BDPTI_EACH(BDPT_ATTENTION_REMOVED, attention), ""},
  {"fitted_attn_list", 'l', BDPTI_EACH(BDPT_ATTENTION_FITTED, attention), ""},
  {"drop_act_list", 'g', BDPTI_EACH(BDPT_MLP_LINEAR, mlp_state), ""},
  {"fused_mlp_list", 'l', BDPTI_EACH(BDPT_MLP_FUSED, mlp_state), ""},
  {"fitted_mlp_list", 'l', BDPTI_EACH(BDPT_MLP_FITTED, mlp_state), ""},
  /* Words in the order of the enums; attn_form is what a removed attention leaves. */
  {"attn_form", 'w', BDPTI_ONE(3, attn_form), "ln\0skip\0double"},     /* BDPT_ATTN_... */
  {"extra_gelu", 'w', BDPTI_ONE(3, extra_gelu), "none\0both\0always"}, /* BDPT_GELU_... */
  {"pos_resize", 'w', BDPTI_ONE(2, pos_resize), "timm\0deit"},         /* BDPT_POS_... */
  {"act_layer", 'W', BDPTI_ONE(4, act), "gelu\0gelu_tanh\0quick_gelu\0relu"}, /* bdpt_act */
  {"global_pool", 'W', BDPTI_ONE(4, pool), "token\0avg_fc_norm\0avg\0token_avg"},
  /* Whole numbers that are zero in DeiT; those two words and these are left out there. */
  {"no_class_token", 'I', BDPTI_ONE(1, no_class), ""},
  {"pre_norm", 'I', BDPTI_ONE(1, pre_norm), ""},
  {"reg_tokens", 'I', BDPTI_ONE(1, registers), ""}, {"no_head", 'I', BDPTI_ONE(1, headless), ""},
  {"no_qkv_bias", 'I', BDPTI_ONE(1, no_qkv_bias), ""},
  {"image_width", 'I', BDPTI_ONE(1, image_width), ""},
  /* Text, kept as it is: a digest, a sentence, how images were made. */
  {"parent", 't', 0, 65, offsetof(bdpt_model, parent), ""},
  {"certificate", 't', 0, 200, offsetof(bdpt_model, certificate), ""},
  {"preprocessing", 't', 0, 100, offsetof(bdpt_model, preprocessing), ""}};

/* Returns where the i-th number of a key is: in block i, or in an array of real numbers. */
BDPTI_FN void *bdpti_key_at(const bdpti_key *k, const bdpt_model *m, int i) {
  return (unsigned char *)m + k->at + (size_t)i * (k->each ? sizeof(bdpt_block) : sizeof(double));
}

/* Returns the i-th word of a key, NULL beyond the last. */
BDPTI_FN const char *bdpti_key_word(const bdpti_key *k, int i) {
  const char *word = k->words;
  if (i >= k->n) return NULL; /* there are no more */
  while (i-- > 0) word += strlen(word) + 1; /* over a word and its zero */
  return word;
}

/* Writes the value of a key as text. */
BDPTI_FN void bdpti_key_put(bdpti_text *t, const bdpti_key *k, const bdpt_model *m) {
  int i, written = 0, n = k->each ? m->config.depth : k->n, list = k->each || n > 1; /* brackets */
  const void *at = bdpti_key_at(k, m, 0);
  if (k->kind == 't') bdpti_put_string(t, (const char *)at);
  if (*k->words) bdpti_put_string(t, bdpti_key_word(k, *(const int *)at));
  if (k->kind == 't' || *k->words) return;
  if (list) bdpti_put(t, '[');
  for (i = 0; i < n; i++) {
    at = bdpti_key_at(k, m, i);
    if (k->kind == 'l' && *(const int *)at != k->n) continue; /* a block in another state */
    if (k->kind == 'g' && *(const int *)at < k->n) continue; /* a block in an earlier state */
    if (written++) bdpti_put(t, ',');
    if (k->kind == 'r') bdpti_put_number(t, *(const double *)at, 17, 16);
    else bdpti_put_size(t, (size_t)(k->kind == 'l' || k->kind == 'g' ? i : *(const int *)at));
  }
  if (list) bdpti_put(t, ']');
}

BDPT_API bdpt_status bdpt_model_label(bdpt_model *m, const char *names) {
  const size_t size = names ? strlen(names) + 1 : 0;
  char *copy = size ? (char *)bdpt_alloc(m->ctx, size) : NULL;
  if (size && !copy) return m->ctx->status;
  if (size) memcpy(copy, names, size);
  if (m->labels) bdpt_release(m->ctx, m->labels, strlen(m->labels) + 1);
  m->labels = copy;
  return BDPT_OK;
}

/* Sends eight bytes at a time through chapter 4's mixer; slot and size come before each tensor. */
BDPT_API void bdpt_model_hash(const bdpt_model *m, char out[17]) {
  uint64_t h = 0, word, le = 1; /* the digest; eight bytes; its first byte is 1 if little-endian */
  int i;
  for (i = 0; i < m->slots; i++) {
    const unsigned char *bytes = (const unsigned char *)m->param[i].data;
    size_t size = m->param[i].count * sizeof(bdpt_real), at; /* bytes */
    if (!bytes || !bdpti_slot_used(&m->config, i)) continue;
    h = bdpti_mix64(h ^ bdpti_slot_number(i) ^ ((uint64_t)size << 16));
    for (at = 0; at < size; at += 8) {
      word = 0;
      memcpy(&word, bytes + at, size - at < 8 ? size - at : 8); /* zeros behind the last bytes */
      h = bdpti_mix64(h + (sizeof(bdpt_real) > 4 || *(char *)&le ? word : word << 32 | word >> 32));
    }
  }
  for (i = 0; i < 16; i++) out[i] = "0123456789abcdef"[(h >> (60 - 4 * i)) & 15]; /* hex digits */
  out[16] = 0;
}

typedef struct bdpti_draft { /* too large for a stack */
  bdpt_write_tensor list[BDPT_MAX_SLOTS];
  const char *key[40], *value[40]; /* the table's 33, names, and two that say whose they are */
  char text[10240];                /* the values; 64 blocks at their longest fill half of it */
} bdpti_draft;

/* A network that has diverged is not written, and above all not over a healthy one. */
BDPT_API bdpt_status bdpt_model_build(const bdpt_model *m, bdpt_bytes *out) {
  bdpti_draft *d = (bdpti_draft *)bdpt_alloc(m->ctx, sizeof *d);
  size_t count = 0, pairs = 2; /* tensors and metadata so far */
  bdpti_text t = {NULL, sizeof d->text, 0};
  bdpt_status s = d ? BDPT_OK : BDPT_E_MEMORY;
  int i;
  out->data = NULL; out->size = 0;
  for (i = 0; i < m->slots && !s; i++) {
    const bdpt_tensor *p = &m->param[i];
    bdpt_write_tensor *w = &d->list[count];
    size_t k = 0;
    if (!bdpt_model_active(m, i)) continue; /* what was removed is not in the file */
    while (k < p->count && p->data[k] - p->data[k] == 0) k++; /* infinity - infinity is NaN */
    if (k < p->count) {
      s = bdpt_fail(m->ctx, BDPT_E_NUMERIC, "save: element %zu of %s is %g, not finite", k, p->name,
                    (double)p->data[k]);
    }
    w->name = m->name[i]; w->dtype = BDPT_REAL_DTYPE;
    w->ndim = p->ndim; w->data = p->data;
    memcpy(w->shape, p->shape, sizeof p->shape);
    count++;
  }
  if (s) { bdpt_release(m->ctx, d, sizeof *d); return s; }
  t.out = d->text;
  d->key[0] = "format"; d->value[0] = "pt";
  d->key[1] = "boundarydpt"; d->value[1] = "1";
  for (i = 0; i < BDPTI_COUNT(bdpti_keys); i++) {
    const bdpti_key *k = &bdpti_keys[i];
    if (k->kind == 't' && !*(const char *)bdpti_key_at(k, m, 0)) continue; /* an empty text */
    if (strchr("IW", k->kind) && !*(const int *)bdpti_key_at(k, m, 0)) continue; /* as in DeiT */
    if (strchr("IW", k->kind)) d->value[1] = "2"; /* version 1 would not understand it */
    d->key[pairs] = k->key;
    d->value[pairs++] = d->text + t.used;
    bdpti_key_put(&t, k, m);
    bdpti_put(&t, 0); /* ends this value */
  }
  if (m->labels) { d->key[pairs] = "label_names"; d->value[pairs++] = m->labels; }
  s = bdpt_safetensors_build(m->ctx, d->list, count, d->key, d->value, pairs, out);
  bdpt_release(m->ctx, d, sizeof *d);
  return s;
}

/* 13.7.1  What the metadata say
 *
 * They may say little. A key that is missing leaves what the caller has said, so a file made by
 * hand needs only what differs; but num_heads and head_dim go together. A file without the key
 * boundarydpt is not asked at all, because its `depth` might mean something else. A value is a
 * small piece of JSON, read as in 13.1. No number may be beyond a million, which every int holds;
 * the limits of 7.1 are stricter and come later. The table's order matters once: depth stands
 * before the keys that have a number for each block.
 */

/* Reads the numbers of a value, "[3,7]" or "3". Returns how many, or -1 after an error. Unless they
 * may be real, they must be whole; none may be beyond a million. */
BDPTI_FN int bdpti_meta_numbers(bdpti_reader *r, const char *text, int real, double *out) {
  bdpti_scan s = {text, strlen(text), 0}; /* the value is itself a piece of JSON */
  int n = 0, list = bdpti_scan_is(&s, '['), good = 1, more = 1;
  char shown[72];
  if (list && bdpti_scan_is(&s, ']')) more = list = 0; /* an empty one */
  for (; more && good; more = list && bdpti_scan_is(&s, ',')) {
    good = n < BDPT_MAX_DEPTH && bdpti_scan_number(&s, &out[n]);
    if (good && real) good = fabs(out[n]) <= 1e6; /* 1e999 is infinite */
    else if (good) good = out[n] >= 0 && out[n] <= 1e6 && out[n] == floor(out[n]);
    n += good;
  }
  if (list) good &= bdpti_scan_is(&s, ']');
  bdpti_scan_pass(&s, bdpti_blanks, SIZE_MAX);
  if (good && s.at == s.size) return n; /* nothing follows */
  bdpti_bad(r, "the metadata say '%s', which is no %snumber up to 1000000 in 64 characters, nor "
            "a list of at most %d", bdpti_show(text, shown), real ? "" : "whole ", BDPT_MAX_DEPTH);
  return -1;
}

BDPTI_FN void bdpti_meta_value(bdpti_reader *r, bdpt_model *m, const bdpti_key *k, const char *s) {
  double v[BDPT_MAX_DEPTH]; /* the numbers of kinds i, r and l */
  const char *word = s;
  char shown[72];
  int i = 0, n, want = k->each ? m->config.depth : k->n; /* numbers there are; there must be */
  if (k->kind == 't') {
    bdpt_format((char *)m + k->at, (size_t)k->n, "%s", s);
    if (strlen(s) < (size_t)k->n) return; /* it was not cut */
    bdpti_bad(r, "%zu bytes in the metadata, at most %d fit", strlen(s), k->n - 1);
  } else if (*k->words) {
    while ((word = bdpti_key_word(k, i)) != NULL && strcmp(word, s) != 0) i++;
    *(int *)bdpti_key_at(k, m, 0) = i;
    if (!word) bdpti_bad(r, "unknown value '%s' in the metadata", bdpti_show(s, shown));
  } else {
    n = bdpti_meta_numbers(r, s, k->kind == 'r', v);
    if (k->kind == 'l' || k->kind == 'g') want = n; /* as long as it likes */
    else if (n != want && !(k->each && n == 1)) {
      bdpti_bad(r, "%d number%s in the metadata, not %d", n, bdpti_s((size_t)n), want);
    }
    for (; i < want && !r->status; i++) {
      double one = v[n > 1 ? i : 0]; /* one number may stand for all blocks */
      if (k->kind == 'r') *(double *)bdpti_key_at(k, m, i) = one;
      else if (k->kind == 'i' || k->kind == 'I') *(int *)bdpti_key_at(k, m, i) = (int)one;
      else if (one >= m->config.depth) {
        bdpti_bad(r, "the metadata name block %d of %d", (int)one, m->config.depth);
      } else {
        int *state = (int *)bdpti_key_at(k, m, (int)one);
        if (k->kind == 'l' || *state < k->n) *state = k->n;
      }
    }
  }
}

BDPTI_FN bdpt_status bdpti_meta_read(bdpti_reader *r, bdpt_model *m) {
  const char *text = bdpt_safetensors_get(r->out, "boundarydpt");
  bdpt_config *c = &m->config;
  int i;
  if (!text) return BDPT_OK; /* somebody else's file: its shapes must do */
  bdpti_show("boundarydpt", r->shown);
  if (strcmp(text, "1") != 0 && strcmp(text, "2") != 0) {
    bdpti_bad(r, "metadata of another version than 1 and 2; this is version %s of the library",
              BDPT_VERSION);
  }
  for (i = 0; i < BDPTI_COUNT(bdpti_keys) && !r->status; i++) {
    bdpti_show(bdpti_keys[i].key, r->shown);
    text = bdpt_safetensors_get(r->out, r->shown);
    if (text) bdpti_meta_value(r, m, &bdpti_keys[i], text);
    if (c->depth > BDPT_MAX_DEPTH) { /* before any key counts so many blocks */
      bdpti_bad(r, "%d is over the limit of %d", c->depth, BDPT_MAX_DEPTH);
    }
  }
  if (c->block[0].heads) c->heads = c->block[0].heads; /* the model's are the first block's */
  r->shown[0] = 0;
  return r->status;
}

/* 13.7.2  What is there and what must be there
 *
 * Both directions count. A tensor that is missing would be zeros in the network; one that is
 * unknown belongs to a layer that the network has not, so the file is another network's. The first
 * of each kind is named. Names in a file are unique, so if as many are known as there are, none is
 * unknown. What fits is read.
 */
BDPTI_FN bdpt_status bdpti_tensors_read(bdpti_reader *r, bdpt_model *m) {
  static const char *const end[3] = {"", ")", ", ...)"}; /* of a list of none, of one, of more */
  const char *missing = "";
  char unknown[400] = "", needs[100]; /* a name; also two shapes: 16 axes of 20 digits fit, and 4 */
  size_t gone = 0, extra = r->out->count, i, shape[BDPT_MAX_DIMS]; /* extra: those not read yet */
  int slot, ndim;
  for (slot = 0; slot < m->slots; slot++) {
    const bdpt_file_tensor *t = bdpt_safetensors_find(r->out, m->name[slot]);
    bdpti_text a = {unknown, sizeof unknown - 1, 0}, b = {needs, sizeof needs - 1, 0};
    if (!bdpti_slot_used(&m->config, slot)) continue; /* if it is there, it is unknown */
    if (!t && gone++ == 0) missing = m->name[slot];
    if (!t) continue;
    extra--;
    ndim = bdpti_slot_shape(&m->config, slot, shape);
    if (t->ndim == ndim && memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) == 0) {
      if (!bdpti_slot_alloc(m, slot)) return BDPT_E_MEMORY; /* as much as the file has */
      if (bdpt_safetensors_read(m->ctx, t, m->param[slot].data, t->count)) return m->ctx->status;
      r->out->tensor[t - r->out->tensor].bytes = NULL; /* marks it as known */
      continue;
    }
    bdpti_put_sizes(&a, t->ndim, t->shape);
    bdpti_put_sizes(&b, ndim, shape);
    unknown[a.used] = needs[b.used] = 0;
    bdpti_show(t->name, r->shown);
    r->kind = BDPT_E_SHAPE;
    return bdpti_bad(r, "%s in the file, but the network needs %s", unknown, needs);
  }
  for (i = r->out->count; i-- > 0;) { /* backwards, so that the first one stays */
    if (r->out->tensor[i].bytes) bdpti_show(r->out->tensor[i].name, unknown);
  }
  if (gone + extra == 0) return BDPT_OK; /* all are there, and no others */
  return bdpti_bad(r, "tensors missing: %zu%s%s%s; no part of the network as configured: %zu%s%s%s",
                   gone, gone ? " (" : "", missing, end[gone < 2 ? gone : 2], extra,
                   extra ? " (" : "", unknown, end[extra < 2 ? extra : 2]);
}

/* The model is made first, with the names of all slots that there can be; then it learns what it
 * is, and keeps as many as it needs. */
BDPT_API bdpt_model *bdpt_model_parse(bdpt_context *ctx, const void *bytes, size_t size,
                                      const char *name, const bdpt_config *config) {
  bdpti_reader r;
  bdpt_safetensors file;
  bdpt_model *m = NULL;
  bdpt_config any; /* all zeros, but as deep as there can be */
  bdpt_status s = bdpt_safetensors_parse(ctx, bytes, size, name, &file);
  bdpti_reader_init(&r, ctx, name);
  r.out = &file;
  memset(&any, 0, sizeof any);
  any.depth = BDPT_MAX_DEPTH;
  if (!s && (m = bdpti_model_shell(ctx, &any)) == NULL) s = BDPT_E_MEMORY;
  any.depth = 0;
  if (!s) m->config = config ? *config : any;
  if (!s && m->config.depth == 0) m->config.depth = 12; /* before any key counts blocks */
  if (!s) s = bdpti_meta_read(&r, m); /* has a later word than the caller */
  if (!s) s = bdpt_config_resolve(ctx, &m->config); /* and a last look at every number */
  if (!s) m->slots = BDPT_SLOTS_FIXED + m->config.depth * BDPT_SLOTS_BLOCK;
  if (!s) s = bdpti_tensors_read(&r, m);
  if (!s && bdpt_safetensors_get(&file, "boundarydpt"))
    s = bdpt_model_label(m, bdpt_safetensors_get(&file, "label_names"));
  bdpt_safetensors_close(&file);
  if (!s) return m;
  bdpt_model_free(m);
  return NULL;
}

BDPT_API bdpt_model *bdpt_model_load(bdpt_context *ctx, const char *path,
                                     const bdpt_config *config) {
  bdpt_bytes file;
  bdpt_model *m;
  if (bdpt_file_read(ctx, path, &file) != BDPT_OK) return NULL;
  m = bdpt_model_parse(ctx, file.data, file.size, path, config);
  bdpt_bytes_free(ctx, &file); /* the weights are copies */
  return m;
}

BDPT_API bdpt_status bdpt_model_save(const bdpt_model *m, const char *path) {
  bdpt_bytes file;
  bdpt_status s = bdpt_model_build(m, &file);
  if (!s) s = bdpt_file_write(m->ctx, path, file.data, file.size);
  bdpt_bytes_free(m->ctx, &file); /* empty after a failure */
  return s;
}

/* =================================================================================================
 * 14  THE ENGINE ROOM: VECTOR KERNELS                                                    >>kernels
 * =================================================================================================
 * Why does plain C reach the speed of the processor? All that takes time happens in this chapter:
 * products, attention, and walks over rows or elements. These kernels are pure functions on raw
 * arrays and know nothing of tensors or tapes, so each can be read, tested and timed alone.
 *
 * The text is written once and compiled up to three times: with 16-byte vectors for any machine,
 * and on x86-64 also with 32 bytes (AVX2) and 64 bytes (AVX-512). The vectors are an extension of
 * GCC and Clang, not intrinsics: `a * b + c` on a vector type is plain C with more lanes. To
 * compile the text again, this file includes itself with BDPTI_ISA_PASS set, which selects the
 * section between two guards and skips everything else. Other compilers get vectors of one lane,
 * that is, plain C. At run time bdpt_init asks the processor and keeps one table of functions.
 *
 * Two promises shape the code. Results are bit-identical for any number of threads: threads share
 * out outputs, and every sum is made by one thread in an order that depends on the problem only.
 * And plain `cc -O2` is fast: each pass names its target, so no -march and no -O3 is needed.
 *
 * The trap is the fused multiply-add, which rounds once instead of twice and doubles the speed of a
 * matrix product. GCC fuses by itself in its GNU modes but not under -std=c99 or -std=c11; Clang
 * fuses within one expression, from version 14 on. We ask GCC by a pragma around each pass
 * (fp-contract=fast, which changes nothing else) and write `s += x * y` as one expression for
 * Clang. So compilers and instruction sets differ in the last bits; runs on one machine never do.
 */

#endif /* BOUNDARYDPT_IMPLEMENTATION, to be continued behind the vector section */

#ifdef BDPTI_ISA_PASS /* from here to its #endif: once per instruction set */

/* 14.1  Vectors
 *
 * The tile of the matrix product needs ROWS x 2 accumulators, two vectors of B and one of A in
 * registers: 12 x 2 fit into 32 registers (AVX-512, aarch64), 6 x 2 into 16 (AVX2, SSE). aarch64
 * multiplies a vector by one lane of another: three vectors of A hold the 12 numbers of a step.
 */
#define BDPTI_IS_float 0  /* the preprocessor compares no words, */
#define BDPTI_IS_double 1 /* so BDPT_REAL is pasted to give 0 or 1 */
#define BDPTI_PASTE_(a, b) a##b
#define BDPTI_PASTE(a, b) BDPTI_PASTE_(a, b) /* after expanding both */
#define BDPTI_DOUBLE BDPTI_PASTE(BDPTI_IS_, BDPT_REAL)

#if BDPTI_ISA_PASS == 3
#define BDPTI_V(name) bdpti_avx512_##name /* each pass has names of its own */
#define BDPTI_NAME "avx512"
#define BDPTI_BYTES 64 /* of a vector */
#define BDPTI_ROWS 12  /* of a tile */
#elif BDPTI_ISA_PASS == 2
#define BDPTI_V(name) bdpti_avx2_##name
#define BDPTI_NAME "avx2"
#define BDPTI_BYTES 32
#define BDPTI_ROWS 6
#else
#define BDPTI_V(name) bdpti_portable_##name
#define BDPTI_NAME "portable"
#define BDPTI_BYTES 16
#if defined(__aarch64__)
#define BDPTI_ROWS 12
#else
#define BDPTI_ROWS 6
#endif
#endif
#define BDPTI_BY_LANE (BDPTI_ROWS == 12 && BDPTI_BYTES == 16 && BDPTI_VECTORS) /* aarch64 */

/* Everything up to the pop at the end of the section is compiled for the pass's target. */
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
#if defined(__i386__)
#pragma GCC target("sse2,fpmath=sse")
#elif __FLT_EVAL_METHOD__ == 1 /* s390x: floats beside vectors stay floats */
#pragma GCC optimize("excess-precision=fast")
#endif
#endif

/* A vector, the same bytes as integers, and the vector as it may stand in an array: at any address,
 * and an alias of the numbers. CHOOSE takes lanes of `yes` where the comparison `mask` holds. */
#define BDPTI_VEC BDPTI_V(vec)
#define BDPTI_BITS BDPTI_V(bits)
#if BDPTI_VECTORS
#if defined(__clang__)
#define BDPTI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BDPTI_UNROLL _Pragma("GCC unroll 64")
#endif
#define BDPTI_INLINE static inline __attribute__((always_inline, unused))
#define BDPTI_END static __attribute__((cold, noinline, unused))
#define BDPTI_LANES (BDPTI_BYTES / (BDPTI_DOUBLE ? 8 : 4)) /* numbers of a vector */
#define BDPTI_PREFETCH(p, ahead, write) \
  __builtin_prefetch((const void *)((uintptr_t)(p) + (ahead) * sizeof(bdpt_real)), write)
#define BDPTI_PREFETCH_FAR(address) __builtin_prefetch((const void *)(address), 0, 2)
typedef bdpt_real BDPTI_VEC __attribute__((vector_size(BDPTI_BYTES)));
typedef bdpt_real BDPTI_V(loose) __attribute__((vector_size(BDPTI_BYTES), aligned(4), may_alias));
#define BDPTI_WORD_float uint32_t
#define BDPTI_WORD_double uint64_t
typedef BDPTI_PASTE(BDPTI_WORD_, BDPT_REAL) BDPTI_BITS __attribute__((vector_size(BDPTI_BYTES)));
#define BDPTI_CHOOSE(mask, yes, no) \
  ((BDPTI_VEC)(((BDPTI_BITS)(mask) & (BDPTI_BITS)(yes)) | (~(BDPTI_BITS)(mask) & (BDPTI_BITS)(no))))
#define BDPTI_LANE(v, l) ((v)[l])
#define BDPTI_TO_BITS(x) ((BDPTI_BITS)(x)) /* a cast: the bytes stay */
#define BDPTI_FROM_BITS(b) ((BDPTI_VEC)(b))
#else /* one lane */
#define BDPTI_UNROLL
#define BDPTI_INLINE static
#define BDPTI_END static
#define BDPTI_LANES 1 /* loops over vectors become loops over numbers */
#define BDPTI_PREFETCH(p, ahead, write) ((void)0)
#define BDPTI_PREFETCH_FAR(address) ((void)(address))
typedef bdpt_real BDPTI_VEC;
typedef bdpt_real BDPTI_V(loose);
typedef uint32_t BDPTI_BITS; /* used in float only */
#define BDPTI_CHOOSE(mask, yes, no) ((mask) ? (yes) : (no))
#define BDPTI_LANE(v, l) (v)
#define BDPTI_TO_BITS(x) BDPTI_V(to_bits)(x)
#define BDPTI_FROM_BITS(b) BDPTI_V(from_bits)(b)
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
BDPTI_INLINE BDPTI_VEC BDPTI_V(splat)(bdpt_real x) {
  BDPTI_VEC zero = {0};
  return x - zero; /* exact for every x, so the compiler drops it; x + zero would lose -0 */
}

#define BDPTI_PANEL (2 * BDPTI_LANES) /* columns of a tile: two vectors */
#define BDPTI_PREFETCH_TWO(p, ahead, lanes, write) /* a row of a tile */ \
  do { BDPTI_PREFETCH(p, ahead, write); BDPTI_PREFETCH(p, (ahead) + (lanes), write); } while (0)
#define BDPTI_SPLAT(x) BDPTI_V(splat)((bdpt_real)(x))
#define BDPTI_LOAD(p, n) BDPTI_V(load)(p, n)
#define BDPTI_STORE(p, n, v) BDPTI_V(store)(p, n, v)
#define BDPTI_WHOLE ((size_t)BDPTI_LANES) /* n for a load or store that needs no care */

/* The end of a row need not fill a vector. With n numbers left, the other lanes read as zero and
 * are not written, so every kernel below is one loop without a tail of its own. Ends are seldom and
 * go by way of s, in functions that are called: that compiles faster. */
BDPTI_END const bdpt_real *BDPTI_V(load_end)(bdpt_real *s, const bdpt_real *p, size_t n) {
  size_t i;
  for (i = 0; i < 16; i++) s[i] = i < n ? p[i] : 0; /* 16: as many as the widest vector has */
  return s;
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(load)(const bdpt_real *p, size_t n) {
  bdpt_real s[16];
  if (n < BDPTI_LANES) p = BDPTI_V(load_end)(s, p, n);
  return *(const BDPTI_V(loose) *)p; /* one move */
}

BDPTI_END void BDPTI_V(store_end)(bdpt_real *p, const bdpt_real *s, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) p[i] = s[i];
}

BDPTI_INLINE void BDPTI_V(store)(bdpt_real *p, size_t n, BDPTI_VEC v) {
  bdpt_real s[16];
  *(BDPTI_V(loose) *)(n < BDPTI_LANES ? s : p) = v;
  if (n < BDPTI_LANES) BDPTI_V(store_end)(p, s, n);
}

/* Puts `rest` into the lanes from n on. */
static const bdpt_real BDPTI_V(index)[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

BDPTI_INLINE BDPTI_VEC BDPTI_V(keep)(BDPTI_VEC v, size_t n, BDPTI_VEC rest) {
  if (n >= BDPTI_LANES) return v;
  return BDPTI_CHOOSE(BDPTI_LOAD(BDPTI_V(index), BDPTI_WHOLE) < BDPTI_SPLAT(n), v, rest);
}

/* Two shuffles are all we need: `low` interleaves the first halves of two vectors, `high` their
 * second halves. GCC has shuffles from version 12 on; without them, and in double precision, the
 * same is done through memory. */
#define BDPTI_SHUFFLES 0
#if defined(__has_builtin) && BDPTI_VECTORS && !BDPTI_DOUBLE
#if __has_builtin(__builtin_shufflevector)
#undef BDPTI_SHUFFLES
#define BDPTI_SHUFFLES BDPTI_BYTES /* the width selects its lists */
#endif
#endif
#if BDPTI_SHUFFLES == 64
#define BDPTI_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define BDPTI_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif BDPTI_SHUFFLES == 32
#define BDPTI_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define BDPTI_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define BDPTI_LOW 0, 4, 1, 5
#define BDPTI_HIGH 2, 6, 3, 7
#endif

/* The sum of the lanes and the largest lane, as a tree. Low and high of a vector with itself pair
 * every lane with the one half a vector away; after log2(LANES) rounds each lane is the result.
 * Leaves one partner of each of the n pairs of a level in v and returns the others. */
BDPTI_INLINE BDPTI_VEC BDPTI_V(partners)(BDPTI_VEC *v, int n) {
#if BDPTI_SHUFFLES
  const BDPTI_VEC other = __builtin_shufflevector(*v, *v, BDPTI_HIGH);
  *v = __builtin_shufflevector(*v, *v, BDPTI_LOW);
  (void)n;
#else
  BDPTI_VEC other = *v;
  int l;
  for (l = 0; l < n; l++) BDPTI_LANE(other, l) = BDPTI_LANE(*v, l + n); /* the same by halves */
#endif
  return other;
}

/* Returns the larger of two; b where they do not compare. */
BDPTI_INLINE BDPTI_VEC BDPTI_V(larger)(BDPTI_VEC a, BDPTI_VEC b) {
#if defined(BDPTI_X86) && BDPTI_BYTES > 16 && !BDPTI_DOUBLE
  __asm__("vmaxps %2, %1, %0" : "=v"(a) : "v"(a), "v"(b)); /* which gcc does not find in CHOOSE */
#else
  a = BDPTI_CHOOSE(a > b, a, b);
#endif
  return a;
}

BDPTI_INLINE bdpt_real BDPTI_V(tree)(BDPTI_VEC v, int largest) {
  int n;
  BDPTI_UNROLL for (n = BDPTI_LANES / 2; n > 0; n /= 2) { /* a level */
    BDPTI_VEC other = BDPTI_V(partners)(&v, n);
    v = largest ? BDPTI_V(larger)(v, other) : v + other;
  }
  return BDPTI_LANE(v, 0); /* the result in any case; after shuffles all lanes hold it */
}

BDPTI_INLINE bdpt_real BDPTI_V(total)(BDPTI_VEC v) { return BDPTI_V(tree)(v, 0); }

/* 14.2  exp, square root, normal distribution
 *
 *   math      exp x = 2^n e^r,  n = round(x / ln 2),  r = x - n ln 2 in [-0.35, 0.35]
 *             e^r = 1 + r + r^2 p(r),  p of degree 4
 *   source    range reduction of Cody and Waite 1980; coefficients our own, fitted to equal ripple
 *   check     tests/test_kernels.c test_exp: within 1 ulp on [-87.3, 88.7]; 0 below
 *
 * Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa; shifted
 * into the exponent field and added to e^r, it multiplies by 2^n. ln 2 is split in two so that n
 * times its first part is exact. DEVIATION from libm: results below FLT_MIN are 0 and not denormal,
 * because arithmetic on denormals is a hundred times slower and a softmax has no use for them. No
 * argument here lies above 88.72, where exp overflows: a softmax's is 0 at most, a gate's 80.
 *
 * Steps wait for each other, so two vectors go through side by side; a single one goes in twice,
 * which the compiler undoes. In double precision, which exists for checking, libm does it by lanes.
 */
#define BDPTI_BOTH BDPTI_UNROLL for (v = 0; v < 2; v++)
#if BDPTI_DOUBLE
BDPTI_INLINE void BDPTI_V(exp_two)(BDPTI_VEC x[2]) {
  bdpt_real y[2 * BDPTI_LANES];
  int l;
  memcpy(y, x, sizeof y);
  for (l = 0; l < 2 * BDPTI_LANES; l++) y[l] = exp(y[l]);
  memcpy(x, y, sizeof y);
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(root)(BDPTI_VEC x) {
  int l;
  for (l = 0; l < BDPTI_LANES; l++) BDPTI_LANE(x, l) = sqrt(BDPTI_LANE(x, l));
  return x;
}

BDPTI_INLINE void BDPTI_V(normal)(BDPTI_VEC z[2], BDPTI_VEC density[2]) {
  int l, v;
  BDPTI_BOTH density[v] = z[v] * z[v] * -0.5;
  BDPTI_V(exp_two)(density);
  BDPTI_BOTH density[v] = density[v] * 0.39894228040143267794; /* 1 / sqrt(2 pi) */
  BDPTI_BOTH for (l = 0; l < BDPTI_LANES; l++) {
    BDPTI_LANE(z[v], l) = 0.5 * erfc(BDPTI_LANE(z[v], l) * -0.70710678118654752440); /* Phi */
  }
}
#else
BDPTI_INLINE void BDPTI_V(exp_two)(BDPTI_VEC x[2]) {
  const BDPTI_VEC magic = BDPTI_SPLAT(12582912.0f); /* 1.5 * 2^23 */
  BDPTI_VEC t[2], n[2], r[2], p[2];
  int v;
  BDPTI_BOTH t[v] = x[v] * 1.44269504f + magic;    /* 1 / ln 2 */
  BDPTI_BOTH n[v] = t[v] - magic;
  BDPTI_BOTH r[v] = x[v] - n[v] * 0.693359375f;    /* ln 2 in 9 bits: n times it is exact */
  BDPTI_BOTH r[v] = r[v] + n[v] * 2.12194440e-4f;  /* and n times what that is too large */
  BDPTI_BOTH p[v] = r[v] * 0.0013813145f + 0.0083694188f; /* Horner's rule from here */
  BDPTI_BOTH p[v] = p[v] * r[v] + 0.0416684560f;
  BDPTI_BOTH p[v] = p[v] * r[v] + 0.1666651517f;
  BDPTI_BOTH p[v] = p[v] * r[v] + 0.4999999404f;   /* p(r), near 1/2 at r = 0 */
  BDPTI_BOTH p[v] = (r[v] * r[v]) * p[v] + r[v];   /* r + r^2 p(r) */
  BDPTI_BOTH p[v] = p[v] + 1.0f;                   /* 1 comes last: one rounding near 1 */
  BDPTI_BOTH p[v] = BDPTI_FROM_BITS(BDPTI_TO_BITS(p[v]) + (BDPTI_TO_BITS(t[v]) << 23));
  BDPTI_BOTH x[v] = BDPTI_CHOOSE(x[v] < BDPTI_SPLAT(-87.33654f), BDPTI_SPLAT(0), p[v]);
}

/* sqrt x = x / sqrt(x): the first guess of 1/sqrt(x) halves the exponent, three Newton steps refine
 * it, one step corrects the product. No division, within 2 ulp, and sqrt(0) = 0 (AdamW). */
BDPTI_INLINE BDPTI_VEC BDPTI_V(root)(BDPTI_VEC x) {
  BDPTI_VEC y = BDPTI_FROM_BITS(0x5f375a86u - (BDPTI_TO_BITS(x) >> 1)), s; /* first guess */
  int i;
  for (i = 0; i < 3; i++) y = y * (1.5f - x * 0.5f * y * y); /* Newton for 1/sqrt(x) */
  s = x * y;                           /* sqrt(x), nearly */
  return s + (x - s * s) * (y * 0.5f); /* Newton for s^2 = x, with y = 1 / s */
}

/* The normal distribution Phi(z) = (1 + erf(z / sqrt 2)) / 2 and its density, both for GELU
 *
 *   math      Phi(-a) = exp(-a^2/2) t P(t),  t = 1 / (1 + 0.27 a),  P of degree 8,  a = |z|
 *             Phi(z) = Phi(-a) if z < 0, else 1 - Phi(-a)
 *   source    form of Abramowitz and Stegun 7.1.26 with more terms; coefficients our own
 *   check     tests/test_kernels.c test_gelu: error 1.2e-7 max(1, |z|); the relative error grows in
 *             the tail, to 4e-6 at z = -13
 *
 * erf itself never appears. 1 + erf(z / sqrt 2) cancels for negative z and leaves GELU(-6) without
 * a correct digit; the tail form stays accurate until exp underflows at z = -13.2. Its relative
 * error grows with z^2 because the exponential magnifies the rounding of a^2.
 */
BDPTI_INLINE void BDPTI_V(normal)(BDPTI_VEC z[2], BDPTI_VEC density[2]) {
  BDPTI_VEC a[2], t[2], e[2], p[2];
  int v;
  BDPTI_BOTH a[v] = BDPTI_CHOOSE(z[v] < BDPTI_SPLAT(0), -z[v], z[v]); /* a = abs z */
  BDPTI_BOTH t[v] = BDPTI_SPLAT(1) / (a[v] * 0.27f + 1.0f);
  BDPTI_BOTH e[v] = a[v] * a[v] * -0.5f;
  BDPTI_V(exp_two)(e);
  BDPTI_BOTH p[v] = t[v] * 0.0289610866f - 0.1264857948f; /* P by Horner, highest power first */
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.1697860360f;
  BDPTI_BOTH p[v] = p[v] * t[v] - 0.0692106262f;
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.1078255326f;
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.0720496476f;
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.1018105969f;
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.1075428724f;
  BDPTI_BOTH p[v] = p[v] * t[v] + 0.1077206582f;
  BDPTI_BOTH p[v] = p[v] * t[v] * e[v];          /* Phi(-a) */
  BDPTI_BOTH density[v] = e[v] * 0.3989422804f;  /* times 1 / sqrt(2 pi) */
  BDPTI_BOTH z[v] = BDPTI_CHOOSE(z[v] < BDPTI_SPLAT(0), p[v], 1.0f - p[v]); /* p <= 1/2 */
}
#endif

/* GELU as >>act has it, and its slope. */
BDPTI_INLINE void BDPTI_V(gelu_two)(BDPTI_VEC z[2], BDPTI_VEC slope[2]) {
  BDPTI_VEC phi[2], density[2];
  int v;
  BDPTI_BOTH phi[v] = z[v];
  BDPTI_V(normal)(phi, density);
  BDPTI_BOTH slope[v] = phi[v] + z[v] * density[v]; /* d GELU / dz; unused, the compiler drops it */
  BDPTI_BOTH z[v] = z[v] * phi[v];
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(gelu)(BDPTI_VEC z, int slope) { /* 1: the slope is wanted */
  BDPTI_VEC two[2] = {z, z}, slopes[2];
  BDPTI_V(gelu_two)(two, slopes);
  return slope ? slopes[0] : two[0];
}

/* The other activations of >>act. With e = exp(-p z - q z^3), g is 1 / (1 + e) and 1 - g is e g,
 * which does not cancel. At 100 the gate is 1 or 0 to the last bit; z stops there, so that no z^3
 * overflows. A z that is no number stays what it is. */
BDPTI_INLINE BDPTI_VEC BDPTI_V(gate)(BDPTI_VEC z, bdpt_real p, bdpt_real q, int slope) {
  const BDPTI_VEC zero = BDPTI_SPLAT(0), least = BDPTI_SPLAT(-80), most = BDPTI_SPLAT(100);
  BDPTI_VEC a = BDPTI_CHOOSE(z > most, most, z), e[2], g;
  if (p == 0 && slope) return BDPTI_CHOOSE(z > zero, BDPTI_SPLAT(1), zero); /* ReLU */
  if (p == 0) return BDPTI_V(larger)(zero, z);
  a = BDPTI_CHOOSE(a < -most, -most, a);
  e[0] = e[1] = -BDPTI_V(larger)(least, a * (a * a * q + p));
  BDPTI_V(exp_two)(e);
  g = BDPTI_SPLAT(1) / (e[0] + 1.0f);
  if (slope) return g + a * (g * g) * e[0] * (a * a * (q * 3) + p);
  return BDPTI_CHOOSE(z < -most, a, z) * g;
}

/* 14.3  The matrix product                                                               >>matmul
 *
 *   math      c[i,j] = sum_p a[i,p] b[p,j], then the epilogue of 6.1
 *   shape     a[M,K] b[K,N] -> c[M,N], any strides on a and b, rows of c contiguous
 *   source    packing and blocking after Goto and van de Geijn 2008, tile and order our own; bf16
 *             factors under float sums after Kalamkar et al. 2019
 *   check     tests/test_kernels.c test_matmul, test_packed_and_bf16: against
 *             three loops in double, random shapes and epilogues; on factors rounded one by one
 *
 * A multiply-add takes two operands from somewhere, and if they came from memory, memory would set
 * the pace. So a tile of C is held in registers. Each step of p reads a column of A, ROWS numbers,
 * and one row of B, two vectors, and does 2 ROWS vector multiply-adds: with 12 rows, 14 loads for
 * 24 multiply-adds, and a core that can do two of each per cycle is never short of operands.
 *
 * B is packed: copied into panels of two vectors, rows of a panel adjacent, so that the inner loop
 * reads it as one stream whatever its layout was. With vectors of two numbers and three rows:
 *
 *     b00 b01 b02 b03 | b04 b05 b06 b07
 *     b10 b11 b12 b13 | b14 b15 b16 b17   ->   b00 b01 b02 b03  b10 b11 b12 b13  b20 b21 b22 b23
 *     b20 b21 b22 b23 | b24 b25 b26 b27        b04 b05 b06 b07  b14 b15 b16 b17  b24 b25 b26 b27
 *
 * That costs about as much as 25 more rows of C, which is little beside a training batch and much
 * beside the 197 rows of one image. But then the weights stand still: bdpti_prepack makes the same
 * panels of a whole weight once (bdpt_model_pack), and a product that is given them packs nothing.
 *
 * A row-major A is read in place, one broadcast per row and step; copying it costs more than it
 * gains, unless it has to be rounded anyway. A transposed A (dY in dW += dY^T X) is copied, some
 * rows at a time, because its steps lie a whole row of dY apart and each touches another page.
 * Where lanes multiply (14.1) every A is copied, to [K][12], tile by tile: 5 loads a step.
 *
 * The order of the tiles decides what memory sees. Rows go outside and panels inside: C is written
 * along its rows, page after page, A's rows stay in the first cache, and the packed block stays in
 * the second. In the reverse order, a tenth slower, every tile begins on new pages. While a tile is
 * computed, its C is fetched ahead, and what the next tiles read, a line per step: waiting for the
 * rows of A or for a panel of weights costs up to 7 per cent of a network's time.
 *
 * bf16 is the upper half of a float: the sign, all 8 bits of exponent, and 8 bits of precision in
 * place of 24. Rounding changes a factor by less than one part in 256. Sums are kept in float, and
 * so is the product of two such numbers, exactly: all that is lost is lost in the factors. Those
 * errors largely cancel in a long sum; a sum whose own terms cancel keeps few digits.
 *
 * Where the processor has vdpbf16ps, every 32-bit lane of both operands holds two bf16 numbers, and
 * one instruction adds both products to the float in that lane of the sum: two steps of p for one,
 * from half the bytes. Any two rows of B may share a vector, as long as the same two columns of A
 * do. Rows p and p + 16 of each 32 are joined, so that whole vectors meet and nothing is shuffled:
 *
 *     lane j of a joined row: b[p+16,j] in the upper 16 bits, b[p,j] in the lower; A likewise
 *
 * Without that instruction the factors are rounded all the same and multiplied as floats. It is not
 * faster there, but a network gives the same numbers on both machines, up to rounding in the sums.
 */
#if BDPTI_SHUFFLES
/* Transposes a square of LANES x LANES numbers in registers. Interleaving row i with row
 * i + LANES/2 is a perfect shuffle; log2(LANES) perfect shuffles exchange the upper and the lower
 * half of an element's index bits, that is, its row and its column. Where there are fewer `rows`,
 * the last one stands in for the others. */
BDPTI_INLINE void BDPTI_V(transpose)(const bdpt_real *in, size_t in_row, size_t rows,
                                     bdpt_real *out, size_t out_row) {
  BDPTI_VEC r[BDPTI_LANES], t[BDPTI_LANES]; /* the square, before and after a round */
  int i, round;
  BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) {
    BDPTI_PREFETCH(in, 64, 0);
    r[i] = BDPTI_LOAD(in, BDPTI_WHOLE);     /* row i of `in` */
    if ((size_t)i + 1 < rows) in += in_row; /* stays at the last */
  }
  BDPTI_UNROLL for (round = 1; round < BDPTI_LANES; round *= 2) {
    BDPTI_UNROLL for (i = 0; i < BDPTI_LANES / 2; i++) {
      t[2 * i] = __builtin_shufflevector(r[i], r[i + BDPTI_LANES / 2], BDPTI_LOW);
      t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + BDPTI_LANES / 2], BDPTI_HIGH);
    }
    BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) r[i] = t[i];
  }
  BDPTI_UNROLL for (i = 0; i < BDPTI_LANES; i++) {
    BDPTI_STORE(out + (size_t)i * out_row, BDPTI_WHOLE, r[i]); /* column i of `in` */
  }
}
#endif
#undef BDPTI_LOW
#undef BDPTI_HIGH

/* Copies columns j .. j+cols of B, rows p0 .. p0+pn, to out[pn][ld]. What fills the rest of ld is
 * multiplied, but never stored where anyone looks. */
static void BDPTI_V(pack_panel)(const bdpti_gemm *g, size_t p0, size_t pn, size_t j, size_t cols,
                                bdpt_real *out, size_t ld) {
  const bdpt_real *b = g->b + p0 * g->b_row + j * g->b_col; /* b[p0,j] */
  size_t p = 0, c;
#if BDPTI_SHUFFLES
  for (; g->b_row == 1 && g->b_col != 1 && p + BDPTI_LANES <= pn; p += BDPTI_LANES) { /* squares */
    for (c = 0; c < cols; c += BDPTI_LANES) { /* squares side by side */
      BDPTI_V(transpose)(b + p + c * g->b_col, g->b_col, cols - c, out + p * ld + c, ld);
    }
  }
#endif
  for (; p < pn; p++) { /* the rows that are left, or all */
    const bdpt_real *row = b + p * g->b_row;
    for (c = 0; g->b_col == 1 && c < cols; c += BDPTI_LANES) { /* rows as they are wanted */
      BDPTI_STORE(out + p * ld + c, BDPTI_WHOLE, BDPTI_LOAD(row + c, cols - c));
    }
    for (; c < ld; c++) out[p * ld + c] = c < cols ? row[c * g->b_col] : 0; /* any stride */
  }
}

/* Rounding to bf16: to nearest, ties to even; the upper 16 bits of the result count. Infinities
 * stay, and so do the NaNs that arithmetic makes, whose lower halves are zero. PAIRS(k) is how many
 * vectors k rows make when two are joined: a row without a partner is joined with zeros. */
BDPTI_INLINE BDPTI_BITS BDPTI_V(round16)(BDPTI_VEC x) {
  BDPTI_BITS u = BDPTI_TO_BITS(x);
  return u + 0x7fffu + ((u >> 16) & 1u); /* just under half, or half if odd */
}

#define BDPTI_PAIRS(k) ((k) / 32 * 16 + ((k) % 32 < 16 ? (k) % 32 : 16))

BDPTI_INLINE BDPTI_VEC BDPTI_V(narrow)(BDPTI_VEC x) {
  return BDPTI_FROM_BITS(BDPTI_V(round16)(x) >> 16 << 16); /* a float with 16 zeros at its end */
}

BDPTI_INLINE BDPTI_VEC BDPTI_V(join)(BDPTI_VEC low, BDPTI_VEC high) {
  const BDPTI_BITS l = BDPTI_V(round16)(low), h = BDPTI_V(round16)(high);
  return BDPTI_FROM_BITS((l >> 16) | (h >> 16 << 16)); /* low's half below high's */
}

/* x[rows][cols], rows x_row apart, rounded to out[rows][ld] or, in pairs, joined to
 * out[PAIRS(rows)][ld]; zeros beyond the columns. out may be x. */
static void BDPTI_V(narrow_rows)(const bdpt_real *x, size_t x_row, size_t rows, size_t cols,
                                 size_t ld, int pairs, bdpt_real *out) {
  size_t p, c, count;
  for (; pairs && x_row == ld && cols == ld && rows >= 32; rows -= 32) { /* without gaps */
    for (c = 0; c < 16 * ld; c += BDPTI_LANES) { /* 16 rows, and the 16 that join them */
      BDPTI_STORE(out + c, BDPTI_WHOLE, BDPTI_V(join)(BDPTI_LOAD(x + c, BDPTI_WHOLE),
                                                      BDPTI_LOAD(x + 16 * ld + c, BDPTI_WHOLE)));
    }
    x += 32 * ld;
    out += 16 * ld;
  }
  count = pairs ? BDPTI_PAIRS(rows) : rows; /* rows of out that are left */
  for (p = 0; p < count; p++, out += ld) {
    const size_t low = pairs ? p / 16 * 32 + p % 16 : p, high = low + 16 < rows ? low + 16 : low;
    for (c = 0; c < ld; c += BDPTI_LANES) {
      const size_t left = c < cols ? cols - c : 0;         /* 0: all zeros */
      BDPTI_PREFETCH(x, (low + 32) * x_row + c, 0);
      BDPTI_PREFETCH(x, (high + 32) * x_row + c, 0);
      BDPTI_VEC v = BDPTI_LOAD(x + low * x_row + c, left); /* row p, or the lower of a pair */
      if (pairs) v = BDPTI_V(join)(v, BDPTI_LOAD(x + high * x_row + c, high > low ? left : 0));
      BDPTI_STORE(out + c, ld - c, pairs ? v : BDPTI_V(narrow)(v));
    }
  }
}

/* The tile. `rows` and `width` (in vectors) are constants at every call, so the loops unroll and
 * the accumulators stay in registers. Every element of C is one chain of multiply-adds over p in
 * ascending order, in tiles of every shape: how rows are grouped, and so the number of threads,
 * cannot change a bit. Rows of A are addressed from every third one, which x86 does for nothing. */
#if BDPTI_ISA_PASS == 3 && !BDPTI_DOUBLE
#define BDPTI_JOINED 1
#define BDPTI_DOT2(sum, a, b) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
#else
#define BDPTI_JOINED 0
#define BDPTI_DOT2(sum, a, b) ((void)(a), (void)(b)) /* bf16 == 2 is not asked for */
#endif

#if BDPTI_VECTORS
/* The product itself: adds to the sums of a tile. */
BDPTI_INLINE void BDPTI_V(steps)(const bdpti_tile *t, const int rows, const int width,
                                 const int pairs, BDPTI_VEC *left, BDPTI_VEC *right) {
  BDPTI_VEC b0, b1 = BDPTI_SPLAT(0), x;
  BDPTI_VEC column[BDPTI_ROWS]; /* of A, by lane: a[0..rows,p] in its first vectors */
  const bdpt_real *a0 = t->a, *b = t->b;
  const size_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row, next_step = t->next_step;
  const bdpt_real *a3 = a0 + 3 * a_row, *a6 = a0 + 6 * a_row, *a9 = a0 + 9 * a_row;
  uintptr_t next = t->next;
  size_t k;
  int i;
  for (k = t->k; k > 0; k--) {
    b0 = BDPTI_LOAD(b, BDPTI_WHOLE); /* row p of the panel */
    if (width > 1) b1 = BDPTI_LOAD(b + BDPTI_LANES, BDPTI_WHOLE);
    if (BDPTI_BY_LANE) {
      BDPTI_UNROLL for (i = 0; i < rows; i += BDPTI_LANES) {
        column[i / BDPTI_LANES] = BDPTI_LOAD(a0 + i, BDPTI_WHOLE);
      }
    }
    BDPTI_UNROLL for (i = 0; i < rows; i++) {
      const bdpt_real *row = i < 6 ? (i < 3 ? a0 : a3) : (i < 9 ? a6 : a9);
      x = BDPTI_SPLAT(BDPTI_BY_LANE ? BDPTI_LANE(column[i / BDPTI_LANES], i % BDPTI_LANES)
                                    : row[(size_t)(i % 3) * a_row]); /* a[i,p] in every lane */
      if (pairs) {
        BDPTI_DOT2(left[i], x, b0); /* two rows of B at once */
        if (width > 1) BDPTI_DOT2(right[i], x, b1);
      } else {
        left[i] += x * b0; /* c[i,j] += a[i,p] b[p,j] */
        if (width > 1) right[i] += x * b1;
      }
    }
    a0 += a_col; /* the next column of A */
    a3 += a_col;
    a6 += a_col;
    a9 += a_col;
    b += b_row; /* the next row of B */
    BDPTI_PREFETCH_FAR(next);
    next += next_step;
  }
}

BDPTI_INLINE void BDPTI_V(tile_body)(const bdpti_tile *t, const int rows, const int width) {
  BDPTI_VEC left[BDPTI_ROWS], right[BDPTI_ROWS]; /* the sums */
  const bdpt_real *bias = t->bias, *add = t->add;
  const size_t c_row = t->c_row;
  bdpt_real *c = t->c;
  int i;
  BDPTI_UNROLL for (i = 0; i < rows; i++) left[i] = right[i] = BDPTI_SPLAT(0);
  if (BDPTI_JOINED && t->pairs) BDPTI_V(steps)(t, rows, width, 1, left, right);
  else BDPTI_V(steps)(t, rows, width, 0, left, right);
  if (bias) {
    BDPTI_UNROLL for (i = 0; i < rows; i++) { /* one for all rows */
      left[i] += BDPTI_LOAD(bias, BDPTI_WHOLE);
      if (width > 1) right[i] += BDPTI_LOAD(bias + BDPTI_LANES, BDPTI_WHOLE);
    }
  }
  if (add) {
    BDPTI_UNROLL for (i = 0; i < rows; i++, add += c_row) { /* residual stream, or C itself */
      left[i] += BDPTI_LOAD(add, BDPTI_WHOLE);
      if (width > 1) right[i] += BDPTI_LOAD(add + BDPTI_LANES, BDPTI_WHOLE);
    }
  }
  BDPTI_UNROLL for (i = 0; i < rows; i++, c += c_row) {
    BDPTI_STORE(c, BDPTI_WHOLE, left[i]);
    if (width > 1) BDPTI_STORE(c + BDPTI_LANES, BDPTI_WHOLE, right[i]);
  }
}

/* Each number of rows has a function, so 197 tokens are not computed as 204. Spread
 * evenly, tiles have at least half the rows there can be; fewer rows than that are tiles of one. */
#define BDPTI_TILE(R) \
  static void BDPTI_V(tile_##R)(const bdpti_tile *t, size_t width) { \
    if (width > 1) BDPTI_V(tile_body)(t, R, 2); \
    else BDPTI_V(tile_body)(t, R, 1); }
BDPTI_TILE(1) BDPTI_TILE(6)
#if BDPTI_ROWS == 12
BDPTI_TILE(7) BDPTI_TILE(8) BDPTI_TILE(9) BDPTI_TILE(10) BDPTI_TILE(11) BDPTI_TILE(12)
#define BDPTI_TALL NULL, NULL, NULL, BDPTI_V(tile_6), BDPTI_V(tile_7), BDPTI_V(tile_8), \
  BDPTI_V(tile_9), BDPTI_V(tile_10), BDPTI_V(tile_11), BDPTI_V(tile_12)
#else
BDPTI_TILE(3) BDPTI_TILE(4) BDPTI_TILE(5)
#define BDPTI_TALL BDPTI_V(tile_3), BDPTI_V(tile_4), BDPTI_V(tile_5), BDPTI_V(tile_6)
#endif
static void (*const BDPTI_V(tiles)[BDPTI_ROWS])(const bdpti_tile *t, size_t width) = {
  BDPTI_V(tile_1), NULL, BDPTI_TALL};
static void BDPTI_V(tile)(const bdpti_tile *t, size_t rows, size_t width) {
  BDPTI_V(tiles)[rows - 1](t, width);
}
#undef BDPTI_TALL
#undef BDPTI_DOT2
#undef BDPTI_JOINED
#else /* one lane, any compiler: two rows by two columns, whose sums have names, not indices */
static void BDPTI_V(scalar_row)(const bdpti_tile *t, size_t row, size_t width, bdpt_real left,
                                bdpt_real right) {
  bdpt_real sum[2] = {left, right}, *c = t->c + row * t->c_row;
  size_t j;
  for (j = 0; j < width; j++) {
    if (t->bias) sum[j] += t->bias[j];
    if (t->add) sum[j] += t->add[row * t->c_row + j];
    c[j] = sum[j];
  }
}

static void BDPTI_V(tile)(const bdpti_tile *t, size_t rows, size_t width) {
  const size_t w = width - 1, a_col = t->a_col, b_row = t->b_row; /* w: the other column, or 0 */
  size_t i, k;
  for (i = 0; i < rows; i += 2) {
    const bdpt_real *a = t->a + i * t->a_row, *b = t->b, *d = i + 1 < rows ? a + t->a_row : a;
    bdpt_real al = 0, ar = 0, dl = 0, dr = 0; /* row a, row d; left, right */
    for (k = t->k; k > 0; k--, a += a_col, b += b_row, d += a_col) {
      al += *a * b[0];
      ar += *a * b[w];
      dl += *d * b[0];
      dr += *d * b[w];
    }
    BDPTI_V(scalar_row)(t, i, width, al, ar);
    if (i + 1 < rows) BDPTI_V(scalar_row)(t, i + 1, width, dl, dr);
  }
}
#endif

/* Takes the sums of a tile from the stack, where they are still in the first cache, through the
 * epilogue into C. When K is cut into blocks, the first block applies everything that is added, the
 * later ones add to it, and GELU waits for the last. */
static void BDPTI_V(finish)(const bdpti_gemm *g, const bdpti_block *b, const bdpt_real *sums,
                            size_t ld, size_t i0, size_t rows, size_t j0, size_t cols) {
  const int first = b->p0 == 0, last = b->p0 + b->pn == g->k; /* of the blocks of K */
  bdpt_real *gelu = last ? g->gelu : NULL;                    /* its argument is complete then */
  const bdpt_real *add = first ? g->add : g->c;               /* later blocks add to C */
  const size_t width = ld / BDPTI_LANES; /* vectors of a row */
  size_t i;
  for (i = i0; i < i0 + rows; i++, sums += ld) { /* one row of the tile */
    BDPTI_VEC x[2], z[2], slope[2];                 /* x becomes C, z GELU */
    size_t v, j[2], n[2];                           /* column, columns left */
    BDPTI_BOTH { /* a single vector is taken twice, and stored once */
      j[v] = j0 + (v < width ? v : 0) * BDPTI_LANES;
      n[v] = j0 + cols - j[v];
      x[v] = slope[v] = BDPTI_LOAD(sums + (v < width ? v : 0) * BDPTI_LANES, BDPTI_WHOLE);
      if (first && g->bias) x[v] += BDPTI_LOAD(g->bias + j[v], n[v]);
    }
    BDPTI_BOTH {
      if (add && !g->dgelu) x[v] += BDPTI_LOAD(add + i * g->c_row + j[v], n[v]);
      z[v] = g->dgelu ? BDPTI_LOAD(g->dgelu + i * g->c_row + j[v], n[v]) : x[v];
    }
    if (g->dgelu || gelu) BDPTI_V(gelu_two)(z, slope);
    BDPTI_BOTH {
      if (g->dgelu) x[v] *= slope[v]; /* gelu'(z) */
      if (g->dgelu && add) x[v] += BDPTI_LOAD(add + i * g->c_row + j[v], n[v]);
      if (v < width) BDPTI_STORE(g->c + i * g->c_row + j[v], n[v], x[v]); /* GELU may replace it */
      if (v < width && gelu) BDPTI_STORE(gelu + i * g->c_row + j[v], n[v], z[v]);
    }
  }
}

/* Copies `count` tiles of A, at most COPIED at a time, each in room for COPY_SIZE numbers. A
 * transposed one goes to own[tile][pn][ROWS], one run along a row of dY per step of p; vectors
 * overhang into the next step, which is written later. A row-major one, of which bf16 wants a copy,
 * goes to own[tile][ROWS][b->rows]. ROW_OF is the first row of a tile. */
static void BDPTI_V(copy_tiles)(const bdpti_gemm *g, const bdpti_block *b, size_t tiles, size_t low,
                                size_t count, bdpt_real *own) {
  const bdpt_real *a = g->a + b->p0 * g->a_col; /* row p0 of dY */
  size_t start[BDPTI_COPIED], i, p, c;
  bdpt_real *at = own; /* step p of the first tile */
  for (i = 0; i < count; i++) start[i] = BDPTI_ROW_OF(g, tiles, low + i); /* first rows */
  for (p = 0; p < b->pn; p++, a += g->a_col, at += BDPTI_ROWS) {          /* one row of dY */
    bdpt_real *out = at;
    for (i = 0; i < count; i++, out += BDPTI_COPY_SIZE(g, b)) { /* its part in each tile */
      const size_t left = g->m - start[i];
      BDPTI_PREFETCH(a + start[i], 8 * g->a_col, 0);              /* eight steps ahead */
      for (c = 0; c < BDPTI_ROWS && c < left; c += BDPTI_LANES) { /* adjacent rows of A */
        BDPTI_STORE(out + c, BDPTI_WHOLE, BDPTI_LOAD(a + start[i] + c, left - c));
      }
    }
  }
  for (i = 0; i < count && g->bf16; i++, own += BDPTI_COPY_SIZE(g, b)) { /* narrowed in place */
    BDPTI_V(narrow_rows)(own, BDPTI_ROWS, b->pn, BDPTI_ROWS, BDPTI_ROWS, g->bf16 == 2, own);
  }
}

static void BDPTI_V(copy_rows)(const bdpti_gemm *g, const bdpti_block *b, size_t tiles, size_t low,
                               size_t count, bdpt_real *own) {
  size_t i, row, p, left;
  for (i = low; i < low + count; i++, own += BDPTI_COPY_SIZE(g, b)) { /* one tile */
    const size_t first = BDPTI_ROW_OF(g, tiles, i), end = BDPTI_ROW_OF(g, tiles, i + 1);
    const bdpt_real *a = g->a + first * g->a_row + b->p0; /* a[first,p0] */
    bdpt_real *out = own;
    if (g->bf16 == 1) BDPTI_V(narrow_rows)(a, g->a_row, end - first, b->pn, b->pn, 0, own);
    for (row = first; row < end && g->bf16 == 2; row++, a += g->a_row, out += b->rows) {
      for (p = 0; p < b->pn; p += 32) { /* 16 lanes: only the pass with pairs comes here */
        left = b->pn - p;              /* steps that are left, 32 or fewer */
        BDPTI_STORE(out + p / 2, left, /* step p with step p + 16 */
                    BDPTI_V(join)(BDPTI_LOAD(a + p, left),
                                  BDPTI_LOAD(a + p + 16, left > 16 ? left - 16 : 0)));
      }
    }
  }
}

/* 14.4  Attention in blocks of queries
 *
 *   math      bdpti_attention_plain and its backward form; lse_i = log sum_j exp S_ij
 *   shape     qkv[B,N,3,h,d] -> out[B,N,h,d], lse[B,h,N]
 *   backward  P = exp(S - lse) again;  D_i = sum_j dO_ij O_ij, the same sum as over dP_ij P_ij
 *   source    lse and D after Dao et al. 2022, section 3.1 and alg. 4
 *   check     tests/test_kernels.c test_attention: any N and d
 *
 * One task is one head of one image, and all it touches fits the second cache. Q, K and V are read
 * where the qkv product left them, as strided operands; nothing is permuted. A block of queries at
 * a time gives rows of S, their softmax and rows of O, so the N x N matrix never exists. P is not
 * normalised: its row sums divide the rows of O, which are N / d times fewer numbers. The products
 * are those of 14.3 with their factors in float, whatever the context says of bf16.
 *
 * The backward pass computes S again, one product of five, rather than keep the N numbers of P per
 * token and head, at 197 tokens the largest array of the tape.
 */

/* Turns a row into exp(a x - c) and returns its sum. Rows of S have room for whole vectors, which
 * spares the copying of their ends. */
BDPTI_INLINE bdpt_real BDPTI_V(exp_row)(bdpt_real *x, size_t n, bdpt_real a, bdpt_real c) {
  BDPTI_VEC sum = BDPTI_SPLAT(0), e[2]; /* one running sum per lane */
  size_t j;
  int v;
  for (j = 0; j < n; j += BDPTI_PANEL) {
    BDPTI_BOTH e[v] = BDPTI_LOAD(x + j + v * BDPTI_LANES, BDPTI_WHOLE) * a - c; /* 0 or less */
    BDPTI_V(exp_two)(e);
    BDPTI_BOTH {
      const size_t at = j + (size_t)v * BDPTI_LANES, left = at < n ? n - at : 0;
      BDPTI_STORE(x + at, BDPTI_WHOLE, e[v]);
      sum += BDPTI_V(keep)(e[v], left, BDPTI_SPLAT(0)); /* lanes beyond the row do not count */
    }
  }
  return BDPTI_V(total)(sum);
}

/* Multiplies a row of P by the counts of its keys and returns its sum. */
static bdpt_real BDPTI_V(count_row)(bdpt_real *p, size_t n, const bdpt_real *count) {
  BDPTI_VEC sum = BDPTI_SPLAT(0);
  size_t j;
  for (j = 0; j < n; j += BDPTI_LANES) {
    BDPTI_VEC v = BDPTI_LOAD(p + j, n - j) * BDPTI_LOAD(count + j, n - j);
    BDPTI_STORE(p + j, n - j, v);
    sum += v;
  }
  return BDPTI_V(total)(sum);
}

/* Returns the largest a x of such a row. */
BDPTI_INLINE bdpt_real BDPTI_V(max_row)(const bdpt_real *x, size_t n, bdpt_real a) {
  BDPTI_VEC top = BDPTI_SPLAT(x[0] * a);
  size_t j;
  for (j = 0; j < n; j += BDPTI_LANES) /* lanes beyond the row stay as they are */
    top = BDPTI_V(larger)(BDPTI_V(keep)(BDPTI_LOAD(x + j, BDPTI_WHOLE) * a, n - j, top), top);
  return BDPTI_V(tree)(top, 1);
}

/* Makes P (not normalised) from some rows of S, in place, and lse. The logarithms have a loop of
 * their own: a call in the loop above it would push all its constants out of the registers. */
static void BDPTI_V(softmax)(const bdpti_heads *h, size_t image, size_t rows, size_t ld,
                                       bdpt_real *s, bdpt_real *total, bdpt_real *lse) {
  const size_t n = h->tokens;
  const bdpt_real scale = h->scale;
  bdpt_real top[BDPTI_QUERIES];
  size_t r;
  for (r = 0; r < rows; r++, s += ld) {
    top[r] = BDPTI_V(max_row)(s, n, scale); /* max_j scale S_rj; below, exp(scale S_rj - top) */
    total[r] = BDPTI_V(exp_row)(s, n, scale, top[r]);
    if (h->count) total[r] = BDPTI_V(count_row)(s, n, h->count + image * n);
  }
  for (r = 0; r < rows && lse; r++) lse[r] = top[r] + (bdpt_real)log((double)total[r]);
}

/* Divides rows of O by their sums of P. */
static void BDPTI_V(share)(const bdpt_real *total, size_t rows, size_t d, bdpt_real *o, size_t ld) {
  size_t r, j;
  for (r = 0; r < rows; r++, o += ld) {
    const bdpt_real share = 1 / total[r];
    for (j = 0; j < d; j += BDPTI_LANES) {
      BDPTI_STORE(o + j, d - j, BDPTI_LOAD(o + j, d - j) * share);
    }
  }
}

/* Makes P and dS from `rows` rows of S and dP, in place; they belong to queries i, i+1 .. */
static void BDPTI_V(softmax_back)(const bdpti_heads *h, size_t task, size_t i, size_t rows,
                                  bdpt_real *p, bdpt_real *ds, size_t ld) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d, image = task / h->heads;
  const size_t at = (image * n + i) * out_row + task % h->heads * d; /* of O and dO */
  const bdpt_real *out = h->out + at, *dout = h->dout + at, *lse = h->lse + task * n + i;
  size_t r, j;
  for (r = 0; r < rows; r++, p += ld, ds += ld, out += out_row, dout += out_row) { /* query r */
    BDPTI_VEC sum = BDPTI_SPLAT(0);
    bdpt_real shift;
    for (j = 0; j < d; j += BDPTI_LANES) {
      sum += BDPTI_LOAD(out + j, d - j) * BDPTI_LOAD(dout + j, d - j); /* dO_r O_r */
    }
    shift = BDPTI_V(total)(sum);              /* D_r */
    BDPTI_V(exp_row)(p, n, h->scale, lse[r]); /* P = exp(scale S - lse) */
    if (h->count) BDPTI_V(count_row)(p, n, h->count + image * n);
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC x = BDPTI_LOAD(ds + j, BDPTI_WHOLE) - shift; /* dP - D */
      BDPTI_STORE(ds + j, BDPTI_WHOLE, BDPTI_LOAD(p + j, BDPTI_WHOLE) * x * h->scale);
    }
  }
}

/* 14.5  Layer normalisation
 *
 *   math      bdpti_layernorm_plain and its backward form (>>layernorm), for rows begin .. end
 *   shape     x[R,D] gamma[D] beta[D] -> y[R,D]; keeps mean[R] rstd[R]
 *   check     tests/test_kernels.c test_layernorm: also rows with mean 1000 and deviation 1
 *
 * The variance takes a second walk over the row, which is in cache. E[x^2] - E[x]^2 in one walk
 * loses its digits when the mean is large against the deviation, as it is on residual streams. The
 * backward pass reads x and dy from memory once for dx and for the sums of dgamma and dbeta.
 */
static void BDPTI_V(layernorm_fwd)(const void *args, size_t begin, size_t end) {
  const bdpti_norm_args *s = (const bdpti_norm_args *)args;
  const size_t n = s->width;
  size_t i, j;
  for (i = begin; i < end; i++) {
    const bdpt_real *x = s->x + i * n;
    BDPTI_VEC sum = BDPTI_SPLAT(0), square = sum;
    bdpt_real mean, rstd;
    for (j = 0; j < n; j += BDPTI_LANES) sum += BDPTI_LOAD(x + j, n - j); /* first walk: the mean */
    mean = BDPTI_V(total)(sum) / (bdpt_real)n;
    for (j = 0; j < n; j += BDPTI_LANES) { /* second: the variance */
      BDPTI_VEC v = BDPTI_V(keep)(BDPTI_LOAD(x + j, n - j) - mean, n - j, BDPTI_SPLAT(0));
      square += v * v;
    }
    rstd = (bdpt_real)(1 / sqrt((double)(BDPTI_V(total)(square) / (bdpt_real)n + s->eps)));
    for (j = 0; j < n; j += BDPTI_LANES) { /* third: y */
      BDPTI_VEC v = (BDPTI_LOAD(x + j, n - j) - mean) * rstd * BDPTI_LOAD(s->gamma + j, n - j);
      BDPTI_STORE(s->y + i * n + j, n - j, v + BDPTI_LOAD(s->beta + j, n - j));
    }
    if (s->mean) s->mean[i] = mean; /* for the backward pass */
    if (s->rstd) s->rstd[i] = rstd;
  }
}

/* Where x ends inside a vector, xh is anything, but dy and with it g and g xh are zero. */
static void BDPTI_V(layernorm_bwd)(const void *args, size_t begin, size_t end, bdpt_real *sums) {
  const bdpti_norm_args *s = (const bdpti_norm_args *)args;
  const size_t n = s->width;
  bdpt_real *dgamma = sums, *dbeta = sums + n;
  size_t i, j;
  memset(sums, 0, 2 * n * sizeof *sums); /* of this chunk of rows */
  for (i = begin; i < end; i++) {
    const bdpt_real *x = s->x + i * n, *dy = s->dy + i * n, mean = s->mean[i];
    bdpt_real rstd = s->rstd[i];
    BDPTI_VEC g_sum = BDPTI_SPLAT(0), gx_sum = g_sum; /* sums of g and of g xh */
    bdpt_real g_mean, gx_mean;
    for (j = 0; j < n; j += BDPTI_LANES) { /* first walk: all sums */
      const size_t left = n - j;
      BDPTI_VEC xh = (BDPTI_LOAD(x + j, left) - mean) * rstd, d = BDPTI_LOAD(dy + j, left);
      BDPTI_VEC g = d * BDPTI_LOAD(s->gamma + j, left); /* g = gamma dy */
      g_sum += g;
      gx_sum += g * xh;
      BDPTI_STORE(dgamma + j, left, BDPTI_LOAD(dgamma + j, left) + d * xh); /* dgamma += dy xh */
      BDPTI_STORE(dbeta + j, left, BDPTI_LOAD(dbeta + j, left) + d);        /* dbeta += dy */
    }
    g_mean = BDPTI_V(total)(g_sum) / (bdpt_real)n;   /* mean(g) */
    gx_mean = BDPTI_V(total)(gx_sum) / (bdpt_real)n; /* mean(g xh) */
    /* A single number is its own mean and y does not depend on it. A fused g - g_mean would leave
     * the rounding of g, times 1 / sqrt(eps). */
    if (n == 1) rstd = 0;
    for (j = 0; s->dx && j < n; j += BDPTI_LANES) { /* second walk: dx */
      const size_t left = n - j;
      BDPTI_VEC xh = (BDPTI_LOAD(x + j, left) - mean) * rstd;
      BDPTI_VEC g = BDPTI_LOAD(dy + j, left) * BDPTI_LOAD(s->gamma + j, left);
      BDPTI_VEC dx = (g - g_mean - xh * gx_mean) * rstd;
      if (s->add) dx += BDPTI_LOAD(s->dx + i * n + j, left);
      BDPTI_STORE(s->dx + i * n + j, left, dx);
    }
  }
}

/* 14.6  The smaller kernels
 *
 * Functions of one element. An activation of x, or y times its slope there; `add` adds it to what
 * out holds. Of p and q (>>act), p = -1 says the exact GELU and p = 0 ReLU.
 */
static void BDPTI_V(act)(const void *args, size_t begin, size_t end) {
  const bdpti_pointwise *s = (const bdpti_pointwise *)args;
  for (; begin < end; begin += BDPTI_LANES) {
    const size_t n = end - begin;
    BDPTI_VEC x = BDPTI_LOAD(s->x + begin, n);
    if (s->a < 0) x = BDPTI_V(gelu)(x, s->y != NULL);
    else x = BDPTI_V(gate)(x, s->a, s->b, s->y != NULL);
    if (s->y) x *= BDPTI_LOAD(s->y + begin, n);
    if (s->add) x += BDPTI_LOAD(s->out + begin, n);
    BDPTI_STORE(s->out + begin, n, x);
  }
}

/* Sums, scalings, mixtures and moving averages: a x + b y. */
static void BDPTI_V(axpby)(const void *args, size_t begin, size_t end) {
  const bdpti_pointwise *s = (const bdpti_pointwise *)args;
  for (; begin < end; begin += BDPTI_LANES) {
    const size_t n = end - begin;
    BDPTI_VEC x = BDPTI_LOAD(s->x + begin, n);
    BDPTI_VEC y = s->y ? BDPTI_LOAD(s->y + begin, n) : BDPTI_SPLAT(0);
    BDPTI_STORE(s->out + begin, n, x * s->a + y * s->b);
  }
}

/* AdamW (>>adamw) in one pass over gradient, parameter and moments; the order of operations is that
 * of torch.optim.AdamW. tests/test_kernels.c holds it to the formula in double. */
static void BDPTI_V(adamw)(const void *args, size_t begin, size_t end) {
  const bdpti_adamw_args *s = (const bdpti_adamw_args *)args;
  const bdpt_real kept = (bdpt_real)(1 - s->lr * s->decay), eps = (bdpt_real)s->eps;
  const bdpt_real new1 = (bdpt_real)(1 - s->beta1), new2 = (bdpt_real)(1 - s->beta2);
  const bdpt_real old2 = (bdpt_real)s->beta2; /* the moments started from zero: */
  const bdpt_real grow = (bdpt_real)(1 / sqrt(1 - pow(s->beta2, s->step)));
  const bdpt_real rate = (bdpt_real)(s->lr / (1 - pow(s->beta1, s->step)));
  size_t i;
  for (i = begin; i < end; i += BDPTI_LANES) {
    const size_t n = end - i;
    BDPTI_VEC g = BDPTI_LOAD(s->g + i, n), m = BDPTI_LOAD(s->m + i, n), v = BDPTI_LOAD(s->v + i, n);
    m = m + (g - m) * new1;
    v = v * old2 + g * g * new2;
    g = m / (BDPTI_V(root)(v) * grow + eps) * rate;              /* the step */
    BDPTI_STORE(s->p + i, n, BDPTI_LOAD(s->p + i, n) * kept - g); /* decayed, then moved */
    BDPTI_STORE(s->m + i, n, m);
    BDPTI_STORE(s->v + i, n, v);
  }
}

/* Sums the columns, the gradient of a bias: x[R,D] -> sums[D]. */
static void BDPTI_V(column_sum)(const void *args, size_t begin, size_t end, bdpt_real *sums) {
  const bdpti_columns *s = (const bdpti_columns *)args;
  size_t i, j, n = s->width;
  memset(sums, 0, n * sizeof *sums);
  for (i = begin; i < end; i++) { /* a row onto the sums */
    for (j = 0; j < n; j += BDPTI_LANES) {
      BDPTI_VEC v = BDPTI_LOAD(s->x + i * n + j, n - j);
      BDPTI_STORE(sums + j, n - j, BDPTI_LOAD(sums + j, n - j) + v);
    }
  }
}

/* Sums x (y - less), or x y, in four running vectors over at most 1024 elements, then in double. */
static double BDPTI_V(dot)(const bdpt_real *x, const bdpt_real *y, const bdpt_real *less,
                           size_t begin, size_t end) {
  double sum = 0;
  while (begin < end) {
    const size_t stop = end - begin > 1024 ? begin + 1024 : end; /* 1024 numbers */
    BDPTI_VEC t[4];
    int l;
    for (l = 0; l < 4; l++) t[l] = BDPTI_SPLAT(0);
    for (; begin < stop; begin += BDPTI_LANES, l++) {
      BDPTI_VEC v = BDPTI_LOAD(y + begin, stop - begin);
      if (less) v -= BDPTI_LOAD(less + begin, stop - begin);
      t[l & 3] += BDPTI_LOAD(x + begin, stop - begin) * v; /* x y or x (y - less) */
    }
    begin = stop;
    sum += (double)BDPTI_V(total)((t[0] + t[1]) + (t[2] + t[3])); /* in a fixed order */
  }
  return sum;
}

#define BDPTI_ISA_TABLE(pairs) { \
  BDPTI_NAME, BDPTI_ROWS, BDPTI_PANEL, \
  BDPTI_V(pack_panel), BDPTI_V(narrow_rows), BDPTI_V(copy_tiles), BDPTI_V(copy_rows), \
  BDPTI_V(tile), BDPTI_V(finish), BDPTI_V(softmax), BDPTI_V(softmax_back), BDPTI_V(share), \
  BDPTI_V(act), BDPTI_V(axpby), BDPTI_V(layernorm_fwd), BDPTI_V(adamw), BDPTI_V(layernorm_bwd), \
  BDPTI_V(column_sum), BDPTI_V(dot), pairs, BDPTI_BY_LANE}
static const bdpti_isa BDPTI_V(isa) = BDPTI_ISA_TABLE(0);
#if BDPTI_ISA_PASS == 3
static const bdpti_isa BDPTI_V(isa_pairs) = BDPTI_ISA_TABLE(1); /* with avx512bf16 */
#endif

#undef BDPTI_V
#undef BDPTI_NAME
#undef BDPTI_BYTES
#undef BDPTI_ROWS
#undef BDPTI_SHUFFLES
#if defined(__clang__) && BDPTI_ISA_PASS > 1
#pragma clang attribute pop
#elif defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#endif /* BDPTI_ISA_PASS */

#if defined(BOUNDARYDPT_IMPLEMENTATION) && !defined(BDPTI_ISA_PASS) && !defined(BDPTI_IMPLEMENTED_2)
#define BDPTI_IMPLEMENTED_2

/* 14.7  The passes and the choice among them
 *
 * The quoted form of #include looks beside this file first, so the file finds itself. Newer
 * compilers tell its name; for older ones BDPT_SELF must say a changed one.
 *
 * AVX-512 here means F, DQ, BW and VL, as in Intel's server processors since 2017 and AMD's since
 * Zen 4; bf16 in pairs is asked for apart. The processor says what it can do (cpuid), and which
 * registers the operating system keeps (xgetbv); not every compiler has a word for that. Windows
 * aligns its stack to 16 bytes only, so no wide vector is an argument of a function that is called:
 * all that have such arguments are inlined. 32-bit x86 gets the portable pass, with SSE2.
 */
#if (defined(__GNUC__) || defined(__clang__)) && !defined(BDPT_NO_VECTORS)
#define BDPTI_VECTORS 1 /* vector extensions */
#else
#define BDPTI_VECTORS 0 /* one lane */
#endif
#if BDPTI_VECTORS && defined(__x86_64__)
#define BDPTI_X86
#endif

#if !defined(BDPT_SELF) && defined(__FILE_NAME__)
#define BDPT_SELF __FILE_NAME__
#elif !defined(BDPT_SELF)
#define BDPT_SELF "boundarydpt.h"
#endif

#define BDPTI_ISA_PASS 1 /* portable */
#include BDPT_SELF
#undef BDPTI_ISA_PASS
#ifdef BDPTI_X86
#define BDPTI_ISA_PASS 2 /* AVX2 */
#include BDPT_SELF
#undef BDPTI_ISA_PASS
#define BDPTI_ISA_PASS 3 /* AVX-512 */
#include BDPT_SELF
#undef BDPTI_ISA_PASS

static void bdpti_cpuid(unsigned leaf, unsigned part, unsigned r[4]) { /* eax ebx ecx edx */
  __asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(part));
}

/* Returns what processor and operating system offer: BDPT_ISA_PORTABLE, AVX2 or AVX512, or one more
 * than that with avx512bf16. The bits are those of Intel's manual, volume 2, CPUID. */
static int bdpti_isa_offered(void) {
  unsigned r[4], fma, most, high, kept = 0;
  bdpti_cpuid(0, 0, r);
  if (r[0] < 7) return BDPT_ISA_PORTABLE;
  bdpti_cpuid(1, 0, r);
  fma = r[2] >> 12 & 1;
  if (r[2] >> 27 & 1) __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0)); /* registers */
  bdpti_cpuid(7, 0, r);
  if (!fma || !(r[1] >> 5 & 1) || (kept & 0x06) != 0x06) return BDPT_ISA_PORTABLE;
  if ((r[1] & 0xc0030000) != 0xc0030000 || (kept & 0xe6) != 0xe6) return BDPT_ISA_AVX2;
  most = r[0];
  bdpti_cpuid(7, 1, r);
  return most >= 1 && (r[0] >> 5 & 1) ? BDPT_ISA_AVX512 + 1 : BDPT_ISA_AVX512;
}
#endif

/* Returns the widest pass that the processor runs and is not above `wanted`; 0 wants the best. */
static const bdpti_isa *bdpti_isa_select(int wanted) {
#ifdef BDPTI_X86
  const int offered = bdpti_isa_offered();
  if (wanted <= 0 || wanted > offered) wanted = offered;
  if (wanted == BDPT_ISA_AVX2) return &bdpti_avx2_isa;
  if (wanted >= BDPT_ISA_AVX512) {
    return offered > BDPT_ISA_AVX512 ? &bdpti_avx512_isa_pairs : &bdpti_avx512_isa;
  }
#else
  (void)wanted;
#endif
  return &bdpti_portable_isa;
}

BDPT_API const char *bdpt_isa_name(const bdpt_context *ctx) {
  return ctx->isa ? ctx->isa->name : "none";
}

BDPT_API int bdpt_bf16_pays(const bdpt_context *ctx) { return ctx->isa && ctx->isa->pairs; }

/* Some compilers leave no macro of the options that break arithmetic, so each context tries: such a
 * compiler takes y + big - big for y, as in exp, or x - x for 0 whatever x is. */
static int bdpti_isa_sound(const bdpti_isa *isa) {
  bdpt_real x[2], y[32] = {0, -3}, total, big = (bdpt_real)1e20;
  bdpti_heads row;
  memset(&row, 0, sizeof row);
  row.tokens = 2;
  row.scale = 1;
  isa->softmax(&row, 0, 1, 0, y, &total, NULL); /* y = 1, exp(-3) */
  if (!(fabs((double)y[1] - 0.0497870684) < 1e-8) || y[0] + big - big != 0) return 0;
  memset(x, 0xFF, sizeof x);   /* NaN, in every format */
  y[1] = (bdpt_real)HUGE_VAL;  /* inf */
  return isa->dot(x, x, x, 0, 2) != 0 && isa->dot(y, y, y, 0, 2) != 0;
}

BDPT_API bdpt_status bdpt_init(bdpt_context *ctx) {
  if (ctx->threads < 0 || ctx->threads > BDPT_MAX_THREADS) {
    return bdpt_fail(ctx, BDPT_E_ARGUMENT, "threads: %d is not between 0 and %d", ctx->threads,
                     BDPT_MAX_THREADS);
  }
  if (ctx->threads == 0) ctx->threads = BDPTI_THREADS;
  ctx->isa = bdpti_isa_select((int)ctx->isa_wanted);
  if (!bdpti_isa_sound(ctx->isa)) {
    return bdpt_fail(ctx, BDPT_E_STATE, "exp, a sum or the check for NaN is wrong: compile without "
                     "options like -funsafe-math-optimizations");
  }
  return BDPT_OK;
}

/* 14.8  The matrix product on several threads
 *
 * C is cut into a grid of `down` x `across` rectangles, one per thread. Each thread packs what it
 * needs and nobody waits for anybody: packing a panel twice costs less than meeting at a barrier
 * and moving panels from one core's cache to another's. Packing a column of B costs about as much
 * as 25 rows of its product, copying a row of a transposed A as 20 columns; that picks the grid.
 *
 * A thread cuts K into equal blocks of at most 768, and its columns so that a packed block has at
 * most 100,000 numbers: less than half of a second cache of 1 MB, because memory in pages of 4 KB
 * fills that unevenly. Long blocks pass over C less often, and 768 spares a ViT-Base its second
 * pass. A transposed A wants room for its copies: then K is cut at 400, and the columns, since each
 * of their blocks copies A again, hardly ever. A B that is whole rows of vectors is not even packed
 * while C has no more than 400 rows to use it.
 */

/* The last panel is one vector wide if that suffices: attention on 65 tokens would otherwise
 * compute 96 columns for 65. */
BDPTI_HOT void bdpti_pack_block(const bdpti_gemm *g, const bdpti_block *b) {
  const size_t panel = g->isa->panel;
  bdpt_real wide[32 * 32]; /* 32 rows of a panel, as floats; 32 columns are the widest */
  size_t j, p;
  for (j = 0; j < b->jn; j += panel) { /* a panel */
    const size_t left = b->jn - j, ld = left > panel / 2 ? panel : panel / 2;
    const size_t cols = left < ld ? left : ld; /* columns that B has */
    bdpt_real *out = b->packed + j * b->rows;  /* the panels before are all two wide */
    if (!g->bf16) g->isa->pack_panel(g, b->p0, b->pn, b->j0 + j, cols, out, ld);
    for (p = 0; p < b->pn && g->bf16; p += 32) { /* 32 rows, 16 pairs */
      const size_t rows = b->pn - p < 32 ? b->pn - p : 32, to = g->bf16 == 2 ? p / 2 : p;
      const bdpt_real *from = g->b + (b->p0 + p) * g->b_row + b->j0 + j; /* in place, if possible */
      if (g->b_col != 1) g->isa->pack_panel(g, b->p0 + p, rows, b->j0 + j, cols, wide, ld);
      g->isa->narrow_rows(g->b_col != 1 ? wide : from, g->b_col != 1 ? ld : g->b_row, rows, cols,
                           ld, g->bf16 == 2, out + to * ld);
    }
  }
}

/* Computes one tile of C. Plain cases go from registers to C, the others through the stack. */
BDPTI_HOT void bdpti_one_tile(const bdpti_gemm *g, const bdpti_block *b, bdpti_tile *t,
                              size_t i0, size_t rows, size_t j) {
  const size_t panel = g->isa->panel, left = b->jn - j, j0 = b->j0 + j; /* column of C */
  const size_t ld = left > panel / 2 ? panel : panel / 2, cols = left < ld ? left : ld;
  const int first = b->p0 == 0; /* of the blocks of K */
  const int plain = !g->gelu && !g->dgelu && (cols == ld || (b->padded && first && !g->add));
  bdpt_real room[32 * BDPTI_TALLEST + 16], *sums = (bdpt_real *)(((uintptr_t)room + 63) / 64 * 64);
  size_t i;
  t->b = b->packed ? b->packed + j * b->rows : g->b + b->p0 * g->b_row + j0;
  t->b_row = b->packed ? ld : g->b_row; /* ld: rows of a panel are adjacent */
  t->c = plain ? g->c + i0 * g->c_row + j0 : sums; /* [rows][ld], aligned */
  t->c_row = plain ? g->c_row : ld;
  t->bias = plain && first && g->bias ? g->bias + j0 : NULL; /* added once */
  t->add = first ? g->add : g->c; /* later blocks add to C */
  if (!plain) t->add = NULL;
  if (t->add) t->add += i0 * g->c_row + j0;
  for (i = i0; i < i0 + rows && !(plain && b->padded); i++) { /* what is touched behind the sums */
    BDPTI_PREFETCH_TWO(g->c, i * g->c_row + j0, panel / 2, 1);
    if (first && g->add) BDPTI_PREFETCH_TWO(g->add, i * g->c_row + j0, panel / 2, 0);
    if (g->gelu) BDPTI_PREFETCH_TWO(g->gelu, i * g->c_row + j0, panel / 2, 1);
    if (g->dgelu) BDPTI_PREFETCH_TWO(g->dgelu, i * g->c_row + j0, panel / 2, 0);
  }
  g->isa->tile(t, rows, ld < panel ? 1 : 2);
  if (!plain) g->isa->finish(g, b, sums, ld, i0, rows, j0, cols);
}

/* Copies a tile of a row-major A to own[pn][ROWS], like a panel of its transpose, for lanes. */
BDPTI_HOT void bdpti_copy_tile(const bdpti_gemm *g, const bdpti_block *b, size_t tiles, size_t tile,
                               bdpt_real *own) {
  const size_t i0 = BDPTI_ROW_OF(g, tiles, tile), rows = BDPTI_ROW_OF(g, tiles, tile + 1) - i0;
  bdpti_gemm a = *g;
  a.b = g->a;
  a.b_row = g->a_col;
  a.b_col = g->a_row;
  g->isa->pack_panel(&a, b->p0, b->pn, i0, rows, own, g->isa->rows);
  if (g->bf16) g->isa->narrow_rows(own, g->isa->rows, b->pn, rows, g->isa->rows, 0, own);
}

/* What later tiles read is fetched to the second cache while tile i of `count` is computed. Where a
 * group of tiles meets panel after panel, that is the next panel of a prepacked weight; where one
 * tile alone meets them, the next tile's rows of A, if they lie without gaps. */
BDPTI_HOT void bdpti_look_ahead(const bdpti_gemm *g, const bdpti_block *b, bdpti_tile *t,
                                size_t i, size_t count, size_t rows, size_t j) {
  const size_t panel = g->isa->panel * sizeof(bdpt_real); /* bytes of a row of one */
  t->next = (uintptr_t)t->a; t->next_step = 0; /* nothing: what the first cache holds */
  if (g->packed && (count > 1 || g->m <= g->isa->rows)) {
    t->next = (uintptr_t)(b->packed + j * b->rows) + panel * b->rows * (count + i) / count;
    t->next_step = (panel + count - 1) / count;
  } else if (count == 1 && !g->bf16 && g->a_col == 1 && g->a_row == b->pn) {
    t->next = (uintptr_t)t->a + (b->jn + j) * rows * g->a_row / b->jn * sizeof(bdpt_real);
    t->next_step = (rows * panel + b->jn - 1) / b->jn; /* behind the last tile nothing is lost */
  }
}

/* Computes all panels of a packed block for the rows of tiles tile0 .. tile1. Rows are spread
 * evenly over tiles, 197 as 7 tiles of 11 and 10 of 12, since a tile of 5 would leave most of the
 * multipliers idle. They go in groups, and each group meets panel after panel: one tile at a time;
 * all of them if A is so small that it stays in the second cache; or as many as were copied. */
BDPTI_HOT void bdpti_multiply(const bdpti_gemm *g, const bdpti_block *b, size_t tile0, size_t tile1,
                              bdpt_real *own) {
  const bdpti_isa *isa = g->isa;
  const size_t tiles = BDPTI_TILES(g->m, isa->rows); /* of all of C */
  const int turned = own && g->a_col > 1 &&
    (g->bf16 || (g->a_row == 1 && (isa->by_lane || b->jn > isa->panel)));
  const int lanes = isa->by_lane && own && !turned;
  const int copy = (turned | lanes) || g->bf16; /* A in place otherwise */
  const size_t all = g->m * b->pn <= 200000 && !lanes ? tile1 - tile0 : 1;
  const size_t size = copy && !lanes ? BDPTI_COPIED : all;
  size_t low, j, i;
  bdpti_tile t;
  t.k = b->rows; /* steps of the inner loop */
  t.pairs = g->bf16 == 2;
  t.a_row = copy && !turned ? b->rows : g->a_row; /* own[row][p]; of a turned A 1 */
  t.a_col = (turned | lanes) ? isa->rows : g->a_col; /* own[p][row], or A itself */
  for (low = tile0; low < tile1; low += size) {   /* one group */
    const size_t count = tile1 - low < size ? tile1 - low : size;
    if (turned) isa->copy_tiles(g, b, tiles, low, count, own);
    else if (lanes) bdpti_copy_tile(g, b, tiles, low, own);
    else if (copy) isa->copy_rows(g, b, tiles, low, count, own);
    for (j = 0; j < b->jn; j += isa->panel) { /* one panel */
      size_t i0, i1 = BDPTI_ROW_OF(g, tiles, low);
      for (i = 0; i < count; i++) { /* one tile, rows i0 .. i1 */
        i0 = i1;
        i1 = BDPTI_ROW_OF(g, tiles, low + i + 1);
        t.a = copy ? own + i * BDPTI_COPY_SIZE(g, b) : g->a + i0 * g->a_row + b->p0 * g->a_col;
        bdpti_look_ahead(g, b, &t, i, count, i1 - i0, j);
        bdpti_one_tile(g, b, &t, i0, i1 - i0, j);
      }
    }
  }
}

typedef struct bdpti_plan {
  size_t down, across, k_cuts, nc; /* the grid; blocks of K; columns of a block */
  size_t room, own;                                   /* numbers: packed block, copies of A */
  int pack;                                           /* 0: B is packed already, or read in place */
} bdpti_plan;

/* Tells how many packed rows k rows of B make. */
BDPTI_FN size_t bdpti_packed_rows(const bdpti_gemm *g, size_t k) {
  return g->bf16 == 2 ? BDPTI_PAIRS(k) : k;
}

/* Sets rows p0 .. p0+pn of block `cut`. Blocks differ by one row at most; of pairs, all but the
 * last are multiples of 32, and up to 31 rows longer. */
BDPTI_FN void bdpti_cut_k(const bdpti_gemm *g, size_t cut, size_t cuts, bdpti_block *b) {
  const size_t unit = g->bf16 == 2 ? 32 : 1, end = (cut + 1) * g->k / cuts;
  b->p0 = cut * g->k / cuts / unit * unit;
  b->pn = (cut + 1 < cuts ? end / unit * unit : end) - b->p0;
  b->rows = bdpti_packed_rows(g, b->pn);
}

BDPTI_FN size_t bdpti_k_cuts(size_t k, size_t longest) {
  return k > longest ? (k + longest - 1) / longest : 1; /* at least one, even of nothing */
}

BDPTI_HOT bdpti_plan bdpti_matmul_plan(const bdpt_context *ctx, const bdpti_gemm *g) {
  const size_t panel = ctx->isa->panel, tiles = (g->m + ctx->isa->rows - 1) / ctx->isa->rows;
  const double work = (double)g->m * (double)g->n * (double)(g->k + 8); /* 8: the epilogue */
  const size_t team = (size_t)bdpti_team(ctx, work / 50); /* 50 of them per nanosecond */
  const int transposed = g->a_row == 1 && g->a_col > 1;   /* dY^T */
  const size_t longest = transposed ? 400 : 768, block = transposed ? 310000 : 100000;
  const int lies = g->m <= 400 && !g->bf16 && BDPTI_AS_IT_LIES(g, panel / 2);
  const size_t pack = g->packed || lies ? 0 : 25; /* what packing costs, in rows of C */
  size_t panels = (g->n + panel - 1) / panel, down, kc, most, best = SIZE_MAX;
  bdpti_plan p;
  for (down = 1; down <= team; down++) { /* every grid of at most `team` rectangles */
    const size_t across = team / down, rows = (tiles + down - 1) / down * ctx->isa->rows + pack;
    const size_t cost = rows * ((panels + across - 1) / across * panel + (transposed ? 20 : 0));
    if (cost >= best) continue; /* the largest rectangle decides */
    best = cost;
    p.down = down;
    p.across = across;
  }
  p.k_cuts = bdpti_k_cuts(g->k, longest);
  kc = g->k > 0 ? (g->k + p.k_cuts - 1) / p.k_cuts : 1;   /* rows of the longest block */
  if (g->bf16 == 2) kc += 31;                             /* see above */
  panels = (panels + p.across - 1) / p.across;            /* of a rectangle, from here on */
  most = block / kc / panel > 0 ? block / kc / panel : 1; /* panels that a block may have */
  most = (panels + most - 1) / most;                      /* blocks that it takes */
  p.nc = (panels + most - 1) / most * panel;              /* equal blocks again */
  p.pack = pack > 0;
  p.room = p.pack ? kc * p.nc : 0; /* one packed block */
  p.own = transposed || g->bf16 ? 16 : (size_t)ctx->isa->by_lane; /* tiles: COPIED, 1 or none */
  p.own *= kc * BDPTI_TALLEST + 32;
  return p;
}

/* Computes one rectangle of C. */
BDPTI_FN void bdpti_matmul_part(const bdpti_gemm *g, const bdpti_plan *plan, size_t t,
                                bdpt_real *work) {
  const bdpti_isa *isa = g->isa;
  const size_t tiles = BDPTI_TILES(g->m, isa->rows), down = t % plan->down;
  const size_t panels = (g->n + isa->panel - 1) / isa->panel, across = t / plan->down;
  const size_t end = (across + 1) * panels / plan->across * isa->panel; /* whole panels */
  const size_t j1 = end < g->n ? end : g->n; /* the last panel may reach beyond C */
  size_t cut;
  bdpti_block b;
  b.padded = 0;
  for (b.j0 = across * panels / plan->across * isa->panel; b.j0 < j1; b.j0 += plan->nc) {
    b.jn = j1 - b.j0 < plan->nc ? j1 - b.j0 : plan->nc;
    for (cut = 0; cut < plan->k_cuts; cut++) { /* a block of K */
      bdpti_cut_k(g, cut, plan->k_cuts, &b);
      b.packed = plan->pack ? work : NULL; /* for this thread alone */
      if (g->packed) { /* whole panels, K block after K block */
        b.packed = (bdpt_real *)(uintptr_t)g->packed; /* written by bdpti_prepack only */
        b.packed += bdpti_packed_rows(g, b.p0) * panels * isa->panel + b.j0 * b.rows;
      }
      if (plan->pack) bdpti_pack_block(g, &b);
      bdpti_multiply(g, &b, down * tiles / plan->down, (down + 1) * tiles / plan->down,
                    plan->own ? work + plan->room : NULL);
    }
  }
}

/* Returns how bf16 can be used: it wants float numbers and an A with one stride of 1. */
BDPTI_FN int bdpti_bf16(const bdpt_context *ctx, const bdpti_gemm *g) {
  if (!ctx->bf16 || sizeof(bdpt_real) != sizeof(float)) return 0;
  if (g->a_row != 1 && g->a_col != 1) return 0; /* neither copy could read whole vectors */
  return ctx->isa->pairs ? 2 : 1;
}

BDPTI_FN bdpt_status bdpti_matmul(bdpt_context *ctx, const bdpti_gemm *given) {
  bdpti_gemm g = *given;
  bdpti_plan plan;
  bdpt_real *work;
  size_t each;
  int t, team;
  if (g.m == 0 || g.n == 0) return BDPT_OK;
  g.isa = ctx->isa;
  g.bf16 = bdpti_bf16(ctx, &g);
  plan = bdpti_matmul_plan(ctx, &g);
  team = (int)(plan.down * plan.across);
  each = plan.room + plan.own; /* numbers per thread */
  work = (bdpt_real *)bdpti_scratch(ctx, (size_t)team * each * sizeof *work);
  if (!work && each) return ctx->status; /* no memory, and some is needed */
  if (team == 1) { /* a region of one thread takes a microsecond */
    bdpti_matmul_part(&g, &plan, 0, work);
    return BDPT_OK;
  }
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static, 1))
  for (t = 0; t < team; t++) { /* a rectangle each */
    bdpti_matmul_part(&g, &plan, (size_t)t, work + (size_t)t * each);
  }
  return BDPT_OK;
}

/* Packs all of g->b (b, its strides, n and k are looked at) for products with any row-major A to
 * come; `out` NULL: only says how many numbers that takes. Whoever changes B packs again. */
BDPTI_FN size_t bdpti_prepack(const bdpt_context *ctx, const bdpti_gemm *given, bdpt_real *out) {
  const size_t panel = ctx->isa->panel, wide = (given->n + panel - 1) / panel * panel;
  bdpti_plan plan = {1, 1, bdpti_k_cuts(given->k, 768), wide, 0, 0, 1}; /* as for a row-major A */
  bdpti_gemm g = *given;
  g.m = 0; /* nothing is multiplied */
  g.a_row = g.k; g.a_col = 1; /* a row-major A, for bdpti_bf16 */
  g.isa = ctx->isa;
  g.bf16 = bdpti_bf16(ctx, &g);
  g.packed = out;
  if (out) bdpti_matmul_part(&g, &plan, 0, NULL);
  return bdpti_packed_rows(&g, g.k) * wide;
}

/* Computes one product of a task on one thread. Its B is packed at `work` unless that is NULL,
 * which means that `b` holds it already. `own` has room for a tile of a row-major A, which by-lane
 * products copy; it is NULL for a transposed A that may be read some numbers beyond its end. */
BDPTI_HOT void bdpti_product(const bdpti_gemm *g, bdpti_block *b, bdpt_real *work, int padded,
                             bdpt_real *own) {
  if (work) {
    b->p0 = b->j0 = 0; /* all of B is one block */
    b->pn = b->rows = g->k;
    b->jn = g->n;
    b->packed = BDPTI_AS_IT_LIES(g, g->isa->panel / 2) ? NULL : work; /* NULL: V or K as it lies */
    b->padded = padded;
    if (b->packed) bdpti_pack_block(g, b);
  }
  bdpti_multiply(g, b, 0, BDPTI_TILES(g->m, g->isa->rows), g->isa->by_lane ? own : NULL);
}

/* Fills the strides of a head's product in one line. */
BDPTI_HOT bdpti_gemm bdpti_operands(const bdpti_heads *h, size_t m, size_t n, size_t k,
    const bdpt_real *a, size_t a_row, size_t a_col, const bdpt_real *b, size_t b_row, size_t b_col,
    bdpt_real *c, size_t c_row) {
  bdpti_gemm g = {m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, NULL, NULL, NULL, NULL,
                  NULL, 0, h->isa};
  return g;
}

BDPTI_HOT void bdpti_attention_fwd(const bdpti_heads *h, size_t begin, size_t end,
                                   bdpt_real *work) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d, row = 3 * out_row;
  const size_t ld = (n + 31) / 32 * 32, wide = (d + 31) / 32 * 32; /* whole panels of any pass */
  bdpt_real *kt = work, *vp = kt + d * ld,                /* K^T [d,ld], V [N,wide] in panels */
            *s = vp + n * wide, total[BDPTI_QUERIES],     /* S, then P [36,ld]; its row sums */
            *own = s + BDPTI_QUERIES * ld;                /* a tile of Q or P */
  size_t task, part;
  for (task = begin; task < end; task++) { /* piece innermost, image outermost */
    const size_t piece = task % h->pieces, head = task / h->pieces % h->heads;
    const size_t image = task / h->pieces / h->heads, low = piece * n / h->pieces; /* first query */
    const size_t rows = (piece + 1) * n / h->pieces - low;                         /* queries */
    const size_t parts = (rows + BDPTI_QUERIES - 1) / BDPTI_QUERIES; /* nearly equal, 36 at most */
    const bdpt_real *q = h->qkv + image * n * row + head * d;        /* [N,d], rows 3hd apart */
    bdpt_real *out = h->out + image * n * out_row + head * d;    /* [N,d], rows hd apart */
    bdpt_real *lse = h->lse ? h->lse + (image * h->heads + head) * n : NULL;
    bdpti_gemm qk = bdpti_operands(h, 0, n, d, q, row, 1, q + out_row, 1, row, s, ld);
    bdpti_gemm pv = bdpti_operands(h, 0, d, n, s, ld, 1, q + 2 * out_row, row, 1, out, out_row);
    bdpti_block k_block, v_block;
    for (part = 0; part < parts; part++) { /* a block of queries */
      const size_t i = low + part * rows / parts, count = low + (part + 1) * rows / parts - i;
      qk.m = pv.m = count;
      qk.a = q + i * row;
      pv.c = out + i * out_row;
      bdpti_product(&qk, &k_block, part == 0 ? kt : NULL, 1, own); /* S = Q K^T [count,N] */
      h->isa->softmax(h, image, count, ld, s, total, lse ? lse + i : NULL);
      bdpti_product(&pv, &v_block, part == 0 ? vp : NULL, 0, own); /* O = P V [count,d] */
      h->isa->share(total, count, d, pv.c, out_row); /* O / row sum */
    }
  }
}

BDPTI_HOT void bdpti_attention_bwd(const bdpti_heads *h, size_t begin, size_t end,
                                   bdpt_real *work) {
  const size_t n = h->tokens, d = h->size, out_row = h->heads * d, row = 3 * out_row;
  const size_t ld = (n + 31) / 32 * 32, wide = (d + 31) / 32 * 32; /* as in the forward pass */
  const size_t parts = (n + BDPTI_QUERIES_BACK - 1) / BDPTI_QUERIES_BACK;
  bdpt_real *kt = work, *vt = kt + d * ld,                /* K^T, V^T [d,ld] in panels */
            *kp = vt + d * ld, *spare = kp + n * wide;    /* K [N,wide]; Q or dO of a block */
  bdpt_real *s = spare + BDPTI_QUERIES_BACK * wide, *t = s + BDPTI_QUERIES_BACK * ld; /* S, dP */
  bdpt_real *own = t + BDPTI_QUERIES_BACK * ld; /* a tile of Q, dO or dS */
  size_t task, part;
  for (task = begin; task < end; task++) {
    const size_t image = task / h->heads, at = image * n * row + task % h->heads * d; /* of Q */
    const bdpt_real *q = h->qkv + at, *k = q + out_row, *v = k + out_row;
    const bdpt_real *dout = h->dout + image * n * out_row + task % h->heads * d;
    bdpt_real *dq = h->dqkv + at, *dk = dq + out_row, *dv = dk + out_row; /* dQ dK dV [N,d] each */
    bdpti_gemm qk = bdpti_operands(h, 0, n, d, q, row, 1, k, 1, row, s, ld); /* S = Q K^T */
    bdpti_gemm dp = bdpti_operands(h, 0, n, d, dout, out_row, 1, v, 1, row, t, ld);
    bdpti_gemm to_q = bdpti_operands(h, 0, d, n, t, ld, 1, k, row, 1, dq, row);
    bdpti_gemm to_k = bdpti_operands(h, n, d, 0, t, 1, ld, q, row, 1, dk, row);
    bdpti_gemm to_v = bdpti_operands(h, n, d, 0, s, 1, ld, dout, out_row, 1, dv, row);
    bdpti_block kt_block, vt_block, k_block, block;
    for (part = 0; part < parts; part++) { /* a block of queries */
      const size_t i = part * n / parts, count = (part + 1) * n / parts - i;
      qk.m = dp.m = to_q.m = to_k.k = to_v.k = count;
      qk.a = to_k.b = q + i * row;
      dp.a = to_v.b = dout + i * out_row;
      to_q.c = dq + i * row;
      to_k.add = part > 0 ? dk : NULL; /* dK and dV sum over the blocks */
      to_v.add = part > 0 ? dv : NULL;
      bdpti_product(&qk, &kt_block, part == 0 ? kt : NULL, 1, own); /* S */
      bdpti_product(&dp, &vt_block, part == 0 ? vt : NULL, 1, own); /* dP = dO V^T */
      h->isa->softmax_back(h, task, i, count, s, t, ld);
      bdpti_product(&to_q, &k_block, part == 0 ? kp : NULL, 0, own); /* dQ = dS K */
      bdpti_product(&to_v, &block, spare, 0, NULL);             /* dV += P^T dO */
      bdpti_product(&to_k, &block, spare, 0, NULL);             /* dK += dS^T Q */
    }
  }
}

/* 14.9  Attention on several threads
 *
 * The bytes of work that one thread needs, forward or backward; SIZE_MAX if they overflow. Linear
 * in N: K^T, V^T and K in panels, and for 72 queries S, dP and the packed rows of Q or dO; 12 rows
 * more are room for a tile.
 */
BDPTI_FN size_t bdpti_attention_work(size_t tokens, size_t size) {
  const double ld = 32 * ceil((double)tokens / 32), wide = 32 * ceil((double)size / 32);
  const double bytes = (double)sizeof(bdpt_real) * (3 * ld * wide + 84 * (2 * ld + wide));
  return bytes < (double)(SIZE_MAX / 2) ? (size_t)bytes : SIZE_MAX;
}

/* Runs forward, or with `dout` backward, which writes all of dqkv. With few heads, as in the
 * classification of one image, each head's queries are cut into pieces until there are four tasks
 * per thread; a row's result does not depend on its piece. */
BDPTI_FN bdpt_status bdpti_attention(bdpt_context *ctx, size_t images, bdpti_heads h) {
  const size_t bytes = bdpti_attention_work(h.tokens, h.size), few = 4 * (size_t)ctx->threads;
  size_t tasks = images * h.heads, total;
  const double work = (double)tasks * (double)h.tokens * (double)h.tokens * (double)h.size;
  int t, team = bdpti_team(ctx, work / (h.dout ? 10 : 25));
  char *room;
  if (tasks == 0 || h.tokens == 0 || h.size == 0) return BDPT_OK;
  h.isa = ctx->isa;
  h.pieces = !h.dout && tasks < few && ctx->threads > 1 ? (few + tasks - 1) / tasks : 1;
  tasks *= h.pieces;
  if ((size_t)team > tasks) team = (int)tasks;
  if (!bdpti_mul(bytes, (size_t)team, &total)) total = SIZE_MAX; /* refused below */
  room = (char *)bdpti_scratch(ctx, total);
  if (!room) return ctx->status;
  BDPTI_OMP(omp parallel for num_threads(team) schedule(static, 1))
  for (t = 0; t < team; t++) {
    (h.dout ? bdpti_attention_bwd : bdpti_attention_fwd)(
      &h, tasks * (size_t)t / (size_t)team, tasks * (size_t)(t + 1) / (size_t)team,
      (bdpt_real *)(void *)(room + bytes * (size_t)t)); /* its own workspace */
  }
  return BDPT_OK;
}

#endif /* BOUNDARYDPT_IMPLEMENTATION, the second part */
