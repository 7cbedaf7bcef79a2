/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * catalog: the SQLite database behind the store. Private to this folder.
 *
 * What: one thread owns the writing connection and runs jobs in the order in
 * which they were posted, as many as are waiting in one transaction (group
 * commit). A job that fails is rolled back alone. Readers open connections of
 * their own; WAL lets them run beside the writer.
 * Threads: any may post; run and done are called on the catalog's thread.
 * Ownership: a job is the poster's, and in use until done was called.
 */
#ifndef PCAPD_STORE_CATALOG_H
#define PCAPD_STORE_CATALOG_H

#include "base/err.h"
#include "store/sql.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct catalog;

/* What to do about a damaged one. */
#define CATALOG_HINT                                                           \
	"The next start of pcapd, or 'pcapd repair', makes it again from "     \
	"what can be read of it and from the spool."

struct catalog_job {
	bool (*run)(sqlite3 *db, struct catalog_job *job, struct err *e);
	/* After the commit (e NULL), or after run or the commit failed. */
	void (*done)(struct catalog_job *job, const struct err *e);
	/* true: when the disk says no, the job is tried again until it says
	 * yes, in order with the others of the kind. NULL: never. */
	bool (*patient)(const struct catalog_job *job);
	STAILQ_ENTRY(catalog_job) link;
};

unsigned catalog_version(void); /* of the schema */
/* Opens or makes the file, and runs the migrations that it lacks. */
/* A connection to the file, flags as sqlite3_open_v2. */
sqlite3 *catalog_connect(const char *path, int flags, struct err *e);
struct catalog *catalog_open(const char *path, struct err *e);
void catalog_close(struct catalog *c); /* runs what is posted; NULL is fine */

void catalog_post(struct catalog *c, struct catalog_job *job);
/* May wait some 20 ms for others, to be committed with them. */
void catalog_post_lingering(struct catalog *c, struct catalog_job *job);
/* Posts and waits for the commit. */
bool catalog_run(struct catalog *c,
		 bool (*run)(sqlite3 *db, void *arg, struct err *e), void *arg,
		 struct err *e);

/* A job met a page that is malformed: others will meet it, too. */
bool catalog_is_malformed(const struct catalog *c);
/* The disk said no since the last commit. What SQLite calls malformed then may
 * be that. */
bool catalog_disk_fails(const struct catalog *c);

/* Brings what is committed to stable storage. The catalog's thread is not held
 * up, but for a moment when the log is long. */
bool catalog_sync(struct catalog *c, struct err *e);
/* The same, of the log alone. */
bool catalog_sync_log(const struct catalog *c);

/* Ids of rows of the ledger that were committed since the last call. false:
 * there were more than that. */
#define CATALOG_CHANGES 256
bool catalog_changes(struct catalog *c, int64_t ids[CATALOG_CHANGES],
		     size_t *n);

/* A read-only connection, to sqlite3_close. */
sqlite3 *catalog_reader(struct catalog *c, struct err *e);

#endif
