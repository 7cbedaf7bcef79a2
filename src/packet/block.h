/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * block: a run of whole packets of one capture. The noun of this program.
 *
 * A block is written by one thread until it is sealed; after block_seal
 * nobody writes it, and the last block_unref frees it. Until then its filled
 * length only grows, so that what is below it may be read by anyone who
 * holds a reference. That is the whole concurrency model.
 *
 * What: the bytes are the records of a little-endian nanosecond savefile
 * (draft-ietf-opsawg-pcap, magic 0xa1b23c4d, pcap-savefile(5)): a 16-byte
 * packet_head, then caplen bytes. The same bytes are the arena that a capture
 * thread fills, one zstd frame on disk, one row in the catalog and the
 * payload of messages.
 * Threads: block_append, block_publish and block_seal from the writing thread;
 * the rest from any thread.
 * Ownership: block_new returns one reference. Blocks of a pool give their
 * arena back to it; the pool outlives them by counting them.
 * Limits: BLOCK_MAX bytes; a packet of more than BLOCK_PACKET_MAX bytes does
 * not fit into any block.
 */
#ifndef PCAPD_PACKET_BLOCK_H
#define PCAPD_PACKET_BLOCK_H

#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_MAX (1u << 20)
#define BLOCK_PACKET_MAX (BLOCK_MAX - (uint32_t)sizeof(struct packet_head))
#define SAVEFILE_HEAD_BYTES 24
#define SAVEFILE_MAGIC_NS 0xa1b23c4du
/* A savefile's header has bits above the link type: whether packets end with
 * a frame check sequence, and how long that is. They are kept with it. */
#define LINK_TYPE_OF(network) ((network)&0x03ffffffu)

/* A savefile's per-packet header. */
struct packet_head {
	uint32_t sec;
	uint32_t nsec;
	uint32_t caplen; /* bytes that follow */
	uint32_t len;	 /* bytes that were on the wire */
};
_Static_assert(sizeof(struct packet_head) == 16, "as in the file");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "blocks are little-endian memory");

static inline int64_t packet_time_ns(const struct packet_head *h)
{
	return (int64_t)h->sec * NS_PER_S + h->nsec;
}

/* A row of the table blocks and the message BlockInfo: same names, same
 * order. Times are of packets, in ns since 1970; min and max differ from
 * first and last where the clock stepped. */
struct block_info {
	uint64_t capture;
	uint64_t seq;	  /* counts a capture's blocks from 1 */
	uint64_t segment; /* the first block of the segment that holds it */
	uint64_t offset;  /* of its frame in the segment */
	uint64_t stored_bytes;
	uint64_t raw_bytes;
	uint64_t packets;
	int64_t first_ns;
	int64_t last_ns;
	int64_t min_ns;
	int64_t max_ns;
};

struct block_pool;

struct block {
	atomic_uint refs;
	uint32_t link_type; /* LINKTYPE_ value, as in a savefile's header */
	uint32_t snaplen;
	uint8_t *arena; /* BLOCK_MAX bytes */
	struct block_pool *pool;
	int64_t opened_ns;	 /* CLOCK_MONOTONIC */
	_Atomic uint32_t filled; /* published: whole packets, readable */
	atomic_bool sealed;
	/* The writing thread's until the block is sealed. */
	uint32_t used; /* appended, not all of it published */
	struct block_info info;
	struct block_info
		published; /* info at the last publish; the capture tail's */
};

/* A published part of a block. Holds a reference to it. */
struct slice {
	struct block *block;
	uint32_t from, to;
	uint64_t packets;
};

/*
 * Arenas are kept for reuse, up to `keep` of them. Never blocks but for a
 * short lock; never refuses but when memory is out: the bound on how many
 * blocks may wait for the disk is the capture tail's.
 */
struct block_pool *block_pool_new(unsigned keep);
void block_pool_unref(struct block_pool *p);
/* Keeps n arenas that have their memory, so that who fills the next blocks does
 * not fault it in; fewer where with those in use it would be over `keep`, and
 * one more where a huge page is two. */
void block_pool_warm(struct block_pool *p, unsigned n);
/* Gives the kept arenas back to the system. */
void block_pool_trim(struct block_pool *p);

/* NULL when memory is out. */
struct block *block_new(struct block_pool *p, uint32_t link_type,
			uint32_t snaplen);
struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* NULL is fine */

/* Room for a packet of caplen bytes; when false, seal and take the next. */
static inline bool block_fits(const struct block *b, uint32_t caplen)
{
	return caplen <= BLOCK_PACKET_MAX &&
	       b->used + sizeof(struct packet_head) + caplen <= BLOCK_MAX;
}

/* Asks for the n bytes of memory at p. What is not there, or not needed after
 * all, costs nothing else. */
static inline void block_ask(const uint8_t *p, uint32_t n, bool to_write)
{
	for (uint32_t i = 0; i < n; i += 64)
		if (to_write)
			__builtin_prefetch(p + i, 1);
		else
			__builtin_prefetch(p + i, 0);
}
/* How far ahead of what is worked on, where that goes through all of it. */
#define BLOCK_AHEAD 2048

/* The hot path: one copy. block_fits must have said yes. */
static inline void block_append(struct block *b, const struct packet_head *h,
				const void *bytes)
{
	uint8_t *to = b->arena + b->used;
	struct block_info *i = &b->info;
	int64_t t = packet_time_ns(h);

	block_ask(to + BLOCK_AHEAD, (uint32_t)sizeof(*h) + h->caplen, true);
	memcpy(to, h, sizeof(*h));
	memcpy(to + sizeof(*h), bytes, h->caplen);
	b->used += (uint32_t)sizeof(*h) + h->caplen;
	if (i->packets++ == 0)
		i->first_ns = i->min_ns = i->max_ns = t;
	else if (t < i->min_ns)
		i->min_ns = t;
	else if (t > i->max_ns)
		i->max_ns = t;
	i->last_ns = t;
}

/* Lets readers see what was appended. */
static inline void block_publish(struct block *b)
{
	atomic_store_explicit(&b->filled, b->used, memory_order_release);
}

static inline uint32_t block_filled(const struct block *b)
{
	return atomic_load_explicit(&b->filled, memory_order_acquire);
}

/* Publishes and ends it. The info is readable by all from here on. */
void block_seal(struct block *b);

static inline bool block_sealed(const struct block *b)
{
	return atomic_load_explicit(&b->sealed, memory_order_acquire);
}

/*
 * The packet at *at in bytes [0, end): its head is copied out, *body points
 * into bytes, *at moves on. 1 a packet, 0 at the end, -1 the record does not
 * fit into what is left (then nothing is written).
 */
static inline int packet_next(const uint8_t *bytes, uint32_t end, uint32_t *at,
			      struct packet_head *h, const uint8_t **body)
{
	struct packet_head head;

	if (*at >= end)
		return *at == end ? 0 : -1;
	if (end - *at < sizeof(head))
		return -1;
	memcpy(&head, bytes + *at, sizeof(head));
	if (head.caplen > end - *at - sizeof(head))
		return -1;
	*h = head;
	*body = bytes + *at + sizeof(head);
	*at += (uint32_t)sizeof(head) + head.caplen;
	return 1;
}

/*
 * Fills packets, raw_bytes and the times of *info from the whole packets in
 * bytes [0, n). Returns the bytes that are whole packets.
 */
uint32_t packets_measure(const uint8_t *bytes, uint32_t n,
			 struct block_info *info);

/* A savefile's 24-byte header: version 2.4, nanoseconds, little-endian. */
void savefile_head(uint8_t out[SAVEFILE_HEAD_BYTES], uint32_t link_type,
		   uint32_t snaplen);

#endif
