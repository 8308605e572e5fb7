/* libc.h: what the header asks of Microsoft's C library, declared as there,
    for clang's msvc target */
#ifndef TESTS_MSVC_LIBC_H
#define TESTS_MSVC_LIBC_H
#include <stddef.h>
#include <stdarg.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef struct FILE FILE;
typedef long _off_t;
struct stat { unsigned short st_mode; long st_size; };
#define _S_IREAD 0x100
#define _S_IWRITE 0x80
#define _S_IFMT 0xF000
#define _S_IFREG 0x8000
#define _S_IFDIR 0x4000
#define _MAX_PATH 260
#define SEEK_SET 0
#define SEEK_END 2
#define EOF (-1)
#define ENOENT 2
#define EEXIST 17
#define EINTR 4
#define _O_WRONLY 1
#define _O_CREAT 0x100
#define _O_EXCL 0x400
#define _O_BINARY 0x8000
int *_errno(void);
#define errno (*_errno())
#define NAN (__builtin_nanf(""))
#define INFINITY (__builtin_inff())
#define HUGE_VAL (__builtin_inf())
#define isfinite(x) __builtin_isfinite(x)
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
double exp(double), log(double), log2(double), pow(double, double), sqrt(double), fabs(double),
    floor(double), ceil(double), cos(double), sin(double), erf(double), erfc(double),
    ldexp(double, int), frexp(double, int *), log10(double), fmod(double, double), fmax(double,
    double), fmin(double, double), tanh(double), rint(double), hypot(double, double),
    copysign(double, double), nextafter(double, double), atan2(double, double), acos(double);
float sqrtf(float), expf(float), erff(float), tanhf(float), fabsf(float), floorf(float),
    logf(float);
double round(double), trunc(double);
void *malloc(size_t), *calloc(size_t, size_t), *realloc(void *, size_t);
void free(void *);
int abs(int), atoi(const char *);
double strtod(const char *, char **);
long strtol(const char *, char **, int);
unsigned long strtoul(const char *, char **, int);
void qsort(void *, size_t, size_t, int (*)(const void *, const void *));
void *bsearch(const void *, const void *, size_t, size_t, int (*)(const void *, const void *));
char *getenv(const char *), *_fullpath(char *, const char *, size_t);
void *memcpy(void *, const void *, size_t), *memmove(void *, const void *, size_t),
    *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t), strcmp(const char *, const char *),
    strncmp(const char *, const char *, size_t);
void *memchr(const void *, int, size_t);
char *strchr(const char *, int), *strrchr(const char *, int), *strstr(const char *,
    const char *), *strcpy(char *, const char *), *strcat(char *, const char *),
    *strncpy(char *, const char *, size_t), *strerror(int);
size_t strlen(const char *), strspn(const char *, const char *), strcspn(const char *,
    const char *);
FILE *fopen(const char *, const char *), *_fdopen(int, const char *);
int fclose(FILE *), fflush(FILE *), ferror(FILE *), feof(FILE *), fseek(FILE *, long, int),
    _fileno(FILE *), _fseeki64(FILE *, long long, int), fgetc(FILE *), getc(FILE *);
long ftell(FILE *);
long long _ftelli64(FILE *);
size_t fread(void *, size_t, size_t, FILE *), fwrite(const void *, size_t, size_t, FILE *);
int remove(const char *), rename(const char *, const char *), _unlink(const char *),
    setvbuf(FILE *, char *, int, size_t);
int snprintf(char *, size_t, const char *, ...), vsnprintf(char *, size_t, const char *,
    va_list), printf(const char *, ...), puts(const char *);
int _open(const char *, int, ...), _close(int), _write(int, const void *, unsigned),
    _commit(int), _getpid(void), _access(const char *, int), _chmod(const char *, int),
    stat(const char *, struct stat *), fstat(int, struct stat *);
#ifdef __cplusplus
}
#endif
#endif
