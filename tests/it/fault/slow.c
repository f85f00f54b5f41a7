// A disk that is slow to sync, for tests/it/isolation: preloaded into the server (LD_PRELOAD), it delays
// each fsync and fdatasync.
//
//   OFFHOOK_SLOW_FILE  a file with the delay in milliseconds; it is read again at each call

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void delay(void) {
    const char *path = getenv("OFFHOOK_SLOW_FILE");
    char text[16] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    if (read(file, text, sizeof text - 1) > 0) usleep((useconds_t)(1000 * atol(text)));
    close(file);
}

#define SYNC(name) \
    int name(int file) { \
        static __typeof__(&name) real; \
        if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        delay(); \
        return real(file); \
    }
SYNC(fsync)
SYNC(fdatasync)
