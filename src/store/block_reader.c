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

static bool fail(struct load *l, bool damaged, const char *why, int error)
{
	l->damaged = damaged;
	l->why = why;
	l->error = error;
	return false;
}

bool load_frame(struct load *l, uint8_t *to)
{
	const struct block_info *i = &l->info;

	if (segment_read(l->fd, i->offset, to, i->stored_bytes) ==
	    i->stored_bytes)
		return true;
	return errno ? fail(l, true, NULL, errno) : fail(l, true, "cut off", 0);
}

static bool decode(struct load *l, struct decoder *d, struct block *b)
{
	const struct block_info *i = &l->info;

	if (!load_frame(l, d->frame))
		return false;
	size_t n = ZSTD_decompressDCtx(d->zstd, b->arena, BLOCK_MAX, d->frame,
				       i->stored_bytes);
	b->used = (uint32_t)n;
	if (ZSTD_isError(n))
		return fail(l, true, ZSTD_getErrorName(n), 0);
	return n == i->raw_bytes || fail(l, true, "wrong length", 0);
}

/* For a frame that somebody else reads. */
static bool reaches(struct load *l)
{
	struct stat st;

	return (fstat(l->fd, &st) == 0 &&
		(uint64_t)st.st_size >=
			l->info.offset + l->info.stored_bytes) ||
	       fail(l, true, "cut off", 0);
}

static bool fill(struct load *l, struct decoder *d, struct block *b)
{
	if (l->as == LOAD_DECODED)
		return decode(l, d, b);
	b->stored = true;
	b->used = (uint32_t)l->info.stored_bytes;
	return l->as == LOAD_UNREAD ? reaches(l) : load_frame(l, b->arena);
}

static struct block *load(struct load *l, struct decoder *d)
{
	const struct block_info *i = &l->info;
	struct block *b = NULL;

	if (i->stored_bytes > FRAME_MAX || i->raw_bytes > BLOCK_MAX)
		fail(l, false, "its row in the catalog is damaged", 0);
	else if (!(b = block_new(l->pool, l->link_type, l->snaplen)))
		fail(l, false, "out of memory", 0);
	else if (fill(l, d, b)) {
		b->info = *i;
		block_publish(b);
		atomic_store(&b->sealed, true);
		return b;
	}
	block_unref(b);
	return NULL;
}

void load_run(struct load *l, struct decoder *d)
{
	l->block = load(l, d);
}

/* --- ahead --- */

static void *tools_new(void)
{
	return decoder_new();
}

static void tools_free(void *tools)
{
	decoder_free(tools);
}

/* A replay gets a third of what a capture gets of a CPU that both want. */
static const struct ahead_kind kind = {
	.what = "decoders",
	.thread_name = "pcapd-decode",
	.nice = 5,
	.tools_new = tools_new,
	.tools_free = tools_free,
};

static void run(struct ahead_job *job, void *tools)
{
	load_run((void *)job, tools); /* its first */
}

struct ahead *loaders_new(unsigned threads, struct err *e)
{
	return ahead_new(&kind, threads, e);
}

void load_post(struct ahead *a, struct load *l)
{
	l->job.run = run;
	ahead_post(a, &l->job);
}
