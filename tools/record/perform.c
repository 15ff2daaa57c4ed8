/*
 * The init of a kernel that is recorded: reads /plan, makes the calls, and writes to the second
 * serial line what came of each. A line of the plan is one step, its words parted by tabs:
 *
 *	finit	FILE	OPEN-FLAGS	FLAGS	PARAMETERS
 *	fd	NUMBER	-	FLAGS	PARAMETERS
 *	init	FILE	LENGTH	-	PARAMETERS	(LENGTH -1: all of it; FILE -: an unmapped address)
 *	delete	NAME	-	FLAGS
 *	cat	FILE
 *	write	FILE	TEXT
 *	threads	COUNT	-	FLAGS	PARAMETERS	FILE...
 *	symbols
 *
 * and its answer a line with "R RESULT TOTAL TEXT" (0 or a negative errno, and what the step added
 * to total_mod_size and total_text_size, where the kernel has them), "T RESULT... " of threads in any order, or "C BYTES" and
 * those bytes (-1: it cannot be read; -2: the same as the last time, where /proc/modules is asked); of symbols too, what /proc/kallsyms says of exports, followed
 * by "C 0". At the end "K BYTES" with the kernel's log since the first
 * step, and "E".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#define WORDS 80
#define MARK "modfs records from here"
#define STATS "/sys/kernel/debug/modules/"

static int out;

static void put(const char *data, size_t size)
{
	while (size) {
		ssize_t done = write(out, data, size);

		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (done > 0) {
			data += done;
			size -= done;
		}
	}
}

static void say(const char *format, ...)
{
	char line[512];
	va_list rest;

	va_start(rest, format);
	put(line, vsnprintf(line, sizeof(line), format, rest));
	va_end(rest);
}

/* All of a file, with its size; NULL: errno says why. */
static char *slurp(const char *path, size_t *size)
{
	size_t room = 1 << 16;
	char *data = malloc(room);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	*size = 0;
	if (fd < 0)
		return NULL;
	while ((got = read(fd, data + *size, room - *size)) > 0) {
		*size += got;
		if (*size == room)
			data = realloc(data, room *= 2);
	}
	close(fd);
	if (got < 0)
		return NULL;
	data[*size] = 0;
	return data;
}

static long long counter(const char *path)
{
	size_t size;
	char *text = slurp(path, &size);

	return text ? atoll(text) : 0;
}

static long result(long returned)
{
	return returned < 0 ? -errno : 0;
}

static long finit(const char *path, int access, int flags, const char *parameters)
{
	int fd = open(path, access | O_CLOEXEC | O_NONBLOCK);
	long came;

	if (fd < 0)
		return -errno;
	came = result(syscall(SYS_finit_module, fd, parameters, flags));
	close(fd);
	return came;
}

static long init(const char *path, long length, const char *parameters)
{
	size_t size;
	char *data = slurp(path, &size);

	if (!data)
		return -errno;
	return result(syscall(SYS_init_module, data, length < 0 ? (long)size : length, parameters));
}

struct call {
	pthread_t thread;
	pthread_barrier_t *start;
	const char *file, *parameters;
	int flags;
	long came;
};

static void *run(void *argument)
{
	struct call *call = argument;

	pthread_barrier_wait(call->start);
	call->came = finit(call->file, O_RDONLY, call->flags, call->parameters);
	return NULL;
}

static void together(char **words, int count)
{
	int threads = atoi(words[1]), files = count - 5, n;
	struct call *calls = calloc(threads, sizeof(*calls));
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, threads);
	for (n = 0; n < threads; n++) {
		calls[n] = (struct call){ .start = &start, .file = words[5 + n % files],
					  .parameters = words[4], .flags = atoi(words[3]) };
		pthread_create(&calls[n].thread, NULL, run, &calls[n]);
	}
	for (n = 0; n < threads; n++)
		pthread_join(calls[n].thread, NULL);
	say("T");
	for (n = 0; n < threads; n++)
		say(" %ld", calls[n].came);
	say("\n");
	free(calls);
}

static long put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	long came;

	if (fd < 0)
		return -errno;
	came = result(write(fd, text, strlen(text)));
	close(fd);
	return came;
}

static long call(char **words)
{
	const char *file = words[1];
	int flags;

	if (!strcmp(words[0], "write"))
		return put_text(file, words[2]);
	flags = atoi(words[3]);
	if (!strcmp(words[0], "finit"))
		return finit(file, atoi(words[2]), flags, words[4]);
	if (!strcmp(words[0], "fd"))
		return result(syscall(SYS_finit_module, atoi(file), words[4], flags));
	if (!strcmp(words[0], "delete"))
		return result(syscall(SYS_delete_module, file, flags));
	if (!strcmp(file, "-"))
		return result(syscall(SYS_init_module, (void *)-4096L, atol(words[2]), words[4]));
	return init(file, atol(words[2]), words[4]);
}

static void show(const char *path)
{
	static char *last;
	size_t size;
	char *data = slurp(path, &size);
	int is_list = !strcmp(path, "/proc/modules");

	if (!data) {
		say("C -1\n");
		return;
	}
	if (is_list && last && !strcmp(last, data)) {
		say("C -2\n");
		free(data);
		return;
	}
	say("C %zu\n", size);
	put(data, size);
	if (is_list) {
		free(last);
		last = data;
	} else {
		free(data);
	}
}

/* The lines of /proc/kallsyms that tell what the kernel exports. */
static void symbols(void)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[1024];

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, "__ksymtab") && !strchr(line, '['))
			say("C %zu\n%s", strlen(line), line);
	say("C 0\n");
}

static void step(char *line)
{
	char *words[WORDS] = { NULL };
	long long total, text;
	int count = 0;
	long came;

	while (line && count < WORDS - 1)
		words[count++] = strsep(&line, "\t");
	if (!strcmp(words[0], "cat")) {
		show(words[1]);
	} else if (!strcmp(words[0], "symbols")) {
		symbols();
	} else if (!strcmp(words[0], "threads")) {
		together(words, count);
	} else {
		total = counter(STATS "total_mod_size");
		text = counter(STATS "total_text_size");
		came = call(words);
		if (access(STATS "total_mod_size", F_OK))
			say("R %ld\n", came);
		else
			say("R %ld %lld %lld\n", came, counter(STATS "total_mod_size") - total,
			    counter(STATS "total_text_size") - text);
	}
}

/* The kernel's messages since the mark, a line each. */
static void log_since_mark(int log)
{
	char record[9000], *text = malloc(1), *message, *end;
	size_t size = 0;
	int marked = 0;
	ssize_t got;

	while ((got = read(log, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (got < 0)
			continue;
		record[got] = 0;
		message = strchr(record, ';');
		if (!message)
			continue;
		end = strchrnul(++message, '\n');
		*end = 0;
		if (!marked) {
			marked = !strcmp(message, MARK);
			continue;
		}
		text = realloc(text, size + strlen(message) + 1);
		size += sprintf(text + size, "%s", message);
		text[size++] = '\n';
	}
	say("K %zu\n", size);
	put(text, size);
}

static void prepare(void)
{
	struct termios line;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/t", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
	mknod("/dev/line", S_IFCHR | 0600, makedev(4, LINE_MINOR));
	out = open("/dev/line", O_RDWR | O_NOCTTY);
	tcgetattr(out, &line);
	cfmakeraw(&line);
	tcsetattr(out, TCSANOW, &line);
}

int main(void)
{
	size_t size;
	char *plan, *line;
	int log;

	prepare();
	log = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	if (write(log, "<6>" MARK, strlen("<6>" MARK)) < 0)
		return 1;
	say("B\n");
	plan = slurp("/plan", &size);
	while (plan && (line = strsep(&plan, "\n")))
		if (*line)
			step(line);
	log_since_mark(log);
	say("E\n");
	tcdrain(out);
	sync();
	reboot(RB_AUTOBOOT);
	return 1;
}
