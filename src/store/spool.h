/*
 * spool: what the parts of the store share. Private to this folder.
 */
#ifndef PCAPD_STORE_SPOOL_H
#define PCAPD_STORE_SPOOL_H

#include "catalog.h"
#include "segment.h"
#include "store.h"

struct store {
	struct catalog *catalog;
	struct store_options options;
	int spool_fd;
	int lock_fd;
};

/* The columns of blocks, in the order of struct block_info. */
#define BLOCK_COLUMNS                                                          \
	"b.capture, b.seq, b.segment, b.offset, b.stored_bytes, b.raw_bytes, " \
	"b.packets, b.first_ns, b.last_ns, b.min_ns, b.max_ns"
void block_from_row(sqlite3_stmt *q, struct block_info *info);

/* Inserts a block's row and adds it to its segment's, which is made with the
 * first. On the catalog's thread. */
bool rows_add_block(sqlite3 *db, const struct block_info *info,
		    uint32_t link_type, uint32_t snaplen, struct err *e);
bool rows_close_segment(sqlite3 *db, uint64_t capture, uint64_t first_seq,
			struct err *e);

/* Adds a row to the ledger, or joins it to the newest of its cause. On the
 * catalog's thread. */
struct ledger_row;
bool rows_ledger(sqlite3 *db, const struct ledger_row *row, struct err *e);

/* One capture's row, from a connection of the caller's. */
bool rows_capture(sqlite3 *db, uint64_t id, struct capture_row *row,
		  struct err *e);
/* The same, when there is no connection at hand. */
bool store_capture(struct store *s, uint64_t id, struct capture_row *row,
		   struct err *e);

/* Puts the segments of one capture in order that no writer closed. Before
 * any writer or cursor of the capture. */
bool recover_capture(struct store *s, const struct capture_row *row,
		     struct err *e);

#endif
