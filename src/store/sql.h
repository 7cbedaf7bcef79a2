/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sql: a few words around SQLite. Private to this folder and to fsck/.
 *
 * What: a statement that is run again and again has a name, and a connection
 * keeps it: preparing a block's rows costs more than running them. The others
 * are texts, where they are run.
 * Threads: a connection is one thread's at a time.
 */
#ifndef PCAPD_STORE_SQL_H
#define PCAPD_STORE_SQL_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>

#define SQL_STATEMENTS(S)                                                      \
	S(BEGIN, "BEGIN IMMEDIATE")                                            \
	S(COMMIT, "COMMIT")                                                    \
	S(SAVEPOINT, "SAVEPOINT job")                                          \
	S(RELEASE, "RELEASE job")                                              \
	/* capture, first_seq, last_seq, link_type, snaplen, stored_bytes,     \
	 * raw_bytes, packets, min_ns, max_ns, made_ns, stored_ns */           \
	S(ADD_TO_SEGMENT,                                                      \
	  "INSERT INTO segments (capture, first_seq, last_seq, link_type, "    \
	  "snaplen, closed, stored_bytes, raw_bytes, packets, min_ns, "        \
	  "max_ns, made_ns, stored_ns) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, "    \
	  "?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO UPDATE SET "              \
	  "last_seq = excluded.last_seq, "                                     \
	  "stored_bytes = stored_bytes + excluded.stored_bytes, "              \
	  "raw_bytes = raw_bytes + excluded.raw_bytes, "                       \
	  "packets = packets + excluded.packets, "                             \
	  "min_ns = min(min_ns, excluded.min_ns), "                            \
	  "max_ns = max(max_ns, excluded.max_ns), "                            \
	  "stored_ns = max(stored_ns, excluded.stored_ns)")                    \
	/* the columns */                                                      \
	S(ADD_BLOCK, "INSERT INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, "     \
		     "?7, ?8, ?9, ?10, ?11)")                                  \
	/* capture, first_seq, other_bytes, how many blocks it has */          \
	S(CLOSE_SEGMENT,                                                       \
	  "UPDATE segments SET closed = 1, other_bytes = ?3 WHERE capture = "  \
	  "?1 AND first_seq = ?2 AND (SELECT count(*) FROM blocks WHERE "      \
	  "capture = ?1 AND segment = ?2 AND seq BETWEEN ?2 AND last_seq) = "  \
	  "?4")                                                                \
	/* capture, first_seq, last_seq */                                     \
	S(DROP_BLOCKS, "DELETE FROM blocks WHERE capture = ?1 AND segment = "  \
		       "?2 AND seq BETWEEN ?2 AND ?3")                         \
	/* capture, first_seq */                                               \
	S(DROP_SEGMENT,                                                        \
	  "DELETE FROM segments WHERE capture = ?1 AND first_seq = ?2")        \
	/* capture, last_seq */                                                \
	S(EXPIRED_UP_TO, "UPDATE captures SET expired_seq = max(expired_seq, " \
			 "?2) WHERE id = ?1")                                  \
	/* capture, cause, from_ns, to_ns, packets, detail */                  \
	S(ADD_LOSS,                                                            \
	  "INSERT INTO ledger (capture, cause, from_ns, to_ns, packets, "      \
	  "detail) SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM " \
	  "captures WHERE id = ?1)")                                           \
	/* id, packets, to_ns, LEDGER_OPEN, LEDGER_RECEIVED. One that ends     \
	 * before it began, as the clock was set back, begins where the        \
	 * capture was watched last before its end. */                         \
	S(EXTEND_LOSS,                                                         \
	  "UPDATE ledger AS l SET packets = packets + ?2, from_ns = iif("      \
	  "to_ns = ?4 AND from_ns > ?3, coalesce((SELECT r.to_ns FROM ledger " \
	  "AS r WHERE r.capture = l.capture AND r.cause = ?5 AND r.to_ns <= "  \
	  "?3 ORDER BY r.id DESC LIMIT 1), ?3), from_ns), to_ns = iif(to_ns "  \
	  "= ?4, ?3, max(to_ns, ?3)) WHERE id = ?1")                           \
	/* These three: id, capture, cause, from_ns, to_ns, packets, detail.   \
	 * The row was altered: it is what the file says. */                   \
	S(MEND_LOSS,                                                           \
	  "UPDATE ledger SET capture = ?2, cause = ?3, from_ns = ?4, to_ns = " \
	  "?5, packets = ?6, detail = ?7 WHERE id = ?1 AND " LEDGER_ALTERED)   \
	/* It lacks a sum, and is what the file says. */                       \
	S(SUM_LOSS,                                                            \
	  "UPDATE ledger SET packets = packets WHERE id = ?1 AND sum IS NULL " \
	  "AND capture = ?2 AND cause = ?3 AND from_ns = ?4 AND to_ns = ?5 "   \
	  "AND packets = ?6 AND detail = ?7")                                  \
	/* It is not there. */                                                 \
	S(ADD_OLD_LOSS,                                                        \
	  "INSERT OR IGNORE INTO ledger (id, capture, cause, from_ns, to_ns, " \
	  "packets, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")

#define SQL_NAME(name, text) SQL_##name,
enum sql_statement { SQL_STATEMENTS(SQL_NAME) SQL_COUNT };

/* Keeps statements of that connection from now on, on this thread, which is the
 * only one that runs them; NULL: of none, before it is closed. */
void sql_keep(sqlite3 *db);
/* Runs it, whether it is kept or not; types as below. */
bool sql_run(sqlite3 *db, struct err *e, enum sql_statement which,
	     const char *types, ...);

/*
 * A statement with its parameters bound, to sqlite3_finalize. types has a
 * letter a parameter: i int64_t, t const char * (copied), b const void * and
 * size_t (copied).
 */
sqlite3_stmt *sql_query(sqlite3 *db, struct err *e, const char *sql,
			const char *types, ...);
/* Binds a statement that was used before; it was reset. */
bool sql_bind(sqlite3_stmt *q, struct err *e, const char *types, ...);
/* 1 a row, 0 no more, -1 error. */
int sql_step(sqlite3_stmt *q, struct err *e);
/* That was the last error: a page of it is not one. */
bool sql_is_malformed(sqlite3 *db);
/* It was one that goes away with a better disk. */
bool sql_disk_says_no(sqlite3 *db);
/* Runs a statement that returns no rows, and that is rare. */
bool sql_exec(sqlite3 *db, struct err *e, const char *sql, const char *types,
	      ...);
bool sql_exec_list(sqlite3 *db, struct err *e, const char *sql,
		   const char *types, va_list ap);
/* false: *e is SQLite's last error, while `doing`. */
bool sql_err(sqlite3 *db, struct err *e, const char *doing);

#endif
