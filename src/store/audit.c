/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rows of the audit. Guarantees the bound of a person's rows, and that who
 * adds one does not wait for the disk: while it says no, so many rows wait for
 * it. Leaves out what is worth a row: the
 * server knows.
 */
#include "store/audit.h"

#include "base/log.h"
#include "base/vec.h"
#include "store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* How often a person's oldest rows are looked for. */
#define TRIM_EVERY 64
/* Of all, 2 KiB each: as long as the disk takes none. */
#define WAITING_MAX 2048

struct job {
	struct catalog_job job;
	struct store *store;
	struct audit_row row;
};

/* The first number of this run is behind every row that there is. */
uint64_t audit_next(struct store *s)
{
	struct err ignored;
	uint64_t id = 0;

	pthread_mutex_lock(&s->lock);
	bool known = s->audit_id != 0;
	pthread_mutex_unlock(&s->lock);
	if (!known) {
		sqlite3 *db = catalog_reader(s->catalog, &ignored);
		sqlite3_stmt *q =
			db ? sql_query(db, &ignored,
				       "SELECT max(id) FROM audit", "")
			   : NULL;
		if (q && sql_step(q, &ignored) == 1)
			id = (uint64_t)sqlite3_column_int64(q, 0);
		sqlite3_finalize(q);
		sqlite3_close(db);
	}
	pthread_mutex_lock(&s->lock);
	if (s->audit_id < id)
		s->audit_id = id;
	id = ++s->audit_id;
	pthread_mutex_unlock(&s->lock);
	return id;
}

static bool store_audit_trim(sqlite3 *db, const char *who, struct err *e)
{
	return sql_exec(db, e,
			"DELETE FROM audit WHERE who = ?1 AND id <= (SELECT id "
			"FROM audit WHERE who = ?1 ORDER BY id DESC LIMIT 1 "
			"OFFSET ?2)",
			"ti", who, (int64_t)AUDIT_ROWS_MAX);
}

static bool run_put(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	const struct audit_row *r = &((struct job *)job)->row;

	if (!sql_exec(db, e,
		      "INSERT OR REPLACE INTO audit VALUES (?1, ?2, ?3, ?4, "
		      "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
		      "?16, ?17)",
		      "iittttttiitiiitit", r->id, r->at_ns, r->who, r->role,
		      r->origin, r->method, r->capture, r->filter, r->since_ns,
		      r->until_ns, r->detail, r->bytes, r->lasted_ns,
		      (int64_t)r->status, r->result, r->capture_id, r->people))
		return false;
	return r->id % TRIM_EVERY != 0 || store_audit_trim(db, r->who, e);
}

static void put_done(struct catalog_job *job, const struct err *e)
{
	const struct audit_row *r = &((struct job *)job)->row;

	if (e)
		log_warn("the audit lacks a row, %s by %s: %s", r->method,
			 r->who, e->what);
	atomic_fetch_sub(&((struct job *)job)->store->audit_waiting, 1);
	free(job);
}

static bool put_patient(const struct catalog_job *job)
{
	struct store *s = ((const struct job *)job)->store;

	return atomic_load(&s->audit_waiting) <= WAITING_MAX;
}

void audit_put(struct store *s, const struct audit_row *row)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j) {
		log_warn("the audit lacks a row, %s by %s: out of memory",
			 row->method, row->who);
		return;
	}
	j->job.run = run_put;
	j->job.done = put_done;
	j->job.patient = put_patient;
	j->store = s;
	atomic_fetch_add(&s->audit_waiting, 1);
	j->row = *row;
	catalog_post(s->catalog, &j->job);
}

static bool run_recover(sqlite3 *db, void *arg, struct err *e)
{
	(void)arg;
	return sql_exec(db, e,
			"UPDATE audit SET lasted_ns = 0, status = ?1, "
			"result = 'pcapd ended before this did' "
			"WHERE lasted_ns < 0",
			"i", (int64_t)err_grpc_status(ERR_UNREACHABLE));
}

bool audit_recover(struct store *s, struct err *e)
{
	return catalog_run(s->catalog, run_recover, NULL, e) ||
	       err_wrap(e, "audit");
}

static void store_audit_text(sqlite3_stmt *q, int column, char *to, size_t room)
{
	const unsigned char *from = sqlite3_column_text(q, column);

	snprintf(to, room, "%s", from ? (const char *)from : "");
}

static void store_audit_from_row(sqlite3_stmt *q, struct audit_row *r)
{
	memset(r, 0, sizeof(*r));
	r->id = (uint64_t)sqlite3_column_int64(q, 0);
	r->at_ns = sqlite3_column_int64(q, 1);
	store_audit_text(q, 2, r->who, sizeof(r->who));
	store_audit_text(q, 3, r->role, sizeof(r->role));
	store_audit_text(q, 4, r->origin, sizeof(r->origin));
	store_audit_text(q, 5, r->method, sizeof(r->method));
	store_audit_text(q, 6, r->capture, sizeof(r->capture));
	store_audit_text(q, 7, r->filter, sizeof(r->filter));
	r->since_ns = sqlite3_column_int64(q, 8);
	r->until_ns = sqlite3_column_int64(q, 9);
	store_audit_text(q, 10, r->detail, sizeof(r->detail));
	r->bytes = (uint64_t)sqlite3_column_int64(q, 11);
	r->lasted_ns = sqlite3_column_int64(q, 12);
	r->status = sqlite3_column_int(q, 13);
	store_audit_text(q, 14, r->result, sizeof(r->result));
	r->capture_id = (uint64_t)sqlite3_column_int64(q, 15);
	store_audit_text(q, 16, r->people, sizeof(r->people));
}

static void store_audit_reverse(struct audit_row *rows, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct audit_row t = rows[i];

		rows[i] = rows[n - 1 - i];
		rows[n - 1 - i] = t;
	}
}

bool audit_list(struct store *s, int64_t since_ns, int64_t until_ns,
		int64_t before, size_t max, struct audit_row **rows, size_t *n,
		struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT * FROM audit WHERE at_ns >= ?1 AND "
			       "at_ns < ?2 AND id < ?3 ORDER BY id DESC "
			       "LIMIT ?4",
			       "iiii", since_ns,
			       until_ns ? until_ns : INT64_MAX,
			       before ? before : INT64_MAX, (int64_t)max)
		   : NULL;
	int got = -1;

	*rows = NULL;
	*n = 0;
	while (q && (got = sql_step(q, e)) == 1) {
		struct audit_row *row = vec_push(rows, n);

		if (!row) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
		store_audit_from_row(q, row);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	if (got == 0) {
		store_audit_reverse(*rows, *n);
		return true;
	}
	free(*rows);
	*rows = NULL;
	return false;
}
