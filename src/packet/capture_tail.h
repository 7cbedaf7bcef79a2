/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_tail: the end of one capture that is still in memory.
 *
 * What: the open block and the sealed blocks that the catalog does not have
 * yet, in order, and who wants to know of new packets. A block is in the
 * capture tail until capture_tail_release, which comes after its row is
 * committed: whoever looks for a block in the capture tail first and in the
 * catalog second finds it.
 * Threads: one producer (capture_tail_open, capture_tail_publish,
 * capture_tail_seal), one writer (capture_tail_wait, capture_tail_release), any
 * number of readers and watches. The lock is held for a few pointer moves;
 * watch callbacks run under it, on the producer's thread, and may neither block
 * nor call back into the capture tail.
 * Ownership: the capture tail holds a reference to each block inside.
 * capture_tail_open returns a borrowed one, good until capture_tail_seal.
 * capture_tail_find gives one away.
 * Limits: max_blocks blocks wait for the writer; then capture_tail_open says no
 * and the kernel's ring has to absorb, or it waits, as was said when the tail
 * was made. What listeners hold beyond that is theirs.
 */
#ifndef PCAPD_PACKET_CAPTURE_TAIL_H
#define PCAPD_PACKET_CAPTURE_TAIL_H

#include "packet/block.h"

#include <sys/queue.h>

struct capture_tail;

/* Packets that are missing, and when they came: after the newest one before
 * them that is there. CLOCK_REALTIME. */
struct loss {
	uint64_t packets;
	int64_t from_ns, to_ns;
};
/* *l grows by that; nothing happens when packets is 0. */
void loss_add(struct loss *l, uint64_t packets, int64_t from_ns, int64_t to_ns);

/* Register with capture_tail_watch; `published` is called for every slice from
 * then on, with a slice whose reference is borrowed. */
struct capture_tail_watch {
	void (*published)(void *ctx, const struct slice *s);
	void (*closed)(void *ctx); /* once, if the capture tail ends first */
	void *ctx;
	bool watching; /* this and link: the capture tail's */
	LIST_ENTRY(capture_tail_watch) link;
};

/* next_seq: the first block that capture_tail_open will make. NULL: out of
 * memory. */
struct capture_tail *capture_tail_new(uint64_t capture, uint64_t next_seq,
				      unsigned max_blocks);
/* Of savefiles, which can wait: capture_tail_open waits for room. */
struct capture_tail *capture_tail_new_waiting(uint64_t capture,
					      uint64_t next_seq,
					      unsigned max_blocks);
/* Nobody may wait in it or watch it any more, but for after capture_tail_close.
 */
struct capture_tail *capture_tail_ref(struct capture_tail *f);
void capture_tail_unref(struct capture_tail *f);
uint64_t capture_tail_capture(const struct capture_tail *f);

/* --- the producer --- */

/* A new open block, borrowed; NULL when max_blocks wait (try again later) or
 * memory is out or the capture tail is closed. There must be no open block. A
 * tail of who can wait has room in the end, and no bound. */
struct block *capture_tail_open(struct capture_tail *f, uint32_t link_type,
				uint32_t snaplen);
/*
 * Packets are missing before what is published next. The writer brings the
 * ledger up to date before it writes any of that: what is stored behind a loss
 * never outlives the news of it.
 */
void capture_tail_lost(struct capture_tail *f);
/* Blocks that capture_tail_open would still give now. */
unsigned capture_tail_room(struct capture_tail *f);
/* capture_tail_open gives none because the disk is full, which takes more than
 * a moment: what comes is lost, and is best counted at once. */
bool capture_tail_refuses(struct capture_tail *f);
/* Makes what was appended since the last call visible and tells the watches.
 * packets: how many that were. Does nothing if there is nothing new. */
void capture_tail_publish(struct capture_tail *f, struct block *b,
			  uint64_t packets);
/* capture_tail_publish first. A sealed block goes to the writer. An empty block
 * is taken back and its sequence number used again. */
void capture_tail_seal(struct capture_tail *f, struct block *b);

/* --- the writer --- */

/* Waits until block seq is sealed, or deadline_ns (CLOCK_MONOTONIC) is over,
 * or the capture tail is drained and closed, or capture_tail_nudge. */
void capture_tail_wait(struct capture_tail *f, uint64_t seq,
		       int64_t deadline_ns);
void capture_tail_nudge(struct capture_tail *f);
/* Sealed blocks from seq on, which a producer that cannot wait made; 0 for
 * one that waits for room. */
unsigned capture_tail_backlog(struct capture_tail *f, uint64_t seq);
/* For each block that was filled: sees to memory for blocks that come, before
 * the producer needs it. */
void capture_tail_warm(struct capture_tail *f);
/* capture_tail_open gives no block from seq on, as the disk may have no room
 * for it, and what a reader has seen is not to be lost afterwards. full: it has
 * none; else the producer is to wait. UINT64_MAX: it gives all. */
void capture_tail_bound(struct capture_tail *f, uint64_t seq, bool full);
/* The number of the block that capture_tail_open gives next. */
uint64_t capture_tail_next(struct capture_tail *f);
/* Blocks up to and with seq are in the catalog (or given up). */
void capture_tail_release(struct capture_tail *f, uint64_t seq);

/* How often capture_tail_lost was called. */
uint64_t capture_tail_losses(const struct capture_tail *f);

/* --- readers --- */

/* A reference to the first block from seq on, or NULL if there is none. */
struct block *capture_tail_find(struct capture_tail *f, uint64_t seq);
/* What is published of each block inside, oldest first; out has room for
 * capture_tail_max(f) rows. Returns how many. */
unsigned capture_tail_blocks(struct capture_tail *f, struct block_info *out);
unsigned capture_tail_max(const struct capture_tail *f);
/* How many blocks wait in memory, the open one included. */
unsigned capture_tail_depth(struct capture_tail *f);
void capture_tail_watch(struct capture_tail *f, struct capture_tail_watch *w);
/* After it returns the callbacks do not run any more. Twice is fine. */
void capture_tail_unwatch(struct capture_tail *f, struct capture_tail_watch *w);

/* The position after the last published packet: block *seq, byte *at; *at is
 * 0 when there is no open block (*seq is then the next one). */
void capture_tail_position(struct capture_tail *f, uint64_t *seq, uint32_t *at);

/* No more packets will come: watches are told, waits end. */
void capture_tail_close(struct capture_tail *f);

#endif
