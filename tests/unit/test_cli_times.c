/* SPDX-License-Identifier: BSD-3-Clause */
/* Times as people write them. The expected numbers are those that Python's
 * zoneinfo gives for Europe/Berlin. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define S 1000000000ll
/* 2026-11-23T12:00:00.25+01:00 */
#define NOW (1795431600 * S + S / 4)
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int set_up(void **state)
{
	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return 0;
}

struct reading {
	const char *text;
	int64_t since, until; /* until 0: the same */
};

static void a_time_is_read_in_every_way_of_writing_it(void **state)
{
	static const struct reading all[] = {
		{"2026-11-23T10:00:00Z", 1795428000 * S, 0},
		{"2026-11-23t10:00:00z", 1795428000 * S, 0},
		{"2026-11-23T10:00:00+01:00", 1795424400 * S, 0},
		{"2026-11-23T10:00:00-05:30", 1795447800 * S, 0},
		{"2026-11-23 10:00:00+01:00", 1795424400 * S, 0},
		{"2026-11-23T10:00:00.123456789Z", 1795428000 * S + 123456789,
		 0},
		{"2026-11-23 10:00", 1795424400 * S, 0},
		{"2026-11-23 10:00:05", 1795424405 * S, 0},
		{"2026-11-23 10:00:05.5", 1795424405 * S + S / 2, 0},
		{"2026-11-23", 1795388400 * S, 0},
		{"2026-07-01", 1782856800 * S, 0},
		{"2024-02-29 12:00", 1709204400 * S, 0},
		{"10:00", 1795424400 * S, 0},
		{"10:00:05", 1795424405 * S, 0},
		{"13:00", 1795435200 * S, 0},
		{"@1795424400", 1795424400 * S, 0},
		{"@1795424400.000000001", 1795424400 * S + 1, 0},
		{"@0", 0, 0},
		{"10m", NOW - 600 * S, 0},
		{"-2h", NOW - 7200 * S, 0},
		{"3d", NOW - 259200 * S, 0},
		{"90s", NOW - 90 * S, 0},
		{"1w", NOW - 604800 * S, 0},
		{"1h30m", NOW - 5400 * S, 0},
		{"now", NOW, 0},
		{"2261-12-31T23:59:59Z", 9214646399 * S, 0},
		{"2016-12-31T23:59:60Z", 1483228800 * S, 0},
		/* The clock is set back: twice 02:30, one 00:00. */
		{"2026-10-25 02:30", 1792888200 * S, 1792891800 * S},
		{"2026-10-25", 1792879200 * S, 0},
		{"2026-10-26", 1792969200 * S, 0},
		/* And forward: no 02:30, it would be 03:30 then. */
		{"2026-03-29 02:30", 1774747800 * S, 0},
		{"2026-03-29 03:30", 1774747800 * S, 0},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		struct err e = ERR_INIT;
		int64_t ns = -1;
		if (!time_parse("--since", all[i].text, NOW, TIME_SINCE, &ns,
				&e))
			fail_msg("%s", e.what);
		if (ns != all[i].since)
			fail_msg("%s: %lld", all[i].text, (long long)ns);
		assert_true(time_parse("--until", all[i].text, NOW, TIME_UNTIL,
				       &ns, &e));
		if (ns != (all[i].until ? all[i].until : all[i].since))
			fail_msg("until %s: %lld", all[i].text, (long long)ns);
	}
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const all[] = {
		"",
		"tuesday",
		"10",
		"10:",
		"10:00:",
		"24:00",
		"10:60",
		"10:00:61",
		"10:00x",
		"10:00Z",
		"1:00",
		"2026-13-01",
		"2026-00-01",
		"2026-02-30",
		"2026-02-29",
		"2100-02-29",
		"2026-11-23T",
		"2026-11-23 ",
		"2026-11-23T10:00:00+0100",
		"2026-11-23T10:00:00+24:00",
		"2026-11-23T10:00:00Zx",
		"2026-11-23T10:00:00.",
		"2026-11-23T10:00:00.1234567890Z",
		"2262-01-01",
		"1969-12-31",
		"@",
		"@x",
		"@1.",
		"@99999999999",
		"@-1",
		"--2h",
		"10 m",
		"10M",
		"m",
		"0m",
		"99999999999999999999w",
		"9999999999w",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		struct err e = ERR_INIT;
		int64_t ns = 42;
		if (time_parse("--since", all[i], NOW, TIME_SINCE, &ns, &e))
			fail_msg("'%s' was taken", all[i]);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_int_equal(ns, 42);
	}
}

static void the_error_says_what_is_expected_and_what_was_given(void **state)
{
	struct err e = ERR_INIT;
	int64_t ns;

	(void)state;
	time_parse("--since", "tuesday", NOW, TIME_SINCE, &ns, &e);
	assert_string_equal(
		e.what,
		"--since: expected a time such as 2026-11-23T10:00:00Z, "
		"'2026-11-23 10:00:00', 10:00, @1795424400 or 10m (ago), not "
		"'tuesday'");
	time_parse("--since", "3000w", 1000 * S, TIME_SINCE, &ns, &e);
	assert_string_equal(e.what, "--since: '3000w' is before 1970");
	duration_parse("--for", "10", &ns, &e);
	assert_string_equal(e.what,
			    "--for: expected a length of time such as 90s, "
			    "10m, 2h, 3d or 1w, not '10'");
	duration_parse("--for", "-10s", &ns, &e);
	assert_int_equal(e.kind, ERR_USAGE);
}

static void a_range_without_ends_has_none(void **state)
{
	struct time_range r = {0};
	struct err e = ERR_INIT;
	int64_t since = 1, until = 1;

	(void)state;
	assert_true(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	assert_int_equal(since, 0);
	assert_int_equal(until, 0);
}

static void last_is_since_so_long_ago(void **state)
{
	struct time_range r = {.last = "10m", .until = "5m"};
	struct err e = ERR_INIT;
	int64_t since, until;

	(void)state;
	assert_true(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	assert_int_equal(since, NOW - 600 * S);
	assert_int_equal(until, NOW - 300 * S);
	r.last = "9000w"; /* longer than there is time */
	assert_true(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	assert_int_equal(since, 0);
}

static void a_reversed_range_is_refused(void **state)
{
	struct time_range r = {.since = "11:00", .until = "10:00"};
	struct err e = ERR_INIT;
	int64_t since, until;

	(void)state;
	assert_false(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.what, "--until has to be after --since: "
				    "2026-11-23T10:00:00+01:00 is not after "
				    "2026-11-23T11:00:00+01:00");
	r = (struct time_range){.since = "10:00", .until = "10:00"};
	assert_false(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	r = (struct time_range){.until = "@0"};
	assert_false(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	r = (struct time_range){.since = "10:00", .last = "1h"};
	assert_false(time_range_parse(&r, NULL, NOW, &since, &until, &e));
	assert_string_equal(e.what, "--last and --since both say where to "
				    "begin: give one of them");
}

static void a_time_is_printed_with_its_offset(void **state)
{
	char out[TIME_TEXT];

	(void)state;
	assert_string_equal(time_text(1795424400 * S, out),
			    "2026-11-23T10:00:00+01:00");
	assert_string_equal(time_text(1782856800 * S + S / 2, out),
			    "2026-07-01T00:00:00.5+02:00");
	assert_string_equal(time_text(1795424400 * S + 1, out),
			    "2026-11-23T10:00:00.000000001+01:00");
	assert_string_equal(time_short(1795424400 * S, out),
			    "2026-11-23 10:00:00");
	assert_string_equal(time_short(0, out), "");
	setenv("TZ", "NST3:30", 1);
	tzset();
	assert_string_equal(time_text(1795424400 * S, out),
			    "2026-11-23T05:30:00-03:30");
	set_up(NULL);
}

static void what_is_printed_is_read_back(void **state)
{
	char out[TIME_TEXT];
	struct err e = ERR_INIT;
	int64_t ns;

	(void)state;
	/* Through a year with both changes of the clock. */
	for (int64_t t = 1767225600 * S; t < 1798761600 * S;
	     t += 1801 * S + 12345) {
		time_text(t, out);
		assert_true(
			time_parse("--since", out, NOW, TIME_SINCE, &ns, &e));
		assert_int_equal(ns, t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_is_read_in_every_way_of_writing_it),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(
			the_error_says_what_is_expected_and_what_was_given),
		cmocka_unit_test(a_range_without_ends_has_none),
		cmocka_unit_test(last_is_since_so_long_ago),
		cmocka_unit_test(a_reversed_range_is_refused),
		cmocka_unit_test(a_time_is_printed_with_its_offset),
		cmocka_unit_test(what_is_printed_is_read_back),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
