/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading blocks. Guarantees that a block is given whole, as its row says, or
 * not at all. Leaves out who is told of damage: the cursor's part, in order.
 */
#include "store/block_reader.h"

#include "store/segment_file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zstd.h>

struct decoder {
	ZSTD_DCtx *zstd;
	uint8_t *frame; /* FRAME_MAX */
};

struct decoder *decoder_new(void)
{
	struct decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->zstd = ZSTD_createDCtx();
	d->frame = malloc(FRAME_MAX);
	if (d->zstd && d->frame)
		return d;
	decoder_free(d);
	return NULL;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->zstd);
	free(d->frame);
	free(d);
}

static bool block_reader_fail(struct block_reader *l, bool damaged,
			      const char *why, int error)
{
	l->damaged = damaged;
	l->why = why;
	l->error = error;
	return false;
}

static bool block_reader_frame(struct block_reader *l, uint8_t *to)
{
	const struct block_info *i = &l->info;

	if (segment_read(l->fd, i->offset, to, i->stored_bytes) ==
	    i->stored_bytes)
		return true;
	return errno ? block_reader_fail(l, true, NULL, errno)
		     : block_reader_fail(l, true, "cut off", 0);
}

static bool block_reader_decode(struct block_reader *l, struct decoder *d,
				struct block *b)
{
	const struct block_info *i = &l->info;

	if (!block_reader_frame(l, d->frame))
		return false;
	size_t n = ZSTD_decompressDCtx(d->zstd, b->arena, BLOCK_MAX, d->frame,
				       i->stored_bytes);
	b->used = (uint32_t)n;
	if (ZSTD_isError(n))
		return block_reader_fail(l, true, ZSTD_getErrorName(n), 0);
	return n == i->raw_bytes ||
	       block_reader_fail(l, true, "wrong length", 0);
}

bool block_reader_reaches(struct block_reader *l)
{
	struct stat st;

	return (fstat(l->fd, &st) == 0 &&
		(uint64_t)st.st_size >=
			l->info.offset + l->info.stored_bytes) ||
	       block_reader_fail(l, true, "cut off", 0);
}

static struct block *block_reader(struct block_reader *l, struct decoder *d)
{
	const struct block_info *i = &l->info;
	struct block *b = NULL;

	if (i->stored_bytes > FRAME_MAX || i->raw_bytes > BLOCK_MAX)
		block_reader_fail(l, false, "its row in the catalog is damaged",
				  0);
	else if (!(b = block_new(l->pool, l->link_type, l->snaplen)))
		block_reader_fail(l, false, "out of memory", 0);
	else if (d ? block_reader_decode(l, d, b)
		   : block_reader_frame(l, b->arena)) {
		b->info = *i;
		block_publish(b);
		atomic_store(&b->sealed, true);
		return b;
	}
	block_unref(b);
	return NULL;
}

void block_reader_run(struct block_reader *l, struct decoder *d)
{
	l->block = block_reader(l, d);
}

/* --- ahead --- */

static void *block_reader_tools_new(void)
{
	return decoder_new();
}

static void block_reader_tools_free(void *tools)
{
	decoder_free(tools);
}

/* A replay gets a third of what a capture gets of a CPU that both want. */
static const struct job_pool_kind kind = {
	.what = "decoders",
	.thread_name = "pcapd-decode",
	.nice = 5,
	.tools_new = block_reader_tools_new,
	.tools_free = block_reader_tools_free,
};

static void block_reader_job(struct job_pool_job *job, void *tools)
{
	block_reader_run((void *)job, tools); /* its first */
}

struct job_pool *block_readers_new(unsigned threads, struct err *e)
{
	return job_pool_new(&kind, threads, e);
}

void block_reader_post(struct job_pool *a, struct block_reader *l)
{
	l->job.run = block_reader_job;
	job_pool_post(a, &l->job);
}
