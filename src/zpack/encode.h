/*
 * pack: a whole block into a zstd frame, by who knows that it is packets.
 * Private to this folder.
 *
 * What: most of a packet's headers are those of the packet before it in its
 * flow, at the same place. That is looked for first, in a few steps a packet;
 * then the rest of it in what the block had so far, the less closely the longer
 * nothing is found. Frames have content size and checksum (RFC 8878), their
 * literals are not coded, as zstd's negative levels leave them.
 * Threads: one at a time.
 * Ownership: packer_new gives, packer_free takes.
 */
#ifndef PCAPD_STORE_PACK_H
#define PCAPD_STORE_PACK_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of a frame of n bytes, at most; and what may be written behind. */
#define PACK_BOUND(n) ((n) + (n) / 4096 + 64)
#define PACK_SLACK 64
/* Stored as they are. */
#define PACK_STORE 0u

struct packer;

struct packer *packer_new(void);    /* NULL: out of memory */
void packer_free(struct packer *k); /* NULL is fine */

/*
 * A frame of n bytes, at most BLOCK_MAX, which are a block's records, or
 * anything else and then shrink less. step: 1 looks most closely, 20 saves a
 * quarter of the time, PACK_STORE looks for nothing. Room for PACK_BOUND(n) and
 * PACK_SLACK. Returns the frame's bytes.
 */
size_t pack(struct packer *k, uint32_t link_type, const uint8_t *records,
	    uint32_t n, unsigned step, uint8_t *out);

#endif
