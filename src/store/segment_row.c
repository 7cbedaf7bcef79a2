/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of segments beside their files. Guarantees that every column that a
 * reader or retention goes by is compared. Leaves out when: recover.c, check.c.
 */
#include "store/segment_row.h"
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdio.h>

void segment_row_from_row(sqlite3_stmt *q, struct segment_row *x)
{
	x->first_seq = (uint64_t)sqlite3_column_int64(q, 0);
	x->last_seq = (uint64_t)sqlite3_column_int64(q, 1);
	x->link_type = (uint32_t)sqlite3_column_int64(q, 2);
	x->snaplen = (uint32_t)sqlite3_column_int64(q, 3);
	x->stored_bytes = (uint64_t)sqlite3_column_int64(q, 4);
	x->raw_bytes = (uint64_t)sqlite3_column_int64(q, 5);
	x->packets = (uint64_t)sqlite3_column_int64(q, 6);
	x->min_ns = sqlite3_column_int64(q, 7);
	x->max_ns = sqlite3_column_int64(q, 8);
	x->made_ns = sqlite3_column_int64(q, 9);
	x->other_bytes = (uint64_t)sqlite3_column_int64(q, 10);
	x->closed = sqlite3_column_int(q, 11);
	x->expired = sqlite3_column_int(q, 12);
	x->stored_ns = sqlite3_column_int64(q, 13);
}

int segment_row_read(sqlite3 *db, uint64_t capture, uint64_t first_seq,
		     struct segment_row *x, struct err *e)
{
	sqlite3_stmt *q =
		sql_query(db, e,
			  "SELECT " SEGMENT_COLUMNS " FROM segments s "
			  "WHERE s.capture = ?1 AND s.first_seq = ?2",
			  "ii", capture, first_seq);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		segment_row_from_row(q, x);
	sqlite3_finalize(q);
	return got;
}

void segment_row_of(struct segment_row *x, const struct segment *g,
		    const struct block_info *blocks, size_t n,
		    uint64_t file_bytes)
{
	*x = (struct segment_row){.first_seq = g->first_seq,
				  .last_seq = blocks[n - 1].seq,
				  .link_type = g->link_type,
				  .snaplen = g->snaplen,
				  .min_ns = blocks[0].min_ns,
				  .max_ns = blocks[0].max_ns};
	for (size_t i = 0; i < n; i++) {
		const struct block_info *b = &blocks[i];

		x->stored_bytes += b->stored_bytes;
		x->raw_bytes += b->raw_bytes;
		x->packets += b->packets;
		if (b->min_ns < x->min_ns)
			x->min_ns = b->min_ns;
		if (b->max_ns > x->max_ns)
			x->max_ns = b->max_ns;
	}
	x->other_bytes = file_bytes - x->stored_bytes;
}

bool segment_row_same(const struct segment_row *row,
		      const struct segment_row *file, char what[128])
{
	const struct {
		const char *name;
		int64_t row, file;
	} columns[] = {
		{"last_seq", (int64_t)row->last_seq, (int64_t)file->last_seq},
		{"link_type", row->link_type, file->link_type},
		{"snaplen", row->snaplen, file->snaplen},
		{"stored_bytes", (int64_t)row->stored_bytes,
		 (int64_t)file->stored_bytes},
		{"raw_bytes", (int64_t)row->raw_bytes,
		 (int64_t)file->raw_bytes},
		{"packets", (int64_t)row->packets, (int64_t)file->packets},
		{"min_ns", row->min_ns, file->min_ns},
		{"max_ns", row->max_ns, file->max_ns},
		/* Of an open one, and of one that an older version closed, it
		 * is not known. */
		{"other_bytes",
		 (int64_t)(row->closed && row->other_bytes ? row->other_bytes
							   : file->other_bytes),
		 (int64_t)file->other_bytes},
	};

	for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++) {
		if (columns[i].row == columns[i].file)
			continue;
		snprintf(what, 128, "%s is %" PRId64 ", in the file %" PRId64,
			 columns[i].name, columns[i].row, columns[i].file);
		return false;
	}
	return true;
}
