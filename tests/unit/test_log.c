/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log, read back from a file that stands in for stderr: one event is one
 * line, whatever it says, and no place writes without bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/utf8.h"
#include "packet/capture_tail.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAID_MAX (256 << 10)

struct said {
	int fd, kept;
	char text[SAID_MAX];
};

static int set_up(void **state)
{
	struct said *s = calloc(1, sizeof(*s));
	char path[] = "/tmp/pcapd-log-XXXXXX";

	s->fd = mkstemp(path);
	assert_true(s->fd >= 0);
	unlink(path);
	s->kept = dup(STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct said *s = *state;

	close(s->fd);
	close(s->kept);
	free(s);
	return 0;
}

static void listen_in(struct said *s)
{
	fflush(NULL);
	assert_int_equal(ftruncate(s->fd, 0), 0);
	lseek(s->fd, 0, SEEK_SET);
	dup2(s->fd, STDERR_FILENO);
}

static const char *heard(struct said *s)
{
	dup2(s->kept, STDERR_FILENO);
	ssize_t n = pread(s->fd, s->text, SAID_MAX - 1, 0);
	assert_true(n >= 0);
	s->text[n] = 0;
	return s->text;
}

static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void one_event_is_one_line(void **state)
{
	struct said *s = *state;
	struct err e = ERR_INIT;

	listen_in(s);
	log_warn("peer said %s", "x\n<0>forged\r\x1b]0;title\x07\x7f\t");
	assert_string_equal(heard(s),
			    "pcapd: peer said x\\x0a<0>forged\\x0d\\x1b]0;"
			    "title\\x07\\x7f\\x09\n");
	err_set(&e, ERR_USAGE, "name 'a\nb'");
	err_hint(&e, "say\x1b[2J it");
	listen_in(s);
	log_err(LOG_LEVEL_ERROR, &e);
	assert_string_equal(heard(s),
			    "pcapd: name 'a\\x0ab' (say\\x1b[2J it)\n");
}

static void the_journal_takes_one_priority(void **state)
{
	struct said *s = *state;

	setenv("JOURNAL_STREAM", "1:2", 1);
	listen_in(s);
	log_error("a\n<1>b");
	assert_string_equal(heard(s), "<3>a\\x0a<1>b\n");
	unsetenv("JOURNAL_STREAM");
}

static void what_is_too_long_is_cut_at_a_character(void **state)
{
	struct said *s = *state;
	char *text = calloc(1, 9000);

	for (size_t i = 0; i < 4000; i++)
		strcat(text, "\xc3\xa9");
	listen_in(s);
	log_info("%s", text);
	const char *line = heard(s);
	size_t n = strlen(line);
	assert_int_equal(line[n - 1], '\n');
	assert_in_range(n, 2000, 2048);
	assert_int_equal((n - strlen("pcapd: \n")) % 2, 0);
	free(text);
}

static void clean(const char *text, const char *want)
{
	char out[128];
	size_t n = utf8_clean(out, sizeof(out), text, strlen(text));

	assert_string_equal(out, want);
	assert_int_equal(n, strlen(want));
}

static void utf8_stays_and_nothing_else(void **state)
{
	(void)state;
	clean("Grüße, 世界 🌍", "Grüße, 世界 🌍");
	clean("\xc2\x9b"
	      "31m",
	      "\\xc2\\x9b31m"); /* CSI as a C1 character */
	clean("\x9b"
	      "31m",
	      "\\x9b"
	      "31m");
	clean("\xe2\x80\xae"
	      "cod.exe",
	      "\\xe2\\x80\\xaecod.exe");	  /* right to left */
	clean("\xe2\x80\xa8", "\\xe2\\x80\\xa8"); /* line separator */
	clean("\xc0\xaf", "\\xc0\\xaf");	  /* overlong */
	clean("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	clean("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	clean("\xe4\xb8", "\\xe4\\xb8"); /* cut */
}

static void what_has_no_room_is_left_out_whole(void **state)
{
	char out[8];

	(void)state;
	assert_int_equal(utf8_clean(out, 4, "世界", 6), 3);
	assert_string_equal(out, "世");
	assert_int_equal(utf8_clean(out, 3, "世界", 6), 0);
	assert_string_equal(out, "");
	assert_int_equal(utf8_clean(out, 5, "\n\n", 2), 4);
	assert_string_equal(out, "\\x0a");
	assert_int_equal(utf8_clean(out, 1, "a", 1), 0);
}

static void say_one(int i)
{
	log_warn("line %d", i);
}

static void a_flood_is_counted(void **state)
{
	struct said *s = *state;
	char want[128];

	listen_in(s);
	for (int i = 0; i < 100000; i++)
		say_one(i);
	log_warn("another place is not kept from it");
	log_held(monotonic_ns());
	const char *text = heard(s);
	assert_int_equal(lines(text), LOG_BURST + 1);
	snprintf(want, sizeof(want), "pcapd: line %d\n", LOG_BURST - 1);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, "another place"));

	/* Nobody says more: the count comes all the same, once. */
	listen_in(s);
	int64_t later_ns = monotonic_ns() + LOG_INTERVAL_NS;
	log_held(later_ns);
	log_held(later_ns);
	snprintf(want, sizeof(want), "pcapd: %d more like this: line 99999\n",
		 100000 - LOG_BURST);
	assert_string_equal(heard(s), want);
}

static void *flood(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++)
		log_info("of a thread");
	return NULL;
}

static void no_line_is_forgotten_whoever_logs(void **state)
{
	struct said *s = *state;
	pthread_t threads[4];
	char want[128];

	listen_in(s);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flood, NULL),
				 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	log_held(INT64_MAX);
	snprintf(want, sizeof(want), "pcapd: %d more like this: of a thread\n",
		 40000 - LOG_BURST);
	const char *text = heard(s);
	assert_int_equal(lines(text), LOG_BURST + 1);
	assert_non_null(strstr(text, want));
}

#define SAID(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SAID(one_event_is_one_line),
		SAID(the_journal_takes_one_priority),
		SAID(what_is_too_long_is_cut_at_a_character),
		cmocka_unit_test(utf8_stays_and_nothing_else),
		cmocka_unit_test(what_has_no_room_is_left_out_whole),
		SAID(a_flood_is_counted),
		SAID(no_line_is_forgotten_whoever_logs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
