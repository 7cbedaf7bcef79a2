/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The countdown, and what it stands in front of. A call that allocates within
 * libc (strdup, fopen) counts as one allocation; one that opens counts as one
 * descriptor.
 */
#include "refuse.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static _Thread_local bool exempt;
static atomic_int armed = -1; /* an enum refused */
static atomic_long count, turn;

void refuse_exempt(void)
{
	exempt = true;
}

void refuse_arm(enum refused what, long n)
{
	count = 0;
	turn = n;
	armed = (int)what;
}

long refuse_disarm(void)
{
	armed = -1;
	return count;
}

static bool refused(enum refused what)
{
	if (exempt || armed != (int)what)
		return false;
	if (atomic_fetch_add(&count, 1) + 1 != turn)
		return false;
	errno = what == REFUSE_DESCRIPTOR ? EMFILE : ENOMEM;
	return true;
}

/* --- memory --- */

#define WRAPPED(type, name, ...)                                               \
	type __real_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__)

WRAPPED(void *, malloc, size_t n)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_malloc(n);
}

WRAPPED(void *, calloc, size_t n, size_t each)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_calloc(n, each);
}

WRAPPED(void *, realloc, void *old, size_t n)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_realloc(old, n);
}

WRAPPED(void *, aligned_alloc, size_t to, size_t n)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_aligned_alloc(to, n);
}

WRAPPED(char *, strdup, const char *s)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_strdup(s);
}

WRAPPED(char *, strndup, const char *s, size_t n)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_strndup(s, n);
}

WRAPPED(int, vasprintf, char **to, const char *format, va_list args)
{
	return refused(REFUSE_MEMORY) ? -1 : __real_vasprintf(to, format, args);
}

WRAPPED(FILE *, open_memstream, char **to, size_t *n)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_open_memstream(to, n);
}

/* --- descriptors --- */

WRAPPED(int, open, const char *path, int flags, mode_t mode)
{
	return refused(REFUSE_DESCRIPTOR) ? -1 : __real_open(path, flags, mode);
}

WRAPPED(int, openat, int dir, const char *path, int flags, mode_t mode)
{
	return refused(REFUSE_DESCRIPTOR)
		       ? -1
		       : __real_openat(dir, path, flags, mode);
}

WRAPPED(FILE *, fopen, const char *path, const char *mode)
{
	return refused(REFUSE_DESCRIPTOR) ? NULL : __real_fopen(path, mode);
}

WRAPPED(DIR *, fdopendir, int fd)
{
	return refused(REFUSE_MEMORY) ? NULL : __real_fdopendir(fd);
}

WRAPPED(int, scandirat, int dir, const char *path, struct dirent ***to,
	int (*filter)(const struct dirent *),
	int (*compare)(const struct dirent **, const struct dirent **))
{
	return refused(REFUSE_DESCRIPTOR)
		       ? -1
		       : __real_scandirat(dir, path, to, filter, compare);
}

WRAPPED(int, socket, int family, int type, int protocol)
{
	return refused(REFUSE_DESCRIPTOR)
		       ? -1
		       : __real_socket(family, type, protocol);
}

WRAPPED(int, socketpair, int family, int type, int protocol, int fds[2])
{
	return refused(REFUSE_DESCRIPTOR)
		       ? -1
		       : __real_socketpair(family, type, protocol, fds);
}

WRAPPED(int, eventfd, unsigned n, int flags)
{
	return refused(REFUSE_DESCRIPTOR) ? -1 : __real_eventfd(n, flags);
}

WRAPPED(int, timerfd_create, int clock, int flags)
{
	return refused(REFUSE_DESCRIPTOR) ? -1
					  : __real_timerfd_create(clock, flags);
}

WRAPPED(int, epoll_create1, int flags)
{
	return refused(REFUSE_DESCRIPTOR) ? -1 : __real_epoll_create1(flags);
}

/* --- SQLite's --- */

static sqlite3_mem_methods memory;
static int (*real_open)(const char *, int, int);

static void *sqlite_malloc(int n)
{
	return refused(REFUSE_SQLITE) ? NULL : memory.xMalloc(n);
}

static void *sqlite_realloc(void *old, int n)
{
	return refused(REFUSE_SQLITE) ? NULL : memory.xRealloc(old, n);
}

static int sqlite_open(const char *path, int flags, int mode)
{
	return refused(REFUSE_DESCRIPTOR) ? -1 : real_open(path, flags, mode);
}

void refuse_init(void)
{
	sqlite3_mem_methods ours;

	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
	ours = memory;
	ours.xMalloc = sqlite_malloc;
	ours.xRealloc = sqlite_realloc;
	int status = sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);
	assert(status == SQLITE_OK);
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	real_open = (int (*)(const char *, int, int))vfs->xGetSystemCall(
		vfs, "open");
	status = vfs->xSetSystemCall(vfs, "open",
				     (sqlite3_syscall_ptr)sqlite_open);
	assert(status == SQLITE_OK);
	(void)status;
}
