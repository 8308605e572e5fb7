/* inject: runs one command again and again, each time with another fault, and judges what it left.
 *
 *   inject [-t] [-e EVERY] MODE NAME STASH WORK -- PROGRAM ARGUMENTS...
 *
 * MODE says what goes wrong:
 *   io      each system call on files in turn (open, read, write, fsync, rename, close, seek, stat,
 *           unlink, readdir, mkdir ...) fails with EIO, ENOSPC, EINTR and EMFILE; each read and
 *           write is cut short; and from each write on the disk is full (stderr is not on it)
 *   oom     each allocation in turn fails, alone and with all that follow (oom.c tells of them)
 *   kill    SIGKILL instead of each of those system calls
 *   random  SIGKILL after a random time, up to three times in a row; EVERY is how often
 *   beside  the same with two such commands beside each other in one folder
 *
 * The folder WORK begins as a copy of STASH; the program runs in it. A first run without a fault is
 * the reference. Then it runs once more, and at every point it is split in two: a copy of the process
 * meets the fault and goes on to its end, what it left is judged and undone, and the process itself
 * goes on to the next point. So a point costs what comes after the fault, not what came before it.
 *   - a program that was ended by a signal is a crash;
 *   - exit status 0 with files or an output other than the reference's is a false success;
 *   - any other status without a sentence on stderr is silent;
 *   - a file that is neither what it was before nor what it should become is a bad file; a record
 *     of lines (.jsonl) may end early, but not within a line, and a checkpoint is judged next;
 *   - the command once more, without a fault, must end with status 0 and the reference's files, or
 *     something was lost; files that an earlier fault left alike need no second such run.
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
#include <sched.h>
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

enum { MOST_FILES = 400, SHORT = -1, ALLOCATION = 1000 }; /* the last is a call of oom.c */

typedef struct entry {
  char path[300];
  uint64_t digest;
  unsigned mode;
} entry;

typedef struct snapshot {
  entry at[MOST_FILES];
  int count;
} snapshot;

/* What goes wrong at a point: an errno, SHORT, or for an allocation 1 (alone) or 2 (and those behind
 * it); `on`: at every write that follows too; `kill`: SIGKILL. */
typedef struct fault {
  const char *word;
  int kinds; /* of the calls that it fits, a bit each */
  int error, on, kill;
} fault;

typedef struct outcome {
  int status, fd; /* as waitpid has it; the file whose call was hit */
} outcome;

static const char *mode, *name, *stash, *work;
static char **command;
static int timed, every = 1;
static char out[400], err[400];
static snapshot before, reference, after;
static int leftovers; /* files named *.bdpt-tmp-* that look() met */
static uint64_t reference_out;
static long points, crashes, bad_files, false_success, silent, lost;
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
    if (strstr(e->d_name, ".bdpt-tmp-")) leftovers++;
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
  s->count = leftovers = 0;
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

/* ---- Keeping what is there, and putting it back ----------------------------------------------- */

/* A file or folder as it was: the bytes, or where a link points; a second name in the folder LINKS
 * keeps the file itself, which the process may have open. */
typedef struct kept {
  char path[1000];
  struct stat info;
  unsigned char *bytes;
  size_t size;
} kept;

static kept held[MOST_FILES];
static int held_count;
static char links[400];

static const char *link_of(int i) {
  static char path[500];
  snprintf(path, sizeof path, "%s/%d", links, i);
  return path;
}

static void keep(const char *path) {
  kept *x = &held[held_count];
  if (held_count == MOST_FILES) die("too many files:", path);
  snprintf(x->path, sizeof x->path, "%s", path);
  if (lstat(path, &x->info) != 0) die("cannot see", path);
  x->bytes = NULL;
  if (S_ISREG(x->info.st_mode)) {
    x->bytes = read_all(path, &x->size);
    if (link(path, link_of(held_count)) != 0) die("cannot link", path);
  } else if (S_ISLNK(x->info.st_mode)) {
    ssize_t n;
    x->bytes = (unsigned char *)calloc(1, 1001);
    n = x->bytes ? readlink(path, (char *)x->bytes, 1000) : -1;
    if (n < 0) die("cannot follow", path);
    x->size = (size_t)n;
  }
  held_count++;
}

/* Calls `each` with every file and folder in the folder; a folder before what is in it. */
static void walk_tree(const char *path, void (*each)(const char *path)) {
  DIR *dir = opendir(path);
  struct dirent *e;
  struct stat info;
  char inner[1000];
  while (dir && (e = readdir(dir)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
    each(inner);
    if (lstat(inner, &info) == 0 && S_ISDIR(info.st_mode)) walk_tree(inner, each);
  }
  if (dir) closedir(dir);
}

static void keep_all(void) {
  for (; held_count > 0; held_count--) free(held[held_count - 1].bytes);
  remove_tree(links);
  if (mkdir(links, 0777) != 0) die("cannot make", links);
  keep(out);
  keep(err);
  walk_tree(work, keep);
}

static void remove_new(const char *path) {
  int i;
  for (i = 0; i < held_count; i++) {
    if (strcmp(held[i].path, path) == 0) return;
  }
  remove_tree(path);
}

static void put_bytes(const kept *x) {
  size_t size;
  unsigned char *now = read_all(x->path, &size);
  int f = -1, same = size == x->size && memcmp(now, x->bytes, size) == 0;
  free(now);
  if (same) return;
  f = open(x->path, O_WRONLY | O_TRUNC);
  if (f < 0 || write(f, x->bytes, x->size) != (ssize_t)x->size) die("cannot restore", x->path);
  close(f);
}

static void put_back(void) {
  struct stat info;
  int i;
  walk_tree(work, remove_new);
  for (i = 0; i < held_count; i++) {
    const kept *x = &held[i];
    int there = lstat(x->path, &info) == 0;
    if (there && info.st_ino != x->info.st_ino) {
      remove_tree(x->path);
      there = 0;
    }
    if (S_ISDIR(x->info.st_mode)) {
      if (!there && mkdir(x->path, x->info.st_mode & 07777) != 0) die("cannot make", x->path);
    } else if (S_ISLNK(x->info.st_mode)) {
      if (!there && symlink((char *)x->bytes, x->path) != 0) die("cannot link", x->path);
    } else {
      if (!there && link(link_of(i), x->path) != 0) die("cannot restore", x->path);
      put_bytes(x);
      if (chmod(x->path, x->info.st_mode & 07777) != 0) die("cannot set the mode of", x->path);
    }
  }
}

/* Where the process stands in its files, which its copy shares with it. */
static int place_fd[64], places;
static off_t place_at[64];

static void keep_places(pid_t child) {
  int process = (int)syscall(SYS_pidfd_open, child, 0), fd;
  for (places = fd = 0; fd < 64; fd++) {
    int mine = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
    if (mine < 0) continue;
    place_fd[places] = mine;
    place_at[places++] = lseek(mine, 0, SEEK_CUR);
  }
  close(process);
}

static void put_places_back(void) {
  while (places > 0) {
    places--;
    if (place_at[places] >= 0) lseek(place_fd[places], place_at[places], SEEK_SET);
    close(place_fd[places]);
  }
}

/* ---- Running --------------------------------------------------------------------------------- */

typedef struct named_call {
  long number;
  const char *name;
  int kind; /* 1: may be read short, 2: may be written short, 3: happens, then fails, 4: others,
             * 5: an allocation */
} named_call;

static const named_call *call_of(long number) {
  static const named_call calls[] = {
    {SYS_open, "open", 4}, {SYS_openat, "openat", 4}, {SYS_creat, "creat", 4},
    {SYS_read, "read", 1}, {SYS_pread64, "pread", 1}, {SYS_readv, "readv", 4},
    {SYS_write, "write", 2}, {SYS_pwrite64, "pwrite", 2}, {SYS_writev, "writev", 4},
    {SYS_fsync, "fsync", 4}, {SYS_fdatasync, "fdatasync", 4}, {SYS_rename, "rename", 4},
    {SYS_renameat, "renameat", 4}, {SYS_renameat2, "renameat2", 4}, {SYS_close, "close", 3},
    {SYS_lseek, "lseek", 4}, {SYS_stat, "stat", 4}, {SYS_fstat, "fstat", 4},
    {SYS_lstat, "lstat", 4}, {SYS_newfstatat, "newfstatat", 4}, {SYS_statx, "statx", 4},
    {SYS_unlink, "unlink", 4}, {SYS_unlinkat, "unlinkat", 4}, {SYS_rmdir, "rmdir", 4},
    {SYS_getdents64, "getdents64", 4}, {SYS_mkdir, "mkdir", 4}, {SYS_mkdirat, "mkdirat", 4},
    {SYS_readlink, "readlink", 4}, {SYS_readlinkat, "readlinkat", 4}, {SYS_access, "access", 4},
    {SYS_faccessat, "faccessat", 4}, {SYS_chmod, "chmod", 4}, {SYS_fchmod, "fchmod", 4},
    {SYS_fchmodat, "fchmodat", 4}, {SYS_ftruncate, "ftruncate", 4}, {SYS_link, "link", 4},
    {ALLOCATION, "allocation", 5}};
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

/* Lets the program go on to the next entry or exit of a call, or (`how` PTRACE_CONT) to its end.
 * Returns 0 at the end, 1 at a call, 2 where it was split. */
static int go_on(pid_t child, int *status, int how) {
  int signal = 0;
  for (;;) {
    ptrace((enum __ptrace_request)how, child, NULL, (void *)(long)signal);
    if (waitpid(child, status, __WALL) != child || !WIFSTOPPED(*status)) return 0;
    signal = WSTOPSIG(*status);
    if (signal == (SIGTRAP | 0x80)) return 1;
    if (*status >> 16 == PTRACE_EVENT_FORK) return 2;
    if (signal == SIGTRAP || signal == SIGSTOP) signal = 0;
  }
}

/* Starts the command and lets it go until its own first call. */
static pid_t start_traced(int *status) {
  pid_t child = start(1);
  if (waitpid(child, status, 0) != child) die("cannot wait for", command[0]);
  ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL |
                                                   PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK));
  do ptrace(PTRACE_CONT, child, NULL, NULL);
  while (waitpid(child, status, 0) == child && WIFSTOPPED(*status) &&
         *status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8));
  go_on(child, status, PTRACE_SYSCALL); /* out of execve */
  return child;
}

/* At the entry of a call: the call fails as `f` says, and the program goes on behind it. */
static int strike(pid_t child, const named_call *c, const fault *f, int *status) {
  struct user_regs_struct regs, changed;
  ptrace(PTRACE_GETREGS, child, NULL, &regs);
  changed = regs;
  if (f->error == SHORT) changed.rdx = regs.rdx > 1 ? (regs.rdx + 1) / 2 : regs.rdx;
  else if (c->kind != 3) changed.orig_rax = (unsigned long long)-1;
  ptrace(PTRACE_SETREGS, child, NULL, &changed);
  if (!go_on(child, status, PTRACE_SYSCALL)) return 0;
  ptrace(PTRACE_GETREGS, child, NULL, &changed);
  changed.orig_rax = regs.orig_rax; changed.rdx = regs.rdx;
  if (c->kind == 5) changed.rax = (unsigned long long)f->error;
  else if (f->error != SHORT) changed.rax = (unsigned long long)-(long long)f->error;
  ptrace(PTRACE_SETREGS, child, NULL, &changed);
  return 1;
}

/* A process that stands at the entry of a call meets the fault and goes on to its end. */
static void finish(pid_t child, const named_call *c, const fault *f, outcome *o) {
  struct user_regs_struct regs;
  ptrace(PTRACE_GETREGS, child, NULL, &regs);
  o->fd = (int)regs.rdi;
  if (f->kill) kill(child, SIGKILL);
  else if (!strike(child, c, f, &o->status)) return;
  while (f->on && go_on(child, &o->status, PTRACE_SYSCALL)) {
    ptrace(PTRACE_GETREGS, child, NULL, &regs);
    c = call_of((long)regs.orig_rax);
    if (c && c->kind == 2 && regs.rdi != 2 ? !strike(child, c, f, &o->status)
                          : !go_on(child, &o->status, PTRACE_SYSCALL)) return;
  }
  if (!f->on) go_on(child, &o->status, PTRACE_CONT);
}

/* Splits the process, which stands at the entry of a call: afterwards it stands there again, and so
 * does its copy, a child of ours. */
static pid_t split(pid_t child) {
  struct user_regs_struct regs, changed;
  unsigned long copy = 0;
  int status;
  ptrace(PTRACE_GETREGS, child, NULL, &regs);
  changed = regs;
  changed.orig_rax = SYS_clone;
  changed.rdi = CLONE_PARENT | SIGCHLD;
  changed.rsi = changed.rdx = changed.r10 = changed.r8 = 0;
  ptrace(PTRACE_SETREGS, child, NULL, &changed);
  if (go_on(child, &status, PTRACE_SYSCALL) != 2) die("cannot split", command[0]);
  ptrace(PTRACE_GETEVENTMSG, child, NULL, &copy);
  go_on(child, &status, PTRACE_SYSCALL);
  regs.rax = regs.orig_rax;
  regs.rip -= 2; /* back to the instruction `syscall` */
  ptrace(PTRACE_SETREGS, child, NULL, &regs);
  go_on(child, &status, PTRACE_SYSCALL);
  if (waitpid((pid_t)copy, &status, __WALL) != (pid_t)copy) die("cannot wait for", "the copy");
  ptrace(PTRACE_SETREGS, (pid_t)copy, NULL, &regs);
  if (go_on((pid_t)copy, &status, PTRACE_SYSCALL) != 1) die("cannot go on with", "the copy");
  return (pid_t)copy;
}

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

/* Whether such files as are there now, but for numbers that depend on the clock, were met before. */
static int seen_before(void) {
  static uint64_t *seen;
  static size_t count, i;
  uint64_t state = leftovers > 0;
  int k;
  for (k = 0; k < after.count; k++) {
    const char *p = after.at[k].path;
    uint64_t h = after.at[k].digest ^ after.at[k].mode;
    for (h *= UINT64_C(1099511628211); *p; p++) h = add_byte(h, (unsigned char)*p);
    state += h; /* in any order */
  }
  for (i = 0; i < count; i++) {
    if (seen[i] == state) return 1;
  }
  seen = (uint64_t *)realloc(seen, (count + 1) * sizeof *seen);
  if (!seen) die("no memory for", "what was seen");
  seen[count++] = state;
  return 0;
}

/* The same command again, with nothing in its way. */
static void judge_again(const char *point) {
  outcome o;
  const char *which = "";
  if (seen_before()) return;
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
  if (size <= held[1].size && o->fd != 2) found(&silent, "no sentence", point, "");
  judge_files(point);
  judge_again(point);
}

/* ---- Modes ----------------------------------------------------------------------------------- */

static double make_reference(outcome *o) {
  double begin;
  restore();
  take(&before);
  begin = now();
  run_plain(o);
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

static void try_fault(pid_t child, const named_call *c, const fault *f, long call) {
  char point[100];
  outcome o;
  pid_t copy;
  memset(&o, 0, sizeof o);
  snprintf(point, sizeof point, "%s %ld %s", c->name, call, f->word);
  keep_places(child);
  copy = split(child);
  finish(copy, c, f, &o);
  if (f->kill) {
    take(&after);
    judge_files(point);
    judge_again(point);
  } else judge(&o, point);
  put_back();
  put_places_back();
}

/* Runs the command once, and at each of its points once more with each fault that fits. */
static void try_all(const fault *faults, int count) {
  struct user_regs_struct regs;
  const char *which = "";
  int status, f, changed = 1;
  long call = 0;
  pid_t child;
  restore();
  child = start_traced(&status);
  while (go_on(child, &status, PTRACE_SYSCALL)) { /* to the entry of a call */
    const named_call *c;
    ptrace(PTRACE_GETREGS, child, NULL, &regs);
    c = call_of((long)regs.orig_rax);
    if (c && faults[0].kinds & 1 << c->kind) call++;
    for (f = 0; c && f < count; f++) {
      if (!(faults[f].kinds & 1 << c->kind) || points++ % every) continue;
      if (changed) keep_all();
      changed = 0;
      try_fault(child, c, &faults[f], call);
    }
    if (c && c->kind != 1 && c->kind != 5) changed = 1;
    if (!go_on(child, &status, PTRACE_SYSCALL)) break; /* out of it */
  }
  take(&after);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || digest_of(out, 1) != reference_out ||
      !same_files(&which)) die("the run that was split ended differently:", which);
}

enum { CALLS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4, READS = 1 << 1, WRITES = 1 << 2, MEMORY = 1 << 5 };

static void do_io(void) {
  static const fault faults[] = {
    {"EIO", CALLS, EIO, 0, 0}, {"ENOSPC", CALLS, ENOSPC, 0, 0}, {"EINTR", CALLS, EINTR, 0, 0},
    {"EMFILE", CALLS, EMFILE, 0, 0}, {"short", READS | WRITES, SHORT, 0, 0},
    {"ENOSPC and on", WRITES, ENOSPC, 1, 0}};
  try_all(faults, sizeof faults / sizeof *faults);
}

static void do_oom(void) {
  static const fault faults[] = {{"alone", MEMORY, 1, 0, 0}, {"and on", MEMORY, 2, 0, 0}};
  try_all(faults, sizeof faults / sizeof *faults);
}

static void do_kill(void) {
  static const fault killed = {"killed", CALLS, 0, 0, 1};
  try_all(&killed, 1);
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
  int status;
  long calls = 0;
  pid_t child;
  command = just; work = "/"; name = "probe";
  strcpy(out, "/dev/null"); strcpy(err, "/dev/null");
  child = start_traced(&status);
  while (go_on(child, &status, PTRACE_SYSCALL)) calls++;
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 2 && calls > 0);
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
  snprintf(links, sizeof links, "%s.links", work);
  memset(&whole, 0, sizeof whole);
  seconds = make_reference(&whole);
  if (strcmp(mode, "io") == 0) do_io();
  else if (strcmp(mode, "oom") == 0) do_oom();
  else if (strcmp(mode, "kill") == 0) do_kill();
  else if (strcmp(mode, "random") == 0) do_random(seconds, 1);
  else if (strcmp(mode, "beside") == 0) do_random(1.5 * seconds, 2);
  else return usage();
  if (strcmp(mode, "random") != 0 && strcmp(mode, "beside") != 0) {
    points = (points + every - 1) / every;
  }
  remove_tree(work);
  remove_tree(links);
  printf("%s %s: points %ld crashes %ld bad_files %ld false_success %ld silent %ld lost %ld\n",
         mode, name, points, crashes, bad_files, false_success, silent, lost);
  return crashes + bad_files + false_success + silent + lost > 0;
}
