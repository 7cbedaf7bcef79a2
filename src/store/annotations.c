/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holds and marks: ranges that retention leaves alone, and instants with a
 * name. Guarantees that what was added is committed. Leaves out what they
 * mean: see retention.c and the command line.
 */
#include "store/store_internal.h"

#include "base/vec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Rows of size bytes each, which `fill` fills from a query: an array. */
static bool annotations_list(struct store *s, const char *sql, uint64_t capture,
			     size_t size,
			     void (*fill)(sqlite3_stmt *q, void *row),
			     void **rows, size_t *n, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q = db ? sql_query(db, e, sql, "i", capture) : NULL;
	void *all = NULL;
	int got = -1;

	*n = 0;
	while (q && (got = sql_step(q, e)) == 1) {
		void *row = vec_push_bytes(&all, n, size);

		if (!row) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
		fill(q, row);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	if (got < 0) {
		free(all);
		return false;
	}
	*rows = all;
	return true;
}

/* --- holds --- */

struct hold_change {
	uint64_t capture;
	struct store_hold *hold;
};

static bool run_hold_add(sqlite3 *db, void *arg, struct err *e)
{
	struct hold_change *c = arg;
	struct store_hold *h = c->hold;

	h->created_ns = realtime_ns();
	if (!sql_exec(db, e,
		      "INSERT INTO holds (capture, since_ns, until_ns, "
		      "created_ns, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
		      "iiiit", c->capture, h->since_ns, h->until_ns,
		      h->created_ns, h->reason))
		return false;
	h->id = (uint64_t)sqlite3_last_insert_rowid(db);
	return true;
}

bool store_hold_add(struct store *s, uint64_t capture, struct store_hold *h,
		    struct err *e)
{
	struct hold_change c = {.capture = capture, .hold = h};

	if (!catalog_run(s->catalog, run_hold_add, &c, e))
		return false;
	manifest_changed(s);
	return true;
}

bool store_hold_remove(struct store *s, uint64_t capture, uint64_t hold,
		       struct err *e)
{
	int rows = store_change(
		s, e, "DELETE FROM holds WHERE capture = ?1 AND id = ?2", "ii",
		capture, hold);

	return rows > 0 || (rows == 0 && err_set(e, ERR_NOT_FOUND,
						 "no hold %" PRIu64, hold));
}

static void fill_hold(sqlite3_stmt *q, void *row)
{
	struct store_hold *h = row;
	const char *reason = (const char *)sqlite3_column_text(q, 4);

	h->id = (uint64_t)sqlite3_column_int64(q, 0);
	h->since_ns = sqlite3_column_int64(q, 1);
	h->until_ns = sqlite3_column_int64(q, 2);
	h->created_ns = sqlite3_column_int64(q, 3);
	snprintf(h->reason, sizeof(h->reason), "%s", reason ? reason : "");
}

bool store_holds(struct store *s, uint64_t capture, struct store_hold **h,
		 size_t *n, struct err *e)
{
	void *rows;

	if (!annotations_list(
		    s,
		    "SELECT id, since_ns, until_ns, created_ns, reason "
		    "FROM holds WHERE capture = ?1 ORDER BY id",
		    capture, sizeof(**h), fill_hold, &rows, n, e))
		return false;
	*h = rows;
	return true;
}

/* --- marks --- */

bool store_mark_add(struct store *s, uint64_t capture,
		    const struct store_mark *m, struct err *e)
{
	int rows = store_change(s, e,
				"INSERT INTO marks VALUES (?1, ?2, ?3) "
				"ON CONFLICT DO NOTHING",
				"iti", capture, m->name, m->at_ns);

	return rows > 0 ||
	       (rows == 0 &&
		err_set_reason(e, REASON_MARK_TAKEN,
			       "mark '%s' is there already", m->name));
}

bool store_mark_remove(struct store *s, uint64_t capture, const char *name,
		       struct err *e)
{
	int rows = store_change(
		s, e, "DELETE FROM marks WHERE capture = ?1 AND name = ?2",
		"it", capture, name);

	return rows > 0 ||
	       (rows == 0 && err_set(e, ERR_NOT_FOUND, "no mark '%s'", name));
}

bool store_mark_find(struct store *s, uint64_t capture, const char *name,
		     int64_t *at_ns, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT at_ns FROM marks WHERE capture = ?1 AND "
			       "name = ?2",
			       "it", capture, name)
		   : NULL;
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		*at_ns = sqlite3_column_int64(q, 0);
	else if (got == 0)
		err_set(e, ERR_NOT_FOUND, "no mark '%s'", name);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got == 1;
}

static void fill_mark(sqlite3_stmt *q, void *row)
{
	struct store_mark *m = row;
	const char *name = (const char *)sqlite3_column_text(q, 0);

	snprintf(m->name, sizeof(m->name), "%s", name ? name : "");
	m->at_ns = sqlite3_column_int64(q, 1);
}

bool store_marks(struct store *s, uint64_t capture, struct store_mark **m,
		 size_t *n, struct err *e)
{
	void *rows;

	if (!annotations_list(
		    s,
		    "SELECT name, at_ns FROM marks WHERE capture = ?1 "
		    "ORDER BY at_ns, name",
		    capture, sizeof(**m), fill_mark, &rows, n, e))
		return false;
	*m = rows;
	return true;
}
