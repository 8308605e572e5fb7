/* inject: runs one command again and again, each time with another fault, and judges what it left.
 *
 *   inject [-t] [-e EVERY] MODE NAME STASH WORK -- PROGRAM ARGUMENTS...
 *
 * MODE says what goes wrong:
 *   io      each system call on files in turn (open, read, write, fsync, rename, close, seek, stat,
 *           unlink, readdir, mkdir ...) fails with EIO, ENOSPC, EINTR and EMFILE; each read and
 *           write is cut short; and from each write on the disk is full
 *   oom     each allocation in turn fails, alone and with all that follow (oom.c)
 *   kill    SIGKILL instead of each of those system calls
 *   random  SIGKILL after a random time, up to three times in a row; EVERY is how often
 *   beside  the same with two such commands beside each other in one folder
 *
 * Before each run the folder WORK is made a copy of STASH; the program runs in it. A first run
 * without a fault is the reference. Afterwards:
 *   - a program that was ended by a signal is a crash;
 *   - exit status 0 with files or an output other than the reference's is a false success;
 *   - any other status without a sentence on stderr is silent;
 *   - a file that is neither what it was before nor what it should become is a bad file; a record
 *     of lines (.jsonl) may end early, but not within a line, and a checkpoint is judged next;
 *   - the command once more, without a fault, must end with status 0 and the reference's files, or
 *     something was lost.
 * Files named *.bdpt-tmp-* may stay behind: the next save uses another name. So may a checkpoint
 * that could not be removed after a success: it says that all is done.
 *
 * With -t what depends on the clock is left out of the comparison: numbers in .jsonl, .csv and
 * outputs, and lines of a record that say nothing but times. With -e every so many-th point only.
 * Linux on x86-64: ptrace sees every call, those inside stdio too. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILES = 400, SHORT = -1 };

typedef struct entry {
  char path[300];
  uint64_t digest;
  unsigned mode;
} entry;

typedef struct snapshot {
  entry at[MOST_FILES];
  int count;
} snapshot;

/* What goes wrong at the point-th call (from 1): an errno, SHORT, or a signal. */
typedef struct fault {
  long point;
  int error, on, kill;
} fault;

typedef struct outcome {
  int status, fd;        /* as waitpid has it; the file whose call was hit */
  long calls;            /* on files, all together */
  unsigned char *writes; /* [calls]: 1 where the call reads, 2 where it writes */
  const char *hit;       /* the name of the call */
} outcome;

static const char *mode, *name, *stash, *work;
static char **command;
static int timed, every = 1;
static char out[400], err[400];
static snapshot before, reference, after;
static uint64_t reference_out;
static long points, crashes, bad_files, false_success, silent, lost;
static unsigned char kinds[1 << 20];
static uint64_t draws = 1;

static int die(const char *what, const char *which) {
  printf("inject: %s: %s %s (%s)\n", name, what, which, strerror(errno));
  exit(2);
}

/* ---- Folders --------------------------------------------------------------------------------- */

static void remove_tree(const char *path) {
  DIR *dir = opendir(path);
  struct dirent *e;
  char inner[1000];
  while (dir && (e = readdir(dir)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
    remove_tree(inner);
  }
  if (dir) closedir(dir);
  if (remove(path) != 0 && errno != ENOENT) die("cannot remove", path);
}

static unsigned char *read_all(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  unsigned char *p = NULL;
  size_t n;
  *size = 0;
  do {
    p = (unsigned char *)realloc(p, *size + 65537);
    if (!p) die("no memory for", path);
    n = f ? fread(p + *size, 1, 65536, f) : 0;
    *size += n;
  } while (n > 0);
  p[*size] = 0;
  if (f) fclose(f);
  return p;
}

static void copy_tree(const char *from, const char *to) {
  DIR *dir = opendir(from);
  struct dirent *e;
  char a[1000], b[1000];
  struct stat s;
  if (mkdir(to, 0777) != 0) die("cannot make", to);
  while (dir && (e = readdir(dir)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(a, sizeof a, "%s/%s", from, e->d_name);
    snprintf(b, sizeof b, "%s/%s", to, e->d_name);
    if (lstat(a, &s) != 0) die("cannot see", a);
    if (S_ISDIR(s.st_mode)) copy_tree(a, b);
    else if (S_ISLNK(s.st_mode)) {
      char target[1000];
      ssize_t n = readlink(a, target, sizeof target - 1);
      if (n < 0) die("cannot follow", a);
      target[n] = 0;
      if (symlink(target, b) != 0) die("cannot link", b);
    }
    else {
      size_t size;
      unsigned char *bytes = read_all(a, &size);
      FILE *f = fopen(b, "wb");
      if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0) die("cannot write", b);
      if (chmod(b, s.st_mode & 07777) != 0) die("cannot set the mode of", b);
      free(bytes);
    }
  }
  if (dir) closedir(dir);
}

static void restore(void) {
  remove_tree(work);
  copy_tree(stash, work);
}

static int ends(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && strcmp(text + n - k, end) == 0;
}

static uint64_t add_byte(uint64_t h, unsigned char c) { return (h ^ c) * UINT64_C(1099511628211); }

/* Lines that say nothing but times, or what a resumed run says differently. */
static int is_of_the_clock(const char *line) {
  static const char *const words[] = {"timing\"", "\"kind\":\"part\"", "\"kind\":\"setup\"",
                                      "\"kind\":\"done\"", "\"kind\":\"resume"};
  char text[400];
  size_t i, n = strcspn(line, "\n");
  snprintf(text, sizeof text, "%.*s", (int)n, line);
  for (i = 0; i < sizeof words / sizeof *words; i++) {
    if (strstr(text, words[i])) return 1;
  }
  return 0;
}

static uint64_t digest_of(const char *path, int is_text) {
  size_t size, i;
  unsigned char *p = read_all(path, &size);
  uint64_t h = UINT64_C(14695981039346656037);
  if (timed && ends(path, ".html")) { /* it draws times; a whole page ends with its last tag */
    h = size > 8 && strstr((char *)p + size - 9, "</html>") ? 1 : 2;
  } else if (timed && is_text) {
    int number = 0, skip = 0;
    for (i = 0; i < size; i++) {
      if (i == 0 || p[i - 1] == '\n') skip = is_of_the_clock((const char *)p + i);
      if (skip) continue;
      if (p[i] == ' ') continue; /* columns move with the numbers */
      if (strchr("0123456789.+-", p[i]) || (number && p[i] == 'e')) number = 1;
      else {
        h = add_byte(number ? add_byte(h, '#') : h, p[i]);
        number = 0;
      }
    }
  } else {
    for (i = 0; i < size; i++) h = add_byte(h, p[i]);
  }
  free(p);
  return h;
}

static void look(snapshot *s, const char *path, const char *shown) {
  DIR *dir = opendir(path);
  struct dirent *e;
  struct stat info;
  char a[1000], b[300];
  while (dir && (e = readdir(dir)) != NULL) {
    if (e->d_name[0] == '.' || strstr(e->d_name, ".bdpt-tmp-")) continue;
    snprintf(a, sizeof a, "%s/%s", path, e->d_name);
    snprintf(b, sizeof b, "%s%s%.200s", shown, *shown ? "/" : "", e->d_name);
    if (lstat(a, &info) != 0) die("cannot see", a);
    if (S_ISDIR(info.st_mode)) look(s, a, b);
    else if (s->count < MOST_FILES) {
      entry *x = &s->at[s->count++];
      strcpy(x->path, b);
      x->digest = digest_of(a, ends(b, ".jsonl") || ends(b, ".csv"));
      x->mode = (unsigned)info.st_mode;
    }
  }
  if (dir) closedir(dir);
}

static void take(snapshot *s) {
  s->count = 0;
  look(s, work, "");
}

static const entry *entry_of(const snapshot *s, const char *path) {
  int i;
  for (i = 0; i < s->count; i++) {
    if (strcmp(s->at[i].path, path) == 0) return &s->at[i];
  }
  return NULL;
}

static int is_in(const snapshot *s, const entry *x) {
  const entry *y = entry_of(s, x->path);
  return y && y->digest == x->digest && y->mode == x->mode;
}

/* ---- Running --------------------------------------------------------------------------------- */

typedef struct named_call {
  long number;
  const char *name;
  int kind; /* 1: may be read short, 2: may be written short, 3: happens, then fails */
} named_call;

static const named_call *call_of(long number) {
  static const named_call calls[] = {
    {SYS_open, "open", 0}, {SYS_openat, "openat", 0}, {SYS_creat, "creat", 0},
    {SYS_read, "read", 1}, {SYS_pread64, "pread", 1}, {SYS_readv, "readv", 0},
    {SYS_write, "write", 2}, {SYS_pwrite64, "pwrite", 2}, {SYS_writev, "writev", 0},
    {SYS_fsync, "fsync", 0}, {SYS_fdatasync, "fdatasync", 0}, {SYS_rename, "rename", 0},
    {SYS_renameat, "renameat", 0}, {SYS_renameat2, "renameat2", 0}, {SYS_close, "close", 3},
    {SYS_lseek, "lseek", 0}, {SYS_stat, "stat", 0}, {SYS_fstat, "fstat", 0},
    {SYS_lstat, "lstat", 0}, {SYS_newfstatat, "newfstatat", 0}, {SYS_statx, "statx", 0},
    {SYS_unlink, "unlink", 0}, {SYS_unlinkat, "unlinkat", 0}, {SYS_rmdir, "rmdir", 0},
    {SYS_getdents64, "getdents64", 0}, {SYS_mkdir, "mkdir", 0}, {SYS_mkdirat, "mkdirat", 0},
    {SYS_readlink, "readlink", 0}, {SYS_readlinkat, "readlinkat", 0}, {SYS_access, "access", 0},
    {SYS_faccessat, "faccessat", 0}, {SYS_chmod, "chmod", 0}, {SYS_fchmod, "fchmod", 0},
    {SYS_fchmodat, "fchmodat", 0}, {SYS_ftruncate, "ftruncate", 0}, {SYS_link, "link", 0}};
  size_t i;
  for (i = 0; i < sizeof calls / sizeof *calls; i++) {
    if (calls[i].number == number) return &calls[i];
  }
  return NULL;
}

static void redirect(const char *path, int fd) {
  int f = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);
  if (f < 0 || dup2(f, fd) < 0) _exit(126);
  close(f);
}

static pid_t start(int traced) {
  pid_t child = fork();
  if (child < 0) die("cannot fork", "");
  if (child > 0) return child;
  redirect(out, 1);
  redirect(err, 2);
  if (chdir(work) != 0) _exit(126);
  if (traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(126);
  if (traced) raise(SIGSTOP);
  execv(command[0], command);
  _exit(127);
}

/* At the entry of a call: changes it as the fault says. Returns whether its result is to be
 * replaced as well. */
static int strike(pid_t child, struct user_regs_struct *regs, const named_call *c, const fault *f,
                  outcome *o) {
  if (f->kill) return kill(child, SIGKILL), 0;
  o->fd = (int)regs->rdi; o->hit = c->name;
  if (f->error == SHORT) {
    if (regs->rdx > 1) regs->rdx = (regs->rdx + 1) / 2;
  } else if (c->kind != 3) {
    regs->orig_rax = (unsigned long long)-1;
  }
  ptrace(PTRACE_SETREGS, child, NULL, regs);
  return 1;
}

/* Follows the program from call to call. */
static void follow(pid_t child, const fault *f, outcome *o) {
  struct user_regs_struct regs, kept = {0};
  int status, inside = 0, changed = 0, started = 0;
  long wanted = f ? f->point : 0;
  if (waitpid(child, &status, 0) != child) die("cannot wait for", command[0]);
  ptrace(PTRACE_SETOPTIONS, child, NULL,
         (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC));
  ptrace(PTRACE_SYSCALL, child, NULL, NULL);
  while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
    int signal = WSTOPSIG(status);
    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
      started = inside = 1;
      signal = 0;
    } else if (signal == (SIGTRAP | 0x80)) {
      const named_call *c;
      signal = 0;
      inside = !inside;
      if (!started || ptrace(PTRACE_GETREGS, child, NULL, &regs) != 0) c = NULL;
      else c = call_of((long)regs.orig_rax);
      if (inside && c) {
        o->calls++;
        if (o->writes && o->calls <= (long)sizeof kinds) {
          o->writes[o->calls - 1] = (unsigned char)c->kind;
        }
        kept = regs;
        if (o->calls == wanted || (f && f->on && o->calls > wanted && c->kind == 2)) {
          changed = strike(child, &regs, c, f, o);
        }
      } else if (!inside && changed) {
        changed = 0;
        regs.orig_rax = kept.orig_rax; regs.rdx = kept.rdx;
        if (f->error != SHORT) regs.rax = (unsigned long long)-(long long)f->error;
        ptrace(PTRACE_SETREGS, child, NULL, &regs);
      }
    } else if (signal == SIGTRAP || signal == SIGSTOP) signal = 0;
    ptrace(PTRACE_SYSCALL, child, NULL, (void *)(long)signal);
  }
  o->status = status;
}

static void run_traced(const fault *f, outcome *o) { follow(start(1), f, o); }

static void run_plain(outcome *o) {
  pid_t child = start(0);
  if (waitpid(child, &o->status, 0) != child) die("cannot wait for", command[0]);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Judging --------------------------------------------------------------------------------- */

static void found(long *which, const char *what, const char *point, const char *detail) {
  (*which)++;
  printf("inject: %s: %s: %s %s\n", name, point, what, detail);
}

static int same_files(const char **which) {
  int i;
  for (i = 0; i < after.count; i++) {
    if (strstr(after.at[i].path, ".ckpt")) continue; /* one that could not be removed */
    if (ends(after.at[i].path, "previous.jsonl")) continue; /* the record of a run that was done */
    if (!is_in(&reference, &after.at[i])) return *which = after.at[i].path, 0;
  }
  for (i = 0; i < reference.count; i++) {
    if (!entry_of(&after, reference.at[i].path)) return *which = reference.at[i].path, 0;
  }
  return 1;
}

static int whole_lines(const char *path) {
  char full[1000];
  size_t size, i;
  unsigned char *p;
  int ok;
  snprintf(full, sizeof full, "%s/%s", work, path);
  p = read_all(full, &size);
  ok = size == 0 || p[size - 1] == '\n';
  for (i = 0; i < size; i++) {
    if (i == 0 || p[i - 1] == '\n') ok &= p[i] == '{';
    if (p[i] == '\n') ok &= i > 0 && p[i - 1] == '}';
  }
  free(p);
  return ok;
}

/* Every file is what it was, or what it should become, or something whole on the way there. */
static void judge_files(const char *point) {
  int i;
  for (i = 0; i < after.count; i++) {
    const entry *x = &after.at[i];
    int fine = is_in(&before, x) || is_in(&reference, x) || strstr(x->path, ".ckpt");
    if (!fine && timed) fine = !ends(x->path, ".jsonl") || whole_lines(x->path);
    if (!fine) found(&bad_files, "bad file", point, x->path);
  }
  for (i = 0; i < before.count; i++) {
    if (entry_of(&reference, before.at[i].path) && !entry_of(&after, before.at[i].path)) {
      found(&bad_files, "missing file", point, before.at[i].path);
    }
  }
}

/* The same command again, with nothing in its way. */
static void judge_again(const char *point) {
  outcome o;
  const char *which = "";
  memset(&o, 0, sizeof o);
  run_plain(&o);
  take(&after);
  if (!WIFEXITED(o.status) || WEXITSTATUS(o.status) != 0) {
    size_t size;
    char *text = (char *)read_all(err, &size);
    text[strcspn(text, "\n")] = 0;
    found(&lost, "the next run fails:", point, text);
    free(text);
  } else if (!same_files(&which)) found(&lost, "the next run leaves another", point, which);
}

static void judge(const outcome *o, const char *point) {
  const char *which = "";
  size_t size;
  take(&after);
  if (WIFSIGNALED(o->status)) {
    found(&crashes, "ended by signal", point, strsignal(WTERMSIG(o->status)));
    return;
  }
  if (WEXITSTATUS(o->status) == 0) {
    if (!same_files(&which)) found(&false_success, "success, but", point, which);
    else if (digest_of(out, 1) != reference_out) {
      found(&false_success, "success with another output", point, "");
    }
    return;
  }
  free(read_all(err, &size));
  if (size == 0 && o->fd != 2) found(&silent, "no sentence", point, "");
  judge_files(point);
  judge_again(point);
}

/* ---- Modes ----------------------------------------------------------------------------------- */

static double make_reference(outcome *o) {
  double begin;
  restore();
  take(&before);
  begin = now();
  if (strcmp(mode, "oom") == 0) run_plain(o);
  else {
    o->writes = kinds;
    run_traced(NULL, o);
  }
  begin = now() - begin;
  if (!WIFEXITED(o->status) || WEXITSTATUS(o->status) != 0) {
    size_t size;
    printf("inject: %s: without a fault it ends with %d: %s\n", name, o->status,
           (char *)read_all(err, &size));
    exit(2);
  }
  take(&reference);
  reference_out = digest_of(out, 1);
  restore(); /* the reference must be one: the same again */
  run_plain(o);
  take(&after);
  if (digest_of(out, 1) != reference_out) die("two runs print different things:", out);
  {
    const char *which = "";
    if (!same_files(&which)) die("two runs leave different files:", which);
  }
  return begin;
}

static void one_io(long k, int error, int on, const char *word) {
  char point[100];
  fault f = {0, 0, 0, 0};
  outcome o;
  if (points++ % every) return;
  memset(&o, 0, sizeof o);
  f.point = k; f.error = error; f.on = on;
  restore();
  run_traced(&f, &o);
  snprintf(point, sizeof point, "%s %ld %s", o.hit ? o.hit : "call", k, word);
  judge(&o, point);
}

static void do_io(const outcome *whole) {
  long k;
  for (k = 1; k <= whole->calls; k++) {
    one_io(k, EIO, 0, "EIO");
    one_io(k, ENOSPC, 0, "ENOSPC");
    one_io(k, EINTR, 0, "EINTR");
    one_io(k, EMFILE, 0, "EMFILE");
    if (kinds[k - 1] == 1 || kinds[k - 1] == 2) one_io(k, SHORT, 0, "short");
    if (kinds[k - 1] == 2) one_io(k, ENOSPC, 1, "ENOSPC and on");
  }
}

static void do_oom(void) {
  char number[40], point[60], path[400];
  size_t size;
  long total, k;
  int on;
  outcome o;
  char *text;
  snprintf(path, sizeof path, "%s.count", work);
  setenv("OOM_COUNT", path, 1);
  restore();
  memset(&o, 0, sizeof o);
  run_plain(&o);
  text = (char *)read_all(path, &size);
  total = strtol(text, NULL, 10);
  free(text);
  unsetenv("OOM_COUNT");
  if (total <= 0) die("no allocations are counted in", path);
  for (k = 1; k <= total; k++) {
    for (on = 0; on < 2; on++) {
      if (points++ % every) continue;
      snprintf(number, sizeof number, "%ld%s", k, on ? "+" : "");
      setenv("OOM_AT", number, 1);
      restore();
      run_plain(&o);
      unsetenv("OOM_AT");
      snprintf(point, sizeof point, "allocation %s", number);
      judge(&o, point);
    }
  }
}

static void do_kill(const outcome *whole) {
  char point[60];
  fault f = {0, 0, 0, 1};
  outcome o;
  for (f.point = 1; f.point <= whole->calls; f.point++) {
    if (points++ % every) continue;
    memset(&o, 0, sizeof o);
    restore();
    run_traced(&f, &o);
    snprintf(point, sizeof point, "killed at call %ld", f.point);
    take(&after);
    judge_files(point);
    judge_again(point);
  }
}

static double uniform(void) {
  draws = draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (double)(draws >> 11) / 9007199254740992.0;
}

static void wait_seconds(double s) {
  struct timespec t;
  t.tv_sec = (time_t)s;
  t.tv_nsec = (long)(1e9 * (s - (double)t.tv_sec));
  nanosleep(&t, NULL);
}

static void do_random(double seconds, int processes) {
  char point[60];
  int status, n = 0, k, i;
  for (k = 0; k < every; k += n) {
    restore();
    for (n = 0; n < 3 && k + n < every; n += processes) {
      pid_t child[2];
      for (i = 0; i < processes; i++) child[i] = start(0);
      for (i = 0; i < processes; i++) {
        wait_seconds(uniform() * seconds);
        kill(child[i], SIGKILL);
        waitpid(child[i], &status, 0);
        points++;
      }
      snprintf(point, sizeof point, "killed at random %d", k + n);
      take(&after);
      judge_files(point);
      if (uniform() < 0.4) { n += processes; break; }
    }
    judge_again(point);
  }
}

static int usage(void) {
  fprintf(stderr, "usage: inject [-t] [-e EVERY] MODE NAME STASH WORK -- PROGRAM ARGUMENTS...\n");
  return 2;
}

/* Whether this machine lets one program follow another. */
static int probe(void) {
  static char itself[] = "/proc/self/exe", *just[] = {itself, NULL};
  outcome o;
  memset(&o, 0, sizeof o);
  command = just; work = "/"; name = "probe";
  strcpy(out, "/dev/null"); strcpy(err, "/dev/null");
  run_traced(NULL, &o);
  return !(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 2 && o.calls > 0);
}

int main(int argc, char **argv) {
  outcome whole;
  double seconds;
  if (argc == 2 && strcmp(argv[1], "probe") == 0) return probe();
  argv++; argc--;
  while (argc > 0 && argv[0][0] == '-') {
    if (strcmp(argv[0], "-t") == 0) timed = 1;
    else if (strcmp(argv[0], "-e") == 0 && argc > 1) {
      every = atoi(argv[1]);
      argv++;
      argc--;
    } else return usage();
    argv++; argc--;
  }
  if (argc < 6 || strcmp(argv[4], "--") != 0 || every < 1) return usage();
  mode = argv[0]; name = argv[1]; stash = argv[2]; work = argv[3];
  command = argv + 5;
  setvbuf(stdout, NULL, _IOLBF, 0);
  snprintf(out, sizeof out, "%s.out", work);
  snprintf(err, sizeof err, "%s.err", work);
  memset(&whole, 0, sizeof whole);
  seconds = make_reference(&whole);
  if (strcmp(mode, "io") == 0) do_io(&whole);
  else if (strcmp(mode, "oom") == 0) do_oom();
  else if (strcmp(mode, "kill") == 0) do_kill(&whole);
  else if (strcmp(mode, "random") == 0) do_random(seconds, 1);
  else if (strcmp(mode, "beside") == 0) do_random(1.5 * seconds, 2);
  else return usage();
  if (strcmp(mode, "random") != 0 && strcmp(mode, "beside") != 0) {
    points = (points + every - 1) / every;
  }
  remove_tree(work);
  printf("%s %s: points %ld crashes %ld bad_files %ld false_success %ld silent %ld lost %ld\n",
         mode, name, points, crashes, bad_files, false_success, silent, lost);
  return crashes + bad_files + false_success + silent + lost > 0;
}
