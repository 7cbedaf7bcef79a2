/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet/capture_tail.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define BLOCKS 4

static int set_up(void **state)
{
	*state = capture_tail_new(7, 100, BLOCKS);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	capture_tail_unref(*state);
	return 0;
}

static void put(struct block *b, uint32_t sec)
{
	const struct packet_head h = {sec, 5, 4, 60};

	assert_true(block_fits(b, 4));
	block_append(b, &h, "abcd");
}

/* A sealed block of one packet. */
static void put_block(struct capture_tail *f, uint32_t sec)
{
	struct block *b = capture_tail_open(f, 1, 96);

	assert_non_null(b);
	put(b, sec);
	capture_tail_publish(f, b, 1);
	capture_tail_seal(f, b);
}

static void without_room_it_says_no_until_blocks_are_released(void **state)
{
	struct capture_tail *f = *state;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		assert_int_equal(capture_tail_room(f), BLOCKS - i);
		put_block(f, i);
	}
	assert_int_equal(capture_tail_room(f), 0);
	assert_null(capture_tail_open(f, 1, 96));
	capture_tail_release(f, 101);
	assert_int_equal(capture_tail_room(f), 2);
	assert_int_equal(capture_tail_depth(f), 2);
	put_block(f, 9);
	struct block *b = capture_tail_find(f, 104);
	assert_int_equal(b->info.first_ns, 9 * NS_PER_S + 5);
	block_unref(b);
}

static void numbers_have_no_holes_when_a_block_stays_empty(void **state)
{
	struct capture_tail *f = *state;

	put_block(f, 1);
	struct block *b = capture_tail_open(f, 1, 96);
	assert_int_equal(b->info.seq, 101);
	capture_tail_seal(f, b);
	assert_null(capture_tail_find(f, 101));
	b = capture_tail_open(f, 1, 96);
	assert_int_equal(b->info.seq, 101);
	put(b, 1);
	capture_tail_publish(f, b, 1);
	capture_tail_seal(f, b);
}

static void what_is_not_published_is_not_seen(void **state)
{
	struct capture_tail *f = *state;
	struct block_info rows[BLOCKS];
	struct block *b = capture_tail_open(f, 1, 96);
	uint64_t seq;
	uint32_t at;

	put(b, 1);
	assert_int_equal(block_filled(b), 0);
	assert_int_equal(capture_tail_blocks(f, rows), 1);
	assert_int_equal(rows[0].packets, 0);
	capture_tail_publish(f, b, 1);
	capture_tail_position(f, &seq, &at);
	assert_int_equal(seq, 100);
	assert_int_equal(at, 20);
	capture_tail_blocks(f, rows);
	assert_int_equal(rows[0].packets, 1);
	assert_int_equal(rows[0].raw_bytes, 20);
	capture_tail_seal(f, b);
	capture_tail_position(f, &seq, &at);
	assert_int_equal(seq, 101);
	assert_int_equal(at, 0);
}

static void finding_from_an_older_number_gives_the_oldest_block(void **state)
{
	struct capture_tail *f = *state;

	put_block(f, 1);
	put_block(f, 2);
	capture_tail_release(f, 100);
	struct block *b = capture_tail_find(f, 5);
	assert_int_equal(b->info.seq, 101);
	block_unref(b);
	assert_null(capture_tail_find(f, 102));
}

struct seen {
	struct capture_tail_watch watch;
	uint64_t packets;
	uint32_t bytes;
	unsigned closed;
};

static void saw(void *ctx, const struct slice *s)
{
	struct seen *seen = ctx;

	seen->packets += s->packets;
	seen->bytes += s->to - s->from;
}

static void saw_end(void *ctx)
{
	((struct seen *)ctx)->closed++;
}

static void a_watch_sees_each_packet_once_from_its_registration_on(void **state)
{
	struct capture_tail *f = *state;
	struct seen a = {
		.watch = {.published = saw, .closed = saw_end, .ctx = &a}};
	struct seen b = {
		.watch = {.published = saw, .closed = saw_end, .ctx = &b}};

	capture_tail_watch(f, &a.watch);
	put_block(f, 1);
	capture_tail_watch(f, &b.watch);
	put_block(f, 2);
	capture_tail_unwatch(f, &a.watch);
	capture_tail_unwatch(f, &a.watch);
	put_block(f, 3);
	assert_int_equal(a.packets, 2);
	assert_int_equal(a.bytes, 40);
	assert_int_equal(b.packets, 2);
	capture_tail_close(f);
	capture_tail_close(f);
	assert_int_equal(a.closed, 0);
	assert_int_equal(b.closed, 1);
	capture_tail_watch(f, &a.watch);
	assert_int_equal(a.closed, 1);
	capture_tail_unwatch(f, &a.watch);
	capture_tail_unwatch(f, &b.watch);
	assert_null(capture_tail_open(f, 1, 96));
}

static void *release_later(void *arg)
{
	struct capture_tail *f = arg;

	capture_tail_wait(f, 103, monotonic_ns() + 60 * NS_PER_S);
	capture_tail_release(f, 100);
	return NULL;
}

static void
a_producer_that_can_wait_gets_room_when_the_writer_released(void **state)
{
	struct capture_tail *f = capture_tail_new_waiting(7, 100, BLOCKS);
	pthread_t writer;

	(void)state;
	pthread_create(&writer, NULL, release_later, f);
	for (uint32_t i = 0; i < BLOCKS; i++)
		put_block(f, i);
	struct block *b = capture_tail_open(f, 1, 96);
	assert_int_equal(b->info.seq, 104);
	capture_tail_seal(f, b);
	pthread_join(writer, NULL);
	capture_tail_unref(f);
}

static void a_wait_ends_at_its_deadline_and_when_closed(void **state)
{
	struct capture_tail *f = *state;
	int64_t soon = monotonic_ns() + 20 * 1000 * 1000;

	capture_tail_wait(f, 100, soon);
	assert_true(monotonic_ns() >= soon);
	capture_tail_close(f);
	soon = monotonic_ns() + 60 * NS_PER_S;
	capture_tail_wait(f, 100, soon);
	assert_true(monotonic_ns() < soon);
}

#define FEED(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FEED(without_room_it_says_no_until_blocks_are_released),
		FEED(numbers_have_no_holes_when_a_block_stays_empty),
		FEED(what_is_not_published_is_not_seen),
		FEED(finding_from_an_older_number_gives_the_oldest_block),
		FEED(a_watch_sees_each_packet_once_from_its_registration_on),
		FEED(a_producer_that_can_wait_gets_room_when_the_writer_released),
		FEED(a_wait_ends_at_its_deadline_and_when_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
