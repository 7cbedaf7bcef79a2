/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rows of imported files. Guarantees that an import which ended before its
 * file did is in the ledger, also when it was the daemon that ended.
 */
#include "store/imports.h"

#include "base/vec.h"

#include "packet/block.h"
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool imports_run_begin(sqlite3 *db, void *arg, struct err *e)
{
	struct import_row *r = arg;

	if (!sql_exec(db, e,
		      "INSERT INTO imports (capture, at_ns, file, state, "
		      "first_seq, end_seq, packets, sha256) VALUES "
		      "(?1, ?2, ?3, ?4, ?5, ?5, 0, x'')",
		      "iitii", r->capture, r->at_ns, r->file,
		      (int64_t)IMPORT_UNDER_WAY, r->first_seq))
		return false;
	r->id = (uint64_t)sqlite3_last_insert_rowid(db);
	return true;
}

bool imports_begin(struct store *s, struct import_row *r, struct err *e)
{
	return catalog_run(s->catalog, imports_run_begin, r, e) ||
	       err_wrap(e, "import");
}

struct imports_ending {
	const struct import_row *row;
	const struct ledger_row *losses;
	size_t n;
	struct import_row *before;
};

static bool imports_find(sqlite3 *db, const struct import_row *r,
			 struct import_row *before, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT id, at_ns, file FROM imports WHERE capture = ?1 AND "
		"sha256 = ?2 AND id < ?3 AND packets ORDER BY id LIMIT 1",
		"ibi", r->capture, r->sha256, sizeof(r->sha256), r->id);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1) {
		const unsigned char *file = sqlite3_column_text(q, 2);

		before->id = (uint64_t)sqlite3_column_int64(q, 0);
		before->at_ns = sqlite3_column_int64(q, 1);
		snprintf(before->file, sizeof(before->file), "%s",
			 file ? (const char *)file : "");
	}
	sqlite3_finalize(q);
	return got >= 0;
}

static bool imports_run_end(sqlite3 *db, void *arg, struct err *e)
{
	const struct imports_ending *x = arg;
	const struct import_row *r = x->row;

	if (!imports_find(db, r, x->before, e))
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (!rows_ledger(db, &x->losses[i], e))
			return false;
	return sql_exec(db, e,
			"UPDATE imports SET state = ?2, end_seq = ?3, "
			"packets = ?4, sha256 = ?5 WHERE id = ?1",
			"iiiib", r->id, (int64_t)r->state, r->end_seq,
			r->packets, r->sha256, sizeof(r->sha256));
}

bool imports_end(struct store *s, const struct import_row *r,
		 const struct ledger_row *rows, size_t n,
		 struct import_row *before, struct err *e)
{
	struct imports_ending x = {r, rows, n, before};

	*before = (struct import_row){0};
	return catalog_run(s->catalog, imports_run_end, &x, e) ||
	       err_wrap(e, "import");
}

bool imports_breaks(struct store *s, const struct import_row *r,
		    struct import_break breaks[IMPORT_BREAKS], size_t *n,
		    struct err *e)
{
	char detail[IMPORT_FILE_MAX + 3];

	snprintf(detail, sizeof(detail), IMPORT_DETAIL, r->file);
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT DISTINCT l.id, i.packets, l.from_ns "
			       "FROM imports i JOIN ledger l USING (capture) "
			       "WHERE capture = ?1 AND i.file = ?2 AND "
			       "i.state = ?3 AND i.packets AND l.cause = ?4 "
			       "AND l.to_ns = ?5 AND instr(l.detail, ?6) = 1 "
			       "ORDER BY l.id DESC LIMIT ?7",
			       "itiiiti", r->capture, r->file,
			       (int64_t)IMPORT_INCOMPLETE,
			       (int64_t)LEDGER_IMPORT, LEDGER_OPEN, detail,
			       (int64_t)IMPORT_BREAKS)
		   : NULL;
	int got = -1;

	for (*n = 0; q && (got = sql_step(q, e)) == 1; ++*n)
		breaks[*n] = (struct import_break){
			sqlite3_column_int64(q, 0),
			(uint64_t)sqlite3_column_int64(q, 1),
			sqlite3_column_int64(q, 2)};
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got == 0 || err_wrap(e, "import");
}

struct imports_good {
	const struct import_break *at;
	int64_t to_ns;
};

static bool imports_run_made_good(sqlite3 *db, void *arg, struct err *e)
{
	const struct imports_good *g = arg;

	return sql_exec(db, e,
			"UPDATE ledger SET cause = ?2, to_ns = max(from_ns, "
			"?3) WHERE id = ?1 AND cause = ?4",
			"iiii", g->at->gap, (int64_t)LEDGER_RECEIVED, g->to_ns,
			(int64_t)LEDGER_IMPORT);
}

bool imports_made_good(struct store *s, const struct import_break *b,
		       int64_t to_ns, struct err *e)
{
	struct imports_good g = {b, to_ns};

	return catalog_run(s->catalog, imports_run_made_good, &g, e) ||
	       err_wrap(e, "import");
}

/* The newest packet of it that is stored; nobody knows how much was behind. */
static int imports_newest(sqlite3 *db, const struct import_row *r, int64_t *ns,
			  struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT last_ns FROM blocks WHERE capture "
				    "= ?1 AND seq >= ?2 "
				    "ORDER BY seq DESC LIMIT 1",
				    "ii", r->capture, r->first_seq);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		*ns = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return got;
}

static bool imports_break(sqlite3 *db, const struct import_row *r,
			  struct err *e)
{
	struct ledger_row row = {.capture = r->capture,
				 .cause = LEDGER_IMPORT,
				 .to_ns = LEDGER_OPEN};

	snprintf(row.detail, sizeof(row.detail),
		 IMPORT_DETAIL "pcapd ended before the import did", r->file);
	return imports_newest(db, r, &row.from_ns, e) >= 0 &&
	       rows_ledger(db, &row, e);
}

static bool imports_run_recover(sqlite3 *db, void *arg, struct err *e)
{
	sqlite3_stmt *q =
		sql_query(db, e,
			  "SELECT capture, first_seq, file FROM imports "
			  "WHERE state = ?1 ORDER BY id",
			  "i", (int64_t)IMPORT_UNDER_WAY);
	bool ok = true;
	int got = -1;

	(void)arg;
	while (q && ok && (got = sql_step(q, e)) == 1) {
		const unsigned char *file = sqlite3_column_text(q, 2);
		struct import_row r = {
			.capture = (uint64_t)sqlite3_column_int64(q, 0),
			.first_seq = (uint64_t)sqlite3_column_int64(q, 1)};

		snprintf(r.file, sizeof(r.file), "%s",
			 file ? (const char *)file : "");
		ok = imports_break(db, &r, e);
	}
	sqlite3_finalize(q);
	return ok && got == 0 &&
	       sql_exec(
		       db, e,
		       "UPDATE imports AS i SET state = ?1, (packets, end_seq) "
		       "= (SELECT coalesce(sum(packets), 0), "
		       "coalesce(max(seq) + 1, i.first_seq) FROM blocks b "
		       "WHERE b.capture = i.capture AND b.seq >= i.first_seq) "
		       "WHERE state = ?2",
		       "ii", (int64_t)IMPORT_INCOMPLETE,
		       (int64_t)IMPORT_UNDER_WAY);
}

bool imports_recover(struct store *s, struct err *e)
{
	return catalog_run(s->catalog, imports_run_recover, NULL, e) ||
	       err_wrap(e, "imports that did not end");
}

/* --- runs --- */

struct imports_list {
	struct import_run *v;
	size_t n;
};

static bool imports_add(struct imports_list *l, const struct import_run *r,
			struct err *e)
{
	struct import_run *more = vec_push(&l->v, &l->n);

	if (!more)
		return err_no_memory(e, "imports");
	*more = *r;
	return true;
}

/* Each segment is of one import; 0: of none that is known. */
static bool imports_collect(sqlite3_stmt *q, struct imports_list *l,
			    struct err *e)
{
	int64_t before = -1;
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		int64_t import = sqlite3_column_int64(q, 0);
		struct import_run r = {
			.first_seq = (uint64_t)sqlite3_column_int64(q, 1),
			.end_seq = (uint64_t)sqlite3_column_int64(q, 2) + 1,
			.min_ns = sqlite3_column_int64(q, 3),
			.packets = (uint64_t)sqlite3_column_int64(q, 4)};

		if (import != before) {
			if (!imports_add(l, &r, e))
				return false;
		} else {
			struct import_run *last = &l->v[l->n - 1];

			last->end_seq = r.end_seq;
			last->packets += r.packets;
			if (r.min_ns < last->min_ns)
				last->min_ns = r.min_ns;
		}
		before = import;
	}
	return got == 0;
}

static int imports_by_time(const void *a, const void *b)
{
	const struct import_run *x = a, *y = b;

	if (x->min_ns != y->min_ns)
		return x->min_ns < y->min_ns ? -1 : 1;
	return x->first_seq < y->first_seq ? -1 : x->first_seq > y->first_seq;
}

/* What lies one behind the other is read in one go. */
static void imports_join(struct imports_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct import_run *last = n ? &l->v[n - 1] : NULL;

		if (last && last->end_seq == l->v[i].first_seq) {
			last->end_seq = l->v[i].end_seq;
			last->packets += l->v[i].packets;
		} else {
			l->v[n++] = l->v[i];
		}
	}
	l->n = n;
}

bool imports_runs(struct store *s, uint64_t capture, int64_t since_ns,
		  int64_t until_ns, struct import_run **runs, size_t *n,
		  struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	/* The newest import that began at or before a segment has it, unless it
	 * ended before. */
	sqlite3_stmt *q =
		db ? sql_query(
			     db, e,
			     "SELECT coalesce((SELECT id FROM imports i WHERE "
			     "i.capture = ?1 AND g.first_seq >= i.first_seq "
			     "AND g.first_seq < i.end_seq LIMIT 1), 0), "
			     "first_seq, last_seq, min_ns, packets "
			     "FROM segments g WHERE capture = ?1 AND NOT "
			     "expired AND max_ns >= ?2 AND min_ns < ?3 "
			     "ORDER BY first_seq",
			     "iii", capture, since_ns ? since_ns : INT64_MIN,
			     until_ns ? until_ns : INT64_MAX)
		   : NULL;
	struct imports_list l = {0};
	bool ok = imports_collect(q, &l, e);

	sqlite3_finalize(q);
	sqlite3_close(db);
	/* What is going in at the moment has no segment yet. */
	struct import_run rest = {.min_ns = INT64_MAX, .end_seq = UINT64_MAX};
	if (ok && l.n) {
		rest.first_seq = l.v[l.n - 1].end_seq;
		ok = imports_add(&l, &rest, e);
	}
	if (!ok) {
		free(l.v);
		return err_wrap(e, "imports");
	}
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), imports_by_time);
	imports_join(&l);
	if (l.n < 2) {
		free(l.v);
		l.v = NULL;
		l.n = 0;
	}
	*runs = l.v;
	*n = l.n;
	return true;
}

bool imports_left(struct store *s, uint64_t capture, int64_t since_ns,
		  int64_t until_ns, const struct import_run *run,
		  uint64_t *packets, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(sum(packets), 0) FROM segments "
			       "WHERE capture = ?1 AND NOT expired AND "
			       "max_ns >= ?2 AND min_ns < ?3 AND "
			       "first_seq >= ?4 AND first_seq < ?5",
			       "iiiii", capture,
			       since_ns ? since_ns : INT64_MIN,
			       until_ns ? until_ns : INT64_MAX, run->first_seq,
			       run->end_seq < INT64_MAX ? run->end_seq
							: (uint64_t)INT64_MAX)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		*packets = (uint64_t)sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}
