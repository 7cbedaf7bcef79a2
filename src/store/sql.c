/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A few words around SQLite. Guarantees that a statement which is kept is
 * prepared once. Leaves out what the rows mean: see the callers.
 */
#include "store/catalog.h"
#include "store/row_sum.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

bool sql_err(sqlite3 *db, struct err *e, const char *doing)
{
	err_set(e, ERR_FAILED, "catalog: %s: %s", doing, sqlite3_errmsg(db));
	if (sql_is_malformed(db))
		err_hint(e, CATALOG_HINT);
	return false;
}

static bool sql_bind_list(sqlite3_stmt *q, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; rc == SQLITE_OK && types[i - 1]; i++) {
		const void *at;

		switch (types[i - 1]) {
		case 'i':
			rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
			break;
		case 't':
			rc = sqlite3_bind_text(q, i, va_arg(ap, const char *),
					       -1, SQLITE_TRANSIENT);
			break;
		default:
			assert(types[i - 1] == 'b');
			at = va_arg(ap, const void *);
			rc = sqlite3_bind_blob64(q, i, at, va_arg(ap, size_t),
						 SQLITE_TRANSIENT);
		}
	}
	return rc == SQLITE_OK;
}

sqlite3_stmt *sql_query(sqlite3 *db, struct err *e, const char *sql,
			const char *types, ...)
{
	sqlite3_stmt *q;
	va_list ap;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK) {
		sql_err(db, e, "prepare");
		return NULL;
	}
	va_start(ap, types);
	bool ok = sql_bind_list(q, types, ap);
	va_end(ap);
	if (ok)
		return q;
	sql_err(db, e, "bind");
	sqlite3_finalize(q);
	return NULL;
}

bool sql_bind(sqlite3_stmt *q, struct err *e, const char *types, ...)
{
	va_list ap;

	va_start(ap, types);
	bool ok = sql_bind_list(q, types, ap);
	va_end(ap);
	return ok || sql_err(sqlite3_db_handle(q), e, "bind");
}

int sql_step(sqlite3_stmt *q, struct err *e)
{
	int rc = sqlite3_step(q);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	sql_err(sqlite3_db_handle(q), e, "step");
	return -1;
}

bool sql_is_malformed(sqlite3 *db)
{
	int rc = sqlite3_errcode(db) & 0xff;

	return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

bool sql_disk_says_no(sqlite3 *db)
{
	switch (sqlite3_errcode(db) & 0xff) {
	case SQLITE_FULL:
	case SQLITE_IOERR:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_BUSY:
	case SQLITE_NOMEM:
		return true;
	default:
		return false;
	}
}

static bool sql_done(sqlite3_stmt *q, struct err *e, const char *types,
		     va_list ap)
{
	return (sql_bind_list(q, types, ap) ||
		sql_err(sqlite3_db_handle(q), e, "bind")) &&
	       sql_step(q, e) >= 0;
}

bool sql_exec_list(sqlite3 *db, struct err *e, const char *sql,
		   const char *types, va_list ap)
{
	sqlite3_stmt *q = sql_query(db, e, sql, "");
	bool ok = q && sql_done(q, e, types, ap);

	sqlite3_finalize(q);
	return ok;
}

bool sql_exec(sqlite3 *db, struct err *e, const char *sql, const char *types,
	      ...)
{
	va_list ap;

	va_start(ap, types);
	bool ok = sql_exec_list(db, e, sql, types, ap);
	va_end(ap);
	return ok;
}

/* --- statements that are kept --- */

#define TEXT(name, text) [SQL_##name] = text,
static const char *const sql_texts[] = {SQL_STATEMENTS(TEXT)};

/* Of one connection, the thread's; other threads keep none. */
static _Thread_local struct sql_kept {
	sqlite3 *db;
	sqlite3_stmt *all[SQL_COUNT];
} kept;

void sql_keep(sqlite3 *db)
{
	for (size_t i = 0; i < SQL_COUNT; i++)
		sqlite3_finalize(kept.all[i]);
	kept = (struct sql_kept){.db = db};
}

bool sql_run(sqlite3 *db, struct err *e, enum sql_statement which,
	     const char *types, ...)
{
	bool keep = db == kept.db;
	sqlite3_stmt *q = keep ? kept.all[which] : NULL;
	va_list ap;

	if (!q && sqlite3_prepare_v3(db, sql_texts[which], -1,
				     keep ? SQLITE_PREPARE_PERSISTENT : 0, &q,
				     NULL) != SQLITE_OK)
		return sql_err(db, e, "prepare");
	va_start(ap, types);
	bool ok = sql_done(q, e, types, ap);
	va_end(ap);
	if (keep) {
		kept.all[which] = q;
		sqlite3_reset(q);
		sqlite3_clear_bindings(q); /* blobs are large */
	} else {
		sqlite3_finalize(q);
	}
	return ok;
}
