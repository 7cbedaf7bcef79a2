/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file `ledger` in a capture's folder: its rows of the ledger, so that
 * what is missing is not forgotten with a catalog. Guarantees that every row
 * that is committed is in the file within a sync interval or after the next
 * start, and that a line which was torn or altered is left out and costs no
 * other. Leaves out what the rows mean: ledger.c.
 *
 * A line is a hash of the rest of it, the row's id, cause, from_ns, to_ns,
 * packets and detail. A row that grew is appended again, and the last line of
 * an id counts; a file with much that does not count is written anew.
 */
#include "store/ledger.h"
#include "store/row_sum.h"
#include "store/store_internal.h"

#include "base/log.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TITLE "pcapd ledger 1\n"
#define ENTRY_MAX (256 + LEDGER_DETAIL_MAX)
/* A file that is longer by that much than its rows ask for is worth it. */
#define SLACK_BYTES (64 << 10)

#define ROW_COLUMNS "id, cause, from_ns, to_ns, packets, detail, capture"

struct ledger_file_entry {
	int64_t id;
	size_t place; /* in the file */
	struct ledger_row row;
};

static uint64_t ledger_file_hash_of(const char *text, size_t n)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3;
	return h;
}

/* --- writing --- */

static size_t put_entry(char line[ENTRY_MAX], sqlite3_stmt *q)
{
	char text[ENTRY_MAX];
	const unsigned char *detail = sqlite3_column_text(q, 5);
	int n = snprintf(
		text, sizeof(text),
		"%" PRId64 " %d %" PRId64 " %" PRId64 " %" PRIu64 " %.*s",
		(int64_t)sqlite3_column_int64(q, 0), sqlite3_column_int(q, 1),
		(int64_t)sqlite3_column_int64(q, 2),
		(int64_t)sqlite3_column_int64(q, 3),
		(uint64_t)sqlite3_column_int64(q, 4), LEDGER_DETAIL_MAX,
		detail ? (const char *)detail : "");

	for (int i = 0; i < n; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	return (size_t)snprintf(line, ENTRY_MAX, "%016" PRIx64 " %s\n",
				ledger_file_hash_of(text, (size_t)n), text);
}

/* All rows of a capture, as the file is without slack: to free(). */
static char *whole_text(sqlite3 *db, uint64_t id, size_t *n, struct err *e)
{
	char *text = NULL, line[ENTRY_MAX];
	FILE *to = open_memstream(&text, n);
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT " ROW_COLUMNS " FROM ledger "
				    "WHERE capture = ?1 ORDER BY id",
				    "i", id);
	int got = -1;

	if (to)
		fputs(TITLE, to);
	while (to && q && (got = sql_step(q, e)) == 1)
		fwrite(line, 1, put_entry(line, q), to);
	bool ok = to && got == 0 && !ferror(to);
	if (!to || (got == 0 && !ok))
		err_no_memory(e, "ledger");
	sqlite3_finalize(q);
	if (to)
		ok = fclose(to) == 0 && ok;
	if (ok)
		return text;
	free(text);
	return NULL;
}

static bool write_whole(struct store *s, sqlite3 *db, uint64_t id,
			struct err *e)
{
	size_t n, n_old;
	char *text = whole_text(db, id, &n, e);
	char *old = folder_read(s, id, LEDGER_FILE, &n_old);
	bool ok = text;

	if (text && (!old || n != n_old || memcmp(old, text, n) != 0))
		ok = folder_replace(s, id, LEDGER_FILE, text, n, e);
	free(old);
	free(text);
	return ok;
}

/* 1 it is, 0 it is not (or is deleted by now), -1 */
static int is_capture(sqlite3 *db, uint64_t id, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT 1 FROM captures WHERE id = ?1 "
				    "AND NOT deleted",
				    "i", id);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

static bool ledger_file_write_all(struct store *s, sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e, "SELECT id FROM captures WHERE NOT deleted", "");
	bool ok = true;
	int got = -1;

	while (ok && q && (got = sql_step(q, e)) == 1) {
		uint64_t id = (uint64_t)sqlite3_column_int64(q, 0);

		pthread_mutex_lock(&s->folders);
		int there = is_capture(db, id, e);
		ok = there == 0 || (there == 1 && write_whole(s, db, id, e));
		pthread_mutex_unlock(&s->folders);
	}
	sqlite3_finalize(q);
	return ok && got == 0;
}

static bool has_slack(sqlite3 *db, uint64_t id, int64_t bytes)
{
	struct err ignored;

	if (bytes < SLACK_BYTES)
		return false;
	sqlite3_stmt *q = sql_query(db, &ignored,
				    "SELECT count(*) FROM ledger "
				    "WHERE capture = ?1",
				    "i", id);
	bool yes = q && sql_step(q, &ignored) == 1 &&
		   bytes > SLACK_BYTES + sqlite3_column_int64(q, 0) * ENTRY_MAX;
	sqlite3_finalize(q);
	return yes;
}

/* One write a line: what is torn is the last one. */
static bool ledger_file_append(struct store *s, sqlite3 *db, uint64_t id,
			       const char *line, size_t n, struct err *e)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "%" PRIu64 "/" LEDGER_FILE, id);
	int fd = openat(s->spool_fd, name,
			O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return write_whole(s, db, id, e);
	bool ok = fd >= 0 && write(fd, line, n) == (ssize_t)n &&
		  fdatasync(fd) == 0 && fstat(fd, &st) == 0;
	if (!ok)
		err_errno(e, "write %s", name);
	if (fd >= 0)
		close(fd);
	return ok &&
	       (!has_slack(db, id, st.st_size) || write_whole(s, db, id, e));
}

static bool append_row(struct store *s, sqlite3 *db, int64_t id, struct err *e)
{
	char line[ENTRY_MAX];
	sqlite3_stmt *q = sql_query(
		db, e, "SELECT " ROW_COLUMNS " FROM ledger WHERE id = ?1", "i",
		id);
	int got = q ? sql_step(q, e) : -1;
	bool ok = got == 0;

	if (got == 1) {
		uint64_t capture = (uint64_t)sqlite3_column_int64(q, 6);
		size_t n = put_entry(line, q);

		pthread_mutex_lock(&s->folders);
		int there = is_capture(db, capture, e);
		ok = there == 0 ||
		     (there == 1 &&
		      ledger_file_append(s, db, capture, line, n, e));
		pthread_mutex_unlock(&s->folders);
	}
	sqlite3_finalize(q);
	return ok;
}

void ledger_file_follow(struct store *s)
{
	int64_t ids[CATALOG_CHANGES];
	size_t n = 0;
	struct err e;

	/* A line that could not be written, or was torn, is in the next whole
	 * file. */
	bool all = !catalog_changes(s->catalog, ids, &n) || s->ledger_file_old;
	if (!all && n == 0)
		return;
	sqlite3 *db = catalog_reader(s->catalog, &e);
	bool ok = db && (!all || ledger_file_write_all(s, db, &e));
	for (size_t i = 0; ok && !all && i < n; i++)
		ok = append_row(s, db, ids[i], &e);
	sqlite3_close(db);
	/* Every second is too often to say it. */
	if (!ok && !s->ledger_file_failed)
		log_err(LOG_LEVEL_WARN, &e);
	s->ledger_file_failed = s->ledger_file_old = !ok;
}

/* --- reading --- */

static bool parse_line(const char *line, size_t n, struct ledger_file_entry *to)
{
	int cause, at = 0;
	uint64_t hash;

	if (n < 18 || memchr(line, '\0', n) ||
	    sscanf(line, "%16" SCNx64, &hash) != 1 ||
	    hash != ledger_file_hash_of(line + 17, n - 17) ||
	    sscanf(line + 17,
		   "%" SCNd64 " %d %" SCNd64 " %" SCNd64 " %" SCNu64 "%n",
		   &to->id, &cause, &to->row.from_ns, &to->row.to_ns,
		   &to->row.packets, &at) < 5 ||
	    line[17 + at] != ' ')
		return false;
	to->row.cause = (enum ledger_cause)cause;
	snprintf(to->row.detail, sizeof(to->row.detail), "%s",
		 line + 17 + at + 1);
	return true;
}

static int by_id_and_place(const void *a, const void *b)
{
	const struct ledger_file_entry *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->place < y->place ? -1 : 1;
}

/* What the catalog has is most of it. */
static bool is_behind(const char *line, size_t n, int64_t id)
{
	return n < 18 || strtoll(line + 17, NULL, 10) > id;
}

/* Lines that are whole and of a row behind that id, in order; of an id the
 * last. Of a file of any size. */
static size_t ledger_file_parse(FILE *file, int64_t behind,
				struct ledger_file_entry **entries)
{
	size_t n = 0, kept = 0, line_room = 0;
	struct ledger_file_entry *all = NULL;
	char *line = NULL;
	ssize_t length;

	for (size_t place = 0; (length = getline(&line, &line_room, file)) > 0;
	     place++) {
		if (line[length - 1] != '\n')
			break;
		line[--length] = '\0';
		if (!is_behind(line, (size_t)length, behind))
			continue;
		struct ledger_file_entry *x = vec_push(&all, &n);
		if (!x)
			break;
		x->place = place;
		if (!parse_line(line, (size_t)length, x))
			n--;
	}
	free(line);
	if (n)
		qsort(all, n, sizeof(*all), by_id_and_place);
	for (size_t i = 0; i < n; i++)
		if (i + 1 == n || all[i + 1].id != all[i].id)
			all[kept++] = all[i];
	*entries = all;
	return kept;
}

static FILE *ledger_file_open_file(struct store *s, uint64_t id)
{
	char name[64];

	snprintf(name, sizeof(name), "%" PRIu64 "/" LEDGER_FILE, id);
	int fd = openat(s->spool_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (fd >= 0 && !file)
		close(fd);
	return file;
}

struct merge {
	struct store *store;
	bool all;	/* altered ones, too, of all that there are */
	int64_t newest; /* id of the catalog's rows */
	size_t taken;
};

/* What the catalog tells of it is as much. */
static int is_told(sqlite3 *db, uint64_t capture, const struct ledger_row *r,
		   struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT 1 FROM ledger WHERE capture = ?1 "
				    "AND cause = ?2 AND from_ns <= ?3 AND "
				    "to_ns >= ?4 AND packets >= ?5 LIMIT 1",
				    "iiiii", capture, (int64_t)r->cause,
				    r->from_ns, r->to_ns, r->packets);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

static bool merge_entry(sqlite3 *db, struct merge *m, uint64_t capture,
			const struct ledger_file_entry *x, struct err *e)
{
	const struct ledger_row *r = &x->row;
	int told;

	if (!sql_run(db, e, SQL_MEND_LOSS, "iiiiiit", x->id, capture,
		     (int64_t)r->cause, r->from_ns, r->to_ns, r->packets,
		     r->detail))
		return false;
	m->taken += (size_t)sqlite3_changes(db);
	/* Of an older version, and as the file has it: it gets a sum. */
	if (!sql_run(db, e, SQL_SUM_LOSS, "iiiiiit", x->id, capture,
		     (int64_t)r->cause, r->from_ns, r->to_ns, r->packets,
		     r->detail))
		return false;
	if (x->id <= m->newest)
		return true;
	told = is_told(db, capture, r, e);
	m->taken += told == 0;
	return told == 1 ||
	       (told == 0 && sql_run(db, e, SQL_ADD_OLD_LOSS, "iiiiiit", x->id,
				     capture, (int64_t)r->cause, r->from_ns,
				     r->to_ns, r->packets, r->detail));
}

static bool merge_capture(sqlite3 *db, struct merge *m, uint64_t id, bool all,
			  struct err *e)
{
	struct ledger_file_entry *entries = NULL;
	FILE *file = ledger_file_open_file(m->store, id);
	size_t n = file ? ledger_file_parse(file, all ? INT64_MIN : m->newest,
					    &entries)
			: 0;
	bool ok = true;

	for (size_t i = 0; ok && i < n; i++)
		ok = merge_entry(db, m, id, &entries[i], e);
	free(entries);
	if (file)
		fclose(file);
	return ok;
}

static bool number_of(sqlite3 *db, const char *sql, int64_t *n, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e, sql, "");
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		*n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return ok;
}

_Static_assert(LEDGER_CAUSES == 14, "as LEDGER_NEWEST has them");
/* Or of an older version. */
#define LEDGER_DOUBTED "(sum IS NULL OR sum IS NOT " LEDGER_SUM ")"

static bool run_merge(sqlite3 *db, void *arg, struct err *e)
{
	struct merge *m = arg;
	int64_t doubted = m->all;

	if (!m->all &&
	    (!number_of(db, "SELECT coalesce(max(id), 0) FROM ledger",
			&m->newest, e) ||
	     !number_of(db,
			"SELECT count(*) FROM ledger WHERE id IN (SELECT id "
			"FROM (" LEDGER_NEWEST ")) AND " LEDGER_DOUBTED,
			&doubted, e)))
		return false;
	sqlite3_stmt *q = sql_query(db, e, "SELECT id FROM captures", "");
	int got = -1;
	while (q && (got = sql_step(q, e)) == 1)
		if (!merge_capture(db, m, (uint64_t)sqlite3_column_int64(q, 0),
				   doubted, e)) {
			got = -1;
			break;
		}
	sqlite3_finalize(q);
	return got == 0;
}

static bool ledger_file_take(struct merge *m, struct err *e)
{
	if (!catalog_run(m->store->catalog, run_merge, m, e))
		return false;
	if (m->taken)
		log_warn("%zu rows of what is missing were taken from files "
			 "beside the segments",
			 m->taken);
	return true;
}

bool ledger_file_merge(struct store *s, struct err *e)
{
	/* Rows may be missing before the newest. */
	struct merge m = {.store = s,
			  .all = s->salvaged,
			  .newest = s->salvaged ? INT64_MIN : 0};

	return ledger_file_take(&m, e);
}

bool ledger_file_verify(struct store *s, sqlite3 *db, struct err *e)
{
	struct merge m = {.store = s, .all = true, .newest = INT64_MAX};
	int64_t altered = 0, older = 0;

	if (!number_of(db, "SELECT count(*) FROM ledger WHERE " LEDGER_ALTERED,
		       &altered, e) ||
	    !number_of(db, "SELECT count(*) FROM ledger WHERE sum IS NULL",
		       &older, e))
		return false;
	if (altered)
		log_warn("the catalog's rows of %" PRId64 " losses were "
			 "altered",
			 altered);
	return (!altered && !older) || ledger_file_take(&m, e);
}

bool ledger_file_restore(sqlite3 *db, struct store *s, uint64_t id,
			 struct err *e)
{
	struct ledger_file_entry *entries = NULL;
	FILE *file = ledger_file_open_file(s, id);
	size_t n = file ? ledger_file_parse(file, INT64_MIN, &entries) : 0;
	bool ok = true;

	ok = sql_exec(db, e, "DELETE FROM ledger WHERE capture = ?1", "i", id);
	/* Ids order them; another capture may have these numbers by now. */
	for (size_t i = 0; ok && i < n; i++)
		ok = sql_run(db, e, SQL_ADD_LOSS, "iiiiit", id,
			     (int64_t)entries[i].row.cause,
			     entries[i].row.from_ns, entries[i].row.to_ns,
			     entries[i].row.packets, entries[i].row.detail);
	free(entries);
	if (file)
		fclose(file);
	return ok;
}
