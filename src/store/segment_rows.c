/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rows of a range's segments. Guarantees that each row is given once and in
 * order, from the footer where the catalog's page with it is malformed, and
 * that what is not given although it is in the range is counted. Leaves out
 * what of a block is wanted, and reading it: cursor.c.
 */
#include "store/segment_rows.h"

#include "base/log.h"
#include "base/vec.h"
#include "store/segment_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void segment_rows_init(struct segment_rows *s, struct store *store,
		       uint64_t capture, const struct cursor_range *range)
{
	*s = (struct segment_rows){
		.store = store, .capture = capture, .range = *range, .fd = -1};
	if (!range->since_ns)
		s->range.since_ns = INT64_MIN;
	if (!range->until_ns)
		s->range.until_ns = INT64_MAX;
	s->reader = (struct reader){.capture = capture,
				    .since_ns = s->range.since_ns,
				    .until_ns = s->range.until_ns};
	if (range->filter)
		s->skip =
			block_skip_new(store->indexes, &range->filter->program,
				       range->link_type);
}

static bool count_blocks(struct segment_rows *s, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		s->db, e,
		"SELECT coalesce(sum(last_seq - first_seq + 1), 0) "
		"FROM segments WHERE capture = ?1 AND max_ns >= ?2 "
		"AND +min_ns < ?3 AND NOT expired",
		"iii", s->capture, s->range.since_ns, s->range.until_ns);
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		s->blocks = (uint64_t)sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return ok;
}

static bool segment_rows_prepare(struct segment_rows *s, struct err *e)
{
	s->next_segment = sql_query(
		s->db, e,
		"SELECT " SEGMENT_COLUMNS " "
		"FROM segments s WHERE capture = ?1 AND first_seq >= "
		"coalesce((SELECT max(first_seq) FROM segments "
		"WHERE capture = ?1 AND first_seq <= ?2), 0) "
		"AND last_seq >= ?2 AND max_ns >= ?3 AND +min_ns < ?4 "
		"AND NOT expired ORDER BY first_seq LIMIT 1",
		"");
	s->its_blocks =
		sql_query(s->db, e,
			  "SELECT " BLOCK_COLUMNS " FROM blocks b "
			  "WHERE capture = ?1 AND seq BETWEEN ?2 AND ?3 "
			  "AND max_ns >= ?4 AND min_ns < ?5 ORDER BY seq",
			  "");
	return s->next_segment && s->its_blocks;
}

static void segment_rows_disconnect(struct segment_rows *s)
{
	sqlite3_finalize(s->next_segment);
	sqlite3_finalize(s->its_blocks);
	sqlite3_close(s->db);
	s->next_segment = s->its_blocks = NULL;
	s->db = NULL;
}

bool segment_rows_connect(struct segment_rows *s, struct err *e)
{
	if (s->db)
		return true;
	s->db = catalog_reader(s->store->catalog, e);
	if (s->db && count_blocks(s, e) && segment_rows_prepare(s, e))
		return true;
	if (s->db && sql_is_malformed(s->db))
		store_malformed(s->store);
	segment_rows_disconnect(s);
	return false;
}

void segment_rows_done(struct segment_rows *s)
{
	segment_rows_disconnect(s);
	if (s->fd >= 0)
		close(s->fd);
	block_skip_free(s->skip);
	free(s->all);
}

/* --- what is missing --- */

void segment_rows_tell(struct segment_rows *s)
{
	struct blocks_damage *d = &s->damage;
	struct err ignored;
	char more[32] = "";

	if (!d->last_seq)
		return;
	if (d->last_seq > d->first_seq)
		snprintf(more, sizeof(more), " to %" PRIu64, d->last_seq);
	snprintf(d->row.detail, sizeof(d->row.detail),
		 "block%s %" PRIu64 "%s of segment %" PRIu64 ": %s",
		 *more ? "s" : "", d->first_seq, more, d->segment, d->why);
	ledger_add(s->store, &d->row, 1, &ignored);
	d->last_seq = 0;
}

static void segment_rows_damaged(struct segment_rows *s,
				 const struct block_info *info, const char *why)
{
	struct ledger_row row = {.capture = info->capture,
				 .cause = LEDGER_DAMAGE,
				 .from_ns = info->min_ns,
				 .to_ns = info->max_ns + 1,
				 .packets = info->packets};
	struct blocks_damage *d = &s->damage;
	struct err ignored;

	if (rows_known_damage(s->db, &row, &ignored) == 1)
		return;
	if (d->segment != info->segment || d->last_seq + 1 != info->seq)
		segment_rows_tell(s);
	if (!d->last_seq) {
		*d = (struct blocks_damage){row, info->segment, info->seq, 0,
					    ""};
		snprintf(d->why, sizeof(d->why), "%s", why);
	} else {
		d->row.packets += row.packets;
		if (row.from_ns < d->row.from_ns)
			d->row.from_ns = row.from_ns;
		if (row.to_ns > d->row.to_ns)
			d->row.to_ns = row.to_ns;
	}
	d->last_seq = info->seq;
}

void segment_rows_lose(struct segment_rows *s, const struct block_info *info,
		       bool damaged, const char *why)
{
	s->lost += info->packets;
	s->untold = true;
	snprintf(s->reason, sizeof(s->reason),
		 "block %" PRIu64 " of segment %" PRIu64 ": %.80s", info->seq,
		 info->segment, why);
	if (damaged)
		segment_rows_damaged(s, info, why);
}

/* --- segments --- */

bool segment_rows_cover(const struct segment_rows *s,
			const struct block_info *i)
{
	return i->max_ns >= s->range.since_ns && i->min_ns < s->range.until_ns;
}

bool segment_rows_goes_on(const struct segment_rows *s)
{
	return !s->range.go_on || s->range.go_on(s->range.ctx);
}

/* The first segment that may have blocks in the range from seq on: 1, 0 none,
 * -1 error. */
static int find_segment(struct segment_rows *s, uint64_t seq, struct err *e)
{
	sqlite3_stmt *q = s->next_segment;
	int got = sql_bind(q, e, "iiii", s->capture, seq, s->range.since_ns,
			   s->range.until_ns)
			  ? sql_step(q, e)
			  : -1;

	if (got == 1)
		segment_row_from_row(q, &s->segment);
	if (got < 0 && sql_is_malformed(s->db))
		store_malformed(s->store);
	sqlite3_reset(q);
	return got;
}

static bool add_row(struct segment_rows *s, const struct block_info *info,
		    struct err *e)
{
	struct block_info *row = vec_push(&s->all, &s->n);

	s->no_memory = !row;
	if (!row)
		return err_no_memory(e, "cursor");
	*row = *info;
	return true;
}

/* The catalog's page with these rows is malformed. The footer has the same;
 * without one nobody knows how much of the segment is before `from`. */
static bool footer_blocks(struct segment_rows *s, uint64_t from, struct err *e)
{
	const struct segment_row *g = &s->segment;
	uint64_t id = s->capture;
	struct block_info rest = {.capture = id,
				  .seq = from,
				  .segment = g->first_seq,
				  .packets = g->packets,
				  .min_ns = g->min_ns,
				  .max_ns = g->max_ns};
	struct segment_footer head;
	bool ok = true;

	store_malformed(s->store);
	s->n = 0;
	struct block_info *blocks =
		s->fd >= 0 ? footer_read(s->fd, &head, NULL) : NULL;
	if (!blocks || head.capture != id || head.first_seq != g->first_seq)
		segment_rows_lose(s, &rest, true,
				  "its rows and its footer are damaged");
	else
		for (size_t i = 0; ok && i < head.blocks; i++)
			if (blocks[i].seq >= from &&
			    blocks[i].seq <= g->last_seq &&
			    segment_rows_cover(s, &blocks[i]))
				ok = add_row(s, &blocks[i], e);
	free(blocks);
	return ok;
}

static bool find_blocks(struct segment_rows *s, uint64_t seq, struct err *e)
{
	const struct segment_row *g = &s->segment;
	uint64_t from = seq > g->first_seq ? seq : g->first_seq;
	sqlite3_stmt *q = s->its_blocks;
	struct block_info info;
	int got = -1;

	if (sql_bind(q, e, "iiiii", s->capture, from, g->last_seq,
		     s->range.since_ns, s->range.until_ns))
		while ((got = sql_step(q, e)) == 1) {
			block_from_row(q, &info);
			if (!add_row(s, &info, e)) {
				got = -1;
				break;
			}
		}
	bool malformed = got < 0 && sql_is_malformed(s->db);
	sqlite3_reset(q);
	return got == 0 || (malformed && footer_blocks(s, from, e));
}

/* A file that is not there was removed with its row, or without. */
static const char *why_gone(struct segment_rows *s)
{
	struct err ignored;
	sqlite3_stmt *q = sql_query(
		s->db, &ignored,
		"SELECT 1 FROM segments WHERE capture = ?1 AND first_seq = ?2 "
		"AND NOT expired",
		"ii", s->capture, s->segment.first_seq);
	bool there = q && sql_step(q, &ignored) == 1;

	sqlite3_finalize(q);
	return there ? "its file is missing" : "expired";
}

/* 0, or errno. */
static int open_segment(struct segment_rows *s)
{
	uint64_t first_seq = s->segment.first_seq;
	char name[SEGMENT_NAME_BYTES];

	if (s->fd >= 0 && s->fd_segment == first_seq)
		return 0;
	if (s->fd >= 0)
		close(s->fd);
	segment_name(name, s->capture, first_seq);
	s->fd = openat(s->store->spool_fd, name,
		       O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	s->fd_segment = first_seq;
	if (s->fd < 0)
		return errno;
	posix_fadvise(s->fd, 0, 0,
		      s->skip ? POSIX_FADV_RANDOM : POSIX_FADV_SEQUENTIAL);
	return 0;
}

/* What is left of the segment: its rows, or none. *why: errno if its file could
 * not be opened. */
static bool sift_segment(struct segment_rows *s, uint64_t seq, int *why,
			 struct err *e)
{
	const struct segment_row *g = &s->segment;

	if (!readers_hold(s->store->readers, &s->reader, g->first_seq,
			  g->last_seq))
		return true;
	*why = open_segment(s);
	if (!*why && s->skip &&
	    !block_skip_segment(s->skip, s->fd, s->capture, g->first_seq,
				g->link_type)) {
		s->skipped += g->last_seq + 1 - g->first_seq;
		return true;
	}
	return find_blocks(s, seq, e);
}

/* As one transaction: retention may remove the rows between. */
static int read_segment(struct segment_rows *s, uint64_t seq, int *why,
			struct err *e)
{
	struct err ignored;

	*why = 0;
	if (!sql_exec(s->db, e, "BEGIN", ""))
		return -1;
	int got = find_segment(s, seq, e);
	if (got == 1 && !sift_segment(s, seq, why, e))
		got = -1;
	sql_exec(s->db, &ignored, "COMMIT", "");
	return got;
}

/* Another file lies in its place: it is put aside, and the ledger told. */
static bool segment_is_displaced(struct segment_rows *s)
{
	uint64_t first_seq = s->segment.first_seq;
	struct capture_row row;
	struct err ignored;

	if (!s->segment.closed || s->fd_looked == first_seq ||
	    !rows_capture(s->db, s->capture, &row, &ignored))
		return false;
	bool displaced =
		segment_is_foreign(s->fd, row.uuid, s->capture, first_seq);
	if (displaced)
		recover_again(s->store, &row, first_seq);
	else
		s->fd_looked = first_seq;
	capture_row_done(&row);
	return displaced;
}

#define WHY_DISPLACED (-1)

/* Its file cannot be opened (errno) or is another's. Whoever asks for gaps is
 * told, too. */
static void lose_segment(struct segment_rows *s, int why)
{
	const char *text = why == WHY_DISPLACED ? "its file is another's"
			   : why == ENOENT	? why_gone(s)
						: strerror(why);
	struct err ignored;

	for (size_t i = 0; i < s->n; i++)
		segment_rows_lose(s, &s->all[i], false, text);
	if (s->n && why == ENOENT && !atomic_load(&s->store->pressed) &&
	    !store_segment_gone(s->store, s->capture, s->segment.first_seq,
				&ignored))
		log_err(LOG_LEVEL_WARN, &ignored);
}

bool segment_rows_next(struct segment_rows *s, uint64_t *seq, struct err *e)
{
	int got, why;

	segment_rows_drop(s);
	if (!segment_rows_connect(s, e))
		return false;
	while ((got = read_segment(s, *seq, &why, e)) == 1) {
		if (s->n && !why && segment_is_displaced(s))
			why = WHY_DISPLACED;
		if (s->n && !why)
			return true;
		lose_segment(s, why);
		segment_rows_drop(s);
		*seq = s->segment.last_seq + 1;
		if (!segment_rows_goes_on(s))
			return false;
	}
	return got == 0;
}
