/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The catalog's thread. Guarantees that done is called once a job, in order,
 * after the commit that holds it; that there is room for commits on a disk that
 * others have filled, so that retention can make more; and that where even that
 * is used up, patient jobs are delayed and the others fail at once. Leaves out
 * what the rows mean: see the callers.
 */
#include "store/catalog.h"
#include "store/wal_index.h"

#include "packet/block.h"
#include "packet/capture_tail.h"
#include "store/row_sum.h"
#include "store/schema_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

extern const char *const schema_migrations[];
extern const unsigned schema_version;

/* How long a full disk has to become less full. */
#define RETRY_NS (NS_PER_S / 50)
/* A log that long is begun again, which writers have to wait for. */
#define LOG_PAGES 4096
/* Room that only the log can use, and the most of a file system for it. */
#define RESERVE_BYTES (4 << 20)
#define RESERVE_PART 16

STAILQ_HEAD(jobs, catalog_job);
/* A commit costs more than the rows in it. */
#define LINGER_NS 20000000
#define LINGER_JOBS 16

/* Ids, up to one too many. */
struct catalog_changes {
	size_t n;
	int64_t ids[CATALOG_CHANGES + 1];
};

struct catalog {
	char *path;
	sqlite3 *db; /* the thread's */
	/* Guards what catalog_sync has; held across its I/O, by nobody else. */
	pthread_mutex_t sync_lock;
	sqlite3 *sync_db;
	off_t reserved; /* the log may grow up to there */
	pthread_t thread;
	atomic_bool malformed;	/* a job met a page that is none */
	bool last_try;		/* the thread's: nothing is put off any more */
	bool refused;		/* the thread's, too: the disk said no last; */
	struct err refusal;	/* what that was */
	atomic_bool disk_fails; /* somebody heard so since the last commit */
	struct catalog_changes uncommitted; /* the thread's */
	pthread_mutex_t lock;		    /* guards everything below */
	pthread_cond_t posted;
	struct jobs jobs;
	unsigned lingering; /* of them, who let others come with them */
	bool hurry;	    /* somebody does not */
	struct catalog_changes changes;
	bool closing;
};

static bool catalog_exec(sqlite3 *db, const char *sql, struct err *e)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return true;
	return sql_err(db, e, "exec");
}

/* --- what changes --- */

static void add_change(struct catalog_changes *to, int64_t id)
{
	/* A row that grows does so again and again. */
	if (to->n <= CATALOG_CHANGES &&
	    (to->n == 0 || to->ids[to->n - 1] != id))
		to->ids[to->n++] = id;
}

/* SQLite calls it for each row; what is rolled back does no harm. */
static void on_change(void *arg, int what, const char *db, const char *table,
		      sqlite3_int64 id)
{
	struct catalog *c = arg;

	(void)db;
	if (what != SQLITE_DELETE && strcmp(table, "ledger") == 0)
		add_change(&c->uncommitted, id);
}

static void catalog_changes_done(struct catalog *c, bool committed)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; committed && i < c->uncommitted.n; i++)
		add_change(&c->changes, c->uncommitted.ids[i]);
	pthread_mutex_unlock(&c->lock);
	c->uncommitted.n = 0;
}

bool catalog_changes(struct catalog *c, int64_t ids[CATALOG_CHANGES], size_t *n)
{
	pthread_mutex_lock(&c->lock);
	bool ok = c->changes.n <= CATALOG_CHANGES;
	*n = ok ? c->changes.n : 0;
	memcpy(ids, c->changes.ids, *n * sizeof(*ids));
	c->changes.n = 0;
	pthread_mutex_unlock(&c->lock);
	return ok;
}

/* --- the thread --- */

/* With the lock held, and something posted. */
static void catalog_linger(struct catalog *c)
{
	int64_t until = monotonic_ns() + LINGER_NS;
	bool late = false;

	while (!late && !c->hurry && c->lingering < LINGER_JOBS && !c->closing)
		late = !cond_wait_until(&c->posted, &c->lock, until);
}

/* What was put off comes first. false: closing, and nothing is left. */
static bool take_all(struct catalog *c, struct jobs *jobs)
{
	int64_t again = monotonic_ns() + RETRY_NS;
	bool late = false;

	pthread_mutex_lock(&c->lock);
	while (STAILQ_EMPTY(&c->jobs) && !c->closing && !late) {
		if (!STAILQ_EMPTY(jobs))
			late = !cond_wait_until(&c->posted, &c->lock, again);
		else
			pthread_cond_wait(&c->posted, &c->lock);
	}
	if (!STAILQ_EMPTY(&c->jobs))
		catalog_linger(c);
	c->lingering = 0;
	c->hurry = false;
	STAILQ_CONCAT(jobs, &c->jobs);
	c->last_try = c->closing;
	pthread_mutex_unlock(&c->lock);
	return !STAILQ_EMPTY(jobs);
}

/* Once the disk has said no, SQLite may call the database malformed until it
 * says yes: that is the disk. */
static void note_refusal(struct catalog *c, struct err *e)
{
	if (sql_disk_says_no(c->db)) {
		c->refused = true;
		c->refusal = *e;
		atomic_store(&c->disk_fails, true);
	} else if (sql_is_malformed(c->db) && c->refused) {
		*e = c->refusal;
	} else if (sql_is_malformed(c->db)) {
		atomic_store(&c->malformed, true);
	}
}

/* Runs one job in a savepoint of its own. *again: trying again is worth it, if
 * it was not set before. */
static bool run_one(struct catalog *c, struct catalog_job *job, bool *again,
		    struct err *e)
{
	struct err ignored;
	sqlite3 *db = c->db;

	if (sql_run(db, e, SQL_SAVEPOINT, "") && job->run(db, job, e) &&
	    sql_run(db, e, SQL_RELEASE, ""))
		return true;
	note_refusal(c, e);
	*again |= c->refused;
	/* Some errors end the whole transaction. */
	if (!sqlite3_get_autocommit(db) &&
	    catalog_exec(db, "ROLLBACK TO job", &ignored))
		catalog_exec(db, "RELEASE job", &ignored);
	return false;
}

bool catalog_is_malformed(const struct catalog *c)
{
	return atomic_load(&c->malformed);
}

static bool catalog_patient(const struct catalog *c,
			    const struct catalog_job *job)
{
	return !c->last_try && job->patient && job->patient(job);
}

/*
 * Jobs that succeeded wait in `kept` for the commit. From the first one that
 * is put off, all that are patient are, so that they stay in order; they are
 * left in *jobs.
 */
static void run_group(struct catalog *c, struct jobs *jobs)
{
	struct jobs kept = STAILQ_HEAD_INITIALIZER(kept);
	struct jobs later = STAILQ_HEAD_INITIALIZER(later);
	struct err e = ERR_INIT, ignored;
	int changes = sqlite3_total_changes(c->db);
	bool ok = sql_run(c->db, &e, SQL_BEGIN, "");
	struct catalog_job *job;
	bool again = false;

	while ((job = STAILQ_FIRST(jobs))) {
		STAILQ_REMOVE_HEAD(jobs, link);
		if (!STAILQ_EMPTY(&later) && catalog_patient(c, job)) {
			STAILQ_INSERT_TAIL(&later, job, link);
		} else if (!ok || run_one(c, job, &again, &e)) {
			STAILQ_INSERT_TAIL(&kept, job, link);
		} else {
			ok = !sqlite3_get_autocommit(c->db);
			if (again && catalog_patient(c, job))
				STAILQ_INSERT_TAIL(&later, job, link);
			else
				job->done(job, &e);
		}
	}
	ok = ok && sql_run(c->db, &e, SQL_COMMIT, "");
	if (!ok) {
		note_refusal(c, &e);
	} else if (sqlite3_total_changes(c->db) != changes) {
		c->refused = false; /* not all jobs need the disk */
		atomic_store(&c->disk_fails, false);
	}
	if (!ok && !sqlite3_get_autocommit(c->db))
		catalog_exec(c->db, "ROLLBACK", &ignored);
	catalog_changes_done(c, ok);
	while ((job = STAILQ_FIRST(&kept))) {
		STAILQ_REMOVE_HEAD(&kept, link);
		if (!ok && catalog_patient(c, job))
			STAILQ_INSERT_TAIL(jobs, job, link);
		else
			job->done(job, ok ? NULL : &e);
	}
	STAILQ_CONCAT(jobs, &later);
}

static void *catalog_main(void *arg)
{
	struct catalog *c = arg;
	struct jobs jobs = STAILQ_HEAD_INITIALIZER(jobs);

	pthread_setname_np(pthread_self(), "pcapd-catalog");
	sql_keep(c->db);
	while (take_all(c, &jobs))
		run_group(c, &jobs);
	sql_keep(NULL);
	return NULL;
}

static void catalog_post_job(struct catalog *c, struct catalog_job *job,
			     bool catalog_linger)
{
	pthread_mutex_lock(&c->lock);
	bool first = STAILQ_EMPTY(&c->jobs);
	STAILQ_INSERT_TAIL(&c->jobs, job, link);
	if (catalog_linger)
		c->lingering++;
	else
		c->hurry = true;
	/* Who lingers is woken for the first and the last of a group only. */
	if (first || c->hurry || c->lingering >= LINGER_JOBS)
		pthread_cond_signal(&c->posted);
	pthread_mutex_unlock(&c->lock);
}

void catalog_post(struct catalog *c, struct catalog_job *job)
{
	catalog_post_job(c, job, false);
}

void catalog_post_lingering(struct catalog *c, struct catalog_job *job)
{
	catalog_post_job(c, job, true);
}

struct waiting_job {
	struct catalog_job job;
	bool (*run)(sqlite3 *db, void *arg, struct err *e);
	void *arg;
	struct err *e;
	bool ok;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t cond;
	bool finished;
};

static bool waiting_run(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	struct waiting_job *w = (struct waiting_job *)job;

	return w->run(db, w->arg, e);
}

static void waiting_done(struct catalog_job *job, const struct err *e)
{
	struct waiting_job *w = (struct waiting_job *)job;

	pthread_mutex_lock(&w->lock);
	w->ok = !e;
	if (e)
		*w->e = *e;
	w->finished = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

bool catalog_run(struct catalog *c,
		 bool (*run)(sqlite3 *db, void *arg, struct err *e), void *arg,
		 struct err *e)
{
	struct waiting_job w = {
		.job = {.run = waiting_run, .done = waiting_done},
		.run = run,
		.arg = arg,
		.e = e,
	};

	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.cond, NULL);
	catalog_post(c, &w.job);
	pthread_mutex_lock(&w.lock);
	while (!w.finished)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	return w.ok;
}

/* --- open and close --- */

unsigned catalog_version(void)
{
	return schema_version;
}

static bool catalog_migrate(sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e, "PRAGMA user_version", "");

	if (!q)
		return false;
	int got = sql_step(q, e);
	unsigned version = got == 1 ? (unsigned)sqlite3_column_int(q, 0) : 0;
	sqlite3_finalize(q);
	if (got < 0)
		return false;
	if (version > schema_version)
		return err_set(e, ERR_FAILED,
			       "catalog has schema %u, this pcapd knows up to "
			       "%u: it was written by a newer one",
			       version, schema_version);
	for (; version < schema_version; version++) {
		char pragma[64];

		snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %u",
			 version + 1);
		if (!catalog_exec(db, "BEGIN IMMEDIATE", e) ||
		    !catalog_exec(db, schema_migrations[version], e) ||
		    !catalog_exec(db, version == 11 ? SEGMENT_SUM_AGAIN : "",
				  e) ||
		    !catalog_exec(db, pragma, e) ||
		    !catalog_exec(db, "COMMIT", e))
			return false;
	}
	return true;
}

sqlite3 *catalog_connect(const char *path, int flags, struct err *e)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX,
			    wal_index_vfs()) != SQLITE_OK) {
		err_set(e, ERR_FAILED, "open %s: %s", path,
			db ? sqlite3_errmsg(db) : "out of memory");
		sqlite3_close(db);
		return NULL;
	}
	sqlite3_busy_timeout(db, 10000);
	return db;
}

static void catalog_free(struct catalog *c)
{
	sqlite3_close(c->sync_db);
	/* The log stays, with nothing in it if there is room for that. */
	if (c->db)
		sqlite3_wal_checkpoint_v2(
			c->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite3_close(c->db);
	pthread_cond_destroy(&c->posted);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->sync_lock);
	free(c->path);
	free(c);
}

/* The log stays when the last connection goes: on a full disk there is no room
 * to make it again, and what it has reserved is its own. */
static void keep_log(sqlite3 *db)
{
	int on = 1;

	sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
}

/* Commits leave the file alone but for the log; catalog_sync does the rest. */
static bool open_connections(struct catalog *c, struct err *e)
{
	c->db = catalog_connect(c->path,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e);
	if (!c->db)
		return false;
	if (!row_sum_define(c->db, e) || !schema_mend(c->db, e) ||
	    !catalog_exec(c->db, "PRAGMA journal_mode = WAL", e) ||
	    !catalog_exec(c->db, "PRAGMA synchronous = NORMAL", e) ||
	    !catalog_exec(c->db, "PRAGMA wal_autocheckpoint = 0", e) ||
	    !catalog_migrate(c->db, e))
		return err_wrap(e, "%s", c->path);
	schema_reindex(c->db);
	if (!row_sum_keep(c->db, e))
		return false;
	sqlite3_update_hook(c->db, on_change, c);
	c->sync_db = catalog_connect(c->path, SQLITE_OPEN_READWRITE, e);
	keep_log(c->db);
	if (c->sync_db)
		keep_log(c->sync_db);
	return c->sync_db &&
	       catalog_exec(c->sync_db, "PRAGMA synchronous = NORMAL", e);
}

static int open_log(const struct catalog *c)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s-wal", c->path);
	return open(path, O_RDWR | O_CLOEXEC);
}

/*
 * Blocks behind the end of the log: a file that is kept for the purpose and
 * removed in need would be given to whoever writes next, which is not us. The
 * log grows when the catalog cannot, and begins again when it can.
 */
static void catalog_reserve(struct catalog *c)
{
	struct stat st;
	struct statvfs fs;
	int fd = open_log(c);

	if (fd >= 0 && fstat(fd, &st) == 0 && fstatvfs(fd, &fs) == 0) {
		off_t part = (off_t)(fs.f_blocks * fs.f_frsize / RESERVE_PART);
		off_t want = part < RESERVE_BYTES ? part : RESERVE_BYTES;

		/* Where it cannot be had, there is a next time. */
		if (st.st_size + want / 2 > c->reserved &&
		    fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, want) == 0)
			c->reserved = st.st_size + want;
	}
	if (fd >= 0)
		close(fd);
}

/* What is committed is in the log, which is durable without being copied. */
bool catalog_sync_log(const struct catalog *c)
{
	int fd = open_log(c);
	bool ok = fd >= 0 && fdatasync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

struct catalog *catalog_open(const char *path, struct err *e)
{
	struct catalog *c = calloc(1, sizeof(*c));

	if (!c || !(c->path = strdup(path))) {
		free(c);
		err_no_memory(e, "open catalog");
		return NULL;
	}
	STAILQ_INIT(&c->jobs);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->sync_lock, NULL);
	cond_init(&c->posted);
	if (open_connections(c, e)) {
		catalog_reserve(c);
		if (pthread_create(&c->thread, NULL, catalog_main, c) == 0)
			return c;
		err_set(e, ERR_FAILED, "open catalog: cannot make a thread");
	}
	catalog_free(c);
	return NULL;
}

void catalog_close(struct catalog *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_cond_signal(&c->posted);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	assert(STAILQ_EMPTY(&c->jobs));
	catalog_free(c);
}

/* A quota is an I/O error to SQLite. */
static bool catalog_no_room(sqlite3 *db, int rc)
{
	int error = sqlite3_system_errno(db);

	return rc == SQLITE_FULL ||
	       (rc == SQLITE_IOERR && (error == EDQUOT || error == ENOSPC));
}

static bool sync_locked(struct catalog *c, struct err *e)
{
	int pages = 0;
	int rc = sqlite3_wal_checkpoint_v2(
		c->sync_db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, NULL);

	if (rc == SQLITE_OK && pages > LOG_PAGES)
		rc = sqlite3_wal_checkpoint_v2(c->sync_db, NULL,
					       SQLITE_CHECKPOINT_RESTART, NULL,
					       NULL);
	catalog_reserve(c);
	/* Busy: a reader, or another's checkpoint; there is a next time. Full:
	 * the log is as good, and retention needs this to make room. */
	if (rc == SQLITE_OK || rc == SQLITE_BUSY ||
	    (catalog_no_room(c->sync_db, rc) && catalog_sync_log(c)))
		return true;
	if (sql_disk_says_no(c->sync_db))
		atomic_store(&c->disk_fails, true);
	return sql_err(c->sync_db, e, "sync");
}

bool catalog_sync(struct catalog *c, struct err *e)
{
	pthread_mutex_lock(&c->sync_lock);
	bool ok = sync_locked(c, e);
	pthread_mutex_unlock(&c->sync_lock);
	return ok;
}

bool catalog_disk_fails(const struct catalog *c)
{
	return atomic_load(&c->disk_fails);
}

sqlite3 *catalog_reader(struct catalog *c, struct err *e)
{
	sqlite3 *db = catalog_connect(c->path, SQLITE_OPEN_READONLY, e);

	if (!db)
		atomic_store(&c->disk_fails, true);
	if (!db || row_sum_define(db, e))
		return db;
	sqlite3_close(db);
	return NULL;
}
