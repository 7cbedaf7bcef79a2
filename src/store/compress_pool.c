/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compressing ahead. Guarantees that a job that was posted gets done, by a
 * thread of the pool or by who waits for it. Leaves out what is worth
 * compressing ahead, and order: writers know.
 */
#include "store/compress_pool.h"

#include "store/segment_file.h"

#include <assert.h>
#include <stdlib.h>

static void *compress_pool_tools_new(void)
{
	return block_compressor_new();
}

static void compress_pool_tools_free(void *tools)
{
	block_compressor_free(tools);
}

static const struct job_pool_kind kind = {
	.what = "compressors",
	.thread_name = "pcapd-compress",
	.tools_new = compress_pool_tools_new,
	.tools_free = compress_pool_tools_free,
};

/* One frame of the whole block. */
static void compress_pool_compress(struct job_pool_job *job, void *tools)
{
	struct compress_pool_job *j = (void *)job; /* its first */
	const struct block *b = j->block;
	struct err e;

	if (!block_compressor_whole(tools, j->level, b->link_type, b->arena,
				    b->used, j->out, &j->n, &e))
		j->n = 0;
}

struct job_pool *compress_pool_new(unsigned threads, struct err *e)
{
	return job_pool_new(&kind, threads, e);
}

unsigned compress_pool_ahead(const struct job_pool *p)
{
	unsigned n = 2 * job_pool_threads(p);

	return n < COMPRESS_POOL_AHEAD ? n : COMPRESS_POOL_AHEAD - 1;
}

bool compress_pool_post(struct job_pool *p, struct compress_pool_job *j,
			struct block *block, int level)
{
	assert(!j->block);
	if (!j->out && !(j->out = malloc(FRAME_MAX)))
		return false;
	j->job.run = compress_pool_compress;
	j->block = block;
	j->level = level;
	job_pool_post(p, &j->job);
	return true;
}

void compress_pool_take(struct job_pool *p, struct compress_pool_job *j,
			struct block_compressor *own)
{
	if (!j->block)
		return;
	job_pool_take(p, &j->job, own);
	block_unref(j->block);
	j->block = NULL;
}

void compress_pool_job_done(struct compress_pool_job *j)
{
	assert(!j->block);
	free(j->out);
	j->out = NULL;
}
