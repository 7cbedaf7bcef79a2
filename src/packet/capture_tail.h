/*
 * feed: the end of one capture that is still in memory.
 *
 * What: the open block and the sealed blocks that the catalog does not have
 * yet, in order, and who wants to know of new packets. A block is in the feed
 * until feed_release, which comes after its row is committed: whoever looks
 * for a block in the feed first and in the catalog second finds it.
 * Threads: one producer (feed_open, feed_publish, feed_seal), one writer
 * (feed_wait, feed_release), any number of readers and watches. The lock is
 * held for a few pointer moves; watch callbacks run under it, on the
 * producer's thread, and may neither block nor call back into the feed.
 * Ownership: the feed holds a reference to each block inside. feed_open
 * returns a borrowed one, good until feed_seal. feed_find gives one away.
 * Limits: max_blocks blocks wait for the writer; then feed_open says no and
 * the kernel's ring has to absorb. What listeners hold beyond that is theirs.
 */
#ifndef PCAPD_FEED_H
#define PCAPD_FEED_H

#include "packet/block.h"

struct feed;

/* Packets that are missing, and when they came: after the newest one before
 * them that is there. CLOCK_REALTIME. */
struct loss {
	uint64_t packets;
	int64_t from_ns, to_ns;
};
/* *l grows by that; nothing happens when packets is 0. */
void loss_add(struct loss *l, uint64_t packets, int64_t from_ns, int64_t to_ns);

/* Register with feed_watch; `published` is called for every slice from then
 * on, with a slice whose reference is borrowed. */
struct feed_watch {
	void (*published)(void *ctx, const struct slice *s);
	void (*closed)(void *ctx); /* once, if the feed ends first */
	void *ctx;
	struct feed_watch *next, **link; /* the feed's */
};

/* next_seq: the first block that feed_open will make. NULL: out of memory. */
struct feed *feed_new(uint64_t capture, uint64_t next_seq, unsigned max_blocks);
/* Nobody may wait in it or watch it any more, but for after feed_close. */
struct feed *feed_ref(struct feed *f);
void feed_unref(struct feed *f);
uint64_t feed_capture(const struct feed *f);

/* --- the producer --- */

/* A new open block, borrowed; NULL when max_blocks wait (try again later) or
 * memory is out or the feed is closed. There must be no open block. */
struct block *feed_open(struct feed *f, uint32_t link_type, uint32_t snaplen);
/* As feed_open, but waits for room: for savefiles, which can wait. */
struct block *feed_open_wait(struct feed *f, uint32_t link_type,
			     uint32_t snaplen);
/*
 * Packets are missing before what is published next. The writer brings the
 * ledger up to date before it writes any of that: what is stored behind a loss
 * never outlives the news of it.
 */
void feed_lost(struct feed *f);
/* Blocks that feed_open would still give now. */
unsigned feed_room(struct feed *f);
/* feed_open gives none because of feed_refuse, which takes more than a moment:
 * what comes is lost, and is best counted at once. */
bool feed_refuses(struct feed *f);
/* Makes what was appended since the last call visible and tells the watches.
 * packets: how many that were. Does nothing if there is nothing new. */
void feed_publish(struct feed *f, struct block *b, uint64_t packets);
/* feed_publish first. A sealed block goes to the writer. An empty block is
 * taken back and its sequence number used again. */
void feed_seal(struct feed *f, struct block *b);

/* --- the writer --- */

/* Waits until block seq is sealed, or deadline_ns (CLOCK_MONOTONIC) is over,
 * or the feed is drained and closed, or feed_nudge. */
void feed_wait(struct feed *f, uint64_t seq, int64_t deadline_ns);
void feed_nudge(struct feed *f);
/* Sealed blocks from seq on, which a producer that cannot wait made; 0 for
 * one that waits for room. */
unsigned feed_backlog(struct feed *f, uint64_t seq);
/* For each block that was filled: sees to memory for blocks that come, before
 * the producer needs it. */
void feed_warm(struct feed *f);
/* feed_open gives no block from seq on: the disk has no room for it, and what
 * a reader has seen is not to be lost afterwards. UINT64_MAX: it gives all. */
void feed_refuse(struct feed *f, uint64_t seq);
/* The number of the block that feed_open gives next. */
uint64_t feed_next(struct feed *f);
/* Blocks up to and with seq are in the catalog (or given up). */
void feed_release(struct feed *f, uint64_t seq);

/* How often feed_lost was called. */
uint64_t feed_losses(const struct feed *f);

/* --- readers --- */

/* A reference to the first block from seq on, or NULL if there is none. */
struct block *feed_find(struct feed *f, uint64_t seq);
/* What is published of each block inside, oldest first; out has room for
 * feed_max(f) rows. Returns how many. */
unsigned feed_blocks(struct feed *f, struct block_info *out);
unsigned feed_max(const struct feed *f);
/* How many blocks wait in memory, the open one included. */
unsigned feed_depth(struct feed *f);
void feed_watch(struct feed *f, struct feed_watch *w);
/* After it returns the callbacks do not run any more. Twice is fine. */
void feed_unwatch(struct feed *f, struct feed_watch *w);

/* The position after the last published packet: block *seq, byte *at; *at is
 * 0 when there is no open block (*seq is then the next one). */
void feed_position(struct feed *f, uint64_t *seq, uint32_t *at);

/* No more packets will come: watches are told, waits end. */
void feed_close(struct feed *f);

#endif
