/*
 * ways FILE: read it in every way that there is. A line for each: how it ended, how many bytes came,
 * and whether they are what read(2) gives.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };
static char expected[ROOM], found[ROOM];
static long length;
static const char *path;
static char *folder;

static int file(void) { return open(path, O_RDONLY | O_CLOEXEC); }

static int scratch(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s/scratchXXXXXX", folder);
    int fd = mkstemp(name);
    unlink(name);
    return fd;
}

static void tell(const char *way, long bytes, int error) {
    if (bytes < 0)
        printf("%s: %s\n", way, strerrorname_np(error));
    else if (bytes == length && !memcmp(expected, found, bytes))
        printf("%s: all\n", way);
    else
        printf("%s: %ld bytes, not %ld\n", way, bytes, length);
}

/* What a copy to a file comes to: until 0, or the first error. */
static void copied(const char *way, int fd, long total, long last, int error) {
    if (last < 0 && !total) return tell(way, -1, error);
    lseek(fd, 0, SEEK_SET);
    tell(way, total ? read(fd, found, ROOM) : 0, 0);
}

static void by_read(long piece) {
    int fd = file();
    long total = 0, n = 0;
    while ((n = read(fd, found + total, piece)) > 0) total += n;
    char way[50];
    snprintf(way, sizeof way, "read %ld", piece);
    tell(way, n < 0 ? n : total, errno);
    close(fd);
}

static void by_pread(int vector, int flags, const char *way) {
    int fd = file();
    long total = 0, n = 0;
    for (;; total += n) {
        struct iovec parts[2] = {{found + total, 100}, {found + total + 100, 1000}};
        n = vector ? preadv2(fd, parts, 2, total, flags) : pread(fd, found + total, 1000, total);
        if (n <= 0) break;
    }
    tell(way, n < 0 ? n : total, errno);
    close(fd);
}

static void by_sendfile(int offset) {
    int fd = file(), out = scratch();
    off_t at = 0;
    long total = 0, n = 0;
    while ((n = sendfile(out, fd, offset ? &at : NULL, ROOM)) > 0) total += n;
    copied(offset ? "sendfile with an offset" : "sendfile", out, total, n, errno);
    close(fd);
    close(out);
}

static void by_splice(int offset) {
    int fd = file(), ends[2];
    loff_t at = 0;
    long total = 0, n = 0;
    if (pipe(ends)) exit(1);
    while ((n = splice(fd, offset ? &at : NULL, ends[1], NULL, 60000, 0)) > 0)
        total += read(ends[0], found + total, n);
    tell(offset ? "splice with an offset" : "splice", n < 0 && !total ? n : total, errno);
    close(ends[0]);
    close(ends[1]);
    close(fd);
}

static void by_copy_file_range(void) {
    int fd = file(), out = scratch();
    long total = 0, n = 0;
    while ((n = copy_file_range(fd, NULL, out, NULL, ROOM, 0)) > 0) total += n;
    copied("copy_file_range", out, total, n, errno);
    close(fd);
    close(out);
}

static void by_mmap(int flags, const char *way) {
    int fd = file();
    char *at = mmap(NULL, 4096, PROT_READ, flags, fd, 0);
    if (at == MAP_FAILED) return tell(way, -1, errno);
    int ends[2];
    if (pipe(ends)) exit(1);
    long n = write(ends[1], at, 10); /* EFAULT where a reader would get SIGBUS */
    if (n > 0) n = memcmp(at, expected, 10) ? 0 : length;
    memcpy(found, expected, length);
    tell(way, n, errno);
    close(fd);
}

static void by_io_uring(void) {
    struct io_uring_params params = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &params), fd = file();
    if (ring < 0) return tell("io_uring", -1, errno);
    char *sq = mmap(NULL, 1 << 14, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    char *cq = params.features & IORING_FEAT_SINGLE_MMAP ? sq :
        mmap(NULL, 1 << 14, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    unsigned *tail = (unsigned *)(sq + params.sq_off.tail), *head = (unsigned *)(cq + params.cq_off.head);
    ((unsigned *)(sq + params.sq_off.array))[0] = 0;
    for (int current = 0; current < 2; current++) {
        long total = 0, n = 0;
        do {
            memset(entry, 0, sizeof *entry);
            entry->opcode = IORING_OP_READ;
            entry->fd = fd;
            entry->addr = (uintptr_t)(found + total);
            entry->len = current ? 65536 : 1000; /* see modfs.fuse.repeats */
            entry->off = current ? -1 : total;
            ((unsigned *)(sq + params.sq_off.array))[*tail & (params.sq_entries - 1)] = 0;
            __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
            if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) exit(1);
            struct io_uring_cqe *done = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
            n = done[*head & (params.cq_entries - 1)].res;
            __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
            if (n > 0) total += n;
        } while (n > 0 && total <= length);
        tell(current ? "io_uring from where it is" : "io_uring", n < 0 ? -1 : total, -n);
    }
    close(fd);
    close(ring);
}

static void seeks(void) {
    int fd = file();
    static const struct { const char *way; off_t offset; int whence; } table[] = {
        {"SEEK_SET", 3, SEEK_SET}, {"SEEK_CUR", 4, SEEK_CUR}, {"SEEK_SET far", 1 << 20, SEEK_SET},
        {"SEEK_END", 0, SEEK_END}, {"SEEK_DATA", 0, SEEK_DATA}, {"SEEK_HOLE", 0, SEEK_HOLE},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        long at = lseek(fd, table[i].offset, table[i].whence);
        printf("%s: %s", table[i].way, at < 0 ? strerrorname_np(errno) : "");
        if (at >= 0) printf("%ld", at);
        puts("");
    }
    close(fd);
}

int main(int argc, char **argv) {
    path = argv[1];
    folder = argc > 2 ? argv[2] : "/tmp";
    int fd = file();
    if (fd < 0) return perror(path), 1;
    for (long n; (n = read(fd, expected + length, ROOM - length)) > 0; length += n);
    close(fd);
    setvbuf(stdout, NULL, _IONBF, 0);
    by_read(ROOM);
    by_read(1);
    by_pread(0, 0, "pread");
    by_pread(1, 0, "preadv");
    by_pread(1, RWF_NOWAIT, "preadv2 NOWAIT");
    by_sendfile(0);
    by_sendfile(1);
    by_splice(0);
    by_splice(1);
    by_copy_file_range();
    by_io_uring();
    by_mmap(MAP_PRIVATE, "mmap private");
    by_mmap(MAP_SHARED, "mmap shared");
    seeks();
}
