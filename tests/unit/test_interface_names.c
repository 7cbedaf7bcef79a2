/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of interfaces in the catalog: each once, the newest of many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/interface_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/pcapd-names-XXXXXX";

static struct store *open_store(void)
{
	struct store_options o = {.spool = folder,
				  .segment_bytes = 1 << 20,
				  .segment_age_ns = NS_PER_S};
	struct err e = ERR_INIT;
	struct store *s = store_open(&o, &e);

	if (!s)
		fail_msg("%s", e.what);
	return s;
}

static uint64_t add_capture(struct store *s)
{
	struct capture_row row = {
		.interface = "any", .filter = "", .program = ""};
	struct err e = ERR_INIT;

	assert_true(store_add(s, &row, &e));
	return row.id;
}

static struct store_name name_of(uint32_t i)
{
	struct store_name n = {.index = i, .since_ns = 1000 + i};

	snprintf(n.name, sizeof(n.name), "veth%u", i);
	return n;
}

static void a_name_is_kept_once_and_from_when_it_came(void **state)
{
	struct store *s = open_store();
	uint64_t a = add_capture(s), b = add_capture(s);
	struct store_name two[] = {name_of(1), name_of(2)}, *got;
	struct err e = ERR_INIT;
	size_t n;

	(void)state;
	store_interface_names_add(s, a, two, 2);
	two[0].since_ns = 5000;
	strcpy(two[1].name, "renamed");
	two[1].since_ns = 6000;
	store_interface_names_add(s, a, two, 2);
	store_close(s); /* what is posted runs before */
	s = open_store();
	assert_true(store_interface_names_list(s, a, 10, &got, &n, &e));
	assert_int_equal(n, 3);
	assert_int_equal(got[0].since_ns, 1001);
	assert_string_equal(got[1].name, "veth2");
	assert_string_equal(got[2].name, "renamed");
	assert_int_equal(got[2].index, 2);
	free(got);
	assert_true(store_interface_names_list(s, b, 10, &got, &n, &e));
	assert_int_equal(n, 0);
	free(got);
	/* They go with their capture; who is told too late adds nothing. */
	assert_true(store_delete(s, a, &e));
	store_interface_names_add(s, a, two, 2);
	store_close(s);
	s = open_store();
	assert_true(store_interface_names_list(s, a, 10, &got, &n, &e));
	assert_int_equal(n, 0);
	free(got);
	store_close(s);
}

static void the_newest_of_many_are_kept(void **state)
{
	struct store *s = open_store();
	uint64_t id = add_capture(s);
	struct store_name *many = calloc(STORE_INTERFACE_NAMES_MAX + 10,
					 sizeof(*many)),
			  *got;
	struct err e = ERR_INIT;
	size_t n;

	(void)state;
	for (uint32_t i = 0; i < STORE_INTERFACE_NAMES_MAX + 10; i++)
		many[i] = name_of(i + 1);
	store_interface_names_add(s, id, many, STORE_INTERFACE_NAMES_MAX + 10);
	store_close(s);
	s = open_store();
	assert_true(store_interface_names_list(
		s, id, 2 * STORE_INTERFACE_NAMES_MAX, &got, &n, &e));
	assert_int_equal(n, STORE_INTERFACE_NAMES_MAX);
	assert_int_equal(got[0].index, 11);
	free(got);
	assert_true(store_interface_names_list(s, id, 3, &got, &n, &e));
	assert_int_equal(n, 3);
	assert_int_equal(got[2].index, STORE_INTERFACE_NAMES_MAX + 10);
	free(got);
	free(many);
	store_close(s);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_kept_once_and_from_when_it_came),
		cmocka_unit_test(the_newest_of_many_are_kept),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
