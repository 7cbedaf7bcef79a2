/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * schema_state: the schema that a catalog has beside the one that the
 * migrations make. Private to this folder and to fsck/.
 *
 * What: a bit of the schema's text or number that was altered on disk is found
 * before a statement fails over it, and is set right where all of it is known.
 * Objects that others added are no difference.
 * Threads, ownership: those of the connection.
 */
#ifndef PCAPD_STORE_SCHEMA_STATE_H
#define PCAPD_STORE_SCHEMA_STATE_H

#include "base/err.h"

#include <sqlite3.h>

enum schema_state {
	SCHEMA_SAME,	/* or there is none yet */
	SCHEMA_NEWER,	/* of a version that is not known */
	SCHEMA_NUMBER,	/* it is the newest, and has another's number */
	SCHEMA_TEXT,	/* of one or more objects */
	SCHEMA_MISSING, /* objects */
	SCHEMA_ERROR	/* *e; it was not found out */
};

/* what: the first object that is not as it has to be. */
enum schema_state schema_state(sqlite3 *db, char what[64], struct err *e);
/* Makes an empty catalog of that version out of an empty database. */
bool schema_fill(sqlite3 *db, unsigned version, struct err *e);
/* SCHEMA_NUMBER and SCHEMA_TEXT are set right, with a word in the log; of a
 * connection that may write, before it has read anything. */
bool schema_mend(sqlite3 *db, struct err *e);
/* Indexes that say something else than their tables are made again, with a word
 * in the log: of small tables, and of the ledger as far as captures resume by
 * it. Never an error. */
void schema_reindex(sqlite3 *db);
/* The same of all of a table, while the catalog is in use; db reads. false: it
 * cannot be made again. */
struct catalog;
bool schema_reindex_table(struct catalog *c, sqlite3 *db, const char *table,
			  struct err *e);

#endif
