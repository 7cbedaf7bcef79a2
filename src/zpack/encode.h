/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * encode: a whole block into a zstd frame, by who knows that it is packets.
 *
 * What: most of a packet's headers are those of the packet before it in its
 * flow, at the same place. That is looked for first, in a few steps a packet;
 * then the rest of it in what the block had so far, the less closely the longer
 * nothing is found. Frames have content size and checksum (RFC 8878), their
 * literals are not coded, as zstd's negative levels leave them.
 * Threads: one at a time.
 * Ownership: zpack_new gives, zpack_free takes.
 */
#ifndef PCAPD_ZPACK_ENCODE_H
#define PCAPD_ZPACK_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes of one frame. */
#define ZPACK_MAX (1u << 20)

/* The bytes of a frame of n bytes, at most; and what may be written behind. */
#define ZPACK_BOUND(n) ((n) + (n) / 4096 + 64)
#define ZPACK_SLACK 64
/* Stored as they are. */
#define ZPACK_STORE 0u

struct zpack;

/* Of packets: where the network's header begins, and where the type of it is
 * said if it may be that of a tag of 4 bytes before it. */
struct zpack_layer {
	uint32_t header, type_at;
	bool tags;
};

struct zpack *zpack_new(void);	  /* NULL: out of memory */
void zpack_free(struct zpack *k); /* NULL is fine */

/*
 * A frame of n bytes, at most ZPACK_MAX, which are the records of a nanosecond
 * savefile, or anything else and then shrink less. step: 1 looks most closely,
 * 20 saves a quarter of the time, ZPACK_STORE looks for nothing. Room for
 * ZPACK_BOUND(n) and ZPACK_SLACK. Returns the frame's bytes.
 */
size_t zpack(struct zpack *k, struct zpack_layer layer, const uint8_t *records,
	     uint32_t n, unsigned step, uint8_t *out);

#endif
