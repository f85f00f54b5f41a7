// A disk that fails, for tests/it/fault: preloaded into the server (LD_PRELOAD), it counts the calls
// that create, write to, sync, cut, rename or delete a file under one folder, and makes some of them
// fail.
//
//   OFFHOOK_FAULT_DIR    the folder; other files are left alone
//   OFFHOOK_FAULT_END    how the path ends, where only such files are meant
//   OFFHOOK_FAULT_LOG    a line is appended here for each call: number, name, path, what became of it
//   OFFHOOK_FAULT_AT     the first call that fails, from 1; 0 = none
//   OFFHOOK_FAULT_CALLS  how many fail in a row; all works again after that
//   OFFHOOK_FAULT_KIND   eio
//                        enospc: what takes room fails
//                        short: the first is cut to half, the rest finds the disk full
//                        lose: as eio, and a sync that fails takes back what was written to the file
//                        since the last one that worked, as a system does that drops its dirty pages
//                        kill: a write is cut to half; then the process gets SIGKILL
//
// Log lines are written with bare system calls, so that they are not counted themselves.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder, *ending = "";
static const char *kind = "eio";
static long first, calls = 1;
static int log_file = -1;
static atomic_long counted;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    folder = getenv("OFFHOOK_FAULT_DIR");
    if ((text = getenv("OFFHOOK_FAULT_END"))) ending = text;
    if ((text = getenv("OFFHOOK_FAULT_KIND"))) kind = text;
    if ((text = getenv("OFFHOOK_FAULT_AT"))) first = atol(text);
    if ((text = getenv("OFFHOOK_FAULT_CALLS"))) calls = atol(text);
    if ((text = getenv("OFFHOOK_FAULT_LOG")))
        log_file = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

enum fate { WORKS, FAILS, CUT };

// What is to become of a call on a file that is named so; sets errno where it fails.
static enum fate fate_of(const char *name, const char *path, int can_be_cut) {
    char absolute[2 * PATH_MAX], line[2 * PATH_MAX + 128];
    if (!folder) return WORKS;
    if (path[0] != '/' && getcwd(absolute, PATH_MAX)) {
        size_t length = strlen(absolute);
        snprintf(absolute + length, sizeof absolute - length, "/%s", path);
        path = absolute;
    }
    if (!strstr(path, folder)) return WORKS;
    size_t length = strlen(path), end = strlen(ending);
    if (length < end || strcmp(path + length - end, ending) != 0) return WORKS;

    long number = atomic_fetch_add(&counted, 1) + 1;
    enum fate fate = first > 0 && number >= first && number < first + calls ? FAILS : WORKS;
    int kills = strcmp(kind, "kill") == 0;
    int error = strcmp(kind, "eio") == 0 || strcmp(kind, "lose") == 0 ? EIO : ENOSPC;
    // A full disk lets files be deleted, cut and synced: that takes no room.
    int takes_room = strcmp(name, "unlink") != 0 && !strstr(name, "truncate") && !strstr(name, "sync");
    if (error == ENOSPC && !kills && !takes_room) fate = WORKS;
    if (fate == FAILS && (kills || strcmp(kind, "short") == 0) && number == first && can_be_cut) fate = CUT;
    if (log_file >= 0) {
        const char *outcome = fate == WORKS ? "works" : kills ? "kills" : fate == CUT ? "cut" : "fails";
        int written = snprintf(line, sizeof line, "%ld %s %s %s\n", number, name, path, outcome);
        syscall(SYS_write, log_file, line, (size_t)written);
    }
    if (fate == FAILS && kills) raise(SIGKILL);
    if (fate == FAILS) errno = error;
    return fate;
}

static enum fate fate(const char *name, int file, int can_be_cut) {
    if (!folder) return WORKS;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return WORKS;
    path[length] = 0;
    return fate_of(name, path, can_be_cut);
}

// What a call returns that was cut: this, if it returns at all.
static ssize_t cut(ssize_t written) {
    if (strcmp(kind, "kill") == 0) raise(SIGKILL);
    return written;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

// What a write has replaced, the newest first: to be put back where the sync fails.
struct replaced {
    struct replaced *next;
    ino_t inode;
    off_t size, at;
    ssize_t count;
    char bytes[];
};
static struct replaced *unsynced;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// Remembers what a write of `count` bytes at `at` replaces. A cut is not taken back.
static void remember(int file, size_t count, off_t at) {
    struct stat stat;
    if (!folder || strcmp(kind, "lose") != 0 || fstat(file, &stat) < 0 || !S_ISREG(stat.st_mode)) return;
    struct replaced *old = malloc(sizeof *old + count);
    if (!old) abort();
    *old = (struct replaced){.inode = stat.st_ino, .size = stat.st_size, .at = at};
    old->count = syscall(SYS_pread64, file, old->bytes, count, at);
    pthread_mutex_lock(&lock);
    old->next = unsynced;
    unsynced = old;
    pthread_mutex_unlock(&lock);
}

// The same file, for writing: a sync needs no such descriptor. Never closed, because that would end all
// locks of the process on the file.
static int writable(int file) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int opened = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC);
    if (opened < 0) abort();
    return opened;
}

// The file's writes are on the disk, or are put back.
static void forget(int file, int put_back) {
    struct stat stat;
    if (!unsynced || fstat(file, &stat) < 0 || !S_ISREG(stat.st_mode)) return;
    if (put_back) file = writable(file);
    pthread_mutex_lock(&lock);
    for (struct replaced **link = &unsynced; *link;) {
        struct replaced *old = *link;
        if (old->inode != stat.st_ino) {
            link = &old->next;
            continue;
        }
        if (put_back) {
            ssize_t count = old->count;
            if (count > 0 && syscall(SYS_pwrite64, file, old->bytes, (size_t)count, old->at) != count) abort();
            if (syscall(SYS_ftruncate, file, old->size) < 0) abort();
        }
        *link = old->next;
        free(old);
    }
    pthread_mutex_unlock(&lock);
}

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(write);
    switch (fate("write", file, count > 1)) {
    case FAILS: return -1;
    case CUT: return cut(real(file, bytes, count / 2));
    default: return real(file, bytes, count);
    }
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    switch (fate("pwrite", file, count > 1)) {
    case FAILS: return -1;
    case CUT: return cut(real(file, bytes, count / 2, at));
    default: remember(file, count, at); return real(file, bytes, count, at);
    }
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    switch (fate("pwrite64", file, count > 1)) {
    case FAILS: return -1;
    case CUT: return cut(real(file, bytes, count / 2, at));
    default: remember(file, count, at); return real(file, bytes, count, at);
    }
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    switch (fate("writev", file, count > 1)) {
    case FAILS: return -1;
    case CUT: return cut(real(file, parts, count / 2));
    default: return real(file, parts, count);
    }
}

static int sync_with(int (*real)(int), const char *name, int file) {
    int works = fate(name, file, 0) == WORKS;
    int error = errno;
    forget(file, !works);
    errno = error;
    return works ? real(file) : -1;
}

int fsync(int file) {
    REAL(fsync);
    return sync_with(real, "fsync", file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    return sync_with(real, "fdatasync", file);
}

int ftruncate(int file, off_t length) {
    REAL(ftruncate);
    if (fate("ftruncate", file, 0) != WORKS) return -1;
    forget(file, 0);
    return real(file, length);
}

int ftruncate64(int file, off64_t length) {
    REAL(ftruncate64);
    if (fate("ftruncate64", file, 0) != WORKS) return -1;
    forget(file, 0);
    return real(file, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return fate_of("rename", from, 0) == WORKS ? real(from, to) : -1;
}

int unlink(const char *path) {
    REAL(unlink);
    return fate_of("unlink", path, 0) == WORKS ? real(path) : -1;
}

// Only what creates: who opens a file to read it writes nothing.
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if ((flags & O_CREAT) && fate_of(#name, path, 0) != WORKS) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
