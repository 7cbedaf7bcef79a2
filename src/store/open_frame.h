/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * open_frame: the frame that a writer brings to its segment. Private to this
 * folder.
 *
 * What: a block's frame, behind the segment's last block: at once when the
 * block is sealed, or in parts that can each be read. What the file did not
 * take stays here and is written first the next time, so that after an error it
 * goes on where it was. The segment is the same from the first call to
 * open_frame_reset.
 * Threads: its writer's.
 * Ownership: embedded; open_frame_init makes what open_frame_done frees.
 */
#ifndef PCAPD_STORE_OPEN_FRAME_H
#define PCAPD_STORE_OPEN_FRAME_H

#include "store/block_compressor.h"
#include "store/segment_file.h"

struct open_frame {
	struct block_compressor *compressor;
	uint8_t *out;	  /* a huge page */
	bool warm;	  /* it is one, if there was one */
	bool begun;	  /* the frame */
	bool ended;	  /* and its end is in out, or written */
	uint32_t taken;	  /* bytes of the block that were compressed */
	uint32_t in_file; /* bytes of it that can be read from the file */
	uint32_t flushed; /* bytes of the frame behind segment->end */
	uint32_t pending; /* bytes in out, not yet written */
};

/* f is zero. false: memory is out; then, too, it is to be done. */
bool open_frame_init(struct open_frame *f);
void open_frame_done(struct open_frame *f);
/* Memory for who writes much. */
void open_frame_warm(struct open_frame *f);

/* Begins one of these: in parts; */
void open_frame_begin(struct open_frame *f, int level);
/* all of a sealed block; */
bool open_frame_whole(struct open_frame *f, const struct segment *g, int level,
		      const struct block *b, struct err *e);
/* or n bytes that are the frame of all the `raw` bytes of a block. */
void open_frame_given(struct open_frame *f, const struct segment *g,
		      const uint8_t *frame, size_t n, uint32_t raw);
/* Brings it up to byte `to` of the block whose bytes these are, and into the
 * file; `end` also ends it. */
bool open_frame_add(struct open_frame *f, struct segment *g,
		    const uint8_t *bytes, uint32_t to, bool end, struct err *e);
/* There is none; what of it is in the file is left there. */
void open_frame_reset(struct open_frame *f);

#endif
