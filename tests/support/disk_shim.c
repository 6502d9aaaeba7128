/* Lets one write-like call of a whole tree of processes fail: the Nth, counted in a file that all of them share.

   Preloaded. FAULT_FILE is a file of three 64-bit numbers: calls left until the failing one (0 or less: none fails any
   more), all calls seen, and what failed (1 a write, 2 a sync, 3 a new name). FAULT_ROOT is the folder whose files
   count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static volatile int64_t *shared;
static const char *root;
enum { A_WRITE = 1, A_SYNC = 2, A_NAME = 3 };

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULT_FILE");
    root = getenv("FAULT_ROOT");
    if (!file || !root) return;
    int number = REAL(open)(file, O_RDWR | O_CLOEXEC);
    if (number < 0) return;
    void *place = mmap(NULL, 24, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0);
    close(number);
    if (place != MAP_FAILED) shared = place;
}

static int fails_at(const char *path, int what) {
    if (!shared || !path || strncmp(path, root, strlen(root))) return 0;
    __sync_add_and_fetch(&shared[1], 1);
    if (__sync_sub_and_fetch(&shared[0], 1) != 0) return 0;
    shared[2] = what;
    errno = ENOSPC;
    return 1;
}

static int fails(int number, int what) {
    char link[64], path[4096];
    if (!shared) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", number);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return fails_at(path, what);
}

ssize_t write(int f, const void *b, size_t n) { return fails(f, A_WRITE) ? -1 : REAL(write)(f, b, n); }
ssize_t pwrite(int f, const void *b, size_t n, off_t o) { return fails(f, A_WRITE) ? -1 : REAL(pwrite)(f, b, n, o); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) { return fails(f, A_WRITE) ? -1 : REAL(pwrite64)(f, b, n, o); }
ssize_t writev(int f, const struct iovec *v, int n) { return fails(f, A_WRITE) ? -1 : REAL(writev)(f, v, n); }
ssize_t sendfile(int t, int f, off_t *o, size_t n) {
    return fails(t, A_WRITE) ? -1 : ((ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile"))(t, f, o, n);
}
ssize_t sendfile64(int t, int f, off64_t *o, size_t n) {
    return fails(t, A_WRITE) ? -1 : ((ssize_t(*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64"))(t, f, o, n);
}
ssize_t copy_file_range(int f, off64_t *i, int t, off64_t *o, size_t n, unsigned flags) {
    return fails(t, A_WRITE) ? -1 : REAL(copy_file_range)(f, i, t, o, n, flags);
}
int fsync(int f) { return fails(f, A_SYNC) ? -1 : REAL(fsync)(f); }
int fdatasync(int f) { return fails(f, A_SYNC) ? -1 : REAL(fdatasync)(f); }
int ftruncate64(int f, off64_t n) { return n && fails(f, A_WRITE) ? -1 : REAL(ftruncate64)(f, n); }
int ftruncate(int f, off_t n) { return n && fails(f, A_WRITE) ? -1 : REAL(ftruncate)(f, n); }
int rename(const char *a, const char *b) { return fails_at(b, A_NAME) ? -1 : REAL(rename)(a, b); }
int link(const char *a, const char *b) { return fails_at(b, A_NAME) ? -1 : REAL(link)(a, b); }
int linkat(int x, const char *a, int y, const char *b, int flags) {
    return fails_at(b, A_NAME) ? -1 : REAL(linkat)(x, a, y, b, flags);
}
int mkdir(const char *path, mode_t mode) {
    if (!access(path, F_OK)) return REAL(mkdir)(path, mode); /* nothing is made: nothing can be full */
    return fails_at(path, A_NAME) ? -1 : REAL(mkdir)(path, mode);
}

static int creates(const char *path, int flags) { return (flags & O_CREAT) && access(path, F_OK) && fails_at(path, A_NAME); }

#define OPENS(name)                                                                        \
    int name(const char *path, int flags, ...) {                                           \
        va_list rest;                                                                      \
        va_start(rest, flags);                                                             \
        mode_t mode = va_arg(rest, mode_t);                                                \
        va_end(rest);                                                                      \
        return creates(path, flags) ? -1 : REAL(name)(path, flags, mode);                  \
    }
OPENS(open)
OPENS(open64)
