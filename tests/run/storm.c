/*
 * storm FILE PACKED NAME PROCESSES ROUNDS
 *
 * What stress-ng --module does: processes that load one module and remove it, all at once, each as
 * fast as it can. FILE goes through finit_module and init_module, PACKED through finit_module to be
 * unpacked. At the end the module is removed. Prints how each kind of call ended, and how often.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOAD, REMOVE, KINDS };
static const char *kinds[KINDS] = {"load", "remove"};
static int (*ends)[KINDS][200];

static void count(int kind, long result) {
    __atomic_add_fetch(&(*ends)[kind][result ? errno : 0], 1, __ATOMIC_RELAXED);
}

static void ask(char **argv, int way) {
    int fd = open(argv[way == 1 ? 2 : 1], O_RDONLY | O_CLOEXEC);
    struct stat status;
    fstat(fd, &status);
    if (way == 2) {
        void *image = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        count(LOAD, syscall(SYS_init_module, image, status.st_size, ""));
        munmap(image, status.st_size);
    } else
        count(LOAD, syscall(SYS_finit_module, fd, "", way == 1 ? 4 : 0));
    close(fd);
    count(REMOVE, syscall(SYS_delete_module, argv[3], O_NONBLOCK));
}

int main(int argc, char **argv) {
    int processes = atoi(argv[4]), rounds = atoi(argv[5]);
    ends = mmap(NULL, sizeof *ends, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < processes; i++)
        if (!fork()) {
            for (int round = 0; round < rounds; round++) ask(argv, (i + round) % 3);
            _exit(0);
        }
    while (wait(NULL) > 0);
    count(REMOVE, syscall(SYS_delete_module, argv[3], O_NONBLOCK));
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 200; i++)
            if ((*ends)[kind][i])
                printf("%s %s %d\n", kinds[kind], i ? strerrorname_np(i) : "OK", (*ends)[kind][i]);
    return 0;
}
