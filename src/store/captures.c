/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures come, are changed, and go. Guarantees that what a function here said
 * was done is committed, and that of a deleted capture nothing comes back.
 * Leaves out how a row is read and written: capture_row.c.
 */
#include "store/store_internal.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- changes --- */

struct capture_change {
	const char *sql, *types;
	va_list ap;
	int rows;
};

static bool run_change(sqlite3 *db, void *arg, struct err *e)
{
	struct capture_change *c = arg;
	va_list ap;

	va_copy(ap, c->ap); /* the catalog may run it again */
	bool ok = sql_exec_list(db, e, c->sql, c->types, ap);
	va_end(ap);
	c->rows = sqlite3_changes(db);
	return ok;
}

int store_change(struct store *s, struct err *e, const char *sql,
		 const char *types, ...)
{
	struct capture_change c = {.sql = sql, .types = types};

	va_start(c.ap, types);
	bool ok = catalog_run(s->catalog, run_change, &c, e);
	va_end(c.ap);
	if (ok)
		manifest_changed(s);
	return ok ? c.rows : -1;
}

#define ALIAS_ADD "INSERT INTO aliases VALUES (?1, ?2) ON CONFLICT DO NOTHING"

static bool alias_is_taken(const char *alias, struct err *e)
{
	return err_set_reason(e, REASON_ALIAS_TAKEN, "alias '%s' is taken",
			      alias);
}

bool store_alias_add(struct store *s, uint64_t id, const char *alias,
		     struct err *e)
{
	int rows = store_change(s, e, ALIAS_ADD, "ti", alias, id);

	return rows > 0 || (rows == 0 && alias_is_taken(alias, e));
}

bool store_alias_remove(struct store *s, const char *alias, struct err *e)
{
	int rows = store_change(s, e, "DELETE FROM aliases WHERE alias = ?1",
				"t", alias);

	return rows > 0 ||
	       (rows == 0 && err_set(e, ERR_NOT_FOUND, "no alias '%s'", alias));
}

static bool store_run_add(sqlite3 *db, void *arg, struct err *e)
{
	struct capture_row *r = arg;

	if (!rows_put_capture(db, r, true, e))
		return false;
	r->id = (uint64_t)sqlite3_last_insert_rowid(db);
	for (size_t i = 0; i < r->n_aliases; i++) {
		const char *alias = r->aliases[i];

		if (!sql_exec(db, e, ALIAS_ADD, "ti", alias, r->id))
			return false;
		if (sqlite3_changes(db) != 1)
			return alias_is_taken(alias, e);
	}
	return true;
}

bool store_add(struct store *s, struct capture_row *row, struct err *e)
{
	uint8_t random[UUID_MAX / 2];

	sqlite3_randomness(sizeof(random), random);
	for (size_t i = 0; i < sizeof(random); i++)
		sprintf(row->uuid + 2 * i, "%02x", random[i]);
	if (!catalog_run(s->catalog, store_run_add, row, e))
		return false;
	/* Before there are segments of it: an id that came back after a power
	 * loss would find them. */
	atomic_store(&s->identity_old, true);
	housekeeper_now(s->housekeeper, true);
	return true;
}

bool store_set_wanted(struct store *s, uint64_t id, bool wanted, struct err *e)
{
	return store_change(s, e,
			    "UPDATE captures SET wanted = ?1 WHERE id = ?2",
			    "ii", (int64_t)wanted, id) >= 0;
}

bool store_set_link_type(struct store *s, uint64_t id, uint32_t link_type,
			 struct err *e)
{
	return store_change(s, e,
			    "UPDATE captures SET link_type = ?1 WHERE id = ?2",
			    "ii", (int64_t)link_type, id) >= 0;
}

bool store_set_program(struct store *s, const struct capture_row *row,
		       struct err *e)
{
	return store_change(s, e,
			    "UPDATE captures SET program = ?1, "
			    "program_link_type = ?2 WHERE id = ?3",
			    "bii", row->program, row->program_bytes,
			    row->program_link_type, row->id) >= 0;
}

bool store_set_keep(struct store *s, uint64_t id, uint64_t keep_bytes,
		    int64_t keep_age_ns, struct err *e)
{
	return store_change(s, e,
			    "UPDATE captures SET keep_bytes = ?2, keep_age_ns "
			    "= ?3 WHERE id = ?1",
			    "iii", id, keep_bytes, keep_age_ns) >= 0;
}

struct people_change {
	uint64_t capture;
	const char *people;
};

static bool run_people(sqlite3 *db, void *arg, struct err *e)
{
	const struct people_change *c = arg;

	/* The audit tells of it to the same people, also when it is deleted. */
	return sql_exec(db, e, "UPDATE captures SET people = ?2 WHERE id = ?1",
			"it", c->capture, c->people) &&
	       sql_exec(db, e,
			"UPDATE audit SET people = ?2 WHERE capture_id = ?1",
			"it", c->capture, c->people);
}

bool store_set_people(struct store *s, uint64_t id, const char *people,
		      struct err *e)
{
	struct people_change c = {id, people};

	if (!catalog_run(s->catalog, run_people, &c, e))
		return false;
	manifest_changed(s);
	return true;
}

/* --- delete: mark, remove the files, remove the rows --- */

/* At a time, some 20 ms: others want the folders and the catalog, too. */
#define DELETE_FILES 256
#define DELETE_ROWS 2048

static bool store_run_mark(sqlite3 *db, void *arg, struct err *e)
{
	const uint64_t *id = arg;

	return sql_exec(db, e, "DELETE FROM aliases WHERE capture = ?1", "i",
			*id) &&
	       sql_exec(db, e, "UPDATE captures SET deleted = 1 WHERE id = ?1",
			"i", *id);
}

/* What there may be much of: a segment's row before its blocks', which would
 * not be those that were added. */
static const struct {
	const char *table, *key;
} many_rows[] = {
	{"segments", "first_seq"},
	{"blocks", "seq"},
	{"ledger", "id"},
	{"imports", "id"},
};

struct forgetting {
	struct store *store;
	uint64_t id;
	size_t table; /* of many_rows; behind them the rest */
	bool more;
};

static bool forget_some(sqlite3 *db, struct forgetting *f, struct err *e)
{
	const char *table = many_rows[f->table].table;
	const char *key = many_rows[f->table].key;
	char sql[192];

	snprintf(sql, sizeof(sql),
		 "DELETE FROM %s WHERE capture = ?1 AND %s IN (SELECT %s FROM "
		 "%s WHERE capture = ?1 LIMIT ?2)",
		 table, key, key, table);
	f->more = false;
	if (!sql_exec(db, e, sql, "ii", f->id, (int64_t)DELETE_ROWS)) {
		/* Those that cannot be removed are nobody's then. */
		if (strcmp(table, "blocks") != 0 || !sql_is_malformed(db))
			return false;
		store_malformed(f->store);
		return true;
	}
	f->more = sqlite3_changes(db) == DELETE_ROWS;
	return true;
}

static bool store_run_forget(sqlite3 *db, void *arg, struct err *e)
{
	struct forgetting *f = arg;
	uint64_t id = f->id;

	if (f->table < sizeof(many_rows) / sizeof(*many_rows))
		return forget_some(db, f, e);
	return sql_exec(db, e, "DELETE FROM holds WHERE capture = ?1", "i",
			id) &&
	       sql_exec(db, e, "DELETE FROM marks WHERE capture = ?1", "i",
			id) &&
	       sql_exec(db, e, "DELETE FROM kept WHERE capture = ?1", "i",
			id) &&
	       sql_exec(db, e, "DELETE FROM interface_names WHERE capture = ?1",
			"i", id) &&
	       sql_exec(db, e, "DELETE FROM captures WHERE id = ?1", "i", id);
}

static bool store_is_ours(const char *name)
{
	char whole[SEGMENT_NAME_BYTES];
	uint64_t seq;
	size_t n = strlen(name), part = strlen(SEGMENT_PART);

	if (n > part && n < sizeof(whole) &&
	    strcmp(name + n - part, SEGMENT_PART) == 0)
		n -= part;
	snprintf(whole, sizeof(whole), "%.*s", (int)n, name);
	return segment_parse_name(whole, &seq) ||
	       strcmp(name, SEGMENT_NEXT) == 0 ||
	       strcmp(whole, IDENTITY_FILE) == 0 ||
	       strcmp(whole, LEDGER_FILE) == 0;
}

/* Files with names of ours, of which there may be more: how many went, -1
 * error. A folder that holds others stays. */
static int remove_some(struct store *s, uint64_t id, struct err *e)
{
	char name[24];
	int n = 0;

	snprintf(name, sizeof(name), "%" PRIu64, id);
	int fd = openat(s->spool_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0
				       : -!err_errno(e, "open folder %s", name);
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -!err_errno(e, "read folder %s", name);
	}
	for (struct dirent *d;
	     n >= 0 && n < DELETE_FILES && (d = readdir(dir));)
		if (store_is_ours(d->d_name))
			n = unlinkat(fd, d->d_name, 0) == 0
				    ? n + 1
				    : -!err_errno(e, "remove %s/%s", name,
						  d->d_name);
	/* A folder without a row is a capture's that the catalog lost: what is
	 * deleted must not come back after a power loss. */
	if (n >= 0 && n < DELETE_FILES && fsync(fd) < 0)
		n = -!err_errno(e, "sync folder %s of the spool", name);
	closedir(dir);
	if (n >= 0 && n < DELETE_FILES &&
	    unlinkat(s->spool_fd, name, AT_REMOVEDIR) < 0)
		log_warn("folder %s of a deleted capture stays: %s", name,
			 strerror(errno));
	return n;
}

static bool delete_files(struct store *s, uint64_t id, struct err *e)
{
	int n;

	do {
		pthread_mutex_lock(&s->folders);
		n = remove_some(s, id, e);
		pthread_mutex_unlock(&s->folders);
	} while (n == DELETE_FILES && !atomic_load(&s->stopping));
	return n >= 0;
}

static bool delete_rows(struct store *s, uint64_t id, struct err *e)
{
	struct forgetting f = {.store = s, .id = id};

	while (f.table <= sizeof(many_rows) / sizeof(*many_rows) &&
	       !atomic_load(&s->stopping)) {
		f.more = false;
		if (!catalog_run(s->catalog, store_run_forget, &f, e))
			return false;
		f.table += !f.more;
	}
	return true;
}

bool store_delete_begin(struct store *s, uint64_t id, struct err *e)
{
	return verify_wait(s->verify, id, VERIFY_SEGMENTS, e) &&
	       catalog_run(s->catalog, store_run_mark, &id, e);
}

bool store_delete_finish(struct store *s, uint64_t id, struct err *e)
{
	return delete_files(s, id, e) && delete_rows(s, id, e);
}

bool store_delete(struct store *s, uint64_t id, struct err *e)
{
	return store_delete_begin(s, id, e) && store_delete_finish(s, id, e);
}

static bool resume_deletes(struct store *s,
			   bool (*part)(struct store *s, uint64_t id,
					struct err *e),
			   struct err *e)
{
	struct capture_row *rows;
	size_t n;
	sqlite3 *db = catalog_reader(s->catalog, e);
	bool ok = db && rows_captures(db, true, &rows, &n, e);

	sqlite3_close(db);
	if (!ok)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!part(s, rows[i].id, e))
			log_err(LOG_LEVEL_WARN, e);
		capture_row_done(&rows[i]);
	}
	free(rows);
	return true;
}

bool store_resume_deletes(struct store *s, struct err *e)
{
	return resume_deletes(s, delete_files, e);
}

bool store_end_deletes(struct store *s, struct err *e)
{
	return resume_deletes(s, store_delete_finish, e);
}
