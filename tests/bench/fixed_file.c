/*
 * The file system that the benchmark compares modfs with: one file, "file", whose content is read
 * from CONTENT once at the start. What is written to it is thrown away. What any FUSE file system in
 * C must do, and no more.
 *
 *   fixed_file CONTENT MOUNTPOINT [FUSE OPTION...]
 */
#define FUSE_USE_VERSION 26

#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char content[1 << 20];
static size_t content_size;

static int fixed_getattr(const char *path, struct stat *attributes)
{
	memset(attributes, 0, sizeof(*attributes));
	attributes->st_nlink = 1;
	if (strcmp(path, "/") == 0)
		attributes->st_mode = S_IFDIR | 0755;
	else if (strcmp(path, "/file") == 0)
		attributes->st_mode = S_IFREG | 0600;
	else
		return -ENOENT;
	return 0;
}

static int fixed_readdir(const char *path, void *entries, fuse_fill_dir_t add, off_t offset,
			 struct fuse_file_info *info)
{
	(void)path, (void)offset, (void)info;
	return add(entries, "file", NULL, 0) ? -ENOMEM : 0;
}

static int fixed_open(const char *path, struct fuse_file_info *info)
{
	(void)info;
	return strcmp(path, "/file") ? -ENOENT : 0;
}

static int fixed_read(const char *path, char *buffer, size_t size, off_t offset,
		      struct fuse_file_info *info)
{
	(void)path, (void)info;
	if ((size_t)offset >= content_size)
		return 0;
	if (size > content_size - offset)
		size = content_size - offset;
	memcpy(buffer, content + offset, size);
	return size;
}

static int fixed_write(const char *path, const char *buffer, size_t size, off_t offset,
		       struct fuse_file_info *info)
{
	(void)path, (void)buffer, (void)offset, (void)info;
	return size;
}

static const struct fuse_operations operations = {
	.getattr = fixed_getattr,
	.readdir = fixed_readdir,
	.open = fixed_open,
	.read = fixed_read,
	.write = fixed_write,
};

int main(int argc, char **argv)
{
	FILE *source = argc > 2 ? fopen(argv[1], "r") : NULL;

	if (!source) {
		fprintf(stderr, "usage: fixed_file CONTENT MOUNTPOINT [FUSE OPTION...]\n");
		return 2;
	}
	content_size = fread(content, 1, sizeof(content), source);
	fclose(source);
	argv[1] = argv[0];
	return fuse_main(argc - 1, argv + 1, &operations, NULL);
}
