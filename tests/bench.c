/* How fast the library is, against OpenBLAS, PyTorch, ONNX Runtime, OpenVINO and against itself.
 *
 *   make bench                          half an hour and more; alone on the machine, please
 *   make bench ARGS="--quick"           a minute or two, fewer cases
 *   build/bench --help
 *
 * `make bench` binds OpenMP's threads to processors, ours and PyTorch's (OMP_PROC_BIND=true unless
 * it is set); ONNX Runtime has threads of its own.
 *
 * Nothing here is a test: a timing depends on the machine. Nothing depends on a peer either; what
 * is not installed is skipped with a note. OpenBLAS is opened at run time; PyTorch, ONNX Runtime
 * and OpenVINO run in tests/bench_peers.py, with $PYTHON or python3.
 *
 * `--isa avx2` shows on a processor with AVX-512 what one without it does. Then PyTorch and
 * OpenBLAS get their own switches, which the environment of this program holds; ONNX Runtime and
 * OpenVINO have none that hold all of them, and are told another answer to the instruction cpuid
 * (tests/bench_hold.py: cc, objdump and half a minute each).
 *
 * HOW TO READ THE TABLES. A cell is "median (p10-p90)". Speeds are per second of the clock on the
 * wall, on one thread (1t) per second of processor time: larger is better. A ratio says how many
 * times as fast we are. Everything in a row was measured in turn, round by round, ours before and
 * after the others; a ratio is the median over rounds of the ratio within a round, so it need not
 * be the quotient of the medians beside it. "Fraction of peak" counts only the multiply-adds of the
 * network's products and divides by what registers alone can do (first table), measured in the
 * same rounds.
 *
 * The lines `RATIO name value` at the end sum up, after a line `ISA name`; `skipped` is what was
 * not measured. Larger is
 * better in all of them:
 *
 *   matmul_openblas_1t, _2t      geometric mean over the large products, 1 and 2 threads
 *   attention_products_1t, _2t   the same over attention's small ones
 *   peak_fraction_base_b1_2t     share of the multiply-add peak, DeiT-B, 1 image, 2 threads
 *   prune_speedup_ti, _s, _b     dense to 5 + 5 layers removed and fused, mean over batch, threads
 *   prune_speedup_s_4_3          Small with 4 + 3 removed
 *   merge_of_macs, _worst        speed-up of pruning over that of the multiply-adds, tokens merged
 *   plus_over_width_4g, _2g, _1g depth and width over width alone at equal MACs, by class
 *   infer_peer_1t, _2t           against the best peer, mean over Ti, S, B and batch 1, 16
 *   infer_worst_1t, _2t          the worst of these cases
 *   train_peer_1t, _2t           training steps against PyTorch, mean over four networks
 *   infer_tuned_1t, _2t          both once more against a PyTorch that has been helped: MKL keeps
 *   train_tuned_1t, _2t          its AVX-512 kernels to Intel's processors, but can be talked round
 *   train_memory                 PyTorch's peak memory over ours, whole processes, worst network,
 *                                ours with recipe.recompute
 *   bf16_infer_base, bf16_train  bf16 against float
 *   growth_worst                 cost of a FLOP at the best over the worst point, tokens and width
 *   isa_avx2                     speed with AVX2 over speed with the best instruction set
 *   o3_native                    -O2 against -O3 -march=native
 */
#define _POSIX_C_SOURCE 200809L
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#define BOUNDARYDPT_PLUS_IMPLEMENTATION
#include "../examples/plus/boundarydpt_plus.h"
#include <signal.h>
#include "bench_measure.h"
#include "bench_peak.h"
#include "bench_products.h"
#include "bench_networks.h"
#include "bench_merge.h"
#include "bench_width.h"
#include "bench_growth.h"

static const char usage[] =
  "usage: bench [options]\n"
  "  --quick         fewer cases and rounds, a minute or two\n"
  "  --only LIST     sections, separated by commas: matmul attention inference prune merge\n"
  "                  width training memory growth isa\n"
  "  --threads N     use at most N threads (default: all processors)\n"
  "  --rounds N      rounds per case, 1 to 60\n"
  "  --isa NAME      best (default), portable, avx2, avx512; avx2 holds the peers back likewise\n"
  "  --no-peers      leave out OpenBLAS, PyTorch, ONNX Runtime and OpenVINO\n"
  "  --json          JSON lines instead of tables\n"
  "  --help          this text\n"
  "Environment: PYTHON the interpreter of the peers; BENCH_ONNX=DIR takes DIR/dense_WIDTH.onnx.\n";

typedef struct section { const char *name; void (*run)(void); } section;
static const section sections[] = {
  {"matmul", section_matmul}, {"attention", section_attention}, {"inference", section_inference},
  {"prune", section_prune}, {"merge", section_merge}, {"width", section_width},
  {"training", section_training}, {"memory", section_memory}, {"growth", section_growth},
  {"isa", section_isa}};
enum { SECTIONS = sizeof sections / sizeof *sections };

/* Returns 1 if a comma-separated list holds the name, or, if name is NULL, if all of the list's
 * names are known. */
static int listed(const char *list, const char *name) {
  size_t length, i;
  int known;
  for (;; list += length + 1) {
    length = strcspn(list, ",");
    if (name && strlen(name) == length && strncmp(list, name, length) == 0) return 1;
    for (i = 0, known = 0; i < SECTIONS; i++) {
      known |= strlen(sections[i].name) == length && !strncmp(list, sections[i].name, length);
    }
    if (!name && !known) return 0;
    if (list[length] == 0) return name == NULL;
  }
}

static int option_isa(const char *text) {
  static const char *const names[] = {"best", "portable", "avx2", "avx512"};
  int i;
  for (i = 0; i < 4; i++) {
    if (text && strcmp(text, names[i]) == 0) bench.isa = i;
    if (text && strcmp(text, names[i]) == 0) return 1;
  }
  return 0;
}

static int option_number(const char *text, int low, int high, int *out) {
  char *end;
  const long n = text ? strtol(text, &end, 10) : 0;
  if (!text || end == text || *end || n < low || n > high) return 0;
  *out = (int)n;
  return 1;
}

/* Returns NULL, or the argument that is wrong. */
static const char *options(int argc, char **argv, const char **only) {
  int i;
  for (i = 1; i < argc; i++) {
    const char *a = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(a, "--quick") == 0) bench.quick = 1;
    else if (strcmp(a, "--json") == 0) bench.json = 1;
    else if (strcmp(a, "--no-peers") == 0) bench.no_peers = 1;
    else if (strcmp(a, "--threads") == 0 && option_number(next, 1, 64, &bench.threads)) i++;
    else if (strcmp(a, "--rounds") == 0 && option_number(next, 1, 60, &bench.rounds)) i++;
    else if (strcmp(a, "--isa") == 0 && option_isa(next)) i++;
    else if (strcmp(a, "--only") == 0 && next && listed(next, NULL)) {
      *only = next;
      i++;
    } else return a;
  }
  return NULL;
}

/* Finds where this program, the interpreter and its script are. */
static void places(const char *self) {
  const char *python = getenv("PYTHON"), *slash = strrchr(self, '/');
  snprintf(bench.self, sizeof bench.self, "%.380s", self);
  snprintf(bench.python, sizeof bench.python, "%.190s", python && *python ? python : "python3");
  snprintf(bench.peers, sizeof bench.peers, "%.*s../tests/bench_peers.py",
           slash ? (int)(slash + 1 - self) : 0, self);
}

/* Tells the peers what --isa tells the library; they are asked before they start. */
static void hold_back(void) {
  static const char *const avx2[][2] = {
    {"ONEDNN_MAX_CPU_ISA", "AVX2"}, {"ATEN_CPU_CAPABILITY", "avx2"},
    {"MKL_ENABLE_INSTRUCTIONS", "AVX2"}, {"OPENBLAS_CORETYPE", "Haswell"}, {"BENCH_SIMD", "256"}};
  size_t i;
  unsetenv("OPENBLAS_CORETYPE"); /* whatever was exported would slow OpenBLAS down */
  unsetenv("OPENBLAS_L2_SIZE");
  for (i = 0; i < sizeof avx2 / sizeof *avx2 && bench.isa == BDPT_ISA_AVX2; i++) {
    setenv(avx2[i][0], avx2[i][1], 1);
  }
}

static void processor(char *out, size_t room) {
  FILE *f = fopen("/proc/cpuinfo", "r");
  char text[300], *colon;
  snprintf(out, room, "unknown");
  while (f && fgets(text, sizeof text, f)) {
    colon = strchr(text, ':');
    if (strncmp(text, "model name", 10) || !colon) continue;
    colon[strcspn(colon, "\n")] = 0;
    snprintf(out, room, "%.80s", colon + 2);
    break;
  }
  if (f) fclose(f);
}

/* Returns how many processes want to run, averaged over the last minute; 0 if nobody tells. */
static double load_average(void) {
  FILE *f = fopen("/proc/loadavg", "r");
  double load = 0;
  if (f && fscanf(f, "%lf", &load) != 1) load = 0;
  if (f) fclose(f);
  return load;
}

static void introduce(void) {
  const time_t t = time(NULL);
  char date[40], cpu[100];
  const double load = load_average();
  bdpt_context ctx;
  memset(&ctx, 0, sizeof ctx);
  ctx.isa_wanted = (bdpt_isa_choice)bench.isa;
  bdpt_init(&ctx);
  snprintf(bench.isa_name, sizeof bench.isa_name, "%.15s", bdpt_isa_name(&ctx));
  processor(cpu, sizeof cpu);
  strftime(date, sizeof date, "%Y-%m-%d", localtime(&t));
  note("boundarydpt %s, %s, compiler %s, %s", bdpt_version(), date, __VERSION__,
#if defined(__OPTIMIZE__) && defined(_OPENMP)
       "optimised, OpenMP"
#elif defined(__OPTIMIZE__)
       "optimised, no OpenMP"
#else
       "NOT OPTIMISED"
#endif
       );
  note("processor: %s, %ld processors, up to %d threads, instruction set %s%s", cpu,
       sysconf(_SC_NPROCESSORS_ONLN), bench.threads, bdpt_isa_name(&ctx),
       ctx.isa->pairs ? " with bf16 pairs" : "");
  if (load > 0.5) {
    note("BUSY: the load is %.1f; figures on several threads are not worth much", load);
  }
  bdpt_finish(&ctx);
}

/* Answers the other side of the protocol: this program as a peer of itself. */
static void worker_go(network *n, double seconds) {
  static engine e;
  int i;
  e = network_engine("ours", n);
  if (engine_measure(&e, seconds) <= 0) {
    printf("skipped: %s\n", n->ctx.message);
    return;
  }
  printf("times");
  for (i = 0; i < e.samples; i++) printf(" %.9f", e.sample[i]);
  printf("\n");
}

static int worker(int recompute) {
  static network n;
  const double before = memory_of("VmRSS");
  char text[200], kind[16];
  double seconds;
  job j;
  printf("hello boundarydpt %s\n", bdpt_version());
  for (;;) {
    fflush(stdout);
    if (!fgets(text, sizeof text, stdin) || strncmp(text, "quit", 4) == 0) break;
    memset(&j, 0, sizeof j);
    if (sscanf(text, "case %15s %d %d %d %d %d %d %d %d", kind, &j.image, &j.patch, &j.width,
               &j.depth, &j.heads, &j.classes, &j.batch, &j.threads) == 9) {
      if (n.ctx.isa) network_free(&n);
      j.train = strcmp(kind, "train") == 0;
      j.recompute = recompute;
      j.isa = getenv("BENCH_SIMD") ? BDPT_ISA_AVX2 : BDPT_ISA_BEST; /* as our parent was told */
      printf(network_make(&n, &j) ? "ready ours\n" : "skipped: failed\n");
    } else if (sscanf(text, "go ours %lf", &seconds) == 1 && n.ctx.isa) worker_go(&n, seconds);
    else if (strncmp(text, "memory", 6) == 0) {
      printf("memory %.0f %.0f %.0f %.0f\n", memory_of("VmHWM"), before, (double)n.ctx.bytes_peak,
             (double)(n.trainer ? n.trainer->tape : n.tape)->arena.first->bytes);
    } else printf("skipped: what is that?\n");
  }
  if (n.ctx.isa) network_free(&n);
  return 0;
}

int main(int argc, char **argv) {
  const char *only = NULL, *wrong;
  size_t i;
  if (argc >= 2 && strcmp(argv[1], "--worker") == 0) return worker(argc > 2);
  for (i = 1; i < (size_t)argc; i++) {
    if (strcmp(argv[i], "--help") == 0) return fputs(usage, stdout) < 0;
  }
  wrong = options(argc, argv, &only);
  if (wrong) {
    fprintf(stderr, "bench: cannot use '%s'\n%s", wrong, usage);
    return 2;
  }
  if (bench.threads == 0) bench.threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
#ifndef _OPENMP
  bench.threads = 1;
#endif
  signal(SIGPIPE, SIG_IGN);
  places(argv[0]);
  hold_back();
  introduce();
  section_machine();
  for (i = 0; i < SECTIONS; i++) {
    if (!only || listed(only, sections[i].name)) sections[i].run();
  }
  summary_print();
  return bench.failed;
}
