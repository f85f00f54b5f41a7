// A system that does not tell the time, for tests/it/fault/broken.rs: preloaded into the server
// (LD_PRELOAD), it lets one thread ask for the time of day in vain, once. Rust's standard library panics
// then.
//
//   OFFHOOK_NO_TIME_FILE    from when on: as soon as this file exists
//   OFFHOOK_NO_TIME_THREAD  the name of the thread

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static atomic_flag failed = ATOMIC_FLAG_INIT;

static int fails(void) {
    const char *file = getenv("OFFHOOK_NO_TIME_FILE"), *thread = getenv("OFFHOOK_NO_TIME_THREAD");
    char name[16] = {0};
    if (!file || !thread || access(file, F_OK) != 0) return 0;
    prctl(PR_GET_NAME, name);
    return strcmp(name, thread) == 0 && !atomic_flag_test_and_set(&failed);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = (__typeof__(&clock_gettime))dlsym(RTLD_NEXT, "clock_gettime");
    int before = errno;
    if (clock == CLOCK_REALTIME && fails()) {
        errno = EINVAL;
        return -1;
    }
    errno = before;
    return real(clock, time);
}
