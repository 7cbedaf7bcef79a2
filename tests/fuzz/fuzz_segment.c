/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk over a segment's file that may be anything: what it calls a block
 * decodes to whole packets with a good checksum, blocks do not overlap, and
 * nothing of it lies outside the file. As a program of its own it replays the
 * files that it is given, and fails without any.
 */
#include "store/segment_scan.h"
#include "store/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void assert_block(const uint8_t *data, const struct block_info *b)
{
	static uint8_t raw[BLOCK_MAX];
	struct block_info is = {0};
	size_t got = ZSTD_decompress(raw, sizeof(raw), data + b->offset,
				     b->stored_bytes);

	assert(!ZSTD_isError(got) && got == b->raw_bytes);
	assert(packets_measure(raw, (uint32_t)got, &is) == got);
	assert(is.packets == b->packets && is.min_ns == b->min_ns &&
	       is.max_ns == b->max_ns);
}

static void assert_survey(const uint8_t *data, size_t n,
			  const struct segment_scan *v, bool trusted)
{
	uint64_t at = 0;

	assert(v->frames_end <= n && v->salvaged <= BLOCK_MAX);
	for (size_t i = 0; i < v->n_blocks; i++) {
		const struct block_info *b = &v->blocks[i];
		bool damaged = false;

		for (size_t d = 0; d < v->n_damages; d++)
			damaged |= v->damages[d].known &&
				   v->damages[d].info.offset == b->offset;
		if (damaged)
			continue;
		assert(b->offset >= at && b->offset + b->stored_bytes <= n);
		assert_block(data, b);
		if (trusted)
			at = b->offset + b->stored_bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct segment_footer head;
	struct capture_row row;
	struct segment_scan v = {0};
	struct err e;
	struct segment g = {.capture = 1, .first_seq = 1, .head_bytes = 29};

	g.fd = memfd_create("segment", MFD_CLOEXEC);
	if (g.fd < 0 || n < g.head_bytes || n > 4u << 20 ||
	    write(g.fd, data, n) != (ssize_t)n)
		goto done;
	if (segment_scan_file(&v, &g, &e))
		assert_survey(data, n, &v, true);
	segment_scan_done(&v);
	/* The footer's word for where blocks are is not to be trusted. */
	struct block_info *known = footer_read(g.fd, &head, &row);
	if (known) {
		v = (struct segment_scan){.known = known,
					  .n_known = head.blocks};
		if (segment_scan_file(&v, &g, &e))
			assert_survey(data, n, &v, false);
		segment_scan_done(&v);
		capture_row_done(&row);
	}
	free(known);
done:
	if (g.fd >= 0)
		close(g.fd);
	return 0;
}
