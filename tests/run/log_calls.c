/* What syslog(2) and /dev/kmsg answer, without changing anything: a line for each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[1 << 20];

static void told(const char *what, long result)
{
    if (result < 0)
        printf("%s %s\n", what, strerrorname_np(errno));
    else
        printf("%s %s\n", what, result ? "more" : "0");
}

#define SYSLOG(action, address, size) \
    told("syslog " #action " " #size, syscall(SYS_syslog, action, address, size))

int main(void)
{
    SYSLOG(0, NULL, 0);
    SYSLOG(1, NULL, 0);
    SYSLOG(2, NULL, 1);
    SYSLOG(3, NULL, 0);
    SYSLOG(3, NULL, 1);
    SYSLOG(3, buffer, -1);
    SYSLOG(3, buffer, 0);
    SYSLOG(3, buffer, 3);
    SYSLOG(3, buffer, sizeof buffer);
    SYSLOG(3, (char *)8, 4096);
    SYSLOG(4, NULL, 1);
    SYSLOG(8, NULL, 0);
    SYSLOG(8, NULL, 9);
    SYSLOG(10, NULL, 0);
    SYSLOG(11, NULL, 0);
    SYSLOG(-1, NULL, 0);

    int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
    struct pollfd ready = {fd, POLLIN | POLLOUT, 0};
    told("open", fd);
    told("seek to the first", lseek(fd, 0, SEEK_SET));
    poll(&ready, 1, 0);
    printf("poll %x\n", ready.revents);
    told("too small", read(fd, buffer, 2));
    told("the next", read(fd, buffer, sizeof buffer));
    lseek(fd, 0, SEEK_END);
    told("at the end", read(fd, buffer, sizeof buffer));
    poll(&ready, 1, 0);
    printf("poll %x\n", ready.revents);
    told("too long", write(fd, buffer, 1025));
    lseek(fd, 0, SEEK_DATA);
    told("since the last clear", read(fd, buffer, sizeof buffer));
    fd = open("/dev/kmsg", O_WRONLY);
    told("read of what is for writing", read(fd, buffer, sizeof buffer));
    return 0;
}
