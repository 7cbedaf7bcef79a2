/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger's rows. Guarantees that what touches is one row, so that a
 * capture that runs for a year has some thousand of them, and that an interval
 * is never joined over one that is not its own. Leaves out when to add what:
 * see ledger.h.
 */
#include "store/ledger.h"

#include "base/vec.h"

#include "packet/block.h"
#include "store/ledger_writer.h"
#include "store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Rows are joined when so little lies between them, up to such a length: long
 * rows say less about when. */
#define JOIN_NS (NS_PER_S / 2)
#define ROW_NS (3600 * NS_PER_S)
/* Many rows fill the catalog. Of one cause there are some so many within
 * ROW_NS; what comes more often is joined over what is between. */
#define ROWS_DENSE 64
/* And so many in all: then the oldest are joined. */
#define ROWS_MAX 10000

static const struct {
	const char *name;
	bool gap, joined;
} causes[LEDGER_CAUSES] = {
	[LEDGER_RECEIVED] = {"received", false, true},
	[LEDGER_KERNEL] = {"kernel", true, true},
	[LEDGER_INTERFACE] = {"interface", true, true},
	[LEDGER_MEMORY] = {"memory", true, true},
	[LEDGER_DISK] = {"disk", true, true},
	[LEDGER_STOPPED] = {"stopped", true, false},
	[LEDGER_RESTART] = {"restart", true, false},
	[LEDGER_DOWN] = {"down", true, false},
	[LEDGER_DAMAGE] = {"damage", true, false},
	[LEDGER_CLOCK] = {"clock", false, false},
	[LEDGER_EXPIRED] = {"expired", true, true},
	[LEDGER_EXCLUDED] = {"excluded", false, false},
	[LEDGER_IMPORT] = {"import", true, false},
};

const char *ledger_cause_name(enum ledger_cause cause)
{
	bool known = (unsigned)cause < LEDGER_CAUSES && causes[cause].name;

	return known ? causes[cause].name : "unknown";
}

/* Packets may be missing because of it. */
static bool ledger_is_gap(enum ledger_cause cause)
{
	return (unsigned)cause >= LEDGER_CAUSES || causes[cause].gap;
}

#define LEDGER_COLUMNS "capture, cause, from_ns, to_ns, packets, detail"
#define LEDGER_READ LEDGER_COLUMNS ", id"

static void ledger_from_row(sqlite3_stmt *q, struct ledger_row *r)
{
	const unsigned char *detail = sqlite3_column_text(q, 5);

	r->capture = (uint64_t)sqlite3_column_int64(q, 0);
	r->cause = (enum ledger_cause)sqlite3_column_int(q, 1);
	r->from_ns = sqlite3_column_int64(q, 2);
	r->to_ns = sqlite3_column_int64(q, 3);
	r->packets = (uint64_t)sqlite3_column_int64(q, 4);
	snprintf(r->detail, sizeof(r->detail), "%s",
		 detail ? (const char *)detail : "");
	r->id = sqlite3_column_int64(q, 6);
}

/* --- adding --- */

/* 1 there is one, 0 none, -1 error. */
static int ledger_newest(sqlite3 *db, const struct ledger_row *r,
			 struct ledger_row *found, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT " LEDGER_READ " FROM ledger WHERE "
		"capture = ?1 AND cause = ?2 ORDER BY id DESC LIMIT 1",
		"ii", r->capture, (int64_t)r->cause);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		ledger_from_row(q, found);
	sqlite3_finalize(q);
	return got;
}

/* Whoever reads damage finds it again. */
int rows_known_damage(sqlite3 *db, const struct ledger_row *r, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT 1 FROM ledger WHERE capture = ?1 AND "
		"cause = ?2 AND from_ns <= ?3 AND to_ns >= ?4 "
		"LIMIT 1",
		"iiii", r->capture, (int64_t)r->cause, r->from_ns, r->to_ns);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

/* Segments that are still there between what expired before and now: a range
 * that is held. */
static int held_between(sqlite3 *db, const struct ledger_row *before,
			const struct ledger_row *r, struct err *e)
{
	sqlite3_stmt *q =
		sql_query(db, e,
			  "SELECT 1 FROM segments WHERE capture = ?1 "
			  "AND max_ns >= ?2 AND min_ns < ?3 LIMIT 1",
			  "iii", r->capture, before->to_ns, r->from_ns);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

bool ledger_joins(const struct ledger_row *before, const struct ledger_row *r)
{
	int64_t most = r->cause == LEDGER_RECEIVED ? 0 : JOIN_NS, between;

	return causes[r->cause].joined && before->capture == r->capture &&
	       before->cause == r->cause && r->to_ns >= r->from_ns &&
	       r->from_ns >= before->from_ns && r->to_ns != LEDGER_OPEN &&
	       !__builtin_sub_overflow(r->from_ns, before->to_ns, &between) &&
	       between <= most &&
	       !__builtin_sub_overflow(r->to_ns, before->from_ns, &between) &&
	       between <= ROW_NS && strcmp(before->detail, r->detail) == 0;
}

bool ledger_is_like(const struct ledger_row *before, const struct ledger_row *r)
{
	int64_t between;

	return ledger_is_gap(r->cause) && before->capture == r->capture &&
	       before->cause == r->cause && before->to_ns != LEDGER_OPEN &&
	       r->from_ns >= before->from_ns && r->to_ns >= r->from_ns &&
	       !__builtin_sub_overflow(r->from_ns, before->from_ns, &between) &&
	       between <= ROW_NS && strcmp(before->detail, r->detail) == 0;
}

/* There are many like r, which was found to be like the newest. */
static int is_dense(sqlite3 *db, const struct ledger_row *r, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT from_ns >= ?3 FROM ledger WHERE capture = ?1 AND "
		"cause = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?4",
		"iiii", r->capture, (int64_t)r->cause, r->from_ns - ROW_NS,
		(int64_t)ROWS_DENSE - 1);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		got = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return got;
}

/* What expired is one interval, however long, up to what is held. */
static int ledger_touches(sqlite3 *db, const struct ledger_row *before,
			  const struct ledger_row *r, struct err *e)
{
	if (r->cause != LEDGER_EXPIRED)
		return ledger_joins(before, r)	   ? 1
		       : ledger_is_like(before, r) ? is_dense(db, r, e)
						   : 0;
	if (r->from_ns < before->from_ns || strcmp(before->detail, r->detail))
		return 0;
	int held = held_between(db, before, r, e);
	return held < 0 ? -1 : !held;
}

/* The oldest row goes; of gaps the next one covers it, and what is between. */
static bool join_oldest(sqlite3 *db, const struct ledger_row *r, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT " LEDGER_READ
				    " FROM ledger WHERE capture = ?1 "
				    "AND cause = ?2 ORDER BY id LIMIT 2",
				    "ii", r->capture, (int64_t)r->cause);
	struct ledger_row first, next;
	int got = q ? sql_step(q, e) : -1;

	if (got == 1) {
		ledger_from_row(q, &first);
		got = sql_step(q, e);
	}
	if (got == 1)
		ledger_from_row(q, &next);
	sqlite3_finalize(q);
	if (got != 1)
		return got == 0;
	return (r->cause == LEDGER_CLOCK || r->cause == LEDGER_EXCLUDED ||
		sql_exec(db, e,
			 "UPDATE ledger SET from_ns = min(from_ns, ?2), "
			 "to_ns = max(to_ns, ?3), packets = packets + ?4 "
			 "WHERE id = ?1",
			 "iiii", next.id, first.from_ns, first.to_ns,
			 first.packets)) &&
	       sql_exec(db, e, "DELETE FROM ledger WHERE id = ?1", "i",
			first.id);
}

static int is_full(sqlite3 *db, const struct ledger_row *r, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT count(*) > ?3 FROM ledger WHERE capture = ?1 "
		"AND cause = ?2",
		"iii", r->capture, (int64_t)r->cause, (int64_t)ROWS_MAX);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		got = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return got;
}

static bool ledger_insert(sqlite3 *db, const struct ledger_row *r,
			  struct err *e)
{
	/* A capture that was deleted meanwhile needs no rows. */
	if (!sql_run(db, e, SQL_ADD_LOSS, "iiiiit", r->capture,
		     (int64_t)r->cause, r->from_ns, r->to_ns, r->packets,
		     r->detail))
		return false;
	int full = is_full(db, r, e);
	return full == 0 || (full == 1 && join_oldest(db, r, e));
}

static bool ledger_extend(sqlite3 *db, int64_t id, const struct ledger_row *r,
			  struct err *e)
{
	return sql_run(db, e, SQL_EXTEND_LOSS, "iiiii", id, r->packets,
		       r->to_ns, LEDGER_OPEN, (int64_t)LEDGER_RECEIVED);
}

bool rows_ledger(sqlite3 *db, const struct ledger_row *r, struct err *e)
{
	struct ledger_row before;
	int found = ledger_newest(db, r, &before, e);

	if (found < 0)
		return false;
	/* An import that broke off has no end that is known, and the next one
	 * does not give it any. */
	bool open = found && before.to_ns == LEDGER_OPEN &&
		    r->cause != LEDGER_IMPORT;
	if (r->from_ns == LEDGER_ANY || open) {
		/* It ends what is open, or goes on with it. */
		return !open || r->to_ns == LEDGER_OPEN ||
		       ledger_extend(db, before.id, r, e);
	}
	int known = r->cause == LEDGER_DAMAGE ? rows_known_damage(db, r, e) : 0;
	if (known != 0)
		return known == 1;
	int joined = found ? ledger_touches(db, &before, r, e) : 0;
	if (joined < 0)
		return false;
	return joined ? ledger_extend(db, before.id, r, e)
		      : ledger_insert(db, r, e);
}

struct addition {
	const struct ledger_row *rows;
	size_t n;
};

static bool ledger_run_add(sqlite3 *db, void *arg, struct err *e)
{
	const struct addition *a = arg;

	for (size_t i = 0; i < a->n; i++)
		if (!rows_ledger(db, &a->rows[i], e))
			return false;
	return true;
}

bool ledger_add(struct store *s, const struct ledger_row *rows, size_t n,
		struct err *e)
{
	struct addition a = {rows, n};

	return n == 0 || catalog_run(s->catalog, ledger_run_add, &a, e) ||
	       err_wrap(e, "ledger");
}

/* --- reading --- */

static bool ledger_collect(sqlite3_stmt *q, struct ledger_row **rows, size_t *n,
			   struct err *e)
{
	struct ledger_row *all = NULL;
	size_t count = 0;
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct ledger_row *row = vec_push(&all, &count);

		if (!row) {
			got = -!err_no_memory(e, "ledger");
			break;
		}
		ledger_from_row(q, row);
	}
	if (got < 0) {
		free(all);
		return false;
	}
	*rows = all;
	*n = count;
	return true;
}

bool ledger_list(struct store *s, uint64_t capture, int64_t since_ns,
		 int64_t until_ns, struct ledger_row **rows, size_t *n,
		 struct err *e)
{
	if (!verify_wait(s->verify, capture, VERIFY_SEGMENTS, e))
		return false;
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT " LEDGER_READ " FROM ledger WHERE "
			       "capture = ?1 AND (max(from_ns, to_ns) > ?2 OR "
			       "(from_ns = to_ns AND from_ns >= ?2)) "
			       "AND min(from_ns, to_ns) < ?3 ORDER BY id",
			       "iii", capture, since_ns ? since_ns : INT64_MIN,
			       until_ns ? until_ns : INT64_MAX)
		   : NULL;
	bool ok = ledger_collect(q, rows, n, e);

	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok || err_wrap(e, "ledger");
}

/* --- coverage --- */

static bool ledger_overlaps(const struct ledger_row *r, int64_t since_ns,
			    int64_t until_ns)
{
	int64_t from = r->from_ns < r->to_ns ? r->from_ns : r->to_ns;
	int64_t to = r->from_ns < r->to_ns ? r->to_ns : r->from_ns;

	return from < until_ns && (to > since_ns || from == since_ns);
}

/* The first and the last of what was received. */
static void ledger_watched(const struct ledger_row *rows, size_t n,
			   int64_t *from_ns, int64_t *to_ns)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (rows[i].cause != LEDGER_RECEIVED)
			continue;
		if (!any || rows[i].from_ns < *from_ns)
			*from_ns = rows[i].from_ns;
		if (!any || rows[i].to_ns > *to_ns)
			*to_ns = rows[i].to_ns;
		any = true;
	}
}

static bool has_expired(const struct ledger_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].cause == LEDGER_EXPIRED)
			return true;
	return false;
}

static int64_t latest_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* When somebody first wanted packets, or the clock said so. */
static int64_t wanted_since(const struct coverage *c,
			    const struct coverage_of *of)
{
	int64_t ns = c->n ? c->rows[0].from_ns : of->created_ns;

	for (size_t i = 1; i < c->n; i++)
		if (c->rows[i].from_ns < ns)
			ns = c->rows[i].from_ns;
	return of->min_ns && of->min_ns < ns ? of->min_ns : ns;
}

/* The ends that were not given: what was never asked for is no gap. Nor is what
 * was before it was made. */
static void set_range(struct coverage *c, const struct coverage_of *of,
		      int64_t from_ns, int64_t to_ns)
{
	if (!c->since_ns) {
		c->since_ns = from_ns;
		/* Of what has expired only the end is of interest. */
		if (of->min_ns && (!from_ns || of->min_ns < from_ns ||
				   has_expired(c->rows, c->n)))
			c->since_ns = of->min_ns;
	}
	int64_t wanted = wanted_since(c, of);
	if (!of->savefile && c->since_ns < wanted)
		c->since_ns = wanted;
	/* Where the clock was set back it is not now that is the latest. */
	int64_t latest = latest_of(of->max_ns ? of->max_ns + 1 : 0, to_ns);
	if (of->runs || (!of->savefile && (c->until_ns || !to_ns)))
		latest = latest_of(latest, of->now_ns);
	if (!c->until_ns)
		c->until_ns = latest;
	else if (!of->savefile && c->until_ns > latest)
		c->until_ns = latest; /* what is to come is no gap */
	if (c->until_ns < c->since_ns)
		c->until_ns = c->since_ns;
}

static int64_t ledger_within(const struct coverage *c, int64_t ns)
{
	return ns < c->since_ns	  ? c->since_ns
	       : ns > c->until_ns ? c->until_ns
				  : ns;
}

static void set_covered(struct coverage *c, int64_t from_ns, int64_t to_ns)
{
	if (to_ns < c->since_ns || from_ns >= c->until_ns || !to_ns)
		return;
	c->from_ns = ledger_within(c, from_ns);
	c->to_ns = ledger_within(c, to_ns);
}

/* Leaves the rows of interest. */
static void pick_rows(struct coverage *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct ledger_row *r = &c->rows[i];

		if (r->cause == LEDGER_RECEIVED ||
		    !ledger_overlaps(r, c->since_ns, c->until_ns))
			continue;
		if (ledger_is_gap(r->cause)) {
			c->gaps++;
			c->missing += r->packets;
		}
		c->rows[n++] = *r;
	}
	c->n = n;
}

/* As if the ledger began with what is in memory. */
static bool coverage_without_ledger(struct store *s,
				    const struct coverage_of *of,
				    struct coverage *c, const struct err *why,
				    struct err *e)
{
	size_t n = 0;

	c->rows = calloc(LEDGER_WRITER_ROWS + 1, sizeof(*c->rows));
	if (!c->rows)
		return err_no_memory(e, "ledger");
	c->rows[0] = (struct ledger_row){
		.capture = of->capture,
		.cause = LEDGER_DAMAGE,
		.from_ns = of->min_ns && of->min_ns < of->created_ns
				   ? of->min_ns
				   : of->created_ns,
		.to_ns = of->memory_ns ? of->memory_ns : of->now_ns,
	};
	snprintf(c->rows[0].detail, LEDGER_DETAIL_MAX,
		 "the catalog cannot be read: %.80s", why->what);
	c->n = 1 + ledger_writer_rows(s, of->capture, c->rows + 1,
				      LEDGER_WRITER_ROWS);
	/* Where what they end began is not known. */
	for (size_t i = 0; i < c->n; i++)
		if (c->rows[i].from_ns != LEDGER_ANY)
			c->rows[n++] = c->rows[i];
	c->n = n;
	for (size_t i = 0; i < n; i++)
		c->rows[i].id = (int64_t)i + 1;
	return true;
}

/* With what waits while the disk takes no rows. */
static bool coverage_rows(struct store *s, uint64_t capture, struct coverage *c,
			  struct err *e)
{
	struct ledger_row *all, *waiting = NULL;
	size_t n = 0;

	if (ledger_writer_fails(s))
		waiting = calloc(LEDGER_WRITER_ROWS, sizeof(*waiting));
	if (waiting)
		n = ledger_writer_rows(s, capture, waiting, LEDGER_WRITER_ROWS);
	bool ok = ledger_list(s, capture, 0, 0, &c->rows, &c->n, e);
	if (ok && n && !ledger_writer_fails(s)) {
		/* They are among these, or could be. */
		free(c->rows);
		ok = ledger_list(s, capture, 0, 0, &c->rows, &c->n, e);
		n = 0;
	}
	all = ok && n ? realloc(c->rows, (c->n + n) * sizeof(*all)) : NULL;
	if (all) {
		/* They have no id yet, and pages need one. */
		int64_t id = c->n ? all[c->n - 1].id : 0;

		memcpy(all + c->n, waiting, n * sizeof(*all));
		for (size_t i = 0; i < n; i++)
			all[c->n + i].id = ++id;
		c->rows = all;
		c->n += n;
	}
	free(waiting);
	return ok;
}

/* What a savefile had, too, before it could not be read or was removed. */
static void stored_once(const struct coverage *c, int64_t *from_ns,
			int64_t *to_ns)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct ledger_row *r = &c->rows[i];

		if ((r->cause != LEDGER_DAMAGE && r->cause != LEDGER_EXPIRED) ||
		    r->from_ns <= 0)
			continue;
		if (!*from_ns || r->from_ns < *from_ns)
			*from_ns = r->from_ns;
		if (r->to_ns > *to_ns)
			*to_ns = r->to_ns;
	}
}

bool ledger_coverage(struct store *s, const struct coverage_of *of,
		     int64_t since_ns, int64_t until_ns, struct coverage *c,
		     struct err *e)
{
	int64_t from = 0, to = 0;
	struct err why;

	*c = (struct coverage){.since_ns = since_ns, .until_ns = until_ns};
	store_find_gone(s, of->capture);
	if (!coverage_rows(s, of->capture, c, &why) &&
	    !coverage_without_ledger(s, of, c, &why, e))
		return false;
	ledger_watched(c->rows, c->n, &from, &to);
	if (of->savefile) {
		from = of->min_ns;
		to = of->max_ns;
		stored_once(c, &from, &to);
	}
	set_range(c, of, from, to);
	/* What came since the last row is watched as well. */
	set_covered(c, from, of->runs ? latest_of(of->now_ns, to) : to);
	pick_rows(c);
	return true;
}

size_t coverage_damage(const struct coverage *c, int64_t until_ns,
		       uint64_t *packets)
{
	size_t n = 0;

	*packets = 0;
	for (size_t i = 0; i < c->n; i++) {
		const struct ledger_row *r = &c->rows[i];

		if (r->cause != LEDGER_DAMAGE ||
		    (until_ns && r->from_ns >= until_ns))
			continue;
		*packets += r->packets;
		n++;
	}
	return n;
}

bool ledger_lost_until(struct store *s, uint64_t capture, int64_t *ns,
		       struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	int got = db ? 0 : -1;

	*ns = 0;
	for (int cause = LEDGER_KERNEL; got >= 0 && cause <= LEDGER_DISK;
	     cause++) {
		struct ledger_row found,
			ask = {.capture = capture, .cause = cause};
		got = ledger_newest(db, &ask, &found, e);
		if (got == 1 && found.to_ns > *ns)
			*ns = found.to_ns;
	}
	sqlite3_close(db);
	return got >= 0 || err_wrap(e, "ledger");
}

bool ledger_known_until(struct store *s, uint64_t capture, int64_t by_ns,
			int64_t *ns, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT to_ns FROM ledger WHERE capture = ?1 "
			       "AND cause = ?2 AND to_ns <= ?3 "
			       "ORDER BY id DESC LIMIT 1",
			       "iii", capture, (int64_t)LEDGER_RECEIVED, by_ns)
		   : NULL;
	int got = q ? sql_step(q, e) : -1;

	*ns = got == 1 ? sqlite3_column_int64(q, 0) : 0;
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got >= 0 || err_wrap(e, "ledger");
}

bool ledger_dropped(struct store *s, uint64_t capture, int64_t since_ns,
		    uint64_t *packets, int64_t *last_ns, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(sum(packets), 0), "
			       "coalesce(max(to_ns), 0) FROM ledger WHERE "
			       "capture = ?1 AND cause BETWEEN ?2 AND ?3 AND "
			       "to_ns > ?4",
			       "iiii", capture, (int64_t)LEDGER_KERNEL,
			       (int64_t)LEDGER_DISK, since_ns)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok) {
		*packets = (uint64_t)sqlite3_column_int64(q, 0);
		*last_ns = sqlite3_column_int64(q, 1);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}
