/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * imports: which files went into a capture, and how that ended.
 *
 * What: a row a file, from before its first packet on, so that an import that
 * the daemon did not live to end is known at the next start. What did not come
 * in is in the ledger, by the transaction that ends the row.
 * Threads: as store.h.
 * Ownership: plain memory.
 */
#ifndef PCAPD_STORE_IMPORTS_H
#define PCAPD_STORE_IMPORTS_H

#include "base/sha256.h"
#include "store/ledger.h"
#include "store/store.h"

#define IMPORT_FILE_MAX 63
/* What a row of the ledger about it begins with. */
#define IMPORT_DETAIL "%.40s: "

/* The numbers are in catalogs. */
enum import_state { IMPORT_UNDER_WAY, IMPORT_WHOLE, IMPORT_INCOMPLETE };

struct import_row {
	uint64_t id, capture;
	int64_t at_ns;
	char file[IMPORT_FILE_MAX + 1];
	enum import_state state;
	uint64_t first_seq, end_seq;
	uint64_t packets;
	uint8_t sha256[SHA256_BYTES];
};

/* Fills r->id. */
bool imports_begin(struct store *s, struct import_row *r, struct err *e);
/* With the rows of what did not come in. *before: the first import of the same
 * bytes into this capture; its id is 0 if there was none. */
bool imports_end(struct store *s, const struct import_row *r,
		 const struct ledger_row *rows, size_t n,
		 struct import_row *before, struct err *e);
/* Where a file broke off, as the ledger has it: behind so many packets, the
 * last of which is of that time. */
struct import_break {
	int64_t gap; /* the row's id */
	uint64_t packets;
	int64_t last_ns;
};
#define IMPORT_BREAKS 64
/* Of files of the name of r that went into its capture; the newest ones. How
 * many in *n. */
bool imports_breaks(struct store *s, const struct import_row *r,
		    struct import_break breaks[IMPORT_BREAKS], size_t *n,
		    struct err *e);
/* What was behind it came in, until to_ns: it is no gap. */
bool imports_made_good(struct store *s, const struct import_break *b,
		       int64_t to_ns, struct err *e);
/* Blocks [first_seq, end_seq) of a file, or of several whose times follow on
 * one another. */
struct import_run {
	uint64_t first_seq, end_seq;
	int64_t min_ns;
	uint64_t packets; /* of segments in the range */
};
/* What a capture has in [since_ns, until_ns), 0: no bound, by the times at
 * which its files begin: an array to free(). Within a file the order is the
 * file's. *n is 0 where it is stored in that order. */
bool imports_runs(struct store *s, uint64_t capture, int64_t since_ns,
		  int64_t until_ns, struct import_run **runs, size_t *n,
		  struct err *e);
/* Packets of a run that are there now: retention may have come. */
bool imports_left(struct store *s, uint64_t capture, int64_t since_ns,
		  int64_t until_ns, const struct import_run *run,
		  uint64_t *packets, struct err *e);
/* At start: those that are under way have ended, and the ledger says so. */
bool imports_recover(struct store *s, struct err *e);

#endif
