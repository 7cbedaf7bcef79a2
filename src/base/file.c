/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replaced files. Guarantees that the disk has the text before the name and the
 * name before the caller goes on: a line that was removed does not come back
 * with the power. Leaves out what stands beside a file, as locks.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who could read the old file can read the new one. */
static bool file_keep_owner(int fd, int folder, const char *name)
{
	struct stat old, st;

	if (fstatat(folder, name, &old, 0) < 0)
		return errno == ENOENT;
	if (fstat(fd, &st) < 0)
		return false;
	if ((old.st_uid != st.st_uid || old.st_gid != st.st_gid) &&
	    fchown(fd, old.st_uid, old.st_gid) < 0 && errno != EPERM)
		return false;
	return old.st_mode == st.st_mode || fchmod(fd, old.st_mode & 0777) == 0;
}

static bool file_write(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t done = write(fd, text, n);

		if (done < 0 && errno != EINTR)
			return false;
		text += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
	return fsync(fd) == 0;
}

static bool file_replace_in(int folder, const char *name, const char *text,
			    size_t n, mode_t mode)
{
	char part[NAME_MAX + sizeof(FILE_PART)];

	snprintf(part, sizeof(part), "%.*s" FILE_PART, NAME_MAX, name);
	int fd = openat(folder, part,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
			mode);
	if (fd < 0)
		return false;
	bool ok = file_keep_owner(fd, folder, name) &&
		  file_write(fd, text, n) &&
		  renameat(folder, part, folder, name) == 0;
	int number = errno;
	close(fd);
	if (!ok)
		unlinkat(folder, part, 0); /* the disk may be full */
	errno = number;
	return ok;
}

/* The folder that path is in, open. */
static int file_folder(int dir_fd, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";

	if (slash)
		snprintf(folder, sizeof(folder), "%.*s",
			 (int)(slash == path ? 1 : slash - path), path);
	return openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool file_replace(int dir_fd, const char *path, const char *text, size_t n,
		  mode_t mode, struct err *e)
{
	const char *slash = strrchr(path, '/');
	int folder = file_folder(dir_fd, path);
	bool ok = folder >= 0;

	if (!ok ||
	    !file_replace_in(folder, slash ? slash + 1 : path, text, n, mode))
		ok = err_errno(e, "write %s", path);
	else if (fsync(folder) < 0)
		ok = err_errno(e, "sync the folder of %s", path);
	if (folder >= 0)
		close(folder);
	return ok;
}

bool file_edit(const char *path, mode_t mode,
	       bool (*edit)(void *ctx, FILE *from, FILE *to), void *ctx,
	       struct err *e)
{
	FILE *from = fopen(path, "re"), *to;
	bool ok = from || errno == ENOENT, changed = false;
	char *text = NULL;
	size_t n;

	if (!ok)
		return err_errno(e, "read %s", path);
	to = open_memstream(&text, &n);
	if (to)
		changed = edit(ctx, from, to);
	ok = to && !ferror(to);
	ok = (!to || fclose(to) == 0) && ok;
	if (!ok)
		err_no_memory(e, path);
	else if (from && ferror(from))
		ok = err_errno(e, "read %s", path);
	else if (changed)
		ok = file_replace(AT_FDCWD, path, text, n, mode, e);
	if (from)
		fclose(from);
	free(text);
	return ok;
}

bool file_sync_folder(int dir_fd, const char *path, struct err *e)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		err_errno(e, "sync folder %s", path);
	if (fd >= 0)
		close(fd);
	return ok;
}
