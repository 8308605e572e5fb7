/* The tool on several processes, which train one network together.
 *
 *   make mpi && mpirun -n 4 build/boundarydpt-mpi train --generated --threads 1 --out m.safetensors
 *
 * The library asks its caller for one thing, sums of numbers over all processes (>>ranks in the
 * header); this file is that caller. Process 0 talks and writes the files, the others are silent,
 * unless one of them fails while the rest goes on: then its last words are printed, and all end.
 */
#define _POSIX_C_SOURCE 200809L
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../boundarydpt.h"
#include "../tool/cli/messages.h"
#include "../tool/cli/system.h"
#include "../tool/commands/commands.h"
#include "../tool/commands/common.h"

static int reduce(void *user, void *values, size_t count, size_t bytes) {
  MPI_Datatype type = bytes == sizeof(double) ? MPI_DOUBLE : MPI_FLOAT;
  char *at = (char *)values;
  (void)user;
  while (count > 0) { /* MPI counts in int */
    size_t n = count < (size_t)1 << 30 ? count : (size_t)1 << 30;
    if (MPI_Allreduce(MPI_IN_PLACE, at, (int)n, type, MPI_SUM, MPI_COMM_WORLD) != MPI_SUCCESS)
      return -1;
    at += n * bytes;
    count -= n;
  }
  return 0;
}

static void join_cluster(bdpt_context *ctx) {
  MPI_Comm_rank(MPI_COMM_WORLD, &ctx->cluster.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ctx->cluster.size);
  ctx->cluster.reduce = reduce;
  if (ctx->threads == 0) ctx->threads = 1; /* the processes are the threads */
}

/* What a silent process would have said to stderr is kept, in case it has to be said after all. */
static void last_words(FILE *kept, FILE *out, int rank) {
  char line[1000], last[1000] = "";
  rewind(kept);
  while (fgets(line, sizeof line, kept)) memcpy(last, line, sizeof line);
  fprintf(out, "process %d: %s", rank, last[0] ? last : "ended without a word\n");
  fflush(out);
}

int main(int argc, char **argv) {
  int rank, status;
  FILE *kept = NULL, *out = NULL;
  cli_calm_threads(argv); /* may start the program anew, so it stands before MPI */
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank > 0) {
    out = fdopen(dup(fileno(stderr)), "w");
    kept = tmpfile();
    if (kept) dup2(fileno(kept), fileno(stderr));
    if (!freopen("/dev/null", "w", stdout)) return 1;
  }
  command_join = join_cluster;
  status = command_main(argc, argv);
  if (status != 0) {
    /* Who has the reason speaks, and process 0 first, if it has one: its end is a signal to the
     * others while they wait. */
    struct timespec moment = {0, 0};
    if (status == CLI_INTERRUPTED) moment.tv_sec = rank ? 5 : 4;
    else if (rank > 0) moment.tv_sec = 2;
    nanosleep(&moment, NULL);
    if (rank > 0 && status != CLI_INTERRUPTED && !cli_stop && kept && out)
      last_words(kept, out, rank);
    MPI_Abort(MPI_COMM_WORLD, status);
  }
  MPI_Finalize();
  return 0;
}
