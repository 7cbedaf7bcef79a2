/*
 * index: the summaries of one segment. Private to this folder.
 *
 * What: a summary a block (synopsis.h) and their union. While a segment is
 * written they are in memory, where readers find them by the segment's name.
 * When it is closed they go into its file, between the last block and the
 * footer, as a skippable frame of the magic 0x184D2A5D:
 *	struct index_head
 *	the union's front: the classes that are present, count << 2 | level of
 *	each of their sets, {first value, checksum} of each page of each set
 *	the union's values, 4 bytes each; a page is SUMMARY_PAGE of a set's
 *	a zstd frame: {seq - first_seq, bytes} a block, then their summaries
 * All numbers are little-endian. The union is not compressed, so that a filter
 * reads the pages that may have what it asks about and no more, and lies in the
 * file and not in the catalog: there, to look at a terabyte's would be to read
 * all of each, a page at a time, and all of them would have gone through
 * SQLite's log, on a disk that may be full.
 * A block without a summary may have anything; so may a segment that has such
 * a block, or no index, or one of another version, or a damaged one; and so may
 * a page of the union that is damaged.
 * Threads: one adds, any may ask. A maker belongs to who adds.
 * Ownership: index_new, index_find, index_read give a reference.
 * Limits: INDEX_BYTES_MAX of a file's.
 */
#ifndef PCAPD_STORE_INDEX_H
#define PCAPD_STORE_INDEX_H

#include "index/bpf_prune.h"
#include "index/synopsis.h"

#define INDEX_MAGIC 0x184D2A5Du
#define INDEX_BYTES_MAX (64u << 20)

#define INDEX_VERSION 2u /* 1 had unions without pages */

struct index_head {
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
_Static_assert(sizeof(struct index_head) == 48, "as in the file");

struct index;
struct index_maker;

/* Room to make summaries in, for one segment after the other. NULL: memory is
 * out. */
struct index_maker *index_maker_new(void);
void index_maker_free(struct index_maker *m); /* NULL is fine */

/* An empty one; m is for it from here on. NULL: memory is out. */
struct index *index_new(struct index_maker *m, uint64_t capture,
			uint64_t first_seq, uint32_t link_type);
struct index *index_ref(struct index *x);
void index_unref(struct index *x); /* NULL is fine */
uint32_t index_link_type(const struct index *x);

/* The packets of block seq, which is after the last. Without memory it is a
 * block that may have anything. */
void index_add(struct index *x, struct index_maker *m, uint64_t seq,
	       const uint8_t *records, uint32_t n);
/* There is a block of which the packets are not known. */
void index_add_unknown(struct index *x);
/* The skippable frame, to free(); NULL: memory is out. */
uint8_t *index_frame(struct index *x, struct index_maker *m, size_t *n);

/* What is asked again and again. */
struct question {
	const struct bpf_program *program;
	uint32_t need[SUMMARY_CLASSES]; /* prune_needs */
};
/* Which words of classes that q needs are "any" in s. */
void question_any(const struct question *q, const struct summary *s,
		  uint32_t any[SUMMARY_CLASSES]);
/* false: no packet of block seq matches. any: of its summary, or NULL. */
bool index_may_match(struct index *x, uint64_t seq, const struct question *q,
		     uint32_t any[SUMMARY_CLASSES]);

/* --- in a file --- */

/* Where the index of a closed segment lies. */
struct index_place {
	uint64_t offset, bytes; /* of the skippable frame; 0: there is none */
	uint64_t file_bytes;
};
/* Asks the seek table, whose last entry is the footer's and the one before it
 * the index's. */
struct index_place index_locate(int fd);
/* The index is there, and of a version that is not read any more. */
bool index_is_older(int fd, const struct index_place *at);
/* All of the segment's union; NULL: there is none, and *none, or any of it is
 * damaged. */
struct summary *index_read_union(int fd, const struct index_place *at,
				 uint64_t capture, uint64_t first_seq,
				 bool *none);

/* What one union after the other is read into. */
struct union_reader;
struct union_reader *union_reader_new(void);	/* NULL: memory is out */
void union_reader_free(struct union_reader *u); /* NULL is fine */
/* The segment's union, of the words that q needs, until the next call and while
 * fd is open; its values are read when they are asked for. NULL: there is none
 * that is whole. */
struct summary *union_open(struct union_reader *u, int fd,
			   const struct index_place *at, uint64_t capture,
			   uint64_t first_seq, const uint32_t *need);
/* The summaries of the blocks; NULL: there are none that are whole. */
struct index *index_read(int fd, const struct index_place *at, uint64_t capture,
			 uint64_t first_seq);

/* --- of the segments that are being written --- */

struct indexes;
struct indexes *indexes_new(void); /* NULL: memory is out */
void indexes_free(struct indexes *l);
void indexes_add(struct indexes *l, struct index *x);
void indexes_remove(struct indexes *l, struct index *x);
/* NULL: nobody writes it. What was written and is whole has its index in the
 * file, if this says NULL. */
struct index *indexes_find(struct indexes *l, uint64_t capture,
			   uint64_t first_seq);

#endif
