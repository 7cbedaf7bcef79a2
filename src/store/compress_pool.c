/*
 * Compressing ahead. Guarantees that a job that was posted gets done, by a
 * thread of the press or by who waits for it. Leaves out what is worth
 * compressing ahead, and order: writers know.
 */
#include "store/compress_pool.h"

#include "store/segment_file.h"

#include <assert.h>
#include <stdlib.h>

static void *tools_new(void)
{
	return frame_new();
}

static void tools_free(void *tools)
{
	frame_free(tools);
}

static const struct ahead_kind kind = {
	.what = "compressors",
	.thread_name = "pcapd-press",
	.tools_new = tools_new,
	.tools_free = tools_free,
};

/* One frame of the whole block. */
static void compress(struct ahead_job *job, void *tools)
{
	struct press_job *j = (void *)job; /* its first */
	const struct block *b = j->block;
	struct err e;

	if (!frame_whole(tools, j->level, b->link_type, b->arena, b->used,
			 j->out, &j->n, &e))
		j->n = 0;
}

struct ahead *press_new(unsigned threads, struct err *e)
{
	return ahead_new(&kind, threads, e);
}

unsigned press_ahead(const struct ahead *p)
{
	unsigned n = 2 * ahead_threads(p);

	return n < PRESS_AHEAD ? n : PRESS_AHEAD - 1;
}

bool press_post(struct ahead *p, struct press_job *j, struct block *block,
		int level)
{
	assert(!j->block);
	if (!j->out && !(j->out = malloc(FRAME_MAX)))
		return false;
	j->job.run = compress;
	j->block = block;
	j->level = level;
	ahead_post(p, &j->job);
	return true;
}

void press_take(struct ahead *p, struct press_job *j, struct frame *own)
{
	if (!j->block)
		return;
	ahead_take(p, &j->job, own);
	block_unref(j->block);
	j->block = NULL;
}

void press_job_done(struct press_job *j)
{
	assert(!j->block);
	free(j->out);
	j->out = NULL;
}
