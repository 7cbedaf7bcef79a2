/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger: counters become intervals, intervals rows, rows stay few. Time
 * is the tests' own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packet/block.h"
#include "store/ledger_writer.h"
#include "store/store.h"
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S NS_PER_S
#define DAY (86400 * S)
#define T0 (1800000000 * S)

struct world {
	char spool[64];
	struct store *store;
	uint64_t capture;
	struct err e;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct capture_row row = {.interface = "eth0", .filter = ""};

	strcpy(w->spool, "/tmp/pcapd-ledger-XXXXXX");
	assert_non_null(mkdtemp(w->spool));
	struct store_options o = {.spool = w->spool,
				  .segment_bytes = 1 << 20,
				  .segment_age_ns = DAY};
	w->store = store_open(&o, &w->e);
	if (!w->store || !store_add(w->store, &row, &w->e))
		fail_msg("%s", w->e.what);
	w->capture = row.id;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	store_close(w->store);
	snprintf(command, sizeof(command), "rm -rf %s", w->spool);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

static void add(struct world *w, enum ledger_cause cause, int64_t from_ns,
		int64_t to_ns, uint64_t packets)
{
	struct ledger_row row = {.capture = w->capture,
				 .cause = cause,
				 .from_ns = from_ns,
				 .to_ns = to_ns,
				 .packets = packets};

	if (!ledger_add(w->store, &row, 1, &w->e))
		fail_msg("%s", w->e.what);
}

static size_t list(struct world *w, int64_t since_ns, int64_t until_ns,
		   struct ledger_row **rows)
{
	size_t n;

	if (!ledger_list(w->store, w->capture, since_ns, until_ns, rows, &n,
			 &w->e))
		fail_msg("%s", w->e.what);
	return n;
}

static size_t count(struct world *w)
{
	struct ledger_row *rows;
	size_t n = list(w, 0, 0, &rows);

	free(rows);
	return n;
}

static void assert_row(const struct ledger_row *r, enum ledger_cause cause,
		       int64_t from_ns, int64_t to_ns, uint64_t packets)
{
	assert_string_equal(ledger_cause_name(r->cause),
			    ledger_cause_name(cause));
	assert_int_equal(r->from_ns, from_ns);
	assert_int_equal(r->to_ns, to_ns);
	assert_int_equal(r->packets, packets);
}

/* --- the file beside the segments --- */

static void ledger_path(const struct world *w, char path[128])
{
	snprintf(path, 128, "%s/%" PRIu64 "/ledger", w->spool, w->capture);
}

static void open_world(struct world *w, int64_t sync_ns)
{
	struct store_options o = {.spool = w->spool,
				  .segment_bytes = 1 << 20,
				  .segment_age_ns = DAY,
				  .sync_interval_ns = sync_ns};

	w->store = store_open(&o, &w->e);
	if (!w->store)
		fail_msg("%s", w->e.what);
}

static void say_nothing(void *ctx, const char *line)
{
	(void)ctx;
	(void)line;
}

static void lose_catalog(struct world *w)
{
	struct store_options o = {.spool = w->spool, .segment_bytes = 1 << 20};
	struct store_findings found;
	char command[160];

	store_close(w->store);
	w->store = NULL;
	snprintf(command, sizeof(command), "rm %s/catalog.db*", w->spool);
	assert_int_equal(system(command), 0);
	if (!store_repair(&o, say_nothing, NULL, &found, &w->e))
		fail_msg("%s", w->e.what);
	assert_int_equal(found.problems, 0);
	open_world(w, 0);
}

static void rows_outlive_the_catalog(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;

	add(w, LEDGER_RECEIVED, T0, T0 + 10 * S, 5);
	add(w, LEDGER_STOPPED, T0 + 10 * S, LEDGER_OPEN, 0);
	add(w, LEDGER_STOPPED, LEDGER_ANY, T0 + 15 * S, 0);
	add(w, LEDGER_CLOCK, T0 + 15 * S, T0 - DAY, 0);
	add(w, LEDGER_RECEIVED, T0 + 20 * S, T0 + 30 * S, 6);
	add(w, LEDGER_KERNEL, T0 + 25 * S, T0 + 26 * S, UINT64_MAX / 4);
	lose_catalog(w);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(list(w, 0, 0, &rows), 5);
		assert_row(&rows[0], LEDGER_RECEIVED, T0, T0 + 10 * S, 5);
		assert_row(&rows[1], LEDGER_STOPPED, T0 + 10 * S, T0 + 15 * S,
			   0);
		assert_row(&rows[2], LEDGER_CLOCK, T0 + 15 * S, T0 - DAY, 0);
		assert_row(&rows[3], LEDGER_RECEIVED, T0 + 20 * S, T0 + 30 * S,
			   6);
		assert_row(&rows[4], LEDGER_KERNEL, T0 + 25 * S, T0 + 26 * S,
			   UINT64_MAX / 4);
		free(rows);
		lose_catalog(w);
	}
}

static void a_line_that_was_hurt_costs_no_other(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;
	char path[128], line[512];
	long at = 0;

	for (int64_t i = 0; i < 3; i++)
		add(w, LEDGER_STOPPED, T0 + i * DAY, T0 + i * DAY + S, 0);
	store_close(w->store);
	w->store = NULL;
	ledger_path(w, path);
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	for (int i = 0; i < 3; i++) { /* the title, and two rows */
		at = ftell(f);
		assert_non_null(fgets(line, sizeof(line), f));
	}
	/* The second row's first digit after the hash, and a torn end. */
	fseek(f, at + 17, SEEK_SET);
	fputc('9', f);
	fseek(f, 0, SEEK_END);
	fputs("0123456789abcdef 77 6 18", f);
	fclose(f);
	lose_catalog(w);
	assert_int_equal(list(w, 0, 0, &rows), 2);
	assert_row(&rows[0], LEDGER_STOPPED, T0, T0 + S, 0);
	assert_row(&rows[1], LEDGER_STOPPED, T0 + 2 * DAY, T0 + 2 * DAY + S, 0);
	free(rows);
}

static void a_row_that_grows_does_not_fill_the_file(void **state)
{
	struct world *w = *state;
	struct store_options o = {.spool = w->spool,
				  .segment_bytes = 1 << 20,
				  .segment_age_ns = DAY,
				  .sync_interval_ns = 1000};
	char path[128];
	long most = 0;

	store_configure(w->store, &o);
	ledger_path(w, path);
	add(w, LEDGER_KERNEL, T0, T0 + 1, 1);
	for (int64_t i = 1; i < 6000; i++) {
		add(w, LEDGER_KERNEL, T0 + i, T0 + i + 1, 1);
		FILE *f = fopen(path, "r");
		if (f) {
			fseek(f, 0, SEEK_END);
			most = ftell(f) > most ? ftell(f) : most;
			fclose(f);
		}
	}
	assert_in_range(most, 100, 70000);
	lose_catalog(w);
	assert_int_equal(count(w), 1);
}

/* --- rows --- */

static void rows_that_touch_are_one_for_an_hour(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;

	for (int64_t i = 0; i < 720; i++)
		add(w, LEDGER_RECEIVED, T0 + i * 10 * S, T0 + (i + 1) * 10 * S,
		    5000000000);
	size_t n = list(w, 0, 0, &rows);
	assert_int_equal(n, 2);
	assert_row(&rows[0], LEDGER_RECEIVED, T0, T0 + 3600 * S,
		   360 * 5000000000);
	assert_row(&rows[1], LEDGER_RECEIVED, T0 + 3600 * S, T0 + 7200 * S,
		   360 * 5000000000);
	free(rows);
}

static void received_is_never_joined_over_a_hole(void **state)
{
	struct world *w = *state;

	add(w, LEDGER_RECEIVED, T0, T0 + S, 1);
	add(w, LEDGER_RECEIVED, T0 + S + 1, T0 + 2 * S, 1);
	assert_int_equal(count(w), 2);
}

static void drops_near_each_other_are_one_row_and_others_are_not(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;

	add(w, LEDGER_KERNEL, T0, T0 + S, 3);
	add(w, LEDGER_MEMORY, T0, T0 + S, 1);
	add(w, LEDGER_KERNEL, T0 + S + S / 2, T0 + 6 * S, 4);
	add(w, LEDGER_KERNEL, T0 + 5 * S, T0 + 5 * S + 1, 1);
	add(w, LEDGER_KERNEL, T0 + 8 * S, T0 + 9 * S, 5);
	size_t n = list(w, 0, 0, &rows);
	assert_int_equal(n, 3);
	assert_row(&rows[0], LEDGER_KERNEL, T0, T0 + 6 * S, 8);
	assert_row(&rows[1], LEDGER_MEMORY, T0, T0 + S, 1);
	assert_row(&rows[2], LEDGER_KERNEL, T0 + 8 * S, T0 + 9 * S, 5);
	free(rows);
}

/* What comes often is told with less of when, and nothing falls out. */
static void rows_that_come_often_are_few(void **state)
{
	static const enum ledger_cause causes[] = {
		LEDGER_DOWN, LEDGER_RESTART, LEDGER_KERNEL, LEDGER_DAMAGE};
	struct world *w = *state;
	struct ledger_row *rows;
	const int n = 3 * 3600 / 2;

	for (int i = 0; i < n; i++) {
		static struct ledger_row all[5 * 100];
		struct ledger_row *r = &all[5 * (i % 100)];

		for (int j = 0; j < 4; j++)
			r[j] = (struct ledger_row){.capture = w->capture,
						   .cause = causes[j],
						   .from_ns = T0 + i * 2 * S,
						   .to_ns = T0 + i * 2 * S + S,
						   .packets = 1};
		/* As an interface that goes and comes. */
		r[4] = r[0];
		r[0].to_ns = LEDGER_OPEN;
		r[4].from_ns = LEDGER_ANY;
		r[4].packets = 0;
		if (i % 100 == 99 && !ledger_add(w->store, all, 500, &w->e))
			fail_msg("%s", w->e.what);
	}
	size_t got = list(w, 0, 0, &rows);
	/* In each hour exact at first. */
	assert_in_range(got, 4 * 64, 4 * 3 * 66);
	for (int j = 0; j < 4; j++) {
		uint64_t packets = 0;
		int covered = 0;

		for (size_t i = 0; i < got; i++) {
			if (rows[i].cause != causes[j])
				continue;
			packets += rows[i].packets;
			for (int k = 0; k < n; k++)
				covered += rows[i].from_ns <= T0 + k * 2 * S &&
					   T0 + k * 2 * S + S <= rows[i].to_ns;
			assert_true(rows[i].to_ns - rows[i].from_ns < 3603 * S);
		}
		assert_int_equal(packets, n);
		assert_int_equal(covered, n);
	}
	/* With other words it is another row. */
	struct ledger_row other = {.capture = w->capture,
				   .cause = LEDGER_DOWN,
				   .from_ns = T0 + n * 2 * S,
				   .to_ns = T0 + n * 2 * S + S,
				   .detail = "other"};
	free(rows);
	assert_true(ledger_add(w->store, &other, 1, &w->e));
	assert_int_equal(count(w), got + 1);
}

static void very_many_rows_lose_none(void **state)
{
	struct world *w = *state;
	enum { N = 10300, AT_ONCE = 100 };
	struct ledger_row r[AT_ONCE], *rows;
	uint64_t packets = 0;

	for (int i = 0; i < N; i += AT_ONCE) {
		for (int j = 0; j < AT_ONCE; j++)
			r[j] = (struct ledger_row){
				.capture = w->capture,
				.cause = LEDGER_DISK,
				.from_ns = T0 + (i + j) * DAY,
				.to_ns = T0 + (i + j) * DAY + S,
				.packets = 1};
		if (!ledger_add(w->store, r, AT_ONCE, &w->e))
			fail_msg("%s", w->e.what);
	}
	size_t n = list(w, 0, 0, &rows);
	assert_int_equal(n, 10000);
	for (size_t i = 0; i < n; i++)
		packets += rows[i].packets;
	assert_int_equal(packets, N);
	assert_row(&rows[0], LEDGER_DISK, T0, T0 + 300 * DAY + S, 301);
	free(rows);
}

static void what_is_open_gets_its_end_once(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;

	add(w, LEDGER_DOWN, LEDGER_ANY, T0, 0);
	assert_int_equal(count(w), 0);
	add(w, LEDGER_DOWN, T0, LEDGER_OPEN, 0);
	add(w, LEDGER_DOWN, T0 + S, LEDGER_OPEN, 0);
	add(w, LEDGER_DOWN, LEDGER_ANY, T0 + 9 * S, 0);
	add(w, LEDGER_DOWN, LEDGER_ANY, T0 + 20 * S, 0);
	size_t n = list(w, 0, 0, &rows);
	assert_int_equal(n, 1);
	assert_row(&rows[0], LEDGER_DOWN, T0, T0 + 9 * S, 0);
	free(rows);
}

static void a_range_has_what_overlaps_it(void **state)
{
	struct world *w = *state;
	struct ledger_row *rows;

	add(w, LEDGER_RESTART, T0, T0 + 10 * S, 0);
	add(w, LEDGER_STOPPED, T0 + 20 * S, LEDGER_OPEN, 0);
	add(w, LEDGER_CLOCK, T0 + 15 * S, T0 - DAY, 0);
	assert_int_equal(list(w, T0 - 2 * DAY, T0 - DAY, &rows), 0);
	free(rows);
	assert_int_equal(list(w, T0 + 10 * S, T0 + 11 * S, &rows), 1);
	free(rows);
	assert_int_equal(list(w, T0 + 10 * S - 1, T0 + 11 * S, &rows), 2);
	assert_row(&rows[0], LEDGER_RESTART, T0, T0 + 10 * S, 0);
	assert_row(&rows[1], LEDGER_CLOCK, T0 + 15 * S, T0 - DAY, 0);
	free(rows);
	assert_int_equal(list(w, T0 + 16 * S, 0, &rows), 1);
	assert_row(&rows[0], LEDGER_STOPPED, T0 + 20 * S, LEDGER_OPEN, 0);
	free(rows);
}

static void the_same_damage_is_told_once(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 3; i++)
		add(w, LEDGER_DAMAGE, T0, T0 + S, 7);
	add(w, LEDGER_DAMAGE, T0 + S, T0 + 2 * S, 7);
	assert_int_equal(count(w), 2);
}

static void rows_of_a_deleted_capture_are_dropped_with_it(void **state)
{
	struct world *w = *state;
	struct ledger_row rows[] = {
		{.capture = w->capture + 1, .cause = LEDGER_RESTART},
		{.capture = w->capture, .cause = LEDGER_RESTART, .to_ns = T0}};

	assert_true(ledger_add(w->store, rows, 2, &w->e));
	assert_int_equal(count(w), 1);
	if (!store_delete(w->store, w->capture, &w->e))
		fail_msg("%s", w->e.what);
	assert_int_equal(count(w), 0);
}

static void known_until_is_the_end_of_the_newest_row(void **state)
{
	struct world *w = *state;
	int64_t ns;

	assert_true(ledger_known_until(w->store, w->capture, INT64_MAX, &ns,
				       &w->e));
	assert_int_equal(ns, 0);
	add(w, LEDGER_RECEIVED, T0, T0 + 50 * S, 1);
	add(w, LEDGER_RECEIVED, T0 - DAY, T0 - DAY + S, 1); /* set back */
	add(w, LEDGER_KERNEL, T0, T0 + 60 * S, 1);
	assert_true(ledger_known_until(w->store, w->capture, INT64_MAX, &ns,
				       &w->e));
	assert_int_equal(ns, T0 - DAY + S);
}

/* --- coverage --- */

static struct coverage cover(struct world *w, struct coverage_of of,
			     int64_t since_ns, int64_t until_ns)
{
	struct coverage c;

	of.capture = w->capture;
	if (!ledger_coverage(w->store, &of, since_ns, until_ns, &c, &w->e))
		fail_msg("%s", w->e.what);
	return c;
}

/* Made at T0, ran from 10 to 100, pcapd was away from 40 to 50. */
static struct coverage_of some_life(struct world *w)
{
	add(w, LEDGER_STOPPED, T0, LEDGER_OPEN, 0);
	add(w, LEDGER_STOPPED, LEDGER_ANY, T0 + 10 * S, 0);
	add(w, LEDGER_RECEIVED, T0 + 10 * S, T0 + 40 * S, 30);
	add(w, LEDGER_RESTART, T0 + 40 * S, T0 + 50 * S, 0);
	add(w, LEDGER_RECEIVED, T0 + 50 * S, T0 + 100 * S, 50);
	add(w, LEDGER_KERNEL, T0 + 60 * S, T0 + 61 * S, 6);
	add(w, LEDGER_STOPPED, T0 + 100 * S, LEDGER_OPEN, 0);
	return (struct coverage_of){.created_ns = T0,
				    .min_ns = T0 + 12 * S,
				    .max_ns = T0 + 99 * S,
				    .now_ns = T0 + 200 * S};
}

static void without_a_range_it_is_from_start_to_stop(void **state)
{
	struct world *w = *state;
	struct coverage c = cover(w, some_life(w), 0, 0);

	assert_int_equal(c.since_ns, T0 + 10 * S);
	assert_int_equal(c.until_ns, T0 + 100 * S);
	assert_int_equal(c.from_ns, c.since_ns);
	assert_int_equal(c.to_ns, c.until_ns);
	assert_int_equal(c.gaps, 2);
	assert_int_equal(c.missing, 6);
	assert_int_equal(c.n, 2);
	assert_row(&c.rows[0], LEDGER_RESTART, T0 + 40 * S, T0 + 50 * S, 0);
	assert_row(&c.rows[1], LEDGER_KERNEL, T0 + 60 * S, T0 + 61 * S, 6);
	free(c.rows);
}

static void what_was_asked_for_and_not_watched_is_a_gap(void **state)
{
	struct world *w = *state;
	struct coverage c = cover(w, some_life(w), T0 - 5 * S, T0 + 1000 * S);

	assert_int_equal(c.until_ns, T0 + 200 * S);
	assert_int_equal(c.from_ns, T0 + 10 * S);
	assert_int_equal(c.to_ns, T0 + 100 * S);
	assert_int_equal(c.gaps, 4);
	/* What was before it was made was not asked for. */
	assert_int_equal(c.since_ns, T0);
	assert_row(&c.rows[0], LEDGER_STOPPED, T0, T0 + 10 * S, 0);
	assert_row(&c.rows[3], LEDGER_STOPPED, T0 + 100 * S, LEDGER_OPEN, 0);
	free(c.rows);
}

static void a_range_without_a_gap_has_none(void **state)
{
	struct world *w = *state;
	struct coverage c = cover(w, some_life(w), T0 + 50 * S, T0 + 60 * S);

	assert_int_equal(c.gaps, 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(c.from_ns, T0 + 50 * S);
	assert_int_equal(c.to_ns, T0 + 60 * S);
	free(c.rows);
}

static void what_never_ran_covers_nothing(void **state)
{
	struct world *w = *state;
	struct coverage_of of = {.created_ns = T0, .now_ns = T0 + 9 * S};

	add(w, LEDGER_STOPPED, T0, LEDGER_OPEN, 0);
	struct coverage c = cover(w, of, T0 + S, 0);
	assert_int_equal(c.from_ns, 0);
	assert_int_equal(c.to_ns, 0);
	free(c.rows);
	c = cover(w, of, T0 + S, T0 + 2 * S);
	assert_int_equal(c.gaps, 1);
	assert_int_equal(c.to_ns, 0);
	free(c.rows);
	/* All there is: since it was made, and not since 1970. */
	c = cover(w, of, 0, 0);
	assert_int_equal(c.since_ns, T0);
	assert_int_equal(c.until_ns, of.now_ns);
	assert_int_equal(c.gaps, 1);
	free(c.rows);
}

static void a_savefile_covers_what_is_in_it(void **state)
{
	struct world *w = *state;
	struct coverage_of of = {.created_ns = T0 + DAY,
				 .savefile = true,
				 .min_ns = T0,
				 .max_ns = T0 + 7 * S,
				 .now_ns = T0 + DAY};
	struct coverage c = cover(w, of, 0, 0);

	assert_int_equal(c.since_ns, T0);
	assert_int_equal(c.until_ns, T0 + 7 * S + 1);
	assert_int_equal(c.to_ns, T0 + 7 * S);
	assert_int_equal(c.gaps, 0);
	free(c.rows);
}

static void a_savefile_of_which_all_expired_is_not_empty(void **state)
{
	struct world *w = *state;
	struct coverage_of of = {
		.created_ns = T0 + DAY, .savefile = true, .now_ns = T0 + DAY};

	add(w, LEDGER_EXPIRED, T0, T0 + 5 * S, 7);
	add(w, LEDGER_DAMAGE, T0 + 5 * S, T0 + 6 * S, 1);
	struct coverage c = cover(w, of, 0, 0);
	assert_int_equal(c.since_ns, T0);
	assert_int_equal(c.until_ns, T0 + 6 * S);
	assert_int_equal(c.gaps, 2);
	assert_int_equal(c.missing, 8);
	free(c.rows);
	c = cover(w, of, T0 + S, 0);
	assert_int_equal(c.missing, 8);
	free(c.rows);
	/* While there is something, its beginning is that of what is there. */
	of.min_ns = T0 + 6 * S;
	of.max_ns = T0 + 9 * S;
	c = cover(w, of, 0, 0);
	assert_int_equal(c.since_ns, T0 + 6 * S);
	assert_int_equal(c.gaps, 0);
	free(c.rows);
}

static void a_step_back_is_listed_and_no_gap(void **state)
{
	struct world *w = *state;
	struct coverage_of of = {
		.created_ns = T0 - DAY, .now_ns = T0 - 3500 * S, .runs = true};

	add(w, LEDGER_RECEIVED, T0 - 10 * S, T0, 1);
	add(w, LEDGER_CLOCK, T0, T0 - 3600 * S, 0);
	add(w, LEDGER_RECEIVED, T0 - 3600 * S, T0 - 3500 * S, 1);
	struct coverage c = cover(w, of, 0, 0);
	assert_int_equal(c.since_ns, T0 - 3600 * S);
	assert_int_equal(c.until_ns, T0);
	assert_int_equal(c.from_ns, T0 - 3600 * S);
	assert_int_equal(c.to_ns, T0);
	assert_int_equal(c.gaps, 0);
	assert_int_equal(c.n, 1);
	assert_row(&c.rows[0], LEDGER_CLOCK, T0, T0 - 3600 * S, 0);
	free(c.rows);
}

/* --- counters --- */

/* A clock that the test sets, and counters. */
static struct loss_accounting_look look_at(int64_t boot_ns, int64_t offset_ns,
					   uint64_t received)
{
	return (struct loss_accounting_look){
		.now = {T0 + boot_ns + offset_ns, boot_ns},
		.received = received,
		.stored_ns = T0 + boot_ns + offset_ns,
	};
}

static struct loss_accounting begun(void)
{
	struct loss_accounting_look look = look_at(0, 0, 0);
	struct loss_accounting a;

	loss_accounting_begin(&a, 1, &look);
	return a;
}

static void received_is_written_every_ten_seconds_and_at_the_end(void **state)
{
	struct loss_accounting a = begun();
	struct ledger_row rows[LOSS_ACCOUNTING_ROWS];
	struct loss_accounting_look look;
	uint64_t sum = 0;
	size_t n = 0;

	(void)state;
	for (int64_t i = 1; i <= 25; i++) {
		look = look_at(i * S, 0, (uint64_t)i * 100);
		n = loss_accounting_take(&a, &look, i == 25, rows);
		assert_int_equal(n, i == 10 || i == 20 || i == 25);
		if (n)
			sum += rows[0].packets;
	}
	assert_row(&rows[0], LEDGER_RECEIVED, T0 + 20 * S, T0 + 25 * S, 500);
	assert_int_equal(sum, 2500);
}

static void drops_are_told_at_once_with_their_time(void **state)
{
	struct loss_accounting a = begun();
	struct ledger_row rows[LOSS_ACCOUNTING_ROWS];
	struct loss_accounting_look look = look_at(S, 0, 10);

	(void)state;
	assert_int_equal(loss_accounting_take(&a, &look, false, rows), 0);
	look = look_at(2 * S, 0, 10);
	/* More than pcap_stats can count; when is said by who counted. */
	look.kernel = (struct loss){5000000000, T0 + 3, T0 + S};
	look.memory = (struct loss){2, T0 + S, T0 + S + 1};
	assert_int_equal(loss_accounting_take(&a, &look, false, rows), 2);
	assert_row(&rows[0], LEDGER_KERNEL, T0 + 3, T0 + S, 5000000000);
	assert_row(&rows[1], LEDGER_MEMORY, T0 + S, T0 + S + 1, 2);
	look.now.real_ns += S;
	look.now.boot_ns += S;
	look.memory = (struct loss){0};
	look.kernel = (struct loss){1, T0 + 2 * S, T0 + 3 * S};
	look.interface = (struct loss){4, T0 + 2 * S, T0 + 3 * S};
	look.disk = true;
	assert_int_equal(loss_accounting_take(&a, &look, false, rows), 2);
	assert_row(&rows[0], LEDGER_DISK, T0 + 2 * S, T0 + 3 * S, 1);
	assert_row(&rows[1], LEDGER_INTERFACE, T0 + 2 * S, T0 + 3 * S, 4);
}

static void what_is_not_stored_is_not_covered(void **state)
{
	struct loss_accounting a = begun();
	struct ledger_row rows[LOSS_ACCOUNTING_ROWS];
	struct loss_accounting_look look = look_at(10 * S, 0, 1);

	(void)state;
	look.stored_ns = 0; /* nothing is */
	assert_int_equal(loss_accounting_take(&a, &look, false, rows), 1);
	assert_row(&rows[0], LEDGER_RECEIVED, T0, T0, 1);
	look = look_at(20 * S, 0, 3);
	look.stored_ns = T0 + 17 * S;
	assert_int_equal(loss_accounting_take(&a, &look, false, rows), 1);
	assert_row(&rows[0], LEDGER_RECEIVED, T0, T0 + 17 * S, 2);
	look = look_at(21 * S, 0, 4);
	assert_int_equal(loss_accounting_take(&a, &look, true, rows), 1);
	assert_row(&rows[0], LEDGER_RECEIVED, T0 + 17 * S, T0 + 21 * S, 1);
}

static void a_step_of_the_clock_ends_an_interval(void **state)
{
	static const int64_t steps[] = {3 * 3600 * S, -3 * 3600 * S, 300000000};

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		struct loss_accounting a = begun();
		struct ledger_row rows[LOSS_ACCOUNTING_ROWS];
		struct loss_accounting_look look = look_at(S, 0, 5);

		assert_int_equal(loss_accounting_take(&a, &look, false, rows),
				 0);
		look = look_at(2 * S, steps[i], 7);
		look.kernel = (struct loss){1, T0 + S, T0 + 2 * S};
		assert_int_equal(loss_accounting_take(&a, &look, false, rows),
				 4);
		assert_row(&rows[3], LEDGER_RECEIVED, T0 + 2 * S + steps[i],
			   T0 + 2 * S + steps[i], 0);
		assert_row(&rows[0], LEDGER_KERNEL, T0 + S, T0 + 2 * S, 1);
		assert_row(&rows[1], LEDGER_RECEIVED, T0, T0 + 2 * S, 7);
		assert_row(&rows[2], LEDGER_CLOCK, T0 + 2 * S,
			   T0 + 2 * S + steps[i], 0);
		look = look_at(20 * S, steps[i], 9);
		assert_int_equal(loss_accounting_take(&a, &look, false, rows),
				 1);
		assert_row(&rows[0], LEDGER_RECEIVED, T0 + 2 * S + steps[i],
			   T0 + 20 * S + steps[i], 2);
	}
}

static void a_clock_that_is_slewed_does_not_step(void **state)
{
	struct loss_accounting a = begun();
	struct ledger_row rows[LOSS_ACCOUNTING_ROWS];

	(void)state;
	for (int64_t i = 1; i <= 3600; i++) {
		struct loss_accounting_look look =
			look_at(i * S, i * 500000, 0);
		size_t n = loss_accounting_take(&a, &look, false, rows);

		assert_true(n == 0 || rows[0].cause == LEDGER_RECEIVED);
	}
}

/* --- the ledger writer --- */

struct looked {
	struct ledger_writer *ledger_writer;
	uint64_t capture;
	unsigned times;
	bool well;
};

static bool look(void *ctx, struct clocks now)
{
	struct looked *l = ctx;
	struct ledger_row row = {.capture = l->capture,
				 .cause = LEDGER_RESTART,
				 .from_ns = now.real_ns,
				 .to_ns = now.real_ns};

	l->times++;
	if (l->ledger_writer)
		ledger_writer_add(l->ledger_writer, &row, 1);
	return l->well;
}

static void what_was_before_a_catch_up_is_in_the_ledger(void **state)
{
	struct world *w = *state;
	struct looked l = {.capture = w->capture, .well = true};
	struct ledger_row *rows;
	struct ledger_row row = {.capture = w->capture,
				 .cause = LEDGER_STOPPED,
				 .from_ns = 1,
				 .to_ns = 2};
	struct ledger_writer *k =
		ledger_writer_start(w->store, look, &l, &w->e);

	assert_non_null(k);
	ledger_writer_add(k, &row, 1);
	ledger_writer_catch_up(k);
	size_t n = list(w, 0, 0, &rows);
	assert_true(n >= 1 && l.times >= 1);
	assert_row(&rows[0], LEDGER_STOPPED, 1, 2, 0);
	free(rows);
	ledger_writer_stop(k);
}

static bool run_sql(sqlite3 *db, void *arg, struct err *e)
{
	return sql_exec(db, e, arg, "");
}

static void rows_that_could_not_be_written_are_kept_in_order(void **state)
{
	struct world *w = *state;
	struct looked l = {.capture = w->capture, .well = true};
	struct ledger_row *rows;
	struct ledger_writer *k =
		ledger_writer_start(w->store, look, &l, &w->e);

	assert_non_null(k);
	assert_true(catalog_run(w->store->catalog, run_sql,
				"ALTER TABLE ledger RENAME TO hidden", &w->e));
	for (int64_t i = 1; i <= 3; i++) {
		struct ledger_row row = {.capture = w->capture,
					 .cause = LEDGER_STOPPED,
					 .from_ns = i * DAY,
					 .to_ns = i * DAY + S};
		ledger_writer_add(k, &row, 1);
		ledger_writer_catch_up(k);
	}
	assert_true(catalog_run(w->store->catalog, run_sql,
				"ALTER TABLE hidden RENAME TO ledger", &w->e));
	assert_int_equal(count(w), 0);
	ledger_writer_stop(k);
	assert_int_equal(list(w, 0, 0, &rows), 3);
	for (int64_t i = 1; i <= 3; i++)
		assert_row(&rows[i - 1], LEDGER_STOPPED, i * DAY, i * DAY + S,
			   0);
	free(rows);
}

static void it_is_well_only_while_looking_says_so(void **state)
{
	struct world *w = *state;
	struct looked l = {.capture = w->capture, .well = false};
	struct ledger_writer *k =
		ledger_writer_start(w->store, look, &l, &w->e);

	assert_non_null(k);
	int64_t before = ledger_writer_well_ns(k);
	ledger_writer_catch_up(k);
	assert_int_equal(ledger_writer_well_ns(k), before);
	ledger_writer_stop(k);
	l.well = true;
	k = ledger_writer_start(w->store, look, &l, &w->e);
	assert_non_null(k);
	before = ledger_writer_well_ns(k);
	ledger_writer_catch_up(k);
	assert_true(ledger_writer_well_ns(k) > before);
	ledger_writer_stop(k);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(rows_outlive_the_catalog),
		WORLD(a_line_that_was_hurt_costs_no_other),
		WORLD(a_row_that_grows_does_not_fill_the_file),
		WORLD(rows_that_touch_are_one_for_an_hour),
		WORLD(received_is_never_joined_over_a_hole),
		WORLD(drops_near_each_other_are_one_row_and_others_are_not),
		WORLD(rows_that_come_often_are_few),
		WORLD(very_many_rows_lose_none),
		WORLD(what_is_open_gets_its_end_once),
		WORLD(a_range_has_what_overlaps_it),
		WORLD(the_same_damage_is_told_once),
		WORLD(rows_of_a_deleted_capture_are_dropped_with_it),
		WORLD(known_until_is_the_end_of_the_newest_row),
		WORLD(without_a_range_it_is_from_start_to_stop),
		WORLD(what_was_asked_for_and_not_watched_is_a_gap),
		WORLD(a_range_without_a_gap_has_none),
		WORLD(what_never_ran_covers_nothing),
		WORLD(a_savefile_covers_what_is_in_it),
		WORLD(a_savefile_of_which_all_expired_is_not_empty),
		WORLD(a_step_back_is_listed_and_no_gap),
		cmocka_unit_test(
			received_is_written_every_ten_seconds_and_at_the_end),
		cmocka_unit_test(drops_are_told_at_once_with_their_time),
		cmocka_unit_test(what_is_not_stored_is_not_covered),
		cmocka_unit_test(a_step_of_the_clock_ends_an_interval),
		cmocka_unit_test(a_clock_that_is_slewed_does_not_step),
		WORLD(what_was_before_a_catch_up_is_in_the_ledger),
		WORLD(rows_that_could_not_be_written_are_kept_in_order),
		WORLD(it_is_well_only_while_looking_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
