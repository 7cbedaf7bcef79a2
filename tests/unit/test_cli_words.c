/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets, numbers, sizes, names and the table of commands. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void this_machine_has_no_name_or_is_local(void **state)
{
	static const char *const all[][2] = {
		{"web", "web"},
		{":web", "web"},
		{"local:web", "web"},
		{"", ""},
		{":", ""},
		{"local:", ""},
		{":a:b", "a:b"},
		{"local:a:b", "a:b"},
		{"local", "local"},
		{"a b:c", "a b:c"},
		{"3", "3"},
	};
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		const char *name = NULL;
		assert_true(target_parse(all[i][0], &name, &e));
		assert_string_equal(name, all[i][1]);
	}
}

static void an_unknown_remote_is_not_found(void **state)
{
	const char *name = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_false(target_parse("lab:web", &name, &e));
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(err_exit_code(e.kind), 4);
	assert_string_equal(e.what, "unknown remote 'lab'");
	assert_string_equal(e.hint,
			    "'pcap remote list' has those that are "
			    "known. Without 'NAME:' it is this machine; "
			    "a name that has a ':' is written "
			    "':lab:web'.");
	assert_false(target_parse("localhost:web", &name, &e));
	assert_string_equal(e.what, "unknown remote 'localhost'");
	assert_null(name);
}

static void numbers_are_whole_and_in_range(void **state)
{
	static const char *const bad[] = {
		"",   "x",   "1x", "-1", "+1",
		" 1", "1.5", "0",  "11", "99999999999999999999"};
	struct err e = ERR_INIT;
	uint64_t v = 0;

	(void)state;
	assert_true(number_parse("--count", "10", 1, 10, &v, &e));
	assert_int_equal(v, 10);
	for (size_t i = 0; i < LENGTH(bad); i++) {
		if (number_parse("--count", bad[i], 1, 10, &v, &e))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(e.kind, ERR_USAGE);
	}
	assert_int_equal(v, 10);
	number_parse("--snaplen", "x", 1, 262144, &v, &e);
	assert_string_equal(e.what, "--snaplen: expected a whole number from "
				    "1 to 262144, not 'x'");
	number_parse("--count", "0", 1, UINT64_MAX, &v, &e);
	assert_string_equal(e.what, "--count: expected a whole number from 1 "
				    "on, not '0'");
}

static void sizes_have_four_letters_or_so(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} all[] = {
		{0, "0"},
		{1023, "1023"},
		{1024, "1.0K"},
		{1048524, "1023.9K"},
		{1048525, "1.0M"},
		{1048576, "1.0M"},
		{33900000, "32.3M"},
		{1ull << 40, "1.0T"},
		{UINT64_MAX, "16.0E"},
	};
	char out[SIZE_TEXT];

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++)
		assert_string_equal(size_text(all[i].bytes, out), all[i].text);
}

static void a_capture_is_named_by_id_and_aliases(void **state)
{
	char *aliases[64];
	char out[CAPTURE_TEXT];
	Pcap__V1__Capture c = PCAP__V1__CAPTURE__INIT;

	(void)state;
	c.id = 3;
	assert_string_equal(capture_text(&c, out), "3");
	for (size_t i = 0; i < LENGTH(aliases); i++)
		aliases[i] = "an-alias";
	aliases[0] = "web";
	c.aliases = aliases;
	c.n_aliases = 2;
	assert_string_equal(capture_text(&c, out), "3 (web, an-alias)");
	c.n_aliases = LENGTH(aliases);
	assert_int_equal(strlen(capture_text(&c, out)), CAPTURE_TEXT - 1);
}

static void the_words_of_a_filter_are_joined_by_blanks(void **state)
{
	char *v[] = {"web", "tcp", "port", "80"};
	struct words w = {v, 4};

	(void)state;
	char *text = words_join(&w, 1);
	assert_string_equal(text, "tcp port 80");
	free(text);
	text = words_join(&w, 4);
	assert_string_equal(text, "");
	free(text);
}

static void commands_are_found_and_typing_errors_are_guessed(void **state)
{
	static const char *const guesses[][2] = {
		{"relay", "replay"},
		{"listenn", "listen"},
		{"lst", "list"},
		{"inter", "interfaces"},
		{"strat", "start"},
		{"listne", "listen"},
		/* Never to what stops or removes something. */
		{"show", NULL},
		{"stpo", NULL},
		{"delet", NULL},
		{"relase", NULL},
		{"x", NULL},
		{"tcpdump", NULL},
		{"", NULL},
		{"a-word-that-is-far-too-long-to-be-any-of-them", NULL},
	};
	const char *nearest;

	(void)state;
	for (size_t i = 0; commands[i]; i++)
		assert_ptr_equal(command_find(commands[i]->name, &nearest),
				 commands[i]);
	for (size_t i = 0; i < LENGTH(guesses); i++) {
		assert_null(command_find(guesses[i][0], &nearest));
		if (!guesses[i][1])
			assert_null(nearest);
		else
			assert_string_equal(nearest, guesses[i][1]);
	}
}

static void bytes_have_a_unit_or_none(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"none", 0},
		{"1023", 1023},
		{"64K", 64 << 10},
		{"500m", 500ull << 20},
		{"200G", 200ull << 30},
		{"200GiB", 200ull << 30},
		{"2T", 2ull << 40},
		{"8191P", 8191ull << 50},
	};
	static const char *const bad[] = {"",	 "G",	  "-1G",   "1.5G",
					  "1 G", "200GB", "8192P", "many"};
	uint64_t bytes = 1;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < LENGTH(good); i++) {
		assert_true(
			size_parse("--keep-bytes", good[i].text, &bytes, &e));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < LENGTH(bad); i++) {
		assert_false(size_parse("--keep-bytes", bad[i], &bytes, &e));
		assert_int_equal(e.kind, ERR_USAGE);
	}
	assert_string_equal(e.what, "--keep-bytes: expected bytes such as "
				    "500M, 200G or 1T, or none, not 'many'");
}

static void spans_are_short(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} all[] = {
		{0, "0 ms"},
		{250000000, "250 ms"},
		{3400000000, "3.4 s"},
		{100 * 1000000000ll, "100 s"},
		{120 * 1000000000ll, "2 min"},
		{36 * 3600 * 1000000000ll, "36 h"},
		{74 * 3600 * 1000000000ll, "3.1 days"},
		{30 * 86400 * 1000000000ll, "30 days"},
		{4400 * 86400 * 1000000000ll, "4400 days"},
	};
	char out[SPAN_TEXT];

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++)
		assert_string_equal(span_text(all[i].ns, out), all[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_machine_has_no_name_or_is_local),
		cmocka_unit_test(an_unknown_remote_is_not_found),
		cmocka_unit_test(numbers_are_whole_and_in_range),
		cmocka_unit_test(sizes_have_four_letters_or_so),
		cmocka_unit_test(bytes_have_a_unit_or_none),
		cmocka_unit_test(spans_are_short),
		cmocka_unit_test(a_capture_is_named_by_id_and_aliases),
		cmocka_unit_test(the_words_of_a_filter_are_joined_by_blanks),
		cmocka_unit_test(
			commands_are_found_and_typing_errors_are_guessed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
