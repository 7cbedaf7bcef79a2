/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock that says how old what is stored is: clocks come from the test.
 */
#include "packet/block.h"
#include "store/age.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S NS_PER_S
#define DAY (86400 * S)
#define YEAR (365 * DAY)
#define START (1767225600 * S)

struct world {
	struct age_clock age;
	struct clocks now;
	int64_t doubt_ns;
};

static int set_up(void **state)
{
	static struct world w;

	w = (struct world){.now = {START, 1000 * S}};
	age_begin(&w.age, w.now, 0);
	*state = &w;
	return 0;
}

/* What it shows, since the start. */
static int64_t pass(struct world *w, int64_t ns)
{
	w->now.real_ns += ns;
	w->now.boot_ns += ns;
	return age_now(&w->age, w->now, &w->doubt_ns) - START;
}

static void set(struct world *w, int64_t ns)
{
	w->now.real_ns += ns;
}

static void it_goes_with_the_wall_clock(void **state)
{
	struct world *w = *state;

	assert_int_equal(pass(w, 5 * S), 5 * S);
	set(w, S); /* adjusted */
	assert_int_equal(pass(w, 5 * S), 11 * S);
	assert_int_equal(w->doubt_ns, 0);
}

static void ten_years_for_a_moment_make_nothing_older(void **state)
{
	struct world *w = *state;

	pass(w, 5 * S);
	set(w, 10 * YEAR);
	assert_int_equal(pass(w, 5 * S), 10 * S);
	assert_int_equal(w->doubt_ns, 10 * YEAR);
	assert_int_equal(pass(w, 3600 * S), 3610 * S);
	assert_int_equal(w->doubt_ns, 0); /* said once */
	set(w, -10 * YEAR);
	assert_int_equal(pass(w, 2 * DAY), 2 * DAY + 3610 * S);
}

static void what_stands_for_a_day_is_believed(void **state)
{
	struct world *w = *state;

	set(w, YEAR);
	pass(w, S);
	assert_int_equal(pass(w, DAY - S), DAY);
	assert_int_equal(pass(w, S), YEAR + DAY + S);
	/* Another one has to stand for as long. */
	set(w, YEAR);
	assert_int_equal(pass(w, S), YEAR + DAY + 2 * S);
	set(w, YEAR);
	assert_int_equal(pass(w, DAY - S), YEAR + 2 * DAY + S);
	assert_int_equal(w->doubt_ns, 2 * YEAR);
	assert_int_equal(pass(w, DAY - S), YEAR + 3 * DAY);
	assert_int_equal(pass(w, S), 3 * YEAR + 3 * DAY + S);
}

static void an_hour_of_absence_is_believed_an_hour_later(void **state)
{
	struct world *w = *state;

	set(w, 3600 * S);
	age_begin(&w->age, w->now, START);
	assert_int_equal(pass(w, S), S);
	assert_int_equal(pass(w, 3599 * S), 3600 * S);
	assert_int_equal(pass(w, S), 7201 * S);
}

static void it_never_goes_back(void **state)
{
	struct world *w = *state;

	pass(w, S);
	set(w, -YEAR);
	assert_int_equal(pass(w, S), 2 * S);
	age_begin(&w->age, w->now, START + 2 * S);
	assert_int_equal(pass(w, S), 3 * S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(it_goes_with_the_wall_clock, set_up),
		cmocka_unit_test_setup(
			ten_years_for_a_moment_make_nothing_older, set_up),
		cmocka_unit_test_setup(what_stands_for_a_day_is_believed,
				       set_up),
		cmocka_unit_test_setup(
			an_hour_of_absence_is_believed_an_hour_later, set_up),
		cmocka_unit_test_setup(it_never_goes_back, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
