/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_rows: what the catalog has of a range, one segment after the other.
 * Private to this folder.
 *
 * What: the rows of a segment's blocks, with its file open, so that it can be
 * read to the end, whatever retention does. What is gone or cannot be read is
 * counted, and the ledger is told.
 * Threads: one at a time. Ownership: a part of its cursor.
 */
#ifndef PCAPD_STORE_SEGMENT_ROWS_H
#define PCAPD_STORE_SEGMENT_ROWS_H

#include "store/block_skip.h"
#include "store/ledger.h"
#include "store/segment_row.h"
#include "store/store_internal.h"

/* Damaged blocks with nothing between them: one row of the ledger. */
struct blocks_damage {
	struct ledger_row row;
	uint64_t segment, first_seq, last_seq; /* last_seq 0: none */
	char why[48];
};

struct segment_rows {
	struct store *store;
	uint64_t capture;
	struct cursor_range range; /* with its bounds, INT64_MIN and _MAX */
	struct block_skip *skip;   /* NULL: everything is wanted */
	struct reader reader;
	uint64_t blocks;  /* in the range when it was asked first */
	uint64_t skipped; /* blocks of segments that the filter left out */

	sqlite3 *db;
	/* Prepared: there may be thousands of segments to pass. */
	sqlite3_stmt *next_segment, *its_blocks;
	bool no_memory; /* for the rows */

	/* Of its blocks those that are in the range; row: the next one. */
	struct segment_row segment;
	struct block_info *all;
	size_t n, row;
	int fd; /* -1: none */
	uint64_t fd_segment;
	uint64_t fd_looked; /* the segment whose file is known to be its own */

	uint64_t lost;
	bool untold; /* there is something in reason */
	char reason[160];
	struct blocks_damage damage; /* that the ledger was not told of */
};

/* skip NULL although there is a filter: memory is out. */
void segment_rows_init(struct segment_rows *s, struct store *store,
		       uint64_t capture, const struct cursor_range *range);
/* Where it cannot, it is tried again when
 * rows are needed. */
bool segment_rows_connect(struct segment_rows *s, struct err *e);
void segment_rows_done(struct segment_rows *s);

/* The next segment that has blocks in the range from *seq on, which moves on;
 * none: n is 0. false: the catalog could not be read, or without a kind of
 * error nobody waits. */
bool segment_rows_next(struct segment_rows *s, uint64_t *seq, struct err *e);
static inline void segment_rows_drop(struct segment_rows *s)
{
	s->row = s->n = 0;
}
bool segment_rows_goes_on(const struct segment_rows *s);
/* It has packets in the range. */
bool segment_rows_cover(const struct segment_rows *s,
			const struct block_info *i);

/* Is skipped. damaged: what was stored cannot be read; whoever asks for gaps is
 * told, too, by segment_rows_tell at the latest. */
void segment_rows_lose(struct segment_rows *s, const struct block_info *info,
		       bool damaged, const char *why);
void segment_rows_tell(struct segment_rows *s);

#endif
