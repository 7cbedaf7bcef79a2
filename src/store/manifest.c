/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file `capture` in a capture's folder: its definition, names, bounds,
 * holds and marks, so that the catalog can be made again from the spool
 * alone. Guarantees that the file is a whole old or a whole new one, and that
 * it follows the catalog within a sync interval or at the next start. Leaves
 * out the ledger, which has a file of its own.
 *
 * A line is a key, a blank and a value; in text \\ is a backslash and \n the
 * end of a line. Lines with keys that are not known are for newer versions.
 * The last ones are a hash of what is before it, and "end". `changes` counts:
 * a file that has more of them than the catalog is newer, and then it is right.
 */
#include "store/segment_scan.h"
#include "store/store_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TITLE "pcapd capture 1\n"

struct manifest {
	struct store *store;
	struct capture_row row; /* changes 0: of an older version */
	bool summed;		/* the file's sum is there, and right */
	bool gone;		/* deleted meanwhile */
	struct store_hold *holds;
	size_t n_holds;
	struct store_mark *marks;
	size_t n_marks;
};

static void manifest_done(struct manifest *i)
{
	capture_row_done(&i->row);
	free(i->holds);
	free(i->marks);
}

/* --- writing --- */

static void manifest_put_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\\\", to);
		else if (*text == '\n')
			fputs("\\n", to);
		else
			fputc(*text, to);
	}
	fputc('\n', to);
}

static void put_field(FILE *to, const struct capture_row *r,
		      const struct capture_field *f)
{
	fprintf(to, "%s ", f->name);
	if (f->kind == FIELD_NUMBER) {
		fprintf(to, "%" PRIu64 "\n", capture_field_number(r, f));
	} else if (f->kind == FIELD_PROGRAM) {
		for (size_t at = 0; at < r->program_bytes; at++)
			fprintf(to, "%02x", ((const uint8_t *)r->program)[at]);
		fputc('\n', to);
	} else {
		manifest_put_text(to, capture_field_text(r, f));
	}
}

static void put_identity(FILE *to, const struct manifest *i)
{
	const struct capture_row *r = &i->row;

	fputs(TITLE, to);
	fprintf(to, "id %" PRIu64 "\n", r->id);
	for (const struct capture_field *f = capture_fields; f->name; f++)
		if (f->owner != OWNER_CATALOG)
			put_field(to, r, f);
	for (size_t n = 0; n < r->n_aliases; n++) {
		fputs("alias ", to);
		manifest_put_text(to, r->aliases[n]);
	}
	for (size_t n = 0; n < i->n_holds; n++) {
		const struct store_hold *h = &i->holds[n];

		fprintf(to,
			"hold %" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " ",
			h->id, h->since_ns, h->until_ns, h->created_ns);
		manifest_put_text(to, h->reason);
	}
	for (size_t n = 0; n < i->n_marks; n++) {
		fprintf(to, "mark %" PRId64 " ", i->marks[n].at_ns);
		manifest_put_text(to, i->marks[n].name);
	}
}

static uint64_t manifest_hash_of(const char *text, size_t n)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3;
	return h;
}

/* The whole file, to free(). */
static char *manifest_text(const struct manifest *i, size_t *n, struct err *e)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, n);

	if (to) {
		put_identity(to, i);
		fflush(to);
		fprintf(to, "sum %016" PRIx64 "\nend\n",
			manifest_hash_of(text, *n));
	}
	bool ok = to && !ferror(to);
	if (to && fclose(to) == 0 && ok)
		return text;
	free(text);
	err_no_memory(e, "catalog");
	return NULL;
}

char *folder_read(struct store *s, uint64_t id, const char *file, size_t *n)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "%" PRIu64 "/%s", id, file);
	int fd = openat(s->spool_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *text = NULL;
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= FOLDER_FILE_MAX)
		text = malloc((size_t)st.st_size + 1);
	ssize_t got = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (fd >= 0)
		close(fd);
	if (got < 0) {
		free(text);
		return NULL;
	}
	text[got] = '\0';
	*n = (size_t)got;
	return text;
}

bool folder_replace(struct store *s, uint64_t id, const char *file,
		    const char *text, size_t n, struct err *e)
{
	char name[64], dir[24];

	snprintf(dir, sizeof(dir), "%" PRIu64, id);
	snprintf(name, sizeof(name), "%s/%s", dir, file);
	if (mkdirat(s->spool_fd, dir, 0750) < 0 && errno != EEXIST)
		return err_errno(e, "make folder %s in the spool", dir);
	return file_replace(s->spool_fd, name, text, n, 0640, e) &&
	       file_sync_folder(s->spool_fd, ".", e);
}

static bool write_one(struct store *s, const struct manifest *i, struct err *e)
{
	size_t n = 0, n_old = 0;
	char *text = manifest_text(i, &n, e);
	bool ok = text;

	if (!text)
		return false;
	char *old = folder_read(s, i->row.id, IDENTITY_FILE, &n_old);
	if (!old || n != n_old || memcmp(old, text, n) != 0)
		ok = folder_replace(s, i->row.id, IDENTITY_FILE, text, n, e);
	free(old);
	free(text);
	return ok;
}

static bool load_row(sqlite3 *db, struct manifest *i, struct err *e)
{
	sqlite3_stmt *q =
		sql_query(db, e, "SELECT deleted FROM captures WHERE id = ?1",
			  "i", i->row.id);
	int got = q ? sql_step(q, e) : -1;

	i->gone = got == 0 || (got == 1 && sqlite3_column_int(q, 0));
	if (got == 1)
		got = rows_capture(db, i->row.id, &i->row, e) ? 1 : -1;
	sqlite3_finalize(q);
	return got >= 0;
}

static bool load_holds(sqlite3 *db, struct manifest *i, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT id, since_ns, until_ns, "
				    "created_ns, reason FROM holds WHERE "
				    "capture = ?1 ORDER BY id",
				    "i", i->row.id);
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct store_hold *h = vec_push(&i->holds, &i->n_holds);

		if (!h) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
		h->id = (uint64_t)sqlite3_column_int64(q, 0);
		h->since_ns = sqlite3_column_int64(q, 1);
		h->until_ns = sqlite3_column_int64(q, 2);
		h->created_ns = sqlite3_column_int64(q, 3);
		snprintf(h->reason, sizeof(h->reason), "%s",
			 (const char *)sqlite3_column_text(q, 4));
	}
	sqlite3_finalize(q);
	return got == 0;
}

static bool load_marks(sqlite3 *db, struct manifest *i, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT name, at_ns FROM marks WHERE "
				    "capture = ?1 ORDER BY at_ns, name",
				    "i", i->row.id);
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct store_mark *m = vec_push(&i->marks, &i->n_marks);

		if (!m) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
		snprintf(m->name, sizeof(m->name), "%s",
			 (const char *)sqlite3_column_text(q, 0));
		m->at_ns = sqlite3_column_int64(q, 1);
	}
	sqlite3_finalize(q);
	return got == 0;
}

static bool manifest_load(sqlite3 *db, struct manifest *i, struct err *e)
{
	return load_row(db, i, e) && load_holds(db, i, e) &&
	       load_marks(db, i, e);
}

static bool manifest_write(struct store *s, sqlite3 *db, uint64_t id,
			   struct err *e)
{
	struct manifest one = {.row = {.id = id}};

	pthread_mutex_lock(&s->folders);
	bool ok = manifest_load(db, &one, e) &&
		  (one.gone || write_one(s, &one, e));
	pthread_mutex_unlock(&s->folders);
	manifest_done(&one);
	return ok;
}

/* By id: an array to free(). */
static bool manifest_versions(sqlite3 *db, struct identity_version **v,
			      size_t *n, struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT id, changes FROM captures "
				    "WHERE NOT deleted ORDER BY id",
				    "");
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct identity_version *one = vec_push(v, n);

		if (!one) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
		*one = (struct identity_version){
			(uint64_t)sqlite3_column_int64(q, 0),
			(uint64_t)sqlite3_column_int64(q, 1)};
	}
	sqlite3_finalize(q);
	return got == 0;
}

/* Before it is written it has no version. */
static bool manifest_is_written(const struct store *s, size_t *at,
				const struct identity_version *v)
{
	while (*at < s->n_written && s->written[*at].id < v->id)
		++*at;
	return *at < s->n_written && s->written[*at].id == v->id &&
	       s->written[*at].changes == v->changes;
}

static void manifest_failed(struct store *s, const struct err *e)
{
	log_err(LOG_LEVEL_WARN, e);
	atomic_store(&s->identity_old, true);
}

void manifest_write_changed(struct store *s)
{
	struct identity_version *v = NULL;
	struct err e;
	size_t n = 0, at = 0;
	sqlite3 *db = catalog_reader(s->catalog, &e);

	if (!db || !manifest_versions(db, &v, &n, &e)) {
		manifest_failed(s, &e);
		free(v);
		sqlite3_close(db);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (manifest_is_written(s, &at, &v[i]) ||
		    manifest_write(s, db, v[i].id, &e))
			continue;
		manifest_failed(s, &e);
		v[i].changes = 0;
	}
	free(s->written);
	s->written = v;
	s->n_written = n;
	sqlite3_close(db);
}

void manifest_changed(struct store *s)
{
	atomic_store(&s->identity_old, true);
	housekeeper_now(s->housekeeper, false);
}

/* --- reading --- */

/* Undoes manifest_put_text in place. */
static char *text_of(char *value)
{
	char *to = value;

	for (const char *from = value; *from; from++) {
		if (*from == '\\' && from[1])
			*to++ = *++from == 'n' ? '\n' : *from;
		else
			*to++ = *from;
	}
	*to = '\0';
	return value;
}

static bool add_hold(struct manifest *i, char *value)
{
	struct store_hold *h = vec_push(&i->holds, &i->n_holds);
	int at = 0;

	if (!h ||
	    sscanf(value, "%" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNd64 "%n",
		   &h->id, &h->since_ns, &h->until_ns, &h->created_ns,
		   &at) < 4 ||
	    value[at] != ' ')
		return false;
	snprintf(h->reason, sizeof(h->reason), "%s", text_of(value + at + 1));
	return true;
}

static bool add_mark(struct manifest *i, char *value)
{
	struct store_mark *m = vec_push(&i->marks, &i->n_marks);
	int at = 0;

	if (!m || sscanf(value, "%" SCNd64 "%n", &m->at_ns, &at) < 1 ||
	    value[at] != ' ')
		return false;
	snprintf(m->name, sizeof(m->name), "%s", text_of(value + at + 1));
	return true;
}

static bool take_program(struct capture_row *r, char *hex)
{
	size_t n = strlen(hex) / 2;
	uint8_t *to = (uint8_t *)hex; /* behind what is read */
	unsigned byte;

	for (size_t i = 0; i < n; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		to[i] = (uint8_t)byte;
	}
	return capture_row_set_program(r, hex, n);
}

static bool take_field(struct capture_row *r, const struct capture_field *f,
		       char *value)
{
	if (f->kind == FIELD_PROGRAM)
		return take_program(r, value);
	if (f->kind != FIELD_NUMBER)
		return capture_field_set_text(r, f, text_of(value));
	capture_field_set_number(r, f, strtoull(value, NULL, 10));
	return true;
}

static bool manifest_take_line(struct manifest *i, const char *key, char *value)
{
	struct capture_row *r = &i->row;

	for (const struct capture_field *f = capture_fields; f->name; f++)
		if (f->owner != OWNER_CATALOG && !strcmp(key, f->name))
			return take_field(r, f, value);
	if (!strcmp(key, "id"))
		return r->id == strtoull(value, NULL, 10);
	if (!strcmp(key, "alias"))
		return capture_row_add_alias(r, text_of(value));
	if (!strcmp(key, "hold"))
		return add_hold(i, value);
	if (!strcmp(key, "mark"))
		return add_mark(i, value);
	return true;
}

static bool sum_is_right(const char *text, size_t n)
{
	const size_t end = strlen("sum 0123456789abcdef\nend\n");
	uint64_t sum;

	return n > end &&
	       sscanf(text + n - end, "sum %16" SCNx64 "\n", &sum) == 1 &&
	       sum == manifest_hash_of(text, n - end);
}

static bool manifest_parse(struct manifest *i, char *text, size_t n)
{
	size_t title = strlen(TITLE);

	if (n < title + 4 || memcmp(text, TITLE, title) != 0 ||
	    memcmp(text + n - 5, "\nend\n", 5) != 0)
		return false;
	i->summed = sum_is_right(text, n);
	if (!i->summed && strstr(text, "\nsum "))
		return false;
	for (char *line = text + title, *end; (end = strchr(line, '\n'));
	     line = end + 1) {
		*end = '\0';
		char *value = strchr(line, ' ');

		if (value)
			*value++ = '\0';
		if (!manifest_take_line(i, line, value ? value : end))
			return false;
	}
	return i->row.interface && i->row.filter;
}

/* --- making rows again --- */

static bool from_file(struct store *s, uint64_t id, struct manifest *i)
{
	size_t n;
	char *text = folder_read(s, id, IDENTITY_FILE, &n);

	*i = (struct manifest){.row = {.id = id, .program_link_type = -1}};
	bool ok = text && manifest_parse(i, text, n);
	free(text);
	if (!ok) {
		manifest_done(i);
		*i = (struct manifest){.row.id = id};
	}
	return ok;
}

/* The newest segment with a whole footer knows best; without one, frame 0
 * tells at least how to read the packets. */
static bool from_segments(struct store *s, uint64_t id, struct manifest *i)
{
	struct dirent **files;
	struct segment_footer head;
	uint64_t seq;
	bool found = false;
	struct err ignored;
	int n = segment_list(s->spool_fd, id, &files);

	for (int at = n - 1; at >= 0; at--) {
		struct segment *g = NULL;

		if (!found && segment_parse_name(files[at]->d_name, &seq))
			g = segment_resume(s->spool_fd, id, seq, &ignored);
		if (g) {
			void *blocks = footer_read(g->fd, &head, &i->row);

			found = blocks && head.capture == id;
			if (blocks && !found)
				capture_row_done(&i->row);
			if (!found) {
				i->row.link_type = g->link_type;
				i->row.snaplen = g->snaplen;
			}
			free(blocks);
		}
		segment_free(g);
		free(files[at]);
	}
	free(files);
	i->row.id = id;
	i->row.program_link_type = -1;
	i->row.created_ns = realtime_ns();
	/* An empty list may be older than one that was set. */
	if (!i->row.people[0])
		snprintf(i->row.people, sizeof(i->row.people), "%s",
			 PEOPLE_UNKNOWN);
	if (!found && n > 0) {
		i->row.savefile = true;
		i->row.interface = strdup("unknown");
		i->row.filter = strdup("");
	}
	return n > 0 && i->row.interface && i->row.filter;
}

static bool put_rows(sqlite3 *db, const struct manifest *i, struct err *e)
{
	const struct capture_row *r = &i->row;
	bool ok = rows_put_capture(db, r, false, e);

	/* Names that another capture has by now stay with that one. */
	for (size_t n = 0; ok && n < r->n_aliases; n++)
		ok = sql_exec(db, e,
			      "INSERT INTO aliases VALUES (?1, ?2) "
			      "ON CONFLICT DO NOTHING",
			      "ti", r->aliases[n], r->id);
	for (size_t n = 0; ok && n < i->n_holds; n++)
		ok = sql_exec(db, e,
			      "INSERT OR REPLACE INTO holds (id, capture, "
			      "since_ns, until_ns, created_ns, reason) VALUES "
			      "(?1, ?2, ?3, ?4, ?5, ?6)",
			      "iiiiit", i->holds[n].id, r->id,
			      i->holds[n].since_ns, i->holds[n].until_ns,
			      i->holds[n].created_ns, i->holds[n].reason);
	for (size_t n = 0; ok && n < i->n_marks; n++)
		ok = sql_exec(db, e,
			      "INSERT OR REPLACE INTO marks VALUES "
			      "(?1, ?2, ?3)",
			      "iti", r->id, i->marks[n].name,
			      i->marks[n].at_ns);
	/* Those that were made here just now are none. */
	return ok && sql_exec(db, e,
			      "UPDATE captures SET changes = max(?2, 1), "
			      "expired_seq = max(expired_seq, ?3), uuid = "
			      "iif(uuid = '', lower(hex(randomblob(16))), "
			      "uuid) WHERE id = ?1",
			      "iii", r->id, r->changes, r->expired_seq);
}

static bool run_restore(sqlite3 *db, void *arg, struct err *e)
{
	const struct manifest *i = arg;

	return put_rows(db, i, e) &&
	       ledger_file_restore(db, i->store, i->row.id, e);
}

static bool run_follow(sqlite3 *db, void *arg, struct err *e)
{
	const struct manifest *i = arg;
	uint64_t id = i->row.id;

	return sql_exec(db, e, "DELETE FROM aliases WHERE capture = ?1", "i",
			id) &&
	       sql_exec(db, e, "DELETE FROM holds WHERE capture = ?1", "i",
			id) &&
	       sql_exec(db, e, "DELETE FROM marks WHERE capture = ?1", "i",
			id) &&
	       put_rows(db, i, e);
}

/* Makes the rows of a capture that the catalog lacks, from its file, else
 * from what its segments say. false: *e, and nothing was made. */
static bool manifest_restore(struct store *s, uint64_t id, struct err *e)
{
	struct manifest i;
	bool ok = from_file(s, id, &i) || from_segments(s, id, &i);

	if (!ok)
		err_set(e, ERR_NOT_FOUND, "folder %" PRIu64 " is no capture's",
			id);
	else
		i.store = s;
	ok = ok && catalog_run(s->catalog, run_restore, &i, e);
	manifest_done(&i);
	return ok;
}

/* --- which of the two is right --- */

/* The row, also of one that is deleted: 1, 0 there is none, -1. */
static int row_state(sqlite3 *db, uint64_t id, uint64_t *changes, bool *deleted,
		     struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT changes, deleted FROM captures "
				    "WHERE id = ?1",
				    "i", id);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1) {
		*changes = (uint64_t)sqlite3_column_int64(q, 0);
		*deleted = sqlite3_column_int(q, 1);
	}
	sqlite3_finalize(q);
	return got;
}

/* The file's text and the one that the rows make. */
static bool same_text(struct store *s, sqlite3 *db, uint64_t id, bool *same,
		      struct err *e)
{
	struct manifest rows = {.row = {.id = id}};
	size_t n = 0, n_file = 0;
	char *file = folder_read(s, id, IDENTITY_FILE, &n_file), *text = NULL;
	bool ok = manifest_load(db, &rows, e) &&
		  (text = manifest_text(&rows, &n, e));

	*same = ok && file && n == n_file && memcmp(file, text, n) == 0;
	free(text);
	free(file);
	manifest_done(&rows);
	return ok;
}

bool manifest_compare(struct store *s, sqlite3 *db, uint64_t id, char say[128],
		      struct err *e)
{
	struct manifest file;
	uint64_t changes = 0;
	bool deleted = false, same = true, ok = true;

	say[0] = '\0';
	int got = row_state(db, id, &changes, &deleted, e);
	if (got <= 0)
		return got == 0;
	/* There is no file yet, or one that will be written again. */
	if (!from_file(s, id, &file))
		return true;
	if (file.row.changes > changes)
		snprintf(say, 128,
			 "its file '" IDENTITY_FILE "' is newer than "
			 "the catalog");
	else if (file.summed && file.row.changes == changes && deleted)
		snprintf(say, 128,
			 "the catalog has it as deleted, its file "
			 "'" IDENTITY_FILE "' has not");
	else if (file.summed && file.row.changes == changes) {
		ok = same_text(s, db, id, &same, e);
		if (ok && !same)
			snprintf(say, 128,
				 "the catalog does not say what its file "
				 "'" IDENTITY_FILE "' says");
	}
	manifest_done(&file);
	return ok;
}

/* A file of another capture, in the folder of this one: it is not written
 * over. */
static bool set_foreign_aside(struct store *s, uint64_t id, const char *uuid)
{
	struct manifest file;
	char from[64], to[64];
	bool foreign = from_file(s, id, &file) && *file.row.uuid && *uuid &&
		       strcmp(file.row.uuid, uuid) != 0;

	manifest_done(&file);
	if (!foreign)
		return false;
	snprintf(from, sizeof(from), "%" PRIu64 "/" IDENTITY_FILE, id);
	snprintf(to, sizeof(to), "%" PRIu64 "/" IDENTITY_FILE ".foreign", id);
	log_warn("%s is that of another capture; it is kept as %s", from, to);
	if (renameat(s->spool_fd, from, s->spool_fd, to) < 0)
		log_warn("rename %s: %s", from, strerror(errno));
	problem_put(s->problems, id, to, PROBLEM_STAYS,
		    "put aside: it is that of another capture");
	return true;
}

/* Something was changed. */
static bool follow_one(struct store *s, sqlite3 *db, uint64_t id,
		       const char *uuid)
{
	struct manifest file;
	char why[128];
	struct err e;

	if (set_foreign_aside(s, id, uuid))
		return false;
	if (!manifest_compare(s, db, id, why, &e)) {
		log_err(LOG_LEVEL_WARN, &e);
		return false;
	}
	if (!why[0])
		return false;
	log_warn("capture %" PRIu64 ": %s; what the file says is taken", id,
		 why);
	if (from_file(s, id, &file) &&
	    !catalog_run(s->catalog, run_follow, &file, &e))
		log_err(LOG_LEVEL_WARN, &e);
	manifest_done(&file);
	return true;
}

static bool follow_all(struct store *s, bool *changed, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e, "SELECT id, uuid FROM captures", "")
		   : NULL;
	int got = -1;

	*changed = false;
	while (q && (got = sql_step(q, e)) == 1)
		*changed |=
			follow_one(s, db, (uint64_t)sqlite3_column_int64(q, 0),
				   (const char *)sqlite3_column_text(q, 1));
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got == 0;
}

bool manifest_follow(struct store *s, struct err *e)
{
	bool changed;

	/* Again: a name may have been another's until that one followed. */
	return follow_all(s, &changed, e) &&
	       (!changed || follow_all(s, &changed, e));
}

/* --- folders of captures that the catalog lacks --- */

bool spool_each_capture(int spool_fd,
			bool (*each)(void *arg, uint64_t id, struct err *e),
			void *arg, struct err *e)
{
	int fd = openat(spool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	bool ok = true;

	if (!dir) {
		err_errno(e, "read the spool");
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (struct dirent *d; ok && (d = readdir(dir));) {
		size_t n = strlen(d->d_name);

		if (n < 19 && d->d_name[0] != '0' &&
		    strspn(d->d_name, "0123456789") == n)
			ok = each(arg, strtoull(d->d_name, NULL, 10), e);
	}
	closedir(dir);
	return ok;
}

/* 1 there, 0 not, -1 error */
int rows_has_capture(sqlite3 *db, uint64_t id, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e, "SELECT 1 FROM captures WHERE id = ?1", "i", id);
	int got = q ? sql_step(q, e) : -1;

	sqlite3_finalize(q);
	return got;
}

struct adoption {
	struct store *store;
	store_say say;
	void *ctx;
};

static const char *people_note(struct store *s, uint64_t id)
{
	struct capture_row row = {0};
	struct err ignored;
	bool unknown = store_capture(s, id, &row, &ignored) &&
		       strcmp(row.people, PEOPLE_UNKNOWN) == 0;

	capture_row_done(&row);
	return unknown ? "; its people are not known: only root sees it until "
			 "'pcap set --people'"
		       : "";
}

static void adopt_failed(struct store *s, uint64_t id, const char *why,
			 char line[192])
{
	char folder[24];

	snprintf(folder, sizeof(folder), "%" PRIu64, id);
	snprintf(line, 192, "%s: %.90s", folder, why);
	problem_put(s->problems, 0, folder, PROBLEM_STAYS, why);
}

static bool adopt_each(void *arg, uint64_t id, struct err *e)
{
	struct adoption *a = arg;
	sqlite3 *db = catalog_reader(a->store->catalog, e);
	int there = db ? rows_has_capture(db, id, e) : -1;
	char line[192];
	struct err why;

	sqlite3_close(db);
	if (there != 0)
		return there > 0;
	if (manifest_restore(a->store, id, &why))
		snprintf(line, sizeof(line),
			 "%" PRIu64 ": the capture is in the catalog again%s",
			 id, people_note(a->store, id));
	else if (why.kind == ERR_NOT_FOUND)
		return true; /* a folder of somebody else's */
	else
		adopt_failed(a->store, id, why.what, line);
	a->say(a->ctx, line);
	return true;
}

bool spool_adopt(struct store *s, store_say say_line, void *ctx, struct err *e)
{
	struct adoption a = {s, say_line, ctx};

	return spool_each_capture(s->spool_fd, adopt_each, &a, e);
}
