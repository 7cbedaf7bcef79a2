/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct odd {
	uint32_t n;
	uint8_t more[9];
};

static void elements_stay_and_new_ones_are_zero(void **state)
{
	struct odd *all = NULL;
	size_t n = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		struct odd *one = vec_push(&all, &n);

		assert_ptr_equal(one, &all[i]);
		assert_int_equal(one->n + one->more[8], 0);
		*one = (struct odd){.n = i, .more = {[8] = 1}};
		if (i % 7 == 6) { /* the last may go, too */
			n--;
			one = vec_push(&all, &n);
			assert_int_equal(one->n + one->more[8], 0);
			*one = (struct odd){.n = i};
		}
	}
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(all[i].n, i);
	assert_int_equal(n, 1000);
	free(all);
}

static void without_memory_the_array_is_as_before(void **state)
{
	uint64_t *all = NULL;
	size_t n = 0;

	(void)state;
	*(uint64_t *)vec_push(&all, &n) = 7;
	assert_null(vec_push_bytes(&all, &n, SIZE_MAX / 2 + 1));
	assert_null(vec_push_bytes(&all, &n, SIZE_MAX));
	assert_int_equal(n, 1);
	assert_int_equal(all[0], 7);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_stay_and_new_ones_are_zero),
		cmocka_unit_test(without_memory_the_array_is_as_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
