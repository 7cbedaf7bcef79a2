/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls, by hand: what is not to fail goes on to the kernel. Guarantees
 * that calls are made one at a time, so that a mirror is never in between.
 * Leaves out mmap: SQLite writes only its index of the log that way, which
 * does not outlive a process.
 */
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below */
static char folder[PATH_MAX], mirror[PATH_MAX];
static enum fault_kind kind;
static long count, first, last;
static int error;
static bool armed;

static void path_of(int fd, char out[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
}

static bool below(const char *path)
{
	size_t n = strlen(folder);

	return armed && strncmp(path, folder, n) == 0 &&
	       (path[n] == '/' || path[n] == '\0');
}

static bool fd_below(int fd)
{
	char path[PATH_MAX];

	if (!armed)
		return false;
	path_of(fd, path);
	return below(path);
}

static bool at_below(int dir, const char *path)
{
	return path[0] == '/' ? below(path) : dir != AT_FDCWD && fd_below(dir);
}

/* At once, as by SIGKILL: _exit would let a sanitizer look at what is left. */
static void die(void)
{
	syscall(SYS_exit_group, FAULT_STATUS);
}

/* With the lock held: is it this one's turn? */
static bool hit(void)
{
	count++;
	return kind != FAULT_NONE && count >= first && count <= last;
}

/* What a call that is no write does when it is its turn. true: errno. */
static bool refuse(void)
{
	if (!hit() || kind == FAULT_SHORT)
		return false;
	if (kind == FAULT_DIE)
		die();
	errno = error;
	return true;
}

/* --- the mirror --- */

static void inode_path(char out[PATH_MAX], uint64_t inode)
{
	snprintf(out, PATH_MAX, "%.4000s/.inode/%llu", mirror,
		 (unsigned long long)inode);
}

static void copy(int from, const char *path)
{
	static char bytes[1 << 16];
	int to = (int)syscall(SYS_openat, AT_FDCWD, path,
			      O_WRONLY | O_CREAT | O_TRUNC, 0600);
	off_t at = 0;
	long n;

	while (from >= 0 &&
	       (n = syscall(SYS_pread64, from, bytes, sizeof(bytes), at)) > 0) {
		if (syscall(SYS_write, to, bytes, (size_t)n) != n)
			abort();
		at += n;
	}
	close(to);
}

static void mirror_folder(const char *path)
{
	char to[PATH_MAX], from[PATH_MAX], name[PATH_MAX];
	struct stat st;
	struct dirent *d;

	snprintf(to, sizeof(to), "%.2000s%.2000s", mirror,
		 path + strlen(folder));
	mkdir(to, 0700);
	DIR *dir = opendir(to);
	while (dir && (d = readdir(dir))) {
		snprintf(name, sizeof(name), "%.3000s/%.255s", to, d->d_name);
		if (stat(name, &st) == 0 && S_ISREG(st.st_mode))
			syscall(SYS_unlinkat, AT_FDCWD, name, 0);
	}
	if (dir)
		closedir(dir);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		snprintf(name, sizeof(name), "%.3000s/%.255s", path, d->d_name);
		if (stat(name, &st) < 0 || d->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%.3000s/%.255s", to, d->d_name);
		if (S_ISDIR(st.st_mode)) {
			mkdir(name, 0700);
			continue;
		}
		inode_path(from, st.st_ino);
		if (access(from, F_OK) < 0)
			copy(-1, from);
		if (link(from, name) < 0)
			abort();
	}
	if (dir)
		closedir(dir);
}

/* Its inode's number will be another file's, and what the disk has under the
 * old name stays. */
static void mirror_gone(int dir, const char *path)
{
	char from[PATH_MAX], to[PATH_MAX + 32];
	struct stat st;

	if (!mirror[0] || fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	inode_path(from, st.st_ino);
	snprintf(to, sizeof(to), "%s.%ld", from, count);
	rename(from, to);
}

static void mirror_sync(int fd)
{
	char path[PATH_MAX], to[PATH_MAX];
	struct stat st;

	if (!mirror[0] || fstat(fd, &st) < 0)
		return;
	path_of(fd, path);
	if (S_ISDIR(st.st_mode)) {
		mirror_folder(path);
		return;
	}
	inode_path(to, st.st_ino);
	int from = open(path, O_RDONLY);
	if (from < 0)
		from = dup(fd);
	copy(from, to);
	close(from);
}

/* What is there when it begins has been synced. */
static void mirror_all(const char *path)
{
	char name[PATH_MAX], to[PATH_MAX];
	struct stat st;
	struct dirent *d;
	DIR *dir = opendir(path);

	while (dir && (d = readdir(dir))) {
		snprintf(name, sizeof(name), "%.3000s/%.255s", path, d->d_name);
		if (d->d_name[0] == '.' || stat(name, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			mirror_all(name);
			continue;
		}
		inode_path(to, st.st_ino);
		int from = open(name, O_RDONLY);
		copy(from, to);
		close(from);
	}
	if (dir) {
		closedir(dir);
		mirror_folder(path);
	}
}

/* --- the calls --- */

/* half: how much of it a torn or short write does. */
static ssize_t write_at(int fd, const void *bytes, size_t n, bool at,
			off_t offset)
{
	ssize_t done;

	if (!fd_below(fd))
		return at ? syscall(SYS_pwrite64, fd, bytes, n, offset)
			  : syscall(SYS_write, fd, bytes, n);
	pthread_mutex_lock(&lock);
	bool turn = hit();
	if (turn && kind == FAULT_FAIL) {
		pthread_mutex_unlock(&lock);
		errno = error;
		return -1;
	}
	if (turn && n > 1)
		n /= 2;
	done = at ? syscall(SYS_pwrite64, fd, bytes, n, offset)
		  : syscall(SYS_write, fd, bytes, n);
	if (turn && kind == FAULT_DIE)
		die();
	pthread_mutex_unlock(&lock);
	return done;
}

ssize_t write(int fd, const void *bytes, size_t n)
{
	return write_at(fd, bytes, n, false, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
	return write_at(fd, bytes, n, true, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	return write_at(fd, bytes, n, true, offset);
}

static int sync_call(long call, int fd)
{
	if (!fd_below(fd))
		return (int)syscall(call, fd);
	pthread_mutex_lock(&lock);
	bool no = refuse();
	if (!no)
		mirror_sync(fd);
	pthread_mutex_unlock(&lock);
	return no ? -1 : 0;
}

int fsync(int fd)
{
	return sync_call(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return sync_call(SYS_fdatasync, fd);
}

static int truncate_call(int fd, off_t n)
{
	bool no = false;

	if (fd_below(fd)) {
		pthread_mutex_lock(&lock);
		no = refuse();
		pthread_mutex_unlock(&lock);
	}
	return no ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}

int ftruncate(int fd, off_t n)
{
	return truncate_call(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
	return truncate_call(fd, n);
}

int unlinkat(int dir, const char *path, int flags)
{
	bool no = false;

	if (at_below(dir, path)) {
		pthread_mutex_lock(&lock);
		no = refuse();
		if (!no)
			mirror_gone(dir, path);
		pthread_mutex_unlock(&lock);
	}
	return no ? -1 : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	bool no = false;

	if (at_below(to_dir, to)) {
		pthread_mutex_lock(&lock);
		no = refuse();
		pthread_mutex_unlock(&lock);
	}
	return no ? -1 : (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
}

/* --- control --- */

void fault_arm(const char *below_path, const char *mirror_path,
	       enum fault_kind what, long n, int number, long times)
{
	char inodes[PATH_MAX + 16];

	pthread_mutex_lock(&lock);
	snprintf(folder, sizeof(folder), "%s", below_path);
	snprintf(mirror, sizeof(mirror), "%s", mirror_path ? mirror_path : "");
	if (mirror[0]) {
		snprintf(inodes, sizeof(inodes), "%s/.inode", mirror);
		mkdir(inodes, 0700);
		mirror_all(folder);
	}
	kind = what;
	count = 0;
	first = n;
	last = n + times - 1;
	error = number;
	armed = true;
	pthread_mutex_unlock(&lock);
}

void fault_disarm(void)
{
	pthread_mutex_lock(&lock);
	armed = false;
	pthread_mutex_unlock(&lock);
}

long fault_count(void)
{
	pthread_mutex_lock(&lock);
	long n = count;
	pthread_mutex_unlock(&lock);
	return n;
}
