/*
 * Segments as they are on disk become the catalog's. Guarantees that every
 * packet that lies whole in the file is kept: whole frames get their rows, of
 * a torn frame the whole packets go into a segment of their own, which is
 * durable before the torn frame is cut off; so a crash in the middle of this
 * loses nothing either. What is damaged keeps its row, so that readers count
 * it, and gets a row of the ledger. What cannot be ours is renamed, never
 * removed. On start, closed segments are trusted; repair trusts none.
 */
#include "ledger.h"
#include "spool.h"
#include "survey.h"

#include "../log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define ASIDE ".damaged"

struct recovery {
	struct store *store;
	const struct capture_row *row;
	struct segment *segment;
	struct survey survey;
	struct block_info *known;
	size_t n_known;
	bool from_footer; /* known is not from rows */
	bool closed;
	int64_t made_ns;
	struct segment_end end;
};

static bool no_memory(struct err *e)
{
	return err_set(e, ERR_FAILED, "recovery: out of memory");
}

/* --- what the catalog and the footer say --- */

static bool known_rows(sqlite3 *db, struct recovery *r, uint64_t first_seq,
		       struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT " BLOCK_COLUMNS " FROM blocks b "
				    "WHERE capture = ?1 AND segment = ?2 "
				    "ORDER BY offset",
				    "ii", r->row->id, first_seq);
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		void *more =
			realloc(r->known, (r->n_known + 1) * sizeof(*r->known));

		if (!more) {
			got = -1;
			no_memory(e);
			break;
		}
		r->known = more;
		block_from_row(q, &r->known[r->n_known++]);
	}
	sqlite3_finalize(q);
	return got == 0;
}

static bool segment_row(sqlite3 *db, struct recovery *r, uint64_t first_seq,
			struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT closed, made_ns FROM segments "
				    "WHERE capture = ?1 AND first_seq = ?2",
				    "ii", r->row->id, first_seq);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1) {
		r->closed = sqlite3_column_int(q, 0);
		r->made_ns = sqlite3_column_int64(q, 1);
	}
	sqlite3_finalize(q);
	return got >= 0;
}

/* A file that has no rows is asked itself. */
static void known_footer(struct recovery *r)
{
	struct segment_footer head;

	if (r->n_known)
		return;
	free(r->known);
	r->known = footer_read(r->segment->fd, &head, NULL);
	if (r->known && (head.capture != r->segment->capture ||
			 head.first_seq != r->segment->first_seq)) {
		free(r->known);
		r->known = NULL;
	}
	r->n_known = r->known ? head.blocks : 0;
	r->from_footer = r->known;
}

/* --- rows --- */

static bool forget_rows(sqlite3 *db, struct recovery *r, struct err *e)
{
	uint64_t id = r->segment->capture, first = r->segment->first_seq;

	return sql_exec(db, e,
			"DELETE FROM blocks WHERE capture = ?1 AND "
			"segment = ?2",
			"ii", id, first) &&
	       sql_exec(db, e,
			"DELETE FROM segments WHERE capture = ?1 AND "
			"first_seq = ?2",
			"ii", id, first);
}

static bool ledger_has(sqlite3 *db, const struct ledger_row *row, bool *has,
		       struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT 1 FROM ledger WHERE capture = ?1 "
				    "AND cause = ?2 AND from_ns <= ?3 AND "
				    "to_ns >= ?4 LIMIT 1",
				    "iiii", row->capture, (int64_t)row->cause,
				    row->from_ns, row->to_ns);
	int got = q ? sql_step(q, e) : -1;

	*has = got == 1;
	sqlite3_finalize(q);
	return got >= 0;
}

static bool ledger_damage(sqlite3 *db, uint64_t capture, int64_t from_ns,
			  int64_t to_ns, uint64_t packets, const char *detail,
			  struct err *e)
{
	struct ledger_row row = {.capture = capture,
				 .cause = LEDGER_DAMAGE,
				 .from_ns = from_ns,
				 .to_ns = to_ns,
				 .packets = packets};
	bool has;

	snprintf(row.detail, sizeof(row.detail), "%s", detail);
	return ledger_has(db, &row, &has, e) &&
	       (has || rows_ledger(db, &row, e));
}

/* What nobody can name lies between its neighbours. */
static bool unnamed_damage(sqlite3 *db, struct recovery *r,
			   const struct damage *d, struct err *e)
{
	const struct survey *v = &r->survey;
	int64_t from = 0, to = 0;

	for (size_t i = 0; i < v->n_blocks; i++) {
		const struct block_info *b = &v->blocks[i];

		if (b->offset < d->info.offset)
			from = b->max_ns;
		else if (!to)
			to = b->min_ns;
	}
	if (!from)
		from = to;
	if (to < from)
		to = from;
	return ledger_damage(db, r->segment->capture, from, to, 0,
			     "damaged frame", e);
}

static bool rows_damage(sqlite3 *db, struct recovery *r, struct err *e)
{
	const struct survey *v = &r->survey;
	bool ok = true;

	for (size_t i = 0; ok && i < v->n_damages; i++) {
		const struct damage *d = &v->damages[i];

		ok = d->known
			     ? ledger_damage(db, r->segment->capture,
					     d->info.min_ns, d->info.max_ns + 1,
					     d->info.packets, "damaged frame",
					     e)
			     : unnamed_damage(db, r, d, e);
	}
	for (size_t i = r->n_known - v->lost; ok && i < r->n_known; i++)
		ok = ledger_damage(db, r->segment->capture, r->known[i].min_ns,
				   r->known[i].max_ns + 1, r->known[i].packets,
				   "did not reach the disk", e);
	return ok;
}

static bool same_rows(const struct recovery *r)
{
	const struct survey *v = &r->survey;

	return !r->from_footer && r->n_known == v->n_blocks &&
	       (v->n_blocks == 0 ||
		memcmp(r->known, v->blocks, v->n_blocks * sizeof(*v->blocks)) ==
			0);
}

static bool run_rows(sqlite3 *db, void *arg, struct err *e)
{
	struct recovery *r = arg;
	struct survey *v = &r->survey;
	struct segment *g = r->segment;

	if (!rows_damage(db, r, e))
		return false;
	if (!same_rows(r)) {
		if (!forget_rows(db, r, e))
			return false;
		for (size_t i = 0; i < v->n_blocks; i++)
			if (!rows_add_block(db, &v->blocks[i], g->link_type,
					    g->snaplen, e))
				return false;
		if (!sql_exec(db, e,
			      "UPDATE segments SET made_ns = ?3 "
			      "WHERE capture = ?1 AND first_seq = ?2",
			      "iii", g->capture, g->first_seq, r->made_ns))
			return false;
	}
	return v->n_blocks == 0 || rows_close_segment(db, &r->end, e);
}

/* --- the torn tail --- */

/* Somebody wrote the torn block again: a segment that begins with it. */
static bool written_again(const struct recovery *r)
{
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, r->segment->capture, r->survey.next_seq);
	return r->survey.next_seq != r->segment->first_seq &&
	       fstatat(r->store->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The salvaged packets as a segment under its final name, all or nothing. */
static bool write_again(struct recovery *r, struct err *e)
{
	struct survey *v = &r->survey;
	char name[SEGMENT_NAME_BYTES], part[SEGMENT_NAME_BYTES + 8];
	int fd = r->store->spool_fd;

	segment_name(name, r->segment->capture, v->next_seq);
	snprintf(part, sizeof(part), "%s" SEGMENT_PART, name);
	unlinkat(fd, part, 0); /* of a crash in here */
	struct segment *g = segment_create_as(
		fd, part, r->segment->capture, v->next_seq,
		r->segment->link_type, r->segment->snaplen, e);
	if (!g)
		return false;
	ZSTD_CCtx *z = ZSTD_createCCtx();
	if (z)
		ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	size_t n =
		z ? ZSTD_compress2(z, v->frame, FRAME_MAX, v->raw, v->salvaged)
		  : 0;
	ZSTD_freeCCtx(z);
	bool ok = z && !ZSTD_isError(n);
	if (!ok)
		no_memory(e);
	else if (!segment_write(g, g->end, v->frame, n, e))
		ok = false;
	else if (fdatasync(g->fd) < 0 || renameat(fd, part, fd, name) < 0)
		ok = err_errno(e, "write segment %s", name);
	segment_free(g);
	return ok && sync_capture_folder(r->store, r->segment->capture, e);
}

/* --- one segment --- */

static bool recover_segment(struct store *s, const struct capture_row *row,
			    uint64_t first_seq, bool all, struct err *e);

/* The segment's own table is what its footer will say. */
static bool take_blocks(struct recovery *r, struct err *e)
{
	struct survey *v = &r->survey;
	struct segment *g = r->segment;

	for (size_t i = 0; i < v->n_blocks; i++) {
		/* A gap that nobody can name leaves no entry in the table. */
		g->end = v->blocks[i].offset;
		if (!segment_add(g, &v->blocks[i], e))
			return false;
	}
	g->end = v->frames_end;
	return true;
}

/* Puts a file out of the way of the names that will be written. */
static void set_aside(struct store *s, const char *name, const struct err *why)
{
	char aside[SEGMENT_NAME_BYTES + 16];

	snprintf(aside, sizeof(aside), "%s" ASIDE, name);
	log_warn("%s: %s; it is kept as %s", name, why->what, aside);
	if (renameat(s->spool_fd, name, s->spool_fd, aside) < 0)
		log_warn("rename %s: %s", name, strerror(errno));
}

static bool remove_empty(struct recovery *r, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];
	struct err why;

	/* Not a packet in it, and its name will be used again. */
	segment_name(name, r->segment->capture, r->segment->first_seq);
	if (r->survey.file_bytes > r->segment->head_bytes) {
		err_set(&why, ERR_FAILED, "there is no whole packet in it");
		set_aside(r->store, name, &why);
		return true;
	}
	return unlinkat(r->store->spool_fd, name, 0) == 0 ||
	       err_errno(e, "remove empty segment %s", name);
}

static bool close_file(struct recovery *r, struct err *e)
{
	struct survey *v = &r->survey;
	size_t n = 0;
	uint8_t *index = v->index ? index_frame(v->index, v->maker, &n) : NULL;
	bool ok = segment_finish(r->segment, r->row, index, n, &r->end, e);

	free(index);
	return ok;
}

static bool finish(struct recovery *r, struct err *e)
{
	struct survey *v = &r->survey;
	struct segment *g = r->segment;
	/* One of an older version stays as it is. */
	bool whole = v->footer && v->table &&
		     (v->index_whole ||
		      ((!v->index_bytes || v->index_older) && r->closed));

	if (!take_blocks(r, e))
		return false;
	if (whole)
		r->end = (struct segment_end){
			g->capture, g->first_seq, g->n_blocks,
			g->head_bytes + v->file_bytes - g->end};
	else if (!close_file(r, e))
		return false;
	if (fdatasync(g->fd) < 0)
		return err_errno(e, "sync segment %" PRIu64, g->first_seq);
	if (!same_rows(r) && v->n_blocks)
		log_info("capture %" PRIu64 ": segment %" PRIu64 ": %zu blocks "
			 "are in the catalog, of which it had %zu",
			 g->capture, g->first_seq, v->n_blocks,
			 r->from_footer ? (size_t)0 : r->n_known);
	return catalog_run(r->store->catalog, run_rows, r, e);
}

static bool recover(struct recovery *r, bool all, struct err *e)
{
	struct survey *v = &r->survey;
	struct segment *g = r->segment;

	known_footer(r);
	v->known = r->known;
	v->n_known = r->n_known;
	v->closed = r->closed || r->from_footer;
	v->maker = index_maker_new();
	v->index = v->maker ? index_new(v->maker, g->capture, g->first_seq,
					g->link_type)
			    : NULL;
	if (!survey_file(v, g, e))
		return false;
	for (size_t i = 0; i < v->n_damages; i++)
		log_warn("capture %" PRIu64 ": segment %" PRIu64 ": a damaged "
			 "frame at byte %" PRIu64,
			 g->capture, g->first_seq, v->damages[i].info.offset);
	if (v->tail_bytes)
		log_warn("capture %" PRIu64 ": segment %" PRIu64 " ends in a "
			 "torn frame; %" PRIu32 " bytes of whole packets are "
			 "kept",
			 g->capture, g->first_seq, v->salvaged);
	uint64_t again = 0;
	if (v->salvaged && !written_again(r)) {
		again = v->next_seq;
		if (!write_again(r, e))
			return false;
	}
	bool empty = v->n_blocks == 0;
	if (empty && again == g->first_seq)
		; /* that was this file's name */
	else if (!(empty ? remove_empty(r, e) : finish(r, e)))
		return false;
	if (empty && r->n_known && !r->from_footer &&
	    !catalog_run(r->store->catalog, run_rows, r, e))
		return false;
	return !again || recover_segment(r->store, r->row, again, all, e);
}

/* Frame 0 can be written again when the rest says what it was. */
static void open_segment(struct recovery *r, uint64_t first_seq, struct err *e)
{
	struct store *s = r->store;
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, r->row->id, first_seq);
	r->segment = segment_resume(s->spool_fd, r->row->id, first_seq, e);
	if (r->segment)
		return;
	if (fstatat(s->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_size == 0) {
		unlinkat(s->spool_fd, name, 0);
		return;
	}
	r->segment = segment_rescue(s->spool_fd, r->row->id, first_seq,
				    r->row->link_type, r->row->snaplen, e);
	if (!r->segment)
		set_aside(s, name, e);
}

static bool recover_segment(struct store *s, const struct capture_row *row,
			    uint64_t first_seq, bool all, struct err *e)
{
	struct recovery r = {.store = s, .row = row};
	sqlite3 *db = catalog_reader(s->catalog, e);
	struct stat st;
	bool ok = db && segment_row(db, &r, first_seq, e) &&
		  (all || !r.closed ? known_rows(db, &r, first_seq, e) : true);

	sqlite3_close(db);
	if (ok && (all || !r.closed)) {
		open_segment(&r, first_seq, e);
		if (r.segment) {
			if (!r.made_ns && fstat(r.segment->fd, &st) == 0)
				r.made_ns = st.st_mtim.tv_sec * NS_PER_S +
					    st.st_mtim.tv_nsec;
			ok = recover(&r, all, e);
		}
	}
	index_unref(r.survey.index);
	index_maker_free(r.survey.maker);
	survey_done(&r.survey);
	segment_free(r.segment);
	free(r.known);
	return ok;
}

/* --- rows whose file is not there --- */

struct missing {
	struct store *store;
	uint64_t capture;
};

static bool forget_missing(sqlite3 *db, uint64_t id, uint64_t first_seq,
			   struct err *e)
{
	struct segment g = {.capture = id, .first_seq = first_seq};
	struct recovery r = {.segment = &g};
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT min_ns, max_ns, packets FROM "
				    "segments WHERE capture = ?1 AND "
				    "first_seq = ?2",
				    "ii", id, first_seq);
	bool ok = q && sql_step(q, e) == 1 &&
		  ledger_damage(db, id, sqlite3_column_int64(q, 0),
				sqlite3_column_int64(q, 1) + 1,
				(uint64_t)sqlite3_column_int64(q, 2),
				"the file is missing", e);

	sqlite3_finalize(q);
	log_warn("capture %" PRIu64 ": the file of segment %" PRIu64 " is "
		 "missing",
		 id, first_seq);
	return ok && forget_rows(db, &r, e);
}

/* A file that comes back is indexed again by what it says. */
static bool run_missing(sqlite3 *db, void *arg, struct err *e)
{
	const struct missing *m = arg;
	char name[SEGMENT_NAME_BYTES];
	struct stat st;
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT first_seq FROM segments "
				    "WHERE capture = ?1 AND NOT expired",
				    "i", m->capture);
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		uint64_t seq = (uint64_t)sqlite3_column_int64(q, 0);

		segment_name(name, m->capture, seq);
		if (fstatat(m->store->spool_fd, name, &st,
			    AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT &&
		    !forget_missing(db, m->capture, seq, e)) {
			got = -1;
			break;
		}
	}
	sqlite3_finalize(q);
	return got == 0;
}

/* --- one capture --- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_segment(const struct dirent *d)
{
	uint64_t seq;

	return segment_parse_name(d->d_name, &seq);
}

int segment_list(int spool_fd, uint64_t id, struct dirent ***files)
{
	char name[24];

	*files = NULL;
	snprintf(name, sizeof(name), "%" PRIu64, id);
	return scandirat(spool_fd, name, files, is_segment, by_name);
}

bool recover_capture(struct store *s, const struct capture_row *row, bool all,
		     struct err *e)
{
	struct missing m = {s, row->id};
	struct dirent **files;
	uint64_t seq;

	if (!catalog_run(s->catalog, run_missing, &m, e))
		return false;
	int n = segment_list(s->spool_fd, row->id, &files);
	if (n < 0)
		return errno == ENOENT ||
		       err_errno(e, "read folder %" PRIu64 " of the spool",
				 row->id);
	bool ok = true;
	for (int i = 0; i < n; i++) {
		if (ok && segment_parse_name(files[i]->d_name, &seq))
			ok = recover_segment(s, row, seq, all, e);
		free(files[i]);
	}
	free(files);
	return ok || err_wrap(e, "recover capture %" PRIu64, row->id);
}
