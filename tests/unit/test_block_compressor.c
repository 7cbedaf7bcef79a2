/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames, and how they come into a file. libzstd's decoder says whether a
 * frame is one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packet/capture_tail.h"
#include "store/block_compressor.h"
#include "store/segment_file.h"
#include "zpack/encode.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define MIB (1u << 20)

struct world {
	struct block_compressor *frame;
	uint8_t *text, *noise; /* MIB each: shrinks; does not */
	uint8_t *packed, *plain;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	uint64_t x = 88172645463325252u;

	w->frame = block_compressor_new();
	w->text = malloc(MIB);
	w->noise = malloc(MIB);
	w->packed = aligned_alloc(SEGMENT_ALIGN, FRAME_MAX + SEGMENT_ALIGN);
	w->plain = malloc(MIB);
	for (uint32_t i = 0; i < MIB; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		w->noise[i] = (uint8_t)x;
		/* Long runs that come again, and some that do not. */
		w->text[i] = (uint8_t)(i % 100 < 30 ? x : i % 100);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	block_compressor_free(w->frame);
	free(w->text);
	free(w->noise);
	free(w->packed);
	free(w->plain);
	free(w);
	return 0;
}

/* A block in one go; its size on disk. */
static size_t pack(struct world *w, int level, const uint8_t *from, uint32_t n)
{
	struct err e = ERR_INIT;
	size_t filled;

	assert_true(block_compressor_whole(w->frame, level, 1, from, n,
					   w->packed, &filled, &e));
	return filled;
}

static void assert_unpacks(struct world *w, size_t packed, const uint8_t *to,
			   uint32_t n)
{
	assert_int_equal(ZSTD_findFrameCompressedSize(w->packed, packed),
			 packed);
	assert_int_equal(ZSTD_getFrameContentSize(w->packed, packed), n);
	assert_int_equal(ZSTD_decompress(w->plain, MIB, w->packed, packed), n);
	assert_memory_equal(w->plain, to, n);
}

static void every_level_makes_a_frame_with_a_checksum(void **state)
{
	static const int levels[] = {
		19, 3, 1, -1, -5, -20, BLOCK_COMPRESSOR_LEVEL_STORED};
	static const uint32_t sizes[] = {1, 16, 5000, 128 << 10, MIB - 1, MIB};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
			uint32_t n = sizes[k];
			size_t packed = pack(w, levels[i], w->text, n);

			assert_unpacks(w, packed, w->text, n);
			/* The checksum is the last thing in it. */
			w->packed[packed - 1] ^= 1;
			assert_true(ZSTD_isError(ZSTD_decompress(
				w->plain, MIB, w->packed, packed)));
		}
}

static void stored_is_no_larger_than_its_headers(void **state)
{
	struct world *w = *state;
	size_t packed = pack(w, BLOCK_COMPRESSOR_LEVEL_STORED, w->text, MIB);

	assert_true(packed >= MIB && packed < MIB + 64);
	assert_unpacks(w, packed, w->text, MIB);
}

static void what_does_not_shrink_is_stored_until_it_does(void **state)
{
	struct world *w = *state;
	size_t first, packed;

	/* Some shrinking, but not worth the time. */
	for (uint32_t i = 1000; i < MIB; i += 2000)
		memset(w->noise + i, 0, 50);
	for (int level = -1; level <= 3; level += 4) {
		first = pack(w, level, w->noise, MIB);
		assert_true(first < MIB && first > MIB - MIB / 32);
		/* Then one part in eight is looked at. */
		pack(w, level, w->noise, MIB);
		for (int i = 0; i < 3; i++) {
			packed = pack(w, level, w->noise, MIB);
			assert_in_range(MIB - packed, (MIB - first) / 16,
					(MIB - first) / 6);
			assert_unpacks(w, packed, w->noise, MIB);
		}
		for (int i = 0; i < 3; i++) {
			packed = pack(w, level, w->text, MIB);
			assert_true(packed < MIB / 2);
			assert_unpacks(w, packed, w->text, MIB);
		}
		/* Half of one and half of the other is worth it. */
		pack(w, level, w->noise, MIB);
		uint8_t *half = malloc(MIB);
		memcpy(half, w->text, MIB / 2);
		memcpy(half + MIB / 2, w->noise, MIB / 2);
		assert_true(pack(w, level, half, MIB) < 3 * MIB / 4);
		free(half);
		pack(w, level, w->text, MIB);
	}
}

static void flushed_parts_are_readable(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	uint32_t taken = 0;
	size_t at = 0;

	for (int level = -1; level >= -20; level -= 19) {
		taken = 0;
		at = 0;
		block_compressor_begin(w->frame, level);
		for (uint32_t to = 1000; to <= 20000; to += 1000) {
			bool more = true;

			while (more) {
				size_t n;

				assert_true(block_compressor_add(
					w->frame, w->text, &taken, to,
					to == 20000, w->packed + at, 200, &n,
					&more, &e));
				at += n;
			}
			assert_int_equal(taken, to);
			ZSTD_DCtx *z = ZSTD_createDCtx();
			ZSTD_inBuffer in = {w->packed, at, 0};
			ZSTD_outBuffer out = {w->plain, MIB, 0};
			while (in.pos < in.size)
				assert_false(ZSTD_isError(
					ZSTD_decompressStream(z, &out, &in)));
			ZSTD_freeDCtx(z);
			assert_int_equal(out.pos, to);
			assert_memory_equal(w->plain, w->text, to);
		}
	}
}

static void level_falls_with_what_waits_and_comes_back(void **state)
{
	(void)state;
	for (int wanted = -20; wanted <= 19; wanted++) {
		int last = wanted;

		for (unsigned waiting = 0; waiting <= 32; waiting++) {
			int level = block_compressor_level(wanted, waiting, 32);

			assert_true(level <= last);
			last = level;
			if (waiting <= 4)
				assert_int_equal(level, wanted);
			else if (waiting < 16)
				assert_in_range(level + 100, 80, wanted + 100);
			else
				assert_int_equal(level,
						 BLOCK_COMPRESSOR_LEVEL_STORED);
		}
	}
	assert_true(block_compressor_level(-1, 10, 32) < -5);
	/* The smallest that can be configured. */
	assert_int_equal(block_compressor_level(-1, 0, 2), -1);
	assert_int_equal(block_compressor_level(-1, 1, 2),
			 BLOCK_COMPRESSOR_LEVEL_STORED);
}

static void fill_one(struct capture_tail *f)
{
	const struct packet_head h = {1, 2, 3, 3};
	struct block *b = capture_tail_open(f, 1, 100);

	block_append(b, &h, "abc");
	capture_tail_publish(f, b, 1);
	capture_tail_seal(f, b);
}

static void backlog_counts_sealed_blocks_of_who_cannot_wait(void **state)
{
	struct capture_tail *f = capture_tail_new(1, 1, 8);
	struct capture_tail *waiting = capture_tail_new_waiting(2, 1, 8);

	(void)state;
	assert_int_equal(capture_tail_backlog(f, 1), 0);
	for (int i = 0; i < 3; i++)
		fill_one(f);
	assert_int_equal(capture_tail_backlog(f, 1), 3);
	struct block *open = capture_tail_open(f, 1, 100);
	assert_int_equal(capture_tail_backlog(f, 1), 3);
	assert_int_equal(capture_tail_backlog(f, 3), 1);
	assert_int_equal(capture_tail_backlog(f, 4), 0);
	assert_int_equal(capture_tail_backlog(f, 9), 0);
	capture_tail_seal(f, open);
	fill_one(f);
	assert_int_equal(capture_tail_backlog(f, 1), 4);
	fill_one(waiting);
	assert_int_equal(capture_tail_backlog(waiting, 1), 0);
	capture_tail_unref(waiting);
	capture_tail_close(f);
	capture_tail_unref(f);
}

/* At every place in a page, short and long, and the file is what was written
 * and no longer. */
static void writes_of_any_size_land_where_they_belong(void **state)
{
	struct world *w = *state;
	char folder[] = "/var/tmp/pcapd-frame-XXXXXX", path[128];
	struct err e = ERR_INIT;

	assert_non_null(mkdtemp(folder));
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct segment *g = segment_create(dir, 7, 1, 1, 65535, &e);
	assert_non_null(g);
	static const uint32_t sizes[] = {1,    130000,	4095,	1048576,
					 4096, 1048575, 131072, 700000,
					 3,    800001};
	uint64_t at = g->end;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint8_t *out = w->packed + at % SEGMENT_ALIGN;
		struct stat st;

		memcpy(out, w->noise, sizes[i]);
		assert_true(segment_write(g, at, out, sizes[i], &e));
		assert_int_equal(fstat(g->fd, &st), 0);
		assert_int_equal(st.st_size, at + sizes[i]);
		assert_int_equal(pread(g->fd, w->plain, sizes[i], (off_t)at),
				 sizes[i]);
		assert_memory_equal(w->plain, w->noise, sizes[i]);
		at += sizes[i];
	}
	/* Elsewhere in memory it is the page cache's. */
	assert_true(segment_write(g, at, w->noise + 1, MIB - 1, &e));
	assert_int_equal(pread(g->fd, w->plain, MIB - 1, (off_t)at), MIB - 1);
	assert_memory_equal(w->plain, w->noise + 1, MIB - 1);
	segment_free(g);
	snprintf(path, sizeof(path), "%s/7/00000000000000000001.pcap.zst",
		 folder);
	unlink(path);
	unlinkat(dir, "7", AT_REMOVEDIR);
	close(dir);
	assert_int_equal(rmdir(folder), 0);
}

/* --- whether a frame is its block --- */

/* Stands between the compressor and ours, which has no such bug. */
static unsigned made_by_ours;
static bool damage;
size_t __real_zpack(struct zpack *k, struct zpack_layer layer,
		    const uint8_t *records, uint32_t n, unsigned step,
		    uint8_t *out);
size_t __wrap_zpack(struct zpack *k, struct zpack_layer layer,
		    const uint8_t *records, uint32_t n, unsigned step,
		    uint8_t *out);
size_t __wrap_zpack(struct zpack *k, struct zpack_layer layer,
		    const uint8_t *records, uint32_t n, unsigned step,
		    uint8_t *out)
{
	size_t made = __real_zpack(k, layer, records, n, step, out);

	made_by_ours++;
	/* In the middle of it, or of the checksum's. */
	if (damage)
		out[made_by_ours % 2 ? made / 2 : made - 1] ^= 1;
	return made;
}

static void libzstd_compresses_alone_where_it_is_told_to(void **state)
{
	static const int levels[] = {-1, -20, BLOCK_COMPRESSOR_LEVEL_STORED, 1};
	struct world *w = *state;

	made_by_ours = 0;
	block_compressor_use_ours(false);
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
		for (int k = 0; k < 3; k++) {
			const uint8_t *from = k ? w->noise : w->text;
			size_t n = pack(w, levels[i], from, MIB);

			assert_unpacks(w, n, from, MIB);
		}
	assert_int_equal(made_by_ours, 0);
	block_compressor_use_ours(true);
	pack(w, -1, w->text, MIB);
	assert_int_equal(made_by_ours, 1);
}

/* The last of this program: ours is not used any more after it. */
static void a_frame_that_is_not_its_block_ends_our_compressor(void **state)
{
	struct world *w = *state;

	assert_int_equal(unsetenv("PCAPD_CHECK_FRAMES"), 0);
	block_compressor_free(w->frame);
	w->frame = block_compressor_new();
	made_by_ours = 0;
	pack(w, -1, w->text, 5000); /* is compared, and good */
	damage = true;
	for (unsigned i = 1; i < 64; i++)
		pack(w, -1, w->text, 5000);
	assert_int_equal(made_by_ours, 64);
	assert_int_equal(block_compressor_differences(), 0);
	size_t n = pack(w, -1, w->text, 5000);
	assert_unpacks(w, n, w->text, 5000);
	assert_int_equal(made_by_ours, 65);
	assert_int_equal(block_compressor_differences(), 1);
	/* Also in others, and whatever is configured later. */
	block_compressor_use_ours(true);
	block_compressor_free(w->frame);
	w->frame = block_compressor_new();
	n = pack(w, BLOCK_COMPRESSOR_LEVEL_STORED, w->text, MIB);
	assert_unpacks(w, n, w->text, MIB);
	assert_int_equal(made_by_ours, 65);
	assert_int_equal(block_compressor_differences(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_level_makes_a_frame_with_a_checksum),
		TEST(stored_is_no_larger_than_its_headers),
		TEST(what_does_not_shrink_is_stored_until_it_does),
		TEST(flushed_parts_are_readable),
		TEST(level_falls_with_what_waits_and_comes_back),
		TEST(backlog_counts_sealed_blocks_of_who_cannot_wait),
		TEST(writes_of_any_size_land_where_they_belong),
		TEST(libzstd_compresses_alone_where_it_is_told_to),
		TEST(a_frame_that_is_not_its_block_ends_our_compressor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
