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

#include "../sha256.h"
#include "ledger.h"
#include "store.h"

#define IMPORT_FILE_MAX 63

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
/* At start: those that are under way have ended, and the ledger says so. */
bool imports_recover(struct store *s, struct err *e);

#endif
