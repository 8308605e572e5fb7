/* outputs.c: the files that a command writes, looked at before it begins */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64 /* 32-bit systems too know every file and folder entry */
#include "messages.h"
#include "outputs.h"
#include "system.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <io.h>
#define access _access
#else
#include <unistd.h>
#endif

#ifdef _WIN32
/* Says which file this is, through every link, like st_dev and st_ino. */
static int identity(const char *path, BY_HANDLE_FILE_INFORMATION *file) {
  HANDLE h = CreateFileA(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                         OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
  int known = h != INVALID_HANDLE_VALUE && GetFileInformationByHandle(h, file);
  if (h != INVALID_HANDLE_VALUE) CloseHandle(h);
  return known;
}
#endif

int cli_same_file(const char *a, const char *b) {
#ifdef _WIN32
  BY_HANDLE_FILE_INFORMATION s, t;
  return identity(a, &s) && identity(b, &t) &&
         s.dwVolumeSerialNumber == t.dwVolumeSerialNumber &&
         s.nFileIndexHigh == t.nFileIndexHigh && s.nFileIndexLow == t.nFileIndexLow;
#else
  struct stat s, t;
  return stat(a, &s) == 0 && stat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
#endif
}

/* Returns 1 for a name that Windows keeps in every folder, like NUL, CON and COM1. The full path of
 * such a name begins with \\.\ */
static int is_device(const char *path) {
#ifdef _WIN32
  char full[_MAX_PATH];
  return _fullpath(full, path, sizeof full) && full[2] == '.';
#else
  (void)path;
  return 0;
#endif
}

const char *cli_cannot_write(const char *path) {
  char folder[1100];
  const char *slash = cli_last_slash(path);
  struct stat s;
  if (is_device(path)) return NULL;
#ifdef _WIN32
  if (strcmp(path, "-") == 0) return "standard output has no name on Windows: name a file";
#endif
  snprintf(folder, sizeof folder, "%.*s", slash > path ? (int)(slash - path) : 1,
           slash ? path : ".");
  if (stat(path, &s) == 0) {
    if (S_ISDIR(s.st_mode)) return "it is a folder";
    if (!S_ISREG(s.st_mode)) return NULL; /* a device or a pipe: it is only opened */
    if (!(s.st_mode & 0222)) return "it is read-only and stays as it is";
  } else if (errno != ENOENT) {
    return strerror(errno);
  }
  return access(folder, 2) == 0 ? NULL : strerror(errno); /* 2: to write */
}

int cli_is_special(const char *path) {
  struct stat s;
  return is_device(path) || (stat(path, &s) == 0 && !S_ISREG(s.st_mode));
}

static char cli_stdout[32]; /* the name of what was standard output */

const char *cli_out_path(const char *path) {
#ifndef _WIN32
  int copy;
  if (strcmp(path, "-") != 0 && strcmp(path, "/dev/stdout") != 0) return path;
  if (cli_stdout[0]) return cli_stdout;
  fflush(stdout);
  copy = dup(1);
  if (copy < 0 || dup2(2, 1) < 0) return "/dev/stdout";
  snprintf(cli_stdout, sizeof cli_stdout, "/dev/fd/%d", copy);
  return cli_stdout;
#else
  return path;
#endif
}

const char *cli_out_name(const char *path) {
  return cli_stdout[0] && strcmp(path, cli_stdout) == 0 ? "standard output" : path;
}

bdpt_status cli_check_files(bdpt_context *ctx, const cli_files *f) {
  int i, k;
  for (i = 0; i < CLI_FILES; i++) {
    const char *out = f->out[i], *why = out ? cli_cannot_write(out) : NULL;
    if (why) return cli_fail(ctx, BDPT_E_IO, "%.180s: %s", cli_out_name(out), why);
    for (k = 0; k < CLI_FILES && out; k++) {
      if (f->in[k] && cli_same_file(out, f->in[k]))
        return cli_fail(ctx, BDPT_E_ARGUMENT, "%.150s is the same file as %.150s, which is read: "
                        "give the output a name of its own", out, f->in[k]);
      if (k < i && f->out[k] && !cli_is_special(out) &&
          (strcmp(out, f->out[k]) == 0 || cli_same_file(out, f->out[k])))
        return cli_fail(ctx, BDPT_E_ARGUMENT, "%.150s is named as an output twice", out);
    }
  }
  return BDPT_OK;
}

const char *cli_checkpoint_of(const char *out, char room[1024]) {
  if (cli_is_special(out)) return NULL; /* nothing can lie beside it */
  snprintf(room, 1024, "%s.ckpt", out);
  return room;
}

bdpt_status cli_save_trainer(bdpt_context *ctx, bdpt_trainer *t, const char *path) {
  bdpt_bytes file;
  bdpt_status s = bdpt_trainer_build(t, &file);
  if (s == BDPT_OK) s = bdpt_file_write(ctx, path, file.data, file.size);
  bdpt_bytes_free(ctx, &file);
  return s;
}

bdpt_status cli_load_trainer(bdpt_context *ctx, bdpt_trainer *t, const char *path) {
  bdpt_bytes file;
  bdpt_status s = bdpt_file_read(ctx, path, &file);
  if (s == BDPT_OK) s = bdpt_trainer_parse(t, file.data, file.size, path);
  bdpt_bytes_free(ctx, &file);
  return s;
}
