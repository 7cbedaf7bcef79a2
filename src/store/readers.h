/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * readers: who reads, so that retention tells them what it takes. A reader says
 * which segment it is about to open; from then on it has to find out by itself
 * whether the file is still there, and before that it is told.
 *
 * Threads: any. Ownership: a reader is the caller's until readers_remove.
 */
#ifndef PCAPD_STORE_READERS_H
#define PCAPD_STORE_READERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct reader {
	uint64_t capture;
	int64_t since_ns, until_ns;
	uint64_t end_seq; /* what comes after it is not read */
	/* Guarded by the lock of struct readers. */
	uint64_t held;	    /* first_seq of the segment that it reads */
	uint64_t held_gone; /* bytes of it, once it is expired */
	uint64_t position;  /* everything before this block is done with */
	uint64_t expired;   /* packets that it was going to read */
	LIST_ENTRY(reader) link;
};
struct readers *readers_new(void);
void readers_free(struct readers *l); /* NULL is fine */
void readers_add(struct readers *l, struct reader *r);
void readers_remove(struct readers *l, struct reader *r);
/* false: it went before, and was counted. last: its last block. */
bool readers_hold(struct readers *l, struct reader *r, uint64_t segment,
		  uint64_t last);
/* Everything before that block is done with, from memory. */
void readers_pass(struct readers *l, struct reader *r, uint64_t position);
uint64_t readers_expired(struct readers *l, struct reader *r);

struct removed_segment {
	uint64_t capture, first_seq, last_seq;
	uint64_t bytes, packets;
	int64_t min_ns, max_ns;
};
void readers_tell(struct readers *l, const struct removed_segment *v);
/* Space that comes back when the readers of removed files are done. */
uint64_t readers_held_bytes(struct readers *l);

#endif
