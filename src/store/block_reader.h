/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * block_reader: a block off the disk, read and decoded. Private to this folder.
 *
 * What: a load is a job (job_pool.h), so that it may be done before it is asked
 * for; who does it has a decoder. It says what went wrong and tells nobody.
 * Threads: a load is its cursor's, or of who does the job; a decoder is used
 * by one at a time.
 * Ownership: the file and the pool are the cursor's and stay; the block in a
 * load that was done is its cursor's to take.
 */
#ifndef PCAPD_STORE_BLOCK_READER_H
#define PCAPD_STORE_BLOCK_READER_H

#include "base/job_pool.h"
#include "packet/block.h"

struct decoder;

struct decoder *decoder_new(void);    /* NULL: memory is out */
void decoder_free(struct decoder *d); /* NULL is fine */

struct block_reader {
	struct job_pool_job job;
	/* What to load. */
	int fd; /* its segment */
	struct block_info info;
	uint32_t link_type, snaplen;
	struct block_pool *pool;
	/* What came of it. */
	struct block *block; /* sealed; NULL: it could not be loaded */
	bool damaged;	     /* because what is on disk is */
	const char *why;     /* static; NULL: errno is in error */
	int error;
};

/* The job: l->block, or why there is none. d NULL: its arena has the frame as
 * it lies on disk, whose stored_bytes are BLOCK_MAX at most. */
void block_reader_run(struct block_reader *l, struct decoder *d);
/* For a frame that somebody else reads; false: l says why it cannot be. */
bool block_reader_reaches(struct block_reader *l);

/* Threads that do loads. */
struct job_pool *block_readers_new(unsigned threads, struct err *e);
/* To be done by them, and loaders' job_pool_take has a decoder as own. */
void block_reader_post(struct job_pool *a, struct block_reader *l);

#endif
