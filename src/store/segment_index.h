/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_index: the synopses of one segment. Private to this folder.
 *
 * What: a synopsis a block (synopsis.h) and their union. While a segment is
 * written they are in memory, where readers find them by the segment's name.
 * When it is closed they go into its file, between the last block and the
 * footer (segment_format.h). The union is not compressed, so that a filter
 * reads the pages that may have what it asks about and no more, and lies in the
 * file and not in the catalog: there, to look at a terabyte's would be to read
 * all of each, a page at a time, and all of them would have gone through
 * SQLite's log, on a disk that may be full.
 * A block without a synopsis may have anything; so may a segment that has such
 * a block, or no index, or one of another version, or a damaged one; and so may
 * a page of the union that is damaged.
 * Threads: one adds, any may ask. A maker belongs to who adds.
 * Ownership: segment_index_new, index_find, segment_index_read give a
 * reference.
 * Limits: SEGMENT_INDEX_BYTES_MAX of a file's.
 */
#ifndef PCAPD_STORE_SEGMENT_INDEX_H
#define PCAPD_STORE_SEGMENT_INDEX_H

#include "index/bpf_prune.h"
#include "index/synopsis.h"

struct segment_index;
struct segment_index_maker;

/* Room to make synopses in, for one segment after the other. NULL: memory is
 * out. */
struct segment_index_maker *segment_index_maker_new(void);
void segment_index_maker_free(struct segment_index_maker *m); /* NULL is fine */

/* An empty one; m is for it and no other from here on, which is asserted. NULL:
 * memory is out. */
struct segment_index *segment_index_new(struct segment_index_maker *m,
					uint64_t capture, uint64_t first_seq,
					uint32_t link_type);
void segment_index_unref(struct segment_index *x); /* NULL is fine */
uint32_t segment_index_link_type(const struct segment_index *x);

/* The packets of block seq, which is after the last. Without memory it is a
 * block that may have anything. */
void segment_index_add(struct segment_index *x, struct segment_index_maker *m,
		       uint64_t seq, const uint8_t *records, uint32_t n);
/* There is a block of which the packets are not known. */
void segment_index_add_unknown(struct segment_index *x);
/* The skippable frame, to free(); NULL: memory is out. */
uint8_t *segment_index_frame(struct segment_index *x,
			     struct segment_index_maker *m, size_t *n);

/* What is asked again and again. */
struct question {
	const struct bpf_program *program;
	uint32_t need[SYNOPSIS_CLASSES]; /* bpf_prune_needs */
};
/* Which words of classes that q needs are "any" in s. */
void question_any(const struct question *q, const struct synopsis *s,
		  uint32_t any[SYNOPSIS_CLASSES]);
/* false: no packet of block seq matches. any: of its synopsis, or NULL. */
bool segment_index_may_match(struct segment_index *x, uint64_t seq,
			     const struct question *q,
			     uint32_t any[SYNOPSIS_CLASSES]);

/* --- in a file --- */

/* Where the index of a closed segment lies. */
struct segment_index_place {
	uint64_t offset, bytes; /* of the skippable frame; 0: there is none */
};
/* Asks the seek table, whose last entry is the footer's and the one before it
 * the index's. */
struct segment_index_place segment_index_locate(int fd);
/* The index is there, and of a version that is not read any more. */
bool segment_index_is_older(int fd, const struct segment_index_place *at);
/* All of the segment's union; NULL: there is none, and *none, or any of it is
 * damaged. */
struct synopsis *segment_index_read_union(int fd,
					  const struct segment_index_place *at,
					  uint64_t capture, uint64_t first_seq,
					  bool *none);

/* What one union after the other is read into. */
struct union_reader;
struct union_reader *union_reader_new(void);	/* NULL: memory is out */
void union_reader_free(struct union_reader *u); /* NULL is fine */
/* The segment's union, of the words that q needs, until the next call and while
 * fd is open; its values are read when they are asked for. NULL: there is none
 * that is whole. */
struct synopsis *union_open(struct union_reader *u, int fd,
			    const struct segment_index_place *at,
			    uint64_t capture, uint64_t first_seq,
			    const uint32_t *need);
/* The synopses of the blocks; NULL: there are none that are whole. */
struct segment_index *segment_index_read(int fd,
					 const struct segment_index_place *at,
					 uint64_t capture, uint64_t first_seq);

/* --- of the segments that are being written --- */

struct segment_indexes;
struct segment_indexes *segment_indexes_new(void); /* NULL: memory is out */
void segment_indexes_free(struct segment_indexes *l);
void segment_indexes_add(struct segment_indexes *l, struct segment_index *x);
void segment_indexes_remove(struct segment_indexes *l, struct segment_index *x);
/* NULL: nobody writes it. What was written and is whole has its index in the
 * file, if this says NULL. */
struct segment_index *segment_indexes_find(struct segment_indexes *l,
					   uint64_t capture,
					   uint64_t first_seq);

#endif
