/* Text that was somebody else's, on its way to a terminal, a table or JSON. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/plain.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int set_up(void **state)
{
	(void)state;
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

static void what_a_terminal_obeys_is_escaped_and_the_rest_is_kept(void **state)
{
	static const char *const all[][2] = {
		{"", ""},
		{"case-7, \"x\" \\ %s", "case-7, \"x\" \\ %s"},
		{"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x9f",
		 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x9f"},
		{"\x1b]0;title\a", "\\x1b]0;title\\x07"},
		{"a\nb\r\tc\x7f", "a\\nb\\r\\tc\\x7f"},
		{"\xc2\x9b"
		 "31m",
		 "\\u009b31m"},
		{"\xe2\x80\xaelr", "\\u202elr"},
		{"\xe2\x81\xa6\xe2\x80\xa8", "\\u2066\\u2028"},
		{"\xf3\xa0\x80\x81", "\\ue0001"},
		/* No UTF-8: a lone byte, cut, overlong, a surrogate. */
		{"\x9b\xff", "\\x9b\\xff"},
		{"a\xe2\x82", "a\\xe2\\x82"},
		{"\xc0\x9b", "\\xc0\\x9b"},
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		char *got = plain_copy(all[i][0]);
		assert_string_equal(got, all[i][1]);
		free(got);
	}
}

static void what_is_plain_stays_as_it_is(void **state)
{
	char *once = plain_copy("a\x1b\n\xe2\x80\xae\xff\\n");
	char *twice = plain_copy(once);

	(void)state;
	assert_string_equal(once, twice);
	free(once);
	free(twice);
}

static void columns_are_those_of_the_terminal(void **state)
{
	(void)state;
	assert_int_equal(plain_columns("web"), 3);
	assert_int_equal(plain_columns("gr\xc3\xbc\xc3\x9f"), 4);
	assert_int_equal(plain_columns("e\xcc\x81"), 1);    /* combining */
	assert_int_equal(plain_columns("\xe6\x96\x87"), 2); /* wide */
	assert_int_equal(plain_columns("\x1b"), 4);	    /* \x1b */
}

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
		{"\xf3\xa0\x80\x81", "\\udb40\\udc01"},
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
		const char *text;
	} all[] = {
		{true, 1767225600000000001, "\"1767225600000000001\""},
		{true, 9007199254740992, "9007199254740992"},
		{true, 9007199254740993, "\"9007199254740993\""},
		{true, INT64_MIN, "\"-9223372036854775808\""},
		{true, -7, "-7"},
		{false, 1767225600000000001, "1767225600000000001"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		char *text, want[64];
		size_t n;
		FILE *f = open_memstream(&text, &n);
		struct json j;

		assert_non_null(f);
		json_begin(&j, f, all[i].strings, false);
		json_signed(&j, "n", all[i].value);
		json_end(&j);
		fclose(f);
		snprintf(want, sizeof(want), "{\n   \"n\": %s\n}\n",
			 all[i].text);
		assert_string_equal(text, want);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_a_terminal_obeys_is_escaped_and_the_rest_is_kept),
		cmocka_unit_test(what_is_plain_stays_as_it_is),
		cmocka_unit_test(columns_are_those_of_the_terminal),
		cmocka_unit_test(json_is_escaped_in_its_own_way),
		cmocka_unit_test(
			numbers_that_a_double_cannot_hold_are_strings_if_asked),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
