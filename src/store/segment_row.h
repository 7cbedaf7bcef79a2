/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_row: a row of the table segments, and what it has to be by the
 * blocks of its file. Private to this folder and to fsck/.
 */
#ifndef PCAPD_STORE_SEGMENT_ROW_H
#define PCAPD_STORE_SEGMENT_ROW_H

#include "store/segment_file.h"

#include <sqlite3.h>

struct segment_row {
	uint64_t first_seq, last_seq;
	uint32_t link_type, snaplen;
	uint64_t stored_bytes, raw_bytes, packets;
	int64_t min_ns, max_ns, made_ns, stored_ns;
	uint64_t other_bytes; /* 0: it was not closed by a version that knew */
	bool closed, expired;
};

/* Its columns, of `segments s`, in the order that segment_row_from_row
 * wants. */
#define SEGMENT_COLUMNS                                                        \
	"s.first_seq, s.last_seq, s.link_type, s.snaplen, s.stored_bytes, "    \
	"s.raw_bytes, s.packets, s.min_ns, s.max_ns, s.made_ns, "              \
	"s.other_bytes, s.closed, s.expired, s.stored_ns"
/* What the table kept has by them; how many of its rows say something else. */
#define KEPT_ROWS                                                              \
	"SELECT capture, count(*), sum(stored_bytes + other_bytes), "          \
	"sum(raw_bytes), sum(packets) FROM segments WHERE NOT expired "        \
	"GROUP BY capture"
#define KEPT_ALTERED                                                           \
	"SELECT (SELECT count(*) FROM (" KEPT_ROWS " EXCEPT SELECT * FROM "    \
	"kept)) + (SELECT count(*) FROM (SELECT * FROM kept WHERE segments "   \
	"OR "                                                                  \
	"bytes OR raw_bytes OR packets EXCEPT " KEPT_ROWS "))"
void segment_row_from_row(sqlite3_stmt *q, struct segment_row *x);
/* 1 there, 0 not, -1 error */
int segment_row_read(sqlite3 *db, uint64_t capture, uint64_t first_seq,
		     struct segment_row *x, struct err *e);

/* What blocks, of a file that begins with g's frame 0 and has so many bytes,
 * make of it; made_ns, stored_ns, closed and expired are not theirs. n is not
 * 0. */
void segment_row_of(struct segment_row *x, const struct segment *g,
		    const struct block_info *blocks, size_t n,
		    uint64_t file_bytes);
/* The first column in which they differ, with both values: false. */
bool segment_row_same(const struct segment_row *row,
		      const struct segment_row *file, char what[128]);

#endif
