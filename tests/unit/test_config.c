/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Settings: what a file may say, and that a wrong one changes nothing and is
 * told by file and line.
 */
#include "control/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
	char path[64];
	struct config config, before;
	struct err e;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->path, "/tmp/pcapd-test-conf-XXXXXX");
	int fd = mkstemp(w->path);
	assert_true(fd >= 0);
	close(fd);
	config_defaults(&w->config);
	w->before = w->config;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	unlink(w->path);
	free(w);
	return 0;
}

static bool read_text(struct world *w, const char *text)
{
	FILE *f = fopen(w->path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return config_read(&w->config, w->path, &w->e);
}

static void refused(struct world *w, const char *text, const char *what)
{
	char expected[256];

	snprintf(expected, sizeof(expected), "%s:%s", w->path, what);
	assert_false(read_text(w, text));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_string_equal(w->e.what, expected);
	assert_memory_equal(&w->config, &w->before, sizeof(w->before));
}

static void an_empty_file_changes_nothing(void **state)
{
	struct world *w = *state;

	assert_true(read_text(w, "# nothing\n\n[limits]\n; nothing\n"));
	assert_memory_equal(&w->config, &w->before, sizeof(w->before));
}

static void keys_are_read_over_the_defaults(void **state)
{
	struct world *w = *state;

	assert_true(read_text(w, "[store]\n"
				 "spool = /srv/a b ; a comment\n"
				 "compression-level=-20\n"
				 "compressor=zstd\n"
				 "[limits]\n"
				 "max-replays=3\n"
				 "max-replays=4"));
	assert_string_equal(w->config.spool, "/srv/a b");
	assert_int_equal(w->config.compression_level, -20);
	assert_int_equal(w->config.compressor, COMPRESSOR_ZSTD);
	assert_int_equal(w->config.max_replays, 4);
	assert_string_equal(w->config.socket, w->before.socket);
}

static void units_multiply(void **state)
{
	struct world *w = *state;

	assert_true(read_text(w, "segment-bytes = 64K\nsegment-age = 7d\n"
				 "block-age = 2m\n"));
	assert_int_equal(w->config.segment_bytes, 65536);
	assert_int_equal(w->config.segment_age_s, 604800);
	assert_int_equal(w->config.block_age_s, 120);
	assert_true(read_text(w, "segment-bytes = 1T\nsegment-age = 90\n"
				 "block-age = 1h"));
	assert_int_equal(w->config.segment_bytes, 1ull << 40);
	assert_int_equal(w->config.segment_age_s, 90);
	assert_int_equal(w->config.block_age_s, 3600);
}

static void what_is_wrong_is_told_by_line(void **state)
{
	struct world *w = *state;

	refused(w, "max-replays = 1\nspol = /x\n",
		"2: there is no setting 'spol'");
	assert_string_equal(w->e.hint, "pcapd.conf(5) lists the settings.");
	refused(w, "\n\nspool /x\n",
		"3: expected 'key = value', '[section]' or a comment");
	refused(w, "max-replays = 0\n",
		"1: max-replays: 0 is not in 1 to 4096");
	refused(w, "max-replays = many\n",
		"1: max-replays: expected a number, got 'many'");
	refused(w, "max-replays =\n",
		"1: max-replays: expected a number, got ''");
	refused(w, "max-replays = 4K\n",
		"1: max-replays: expected a number, got '4K'");
	refused(w, "segment-bytes = 9223372036854775807K\n",
		"1: segment-bytes: 9223372036854775807K is not in 65536 to "
		"1099511627776");
	refused(w, "segment-age = 5w\n",
		"1: segment-age: expected a number of seconds, as in 90, 15m, "
		"1h or 7d, got '5w'");
	refused(w, "compressor = gzip\n",
		"1: compressor: expected zpack or zstd, got 'gzip'");
	refused(w, "compression-level = -21\n",
		"1: compression-level: -21 is not in -20 to 19");
	refused(w, "spool =\n", "1: spool: expected 1 to 511 bytes, got 0");
}

static void the_first_of_two_errors_is_told(void **state)
{
	refused(*state, "a = 1\nb = 2\n", "1: there is no setting 'a'");
}

static void long_values_fit_or_are_told(void **state)
{
	struct world *w = *state;
	char text[1024];

	snprintf(text, sizeof(text), "spool = %0511d\n", 7);
	assert_true(read_text(w, text));
	assert_int_equal(strlen(w->config.spool), 511);
	w->config = w->before;
	snprintf(text, sizeof(text), "spool = %0512d\n", 7);
	refused(w, text, "1: spool: expected 1 to 511 bytes, got 512");
	snprintf(text, sizeof(text), "\n# %0900d\nspool = /x\n", 7);
	refused(w, text, "2: the line is too long");
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
	struct world *w = *state;

	assert_false(config_read(&w->config, "/nowhere/pcapd.conf", &w->e));
	assert_string_equal(w->e.what, "read /nowhere/pcapd.conf: No such file "
				       "or directory");
	assert_false(config_read(&w->config, "/tmp", &w->e));
	assert_string_equal(w->e.what, "read /tmp: Is a directory");
}

static void a_setting_can_be_set_by_name(void **state)
{
	struct world *w = *state;

	assert_true(config_set(&w->config, "socket-group", "", &w->e));
	assert_string_equal(w->config.socket_group, "");
	assert_false(config_set(&w->config, "socket_group", "", &w->e));
	assert_string_equal(w->e.what, "there is no setting 'socket_group'");
}

/* The manual's entries under SETTINGS are the table's keys, in its order. */
static void what_waits_for_a_restart_is_named(void **state)
{
	struct world *w = *state;
	char names[512];

	assert_false(
		config_waits(&w->before, &w->config, names, sizeof(names)));
	assert_string_equal(names, "");
	/* These apply at once. */
	assert_true(read_text(w, "max-replays = 3\nsend-timeout = 1m\n"));
	assert_false(
		config_waits(&w->before, &w->config, names, sizeof(names)));
	/* Bounds of which what runs kept the old ones. */
	assert_true(read_text(w, "spool-bytes = 1G\nfree-floor = 1G\n"));
	assert_true(config_waits(&w->before, &w->config, names, sizeof(names)));
	assert_string_equal(names, "spool-bytes, free-floor");
	config_defaults(&w->config);
	assert_true(read_text(w, "listen = 2020\nmemory-blocks = 2\n"
				 "sandbox = off\nspool = /srv\n"));
	assert_true(config_waits(&w->before, &w->config, names, sizeof(names)));
	assert_string_equal(names, "spool, sandbox, listen, memory-blocks");
	/* What has no room is cut, and still told of. */
	assert_true(config_waits(&w->before, &w->config, names, 8));
	assert_string_equal(names, "spool, ");
}

static void bounds_have_bounds(void **state)
{
	struct world *w = *state;

	refused(w, "max-peer-connections = 0\n",
		"1: max-peer-connections: 0 is not in 1 to 65536");
	refused(w, "max-message = 2G\n",
		"1: max-message: 2G is not in 65536 to 1073741824");
	refused(w, "max-filter = 9K\n",
		"1: max-filter: 9K is not in 16 to 8192");
	refused(w, "max-filter-program = 4097\n",
		"1: max-filter-program: 4097 is not in 16 to 4096");
	refused(w, "listener-queue = 1K\n",
		"1: listener-queue: 1K is not in 1048576 to 4294967296");
}

static void the_manual_lists_every_key(void **state)
{
	char path[512], line[256];
	size_t i = 0;

	(void)state;
	const char *source = getenv("SOURCE_DIR");
	snprintf(path, sizeof(path), "%s/man/pcapd.conf.5",
		 source ? source : ".");
	FILE *f = fopen(path, "r");
	if (!f)
		fail_msg("no %s", path);
	while (fgets(line, sizeof(line), f)) {
		char name[64], plain[64];
		size_t n = 0;

		if (strcmp(line, ".TP\n") || !fgets(line, sizeof(line), f))
			continue;
		assert_int_equal(sscanf(line, ".B %63s", name), 1);
		for (const char *s = name; *s; s++)
			if (*s != '\\')
				plain[n++] = *s;
		plain[n] = '\0';
		assert_non_null(config_key(i));
		assert_string_equal(plain, config_key(i));
		i++;
	}
	fclose(f);
	assert_true(i > 0);
	assert_null(config_key(i));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_file_changes_nothing),
		TEST(keys_are_read_over_the_defaults),
		TEST(units_multiply),
		TEST(what_is_wrong_is_told_by_line),
		TEST(the_first_of_two_errors_is_told),
		TEST(long_values_fit_or_are_told),
		TEST(a_file_that_cannot_be_read_is_told),
		TEST(a_setting_can_be_set_by_name),
		TEST(bounds_have_bounds),
		TEST(what_waits_for_a_restart_is_named),
		TEST(the_manual_lists_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
