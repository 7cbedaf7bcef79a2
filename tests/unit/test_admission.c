/* SPDX-License-Identifier: BSD-3-Clause */
/* Places: who gets one, and whom it is kept for. */
#include "server/server_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VERA = 1, VITO, VIOLA, OLGA, OTTO, PEERS };

struct world {
	struct server server;
	struct peer peers[PEERS]; /* [0] is root */
	struct err e;
};

static struct peer *is(struct world *w, unsigned i, enum rank rank)
{
	struct peer *c = &w->peers[i];

	c->server = &w->server;
	c->local.uid = i;
	c->rank = rank;
	snprintf(c->local.name, sizeof(c->local.name), "user %u", i);
	assert_true(person_join(c));
	return c;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	for (int b = 0; b < BOUNDS; b++)
		atomic_init(&w->server.limits[b], 8);
	atomic_init(&w->server.max_peer_connections, 3);
	is(w, 0, RANK_ROOT);
	for (unsigned i = VERA; i <= VIOLA; i++)
		is(w, i, RANK_VIEWER);
	for (unsigned i = OLGA; i <= OTTO; i++)
		is(w, i, RANK_OPERATOR);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	persons_forget(&w->server, true);
	free(w);
	return 0;
}

static bool take(struct world *w, unsigned i, enum bound b)
{
	memset(&w->e, 0, sizeof(w->e));
	return place_take(&w->peers[i], b, &w->e);
}

/* As many as there are for it, and why there are no more. */
static unsigned fill(struct world *w, unsigned i, enum bound b)
{
	unsigned n = 0;

	while (take(w, i, b))
		n++;
	assert_int_equal(w->e.kind, ERR_LIMIT);
	return n;
}

static void one_person_has_half(void **state)
{
	struct world *w = *state;

	assert_int_equal(fill(w, VERA, BOUND_REPLAYS), 4);
	assert_string_equal(w->e.what,
			    "max-replays: user 1 has 4 replays under way "
			    "already, and one person has at most half of 8");
	assert_int_equal(fill(w, OLGA, BOUND_REPLAYS), 4);
	assert_int_equal(fill(w, VERA, BOUND_CALLS), 4);
	assert_int_equal(fill(w, VERA, BOUND_CONNECTIONS), 3);
	assert_string_equal(w->e.what,
			    "max-peer-connections is 3, and user 1 has 3");
}

static void viewers_leave_a_quarter_to_operators(void **state)
{
	struct world *w = *state;

	for (enum bound b = 0; b < BOUNDS; b++) {
		unsigned viewers =
			fill(w, VERA, b) + fill(w, VITO, b) + fill(w, VIOLA, b);

		assert_int_equal(viewers, 6);
		assert_int_equal(fill(w, OLGA, b), 2);
		assert_int_equal(fill(w, OTTO, b), 0);
		place_give(&w->peers[VERA], b);
		assert_true(take(w, OTTO, b));
	}
	assert_int_equal(fill(w, VIOLA, BOUND_LISTENERS), 0);
}

static void roots_places_are_beside_those_of_others(void **state)
{
	struct world *w = *state;

	for (enum bound b = 0; b < BOUND_CONNECTIONS; b++) {
		fill(w, OLGA, b);
		fill(w, OTTO, b);
		assert_int_equal(fill(w, 0, b), 8);
		assert_non_null(strstr(w->e.what, " are under way already"));
		/* Nor does root take theirs. */
		place_give(&w->peers[OLGA], b);
		assert_true(take(w, OLGA, b));
	}
	assert_int_equal(fill(w, 0, BOUND_CONNECTIONS), 3);
}

static void where_there_is_one_place_anybody_may_have_it(void **state)
{
	struct world *w = *state;

	atomic_store(&w->server.limits[BOUND_REPLAYS], 1);
	assert_int_equal(fill(w, VERA, BOUND_REPLAYS), 1);
	assert_int_equal(fill(w, OLGA, BOUND_REPLAYS), 0);
	assert_int_equal(fill(w, 0, BOUND_REPLAYS), 1);
}

static void a_place_is_wanted_by_who_can_have_it(void **state)
{
	struct world *w = *state;
	int64_t now = monotonic_ns();

	/* Over one's own share: one's own. */
	fill(w, VERA, BOUND_REPLAYS);
	assert_true(place_is_wanted(&w->peers[VERA], BOUND_REPLAYS,
				    monotonic_ns()));
	assert_false(place_is_wanted(&w->peers[VITO], BOUND_REPLAYS, now));
	assert_false(place_is_wanted(&w->peers[VERA], BOUND_CALLS, now));
	/* Over all: those of all, but for root's. */
	fill(w, OLGA, BOUND_REPLAYS);
	fill(w, OTTO, BOUND_REPLAYS);
	now = monotonic_ns();
	assert_true(place_is_wanted(&w->peers[VITO], BOUND_REPLAYS, now));
	assert_true(place_is_wanted(&w->peers[OTTO], BOUND_REPLAYS, now));
	assert_false(place_is_wanted(&w->peers[0], BOUND_REPLAYS, now));
	/* Not for ever. */
	now += 60 * NS_PER_S;
	assert_false(place_is_wanted(&w->peers[VITO], BOUND_REPLAYS, now));
}

static void a_viewer_that_waits_ends_no_operators_stream(void **state)
{
	struct world *w = *state;

	fill(w, VERA, BOUND_REPLAYS);
	fill(w, VITO, BOUND_REPLAYS);
	fill(w, VIOLA, BOUND_REPLAYS);
	int64_t now = monotonic_ns();
	assert_true(place_is_wanted(&w->peers[VIOLA], BOUND_REPLAYS, now));
	assert_false(place_is_wanted(&w->peers[OLGA], BOUND_REPLAYS, now));
}

/* Another connection does not bring another budget. */
static void a_person_is_known_again_while_a_budget_is_not_full(void **state)
{
	struct world *w = *state;
	struct peer *c = &w->peers[VERA];
	struct person *p, *before = c->person;
	struct peer remote = {.server = &w->server, .origin = FROM_TLS};

	atomic_store(&before->frames.full_ns[FRAME_RESET],
		     monotonic_ns() + 1000 * NS_PER_S);
	person_leave(c);
	persons_forget(&w->server, false);
	assert_true(person_join(c));
	assert_ptr_equal(c->person, before);
	atomic_store(&before->frames.full_ns[FRAME_RESET], 0);
	person_leave(c);
	persons_forget(&w->server, false);
	LIST_FOREACH(p, &w->server.persons, entry)
		assert_ptr_not_equal(p, before);
	/* A name of TLS is not a user. */
	strcpy(remote.remote.allowed.name, "vera");
	assert_true(person_join(&remote));
	assert_true(person_join(c));
	assert_ptr_not_equal(c->person, remote.person);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_person_has_half),
		TEST(viewers_leave_a_quarter_to_operators),
		TEST(roots_places_are_beside_those_of_others),
		TEST(where_there_is_one_place_anybody_may_have_it),
		TEST(a_place_is_wanted_by_who_can_have_it),
		TEST(a_viewer_that_waits_ends_no_operators_stream),
		TEST(a_person_is_known_again_while_a_budget_is_not_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
