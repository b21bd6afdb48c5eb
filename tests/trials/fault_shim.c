/* Loaded before libc: counts what a process does to the files under one folder, and at the N-th
 * such system call kills the process, tears a write in two, or fails as a full disk does.
 *
 * Python, its SQLite and Chroma's own all go through libc. What is done with mapped memory is not
 * seen. `fault_arm` and `fault_calls` are called by ctypes, in the forked child alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, COUNT, KILL, TEAR, FULL, READONLY, IOERROR };

static atomic_long calls;
static long at;
static int what;
static long offset_s;
static char folder[4096];
static size_t length;

void fault_arm(const char *under, long when, int how, long seconds) {
    strncpy(folder, under, sizeof folder - 1);
    length = strlen(folder);
    atomic_store(&calls, 0);
    at = when;
    offset_s = seconds;
    what = how;
}

long fault_calls(void) { return atomic_load(&calls); }

static int inside(const char *path) {
    char whole[4096];
    if (!what || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        return strncmp(whole, folder, length) == 0;
    }
    return strncmp(path, folder, length) == 0;
}

static int fd_inside(int fd) {
    char link[64], path[4096];
    if (!what) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return path[0] == '/' && strncmp(path, folder, length) == 0;
}

/* 0: go on; 1: do half of it and die; otherwise the errno to fail with. `grows`: needs room. */
static int due(int grows) {
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (what == KILL && n == at) kill(getpid(), SIGKILL);
    if (what == TEAR && n == at) return 1;
    if (what == FULL && n >= at && grows) return ENOSPC;
    if (what == READONLY && n >= at) return EROFS;
    if (what == IOERROR && n == at) return EIO;
    return 0;
}

static void die(void) { kill(getpid(), SIGKILL); }

#define REAL(name) \
    static typeof(name) *real; \
    if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)
#define CHECK(condition, grows) \
    if (condition) { int e = due(grows); if (e == 1) die(); if (e) { errno = e; return -1; } }

#define WRITES(name, ARGS, CALL, HALF) \
    ssize_t name ARGS { \
        REAL(name); \
        if (fd_inside(fd)) { \
            int e = due(1); \
            if (e == 1) { HALF; die(); } \
            if (e) { errno = e; return -1; } \
        } \
        return CALL; \
    }
WRITES(write, (int fd, const void *b, size_t n), real(fd, b, n), (void)!real(fd, b, n / 2))
WRITES(pwrite, (int fd, const void *b, size_t n, off_t o), real(fd, b, n, o), (void)!real(fd, b, n / 2, o))
WRITES(pwrite64, (int fd, const void *b, size_t n, off64_t o), real(fd, b, n, o), (void)!real(fd, b, n / 2, o))

#define ON_FD(name, ARGS, CALL, grows) \
    int name ARGS { REAL(name); CHECK(fd_inside(fd), grows) return CALL; }
ON_FD(fsync, (int fd), real(fd), 0)
ON_FD(fdatasync, (int fd), real(fd), 0)
ON_FD(ftruncate, (int fd, off_t n), real(fd, n), 0)
ON_FD(ftruncate64, (int fd, off64_t n), real(fd, n), 0)

#define ON_PATH(name, ARGS, path, CALL, grows) \
    int name ARGS { REAL(name); CHECK(inside(path), grows) return CALL; }
ON_PATH(rename, (const char *a, const char *b), b, real(a, b), 0)
ON_PATH(renameat, (int d, const char *a, int e_, const char *b), b, real(d, a, e_, b), 0)
ON_PATH(unlink, (const char *a), a, real(a), 0)
ON_PATH(unlinkat, (int d, const char *a, int f), a, real(d, a, f), 0)
ON_PATH(mkdir, (const char *a, mode_t m), a, real(a, m), 1)
ON_PATH(rmdir, (const char *a), a, real(a), 0)

#define OPENS(name, ARGS, path, CALL) \
    int name ARGS { \
        REAL(name); \
        mode_t m = 0; \
        if (flags & O_CREAT) { va_list l; va_start(l, flags); m = va_arg(l, mode_t); va_end(l); } \
        if ((flags & O_CREAT) || (what == READONLY && (flags & O_ACCMODE) != O_RDONLY)) \
            CHECK(inside(path), (flags & O_CREAT) && access(path, F_OK)) \
        return CALL; \
    }
OPENS(open, (const char *path, int flags, ...), path, real(path, flags, m))
OPENS(open64, (const char *path, int flags, ...), path, real(path, flags, m))
OPENS(openat, (int d, const char *path, int flags, ...), path, real(d, path, flags, m))
OPENS(openat64, (int d, const char *path, int flags, ...), path, real(d, path, flags, m))

/* A clock that is wrong. */
int clock_gettime(clockid_t clock, struct timespec *t) {
    REAL(clock_gettime);
    int r = real(clock, t);
    if (!r && clock == CLOCK_REALTIME && what) t->tv_sec += offset_s;
    return r;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
