/*
 * Blocks into zstd frames. Guarantees a frame that any zstd reads, with a
 * checksum, whatever the level. Leaves out where the frame goes and what is
 * waiting: writer.c knows.
 */
#include "frame.h"

#include <stdlib.h>
#include <zstd.h>

/* A frame that shrinks by less than this part is not worth its time. */
#define SHRINK_PART 32
/* What a block is judged by while blocks do not shrink: pieces of it. */
#define SAMPLE_BYTES (32u << 10)
#define SAMPLE_PIECES 4
#define PIECE_BYTES (SAMPLE_BYTES / SAMPLE_PIECES)

struct frame {
	ZSTD_CCtx *zstd;
	int level;	/* of the frame under way */
	bool in_doubt;	/* the last frame that was compressed did not shrink */
	uint64_t bytes; /* of the frame so far */
	uint8_t sample[SAMPLE_BYTES];
	uint8_t packed[ZSTD_COMPRESSBOUND(SAMPLE_BYTES)];
};

struct frame *frame_new(void)
{
	struct frame *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->zstd = ZSTD_createCCtx();
	if (f->zstd)
		return f;
	free(f);
	return NULL;
}

void frame_free(struct frame *f)
{
	if (!f)
		return;
	ZSTD_freeCCtx(f->zstd);
	free(f);
}

int frame_level(int wanted, unsigned waiting, unsigned max)
{
	unsigned calm = max / 8, full = max / 2;

	if (waiting <= calm)
		return wanted;
	if (waiting >= full)
		return FRAME_LEVEL_STORED;
	if (wanted <= FRAME_LEVEL_FAST)
		return wanted;
	return wanted - (wanted - FRAME_LEVEL_FAST) * (int)(waiting - calm) /
				(int)(full - calm);
}

static void set_up(struct frame *f, int level)
{
	ZSTD_CCtx_reset(f->zstd, ZSTD_reset_session_only);
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_compressionLevel, level);
	/* Without a size the window would be the level's and larger. */
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_windowLog, 20);
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_checksumFlag, 1);
}

static bool shrank(uint64_t from, uint64_t to)
{
	return to + from / SHRINK_PART < from;
}

/* Costs a thirtieth of compressing the block. */
static bool sample_shrinks(struct frame *f, int level, const uint8_t *bytes,
			   uint32_t n)
{
	uint32_t step = (n - PIECE_BYTES) / (SAMPLE_PIECES - 1);

	for (uint32_t i = 0; i < SAMPLE_PIECES; i++)
		memcpy(f->sample + i * PIECE_BYTES, bytes + i * step,
		       PIECE_BYTES);
	set_up(f, level);
	size_t packed = ZSTD_compress2(f->zstd, f->packed, sizeof(f->packed),
				       f->sample, sizeof(f->sample));
	return ZSTD_isError(packed) || shrank(sizeof(f->sample), packed);
}

void frame_begin(struct frame *f, int level, const uint8_t *whole, uint32_t n)
{
	if (f->in_doubt && whole && n >= 4 * SAMPLE_BYTES &&
	    !sample_shrinks(f, level, whole, n))
		level = FRAME_LEVEL_STORED;
	set_up(f, level);
	if (whole)
		ZSTD_CCtx_setPledgedSrcSize(f->zstd, n);
	f->level = level;
	f->bytes = 0;
}

bool frame_add(struct frame *f, const uint8_t *bytes, uint32_t *taken,
	       uint32_t to, bool end, uint8_t *out, size_t room, size_t *filled,
	       bool *more, struct err *e)
{
	ZSTD_inBuffer in = {bytes, to, *taken};
	ZSTD_outBuffer o = {out, room, 0};
	size_t left = ZSTD_compressStream2(f->zstd, &o, &in,
					   end ? ZSTD_e_end : ZSTD_e_flush);

	if (ZSTD_isError(left))
		return err_set(e, ERR_FAILED, "compress: %s",
			       ZSTD_getErrorName(left));
	*taken = (uint32_t)in.pos;
	*filled = o.pos;
	*more = left > 0;
	f->bytes += o.pos;
	if (end && !*more && f->level != FRAME_LEVEL_STORED)
		f->in_doubt = !shrank(to, f->bytes);
	return true;
}
