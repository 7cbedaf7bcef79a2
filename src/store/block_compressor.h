/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * block_compressor: the compressor of one writer. Private to this folder.
 *
 * What: a block becomes one zstd frame with a checksum: in one go, which at the
 * fast levels is our own compressor's work (encode.h), or in parts that are
 * each readable when flushed. Of ours one frame in BLOCK_COMPRESSOR_CHECK is
 * decoded by libzstd and compared while its block is still there, or one in as
 * many as the environment says, PCAPD_CHECK_FRAMES: the tests say 1. How hard
 * it is compressed follows what waits behind it, so that compression never
 * costs a packet, and follows what compressing brought, so that what does not
 * shrink is only stored.
 * Threads: one at a time.
 * Ownership: block_compressor_new gives, block_compressor_free takes.
 */
#ifndef PCAPD_STORE_BLOCK_COMPRESSOR_H
#define PCAPD_STORE_BLOCK_COMPRESSOR_H

#include "base/err.h"
#include "packet/block.h"

#include <stddef.h>

/* As fast as zstd goes down to, below that a block is stored. */
#define BLOCK_COMPRESSOR_LEVEL_FAST (-20)
/* Nothing is looked for; of the levels that zstd knows the lowest. */
#define BLOCK_COMPRESSOR_LEVEL_STORED (-131072)
#define BLOCK_COMPRESSOR_CHECK 64

struct block_compressor;

/* false: what is compressed from now on libzstd compresses, whatever the level.
 * Once ours made a frame that is not its block it stays so. */
void block_compressor_use_ours(bool ours);
/* Frames that were such. */
uint64_t block_compressor_differences(void);

struct block_compressor *block_compressor_new(void); /* NULL: out of memory */
void block_compressor_free(struct block_compressor *f); /* NULL is fine */

/* wanted: the level when nothing waits; waiting of at most max blocks lie
 * behind this one. */
int block_compressor_level(int wanted, unsigned waiting, unsigned max);

/*
 * The whole frame of a block that has n bytes of records, at most BLOCK_MAX, of
 * link_type: *filled bytes of out, where there is room for FRAME_MAX.
 */
bool block_compressor_whole(struct block_compressor *f, int level,
			    uint32_t link_type, const uint8_t *records,
			    uint32_t n, uint8_t *out, size_t *filled,
			    struct err *e);

/* A frame in parts begins, at that level. */
void block_compressor_begin(struct block_compressor *f, int level);
/*
 * Adds bytes [*taken, to) and makes them readable, or ends the frame. Fills at
 * most room bytes of out; call again while *more.
 */
bool block_compressor_add(struct block_compressor *f, const uint8_t *bytes,
			  uint32_t *taken, uint32_t to, bool end, uint8_t *out,
			  size_t room, size_t *filled, bool *more,
			  struct err *e);

#endif
