/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFS with the index of the log in memory. Guarantees what SQLite asks of
 * xShmMap and the locks between connections of one process, and that who reads
 * from another process never sees a log that begins again or a checkpoint.
 * Leaves out writers in other processes: nobody else may write the catalog.
 */
#include "store/wal_index.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 32 KiB each, for 4096 pages of the log. */
#define REGIONS_MAX 1024
/* The file format's: https://www.sqlite.org/walformat.html, 2.3.1. */
#define LOCK_CHECKPOINT 1
#define LOCK_READ1 4
#define READ_LOCKS 4
/* Held by whoever has the file mapped, behind the eight locks at 120. */
#define OUTSIDE_LOCK 128

/* A database file. */
struct node {
	dev_t dev;
	ino_t ino;
	char *name;
	unsigned refs;
	void *regions[REGIONS_MAX];
	int held[SQLITE_SHM_NLOCK]; /* -1: by one alone, else by how many */
	int fd;			    /* of the file that others map, or -1 */
	unsigned alone;		    /* who keeps others away from it */
	struct node *next;
};

/* Behind the system's part of a sqlite3_file. */
struct tail {
	const char *name;  /* SQLite's, until it closes the file */
	struct node *node; /* since the log was opened, until shm_unmap */
	unsigned shared, exclusive; /* locks that it has, as bits */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below */
static struct node *nodes;
static sqlite3_vfs *parent, vfs;
static sqlite3_io_methods methods;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int wal_index_tail_at(void)
{
	return (parent->szOsFile + 15) / 16 * 16;
}

static struct tail *tail_of(sqlite3_file *f)
{
	return (struct tail *)((char *)f + wal_index_tail_at());
}

/* --- those outside --- */

static bool outside_set(const struct node *n, short type)
{
	struct flock l = {.l_type = type,
			  .l_whence = SEEK_SET,
			  .l_start = OUTSIDE_LOCK,
			  .l_len = 1};

	return fcntl(n->fd, F_OFD_SETLK, &l) == 0;
}

static bool outside_log_is_long(const struct node *n)
{
	char path[4096 + 8];
	struct stat st;

	snprintf(path, sizeof(path), "%s-wal", n->name);
	return stat(path, &st) == 0 && st.st_size > WAL_INDEX_LOG_MAX;
}

/* A checkpoint, or a log that begins again. */
static bool outside_matters(int offset, int n)
{
	return (offset == LOCK_CHECKPOINT && n == 1) ||
	       (offset == LOCK_READ1 && n == READ_LOCKS);
}

/* false: somebody reads. */
static bool outside_keep_away(struct node *n)
{
	if (n->fd >= 0 && !n->alone && !outside_set(n, F_WRLCK) &&
	    !outside_log_is_long(n))
		return false;
	n->alone++;
	return true;
}

static void outside_let_in(struct node *n)
{
	if (--n->alone == 0 && n->fd >= 0)
		outside_set(n, F_UNLCK);
}

/* --- nodes --- */

static struct node *node_new(const char *name, const struct stat *st)
{
	struct node *n = calloc(1, sizeof(*n));
	char path[4096 + 8];

	if (!n)
		return NULL;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return NULL;
	}
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	snprintf(path, sizeof(path), "%s-shm", name);
	n->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
		     st->st_mode & 0777);
	n->next = nodes;
	nodes = n;
	return n;
}

static struct node *node_ref(const char *name)
{
	struct stat st;
	struct node *n = nodes;

	if (stat(name, &st) < 0)
		return NULL;
	while (n && (n->dev != st.st_dev || n->ino != st.st_ino))
		n = n->next;
	if (!n)
		n = node_new(name, &st);
	if (n)
		n->refs++;
	return n;
}

static void node_unref(struct node *n)
{
	struct node **at = &nodes;

	if (--n->refs)
		return;
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	for (int i = 0; i < REGIONS_MAX; i++)
		free(n->regions[i]);
	if (n->fd >= 0)
		close(n->fd);
	free(n->name);
	free(n);
}

static struct node *node_of(struct tail *t)
{
	if (!t->node)
		t->node = node_ref(t->name);
	return t->node;
}

/* --- what SQLite calls --- */

static int shm_map(sqlite3_file *f, int page, int bytes, int extend,
		   void volatile **out)
{
	int rc = SQLITE_OK;

	*out = NULL;
	pthread_mutex_lock(&lock);
	struct node *n = node_of(tail_of(f));
	if (!n || page >= REGIONS_MAX) {
		rc = SQLITE_IOERR_SHMMAP;
	} else if (!n->regions[page] && extend) {
		n->regions[page] = calloc(1, (size_t)bytes);
		if (!n->regions[page])
			rc = SQLITE_NOMEM;
	}
	if (rc == SQLITE_OK)
		*out = n->regions[page];
	pthread_mutex_unlock(&lock);
	return rc;
}

static void lock_release(struct tail *t, int offset, int count)
{
	unsigned had = t->exclusive >> offset & 1;

	for (int i = offset; i < offset + count; i++) {
		if (t->exclusive >> i & 1)
			t->node->held[i] = 0;
		else if (t->shared >> i & 1)
			t->node->held[i]--;
		t->exclusive &= ~(1u << i);
		t->shared &= ~(1u << i);
	}
	if (had && outside_matters(offset, count))
		outside_let_in(t->node);
}

static int lock_take(struct tail *t, int offset, int count, bool exclusive)
{
	for (int i = offset; i < offset + count; i++)
		if (exclusive ? t->node->held[i] != 0 : t->node->held[i] < 0)
			return SQLITE_BUSY;
	if (exclusive && outside_matters(offset, count) &&
	    !outside_keep_away(t->node))
		return SQLITE_BUSY;
	for (int i = offset; i < offset + count; i++) {
		t->node->held[i] = exclusive ? -1 : t->node->held[i] + 1;
		*(exclusive ? &t->exclusive : &t->shared) |= 1u << i;
	}
	return SQLITE_OK;
}

static int shm_lock(sqlite3_file *f, int offset, int count, int flags)
{
	struct tail *t = tail_of(f);
	int rc = SQLITE_OK;

	pthread_mutex_lock(&lock);
	if (!node_of(t))
		rc = SQLITE_IOERR_SHMLOCK;
	else if (flags & SQLITE_SHM_UNLOCK)
		lock_release(t, offset, count);
	else if (!((flags & SQLITE_SHM_SHARED) && t->shared >> offset & 1))
		rc = lock_take(t, offset, count, flags & SQLITE_SHM_EXCLUSIVE);
	pthread_mutex_unlock(&lock);
	return rc;
}

static void shm_barrier(sqlite3_file *f)
{
	(void)f;
	__sync_synchronize();
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
}

static int shm_unmap(sqlite3_file *f, int remove)
{
	struct tail *t = tail_of(f);

	(void)remove; /* it is empty, and costs nothing */
	pthread_mutex_lock(&lock);
	if (t->node) {
		for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
			lock_release(t, i, 1);
		node_unref(t->node);
	}
	t->node = NULL;
	pthread_mutex_unlock(&lock);
	return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f,
		    int flags, int *out)
{
	int rc = parent->xOpen(parent, name, f, flags, out);

	(void)v;
	if (rc != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB) || !name)
		return rc;
	*tail_of(f) = (struct tail){.name = name};
	pthread_mutex_lock(&lock);
	if (!methods.xShmMap) {
		methods = *f->pMethods;
		methods.xShmMap = shm_map;
		methods.xShmLock = shm_lock;
		methods.xShmBarrier = shm_barrier;
		methods.xShmUnmap = shm_unmap;
	}
	pthread_mutex_unlock(&lock);
	f->pMethods = &methods;
	return SQLITE_OK;
}

static void vfs_init(void)
{
	parent = sqlite3_vfs_find(NULL);
	if (!parent)
		return;
	vfs = *parent;
	vfs.pNext = NULL;
	vfs.zName = "pcapd";
	vfs.szOsFile = wal_index_tail_at() + (int)sizeof(struct tail);
	vfs.xOpen = vfs_open;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
		parent = NULL;
}

const char *wal_index_vfs(void)
{
	pthread_once(&once, vfs_init);
	return parent ? vfs.zName : NULL;
}
