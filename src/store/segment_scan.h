/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_scan: what a segment's file really has. Private to this folder and to
 * fsck/.
 *
 * What: walks the frames from the first to the footer and decodes each; what
 * is not whole is gone round, to the next frame that the known blocks name,
 * or without such knowledge to the next one that can be found. Changes
 * nothing.
 * Threads: one at a time.
 * Ownership: segment_scan_done frees what segment_scan_file made; the segment
 * is the caller's.
 */
#ifndef PCAPD_STORE_SEGMENT_SCAN_H
#define PCAPD_STORE_SEGMENT_SCAN_H

#include "store/segment_file.h"
#include "store/segment_index.h"

struct damage {
	struct block_info info; /* all of it when known, or offset and bytes */
	bool known;		/* a block was known to be here */
};

struct segment_scan {
	/* What is to be there: rows of the catalog, or what a footer said, by
	 * offset. The caller's. */
	const struct block_info *known;
	size_t n_known;
	bool closed; /* a footer is behind the last of them */
	/* Gets every block, if it is there; with its maker. The caller's. */
	struct segment_index *index;
	struct segment_index_maker *maker;

	/* Whole blocks, and known ones that are damaged, by offset. */
	struct block_info *blocks;
	size_t n_blocks;
	struct damage *damages;
	size_t n_damages;
	size_t lost; /* known ones behind the end: there is nothing of them */
	uint64_t frames_end;
	uint64_t next_seq;    /* of the block after the last */
	uint32_t tail_bytes;  /* behind frames_end, if it is no footer */
	uint32_t salvaged;    /* bytes of whole packets in the tail, in raw */
	uint64_t index_bytes; /* of an index behind frames_end */
	bool index_whole, index_older;
	bool footer; /* ours is there and says the same */
	bool table;  /* the seek table too, and then the file ends */

	int error; /* errno of a read that failed: there may be more */

	uint8_t *frame, *raw; /* FRAME_MAX, BLOCK_MAX */
	uint64_t file_bytes;
	int fd;
};

/* false: it cannot be read, all of it or a part. */
bool segment_scan_file(struct segment_scan *v, const struct segment *g,
		       struct err *e);
void segment_scan_done(struct segment_scan *v);

/* What a footer says, also when the frames before it are damaged: its blocks,
 * and the capture in *row if that is not NULL. An array to free(); NULL when
 * there is no whole footer; with errno it could not be read. */
struct capture_row;
struct block_info *footer_read(int fd, struct segment_footer *head,
			       struct capture_row *row);
/* It says that its file is another segment's, another capture's, or one of
 * another store (uuid; "": not known, as to older versions). */
bool footer_is_foreign(const struct segment_footer *head,
		       const struct capture_row *says, const char *uuid,
		       uint64_t capture, uint64_t first_seq);
/* A file whose footer says so. One that is not whole says nothing. */
bool segment_is_foreign(int fd, const char *uuid, uint64_t capture,
			uint64_t first_seq);

#endif
