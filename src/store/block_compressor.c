/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks into zstd frames. Guarantees a frame that any zstd reads, with a
 * checksum, whatever the level. Leaves out where the frame goes and what is
 * waiting: writer.c knows.
 */
#include "store/block_compressor.h"
#include "packet/link_layer.h"
#include "store/segment_file.h"
#include "zpack/encode.h"

#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A frame that shrinks by less than this part is not worth its time. */
#define SHRINK_PART 32

_Static_assert(ZPACK_BOUND(BLOCK_MAX) + ZPACK_SLACK <= FRAME_MAX, "room");
_Static_assert(BLOCK_MAX <= ZPACK_MAX, "a whole block");

/* Of all compressors of the process. */
static atomic_bool zstd_only;
static atomic_ullong differences;

struct block_compressor {
	ZSTD_CCtx *zstd;
	struct zpack *packer;
	bool in_doubt; /* the last frame that zstd made whole did not shrink */
	unsigned frames, check; /* of ours; one in so many is compared */
};

void block_compressor_use_ours(bool ours)
{
	atomic_store(&zstd_only, !ours);
}

uint64_t block_compressor_differences(void)
{
	return atomic_load(&differences);
}

struct block_compressor *block_compressor_new(void)
{
	struct block_compressor *f = calloc(1, sizeof(*f));
	const char *check = getenv("PCAPD_CHECK_FRAMES");

	if (!f)
		return NULL;
	f->check = check && atoi(check) > 0 ? (unsigned)atoi(check)
					    : BLOCK_COMPRESSOR_CHECK;
	f->zstd = ZSTD_createCCtx();
	f->packer = zpack_new();
	if (f->zstd && f->packer)
		return f;
	block_compressor_free(f);
	return NULL;
}

void block_compressor_free(struct block_compressor *f)
{
	if (!f)
		return;
	ZSTD_freeCCtx(f->zstd);
	zpack_free(f->packer);
	free(f);
}

int block_compressor_level(int wanted, unsigned waiting, unsigned max)
{
	unsigned calm = max / 8, full = max / 2;

	if (waiting <= calm)
		return wanted;
	if (waiting >= full)
		return BLOCK_COMPRESSOR_LEVEL_STORED;
	if (wanted <= BLOCK_COMPRESSOR_LEVEL_FAST)
		return wanted;
	return wanted - (wanted - BLOCK_COMPRESSOR_LEVEL_FAST) *
				(int)(waiting - calm) / (int)(full - calm);
}

void block_compressor_begin(struct block_compressor *f, int level)
{
	ZSTD_CCtx_reset(f->zstd, ZSTD_reset_session_only);
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_compressionLevel, level);
	/* Without a size the window would be the level's and larger. */
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_windowLog, 20);
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_checksumFlag, 1);
}

static bool block_compressor_failed(size_t result, struct err *e)
{
	if (ZSTD_isError(result))
		err_set(e, ERR_FAILED, "compress: %s",
			ZSTD_getErrorName(result));
	return ZSTD_isError(result);
}

static unsigned step_of(int level)
{
	return level == BLOCK_COMPRESSOR_LEVEL_STORED ? ZPACK_STORE
	       : level < 0			      ? (unsigned)-level
						      : 1;
}

static bool block_compressor_is_ours(const struct block_compressor *f,
				     int level)
{
	/* What zstd cannot shrink gets its time again when we can. */
	return (level < 0 || f->in_doubt) && !atomic_load(&zstd_only) &&
	       !atomic_load(&differences);
}

/* Whether the frame is those records, as libzstd decodes it. Without memory
 * nobody knows. */
static bool block_compressor_same(const uint8_t *frame, size_t n,
				  const uint8_t *records, uint32_t raw)
{
	uint8_t *plain = malloc(raw + 1u);
	size_t got = plain ? ZSTD_decompress(plain, raw, frame, n) : 0;
	bool same = !plain ||
		    ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ||
		    (got == raw && memcmp(plain, records, raw) == 0);

	free(plain);
	return same;
}

/* A frame of ours; false: it is none, and is to be made by libzstd. */
static bool block_compressor_ours(struct block_compressor *f, int level,
				  uint32_t link_type, const uint8_t *records,
				  uint32_t n, uint8_t *out, size_t *filled)
{
	struct link_layer l = link_layer_of(link_type);

	*filled = zpack(f->packer,
			(struct zpack_layer){l.header, l.type_at, l.tags},
			records, n, step_of(level), out);
	if (f->frames++ % f->check ||
	    block_compressor_same(out, *filled, records, n))
		return true;
	if (!atomic_fetch_add(&differences, 1))
		log_error("a frame that pcapd compressed is not its block; "
			  "libzstd compressed it, and all that comes until "
			  "the next start: please report it, with what it says "
			  "about the CPU in /proc/cpuinfo");
	return false;
}

bool block_compressor_whole(struct block_compressor *f, int level,
			    uint32_t link_type, const uint8_t *records,
			    uint32_t n, uint8_t *out, size_t *filled,
			    struct err *e)
{
	if (!block_compressor_is_ours(f, level) ||
	    !block_compressor_ours(f, level, link_type, records, n, out,
				   filled)) {
		block_compressor_begin(f, level);
		*filled = ZSTD_compress2(f->zstd, out, FRAME_MAX, records, n);
		if (block_compressor_failed(*filled, e))
			return false;
	}
	if (level >= 0)
		f->in_doubt = *filled + n / SHRINK_PART >= n;
	return true;
}

bool block_compressor_add(struct block_compressor *f, const uint8_t *bytes,
			  uint32_t *taken, uint32_t to, bool end, uint8_t *out,
			  size_t room, size_t *filled, bool *more,
			  struct err *e)
{
	ZSTD_inBuffer in = {bytes, to, *taken};
	ZSTD_outBuffer o = {out, room, 0};
	size_t left = ZSTD_compressStream2(f->zstd, &o, &in,
					   end ? ZSTD_e_end : ZSTD_e_flush);

	if (block_compressor_failed(left, e))
		return false;
	*taken = (uint32_t)in.pos;
	*filled = o.pos;
	*more = left > 0;
	return true;
}
