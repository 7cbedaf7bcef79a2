/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_format: what a segment's file has besides its blocks. Private to this
 * folder and to fsck/.
 *
 * What: a segment is a sequence of zstd frames (RFC 8878):
 *	frame 0		the 24-byte savefile header
 *	frame 1 ...	a block each, with content size and checksum
 * and once closed three skippable frames:
 *	0x184D2A5D	the index, which older versions do not have
 *	0x184D2A5C	the footer: a zstd frame that holds struct
 *			segment_footer, then a struct block_info a block, then
 *			strings, each ended by a NUL: interface, filter,
 *			aliases, an empty one, and what older versions do not
 *			have: a word, a blank and its value
 *	0x184D2A5E	the seek table of the zstd seekable format 0.1.0,
 *			without checksums, an entry a frame, ours included
 * The index is
 *	struct segment_index_head
 *	the union's front: the classes that are present, count << 2 | level of
 *	each of their sets, {first value, checksum} of each page of each set
 *	the union's values, 4 bytes each; a page is SYNOPSIS_PAGE of a set's
 *	a zstd frame: a struct segment_index_entry a block, then their synopses
 * All numbers are little-endian. These functions make bytes of values and
 * values of bytes, in memory; bytes to decode may be anything. Files are
 * segment_file.c's, segment_scan.c's and segment_index.c's.
 * Threads: any.
 * Ownership: what is encoded is to free(); NULL: memory is out.
 */
#ifndef PCAPD_STORE_SEGMENT_FORMAT_H
#define PCAPD_STORE_SEGMENT_FORMAT_H

#include "index/synopsis_build.h"
#include "packet/block.h"

#define SEGMENT_INDEX_MAGIC 0x184D2A5Du
#define SEGMENT_FOOTER_MAGIC 0x184D2A5Cu
#define SEEK_TABLE_MAGIC 0x184D2A5Eu
/* What a skippable frame begins with: its magic, and the bytes behind it. */
#define SKIPPABLE_HEAD_BYTES 8u

/* --- the footer --- */

#define SEGMENT_FOOTER_MAX (64u << 20)

struct segment_footer {
	uint32_t version; /* 1 */
	uint32_t blocks;
	uint64_t capture;
	uint64_t first_seq;
	uint32_t link_type;
	uint32_t snaplen;
	uint32_t savefile;
	uint32_t promiscuous;
	uint64_t buffer_bytes;
};
_Static_assert(sizeof(struct segment_footer) == 48, "as in the file");

struct capture_row;
/* The skippable frame, *n bytes: of the segment what is in head, of the capture
 * what is in row. */
uint8_t *segment_footer_encode(struct segment_footer head,
			       const struct block_info *blocks,
			       const struct capture_row *row, size_t *n);
/* Its blocks, to free(), and the capture in *row if that is not NULL; NULL: it
 * is not whole, or memory is out and errno ENOMEM, else 0. */
struct block_info *segment_footer_decode(const uint8_t *frame, size_t n,
					 struct segment_footer *head,
					 struct capture_row *row);

/* --- the seek table --- */

/* An entry a frame, and for bytes between frames that are none, which decode to
 * nothing. */
uint8_t *seek_table_encode(const struct block_info *blocks, size_t n_blocks,
			   uint64_t head_bytes, uint64_t frames_end,
			   uint64_t index_bytes, uint32_t footer_bytes,
			   size_t *n);

/* Where index and footer begin in a file; 0: there is none. */
struct segment_tail {
	uint64_t index, index_bytes;
	uint64_t footer;
};
/* By the file's last bytes: the table's last entry is the footer's, and the one
 * before it the index's. */
#define SEGMENT_TAIL_BYTES 25
struct segment_tail segment_tail_decode(const uint8_t end[SEGMENT_TAIL_BYTES],
					uint64_t file_bytes);

/* --- the index --- */

#define SEGMENT_INDEX_BYTES_MAX (64u << 20)
#define SEGMENT_INDEX_VERSION 2u /* 1 had unions without pages */

struct segment_index_head {
	uint32_t version;
	uint32_t link_type;
	uint64_t capture;
	uint64_t first_seq;
	uint32_t blocks;
	uint32_t body_bytes;  /* of the zstd frame, decoded */
	uint32_t union_bytes; /* 0: there is none */
	uint32_t front_bytes; /* of these */
	uint64_t sum;	      /* of what is before it, and of the front */
};
_Static_assert(sizeof(struct segment_index_head) == 48, "as in the file");

struct segment_index_entry {
	uint32_t seq; /* from the segment's first */
	uint32_t bytes;
};

/* The skippable frame, *n bytes: of head what is before `blocks`; all: the
 * union, or NULL; the entries' synopses are in bytes. NULL also: it would be
 * too large. */
uint8_t *segment_index_encode(struct segment_index_head head,
			      const struct synopsis *all,
			      const struct segment_index_entry *entries,
			      size_t n_entries, const uint8_t *bytes,
			      size_t n_bytes, size_t *n);

/* What an index begins with, and more: one read. */
#define SEGMENT_INDEX_FRONT_MAX                                                \
	(4 + 4 * SYNOPSIS_SETS +                                               \
	 8 * (SYNOPSIS_SETS + SYNOPSIS_KEYS_SEGMENT / SYNOPSIS_PAGE))
struct segment_index_start {
	uint32_t magic, bytes;
	struct segment_index_head head;
	uint8_t front[SEGMENT_INDEX_FRONT_MAX];
};
#define SEGMENT_INDEX_LEAST (offsetof(struct segment_index_start, front))

/* The first n bytes of a skippable frame of frame_bytes are in s: it is that
 * segment's index, and fits into its place. */
bool segment_index_begins(const struct segment_index_start *s, size_t n,
			  uint64_t frame_bytes, uint64_t capture,
			  uint64_t first_seq);
/* Of SEGMENT_INDEX_LEAST bytes: damaged ones count if two of the four numbers
 * are right that it begins with. */
bool segment_index_resembles(const struct segment_index_start *s,
			     uint64_t frame_bytes, uint64_t capture,
			     uint64_t first_seq);
/* Of SEGMENT_INDEX_LEAST bytes: of a version that is not read any more. */
bool segment_index_outdated(const struct segment_index_start *s,
			    uint64_t frame_bytes);
/* What begins is as it was written, up to the union's values. */
bool segment_index_front_whole(const struct segment_index_start *s);
/* The sets of a union, whose front is whole, in *to, which has room for its
 * values, and their pages, of which page[] stays in s. What need does not have
 * is SYNOPSIS_ANY; NULL: all is needed. */
bool segment_index_sets(const struct segment_index_start *s,
			const uint32_t *need, struct synopsis *to,
			struct synopsis_pages *pages);
/* How many values a page of a set has, which has so many. */
uint32_t segment_index_page_values(uint32_t count, uint32_t page);
/* As in synopsis_page.sum. */
uint32_t segment_index_page_sum(uint32_t set, uint32_t page,
				const uint32_t *values, uint32_t n);
/* The body, of packed_bytes: bytes has room for head->body_bytes, entries and
 * at, where in bytes each one's synopsis is, for head->blocks. */
bool segment_index_body_decode(const struct segment_index_head *head,
			       const uint8_t *packed, size_t packed_bytes,
			       uint8_t *bytes,
			       struct segment_index_entry *entries, size_t *at);

#endif
