/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/err.h"
#include "packet/block.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void a_block_keeps_bounds_of_times_that_step_back(void **state)
{
	struct block_pool *pool = block_pool_new(1);
	struct block *b = block_new(pool, 1, 96);
	const uint32_t secs[] = {50, 40, 60, 55};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct packet_head h = {secs[i], 0, 3, 3};

		block_append(b, &h, "xyz");
	}
	block_seal(b);
	assert_int_equal(b->info.packets, 4);
	assert_int_equal(b->info.raw_bytes, 4 * 19);
	assert_int_equal(b->info.first_ns, 50 * NS_PER_S);
	assert_int_equal(b->info.last_ns, 55 * NS_PER_S);
	assert_int_equal(b->info.min_ns, 40 * NS_PER_S);
	assert_int_equal(b->info.max_ns, 60 * NS_PER_S);

	struct block_info again = {0};
	assert_int_equal(packets_measure(b->arena, b->used, &again), b->used);
	assert_int_equal(again.min_ns, b->info.min_ns);
	assert_int_equal(again.max_ns, b->info.max_ns);
	assert_int_equal(again.last_ns, b->info.last_ns);
	block_unref(b);
	block_pool_unref(pool);
}

static void the_largest_packet_fits_and_one_byte_more_does_not(void **state)
{
	struct block_pool *pool = block_pool_new(1);
	struct block *b = block_new(pool, 1, 96);

	(void)state;
	assert_true(block_fits(b, BLOCK_PACKET_MAX));
	assert_false(block_fits(b, BLOCK_PACKET_MAX + 1));
	assert_false(block_fits(b, UINT32_MAX));
	struct packet_head h = {0, 0, BLOCK_PACKET_MAX, 0};
	uint8_t *body = calloc(1, BLOCK_PACKET_MAX);
	block_append(b, &h, body);
	assert_int_equal(b->used, BLOCK_MAX);
	assert_false(block_fits(b, 0));
	block_seal(b);
	free(body);
	block_unref(b);
	block_pool_unref(pool);
}

static void a_cut_record_is_never_read(void **state)
{
	uint8_t bytes[64] = {0};
	struct packet_head h = {1, 2, 10, 10}, got;
	const uint8_t *body;

	(void)state;
	memcpy(bytes, &h, sizeof(h));
	for (uint32_t end = 1; end < 26; end++) {
		uint32_t at = 0;

		assert_int_equal(packet_next(bytes, end, &at, &got, &body), -1);
		assert_int_equal(at, 0);
	}
	uint32_t at = 0;
	assert_int_equal(packet_next(bytes, 26, &at, &got, &body), 1);
	assert_int_equal(at, 26);
	assert_int_equal(packet_next(bytes, 26, &at, &got, &body), 0);
	h.caplen = UINT32_MAX;
	memcpy(bytes, &h, sizeof(h));
	at = 0;
	assert_int_equal(packet_next(bytes, 64, &at, &got, &body), -1);
}

static void a_pool_outlives_its_owner_while_blocks_live(void **state)
{
	struct block_pool *pool = block_pool_new(1);
	struct block *a = block_new(pool, 1, 96), *b = block_new(pool, 1, 96);

	(void)state;
	block_pool_unref(pool);
	block_unref(block_ref(a));
	memset(a->arena, 1, BLOCK_MAX);
	block_unref(a);
	block_unref(b);
}

static unsigned resident_pages(const struct block *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char in[BLOCK_MAX / 4096];
	unsigned n = 0;

	assert_int_equal(mincore(b->arena, BLOCK_MAX, in), 0);
	for (size_t i = 0; i < BLOCK_MAX / page; i++)
		n += in[i] & 1;
	return n;
}

/* Of five blocks of a pool for five that was asked to warm three. */
static void a_warm_pool_has_memory_before_blocks_need_it(void **state)
{
	struct block_pool *pool = block_pool_new(5);
	struct block *blocks[6];
	unsigned pages = (unsigned)(BLOCK_MAX / sysconf(_SC_PAGESIZE));

	(void)state;
	blocks[0] = block_new(pool, 1, 96);
	assert_int_equal(resident_pages(blocks[0]), 0);
	block_pool_warm(pool, 3);
	block_pool_warm(pool, 3);
	for (int i = 1; i < 6; i++) {
		blocks[i] = block_new(pool, 1, 96);
		/* A huge page is two of them. */
		assert_int_equal(resident_pages(blocks[i]), i < 5 ? pages : 0);
	}
	/* As many as it keeps are in use. */
	block_pool_warm(pool, 3);
	block_unref(blocks[5]);
	blocks[5] = block_new(pool, 1, 96);
	assert_int_equal(resident_pages(blocks[5]), 0);
	for (int i = 0; i < 6; i++)
		block_unref(blocks[i]);
	block_pool_unref(pool);
}

static void every_kind_of_error_survives_the_wire(void **state)
{
	(void)state;
	for (int k = ERR_NONE; k < ERR_KINDS; k++)
		assert_int_equal(err_from_grpc_status(err_grpc_status(k)), k);
	assert_int_equal(err_exit_code(ERR_NONE), 0);
	assert_int_equal(err_exit_code(ERR_USAGE), 2);
	assert_int_equal(err_exit_code(ERR_INCOMPLETE), 3);
	assert_int_equal(err_exit_code(ERR_NOT_FOUND), 4);
	assert_int_equal(err_exit_code(ERR_PERMISSION), 5);
	assert_int_equal(err_exit_code(ERR_UNREACHABLE), 6);
	assert_int_equal(err_from_grpc_status(2), ERR_FAILED);
}

static void errors_keep_their_cause_when_wrapped(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	errno = EACCES;
	assert_false(err_errno(&e, "open %s", "eth0"));
	assert_int_equal(e.kind, ERR_PERMISSION);
	err_wrap(&e, "start web");
	assert_string_equal(e.what, "start web: open eth0: Permission denied");
	err_set(&e, ERR_USAGE, "%0999d", 1);
	assert_int_equal(strlen(e.what), sizeof(e.what) - 1);
	err_wrap(&e, "more");
	assert_int_equal(strlen(e.what), sizeof(e.what) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_keeps_bounds_of_times_that_step_back),
		cmocka_unit_test(
			the_largest_packet_fits_and_one_byte_more_does_not),
		cmocka_unit_test(a_cut_record_is_never_read),
		cmocka_unit_test(a_pool_outlives_its_owner_while_blocks_live),
		cmocka_unit_test(a_warm_pool_has_memory_before_blocks_need_it),
		cmocka_unit_test(every_kind_of_error_survives_the_wire),
		cmocka_unit_test(errors_keep_their_cause_when_wrapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
