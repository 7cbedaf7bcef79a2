/* SPDX-License-Identifier: BSD-3-Clause */
/* Values as JSON: text that was somebody else's, and large numbers. */
#include "cli/cli.h"
#include "cli/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* What json_text makes of a text, between its quotes. */
static void said(const char *text, char out[64])
{
	char *all;
	size_t n;
	FILE *f = open_memstream(&all, &n);
	struct json j;

	assert_non_null(f);
	json_begin(&j, f, false, false);
	json_text(&j, "t", text);
	json_end(&j);
	fclose(f);
	assert_int_equal(sscanf(all, "{\n   \"t\": \"%63[^\n]\n}", out), 1);
	free(all);
	out[strlen(out) - 1] = '\0';
}

static void json_is_escaped_in_its_own_way(void **state)
{
	static const char *const all[][2] = {
		{"a\"b\\", "a\\\"b\\\\"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\x1b\n", "\\u001b\\u000a"},
		{"\xc2\x9b\xe2\x80\xae", "\\u009b\\u202e"},
		{"\xff", "\\ufffd"},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		said(all[i][0], out);
		assert_string_equal(out, all[i][1]);
	}
}

static void numbers_that_a_double_cannot_hold_are_strings_if_asked(void **state)
{
	static const struct {
		bool strings;
		int64_t value;
		const char *text, *name;
	} all[] = {
		/* A time is one whatever it is: a field has one type. */
		{true, 0, "\"0\"", "min_ns"},
		{true, -7, "\"-7\"", "min_ns"},
		{false, 0, "0", "min_ns"},
		{true, 1767225600000000001, "\"1767225600000000001\"", "n"},
		{true, 9007199254740992, "9007199254740992", "n"},
		{true, 9007199254740993, "\"9007199254740993\"", "n"},
		{true, INT64_MIN, "\"-9223372036854775808\"", "n"},
		{true, -7, "-7", "n"},
		{false, 1767225600000000001, "1767225600000000001", "n"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		char *text, want[64];
		size_t n;
		FILE *f = open_memstream(&text, &n);
		struct json j;

		assert_non_null(f);
		json_begin(&j, f, all[i].strings, false);
		json_signed(&j, all[i].name, all[i].value);
		json_end(&j);
		fclose(f);
		snprintf(want, sizeof(want), "{\n   \"%s\": %s\n}\n",
			 all[i].name, all[i].text);
		assert_string_equal(text, want);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_is_escaped_in_its_own_way),
		cmocka_unit_test(
			numbers_that_a_double_cannot_hold_are_strings_if_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
