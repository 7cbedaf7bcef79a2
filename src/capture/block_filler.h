/*
 * fill: packets into the open block of a feed.
 *
 * What: the half of a capture that does not care where packets come from.
 * Blocks are opened by the first packet that needs one, so that a source
 * without packets holds none.
 * Threads: the feed's one producer.
 * Ownership: a fill borrows its feed.
 */
#ifndef PCAPD_FILL_H
#define PCAPD_FILL_H

#include "packet/capture_tail.h"

struct fill {
	struct feed *feed;
	bool wait; /* for room in the feed; otherwise packets are dropped */
	uint32_t link_type, snaplen;
	struct block *block; /* open, or NULL */
	bool next_is_sure;   /* the feed had room since block was opened */
	uint64_t unpublished;
	/* What came of it. */
	uint64_t received, dropped, raw_bytes;
	int64_t newest_ns;
	struct loss lost; /* of dropped, as long as nobody took it */
};

void fill_init(struct fill *f, struct feed *feed, bool wait);

/* What the next packets are. Seals a block of other ones. */
void fill_set_type(struct fill *f, uint32_t link_type, uint32_t snaplen);

/* The next packet of at most snaplen bytes has a place, by what is known. */
bool fill_ready(struct fill *f);
/* That, or it would be dropped at once, as the disk has no room for it. */
bool fill_takes(struct fill *f);

/* false: there was no block to be had, or none is large enough; dropped. */
bool fill_packet(struct fill *f, const struct packet_head *h,
		 const uint8_t *body);

void fill_publish(struct fill *f);
/* Publishes and seals, if a block is open. */
void fill_seal(struct fill *f);

/* When the open block will be age_ns old; INT64_MAX without one. */
int64_t fill_deadline_ns(const struct fill *f, int64_t age_ns);

#endif
