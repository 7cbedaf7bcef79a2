/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet/slice_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROOM 32

struct fixture {
	struct block_pool *pool;
	struct slice_queue q;
	unsigned wakes;
};

static void woken(void *ctx)
{
	struct fixture *f = ctx;

	__atomic_add_fetch(&f->wakes, 1, __ATOMIC_RELAXED);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->pool = block_pool_new(4);
	assert_true(slice_queue_init(&f->q, ROOM, woken, f));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	slice_queue_done(&f->q);
	block_pool_unref(f->pool);
	free(f);
	return 0;
}

static struct slice of_new_block(struct fixture *f, uint32_t to)
{
	return (struct slice){block_new(f->pool, 1, 96), 0, to, 1};
}

static void slices_come_out_in_order(void **state)
{
	struct fixture *f = *state;
	struct slice s;
	uint64_t lost;

	for (uint32_t i = 1; i <= ROOM; i++)
		slice_queue_push(&f->q, of_new_block(f, i));
	for (uint32_t i = 1; i <= ROOM; i++) {
		assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
		assert_int_equal(s.to, i);
		assert_int_equal(lost, 0);
		block_unref(s.block);
	}
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 0);
	assert_int_equal(f->wakes, ROOM);
}

static void
a_full_queue_gives_up_the_oldest_and_tells_how_many_once(void **state)
{
	struct fixture *f = *state;
	struct slice s;
	uint64_t lost;

	for (uint32_t i = 1; i <= ROOM + 5; i++) {
		struct slice in = of_new_block(f, i);

		in.packets = i;
		slice_queue_push(&f->q, in);
	}
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
	assert_int_equal(s.to, 6);
	assert_int_equal(lost, 1 + 2 + 3 + 4 + 5);
	block_unref(s.block);
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
	assert_int_equal(lost, 0);
	block_unref(s.block);
}

static void adjacent_slices_are_joined_up_to_the_largest_message(void **state)
{
	struct fixture *f = *state;
	struct block *b = block_new(f->pool, 1, 96);
	struct slice s;
	uint64_t lost;

	for (uint32_t at = 0; at < 2 * SLICE_MAX; at += SLICE_MAX / 8)
		slice_queue_push(&f->q, (struct slice){block_ref(b), at,
						       at + SLICE_MAX / 8, 3});
	slice_queue_push(&f->q, (struct slice){b, 700000, 700001, 1});
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
	assert_int_equal(s.to - s.from, SLICE_MAX);
	assert_int_equal(s.packets, 24);
	block_unref(s.block);
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
	assert_int_equal(s.from, SLICE_MAX);
	assert_int_equal(s.to, 2 * SLICE_MAX);
	block_unref(s.block);
	assert_int_equal(slice_queue_pop(&f->q, &s, &lost), 1);
	assert_int_equal(s.from, 700000);
	block_unref(s.block);
}

#define FIXTURE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE(slices_come_out_in_order),
		FIXTURE(a_full_queue_gives_up_the_oldest_and_tells_how_many_once),
		FIXTURE(adjacent_slices_are_joined_up_to_the_largest_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
