/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Segments as they are on disk become the catalog's. Guarantees that every
 * packet that lies whole in the file is kept: whole frames get their rows, of
 * a torn frame the whole packets go into a segment of their own, which is
 * durable before the torn frame is cut off; so a crash in the middle of this
 * loses nothing either. What is damaged keeps its row, so that readers count
 * it, and gets a row of the ledger; rows without a file are gaps at once.
 *
 * What is not this capture's (the footer names another place) and what has
 * numbers of blocks that another segment has is renamed, never removed. What
 * cannot be read now is left as it is for the next start, and its numbers are
 * not given to others. Neither keeps anything else from being recovered.
 *
 * On start a segment is trusted whose row is closed and whose file is as long
 * as the row says; repair trusts none. What that costs before captures resume
 * does not depend on how many are stored: of many the newest and the open ones
 * are looked at first, the others by verify.c while the store is in use.
 */
#include "store/ledger.h"
#include "store/row_sum.h"
#include "store/schema_state.h"
#include "store/segment_row.h"
#include "store/segment_scan.h"
#include "store/store_internal.h"

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
#include <zstd.h>

/* What a file is called that is put aside, behind its name. */
#define DAMAGED ".damaged"
#define FOREIGN ".foreign"
#define OVERLAP ".overlap"
#define ASIDE_MAX 1000 /* of one name */
/* An error that passes is gone soon, or at the next start. */
#define TRIES 3
#define AGAIN_NS 10000000
/* More blocks than a segment has: 16 bytes each. */
#define BLOCKS_MAX (1u << 24)

struct recovery {
	struct store *store;
	const struct capture_row *row;
	uint64_t next; /* the number of the next file; 0: there is none */
	bool all;
	struct segment *segment;
	struct segment_scan scan;
	struct block_info *rows; /* of the catalog */
	size_t n_rows;
	struct block_info *known; /* the footer's, else the rows */
	size_t n_known;
	bool footer; /* the file has one, and it names this place */
	bool has_row;
	struct segment_row entry; /* the row */
	int64_t made_ns, stored_ns;
	struct segment_end end;
	char aside[SEGMENT_NAME_BYTES + 16]; /* "": the file is in place */
};

static bool recover_no_memory(struct err *e)
{
	return err_no_memory(e, "recovery");
}

/* --- what the catalog and the footer say --- */

/* Blocks of the segment have no greater ones, if all is well. */
static uint64_t last_number(const struct recovery *r, uint64_t first_seq)
{
	return r->next > first_seq ? r->next - 1 : INT64_MAX;
}

static bool known_rows(sqlite3 *db, struct recovery *r, uint64_t first_seq,
		       struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT " BLOCK_COLUMNS " FROM blocks b "
				    "WHERE capture = ?1 AND segment = ?2 "
				    "AND seq BETWEEN ?2 AND ?3 ORDER BY offset",
				    "iii", r->row->id, first_seq,
				    last_number(r, first_seq));
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct block_info *row = vec_push(&r->rows, &r->n_rows);

		if (!row) {
			got = -!recover_no_memory(e);
			break;
		}
		block_from_row(q, row);
	}
	if (got < 0 && sql_is_malformed(db))
		store_malformed(r->store);
	sqlite3_finalize(q);
	return got == 0;
}

/* What the file says of itself. Its blocks are only asked for when there are
 * no rows. false: it cannot be read now. */
static bool known_footer(struct recovery *r, bool *foreign, struct err *e)
{
	struct segment_footer head;
	struct capture_row says = {0};
	struct block_info *blocks = footer_read(r->segment->fd, &head, &says);

	if (!blocks && errno)
		return err_errno(e, "read the footer of segment %" PRIu64,
				 r->segment->first_seq);
	*foreign = blocks && footer_is_foreign(&head, &says, r->row->uuid,
					       r->segment->capture,
					       r->segment->first_seq);
	capture_row_done(&says);
	r->footer = blocks && !*foreign;
	/* It has a checksum, which the rows of blocks have not. */
	r->known = r->footer ? blocks : r->rows;
	r->n_known = r->footer ? head.blocks : r->n_rows;
	if (blocks && !r->footer)
		free(blocks);
	return true;
}

/* --- rows --- */

static bool forget_rows(sqlite3 *db, uint64_t id, uint64_t first, struct err *e)
{
	return sql_exec(db, e,
			"DELETE FROM blocks WHERE capture = ?1 AND "
			"segment = ?2",
			"ii", id, first) &&
	       sql_run(db, e, SQL_DROP_SEGMENT, "ii", id, first);
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
	const struct segment_scan *v = &r->scan;
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
	const struct segment_scan *v = &r->scan;
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
	const struct segment_scan *v = &r->scan;
	struct segment_row file;
	char what[128];

	if (r->n_rows != v->n_blocks || !r->has_row || r->entry.expired ||
	    !r->entry.stored_ns)
		return false;
	if (v->n_blocks == 0)
		return true;
	segment_row_of(&file, r->segment, v->blocks, v->n_blocks,
		       v->file_bytes);
	/* It is written again when the row is closed. */
	file.other_bytes = r->entry.other_bytes;
	return memcmp(r->rows, v->blocks, v->n_blocks * sizeof(*v->blocks)) ==
		       0 &&
	       segment_row_same(&r->entry, &file, what);
}

/* Rows that have the numbers of these blocks: of a segment whose turn is still
 * to come, of this one without its own row, or of none at all. */
static bool forget_others(sqlite3 *db, const struct recovery *r, struct err *e)
{
	const struct segment_scan *v = &r->scan;
	uint64_t id = r->segment->capture, from = r->segment->first_seq;
	uint64_t to = v->blocks[v->n_blocks - 1].seq;

	return sql_exec(db, e,
			"UPDATE segments SET closed = 0 WHERE capture = ?1 AND "
			"first_seq IN (SELECT segment FROM blocks WHERE "
			"capture = ?1 AND seq BETWEEN ?2 AND ?3 AND "
			"segment <> ?2)",
			"iii", id, from, to) &&
	       sql_exec(db, e,
			"DELETE FROM blocks WHERE capture = ?1 AND seq BETWEEN "
			"?2 AND ?3",
			"iii", id, from, to);
}

/* A segment that came back whole is no gap any more: of forget_segment's row
 * of the ledger everything is there. */
static bool forget_damage(sqlite3 *db, const struct segment_scan *v,
			  struct err *e)
{
	int64_t from = INT64_MAX, to = INT64_MIN;
	uint64_t packets = 0;

	for (size_t i = 0; i < v->n_blocks; i++) {
		const struct block_info *b = &v->blocks[i];

		from = b->min_ns < from ? b->min_ns : from;
		to = b->max_ns > to ? b->max_ns : to;
		packets += b->packets;
	}
	return v->n_blocks == 0 ||
	       sql_exec(db, e,
			"DELETE FROM ledger WHERE capture = ?1 AND cause = ?2 "
			"AND from_ns = ?3 AND to_ns = ?4 AND packets = ?5",
			"iiiii", v->blocks[0].capture, (int64_t)LEDGER_DAMAGE,
			from, to + 1, packets);
}

/* Now that the rows were held against the file: those of an older version lack
 * the sum, or it was altered; the segment's own comes with any change. */
static bool sum_rows(sqlite3 *db, const struct segment *g, struct err *e)
{
	return sql_exec(db, e,
			"UPDATE segments AS s SET blocks_sum = x.sum FROM "
			"(SELECT row_sum_total(" BLOCK_COLUMNS ") AS sum FROM "
			"blocks b JOIN segments g ON g.capture = b.capture AND "
			"g.first_seq = ?2 WHERE b.capture = ?1 AND b.seq "
			"BETWEEN ?2 AND g.last_seq AND b.segment = ?2) AS x "
			"WHERE s.capture = ?1 AND s.first_seq = ?2 AND "
			"s.blocks_sum IS NOT x.sum",
			"ii", g->capture, g->first_seq);
}

static bool run_rows(sqlite3 *db, void *arg, struct err *e)
{
	struct recovery *r = arg;
	struct segment_scan *v = &r->scan;
	struct segment *g = r->segment;

	if (!rows_damage(db, r, e))
		return false;
	if (!same_rows(r)) {
		if ((r->has_row &&
		     !forget_rows(db, g->capture, g->first_seq, e)) ||
		    (v->n_blocks && !forget_others(db, r, e)))
			return false;
		for (size_t i = 0; i < v->n_blocks; i++)
			if (!rows_add_block(db, &v->blocks[i], g->link_type,
					    g->snaplen, r->stored_ns, e))
				return false;
		if (!sql_exec(db, e,
			      "UPDATE segments SET made_ns = ?3 "
			      "WHERE capture = ?1 AND first_seq = ?2",
			      "iii", g->capture, g->first_seq, r->made_ns) ||
		    !forget_damage(db, v, e))
			return false;
	}
	return v->n_blocks == 0 ||
	       (sum_rows(db, g, e) && rows_close_segment(db, &r->end, e));
}

/* --- a file that is not where the rows say --- */

struct gone {
	uint64_t capture, first_seq;
	const char *why;
};

/* What the rows of its blocks say is a gap, and they are no more: a file that
 * comes back is indexed by what it says itself. */
static bool forget_segment(sqlite3 *db, const struct gone *g, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT min(b.min_ns), max(b.max_ns), sum(b.packets), "
		"s.expired "
		"FROM segments s LEFT JOIN blocks b ON b.capture = s.capture "
		"AND b.segment = s.first_seq AND b.seq BETWEEN s.first_seq "
		"AND s.last_seq WHERE s.capture = ?1 AND s.first_seq = ?2",
		"ii", g->capture, g->first_seq);
	bool ok = q && sql_step(q, e) == 1;

	if (ok && sqlite3_column_type(q, 0) != SQLITE_NULL &&
	    !sqlite3_column_int(q, 3))
		ok = ledger_damage(db, g->capture, sqlite3_column_int64(q, 0),
				   sqlite3_column_int64(q, 1) + 1,
				   (uint64_t)sqlite3_column_int64(q, 2), g->why,
				   e);
	sqlite3_finalize(q);
	return ok && forget_rows(db, g->capture, g->first_seq, e);
}

static bool run_gone(sqlite3 *db, void *arg, struct err *e)
{
	return forget_segment(db, arg, e);
}

static void aside_tell(struct store *s, uint64_t id, const char *file,
		       const char *why)
{
	char text[160];

	snprintf(text, sizeof(text), why ? "put aside: %s" : "put aside", why);
	problem_put(s->problems, id, file, PROBLEM_STAYS, text);
}

/* The name that it gets is free: nothing is ever overwritten. */
static bool set_aside(struct recovery *r, const char *name, const char *suffix,
		      const char *why, struct err *e)
{
	struct store *s = r->store;
	struct stat st;
	int n = 0;

	do
		snprintf(r->aside, sizeof(r->aside), n ? "%s%s.%d" : "%s%s",
			 name, suffix, n);
	while (fstatat(s->spool_fd, r->aside, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       n++ < ASIDE_MAX);
	if (n <= ASIDE_MAX &&
	    renameat(s->spool_fd, name, s->spool_fd, r->aside) == 0) {
		log_warn("%s: %s; it is kept as %s", name, why, r->aside);
		aside_tell(s, r->row->id, r->aside, why);
		return true;
	}
	r->aside[0] = '\0';
	return err_errno(e, "%s: %s; rename it", name, why);
}

/* --- the torn tail --- */

/* Somebody wrote the torn block again: a segment that begins with it. */
static bool written_again(const struct recovery *r)
{
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, r->segment->capture, r->scan.next_seq);
	return r->scan.next_seq != r->segment->first_seq &&
	       fstatat(r->store->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The salvaged packets as a segment under its final name, all or nothing. */
static bool write_again(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
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
		recover_no_memory(e);
	else if (!segment_write(g, g->end, v->frame, n, e))
		ok = false;
	else if (fdatasync(g->fd) < 0 || renameat(fd, part, fd, name) < 0)
		ok = err_errno(e, "write segment %s", name);
	segment_free(g);
	return ok &&
	       housekeeper_capture_folder(r->store, r->segment->capture, e);
}

/* --- one segment --- */

static bool recover_segment(const struct recovery *of, uint64_t first_seq,
			    struct err *e);

/* The segment's own table is what its footer will say. */
static bool take_blocks(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
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

static bool remove_empty(struct recovery *r, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];

	/* Not a packet in it, and its name will be used again. */
	segment_name(name, r->segment->capture, r->segment->first_seq);
	if (r->scan.file_bytes > r->segment->head_bytes)
		return set_aside(r, name, DAMAGED,
				 "there is no whole packet in it", e);
	return unlinkat(r->store->spool_fd, name, 0) == 0 ||
	       err_errno(e, "remove empty segment %s", name);
}

static bool recover_close_file(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
	size_t n = 0;
	uint8_t *index =
		v->index ? segment_index_frame(v->index, v->maker, &n) : NULL;
	bool ok = segment_finish(r->segment, r->row, index, n, &r->end, e);

	free(index);
	return ok;
}

/* What the row of the closed one has to say. */
static bool segment_size(struct recovery *r, struct err *e)
{
	struct segment *g = r->segment;
	struct segment_row x = {0};
	struct stat st;

	if (fstat(g->fd, &st) < 0)
		return err_errno(e, "look at segment %" PRIu64, g->first_seq);
	segment_row_of(&x, g, g->blocks, g->n_blocks, (uint64_t)st.st_size);
	r->end = (struct segment_end){g->capture, g->first_seq, g->n_blocks,
				      x.other_bytes};
	return true;
}

static bool recover_finish(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
	struct segment *g = r->segment;
	/* One of an older version stays as it is. */
	bool whole = v->footer && v->table &&
		     (v->index_whole ||
		      ((!v->index_bytes || v->index_older) && r->entry.closed));

	if (!take_blocks(r, e))
		return false;
	if (!whole && !recover_close_file(r, e))
		return false;
	if (!segment_size(r, e))
		return false;
	if (fdatasync(g->fd) < 0)
		return err_errno(e, "sync segment %" PRIu64, g->first_seq);
	if (!same_rows(r) && v->n_blocks)
		log_info("capture %" PRIu64 ": segment %" PRIu64 ": %zu blocks "
			 "are in the catalog, of which it had %zu",
			 g->capture, g->first_seq, v->n_blocks, r->n_rows);
	return catalog_run(r->store->catalog, run_rows, r, e);
}

/* The segment that has a row for one of these blocks: 1, 0 none, -1 error. A
 * row that lies outside its own segment is no witness. */
static int recover_overlapped(struct recovery *r, uint64_t *other,
			      struct err *e)
{
	const struct segment_scan *v = &r->scan;
	sqlite3 *db = catalog_reader(r->store->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT s.first_seq FROM segments s JOIN blocks "
			       "b ON b.capture = s.capture AND b.segment = "
			       "s.first_seq WHERE b.capture = ?1 AND b.seq "
			       "BETWEEN ?2 AND ?3 AND b.segment <> ?2 AND "
			       "b.seq BETWEEN s.first_seq AND s.last_seq "
			       "ORDER BY s.first_seq LIMIT 1",
			       "iii", r->segment->capture,
			       r->segment->first_seq,
			       v->blocks[v->n_blocks - 1].seq)
		   : NULL;
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		*other = (uint64_t)sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got;
}

/* The next file's own footer says that it is where it belongs. */
static bool next_is_sure(const struct recovery *r)
{
	struct segment_footer head;
	struct err ignored;
	struct segment *g =
		segment_look(r->store->spool_fd, r->row->id, r->next, &ignored);
	void *blocks = g ? footer_read(g->fd, &head, NULL) : NULL;
	bool sure = blocks && head.capture == r->row->id &&
		    head.first_seq == r->next;

	free(blocks);
	segment_free(g);
	return sure;
}

/*
 * Two files with blocks of the same numbers: a copy under another name, or
 * what was written with an older catalog. The one stays that the catalog has,
 * else the one that says itself where it belongs, else the first. *other: 0,
 * or whose numbers they are.
 */
static bool find_overlap(struct recovery *r, uint64_t *other, struct err *e)
{
	const struct segment_scan *v = &r->scan;
	int got = v->n_blocks ? recover_overlapped(r, other, e) : 0;

	if (got < 0)
		return false;
	if (got == 0 || (r->has_row && *other > r->segment->first_seq))
		*other = 0;
	if (!*other && v->n_blocks && !r->has_row && !r->footer && r->next &&
	    v->blocks[v->n_blocks - 1].seq >= r->next && next_is_sure(r))
		*other = r->next;
	return true;
}

static void recover_say_damages(const struct recovery *r)
{
	const struct segment_scan *v = &r->scan;
	const struct segment *g = r->segment;

	for (size_t i = 0; i < v->n_damages; i++)
		log_warn("capture %" PRIu64 ": segment %" PRIu64 ": a damaged "
			 "frame at byte %" PRIu64,
			 g->capture, g->first_seq, v->damages[i].info.offset);
	if (v->tail_bytes)
		log_warn("capture %" PRIu64 ": segment %" PRIu64 " ends in a "
			 "torn frame; %" PRIu32 " bytes of whole packets are "
			 "kept",
			 g->capture, g->first_seq, v->salvaged);
}

static bool scan_segment(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
	struct segment *g = r->segment;

	v->known = r->known;
	v->n_known = r->n_known;
	v->closed = r->entry.closed || r->footer;
	v->maker = segment_index_maker_new();
	v->index = v->maker ? segment_index_new(v->maker, g->capture,
						g->first_seq, g->link_type)
			    : NULL;
	return segment_scan_file(v, g, e);
}

/* What the file has becomes what the rows say. */
static bool recover_blocks(struct recovery *r, struct err *e)
{
	struct segment_scan *v = &r->scan;
	struct segment *g = r->segment;
	uint64_t again = 0;

	recover_say_damages(r);
	if (v->salvaged && !written_again(r)) {
		again = v->next_seq;
		if (!write_again(r, e))
			return false;
	}
	bool empty = v->n_blocks == 0;
	if (empty && again == g->first_seq)
		; /* that was this file's name */
	else if (!(empty ? remove_empty(r, e) : recover_finish(r, e)))
		return false;
	if (empty && r->has_row &&
	    !catalog_run(r->store->catalog, run_rows, r, e))
		return false;
	r->aside[0] = '\0'; /* its rows are settled */
	return !again || recover_segment(r, again, e);
}

static bool recover(struct recovery *r, struct err *e)
{
	char name[SEGMENT_NAME_BYTES], why[96];
	uint64_t other = 0;
	bool foreign = false;

	segment_name(name, r->row->id, r->segment->first_seq);
	if (!known_footer(r, &foreign, e))
		return false;
	if (foreign)
		return set_aside(r, name, FOREIGN,
				 "its footer says that it belongs elsewhere",
				 e);
	if (!scan_segment(r, e) || !find_overlap(r, &other, e))
		return false;
	if (!other)
		return recover_blocks(r, e);
	snprintf(why, sizeof(why),
		 "segment %" PRIu64 " has blocks of the same numbers", other);
	return set_aside(r, name, OVERLAP, why, e);
}

/* 1 it is open, 0 it is put aside or was empty, -1 not now. Frame 0 can be
 * written again when the rest says what it was. */
static int recover_open_segment(struct recovery *r, uint64_t first_seq,
				struct err *e)
{
	struct store *s = r->store;
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, r->row->id, first_seq);
	r->segment = segment_resume(s->spool_fd, r->row->id, first_seq, e);
	if (r->segment)
		return 1;
	if (errno)
		return -1;
	/* Its name reached the disk, and nothing of it. */
	if (fstatat(s->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode) && st.st_size == 0)
		return unlinkat(s->spool_fd, name, 0) == 0
			       ? 0
			       : -!err_errno(e, "remove empty segment %s",
					     name);
	r->segment = segment_rescue(s->spool_fd, r->row->id, first_seq,
				    r->row->link_type, r->row->snaplen, e);
	if (r->segment)
		return 1;
	if (errno)
		return -1;
	struct err why = *e;
	return set_aside(r, name, DAMAGED, why.what, e) ? 0 : -1;
}

/* When it was made and stored. */
static void recover_times(struct recovery *r, const struct stat *st)
{
	int64_t doubt_ns, age_ns = store_age_ns(r->store, &doubt_ns);
	int64_t ns = st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;

	r->made_ns = r->entry.made_ns ? r->entry.made_ns : ns;
	r->stored_ns = ns < age_ns ? ns : age_ns;
}

static bool recover_file(struct recovery *r, uint64_t first_seq, struct err *e)
{
	struct stat st;
	int got = recover_open_segment(r, first_seq, e);

	if (got < 0)
		return false;
	if (got == 1) {
		if (fstat(r->segment->fd, &st) == 0)
			recover_times(r, &st);
		/* Room for what is to be written. */
		if (!r->entry.closed)
			segment_unreserve(r->segment);
		if (!recover(r, e))
			return false;
	}
	struct gone g = {r->row->id, first_seq,
			 r->aside[0] ? "the file is put aside"
				     : "did not reach the disk"};
	return (got == 1 && !r->aside[0]) || !r->has_row ||
	       catalog_run(r->store->catalog, run_gone, &g, e);
}

static bool recover_segment(const struct recovery *of, uint64_t first_seq,
			    struct err *e)
{
	struct recovery r = {.store = of->store,
			     .row = of->row,
			     .next = of->next,
			     .all = of->all};
	sqlite3 *db = catalog_reader(r.store->catalog, e);
	int row = db ? segment_row_read(db, r.row->id, first_seq, &r.entry, e)
		     : -1;
	bool ok = row >= 0 && known_rows(db, &r, first_seq, e);

	sqlite3_close(db);
	r.has_row = row == 1;
	ok = ok && recover_file(&r, first_seq, e);
	segment_index_unref(r.scan.index);
	segment_index_maker_free(r.scan.maker);
	segment_scan_done(&r.scan);
	segment_free(r.segment);
	if (r.known != r.rows)
		free(r.known);
	free(r.rows);
	return ok;
}

/* Its numbers are kept from others while it is not known which it has. */
static void recover_or_leave(const struct recovery *of, uint64_t first_seq)
{
	struct timespec moment = {0, AGAIN_NS};
	char name[SEGMENT_NAME_BYTES];
	struct err e;
	int tries = 1;

	while (!recover_segment(of, first_seq, &e)) {
		if (tries++ < TRIES) {
			nanosleep(&moment, NULL);
			continue;
		}
		log_error("capture %" PRIu64 ": segment %" PRIu64 ": %s; it is "
			  "left as it is until the next start",
			  of->row->id, first_seq, e.what);
		store_reserve(of->store, of->row->id, first_seq + BLOCKS_MAX);
		segment_name(name, of->row->id, first_seq);
		problem_put(of->store->problems, of->row->id, name,
			    PROBLEM_STAYS, e.what);
		return;
	}
}

void recover_again(struct store *s, const struct capture_row *row,
		   uint64_t first_seq)
{
	struct recovery of = {.store = s, .row = row};

	recover_or_leave(&of, first_seq);
}

/* --- one capture --- */

/* A segment's row and file, of which one may not be there. */
struct recover_place {
	uint64_t first_seq, last_seq;
	uint64_t next; /* the number of the next; 0: there is none */
	uint64_t row_bytes, file_bytes;
	bool row, closed, expired, file, sized;
};

struct recover_places {
	struct recover_place *all;
	size_t n;
};

static struct recover_place *places_add(struct recover_places *l,
					uint64_t first_seq, struct err *e)
{
	struct recover_place *p = vec_push(&l->all, &l->n);

	if (p)
		p->first_seq = first_seq;
	else
		recover_no_memory(e);
	return p;
}

#define PLACES_ALL                                                             \
	"SELECT " SEGMENT_COLUMNS " FROM segments s WHERE s.capture = ?1 "     \
	"ORDER BY s.first_seq"
/* SQLite would rather visit all rows of the capture than use the index. */
#define PLACES_NEW                                                             \
	"SELECT " SEGMENT_COLUMNS " FROM segments s WHERE s.capture = ?1 AND " \
	"s.first_seq IN (SELECT first_seq FROM segments INDEXED BY "           \
	"segments_open WHERE capture = ?1 AND NOT closed UNION ALL SELECT * "  \
	"FROM (SELECT first_seq FROM segments WHERE capture = ?1 ORDER BY "    \
	"first_seq DESC LIMIT 1)) ORDER BY s.first_seq"

static bool places_rows(struct recover_places *l, struct store *s, uint64_t id,
			const char *sql, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q = db ? sql_query(db, e, sql, "i", id) : NULL;
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct segment_row x;
		struct recover_place *p;

		segment_row_from_row(q, &x);
		p = places_add(l, x.first_seq, e);
		if (!p) {
			got = -1;
			break;
		}
		p->last_seq = x.last_seq;
		p->row_bytes = x.stored_bytes + x.other_bytes;
		p->sized = x.other_bytes; /* not known to older versions */
		p->closed = x.closed;
		p->expired = x.expired;
		p->row = true;
	}
	if (db && got < 0 && sql_is_malformed(db))
		store_malformed(s);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got == 0;
}

static int by_number(const void *a, const void *b)
{
	const struct recover_place *x = a, *y = b;

	return x->first_seq < y->first_seq ? -1 : x->first_seq > y->first_seq;
}

static struct recover_place *places_find(struct recover_places *l, size_t n,
					 uint64_t first_seq)
{
	struct recover_place key = {.first_seq = first_seq};

	return n ? bsearch(&key, l->all, n, sizeof(key), by_number) : NULL;
}

static int recover_by_name(const struct dirent **a, const struct dirent **b)
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
	return scandirat(spool_fd, name, files, is_segment, recover_by_name);
}

/* Which of the rows have a file; false: it cannot be told now. */
static bool places_names(struct recover_places *l, struct store *s, uint64_t id)
{
	struct dirent **files;
	size_t rows = l->n;
	int n = segment_list(s->spool_fd, id, &files);

	if (n < 0)
		return errno == ENOENT;
	for (int i = 0; i < n; i++) {
		uint64_t seq = 0;
		struct recover_place *p =
			segment_parse_name(files[i]->d_name, &seq)
				? places_find(l, rows, seq)
				: NULL;

		if (p)
			p->file = true;
		free(files[i]);
	}
	free(files);
	return true;
}

static void place_look(struct recover_place *p, struct store *s, uint64_t id)
{
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, id, p->first_seq);
	p->file = true;
	p->file_bytes =
		fstatat(s->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0
			? (uint64_t)st.st_size
			: UINT64_MAX;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The numbers of all files, in order: an array to free(). Nobody looks at the
 * files themselves. -1 errno */
static ssize_t folder_numbers(int spool_fd, uint64_t id, uint64_t **numbers)
{
	size_t n = 0;
	uint64_t *all = NULL, *one, seq;
	char name[24];

	*numbers = NULL;
	snprintf(name, sizeof(name), "%" PRIu64, id);
	int fd = openat(spool_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	for (struct dirent *d; (errno = 0, d = readdir(dir));) {
		if (!segment_parse_name(d->d_name, &seq))
			continue;
		one = vec_push(&all, &n);
		if (!one)
			break;
		*one = seq;
	}
	int why = errno;
	closedir(dir);
	errno = why;
	if (why) {
		free(all);
		return -1;
	}
	if (n)
		qsort(all, n, sizeof(*all), by_size);
	*numbers = all;
	return (ssize_t)n;
}

/* Of the rows that there are, and behind them. */
static bool places_new_files(struct recover_places *l, struct store *s,
			     uint64_t id, struct err *e)
{
	uint64_t *numbers;
	size_t rows = l->n;
	uint64_t newest = rows ? l->all[rows - 1].first_seq : 0;
	ssize_t n = folder_numbers(s->spool_fd, id, &numbers);
	bool ok = true;

	if (n < 0)
		return errno == ENOENT ||
		       err_errno(e, "read folder %" PRIu64 " of the spool", id);
	for (ssize_t i = 0; ok && i < n; i++) {
		struct recover_place *p = places_find(l, rows, numbers[i]);

		if (!p && numbers[i] > newest)
			ok = (p = places_add(l, numbers[i], e));
		if (!p)
			continue;
		place_look(p, s, id);
		p->next = i + 1 < n ? numbers[i + 1] : 0;
	}
	free(numbers);
	return ok;
}

/* -1 for bytes that are not known. */
static bool places_files(struct recover_places *l, struct store *s, uint64_t id,
			 struct err *e)
{
	struct dirent **files;
	size_t rows = l->n;
	bool ok = true;
	int n = segment_list(s->spool_fd, id, &files);

	if (n < 0)
		return errno == ENOENT ||
		       err_errno(e, "read folder %" PRIu64 " of the spool", id);
	for (int i = 0; i < n; i++) {
		uint64_t seq = 0;
		struct recover_place *p;

		segment_parse_name(files[i]->d_name, &seq);
		free(files[i]);
		if (!ok)
			continue;
		p = places_find(l, rows, seq);
		if (!p)
			p = places_add(l, seq, e);
		ok = p;
		if (p)
			place_look(p, s, id);
	}
	free(files);
	if (l->n)
		qsort(l->all, l->n, sizeof(*l->all), by_number);
	for (size_t i = 0; i + 1 < l->n; i++)
		l->all[i].next = l->all[i + 1].first_seq;
	return ok;
}

struct missing {
	uint64_t capture;
	const struct recover_places *places;
};

static bool run_missing(sqlite3 *db, void *arg, struct err *e)
{
	const struct missing *m = arg;

	for (size_t i = 0; i < m->places->n; i++) {
		const struct recover_place *p = &m->places->all[i];
		struct gone g = {m->capture, p->first_seq,
				 "the file is missing"};

		if (p->file || p->expired)
			continue;
		log_warn("capture %" PRIu64 ": the file of segment %" PRIu64
			 " is missing",
			 m->capture, p->first_seq);
		if (!forget_segment(db, &g, e))
			return false;
	}
	return true;
}

static bool any_missing(const struct recover_places *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!l->all[i].file && !l->all[i].expired)
			return true;
	return false;
}

/* Its numbers reach those of the next, or it is as long as nobody wrote it. */
static bool recover_is_odd(const struct recover_place *p)
{
	return p->last_seq < p->first_seq ||
	       (p->sized && p->file_bytes != p->row_bytes) ||
	       (p->next && p->last_seq >= p->next);
}

/* --- while it runs --- */

struct lost_file {
	struct store *store;
	struct gone gone;
};

/* Retention marks a row before it removes the file, and who deletes a capture
 * the capture's. */
static bool run_lost(sqlite3 *db, void *arg, struct err *e)
{
	const struct lost_file *l = arg;
	const struct gone *g = &l->gone;
	char name[SEGMENT_NAME_BYTES];
	struct stat st;

	segment_name(name, g->capture, g->first_seq);
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT last_seq FROM segments WHERE "
				    "capture = ?1 AND first_seq = ?2 AND NOT "
				    "expired AND NOT (SELECT deleted FROM "
				    "captures WHERE id = ?1)",
				    "ii", g->capture, g->first_seq);
	int got = q ? sql_step(q, e) : -1;
	uint64_t last = got == 1 ? (uint64_t)sqlite3_column_int64(q, 0) : 0;
	sqlite3_finalize(q);
	if (got <= 0)
		return got == 0;
	if (fstatat(l->store->spool_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	    errno != ENOENT)
		return true;
	log_warn("capture %" PRIu64 ": the file of segment %" PRIu64
		 " is missing",
		 g->capture, g->first_seq);
	return forget_segment(db, g, e) &&
	       sql_run(db, e, SQL_EXPIRED_UP_TO, "ii", g->capture, last);
}

bool store_segment_gone(struct store *s, uint64_t capture, uint64_t first_seq,
			struct err *e)
{
	struct lost_file l = {s, {capture, first_seq, "the file is missing"}};

	return catalog_run(s->catalog, run_lost, &l, e);
}

/* The rows are read first: what is made meanwhile has none of them. */
void store_find_gone(struct store *s, uint64_t capture)
{
	struct recover_places l = {0};
	struct err e;

	/* Where files go before their rows it would be said twice. */
	bool ok = !atomic_load(&s->pressed) &&
		  places_rows(&l, s, capture, PLACES_ALL, &e) &&
		  places_names(&l, s, capture);
	for (size_t i = 0; ok && i < l.n; i++)
		if (!l.all[i].file && !l.all[i].expired &&
		    !store_segment_gone(s, capture, l.all[i].first_seq, &e)) {
			log_err(LOG_LEVEL_WARN, &e);
			break;
		}
	free(l.all);
}

/* --- what was put aside --- */

static bool is_suffix(const char *at)
{
	return strncmp(at, DAMAGED, strlen(DAMAGED)) == 0 ||
	       strncmp(at, FOREIGN, strlen(FOREIGN)) == 0 ||
	       strncmp(at, OVERLAP, strlen(OVERLAP)) == 0;
}

static int is_aside(const struct dirent *d)
{
	char name[SEGMENT_NAME_BYTES];
	size_t n = 20 + strlen(SEGMENT_SUFFIX);
	uint64_t seq;

	snprintf(name, sizeof(name), "%.*s", (int)n, d->d_name);
	return strlen(d->d_name) > n && segment_parse_name(name, &seq) &&
	       is_suffix(d->d_name + n);
}

/* Where it belongs: its footer knows, else its name does. */
static bool home_of(struct store *s, uint64_t id, const char *from,
		    char home[SEGMENT_NAME_BYTES])
{
	struct segment_footer head;
	uint64_t capture = id, seq = strtoull(strchr(from, '/') + 1, NULL, 10);
	int fd = openat(s->spool_fd, from,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	void *blocks = fd >= 0 ? footer_read(fd, &head, NULL) : NULL;
	bool known = blocks || !strstr(from, FOREIGN);

	if (blocks) {
		capture = head.capture;
		seq = head.first_seq;
	}
	free(blocks);
	if (fd >= 0)
		close(fd);
	segment_name(home, capture, seq);
	return fd >= 0 && known;
}

/* What was put aside for an error that passed, or because something else had
 * its name; recovery judges it as any other file. */
static void bring_back(struct store *s, uint64_t id, const char *name)
{
	char from[SEGMENT_NAME_BYTES + 300], home[SEGMENT_NAME_BYTES];
	struct stat st;

	snprintf(from, sizeof(from), "%" PRIu64 "/%.255s", id, name);
	if (!home_of(s, id, from, home) ||
	    fstatat(s->spool_fd, home, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	if (renameat(s->spool_fd, from, s->spool_fd, home) == 0)
		log_info("%s: looked at again as %s", from, home);
	else if (errno != ENOENT) /* no such capture */
		log_warn("rename %s to %s: %s", from, home, strerror(errno));
}

void recover_aside(struct store *s, uint64_t id)
{
	struct dirent **files;
	char folder[24];

	snprintf(folder, sizeof(folder), "%" PRIu64, id);
	int n = scandirat(s->spool_fd, folder, &files, is_aside,
			  recover_by_name);
	for (int i = 0; i < n; i++) {
		bring_back(s, id, files[i]->d_name);
		free(files[i]);
	}
	if (n >= 0)
		free(files);
}

/* What an earlier start put aside is still to be looked at. */
static void aside_remember(struct store *s, uint64_t id)
{
	struct dirent **files;
	char folder[24], file[SEGMENT_NAME_BYTES + 32];

	snprintf(folder, sizeof(folder), "%" PRIu64, id);
	int n = scandirat(s->spool_fd, folder, &files, is_aside,
			  recover_by_name);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%.50s", folder,
			 files[i]->d_name);
		aside_tell(s, id, file, NULL);
		free(files[i]);
	}
	if (n >= 0)
		free(files);
}

/* It is not known what the folder has. */
static void reserve_behind(struct store *s, uint64_t id,
			   const struct recover_places *l)
{
	struct store_newest t;
	struct err ignored;
	uint64_t last = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->all[i].first_seq > last)
			last = l->all[i].first_seq;
	if (store_newest(s, id, &t, &ignored) && t.next_seq > last)
		last = t.next_seq;
	store_reserve(s, id, last + BLOCKS_MAX);
}

#define EXPIRED_UNTOLD                                                         \
	"+expired AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.capture = "   \
	"s.capture AND l.cause = ?1 AND l.from_ns <= s.min_ns AND "            \
	"l.to_ns > s.max_ns)"

static bool run_altered(sqlite3 *db, void *arg, struct err *e)
{
	int *n = arg;

	/* The trigger gives them new sums. Retention goes by none of them
	 * before recovery has made them again. */
	bool ok = sql_exec(db, e,
			   "UPDATE segments SET closed = 0, expired = 0, "
			   "stored_ns = 0, stored_bytes = 0, other_bytes = 0 "
			   "WHERE " SEGMENT_ALTERED,
			   "");
	*n = ok ? sqlite3_changes(db) : 0;
	ok = ok && sql_exec(db, e,
			    "UPDATE segments AS s SET closed = 0, expired = 0 "
			    "WHERE " EXPIRED_UNTOLD,
			    "i", (int64_t)LEDGER_EXPIRED);
	*n += ok ? sqlite3_changes(db) : 0;
	return ok;
}

static bool run_kept(sqlite3 *db, void *arg, struct err *e)
{
	(void)arg;
	return sql_exec(db, e, "DELETE FROM kept", "") &&
	       sql_exec(db, e, "INSERT INTO kept " KEPT_ROWS, "");
}

/* Whether a query gives more than 0: 1, 0, -1 error. args: "i", it takes
 * LEDGER_EXPIRED, or "". All segments are visited, so by a connection of its
 * own: captures may run, and the catalog's thread is theirs. */
static int altered_any(struct store *s, const char *sql, const char *args,
		       struct err *e)
{
	sqlite3 *db = store_reader(s, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e, sql, args, (int64_t)LEDGER_EXPIRED)
		   : NULL;
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		got = sqlite3_column_int64(q, 0) > 0;
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got;
}

/* Before anything is changed, or removed, by it. One that cannot be made again
 * is malformed, which is noted, or there is no room. */
static void recover_indexes(struct store *s)
{
	struct err e;
	sqlite3 *db = store_reader(s, &e);

	if ((!db || !schema_reindex_table(s->catalog, db, "segments", &e)) &&
	    !atomic_load(&s->stopping))
		log_err(LOG_LEVEL_WARN, &e);
	sqlite3_close(db);
}

bool recover_altered(struct store *s, struct err *e)
{
	int n = 0, got;

	recover_indexes(s);
	got = altered_any(s,
			  "SELECT EXISTS (SELECT 1 FROM segments AS s WHERE "
			  "(" SEGMENT_ALTERED ") OR (" EXPIRED_UNTOLD "))",
			  "i", e);
	if (got < 0 || (got && !catalog_run(s->catalog, run_altered, &n, e)))
		return false;
	/* Behind it: the triggers keep what it was, too. */
	got = altered_any(s, KEPT_ALTERED, "", e);
	if (got < 0 || (got && !catalog_run(s->catalog, run_kept, NULL, e)))
		return false;
	if (got)
		log_warn("the catalog's sums of what is kept were altered; "
			 "they are made again");
	if (n)
		log_warn("the catalog's rows of %d segments were altered; what "
			 "their files say is taken",
			 n);
	return true;
}

/* Before a number; not those that are being removed. */
static void recover_places(const struct recovery *of,
			   const struct recover_places *l, uint64_t before)
{
	struct recovery r = *of;

	for (size_t i = 0; i < l->n && l->all[i].first_seq < before; i++) {
		const struct recover_place *p = &l->all[i];

		if (!p->file || p->expired)
			continue;
		r.next = p->next;
		if (r.all || !p->row || !p->closed || recover_is_odd(p))
			recover_or_leave(&r, p->first_seq);
		if (atomic_load(&r.store->stopping))
			break;
	}
}

bool recover_capture(struct store *s, const struct capture_row *row,
		     enum recover_which which, struct err *e)
{
	struct recovery of = {
		.store = s, .row = row, .all = which == RECOVER_ALL};
	struct recover_places l = {0};
	struct missing m = {row->id, &l};
	bool new = which == RECOVER_NEW;

	segment_forget_next(s->spool_fd, row->id);
	aside_remember(s, row->id);
	bool ok =
		places_rows(&l, s, row->id, new ? PLACES_NEW : PLACES_ALL, e) &&
		(new ? places_new_files(&l, s, row->id, e)
		     : places_files(&l, s, row->id, e)) &&
		(!any_missing(&l) ||
		 catalog_run(s->catalog, run_missing, &m, e));

	if (ok)
		recover_places(&of, &l, UINT64_MAX);
	else
		reserve_behind(s, row->id, &l);
	free(l.all);
	return ok || err_wrap(e, "recover capture %" PRIu64, row->id);
}

bool recover_rest(struct store *s, const struct capture_row *row,
		  uint64_t before, struct err *e)
{
	struct recovery of = {.store = s, .row = row};
	struct recover_places l = {0};
	bool ok = places_rows(&l, s, row->id, PLACES_ALL, e) &&
		  places_files(&l, s, row->id, e);

	for (size_t i = 0; ok && i < l.n && l.all[i].first_seq < before; i++)
		if (!l.all[i].file && !l.all[i].expired)
			ok = store_segment_gone(s, row->id, l.all[i].first_seq,
						e);
	if (ok)
		recover_places(&of, &l, before);
	free(l.all);
	return ok || err_wrap(e, "recover capture %" PRIu64, row->id);
}
