/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapd check and pcapd repair. Guarantees that check writes nothing, that
 * both look at every frame, and that repair removes nothing that may be a
 * packet: a catalog that cannot be read is renamed, a damaged frame stays
 * where it is. Leaves out a spool in use.
 */
#include "store/ledger.h"
#include "store/row_sum.h"
#include "store/salvage.h"
#include "store/schema_state.h"
#include "store/segment_row.h"
#include "store/segment_scan.h"
#include "store/store_internal.h"
#include "store/wal_index.h"

#include "base/log.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct check {
	int spool_fd;
	sqlite3 *db;
	store_say say;
	void *ctx;
	struct store_findings *found;
};

static void __attribute__((format(printf, 2, 3)))
check_say(struct check *c, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->found->problems++;
	c->say(c->ctx, line);
}

static const char *check_when(int64_t ns, char out[40])
{
	time_t s = (time_t)(ns / NS_PER_S);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 40 - n, ".%09" PRId64 "Z", (int64_t)(ns % NS_PER_S));
	return out;
}

/* --- a segment --- */

struct expected {
	struct block_info *rows;
	size_t n;
	bool row;
	struct segment_row entry; /* the row */
};

static bool expected_rows(struct check *c, uint64_t id, uint64_t seq,
			  uint64_t next, struct expected *x, struct err *e)
{
	int got = segment_row_read(c->db, id, seq, &x->entry, e);
	sqlite3_stmt *q = NULL;

	x->row = got == 1;
	if (got >= 0)
		q = sql_query(c->db, e,
			      "SELECT " BLOCK_COLUMNS " FROM blocks b WHERE "
			      "capture = ?1 AND segment = ?2 AND seq BETWEEN "
			      "?2 AND ?3 ORDER BY offset",
			      "iii", id, seq, next ? next - 1 : INT64_MAX);
	got = -1;
	while (q && (got = sql_step(q, e)) == 1) {
		struct block_info *row = vec_push(&x->rows, &x->n);

		if (!row) {
			got = -!err_no_memory(e, "check");
			break;
		}
		block_from_row(q, row);
	}
	sqlite3_finalize(q);
	return got == 0;
}

static void check_say_damages(struct check *c, const char *name,
			      const struct segment_scan *v)
{
	char from[40], to[40];

	for (size_t i = 0; i < v->n_damages; i++) {
		const struct block_info *b = &v->damages[i].info;

		c->found->damaged_frames++;
		c->found->damaged_packets += b->packets;
		if (v->damages[i].known)
			check_say(c,
				  "%s: byte %" PRIu64 ": damaged frame: block "
				  "%" PRIu64 ", %" PRIu64
				  " packets from %s to %s",
				  name, b->offset, b->seq, b->packets,
				  check_when(b->min_ns, from),
				  check_when(b->max_ns, to));
		else
			check_say(c,
				  "%s: byte %" PRIu64 ": damage of %" PRIu64
				  " bytes, which nothing names",
				  name, b->offset, b->stored_bytes);
	}
}

static void say_rows(struct check *c, const char *name, const struct segment *g,
		     const struct segment_scan *v, const struct expected *x)
{
	struct segment_row file;
	char what[128];

	if (!x->row) {
		check_say(c, "%s: the catalog does not have it", name);
		return;
	}
	if (!x->entry.closed)
		check_say(c, "%s: it is open in the catalog", name);
	if (x->n != v->n_blocks ||
	    (x->n && memcmp(x->rows, v->blocks, x->n * sizeof(*x->rows))))
		check_say(c,
			  "%s: the catalog has %zu blocks, the file %zu, or "
			  "other "
			  "ones",
			  name, x->n, v->n_blocks);
	if (!v->n_blocks)
		return;
	segment_row_of(&file, g, v->blocks, v->n_blocks, v->file_bytes);
	if (!segment_row_same(&x->entry, &file, what))
		check_say(c, "%s: in the catalog its %s", name, what);
}

static void say_segment(struct check *c, const char *name,
			const struct segment *g, const struct segment_scan *v,
			const struct expected *x)
{
	check_say_damages(c, name, v);
	c->found->blocks += v->n_blocks - v->n_damages;
	if (v->tail_bytes)
		check_say(c,
			  "%s: byte %" PRIu64 ": a torn frame of %" PRIu32
			  " bytes",
			  name, v->frames_end, v->tail_bytes);
	else if (!v->footer)
		check_say(c, "%s: %s", name,
			  v->frames_end == v->file_bytes
				  ? "it was not closed"
				  : "the footer is damaged");
	else if (!v->table)
		check_say(c, "%s: the seek table is damaged", name);
	else if (v->index_bytes && !v->index_whole && !v->index_older)
		check_say(c, "%s: the index is damaged", name);
	if (c->db)
		say_rows(c, name, g, v, x);
}

/* Its footer names another place, or another capture of that number. */
static bool is_foreign(struct check *c, uint64_t id, uint64_t seq,
		       const struct segment_footer *head,
		       const struct capture_row *says, struct err *e)
{
	struct capture_row own = {0};
	bool other = head->capture != id || head->first_seq != seq;

	if (c->db && !other && says->uuid[0] &&
	    rows_capture(c->db, id, &own, e))
		other = own.uuid[0] && strcmp(own.uuid, says->uuid) != 0;
	capture_row_done(&own);
	return other;
}

static bool check_segment(struct check *c, uint64_t id, uint64_t seq,
			  uint64_t next, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];
	struct expected x = {0};
	struct segment_scan v = {0};
	struct segment_footer head;
	struct capture_row says = {0};
	struct err why;

	segment_name(name, id, seq);
	if (c->db && !expected_rows(c, id, seq, next, &x, e)) {
		free(x.rows);
		return false;
	}
	if (x.row && x.entry.expired) { /* being removed */
		free(x.rows);
		return true;
	}
	struct segment *g = segment_look(c->spool_fd, id, seq, &why);
	c->found->segments++;
	if (!g) {
		check_say(c, "%s: %s", name, why.what);
	} else {
		struct block_info *known = footer_read(g->fd, &head, &says);

		/* A footer has a checksum. */
		v.known = known ? known : x.rows;
		v.n_known = known ? head.blocks : x.n;
		v.closed = known || x.entry.closed;
		if (known && is_foreign(c, id, seq, &head, &says, &why))
			check_say(c,
				  "%s: its footer says that it is segment "
				  "%" PRIu64 " of capture %" PRIu64 "%s",
				  name, head.first_seq, head.capture,
				  head.capture == id && head.first_seq == seq
					  ? " of another spool"
					  : "");
		else if (segment_scan_file(&v, g, &why))
			say_segment(c, name, g, &v, &x);
		else
			check_say(c, "%s: %s", name, why.what);
		segment_scan_done(&v);
		capture_row_done(&says);
		free(known);
	}
	segment_free(g);
	free(x.rows);
	return true;
}

/* --- a capture --- */

/* Files and rows of what is being deleted do not fit together until they are
 * gone: the rest of the check sees none of them. */
static const char without_deleted[] =
	"CREATE TEMP TABLE going (capture INTEGER PRIMARY KEY);"
#define WITHOUT(table)                                                         \
	"CREATE TEMP VIEW " table " AS SELECT * FROM main." table              \
	" WHERE capture NOT IN (SELECT capture FROM going);"
	WITHOUT("segments") WITHOUT("blocks") WITHOUT("ledger") WITHOUT("kept");

/* One whose file says otherwise is not: a bit was altered. */
static bool check_deleted(struct check *c, struct err *e)
{
	struct store s = {.spool_fd = c->spool_fd};
	bool ok = sqlite3_exec(c->db, without_deleted, NULL, NULL, NULL) ==
			  SQLITE_OK ||
		  err_set(e, ERR_FAILED, "check: %s", sqlite3_errmsg(c->db));
	sqlite3_stmt *q =
		ok ? sql_query(c->db, e,
			       "SELECT id FROM captures WHERE deleted", "")
		   : NULL;
	int got = -1;

	while (q && ok && (got = sql_step(q, e)) == 1) {
		uint64_t id = (uint64_t)sqlite3_column_int64(q, 0);
		char what[128];

		ok = manifest_compare(&s, c->db, id, what, e);
		if (!ok || what[0])
			continue;
		check_say(c,
			  "%" PRIu64 ": it is being deleted; the next start "
			  "goes on with that",
			  id);
		ok = sql_exec(c->db, e, "INSERT INTO going VALUES (?1)", "i",
			      id);
	}
	sqlite3_finalize(q);
	return ok && got == 0;
}

static int is_going(struct check *c, uint64_t id, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		c->db, e, "SELECT 1 FROM going WHERE capture = ?1", "i", id);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

static bool check_missing(struct check *c, struct err *e)
{
	sqlite3_stmt *q = sql_query(c->db, e,
				    "SELECT capture, first_seq FROM segments "
				    "WHERE NOT expired",
				    "");
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		char name[SEGMENT_NAME_BYTES];
		struct stat st;

		segment_name(name, (uint64_t)sqlite3_column_int64(q, 0),
			     (uint64_t)sqlite3_column_int64(q, 1));
		if (fstatat(c->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			check_say(c, "%s: %s, and the catalog has it", name,
				  strerror(errno));
	}
	sqlite3_finalize(q);
	return got == 0;
}

static bool check_definition(struct check *c, uint64_t id, struct err *e)
{
	struct store s = {.spool_fd = c->spool_fd};
	char what[128];
	bool ok = manifest_compare(&s, c->db, id, what, e);

	if (ok && what[0])
		check_say(c, "%" PRIu64 ": %s", id, what);
	return ok;
}

static bool check_check_capture(struct check *c, uint64_t id, struct err *e)
{
	struct dirent **files;
	uint64_t seq;
	bool ok = true;
	int going = c->db ? is_going(c, id, e) : 0;

	if (going != 0)
		return going == 1;
	int n = segment_list(c->spool_fd, id, &files);
	int there = c->db ? rows_has_capture(c->db, id, e) : 1;

	if (there < 0)
		ok = false;
	else if (there == 0 && n > 0)
		check_say(c,
			  "%" PRIu64 ": the catalog does not have this capture",
			  id);
	for (int i = 0; i < n; i++) {
		uint64_t next = 0;

		if (i + 1 < n)
			segment_parse_name(files[i + 1]->d_name, &next);
		if (ok && segment_parse_name(files[i]->d_name, &seq))
			ok = check_segment(c, id, seq, next, e);
		free(files[i]);
	}
	if (n >= 0)
		free(files);
	return ok && (!c->db || check_definition(c, id, e));
}

static bool check_each(void *arg, uint64_t id, struct err *e)
{
	return check_check_capture(arg, id, e);
}

/* --- the catalog --- */

/* A database without a log is opened so that not even a lock is written;
 * paths with signs that mean something in a URI are not. The index of a log is
 * in memory: a full disk has no room for it. */
static sqlite3 *open_unchanged(const char *path, struct err *e)
{
	char wal[4200], uri[4200];
	struct stat st;
	sqlite3 *db = NULL;

	snprintf(wal, sizeof(wal), "%s-wal", path);
	snprintf(uri, sizeof(uri), "file:%s?immutable=1", path);
	bool quiet = (stat(wal, &st) < 0 || st.st_size == 0) &&
		     !strpbrk(path, "?#%");
	if (sqlite3_open_v2(quiet ? uri : path, &db,
			    SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
			    wal_index_vfs()) == SQLITE_OK)
		return db;
	err_set(e, ERR_FAILED, "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_close(db);
	return NULL;
}

static bool is_usable(const char *path, sqlite3 *db, struct err *e)
{
	char what[64];

	enum schema_state state = schema_state(db, what, e);

	return row_sum_define(db, e) && state != SCHEMA_ERROR &&
	       (!salvage_is_read_only(path) ||
		err_set(e, ERR_FAILED,
			"%s: its header has a format that SQLite does not "
			"write",
			path)) &&
	       (state != SCHEMA_MISSING ||
		err_set(e, ERR_FAILED, "%s: its schema lacks %s", path, what));
}

/* NULL and *e: it is not there, or no database that can be read whole. */
static sqlite3 *open_catalog(const char *path, struct err *e)
{
	if (access(path, F_OK) < 0) {
		err_errno(e, "%s", path);
		return NULL;
	}
	sqlite3 *db = open_unchanged(path, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e, "PRAGMA integrity_check(1)", "") : NULL;
	bool ok = q && sql_step(q, e) == 1;
	if (ok) {
		const char *says = (const char *)sqlite3_column_text(q, 0);

		ok = says && strcmp(says, "ok") == 0;
		if (!ok)
			err_set(e, ERR_FAILED, "%s: %.200s", path,
				says ? says : "");
	}
	sqlite3_finalize(q);
	if (ok && is_usable(path, db, e))
		return db;
	sqlite3_close(db);
	return NULL;
}

/* Older ones are not compared; the daemon or repair brings them up to date. */
static bool is_current(sqlite3 *db)
{
	struct err ignored;
	sqlite3_stmt *q = sql_query(db, &ignored, "PRAGMA user_version", "");
	bool ok = q && sql_step(q, &ignored) == 1 &&
		  (unsigned)sqlite3_column_int(q, 0) == catalog_version();

	sqlite3_finalize(q);
	return ok;
}

/* Why rows are not compared: *say, or "". */
static void check_version(sqlite3 *db, const char *path, char say[4300])
{
	struct err ignored;
	char what[64];

	say[0] = '\0';
	if (schema_state(db, what, &ignored) == SCHEMA_TEXT)
		snprintf(say, 4300,
			 "%s: the text of its schema was altered: %s", path,
			 what);
	else if (!is_current(db))
		snprintf(say, 4300, "%s: it is of another version of pcapd",
			 path);
}

static int lock_spool(const char *spool, int *lock_fd, struct err *e)
{
	int fd = open(spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*lock_fd = -1;
	if (fd < 0) {
		err_errno(e, "open spool %s", spool);
		return -1;
	}
	*lock_fd = openat(fd, "lock", O_RDONLY | O_CLOEXEC);
	if (*lock_fd < 0 || flock(*lock_fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	err_set(e, ERR_STATE, "spool %s belongs to a pcapd that runs", spool);
	err_hint(e, "Stop it first.");
	close(*lock_fd);
	close(fd);
	return -1;
}

static bool check_count(struct check *c, const char *sql, const char *what,
			struct err *e)
{
	sqlite3_stmt *q = sql_query(c->db, e, sql, "");
	bool ok = q && sql_step(q, e) == 1;
	int64_t n = ok ? sqlite3_column_int64(q, 0) : 0;

	if (n)
		check_say(c, "catalog.db: %" PRId64 " %s", n, what);
	sqlite3_finalize(q);
	return ok;
}

_Static_assert(LEDGER_EXPIRED == 11, "as below");

/* What no file has a word about. */
static bool check_tables(struct check *c, struct err *e)
{
	return check_count(
		       c,
		       "SELECT count(*) FROM segments WHERE " SEGMENT_ALTERED,
		       "rows of segments were altered", e) &&
	       check_count(c,
			   "SELECT count(*) FROM ledger WHERE " LEDGER_ALTERED,
			   "rows of the ledger were altered", e) &&
	       check_count(c, KEPT_ALTERED, "sums of what is kept were altered",
			   e) &&
	       check_count(c,
			   "SELECT count(*) FROM blocks b WHERE NOT EXISTS "
			   "(SELECT 1 FROM segments s WHERE s.capture = "
			   "b.capture AND s.first_seq = b.segment AND b.seq "
			   "BETWEEN s.first_seq AND s.last_seq)",
			   "rows of blocks are of no segment", e) &&
	       check_count(c,
			   "SELECT count(*) FROM segments s WHERE s.expired "
			   "AND NOT EXISTS (SELECT 1 FROM ledger l WHERE "
			   "l.capture = s.capture AND l.cause = 11 AND "
			   "l.from_ns <= s.min_ns AND l.to_ns > s.max_ns)",
			   "segments expired without a word of it in the "
			   "ledger",
			   e);
}

bool store_check(const char *spool, store_say say_line, void *ctx,
		 struct store_findings *found, struct err *e)
{
	struct check c = {.say = say_line, .ctx = ctx, .found = found};
	char path[4096], other[4300];
	struct err why = ERR_INIT;
	int lock_fd;

	memset(found, 0, sizeof(*found));
	if (snprintf(path, sizeof(path), "%s/catalog.db", spool) >=
	    (int)sizeof(path))
		return err_set(e, ERR_USAGE, "spool: the path is too long");
	c.spool_fd = lock_spool(spool, &lock_fd, e);
	if (c.spool_fd < 0)
		return false;
	c.db = open_catalog(path, &why);
	snprintf(other, sizeof(other), "%s", why.what);
	if (c.db)
		check_version(c.db, path, other);
	if (other[0]) {
		check_say(&c, "%s", other);
		sqlite3_close(c.db);
		c.db = NULL;
	}
	bool ok = (!c.db || (check_deleted(&c, e) && check_tables(&c, e) &&
			     check_missing(&c, e))) &&
		  spool_each_capture(c.spool_fd, check_each, &c, e);
	sqlite3_close(c.db);
	if (lock_fd >= 0)
		close(lock_fd);
	close(c.spool_fd);
	return ok;
}

/* --- repair --- */

bool store_repair(const struct store_options *o, store_say say_line, void *ctx,
		  struct store_findings *found, struct err *e)
{
	char path[4096];
	struct err why;
	int lock_fd;

	if (snprintf(path, sizeof(path), "%s/catalog.db", o->spool) >=
	    (int)sizeof(path))
		return err_set(e, ERR_USAGE, "spool: the path is too long");
	int fd = lock_spool(o->spool, &lock_fd, e);
	if (fd < 0)
		return false;
	sqlite3 *db = open_catalog(path, &why);
	if (!db && access(path, F_OK) == 0)
		salvage_mark(fd);
	sqlite3_close(db);
	/* store_open takes the lock for itself. */
	if (lock_fd >= 0)
		close(lock_fd);
	struct store *s = store_open_for_repair(o, e);
	bool ok = s && spool_adopt(s, say_line, ctx, e) &&
		  recover_all(s, RECOVER_ALL, e);
	store_close(s);
	close(fd);
	return ok && store_check(o->spool, say_line, ctx, found, e);
}
