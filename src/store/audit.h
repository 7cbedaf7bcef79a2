/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * audit: who did what, a row a call.
 *
 * What: rows in the catalog, added without waiting, read newest first.
 * Threads: any.
 * Ownership: rows are plain memory.
 * Limits: AUDIT_ROWS_MAX rows a person: whoever calls without end pushes out
 * nobody's rows but their own.
 */
#ifndef PCAPD_STORE_AUDIT_H
#define PCAPD_STORE_AUDIT_H

#include "store/store.h"

#define AUDIT_ROWS_MAX 100000

struct audit_row {
	uint64_t id;
	int64_t at_ns;
	char who[72], role[16], origin[72], method[32], capture[72];
	char filter[512], detail[256];
	int64_t since_ns, until_ns;
	uint64_t bytes;
	int64_t lasted_ns; /* -1: it goes on; 0 also: not known */
	int status;	   /* of gRPC */
	char result[192];
	uint64_t capture_id;	     /* 0: none, or not known */
	char people[PEOPLE_MAX + 1]; /* who may see that */
};

/* The number of a new row. */
uint64_t audit_next(struct store *s);
/* Adds the row, or replaces that of the same id. Does not wait; a row that
 * cannot be written is said in the log. */
void audit_put(struct store *s, const struct audit_row *row);
/* At start: what went on has ended with pcapd, nobody knows when. */
bool audit_recover(struct store *s, struct err *e);
/* The newest at most max rows that began in [since_ns, until_ns) and whose id
 * is less than before, 0: no bound, oldest first: an array to free(). */
bool audit_list(struct store *s, int64_t since_ns, int64_t until_ns,
		int64_t before, size_t max, struct audit_row **rows, size_t *n,
		struct err *e);

#endif
