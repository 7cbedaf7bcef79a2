/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment_file: one file of blocks. Private to this folder.
 *
 * What: makes, opens and writes the file; what is in it besides blocks is
 * segment_format.h's.
 * Threads: a struct segment belongs to one thread.
 * Ownership: segment_create and segment_resume give, segment_free takes.
 */
#ifndef PCAPD_STORE_SEGMENT_FILE_H
#define PCAPD_STORE_SEGMENT_FILE_H

#include "base/err.h"
#include "base/file.h"
#include "packet/block.h"
#include "store/segment_format.h"

#define SEGMENT_SUFFIX ".pcap.zst"
#define SEGMENT_PART FILE_PART
#define SEGMENT_NEXT "next" SEGMENT_PART /* has room, and no number yet */
#define SEGMENT_NAME_BYTES 48		 /* with the capture's folder */
/* A frame of a full block, also when it was flushed every second. */
#define FRAME_MAX (BLOCK_MAX + BLOCK_MAX / 128 + (64u << 10))
/* What the disk takes without the page cache begins and ends on these. */
#define SEGMENT_ALIGN 4096u

struct capture_row;

struct segment {
	int fd;
	int direct_fd; /* the same file around the page cache, or -1 */
	uint64_t capture, first_seq;
	uint32_t link_type, snaplen;
	uint64_t head_bytes; /* of frame 0 */
	uint64_t end;	     /* of the last whole block's frame */
	struct block_info *blocks;
	uint32_t n_blocks, cap_blocks;
	uint64_t raw_bytes;
	int64_t opened_ns; /* CLOCK_MONOTONIC */
	int error;	   /* errno of the last write that failed */
	uint64_t reserved; /* offset up to which it has its room on disk */
	bool cached;	   /* writes go through the page cache, for now */
	int64_t direct_ns; /* how long the last write around it took */
};

/* "<capture>/<first_seq, 20 digits>.pcap.zst" */
void segment_name(char out[SEGMENT_NAME_BYTES], uint64_t capture,
		  uint64_t first_seq);
/* The number in a file's name; false: it is not one of ours. */
bool segment_parse_name(const char *name, uint64_t *first_seq);

/* A new file below spool_fd with frame 0 in it. An existing file is an error:
 * nothing is ever overwritten. */
struct segment *segment_create(int spool_fd, uint64_t capture,
			       uint64_t first_seq, uint32_t link_type,
			       uint32_t snaplen, struct err *e);
/* In two steps: a file without a number, so that room can be reserved in it
 * before anything is to be written. NULL: errno. */
struct segment *segment_prepare(int spool_fd, uint64_t capture, struct err *e);
/* The second: it gets its name and frame 0. On an error it is to be freed. */
bool segment_begin(struct segment *g, int spool_fd, uint64_t first_seq,
		   uint32_t link_type, uint32_t snaplen, struct err *e);
/* Removes what segment_prepare made, also what a crash left of it. */
void segment_forget_next(int spool_fd, uint64_t capture);
/* The same under a name that it does not keep. */
struct segment *segment_create_as(int spool_fd, const char *name,
				  uint64_t capture, uint64_t first_seq,
				  uint32_t link_type, uint32_t snaplen,
				  struct err *e);
/* One whose frame 0 is damaged: writes it again if it had the length that it
 * has now. NULL: errno as of segment_resume. */
struct segment *segment_rescue(int spool_fd, uint64_t capture,
			       uint64_t first_seq, uint32_t link_type,
			       uint32_t snaplen, struct err *e);
/* An existing one, to go on at its first byte after frame 0; the caller adds
 * the blocks that it knows with segment_add. NULL: errno is 0 when it is not
 * one of ours, else why that is not known: it may be read the next time. */
struct segment *segment_resume(int spool_fd, uint64_t capture,
			       uint64_t first_seq, struct err *e);
/* As segment_resume, to read only. */
struct segment *segment_look(int spool_fd, uint64_t capture, uint64_t first_seq,
			     struct err *e);
/*
 * Writes at offset `at`, which may be behind end for a frame in parts. Readers
 * see it when it returns. Much at once goes to the disk directly if it lies in
 * memory as in the file: (uintptr_t)bytes and `at` leave the same rest when
 * divided by SEGMENT_ALIGN.
 */
bool segment_write(struct segment *g, uint64_t at, const void *bytes, size_t n,
		   struct err *e);
/* Writes up to that offset will find room, whoever else fills the disk: blocks
 * are allocated behind the end of the file, which other processes do not see. A
 * file system that cannot do so reserves nothing. false: g->error. */
bool segment_reserve(struct segment *g, uint64_t end, struct err *e);
/* Gives back what was reserved and not used. */
void segment_unreserve(struct segment *g);
/* As much of n bytes of a segment's file as there is; what cannot be read is
 * not there, and errno says why, or 0 where the file ends. */
size_t segment_read(int fd, uint64_t at, void *to, size_t n);
/* What its seek table says. */
struct segment_tail segment_read_tail(int fd);
/* A frame at end is whole: info (with stored_bytes) is given its segment and
 * offset and remembered. */
bool segment_add(struct segment *g, struct block_info *info, struct err *e);
/* What its row has to say once it is closed. */
struct segment_end {
	uint64_t capture, first_seq;
	uint64_t blocks;
	uint64_t other_bytes; /* of the file, besides blocks */
};
/* Writes the skippable frames: the index, NULL for none; what the footer says
 * about the capture is in row. */
bool segment_finish(struct segment *g, const struct capture_row *row,
		    const void *index, size_t index_bytes,
		    struct segment_end *end, struct err *e);
void segment_free(struct segment *g); /* NULL is fine; writes nothing */

#endif
