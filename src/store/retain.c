/*
 * What has to go, and who is told. Guarantees the order marked in the catalog,
 * durable, file removed, durable, rows removed, so that after a crash at any
 * point the catalog and the folder tell the same story; that a segment goes
 * only when no hold overlaps it; and that a reader gets all of a segment that
 * it has begun, or is told. Leaves out the open segment of a writer.
 */
#include "ledger.h"
#include "spool.h"

#include "../log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* In one pass, which syncs have to wait for. */
#define VICTIMS_MAX 64
/* Bounds are kept to about so small a part. */
#define BOUND_PARTS 8
#define SEGMENT_MIN (64u << 10)
/* With less a disk is full. */
#define FULL_BYTES (1u << 20)

/* --- readers --- */

struct readers {
	pthread_mutex_t lock; /* guards everything below */
	struct reader *first;
};

struct readers *readers_new(void)
{
	struct readers *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void readers_free(struct readers *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void readers_add(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	r->next = l->first;
	l->first = r;
	pthread_mutex_unlock(&l->lock);
}

void readers_remove(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	struct reader **at = &l->first;
	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
	pthread_mutex_unlock(&l->lock);
}

bool readers_hold(struct readers *l, struct reader *r, uint64_t segment,
		  uint64_t last)
{
	pthread_mutex_lock(&l->lock);
	/* Again the one that it holds: it has more blocks, or not. */
	bool ok = r->held == segment || r->position <= last;
	if (r->held != segment) {
		r->held = ok ? segment : 0;
		r->held_gone = 0;
	}
	if (ok && r->position <= last)
		r->position = last + 1;
	pthread_mutex_unlock(&l->lock);
	return ok;
}

void readers_pass(struct readers *l, struct reader *r, uint64_t position)
{
	pthread_mutex_lock(&l->lock);
	if (position > r->position)
		r->position = position;
	pthread_mutex_unlock(&l->lock);
}

uint64_t readers_expired(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	uint64_t packets = r->expired;
	r->expired = 0;
	pthread_mutex_unlock(&l->lock);
	return packets;
}

/* --- victims --- */

struct victim {
	struct readers *readers;
	uint64_t capture, first_seq, last_seq;
	uint64_t bytes, packets;
	int64_t min_ns, max_ns;
};

static void tell_readers(struct readers *l, const struct victim *v)
{
	pthread_mutex_lock(&l->lock);
	for (struct reader *r = l->first; r; r = r->next) {
		if (r->capture != v->capture || v->first_seq > r->end_seq)
			continue;
		if (r->held == v->first_seq) {
			r->held_gone = v->bytes;
		} else if (r->position <= v->last_seq) {
			r->position = v->last_seq + 1;
			if (v->max_ns >= r->since_ns && v->min_ns < r->until_ns)
				r->expired += v->packets;
		}
	}
	pthread_mutex_unlock(&l->lock);
}

/* Space that comes back when the readers of removed files are done. */
static uint64_t held_bytes(struct readers *l)
{
	uint64_t sum = 0;

	pthread_mutex_lock(&l->lock);
	for (const struct reader *r = l->first; r; r = r->next) {
		const struct reader *same = l->first;

		while (same != r &&
		       (same->capture != r->capture || same->held != r->held))
			same = same->next;
		if (same == r)
			sum += r->held_gone;
	}
	pthread_mutex_unlock(&l->lock);
	return sum;
}

#define NOT_HELD                                                               \
	"NOT EXISTS (SELECT 1 FROM holds h WHERE h.capture = s.capture "       \
	"AND s.max_ns >= h.since_ns AND s.min_ns < h.until_ns)"
/* Its writer has gone on to another, also when it could not close it. */
#define LEFT                                                                   \
	"(s.closed OR EXISTS (SELECT 1 FROM segments n WHERE n.capture = "     \
	"s.capture AND n.first_seq > s.last_seq)) "
#define VICTIM                                                                 \
	"SELECT s.capture, s.first_seq, s.last_seq, "                          \
	"s.stored_bytes + s.other_bytes, s.packets, s.min_ns, s.max_ns "       \
	"FROM segments s JOIN captures c ON c.id = s.capture "                 \
	"WHERE " LEFT "AND NOT s.expired AND NOT c.deleted AND " NOT_HELD
/* Of a savefile the time of the import counts. */
#define STORED_NS "iif(c.savefile, max(s.made_ns, s.max_ns), s.max_ns)"

/* 1 found, 0 none, -1 error */
static int find_victim(sqlite3_stmt *q, struct victim *v, struct err *e)
{
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		*v = (struct victim){
			NULL,
			(uint64_t)sqlite3_column_int64(q, 0),
			(uint64_t)sqlite3_column_int64(q, 1),
			(uint64_t)sqlite3_column_int64(q, 2),
			(uint64_t)sqlite3_column_int64(q, 3),
			(uint64_t)sqlite3_column_int64(q, 4),
			sqlite3_column_int64(q, 5),
			sqlite3_column_int64(q, 6),
		};
	sqlite3_finalize(q);
	return got;
}

static int over_age(sqlite3 *db, struct victim *v, struct err *e)
{
	return find_victim(sql_query(db, e,
				     VICTIM
				     " AND c.keep_age_ns > 0 AND " STORED_NS
				     " < ?1 - c.keep_age_ns "
				     "ORDER BY s.capture, s.first_seq LIMIT 1",
				     "i", realtime_ns()),
			   v, e);
}

static int over_bytes(sqlite3 *db, struct victim *v, struct err *e)
{
	return find_victim(
		sql_query(db, e,
			  VICTIM " AND c.keep_bytes > 0 AND c.keep_bytes < "
				 "(SELECT sum(o.stored_bytes + o.other_bytes) "
				 "FROM segments o WHERE o.capture = c.id AND "
				 "NOT o.expired) "
				 "ORDER BY s.capture, s.first_seq LIMIT 1",
			  ""),
		v, e);
}

static int over_spool(sqlite3 *db, uint64_t bound, struct victim *v,
		      struct err *e)
{
	return find_victim(
		sql_query(db, e,
			  VICTIM " AND ?1 < (SELECT sum(o.stored_bytes + "
				 "o.other_bytes) FROM segments o WHERE NOT "
				 "o.expired) "
				 "ORDER BY " STORED_NS ", s.first_seq LIMIT 1",
			  "i", bound),
		v, e);
}

static int oldest(sqlite3 *db, struct victim *v, struct err *e)
{
	return find_victim(sql_query(db, e,
				     VICTIM " ORDER BY " STORED_NS
					    ", s.first_seq LIMIT 1",
				     ""),
			   v, e);
}

/* --- one goes --- */

static bool run_mark(sqlite3 *db, void *arg, struct err *e)
{
	const struct victim *v = arg;
	struct ledger_row gone = {
		.capture = v->capture,
		.cause = LEDGER_EXPIRED,
		.from_ns = v->min_ns,
		.to_ns = v->max_ns + 1,
		.packets = v->packets,
	};

	if (!sql_exec(db, e,
		      "UPDATE segments AS s SET expired = 1 WHERE "
		      "s.capture = ?1 AND s.first_seq = ?2 AND " NOT_HELD,
		      "ii", v->capture, v->first_seq))
		return false;
	if (sqlite3_changes(db) == 0)
		return err_set(e, ERR_STATE, "it is held now");
	if (!rows_ledger(db, &gone, e))
		return false;
	/* Before anyone can see that it is gone. If the commit fails they are
	 * told of a loss that is none, which is the better mistake. */
	tell_readers(v->readers, v);
	return true;
}

static bool run_forget(sqlite3 *db, void *arg, struct err *e)
{
	const struct victim *v = arg;

	return sql_exec(db, e,
			"DELETE FROM blocks WHERE capture = ?1 AND "
			"segment = ?2 AND seq BETWEEN ?2 AND ?3",
			"iii", v->capture, v->first_seq, v->last_seq) &&
	       sql_exec(db, e,
			"DELETE FROM segments WHERE capture = ?1 AND "
			"first_seq = ?2",
			"ii", v->capture, v->first_seq) &&
	       sql_exec(db, e,
			"UPDATE captures SET expired_seq = max(expired_seq, "
			"?2) WHERE id = ?1",
			"ii", v->capture, v->last_seq);
}

/* The second half, also of one that a crash interrupted. */
static bool remove_marked(struct store *s, struct victim *v, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];

	segment_name(name, v->capture, v->first_seq);
	if (unlinkat(s->spool_fd, name, 0) < 0 && errno != ENOENT)
		return err_errno(e, "remove expired segment %s", name);
	/* A file that came back without rows would be taken for a new one. */
	if (!sync_capture_folder(s, v->capture, e))
		return false;
	return catalog_run(s->catalog, run_forget, v, e);
}

/* pressed: the disk may be too full for the catalog; then the file goes first
 * and the rows when there is room. A crash between makes them rows without a
 * file, which the next start counts as damage. */
static bool expire(struct store *s, struct victim *v, bool pressed,
		   struct err *e)
{
	v->readers = s->readers;
	bool marked = catalog_run(s->catalog, run_mark, v, e);

	if (!marked && e->kind == ERR_STATE)
		return true;
	if (marked)
		s->retaining = true;
	marked = marked && catalog_sync(s->catalog, e);
	if (!marked && !pressed)
		return false;
	tell_readers(s->readers, v);
	atomic_store(&s->identity_old, true); /* expired_seq */
	return remove_marked(s, v, e);
}

static int marked_victim(sqlite3 *db, struct victim *v, struct err *e)
{
	return find_victim(
		sql_query(db, e,
			  "SELECT s.capture, s.first_seq, s.last_seq, 0, 0, 0, "
			  "0 FROM segments s WHERE s.expired LIMIT 1",
			  ""),
		v, e);
}

/* --- a pass --- */

static uint64_t missing_bytes(struct store *s, uint64_t free_floor)
{
	struct statvfs fs;

	if (!free_floor || fstatvfs(s->spool_fd, &fs) < 0)
		return 0;
	/* A floor that is too high for the disk would leave nothing. */
	uint64_t half = (uint64_t)fs.f_blocks * fs.f_frsize / 2;
	if (free_floor > half)
		free_floor = half;
	uint64_t have =
		(uint64_t)fs.f_bavail * fs.f_frsize + held_bytes(s->readers);
	return have < free_floor ? free_floor - have : 0;
}

/* For other reasons than the floor: no floor is set, or a commit took it. */
static bool no_room(struct store *s)
{
	struct statvfs fs;

	return fstatvfs(s->spool_fd, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

/* Ends what an error interrupted. */
static bool remove_all_marked(struct store *s, sqlite3 *db, struct err *e)
{
	struct victim v;
	int got = 0;

	while (s->retaining && (got = marked_victim(db, &v, e)) == 1)
		if (!remove_marked(s, &v, e))
			return false;
	if (got == 0)
		s->retaining = false;
	return got == 0;
}

static bool retain_pass(struct store *s, sqlite3 *db, struct err *e)
{
	struct store_options o;
	struct victim v;

	store_options_now(s, &o);
	uint64_t missing = missing_bytes(s, o.free_floor_bytes);
	for (int i = 0; i < VICTIMS_MAX; i++) {
		int got = over_age(db, &v, e);

		if (got == 0)
			got = over_bytes(db, &v, e);
		if (got == 0 && o.spool_bytes)
			got = over_spool(db, o.spool_bytes, &v, e);
		if (got == 0 && missing)
			got = oldest(db, &v, e);
		if (got <= 0)
			return got == 0;
		if (!expire(s, &v, missing > 0 || no_room(s), e))
			return false;
		missing -= missing < v.bytes ? missing : v.bytes;
	}
	sync_now(s->sync, false);
	return true;
}

void retain(struct store *s)
{
	struct err e;

	if (s->repairing)
		return;
	sqlite3 *db = catalog_reader(s->catalog, &e);
	if (!db || !remove_all_marked(s, db, &e) || !retain_pass(s, db, &e))
		log_err(LOG_LEVEL_WARN, &e);
	sqlite3_close(db);
}

bool retain_resume(struct store *s, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);

	s->retaining = true;
	bool ok = db && remove_all_marked(s, db, e);
	sqlite3_close(db);
	return ok;
}

uint64_t retain_segment_bytes(struct store *s, const struct capture_row *row)
{
	struct store_options o;
	uint64_t bound = row->keep_bytes ? row->keep_bytes : UINT64_MAX;

	store_options_now(s, &o);
	if (o.spool_bytes && o.spool_bytes < bound)
		bound = o.spool_bytes;
	if (bound == UINT64_MAX)
		return bound;
	return bound / BOUND_PARTS > SEGMENT_MIN ? bound / BOUND_PARTS
						 : SEGMENT_MIN;
}

/* --- bounds and rates --- */

struct keep_change {
	uint64_t id, keep_bytes;
	int64_t keep_age_ns;
};

static bool run_keep(sqlite3 *db, void *arg, struct err *e)
{
	const struct keep_change *c = arg;

	return sql_exec(db, e,
			"UPDATE captures SET keep_bytes = ?2, keep_age_ns = ?3 "
			"WHERE id = ?1",
			"iii", c->id, c->keep_bytes, c->keep_age_ns);
}

bool store_set_keep(struct store *s, uint64_t id, uint64_t keep_bytes,
		    int64_t keep_age_ns, struct err *e)
{
	struct keep_change c = {id, keep_bytes, keep_age_ns};

	if (!catalog_run(s->catalog, run_keep, &c, e))
		return false;
	identity_changed(s);
	return true;
}

bool store_rate(struct store *s, uint64_t id, struct store_rate *r,
		struct err *e)
{
	int64_t now = realtime_ns(), day = 86400 * NS_PER_S;
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(sum(stored_bytes + other_bytes)"
			       ", 0), coalesce(min(made_ns), ?2) FROM segments "
			       "WHERE capture = ?1 AND made_ns BETWEEN ?2 - ?3 "
			       "AND ?2",
			       "iii", id, now, day)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok) {
		r->bytes = (uint64_t)sqlite3_column_int64(q, 0);
		r->over_ns = now - sqlite3_column_int64(q, 1);
		r->bytes_per_day =
			r->over_ns > 0
				? (uint64_t)((double)r->bytes * (double)day /
					     (double)r->over_ns)
				: 0;
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}
