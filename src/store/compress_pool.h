/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * compress_pool: threads that compress blocks ahead of the writers. Private to
 * this folder.
 *
 * What: a writer with sealed blocks behind the one that it writes posts them,
 * and takes each back as a frame when its turn comes, so that blocks of one
 * capture are compressed side by side and still written in order.
 * Threads: those of the pool, shared by all writers. Who takes a frame that
 * is not ready compresses what still waits in the meantime (job_pool.h).
 * Ownership: a job is its writer's and stays where it is from
 * compress_pool_post to compress_pool_take; it holds a reference to its block.
 * Limits: the jobs that writers have, COMPRESS_POOL_AHEAD each at most.
 */
#ifndef PCAPD_STORE_COMPRESS_POOL_H
#define PCAPD_STORE_COMPRESS_POOL_H

#include "base/job_pool.h"
#include "store/block_compressor.h"

/* What one writer posts at most; a frame of memory each. */
#define COMPRESS_POOL_AHEAD 16

struct compress_pool_job {
	struct job_pool_job job;
	struct block *block; /* sealed; NULL: it is not posted */
	int level;
	uint8_t *out; /* room for a frame */
	size_t n;     /* of the frame; 0: it could not be made */
};

struct job_pool *compress_pool_new(unsigned threads, struct err *e);

/* How many blocks a writer had best post: 0 without threads, and less than
 * COMPRESS_POOL_AHEAD. */
unsigned compress_pool_ahead(const struct job_pool *p);
/* Takes over the reference to block. false: memory is out, nothing is posted.*/
bool compress_pool_post(struct job_pool *p, struct compress_pool_job *j,
			struct block *block, int level);
/* Waits until j is done, and lets go of its block; out and n stay until the
 * next post. own: the caller's, to help with. Does nothing with a job that is
 * not posted. */
void compress_pool_take(struct job_pool *p, struct compress_pool_job *j,
			struct block_compressor *own);
/* Frees what compress_pool_post made. The job is not posted. */
void compress_pool_job_done(struct compress_pool_job *j);

#endif
