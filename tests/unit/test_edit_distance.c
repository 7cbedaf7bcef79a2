/* SPDX-License-Identifier: BSD-3-Clause */
/* What was perhaps meant. The distances are those of the definition, by hand.
 */
#include "base/edit_distance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void letters_are_added_dropped_changed_and_swapped(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned n;
	} all[] = {
		{"", "", 0},
		{"", "web", 3},
		{"web", "web", 0},
		{"wbe", "web", 1},
		{"listne", "listen", 1},
		{"listne", "list", 2},
		{"relay", "replay", 1},
		{"show", "stop", 2},
		{"ca", "abc", 3}, /* restricted: nothing is moved twice */
		{"ab", "ba", 1},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(all); i++) {
		assert_int_equal(edit_distance(all[i].a, all[i].b), all[i].n);
		assert_int_equal(edit_distance(all[i].b, all[i].a), all[i].n);
	}
}

static void a_long_word_is_far_from_everything(void **state)
{
	char word[EDIT_WORD_MAX + 2];

	(void)state;
	memset(word, 'a', sizeof(word));
	word[EDIT_WORD_MAX + 1] = '\0';
	assert_int_equal(edit_distance(word, word), EDIT_FAR);
	word[EDIT_WORD_MAX] = '\0';
	assert_int_equal(edit_distance(word, word), 0);
}

static void only_what_is_near_was_meant(void **state)
{
	unsigned best = EDIT_FAR;

	(void)state;
	assert_false(edit_is_nearer("show", "stop", &best));
	assert_false(edit_is_nearer("x", "y", &best));
	assert_false(edit_is_nearer("", "web", &best));
	assert_int_equal(best, EDIT_FAR);
	assert_true(edit_is_nearer("listne", "list", &best));
	assert_true(edit_is_nearer("listne", "listen", &best));
	assert_false(edit_is_nearer("listne", "listed", &best));
	assert_int_equal(best, 1);
	assert_true(edit_is_nearer("inter", "interfaces", &best));
	assert_int_equal(best, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_are_added_dropped_changed_and_swapped),
		cmocka_unit_test(a_long_word_is_far_from_everything),
		cmocka_unit_test(only_what_is_near_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
