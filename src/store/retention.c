/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has to go, and who is told. Guarantees the order marked in the catalog,
 * durable, file removed, durable, rows removed, so that after a crash at any
 * point the catalog and the folder tell the same story; that a segment goes
 * only when no hold overlaps it; that a reader gets all of a segment that it
 * has begun, or is told; that what cannot be removed keeps nothing else; and
 * that the log has all that goes. Segments go in the order in which they were
 * stored. What a pass costs depends on what goes and not on what is there: sums
 * are in the catalog, and of each capture only the oldest segments are looked
 * at. Leaves out the open segment of a writer, which is asked to close it when
 * there is nothing else.
 */
#include "store/ledger.h"
#include "store/store_internal.h"

#include "base/log.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* These share commits and syncs. Writers' rows wait for it: a batch of full
 * segments has 8192 rows, some 30 ms. */
#define VICTIMS_MAX 32
/* What cannot be removed is tried again after a while. */
#define ASIDES_MAX 256
#define ASIDE_NS (60 * NS_PER_S)
/* How often the log says what went, where it goes on. */
#define SAY_NS (10 * NS_PER_S)
#define SUMS_MAX 32
/* Bounds are kept to about so small a part. */
#define BOUND_PARTS 8
#define SEGMENT_MIN (64u << 10)
/* For the bounds of a small file system. */
#define DISK_SEGMENT_MIN (1u << 20)
/* With less a disk is full. */
#define FULL_BYTES (1u << 20)
#define FULL_INODES 3

/* --- what there is to know --- */

enum reason {
	REASON_NONE,
	REASON_AGE,
	REASON_BYTES,
	REASON_SPOOL,
	REASON_FLOOR,
	REASON_INODES,
	REASON_FULL,
	REASON_BEGUN,
	REASONS
};

static const char *const reason_text[REASONS] = {
	[REASON_AGE] = "older than keep-age",
	[REASON_BYTES] = "over keep-bytes",
	[REASON_SPOOL] = "over spool-bytes",
	[REASON_FLOOR] = "the disk has less than free-floor free",
	[REASON_INODES] = "the disk has no inodes left",
	[REASON_FULL] = "the disk takes no more",
	[REASON_BEGUN] = "removing them was begun before",
};

struct victim {
	uint64_t capture, first_seq, last_seq;
	uint64_t bytes, packets;
	int64_t min_ns, max_ns, stored_ns;
	enum reason reason;
	bool marked; /* in the catalog, with its row of the ledger */
	bool left;   /* it stays, for now */
};

/* A capture, and what of it would go next. */
struct front {
	uint64_t capture, keep_bytes, bytes;
	int64_t keep_age_ns;
	bool spared;	/* by spool-bytes: an import */
	uint64_t after; /* segments up to this one were looked at */
	bool looked, found;
	struct victim next;
};

/* What is wanted of all captures together. */
struct need {
	uint64_t total, spool_bytes, keep_at_least;
	uint64_t spared; /* of total */
	uint64_t missing_bytes, missing_inodes;
	bool full;  /* a write found no room */
	bool least; /* keep-at-least stops it */
};

struct aside {
	uint64_t capture, first_seq;
	int64_t again_ns; /* CLOCK_MONOTONIC */
};

/* What went and was not said yet. */
struct retention_sum {
	uint64_t capture;
	enum reason reason;
	uint64_t segments, bytes, packets;
};

struct retention {
	struct store *store;
	bool started;
	pthread_t thread;
	/* The thread's, and before it runs store_open's. */
	sqlite3 *db;
	sqlite3_stmt *next;
	struct store_options options; /* of this step */
	struct front *fronts;
	size_t n_fronts;
	struct victim batch[VICTIMS_MAX];
	size_t n;
	bool unfinished; /* rows are marked of which the file may be there */
	struct aside asides[ASIDES_MAX];
	size_t n_asides;
	struct retention_sum sums[SUMS_MAX];
	size_t n_sums;
	int64_t said_ns;
	bool said_least;      /* that keep-at-least stops it */
	char failed[160];     /* the last error that was said */
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t wake;
	bool woken, stopping;
	bool no_room; /* a write found none */
};

static void victim_tell(struct retention *r, const struct victim *v)
{
	readers_tell(r->store->readers,
		     &(struct removed_segment){
			     v->capture, v->first_seq, v->last_seq, v->bytes,
			     v->packets, v->min_ns, v->max_ns});
}

static bool retention_is_stopping(struct retention *r)
{
	pthread_mutex_lock(&r->lock);
	bool stopping = r->stopping;
	pthread_mutex_unlock(&r->lock);
	return stopping;
}

/* --- the log --- */

static void retention_say(struct retention *r, bool all)
{
	int64_t now = monotonic_ns();

	if (!r->n_sums || (!all && now - r->said_ns < SAY_NS))
		return;
	for (size_t i = 0; i < r->n_sums; i++) {
		const struct retention_sum *u = &r->sums[i];

		log_info("capture %" PRIu64 ": removed %" PRIu64 " segment%s, "
			 "%.1f MB, %" PRIu64 " packets: %s",
			 u->capture, u->segments, u->segments == 1 ? "" : "s",
			 (double)u->bytes / 1e6, u->packets,
			 reason_text[u->reason]);
	}
	r->n_sums = 0;
	r->said_ns = now;
}

static void retention_count(struct retention *r, const struct victim *v)
{
	size_t i = 0;

	while (i < r->n_sums && (r->sums[i].capture != v->capture ||
				 r->sums[i].reason != v->reason))
		i++;
	if (i == SUMS_MAX) {
		retention_say(r, true);
		i = 0;
	}
	if (i == r->n_sums)
		r->sums[r->n_sums++] =
			(struct retention_sum){v->capture, v->reason, 0, 0, 0};
	r->sums[i].segments++;
	r->sums[i].bytes += v->bytes;
	r->sums[i].packets += v->packets;
}

/* Every second is too often to say the same. */
static void retention_failed(struct retention *r, const struct err *e)
{
	char now[sizeof(r->failed)];

	snprintf(now, sizeof(now), "%.150s", e->what);
	if (strcmp(now, r->failed) != 0)
		log_err(LOG_LEVEL_WARN, e);
	strcpy(r->failed, now);
}

/* --- what cannot be removed --- */

static bool aside_has(struct retention *r, uint64_t capture, uint64_t first_seq)
{
	int64_t now = monotonic_ns();

	for (size_t i = 0; i < r->n_asides; i++) {
		struct aside *a = &r->asides[i];

		if (a->capture == capture && a->first_seq == first_seq &&
		    a->again_ns > now)
			return true;
	}
	return false;
}

/* The place of the same, else of one whose time is over, else of the oldest. */
static void aside_put(struct retention *r, struct victim *v,
		      const struct err *e)
{
	int64_t now = monotonic_ns();
	char name[SEGMENT_NAME_BYTES];

	/* Unless it cannot be removed then, either. */
	segment_name(name, v->capture, v->first_seq);
	problem_put(r->store->problems, v->capture, name, now + 2 * ASIDE_NS,
		    e->what);
	size_t at = 0;
	bool again = false;

	v->left = true;
	for (size_t i = 0; i < r->n_asides && !again; i++) {
		again = r->asides[i].capture == v->capture &&
			r->asides[i].first_seq == v->first_seq;
		if (again || r->asides[i].again_ns < r->asides[at].again_ns)
			at = i;
	}
	if (!again)
		log_warn("%s; the others go on, and it is tried again each "
			 "minute",
			 e->what);
	if (!again && r->n_asides < ASIDES_MAX)
		at = r->n_asides++;
	r->asides[at] =
		(struct aside){v->capture, v->first_seq, now + ASIDE_NS};
}

static bool aside_fixed(int fd, const char *name)
{
	struct statx x;

	return statx(fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x) ==
		       0 &&
	       (x.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND));
}

/* Asked before the catalog says that it is gone: what stays can be read. */
static bool aside_can_go(struct retention *r, struct victim *v)
{
	char name[SEGMENT_NAME_BYTES], dir[24];
	int fd = r->store->spool_fd;
	struct err e;

	segment_name(name, v->capture, v->first_seq);
	snprintf(dir, sizeof(dir), "%" PRIu64, v->capture);
	errno = 0;
	if (aside_fixed(fd, name) || aside_fixed(fd, dir))
		errno = EPERM;
	else if (faccessat(fd, dir, W_OK | X_OK, AT_EACCESS) == 0 ||
		 errno == ENOENT)
		return true;
	err_errno(&e, "remove expired segment %s", name);
	aside_put(r, v, &e);
	return false;
}

/* --- what goes next --- */

/* ?3: a hold that counts for nothing, or NULL. */
#define NOT_HELD                                                               \
	"NOT EXISTS (SELECT 1 FROM holds h WHERE h.capture = s.capture "       \
	"AND s.max_ns >= h.since_ns AND s.min_ns < h.until_ns "                \
	"AND h.id IS NOT ?3)"
#define VICTIM_COLUMNS                                                         \
	"s.capture, s.first_seq, s.last_seq, s.stored_bytes + s.other_bytes, " \
	"s.packets, s.min_ns, s.max_ns, s.stored_ns"

static void victim_from_row(sqlite3_stmt *q, struct victim *v)
{
	*v = (struct victim){
		.capture = (uint64_t)sqlite3_column_int64(q, 0),
		.first_seq = (uint64_t)sqlite3_column_int64(q, 1),
		.last_seq = (uint64_t)sqlite3_column_int64(q, 2),
		.bytes = (uint64_t)sqlite3_column_int64(q, 3),
		.packets = (uint64_t)sqlite3_column_int64(q, 4),
		.min_ns = sqlite3_column_int64(q, 5),
		.max_ns = sqlite3_column_int64(q, 6),
		.stored_ns = sqlite3_column_int64(q, 7),
	};
}

static bool front_load(struct retention *r, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		r->db, e,
		"SELECT c.id, c.keep_bytes, c.keep_age_ns, k.bytes, "
		"c.savefile FROM "
		"captures c JOIN kept k ON k.capture = c.id "
		"WHERE NOT c.deleted AND k.segments > 0 ORDER BY c.id",
		"");
	int got = -1;

	r->n_fronts = 0;
	while (q && (got = sql_step(q, e)) == 1) {
		struct front *front = vec_push(&r->fronts, &r->n_fronts);

		if (!front) {
			got = -!err_no_memory(e, "retention");
			break;
		}
		*front = (struct front){
			.capture = (uint64_t)sqlite3_column_int64(q, 0),
			.keep_bytes = (uint64_t)sqlite3_column_int64(q, 1),
			.keep_age_ns = sqlite3_column_int64(q, 2),
			.bytes = (uint64_t)sqlite3_column_int64(q, 3),
			.spared = sqlite3_column_int(q, 4) &&
				  r->options.spare_imports,
		};
	}
	sqlite3_finalize(q);
	return got == 0;
}

/* A row that is not closed is a writer's, or of one that gave it up. Before
 * recovery it is not known what is in the file. */
static bool front_is_open(struct retention *r, const struct victim *v,
			  bool closed)
{
	struct store *s = r->store;

	return !closed &&
	       (!atomic_load(&s->recovered) ||
		housekeeper_has_open(s->housekeeper, v->capture, v->first_seq));
}

/* Finds out f->next. */
static bool front_look(struct retention *r, struct front *f, struct err *e)
{
	while (!f->looked) {
		int got = sql_bind(r->next, e, "ii", f->capture, f->after)
				  ? sql_step(r->next, e)
				  : -1;
		bool closed = got == 1 && sqlite3_column_int(r->next, 8);

		if (got == 1)
			victim_from_row(r->next, &f->next);
		sqlite3_reset(r->next);
		if (got < 0)
			return false;
		f->found = got == 1;
		f->after = f->next.first_seq;
		f->looked = !f->found ||
			    (!front_is_open(r, &f->next, closed) &&
			     !aside_has(r, f->capture, f->next.first_seq));
	}
	return true;
}

static void front_take(struct retention *r, struct front *f, enum reason reason)
{
	struct victim *v = &r->batch[r->n++];

	*v = f->next;
	v->reason = reason;
	f->bytes -= v->bytes < f->bytes ? v->bytes : f->bytes;
	f->looked = false;
}

/* What is over the capture's own bounds. */
static bool front_bounds(struct retention *r, struct front *f, int64_t age_ns,
			 struct err *e)
{
	while (r->n < VICTIMS_MAX) {
		bool over = f->keep_bytes && f->bytes > f->keep_bytes;

		if (!over && !f->keep_age_ns)
			return true;
		if (!front_look(r, f, e))
			return false;
		if (!f->found)
			return true;
		bool old = f->keep_age_ns &&
			   f->next.stored_ns < age_ns - f->keep_age_ns;
		if (!over && !old)
			return true;
		front_take(r, f, old ? REASON_AGE : REASON_BYTES);
	}
	return true;
}

/* Of all captures what was stored first; NULL in *out: there is nothing. What
 * is spared goes last, where the disk has to have room, or not at all. */
static bool front_oldest(struct retention *r, bool all, struct front **out,
			 struct err *e)
{
	*out = NULL;
	for (size_t i = 0; i < r->n_fronts; i++) {
		struct front *f = &r->fronts[i];

		if (!front_look(r, f, e))
			return false;
		if (!f->found || (f->spared && !all))
			continue;
		if (!*out || f->spared < (*out)->spared ||
		    (f->spared == (*out)->spared &&
		     f->next.stored_ns < (*out)->next.stored_ns))
			*out = f;
	}
	return true;
}

static enum reason need_reason(const struct need *n)
{
	return n->spool_bytes && n->total - n->spared > n->spool_bytes
		       ? REASON_SPOOL
	       : n->missing_bytes  ? REASON_FLOOR
	       : n->missing_inodes ? REASON_INODES
	       : n->full	   ? REASON_FULL
				   : REASON_NONE;
}

/* What others take of the disk ends there. */
static bool need_is_least(const struct need *n, const struct victim *v)
{
	return n->total < v->bytes || n->total - v->bytes < n->keep_at_least;
}

static bool front_all_bounds(struct retention *r, struct need *n, struct err *e)
{
	enum reason reason;
	struct front *f;

	while (r->n < VICTIMS_MAX && (reason = need_reason(n)) != REASON_NONE) {
		if (!front_oldest(r, reason != REASON_SPOOL, &f, e))
			return false;
		n->least = f && reason != REASON_SPOOL &&
			   need_is_least(n, &f->next);
		if (!f || n->least)
			return true;
		uint64_t bytes = f->next.bytes;
		front_take(r, f, reason);
		bytes = bytes < n->total ? bytes : n->total;
		n->total -= bytes;
		if (f->spared)
			n->spared -= bytes < n->spared ? bytes : n->spared;
		n->missing_bytes -=
			bytes < n->missing_bytes ? bytes : n->missing_bytes;
		n->missing_inodes -= n->missing_inodes > 0;
		n->full = false; /* one, and see */
	}
	return true;
}

/* --- they go --- */

static bool retention_run_mark(sqlite3 *db, void *arg, struct err *e)
{
	struct retention *r = arg;

	for (size_t i = 0; i < r->n; i++) {
		struct victim *v = &r->batch[i];
		struct ledger_row gone = {
			.capture = v->capture,
			.cause = LEDGER_EXPIRED,
			.from_ns = v->min_ns,
			.to_ns = v->max_ns + 1,
			.packets = v->packets,
		};

		if (v->left)
			continue;
		if (!sql_exec(db, e,
			      "UPDATE segments AS s SET expired = 1 WHERE "
			      "s.capture = ?1 AND s.first_seq = ?2 AND "
			      "NOT s.expired AND " NOT_HELD,
			      "ii", v->capture, v->first_seq))
			return false;
		v->left = sqlite3_changes(db) == 0; /* it is held now */
		if (v->left)
			continue;
		if (!rows_ledger(db, &gone, e))
			return false;
		/* Before anyone can see that it is gone. If the commit fails
		 * they are told of a loss that is none, which is the better
		 * mistake. */
		victim_tell(r, v);
	}
	return true;
}

/* Rows of blocks that cannot be removed are nobody's then. */
static bool forget_blocks(sqlite3 *db, struct store *s, const struct victim *v,
			  struct err *e)
{
	if (sql_run(db, e, SQL_DROP_BLOCKS, "iii", v->capture, v->first_seq,
		    v->last_seq))
		return true;
	if (!sql_is_malformed(db))
		return false;
	store_malformed(s);
	return true;
}

static bool forget_one(sqlite3 *db, struct store *s, const struct victim *v,
		       struct err *e)
{
	struct ledger_row gone = {
		.capture = v->capture,
		.cause = LEDGER_EXPIRED,
		.from_ns = v->min_ns,
		.to_ns = v->max_ns + 1,
		.packets = v->packets,
	};

	return (v->marked || rows_ledger(db, &gone, e)) &&
	       forget_blocks(db, s, v, e) &&
	       sql_run(db, e, SQL_DROP_SEGMENT, "ii", v->capture,
		       v->first_seq) &&
	       sql_run(db, e, SQL_EXPIRED_UP_TO, "ii", v->capture, v->last_seq);
}

static bool retention_run_forget(sqlite3 *db, void *arg, struct err *e)
{
	struct retention *r = arg;

	for (size_t i = 0; i < r->n; i++)
		if (!r->batch[i].left &&
		    !forget_one(db, r->store, &r->batch[i], e))
			return false;
	return true;
}

/* The others of the batch go, whatever becomes of this one. A service manager
 * does not wait long: what is left then is marked. */
static void remove_one(struct retention *r, struct victim *v)
{
	char name[SEGMENT_NAME_BYTES];
	struct err e;

	segment_name(name, v->capture, v->first_seq);
	if (retention_is_stopping(r)) {
		v->left = true;
	} else if (unlinkat(r->store->spool_fd, name, 0) == 0) {
		retention_count(r, v);
	} else if (errno != ENOENT) {
		err_errno(&e, "remove expired segment %s", name);
		aside_put(r, v, &e);
	}
}

/* Elsewhere room comes back with the unlink; btrfs gives it back when it
 * commits, and what is asked for meanwhile would be removed for nothing. */
static void remove_settle(struct retention *r)
{
	struct statfs fs;

	if (fstatfs(r->store->spool_fd, &fs) == 0 &&
	    fs.f_type == BTRFS_SUPER_MAGIC)
		syncfs(r->store->spool_fd);
}

/* The second half, also of what a crash interrupted. */
static bool remove_batch(struct retention *r, struct err *e)
{
	uint64_t synced = 0;
	bool ok = true;

	for (size_t i = 0; i < r->n; i++)
		if (!r->batch[i].left)
			remove_one(r, &r->batch[i]);
	/* A file that came back without rows would be taken for a new one. */
	for (size_t i = 0; ok && i < r->n; i++) {
		const struct victim *v = &r->batch[i];

		if (v->left || v->capture == synced)
			continue;
		ok = housekeeper_capture_folder(r->store, v->capture, e);
		synced = v->capture;
	}
	ok = ok && catalog_run(r->store->catalog, retention_run_forget, r, e);
	remove_settle(r);
	return ok;
}

/* pressed: the disk may be too full for the catalog; then the file goes first
 * and the rows when there is room. A crash between makes them rows without a
 * file, which the next start counts as damage. */
static bool retention_expire(struct retention *r, bool pressed, struct err *e)
{
	struct store *s = r->store;

	for (size_t i = 0; i < r->n; i++)
		aside_can_go(r, &r->batch[i]);
	bool marked = catalog_run(s->catalog, retention_run_mark, r, e);
	if (marked)
		r->unfinished = true;
	for (size_t i = 0; i < r->n; i++)
		r->batch[i].marked = marked && !r->batch[i].left;
	marked = marked && catalog_sync(s->catalog, e);
	if (!marked && !pressed)
		return false;
	atomic_store(&s->pressed, !marked);
	for (size_t i = 0; i < r->n; i++)
		if (!r->batch[i].left)
			victim_tell(r, &r->batch[i]);
	atomic_store(&s->identity_old, true); /* expired_seq */
	bool ok = remove_batch(r, e);
	if (ok)
		atomic_store(&s->pressed, false);
	return ok;
}

/* Ends what an error or a crash interrupted. */
static bool retention_finish(struct retention *r, struct err *e)
{
	int got = 0;
	bool all = true;

	while (r->unfinished && all && !retention_is_stopping(r)) {
		sqlite3_stmt *q = sql_query(r->db, e,
					    "SELECT " VICTIM_COLUMNS
					    " FROM segments s WHERE s.expired",
					    "");

		r->n = 0;
		all = false;
		while (q && r->n < VICTIMS_MAX && (got = sql_step(q, e)) == 1) {
			struct victim *v = &r->batch[r->n];

			victim_from_row(q, v);
			all = true;
			v->marked = true;
			v->reason = REASON_BEGUN;
			r->n += !aside_has(r, v->capture, v->first_seq);
		}
		sqlite3_finalize(q);
		if (!q || got < 0 || (r->n && !remove_batch(r, e)))
			return false;
		if (!all)
			r->unfinished = false;
		all = r->n > 0;
	}
	return true;
}

/* --- a pass --- */

static uint64_t floor_of(struct store *s, uint64_t bytes)
{
	struct statvfs fs;

	if (!bytes || fstatvfs(s->spool_fd, &fs) < 0)
		return bytes;
	/* A floor that is too high for the disk would leave nothing. */
	uint64_t half = (uint64_t)fs.f_blocks * fs.f_frsize / 2;
	return bytes < half ? bytes : half;
}

uint64_t store_free_floor(struct store *s)
{
	struct store_options o;

	store_options_now(s, &o);
	return floor_of(s, o.free_floor_bytes);
}

/* full: others find no room. What is not asked for is 0. */
static struct need need_now(struct retention *r, bool full)
{
	struct store *s = r->store;
	struct statvfs fs;
	uint64_t floor = floor_of(s, r->options.free_floor_bytes);
	struct need n = {.spool_bytes = r->options.spool_bytes,
			 .keep_at_least = r->options.keep_at_least_bytes};

	for (size_t i = 0; i < r->n_fronts; i++) {
		n.total += r->fronts[i].bytes;
		if (r->fronts[i].spared)
			n.spared += r->fronts[i].bytes;
	}
	if (!floor || fstatvfs(s->spool_fd, &fs) < 0)
		return n;
	uint64_t free = (uint64_t)fs.f_bavail * fs.f_frsize +
			readers_held_bytes(s->readers);
	n.missing_bytes = free < floor ? floor - free : 0;
	/* btrfs has none, and says 0 of 0. */
	uint64_t inodes =
		fs.f_files / 8 < FULL_INODES ? fs.f_files / 8 : FULL_INODES;
	n.missing_inodes = fs.f_favail < inodes ? inodes - fs.f_favail : 0;
	n.full = full;
	return n;
}

/* For other reasons than the floor: no floor is set, or a commit took it. */
static bool retention_no_room(struct store *s)
{
	struct statvfs fs;

	return fstatvfs(s->spool_fd, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

static int64_t retention_age(struct retention *r)
{
	int64_t doubt_ns, ns = store_age_ns(r->store, &doubt_ns);

	if (doubt_ns)
		log_warn("the clock is ahead of what passed by %.0f s: it was "
			 "set, or pcapd was not there; what is kept by age "
			 "stays until as much has passed, at most a day",
			 (double)doubt_ns / NS_PER_S);
	return ns;
}

/* The next batch. age_ns: now, on the clock of stored_ns. */
static bool retention_collect(struct retention *r, struct need *n,
			      int64_t age_ns, struct err *e)
{
	r->n = 0;
	for (size_t i = 0; i < r->n_fronts; i++)
		if (!front_bounds(r, &r->fronts[i], age_ns, e))
			return false;
	n->total = n->spared = 0;
	for (size_t i = 0; i < r->n_fronts; i++) {
		n->total += r->fronts[i].bytes;
		if (r->fronts[i].spared)
			n->spared += r->fronts[i].bytes;
	}
	return front_all_bounds(r, n, e);
}

static bool retention_connect(struct retention *r, struct err *e)
{
	if (r->db)
		return true;
	r->db = catalog_reader(r->store->catalog, e);
	r->next = r->db ? sql_query(r->db, e,
				    "SELECT " VICTIM_COLUMNS ", s.closed "
				    "FROM segments s WHERE s.capture = ?1 AND "
				    "s.first_seq > ?2 AND NOT s.expired "
				    "AND " NOT_HELD
				    " ORDER BY s.first_seq LIMIT 1",
				    "")
			: NULL;
	return r->next;
}

static void retention_disconnect(struct retention *r)
{
	sqlite3_finalize(r->next);
	sqlite3_close(r->db);
	r->next = NULL;
	r->db = NULL;
}

/* disk: it asks for room. */
static void retention_say_least(struct retention *r, bool least, bool disk)
{
	if (least && !r->said_least)
		log_warn("the disk is full, and keep-at-least leaves nothing "
			 "more to remove");
	r->said_least = least || (disk && r->said_least);
}

/* One batch; *more: there may be another. */
static bool retention_step(struct retention *r, bool full, bool *more,
			   struct err *e)
{
	*more = false;
	store_options_now(r->store, &r->options);
	if (!front_load(r, e))
		return false;
	struct need n = need_now(r, full);
	bool disk = n.missing_bytes || n.missing_inodes || n.full;
	if (!retention_collect(r, &n, retention_age(r), e))
		return false;
	retention_say_least(r, n.least, disk);
	/* What is open can go when it is closed; at start nothing is. */
	if (!r->n && disk && r->store->housekeeper &&
	    (full || retention_no_room(r->store)))
		housekeeper_close_open(r->store->housekeeper);
	if (!r->n)
		return true;
	*more = !disk && !retention_is_stopping(r);
	return retention_expire(r, disk || retention_no_room(r->store), e);
}

/* full: a write found no room. */
static void retention_pass(struct retention *r, bool full)
{
	struct err e = ERR_INIT;
	bool more = true, any = false;
	bool ok = retention_connect(r, &e) && retention_finish(r, &e);

	while (ok && more) {
		ok = retention_step(r, full, &more, &e);
		any = any || r->n;
		full = false;
	}
	if (ok)
		r->failed[0] = '\0';
	else
		retention_failed(r, &e);
	if (!ok)
		retention_disconnect(r);
	retention_say(r, false);
	if (any && r->store->housekeeper)
		housekeeper_now(r->store->housekeeper, false);
}

static void *retention_main(void *arg)
{
	struct retention *r = arg;
	bool stopping = false;

	pthread_setname_np(pthread_self(), "pcapd-retain");
	while (!stopping) {
		pthread_mutex_lock(&r->lock);
		/* Nothing goes by rows that nobody has looked at. */
		while ((!r->woken || !atomic_load(&r->store->recovered)) &&
		       !r->stopping)
			pthread_cond_wait(&r->wake, &r->lock);
		bool full = r->no_room;
		stopping = r->stopping;
		r->woken = r->no_room = false;
		pthread_mutex_unlock(&r->lock);
		if (!stopping)
			retention_pass(r, full);
	}
	retention_say(r, true);
	return NULL;
}

/* --- for the others --- */

struct retention *retention_new(struct store *s, struct err *e)
{
	struct retention *r = calloc(1, sizeof(*r));

	if (!r) {
		err_no_memory(e, "retention");
		return NULL;
	}
	r->store = s;
	r->unfinished = true;
	r->said_ns = monotonic_ns() - SAY_NS;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	return r;
}

bool retention_lacks_room(struct retention *r)
{
	struct err e;

	store_options_now(r->store, &r->options);
	if (!retention_connect(r, &e) || !front_load(r, &e)) {
		log_err(LOG_LEVEL_WARN, &e);
		retention_disconnect(r);
		return false;
	}
	struct need n = need_now(r, false);
	return n.missing_bytes || n.missing_inodes;
}

void retention_make_room(struct retention *r)
{
	if (retention_lacks_room(r))
		retention_pass(r, false);
}

void retention_resume(struct retention *r)
{
	struct err e;

	if (!retention_connect(r, &e) || !retention_finish(r, &e))
		log_err(LOG_LEVEL_WARN, &e);
}

bool retention_start(struct retention *r, struct err *e)
{
	if (pthread_create(&r->thread, NULL, retention_main, r) != 0)
		return err_set(e, ERR_FAILED,
			       "retention: cannot make a thread");
	r->started = true;
	return true;
}

void retention_wake(struct retention *r, bool no_room)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->woken = true;
	r->no_room |= no_room;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

void retention_stop(struct retention *r)
{
	if (!r || !r->started)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	r->started = false;
}

void retention_free(struct retention *r)
{
	if (!r)
		return;
	retention_disconnect(r);
	free(r->fronts);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* --- what would go --- */

/* A look does not change what the clock believes. */
static int64_t rehearsal_age(struct store *s)
{
	int64_t ignored;

	pthread_mutex_lock(&s->lock);
	struct age_clock age = s->age;
	pthread_mutex_unlock(&s->lock);
	return age_now(&age, clocks_now(), &ignored);
}

/* Batch after batch, of which nothing goes. */
static bool rehearsal_run(struct retention *r, enum reason from, enum reason to,
			  struct store_removal *sum, struct err *e)
{
	int64_t age_ns = rehearsal_age(r->store);
	struct need n = need_now(r, false);

	do {
		if (!retention_collect(r, &n, age_ns, e))
			return false;
		for (size_t i = 0; i < r->n; i++) {
			const struct victim *v = &r->batch[i];

			if (v->reason < from || v->reason > to)
				continue;
			sum->segments++;
			sum->bytes += v->bytes;
			sum->packets += v->packets;
		}
	} while (r->n);
	return true;
}

bool store_would_remove_all(struct store *s, const struct store_options *o,
			    struct store_removal *sum, struct err *e)
{
	struct retention *r = retention_new(s, e);

	*sum = (struct store_removal){.segments = 0};
	if (!r)
		return false;
	r->options = *o;
	bool ok = retention_connect(r, e) && front_load(r, e) &&
		  rehearsal_run(r, REASON_SPOOL, REASON_FULL, sum, e);
	retention_free(r);
	return ok;
}

bool store_would_remove(struct store *s, uint64_t id, uint64_t keep_bytes,
			int64_t keep_age_ns, uint64_t without_hold,
			struct store_removal *sum, struct err *e)
{
	struct retention *r = retention_new(s, e);

	*sum = (struct store_removal){.segments = 0};
	if (!r)
		return false;
	bool ok = retention_connect(r, e);
	if (ok && without_hold)
		sqlite3_bind_int64(r->next, 3, (int64_t)without_hold);
	ok = ok && front_load(r, e);
	/* Alone, and with no bounds but these. */
	size_t i = 0;
	while (ok && i < r->n_fronts && r->fronts[i].capture != id)
		i++;
	if (ok && i < r->n_fronts) {
		r->fronts[0] = r->fronts[i];
		r->fronts[0].keep_bytes = keep_bytes;
		r->fronts[0].keep_age_ns = keep_age_ns;
		r->n_fronts = 1;
		ok = rehearsal_run(r, REASON_AGE, REASON_BYTES, sum, e);
	}
	retention_free(r);
	return ok;
}

/* A small file system is one of the bounds: what is open on it cannot go. */
static uint64_t disk_bound(struct store *s)
{
	struct statvfs fs;
	uint64_t floor = store_free_floor(s);

	if (!floor || fstatvfs(s->spool_fd, &fs) < 0)
		return UINT64_MAX;
	uint64_t bound = (uint64_t)fs.f_blocks * fs.f_frsize - floor;
	return bound / BOUND_PARTS > DISK_SEGMENT_MIN
		       ? bound
		       : (uint64_t)DISK_SEGMENT_MIN * BOUND_PARTS;
}

uint64_t retain_segment_bytes(struct store *s, const struct capture_row *row)
{
	struct store_options o;
	uint64_t bound = row->keep_bytes ? row->keep_bytes : UINT64_MAX;
	uint64_t disk = disk_bound(s);

	store_options_now(s, &o);
	if (o.spool_bytes && o.spool_bytes < bound)
		bound = o.spool_bytes;
	if (disk < bound)
		bound = disk;
	if (bound == UINT64_MAX)
		return bound;
	return bound / BOUND_PARTS > SEGMENT_MIN ? bound / BOUND_PARTS
						 : SEGMENT_MIN;
}

/* --- bounds and rates --- */

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
