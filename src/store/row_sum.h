/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * row_sum: checksums of rows, so that a bit of the catalog that was altered on
 * disk is found before anybody goes by it. Private to this folder and to fsck/.
 *
 * What: the SQL function row_sum(...) of any values, and row_sum_total(...) of
 * the rows of a query, in any order. Triggers, which only the writing
 * connection has, keep segments.sum, segments.blocks_sum (of the rows of its
 * blocks that were added) and ledger.sum, and count in
 * captures.changes what is changed of a capture; so what others write into the
 * catalog is found as well, and none of it needs the function to be read.
 * NULL in place of a sum is a row of an older version, or another's.
 */
#ifndef PCAPD_STORE_ROW_SUM_H
#define PCAPD_STORE_ROW_SUM_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>

/* Of a connection that reads. */
bool row_sum_define(sqlite3 *db, struct err *e);
/* And of the one that writes. */
bool row_sum_keep(sqlite3 *db, struct err *e);

/* Of what it is; and "it is not the one that the row has", for WHERE. That of
 * blocks is in the row of their segment. */
#define SEGMENT_SUM_BEFORE                                                     \
	"row_sum(capture, first_seq, last_seq, link_type, snaplen, closed, "   \
	"stored_bytes, raw_bytes, packets, min_ns, max_ns, made_ns, "          \
	"other_bytes, expired"
#define SEGMENT_SUM SEGMENT_SUM_BEFORE ", stored_ns)"
/* From version 11 of the schema on, which had no stored_ns in it: a row that
 * was altered before keeps a sum that is wrong. */
#define SEGMENT_SUM_AGAIN                                                      \
	"UPDATE segments SET sum = " SEGMENT_SUM                               \
	" WHERE sum IS " SEGMENT_SUM_BEFORE ")"
#define LEDGER_SUM                                                             \
	"row_sum(id, capture, cause, from_ns, to_ns, packets, detail)"
#define SEGMENT_ALTERED "sum IS NOT NULL AND sum IS NOT " SEGMENT_SUM
#define LEDGER_ALTERED "sum IS NOT NULL AND sum IS NOT " LEDGER_SUM

#endif
