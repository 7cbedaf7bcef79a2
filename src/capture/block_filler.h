/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * block_filler: packets into the open block of a capture tail.
 *
 * What: the half of a capture that does not care where packets come from.
 * Blocks are opened by the first packet that needs one, so that a source
 * without packets holds none.
 * Threads: the capture tail's one producer.
 * Ownership: a fill borrows its capture tail.
 */
#ifndef PCAPD_CAPTURE_BLOCK_FILLER_H
#define PCAPD_CAPTURE_BLOCK_FILLER_H

#include "packet/capture_tail.h"

struct block_filler {
	struct capture_tail *tail;
	uint32_t link_type, snaplen;
	struct block *block; /* open, or NULL */
	bool next_is_sure;   /* the capture tail had room since block was opened
			      */
	uint64_t unpublished;
	/* What came of it. */
	uint64_t received, dropped, raw_bytes;
	int64_t newest_ns;
	struct loss lost; /* of dropped, as long as nobody took it */
};

void block_filler_init(struct block_filler *f, struct capture_tail *tail);

/* What the next packets are. Seals a block of other ones. */
void block_filler_set_type(struct block_filler *f, uint32_t link_type,
			   uint32_t snaplen);

/* The next packet of at most snaplen bytes has a place, by what is known. */
bool block_filler_ready(struct block_filler *f);
/* That, or it would be dropped at once, as the disk has no room for it. */
bool block_filler_takes(struct block_filler *f);

/* false: there was no block to be had, or none is large enough; dropped. */
bool block_filler_packet(struct block_filler *f, const struct packet_head *h,
			 const uint8_t *body);

void block_filler_publish(struct block_filler *f);
/* Publishes and seals, if a block is open. */
void block_filler_seal(struct block_filler *f);

/* When the open block will be age_ns old; INT64_MAX without one. */
int64_t block_filler_deadline_ns(const struct block_filler *f, int64_t age_ns);

#endif
