/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verify: the rows of blocks are held against the sums that their segments'
 * rows have, and before that those of the ledger against theirs and its index,
 * and, where a start did not do it, the rows of segments against their own sums
 * and the files. Private to this folder.
 *
 * What: begins when the store is opened, capture by capture, on a thread of its
 * own, since a large spool has millions of rows. Rows that were altered are
 * made again from the segment's file. Who reads a capture waits for it. Then
 * that each closed file is the segment that its name says, for which nobody
 * waits, as readers look, too.
 * Threads: any may wait; verify_capture runs on the caller's.
 * Ownership: verify_start gives, verify_stop takes.
 */
#ifndef PCAPD_STORE_VERIFY_H
#define PCAPD_STORE_VERIFY_H

#include "base/err.h"

#include <stdint.h>

struct store;
struct capture_row;
struct verify;

enum verify_stage {
	VERIFY_SEGMENTS, /* the ledger, rows of segments against their files */
	VERIFY_BLOCKS,	 /* rows of blocks, too */
	VERIFY_PLACES,	 /* files, that each is the segment of its name */
	VERIFY_STAGES
};

struct verify *verify_start(struct store *s, struct err *e);
void verify_stop(struct verify *v); /* in the middle, too; NULL is fine */
/* Until the capture is done, or there is nothing to wait for; false: the store
 * closes soon. Not on verify's own thread. */
bool verify_wait(struct verify *v, uint64_t capture, enum verify_stage stage,
		 struct err *e);
bool verify_capture(struct store *s, const struct capture_row *row,
		    struct err *e);
/* All of the ledger, with a word in the log. */
void verify_ledger(struct store *s);

#endif
