/* What this processor can do at most: chains of multiply-adds that wait for nobody else.
 *
 * Twelve chains hide the latency of the instruction, and two registers hold the factors, so each
 * function runs at the speed of the multipliers. It is plain C on vectors of 4, 8 and 16 floats for
 * the three instruction sets of the library, and one inline instruction for pairs of bf16. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#define TWELVE(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define CHAIN_START(i) vec s##i = x * (float)i;
#define CHAIN_STEP(i) s##i = s##i * x + y;
#define CHAIN_END(i) x += s##i;
#define CHAIN_PAIRS(i) __asm__("vdpbf16ps %2, %1, %0" : "+v"(s##i) : "v"(x), "v"(y));

#if defined(__clang__)
#define PEAK_TARGET(set) __attribute__((noinline, target(set)))
#else
#define PEAK_TARGET(set) __attribute__((noinline, target(set), optimize("fp-contract=fast")))
#endif
#define PEAK_PLAIN __attribute__((noinline))

#define PEAK(name, attributes, lanes, step)                                         \
  attributes static float name(long steps, float a, float b) {                      \
    typedef float vec __attribute__((vector_size(4 * lanes)));                      \
    vec zero = {0}, x = zero + a, y = zero + b;                                     \
    long i;                                                                         \
    TWELVE(CHAIN_START)                                                             \
    for (i = 0; i < steps; i++) { TWELVE(step) }                                    \
    TWELVE(CHAIN_END)                                                               \
    return x[0];                                                                    \
  }

PEAK(peak_portable, PEAK_PLAIN, 4, CHAIN_STEP)
#ifdef BDPTI_X86
PEAK(peak_avx2, PEAK_TARGET("avx2,fma"), 8, CHAIN_STEP)
PEAK(peak_avx512, PEAK_TARGET("avx512f,fma"), 16, CHAIN_STEP)
PEAK(peak_pairs, PEAK_TARGET("avx512f"), 16, CHAIN_PAIRS)
#else
#define peak_avx2 peak_portable
#define peak_avx512 peak_portable
#define peak_pairs peak_portable
#endif

typedef struct peak {
  const char *name;
  float (*chains)(long steps, float a, float b);
  int isa;      /* bdpt_isa_choice */
  double flop;  /* of one step: twelve vectors, a product and a sum each */
  int threads;
} peak;

static const peak peaks[] = {
  {"avx512", peak_avx512, BDPT_ISA_AVX512, 12 * 16 * 2, 1},
  {"avx2", peak_avx2, BDPT_ISA_AVX2, 12 * 8 * 2, 1},
  {"portable", peak_portable, BDPT_ISA_PORTABLE, 12 * 4 * 2, 1},
  {"bf16 pairs", peak_pairs, BDPT_ISA_AVX512, 12 * 32 * 2, 1}};
enum { PEAKS = 4, PEAK_STEPS = 200000 };

/* Returns 1 if the processor has the instructions, which the library's own choice tells. */
static int peak_runs(const peak *p) {
  const bdpti_isa *isa = bdpti_isa_select(p->isa);
  if (p->chains == peak_pairs && !isa->pairs) return 0;
  return strcmp(isa->name, strncmp(p->name, "bf16", 4) == 0 ? "avx512" : p->name) == 0;
}

static float peak_sink[64]; /* results that nobody wants but the compiler must believe in */

static int peak_run(void *with) {
  const peak *p = (const peak *)with;
  int t;
  BDPTI_OMP(omp parallel for num_threads(p->threads) schedule(static, 1))
  for (t = 0; t < p->threads; t++) peak_sink[t % 64] = p->chains(PEAK_STEPS, 0.5f, 0.25f);
  return 1;
}

/* Returns the peak of an instruction set as an engine, in GFLOP/s; `p` keeps its thread count. */
static engine peak_engine(peak *p, const char *name, int threads) {
  int i;
  for (i = 0; i < PEAKS && strcmp(peaks[i].name, name) != 0; i++) {}
  *p = peaks[i < PEAKS ? i : 2];
  p->threads = threads;
  return engine_of("peak", peak_run, p, threads, 1e-9 * p->flop * (int)PEAK_STEPS * threads);
}

static void section_machine(void) {
  static engine e[PEAKS];
  peak p[PEAKS];
  int threads, i, n;
  table_head("Peak of multiply-adds", "GFLOP/s", "peak", NULL);
  for (threads = 1; threads <= bench.threads && threads <= 2; threads++) {
    for (i = n = 0; i < PEAKS; i++) {
      if (peak_runs(&peaks[i])) e[n++] = peak_engine(&p[i], peaks[i].name, threads);
      else note("%s: not on this processor", peaks[i].name);
    }
    take_turns(e, n, bench.quick ? 2 : 5, 0.02);
    for (i = 0; i < n; i++) {
      char label[80];
      snprintf(label, sizeof label, "%s, %d thread%s", ((peak *)e[i].with)->name, threads,
               threads == 1 ? "" : "s");
      row_open("peak", "GFLOP/s", label);
      row_cell("peak", rate_of(&e[i]));
      row_close();
    }
  }
}

#endif
