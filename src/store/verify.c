/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows that were altered on disk, and what a start leaves for later of a spool
 * with many segments. Guarantees that nobody reads by rows that are wrong, once
 * verify_wait has returned, and that nothing expires by them. Leaves out
 * segments without a sum, of older versions, which repair gives one.
 */
#include "store/verify.h"

#include "base/log.h"
#include "base/vec.h"
#include "store/row_sum.h"
#include "store/salvage.h"
#include "store/schema_state.h"
#include "store/segment_scan.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct verify {
	struct store *store;
	struct capture_row *rows;
	uint64_t *before; /* of each the first block that a start may write */
	size_t n;
	pthread_t thread;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t step;
	size_t done[VERIFY_STAGES]; /* captures before it are */
};

/* Closed segments whose blocks are not those that were added: an array to
 * free(). */
static bool find_altered(sqlite3 *db, uint64_t id, uint64_t **segments,
			 size_t *n, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT first_seq FROM segments AS s WHERE capture = ?1 AND "
		"closed AND NOT expired AND blocks_sum IS NOT NULL AND "
		"blocks_sum IS NOT (SELECT row_sum_total(" BLOCK_COLUMNS ") "
		"FROM blocks b WHERE b.capture = s.capture AND b.seq BETWEEN "
		"s.first_seq AND s.last_seq AND b.segment = s.first_seq)",
		"i", id);
	int got = -1;

	*segments = NULL;
	*n = 0;
	while (q && (got = sql_step(q, e)) == 1) {
		uint64_t *one = vec_push(segments, n);

		if (!one) {
			got = -!err_no_memory(e, "verify");
			break;
		}
		*one = (uint64_t)sqlite3_column_int64(q, 0);
	}
	sqlite3_finalize(q);
	return got == 0;
}

bool verify_capture(struct store *s, const struct capture_row *row,
		    struct err *e)
{
	uint64_t *segments = NULL;
	size_t n = 0;
	sqlite3 *db = store_reader(s, e);
	bool ok = db && find_altered(db, row->id, &segments, &n, e);
	/* Who reads these rows takes the footers. */
	if (db && !ok && sql_is_malformed(db)) {
		store_malformed(s);
		ok = true;
	}
	sqlite3_close(db);
	for (size_t i = 0; i < n && !atomic_load(&s->stopping); i++) {
		log_warn("capture %" PRIu64 ": the catalog's rows of the "
			 "blocks of segment %" PRIu64 " were altered; what its "
			 "file says is taken",
			 row->id, segments[i]);
		recover_again(s, row, segments[i]);
	}
	free(segments);
	return ok || err_wrap(e, "verify capture %" PRIu64, row->id);
}

/* A start goes by the names and lengths of files; nobody has read them. What
 * lies there instead of one is put aside, and told. */
static void verify_place(struct store *s, const struct capture_row *row,
			 uint64_t first_seq)
{
	char name[SEGMENT_NAME_BYTES];

	segment_name(name, row->id, first_seq);
	int fd = openat(s->spool_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	bool foreign = segment_is_foreign(fd, row->uuid, row->id, first_seq);
	close(fd);
	if (foreign)
		recover_again(s, row, first_seq);
}

static bool verify_places(struct store *s, const struct capture_row *row,
			  struct err *e)
{
	struct dirent **files;
	uint64_t first_seq;
	int n = segment_list(s->spool_fd, row->id, &files);

	if (n < 0)
		return errno == ENOENT ||
		       err_errno(e, "read folder %" PRIu64 " of the spool",
				 row->id);
	for (int i = 0; i < n; i++) {
		if (!atomic_load(&s->stopping) &&
		    segment_parse_name(files[i]->d_name, &first_seq))
			verify_place(s, row, first_seq);
		free(files[i]);
	}
	free(files);
	return true;
}

static bool verify_stage(struct verify *v, enum verify_stage stage, size_t i,
			 struct err *e)
{
	struct store *s = v->store;

	switch (stage) {
	case VERIFY_SEGMENTS:
		return recover_rest(s, &v->rows[i], v->before[i], e);
	case VERIFY_BLOCKS:
		return verify_capture(s, &v->rows[i], e);
	default:
		return verify_places(s, &v->rows[i], e);
	}
}

static void verify_done(struct verify *v, enum verify_stage stage, size_t n)
{
	pthread_mutex_lock(&v->lock);
	v->done[stage] = n;
	pthread_cond_broadcast(&v->step);
	pthread_mutex_unlock(&v->lock);
}

static void verify_each(struct verify *v, enum verify_stage stage)
{
	struct err e;

	for (size_t i = 0; i < v->n && !atomic_load(&v->store->stopping); i++) {
		bool ok = verify_stage(v, stage, i, &e);

		if (atomic_load(&v->store->stopping))
			return;
		if (!ok)
			log_err(LOG_LEVEL_ERROR, &e);
		verify_done(v, stage, i + 1);
	}
}

/* What a start with few segments does before captures resume. */
static void verify_segments(struct verify *v)
{
	struct store *s = v->store;
	struct err e;

	if (!recover_altered(s, &e) && !atomic_load(&s->stopping))
		log_err(LOG_LEVEL_ERROR, &e);
	verify_each(v, VERIFY_SEGMENTS);
	if (atomic_load(&s->stopping))
		return;
	if (!store_resume_deletes(s, &e))
		log_err(LOG_LEVEL_WARN, &e);
	atomic_store(&s->recovered, true);
	retention_wake(s->retention, false);
}

/* A row that is not found, or says something else, is a loss that nobody is
 * told of. */
void verify_ledger(struct store *s)
{
	struct err e = ERR_INIT;
	sqlite3 *db = store_reader(s, &e);
	bool malformed = db && salvage_is_malformed(db);
	struct catalog *c = s->catalog;

	if (malformed)
		store_malformed(s);
	/* Of one that is malformed the next start makes all of them. */
	bool ok = db && schema_reindex_table(c, db, "ledger", &e) &&
		  (malformed || (schema_reindex_table(c, db, "imports", &e) &&
				 schema_reindex_table(c, db, "audit", &e))) &&
		  ledger_file_verify(s, db, &e);

	if (!ok && !atomic_load(&s->stopping))
		log_err(LOG_LEVEL_WARN, &e);
	sqlite3_close(db);
}

static void *verify_main(void *arg)
{
	struct verify *v = arg;
	struct store *s = v->store;
	struct err e;

	pthread_setname_np(pthread_self(), "pcapd-verify");
	verify_ledger(s);
	if (!atomic_load(&s->recovered))
		verify_segments(v);
	else if (!atomic_load(&s->stopping))
		verify_done(v, VERIFY_SEGMENTS, v->n);
	verify_each(v, VERIFY_BLOCKS);
	verify_each(v, VERIFY_PLACES);
	if (!store_end_deletes(s, &e) && !atomic_load(&s->stopping))
		log_err(LOG_LEVEL_WARN, &e);
	return NULL;
}

static void verify_free(struct verify *v)
{
	for (size_t i = 0; i < v->n; i++)
		capture_row_done(&v->rows[i]);
	free(v->rows);
	free(v->before);
	pthread_cond_destroy(&v->step);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static bool verify_bounds(struct verify *v, struct err *e)
{
	struct store_newest newest;

	v->before = calloc(v->n + 1, sizeof(*v->before));
	if (!v->before)
		return err_no_memory(e, "verify");
	for (size_t i = 0; i < v->n; i++) {
		if (!store_newest(v->store, v->rows[i].id, &newest, e))
			return false;
		v->before[i] = newest.next_seq;
	}
	return true;
}

struct verify *verify_start(struct store *s, struct err *e)
{
	struct verify *v = calloc(1, sizeof(*v));

	if (!v) {
		err_no_memory(e, "verify");
		return NULL;
	}
	v->store = s;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->step, NULL);
	if (store_captures(s, &v->rows, &v->n, e) && verify_bounds(v, e)) {
		if (pthread_create(&v->thread, NULL, verify_main, v) == 0)
			return v;
		err_set(e, ERR_FAILED, "verify: cannot make a thread");
	}
	verify_free(v);
	return NULL;
}

void verify_stop(struct verify *v)
{
	if (!v)
		return;
	store_end_waits(v->store);
	pthread_join(v->thread, NULL);
	verify_free(v);
}

void store_end_waits(struct store *s)
{
	struct verify *v = s->verify;

	atomic_store(&s->stopping, true);
	housekeeper_stop_waiting(s->housekeeper);
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	pthread_cond_broadcast(&v->step);
	pthread_mutex_unlock(&v->lock);
}

bool verify_wait(struct verify *v, uint64_t capture, enum verify_stage stage,
		 struct err *e)
{
	size_t at = 0;

	if (!v)
		return true;
	while (at < v->n && v->rows[at].id != capture)
		at++;
	pthread_mutex_lock(&v->lock);
	while (at < v->n && v->done[stage] <= at &&
	       !atomic_load(&v->store->stopping))
		pthread_cond_wait(&v->step, &v->lock);
	bool done = at == v->n || v->done[stage] > at;
	pthread_mutex_unlock(&v->lock);
	return done || err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
}
