/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schemas that were altered on disk. Guarantees that nothing is changed that is
 * not exactly known. Leaves out pages that SQLite finds damaged itself.
 */
#include "store/schema_state.h"
#include "store/store_internal.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

extern const char *const schema_migrations[];
extern const unsigned schema_version;

#define OBJECTS "SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL"

static bool schema_exec(sqlite3 *db, const char *sql, struct err *e)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ||
	       err_set(e, ERR_FAILED, "catalog: schema: %s",
		       sqlite3_errmsg(db));
}

static bool schema_number(sqlite3 *db, const char *sql, int64_t *n,
			  struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e, sql, "");
	bool ok = q && sql_step(q, e) == 1;

	*n = ok ? sqlite3_column_int64(q, 0) : 0;
	sqlite3_finalize(q);
	return ok;
}

bool schema_fill(sqlite3 *db, unsigned version, struct err *e)
{
	char pragma[64];

	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %u", version);
	for (unsigned i = 0; i < version; i++)
		if (!schema_exec(db, schema_migrations[i], e))
			return false;
	return schema_exec(db, pragma, e);
}

/* An empty catalog of that version, in memory. */
static sqlite3 *schema_make(unsigned version, struct err *e)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(":memory:", &db) == SQLITE_OK) {
		if (schema_fill(db, version, e))
			return db;
	} else {
		err_no_memory(e, "catalog: schema");
	}
	sqlite3_close(db);
	return NULL;
}

/* 1 it has that object with that text, 0 with another one, 2 it has it not. */
static int schema_has(sqlite3 *db, sqlite3_stmt *object, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT sql IS ?3 FROM sqlite_master WHERE type = ?1 AND "
		"name = ?2",
		"ttt", sqlite3_column_text(object, 0),
		sqlite3_column_text(object, 1), sqlite3_column_text(object, 2));
	int got = q ? sql_step(q, e) : -1;

	if (got >= 0)
		got = got == 0 ? 2 : sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return got;
}

static enum schema_state schema_beside(sqlite3 *db, sqlite3 *made,
				       char what[64], struct err *e)
{
	sqlite3_stmt *q = sql_query(made, e, OBJECTS, "");
	enum schema_state state = SCHEMA_SAME;
	int got = -1;

	what[0] = '\0';
	while (q && (got = sql_step(q, e)) == 1) {
		int has = schema_has(db, q, e);

		if (has < 0) {
			got = -1;
			break;
		}
		if (has == 1 || (has == 0 && state != SCHEMA_SAME))
			continue;
		state = has == 2 ? SCHEMA_MISSING : SCHEMA_TEXT;
		snprintf(what, 64, "%s %s", sqlite3_column_text(q, 0),
			 sqlite3_column_text(q, 1));
	}
	sqlite3_finalize(q);
	return got < 0 ? SCHEMA_ERROR : state;
}

static enum schema_state schema_beside_version(sqlite3 *db, unsigned version,
					       bool exactly, char what[64],
					       struct err *e)
{
	static const char count[] = "SELECT count(*) FROM (" OBJECTS ")";
	sqlite3 *made = schema_make(version, e);
	enum schema_state state =
		made ? schema_beside(db, made, what, e) : SCHEMA_ERROR;
	int64_t n = 0, n_made = 0;

	if (state == SCHEMA_SAME && exactly) {
		if (!schema_number(db, count, &n, e) ||
		    !schema_number(made, count, &n_made, e))
			state = SCHEMA_ERROR;
		else if (n != n_made)
			state = SCHEMA_NEWER;
	}
	sqlite3_close(made);
	return state;
}

enum schema_state schema_state(sqlite3 *db, char what[64], struct err *e)
{
	int64_t version, objects;
	char ignored[64];

	what[0] = '\0';
	if (!schema_number(db, "PRAGMA user_version", &version, e) ||
	    !schema_number(db, "SELECT count(*) FROM sqlite_master", &objects,
			   e))
		return SCHEMA_ERROR;
	if (version == 0 && objects == 0)
		return SCHEMA_SAME;
	bool known = version > 0 && version <= (int64_t)schema_version;
	enum schema_state state =
		known ? schema_beside_version(db, (unsigned)version, false,
					      what, e)
		      : SCHEMA_NEWER;
	if (state == SCHEMA_SAME || state == SCHEMA_ERROR ||
	    version == (int64_t)schema_version)
		return state;
	switch (schema_beside_version(db, schema_version, true, ignored, e)) {
	case SCHEMA_SAME:
		return SCHEMA_NUMBER;
	case SCHEMA_ERROR:
		return SCHEMA_ERROR;
	default:
		return state;
	}
}

static bool schema_write_number(sqlite3 *db, struct err *e)
{
	char pragma[64];

	log_warn("catalog: the number of its schema was altered; it is %u "
		 "again",
		 schema_version);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %u",
		 schema_version);
	return schema_exec(db, pragma, e);
}

static bool schema_write_text(sqlite3 *db, const char *what, struct err *e)
{
	int64_t version;
	sqlite3 *made = schema_number(db, "PRAGMA user_version", &version, e)
				? schema_make((unsigned)version, e)
				: NULL;
	sqlite3_stmt *q = made ? sql_query(made, e, OBJECTS, "") : NULL;
	bool ok = q && schema_exec(db, "BEGIN IMMEDIATE", e);
	int got = ok ? 1 : -1;

	log_warn("catalog: the text of its schema was altered: %s; it is set "
		 "right",
		 what);
	while (ok && (got = sql_step(q, e)) == 1)
		ok = sql_exec(db, e,
			      "UPDATE sqlite_master SET sql = ?3 WHERE type = "
			      "?1 AND name = ?2 AND sql IS NOT ?3",
			      "ttt", sqlite3_column_text(q, 0),
			      sqlite3_column_text(q, 1),
			      sqlite3_column_text(q, 2));
	sqlite3_finalize(q);
	sqlite3_close(made);
	return ok && got == 0 && schema_exec(db, "COMMIT", e);
}

bool schema_mend(sqlite3 *db, struct err *e)
{
	char what[64];
	bool ok = true;

	/* What does not parse can be read all the same. */
	if (!schema_exec(db, "PRAGMA writable_schema = ON", e))
		return false;
	switch (schema_state(db, what, e)) {
	case SCHEMA_NUMBER:
		ok = schema_write_number(db, e);
		break;
	case SCHEMA_TEXT:
		ok = schema_write_text(db, what, e);
		break;
	case SCHEMA_MISSING:
		err_set(e, ERR_FAILED, "catalog: its schema lacks %s", what);
		ok = err_hint(e, CATALOG_HINT);
		break;
	case SCHEMA_ERROR:
		ok = false;
		break;
	default:
		break; /* a newer one is refused by who migrates */
	}
	return ok && schema_exec(db, "PRAGMA writable_schema = RESET", e);
}

/* 1, 0, -1 it was not found out. */
static int schema_agrees(sqlite3 *db, const char *table)
{
	struct err ignored;
	char sql[64];

	snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%s)", table);
	sqlite3_stmt *q = sql_query(db, &ignored, sql, "");
	int got = q ? sql_step(q, &ignored) : -1;
	if (got == 1)
		got = strcmp((const char *)sqlite3_column_text(q, 0), "ok") ==
		      0;
	sqlite3_finalize(q);
	return got;
}

static bool schema_index_again(sqlite3 *db, const char *table, struct err *e)
{
	char sql[64];

	log_warn("catalog: the index of %s was altered; it is made again",
		 table);
	snprintf(sql, sizeof(sql), "REINDEX %s", table);
	return schema_exec(db, sql, e);
}

/* What the index says is the newest of its kind is in the table; and the
 * newest of the table are in the index. */
#define LEDGER_NEWEST_AGREE                                                    \
	"SELECT NOT EXISTS (SELECT 1 FROM (" LEDGER_NEWEST ") AS n WHERE "     \
	"n.id NOT NULL AND NOT EXISTS (SELECT 1 FROM ledger AS l NOT INDEXED " \
	"WHERE l.id = n.id AND l.capture = n.capture AND l.cause = n.cause)) " \
	"AND NOT EXISTS (SELECT 1 FROM (SELECT id, capture, cause FROM "       \
	"ledger NOT INDEXED ORDER BY id DESC LIMIT 24) AS n WHERE NOT "        \
	"EXISTS (SELECT 1 FROM ledger AS l INDEXED BY ledger_of WHERE "        \
	"l.capture = n.capture AND l.cause = n.cause AND l.id = n.id))"

void schema_reindex(sqlite3 *db)
{
	/* Those of which a row that is not found is a loss that nobody is told
	 * of; the rows themselves have sums, or files beside them. */
	static const char *const tables[] = {"aliases", "holds"};
	struct err e, ignored;
	int64_t agree;
	bool ok = true;

	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		if (ok && schema_agrees(db, tables[i]) != 1)
			ok = schema_index_again(db, tables[i], &e);
	if (ok && (!schema_number(db, LEDGER_NEWEST_AGREE, &agree, &ignored) ||
		   !agree))
		ok = schema_index_again(db, "ledger", &e);
	if (!ok)
		log_err(LOG_LEVEL_WARN, &e);
}

static bool schema_run_table(sqlite3 *db, void *table, struct err *e)
{
	return schema_index_again(db, table, e);
}

bool schema_reindex_table(struct catalog *c, sqlite3 *db, const char *table,
			  struct err *e)
{
	return schema_agrees(db, table) != 0 ||
	       catalog_run(c, schema_run_table, (void *)table, e);
}
