/* Counts the operations that change files below a folder, and lets one of them go wrong.
 *
 * Loaded with LD_PRELOAD, so that it sees what Python, Arrow, Zarr, FAISS and safetensors ask of the
 * C library. What to do stands in a small file, mapped and shared with every process that inherits
 * it: `struct control` below, which tests/faults/injector.py writes. Operations can also be recorded
 * with their data, for the simulation of a power loss (tests/faults/power_loss.py).
 *
 * Build: cc -shared -fPIC -O2 -Wall -Wextra -o shim.so shim.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { COUNT = 0, KILL = 1, TEAR = 2, FULL = 3, BROKEN = 4 };

struct control {
    uint32_t armed;      /* 0: nothing is counted */
    uint32_t fault;      /* what happens to operation `at` */
    uint64_t at;
    uint64_t count;      /* operations so far */
    uint32_t has_struck; /* whether an operation went wrong */
    uint32_t unused;
    char root[1024];     /* folder that is watched, without links in its path */
    char log[1024];      /* where operations are recorded; empty: nowhere */
    char struck[1024];   /* the operation that went wrong, for messages */
};

static struct control *control;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_descriptor = -1;

#define REAL(name, ...) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void load(void) {
    const char *path = getenv("FAULTS_CONTROL");
    int descriptor = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    syscall(SYS_close, descriptor);
    if (mapped != MAP_FAILED) control = mapped;
}

/* --- what is watched ------------------------------------------------------------------------- */

static int watched(const char *path) {
    if (!control || !control->armed) return 0;
    size_t length = strlen(control->root);
    if (strncmp(path, control->root, length) || (path[length] && path[length] != '/')) return 0;
    const char *name = strrchr(path, '/');
    return !(name && !strncmp(name, "/.lock", 6)); /* its heartbeat comes at any time */
}

static int path_of(int descriptor, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    out[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int absolute(int folder, const char *path, char *out) {
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    char base[PATH_MAX];
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(folder, base)) return 0;
    return snprintf(out, PATH_MAX, "%.2048s/%.2000s", base, path) < PATH_MAX;
}

static int watched_at(int folder, const char *path, char *out) {
    return control && control->armed && absolute(folder, path, out) && watched(out);
}

static int watched_descriptor(int descriptor, char *out) {
    return control && control->armed && path_of(descriptor, out) && watched(out);
}

/* --- what goes wrong ------------------------------------------------------------------------- */

__attribute__((noreturn)) static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void note(const char *what, const char *path) {
    control->has_struck = 1;
    snprintf(control->struck, sizeof control->struck, "%s %.900s", what, path);
}

enum verdict { PASS, FAIL, HALF, LAST };

/* Count an operation and say what becomes of it; `mutex` is held. */
static enum verdict judge(const char *what, const char *path) {
    uint64_t number = control->count++;
    int is_write = !strcmp(what, "write");
    int frees = !strcmp(what, "unlink") || !strcmp(what, "rmdir");
    int is_full = control->fault == FULL && number > control->at && !frees
                  && strcmp(what, "rename") && strcmp(what, "fsync");
    if (is_full) { /* a full disk stays full */
        errno = ENOSPC;
        return FAIL;
    }
    if (number != control->at || control->fault == COUNT) return PASS;
    note(what, path);
    switch (control->fault) {
    case KILL: die();
    case TEAR: return is_write ? HALF : LAST;
    case FULL:
        if (frees) return PASS;
        errno = ENOSPC;
        return is_write ? HALF : FAIL;
    default: errno = EIO; return FAIL;
    }
}

/* --- the record ------------------------------------------------------------------------------ */

struct record {
    uint32_t kind;
    uint32_t path_bytes, other_bytes;
    uint32_t unused;
    uint64_t inode, offset, data_bytes;
};

static void put(const void *data, size_t n_bytes) {
    for (const char *at = data; n_bytes;) {
        ssize_t written = syscall(SYS_write, log_descriptor, at, n_bytes);
        if (written <= 0) abort();
        at += written;
        n_bytes -= (size_t)written;
    }
}

static void record(char kind, const char *path, const char *other, uint64_t inode, uint64_t offset,
                   const void *data, size_t n_bytes) {
    if (!control->log[0]) return;
    if (log_descriptor < 0)
        log_descriptor = (int)syscall(SYS_openat, AT_FDCWD, control->log,
                                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct record head = {(uint32_t)kind, (uint32_t)strlen(path), (uint32_t)strlen(other), 0,
                          inode, offset, n_bytes};
    put(&head, sizeof head);
    put(path, head.path_bytes);
    put(other, head.other_bytes);
    if (data) put(data, n_bytes);
}

static uint64_t inode_of(int folder, const char *path) {
    struct stat found;
    return fstatat(folder, path, &found, AT_SYMLINK_NOFOLLOW) ? 0 : (uint64_t)found.st_ino;
}

static uint64_t inode_of_descriptor(int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) ? 0 : (uint64_t)found.st_ino;
}

/* Run an operation that gives 0 or -1, with all that may happen to it. */
#define OPERATION(what, path, call, on_success) \
    do { \
        pthread_mutex_lock(&mutex); \
        enum verdict verdict = judge(what, path); \
        int outcome = verdict == FAIL ? -1 : (call); \
        int error = errno; \
        if (outcome >= 0) { on_success; } else record('N', path, "", 0, 0, NULL, 0); \
        if (verdict == LAST) die(); \
        pthread_mutex_unlock(&mutex); \
        errno = error; \
        return outcome; \
    } while (0)

/* --- opening --------------------------------------------------------------------------------- */

static int open_real(int folder, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

static int open_watched(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int changes = flags & (O_CREAT | O_TRUNC);
    if (!changes || !watched_at(folder, path, full)) return open_real(folder, path, flags, mode);
    int is_new = !inode_of(folder, path);
    OPERATION("open", full, open_real(folder, path, flags, mode), {
        if (is_new)
            record('C', full, "", inode_of_descriptor(outcome), 0, NULL, 0);
        else if (flags & O_TRUNC)
            record('T', full, "", inode_of_descriptor(outcome), 0, NULL, 0);
        else
            record('N', full, "", 0, 0, NULL, 0);
    });
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = (mode_t)va_arg(rest, int); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    return open_watched(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    return open_watched(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    return open_watched(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    return open_watched(folder, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode) {
    return open_watched(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* --- writing --------------------------------------------------------------------------------- */

static ssize_t write_real(int descriptor, const void *data, size_t n_bytes, off_t offset) {
    return offset < 0 ? syscall(SYS_write, descriptor, data, n_bytes)
                      : syscall(SYS_pwrite64, descriptor, data, n_bytes, offset);
}

static ssize_t write_watched(int descriptor, const void *data, size_t n_bytes, off_t offset) {
    char path[PATH_MAX];
    if (!watched_descriptor(descriptor, path)) return write_real(descriptor, data, n_bytes, offset);
    pthread_mutex_lock(&mutex);
    enum verdict verdict = judge("write", path);
    size_t wanted = verdict == HALF ? n_bytes / 2 : n_bytes;
    ssize_t written = -1;
    if (verdict != FAIL && (wanted || !n_bytes)) written = write_real(descriptor, data, wanted, offset);
    int error = errno;
    if (written > 0) {
        off_t end = offset < 0 ? lseek(descriptor, 0, SEEK_CUR) : offset + written;
        record('W', path, "", inode_of_descriptor(descriptor), (uint64_t)(end - written), data,
               (size_t)written);
    } else
        record('N', path, "", 0, 0, NULL, 0);
    if (verdict == HALF && control->fault == TEAR) die();
    pthread_mutex_unlock(&mutex);
    errno = error;
    return written;
}

ssize_t write(int descriptor, const void *data, size_t n_bytes) {
    return write_watched(descriptor, data, n_bytes, -1);
}

ssize_t pwrite(int descriptor, const void *data, size_t n_bytes, off_t offset) {
    return write_watched(descriptor, data, n_bytes, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t n_bytes, off64_t offset) {
    return write_watched(descriptor, data, n_bytes, offset);
}

/* A gathered write is a write of its first part: callers go on after a short count. */
ssize_t writev(int descriptor, const struct iovec *parts, int n_parts) {
    char path[PATH_MAX];
    if (!watched_descriptor(descriptor, path)) return syscall(SYS_writev, descriptor, parts, n_parts);
    for (int number = 0; number < n_parts; number++)
        if (parts[number].iov_len)
            return write_watched(descriptor, parts[number].iov_base, parts[number].iov_len, -1);
    return 0;
}

static int truncate_watched(int descriptor, off_t length) {
    char path[PATH_MAX];
    if (!watched_descriptor(descriptor, path)) return (int)syscall(SYS_ftruncate, descriptor, length);
    OPERATION("truncate", path, (int)syscall(SYS_ftruncate, descriptor, length),
              record('T', path, "", inode_of_descriptor(descriptor), (uint64_t)length, NULL, 0));
}

int ftruncate(int descriptor, off_t length) { return truncate_watched(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return truncate_watched(descriptor, length); }

/* Streams of the C library write past the functions above, so they are led through them. */

static ssize_t stream_write(void *cookie, const char *data, size_t n_bytes) {
    ssize_t written = write((int)(intptr_t)cookie, data, n_bytes);
    return written < 0 ? 0 : written;
}

static ssize_t stream_read(void *cookie, char *data, size_t n_bytes) {
    return read((int)(intptr_t)cookie, data, n_bytes);
}

static int stream_seek(void *cookie, off64_t *offset, int whence) {
    *offset = lseek((int)(intptr_t)cookie, *offset, whence);
    return *offset < 0 ? -1 : 0;
}

static int stream_close(void *cookie) { return close((int)(intptr_t)cookie); }

static FILE *stream_watched(const char *path, const char *mode) {
    char full[PATH_MAX];
    REAL(fopen);
    if (!strpbrk(mode, "wa+") || !watched_at(AT_FDCWD, path, full)) return real(path, mode);
    int flags = strchr(mode, '+') ? O_RDWR : O_WRONLY;
    if (mode[0] == 'w') flags |= O_CREAT | O_TRUNC;
    if (mode[0] == 'a') flags |= O_CREAT | O_APPEND;
    int descriptor = open(path, flags | O_CLOEXEC, 0666);
    if (descriptor < 0) return NULL;
    cookie_io_functions_t how = {stream_read, stream_write, stream_seek, stream_close};
    return fopencookie((void *)(intptr_t)descriptor, mode, how);
}

FILE *fopen(const char *path, const char *mode) { return stream_watched(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return stream_watched(path, mode); }

/* --- making durable -------------------------------------------------------------------------- */

static int sync_watched(int descriptor, long call) {
    char path[PATH_MAX];
    if (!watched_descriptor(descriptor, path)) return (int)syscall(call, descriptor);
    /* Not asked of the disk: nothing here needs it, and it is what takes the time. */
    OPERATION("fsync", path, 0,
              record('F', path, "", inode_of_descriptor(descriptor), 0, NULL, 0));
}

int fsync(int descriptor) { return sync_watched(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return sync_watched(descriptor, SYS_fdatasync); }

/* --- names ----------------------------------------------------------------------------------- */

static int rename_watched(int from, const char *old, int to, const char *new, unsigned flags) {
    char path[PATH_MAX], other[PATH_MAX];
    int is_watched = watched_at(from, old, path);
    if (!watched_at(to, new, other) && !is_watched)
        return (int)syscall(SYS_renameat2, from, old, to, new, flags);
    uint64_t inode = inode_of(from, old);
    OPERATION("rename", other, (int)syscall(SYS_renameat2, from, old, to, new, flags),
              record('R', path, other, inode, 0, NULL, 0));
}

int rename(const char *old, const char *new) {
    return rename_watched(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int renameat(int from, const char *old, int to, const char *new) {
    return rename_watched(from, old, to, new, 0);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return rename_watched(from, old, to, new, flags);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char path[PATH_MAX], other[PATH_MAX];
    absolute(from, old, path);
    if (!watched_at(to, new, other)) return (int)syscall(SYS_linkat, from, old, to, new, flags);
    uint64_t inode = inode_of(from, old);
    OPERATION("link", other, (int)syscall(SYS_linkat, from, old, to, new, flags),
              record('L', path, other, inode, 0, NULL, 0));
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    if (!watched_at(folder, path, full)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    OPERATION(flags & AT_REMOVEDIR ? "rmdir" : "unlink", full,
              (int)syscall(SYS_unlinkat, folder, path, flags),
              record(flags & AT_REMOVEDIR ? 'D' : 'U', full, "", 0, 0, NULL, 0));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path) {
    int outcome = unlink(path);
    return outcome && errno == EISDIR ? rmdir(path) : outcome;
}

int mkdirat(int folder, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!watched_at(folder, path, full)) return (int)syscall(SYS_mkdirat, folder, path, mode);
    OPERATION("mkdir", full, (int)syscall(SYS_mkdirat, folder, path, mode),
              record('M', full, "", inode_of(folder, path), 0, NULL, 0));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
