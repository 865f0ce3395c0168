/* Every fsync and fdatasync of a process takes 2 ms longer, as on a network-attached disk. Preloaded into every system under test; unlike
   strace it costs nothing else. cc -O2 -shared -fPIC -o slow-flush.so bench/slow-flush.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

#define SLOW(name)                                       \
    int name(int file) {                                 \
        static int (*real)(int);                         \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        int result = real(file);                         \
        usleep(2000);                                    \
        return result;                                   \
    }

SLOW(fsync)
SLOW(fdatasync)
