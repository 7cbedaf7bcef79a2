/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The open frame. Guarantees that in_file bytes of its block can be read from
 * the file, and that no byte is written twice. Leaves out which segment and
 * when: writer.c.
 */
#include "store/open_frame.h"

#include <stdlib.h>
#include <sys/mman.h>

#define OUT_BYTES (2u << 20) /* a huge page */
#define FRAME_COLLAPSE 25    /* MADV_COLLAPSE of Linux 6.1 */
_Static_assert(OUT_BYTES >= FRAME_MAX + SEGMENT_ALIGN, "a frame anywhere");

bool open_frame_init(struct open_frame *f)
{
	f->compressor = block_compressor_new();
	f->out = aligned_alloc(OUT_BYTES, OUT_BYTES);
	return f->compressor && f->out;
}

void open_frame_done(struct open_frame *f)
{
	block_compressor_free(f->compressor);
	free(f->out);
}

/* Direct writes look up every page. What is there already becomes part of the
 * huge page, where the kernel knows how. */
void open_frame_warm(struct open_frame *f)
{
	if (f->warm)
		return;
	f->warm = true;
	madvise(f->out, OUT_BYTES, MADV_HUGEPAGE);
	madvise(f->out, OUT_BYTES, FRAME_COLLAPSE);
}

/* In memory as in the file, which direct writes ask for. */
static uint8_t *open_frame_place(const struct open_frame *f,
				 const struct segment *g)
{
	return f->out + (g->end + f->flushed) % SEGMENT_ALIGN;
}

static void open_frame_is_whole(struct open_frame *f, size_t n, uint32_t raw)
{
	f->pending = (uint32_t)n;
	f->taken = raw;
	f->begun = f->ended = true;
}

void open_frame_begin(struct open_frame *f, int level)
{
	block_compressor_begin(f->compressor, level);
	f->begun = true;
}

bool open_frame_whole(struct open_frame *f, const struct segment *g, int level,
		      const struct block *b, struct err *e)
{
	size_t n;

	if (!block_compressor_whole(f->compressor, level, b->link_type,
				    b->arena, b->used, open_frame_place(f, g),
				    &n, e))
		return false;
	open_frame_is_whole(f, n, b->used);
	return true;
}

void open_frame_given(struct open_frame *f, const struct segment *g,
		      const uint8_t *frame, size_t n, uint32_t raw)
{
	memcpy(open_frame_place(f, g), frame, n);
	open_frame_is_whole(f, n, raw);
}

/* What is compressed goes to the file; what did not is kept for the next
 * try. */
static bool open_frame_drain(struct open_frame *f, struct segment *g,
			     struct err *e)
{
	if (f->pending && !segment_write(g, g->end + f->flushed,
					 open_frame_place(f, g), f->pending, e))
		return false;
	f->flushed += f->pending;
	f->pending = 0;
	return true;
}

bool open_frame_add(struct open_frame *f, struct segment *g,
		    const uint8_t *bytes, uint32_t to, bool end, struct err *e)
{
	bool more = true;

	if (!open_frame_drain(f, g, e))
		return false;
	while (more && (f->taken < to || (end && !f->ended))) {
		size_t n;

		if (!block_compressor_add(f->compressor, bytes, &f->taken, to,
					  end, open_frame_place(f, g),
					  FRAME_MAX, &n, &more, e))
			return false;
		f->pending = (uint32_t)n;
		f->ended = end && !more;
		if (!open_frame_drain(f, g, e))
			return false;
	}
	f->in_file = f->taken;
	return true;
}

void open_frame_reset(struct open_frame *f)
{
	f->taken = f->in_file = f->flushed = f->pending = 0;
	f->begun = f->ended = false;
}
