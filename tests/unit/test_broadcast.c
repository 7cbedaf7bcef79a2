/* SPDX-License-Identifier: BSD-3-Clause */
/* From a capture tail to its listeners, without the thread that hands out: who
 * joins or is closed does the same, so that every step is the test's. */
#include "server/broadcast.h"
#include "server/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROOM (2 * BROADCAST_SLICES) /* of a listener's queue */
#define BLOCKS (2 * ROOM)

struct fixture {
	struct broadcasts broadcasts;
	struct capture_tail *tail;
	struct subscriber a, b, c;
};

static void ignore(void *ctx)
{
	(void)ctx;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	broadcasts_init(&f->broadcasts);
	f->tail = capture_tail_new(7, 1, BLOCKS);
	assert_non_null(f->tail);
	assert_true(slice_queue_init(&f->a.queue, ROOM, ignore, NULL));
	assert_true(slice_queue_init(&f->b.queue, ROOM, ignore, NULL));
	assert_true(slice_queue_init(&f->c.queue, ROOM, ignore, NULL));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	broadcast_leave(&f->broadcasts, &f->a);
	broadcast_leave(&f->broadcasts, &f->b);
	broadcast_leave(&f->broadcasts, &f->c);
	assert_true(LIST_EMPTY(&f->broadcasts.list));
	slice_queue_done(&f->a.queue);
	slice_queue_done(&f->b.queue);
	slice_queue_done(&f->c.queue);
	broadcasts_done(&f->broadcasts);
	capture_tail_unref(f->tail);
	free(f);
	return 0;
}

static void joins(struct fixture *f, struct subscriber *m)
{
	assert_true(broadcast_join(&f->broadcasts, f->tail, m));
}

/* A block of one packet, which has its second; none continues another. */
static void put(struct fixture *f, uint32_t sec)
{
	const struct packet_head h = {sec, 0, 4, 60};
	struct block *b = capture_tail_open(f->tail, 1, 96);

	assert_non_null(b);
	block_append(b, &h, "abcd");
	capture_tail_publish(f->tail, b, 1);
	capture_tail_seal(f->tail, b);
}

static void gets(struct subscriber *m, uint32_t sec)
{
	struct slice s;
	uint64_t lost = 0;

	assert_int_equal(slice_queue_pop(&m->queue, &s, &lost), 1);
	assert_int_equal(lost, 0);
	assert_non_null(s.block);
	assert_int_equal(s.packets, 1);
	assert_int_equal(s.block->info.first_ns, sec * NS_PER_S);
	block_unref(s.block);
}

static void is_told(struct subscriber *m, uint64_t packets)
{
	struct slice s;
	uint64_t lost = 0;

	assert_int_equal(slice_queue_pop(&m->queue, &s, &lost), 1);
	assert_int_equal(lost, 0);
	assert_null(s.block);
	assert_int_equal(s.packets, packets);
}

/* 0 it goes on, -1 it is closed */
static void has_no_more(struct subscriber *m, int end)
{
	struct slice s;
	uint64_t lost;

	assert_int_equal(slice_queue_pop(&m->queue, &s, &lost), end);
}

static void who_joins_late_gets_nothing_from_before(void **state)
{
	struct fixture *f = *state;

	put(f, 1);
	joins(f, &f->a);
	put(f, 2);
	joins(f, &f->b);
	put(f, 3);
	joins(f, &f->c);
	put(f, 4);
	broadcast_close(&f->broadcasts, &f->c);
	for (uint32_t i = 2; i <= 4; i++)
		gets(&f->a, i);
	gets(&f->b, 3);
	gets(&f->b, 4);
	gets(&f->c, 4);
	has_no_more(&f->a, 0);
	has_no_more(&f->b, 0);
	has_no_more(&f->c, -1);
}

static void what_a_broadcast_loses_is_told_to_all_in_its_place(void **state)
{
	enum { LOST = 5, ALL = BROADCAST_SLICES + LOST };
	struct fixture *f = *state;
	struct subscriber *had[] = {&f->a, &f->b};

	joins(f, &f->a);
	put(f, 0);
	joins(f, &f->b); /* the first is handed out, and not lost */
	for (uint32_t i = 1; i <= ALL; i++)
		put(f, i);
	joins(f, &f->c);
	gets(&f->a, 0);
	for (unsigned k = 0; k < 2; k++) {
		is_told(had[k], LOST);
		for (uint32_t i = LOST + 1; i <= ALL; i++)
			gets(had[k], i);
		has_no_more(had[k], 0);
	}
	has_no_more(&f->c, 0);
}

static void the_end_of_a_tail_comes_behind_its_packets(void **state)
{
	struct fixture *f = *state;

	joins(f, &f->a);
	put(f, 1);
	capture_tail_close(f->tail);
	joins(f, &f->b); /* hands out 1 */
	joins(f, &f->c); /* hands out the end */
	gets(&f->a, 1);
	has_no_more(&f->a, -1);
	has_no_more(&f->b, -1);
	has_no_more(&f->c, -1);
}

static void who_joins_after_the_end_is_closed_at_once(void **state)
{
	struct fixture *f = *state;

	capture_tail_close(f->tail);
	joins(f, &f->a);
	has_no_more(&f->a, -1);
}

static void who_left_gets_nothing_and_the_others_do(void **state)
{
	struct fixture *f = *state;

	joins(f, &f->a);
	joins(f, &f->b);
	put(f, 1);
	assert_true(broadcast_leave(&f->broadcasts, &f->a));
	assert_false(broadcast_leave(&f->broadcasts, &f->a));
	broadcast_close(&f->broadcasts, &f->b);
	has_no_more(&f->a, 0);
	gets(&f->b, 1);
	/* The last one takes the broadcast with it; the next is a new one. */
	assert_true(broadcast_leave(&f->broadcasts, &f->b));
	assert_true(LIST_EMPTY(&f->broadcasts.list));
	put(f, 2);
	joins(f, &f->a);
	put(f, 3);
	broadcast_close(&f->broadcasts, &f->a);
	gets(&f->a, 3);
	has_no_more(&f->a, -1);
}

static void broadcasts_do_not_mix(void **state)
{
	struct fixture *f = *state;
	struct capture_tail *other = capture_tail_new(8, 1, BLOCKS);

	assert_non_null(other);
	joins(f, &f->a);
	assert_true(broadcast_join(&f->broadcasts, other, &f->b));
	put(f, 1);
	broadcast_close(&f->broadcasts, &f->a);
	broadcast_close(&f->broadcasts, &f->b);
	gets(&f->a, 1);
	has_no_more(&f->b, -1);
	assert_true(broadcast_leave(&f->broadcasts, &f->b));
	capture_tail_unref(other);
}

/* --- with the thread --- */

static void *hand_out(void *arg)
{
	broadcasts_run(arg);
	return NULL;
}

static void count_up(void *ctx)
{
	sem_post(ctx);
}

/* Some come and go while it publishes; one is there all the time. */
static void a_thread_hands_everything_out_in_order(void **state)
{
	enum { PACKETS = 5000 };
	struct fixture *f = *state;
	struct subscriber m = {0};
	pthread_t id;
	sem_t pushed;
	uint32_t next = 1;

	sem_init(&pushed, 0, 0);
	assert_true(slice_queue_init(&m.queue, ROOM, count_up, &pushed));
	joins(f, &m);
	assert_int_equal(pthread_create(&id, NULL, hand_out, &f->broadcasts),
			 0);
	for (uint32_t i = 1; i <= PACKETS; i++) {
		put(f, i);
		capture_tail_release(f->tail, i);
		if (i % 7 == 0)
			joins(f, &f->a);
		if (i % 7 == 3)
			broadcast_leave(&f->broadcasts, &f->a);
		/* It loses nothing: never more than a few are under way. */
		while (i - next >= BROADCAST_SLICES / 2) {
			while (sem_wait(&pushed))
				;
			gets(&m, next++);
		}
	}
	while (next <= PACKETS) {
		while (sem_wait(&pushed))
			;
		gets(&m, next++);
	}
	broadcasts_stop(&f->broadcasts);
	pthread_join(id, NULL);
	has_no_more(&m, 0);
	broadcast_leave(&f->broadcasts, &m);
	slice_queue_done(&m.queue);
	sem_destroy(&pushed);
}

/* Who may see a capture is set while its packets are about to be sent: the
 * status has the turn then. */
static void a_call_that_somebody_ends_is_not_held(void **state)
{
	struct call over = {.phase = CALL_LOST, .sending = true};
	struct call ends = {.phase = CALL_FINISHING, .sending = true};
	struct call done = {.phase = CALL_FINISHED};
	struct call goes_on = {.sending = false};

	(void)state;
	assert_false(call_hold(&over));
	assert_false(call_hold(&ends));
	assert_false(call_hold(&done));
	assert_false(done.sending);
	assert_true(call_hold(&goes_on));
	assert_true(goes_on.sending);
}

#define FIXTURE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE(who_joins_late_gets_nothing_from_before),
		FIXTURE(what_a_broadcast_loses_is_told_to_all_in_its_place),
		FIXTURE(the_end_of_a_tail_comes_behind_its_packets),
		FIXTURE(who_joins_after_the_end_is_closed_at_once),
		FIXTURE(who_left_gets_nothing_and_the_others_do),
		FIXTURE(broadcasts_do_not_mix),
		FIXTURE(a_thread_hands_everything_out_in_order),
		cmocka_unit_test(a_call_that_somebody_ends_is_not_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
