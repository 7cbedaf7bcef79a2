/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes through our compressor: libzstd's decoder gives them back, the
 * frame is no larger than is promised, and nothing is read or written outside.
 * The first byte says how closely it looks, and as what link layer.
 */
#include "zpack/encode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#define PAGE 4096u
#define ROOM ((ZPACK_BOUND(ZPACK_MAX) + ZPACK_SLACK + PAGE - 1) / PAGE * PAGE)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* n bytes, whole pages, before a page that nobody may touch; their end. */
static uint8_t *fenced_end(size_t n)
{
	uint8_t *p = mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED && mprotect(p + n, PAGE, PROT_NONE) == 0);
	return p + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const unsigned steps[] = {1, ZPACK_STORE, 2, 20};
	static const struct zpack_layer layers[] = {
		{14, 12, true}, {0, 0, false}, {16, 14, false}, {4, 0, false}};
	static uint8_t *in_end, *out_end, *plain;
	static struct zpack *packer;

	if (!packer) {
		in_end = fenced_end(ZPACK_MAX);
		out_end = fenced_end(ROOM);
		plain = malloc(ZPACK_MAX);
		packer = zpack_new();
		assert(plain && packer);
	}
	if (n == 0 || n - 1 > ZPACK_MAX)
		return 0;
	unsigned how = *data++;
	uint32_t bytes = (uint32_t)--n;
	uint8_t *in = in_end - bytes;
	uint8_t *out = out_end - ZPACK_BOUND(bytes) - ZPACK_SLACK;

	memcpy(in, data, bytes);
	/* Again, with what is remembered of the frame before. */
	for (int again = 0; again < 2; again++) {
		size_t made = zpack(packer, layers[how >> 2 & 3], in, bytes,
				    steps[how & 3], out);

		assert(made <= ZPACK_BOUND(bytes));
		assert(memcmp(in, data, bytes) == 0);
		assert(ZSTD_findFrameCompressedSize(out, made) == made);
		assert(ZSTD_decompress(plain, ZPACK_MAX, out, made) == bytes);
		assert(memcmp(plain, data, bytes) == 0);
	}
	return 0;
}
