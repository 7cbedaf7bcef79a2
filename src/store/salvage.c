/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A catalog that cannot be read whole is made again. Guarantees that nothing of
 * the old one is removed, that a crash in between leaves either of the two, and
 * that what cannot be read costs no row that lies before or behind it. Leaves
 * out a disk that says no, and what a newer version wrote: both stay as they
 * are.
 */
#include "store/salvage.h"
#include "store/catalog.h"
#include "store/schema_state.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "catalog.db"
#define MARK NAME ".malformed"
#define PART NAME FILE_PART
#define ASIDE_MAX 1000

/* A start looks at all of one that is so large: 10 ms. */
#define SMALL_BYTES (1 << 20)

/* How much of a larger one before captures resume. */
enum look {
	LOOK_ALL,   /* it is small */
	LOOK_PAGES, /* at pages, and not at what is in them */
	LOOK_LATER, /* while the catalog is in use */
	LOOK_NEVER, /* who checks blocks against segments does */
};

/* In the order in which they are copied, along their keys and against them.
 * What the spool has, too, has no words. */
static const struct {
	const char *name, *key, *back;
	enum look look;
	const char *words;
} tables[] = {
	{"captures", "id", "id DESC", LOOK_ALL, NULL},
	{"aliases", "alias", "alias DESC", LOOK_ALL, NULL},
	{"holds", "id", "id DESC", LOOK_ALL, NULL},
	{"marks", "capture, name", "capture DESC, name DESC", LOOK_ALL, NULL},
	{"segments", "capture, first_seq", "capture DESC, first_seq DESC",
	 LOOK_PAGES, NULL},
	{"blocks", "capture, seq", "capture DESC, seq DESC", LOOK_NEVER, NULL},
	{"ledger", "id", "id DESC", LOOK_PAGES, NULL},
	{"audit", "id", "id DESC", LOOK_LATER, "the audit"},
	{"imports", "id", "id DESC", LOOK_LATER, "which files were imported"},
	{"interface_names", "capture, ifindex, name",
	 "capture DESC, ifindex DESC, name DESC", LOOK_ALL,
	 "what interfaces were called"},
};

#define TABLES (sizeof(tables) / sizeof(*tables))

struct salvage {
	sqlite3 *old, *db; /* old: NULL if there is no file */
	bool lost[TABLES]; /* not all of it could be read */
	char why[128];
};

void salvage_mark(int spool_fd)
{
	int fd = openat(spool_fd, MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
}

static bool salvage_has(int spool_fd, const char *name)
{
	struct stat st;

	return fstatat(spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool salvage_is_marked(int spool_fd)
{
	return salvage_has(spool_fd, MARK);
}

/* --- whether --- */

/* Its log stays: on a full disk there is no room for another. */
static sqlite3 *salvage_open(const char *path, struct err *e)
{
	sqlite3 *db = catalog_connect(path, SQLITE_OPEN_READWRITE, e);

	if (!db)
		return NULL;
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	/* What does not parse can be read all the same. */
	sqlite3_exec(db, "PRAGMA writable_schema = ON", NULL, NULL, NULL);
	return db;
}

/* It cannot be read. pages: what is in them was not looked at. */
static bool table_is_malformed(sqlite3 *db, const char *table, bool pages,
			       char why[128])
{
	struct err e;
	char sql[64];

	snprintf(sql, sizeof(sql),
		 pages ? "SELECT count(*) FROM %s NOT INDEXED"
		       : "PRAGMA quick_check(%s)",
		 table);
	sqlite3_stmt *q = sql_query(db, &e, sql, "");
	int got = q ? sql_step(q, &e) : -1;
	bool malformed = got < 0 && sql_is_malformed(db);
	const char *says = malformed ? e.what : "ok";
	if (got == 1 && !pages) {
		says = (const char *)sqlite3_column_text(q, 0);
		malformed = !says || strcmp(says, "ok") != 0;
	}
	if (malformed)
		snprintf(why, 128, "%.120s", says ? says : table);
	for (char *at = why; (at = strchr(at, '\n'));)
		*at = ' ';
	sqlite3_finalize(q);
	return malformed;
}

bool salvage_is_malformed(sqlite3 *db)
{
	char why[128] = "";

	for (size_t i = 0; i < TABLES; i++)
		if ((tables[i].look == LOOK_PAGES ||
		     tables[i].look == LOOK_LATER) &&
		    table_is_malformed(db, tables[i].name, false, why))
			return true;
	return false;
}

bool salvage_is_read_only(const char *path)
{
	uint8_t header[19] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool newer = fd >= 0 && pread(fd, header, sizeof(header), 0) == 19 &&
		     header[18] > 2;

	if (fd >= 0)
		close(fd);
	return newer;
}

/* 1, 0, -1 it is a newer version's. */
static int salvage_tables(sqlite3 *db, const char *path, bool small,
			  char why[128])
{
	char what[64];
	struct err e;

	switch (schema_state(db, what, &e)) {
	case SCHEMA_NEWER:
		return -1;
	case SCHEMA_MISSING:
		snprintf(why, 128, "its schema lacks %s", what);
		return 1;
	case SCHEMA_ERROR:
		snprintf(why, 128, "%.120s", e.what);
		return sql_is_malformed(db);
	default:
		break;
	}
	for (size_t i = 0; i < TABLES; i++)
		if ((small || tables[i].look <= LOOK_PAGES) &&
		    table_is_malformed(db, tables[i].name,
				       !small && tables[i].look == LOOK_PAGES,
				       why))
			return 1;
	snprintf(why, 128,
		 "its header has a format that SQLite does not write");
	return salvage_is_read_only(path);
}

static bool salvage_is_needed(int spool_fd, const char *path, bool captures,
			      char why[128])
{
	struct stat st;
	struct err e;

	bool there = stat(path, &st) == 0;
	if (there && !S_ISREG(st.st_mode)) {
		snprintf(why, 128, "it is not a file");
		return true;
	}
	if (!there || st.st_size == 0) {
		snprintf(why, 128, there ? "it is empty" : "it is missing");
		return captures && (there || errno == ENOENT);
	}
	sqlite3 *db = salvage_open(path, &e);
	int needed =
		db ? salvage_tables(db, path, st.st_size <= SMALL_BYTES, why)
		   : 0;
	sqlite3_close(db);
	if (needed)
		return needed > 0;
	snprintf(why, 128, "it is malformed");
	return salvage_is_marked(spool_fd);
}

/* --- what can be read --- */

/* Columns that both have, as a list; "": there are none. */
static void common_columns(struct salvage *v, const char *table,
			   char list[1024])
{
	struct err ignored;
	sqlite3_stmt *q =
		sql_query(v->db, &ignored,
			  "SELECT name FROM pragma_table_info(?1)", "t", table);
	size_t at = 0;

	list[0] = '\0';
	while (q && sql_step(q, &ignored) == 1) {
		const char *name = (const char *)sqlite3_column_text(q, 0);

		if (sqlite3_table_column_metadata(v->old, NULL, table, name,
						  NULL, NULL, NULL, NULL,
						  NULL) == SQLITE_OK)
			at += (size_t)snprintf(list + at, 1024 - at, "%s%s",
					       at ? ", " : "", name);
	}
	sqlite3_finalize(q);
}

static sqlite3_stmt *copy_insert(sqlite3 *db, const char *table,
				 const char *columns, int n, struct err *e)
{
	char sql[2048];
	size_t at = (size_t)snprintf(sql, sizeof(sql),
				     "INSERT OR IGNORE INTO %s (%s) VALUES (?",
				     table, columns);

	while (--n > 0)
		at += (size_t)snprintf(sql + at, sizeof(sql) - at, ", ?");
	snprintf(sql + at, sizeof(sql) - at, ")");
	return sql_query(db, e, sql, "");
}

/* 1 up to the end, 0 up to what cannot be read, -1 the disk says no. A row that
 * is not one any more, or is there, is left out. */
static int copy_rows(struct salvage *v, const char *table, const char *columns,
		     const char *order, struct err *e)
{
	char sql[2048];

	snprintf(sql, sizeof(sql), "SELECT %s FROM %s NOT INDEXED ORDER BY %s",
		 columns, table, order);
	sqlite3_stmt *from = sql_query(v->old, e, sql, "");
	int n = from ? sqlite3_column_count(from) : 0, got = -1;
	sqlite3_stmt *to =
		from ? copy_insert(v->db, table, columns, n, e) : NULL;
	bool refused = from && !to;
	while (to && !refused && (got = sql_step(from, e)) == 1) {
		for (int i = 0; i < n; i++)
			sqlite3_bind_value(to, i + 1,
					   sqlite3_column_value(from, i));
		refused = sql_step(to, e) < 0 && sql_disk_says_no(v->db);
		sqlite3_reset(to);
	}
	refused |= got < 0 && sql_disk_says_no(v->old);
	sqlite3_finalize(from);
	sqlite3_finalize(to);
	return refused ? -1 : got == 0;
}

/* As copy_rows. */
static int copy_table(struct salvage *v, size_t i, struct err *e)
{
	const char *name = tables[i].name;
	char columns[1024];

	common_columns(v, name, columns);
	if (!*columns)
		return 0;
	int whole = copy_rows(v, name, columns, tables[i].key, e);
	if (whole == 0 && copy_rows(v, name, columns, tables[i].back, e) < 0)
		return -1;
	return whole;
}

/* Numbers that are not given again. */
static bool copy_sequences(struct salvage *v, struct err *e)
{
	struct err ignored;
	sqlite3_stmt *q = sql_query(
		v->old, &ignored, "SELECT name, seq FROM sqlite_sequence", "");
	bool ok = true;

	while (ok && q && sql_step(q, &ignored) == 1)
		ok = sql_exec(v->db, e,
			      "UPDATE sqlite_sequence SET seq = max(seq, ?2) "
			      "WHERE name = ?1",
			      "ti", sqlite3_column_text(q, 0),
			      sqlite3_column_int64(q, 1));
	sqlite3_finalize(q);
	return ok;
}

static bool salvage_copy(struct salvage *v, struct err *e)
{
	for (size_t i = 0; i < TABLES; i++) {
		int got = copy_table(v, i, e);

		if (got < 0)
			return false;
		v->lost[i] = got == 0;
	}
	/* Of a segment whose row was not read the file knows them. */
	return copy_sequences(v, e) &&
	       sql_exec(v->db, e,
			"DELETE FROM blocks AS b WHERE NOT EXISTS (SELECT 1 "
			"FROM segments AS s WHERE s.capture = b.capture AND "
			"s.first_seq = b.segment)",
			"");
}

/* A schema of the version that the old one has, if that is known. */
static unsigned salvage_version(sqlite3 *old)
{
	struct err ignored;
	sqlite3_stmt *q = sql_query(old, &ignored, "PRAGMA user_version", "");
	unsigned version = q && sql_step(q, &ignored) == 1
				   ? (unsigned)sqlite3_column_int(q, 0)
				   : 0;

	sqlite3_finalize(q);
	return version && version <= catalog_version() ? version
						       : catalog_version();
}

static bool salvage_fill(struct salvage *v, const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
		v->old = salvage_open(path, e);
		if (!v->old)
			return false;
	}
	sqlite3_exec(v->db,
		     "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF",
		     NULL, NULL, NULL);
	return sql_exec(v->db, e, "BEGIN", "") &&
	       schema_fill(v->db,
			   v->old ? salvage_version(v->old) : catalog_version(),
			   e) &&
	       (!v->old || salvage_copy(v, e)) &&
	       sql_exec(v->db, e, "COMMIT", "");
}

static bool salvage_make(struct salvage *v, const char *path, const char *part,
			 struct err *e)
{
	v->db = catalog_connect(part,
				SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e);
	bool ok = v->db && salvage_fill(v, path, e);
	sqlite3_close(v->db);
	sqlite3_close(v->old);
	if (!ok)
		return false;
	int fd = open(part, O_RDONLY | O_CLOEXEC);
	ok = (fd >= 0 && fsync(fd) == 0) || err_errno(e, "sync %s", part);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* --- its place --- */

/* The old one's files get a name that is free. Until the new one is renamed
 * over it, the first keeps its own as well. */
static bool salvage_aside(int dir, char to[64], struct err *e)
{
	static const char *const more[] = {"-wal", "-shm"};
	char from[64], beside[80];
	bool there = salvage_has(dir, NAME);
	int n = 1;

	do
		snprintf(to, 64, NAME ".damaged.%d", n);
	while (salvage_has(dir, to) && n++ < ASIDE_MAX);
	if (linkat(dir, NAME, dir, to, 0) < 0 &&
	    renameat(dir, NAME, dir, to) < 0 && errno != ENOENT)
		return err_errno(e, "rename " NAME);
	for (size_t i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), NAME "%s", more[i]);
		snprintf(beside, sizeof(beside), "%s%s", to, more[i]);
		if (renameat(dir, from, dir, beside) < 0 && errno != ENOENT)
			return err_errno(e, "rename %s", from);
	}
	if (!there)
		to[0] = '\0';
	return true;
}

static bool salvage_replace(int dir, char aside[64], struct err *e)
{
	if (!salvage_aside(dir, aside, e))
		return false;
	if (renameat(dir, PART, dir, NAME) < 0)
		return err_errno(e, "rename " PART);
	unlinkat(dir, MARK, 0);
	return file_sync_folder(dir, ".", e);
}

/* aside: "" if there was nothing. */
static void salvage_say(const struct salvage *v, const char *aside,
			char line[SALVAGE_LINE_MAX])
{
	char lacks[128] = "";
	size_t at = 0;

	for (size_t i = 0; i < TABLES; i++)
		if (v->lost[i] && tables[i].words)
			at += (size_t)snprintf(lacks + at, sizeof(lacks) - at,
					       "%s%s", at ? ", " : "",
					       tables[i].words);
	snprintf(line, SALVAGE_LINE_MAX,
		 NAME ": %s; it is made again from %sthe spool%s%s%s%s", v->why,
		 *aside ? "what can be read of it and from " : "",
		 at ? ", but for: " : "", lacks,
		 *aside ? "; the old one is kept as " : "", aside);
}

bool salvage_catalog(int spool_fd, const char *path, bool captures,
		     char line[SALVAGE_LINE_MAX], struct err *e)
{
	static const char *const parts[] = {PART, PART "-journal"};
	struct salvage v = {0};
	char part[4200], aside[64] = "";

	line[0] = '\0';
	if (!salvage_is_needed(spool_fd, path, captures, v.why))
		return true;
	for (size_t i = 0; i < TABLES; i++)
		v.lost[i] = true;
	for (size_t i = 0; i < 2; i++)
		unlinkat(spool_fd, parts[i], 0);
	snprintf(part, sizeof(part), "%s" FILE_PART, path);
	bool ok = salvage_make(&v, path, part, e) &&
		  salvage_replace(spool_fd, aside, e);
	if (ok)
		salvage_say(&v, aside, line);
	return ok || err_wrap(e, NAME ": %s; make it again", v.why);
}
