/* storm FILE CALLS PROCESSES: has FILE loaded CALLS times by PROCESSES, and prints the seconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void load(const char *path, int calls) {
    while (calls-- > 0) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        syscall(SYS_finit_module, file, "", 0);
        close(file);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    struct timespec begin, end;
    int calls, processes;

    if (argc != 4)
        return 2;
    calls = atoi(argv[2]);
    processes = atoi(argv[3]);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int n = 0; n < processes; n++)
        if (fork() == 0)
            load(argv[1], calls / processes);
    while (wait(NULL) > 0)
        ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f\n", (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}
